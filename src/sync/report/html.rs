//! A plan or a run as a page to look at.
//!
//! Written by hand and not by a template engine: a page is some twenty fragments, and here the compiler knows which of them are
//! markup (`&'static str`) and which are text, so that nothing can be left unescaped.

mod group;
mod log;
mod out;
mod words;

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    time::Duration,
};

pub use self::log::RunLog;
use self::{
    group::Group,
    log::Kept,
    out::{Count, Many, Moment, Number, Out, Span, html, initials},
};
use super::{Action, Change, Left, Notes, Outcome, Plan, Report, Summary};
use crate::{
    ErrorClass, ErrorKind, Pace,
    crm::{Refusal, RefusalReason},
    pace::Schedule,
    record::{Hold, Park},
    sync::Guardrail,
    time::Timestamp,
};

const STYLE: &str = include_str!("html/style.css");

/// So many rows of a group are on the page at all.
const SHOWN: usize = 1_000;

/// So many of them are seen before a click.
const OPEN: usize = 12;

/// A plan or a run as one HTML page, written by its `Display`.
///
/// The page needs no network and no script, and says so to the browser: its content security policy allows its own style alone. It has a
/// dark mode, fits a phone, and can be printed. What came from the CRM, a phone or a server is escaped, characters that cannot be seen
/// are written as escapes, and no text turns the direction of what stands beside it.
///
/// It shows up to a thousand rows of each group, a dozen of them before a click, the first 300 characters of a text, and says how many
/// rows it leaves out: where 5,000 tags change, it has some 400 kB.
///
/// It holds names and numbers of people: keep it where those may be kept. The same input gives the same bytes.
///
/// Made by [`Plan::page`] and [`Report::page`].
///
/// ```
/// # #[cfg(feature = "testkit")]
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use wawp_contacts::{
///     ContactSync, Pace, crm::{self, CrmContact}, ledger::MemoryLedger, naming::{Funnel, Naming}, testkit::WawpServer, time::Timestamp,
/// };
///
/// let server = WawpServer::start().await; // stands in for Wawp
/// let naming = Naming::new("Lead".parse::<Funnel>()?);
/// let sync = ContactSync::new(server.client(), MemoryLedger::default(), naming);
/// let ali = CrmContact::new("crm-1", "+974 5555 0142".parse()?).named("علي", "").in_stage("Lead");
/// let plan = sync.plan(crm::snapshot([Ok(ali)])).await?;
///
/// let page = plan.page().titled("Shop in Doha").at(Timestamp(1_700_000_000_000)).paced(Pace::default()).to_string();
/// assert!(page.contains("<h1>1 new</h1>") && page.contains("14 Nov 2023, 22:13:20 UTC"));
/// assert!(page.contains("<bdi dir=\"auto\">علي [Lead]</bdi>") && page.contains("at most one call a second"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a page does nothing until it is written somewhere"]
pub struct Page<'a> {
    tense: Tense,
    summary: &'a Summary,
    gate: Option<ErrorKind>,
    hint: Option<&'a str>,
    resumes_at: Option<Timestamp>,
    schedule: Option<&'a Schedule>,
    guardrail: Option<&'a Guardrail>,
    notes: &'a Notes,
    changes: &'a [Change],
    refusals: &'a [Refusal],
    log: Kept,
    title: Option<&'a str>,
    at: Option<Timestamp>,
    pace: Option<Pace>,
    undone: Option<u64>,
    overrule: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tense {
    Plan,
    Run { number: u64, stopped: bool, applied: bool },
}

impl Plan {
    /// The plan as a page to look at, in the future tense.
    ///
    /// ```
    /// use wawp_contacts::sync::Plan;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let plan: Plan = serde_json::from_str(
    /// #     r#"{"created": 1, "renamed": 0, "unchanged": 4, "refused": 0, "parked": 0, "held": 0, "gated": 0, "stale": 0, "left": 0,
    /// #     "shortened": 0, "untagged": 0, "calls": 1, "seconds": 1.0, "gate": null, "hint": null, "guardrail": null,
    /// #     "refusals": [], "changes": [{"chat": "12025550142@c.us", "crm_id": "crm-1", "action": "create", "before": null,
    /// #     "after": "Bob [Lead]", "cause": "new", "outcome": "planned"}]}"#,
    /// # )?;
    /// // `plan` wants one contact to be added.
    /// let page = plan.page().titled("Shop in Lyon").to_string();
    /// assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<h1>1 new</h1>") && page.contains("Bob [Lead]"));
    /// # let file = std::env::temp_dir().join(format!("plan-{}.html", std::process::id()));
    /// std::fs::write(&file, page)?;
    /// # std::fs::remove_file(file)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn page(&self) -> Page<'_> {
        let Self { summary, gate, hint, resumes_at, schedule, guardrail, notes, changes, refusals } = self;
        let (gate, hint, guardrail) = (*gate, hint.as_deref(), guardrail.as_ref());
        let page = Page::new(Tense::Plan, summary, notes).of(gate, hint, guardrail).with(changes, refusals);
        Page { resumes_at: *resumes_at, schedule: Some(schedule), ..page }
    }
}

impl Report {
    /// The run as a page to look at, in the past tense.
    ///
    /// A report counts what was done and lists only what stays open; with a [`RunLog`] the page shows both: see there.
    ///
    /// ```
    /// use wawp_contacts::sync::Report;
    ///
    /// # let report: Report = serde_json::from_str(
    /// #     r#"{"run": 12, "created": 0, "renamed": 2, "unchanged": 4, "refused": 0, "parked": 0, "held": 0, "gated": 0, "stale": 0,
    /// #     "left": 0, "shortened": 0, "untagged": 0, "calls": 2, "seconds": 2.0, "gate": null, "hint": null, "guardrail": null,
    /// #     "stopped": false, "applied": true, "refusals": [], "open": []}"#,
    /// # )?;
    /// // `report` is of run 12, which put back two names that run 11 had changed.
    /// let page = report.page().undoing(11).to_string();
    /// assert!(page.contains("Run 12: undoes run 11") && page.contains("<h1>2 names put back</h1>"));
    /// # Ok::<_, serde_json::Error>(())
    /// ```
    pub fn page(&self) -> Page<'_> {
        let Self { run, summary, gate, hint, resumes_at, guardrail, stopped, applied, notes, open, refusals } = self;
        let (gate, hint, guardrail) = (*gate, hint.as_deref(), guardrail.as_ref());
        let tense = Tense::Run { number: *run, stopped: *stopped, applied: *applied };
        let page = Page::new(tense, summary, notes).of(gate, hint, guardrail).with(open, refusals);
        Page { resumes_at: *resumes_at, ..page }
    }
}

impl<'a> Page<'a> {
    fn new(tense: Tense, summary: &'a Summary, notes: &'a Notes) -> Self {
        let (log, changes, refusals) = (Kept::default(), &[][..], &[][..]);
        let (gate, hint, guardrail, title, at, pace, undone) = (None, None, None, None, None, None, None);
        let (resumes_at, schedule) = (None, None);
        Self {
            tense,
            summary,
            gate,
            hint,
            resumes_at,
            schedule,
            guardrail,
            notes,
            changes,
            refusals,
            log,
            title,
            at,
            pace,
            undone,
            overrule: "Guardrails::off()",
        }
    }

    fn of(self, gate: Option<ErrorKind>, hint: Option<&'a str>, guardrail: Option<&'a Guardrail>) -> Self {
        Self { gate, hint, guardrail, ..self }
    }

    fn with(self, changes: &'a [Change], refusals: &'a [Refusal]) -> Self {
        Self { changes, refusals, ..self }
    }

    /// Sets whose address book it is, as its people call it; stands above the headline.
    pub fn titled(mut self, title: &'a str) -> Self {
        self.title = Some(title);
        self
    }

    /// Sets when the run began, or the plan was made, for the time line.
    pub fn at(mut self, moment: Timestamp) -> Self {
        self.at = Some(moment);
        self
    }

    /// Sets the pace of the client, for the time line.
    pub fn paced(mut self, pace: Pace) -> Self {
        self.pace = Some(pace);
        self
    }

    /// Adds what the run's observer was told: each change that was done, and the pauses. A plan has all changes itself.
    pub fn with_log(mut self, log: &RunLog) -> Self {
        self.log = log.kept();
        self
    }

    /// Says that the run puts back the names from before another run, the one with this number.
    pub fn undoing(mut self, run: u64) -> Self {
        self.undone = Some(run);
        self
    }

    /// Sets what whoever runs the sync passes to switch the guardrails off for one run, for a program that has a word for it.
    pub fn overruled_by(mut self, words: &'a str) -> Self {
        self.overrule = words;
        self
    }

    fn is_plan(&self) -> bool {
        self.tense == Tense::Plan
    }

    /// Whether nothing was called for because of a guardrail or a stop.
    fn is_moot(&self) -> bool {
        match self.tense {
            Tense::Plan => false,
            Tense::Run { stopped, applied, .. } => self.guardrail.is_some() || (stopped && !applied),
        }
    }

    /// What is done, or would be, by what it means; the counts together are those of the summary.
    fn groups(&self) -> Vec<(Group, u64, Vec<&Change>)> {
        let done = |change: &&Change| matches!(change.outcome, Outcome::Planned | Outcome::Done);
        let listed: Vec<&Change> = self.changes.iter().chain(&self.log.changes).filter(done).collect();
        let Summary { created, renamed, .. } = *self.summary;
        let of =
            |group: Group| listed.iter().copied().filter(|change| Group::of(change) == group).take(SHOWN).collect();
        if self.undone.is_some() {
            return vec![(Group::PutBack, created + renamed, listed.iter().copied().take(SHOWN).collect())];
        }
        let mut counts = self.log.counts;
        for change in self.changes.iter().filter(done) {
            counts[Group::of(change) as usize] += 1;
        }
        let renames = Group::RENAMES.map(|group| (group, counts[group as usize], of(group)));
        let told: u64 = renames.iter().map(|(_, count, _)| count).sum();
        let mut groups = renames.to_vec();
        if let Some(others) = renamed.checked_sub(told) {
            groups.push((Group::Other, others, Vec::new()));
        } else {
            // More than were counted: the log is of several runs.
            let renames = listed.iter().copied().filter(|change| change.action == Action::Rename);
            groups = vec![(Group::Other, renamed, renames.take(SHOWN).collect())];
        }
        groups.push((Group::New, created, of(Group::New)));
        groups.retain(|(_, count, _)| *count > 0);
        groups
    }

    fn open(&self, outcome: impl Fn(&Outcome) -> bool) -> Vec<&'a Change> {
        self.changes.iter().filter(|change| outcome(&change.outcome)).collect()
    }

    fn headline(&self) -> String {
        let is_plan = self.is_plan();
        let part = |(group, count, _): (Group, u64, Vec<&Change>)| group.words(is_plan).in_headline(count);
        let parts: Vec<String> = self.groups().into_iter().map(part).collect();
        match (parts.is_empty(), is_plan, self.is_moot()) {
            (false, ..) => parts.join(", "),
            (true, true, _) => "Nothing to change".into(),
            (true, false, true) => "Stopped before the first call: nothing changed".into(),
            (true, false, false) => "Nothing changed".into(),
        }
    }

    fn kicker(&self) -> String {
        match (self.tense, self.undone) {
            (Tense::Plan, None) => "Plan: what a run would do".into(),
            (Tense::Plan, Some(run)) => format!("Plan: what undoing run {run} would do"),
            (Tense::Run { number, .. }, None) => format!("Run {number}: what happened"),
            (Tense::Run { number, .. }, Some(run)) => format!("Run {number}: undoes run {run}"),
        }
    }

    fn write(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let headline = self.headline();
        html!(out
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
            "base-uri 'none'; form-action 'none'\">\n"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
            "<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n"
            "<meta name=\"robots\" content=\"noindex\">\n"
            "<title>" (headline) "</title>\n<style>\n")?;
        out.markup(STYLE)?;
        html!(out "</style>\n</head>\n<body>\n<header>\n<p class=\"kicker\">" (self.kicker()))?;
        if let Some(title) = self.title {
            html!(out " · ")?;
            out.name(title)?;
        }
        html!(out "</p>\n<h1>" (headline) "</h1>\n<p>" (self.facts()) "</p>\n")?;
        self.write_contents(out)?;
        html!(out "</header>\n<main>\n")?;
        self.write_banners(out)?;
        self.write_needs(out)?;
        self.write_changes(out)?;
        self.write_waits(out)?;
        self.write_notes(out)?;
        self.write_time_line(out)?;
        html!(out
            "</main>\n<footer><p>This page holds names and phone numbers: share it with care. It loads nothing and runs nothing.</p>"
            "<p>Each list shows at most " (Count(SHOWN as u64)) " rows"
            ", and a long text only its beginning; the counts are of all.</p></footer>\n</body>\n</html>\n")
    }

    /// The line below the headline.
    fn facts(&self) -> String {
        let Summary { unchanged, calls, seconds, .. } = *self.summary;
        let (calls, span) = (Many(calls, "call", "calls"), Span::of_seconds(seconds));
        let right = Many(unchanged, "contact", "contacts");
        let verb = match (self.is_plan(), unchanged) {
            (true, 1) => "is",
            (true, _) => "are",
            (false, 1) => "was",
            (false, _) => "were",
        };
        let needs = if self.is_plan() { ", about " } else { ", " };
        format!("{right} {verb} right already; {calls}{needs}{span}.")
    }

    fn needing(&self) -> u64 {
        self.summary.refused + self.summary.parked + self.summary.held
    }

    /// Where things are on the page, with their counts.
    fn write_contents(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let Summary { created, renamed, gated, .. } = *self.summary;
        html!(out "<nav aria-label=\"On this page\"><ul>\n")?;
        let Summary { refused, parked, held, .. } = *self.summary;
        for (count, one, more) in [
            (refused, "row cannot be used", "rows cannot be used"),
            (parked + held, "contact needs you", "contacts need you"),
        ] {
            let words = if count == 1 { one } else { more };
            if count > 0 {
                html!(out "<li class=\"bad\"><a href=\"#needs\"><b>" (Count(count)) "</b> " (words) "</a></li>\n")?;
            }
        }
        if created + renamed > 0 {
            let what = if self.is_plan() { "to change" } else { "changed" };
            html!(out "<li><a href=\"#changes\"><b>" (Count(created + renamed)) "</b> " (what) "</a></li>\n")?;
        }
        if gated > 0 {
            html!(out "<li class=\"warn\"><a href=\"#waits\"><b>" (Count(gated)) "</b> waiting</a></li>\n")?;
        }
        html!(out "<li><a href=\"#time\">Time line</a></li>\n</ul></nav>\n")
    }

    fn write_banners(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        if let Some(guardrail) = self.guardrail {
            let what = match self.tense {
                Tense::Plan => "A run would stop before its first call",
                Tense::Run { applied: true, .. } => "Stopped before the first call; the wishes wait",
                Tense::Run { .. } => "Stopped before the first call",
            };
            html!(out "<section class=\"banner bad\"><h2>" (what) "</h2><p>" (guardrail) "</p><p><strong>What to do:</strong> "
                (words::of_guardrail(guardrail)) " Whoever runs the sync can switch the guardrails off for one run (<code>"
                (self.overrule) "</code>).</p></section>\n")?;
        }
        if let Some(kind) = self.gate {
            let is_wait = matches!(kind.class(), ErrorClass::Wait | ErrorClass::Transient);
            out.markup(if is_wait { "<section class=\"banner warn\">" } else { "<section class=\"banner bad\">" })?;
            let what =
                if self.is_plan() { "The instance may not be called now" } else { "The instance was left alone" };
            let until = self.resumes_at.map(|at| format!(" It asked to wait until {at}.")).unwrap_or_default();
            html!(out "<h2>" (what) "</h2><p>Why: " (kind) "." (until) " No contact is lost: they wait for the next run.</p>"
                "<p><strong>What to do:</strong> " (self.hint.unwrap_or(words::advice(kind))) "</p></section>\n")?;
        }
        if let Some(at) = self.resumes_at.filter(|_| self.gate.is_none()) {
            html!(out "<section class=\"banner warn\"><h2>The daily cap of calls is spent</h2>"
                "<p>The next call can be made at " (at) ". No contact is lost: they wait for the next run.</p></section>\n")?;
        }
        if let Some(schedule) = self.schedule.filter(|schedule| schedule.days.len() > 1) {
            html!(out "<section class=\"banner warn\"><h2>It takes more than a day</h2><p>" (schedule) "</p></section>\n")?;
        }
        if let Tense::Run { stopped: true, applied, .. } = self.tense
            && self.guardrail.is_none()
        {
            let left = match (applied, self.summary.gated) {
                (false, _) => "No row took effect yet. Run again.".to_owned(),
                (true, 0) => "Nothing waits.".to_owned(),
                (true, gated) => format!("Run again for the {} that wait.", Count(gated)),
            };
            html!(out "<section class=\"banner warn\"><h2>The run was told to stop</h2><p>" (left) "</p></section>\n")?;
        }
        if let Some(kind) = self.notes.unread {
            html!(out "<section class=\"banner warn\"><h2>The address book, or some of it, cannot be read</h2><p>Why: " (kind)
                ". Names that people saved there cannot be kept in the history.</p></section>\n")?;
        }
        if let Some(owner) = &self.notes.pushed_by {
            html!(out "<section class=\"banner warn\"><h2>Somebody else works on this instance</h2><p>" (owner)
                " holds it: if it pushes, it pushes these wishes as well. Run again to be sure.</p></section>\n")?;
        }
        Ok(())
    }

    /// What only a person can solve, by reason.
    fn write_needs(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        if self.needing() == 0 {
            return Ok(());
        }
        html!(out "<section id=\"needs\"><h2>Needs you</h2>\n")?;
        let mut refused: BTreeMap<RefusalReason, Vec<&Refusal>> = BTreeMap::new();
        for refusal in self.refusals {
            refused.entry(refusal.reason).or_default().push(refusal);
        }
        let listed = refused.values().map(|refusals| refusals.len().min(SHOWN)).sum();
        for (reason, refusals) in refused {
            let (title, fix) = words::of_refusal(reason);
            write_card(out, title, fix, refusals.len() as u64)?;
            write_list(out, &refusals, write_refusal)?;
            html!(out "</article>\n")?;
        }
        left_out(out, self.summary.refused, listed, "rows that cannot be used")?;
        let parked = self.open(|outcome| matches!(outcome, Outcome::Parked { .. }));
        let why = |change: &Change| match change.outcome {
            Outcome::Parked { reason, kind, .. } => (reason, kind),
            _ => (Park::Refused, None),
        };
        let mut listed = 0;
        for ((reason, kind), changes) in grouped(&parked, why) {
            listed += changes.len().min(SHOWN);
            let (title, fix) = words::of_parked(reason, kind);
            write_card(out, &title, fix, changes.len() as u64)?;
            write_list(out, &changes, write_change)?;
            html!(out "</article>\n")?;
        }
        left_out(out, self.summary.parked, listed, "parked contacts")?;
        let held = self.open(|outcome| matches!(outcome, Outcome::Held { .. }));
        let why = |change: &Change| match change.outcome {
            Outcome::Held { reason } => reason,
            _ => Hold::NoPhone,
        };
        for (reason, held) in grouped(&held, why) {
            let (title, fix) = words::of_held(reason);
            write_card(out, title, fix, held.len() as u64)?;
            write_list(out, &held, write_change)?;
            html!(out "</article>\n")?;
        }
        left_out(out, self.summary.held, held.len().min(SHOWN), "held contacts")?;
        html!(out "</section>\n")
    }

    /// Who waits, by what for.
    fn write_waits(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        if self.summary.gated == 0 {
            return Ok(());
        }
        html!(out "<section id=\"waits\"><h2>Waiting</h2>\n")?;
        let due = self.open(|outcome| matches!(outcome, Outcome::Due { .. }));
        let kind = |change: &Change| match change.outcome {
            Outcome::Due { kind, .. } => kind,
            _ => None,
        };
        let mut listed = 0;
        for (kind, changes) in grouped(&due, kind) {
            listed += changes.len().min(SHOWN);
            let (title, fix) = words::of_waiting(kind, self.is_plan());
            let title = kind.map_or_else(|| title.to_owned(), |kind| format!("{title}: {kind}"));
            let fix = if kind.is_none() && self.gate.is_some() {
                "They wait for the instance: what to do about it stands at the top of this page."
            } else {
                fix
            };
            write_card(out, &title, fix, changes.len() as u64)?;
            write_list(out, &changes, write_change)?;
            html!(out "</article>\n")?;
        }
        left_out(out, self.summary.gated, listed, "waiting contacts")?;
        html!(out "</section>\n")
    }

    /// The chat list before and after.
    fn write_changes(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let groups = self.groups();
        if groups.iter().all(|(_, count, _)| *count == 0) {
            return Ok(());
        }
        let title = if self.is_plan() { "The chat list, now and then" } else { "The chat list, before and after" };
        html!(out "<section id=\"changes\"><h2>" (title) "</h2>\n")?;
        for (group, count, changes) in groups {
            let words = group.words(self.is_plan());
            html!(out "<article class=\"card\"><h3>" (words.title) " <span class=\"count\">" (Count(count)) "</span></h3><p class=\"why\">"
                (words.why) "</p>\n")?;
            write_list(out, &changes, write_change)?;
            left_out(out, count, changes.len().min(SHOWN), "of them")?;
            html!(out "</article>\n")?;
        }
        html!(out "</section>\n")
    }

    fn write_notes(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let Notes { repeated, untagged, shortened, left, .. } = self.notes;
        if repeated.is_empty()
            && untagged.is_empty()
            && shortened.is_empty()
            && left.is_empty()
            && self.summary.stale == 0
        {
            return Ok(());
        }
        html!(out "<section id=\"notes\"><h2>Worth knowing</h2>\n")?;
        if !untagged.is_empty() {
            let fix = "Their contacts get no tag. Add the stage to the list of tags, or correct it in the CRM.";
            write_card(out, "Stages without a tag", fix, self.summary.untagged)?;
            let stages: Vec<_> = untagged.iter().collect();
            write_list(out, &stages, |out, (stage, rows)| {
                html!(out "<li class=\"line\">")?;
                out.name(stage)?;
                html!(out " <span class=\"sub\">" (Many(*rows, "row", "rows")) "</span></li>\n")
            })?;
            html!(out "</article>\n")?;
        }
        if !left.is_empty() {
            let fix = "No row wants these names any more. The contacts keep them.";
            write_card(out, "Rows that are gone", fix, self.summary.left)?;
            write_list(out, &left.iter().collect::<Vec<_>>(), write_left)?;
            left_out(out, self.summary.left, left.len().min(SHOWN), "of them")?;
            html!(out "</article>\n")?;
        }
        if !shortened.is_empty() {
            let fix =
                "The name is longer than the limit, so its end is not shown. Shorten it in the CRM if that matters.";
            write_card(out, "Shortened names", fix, self.summary.shortened)?;
            write_list(out, &shortened.iter().collect::<Vec<_>>(), |out, id| write_row_id(out, id))?;
            left_out(out, self.summary.shortened, shortened.len().min(SHOWN), "of them")?;
            html!(out "</article>\n")?;
        }
        if !repeated.is_empty() {
            let fix = "The id came more than once. The newest version counts, or else the last row.";
            write_card(out, "Repeated rows", fix, repeated.len() as u64)?;
            write_list(out, &repeated.iter().collect::<Vec<_>>(), |out, id| write_row_id(out, id))?;
            html!(out "</article>\n")?;
        }
        if self.summary.stale > 0 {
            let fix = "A newer version of the row is known already, or a later row has the same id.";
            write_card(out, "Rows that were dropped", fix, self.summary.stale)?;
            html!(out "</article>\n")?;
        }
        html!(out "</section>\n")
    }

    fn write_time_line(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let Summary { calls, seconds, .. } = *self.summary;
        let span = Span::of_seconds(seconds);
        html!(out "<section id=\"time\"><h2>Time line</h2>\n<ol class=\"time\">\n")?;
        if let Some(at) = self.at {
            let what = if self.is_plan() { "The plan was made." } else { "The run began." };
            html!(out "<li><b>" (Moment(at)) "</b> " (what) "</li>\n")?;
        }
        if self.log.taken > 0 {
            html!(out "<li>It read <b>" (Many(self.log.taken, "row", "rows")) "</b> of the CRM.</li>\n")?;
        }
        if self.log.read > 0 {
            html!(out "<li>It read <b>" (Many(self.log.read, "entry", "entries")) "</b> of the address book.</li>\n")?;
        }
        out.each(
            &self.log.pauses,
            |out, (until, kind)| html!(out "<li>Paused until <b>" (Moment(*until)) "</b>: " (kind) ".</li>\n"),
        )?;
        let pace = self.pace_in_words();
        let calls = Many(calls, "call", "calls");
        if self.is_plan() {
            html!(out "<li>A run would make <b>" (calls) "</b> and take about <b>" (span) "</b>" (pace) ".</li>\n")?;
        } else {
            html!(out "<li>It made <b>" (calls) "</b> in <b>" (span) "</b>" (pace) ".</li>\n")?;
        }
        if let Some(at) = self.at {
            let what = match self.tense {
                Tense::Plan => "A run that began with the plan would be done.",
                Tense::Run { stopped: true, .. } => "It was stopped.",
                Tense::Run { .. } => "It ended.",
            };
            html!(out "<li><b>" (Moment(at.after(span.0))) "</b> " (what) "</li>\n")?;
        }
        html!(out "</ol></section>\n")
    }

    fn pace_in_words(&self) -> String {
        match self.pace.map(|pace| pace.interval()) {
            None => String::new(),
            Some(Duration::ZERO) => ", without a pace".into(),
            Some(interval) => match 1.0 / interval.as_secs_f64() {
                rate if rate > 1.05 => format!(", at most {rate:.0} calls a second"),
                rate if rate > 0.95 => ", at most one call a second".into(),
                _ => format!(", at most one call in {}", Span(interval)),
            },
        }
    }
}

impl Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(&mut Out(f))
    }
}

/// The changes by what stood in their way, in the order in which each way first comes.
fn grouped<'a, K: PartialEq>(changes: &[&'a Change], kind: impl Fn(&Change) -> K) -> Vec<(K, Vec<&'a Change>)> {
    let mut groups: Vec<(K, Vec<&Change>)> = Vec::new();
    for change in changes {
        let kind = kind(change);
        match groups.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, changes)) => changes.push(change),
            None => groups.push((kind, vec![change])),
        }
    }
    groups
}

fn write_card(out: &mut Out<'_, '_>, title: &str, fix: &'static str, count: u64) -> fmt::Result {
    html!(out "<article class=\"card\"><h3>" (title) " <span class=\"count\">" (Count(count))
        "</span></h3><p class=\"why\">" (fix) "</p>\n")
}

/// Writes a list: a few rows, and the others behind a click.
fn write_list<T: Copy>(
    out: &mut Out<'_, '_>,
    items: &[T],
    write: impl Fn(&mut Out<'_, '_>, T) -> fmt::Result,
) -> fmt::Result {
    let shown = &items[..items.len().min(SHOWN)];
    // One more is no more to read than the line that hides it.
    let (first, rest) = shown.split_at(if shown.len() == OPEN + 1 { OPEN + 1 } else { shown.len().min(OPEN) });
    for (rows, is_open) in [(first, true), (rest, false)] {
        if rows.is_empty() {
            continue;
        }
        if !is_open {
            html!(out "<details><summary>Show " (Count(rows.len() as u64)) " more</summary>\n")?;
        }
        html!(out "<ul class=\"chats\">\n")?;
        out.each(rows, |out, item| write(out, *item))?;
        html!(out "</ul>\n")?;
        if !is_open {
            html!(out "</details>\n")?;
        }
    }
    Ok(())
}

/// Says how many of a list are not on the page.
fn left_out(out: &mut Out<'_, '_>, all: u64, listed: usize, what: &'static str) -> fmt::Result {
    match all.saturating_sub(listed as u64) {
        0 => Ok(()),
        more => {
            html!(out "<p class=\"more\">" (Count(more)) " more " (what) " are counted and not on this page.</p>\n")
        }
    }
}

/// One line of the chat list.
fn write_change(out: &mut Out<'_, '_>, change: &Change) -> fmt::Result {
    let Change { chat, crm_id, before, after, outcome, .. } = change;
    // The style has eight colours; a person has the same one on every page.
    let colour = chat.as_str().bytes().map(usize::from).sum::<usize>() % 8;
    html!(out "<li><span class=\"face c" (colour) "\" aria-hidden=\"true\">" (initials(after)) "</span>"
        "<p class=\"was\"><span class=\"ear\">before: </span>")?;
    match before {
        Some(before) => out.name_beside(before, after)?,
        // An address book shows the number of whoever has no name in it.
        None => html!(out "<i>" (Number(chat)) "</i>")?,
    }
    html!(out "</p><p class=\"now\"><span class=\"ear\">after: </span>")?;
    match before {
        Some(before) => out.name_beside(after, before)?,
        None => out.name(after)?,
    }
    html!(out "</p><p class=\"sub\">")?;
    if before.is_some() {
        html!(out "<span class=\"tel\">" (Number(chat)) "</span> · ")?;
    }
    html!(out "row ")?;
    out.name(crm_id)?;
    match outcome {
        Outcome::Parked { message: Some(message), .. } => {
            html!(out " · the server said: ")?;
            out.name(message)?;
        }
        Outcome::Due { at, kind: Some(_) } => html!(out " · not before " (Moment(*at)))?,
        _ => {}
    }
    html!(out "</p></li>\n")
}

fn write_refusal(out: &mut Out<'_, '_>, refusal: &Refusal) -> fmt::Result {
    html!(out "<li class=\"line\">")?;
    if let Some(id) = &refusal.crm_id {
        html!(out "<b>row ")?;
        out.name(id)?;
        html!(out "</b> ")?;
    }
    if let Some(line) = refusal.line {
        html!(out "<span class=\"sub\">line " (Count(line)) "</span> ")?;
    }
    if let Some(chat) = &refusal.chat {
        html!(out "<span class=\"sub tel\">" (Number(chat)) "</span> ")?;
    }
    html!(out "<span class=\"detail\">")?;
    out.name(&refusal.detail)?;
    html!(out "</span></li>\n")
}

fn write_left(out: &mut Out<'_, '_>, left: &Left) -> fmt::Result {
    let Left { chat, crm_id, name, reason } = left;
    html!(out "<li class=\"line\"><b>")?;
    out.name(name.as_deref().unwrap_or("(no name is known)"))?;
    html!(out "</b> <span class=\"sub tel\">" (Number(chat)) "</span> <span class=\"detail\">row ")?;
    out.name(crm_id)?;
    html!(out " " (words::of_left(*reason)) "</span></li>\n")
}

fn write_row_id(out: &mut Out<'_, '_>, id: &str) -> fmt::Result {
    html!(out "<li class=\"line\">row ")?;
    out.name(id)?;
    html!(out "</li>\n")
}
