//! What reads say: contacts, registrations, privacy ids and sessions.

use super::json::{Json, Misread};
use crate::{ChatId, Phone};

/// One contact, as far as it can be made out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    pub(crate) chat: ChatId,
    pub(crate) name: Option<String>,
    pub(crate) pushname: Option<String>,
}

/// One page: its items, of which `None` are no persons or cannot be made out.
pub(crate) type Listed<T> = Vec<Option<T>>;

/// Takes an answer out of the objects that servers like to wrap it in.
fn unwrapped<'a, 'b>(json: &'b Json<'a>, also: &[&str]) -> &'b Json<'a> {
    let wrappers = ["data", "result", "response"].iter().chain(also);
    let inside =
        wrappers.filter_map(|key| json.get(key)).find(|inside| matches!(inside, Json::List(_) | Json::Object(_)));
    inside.unwrap_or(json)
}

fn list<T>(json: &Json<'_>, also: &[&str], read: fn(&Json<'_>) -> Option<T>) -> Result<Listed<T>, Misread> {
    let mut json = unwrapped(json, also);
    if matches!(json, Json::Object(_)) {
        json = unwrapped(json, also);
    }
    match json {
        Json::List(items) => Ok(items.iter().map(read).collect()),
        _ => Err(Misread),
    }
}

/// An id is a text, or an object that holds it.
fn id(json: &Json<'_>) -> Option<ChatId> {
    let json = json.any(&["_serialized", "id"]).unwrap_or(json);
    json.text()?.parse().ok()
}

fn owned(json: &Json<'_>, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| json.get(key)?.text()).map(Into::into)
}

fn item(json: &Json<'_>) -> Option<Item> {
    let is_group = json.get("isGroup").and_then(Json::truth) == Some(true);
    // Only `number` may be digits alone: an `id` without a server could be a privacy id or a group.
    let chat =
        json.any(&["id", "chatId", "contactId"]).and_then(id).or_else(|| json.get("number")?.text()?.parse().ok())?;
    (!is_group).then(|| Item { chat, name: owned(json, &["name"]), pushname: owned(json, &["pushname", "pushName"]) })
}

pub(crate) fn contacts(json: &Json<'_>) -> Result<Listed<Item>, Misread> {
    list(json, &["contacts"], item)
}

/// One contact; `None` if the address book does not know it.
pub(crate) fn contact(json: &Json<'_>) -> Result<Option<Item>, Misread> {
    match unwrapped(json, &["contact"]) {
        Json::Null => Ok(None),
        Json::List(items) if items.is_empty() => Ok(None),
        Json::List(items) if items.len() == 1 => item(&items[0]).map(Some).ok_or(Misread),
        Json::Object(fields) if fields.iter().all(|(_, value)| *value == Json::Null) => Ok(None),
        json => item(json).map(Some).ok_or(Misread),
    }
}

/// Whether a number is registered, and what the server calls it.
pub(crate) fn existence(json: &Json<'_>) -> Option<(bool, Option<ChatId>, Option<Phone>)> {
    let json = unwrapped(json, &[]);
    let exists = json.any(&["numberExists", "exists"])?.truth()?;
    Some((exists, json.get("chatId").and_then(id), phone(json, &["pn", "phone", "number"])))
}

/// A phone, spelled as a chat id or as digits.
fn phone(json: &Json<'_>, keys: &[&str]) -> Option<Phone> {
    let chat = json.any(keys).and_then(id)?;
    chat.phone()
}

/// A privacy id and the phone behind it, if the server knows it.
pub(crate) fn mapping(json: &Json<'_>) -> Option<(ChatId, Option<Phone>)> {
    let lid = json.get("lid").and_then(id).filter(ChatId::is_lid)?;
    Some((lid, phone(json, &["pn", "number", "phone"])))
}

pub(crate) fn mappings(json: &Json<'_>) -> Result<Listed<(ChatId, Option<Phone>)>, Misread> {
    list(json, &["lids"], mapping)
}

/// The phone of a privacy id; `None` if the server does not know it.
pub(crate) fn phone_of_lid(json: &Json<'_>) -> Result<Option<Phone>, Misread> {
    match unwrapped(json, &[]) {
        Json::Null => Ok(None),
        json @ Json::Object(_) => Ok(phone(json, &["pn", "number", "phone"])),
        _ => Err(Misread),
    }
}

/// The privacy id of a phone; `None` if the server does not know it.
pub(crate) fn lid_of_phone(json: &Json<'_>) -> Result<Option<ChatId>, Misread> {
    match unwrapped(json, &[]) {
        Json::Null => Ok(None),
        json @ Json::Object(_) => Ok(json.get("lid").and_then(id).filter(ChatId::is_lid)),
        _ => Err(Misread),
    }
}

/// A session's status, and whose it is.
pub(crate) fn session(json: &Json<'_>) -> Option<(String, Option<ChatId>, Option<String>)> {
    let json = unwrapped(json, &["session"]);
    let me = json.get("me");
    let status = json.get("status")?.text()?.into();
    Some((status, me.and_then(|me| id(me.get("id")?)), me.and_then(|me| owned(me, &["pushName", "pushname"]))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json<'_> {
        Json::parse(text.as_bytes()).unwrap()
    }

    type Named = (String, Option<String>);

    fn names(text: &str) -> Option<Listed<Named>> {
        let items = contacts(&json(text)).ok()?;
        Some(items.into_iter().map(|item| item.map(|item| (item.chat.to_string(), item.name))).collect())
    }

    #[test]
    fn contacts_come_in_many_shapes_and_a_bad_one_loses_no_neighbour() {
        let page = r#"[{"id":"15551234567@c.us","name":"Ann","pushname":"annie"},
            {"id":{"_serialized":"15551234568@c.us","user":"15551234568"},"name":null},
            17, null, {"name":"nobody"}, {"id":"120363041234567890@g.us","isGroup":true,"name":"Team"},
            {"number":15551234569,"name":"Bob"},
            {"id":"15551234570@c.us","isGroup":true}]"#;
        let some = |chat: &str, name: Option<&str>| Some((chat.into(), name.map(Into::into)));
        let expected = vec![
            some("15551234567@c.us", Some("Ann")),
            some("15551234568@c.us", None),
            None,
            None,
            None,
            None,
            some("15551234569@c.us", Some("Bob")),
            None,
        ];
        assert_eq!(names(page), Some(expected));
    }

    #[test]
    fn a_list_may_be_wrapped_and_anything_else_is_not_understood() {
        for wrapped in [r#"{"data":[]}"#, r#"{"contacts":[]}"#, r#"{"ok":true,"data":{"contacts":[]}}"#] {
            assert_eq!(names(wrapped), Some(vec![]), "{wrapped}");
        }
        for other in ["null", "{}", "true", r#"{"data":null}"#] {
            assert_eq!(names(other), None, "{other}");
        }
    }

    #[test]
    fn an_unknown_contact_is_none_and_nonsense_is_not_understood() {
        for none in ["null", "{}", "[]", r#"{"id":null,"name":null}"#] {
            assert_eq!(contact(&json(none)), Ok(None), "{none}");
        }
        assert_eq!(contact(&json("7")), Err(Misread));
        let found = contact(&json(r#"{"data":{"id":"15551234567@c.us","name":"Ann"}}"#)).unwrap().unwrap();
        assert_eq!(found.name.as_deref(), Some("Ann"));
    }

    #[test]
    fn a_phone_may_be_digits_a_number_or_a_chat() {
        let phone: Phone = "15551234567".parse().unwrap();
        for pn in [r#""15551234567@c.us""#, r#""15551234567""#, "15551234567", r#""+15551234567""#] {
            let text = format!(r#"{{"lid":"123456789012345@lid","pn":{pn}}}"#);
            assert_eq!(mapping(&json(&text)).unwrap().1, Some(phone.clone()), "{pn}");
        }
        let unknown = mapping(&json(r#"{"lid":"123456789012345@lid","pn":null}"#)).unwrap();
        assert_eq!(unknown.1, None);
        assert_eq!(mapping(&json(r#"{"lid":"15551234567@c.us"}"#)), None);
        assert_eq!(phone_of_lid(&json("null")), Ok(None));
        assert_eq!(lid_of_phone(&json(r#"{"lid":null}"#)), Ok(None));
    }

    #[test]
    fn existence_and_session_are_read() {
        let (exists, chat, phone) =
            existence(&json(r#"{"numberExists":true,"chatId":"123456789012345@lid","pn":"15551234567@c.us"}"#))
                .unwrap();
        assert!(exists && chat.unwrap().is_lid());
        assert_eq!(phone.unwrap().as_str(), "15551234567");
        assert_eq!(existence(&json(r#"{"numberExists":false}"#)), Some((false, None, None)));
        assert_eq!(existence(&json("{}")), None);
        let (status, me, name) =
            session(&json(r#"{"status":"WORKING","me":{"id":"15551234567@c.us","pushName":"Ann"}}"#)).unwrap();
        assert_eq!(
            (status.as_str(), me.unwrap().as_str(), name.as_deref()),
            ("WORKING", "15551234567@c.us", Some("Ann"))
        );
    }
}
