//! Answers to reads, in every shape that the API and its engines give them.

use std::borrow::Cow;

use super::json::Json;
use crate::{ChatId, Phone};

/// One person of an address book, as read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) chat: ChatId,
    pub(crate) name: Option<String>,
    pub(crate) pushname: Option<String>,
}

/// The entries of a listing: a bare array, or one wrapped in an object.
pub(crate) fn entries<'j, 'b>(json: &'j Json<'b>) -> Option<&'j [Json<'b>]> {
    match json {
        Json::List(items) => Some(items),
        _ => match json.any(&["data", "contacts", "lids", "items", "result"])? {
            Json::List(items) => Some(items),
            _ => None,
        },
    }
}

/// A person; `None` for groups and whatever else is no person.
pub(crate) fn contact(item: &Json<'_>) -> Option<Item> {
    if item.get("isGroup").and_then(Json::truth) == Some(true) {
        return None;
    }
    let chat = id(item.any(&["id", "chatId", "jid"])?)?.parse().ok()?;
    let text = |keys: &[&str]| item.any(keys).and_then(Json::text).map(Cow::into_owned);
    Some(Item { chat, name: text(&["name"]), pushname: text(&["pushname", "pushName", "notifyName"]) })
}

/// An id: a text, or an object that holds it.
fn id<'j>(value: &'j Json<'_>) -> Option<Cow<'j, str>> {
    match value {
        Json::Object(_) => match value.any(&["_serialized", "id"]).and_then(Json::text) {
            Some(id) => Some(id),
            None => {
                let (user, server) = (value.get("user")?.text()?, value.get("server")?.text()?);
                Some(Cow::Owned(format!("{user}@{server}")))
            }
        },
        _ => value.text(),
    }
}

/// A person's id, if it is one.
pub(crate) fn chat(item: &Json<'_>, keys: &[&str]) -> Option<ChatId> {
    id(item.any(keys)?)?.parse().ok()
}

/// A phone number: digits, or a chat id of one. A privacy id is none.
pub(crate) fn phone(item: &Json<'_>, keys: &[&str]) -> Option<Phone> {
    chat(item, keys)?.phone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Item> {
        contact(&Json::parse(json.as_bytes()).unwrap())
    }

    fn item(chat: &str, name: Option<&str>, pushname: Option<&str>) -> Option<Item> {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Some(Item { chat: chat.parse().unwrap(), name: text(name), pushname: text(pushname) })
    }

    #[test]
    fn a_person_is_read_from_every_shape() {
        let bob = |name, pushname| item("15551234567@c.us", name, pushname);
        let table = [
            (r#"{"id":"15551234567@c.us","name":"Bob","pushname":"b"}"#, bob(Some("Bob"), Some("b"))),
            (r#"{"id":{"_serialized":"15551234567@c.us","user":"1"},"name":null}"#, bob(None, None)),
            (
                r#"{"id":{"user":"15551234567","server":"s.whatsapp.net"},"name":" ","pushName":"b"}"#,
                bob(None, Some("b")),
            ),
            (r#"{"id":15551234567,"isGroup":false,"name":"Bob"}"#, bob(Some("Bob"), None)),
            (r#"{"id":"123456789012345@lid"}"#, item("123456789012345@lid", None, None)),
        ];
        for (json, expected) in table {
            assert_eq!(read(json), expected, "{json}");
        }
    }

    #[test]
    fn p7_what_is_no_person_is_no_contact() {
        for json in [
            r#"{"id":"120363000000000000@g.us","name":"Team"}"#,
            r#"{"id":"15551234567@c.us","isGroup":true}"#,
            r#"{"id":"status@broadcast"}"#,
            r#"{"id":"1@newsletter"}"#,
            r#"{"id":{}}"#,
            r#"{"id":null,"name":"Bob"}"#,
            r#"{"name":"Bob"}"#,
            "null",
            "[]",
            "7",
        ] {
            assert_eq!(read(json), None, "{json}");
        }
    }

    #[test]
    fn a_pushname_is_never_taken_for_a_name() {
        assert_eq!(read(r#"{"id":"15551234567@c.us","pushname":"b","shortName":"c"}"#).unwrap().name, None);
    }

    #[test]
    fn a_privacy_id_is_no_phone() {
        let json = Json::parse(br#"{"pn":"123456789012345@lid","number":"15551234567"}"#).unwrap();
        assert_eq!(phone(&json, &["pn"]), None);
        assert_eq!(phone(&json, &["nothing", "number"]), "15551234567".parse().ok());
    }
}
