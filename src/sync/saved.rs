//! A plan that is kept: what a person has seen is what is carried out, or nothing.

use std::{collections::HashSet, fmt, future::Future};

use futures_util::Stream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{
    ContactSync, Done, Guardrails, Plan, Report, SyncError,
    report::Plain,
    run::{Run, Store},
};
use crate::{
    ChatId, InstanceId,
    crm::{CrmContact, Feed, RowError},
    ledger::{Diff, Query, Write},
    pace::Daily,
    record::{Drift, Record},
    time::Timestamp,
};

/// How many records are looked up at once.
const CHUNK: usize = 512;

/// A plan that can be carried out later, exactly as it was shown; see [`ContactSync::plan_to_keep`].
///
/// It holds names and numbers, and no secret. It serialises, so it may wait in a file for a person to agree.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedPlan {
    /// The instance that it is for.
    pub instance: InstanceId,
    /// When it was made.
    pub made: Timestamp,
    /// What is to become of names that somebody else saved.
    pub drift: Drift,
    /// What a person sees of it.
    pub plan: Plan,
    daily: Option<Daily>,
    guardrails: Guardrails,
    writes: Vec<Write>,
    /// Contacts that were due already, and the revisions of their records.
    due: Vec<(ChatId, u64)>,
}

/// A contact that is not as it was when a plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MovedOn {
    /// The person.
    pub chat: ChatId,
    /// The rows of the CRM that claim the person now, or in the plan if none does.
    pub crm_ids: Vec<Box<str>>,
}

impl SavedPlan {
    /// The contacts that it writes, takes in or calls.
    fn planned(&self) -> HashSet<&ChatId> {
        let written = self.writes.iter().map(|write| &write.record.chat);
        written.chain(self.due.iter().map(|(chat, _)| chat)).collect()
    }
}

impl MovedOn {
    pub(super) fn new(record: &Record) -> Self {
        let crm_ids = record.claims.iter().map(|claim| claim.crm_id.clone()).collect();
        Self { chat: record.chat.clone(), crm_ids }
    }
}

impl fmt::Display for MovedOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.crm_ids {
            [] => self.chat.fmt(f),
            ids => write!(f, "row {} ({})", Plain(&ids.join(", ")), self.chat),
        }
    }
}

/// Names the first few.
pub(super) fn listed(moved: &[MovedOn]) -> String {
    let mut names: Vec<String> = moved.iter().take(10).map(ToString::to_string).collect();
    if moved.len() > names.len() {
        names.push(format!("and {} more", moved.len() - names.len()));
    }
    names.join(", ")
}

impl ContactSync {
    /// As [`plan`](Self::plan), and keeps it, so that [`run_saved`](Self::run_saved) can carry out exactly that.
    ///
    /// A plan that a guardrail stops holds nothing to carry out: make it with [guardrails](Self::guardrails) that let it pass.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")]
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use wawp_contacts::{ContactSync, crm::{self, CrmContact}, ledger::MemoryLedger, naming::{Funnel, Naming}, sync::{SavedPlan, SyncError}, testkit::WawpServer};
    ///
    /// let server = WawpServer::start().await; // stands in for Wawp
    /// let sync = ContactSync::new(server.client(), MemoryLedger::default(), Naming::new(Funnel::none()));
    /// let bob = || Ok(CrmContact::new("crm-1", "+1 202 555 0142".parse().unwrap()).named("Bob", ""));
    ///
    /// let text = serde_json::to_string(&sync.plan_to_keep(crm::snapshot([bob()])).await?)?;
    /// let saved: SavedPlan = serde_json::from_str(&text)?; // a person has agreed
    /// assert_eq!(sync.run_saved(&saved).await?.summary.created, 1);
    /// assert!(matches!(sync.run_saved(&saved).await, Err(SyncError::MovedOn(_))), "it is done already");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`plan`](Self::plan).
    pub async fn plan_to_keep<S>(&self, feed: Feed<S>) -> Result<SavedPlan, SyncError>
    where
        S: Stream<Item = Result<CrmContact, RowError>> + Send,
    {
        let made = self.clock.now();
        let (plan, diff, due) = self.make_plan(feed).await?;
        let is_stopped = plan.guardrail.is_some();
        let writes = if is_stopped { Vec::new() } else { diff.into_writes().await? };
        let due = if is_stopped { Vec::new() } else { due };
        let (instance, guardrails) = (self.book.instance().clone(), self.guardrails);
        Ok(SavedPlan { instance, made, drift: self.drift, plan, daily: self.daily, guardrails, writes, due })
    }

    /// Carries out a plan exactly as it was kept, unless something it was made from has moved on since: then nothing takes effect, and
    /// no call is made.
    ///
    /// It is a run like any other: what the address book shows is read before it is overwritten, and wishes that others bring while it
    /// pushes are pushed as well. The guardrails and the drift policy are those of the plan.
    ///
    /// # Errors
    ///
    /// [`SyncError::MovedOn`] if the ledger is not as it was, with the contacts that are not, and [`SyncError::NotThisPlan`] for the
    /// plan of another instance or one that a guardrail stopped. Else as for [`run`](Self::run).
    pub async fn run_saved(&self, saved: &SavedPlan) -> Result<Report, SyncError> {
        self.run_saved_until(saved, std::future::pending()).await
    }

    /// The same until it is told to stop, as by [`run_until`](Self::run_until).
    ///
    /// # Errors
    ///
    /// As for [`run_saved`](Self::run_saved).
    pub async fn run_saved_until(
        &self,
        saved: &SavedPlan,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<Report, SyncError> {
        if saved.instance != *self.book.instance() {
            let detail = format!("the plan is for instance {}, not {}", saved.instance, self.book.instance());
            return Err(SyncError::NotThisPlan(detail));
        }
        if let Some(guardrail) = &saved.plan.guardrail {
            return Err(SyncError::NotThisPlan(format!("a guardrail stopped it: {guardrail}")));
        }
        let daily = self.daily.or(saved.daily);
        let sync = self.clone().drift(saved.drift).guardrails(saved.guardrails).daily(daily);
        let work = |stop: watch::Receiver<bool>| sync.record_run(stop, |run| sync.carry_out_saved(run, saved));
        self.until(work, stop).await
    }

    async fn carry_out_saved(&self, mut run: Run, saved: &SavedPlan) -> Result<Done<Report>, SyncError> {
        run.correct_clock().await?;
        let moved = self.moved_on(saved).await?;
        if !moved.is_empty() {
            return Err(SyncError::MovedOn(moved));
        }
        let mut diff = self.ledger.diff(self.book.instance()).await?;
        diff.stage(saved.writes.clone()).await?;
        // Another run may have decided about all contacts by another policy since.
        run.heed_policy(&mut Store::Staged(&mut *diff)).await?;
        let unplanned = self.unplanned(saved, &mut *diff).await?;
        if !unplanned.is_empty() {
            return Err(SyncError::MovedOn(unplanned));
        }
        run.is_exact = true;
        run.recorder.take_up(&saved.plan);
        let guardrail = self.weigh(&mut run, &mut *diff, true, 0).await?;
        run.recorder.summary.unchanged = saved.plan.summary.unchanged;
        self.carry_out(run, diff, guardrail).await
    }

    /// The contacts that are not as they were when the plan was made.
    async fn moved_on(&self, saved: &SavedPlan) -> Result<Vec<MovedOn>, SyncError> {
        let instance = self.book.instance();
        let written = saved.writes.iter().map(|write| (&write.record.chat, write.record.revision));
        let known: Vec<(&ChatId, u64)> =
            written.chain(saved.due.iter().map(|(chat, revision)| (chat, *revision))).collect();
        let planned = saved.planned();
        let mut moved = Vec::new();
        for page in known.chunks(CHUNK) {
            let chats: Vec<ChatId> = page.iter().map(|(chat, _)| (*chat).clone()).collect();
            let records = self.ledger.fetch(instance, Query::Chats(&chats)).await?;
            for (chat, revision) in page {
                let stored = records.iter().find(|record| record.answers_to(chat));
                match stored {
                    Some(record) if record.chat != **chat || record.revision != *revision => {
                        moved.push(MovedOn::new(record));
                    }
                    None if *revision > 0 => moved.push(MovedOn { chat: (*chat).clone(), crm_ids: Vec::new() }),
                    _ => {}
                }
            }
        }
        for page in saved.writes.chunks(CHUNK) {
            let claims = page.iter().flat_map(|write| write.record.claims.iter().map(|claim| claim.crm_id.clone()));
            let holders = self.ledger.fetch(instance, Query::CrmIds(&claims.collect::<Vec<_>>())).await?;
            moved.extend(holders.iter().filter(|record| !planned.contains(&record.chat)).map(MovedOn::new));
        }
        moved.sort_by(|one, other| one.chat.cmp(&other.chat));
        moved.dedup_by(|one, other| one.chat == other.chat);
        Ok(moved)
    }

    /// The contacts that would be due and are not in the plan.
    async fn unplanned(&self, saved: &SavedPlan, diff: &mut dyn Diff) -> Result<Vec<MovedOn>, SyncError> {
        let (planned, mut unplanned, mut after) = (saved.planned(), Vec::new(), None);
        loop {
            let records = diff.open(after.as_ref(), CHUNK).await?;
            let Some(last) = records.last() else { return Ok(unplanned) };
            after = Some(last.chat.clone());
            let is_unplanned = |record: &&Record| record.status.due_at().is_some() && !planned.contains(&record.chat);
            unplanned.extend(records.iter().filter(is_unplanned).map(MovedOn::new));
        }
    }
}
