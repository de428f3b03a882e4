//! What a plan and a run share: their state, their waits, and where their records are.

use std::{pin::pin, time::Duration};

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
/// How much longer than the pace asks for a call may wait between its mark and its start.
const SLACK: Duration = Duration::from_secs(5);

/// One run, or one plan, of a sync.
pub(super) struct Run<'s> {
    pub(super) sync: &'s ContactSync,
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
    /// The latest moment that the clock has shown to the pusher.
    pub(super) latest: Timestamp,
    /// How many calls the run is expected to make.
    pub(super) planned: u64,
    policy: Policy,
}

impl<'s> Run<'s> {
    pub(super) async fn begin(
        sync: &'s ContactSync,
        stop: watch::Receiver<bool>,
        recorder: Recorder,
        number: u64,
    ) -> Result<Self, SyncError> {
        let now = sync.clock.now();
        let state = sync.ledger.state(sync.book.instance()).await?;
        let gate = Gate::new(sync.max_wait, state.wait, now);
        let turns = u32::try_from(sync.in_flight).unwrap_or(u32::MAX).saturating_add(1);
        let queued = sync.book.pace().interval().saturating_mul(turns);
        let policy = Policy {
            deadline: sync.book.deadline().saturating_add(queued).saturating_add(SLACK),
            backoff: sync.backoff.clone(),
            ..Policy::default()
        };
        let (looked, leased_until) = (Looked::default(), now);
        let (lease, account, latest, planned) = (None, None, now, 0);
        Ok(Self {
            sync,
            number,
            stop,
            gate,
            recorder,
            looked,
            state,
            lease,
            leased_until,
            account,
            latest,
            planned,
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

    /// Takes the lease, unless somebody else pushes for the instance.
    pub(super) async fn lease(&mut self) -> Result<(), SyncError> {
        if self.lease.is_some() {
            return Ok(());
        }
        let ttl = self.lease_time();
        let until = self.now().after(ttl);
        match self.sync.ledger.acquire(self.sync.book.instance(), &self.sync.owner, ttl).await {
            Ok(lease) => {
                let is_takeover = lease.is_takeover;
                (self.lease, self.leased_until) = (Some(lease), until);
                self.rest_after_last_holder(is_takeover).await
            }
            Err(error) if error.kind() == LedgerErrorKind::Busy => {
                // A store that was busy for too long has no holder to name.
                let Some(holder) = error.holder() else { return Err(error.into()) };
                self.recorder.notes.pushed_by = Some(holder.to_owned());
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps the pace of the holder before this one: a worker that starts again and again must not begin each time with a full burst.
    async fn rest_after_last_holder(&mut self, is_takeover: bool) -> Result<(), SyncError> {
        let (now, pace) = (self.now(), self.sync.book.pace());
        // A holder that is gone without a word may have called just now; so may one whose clock was set back since.
        let last = if is_takeover {
            Some(now)
        } else {
            let state = self.sync.ledger.state(self.sync.book.instance()).await?;
            state.pushed_at.map(|at| at.min(now))
        };
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
        chat: Option<&ChatId>,
        backoff: Duration,
    ) -> Result<Verdict, SyncError> {
        let before = self.gate.reason();
        let verdict = self.gate.failed(error, chat, backoff, self.now());
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

    /// Waits until a moment, or until it is told to stop; holds the lease meanwhile.
    pub(super) async fn wait_until(&mut self, until: Timestamp) -> Result<(), SyncError> {
        if let Some(kind) = self.gate.reason() {
            self.recorder.tell(&Progress::Waiting { until, kind });
        }
        // A clock that is set back meanwhile makes it no longer.
        let (began, longest) = (Instant::now(), until.since(self.now()));
        while !self.is_stopped() && self.now() < until && began.elapsed() < longest {
            let left = longest.saturating_sub(began.elapsed()).min(until.since(self.now())).min(self.renewal());
            tokio::select! { biased; () = stopped(&mut self.stop) => {}, () = tokio::time::sleep(left) => {} }
            self.renew_in_time().await?;
        }
        Ok(())
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
            let mut write = Write::from(merge(&kept, joined, self.sync.clock.now()));
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
    is_closed: bool,
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
    pub(super) async fn due(&mut self, run: &Run<'_>, after: Option<&ChatId>) -> Result<Vec<Record>, SyncError> {
        match self {
            Self::Staged(diff) => Ok(diff.open(after, CHUNK).await?),
            Self::Ledger => run.in_state("due", after).await,
        }
    }

    /// Finds records by chat or alias, each once.
    pub(super) async fn find(&mut self, run: &Run<'_>, chats: &[ChatId]) -> Result<Vec<Record>, SyncError> {
        match self {
            Self::Staged(diff) => Ok(diff.find(chats).await?),
            Self::Ledger => Ok(run.sync.ledger.fetch(run.sync.book.instance(), Query::Chats(chats)).await?),
        }
    }

    /// Finds records, decides about each, and stores what changed; those that somebody else stored meanwhile are loaded and decided
    /// about again. Returns the records as they are then, those left out for which there is no decision.
    pub(super) async fn change(
        &mut self,
        run: &Run<'_>,
        chats: &[ChatId],
        decide: impl Fn(&Record) -> Option<Decision>,
    ) -> Result<Vec<Record>, SyncError> {
        let (mut decided, mut open) = (Vec::new(), chats.to_vec());
        while !open.is_empty() {
            let mut writes = Vec::new();
            for record in self.find(run, &open).await? {
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
            open = lost.iter().map(|lost| records[*lost].chat.clone()).collect();
            decided
                .extend(records.into_iter().enumerate().filter(|(at, _)| !lost.contains(at)).map(|(_, record)| record));
        }
        Ok(decided)
    }
}

/// Completes when the run is told to stop.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever could tell is gone with the run itself.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}
