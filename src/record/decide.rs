//! What happens to a record: pure, synchronous, total; the only place that holds policy.

use std::{mem, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Cause, Checked, Claim, Edit, Flips, Held, Hold, InDoubt, LastFailure, Overwritten, Park, Pushed, Record, Seen,
    Sent, Source, Status, Substitute, Wish,
};
#[cfg(doc)]
use crate::book::AddressBook;
use crate::{
    ChatId, ContactName, Error, ErrorClass, ErrorKind, RetryPolicy,
    crm::RowDigest,
    naming::{Funnel, Naming},
    time::Timestamp,
};

#[cfg(test)]
mod tests;

const DAY: Duration = Duration::from_secs(86_400);
/// For how long after a push a report of an older name of ours is taken for a late one.
const ECHO: Duration = Duration::from_secs(3_600);
/// How many older names of ours are remembered.
const MOST_BEFORE: usize = 3;
/// After how many deaths of the process in a row a contact is parked that was called each time.
const MOST_DEATHS: u32 = 3;

/// Something that happened to one contact.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// CRM lane: a row claims the person, or claims something else than before. Dropped if the row is known at a newer version.
    Claimed {
        /// The claim; its cause is found out.
        claim: Claim,
        /// Whether it goes before the bulk of the others.
        urgent: bool,
    },
    /// CRM lane: a row claims the person no more, because it is gone or names another one now.
    Unclaimed {
        /// The row.
        crm_id: Box<str>,
    },
    /// Observer lane: the address book showed this name; `None` if the person is not saved.
    Seen {
        /// The name.
        name: Option<Box<str>>,
        /// When it showed it, if that is known: the moment that was reported, or the one at which a read began. `None` for a read
        /// during which nothing happened to the record, neither here nor in a request that was on its way: it is newer than
        /// everything.
        at: Option<Timestamp>,
    },
    /// Observer lane: nobody knows the phone behind this privacy id.
    PhoneUnknown,
    /// Observer lane: the server said whether the number is on WhatsApp.
    Checked {
        /// Whether it is.
        exists: bool,
    },
    /// Pusher lane: it is about to call.
    Begin {
        /// The run that calls.
        run: u64,
    },
    /// Pusher lane: this run, which called, never came to its end.
    Died {
        /// The run.
        run: u64,
    },
    /// Pusher lane: it did not call after all, so what was written down by [`Begin`](Self::Begin) is taken back.
    Cancel,
    /// Pusher lane: the API acknowledged the call.
    Acknowledged,
    /// Pusher lane: the call failed.
    Failed(Failure),
    /// Observer lane: a read some seconds after the acknowledgement still shows the text from before. The API accepted the name, and the
    /// address book did not keep it: nobody's edit, and the same name is [repeated](Policy::repeats).
    Unkept {
        /// The text.
        name: Option<Box<str>>,
        /// Whose fault it is: only a contact that is to blame is parked after the last repeat, another one is tried again later.
        blame: Blame,
    },
    /// Observer lane: another account is behind the instance, so nothing is known any more of what the address book shows.
    AccountChanged,
    /// Any lane: the clock was set back, so moments in the record may lie too far ahead.
    ClockSetBack,
    /// A person said: leave the contact as it is.
    Hold,
    /// A person said: go on with the contact. It is held no longer, and what was parked over is tried again.
    Release,
    /// A person said: try once more what was refused.
    Retry,
    /// A person said: undo this run, before which the address book showed this name. A name that somebody saved since stays in its
    /// place. Nothing follows if the CRM wants another name since, or a later run sent one.
    Undo {
        /// The run.
        run: u64,
        /// The name from before it.
        name: ContactName,
    },
    /// Observer lane: what the address book showed when it was first read is taken over: the same name as is wanted counts as sent.
    Adopted,
    /// Any lane: decisions are made by another policy than before.
    PolicyChanged,
}

impl Event {
    /// A row of the CRM, without a version, wants a name.
    #[must_use]
    pub fn claimed(crm_id: &str, wish: Wish) -> Self {
        let claim = Claim::new(crm_id, None, RowDigest::default(), Some(wish));
        Self::Claimed { claim, urgent: false }
    }
}

/// How a call failed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Failure {
    /// What happened.
    pub kind: ErrorKind,
    /// What the server said.
    pub message: Option<Box<str>>,
    /// Whether the request may have been carried out.
    pub is_in_doubt: bool,
    /// How long the server asked to wait.
    pub retry_after: Option<Duration>,
    /// A random number from 0 to 1: how much of the backoff to take.
    pub jitter: f64,
    /// Whose fault it is.
    pub blame: Blame,
}

impl Failure {
    /// Takes what a record remembers out of an error.
    #[must_use]
    pub fn new(error: &Error, blame: Blame, jitter: f64) -> Self {
        Self {
            kind: error.kind(),
            message: error.message().map(Into::into),
            is_in_doubt: error.is_in_doubt(),
            retry_after: error.retry_after(),
            jitter,
            blame,
        }
    }
}

/// Whose fault a failure is, as far as the calls around it tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Blame {
    /// The contact's: others work.
    Contact,
    /// Nobody can tell yet, because no call works: the contact is tried again later, after others, and is never parked for it.
    Unclear,
    /// The instance's: the contact is left as it was.
    Instance,
}

/// What to do once a decision is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Call with the name in doubt.
    Call,
    /// Keep the name that was overwritten, in the same transaction.
    Overwritten(Overwritten),
    /// The claim was older than the one in the record and was dropped.
    Stale,
    /// Tell the CRM of the name that a person saved.
    Edited(Edit),
}

/// What an event makes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "a decision that is not carried out is lost"]
pub struct Decision {
    /// The record as it is to be stored.
    pub record: Record,
    /// What is to be done.
    pub effects: Vec<Effect>,
    /// Whether the record differs from what it was, so that it has to be stored.
    pub is_changed: bool,
}

impl Decision {
    /// Whether the call is to be made once the record is stored.
    #[must_use]
    pub fn calls(&self) -> bool {
        self.effects.contains(&Effect::Call)
    }

    /// The name that was overwritten, if one was.
    #[must_use]
    pub fn overwritten(&self) -> Option<&Overwritten> {
        self.effects.iter().find_map(|effect| if let Effect::Overwritten(text) = effect { Some(text) } else { None })
    }

    /// The name that the CRM should learn of, if a person saved one.
    #[must_use]
    pub fn edited(&self) -> Option<&Edit> {
        self.effects.iter().find_map(|effect| if let Effect::Edited(edit) = effect { Some(edit) } else { None })
    }

    fn new(before: &Record, record: Record, effect: Option<Effect>) -> Self {
        let edit = record.edit().filter(|edit| before.edit().as_ref() != Some(edit)).map(Effect::Edited);
        Self { is_changed: record != *before, record, effects: effect.into_iter().chain(edit).collect() }
    }
}

/// What decisions are made with.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Policy {
    /// The rules that tell a base from our tag in a name that a person saved.
    pub naming: Arc<Naming>,
    /// How long a request can take effect from the moment it is written down: the address book's
    /// [`deadline`](AddressBook::deadline) and the time between the mark and the call.
    pub deadline: Duration,
    /// How long a contact that failed is left alone. The number of attempts counts within one run only.
    pub backoff: RetryPolicy,
    /// After how many attempts a contact is parked whose answers cannot be understood, or whose refusal nobody can explain.
    pub unclear_attempts: u32,
    /// What becomes of a name that somebody else saved.
    pub drift: Drift,
    /// How often within a day somebody else may save the same name over ours, until the contact is parked as contested.
    pub most_flips: u32,
    /// How often a name is sent again that the API accepted and the address book does not show.
    pub repeats: u32,
    /// How long to leave it alone before that.
    pub repeat_every: Duration,
}

/// What becomes of a name that somebody else saved over the one that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Drift {
    /// The CRM's name is sent again; the other one is kept in the history.
    #[default]
    CrmWins,
    /// The name that a person saved is taken over: the tag that it ends in, or lacks, is still the CRM's, so it may be sent once more
    /// with the right one. A name that the CRM changes after that replaces it. Tell the CRM: see [`Record::edit`].
    PhoneWins,
    /// As [`PhoneWins`](Self::PhoneWins), but where the CRM changed the name as well since it was last sent, the contact is parked until
    /// a person decides: a three-way merge by field, in which two changes of one field are a conflict.
    ByField,
    /// The contact is parked until a person decides: a new wish, or a [release](Event::Release), sends the CRM's name again.
    Ask,
    /// A name is written only where there is none, where there is only the number, or where the name is ours; whatever a person
    /// saved stays.
    IfRaw,
}

impl Policy {
    /// How much earlier than now a single change is queued, so that it overtakes the bulk of a snapshot but nobody waits for ever.
    pub const HEAD_START: Duration = Duration::from_secs(30 * 86_400);
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            naming: Arc::new(Naming::new(Funnel::none())),
            deadline: Duration::from_secs(35),
            backoff: RetryPolicy::default()
                .max_attempts(6)
                .backing_off(Duration::from_secs(1), Duration::from_secs(300)),
            unclear_attempts: 6,
            drift: Drift::default(),
            most_flips: 3,
            repeats: 2,
            repeat_every: Duration::from_secs(5),
        }
    }
}

/// Decides what an event makes of a record, and what is to be done.
///
/// Never waits, never calls, never reads a clock: the same arguments give the same answer. Each event touches only the part of
/// the record that its lane writes; the [`Status`] follows from the whole.
pub fn decide(record: &Record, event: Event, policy: &Policy, now: Timestamp) -> Decision {
    let mut next = record.clone();
    let effect = match event {
        Event::Claimed { claim, urgent } => claimed(&mut next, claim, urgent, policy, now),
        Event::Unclaimed { crm_id } => {
            unclaimed(&mut next, &crm_id, policy, now);
            None
        }
        Event::Seen { name, at } => seen(&mut next, name, at, policy, now),
        Event::PhoneUnknown => {
            phone_unknown(&mut next, now);
            None
        }
        Event::Checked { exists } => {
            next.checked = Some(Checked { exists, at: now });
            restatus(&mut next, queue(record, now), policy, now);
            None
        }
        Event::Begin { run } => begin(&mut next, run, policy, now),
        Event::Died { run } => {
            died(&mut next, run, policy, now);
            None
        }
        Event::Cancel => {
            cancel(&mut next, policy, now);
            None
        }
        Event::Acknowledged => acknowledged(&mut next, policy, now),
        Event::Failed(failure) => {
            failed(&mut next, failure, policy, now);
            None
        }
        Event::Unkept { name, blame } => {
            unkept(&mut next, name, blame, policy, now);
            None
        }
        Event::AccountChanged => {
            account_changed(&mut next, policy, now);
            None
        }
        Event::ClockSetBack => {
            clock_set_back(&mut next, policy, now);
            None
        }
        Event::Hold => {
            next.held = next.held.take().or(Some(Held { since: now }));
            restatus(&mut next, queue(record, now), policy, now);
            None
        }
        Event::Release => {
            release(&mut next, policy, now);
            None
        }
        Event::Retry => {
            (next.pushed.failure, next.checked) = (None, None);
            restatus(&mut next, queue(record, now), policy, now);
            None
        }
        Event::Undo { run, name } => {
            undo(&mut next, run, name, policy, now);
            None
        }
        Event::Adopted => {
            adopted(&mut next, policy, now);
            None
        }
        Event::PolicyChanged => {
            restatus(&mut next, queue(record, now), policy, now);
            None
        }
    };
    Decision::new(record, next, effect)
}

/// Makes one record of two of the same person: a mapping was learnt that joins them. The person is written to under the chat of
/// `kept`.
///
/// Claims are joined; of two claims of one row the newer version wins. What was seen under a privacy id was seen of the person. What is
/// known of another phone's entry in the address book is dropped: it is another entry, which nobody writes to any more. Two phones
/// are joined only while no request for the absorbed one is [in doubt](Pushed::in_doubt): `kept` does not remember it.
pub fn merge(kept: &Record, absorbed: Record, policy: &Policy, now: Timestamp) -> Decision {
    let mut next = kept.clone();
    let before = kept.wanted().cloned();
    next.joined.push(Box::new(Record { joined: Vec::new(), ..absorbed.clone() }));
    next.joined.extend(absorbed.joined.iter().cloned());
    let place = queue(kept, now).min(queue(&absorbed, now));
    let effect = match absorbed.seen {
        Some(Seen { name, at, .. }) if absorbed.chat.is_lid() => seen(&mut next, name, Some(at), policy, now),
        _ => None,
    };
    for alias in std::iter::once(absorbed.chat).chain(absorbed.aliases) {
        if !next.answers_to(&alias) {
            next.aliases.push(alias);
        }
    }
    next.aliases.sort_unstable();
    for claim in absorbed.claims {
        match next.claims.iter_mut().find(|held| held.crm_id == claim.crm_id) {
            None => insert(&mut next.claims, claim),
            // Without versions nobody knows which is newer. Either will do: the next export corrects it by its digest.
            Some(held) if (claim.version, claim.digest) > (held.version, held.digest) => *held = claim,
            Some(_) => {}
        }
    }
    next.held = next.held.or(absorbed.held);
    next.checked = next.checked.or(absorbed.checked);
    next.substitute = next.substitute.or(absorbed.substitute);
    wish_changed(&mut next, before.as_ref(), place, policy, now);
    Decision::new(kept, next, effect)
}

/// Takes a record out again that was joined: gives back what is left, and the record of the other id as it was, with the claims that it
/// brought as they are now. `None` if no record of that id was joined.
///
/// A privacy id that was taken out is held, so that it is not joined again by itself.
#[must_use]
pub fn unmerge(kept: &Record, id: &ChatId, policy: &Policy, now: Timestamp) -> Option<(Record, Record)> {
    let mut left = kept.clone();
    let at = left.joined.iter().position(|joined| joined.answers_to(id))?;
    let mut back = *left.joined.remove(at);
    left.aliases.retain(|alias| !back.answers_to(alias));
    let brought: Vec<Box<str>> = back.claims.iter().map(|claim| claim.crm_id.clone()).collect();
    let (theirs, ours) = mem::take(&mut left.claims).into_iter().partition(|claim| brought.contains(&claim.crm_id));
    (left.claims, back.claims) = (ours, theirs);
    if back.held == left.held && back.held.is_some() {
        left.held = None;
    }
    if back.chat.is_lid() {
        back.held = back.held.or(Some(Held { since: now }));
        back.status = Status::InSync;
    }
    back.revision = 0;
    for record in [&mut left, &mut back] {
        if record.substitute.is_some()
            && record.wanted() != record.substitute.as_ref().map(|substitute| &substitute.wish)
        {
            record.substitute = None;
        }
        restatus(record, now, policy, now);
    }
    Some((left, back))
}

fn insert(claims: &mut Vec<Claim>, claim: Claim) {
    let at = claims.partition_point(|other| other.crm_id < claim.crm_id);
    claims.insert(at, claim);
}

fn claimed(record: &mut Record, mut claim: Claim, urgent: bool, policy: &Policy, now: Timestamp) -> Option<Effect> {
    let before = record.wanted().cloned();
    if let Some(at) = record.claims.iter().position(|held| held.crm_id == claim.crm_id) {
        let held = &record.claims[at];
        if claim.version.is_some() && claim.version < held.version {
            return Some(Effect::Stale);
        }
        claim.version = claim.version.or(held.version);
        claim.cause = held.cause;
        record.claims[at] = claim;
    } else {
        insert(&mut record.claims, claim);
    }
    let head_start = if urgent { Policy::HEAD_START } else { Duration::ZERO };
    wish_changed(record, before.as_ref(), queue(record, now).min(now.before(head_start)), policy, now);
    None
}

fn unclaimed(record: &mut Record, crm_id: &str, policy: &Policy, now: Timestamp) {
    let before = record.wanted().cloned();
    record.claims.retain(|claim| &*claim.crm_id != crm_id);
    wish_changed(record, before.as_ref(), queue(record, now), policy, now);
}

/// Brings cause and status up to a wish that may have changed.
fn wish_changed(record: &mut Record, before: Option<&Wish>, place: Timestamp, policy: &Policy, now: Timestamp) {
    let wish = record.sole_claim().and_then(|claim| claim.wish.as_ref());
    let is_over = |substitute: &Substitute| wish.is_some_and(|wish| !substitute.stands_for(wish));
    let is_new_base = before.zip(wish).is_some_and(|(before, wish)| before.base != wish.base);
    if record.substitute.as_ref().is_some_and(is_over) {
        record.substitute = None;
    }
    // Whoever changes the name in the CRM while the contact waits for a decision has decided.
    let is_conflict = policy.drift == Drift::ByField && record.status == Status::Parked { reason: Park::Drifted };
    if let Some(seen) = record.seen.as_mut().filter(|_| is_conflict && is_new_base) {
        seen.is_overruled = true;
    }
    follow_phone(record, policy);
    let wanted = record.wanted();
    let old = before.or(record.pushed.sent.as_ref().map(|sent| &sent.wish));
    let cause = wanted.zip(old).and_then(|(new, old)| cause(old, new));
    if before.map(|wish| &wish.name) != wanted.map(|wish| &wish.name)
        && let ([claim], Some(cause)) = (&mut *record.claims, cause)
    {
        claim.cause = cause;
    }
    restatus(record, place, policy, now);
}

/// Why the new wish differs from the old one, if it does; that a stage changed is said before that a name did.
fn cause(old: &Wish, new: &Wish) -> Option<Cause> {
    if old.name == new.name {
        None
    } else if old.tag != new.tag && old.rules == new.rules {
        Some(Cause::Stage)
    } else if old.base != new.base {
        Some(Cause::Name)
    } else {
        Some(Cause::Rules)
    }
}

fn seen(
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
fn unkept(record: &mut Record, name: Option<Box<str>>, blame: Blame, policy: &Policy, now: Timestamp) {
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

/// Counts that a run died while it called a contact.
fn died(record: &mut Record, run: u64, policy: &Policy, now: Timestamp) {
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

/// Goes on with a contact that a person had a say in: what stood in its way is forgotten.
fn release(record: &mut Record, policy: &Policy, now: Timestamp) {
    record.held = None;
    record.substitute = None;
    (record.pushed.flips, record.checked) = (None, None);
    if let Some(seen) = &mut record.seen {
        seen.is_overruled = true;
    }
    restatus(record, queue(record, now), policy, now);
}

/// Wants the name from before a run, until the CRM wants another one than now. A name that somebody saved since stays.
fn undo(record: &mut Record, run: u64, name: ContactName, policy: &Policy, now: Timestamp) {
    let sent = record.pushed.sent.as_ref().filter(|sent| sent.run == run).map(|sent| &sent.wish.name);
    // A wish that came since is newer than what is to be undone.
    if sent.is_none() || sent != record.wanted().map(|wish| &wish.name) || record.pushed.in_doubt.is_some() {
        return;
    }
    let edited = record.drifted().and_then(|seen| seen.name.as_deref());
    let Ok(name) = edited.map_or(Ok(name), |edited| ContactName::new(edited, "")) else { return };
    let [claim] = &mut *record.claims else { return };
    let Some(wish) = &claim.wish else { return };
    // What is undone may itself be the undoing of another run.
    let is_wish = wish.name.is_full(name.full());
    let over = wish.name.fingerprint();
    claim.cause = Cause::Undo;
    let source = Source::Undo { run };
    record.substitute = (!is_wish).then(|| Substitute { wish: Wish::plain(name), over, source });
    restatus(record, queue(record, now), policy, now);
}

/// Takes the name that the address book shows for sent, if it is the one that is wanted.
fn adopted(record: &mut Record, policy: &Policy, now: Timestamp) {
    let Some((wish, seen)) = record.wanted().cloned().zip(record.seen.as_ref()) else { return };
    let is_free = record.pushed.sent.is_none() && record.pushed.in_doubt.is_none();
    if is_free && seen.name.as_deref().is_some_and(|name| wish.name.is_full(name)) {
        record.pushed.sent = Some(Sent { wish, run: 0, at: seen.at, verified_at: Some(seen.at) });
        restatus(record, queue(record, now), policy, now);
    }
}

/// The name that `by` replaced, if there was another.
fn overwritten(record: &Record, by: &Wish, run: u64, at: Timestamp) -> Option<Overwritten> {
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

fn phone_unknown(record: &mut Record, now: Timestamp) {
    let waits = matches!(record.status, Status::Due { .. } | Status::Held { reason: Hold::NoPhone, .. });
    if record.chat.is_lid() && waits {
        record.status = Status::Held { reason: Hold::NoPhone, since: now };
    }
}

fn begin(record: &mut Record, run: u64, policy: &Policy, now: Timestamp) -> Option<Effect> {
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
fn cancel(record: &mut Record, policy: &Policy, now: Timestamp) {
    record.pushed.calling = None;
    if let Some(doubt) = record.pushed.in_doubt.take() {
        record.pushed.in_doubt = doubt.earlier_until.map(|until| InDoubt { until, earlier_until: None, ..doubt });
        restatus(record, queue(record, now), policy, now);
    }
}

fn acknowledged(record: &mut Record, policy: &Policy, now: Timestamp) -> Option<Effect> {
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
fn remember(record: &mut Record, sent: Option<Sent>) {
    let Pushed { sent: newest, before, .. } = &mut record.pushed;
    let is_newest = |name: &str| newest.as_ref().is_some_and(|newest| newest.wish.name.is_full(name));
    before.retain(|name| !is_newest(name));
    let Some(sent) = sent.filter(|sent| !is_newest(sent.wish.name.full())) else { return };
    before.retain(|name| !sent.wish.name.is_full(name));
    before.insert(0, sent.wish.name.full().into());
    before.truncate(MOST_BEFORE);
}

fn failed(record: &mut Record, failure: Failure, policy: &Policy, now: Timestamp) {
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

/// As good as 1, by which the longest of all durations can be multiplied without an overflow.
const LONGEST_JITTER: f64 = 1.0 - f64::EPSILON;

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

/// Forgets what the address book of another account showed; a request in doubt may still reach the account that is there now.
fn account_changed(record: &mut Record, policy: &Policy, now: Timestamp) {
    record.seen = None;
    record.substitute = None;
    record.pushed = Pushed { in_doubt: record.pushed.in_doubt.take(), ..Pushed::default() };
    restatus(record, queue(record, now), policy, now);
}

/// Brings moments back that lie further ahead than they could if the clock had always been right.
fn clock_set_back(record: &mut Record, policy: &Policy, now: Timestamp) {
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
fn bring_back(record: &mut Record, policy: &Policy, now: Timestamp) {
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

/// The record's place in the queue, if it has one, or the end of it.
fn queue(record: &Record, now: Timestamp) -> Timestamp {
    record.status.due_at().map_or(now, |at| at.min(now))
}

/// Finds out what the contact waits for; if it is due, from its place in the queue on.
fn restatus(record: &mut Record, place: Timestamp, policy: &Policy, now: Timestamp) {
    record.pushed.late_until = record.pushed.late_until.filter(|until| *until > now);
    follow_phone(record, policy);
    record.status = status(record, place, policy);
}

/// Takes over the name that a person saved on the phone, where the policy says so, and keeps the CRM's tag on it.
fn follow_phone(record: &mut Record, policy: &Policy) {
    let follows = matches!(policy.drift, Drift::PhoneWins | Drift::ByField);
    let is_from_phone = |substitute: &Substitute| substitute.source == Source::Phone;
    if !follows && !record.substitute.as_ref().is_some_and(is_from_phone) {
        return;
    }
    if policy.drift == Drift::CrmWins {
        record.substitute = None;
        if let [claim] = &mut *record.claims {
            claim.cause = Cause::Name;
        }
        return;
    }
    let Some(wish) = record.sole_claim().and_then(|claim| claim.wish.clone()) else { return };
    if let Some(worn) = record.substitute.take_if(|substitute| is_from_phone(substitute))
        && worn.stands_for(&wish)
    {
        let fits = (worn.wish.tag == wish.tag && worn.wish.rules == wish.rules) || !knows(policy, &wish);
        record.substitute = if fits { Some(worn) } else { dressed(worn.wish.base.full(), &wish, policy) };
    }
    if !follows || !knows(policy, &wish) {
        return;
    }
    if let Some(base) = saved_base(record, policy)
        && !(policy.drift == Drift::ByField && is_changed_in_crm(record))
        && let Some(substitute) = dressed(&base, &wish, policy)
        && let [claim] = &mut *record.claims
    {
        claim.cause = Cause::Phone;
        record.substitute = Some(substitute);
    }
    // Whoever saved what is wanted anyway has no say in what is wanted later.
    let is_agreed = record
        .drifted()
        .and_then(|seen| seen.name.as_deref())
        .is_some_and(|name| record.wanted().is_some_and(|wanted| wanted.name.is_full(name)));
    if let Some(seen) = record.seen.as_mut().filter(|_| is_agreed) {
        seen.is_overruled = true;
    }
}

/// Whether the policy's rules made the wish: others may tell its tag from no base.
fn knows(policy: &Policy, wish: &Wish) -> bool {
    wish.tag.is_none() || wish.rules == policy.naming.fingerprint()
}

/// A base from the phone with the tag of the CRM's wish.
fn dressed(base: &str, wish: &Wish, policy: &Policy) -> Option<Substitute> {
    let rendered = policy.naming.retag(base, wish.tag.as_deref()).ok()?;
    let over = wish.base.fingerprint();
    // Whoever renders by other rules knows other tags.
    let is_known = rendered.tag == wish.tag;
    is_known.then(|| Substitute { wish: Wish::rendered(rendered, wish.rules), over, source: Source::Phone })
}

/// The base of the name that a person saved over ours, or before there was one of ours, if it is another one than is wanted.
fn saved_base(record: &Record, policy: &Policy) -> Option<String> {
    let seen = record.seen.as_ref().filter(|seen| !seen.is_ours && !seen.is_overruled)?;
    let is_theirs = record.pushed.sent.is_none() || record.drifted().is_some();
    let name = seen.name.as_deref().filter(|name| is_theirs && !record.chat.is_raw(name))?;
    let wanted = record.wanted()?;
    let base = policy.naming.parse(name).base;
    let is_other = !base.is_empty() && !wanted.name.is_full(name) && !wanted.base.is_full(&base);
    is_other.then_some(base)
}

/// Whether the CRM wants another name than the one that was sent last, tags aside.
fn is_changed_in_crm(record: &Record) -> bool {
    let wish = record.sole_claim().and_then(|claim| claim.wish.as_ref());
    // What stands in place of the CRM's wish stands there because that has not changed.
    let stands = record
        .substitute
        .as_ref()
        .zip(wish)
        .is_some_and(|(substitute, wish)| substitute.source == Source::Phone && substitute.stands_for(wish));
    !stands
        && record.pushed.sent.as_ref().zip(wish).is_some_and(|(sent, wish)| sent.wish.base.full() != wish.base.full())
}

fn status(record: &Record, place: Timestamp, policy: &Policy) -> Status {
    if record.claims.len() > 1 {
        return Status::Parked { reason: Park::Competing };
    }
    let Some(wish) = record.wanted() else { return Status::InSync };
    if is_shown(record, wish) {
        return Status::InSync;
    }
    if let Some(Held { since }) = record.held {
        return Status::Held { reason: Hold::ByHand, since };
    }
    if let Some(Checked { exists: false, at }) = record.checked
        && !record.is_known()
    {
        return Status::Held { reason: Hold::NotOnWhatsApp, since: at };
    }
    if let Status::Held { reason: Hold::NoPhone, .. } = record.status
        && record.chat.is_lid()
    {
        return record.status;
    }
    if let Some(left) = left_to_a_person(record, wish, policy) {
        return left;
    }
    let retry_at = match record.failure() {
        Some(LastFailure { deaths, .. }) if *deaths >= MOST_DEATHS => return Status::Parked { reason: Park::Deadly },
        Some(LastFailure { retry_at: None, kind: ErrorKind::Unkept, .. }) => {
            return Status::Parked { reason: Park::Unkept };
        }
        Some(LastFailure { retry_at: None, .. }) => return Status::Parked { reason: Park::Refused },
        Some(LastFailure { retry_at: Some(at), .. }) => *at,
        None => Timestamp::default(),
    };
    Status::Due { at: place.max(retry_at).max(free_at(record, wish)) }
}

/// What a name that somebody else saved makes of the contact, if that is not to be overwritten.
fn left_to_a_person(record: &Record, wish: &Wish, policy: &Policy) -> Option<Status> {
    let seen =
        record.seen.as_ref().filter(|seen| !seen.is_overruled && !seen.is_ours && record.pushed.in_doubt.is_none())?;
    let name = seen.name.as_deref()?;
    let is_drift = record.drifted().is_some();
    // A wish that was not sent so far is a new one: it overrules what was saved over an older one.
    let is_old = record.pushed.sent.as_ref().is_some_and(|sent| sent.wish.name == wish.name);
    match policy.drift {
        Drift::IfRaw if is_drift || record.pushed.sent.is_none() => {
            (!record.chat.is_raw(name)).then_some(Status::InSync)
        }
        // Only rules that know the tag can tell what was saved; the next run has them.
        Drift::PhoneWins | Drift::ByField if is_drift && record.substitute.is_none() && !knows(policy, wish) => {
            Some(Status::InSync)
        }
        Drift::ByField if is_drift && is_changed_in_crm(record) && saved_base(record, policy).is_some() => {
            Some(Status::Parked { reason: Park::Drifted })
        }
        _ if !is_drift || !is_old => None,
        _ if record.pushed.flips.as_ref().is_some_and(|flips| flips.times > policy.most_flips) => {
            Some(Status::Parked { reason: Park::Contested })
        }
        Drift::Ask => Some(Status::Parked { reason: Park::Drifted }),
        Drift::CrmWins | Drift::PhoneWins | Drift::ByField | Drift::IfRaw => None,
    }
}

/// Whether the address book shows the wish, and no older request can change that.
fn is_shown(record: &Record, wish: &Wish) -> bool {
    let is_undoubted = match &record.pushed.in_doubt {
        // Seen since it was sent: if it takes effect only now, it sets the same name again.
        Some(doubt) => doubt.wish.name == wish.name && record.seen.as_ref().is_some_and(|seen| seen.at > doubt.since),
        None => true,
    };
    let is_quiet = record.pushed.late_until.is_none()
        || record.pushed.sent.as_ref().is_some_and(|sent| sent.wish.name == wish.name);
    is_undoubted && is_quiet && record.shows(&wish.name)
}

/// From when on the wish may be sent: once no older request for another name can take effect any more.
fn free_at(record: &Record, wish: &Wish) -> Timestamp {
    let Pushed { sent, in_doubt, late_until, .. } = &record.pushed;
    let doubt = in_doubt.as_ref().filter(|doubt| doubt.wish.name != wish.name).map(|doubt| doubt.until);
    let late = late_until.filter(|_| sent.as_ref().is_none_or(|sent| sent.wish.name != wish.name));
    doubt.max(late).unwrap_or_default()
}
