use std::io;

use super::{
    closest::{closest, slips},
    mapping::{Field, Vocabulary, folded},
};

/// Why a source as a whole cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Reading failed; what follows is unknown.
    #[error("the source cannot be read")]
    Read(#[source] io::Error),
    /// The text is UTF-16.
    #[error("the file is UTF-16; save it as UTF-8 (in Excel: CSV UTF-8)")]
    Utf16,
    /// The bytes are those of a spreadsheet.
    #[error("a spreadsheet; export it as CSV")]
    Spreadsheet,
    /// The text is one JSON array, often over many lines, and not JSON Lines.
    #[error("a JSON array; write one object per line")]
    JsonArray,
    /// The header is not UTF-8.
    #[error("the header is not UTF-8; save the file as UTF-8 (in Excel: CSV UTF-8)")]
    NotUtf8,
    /// There is no header.
    #[error("the file is empty: its first line must name the columns")]
    Empty,
    /// The header is no record.
    #[error("the header cannot be read: {0}")]
    BrokenHeader(&'static str),
    /// No column was recognised for something that every row needs. Rename the column in the export, or name it with a
    /// [`Mapping`](super::Mapping): see [`SourceError::mapping`].
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

impl SourceError {
    /// For a column that is missing, the text of a [`Mapping`](super::Mapping) that would name it: with the column whose name comes
    /// closest or, where none does, with `COLUMN` in its place.
    ///
    /// ```
    /// use wawp_contacts::crm::Csv;
    ///
    /// let error = Csv::new("id,Mobil,Anrede\n".as_bytes()).unwrap_err();
    /// assert_eq!(error.mapping().as_deref(), Some("mobile=Mobil,first=COLUMN"));
    /// ```
    #[must_use]
    pub fn mapping(&self) -> Option<String> {
        let Self::MissingColumn { missing, found } = self else { return None };
        let needs = NEEDS.iter().zip([&[Field::Id][..], &Field::PERSON, &Field::NAME]);
        let missing = needs.filter(|((need, _), _)| missing.contains(need));
        let pairs = missing.map(|(_, fields)| {
            let unknown = fields.iter().copied().find(|field| matches!(field, Field::Id | Field::Phone | Field::First));
            let (field, column) = likely(fields, found).or(Some((unknown?, "COLUMN")))?;
            Some(format!("{}={column}", field.word()))
        });
        Some(pairs.flatten().collect::<Vec<_>>().join(","))
    }
}

/// The column that is most likely to hold one of the fields, by its name, if it is recognised as nothing else.
fn likely<'c>(fields: &[Field], columns: &'c [String]) -> Option<(Field, &'c str)> {
    /// A slip or two make any other word of shorter ones.
    const LEAST: usize = 5;
    let vocabulary = Vocabulary::of(&super::Mapping::new());
    let unknown = columns.iter().map(|column| (folded(column), column.as_str()));
    let unknown: Vec<_> = unknown.filter(|(folded, _)| vocabulary.fields(folded).is_empty()).collect();
    let names = fields.iter().flat_map(|field| field.aliases().iter().map(|name| (*field, *name)));
    let meant = names.filter(|(_, name)| name.len() >= LEAST).filter_map(|(field, name)| {
        let meant = closest(name, unknown.iter().map(|(folded, _)| folded.as_str()))?;
        let (_, column) = unknown.iter().find(|(folded, _)| folded == meant)?;
        Some((slips(name, meant), field, *column))
    });
    meant.min_by_key(|(slips, ..)| *slips).map(|(_, field, column)| (field, column))
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
