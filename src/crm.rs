//! What the CRM says: rows, and the sources they come from.
//!
//! A source is an iterator of [`CrmContact`]s. Two come with the crate: `Csv` (feature `csv`) and [`JsonLines`]; [`rows`]
//! makes a stream of any, which is what the sync takes, and a [`Feed`] says whether the rows are all of the CRM or some of it. A source reads one row at a time, in flat memory.
//!
//! # Columns
//!
//! Columns are recognised by their names, as HubSpot, Salesforce and plain exports (`id, first_name, last_name, phone,
//! stage, updated_at`) have them; case, spaces and punctuation do not matter. Where two columns claim one field, the more
//! exact name wins (`Lifecycle Stage` over `Lead Status`), then the leftmost. A [`Mapping`] names columns that are not
//! recognised, or not rightly.
//!
//! # Who the person is
//!
//! A chat id is believed before any phone. Else the WhatsApp number, the mobile and the phone are tried in this order, and
//! the first that is a phone number is taken: each belongs to the row, so nothing is guessed. With the feature `phone`, the
//! country column is the region of a number in a national format, or the region of the mapping where the column is blank;
//! a country that is not known is never replaced by that region. Without the feature every number must begin with its
//! country code.
//!
//! # What the row's age is
//!
//! The version is a counter, or an ISO 8601 date (`2026-01-01 09:30`, `2026-01-01T09:30:00.000Z`), in UTC if it does not say
//! otherwise. A date that can be read in two ways, such as `01/02/2026`, gives no version: the row flows and is taken as newest.
//!
//! # What can go wrong
//!
//! Every row is either a contact or a [`Refusal`] that says its line, how to fix it and, where it can be read, whose row it was; only blank lines are skipped. A
//! blank name is not refused here but by the naming rules. If the source itself fails, the last item is
//! [`RowError::Source`]: what would have followed is unknown.

use std::{error::Error as StdError, fmt};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

#[cfg(feature = "csv")]
pub use self::csv::{Csv, defused};
pub use self::{
    digest::RowDigest,
    error::SourceError,
    feed::{Feed, changes, snapshot},
    json::JsonLines,
    mapping::{Mapping, ParseMappingError},
    rows::{Rows, rows},
};
use crate::{ChatId, json::Json};

mod closest;
#[cfg(feature = "csv")]
mod csv;
mod digest;
mod error;
mod feed;
mod json;
mod mapping;
mod row;
mod rows;
mod version;

/// One row of the CRM, as wanted now.
///
/// Serialised as an object of its fields, of which only `id` and `chat` must be there; `id` may be a whole number.
///
/// A field with any other name is an error when it is read, so that `first_name` does not go unnoticed and leave a contact without a
/// name. Exports, where columns have many names, are for [`JsonLines`] and `Csv`.
///
/// ```
/// use wawp_contacts::crm::CrmContact;
///
/// let ada: CrmContact = serde_json::from_str(r#"{"id": 7, "chat": "+44 7700 900123", "first": "Ada", "stage": "Lead"}"#)?;
/// assert_eq!((&*ada.id, &*ada.first), ("7", "Ada"));
/// assert!(serde_json::from_str::<CrmContact>(r#"{"id": 7, "chat": "+44 7700 900123", "first_name": "Ada"}"#).is_err());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CrmContact {
    /// The CRM's own id of the row.
    #[serde(deserialize_with = "text_or_whole")]
    pub id: String,
    /// The person.
    pub chat: ChatId,
    /// First name as the CRM has it, cleaned later; may be blank.
    #[serde(default)]
    pub first: String,
    /// Last name as the CRM has it, cleaned later; may be blank.
    #[serde(default)]
    pub last: String,
    /// The funnel stage, if the row has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Grows with each change of the row: a counter, or milliseconds since 1970. Without one the row is always taken as newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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

    /// Sets the funnel stage; for a row that may have none, set the field [`stage`](Self::stage).
    #[must_use]
    pub fn in_stage(mut self, stage: impl Into<String>) -> Self {
        self.stage = Some(stage.into());
        self
    }

    /// Sets the version, or says with `None` that the row has none.
    #[must_use]
    pub fn at_version(mut self, version: impl Into<Option<u64>>) -> Self {
        self.version = version.into();
        self
    }

    /// A stable mark of the row as the CRM gave it and of the rules that name it: the [fingerprint](crate::naming::Naming::fingerprint) of a
    /// `Naming`.
    ///
    /// ```
    /// use wawp_contacts::{crm::CrmContact, naming::{Funnel, Naming}};
    ///
    /// let rules = Naming::new("Lead, Customer".parse::<Funnel>()?).fingerprint();
    /// let bob = CrmContact::new("crm-7", "+1 202 555 0142".parse()?).named("Bob", "");
    /// assert_eq!(bob.digest(rules), bob.clone().digest(rules));
    /// assert_ne!(bob.digest(rules), bob.clone().in_stage("Lead").digest(rules));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn digest(&self, rules: u32) -> RowDigest {
        RowDigest::of(self, rules)
    }
}

/// An id as a text, also where the CRM counts its rows.
fn text_or_whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Json::deserialize(deserializer)? {
        Json::Text(text) => Ok(text.into_owned()),
        Json::Whole(number) => Ok(number.to_string()),
        _ => Err(D::Error::custom("an id is a text or a whole number")),
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

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Source(_) => f.write_str("the source of rows failed"),
        }
    }
}

impl StdError for RowError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Refused(_) => None,
            Self::Source(error) => Some(&**error),
        }
    }
}

/// A row that cannot be used, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Refusal {
    /// Why, as a code.
    pub reason: RefusalReason,
    /// The line on which the row begins, from 1, if the source has lines.
    pub line: Option<u64>,
    /// The CRM's id of the row, as far as it could be read.
    pub crm_id: Option<String>,
    /// The person, if the row says so much: a row that is refused for its name still claims whom it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatId>,
    /// One sentence for a person: what is wrong and how to fix it.
    pub detail: String,
}

impl Refusal {
    /// A refusal that says why, and nothing of the row yet.
    #[must_use]
    pub fn new(reason: RefusalReason, detail: impl Into<String>) -> Self {
        Self { reason, line: None, crm_id: None, chat: None, detail: detail.into() }
    }

    /// Sets the line on which the row begins, from 1.
    #[must_use]
    pub fn at_line(mut self, line: u64) -> Self {
        self.line = Some(line);
        self
    }

    /// Sets the CRM's id of the row, if it is known.
    #[must_use]
    pub fn of_row(mut self, crm_id: Option<impl Into<String>>) -> Self {
        self.crm_id = crm_id.map(Into::into);
        self
    }

    /// Sets the person whom the row claims, if it is known.
    #[must_use]
    pub fn claiming(mut self, chat: Option<ChatId>) -> Self {
        self.chat = chat;
        self
    }
}

/// Why a row was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// The person, or the row, was [forgotten](crate::ContactSync::forget) at somebody's wish.
    Forgotten,
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
            Self::Forgotten => "forgotten",
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
