//! From status and body to an answer, or to an error of the right kind.

mod refusal;

use self::refusal::{STATUSES, WRAPPERS, is_refusal, values};
use super::read::is_state;
use crate::{
    Error, ErrorKind,
    book::SessionStatus,
    error::cut,
    json::{Json, Misread},
    redact::Redactor,
};

/// Words by which a server names an error, whatever the status around them.
const WORDS: &[(&str, ErrorKind)] = &[
    ("invalid_session", ErrorKind::UnknownInstance),
    ("session_not_found", ErrorKind::UnknownInstance),
    ("instance_not_found", ErrorKind::UnknownInstance),
    ("invalid_instance", ErrorKind::UnknownInstance),
    ("missing_param", ErrorKind::Rejected),
    ("invalid_param", ErrorKind::Rejected),
    ("subscription_required", ErrorKind::Forbidden),
    ("subscription_expired", ErrorKind::Forbidden),
    ("forbidden", ErrorKind::Forbidden),
    ("access_denied", ErrorKind::Forbidden),
    ("quota_reached", ErrorKind::QuotaReached),
    ("quota_exceeded", ErrorKind::QuotaReached),
    ("rate_limited", ErrorKind::RateLimited),
    ("rate_limit_exceeded", ErrorKind::RateLimited),
    ("too_many_requests", ErrorKind::RateLimited),
    ("unauthorized", ErrorKind::Unauthorized),
    ("invalid_token", ErrorKind::Unauthorized),
    ("invalid_access_token", ErrorKind::Unauthorized),
    ("token_expired", ErrorKind::Unauthorized),
    ("session_not_ready", ErrorKind::SessionNotReady),
    ("session_not_working", ErrorKind::SessionNotReady),
];

/// What an update's answer holds, or what is wrong.
///
/// A good status proves little: a body may carry an error all the same.
pub(crate) fn of_update<T>(reply: Reply<'_>, read: Read<T>, redactor: &Redactor) -> Result<T, Error> {
    let json = match Json::parse(reply.body) {
        Some(json) if reply.is_good() && !is_refusal(&json) => json,
        Some(json) => return Err(Complaint::read(&json, reply.is_good()).into_error(reply.status, redactor)),
        None if reply.says_it_is_empty() => Json::Bool(true),
        None if reply.is_good() && reply.is_blank() => {
            let hint = "an empty answer proves nothing; read the contact to see whether it has the name";
            return Err(Error::new(ErrorKind::Decode).with_status(reply.status).with_hint(hint));
        }
        None => return Err(Complaint::from_bytes(reply.body).into_error(reply.status, redactor)),
    };
    read(&json).map_err(|Misread| Error::new(ErrorKind::Decode).with_status(reply.status))
}

/// What a read's answer holds, or what is wrong.
///
/// It is judged by its status line and its shape, never by what a field of an item says: that a person's *about* text is `401`
/// says nothing of the instance. Only what does not have the shape, or says itself that it failed, is looked through for an error.
pub(crate) fn of_read<T>(reply: Reply<'_>, read: Read<T>, redactor: &Redactor) -> Result<T, Error> {
    let json = match Json::parse(reply.body) {
        Some(json) => json,
        None if reply.says_it_is_empty() => Json::Null,
        None => return Err(Complaint::from_bytes(reply.body).into_error(reply.status, redactor)),
    };
    let failed = refusal::says_it_failed(&json);
    match read(&json) {
        Ok(value) if reply.is_good() && !failed => Ok(value),
        Err(Misread) if reply.is_good() && !is_refusal(&json) => {
            Err(Error::new(ErrorKind::Decode).with_status(reply.status))
        }
        _ => Err(Complaint::read(&json, reply.is_good()).into_error(reply.status, redactor)),
    }
}

/// Takes a value out of an answer.
pub(crate) type Read<T> = fn(&Json<'_>) -> Result<T, Misread>;

/// An answer as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Reply<'_> {
    fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn is_blank(&self) -> bool {
        self.body.trim_ascii().is_empty()
    }

    /// Whether its status says that there is no body, and there is none.
    fn says_it_is_empty(&self) -> bool {
        matches!(self.status, 204 | 205) && self.is_blank()
    }
}

/// Whether the answer to an update says that it was done: an object without a complaint, or a bare yes.
pub(crate) fn acknowledges(json: &Json<'_>) -> Result<(), Misread> {
    matches!(json, Json::Object(_) | Json::Bool(true)).then_some(()).ok_or(Misread)
}

/// What a body says of an error; each part may be missing.
#[derive(Debug, Default, PartialEq)]
struct Complaint {
    /// The server's word for it, as it spells it.
    code: Option<String>,
    kind: Option<ErrorKind>,
    /// A status inside the body.
    status: Option<u16>,
    message: Option<String>,
    /// Whether a body that is not JSON was there.
    garbled: bool,
}

/// Where a body may have a message for people.
const MESSAGES: &[&str] = &["message", "msg", "errordescription", "errormessage", "errmsg", "detail", "error", "title"];
/// Where a body may have more of its error.
const WITHIN: &[&str] = &["error", "exception", "errors", "failed", "failures"];

/// An object and those within it that may speak of an error, the outermost first; no contacts, since people named those.
fn collect<'a, 'b>(json: &'b Json<'a>, depth: usize, places: &mut Vec<&'b Json<'a>>) {
    match json {
        Json::List(items) => items.iter().for_each(|item| collect(item, depth, places)),
        Json::Object(_) if !refusal::is_contact(json) => {
            places.push(json);
            if depth > 0 {
                let within = values(json, WITHIN).chain(values(json, WRAPPERS));
                within.for_each(|inside| collect(inside, depth - 1, places));
            }
        }
        _ => {}
    }
}

impl Complaint {
    fn read(json: &Json<'_>, is_good: bool) -> Self {
        let mut places = Vec::new();
        collect(json, 4, &mut places);
        let words = ["code", "errorcode", "errcode", "error", "status", "state", "type", "name", "message", "msg"];
        let texts = places.iter().flat_map(|place| values(place, &words)).filter_map(Json::text);
        let known = texts.chain(json.text()).find_map(|text| kind_of_word(&text));
        let code = ["code", "errorcode", "errcode", "error"];
        let code =
            places.iter().find_map(|place| values(place, &code).find_map(Json::text).filter(|text| is_slug(text)));
        let message = places.iter().find_map(|place| values(place, MESSAGES).find_map(Json::text));
        Self {
            kind: places.iter().find_map(|place| kind_of_session(place, is_good)).or(known),
            status: places.iter().find_map(|place| status_inside(place)),
            code: code.map(Into::into),
            message: message.map(Into::into),
            garbled: false,
        }
    }

    /// What can be told from XML, HTML or plain text.
    fn from_bytes(body: &[u8]) -> Self {
        let text = &*String::from_utf8_lossy(body);
        let found = WORDS.iter().filter(|(word, _)| word.contains('_')).find(|(word, _)| text.contains(word));
        Self {
            code: found.map(|(word, _)| (*word).into()),
            kind: found.map(|(_, kind)| *kind).or_else(|| names_a_state(text).then_some(ErrorKind::SessionNotReady)),
            status: None,
            message: Some(readable(text)),
            garbled: true,
        }
    }

    fn into_error(self, status: u16, redactor: &Redactor) -> Error {
        let message = self.message.as_deref().unwrap_or_default();
        let kind = match self.kind(status) {
            ErrorKind::Rejected | ErrorKind::Unclear if speaks_of_credentials(message) => ErrorKind::Configuration,
            kind => kind,
        };
        let error = Error::new(kind).with_status(status);
        let error = match kind {
            ErrorKind::Configuration if (300..400).contains(&status) => {
                error.with_hint("it redirects elsewhere, which is never followed: give the final address as base URL")
            }
            ErrorKind::Configuration if speaks_of_credentials(message) => {
                error.with_hint("it misses the instance or the token: give them in another way, see Credentials")
            }
            _ => error,
        };
        let code = self.code.as_deref().unwrap_or_default();
        error.with_code(&redactor.clean(code)).with_message(&redactor.clean(message))
    }

    fn kind(&self, status: u16) -> ErrorKind {
        if let Some(kind) = self.kind {
            return kind;
        }
        if !(200..300).contains(&status) {
            return kind_of_status(status);
        }
        match self.status {
            Some(inside) => kind_of_status(inside),
            None if self.garbled => ErrorKind::Decode,
            None => ErrorKind::Unclear,
        }
    }
}

/// Whether a refusal is about who asks, not about what is asked for.
///
/// A long message may be the whole request given back, which names everything.
fn speaks_of_credentials(message: &str) -> bool {
    if message.len() > 256 {
        return false;
    }
    let plain: String = message.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    ["accesstoken", "instanceid"].iter().any(|word| plain.contains(word))
}

/// The status of an error inside a body.
fn status_inside(json: &Json<'_>) -> Option<u16> {
    let statuses = values(json, STATUSES).filter_map(|value| u16::try_from(value.whole()?).ok());
    statuses.into_iter().find(|status| (300..600).contains(status))
}

/// `Invalid session` and `invalid-session` are `invalid_session`.
fn kind_of_word(text: &str) -> Option<ErrorKind> {
    let is_same = |word: &str| {
        let spelled = text.trim().trim_end_matches('.').bytes();
        spelled.map(|byte| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'_' }).eq(word.bytes())
    };
    WORDS.iter().find(|(word, _)| is_same(word)).map(|(_, kind)| *kind)
}

/// A state that is known and is not working; or any, beside the words with which the engine says that it expected another.
///
/// Under a good status, `FAILED` may be said of the contact as well: it needs these words too, or one contact would stop all.
fn kind_of_session(json: &Json<'_>, is_good: bool) -> Option<ErrorKind> {
    let is_not_ready = |word: &str| match SessionStatus::from(word.trim()) {
        SessionStatus::Working => false,
        SessionStatus::Failed => !is_good || refusal::names_a_session(json),
        SessionStatus::Unknown(_) => is_state(word) && refusal::is_of_session(json, word),
        _ => true,
    };
    let mut states = values(json, &["status", "state"]);
    states.any(|state| matches!(state, Json::Text(word) if is_not_ready(word))).then_some(ErrorKind::SessionNotReady)
}

/// Whether XML or text tells the state of a session.
fn names_a_state(text: &str) -> bool {
    let mut words = text.split(|char: char| !char.is_ascii_uppercase() && char != '_');
    text.to_ascii_lowercase().contains("session")
        && words.any(|word| SessionStatus::from(word).is_known() && word != SessionStatus::Working.as_str())
}

fn is_slug(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// What a status means that comes without a word for it.
fn kind_of_status(status: u16) -> ErrorKind {
    match status {
        401 => ErrorKind::Unauthorized,
        402 | 403 => ErrorKind::Forbidden,
        404 | 405 | 410 | 501 => ErrorKind::Route,
        408 => ErrorKind::Timeout,
        // The engine keeps all contacts of an account in one versioned collection; writers in conflict may try again.
        409 | 425 => ErrorKind::Server,
        429 => ErrorKind::RateLimited,
        // These speak of how every request is made, not of one contact.
        406 | 407 | 411 | 415 | 421 | 426 | 431 | 505 => ErrorKind::Configuration,
        400..500 => ErrorKind::Rejected,
        500.. => ErrorKind::Server,
        200..300 => ErrorKind::Decode,
        // Redirects, and informational answers that a client never shows.
        _ => ErrorKind::Configuration,
    }
}

/// What a person can read of XML, HTML or text: the title of an HTML page, else everything outside of tags.
fn readable(text: &str) -> String {
    let text = cut(text, 4096);
    let lower = text.to_ascii_lowercase();
    if lower.contains("<html") || lower.contains("<!doctype") {
        let title = lower.find("<title>").map(|at| at + 7).zip(lower.find("</title>"));
        return title.and_then(|(from, to)| text.get(from..to)).unwrap_or_default().trim().into();
    }
    let mut outside = true;
    let plain: String = text
        .chars()
        .filter_map(|char| match char {
            '<' => {
                outside = false;
                Some(' ')
            }
            '>' if !outside => {
                outside = true;
                None
            }
            char => outside.then_some(char),
        })
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
