//! Who is called what: chat ids, phones, instances and contact names.
//!
//! Everything here is a checked value: once you hold one, it can be sent. Parsing does no I/O and never guesses: a text that could
//! mean two numbers is refused, with a word on how to mend it, because a wrong guess would rename somebody else.
//!
//! With `serde`, ids and phones are their text, a name is `["First"]` or `["First", "Last"]`, and what is read is checked as it is when
//! parsed.
//!
//! No error repeats what it was given. A CRM's cells are people's numbers, and errors end up in logs.

use std::{fmt, str::FromStr};

mod chat;
pub(crate) mod hex;
mod name;
mod phone;
#[cfg(feature = "phone")]
mod region;
mod text;

#[cfg(feature = "phone")]
pub(crate) use self::phone::is_international;
#[cfg(feature = "phone")]
pub use self::region::{ParseRegionError, Region};
pub use self::{
    chat::{ChatId, ParseChatIdError},
    name::{ContactName, Fingerprint, NameError},
    phone::{ParsePhoneError, Phone},
};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_id_is_trimmed_and_printable() {
        assert_eq!(" A1B2-c3 ".parse::<InstanceId>().unwrap().as_str(), "A1B2-c3");
        assert!("x".repeat(128).parse::<InstanceId>().is_ok());
        for text in ["", "  ", "a b", "é", "a\nb", &"x".repeat(129)] {
            assert_eq!(text.parse::<InstanceId>(), Err(ParseInstanceIdError), "{text:?}");
        }
    }
}
