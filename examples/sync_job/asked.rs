//! What a person asks and says about single contacts and past runs. Nobody is called: the ledger knows, and the next run does.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use wawp_contacts::{
    ChatId, Client, ContactSync, ErrorKind, InstanceId, Phone,
    ledger::{Counts, Ledger, Query, RunRecord, SqliteLedger},
    naming::{Funnel, Naming},
    record::{Park, Record, Status},
    sync::{Retry, Summary, Waiting},
    time::{Clock, Timestamp},
};

use crate::{
    AnyError, NO_INSTANCE, STAND_IN,
    args::{Args, Command, policy_word},
    view::{View, advice, plain},
};

/// So many runs are listed.
const RUNS: usize = 100;
/// So many contacts are listed where a name does not say which is meant.
const LISTED: usize = 10;

/// What the answers are found in.
struct Desk<'a> {
    args: &'a Args,
    view: &'a View,
    instance: InstanceId,
    ledger: Arc<dyn Ledger>,
    sync: ContactSync,
}

pub(crate) async fn answer(args: &Args, view: &View) -> Result<u8, AnyError> {
    let desk = Desk::open(args, view).await?;
    match &args.command {
        Command::Explain(contact) => desk.explain(&contact.text()).await,
        Command::Hold(contact) => desk.say(&contact.text(), true).await,
        Command::Release(contact) => desk.say(&contact.text(), false).await,
        Command::Parked => desk.parked().await,
        Command::Retry { contact, reason, .. } => desk.retry(&contact.join(" "), *reason).await,
        Command::Runs => desk.runs().await,
        _ => desk.status().await,
    }
}

impl<'a> Desk<'a> {
    /// Finds the records of the run with the same options, and makes nothing.
    async fn open(args: &'a Args, view: &'a View) -> Result<Self, AnyError> {
        let instance = match (&args.instance, args.server()) {
            (Some(instance), _) => instance.clone(),
            (None, Some(_)) => return Err(NO_INSTANCE.into()),
            (None, None) => STAND_IN.parse()?,
        };
        let Some(path) = &args.ledger else {
            return Err("a ledger in memory knows nobody; name the file of the runs with --ledger".into());
        };
        if !path.exists() {
            let path = path.display();
            return Err(format!("there is no ledger {path}; name that of the runs with --ledger, or run first").into());
        }
        let ledger: Arc<dyn Ledger> = Arc::new(SqliteLedger::open(path).await?);
        let policy = match args.policy {
            Some(policy) => policy,
            None => ledger.state(&instance).await?.drift,
        };
        // Never used for a call, so its token is never shown to anybody.
        let client = Client::builder(instance.clone(), "none").build()?;
        let sync = ContactSync::new(client, Arc::clone(&ledger), Naming::new(Funnel::none())).drift(policy);
        Ok(Self { args, view, instance, ledger, sync })
    }

    /// The contact that is meant; where it is not clear which, they are listed.
    async fn find(&self, text: &str) -> Result<Record, AnyError> {
        let phone = self.args.region.and_then(|region| Phone::in_region(text, region).ok());
        let chat = phone.map_or_else(|| text.parse::<ChatId>().ok(), |phone| Some(phone.chat()));
        let mut found = self.ledger.fetch(&self.instance, Query::CrmIds(&[text.trim().into()])).await?;
        if found.is_empty() {
            let text = chat.as_ref().map_or(text, ChatId::as_str);
            found = self.sync.find(text, LISTED + 1).await?;
        }
        // Of two spellings of a number, the one that was given.
        if let Some(exact) = found.iter().position(|record| chat.as_ref() == Some(&record.chat)) {
            return Ok(found.swap_remove(exact));
        }
        if found.len() > 1 {
            let rows: Vec<_> =
                found.iter().take(LISTED).map(|record| [who(&record.chat), ids(record), name(record)]).collect();
            self.view.say_lines(&aligned(&rows));
            let more = if found.len() > LISTED { "more than " } else { "" };
            let count = found.len().min(LISTED);
            return Err(
                format!("{more}{count} contacts match {text:?}; be more exact: give the phone or the CRM id").into()
            );
        }
        found.pop().ok_or_else(|| {
            let region = if self.args.region.is_some() { "" } else { ", or pass --region" };
            format!("nobody is known as {text:?}; give a phone with + and the country code{region}, a CRM id or a part of the name")
                .into()
        })
    }

    async fn explain(&self, text: &str) -> Result<u8, AnyError> {
        let record = self.find(text).await?;
        let story = self.sync.explain(&record.chat).await?.ok_or("the contact is gone meanwhile")?;
        if self.view.is_json() {
            self.view.answer(&story, "");
        } else {
            // It is made safe to show by the library.
            self.view.say_lines(&story.to_string());
        }
        Ok(0)
    }

    /// Holds or releases a contact.
    async fn say(&self, text: &str, holds: bool) -> Result<u8, AnyError> {
        let before = self.find(text).await?;
        let after = if holds { self.sync.hold(&before.chat).await? } else { self.sync.release(&before.chat).await? };
        let after = after.ok_or("the contact is gone meanwhile")?;
        let is_changed = (before.status, &before.held) != (after.status, &after.held);
        let what = match (holds, is_changed, after.status) {
            (true, true, _) => "held: no name is written until it is released",
            (true, false, _) => "was held already",
            (false, true, Status::Due { .. }) => "released: the next run writes the CRM's name",
            (false, true, _) => "released",
            (false, false, _) => "was neither held nor parked for a changed name",
        };
        Ok(self.done(&after, is_changed, what))
    }

    /// Tells what was done with one contact.
    fn done(&self, record: &Record, is_changed: bool, what: &str) -> u8 {
        let (chat, status) = (&record.chat, record.status.as_str());
        let object = json!({
            "command": self.args.command.name(), "chat": chat, "changed": is_changed, "status": status, "what": what,
        });
        self.view.answer(&object, &format!("{} {}: {what}", who(chat), name(record)));
        0
    }

    async fn retry(&self, text: &str, reason: Option<Park>) -> Result<u8, AnyError> {
        if !text.is_empty() {
            let before = self.find(text).await?;
            let is_changed = self.sync.retry(Retry::Contact(before.chat.clone())).await? > 0;
            let what = match (is_changed, before.status) {
                (true, _) => "the next run tries it again".to_owned(),
                (false, Status::Parked { reason }) => format!("not tried again: {}", reason.advice()),
                (false, Status::Held { reason, .. }) => format!("not tried again: {}", reason.advice()),
                (false, _) => "is not parked".to_owned(),
            };
            let after = self.ledger.fetch(&self.instance, Query::Chats(std::slice::from_ref(&before.chat))).await?;
            return Ok(self.done(after.first().unwrap_or(&before), is_changed, &what));
        }
        let count = self.sync.retry(reason.map_or(Retry::All, Retry::Reason)).await?;
        let noun = if count == 1 { "contact" } else { "contacts" };
        let object = json!({"command": "retry", "changed": count});
        self.view.answer(&object, &format!("the next run tries {count} {noun} again"));
        Ok(0)
    }

    async fn parked(&self) -> Result<u8, AnyError> {
        let waiting = self.sync.waiting().await?;
        if self.view.is_json() {
            for contact in &waiting {
                self.view.answer(contact, "");
            }
        } else if waiting.is_empty() {
            self.view.say("nobody waits for a person");
        } else {
            self.view.say_lines(&aligned(&waiting.iter().map(row).collect::<Vec<_>>()));
        }
        Ok(if waiting.is_empty() { 0 } else { 3 })
    }

    async fn runs(&self) -> Result<u8, AnyError> {
        let runs = self.ledger.runs(&self.instance, RUNS).await?;
        if self.view.is_json() {
            for run in &runs {
                self.view.answer(&Ran::of(run), "");
            }
        } else if runs.is_empty() {
            self.view.say("nothing ran yet");
        } else {
            let rows: Vec<_> =
                runs.iter().map(|run| [run.run.to_string(), run.began.to_string(), came_to(run)]).collect();
            self.view.say_lines(&aligned(&rows));
        }
        Ok(0)
    }

    async fn status(&self) -> Result<u8, AnyError> {
        let (counts, state) = (self.ledger.counts(&self.instance).await?, self.ledger.state(&self.instance).await?);
        let (last, now) = (self.ledger.runs(&self.instance, 1).await?.pop(), Clock::system().now());
        let wait = state.wait.filter(|wait| wait.until > now);
        let policy = policy_word(state.drift);
        let Counts { records, known, due, held, parked, .. } = counts;
        let in_sync = records.saturating_sub(due + held + parked);
        if self.view.is_json() {
            let last_run = last.as_ref().map(Ran::of);
            let object = json!({
                "instance": self.instance, "records": records, "known": known, "in_sync": in_sync, "due": due, "held": held,
                "parked": parked, "wait": wait, "policy": policy, "last_run": last_run,
            });
            self.view.answer(&object, "");
            return Ok(0);
        }
        let wait = wait.map_or_else(
            || "does not ask to wait".to_owned(),
            |wait| format!("asks to wait until {}: {}; {}", wait.until, wait.kind, advice(wait.kind)),
        );
        let last =
            last.map_or_else(|| "none yet".to_owned(), |run| format!("{}, {}: {}", run.run, run.began, came_to(&run)));
        let contacts =
            format!("{records}: {in_sync} in sync, {due} due, {held} held, {parked} parked; {known} have a name");
        let rows = [
            ["instance", self.instance.as_str()],
            ["contacts", &contacts],
            ["calls", &wait],
            ["policy", policy],
            ["last run", &last],
        ];
        self.view.say_lines(&aligned(&rows.map(|row| row.map(plain))));
        Ok(0)
    }
}

/// A phone as people write it, or the id where there is none.
fn who(chat: &ChatId) -> String {
    chat.phone().map_or_else(|| chat.to_string(), |phone| format!("+{phone}"))
}

fn quoted(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| plain(&format!("\"{text}\"")))
}

fn ids(record: &Record) -> String {
    plain(&record.claims.iter().map(|claim| &*claim.crm_id).collect::<Vec<_>>().join(", "))
}

/// What a contact is called, as far as is known.
fn name(record: &Record) -> String {
    quoted(record.shown().or_else(|| record.wanted().map(|wish| wish.name.full())))
}

fn row(contact: &Waiting) -> [String; 5] {
    let reason = match contact.status {
        Status::Parked { reason } => json!(reason),
        Status::Held { reason, .. } => json!(reason),
        _ => Value::Null,
    };
    let change = format!("{} -> {}", quoted(contact.shown.as_deref()), quoted(contact.wanted.as_deref()));
    let said = contact.message.as_ref().map(|said| plain(&format!(" (the server said: {said})"))).unwrap_or_default();
    [
        who(&contact.chat),
        plain(&contact.crm_ids.join(", ")),
        reason.as_str().unwrap_or_default().to_owned(),
        change,
        format!("{}{said}", contact.advice),
    ]
}

/// A run as a script reads it.
#[derive(Serialize)]
struct Ran {
    run: u64,
    began: Timestamp,
    ended: Option<Timestamp>,
    summary: Option<Value>,
}

impl Ran {
    fn of(run: &RunRecord) -> Self {
        Self { run: run.run, began: run.began, ended: run.ended, summary: summary(run) }
    }
}

fn summary(run: &RunRecord) -> Option<Value> {
    serde_json::from_str(run.summary.as_deref()?).ok()
}

/// What a run came to, in one line.
fn came_to(run: &RunRecord) -> String {
    let Some(summary) = summary(run) else { return "has not ended".into() };
    if let Some(error) = summary["error"].as_str() {
        return plain(&format!("failed: {error}"));
    }
    let mut line = match (serde_json::from_value::<Summary>(summary.clone()), summary["read"].as_u64()) {
        (Ok(summary), _) => summary.to_string(),
        (_, Some(read)) => {
            format!("{read} entries read, {} drifted, {} different", summary["drifted"], summary["different"])
        }
        _ => plain(&summary.to_string()),
    };
    let gate = serde_json::from_value(summary["gate"].clone()).ok().map(|kind: ErrorKind| kind.to_string());
    let why = [
        gate,
        summary["guardrail"].is_object().then(|| "stopped by a guardrail".to_owned()),
        (summary["stopped"] == true).then(|| "told to stop".to_owned()),
    ];
    why.into_iter().flatten().for_each(|why| line = format!("{line}; {why}"));
    line
}

/// Rows of cells, each column as wide as its widest cell.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
