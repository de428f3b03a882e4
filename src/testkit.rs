//! What the tests of an integration need.

#[cfg(feature = "webhooks")]
pub mod signing;
