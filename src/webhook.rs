//! What the phone shows reaches the sync by itself: webhooks of four providers, in one set of words.
//!
//! Wawp, WAHA, Whapi.Cloud, ZapyAPI and Meta each tell of some changes of an address book, each in its own way and none of
//! all. This module is the pure half of a receiver: bytes and headers in, events out. It does no I/O, reads no clock and
//! knows no web framework.
//!
//! A receiver takes four steps, in this order:
//!
//! 1. [`Verifier::verify`] the raw bytes. Answer with [`VerifyError::status`] if that fails.
//! 2. Store the body ([`Verified::into_body`]), or [`parse`](Verified::parse) it and store the events. Only a verified body
//!    can be parsed.
//! 3. Answer 200, quickly: providers wait a few seconds, then send again.
//! 4. Work. [`SeenState`] turns a batch of [`Event`]s into what they say of each person, in any order.
//!
//! ```
//! use wawp_contacts::webhook::{AddressBookEvent, Verifier};
//!
//! // Once: one verifier for each URL. The header is one that the owner has set in Whapi's panel.
//! let verifier = Verifier::whapi_header("X-Whapi-Secret", ["a long random text"])?;
//!
//! // For each request: headers as pairs, or simply `&headers` with the `http` crate, and the body as it came.
//! let headers = [("content-type", "application/json"), ("x-whapi-secret", "a long random text")];
//! let body = br#"{"contacts": [{"id": "12025550142", "name": "Alex [Lead]"}],
//!                 "event": {"type": "contacts", "event": "post"}, "channel_id": "EXAMPL-AB12C"}"#;
//! for event in verifier.verify(headers, body)?.parse()? {
//!     if let AddressBookEvent::NameChanged { ids, name, .. } = event.what {
//!         assert_eq!(ids.chat().map(ToString::to_string).as_deref(), Some("12025550142@c.us"));
//!         assert_eq!(&*name.text, "Alex [Lead]");
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What each event means
//!
#![doc = include_str!("webhook/events.md")]
//!
//! # What can go wrong
//!
//! - **Not everything is told.** Wawp and WAHA have no event for a name that was edited on the phone: read the address book
//!   for those. Meta reports the phone's book and cannot write it.
//! - **Some things are told ambiguously**, and the types say so: Whapi and Meta report a new contact and an edited one alike
//!   ([`Change::NewOrEdited`]), ZapyAPI does not say who wrote a name ([`NameOrigin::Unknown`]) and what changed
//!   ([`Change::Snapshot`]), and a label that Whapi deletes goes by its id or its name ([`LabelRef::IdOrName`]).
//! - **Everything comes again**, late and in disorder. Where the provider gives an id, [`Event::key`] tells repeats apart.
//!   Where it gives none, do not drop what looks the same: a name that went from A to B and back is not a repeat.
//! - **Payloads change.** What is unknown or makes no sense is [`Ignored`](AddressBookEvent::Ignored) with a [`Reason`], and
//!   its neighbours are read all the same. Only a body that is no JSON is an error. The events of a body take memory in
//!   proportion to its size, and nothing in it makes the parser recurse.
//! - **A URL must answer a handshake** before Meta or ZapyAPI send anything: [`meta_challenge`], [`zapy_challenge`].

mod event;
mod handshake;
mod json;
mod meta;
mod seen;
mod sink;
mod time;
mod verify;
mod wawp;
mod whapi;
mod zapy;

pub use event::{
    Account, AddressBookEvent, Change, DedupeKey, Event, Ids, Label, LabelId, LabelRef, MetaUserId, NameOrigin,
    ProviderId, Reason, ShownName, ZapyContactId,
};
pub use handshake::{HandshakeError, meta_challenge, zapy_challenge};
pub use seen::{Latest, PersonId, SeenPerson, SeenState};
pub use verify::{Algorithm, HmacScheme, ParseError, SignedMessage, Verified, Verifier, VerifierError, VerifyError};

/// Who sends the webhooks, as far as their shape goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Provider {
    /// Whapi.Cloud.
    Whapi,
    /// ZapyAPI.
    Zapy,
    /// Meta, for numbers that are also used in the WhatsApp Business app.
    Meta,
    /// Wawp, and WAHA, which it is built on.
    Wawp,
}

impl Provider {
    fn parse(self, body: &[u8]) -> Result<Vec<Event>, ParseError> {
        let body = json::Node::parse(body)?;
        Ok(match self {
            Self::Whapi => whapi::parse(body),
            Self::Zapy => zapy::parse(body),
            Self::Meta => meta::parse(body),
            Self::Wawp => wawp::parse(body),
        })
    }
}
