use std::{
    fmt,
    panic::resume_unwind,
    path::{self, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use tokio::task::{JoinError, spawn_blocking};

use self::{
    fault::Fault,
    row::{contact_columns, millis, read, read_overwritten, read_run, read_time},
    save::Instance,
};
use super::{
    Candidate, Counts, Lease, Ledger, LedgerError, LedgerErrorKind, Overwritten, Row, RunRecord, Sifted, Timestamp,
    leases::{Leases, fenced},
};
use crate::{ChatId, InstanceId};

mod fault;
mod file;
mod row;
mod save;
mod schema;
mod sift;
#[cfg(test)]
mod tests;

/// A ledger in one SQLite file.
///
/// Every save is on the disk when it returns: a crash at any point, of the process or of the machine, loses nothing that was
/// acknowledged. The file belongs to one process at a time; the system frees it when that process dies, however it dies.
/// Everything in it is plain text and numbers, to be looked at with the `sqlite3` shell.
///
/// Calls run one after the other on the runtime's blocking threads. A save that is cancelled is still carried out, as a whole,
/// or not at all.
///
/// ```
/// use wawp_contacts::{InstanceId, ledger::{Ledger, LedgerErrorKind, SqliteLedger, Timestamp}};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let folder = tempfile::tempdir()?;
/// # let file = folder.path().join("contacts.ledger");
/// let ledger = SqliteLedger::open(&file).await?;
/// let instance: InstanceId = "A1B2C3".parse()?;
/// let lease = ledger.lease(&instance, Timestamp::now()).await?;
/// ledger.end(&lease, Timestamp::now(), r#"{"calls":0}"#).await?;
///
/// let second = SqliteLedger::open(&file).await;
/// assert!(second.is_err_and(|error| error.kind() == LedgerErrorKind::InUse));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub struct SqliteLedger {
    file: Arc<File>,
    leases: Leases,
}

struct File {
    name: Box<str>,
    connection: Mutex<Connection>,
}

impl SqliteLedger {
    /// Opens the ledger in a file, or makes it if there is none, and keeps other processes out until it is dropped.
    ///
    /// SQLite keeps a second file beside it, with `-wal` at the end; the two belong together.
    ///
    /// # Errors
    ///
    /// - [`LedgerErrorKind::InUse`] if another process has it open, or this one.
    /// - [`LedgerErrorKind::Damaged`] if it is not a ledger; such a file is not touched.
    /// - [`LedgerErrorKind::Newer`] if a newer version of this crate wrote it.
    /// - [`LedgerErrorKind::ReadOnly`] or [`LedgerErrorKind::Unavailable`] if it cannot be opened for writing: a folder that is
    ///   missing, a path that is a folder, permissions that are not enough.
    /// - [`LedgerErrorKind::Full`] if there is no room to make it.
    pub async fn open(path: impl Into<PathBuf> + Send) -> Result<Self, LedgerError> {
        let given = path.into();
        let path = path::absolute(&given).unwrap_or(given);
        let name: Box<str> = path.display().to_string().into();
        let file = spawn_blocking(move || match file::open(&path) {
            Ok(connection) => Ok(File { name, connection: Mutex::new(connection) }),
            Err(fault) => Err(fault.explain(&name)),
        });
        Ok(Self::on(file.await.unwrap_or_else(|error| Err(lost(error)))?))
    }

    /// Makes a ledger in memory, which is gone when it is dropped.
    ///
    /// # Errors
    ///
    /// Fails if there is no memory.
    pub fn in_memory() -> Result<Self, LedgerError> {
        let name = "in memory";
        let connection = Connection::open_in_memory().map_err(Fault::from).and_then(file::prepare);
        let connection = Mutex::new(connection.map_err(|fault| fault.explain(name))?);
        Ok(Self::on(File { name: name.into(), connection }))
    }

    fn on(file: File) -> Self {
        Self { file: Arc::new(file), leases: Leases::default() }
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let file = Arc::clone(&self.file);
        let task = spawn_blocking(move || {
            // A panic within a transaction rolls it back, so the connection is sound even then.
            let mut connection = file.connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection).map_err(|fault| fault.explain(&file.name))
        });
        task.await.unwrap_or_else(|error| Err(lost(error)))
    }

    /// Like [`call`](Self::call), for what needs an instance; the answer for one that is not known is the empty one.
    async fn look<T: Default + Send + 'static>(
        &self,
        instance: &InstanceId,
        work: impl FnOnce(&Connection, Instance) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let name = instance.clone();
        self.call(move |connection| match Instance::find(connection, &name)? {
            Some(instance) => work(connection, instance),
            None => Ok(T::default()),
        })
        .await
    }

    /// Like [`call`](Self::call), for one transaction under a lease.
    async fn write(
        &self,
        lease: &Lease,
        work: impl FnOnce(&Connection, Instance) -> Result<(), Fault> + Send + 'static,
    ) -> Result<(), LedgerError> {
        let (name, fence) = (lease.instance.clone(), lease.fence);
        self.call(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            match Instance::find(&transaction, &name)? {
                Some(instance) if instance.fence == fence => work(&transaction, instance)?,
                _ => return Err(fenced(&name).into()),
            }
            Ok(transaction.commit()?)
        })
        .await
    }
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
    async fn lease(&self, instance: &InstanceId, now: Timestamp) -> Result<Lease, LedgerError> {
        let guard = self.leases.take(instance)?;
        let name = instance.clone();
        let fence = self.call(move |connection| begin(connection, &name, now)).await?;
        Ok(Lease { instance: instance.clone(), fence, guard })
    }

    async fn end(&self, lease: &Lease, now: Timestamp, summary: &str) -> Result<(), LedgerError> {
        let summary: Box<str> = summary.into();
        self.write(lease, move |connection, Instance { id, fence, .. }| {
            let sql = "UPDATE run SET ended = ?3, summary = ?4 WHERE instance = ?1 AND fence = ?2";
            connection.prepare_cached(sql)?.execute(params![id, fence.cast_signed(), millis(now), summary])?;
            Ok(())
        })
        .await
    }

    async fn close_until(&self, lease: &Lease, until: Timestamp) -> Result<(), LedgerError> {
        self.write(lease, move |connection, Instance { id, .. }| {
            let sql = "UPDATE instance SET closed_until = ?2 WHERE id = ?1";
            connection.prepare_cached(sql)?.execute(params![id, millis(until)])?;
            Ok(())
        })
        .await
    }

    async fn closed_until(&self, instance: &InstanceId) -> Result<Timestamp, LedgerError> {
        self.look(instance, |connection, Instance { id, .. }| {
            let sql = "SELECT closed_until FROM instance WHERE id = ?1";
            Ok(connection.prepare_cached(sql)?.query_row([id], read_time)?.unwrap_or_default())
        })
        .await
    }

    async fn sift(&self, instance: &InstanceId, candidates: Vec<Candidate>) -> Result<Sifted, LedgerError> {
        let name = instance.clone();
        self.call(move |connection| {
            let instance = Instance::find(connection, &name)?;
            sift::sift(connection, instance.map(|instance| instance.id), candidates)
        })
        .await
    }

    async fn load(&self, instance: &InstanceId, chats: &[ChatId]) -> Result<Vec<Option<Row>>, LedgerError> {
        let (name, chats) = (instance.clone(), chats.to_vec());
        self.call(move |connection| {
            let instance = Instance::find(connection, &name)?.map(|instance| instance.id);
            let mut load = connection.prepare_cached(sift::LOAD)?;
            let mut row = |chat: &ChatId| load.query_row(params![instance, chat.as_str()], read).optional();
            chats.iter().map(|chat| Ok(row(chat)?)).collect()
        })
        .await
    }

    async fn save(&self, lease: &Lease, rows: Vec<Row>, history: Vec<Overwritten>) -> Result<(), LedgerError> {
        self.write(lease, move |connection, instance| save::save(connection, instance, rows, &history)).await
    }

    async fn due(
        &self,
        instance: &InstanceId,
        by: Timestamp,
        after: Option<&ChatId>,
        limit: usize,
    ) -> Result<Vec<Row>, LedgerError> {
        const DUE: &str = concat!(
            "SELECT ",
            contact_columns!(),
            " FROM contact INDEXED BY contact_due WHERE instance = ?1 AND chat > ?2 AND due_at <= ?3 ORDER BY chat LIMIT ?4"
        );
        let after = text(after);
        self.look(instance, move |connection, Instance { id, .. }| {
            let mut due = connection.prepare_cached(DUE)?;
            let rows = due.query_map(params![id, after, millis(by), count(limit)], read)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn next_due(&self, instance: &InstanceId) -> Result<Option<Timestamp>, LedgerError> {
        self.look(instance, |connection, Instance { id, .. }| {
            let sql =
                "SELECT min(due_at) FROM contact INDEXED BY contact_due WHERE instance = ?1 AND due_at IS NOT NULL";
            Ok(connection.prepare_cached(sql)?.query_row([id], read_time)?)
        })
        .await
    }

    async fn rows(&self, instance: &InstanceId, after: Option<&ChatId>, limit: usize) -> Result<Vec<Row>, LedgerError> {
        const ROWS: &str = concat!(
            "SELECT ",
            contact_columns!(),
            " FROM contact WHERE instance = ?1 AND chat > ?2 ORDER BY chat LIMIT ?3"
        );
        let after = text(after);
        self.look(instance, move |connection, Instance { id, .. }| {
            let mut rows = connection.prepare_cached(ROWS)?;
            let rows = rows.query_map(params![id, after, count(limit)], read)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn counts(&self, instance: &InstanceId) -> Result<Counts, LedgerError> {
        self.look(instance, |_, instance| Ok(instance.counts)).await
    }

    async fn history(&self, instance: &InstanceId, chat: &ChatId) -> Result<Vec<Overwritten>, LedgerError> {
        let chat = chat.clone();
        self.look(instance, move |connection, Instance { id, .. }| {
            let sql = "SELECT chat, text, by_first, by_last, at FROM history WHERE instance = ?1 AND chat = ?2 \
                       ORDER BY id DESC";
            let mut history = connection.prepare_cached(sql)?;
            let entries = history.query_map(params![id, chat.as_str()], read_overwritten)?;
            Ok(entries.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn runs(&self, instance: &InstanceId, limit: usize) -> Result<Vec<RunRecord>, LedgerError> {
        self.look(instance, move |connection, Instance { id, .. }| {
            let sql = "SELECT fence, began, ended, summary FROM run WHERE instance = ?1 ORDER BY fence DESC LIMIT ?2";
            let mut runs = connection.prepare_cached(sql)?;
            let runs = runs.query_map(params![id, count(limit)], read_run)?;
            Ok(runs.collect::<Result<_, _>>()?)
        })
        .await
    }
}

impl fmt::Debug for SqliteLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteLedger").field("file", &self.file.name).finish_non_exhaustive()
    }
}

fn begin(connection: &mut Connection, name: &InstanceId, now: Timestamp) -> Result<u64, Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = "INSERT INTO instance (name) VALUES (?1) ON CONFLICT (name) DO UPDATE SET fence = fence + 1 \
               RETURNING id, fence";
    let (id, fence): (i64, i64) = transaction.query_row(sql, [name.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let sql = "INSERT INTO run (instance, fence, began) VALUES (?1, ?2, ?3)";
    transaction.execute(sql, params![id, fence, millis(now)])?;
    transaction.commit()?;
    Ok(fence.cast_unsigned())
}

/// The key to start after; no chat id is empty.
fn text(after: Option<&ChatId>) -> String {
    after.map(ToString::to_string).unwrap_or_default()
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
