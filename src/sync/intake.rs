//! The CRM side: rows in, wishes written down. Makes no call.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::poll_fn,
    mem,
    panic::resume_unwind,
    pin::Pin,
    sync::Arc,
};

use futures_core::Stream;
use tokio::{sync::watch, task::JoinHandle};

use super::{
    SyncError,
    decide::{Action, Event, decide},
    report::{Change, Outcome, Progress, Recorder},
    run::stopped,
};
use crate::{
    ChatId,
    crm::{CrmContact, Refusal, RefusalReason, RowError},
    ledger::{Candidate, Cause, Lease, Ledger, LedgerError, Row, Sifted, Timestamp, Wanted},
    naming::Naming,
};

/// How many rows go to the ledger at once.
const BATCH: usize = 4_096;

/// Takes the rows of one run in.
pub(super) struct Intake<'r> {
    ledger: Arc<dyn Ledger>,
    lease: &'r Lease,
    naming: &'r Naming,
    recorder: &'r mut Recorder,
    met: Slots,
    claims: HashMap<ChatId, Claims>,
    /// Contacts met that need a person or a new wish, which may come yet.
    parked: BTreeMap<ChatId, Change>,
    /// Known contacts whose name the CRM now leaves empty.
    blanked: u64,
    taken: u64,
    /// The batch that the ledger sifts while the next is read.
    sifting: Option<JoinHandle<Result<Sifted, LedgerError>>>,
}

/// The CRM rows that claim one person: those that came in this run with what they wish.
type Claims = BTreeMap<Box<str>, Option<Candidate>>;

impl<'r> Intake<'r> {
    pub(super) fn new(
        ledger: Arc<dyn Ledger>,
        lease: &'r Lease,
        naming: &'r Naming,
        recorder: &'r mut Recorder,
        last_slot: u64,
    ) -> Self {
        let met = Slots::new(last_slot);
        let (claims, parked) = (HashMap::new(), BTreeMap::new());
        Self { ledger, lease, naming, recorder, met, claims, parked, blanked: 0, taken: 0, sifting: None }
    }

    /// Takes all rows in, unless it is told to stop first, and says how many known contacts would lose their name.
    pub(super) async fn take<S>(
        mut self,
        mut rows: Pin<&mut S>,
        mut told: watch::Receiver<bool>,
    ) -> Result<u64, SyncError>
    where
        S: Stream<Item = Result<CrmContact, RowError>>,
    {
        let mut batch = Vec::with_capacity(BATCH);
        let mut nameless = Vec::new();
        while !*told.borrow() {
            let row = tokio::select! {
                biased;
                row = poll_fn(|cx| rows.as_mut().poll_next(cx)) => row,
                () = stopped(&mut told) => break,
            };
            let Some(row) = row else { break };
            self.taken += 1;
            match row {
                Ok(contact) => match self.render(contact) {
                    Ok(candidate) => batch.push(candidate),
                    Err((chat, refusal)) => {
                        nameless.push(chat);
                        self.recorder.refuse(refusal);
                    }
                },
                Err(RowError::Refused(refusal)) => self.recorder.refuse(refusal),
                Err(RowError::Source(error)) => return Err(SyncError::Source(error)),
            }
            if batch.len() == BATCH {
                self.sift(mem::replace(&mut batch, Vec::with_capacity(BATCH))).await?;
            }
            if nameless.len() == BATCH {
                self.count_blanked(mem::take(&mut nameless)).await?;
            }
        }
        self.sift(batch).await?;
        self.write_down().await?;
        self.count_blanked(nameless).await?;
        // Half of the rows do not tell who has only one claim.
        if !*told.borrow() {
            self.resolve_claims().await?;
        }
        for change in mem::take(&mut self.parked).into_values() {
            self.recorder.change(change);
        }
        Ok(self.blanked)
    }

    fn render(&self, contact: CrmContact) -> Result<Candidate, (ChatId, Refusal)> {
        let CrmContact { id, chat, first, last, stage, version, .. } = contact;
        match self.naming.render(&first, &last, stage.as_deref()) {
            Ok(rendered) => {
                let wanted = Wanted {
                    crm_id: id.into(),
                    version,
                    name: rendered.name,
                    base: rendered.base,
                    tag: rendered.tag,
                    rules: self.naming.version(),
                    cause: Cause::New,
                    rivals: Box::default(),
                };
                Ok(Candidate { chat, wanted })
            }
            Err(error) => {
                let refusal = Refusal {
                    reason: RefusalReason::EmptyName,
                    line: None,
                    crm_id: Some(id),
                    detail: format!("{error}; the contact is left as it is"),
                };
                Err((chat, refusal))
            }
        }
    }

    /// Lets the ledger sift a batch while the next is read; what it finds must not be older than what was written down, so that
    /// is done first.
    async fn sift(&mut self, batch: Vec<Candidate>) -> Result<(), SyncError> {
        self.write_down().await?;
        let (ledger, instance) = (Arc::clone(&self.ledger), self.lease.instance.clone());
        self.sifting = Some(tokio::spawn(async move { ledger.sift(&instance, batch).await }));
        Ok(())
    }

    /// Writes down what the batch that was sifted brings.
    async fn write_down(&mut self) -> Result<(), SyncError> {
        let Some(sifting) = self.sifting.take() else { return Ok(()) };
        let sifted = match sifting.await {
            Ok(sifted) => sifted?,
            Err(error) => resume_unwind(error.into_panic()),
        };
        for slot in sifted.unchanged {
            let counter = if self.met.meet(slot) {
                &mut self.recorder.summary.unchanged
            } else {
                &mut self.recorder.summary.stale
            };
            *counter += 1;
        }
        let mut touched: HashMap<ChatId, (Row, bool)> = HashMap::new();
        for (candidate, stored) in sifted.rest {
            let (row, dirty) = match touched.remove(&candidate.chat) {
                Some((row, dirty)) => (Some(row), dirty),
                None => (stored, false),
            };
            let (row, changed) = self.wish(candidate, row);
            touched.insert(row.chat.clone(), (row, dirty || changed));
        }
        self.save(touched.into_values().filter_map(|(row, dirty)| dirty.then_some(row)).collect()).await?;
        self.recorder.tell(&Progress::Taken(self.taken));
        Ok(())
    }

    async fn save(&self, rows: Vec<Row>) -> Result<(), SyncError> {
        if !rows.is_empty() {
            self.ledger.save(self.lease, rows, Vec::new()).await?;
        }
        Ok(())
    }

    /// Lets one wish meet its row, and says whether the row is to be stored.
    fn wish(&mut self, candidate: Candidate, row: Option<Row>) -> (Row, bool) {
        let Some(row) = row else { return (candidate.into(), true) };
        let owner = &row.wanted.crm_id;
        let is_first = !self.met.contains(row.slot);
        if !row.wanted.rivals.is_empty() || (candidate.wanted.crm_id != *owner && !is_first) {
            return self.contest(candidate, row);
        }
        self.met.meet(row.slot);
        let before = (!is_first).then(|| row.clone());
        let (row, action) = decide(row, Event::Wished(candidate.wanted), Timestamp::default());
        if action == Action::Stale || (action == Action::Keep && !is_first) {
            self.recorder.summary.stale += 1;
        }
        self.count(before.as_ref(), &row);
        (row, action == Action::Store)
    }

    /// Notes that several CRM rows claim one person, which stops its row until one claim is left.
    fn contest(&mut self, candidate: Candidate, row: Row) -> (Row, bool) {
        let owner = row.wanted.crm_id.clone();
        let mut ids: BTreeSet<Box<str>> = row.wanted.rivals.iter().cloned().collect();
        let claims = self.claims.entry(row.chat.clone()).or_default();
        if ids.is_empty() {
            claims.insert(owner.clone(), None);
            self.recorder.summary.unchanged -= u64::from(row.is_settled());
            self.parked.remove(&row.chat);
        }
        let id = candidate.wanted.crm_id.clone();
        if id != owner {
            ids.insert(id.clone());
        }
        let claim = self.claims.entry(row.chat.clone()).or_default().entry(id).or_default();
        let version = candidate.wanted.version;
        if claim.as_ref().is_none_or(|held| version.is_none() || version >= held.wanted.version) {
            *claim = Some(candidate);
        }
        let (row, action) = decide(row, Event::Contested(ids.into_iter().collect()), Timestamp::default());
        (row, action == Action::Store)
    }

    /// Refuses all claims on persons that several rows claimed in this run, and gives the others to the one row that came.
    async fn resolve_claims(&mut self) -> Result<(), SyncError> {
        let claims = mem::take(&mut self.claims);
        let mut freed = Vec::new();
        for (chat, claims) in claims {
            if claims.len() > 1 {
                self.refuse_claims(&chat, &claims);
            } else if let Some(candidate) = claims.into_values().next().flatten() {
                freed.push(candidate);
            }
        }
        for batch in freed.chunks(BATCH) {
            let chats: Vec<ChatId> = batch.iter().map(|candidate| candidate.chat.clone()).collect();
            let rows = self.ledger.load(&self.lease.instance, &chats).await?;
            let freed = rows.into_iter().flatten().zip(batch);
            let rows: Vec<Row> = freed.map(|(row, claim)| self.free(row, claim.wanted.clone())).collect();
            self.save(rows).await?;
        }
        Ok(())
    }

    fn free(&mut self, row: Row, wanted: Wanted) -> Row {
        let (row, _) = decide(row, Event::Contested(Box::default()), Timestamp::default());
        let (row, _) = decide(row, Event::Wished(wanted), Timestamp::default());
        self.count(None, &row);
        row
    }

    fn refuse_claims(&mut self, chat: &ChatId, claims: &Claims) {
        for id in claims.keys() {
            let others: Vec<&str> = claims.keys().filter(|other| *other != id).map(AsRef::as_ref).collect();
            self.recorder.refuse(Refusal {
                reason: RefusalReason::DuplicateIdentity,
                line: None,
                crm_id: Some(id.to_string()),
                detail: format!("{chat} is also claimed by row {}; merge them in the CRM", others.join(", ")),
            });
        }
    }

    /// Counts a row that is not due, once; `before` is how it was counted when another CRM row of this run had its say.
    fn count(&mut self, before: Option<&Row>, row: &Row) {
        let was_settled = before.is_some_and(Row::is_settled);
        let unchanged = &mut self.recorder.summary.unchanged;
        *unchanged = *unchanged + u64::from(row.is_settled()) - u64::from(was_settled);
        match (row.due_at(), row.trouble()) {
            (None, Some(trouble)) if !row.is_settled() => {
                let outcome = Outcome::Parked { kind: trouble.kind, message: trouble.message.clone() };
                self.parked.insert(row.chat.clone(), Change::of(row, outcome));
            }
            _ => drop(self.parked.remove(&row.chat)),
        }
    }

    async fn count_blanked(&mut self, chats: Vec<ChatId>) -> Result<(), SyncError> {
        let rows = self.ledger.load(&self.lease.instance, &chats).await?;
        self.blanked += rows.into_iter().flatten().filter(|row| row.shown().is_some()).count() as u64;
        Ok(())
    }
}

/// The rows met in this run: one bit for each row that the ledger held when the run began.
///
/// A row with a later slot, or none yet, was made in this run, so it was met.
struct Slots {
    bits: Vec<u64>,
    last: u64,
}

impl Slots {
    fn new(last: u64) -> Self {
        Self { bits: Vec::new(), last }
    }

    fn contains(&self, slot: u64) -> bool {
        slot == 0 || slot > self.last || self.bits.get(index(slot)).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }

    /// Meets a row, and says whether that is the first time.
    fn meet(&mut self, slot: u64) -> bool {
        if self.contains(slot) {
            return false;
        }
        if self.bits.len() <= index(slot) {
            self.bits.resize(index(slot) + 1, 0);
        }
        self.bits[index(slot)] |= 1 << (slot % 64);
        true
    }
}

fn index(slot: u64) -> usize {
    usize::try_from(slot / 64).unwrap_or(usize::MAX)
}
