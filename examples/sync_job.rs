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
#[path = "sync_job/json.rs"]
mod json;
#[path = "sync_job/refused.rs"]
mod refused;
#[path = "sync_job/safe.rs"]
mod safe;
#[path = "sync_job/screen.rs"]
mod screen;
#[path = "sync_job/signals.rs"]
mod signals;
#[path = "sync_job/told.rs"]
mod told;
#[path = "sync_job/view.rs"]
mod view;
#[path = "sync_job/words.rs"]
mod words;

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use wawp_contacts::{
    ChatId, Client, ClientBuilder, ContactSync, ErrorClass, ErrorKind, Pace,
    book::AddressBook,
    client::doctor::Doctor,
    crm::Feed,
    ledger::{Ledger, MemoryLedger, Query, SqliteLedger},
    naming::Naming,
    record::Drift,
    sync::{Guardrail, Guardrails, Page, Plan, Progress, Refresh, Report, RunLog},
    testkit::{Entry, WawpServer},
    time::{Clock, Timestamp},
};

use crate::{
    args::{Args, Command, Kept, NoArgs, env, write_whole},
    export::Rows,
    refused::Refused,
    signals::Stop,
    view::View,
    words::of_the_job,
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
        Err(NoArgs::Unread(words)) => return fail(&words),
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
        Command::Run { .. } => Stop::at_first_signal(Arc::clone(&view))?,
        Command::Undo { .. } if args.yes => Stop::at_first_signal(Arc::clone(&view))?,
        // The others leave nothing half done.
        _ => Stop::never(),
    };
    let rows = if args.command.reads_crm() { Some(export::open(args, &stop, &view).await?) } else { None };
    let (builder, stand_in) = connect(args).await?;
    if args.command.needs_ledger() {
        asked::find_ledger(args)?;
    }
    if let Command::Doctor { write_test } = &args.command {
        return examine(&view, builder, write_test.clone()).await;
    }
    let client = builder.build().map_err(|error| of_the_job(&explain(&error)))?;
    let ledger = open_ledger(args).await?;
    if let Some(server) = &stand_in {
        seed(server, &*ledger).await?;
    }
    view.begin(args);
    let paper = Paper::new(args);
    if args.command.needs_ledger() && ledger.runs(AddressBook::instance(&client), 1).await?.is_empty() {
        return Err(words::nothing_known(args, AddressBook::instance(&client)).into());
    }
    // What is not said is as it was in the last run.
    let last = ledger.state(AddressBook::instance(&client)).await?;
    let policy = args.kept.as_ref().map(|kept| kept.drift).or(args.policy).unwrap_or(last.drift);
    let daily = args.daily_after(last.daily);
    let sync = watched(args, ContactSync::new(client, ledger, Naming::new(args.funnel()?)), &view, &paper)
        .drift(policy)
        .daily(daily);
    let job = Job { args, view: &view, sync, policy, paper };
    match (args.command.clone(), rows) {
        (Command::Undo { run }, _) => job.undo(run, &stop).await,
        (Command::Run { .. }, None) => job.run_kept(&stop).await,
        (_, None) => job.refresh().await,
        (command, Some(rows)) => {
            let feed = if args.changes { Feed::changes(rows) } else { Feed::snapshot(rows) };
            match command {
                Command::Plan { out } => job.plan(feed, out.as_deref()).await,
                Command::Adopt => job.adopt(feed).await,
                _ => job.run(feed, &stop).await,
            }
        }
    }
}

/// The sync as the flags want it, which tells the view and the papers what happens.
fn watched(args: &Args, sync: ContactSync, view: &Arc<View>, paper: &Paper) -> ContactSync {
    let (view, log, refused) = (Arc::clone(view), paper.log.clone(), Arc::clone(&paper.refused));
    let sync = if args.no_canary { sync.canary(None) } else { sync };
    sync.verify(args.verify)
        .in_flight(args.in_flight)
        .max_wait(args.wait)
        .look_first(args.look_first)
        .check_numbers(args.check_numbers)
        .untag_gone(args.untag_gone)
        .guardrails(match args {
            Args { yes: true, .. } => Guardrails::off(),
            Args { strict: true, .. } => Guardrails::strict(),
            _ => Guardrails::default(),
        })
        .observer(move |progress| {
            log.note(progress);
            if let Progress::Refused(refusal) = progress {
                refused.note(refusal);
            }
            view.progress(progress);
        })
}

/// What a command works with.
struct Job<'a> {
    args: &'a Args,
    view: &'a View,
    sync: ContactSync,
    policy: Drift,
    paper: Paper,
}

impl Job<'_> {
    async fn plan(&self, feed: Feed<Rows>, out: Option<&Path>) -> Result<u8, AnyError> {
        let plan = self.plan_to(feed, out).await?;
        self.view.plan(&plan);
        plan.refusals.iter().for_each(|refusal| self.paper.refused.note(refusal));
        self.paper.write(self.args, plan.page())?;
        match (out, &plan.guardrail) {
            (Some(_), Some(guardrail)) => return Err(format!("not kept: {}", words::remedy(guardrail)).into()),
            (Some(path), None) => self.view.say(&format!("kept: `run {}` does exactly this", path.display())),
            (None, _) => {}
        }
        self.check_set_up(plan.gate, plan.hint.as_deref())?;
        let needs_person = plan.summary.needs_person() || plan.guardrail.is_some();
        let changes = plan.summary.has_changes() || plan.summary.gated > 0;
        Ok(if changes { 2 } else { 3 * u8::from(needs_person) })
    }

    /// Makes a plan, and keeps it where that was asked for.
    async fn plan_to(&self, feed: Feed<Rows>, out: Option<&Path>) -> Result<Plan, AnyError> {
        let Some(path) = out else { return Ok(self.sync.plan(feed).await?) };
        let saved = self.sync.plan_to_keep(feed).await?;
        let plan = saved.plan.clone();
        if plan.guardrail.is_none() {
            Kept::write(self.args, saved, path).map_err(|error| format!("the plan {}: {error}", path.display()))?;
        }
        Ok(plan)
    }

    async fn run_kept(&self, stop: &Stop) -> Result<u8, AnyError> {
        let kept = self.args.kept.as_ref().ok_or("there is no plan")?;
        self.ended(&self.sync.run_saved_until(kept, stop.told()).await?)
    }

    async fn run(&self, feed: Feed<Rows>, stop: &Stop) -> Result<u8, AnyError> {
        let report = if self.args.intake_only {
            self.sync.intake(feed).await?
        } else {
            self.sync.run_until(feed, stop.told()).await?
        };
        self.ended(&report)
    }

    /// Tells of a run that has ended, and what it means to a script.
    fn ended(&self, report: &Report) -> Result<u8, AnyError> {
        self.view.report(report);
        self.paper.write(self.args, report.page())?;
        self.check_report(report)?;
        Ok(if report.stopped || needs_person(report, self.args) { 3 } else { 0 })
    }

    async fn adopt(&self, feed: Feed<Rows>) -> Result<u8, AnyError> {
        let adoption = self.sync.adopt(feed).await?;
        self.paper.write_refused(self.args)?;
        let Some(found) = &adoption.found else {
            self.view.report(&adoption.intake);
            check_guardrail(adoption.intake.guardrail.as_ref())?;
            return Err("the rows did not take effect, so nothing was read".into());
        };
        self.view.adoption(&adoption.intake, found);
        self.check_read(found)?;
        let summary = adoption.intake.summary;
        Ok(if summary.refused + summary.parked + summary.held > 0 { 3 } else { 0 })
    }

    async fn refresh(&self) -> Result<u8, AnyError> {
        let found = self.sync.refresh().await?;
        self.view.refresh(&found, self.policy);
        self.check_read(&found)?;
        Ok(if self.policy == Drift::Ask && found.drifted > 0 { 3 } else { 0 })
    }

    /// Takes a run back, once a person has seen what that would do.
    async fn undo(&self, run: u64, stop: &Stop) -> Result<u8, AnyError> {
        if !self.args.yes {
            let (undo, plan) = self.sync.plan_undo(run).await?;
            self.view.planned_undo(run, &undo, &plan);
            self.paper.write_page(plan.page().undoing(run))?;
            return Err(format!("nothing was written yet; pass --yes to undo run {run}").into());
        }
        let (undo, report) = self.sync.undo_until(run, stop.told()).await?;
        self.view.undo(run, &undo, &report);
        self.paper.write_page(report.page().undoing(run))?;
        self.check_report(&report)?;
        Ok(if report.stopped || needs_person(&report, self.args) { 3 } else { 0 })
    }
}

impl Job<'_> {
    fn check_report(&self, report: &Report) -> Result<(), AnyError> {
        check_guardrail(report.guardrail.as_ref())?;
        // Whoever stopped a wait knows what it waited for.
        let gate = report.gate.filter(|kind| !(report.stopped && *kind == ErrorKind::SessionNotReady));
        self.check_set_up(gate, report.hint.as_deref())
    }

    /// An address book that was not read, or not to its end, is an error.
    fn check_read(&self, found: &Refresh) -> Result<(), AnyError> {
        check_guardrail(found.guardrail.as_ref())?;
        self.check_set_up(found.gate, found.hint.as_deref())?;
        if let Some(owner) = &found.pushed_by {
            return Err(format!("{owner} holds this instance, so nothing was read; try again when it has ended").into());
        }
        match found.gate {
            Some(kind) => Err(format!("{kind}; {}", words::advice(kind)).into()),
            None if !found.complete => Err("the address book could not be read to its end; try again later".into()),
            None => Ok(()),
        }
    }

    /// A gate that no call of this set-up will open is an error.
    fn check_set_up(&self, gate: Option<ErrorKind>, hint: Option<&str>) -> Result<(), AnyError> {
        let is_set_up = |kind: &ErrorKind| {
            matches!(kind.class(), ErrorClass::Configuration | ErrorClass::Instance | ErrorClass::Contact)
                || matches!(kind, ErrorKind::Connect | ErrorKind::SessionNotReady)
        };
        let Some(kind) = gate.filter(is_set_up) else { return Ok(()) };
        let server = self.args.server().unwrap_or("the stand-in server");
        let instance = self.args.instance.as_ref().map(|id| format!(", instance: {id}")).unwrap_or_default();
        let remedy = hint.map_or_else(|| words::advice(kind).to_owned(), of_the_job);
        Err(format!("{kind}; {remedy} (server: {server}{instance})").into())
    }
}

/// What goes on where a guardrail stops a run.
const GO_ON: &str = "--yes";

/// What is written for people beside the text: a page of what happened, and the rows that cannot be used.
struct Paper {
    page: Option<PathBuf>,
    began: Timestamp,
    pace: Pace,
    log: RunLog,
    refused: Arc<Refused>,
}

impl Paper {
    fn new(args: &Args) -> Self {
        let (began, log, refused) = (Clock::system().now(), RunLog::default(), Refused::new(args.refused.clone()));
        Self { page: args.report.clone(), began, pace: args.pace(), log, refused: Arc::new(refused) }
    }

    fn write(&self, args: &Args, page: Page<'_>) -> Result<(), AnyError> {
        self.write_refused(args)?;
        self.write_page(page)
    }

    fn write_refused(&self, args: &Args) -> Result<(), AnyError> {
        let export = if args.kept.is_some() { None } else { Some(args.crm()) };
        self.refused.write(export, &args.mapping())
    }

    fn write_page(&self, page: Page<'_>) -> Result<(), AnyError> {
        let Some(path) = &self.page else { return Ok(()) };
        let page = page.at(self.began).paced(self.pace).with_log(&self.log).overruled_by(GO_ON).to_string();
        write_whole(path, page.as_bytes()).map_err(|error| format!("the report {}: {error}", path.display()).into())
    }
}

/// Finds out what is true for this server and account.
async fn examine(view: &View, builder: ClientBuilder, write_test: Option<ChatId>) -> Result<u8, AnyError> {
    let doctor = Doctor::new(builder);
    let doctor = match write_test {
        Some(chat) => doctor.write_test(chat),
        None => doctor,
    };
    let diagnosis = doctor.examine().await.map_err(|error| of_the_job(&explain(&error)))?;
    view.diagnosis(&diagnosis);
    Ok(u8::from(!diagnosis.is_well()))
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
        Some(guardrail) => Err(format!("stopped before the first call: {}", words::remedy(guardrail)).into()),
        None => Ok(()),
    }
}

async fn open_ledger(args: &Args) -> Result<Arc<dyn Ledger>, AnyError> {
    Ok(match &args.ledger {
        // A plan leaves no file behind.
        Some(path) if !matches!(args.command, Command::Plan { .. }) || asked::has_ledger(path) => {
            Arc::new(SqliteLedger::open(path).await?)
        }
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
