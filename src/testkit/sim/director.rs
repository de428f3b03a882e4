//! Who decides, beside each step of the engine, whether it goes on, waits, fails, or stops there for good.

use std::{
    fmt::Debug,
    future::{Future, pending},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::ledger::Write;

/// One step of an engine: a call of the ledger or of the address book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Step {
    /// `Ledger::acquire`.
    Acquire,
    /// `Ledger::renew`.
    Renew,
    /// `Ledger::release`.
    Release,
    /// `Ledger::commit`.
    Commit,
    /// `Diff::stage`.
    Stage,
    /// `Diff::apply`.
    Apply,
    /// `Ledger::save_state`.
    SaveState,
    /// `Ledger::begin_run`.
    BeginRun,
    /// `Ledger::end_run`.
    EndRun,
    /// `Ledger::append_report` and `Ledger::keep_reports`.
    Report,
    /// `Ledger::forget` and `Ledger::allow`.
    Forget,
    /// Whatever only reads the ledger.
    Look,
    /// `AddressBook::update`.
    Update,
    /// A read of the address book.
    Read,
}

impl Step {
    /// Whether the step changes what is stored.
    #[must_use]
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Look | Self::Update | Self::Read)
    }

    /// Whether the step calls the address book.
    #[must_use]
    pub fn is_call(self) -> bool {
        matches!(self, Self::Update | Self::Read)
    }
}

/// On which side of a step something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// It has not been taken.
    Before,
    /// It has been taken, and nobody was told so far.
    After,
}

/// What becomes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Act {
    /// It is taken.
    Proceed,
    /// It is taken after a while.
    Delay(Duration),
    /// It fails: before, nothing was done; after, it was done all the same. A call of the address book proceeds.
    Fail,
    /// Before a write: another lane stores the same records first, so that the write loses. Elsewhere it proceeds.
    SlipIn,
    /// It never ends, as in a process that dies there; whoever drives the engine drops it.
    Stop,
}

/// Decides what becomes of each step.
#[async_trait]
pub trait Director: Debug + Send + Sync + 'static {
    /// Decides about one side of a step.
    fn direct(&self, step: Step, side: Side) -> Act;

    /// Does something else right before a step, such as what another lane stores meanwhile; [`direct`](Self::direct) is asked after
    /// that. `writes` are those of a [commit](Step::Commit).
    async fn meanwhile(&self, step: Step, writes: &[Write]) {
        let _ = (step, writes);
    }

    /// Is told that so many records of a write were lost to others.
    fn lost(&self, writes: usize) {
        let _ = writes;
    }
}

/// Does what a director wants done before a step; says what [`follow`] does.
pub(super) async fn begin(director: &dyn Director, step: Step, writes: &[Write]) -> Result<bool, Failed> {
    director.meanwhile(step, writes).await;
    follow(director, step, Side::Before).await
}

/// Does what a director said; `true` if another write is to slip in, an error if the step is to fail.
pub(super) async fn follow(director: &dyn Director, step: Step, side: Side) -> Result<bool, Failed> {
    match director.direct(step, side) {
        Act::Proceed => Ok(false),
        Act::SlipIn => Ok(true),
        Act::Fail => Err(Failed),
        Act::Delay(wait) => {
            tokio::time::sleep(wait).await;
            Ok(false)
        }
        Act::Stop => pending().await,
    }
}

/// A director wants the step to fail.
#[derive(Debug)]
pub(super) struct Failed;

/// Stops an engine at one of the boundaries around its writes and calls, and counts them.
///
/// A run under [`never`](Self::never) counts the boundaries; one under [`new`](Self::new) for each number up to there dies at each
/// of them once.
#[derive(Debug)]
pub struct StopAt {
    at: usize,
    passed: AtomicUsize,
    reached: Notify,
}

impl StopAt {
    /// Stops at the boundary with this number, from 0.
    #[must_use]
    pub fn new(at: usize) -> Self {
        Self { at, passed: AtomicUsize::new(0), reached: Notify::new() }
    }

    /// Never stops.
    #[must_use]
    pub fn never() -> Self {
        Self::new(usize::MAX)
    }

    /// How many boundaries were reached so far.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.passed.load(SeqCst)
    }

    /// Drives an engine until it is done, or drops it where it stops; `None` if it was stopped.
    pub async fn drive<T>(&self, engine: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.reached.notified() => None,
            done = engine => Some(done),
        }
    }
}

impl Director for StopAt {
    fn direct(&self, step: Step, _: Side) -> Act {
        if !step.is_write() && !step.is_call() {
            return Act::Proceed;
        }
        let passed = self.passed.fetch_add(1, SeqCst);
        if passed < self.at {
            return Act::Proceed;
        }
        // What a dying process does beside the step where it dies never happens either.
        self.reached.notify_one();
        Act::Stop
    }
}
