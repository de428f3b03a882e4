//! Makes a WhatsApp address book say what the CRM says.

pub mod client;
pub mod contact;
pub mod crm;
mod error;
pub mod ledger;
pub mod naming;
pub mod retry;
pub mod sync;
#[cfg(feature = "testkit")]
pub mod testkit;
#[cfg(feature = "webhooks")]
pub mod webhook;

pub use client::AddressBook;
pub use contact::{ChatId, ContactName, InstanceId, Phone};
#[cfg(feature = "phone")]
pub use contact::{ParseRegionError, Region};
pub use error::{Class, Error, ErrorKind};
pub use retry::RetryPolicy;
pub use sync::Sync;
