use std::io::Read;

use self::records::{Found, Records};
use super::{
    CrmContact, Mapping, Refusal, RefusalReason, RowError, SourceError,
    error::NEEDS,
    mapping::{Field, PerField, Vocabulary, folded},
    row::{RowReader, Texts, filled},
};

mod formula;
mod records;

pub use formula::defused;

/// Contacts from a CSV export, one row at a time.
///
/// The first line names the columns. Commas, semicolons and tabs are told apart by it; a byte order mark, quoted line breaks
/// and Windows line ends are understood; blank lines are skipped. The text must be UTF-8. The mark that keeps a spreadsheet from taking
/// a text for a formula is no part of the text: `'+44 7700 900123` is a phone. See [`defused`].
///
/// A row with more or fewer fields than the header, or with bytes that are no UTF-8, is refused as
/// [`Malformed`](RefusalReason::Malformed). A quote that is never closed costs its own line, not the rest of the file.
///
/// ```
/// use wawp_contacts::crm::{Csv, RowError};
///
/// let export = "Record ID;First Name;Phone Number\r\n7;Ada;+44 7700 900123\r\n8;Bob;none\r\n";
/// let mut rows = Csv::new(export.as_bytes())?;
/// assert!(rows.next().is_some_and(|row| row.is_ok_and(|contact| contact.chat.as_str() == "447700900123@c.us")));
/// assert!(matches!(rows.next(), Some(Err(RowError::Refused(refusal))) if refusal.line == Some(3)));
/// assert!(rows.next().is_none());
/// # Ok::<(), wawp_contacts::crm::SourceError>(())
/// ```
#[derive(Debug)]
#[must_use = "rows are read when the iterator is driven"]
pub struct Csv<R> {
    records: Records<R>,
    columns: PerField<Option<usize>>,
    header: Vec<String>,
    /// Whether the last record could not be taken apart.
    is_broken: bool,
    rows: RowReader,
    ended: bool,
}

impl<R: Read> Csv<R> {
    /// Reads the header and recognises its columns.
    ///
    /// # Errors
    ///
    /// Fails if the header cannot be read, is not UTF-8, or lacks a column for the id, for a phone or chat id, or for a name.
    pub fn new(input: R) -> Result<Self, SourceError> {
        Self::with_mapping(input, &Mapping::new())
    }

    /// Reads the header and finds its columns by a mapping, and by their names where nothing is mapped.
    ///
    /// # Errors
    ///
    /// Fails as [`new`](Self::new) does, and if a mapped column does not exist.
    pub fn with_mapping(input: R, mapping: &Mapping) -> Result<Self, SourceError> {
        let mut records = Records::open(input)?;
        match records.next().map_err(SourceError::Read)? {
            Some(Found::Record { .. }) => {}
            Some(Found::Broken { detail, .. }) => return Err(SourceError::BrokenHeader(detail)),
            None => return Err(SourceError::Empty),
        }
        let header = header(&records)?;
        let columns = columns(&header, mapping)?;
        Ok(Self { records, columns, header, is_broken: false, rows: RowReader::new(mapping), ended: false })
    }

    /// The names of the columns.
    #[must_use]
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// What stands between the fields: a comma, a semicolon or a tab.
    #[must_use]
    pub fn delimiter(&self) -> u8 {
        self.records.delimiter()
    }

    /// The texts of the record of which the last row was made, or for which it was refused; those of the header before the first row.
    ///
    /// A record that cannot be taken apart is one text, its first line. Bytes that are no UTF-8 are replaced.
    ///
    /// ```
    /// use wawp_contacts::crm::Csv;
    ///
    /// let mut rows = Csv::new("id;name;phone\n8;Bob;none\n".as_bytes())?;
    /// assert!(rows.next().is_some_and(|row| row.is_err()));
    /// assert_eq!(rows.record(), ["8", "Bob", "none"]);
    /// # Ok::<(), wawp_contacts::crm::SourceError>(())
    /// ```
    #[must_use]
    pub fn record(&self) -> Vec<String> {
        if self.is_broken { vec![self.records.first_line()] } else { self.records.texts().collect() }
    }

    /// Reads the record that was found.
    fn row(&mut self, line: u64, last_line: u64) -> Result<CrmContact, Refusal> {
        let malformed = |crm_id: Option<&str>, detail: String| {
            Refusal::new(RefusalReason::Malformed, detail).at_line(line).of_row(crm_id)
        };
        let Some(text) = self.records.text() else {
            let broken = (0..self.records.len()).find(|index| self.records.sound_field(*index).is_none());
            let column = broken.and_then(|index| self.header.get(index)).map(|name| format!(" in the column {name:?}"));
            let id = self.columns[Field::Id as usize].and_then(|column| self.records.sound_field(column));
            let detail = format!("the row is not UTF-8{}; save the file as UTF-8", column.unwrap_or_default());
            return Err(malformed(id.map(str::trim).filter(|id| !id.is_empty()), detail));
        };
        let texts: Texts<'_> = self.columns.map(|column| self.records.field(text, column?));
        let (fields, width) = (self.records.len(), self.header.len());
        let is_spilt = |index: usize| self.records.field(text, index).is_none_or(|field| !field.trim().is_empty());
        if fields < width || (width..fields).any(is_spilt) {
            let detail =
                format!("the row has {fields} fields where the header has {width}; check its quotes and line breaks");
            if last_line > line {
                self.is_broken = true;
                self.records.retry_after_first_line();
                return Err(malformed(None, detail));
            }
            return Err(malformed(filled(&texts, Field::Id), detail));
        }
        self.rows.read(line, &texts)
    }
}

impl<R: Read> Iterator for Csv<R> {
    type Item = Result<CrmContact, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        self.is_broken = false;
        let row = match self.records.next() {
            Ok(Some(Found::Record { line, last_line })) => self.row(line, last_line),
            Ok(Some(Found::Broken { line, detail })) => {
                self.is_broken = true;
                Err(Refusal::new(RefusalReason::Malformed, detail).at_line(line))
            }
            Ok(None) => {
                self.ended = true;
                return None;
            }
            Err(error) => {
                self.ended = true;
                return Some(Err(RowError::Source(SourceError::Read(error).into())));
            }
        };
        Some(row.map_err(RowError::Refused))
    }
}

fn header<R: Read>(records: &Records<R>) -> Result<Vec<String>, SourceError> {
    let text = records.text().ok_or(SourceError::NotUtf8)?;
    (0..records.len())
        .map(|index| Some(records.field(text, index)?.trim().to_owned()))
        .collect::<Option<_>>()
        .ok_or(SourceError::NotUtf8)
}

/// Finds the column of each field: the best name wins, then the leftmost.
fn columns(header: &[String], mapping: &Mapping) -> Result<PerField<Option<usize>>, SourceError> {
    let vocabulary = Vocabulary::of(mapping);
    let mut best = [None; Field::ALL.len()];
    for (index, name) in header.iter().enumerate() {
        for (field, rank) in vocabulary.fields(&folded(name)) {
            let column = &mut best[*field as usize];
            if column.is_none_or(|(other, _)| *rank < other) {
                *column = Some((*rank, index));
            }
        }
    }
    let columns = best.map(|column| column.map(|(_, index)| index));
    for (field, name) in mapping.mapped() {
        if columns[field as usize].is_none() {
            return Err(SourceError::UnknownColumn { name: name.to_owned(), found: header.to_vec() });
        }
    }
    let lacks = |fields: &[Field]| fields.iter().all(|field| columns[*field as usize].is_none());
    let wanted: [&[Field]; 3] = [&[Field::Id], &Field::PERSON, &Field::NAME];
    let wanted = wanted.into_iter().zip(NEEDS.map(|(what, _)| what));
    let missing: Vec<_> = wanted.filter(|(fields, _)| lacks(fields)).map(|(_, what)| what).collect();
    if missing.is_empty() { Ok(columns) } else { Err(SourceError::MissingColumn { missing, found: header.to_vec() }) }
}

#[cfg(test)]
mod tests;
