//! The pusher's lane: calls and their answers.

use super::{Blame, Effect, Failure, Policy, clock::bring_back, free_at, queue, restatus};
use crate::{
    ErrorClass, ErrorKind,
    record::{InDoubt, LastFailure, Overwritten, Pushed, Record, Sent, Wish},
    time::Timestamp,
};

/// How many older names of ours are remembered.
const MOST_BEFORE: usize = 3;
/// As good as 1, by which the longest of all durations can be multiplied without an overflow.
const LONGEST_JITTER: f64 = 1.0 - f64::EPSILON;

pub(super) fn begin(record: &mut Record, run: u64, policy: &Policy, now: Timestamp) -> Option<Effect> {
    let is_due = record.status.due_at().is_some_and(|due| due <= now);
    // The digits of a privacy id are no phone: it is resolved first.
    if !is_due || record.chat.is_lid() {
        return None;
    }
    let wish = record.wanted()?.clone();
    if free_at(record, &wish) > now {
        return None;
    }
    bring_back(record, policy, now);
    record.pushed.calling = Some(run);
    let Pushed { in_doubt, late_until, .. } = &mut record.pushed;
    // Those that can still take effect are for the same name; another process may have given them more time. Those that cannot any more
    // may have set another name: should this request come to nothing, that is still unknown.
    let earlier = in_doubt.take();
    let earlier_until = earlier.as_ref().map(|doubt| doubt.until).max(late_until.take().filter(|until| *until > now));
    let earlier_names = earlier.map_or_else(Vec::new, |doubt| names_before(doubt, &wish));
    let until = earlier_until.unwrap_or_default().max(now.after(policy.deadline));
    *in_doubt = Some(InDoubt { wish, run, since: now, until, earlier_until, earlier_names });
    Some(Effect::Call)
}

/// The other names that unanswered requests may have set before one for this wish, newest first.
fn names_before(InDoubt { wish: last, mut earlier_names, .. }: InDoubt, wish: &Wish) -> Vec<Box<str>> {
    earlier_names.retain(|name| !last.name.is_full(name));
    earlier_names.insert(0, last.name.full().into());
    earlier_names.retain(|name| !wish.name.is_full(name));
    earlier_names.truncate(MOST_BEFORE);
    earlier_names
}

/// Leaves in doubt what was before the last request, which is known to have done nothing.
pub(super) fn cancel(record: &mut Record, policy: &Policy, now: Timestamp) {
    record.pushed.calling = None;
    if let Some(doubt) = record.pushed.in_doubt.take() {
        record.pushed.in_doubt = doubt.earlier_until.map(|until| InDoubt { until, earlier_until: None, ..doubt });
        restatus(record, queue(record, now), policy, now);
    }
}

pub(super) fn acknowledged(record: &mut Record, policy: &Policy, now: Timestamp) -> Option<Effect> {
    bring_back(record, policy, now);
    let InDoubt { wish, run, earlier_until, .. } = record.pushed.in_doubt.take()?;
    let overwritten = overwritten(record, &wish, run, now);
    if !is_unkept(record, &wish) {
        record.pushed.failure = None;
    }
    let at = record.seen.as_ref().map_or(now, |seen| now.max(seen.at));
    let sent = record.pushed.sent.replace(Sent { wish, run, at, verified_at: None });
    remember(record, sent);
    record.pushed.late_until = earlier_until;
    record.pushed.calling = None;
    restatus(record, queue(record, now), policy, now);
    overwritten.map(Effect::Overwritten)
}

/// Remembers a name that was sent before, so that a late report of it is known again.
pub(super) fn remember(record: &mut Record, sent: Option<Sent>) {
    let Pushed { sent: newest, before, .. } = &mut record.pushed;
    let is_newest = |name: &str| newest.as_ref().is_some_and(|newest| newest.wish.name.is_full(name));
    before.retain(|name| !is_newest(name));
    let Some(sent) = sent.filter(|sent| !is_newest(sent.wish.name.full())) else { return };
    before.retain(|name| !sent.wish.name.is_full(name));
    before.insert(0, sent.wish.name.full().into());
    before.truncate(MOST_BEFORE);
}

pub(super) fn failed(record: &mut Record, failure: Failure, policy: &Policy, now: Timestamp) {
    let Some(doubt) = record.pushed.in_doubt.clone() else { return };
    record.pushed.calling = None;
    let is_about_wish = record.wanted().is_some_and(|wish| wish.name == doubt.wish.name);
    let wish = doubt.wish.name.fingerprint();
    if failure.is_in_doubt {
        // The whole deadline from the moment of sending, whatever answered: a gateway gives up before its server does.
        record.pushed.in_doubt = Some(InDoubt { earlier_until: None, ..doubt });
    } else {
        cancel(record, policy, now);
    }
    if failure.blame != Blame::Instance && is_about_wish {
        let last = record.pushed.failure.as_ref().filter(|last| last.wish == wish);
        let (attempts, unclear) = last.map_or((0, 0), |last| (last.attempts, last.unclear));
        let attempts = attempts.saturating_add(1);
        let counts = is_unclear(failure.kind) && failure.blame == Blame::Contact;
        let unclear = unclear.saturating_add(counts.into());
        let retry_at = if is_final(&failure, unclear, policy) {
            None
        } else {
            // No random number, or one beyond its range, is taken as the whole backoff: a longer wait is never wrong.
            let jitter = if failure.jitter < 1.0 { failure.jitter } else { LONGEST_JITTER };
            let backoff = policy.backoff.backoff(attempts, jitter);
            Some(now.after(backoff.max(failure.retry_after.unwrap_or_default())))
        };
        let Failure { kind, message, .. } = failure;
        record.pushed.failure =
            Some(LastFailure { wish, attempts, unclear, deaths: 0, at: now, retry_at, kind, message });
    }
    restatus(record, queue(record, now), policy, now);
}

/// Counts that a run died while it called a contact.
pub(super) fn died(record: &mut Record, run: u64, policy: &Policy, now: Timestamp) {
    if record.pushed.calling.take_if(|calling| *calling == run).is_none() {
        return;
    }
    let Some(wish) = record.wanted().map(|wish| wish.name.fingerprint()) else { return };
    let last = record.pushed.failure.take().filter(|last| last.wish == wish);
    let (at, retry_at, kind) = (now, Some(now), ErrorKind::Interrupted);
    let new = LastFailure { wish, attempts: 0, unclear: 0, deaths: 0, at, retry_at, kind, message: None };
    let mut failure = last.unwrap_or(new);
    failure.deaths = failure.deaths.saturating_add(1);
    record.pushed.failure = Some(failure);
    restatus(record, queue(record, now), policy, now);
}

/// Whether failures of the kind are counted, because repeating may never help and nobody can tell.
fn is_unclear(kind: ErrorKind) -> bool {
    match kind.class() {
        ErrorClass::Transient => matches!(kind, ErrorKind::Unclear | ErrorKind::Decode),
        ErrorClass::Wait => false,
        ErrorClass::Contact | ErrorClass::Instance | ErrorClass::Configuration => true,
    }
}

/// Whether only a person or a new wish helps.
fn is_final(failure: &Failure, unclear: u32, policy: &Policy) -> bool {
    let is_refused = failure.kind.class() == ErrorClass::Contact;
    let is_enough = is_unclear(failure.kind) && unclear >= policy.unclear_attempts;
    failure.blame == Blame::Contact && (is_refused || is_enough)
}

/// The name that `by` replaced, if there was another.
pub(super) fn overwritten(record: &Record, by: &Wish, run: u64, at: Timestamp) -> Option<Overwritten> {
    // What a repeat replaces in the same run is in the history already.
    let is_of_run = record.pushed.sent.as_ref().is_some_and(|sent| sent.run == run && sent.wish.name == by.name);
    if is_of_run && is_unkept(record, by) {
        return None;
    }
    let text = record.shown().filter(|text| !text.is_empty() && !by.name.is_full(text))?;
    Some(Overwritten { chat: record.chat.clone(), text: text.into(), by: by.clone(), run, at })
}

/// Whether a name was accepted before and not kept.
fn is_unkept(record: &Record, wish: &Wish) -> bool {
    let failure = record.pushed.failure.as_ref();
    failure.is_some_and(|failure| failure.kind == ErrorKind::Unkept && failure.wish == wish.name.fingerprint())
}
