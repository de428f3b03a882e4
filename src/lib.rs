//! Makes a WhatsApp address book say what the CRM says.
//!
//! Two things are in here, usable apart. The **client** makes one call, done right: [`Client::update_contact`] saves the name of a
//! chat through [Wawp](https://wawp.net)'s API. The **sync** makes a whole address book follow a CRM: [`Sync::run`] takes the CRM's
//! rows, compares them with what a ledger remembers, and pushes what changed.
//!
//! # Words
//!
//! An **instance** is one WhatsApp account connected to Wawp. A **chat id** names a person in it. What the CRM wants a contact to
//! be called is **wanted**; what the API last acknowledged is **sent**; what the phone or a read last reported is **seen**. A
//! **ledger** remembers the three for each contact. A contact is **parked** when only a person or a new wish helps. A **gate** closes
//! an instance that may not be written now; its contacts stay due.
//!
//! # A tour
//!
//! A number as people write it becomes a [`ChatId`]; what is no person is refused by name.
//!
//! ```
//! use wawp_contacts::ChatId;
//!
//! let chat: ChatId = "+1 (202) 555-0142".parse()?;
//! assert_eq!(chat.as_str(), "12025550142@c.us");
//! assert!("120363000000000000@g.us".parse::<ChatId>().is_err(), "a group");
//! # Ok::<(), wawp_contacts::contact::ParseChatIdError>(())
//! ```
//!
//! A stage of the funnel becomes a tag. The tag is data, not text surgery, so a new one replaces the old.
//!
//! ```
//! use wawp_contacts::naming::{Funnel, Naming};
//!
//! let naming = Naming::new("Lead, Customer, Evangelist=VIP".parse::<Funnel>()?);
//! assert_eq!(naming.render("Bob", "Miller", Some("Lead"))?.name.full(), "Bob Miller [Lead]");
//! assert_eq!(naming.render("Bob", "Miller [Lead]", Some("Customer"))?.name.full(), "Bob Miller [Customer]");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The client speaks to Wawp, or to the stand-in server of the [`testkit`].
//!
//! ```
//! # #[cfg(feature = "testkit")]
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! use wawp_contacts::{ChatId, ContactName, testkit::WawpServer};
//!
//! let server = WawpServer::start().await;
//! let chat: ChatId = "12025550142@c.us".parse()?;
//! server.client().update_contact(&chat, &ContactName::new("Bob", "Miller [Lead]")?).await?;
//! server.assert_contact(&chat, "Bob Miller [Lead]");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The [`sync`] puts it together, with rows from a [CRM source](crm) and a [`ledger`].
//!
//! # The house
//!
//! Each module uses only the floors below its own; a test holds that.
//!
//! | floor | modules |
//! |---|---|
//! | 4 | [`testkit`] |
//! | 3 | [`sync`] |
//! | 2 | [`client`], [`ledger`], `webhook` (feature `webhooks`) |
//! | 1 | [`naming`], [`retry`], [`pace`], [`crm`] |
//! | 0 | [`contact`], [`Error`] |

pub mod client;
pub mod contact;
pub mod crm;
mod error;
mod iso8601;
pub mod ledger;
pub mod naming;
pub mod pace;
pub mod retry;
pub mod sync;
#[cfg(feature = "testkit")]
pub mod testkit;
#[cfg(feature = "webhooks")]
pub mod webhook;
mod wire;

pub use client::{AddressBook, Client, ClientBuilder, Credentials, Route};
pub use contact::{ChatId, ContactName, InstanceId, Phone};
#[cfg(feature = "phone")]
pub use contact::{ParseRegionError, Region};
pub use error::{Class, Error, ErrorKind};
pub use pace::Pace;
pub use retry::RetryPolicy;
pub use sync::Sync;

/// The README's examples are tests too.
#[cfg(all(doctest, feature = "testkit"))]
#[doc = include_str!("../README.md")]
struct Readme;
