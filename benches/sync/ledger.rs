//! (b) Runs in which nothing changed, and (c) first runs, end to end: a CSV export, the sync, a SQLite file.
//!
//! The floor beside (b), in the same run: a bare `csv` reader that walks a SQLite table of CRM id and hash in the order of the first
//! import. Phones are in no order, CRM ids in the order of the first import, names in ASCII or in twelve scripts.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use wawp_contacts::{
    Client, ContactSync, InstanceId, Pace,
    crm::{self, CrmContact, Csv},
    ledger::{Ledger, SqliteLedger, Write as LedgerWrite},
    naming::{Funnel, Naming},
    record::{Claim, Event, Policy, Record, Wish, decide},
    sync::{Guardrail, Guardrails, LookFirst},
    time::Timestamp,
};

use crate::{
    AnyError,
    measure::{Figure, Server, Watch, child as measure, median},
    names::SCRIPTS,
};

const INSTANCE: &str = "A1B2C3";
const ROUNDS: usize = 3;

/// The order of an export: as imported; the same with 2 % of its rows new, gone and changed; by phone; in none.
const ORDERS: [&str; 4] = ["imported", "churned", "by-phone", "shuffled"];

pub(crate) fn all_unchanged() -> Result<(), AnyError> {
    println!("\nunchanged: CSV export -> sync -> SQLite file; floor: csv reader that walks a table of id and hash");
    println!(
        "{:>8} {:>8} {:>9} {:>8} {:>8} {:>9} {:>9} {:>8} {:>8}",
        "rows", "names", "order", "s", "cpu s", "us/row", "peak MiB", "floor s", "x floor"
    );
    for (rows, names, orders) in
        [(100_000, "scripts", &ORDERS[..1]), (1_000_000, "ascii", &ORDERS[..]), (1_000_000, "scripts", &ORDERS[..])]
    {
        let folder = tempfile::tempdir()?;
        prepare(folder.path(), rows, names)?;
        for order in orders {
            write_export(&folder.path().join("crm.csv"), rows, names, order)?;
            let path = folder.path().display().to_string();
            let (mut ours, mut floor) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                floor.push(measure(&["floor", &path])?);
                ours.push(measure(&["unchanged", &path, order])?);
            }
            print_beside(rows, names, order, &median(ours), &median(floor));
        }
    }
    Ok(())
}

fn print_beside(rows: u64, names: &str, order: &str, ours: &Figure, floor: &Figure) {
    println!(
        "{rows:>8} {names:>8} {order:>9} {:>8.2} {:>8.2} {:>9.2} {:>9.1} {:>8.2} {:>8.1}",
        ours.seconds,
        ours.cpu,
        ours.micros(),
        ours.peak_mib,
        floor.seconds,
        ours.seconds / floor.seconds
    );
}

pub(crate) fn all_first() -> Result<(), AnyError> {
    const ROWS: u64 = 100_000;
    println!("\nfirst run: {ROWS} contacts, CSV export -> sync -> SQLite file (durable) -> server");
    println!("{:>9} {:>12} {:>8} {:>12} {:>9}", "in flight", "contacts/s", "s", "us cpu each", "peak MiB");
    for in_flight in ["1", "16", "64"] {
        let server = Server::start(&["0", "0", "0"])?;
        let mut figures = Vec::new();
        for _ in 0..ROUNDS {
            let folder = tempfile::tempdir()?;
            write_export(&folder.path().join("crm.csv"), ROWS, "ascii", "imported")?;
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
    let [folder, order] = options else { return Err("FOLDER ORDER".into()) };
    let folder = PathBuf::from(folder);
    runtime()?.block_on(async {
        // Nothing listens there: a run in which nothing changed asks for nothing.
        let sync = sync(&folder, "http://127.0.0.1:9", 1).await?;
        let rows = Csv::new(BufReader::new(File::open(folder.join("crm.csv"))?))?;
        let watch = Watch::start()?;
        if *order == "churned" {
            // What changed is weighed, and stopped by a guardrail, so that each round finds the same.
            let strict = Guardrails::default().max_renamed_share(0.0).free_renames(0);
            let sync = sync.guardrails(strict).look_first(LookFirst::Never);
            let report = sync.run(crm::snapshot(rows)).await?;
            assert!(matches!(report.guardrail, Some(Guardrail::ManyRenames { .. })), "{report}");
            return watch.stop(report.summary.unchanged);
        }
        let report = sync.run(crm::snapshot(rows)).await?;
        watch.stop(report.summary.unchanged)?;
        assert_eq!((report.summary.calls, report.summary.refused, report.summary.gated), (0, 0, 0));
        Ok(())
    })
}

/// The least that telling changes by needs: every row read, and its id and hash found where they were last time.
pub(crate) fn floor(options: &[&str]) -> Result<(), AnyError> {
    let [folder] = options else { return Err("FOLDER".into()) };
    let folder = PathBuf::from(folder);
    let watch = Watch::start()?;
    let table = Connection::open(folder.join("floor.sqlite"))?;
    let mut walk = table.prepare("SELECT id, hash FROM row ORDER BY rowid")?;
    let mut stored = walk.query([])?;
    let mut reader = csv::Reader::from_path(folder.join("crm.csv"))?;
    let (mut record, mut rows, mut same) = (csv::ByteRecord::new(), 0, 0_u64);
    while reader.read_byte_record(&mut record)? {
        rows += 1;
        let hash = fnv(record.as_slice());
        if let Some(row) = stored.next()? {
            let is_same = row.get_ref(0)?.as_bytes()? == &record[0] && row.get_ref(1)?.as_i64()? == hash;
            same += u64::from(is_same);
        }
    }
    watch.stop(rows)?;
    assert!(same <= rows);
    Ok(())
}

/// A hash that costs next to nothing; what it is good for does not matter here.
fn fnv(bytes: &[u8]) -> i64 {
    let mut words = bytes.chunks_exact(8);
    let mut hash = words.by_ref().fold(0xcbf2_9ce4_8422_2325_u64, |hash, word| {
        let word = word.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        (hash ^ word).wrapping_mul(0x0100_0000_01b3)
    });
    for byte in words.remainder() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash.cast_signed()
}

pub(crate) fn first(options: &[&str]) -> Result<(), AnyError> {
    let [folder, url, in_flight] = options else { return Err("FOLDER URL IN_FLIGHT".into()) };
    let folder = PathBuf::from(folder);
    runtime()?.block_on(async {
        let sync = sync(&folder, url, in_flight.parse()?).await?;
        let rows = Csv::new(BufReader::new(File::open(folder.join("crm.csv"))?))?;
        let watch = Watch::start()?;
        let report = sync.run(crm::snapshot(rows)).await?;
        watch.stop(report.summary.created)?;
        assert_eq!(report.summary.created, report.summary.calls);
        Ok(())
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, AnyError> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

async fn sync(folder: &Path, url: &str, in_flight: usize) -> Result<ContactSync, AnyError> {
    let client = Client::builder(INSTANCE.parse()?, "token").base_url(url).pace(Pace::unlimited()).build()?;
    let ledger = SqliteLedger::open(folder.join("bench.ledger")).await?;
    Ok(ContactSync::new(client, ledger, naming()?).in_flight(in_flight).guardrails(Guardrails::off()).canary(None))
}

fn naming() -> Result<Naming, AnyError> {
    Ok(Naming::new("Lead,Customer,Evangelist=VIP".parse::<Funnel>()?))
}

/// A row by its number: CRM ids grow, phones are in no order.
struct Row {
    id: u64,
    first: String,
    last: String,
    phone: u64,
    stage: &'static str,
}

impl Row {
    fn new(n: u64, names: &str, is_changed: bool) -> Self {
        let script = usize::try_from(n % 12).unwrap_or_default();
        let (first, last) = if names == "ascii" { ("Robert", "Miller") } else { SCRIPTS[script] };
        let stages = ["Lead", "Customer", "Evangelist"];
        let stage = usize::try_from((n + u64::from(is_changed)) % 3).unwrap_or_default();
        // 7,919 and the number of phones have no common divisor, so each comes once.
        let phone = 49_150_000_000 + n * 7_919 % 999_999_937;
        Self { id: 1_000_000 + n, first: format!("{first} {n}"), last: last.into(), phone, stage: stages[stage] }
    }

    fn contact(&self) -> Result<CrmContact, AnyError> {
        let contact = CrmContact::new(self.id.to_string(), format!("+{}", self.phone).parse()?);
        Ok(contact.named(&self.first, &self.last).in_stage(self.stage).at_version(1_767_323_045_000))
    }
}

fn rows(count: u64, names: &str, order: &str) -> Vec<Row> {
    let is_churned = order == "churned";
    let kept = (0..count).filter(|n| !is_churned || n % 50 != 7);
    let mut rows: Vec<Row> = kept.map(|n| Row::new(n, names, is_churned && n % 50 == 11)).collect();
    match order {
        "by-phone" => rows.sort_by_key(|row| row.phone),
        "shuffled" => fastrand::Rng::with_seed(7).shuffle(&mut rows),
        "churned" => rows.extend((count..count + count / 50).map(|n| Row::new(n, names, false))),
        _ => {}
    }
    rows
}

fn write_export(path: &Path, count: u64, names: &str, order: &str) -> Result<(), AnyError> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "id,first_name,last_name,phone,stage,updated_at")?;
    for Row { id, first, last, phone, stage } in rows(count, names, order) {
        writeln!(file, "{id},{first},{last},+{phone},{stage},2026-01-02T03:04:05Z")?;
    }
    Ok(file.flush()?)
}

/// Writes a ledger that already says all of an export, in the order of its rows, and the table of the floor.
fn prepare(folder: &Path, count: u64, names: &str) -> Result<(), AnyError> {
    runtime()?.block_on(async {
        let ledger = SqliteLedger::open(folder.join("bench.ledger")).await?;
        let (instance, naming): (InstanceId, _) = (INSTANCE.parse()?, naming()?);
        for chunk in rows(count, names, "imported").chunks(50_000) {
            let writes = chunk.iter().map(|row| settled(&naming, row)).collect::<Result<Vec<_>, _>>()?;
            let lost = ledger.commit(&instance, None, writes).await?;
            assert!(lost.is_empty());
        }
        Ok::<_, AnyError>(())
    })?;
    assert!(fs::metadata(folder.join("bench.ledger"))?.len() > count * 50);
    let mut table = Connection::open(folder.join("floor.sqlite"))?;
    let transaction = table.transaction()?;
    transaction.execute("CREATE TABLE row (id TEXT NOT NULL, hash INTEGER NOT NULL)", [])?;
    for n in 0..count {
        transaction.execute("INSERT INTO row VALUES (?1, ?2)", (Row::new(n, names, false).id.to_string(), 0))?;
    }
    Ok(transaction.commit()?)
}

/// Writes what a profiler needs to run one measurement by itself.
pub(crate) fn prepared(options: &[&str]) -> Result<(), AnyError> {
    let [folder, rows, names] = options else { return Err("FOLDER ROWS NAMES".into()) };
    prepare(Path::new(folder), rows.parse()?, names)?;
    for order in ORDERS {
        write_export(&Path::new(folder).join(order), rows.parse()?, names, order)?;
    }
    Ok(())
}

fn settled(naming: &Naming, row: &Row) -> Result<LedgerWrite, AnyError> {
    let (now, policy, contact) = (Timestamp(1_767_323_045_000), Policy::default(), row.contact()?);
    let rendered = naming.render(&contact.first, &contact.last, contact.stage.as_deref())?;
    let wish = Wish::rendered(rendered, naming.fingerprint());
    let digest = contact.digest(naming.fingerprint());
    let claim = Claim::new(contact.id.as_str(), contact.version, digest, Some(wish));
    let mut record = Record::new(contact.chat);
    for event in [Event::Claimed { claim, urgent: false }, Event::Begin { run: 1 }, Event::Acknowledged] {
        record = decide(&record, event, &policy, now).record;
    }
    Ok(record.into())
}
