//! What a person reads of a plan or a run: what means the same stands together, and long lists are cut short.

use wawp_contacts::{
    ChatId, ErrorKind,
    crm::{Refusal, RefusalReason},
    record::{Cause, Hold, Park, Status},
    sync::{Action, Change, Drifted, Left, LeftReason, Notes, Outcome, Waiting},
    time::Timestamp,
};

use crate::{
    safe::plain,
    screen::{Cell, Ink, Screen},
    words::{self, many, who},
};

/// So many lines of a group of changes are shown.
const CHANGES: usize = 8;
/// So many rows that were refused for one reason are shown.
const REFUSALS: usize = 3;

/// Whether it will be, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tense {
    Future,
    Past,
}

/// What stands under one heading, in the order in which the headings come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Somebody else saved another name.
    Drifted,
    Renamed(Cause),
    Added,
    Parked(Park),
    Held(Hold),
    Waiting(Option<ErrorKind>),
}

impl Meaning {
    fn of(change: &Change) -> Option<Self> {
        Some(match (&change.outcome, change.action) {
            (Outcome::Planned | Outcome::Done, Action::Create) => Self::Added,
            (Outcome::Planned | Outcome::Done, Action::Rename) => Self::Renamed(change.cause),
            (Outcome::Parked { reason, .. }, _) => Self::Parked(*reason),
            (Outcome::Held { reason }, _) => Self::Held(*reason),
            (Outcome::Due { kind, .. }, _) => Self::Waiting(*kind),
            _ => return None,
        })
    }

    /// Tags, names, then those that are new, then what is open.
    fn rank(self) -> u8 {
        match self {
            Self::Drifted | Self::Renamed(Cause::Stage) => 0,
            Self::Renamed(Cause::Name) => 1,
            Self::Renamed(_) => 2,
            Self::Added => 3,
            Self::Parked(_) => 4,
            Self::Held(_) => 5,
            Self::Waiting(_) => 6,
        }
    }

    fn ink(self) -> Ink {
        match self {
            Self::Added => Ink::Good,
            Self::Renamed(_) => Ink::Heading,
            Self::Drifted | Self::Parked(_) | Self::Held(_) | Self::Waiting(_) => Ink::Care,
        }
    }

    fn heading(self, number: u64, tense: Tense) -> String {
        let will = |one, more, future: &str, past: &str| {
            let verb = if tense == Tense::Future { future } else { past };
            format!("{} {verb}", many(number, one, more))
        };
        match self {
            Self::Drifted => many(number, "name was saved over ours", "names were saved over ours"),
            Self::Added => will("contact", "contacts", "will be added", "added"),
            Self::Renamed(Cause::Stage) => will("tag", "tags", "will change", "changed"),
            Self::Renamed(Cause::Name) => will("name", "names", "will change", "changed"),
            Self::Renamed(Cause::Rules) => {
                will("name", "names", "will change", "changed") + ", because the tags or the naming rules did"
            }
            Self::Renamed(Cause::Drift) => {
                will("name", "names", "will be written again", "written again")
                    + ": somebody saved another one on the phone"
            }
            Self::Renamed(Cause::Undo) => will("name", "names", "will be put back", "put back"),
            Self::Renamed(Cause::Phone) => will(
                "name from the phone",
                "names from the phone",
                "will stay, with the CRM's tag",
                "stayed, with the CRM's tag",
            ),
            Self::Renamed(_) => {
                will("name", "names", "will be replaced", "replaced") + ": the address book had another one"
            }
            Self::Parked(reason) => {
                format!("{}: {}", many(number, "contact needs you", "contacts need you"), words::of_parked(reason))
            }
            Self::Held(reason) => {
                let (one, more, advice) = words::of_held(reason);
                format!("{}: {advice}", many(number, one, more))
            }
            Self::Waiting(kind) => {
                let waits = many(number, "contact waits for the next run", "contacts wait for the next run");
                kind.map_or(waits.clone(), |kind| format!("{waits}: {kind}"))
            }
        }
    }
}

/// What is shown of one contact.
#[derive(Debug, Clone)]
struct Line {
    chat: ChatId,
    crm_id: String,
    before: Option<String>,
    after: Option<String>,
    /// What the server said, if it refused the name.
    said: Option<String>,
    /// Since when a person wants it left as it is, as far as that is told.
    held_since: Option<Timestamp>,
}

impl Line {
    fn of(change: &Change) -> Self {
        let said = match &change.outcome {
            Outcome::Parked { message: Some(said), .. } => Some(said.to_string()),
            Outcome::Parked { kind, .. } => kind.map(|kind| kind.to_string()),
            _ => None,
        };
        let (before, after) = (change.before.clone(), Some(change.after.clone()));
        Self { chat: change.chat.clone(), crm_id: change.crm_id.to_string(), before, after, said, held_since: None }
    }

    fn cells(&self, meaning: Meaning) -> Vec<Cell> {
        let mut cells = vec![Cell::Text(who(&self.chat)), Cell::Text(plain(&self.crm_id))];
        let is_as_wanted = self.after.is_none() || self.after == self.before;
        if meaning == Meaning::Held(Hold::ByHand) && is_as_wanted {
            cells.extend([name(self.before.as_deref()), Cell::Text(String::new()), Cell::Text(String::new())]);
        } else {
            if meaning != Meaning::Added {
                cells.extend([name(self.before.as_deref()), Cell::Text("->".into())]);
            }
            cells.push(name(self.after.as_deref()));
        }
        cells.extend(self.held_since.map(|since| Cell::Prose(format!("held since {since}"))));
        cells
    }
}

/// Those that have something in common: how many, and the first of them.
#[derive(Debug)]
struct Group<K, T> {
    of: K,
    number: u64,
    kept: Vec<T>,
}

/// Collects changes and refusals; keeps no more of them than are shown.
#[derive(Debug)]
pub(crate) struct Told {
    shows_all: bool,
    changes: Vec<Group<Meaning, Line>>,
    refusals: Vec<Group<RefusalReason, Refusal>>,
}

impl Told {
    pub(crate) fn new(shows_all: bool) -> Self {
        Self { shows_all, changes: Vec::new(), refusals: Vec::new() }
    }

    pub(crate) fn change(&mut self, change: &Change) {
        if let Some(meaning) = Meaning::of(change) {
            self.line(meaning, || Line::of(change));
        }
    }

    pub(crate) fn drifted(&mut self, drifted: &Drifted) {
        self.line(Meaning::Drifted, || Line {
            chat: drifted.chat.clone(),
            crm_id: drifted.crm_ids.join(", "),
            before: Some(drifted.sent.to_string()),
            after: Some(drifted.seen.to_string()),
            said: None,
            held_since: None,
        });
    }

    /// A contact that waits for a person, or was held by one.
    pub(crate) fn waiting(&mut self, contact: &Waiting) {
        let meaning = match contact.status {
            Status::Parked { reason } => Meaning::Parked(reason),
            Status::Held { reason, .. } => Meaning::Held(reason),
            _ => Meaning::Held(Hold::ByHand),
        };
        self.line(meaning, || Line {
            chat: contact.chat.clone(),
            crm_id: contact.crm_ids.join(", "),
            before: contact.shown.clone(),
            after: contact.wanted.clone(),
            said: contact.message.as_ref().map(ToString::to_string),
            held_since: contact.held_since,
        });
    }

    fn line(&mut self, meaning: Meaning, line: impl FnOnce() -> Line) {
        let most = if self.shows_all { usize::MAX } else { CHANGES };
        add(&mut self.changes, meaning, line, most);
    }

    pub(crate) fn refusal(&mut self, refusal: &Refusal) {
        let most = if self.shows_all { usize::MAX } else { REFUSALS };
        add(&mut self.refusals, refusal.reason, || refusal.clone(), most);
    }

    pub(crate) fn changes_in_lines(&mut self, screen: Screen, tense: Tense) -> Vec<String> {
        self.changes.sort_by_key(|group| group.of.rank());
        let mut lines = Vec::new();
        for Group { of, number, kept } in &self.changes {
            lines.extend(screen.heading(of.ink(), &of.heading(*number, tense)));
            lines.extend(screen.table(1, &kept.iter().map(|line| line.cells(*of)).collect::<Vec<_>>()));
            for (chat, said) in kept.iter().filter_map(|line| Some((&line.chat, line.said.as_ref()?))) {
                lines.extend(screen.below(2, &format!("of {} the server said: {}", who(chat), plain(said))));
            }
            lines.extend(more(screen, *number, kept.len()));
        }
        lines
    }

    pub(crate) fn refusals_in_lines(&mut self, screen: Screen) -> Vec<String> {
        self.refusals.sort_by_key(|group| group.of);
        let mut lines = Vec::new();
        for Group { of, number, kept } in &self.refusals {
            let (one, more_of_them, fix) = words::of_refusal(*of);
            lines.extend(screen.heading(Ink::Bad, &format!("{}: {fix}", many(*number, one, more_of_them))));
            lines.extend(screen.table(1, &kept.iter().map(cells_of_refusal).collect::<Vec<_>>()));
            lines.extend(more(screen, *number, kept.len()));
        }
        lines
    }

    /// What else a person should know.
    pub(crate) fn notes_in_lines(&self, screen: Screen, notes: &Notes) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.ids(screen, &notes.repeated, |number| {
            let ids = many(number, "id came more than once", "ids came more than once");
            format!("{ids}; the newest version, or else the last row, counts")
        }));
        for (stage, rows) in &notes.untagged {
            let have = many(*rows, "row has", "rows have");
            lines.extend(
                screen.heading(Ink::Plain, &format!("{have} the stage \"{}\", which no tag is set for", plain(stage))),
            );
        }
        lines.extend(self.ids(screen, &notes.shortened, |number| {
            many(
                number,
                "name was longer than the limit, and shortened",
                "names were longer than the limit, and shortened",
            )
        }));
        lines.extend(self.left(screen, &notes.left));
        if let Some(kind) = notes.unread {
            let words = format!(
                "the address book, or some of it, cannot be read ({kind}): names that people saved there cannot be kept in the history"
            );
            lines.extend(screen.heading(Ink::Plain, &words));
        }
        if let Some(owner) = &notes.pushed_by {
            let words = "holds this instance: if it pushes, it pushes these wishes as well; run again to be sure";
            lines.extend(screen.heading(Ink::Plain, &format!("{} {words}", plain(owner))));
        }
        lines
    }

    fn ids(&self, screen: Screen, ids: &[Box<str>], heading: impl Fn(u64) -> String) -> Vec<String> {
        if ids.is_empty() {
            return Vec::new();
        }
        let shown = if self.shows_all { ids.len() } else { ids.len().min(CHANGES) };
        let rows: Vec<String> = ids[..shown].iter().map(|id| plain(id)).collect();
        let number = ids.len() as u64;
        let mut lines = screen.heading(Ink::Care, &heading(number));
        lines.extend(screen.below(1, &rows.join(", ")));
        lines.extend(more(screen, number, shown));
        lines
    }

    fn left(&self, screen: Screen, left: &[Left]) -> Vec<String> {
        let mut lines = Vec::new();
        for (reason, one, several) in [
            (
                LeftReason::Gone,
                "contact keeps its name: the row is gone",
                "contacts keep their names: the rows are gone",
            ),
            (
                LeftReason::Moved,
                "contact keeps its name: the row names another person now",
                "contacts keep their names: the rows name other persons now",
            ),
        ] {
            let such: Vec<&Left> = left.iter().filter(|left| left.reason == reason).collect();
            if such.is_empty() {
                continue;
            }
            let shown = if self.shows_all { such.len() } else { such.len().min(CHANGES) };
            let cells = |left: &&Left| {
                vec![Cell::Text(who(&left.chat)), Cell::Text(plain(&left.crm_id)), name(left.name.as_deref())]
            };
            lines.extend(screen.heading(Ink::Care, &many(such.len() as u64, one, several)));
            lines.extend(screen.table(1, &such[..shown].iter().map(cells).collect::<Vec<_>>()));
            lines.extend(more(screen, such.len() as u64, shown));
        }
        lines
    }
}

fn add<K: PartialEq, T>(groups: &mut Vec<Group<K, T>>, of: K, one: impl FnOnce() -> T, most: usize) {
    let at = groups.iter().position(|group| group.of == of).unwrap_or_else(|| {
        groups.push(Group { of, number: 0, kept: Vec::new() });
        groups.len() - 1
    });
    let group = &mut groups[at];
    group.number += 1;
    if group.kept.len() < most {
        group.kept.push(one());
    }
}

fn more(screen: Screen, number: u64, shown: usize) -> Vec<String> {
    match number.saturating_sub(shown as u64) {
        0 => Vec::new(),
        rest => screen.below(1, &format!("and {} more; --all shows them", words::count(rest))),
    }
}

/// A name, or that there is none.
pub(crate) fn name(name: Option<&str>) -> Cell {
    name.map_or_else(|| Cell::Text("no name".into()), |name| Cell::Name(plain(name)))
}

fn cells_of_refusal(refusal: &Refusal) -> Vec<Cell> {
    let line = refusal.line.map(|line| format!("line {line}")).unwrap_or_default();
    let id = refusal.crm_id.as_deref().unwrap_or_default();
    let (cause, fix) = words::cause_and_fix(refusal);
    let is_general = fix == words::of_refusal(refusal.reason).2;
    let words = if is_general { cause } else { format!("{cause}; {fix}") };
    vec![Cell::Text(line), Cell::Text(plain(id)), Cell::Prose(plain(&words))]
}
