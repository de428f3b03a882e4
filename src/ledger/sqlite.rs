use std::{
    fmt,
    panic::resume_unwind,
    path::{self, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::task::{JoinError, spawn_blocking};

use self::{diff::SqliteDiff, fault::Fault, file::Place};
use super::{Counts, Diff, InstanceState, Lease, Ledger, LedgerError, LedgerErrorKind, Query, RunRecord, Write};
use crate::{
    ChatId, InstanceId,
    record::{Overwritten, Record},
    time::{Clock, Timestamp},
};

mod bits;
mod diff;
mod fault;
mod file;
mod forget;
mod instance;
mod lease;
mod record;
mod schema;
#[cfg(test)]
mod tests;

/// A ledger in one SQLite file.
///
/// Every write is on the disk when it returns: a crash at any point, of the process or of the machine, loses nothing that was
/// acknowledged. Several processes of one machine may have the file open, and write side by side; each waits for the others. Everything
/// in it is plain text and numbers, to be looked at with the `sqlite3` shell.
///
/// # Files
///
/// A new ledger can be read by its owner only; so can the files beside it. SQLite keeps two there while the ledger is open, `-wal` and
/// `-shm` at the end of the name, which belong to it. Each instance has a lock, an empty file with `-lease-1-0` at the end (the number
/// of the instance, and that of the lock). Whoever holds the instance's lease holds the lock, and the system frees it when that
/// process dies, however it dies; so a crash never makes anyone wait. Dropping a [`Lease`] frees it as well.
///
/// # Calls
///
/// Calls run on the runtime's blocking threads, writes one after the other. A write that is cancelled is still carried out, as a
/// whole, or not at all. A [comparison](Ledger::diff) has a connection of its own, so it holds up nobody until it is applied.
///
/// ```
/// use std::time::Duration;
/// use wawp_contacts::{InstanceId, ledger::{Ledger, LedgerErrorKind, SqliteLedger}};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let file = folder.path().join("contacts.ledger");
/// let (instance, ttl): (InstanceId, _) = ("A1B2C3".parse()?, Duration::from_secs(60));
/// let ledger = SqliteLedger::open(&file).await?;
/// let lease = ledger.acquire(&instance, "host-7, process 4711", ttl).await?;
///
/// let second = SqliteLedger::open(&file).await?;
/// let refused = second.acquire(&instance, "host-7, process 4712", ttl).await;
/// assert!(refused.is_err_and(|error| error.kind() == LedgerErrorKind::Busy));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct SqliteLedger {
    file: Arc<File>,
    clock: Clock,
}

struct File {
    place: Place,
    name: Box<str>,
    /// Taken before a transaction that writes: within this process nobody has to wait by the clock.
    writing: Mutex<()>,
    connection: Mutex<Connection>,
}

impl SqliteLedger {
    /// Opens the ledger in a file, or makes it if there is none.
    ///
    /// # Errors
    ///
    /// - [`LedgerErrorKind::Damaged`] if it is not a ledger; such a file is not touched.
    /// - [`LedgerErrorKind::Version`] if a newer version of this crate wrote it, or an older one that was never published; such a file
    ///   is not touched either. What a published version wrote is brought up to date.
    /// - [`LedgerErrorKind::ReadOnly`] or [`LedgerErrorKind::Unavailable`] if it cannot be opened for writing: a folder that is
    ///   missing, a path that is a folder, permissions that are not enough.
    /// - [`LedgerErrorKind::Busy`] if another process brings it up to date for too long.
    /// - [`LedgerErrorKind::Full`] if there is no room to make it.
    pub async fn open(path: impl Into<PathBuf> + Send) -> Result<Self, LedgerError> {
        Self::open_with_clock(path, Clock::system()).await
    }

    /// Like [`open`](Self::open), for a ledger that goes by another clock than the system's. All that have the file open should go by
    /// the same.
    ///
    /// # Errors
    ///
    /// Fails as [`open`](Self::open) does.
    pub async fn open_with_clock(path: impl Into<PathBuf> + Send, clock: Clock) -> Result<Self, LedgerError> {
        let given = path.into();
        let path = path::absolute(&given).unwrap_or(given);
        let name: Box<str> = path.display().to_string().into();
        let file = blocking(move || match file::open(&path) {
            Ok((connection, place)) => {
                Ok(File { place, name, writing: Mutex::default(), connection: Mutex::new(connection) })
            }
            Err(fault) => Err(fault.explain(&name)),
        });
        Ok(Self { file: Arc::new(file.await?), clock })
    }

    /// Reads something of an instance; the answer for one that is not known is the empty one.
    async fn look<T: Default + Send + 'static>(
        &self,
        name: &InstanceId,
        work: impl FnOnce(&Connection, i64) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (file, name) = (Arc::clone(&self.file), name.clone());
        blocking(move || {
            let answer = file.read(|connection| match instance::find(connection, &name)? {
                Some(id) => work(connection, id),
                None => Ok(T::default()),
            });
            answer.map_err(|fault| fault.explain(&file.name))
        })
        .await
    }

    /// Changes something of an instance, which is made if it is not known.
    async fn change<T: Send + 'static>(
        &self,
        name: &InstanceId,
        work: impl FnOnce(&Connection, i64) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let name = name.clone();
        self.write(move |transaction, _| work(transaction, instance::make(transaction, &name)?)).await
    }

    /// Carries out one transaction that writes.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>, &File) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let file = Arc::clone(&self.file);
        blocking(move || file.write(|transaction| work(transaction, &file)).map_err(|fault| fault.explain(&file.name)))
            .await
    }
}

impl File {
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        // One transaction, so that all statements see the same.
        let transaction = connection.transaction()?;
        work(&transaction)
    }

    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>) -> Result<T, Fault> {
        self.place.check()?;
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // A panic within a transaction rolls it back, so the connection is sound even then.
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let answer = work(&transaction)?;
        transaction.commit()?;
        Ok(answer)
    }

    fn erase(&self) -> Result<(), Fault> {
        self.place.check()?;
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        forget::erase(&connection, &self.name)
    }
}

/// Carries out what waits for a disk where it holds up no other task.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, LedgerError> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(lost(error)))
}

fn lost(error: JoinError) -> LedgerError {
    match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(error) => {
            let detail = "the runtime ended before the ledger could answer; keep it until the last call returns";
            LedgerError::new(LedgerErrorKind::Unavailable, detail).because(error)
        }
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn acquire(&self, instance: &InstanceId, owner: &str, ttl: Duration) -> Result<Lease, LedgerError> {
        let (name, owner, clock) = (instance.clone(), owner.to_owned(), self.clock.clone());
        self.write(move |transaction, file| {
            let lease = lease::acquire(transaction, &file.place.path, &name, &owner, clock.now(), ttl)?;
            tracing::debug!(instance = %name, fence = lease.fence, "lease taken");
            Ok(lease)
        })
        .await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), LedgerError> {
        let (name, fence, clock) = (lease.instance.clone(), lease.fence, self.clock.clone());
        self.write(move |transaction, _| lease::renew(transaction, &name, fence, &clock, ttl)).await
    }

    async fn release(&self, lease: Lease) -> Result<(), LedgerError> {
        let now = self.clock.now();
        self.write(move |transaction, _| {
            tracing::debug!(instance = %lease.instance, fence = lease.fence, "lease released");
            lease::release(transaction, &lease.instance, lease.fence, now)
        })
        .await
    }

    async fn fetch(&self, instance: &InstanceId, query: Query<'_>) -> Result<Vec<Record>, LedgerError> {
        let wanted = query.into();
        self.look(instance, move |connection, id| record::fetch(connection, id, wanted)).await
    }

    async fn commit(
        &self,
        instance: &InstanceId,
        lease: Option<&Lease>,
        writes: Vec<Write>,
    ) -> Result<Vec<usize>, LedgerError> {
        let name = instance.clone();
        let lease = lease.map(|lease| (lease.instance.clone(), lease.fence));
        let lost = self.write(move |transaction, _| {
            if let Some((held, fence)) = &lease {
                if *held != name {
                    return Err(LedgerError::fenced(&name).into());
                }
                lease::check(transaction, (held, *fence))?;
            }
            let id = instance::make(transaction, &name)?;
            let lost = record::write_all(transaction, id, &writes)?;
            tracing::debug!(instance = %name, stored = writes.len() - lost.len(), lost = lost.len(), "records stored");
            Ok(lost)
        });
        lost.await
    }

    async fn diff(&self, instance: &InstanceId) -> Result<Box<dyn Diff>, LedgerError> {
        let (file, name) = (Arc::clone(&self.file), instance.clone());
        blocking(move || match SqliteDiff::begin(&file, name) {
            Ok(session) => Ok(Box::new(session) as Box<dyn Diff>),
            Err(fault) => Err(fault.explain(&file.name)),
        })
        .await
    }

    async fn state(&self, instance: &InstanceId) -> Result<InstanceState, LedgerError> {
        self.look(instance, instance::state).await
    }

    async fn save_state(&self, instance: &InstanceId, state: InstanceState) -> Result<bool, LedgerError> {
        self.change(instance, |connection, id| instance::save_state(connection, id, state)).await
    }

    async fn counts(&self, instance: &InstanceId) -> Result<Counts, LedgerError> {
        self.look(instance, instance::counts).await
    }

    async fn begin_run(&self, instance: &InstanceId, owner: &str, began: Timestamp) -> Result<u64, LedgerError> {
        let owner = owner.to_owned();
        self.change(instance, move |connection, id| instance::begin_run(connection, id, &owner, began)).await
    }

    async fn end_run(
        &self,
        instance: &InstanceId,
        run: u64,
        ended: Timestamp,
        summary: &str,
    ) -> Result<(), LedgerError> {
        let summary = summary.to_owned();
        self.change(instance, move |connection, id| instance::end_run(connection, id, run, ended, &summary)).await
    }

    async fn runs(&self, instance: &InstanceId, limit: usize) -> Result<Vec<RunRecord>, LedgerError> {
        self.look(instance, move |connection, id| instance::runs(connection, id, limit)).await
    }

    async fn run(&self, instance: &InstanceId, run: u64) -> Result<Option<RunRecord>, LedgerError> {
        self.look(instance, move |connection, id| instance::run(connection, id, run)).await
    }

    async fn open_runs(&self, instance: &InstanceId, limit: usize) -> Result<Vec<RunRecord>, LedgerError> {
        self.look(instance, move |connection, id| instance::open_runs(connection, id, limit)).await
    }

    async fn history(&self, instance: &InstanceId, chat: &ChatId) -> Result<Vec<Overwritten>, LedgerError> {
        let chat = chat.clone();
        self.look(instance, move |connection, id| instance::history(connection, id, chat.as_str())).await
    }

    async fn before_run(
        &self,
        instance: &InstanceId,
        run: u64,
        after: Option<&ChatId>,
        limit: usize,
    ) -> Result<Vec<Overwritten>, LedgerError> {
        let start = record::start(after);
        self.look(instance, move |connection, id| instance::before_run(connection, id, run, &start, limit)).await
    }

    async fn append_report(&self, instance: &InstanceId, run: u64, lines: &str) -> Result<(), LedgerError> {
        let lines = lines.to_owned();
        self.change(instance, move |connection, id| forget::append_report(connection, id, run, &lines)).await
    }

    async fn report(&self, instance: &InstanceId, run: u64) -> Result<Vec<Box<str>>, LedgerError> {
        self.look(instance, move |connection, id| forget::report(connection, id, run)).await
    }

    async fn keep_reports(&self, instance: &InstanceId, runs: u64) -> Result<(), LedgerError> {
        self.change(instance, move |connection, id| forget::keep_reports(connection, id, runs)).await
    }

    async fn forget(&self, instance: &InstanceId, record: &Record) -> Result<bool, LedgerError> {
        let (name, record) = (instance.clone(), record.clone());
        let is_forgotten = self.change(instance, move |connection, id| forget::forget(connection, id, &record)).await?;
        if is_forgotten {
            let file = Arc::clone(&self.file);
            blocking(move || file.erase().map_err(|fault| fault.explain(&file.name))).await?;
            tracing::debug!(instance = %name, "a person is forgotten");
        }
        Ok(is_forgotten)
    }

    async fn forgotten(&self, instance: &InstanceId, ids: &[&str]) -> Result<Vec<bool>, LedgerError> {
        let (count, ids) = (ids.len(), ids.iter().map(ToString::to_string).collect::<Vec<String>>());
        let answer = self.look(instance, move |connection, id| {
            let marks = forget::Marks::new(connection, Some(id));
            ids.iter().map(|id| marks.has(id)).collect::<Result<Vec<bool>, _>>()
        });
        let mut answer = answer.await?;
        answer.resize(count, false);
        Ok(answer)
    }

    async fn allow(&self, instance: &InstanceId, id: &str) -> Result<bool, LedgerError> {
        let id = id.to_owned();
        self.change(instance, move |connection, instance| forget::allow(connection, instance, &id)).await
    }
}

impl fmt::Debug for SqliteLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteLedger").field("file", &self.file.name).finish_non_exhaustive()
    }
}
