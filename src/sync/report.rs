//! What happened, or would: changes, counts, and how they are shown.

mod html;
mod kept;

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use self::kept::{Lines, Told};
pub use self::{
    html::{Page, RunLog},
    kept::PastRun,
};
use super::Guardrail;
use crate::{
    ChatId, ErrorKind,
    crm::{Refusal, RefusalReason},
    pace::Schedule,
    record::{Cause, Edit, Hold, Park, Record, Status},
    time::Timestamp,
};

/// How many lines of each kind a [`Report`] keeps; the counts go on, and an observer is told of every line.
const KEPT: usize = 1_000;

/// What becomes of one contact's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Change {
    /// The person.
    pub chat: ChatId,
    /// The CRM row that wants it.
    pub crm_id: Box<str>,
    /// Whether the contact is added or renamed.
    pub action: Action,
    /// What the address book shows, as far as is known.
    pub before: Option<String>,
    /// What it is to show.
    pub after: String,
    /// Why the wish last changed.
    pub cause: Cause,
    /// How far it came.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What a change does to the address book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The contact had no name there, as far as is known.
    Create,
    /// The contact had another name there.
    Rename,
}

/// How far a change came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// A plan: nothing was done.
    Planned,
    /// The API acknowledged it, or a read showed it after a request that was not answered; the ledger holds that durably.
    Done,
    /// It needs a person or a new wish.
    Parked {
        /// Why.
        reason: Park,
        /// What the call ended with, if it was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<ErrorKind>,
        /// What the server said.
        message: Option<Box<str>>,
    },
    /// It waits for something that may come by itself.
    Held {
        /// For what.
        reason: Hold,
    },
    /// It stays due: the run ended before it could be done.
    Due {
        /// When it may be tried again, in milliseconds since 1970.
        at: Timestamp,
        /// What stood in the way of this contact, if it was tried.
        kind: Option<ErrorKind>,
    },
}

impl Outcome {
    /// What becomes of a record that is left as it is; `None` if it is in sync, or if only its rows in the CRM are to blame.
    pub(super) fn left(record: &Record) -> Option<Self> {
        let failure = record.failure();
        match record.status {
            Status::InSync | Status::Parked { reason: Park::Competing } => None,
            Status::Due { at } => Some(Self::Due { at, kind: failure.map(|failure| failure.kind) }),
            Status::Held { reason, .. } => Some(Self::Held { reason }),
            Status::Parked { reason } => {
                let failure = failure.filter(|_| reason == Park::Refused);
                let (kind, message) = failure.map(|failure| (failure.kind, failure.message.clone())).unzip();
                Some(Self::Parked { reason, kind, message: message.flatten() })
            }
        }
    }
}

impl Change {
    /// What becomes of a record's wish; `None` if it has none.
    pub(super) fn of(record: &Record, outcome: Outcome) -> Option<Self> {
        let claim = record.sole_claim()?;
        let wish = record.wanted()?;
        let before = record.shown();
        Some(Self {
            chat: record.chat.clone(),
            crm_id: claim.crm_id.clone(),
            action: if before.is_some() { Action::Rename } else { Action::Create },
            before: before.map(Into::into),
            after: wish.name.full().to_owned(),
            cause: record.cause()?,
            outcome,
        })
    }
}

/// The counts of a run, or of a plan.
///
/// Each contact of the CRM is counted once among `created`, `renamed`, `unchanged`, `parked`, `held` and `gated`; each row that could
/// not be used once among `refused` and `stale`. For a snapshot all of them together are its rows. How the contacts stand that the ledger
/// knows, in the same words, says [`Standing`](super::Standing).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// Contacts that had no name and got one.
    pub created: u64,
    /// Contacts that had another name.
    pub renamed: u64,
    /// Contacts for which there was nothing to do.
    pub unchanged: u64,
    /// Rows of the CRM that cannot be used.
    pub refused: u64,
    /// Contacts that need a person or a new wish.
    pub parked: u64,
    /// Contacts that wait for something, such as the phone behind a privacy id.
    pub held: u64,
    /// Those of them that a person [wants left](super::ContactSync::hold) as they are.
    #[serde(default)]
    pub by_hand: u64,
    /// Contacts left due: the instance, or its server, did not let the run finish.
    pub gated: u64,
    /// Rows of the CRM that were dropped for a newer version, or for a later row with the same id.
    pub stale: u64,
    /// Contacts that keep a name of ours although no row wants it any more.
    pub left: u64,
    /// Names that were longer than the limit, among the rows that changed.
    pub shortened: u64,
    /// Rows whose stage is in no list of tags.
    pub untagged: u64,
    /// Contacts whose name a read has shown since the API acknowledged it in this run, or since it did not answer; they are counted
    /// among the others as well. See [`ContactSync::verify`](super::ContactSync::verify).
    #[serde(default)]
    pub verified: u64,
    /// Update calls made; for a plan, those that a run would make.
    pub calls: u64,
    /// How long it took in seconds; for a plan, how long its calls take at the pace.
    pub seconds: f64,
}

impl Summary {
    /// Whether something is left that a person should look at.
    #[must_use]
    pub fn needs_person(&self) -> bool {
        self.refused + self.parked + self.held.saturating_sub(self.by_hand) + self.gated > 0
    }

    /// What a run that was told to stop left.
    fn write_stopped(&self, applied: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.gated {
            _ if !applied => writeln!(f, "told to stop before any row took effect; run again"),
            0 => writeln!(f, "told to stop; nothing waits"),
            gated => writeln!(f, "told to stop; run again for the {gated} that wait"),
        }
    }

    /// Counts a change where it belongs.
    pub(super) fn count(&mut self, change: &Change) {
        let counter = match (&change.outcome, change.action) {
            (Outcome::Parked { .. }, _) => &mut self.parked,
            (Outcome::Held { .. }, _) => &mut self.held,
            (Outcome::Due { .. }, _) => &mut self.gated,
            (_, Action::Create) => &mut self.created,
            (_, Action::Rename) => &mut self.renamed,
        };
        *counter += 1;
        self.by_hand += u64::from(change.outcome == Outcome::Held { reason: Hold::ByHand });
    }

    /// Whether the address book would change.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.created + self.renamed > 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { created, renamed, unchanged, refused, parked, gated, stale, calls, seconds, .. } = self;
        write!(f, "{created} created, {renamed} renamed, {unchanged} unchanged, {refused} refused, {parked} parked, ")?;
        let (held, left) = ((self.held, "held"), (self.left, "left"));
        for (count, word) in [held, left, (self.shortened, "shortened"), (self.verified, "verified")] {
            if count > 0 {
                write!(f, "{count} {word}, ")?;
            }
        }
        let noun = if *calls == 1 { "call" } else { "calls" };
        write!(f, "{gated} waiting, {stale} stale; {calls} {noun}, {seconds:.1} s")
    }
}

/// What a person should know of a run or a plan, beside what becomes of each contact.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Notes {
    /// CRM ids that came more than once; of each, the newest version, or else the last row, counts. The first thousand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeated: Vec<Box<str>>,
    /// Stages that no list of tags names, and how many rows have each; their contacts get no tag. The first thousand.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub untagged: BTreeMap<Box<str>, u64>,
    /// CRM ids whose name was longer than the limit, so that its end is not shown. The first thousand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shortened: Vec<Box<str>>,
    /// Contacts that keep a name of ours although no row wants it any more. The first thousand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Left>,
    /// Why the address book, or some contact in it, could not be read; what it showed cannot be kept in the history, and whether it is the right one cannot
    /// be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<ErrorKind>,
    /// Who held the instance's lease to the end: a run that pushes the wishes of this run as well, unless it is stopped; or a plan
    /// that took longer than the [wait](super::ContactSync::max_wait). What is left is due for the next run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pushed_by: Option<String>,
}

/// A contact that keeps a name of ours although the row that wanted it does not any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Left {
    /// The person.
    pub chat: ChatId,
    /// The row.
    pub crm_id: Box<str>,
    /// What the address book shows, as far as is known.
    pub name: Option<String>,
    /// What became of the row.
    pub reason: LeftReason,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeftReason {
    /// It is gone from the CRM.
    Gone,
    /// It names another person now.
    Moved,
}

impl fmt::Display for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for id in &self.repeated {
            writeln!(f, "! row {}: the id came more than once; the newest version or the last row counts", Quoted(id))?;
        }
        for (stage, rows) in &self.untagged {
            let have = if *rows == 1 { "row has" } else { "rows have" };
            writeln!(f, "! {rows} {have} the stage {}, which no tag is set for", Quoted(stage))?;
        }
        for id in &self.shortened {
            writeln!(f, "! row {}: the name is longer than the limit and was shortened", Quoted(id))?;
        }
        for Left { chat, crm_id, name, reason } in &self.left {
            let why = match reason {
                LeftReason::Gone => "is gone",
                LeftReason::Moved => "names another person now",
            };
            let name = Quoted(name.as_deref().unwrap_or_default());
            writeln!(f, "- {chat} keeps the name {name}: row {} {why}", Quoted(crm_id))?;
        }
        if let Some(kind) = self.unread {
            writeln!(
                f,
                "the address book, or some of it, cannot be read ({kind}): names that people saved there cannot be kept in the history"
            )?;
        }
        if let Some(owner) = &self.pushed_by {
            writeln!(
                f,
                "{} holds this instance: if it pushes, it pushes these wishes as well; run again to be sure",
                Plain(owner)
            )?;
        }
        Ok(())
    }
}

/// A contact that shows another name than was sent: somebody else saved it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Drifted {
    /// The person.
    pub chat: ChatId,
    /// The rows of the CRM that claim the person.
    pub crm_ids: Vec<Box<str>>,
    /// The name that was sent.
    pub sent: Box<str>,
    /// The name that the address book shows.
    pub seen: Box<str>,
}

impl Drifted {
    /// What a record shows in place of what was sent; `None` if it does not.
    pub(super) fn of(record: &Record) -> Option<Self> {
        let seen = record.drifted()?.name.clone()?;
        let sent = record.pushed.sent.as_ref()?.wish.name.full().into();
        let crm_ids = record.claims.iter().map(|claim| claim.crm_id.clone()).collect();
        Some(Self { chat: record.chat.clone(), crm_ids, sent, seen })
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
    /// A read of the whole address book shows another name than was sent; told once for each such contact and read.
    Drifted(&'a Drifted),
    /// A person saved another name on the phone, and the CRM should learn of it: see [`edits`](super::ContactSync::edits).
    Edited(&'a Edit),
    /// The instance may not be called before this moment.
    Waiting {
        /// The moment.
        until: Timestamp,
        /// Why.
        kind: ErrorKind,
    },
    /// The instance is left alone from now on; told once for each closing, also where it lasts over several runs.
    GateClosed {
        /// What it answered.
        kind: ErrorKind,
        /// From when on it is tried again, if that is known.
        until: Option<Timestamp>,
        /// What helps, if that is known.
        hint: Option<&'a str>,
    },
    /// A name was written again after the instance was left alone.
    GateOpened {
        /// What it had answered.
        kind: ErrorKind,
        /// When it was closed.
        since: Timestamp,
    },
    /// The run was told to stop, and waits for so many calls in flight.
    Stopping(usize),
}

/// Whoever watches a run; called from the run's own task, so it must not block.
pub type Observer = Arc<dyn Fn(&Progress<'_>) + Send + Sync>;

/// What a run did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The number of the run.
    pub run: u64,
    /// The counts.
    #[serde(flatten)]
    pub summary: Summary,
    /// Why the instance was left alone, if it was.
    pub gate: Option<ErrorKind>,
    /// What to try about that, if it is known.
    pub hint: Option<String>,
    /// From when on what is left can be called for, in milliseconds since 1970: where the instance asked to wait, or, if there is no
    /// `gate`, where the [daily cap](super::ContactSync::daily) is spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes_at: Option<Timestamp>,
    /// What stopped the run before its first call, if something did. None of its wishes took effect then, unless they are `applied`:
    /// a run that found somebody else pushing learns of another account only after that, and its wishes stay due.
    pub guardrail: Option<Guardrail>,
    /// Whether the run was told to stop.
    pub stopped: bool,
    /// Whether its rows took effect: not if a guardrail stopped it before, or it was told to stop before.
    pub applied: bool,
    /// What else a person should know.
    #[serde(default)]
    pub notes: Notes,
    /// The first thousand contacts that need a person or are left.
    pub open: Vec<Change>,
    /// The first thousand refused rows.
    pub refusals: Vec<Refusal>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_refusals(f, &self.refusals)?;
        for change in self.open.iter().filter(|change| !matches!(change.outcome, Outcome::Due { .. })) {
            writeln!(f, "{change}")?;
        }
        self.notes.fmt(f)?;
        write_gate(f, self.gate, self.hint.as_deref(), self.resumes_at)?;
        if let Some(guardrail) = &self.guardrail {
            let waits = if self.applied { "; the wishes wait" } else { "" };
            writeln!(f, "stopped before the first call{waits}: {guardrail}")?;
        } else if self.stopped {
            self.summary.write_stopped(self.applied, f)?;
        }
        write!(f, "{}", self.summary)
    }
}

/// What a run would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// The counts; `calls` and `seconds` are what a run would need.
    #[serde(flatten)]
    pub summary: Summary,
    /// Why the instance may not be called now, if it may not; a run would leave its contacts due.
    pub gate: Option<ErrorKind>,
    /// What to change in the set-up, where that is why.
    pub hint: Option<String>,
    /// From when on a run could make its first call, if not now: as in a [report](Report::resumes_at).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes_at: Option<Timestamp>,
    /// On which days the calls are made, at the pace and under the [daily cap](super::ContactSync::daily), by as many runs as it
    /// takes.
    #[serde(default)]
    pub schedule: Schedule,
    /// What would stop the run before its first call.
    pub guardrail: Option<Guardrail>,
    /// What else a person should know.
    #[serde(default)]
    pub notes: Notes,
    /// The contacts that a run would call for, or that need a person, ordered by chat id.
    pub changes: Vec<Change>,
    /// The rows that cannot be used.
    pub refusals: Vec<Refusal>,
}

impl Plan {
    /// Whether its calls begin later than now, or take more than a day.
    #[must_use]
    pub fn takes_days(&self) -> bool {
        self.schedule.days.len() > 1 || self.resumes_at.is_some()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        write_refusals(f, &self.refusals)?;
        self.notes.fmt(f)?;
        write_gate(f, self.gate, self.hint.as_deref(), self.resumes_at)?;
        if self.takes_days() {
            writeln!(f, "{}", self.schedule)?;
        }
        if let Some(guardrail) = &self.guardrail {
            writeln!(f, "a run would stop before its first call: {guardrail}")?;
        }
        write!(f, "{}", self.summary)
    }
}

fn write_gate(
    f: &mut fmt::Formatter<'_>,
    gate: Option<ErrorKind>,
    hint: Option<&str>,
    resumes_at: Option<Timestamp>,
) -> fmt::Result {
    match (gate, resumes_at) {
        (Some(kind), Some(at)) => write!(f, "the instance is left alone until {at}: {kind}")?,
        (Some(kind), None) => write!(f, "the instance is left alone: {kind}")?,
        (None, Some(at)) => return writeln!(f, "the daily cap of calls is spent; the next can be made at {at}"),
        (None, None) => return Ok(()),
    }
    match hint {
        Some(hint) => writeln!(f, "; {}", Plain(hint)),
        None => writeln!(f),
    }
}

fn write_refusals(f: &mut fmt::Formatter<'_>, refusals: &[Refusal]) -> fmt::Result {
    refusals.iter().try_for_each(|refusal| writeln!(f, "! {} ({})", Plain(&refusal.to_string()), refusal.reason.code()))
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.before {
            None => write!(f, "+ {}: {}", self.chat, Quoted(&self.after))?,
            Some(before) => write!(f, "~ {}: {} -> {}", self.chat, Quoted(before), Quoted(&self.after))?,
        }
        write!(f, " ({})", self.cause.as_str())?;
        match &self.outcome {
            Outcome::Planned | Outcome::Done => Ok(()),
            Outcome::Parked { kind: Some(kind), message: Some(message), .. } => {
                write!(f, ", parked: {kind}: {}", Plain(message))
            }
            Outcome::Parked { kind: Some(kind), .. } => write!(f, ", parked: {kind}"),
            Outcome::Parked { reason, .. } => write!(f, ", parked: {}", reason.advice()),
            Outcome::Held { reason } => write!(f, ", held: {}", reason.advice()),
            Outcome::Due { kind: Some(kind), .. } => write!(f, ", waiting: {kind}"),
            Outcome::Due { kind: None, .. } => write!(f, ", waiting"),
        }
    }
}

/// Text from a CRM, a phone or a server, made harmless for a terminal: control characters, bidirectional controls and other
/// characters that cannot be seen are written as escapes.
pub(super) struct Plain<'a>(pub(super) &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        self.0.chars().try_for_each(|char| match char {
            // The joiner holds emoji together.
            '\u{200d}' => f.write_char(char),
            _ if char.is_control() || is_invisible(char) => write!(f, "{}", char.escape_unicode()),
            _ => f.write_char(char),
        })
    }
}

fn is_invisible(char: char) -> bool {
    matches!(char,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0001}')
}

/// The same in quotes.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", Plain(self.0))
    }
}

/// Collects what happens in a run or a plan, and tells the observer.
pub(super) struct Recorder {
    pub(super) summary: Summary,
    pub(super) changes: Vec<Change>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) notes: Notes,
    pub(super) told: Told,
    lines: Lines,
    keep: usize,
    observer: Option<Observer>,
}

impl Recorder {
    /// For a run: keeps the first lines, and those only of what stays open.
    pub(super) fn of_run(observer: Option<Observer>) -> Self {
        Self {
            summary: Summary::default(),
            changes: Vec::new(),
            refusals: Vec::new(),
            notes: Notes::default(),
            told: Told::default(),
            lines: Lines::default(),
            keep: KEPT,
            observer,
        }
    }

    /// For a plan: keeps every line and tells nobody.
    pub(super) fn of_plan() -> Self {
        Self { keep: usize::MAX, ..Self::of_run(None) }
    }

    /// Takes up what a plan has found of the rows.
    pub(super) fn take_up(&mut self, plan: &Plan) {
        let Summary { stale, left, shortened, untagged, .. } = plan.summary;
        self.summary = Summary { stale, left, shortened, untagged, ..self.summary };
        self.notes = plan.notes.clone();
        // Rows that claim one person are refused once more where they are counted.
        for refusal in plan.refusals.iter().filter(|refusal| refusal.reason != RefusalReason::DuplicateIdentity) {
            self.refuse(refusal.clone());
        }
    }

    pub(super) fn tell(&mut self, progress: &Progress<'_>) {
        self.told.note(progress);
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

    /// Refuses all rows that claim one person; those without a name are refused for that.
    pub(super) fn refuse_competing(&mut self, record: &Record) {
        for claim in record.claims.iter().filter(|claim| claim.wish.is_some()) {
            let others = record.claims.iter().filter(|other| other.crm_id != claim.crm_id);
            let others: Vec<&str> = others.map(|other| &*other.crm_id).collect();
            let detail = format!("{} is also claimed by row {}; merge them in the CRM", record.chat, others.join(", "));
            let refusal = Refusal::new(RefusalReason::DuplicateIdentity, detail);
            self.refuse(refusal.of_row(Some(&*claim.crm_id)).claiming(Some(record.chat.clone())));
        }
    }

    /// Refuses a row of a person who was forgotten.
    pub(super) fn refuse_forgotten(&mut self, crm_id: &str, chat: &ChatId) {
        let detail = "the person of this row was forgotten; take the row out of the CRM, or allow the person again";
        let refusal = Refusal::new(RefusalReason::Forgotten, detail);
        self.refuse(refusal.of_row(Some(crm_id)).claiming(Some(chat.clone())));
    }

    /// Counts and reports what became of a contact.
    pub(super) fn change(&mut self, change: Change) {
        self.summary.count(&change);
        self.tell(&Progress::Changed(&change));
        if change.outcome == Outcome::Done {
            self.lines.done(&change);
        } else if self.changes.len() < self.keep {
            self.changes.push(change);
        }
    }

    pub(super) fn repeated(&mut self, crm_id: &str) {
        if self.notes.repeated.len() < KEPT && self.notes.repeated.iter().rev().take(8).all(|id| **id != *crm_id) {
            self.notes.repeated.push(crm_id.into());
        }
    }

    pub(super) fn shortened(&mut self, crm_id: &str) {
        self.summary.shortened += 1;
        if self.notes.shortened.len() < KEPT {
            self.notes.shortened.push(crm_id.into());
        }
    }

    pub(super) fn untagged(&mut self, stage: &str) {
        self.summary.untagged += 1;
        if let Some(rows) = self.notes.untagged.get_mut(stage) {
            *rows += 1;
        } else if self.notes.untagged.len() < KEPT {
            self.notes.untagged.insert(stage.into(), 1);
        }
    }

    pub(super) fn left(&mut self, record: &Record, crm_id: &str, reason: LeftReason) {
        if !record.is_known() {
            return;
        }
        self.summary.left += 1;
        if self.notes.left.len() < KEPT {
            let left =
                Left { chat: record.chat.clone(), crm_id: crm_id.into(), name: record.shown().map(Into::into), reason };
            self.notes.left.push(left);
        }
    }
}

#[cfg(test)]
mod tests;
