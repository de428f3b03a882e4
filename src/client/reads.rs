use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use futures_core::Stream;
use reqwest::Method;

use super::{
    Client, Contact, Page,
    pages::{Batch, Pages},
};
use crate::{
    ChatId, Error, ErrorKind, Phone,
    wire::{
        json::{Json, Misread},
        read,
    },
};

/// The most entries that the server puts on one page.
pub(super) const LIMIT: usize = 1000;

/// Whether a number is on WhatsApp.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Existence {
    /// Whether it is.
    pub exists: bool,
    /// The chat to write to, if the server says it; may be a privacy id, and may have other digits than were asked for.
    pub chat: Option<ChatId>,
    /// The number as the server has it, if it says so.
    pub phone: Option<Phone>,
}

/// A privacy id and the phone behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LidMapping {
    /// The privacy id.
    pub lid: ChatId,
    /// The phone, if the server knows it.
    pub phone: Option<Phone>,
}

/// The state of an instance's session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// Whether it works, and what it waits for if it does not.
    pub status: SessionStatus,
    /// The account's own chat, once it is linked.
    pub me: Option<ChatId>,
    /// The account's own pushname.
    pub pushname: Option<String>,
}

/// What a session is doing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SessionStatus {
    /// Switched off (`STOPPED`).
    Stopped,
    /// Starting up (`STARTING`).
    Starting,
    /// Waiting for a person to scan a QR code (`SCAN_QR_CODE`).
    ScanQrCode,
    /// Waiting for a person to confirm with a passkey (`PASSKEY_REQUIRED`).
    PasskeyRequired,
    /// Working (`WORKING`): only now names can be written.
    Working,
    /// Broken down (`FAILED`).
    Failed,
    /// Something newer than this crate.
    Unknown(String),
}

impl From<String> for SessionStatus {
    fn from(status: String) -> Self {
        match status.as_str() {
            "STOPPED" => Self::Stopped,
            "STARTING" => Self::Starting,
            "SCAN_QR_CODE" => Self::ScanQrCode,
            "PASSKEY_REQUIRED" => Self::PasskeyRequired,
            "WORKING" => Self::Working,
            "FAILED" => Self::Failed,
            _ => Self::Unknown(status),
        }
    }
}

impl fmt::Display for SessionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "STOPPED",
            Self::Starting => "STARTING",
            Self::ScanQrCode => "SCAN_QR_CODE",
            Self::PasskeyRequired => "PASSKEY_REQUIRED",
            Self::Working => "WORKING",
            Self::Failed => "FAILED",
            Self::Unknown(status) => status,
        })
    }
}

/// Reads; each waits for the instance's pace and retries as the policy says, and none is ever in doubt.
impl Client {
    /// Reads one contact; `None` if the address book does not know it.
    ///
    /// The server answers for unregistered numbers too: use [`check_exists`](Self::check_exists) to tell them apart.
    ///
    /// # Errors
    ///
    /// [`Error::class`] says what to do.
    pub async fn contact(&self, chat: &ChatId) -> Result<Option<Contact>, Error> {
        self.call(&self.0.transport.contact(chat), contact).await
    }

    /// Reads the whole address book, page by page, ordered by id where the server can.
    ///
    /// Groups and other things that are no person are left out, and so are entries that cannot be made out. Where the address
    /// book changes meanwhile, a contact may come twice, or be missed until the next time. After an error the stream ends.
    ///
    /// ```no_run
    /// use futures_util::StreamExt;
    ///
    /// # async fn example(client: wawp_contacts::Client) -> Result<(), wawp_contacts::Error> {
    /// let mut contacts = client.contacts();
    /// while let Some(contact) = contacts.next().await {
    ///     let contact = contact?;
    ///     println!("{} is called {:?}", contact.chat, contact.name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn contacts(&self) -> impl Stream<Item = Result<Contact, Error>> + Send + Unpin + use<> {
        Pages::new(self.clone(), LIMIT, |client, offset| {
            Box::pin(async move { client.call(&client.0.transport.contacts(offset, LIMIT), contacts_batch).await })
        })
    }

    /// Asks whether a number is on WhatsApp, and what to write to.
    ///
    /// The server allows one such question a second and instance: with a faster [`Pace`](crate::Pace) space them out yourself.
    ///
    /// # Errors
    ///
    /// [`Error::class`] says what to do.
    pub async fn check_exists(&self, phone: &Phone) -> Result<Existence, Error> {
        self.call(&self.0.transport.check_exists(phone), existence).await
    }

    /// Reads all privacy ids that the server knows, page by page, with the phones behind them.
    ///
    /// After an error the stream ends.
    pub fn lids(&self) -> impl Stream<Item = Result<LidMapping, Error>> + Send + Unpin + use<> {
        Pages::new(self.clone(), LIMIT, |client, offset| {
            Box::pin(async move { client.call(&client.0.transport.lids(offset, LIMIT), lids_batch).await })
        })
    }

    /// Reads the phone behind a privacy id; `None` if the server does not know it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Rejected`] without a call if `lid` is no privacy id; else [`Error::class`] says what to do.
    pub async fn lid(&self, lid: &ChatId) -> Result<Option<Phone>, Error> {
        if !lid.is_lid() {
            return Err(Error::new(ErrorKind::Rejected)
                .after(0)
                .with_hint("this chat id is a phone, not a privacy id"));
        }
        self.call(&self.0.transport.phone_of(lid), read::phone_of_lid).await
    }

    /// Reads the privacy id of a phone; `None` if the server does not know one.
    ///
    /// # Errors
    ///
    /// [`Error::class`] says what to do.
    pub async fn lid_of(&self, phone: &Phone) -> Result<Option<ChatId>, Error> {
        self.call(&self.0.transport.lid_of(phone), read::lid_of_phone).await
    }

    /// Reads the state of the instance's session.
    ///
    /// Asks by POST, as the API's page has it, and by GET where the server does not know that.
    ///
    /// # Errors
    ///
    /// [`Error::class`] says what to do.
    pub async fn session(&self) -> Result<Session, Error> {
        let transport = &self.0.transport;
        match self.call(&transport.session(Method::POST), session).await {
            Err(error) if error.kind() == ErrorKind::Route => self.call(&transport.session(Method::GET), session).await,
            answer => answer,
        }
    }
}

fn known(item: read::Item) -> Contact {
    Contact { chat: item.chat, name: item.name, pushname: item.pushname }
}

pub(super) fn contact(json: &Json<'_>) -> Result<Option<Contact>, Misread> {
    Ok(read::contact(json)?.map(known))
}

pub(super) fn page(json: &Json<'_>) -> Result<Page, Misread> {
    let items = read::contacts(json)?;
    Ok(Page { entries: items.len(), contacts: items.into_iter().flatten().map(known).collect() })
}

fn contacts_batch(json: &Json<'_>) -> Result<Batch<Contact>, Misread> {
    let page = page(json)?;
    let mark = mark(&page.contacts, |contact| &contact.chat);
    Ok(Batch { items: page.contacts, entries: page.entries, mark })
}

fn lids_batch(json: &Json<'_>) -> Result<Batch<LidMapping>, Misread> {
    let items = read::mappings(json)?;
    let entries = items.len();
    let items: Vec<_> = items.into_iter().flatten().map(|(lid, phone)| LidMapping { lid, phone }).collect();
    let mark = mark(&items, |mapping| &mapping.lid);
    Ok(Batch { items, entries, mark })
}

/// Tells one page from the next; never stored, so any hash will do.
fn mark<T>(items: &[T], chat: fn(&T) -> &ChatId) -> u64 {
    let mut hasher = DefaultHasher::new();
    for item in items {
        chat(item).hash(&mut hasher);
    }
    hasher.finish()
}

fn existence(json: &Json<'_>) -> Result<Existence, Misread> {
    let (exists, chat, phone) = read::existence(json).ok_or(Misread)?;
    Ok(Existence { exists, chat, phone })
}

fn session(json: &Json<'_>) -> Result<Session, Misread> {
    let (status, me, pushname) = read::session(json).ok_or(Misread)?;
    Ok(Session { status: status.into(), me, pushname })
}
