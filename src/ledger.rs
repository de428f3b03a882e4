//! The durable memory of a sync: records, history, runs, and the state of each instance.
//!
//! A ledger stores [`Record`]s and finds them again. What happens to a record is decided by [`decide`](crate::record::decide) and
//! arrives as a finished record with its [`Status`]; a ledger indexes the status and computes none of it.
//!
//! [`MemoryLedger`] forgets everything when it is dropped: it is for tests and one-off jobs. `SqliteLedger` (feature `sqlite`)
//! keeps everything in one file and survives a crash at any point.
//!
//! # Who writes
//!
//! The lanes of a record write side by side, from one process or from several. Each write is stored record by record, and only over
//! the [revision](Record::revision) that was loaded; a write that lost its record to another one says so, and whoever made it loads the
//! record and decides again. Only the pusher, which calls the address book, needs the instance's [`Lease`]; its fence is checked
//! with each of its writes.
//!
//! # How a ledger is written
//!
//! Implement [`Ledger`] and [`Diff`], and hold them to the suite in `contract` (feature `testkit`). Eight tables do:
//!
//! | table | key | holds |
//! |---|---|---|
//! | `contact` | a number that grows with each arrival; unique (instance, chat) | the record as JSON, and beside it what is searched by: state, due time, whether it is known, whether it is held by hand |
//! | `alias` | (instance, alias) | the contact that another id belongs to |
//! | `claim` | a number that grows with each arrival; unique (instance, CRM id) | digest and contact: one for each claim of each record |
//! | `instance`, `run`, `history` | | state, lease and salt of an instance; what ran; what was overwritten |
//! | `report` | a number that grows with each arrival; indexed (instance, run) | lines of a run's report, some hundred to a row |
//! | `forgotten` | (instance, mark) | a mark of a forgotten person, and the mark of the chat that all of that person's share |
//!
//! - **A write** ([`Ledger::commit`]) stores the record if the stored revision is the one it has, with a revision one higher, and brings
//!   `claim` and `alias` up to it. In SQL: `UPDATE contact SET body = $1, state = $2, at = $3, revision = revision + 1 WHERE
//!   instance = $4 AND chat = $5 AND revision = $6`, for a batch in Postgres from `UNNEST` of arrays; those that no row came back
//!   for have lost.
//! - **Claims and aliases** are brought up to a record by what its write changes. What is new to the record, or has another digest than
//!   before, is its own from then on, whoever had it. What it no longer has is deleted, unless another record has it by now. What did
//!   not change is left alone: so a record that is merely seen again takes nothing back from the one that a claim has moved to.
//!   Where two records answer to one id, the one that has it as its chat goes first.
//! - **What is due** is read in the order of due time, then of arrival: `WHERE state = 'due' AND at <= $1 ORDER BY at, id LIMIT
//!   $2`. One partial index serves it. So nothing starves.
//! - **A diff** ([`Ledger::diff`]) compares a whole export with the claims. It keeps one bit for each claim, says `Unchanged` where the
//!   digest is the same, and never writes on that path. It follows the order in which the claims arrived, because the next row of an
//!   export is usually the next row of the last one; only a row that is not there pays for a look-up by CRM id. In Postgres: `COPY`
//!   chunks of 100,000 into a temporary table and join.
//! - **Staged** records live in the session: a temporary table in SQLite, an unlogged one in Postgres. [`Diff::apply`] stores
//!   them in one transaction as if by `commit`; dropping the session drops them.
//! - **A forgotten person** is deleted from all of these tables in one transaction, and kept out by marks: see [`Ledger::forget`].
//! - **Leases** go by the ledger's own clock: `UPDATE instance SET owner = $1, fence = fence + 1, expires = now() + $2 WHERE name =
//!   $3 AND (owner IS NULL OR expires <= now())`; in Postgres, a worker that looks for any instance to serve adds `FOR UPDATE SKIP
//!   LOCKED`.

use std::{
    any::Any,
    cell::RefCell,
    collections::{HashMap, HashSet},
    error::Error as StdError,
    fmt,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

#[cfg(doc)]
use crate::record::Status;
use crate::{
    ChatId, ErrorKind, InstanceId,
    crm::{CrmContact, RowDigest},
    pace::{Budget, Daily},
    record::{Claim, Decision, Drift, Overwritten, Record},
    time::Timestamp,
};

#[cfg(feature = "testkit")]
pub mod contract;
mod forgotten;
mod memory;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use forgotten::{Mark, Salt, chats_of, ids_of, strike};
pub use memory::MemoryLedger;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteLedger;

/// The durable store of a sync.
///
/// Object-safe and batch-first: one call is one transaction. Records of different instances never meet.
#[async_trait]
pub trait Ledger: fmt::Debug + Send + Sync + 'static {
    /// Takes the right to push for an instance, for as long as `ttl` by the ledger's clock, or until it is released.
    ///
    /// `owner` names the holder to people: a host and a process.
    ///
    /// # Errors
    ///
    /// [`LedgerErrorKind::Busy`] while another lease of the instance is held.
    async fn acquire(&self, instance: &InstanceId, owner: &str, ttl: Duration) -> Result<Lease, LedgerError>;

    /// Holds a lease for another `ttl` from now.
    ///
    /// # Errors
    ///
    /// [`LedgerErrorKind::Fenced`] if a newer lease was given out, or this one was released.
    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), LedgerError>;

    /// Gives a lease back, so that the next one is given out at once. Releasing one that is no longer held changes nothing.
    ///
    /// # Errors
    ///
    /// Fails if the store does; the lease then ends by itself.
    async fn release(&self, lease: Lease) -> Result<(), LedgerError>;

    /// Finds records.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn fetch(&self, instance: &InstanceId, query: Query<'_>) -> Result<Vec<Record>, LedgerError>;

    /// Stores records, each by itself and only over the revision that it has; durable when it returns. Returns the places in
    /// `writes` of those that lost: their record was stored by somebody else meanwhile, and nothing of them was stored.
    ///
    /// A write that adds or changes a claim which by now is another record's is lost as well, unless a write of the same call over
    /// that record's present revision leaves the claim out, or one absorbs that record. So is one that makes a record, or adds a
    /// claim, of a person who was [forgotten](Self::forget).
    ///
    /// A stored record has a revision one higher than the one given. The pusher passes its lease; the other lanes pass none.
    ///
    /// # Errors
    ///
    /// [`LedgerErrorKind::Fenced`] if the lease is no longer the newest, was released or is for another instance; nothing is stored
    /// then. A lease whose time is over still writes until somebody else has taken it.
    async fn commit(
        &self,
        instance: &InstanceId,
        lease: Option<&Lease>,
        writes: Vec<Write>,
    ) -> Result<Vec<usize>, LedgerError>;

    /// Begins to compare rows of the CRM with the claims, and to stage what changes.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn diff(&self, instance: &InstanceId) -> Result<Box<dyn Diff>, LedgerError>;

    /// Reads the state of an instance; the default of one that is not known.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn state(&self, instance: &InstanceId) -> Result<InstanceState, LedgerError>;

    /// Stores the state of an instance over the revision that it has, and says whether that was still the newest.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn save_state(&self, instance: &InstanceId, state: InstanceState) -> Result<bool, LedgerError>;

    /// Counts the records of an instance. This looks at all of them: it is for reports and guardrails, not for a loop.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn counts(&self, instance: &InstanceId) -> Result<Counts, LedgerError>;

    /// Begins a run, and gives it the next number of the instance, from 1. `owner` names who runs it, as for
    /// [`acquire`](Self::acquire).
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn begin_run(&self, instance: &InstanceId, owner: &str, began: Timestamp) -> Result<u64, LedgerError>;

    /// Ends a run with its summary as JSON.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn end_run(
        &self,
        instance: &InstanceId,
        run: u64,
        ended: Timestamp,
        summary: &str,
    ) -> Result<(), LedgerError>;

    /// Lists the last runs of an instance, newest first.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn runs(&self, instance: &InstanceId, limit: usize) -> Result<Vec<RunRecord>, LedgerError>;

    /// Finds one run of an instance.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn run(&self, instance: &InstanceId, run: u64) -> Result<Option<RunRecord>, LedgerError>;

    /// Lists the last runs of an instance that have no end: they are under way or died; newest first.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn open_runs(&self, instance: &InstanceId, limit: usize) -> Result<Vec<RunRecord>, LedgerError>;

    /// Lists the names that were overwritten for one contact, newest first.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn history(&self, instance: &InstanceId, chat: &ChatId) -> Result<Vec<Overwritten>, LedgerError>;

    /// Lists what contacts showed before a run: the first name of each that the run overwrote, in the order of chats, after one.
    ///
    /// `PostgreSQL`: `SELECT DISTINCT ON (chat) body FROM history WHERE instance = $1 AND run = $2 AND chat > $3 ORDER BY chat, id
    /// LIMIT $4`.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn before_run(
        &self,
        instance: &InstanceId,
        run: u64,
        after: Option<&ChatId>,
        limit: usize,
    ) -> Result<Vec<Overwritten>, LedgerError>;

    /// Adds lines to the report of a run: a JSON array of objects, in which `chat` and `crm_id` say whom a line is about. Lines about
    /// persons who were [forgotten](Self::forget) are left out: see [`strike`].
    ///
    /// `PostgreSQL`: `INSERT INTO report (instance, run, lines) VALUES ($1, $2, $3)`.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn append_report(&self, instance: &InstanceId, run: u64, lines: &str) -> Result<(), LedgerError>;

    /// The lines of a run's report, in the pieces and in the order in which they were added.
    ///
    /// `PostgreSQL`: `SELECT lines FROM report WHERE instance = $1 AND run = $2 ORDER BY id`.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn report(&self, instance: &InstanceId, run: u64) -> Result<Vec<Box<str>>, LedgerError>;

    /// Deletes all reports but those of so many runs, the last of those that have lines; the runs themselves stay.
    ///
    /// `PostgreSQL`: `DELETE FROM report WHERE instance = $1 AND run NOT IN (SELECT DISTINCT run FROM report WHERE instance = $1 ORDER
    /// BY run DESC LIMIT $2)`.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn keep_reports(&self, instance: &InstanceId, runs: u64) -> Result<(), LedgerError>;

    /// Forgets a person, if the stored revision of the record is the one it has, and says whether it was; a person without a record is
    /// one of revision 0.
    ///
    /// What goes: the record with its claims and aliases, the history under all [chats](chats_of) of the person, every line of a report
    /// that is about one of the [ids](ids_of), and these chats among the aliases of other records, each of which then has a revision one
    /// higher. What stays: a [mark](Salt::mark) of each of the ids. When it returns, nothing else of the person can be read from
    /// whatever the ledger is kept in, by whatever means; asking again makes sure of it once more.
    ///
    /// `PostgreSQL`: `DELETE FROM contact WHERE instance = $1 AND chat = $2 AND revision = $3` tells whether the revision was the newest;
    /// `claim` and `alias` go with it; `DELETE FROM history WHERE instance = $1 AND chat = ANY ($4)`; lines of `report` that hold an
    /// id are read, [struck](strike) and written; `INSERT INTO forgotten (instance, mark, person) SELECT $1, mark, $5 FROM UNNEST ($6)
    /// AS mark ON CONFLICT (instance, mark) DO UPDATE SET person = excluded.person`. After it, `VACUUM FULL` those tables: a deleted row
    /// stays in its page until then. What the write-ahead log and its archive hold goes with their retention.
    ///
    /// # Errors
    ///
    /// Fails if the store does. [`LedgerErrorKind::Busy`] if others read from the store for so long that what was deleted cannot be
    /// erased: the person is forgotten then, and asking again erases the rest.
    async fn forget(&self, instance: &InstanceId, record: &Record) -> Result<bool, LedgerError>;

    /// Says of each of these chat ids or CRM ids whether it was one of a [forgotten](Self::forget) person.
    ///
    /// `PostgreSQL`: `SELECT mark FROM forgotten WHERE instance = $1 AND mark = ANY ($2)`.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn forgotten(&self, instance: &InstanceId, ids: &[&str]) -> Result<Vec<bool>, LedgerError>;

    /// Deletes all marks of the person who has this chat or CRM id, who may then be taken in again. Says whether there were any.
    ///
    /// `PostgreSQL`: `DELETE FROM forgotten WHERE instance = $1 AND person IN (SELECT person FROM forgotten WHERE instance = $1 AND
    /// mark = $2)`.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn allow(&self, instance: &InstanceId, id: &str) -> Result<bool, LedgerError>;
}

/// Which records to find.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Query<'q> {
    /// Those that answer to these chats or aliases, each record once, in any order.
    Chats(&'q [ChatId]),
    /// Those that have the claims of these rows of the CRM, each record once, in any order.
    CrmIds(&'q [Box<str>]),
    /// Those that are due by a moment, in the order of due time, then of arrival.
    Due {
        /// The moment.
        by: Timestamp,
        /// How many at the most.
        limit: usize,
    },
    /// Those that are due later than a moment, in the same order.
    DueAfter {
        /// The moment.
        after: Timestamp,
        /// How many at the most.
        limit: usize,
    },
    /// Those in one state, in the order of chats.
    State {
        /// The state: a [word](Status::as_str).
        state: &'q str,
        /// The chat to start after.
        after: Option<&'q ChatId>,
        /// How many at the most.
        limit: usize,
    },
    /// Those that a person [said to leave as they are](Record::held), whatever state they are in, in the order of chats.
    ByHand {
        /// The chat to start after.
        after: Option<&'q ChatId>,
        /// How many at the most.
        limit: usize,
    },
    /// All, in the order of chats.
    All {
        /// The chat to start after.
        after: Option<&'q ChatId>,
        /// How many at the most.
        limit: usize,
    },
}

/// A record on its way into a ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Write {
    /// The record, at the revision that it was loaded at.
    pub record: Record,
    /// What it overwrote in the address book: stored with the record, or not at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overwritten: Vec<Overwritten>,
    /// Rows of the CRM that claim the record no more: their claims are deleted unless another record has them by now, or another write
    /// of the same call takes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unclaimed: Vec<Box<str>>,
    /// A record that this one has taken in, at the revision that it was loaded at: it is deleted, and the write is lost unless both
    /// are as they were loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absorbed: Option<(ChatId, u64)>,
    /// The claims that it was decided on, by row: those that the record had, and those that it takes from others. A claim that is not
    /// among them is new. Whoever has lost the write tells by them what was changed since; a ledger only keeps them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub based_on: Vec<(Box<str>, RowDigest)>,
}

impl Write {
    /// The record to delete with this write, and its revision. No record absorbs itself.
    pub(crate) fn absorbs(&self) -> Option<&(ChatId, u64)> {
        self.absorbed.as_ref().filter(|(chat, _)| *chat != self.record.chat)
    }

    /// Notes a claim that the write takes from another record, unless it is noted already.
    pub(crate) fn base_on(&mut self, taken: &Claim) {
        if self.base_of(&taken.crm_id).is_none() {
            self.based_on.push((taken.crm_id.clone(), taken.digest));
        }
    }

    /// The digest that a claim had when the write was decided on; none if there was no such claim.
    pub(crate) fn base_of(&self, crm_id: &str) -> Option<RowDigest> {
        self.based_on.iter().find(|(known, _)| **known == *crm_id).map(|(_, digest)| *digest)
    }

    /// Whether it gives up a claim, or a record, that another write of the same call may take.
    pub(crate) fn gives(&self) -> bool {
        let is_dropped = |(crm_id, _): &(Box<str>, RowDigest)| self.record.claim(crm_id).is_none();
        self.absorbed.is_some() || !self.unclaimed.is_empty() || self.based_on.iter().any(is_dropped)
    }

    /// Takes over what a staged write leaves to the one that replaces it.
    pub(crate) fn replaces(&mut self, before: Self) {
        let Self { record, mut overwritten, unclaimed, based_on, .. } = before;
        overwritten.append(&mut self.overwritten);
        self.overwritten = overwritten;
        // What it was staged with is not what was stored.
        self.based_on
            .retain(|(crm_id, _)| record.claim(crm_id).is_none() && !based_on.iter().any(|(known, _)| known == crm_id));
        self.based_on.extend(based_on);
        for crm_id in unclaimed {
            if !self.unclaimed.contains(&crm_id) {
                self.unclaimed.push(crm_id);
            }
        }
    }
}

/// What the writes of one call give up, so that others of them can take it.
///
/// A write that gives something up may itself lose. Then those that relied on it must not be stored either: see
/// [`lose`](Self::lose).
#[derive(Default)]
pub(crate) struct Call<'w> {
    givers: HashMap<&'w str, &'w Write>,
    /// The chats of absorbed records, and who absorbs them.
    absorbed: HashMap<&'w str, &'w str>,
    lost: HashSet<&'w str>,
    relied_on: RefCell<HashSet<Box<str>>>,
}

impl<'w> Call<'w> {
    pub(crate) fn of(writes: impl IntoIterator<Item = &'w Write>) -> Self {
        let mut call = Self::default();
        for write in writes.into_iter().filter(|write| write.gives()) {
            let chat = write.record.chat.as_str();
            call.absorbed.extend(write.absorbs().map(|(absorbed, _)| (absorbed.as_str(), chat)));
            call.givers.entry(chat).or_insert(write);
        }
        call
    }

    /// Whether any write gives something up at all.
    pub(crate) fn gives(&self) -> bool {
        !self.givers.is_empty()
    }

    /// Whether the record of a chat, which is stored at a revision, leaves a claim to others.
    pub(crate) fn gives_up(&self, chat: &str, revision: u64, crm_id: &str) -> bool {
        let is_left = |Write { record, .. }: &&&Write| record.revision == revision && record.claim(crm_id).is_none();
        let own = self.givers.get(chat).filter(is_left).map(|_| chat);
        let giver = own.or(self.absorbed.get(chat).copied()).filter(|giver| !self.lost.contains(*giver));
        giver.is_some_and(|giver| {
            self.relied_on.borrow_mut().insert(giver.into());
            true
        })
    }

    /// Whether the write of a chat is known to have lost.
    pub(crate) fn has_lost(&self, chat: &ChatId) -> bool {
        self.lost.contains(chat.as_str())
    }

    /// Notes which writes have lost. `true` if another one relied on one of them: what was stored is to be taken back, and the call made
    /// again without those that have lost.
    pub(crate) fn lose(&mut self, lost: impl IntoIterator<Item = &'w Write>) -> bool {
        let relied_on = self.relied_on.take();
        let mut is_broken = false;
        for write in lost {
            let chat = write.record.chat.as_str();
            // Of several writes of one record nobody relies on any but the first.
            if self.givers.get(chat).is_some_and(|first| std::ptr::eq(*first, write)) {
                is_broken |= self.lost.insert(chat) && relied_on.contains(chat);
            }
        }
        is_broken
    }
}

/// A write of a record that changes none of its claims.
impl From<Record> for Write {
    fn from(record: Record) -> Self {
        let (overwritten, unclaimed, based_on) = (Vec::new(), Vec::new(), Vec::new());
        let mut write = Self { record, overwritten, unclaimed, absorbed: None, based_on };
        let claims = write.record.claims.iter();
        write.based_on = claims.map(|claim| (claim.crm_id.clone(), claim.digest)).collect();
        write
    }
}

/// A write of what was decided: the record, and what it overwrote.
impl From<Decision> for Write {
    fn from(decision: Decision) -> Self {
        let overwritten = decision.overwritten().cloned().into_iter().collect();
        Self { overwritten, ..decision.record.into() }
    }
}

/// One comparison of the CRM's rows with the claims of an instance, and what is staged by it.
///
/// The session sees its own staged records in place of the stored ones; nobody else does until [`apply`](Self::apply). Dropping it
/// leaves nothing behind.
#[async_trait]
pub trait Diff: fmt::Debug + Send {
    /// Compares rows with the claims: one verdict for each, in their order.
    ///
    /// Rows of one batch do not see what others of the batch will stage.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn compare(&mut self, rows: Arc<[Incoming]>) -> Result<Vec<Verdict>, LedgerError>;

    /// Stages records, in place of those staged before for the same chats.
    ///
    /// A staged write keeps the `unclaimed` rows of those that it replaces. It absorbs nothing, whatever it says: records are joined by a
    /// [commit](Ledger::commit).
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn stage(&mut self, writes: Vec<Write>) -> Result<(), LedgerError>;

    /// Finds records by chat or alias, as the session sees them, each once.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn find(&mut self, chats: &[ChatId]) -> Result<Vec<Record>, LedgerError>;

    /// Lists claims that no row was compared with, in the order of their arrival, `limit` at a time, each once over all calls: the CRM
    /// id, and the record that has it as the session sees it.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn absent(&mut self, limit: usize) -> Result<Vec<(Box<str>, Record)>, LedgerError>;

    /// Lists records that are not in sync, as the session sees them, in the order of chats.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn open(&mut self, after: Option<&ChatId>, limit: usize) -> Result<Vec<Record>, LedgerError>;

    /// Counts what the comparison has found so far.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn tally(&mut self) -> Result<Tally, LedgerError>;

    /// Stores all staged records in one transaction, each over the revision that it has, and returns those that lost.
    ///
    /// # Errors
    ///
    /// Fails if the store does; nothing is stored then.
    async fn apply(self: Box<Self>) -> Result<Vec<Write>, LedgerError>;

    /// As [`apply`](Self::apply), but stores all or nothing: if anything has lost, nothing is stored.
    ///
    /// # Errors
    ///
    /// Fails if the store does; nothing is stored then.
    async fn apply_whole(self: Box<Self>) -> Result<Vec<Write>, LedgerError>;

    /// Gives back what is staged in place of storing it, in the order of arrival; another session that stages it sees the same.
    ///
    /// # Errors
    ///
    /// Fails if the store does.
    async fn into_writes(self: Box<Self>) -> Result<Vec<Write>, LedgerError>;
}

/// A row of the CRM on its way into a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Incoming {
    /// The row.
    pub contact: CrmContact,
    /// Its digest, with the naming rules in it.
    pub digest: RowDigest,
}

impl Incoming {
    /// A row under naming rules with this fingerprint.
    #[must_use]
    pub fn new(contact: CrmContact, rules: u32) -> Self {
        Self { digest: contact.digest(rules), contact }
    }
}

/// What a comparison finds of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The stored claim of the row has the same digest, no row of the session had the same CRM id before, and nothing was staged
    /// that touches the claim.
    Unchanged,
    /// The row is one of a [forgotten](Ledger::forget) person: no record has its chat, which is marked, or none has its claim, and its
    /// CRM id is marked.
    Forgotten,
    /// Everything else.
    Changed {
        /// The record that has the claim of this CRM id, if one has.
        holder: Option<Box<Record>>,
        /// The record that has the row's chat, or else has it as an alias, if there is one and it is not the holder.
        target: Option<Box<Record>>,
        /// Whether a row with this CRM id was compared before. A claim that somebody else deletes and stores anew meanwhile counts as
        /// another.
        is_repeat: bool,
    },
}

/// Counts of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Tally {
    /// Claims that were stored when the session began. Those that others delete before this is first asked may be left out, unless a
    /// row was compared with them.
    pub claims: u64,
    /// Those of them that a row was compared with.
    pub met: u64,
    /// Records that are in sync and that a row claims: those met and left alone, and those staged in sync with a claim.
    pub unchanged: u64,
    /// Records staged.
    pub staged: u64,
}

/// The right to push for one instance.
///
/// Its fence number grows with each lease of the instance.
#[derive(Debug)]
#[non_exhaustive]
pub struct Lease {
    /// The instance.
    pub instance: InstanceId,
    /// The fence.
    pub fence: u64,
    /// Whether the holder before this one did not give its lease back: nobody knows when it called last.
    pub is_takeover: bool,
    /// Whatever the ledger holds on to for as long as the lease lasts; dropping it gives the lease back where a ledger can notice.
    pub guard: Option<Box<dyn Any + Send + Sync>>,
}

impl Lease {
    /// A lease, for ledgers to give out.
    #[must_use]
    pub fn new(instance: InstanceId, fence: u64) -> Self {
        Self { instance, fence, is_takeover: false, guard: None }
    }

    /// Says whether the holder before did not give its lease back.
    #[must_use]
    pub fn taken_over(mut self, is_takeover: bool) -> Self {
        self.is_takeover = is_takeover;
        self
    }

    /// Holds on to something for as long as the lease lasts.
    #[must_use]
    pub fn guarded_by(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guard = Some(Box::new(guard));
        self
    }
}

/// What is remembered of an instance, apart from its records.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstanceState {
    /// How often the state was stored; 0 until then.
    pub revision: u64,
    /// Until when the instance asked not to be called, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
    /// Why the gate of the instance is closed, as it was told; none once a name was written again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closed>,
    /// The account that was behind the instance when names were last written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<ChatId>,
    /// How many entries the address book had when it was last read as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub book_entries: Option<u64>,
    /// When a call worked last, as a run noted at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worked_at: Option<Timestamp>,
    /// By which policy the statuses of all records were last decided.
    #[serde(default)]
    pub drift: Drift,
    /// The fingerprint of the naming rules that they were decided with.
    #[serde(default)]
    pub rules: u32,
    /// How many update calls a day the last run allowed, if it had a cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<Daily>,
    /// The update calls of the last day, as far as they were made under a cap: each is counted before it is made, and counted for good
    /// where a run dies before it could make it.
    #[serde(default)]
    pub budget: Budget,
    /// When a lease was last given back, by the ledger's clock. [`Ledger::release`] sets it, and [`Ledger::save_state`] leaves it
    /// alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_at: Option<Timestamp>,
}

/// A time in which an instance asked not to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Wait {
    /// How it said so.
    pub kind: ErrorKind,
    /// When it said so.
    pub since: Timestamp,
    /// From when on it may be called again.
    pub until: Timestamp,
}

impl Wait {
    /// A wait.
    #[must_use]
    pub fn new(kind: ErrorKind, since: Timestamp, until: Timestamp) -> Self {
        Self { kind, since, until }
    }
}

/// Why an instance is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Closed {
    /// What the instance answered.
    pub kind: ErrorKind,
    /// When the gate closed.
    pub since: Timestamp,
    /// What helps, if that is known: a clause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Box<str>>,
}

impl Closed {
    /// A gate that closed at a moment.
    #[must_use]
    pub fn new(kind: ErrorKind, since: Timestamp) -> Self {
        Self { kind, since, hint: None }
    }

    /// Adds what helps.
    #[must_use]
    pub fn with_hint(mut self, hint: Option<&str>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }
}

/// Numbers of one instance's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Records.
    pub records: u64,
    /// Those [known](Record::is_known) to have a name in the address book.
    pub known: u64,
    /// Those that are due, now or later.
    pub due: u64,
    /// Those that are held.
    pub held: u64,
    /// Those that are parked.
    pub parked: u64,
}

/// One run, as the ledger remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RunRecord {
    /// The number of the run.
    pub run: u64,
    /// Who ran it: a host and a process.
    pub owner: Box<str>,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; `None` if it did not get that far, or has not yet.
    pub ended: Option<Timestamp>,
    /// Its summary as JSON, once it ended.
    pub summary: Option<Box<str>>,
}

impl RunRecord {
    /// A run that has begun.
    #[must_use]
    pub fn begun(run: u64, owner: impl Into<Box<str>>, began: Timestamp) -> Self {
        Self { run, owner: owner.into(), began, ended: None, summary: None }
    }
}

/// Why a ledger could not do what was asked.
#[derive(Debug)]
pub struct LedgerError {
    kind: LedgerErrorKind,
    detail: Box<str>,
    holder: Option<Box<str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What happened to a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LedgerErrorKind {
    /// Somebody else pushes for the instance, or holds the store for longer than it is waited for.
    Busy,
    /// A newer lease of the instance was given out: this one may no longer write.
    Fenced,
    /// It was written by another version of this crate.
    Version,
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
        Self { kind, detail: detail.into(), holder: None, source: None }
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

    /// The error of whoever wants a lease that another one holds for so long unless it renews it; for ledgers.
    #[must_use]
    pub fn busy(instance: &InstanceId, holder: &str, rest: Duration) -> Self {
        let detail = format!(
            "{holder} is writing instance {instance}; wait for it to end, or stop it. Its lease ends in {} s unless it is renewed",
            rest.as_millis().div_ceil(1_000)
        );
        Self { holder: Some(holder.into()), ..Self::new(LedgerErrorKind::Busy, detail) }
    }

    /// Who holds the lease that was wanted, where that is why.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        self.holder.as_deref()
    }

    /// The error of a write under a lease that is no longer held; for ledgers.
    #[must_use]
    pub fn fenced(instance: &InstanceId) -> Self {
        let detail = format!("another worker has taken over instance {instance}; this one may no longer write");
        Self::new(LedgerErrorKind::Fenced, detail)
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

#[async_trait]
impl<L: Ledger + ?Sized> Ledger for Arc<L> {
    async fn acquire(&self, instance: &InstanceId, owner: &str, ttl: Duration) -> Result<Lease, LedgerError> {
        (**self).acquire(instance, owner, ttl).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), LedgerError> {
        (**self).renew(lease, ttl).await
    }

    async fn release(&self, lease: Lease) -> Result<(), LedgerError> {
        (**self).release(lease).await
    }

    async fn fetch(&self, instance: &InstanceId, query: Query<'_>) -> Result<Vec<Record>, LedgerError> {
        (**self).fetch(instance, query).await
    }

    async fn commit(
        &self,
        instance: &InstanceId,
        lease: Option<&Lease>,
        writes: Vec<Write>,
    ) -> Result<Vec<usize>, LedgerError> {
        (**self).commit(instance, lease, writes).await
    }

    async fn diff(&self, instance: &InstanceId) -> Result<Box<dyn Diff>, LedgerError> {
        (**self).diff(instance).await
    }

    async fn state(&self, instance: &InstanceId) -> Result<InstanceState, LedgerError> {
        (**self).state(instance).await
    }

    async fn save_state(&self, instance: &InstanceId, state: InstanceState) -> Result<bool, LedgerError> {
        (**self).save_state(instance, state).await
    }

    async fn counts(&self, instance: &InstanceId) -> Result<Counts, LedgerError> {
        (**self).counts(instance).await
    }

    async fn begin_run(&self, instance: &InstanceId, owner: &str, began: Timestamp) -> Result<u64, LedgerError> {
        (**self).begin_run(instance, owner, began).await
    }

    async fn end_run(
        &self,
        instance: &InstanceId,
        run: u64,
        ended: Timestamp,
        summary: &str,
    ) -> Result<(), LedgerError> {
        (**self).end_run(instance, run, ended, summary).await
    }

    async fn runs(&self, instance: &InstanceId, limit: usize) -> Result<Vec<RunRecord>, LedgerError> {
        (**self).runs(instance, limit).await
    }

    async fn run(&self, instance: &InstanceId, run: u64) -> Result<Option<RunRecord>, LedgerError> {
        (**self).run(instance, run).await
    }

    async fn open_runs(&self, instance: &InstanceId, limit: usize) -> Result<Vec<RunRecord>, LedgerError> {
        (**self).open_runs(instance, limit).await
    }

    async fn history(&self, instance: &InstanceId, chat: &ChatId) -> Result<Vec<Overwritten>, LedgerError> {
        (**self).history(instance, chat).await
    }

    async fn before_run(
        &self,
        instance: &InstanceId,
        run: u64,
        after: Option<&ChatId>,
        limit: usize,
    ) -> Result<Vec<Overwritten>, LedgerError> {
        (**self).before_run(instance, run, after, limit).await
    }

    async fn append_report(&self, instance: &InstanceId, run: u64, lines: &str) -> Result<(), LedgerError> {
        (**self).append_report(instance, run, lines).await
    }

    async fn report(&self, instance: &InstanceId, run: u64) -> Result<Vec<Box<str>>, LedgerError> {
        (**self).report(instance, run).await
    }

    async fn keep_reports(&self, instance: &InstanceId, runs: u64) -> Result<(), LedgerError> {
        (**self).keep_reports(instance, runs).await
    }

    async fn forget(&self, instance: &InstanceId, record: &Record) -> Result<bool, LedgerError> {
        (**self).forget(instance, record).await
    }

    async fn forgotten(&self, instance: &InstanceId, ids: &[&str]) -> Result<Vec<bool>, LedgerError> {
        (**self).forgotten(instance, ids).await
    }

    async fn allow(&self, instance: &InstanceId, id: &str) -> Result<bool, LedgerError> {
        (**self).allow(instance, id).await
    }
}
