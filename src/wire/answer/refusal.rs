//! Whether the body of a good status says all the same that it failed.
//!
//! Servers have many words for that, and some batch: so every field is looked at, under any spelling of its key, also where a key
//! comes twice, and what is nested as well. To take a failure for an acknowledgement loses a name; so what is not known counts as a
//! failure where the key speaks of success, and as harmless where it does not.

use super::{is_slug, kind_of_session, kind_of_word};
use crate::json::Json;

/// Keys that say whether it worked.
const WORKED: &[&str] = &["ok", "success", "successful", "succeeded", "issuccess", "issuccessful"];
/// Keys that hold what went wrong, if anything did.
const WRONG: &[&str] = &[
    "error",
    "err",
    "errors",
    "exception",
    "exceptions",
    "fault",
    "iserror",
    "haserror",
    "haserrors",
    "errorcode",
    "errcode",
    "errormessage",
    "errmsg",
    "errordescription",
    "failed",
    "failure",
    "failures",
];
/// Keys that say how it went, as a yes or no or in a word.
const OUTCOME: &[&str] = &["status", "state", "result"];
/// Keys that say in a word what the answer is.
const KIND: &[&str] = &["type", "outcome"];
/// Keys whose value may be the answer proper.
pub(super) const WRAPPERS: &[&str] = &["data", "result", "results", "response", "body", "payload", "output"];
/// Keys that hold an HTTP status, those first that hold nothing else.
pub(super) const STATUSES: &[&str] = &["statuscode", "httpstatuscode", "httpstatus", "httpcode", "status", "code"];
/// Keys that hold a text for people.
const MESSAGES: &[&str] = &["message", "msg"];
/// Fields that only a contact has.
const CONTACT: &[&str] = &["pushname", "ismycontact", "iswacontact"];
/// With these words beside a state, it is that of a session.
const SESSION: &[&str] = &["expected", "session"];

/// Words for a failure.
const BAD: &[&str] = &[
    "abort",
    "aborted",
    "denied",
    "error",
    "errored",
    "errors",
    "exceeded",
    "exception",
    "expired",
    "fail",
    "failed",
    "fails",
    "failure",
    "forbidden",
    "invalid",
    "ko",
    "missing",
    "nok",
    "refused",
    "rejected",
    "unauthorized",
    "unavailable",
    "unsuccessful",
];
/// Words for a success.
const GOOD: &[&str] = &[
    "true",
    "yes",
    "y",
    "ok",
    "success",
    "successful",
    "succeeded",
    "done",
    "accepted",
    "completed",
    "created",
    "saved",
    "sent",
    "updated",
];
/// Words for what is to come: no failure, and no plain yes.
const COMING: &[&str] = &["pending", "processing", "queued"];
/// Words for nothing.
const NOTHING: &[&str] = &["", "false", "0", "no", "n", "none", "null", "off"];

/// How deep an answer is looked through.
const DEPTH: usize = 8;

/// The values of all fields whose key is one of these, in any spelling; in the order of `keys`.
pub(super) fn values<'a, 'b>(json: &'b Json<'a>, keys: &'b [&str]) -> impl Iterator<Item = &'b Json<'a>> {
    let fields = match json {
        Json::Object(fields) => fields.as_slice(),
        _ => &[],
    };
    keys.iter()
        .flat_map(move |key| fields.iter().filter(move |(name, _)| is_spelled(name, key)).map(|(_, value)| value))
}

/// `is_success` and `isSuccess` are `issuccess`.
fn is_spelled(key: &str, folded: &str) -> bool {
    key.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_lowercase()).eq(folded.bytes())
}

fn is_one_of(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.trim().eq_ignore_ascii_case(word))
}

/// Whether an answer, or a part of it, says that it failed.
pub(super) fn is_refusal(json: &Json<'_>) -> bool {
    refuses(json, DEPTH)
}

/// Whether an answer says no where it says whether it worked; all else in it may be said of a contact.
pub(super) fn says_it_failed(json: &Json<'_>) -> bool {
    values(json, WORKED).any(|value| says_no(value, true, DEPTH))
}

fn refuses(json: &Json<'_>, depth: usize) -> bool {
    match json {
        Json::Bool(yes) => !yes,
        Json::Text(text) => is_failure(text),
        Json::List(items) => depth > 0 && items.iter().any(|item| refuses(item, depth - 1)),
        Json::Object(_) => depth > 0 && object_refuses(json, depth - 1),
        _ => false,
    }
}

fn object_refuses(json: &Json<'_>, depth: usize) -> bool {
    let is_yes = says_yes(json);
    let any = |keys, says: &dyn Fn(&Json<'_>) -> bool| values(json, keys).any(says);
    any(WORKED, &|value| says_no(value, is_yes, depth))
        || any(WRONG, &|value| is_wrong(value, is_yes))
        || any(&["code"], &|code| is_coded(json, code, is_yes))
        || any(KIND, &|kind| matches!(kind, Json::Text(word) if is_failure(word)))
        || (!is_contact(json) && status_refuses(json, is_yes))
        || (!is_yes && any(MESSAGES, &|text| matches!(text, Json::Text(text) if kind_of_word(text).is_some())))
        || any(WRAPPERS, &|value| (!is_yes || is_nested(value)) && refuses(value, depth))
        || (!is_yes && holds_a_refusal(json, depth))
}

fn status_refuses(json: &Json<'_>, is_yes: bool) -> bool {
    values(json, OUTCOME).any(|value| ended_badly(value, is_yes))
        || values(json, STATUSES).any(|value| value.whole().is_some_and(|status| (400..600).contains(&status)))
        || kind_of_session(json, true).is_some()
}

fn is_nested(value: &Json<'_>) -> bool {
    matches!(value, Json::Object(_) | Json::List(_))
}

/// Whether an object is a contact: what it has under `status` is its *about* text then, which a person wrote.
pub(super) fn is_contact(json: &Json<'_>) -> bool {
    values(json, CONTACT).next().is_some()
}

/// Whether an object under any other key refuses: answers may be keyed by chat or session.
fn holds_a_refusal(json: &Json<'_>, depth: usize) -> bool {
    let Json::Object(fields) = json else { return false };
    // Those were looked through already, and doing it twice on each floor would take long.
    let is_done = |key: &str| WRAPPERS.iter().chain(WORKED).any(|done| is_spelled(key, done));
    fields.iter().filter(|(key, _)| !is_done(key)).any(|(_, value)| match value {
        Json::Object(_) => refuses(value, depth),
        Json::List(items) => items.iter().any(|item| matches!(item, Json::Object(_)) && refuses(item, depth)),
        _ => false,
    })
}

/// Whether an object says plainly that it worked; then a zero or an empty object says that there is no error.
pub(super) fn says_yes(json: &Json<'_>) -> bool {
    let is_good = |value: &Json<'_>| match value {
        Json::Bool(yes) => *yes,
        Json::Text(text) => is_one_of(text, GOOD) || value.whole().is_some_and(|number| number == 1),
        value => value.whole() == Some(1),
    };
    let keys: &[&str] = &["status", "result"];
    values(json, WORKED).chain(values(json, keys)).any(is_good)
        || values(json, STATUSES).any(is_success)
        || values(json, MESSAGES).any(|text| matches!(text, Json::Text(text) if is_one_of(text, GOOD)))
}

/// Whether the value of a key that says whether it worked says no.
fn says_no(value: &Json<'_>, is_yes: bool, depth: usize) -> bool {
    match value {
        Json::Null => !is_yes,
        Json::Whole(number) => *number == 0,
        Json::Number(number) => *number <= 0.0,
        Json::Text(text) => is_one_of(text, NOTHING) || is_failure(text),
        Json::List(items) => items.is_empty() || refuses(value, depth),
        value => refuses(value, depth),
    }
}

/// Whether the value of a key that holds what went wrong holds anything.
fn is_wrong(value: &Json<'_>, is_yes: bool) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(wrong) => *wrong,
        Json::Whole(number) => *number != 0 && !is_success(value),
        Json::Number(number) => *number != 0.0,
        Json::Text(text) => {
            !is_one_of(text, NOTHING) && !is_one_of(text, GOOD) && !is_one_of(text, &["no error", "no errors"])
        }
        Json::List(items) => !items.is_empty(),
        // With a plain yes beside it, no fields say that there is no error.
        Json::Object(fields) => !(is_yes && fields.is_empty()),
    }
}

/// Whether the word for how it went is a bad one.
fn ended_badly(value: &Json<'_>, is_yes: bool) -> bool {
    match value {
        Json::Bool(yes) => !yes,
        Json::Whole(0) => !is_yes,
        Json::Text(text) => is_one_of(text, &["false", "no"]) || (text.trim() == "0" && !is_yes) || is_failure(text),
        _ => false,
    }
}

/// Whether a code is one of a failure: it is known for it, or it is not known and a message explains it.
fn is_coded(json: &Json<'_>, code: &Json<'_>, is_yes: bool) -> bool {
    let Some(text) = code.text() else { return !matches!(code, Json::Null | Json::Text(_)) && has_message(json) };
    let is_good = is_success(code) || (is_yes && code.whole() == Some(0));
    !is_good && (is_failure(&text) || has_message(json))
}

fn has_message(json: &Json<'_>) -> bool {
    values(json, MESSAGES).any(|message| *message != Json::Null)
}

fn is_success(code: &Json<'_>) -> bool {
    let word = code.text().is_some_and(|text| is_one_of(&text, &["success", "ok"]));
    word || code.whole().is_some_and(|status| (200..300).contains(&status))
}

/// Whether a word, or the first one of a sentence, is a server's word for a failure: `failed`, `update_failed`, `Error: no chat`.
fn is_failure(text: &str) -> bool {
    let text = text.trim();
    let mut words = text.split(|char: char| !char.is_alphanumeric()).filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default();
    let is_bad = |word: &str| is_one_of(word, BAD);
    if kind_of_word(text).is_some() || is_bad(first) {
        return true;
    }
    if !is_slug(text) || is_one_of(first, &["no", "without"]) {
        return false;
    }
    let second = words.clone().next().unwrap_or_default();
    let is_denial =
        is_one_of(first, &["not"]) && !is_one_of(second, &["", "modified", "changed", "needed", "required"]);
    is_denial || words.any(is_bad) || ["Failed", "Failure", "Error"].iter().any(|end| text.ends_with(end))
}

/// Whether a state that is not known, in capital letters, is that of a session rather than a word for how the call went.
pub(super) fn is_of_session(json: &Json<'_>, word: &str) -> bool {
    names_a_session(json) && !says_yes(json) && !is_one_of(word, COMING)
}

/// Whether an object speaks of a session, not of a contact.
pub(super) fn names_a_session(json: &Json<'_>) -> bool {
    values(json, SESSION).any(|value| *value != Json::Null)
}
