//! What the CRM says: rows, and the sources they come from.

use std::{error::Error as StdError, fmt};

use crate::ChatId;

/// One row of the CRM, as wanted now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrmContact {
    /// The CRM's own id of the row.
    pub id: String,
    /// The person.
    pub chat: ChatId,
    /// First name as the CRM has it, cleaned later; may be blank.
    pub first: String,
    /// Last name as the CRM has it, cleaned later; may be blank.
    pub last: String,
    /// The funnel stage, if the row has one.
    pub stage: Option<String>,
    /// Grows with each change of the row: a counter, or milliseconds since 1970. Without one the row is always taken as newest.
    pub version: Option<u64>,
}

impl CrmContact {
    /// A row with an id and a person, and nothing else yet.
    #[must_use]
    pub fn new(id: impl Into<String>, chat: ChatId) -> Self {
        Self { id: id.into(), chat, first: String::new(), last: String::new(), stage: None, version: None }
    }

    /// Sets first and last name.
    #[must_use]
    pub fn named(mut self, first: impl Into<String>, last: impl Into<String>) -> Self {
        self.first = first.into();
        self.last = last.into();
        self
    }

    /// Sets the funnel stage.
    #[must_use]
    pub fn in_stage(mut self, stage: impl Into<String>) -> Self {
        self.stage = Some(stage.into());
        self
    }

    /// Sets the version.
    #[must_use]
    pub fn at_version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }
}

/// What a source yields instead of a row.
#[derive(Debug)]
#[non_exhaustive]
pub enum RowError {
    /// This row cannot be used; the rest flows.
    Refused(Refusal),
    /// The source itself failed: what follows is unknown, so a run ends before its first call.
    Source(Box<dyn StdError + Send + Sync>),
}

/// A row that cannot be used, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// Why, as a code.
    pub reason: RefusalReason,
    /// The line on which the row begins, from 1, if the source has lines.
    pub line: Option<u64>,
    /// The CRM's id of the row, as far as it could be read.
    pub crm_id: Option<String>,
    /// One sentence for a person: what is wrong and how to mend it.
    pub detail: String,
}

/// Why a row was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The row cannot be read.
    Malformed,
    /// The row has no id.
    NoId,
    /// The row has no phone and no chat id.
    NoPhone,
    /// The phone or chat id is none.
    BadPhone,
    /// Nothing is left of the name.
    EmptyName,
    /// Another row claims the same person.
    DuplicateIdentity,
}

impl RefusalReason {
    /// The code in reports: `duplicate_identity`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NoId => "no_id",
            Self::NoPhone => "no_phone",
            Self::BadPhone => "bad_phone",
            Self::EmptyName => "empty_name",
            Self::DuplicateIdentity => "duplicate_identity",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if let Some(id) = &self.crm_id {
            write!(f, "row {id}: ")?;
        }
        f.write_str(&self.detail)
    }
}
