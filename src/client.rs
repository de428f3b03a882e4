//! One call, done right.
//!
//! A [`Client`] speaks for one instance: it keeps the instance's pace, retries what may work when repeated, and turns every answer,
//! however it is spelled, into a value or into an [`Error`] that says what to do. Use it directly to set or read a few names; give it
//! to a sync as its [`AddressBook`] for many.
//!
//! # What can go wrong
//!
//! A request whose answer is missing may have been carried out: such an error [is in doubt](Error::is_in_doubt). The client repeats
//! it, because setting a name twice is harmless. A token that was refused, an instance that is gone and a request that the server
//! cannot take are not repeated. A server that asks for time gets it, from all clones of the client: see
//! [`Error::retry_after`].
//!
//! # Which route, which credentials
//!
//! The API's documents contradict each other. A [`doctor`] asks the server which [`Route`] and which [`Credentials`] work for an account.
//!
//! # What never happens
//!
//! No token in an error, a log or a `Debug`; no redirect is followed; nothing is sent over plain http except to this machine, unless
//! [allowed by name](ClientBuilder::allow_plain_http).
//!
//! # Logs
//!
//! Each request is a [`tracing`] span `request` at DEBUG, with the instance, the route, the number of the attempt, the HTTP status and the
//! milliseconds it took, and one event within that tells the outcome. Chat ids appear at TRACE only, names never.

mod builder;
pub mod doctor;
mod http;
mod options;
mod reads;
mod transport;

use std::{
    fmt::{self, Debug},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use async_trait::async_trait;
use secrecy::SecretString;
use tokio::time::Instant;

use self::transport::{Call, Transport};
pub use self::{
    builder::ClientBuilder,
    http::{HttpExchange, HttpRequest, HttpResponse},
    options::{Credentials, ParseCredentialsError, ParseRouteError, Route},
};
use crate::{
    AddressBook, ChatId, ContactName, Error, InstanceId, Pace, Phone, RetryPolicy,
    book::{Contact, Existence, LidPage, Page, Permit, Session},
    pace::Limiter,
    retry::{Attempts, Budget},
    wire::{
        answer::{self, Read},
        read,
    },
};

/// Sets and reads the contact names of one instance.
///
/// Cheap to clone; all clones share connections, pace and retry budget.
///
/// ```no_run
/// use wawp_contacts::{Client, ContactName};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder("my-instance".parse()?, "my-token").build()?;
/// client.update_contact(&"+1 202 555 0142".parse()?, &ContactName::new("Ann", "Lee [Customer]")?).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    transport: Transport,
    limiter: Limiter,
    retry: RetryPolicy,
    budget: Budget,
    /// Whether the server was found not to know the question for the session by POST.
    asks_by_get: AtomicBool,
}

impl Client {
    /// Begins a client for an instance with its access token.
    pub fn builder(instance: InstanceId, token: impl Into<SecretString>) -> ClientBuilder {
        ClientBuilder::new(instance, token.into())
    }

    /// Makes a client from the environment: `WAWP_INSTANCE_ID`, `WAWP_ACCESS_TOKEN` and, if it is set, `WAWP_BASE_URL`.
    ///
    /// Everything else is as [`builder`](Self::builder) has it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`](crate::ErrorKind::Configuration) if one of the first two is missing or one of the three cannot be used.
    pub fn from_env() -> Result<Self, Error> {
        builder::from_variables(|name| std::env::var(name).ok())
    }

    /// The instance that the client speaks for.
    #[must_use]
    pub fn instance(&self) -> &InstanceId {
        self.0.transport.instance()
    }

    /// Makes the address book show `name` for `chat`, adding the contact if it is new.
    ///
    /// Waits for the instance's pace and retries as the [`RetryPolicy`] says. A name without a last name erases a last name that was
    /// there. The other person sees nothing of it.
    ///
    /// # Errors
    ///
    /// [`Error::class`] says what to do, and [`Error::is_in_doubt`] whether the name may have been set all the same.
    pub async fn update_contact(&self, chat: &ChatId, name: &ContactName) -> Result<(), Error> {
        self.call(&self.0.transport.update(chat, name), answer::acknowledges).await
    }

    /// Makes a call with its retries.
    async fn call<T>(&self, call: &Call, read: Read<T>) -> Result<T, Error> {
        let shared = &*self.0;
        let mut attempts: Option<Attempts<'_>> = None;
        loop {
            let patience = attempts.as_ref().map_or(shared.retry.total(), |attempts| attempts.left(now()));
            let turn = shared.limiter.turn(patience).await;
            // The deadline begins now, with the first attempt: it is no fault of the call how long it stood in line.
            let attempts = attempts.get_or_insert_with(|| shared.retry.start(&shared.budget, now()));
            let answer = match turn {
                Ok(()) => shared.attempt(call, attempts.number(), read).await,
                Err(error) => Err(error),
            };
            let error = match answer {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let wait = attempts.failed(error, now(), fastrand::f64())?;
            tokio::time::sleep(wait).await;
        }
    }
}

/// The runtime's clock, which a test can pause.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

impl Shared {
    async fn attempt<T>(&self, call: &Call, number: u32, read: Read<T>) -> Result<T, Error> {
        let begun = self.limiter.begin();
        let result = self.transport.attempt(call, number, read).await;
        if result.is_ok() {
            self.budget.deposit();
        }
        self.limiter.heed(begun, &result);
        result
    }
}

impl Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("instance", self.instance())
            .field("pace", &self.0.limiter.pace())
            .field("retry", &self.0.retry)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl AddressBook for Client {
    fn instance(&self) -> &InstanceId {
        self.0.transport.instance()
    }

    fn deadline(&self) -> Duration {
        self.0.transport.timeout()
    }

    fn pace(&self) -> Pace {
        self.0.limiter.pace()
    }

    async fn permit(&self) -> Result<Permit, Error> {
        self.0.limiter.turn(Duration::ZERO).await.map(|()| Permit::grant())
    }

    async fn update(&self, _: Permit, chat: &ChatId, name: &ContactName) -> Result<(), Error> {
        self.0.attempt(&self.0.transport.update(chat, name), 1, answer::acknowledges).await
    }

    async fn contact(&self, _: Permit, chat: &ChatId) -> Result<Option<Contact>, Error> {
        self.0.attempt(&self.0.transport.contact(chat), 1, read::contact).await
    }

    async fn page(&self, _: Permit, offset: usize, limit: usize) -> Result<Page, Error> {
        reads::check_limit(limit)?;
        self.0.attempt(&self.0.transport.contacts(offset, limit), 1, read::contacts).await
    }

    /// Asks by POST. The first time that the server does not know that, takes another permit and asks by GET, from then on always.
    async fn session(&self, _: Permit) -> Result<Option<Session>, Error> {
        let shared = &self.0;
        match shared.attempt(&shared.transport.session(shared.session_method()), 1, read::session).await {
            Err(error) if shared.asks_by_get_now(&error) => {
                let permit = self.permit().await?;
                AddressBook::session(self, permit).await
            }
            answer => answer.map(Some),
        }
    }

    async fn phone_of(&self, _: Permit, lid: &ChatId) -> Result<Option<Phone>, Error> {
        reads::check_lid(lid)?;
        self.0.attempt(&self.0.transport.phone_of(lid), 1, read::phone_of_lid).await
    }

    async fn exists(&self, _: Permit, phone: &Phone) -> Result<Option<Existence>, Error> {
        self.0.attempt(&self.0.transport.check_exists(phone), 1, read::existence).await.map(Some)
    }

    async fn lids(&self, _: Permit, offset: usize, limit: usize) -> Result<LidPage, Error> {
        reads::check_limit(limit)?;
        self.0.attempt(&self.0.transport.lids(offset, limit), 1, read::mappings).await
    }
}
