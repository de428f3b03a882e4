//! The CRM lane: rows in, claims staged. Makes no call, and needs no lease.

use std::{
    collections::{HashMap, HashSet},
    future::poll_fn,
    pin::Pin,
    sync::Arc,
};

use futures_util::Stream;
use tokio::sync::watch;

use super::{
    SyncError,
    guardrails::RowImpact,
    report::{LeftReason, Progress, Recorder},
    run::stopped,
};
use crate::{
    ChatId,
    crm::{CrmContact, Refusal, RefusalReason, RowDigest, RowError},
    ledger::{Diff, Incoming, Verdict, Write},
    naming::Naming,
    record::{Claim, Event, Policy, Record, Status, Substitute, Wish, decide},
    time::Timestamp,
};

/// How many rows are compared at once, while as many are read.
const BATCH: usize = 2_048;
/// How many records are changed at once.
const CHUNK: usize = 256;
/// After how many rows others have a turn.
const PATIENCE: u64 = 1_024;

/// Takes the rows of one feed into one comparison.
pub(super) struct Intake<'r> {
    pub(super) diff: &'r mut dyn Diff,
    pub(super) naming: &'r Naming,
    pub(super) policy: &'r Policy,
    pub(super) recorder: &'r mut Recorder,
    pub(super) now: Timestamp,
    /// Whether each row goes before the bulk of others, and nothing follows from absence.
    pub(super) are_changes: bool,
    pub(super) impact: RowImpact,
    /// Rows that were dropped for a newer version known before: a later row with the same id is no second one to drop.
    pub(super) dropped: HashSet<Box<str>>,
    /// What stood in place of the wish of a row until another row came, and for whom: a later row with the same id may want the old name.
    pub(super) stood: HashMap<Box<str>, (ChatId, Substitute)>,
    /// Rows that the source refused without saying whom they claim: they are not gone.
    pub(super) unread: HashSet<Box<str>>,
    /// Contacts that a row claims no more because it names another person now; some other row may claim them.
    pub(super) moved: Vec<(ChatId, Box<str>)>,
    /// Rows in sync that want nothing, because they have no name that can be used.
    pub(super) nameless: u64,
    /// Whether the tags of rows that are gone are taken off.
    pub(super) untags_gone: bool,
}

/// How many rows are remembered for those with the same id that may follow.
const MOST_DROPPED: usize = 100_000;

/// Records that a batch has changed, as they are now.
#[derive(Default)]
struct Working {
    /// In the order in which they were first touched, which becomes the order of their arrival.
    entries: Vec<Entry>,
    places: HashMap<ChatId, usize>,
    /// Who has the claim of each row of the batch now.
    holders: HashMap<Box<str>, ChatId>,
}

struct Entry {
    write: Write,
    is_changed: bool,
}

impl Intake<'_> {
    /// Takes all rows in; `false` if it was told to stop before their end.
    pub(super) async fn take<S>(
        &mut self,
        mut rows: Pin<&mut S>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<bool, SyncError>
    where
        S: Stream<Item = Result<CrmContact, RowError>>,
    {
        let reader =
            Reader { naming: self.naming, recorder: self.recorder, impact: &mut self.impact, unread: &mut self.unread };
        let (mut batch, mut is_more) = read(reader, rows.as_mut(), stop).await?;
        while !batch.is_empty() {
            // The ledger compares on its own thread while the next rows are read here.
            let compared = self.diff.compare(Arc::clone(&batch));
            let reader = Reader {
                naming: self.naming,
                recorder: self.recorder,
                impact: &mut self.impact,
                unread: &mut self.unread,
            };
            let (verdicts, next) = tokio::join!(compared, async {
                if is_more { read(reader, rows.as_mut(), stop).await } else { Ok(([].into(), false)) }
            });
            self.settle(&batch, verdicts?).await?;
            (batch, is_more) = next?;
            self.recorder.tell(&Progress::Taken(self.impact.rows));
        }
        if *stop.borrow() {
            return Ok(false);
        }
        let tally = self.diff.tally().await?;
        let missing = if self.are_changes { 0 } else { tally.claims - tally.met };
        (self.impact.claims, self.impact.missing) = (tally.claims, missing);
        Ok(true)
    }

    /// Withdraws the claims of rows that a snapshot lacks.
    pub(super) async fn withdraw_absent(&mut self) -> Result<(), SyncError> {
        loop {
            let absent = self.diff.absent(CHUNK).await?;
            if absent.is_empty() {
                return Ok(());
            }
            let mut working = Working::default();
            for (crm_id, record) in absent {
                // What it claimed before stands until it can be read again.
                if self.unread.contains(&crm_id) {
                    continue;
                }
                match self.untagged_claim(&record, &crm_id) {
                    Some(claim) => self.untag(&mut working, record, claim),
                    None => self.withdraw(&mut working, record, &crm_id, LeftReason::Gone),
                }
            }
            self.stage(working).await?;
        }
    }

    /// The claim of a row that is gone, without its tag, as long as the contact may show one.
    fn untagged_claim(&self, record: &Record, crm_id: &str) -> Option<Claim> {
        let claim = record.sole_claim().filter(|claim| self.untags_gone && &*claim.crm_id == crm_id)?;
        let wish = claim.wish.as_ref().filter(|_| record.is_known())?;
        // No row with a name has this digest. Once the tag is off, the row claims nothing any more.
        let is_under_way = claim.digest == RowDigest::default() && record.status != Status::InSync;
        if wish.tag.is_none() && !is_under_way {
            return None;
        }
        let rendered = self.naming.retag(wish.base.full(), None).ok()?;
        let wish = Wish::rendered(rendered, self.naming.fingerprint());
        Some(Claim { wish: Some(wish), digest: RowDigest::default(), ..claim.clone() })
    }

    fn untag(&mut self, working: &mut Working, record: Record, claim: Claim) {
        let chat = record.chat.clone();
        self.recorder.left(&record, &claim.crm_id, LeftReason::Gone);
        let record = working.current(Some(record), &chat);
        let decision = decide(&record, Event::Claimed { claim, urgent: false }, self.policy, self.now);
        working.put(&record, decision.record, decision.is_changed, None);
    }

    /// Lists the contacts that keep a name although the row that wanted it names another person now.
    pub(super) async fn note_moved(&mut self) -> Result<(), SyncError> {
        for moved in std::mem::take(&mut self.moved).chunks(CHUNK) {
            let chats: Vec<ChatId> = moved.iter().map(|(chat, _)| chat.clone()).collect();
            let records = self.diff.find(&chats).await?;
            for (chat, crm_id) in moved {
                let record = records.iter().find(|record| record.chat == *chat && record.claims.is_empty());
                if let Some(record) = record {
                    self.recorder.left(record, crm_id, LeftReason::Moved);
                }
            }
        }
        Ok(())
    }

    async fn settle(&mut self, batch: &[Incoming], verdicts: Vec<Verdict>) -> Result<(), SyncError> {
        let mut working = Working::default();
        for (incoming, verdict) in batch.iter().zip(verdicts) {
            match verdict {
                Verdict::Unchanged => {}
                // What it claimed before stands, as with any row that cannot be used; the source may have refused it already.
                Verdict::Forgotten if incoming.digest == RowDigest::default() => {}
                Verdict::Forgotten => self.recorder.refuse_forgotten(&incoming.contact.id, &incoming.contact.chat),
                Verdict::Changed { holder, target, is_repeat } => self.claim(
                    &mut working,
                    incoming,
                    holder.map(|record| *record),
                    target.map(|record| *record),
                    is_repeat,
                ),
            }
        }
        self.stage(working).await
    }

    async fn stage(&mut self, working: Working) -> Result<(), SyncError> {
        let changed = working.entries.into_iter().filter(|entry| entry.is_changed);
        let writes: Vec<Write> = changed.map(|entry| entry.write).collect();
        if !writes.is_empty() {
            self.diff.stage(writes).await?;
        }
        Ok(())
    }

    /// Lets a row claim its person, and give up the one it claimed before.
    fn claim(
        &mut self,
        working: &mut Working,
        incoming: &Incoming,
        holder: Option<Record>,
        target: Option<Record>,
        is_repeat: bool,
    ) {
        let contact = &incoming.contact;
        let is_repeat = is_repeat || working.holders.contains_key(&*contact.id);
        // An earlier row of the batch may have given the claim to somebody else by now.
        let target = target.or_else(|| holder.clone().filter(|record| record.answers_to(&contact.chat)));
        let holder = working.holder(&contact.id, holder);
        let is_older = |record: &Record| {
            record.claim(&contact.id).is_some_and(|held| contact.version.is_some() && contact.version < held.version)
        };
        if is_repeat {
            self.recorder.repeated(&contact.id);
        }
        let is_older = holder.as_ref().is_some_and(is_older);
        if is_repeat && self.dropped.remove(&*contact.id) && !is_older {
            // Of the two rows with this id, the other one was dropped.
        } else if is_repeat || is_older {
            self.recorder.summary.stale += 1;
        }
        if is_older {
            self.impact.stale += u64::from(!is_repeat);
            if self.dropped.len() < MOST_DROPPED {
                self.dropped.insert(contact.id.as_str().into());
            }
            return;
        }
        let (holder, moved) = match holder {
            Some(record) if record.answers_to(&contact.chat) => (Some(record), None),
            moved => (None, moved),
        };
        let taken = moved.as_ref().and_then(|record| record.claim(&contact.id).cloned());
        if let Some(record) = moved {
            self.withdraw(working, record, &contact.id, LeftReason::Moved);
        }
        let mut record = working.current(holder.or(target), &contact.chat);
        // Of several rows with one id the last one counts: what stood before the first of them was not replaced by those in between.
        if is_repeat && let Some((_, stood)) = self.stood.get(&*contact.id).filter(|(chat, _)| *chat == record.chat) {
            record.substitute.get_or_insert_with(|| stood.clone());
        }
        let had_name = taken.as_ref().or(record.claim(&contact.id)).is_some_and(|held| held.wish.is_some());
        let claim = self.render(incoming, had_name);
        let decision = decide(&record, Event::Claimed { claim, urgent: self.are_changes }, self.policy, self.now);
        if let (Some(stood), None) = (&record.substitute, &decision.record.substitute)
            && self.stood.len() < MOST_DROPPED
        {
            self.stood.insert(contact.id.as_str().into(), (record.chat.clone(), stood.clone()));
        }
        let is_nameless = decision.record.status == Status::InSync && decision.record.wanted().is_none();
        self.nameless += u64::from(is_nameless && !is_repeat);
        working.holders.insert(contact.id.as_str().into(), decision.record.chat.clone());
        let place = working.put(&record, decision.record, decision.is_changed, None);
        if let Some(taken) = taken {
            working.entries[place].write.base_on(&taken);
        }
    }

    fn withdraw(&mut self, working: &mut Working, record: Record, crm_id: &str, reason: LeftReason) {
        let chat = record.chat.clone();
        let record = working.current(Some(record), &chat);
        let decision = decide(&record, Event::Unclaimed { crm_id: crm_id.into() }, self.policy, self.now);
        match reason {
            LeftReason::Gone if decision.record.claims.is_empty() => self.recorder.left(&record, crm_id, reason),
            LeftReason::Moved if record.is_known() => self.moved.push((chat, crm_id.into())),
            _ => {}
        }
        working.put(&record, decision.record, decision.is_changed, Some(crm_id));
    }

    /// What the row wants; a row without a name that can be used is refused, and claims its person all the same.
    fn render(&mut self, incoming: &Incoming, had_name: bool) -> Claim {
        let CrmContact { id, first, last, stage, version, .. } = &incoming.contact;
        if incoming.digest == RowDigest::default() {
            self.impact.blanked += u64::from(had_name);
            return Claim::new(id.as_str(), *version, incoming.digest, None);
        }
        match self.naming.render(first, last, stage.as_deref()) {
            Ok(rendered) => {
                if rendered.shortened {
                    self.recorder.shortened(id);
                }
                let wish = Wish::rendered(rendered, self.naming.fingerprint());
                Claim::new(id.as_str(), *version, incoming.digest, Some(wish))
            }
            Err(error) => {
                self.impact.refused += 1;
                self.impact.blanked += u64::from(had_name);
                let detail = format!("{error}; the contact is left as it is");
                let refusal = Refusal::new(RefusalReason::EmptyName, detail).of_row(Some(id.as_str()));
                self.recorder.refuse(refusal.claiming(Some(incoming.contact.chat.clone())));
                // Without a digest it is never taken for unchanged, so each run refuses it again.
                Claim::new(id.as_str(), *version, RowDigest::default(), None)
            }
        }
    }
}

impl Working {
    /// The record that has the claim of a row now.
    fn holder(&self, crm_id: &str, stored: Option<Record>) -> Option<Record> {
        match self.holders.get(crm_id) {
            Some(chat) => self.places.get(chat).map(|place| self.entries[*place].write.record.clone()),
            None => stored.map(|record| self.newest(record)),
        }
    }

    fn newest(&self, record: Record) -> Record {
        match self.places.get(&record.chat) {
            Some(place) => self.entries[*place].write.record.clone(),
            None => record,
        }
    }

    /// The record of a person now: one that was found, one that the batch made, or a new one.
    fn current(&self, found: Option<Record>, chat: &ChatId) -> Record {
        self.newest(found.unwrap_or_else(|| Record::new(chat.clone())))
    }

    fn put(&mut self, before: &Record, record: Record, is_changed: bool, unclaimed: Option<&str>) -> usize {
        let place = *self.places.entry(record.chat.clone()).or_insert(self.entries.len());
        if place == self.entries.len() {
            self.entries.push(Entry { write: before.clone().into(), is_changed: false });
        }
        let entry = &mut self.entries[place];
        entry.write.record = record;
        entry.is_changed |= is_changed;
        entry.write.unclaimed.extend(unclaimed.map(Into::into));
        place
    }
}

/// Reads rows and takes their digests.
struct Reader<'r> {
    naming: &'r Naming,
    recorder: &'r mut Recorder,
    impact: &'r mut RowImpact,
    unread: &'r mut HashSet<Box<str>>,
}

/// The next batch, and whether more may follow.
async fn read<S>(
    reader: Reader<'_>,
    mut rows: Pin<&mut S>,
    stop: &mut watch::Receiver<bool>,
) -> Result<(Arc<[Incoming]>, bool), SyncError>
where
    S: Stream<Item = Result<CrmContact, RowError>>,
{
    let rules = reader.naming.fingerprint();
    let mut batch = Vec::with_capacity(BATCH);
    while batch.len() < BATCH {
        let row = tokio::select! {
            biased;
            row = poll_fn(|cx| rows.as_mut().poll_next(cx)) => row,
            () = stopped(stop) => return Ok(([].into(), false)),
        };
        // A source that is always ready must not keep the run from stopping, nor anybody else from running.
        if reader.impact.rows.is_multiple_of(PATIENCE) {
            tokio::task::yield_now().await;
            if *stop.borrow() {
                return Ok(([].into(), false));
            }
        }
        let Some(row) = row else { return Ok((batch.into(), false)) };
        reader.impact.rows += 1;
        match row {
            Ok(contact) => {
                if let Some(stage) = contact.stage.as_deref()
                    && !reader.naming.knows_stage(stage)
                {
                    reader.recorder.untagged(stage);
                }
                batch.push(Incoming::new(contact, rules));
            }
            Err(RowError::Refused(refusal)) => {
                reader.impact.refused += 1;
                // A row that cannot be used still claims its person.
                match (&refusal.crm_id, &refusal.chat) {
                    (Some(id), Some(chat)) => {
                        let contact = CrmContact::new(id.as_str(), chat.clone());
                        batch.push(Incoming { contact, digest: RowDigest::default() });
                    }
                    (Some(id), None) if reader.unread.len() < MOST_DROPPED => {
                        reader.unread.insert(id.as_str().into());
                    }
                    _ => {}
                }
                reader.recorder.refuse(refusal);
            }
            Err(RowError::Source(error)) => return Err(SyncError::Source(error)),
        }
    }
    Ok((batch.into(), true))
}
