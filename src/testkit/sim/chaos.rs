//! Everything that goes wrong inside one process: its ledger fails, others write in between, and it dies.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use fastrand::Rng;
use tokio::sync::Notify;

use super::{
    director::{Act, Director, Side, Step},
    log::Happening,
    server::Server,
};
use crate::testkit::lock;

/// After so many polls an engine is taken to run in circles.
const MOST_POLLS: usize = 3_000_000;

/// How a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    Never,
    /// After so many polls of its future.
    AtPoll(usize),
    /// Beside a write or a call: after so many of their boundaries.
    AtStep(u32),
}

/// Directs one process.
#[derive(Debug)]
pub(super) struct Chaos {
    server: Server,
    rng: Mutex<Rng>,
    /// Of a thousand steps, how many fail.
    failures: u32,
    is_on: Arc<AtomicBool>,
    steps_left: Mutex<Option<u32>>,
    died: Notify,
}

impl Chaos {
    pub(super) fn new(server: Server, seed: u64, failures: u32, is_on: Arc<AtomicBool>) -> Self {
        Self {
            server,
            rng: Mutex::new(Rng::with_seed(seed)),
            failures,
            is_on,
            steps_left: Mutex::default(),
            died: Notify::new(),
        }
    }

    /// Drives the process' engine until it is done or dies; `None` if it died.
    pub(super) async fn drive<T>(&self, crash: Crash, engine: impl Future<Output = T>) -> Option<T> {
        *lock(&self.steps_left) = if let Crash::AtStep(steps) = crash { Some(steps) } else { None };
        let done = tokio::select! {
            biased;
            () = self.died.notified() => {
                self.server.log().count(Happening::CrashAtStep);
                None
            }
            done = self.polled(crash, engine) => done,
        };
        if done.is_none() {
            self.server.log().tell("the process dies");
        }
        done
    }

    async fn polled<T>(&self, crash: Crash, engine: impl Future<Output = T>) -> Option<T> {
        let last = if let Crash::AtPoll(polls) = crash { polls } else { MOST_POLLS };
        let (mut engine, mut polls) = (pin!(engine), 0);
        poll_fn(|context| {
            polls += 1;
            if polls > last {
                if last == MOST_POLLS {
                    self.server.log().breach("P1", "the engine runs in circles");
                } else {
                    self.server.log().count(Happening::CrashAtPoll);
                }
                return Poll::Ready(None);
            }
            engine.as_mut().poll(context).map(Some)
        })
        .await
    }

    /// Whether the process is dead, or dies now.
    fn dies(&self, step: Step) -> bool {
        let mut left = lock(&self.steps_left);
        match &mut *left {
            Some(0) => {
                self.died.notify_one();
                true
            }
            Some(steps) if step.is_write() || step.is_call() => {
                *steps -= 1;
                false
            }
            _ => false,
        }
    }

    fn fault(&self, step: Step, side: Side) -> Act {
        let mut rng = lock(&self.rng);
        let drawn = rng.u32(0..1_000);
        let can_slip = matches!(step, Step::Commit | Step::Apply | Step::SaveState) && side == Side::Before;
        let (what, act) = if drawn < self.failures {
            let what = if side == Side::Before { Happening::LedgerFailedBefore } else { Happening::LedgerFailedAfter };
            (what, Act::Fail)
        } else if drawn >= 960 && can_slip {
            (Happening::SlippedIn, Act::SlipIn)
        } else if (900..930).contains(&drawn) {
            (Happening::LedgerDelay, Act::Delay(Duration::from_millis(rng.u64(1..40))))
        } else {
            return Act::Proceed;
        };
        drop(rng);
        self.server.log().count(what);
        self.server.log().tell(format_args!("ledger: {step:?}: {what:?}"));
        act
    }
}

impl Director for Chaos {
    fn direct(&self, step: Step, side: Side) -> Act {
        if self.dies(step) {
            return Act::Stop;
        }
        if step.is_call() || !self.is_on.load(Relaxed) { Act::Proceed } else { self.fault(step, side) }
    }

    fn lost(&self, writes: usize) {
        (0..writes).for_each(|_| self.server.log().count(Happening::LostWrite));
    }
}
