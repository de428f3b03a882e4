use std::{
    fs,
    io::{BufRead as _, BufReader},
    ops::Deref,
    path::Path,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use wawp_contacts::{
    ledger::{
        Candidate, Cause, Lease, Ledger, LedgerError, LedgerErrorKind, MemoryLedger, Overwritten, Row, Sent,
        SqliteLedger, Timestamp, Wanted,
    },
    ledger_contract,
};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

ledger_contract!(memory, Box::new(MemoryLedger::default()));
ledger_contract!(sqlite_in_memory, Box::new(SqliteLedger::in_memory()?));
ledger_contract!(sqlite_in_a_file, InFile::open().await?);

/// A ledger in a folder that goes when it goes.
struct InFile {
    ledger: SqliteLedger,
    _folder: TempDir,
}

impl InFile {
    async fn open() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let ledger = SqliteLedger::open(folder.path().join("contacts.ledger")).await?;
        Ok(Self { ledger, _folder: folder })
    }
}

impl Deref for InFile {
    type Target = SqliteLedger;

    fn deref(&self) -> &SqliteLedger {
        &self.ledger
    }
}

#[tokio::test]
async fn a_reopened_file_has_everything() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("contacts.ledger");
    let ledger = SqliteLedger::open(&path).await?;
    let lease = ledger.lease(&"one".parse()?, Timestamp(1)).await?;
    let row = row(1)?;
    let entry = Overwritten {
        chat: row.chat.clone(),
        text: "Ada from work".into(),
        by: row.wanted.name.clone(),
        at: Timestamp(2),
    };
    ledger.save(&lease, vec![row], vec![entry.clone()]).await?;
    ledger.close_until(&lease, Timestamp(9)).await?;
    ledger.end(&lease, Timestamp(3), "{}").await?;
    let (rows, runs) = (ledger.rows(&lease.instance, None, 9).await?, ledger.runs(&lease.instance, 9).await?);
    let counts = ledger.counts(&lease.instance).await?;
    drop(ledger);

    let ledger = SqliteLedger::open(&path).await?;
    assert_eq!(ledger.rows(&lease.instance, None, 9).await?, rows);
    assert_eq!(ledger.runs(&lease.instance, 9).await?, runs);
    assert_eq!(ledger.counts(&lease.instance).await?, counts);
    assert_eq!(ledger.history(&lease.instance, &entry.chat).await?, [entry]);
    assert_eq!(ledger.closed_until(&lease.instance).await?, Timestamp(9));
    assert_eq!(ledger.lease(&lease.instance, Timestamp(4)).await?.fence, lease.fence + 1);
    Ok(())
}

#[tokio::test]
async fn every_call_can_be_spawned() -> Outcome {
    let folder = tempfile::tempdir()?;
    let ledger = tokio::spawn(SqliteLedger::open(folder.path().join("contacts.ledger"))).await??;
    let lease = tokio::spawn(async move { ledger.lease(&"one".parse()?, Timestamp(1)).await.map_err(Into::into) });
    let lease: Outcome<Lease> = lease.await?;
    assert_eq!(lease?.fence, 1);
    Ok(())
}

#[tokio::test]
async fn a_file_of_somebody_else_is_refused_and_left_alone() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("precious");
    let database = |journal: &str| -> Outcome {
        let other = rusqlite::Connection::open(&path)?;
        other.execute_batch(&format!(
            "PRAGMA journal_mode = {journal}; CREATE TABLE theirs (n); PRAGMA user_version = 1"
        ))?;
        Ok(())
    };
    let makers: [&dyn Fn() -> Outcome; 5] = [
        &|| Ok(fs::write(&path, "id,first_name\n1,Ada\n")?),
        &|| Ok(fs::write(&path, "x".repeat(100_000))?),
        &|| Ok(fs::write(&path, b"SQLite format 3\0 but no more than that")?),
        &|| database("DELETE"),
        &|| database("WAL"),
    ];
    for make in makers {
        make()?;
        let before = fs::read(&path)?;
        let error = refusal(&path).await?;
        assert_eq!(error.kind(), LedgerErrorKind::Damaged, "{error}");
        assert!(error.to_string().contains("precious is not a ledger"), "{error}");
        assert!(fs::read(&path)? == before, "the file was touched");
        assert_eq!(fs::read_dir(folder.path())?.count(), 1, "a file was left beside it");
        fs::remove_file(&path)?;
    }
    Ok(())
}

#[tokio::test]
async fn an_empty_file_becomes_a_ledger() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("100% new?#.ledger");
    fs::write(&path, "")?;
    drop(SqliteLedger::open(&path).await?);
    drop(SqliteLedger::open(&path).await?);
    assert!(fs::read(&path)?.starts_with(b"SQLite format 3\0"));
    Ok(())
}

#[tokio::test]
async fn a_newer_file_is_refused_by_name_and_left_alone() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("contacts.ledger");
    drop(SqliteLedger::open(&path).await?);
    rusqlite::Connection::open(&path)?.execute_batch("PRAGMA user_version = 99")?;
    let before = fs::read(&path)?;
    let error = refusal(&path).await?;
    assert_eq!(error.kind(), LedgerErrorKind::Newer);
    assert!(error.to_string().contains("contacts.ledger has version 99"), "{error}");
    assert!(fs::read(&path)? == before, "the file was touched");
    Ok(())
}

#[tokio::test]
async fn a_path_that_cannot_be_a_file_is_unavailable() -> Outcome {
    let folder = tempfile::tempdir()?;
    for path in [folder.path().to_owned(), folder.path().join("missing/contacts.ledger")] {
        let error = refusal(&path).await?;
        assert_eq!(error.kind(), LedgerErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
        assert_eq!(fs::read_dir(folder.path())?.count(), 0);
    }
    Ok(())
}

#[tokio::test]
async fn a_ledger_that_is_open_is_in_use_until_it_is_dropped() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("contacts.ledger");
    let ledger = SqliteLedger::open(&path).await?;
    for _ in 0..2 {
        let error = refusal(&path).await?;
        assert_eq!(error.kind(), LedgerErrorKind::InUse);
        assert!(error.to_string().contains("contacts.ledger is in use by another process"), "{error}");
    }
    let refused = child("open_a_ledger", &path)?.wait_with_output()?;
    let told = String::from_utf8(refused.stdout)?;
    assert!(told.contains("refused: InUse"), "looking at the file in this process must not drop its lock: {told}");
    drop(ledger);
    SqliteLedger::open(&path).await?;
    Ok(())
}

#[tokio::test]
async fn a_killed_process_frees_the_file_and_loses_nothing_saved() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("contacts.ledger");
    let mut holder = child("open_a_ledger", &path)?;
    let mut lines = BufReader::new(holder.stdout.take().ok_or("no output")?).lines();
    let saved =
        lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("saved"))).ok_or("nothing was saved")??;
    assert_eq!(refusal(&path).await?.kind(), LedgerErrorKind::InUse);
    holder.kill()?;
    holder.wait()?;

    let ledger = SqliteLedger::open(&path).await?;
    let lease = ledger.lease(&"one".parse()?, Timestamp(2)).await?;
    assert_eq!(lease.fence, 2, "the lease of the killed process counts");
    assert_eq!(saved.split_whitespace().last(), Some("200"));
    assert!(ledger.counts(&lease.instance).await?.rows >= 200);
    assert_eq!(
        ledger.rows(&lease.instance, None, 9_999).await?.len() as u64,
        ledger.counts(&lease.instance).await?.rows
    );
    Ok(())
}

#[tokio::test]
async fn a_crash_while_the_journal_is_copied_back_loses_nothing() -> Outcome {
    let folder = tempfile::tempdir()?;
    let [path, crashed] = ["contacts.ledger", "crashed.ledger"].map(|name| folder.path().join(name));
    let journal_of = |path: &Path| path.with_extension("ledger-wal");
    let ledger = SqliteLedger::open(&path).await?;
    let lease = ledger.lease(&"one".parse()?, Timestamp(1)).await?;
    ledger.save(&lease, (0..500).map(row).collect::<Outcome<_>>()?, vec![]).await?;
    let rows = ledger.rows(&lease.instance, None, 9_999).await?;
    let mut before = fs::read(&path)?;
    fs::copy(journal_of(&path), journal_of(&crashed))?;
    drop(ledger);

    let after = fs::read(&path)?;
    assert!(after.len() > before.len() && before.len() > 4096, "the rows were still in the journal");
    before[..4096].copy_from_slice(&after[..4096]);
    fs::write(&crashed, before)?;
    let ledger = SqliteLedger::open(&crashed).await?;
    assert_eq!(ledger.rows(&lease.instance, None, 9_999).await?, rows);
    Ok(())
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_or_folder_without_permission_is_refused_and_left_alone() -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir()?;
    let path = folder.path().join("contacts.ledger");
    drop(SqliteLedger::open(&path).await?);
    let before = fs::read(&path)?;
    let cases = [(0o444, 0o777, "ReadOnly"), (0o000, 0o777, "Unavailable"), (0o666, 0o555, "ReadOnly")];
    for (file_mode, folder_mode, kind) in cases {
        fs::set_permissions(&path, fs::Permissions::from_mode(file_mode))?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(folder_mode))?;
        let told = String::from_utf8(child_without_rights("open_a_ledger", &path)?.wait_with_output()?.stdout)?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
        assert!(told.contains(&format!("refused: {kind}")) && told.contains("contacts.ledger"), "{kind}: {told}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    assert!(fs::read(&path)? == before, "the file was touched");
    Ok(())
}

const LEDGER: &str = "LEDGER_TO_OPEN";

#[tokio::test]
#[ignore = "no test of its own: it is what the other process of a test does"]
async fn open_a_ledger() -> Outcome {
    let path = std::env::var_os(LEDGER).ok_or("run by another test only")?;
    let ledger = match SqliteLedger::open(path).await {
        Ok(ledger) => ledger,
        Err(error) => {
            println!("refused: {:?}: {error}", error.kind());
            return Ok(());
        }
    };
    let lease = ledger.lease(&"one".parse()?, Timestamp(1)).await?;
    for number in 0.. {
        ledger.save(&lease, vec![row(number)?], vec![]).await?;
        if number == 199 {
            println!("saved 200");
        }
    }
    Ok(())
}

fn command(task: &str, ledger: &Path) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([&format!("ledger::{task}"), "--exact", "--ignored", "--nocapture"]);
    command.env(LEDGER, ledger).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    Ok(command)
}

fn child(task: &str, ledger: &Path) -> Outcome<Child> {
    Ok(command(task, ledger)?.spawn()?)
}

/// The superuser may write anything, so a test that runs as one hands its work to nobody.
#[cfg(unix)]
fn child_without_rights(task: &str, ledger: &Path) -> Outcome<Child> {
    use std::os::unix::{fs::MetadataExt as _, process::CommandExt as _};

    let mut command = command(task, ledger)?;
    if fs::metadata(ledger)?.uid() == 0 {
        command.uid(65_534);
    }
    Ok(command.spawn()?)
}

async fn refusal(path: &Path) -> Outcome<LedgerError> {
    SqliteLedger::open(path).await.err().ok_or_else(|| "the file was opened".into())
}

fn row(number: u64) -> Outcome<Row> {
    let name = wawp_contacts::ContactName::new("Ada", &number.to_string())?;
    let wanted = Wanted {
        crm_id: number.to_string().into(),
        version: Some(1),
        base: name.clone(),
        name: name.clone(),
        tag: None,
        cause: Cause::New,
        rules: 1,
        rivals: Box::default(),
    };
    let mut row = Row::from(Candidate { chat: format!("1555{number:07}@c.us").parse()?, wanted });
    row.pushed.sent = Some(Sent { name, at: Timestamp(1) });
    Ok(row)
}
