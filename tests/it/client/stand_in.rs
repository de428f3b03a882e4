//! Client and stand-in server understand each other, in every style.

use futures_util::TryStreamExt;
use wawp_contacts::{
    Client, ContactName, Credentials, ErrorKind, Pace, Phone, RetryPolicy, Route,
    book::{Contact, LidMapping, SessionStatus},
    testkit::WawpServer,
};

use super::{chat, name};

fn client(server: &WawpServer, credentials: Credentials, route: Route) -> Client {
    Client::builder(server.instance().clone(), server.token())
        .base_url(server.url())
        .credentials(credentials)
        .route(route)
        .pace(Pace::unlimited())
        .retry(RetryPolicy::never())
        .build()
        .unwrap()
}

#[tokio::test]
async fn every_style_and_route_sets_a_name_and_reads_it_back() {
    let (phone, lid): (Phone, _) = ("15551234567".parse().unwrap(), "123456789012345@lid".parse().unwrap());
    for credentials in [Credentials::Body, Credentials::Query, Credentials::Bearer, Credentials::Header] {
        for route in [Route::Update, Route::PutContact] {
            let server = WawpServer::start().await;
            server.map_lid(&lid, Some(&phone));
            let client = client(&server, credentials, route);
            client.update_contact(&chat(), &name()).await.unwrap();
            server.assert_contact(&chat(), "Ann Lee");
            client.update_contact(&chat(), &ContactName::new("Bob", "").unwrap()).await.unwrap();
            let contact = client.contact(&chat()).await.unwrap().unwrap();
            assert_eq!(contact.name.as_deref(), Some("Bob"));
            assert_eq!(client.contacts().try_collect::<Vec<Contact>>().await.unwrap(), [contact]);
            assert!(client.check_exists(&phone).await.unwrap().exists);
            assert_eq!(client.phone_of(&lid).await.unwrap(), Some(phone.clone()));
            assert_eq!(client.lid_of(&phone).await.unwrap(), Some(lid.clone()));
            assert_eq!(client.lids().try_collect::<Vec<LidMapping>>().await.unwrap().len(), 1);
            assert_eq!(client.session().await.unwrap().status, SessionStatus::Working);
        }
    }
}

#[tokio::test]
async fn its_refusals_have_the_right_kind() {
    let server = WawpServer::start().await;
    let client = client(&server, Credentials::Body, Route::Update);
    server.log_out();
    assert_eq!(super::update_error(&client).await.kind(), ErrorKind::SessionNotReady);
    server.log_in();
    server.revoke_token();
    assert_eq!(super::update_error(&client).await.kind(), ErrorKind::Unauthorized);
    server.restore_token();
    server.unlink();
    assert_eq!(super::update_error(&client).await.kind(), ErrorKind::UnknownInstance);
}
