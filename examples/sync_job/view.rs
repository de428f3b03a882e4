//! What the user sees: a bar on a terminal, plain lines elsewhere, or JSON Lines.

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    sync::{Mutex, MutexGuard, PoisonError},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressState, ProgressStyle};
use serde::Serialize;
use serde_json::json;
use wawp_contacts::{
    ChatId, ErrorKind,
    client::doctor::{Diagnosis, Finding},
    record::Drift,
    sync::{Change, Notes, Outcome, PastRun, Plan, Progress, Refresh, Report, Summary, Undo},
    time::Clock,
};

use crate::{
    args::{Args, Command},
    json::{Last, print_change, print_json, print_line, print_notes, with_gate},
    safe::plain,
    screen::{Cell, Ink, Screen},
    told::{Tense, Told},
    words::{self, advice, count, effort, future, many, past},
};

/// The version of the JSON Lines; grows when a field changes its meaning.
const FORMAT: u32 = 1;
/// How many contacts a line names.
const FEW: usize = 3;

pub(crate) struct View {
    is_json: bool,
    /// Whether wishes are taken in and nothing is called.
    is_intake: bool,
    command: Command,
    screen: Screen,
    /// What is told at the end.
    told: Mutex<Told>,
    /// Counts the calls, and is drawn on a terminal once their number is known.
    bar: ProgressBar,
}

impl View {
    pub(crate) fn new(args: &Args) -> Self {
        let style = ProgressStyle::with_template("{wide_bar} {pos} of {len}, {left} left");
        let left = |state: &ProgressState, to: &mut dyn std::fmt::Write| {
            write!(to, "{}", words::time(state.eta())).unwrap_or_default();
        };
        let bar =
            ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_finish(ProgressFinish::AndClear);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).with_key("left", left));
        let (screen, told) = (Screen::of_stdout(), Mutex::new(Told::new(args.all)));
        Self { is_json: args.json, is_intake: args.intake_only, command: args.command.clone(), screen, told, bar }
    }

    /// A line for the user, which is never part of the JSON.
    pub(crate) fn say(&self, line: &str) {
        if self.is_json {
            write_line(&mut stderr(), line);
        } else {
            self.bar.suspend(|| write_line(&mut stdout(), line));
        }
    }

    /// The first line: which server is talked to.
    pub(crate) fn begin(&self, args: &Args) {
        match (args.server(), &args.instance) {
            (None, _) => {
                self.say_wrapped(
                    "using the stand-in server inside this job; --instance and WAWP_ACCESS_TOKEN name a real one",
                );
            }
            (Some(server), Some(instance)) if !self.is_json => {
                self.say_wrapped(&plain(&format!("the server is {server}, the instance {instance}")));
            }
            _ => {}
        }
        if self.is_json {
            let server = args.server().unwrap_or("stand-in");
            print_line("format", &json!({"version": FORMAT, "command": args.command.name(), "server": server}));
        }
    }

    pub(crate) fn screen(&self) -> Screen {
        self.screen
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn progress(&self, progress: &Progress<'_>) {
        match progress {
            Progress::Planned(_) | Progress::Changed(Change { outcome: Outcome::Due { .. }, .. })
                // What the address book shows is read after it.
                if self.command == Command::Adopt => {}
            Progress::Planned(summary) => self.planned(summary),
            Progress::Changed(change) if self.is_json => print_change(change),
            Progress::Edited(edit) if self.is_json => print_line("edit", edit),
            Progress::Drifted(_) if self.command != Command::Refresh => {}
            Progress::Drifted(drifted) if self.is_json => print_line("drifted", drifted),
            Progress::Drifted(drifted) => self.told().drifted(drifted),
            Progress::Changed(change) => self.changed(change),
            Progress::Refused(refusal) if self.is_json => print_line("refusal", refusal),
            Progress::Refused(refusal) => self.told().refusal(refusal),
            Progress::Waiting { until, kind } => {
                let wait = words::time(until.since(Clock::system().now()));
                self.say_wrapped(&format!("waiting {wait}: {kind}; {}", advice(*kind)));
            }
            Progress::GateClosed { kind, until, hint } if self.is_json => {
                print_line("gate", &json!({"is_open": false, "kind": kind, "until": until, "hint": hint}));
            }
            Progress::GateOpened { kind, since } if self.is_json => {
                print_line("gate", &json!({"is_open": true, "kind": kind, "since": since}));
            }
            Progress::GateClosed { kind, hint: Some(hint), .. } => {
                self.say(&plain(&format!("left alone: {kind}; {hint}")));
            }
            Progress::GateOpened { .. } => self.say("the instance answers again"),
            Progress::Stopping(calls) => {
                self.say(&format!("stopping: no new call, {calls} in flight; Ctrl-C again to leave at once"));
            }
            _ => {}
        }
    }

    fn changed(&self, change: &Change) {
        match change.outcome {
            // One count tells it for all.
            Outcome::Due { kind: None, .. } => {}
            Outcome::Due { .. } => self.told().change(change),
            _ => {
                self.told().change(change);
                self.step();
            }
        }
    }

    fn planned(&self, summary: &Summary) {
        let rows = future(summary);
        if self.is_intake {
            return self.say_wrapped(&format!("plan: {rows}; no call here, a run pushes them"));
        }
        self.say_wrapped(&format!("plan: {rows}; {}", effort(summary)));
        self.bar.set_length(summary.calls);
        if summary.calls > 0 && !self.is_json && stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    fn step(&self) {
        let Some(planned) = self.bar.length().filter(|planned| *planned > 0) else { return };
        self.bar.inc(1);
        let done = self.bar.position();
        let is_next_tenth = done * 10 / planned > (done - 1) * 10 / planned;
        if self.bar.is_hidden() && is_next_tenth {
            self.say(&format!("{} of {}", count(done), count(planned)));
        }
    }

    /// Takes the bar off the terminal: nothing follows but a last word.
    pub(crate) fn close(&self) {
        self.bar.finish_and_clear();
    }

    pub(crate) fn report(&self, report: &Report) {
        self.close();
        let stopped = report.stopped.then(|| words::stopped(report));
        if self.is_json {
            if let Some(kind) = report.gate {
                self.say(&format!("the instance is left alone: {kind}"));
            }
            self.say_all(stopped);
            print_notes(&report.notes);
            return print_line("summary", &Last::of_report(report));
        }
        self.say_told(Tense::Past, &report.notes);
        self.say_gate(report.gate, report.hint.as_deref());
        if let (Some(at), None) = (report.resumes_at, report.gate) {
            self.say_wrapped(&format!("the calls of this day are made: run again from {at} on"));
        }
        if let Some(guardrail) = &report.guardrail {
            self.say_wrapped(&format!("stopped before the first call: {guardrail}"));
        } else if let Some(line) = &stopped {
            self.say_wrapped(line);
        }
        self.say_last(&format!("run {}: {}", report.run, past(&report.summary)));
    }

    pub(crate) fn plan(&self, plan: &Plan) {
        if self.is_json {
            plan.changes.iter().for_each(print_change);
            plan.refusals.iter().for_each(|refusal| print_line("refusal", refusal));
            print_notes(&plan.notes);
            return print_line("summary", &Last::of_plan(plan));
        }
        self.say_plan(plan);
        if plan.takes_days() {
            self.say_wrapped(&plan.schedule.to_string());
        }
        let effort = if plan.takes_days() { many(plan.summary.calls, "call", "calls") } else { effort(&plan.summary) };
        self.say_last(&format!("plan: {}; {effort}", future(&plan.summary)));
    }

    fn say_plan(&self, plan: &Plan) {
        for change in &plan.changes {
            self.told().change(change);
        }
        for refusal in &plan.refusals {
            self.told().refusal(refusal);
        }
        self.say_told(Tense::Future, &plan.notes);
        self.say_gate(plan.gate, plan.hint.as_deref());
        if let Some(guardrail) = &plan.guardrail {
            self.say_wrapped(&format!("a run would stop before its first call: {guardrail}"));
        }
    }

    /// The changes, the rows that cannot be used, and what else there is to know.
    fn say_told(&self, tense: Tense, notes: &Notes) {
        let mut told = self.told();
        self.say_all(told.changes_in_lines(self.screen, tense));
        self.say_all(told.refusals_in_lines(self.screen));
        self.say_all(told.notes_in_lines(self.screen, notes));
    }

    fn say_gate(&self, gate: Option<ErrorKind>, hint: Option<&str>) {
        let Some(kind) = gate else { return };
        let hint = hint.map(|hint| format!("; {}", plain(&words::of_the_job(hint)))).unwrap_or_default();
        self.say_wrapped(&format!("the instance is left alone: {kind}{hint}"));
    }

    /// The report of a run that is over, with what it did.
    pub(crate) fn past(&self, past: &PastRun) {
        let open = past.report.iter().flat_map(|report| &report.open);
        if self.is_json {
            past.changes.iter().chain(open).for_each(print_change);
            past.report.iter().flat_map(|report| &report.refusals).for_each(|refusal| print_line("refusal", refusal));
        } else {
            past.changes.iter().chain(open).for_each(|change| self.told().change(change));
            let refusals = past.report.iter().flat_map(|report| &report.refusals);
            refusals.for_each(|refusal| self.told().refusal(refusal));
        }
        match &past.report {
            Some(report) => self.report(report),
            None if !self.is_json => self.say_told(Tense::Past, &Notes::default()),
            None => {}
        }
    }

    /// What the rows of the first day came to, and what was there.
    pub(crate) fn adoption(&self, intake: &Report, found: &Refresh) {
        if self.is_json {
            print_notes(&intake.notes);
            let summary =
                json!({"adopted": found.matching, "different": found.different, "calls": 0, "run": found.run});
            return print_line("summary", &with_gate(summary, found));
        }
        self.say_told(Tense::Past, &intake.notes);
        let Refresh { run, read, matching, different, .. } = found;
        let refused = match intake.summary.refused {
            0 => String::new(),
            refused => format!(", {}", many(refused, "row cannot be used", "rows cannot be used")),
        };
        let (read, matching, different) = (many(*read, "entry", "entries"), count(*matching), count(*different));
        self.say_last(&format!("run {run}: {read} read, {matching} adopted, {different} different{refused}; 0 calls"));
    }

    pub(crate) fn refresh(&self, found: &Refresh, policy: Drift) {
        let Refresh { run, read, drifted, matching, different, .. } = found;
        if self.is_json {
            return print_line("summary", &with_gate(json!({"read": read, "drifted": drifted, "run": run}), found));
        }
        self.say_told(Tense::Past, &Notes::default());
        if *drifted > 0 {
            self.say_wrapped(words::of_policy(policy));
        }
        self.say_last(&format!(
            "run {run}: {} read, {} drifted; {} as wanted, {} different; 0 calls",
            many(*read, "entry", "entries"),
            count(*drifted),
            count(*matching),
            count(*different)
        ));
    }

    pub(crate) fn planned_undo(&self, run: u64, undo: &Undo, plan: &Plan) {
        if self.is_json {
            plan.changes.iter().for_each(print_change);
        } else {
            self.say_plan(plan);
        }
        self.undone(run, undo, plan.summary.calls, None);
    }

    pub(crate) fn undo(&self, run: u64, undo: &Undo, report: &Report) {
        if !self.is_json {
            self.report(report);
        } else if report.stopped {
            self.say(&words::stopped(report));
        }
        self.undone(run, undo, report.summary.calls, Some(report));
    }

    fn undone(&self, run: u64, undo: &Undo, calls: u64, by: Option<&Report>) {
        let Undo { restored, edited_since, superseded, .. } = undo;
        if self.is_json {
            let summary = json!({
                "undone": run, "restored": restored, "edited_since": edited_since.len(), "superseded": superseded.len(),
                "calls": calls, "run": by.map(|report| report.run), "stopped": by.is_some_and(|report| report.stopped),
            });
            return print_line("summary", &summary);
        }
        // What did not take effect, or not for all yet, is still to come.
        let is_done = by.is_some_and(|report| report.applied && !(report.stopped && report.summary.gated > 0));
        let names = if is_done {
            many(*restored, "name is given back", "names are given back")
        } else {
            many(*restored, "name will be given back", "names will be given back")
        };
        let left = [
            (edited_since, "that a person edited since stays", "that persons edited since stay"),
            (superseded, "that changed otherwise stays", "that changed otherwise stay"),
        ];
        let left = left.into_iter().filter(|(chats, ..)| !chats.is_empty());
        let left = left.map(|(chats, one, more)| many(chats.len() as u64, one, more) + ": " + &some_of(chats));
        let parts: Vec<String> = [names].into_iter().chain(left).chain([many(calls, "call", "calls")]).collect();
        self.say_last(&format!("undo of run {run}: {}", parts.join("; ")));
    }

    pub(crate) fn diagnosis(&self, diagnosis: &Diagnosis) {
        if self.is_json {
            return print_json(&Examined { diagnosis, flags: flags(diagnosis) });
        }
        let row = |about: &str, grade: &str, text: &str| {
            [about, grade].map(|word| Cell::Text(word.into())).into_iter().chain([Cell::Prose(plain(text))]).collect()
        };
        let mut rows: Vec<Vec<Cell>> = vec![row("instance", "", diagnosis.instance.as_str())];
        for Finding { about, grade, found, means, .. } in &diagnosis.findings {
            rows.push(row(about, &grade.to_string(), found));
            rows.extend((!means.is_empty()).then(|| row("", "", &words::of_the_job(means))));
        }
        let none = || "none: neither the route nor the credentials could be found out".into();
        rows.push(row("flags", "", &flags(diagnosis).map_or_else(none, |flags| flags.join(" "))));
        self.say_all(self.screen.table(0, &rows));
    }

    /// A text that may take several lines.
    pub(crate) fn say_wrapped(&self, text: &str) {
        self.say_all(self.screen.heading(Ink::Plain, text));
    }

    fn say_last(&self, text: &str) {
        self.say_all(self.screen.heading(Ink::Heading, text));
    }

    pub(crate) fn say_all(&self, lines: impl IntoIterator<Item = String>) {
        for line in lines {
            self.say(&line);
        }
    }

    /// An object for a script, or else a line for a person, which is made safe to show.
    pub(crate) fn answer(&self, object: &impl Serialize, line: &str) {
        if self.is_json {
            print_json(object);
        } else {
            self.say(&plain(line));
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }
}

/// What a doctor found, and the flags that it comes to.
#[derive(Serialize)]
struct Examined<'a> {
    #[serde(flatten)]
    diagnosis: &'a Diagnosis,
    flags: Option<Vec<String>>,
}

/// The flags that a run takes as they are; `None` if there is nothing to set.
fn flags(diagnosis: &Diagnosis) -> Option<Vec<String>> {
    let route = diagnosis.route.map(|route| ["--route".to_owned(), route.to_string()]);
    let style = diagnosis.credentials.map(|style| ["--credentials".to_owned(), style.to_string()]);
    let flags: Vec<_> = route.into_iter().chain(style).flatten().collect();
    (!flags.is_empty()).then_some(flags)
}

/// A last word on standard error.
pub(crate) fn complain(line: &str) {
    write_line(&mut stderr(), &plain(&format!("sync_job: {line}")));
}

/// A text of its own, such as the help.
pub(crate) fn print(text: &str) {
    write_line(&mut stdout(), text.trim_end());
}

/// Whoever reads may have gone away (`| head`); that is no reason to stop a sync half way.
pub(crate) fn write_line(to: &mut impl Write, line: &str) {
    writeln!(to, "{line}").ok();
}

/// The first few of them.
fn some_of(chats: &[ChatId]) -> String {
    let more = chats.len().saturating_sub(FEW);
    let few: Vec<String> = chats.iter().take(FEW).map(words::who).collect();
    if more == 0 { few.join(", ") } else { format!("{} and {} more", few.join(", "), count(more as u64)) }
}
