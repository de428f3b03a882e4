//! A ledger that fails, is slow, or is written by somebody else, when it is told to.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use wawp_contacts::{
    ChatId, InstanceId,
    ledger::{
        Counts, Diff, Incoming, InstanceState, Lease, Ledger, LedgerError, LedgerErrorKind, Query, RunRecord, Tally,
        Verdict, Write,
    },
    record::{Overwritten, Record},
    time::{Clock, Timestamp},
};

struct State {
    /// How many saves still work.
    saves: usize,
    /// Whether the end of a run can be written down.
    can_end: bool,
    delay: Duration,
    /// What happens right before the next saves.
    before: VecDeque<BoxFuture<'static, ()>>,
    /// What happens right before the next comparison is applied.
    before_apply: Option<BoxFuture<'static, ()>>,
    /// When the lease was renewed.
    renewals: Vec<Timestamp>,
    /// The records of each commit.
    commits: Vec<Vec<Record>>,
}

/// The ledger; clones share one state.
#[derive(Clone)]
pub(crate) struct Shaky {
    base: Arc<dyn Ledger>,
    clock: Clock,
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for Shaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shaky").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Shaky {
    pub(crate) fn new(base: Arc<dyn Ledger>, clock: Clock) -> Self {
        let state = State {
            saves: usize::MAX,
            can_end: true,
            delay: Duration::ZERO,
            before: VecDeque::new(),
            before_apply: None,
            renewals: Vec::new(),
            commits: Vec::new(),
        };
        Self { base, clock, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Lets so many saves work, and none after.
    pub(crate) fn fail_after(&self, saves: usize) {
        self.state().saves = saves;
    }

    /// Lets no end of a run be written down.
    pub(crate) fn fail_ends(&self) {
        self.state().can_end = false;
    }

    pub(crate) fn heal(&self) {
        self.fail_after(usize::MAX);
    }

    /// Lets each commit, and each renewal of a lease, take so long.
    pub(crate) fn take(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Lets something happen right before the next commit, as if another lane were faster.
    pub(crate) fn before_commit(&self, event: impl Future<Output = ()> + Send + 'static) {
        self.state().before.push_back(Box::pin(event));
    }

    /// Lets something happen right before the wishes of the next run take effect.
    pub(crate) fn before_apply(&self, event: impl Future<Output = ()> + Send + 'static) {
        self.state().before_apply = Some(Box::pin(event));
    }

    /// The ledger itself, which no trouble is made in: for what happens meanwhile.
    pub(crate) fn base(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.base)
    }

    pub(crate) fn renewals(&self) -> Vec<Timestamp> {
        self.state().renewals.clone()
    }

    pub(crate) fn commits(&self) -> Vec<Vec<Record>> {
        self.state().commits.clone()
    }

    fn spend(&self) -> Result<(), LedgerError> {
        let mut state = self.state();
        let left = state.saves.checked_sub(1);
        state.saves = left.ok_or_else(|| LedgerError::new(LedgerErrorKind::Full, "the disk is full"))?;
        Ok(())
    }
}

#[async_trait]
impl Ledger for Shaky {
    async fn acquire(&self, instance: &InstanceId, owner: &str, ttl: Duration) -> Result<Lease, LedgerError> {
        self.base.acquire(instance, owner, ttl).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), LedgerError> {
        let delay = self.state().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let now = self.clock.now();
        self.state().renewals.push(now);
        self.base.renew(lease, ttl).await
    }

    async fn release(&self, lease: Lease) -> Result<(), LedgerError> {
        self.base.release(lease).await
    }

    async fn fetch(&self, instance: &InstanceId, query: Query<'_>) -> Result<Vec<Record>, LedgerError> {
        self.base.fetch(instance, query).await
    }

    async fn commit(
        &self,
        instance: &InstanceId,
        lease: Option<&Lease>,
        writes: Vec<Write>,
    ) -> Result<Vec<usize>, LedgerError> {
        self.spend()?;
        let (delay, before) = {
            let mut state = self.state();
            state.commits.push(writes.iter().map(|write| write.record.clone()).collect());
            (state.delay, state.before.pop_front())
        };
        if let Some(before) = before {
            before.await;
        }
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.base.commit(instance, lease, writes).await
    }

    async fn diff(&self, instance: &InstanceId) -> Result<Box<dyn Diff>, LedgerError> {
        let base = self.base.diff(instance).await?;
        Ok(Box::new(ShakyDiff { base, ledger: self.clone() }))
    }

    async fn state(&self, instance: &InstanceId) -> Result<InstanceState, LedgerError> {
        self.base.state(instance).await
    }

    async fn save_state(&self, instance: &InstanceId, state: InstanceState) -> Result<bool, LedgerError> {
        self.spend()?;
        self.base.save_state(instance, state).await
    }

    async fn counts(&self, instance: &InstanceId) -> Result<Counts, LedgerError> {
        self.base.counts(instance).await
    }

    async fn begin_run(&self, instance: &InstanceId, began: Timestamp) -> Result<u64, LedgerError> {
        self.base.begin_run(instance, began).await
    }

    async fn end_run(
        &self,
        instance: &InstanceId,
        run: u64,
        ended: Timestamp,
        summary: &str,
    ) -> Result<(), LedgerError> {
        let can_end = self.state().can_end;
        if !can_end {
            return Err(LedgerError::new(LedgerErrorKind::Unavailable, "the ledger is gone"));
        }
        self.base.end_run(instance, run, ended, summary).await
    }

    async fn runs(&self, instance: &InstanceId, limit: usize) -> Result<Vec<RunRecord>, LedgerError> {
        self.base.runs(instance, limit).await
    }

    async fn history(&self, instance: &InstanceId, chat: &ChatId) -> Result<Vec<Overwritten>, LedgerError> {
        self.base.history(instance, chat).await
    }

    async fn before_run(
        &self,
        instance: &InstanceId,
        run: u64,
        after: Option<&ChatId>,
        limit: usize,
    ) -> Result<Vec<Overwritten>, LedgerError> {
        self.base.before_run(instance, run, after, limit).await
    }
}

#[derive(Debug)]
struct ShakyDiff {
    base: Box<dyn Diff>,
    ledger: Shaky,
}

#[async_trait]
impl Diff for ShakyDiff {
    async fn compare(&mut self, rows: Arc<[Incoming]>) -> Result<Vec<Verdict>, LedgerError> {
        self.base.compare(rows).await
    }

    async fn stage(&mut self, writes: Vec<Write>) -> Result<(), LedgerError> {
        self.base.stage(writes).await
    }

    async fn find(&mut self, chats: &[ChatId]) -> Result<Vec<Record>, LedgerError> {
        self.base.find(chats).await
    }

    async fn absent(&mut self, limit: usize) -> Result<Vec<(Box<str>, Record)>, LedgerError> {
        self.base.absent(limit).await
    }

    async fn open(&mut self, after: Option<&ChatId>, limit: usize) -> Result<Vec<Record>, LedgerError> {
        self.base.open(after, limit).await
    }

    async fn tally(&mut self) -> Result<Tally, LedgerError> {
        self.base.tally().await
    }

    async fn apply(self: Box<Self>) -> Result<Vec<Write>, LedgerError> {
        self.ledger.spend()?;
        let before = self.ledger.state().before_apply.take();
        if let Some(before) = before {
            before.await;
        }
        self.base.apply().await
    }
}
