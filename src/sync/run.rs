//! What a plan and a run share: their state, their waits, and where their records are.

use std::{collections::HashMap, pin::pin, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{
    ContactSync, LEASE, SyncError,
    gate::{Gate, Passage, Verdict, brought_back},
    look::Looked,
    report::{Change, Outcome, Progress, Recorder},
};
use crate::{
    ChatId, Error,
    ledger::{Diff, InstanceState, Lease, LedgerErrorKind, Query, Write},
    record::{Decision, Event, Policy, Record, decide, merge},
    time::Timestamp,
};

/// How many records are listed at once.
const CHUNK: usize = 512;
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
    /// How often contacts failed in this run; those that failed too often are left for a later one.
    failures: HashMap<ChatId, u32>,
    policy: Policy,
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
        let turns = u32::try_from(sync.in_flight).unwrap_or(u32::MAX).saturating_add(1);
        let queued = sync.book.pace().interval().saturating_mul(turns);
        let policy = Policy {
            deadline: sync.book.deadline().saturating_add(queued).saturating_add(SLACK),
            backoff: sync.backoff.clone(),
            drift: sync.drift,
            ..Policy::default()
        };
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
            failures: HashMap::new(),
            policy,
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.sync.clock.now()
    }

    pub(super) fn policy(&self) -> Policy {
        self.policy.clone()
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
        LEASE.max(self.policy.deadline.saturating_mul(3))
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
        let longest = policy.deadline.saturating_add(policy.backoff.longest()).saturating_add(LEASE);
        let is_ahead = |record: &Record| record.status.due_at().is_some_and(|at| at.since(now) > longest);
        self.save_state(|state| state.wait = state.wait.map(|wait| brought_back(wait, now))).await?;
        loop {
            let query = Query::DueAfter { after: now.after(longest), limit: CHUNK };
            let records = self.sync.ledger.fetch(self.sync.book.instance(), query).await?;
            let chats: Vec<ChatId> = records.into_iter().map(|record| record.chat).collect();
            let decide = |record: &Record| Some(decide(record, Event::ClockSetBack, &policy, now));
            let corrected = Store::Ledger.change(self, &chats, decide).await?;
            // What the server itself asked for stays as far ahead, and would come again and again.
            if corrected.iter().all(is_ahead) {
                return Ok(());
            }
        }
    }

    /// Decides anew about all contacts: something happened to the whole instance.
    pub(super) async fn change_all(&self, store: &mut Store<'_>, event: &Event) -> Result<(), SyncError> {
        let (now, policy) = (self.now(), self.policy());
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

    pub(super) async fn release(&mut self) -> Result<(), SyncError> {
        match self.lease.take() {
            Some(lease) => Ok(self.sync.ledger.release(lease).await?),
            None => Ok(()),
        }
    }

    /// Tells the gate of a failure, and makes the wait durable that it may begin.
    pub(super) async fn gate_failed(
        &mut self,
        error: &Error,
        record: Option<&Record>,
        backoff: Duration,
    ) -> Result<Verdict, SyncError> {
        let before = self.gate.reason();
        let verdict = self.gate.failed(error, record, backoff, self.now());
        if let Some(kind) = self.gate.reason().filter(|_| before.is_none()) {
            tracing::warn!(instance = %self.sync.book.instance(), kind = kind.code(), "the gate is closed");
        }
        self.store_wait().await?;
        Ok(verdict)
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
    pub(super) async fn save_state(&mut self, change: impl Fn(&mut InstanceState)) -> Result<(), SyncError> {
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
    pub(super) async fn next_due(&self) -> Result<Option<Timestamp>, SyncError> {
        let query = Query::Due { by: Timestamp::MAX, limit: 1 + self.given_up_count() };
        let records = self.sync.ledger.fetch(self.sync.book.instance(), query).await?;
        let open = records.iter().find(|record| !self.is_given_up(&record.chat));
        Ok(open.and_then(|record| record.status.due_at()))
    }

    /// Whether other lanes have made something due that this run could push, had it not given its lease back.
    pub(super) async fn has_more(&self) -> Result<bool, SyncError> {
        if self.is_stopped() || self.gate.passage(self.now()) != Passage::Free {
            return Ok(false);
        }
        Ok(self.next_due().await?.is_some_and(|due| due <= self.now()))
    }

    /// Which due records the run would call for, and which it would leave due.
    pub(super) fn prospects(&self) -> Prospects {
        let now = self.now();
        let is_closed = self.recorder.notes.pushed_by.is_some() || self.gate.passage(now) == Passage::Closed;
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
                    if let Some(change) = Outcome::left(record).and_then(|outcome| Change::of(record, outcome)) {
                        self.recorder.change(change);
                    }
                }
            }
        }
        Ok(())
    }

    /// Goes on with a contact under another id, which it takes over: the claims on both are one person's.
    pub(super) async fn join(&mut self, absorbed: &Record, chat: ChatId) -> Result<(), SyncError> {
        let (ledger, instance) = (&self.sync.ledger, self.sync.book.instance());
        let chats = [absorbed.chat.clone(), chat.clone()];
        loop {
            let records = ledger.fetch(instance, Query::Chats(&chats)).await?;
            let Some(absorbed) = records.iter().find(|record| record.chat == chats[0]) else { return Ok(()) };
            let kept = records.iter().find(|record| record.chat != chats[0] && record.answers_to(&chat));
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
        run: &Run,
        chats: &[ChatId],
        mut decide: impl FnMut(&Record) -> Option<Decision>,
    ) -> Result<Vec<Record>, SyncError> {
        let mut found = self.find(run, chats).await?;
        let mut decided = Vec::new();
        loop {
            let mut writes = Vec::new();
            for record in found {
                let Some(decision) = decide(&record) else { continue };
                if decision.is_changed {
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

/// Completes when the run is told to stop.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever could tell is gone with the run itself.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
