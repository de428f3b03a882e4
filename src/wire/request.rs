//! Bodies and queries of requests, assembled from parts escaped beforehand.

use std::fmt::Write;

use bytes::Bytes;
use url::form_urlencoded;

use crate::{ChatId, ContactName};

/// The constant start of a JSON object: fields that are the same in every body.
pub(crate) struct BodyStart(String);

impl BodyStart {
    pub(crate) fn new(fields: &[(&str, &str)]) -> Self {
        let mut start = String::from("{");
        for (key, value) in fields {
            push_field(&mut start, key, value);
        }
        Self(start)
    }

    /// The body that sets a name; with the chat in it unless the route names the chat.
    pub(crate) fn update(&self, chat: Option<&ChatId>, name: &ContactName) -> Bytes {
        let texts = chat.map_or(0, |chat| chat.as_str().len()) + name.first().len() + name.last().map_or(0, str::len);
        let keys = r#""chatId":"","firstName":"","lastName":"","#.len();
        let mut body = String::with_capacity(self.0.len() + keys + texts + 8);
        body.push_str(&self.0);
        if let Some(chat) = chat {
            push_field(&mut body, "chatId", chat.as_str());
        }
        push_field(&mut body, "firstName", name.first());
        // Never an empty one: an engine answers it with 500.
        if let Some(last) = name.last() {
            push_field(&mut body, "lastName", last);
        }
        body.push('}');
        body.into()
    }

    /// The body without further fields.
    pub(crate) fn alone(&self) -> Bytes {
        format!("{}}}", self.0).into()
    }
}

fn push_field(body: &mut String, key: &str, value: &str) {
    body.push_str(if body.len() == 1 { "\"" } else { ",\"" });
    body.push_str(key);
    body.push_str("\":\"");
    push_escaped(body, value);
    body.push('"');
}

/// Escapes a text for JSON: quotes, backslashes and control characters, and nothing else.
fn push_escaped(body: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        let (plain, special) = rest.split_at(at);
        body.push_str(plain);
        match special.as_bytes()[0] {
            byte @ (b'"' | b'\\') => body.extend(['\\', char::from(byte)]),
            byte => drop(write!(body, "\\u{byte:04x}")),
        }
        rest = &special[1..];
    }
    body.push_str(rest);
}

/// `a=1&b=2`, each value encoded.
pub(crate) fn query(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// A chat id as one segment of a path.
pub(crate) fn path_segment(chat: &ChatId) -> String {
    form_urlencoded::byte_serialize(chat.as_str().as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn chat() -> ChatId {
        "15551234567@c.us".parse().unwrap()
    }

    fn sent(body: &Bytes) -> serde_json::Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn a_body_holds_the_constant_fields_and_the_three_that_change() {
        let start = BodyStart::new(&[("instance_id", "WAWP-1"), ("access_token", "a\"b\\c")]);
        let body = start.update(Some(&chat()), &ContactName::new("Ann", "Lee").unwrap());
        let expected = json!({"instance_id": "WAWP-1", "access_token": "a\"b\\c", "chatId": "15551234567@c.us",
            "firstName": "Ann", "lastName": "Lee"});
        assert_eq!(sent(&body), expected);
    }

    #[test]
    fn a_missing_last_name_is_left_out() {
        let start = BodyStart::new(&[]);
        let name = ContactName::new("Ann", "").unwrap();
        assert_eq!(&start.update(None, &name)[..], br#"{"firstName":"Ann"}"#);
        assert_eq!(&start.alone()[..], b"{}");
    }

    #[test]
    fn a_chat_is_percent_encoded_in_a_path() {
        assert_eq!(path_segment(&chat()), "15551234567%40c.us");
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_the_body(value: String, other: String) {
            let body = BodyStart::new(&[("a", &value), ("b", &other)]).alone();
            prop_assert_eq!(sent(&body), json!({"a": value, "b": other}));
        }

        #[test]
        fn any_name_comes_back_and_the_buffer_was_large_enough(first in "\\PC{0,40}", last in "\\PC{0,40}") {
            prop_assume!(ContactName::new(&first, &last).is_ok());
            let name = ContactName::new(&first, &last).unwrap();
            let body = BodyStart::new(&[("instance_id", "i")]).update(Some(&chat()), &name);
            let sent = sent(&body);
            prop_assert_eq!(sent["firstName"].as_str(), Some(name.first()));
            prop_assert_eq!(sent.get("lastName").and_then(|last| last.as_str()), name.last());
        }
    }
}
