//! The sync job: a CRM export reaches the address book.
//!
//! `cargo run --example sync_job` needs no set-up: it reads a sample export, talks to a stand-in server inside the job, and keeps its
//! ledger in `sync_job.ledger`. Run it twice: the second run makes no call. `--help` lists the other commands.

#[path = "sync_job/args.rs"]
mod args;
#[path = "sync_job/asked.rs"]
mod asked;
#[path = "sync_job/export.rs"]
mod export;
#[path = "sync_job/signals.rs"]
mod signals;
#[path = "sync_job/view.rs"]
mod view;

use std::{error::Error, path::PathBuf, process::ExitCode, sync::Arc};

use wawp_contacts::{
    ChatId, Client, ClientBuilder, ContactSync, ErrorClass, ErrorKind, Pace,
    book::AddressBook,
    client::doctor::Doctor,
    crm::Feed,
    ledger::{Ledger, MemoryLedger, Query, SqliteLedger},
    naming::Naming,
    record::Drift,
    sync::{Guardrail, Guardrails, Page, Refresh, Report, RunLog},
    testkit::{Entry, WawpServer},
    time::{Clock, Timestamp},
};

use crate::{
    args::{Args, Command, NoArgs, env},
    signals::Stop,
    view::{View, in_words_of_the_job},
};

type AnyError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::parse() {
        Ok(args) => args,
        Err(NoArgs::Help(text)) => {
            view::print(&text);
            return ExitCode::SUCCESS;
        }
        Err(NoArgs::Wrong(words)) => return fail(&format!("{words}; --help shows what there is")),
    };
    match job(&args).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => fail(&explain(&*error)),
    }
}

fn fail(line: &str) -> ExitCode {
    view::complain(line);
    ExitCode::FAILURE
}

/// An error and its causes in one line.
fn explain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

async fn job(args: &Args) -> Result<u8, AnyError> {
    let view = Arc::new(View::new(args));
    if !args.command.calls() {
        return asked::answer(args, &view).await;
    }
    let stop = match args.command {
        Command::Run => Stop::at_first_signal(Arc::clone(&view))?,
        // The others leave nothing half done.
        _ => Stop::never(),
    };
    let rows = if args.command.reads_crm() { Some(export::open(args, &stop).await?) } else { None };
    let (builder, stand_in) = connect(args).await?;
    if let Command::Doctor { write_test } = &args.command {
        return examine(&view, builder, write_test.clone()).await;
    }
    let client = builder.build().map_err(|error| in_words_of_the_job(&explain(&error)))?;
    let ledger = open_ledger(args).await?;
    if let Some(server) = &stand_in {
        seed(server, &*ledger).await?;
    }
    view.begin(args);
    let (watch, page) = (Arc::clone(&view), Paper::new(args));
    let log = page.log.clone();
    let policy = match args.policy {
        Some(policy) => policy,
        None if args.command.reads_crm() => Drift::default(),
        // A read must not decide by another policy than the runs around it.
        None => ledger.state(AddressBook::instance(&client)).await?.drift,
    };
    let sync = ContactSync::new(client, ledger, Naming::new(args.funnel()?))
        .drift(policy)
        .in_flight(args.in_flight)
        .max_wait(args.wait)
        .look_first(args.look_first)
        .guardrails(if args.yes { Guardrails::off() } else { Guardrails::default() })
        .observer(move |progress| {
            log.note(progress);
            watch.progress(progress);
        });
    if let Command::Undo { run } = args.command {
        return undo(args, &view, &sync, &page, run).await;
    }
    let Some(rows) = rows else {
        let found = sync.refresh().await?;
        view.refresh(&found);
        check_read(args, &found)?;
        return Ok(if policy == Drift::Ask && found.drifted > 0 { 3 } else { 0 });
    };
    let feed = if args.changes { Feed::changes(rows) } else { Feed::snapshot(rows) };
    match args.command {
        Command::Plan => {
            let plan = sync.plan(feed).await?;
            view.plan(&plan);
            page.write(plan.page())?;
            check_set_up(args, plan.gate, plan.hint.as_deref())?;
            let needs_person = plan.summary.needs_person() || plan.guardrail.is_some();
            let changes = plan.summary.has_changes() || plan.summary.gated > 0;
            Ok(if changes { 2 } else { 3 * u8::from(needs_person) })
        }
        Command::Adopt => {
            let adoption = sync.adopt(feed).await?;
            let Some(found) = &adoption.found else {
                view.report(&adoption.intake);
                check_guardrail(adoption.intake.guardrail.as_ref())?;
                return Err("the rows did not take effect, so nothing was read".into());
            };
            view.adoption(&adoption.intake, found);
            check_read(args, found)?;
            let summary = adoption.intake.summary;
            Ok(if summary.refused + summary.parked + summary.held > 0 { 3 } else { 0 })
        }
        _ => {
            let report =
                if args.intake_only { sync.intake(feed).await? } else { sync.run_until(feed, stop.told()).await? };
            view.report(&report);
            page.write(report.page())?;
            check_guardrail(report.guardrail.as_ref())?;
            check_set_up(args, report.gate, report.hint.as_deref())?;
            Ok(if report.stopped || needs_person(&report, args) { 3 } else { 0 })
        }
    }
}

/// The page that shows what happened, if one was asked for.
struct Paper {
    path: Option<PathBuf>,
    began: Timestamp,
    pace: Pace,
    log: RunLog,
}

impl Paper {
    fn new(args: &Args) -> Self {
        let (began, log) = (Clock::system().now(), RunLog::default());
        Self { path: args.report.clone(), began, pace: args.pace(), log }
    }

    fn write(&self, page: Page<'_>) -> Result<(), AnyError> {
        let Some(path) = &self.path else { return Ok(()) };
        let page = page.at(self.began).paced(self.pace).with_log(&self.log).to_string();
        std::fs::write(path, page).map_err(|error| format!("the report {}: {error}", path.display()).into())
    }
}

/// Takes a run back, once a person has seen what that would do.
async fn undo(args: &Args, view: &View, sync: &ContactSync, page: &Paper, run: u64) -> Result<u8, AnyError> {
    if !args.yes {
        let (undo, plan) = sync.plan_undo(run).await?;
        view.planned_undo(run, &undo, &plan);
        page.write(plan.page().undoing(run))?;
        return Err(format!("nothing was written yet; pass --yes to undo run {run}").into());
    }
    let (undo, report) = sync.undo(run).await?;
    view.undo(run, &undo, &report);
    page.write(report.page().undoing(run))?;
    check_guardrail(report.guardrail.as_ref())?;
    check_set_up(args, report.gate, report.hint.as_deref())?;
    Ok(if needs_person(&report, args) { 3 } else { 0 })
}

/// Finds out what is true for this server and account.
async fn examine(view: &View, builder: ClientBuilder, write_test: Option<ChatId>) -> Result<u8, AnyError> {
    let doctor = Doctor::new(builder);
    let doctor = match write_test {
        Some(chat) => doctor.write_test(chat),
        None => doctor,
    };
    let diagnosis = doctor.examine().await.map_err(|error| in_words_of_the_job(&explain(&error)))?;
    view.diagnosis(&diagnosis);
    Ok(u8::from(!diagnosis.is_well()))
}

/// An address book that was not read, or not to its end, is an error.
fn check_read(args: &Args, found: &Refresh) -> Result<(), AnyError> {
    check_guardrail(found.guardrail.as_ref())?;
    check_set_up(args, found.gate, found.hint.as_deref())?;
    if let Some(owner) = &found.pushed_by {
        return Err(format!("{owner} holds this instance, so nothing was read; try again when it has ended").into());
    }
    match found.gate {
        Some(kind) => Err(format!("{kind}; {}", view::advice(kind)).into()),
        None if !found.complete => Err("the address book could not be read to its end; try again later".into()),
        None => Ok(()),
    }
}

/// Whether a person has to do something; what is due is somebody else's work where this run only takes wishes in.
fn needs_person(report: &Report, args: &Args) -> bool {
    let mut summary = report.summary;
    if args.intake_only || report.notes.pushed_by.is_some() {
        summary.gated = 0;
    }
    summary.needs_person()
}

/// What a guardrail stops is an error, unless a person has seen it.
fn check_guardrail(guardrail: Option<&Guardrail>) -> Result<(), AnyError> {
    match guardrail {
        Some(guardrail) => Err(format!("stopped before the first call: {}", view::remedy(guardrail)).into()),
        None => Ok(()),
    }
}

/// A gate that no call of this set-up will open is an error.
fn check_set_up(args: &Args, gate: Option<ErrorKind>, hint: Option<&str>) -> Result<(), AnyError> {
    let is_set_up = |kind: &ErrorKind| {
        matches!(kind.class(), ErrorClass::Configuration | ErrorClass::Instance | ErrorClass::Contact)
            || *kind == ErrorKind::Connect
    };
    let Some(kind) = gate.filter(is_set_up) else { return Ok(()) };
    let server = args.server().unwrap_or("the stand-in server");
    let remedy = hint.map_or_else(|| view::advice(kind).to_owned(), Into::into);
    Err(format!("{kind}; {remedy} (server: {server})").into())
}

async fn open_ledger(args: &Args) -> Result<Arc<dyn Ledger>, AnyError> {
    Ok(match &args.ledger {
        // A plan leaves no file behind.
        Some(path) if args.command != Command::Plan || path.exists() => Arc::new(SqliteLedger::open(path).await?),
        _ => Arc::new(MemoryLedger::default()),
    })
}

/// The instance of the stand-in: a ledger must never take what a stand-in acknowledged for what Wawp did.
const STAND_IN: &str = "stand-in";

const NO_INSTANCE: &str = "name the instance with --instance or WAWP_INSTANCE_ID";

/// What makes a client of the server that was named, or of a stand-in server, which lives as long as what comes with it.
async fn connect(args: &Args) -> Result<(ClientBuilder, Option<WawpServer>), AnyError> {
    let styled = |builder: ClientBuilder| {
        let builder = args.route.into_iter().fold(builder, ClientBuilder::route);
        args.credentials.into_iter().fold(builder, ClientBuilder::credentials).pace(args.pace())
    };
    if let Some(url) = args.server() {
        let instance = args.instance.clone().ok_or(NO_INSTANCE)?;
        let token = env("WAWP_ACCESS_TOKEN").ok_or("set WAWP_ACCESS_TOKEN to the access token of the instance")?;
        return Ok((styled(Client::builder(instance, token).base_url(url)), None));
    }
    let server = WawpServer::start_as(STAND_IN.parse()?).await;
    let builder = Client::builder(server.instance().clone(), server.token()).base_url(server.url());
    Ok((styled(builder), Some(server)))
}

/// Lets the stand-in's address book start from what the ledger calls sent, so that a second run is truthful.
async fn seed(server: &WawpServer, ledger: &dyn Ledger) -> Result<(), AnyError> {
    let mut after = None;
    loop {
        let query = Query::All { after: after.as_ref(), limit: 1_000 };
        let records = ledger.fetch(server.instance(), query).await?;
        let Some(last) = records.last() else { return Ok(()) };
        after = Some(last.chat.clone());
        let sent = records
            .iter()
            .filter_map(|record| Some(Entry::saved(&record.chat, &record.pushed.sent.as_ref()?.wish.name)));
        server.seed(sent.collect::<Vec<_>>());
    }
}
