//! The pusher lane: records that are due become calls, and their answers become records.
//!
//! Each contact goes through four hands. It is **marked** in doubt, which is made durable; it is **sent**, once it has a slot and a
//! permit; it is **completed** by an answer; and the answer is made durable, which is when it is **done**. One save is under way at
//! a time and takes everything that waits for one, so a slow disk makes larger batches, not longer queues.
//!
//! A record that another lane stored meanwhile loses its save. A mark that is lost is forgotten: the contact is still due. An answer
//! that is lost is decided again on the record as it is now.

use std::{
    collections::{HashSet, VecDeque},
    future::{Future, pending},
    mem,
    panic::resume_unwind,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    task::{AbortHandle, JoinError, JoinSet},
    time::Instant,
};
use tracing::Instrument as _;

use super::{
    SyncError,
    gate::{Passage, Verdict},
    report::{Change, Outcome, Progress},
    run::{Run, Store, stopped},
    verify::{Check, NOT_KEPT, Verify},
};
use crate::{
    ChatId, Error, ErrorKind,
    book::Permit,
    ledger::{Lease, LedgerError, LedgerErrorKind, Query, Write},
    record::{Blame, Event, Failure, Park, Record, Status, decide},
    time::Timestamp,
};

/// How many due records are loaded at once where there is no pace.
const PAGE: usize = 512;
/// After how long a wait for its turn a mark is compared with the ledger once more, right before the call.
const LONG_TURN: Duration = Duration::from_millis(100);
/// The longest rest without a look at what other lanes have made due.
const GLANCE: Duration = Duration::from_secs(1);

/// A contact between its mark and its answer.
struct Flight {
    record: Record,
}

/// What one save writes down.
#[derive(Default)]
struct Batch {
    marked: Vec<Record>,
    settled: Vec<Settled>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.marked.is_empty() && self.settled.is_empty()
    }
}

/// A contact whose answer is known, or that was not called.
struct Settled {
    record: Record,
    event: Event,
    /// What is reported once it is durable.
    change: Option<Change>,
    /// Whether it is read back before that.
    is_checked: bool,
}

/// A batch that was saved, and the places in it of what lost.
struct Saved {
    batch: Batch,
    lost: Vec<usize>,
}

type Saving = Pin<Box<dyn Future<Output = Result<Saved, LedgerError>> + Send>>;

/// The push loop of one run.
pub(super) struct Pusher {
    run: Run,
    page: VecDeque<Record>,
    /// Contacts between their mark and the save of their answer: never called twice at the same time.
    active: HashSet<ChatId>,
    batch: Batch,
    /// The save under way. Nothing else is asked of the ledger meanwhile, so that one with a single connection cannot get stuck.
    saving: Option<Saving>,
    /// How many marks it takes.
    marking: usize,
    /// How many answers it takes.
    settling: usize,
    ready: VecDeque<Flight>,
    flights: JoinSet<(Flight, Result<(), Error>)>,
    /// Contacts that were refused since the last success: the next one tells whether they are to blame.
    refused: Vec<(Flight, Error)>,
    /// Acknowledged names that are to be read back, in the order in which that is due.
    checks: VecDeque<Check>,
    /// When the calls in flight are given up, once the run was told to stop.
    grace_ends: Option<Instant>,
}

impl Pusher {
    fn new(run: Run) -> Self {
        Self {
            run,
            page: VecDeque::new(),
            active: HashSet::new(),
            batch: Batch::default(),
            saving: None,
            marking: 0,
            settling: 0,
            ready: VecDeque::new(),
            flights: JoinSet::new(),
            refused: Vec::new(),
            checks: VecDeque::new(),
            grace_ends: None,
        }
    }

    /// Pushes until nothing is due, the gate stays closed, or the run is told to stop; gives the run back.
    ///
    /// The loop is a task of its own, so that an answer, its save and the next call are the same thread's, whichever awaits the run. What
    /// the lease holds on to stays here, because it must go with the run at once if that is dropped.
    pub(super) async fn push(mut run: Run) -> Result<Run, SyncError> {
        let held = run.lease.take();
        run.lease = held.as_ref().map(|lease| Lease::new(lease.instance.clone(), lease.fence));
        let task = tokio::spawn(Self::new(run).drain_or_give_up().in_current_span());
        let _ended = EndedWithRun(task.abort_handle());
        let mut run: Run = joined(task.await)?;
        run.lease = held;
        Ok(run)
    }

    async fn drain_or_give_up(mut self) -> Result<Run, SyncError> {
        let ended = self.drain().await;
        if ended.is_err() {
            // Whatever is under way stays in doubt.
            self.saving = None;
            self.flights.abort_all();
            self.run.give_up().await;
        }
        ended.map(|()| self.run)
    }

    async fn drain(&mut self) -> Result<(), SyncError> {
        self.run.note_dead_runs().await?;
        self.run.resolve_held().await?;
        loop {
            if self.run.is_clock_set_back() {
                self.finish_saving().await?;
            }
            self.run.notice_clock().await?;
            // A clock that jumped ahead must not let something else be ready for ever, which nothing can come of without the lease.
            if self.run.renewal().is_zero() {
                self.renew_in_time().await?;
            }
            self.mark().await?;
            self.withdraw_if_closed();
            self.start_saving();
            if self.is_idle() {
                if self.end_of_refusals().await? {
                    continue;
                }
                if !self.rest().await? {
                    self.checks.drain(..).for_each(|check| self.run.recorder.change(check.change));
                    return Ok(());
                }
                continue;
            }
            let can_send = self.can_send();
            let renewal = self.run.renewal();
            tokio::select! {
                biased;
                () = stopped(&mut self.run.stop), if self.grace_ends.is_none() => self.stop(),
                Some(completed) = self.flights.join_next() => self.complete(completed).await?,
                saved = done(&mut self.saving) => self.saved(saved?).await?,
                permit = self.run.sync.book.permit(), if can_send => self.permitted(permit).await?,
                () = given_up(self.grace_ends), if !self.flights.is_empty() => self.flights.shutdown().await,
                () = tokio::time::sleep(renewal) => self.renew_in_time().await?,
            }
            self.catch_up().await?;
        }
    }

    /// Takes everything else that is ready by now, so that one save serves it all.
    async fn catch_up(&mut self) -> Result<(), SyncError> {
        while let Some(completed) = self.flights.try_join_next() {
            self.complete(completed).await?;
        }
        while self.can_send() {
            let Some(permit) = at_once(self.run.sync.book.permit()) else { return Ok(()) };
            self.permitted(permit).await?;
        }
        Ok(())
    }

    /// Marks as many due records as there is room for.
    async fn mark(&mut self) -> Result<(), SyncError> {
        if self.checks.front().is_some_and(|check| check.wait().is_zero()) {
            // As for any read: no answer would be heeded meanwhile.
            return if self.is_idle() { self.check_all().await } else { Ok(()) };
        }
        if self.run.trial.is_under_way() && !self.is_canary_free().await? {
            return Ok(());
        }
        let room = match self.passage() {
            Passage::Free if self.run.trial.is_under_way() => 1,
            Passage::Free => self.run.sync.window(),
            Passage::Probe => 1,
            Passage::Wait(_) | Passage::Closed => 0,
        };
        // Those that were refused wait for somebody else's success, so they take no room.
        while self.active.len() - self.refused.len() < room {
            if self.page.is_empty() && !self.load_page().await? {
                break;
            }
            if !self.is_affordable().await? {
                break;
            }
            let Some(record) = self.page.pop_front() else { break };
            // A read may take its time, in which no answer would be heeded, and none written down.
            let must_ask = record.chat.is_lid() || self.run.needs_check(&record) || self.run.needs_look(&record);
            if must_ask && !self.is_idle() {
                self.page.push_front(record);
                break;
            }
            if !self.look(&record).await? {
                break;
            }
            if let Some(run) = record.pushed.calling.filter(|run| self.run.is_dead(*run)) {
                self.active.insert(record.chat.clone());
                self.settle(record, Event::Died { run }, None);
                continue;
            }
            let event = Event::Begin { run: self.run.number };
            let decision = decide(&record, event, &self.run.policy(), self.run.now());
            if decision.calls() && self.active.insert(record.chat.clone()) {
                if self.run.trial.choose(&record.chat) {
                    self.page.clear();
                }
                self.batch.marked.push(decision.record);
            }
        }
        Ok(())
    }

    /// Whether the daily cap leaves a call for another contact; those that are left are counted here, before their marks.
    async fn is_affordable(&mut self) -> Result<bool, SyncError> {
        if self.run.allotted() > self.unsent() {
            return Ok(true);
        }
        self.finish_saving().await?;
        self.run.allot(self.unsent() + self.run.sync.window()).await?;
        Ok(self.run.allotted() > self.unsent())
    }

    /// How many contacts are marked, or about to be, and not called yet.
    fn unsent(&self) -> usize {
        self.batch.marked.len() + self.marking + self.ready.len()
    }

    /// Looks at what a contact shows, and says whether it can be called as it was loaded.
    async fn look(&mut self, record: &Record) -> Result<bool, SyncError> {
        if record.chat.is_lid() {
            if !self.run.resolve(record).await? {
                self.run.contact_failed(&record.chat);
            }
            self.page.clear();
            return Ok(false);
        }
        if self.run.needs_check(record) {
            self.run.check(record).await?;
            self.page.clear();
            return Ok(false);
        }
        if !self.run.needs_look(record) {
            return Ok(true);
        }
        let (expected, last) = (self.expected(), self.run.looked.book_at());
        self.run.look(&mut Store::Ledger, expected).await?;
        if self.run.looked.book_at() == last {
            self.run.look_at(&mut Store::Ledger, record).await?;
            self.note_shown(record).await?;
        }
        // What was seen is in the ledger: the record is loaded again with it.
        self.page.clear();
        Ok(false)
    }

    /// Reports a contact as done whose request was not answered, if a read has shown its name.
    async fn note_shown(&mut self, doubted: &Record) -> Result<(), SyncError> {
        if doubted.pushed.in_doubt.is_none() {
            return Ok(());
        }
        let record = self.run.stored(&doubted.chat).await?;
        if record.is_some_and(|record| record.status == Status::InSync) {
            self.run.contact_worked(&doubted.chat);
            self.run.recorder.summary.verified += 1;
            if let Some(change) = Change::of(doubted, Outcome::Done) {
                self.run.recorder.change(change);
            }
        }
        Ok(())
    }

    /// Reads back what is due for that.
    async fn check_all(&mut self) -> Result<(), SyncError> {
        while self.checks.front().is_some_and(|check| check.wait().is_zero())
            && let Some(check) = self.checks.pop_front()
        {
            self.check(check).await?;
        }
        self.page.clear();
        Ok(())
    }

    /// Reads one acknowledged name back.
    async fn check(&mut self, check: Check) -> Result<(), SyncError> {
        let chat = &check.change.chat;
        let is_canary = self.run.trial.canary() == Some(chat);
        let Some(record) = self.run.stored(chat).await? else { return Ok(()) };
        let is_verified = |record: &Record| {
            let sent = record.pushed.sent.as_ref().filter(|sent| sent.wish.name.is_full(&check.change.after));
            sent.map(|sent| sent.verified_at.is_some())
        };
        let is_open = is_verified(&record) == Some(false) && record.pushed.in_doubt.is_none();
        let blame = if is_canary { Blame::Unclear } else { Blame::Contact };
        let attempts = record.failure().filter(|last| last.kind == ErrorKind::Unkept).map_or(0, |last| last.attempts);
        let is_readable = is_open && !self.run.looked.is_blind() && !self.run.is_stopped();
        let seen = if is_readable { self.run.look_again(&record, check.replaced(blame)).await? } else { None };
        let record = seen.unwrap_or(record);
        let is_unkept = record.failure().is_some_and(|failure| failure.kind == ErrorKind::Unkept)
            && record.status != Status::InSync;
        self.run.recorder.summary.verified += u64::from(is_verified(&record) == Some(true));
        if record.status == Status::InSync {
            self.run.recorder.change(check.change);
        }
        if is_canary && !is_unkept {
            self.run.trial.end();
        } else if is_canary && attempts >= self.run.sync.repeats.0 {
            self.run.shut(&Error::new(ErrorKind::Unkept).with_hint(NOT_KEPT)).await?;
        }
        Ok(())
    }

    /// Whether the contact that goes first can be called, or has to be chosen.
    async fn is_canary_free(&mut self) -> Result<bool, SyncError> {
        if self.active.len() > self.refused.len() || !self.checks.is_empty() {
            return Ok(false);
        }
        let Some(chat) = self.run.trial.canary().cloned() else { return Ok(true) };
        self.finish_saving().await?;
        let due = self.run.stored(&chat).await?.and_then(|record| record.status.due_at());
        let due = due.filter(|_| !self.run.is_given_up(&chat));
        if due.is_none() {
            self.run.trial.choose_again();
        }
        Ok(due.is_none_or(|due| due <= self.run.now()))
    }

    /// When something is to be done next.
    async fn next(&mut self) -> Result<Option<Timestamp>, SyncError> {
        let check = self.checks.front().map(|check| self.run.now().after(check.wait()));
        let is_on_trial = check.is_some() && self.run.trial.canary().is_some();
        let due = if is_on_trial { None } else { self.run.next_turn().await? };
        let due = due.map(|due| due.max(self.run.spent_until().unwrap_or_default()));
        Ok(check.into_iter().chain(due).min())
    }

    /// How many calls are ahead, about.
    fn expected(&self) -> u64 {
        let summary = &self.run.recorder.summary;
        let done = summary.created + summary.renamed + summary.parked;
        self.run.planned.saturating_sub(done).max(1)
    }

    /// Loads records that are due, and says whether there were any.
    ///
    /// What is done is due no more, so the first page always holds what is to be done next: also a contact whose time to be tried
    /// again has come, or that another lane made due just now.
    async fn load_page(&mut self) -> Result<bool, SyncError> {
        self.finish_saving().await?;
        let page = if self.run.sync.book.pace().interval().is_zero() { PAGE } else { self.run.sync.in_flight };
        let limit = page + self.active.len() + self.run.given_up_count();
        let records = match self.run.trial.canary() {
            Some(chat) => self.run.stored(chat).await?.into_iter().collect(),
            None => self.run.due(self.run.now(), limit).await?,
        };
        let is_open = |record: &Record| !self.active.contains(&record.chat) && !self.run.is_given_up(&record.chat);
        self.page = records.into_iter().filter(is_open).take(page).collect();
        Ok(!self.page.is_empty())
    }

    fn passage(&self) -> Passage {
        if self.run.is_stopped() { Passage::Closed } else { self.run.gate.passage(self.run.now()) }
    }

    /// Takes the marks back of contacts that are not to be called.
    fn withdraw_if_closed(&mut self) {
        if matches!(self.passage(), Passage::Wait(_) | Passage::Closed) {
            for record in mem::take(&mut self.batch.marked) {
                self.active.remove(&record.chat);
            }
            for flight in mem::take(&mut self.ready) {
                self.settle(flight.record, Event::Cancel, None);
            }
        }
    }

    fn start_saving(&mut self) {
        if self.saving.is_some() || self.batch.is_empty() {
            return;
        }
        let batch = mem::take(&mut self.batch);
        (self.marking, self.settling) = (batch.marked.len(), batch.settled.len());
        let (policy, now) = (self.run.policy(), self.run.now());
        let marks = batch.marked.iter().map(|record| Write::from(record.clone()));
        let decision = |settled: &Settled| decide(&settled.record, settled.event.clone(), &policy, now);
        let answers = batch.settled.iter().map(|settled| Write::from(decision(settled)));
        let writes: Vec<Write> = marks.chain(answers).collect();
        let ledger = Arc::clone(&self.run.sync.ledger);
        let instance = self.run.sync.book.instance().clone();
        // The fence is all that a save needs.
        let lease = self.run.lease.as_ref().map(|lease| Lease::new(instance.clone(), lease.fence));
        self.saving = Some(Box::pin(async move {
            let lost = ledger.commit(&instance, lease.as_ref(), writes).await?;
            Ok(Saved { batch, lost })
        }));
    }

    /// Waits for the save under way, before something else is asked of the ledger.
    async fn finish_saving(&mut self) -> Result<(), SyncError> {
        while self.saving.is_some() {
            let saved = done(&mut self.saving).await?;
            self.saved(saved).await?;
        }
        Ok(())
    }

    async fn renew_in_time(&mut self) -> Result<(), SyncError> {
        self.finish_saving().await?;
        self.run.renew_in_time().await
    }

    async fn saved(&mut self, Saved { batch, lost }: Saved) -> Result<(), SyncError> {
        (self.marking, self.settling) = (0, 0);
        let marks = batch.marked.len();
        for (at, mut record) in batch.marked.into_iter().enumerate() {
            if lost.contains(&at) {
                self.active.remove(&record.chat);
                self.page.clear();
            } else {
                record.revision += 1;
                self.ready.push_back(Flight { record });
            }
        }
        let mut again = Vec::new();
        for (at, settled) in batch.settled.into_iter().enumerate() {
            if lost.contains(&(marks + at)) {
                again.push(settled);
            } else {
                self.done(&settled);
            }
        }
        self.run.keep_lines().await?;
        self.settle_again(again).await
    }

    /// Decides answers again on the records as they are now.
    async fn settle_again(&mut self, again: Vec<Settled>) -> Result<(), SyncError> {
        if again.is_empty() {
            return Ok(());
        }
        let chats: Vec<ChatId> = again.iter().map(|settled| settled.record.chat.clone()).collect();
        let instance = self.run.sync.book.instance();
        let records = self.run.sync.ledger.fetch(instance, Query::Chats(&chats)).await?;
        for settled in again {
            match records.iter().find(|record| record.answers_to(&settled.record.chat)) {
                Some(record) => self.batch.settled.push(Settled { record: record.clone(), ..settled }),
                // The person was forgotten meanwhile: there is nobody to report on.
                None => self.done(&Settled { change: None, ..settled }),
            }
        }
        Ok(())
    }

    /// An answer is durable.
    fn done(&mut self, settled: &Settled) {
        self.active.remove(&settled.record.chat);
        match &settled.change {
            Some(change) if settled.is_checked => self.checks.push_back(Check::new(change.clone())),
            Some(change) => self.run.recorder.change(change.clone()),
            None => {}
        }
    }

    fn can_send(&self) -> bool {
        let slots = match self.passage() {
            Passage::Free => self.run.trial.slots(),
            Passage::Probe => 1,
            Passage::Wait(_) | Passage::Closed => 0,
        };
        // Answers that are not durable yet are repeated after a crash, so few may wait for it.
        let unsaved = self.flights.len() + self.batch.settled.len() + self.settling;
        !self.ready.is_empty() && self.flights.len() < slots && unsaved < self.run.sync.in_flight.saturating_mul(2)
    }

    /// Sends the next contact that is marked; or, if the server asked for a pause, tells the gate.
    async fn permitted(&mut self, permit: Result<Permit, Error>) -> Result<(), SyncError> {
        match permit {
            Ok(permit) => {
                self.overhear().await?;
                if self.run.allotted() == 0 {
                    self.finish_saving().await?;
                    self.run.allot(self.unsent()).await?;
                }
                self.send(permit);
            }
            Err(error) => {
                self.finish_saving().await?;
                let backoff = self.run.backoff(1);
                self.run.gate_failed(&error, None, backoff).await?;
            }
        }
        Ok(())
    }

    /// Takes the next mark back if it waited for its turn and another lane stored the record meanwhile: the wish may be another one.
    async fn overhear(&mut self) -> Result<(), SyncError> {
        let now = self.run.now();
        let has_waited = |flight: &Flight| {
            let doubt = flight.record.pushed.in_doubt.as_ref();
            doubt.is_some_and(|doubt| now.since(doubt.since) >= LONG_TURN)
        };
        while self.ready.front().is_some_and(has_waited) {
            self.finish_saving().await?;
            let Some(Flight { record }) = self.ready.front() else { return Ok(()) };
            let chats = std::slice::from_ref(&record.chat);
            let stored = self.run.sync.ledger.fetch(self.run.sync.book.instance(), Query::Chats(chats)).await?;
            if stored.iter().any(|stored| stored.chat == record.chat && stored.revision == record.revision) {
                return Ok(());
            }
            let Some(Flight { record }) = self.ready.pop_front() else { return Ok(()) };
            // It is saved over the revision of the mark, and so decided again on what is stored.
            self.settle(record, Event::Cancel, None);
        }
        Ok(())
    }

    fn send(&mut self, permit: Permit) {
        let Some(flight) = self.ready.pop_front() else { return };
        let Some(doubt) = &flight.record.pushed.in_doubt else { return };
        // The mark, and the lease, must outlast the request, however long the call waited for its turn.
        let ends = self.run.now().after(self.run.sync.book.deadline());
        if ends > doubt.until || ends > self.run.leased_until || self.run.allotted() == 0 {
            self.settle(flight.record, Event::Cancel, None);
            return;
        }
        self.run.spend();
        self.run.recorder.summary.calls += 1;
        let (book, name) = (Arc::clone(&self.run.sync.book), doubt.wish.name.clone());
        self.flights.spawn(async move {
            let answer = book.update(permit, &flight.record.chat, &name).await;
            (flight, answer)
        });
    }

    async fn complete(&mut self, completed: Result<(Flight, Result<(), Error>), JoinError>) -> Result<(), SyncError> {
        let (flight, answer) = match completed {
            Ok(completed) => completed,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // Given up on stop: it stays in doubt, as it is in the ledger.
            Err(_) => return Ok(()),
        };
        match answer {
            Ok(()) => {
                self.run.gate.well(self.run.now());
                if self.run.has_reopened() {
                    self.finish_saving().await?;
                    self.run.note_opening().await?;
                }
                self.run.contact_worked(&flight.record.chat);
                self.blame_refused(Blame::Contact);
                self.run.trial.well();
                let change = Change::of(&flight.record, Outcome::Done);
                let is_checked = self.is_checked(&flight.record);
                let event = Event::Acknowledged;
                self.batch.settled.push(Settled { record: flight.record, event, change, is_checked });
            }
            Err(error) => self.failed(flight, error).await?,
        }
        Ok(())
    }

    /// Whether a contact is read back whose request is acknowledged now.
    fn is_checked(&self, marked: &Record) -> bool {
        let was_unkept = marked.failure().is_some_and(|failure| failure.kind == ErrorKind::Unkept);
        let verify = self.run.sync.verify;
        let is_canary = self.run.trial.canary() == Some(&marked.chat);
        is_canary || verify.picks(marked) || (was_unkept && verify != Verify::Never)
    }

    async fn failed(&mut self, flight: Flight, error: Error) -> Result<(), SyncError> {
        self.finish_saving().await?;
        self.run.trial.choose_again();
        if error.is_in_doubt() && self.run.sync.verify != Verify::Never {
            self.run.looked.doubt(&flight.record.chat);
        }
        let backoff = self.run.backoff(self.run.gate.streak() + 1);
        let verdict = self.run.gate_failed(&error, Some(&flight.record), backoff).await?;
        if verdict != Verdict::Settled(Blame::Instance) {
            self.run.contact_failed(&flight.record.chat);
        }
        match verdict {
            Verdict::Settled(blame) => self.settle_failure(flight, &error, blame),
            Verdict::Pending => self.refused.push((flight, error)),
        }
        Ok(())
    }

    fn settle_failure(&mut self, flight: Flight, error: &Error, blame: Blame) {
        let event = Event::Failed(Failure::new(error, blame, fastrand::f64()));
        let decision = decide(&flight.record, event.clone(), &self.run.policy(), self.run.now());
        let is_parked = matches!(decision.record.status, Status::Parked { reason: Park::Refused });
        if is_parked {
            tracing::warn!(instance = %self.run.sync.book.instance(), kind = error.kind().code(), "a contact is parked");
        }
        self.settle(flight.record, event, None);
    }

    fn settle(&mut self, record: Record, event: Event, change: Option<Change>) {
        self.batch.settled.push(Settled { record, event, change, is_checked: false });
    }

    /// Settles the contacts that were refused since the last success.
    fn blame_refused(&mut self, blame: Blame) {
        for (flight, error) in mem::take(&mut self.refused) {
            self.settle_failure(flight, &error, blame);
        }
    }

    /// Nothing else is under way that could tell who is to blame for refusals. Says whether there were any.
    async fn end_of_refusals(&mut self) -> Result<bool, SyncError> {
        if self.refused.is_empty() {
            return Ok(false);
        }
        let due = self.run.due(Timestamp::MAX, 2).await?.len();
        let blame = if self.run.gate.blames_refused(due) { Blame::Contact } else { Blame::Unclear };
        self.blame_refused(blame);
        Ok(true)
    }

    /// Whether nothing is under way: no call, and nothing that is to be written down.
    fn is_idle(&self) -> bool {
        let is_saved = self.saving.is_none() && self.batch.is_empty();
        is_saved && self.flights.is_empty() && self.ready.is_empty()
    }

    /// Waits while nothing is in flight, and says whether there is more to do.
    async fn rest(&mut self) -> Result<bool, SyncError> {
        match self.passage() {
            Passage::Closed => return Ok(false),
            Passage::Wait(until) => self.run.wait_until(until).await?,
            Passage::Free | Passage::Probe => {
                let Some(due) = self.next().await? else { return Ok(false) };
                let now = self.run.now();
                if due.since(now) > self.run.sync.max_wait {
                    return Ok(false);
                }
                self.run.wait_until(due.min(now.after(GLANCE))).await?;
            }
        }
        self.page.clear();
        Ok(!self.run.is_stopped())
    }

    fn stop(&mut self) {
        self.run.recorder.tell(&Progress::Stopping(self.flights.len()));
        let now = Instant::now();
        // A grace beyond what a clock can tell has no end.
        self.grace_ends = Some(now.checked_add(self.run.sync.grace).unwrap_or(now + Duration::from_secs(86_400 * 365)));
    }
}

/// Ends a task that nobody awaits any more.
struct EndedWithRun(AbortHandle);

impl Drop for EndedWithRun {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The result of a task that is neither aborted nor lost while whoever awaits it lives.
fn joined<T, E: From<LedgerError>>(done: Result<Result<T, E>, JoinError>) -> Result<T, E> {
    match done.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => resume_unwind(panic),
        Err(Err(error)) => {
            let detail = "the runtime ended before the ledger could answer; keep it until the last call returns";
            Err(LedgerError::new(LedgerErrorKind::Unavailable, detail).because(error).into())
        }
    }
}

/// Completes with the save under way, if there is one.
async fn done(saving: &mut Option<Saving>) -> Result<Saved, LedgerError> {
    let Some(under_way) = saving else { return pending().await };
    let saved = under_way.await;
    *saving = None;
    saved
}

async fn given_up(grace_ends: Option<Instant>) {
    match grace_ends {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

/// The output of a future that is ready now.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
