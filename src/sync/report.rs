//! What happened, or would: changes, counts, and how they are shown.

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer};

use super::Brake;
use crate::{
    ChatId, ErrorKind,
    crm::Refusal,
    ledger::{Cause, Row, Timestamp},
};

/// How many lines a [`Report`] keeps; the counts go on, and an observer is told of every line.
const KEPT: usize = 1_000;

/// What becomes of one contact's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Change {
    /// The person.
    #[serde(rename = "chat_id", serialize_with = "text")]
    pub chat: ChatId,
    /// The CRM row that wants it.
    pub crm_id: Box<str>,
    /// Whether the contact is added or renamed.
    pub action: Verb,
    /// What the address book shows, as far as is known.
    pub before: Option<String>,
    /// What it is to show.
    pub after: String,
    /// Why the wish last changed.
    #[serde(serialize_with = "cause")]
    pub cause: Cause,
    /// How far it came.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What a change does to the address book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// The contact had no name there.
    Create,
    /// The contact had another name there.
    Rename,
}

/// How far a change came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// A plan: nothing was done.
    Planned,
    /// The API acknowledged it, and the ledger holds that durably.
    Done,
    /// It needs a person or a new wish.
    Parked {
        /// What happened.
        #[serde(serialize_with = "code")]
        kind: ErrorKind,
        /// What the server said.
        message: Option<Box<str>>,
    },
    /// It stays due: the run ended before it could be done.
    Due {
        /// When it may be tried again, in milliseconds since 1970.
        #[serde(serialize_with = "millis")]
        at: Timestamp,
        /// What stood in the way of this contact, if it was tried.
        #[serde(serialize_with = "maybe_code")]
        kind: Option<ErrorKind>,
    },
}

impl Outcome {
    /// What becomes of a due row that is left so.
    pub(super) fn due(row: &Row) -> Self {
        Self::Due { at: row.due_at().unwrap_or_default(), kind: row.trouble().map(|trouble| trouble.kind) }
    }
}

impl Change {
    pub(super) fn of(row: &Row, outcome: Outcome) -> Self {
        let before = row.shown();
        Self {
            chat: row.chat.clone(),
            crm_id: row.wanted.crm_id.clone(),
            action: if before.is_some() { Verb::Rename } else { Verb::Create },
            before,
            after: row.wanted.name.full(),
            cause: row.wanted.cause,
            outcome,
        }
    }
}

/// Writes a value as it is displayed.
fn text<T: fmt::Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn cause<S: Serializer>(cause: &Cause, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(cause.as_str())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn code<S: Serializer>(kind: &ErrorKind, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(kind.code())
}

#[expect(clippy::trivially_copy_pass_by_ref, clippy::ref_option, reason = "serde passes fields by reference")]
fn maybe_code<S: Serializer>(kind: &Option<ErrorKind>, to: S) -> Result<S::Ok, S::Error> {
    kind.map(ErrorKind::code).serialize(to)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn millis<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(at.0)
}

/// The counts of a run, or of a plan.
///
/// Each contact of the CRM is counted once among `created`, `renamed`, `unchanged`, `parked` and `gated`; each row that could not
/// be used once among `refused` and `stale`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Contacts that had no name and got one.
    pub created: u64,
    /// Contacts that had another name.
    pub renamed: u64,
    /// Contacts that showed the wanted name already.
    pub unchanged: u64,
    /// Rows of the CRM that cannot be used.
    pub refused: u64,
    /// Contacts that need a person or a new wish.
    pub parked: u64,
    /// Contacts left due: the instance, or its server, did not let the run finish.
    pub gated: u64,
    /// Rows of the CRM that were dropped for a newer version, or as a repeat.
    pub stale: u64,
    /// Update calls made; for a plan, those that a run would make.
    pub calls: u64,
    /// How long it took in seconds; for a plan, how long its calls take at the pace.
    pub seconds: f64,
}

impl Summary {
    /// Whether something is left that a person should look at.
    #[must_use]
    pub fn needs_person(&self) -> bool {
        self.refused + self.parked + self.gated > 0
    }

    /// The counter that a change belongs to.
    pub(super) fn counter(&mut self, change: &Change) -> &mut u64 {
        match (&change.outcome, change.action) {
            (Outcome::Parked { .. }, _) => &mut self.parked,
            (Outcome::Due { .. }, _) => &mut self.gated,
            (_, Verb::Create) => &mut self.created,
            (_, Verb::Rename) => &mut self.renamed,
        }
    }

    /// Whether the address book would change.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.created + self.renamed > 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, renamed, unchanged, refused, parked, gated, stale, calls, seconds } = self;
        write!(f, "{created} created, {renamed} renamed, {unchanged} unchanged, {refused} refused, {parked} parked, ")?;
        write!(f, "{gated} waiting, {stale} stale; {calls} calls, {seconds:.1} s")
    }
}

/// What an observer of a run is told, as it happens.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// So many rows of the CRM were taken in.
    Taken(u64),
    /// So many entries of the address book were read.
    Read(u64),
    /// The rows are in, and nothing has been called yet: this is what the run is about to do.
    Planned(&'a Summary),
    /// A contact came to its end in this run.
    Changed(&'a Change),
    /// A row was refused.
    Refused(&'a Refusal),
    /// The instance may not be called before this moment.
    Waiting(Timestamp, ErrorKind),
    /// The run was told to stop, and waits for so many calls in flight.
    Stopping(usize),
}

/// Whoever watches a run; called from the run's own task, so it must not block.
pub type Observer = Arc<dyn Fn(&Progress<'_>) + Send + Sync>;

/// What a run did.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The number of the run.
    pub run: u64,
    /// The counts.
    #[serde(flatten)]
    pub summary: Summary,
    /// Why the instance was left alone, if it was.
    #[serde(serialize_with = "maybe_code")]
    pub gate: Option<ErrorKind>,
    /// What to try about that, if it is known.
    pub hint: Option<&'static str>,
    /// Whether the run was told to stop.
    pub stopped: bool,
    /// The first thousand contacts that need a person or are left due.
    pub open: Vec<Change>,
    /// The first thousand refused rows.
    pub refusals: Vec<Refusal>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_refusals(f, &self.refusals)?;
        for change in self.open.iter().filter(|change| matches!(change.outcome, Outcome::Parked { .. })) {
            writeln!(f, "{change}")?;
        }
        write_gate(f, self.gate, self.hint)?;
        write!(f, "{}", self.summary)
    }
}

/// What a run would do.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The counts; `calls` and `seconds` are what a run would need.
    #[serde(flatten)]
    pub summary: Summary,
    /// Why the instance may not be called now, if it may not; a run would leave its contacts due.
    #[serde(serialize_with = "maybe_code")]
    pub gate: Option<ErrorKind>,
    /// What to change in the set-up, where that is why.
    pub hint: Option<&'static str>,
    /// The contacts that a run would call for, or that need a person, ordered by chat id.
    pub changes: Vec<Change>,
    /// The rows that cannot be used.
    pub refusals: Vec<Refusal>,
    /// The brake that would stop the run before its first call.
    pub brake: Option<Brake>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        write_refusals(f, &self.refusals)?;
        write_gate(f, self.gate, self.hint)?;
        if let Some(brake) = &self.brake {
            writeln!(f, "a run would stop before its first call: {brake}")?;
        }
        write!(f, "{}", self.summary)
    }
}

fn write_gate(f: &mut fmt::Formatter<'_>, gate: Option<ErrorKind>, hint: Option<&str>) -> fmt::Result {
    match (gate, hint) {
        (Some(kind), Some(hint)) => writeln!(f, "the instance is left alone: {kind}; {hint}"),
        (Some(kind), None) => writeln!(f, "the instance is left alone: {kind}"),
        (None, _) => Ok(()),
    }
}

fn write_refusals(f: &mut fmt::Formatter<'_>, refusals: &[Refusal]) -> fmt::Result {
    refusals.iter().try_for_each(|refusal| writeln!(f, "! {refusal} ({})", refusal.reason.code()))
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.before {
            None => write!(f, "+ {}: \"{}\"", self.chat, self.after)?,
            Some(before) => write!(f, "~ {}: \"{before}\" -> \"{}\"", self.chat, self.after)?,
        }
        write!(f, " ({})", self.cause.as_str())?;
        match &self.outcome {
            Outcome::Planned | Outcome::Done => Ok(()),
            Outcome::Parked { kind, message: Some(message) } => write!(f, ", parked: {kind}: {message}"),
            Outcome::Parked { kind, message: None } => write!(f, ", parked: {kind}"),
            Outcome::Due { kind: Some(kind), .. } => write!(f, ", waiting: {kind}"),
            Outcome::Due { kind: None, .. } => write!(f, ", waiting"),
        }
    }
}

/// Collects what happens in a run or a plan, and tells the observer.
pub(super) struct Recorder {
    pub(super) summary: Summary,
    pub(super) changes: Vec<Change>,
    pub(super) refusals: Vec<Refusal>,
    keep: usize,
    observer: Option<Observer>,
}

impl Recorder {
    /// For a run: keeps the first lines, and those only of what stays open.
    pub(super) fn of_run(observer: Option<Observer>) -> Self {
        Self { summary: Summary::default(), changes: Vec::new(), refusals: Vec::new(), keep: KEPT, observer }
    }

    /// For a plan: keeps every line and tells nobody.
    pub(super) fn of_plan() -> Self {
        Self { keep: usize::MAX, ..Self::of_run(None) }
    }

    pub(super) fn tell(&self, progress: &Progress<'_>) {
        if let Some(observer) = &self.observer {
            observer(progress);
        }
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.summary.refused += 1;
        self.tell(&Progress::Refused(&refusal));
        if self.refusals.len() < self.keep {
            self.refusals.push(refusal);
        }
    }

    /// Counts and reports what became of a contact.
    pub(super) fn change(&mut self, change: Change) {
        *self.summary.counter(&change) += 1;
        self.tell(&Progress::Changed(&change));
        if change.outcome != Outcome::Done && self.changes.len() < self.keep {
            self.changes.push(change);
        }
    }
}
