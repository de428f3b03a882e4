//! Makes a WhatsApp address book say what the CRM says.

pub mod client;
pub mod contact;
pub mod crm;
mod error;
pub mod ledger;
#[cfg(feature = "testkit")]
pub mod testkit;
#[cfg(feature = "webhooks")]
pub mod webhook;

pub use client::AddressBook;
pub use contact::{ChatId, ContactName, InstanceId, Phone};
pub use error::{Class, Error, ErrorKind};
