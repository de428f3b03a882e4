//! Everything that is known of one contact, and what is decided about it.
//!
//! A [`Record`] has three writers, its lanes: the CRM lane writes the [`claims`](Record::claims), observers write what was
//! [`seen`](Record::seen), the pusher writes what was [`pushed`](Record::pushed). What an event makes of a record is decided by
//! [`decide`] alone, a pure function that also sets the [`Status`]. A ledger stores the status and computes nothing, so every ledger
//! behaves alike, and a test can walk every state.
//!
//! # The protocol of a call
//!
//! 1. [`Event::Begin`] marks the record *in doubt*: the name is written down, durably, before the request leaves.
//! 2. Right before the call, the time that is left until [`InDoubt::until`] of that mark is compared with the longest time that a request can
//!    take effect. If it is too short, [`Event::Cancel`] takes the mark back.
//! 3. The answer is [`Event::Acknowledged`] or [`Event::Failed`]; if none comes, the mark stays and says so.
//! 4. The **same** name may be repeated at once: setting it twice is harmless. A **different** name waits until no older request can
//!    take effect any more ([`InDoubt::until`]), also after a repeat was acknowledged ([`Pushed::late_until`]).
//!
//! The steps of a push with leases and several writers are checked by a model over all interleavings: `model/` in the repository.
//!
//! ```
//! use wawp_contacts::{
//!     contact::ContactName,
//!     record::{Effect, Event, Policy, Record, Status, Wish, decide},
//!     time::Timestamp,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (policy, now) = (Policy::default(), Timestamp(1_700_000_000_000));
//! let bob = Record::new("12025550142@c.us".parse()?);
//! let wish = Wish::plain(ContactName::new("Bob", "[Lead]")?);
//!
//! let claimed = decide(&bob, Event::claimed("crm-7", wish), &policy, now).record;
//! assert_eq!(claimed.status, Status::Due { at: now });
//!
//! let begun = decide(&claimed, Event::Begin { run: 1 }, &policy, now);
//! assert_eq!(begun.effects, [Effect::Call]);
//!
//! let done = decide(&begun.record, Event::Acknowledged, &policy, now).record;
//! assert_eq!(done.status, Status::InSync);
//! # Ok(())
//! # }
//! ```

use serde::{Deserialize, Serialize};

use crate::{ChatId, ContactName, ErrorKind, contact::Fingerprint, crm::RowDigest, naming::Rendered, time::Timestamp};

mod decide;
#[cfg(test)]
mod tests;

pub use decide::{Blame, Decision, Drift, Effect, Event, Failure, Policy, decide, merge, unmerge};

/// One contact of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// The person: the chat that names are written to; unique within the instance.
    pub chat: ChatId,
    /// Other ids of the same person, such as a privacy id that was resolved to the phone in [`chat`](Self::chat).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<ChatId>,
    /// The rows of the CRM that claim the person, ordered by id; written by the CRM lane. More than one is a conflict that only the
    /// CRM can solve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
    /// What was sent; written by the pusher.
    #[serde(default)]
    pub pushed: Pushed,
    /// What was last seen in the address book; written by observers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// That a person said to leave the contact as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Whether the number is on WhatsApp, if that was asked before the first name was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<Checked>,
    /// Records of the same person that were joined with this one, as they were then: see [`unmerge`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<Box<Self>>,
    /// The name that stands in place of the CRM's: from before a run that was undone, or from the phone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub substitute: Option<Substitute>,
    /// What the contact waits for; set by [`decide`] alone.
    pub status: Status,
    /// How often the record was stored; 0 until then. It is stored only over the revision that it was loaded at.
    pub revision: u64,
}

/// What a contact waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// Nothing: the address book shows what is wanted, as far as anyone can know, or nothing is wanted.
    InSync,
    /// A call, not before a moment.
    Due {
        /// When it may be called; also its place in the queue, so whoever is due longest goes first. A single change is
        /// queued as if it had waited for [`Policy::HEAD_START`] already.
        at: Timestamp,
    },
    /// Something that may come by itself.
    Held {
        /// What is missing.
        reason: Hold,
        /// When that was last found out.
        since: Timestamp,
    },
    /// A person, or a new wish.
    Parked {
        /// Why.
        reason: Park,
    },
}

impl Status {
    /// The word in reports and ledgers: `in_sync`, `due`, `held`, `parked`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::Due { .. } => "due",
            Self::Held { .. } => "held",
            Self::Parked { .. } => "parked",
        }
    }

    /// From when on the contact wants a call.
    #[must_use]
    pub fn due_at(self) -> Option<Timestamp> {
        if let Self::Due { at } = self { Some(at) } else { None }
    }
}

/// Why a contact is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Hold {
    /// The CRM knows the person by a privacy id only, and nobody knows the phone behind it.
    NoPhone,
    /// A person said to leave it as it is.
    ByHand,
    /// The number is not on WhatsApp, as far as the server knows; it is asked again after a week.
    NotOnWhatsApp,
}

/// Why a contact is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Park {
    /// The API refused it; [`Pushed::failure`] says in which words.
    Refused,
    /// Several rows of the CRM claim the person.
    Competing,
    /// Somebody else saved another name over ours, and it is left to a person which of them stays: always with [`Drift::Ask`], with
    /// [`Drift::ByField`] where the CRM changed the name as well.
    Drifted,
    /// Somebody else saved the same name over ours again and again: see [`Flips`].
    Contested,
    /// The process died again and again while the contact was called: see [`LastFailure::deaths`].
    Deadly,
    /// The API accepted the name again and again, and the address book still shows what was there before: see [`Event::Unkept`].
    Unkept,
}

impl Hold {
    /// What it means, and what to do.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::NoPhone => "nobody knows the phone behind this privacy id; give the CRM row a phone",
            Self::NotOnWhatsApp => "the number is not on WhatsApp; correct it in the CRM, or try again later",
            Self::ByHand => "left as it is, because a person said so; release it to go on",
        }
    }
}

impl Park {
    /// What it means, and what to do.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Refused => "the server refused the name; change it in the CRM, or try again",
            Self::Competing => "several rows of the CRM claim this person; leave the number in one of them",
            Self::Drifted => "somebody saved another name; release it to overwrite that, or change the name in the CRM",
            Self::Deadly => "the job died three times while it wrote this contact; find out why, then try it again",
            Self::Unkept => {
                "the server accepts the name, and the address book does not show it; look at the phone, then try it again"
            }
            Self::Contested => {
                "somebody saves the same other name again and again; agree on one, then change the CRM or release the contact"
            }
        }
    }
}

/// A name as it is wanted, sent or in doubt: what is shown, and what it was made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Wish {
    /// The name to show, tag and all.
    pub name: ContactName,
    /// The name without the tag.
    pub base: ContactName,
    /// The tag, without the template around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Box<str>>,
    /// The fingerprint of the naming rules that made it.
    pub rules: u32,
}

impl Wish {
    /// A name as it is, without a tag.
    #[must_use]
    pub fn plain(name: ContactName) -> Self {
        Self { base: name.clone(), name, tag: None, rules: 0 }
    }

    /// A rendered name, and the fingerprint of the rules that rendered it.
    #[must_use]
    pub fn rendered(rendered: Rendered, rules: u32) -> Self {
        Self { name: rendered.name, base: rendered.base, tag: rendered.tag, rules }
    }
}

/// What one row of the CRM says of a person.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Claim {
    /// The row.
    pub crm_id: Box<str>,
    /// The version of the row, if the CRM gives one; versions of different rows are never compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The row as it came and the rules, to tell an unchanged row by.
    pub digest: RowDigest,
    /// The name that it wants; `None` if the row has none that can be used, which still claims the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<Wish>,
    /// Why the wish last changed.
    pub cause: Cause,
}

impl Claim {
    /// A claim that is new.
    #[must_use]
    pub fn new(crm_id: impl Into<Box<str>>, version: Option<u64>, digest: RowDigest, wish: Option<Wish>) -> Self {
        Self { crm_id: crm_id.into(), version, digest, wish, cause: Cause::New }
    }
}

/// Why a name has to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// The CRM named the person for the first time.
    New,
    /// The CRM changed the name.
    Name,
    /// The person moved to another stage, so the tag changed.
    Stage,
    /// The naming rules changed: template, tags, placement or limit.
    Rules,
    /// A run was undone.
    Undo,
    /// A person saved another name on the phone, and the policy takes it over.
    Phone,
    /// A person saved another name on the phone, and the policy writes ours again. Never the cause of a claim: see [`Record::cause`].
    Drift,
}

impl Cause {
    /// The word in reports: `new`, `name`, `stage`, `rules`, `undo`, `phone`, `drift`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Name => "name",
            Self::Stage => "stage",
            Self::Rules => "rules",
            Self::Undo => "undo",
            Self::Phone => "phone",
            Self::Drift => "drift",
        }
    }
}

/// What is known of our own writes to the address book.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pushed {
    /// The name last acknowledged by the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
    /// The name of requests whose answer is missing; written down before the first of them is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_doubt: Option<InDoubt>,
    /// Until when an older request for the name in [`sent`](Self::sent), whose repeat was acknowledged, can still take effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_until: Option<Timestamp>,
    /// Why the wish has not been sent so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<LastFailure>,
    /// How often somebody else saved the same name over ours of late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flips: Option<Flips>,
    /// The run that called last, until the end of that call is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calling: Option<u64>,
    /// The full names that were sent before [`sent`](Self::sent), newest first; a few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Box<str>>,
}

/// How often somebody else saved the same name over ours, within a day.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Flips {
    /// The name that they saved.
    pub name: Box<str>,
    /// When it was seen for the first time.
    pub since: Timestamp,
    /// How often it was seen over ours.
    pub times: u32,
}

/// A name that stands in place of one wish of the CRM's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Substitute {
    /// The name.
    pub wish: Wish,
    /// What it stands in place of: the name that the CRM wanted then or, for one from the phone, the base of that name.
    pub over: Fingerprint,
    /// Where it comes from.
    pub source: Source,
}

/// Where a name comes from that stands in place of the CRM's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// From before a run that was undone. Any other wish of the CRM's replaces it.
    Undo {
        /// The run.
        run: u64,
    },
    /// From the phone, with the tag of the CRM. It stands until the CRM wants another base than then.
    Phone,
}

impl Substitute {
    fn stands_for(&self, wish: &Wish) -> bool {
        let replaced = match self.source {
            Source::Undo { .. } => &wish.name,
            Source::Phone => &wish.base,
        };
        self.over == replaced.fingerprint()
    }
}

/// A name that a person saved on the phone, and that the CRM does not know yet: see [`Record::edit`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Edit {
    /// The person.
    pub chat: ChatId,
    /// The row of the CRM to correct.
    pub crm_id: Box<str>,
    /// What the CRM wants.
    pub wanted: Box<str>,
    /// What the person saved, without our tag where the name was taken over.
    pub saved: Box<str>,
    /// Whether the name was taken over; else the contact waits for a person to decide.
    pub is_taken_over: bool,
}

/// Whether a number is on WhatsApp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Checked {
    /// Whether it is.
    pub exists: bool,
    /// When the server said so.
    pub at: Timestamp,
}

/// That a person said to leave a contact as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Held {
    /// When that was.
    pub since: Timestamp,
}

/// A name that the API acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sent {
    /// The name, and what it was made of.
    pub wish: Wish,
    /// The run that sent it.
    pub run: u64,
    /// When the acknowledgement came; brought back if the clock was.
    pub at: Timestamp,
    /// When the address book showed the name after that: accepted by the API is not yet shown to anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
}

/// Requests for one name that may or may not have been carried out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InDoubt {
    /// The name in all of them, and what it was made of.
    pub wish: Wish,
    /// The run that made the last of them.
    pub run: u64,
    /// When the last of them was written down.
    pub since: Timestamp,
    /// From when on none of them can take effect any more, the earlier ones included.
    pub until: Timestamp,
    /// The same of those before the last, for whatever name, if any of them is unanswered: what an answer to the last leaves open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier_until: Option<Timestamp>,
    /// Other names of unanswered requests before the last, newest first; a few. The address book may show one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier_names: Vec<Box<str>>,
}

/// Why a wish has not been sent so far. It says nothing of another wish: see [`Record::failure`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LastFailure {
    /// The name that it is about.
    pub wish: Fingerprint,
    /// How many attempts failed.
    pub attempts: u32,
    /// How many of them failed for reasons that cannot be understood; only these are bounded, by [`Policy::unclear_attempts`].
    #[serde(default)]
    pub unclear: u32,
    /// How often in a row the process died while the contact was called.
    #[serde(default)]
    pub deaths: u32,
    /// When the last of them failed.
    pub at: Timestamp,
    /// When to try again; `None` if only a person or a new wish helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// What went wrong.
    pub kind: ErrorKind,
    /// What the server said of it, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Box<str>>,
}

/// What the address book showed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Seen {
    /// The saved name; `None` if the person was not saved.
    pub name: Option<Box<str>>,
    /// When it was.
    pub at: Timestamp,
    /// Whether a person said to overwrite it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_overruled: bool,
    /// Whether nobody else saved it: it is our own name, of a request that was never answered, or what was there before one that was
    /// accepted and not kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_ours: bool,
}

/// A name that a push replaced, kept so that it can be restored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Overwritten {
    /// The contact.
    pub chat: ChatId,
    /// What the address book showed before.
    pub text: Box<str>,
    /// What it shows instead, and what that was made of.
    pub by: Wish,
    /// The run that replaced it.
    pub run: u64,
    /// When the replacement was acknowledged.
    pub at: Timestamp,
}

impl Seen {
    /// What the address book showed at a moment.
    #[must_use]
    pub fn new(name: Option<Box<str>>, at: Timestamp) -> Self {
        Self { name, at, is_overruled: false, is_ours: false }
    }
}

impl Record {
    /// A contact of which nothing is known.
    #[must_use]
    pub fn new(chat: ChatId) -> Self {
        Self {
            chat,
            aliases: Vec::new(),
            claims: Vec::new(),
            pushed: Pushed::default(),
            seen: None,
            held: None,
            checked: None,
            joined: Vec::new(),
            substitute: None,
            status: Status::InSync,
            revision: 0,
        }
    }

    /// What the contact is to be called: what the CRM wants, or its [`substitute`](Self::substitute). `None` unless exactly one row
    /// claims it and has a name.
    #[must_use]
    pub fn wanted(&self) -> Option<&Wish> {
        let wish = self.sole_claim()?.wish.as_ref()?;
        Some(self.substitute.as_ref().filter(|substitute| substitute.stands_for(wish)).map_or(wish, |by| &by.wish))
    }

    /// Why the name that is [wanted](Self::wanted) has to be written; `None` if none is.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        let wish = self.wanted()?;
        let is_sent = self.pushed.sent.as_ref().is_some_and(|sent| sent.wish.name == wish.name);
        if is_sent && self.drifted().is_some() { Some(Cause::Drift) } else { Some(self.sole_claim()?.cause) }
    }

    /// The name that a person saved and that the CRM should learn of: it was taken over from the phone, or waits for a decision.
    #[must_use]
    pub fn edit(&self) -> Option<Edit> {
        let claim = self.sole_claim()?;
        let wish = claim.wish.as_ref()?;
        let from_phone = |substitute: &&Substitute| substitute.source == Source::Phone && substitute.stands_for(wish);
        let taken_over = self.substitute.as_ref().filter(from_phone).map(|substitute| substitute.wish.base.full());
        let waits = self.status == Status::Parked { reason: Park::Drifted };
        let saved = self.drifted().and_then(|seen| seen.name.as_deref()).filter(|_| waits).or(taken_over)?;
        Some(Edit {
            chat: self.chat.clone(),
            crm_id: claim.crm_id.clone(),
            wanted: wish.name.full().into(),
            saved: saved.into(),
            is_taken_over: !waits,
        })
    }

    /// The claim on the contact, if there is exactly one.
    #[must_use]
    pub fn sole_claim(&self) -> Option<&Claim> {
        if let [claim] = &*self.claims { Some(claim) } else { None }
    }

    /// The claim of a row of the CRM.
    #[must_use]
    pub fn claim(&self, crm_id: &str) -> Option<&Claim> {
        self.claims.iter().find(|claim| &*claim.crm_id == crm_id)
    }

    /// Why the present wish has not been sent so far, if it was tried.
    #[must_use]
    pub fn failure(&self) -> Option<&LastFailure> {
        let wish = self.wanted()?;
        self.pushed.failure.as_ref().filter(|failure| failure.wish == wish.name.fingerprint())
    }

    /// Whether the id is one of the person's.
    #[must_use]
    pub fn answers_to(&self, chat: &ChatId) -> bool {
        self.chat == *chat || self.aliases.contains(chat)
    }

    /// Notes another id of the person, of which nothing else is known.
    pub(crate) fn add_alias(&mut self, id: &ChatId) {
        if !self.answers_to(id) {
            self.aliases.push(id.clone());
            self.aliases.sort_unstable();
        }
    }

    /// Whether the contact is known to have a name in the address book: something was sent, or seen with a name.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.pushed.sent.is_some() || self.seen.as_ref().is_some_and(|seen| seen.name.is_some())
    }

    /// What the address book shows as far as is known: the newer of sent and seen.
    #[must_use]
    pub fn shown(&self) -> Option<&str> {
        match (&self.pushed.sent, &self.seen) {
            (Some(sent), Some(seen)) if seen.at <= sent.at => Some(sent.wish.name.full()),
            (Some(sent), None) => Some(sent.wish.name.full()),
            (_, Some(seen)) => seen.name.as_deref(),
            (None, None) => None,
        }
    }

    /// What the address book showed in place of the name that was sent before: somebody else saved it.
    #[must_use]
    pub fn drifted(&self) -> Option<&Seen> {
        let (sent, seen) = self.pushed.sent.as_ref().zip(self.seen.as_ref())?;
        let is_other = seen.name.as_deref().is_some_and(|name| !sent.wish.name.is_full(name));
        (seen.at > sent.at && is_other && !seen.is_ours).then_some(seen)
    }

    /// Whether the address book shows this name, as far as is known.
    #[must_use]
    pub fn shows(&self, name: &ContactName) -> bool {
        match (&self.pushed.sent, &self.seen) {
            (Some(sent), Some(seen)) if seen.at <= sent.at => sent.wish.name == *name,
            (Some(sent), None) => sent.wish.name == *name,
            (_, Some(seen)) => seen.name.as_deref().is_some_and(|shown| name.is_full(shown)),
            (None, None) => false,
        }
    }
}
