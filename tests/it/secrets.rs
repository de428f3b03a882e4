//! P11: the token is in no error, no `Debug` and no log, whatever the server does.

use std::{
    error::Error as StdError,
    fmt::Write as _,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use secrecy::{ExposeSecret, SecretString};
use tracing_subscriber::fmt::MakeWriter;
use wawp_contacts::{ChatId, Client, ContactName, Credentials, Error, ErrorKind, Pace, Phone, RetryPolicy, Route};
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

use crate::client::{
    TOKEN,
    raw::{Act, RawServer, nobody},
};

/// Everything that is logged while it is installed.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }
}

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Looks for the token, in whole or in a telling part, as it is and as URLs and JSON spell it.
fn assert_clean(text: &str, from: &str) {
    let encoded: String = url::form_urlencoded::byte_serialize(TOKEN.as_bytes()).collect();
    for secret in [TOKEN, &encoded, "hunter2", "s3cret", "T0ken"] {
        assert!(!text.contains(secret), "{from} shows the token: {text}");
    }
}

/// All that an error can be made to say.
fn spoken(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?} {:?} {:?}", error.message(), error.code());
    let mut source = error.source();
    while let Some(cause) = source {
        write!(text, " {cause} {cause:?}").unwrap();
        source = cause.source();
    }
    text
}

/// Makes every kind of call and gives all the errors.
async fn every_call(client: &Client) -> Vec<Error> {
    let chat: ChatId = "15551234567@c.us".parse().unwrap();
    let (name, phone): (_, Phone) = (ContactName::new("Zebediah", "Quux").unwrap(), "15551234567".parse().unwrap());
    let lid: ChatId = "123456789012345@lid".parse().unwrap();
    let answers = [
        client.update_contact(&chat, &name).await.err(),
        client.contact(&chat).await.err(),
        client.contacts().next().await.and_then(Result::err),
        client.check_exists(&phone).await.err(),
        client.lids().next().await.and_then(Result::err),
        client.phone_of(&lid).await.err(),
        client.lid_of(&phone).await.err(),
        client.session().await.err(),
    ];
    answers.into_iter().flatten().collect()
}

fn clients(url: &str) -> Vec<Client> {
    let styles = [
        (Credentials::Body, Route::Update),
        (Credentials::Query, Route::PutContact),
        (Credentials::Query, Route::Update),
        (Credentials::Bearer, Route::Update),
        (Credentials::Header, Route::PutContact),
    ];
    let build = |(style, route)| {
        Client::builder("WAWP-4711".parse().unwrap(), TOKEN)
            .base_url(url)
            .credentials(style)
            .route(route)
            .pace(Pace::unlimited())
            .retry(RetryPolicy::default().max_attempts(2).backing_off(Duration::ZERO, Duration::ZERO))
            .timeout(Duration::from_millis(20))
            .build()
            .unwrap()
    };
    styles.map(build).into()
}

/// Drives all calls of all clients and returns the kinds of error that came of it.
async fn drive(url: &str) -> Vec<ErrorKind> {
    let mut kinds = Vec::new();
    for client in clients(url) {
        assert_clean(&format!("{client:?} {client:#?}"), "a client");
        for error in every_call(&client).await {
            assert_clean(&spoken(&error), "an error");
            kinds.push(error.kind());
        }
    }
    kinds
}

/// Answers with the status and repeats the whole request, escaped in several ways, in body and headers.
fn echo(status: u16, body: &'static str) -> impl Fn(&Request) -> ResponseTemplate + Send + Sync {
    move |request| {
        let encoded: String = url::form_urlencoded::byte_serialize(TOKEN.as_bytes()).collect();
        let sent = format!(
            "{} {} {TOKEN} {encoded} {:?}",
            request.url,
            String::from_utf8_lossy(&request.body),
            request.headers
        );
        let escaped = serde_json::to_string(&sent).unwrap();
        ResponseTemplate::new(status)
            .insert_header("Location", format!("http://127.0.0.1:1/?access_token={encoded}"))
            .insert_header("X-Echo", TOKEN)
            .insert_header("Retry-After", TOKEN)
            .set_body_string(body.replace("ECHO", &escaped))
    }
}

async fn drive_everything() -> Vec<ErrorKind> {
    let mut kinds = Vec::new();
    let statuses = [200, 307, 400, 401, 403, 404, 405, 422, 429, 500].map(|status| (status, "ECHO"));
    let shapes = [
        r#"{"code":ECHO,"message":ECHO}"#,
        r#"{"ok":false,"status":"error","error":{"code":"x","message":ECHO}}"#,
        "<html><head><title>ECHO</title></head></html>",
        r#"{"code":"invalid_session","message":ECHO}"#,
        r#"{"code":"quota_reached","message":ECHO}"#,
        r#"{"code":"session_not_ready","message":ECHO}"#,
    ];
    for (status, body) in statuses.into_iter().chain(shapes.map(|shape| (200, shape))) {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(echo(status, body)).mount(&server).await;
        kinds.extend(drive(&server.uri()).await);
    }
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"ok\"";
    for act in [Act::Close, Act::Reset, Act::Say("garbage"), Act::Say(half), Act::SayAndHang("")] {
        kinds.extend(drive(&RawServer::start(act).await.url).await);
    }
    kinds.extend(drive(&nobody().await).await);
    kinds
}

#[test]
fn p11_the_token_is_in_no_error_no_debug_and_no_log() {
    let captured = Captured::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(captured.clone())
        .finish();
    // With a single subscriber, tracing asks the thread that first comes by a line of code whether anybody listens; that may be
    // the thread of another test, where nobody does. With two it asks them all.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    // One thread, so that the subscriber of this thread sees it all and other tests are not disturbed.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let kinds = tracing::subscriber::with_default(subscriber, || runtime.block_on(drive_everything()));
    // That a name was not kept is found out by a sync.
    for kind in ErrorKind::ALL.iter().filter(|kind| **kind != ErrorKind::Unkept) {
        assert!(kinds.contains(kind), "no server provoked {kind:?}");
    }
    let log = captured.text();
    assert!(log.contains("attempt=2") && log.contains("status=401") && log.contains("elapsed_ms="), "{log}");
    assert_clean(&log, "the log");
    let above_trace = log.lines().filter(|line| !line.contains("TRACE"));
    for line in above_trace {
        assert!(!line.contains("15551234567") && !line.contains("Zebediah"), "names a person above TRACE: {line}");
    }
}

#[test]
fn p11_a_builder_shows_neither_token_nor_base_url() {
    let token = SecretString::from(TOKEN);
    assert_clean(token.expose_secret().get(..3).unwrap(), "three letters");
    let builder =
        Client::builder("WAWP-4711".parse().unwrap(), token).base_url(format!("https://u:{TOKEN}@example.com"));
    assert_clean(&format!("{builder:?}"), "a builder");
    assert_clean(&spoken(&builder.build().unwrap_err()), "an error");
}

#[test]
fn what_main_prints_of_an_error_says_what_is_wrong_and_what_to_do() {
    let error =
        Error::new(ErrorKind::Configuration).with_hint("WAWP_INSTANCE_ID is not set").with_message("for Zebediah");
    let printed = format!("Error: {error:?}");
    assert!(printed.contains(&error.to_string()) && printed.contains("WAWP_INSTANCE_ID is not set"), "{printed}");
    assert!(!printed.contains("Zebediah"), "a server's message can name a person: {printed}");
}
