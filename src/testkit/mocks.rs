//! Matchers for a plain [`wiremock::MockServer`], for tests that need no address book.
//!
//! Nothing in here is called as something in `wiremock` or `wiremock::matchers`, so all of them can be imported together.
//!
//! They know both routes of an update and all four places of a token, so a test says what it means and keeps working when the
//! client is set up another way. Combine them with [`Answer`](super::Answer), which a mock takes as a response:
//!
//! ```
//! use wawp_contacts::testkit::{Answer, mocks};
//! use wiremock::{Mock, MockServer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = MockServer::start().await;
//! Mock::given(mocks::update_contact())
//!     .and(mocks::for_chat(&"15551234567@c.us".parse()?))
//!     .respond_with(Answer::quota_reached())
//!     .mount(&server)
//!     .await;
//! # Ok(())
//! # }
//! ```

use wiremock::{Match, Request};

use super::request::{Incoming, Route};
use crate::{ChatId, ContactName, InstanceId};

/// Matches an update of a contact's name, on either route.
#[must_use = "a matcher does nothing until it is given to a mock"]
pub fn update_contact() -> impl Match {
    matching(|_| true)
}

/// Matches an update of one chat.
#[must_use = "a matcher does nothing until it is given to a mock"]
pub fn for_chat(chat: &ChatId) -> impl Match + use<> {
    let chat = chat.clone();
    matching(move |request| request.chat() == Some(chat.as_str()))
}

/// Matches an update that sets exactly this name: without a last name the field has to be left out.
#[must_use = "a matcher does nothing until it is given to a mock"]
pub fn with_name(name: &ContactName) -> impl Match + use<> {
    let name = name.clone();
    matching(move |request| request.text("firstName") == Some(name.first()) && request.text("lastName") == name.last())
}

/// Matches an update for one instance, in whichever of the four styles it is named.
#[must_use = "a matcher does nothing until it is given to a mock"]
pub fn for_instance(instance: &InstanceId) -> impl Match + use<> {
    let instance = instance.clone();
    matching(move |request| request.instance() == Some(instance.as_str()))
}

/// Matches an update with this access token, in whichever of the four styles it is carried.
#[must_use = "a matcher does nothing until it is given to a mock"]
pub fn with_token(token: &str) -> impl Match + use<> {
    let token = token.to_owned();
    matching(move |request| request.token() == Some(token.as_str()))
}

fn matching(holds: impl Fn(&Incoming) -> bool + Send + Sync) -> impl Match {
    move |request: &Request| match Incoming::read(request) {
        Ok(request) => matches!(request.route, Route::Update { .. }) && holds(&request),
        Err(_) => false,
    }
}
