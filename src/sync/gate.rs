//! Whether the instance may be called now; a value that neither waits nor reads a clock.

use std::time::Duration;

use crate::{Class, Error, ErrorKind, ledger::Timestamp};

/// How many transient failures in a row, over all contacts, mean that the server is out of reach.
const STREAK: u32 = 5;
/// How long to leave an instance alone that is not ready and does not say for how long.
const PAUSE: Duration = Duration::from_secs(15);

/// The health of one instance, as its answers show it.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    patience: Duration,
    state: State,
    streak: u32,
    hint: Option<&'static str>,
}

#[derive(Debug, Clone)]
enum State {
    Open,
    /// Closed until a moment; `since` is when it first closed without a success in between.
    Waiting {
        since: Timestamp,
        until: Timestamp,
        kind: ErrorKind,
    },
    /// Closed until a person acts.
    Shut(ErrorKind),
}

/// What a gate lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// As many calls at a time as there are slots.
    Free,
    /// One call at a time, to see whether the instance is well again.
    Probe,
    /// No call before this moment.
    Wait(Timestamp),
    /// No call in this run.
    Closed,
}

impl Gate {
    /// A gate that is closed until a moment remembered from an earlier run, or open if that has passed.
    pub(super) fn new(patience: Duration, closed_until: Timestamp, now: Timestamp) -> Self {
        let state = if closed_until > now {
            State::Waiting { since: now, until: closed_until, kind: ErrorKind::RateLimited }
        } else {
            State::Open
        };
        Self { patience, state, streak: 0, hint: None }
    }

    pub(super) fn passage(&self, now: Timestamp) -> Passage {
        match self.state {
            State::Open => Passage::Free,
            State::Shut(_) => Passage::Closed,
            State::Waiting { since, until, .. } if until.since(since) > self.patience => Passage::Closed,
            State::Waiting { until, .. } if until > now => Passage::Wait(until),
            State::Waiting { .. } => Passage::Probe,
        }
    }

    /// Why the gate is not open.
    pub(super) fn reason(&self) -> Option<ErrorKind> {
        match self.state {
            State::Open => None,
            State::Waiting { kind, .. } | State::Shut(kind) => Some(kind),
        }
    }

    /// A call worked, or failed for its contact alone: the instance is well.
    ///
    /// A call that was in flight when the gate closed opens nothing: the wait that the instance asked for still holds.
    pub(super) fn well(&mut self, now: Timestamp) {
        self.streak = 0;
        if matches!(self.state, State::Waiting { until, .. } if until <= now) {
            self.state = State::Open;
        }
    }

    /// A call failed. Returns until when the instance asked not to be called, if it did.
    pub(super) fn failed(&mut self, error: &Error, backoff: Duration, now: Timestamp) -> Option<Timestamp> {
        match error.class() {
            Class::Contact => self.well(now),
            Class::Instance | Class::Configuration => self.shut(error),
            Class::Wait => {
                let until = now.after(error.retry_after().unwrap_or(PAUSE));
                self.wait(until, error.kind(), now);
                return error.retry_after().map(|_| until);
            }
            Class::Transient => {
                self.streak += 1;
                if self.streak >= STREAK {
                    self.wait(now.after(backoff), error.kind(), now);
                }
            }
        }
        None
    }

    /// No call will work in this run.
    pub(super) fn shut(&mut self, error: &Error) {
        self.state = State::Shut(error.kind());
        self.hint = error.hint();
    }

    /// What to try about a gate that is shut.
    pub(super) fn hint(&self) -> Option<&'static str> {
        self.hint
    }

    /// How many transient failures came in a row.
    pub(super) fn streak(&self) -> u32 {
        self.streak
    }

    fn wait(&mut self, until: Timestamp, kind: ErrorKind, now: Timestamp) {
        self.state = match self.state {
            State::Shut(kind) => State::Shut(kind),
            State::Waiting { since, until: earlier, .. } => State::Waiting { since, until: until.max(earlier), kind },
            State::Open => State::Waiting { since: now, until, kind },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);
    const T: Timestamp = Timestamp(1_000_000);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn open() -> Gate {
        Gate::new(PATIENCE, Timestamp::default(), T)
    }

    fn fail(gate: &mut Gate, kind: ErrorKind) {
        gate.failed(&Error::new(kind), seconds(2), T);
    }

    #[test]
    fn a_refused_token_shuts_it_and_no_success_of_a_call_in_flight_opens_it() {
        for kind in [ErrorKind::Unauthorized, ErrorKind::Forbidden, ErrorKind::UnknownInstance, ErrorKind::Route] {
            let mut gate = open();
            fail(&mut gate, kind);
            gate.well(T);
            assert_eq!((gate.passage(T), gate.reason()), (Passage::Closed, Some(kind)));
        }
    }

    #[test]
    fn p5_none_passes_before_retry_after_and_then_one_probe() {
        let mut gate = open();
        let error = Error::new(ErrorKind::RateLimited).with_retry_after(seconds(7));
        assert_eq!(gate.failed(&error, seconds(1), T), Some(T.after(seconds(7))));
        assert_eq!(gate.passage(T.after(Duration::from_millis(6_999))), Passage::Wait(T.after(seconds(7))));
        gate.well(T.after(seconds(6)));
        assert_eq!(
            gate.passage(T.after(seconds(6))),
            Passage::Wait(T.after(seconds(7))),
            "a late success opens nothing"
        );
        assert_eq!(gate.passage(T.after(seconds(7))), Passage::Probe);
        gate.well(T.after(seconds(7)));
        assert_eq!(gate.passage(T.after(seconds(7))), Passage::Free);
    }

    #[test]
    fn a_wait_longer_than_the_patience_ends_the_run() {
        let mut gate = open();
        gate.failed(&Error::new(ErrorKind::QuotaReached).with_retry_after(seconds(61)), seconds(1), T);
        assert_eq!(gate.passage(T), Passage::Closed);
    }

    #[test]
    fn patience_counts_from_the_first_closing_over_all_probes() {
        let mut gate = open();
        let mut now = T;
        while let Passage::Free | Passage::Probe = gate.passage(now) {
            gate.failed(&Error::new(ErrorKind::SessionNotReady), seconds(1), now);
            now = now.after(PAUSE);
        }
        assert_eq!((gate.passage(now), now), (Passage::Closed, T.after(seconds(75))));
    }

    #[test]
    fn a_streak_of_transient_failures_closes_it_and_a_success_in_between_does_not() {
        let mut gate = open();
        for _ in 1..STREAK {
            fail(&mut gate, ErrorKind::Server);
        }
        assert_eq!(gate.passage(T), Passage::Free);
        gate.well(T);
        fail(&mut gate, ErrorKind::Server);
        assert_eq!(gate.passage(T), Passage::Free);
        for _ in 1..STREAK {
            fail(&mut gate, ErrorKind::Timeout);
        }
        assert_eq!(gate.passage(T), Passage::Wait(T.after(seconds(2))));
    }

    #[test]
    fn p6_a_contact_that_is_refused_closes_nothing() {
        let mut gate = open();
        fail(&mut gate, ErrorKind::Server);
        fail(&mut gate, ErrorKind::Rejected);
        assert_eq!((gate.passage(T), gate.streak()), (Passage::Free, 0));
    }

    #[test]
    fn a_wait_that_an_earlier_run_was_asked_for_still_holds() {
        let gate = Gate::new(PATIENCE, T.after(seconds(5)), T);
        assert_eq!(gate.passage(T), Passage::Wait(T.after(seconds(5))));
    }
}
