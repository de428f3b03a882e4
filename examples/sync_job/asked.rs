//! What a person asks and says about single contacts and past runs. Nobody is called: the ledger knows, and the next run does.

use std::{path::Path, sync::Arc};

use futures_util::TryStreamExt as _;
use serde::Serialize;
use serde_json::{Value, json};
use wawp_contacts::{
    ChatId, Client, ContactSync, ErrorKind, InstanceId, Phone,
    ledger::{Ledger, Query, RunRecord, SqliteLedger},
    naming::{Funnel, Naming},
    record::{Drift, Edit, Park, Record, Status},
    sync::{Forgotten, Happening, Retry, Standing, Story, Summary},
    time::{Clock, Timestamp},
};

use crate::{
    AnyError, GO_ON, NO_INSTANCE, STAND_IN,
    args::{Args, Command, policy_word, write_whole},
    safe::plain,
    screen::{Cell, Ink},
    told::{Tense, Told, name},
    view::View,
    words::{self, advice, count, many, who},
};

/// So many runs are listed.
const RUNS: usize = 100;
/// So many contacts are listed where a name does not say which is meant.
const LISTED: usize = 10;

/// Whether a ledger can be in a file: an empty one would become one.
pub(crate) fn has_ledger(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file() || found.len() > 0)
}

/// The ledger that the runs have left; none is made.
pub(crate) fn find_ledger(args: &Args) -> Result<&Path, AnyError> {
    let Some(path) = &args.ledger else {
        return Err("a ledger in memory knows nobody; name the file of the runs with --ledger".into());
    };
    if !has_ledger(path) {
        let path = path.display();
        return Err(format!("there is no ledger {path}; name that of the runs with --ledger, or run first").into());
    }
    Ok(path)
}

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
    let lists =
        matches!(args.command, Command::Parked | Command::Edits | Command::Runs { run: None } | Command::Status);
    if lists && !args.json && desk.ledger.runs(&desk.instance, 1).await?.is_empty() {
        view.say(&words::nothing_known(args, &desk.instance));
        return Ok(0);
    }
    match &args.command {
        Command::Explain(contact) => desk.explain(&contact.text()).await,
        Command::Hold(contact) => desk.say(&contact.text(), true).await,
        Command::Release(contact) => desk.say(&contact.text(), false).await,
        Command::Forget { contact, allow: true } => desk.allow(&contact.join(" ")).await,
        Command::Forget { contact, allow: false } => desk.forget(&contact.join(" ")).await,
        Command::Parked => desk.parked().await,
        Command::Edits => desk.edits().await,
        Command::Retry { contact, reason, .. } => desk.retry(&contact.join(" "), *reason).await,
        Command::Runs { run: Some(run) } => desk.run(*run).await,
        Command::Runs { run: None } => desk.runs().await,
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
        let ledger: Arc<dyn Ledger> = Arc::new(SqliteLedger::open(find_ledger(args)?).await?);
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
        let chat = self.chat(text);
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
            let cells = |record: &Record| vec![Cell::Text(who(&record.chat)), Cell::Text(ids(record)), called(record)];
            self.say_table(0, &found.iter().take(LISTED).map(cells).collect::<Vec<_>>());
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

    /// The chat id that the text is, or whose phone it is.
    fn chat(&self, text: &str) -> Option<ChatId> {
        let phone = self.args.region.and_then(|region| Phone::in_region(text, region).ok());
        phone.map_or_else(|| text.parse().ok(), |phone| Some(phone.chat()))
    }

    async fn explain(&self, text: &str) -> Result<u8, AnyError> {
        let record = self.find(text).await?;
        let story = self.sync.explain(&record.chat).await?.ok_or("the contact is gone meanwhile")?;
        if self.view.is_json() {
            self.view.answer(&story, "");
        } else {
            self.tell(&story);
        }
        Ok(0)
    }

    fn tell(&self, story: &Story) {
        let screen = self.view.screen();
        let heading = format!("{}: {}", who(&story.chat), words::of_status(story.status));
        self.view.say_all(screen.heading(Ink::Heading, &heading));
        self.view.say_all(screen.below(1, &plain(&story.why)));
        let cells = |happening: &Happening| {
            let at = happening.at.map(|at| at.to_string()).unwrap_or_default();
            vec![Cell::Text(at), Cell::Prose(plain(&happening.what))]
        };
        self.say_table(1, &story.story.iter().map(cells).collect::<Vec<_>>());
    }

    fn say_table(&self, depth: usize, rows: &[Vec<Cell>]) {
        self.view.say_all(self.view.screen().table(depth, rows));
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

    /// Forgets a person, once somebody has seen what that means.
    async fn forget(&self, text: &str) -> Result<u8, AnyError> {
        let chat = match (self.find(text).await, self.chat(text)) {
            (Ok(record), _) => record.chat,
            // Also of a person who is not known any more bytes may be left to erase.
            (Err(_), Some(chat)) if self.args.yes && self.sync.plan_forget(&chat).await?.is_none() => chat,
            (Err(nobody), _) => return Err(nobody),
        };
        if !self.args.yes {
            let known = self.sync.plan_forget(&chat).await?.ok_or("the contact is gone meanwhile")?;
            self.tell_forgotten(&chat, Some(&known), false);
            return Err("nothing was forgotten yet; pass --yes to forget them, which cannot be undone".into());
        }
        let known = self.sync.forget(&chat).await?;
        self.tell_forgotten(&chat, known.as_ref(), true);
        Ok(0)
    }

    fn tell_forgotten(&self, chat: &ChatId, known: Option<&Forgotten>, is_done: bool) {
        let Forgotten { chats, crm_ids, shown, overwritten, .. } = &known.cloned().unwrap_or_default();
        let object = json!({
            "command": "forget", "forgotten": is_done, "chats": chats, "crm_ids": crm_ids, "shown": shown,
            "overwritten": overwritten,
        });
        let rows = if crm_ids.is_empty() { "no row".into() } else { format!("row {}", crm_ids.join(", ")) };
        let line = match (known.is_some(), is_done) {
            (false, _) => format!("{}: nothing was known; kept out from now on", who(chat)),
            (true, false) => {
                let ids: Vec<String> = chats.iter().map(who).collect();
                let (ids, shown) = (ids.join(", "), name(shown.as_deref()));
                let shown = shown.text();
                format!(
                    "{ids} \"{shown}\": would be forgotten, with {rows} of the CRM and {} in the history",
                    many(*overwritten as u64, "name", "names")
                )
            }
            (true, true) => {
                let then = "now delete the contact on the phone, and take it out of the CRM";
                format!("{}: forgotten, with {rows} of the CRM; {then}", who(chat))
            }
        };
        self.view.answer(&object, &line);
    }

    /// Lets a person be taken in again who was forgotten.
    async fn allow(&self, text: &str) -> Result<u8, AnyError> {
        let id = self.chat(text).map_or_else(|| text.to_owned(), |chat| chat.to_string());
        let mut is_allowed = self.sync.allow(text).await?;
        is_allowed |= self.sync.allow(&id).await?;
        let what = if is_allowed { "allowed again: the next run takes the row in" } else { "was not forgotten" };
        let object = json!({"command": "forget", "allowed": is_allowed, "what": what});
        self.view.answer(&object, &format!("{text}: {what}"));
        Ok(0)
    }

    /// Tells what was done with one contact.
    fn done(&self, record: &Record, is_changed: bool, what: &str) -> u8 {
        let (chat, status) = (&record.chat, record.status.as_str());
        let object = json!({
            "command": self.args.command.name(), "chat": chat, "changed": is_changed, "status": status, "what": what,
        });
        self.view.answer(&object, &format!("{} \"{}\": {what}", who(chat), called(record).text()));
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
        let object = json!({"command": "retry", "changed": count});
        self.view.answer(&object, &format!("the next run tries {} again", many(count, "contact", "contacts")));
        Ok(0)
    }

    async fn parked(&self) -> Result<u8, AnyError> {
        let waiting = self.sync.waiting().await?;
        let needs_person = waiting.iter().any(|contact| contact.status != Status::InSync);
        if self.view.is_json() {
            for contact in &waiting {
                self.view.answer(contact, "");
            }
        } else if waiting.is_empty() {
            self.view.say("nobody waits for a person, and nobody is held");
        } else {
            let mut told = Told::new(self.args.all);
            for contact in &waiting {
                told.waiting(contact);
            }
            self.view.say_all(told.changes_in_lines(self.view.screen(), Tense::Past));
        }
        Ok(if needs_person { 3 } else { 0 })
    }

    async fn edits(&self) -> Result<u8, AnyError> {
        let edits: Vec<Edit> = self.sync.edits().try_collect().await?;
        if self.view.is_json() {
            for edit in &edits {
                self.view.answer(edit, "");
            }
        } else if edits.is_empty() {
            let is_kept = matches!(
                self.ledger.state(&self.instance).await?.drift,
                Drift::PhoneWins | Drift::ByField | Drift::Ask
            );
            self.view.say(if is_kept {
                "the CRM knows every name that somebody saved on the phone"
            } else {
                "names from the phone are told only with --policy phone-wins, by-field or ask"
            });
        } else {
            let cells = |edit: &Edit| {
                let told = if edit.is_taken_over {
                    "on the phone, and stays; the CRM has"
                } else {
                    "on the phone, and needs you; the CRM has"
                };
                let ids = [who(&edit.chat), plain(&edit.crm_id)].map(Cell::Text);
                let names = [name(Some(&edit.saved)), Cell::Text(told.into()), name(Some(&edit.wanted))];
                ids.into_iter().chain(names).collect()
            };
            self.say_table(0, &edits.iter().map(cells).collect::<Vec<_>>());
        }
        Ok(if edits.iter().all(|edit| edit.is_taken_over) { 0 } else { 3 })
    }

    async fn runs(&self) -> Result<u8, AnyError> {
        let runs = self.ledger.runs(&self.instance, RUNS).await?;
        if self.view.is_json() {
            for run in &runs {
                self.view.answer(&Ran::of(run), "");
            }
        } else {
            let cells = |run: &RunRecord| {
                let texts = [run.run.to_string(), run.began.to_string(), plain(&run.owner)].map(Cell::Text);
                texts.into_iter().chain([Cell::Prose(came_to(run))]).collect()
            };
            self.say_table(0, &runs.iter().map(cells).collect::<Vec<_>>());
        }
        Ok(0)
    }

    /// Tells the report of a run again.
    async fn run(&self, run: u64) -> Result<u8, AnyError> {
        let past = self.sync.report_of(run).await?.ok_or_else(|| format!("there was no run {run}; see `runs`"))?;
        if !self.view.is_json() {
            let came_to = if past.report.is_some() { String::new() } else { format!(": {}", came_to(&past.run)) };
            self.view.say(&plain(&format!("run {run}, {}, by {}{came_to}", past.run.began, past.run.owner)));
        }
        self.view.past(&past);
        if let Some(path) = &self.args.report {
            let page =
                past.page().ok_or_else(|| format!("the report of run {run} is not known, so there is no page"))?;
            write_whole(path, page.overruled_by(GO_ON).to_string().as_bytes())
                .map_err(|error| format!("the report {}: {error}", path.display()))?;
        }
        Ok(0)
    }

    async fn status(&self) -> Result<u8, AnyError> {
        let (standing, state) = (self.sync.standing().await?, self.ledger.state(&self.instance).await?);
        let (last, now) = (self.ledger.runs(&self.instance, 1).await?.pop(), Clock::system().now());
        let wait = state.wait.filter(|wait| wait.until > now);
        let policy = policy_word(state.drift);
        let (spent, cap) = (state.budget.spent(now), self.args.daily_after(state.daily));
        let next = cap.map(|daily| state.budget.resumes_at(&daily, now)).filter(|next| *next > now);
        let Standing { contacts, in_sync, due, held, parked, unusable, without_row, known, by_hand, .. } = standing;
        if self.view.is_json() {
            let last_run = last.as_ref().map(Ran::of);
            let object = json!({
                "instance": self.instance, "records": contacts, "known": known, "in_sync": in_sync, "due": due, "held": held,
                "parked": parked, "unusable": unusable, "without_row": without_row, "by_hand": by_hand, "wait": wait, "policy": policy, "last_run": last_run,
                "daily": cap.map(|daily| json!({"cap": daily, "spent": spent, "resumes_at": next})),
            });
            self.view.answer(&object, "");
            return Ok(0);
        }
        let wait = wait.map_or_else(
            || "does not ask to wait".to_owned(),
            |wait| format!("asks to wait until {}: {}; {}", wait.until, wait.kind, advice(wait.kind)),
        );
        let daily = match (cap, next) {
            (None, _) => "no cap".to_owned(),
            (Some(_), Some(next)) => format!("{spent} calls count, the cap is spent; the next can be made at {next}"),
            (Some(daily), None) => format!("{spent} calls count; {} more now", state.budget.left(&daily, now)),
        };
        let last =
            last.map_or_else(|| "none yet".to_owned(), |run| format!("{}, {}: {}", run.run, run.began, came_to(&run)));
        let counts = [
            (in_sync, "in sync", "in sync"),
            (due, "waiting for the next run", "waiting for the next run"),
            (held, "on hold", "on hold"),
            (parked, "that needs you", "that need you"),
            (unusable, "whose row cannot be used", "whose rows cannot be used"),
            (without_row, "without a row", "without a row"),
        ];
        let counts = counts.map(|(number, one, more)| many(number, one, more)).join(", ");
        let by_hand = match by_hand {
            0 => String::new(),
            _ => format!("; {}, see `parked`", many(by_hand, "is held by you", "are held by you")),
        };
        let named = many(known, "has a name", "have a name");
        let contacts = format!("{}: {counts}; {named}{by_hand}", count(contacts));
        let rows = [
            ["instance", self.instance.as_str()],
            ["contacts", &contacts],
            ["calls", &wait],
            ["a day", &daily],
            ["policy", policy],
            ["last run", &last],
        ];
        self.say_table(0, &rows.map(|[what, is]| vec![Cell::Text(what.into()), Cell::Prose(plain(is))]));
        Ok(0)
    }
}

fn ids(record: &Record) -> String {
    plain(&record.claims.iter().map(|claim| &*claim.crm_id).collect::<Vec<_>>().join(", "))
}

/// What a contact is called, as far as is known.
fn called(record: &Record) -> Cell {
    name(record.shown().or_else(|| record.wanted().map(|wish| wish.name.full())))
}

/// A run as a script reads it.
#[derive(Serialize)]
struct Ran {
    run: u64,
    owner: Box<str>,
    began: Timestamp,
    ended: Option<Timestamp>,
    summary: Option<Value>,
}

impl Ran {
    fn of(run: &RunRecord) -> Self {
        Self { run: run.run, owner: run.owner.clone(), began: run.began, ended: run.ended, summary: summary(run) }
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
        (Ok(summary), _) => words::past(&summary),
        (_, Some(read)) => {
            let read = many(read, "entry", "entries");
            format!("{read} read, {} drifted, {} different", summary["drifted"], summary["different"])
        }
        _ => plain(&summary.to_string()),
    };
    let gate = serde_json::from_value(summary["gate"].clone()).ok().map(|kind: ErrorKind| kind.to_string());
    let why = [
        gate,
        summary["guardrail"].is_object().then(|| "stopped by a guardrail".to_owned()),
        (summary["stopped"] == true).then(|| "stopped by a person".to_owned()),
    ];
    why.into_iter().flatten().for_each(|why| line = format!("{line}; {why}"));
    line
}
