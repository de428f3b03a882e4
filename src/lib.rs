//! Makes a WhatsApp address book say what the CRM says.
//!
//! Three things are in here, usable apart. The **client** makes one call, done right: [`Client::update_contact`] saves the name of a
//! chat through [Wawp](https://wawp.net)'s API. The **sync** makes a whole address book follow a CRM: [`ContactSync::run`] takes the
//! CRM's rows, compares them with what a ledger remembers, and pushes what changed. The **webhooks** (feature `webhooks`) tell what
//! the phone shows: verified, and understood as one set of events for every provider.
//!
//! # Words
//!
//! An **instance** is one WhatsApp account connected to Wawp. A **chat id** names a person in it. What the CRM wants a contact to
//! be called is **wanted**; what the API last acknowledged is **sent**; what the phone or a read last reported is **seen**. A
//! **record** is everything that is known of one contact; a **ledger** keeps the records. A contact is in sync, **due**, **held** until
//! something comes by itself, or **parked** when only a person or a new wish helps. A **gate** closes an instance that may not be
//! written now; its contacts stay due. A **lane** is one of the three writers of a record: the CRM, observers, and the pusher.
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
//! The client speaks to Wawp, or to the stand-in server of the `testkit`.
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
//! | floor | modules | hold |
//! |---|---|---|
//! | 5 | `testkit` (feature `testkit`) | the stand-in server, contract suites, the simulator |
//! | 4 | [`sync`] | take in, look, weigh, push, report |
//! | 3 | [`ledger`] | the durable store of records: the trait, memory, SQLite |
//! | 2 | [`client`], [`record`], `webhook` (feature `webhooks`) | Wawp behind [`AddressBook`]; a contact and what is decided about it; providers' events |
//! | 1 | [`book`], [`naming`], [`retry`], [`pace`], [`redact`], [`crm`] | the address book as a trait; how often, and what no log may say; pure values; rows of the CRM |
//! | 0 | [`contact`], [`Error`], [`time`] | checked values; the one error; the one clock |

pub mod book;
pub mod client;
pub mod contact;
pub mod crm;
mod error;
mod iso8601;
mod json;
pub mod ledger;
pub mod naming;
pub mod pace;
pub mod record;
pub mod redact;
pub mod retry;
pub mod sync;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod time;
#[cfg(feature = "webhooks")]
pub mod webhook;
mod wire;

pub use book::AddressBook;
pub use client::{Client, ClientBuilder, Credentials, Route};
pub use contact::{ChatId, ContactName, InstanceId, Phone};
#[cfg(feature = "phone")]
pub use contact::{ParseRegionError, Region};
pub use error::{Error, ErrorClass, ErrorKind};
pub use pace::Pace;
pub use retry::RetryPolicy;
pub use sync::ContactSync;

/// The README's examples are tests too.
#[cfg(all(doctest, feature = "testkit"))]
#[doc = include_str!("../README.md")]
struct Readme;
