//! A stand-in Wawp server, to test an integration without an account, a phone or a network.
//!
//! A name in somebody's address book is a bad place to try things out, and a real account does not lose an answer, log out or
//! run into its quota when a test wants it to. [`WawpServer`] does. It speaks the real API over real HTTP on a loopback port and
//! keeps an address book in memory, so the code under test runs as it will run for real, retries and all.
//!
//! ```
//! use wawp_contacts::{ChatId, ContactName, testkit::WawpServer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = WawpServer::start().await;
//! let bob: ChatId = "15551234567@c.us".parse()?;
//! server.on_update(&bob).drop_answer().once();
//!
//! server.client().update_contact(&bob, &ContactName::new("Bob", "[Lead]")?).await?;
//!
//! server.assert_contact(&bob, "Bob [Lead]");
//! assert_eq!(server.calls().len(), 2, "a call whose answer was lost is made again");
//! # Ok(())
//! # }
//! ```
//!
//! # What it takes
//!
//! Both routes of an update, all four places of the credentials, and the reads that a sync needs. It is as strict as Wawp and the
//! engines under it are known to be, and where they differ it takes the strict side: a missing chat is refused, so are groups, an
//! unknown instance, another instance's token and a phone with symbols in it; an empty last name is a server error; a last name
//! that is left out is erased. What it answers keeps to the API's document in `openapi/`; a test holds it
//! to that.
//!
//! # How it fails
//!
//! - For **some updates**: [`on_update`](WawpServer::on_update) and [`on_any_update`](WawpServer::on_any_update) begin a sentence
//!   that goes on with a verb of [`When`] (`status`, `answer`, `drop_answer`, `drop_request`, `delay`) and may end with a bound of
//!   [`Rule`] (`times`, `once`, `every`). [`Answer`] has the shapes that Wawp is known to send.
//! - For the **whole instance**: [`log_out`](WawpServer::log_out), [`revoke_token`](WawpServer::revoke_token),
//!   [`unlink`](WawpServer::unlink), [`rate_limit`](WawpServer::rate_limit). They are checked before any rule and use none up.
//! - For **its reads**: [`refuse_reads`](WawpServer::refuse_reads), with [`Answer::not_implemented`] for an engine whose store of
//!   contacts is off.
//!
//! # What is odd about the real one
//!
//! - An answer without a body: [`Answer::empty`], with [`Rule::applied`] if the name is to be saved. A proxy that is busy:
//!   [`Answer::unavailable`].
//! - Another phone is linked to the same instance: [`relink_as`](WawpServer::relink_as). The session tells whose it is.
//! - A person is asked for by phone and answered under a privacy id, or under the other spelling of the number:
//!   [`answer_as`](WawpServer::answer_as).
//! - One person is listed twice: [`Entry::listed_also_as`].
//! - It knows one route or one credential style only: [`take_only_route`](WawpServer::take_only_route),
//!   [`take_only_credentials`](WawpServer::take_only_credentials). Its clock is wrong, or a proxy is in front of it:
//!   [`add_header`](WawpServer::add_header).
//!
//! # Expectations
//!
//! A rule bounded by `times` or `once` is also an expectation: if fewer updates come, dropping the server panics and shows what
//! came. So does [`assert_contact`](WawpServer::assert_contact). These messages hold names and chats, never a token.
//!
//! # What it is not
//!
//! - A measure of speed. It answers about a thousand updates per second in a debug build and keeps a few KiB of each request
//!   until it is dropped; 20,000 updates are fine, a million are not.
//! - A phone. A privacy id and the number behind it are two entries, as they are for an engine that does not know the mapping.
//! - All of Wawp. For another endpoint, or for an answer that is not in here, mount the [`mocks`] and [`Answer`]s on a plain
//!   [`wiremock::MockServer`].

mod account;
mod answer;
mod book;
mod desk;
pub mod mocks;
mod request;
mod rule;
#[cfg(feature = "webhooks")]
pub mod signing;
pub mod sim;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use secrecy::SecretString;
use wiremock::MockServer;

use self::{account::Account, desk::Desk};
pub use self::{
    account::Call,
    answer::Answer,
    book::Entry,
    rule::{Rule, When},
};
use crate::{ChatId, Client, Credentials, InstanceId, Pace, Phone, RetryPolicy, Route, book::Contact};

/// A Wawp server in this process, with an address book in memory.
///
/// It listens on a free port of the loopback address until it is dropped. Each value is one **instance** of it;
/// [`another_instance`](Self::another_instance) adds one behind the same address.
pub struct WawpServer {
    http: Arc<MockServer>,
    desk: Arc<Desk>,
    instance: InstanceId,
    token: Box<str>,
}

impl WawpServer {
    /// Starts a server with one instance, `stand-in`, that is linked and working, and has an empty address book.
    ///
    /// # Panics
    ///
    /// Panics if no port of the loopback address can be had.
    pub async fn start() -> Self {
        match "stand-in".parse() {
            Ok(instance) => Self::start_as(instance).await,
            Err(error) => unreachable!("{error}"),
        }
    }

    /// Starts a server whose instance has this id.
    ///
    /// # Panics
    ///
    /// Panics if no port of the loopback address can be had.
    pub async fn start_as(instance: InstanceId) -> Self {
        let http = MockServer::builder().disable_request_recording().start().await;
        let desk = Desk::new();
        desk.open(&http).await;
        Self::join(Arc::new(http), desk, instance)
    }

    /// Adds an instance to the same server, with its own token, address book, rules and log.
    ///
    /// # Panics
    ///
    /// Panics if the server has an instance of this id already.
    #[must_use = "the instance's address book and log are reached through the value"]
    pub fn another_instance(&self, instance: InstanceId) -> Self {
        assert!(self.desk.account(&instance, |_| ()).is_none(), "the server has an instance {instance} already");
        Self::join(Arc::clone(&self.http), Arc::clone(&self.desk), instance)
    }

    fn join(http: Arc<MockServer>, desk: Arc<Desk>, instance: InstanceId) -> Self {
        let token: Box<str> = format!("token-of-{instance}").into();
        desk.add(&instance, SecretString::from(token.clone()));
        Self { http, desk, instance, token }
    }

    /// The base URL to point a client at, such as `http://127.0.0.1:49152`.
    #[must_use]
    pub fn url(&self) -> String {
        self.http.uri()
    }

    /// The instance.
    #[must_use]
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// The access token that the instance takes; it opens nothing but this server.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A client of the instance: without a pace, and with retries that follow within milliseconds.
    ///
    /// # Panics
    ///
    /// Panics if the HTTP client cannot be set up, for instance for want of the platform's certificates.
    #[must_use]
    pub fn client(&self) -> Client {
        let retry = RetryPolicy::default().backing_off(Duration::from_millis(1), Duration::from_millis(5));
        let builder = Client::builder(self.instance.clone(), SecretString::from(self.token.clone()));
        let client = builder.base_url(self.url()).pace(Pace::unlimited()).retry(retry).build();
        client.unwrap_or_else(|error| panic!("no client for the stand-in server: {error}"))
    }

    /// Puts entries into the address book as if they had always been there.
    pub fn seed(&self, entries: impl IntoIterator<Item = Entry>) {
        // Collected first: an iterator may ask this very server for something, which would wait for its own lock.
        let entries: Vec<_> = entries.into_iter().collect();
        self.account(|account| account.book.extend(entries));
    }

    /// Renames a contact as a person would on the phone: no call is logged.
    pub fn rename_on_phone(&self, chat: &ChatId, name: impl fmt::Display) {
        let name = name.to_string();
        self.account(|account| account.book.rename(chat, Some(name)));
    }

    /// Deletes a contact as a person would on the phone.
    pub fn delete_on_phone(&self, chat: &ChatId) {
        self.account(|account| account.book.remove(chat));
    }

    /// Answers reads of one contact under another id of the person, such as a privacy id.
    pub fn answer_as(&self, chat: &ChatId, id: &ChatId) {
        self.account(|account| account.book.answer_as(chat, id));
    }

    /// Tells the server which phone is behind a privacy id, or that it does not know.
    pub fn map_lid(&self, lid: &ChatId, phone: Option<&Phone>) {
        self.account(|account| account.book.map_lid(lid, phone));
    }

    /// Tells the server which chat a number leads to, or that it leads to none; unless told, it leads to its own digits.
    pub fn register(&self, phone: &Phone, chat: Option<&ChatId>) {
        self.account(|account| account.book.register(phone, chat));
    }

    /// What the address book says of a contact now.
    #[must_use]
    pub fn contact(&self, chat: &ChatId) -> Option<Contact> {
        self.account(|account| account.book.contact(chat))
    }

    /// The updates that arrived, in order of arrival, whatever was answered.
    ///
    /// The log is not bounded; [`forget_calls`](Self::forget_calls) empties it.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.account(|account| account.calls.clone())
    }

    /// The updates of one chat that arrived, in order of arrival.
    #[must_use]
    pub fn calls_for(&self, chat: &ChatId) -> Vec<Call> {
        self.account(|account| account.calls.iter().filter(|call| call.chat == chat.as_str()).cloned().collect())
    }

    /// How many reads arrived, whatever was answered.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.account(|account| account.reads)
    }

    /// Forgets the updates and reads that arrived so far, so that a test can look at what comes next.
    pub fn forget_calls(&self) {
        self.account(|account| {
            account.calls.clear();
            account.reads = 0;
        });
    }

    /// Says what to do with updates of one chat.
    pub fn on_update(&self, chat: &ChatId) -> When<'_> {
        When::new(self, Some(chat.clone()))
    }

    /// Says what to do with updates of any chat.
    pub fn on_any_update(&self) -> When<'_> {
        When::new(self, None)
    }

    /// Lets through at most this many updates within any second, and answers the others 429 with `Retry-After: 1`.
    pub fn rate_limit(&self, per_second: u32) {
        self.account(|account| account.limit = Some(per_second));
    }

    /// Logs the account out: the session waits for a QR scan, updates and reads of the book are answered 422.
    pub fn log_out(&self) {
        self.set_session("SCAN_QR_CODE");
    }

    /// Logs the account in again: the session works.
    pub fn log_in(&self) {
        self.set_session("WORKING");
    }

    /// Links another phone to the instance: from now on the session is that of this account. The book stays as it is, because an
    /// engine may show the old one for a while; seed the new one.
    pub fn relink_as(&self, me: &ChatId) {
        self.account(|account| account.me = me.clone());
    }

    /// Gives this answer to every read from now on, but for those of the session; updates go on.
    pub fn refuse_reads(&self, answer: impl Into<Answer>) {
        let answer = answer.into();
        self.account(|account| account.reads_refused = Some(answer));
    }

    /// Answers reads again.
    pub fn allow_reads(&self) {
        self.account(|account| account.reads_refused = None);
    }

    /// Puts the session into any state, such as `STARTING`; with all but `WORKING` the book is out of reach.
    pub fn set_session(&self, status: &str) {
        self.account(|account| status.clone_into(&mut account.status));
    }

    /// Knows this route of updates only, for all instances: on the other, whatever is sent is answered 404.
    pub fn take_only_route(&self, route: Route) {
        self.desk.take_only_route(route);
    }

    /// Takes instance and token in this style only, for all instances; in any other place they are not found, and the answer is 401.
    pub fn take_only_credentials(&self, style: Credentials) {
        self.desk.take_only_credentials(style);
    }

    /// Adds a header to every answer: a `Date` of another clock, the mark of a proxy.
    pub fn add_header(&self, name: &str, value: impl Into<String>) {
        self.desk.add_header(name, value.into());
    }

    /// Refuses the token from now on: 401.
    pub fn revoke_token(&self) {
        self.desk.revoke(&self.instance, true);
    }

    /// Takes the token again.
    pub fn restore_token(&self) {
        self.desk.revoke(&self.instance, false);
    }

    /// Unlinks the instance: everything is answered 404 `invalid_session`.
    pub fn unlink(&self) {
        self.account(|account| account.linked = false);
    }

    /// Links the instance again, with its address book as it was.
    pub fn link(&self) {
        self.account(|account| account.linked = true);
    }

    /// Checks what the address book shows for a contact, by its full name.
    ///
    /// # Panics
    ///
    /// Panics if it shows something else, and says what, and which updates of the contact arrived.
    #[track_caller]
    pub fn assert_contact(&self, chat: &ChatId, name: &str) {
        let contact = self.contact(chat);
        let shown = contact.as_ref().and_then(|contact| contact.name.as_deref());
        assert!(
            shown == Some(name),
            "the address book shows another name for {chat}\n  expected: {name:?}\n  shown:    {shown:?}\n{}",
            arrived(&self.calls_for(chat)),
        );
    }

    fn account<T>(&self, work: impl FnOnce(&mut Account) -> T) -> T {
        match self.desk.account(&self.instance, work) {
            Some(result) => result,
            None => unreachable!("an instance is added when its value is made, and never taken away"),
        }
    }
}

impl fmt::Debug for WawpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WawpServer").field("url", &self.url()).field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl Drop for WawpServer {
    fn drop(&mut self) {
        let unmet = self.account(|account| account.rules.unmet());
        assert!(
            unmet.is_empty() || thread::panicking(),
            "instance {} did not get the updates that it was told to expect:\n{}\n{}",
            self.instance,
            unmet.join("\n"),
            arrived(&self.calls()),
        );
    }
}

/// The last updates, one line each.
fn arrived(calls: &[Call]) -> String {
    const LAST: usize = 10;
    let skipped = calls.len().saturating_sub(LAST);
    let numbered = calls.iter().enumerate().skip(skipped);
    let lines: Vec<_> = numbered.map(|(at, call)| format!("  {}. {call}", at + 1)).collect();
    match calls.len() {
        0 => "no updates arrived".to_owned(),
        all => format!("updates that arrived, the last {} of {all}:\n{}", lines.len(), lines.join("\n")),
    }
}

/// A test that panicked elsewhere has said what went wrong; a poisoned lock would only hide it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
