use rusqlite::ErrorCode;

use crate::ledger::{LedgerError, LedgerErrorKind};

/// What went wrong inside, before the file is named.
#[derive(Debug)]
pub(super) enum Fault {
    /// The database failed, or a stored value cannot be read.
    Sqlite(rusqlite::Error),
    /// A stored record cannot be read.
    Unreadable(serde_json::Error),
    /// The operating system refused a file beside the ledger.
    Io(std::io::Error),
    /// The file belongs to somebody else.
    Foreign,
    /// The file has the version of before the first release.
    Unpublished,
    /// The file has a later version of the schema.
    Newer { found: i64, known: i64 },
    /// The file may only be read.
    ReadOnly,
    /// An earlier call of a session failed half-way.
    Broken,
    /// The rules of every ledger forbid it.
    Refused(LedgerError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) { Self::Foreign } else { Self::Sqlite(error) }
    }
}

impl From<rusqlite::types::FromSqlError> for Fault {
    fn from(error: rusqlite::types::FromSqlError) -> Self {
        Self::Sqlite(error.into())
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<LedgerError> for Fault {
    fn from(error: LedgerError) -> Self {
        Self::Refused(error)
    }
}

impl Fault {
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Sqlite(error) if kind(error) == LedgerErrorKind::Busy)
    }

    /// Says what happened to which file, and what to do about it.
    pub(super) fn explain(self, file: &str) -> LedgerError {
        let plain = |kind| LedgerError::new(kind, sentence(kind, file));
        match self {
            Self::Sqlite(error) => plain(kind(&error)).because(error),
            Self::Unreadable(error) => plain(LedgerErrorKind::Damaged).because(error),
            Self::Io(error) => plain(kind_of_io(&error)).because(error),
            Self::Foreign => {
                let detail = format!("{file} is not a ledger; it was left as it is, name another file");
                LedgerError::new(LedgerErrorKind::Damaged, detail)
            }
            Self::Unpublished => {
                let detail = format!(
                    "{file} was written by an earlier, unpublished version; it was left as it is, name another file"
                );
                LedgerError::new(LedgerErrorKind::Version, detail)
            }
            Self::Newer { found, known } => {
                let detail =
                    format!("the ledger {file} has version {found}, this program knows up to {known}; update it");
                LedgerError::new(LedgerErrorKind::Version, detail)
            }
            Self::ReadOnly => plain(LedgerErrorKind::ReadOnly),
            Self::Broken => {
                let detail =
                    format!("a comparison with the ledger {file} failed before; nothing was stored, begin again");
                LedgerError::new(LedgerErrorKind::Unavailable, detail)
            }
            Self::Refused(error) => error,
        }
    }
}

fn kind(error: &rusqlite::Error) -> LedgerErrorKind {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => LedgerErrorKind::Busy,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => LedgerErrorKind::ReadOnly,
        Some(ErrorCode::DiskFull) => LedgerErrorKind::Full,
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::NoLargeFileSupport,
        ) => LedgerErrorKind::Unavailable,
        // A missing table, a value of the wrong type, a broken page: the content is not what this crate wrote.
        _ => LedgerErrorKind::Damaged,
    }
}

fn kind_of_io(error: &std::io::Error) -> LedgerErrorKind {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        PermissionDenied | ReadOnlyFilesystem => LedgerErrorKind::ReadOnly,
        StorageFull | QuotaExceeded => LedgerErrorKind::Full,
        _ => LedgerErrorKind::Unavailable,
    }
}

fn sentence(kind: LedgerErrorKind, file: &str) -> String {
    match kind {
        LedgerErrorKind::Busy => {
            format!("another process is writing the ledger {file} for longer than is waited for; try again")
        }
        LedgerErrorKind::ReadOnly => {
            format!("the ledger {file} may not be written; check the permissions of the file and its folder")
        }
        LedgerErrorKind::Full => {
            format!("the disk of the ledger {file} is full; nothing stored so far is lost, make room and try again")
        }
        LedgerErrorKind::Damaged => format!("the ledger {file} is damaged; restore it from a copy"),
        _ => format!("the ledger {file} cannot be opened, read or written; check its folder and its disk"),
    }
}
