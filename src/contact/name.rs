use std::{borrow::Cow, cmp::Ordering, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
    ser::SerializeSeq,
};
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use super::hex;

/// The name that an address book shows for a contact: a first name and perhaps a last name.
///
/// Neither is ever blank: a contact without a last name has `None`, because the API refuses an empty one.
///
/// Cloning one is cheap: the text is shared.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ContactName {
    full: Arc<str>,
    /// The length of the first name.
    first: usize,
}

impl ContactName {
    /// Takes a first name and a last name; either may be blank, but not both.
    ///
    /// Outer white space is dropped. With a blank first name the last name becomes the first. Nothing else is changed: to mend what
    /// people typed, clean it first with `naming::clean`, or let a `Naming` render the name.
    ///
    /// ```
    /// use wawp_contacts::ContactName;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let name = ContactName::new(" Ada ", "Lovelace")?;
    /// assert_eq!((name.first(), name.last()), ("Ada", Some("Lovelace")));
    /// assert_eq!(name.full(), "Ada Lovelace");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NameError::Blank`] if both are blank, [`NameError::Control`] if one holds a control character (a line break, a tab).
    pub fn new(first: &str, last: &str) -> Result<Self, NameError> {
        let (first, last) = (first.trim(), last.trim());
        if first.chars().chain(last.chars()).any(char::is_control) {
            return Err(NameError::Control);
        }
        Self::from_clean(first, last)
    }

    /// Takes names that are known to be trimmed and without control characters.
    pub(crate) fn from_clean(first: &str, last: &str) -> Result<Self, NameError> {
        match (first.is_empty(), last.is_empty()) {
            (true, true) => Err(NameError::Blank),
            (true, false) => Ok(Self { full: last.into(), first: last.len() }),
            (false, true) => Ok(Self { full: first.into(), first: first.len() }),
            (false, false) => Ok(Self { full: [first, " ", last].concat().into(), first: first.len() }),
        }
    }

    /// The first name; never blank.
    #[must_use]
    pub fn first(&self) -> &str {
        &self.full[..self.first]
    }

    /// The last name, if there is one; never blank.
    #[must_use]
    pub fn last(&self) -> Option<&str> {
        self.full.get(self.first + 1..)
    }

    /// The full name: both joined by one space.
    #[must_use]
    pub fn full(&self) -> &str {
        &self.full
    }

    /// Whether a text is the full name. How it is spelled in Unicode makes no difference: a phone may show the `ë` of `Zoë` as two
    /// characters.
    ///
    /// ```
    /// use wawp_contacts::ContactName;
    ///
    /// let name = ContactName::new("Ada", "Lovelace")?;
    /// assert!(name.is_full("Ada Lovelace"));
    /// assert!(!name.is_full("Ada"));
    /// assert!(ContactName::new("Zo\u{eb}", "")?.is_full("Zoe\u{308}"));
    /// # Ok::<(), wawp_contacts::contact::NameError>(())
    /// ```
    #[must_use]
    pub fn is_full(&self, full: &str) -> bool {
        *full == *self.full || (!full.is_ascii() && full.nfc().eq(self.full.nfc()))
    }

    /// A stable mark of this name, to compare by.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update([Fingerprint::VERSION]);
        hash.update(self.first().as_bytes());
        if let Some(last) = self.last() {
            hash.update([0]);
            hash.update(last.as_bytes());
        }
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        bytes[0] = Fingerprint::VERSION;
        Fingerprint(bytes)
    }
}

impl fmt::Display for ContactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

impl fmt::Debug for ContactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContactName").field("first", &self.first()).field("last", &self.last()).finish()
    }
}

/// By first name, then by last name.
impl Ord for ContactName {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.first(), self.last()).cmp(&(other.first(), other.last()))
    }
}

impl PartialOrd for ContactName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As `["First"]` or `["First", "Last"]`.
impl Serialize for ContactName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut parts = serializer.serialize_seq(Some(1 + usize::from(self.last().is_some())))?;
        parts.serialize_element(self.first())?;
        if let Some(last) = self.last() {
            parts.serialize_element(last)?;
        }
        parts.end()
    }
}

/// Takes and refuses what [`ContactName::new`] does.
impl<'de> Deserialize<'de> for ContactName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(PartsVisitor)
    }
}

struct PartsVisitor;

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = ContactName;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a first name and perhaps a last name")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Self::Value, A::Error> {
        let first: Part<'de> = parts.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let last: Option<Part<'de>> = parts.next_element()?;
        if parts.next_element::<Part<'de>>()?.is_some() {
            return Err(A::Error::invalid_length(3, &self));
        }
        ContactName::new(&first.0, last.as_ref().map_or("", |last| &last.0)).map_err(A::Error::custom)
    }
}

#[derive(Deserialize)]
struct Part<'a>(#[serde(borrow)] Cow<'a, str>);

/// Why a text cannot be a contact's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing is left once white space is dropped.
    #[error("the name is empty; give a first or a last name")]
    Blank,
    /// A control character, such as a line break.
    #[error("the name holds a control character; clean it first")]
    Control,
}

/// A stable mark of a rendered name: 16 bytes, of which the first is the version of the encoding.
///
/// The rest is the start of a SHA-256 over the version, the first name, and, if there is a last name, a zero byte and the
/// last name. A ledger outlives the process and the compiler, so this may only change together with the version.
///
/// Serialised as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(#[serde(with = "hex")] [u8; 16]);

impl Fingerprint {
    const VERSION: u8 = 1;

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Takes stored bytes back.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", hex::Hex(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Computed apart from this crate, from the description of [`Fingerprint`].
    const GOLDEN: [(&str, &str, &str); 5] = [
        ("Ada", "", "0169e3eb80e363fa92654bc266a3b56a"),
        ("Ada", "Lovelace", "0169974c4b6a22b421977a7c7fc05f04"),
        ("Bob", "[Lead]", "01959381a1a96436df8d41d3124a1f8c"),
        ("יהודית", "מלכה", "01c094d425d0f36379899bd705b2568f"),
        ("\u{1F469}\u{200D}\u{1F469}\u{200D}\u{1F467}", "", "01f0b6cd5df2644409bcfb34387546ce"),
    ];

    #[test]
    fn a_blank_name_is_refused_and_a_blank_first_name_filled() {
        assert_eq!(ContactName::new(" ", "\u{A0}"), Err(NameError::Blank));
        let name = ContactName::new(" ", " Bob ").unwrap();
        assert_eq!((name.first(), name.last()), ("Bob", None));
    }

    #[test]
    fn a_control_character_is_refused() {
        for (first, last) in [("B\nob", ""), ("Bob", "S\tmith"), ("", "\u{85}B\u{7F}ob"), ("B\0ob", "")] {
            assert_eq!(ContactName::new(first, last), Err(NameError::Control), "{first:?} {last:?}");
        }
    }

    #[test]
    fn a_fingerprint_stays_the_same_across_releases() {
        for (first, last, golden) in GOLDEN {
            let mark = ContactName::new(first, last).unwrap().fingerprint();
            assert_eq!(format!("{mark:?}"), format!("Fingerprint({golden})"), "{first} {last}");
            assert_eq!(Fingerprint::from_bytes(*mark.as_bytes()), mark);
        }
    }

    #[test]
    fn a_name_is_serialised_as_one_or_two_texts_and_a_mark_as_hex() {
        for (first, last, golden) in GOLDEN {
            let name = ContactName::new(first, last).unwrap();
            let json = serde_json::to_value(&name).unwrap();
            let parts = if last.is_empty() { serde_json::json!([first]) } else { serde_json::json!([first, last]) };
            assert_eq!(json, parts);
            assert_eq!(serde_json::to_value(name.fingerprint()).unwrap(), golden);
            assert_eq!(serde_json::from_value::<Fingerprint>(golden.into()).unwrap(), name.fingerprint());
            assert_eq!(serde_json::from_value::<ContactName>(json).unwrap(), name);
        }
    }

    #[test]
    fn what_is_no_name_is_not_read() {
        for json in ["[]", r#"["",""]"#, r#"[" "]"#, r#"["a\nb"]"#, r#"["a","b","c"]"#, r#"["a",null]"#, r#""a""#, "{}"]
        {
            assert!(serde_json::from_str::<ContactName>(json).is_err(), "{json}");
        }
        assert!(serde_json::from_str::<Fingerprint>(r#""01""#).is_err());
        assert_eq!(serde_json::from_str::<ContactName>(r#"[""," Bob "]"#).unwrap().first(), "Bob");
    }

    #[test]
    fn a_fingerprint_tells_first_from_last_name() {
        let mark = |first, last| ContactName::new(first, last).unwrap().fingerprint();
        assert_ne!(mark("Ada", "Lovelace"), mark("Ada Lovelace", ""));
        assert_ne!(mark("Ada", "Lovelace"), mark("Lovelace", "Ada"));
    }

    proptest! {
        #[test]
        fn a_name_is_never_blank_and_displays_as_its_full_name(first in any::<String>(), last in any::<String>()) {
            if let Ok(name) = ContactName::new(&first, &last) {
                prop_assert!(!name.first().trim().is_empty());
                prop_assert!(name.last().is_none_or(|last| !last.trim().is_empty()));
                prop_assert_eq!(name.full(), name.to_string());
                prop_assert!(name.is_full(name.full()));
                for other in [format!("{name}x"), format!("{name} "), String::new(), name.full().repeat(2)] {
                    prop_assert!(!name.is_full(&other));
                }
                prop_assert_eq!(serde_json::from_str::<ContactName>(&serde_json::to_string(&name).unwrap()).unwrap(), name);
            }
        }
    }
}
