use std::{
    borrow::Cow,
    fmt,
    io::{self, BufRead, BufReader, Read},
};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{
    CrmContact, Mapping, Refusal, RefusalReason, RowError, SourceError,
    mapping::{Field, PerField, Vocabulary, fold_into},
    row::RowReader,
};

/// The longest line; a longer one is refused rather than kept in memory.
const LIMIT: u64 = 1 << 20;

/// Contacts from JSON Lines: one object per line, with the same names as a CSV header.
///
/// Ids, phones and versions may be numbers. Blank lines are skipped. A line that is no object, is longer than 1 MiB, or has
/// a list, an object, a truth value or a fraction where a text belongs is refused as [`Malformed`](RefusalReason::Malformed).
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
    bytes: Vec<u8>,
    name: String,
    line: u64,
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
            bytes: Vec::new(),
            name: String::new(),
            line: 0,
            ended: false,
        }
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
        let malformed = |detail| Refusal { reason: RefusalReason::Malformed, line: Some(line), crm_id: None, detail };
        let mut json = serde_json::Deserializer::from_slice(&self.bytes);
        let object = Object { vocabulary: &self.vocabulary, name: &mut self.name };
        let values = object.deserialize(&mut json).and_then(|values| json.end().map(|()| values));
        let values = values.map_err(|error| malformed(format!("the line is no JSON object: {}", about(&error))))?;
        if let Some((field, kind)) =
            values.iter().zip(Field::ALL).find_map(|(value, field)| Some((field, value.misfit()?)))
        {
            return Err(malformed(format!("the value of {field:?} is {kind}; it must be a text or a whole number")));
        }
        self.rows.read(line, &values.each_ref().map(Value::text))
    }

    fn step(&mut self) -> Result<Option<CrmContact>, RowError> {
        let failed = |error| RowError::Source(SourceError::Read(error).into());
        while self.read_line().map_err(failed)? {
            if self.line == 1 && matches!(*self.bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
                return Err(RowError::Source(SourceError::Utf16.into()));
            }
            if self.is_overlong() {
                self.skip_rest_of_line().map_err(failed)?;
                let detail = "the line is longer than 1 MiB".into();
                let refusal = Refusal { reason: RefusalReason::Malformed, line: Some(self.line), crm_id: None, detail };
                return Err(RowError::Refused(refusal));
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

/// The value of one field.
enum Value<'a> {
    /// The field is not there, or null.
    None,
    Text(Cow<'a, str>),
    Misfit(&'static str),
}

impl Value<'_> {
    fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    fn misfit(&self) -> Option<&'static str> {
        if let Self::Misfit(kind) = self { Some(kind) } else { None }
    }
}

/// An object whose fields are known by their names.
struct Object<'m> {
    vocabulary: &'m Vocabulary,
    name: &'m mut String,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = PerField<Value<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

/// A key, borrowed where the text allows it.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Visitor<'de> for Object<'_> {
    type Value = PerField<Value<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = Field::ALL.map(|_| (usize::MAX, Value::None));
        while let Some(Key(key)) = map.next_key()? {
            fold_into(self.name, &key);
            let fields = self.vocabulary.fields(self.name);
            if fields.is_empty() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value::<Value<'de>>()?;
            for (field, rank) in fields {
                let slot = &mut values[*field as usize];
                if *rank < slot.0 {
                    *slot = (*rank, value.copied());
                }
            }
        }
        Ok(values.map(|(_, value)| value))
    }
}

impl Value<'_> {
    /// One value can be that of two fields, when both are mapped to it.
    fn copied(&self) -> Self {
        match self {
            Self::None => Self::None,
            Self::Text(text) => Self::Text(text.clone()),
            Self::Misfit(kind) => Self::Misfit(kind),
        }
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::None)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(text.to_owned().into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Value::Text(number.to_string().into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Value::Text(number.to_string().into()))
    }

    /// A number that left a spreadsheet as `15551234567.0` is whole; beyond 2^53 its last digits are lost.
    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        let is_whole = number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0;
        Ok(if is_whole { Value::Text(number.to_string().into()) } else { Value::Misfit("no whole number") })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Value::Misfit("a truth value"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Misfit("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Misfit("an object"))
    }
}

#[cfg(test)]
mod tests;
