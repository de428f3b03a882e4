//! Requests out, answers in, and whatever goes wrong on the way.

use std::{
    error::Error as StdError,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use reqwest::{
    Method, Response,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use url::Url;

use super::Credentials;
use crate::{
    ChatId, ContactName, Error, ErrorKind,
    retry::parse_retry_after,
    wire::{
        answer::{self, Refusal},
        json::Json,
        redact::Redactor,
        request::{self, BodyStart},
    },
};

/// The largest answer read of a write, or of a read of one thing.
const SMALL: usize = 64 * 1024;
/// The largest page read of an address book.
const LARGE: usize = 8 * 1024 * 1024;

/// Sends requests to one server with one set of credentials.
pub(super) struct Transport {
    pub(super) http: reqwest::Client,
    pub(super) base: Url,
    pub(super) credentials: Credentials,
    /// Headers of every request: those of the header styles of credentials.
    pub(super) headers: HeaderMap,
    /// The start of every JSON body: instance and token, if they travel there.
    pub(super) body: BodyStart,
    /// Instance and token as a query.
    pub(super) query: String,
    pub(super) redactor: Redactor,
    /// How long one attempt may take.
    pub(super) timeout: Duration,
}

/// One request, ready to be sent as often as it takes.
pub(super) struct Call {
    /// The route as the documentation writes it, without ids: safe to log.
    pub(super) route: &'static str,
    method: Method,
    url: Url,
    body: Option<Bytes>,
    cap: usize,
    is_write: bool,
}

impl Call {
    /// Lets the answer be as long as a page of an address book.
    pub(super) fn with_large_answer(mut self) -> Self {
        self.cap = LARGE;
        self
    }
}

/// The body of a successful answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Answer {
    /// The JSON in it.
    pub(super) fn json(&self) -> Json<'_> {
        // It was parsed once to see whether it is an error.
        Json::parse(&self.body).unwrap_or(Json::Null)
    }
}

impl Transport {
    pub(super) fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    pub(super) fn update_body(&self, chat: Option<&ChatId>, name: &ContactName) -> Bytes {
        self.body.update(chat, name)
    }

    /// A write by POST.
    pub(super) fn post(&self, route: &'static str, body: Bytes) -> Call {
        self.write(route, Method::POST, route, body)
    }

    /// A write by PUT to a path that holds an id.
    pub(super) fn put(&self, route: &'static str, path: &str, body: Bytes) -> Call {
        self.write(route, Method::PUT, path, body)
    }

    fn write(&self, route: &'static str, method: Method, path: &str, body: Bytes) -> Call {
        let query = if self.credentials == Credentials::Query { &*self.query } else { "" };
        Call { route, method, url: self.url(path, query), body: Some(body), cap: SMALL, is_write: true }
    }

    /// A read by POST, with the credentials wherever those of a write are.
    pub(super) fn ask(&self, route: &'static str) -> Call {
        Call { is_write: false, ..self.post(route, self.body.alone()) }
    }

    /// A read by GET; credentials travel in the query unless they travel in headers.
    pub(super) fn get(&self, route: &'static str, path: &str, fields: &[(&str, &str)]) -> Call {
        let mut query = request::query(fields);
        if matches!(self.credentials, Credentials::Body | Credentials::Query) {
            let separator = if query.is_empty() { "" } else { "&" };
            query = format!("{query}{separator}{}", self.query);
        }
        let url = self.url(path, &query);
        Call { route, method: Method::GET, url, body: None, cap: SMALL, is_write: false }
    }

    fn url(&self, path: &str, query: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        url
    }

    /// Sends a request once.
    pub(super) async fn send(&self, call: &Call) -> Result<Answer, Error> {
        let result = self.exchange(call).await;
        // A read leaves nothing behind.
        result.map_err(|error| if call.is_write { error } else { error.without_doubt() })
    }

    async fn exchange(&self, call: &Call) -> Result<Answer, Error> {
        let response = self.http.execute(self.request(call)).await.map_err(lost)?;
        let status = response.status().as_u16();
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = wait.and_then(|value| parse_retry_after(value, SystemTime::now()));
        let body = read(response, call.cap).await.map_err(|error| error.with_status(status))?;
        let judged =
            if call.is_write { answer::judge_write(status, &body) } else { answer::judge(status, &body).map(drop) };
        match judged {
            Ok(()) => Ok(Answer { status, body }),
            Err(refusal) => Err(self.explain(refusal, status, wait)),
        }
    }

    fn request(&self, call: &Call) -> reqwest::Request {
        let mut request = reqwest::Request::new(call.method.clone(), call.url.clone());
        request.headers_mut().clone_from(&self.headers);
        *request.timeout_mut() = Some(self.timeout);
        if let Some(body) = &call.body {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(body.clone().into());
        }
        request
    }

    fn explain(&self, refusal: Refusal, status: u16, wait: Option<Duration>) -> Error {
        let Refusal { kind, code, message } = refusal;
        let mut error = Error::new(kind).with_status(status).with_code(code.map(|code| self.redactor.clean(&code)));
        if let Some(message) = message {
            error = error.with_message(&self.redactor.clean(&message));
        }
        match wait {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }
}

/// Reads a body up to a cap.
async fn read(mut response: Response, cap: usize) -> Result<Bytes, Error> {
    let Some(first) = response.chunk().await.map_err(lost)? else { return Ok(Bytes::new()) };
    let mut body = BytesMut::new();
    let mut chunk = first;
    loop {
        if body.len() + chunk.len() > cap {
            return Err(Error::new(ErrorKind::Decode).with_hint("the answer is too long"));
        }
        match response.chunk().await.map_err(lost)? {
            // Nearly all answers come in one piece, which is then not copied.
            None if body.is_empty() => return Ok(chunk),
            None => {
                body.extend_from_slice(&chunk);
                return Ok(body.freeze());
            }
            Some(next) => {
                body.extend_from_slice(&chunk);
                chunk = next;
            }
        }
    }
}

/// What became of a request that has no answer: whether it was sent matters more than what the failure is called.
fn lost(error: reqwest::Error) -> Error {
    let kind = if error.is_connect() {
        ErrorKind::Connect
    } else if error.is_timeout() {
        ErrorKind::Timeout
    } else if error.is_builder() {
        ErrorKind::Configuration
    } else {
        ErrorKind::Interrupted
    };
    // The URL can carry the token.
    Error::new(kind).because(Box::<dyn StdError + Send + Sync>::from(error.without_url()))
}
