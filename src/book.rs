//! The address book of one WhatsApp account, whoever provides it.
//!
//! [`AddressBook`] is what a sync needs of a provider: set a name, read names back. Wawp's [`Client`](crate::Client) is one. To
//! write through another vendor, implement it for a type of your own; nothing here knows Wawp.
//!
//! ```
//! use std::{sync::Mutex, time::Duration};
//!
//! use async_trait::async_trait;
//! use tokio::time::timeout;
//! use wawp_contacts::{
//!     AddressBook, ChatId, ContactName, Error, ErrorKind, InstanceId, Pace,
//!     book::{Contact, Page, Permit},
//!     pace::Limiter,
//! };
//!
//! /// A vendor whose call is `saveContact(number, fullName)`, and which can list but knows no pages.
//! #[derive(Debug)]
//! struct OtherVendor { instance: InstanceId, limiter: Limiter, saved: Mutex<Vec<(String, String)>> }
//!
//! impl OtherVendor {
//!     /// Stands for the request. Its errors have the kind that the answer means, and keep a pause that it asks for.
//!     async fn save_contact(&self, number: &str, full_name: &str) -> Result<(), Error> {
//!         if full_name.len() > 25 {
//!             return Err(Error::new(ErrorKind::Rejected).with_status(400).with_code("name_too_long"));
//!         }
//!         self.saved.lock().unwrap().push((number.into(), full_name.into()));
//!         Ok(())
//!     }
//!
//!     async fn list(&self) -> Result<Vec<Contact>, Error> {
//!         let saved = self.saved.lock().unwrap();
//!         Ok(saved.iter().filter_map(|(number, name)| Some(Contact::new(number.parse().ok()?).with_name(name))).collect())
//!     }
//! }
//!
//! #[async_trait]
//! impl AddressBook for OtherVendor {
//!     fn instance(&self) -> &InstanceId { &self.instance }
//!     fn deadline(&self) -> Duration { Duration::from_secs(10) }
//!     fn pace(&self) -> Pace { self.limiter.pace() }
//!
//!     async fn permit(&self) -> Result<Permit, Error> {
//!         self.limiter.turn(Duration::ZERO).await.map(|()| Permit::grant())
//!     }
//!
//!     async fn update(&self, _: Permit, chat: &ChatId, name: &ContactName) -> Result<(), Error> {
//!         let phone = chat.phone().ok_or_else(|| Error::new(ErrorKind::Rejected).after(0).with_hint("it takes phones only"))?;
//!         let full_name = name.full();
//!         let begun = self.limiter.begin();
//!         let call = timeout(self.deadline(), self.save_contact(phone.as_str(), &full_name));
//!         let answer = call.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout)));
//!         self.limiter.heed(begun, &answer);
//!         answer
//!     }
//!
//!     async fn contact(&self, _: Permit, chat: &ChatId) -> Result<Option<Contact>, Error> {
//!         Ok(self.list().await?.into_iter().rev().find(|contact| contact.chat == *chat))
//!     }
//!
//!     async fn page(&self, _: Permit, offset: usize, limit: usize) -> Result<Page, Error> {
//!         let contacts: Vec<_> = self.list().await?.into_iter().skip(offset).take(limit).collect();
//!         let ids: Vec<_> = contacts.iter().map(|contact| contact.chat.to_string()).collect();
//!         Ok(Page::new(contacts, ids))
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let limiter = Limiter::new(Pace::per_second(5));
//! let book = OtherVendor { instance: "shop".parse()?, limiter, saved: Mutex::default() };
//! let bob = "+1 202 555 0142".parse()?;
//! book.update(book.permit().await?, &bob, &ContactName::new("Bob", "[Lead]")?).await?;
//! assert_eq!(book.contact(book.permit().await?, &bob).await?.unwrap().name.as_deref(), Some("Bob [Lead]"));
//! assert!(book.session(book.permit().await?).await?.is_none(), "this vendor has no sessions");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With the feature `testkit`, `address_book_contract!` holds such a type to what the trait says.

#[cfg(feature = "testkit")]
pub mod contract;
mod pager;
mod values;

use std::{fmt::Debug, sync::Arc, time::Duration};

use async_trait::async_trait;

pub use self::{
    pager::Pager,
    values::{Contact, Existence, LidMapping, LidPage, Page, Session, SessionStatus},
};
use crate::{ChatId, ContactName, Error, InstanceId, Pace, Phone};

/// An address book that a sync can write: Wawp's [`Client`](crate::Client), or another provider behind the same verbs.
///
/// Every call takes a [`Permit`], which [`permit`](Self::permit) hands out at the instance's pace, and makes **one attempt**.
/// Whoever drives an address book owns the retrying, so that there is one layer of it; and may stop while it waits for a permit,
/// when nothing has been sent.
///
/// An `Arc` of an address book is one as well, so a shared one need not be wrapped twice.
#[async_trait]
pub trait AddressBook: Debug + Send + Sync + 'static {
    /// The instance whose address book this is.
    fn instance(&self) -> &InstanceId;

    /// The longest time that an update, once begun, can still take effect: no shorter than the wait for its answer, after which it
    /// fails by itself.
    fn deadline(&self) -> Duration;

    /// How often it may be called now, by what its answers taught so far: tells a plan how long it takes, and a sync that starts
    /// anew what to keep to.
    fn pace(&self) -> Pace;

    /// Waits until the pace allows a call.
    ///
    /// Dropping the future gives the permit up. The next call needs another one, also after a failure.
    ///
    /// # Errors
    ///
    /// A pause that the server asked for is not waited for. It comes back at once, also to those who already wait, as an error of
    /// the kind that asked for it, with what is left as [`Error::retry_after`], 0 [`attempts`](Error::attempts) and without
    /// doubt, since nothing was sent: whoever drives the book decides what to do meanwhile.
    async fn permit(&self) -> Result<Permit, Error>;

    /// Makes the address book show `name` for `chat`, adding the contact if it is new.
    ///
    /// # Errors
    ///
    /// [`Error::class`] says what to do; [`Error::is_in_doubt`] whether the name may have been set all the same.
    async fn update(&self, permit: Permit, chat: &ChatId, name: &ContactName) -> Result<(), Error>;

    /// Reads one contact; `None` if the address book does not know it.
    ///
    /// The answer may come under another id of the person than was asked for.
    ///
    /// # Errors
    ///
    /// As for [`update`](Self::update); a read is never in doubt.
    async fn contact(&self, permit: Permit, chat: &ChatId) -> Result<Option<Contact>, Error>;

    /// Reads one page of the whole address book, ordered by id where the provider can; see [`Pager`].
    ///
    /// # Errors
    ///
    /// As for [`contact`](Self::contact).
    async fn page(&self, permit: Permit, offset: usize, limit: usize) -> Result<Page, Error>;

    /// Reads the state of the instance's session, and whose account it is; `None` if the provider has no such thing, as by default.
    ///
    /// # Errors
    ///
    /// As for [`contact`](Self::contact).
    async fn session(&self, permit: Permit) -> Result<Option<Session>, Error> {
        drop(permit);
        Ok(None)
    }

    /// Reads the phone behind a privacy id; `None` if the provider does not know it, as by default.
    ///
    /// # Errors
    ///
    /// As for [`contact`](Self::contact).
    async fn phone_of(&self, permit: Permit, lid: &ChatId) -> Result<Option<Phone>, Error> {
        let _ = (permit, lid);
        Ok(None)
    }

    /// Asks whether a number is on WhatsApp, and which id is to be written to; `None` if the provider cannot tell, as by default.
    ///
    /// # Errors
    ///
    /// As for [`contact`](Self::contact).
    async fn exists(&self, permit: Permit, phone: &Phone) -> Result<Option<Existence>, Error> {
        let _ = (permit, phone);
        Ok(None)
    }

    /// Reads one page of the privacy ids that the provider knows; an empty one by default.
    ///
    /// # Errors
    ///
    /// As for [`contact`](Self::contact).
    async fn lids(&self, permit: Permit, offset: usize, limit: usize) -> Result<LidPage, Error> {
        let _ = (permit, offset, limit);
        Ok(LidPage::default())
    }
}

#[async_trait]
impl<T: AddressBook + ?Sized> AddressBook for Arc<T> {
    fn instance(&self) -> &InstanceId {
        (**self).instance()
    }

    fn deadline(&self) -> Duration {
        (**self).deadline()
    }

    fn pace(&self) -> Pace {
        (**self).pace()
    }

    async fn permit(&self) -> Result<Permit, Error> {
        (**self).permit().await
    }

    async fn update(&self, permit: Permit, chat: &ChatId, name: &ContactName) -> Result<(), Error> {
        (**self).update(permit, chat, name).await
    }

    async fn contact(&self, permit: Permit, chat: &ChatId) -> Result<Option<Contact>, Error> {
        (**self).contact(permit, chat).await
    }

    async fn page(&self, permit: Permit, offset: usize, limit: usize) -> Result<Page, Error> {
        (**self).page(permit, offset, limit).await
    }

    async fn session(&self, permit: Permit) -> Result<Option<Session>, Error> {
        (**self).session(permit).await
    }

    async fn phone_of(&self, permit: Permit, lid: &ChatId) -> Result<Option<Phone>, Error> {
        (**self).phone_of(permit, lid).await
    }

    async fn exists(&self, permit: Permit, phone: &Phone) -> Result<Option<Existence>, Error> {
        (**self).exists(permit, phone).await
    }

    async fn lids(&self, permit: Permit, offset: usize, limit: usize) -> Result<LidPage, Error> {
        (**self).lids(permit, offset, limit).await
    }
}

/// The right to make one call now.
#[derive(Debug)]
#[must_use = "a permit is spent by the call that it is passed to"]
pub struct Permit(());

impl Permit {
    /// Grants a permit; for implementers of [`AddressBook`].
    pub fn grant() -> Self {
        Self(())
    }
}
