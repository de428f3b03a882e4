use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use wawp_contacts::{
    ErrorKind, Phone,
    book::{AddressBook, Contact, Permit, SessionStatus},
};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{any, method, path, query_param},
};

use super::{answering, chat, client, requests};

fn json_of(body: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

fn person(n: usize) -> Value {
    json!({"id": format!("1555{n:07}@c.us"), "name": format!("Person {n}")})
}

/// Serves a book of `all` entries in windows as they are asked for.
fn windowed(all: usize) -> impl Fn(&Request) -> ResponseTemplate + Send + Sync {
    move |request| {
        let number =
            |key: &str| request.url.query_pairs().find(|(name, _)| name == key).unwrap().1.parse::<usize>().unwrap();
        let (offset, limit) = (number("offset"), number("limit"));
        json_of((offset.min(all)..(offset + limit).min(all)).map(person).collect())
    }
}

#[tokio::test]
async fn the_whole_book_comes_page_by_page() {
    for (all, pages) in [(0, 1), (999, 1), (1000, 2), (2500, 3)] {
        let server = MockServer::start().await;
        let query =
            Mock::given(path("/v2/contacts/all")).and(query_param("sortBy", "id")).and(query_param("sortOrder", "ASC"));
        query.respond_with(windowed(all)).mount(&server).await;
        let contacts: Vec<Contact> = client(&server).contacts().try_collect().await.unwrap();
        assert_eq!((contacts.len(), requests(&server).await), (all, pages));
    }
}

#[tokio::test]
async fn groups_and_nonsense_are_left_out_and_a_page_is_counted_with_them() {
    let page = json!([person(1), {"id": "120363041234567890@g.us", "isGroup": true}, 7, person(2)]);
    let server = answering(json_of(page)).await;
    let contacts: Vec<Contact> = client(&server).contacts().try_collect().await.unwrap();
    assert_eq!(contacts.len(), 2);
    let client = client(&server);
    let page = client.page(Permit::grant(), 0, 4).await.unwrap();
    assert_eq!((page.contacts.len(), page.entries), (2, 4));
}

#[tokio::test]
async fn a_server_that_repeats_a_page_is_stopped_and_one_without_limit_is_believed() {
    let server = answering(json_of((0..1000).map(person).collect())).await;
    let mut contacts = client(&server).contacts();
    let mut got = 0;
    let error = loop {
        match contacts.next().await.unwrap() {
            Ok(_) => got += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((got, error.kind(), error.is_in_doubt()), (1000, ErrorKind::Decode, false));
    assert!(contacts.next().await.is_none());
    assert_eq!(requests(&server).await, 2);

    let server = answering(json_of((0..1700).map(person).collect())).await;
    let contacts: Vec<Contact> = client(&server).contacts().try_collect().await.unwrap();
    assert_eq!((contacts.len(), requests(&server).await), (1700, 1));
}

#[tokio::test]
async fn a_page_of_groups_is_followed_by_the_next_and_pages_that_alternate_end() {
    let group = |n: usize| json!({"id": format!("120363{n:012}@g.us"), "isGroup": true});
    let server = MockServer::start().await;
    let first = json_of((0..1000).map(group).collect());
    let second = json_of((1000..2000).map(group).collect());
    Mock::given(query_param("offset", "0")).respond_with(first.clone()).mount(&server).await;
    Mock::given(query_param("offset", "1000")).respond_with(second).mount(&server).await;
    Mock::given(query_param("offset", "2000"))
        .respond_with(json_of(json!([person(1)])))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    let contacts: Vec<Contact> = client(&server).contacts().try_collect().await.unwrap();
    assert_eq!(contacts.len(), 1);
    Mock::given(query_param("offset", "2000")).respond_with(first).mount(&server).await;
    let error = client(&server).contacts().try_collect::<Vec<Contact>>().await.unwrap_err();
    assert_eq!((error.kind(), error.is_in_doubt()), (ErrorKind::Decode, false));
    assert!(error.hint().unwrap().contains("same page"), "{error}");
}

#[tokio::test]
async fn what_stands_in_a_contact_shuts_no_instance() {
    let about = json!({"id": chat().as_str(), "name": "Ann", "status": "401", "error": "forbidden"});
    let contact = client(&answering(json_of(about.clone())).await).contact(&chat()).await.unwrap().unwrap();
    assert_eq!(contact.name.as_deref(), Some("Ann"));
    let server = answering(json_of(json!([about]))).await;
    assert_eq!(client(&server).contacts().try_collect::<Vec<Contact>>().await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_question_for_the_session_is_made_once_in_vain() {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(405)).expect(1).mount(&server).await;
    Mock::given(method("GET")).respond_with(json_of(json!({"status": "WORKING"}))).expect(2).mount(&server).await;
    let client = client(&server);
    for _ in 0..2 {
        let session = AddressBook::session(&client, Permit::grant()).await.unwrap().unwrap();
        assert!(session.status.is_working());
    }
}

#[tokio::test]
async fn a_page_is_retried_and_its_failure_ends_the_stream() {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(500)).up_to_n_times(2).mount(&server).await;
    Mock::given(any()).respond_with(windowed(3)).mount(&server).await;
    let contacts: Vec<Contact> = client(&server).contacts().try_collect().await.unwrap();
    assert_eq!(contacts.len(), 3);

    let server = answering(ResponseTemplate::new(401)).await;
    let answers: Vec<_> = client(&server).contacts().collect().await;
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].as_ref().unwrap_err().kind(), ErrorKind::Unauthorized);
}

#[tokio::test]
async fn one_contact_is_read_or_unknown() {
    let server = MockServer::start().await;
    Mock::given(path("/v2/contacts"))
        .and(query_param("contactId", chat().as_str()))
        .respond_with(json_of(json!({"id": chat().as_str(), "name": null, "pushname": "annie"})))
        .mount(&server)
        .await;
    let contact = client(&server).contact(&chat()).await.unwrap().unwrap();
    assert_eq!((contact.name, contact.pushname.as_deref()), (None, Some("annie")));
    assert_eq!(client(&answering(json_of(Value::Null)).await).contact(&chat()).await.unwrap(), None);
    let error = client(&answering(json_of(json!("what"))).await).contact(&chat()).await.unwrap_err();
    assert_eq!((error.kind(), error.is_in_doubt()), (ErrorKind::Decode, false));
}

#[tokio::test]
async fn a_number_is_looked_up_by_its_digits() {
    let server = MockServer::start().await;
    Mock::given(path("/v2/contacts/check-exists"))
        .and(query_param("phone", "15551234567"))
        .respond_with(json_of(json!({"numberExists": true, "chatId": "123456789012345@lid"})))
        .mount(&server)
        .await;
    let existence = client(&server).check_exists(&"+1 555 123 4567".parse().unwrap()).await.unwrap();
    assert!(existence.exists && existence.chat.unwrap().is_lid() && existence.phone.is_none());
}

#[tokio::test]
async fn privacy_ids_are_read_both_ways() {
    let lid = "123456789012345@lid".parse().unwrap();
    let phone: Phone = "15551234567".parse().unwrap();
    let mapping = json!({"lid": "123456789012345@lid", "pn": "15551234567@c.us"});
    let server = MockServer::start().await;
    Mock::given(path("/v2/lids")).respond_with(json_of(json!([mapping, {"lid": null}]))).mount(&server).await;
    Mock::given(path("/v2/lids/123456789012345%40lid")).respond_with(json_of(mapping.clone())).mount(&server).await;
    Mock::given(path("/v2/lids/pn/15551234567")).respond_with(json_of(mapping)).mount(&server).await;
    let client = client(&server);
    let all: Vec<_> = client.lids().try_collect().await.unwrap();
    assert_eq!((all.len(), &all[0].lid, &all[0].phone), (1, &lid, &Some(phone.clone())));
    assert_eq!(client.phone_of(&lid).await.unwrap(), Some(phone.clone()));
    assert_eq!(client.lid_of(&phone).await.unwrap(), Some(lid));
    assert_eq!(client.phone_of(&chat()).await.unwrap_err().attempts(), 0);
}

#[tokio::test]
async fn the_session_is_asked_for_by_post_and_then_by_get() {
    let working = json!({"status": "WORKING", "me": {"id": "15551234567@c.us", "pushName": "Shop"}});
    for refusal in [404, 405] {
        let server = MockServer::start().await;
        Mock::given(method("POST")).respond_with(ResponseTemplate::new(refusal)).mount(&server).await;
        Mock::given(method("GET")).respond_with(json_of(working.clone())).mount(&server).await;
        let session = client(&server).session().await.unwrap();
        assert_eq!(
            (session.status, session.me, session.pushname.as_deref()),
            (SessionStatus::Working, Some(chat()), Some("Shop"))
        );
    }
    for (status, expected) in [
        ("FAILED", SessionStatus::Failed),
        ("STOPPED", SessionStatus::Stopped),
        ("SOMETHING_NEW", SessionStatus::Unknown("SOMETHING_NEW".into())),
    ] {
        let server = answering(json_of(json!({"status": status}))).await;
        let session = client(&server).session().await.unwrap();
        assert_eq!((session.status.to_string().as_str(), &session.status), (status, &expected));
        assert_eq!(requests(&server).await, 1);
    }
}
