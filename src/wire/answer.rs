//! What an answer means: the table of errors of the API, as a pure function of status and body.

use std::borrow::Cow;

use super::json::Json;
use crate::ErrorKind;

/// Why an answer is an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: ErrorKind,
    /// The server's own short word.
    pub(crate) code: Option<String>,
    /// What the server said, secrets and all.
    pub(crate) message: Option<String>,
}

/// Judges the answer to a write: only a JSON object that does not deny it is an acknowledgement.
pub(crate) fn judge_write(status: u16, body: &[u8]) -> Result<(), Refusal> {
    if status == 200 && matches!(body, br#"{"ok":true}"# | br#"{"success":true}"#) {
        return Ok(());
    }
    match judge(status, body)? {
        Json::Object(_) => Ok(()),
        _ => Err(Refusal { kind: ErrorKind::Decode, code: None, message: text_of(body) }),
    }
}

/// Judges any answer, and gives the JSON in it back.
pub(crate) fn judge(status: u16, body: &[u8]) -> Result<Json<'_>, Refusal> {
    let json = Json::parse(body);
    if !(200..300).contains(&status) {
        let json = json.unwrap_or(Json::Null);
        let kind = kind_of(status, &json);
        return Err(refusal(kind, &json, body));
    }
    let Some(json) = json else {
        return Err(Refusal { kind: ErrorKind::Decode, code: None, message: text_of(body) });
    };
    if is_denial(&json) {
        let inner = json.any(&["status", "statusCode"]).and_then(Json::whole);
        let kind = match inner.and_then(|status| u16::try_from(status).ok()) {
            Some(status @ 400..=599) => kind_of(status, &json),
            _ => kind_of_code(&json).unwrap_or(ErrorKind::Rejected),
        };
        return Err(refusal(kind, &json, body));
    }
    Ok(json)
}

/// A 2xx can carry an error.
fn is_denial(json: &Json<'_>) -> bool {
    let denies = |key| json.get(key).and_then(Json::truth) == Some(false);
    let code = json.get("code").and_then(Json::text);
    let has_error_code =
        code.is_some_and(|code| !code.eq_ignore_ascii_case("success")) && json.get("message").is_some();
    denies("ok") || denies("success") || denies("result") || has_error_code
}

fn kind_of(status: u16, json: &Json<'_>) -> ErrorKind {
    let named = kind_of_code(json);
    match status {
        401 => ErrorKind::Unauthorized,
        403 => named.filter(|kind| *kind == ErrorKind::QuotaReached).unwrap_or(ErrorKind::Forbidden),
        404 => named.unwrap_or(ErrorKind::Route),
        300..=399 | 405 | 501 => ErrorKind::Route,
        // Asked too early, too long on its way, or a conflict with another writer: the same call may work later.
        408 | 409 | 425 => ErrorKind::Server,
        422 => named.unwrap_or(ErrorKind::SessionNotReady),
        429 => named.filter(|kind| *kind == ErrorKind::QuotaReached).unwrap_or(ErrorKind::RateLimited),
        400..=499 => named.unwrap_or(ErrorKind::Rejected),
        500..=599 => ErrorKind::Server,
        _ => ErrorKind::Decode,
    }
}

/// What the server's own word says, where it says more than the status.
fn kind_of_code(json: &Json<'_>) -> Option<ErrorKind> {
    let code = code_of(json)?.to_ascii_lowercase();
    Some(match code.as_str() {
        "invalid_session" | "session_not_found" | "invalid_instance" => ErrorKind::UnknownInstance,
        "invalid_token" | "invalid_access_token" | "unauthorized" => ErrorKind::Unauthorized,
        "subscription_required" | "forbidden" => ErrorKind::Forbidden,
        "quota_reached" | "quota_exceeded" => ErrorKind::QuotaReached,
        "rate_limited" | "rate_limit_exceeded" | "too_many_requests" => ErrorKind::RateLimited,
        "missing_param" | "invalid_param" => ErrorKind::Rejected,
        _ => return None,
    })
}

fn code_of<'a>(json: &'a Json<'_>) -> Option<Cow<'a, str>> {
    json.get("code").or_else(|| json.get("error").filter(|error| error.get("code").is_none())).and_then(Json::text)
}

fn refusal(kind: ErrorKind, json: &Json<'_>, body: &[u8]) -> Refusal {
    let code = json.get("code").and_then(Json::text).filter(|code| code.len() <= 64).map(Cow::into_owned);
    let exception = json.get("exception").and_then(|exception| exception.get("message"));
    let said = exception.or_else(|| json.any(&["message", "error"])).and_then(Json::text);
    let message = said.map(Cow::into_owned).or_else(|| if *json == Json::Null { text_of(body) } else { None });
    Refusal { kind, code, message }
}

/// The words of a body that is no JSON: tags of HTML and XML are left out, white space is folded.
fn text_of(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(&body[..body.len().min(4_096)]);
    let mut words = String::new();
    let mut is_tag = false;
    for char in text.chars() {
        match char {
            '<' => is_tag = true,
            '>' => {
                is_tag = false;
                words.push(' ');
            }
            _ if is_tag => {}
            _ => words.push(char),
        }
    }
    let folded = words.split_whitespace().collect::<Vec<_>>().join(" ");
    (!folded.is_empty()).then_some(folded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(status: u16, body: &str) -> Option<ErrorKind> {
        judge_write(status, body.as_bytes()).err().map(|refusal| refusal.kind)
    }

    #[test]
    fn every_row_of_the_table_of_errors_has_its_kind() {
        use ErrorKind::*;
        let asleep =
            r#"{"error":"Session status is not as expected","session":"a","status":"STARTING","expected":["WORKING"]}"#;
        let engine = r#"{"statusCode":500,"timestamp":"..","exception":{"message":"409 conflict"}}"#;
        let table = [
            (200, r#"{"ok":true}"#, None),
            (200, r#"{"success":true}"#, None),
            (201, r#" { "ok" : true, "data": {} } "#, None),
            (200, r#"{"code":"success","message":"saved"}"#, None),
            (200, r#"{"ok":false}"#, Some(Rejected)),
            (200, r#"{"success":"false"}"#, Some(Rejected)),
            (200, r#"{"result":0,"message":"no"}"#, Some(Rejected)),
            (200, r#"{"code":"quota_reached","message":"no more"}"#, Some(QuotaReached)),
            (200, r#"{"code":"invalid_session","message":"gone"}"#, Some(UnknownInstance)),
            (200, r#"{"ok":false,"status":401,"message":"bad token"}"#, Some(Unauthorized)),
            (200, r#"{"ok":false,"status":503}"#, Some(Server)),
            (200, "", Some(Decode)),
            (200, "<html>welcome</html>", Some(Decode)),
            (200, "[]", Some(Decode)),
            (200, r#"{"ok":"#, Some(Decode)),
            (400, r#"{"code":"missing_param","message":"chatId"}"#, Some(Rejected)),
            (400, "", Some(Rejected)),
            (401, r#"{"status":401,"message":"no","error":"Unauthorized"}"#, Some(Unauthorized)),
            (403, r#"{"code":"subscription_required","message":"pay"}"#, Some(Forbidden)),
            (403, r#"{"code":"quota_reached","message":"spent"}"#, Some(QuotaReached)),
            (404, r#"{"code":"invalid_session","message":"unknown"}"#, Some(UnknownInstance)),
            (404, "<html><title>404</title></html>", Some(Route)),
            (405, "", Some(Route)),
            (302, "", Some(Route)),
            (422, asleep, Some(SessionNotReady)),
            (422, r#"{"code":"missing_param","message":"chatId"}"#, Some(Rejected)),
            (429, "", Some(RateLimited)),
            (429, r#"{"code":"quota_reached","message":"spent"}"#, Some(QuotaReached)),
            (500, engine, Some(Server)),
            (502, "<?xml version=\"1.0\"?><error>bad gateway</error>", Some(Server)),
            (503, "plain text", Some(Server)),
            (504, "", Some(Server)),
            (413, "", Some(Rejected)),
        ];
        for (status, body, expected) in table {
            assert_eq!(kind(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn what_the_server_said_is_found_in_every_shape() {
        let table = [
            (
                400,
                r#"{"code":"missing_param","message":"chatId is missing"}"#,
                Some("missing_param"),
                Some("chatId is missing"),
            ),
            (500, r#"{"exception":{"message":"409 conflict"},"error":"other"}"#, None, Some("409 conflict")),
            (422, r#"{"error":"not working","status":"STARTING"}"#, None, Some("not working")),
            (502, "<html><h1>Bad\n gateway</h1></html>", None, Some("Bad gateway")),
            (502, "", None, None),
            (500, r#"{"other":1}"#, None, None),
        ];
        for (status, body, code, message) in table {
            let refusal = judge_write(status, body.as_bytes()).unwrap_err();
            assert_eq!((refusal.code.as_deref(), refusal.message.as_deref()), (code, message), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_survived(status in 100..600u16, body in prop::collection::vec(any::<u8>(), 0..64)) {
            let judged = judge_write(status, &body);
            prop_assert!(judged.is_err() || (200..300).contains(&status));
        }

        #[test]
        fn any_text_is_survived(status in 100..600u16, body in r#"[{}\[\]":,a-z0-9<>&; ]{0,60}"#) {
            judge_write(status, body.as_bytes()).ok();
        }
    }
}
