use proptest::prelude::*;

use super::*;
use crate::Class;
use ErrorKind::{
    Configuration, Decode, Forbidden, QuotaReached, RateLimited, Rejected, Route, Server, SessionNotReady, Timeout,
    Unauthorized, UnknownInstance,
};

fn redactor() -> Redactor {
    Redactor::new("s3cret-token".into(), "WAWP-1")
}

fn error(status: u16, body: &str) -> Error {
    let answer = understand(status, body.as_bytes(), &redactor())
        .and_then(|json| acknowledges(&json).map_err(|Misread| Error::new(Decode).with_status(status)));
    answer.expect_err(body)
}

#[test]
fn every_row_of_the_error_table_has_its_kind_and_class() {
    let html = "<!doctype html><html><head><title>Bad gateway</title></head></html>";
    let conflict = r#"{"statusCode":500,"timestamp":"t","exception":{"message":"409 conflict"}}"#;
    let session =
        r#"{"error":"Session status is not as expected","session":"s","status":"STARTING","expected":["WORKING"]}"#;
    let rows = [
        (400, r#"{"code":"missing_param","message":"chatId is required"}"#, Rejected, Class::Contact),
        (400, "", Rejected, Class::Contact),
        (413, "", Rejected, Class::Contact),
        (401, r#"{"status":401,"message":"no","error":"Unauthorized"}"#, Unauthorized, Class::Instance),
        (401, "", Unauthorized, Class::Instance),
        (403, r#"{"code":"subscription_required","message":"pay"}"#, Forbidden, Class::Instance),
        (402, "", Forbidden, Class::Instance),
        (404, r#"{"code":"invalid_session","message":"gone"}"#, UnknownInstance, Class::Instance),
        (404, r#"{"status":404,"error":"Invalid session"}"#, UnknownInstance, Class::Instance),
        (404, "<error><code>invalid_session</code></error>", UnknownInstance, Class::Instance),
        (404, r#"{"message":"Cannot POST /v2"}"#, Route, Class::Configuration),
        (404, html, Route, Class::Configuration),
        (405, "", Route, Class::Configuration),
        (415, "", Configuration, Class::Configuration),
        (307, "", Configuration, Class::Configuration),
        (422, session, SessionNotReady, Class::Wait),
        (422, "", SessionNotReady, Class::Wait),
        (429, "", RateLimited, Class::Wait),
        (429, r#"{"code":"quota_reached","message":"spent"}"#, QuotaReached, Class::Wait),
        (403, r#"{"error":{"code":"quota_reached","message":"spent"}}"#, QuotaReached, Class::Wait),
        (408, "", Timeout, Class::Transient),
        (409, "", Server, Class::Transient),
        (500, conflict, Server, Class::Transient),
        (500, "oops", Server, Class::Transient),
        (502, html, Server, Class::Transient),
        (503, "", Server, Class::Transient),
        (504, "<xml/>", Server, Class::Transient),
        (520, "", Server, Class::Transient),
        (200, "", Decode, Class::Transient),
        (200, html, Decode, Class::Transient),
        (200, "ok", Decode, Class::Transient),
        (200, r#"{"ok":tru"#, Decode, Class::Transient),
        (200, "null", Decode, Class::Transient),
        (200, "[]", Decode, Class::Transient),
        (200, "17", Decode, Class::Transient),
        (200, "false", Rejected, Class::Contact),
        (200, r#"{"ok":false}"#, Rejected, Class::Contact),
        (200, r#"{"success":"false","message":"no"}"#, Rejected, Class::Contact),
        (200, r#"{"result":false}"#, Rejected, Class::Contact),
        (200, r#"{"code":"strange","message":"no"}"#, Rejected, Class::Contact),
        (200, r#"{"error":"no such chat"}"#, Rejected, Class::Contact),
        (200, r#"{"code":"invalid_session","message":"gone"}"#, UnknownInstance, Class::Instance),
        (200, r#"{"ok":false,"code":"subscription_required"}"#, Forbidden, Class::Instance),
        (200, r#"{"ok":false,"status":401}"#, Unauthorized, Class::Instance),
        (200, r#"{"status":401,"message":"no","error":"Unauthorized"}"#, Unauthorized, Class::Instance),
        (200, r#"{"data":{"ok":false,"code":"quota_reached"}}"#, QuotaReached, Class::Wait),
        (200, r#"{"ok":false,"status":"429"}"#, RateLimited, Class::Wait),
        (200, r#"{"error":"not ready","status":"SCAN_QR_CODE"}"#, SessionNotReady, Class::Wait),
        (200, conflict, Server, Class::Transient),
    ];
    for (status, body, kind, class) in rows {
        let error = error(status, body);
        assert_eq!((error.kind(), error.class()), (kind, class), "{status} {body}");
        assert_eq!(error.status(), Some(status));
        assert_eq!(error.is_in_doubt(), class == Class::Transient, "{status} {body}");
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
        r#"{"result":{"id":"x"}}"#,
        "{}",
        "true",
    ];
    for body in bodies {
        let json = understand(200, body.as_bytes(), &redactor()).unwrap();
        assert_eq!(acknowledges(&json), Ok(()), "{body}");
    }
    assert!(understand(204, b"", &redactor()).is_ok());
}

#[test]
fn reads_may_hold_states_that_would_be_errors_elsewhere() {
    for body in [r#"{"status":"FAILED","name":"s"}"#, r#"[{"name":null}]"#, "null", r#"{"numberExists":false}"#] {
        assert!(understand(200, body.as_bytes(), &redactor()).is_ok(), "{body}");
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
fn what_may_be_the_credentials_fault_says_so() {
    let error = error(400, r#"{"code":"missing_param","message":"access_token is required"}"#);
    assert!(error.to_string().contains("Credentials"));
}

proptest! {
    #[test]
    fn any_body_of_any_status_is_survived(status in 100u16..1000, body in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(understand(status, &body, &redactor()));
    }

    #[test]
    fn any_text_between_tags_is_survived(text in "(<html>|<title>|</title>|<|>|&|é|a| ){0,40}") {
        drop(readable(&text));
    }
}
