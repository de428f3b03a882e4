//! Which column holds what.

use std::{collections::HashMap, str::FromStr};

use super::closest::closest;
#[cfg(feature = "phone")]
use crate::Region;

/// What a column can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Id,
    Chat,
    WhatsApp,
    Mobile,
    Phone,
    First,
    Last,
    Full,
    Country,
    Stage,
    Version,
}

/// One value for each field.
pub(super) type PerField<T> = [T; Field::ALL.len()];

impl Field {
    pub(super) const ALL: [Self; 11] = [
        Self::Id,
        Self::Chat,
        Self::WhatsApp,
        Self::Mobile,
        Self::Phone,
        Self::First,
        Self::Last,
        Self::Full,
        Self::Country,
        Self::Stage,
        Self::Version,
    ];

    /// The words by which people name the fields, in the order of [`ALL`](Self::ALL).
    const WORDS: [&str; 11] =
        ["id", "chat", "whatsapp", "mobile", "phone", "first", "last", "name", "country", "stage", "version"];

    /// The word by which a mapping names it.
    pub(super) fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    /// The field that people call so: by its word, or by a name by which its column is recognised.
    fn named(word: &str) -> Option<Self> {
        let folded = folded(word);
        let is_meant =
            |field: &Self| Self::WORDS[*field as usize] == folded || field.aliases().contains(&folded.as_str());
        Self::ALL.into_iter().find(is_meant)
    }

    /// The fields that say who the person is.
    pub(super) const PERSON: [Self; 4] = [Self::Chat, Self::WhatsApp, Self::Mobile, Self::Phone];

    /// The fields that say what the person is called.
    pub(super) const NAME: [Self; 3] = [Self::First, Self::Last, Self::Full];

    /// The names by which a column is recognised, folded, the preferred one first.
    pub(super) fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Id => {
                &["id", "recordid", "recordidcontact", "contactid", "leadid", "crmid", "customerid", "hsobjectid"]
            }
            Self::Chat => &["chatid", "whatsappid", "waid"],
            Self::WhatsApp => &["whatsapp", "whatsappphonenumber", "whatsappnumber", "hswhatsappphonenumber"],
            Self::Mobile => &["mobile", "mobilephone", "mobilephonenumber", "mobilenumber", "cellphone", "cell"],
            Self::Phone => &["phone", "phonenumber", "telephone", "telephonenumber", "tel"],
            Self::First => &["firstname", "first", "givenname", "forename"],
            Self::Last => &["lastname", "last", "familyname", "surname"],
            Self::Full => &["name", "fullname", "contactname", "displayname"],
            Self::Country => &["country", "countryregion", "countryregioncode", "countrycode", "mailingcountry"],
            Self::Stage => &["stage", "lifecyclestage", "leadstatus", "status"],
            Self::Version => &[
                "version",
                "updatedat",
                "lastmodifieddate",
                "lastmodified",
                "lastmodifiedat",
                "modifiedat",
                "systemmodstamp",
                "hslastmodifieddate",
            ],
        }
    }

    /// Fields that are not recognised once one of them is mapped: the mapped one would be outranked.
    fn rivals(self) -> &'static [Self] {
        if Self::PERSON.contains(&self) {
            &Self::PERSON
        } else if Self::NAME.contains(&self) {
            &Self::NAME
        } else {
            &[]
        }
    }
}

/// Which columns (or keys of a JSON object) hold what, where that is not to be recognised by name.
///
/// What is mapped wins over what is recognised. A mapping of a phone or chat id switches the recognition of the other
/// phones off, and a mapping of a name that of the other names. Case, spaces and punctuation do not matter.
///
/// ```
/// use wawp_contacts::crm::Mapping;
///
/// let mapping = Mapping::new().id("Kundennr").first("Vorname").last("Nachname").phone("Handy");
/// let from_settings: Mapping = "id=Kundennr, first=Vorname, last=Nachname, phone=Handy".parse()?;
/// assert_eq!(from_settings, mapping);
/// # Ok::<(), wawp_contacts::crm::ParseMappingError>(())
/// ```
///
/// A text names `id`, `chat`, `whatsapp`, `mobile`, `phone`, `first`, `last`, `name`, `country`, `stage` and `version`. A column's name may hold
/// a comma: what has no `=` belongs to the name before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "a mapping does nothing until a source is opened with it"]
pub struct Mapping {
    columns: PerField<Option<String>>,
    #[cfg(feature = "phone")]
    pub(super) region: Option<Region>,
}

impl Mapping {
    /// Maps nothing: every column is recognised by its name.
    pub fn new() -> Self {
        Self::default()
    }

    fn column(mut self, field: Field, name: impl Into<String>) -> Self {
        self.columns[field as usize] = Some(name.into());
        self
    }

    /// Names the column of the CRM's own id.
    pub fn id(self, name: impl Into<String>) -> Self {
        self.column(Field::Id, name)
    }

    /// Names the column of the chat id; a row that has one needs no phone.
    pub fn chat(self, name: impl Into<String>) -> Self {
        self.column(Field::Chat, name)
    }

    /// Names the column of the phone that is tried first.
    pub fn mobile(self, name: impl Into<String>) -> Self {
        self.column(Field::Mobile, name)
    }

    /// Names the column of the phone that is tried last.
    pub fn phone(self, name: impl Into<String>) -> Self {
        self.column(Field::Phone, name)
    }

    /// Names the column of the first name.
    pub fn first(self, name: impl Into<String>) -> Self {
        self.column(Field::First, name)
    }

    /// Names the column of the last name.
    pub fn last(self, name: impl Into<String>) -> Self {
        self.column(Field::Last, name)
    }

    /// Names the column of the whole name; it is the first name of a row without one.
    pub fn full(self, name: impl Into<String>) -> Self {
        self.column(Field::Full, name)
    }

    /// Names the column of the country, which is the region of national phone formats.
    pub fn country(self, name: impl Into<String>) -> Self {
        self.column(Field::Country, name)
    }

    /// Names the column of the funnel stage.
    pub fn stage(self, name: impl Into<String>) -> Self {
        self.column(Field::Stage, name)
    }

    /// Names the column of the version: a counter, or the date of the last change.
    pub fn version(self, name: impl Into<String>) -> Self {
        self.column(Field::Version, name)
    }

    /// Sets the region of phones in a national format in rows that name no country.
    ///
    /// Such a row's phone is then national unless it begins with `+` or `00`, or fits only with its country code.
    #[cfg(feature = "phone")]
    pub fn region(mut self, region: Region) -> Self {
        self.region = Some(region);
        self
    }

    /// The fields that are mapped, with the names of their columns.
    pub(super) fn mapped(&self) -> impl Iterator<Item = (Field, &str)> {
        Field::ALL.into_iter().filter_map(|field| Some((field, self.columns[field as usize].as_deref()?)))
    }
}

impl FromStr for Mapping {
    type Err = ParseMappingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        for part in text.split(',') {
            match (part.split_once('='), pairs.last_mut()) {
                (Some((word, column)), _) => pairs.push((word.trim(), column.to_owned())),
                (None, Some((_, column))) => column.extend([",", part]),
                (None, None) => return Err(ParseMappingError::NoColumn(part.trim().to_owned())),
            }
        }
        let mut mapping = Self::new();
        for (word, column) in pairs {
            let field = Field::named(word).ok_or_else(|| ParseMappingError::unknown(word))?;
            if column.trim().is_empty() {
                return Err(ParseMappingError::NoColumn(word.to_owned()));
            }
            if mapping.columns[field as usize].is_some() {
                return Err(ParseMappingError::Twice(Field::WORDS[field as usize]));
            }
            mapping = mapping.column(field, column.trim());
        }
        Ok(mapping)
    }
}

/// Why a text is no mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseMappingError {
    /// A word that names no field.
    #[error(
        "there is no field {word:?} among {}{}", Field::WORDS.join(", "),
        .meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default()
    )]
    UnknownField {
        /// The word.
        word: String,
        /// The field that may be meant.
        meant: Option<&'static str>,
    },
    /// A field without a column.
    #[error("{0:?} names no column; write field=column, such as first=Vorname")]
    NoColumn(String),
    /// A field has two columns.
    #[error("{0} is given two columns; name one")]
    Twice(&'static str),
}

impl ParseMappingError {
    fn unknown(word: &str) -> Self {
        Self::UnknownField { word: word.to_owned(), meant: closest(word, Field::WORDS) }
    }
}

/// The fields that a column's name stands for, each with its rank: the lowest wins.
#[derive(Debug)]
pub(super) struct Vocabulary(HashMap<String, Vec<(Field, usize)>>);

impl Vocabulary {
    pub(super) fn of(mapping: &Mapping) -> Self {
        let mut names = HashMap::<_, Vec<_>>::new();
        let is_mapped = |field: Field| mapping.columns[field as usize].is_some();
        for field in Field::ALL {
            if let Some(name) = &mapping.columns[field as usize] {
                names.entry(folded(name)).or_default().push((field, 0));
            } else if !field.rivals().iter().any(|rival| is_mapped(*rival)) {
                for (rank, alias) in field.aliases().iter().enumerate() {
                    names.entry((*alias).to_owned()).or_default().push((field, rank));
                }
            }
        }
        Self(names)
    }

    /// Looks a folded name up.
    pub(super) fn fields(&self, folded: &str) -> &[(Field, usize)] {
        self.0.get(folded).map_or(&[], Vec::as_slice)
    }
}

/// A column's name without what does not matter in it.
pub(super) fn folded(name: &str) -> String {
    let mut folded = String::with_capacity(name.len());
    fold_into(&mut folded, name);
    folded
}

/// Folds a name into a buffer that is used again and again.
pub(super) fn fold_into(buffer: &mut String, name: &str) {
    buffer.clear();
    for char in name.chars().filter(|char| char.is_alphanumeric()) {
        match char {
            // JSON Lines fold each name of each line, and nearly all are ASCII.
            '\0'..='\x7f' => buffer.push(char.to_ascii_lowercase()),
            _ => buffer.extend(char.to_lowercase()),
        }
    }
    if buffer.is_empty() {
        buffer.push_str(name.trim());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_for_two_fields_by_itself() {
        let vocabulary = Vocabulary::of(&Mapping::new());
        for field in Field::ALL {
            for alias in field.aliases() {
                assert_eq!(folded(alias), *alias);
                assert_eq!(vocabulary.fields(alias).len(), 1, "{alias}");
            }
        }
    }

    #[test]
    fn fields_are_counted_in_order() {
        assert!(Field::ALL.iter().enumerate().all(|(index, field)| *field as usize == index));
    }

    #[test]
    fn a_mapped_phone_is_not_outranked_by_a_recognised_one() {
        let vocabulary = Vocabulary::of(&Mapping::new().phone("Handy"));
        assert_eq!(vocabulary.fields("handy"), [(Field::Phone, 0)]);
        assert!(vocabulary.fields("mobile").is_empty() && vocabulary.fields("chatid").is_empty());
        assert_eq!(vocabulary.fields("country").len(), 1);
    }

    #[test]
    fn a_mapping_is_read_from_a_text_by_words_and_by_recognised_names() {
        let read = |text: &str| text.parse::<Mapping>();
        let names = Mapping::new().first("Vorname").phone("Mobil");
        for text in ["first=Vorname,phone=Mobil", " first = Vorname , phone=Mobil ", "First Name=Vorname,tel=Mobil"] {
            assert_eq!(read(text), Ok(names.clone()), "{text}");
        }
        assert_eq!(read("name=Name, given,id=a=b"), Ok(Mapping::new().full("Name, given").id("a=b")));
        for (index, word) in Field::WORDS.into_iter().enumerate() {
            assert_eq!(Field::named(word).map(|field| field as usize), Some(index), "{word}");
        }
    }

    #[test]
    fn what_is_no_mapping_is_told_what_there_is() {
        let error = |text: &str| text.parse::<Mapping>().unwrap_err().to_string();
        let all = "id, chat, whatsapp, mobile, phone, first, last, name, country, stage, version";
        assert_eq!(error("fist=Vorname"), format!("there is no field \"fist\" among {all}; did you mean first?"));
        assert_eq!(error("colour=Farbe"), format!("there is no field \"colour\" among {all}"));
        for text in ["first", "first=", "first= ", ""] {
            assert!(error(text).contains("names no column; write field=column"), "{text:?}");
        }
        assert_eq!(error("first=A,first=B"), "first is given two columns; name one");
    }

    #[test]
    fn one_column_can_be_mapped_twice() {
        let vocabulary = Vocabulary::of(&Mapping::new().id("Phone").phone("Phone"));
        assert_eq!(vocabulary.fields("phone"), [(Field::Id, 0), (Field::Phone, 0)]);
    }
}
