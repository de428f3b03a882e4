//! What happens to a record: pure, synchronous, total; the only place that holds policy.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Checked, Claim, Edit, Held, Hold, LastFailure, Overwritten, Park, Pushed, Record, Status, Wish};
#[cfg(doc)]
use crate::book::AddressBook;
use crate::{
    ContactName, Error, ErrorKind, RetryPolicy,
    crm::RowDigest,
    naming::{Funnel, Naming},
    time::Timestamp,
};

mod claiming;
mod clock;
mod joining;
mod persons;
mod pushing;
mod seeing;
#[cfg(test)]
mod tests;

pub use joining::{merge, unmerge};

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
        Event::Claimed { claim, urgent } => claiming::claimed(&mut next, claim, urgent, policy, now),
        Event::Unclaimed { crm_id } => {
            claiming::unclaimed(&mut next, &crm_id, policy, now);
            None
        }
        Event::Seen { name, at } => seeing::seen(&mut next, name, at, policy, now),
        Event::PhoneUnknown => {
            seeing::phone_unknown(&mut next, now);
            None
        }
        Event::Checked { exists } => {
            next.checked = Some(Checked { exists, at: now });
            restatus(&mut next, queue(record, now), policy, now);
            None
        }
        Event::Begin { run } => pushing::begin(&mut next, run, policy, now),
        Event::Died { run } => {
            pushing::died(&mut next, run, policy, now);
            None
        }
        Event::Cancel => {
            pushing::cancel(&mut next, policy, now);
            None
        }
        Event::Acknowledged => pushing::acknowledged(&mut next, policy, now),
        Event::Failed(failure) => {
            pushing::failed(&mut next, failure, policy, now);
            None
        }
        Event::Unkept { name, blame } => {
            seeing::unkept(&mut next, name, blame, policy, now);
            None
        }
        Event::AccountChanged => {
            seeing::account_changed(&mut next, policy, now);
            None
        }
        Event::ClockSetBack => {
            clock::clock_set_back(&mut next, policy, now);
            None
        }
        Event::Hold => {
            next.held = next.held.take().or(Some(Held { since: now }));
            restatus(&mut next, queue(record, now), policy, now);
            None
        }
        Event::Release => {
            persons::release(&mut next, policy, now);
            None
        }
        Event::Retry => {
            (next.pushed.failure, next.checked) = (None, None);
            restatus(&mut next, queue(record, now), policy, now);
            None
        }
        Event::Undo { run, name } => {
            persons::undo(&mut next, run, name, policy, now);
            None
        }
        Event::Adopted => {
            persons::adopted(&mut next, policy, now);
            None
        }
        Event::PolicyChanged => {
            restatus(&mut next, queue(record, now), policy, now);
            None
        }
    };
    Decision::new(record, next, effect)
}

/// The record's place in the queue, if it has one, or the end of it.
fn queue(record: &Record, now: Timestamp) -> Timestamp {
    record.status.due_at().map_or(now, |at| at.min(now))
}

/// Finds out what the contact waits for; if it is due, from its place in the queue on.
fn restatus(record: &mut Record, place: Timestamp, policy: &Policy, now: Timestamp) {
    record.pushed.late_until = record.pushed.late_until.filter(|until| *until > now);
    persons::follow_phone(record, policy);
    record.status = status(record, place, policy);
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
    if let Some(left) = persons::left_to_a_person(record, wish, policy) {
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
