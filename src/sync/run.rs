//! What a plan and a run share: their state, their waits, and where their records are.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    mem,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{
    ContactSync, LEASE, SyncError,
    again::Staged,
    gate::{Gate, Passage, Verdict, brought_back, human_step},
    look::Looked,
    report::{Change, Outcome, Progress, Recorder},
    verify::Trial,
};
use crate::{
    ChatId, Error, ErrorClass, ErrorKind,
    book::SessionStatus,
    ledger::{Closed, Diff, InstanceState, Lease, LedgerErrorKind, Query, Write},
    pace::{Budget, Schedule, daily::is_same_hour},
    record::{Decision, Drift, Edit, Event, Policy, Record, decide, merge},
    time::Timestamp,
};

/// How many records are listed at once.
const CHUNK: usize = 512;
/// How many contacts of an undo are looked through first for those that are due.
const STRIDE: usize = 16;
/// Of how many runs it is known at the most that they died.
const RUNS: usize = 100;
/// What the owner of a lease ends with that is taken for a plan: it reads, and calls nobody.
const PLANS: &str = " (plan)";
/// How often a lease is asked for that a plan holds.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How much longer than the pace asks for a call may wait between its mark and its start.
const SLACK: Duration = Duration::from_secs(5);

/// One run, or one plan, of a sync.
pub(super) struct Run {
    pub(super) sync: ContactSync,
    /// The number of the run; 0 for a plan.
    pub(super) number: u64,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) gate: Gate,
    pub(super) recorder: Recorder,
    pub(super) looked: Looked,
    pub(super) state: InstanceState,
    /// The right to call; without it the run is the CRM lane alone.
    pub(super) lease: Option<Lease>,
    /// Until when the lease is held for certain.
    pub(super) leased_until: Timestamp,
    /// The account behind the instance, if it was asked.
    pub(super) account: Option<ChatId>,
    /// Whether it is another one than the ledger knows the names of.
    pub(super) is_other_account: bool,
    /// The latest moment that the clock has shown to the pusher.
    pub(super) latest: Timestamp,
    /// How many calls the run is expected to make.
    pub(super) planned: u64,
    /// Whether it carries out what was staged, or nothing.
    pub(super) is_exact: bool,
    /// The contacts that an undo is about; `None` for all.
    pub(super) only: Option<Only>,
    /// What was decided in records that have not taken effect yet.
    pub(super) staged: Staged,
    /// Runs that never came to their end.
    dead: HashSet<u64>,
    /// What persons saved, in records that have not taken effect yet.
    pub(super) edits: Vec<Edit>,
    /// How often contacts failed in this run; those that failed too often are left for a later one.
    failures: HashMap<ChatId, u32>,
    policy: Policy,
    allotment: Allotment,
    /// What the session was doing when it was last asked for, in this closing of the gate or before it.
    pub(super) session: Option<SessionStatus>,
    /// Whether it was found out what helps against this closing of the gate.
    is_closing_noted: bool,
    pub(super) trial: Trial,
}

/// The contacts that an undo is about, in the order of chats.
#[derive(Default)]
pub(super) struct Only {
    chats: Vec<ChatId>,
    /// The place before which none was due when that was last asked: the search for those that are goes on from here, and round.
    from: usize,
}

impl Only {
    pub(super) fn new(chats: BTreeSet<ChatId>) -> Self {
        Self { chats: chats.into_iter().collect(), from: 0 }
    }
}

/// Update calls that are counted in the ledger and not made yet.
#[derive(Debug, Clone, Copy)]
struct Allotment {
    left: u32,
    /// When they were counted: they have to be made within the same hour.
    at: Timestamp,
}

impl Run {
    pub(super) async fn begin(
        sync: &ContactSync,
        stop: watch::Receiver<bool>,
        recorder: Recorder,
        number: u64,
    ) -> Result<Self, SyncError> {
        let now = sync.clock.now();
        let state = sync.ledger.state(sync.book.instance()).await?;
        let gate = Gate::new(sync.max_wait, &state, now);
        let policy = sync.policy(Policy::default().deadline);
        let (looked, leased_until) = (Looked::default(), now);
        let (lease, account, latest, planned) = (None, None, now, 0);
        Ok(Self {
            sync: sync.clone(),
            number,
            stop,
            gate,
            recorder,
            looked,
            state,
            lease,
            leased_until,
            account,
            is_other_account: false,
            latest,
            planned,
            is_exact: false,
            only: None,
            staged: Staged::default(),
            dead: HashSet::new(),
            edits: Vec::new(),
            failures: HashMap::new(),
            policy,
            allotment: Allotment { left: 0, at: now },
            session: None,
            is_closing_noted: false,
            trial: Trial::new(sync.in_flight),
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.sync.clock.now()
    }

    pub(super) fn policy(&self) -> Policy {
        Policy { deadline: self.deadline(), ..self.policy.clone() }
    }

    /// How long after its mark a request can still take effect: at the pace of now, at which it waits for its turn behind others.
    fn deadline(&self) -> Duration {
        let book = &self.sync.book;
        let turns = u32::try_from(self.sync.in_flight).unwrap_or(u32::MAX).saturating_add(1);
        let queued = book.pace().interval().saturating_mul(turns);
        book.deadline().saturating_add(queued).saturating_add(SLACK)
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// How long to leave something alone that failed so many times.
    pub(super) fn backoff(&self, failures: u32) -> Duration {
        self.policy.backoff.backoff(failures, fastrand::f64())
    }

    /// Takes the lease, unless somebody else pushes for the instance. A plan, which pushes nothing, is waited for.
    pub(super) async fn lease(&mut self) -> Result<(), SyncError> {
        if self.lease.is_some() {
            return Ok(());
        }
        let owner = if self.number == 0 { [&self.sync.owner, PLANS].concat() } else { self.sync.owner.clone() };
        let (ttl, began) = (self.lease_time(), Instant::now());
        loop {
            let until = self.now().after(ttl);
            let busy = match self.sync.ledger.acquire(self.sync.book.instance(), &owner, ttl).await {
                Ok(lease) => {
                    let is_takeover = lease.is_takeover;
                    (self.lease, self.leased_until) = (Some(lease), until);
                    self.recorder.notes.pushed_by = None;
                    // What the holder before this one was told until it let go.
                    self.state = self.sync.ledger.state(self.sync.book.instance()).await?;
                    self.gate.learn(self.state.wait, self.now());
                    return self.rest_after_last_holder(is_takeover).await;
                }
                Err(error) if error.kind() == LedgerErrorKind::Busy => error,
                Err(error) => return Err(error.into()),
            };
            // A store that was busy for too long has no holder to name.
            let Some(holder) = busy.holder() else { return Err(busy.into()) };
            if !holder.ends_with(PLANS) || self.is_stopped() || began.elapsed() >= self.sync.max_wait {
                self.recorder.notes.pushed_by = Some(holder.to_owned());
                return Ok(());
            }
            tokio::select! { biased; () = stopped(&mut self.stop) => {}, () = tokio::time::sleep(ASK_AGAIN) => {} }
        }
    }

    /// Keeps the pace of the holder before this one: a worker that starts again and again must not begin each time with a full burst.
    async fn rest_after_last_holder(&mut self, is_takeover: bool) -> Result<(), SyncError> {
        let (now, pace) = (self.now(), self.sync.book.pace());
        // A holder that is gone without a word may have called just now; so may one whose clock was set back since.
        let last = if is_takeover { Some(now) } else { self.state.released_at.map(|at| at.min(now)) };
        let Some(last) = last else { return Ok(()) };
        // However little the run wants to wait: without the rest it would have to do without calls.
        let rest = pace.interval().saturating_mul(pace.burst_size());
        let mut rested = pin!(tokio::time::sleep(last.after(rest).since(now)));
        loop {
            let renewal = self.renewal();
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return Ok(()),
                () = &mut rested => return Ok(()),
                () = tokio::time::sleep(renewal) => self.renew_in_time().await?,
            }
        }
    }

    /// For how long the lease is taken: well beyond a request, so that it can be renewed in time.
    pub(super) fn lease_time(&self) -> Duration {
        LEASE.max(self.deadline().saturating_mul(3))
    }

    /// How long until the lease has to be renewed; a long time if there is none.
    pub(super) fn renewal(&self) -> Duration {
        match self.lease {
            Some(_) => self.leased_until.since(self.now()).saturating_sub(self.lease_time() / 3 * 2),
            None => LEASE,
        }
    }

    /// Renews the lease, if it is time.
    pub(super) async fn renew_in_time(&mut self) -> Result<(), SyncError> {
        let ttl = self.lease_time();
        let until = self.now().after(ttl);
        if let Some(lease) = self.lease.as_ref().filter(|_| self.renewal().is_zero()) {
            self.sync.ledger.renew(lease, ttl).await?;
            self.leased_until = until;
        }
        Ok(())
    }

    /// Notes which runs of late never came to their end. None of them pushes any more, now that this one does.
    pub(super) async fn note_dead_runs(&mut self) -> Result<(), SyncError> {
        let runs = self.sync.ledger.open_runs(self.sync.book.instance(), RUNS).await?;
        let dead = runs.into_iter().filter(|run| run.run != self.number);
        self.dead = dead.map(|run| run.run).collect();
        Ok(())
    }

    /// Whether a run is known to have died.
    pub(super) fn is_dead(&self, run: u64) -> bool {
        self.dead.contains(&run)
    }

    /// Whether the clock was set back since it was last noticed.
    pub(super) fn is_clock_set_back(&self) -> bool {
        self.now() < self.latest
    }

    /// Brings moments back if the clock was set back since this was asked last.
    pub(super) async fn notice_clock(&mut self) -> Result<(), SyncError> {
        let now = self.now();
        if now < self.latest {
            tracing::warn!(instance = %self.sync.book.instance(), "the clock was set back");
            self.leased_until = self.leased_until.min(now.after(self.lease_time()));
            self.gate.bring_back(now);
            self.correct_clock().await?;
        }
        self.latest = now;
        Ok(())
    }

    /// Brings moments back that were written down while the clock was ahead.
    pub(super) async fn correct_clock(&mut self) -> Result<(), SyncError> {
        let (now, policy) = (self.now(), self.policy());
        let alone = policy.backoff.longest().max(policy.repeat_every);
        let longest = policy.deadline.saturating_add(alone).saturating_add(LEASE);
        self.save_state(|state| {
            state.wait = state.wait.map(|wait| brought_back(wait, now));
            state.budget.bring_back(now);
        })
        .await?;
        // What the server itself asked for stays as far ahead, and is found again where it ends one page and begins the next.
        let (mut after, mut limit) = (now.after(longest), CHUNK);
        loop {
            let records = self.sync.ledger.fetch(self.sync.book.instance(), Query::DueAfter { after, limit }).await?;
            let last = records.last().and_then(|record| record.status.due_at()).filter(|_| records.len() == limit);
            let chats: Vec<ChatId> = records.into_iter().map(|record| record.chat).collect();
            let decide = |record: &Record| Some(decide(record, Event::ClockSetBack, &policy, now));
            let corrected = Store::Ledger.change(self, &chats, decide).await?;
            let Some(last) = last else { return Ok(()) };
            after = last.before(Duration::from_millis(1));
            limit = CHUNK + corrected.iter().filter(|record| record.status.due_at() == Some(last)).count();
        }
    }

    /// Decides anew about all contacts: something happened to the whole instance.
    pub(super) async fn change_all(&mut self, store: &mut Store<'_>, event: &Event) -> Result<(), SyncError> {
        let (now, policy) = (self.now(), self.policy());
        if matches!(store, Store::Staged(_)) {
            self.staged.events.push(event.clone());
        }
        let mut after = None;
        loop {
            let query = Query::All { after: after.as_ref(), limit: CHUNK };
            let records = self.sync.ledger.fetch(self.sync.book.instance(), query).await?;
            let chats: Vec<ChatId> = records.into_iter().map(|record| record.chat).collect();
            let Some(last) = chats.last() else { return Ok(()) };
            after = Some(last.clone());
            store.change(self, &chats, |record| Some(decide(record, event.clone(), &policy, now))).await?;
        }
    }

    /// Decides anew about all contacts if the last run decided by another policy, or could not tell names from tags as this one can.
    pub(super) async fn heed_policy(&mut self, store: &mut Store<'_>) -> Result<(), SyncError> {
        let follows = matches!(self.policy.drift, Drift::PhoneWins | Drift::ByField);
        let has_other_rules = follows && self.state.rules != self.policy.naming.fingerprint();
        if self.state.drift != self.policy.drift || has_other_rules {
            self.change_all(store, &Event::PolicyChanged).await?;
        }
        Ok(())
    }

    /// Whether the run is about a contact: an undo is about those alone that it gives a name back.
    pub(super) fn concerns(&self, chat: &ChatId) -> bool {
        self.only.as_ref().is_none_or(|only| only.chats.binary_search(chat).is_ok())
    }

    /// Finds contacts that are due by a moment, whom the run is about; so many of an undo's that are the next, in whatever order.
    pub(super) async fn due(&mut self, by: Timestamp, limit: usize) -> Result<Vec<Record>, SyncError> {
        let (ledger, instance) = (&self.sync.ledger, self.sync.book.instance());
        let Some(Only { chats, from }) = &mut self.only else {
            return Ok(ledger.fetch(instance, Query::Due { by, limit }).await?);
        };
        // What is done is passed over in strides, so that it costs little to come back to the next one that is not.
        let (mut due, mut passed, mut stride) = (Vec::new(), 0, limit.clamp(STRIDE, CHUNK));
        let first = *from;
        while passed < chats.len() && due.len() < limit {
            let begin = (first + passed) % chats.len();
            let end = chats.len().min(begin + stride.min(chats.len() - passed));
            let found = ledger.fetch(instance, Query::Chats(&chats[begin..end])).await?;
            let is_first = due.is_empty();
            due.extend(found.into_iter().filter(|record| record.status.due_at().is_some_and(|at| at <= by)));
            if is_first {
                *from = begin;
            }
            (passed, stride) = (passed + end - begin, CHUNK.min(stride * 2));
        }
        due.sort_by_key(|record| record.status.due_at());
        Ok(due)
    }

    /// Tells of what persons saved: it has taken effect.
    pub(super) fn tell_edits(&mut self) {
        for edit in mem::take(&mut self.edits) {
            self.recorder.tell(&Progress::Edited(&edit));
        }
    }

    /// How many update calls may be made within this hour that are counted already.
    pub(super) fn allotted(&self) -> usize {
        let is_valid = self.sync.daily.is_none() || is_same_hour(self.allotment.at, self.now());
        let left = if self.sync.daily.is_some() { self.allotment.left } else { u32::MAX };
        if is_valid { left as usize } else { 0 }
    }

    /// An update call is made.
    pub(super) fn spend(&mut self) {
        self.allotment.left = self.allotment.left.saturating_sub(1);
    }

    /// Counts update calls before they are made: so many as are wanted, or as the daily cap allows, in place of those that were counted
    /// and not made yet.
    pub(super) async fn allot(&mut self, wanted: usize) -> Result<(), SyncError> {
        let Some(daily) = self.sync.daily else { return Ok(()) };
        let (now, unused, mut left) = (self.now(), self.allotment, 0);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        self.save_state(|state| {
            *state = with_budget(mem::take(state));
            state.budget.give_back(unused.left, unused.at);
            left = state.budget.take(&daily, wanted, now);
        })
        .await?;
        self.allotment = Allotment { left, at: now };
        Ok(())
    }

    /// From when on the daily cap allows a call again, if it does not now.
    pub(super) fn spent_until(&self) -> Option<Timestamp> {
        let daily = self.sync.daily.filter(|_| self.allotment.left == 0)?;
        let now = self.now();
        let budget = with_budget(self.state.clone()).budget;
        Some(budget.resumes_at(&daily, now)).filter(|until| *until > now)
    }

    /// From when on a run can call again, if a wait or the daily cap is why it cannot now.
    pub(super) fn resumes_at(&self) -> Option<Timestamp> {
        self.gate.wait().map(|wait| wait.until).max(self.spent_until()).filter(|at| *at > self.now())
    }

    /// On which days so many calls are made.
    pub(super) fn schedule(&self, calls: u64) -> Schedule {
        let budget = with_budget(self.state.clone()).budget;
        Schedule::of(calls, self.sync.daily.as_ref(), &budget, self.sync.book.pace().interval(), self.now())
    }

    /// The run ends because the ledger failed. What that still takes is not lost: what was done, and calls that were counted and not
    /// made.
    pub(super) async fn give_up(&mut self) {
        // Why the run ends is known already.
        drop(self.write_lines().await);
        drop(self.allot(0).await);
    }

    pub(super) async fn release(&mut self) -> Result<(), SyncError> {
        let lease = self.end_calls().await?;
        self.sync.give_back(lease).await
    }

    /// Gives back the calls that were counted and not made; hands out the lease.
    pub(super) async fn end_calls(&mut self) -> Result<Option<Lease>, SyncError> {
        if self.allotment.left > 0 {
            self.allot(0).await?;
        }
        Ok(self.lease.take())
    }

    /// Tells the gate of a failure, and makes the wait durable that it may begin.
    pub(super) async fn gate_failed(
        &mut self,
        error: &Error,
        record: Option<&Record>,
        backoff: Duration,
    ) -> Result<Verdict, SyncError> {
        if self.gate.reason().is_none() {
            self.is_closing_noted = false;
        }
        let verdict = self.gate.failed(error, record, backoff, self.now());
        self.store_wait().await?;
        Box::pin(self.note_closing(error)).await?;
        Ok(verdict)
    }

    /// No call is made any more in this run.
    pub(super) async fn shut(&mut self, error: &Error) -> Result<(), SyncError> {
        self.gate.shut(error);
        Box::pin(self.note_closing(error)).await
    }

    /// Tells that the gate has closed and what helps, unless that was told already, in this run or an earlier one.
    async fn note_closing(&mut self, error: &Error) -> Result<(), SyncError> {
        let Some(kind) = self.gate.reason() else { return Ok(()) };
        if !mem::replace(&mut self.is_closing_noted, true) {
            let asks_person = matches!(error.class(), ErrorClass::Instance) || kind == ErrorKind::SessionNotReady;
            let mut refusal = None;
            if asks_person && self.session.as_ref().is_none_or(SessionStatus::is_working) {
                match self.ask_session().await {
                    Ok(session) => self.session = session,
                    Err(error) => refusal = Some(error).filter(|error| error.class() == ErrorClass::Instance),
                }
            }
            // Who may not even ask has no call left to try.
            if let Some(refusal) = refusal.as_ref().filter(|refusal| refusal.kind() != kind) {
                self.gate.shut(refusal);
            }
            if let Some(step) = human_step(refusal.as_ref().unwrap_or(error), self.session.as_ref()) {
                self.gate.advise(step);
            }
        }
        let Some(kind) = self.gate.reason() else { return Ok(()) };
        let (known, hint) = (self.state.closed.as_ref(), self.gate.hint());
        let is_told = known.is_some_and(|closed| closed.kind == kind && closed.hint.as_deref() == hint);
        // A plan tells it to whoever asked for the plan, and to nobody else.
        if self.number == 0 || is_told {
            return Ok(());
        }
        tracing::warn!(instance = %self.sync.book.instance(), kind = kind.code(), hint, "the gate is closed");
        self.recorder.tell(&Progress::GateClosed { kind, until: self.gate.wait().map(|wait| wait.until), hint });
        let since = known.map_or(self.now(), |closed| closed.since);
        let closed = Closed::new(kind, since).with_hint(hint);
        self.save_state(|state| state.closed = Some(closed.clone())).await
    }

    /// Asks once for the state of the session, where nothing stands against another call.
    async fn ask_session(&mut self) -> Result<Option<SessionStatus>, Error> {
        let book = Arc::clone(&self.sync.book);
        let asked = tokio::time::timeout(book.deadline(), async {
            let permit = book.permit().await?;
            book.session(permit).await
        });
        tokio::select! {
            biased;
            () = stopped(&mut self.stop) => Ok(None),
            session = asked => Ok(session.unwrap_or(Ok(None))?.map(|session| session.status)),
        }
    }

    /// Whether a gate that was told to be closed is open by now. Only a name that was written opens it: of writes a read tells nothing.
    pub(super) fn has_reopened(&self) -> bool {
        self.gate.reason().is_none() && self.state.closed.is_some()
    }

    /// Tells that the gate is open again.
    pub(super) async fn note_opening(&mut self) -> Result<(), SyncError> {
        self.gate.forget_advice();
        (self.session, self.is_closing_noted) = (None, false);
        let Some(Closed { kind, since, .. }) = self.state.closed.clone() else { return Ok(()) };
        tracing::info!(instance = %self.sync.book.instance(), kind = kind.code(), "the gate is open again");
        self.recorder.tell(&Progress::GateOpened { kind, since });
        self.save_state(|state| state.closed = None).await
    }

    /// Makes durable until when the instance asked not to be called, so that other runs and workers heed it too. The later end wins.
    async fn store_wait(&mut self) -> Result<(), SyncError> {
        let Some(wait) = self.gate.wait() else { return Ok(()) };
        self.save_state(|state| {
            let is_later = state.wait.is_none_or(|known| known.until < wait.until || known.since > wait.since);
            if is_later {
                state.wait = Some(wait);
            }
        })
        .await
    }

    /// Remembers when a call worked last.
    pub(super) async fn keep_worked(&mut self) -> Result<(), SyncError> {
        let worked_at = self.gate.worked_at();
        self.save_state(|state| state.worked_at = state.worked_at.max(worked_at)).await
    }

    /// Changes the state of the instance, as often as somebody else is faster.
    pub(super) async fn save_state(&mut self, mut change: impl FnMut(&mut InstanceState)) -> Result<(), SyncError> {
        let instance = self.sync.book.instance();
        loop {
            let mut state = self.state.clone();
            change(&mut state);
            if state == self.state {
                return Ok(());
            }
            let is_stored = self.sync.ledger.save_state(instance, state).await?;
            self.state = self.sync.ledger.state(instance).await?;
            if is_stored {
                return Ok(());
            }
        }
    }

    /// Waits until a moment, or until it is told to stop; holds the lease meanwhile. A clock that is set back makes no wait longer.
    pub(super) async fn wait_until(&mut self, until: Timestamp) -> Result<(), SyncError> {
        if let Some(kind) = self.gate.reason() {
            self.recorder.tell(&Progress::Waiting { until, kind });
        }
        let (wait, began) = (until.since(self.now()), Instant::now());
        while !self.is_stopped() && self.now() < until && began.elapsed() < wait {
            let left = until.since(self.now()).min(wait.saturating_sub(began.elapsed())).min(self.renewal());
            tokio::select! { biased; () = stopped(&mut self.stop) => {}, () = tokio::time::sleep(left) => {} }
            self.renew_in_time().await?;
        }
        self.notice_clock().await
    }

    /// Counts a failure of a contact in this run.
    pub(super) fn contact_failed(&mut self, chat: &ChatId) {
        *self.failures.entry(chat.clone()).or_default() += 1;
    }

    /// Forgets the failures of a contact that works.
    pub(super) fn contact_worked(&mut self, chat: &ChatId) {
        self.failures.remove(chat);
    }

    /// Whether a contact is left for a later run.
    pub(super) fn is_given_up(&self, chat: &ChatId) -> bool {
        self.looked.is_barred(chat)
            || self.failures.get(chat).is_some_and(|failures| !self.sync.backoff.allows(*failures))
    }

    /// At the most so many are given up.
    pub(super) fn given_up_count(&self) -> usize {
        let failed = self.failures.values().filter(|failures| !self.sync.backoff.allows(**failures));
        failed.count() + self.looked.barred()
    }

    /// When the next contact is due that was not given up.
    pub(super) async fn next_due(&mut self) -> Result<Option<Timestamp>, SyncError> {
        // Those of an undo are not found in the order of their time.
        let limit = if self.only.is_some() { usize::MAX } else { 1 + self.given_up_count() };
        let records = self.due(Timestamp::MAX, limit).await?;
        let open = records.iter().find(|record| !self.is_given_up(&record.chat));
        Ok(open.and_then(|record| record.status.due_at()))
    }

    /// The record of a contact, as it is in the ledger.
    pub(super) async fn stored(&self, chat: &ChatId) -> Result<Option<Record>, SyncError> {
        let query = Query::Chats(std::slice::from_ref(chat));
        let found = self.sync.ledger.fetch(self.sync.book.instance(), query).await?;
        Ok(found.into_iter().find(|record| record.chat == *chat))
    }

    /// Whether other lanes have made something due that this run could push, had it not given its lease back.
    pub(super) async fn has_more(&mut self) -> Result<bool, SyncError> {
        if self.is_stopped() || self.gate.passage(self.now()) != Passage::Free || self.spent_until().is_some() {
            return Ok(false);
        }
        Ok(self.next_turn().await?.is_some_and(|due| due <= self.now()))
    }

    /// When the next contact can be called: as long as one is on trial, it alone.
    pub(super) async fn next_turn(&mut self) -> Result<Option<Timestamp>, SyncError> {
        let Some(canary) = self.trial.canary() else { return self.next_due().await };
        // One that is due no more makes room for another.
        Ok(Some(self.stored(canary).await?.and_then(|record| record.status.due_at()).unwrap_or_default()))
    }

    /// Which due records the run would call for, and which it would leave due.
    pub(super) fn prospects(&self) -> Prospects {
        let now = self.now();
        // A plan tells of the days beyond the one whose calls are spent.
        let is_spent = self.number > 0 && self.spent_until().is_some_and(|until| until.since(now) > self.sync.max_wait);
        let is_closed =
            self.recorder.notes.pushed_by.is_some() || self.gate.passage(now) == Passage::Closed || is_spent;
        Prospects { is_closed, until: now.after(self.sync.max_wait) }
    }

    /// Lists contacts that are held, in the order of chats.
    pub(super) async fn held_after(&self, after: Option<&ChatId>) -> Result<Vec<Record>, SyncError> {
        self.in_state("held", after).await
    }

    async fn in_state(&self, state: &str, after: Option<&ChatId>) -> Result<Vec<Record>, SyncError> {
        let query = Query::State { state, after, limit: CHUNK };
        Ok(self.sync.ledger.fetch(self.sync.book.instance(), query).await?)
    }

    /// Reports what is left of all contacts that are not in sync.
    pub(super) async fn report_left(&mut self) -> Result<(), SyncError> {
        for state in ["due", "held", "parked"] {
            let mut after = None;
            loop {
                let records = self.in_state(state, after.as_ref()).await?;
                let Some(last) = records.last() else { break };
                after = Some(last.chat.clone());
                for record in &records {
                    if !self.concerns(&record.chat) {
                        continue;
                    }
                    if let Some(change) = Outcome::left(record).and_then(|outcome| Change::of(record, outcome)) {
                        self.recorder.change(change);
                    }
                }
            }
        }
        Ok(())
    }

    /// Goes on with a contact under another id, which it takes over: the claims on both are one person's. If that person was forgotten,
    /// so is the contact.
    pub(super) async fn join(&mut self, absorbed: &Record, chat: ChatId) -> Result<(), SyncError> {
        let (ledger, instance) = (&self.sync.ledger, self.sync.book.instance());
        let chats = [absorbed.chat.clone(), chat.clone()];
        loop {
            let records = ledger.fetch(instance, Query::Chats(&chats)).await?;
            let Some(absorbed) = records.iter().find(|record| record.chat == chats[0]) else { return Ok(()) };
            let kept = records.iter().find(|record| record.chat != chats[0] && record.answers_to(&chat));
            if kept.is_none() && ledger.forgotten(instance, &[chat.as_str()]).await? == [true] {
                let mut person = absorbed.clone();
                person.aliases.push(chat.clone());
                if !ledger.forget(instance, &person).await? {
                    continue;
                }
                for claim in &person.claims {
                    self.recorder.refuse_forgotten(&claim.crm_id, &person.chat);
                }
                return Ok(());
            }
            let kept = kept.cloned().unwrap_or_else(|| Record::new(chat.clone()));
            // A claim that somebody else has by now is no claim on this person.
            let crm_ids: Vec<_> = absorbed.claims.iter().map(|claim| claim.crm_id.clone()).collect();
            let holders = ledger.fetch(instance, Query::CrmIds(&crm_ids)).await?;
            let mut joined = absorbed.clone();
            joined.claims.retain(|claim| {
                let is_other = |record: &Record| record.chat != chats[0] && record.chat != kept.chat;
                !holders.iter().any(|record| is_other(record) && record.claim(&claim.crm_id).is_some())
            });
            let mut write = Write::from(merge(&kept, joined, &self.policy, self.sync.clock.now()));
            write.absorbed = Some((absorbed.chat.clone(), absorbed.revision));
            if ledger.commit(instance, None, vec![write]).await?.is_empty() {
                return Ok(());
            }
        }
    }
}

/// Which due records a run would call for, and which it would leave due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prospects {
    pub(super) is_closed: bool,
    until: Timestamp,
}

impl Prospects {
    /// What becomes of a record; `None` as for [`Outcome::left`].
    pub(super) fn of(self, record: &Record) -> Option<Outcome> {
        let is_called = record.status.due_at().is_some_and(|at| at <= self.until) && !self.is_closed;
        if is_called { Some(Outcome::Planned) } else { Outcome::left(record) }
    }
}

/// Where the records are that a run looks at: in its own comparison until that is applied, then in the ledger.
pub(super) enum Store<'d> {
    Staged(&'d mut dyn Diff),
    Ledger,
}

impl Store<'_> {
    /// Lists records that are due, or otherwise open, in the order of chats.
    pub(super) async fn due(&mut self, run: &Run, after: Option<&ChatId>) -> Result<Vec<Record>, SyncError> {
        match self {
            Self::Staged(diff) => Ok(diff.open(after, CHUNK).await?),
            Self::Ledger => run.in_state("due", after).await,
        }
    }

    /// Finds records by chat or alias, each once.
    pub(super) async fn find(&mut self, run: &Run, chats: &[ChatId]) -> Result<Vec<Record>, SyncError> {
        match self {
            Self::Staged(diff) => Ok(diff.find(chats).await?),
            Self::Ledger => Ok(run.sync.ledger.fetch(run.sync.book.instance(), Query::Chats(chats)).await?),
        }
    }

    /// Finds records, decides about each, and stores what changed; those that somebody else stored meanwhile are loaded and decided
    /// about again. Returns the records as they are then, those left out for which there is no decision.
    pub(super) async fn change(
        &mut self,
        run: &mut Run,
        chats: &[ChatId],
        mut decide: impl FnMut(&Record) -> Option<Decision>,
    ) -> Result<Vec<Record>, SyncError> {
        let mut found = self.find(run, chats).await?;
        let mut decided = Vec::new();
        loop {
            let (mut writes, mut edits) = (Vec::new(), Vec::new());
            for record in found {
                let Some(decision) = decide(&record) else { continue };
                if decision.is_changed {
                    edits.push(decision.edited().cloned());
                    writes.push(Write::from(decision));
                } else {
                    decided.push(decision.record);
                }
            }
            let records: Vec<Record> = writes.iter().map(|write| write.record.clone()).collect();
            let lost = match self {
                _ if writes.is_empty() => Vec::new(),
                Self::Staged(diff) => {
                    diff.stage(writes).await?;
                    Vec::new()
                }
                Self::Ledger => run.sync.ledger.commit(run.sync.book.instance(), None, writes).await?,
            };
            let stored = edits.into_iter().enumerate().filter(|(at, _)| !lost.contains(at));
            run.edits.extend(stored.filter_map(|(_, edit)| edit));
            if matches!(self, Self::Ledger) {
                run.tell_edits();
            }
            let open: Vec<ChatId> = lost.iter().map(|lost| records[*lost].chat.clone()).collect();
            decided
                .extend(records.into_iter().enumerate().filter(|(at, _)| !lost.contains(at)).map(|(_, record)| record));
            if open.is_empty() {
                return Ok(decided);
            }
            found = self.find(run, &open).await?;
        }
    }
}

/// A state whose budget knows since when the number is called, also where that began before calls were counted.
pub(super) fn with_budget(mut state: InstanceState) -> InstanceState {
    if state.budget == Budget::default() {
        state.budget = Budget::since(state.worked_at);
    }
    state
}

/// Completes when the run is told to stop.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever could tell is gone with the run itself.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
