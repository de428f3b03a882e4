//! Checked values as their text, for `serde`: what is read is checked as parsing checks it.

use std::{fmt, fmt::Display, marker::PhantomData, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

use super::{ChatId, InstanceId, Phone};

/// Reads a text by `FromStr`; the error says what is wrong, and never repeats the text.
struct Text<T>(&'static str, PhantomData<T>);

impl<T: FromStr<Err: Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

impl Serialize for ChatId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ChatId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text("a chat id", PhantomData))
    }
}

impl Serialize for Phone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Phone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text("a phone number", PhantomData))
    }
}

impl Serialize for InstanceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for InstanceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text("an instance id", PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read<T: for<'de> Deserialize<'de>>(json: &str) -> Option<T> {
        serde_json::from_str(json).ok()
    }

    #[test]
    fn ids_are_serialised_as_their_text() {
        let chat: ChatId = "12025550142@c.us".parse().unwrap();
        assert_eq!(serde_json::to_string(&chat).unwrap(), r#""12025550142@c.us""#);
        assert_eq!(serde_json::to_string(&chat.phone()).unwrap(), r#""12025550142""#);
        let instance: InstanceId = "A1B2".parse().unwrap();
        assert_eq!(serde_json::to_string(&instance).unwrap(), r#""A1B2""#);
        assert_eq!(read::<InstanceId>(r#""A1B2""#), Some(instance));
    }

    #[test]
    fn what_parsing_refuses_is_refused_without_repeating_it() {
        let group = serde_json::from_str::<ChatId>(r#""12036302@g.us""#).unwrap_err().to_string();
        assert!(group.contains("this is a group") && !group.contains("12036302"), "{group}");
        for json in ["7", "null", "[]", r#""""#, r#""x""#] {
            assert_eq!((read::<ChatId>(json), read::<Phone>(json)), (None, None), "{json}");
        }
        assert_eq!(read::<InstanceId>(r#""a b""#), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_parsing_reads_it(text in "[+0-9]{0,18}(@(c.us|lid|g.us))?|\\PC*") {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(read::<ChatId>(&json), text.parse().ok());
            prop_assert_eq!(read::<Phone>(&json), text.parse().ok());
            prop_assert_eq!(read::<InstanceId>(&json), text.parse().ok());
            if let Some(chat) = read::<ChatId>(&json) {
                prop_assert_eq!(read::<ChatId>(&serde_json::to_string(&chat).unwrap()), Some(chat));
            }
        }
    }
}
