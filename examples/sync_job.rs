//! The sync job: a CRM export reaches the address book.
//!
//! `cargo run --example sync_job` needs no set-up: it reads a sample export, talks to a stand-in server inside the job, and keeps its
//! ledger in `sync_job.ledger`. Run it twice: the second run makes no call. `--help` tells the rest.

#[path = "sync_job/args.rs"]
mod args;
#[path = "sync_job/view.rs"]
mod view;

use std::{
    error::Error,
    fs::File,
    io::BufReader,
    process::{ExitCode, exit},
    sync::Arc,
};

use wawp_contacts::{
    Class, Client, ErrorKind, Sync,
    crm::{self, Csv, JsonLines, Mapping, Rows},
    ledger::{Ledger, MemoryLedger, SqliteLedger},
    naming::Naming,
    sync::{Brakes, SyncError},
    testkit::{Entry, WawpServer},
};

use crate::{
    args::{Args, Command, HELP, env},
    view::View,
};

type AnyError = Box<dyn Error + Send + std::marker::Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let args = match Args::parse() {
        Ok(Some(args)) => args,
        Ok(None) => {
            view::print(HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&format!("{error}; --help shows what there is")),
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
    if let Some(SyncError::Braked(_)) = error.downcast_ref() {
        line += "; look at it with `sync_job plan`, and pass --yes to go on";
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

async fn job(args: &Args) -> Result<u8, AnyError> {
    let view = Arc::new(View::new(args.json));
    let rows = open_crm(args)?;
    let (client, stand_in) = connect(args).await?;
    let ledger = open_ledger(args).await?;
    if let Some(server) = &stand_in {
        seed(server, &*ledger).await?;
        view.say("using the stand-in server inside this job; --base-url or WAWP_BASE_URL names a real one");
    }
    view.begin(args.command.name(), args.base_url.as_deref().unwrap_or("stand-in"));
    let watch = Arc::clone(&view);
    let sync = Sync::new(Arc::new(client), ledger, Naming::new(args.funnel.clone()))
        .in_flight(args.in_flight)
        .patience(args.wait)
        .brakes(if args.yes { Brakes::released() } else { Brakes::default() })
        .observer(move |progress| watch.progress(progress));
    match args.command {
        Command::Plan => {
            let plan = sync.plan(rows).await?;
            view.plan(&plan);
            check_set_up(plan.gate, plan.hint)?;
            Ok(if plan.summary.has_changes() || plan.summary.gated > 0 { 2 } else { 0 })
        }
        Command::Run => {
            let report = sync.run_until(rows, told_to_stop(Arc::clone(&view))).await?;
            view.report(&report);
            check_set_up(report.gate, report.hint)?;
            Ok(if report.summary.needs_person() || report.stopped { 3 } else { 0 })
        }
    }
}

/// A gate that no call will ever open is an error.
fn check_set_up(gate: Option<ErrorKind>, hint: Option<&str>) -> Result<(), AnyError> {
    match gate.filter(|kind| kind.class() == Class::Configuration) {
        Some(kind) => Err(hint.map_or(kind.to_string(), |hint| format!("{kind}; {hint}")).into()),
        None => Ok(()),
    }
}

type CrmRows = Rows<Box<dyn Iterator<Item = Result<crm::CrmContact, crm::RowError>> + Send>>;

fn open_crm(args: &Args) -> Result<CrmRows, AnyError> {
    let path = &args.crm;
    let file = File::open(path).map_err(|error| format!("cannot open the CRM export {}: {error}", path.display()))?;
    let mut mapping = Mapping::new();
    if let Some(region) = args.region {
        mapping = mapping.region(region);
    }
    let is_json = path.extension().is_some_and(|ending| ["json", "jsonl", "ndjson"].iter().any(|json| ending == *json));
    let input = BufReader::new(file);
    Ok(crm::rows(if is_json {
        Box::new(JsonLines::with_mapping(input, &mapping)) as Box<dyn Iterator<Item = _> + Send>
    } else {
        Box::new(Csv::with_mapping(input, &mapping).map_err(|error| format!("{}: {error}", path.display()))?)
    }))
}

async fn open_ledger(args: &Args) -> Result<Arc<dyn Ledger>, AnyError> {
    Ok(match &args.ledger {
        // A plan leaves no file behind.
        Some(path) if args.command == Command::Run || path.exists() => Arc::new(SqliteLedger::open(path).await?),
        _ => Arc::new(MemoryLedger::default()),
    })
}

/// A client of the server that was named, or of a stand-in server, which lives as long as what comes with it.
async fn connect(args: &Args) -> Result<(Client, Option<WawpServer>), AnyError> {
    if let Some(url) = &args.base_url {
        let instance = args.instance.clone().ok_or("name the instance with --instance or WAWP_INSTANCE_ID")?;
        let token = env("WAWP_ACCESS_TOKEN").ok_or("set WAWP_ACCESS_TOKEN to the access token of the instance")?;
        return Ok((Client::builder(instance, token).base_url(url).pace(args.pace()).build()?, None));
    }
    // A ledger must never take what a stand-in acknowledged for what Wawp did.
    let instance = args.instance.as_ref().map_or("stand-in".into(), |id| format!("stand-in:{id}"));
    let server = WawpServer::start_as(instance.parse()?).await;
    let client = Client::builder(server.instance().clone(), server.token()).base_url(server.url());
    Ok((client.pace(args.pace()).build()?, Some(server)))
}

/// Lets the stand-in's address book start from what the ledger calls sent, so that a second run is truthful.
async fn seed(server: &WawpServer, ledger: &dyn Ledger) -> Result<(), AnyError> {
    let mut after = None;
    loop {
        let rows = ledger.rows(server.instance(), after.as_ref(), 1_000).await?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = Some(last.chat.clone());
        let sent = rows.iter().filter_map(|row| Some(Entry::saved(&row.chat, &row.pushed.sent.as_ref()?.name)));
        server.seed(sent.collect::<Vec<_>>());
    }
}

/// Completes at the first Ctrl-C; the second leaves at once, which loses nothing: what is in flight is in doubt in the ledger.
async fn told_to_stop(view: Arc<View>) {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            view.close();
            view::complain("left at once; what was in flight is repeated by the next run");
            exit(130);
        }
    });
}
