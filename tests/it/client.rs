//! The client against servers that behave, misbehave and die.

mod answers;
mod contract;
mod credentials;
mod doctor;
mod http;
pub(crate) mod raw;
mod reads;
mod stand_in;
mod transport;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use wawp_contacts::{
    AddressBook, ChatId, Client, ClientBuilder, ContactName, Error, ErrorClass, ErrorKind, Pace, RetryPolicy, Route,
    book::Permit,
};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{any, body_json, method, path},
};

pub(crate) const TOKEN: &str = "hunter2-s3cret+t/T0ken";
const INSTANCE: &str = "WAWP-4711";

fn chat() -> ChatId {
    "15551234567@c.us".parse().unwrap()
}

fn name() -> ContactName {
    ContactName::new("Ann", "Lee").unwrap()
}

/// A client without pace whose retries wait for milliseconds.
fn client_at(url: &str) -> ClientBuilder {
    let retry = RetryPolicy::default().backing_off(Duration::from_millis(1), Duration::from_millis(4));
    Client::builder(INSTANCE.parse().unwrap(), TOKEN).base_url(url).pace(Pace::unlimited()).retry(retry)
}

fn client(server: &MockServer) -> Client {
    client_at(&server.uri()).build().unwrap()
}

async fn answering(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

async fn requests(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

async fn update_error(client: &Client) -> Error {
    client.update_contact(&chat(), &name()).await.unwrap_err()
}

#[tokio::test]
async fn an_update_is_one_post_with_everything_in_its_body() {
    let server = MockServer::start().await;
    let body = serde_json::json!({"instance_id": INSTANCE, "access_token": TOKEN, "chatId": "15551234567@c.us",
        "firstName": "Ann", "lastName": "Lee"});
    Mock::given(method("POST"))
        .and(path("/v2/contacts/update"))
        .and(body_json(body))
        .respond_with(ResponseTemplate::new(200).set_body_string(r#"{"ok": true}"#))
        .expect(1)
        .mount(&server)
        .await;
    client(&server).update_contact(&chat(), &name()).await.unwrap();
    let request = &server.received_requests().await.unwrap()[0];
    assert_eq!(request.url.query(), None);
    assert_eq!(request.headers["content-type"], "application/json");
    assert!(request.headers["user-agent"].to_str().unwrap().starts_with("wawp-contacts/"));
}

#[tokio::test]
async fn a_missing_last_name_is_not_sent() {
    let server = answering(ResponseTemplate::new(200).set_body_string(r#"{"ok":true}"#)).await;
    client(&server).update_contact(&chat(), &ContactName::new("Ann", " ").unwrap()).await.unwrap();
    let body: serde_json::Value = server.received_requests().await.unwrap()[0].body_json().unwrap();
    assert_eq!(body["firstName"], "Ann");
    assert!(body.get("lastName").is_none());
}

#[tokio::test]
async fn the_other_route_puts_to_the_encoded_chat_behind_the_path_of_the_base() {
    let server = answering(ResponseTemplate::new(200).set_body_string(r#"{"success":true}"#)).await;
    let base = format!("{}/wawp/", server.uri());
    let client = client_at(&base).route(Route::PutContact).build().unwrap();
    client.update_contact(&chat(), &name()).await.unwrap();
    let request = &server.received_requests().await.unwrap()[0];
    assert_eq!((request.method.as_str(), request.url.path()), ("PUT", "/wawp/v2/contacts/15551234567%40c.us"));
    let body: serde_json::Value = request.body_json().unwrap();
    assert_eq!(body, serde_json::json!({"firstName": "Ann", "lastName": "Lee"}));
}

#[tokio::test]
async fn an_unknown_route_names_the_other_one() {
    for status in [404, 405] {
        let server = answering(ResponseTemplate::new(status)).await;
        let error = update_error(&client(&server)).await;
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::Route, 1));
        assert!(error.to_string().contains("Route::PutContact"), "{error}");
        let other = client_at(&server.uri()).route(Route::PutContact).build().unwrap();
        assert!(update_error(&other).await.to_string().contains("Route::Update"));
    }
}

#[tokio::test]
async fn a_transient_failure_is_retried_with_the_same_body() {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(503)).up_to_n_times(2).mount(&server).await;
    let yes = ResponseTemplate::new(200).set_body_string(r#"{"ok":true}"#);
    Mock::given(any()).respond_with(yes).mount(&server).await;
    client(&server).update_contact(&chat(), &name()).await.unwrap();
    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| request.body == requests[0].body));
}

#[tokio::test]
async fn a_refusal_is_sent_once() {
    for (status, class) in [
        (400, ErrorClass::Contact),
        (401, ErrorClass::Instance),
        (403, ErrorClass::Instance),
        (302, ErrorClass::Configuration),
    ] {
        let server = answering(ResponseTemplate::new(status)).await;
        let error = update_error(&client(&server)).await;
        assert_eq!((error.class(), error.attempts(), requests(&server).await), (class, 1, 1), "{status}");
        assert!(!error.is_in_doubt());
    }
}

#[tokio::test]
async fn attempts_end_with_the_policy_and_are_counted() {
    let server = answering(ResponseTemplate::new(500)).await;
    let error = update_error(&client(&server)).await;
    assert_eq!((error.kind(), error.attempts(), error.status()), (ErrorKind::Server, 4, Some(500)));
    assert!(error.is_in_doubt());
    assert_eq!(requests(&server).await, 4);
}

#[tokio::test]
async fn an_address_book_makes_one_attempt() {
    let server = answering(ResponseTemplate::new(500)).await;
    // An `Arc` of a client is an address book too.
    let book: &dyn AddressBook = &Arc::new(client(&server));
    assert_eq!(book.update(Permit::grant(), &chat(), &name()).await.unwrap_err().attempts(), 1);
    let lid = "123456789012345@lid".parse().unwrap();
    let failed = [
        book.contact(Permit::grant(), &chat()).await.unwrap_err(),
        book.page(Permit::grant(), 0, 10).await.unwrap_err(),
        book.session(Permit::grant()).await.unwrap_err(),
        book.phone_of(Permit::grant(), &lid).await.unwrap_err(),
        book.lids(Permit::grant(), 0, 10).await.unwrap_err(),
    ];
    assert!(failed.iter().all(|error| error.attempts() == 1 && !error.is_in_doubt()), "{failed:?}");
    assert_eq!(requests(&server).await, 6);
    assert_eq!(book.page(Permit::grant(), 0, 1001).await.unwrap_err().kind(), ErrorKind::Configuration);
    assert_eq!(book.phone_of(Permit::grant(), &chat()).await.unwrap_err().kind(), ErrorKind::Rejected);
    assert_eq!(requests(&server).await, 6, "a page that is too large is not asked for");
}

#[tokio::test]
async fn deadline_and_pace_tell_timeout_and_pace() {
    let client = Client::builder(INSTANCE.parse().unwrap(), TOKEN).build().unwrap();
    let book: &dyn AddressBook = &client;
    assert_eq!((book.deadline(), book.pace()), (Duration::from_secs(30), Pace::default()));
    assert_eq!(book.instance().as_str(), INSTANCE);
}

#[tokio::test]
async fn p5_a_long_retry_after_comes_back_at_once_and_stops_all_clones() {
    let server = answering(ResponseTemplate::new(429).insert_header("Retry-After", "86400")).await;
    let client = client(&server);
    let began = Instant::now();
    let error = update_error(&client).await;
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::RateLimited, 1));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(86_400)));
    let error = update_error(&client.clone()).await;
    assert_eq!((error.kind(), error.attempts(), error.is_in_doubt()), (ErrorKind::RateLimited, 0, false));
    assert!(error.retry_after().unwrap() > Duration::from_secs(86_000));
    assert_eq!(client.contact(&chat()).await.unwrap_err().attempts(), 0);
    assert_eq!(requests(&server).await, 1);
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn p5_a_short_retry_after_is_waited_for() {
    let server = MockServer::start().await;
    let limited = ResponseTemplate::new(429).insert_header("Retry-After", "1");
    Mock::given(any()).respond_with(limited).up_to_n_times(1).mount(&server).await;
    let yes = ResponseTemplate::new(200).set_body_string(r#"{"ok":true}"#);
    Mock::given(any()).respond_with(yes).mount(&server).await;
    let began = Instant::now();
    client(&server).update_contact(&chat(), &name()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_date_in_retry_after_is_read_by_the_clock_of_the_server() {
    let limited = ResponseTemplate::new(503)
        .insert_header("Date", "Sat, 21 Nov 2020 10:00:00 GMT")
        .insert_header("Retry-After", "Sat, 21 Nov 2020 11:00:00 GMT");
    let error = update_error(&client(&answering(limited).await)).await;
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let elsewhere = answering(ResponseTemplate::new(200).set_body_string(r#"{"ok":true}"#)).await;
    for status in [301, 302, 303, 307, 308] {
        let server = answering(ResponseTemplate::new(status).insert_header("Location", elsewhere.uri())).await;
        let error = update_error(&client(&server)).await;
        assert_eq!((error.kind(), error.status()), (ErrorKind::Configuration, Some(status)));
        assert!(error.to_string().contains("redirect"), "{error}");
        assert!(!format!("{error:?} {error}").contains("http://"));
    }
    assert_eq!(requests(&elsewhere).await, 0);
}

#[tokio::test]
async fn p5_a_pause_is_an_error_of_its_kind_at_once_for_whoever_drives_the_book() {
    let busy = ResponseTemplate::new(503).insert_header("Retry-After", "3600");
    let server = answering(busy).await;
    let book = client_at(&server.uri()).pace(Pace::every(Duration::from_secs(3600))).build().unwrap();
    let permit = book.permit().await.unwrap();
    let (chat, name) = (chat(), name());
    let (waiting, failed) = tokio::join!(book.permit(), book.update(permit, &chat, &name));
    assert_eq!((failed.unwrap_err().kind(), requests(&server).await), (ErrorKind::Server, 1));
    for refused in [waiting, book.permit().await] {
        let error = refused.unwrap_err();
        assert_eq!((error.kind(), error.attempts(), error.is_in_doubt()), (ErrorKind::Server, 0, false));
        assert!(error.retry_after() > Some(Duration::from_secs(3500)));
    }
}

#[tokio::test]
async fn the_deadline_of_a_call_begins_with_its_first_attempt_not_in_the_line() {
    let server = MockServer::start().await;
    let yes = || ResponseTemplate::new(200).set_body_string(r#"{"ok":true}"#);
    Mock::given(any()).respond_with(yes()).up_to_n_times(1).mount(&server).await;
    Mock::given(any()).respond_with(ResponseTemplate::new(500)).up_to_n_times(1).mount(&server).await;
    Mock::given(any()).respond_with(yes()).mount(&server).await;
    let retry = RetryPolicy::default().backing_off(Duration::ZERO, Duration::ZERO).deadline(Duration::from_millis(250));
    let client = client_at(&server.uri()).pace(Pace::every(Duration::from_millis(400))).retry(retry).build().unwrap();
    client.update_contact(&chat(), &name()).await.unwrap();
    // Stands in line for longer than the deadline, fails, and is still repeated.
    client.update_contact(&chat(), &name()).await.unwrap();
    assert_eq!(requests(&server).await, 3);
}

#[tokio::test]
async fn any_duration_is_taken() {
    let server = answering(ResponseTemplate::new(200).set_body_string(r#"{"ok":true}"#)).await;
    let retry = RetryPolicy::default().deadline(Duration::MAX).backing_off(Duration::MAX, Duration::MAX);
    for timeout in [Duration::MAX, Duration::from_secs(u64::MAX / 2)] {
        let builder = client_at(&server.uri()).timeout(timeout).retry(retry.clone());
        let client = builder.pace(Pace::every(Duration::MAX).jitter(1.0)).build().unwrap();
        client.update_contact(&chat(), &name()).await.unwrap();
    }
}

#[test]
fn every_public_future_and_stream_is_send() {
    fn is_send<T: Send>(_: T) {}
    let client = Client::builder(INSTANCE.parse().unwrap(), TOKEN).build().unwrap();
    let (chat, name, phone) = (chat(), name(), "15551234567".parse().unwrap());
    is_send(client.update_contact(&chat, &name));
    is_send(client.contact(&chat));
    is_send(client.contacts());
    is_send(client.check_exists(&phone));
    is_send(client.lids());
    is_send(client.phone_of(&chat));
    is_send(client.lid_of(&phone));
    is_send(client.session());
    let book: &dyn AddressBook = &client;
    is_send(book.permit());
}
