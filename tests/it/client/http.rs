//! A client that sends through somebody else's HTTP stack.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use wawp_contacts::{
    Client, ClientBuilder, Credentials, Error, ErrorKind, Pace, RetryPolicy,
    client::{HttpExchange, HttpRequest, HttpResponse},
};

use super::{INSTANCE, TOKEN, chat, name, update_error};

type Answer = Result<HttpResponse, ErrorKind>;

/// Keeps the requests and gives one answer to all; `None` never comes.
#[derive(Debug, Clone)]
struct Stack {
    answer: Option<Answer>,
    seen: Arc<Mutex<Vec<HttpRequest>>>,
}

impl Stack {
    fn new(answer: Option<Answer>) -> Self {
        Self { answer, seen: Arc::default() }
    }

    fn client(&self) -> ClientBuilder {
        let builder = Client::builder(INSTANCE.parse().unwrap(), TOKEN).http(self.clone());
        builder.pace(Pace::unlimited()).retry(RetryPolicy::never())
    }
}

#[async_trait]
impl HttpExchange for Stack {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, Error> {
        self.seen.lock().unwrap().push(request);
        match self.answer.clone() {
            Some(answer) => answer.map_err(Error::new),
            None => std::future::pending().await,
        }
    }
}

#[tokio::test]
async fn it_gets_the_whole_request_and_its_answer_is_judged_as_any_other() {
    let stack = Stack::new(Some(Ok(HttpResponse::new(200, r#"{"ok":true}"#))));
    let client = stack.client().user_agent("crm/7").timeout(Duration::from_secs(7)).build().unwrap();
    client.update_contact(&chat(), &name()).await.unwrap();
    let request = stack.seen.lock().unwrap().pop().unwrap();
    assert_eq!((request.method(), request.url()), ("POST", "https://api.wawp.net/v2/contacts/update"));
    assert_eq!(request.timeout(), Duration::from_secs(7));
    let body: serde_json::Value = serde_json::from_slice(request.body().unwrap()).unwrap();
    assert_eq!(body["chatId"], chat().as_str());
    let headers: Vec<_> = request.headers().collect();
    assert!(headers.contains(&("user-agent", b"crm/7")) && headers.contains(&("content-type", b"application/json")));

    let limited = HttpResponse::new(429, "").with_header("retry-after", "7");
    let error = update_error(&Stack::new(Some(Ok(limited))).client().build().unwrap()).await;
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::RateLimited, Some(Duration::from_secs(7))));
    let error = update_error(&Stack::new(Some(Err(ErrorKind::Connect))).client().build().unwrap()).await;
    assert_eq!((error.kind(), error.is_in_doubt()), (ErrorKind::Connect, false));
}

#[tokio::test]
async fn p10_it_is_held_to_the_time_limit_and_to_the_size_of_an_answer() {
    let silent = Stack::new(None).client().timeout(Duration::from_millis(20)).build().unwrap();
    let error = update_error(&silent).await;
    assert_eq!((error.kind(), error.is_in_doubt()), (ErrorKind::Timeout, true));
    for (status, kind) in [(200, ErrorKind::Decode), (400, ErrorKind::Rejected)] {
        let endless = Stack::new(Some(Ok(HttpResponse::new(status, vec![b'x'; 1024 * 1024]))));
        assert_eq!(update_error(&endless.client().build().unwrap()).await.kind(), kind);
    }
}

#[tokio::test]
async fn p11_a_request_and_an_answer_show_no_token() {
    for style in [Credentials::Body, Credentials::Query, Credentials::Bearer, Credentials::Header] {
        let answer = HttpResponse::new(200, TOKEN).with_header("x-echo", TOKEN);
        let stack = Stack::new(Some(Ok(answer.clone())));
        drop(update_error(&stack.client().credentials(style).build().unwrap()).await);
        let request = stack.seen.lock().unwrap().pop().unwrap();
        let shown = format!("{request:?} {request:#?} {answer:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("s3cret"), "{shown}");
    }
}
