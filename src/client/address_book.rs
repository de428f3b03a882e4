use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;

use crate::{ChatId, ContactName, Error, InstanceId};

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
