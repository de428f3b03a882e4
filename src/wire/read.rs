//! What reads say: contacts, registrations, privacy ids and sessions.

use std::borrow::Cow;

use crate::json::{Json, Misread};
use crate::{
    ChatId, Phone,
    book::{Contact, Existence, LidMapping, LidPage, Page, Session, SessionStatus},
};

/// Takes an answer out of the objects that servers like to wrap it in.
fn unwrapped<'a, 'b>(json: &'b Json<'a>, also: &[&str]) -> &'b Json<'a> {
    let wrappers = ["data", "result", "response"].iter().chain(also);
    let inside =
        wrappers.filter_map(|key| json.get(key)).find(|inside| matches!(inside, Json::List(_) | Json::Object(_)));
    inside.unwrap_or(json)
}

fn list<'a, 'b>(json: &'b Json<'a>, also: &[&str]) -> Result<&'b [Json<'a>], Misread> {
    let mut json = unwrapped(json, also);
    if matches!(json, Json::Object(_)) {
        json = unwrapped(json, also);
    }
    match json {
        Json::List(items) => Ok(items),
        _ => Err(Misread),
    }
}

/// Whether an object has one of the keys, be it null: an object with none of them is something else.
fn has_any(json: &Json<'_>, keys: &[&str]) -> bool {
    matches!(json, Json::Object(fields) if fields.iter().any(|(key, _)| keys.contains(&&**key)))
}

/// An id is a text, or an object that holds it.
fn id_text<'a>(json: &'a Json<'_>) -> Option<Cow<'a, str>> {
    json.any(&["_serialized", "id"]).unwrap_or(json).text()
}

fn id(json: &Json<'_>) -> Option<ChatId> {
    id_text(json)?.parse().ok()
}

fn owned(json: &Json<'_>, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| json.get(key)?.text()).map(Into::into)
}

/// Where an entry of a listing has its id.
const ITEM_IDS: &[&str] = &["id", "chatId", "contactId"];

fn item(json: &Json<'_>) -> Option<Contact> {
    let is_group = json.get("isGroup").and_then(Json::truth) == Some(true);
    let chat = match json.any(ITEM_IDS).and_then(id_text).filter(|id| id.contains('@')) {
        Some(id) => id.parse().ok()?,
        // Only `number` may be digits alone: an id without a server could be a privacy id or a group.
        None => json.get("number")?.text()?.parse().ok()?,
    };
    let mut contact = Contact::new(chat);
    contact.name = owned(json, &["name"]);
    contact.pushname = owned(json, &["pushname", "pushName"]);
    (!is_group).then_some(contact)
}

/// The id of an entry as it was sent, whatever it is an id of; empty if it has none.
fn sent_id<'a>(json: &'a Json<'_>, keys: &[&str]) -> Cow<'a, [u8]> {
    let text = json.any(keys).and_then(id_text).or_else(|| json.get("number")?.text());
    match text.unwrap_or_default() {
        Cow::Borrowed(text) => text.as_bytes().into(),
        Cow::Owned(text) => text.into_bytes().into(),
    }
}

/// A page of the address book; what is not a person or cannot be made out is counted and left out.
pub(crate) fn contacts(json: &Json<'_>) -> Result<Page, Misread> {
    let entries = list(json, &["contacts"])?;
    let ids = entries.iter().map(|entry| sent_id(entry, ITEM_IDS));
    Ok(Page::new(entries.iter().filter_map(item).collect(), ids))
}

/// One contact; `None` if the address book does not know it.
pub(crate) fn contact(json: &Json<'_>) -> Result<Option<Contact>, Misread> {
    match unwrapped(json, &["contact"]) {
        Json::Null => Ok(None),
        Json::List(items) if items.is_empty() => Ok(None),
        Json::List(items) if items.len() == 1 => item(&items[0]).map(Some).ok_or(Misread),
        Json::Object(fields) if fields.iter().all(|(_, value)| *value == Json::Null) => Ok(None),
        json => item(json).map(Some).ok_or(Misread),
    }
}

/// Whether a number is registered, and what the server calls it.
pub(crate) fn existence(json: &Json<'_>) -> Result<Existence, Misread> {
    let json = unwrapped(json, &[]);
    let exists = json.any(&["numberExists", "exists"]).and_then(Json::truth).ok_or(Misread)?;
    let mut existence = Existence::new(exists);
    existence.chat = json.get("chatId").and_then(id);
    existence.phone = phone(json);
    Ok(existence)
}

/// Where an answer may have a phone.
const PHONES: &[&str] = &["pn", "number", "phone"];

/// A phone, spelled as a chat id or as digits.
fn phone(json: &Json<'_>) -> Option<Phone> {
    json.any(PHONES).and_then(id)?.phone()
}

fn lid(json: &Json<'_>) -> Option<ChatId> {
    json.get("lid").and_then(id).filter(ChatId::is_lid)
}

/// A page of privacy ids; what cannot be made out is counted and left out.
pub(crate) fn mappings(json: &Json<'_>) -> Result<LidPage, Misread> {
    let entries = list(json, &["lids"])?;
    let ids = entries.iter().map(|entry| sent_id(entry, &["lid"]));
    let mappings = entries.iter().filter_map(|entry| Some(LidMapping::new(lid(entry)?, phone(entry))));
    Ok(LidPage::new(mappings.collect(), ids))
}

/// One mapping, in whichever direction it was asked for; `None` if the server knows nothing of it.
fn mapping<'a, 'b>(json: &'b Json<'a>) -> Result<Option<&'b Json<'a>>, Misread> {
    match unwrapped(json, &[]) {
        Json::Null => Ok(None),
        Json::Object(fields) if fields.is_empty() => Ok(None),
        json if has_any(json, &["lid"]) || has_any(json, PHONES) => Ok(Some(json)),
        _ => Err(Misread),
    }
}

/// The phone of a privacy id; `None` if the server does not know it.
pub(crate) fn phone_of_lid(json: &Json<'_>) -> Result<Option<Phone>, Misread> {
    Ok(mapping(json)?.and_then(phone))
}

/// The privacy id of a phone; `None` if the server does not know it.
pub(crate) fn lid_of_phone(json: &Json<'_>) -> Result<Option<ChatId>, Misread> {
    Ok(mapping(json)?.and_then(lid))
}

/// A session's status, and whose it is.
pub(crate) fn session(json: &Json<'_>) -> Result<Session, Misread> {
    let json = unwrapped(json, &["session"]);
    let Some(Json::Text(word)) = json.get("status") else { return Err(Misread) };
    let status = SessionStatus::from(word.trim());
    // Errors have a status as well, but call it `error` or `401`.
    if !status.is_known() && (has_any(json, &["error", "message", "code"]) || !is_state(word)) {
        return Err(Misread);
    }
    let mut session = Session::new(status);
    session.me = json.get("me").and_then(|me| id(me.get("id")?));
    session.pushname = json.get("me").and_then(|me| owned(me, &["pushName", "pushname"]));
    Ok(session)
}

/// The numbers of all rate limits, as they are called; none if the answer speaks of no limit.
pub(crate) fn limits(json: &Json<'_>) -> Result<Vec<(String, u64)>, Misread> {
    let mut limits = Vec::new();
    collect_limits(json, 6, &mut limits);
    matches!(json, Json::Object(_) | Json::List(_)).then_some(limits).ok_or(Misread)
}

fn collect_limits(json: &Json<'_>, depth: usize, limits: &mut Vec<(String, u64)>) {
    let inside: Vec<&Json<'_>> = match json {
        Json::Object(fields) => fields.iter().map(|(_, value)| value).collect(),
        Json::List(items) => items.iter().collect(),
        _ => return,
    };
    if let Some(Json::Object(fields)) = json.get("limits") {
        let numbers = fields.iter().filter_map(|(key, value)| Some((key.clone().into_owned(), value.whole()?)));
        limits.extend(numbers);
    }
    if depth > 0 {
        for value in inside {
            collect_limits(value, depth - 1, limits);
        }
    }
}

/// Whether a text is spelled as states of sessions are, also those that are newer than this crate.
pub(crate) fn is_state(text: &str) -> bool {
    let mut bytes = text.trim().bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_uppercase())
        && bytes.all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json<'_> {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn names(text: &str) -> Option<Vec<(String, Option<String>)>> {
        let page = contacts(&json(text)).ok()?;
        Some(page.contacts.into_iter().map(|contact| (contact.chat.to_string(), contact.name)).collect())
    }

    #[test]
    fn contacts_come_in_many_shapes_and_a_bad_one_loses_no_neighbour() {
        let page = r#"[{"id":"15551234567@c.us","name":"Ann","pushname":"annie"},
            {"id":{"_serialized":"15551234568@c.us","user":"15551234568"},"name":null},
            17, null, {"name":"nobody"}, {"id":"120363041234567890@g.us","isGroup":true,"name":"Team"},
            {"number":15551234569,"name":"Bob"},
            {"id":"15551234570@c.us","isGroup":true}, {"id":"123456789012345","name":"A privacy id?"},
            {"id":"1234@newsletter","number":"15551234571"}]"#;
        let some = |chat: &str, name: Option<&str>| (chat.into(), name.map(Into::into));
        let expected = vec![
            some("15551234567@c.us", Some("Ann")),
            some("15551234568@c.us", None),
            some("15551234569@c.us", Some("Bob")),
        ];
        assert_eq!(names(page), Some(expected));
        assert_eq!(contacts(&json(page)).unwrap().entries, 10);
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
            assert_eq!(phone_of_lid(&json(&text)), Ok(Some(phone.clone())), "{pn}");
            let page = mappings(&json(&format!("[{text}]"))).unwrap();
            assert_eq!(page.mappings[0].phone, Some(phone.clone()), "{pn}");
        }
        let page = r#"[{"lid":"123456789012345@lid","pn":null},{"lid":"15551234567@c.us"}]"#;
        let page = mappings(&json(page)).unwrap();
        assert_eq!((page.mappings.len(), page.entries, &page.mappings[0].phone), (1, 2, &None));
        assert_eq!(phone_of_lid(&json("null")), Ok(None));
        assert_eq!(lid_of_phone(&json(r#"{"lid":null}"#)), Ok(None));
        assert_eq!(phone_of_lid(&json(r#"{"error":"no"}"#)), Err(Misread), "neither a privacy id nor a phone");
    }

    #[test]
    fn rate_limits_are_found_wherever_they_are_nested() {
        let text = r#"{"policies":[{"name":"default","limits":{"a":20,"b":"60","c":null}}],"data":{"limits":{"d":1}}}"#;
        let found: Vec<_> = ["a", "b", "d"].into_iter().map(String::from).zip([20, 60, 1]).collect();
        assert_eq!(limits(&json(text)), Ok(found));
        assert_eq!((limits(&json("[]")), limits(&json("7"))), (Ok(vec![]), Err(Misread)));
    }

    #[test]
    fn existence_and_session_are_read() {
        let text = r#"{"numberExists":true,"chatId":"123456789012345@lid","pn":"15551234567@c.us"}"#;
        let found = existence(&json(text)).unwrap();
        assert!(found.exists && found.chat.unwrap().is_lid());
        assert_eq!(found.phone.unwrap().as_str(), "15551234567");
        assert_eq!(existence(&json(r#"{"numberExists":false}"#)), Ok(Existence::new(false)));
        assert_eq!(existence(&json("{}")), Err(Misread));
        let text = r#"{"status":"WORKING","me":{"id":"15551234567@c.us","pushName":"Ann"}}"#;
        let me = "15551234567@c.us".parse().unwrap();
        let working = Session::new(SessionStatus::Working).with_me(me).with_pushname("Ann");
        assert_eq!(session(&json(text)), Ok(working));
        assert_eq!(session(&json(r#"{"status":"NEWER"}"#)).unwrap().status.as_str(), "NEWER");
        for other in [r#"{"status":401,"message":"no"}"#, r#"{"status":"error"}"#, r#"{"status":"DENIED","code":"x"}"#]
        {
            assert_eq!(session(&json(other)), Err(Misread), "{other}");
        }
    }
}
