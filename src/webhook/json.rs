//! Reading JSON of which nothing may be taken for granted.
//!
//! A value stays the slice of the body that it came as until it is asked for. So every item is parsed alone, a bad one cannot
//! take its neighbours along, and nothing is built for what nobody reads. Skipping a value does not recurse.

use std::borrow::Cow;

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};
use serde_json::value::RawValue;

use super::ParseError;

/// A value of the body: any JSON, `null`, or absent.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Node<'a>(#[serde(borrow)] Option<&'a RawValue>);

impl<'a> Node<'a> {
    /// Checks that all of the body is one JSON value.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ParseError> {
        serde_json::from_slice(body).map_err(|_| ParseError)
    }

    /// How many bytes it has.
    pub(super) fn size(self) -> usize {
        self.raw().len()
    }

    fn raw(self) -> &'a str {
        self.0.map_or("null", RawValue::get)
    }

    pub(super) fn is_object(self) -> bool {
        self.raw().starts_with('{')
    }

    /// Whether nothing is there, or `null`.
    pub(super) fn is_absent(self) -> bool {
        self.0.is_none()
    }

    pub(super) fn is_array(self) -> bool {
        self.raw().starts_with('[')
    }

    /// Reads an object; anything else is an object without fields.
    pub(super) fn read<T: Deserialize<'a> + Default>(self) -> T {
        // The look ahead is needed: what `serde` derives takes an array for an object, too.
        if self.is_object() { serde_json::from_str(self.raw()).unwrap_or_default() } else { T::default() }
    }

    /// The values of an array; anything else is an empty one.
    pub(super) fn items(self) -> Vec<Self> {
        serde_json::from_str(self.raw()).unwrap_or_default()
    }

    /// A string or a number as text without outer white space; `None` for a blank one and for anything else.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        let raw = self.raw();
        let text = match raw.as_bytes().first()? {
            b'"' => unescape(raw),
            b'-' | b'0'..=b'9' => Cow::Borrowed(raw),
            _ => return None,
        };
        let text = match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
        };
        (!text.is_empty()).then_some(text)
    }

    /// Whether this is `true`, in any of the spellings that providers use.
    pub(super) fn is_true(self) -> bool {
        self.raw() == "true" || matches!(self.text().as_deref(), Some("true" | "1"))
    }
}

fn unescape(raw: &str) -> Cow<'_, str> {
    let inner = &raw[1..raw.len() - 1];
    if inner.contains('\\') {
        serde_json::from_str::<Lossy>(raw).map_or(Cow::Borrowed(""), |text| Cow::Owned(text.0))
    } else {
        Cow::Borrowed(inner)
    }
}

/// A string in which half of a surrogate pair, left over where somebody cut an emoji, becomes U+FFFD.
struct Lossy(String);

impl<'de> Deserialize<'de> for Lossy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Lossy;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Lossy, E> {
                Ok(Lossy(String::from_utf8_lossy(bytes).into_owned()))
            }
        }

        // Only read as bytes does `serde_json` let a lone surrogate pass.
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node<'_> {
        Node::parse(text.as_bytes()).unwrap()
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Pair<'a> {
        #[serde(borrow)]
        a: Node<'a>,
        b: Node<'a>,
    }

    #[test]
    fn a_text_is_a_string_or_a_number_of_any_size() {
        assert_eq!(node(r#"" x ""#).text().as_deref(), Some("x"));
        assert_eq!(node("18446744073709552000").text().as_deref(), Some("18446744073709552000"));
        assert_eq!(node("-1e999").text().as_deref(), Some("-1e999"));
        for nothing in ["null", "true", r#""  ""#, "[1]", "{}"] {
            assert_eq!(node(nothing).text(), None, "{nothing}");
        }
    }

    #[test]
    fn a_cut_emoji_does_not_lose_its_text() {
        let text = node(r#""Zo\u00eb \ud83c""#).text().unwrap().into_owned();
        assert!(text.starts_with("Zoë \u{fffd}"), "{text}");
        assert_eq!(node(r#""\ud83c\udf31""#).text().as_deref(), Some("🌱"));
    }

    #[test]
    fn a_field_may_have_any_type_null_or_none() {
        let pair: Pair<'_> = node(r#"{"a": {"deep": [1e999]}, "other": "\ud800", "b": null}"#).read();
        assert!(pair.a.is_object());
        assert_eq!(pair.b.text(), None);
        assert!(!node("[1, 2]").read::<Pair<'_>>().a.is_object());
        assert_eq!(node("[1, 2]").read::<Pair<'_>>().a.text(), None);
    }

    #[test]
    fn an_item_that_repeats_a_key_is_empty_and_its_neighbours_are_not() {
        let items = node(r#"[{"a":1,"a":2},{"a":3}]"#).items();
        let read: Vec<_> = items.iter().map(|item| item.read::<Pair<'_>>().a.text()).collect();
        assert_eq!(read, [None, Some("3".into())]);
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        let pair: Pair<'_> = node(&deep).read();
        assert_eq!(pair.a.items().len(), 1);
    }

    #[test]
    fn what_is_no_json_is_told_apart() {
        for wrong in ["", "{", "{} x", "nul", "\u{feff}{}"] {
            assert!(Node::parse(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert!(Node::parse(b"\"\xff\"").is_err());
    }
}
