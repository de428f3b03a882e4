use std::io;

use super::closest::closest;

/// Why a source as a whole cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Reading failed; what follows is unknown.
    #[error("the source cannot be read")]
    Read(#[source] io::Error),
    /// The text is UTF-16.
    #[error("the file is UTF-16; save it as UTF-8")]
    Utf16,
    /// The bytes are those of a spreadsheet.
    #[error("a spreadsheet; export it as CSV")]
    Spreadsheet,
    /// The text is one JSON array, often over many lines, and not JSON Lines.
    #[error("a JSON array; write one object per line")]
    JsonArray,
    /// The header is not UTF-8.
    #[error("the header is not UTF-8; save the file as UTF-8")]
    NotUtf8,
    /// There is no header.
    #[error("the file is empty: its first line must name the columns")]
    Empty,
    /// The header is no record.
    #[error("the header cannot be read: {0}")]
    BrokenHeader(&'static str),
    /// No column was recognised for something that every row needs. Rename the column in the export, or name it with a
    /// [`Mapping`](super::Mapping).
    #[error("no column for {} was recognised among {}; give the column one of these names", wanted(.missing), list(.found))]
    MissingColumn {
        /// What is missing, in words.
        missing: Vec<&'static str>,
        /// The columns of the header.
        found: Vec<String>,
    },
    /// A mapped column does not exist.
    #[error("there is no column \"{name}\" among {}{}", list(.found), meant(.name, .found))]
    UnknownColumn {
        /// The name as mapped.
        name: String,
        /// The columns of the header; of JSON Lines, names of keys.
        found: Vec<String>,
    },
}

/// What each row needs, and how its column may be called; each name is one of those that are recognised.
pub(super) const NEEDS: [(&str, &str); 3] = [
    ("an id", "id, Record ID, Contact ID, Lead ID, Customer ID"),
    ("a phone or chat id", "phone, mobile, whatsapp, chat_id"),
    ("a name", "first_name, last_name, name"),
];

fn wanted(missing: &[&'static str]) -> String {
    let names = |what: &str| NEEDS.iter().find(|(need, _)| *need == what).map_or("", |(_, names)| names);
    let shown: Vec<_> = missing.iter().map(|what| format!("{what} ({})", names(what))).collect();
    shown.join(", ")
}

fn meant(name: &str, columns: &[String]) -> String {
    let meant = closest(name, columns.iter().map(String::as_str));
    meant.map(|column| format!("; did you mean {column:?}?")).unwrap_or_default()
}

/// The columns, in quotes; a header of hundreds is cut short.
fn list(columns: &[String]) -> String {
    let shown: Vec<_> = columns.iter().take(30).map(|column| format!("{column:?}")).collect();
    let more = if columns.len() > shown.len() { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}
