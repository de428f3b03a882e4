use std::{fmt, sync::Arc, time::SystemTime};

use crate::{ChatId, InstanceId, Phone, book::SessionStatus};

/// One thing that a provider told of one account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Event {
    /// The account whose address book it is about; `None` if the payload does not name it.
    pub account: Option<Account>,
    /// The provider's own time of it; `None` if it gives none. Never the time of arrival.
    pub at: Option<SystemTime>,
    /// What to drop repeated deliveries by; `None` if the provider gives no id.
    pub key: Option<DedupeKey>,
    /// What happened.
    pub what: AddressBookEvent,
}

impl Event {
    /// Makes an event without account, time and key, for instance to test what answers to it.
    #[must_use]
    pub fn new(what: AddressBookEvent) -> Self {
        Self { account: None, at: None, key: None, what }
    }
}

/// What the webhooks of four providers mean, in one set of words.
///
/// Its `Debug` output names no person: it is what [`code`](Self::code) says.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AddressBookEvent {
    /// Somebody showed up: a message, a new chat, a contact without a name. Perhaps a new lead.
    ContactSeen {
        /// Who.
        ids: Ids,
        /// What the provider calls them, if it says. No reason to overwrite a name of the CRM.
        name: Option<ShownName>,
    },
    /// A contact has this name now. Perhaps our own push coming back, perhaps drift.
    NameChanged {
        /// Who.
        ids: Ids,
        /// The full name.
        name: ShownName,
        /// What is known of what it replaced.
        change: Change,
    },
    /// The contact is no longer in the address book. The person may still write.
    ContactRemoved {
        /// Who.
        ids: Ids,
    },
    /// A privacy id and a phone are one person.
    IdentityLinked {
        /// The privacy id; [`ChatId::is_lid`] holds.
        lid: ChatId,
        /// The phone's chat id.
        phone: ChatId,
    },
    /// A person goes by a new id; the old one becomes an alias.
    IdentityReplaced {
        /// The ids so far, those of them that changed.
        old: Ids,
        /// The ids from now on.
        new: Ids,
    },
    /// The provider had two contacts for one person and dropped one of them.
    ContactsMerged {
        /// The ids of the contact that is left, the provider's own among them.
        kept: Ids,
        /// The provider's id of the contact that is gone.
        deleted: ProviderId,
    },
    /// Labels were put on a chat or taken off it.
    LabelsChanged {
        /// The chat; never a group.
        chat: ChatId,
        /// The labels that it has now and had not before.
        added: Vec<Label>,
        /// The labels that it had before and has no longer.
        removed: Vec<Label>,
    },
    /// A label has this name now; it may be new.
    LabelDefined {
        /// The label; it has a name.
        label: Label,
    },
    /// A label is gone.
    LabelRetired {
        /// Which.
        label: LabelRef,
    },
    /// The account is or is not able to work.
    SessionHealth {
        /// How it is.
        health: SessionStatus,
        /// The account's own number, where the provider names it beside the account.
        number: Option<Phone>,
    },
    /// Nothing for an address book. To be counted and answered with 200; never an error.
    Ignored {
        /// Why.
        reason: Reason,
        /// The provider's word for what came, cut to 64 characters; empty if it has none.
        event: Box<str>,
        /// How many items in a row were ignored for this reason.
        count: usize,
    },
}

impl AddressBookEvent {
    /// The code for counters and logs: `name_changed`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ContactSeen { .. } => "contact_seen",
            Self::NameChanged { .. } => "name_changed",
            Self::ContactRemoved { .. } => "contact_removed",
            Self::IdentityLinked { .. } => "identity_linked",
            Self::IdentityReplaced { .. } => "identity_replaced",
            Self::ContactsMerged { .. } => "contacts_merged",
            Self::LabelsChanged { .. } => "labels_changed",
            Self::LabelDefined { .. } => "label_defined",
            Self::LabelRetired { .. } => "label_retired",
            Self::SessionHealth { .. } => "session_health",
            Self::Ignored { .. } => "ignored",
        }
    }
}

impl fmt::Debug for AddressBookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ignored { reason, count, .. } => write!(f, "ignored({}, {count})", reason.code()),
            Self::SessionHealth { health, .. } => write!(f, "session_health({health:?})"),
            what => f.write_str(what.code()),
        }
    }
}

/// An account, in the words of its provider.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Account {
    /// A session of Wawp or WAHA. Wawp's sessions are the instances of a sync.
    Session(Arc<str>),
    /// A channel of Whapi.Cloud, such as `EXAMPL-AB12C`.
    WhapiChannel(Arc<str>),
    /// An instance of ZapyAPI, a UUID.
    ZapyInstance(Arc<str>),
    /// A phone number id of Meta: one number of a business account.
    MetaNumber(Arc<str>),
    /// A WhatsApp business account (WABA) of Meta, where the payload names no single number.
    MetaBusiness(Arc<str>),
}

impl Account {
    /// The id as text, as the provider wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Session(id)
            | Self::WhapiChannel(id)
            | Self::ZapyInstance(id)
            | Self::MetaNumber(id)
            | Self::MetaBusiness(id) => id,
        }
    }

    /// The instance that this account is, if it is a session; other providers' accounts need the owner's own mapping.
    #[must_use]
    pub fn instance(&self) -> Option<InstanceId> {
        match self {
            Self::Session(id) => id.parse().ok(),
            _ => None,
        }
    }
}

/// What repeated deliveries of one event have in common; unique within an account.
///
/// One message of the provider can become several events: they share its id and differ in their part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DedupeKey {
    id: Box<str>,
    part: u32,
}

impl DedupeKey {
    pub(super) fn new(id: &str, part: u32) -> Self {
        Self { id: id.into(), part }
    }

    /// The provider's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for DedupeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.id, self.part)
    }
}

/// The ids of one person, each where the provider gives it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub struct Ids {
    /// The chat id of the phone; never a privacy id.
    pub phone: Option<ChatId>,
    /// The privacy id; never a phone.
    pub lid: Option<ChatId>,
    /// The provider's own id. No other provider knows it.
    pub provider: Option<ProviderId>,
}

impl Ids {
    /// Whether no id is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.phone.is_none() && self.lid.is_none() && self.provider.is_none()
    }

    /// The id to write to: the phone's, or else the privacy id.
    #[must_use]
    pub fn chat(&self) -> Option<&ChatId> {
        self.phone.as_ref().or(self.lid.as_ref())
    }

    /// Adds a chat id, on the side where it belongs.
    #[must_use]
    pub fn with_chat(mut self, chat: ChatId) -> Self {
        if chat.is_lid() {
            self.lid = Some(chat);
        } else {
            self.phone = Some(chat);
        }
        self
    }

    /// Adds the provider's own id.
    #[must_use]
    pub fn with_provider(mut self, id: ProviderId) -> Self {
        self.provider = Some(id);
        self
    }
}

impl From<ChatId> for Ids {
    fn from(chat: ChatId) -> Self {
        Self::default().with_chat(chat)
    }
}

/// A person's id that only its provider understands; no chat can be opened with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ProviderId {
    /// A contact of ZapyAPI.
    Zapy(ZapyContactId),
    /// A person as one business portfolio of Meta sees them.
    Meta(MetaUserId),
}

/// Makes a newtype of a text that is passed on as it came.
macro_rules! provider_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The id as the provider wrote it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

provider_text! {
    /// ZapyAPI's id of a contact, a UUID.
    ZapyContactId
}
provider_text! {
    /// Meta's business-scoped user id, such as `US.13491208655302741918`. Not a privacy id: its digits mean nothing elsewhere.
    MetaUserId
}
provider_text! {
    /// A provider's id of a label, unique within an account.
    LabelId
}

/// A name as a provider told it, and what kind of name it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct ShownName {
    /// The text, without outer white space; never blank, and no longer than 1 KiB. Not cleaned in any other way.
    pub text: Arc<str>,
    /// Who wrote it.
    pub origin: NameOrigin,
}

impl ShownName {
    /// Takes a name as it came.
    #[must_use]
    pub fn new(text: &str, origin: NameOrigin) -> Self {
        Self { text: text.trim().into(), origin }
    }
}

/// Who wrote a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum NameOrigin {
    /// The owner of the address book.
    AddressBook,
    /// The person, for all to see: the pushname.
    Pushname,
    /// One of the two; the provider does not say which. Never to be adopted without asking.
    Unknown,
}

/// What a provider says of the name that was there before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Change {
    /// Another name, or none that the provider knows.
    Renamed {
        /// The name that was replaced.
        before: Option<Box<str>>,
    },
    /// The contact is new or was edited; the provider reports both alike.
    NewOrEdited,
    /// The whole contact after some edit, which need not be one of the name.
    Snapshot,
}

/// A label of an account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Label {
    /// Its id.
    pub id: LabelId,
    /// Its name, where the provider gives it.
    pub name: Option<Box<str>>,
}

impl Label {
    /// Makes a label.
    #[must_use]
    pub fn new(id: LabelId, name: Option<&str>) -> Self {
        Self { id, name: name.map(Into::into) }
    }
}

/// What a provider calls a label that is gone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LabelRef {
    /// Its id.
    Id(LabelId),
    /// Its id or its name; the provider's papers disagree.
    IdOrName(Box<str>),
}

/// Why nothing follows from something that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It is known and says nothing of an address book: a receipt, a group's subject, a deleted thread.
    Unrelated,
    /// This version does not know such an event, type or action.
    Unknown,
    /// It does not have the shape that the provider documents.
    Malformed,
    /// It is about a group, a channel or a broadcast.
    NotAPerson,
    /// No id in it can be used.
    NoId,
    /// It should have a name and has none.
    NoName,
    /// It was sent from the account itself.
    OwnMessage,
    /// Neither a name nor a label changed.
    Unchanged,
    /// The body has more items than any provider sends, and more than it has room for.
    TooMany,
    /// It is about an account that the verifier's secret [does not speak for](super::Verifier::for_accounts).
    OtherAccount,
}

impl Reason {
    /// The code for counters: `not_a_person`.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Unrelated => "unrelated",
            Self::Unknown => "unknown",
            Self::Malformed => "malformed",
            Self::NotAPerson => "not_a_person",
            Self::NoId => "no_id",
            Self::NoName => "no_name",
            Self::OwnMessage => "own_message",
            Self::Unchanged => "unchanged",
            Self::TooMany => "too_many",
            Self::OtherAccount => "other_account",
        }
    }
}
