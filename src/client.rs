//! One call, done right.
//!
//! A [`Client`] speaks for one instance: it keeps the instance's pace, retries what may work when repeated, and turns every answer,
//! however it is spelled, into a value or into an [`Error`] that says what to do. Use it directly to set or read a few names; give it
//! to a [`Sync`](crate::Sync) as its [`AddressBook`] for many.
//!
//! # What can go wrong
//!
//! A request whose answer is missing may have been carried out: such an error [is in doubt](Error::is_in_doubt). The client repeats
//! it, because setting a name twice is harmless. A token that was refused, an instance that is gone and a request that the server
//! cannot take are not repeated. A server that asks for time gets it, from all clones of the client: see
//! [`Error::retry_after`].
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
mod pages;
mod reads;
mod transport;

use std::{
    fmt::{self, Debug},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use secrecy::SecretString;
use tokio::time::Instant;

use self::transport::{Call, Transport};
pub use self::{
    builder::{ClientBuilder, Credentials, Route},
    reads::{Existence, LidMapping, Session, SessionStatus},
};
use crate::{
    ChatId, ContactName, Error, ErrorKind, InstanceId, RetryPolicy,
    pace::Limiter,
    retry::Budget,
    wire::{
        answer,
        json::{Json, Misread},
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
    pace: Limiter,
    retry: RetryPolicy,
    budget: Budget,
}

/// Takes a value out of an answer.
type Read<T> = fn(&Json<'_>) -> Result<T, Misread>;

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
    /// [`ErrorKind::Configuration`] if one of the first two is missing or one of the three cannot be used.
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
        let mut attempts = shared.retry.start(&shared.budget, now());
        loop {
            let error = match shared.paced_attempt(call, attempts.number(), attempts.left(now()), read).await {
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
    async fn paced_attempt<T>(&self, call: &Call, number: u32, patience: Duration, read: Read<T>) -> Result<T, Error> {
        if let Err(left) = self.pace.turn(patience).await {
            let error = Error::new(ErrorKind::RateLimited).with_retry_after(left).after(0);
            return Err(error.with_hint("the server asked for a pause that is not over, so nothing was sent"));
        }
        self.attempt(call, number, read).await
    }

    async fn attempt<T>(&self, call: &Call, number: u32, read: Read<T>) -> Result<T, Error> {
        let result = self.transport.attempt(call, number, read).await;
        match &result {
            Ok(_) => self.budget.deposit(),
            Err(error) => {
                if let Some(wait) = error.retry_after() {
                    self.pace.pause(wait);
                }
            }
        }
        result
    }
}

impl Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("instance", self.instance())
            .field("pace", &self.0.pace.interval())
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

    fn interval(&self) -> Duration {
        self.0.pace.interval()
    }

    async fn turn(&self) -> Turn {
        // Only a pause beyond the patience fails, and none is.
        let _ = self.0.pace.turn(Duration::MAX).await;
        Turn(())
    }

    async fn update(&self, Turn(()): Turn, chat: &ChatId, name: &ContactName) -> Result<(), Error> {
        self.0.attempt(&self.0.transport.update(chat, name), 1, answer::acknowledges).await
    }

    async fn contact(&self, Turn(()): Turn, chat: &ChatId) -> Result<Option<Contact>, Error> {
        self.0.attempt(&self.0.transport.contact(chat), 1, reads::contact).await
    }

    async fn page(&self, Turn(()): Turn, offset: usize, limit: usize) -> Result<Page, Error> {
        if !(1..=reads::LIMIT).contains(&limit) {
            return Err(Error::new(ErrorKind::Configuration).after(0).with_hint("a page has 1 to 1000 entries"));
        }
        self.0.attempt(&self.0.transport.contacts(offset, limit), 1, reads::page).await
    }
}

/// An address book that a sync can write: Wawp's [`Client`], or another provider behind the same four verbs.
///
/// Every call takes a [`Turn`], which [`turn`](Self::turn) hands out at the instance's pace, and makes **one attempt**. Whoever
/// drives an address book owns the retrying, so that there is one layer of it; and may stop while it waits for a turn, when
/// nothing has been sent.
#[async_trait]
pub trait AddressBook: Debug + Send + Sync + 'static {
    /// The instance whose address book this is.
    fn instance(&self) -> &InstanceId;

    /// The longest time that an update, once begun, can still take effect.
    fn deadline(&self) -> Duration;

    /// The shortest time between two calls, zero for none; tells a plan how long it takes.
    fn interval(&self) -> Duration;

    /// Waits until the instance may be called, and not before a time that the server asked for.
    ///
    /// Dropping the future gives the turn up.
    async fn turn(&self) -> Turn;

    /// Makes the address book show `name` for `chat`, adding the contact if it is new.
    ///
    /// # Errors
    ///
    /// [`Error::class`] says what to do; [`Error::is_in_doubt`] whether the name may have been set all the same.
    async fn update(&self, turn: Turn, chat: &ChatId, name: &ContactName) -> Result<(), Error>;

    /// Reads one contact; `None` if the address book does not know it.
    ///
    /// # Errors
    ///
    /// As for [`update`](Self::update); a read is never in doubt.
    async fn contact(&self, turn: Turn, chat: &ChatId) -> Result<Option<Contact>, Error>;

    /// Reads one page of the whole address book, ordered by id; a page of fewer than `limit` is the last.
    ///
    /// # Errors
    ///
    /// As for [`contact`](Self::contact).
    async fn page(&self, turn: Turn, offset: usize, limit: usize) -> Result<Page, Error>;
}

/// The right to make one call now.
#[derive(Debug)]
#[must_use = "a turn is spent by the call that it is passed to"]
pub struct Turn(());

impl Turn {
    /// Grants a turn; for implementers of [`AddressBook`].
    pub fn grant() -> Self {
        Self(())
    }
}

/// One page of an address book.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Page {
    /// The persons on it; groups and other things that are no person are left out.
    pub contacts: Vec<Contact>,
    /// How many entries the server sent, persons or not.
    pub entries: usize,
}

/// What an address book says of one person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contact {
    /// The person's chat.
    pub chat: ChatId,
    /// The saved name; `None` if the person is not saved. Never the pushname.
    pub name: Option<String>,
    /// The public name that the person chose.
    pub pushname: Option<String>,
}

impl Contact {
    /// A person who is not saved and whose pushname is not known; for implementers of [`AddressBook`].
    #[must_use]
    pub fn new(chat: ChatId) -> Self {
        Self { chat, name: None, pushname: None }
    }
}
