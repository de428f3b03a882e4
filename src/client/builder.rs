use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use reqwest::{Url, redirect::Policy};
use secrecy::{ExposeSecret, SecretString};
use url::Host;

use super::{
    Client, Shared,
    http::{Bounded, HttpExchange, Reqwest, of_use},
    options::{Credentials, Route},
    transport::{Setup, Transport, wrong},
};
use crate::{Error, InstanceId, Pace, RetryPolicy, pace::Limiter, retry::Budget};

const BASE_URL: &str = "https://api.wawp.net";
const USER_AGENT: &str = concat!("wawp-contacts/", env!("CARGO_PKG_VERSION"));
/// The server may wait 15 s for a sleeping session before it answers.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than the 5 s for which the most impatient servers keep a connection: one that they are about to close is not used.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
const IDLE_CONNECTIONS: usize = 256;

/// Sets up a [`Client`].
///
/// ```
/// use std::time::Duration;
/// use wawp_contacts::{Client, Pace, RetryPolicy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder("my-instance".parse()?, "my-token")
///     .pace(Pace::per_second(2).burst(4))
///     .retry(RetryPolicy::default().max_attempts(6))
///     .timeout(Duration::from_secs(20))
///     .build()?;
/// assert_eq!(client.instance().as_str(), "my-instance");
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder makes a client with build()"]
pub struct ClientBuilder {
    instance: InstanceId,
    token: SecretString,
    base_url: String,
    timeout: Duration,
    pub(super) retry: RetryPolicy,
    pub(super) pace: Pace,
    user_agent: String,
    pub(super) route: Route,
    pub(super) credentials: Option<Credentials>,
    allow_plain_http: bool,
    http: Option<Arc<dyn HttpExchange>>,
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
            user_agent: USER_AGENT.into(),
            route: Route::default(),
            credentials: None,
            allow_plain_http: false,
            http: None,
        }
    }

    /// Sets where the server is, `https://api.wawp.net` by default; a path is kept in front of every route.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// Sets how long one request may take, its answer included; 30 s by default.
    ///
    /// The server may wait 15 s for a sleeping session before it answers, so a shorter time makes timeouts whose outcome is
    /// unknown.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how calls are retried.
    ///
    /// [`AddressBook`](crate::AddressBook) methods make one attempt, whatever the policy.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Sets how often the instance is called, over all clones of the client, reads included; once a second by default.
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Sets the `User-Agent` header.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// Sets the route of updates.
    pub fn route(mut self, route: Route) -> Self {
        self.route = route;
        self
    }

    /// Sets where instance id and access token go.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Allows plain http to other machines: whoever is on the way reads the token.
    pub fn allow_plain_http(mut self) -> Self {
        self.allow_plain_http = true;
        self
    }

    /// Sends through this HTTP stack, for instance for a proxy, own certificates or a shared pool.
    ///
    /// It must neither follow redirects nor retry; see [`HttpExchange`]. The [`timeout`](Self::timeout) and the user agent of this
    /// builder hold for it as well; connect timeout, pool and proxies are its own.
    pub fn http(mut self, stack: impl HttpExchange) -> Self {
        self.http = Some(Arc::new(Bounded(stack)));
        self
    }

    /// Makes the client.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if the base URL is none, carries a user, a query or a fragment, or is plain http to another
    /// machine that was not [allowed](Self::allow_plain_http); if the token is blank or the user agent is no header; or if TLS
    /// cannot be set up.
    pub fn build(self) -> Result<Client, Error> {
        let (pace, retry) = (self.pace, self.retry.clone());
        let transport = Transport::new(self.setup(of_use)?)?;
        let limiter = Limiter::new(pace);
        let shared =
            Shared { transport, limiter, retry, budget: Budget::default(), asks_by_get: AtomicBool::new(false) };
        Ok(Client(shared.into()))
    }

    /// What a transport is made of, once all of it is checked; of the headers of an answer, `keeps` says which are of use.
    pub(super) fn setup(self, keeps: fn(&str) -> bool) -> Result<Setup, Error> {
        let base = checked_base(&self.base_url, self.allow_plain_http)?;
        check_token(&self.token)?;
        let http = match self.http {
            Some(http) => http,
            None => Arc::new(Reqwest { http: own_http(&base, self.timeout)?, keeps }),
        };
        Ok(Setup {
            http,
            base,
            instance: self.instance,
            token: self.token,
            timeout: self.timeout,
            user_agent: self.user_agent,
            route: self.route,
            credentials: self.credentials.unwrap_or(Credentials::of(self.route)),
        })
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The base URL is not checked yet and may hold a password.
        f.debug_struct("ClientBuilder")
            .field("instance", &self.instance)
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .field("pace", &self.pace)
            .field("route", &self.route)
            .field("credentials", &self.credentials)
            .field("allow_plain_http", &self.allow_plain_http)
            .finish_non_exhaustive()
    }
}

pub(super) fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Client, Error> {
    let instance = variable("WAWP_INSTANCE_ID").ok_or_else(|| wrong("WAWP_INSTANCE_ID is not set"))?;
    let token = variable("WAWP_ACCESS_TOKEN").ok_or_else(|| wrong("WAWP_ACCESS_TOKEN is not set"))?;
    let instance =
        instance.parse().map_err(|error| wrong("WAWP_INSTANCE_ID cannot be used").because(Box::new(error)))?;
    let builder = Client::builder(instance, token);
    match variable("WAWP_BASE_URL") {
        Some(url) => builder.base_url(url).build(),
        None => builder.build(),
    }
}

/// The base URL, without a slash at the end of its path.
fn checked_base(text: &str, allow_plain_http: bool) -> Result<Url, Error> {
    let url = Url::parse(text.trim()).map_err(|error| wrong("the base URL is no URL").because(error))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("the base URL holds a user or a password; leave it out"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("the base URL has a query or a fragment; leave it out"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) || allow_plain_http => Ok(url),
        "http" => Err(wrong("plain http would show the token to others; use https, or see allow_plain_http")),
        _ => Err(wrong("the base URL is neither https nor http")),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn check_token(token: &SecretString) -> Result<(), Error> {
    let token = token.expose_secret();
    if token.is_empty() || token.chars().any(|char| char.is_control() || char.is_whitespace()) {
        return Err(wrong("the access token is empty or holds white space"));
    }
    Ok(())
}

fn own_http(base: &Url, timeout: Duration) -> Result<reqwest::Client, Error> {
    if base.scheme() == "https" && cfg!(not(any(feature = "rustls", feature = "native-tls"))) {
        return Err(wrong("there is no TLS in this build; switch on the feature rustls or native-tls"));
    }
    let mut http = reqwest::Client::builder()
        .retry(reqwest::retry::never())
        .redirect(Policy::none())
        .referer(false)
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT.min(timeout))
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS);
    if base.scheme() == "http" {
        // A proxy from the environment would read the token.
        http = http.no_proxy();
    }
    http.build().map_err(|error| wrong("the HTTP client cannot be set up").because(error.without_url()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn build(url: &str) -> Result<Client, Error> {
        Client::builder("i".parse().unwrap(), "s3cret").base_url(url).build()
    }

    #[test]
    fn https_and_this_machine_are_taken() {
        for url in [
            "https://api.wawp.net",
            "https://proxy.example/wawp/",
            "http://127.0.0.1:1",
            "http://127.8.9.10",
            "http://[::1]:80",
            "http://localhost:8080/x",
            "HTTP://LOCALHOST",
        ] {
            assert!(build(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn other_bases_are_refused_without_being_shown() {
        for url in [
            "",
            "api.wawp.net",
            "ftp://127.0.0.1",
            "http://api.wawp.net",
            "http://localhost.example",
            "http://128.0.0.1",
            "http://[::2]",
            "https://user@s3cret.example",
            "https://:s3cret@api.wawp.net",
            "https://api.wawp.net?access_token=s3cret",
            "https://api.wawp.net#s3cret",
        ] {
            let error = build(url).unwrap_err();
            assert_eq!((error.kind(), error.attempts()), (ErrorKind::Configuration, 0), "{url}");
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn plain_http_to_others_has_to_be_allowed() {
        let builder = Client::builder("i".parse().unwrap(), "s3cret").base_url("http://api.wawp.net");
        assert!(builder.allow_plain_http().build().is_ok());
    }

    #[test]
    fn a_token_that_cannot_be_one_is_refused() {
        for token in ["", " ", "a b", "a\nb"] {
            let error = Client::builder("i".parse().unwrap(), token).build().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{token:?}");
        }
    }

    #[test]
    fn the_environment_gives_instance_token_and_base() {
        let environment = |without: &'static str, base: &'static str| {
            move |name: &str| {
                let value = match name {
                    "WAWP_INSTANCE_ID" => "my-instance",
                    "WAWP_ACCESS_TOKEN" => "s3cret",
                    _ => base,
                };
                (name != without).then(|| value.to_owned())
            }
        };
        let client = from_variables(environment("WAWP_BASE_URL", "")).unwrap();
        assert_eq!(client.instance().as_str(), "my-instance");
        assert!(from_variables(environment("", "http://127.0.0.1:1")).is_ok());
        assert!(from_variables(environment("", "http://example.com")).is_err());
        for missing in ["WAWP_INSTANCE_ID", "WAWP_ACCESS_TOKEN"] {
            let error = from_variables(environment(missing, "")).unwrap_err();
            assert!(error.to_string().contains(missing), "{error}");
        }
    }
}
