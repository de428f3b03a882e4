//! The observer's lane: what the address book shows.

use std::{mem, time::Duration};

use super::{Blame, Effect, Policy, persons::drop_substitute, pushing::overwritten, queue, restatus};
use crate::{
    ErrorKind,
    record::{Flips, Hold, InDoubt, LastFailure, Pushed, Record, Seen, Sent, Status},
    time::Timestamp,
};

/// For how long after a push a report of an older name of ours is taken for a late one.
const ECHO: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn seen(
    record: &mut Record,
    name: Option<Box<str>>,
    at: Option<Timestamp>,
    policy: &Policy,
    now: Timestamp,
) -> Option<Effect> {
    let last = record.seen.as_ref().map(|seen| seen.at).max(record.pushed.sent.as_ref().map(|sent| sent.at));
    // What was read just now is newest, even if the clock stands still or was set back.
    let newest = now.max(last.map_or(Timestamp::default(), |last| last.after(Duration::from_millis(1))));
    let is_reported = at.is_some();
    // A clock that runs ahead must not freeze the contact, or end a doubt before its time.
    let at = at.map_or(newest, |at| at.min(newest));
    if Some(at) <= last {
        return None;
    }
    if is_reported && is_late_echo(record, name.as_deref(), at) {
        return None;
    }
    if record.pushed.in_doubt.is_none() {
        verify(&mut record.pushed, name.as_deref(), at);
    }
    // That a contact is not saved is news where nothing was known of it.
    let is_known = record.seen.is_some() || record.pushed.sent.is_some();
    if is_known && record.pushed.in_doubt.is_none() && record.shown() == name.as_deref() {
        return None;
    }
    // A request in doubt took effect, or may have before somebody saved another name: what it replaced would be forgotten otherwise.
    let doubt = record.pushed.in_doubt.as_ref();
    let may_have_replaced = doubt.filter(|_| record.shown() != name.as_deref());
    let overwritten = may_have_replaced.and_then(|doubt| overwritten(record, &doubt.wish, doubt.run, now));
    // The same text as was seen last, unless a name was sent since: then somebody saved it anew.
    let sent_at = record.pushed.sent.as_ref().map(|sent| sent.at);
    let known = record.seen.as_ref().filter(|seen| seen.name == name && Some(seen.at) > sent_at);
    let is_overruled = known.is_some_and(|known| known.is_overruled);
    let is_ours = known.is_some_and(|known| known.is_ours)
        || was_not_kept(record, name.as_deref())
        || doubt.zip(name.as_deref()).is_some_and(|(doubt, name)| {
            doubt.wish.name.is_full(name) || doubt.earlier_names.iter().any(|earlier| **earlier == *name)
        });
    if !is_ours {
        note_flip(record, name.as_deref(), at);
    }
    if record.shown() != name.as_deref() {
        record.pushed.failure.take_if(|failure| failure.kind == ErrorKind::Unkept);
    }
    record.seen = Some(Seen { name, at, is_overruled, is_ours });
    // What is seen once no request can take effect any more answers for all of them.
    if record.pushed.in_doubt.as_ref().is_some_and(|doubt| doubt.until <= at.min(now)) {
        record.pushed.in_doubt = None;
    }
    restatus(record, queue(record, now), policy, now);
    overwritten.map(Effect::Overwritten)
}

/// Notes that the address book shows the name that was acknowledged.
fn verify(pushed: &mut Pushed, name: Option<&str>, at: Timestamp) {
    let Some(sent) = pushed.sent.as_mut().filter(|sent| name.is_some_and(|name| sent.wish.name.is_full(name))) else {
        return;
    };
    sent.verified_at.get_or_insert(at);
    pushed.failure.take_if(|failure| failure.kind == ErrorKind::Unkept);
}

/// Lets a name be sent again that was accepted and not kept.
pub(super) fn unkept(record: &mut Record, name: Option<Box<str>>, blame: Blame, policy: &Policy, now: Timestamp) {
    let Pushed { sent: Some(sent), in_doubt: None, .. } = &record.pushed else { return };
    if sent.verified_at.is_some() || name.as_deref().is_some_and(|name| sent.wish.name.is_full(name)) {
        return;
    }
    let wish = sent.wish.name.fingerprint();
    let last = record.pushed.failure.as_ref().filter(|last| last.wish == wish && last.kind == ErrorKind::Unkept);
    let attempts = last.map_or(0, |last| last.attempts).saturating_add(1);
    let is_over = attempts > policy.repeats;
    let retry_at = (!is_over || blame != Blame::Contact).then(|| now.after(policy.repeat_every));
    // Whoever is not to blame begins anew.
    let attempts = if is_over && retry_at.is_some() { 0 } else { attempts };
    let (at, kind) = (now, ErrorKind::Unkept);
    let failure = LastFailure { wish, attempts, unclear: 0, deaths: 0, at, retry_at, kind, message: None };
    let seen_at = record.seen.as_ref().map(|seen| seen.at).max(Some(sent.at)).unwrap_or_default();
    let at = now.max(seen_at.after(Duration::from_millis(1)));
    record.pushed.failure = Some(failure);
    record.seen = Some(Seen { is_ours: true, ..Seen::new(name, at) });
    restatus(record, queue(record, now), policy, now);
}

/// Whether it is the name that was sent before the last one, which nobody has seen yet: it was accepted and not kept.
fn was_not_kept(record: &Record, name: Option<&str>) -> bool {
    let Pushed { sent: Some(sent), before, .. } = &record.pushed else { return false };
    sent.verified_at.is_none() && before.first().map(|before| &**before) == name && name.is_some()
}

/// Whether it is an older name of ours that is reported late. Who reads the address book sees what it shows, and never an echo.
fn is_late_echo(record: &Record, name: Option<&str>, at: Timestamp) -> bool {
    let Pushed { sent: Some(sent), before, .. } = &record.pushed else { return false };
    let is_ours = name.is_some_and(|name| before.iter().any(|before| **before == *name));
    is_ours && at.since(sent.at) < ECHO
}

/// Counts how often somebody else saves the same name over ours.
fn note_flip(record: &mut Record, name: Option<&str>, at: Timestamp) {
    let Some((name, sent)) = name.zip(record.pushed.sent.as_ref()) else { return };
    if sent.wish.name.is_full(name) || !record.shows(&sent.wish.name) {
        return;
    }
    let known = record.pushed.flips.take().filter(|flips| *flips.name == *name && at.since(flips.since) < DAY);
    let (since, times) = known.map_or((at, 0), |flips| (flips.since, flips.times));
    record.pushed.flips = Some(Flips { name: name.into(), since, times: times.saturating_add(1) });
}

pub(super) fn phone_unknown(record: &mut Record, now: Timestamp) {
    let waits = matches!(record.status, Status::Due { .. } | Status::Held { reason: Hold::NoPhone, .. });
    if record.chat.is_lid() && waits {
        record.status = Status::Held { reason: Hold::NoPhone, since: now };
    }
}

/// Forgets what the address book of another account showed; a request in doubt may still reach the account that is there now, and so may
/// an older one for the name that was sent.
pub(super) fn account_changed(record: &mut Record, policy: &Policy, now: Timestamp) {
    record.seen = None;
    drop_substitute(record);
    let Pushed { sent, in_doubt, late_until, .. } = mem::take(&mut record.pushed);
    let late = sent.zip(late_until.filter(|until| *until > now)).map(|(sent, until)| {
        let Sent { wish, run, at, .. } = sent;
        InDoubt { wish, run, since: at.min(now), until, earlier_until: None, earlier_names: Vec::new() }
    });
    record.pushed.in_doubt = in_doubt.or(late);
    restatus(record, queue(record, now), policy, now);
}
