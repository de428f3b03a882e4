//! Forgetting a person: nothing of them stays in the ledger but marks that keep them out.

use std::time::Duration;

use serde::Serialize;

use super::{ContactSync, SyncError};
use crate::{
    ChatId,
    ledger::{Query, chats_of},
    record::Record,
    time::Timestamp,
};

/// What the ledger knew of a person who was forgotten; see [`ContactSync::forget`].
///
/// It is for whoever has to forget the person elsewhere as well: keep it no longer than that takes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Forgotten {
    /// The ids of the person: phones and privacy ids.
    pub chats: Vec<ChatId>,
    /// The rows of the CRM that claim the person, to be taken out of it.
    pub crm_ids: Vec<Box<str>>,
    /// What the address book shows, as far as is known; it goes on doing so until somebody deletes the contact on the phone.
    pub shown: Option<String>,
    /// How many names in the history were the person's.
    pub overwritten: usize,
}

impl Forgotten {
    fn add(&mut self, record: &Record, overwritten: usize) {
        self.chats.extend(std::iter::once(&record.chat).chain(&record.aliases).cloned());
        self.crm_ids.extend(record.claims.iter().map(|claim| claim.crm_id.clone()));
        self.shown = self.shown.take().or_else(|| record.shown().map(Into::into));
        self.overwritten += overwritten;
    }
}

impl ContactSync {
    /// Says what [`forget`](Self::forget) would forget; `None` if nothing is known of the person. Writes nothing.
    ///
    /// # Errors
    ///
    /// Fails if the ledger does.
    pub async fn plan_forget(&self, chat: &ChatId) -> Result<Option<Forgotten>, SyncError> {
        let mut forgotten = Forgotten::default();
        let records = self.records_of(chat).await?;
        for record in &records {
            forgotten.add(record, self.overwritten_of(record).await?);
        }
        Ok((!records.is_empty()).then_some(forgotten))
    }

    /// Forgets a person: the record, its claims and aliases, the history, and what the reports of runs say. Gives back what was known;
    /// `None` if that was nothing.
    ///
    /// The ledger keeps a keyed hash of each id of the person: the chat id, other variants of the number, privacy ids, CRM ids. It holds no
    /// digit and no name, and keeps the person from coming back unnoticed, also one of whom nothing was known: a row of the CRM
    /// that claims the person is [refused](crate::crm::RefusalReason::Forgotten) by each plan and run, and what the address book shows of
    /// the person is passed over. [`allow`](Self::allow) ends that. There are few phone numbers, so whoever has the ledger can try
    /// them all: the hash is no more secret than the [salt](crate::ledger::Salt) beside it.
    ///
    /// What this cannot reach: the contact on the phone, which somebody has to delete; the CRM; copies of the ledger's file; other
    /// instances, which are forgotten one by one; and another number under which the same row named the person before, which is a contact
    /// of its own.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")]
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use wawp_contacts::{ContactSync, crm::{self, CrmContact, RefusalReason}, ledger::MemoryLedger, naming::{Funnel, Naming}, testkit::WawpServer};
    ///
    /// let server = WawpServer::start().await; // stands in for Wawp
    /// let sync = ContactSync::new(server.client(), MemoryLedger::default(), Naming::new(Funnel::none()));
    /// let bob = || Ok(CrmContact::new("crm-1", "+1 202 555 0142".parse().unwrap()).named("Bob", ""));
    /// sync.run(crm::snapshot([bob()])).await?;
    ///
    /// let forgotten = sync.forget(&"+1 202 555 0142".parse()?).await?.expect("he was known");
    /// assert_eq!(*forgotten.crm_ids[0], *"crm-1");
    /// let report = sync.run(crm::snapshot([bob()])).await?;
    /// assert_eq!((report.summary.calls, report.refusals[0].reason), (0, RefusalReason::Forgotten));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`SyncError::InDoubt`] while a request for the person is on its way, or may still take effect: if it did after the contact was
    ///   deleted on the phone, the name would be back, and nobody would be left to know. Nothing is forgotten then.
    /// - [`SyncError::Ledger`] if the ledger fails. Where it is [busy](crate::ledger::LedgerErrorKind::Busy), bytes of what was deleted may
    ///   still be in its file, which forgetting once more erases.
    pub async fn forget(&self, chat: &ChatId) -> Result<Option<Forgotten>, SyncError> {
        let (instance, mut forgotten, mut was_known) = (self.book.instance(), Forgotten::default(), false);
        loop {
            let mut records = self.records_of(chat).await?;
            if let Some(wait) = records.iter().filter_map(|record| in_doubt(record, self.clock.now())).max() {
                return Err(SyncError::InDoubt { wait });
            }
            was_known |= !records.is_empty();
            if records.is_empty() {
                records.push(Record::new(chat.clone()));
            }
            let mut is_done = true;
            for record in &records {
                let overwritten = self.overwritten_of(record).await?;
                if !self.ledger.forget(instance, record).await? {
                    // Somebody stored it meanwhile.
                    is_done = false;
                } else if record.revision > 0 {
                    forgotten.add(record, overwritten);
                }
            }
            if is_done {
                tracing::info!(%instance, was_known, "a person is forgotten");
                return Ok(was_known.then_some(forgotten));
            }
        }
    }

    /// Lets a person be taken in again who was [forgotten](Self::forget), by any of their ids: a phone in any spelling, a chat id or a
    /// CRM id. Says whether there was anything to allow.
    ///
    /// # Errors
    ///
    /// Fails if the ledger does.
    pub async fn allow(&self, id: &str) -> Result<bool, SyncError> {
        let instance = self.book.instance();
        let chat = id.parse::<ChatId>().ok();
        let mut was_kept_out = self.ledger.allow(instance, id.trim()).await?;
        if let Some(chat) = chat {
            was_kept_out |= self.ledger.allow(instance, chat.as_str()).await?;
        }
        Ok(was_kept_out)
    }

    /// The records of a person, under any variant of a number.
    async fn records_of(&self, chat: &ChatId) -> Result<Vec<Record>, SyncError> {
        let chats = chats_of(&Record::new(chat.clone()));
        Ok(self.ledger.fetch(self.book.instance(), Query::Chats(&chats)).await?)
    }

    async fn overwritten_of(&self, record: &Record) -> Result<usize, SyncError> {
        let mut count = 0;
        for chat in chats_of(record) {
            count += self.ledger.history(self.book.instance(), &chat).await?.len();
        }
        Ok(count)
    }
}

/// For how long a request may still take effect, if one may.
fn in_doubt(record: &Record, now: Timestamp) -> Option<Duration> {
    let doubt = record.pushed.in_doubt.as_ref().map(|doubt| doubt.until);
    let until = doubt.max(record.pushed.late_until)?;
    Some(until.since(now)).filter(|wait| !wait.is_zero())
}
