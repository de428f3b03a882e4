//! A ledger's director: lets it fail, take long, or be written by somebody else, when it is told to.

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
    ledger::Write,
    record::Record,
    testkit::sim::{Act, Director, Side, Step},
};

struct State {
    /// How many saves still work.
    saves: usize,
    /// How many of the next commits fail.
    failing_commits: usize,
    /// Whether the end of a run can be written down.
    can_end: bool,
    delay: Duration,
    /// What happens right before the next saves.
    before: VecDeque<BoxFuture<'static, ()>>,
    /// What happens right before the next comparison is applied.
    before_apply: Option<BoxFuture<'static, ()>>,
    /// What happens right before the next end of a run is written down.
    before_end: Option<BoxFuture<'static, ()>>,
    /// How often the lease was renewed.
    renewals: usize,
    /// How often the ledger was only read.
    looks: usize,
    /// The records of each commit.
    commits: Vec<Vec<Record>>,
}

/// The director; clones share one state.
#[derive(Clone)]
pub(crate) struct Shaky(Arc<Mutex<State>>);

impl fmt::Debug for Shaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shaky").finish_non_exhaustive()
    }
}

impl Shaky {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            saves: usize::MAX,
            failing_commits: 0,
            can_end: true,
            delay: Duration::ZERO,
            before: VecDeque::new(),
            before_apply: None,
            before_end: None,
            renewals: 0,
            looks: 0,
            commits: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Lets so many saves work, and none after.
    pub(crate) fn fail_after(&self, saves: usize) {
        self.state().saves = saves;
    }

    /// Lets so many of the next commits fail, and nothing else.
    pub(crate) fn fail_commits(&self, commits: usize) {
        self.state().failing_commits = commits;
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

    /// Lets something happen right before the end of the next run is written down.
    pub(crate) fn before_end(&self, event: impl Future<Output = ()> + Send + 'static) {
        self.state().before_end = Some(Box::pin(event));
    }

    pub(crate) fn renewals(&self) -> usize {
        self.state().renewals
    }

    pub(crate) fn looks(&self) -> usize {
        self.state().looks
    }

    pub(crate) fn commits(&self) -> Vec<Vec<Record>> {
        self.state().commits.clone()
    }
}

#[async_trait]
impl Director for Shaky {
    fn direct(&self, step: Step, side: Side) -> Act {
        if side == Side::After {
            return Act::Proceed;
        }
        let mut state = self.state();
        match step {
            Step::Commit if state.failing_commits > 0 => {
                state.failing_commits -= 1;
                return Act::Fail;
            }
            Step::Commit | Step::Apply | Step::SaveState => match state.saves.checked_sub(1) {
                Some(left) => state.saves = left,
                None => return Act::Fail,
            },
            Step::EndRun if !state.can_end => return Act::Fail,
            Step::Renew => state.renewals += 1,
            Step::Look => state.looks += 1,
            _ => {}
        }
        if matches!(step, Step::Commit | Step::Renew) && !state.delay.is_zero() {
            return Act::Delay(state.delay);
        }
        Act::Proceed
    }

    async fn meanwhile(&self, step: Step, writes: &[Write]) {
        let event = match step {
            Step::Commit => {
                let mut state = self.state();
                state.commits.push(writes.iter().map(|write| write.record.clone()).collect());
                state.before.pop_front()
            }
            Step::Apply => self.state().before_apply.take(),
            Step::EndRun => self.state().before_end.take(),
            _ => None,
        };
        if let Some(event) = event {
            event.await;
        }
    }
}
