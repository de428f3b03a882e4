//! (b) Runs in which nothing changed, and (c) first runs, end to end: a CSV export, the sync, a SQLite file.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use wawp_contacts::{
    Client, ContactName, InstanceId, Pace, Sync,
    crm::{self, Csv},
    ledger::{Candidate, Cause, Ledger, Row, Sent, SqliteLedger, Timestamp, Wanted},
    naming::{Funnel, Naming},
    sync::Brakes,
};

use crate::{
    AnyError,
    measure::{Server, Watch, child as measure, median},
};

const INSTANCE: &str = "A1B2C3";

pub(crate) fn all_unchanged() -> Result<(), AnyError> {
    println!("\nunchanged: CSV export -> sync -> SQLite file, nothing to do");
    println!("{:>10} {:>9} {:>8} {:>8} {:>9} {:>9}", "rows", "order", "s", "cpu s", "us/row", "peak MiB");
    for (rows, orders) in [(100_000, &["sorted", "shuffled"]), (1_000_000, &["sorted", "shuffled"])] {
        for order in orders {
            let folder = tempfile::tempdir()?;
            prepare(folder.path(), rows, *order == "shuffled")?;
            let path = folder.path().display().to_string();
            let figure = median((0..3).map(|_| measure(&["unchanged", &path])).collect::<Result<_, _>>()?);
            println!(
                "{rows:>10} {order:>9} {:>8.2} {:>8.2} {:>9.2} {:>9.1}",
                figure.seconds,
                figure.cpu,
                figure.micros(),
                figure.peak_mib
            );
        }
    }
    Ok(())
}

pub(crate) fn all_first() -> Result<(), AnyError> {
    const ROWS: u64 = 100_000;
    println!("\nfirst run: {ROWS} contacts, CSV export -> sync -> SQLite file (durable) -> server");
    println!("{:>9} {:>12} {:>8} {:>12} {:>9}", "in flight", "contacts/s", "s", "us cpu each", "peak MiB");
    for in_flight in ["1", "16", "64"] {
        let server = Server::start(&["0", "0", "0"])?;
        let mut figures = Vec::new();
        for _ in 0..3 {
            let folder = tempfile::tempdir()?;
            write_export(&folder.path().join("crm.csv"), ROWS, false)?;
            figures.push(measure(&["first", &folder.path().display().to_string(), &server.url, in_flight])?);
        }
        let figure = median(figures);
        println!(
            "{in_flight:>9} {:>12.0} {:>8.2} {:>12.1} {:>9.1}",
            figure.rate(),
            figure.seconds,
            figure.micros(),
            figure.peak_mib
        );
    }
    Ok(())
}

pub(crate) fn unchanged(options: &[&str]) -> Result<(), AnyError> {
    let [folder] = options else { return Err("FOLDER".into()) };
    let folder = PathBuf::from(folder);
    runtime()?.block_on(async {
        // Nothing listens there: a run in which nothing changed asks for nothing.
        let sync = sync(&folder, "http://127.0.0.1:9", 1).await?;
        let watch = Watch::start()?;
        let report = sync.run(crm::rows(Csv::new(BufReader::new(File::open(folder.join("crm.csv"))?))?)).await?;
        watch.stop(report.summary.unchanged)?;
        assert_eq!((report.summary.calls, report.summary.refused, report.summary.gated), (0, 0, 0));
        Ok(())
    })
}

pub(crate) fn first(options: &[&str]) -> Result<(), AnyError> {
    let [folder, url, in_flight] = options else { return Err("FOLDER URL IN_FLIGHT".into()) };
    let folder = PathBuf::from(folder);
    runtime()?.block_on(async {
        let sync = sync(&folder, url, in_flight.parse()?).await?;
        let watch = Watch::start()?;
        let report = sync.run(crm::rows(Csv::new(BufReader::new(File::open(folder.join("crm.csv"))?))?)).await?;
        watch.stop(report.summary.created)?;
        assert_eq!(report.summary.created, report.summary.calls);
        Ok(())
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, AnyError> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

async fn sync(folder: &Path, url: &str, in_flight: usize) -> Result<Sync, AnyError> {
    let client = Client::builder(INSTANCE.parse()?, "token").base_url(url).pace(Pace::unlimited()).build()?;
    let ledger = SqliteLedger::open(folder.join("bench.ledger")).await?;
    Ok(Sync::new(Arc::new(client), Arc::new(ledger), naming()?).in_flight(in_flight).brakes(Brakes::released()))
}

fn naming() -> Result<Naming, AnyError> {
    Ok(Naming::new("Lead,Customer,Evangelist=VIP".parse::<Funnel>()?))
}

fn numbers(rows: u64, is_shuffled: bool) -> Vec<u64> {
    let mut numbers: Vec<u64> = (0..rows).collect();
    if is_shuffled {
        fastrand::Rng::with_seed(7).shuffle(&mut numbers);
    }
    numbers
}

fn write_export(path: &Path, rows: u64, is_shuffled: bool) -> Result<(), AnyError> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "id,first_name,last_name,phone,stage,updated_at")?;
    for n in numbers(rows, is_shuffled) {
        writeln!(file, "{n},Robert {n},Miller,+1202{n:07},{},2026-01-02T03:04:05Z", stage(n))?;
    }
    Ok(file.flush()?)
}

fn stage(n: u64) -> &'static str {
    match n % 3 {
        0 => "Lead",
        1 => "Customer",
        _ => "Subscriber",
    }
}

/// Writes an export, and a ledger that already says all of it.
fn prepare(folder: &Path, rows: u64, is_shuffled: bool) -> Result<(), AnyError> {
    write_export(&folder.join("crm.csv"), rows, is_shuffled)?;
    runtime()?.block_on(async {
        let ledger = SqliteLedger::open(folder.join("bench.ledger")).await?;
        let instance: InstanceId = INSTANCE.parse()?;
        let lease = ledger.lease(&instance, Timestamp::now()).await?;
        let naming = naming()?;
        for first in (0..rows).step_by(50_000) {
            let rows = (first..rows.min(first + 50_000)).map(|n| settled(&naming, n)).collect::<Result<Vec<_>, _>>()?;
            ledger.save(&lease, rows, Vec::new()).await?;
        }
        Ok::<_, AnyError>(())
    })?;
    assert!(fs::metadata(folder.join("bench.ledger"))?.len() > rows * 50);
    Ok(())
}

fn settled(naming: &Naming, n: u64) -> Result<Row, AnyError> {
    let rendered = naming.render(&format!("Robert {n}"), "Miller", Some(stage(n)))?;
    let name: ContactName = rendered.name;
    let wanted = Wanted {
        crm_id: n.to_string().into(),
        version: Some(1_767_323_045_000),
        name: name.clone(),
        base: rendered.base,
        tag: rendered.tag,
        rules: naming.version(),
        cause: Cause::New,
        rivals: Box::default(),
    };
    let mut row = Row::from(Candidate { chat: format!("1202{n:07}").parse()?, wanted });
    row.pushed.sent = Some(Sent { name, at: Timestamp(1) });
    Ok(row)
}
