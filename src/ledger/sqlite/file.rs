use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior, config::DbConfig};

use super::{
    fault::Fault,
    schema::{APPLICATION_ID, FIRST_VERSION, STEPS},
};
use crate::ledger::{LedgerError, LedgerErrorKind};

/// Longer than another process takes to store a large export.
const BUSY: Duration = Duration::from_secs(20);

/// Where an open ledger is: by whatever name it was opened, so that all who have it open find the same locks beside it.
pub(super) struct Place {
    pub(super) path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Place {
    fn of(path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path)?;
        Ok(Self { identity: identity(&path)?, path })
    }

    /// Makes sure that whoever opens the ledger now gets the same file: what is written to one that was moved away is lost, and its
    /// leases bind nobody.
    pub(super) fn check(&self) -> Result<(), LedgerError> {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            return Ok(());
        }
        let detail = format!("{} was moved, replaced or deleted; open the ledger again", self.path.display());
        Err(LedgerError::new(LedgerErrorKind::Unavailable, detail))
    }
}

/// What tells a file from any other that has its name later; `None` where the system has nothing of the kind.
#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Option<(u64, u64)>> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).map(|found| Some((found.dev(), found.ino())))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<Option<(u64, u64)>> {
    fs::metadata(path).map(|_| None)
}

/// Opens or makes the ledger at a path.
pub(super) fn open(path: &Path) -> Result<(Connection, Place), Fault> {
    check_place(path)?;
    make_private(path)?;
    check_owner(path)?;
    let place = Place::of(path)?;
    let mut connection = connect(&place.path)?;
    let began = Instant::now();
    // SQLite does not wait while two processes make one file at the same time.
    while let Err(fault) = prepare(&mut connection, STEPS) {
        if !fault.is_busy() || began.elapsed() > BUSY {
            return Err(fault);
        }
        sleep(Duration::from_millis(5));
    }
    Ok((connection, place))
}

/// Opens a ledger that is known to be one.
pub(super) fn connect(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // Before anything is read: even a reader makes files beside the ledger.
    if connection.is_readonly("main")? {
        return Err(Fault::ReadOnly);
    }
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Without it, a statement on a table with partial indexes is planned anew each time its parameters change.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON; PRAGMA cache_size = -2048;",
    )?;
    Ok(connection)
}

/// Opens a file beside the ledger, and makes it if there is none, for nobody but its owner.
pub(super) fn beside(path: &Path, suffix: &str) -> io::Result<fs::File> {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    private(OpenOptions::new().read(true).write(true).create(true).truncate(false)).open(PathBuf::from(name))
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Makes the tables, or brings an older file up to date, and switches to the journal that readers and a writer can share.
pub(super) fn prepare(connection: &mut Connection, steps: &[&str]) -> Result<(), Fault> {
    migrate(connection, steps)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        let detail =
            "the folder of the ledger cannot be shared between readers and writers; name a file on a local disk";
        return Err(LedgerError::new(LedgerErrorKind::Unavailable, detail).into());
    }
    Ok(())
}

/// Takes the steps that the file lacks, all or none.
pub(super) fn migrate(connection: &mut Connection, steps: &[&str]) -> Result<(), Fault> {
    let known = known_version(steps);
    let version = |connection: &Connection| connection.pragma_query_value(None, "user_version", |row| row.get(0));
    if version(connection)? == known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = version(&transaction)?;
    check_version(found, known)?;
    let taken = if found == 0 { 0 } else { found - FIRST_VERSION + 1 };
    for step in &steps[usize::try_from(taken).unwrap_or(steps.len()).min(steps.len())..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", known)?;
    Ok(transaction.commit()?)
}

fn known_version(steps: &[&str]) -> i64 {
    FIRST_VERSION - 1 + i64::try_from(steps.len()).unwrap_or(i64::MAX / 2)
}

fn check_version(found: i64, known: i64) -> Result<(), Fault> {
    match found {
        0 => Ok(()),
        _ if found > known => Err(Fault::Newer { found, known }),
        _ if found < FIRST_VERSION => Err(Fault::Unpublished),
        _ => Ok(()),
    }
}

fn check_place(path: &Path) -> Result<(), LedgerError> {
    let unavailable = |detail| Err(LedgerError::new(LedgerErrorKind::Unavailable, detail));
    if path.is_dir() {
        return unavailable(format!("{} is a folder; name a file for the ledger", path.display()));
    }
    // A pipe would be waited for, and a device be made private for everybody.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return unavailable(format!("{} is not a regular file; name a file for the ledger", path.display()));
    }
    match path.parent() {
        Some(folder) if !folder.is_dir() => {
            unavailable(format!("the folder of the ledger {} does not exist; make it first", path.display()))
        }
        _ => Ok(()),
    }
}

/// Sees to it that a file which is made, or was empty, is readable by its owner only before the first byte is in it. SQLite gives
/// the files that it keeps beside it the same permissions.
fn make_private(path: &Path) -> Result<(), Fault> {
    match private(OpenOptions::new().write(true).create_new(true)).open(path) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error.into()),
    }
    #[cfg(unix)]
    if fs::metadata(path).map(|found| found.is_file() && found.len() == 0)? {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Makes sure that the file is a ledger, or empty, before anything could change it.
fn check_owner(path: &Path) -> Result<(), Fault> {
    // While another process makes the file, what is in it so far may look like anything.
    const YOUNG: Duration = Duration::from_secs(2);
    let age = |path: &Path| fs::metadata(path).ok()?.modified().ok()?.elapsed().ok();
    for _ in 0..10 {
        match look_at_owner(path) {
            Err(Fault::Foreign | Fault::Sqlite(_)) if age(path).is_some_and(|age| age < YOUNG) => {
                sleep(Duration::from_millis(20));
            }
            answer => return answer,
        }
    }
    look_at_owner(path)
}

/// `immutable` keeps SQLite from locking the file and from touching journals beside it. Reading the header without SQLite
/// would not do: closing a handle of its own drops all locks that this process has on the file.
fn look_at_owner(path: &Path) -> Result<(), Fault> {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        // Writing to a string cannot fail.
        let _ = write!(uri, "%{byte:02X}");
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(PathBuf::from(uri), flags)?;
    // After a crash the file may be shorter than its header says: what is missing waits in the journal beside it.
    connection.execute_batch("PRAGMA writable_schema = ON;")?;
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    if number("application_id")? == APPLICATION_ID {
        return check_version(number("user_version")?, known_version(STEPS));
    }
    let is_empty = connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?;
    if is_empty && number("application_id")? == 0 { Ok(()) } else { Err(Fault::Foreign) }
}
