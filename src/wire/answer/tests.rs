use proptest::prelude::*;

use super::*;
use crate::{ErrorClass, wire::read as wire};
use ErrorKind::{
    Configuration, Decode, Forbidden, QuotaReached, RateLimited, Rejected, Route, Server, SessionNotReady, Timeout,
    Unauthorized, Unclear, UnknownInstance,
};

fn redactor() -> Redactor {
    Redactor::new("s3cret-token").hiding("WAWP-1")
}

fn error(status: u16, body: &str) -> Error {
    update(status, body).expect_err(body)
}

fn update(status: u16, body: &str) -> Result<(), Error> {
    of_update(Reply { status, body: body.as_bytes() }, acknowledges, &redactor())
}

fn read<T>(status: u16, body: &str, read: Read<T>) -> Result<T, Error> {
    of_read(Reply { status, body: body.as_bytes() }, read, &redactor())
}

#[test]
fn every_row_of_the_error_table_has_its_kind_and_class() {
    let html = "<!doctype html><html><head><title>Bad gateway</title></head></html>";
    let conflict = r#"{"statusCode":500,"timestamp":"t","exception":{"message":"409 conflict"}}"#;
    let session =
        r#"{"error":"Session status is not as expected","session":"s","status":"STARTING","expected":["WORKING"]}"#;
    let rows = [
        (400, r#"{"code":"missing_param","message":"chatId is required"}"#, Rejected, ErrorClass::Contact),
        (400, "", Rejected, ErrorClass::Contact),
        (413, "", Rejected, ErrorClass::Contact),
        (401, r#"{"status":401,"message":"no","error":"Unauthorized"}"#, Unauthorized, ErrorClass::Instance),
        (401, "", Unauthorized, ErrorClass::Instance),
        (403, r#"{"code":"subscription_required","message":"pay"}"#, Forbidden, ErrorClass::Instance),
        (402, "", Forbidden, ErrorClass::Instance),
        (404, r#"{"code":"invalid_session","message":"gone"}"#, UnknownInstance, ErrorClass::Instance),
        (404, r#"{"status":404,"error":"Invalid session"}"#, UnknownInstance, ErrorClass::Instance),
        (404, "<error><code>invalid_session</code></error>", UnknownInstance, ErrorClass::Instance),
        (404, r#"{"message":"Cannot POST /v2"}"#, Route, ErrorClass::Configuration),
        (404, html, Route, ErrorClass::Configuration),
        (405, "", Route, ErrorClass::Configuration),
        (415, "", Configuration, ErrorClass::Configuration),
        (307, "", Configuration, ErrorClass::Configuration),
        (422, session, SessionNotReady, ErrorClass::Wait),
        (
            422,
            r#"{"error":"no","session":"s","status":"PAIRING","expected":["WORKING"]}"#,
            SessionNotReady,
            ErrorClass::Wait,
        ),
        (422, "<e><session>s</session><status>STOPPED</status></e>", SessionNotReady, ErrorClass::Wait),
        (422, r#"{"code":"session_not_ready"}"#, SessionNotReady, ErrorClass::Wait),
        (422, "", Rejected, ErrorClass::Contact),
        (
            422,
            r#"{"status":422,"message":"the name is too long","error":"Unprocessable"}"#,
            Rejected,
            ErrorClass::Contact,
        ),
        (422, "VALIDATION FAILED", Rejected, ErrorClass::Contact),
        (
            400,
            r#"{"code":"missing_param","message":"access_token is required"}"#,
            Configuration,
            ErrorClass::Configuration,
        ),
        (400, r#"{"message":"Instance-ID must not be empty"}"#, Configuration, ErrorClass::Configuration),
        (200, r#"{"ok":false,"message":"Missing access token"}"#, Configuration, ErrorClass::Configuration),
        (429, "", RateLimited, ErrorClass::Wait),
        (429, r#"{"code":"quota_reached","message":"spent"}"#, QuotaReached, ErrorClass::Wait),
        (403, r#"{"error":{"code":"quota_reached","message":"spent"}}"#, QuotaReached, ErrorClass::Wait),
        (408, "", Timeout, ErrorClass::Transient),
        (409, "", Server, ErrorClass::Transient),
        (500, conflict, Server, ErrorClass::Transient),
        (500, "oops", Server, ErrorClass::Transient),
        (502, html, Server, ErrorClass::Transient),
        (503, "", Server, ErrorClass::Transient),
        (504, "<xml/>", Server, ErrorClass::Transient),
        (520, "", Server, ErrorClass::Transient),
        (200, "", Decode, ErrorClass::Transient),
        (200, html, Decode, ErrorClass::Transient),
        (200, "ok", Decode, ErrorClass::Transient),
        (200, r#"{"ok":tru"#, Decode, ErrorClass::Transient),
        (200, "null", Decode, ErrorClass::Transient),
        (200, "[]", Decode, ErrorClass::Transient),
        (200, "17", Decode, ErrorClass::Transient),
        (200, "false", Unclear, ErrorClass::Transient),
        (200, r#"{"ok":false}"#, Unclear, ErrorClass::Transient),
        (200, r#"{"success":"false","message":"no"}"#, Unclear, ErrorClass::Transient),
        (200, r#"{"result":false}"#, Unclear, ErrorClass::Transient),
        (200, r#"{"code":"strange","message":"no"}"#, Unclear, ErrorClass::Transient),
        (200, r#"{"error":"no such chat"}"#, Unclear, ErrorClass::Transient),
        (200, r#"{"ok":false,"code":"engine_busy","message":"try again"}"#, Unclear, ErrorClass::Transient),
        (200, r#"{"ok":true,"error":"no such chat"}"#, Unclear, ErrorClass::Transient),
        (200, r#"{"error":{}}"#, Unclear, ErrorClass::Transient),
        (200, r#"{"code":0,"message":"no"}"#, Unclear, ErrorClass::Transient),
        (200, r#"{"ok":false,"code":"missing_param","message":"chatId"}"#, Rejected, ErrorClass::Contact),
        (200, r#"{"code":"invalid_session","message":"gone"}"#, UnknownInstance, ErrorClass::Instance),
        (200, r#"{"ok":false,"code":"subscription_required"}"#, Forbidden, ErrorClass::Instance),
        (200, r#"{"ok":false,"status":401}"#, Unauthorized, ErrorClass::Instance),
        (200, r#"{"status":401,"message":"no","error":"Unauthorized"}"#, Unauthorized, ErrorClass::Instance),
        (200, r#"{"data":{"ok":false,"code":"quota_reached"}}"#, QuotaReached, ErrorClass::Wait),
        (200, r#"{"ok":false,"status":"429"}"#, RateLimited, ErrorClass::Wait),
        (200, r#"{"error":"not ready","status":"SCAN_QR_CODE"}"#, SessionNotReady, ErrorClass::Wait),
        (200, conflict, Server, ErrorClass::Transient),
    ];
    for (status, body, kind, class) in rows {
        let error = error(status, body);
        assert_eq!((error.kind(), error.class()), (kind, class), "{status} {body}");
        assert_eq!(error.status(), Some(status));
        assert_eq!(error.is_in_doubt(), class == ErrorClass::Transient, "{status} {body}");
    }
}

#[test]
fn an_acknowledgement_may_look_in_many_ways() {
    let bodies = [
        r#"{"ok":true}"#,
        r#" { "ok" : true }"#,
        r#"{"success":true,"data":{}}"#,
        r#"{"code":"success","message":"done"}"#,
        r#"{"code":200,"message":"done"}"#,
        r#"{"ok":true,"error":null}"#,
        r#"{"ok":true,"error":0}"#,
        r#"{"ok":true,"error":""}"#,
        r#"{"ok":true,"errors":{}}"#,
        r#"{"ok":true,"errors":[]}"#,
        r#"{"success":true,"code":0,"message":"ok"}"#,
        r#"{"result":{"id":"x"}}"#,
        "{}",
        "true",
    ];
    for body in bodies {
        update(200, body).expect(body);
    }
    update(204, "").unwrap();
}

#[test]
fn an_empty_good_answer_proves_nothing_and_says_how_to_find_out() {
    for body in ["", " \r\n"] {
        let error = error(200, body);
        assert_eq!((error.kind(), error.is_in_doubt()), (Decode, true));
        assert!(error.hint().unwrap().contains("read the contact"), "{error}");
    }
}

#[test]
fn what_an_item_of_a_read_says_is_no_error() {
    for about in [r#""401""#, "401", r#""error""#, r#""FAILED""#, r#""quota_reached""#] {
        let item = format!(r#"{{"id":"15551234567@c.us","name":"Ann","status":{about},"error":"x","message":"y"}}"#);
        assert_eq!(read(200, &item, wire::contact).unwrap().unwrap().name.as_deref(), Some("Ann"), "{item}");
        assert_eq!(read(200, &format!("[{item}]"), wire::contacts).unwrap().contacts.len(), 1, "{item}");
        let wrapped = format!(r#"{{"ok":true,"data":{item}}}"#);
        assert!(read(200, &wrapped, wire::contact).unwrap().is_some(), "{wrapped}");
    }
    assert!(!read(200, r#"{"numberExists":false}"#, wire::existence).unwrap().exists);
    assert_eq!(read(200, r#"{"status":"FAILED","name":"s"}"#, wire::session).unwrap().status, SessionStatus::Failed);
    assert_eq!(read(200, "null", wire::contact).unwrap(), None);
    assert_eq!(read(204, "", wire::contact).unwrap(), None);
}

#[test]
fn an_error_where_a_read_belongs_is_an_error() {
    let refused = [
        (200, r#"{"status":401,"message":"no","error":"Unauthorized"}"#, Unauthorized),
        (200, r#"{"code":"invalid_session","message":"gone"}"#, UnknownInstance),
        (200, r#"{"ok":false,"code":"engine_busy"}"#, Unclear),
        (200, r#"{"success":false,"data":[]}"#, Unclear),
        (200, r#"{"hello":"world"}"#, Decode),
        (200, r#""what""#, Decode),
        (200, "", Decode),
        (200, "<html></html>", Decode),
        (400, "[]", Rejected),
        (404, "null", Route),
        (422, "[]", Rejected),
        (501, r#"{"error":"Not implemented by the engine"}"#, Route),
    ];
    for (status, body, kind) in refused {
        assert_eq!(read(status, body, wire::contacts).unwrap_err().kind(), kind, "page: {status} {body}");
        let single = if matches!(body, "[]" | "null") || body.contains("data") { continue } else { body };
        assert_eq!(read(status, single, wire::contact).unwrap_err().kind(), kind, "contact: {status} {body}");
        assert_eq!(read(status, single, wire::session).unwrap_err().kind(), kind, "session: {status} {body}");
        assert_eq!(read(status, single, wire::phone_of_lid).unwrap_err().kind(), kind, "phone: {status} {body}");
        assert_eq!(read(status, single, wire::existence).unwrap_err().kind(), kind, "existence: {status} {body}");
    }
}

#[test]
fn code_and_message_are_kept_without_secrets() {
    let missing = error(400, r#"{"code":"missing_param","message":"no chatId\nfor s3cret-token of WAWP-1"}"#);
    assert_eq!(missing.code(), Some("missing_param"));
    assert_eq!(missing.message(), Some("no chatIdfor [redacted] of [redacted]"));
    let engine = error(500, r#"{"statusCode":500,"exception":{"message":"boom"}}"#);
    assert_eq!((engine.code(), engine.message()), (None, Some("boom")));
    let echoed = error(400, r#"{"code":"s3cret-token","message":""}"#);
    assert_eq!(echoed.code(), Some("[redacted]"));
    let page = error(502, "<html><head><title>502 Bad Gateway</title><script>x</script></head></html>");
    assert_eq!(page.message(), Some("502 Bad Gateway"));
    let xml = error(400, "<e><code>bad</code><message>no  chat</message></e>");
    assert_eq!(xml.message(), Some("bad no chat"));
}

#[test]
fn what_may_be_the_credentials_fault_says_so_and_a_request_given_back_does_not() {
    let refused = |message: String| error(400, &format!(r#"{{"code":"missing_param","message":"{message}"}}"#));
    assert!(refused("access_token is required".into()).to_string().contains("Credentials"));
    let echo = refused(format!("cannot save access_token=x&firstName={}", "n".repeat(256)));
    assert_eq!(echo.kind(), Rejected);
}

proptest! {
    #[test]
    fn any_body_of_any_status_is_survived(status in 100u16..1000, body in prop::collection::vec(any::<u8>(), 0..300)) {
        let reply = Reply { status, body: &body };
        drop(of_update(reply, acknowledges, &redactor()));
        drop(of_read(reply, wire::contacts, &redactor()));
    }

    #[test]
    fn any_text_between_tags_is_survived(text in "(<html>|<title>|</title>|<|>|&|é|a| ){0,40}") {
        drop(readable(&text));
    }
}
