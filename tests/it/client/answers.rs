//! What the body of a good status says of an update, and what it is taken for.

use async_trait::async_trait;
use wawp_contacts::{
    AddressBook, Client, Error, ErrorClass, ErrorKind, RetryPolicy,
    book::Permit,
    client::{HttpExchange, HttpRequest, HttpResponse},
};

use super::{chat, name};

/// A server that has one answer.
#[derive(Debug)]
struct Canned(&'static str);

#[async_trait]
impl HttpExchange for Canned {
    async fn exchange(&self, _: HttpRequest) -> Result<HttpResponse, Error> {
        Ok(HttpResponse::new(200, self.0))
    }
}

fn answered(body: &'static str) -> Client {
    let builder = Client::builder("my-instance".parse().unwrap(), "my-token").http(Canned(body));
    builder.retry(RetryPolicy::never()).build().unwrap()
}

/// What becomes of an update that is answered 200 with this body.
async fn update(body: &'static str) -> Result<(), Error> {
    answered(body).update_contact(&chat(), &name()).await
}

#[tokio::test]
async fn p4_a_200_that_says_it_failed_is_no_acknowledgement() {
    use ErrorKind::{
        Forbidden, QuotaReached, RateLimited, Rejected, Route, Server, SessionNotReady, Unauthorized, Unclear,
        UnknownInstance,
    };
    let mut wrong = Vec::new();
    for (body, kind) in [
        (r#"{"status":"failed","message":"engine is down"}"#, Unclear),
        (r#"{"status":"failure"}"#, Unclear),
        (r#"{"status":false,"message":"no such contact"}"#, Unclear),
        (r#"{"result":[{"success":false,"error":"no such contact"}]}"#, Unclear),
        (r#"{"results":{"success":false}}"#, Unclear),
        (r#"{"ok":"no"}"#, Unclear),
        (r#"{"ok":null,"message":"no such contact"}"#, Unclear),
        (r#"{"ok":true,"ok":false}"#, Unclear),
        (r#"{"statusCode":"401","message":"Unauthorized"}"#, Unauthorized),
        (r#"{"status":"STARTING","session":"default","expected":["WORKING"]}"#, SessionNotReady),
        (r#"{"status":"SCAN_QR_CODE"}"#, SessionNotReady),
        (r#"{"code":"invalid_session"}"#, UnknownInstance),
        (r#"{"error_code":"invalid_session","message":"gone"}"#, UnknownInstance),
        // The same in other words, at other places.
        (r#"{"ok":false,"ok":true}"#, Unclear),
        (r#"{"Success":"FALSE"}"#, Unclear),
        (r#"{"success":"failed"}"#, Unclear),
        (r#"{"success":[]}"#, Unclear),
        (r#"{"is_success":0}"#, Unclear),
        (r#"{"ok":-1}"#, Unclear),
        (r#"{"status":0}"#, Unclear),
        (r#"{"status":"Failed to save the contact"}"#, Unclear),
        (r#"{"status":"update_failed"}"#, Unclear),
        (r#"{"state":"error"}"#, Unclear),
        (r#"{"type":"error","message":"no"}"#, Unclear),
        (r#"{"result":"failed"}"#, Unclear),
        (r#"{"code":"update_failed"}"#, Unclear),
        (r#"{"code":"ContactUpdateError"}"#, Unclear),
        (r#"{"code":"not_found"}"#, Unclear),
        (r#"{"code":4001,"msg":"no such contact"}"#, Unclear),
        (r#"{"errorCode":17}"#, Unclear),
        (r#"{"errcode":40001,"errmsg":"no such contact"}"#, Unclear),
        (r#"{"ok":true,"errors":[{"message":"no such contact"}]}"#, Unclear),
        (r#"{"success":true,"error":{"message":"no such contact"}}"#, Unclear),
        (r#"{"isError":true}"#, Unclear),
        (r#"{"error_message":"no such contact"}"#, Unclear),
        (r#"{"updated":0,"failed":1}"#, Unclear),
        (r#"{"success":true,"failures":["15551234567@c.us"]}"#, Unclear),
        (r#"{"success":true,"data":{"data":{"success":false}}}"#, Unclear),
        (r#"{"success":true,"data":[{"ok":true},{"ok":false}]}"#, Unclear),
        (r#"{"data":false}"#, Unclear),
        (r#"{"15551234567@c.us":{"success":false}}"#, Unclear),
        (r#"{"contacts":[{"id":"15551234567@c.us","status":"failed"}]}"#, Unclear),
        (r#"[{"success":false}]"#, Unclear),
        // `FAILED` alone may be said of the contact; only with the session beside it, it stops the instance.
        (r#"{"status":"FAILED","message":"no such contact"}"#, Unclear),
        (r#"{"status":"FAILED","session":"default"}"#, SessionNotReady),
        (r#"{"data":{"status":"STOPPED"}}"#, SessionNotReady),
        (r#"{"success":true,"status":"SCAN_QR_CODE"}"#, SessionNotReady),
        (r#"{"state":"PASSKEY_REQUIRED"}"#, SessionNotReady),
        (r#"{"session":"default","status":"PAIRING"}"#, SessionNotReady),
        (r#"{"code":"session_not_ready"}"#, SessionNotReady),
        (r#"{"message":"Unauthorized"}"#, Unauthorized),
        (r#""Unauthorized""#, Unauthorized),
        (r#"{"http_code":403}"#, Forbidden),
        (r#"{"statusCode":200,"status":401}"#, Unauthorized),
        (r#"{"errors":[{"code":"subscription_required"}]}"#, Forbidden),
        (r#"{"results":[{"ok":false,"error":{"code":"quota_reached"}}]}"#, QuotaReached),
        (r#"{"status":"rate_limited"}"#, RateLimited),
        (r#"{"response":{"statusCode":429}}"#, RateLimited),
        (r#"{"body":{"status":"404"}}"#, Route),
        (r#"{"errorCode":"missing_param"}"#, Rejected),
        (r#"{"success":true,"data":{"statusCode":503}}"#, Server),
    ] {
        match update(body).await {
            Err(error) if error.kind() == kind => {
                assert_eq!(error.is_in_doubt(), error.class() == ErrorClass::Transient, "{body}");
            }
            answer => wrong.push((body, kind, answer)),
        }
    }
    assert!(wrong.is_empty(), "taken for something else: {wrong:#?}");
}

#[tokio::test]
async fn p4_a_200_with_harmless_fields_is_an_acknowledgement() {
    let mut wrong = Vec::new();
    for body in [
        r#"{"ok": true}"#,
        r#"{"success": true}"#,
        r#"{"code":"success","message":"done"}"#,
        r#"{"success":true,"data":{"jid":"15551234567@s.whatsapp.net","fullName":"Ann Lee"}}"#,
        r#"{"addContact":true}"#,
        r#"{"message":"Contact updated"}"#,
        r#"{"message":"The error is gone, nothing failed"}"#,
        r#"{"status":"success"}"#,
        r#"{"status":"ok","message":"Contact updated"}"#,
        r#"{"status":200,"message":"Contact updated"}"#,
        r#"{"statusCode":"201"}"#,
        r#"{"status":"WORKING"}"#,
        r#"{"session":"default","status":"WORKING"}"#,
        r#"{"session":"default","status":"SUCCESS"}"#,
        r#"{"success":true,"session":"default","status":"SAVED_NOW"}"#,
        r#"{"status":"queued"}"#,
        r#"{"status":"success","data":{"session":"default","status":"PENDING"}}"#,
        r#"{"session":"default","status":"UPDATED"}"#,
        r#"{"status":"no_errors"}"#,
        r#"{"status":"not_modified"}"#,
        r#"{"status":true}"#,
        r#"{"success":"Contact updated"}"#,
        r#"{"success":1,"failed":0}"#,
        r#"{"updated":1,"failed":[],"errors":0}"#,
        r#"{"ok":"yes"}"#,
        r#"{"ok":true,"success":null}"#,
        r#"{"error":null}"#,
        r#"{"error":false,"message":"Contact updated"}"#,
        r#"{"error":"","errors":[]}"#,
        r#"{"error":"none"}"#,
        r#"{"success":true,"code":"","message":"Contact updated"}"#,
        r#"{"success":true,"error_code":0,"error_message":null,"exception":null}"#,
        r#"{"status":"success","code":0,"message":"Contact updated","error":{}}"#,
        r#"{"code":0,"message":"success"}"#,
        r#"{"errcode":0,"errmsg":"ok"}"#,
        r#"{"result":{"id":"x"},"data":null}"#,
        r#"{"result":"ok","results":[]}"#,
        r#"{"data":{"id":"15551234567@c.us","name":"Error","isGroup":false,"isBusiness":false,"blocked":false}}"#,
        r#"{"contact":{"name":"Failed","firstName":"Invalid","lastName":"Forbidden"}}"#,
        r#"{"data":{"pushname":"annie","name":"Ann","status":"failed musician"}}"#,
        r#"{"data":{"pushname":"annie","name":"Ann","status":"401"}}"#,
        r#"{"success":true,"webhook":{"success":false}}"#,
        r#"{"success":true,"warnings":["the phone shows it later"]}"#,
        "{}",
        "true",
    ] {
        if let Err(error) = update(body).await {
            wrong.push((body, error));
        }
    }
    assert!(wrong.is_empty(), "taken for a failure: {wrong:#?}");
}

#[tokio::test]
async fn p8_a_page_that_says_it_failed_is_no_empty_address_book() {
    let mut wrong = Vec::new();
    for body in [
        r#"{"success":false,"data":[]}"#,
        r#"{"success":"no","data":[]}"#,
        r#"{"ok":true,"ok":false,"data":[]}"#,
        r#"{"Success":"failed","contacts":[]}"#,
        r#"{"isSuccess":false,"data":{"contacts":[]}}"#,
    ] {
        match answered(body).page(Permit::grant(), 0, 10).await {
            Err(error) if error.kind() == ErrorKind::Unclear => assert!(!error.is_in_doubt(), "{body}"),
            answer => wrong.push((body, answer)),
        }
    }
    assert!(wrong.is_empty(), "taken for something else: {wrong:#?}");
    for body in [r#"{"success":true,"data":[]}"#, r#"{"success":null,"data":[]}"#, r#"{"data":[]}"#, "[]"] {
        assert!(answered(body).page(Permit::grant(), 0, 10).await.unwrap().contacts.is_empty(), "{body}");
    }
}
