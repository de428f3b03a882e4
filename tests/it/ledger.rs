//! The ledgers: their contract, and what only a file can do.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    ops::Deref,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use wawp_contacts::{
    InstanceId,
    crm::RowDigest,
    ledger::{Ledger, LedgerError, LedgerErrorKind, MemoryLedger, Query, SqliteLedger, Write},
    ledger_contract,
    record::{Claim, Record, Status},
    time::Timestamp,
};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const LONG: Duration = Duration::from_secs(600);

ledger_contract!(memory, Box::new(MemoryLedger::default()));
ledger_contract!(sqlite, InFile::open().await?);

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

fn one() -> InstanceId {
    "one".parse().unwrap()
}

/// A contact that is due and claimed by one row.
fn contact(number: u64) -> Outcome<Record> {
    let mut record = Record::new(format!("1555{number:07}").parse()?);
    let digest = RowDigest::from_bytes([7; 16]);
    record.claims.push(Claim::new(number.to_string(), None, digest, None));
    record.status = Status::Due { at: Timestamp(number) };
    Ok(record)
}

fn contacts(numbers: std::ops::Range<u64>) -> Outcome<Vec<Write>> {
    numbers.map(|number| Ok(contact(number)?.into())).collect()
}

async fn everything(ledger: &SqliteLedger) -> Outcome<Vec<Record>> {
    Ok(ledger.fetch(&one(), Query::All { after: None, limit: usize::MAX }).await?)
}

async fn refusal(path: &Path) -> Outcome<LedgerError> {
    SqliteLedger::open(path).await.err().ok_or_else(|| "the file was opened".into())
}

/// What is in a folder, by name.
fn names(folder: &Path) -> Outcome<Vec<String>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Outcome<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

#[tokio::test]
async fn a_reopened_file_has_everything() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("contacts.ledger");
    let ledger = SqliteLedger::open(&path).await?;
    let lease = ledger.acquire(&one(), "first", LONG).await?;
    assert_eq!(ledger.commit(&one(), Some(&lease), contacts(0..50)?).await?, [] as [usize; 0]);
    let run = ledger.begin_run(&one(), "host-7", Timestamp(1)).await?;
    ledger.end_run(&one(), run, Timestamp(3), "{}").await?;
    let before = (everything(&ledger).await?, ledger.runs(&one(), 9).await?, ledger.counts(&one()).await?);
    ledger.release(lease).await?;
    let state = ledger.state(&one()).await?;
    drop(ledger);
    assert_eq!(names(folder.path())?, ["contacts.ledger", "contacts.ledger-lease-1-0"]);

    let ledger = SqliteLedger::open(&path).await?;
    let after = (everything(&ledger).await?, ledger.runs(&one(), 9).await?, ledger.counts(&one()).await?);
    assert_eq!(after, before);
    assert_eq!(ledger.state(&one()).await?, state);
    assert_eq!(ledger.acquire(&one(), "second", LONG).await?.fence, 2);
    Ok(())
}

#[tokio::test]
async fn every_call_can_be_spawned() -> Outcome {
    let folder = tempfile::tempdir()?;
    let ledger = tokio::spawn(SqliteLedger::open(folder.path().join("contacts.ledger"))).await??;
    let fence = tokio::spawn(async move {
        let lease = ledger.acquire(&one(), "a task", LONG).await?;
        let mut session = ledger.diff(&one()).await?;
        session.stage(Vec::new()).await?;
        session.apply().await?;
        ledger.commit(&one(), Some(&lease), Vec::new()).await?;
        Ok::<_, LedgerError>(lease.fence)
    });
    assert_eq!(fence.await??, 1);
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
        assert_eq!(names(folder.path())?, ["precious"], "a file was left beside it");
        fs::remove_file(&path)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_ledger_of_an_unpublished_or_a_newer_version_is_refused_by_name_and_left_alone() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("contacts.ledger");
    for (version, words) in
        [(2, "was written by an earlier, unpublished version"), (99, "has version 99, this program knows up to 3")]
    {
        let other = rusqlite::Connection::open(&path)?;
        other.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA application_id = {}; PRAGMA user_version = {version}; \
             CREATE TABLE contact (instance, chat)",
            0x7761_7770
        ))?;
        drop(other);
        let before = fs::read(&path)?;
        let error = refusal(&path).await?;
        assert_eq!(error.kind(), LedgerErrorKind::Version);
        assert!(error.to_string().contains("contacts.ledger") && error.to_string().contains(words), "{error}");
        assert!(fs::read(&path)? == before, "the file was touched");
        assert_eq!(names(folder.path())?, ["contacts.ledger"]);
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
async fn two_ledgers_on_one_file_exclude_each_other_by_lease_and_by_nothing_else() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("contacts.ledger");
    let (first, second) = (SqliteLedger::open(&path).await?, SqliteLedger::open(&path).await?);
    let lease = first.acquire(&one(), "host-7, process 4711", LONG).await?;
    let refused = second.acquire(&one(), "host-7, process 4712", LONG).await.unwrap_err();
    assert_eq!(refused.kind(), LedgerErrorKind::Busy);
    assert!(refused.to_string().contains("host-7, process 4711 is writing instance one; wait"), "{refused}");
    assert_eq!(second.commit(&one(), None, contacts(0..20)?).await?, [] as [usize; 0]);
    assert_eq!(first.commit(&one(), Some(&lease), contacts(10..30)?).await?, (0..10).collect::<Vec<_>>());
    assert_eq!(everything(&second).await?, everything(&first).await?);
    drop(lease);
    let lease = second.acquire(&one(), "host-7, process 4712", LONG).await?;
    assert_eq!(lease.fence, 2, "a dropped guard frees the lease, though its time is not over");
    second.release(lease).await?;
    assert_eq!(first.acquire(&one(), "host-7, process 4711", LONG).await?.fence, 3);
    Ok(())
}

#[tokio::test]
async fn a_comparison_holds_up_nobody_until_it_is_applied() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("contacts.ledger");
    let (first, second) = (SqliteLedger::open(&path).await?, SqliteLedger::open(&path).await?);
    let mut session = first.diff(&one()).await?;
    session.stage(contacts(0..100)?).await?;
    for ledger in [&first, &second] {
        let (instance, writes) = (one(), contacts(50..60)?);
        tokio::time::timeout(Duration::from_secs(5), ledger.commit(&instance, None, writes)).await??;
    }
    assert_eq!(session.apply().await?.len(), 10);
    assert_eq!(second.counts(&one()).await?.records, 100);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_ledgers_and_a_process_write_one_file_at_once() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("contacts.ledger");
    let other = child("write_in_turns", &path)?;
    let tasks = (0..3).map(|_| {
        let path = path.clone();
        tokio::spawn(async move { write_often(&path).await })
    });
    let mut stored = 0;
    for task in tasks.collect::<Vec<_>>() {
        stored += task.await??;
    }
    let told = String::from_utf8(other.wait_with_output()?.stdout)?;
    let told = told.lines().find_map(|line| line.split("stored ").nth(1)).ok_or_else(|| told.clone())?;
    stored += told.trim().parse::<u64>()?;
    let ledger = SqliteLedger::open(&path).await?;
    let revisions: u64 = everything(&ledger).await?.iter().map(|record| record.revision).sum();
    assert_eq!(revisions, stored, "what was told to be stored is, and nothing else");
    assert_eq!(ledger.diff(&one()).await?.absent(99).await?.len(), 8);
    Ok(())
}

/// Stores a few contacts again and again, from a file that it opens itself; returns how many writes were not lost.
async fn write_often(path: &Path) -> Outcome<u64> {
    let ledger = SqliteLedger::open(path).await?;
    let mut stored = 0;
    for turn in 0..60_u64 {
        let chats = (0..8).map(|number| Ok(contact(number)?.chat)).collect::<Outcome<Vec<_>>>()?;
        let known = ledger.fetch(&one(), Query::Chats(&chats)).await?;
        let batch: Vec<Write> = (0..8)
            .map(|number| {
                let fresh = contact(number)?;
                let mut record = known.iter().find(|known| known.chat == fresh.chat).cloned().unwrap_or(fresh);
                record.status = Status::Due { at: Timestamp(turn) };
                Ok(record.into())
            })
            .collect::<Outcome<_>>()?;
        let count = batch.len();
        let lost = if turn % 3 == 0 {
            let mut session = ledger.diff(&one()).await?;
            session.stage(batch).await?;
            session.apply().await?.len()
        } else {
            ledger.commit(&one(), None, batch).await?.len()
        };
        stored += (count - lost) as u64;
    }
    Ok(stored)
}

#[tokio::test]
async fn a_killed_process_frees_its_lease_at_once_and_loses_nothing_stored() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("contacts.ledger");
    let mut holder = child("hold_a_lease", &path)?;
    wait_for(&mut holder, "stored 200")?;
    let ledger = SqliteLedger::open(&path).await?;
    let refused = ledger.acquire(&one(), "this process", LONG).await.unwrap_err();
    assert_eq!(refused.kind(), LedgerErrorKind::Busy);
    assert!(refused.to_string().contains("the other process"), "{refused}");
    holder.kill()?;
    holder.wait()?;

    let lease = ledger.acquire(&one(), "this process", LONG).await?;
    assert_eq!(lease.fence, 2, "the lease of the killed process counts");
    let records = everything(&ledger).await?;
    assert!(records.len() >= 200);
    assert_eq!(ledger.counts(&one()).await?.records, records.len() as u64);
    assert_eq!(ledger.diff(&one()).await?.absent(usize::MAX).await?.len(), records.len());
    Ok(())
}

#[tokio::test]
async fn a_process_killed_while_it_applies_leaves_all_or_nothing() -> Outcome {
    const STAGED: u64 = 3_000;
    let (mut nothing, mut all) = (0, 0);
    for wait in [0, 1, 2, 4, 8, 16, 32, 64, 128] {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("contacts.ledger");
        let mut other = child("apply_a_comparison", &path)?;
        wait_for(&mut other, "applying")?;
        tokio::time::sleep(Duration::from_millis(wait)).await;
        other.kill()?;
        other.wait()?;
        let ledger = SqliteLedger::open(&path).await?;
        let records = everything(&ledger).await?.len() as u64;
        let claims = ledger.diff(&one()).await?.absent(usize::MAX).await?.len() as u64;
        assert!(records == claims && [0, STAGED].contains(&records), "{records} of {STAGED} after {wait} ms");
        nothing += u32::from(records == 0);
        all += u32::from(records > 0);
        let lost = ledger.commit(&one(), None, contacts(0..STAGED)?).await?;
        assert_eq!(lost.len() as u64, records);
    }
    assert!(nothing > 0, "no process was killed in time: {all} were applied");
    Ok(())
}

#[tokio::test]
async fn a_crash_while_the_journal_is_copied_back_loses_nothing() -> Outcome {
    let folder = tempfile::tempdir()?;
    let [path, crashed] = ["contacts.ledger", "crashed.ledger"].map(|name| folder.path().join(name));
    let journal_of = |path: &Path| path.with_extension("ledger-wal");
    let ledger = SqliteLedger::open(&path).await?;
    ledger.commit(&one(), None, contacts(0..500)?).await?;
    let records = everything(&ledger).await?;
    let mut before = fs::read(&path)?;
    fs::copy(journal_of(&path), journal_of(&crashed))?;
    drop(ledger);

    let after = fs::read(&path)?;
    assert!(after.len() > before.len() && before.len() > 4096, "the rows were still in the journal");
    before[..4096].copy_from_slice(&after[..4096]);
    fs::write(&crashed, before)?;
    let ledger = SqliteLedger::open(&crashed).await?;
    assert_eq!(everything(&ledger).await?, records);
    Ok(())
}

#[tokio::test]
async fn a_call_that_is_cancelled_is_carried_out_whole_or_not_at_all() -> Outcome {
    let (file, instance) = (InFile::open().await?, one());
    for turn in 0..20 {
        let numbers = turn * 100..(turn + 1) * 100;
        let call = file.commit(&instance, None, contacts(numbers)?);
        // Polled a few times, and dropped.
        drop(tokio::time::timeout(Duration::from_micros(turn * 100), call).await);
    }
    // The calls before it are carried out first.
    let run = file.begin_run(&one(), "host-7", Timestamp(1)).await?;
    assert_eq!(run, 1);
    let records = everything(&file).await?.len();
    assert_eq!(records % 100, 0, "{records}");
    assert_eq!(file.diff(&one()).await?.absent(usize::MAX).await?.len(), records);
    Ok(())
}

#[cfg(unix)]
mod modes {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    #[tokio::test]
    async fn all_files_are_for_their_owner_only_whatever_the_mask_says() -> Outcome {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("contacts.ledger");
        // A mask is the whole process's, so another process sets it.
        let script = "umask 022; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(std::env::current_exe()?);
        let mut holder = with_task(&mut command, "hold_a_lease", &path).spawn()?;
        wait_for(&mut holder, "stored 200")?;
        let found = names(folder.path())?;
        assert_eq!(found, ["", "-lease-1-0", "-shm", "-wal"].map(|end| format!("contacts.ledger{end}")));
        for name in &found {
            let mode = fs::metadata(folder.path().join(name))?.mode() & 0o777;
            assert_eq!(mode, 0o600, "{name} is {mode:o}");
        }
        holder.kill()?;
        holder.wait()?;
        Ok(())
    }

    #[tokio::test]
    async fn an_empty_file_is_closed_to_others_before_anything_is_in_it() -> Outcome {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("contacts.ledger");
        fs::write(&path, "")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        let _ledger = SqliteLedger::open(&path).await?;
        for name in names(folder.path())? {
            assert_eq!(fs::metadata(folder.path().join(&name))?.mode() & 0o777, 0o600, "{name}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_file_or_folder_without_permission_is_refused_and_left_alone() -> Outcome {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("contacts.ledger");
        drop(SqliteLedger::open(&path).await?);
        let before = fs::read(&path)?;
        let cases = [(0o444, 0o777, "ReadOnly"), (0o000, 0o777, "Unavailable"), (0o666, 0o555, "ReadOnly")];
        for (file_mode, folder_mode, kind) in cases {
            fs::set_permissions(&path, fs::Permissions::from_mode(file_mode))?;
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(folder_mode))?;
            let told = told_without_rights("hold_a_lease", &path)?;
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
            assert!(told.contains(&format!("refused: {kind}")) && told.contains("contacts.ledger"), "{kind}: {told}");
            assert_eq!(names(folder.path())?, ["contacts.ledger"], "{kind}");
        }
        // There is no file, and none can be made.
        let missing = folder.path().join("missing.ledger");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555))?;
        let told = told_without_rights("hold_a_lease", &missing)?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
        assert!(told.contains("refused: ReadOnly") && told.contains("missing.ledger"), "{told}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        assert!(fs::read(&path)? == before, "the file was touched");
        Ok(())
    }

    /// What a child says that may not write anything. The superuser may, so a test that runs as one hands its work to nobody, who may
    /// not even see the folder that the test was built in.
    fn told_without_rights(task: &str, ledger: &Path) -> Outcome<String> {
        use std::os::unix::process::CommandExt as _;

        let folder = ledger.parent().ok_or("no folder")?;
        if fs::metadata(folder)?.uid() != 0 {
            return Ok(String::from_utf8(command(task, ledger)?.output()?.stdout)?);
        }
        let place = tempfile::tempdir()?;
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755))?;
        let copy = place.path().join("it");
        fs::copy(std::env::current_exe()?, &copy)?;
        let mut command = Command::new(copy);
        let child = with_task(&mut command, task, ledger).uid(65_534).current_dir(place.path());
        Ok(String::from_utf8(child.output()?.stdout)?)
    }
}

const LEDGER: &str = "LEDGER_TO_OPEN";

#[tokio::test]
#[ignore = "no test of its own: it is what the other process of a test does"]
async fn hold_a_lease() -> Outcome {
    let ledger = match SqliteLedger::open(std::env::var_os(LEDGER).ok_or("run by another test only")?).await {
        Ok(ledger) => ledger,
        Err(error) => {
            println!("refused: {:?}: {error}", error.kind());
            return Ok(());
        }
    };
    let lease = ledger.acquire(&one(), "the other process", LONG).await?;
    for number in 0.. {
        ledger.commit(&one(), Some(&lease), vec![contact(number)?.into()]).await?;
        if number == 199 {
            println!("stored 200");
        }
    }
    Ok(())
}

#[tokio::test]
#[ignore = "no test of its own: it is what the other process of a test does"]
async fn apply_a_comparison() -> Outcome {
    let ledger = SqliteLedger::open(std::env::var_os(LEDGER).ok_or("run by another test only")?).await?;
    let mut session = ledger.diff(&one()).await?;
    session.stage(contacts(0..3_000)?).await?;
    println!("applying");
    session.apply().await?;
    tokio::time::sleep(LONG).await;
    Ok(())
}

#[tokio::test]
#[ignore = "no test of its own: it is what the other process of a test does"]
async fn write_in_turns() -> Outcome {
    let path = std::env::var_os(LEDGER).ok_or("run by another test only")?;
    println!("stored {}", write_often(Path::new(&path)).await?);
    Ok(())
}

fn command(task: &str, ledger: &Path) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    with_task(&mut command, task, ledger);
    Ok(command)
}

fn with_task<'c>(command: &'c mut Command, task: &str, ledger: &Path) -> &'c mut Command {
    let module = module_path!().split_once("::").map_or("", |(_, module)| module);
    command.args([&format!("{module}::{task}"), "--exact", "--ignored", "--nocapture"]);
    command.env(LEDGER, ledger).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null())
}

fn child(task: &str, ledger: &Path) -> Outcome<Child> {
    Ok(command(task, ledger)?.spawn()?)
}

/// Reads what a child prints until it says this.
fn wait_for(child: &mut Child, word: &str) -> Outcome {
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let said = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(word)));
    said.ok_or_else(|| format!("the other process never said {word}"))??;
    Ok(())
}
