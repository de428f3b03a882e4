//! From status and body to an answer, or to an error of the right kind.

use super::{
    json::{Json, Misread},
    redact::Redactor,
};
use crate::{Error, ErrorKind, error::cut};

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

/// States of a session other than working.
const NOT_WORKING: &[&str] = &["STOPPED", "STARTING", "SCAN_QR_CODE", "FAILED", "PASSKEY_REQUIRED"];

/// The body of a good answer, or what is wrong.
pub(crate) fn understand<'a>(status: u16, body: &'a [u8], redactor: &Redactor) -> Result<Json<'a>, Error> {
    let good = (200..300).contains(&status);
    match Json::parse(body) {
        Some(json) if good && Complaint::of(&json).is_none() => Ok(json),
        Some(json) => Err(Complaint::read(&json).into_error(status, redactor)),
        None if body.is_empty() && matches!(status, 204 | 205) => Ok(Json::Bool(true)),
        None => Err(Complaint::from_text(&String::from_utf8_lossy(body)).into_error(status, redactor)),
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

impl Complaint {
    /// The complaint in the body of a good status, if it holds one.
    fn of(json: &Json<'_>) -> Option<Self> {
        let refused = match json {
            Json::Bool(false) => true,
            Json::Object(_) => is_refusal(json),
            _ => false,
        };
        refused.then(|| Self::read(json))
    }

    fn read(json: &Json<'_>) -> Self {
        let within = ["error", "exception", "data", "result", "response"].map(|key| json.get(key));
        let places = || std::iter::once(json).chain(within.iter().copied().flatten());
        let words = ["code", "error", "status", "type", "name", "message"];
        let texts = || places().flat_map(|place| words.iter().filter_map(|word| place.get(word)?.text()));
        let known = || texts().find_map(|text| kind_of_word(&text));
        let code = places().find_map(|place| place.any(&["code", "error"])?.text().filter(|text| is_slug(text)));
        let message =
            places().find_map(|place| place.any(&["message", "error_description", "detail", "error", "title"])?.text());
        Self {
            kind: json.get("status").and_then(kind_of_session).or_else(known),
            status: places().find_map(|place| status_inside(place)),
            code: code.map(Into::into),
            message: message.map(Into::into),
            garbled: false,
        }
    }

    /// What can be told from XML, HTML or plain text.
    fn from_text(text: &str) -> Self {
        let found = WORDS.iter().filter(|(word, _)| word.contains('_')).find(|(word, _)| text.contains(word));
        Self {
            code: found.map(|(word, _)| (*word).into()),
            kind: found.map(|(_, kind)| *kind),
            status: None,
            message: Some(readable(text)),
            garbled: true,
        }
    }

    fn into_error(self, status: u16, redactor: &Redactor) -> Error {
        let kind = self.kind(status);
        let message = self.message.as_deref().unwrap_or_default();
        let mut error = Error::new(kind).with_status(status);
        error = match kind {
            ErrorKind::Configuration if (300..400).contains(&status) => {
                error.with_hint("it redirects elsewhere, which is never followed: give the final address as base URL")
            }
            ErrorKind::Rejected if message.contains("access_token") || message.contains("instance_id") => {
                error.with_hint("if it misses the credentials, give them in another way: see Credentials")
            }
            _ => error,
        };
        error.with_code(self.code.map(|code| redactor.clean(&code))).with_message(&redactor.clean(message))
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
            None => ErrorKind::Rejected,
        }
    }
}

fn is_refusal(json: &Json<'_>) -> bool {
    let says_no = |key| json.get(key).and_then(Json::truth) == Some(false);
    let error = json.any(&["error", "exception", "errors"]);
    let has_error = error.is_some_and(|error| match error {
        Json::Bool(error) => *error,
        Json::List(errors) => !errors.is_empty(),
        other => other.text().is_some() || matches!(other, Json::Object(_)),
    });
    let coded = json.get("message").is_some() && json.get("code").is_some_and(|code| !is_success(code));
    let status = json.get("status").and_then(Json::text);
    let worded = status.is_some_and(|text| text.eq_ignore_ascii_case("error") || text.eq_ignore_ascii_case("fail"));
    let nested = ["data", "result", "response"].iter().filter_map(|key| json.get(key)).any(|inside| is_refusal(inside));
    ["ok", "success", "result"].into_iter().any(says_no)
        || has_error
        || coded
        || worded
        || nested
        || status_inside(json).is_some_and(|status| status >= 400)
}

fn is_success(code: &Json<'_>) -> bool {
    let word = code.text().is_some_and(|text| text.eq_ignore_ascii_case("success") || text.eq_ignore_ascii_case("ok"));
    word || code.whole().is_some_and(|status| (200..300).contains(&status))
}

fn status_inside(json: &Json<'_>) -> Option<u16> {
    let status = ["statusCode", "status", "code"].iter().find_map(|key| json.get(key)?.whole())?;
    u16::try_from(status).ok().filter(|status| (300..600).contains(status))
}

/// `Invalid session` and `invalid-session` are `invalid_session`.
fn kind_of_word(text: &str) -> Option<ErrorKind> {
    let is_same = |word: &str| {
        let spelled = text.trim().trim_end_matches('.').bytes();
        spelled.map(|byte| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'_' }).eq(word.bytes())
    };
    WORDS.iter().find(|(word, _)| is_same(word)).map(|(_, kind)| *kind)
}

fn kind_of_session(status: &Json<'_>) -> Option<ErrorKind> {
    NOT_WORKING.contains(&status.text()?.as_ref()).then_some(ErrorKind::SessionNotReady)
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
        422 => ErrorKind::SessionNotReady,
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
