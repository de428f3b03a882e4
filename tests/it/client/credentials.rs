use serde_json::{Value, json};
use wawp_contacts::{Credentials, Route};
use wiremock::{Request, ResponseTemplate};

use super::{INSTANCE, TOKEN, answering, chat, client_at, name};

type Carried<'r> = (Value, Vec<(String, String)>, [Option<&'r str>; 3]);

/// What a request carries of instance and token: in its body, its query and its headers.
fn carried(request: &Request) -> Carried<'_> {
    let body: Value = request.body_json().unwrap_or_default();
    let kept = ["instance_id", "access_token"].iter().filter_map(|key| Some((*key, body.get(key)?.clone())));
    let query = request.url.query_pairs().filter(|(key, _)| key != "contactId");
    let header = |name| request.headers.get(name).map(|value| value.to_str().unwrap());
    let headers = [header("authorization"), header("x-instance-id"), header("access-token")];
    (
        kept.map(|(key, value)| (key.to_owned(), value)).collect(),
        query.map(|(k, v)| (k.into(), v.into())).collect(),
        headers,
    )
}

#[tokio::test]
async fn each_style_puts_instance_and_token_where_it_says() {
    let server = answering(ResponseTemplate::new(200).set_body_string("{}")).await;
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let both = vec![pair("instance_id", INSTANCE), pair("access_token", TOKEN)];
    let in_body = json!({"instance_id": INSTANCE, "access_token": TOKEN});
    let bearer = format!("Bearer {TOKEN}");
    let no_headers = [None, None, None];
    let styles = [
        (Credentials::Body, in_body, vec![], both.clone(), no_headers),
        (Credentials::Query, json!({}), both.clone(), both, no_headers),
        (Credentials::Bearer, json!({}), vec![], vec![], [Some(bearer.as_str()), Some(INSTANCE), None]),
        (
            Credentials::Header,
            json!({"instance_id": INSTANCE}),
            vec![],
            vec![pair("instance_id", INSTANCE)],
            [None, None, Some(TOKEN)],
        ),
    ];
    for (style, body, write_query, read_query, headers) in styles {
        for route in [Route::Update, Route::PutContact] {
            let seen = server.received_requests().await.unwrap().len();
            let client = client_at(&server.uri()).route(route).credentials(style).build().unwrap();
            client.update_contact(&chat(), &name()).await.unwrap();
            client.contact(&chat()).await.unwrap();
            let requests = server.received_requests().await.unwrap();
            assert_eq!(carried(&requests[seen]), (body.clone(), write_query.clone(), headers), "{style:?} {route:?}");
            assert_eq!(carried(&requests[seen + 1]), (json!({}), read_query.clone(), headers), "{style:?} {route:?}");
        }
    }
}

#[tokio::test]
async fn without_a_choice_the_put_route_takes_the_query_as_documented() {
    let server = answering(ResponseTemplate::new(200).set_body_string("{}")).await;
    let client = client_at(&server.uri()).route(Route::PutContact).build().unwrap();
    client.update_contact(&chat(), &name()).await.unwrap();
    let requests = server.received_requests().await.unwrap();
    assert_eq!(carried(&requests[0]).1.len(), 2);
}
