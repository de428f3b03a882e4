use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{
    fault::Fault,
    schema::{APPLICATION_ID, MIGRATIONS},
};
use crate::ledger::{LedgerError, LedgerErrorKind};

/// Long enough for a process that is just ending, short enough for a person who waits.
const BUSY: Duration = Duration::from_millis(250);

/// Opens or makes the ledger at an absolute path, and locks it for as long as the connection lives.
pub(super) fn open(path: &Path) -> Result<Connection, Fault> {
    check_place(path)?;
    if path.exists() {
        check_owner(path)?;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    if connection.is_readonly("main")? {
        return Err(Fault::ReadOnly);
    }
    prepare(connection)
}

/// Makes a connection ready for use: locked, migrated, durable.
pub(super) fn prepare(mut connection: Connection) -> Result<Connection, Fault> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL; PRAGMA cache_size = -2048;")?;
    migrate(&mut connection, MIGRATIONS)?;
    connection.execute_batch("PRAGMA journal_mode = WAL;")?;
    Ok(connection)
}

/// Takes the lock, and brings an older file up to date.
pub(super) fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = migrations.len();
    let pending = usize::try_from(found).ok().and_then(|found| migrations.get(found..));
    for migration in pending.ok_or(Fault::Newer { found, known })? {
        transaction.execute_batch(migration)?;
    }
    if pending.is_some_and(|pending| !pending.is_empty()) {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", i64::try_from(known).unwrap_or(i64::MAX))?;
    }
    Ok(transaction.commit()?)
}

fn check_place(path: &Path) -> Result<(), LedgerError> {
    let unavailable = |detail| Err(LedgerError::new(LedgerErrorKind::Unavailable, detail));
    if path.is_dir() {
        return unavailable(format!("{} is a folder; name a file for the ledger", path.display()));
    }
    match path.parent() {
        Some(folder) if !folder.is_dir() => {
            unavailable(format!("the folder of the ledger {} does not exist; make it first", path.display()))
        }
        _ => Ok(()),
    }
}

/// Makes sure that the file is a ledger, or empty, before anything could change it.
///
/// `immutable` keeps SQLite from locking the file and from touching journals beside it. Reading the header without SQLite
/// would not do: closing a handle of its own drops all locks that this process has on the file.
fn check_owner(path: &Path) -> Result<(), Fault> {
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
    let owner: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let is_empty = || connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0));
    if owner == APPLICATION_ID || (owner == 0 && is_empty()?) { Ok(()) } else { Err(Fault::Foreign) }
}
