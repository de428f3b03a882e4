//! What the user sees: a bar on a terminal, plain lines elsewhere, or JSON Lines.

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};
use wawp_contacts::{
    ErrorClass, ErrorKind,
    client::doctor::Diagnosis,
    sync::{Change, Guardrail, Notes, Outcome, Plan, Progress, Refresh, Report, Summary, Undo},
    time::Clock,
};

use crate::args::{Args, Command};

/// The version of the JSON Lines; grows when a field changes its meaning.
const FORMAT: u32 = 1;

pub(crate) struct View {
    is_json: bool,
    /// Whether wishes are taken in and nothing is called.
    is_intake: bool,
    /// Whether what is due is no news yet: what the address book shows is read after it.
    is_adoption: bool,
    /// So many more changes are shown one by one: a few, in a trial with the stand-in.
    samples: AtomicUsize,
    /// Counts the calls, and is drawn on a terminal once their number is known.
    bar: ProgressBar,
}

impl View {
    pub(crate) fn new(args: &Args) -> Self {
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}, {eta} left");
        let bar =
            ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_finish(ProgressFinish::AndClear);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let samples = if args.server().is_some() { 0 } else { 5 };
        let is_adoption = args.command == Command::Adopt;
        Self { is_json: args.json, is_intake: args.intake_only, is_adoption, samples: samples.into(), bar }
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
                self.say("using the stand-in server inside this job; --instance and WAWP_ACCESS_TOKEN name a real one");
            }
            (Some(server), Some(instance)) if !self.is_json => {
                self.say(&plain(&format!("the server is {server}, the instance {instance}")));
            }
            _ => {}
        }
        if self.is_json {
            let server = args.server().unwrap_or("stand-in");
            print_line("format", &json!({"version": FORMAT, "command": args.command.name(), "server": server}));
        }
    }

    pub(crate) fn progress(&self, progress: &Progress<'_>) {
        match progress {
            Progress::Planned(_) | Progress::Changed(Change { outcome: Outcome::Due { .. }, .. })
                if self.is_adoption => {}
            Progress::Planned(summary) => self.planned(summary),
            Progress::Changed(change) if self.is_json => print_change(change),
            Progress::Changed(change) if !matches!(change.outcome, Outcome::Due { .. }) => {
                let take = |left: usize| left.checked_sub(1);
                if change.outcome == Outcome::Done
                    && self.samples.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
                {
                    self.say(&change.to_string());
                }
                self.step();
            }
            Progress::Refused(refusal) if self.is_json => print_line("refusal", refusal),
            Progress::Waiting { until, kind } => {
                let wait = until.since(Clock::system().now());
                self.say(&format!("waiting {:.1} s: {kind}; {}", wait.as_secs_f64(), advice(*kind)));
            }
            Progress::Stopping(calls) => {
                self.say(&format!("stopping: no new call, {calls} in flight; Ctrl-C again to leave at once"));
            }
            _ => {}
        }
    }

    fn planned(&self, summary: &Summary) {
        let Summary { created, renamed, unchanged, refused, gated, calls, seconds, .. } = summary;
        let pace = match *seconds {
            0.0 => String::new(),
            ..1.0 => ", less than a second".into(),
            seconds => {
                format!(", about {}", HumanDuration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)))
            }
        };
        let waiting = if *gated > 0 { format!(", {gated} waiting") } else { String::new() };
        let rows =
            format!("{created} to create, {renamed} to rename, {unchanged} unchanged, {refused} refused{waiting}");
        if self.is_intake {
            return self.say(&format!("plan: {rows}; no call here, a run pushes them"));
        }
        let noun = if *calls == 1 { "call" } else { "calls" };
        self.say(&format!("plan: {rows}; {calls} {noun}{pace}"));
        self.bar.set_length(*calls);
        if *calls > 0 && !self.is_json && stderr().is_terminal() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    fn step(&self) {
        let Some(planned) = self.bar.length().filter(|planned| *planned > 0) else { return };
        self.bar.inc(1);
        let done = self.bar.position();
        let is_next_tenth = done * 10 / planned > (done - 1) * 10 / planned;
        if self.bar.is_hidden() && is_next_tenth {
            self.say(&format!("{done} of {planned}"));
        }
    }

    /// Takes the bar off the terminal: nothing follows but a last word.
    pub(crate) fn close(&self) {
        self.bar.finish_and_clear();
    }

    pub(crate) fn report(&self, report: &Report) {
        self.close();
        if self.is_json {
            if let Some(kind) = report.gate {
                self.say(&format!("the instance is left alone: {kind}"));
            }
            if report.stopped {
                self.say("told to stop; run again");
            }
            print_notes(&report.notes);
            print_line("summary", &Last::of_report(report));
        } else {
            self.say(&report.to_string());
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
        for refusal in &intake.refusals {
            self.say(&plain(&format!("! {refusal} ({})", refusal.reason.code())));
        }
        self.say_lines(&intake.notes.to_string());
        for change in intake.open.iter().filter(|change| !matches!(change.outcome, Outcome::Due { .. })) {
            self.say(&change.to_string());
        }
        let Refresh { run, read, matching, different, .. } = found;
        self.say(&format!("run {run}: {read} entries read, {matching} adopted, {different} different; 0 calls"));
    }

    pub(crate) fn refresh(&self, found: &Refresh) {
        let Refresh { run, read, drifted, matching, different, .. } = found;
        if self.is_json {
            return print_line("summary", &with_gate(json!({"read": read, "drifted": drifted, "run": run}), found));
        }
        self.say(&format!(
            "run {run}: {read} entries read, {drifted} drifted; {matching} as wanted, {different} different; 0 calls"
        ));
    }

    pub(crate) fn planned_undo(&self, run: u64, undo: &Undo, plan: &Plan) {
        if self.is_json {
            plan.changes.iter().for_each(print_change);
        } else {
            self.say_lines(&plan.to_string());
        }
        self.undone(run, undo, plan.summary.calls, None);
    }

    pub(crate) fn undo(&self, run: u64, undo: &Undo, report: &Report) {
        if !self.is_json {
            self.report(report);
        }
        self.undone(run, undo, report.summary.calls, Some(report.run));
    }

    fn undone(&self, run: u64, undo: &Undo, calls: u64, by: Option<u64>) {
        let Undo { restored, edited_since, superseded, .. } = undo;
        if self.is_json {
            let summary = json!({
                "undone": run, "restored": restored, "edited_since": edited_since.len(), "superseded": superseded.len(),
                "calls": calls, "run": by,
            });
            return print_line("summary", &summary);
        }
        let will = if by.is_some() { "are" } else { "would be" };
        self.say(&format!(
            "undo of run {run}: {restored} names {will} given back, {} edited since stay, {} changed otherwise stay",
            edited_since.len(),
            superseded.len()
        ));
    }

    pub(crate) fn diagnosis(&self, diagnosis: &Diagnosis) {
        if self.is_json {
            print_json(diagnosis);
        } else {
            self.say_lines(&diagnosis.to_string());
        }
    }

    /// Several lines that are safe to show as they are.
    pub(crate) fn say_lines(&self, text: &str) {
        text.lines().for_each(|line| self.say(line));
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

    pub(crate) fn plan(&self, plan: &Plan) {
        if self.is_json {
            plan.changes.iter().for_each(print_change);
            plan.refusals.iter().for_each(|refusal| print_line("refusal", refusal));
            print_notes(&plan.notes);
            print_line("summary", &Last::of_plan(plan));
        } else {
            self.say(&plan.to_string());
        }
    }
}

/// The last line: the counts, and what a script has to know beside them.
#[derive(Serialize)]
struct Last<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    run: Option<u64>,
    stopped: bool,
    gate: Option<ErrorKind>,
    hint: Option<String>,
    guardrail: Option<&'static str>,
}

impl<'a> Last<'a> {
    fn of_report(report: &'a Report) -> Self {
        let hint = hint(report.gate, report.hint.as_deref(), report.guardrail.as_ref());
        let guardrail = report.guardrail.as_ref().map(Guardrail::code);
        let (run, stopped) = (Some(report.run), report.stopped);
        Self { summary: &report.summary, run, stopped, gate: report.gate, hint, guardrail }
    }

    fn of_plan(plan: &'a Plan) -> Self {
        let hint = hint(plan.gate, plan.hint.as_deref(), plan.guardrail.as_ref());
        let guardrail = plan.guardrail.as_ref().map(Guardrail::code);
        Self { summary: &plan.summary, run: None, stopped: false, gate: plan.gate, hint, guardrail }
    }
}

/// A summary, and what stood in the way of the read if something did.
fn with_gate(mut summary: Value, found: &Refresh) -> Value {
    let hint = hint(found.gate, found.hint.as_deref(), found.guardrail.as_ref());
    if let (Value::Object(summary), Some(hint)) = (&mut summary, hint) {
        summary.insert("gate".into(), json!(found.gate));
        summary.insert("hint".into(), hint.into());
        summary.insert("guardrail".into(), json!(found.guardrail.as_ref().map(Guardrail::code)));
    }
    summary
}

/// What to do: about the guardrail that stopped the run, else about the gate.
fn hint(gate: Option<ErrorKind>, hint: Option<&str>, guardrail: Option<&Guardrail>) -> Option<String> {
    let about_gate = gate.map(|kind| hint.map_or_else(|| advice(kind).to_owned(), Into::into));
    guardrail.map(remedy).or(about_gate)
}

/// What a guardrail says, and what to pass to go on.
pub(crate) fn remedy(guardrail: &Guardrail) -> String {
    let text = guardrail.to_string();
    let so = match guardrail {
        Guardrail::MissingRows { .. } => " If it is, pass --changes. Else look",
        _ if text.ends_with('?') => " Look",
        _ => "; look",
    };
    format!("{text}{so} at it with `sync_job plan`, and pass --yes to go on")
}

/// What the library advises its callers to do, as a flag of the job.
pub(crate) fn in_words_of_the_job(text: &str) -> String {
    text.replace("or read it with a region", "or pass --region")
        .replace("use https, or see allow_plain_http", "use https, or a server on this machine")
}

/// What a person can do about an instance that is left alone.
pub(crate) fn advice(kind: ErrorKind) -> &'static str {
    match (kind, kind.class()) {
        (ErrorKind::Unauthorized, _) => "get a new access token and set WAWP_ACCESS_TOKEN to it",
        (ErrorKind::Forbidden, _) => "check the plan of the account, and whether the token is this instance's",
        (ErrorKind::UnknownInstance, _) => "check --instance, and link the instance again if it was unlinked",
        (ErrorKind::SessionNotReady, _) => {
            "if it does not start by itself, log the instance in again: scan the QR code"
        }
        (ErrorKind::QuotaReached, _) => "wait for the next period, or get a larger plan",
        (ErrorKind::Connect, _) => "check --base-url, the network, and whether the server runs",
        (_, ErrorClass::Contact) => {
            "every contact was refused, so the set-up may be wrong: check the credentials and the route"
        }
        (_, ErrorClass::Configuration) => "check the set-up of the job",
        _ => "run again later",
    }
}

/// A line of JSON: its type first, then the fields in their own order.
#[derive(Serialize)]
struct Line<'a, T> {
    r#type: &'static str,
    #[serde(flatten)]
    of: &'a T,
}

fn print_line(r#type: &'static str, of: &impl Serialize) {
    print_json(&Line { r#type, of });
}

fn print_json(of: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(of) {
        write_line(&mut stdout(), &without_controls(&line, |unit| format!("\\u{unit:04x}")));
    }
}

/// A change by the keys that scripts know.
fn print_change(change: &Change) {
    let Change { chat, crm_id, action, before, after, cause, outcome, .. } = change;
    let mut line = json!({
        "chat_id": chat, "crm_id": crm_id, "action": action, "before": before, "after": after, "cause": cause,
    });
    if let (Value::Object(line), Ok(Value::Object(outcome))) = (&mut line, serde_json::to_value(outcome)) {
        line.extend(outcome);
    }
    print_line("change", &line);
}

/// What the text says after the changes and the refusals, one line for each.
fn print_notes(notes: &Notes) {
    let print = |note: &Value| print_line("note", note);
    notes.repeated.iter().for_each(|id| print(&json!({"note": "repeated", "crm_id": id})));
    for (stage, rows) in &notes.untagged {
        print(&json!({"note": "untagged", "stage": stage, "rows": rows}));
    }
    notes.shortened.iter().for_each(|id| print(&json!({"note": "shortened", "crm_id": id})));
    for left in &notes.left {
        let (chat, id, name, reason) = (&left.chat, &left.crm_id, &left.name, left.reason);
        print(&json!({"note": "left", "chat_id": chat, "crm_id": id, "name": name, "reason": reason}));
    }
    notes.unread.iter().for_each(|kind| print(&json!({"note": "unread", "kind": kind})));
    notes.pushed_by.iter().for_each(|owner| print(&json!({"note": "pushed_by", "owner": owner})));
}

/// Text without what could move, turn or hide other text on a terminal, or be taken for the end of the line: each UTF-16 unit of it
/// is written as an escape.
fn without_controls(text: &str, escape: impl Fn(u16) -> String) -> String {
    let mut clean = String::with_capacity(text.len());
    for char in text.chars() {
        let is_control = char.is_control()
            || matches!(char,
                '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{e0001}');
        if is_control {
            char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| clean.push_str(&escape(*unit)));
        } else {
            clean.push(char);
        }
    }
    clean
}

/// A line for a terminal.
pub(crate) fn plain(line: &str) -> String {
    without_controls(line, |unit| format!("\\u{{{unit:x}}}"))
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
fn write_line(to: &mut impl Write, line: &str) {
    writeln!(to, "{line}").ok();
}
