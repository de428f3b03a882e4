//! The stand-in server, driven by plain HTTP: what it takes, what it answers, what it does when told to fail.

use std::{panic, time::Duration};

use serde_json::{Value, json};
use wawp_contacts::{
    ChatId, ContactName,
    testkit::{Answer, Entry, WawpServer, mocks},
};
use wiremock::{Mock, MockServer};

const BOB: &str = "15551234567@c.us";

fn bob() -> ChatId {
    BOB.parse().unwrap()
}

/// Sends an update in the default style and gives status and body.
async fn update(server: &WawpServer, values: Value) -> (u16, Value) {
    let mut body = json!({"instance_id": server.instance().as_str(), "access_token": server.token()});
    body.as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
    answer(post(format!("{}/v2/contacts/update", server.url()), &body)).await
}

/// Sends a read in the default style and gives status and body.
async fn read(server: &WawpServer, path: &str) -> (u16, Value) {
    let join = if path.contains('?') { '&' } else { '?' };
    let credentials = format!("instance_id={}&access_token={}", server.instance(), server.token());
    answer(http().get(format!("{}{path}{join}{credentials}", server.url()))).await
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().retry(reqwest::retry::never()).no_proxy().build().unwrap()
}

fn post(url: String, body: &Value) -> reqwest::RequestBuilder {
    http().post(url).header("content-type", "application/json").body(body.to_string())
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
}

fn named(first: &str) -> Value {
    json!({"chatId": BOB, "firstName": first})
}

#[tokio::test]
async fn an_update_adds_and_renames() {
    let server = WawpServer::start().await;
    assert_eq!(update(&server, named("Bob")).await, (200, json!({"ok": true})));
    server.assert_contact(&bob(), "Bob");

    update(&server, json!({"chatId": BOB, "firstName": "Bob", "lastName": "[Lead]"})).await;
    server.assert_contact(&bob(), "Bob [Lead]");
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test]
async fn leaving_the_last_name_out_erases_it() {
    let server = WawpServer::start().await;
    server.seed([Entry::saved(&bob(), "Bob Smith").with_pushname("bobby")]);
    update(&server, named("Bob")).await;
    server.assert_contact(&bob(), "Bob");
    assert_eq!(server.contact(&bob()).unwrap().pushname.as_deref(), Some("bobby"));
}

#[tokio::test]
async fn an_empty_last_name_is_a_server_error_and_changes_nothing() {
    let server = WawpServer::start().await;
    let (status, body) = update(&server, json!({"chatId": BOB, "firstName": "Bob", "lastName": ""})).await;
    assert_eq!(status, 500);
    assert_eq!(body["exception"]["message"], "lastName must not be empty");
    assert_eq!(server.contact(&bob()), None);
}

#[tokio::test]
async fn only_persons_can_be_renamed() {
    let server = WawpServer::start().await;
    for chat in ["120363000000000000@g.us", "1234@newsletter", "status@broadcast", "15551234567", "+1 555", ""] {
        let (status, body) = update(&server, json!({"chatId": chat, "firstName": "Bob"})).await;
        assert_eq!((status, &body["code"]), (400, &json!("invalid_param")), "{chat}");
    }
    assert_eq!(update(&server, json!({"chatId": "123456789012345@lid", "firstName": "Bob"})).await.0, 200);
    assert_eq!(update(&server, json!({"chatId": "15551234567@s.whatsapp.net", "firstName": "Bob"})).await.0, 200);
    server.assert_contact(&bob(), "Bob");
}

#[tokio::test]
async fn a_missing_chat_is_named() {
    let server = WawpServer::start().await;
    let (status, body) = update(&server, json!({"firstName": "Bob"})).await;
    assert_eq!((status, &body["code"]), (400, &json!("missing_param")));
    assert!(body["message"].as_str().unwrap().contains("chatId"));
}

#[tokio::test]
async fn all_four_credential_styles_open_the_book_on_both_routes() {
    let server = WawpServer::start().await;
    let (instance, token) = (server.instance().as_str(), server.token());
    let in_body = json!({"instance_id": instance, "access_token": token, "chatId": BOB, "firstName": "Bob"});
    let query = format!("instance_id={instance}&access_token={token}");
    for (method, path) in [("POST", "update".to_owned()), ("PUT", BOB.replace('@', "%40"))] {
        let url = format!("{}/v2/contacts/{path}", server.url());
        let send = |url: &str, body: &Value| {
            let request = http().request(method.parse().unwrap(), url).header("content-type", "application/json");
            request.body(body.to_string())
        };
        let bare = named("Bob");
        let bearer = format!("Bearer {token}");
        let styles = [
            send(&url, &in_body),
            send(&format!("{url}?{query}"), &bare),
            send(&url, &bare).header("authorization", bearer).header("x-instance-id", instance),
            send(&format!("{url}?instance_id={instance}"), &bare).header("access-token", token),
        ];
        for style in styles {
            assert_eq!(answer(style).await.0, 200);
        }
        assert_eq!(answer(send(&url, &bare)).await.0, 401, "no credentials");
    }
}

#[tokio::test]
async fn a_wrong_token_an_unknown_instance_and_a_foreign_token_are_refused() {
    let server = WawpServer::start().await;
    let other = server.another_instance("other".parse().unwrap());
    let url = format!("{}/v2/contacts/update", server.url());
    for (instance, token, status) in [
        (server.instance().as_str(), "wrong", 401),
        (server.instance().as_str(), other.token(), 401),
        ("nobody", "wrong", 401),
        ("nobody", server.token(), 404),
        (other.instance().as_str(), other.token(), 200),
    ] {
        let body = json!({"instance_id": instance, "access_token": token, "chatId": BOB, "firstName": "Bob"});
        assert_eq!(answer(post(url.clone(), &body)).await.0, status, "{instance}");
    }
    assert_eq!(server.contact(&bob()), None, "the instances have a book each");
    other.assert_contact(&bob(), "Bob");
    assert_eq!(server.calls().iter().map(|call| call.status).collect::<Vec<_>>(), [Some(401), Some(401)]);
}

#[tokio::test]
async fn a_gated_instance_answers_as_wawp_does_until_it_is_opened() {
    let server = WawpServer::start().await;

    server.log_out();
    let (status, body) = update(&server, named("Bob")).await;
    assert_eq!((status, &body["status"]), (422, &json!("SCAN_QR_CODE")));
    assert_eq!(read(&server, "/v2/contacts/all").await.0, 422);
    assert_eq!(read(&server, "/v2/session/info").await.1["status"], "SCAN_QR_CODE");
    server.log_in();

    server.revoke_token();
    assert_eq!(update(&server, named("Bob")).await.0, 401);
    server.restore_token();

    server.unlink();
    let (status, body) = update(&server, named("Bob")).await;
    assert_eq!((status, &body["code"]), (404, &json!("invalid_session")));
    server.link();

    assert_eq!(server.contact(&bob()), None);
    assert_eq!(update(&server, named("Bob")).await.0, 200);
    assert_eq!(read(&server, "/v2/session/info").await.1["status"], "WORKING");
}

#[tokio::test]
async fn a_bounded_rule_fails_only_the_updates_it_was_made_for() {
    let server = WawpServer::start().await;
    server.on_update(&bob()).status(500).times(2);
    let carol = json!({"chatId": "15557654321@c.us", "firstName": "Carol"});
    assert_eq!(update(&server, carol).await.0, 200);
    for status in [500, 500, 200] {
        assert_eq!(update(&server, named("Bob")).await.0, status);
    }
    let statuses: Vec<_> = server.calls_for(&bob()).into_iter().map(|call| call.status).collect();
    assert_eq!(statuses, [Some(500), Some(500), Some(200)]);
}

#[tokio::test]
async fn rules_are_asked_in_the_order_they_were_made() {
    let server = WawpServer::start().await;
    server.on_any_update().answer(Answer::subscription_required()).once();
    server.on_update(&bob()).answer(json!({"success": false})).once();
    assert_eq!(update(&server, named("Bob")).await.0, 403);
    assert_eq!(update(&server, named("Bob")).await, (200, json!({"success": false})));
    assert_eq!(server.contact(&bob()), None, "an answer of one's own saves nothing");
}

#[tokio::test]
async fn every_third_update_fails_and_is_saved_all_the_same_if_told_so() {
    let server = WawpServer::start().await;
    server.on_any_update().answer(Answer::engine_conflict()).every(3).applied();
    for (name, status) in [("A", 200), ("B", 200), ("C", 500), ("D", 200), ("E", 200), ("F", 500)] {
        assert_eq!(update(&server, named(name)).await.0, status);
        server.assert_contact(&bob(), name);
    }
}

#[tokio::test]
async fn a_dropped_answer_is_saved_and_a_dropped_request_is_not() {
    let server = WawpServer::start().await;
    server.on_any_update().drop_answer().once();
    server.on_any_update().drop_request().once();
    let url = format!("{}/v2/contacts/update", server.url());
    for (name, shown) in [("Saved", "Saved"), ("Lost", "Saved")] {
        let body = json!({"instance_id": server.instance().as_str(), "access_token": server.token(),
            "chatId": BOB, "firstName": name});
        let error = post(url.clone(), &body).send().await.unwrap_err();
        assert!(error.is_request() && !error.is_connect() && !error.is_timeout(), "{error:?}");
        server.assert_contact(&bob(), shown);
    }
    assert!(server.calls().iter().all(|call| call.status.is_none() && !call.is_acknowledged()));
}

#[tokio::test]
async fn a_delayed_answer_outlasts_the_client_and_the_name_is_saved() {
    let server = WawpServer::start().await;
    server.on_update(&bob()).delay(Duration::from_secs(60)).once();
    let body = json!({"instance_id": server.instance().as_str(), "access_token": server.token(), "chatId": BOB,
        "firstName": "Bob"});
    let request = post(format!("{}/v2/contacts/update", server.url()), &body).timeout(Duration::from_millis(50));
    assert!(request.send().await.unwrap_err().is_timeout());
    server.assert_contact(&bob(), "Bob");
}

#[tokio::test]
async fn updates_beyond_the_limit_are_told_how_long_to_wait() {
    let server = WawpServer::start().await;
    server.rate_limit(0);
    let body = json!({"instance_id": server.instance().as_str(), "access_token": server.token(), "chatId": BOB,
        "firstName": "Bob"});
    let response = post(format!("{}/v2/contacts/update", server.url()), &body).send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    assert_eq!(server.contact(&bob()), None);
}

#[tokio::test]
async fn expected_updates_that_did_not_come_fail_the_test_and_show_what_came() {
    let server = WawpServer::start().await;
    server.on_update(&bob()).status(500).times(2);
    update(&server, named("Bob")).await;
    let token = server.token().to_owned();
    let panic = panic::catch_unwind(panic::AssertUnwindSafe(|| drop(server))).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("1 of 2 updates of 15551234567@c.us, to be answered 500"), "{message}");
    assert!(message.contains(r#"1. 15551234567@c.us Some("Bob") + None: answered 500"#), "{message}");
    assert!(!message.contains(&token));
}

#[tokio::test]
async fn a_contact_that_shows_another_name_fails_the_test_and_shows_what_came() {
    let server = WawpServer::start().await;
    update(&server, named("Bob")).await;
    let check = panic::AssertUnwindSafe(|| server.assert_contact(&bob(), "Bob [Lead]"));
    let panic = panic::catch_unwind(check).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains(r#"expected: "Bob [Lead]""#), "{message}");
    assert!(message.contains(r#"shown:    Some("Bob")"#), "{message}");
    assert!(message.contains("the last 1 of 1"), "{message}");
}

#[tokio::test]
async fn the_listing_is_cut_and_ordered_as_asked() {
    let server = WawpServer::start().await;
    let chats =
        ["15550000001@c.us", "15550000002@c.us", "15550000003@c.us"].map(|chat| chat.parse::<ChatId>().unwrap());
    server.seed([
        Entry::saved(&chats[0], "Zoe"),
        Entry::saved(&chats[1], "Adam").as_business(),
        Entry::unsaved(&chats[2]).with_pushname("nobody"),
        Entry::group("120363000000000000@g.us", "Team"),
    ]);
    let ids = |query: &str| {
        let path = format!("/v2/contacts/all?{query}");
        let server = &server;
        async move {
            let (_, page) = read(server, &path).await;
            page.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        }
    };
    assert_eq!(ids("limit=2&offset=1").await, ["15550000001@c.us", "15550000002@c.us"]);
    assert_eq!(ids("limit=2&offset=4").await, [""; 0]);
    assert_eq!(ids("sortBy=name&sortOrder=DESC&limit=1").await, ["15550000001@c.us"]);
    for refused in ["limit=1001", "limit=0", "limit=x", "sortBy=phone", "sortOrder=UP"] {
        assert_eq!(read(&server, &format!("/v2/contacts/all?{refused}")).await.0, 400, "{refused}");
    }
    assert_eq!(server.reads(), 8);
}

#[tokio::test]
async fn one_contact_reads_as_an_item_or_null() {
    let server = WawpServer::start().await;
    server.seed([Entry::unsaved(&bob()).with_pushname("bobby")]);
    let (_, item) = read(&server, &format!("/v2/contacts?contactId={BOB}")).await;
    assert_eq!((&item["id"], &item["name"], &item["pushname"]), (&json!(BOB), &Value::Null, &json!("bobby")));
    assert_eq!(read(&server, "/v2/contacts?contactId=15550000000@c.us").await, (200, Value::Null));
    assert_eq!(read(&server, "/v2/contacts").await.0, 400);
}

#[tokio::test]
async fn numbers_and_privacy_ids_are_known_as_told() {
    let server = WawpServer::start().await;
    let (with_nine, without) = ("5511987654321", "551187654321");
    let lid: ChatId = "123456789012345@lid".parse().unwrap();
    server.register(&with_nine.parse().unwrap(), Some(&without.parse().unwrap()));
    server.register(&"15550000000".parse().unwrap(), None);
    server.map_lid(&lid, Some(&without.parse().unwrap()));
    server.map_lid(&"999@lid".parse().unwrap(), None);

    let exists = |phone: &'static str| {
        let server = &server;
        async move { read(server, &format!("/v2/contacts/check-exists?phone={phone}")).await }
    };
    let found = json!({"numberExists": true, "chatId": "551187654321@c.us"});
    assert_eq!(exists("%2B5511987654321").await, (200, found));
    assert_eq!(exists("15550000000").await, (200, json!({"numberExists": false})));
    assert_eq!(exists("15551234567").await.1["chatId"], BOB);
    assert_eq!(exists("001555-123").await.0, 400);

    let known = json!({"lid": "123456789012345@lid", "pn": "551187654321@c.us"});
    assert_eq!(read(&server, "/v2/lids/123456789012345@lid").await.1, known);
    assert_eq!(read(&server, "/v2/lids/pn/551187654321").await.1, known);
    assert_eq!(read(&server, "/v2/lids?limit=1").await.1, json!([known]));
    assert_eq!(read(&server, "/v2/lids/999@lid").await.1, json!({"lid": "999@lid", "pn": null}));
    assert_eq!(read(&server, "/v2/lids/pn/15551234567").await.1, json!({"lid": null, "pn": BOB}));
    assert_eq!(read(&server, "/v2/lids/count").await.1, json!({"count": 2}));
    assert!(read(&server, "/v2/session/rate-limit").await.1["policies"].is_array());
}

#[tokio::test]
async fn unknown_routes_and_wrong_methods_are_told_apart() {
    let server = WawpServer::start().await;
    assert_eq!(read(&server, "/v2/contacts/update").await.0, 405);
    assert_eq!(read(&server, "/v3/contacts").await.0, 404);
}

#[tokio::test]
async fn a_person_at_the_phone_leaves_no_call_behind() {
    let server = WawpServer::start().await;
    update(&server, named("Bob")).await;
    server.forget_calls();
    server.rename_on_phone(&bob(), "Bobby from the gym");
    server.assert_contact(&bob(), "Bobby from the gym");
    server.delete_on_phone(&bob());
    assert_eq!(server.contact(&bob()), None);
    assert!(server.calls().is_empty());
}

#[tokio::test]
async fn the_matchers_tell_updates_apart_on_a_plain_mock_server() {
    let plain = MockServer::start().await;
    let name = ContactName::new("Bob", "[Lead]").unwrap();
    Mock::given(mocks::update_contact())
        .and(mocks::for_chat(&bob()))
        .and(mocks::with_name(&name))
        .and(mocks::for_instance(&"a".parse().unwrap()))
        .and(mocks::with_token("t"))
        .respond_with(Answer::quota_reached())
        .expect(1)
        .mount(&plain)
        .await;
    let url = format!("{}/v2/contacts/update", plain.uri());
    let fits =
        json!({"instance_id": "a", "access_token": "t", "chatId": BOB, "firstName": "Bob", "lastName": "[Lead]"});
    assert_eq!(answer(post(url.clone(), &fits)).await.0, 429);
    for (key, other) in [("instance_id", "b"), ("access_token", "u"), ("chatId", "15550000000@c.us"), ("lastName", "x")]
    {
        let mut body = fits.clone();
        body[key] = other.into();
        assert_eq!(answer(post(url.clone(), &body)).await.0, 404, "{key}");
    }
}

#[tokio::test]
async fn reads_can_be_refused_while_updates_go_on() {
    let server = WawpServer::start().await;
    server.refuse_reads(Answer::not_implemented());
    for path in ["/v2/contacts/all", &format!("/v2/contacts?contactId={BOB}"), "/v2/lids"] {
        assert_eq!(read(&server, path).await.0, 501, "{path}");
    }
    assert_eq!(update(&server, named("Bob")).await.0, 200);
    assert_eq!(read(&server, "/v2/session/info").await.0, 200);
    server.allow_reads();
    assert_eq!(read(&server, "/v2/contacts/all").await.0, 200);
}

#[tokio::test]
async fn another_account_can_be_linked() {
    let server = WawpServer::start().await;
    assert_eq!(read(&server, "/v2/session/info").await.1["me"]["id"], "15550000000@c.us");
    server.relink_as(&bob());
    assert_eq!(read(&server, "/v2/session/info").await.1["me"]["id"], BOB);
}

#[tokio::test]
async fn a_person_can_be_answered_and_listed_under_other_ids() {
    let server = WawpServer::start().await;
    server.seed([Entry::saved(&bob(), "Bob").listed_also_as("15551234567@s.whatsapp.net")]);
    let (_, page) = read(&server, "/v2/contacts/all").await;
    let listed: Vec<_> = page.as_array().unwrap().iter().map(|item| (&item["id"], &item["name"])).collect();
    assert_eq!(listed, [(&json!(BOB), &json!("Bob")), (&json!("15551234567@s.whatsapp.net"), &json!("Bob"))]);
    server.answer_as(&bob(), &"123456789012345@lid".parse().unwrap());
    let (_, item) = read(&server, &format!("/v2/contacts?contactId={BOB}")).await;
    assert_eq!((&item["id"], &item["name"]), (&json!("123456789012345@lid"), &json!("Bob")));
}

#[tokio::test]
async fn an_answer_can_be_empty_or_ask_for_time() {
    let server = WawpServer::start().await;
    server.on_any_update().answer(Answer::empty()).once().applied();
    server.on_any_update().answer(Answer::unavailable(Duration::from_secs(7))).once();
    assert_eq!(update(&server, named("Bob")).await, (200, Value::Null));
    server.assert_contact(&bob(), "Bob");
    let body = json!({"instance_id": server.instance().as_str(), "access_token": server.token(), "chatId": BOB});
    let response = post(format!("{}/v2/contacts/update", server.url()), &body).send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &"7".parse().unwrap()));
}

/// Compiles only while no name of the testkit is one of wiremock's as well.
mod names {
    use wawp_contacts::testkit::{mocks::*, *};
    use wiremock::{matchers::*, *};

    #[tokio::test]
    async fn the_testkit_can_be_imported_beside_all_of_wiremock() {
        let server = MockServer::start().await;
        Mock::given(update_contact()).and(method("POST")).respond_with(Answer::ok()).mount(&server).await;
        let _ = (for_chat, with_name, for_instance, with_token, any, Request::body_json::<()>);
        let _unused: Option<(Rule<'_>, When<'_>, Call, Entry, WawpServer, Times)> = None;
    }
}

#[tokio::test]
async fn debug_output_keeps_the_token_to_itself() {
    let server = WawpServer::start().await;
    assert!(!format!("{server:?} {:?}", server.on_any_update()).contains(server.token()));
}
