use rusqlite::ErrorCode;

use crate::ledger::{LedgerError, LedgerErrorKind};

/// What went wrong inside, before the file is named.
#[derive(Debug)]
pub(super) enum Fault {
    /// The database failed, or a stored value cannot be read.
    Sqlite(rusqlite::Error),
    /// The file belongs to somebody else.
    Foreign,
    /// The file has a later version of the schema.
    Newer { found: i64, known: usize },
    /// The file may only be read.
    ReadOnly,
    /// The rules of every ledger forbid it.
    Refused(LedgerError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) { Self::Foreign } else { Self::Sqlite(error) }
    }
}

impl From<LedgerError> for Fault {
    fn from(error: LedgerError) -> Self {
        Self::Refused(error)
    }
}

impl Fault {
    /// Says what happened to which file, and what to do about it.
    pub(super) fn explain(self, file: &str) -> LedgerError {
        match self {
            Self::Sqlite(error) => {
                let kind = kind(&error);
                LedgerError::new(kind, sentence(kind, file)).because(error)
            }
            Self::Foreign => {
                let detail = format!("{file} is not a ledger; it was left as it is, name another file");
                LedgerError::new(LedgerErrorKind::Damaged, detail)
            }
            Self::Newer { found, known } => {
                let detail =
                    format!("the ledger {file} has version {found}, this program knows up to {known}; update it");
                LedgerError::new(LedgerErrorKind::Newer, detail)
            }
            Self::ReadOnly => LedgerError::new(LedgerErrorKind::ReadOnly, sentence(LedgerErrorKind::ReadOnly, file)),
            Self::Refused(error) => error,
        }
    }
}

fn kind(error: &rusqlite::Error) -> LedgerErrorKind {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => LedgerErrorKind::InUse,
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

fn sentence(kind: LedgerErrorKind, file: &str) -> String {
    match kind {
        LedgerErrorKind::InUse => {
            format!("the ledger {file} is in use by another process; wait for it to end, or name another file")
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
