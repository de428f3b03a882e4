//! What a script reads: JSON Lines.

use std::io::stdout;

use serde::Serialize;
use serde_json::{Value, json};
use wawp_contacts::{
    ErrorKind,
    pace::Schedule,
    sync::{Change, Guardrail, Notes, Plan, Refresh, Report, Summary},
    time::Timestamp,
};

use crate::{
    safe::without_controls,
    view::write_line,
    words::{advice, remedy},
};

/// The last line: the counts, and what a script has to know beside them.
#[derive(Serialize)]
pub(crate) struct Last<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    run: Option<u64>,
    stopped: bool,
    gate: Option<ErrorKind>,
    hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumes_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<&'a Schedule>,
    guardrail: Option<&'static str>,
}

impl<'a> Last<'a> {
    pub(crate) fn of_report(report: &'a Report) -> Self {
        let hint = hint(report.gate, report.hint.as_deref(), report.guardrail.as_ref());
        let guardrail = report.guardrail.as_ref().map(Guardrail::code);
        let (run, stopped) = (Some(report.run), report.stopped);
        let (resumes_at, schedule) = (report.resumes_at, None);
        Self { summary: &report.summary, run, stopped, gate: report.gate, hint, resumes_at, schedule, guardrail }
    }

    pub(crate) fn of_plan(plan: &'a Plan) -> Self {
        let hint = hint(plan.gate, plan.hint.as_deref(), plan.guardrail.as_ref());
        let guardrail = plan.guardrail.as_ref().map(Guardrail::code);
        let (run, stopped, resumes_at) = (None, false, plan.resumes_at);
        let schedule = plan.takes_days().then_some(&plan.schedule);
        Self { summary: &plan.summary, run, stopped, gate: plan.gate, hint, resumes_at, schedule, guardrail }
    }
}

/// A summary, and what stood in the way of the read if something did.
pub(crate) fn with_gate(mut summary: Value, found: &Refresh) -> Value {
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

/// A line of JSON: its type first, then the fields in their own order.
#[derive(Serialize)]
struct Line<'a, T> {
    r#type: &'static str,
    #[serde(flatten)]
    of: &'a T,
}

pub(crate) fn print_line(r#type: &'static str, of: &impl Serialize) {
    print_json(&Line { r#type, of });
}

pub(crate) fn print_json(of: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(of) {
        write_line(&mut stdout(), &without_controls(&line, |unit| format!("\\u{unit:04x}")));
    }
}

/// A change by the keys that scripts know.
pub(crate) fn print_change(change: &Change) {
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
pub(crate) fn print_notes(notes: &Notes) {
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
