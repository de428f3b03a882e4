//! One call, done right: the client of Wawp's contact API.
//!
//! A [`Client`] belongs to one instance and holds its token. [`Client::update_contact`] saves a name; the reads beside it are those
//! that a sync needs. Each method waits for its turn at the instance's [`Pace`], retries as its [`RetryPolicy`] says, and gives
//! back an [`Error`] that says what happened, what to do about it, and whether the name may have been set all the same. Clones
//! share the pace, the retry budget and the connections, so a clone per task is the way to use it.
//!
//! [`AddressBook`] is the trait that the sync uses. `Client` implements it with one attempt per call, because there the sync owns
//! the retrying.
//!
//! # What can go wrong
//!
//! The API answers errors in many shapes, at times with a 200. All of them become one of the [`ErrorKind`]s. A success says that
//! Wawp stored the name, not that a phone shows it.

mod address_book;
mod builder;
mod reads;
mod transport;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use secrecy::SecretString;
use tracing::Instrument;

use self::transport::{Call, Transport};
pub use self::{
    address_book::{AddressBook, Contact, Page, Turn},
    builder::{ClientBuilder, Credentials, Route},
    reads::{Existence, LidMapping, Pages, Session, SessionStatus},
};
use crate::{
    ChatId, ContactName, Error, ErrorKind, InstanceId, RetryPolicy, pace::Limiter, retry::Budget, wire::request,
};

/// Calls Wawp's contact API for one instance.
///
/// Cheap to clone; clones share pace, retry budget and connections.
///
/// ```
/// # #[cfg(feature = "testkit")]
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use wawp_contacts::{ChatId, Client, ContactName, testkit::WawpServer};
///
/// let server = WawpServer::start().await; // stands in for Wawp
/// let client = Client::builder(server.instance().clone(), server.token()).base_url(server.url()).build()?;
/// let chat: ChatId = "+1 (202) 555-0142".parse()?;
/// client.update_contact(&chat, &ContactName::new("Bob", "Miller [Lead]")?).await?;
/// server.assert_contact(&chat, "Bob Miller [Lead]");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    instance: InstanceId,
    transport: Transport,
    route: Route,
    credentials: Credentials,
    retry: RetryPolicy,
    budget: Budget,
    limiter: Limiter,
    timeout: Duration,
}

impl Client {
    /// Begins a client for an instance and its access token; everything else has a default.
    pub fn builder(instance: InstanceId, token: impl Into<SecretString>) -> ClientBuilder {
        ClientBuilder::new(instance, token.into())
    }

    /// Makes a client from `WAWP_INSTANCE_ID`, `WAWP_ACCESS_TOKEN` and, if it is set, `WAWP_BASE_URL`.
    ///
    /// # Errors
    ///
    /// Fails with [`ErrorKind::Configuration`] if one of the first two is not set, or one of them cannot be used.
    pub fn from_env() -> Result<Self, Error> {
        ClientBuilder::from_env()?.build()
    }

    /// The instance that it calls for.
    #[must_use]
    pub fn instance(&self) -> &InstanceId {
        &self.0.instance
    }

    /// Makes the address book show `name` for `chat`, adding the contact if it is new.
    ///
    /// Without a last name the old one is erased. Sending the same name twice is harmless, so an attempt whose answer is missing
    /// is repeated.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Rejected`] if the API refuses this contact.
    /// - A kind of [`Class::Instance`](crate::Class::Instance) if the instance may not be called until a person acts.
    /// - A kind of [`Class::Wait`](crate::Class::Wait) or [`Class::Transient`](crate::Class::Transient) if it stayed that way for as
    ///   long as the [`RetryPolicy`] lasts; [`Error::is_in_doubt`] says whether the name may have been set all the same.
    /// - [`ErrorKind::Route`] if the server does not know the route; the text names the other one.
    pub async fn update_contact(&self, chat: &ChatId, name: &ContactName) -> Result<(), Error> {
        self.call(&self.update_of(chat, name)).await.map(drop)
    }

    fn update_of(&self, chat: &ChatId, name: &ContactName) -> Call {
        let transport = &self.0.transport;
        match self.0.route {
            Route::Update => transport.post("/v2/contacts/update", transport.update_body(Some(chat), name)),
            Route::PutContact => {
                let path = format!("/v2/contacts/{}", request::path_segment(chat));
                transport.put("/v2/contacts/{chatId}", &path, transport.update_body(None, name))
            }
        }
    }

    /// Makes a call, again and again as the policy says.
    async fn call(&self, call: &Call) -> Result<transport::Answer, Error> {
        let span = tracing::debug_span!("wawp", instance = %self.0.instance, route = call.route);
        async {
            let mut attempts = self.0.retry.start(&self.0.budget, Instant::now());
            loop {
                let outcome = match self.turn_within(attempts.left(Instant::now())).await {
                    Ok(()) => self.attempt(call, attempts.number()).await,
                    Err(error) => Err(error),
                };
                let error = match outcome {
                    Ok(answer) => return Ok(answer),
                    Err(error) => error,
                };
                let wait = attempts.failed(error, Instant::now(), fastrand::f64())?;
                tokio::time::sleep(wait).await;
            }
        }
        .instrument(span)
        .await
    }

    /// Waits for a turn, unless the server asked for a pause that is longer than there is time.
    async fn turn_within(&self, patience: Duration) -> Result<(), Error> {
        self.0
            .limiter
            .turn(patience)
            .await
            .map_err(|left| Error::new(ErrorKind::RateLimited).with_retry_after(left).after(0))
    }

    /// One request, and what its answer means for the instance as a whole.
    async fn attempt(&self, call: &Call, number: u32) -> Result<transport::Answer, Error> {
        let began = Instant::now();
        let outcome = self.0.transport.send(call).await;
        let status = outcome.as_ref().map_or_else(Error::status, |answer| Some(answer.status));
        let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &outcome {
            Ok(_) => {
                self.0.budget.deposit();
                tracing::debug!(attempt = number, status, elapsed_ms = elapsed, "answered");
            }
            Err(error) => {
                tracing::debug!(attempt = number, status, elapsed_ms = elapsed, kind = %error.kind(), "failed");
                if let Some(wait) = error.retry_after() {
                    self.0.limiter.pause(wait);
                }
            }
        }
        outcome.map_err(|error| self.hint(error))
    }

    /// Says what to try when the server does not know the route.
    fn hint(&self, error: Error) -> Error {
        match (error.kind(), error.status(), self.0.route) {
            (ErrorKind::Route, Some(300..=399), _) => error.with_hint("it redirects elsewhere; check the base URL"),
            (ErrorKind::Route, _, Route::Update) => {
                error.with_hint("try `.route(Route::PutContact)`, or check the base URL")
            }
            (ErrorKind::Route, _, Route::PutContact) => {
                error.with_hint("try `.route(Route::Update)`, or check the base URL")
            }
            _ => error,
        }
    }
}

#[async_trait]
impl AddressBook for Client {
    fn instance(&self) -> &InstanceId {
        &self.0.instance
    }

    fn deadline(&self) -> Duration {
        self.0.timeout
    }

    fn interval(&self) -> Duration {
        self.0.limiter.interval()
    }

    async fn turn(&self) -> Turn {
        // However long the server asked to wait: whoever drives decides how long to stand in line.
        while self.0.limiter.turn(Duration::MAX).await.is_err() {}
        Turn::grant()
    }

    async fn update(&self, _: Turn, chat: &ChatId, name: &ContactName) -> Result<(), Error> {
        self.attempt(&self.update_of(chat, name), 1).await.map(drop)
    }

    async fn contact(&self, _: Turn, chat: &ChatId) -> Result<Option<Contact>, Error> {
        reads::contact(&self.attempt(&self.contact_call(chat), 1).await?)
    }

    async fn page(&self, _: Turn, offset: usize, limit: usize) -> Result<Page, Error> {
        reads::page(&self.attempt(&self.contacts_call(offset, limit), 1).await?, limit)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("instance", &self.0.instance)
            .field("host", &self.0.transport.host())
            .field("route", &self.0.route)
            .field("credentials", &self.0.credentials)
            .field("retry", &self.0.retry)
            .finish_non_exhaustive()
    }
}
