//! Setting a client up.

use std::{env, fmt, net::IpAddr, time::Duration};

use reqwest::{
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
    retry,
};
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use super::{Client, Shared, transport::Transport};
use crate::{
    Error, ErrorKind, InstanceId, Pace, RetryPolicy,
    pace::Limiter,
    retry::Budget,
    wire::{
        redact::Redactor,
        request::{self, BodyStart},
    },
};

const BASE_URL: &str = "https://api.wawp.net";
/// Longer than the 15 s for which the engine waits for a sleeping session.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The route by which names are saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Route {
    /// `POST /v2/contacts/update`, all values in the body.
    #[default]
    Update,
    /// `PUT /v2/contacts/{chatId}`, the names in the body.
    PutContact,
}

/// Where the instance id and the token travel. All four are in use; Wawp's pages prefer the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Credentials {
    /// Writes: `instance_id` and `access_token` in the JSON body. Reads: in the query.
    #[default]
    Body,
    /// `instance_id` and `access_token` in the query. Proxies log queries: prefer another style.
    Query,
    /// `Authorization: Bearer <token>` and `X-Instance-ID`.
    Bearer,
    /// The header `access-token`, and `X-Instance-ID`.
    Header,
}

/// Sets a [`Client`] up.
#[must_use = "a builder does nothing until it is built"]
pub struct ClientBuilder {
    instance: InstanceId,
    token: SecretString,
    base_url: String,
    timeout: Duration,
    retry: RetryPolicy,
    pace: Pace,
    user_agent: String,
    http: Option<reqwest::Client>,
    route: Route,
    credentials: Credentials,
    allows_plain_http: bool,
}

impl ClientBuilder {
    pub(super) fn new(instance: InstanceId, token: SecretString) -> Self {
        Self {
            instance,
            token,
            base_url: BASE_URL.into(),
            timeout: TIMEOUT,
            retry: RetryPolicy::default(),
            pace: Pace::default(),
            user_agent: concat!("wawp-contacts/", env!("CARGO_PKG_VERSION")).into(),
            http: None,
            route: Route::default(),
            credentials: Credentials::default(),
            allows_plain_http: false,
        }
    }

    pub(super) fn from_env() -> Result<Self, Error> {
        let unset = |hint| Error::new(ErrorKind::Configuration).with_hint(hint).after(0);
        let instance = env::var("WAWP_INSTANCE_ID").map_err(|_| unset("WAWP_INSTANCE_ID is not set"))?;
        let instance = instance.parse().map_err(|error| unset("WAWP_INSTANCE_ID is no instance id").because(error))?;
        let token = env::var("WAWP_ACCESS_TOKEN").map_err(|_| unset("WAWP_ACCESS_TOKEN is not set"))?;
        let builder = Self::new(instance, token.into());
        Ok(match env::var("WAWP_BASE_URL") {
            Ok(url) if !url.trim().is_empty() => builder.base_url(url),
            _ => builder,
        })
    }

    /// Sets the server; `https://api.wawp.net` by default. A path in it is kept in front of every route.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// Sets how long one attempt may take in all; 30 s by default, because the server itself waits up to 15 s for a sleeping
    /// session.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how calls are retried.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Sets how often the instance may be called; once a second by default.
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Sets the user agent; this crate's name and version by default.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// Sets the HTTP client to use instead of an own one, for instance for a proxy or a private root certificate.
    ///
    /// Three things are then its builder's to see to: that it follows no redirects (`Policy::none()`), because a redirect could
    /// take the token elsewhere; that it does not retry (`retry::never()`), or attempts are miscounted; and its user agent. The
    /// timeout set here holds all the same.
    pub fn http_client(mut self, http: reqwest::Client) -> Self {
        self.http = Some(http);
        self
    }

    /// Sets the route by which names are saved.
    pub fn route(mut self, route: Route) -> Self {
        self.route = route;
        self
    }

    /// Sets where the credentials travel.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// Allows plain http to any host: the token and all names then travel in the clear. To the loopback address it is always
    /// allowed.
    pub fn allow_plain_http(mut self) -> Self {
        self.allows_plain_http = true;
        self
    }

    /// Builds the client. Nothing is sent.
    ///
    /// # Errors
    ///
    /// Fails with [`ErrorKind::Configuration`] if the token is empty, or cannot travel in a header as set; if the base URL is none,
    /// is plain http to another host than the loopback address, or carries credentials, a query or a fragment; and if TLS cannot be
    /// set up.
    pub fn build(self) -> Result<Client, Error> {
        let base = self.checked_base_url()?;
        let headers = self.credential_headers()?;
        let http = match &self.http {
            Some(http) => http.clone(),
            None => self.http_client_for(&base)?,
        };
        let token = self.token.expose_secret();
        let fields = [("instance_id", self.instance.as_str()), ("access_token", token)];
        let body = BodyStart::new(if self.credentials == Credentials::Body { &fields } else { &[] });
        let transport = Transport {
            http,
            base,
            credentials: self.credentials,
            headers,
            body,
            query: request::query(&fields),
            redactor: Redactor::new(self.token.clone(), self.instance.as_str()),
            timeout: self.timeout,
        };
        Ok(Client(std::sync::Arc::new(Shared {
            instance: self.instance,
            transport,
            route: self.route,
            credentials: self.credentials,
            retry: self.retry,
            budget: Budget::default(),
            limiter: Limiter::new(self.pace),
            timeout: self.timeout,
        })))
    }

    fn checked_base_url(&self) -> Result<Url, Error> {
        let url: Url =
            self.base_url.trim().parse().map_err(|_| wrong("the base URL is none, such as https://api.wawp.net"))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("the base URL may hold a scheme, a host, a port and a path only"));
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.allows_plain_http || is_loopback(&url) => Ok(url),
            "http" => Err(wrong(
                "plain http would show the token to everybody on the way; use https, or `.allow_plain_http()`",
            )),
            _ => Err(wrong("the base URL begins with https://")),
        }
    }

    fn credential_headers(&self) -> Result<HeaderMap, Error> {
        let token = self.token.expose_secret();
        if token.trim().is_empty() {
            return Err(wrong("the access token is empty"));
        }
        let secret = |text: &str| {
            let mut value =
                HeaderValue::from_str(text).map_err(|_| wrong("the access token cannot travel in a header"))?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        };
        let mut headers = HeaderMap::new();
        match self.credentials {
            Credentials::Body | Credentials::Query => return Ok(headers),
            Credentials::Bearer => headers.insert(AUTHORIZATION, secret(&format!("Bearer {token}"))?),
            Credentials::Header => headers.insert(HeaderName::from_static("access-token"), secret(token)?),
        };
        headers.insert(HeaderName::from_static("x-instance-id"), secret(self.instance.as_str())?);
        Ok(headers)
    }

    fn http_client_for(&self, base: &Url) -> Result<reqwest::Client, Error> {
        let mut builder = reqwest::Client::builder()
            .user_agent(&self.user_agent)
            .redirect(Policy::none())
            .retry(retry::never())
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(20));
        if is_loopback(base) {
            // A proxy of the environment must not see what is meant for this machine.
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| wrong("the HTTP client cannot be set up").because(error.without_url()))
    }
}

fn wrong(hint: &'static str) -> Error {
    Error::new(ErrorKind::Configuration).with_hint(hint).after(0)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("instance", &self.instance)
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .field("pace", &self.pace)
            .field("route", &self.route)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}
