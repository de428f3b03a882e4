use std::time::Duration;

use wawp_contacts::{Client, ErrorKind, RetryPolicy};
use wiremock::ResponseTemplate;

use super::{
    answering, client, client_at,
    raw::{Act, RawServer, nobody},
    update_error,
};

fn once(url: &str) -> Client {
    client_at(url).retry(RetryPolicy::never()).timeout(Duration::from_millis(100)).build().unwrap()
}

#[tokio::test]
async fn nothing_was_sent_to_where_nobody_listens() {
    let error = update_error(&client_at(&nobody().await).build().unwrap()).await;
    assert_eq!((error.kind(), error.attempts(), error.is_in_doubt()), (ErrorKind::Connect, 4, false));
}

#[tokio::test]
async fn a_connection_that_dies_leaves_a_doubt() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"ok\"";
    for act in
        [Act::Close, Act::Reset, Act::Say(""), Act::Say("HTTP/1.1 200 OK\r\n"), Act::Say(half), Act::Say("ga\0rbage")]
    {
        let server = RawServer::start(act).await;
        let error = update_error(&once(&server.url)).await;
        assert_eq!((error.kind(), error.is_in_doubt()), (ErrorKind::Interrupted, true), "{act:?} {error:?}");
    }
}

#[tokio::test]
async fn silence_is_a_timeout_wherever_it_falls() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"ok\"";
    for act in [Act::SayAndHang(""), Act::SayAndHang("HTTP/1.1 200 OK\r\n"), Act::SayAndHang(half)] {
        let server = RawServer::start(act).await;
        let error = update_error(&once(&server.url)).await;
        assert_eq!((error.kind(), error.is_in_doubt()), (ErrorKind::Timeout, true), "{act:?} {error:?}");
    }
}

#[tokio::test]
async fn a_bad_status_is_what_it_is_even_if_its_body_is_cut_off() {
    for (head, kind) in [
        ("HTTP/1.1 401 Unauthorized\r\nContent-Length: 99\r\n\r\n{", ErrorKind::Unauthorized),
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 99\r\n\r\n<ht", ErrorKind::Server),
    ] {
        for act in [Act::Say(head), Act::SayAndHang(head)] {
            let server = RawServer::start(act).await;
            assert_eq!(update_error(&once(&server.url)).await.kind(), kind, "{act:?}");
        }
    }
}

#[tokio::test]
async fn an_endless_body_is_not_read_to_its_end() {
    let endless = ResponseTemplate::new(200).set_body_bytes(vec![b' '; 1024 * 1024]);
    let error = update_error(&client(&answering(endless).await)).await;
    assert_eq!((error.kind(), error.is_in_doubt()), (ErrorKind::Decode, true));
    let endless = ResponseTemplate::new(400).set_body_bytes(vec![b'x'; 1024 * 1024]);
    let error = update_error(&client(&answering(endless).await)).await;
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.message().map(str::len), Some(256));
}

#[tokio::test]
async fn a_doubt_survives_a_later_refusal() {
    let server = super::MockServer::start().await;
    let lost = ResponseTemplate::new(502);
    super::Mock::given(super::any()).respond_with(lost).up_to_n_times(1).mount(&server).await;
    super::Mock::given(super::any()).respond_with(ResponseTemplate::new(401)).mount(&server).await;
    let error = update_error(&client(&server)).await;
    assert_eq!((error.kind(), error.attempts(), error.is_in_doubt()), (ErrorKind::Unauthorized, 2, true));
}
