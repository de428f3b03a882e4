//! A comparison: what of an export is new, and what is staged by it.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use self::{
    compare::Found,
    view::{Rest, View, parse},
};
use super::{
    File,
    bits::Bits,
    blocking,
    fault::Fault,
    file, instance,
    record::{GivesUp, Next, Writer, count, read, start},
    schema::SESSION,
};
use crate::{
    ChatId, InstanceId,
    crm::RowDigest,
    ledger::{Diff, Incoming, LedgerError, Tally, Verdict, Write},
    record::{Record, Status},
};

mod compare;
mod stage;
mod view;

/// A comparison that waits for its next call.
pub(super) struct SqliteDiff {
    file: Arc<File>,
    session: Arc<Mutex<Session>>,
}

/// A connection of its own, with staged writes in tables that are gone with it.
struct Session {
    connection: Connection,
    instance: InstanceId,
    progress: Progress,
    /// Whether a call failed: what it staged may be there in part.
    is_broken: bool,
}

/// What a comparison remembers between its calls: some bits for each claim, and nothing that grows with what it compares.
#[derive(Default)]
struct Progress {
    id: Option<i64>,
    /// Claims that were there at the beginning, once they were counted, and the arrival of the last of them.
    claims: Option<u64>,
    last: u64,
    /// Contacts that were not in sync at the beginning, by number.
    open: Bits,
    /// Claims that a row was compared with, by arrival.
    met: Bits,
    /// Those of them whose record was open.
    met_open: Bits,
    /// Claims that something was staged for.
    touched: Bits,
    /// The claim after which the next row is expected.
    cursor: u64,
    /// The last claim that was looked at for being absent.
    listed: u64,
    staged: u64,
    /// Staged records that are in sync and have a claim.
    staged_in_sync: u64,
    has_aliases: bool,
    /// CRM ids of compared rows that have no claim and were not staged so far: of one batch at the most.
    fresh: HashSet<Box<str>>,
    /// The stored claims of the rows that were given out last, as of that version of the file: what is staged next is mostly about
    /// them.
    given: HashMap<Box<str>, StoredClaim>,
    version: i64,
    found: Vec<Option<Found>>,
    missed: Vec<usize>,
}

/// A claim as it is stored.
#[derive(Clone, Copy)]
struct StoredClaim {
    arrival: u64,
    contact: i64,
    digest: RowDigest,
}

impl SqliteDiff {
    pub(super) fn begin(file: &Arc<File>, instance: InstanceId) -> Result<Self, Fault> {
        let mut connection = file::connect(&file.place.path)?;
        connection.execute_batch(SESSION)?;
        let transaction = connection.transaction()?;
        let progress = Progress::begin(&transaction, &instance)?;
        drop(transaction);
        tracing::debug!(%instance, "comparison begun");
        let session = Session { connection, instance, progress, is_broken: false };
        Ok(Self { file: Arc::clone(file), session: Arc::new(Mutex::new(session)) })
    }

    /// Carries out one call, which sees one state of the ledger.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Progress, &Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (file, session) = (Arc::clone(&self.file), Arc::clone(&self.session));
        blocking(move || {
            let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
            session.call(work).map_err(|fault| fault.explain(&file.name))
        })
        .await
    }
}

impl Session {
    fn call<T>(&mut self, work: impl FnOnce(&mut Progress, &Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        // Until the call has succeeded.
        if mem::replace(&mut self.is_broken, true) {
            return Err(Fault::Broken);
        }
        let transaction = self.connection.transaction()?;
        if self.progress.id.is_none() {
            self.progress.id = instance::find(&transaction, &self.instance)?;
        }
        let answer = work(&mut self.progress, &transaction)?;
        transaction.commit()?;
        self.is_broken = false;
        Ok(answer)
    }

    fn writes(&self) -> Result<Vec<Write>, Fault> {
        let sql = "SELECT body, revision, rest FROM temp.staged ORDER BY id";
        let mut staged = self.connection.prepare(sql)?;
        let (mut rows, mut writes) = (staged.query([])?, Vec::new());
        while let Some(row) = rows.next()? {
            writes.push(parse(row)?);
        }
        Ok(writes)
    }

    /// Stores what is staged; if `is_whole`, all of it or nothing.
    fn apply(&mut self, is_whole: bool) -> Result<Vec<Write>, Fault> {
        if self.is_broken {
            return Err(Fault::Broken);
        }
        if self.progress.staged == 0 {
            return Ok(Vec::new());
        }
        // The pages of the contacts' index come in any order.
        self.connection.execute_batch("PRAGMA cache_size = -8192;")?;
        let mut excluded = HashSet::new();
        let lost = loop {
            let transaction = Transaction::new(&mut self.connection, TransactionBehavior::Immediate)?;
            let id = instance::make(&transaction, &self.instance)?;
            let mut writer = Writer::new(&transaction, id)?;
            let staged = Staged { connection: &transaction, excluded: &excluded, relied_on: RefCell::default() };
            let lost = staged.store(&mut writer)?;
            if is_whole && !lost.is_empty() {
                return Ok(lost);
            }
            let relied_on = staged.relied_on.into_inner();
            let relied_on = |write: &Write| relied_on.contains(write.record.chat.as_str());
            if !lost.iter().any(relied_on) {
                writer.finish()?;
                transaction.commit()?;
                break lost;
            }
            // What relied on a write that has lost must not be stored either. What has lost now loses for good, as in a commit.
            let givers = lost.iter().filter(|write| write.gives() || relied_on(write));
            excluded.extend(givers.map(|write| Box::from(write.record.chat.as_str())));
        };
        let applied = self.progress.staged - lost.len() as u64;
        tracing::debug!(instance = %self.instance, applied, lost = lost.len(), "staged records applied");
        Ok(lost)
    }
}

/// What is staged, on its way into the store.
struct Staged<'c> {
    connection: &'c Connection,
    /// Chats whose writes are known to lose.
    excluded: &'c HashSet<Box<str>>,
    /// Chats whose writes gave something up that another one took.
    relied_on: RefCell<HashSet<Box<str>>>,
}

impl Staged<'_> {
    /// Stores it in the order of arrival, and gives back what has lost.
    fn store(&self, writer: &mut Writer<'_>) -> Result<Vec<Write>, Fault> {
        let sql = "SELECT body, revision, rest, chat, state, at, known FROM temp.staged ORDER BY id";
        let mut staged = self.connection.prepare(sql)?;
        let (mut rows, mut lost) = (staged.query([])?, Vec::new());
        while let Some(row) = rows.next()? {
            let text = |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_str()?);
            let next = Next {
                chat: text(3)?,
                revision: row.get::<_, i64>(1)?.cast_unsigned(),
                state: text(4)?,
                at: row.get(5)?,
                is_known: row.get(6)?,
                body: text(0)?,
            };
            let Rest { overwritten, unclaimed, .. } = Rest::read(row, 2)?;
            if self.excluded.contains(next.chat) || !writer.put(&next, &unclaimed, None, self)? {
                lost.push(parse(row)?);
            } else {
                writer.note(&overwritten)?;
            }
        }
        Ok(lost)
    }

    /// Who gives up a claim of the record of a chat, which is stored at a revision.
    fn giver(&self, chat: &str, revision: u64, crm_id: &str) -> Result<Option<String>, Fault> {
        let staged = "SELECT body, revision FROM temp.staged WHERE chat = ?1";
        let record = self.connection.prepare_cached(staged)?.query_row([chat], read).optional()?;
        let is_left = |record: &Record| record.revision == revision && record.claim(crm_id).is_none();
        Ok(record.filter(is_left).map(|record| record.chat.to_string()))
    }
}

impl GivesUp for Staged<'_> {
    fn gives_up(&self, chat: &str, revision: u64, crm_id: &str) -> Result<bool, Fault> {
        let giver = self.giver(chat, revision, crm_id)?.filter(|giver| !self.excluded.contains(giver.as_str()));
        let Some(giver) = giver else { return Ok(false) };
        self.relied_on.borrow_mut().insert(giver.into());
        Ok(true)
    }
}

impl Progress {
    fn begin(connection: &Connection, name: &InstanceId) -> Result<Self, Fault> {
        let Some(id) = instance::find(connection, name)? else { return Ok(Self::default()) };
        let number = |sql| connection.query_row(sql, [id], |row| row.get(0)).map(i64::cast_unsigned);
        let mut progress =
            Self { id: Some(id), last: number("SELECT last_claim FROM instance WHERE id = ?1")?, ..Self::default() };
        let sql = "SELECT id FROM contact INDEXED BY contact_open WHERE instance = ?1 AND state <> 'in_sync'";
        let mut open = connection.prepare(sql)?;
        let mut open = open.query([id])?;
        while let Some(row) = open.next()? {
            progress.open.insert(row.get::<_, i64>(0)?.cast_unsigned());
        }
        Ok(progress)
    }

    /// Forgets the claims that were given out, before others are.
    fn forget_given(&mut self, connection: &Connection) -> Result<(), Fault> {
        self.given.clear();
        self.version = version(connection)?;
        Ok(())
    }

    fn absent(&mut self, connection: &Connection, limit: usize) -> Result<Vec<(Box<str>, Record)>, Fault> {
        let sql = "SELECT crm_id, arrival, contact, digest FROM claim INDEXED BY claim_arrival \
                   WHERE instance = ?1 AND arrival >= ?2 AND arrival <= ?3 ORDER BY arrival LIMIT 1";
        let mut next = connection.prepare_cached(sql)?;
        let mut view = View::new(connection, self)?;
        let mut absent = Vec::new();
        self.forget_given(connection)?;
        while absent.len() < limit {
            let arrival = self.met.first_missing(self.listed + 1);
            let mut rows = next.query(params![self.id, arrival.cast_signed(), self.last.cast_signed()])?;
            let Some(row) = rows.next()? else {
                self.listed = self.last;
                break;
            };
            // Where a claim was deleted, the next one may have been met.
            self.listed = row.get::<_, i64>(1)?.cast_unsigned();
            if !self.met.contains(self.listed) {
                let crm_id: Box<str> = row.get(0)?;
                let (staged, _) = view.staged_claim(&crm_id)?.unwrap_or_default();
                let contact = row.get(2)?;
                let holder = view.holder(&crm_id, staged, Some(contact))?;
                let digest = RowDigest::from_bytes(row.get(3)?);
                self.given.insert(crm_id.clone(), StoredClaim { arrival: self.listed, contact, digest });
                absent.extend(holder.map(|record| (crm_id, record)));
            }
        }
        Ok(absent)
    }

    fn open(&self, connection: &Connection, after: Option<&ChatId>, limit: usize) -> Result<Vec<Record>, Fault> {
        let sql = "SELECT body, revision FROM contact INDEXED BY contact_open \
                   WHERE instance = ?1 AND chat > ?2 AND state <> 'in_sync' ORDER BY chat LIMIT ?3";
        let mut stored = connection.prepare_cached(sql)?;
        let sql =
            "SELECT body, revision FROM temp.staged WHERE chat > ?1 AND state <> 'in_sync' ORDER BY chat LIMIT ?2";
        let mut staged = connection.prepare_cached(sql)?;
        let mut view = View::new(connection, self)?;
        let (mut open, mut after) = (Vec::new(), start(after));
        // Stored records may be hidden by staged ones, so a page of them may yield less than a page.
        while open.len() < limit {
            let page = stored.query_map(params![self.id, after, count(limit)], read)?;
            let page: Vec<Record> = page.collect::<Result<_, _>>()?;
            let ours = staged.query_map(params![after, count(limit)], read)?;
            let ours: Vec<Record> = ours.collect::<Result<_, _>>()?;
            let full = [&page, &ours].into_iter().filter(|page| page.len() == limit);
            let end = full.filter_map(|page| page.last()).map(|record| record.chat.clone()).min();
            let is_in = |record: &Record| end.as_ref().is_none_or(|end| record.chat <= *end);
            let mut merged: Vec<Record> = ours.into_iter().filter(is_in).collect();
            for record in page.into_iter().filter(is_in) {
                if !view.is_hidden(&record.chat)? {
                    merged.push(record);
                }
            }
            merged.sort_unstable_by(|one, other| one.chat.cmp(&other.chat));
            open.append(&mut merged);
            match end {
                Some(end) => after = end.to_string(),
                None => break,
            }
        }
        open.truncate(limit);
        Ok(open)
    }

    fn tally(&mut self, connection: &Connection) -> Result<Tally, Fault> {
        let none = Bits::default();
        let met = self.met.count_without(self.last, [&none, &none]);
        // Numbers that were not met may be those of claims that are gone for long.
        let claims = match self.claims {
            Some(claims) => claims,
            None if met == self.last => met,
            None => met + self.count_missing(connection)?,
        };
        self.claims = Some(claims);
        let count = |others| self.met.count_without(self.last, others);
        Ok(Tally {
            claims,
            met,
            unchanged: count([&self.met_open, &self.touched]) + self.staged_in_sync,
            staged: self.staged,
        })
    }

    fn count_missing(&self, connection: &Connection) -> Result<u64, Fault> {
        let sql = "SELECT arrival FROM claim INDEXED BY claim_arrival WHERE instance = ?1 AND arrival <= ?2";
        let mut claims = connection.prepare(sql)?;
        let mut claims = claims.query(params![self.id, self.last.cast_signed()])?;
        let mut missing = 0;
        while let Some(claim) = claims.next()? {
            missing += u64::from(!self.met.contains(claim.get::<_, i64>(0)?.cast_unsigned()));
        }
        Ok(missing)
    }
}

#[async_trait]
impl Diff for SqliteDiff {
    async fn compare(&mut self, rows: Arc<[Incoming]>) -> Result<Vec<Verdict>, LedgerError> {
        self.call(move |progress, connection| progress.compare(connection, &rows)).await
    }

    async fn stage(&mut self, writes: Vec<Write>) -> Result<(), LedgerError> {
        self.call(move |progress, connection| progress.stage(connection, writes)).await
    }

    async fn find(&mut self, chats: &[ChatId]) -> Result<Vec<Record>, LedgerError> {
        let chats = chats.to_vec();
        self.call(move |progress, connection| {
            let mut view = View::new(connection, progress)?;
            let mut found: Vec<Record> = Vec::new();
            for chat in &chats {
                found.extend(view.by_chat(chat)?);
                found.extend(view.by_alias(chat)?);
            }
            found.sort_unstable_by(|one, other| one.chat.cmp(&other.chat));
            found.dedup_by(|one, other| one.chat == other.chat);
            Ok(found)
        })
        .await
    }

    async fn absent(&mut self, limit: usize) -> Result<Vec<(Box<str>, Record)>, LedgerError> {
        self.call(move |progress, connection| progress.absent(connection, limit)).await
    }

    async fn open(&mut self, after: Option<&ChatId>, limit: usize) -> Result<Vec<Record>, LedgerError> {
        let after = after.cloned();
        self.call(move |progress, connection| progress.open(connection, after.as_ref(), limit)).await
    }

    async fn tally(&mut self) -> Result<Tally, LedgerError> {
        self.call(Progress::tally).await
    }

    async fn apply(self: Box<Self>) -> Result<Vec<Write>, LedgerError> {
        let Self { file, session } = *self;
        blocking(move || {
            file.place.check()?;
            let _turn = file.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
            session.apply(false).map_err(|fault| fault.explain(&file.name))
        })
        .await
    }

    async fn apply_whole(self: Box<Self>) -> Result<Vec<Write>, LedgerError> {
        let Self { file, session } = *self;
        blocking(move || {
            file.place.check()?;
            let _turn = file.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
            session.apply(true).map_err(|fault| fault.explain(&file.name))
        })
        .await
    }

    async fn into_writes(self: Box<Self>) -> Result<Vec<Write>, LedgerError> {
        let Self { file, session } = *self;
        blocking(move || {
            let session = session.lock().unwrap_or_else(PoisonError::into_inner);
            session.writes().map_err(|fault| fault.explain(&file.name))
        })
        .await
    }
}

impl fmt::Debug for SqliteDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteDiff").field("file", &self.file.name).finish_non_exhaustive()
    }
}

/// A number that changes when another connection changes the file.
fn version(connection: &Connection) -> Result<i64, Fault> {
    Ok(connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?)
}

/// Whether a row claims a record that waits for nothing.
fn is_settled(record: &Record) -> bool {
    record.status == Status::InSync && !record.claims.is_empty()
}
