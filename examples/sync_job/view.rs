//! What the user sees: a bar on a terminal, plain lines elsewhere, or JSON Lines.

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    time::Duration,
};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use serde::Serialize;
use serde_json::json;
use wawp_contacts::{
    ErrorClass, ErrorKind,
    sync::{Guardrail, Outcome, Plan, Progress, Report, Summary},
    time::Clock,
};

/// The version of the JSON Lines; grows when a field changes its meaning.
const FORMAT: u32 = 1;

pub(crate) struct View {
    is_json: bool,
    /// Counts the calls, and is drawn on a terminal once their number is known.
    bar: ProgressBar,
}

impl View {
    pub(crate) fn new(is_json: bool) -> Self {
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}, {eta} left");
        let bar =
            ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_finish(ProgressFinish::AndClear);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { is_json, bar }
    }

    /// A line for the user, which is never part of the JSON.
    pub(crate) fn say(&self, line: &str) {
        if self.is_json {
            write_line(&mut stderr(), line);
        } else {
            self.bar.suspend(|| write_line(&mut stdout(), line));
        }
    }

    pub(crate) fn begin(&self, command: &str, server: &str) {
        if self.is_json {
            print_line("format", &json!({"version": FORMAT, "command": command, "server": server}));
        }
    }

    pub(crate) fn progress(&self, progress: &Progress<'_>) {
        match progress {
            Progress::Planned(summary) => self.planned(summary),
            Progress::Changed(change) if self.is_json => print_line("change", change),
            Progress::Changed(change) if !matches!(change.outcome, Outcome::Due { .. }) => self.step(),
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
        let time = HumanDuration(Duration::from_secs_f64(*seconds));
        let pace = if *seconds > 0.0 { format!(", about {time}") } else { String::new() };
        let waiting = if *gated > 0 { format!(", {gated} waiting") } else { String::new() };
        self.say(&format!(
            "plan: {created} to create, {renamed} to rename, {unchanged} unchanged, {refused} refused{waiting}; {calls} calls{pace}"
        ));
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
            print_line("summary", &Last::of_report(report));
        } else {
            self.say(&report.to_string());
        }
    }

    pub(crate) fn plan(&self, plan: &Plan) {
        if self.is_json {
            plan.changes.iter().for_each(|change| print_line("change", change));
            plan.refusals.iter().for_each(|refusal| print_line("refusal", refusal));
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

/// What to do: about the guardrail that stopped the run, else about the gate.
fn hint(gate: Option<ErrorKind>, hint: Option<&str>, guardrail: Option<&Guardrail>) -> Option<String> {
    let about_gate = gate.map(|kind| hint.map_or_else(|| advice(kind).to_owned(), Into::into));
    guardrail.map(remedy).or(about_gate)
}

/// What a guardrail says, and what to pass to go on.
pub(crate) fn remedy(guardrail: &Guardrail) -> String {
    let partial = match guardrail {
        Guardrail::MissingRows { .. } => ", pass --changes if it is",
        _ => "",
    };
    format!("{guardrail}{partial}; look at it with `sync_job plan`, and pass --yes to go on")
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
    if let Ok(line) = serde_json::to_string(&Line { r#type, of }) {
        write_line(&mut stdout(), &line);
    }
}

/// A last word on standard error.
pub(crate) fn complain(line: &str) {
    write_line(&mut stderr(), &format!("sync_job: {line}"));
}

/// A text of its own, such as the help.
pub(crate) fn print(text: &str) {
    write_line(&mut stdout(), text.trim_end());
}

/// Whoever reads may have gone away (`| head`); that is no reason to stop a sync half way.
fn write_line(to: &mut impl Write, line: &str) {
    writeln!(to, "{line}").ok();
}
