use std::{
    fmt,
    hash::{DefaultHasher, Hasher},
};

use serde::{Deserialize, Serialize};

use crate::{ChatId, Phone};

/// What an address book says of one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Contact {
    /// The person's chat.
    pub chat: ChatId,
    /// The saved name; `None` if the person is not saved. Never the pushname.
    #[serde(default)]
    pub name: Option<String>,
    /// The public name that the person chose.
    #[serde(default)]
    pub pushname: Option<String>,
}

impl Contact {
    /// A person who is not saved and whose pushname is not known.
    #[must_use]
    pub fn new(chat: ChatId) -> Self {
        Self { chat, name: None, pushname: None }
    }

    /// Sets the name under which the person is saved.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the public name that the person chose.
    #[must_use]
    pub fn with_pushname(mut self, pushname: impl Into<String>) -> Self {
        self.pushname = Some(pushname.into());
        self
    }
}

/// One page of an address book.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Page {
    /// The persons on it; groups and other things that are not a person are left out.
    pub contacts: Vec<Contact>,
    /// How many entries the server sent, persons or not.
    pub entries: usize,
    /// Tells this page from others of the same listing: equal ids in the same order have equal marks. Not to be stored.
    pub mark: u64,
}

impl Page {
    /// A page with these persons, made of entries with these ids as the server sent them: all of them, also those of groups, and
    /// an empty id for an entry without one.
    #[must_use]
    pub fn new(contacts: Vec<Contact>, ids_as_sent: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let (entries, mark) = count_and_mark(ids_as_sent);
        Self { contacts, entries, mark }
    }
}

/// A privacy id and the phone behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LidMapping {
    /// The privacy id.
    pub lid: ChatId,
    /// The phone, if the server knows it.
    #[serde(default)]
    pub phone: Option<Phone>,
}

impl LidMapping {
    /// A privacy id with the phone behind it, or with none where that is not known.
    #[must_use]
    pub fn new(lid: ChatId, phone: Option<Phone>) -> Self {
        Self { lid, phone }
    }
}

/// One page of the privacy ids that a server knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LidPage {
    /// The privacy ids on it that can be made out.
    pub mappings: Vec<LidMapping>,
    /// How many entries the server sent, usable or not.
    pub entries: usize,
    /// Tells this page from others of the same listing, as [`Page::mark`] does.
    pub mark: u64,
}

impl LidPage {
    /// A page with these mappings, made of entries with these ids as the server sent them.
    #[must_use]
    pub fn new(mappings: Vec<LidMapping>, ids_as_sent: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let (entries, mark) = count_and_mark(ids_as_sent);
        Self { mappings, entries, mark }
    }
}

fn count_and_mark(ids: impl IntoIterator<Item = impl AsRef<[u8]>>) -> (usize, u64) {
    // Marks are compared within one listing and never stored, so any hash will do.
    let (mut hasher, mut entries) = (DefaultHasher::new(), 0);
    for id in ids {
        let id = id.as_ref();
        hasher.write_usize(id.len());
        hasher.write(id);
        entries += 1;
    }
    (entries, hasher.finish())
}

/// Whether a number is on WhatsApp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Existence {
    /// Whether it is.
    pub exists: bool,
    /// The chat to write to, if the server says it; may be a privacy id, and may have other digits than were asked for.
    #[serde(default)]
    pub chat: Option<ChatId>,
    /// The number as the server has it, if it says so.
    #[serde(default)]
    pub phone: Option<Phone>,
}

impl Existence {
    /// An answer that names neither chat nor number.
    #[must_use]
    pub fn new(exists: bool) -> Self {
        Self { exists, chat: None, phone: None }
    }

    /// Sets the chat to write to.
    #[must_use]
    pub fn with_chat(mut self, chat: ChatId) -> Self {
        self.chat = Some(chat);
        self
    }

    /// Sets the number as the server has it.
    #[must_use]
    pub fn with_phone(mut self, phone: Phone) -> Self {
        self.phone = Some(phone);
        self
    }
}

/// The state of an instance's session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Session {
    /// Whether it works, and what it waits for if it does not.
    pub status: SessionStatus,
    /// The account's own chat, once it is linked: another one means that another phone was linked.
    #[serde(default)]
    pub me: Option<ChatId>,
    /// The account's own pushname.
    #[serde(default)]
    pub pushname: Option<String>,
}

impl Session {
    /// A session of which nothing but its state is known.
    #[must_use]
    pub fn new(status: SessionStatus) -> Self {
        Self { status, me: None, pushname: None }
    }

    /// Sets the account's own chat.
    #[must_use]
    pub fn with_me(mut self, me: ChatId) -> Self {
        self.me = Some(me);
        self
    }

    /// Sets the account's own pushname.
    #[must_use]
    pub fn with_pushname(mut self, pushname: impl Into<String>) -> Self {
        self.pushname = Some(pushname.into());
        self
    }
}

/// What a session is doing; stored and shown as the word that the API has for it.
///
/// ```
/// use wawp_contacts::book::SessionStatus;
///
/// assert_eq!(SessionStatus::from("SCAN_QR_CODE"), SessionStatus::ScanQrCode);
/// assert_eq!(SessionStatus::from("SOMETHING_NEW").to_string(), "SOMETHING_NEW");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
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
    /// The owner took the right to use the account away (`DISCONNECTED`).
    Disconnected,
    /// Something newer than this crate, in the provider's word: its first 64 characters.
    Unknown(Box<str>),
}

impl SessionStatus {
    /// Every state that has a name here, with the provider's word for it.
    const KNOWN: [(&'static str, Self); 7] = [
        ("STOPPED", Self::Stopped),
        ("STARTING", Self::Starting),
        ("SCAN_QR_CODE", Self::ScanQrCode),
        ("PASSKEY_REQUIRED", Self::PasskeyRequired),
        ("WORKING", Self::Working),
        ("FAILED", Self::Failed),
        ("DISCONNECTED", Self::Disconnected),
    ];

    /// Whether names can be written.
    #[must_use]
    pub fn is_working(&self) -> bool {
        *self == Self::Working
    }

    /// Whether this version has a name for the state.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown(_))
    }

    /// What a person has to do before names can be written, in a clause; `None` if it works.
    #[must_use]
    pub fn step(&self) -> Option<&'static str> {
        Some(match self {
            Self::Working => return None,
            Self::Stopped => "start the session: it is switched off",
            Self::Starting => "wait a minute: the session is starting",
            Self::ScanQrCode => "scan the QR code of the instance with the phone, under linked devices",
            Self::PasskeyRequired => "confirm the session with the passkey on the phone",
            Self::Failed => "restart the session; if it fails again, log out and scan the QR code anew",
            Self::Disconnected => "link the phone again: its owner took the right to use the account away",
            Self::Unknown(_) => {
                "look at the instance where it is managed: its session is in a state that is not known here"
            }
        })
    }

    /// The provider's word: `SCAN_QR_CODE`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unknown(word) => word,
            known => Self::KNOWN.iter().find(|(_, status)| status == known).map_or("", |(word, _)| word),
        }
    }
}

impl From<&str> for SessionStatus {
    fn from(word: &str) -> Self {
        let known = Self::KNOWN.into_iter().find(|(name, _)| *name == word);
        known.map_or_else(|| Self::Unknown(word.chars().take(64).collect()), |(_, status)| status)
    }
}

impl From<String> for SessionStatus {
    fn from(word: String) -> Self {
        word.as_str().into()
    }
}

impl From<SessionStatus> for String {
    fn from(status: SessionStatus) -> Self {
        status.as_str().into()
    }
}

impl fmt::Display for SessionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use super::*;

    fn chat() -> ChatId {
        "15551234567@c.us".parse().unwrap()
    }

    #[test]
    fn the_mark_of_a_page_is_that_of_all_ids_as_sent_groups_too() {
        let groups = |from: u32| (from..from + 3).map(|n| format!("12036300000000{n:04}@g.us"));
        let (one, other) = (Page::new(vec![], groups(1)), Page::new(vec![], groups(4)));
        assert_eq!((one.entries, other.entries), (3, 3));
        assert_ne!(one.mark, other.mark, "two pages without a person are two pages");
        assert_eq!(one.mark, Page::new(vec![Contact::new(chat())], groups(1)).mark);
        assert_ne!(LidPage::new(vec![], ["ab", "c"]).mark, LidPage::new(vec![], ["a", "bc"]).mark);
    }

    #[test]
    fn values_come_back_from_json_as_they_were() {
        let contact = Contact::new(chat()).with_name("Ann").with_pushname("annie");
        let page = Page::new(vec![contact.clone()], ["15551234567@c.us"]);
        assert_eq!(to_value(&contact).unwrap()["chat"], "15551234567@c.us");
        assert_eq!(from_value::<Page>(to_value(&page).unwrap()).unwrap(), page);
        let mapping = LidMapping::new("123456789012345@lid".parse().unwrap(), chat().phone());
        assert_eq!(from_value::<LidMapping>(to_value(&mapping).unwrap()).unwrap(), mapping);
        let session = Session::new(SessionStatus::Working).with_me(chat()).with_pushname("Shop");
        assert_eq!(from_value::<Session>(to_value(&session).unwrap()).unwrap(), session);
        let existence = Existence::new(true).with_chat(chat());
        assert_eq!(from_value::<Existence>(to_value(&existence).unwrap()).unwrap(), existence);
        assert_eq!(from_value::<Existence>(json!({"exists": false})).unwrap(), Existence::new(false));
        assert!(from_value::<Contact>(json!({"chat": "1@g.us"})).is_err());
    }

    #[test]
    fn a_state_is_the_word_for_it() {
        for (word, status) in SessionStatus::KNOWN {
            assert_eq!((SessionStatus::from(word), status.as_str()), (status.clone(), word));
            assert_eq!(to_value(&status).unwrap(), Value::from(word));
            assert_eq!((status.is_known(), status.is_working()), (true, word == "WORKING"));
            assert_eq!(status.step().is_none(), status.is_working());
        }
        let newer = from_value::<SessionStatus>(json!("SOMETHING_NEW")).unwrap();
        assert_eq!((newer.as_str(), newer.is_known()), ("SOMETHING_NEW", false));
        assert_eq!(SessionStatus::from("x".repeat(99)).as_str().len(), 64);
    }
}
