use std::{
    borrow::Cow,
    fmt,
    io::{self, BufRead, BufReader, Read},
};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{
    CrmContact, Mapping, Refusal, RefusalReason, RowError, SourceError,
    mapping::{Field, PerField, Vocabulary, fold_into, folded},
    row::RowReader,
};
use crate::json::{Json, Key};

/// The longest line; a longer one is refused rather than kept in memory.
const LIMIT: u64 = 1 << 20;

/// Contacts from JSON Lines: one object per line, with the same names as a CSV header.
///
/// Ids, phones and versions may be numbers. Blank lines are skipped. A line that is no object, is longer than 1 MiB, or has
/// a list, an object, a truth value or a fraction where a text belongs is refused as [`Malformed`](RefusalReason::Malformed). One
/// array of all objects is no JSON Lines: such a source is refused as a whole.
///
/// ```
/// use wawp_contacts::crm::JsonLines;
///
/// let lines = r#"{"id": 7, "firstName": "Ada", "phone": 447700900123, "updated_at": "2026-01-01"}"#;
/// let mut rows = JsonLines::new(lines.as_bytes());
/// assert!(rows.next().is_some_and(|row| row.is_ok_and(|contact| contact.id == "7" && contact.version == Some(1_767_225_600_000))));
/// ```
#[derive(Debug)]
#[must_use = "rows are read when the iterator is driven"]
pub struct JsonLines<R> {
    input: BufReader<R>,
    vocabulary: Vocabulary,
    rows: RowReader,
    missing: Missing,
    bytes: Vec<u8>,
    name: String,
    line: u64,
    /// Whether nothing but blank lines was read yet.
    is_start: bool,
    ended: bool,
}

impl<R: Read> JsonLines<R> {
    /// Takes lines whose names are recognised.
    pub fn new(input: R) -> Self {
        Self::with_mapping(input, &Mapping::new())
    }

    /// Takes lines whose names are found by a mapping, and recognised where nothing is mapped.
    pub fn with_mapping(input: R, mapping: &Mapping) -> Self {
        Self {
            input: BufReader::with_capacity(64 << 10, input),
            vocabulary: Vocabulary::of(mapping),
            rows: RowReader::new(mapping),
            missing: Missing::of(mapping),
            bytes: Vec::new(),
            name: String::new(),
            line: 0,
            is_start: true,
            ended: false,
        }
    }

    /// A mapped name that no line has had so far, as the error that tells it; `None` before the first object.
    ///
    /// An object may leave a key out, so only the end of a file tells that nothing is called so, and only the caller knows whether the file
    /// is long enough to tell.
    ///
    /// ```
    /// use wawp_contacts::crm::{JsonLines, Mapping};
    ///
    /// let mapping = Mapping::new().first("Vornahme");
    /// let mut lines = JsonLines::with_mapping(r#"{"id": 7, "Vorname": "Ada", "phone": 447700900123}"#.as_bytes(), &mapping);
    /// lines.by_ref().for_each(drop);
    /// let words = lines.unknown_column().map(|error| error.to_string());
    /// assert!(words.is_some_and(|words| words.contains("no column \"Vornahme\"") && words.ends_with("did you mean \"Vorname\"?")));
    /// ```
    #[must_use]
    pub fn unknown_column(&self) -> Option<SourceError> {
        let Missing { names, found } = &self.missing;
        let (_, name) = names.first().filter(|_| !found.is_empty())?;
        Some(SourceError::UnknownColumn { name: name.clone(), found: found.clone() })
    }

    /// Reads a line; gives `false` at the end of the file.
    fn read_line(&mut self) -> io::Result<bool> {
        self.bytes.clear();
        self.line += 1;
        (&mut self.input).take(LIMIT + 1).read_until(b'\n', &mut self.bytes)?;
        if self.line == 1 && self.bytes.starts_with(b"\xef\xbb\xbf") {
            self.bytes.drain(..3);
        }
        Ok(!self.bytes.is_empty() || !self.input.fill_buf()?.is_empty())
    }

    fn is_overlong(&self) -> bool {
        self.bytes.len() as u64 > LIMIT && !self.bytes.ends_with(b"\n")
    }

    fn skip_rest_of_line(&mut self) -> io::Result<()> {
        while !self.bytes.is_empty() && !self.bytes.ends_with(b"\n") {
            self.bytes.clear();
            (&mut self.input).take(LIMIT).read_until(b'\n', &mut self.bytes)?;
        }
        Ok(())
    }

    fn row(&mut self) -> Result<CrmContact, Refusal> {
        let line = self.line;
        let malformed = |detail| Refusal::new(RefusalReason::Malformed, detail).at_line(line);
        let mut json = serde_json::Deserializer::from_slice(&self.bytes);
        let object = Object { vocabulary: &self.vocabulary, missing: &mut self.missing, name: &mut self.name };
        let values = object.deserialize(&mut json).and_then(|values| json.end().map(|()| values));
        let values = values.map_err(|error| malformed(format!("the line is no JSON object: {}", about(&error))))?;
        let mut texts = Field::ALL.map(|_| None);
        for ((slot, value), field) in texts.iter_mut().zip(&values).zip(Field::ALL) {
            *slot = text(value).map_err(|kind| {
                malformed(format!("the value of {field:?} is {kind}; it must be a text or a whole number"))
            })?;
        }
        self.rows.read(line, &texts.each_ref().map(Option::as_deref))
    }

    fn step(&mut self) -> Result<Option<CrmContact>, RowError> {
        let failed = |error| RowError::Source(SourceError::Read(error).into());
        while self.read_line().map_err(failed)? {
            if self.line == 1 && matches!(*self.bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
                return Err(RowError::Source(SourceError::Utf16.into()));
            }
            let is_start = self.is_start;
            self.is_start &= self.bytes.trim_ascii().is_empty();
            if is_start && self.bytes.trim_ascii_start().starts_with(b"[") {
                return Err(RowError::Source(SourceError::JsonArray.into()));
            }
            if self.is_overlong() {
                self.skip_rest_of_line().map_err(failed)?;
                let refusal = Refusal::new(RefusalReason::Malformed, "the line is longer than 1 MiB");
                return Err(RowError::Refused(refusal.at_line(self.line)));
            }
            if !self.bytes.trim_ascii().is_empty() {
                return self.row().map(Some).map_err(RowError::Refused);
            }
        }
        Ok(None)
    }
}

impl<R: Read> Iterator for JsonLines<R> {
    type Item = Result<CrmContact, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step();
        self.ended = matches!(step, Ok(None) | Err(RowError::Source(_)));
        step.transpose()
    }
}

/// What is wrong and where, without the text that is wrong.
fn about(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        _ => "a mistake",
    };
    format!("{what} at character {}", error.column())
}

/// The text of a value: `None` if there is none, or what is wrong with it.
///
/// A number that left a spreadsheet as `15551234567.0` is whole; beyond 2^53 its last digits are lost.
fn text<'a>(value: &'a Json<'_>) -> Result<Option<Cow<'a, str>>, &'static str> {
    match value {
        Json::Null => Ok(None),
        Json::Text(text) => Ok(Some(Cow::Borrowed(text))),
        Json::Whole(number) => Ok(Some(number.to_string().into())),
        Json::Number(number) if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 => {
            Ok(Some(number.to_string().into()))
        }
        Json::Number(_) => Err("no whole number"),
        Json::Bool(_) => Err("a truth value"),
        Json::List(_) => Err("a list"),
        Json::Object(_) => Err("an object"),
    }
}

/// The mapped names that no object has had so far.
#[derive(Debug)]
struct Missing {
    /// Folded, and as given.
    names: Vec<(String, String)>,
    /// The first names that objects have had, while any is missing.
    found: Vec<String>,
}

impl Missing {
    /// So many names are told.
    const TOLD: usize = 30;

    fn of(mapping: &Mapping) -> Self {
        let names = mapping.mapped().map(|(_, name)| (folded(name), name.to_owned()));
        Self { names: names.collect(), found: Vec::new() }
    }

    fn see(&mut self, name: &str, key: &str) {
        if self.names.is_empty() {
            return;
        }
        self.names.retain(|(folded, _)| folded != name);
        if self.found.len() < Self::TOLD && self.found.iter().all(|found| found != key) {
            self.found.push(key.to_owned());
        }
    }
}

/// An object whose fields are known by their names.
struct Object<'m> {
    vocabulary: &'m Vocabulary,
    missing: &'m mut Missing,
    name: &'m mut String,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = PerField<Json<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = PerField<Json<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = Field::ALL.map(|_| (usize::MAX, Json::Null));
        while let Some(Key(key)) = map.next_key()? {
            fold_into(self.name, &key);
            self.missing.see(self.name, &key);
            let fields = self.vocabulary.fields(self.name);
            if fields.is_empty() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value::<Json<'de>>()?;
            for (field, rank) in fields {
                let slot = &mut values[*field as usize];
                if *rank < slot.0 {
                    // One value can be that of two fields, when both are mapped to it.
                    *slot = (*rank, value.clone());
                }
            }
        }
        Ok(values.map(|(_, value)| value))
    }
}

#[cfg(test)]
mod tests;
