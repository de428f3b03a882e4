use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use reqwest::{
    Method, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT},
};
use secrecy::{ExposeSecret, SecretString};
use tracing::{Instrument, Span, debug, debug_span, field, trace};

use super::{
    http::{HttpExchange, HttpRequest, HttpResponse},
    options::{Credentials, Route},
};
use crate::{
    ChatId, ContactName, Error, ErrorKind, InstanceId, Phone,
    redact::Redactor,
    retry::parse_retry_after,
    wire::{
        answer::{self, Read, Reply},
        request::{self, BodyStart},
    },
};

/// Of the answer to one question, this much is read.
const MAX_BODY: usize = 64 * 1024;
/// Of a page of up to 1,000 entries, this much is read.
const MAX_PAGE: usize = 8 * 1024 * 1024;

/// What a transport is made of.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) http: Arc<dyn HttpExchange>,
    pub(super) base: Url,
    pub(super) instance: InstanceId,
    pub(super) token: SecretString,
    pub(super) timeout: Duration,
    pub(super) user_agent: String,
    pub(super) route: Route,
    pub(super) credentials: Credentials,
}

/// Makes requests and reads answers; neither waits nor repeats.
pub(super) struct Transport {
    http: Arc<dyn HttpExchange>,
    base: Url,
    instance: InstanceId,
    timeout: Duration,
    route: Route,
    headers: HeaderMap,
    body_start: BodyStart,
    /// The credentials of writes and of reads, as far as they go into the query.
    write_query: String,
    read_query: String,
    update_url: Url,
    redactor: Redactor,
}

/// A mistake of whoever sets the client up: nothing was sent.
pub(super) fn wrong(hint: &'static str) -> Error {
    Error::new(ErrorKind::Configuration).after(0).with_hint(hint)
}

/// One request, which may be made several times.
pub(super) struct Call {
    route: &'static str,
    method: Method,
    url: Url,
    body: Option<Bytes>,
    is_read: bool,
    max_answer: usize,
    /// What to try if the server does not know the route.
    hint: &'static str,
}

impl Transport {
    pub(super) fn new(setup: Setup) -> Result<Self, Error> {
        let (instance, token) = (setup.instance.as_str(), setup.token.expose_secret());
        let both = [("instance_id", instance), ("access_token", token)];
        let (in_body, in_write_query, in_read_query) = match setup.credentials {
            Credentials::Body => (&both[..], &both[..0], &both[..]),
            Credentials::Query => (&both[..0], &both[..], &both[..]),
            Credentials::Bearer => (&both[..0], &both[..0], &both[..0]),
            Credentials::Header => (&both[..1], &both[..0], &both[..1]),
        };
        let mut transport = Self {
            headers: headers(&setup)?,
            body_start: BodyStart::new(in_body),
            write_query: request::query(in_write_query),
            read_query: request::query(in_read_query),
            update_url: setup.base.clone(),
            redactor: Redactor::new(setup.token.clone()).hiding(instance),
            http: setup.http,
            base: setup.base,
            instance: setup.instance,
            timeout: setup.timeout,
            route: setup.route,
        };
        transport.update_url = transport.url("/v2/contacts/update", &transport.write_query);
        Ok(transport)
    }

    pub(super) fn instance(&self) -> &InstanceId {
        &self.instance
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The call that sets a name.
    pub(super) fn update(&self, chat: &ChatId, name: &ContactName) -> Call {
        trace!(%chat, "update");
        match self.route {
            Route::Update => Call {
                route: "POST /v2/contacts/update",
                method: Method::POST,
                url: self.update_url.clone(),
                body: Some(self.body_start.update(Some(chat), name)),
                is_read: false,
                max_answer: MAX_BODY,
                hint: "try the other one, PUT /v2/contacts/{chatId}: .route(Route::PutContact)",
            },
            Route::PutContact => Call {
                route: "PUT /v2/contacts/{chatId}",
                method: Method::PUT,
                url: self.url(&format!("/v2/contacts/{}", request::path_segment(chat)), &self.write_query),
                body: Some(self.body_start.update(None, name)),
                is_read: false,
                max_answer: MAX_BODY,
                hint: "try the other one, POST /v2/contacts/update: .route(Route::Update)",
            },
        }
    }

    pub(super) fn contact(&self, chat: &ChatId) -> Call {
        self.read("GET /v2/contacts", "/v2/contacts", &[("contactId", chat.as_str())])
    }

    pub(super) fn contacts(&self, offset: usize, limit: usize) -> Call {
        let (offset, limit) = (offset.to_string(), limit.to_string());
        let order = [("limit", limit.as_str()), ("offset", &offset), ("sortBy", "id"), ("sortOrder", "ASC")];
        Call { max_answer: MAX_PAGE, ..self.read("GET /v2/contacts/all", "/v2/contacts/all", &order) }
    }

    pub(super) fn check_exists(&self, phone: &Phone) -> Call {
        self.read("GET /v2/contacts/check-exists", "/v2/contacts/check-exists", &[("phone", phone.as_str())])
    }

    pub(super) fn lids(&self, offset: usize, limit: usize) -> Call {
        let (offset, limit) = (offset.to_string(), limit.to_string());
        let window = [("limit", limit.as_str()), ("offset", &offset)];
        Call { max_answer: MAX_PAGE, ..self.read("GET /v2/lids", "/v2/lids", &window) }
    }

    pub(super) fn phone_of(&self, lid: &ChatId) -> Call {
        self.read("GET /v2/lids/{lid}", &format!("/v2/lids/{}", request::path_segment(lid)), &[])
    }

    pub(super) fn lid_of(&self, phone: &Phone) -> Call {
        self.read("GET /v2/lids/pn/{number}", &format!("/v2/lids/pn/{phone}"), &[])
    }

    pub(super) fn session(&self, method: Method) -> Call {
        if method == Method::GET {
            return self.read("GET /v2/session/info", "/v2/session/info", &[]);
        }
        Call {
            route: "POST /v2/session/info",
            method,
            url: self.url("/v2/session/info", &self.write_query),
            body: Some(self.body_start.alone()),
            is_read: true,
            max_answer: MAX_BODY,
            hint: "check the base URL",
        }
    }

    /// An update that names neither a contact nor a name, so that nothing can come of it: how it is refused tells whether the route is
    /// there.
    pub(super) fn empty_update(&self) -> Call {
        Call {
            route: "POST /v2/contacts/update",
            method: Method::POST,
            url: self.url("/v2/contacts/update", &self.write_query),
            body: Some(self.body_start.alone()),
            is_read: false,
            max_answer: MAX_BODY,
            hint: "",
        }
    }

    /// Asks which methods there are where the other route is; it has no body, and its method writes nothing by definition.
    pub(super) fn methods_of_contact(&self, chat: &str) -> Call {
        let path = format!("/v2/contacts/{chat}");
        Call { method: Method::OPTIONS, ..self.read("OPTIONS /v2/contacts/{chatId}", &path, &[]) }
    }

    pub(super) fn rate_limit(&self) -> Call {
        self.read("GET /v2/session/rate-limit", "/v2/session/rate-limit", &[])
    }

    fn read(&self, route: &'static str, path: &str, fields: &[(&str, &str)]) -> Call {
        let mut query = request::query(fields);
        if !query.is_empty() && !self.read_query.is_empty() {
            query.push('&');
        }
        query.push_str(&self.read_query);
        Call {
            route,
            method: Method::GET,
            url: self.url(path, &query),
            body: None,
            is_read: true,
            max_answer: MAX_BODY,
            hint: "check the base URL",
        }
    }

    fn url(&self, path: &str, query: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url.set_query((!query.is_empty()).then_some(query));
        url
    }

    /// Makes a request once and reads the answer.
    pub(super) async fn attempt<T>(&self, call: &Call, number: u32, read: Read<T>) -> Result<T, Error> {
        let span = self.span(call, number);
        let began = Instant::now();
        let answer = self.exchange(call).instrument(span.clone()).await;
        let result = answer.and_then(|answer| self.interpret(&answer, call.is_read, read));
        let result = result.map_err(|error| finish(error, call));
        log(&span, result.as_ref().err(), began.elapsed());
        result
    }

    fn span(&self, call: &Call, number: u32) -> Span {
        debug_span!(
            "request",
            instance = %self.instance,
            route = call.route,
            attempt = number,
            status = field::Empty,
            elapsed_ms = field::Empty,
        )
    }

    async fn exchange(&self, call: &Call) -> Result<HttpResponse, Error> {
        let answer = self.http.exchange(self.request(call)).await?;
        Span::current().record("status", answer.status);
        Ok(answer)
    }

    fn request(&self, call: &Call) -> HttpRequest {
        let mut headers = self.headers.clone();
        if call.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        HttpRequest {
            method: call.method.clone(),
            url: call.url.clone(),
            headers,
            body: call.body.clone(),
            timeout: self.timeout,
            max_answer: call.max_answer,
        }
    }

    fn interpret<T>(&self, answer: &HttpResponse, is_read: bool, read: Read<T>) -> Result<T, Error> {
        let reply = Reply { status: answer.status, body: &answer.body };
        let value = if is_read {
            answer::of_read(reply, read, &self.redactor)
        } else {
            answer::of_update(reply, read, &self.redactor)
        };
        value.map_err(|error| match retry_after(answer) {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        })
    }
}

fn headers(setup: &Setup) -> Result<HeaderMap, Error> {
    let token = setup.token.expose_secret();
    let mut headers = HeaderMap::new();
    let agent = HeaderValue::from_str(&setup.user_agent);
    headers.insert(USER_AGENT, agent.map_err(|error| wrong("the user agent is no header").because(error))?);
    match setup.credentials {
        Credentials::Body | Credentials::Query => {}
        Credentials::Bearer => {
            headers.insert(AUTHORIZATION, secret_header(&format!("Bearer {token}"))?);
            headers.insert(HeaderName::from_static("x-instance-id"), secret_header(setup.instance.as_str())?);
        }
        Credentials::Header => {
            headers.insert(HeaderName::from_static("access-token"), secret_header(token)?);
        }
    }
    Ok(headers)
}

fn secret_header(text: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| wrong("the access token is no header"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn finish(error: Error, call: &Call) -> Error {
    let error = if error.kind() == ErrorKind::Route { error.with_hint(call.hint) } else { error };
    if call.is_read { error.without_doubt() } else { error }
}

fn log(span: &Span, error: Option<&Error>, elapsed: Duration) {
    span.record("elapsed_ms", u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
    span.in_scope(|| match error {
        None => debug!("done"),
        Some(error) => debug!(kind = ?error.kind(), %error, "failed"),
    });
}

/// `Retry-After`, by the clock of the server where it tells the time.
fn retry_after(answer: &HttpResponse) -> Option<Duration> {
    let value = answer.header(&RETRY_AFTER)?;
    let now = answer.header(&DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    parse_retry_after(value, now.unwrap_or_else(SystemTime::now))
}
