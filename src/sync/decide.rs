//! What happens to a row: pure, synchronous, total.

use std::time::Duration;

use crate::{
    Class, ContactName, Error, ErrorKind,
    ledger::{Cause, Doubt, Overwritten, Row, Seen, Sent, Timestamp, Trouble, Wanted},
};

/// Something that happened to one contact.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The CRM side says what the contact should be called.
    Wished(Wanted),
    /// The CRM side changed which rows claim the contact: the one that holds it, and its rivals, ordered.
    Contested(Box<[Box<str>]>),
    /// An observer read what the address book shows; `None` if the person is not saved.
    Observed(Option<Box<str>>),
    /// The pusher is about to call; the request can take effect for this long.
    Begun(Duration),
    /// The pusher did not call after all.
    Withdrawn(Before),
    /// The API acknowledged the call.
    Acknowledged,
    /// The call failed.
    Failed(Before, Failure),
}

/// What was in doubt before a call was begun: what a call that certainly did nothing falls back to.
pub type Before = Option<Doubt>;

/// How a call failed, as far as a row remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// What happened.
    pub kind: ErrorKind,
    /// What the server said.
    pub message: Option<Box<str>>,
    /// How long to leave the contact alone.
    pub backoff: Duration,
}

impl Failure {
    /// Takes what a row remembers out of an error.
    #[must_use]
    pub fn new(error: &Error, backoff: Duration) -> Self {
        let wait = error.retry_after().unwrap_or_default();
        Self { kind: error.kind(), message: error.message().map(Into::into), backoff: backoff.max(wait) }
    }
}

/// What to do once a decision is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a decision that is not carried out is lost"]
pub enum Action {
    /// Nothing changed: do not store the row.
    Keep,
    /// The wish is older than the one in the row and was dropped: do not store the row.
    Stale,
    /// Store the row.
    Store,
    /// Store the row, then call with the wanted name.
    Call,
    /// Store the row, and with it the name that was overwritten.
    Record(Overwritten),
}

/// Decides what an event makes of a row, and what is to be done.
///
/// Never waits, never calls, never reads a clock: the same arguments give the same answer. Each event touches only the part of
/// the row that its writer owns: wishes `wanted`, calls `pushed`, reads `seen`.
pub fn decide(row: Row, event: Event, now: Timestamp) -> (Row, Action) {
    match event {
        Event::Wished(wanted) => wished(row, wanted),
        Event::Contested(rivals) => store(row, |row| row.wanted.rivals = rivals),
        Event::Observed(name) => observed(row, name, now),
        Event::Begun(deadline) => begun(row, deadline, now),
        Event::Withdrawn(before) => store(row, |row| row.pushed.doubt = before),
        Event::Acknowledged => acknowledged(row, now),
        Event::Failed(before, failure) => store(row, |row| failed(row, before, failure, now)),
    }
}

fn wished(row: Row, wish: Wanted) -> (Row, Action) {
    let held = &row.wanted;
    let same_owner = held.crm_id == wish.crm_id;
    if same_owner && held.version > wish.version && wish.version.is_some() {
        return (row, Action::Stale);
    }
    let cause = cause(held, &wish);
    let version = if same_owner { wish.version.or(held.version) } else { wish.version };
    store(row, |row| row.wanted = Wanted { version, cause, ..wish })
}

/// Why the new wish differs from the old one; that a stage changed is said before that a name did.
fn cause(old: &Wanted, new: &Wanted) -> Cause {
    if old.name == new.name {
        old.cause
    } else if old.tag != new.tag && old.rules == new.rules {
        Cause::Stage
    } else if old.base != new.base {
        Cause::Name
    } else {
        Cause::Rules
    }
}

fn observed(row: Row, name: Option<Box<str>>, now: Timestamp) -> (Row, Action) {
    if row.shown().as_deref() == name.as_deref() {
        return (row, Action::Keep);
    }
    // A request in doubt took effect: what it replaced would be forgotten otherwise.
    let took_effect = row.pushed.doubt.as_ref().filter(|doubt| name.as_deref() == Some(&*doubt.name.full()));
    let overwritten = took_effect.and_then(|doubt| overwritten(&row, &doubt.name, now));
    // What is seen last is newest, even if the clock stands still or goes back.
    let at = row.pushed.sent.as_ref().map_or(now, |sent| now.max(Timestamp(sent.at.0 + 1)));
    let (row, action) = store(row, |row| row.seen = Some(Seen { name, at }));
    (row, overwritten.map_or(action, Action::Record))
}

/// The name that `by` replaced, if there was another.
fn overwritten(row: &Row, by: &ContactName, at: Timestamp) -> Option<Overwritten> {
    let text = row.shown().filter(|text| !text.is_empty() && *text != by.full())?;
    Some(Overwritten { chat: row.chat.clone(), text: text.into(), by: by.clone(), at })
}

fn begun(mut row: Row, deadline: Duration, now: Timestamp) -> (Row, Action) {
    if row.due_at().is_none_or(|due| due > now) {
        return (row, Action::Keep);
    }
    row.pushed.doubt = Some(Doubt { name: row.wanted.name.clone(), until: now.after(deadline) });
    (row, Action::Call)
}

fn acknowledged(mut row: Row, now: Timestamp) -> (Row, Action) {
    let Some(Doubt { name, .. }) = row.pushed.doubt.take() else { return (row, Action::Keep) };
    let overwritten = overwritten(&row, &name, now);
    let at = row.seen.as_ref().map_or(now, |seen| now.max(seen.at));
    row.pushed.sent = Some(Sent { name, at });
    row.pushed.trouble = None;
    (row, overwritten.map_or(Action::Store, Action::Record))
}

fn failed(row: &mut Row, before: Before, failure: Failure, now: Timestamp) {
    let Some(doubt) = row.pushed.doubt.take() else { return };
    let Failure { kind, message, backoff } = failure;
    let wish = doubt.name.fingerprint();
    let is_about_wish = doubt.name == row.wanted.name;
    row.pushed.doubt = match kind {
        ErrorKind::Timeout | ErrorKind::Interrupted => Some(doubt),
        // An answer came, so the request is over; what it did is unknown.
        ErrorKind::Server | ErrorKind::Decode => Some(Doubt { until: now, ..doubt }),
        // Refused for certain, or never sent: what was in doubt before is in doubt still.
        _ => before,
    };
    let retry_at = match kind.class() {
        Class::Contact => None,
        Class::Transient => Some(now.after(backoff)),
        // The instance is to blame, not the contact.
        Class::Instance | Class::Wait | Class::Configuration => return,
    };
    if is_about_wish {
        let attempts = row.trouble().map_or(0, |trouble| trouble.attempts) + 1;
        row.pushed.trouble = Some(Trouble { wish, attempts, retry_at, kind, message });
    }
}

/// Applies a change, and keeps the row unstored if it changed nothing.
fn store(row: Row, change: impl FnOnce(&mut Row)) -> (Row, Action) {
    let mut next = row.clone();
    change(&mut next);
    if next == row { (row, Action::Keep) } else { (next, Action::Store) }
}

#[cfg(test)]
mod tests;
