//! A clock that was set back.

use std::time::Duration;

use super::{Policy, queue, restatus};
use crate::{
    record::{InDoubt, LastFailure, Pushed, Record, Status},
    time::Timestamp,
};

/// Brings moments back that lie further ahead than they could if the clock had always been right.
pub(super) fn clock_set_back(record: &mut Record, policy: &Policy, now: Timestamp) {
    bring_back(record, policy, now);
    let Record { pushed: Pushed { sent, failure, flips, .. }, seen, held, status, .. } = record;
    let mut newest = now;
    if let Some(sent) = sent {
        let is_drift = seen.as_ref().is_some_and(|seen| seen.at > sent.at);
        sent.at = sent.at.min(now);
        if is_drift {
            newest = now.max(sent.at.after(Duration::from_millis(1)));
        }
    }
    if let Some(seen) = seen {
        seen.at = seen.at.min(newest);
    }
    if let Some(LastFailure { at, retry_at, .. }) = failure {
        if let Some(until) = retry_at {
            *until = (*until).min(now.after(until.since(*at)));
        }
        *at = (*at).min(now);
    }
    if let Status::Held { since, .. } = status {
        *since = (*since).min(now);
    }
    if let Some(held) = held {
        held.since = held.since.min(now);
    }
    if let Some(flips) = flips {
        flips.since = flips.since.min(now);
    }
    restatus(record, queue(record, now), policy, now);
}

/// A moment that lies as far ahead as it did when it was set, at the most.
fn brought_back(moment: Timestamp, since: Timestamp, now: Timestamp) -> Timestamp {
    moment.min(now.after(moment.since(since)))
}

/// Shortens what is left of requests to what it was when they were made, which is all that a clock set back leaves to know.
pub(super) fn bring_back(record: &mut Record, policy: &Policy, now: Timestamp) {
    let Pushed { sent, in_doubt, late_until, .. } = &mut record.pushed;
    if let Some(InDoubt { since, until, earlier_until, .. }) = in_doubt {
        *until = brought_back(*until, *since, now);
        *earlier_until = earlier_until.map(|earlier| brought_back(earlier, *since, now));
        *since = (*since).min(now);
    }
    if let (Some(until), Some(sent)) = (late_until, sent) {
        *until = (*until).min(now.after(policy.deadline.max(until.since(sent.at))));
    }
}
