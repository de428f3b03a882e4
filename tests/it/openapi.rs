//! The document of the API holds for what the client sends, for what the stand-in answers, and for its own examples.

mod client;
mod document;
mod prism;

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use wawp_contacts::{
    ErrorKind,
    testkit::{Answer, Entry, WawpServer},
};

use self::{
    document::{Document, Sent},
    prism::Prism,
};

const BOB: &str = "15551234567@c.us";
const LID: &str = "123456789012345@lid";

/// What an answer can mean; the other kinds are about there being none.
const KINDS: [ErrorKind; 12] = [
    ErrorKind::Rejected,
    ErrorKind::Unclear,
    ErrorKind::Configuration,
    ErrorKind::Unauthorized,
    ErrorKind::Forbidden,
    ErrorKind::UnknownInstance,
    ErrorKind::Route,
    ErrorKind::SessionNotReady,
    ErrorKind::RateLimited,
    ErrorKind::QuotaReached,
    ErrorKind::Server,
    ErrorKind::Decode,
];

#[test]
fn every_example_keeps_to_its_schema() {
    let document = Document::load();
    let mut examples = 0;
    for operation in document.operations() {
        assert_eq!(operation.request_example_violations(), [""; 0], "{}", operation.id());
        for example in operation.examples() {
            let violations = operation.answer_violations(example.status, &example.sent());
            assert_eq!(violations, [""; 0], "{} {} {}", example.operation, example.status, example.name);
            examples += 1;
        }
    }
    assert!(examples > 200, "only {examples} examples were looked at");
}

#[test]
fn the_examples_cover_every_error_that_an_answer_can_mean() {
    let document = Document::load();
    let updates = document.operations().filter(|operation| ["updateContact", "putContact"].contains(&operation.id()));
    for update in updates {
        let meant: BTreeSet<_> = update.examples().into_iter().map(|example| example.client).collect();
        let mut kinds = BTreeSet::from(["Ok".to_owned()]);
        kinds.extend(KINDS.map(|kind| format!("{kind:?}")));
        assert_eq!(meant, kinds, "{}", update.id());
    }
}

#[test]
fn what_the_document_does_not_declare_is_noticed() {
    let document = Document::load();
    let update = document.operation("POST", "/v2/contacts/update").unwrap();
    let json = |body: Value| Sent { mime: "application/json".into(), body: body.to_string().into() };
    let violations = |url: &str, body| update.request_violations(&url.parse().unwrap(), &[], &json(body));
    let good = json!({"instance_id": "a", "access_token": "t", "chatId": BOB, "firstName": "Bob"});
    let url = "http://localhost/v2/contacts/update";
    assert_eq!(violations(url, good.clone()), [""; 0]);
    for (key, value) in [("chatId", json!("1@g.us")), ("lastName", json!("")), ("firstname", json!("Bob"))] {
        let mut bad = good.clone();
        bad[key] = value;
        assert_eq!(violations(url, bad).len(), 1, "{key}");
    }
    assert_eq!(violations(&format!("{url}?chat=1"), good).len(), 1);
    assert_eq!(violations(url, json!({"chatId": BOB})).len(), 1, "no credentials");
    assert_eq!(update.answer_violations(418, &json(json!({}))).len(), 1);
    assert_eq!(update.answer_violations(422, &json(json!({"ok": true}))).len(), 2);
    assert!(document.operation("GET", "/v2/contacts/update").is_none());
    assert!(document.operation("GET", "/v3/contacts").is_none());
}

/// Drives the stand-in server by plain HTTP and checks each answer against the document.
struct Driver<'a> {
    document: Document,
    server: &'a WawpServer,
    url: String,
    seen: BTreeSet<String>,
}

impl<'a> Driver<'a> {
    fn new(server: &'a WawpServer, url: String) -> Self {
        Self { document: Document::load(), server, url, seen: BTreeSet::new() }
    }

    /// Makes a request in the default style of its method and gives the status, once the answer kept to the document.
    async fn call(&mut self, method: &str, path: &str, body: Value) -> u16 {
        let credentials = json!({"instance_id": self.server.instance().as_str(), "access_token": self.server.token()});
        let url = format!("{}{path}", self.url);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = match body {
            Value::Object(mut fields) => {
                fields.extend(credentials.as_object().unwrap().clone());
                let request = http.request(method.parse().unwrap(), url).header("content-type", "application/json");
                request.body(Value::Object(fields).to_string())
            }
            _ => http
                .request(method.parse().unwrap(), url)
                .header("X-Instance-ID", self.server.instance().as_str())
                .bearer_auth(self.server.token()),
        };
        let response = request.send().await.unwrap();
        let (status, mime) = (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap().into());
        let sent = Sent { mime, body: response.bytes().await.unwrap().into() };
        let operation = self.document.operation(method, path.split('?').next().unwrap()).unwrap();
        assert_eq!(operation.answer_violations(status, &sent), [""; 0], "{method} {path} {status}");
        self.seen.insert(operation.id().to_owned());
        status
    }

    async fn update(&mut self, body: Value) -> u16 {
        self.call("POST", "/v2/contacts/update", body).await
    }

    async fn read(&mut self, path: &str) -> u16 {
        self.call("GET", path, Value::Null).await
    }
}

/// Makes every call of the document once, well and badly.
async fn drive_everything(server: &WawpServer, url: String) {
    let mut driver = Driver::new(server, url);
    let (bob, lid) = (BOB.parse().unwrap(), LID.parse().unwrap());
    server.seed([Entry::unsaved(&lid).with_pushname("dan"), Entry::group("120363000000000000@g.us", "Team")]);
    server.map_lid(&lid, Some(&"15551234567".parse().unwrap()));
    server.register(&"15550000000".parse().unwrap(), None);
    drive_well(&mut driver).await;
    drive_badly(&mut driver).await;
    server.assert_contact(&bob, "Bob");
}

async fn drive_well(driver: &mut Driver<'_>) {
    assert_eq!(driver.update(json!({"chatId": BOB, "firstName": "Bob", "lastName": "[Lead]"})).await, 200);
    assert_eq!(driver.call("PUT", "/v2/contacts/15551234567%40c.us", json!({"firstName": "Bob"})).await, 200);
    for path in [
        "/v2/contacts/all?limit=10&sortBy=name&sortOrder=DESC",
        &format!("/v2/contacts?contactId={BOB}"),
        "/v2/contacts?contactId=15550000000@c.us",
        "/v2/contacts/check-exists?phone=15551234567",
        "/v2/contacts/check-exists?phone=15550000000",
        "/v2/lids",
        "/v2/lids/count",
        &format!("/v2/lids/{LID}"),
        "/v2/lids/pn/15551234567",
        "/v2/lids/pn/15557654321",
        "/v2/session/info",
        "/v2/session/rate-limit",
    ] {
        assert_eq!(driver.read(path).await, 200, "{path}");
    }
    assert_eq!(driver.call("POST", "/v2/session/info", json!({})).await, 200);
    let all: BTreeSet<_> = driver.document.operations().map(|operation| operation.id().to_owned()).collect();
    assert_eq!(driver.seen, all);
}

async fn drive_badly(driver: &mut Driver<'_>) {
    let (server, bob) = (driver.server, json!({"chatId": BOB, "firstName": "Bob"}));
    server.log_out();
    assert_eq!(driver.update(bob.clone()).await, 422);
    assert_eq!(driver.read("/v2/contacts/all").await, 422);
    assert_eq!(driver.read("/v2/session/info").await, 200);
    server.log_in();
    server.revoke_token();
    assert_eq!(driver.update(bob.clone()).await, 401);
    server.restore_token();
    server.unlink();
    assert_eq!(driver.read("/v2/lids").await, 404);
    server.link();
    server.rate_limit(0);
    assert_eq!(driver.update(bob).await, 429);
    server.rate_limit(u32::MAX);
}

#[tokio::test]
async fn every_answer_of_the_stand_in_keeps_to_the_document() {
    let server = WawpServer::start().await;
    drive_everything(&server, server.url()).await;

    let mut driver = Driver::new(&server, server.url());
    assert_eq!(driver.update(json!({"firstName": "Bob"})).await, 400);
    assert_eq!(driver.update(json!({"chatId": "1@g.us"})).await, 400);
    assert_eq!(driver.update(json!({"chatId": BOB, "firstName": "Bob", "lastName": ""})).await, 500);
}

#[tokio::test]
#[ignore = "needs Prism: run .ci/prism"]
async fn prism_has_nothing_to_complain_of() {
    let server = WawpServer::start().await;
    let prism = Prism::in_front_of(&server.url()).await;
    drive_everything(&server, prism.url.clone()).await;
    for client in client::clients(&prism.url, server.token()) {
        for operation in client::MADE {
            client::make(&client, operation).await.unwrap();
        }
    }

    // And it does complain when there is something to complain of.
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = http.get(format!("{}/v2/contacts/all?limit=0", prism.url)).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn every_ready_answer_keeps_to_the_document() {
    let server = WawpServer::start().await;
    let mut driver = Driver::new(&server, server.url());
    for answer in [
        Answer::ok(),
        Answer::refused_with_200(),
        Answer::missing_param("firstName"),
        Answer::invalid_param("no person"),
        Answer::unauthorized(),
        Answer::subscription_required(),
        Answer::invalid_session(),
        Answer::unknown_route(),
        Answer::wrong_method(),
        Answer::session_not_working("stand-in", "STARTING"),
        Answer::too_many_requests(Duration::from_secs(7)),
        Answer::quota_reached(),
        Answer::engine_conflict(),
        Answer::bad_gateway(),
    ] {
        let status = answer.status();
        server.on_any_update().answer(answer).once();
        assert_eq!(driver.update(json!({"chatId": BOB, "firstName": "Bob"})).await, status);
    }
}
