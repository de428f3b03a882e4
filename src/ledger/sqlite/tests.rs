//! What only shows from within: the connection's own counters, its limits and its migrations.

use super::{
    file::{migrate, prepare},
    schema::{APPLICATION_ID, FIRST_VERSION, STEPS},
    *,
};
use crate::{
    crm::{CrmContact, RowDigest},
    ledger::{Incoming, Tally, Verdict},
    record::{Claim, Held, Seen, Status},
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const TTL: Duration = Duration::from_secs(60);

struct InFile {
    ledger: SqliteLedger,
    instance: InstanceId,
    _folder: tempfile::TempDir,
}

impl InFile {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ledger = SqliteLedger::open(folder.path().join("contacts.ledger")).await.unwrap();
        Self { ledger, instance: "one".parse().unwrap(), _folder: folder }
    }

    fn connection(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.ledger.file.connection.lock().unwrap()
    }

    fn number(&self, sql: &str) -> i64 {
        self.connection().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    async fn store(&self, numbers: std::ops::Range<usize>) -> Result<Vec<usize>, LedgerError> {
        self.ledger.commit(&self.instance, None, numbers.map(|number| settled(number).into()).collect()).await
    }

    async fn everything(&self) -> Vec<Record> {
        self.ledger.fetch(&self.instance, Query::All { after: None, limit: usize::MAX }).await.unwrap()
    }
}

fn chat(number: usize) -> ChatId {
    format!("1555{number:07}@c.us").parse().unwrap()
}

fn digest() -> RowDigest {
    RowDigest::from_bytes([1; 16])
}

/// A contact that its row finds unchanged.
fn settled(number: usize) -> Record {
    let mut record = Record::new(chat(number));
    record.claims.push(Claim::new(number.to_string(), Some(1), digest(), None));
    record
}

fn row(number: usize) -> Incoming {
    Incoming { contact: CrmContact::new(number.to_string(), chat(number)), digest: digest() }
}

fn rows(numbers: impl Iterator<Item = usize>) -> Arc<[Incoming]> {
    numbers.map(row).collect()
}

#[tokio::test]
async fn the_connection_is_durable_and_shared() {
    let file = InFile::open().await;
    for (pragma, value) in [
        ("synchronous", 2),
        ("fullfsync", 1),
        ("checkpoint_fullfsync", 1),
        ("busy_timeout", 20_000),
        ("user_version", 3),
    ] {
        assert_eq!(file.number(&format!("PRAGMA {pragma}")), value, "{pragma}");
    }
    for (pragma, value) in [("journal_mode", "wal"), ("locking_mode", "normal")] {
        let found: String = file.connection().query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0)).unwrap();
        assert_eq!(found, value, "{pragma}");
    }
}

#[tokio::test]
async fn unchanged_rows_are_never_written() -> Outcome {
    let file = InFile::open().await;
    file.store(0..300).await?;
    let before = file.number("PRAGMA data_version");
    let mut session = file.ledger.diff(&file.instance).await?;
    let verdicts = session.compare(rows(0..300)).await?;
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Unchanged));
    assert_eq!(session.apply().await?, []);
    assert_eq!(file.number("PRAGMA data_version"), before, "another connection changed the file");
    Ok(())
}

#[tokio::test]
async fn what_is_due_follows_each_change_of_the_status() -> Outcome {
    let file = InFile::open().await;
    file.store(0..1).await?;
    let mut record = Record { revision: 1, ..settled(0) };
    let due = |at| Status::Due { at: Timestamp(at) };
    for status in [Status::InSync, due(5), due(5), due(6), Status::InSync, due(u64::MAX)] {
        record.status = status;
        file.ledger.commit(&file.instance, None, vec![record.clone().into()]).await?;
        record.revision += 1;
        let due = file.ledger.fetch(&file.instance, Query::Due { by: Timestamp::MAX, limit: 9 }).await?;
        assert_eq!(due.first(), status.due_at().map(|_| &record));
    }
    Ok(())
}

#[tokio::test]
async fn the_queries_of_every_loop_are_served_by_an_index() {
    let file = InFile::open().await;
    let plans = [
        (
            "SELECT id FROM contact INDEXED BY contact_due WHERE instance = 1 AND at <= 5 ORDER BY at, id LIMIT 9",
            "contact_due",
        ),
        ("SELECT count(*) FROM contact WHERE instance = 1", "COVERING INDEX sqlite_autoindex_contact_1"),
        (
            "SELECT state, known, count(*) FROM contact INDEXED BY contact_open WHERE instance = 1 \
             AND (state <> 'in_sync' OR known = 0) GROUP BY state, known",
            "COVERING INDEX contact_open",
        ),
        (
            "SELECT body, revision FROM contact INDEXED BY contact_by_hand WHERE instance = 1 AND chat > 'a' \
             AND instr(body, '\"held\":{') > 0 AND json_extract(body, '$.held') IS NOT NULL ORDER BY chat LIMIT 9",
            "INDEX contact_by_hand",
        ),
        (
            "SELECT crm_id, arrival, digest, contact FROM claim INDEXED BY claim_arrival WHERE instance = 1 \
             AND arrival > 5 ORDER BY arrival",
            "COVERING INDEX claim_arrival",
        ),
        ("SELECT arrival, digest, contact FROM claim WHERE instance = 1 AND crm_id = 'a'", "PRIMARY KEY"),
    ];
    for (sql, served_by) in plans {
        let connection = file.connection();
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps: Vec<String> = plan.query_map([], |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
        assert!(steps[0].contains(served_by), "{sql}: {steps:?}");
        assert!(steps.iter().all(|step| !step.contains("FOR ORDER BY")), "{sql}: {steps:?}");
    }
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_heals() -> Outcome {
    let file = InFile::open().await;
    file.store(0..50).await?;
    let room = file.number("PRAGMA page_count") + 2;
    file.number(&format!("PRAGMA max_page_count = {room}"));
    let before = (file.everything().await, file.ledger.counts(&file.instance).await?);

    let error = file.store(50..900).await.unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::Full);
    assert!(error.to_string().contains("contacts.ledger"), "{error}");
    assert_eq!((file.everything().await, file.ledger.counts(&file.instance).await?), before);

    file.number("PRAGMA max_page_count = 100000");
    file.store(50..900).await?;
    assert_eq!(file.ledger.counts(&file.instance).await?.records, 900);
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_read_is_damaged_and_names_the_file() -> Outcome {
    let file = InFile::open().await;
    for damage in ["body = '{'", "body = '{}'", "body = replace(body, '@c.us', '@g.us')", "body = cast(x'ff' AS TEXT)"]
    {
        file.store(0..1).await?;
        file.connection().execute_batch(&format!("UPDATE contact SET {damage}"))?;
        let calls = [
            file.ledger.fetch(&file.instance, Query::Chats(&[chat(0)])).await.map(|_| ()),
            file.ledger.diff(&file.instance).await?.find(&[chat(0)]).await.map(|_| ()),
            file.ledger
                .commit(&file.instance, None, vec![Record { revision: 1, ..settled(0) }.into()])
                .await
                .map(|_| ()),
        ];
        for (nth, answer) in calls.into_iter().enumerate() {
            // A write reads of the old record only what it needs.
            if let Err(error) = answer {
                assert_eq!(error.kind(), LedgerErrorKind::Damaged, "{damage}");
                assert!(error.to_string().contains("contacts.ledger"), "{error}");
            } else {
                assert_eq!(nth, 2, "{damage}");
            }
        }
        file.connection().execute_batch("DELETE FROM contact; DELETE FROM claim")?;
    }
    Ok(())
}

#[tokio::test]
async fn a_damaged_page_is_damaged() -> Outcome {
    let file = InFile::open().await;
    file.store(0..2_000).await?;
    file.number("PRAGMA wal_checkpoint(TRUNCATE)");
    let path = file.ledger.file.place.path.clone();
    let mut bytes = std::fs::read(&path)?;
    for page in bytes.chunks_mut(4096).skip(12) {
        page[..64].fill(0xff);
    }
    let copy = path.with_extension("copy");
    std::fs::write(&copy, bytes)?;
    let ledger = SqliteLedger::open(&copy).await?;
    let error = ledger.fetch(&file.instance, Query::All { after: None, limit: usize::MAX }).await.unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::Damaged, "{error}");
    Ok(())
}

#[tokio::test]
async fn a_write_that_is_not_allowed_says_so() -> Outcome {
    let file = InFile::open().await;
    file.connection().execute_batch("PRAGMA query_only = 1")?;
    assert_eq!(file.store(0..1).await.unwrap_err().kind(), LedgerErrorKind::ReadOnly);
    Ok(())
}

#[tokio::test]
async fn whoever_waits_for_too_long_is_told_that_the_file_is_busy() -> Outcome {
    let file = InFile::open().await;
    file.connection().busy_timeout(Duration::from_millis(50))?;
    let other = Connection::open(&file.ledger.file.place.path)?;
    other.execute_batch("BEGIN IMMEDIATE")?;
    let error = file.store(0..1).await.unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::Busy);
    assert!(error.to_string().contains("another process is writing the ledger"), "{error}");
    assert_eq!(file.everything().await, [], "reading goes on");
    other.execute_batch("COMMIT")?;
    assert_eq!(file.store(0..1).await?, [] as [usize; 0]);
    Ok(())
}

#[tokio::test]
async fn bytes_that_cannot_be_erased_are_told_and_erased_by_the_next_try() -> Outcome {
    let file = InFile::open().await;
    file.store(0..3).await?;
    file.connection().busy_timeout(Duration::from_millis(50))?;
    let path = &file.ledger.file.place.path;
    let digits = chat(1).to_string();
    let holds = || -> Result<bool, std::io::Error> {
        let bytes = [std::fs::read(path)?, std::fs::read(format!("{}-wal", path.display()))?].concat();
        Ok(bytes.windows(digits.len()).any(|part| part == digits.as_bytes()))
    };
    let reader = Connection::open(path)?;
    reader.execute_batch("BEGIN; SELECT count(*) FROM contact")?;
    let error = file.ledger.forget(&file.instance, &Record { revision: 1, ..settled(1) }).await.unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::Busy);
    assert!(error.to_string().contains("the person is forgotten, but"), "{error}");
    assert!(file.ledger.fetch(&file.instance, Query::Chats(&[chat(1)])).await?.is_empty() && holds()?);
    reader.execute_batch("COMMIT")?;
    assert!(file.ledger.forget(&file.instance, &Record::new(chat(1))).await? && !holds()?);
    Ok(())
}

#[tokio::test]
async fn a_comparison_that_failed_stores_nothing() -> Outcome {
    let file = InFile::open().await;
    let mut session = file.ledger.diff(&file.instance).await?;
    session.stage(vec![settled(0).into()]).await?;
    file.store(1..2).await?;
    file.connection().execute_batch("UPDATE contact SET body = '{'")?;
    assert!(session.find(&[chat(1)]).await.is_err());
    for answer in [session.tally().await.map(|_| ()), session.apply().await.map(|_| ())] {
        assert_eq!(answer.unwrap_err().kind(), LedgerErrorKind::Unavailable);
    }
    assert_eq!(file.number("SELECT count(*) FROM contact"), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_lease_goes_by_the_ledgers_clock_even_if_its_holder_lives() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("contacts.ledger");
    let clock = Clock::starting_at(Timestamp(1_000));
    let ledger = SqliteLedger::open_with_clock(&path, clock.clone()).await?;
    let instance: InstanceId = "one".parse()?;
    let hung = ledger.acquire(&instance, "first", TTL).await?;
    clock.shift(59_999);
    let error = ledger.acquire(&instance, "second", TTL).await.unwrap_err();
    assert!(error.to_string().contains("first is writing") && error.to_string().contains("1 s"), "{error}");
    clock.shift(1);
    let second = ledger.acquire(&instance, "second", TTL).await?;
    // Each of them holds a lock of its own, so that the end of one says nothing of the other.
    drop(hung);
    assert!(ledger.acquire(&instance, "third", TTL).await.is_err());
    drop(second);
    assert_eq!(ledger.acquire(&instance, "third", TTL).await?.fence, 3);
    let lease = ledger.acquire(&"two".parse()?, "first", TTL).await?;
    ledger.release(lease).await?;
    assert_eq!(ledger.state(&"two".parse()?).await?.released_at, Some(clock.now()));
    Ok(())
}

#[tokio::test]
async fn who_is_held_by_hand_is_told_from_who_was_joined_with_such_a_one_and_from_texts() -> Outcome {
    let file = InFile::open().await;
    let held = Record { held: Some(Held { since: Timestamp(5) }), ..settled(0) };
    let joined = Record { joined: vec![Box::new(Record { claims: Vec::new(), ..held.clone() })], ..settled(1) };
    let seen = Record { seen: Some(Seen::new(Some("\"held\":{\"since\":5}".into()), Timestamp(5))), ..settled(2) };
    let stored = [held, joined, seen].map(Write::from).to_vec();
    assert_eq!(file.ledger.commit(&file.instance, None, stored).await?, [0; 0]);
    let found = file.ledger.fetch(&file.instance, Query::ByHand { after: None, limit: 9 }).await?;
    assert_eq!(found.iter().map(|record| &record.chat).collect::<Vec<_>>(), [&settled(0).chat]);
    Ok(())
}

#[tokio::test]
async fn counts_of_claims_survive_what_is_deleted() -> Outcome {
    let file = InFile::open().await;
    file.store(0..3).await?;
    let without = Record { revision: 1, claims: Vec::new(), ..settled(2) };
    let mut session = file.ledger.diff(&file.instance).await?;
    session.compare(rows(2..3)).await?;
    file.ledger.commit(&file.instance, None, vec![without.into()]).await?;
    // The new claim does not get the number of the one that is gone, which was met.
    file.store(3..4).await?;
    assert!(matches!(&session.compare(rows(3..4)).await?[..], [Verdict::Unchanged]));
    assert_eq!(session.tally().await?, Tally { claims: 3, met: 1, unchanged: 1, staged: 0 });
    assert_eq!(session.absent(9).await?.len(), 2);
    Ok(())
}

fn version(connection: &Connection) -> i64 {
    connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

#[test]
fn an_older_file_takes_the_steps_that_it_lacks() -> Outcome {
    let mut connection = Connection::open_in_memory()?;
    let steps = ["CREATE TABLE a (n)", "INSERT INTO a VALUES (1)", "INSERT INTO a VALUES (2)"];
    for (known, sum) in [(1, 0), (1, 0), (2, 1), (3, 3), (3, 3)] {
        migrate(&mut connection, &steps[..known]).unwrap();
        let found: i64 = connection.query_row("SELECT coalesce(sum(n), 0) FROM a", [], |row| row.get(0))?;
        assert_eq!(found, sum);
        assert_eq!(version(&connection), FIRST_VERSION - 1 + i64::try_from(known)?);
    }
    Ok(())
}

#[tokio::test]
async fn a_ledger_in_use_takes_the_step_of_a_later_version() -> Outcome {
    let file = InFile::open().await;
    file.store(0..30).await?;
    let step = "ALTER TABLE contact ADD COLUMN pretend INTEGER NOT NULL DEFAULT 7";
    let later: Vec<&str> = STEPS.iter().copied().chain([step]).collect();
    let mut other = Connection::open(&file.ledger.file.place.path)?;
    prepare(&mut other, &later).unwrap();
    assert_eq!(version(&other), FIRST_VERSION - 1 + i64::try_from(later.len())?);
    let sum: i64 = other.query_row("SELECT sum(pretend) FROM contact", [], |row| row.get(0))?;
    assert_eq!(sum, 7 * 30);
    // This version does not open it any more.
    let error = SqliteLedger::open(&file.ledger.file.place.path).await.unwrap_err();
    assert_eq!(error.kind(), LedgerErrorKind::Version);
    Ok(())
}

#[test]
fn a_step_that_fails_leaves_the_file_at_its_version() -> Outcome {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection, &["CREATE TABLE a (n)"]).unwrap();
    let broken = ["", "INSERT INTO a VALUES (1)", "INSERT INTO nothing VALUES (1)"];
    assert!(matches!(migrate(&mut connection, &broken), Err(Fault::Sqlite(_))));
    let left: i64 = connection.query_row("SELECT count(*) FROM a", [], |row| row.get(0))?;
    assert_eq!((left, version(&connection)), (0, FIRST_VERSION));
    Ok(())
}

#[test]
fn a_version_that_is_not_known_is_refused_with_both_numbers() -> Outcome {
    for (found, word) in [(7, "version 7"), (1, "unpublished"), (2, "unpublished")] {
        let mut connection = Connection::open_in_memory()?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
        connection.pragma_update(None, "user_version", found)?;
        let error = prepare(&mut connection, STEPS).unwrap_err().explain("contacts.ledger");
        assert_eq!(error.kind(), LedgerErrorKind::Version);
        assert!(error.to_string().contains(word), "{error}");
    }
    Ok(())
}
