//! The client and the document: what it sends, and what it makes of every answer.

use std::{collections::BTreeSet, pin::pin};

use futures_util::StreamExt;
use wawp_contacts::{
    ChatId, Client, ContactName, Error, Pace, RetryPolicy,
    client::{Credentials, Route},
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::document::{Document, Sent};

/// The operations that the client makes, each with the call that makes it.
pub(super) const MADE: [&str; 10] = [
    "updateContact",
    "putContact",
    "listContacts",
    "getContact",
    "checkExists",
    "listLids",
    "getLid",
    "getLidOfPhone",
    "postSession",
    "getSession",
];

/// The stand-in server's instance, in one way of talking to it.
fn client(url: &str, token: &str, route: Route, credentials: Credentials) -> Client {
    let builder = Client::builder("stand-in".parse().unwrap(), token).base_url(url);
    builder.route(route).credentials(credentials).pace(Pace::unlimited()).retry(RetryPolicy::never()).build().unwrap()
}

/// One client for each way of talking to the server.
pub(super) fn clients(url: &str, token: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for credentials in [Credentials::Body, Credentials::Query, Credentials::Bearer, Credentials::Header] {
        clients.extend([Route::Update, Route::PutContact].map(|route| client(url, token, route, credentials)));
    }
    clients
}

/// Makes the call of one operation; what comes back does not matter beyond the error.
pub(super) async fn make(client: &Client, operation: &str) -> Result<(), Error> {
    let bob: ChatId = "15551234567@c.us".parse().unwrap();
    let lid: ChatId = "123456789012345@lid".parse().unwrap();
    match operation {
        "updateContact" | "putContact" => {
            client.update_contact(&bob, &ContactName::new("Bob", "[Lead]").unwrap()).await
        }
        "listContacts" => first(client.contacts()).await,
        "getContact" => client.contact(&bob).await.map(drop),
        "checkExists" => client.check_exists(&bob.phone().unwrap()).await.map(drop),
        "listLids" => first(client.lids()).await,
        "getLid" => client.phone_of(&lid).await.map(drop),
        "getLidOfPhone" => client.lid_of(&bob.phone().unwrap()).await.map(drop),
        // Asks by POST, and by GET where that is not known.
        "postSession" | "getSession" => client.session().await.map(drop),
        other => panic!("the client does not make {other}"),
    }
}

async fn first<T>(stream: impl futures_util::Stream<Item = Result<T, Error>>) -> Result<(), Error> {
    pin!(stream).next().await.transpose().map(drop)
}

#[tokio::test]
async fn everything_the_client_sends_keeps_to_the_document() {
    let (document, server) = (Document::load(), MockServer::start().await);
    for client in clients(&server.uri(), "t0ken") {
        for operation in MADE {
            // Nothing is mounted, so every answer is a 404.
            make(&client, operation).await.unwrap_err();
        }
    }

    let mut seen = BTreeSet::new();
    for request in server.received_requests().await.unwrap() {
        let (method, path) = (request.method.as_str(), request.url.path());
        let operation = document.operation(method, path).unwrap_or_else(|| panic!("{method} {path} is not declared"));
        let headers: Vec<_> = request.headers.keys().map(ToString::to_string).collect();
        let sent = Sent { mime: "application/json".into(), body: request.body };
        assert_eq!(operation.request_violations(&request.url, &headers, &sent), [""; 0], "{method} {path}");
        seen.insert(operation.id().to_owned());
    }
    assert_eq!(seen, MADE.map(str::to_owned).into());
}

#[tokio::test]
async fn the_client_understands_every_example_as_documented() {
    let (document, server) = (Document::load(), MockServer::start().await);
    let [post, put] =
        [Route::Update, Route::PutContact].map(|route| client(&server.uri(), "t0ken", route, Credentials::Body));
    for operation in document.operations().filter(|operation| MADE.contains(&operation.id())) {
        for example in operation.examples() {
            server.reset().await;
            let sent = example.sent();
            let answer = ResponseTemplate::new(example.status).set_body_raw(sent.body, &sent.mime);
            Mock::given(any()).respond_with(answer).mount(&server).await;
            let client = if example.operation == "putContact" { &put } else { &post };
            let understood = match make(client, &example.operation).await {
                Ok(()) => "Ok".to_owned(),
                Err(error) => format!("{:?}", error.kind()),
            };
            assert_eq!(understood, example.client, "{} {} {}", example.operation, example.status, example.name);
        }
    }
}
