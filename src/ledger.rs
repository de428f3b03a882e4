//! The durable memory of a sync: what is wanted, what was sent, what was seen.
//!
//! A [`Row`] is one contact of one instance. Its three parts have one writer each: the CRM side writes [`Wanted`], the pusher
//! writes [`Pushed`], observers write [`Seen`]. A ledger only loads and stores rows; what happens to them is decided elsewhere,
//! by pure functions, so that every ledger behaves alike.
//!
//! [`MemoryLedger`] forgets everything when it is dropped: it is for tests and one-off jobs. `SqliteLedger` (feature `sqlite`)
//! keeps everything in one file and survives a crash at any point. To store rows elsewhere, implement [`Ledger`] and hold it
//! to the suite in `contract` (feature `testkit`).

use std::{
    error::Error as StdError,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;

use crate::{ChatId, ContactName, ErrorKind, InstanceId, contact::Fingerprint};

#[cfg(feature = "testkit")]
pub mod contract;
mod leases;
mod memory;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use memory::MemoryLedger;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteLedger;

/// A moment: milliseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The moment at which it is called.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// The moment this much later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How much later this is than `earlier`, zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// One contact of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The person; unique within the instance.
    pub chat: ChatId,
    /// Where the ledger keeps the row: small, never reused, growing with each new row; 0 until it is stored.
    pub slot: u64,
    /// How often the row was stored; 0 until then. A row is stored only over the revision that it was loaded at.
    pub revision: u64,
    /// What the CRM wants. Written by the CRM side only.
    pub wanted: Wanted,
    /// What was sent. Written by the pusher only.
    pub pushed: Pushed,
    /// What was last seen in the address book. Written by observers only.
    pub seen: Option<Seen>,
}

/// What the CRM wants a contact to be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The CRM row that the wish comes from.
    pub crm_id: Box<str>,
    /// The version of that row, if the CRM gives one.
    pub version: Option<u64>,
    /// The name to show, tag and all.
    pub name: ContactName,
    /// The name without the tag.
    pub base: ContactName,
    /// The tag, without the template around it.
    pub tag: Option<Box<str>>,
    /// The version of the naming rules that made `name`.
    pub rules: u32,
    /// Why the wish last changed.
    pub cause: Cause,
    /// Other CRM rows that claim the same person, ordered; unless empty, the contact is refused until one claim is left.
    pub rivals: Box<[Box<str>]>,
}

/// Why a wish changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The CRM named the person for the first time.
    New,
    /// The CRM changed the name.
    Name,
    /// The person moved to another stage, so the tag changed.
    Stage,
    /// The naming rules changed: template, tags, placement or limit.
    Rules,
}

impl Cause {
    /// The word in reports and ledgers: `new`, `name`, `stage`, `rules`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Name => "name",
            Self::Stage => "stage",
            Self::Rules => "rules",
        }
    }
}

/// What is known of our own writes to the address book.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pushed {
    /// The name last acknowledged by the API.
    pub sent: Option<Sent>,
    /// The name of a request whose answer is missing; written down before the request is made.
    pub doubt: Option<Doubt>,
    /// Why the wish has not been sent so far.
    pub trouble: Option<Trouble>,
}

/// A name that the API acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The name.
    pub name: ContactName,
    /// When the acknowledgement came.
    pub at: Timestamp,
}

/// A request that may or may not have been carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// The name in the request.
    pub name: ContactName,
    /// From when on the request can no longer take effect.
    pub until: Timestamp,
}

/// Why a wish has not been sent so far. Lapses by itself when the wish changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The wish that it is about.
    pub wish: Fingerprint,
    /// How many attempts failed.
    pub attempts: u32,
    /// When to try again; `None` means parked: only a new wish, or a person, helps.
    pub retry_at: Option<Timestamp>,
    /// What went wrong last.
    pub kind: ErrorKind,
    /// What the server said of it, without secrets.
    pub message: Option<Box<str>>,
}

/// What the address book showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The saved name; `None` if the person was not saved.
    pub name: Option<Box<str>>,
    /// When it was read.
    pub at: Timestamp,
}

impl From<Candidate> for Row {
    fn from(Candidate { chat, wanted }: Candidate) -> Self {
        Self { chat, slot: 0, revision: 0, wanted, pushed: Pushed::default(), seen: None }
    }
}

impl Row {
    /// From when on the contact wants a call; `None` if it is settled, parked or refused.
    #[must_use]
    pub fn due_at(&self) -> Option<Timestamp> {
        if !self.wanted.rivals.is_empty() || self.is_settled() {
            return None;
        }
        let retry = match self.trouble() {
            Some(trouble) => trouble.retry_at?,
            None => Timestamp::default(),
        };
        // A request that may still take effect must not overtake a later one, not even by way of a repeat of itself.
        let doubt = self.pushed.doubt.as_ref().map_or(Timestamp::default(), |doubt| doubt.until);
        Some(retry.max(doubt))
    }

    /// Whether the address book shows the wanted name, as far as anyone can know.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match (&self.pushed.doubt, &self.pushed.sent) {
            (Some(_), _) => false,
            (None, Some(sent)) => sent.name == self.wanted.name,
            (None, None) => self.shown().is_some_and(|shown| shown == self.wanted.name.full()),
        }
    }

    /// Whether the row holds exactly this wish and nothing is to be done for it: what [`Ledger::sift`] calls unchanged.
    #[must_use]
    pub fn is_unchanged_by(&self, wanted: &Wanted) -> bool {
        let same_source = self.wanted.crm_id == wanted.crm_id && self.wanted.version == wanted.version;
        let same_name = self.wanted.rules == wanted.rules && self.wanted.name == wanted.name;
        same_source && same_name && self.wanted.rivals.is_empty() && self.is_settled()
    }

    /// Whether the row is settled, due or parked; a row with rivals counts as parked, whatever was sent.
    pub(crate) fn state(&self) -> State {
        match self.due_at() {
            Some(_) => State::Due,
            None if self.wanted.rivals.is_empty() && self.is_settled() => State::Settled,
            None => State::Parked,
        }
    }

    /// Whether only a person or a new wish helps: the API refused the contact for good, or several CRM rows claim it.
    #[must_use]
    pub fn is_parked(&self) -> bool {
        self.state() == State::Parked
    }

    /// Whether the contact is known to have a name in the address book: something was sent, or seen with a name.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.pushed.sent.is_some() || self.seen.as_ref().is_some_and(|seen| seen.name.is_some())
    }

    /// The trouble with the present wish, if there is any.
    #[must_use]
    pub fn trouble(&self) -> Option<&Trouble> {
        self.pushed.trouble.as_ref().filter(|trouble| trouble.wish == self.wanted.name.fingerprint())
    }

    /// What the address book shows as far as is known: the newer of sent and seen.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        match (&self.pushed.sent, &self.seen) {
            (Some(sent), Some(seen)) if seen.at > sent.at => seen.name.as_deref().map(Into::into),
            (Some(sent), _) => Some(sent.name.full()),
            (None, Some(seen)) => seen.name.as_deref().map(Into::into),
            (None, None) => None,
        }
    }
}

/// What a row waits for, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Settled,
    Due,
    Parked,
}

/// A name that a push replaced, kept so that it can be restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overwritten {
    /// The contact.
    pub chat: ChatId,
    /// What the address book showed before.
    pub text: Box<str>,
    /// What it shows instead.
    pub by: ContactName,
    /// When the replacement was acknowledged.
    pub at: Timestamp,
}

/// The right to write one instance's rows, until it is dropped or a newer one is given out.
///
/// Its fence number grows with each lease of the instance and is the number of the run.
#[derive(Debug)]
pub struct Lease {
    /// The instance.
    pub instance: InstanceId,
    /// The number of the run.
    pub fence: u64,
    /// Keeps the ledger from giving the instance to anyone else; whatever the ledger needs for that.
    pub guard: Arc<dyn Held>,
}

/// What a [`Lease`] holds on to; dropping the last reference gives the lease back.
pub trait Held: fmt::Debug + Send + Sync {}

/// A wish on its way to a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The person.
    pub chat: ChatId,
    /// The wish; its rivals are empty.
    pub wanted: Wanted,
}

/// What [`Ledger::sift`] found.
#[derive(Debug, Default)]
pub struct Sifted {
    /// The slots of rows that hold exactly this wish, unrivalled, and are settled; nothing is to be done for them.
    pub unchanged: Vec<u64>,
    /// The others in the order given, each with its row if there is one.
    pub rest: Vec<(Candidate, Option<Row>)>,
}

/// Numbers of one instance's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Rows.
    pub rows: u64,
    /// Rows whose contact is known to have a name in the address book: something was sent, or seen with a name.
    pub known: u64,
    /// Rows to be called for, now or later: those with a [`Row::due_at`].
    pub due: u64,
    /// Rows that are neither settled nor due: parked, or refused for their rivals.
    pub parked: u64,
    /// The largest slot given out so far.
    pub last_slot: u64,
}

/// One run, as the ledger remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// The number of the run.
    pub fence: u64,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; `None` if it did not get that far, or has not yet.
    pub ended: Option<Timestamp>,
    /// Its summary as JSON, once it ended.
    pub summary: Option<Box<str>>,
}

/// The durable store of a sync.
///
/// Object-safe and batch-first: one call is one transaction. Rows of different instances never meet.
#[async_trait]
pub trait Ledger: fmt::Debug + Send + Sync + 'static {
    /// Takes the right to write one instance's rows, and begins a run.
    ///
    /// # Errors
    ///
    /// [`LedgerErrorKind::InUse`] while another lease of the instance is held.
    async fn lease(&self, instance: &InstanceId, now: Timestamp) -> Result<Lease, LedgerError>;

    /// Ends the run of a lease with its summary.
    ///
    /// # Errors
    ///
    /// [`LedgerErrorKind::Fenced`] if a newer lease was given out.
    async fn end(&self, lease: &Lease, now: Timestamp, summary: &str) -> Result<(), LedgerError>;

    /// Sets until when the instance may not be called, across runs.
    ///
    /// # Errors
    ///
    /// [`LedgerErrorKind::Fenced`] if a newer lease was given out.
    async fn close_until(&self, lease: &Lease, until: Timestamp) -> Result<(), LedgerError>;

    /// Until when the instance may not be called; zero if it may.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn closed_until(&self, instance: &InstanceId) -> Result<Timestamp, LedgerError>;

    /// Parts wishes that change nothing from those that do, and loads the rows of the latter.
    ///
    /// A candidate changes nothing if [`Row::is_unchanged_by`] says so: its row has the same CRM id, version, rules and name, no
    /// rivals, and is settled. This is the path that a million unchanged contacts take: a ledger allocates nothing for them and
    /// writes nothing.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn sift(&self, instance: &InstanceId, candidates: Vec<Candidate>) -> Result<Sifted, LedgerError>;

    /// Loads rows, in the order of `chats`.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn load(&self, instance: &InstanceId, chats: &[ChatId]) -> Result<Vec<Option<Row>>, LedgerError>;

    /// Stores rows and history, all or nothing; durable when it returns.
    ///
    /// # Errors
    ///
    /// [`LedgerErrorKind::Fenced`] if a newer lease was given out, [`LedgerErrorKind::Conflict`] if one of the rows was stored by
    /// somebody else since it was loaded.
    async fn save(&self, lease: &Lease, rows: Vec<Row>, history: Vec<Overwritten>) -> Result<(), LedgerError>;

    /// Lists rows that are due by `by`, ordered by chat id, after `after`.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn due(
        &self,
        instance: &InstanceId,
        by: Timestamp,
        after: Option<&ChatId>,
        limit: usize,
    ) -> Result<Vec<Row>, LedgerError>;

    /// When the first row becomes due; `None` if there is none.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn next_due(&self, instance: &InstanceId) -> Result<Option<Timestamp>, LedgerError>;

    /// Lists all rows, ordered by chat id, after `after`.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn rows(&self, instance: &InstanceId, after: Option<&ChatId>, limit: usize) -> Result<Vec<Row>, LedgerError>;

    /// Counts the rows of an instance.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn counts(&self, instance: &InstanceId) -> Result<Counts, LedgerError>;

    /// Lists the names that were overwritten for one contact, newest first.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn history(&self, instance: &InstanceId, chat: &ChatId) -> Result<Vec<Overwritten>, LedgerError>;

    /// Lists the last runs of an instance, newest first.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn runs(&self, instance: &InstanceId, limit: usize) -> Result<Vec<RunRecord>, LedgerError>;
}

/// Why a ledger could not do what was asked.
#[derive(Debug)]
pub struct LedgerError {
    kind: LedgerErrorKind,
    detail: Box<str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What happened to a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LedgerErrorKind {
    /// Another process, or another run, has it.
    InUse,
    /// A newer lease of the instance was given out: this one may no longer write.
    Fenced,
    /// A row was stored by somebody else since it was loaded.
    Conflict,
    /// It was written by a newer version of this crate.
    Newer,
    /// It is no ledger, or it is damaged.
    Damaged,
    /// It may not be written.
    ReadOnly,
    /// The disk is full.
    Full,
    /// It cannot be reached or opened.
    Unavailable,
}

impl LedgerError {
    /// Makes an error; `detail` says in one sentence what is wrong and what to do.
    #[must_use]
    pub fn new(kind: LedgerErrorKind, detail: impl Into<Box<str>>) -> Self {
        Self { kind, detail: detail.into(), source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> LedgerErrorKind {
        self.kind
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl StdError for LedgerError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|error| error as _)
    }
}
