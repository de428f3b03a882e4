//! Reads: what the address book shows, who is on WhatsApp, which privacy id is whose, and how the session is.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;

use super::{
    Client, Contact, Page,
    transport::{Answer, Call},
};
use crate::{
    ChatId, Error, ErrorKind, Phone,
    wire::{json::Json, read, request},
};

/// The most entries that the API gives on one page.
const PAGE: usize = 1_000;

/// Whether a number is on WhatsApp, and under which id.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Existence {
    /// Whether it is.
    pub exists: bool,
    /// The id to write to; at times a privacy id. The only authority on how a number is spelled.
    pub chat: Option<ChatId>,
    /// The phone behind the id, if the server tells.
    pub phone: Option<Phone>,
}

/// A privacy id and the phone behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LidMapping {
    /// The privacy id.
    pub lid: ChatId,
    /// The phone; `None` if the account does not know it.
    pub phone: Option<Phone>,
}

/// How the instance's session is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// Its status.
    pub status: SessionStatus,
    /// The account's own id, once it is logged in.
    pub me: Option<ChatId>,
    /// The account's own pushname.
    pub pushname: Option<String>,
}

/// The status of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionStatus {
    /// Stopped by its owner.
    Stopped,
    /// On its way up.
    Starting,
    /// Waits for a person to scan a QR code.
    ScanQrCode,
    /// Ready to be called.
    Working,
    /// Broken; it has to be restarted.
    Failed,
    /// A word that this version does not know.
    Unknown(String),
}

impl SessionStatus {
    fn from_word(word: &str) -> Self {
        match word.to_ascii_uppercase().as_str() {
            "STOPPED" => Self::Stopped,
            "STARTING" => Self::Starting,
            "SCAN_QR_CODE" => Self::ScanQrCode,
            "WORKING" => Self::Working,
            "FAILED" => Self::Failed,
            _ => Self::Unknown(word.to_owned()),
        }
    }
}

impl Client {
    /// Reads one contact; `None` if the address book does not know it.
    ///
    /// # Errors
    ///
    /// As for [`update_contact`](Self::update_contact), but never in doubt.
    pub async fn contact(&self, chat: &ChatId) -> Result<Option<Contact>, Error> {
        contact(&self.call(&self.contact_call(chat)).await?)
    }

    /// Reads the whole address book, ordered by id: saved contacts, chat partners and businesses, but no groups.
    ///
    /// A stream over pages of 1,000, each read with retries when it is needed. While the address book changes, an entry may come
    /// twice, or not at all. Ends after the first error.
    #[must_use]
    pub fn contacts(&self) -> Pages<Contact> {
        Pages::new(
            self,
            |client, offset| client.contacts_call(offset, PAGE),
            |answer| page(answer, PAGE).map(|page| (page.contacts, page.entries)),
        )
    }

    /// Asks whether a number is on WhatsApp, and under which id. The API allows this once per second and instance.
    ///
    /// # Errors
    ///
    /// As for [`contact`](Self::contact).
    pub async fn check_exists(&self, phone: &Phone) -> Result<Existence, Error> {
        let route = "/v2/contacts/check-exists";
        let answer = self.call(&self.0.transport.get(route, route, &[("phone", phone.as_str())])).await?;
        let json = answer.json();
        let exists = json.get("numberExists").and_then(Json::truth).ok_or_else(odd)?;
        Ok(Existence { exists, chat: read::chat(&json, &["chatId"]), phone: read::phone(&json, &["pn", "chatId"]) })
    }

    /// Reads which privacy id belongs to which phone, as far as the account knows: a stream like [`contacts`](Self::contacts).
    #[must_use]
    pub fn lids(&self) -> Pages<LidMapping> {
        Pages::new(
            self,
            |client, offset| client.lids_call(offset),
            |answer| {
                let json = answer.json();
                let entries = read::entries(&json).ok_or_else(odd)?;
                Ok((entries.iter().filter_map(mapping).collect(), entries.len()))
            },
        )
    }

    /// Reads which phone is behind a privacy id, or which privacy id a phone has; `None` if the account does not know.
    ///
    /// # Errors
    ///
    /// As for [`contact`](Self::contact).
    pub async fn lid(&self, chat: &ChatId) -> Result<Option<LidMapping>, Error> {
        let (route, path) = match chat.phone() {
            Some(phone) => ("/v2/lids/pn/{number}", format!("/v2/lids/pn/{}", phone.as_str())),
            None => ("/v2/lids/{lid}", format!("/v2/lids/{}", request::path_segment(chat))),
        };
        let answer = self.call(&self.0.transport.get(route, &path, &[])).await?;
        Ok(mapping(&answer.json()))
    }

    /// Counts the privacy ids that the account knows.
    ///
    /// # Errors
    ///
    /// As for [`contact`](Self::contact).
    pub async fn lid_count(&self) -> Result<u64, Error> {
        let route = "/v2/lids/count";
        let answer = self.call(&self.0.transport.get(route, route, &[])).await?;
        let json = answer.json();
        json.whole().or_else(|| json.get("count").and_then(Json::whole)).ok_or_else(odd)
    }

    /// Reads how the instance's session is.
    ///
    /// Asks by POST, as Wawp's page says, and by GET, as its own client does, where the server does not take that.
    ///
    /// # Errors
    ///
    /// As for [`contact`](Self::contact).
    pub async fn session(&self) -> Result<Session, Error> {
        let (route, transport) = ("/v2/session/info", &self.0.transport);
        let answer = match self.call(&transport.ask(route)).await {
            Err(error) if error.kind() == ErrorKind::Route => self.call(&transport.get(route, route, &[])).await?,
            other => other?,
        };
        let json = answer.json();
        let status = json.get("status").and_then(Json::text).ok_or_else(odd)?;
        let me = json.get("me").unwrap_or(&Json::Null);
        let pushname = me.any(&["pushName", "pushname"]).and_then(Json::text).map(Into::into);
        Ok(Session { status: SessionStatus::from_word(&status), me: read::chat(me, &["id"]), pushname })
    }

    pub(super) fn contact_call(&self, chat: &ChatId) -> Call {
        let route = "/v2/contacts";
        self.0.transport.get(route, route, &[("contactId", chat.as_str())])
    }

    pub(super) fn contacts_call(&self, offset: usize, limit: usize) -> Call {
        let route = "/v2/contacts/all";
        let (limit, offset) = (limit.to_string(), offset.to_string());
        let fields = [("limit", &*limit), ("offset", &*offset), ("sortBy", "id"), ("sortOrder", "ASC")];
        self.0.transport.get(route, route, &fields).with_large_answer()
    }

    fn lids_call(&self, offset: usize) -> Call {
        let route = "/v2/lids";
        let (limit, offset) = (PAGE.to_string(), offset.to_string());
        self.0.transport.get(route, route, &[("limit", &*limit), ("offset", &*offset)]).with_large_answer()
    }
}

/// A success that does not hold what was asked for.
fn odd() -> Error {
    Error::new(ErrorKind::Decode).without_doubt()
}

/// A contact, or nothing where the server says `null` or gives no person.
pub(super) fn contact(answer: &Answer) -> Result<Option<Contact>, Error> {
    match answer.json() {
        json @ (Json::Null | Json::Object(_)) => Ok(read::contact(&json).map(Into::into)),
        _ => Err(odd()),
    }
}

/// A page of contacts; entries that are no person, or that cannot be read, count but are left out.
pub(super) fn page(answer: &Answer, limit: usize) -> Result<Page, Error> {
    let json = answer.json();
    let entries = read::entries(&json).ok_or_else(odd)?;
    if entries.len() > limit {
        // A server that ignores the limit ignores the offset too, and would give the same page for ever.
        return Err(odd().with_hint("the server gives more entries than were asked for"));
    }
    Ok(Page { contacts: entries.iter().filter_map(read::contact).map(Into::into).collect(), entries: entries.len() })
}

fn mapping(json: &Json<'_>) -> Option<LidMapping> {
    let lid = read::chat(json, &["lid"]).filter(ChatId::is_lid)?;
    Some(LidMapping { lid, phone: read::phone(json, &["pn", "number"]) })
}

impl From<read::Item> for Contact {
    fn from(item: read::Item) -> Self {
        Self { name: item.name, pushname: item.pushname, ..Self::new(item.chat) }
    }
}

type Reading = Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send>>;

/// A stream over a listing, page by page until a short page.
#[must_use = "a stream reads nothing until it is polled"]
pub struct Pages<T> {
    client: Client,
    request: fn(&Client, usize) -> Call,
    items: fn(&Answer) -> Result<(Vec<T>, usize), Error>,
    offset: usize,
    /// The last full page, to notice a server that gives the same one for ever.
    last: Bytes,
    state: State<T>,
}

enum State<T> {
    Idle,
    Reading(Reading),
    Giving { items: VecDeque<T>, is_last: bool },
    Done,
}

impl<T> Pages<T> {
    fn new(
        client: &Client,
        request: fn(&Client, usize) -> Call,
        items: fn(&Answer) -> Result<(Vec<T>, usize), Error>,
    ) -> Self {
        Self { client: client.clone(), request, items, offset: 0, last: Bytes::new(), state: State::Idle }
    }

    fn read(&self) -> Reading {
        let (client, call) = (self.client.clone(), (self.request)(&self.client, self.offset));
        Box::pin(async move { client.call(&call).await })
    }

    fn take(&mut self, answer: Result<Answer, Error>) -> Result<State<T>, Error> {
        let answer = answer?;
        let (items, entries) = (self.items)(&answer)?;
        let is_last = entries < PAGE;
        if !is_last && answer.body == self.last {
            return Err(odd().with_hint("the server gives the same page again and again"));
        }
        self.offset += entries;
        self.last = answer.body;
        Ok(State::Giving { items: items.into(), is_last })
    }
}

// Nothing in it is pinned in place: what is read is boxed.
impl<T> Unpin for Pages<T> {}

impl<T> Stream for Pages<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &mut self.state {
                State::Idle => self.state = State::Reading(self.read()),
                State::Reading(reading) => {
                    let answer = ready!(reading.as_mut().poll(cx));
                    match self.take(answer) {
                        Ok(state) => self.state = state,
                        Err(error) => {
                            self.state = State::Done;
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                }
                State::Giving { items, is_last } => match (items.pop_front(), *is_last) {
                    (Some(item), _) => return Poll::Ready(Some(Ok(item))),
                    (None, true) => self.state = State::Done,
                    (None, false) => self.state = State::Idle,
                },
                State::Done => return Poll::Ready(None),
            }
        }
    }
}

impl<T> fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("offset", &self.offset).finish_non_exhaustive()
    }
}
