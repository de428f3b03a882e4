//! Who is called what: chat ids, phones, instances and contact names.
//!
//! Everything here is a checked value: once you hold one, it can be sent. Parsing does no I/O and never guesses.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};

#[cfg(feature = "phone")]
mod region;

#[cfg(feature = "phone")]
pub(crate) use region::is_international;
#[cfg(feature = "phone")]
pub use region::{ParseRegionError, Region};

/// One WhatsApp account connected to Wawp, named by the id that Wawp gave it.
///
/// 1 to 128 printable ASCII characters without spaces.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(Box<str>);

impl InstanceId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InstanceId {
    type Err = ParseInstanceIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(ParseInstanceIdError)
        }
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceId({})", self.0)
    }
}

/// An instance id was empty, longer than 128 bytes, or held a space or a character outside printable ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an instance id is 1 to 128 printable ASCII characters without spaces")]
#[non_exhaustive]
pub struct ParseInstanceIdError;

/// A phone number: 7 to 15 digits, country code first, no `+` and no `00`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Phone(Box<str>);

/// One person's chat: `15551234567@c.us` (a phone) or `123456789012345@lid` (a privacy id).
///
/// Ordered by its text, which is also the order of a ledger.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChatId(Box<str>);

impl ChatId {
    /// The id as it is sent: `15551234567@c.us` or `123456789012345@lid`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a privacy id, whose digits are no phone number.
    #[must_use]
    pub fn is_lid(&self) -> bool {
        self.0.ends_with("@lid")
    }

    /// The phone number of the chat, or `None` for a privacy id.
    #[must_use]
    pub fn phone(&self) -> Option<Phone> {
        Some(Phone(self.0.strip_suffix("@c.us")?.into()))
    }
}

/// The name that an address book shows for a contact: a first name and perhaps a last name.
///
/// Neither is ever blank: a contact without a last name has `None`, because the API refuses an empty one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContactName {
    first: Box<str>,
    last: Option<Box<str>>,
}

impl ContactName {
    /// Takes a first name and a last name; either may be blank, but not both.
    ///
    /// Outer white space is dropped. With a blank first name the last name becomes the first.
    ///
    /// # Errors
    ///
    /// Fails if both are blank, or if one holds a control character (a line break, a tab).
    pub fn new(first: &str, last: &str) -> Result<Self, NameError> {
        let (first, last) = (first.trim(), last.trim());
        if first.chars().chain(last.chars()).any(char::is_control) {
            return Err(NameError::Control);
        }
        match (first.is_empty(), last.is_empty()) {
            (true, true) => Err(NameError::Blank),
            (true, false) => Ok(Self { first: last.into(), last: None }),
            (false, true) => Ok(Self { first: first.into(), last: None }),
            (false, false) => Ok(Self { first: first.into(), last: Some(last.into()) }),
        }
    }

    /// The first name; never blank.
    #[must_use]
    pub fn first(&self) -> &str {
        &self.first
    }

    /// The last name, if there is one; never blank.
    #[must_use]
    pub fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// The full name: both joined by one space.
    #[must_use]
    pub fn full(&self) -> String {
        match &self.last {
            Some(last) => format!("{} {last}", self.first),
            None => self.first.clone().into(),
        }
    }

    /// A stable mark of this name, to compare by.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update([Fingerprint::VERSION]);
        hash.update(self.first.as_bytes());
        if let Some(last) = &self.last {
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
        f.write_str(&self.first)?;
        self.last.as_deref().map_or(Ok(()), |last| write!(f, " {last}"))
    }
}

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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 16]);

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
        f.write_str("Fingerprint(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl Phone {
    /// The digits, country code first: `15551234567`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The chat that belongs to this number: `15551234567@c.us`.
    #[must_use]
    pub fn chat(&self) -> ChatId {
        ChatId(format!("{}@c.us", self.0).into())
    }
}

impl FromStr for Phone {
    type Err = ParsePhoneError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Placeholder reading: the whole of API.md section 3 belongs here.
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let digits = digits.strip_prefix("00").unwrap_or(&digits);
        match digits.len() {
            0..7 => Err(ParsePhoneError::TooShort),
            7..=15 => Ok(Self(digits.into())),
            _ => Err(ParsePhoneError::TooLong),
        }
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Phone({})", self.0)
    }
}

impl FromStr for ChatId {
    type Err = ParseChatIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('@') {
            Some((digits, "lid")) => Ok(Self(format!("{digits}@lid").into())),
            Some((digits, "c.us" | "s.whatsapp.net")) => Ok(digits.parse::<Phone>()?.chat()),
            Some(_) => Err(ParseChatIdError::Group),
            None => Ok(text.parse::<Phone>()?.chat()),
        }
    }
}

impl From<Phone> for ChatId {
    fn from(phone: Phone) -> Self {
        phone.chat()
    }
}

impl fmt::Display for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChatId({})", self.0)
    }
}

/// Why a text is no phone number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePhoneError {
    /// Fewer than 7 digits.
    #[error("too short for a phone number; give 7 to 15 digits, country code first")]
    TooShort,
    /// More than 15 digits.
    #[error("too long for a phone number; give 7 to 15 digits, country code first")]
    TooLong,
    /// Does not fit the numbering plan of the region, which is named.
    #[error("not a phone number of {0}; check the digits, or write it with + and the country code")]
    NotInRegion(&'static str),
    /// The area code is missing for a number of the region, which is named.
    #[error("the area code is missing for a phone number of {0}; write it with + and the country code")]
    NoAreaCode(&'static str),
    /// The digits may or may not begin with the country code of the region, which is named.
    #[error("may be a number of {0} with or without its country code; write it with + and the country code")]
    Ambiguous(&'static str),
}

/// Why a text is no person's chat id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseChatIdError {
    /// A group.
    #[error("this is a group, not a person")]
    Group,
    /// A phone number that is none.
    #[error(transparent)]
    Phone(#[from] ParsePhoneError),
}
