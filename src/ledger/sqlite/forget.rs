//! Persons who were forgotten: what is deleted, erased and kept of them.

use std::{cell::OnceCell, collections::BTreeMap};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    fault::Fault,
    record::{Writer, body},
};
use crate::{
    ChatId,
    ledger::{LedgerError, LedgerErrorKind, Mark, Salt, chats_of, ids_of, strike},
    record::Record,
};

/// Tells the ids of forgotten persons; asks for the salt once.
pub(super) struct Marks<'c> {
    connection: &'c Connection,
    instance: Option<i64>,
    salt: OnceCell<Option<Salt>>,
}

impl<'c> Marks<'c> {
    pub(super) fn new(connection: &'c Connection, instance: Option<i64>) -> Self {
        Self { connection, instance, salt: OnceCell::new() }
    }

    /// Whether there can be any.
    pub(super) fn exist(&self) -> Result<bool, Fault> {
        Ok(self.salt()?.is_some())
    }

    pub(super) fn has(&self, id: &str) -> Result<bool, Fault> {
        let Some(mark) = self.salt()?.map(|salt| salt.mark(id)) else { return Ok(false) };
        let sql = "SELECT 1 FROM forgotten WHERE instance = ?1 AND mark = ?2";
        Ok(self.connection.prepare_cached(sql)?.exists(params![self.instance, mark])?)
    }

    fn salt(&self) -> Result<Option<&Salt>, Fault> {
        if let Some(salt) = self.salt.get() {
            return Ok(salt.as_ref());
        }
        let sql = "SELECT salt FROM instance WHERE id = ?1 AND salt IS NOT NULL";
        let salt = self.connection.prepare_cached(sql)?.query_row([self.instance], |row| row.get(0)).optional()?;
        Ok(self.salt.get_or_init(|| salt.map(Salt::from_bytes)).as_ref())
    }
}

/// Deletes what is known of a person, and leaves marks; within a transaction. Says whether the record's revision was the newest.
pub(super) fn forget(connection: &Connection, instance: i64, record: &Record) -> Result<bool, Fault> {
    if !Writer::new(connection, instance)?.delete(&record.chat, record.revision)? {
        return Ok(false);
    }
    let (chats, ids) = (chats_of(record), ids_of(record));
    forget_aliases(connection, instance, &chats)?;
    for chat in &chats {
        connection
            .execute("DELETE FROM history WHERE instance = ?1 AND chat = ?2", params![instance, chat.as_str()])?;
    }
    strike_reports(connection, instance, &ids)?;
    mark(connection, instance, &ids)?;
    Ok(true)
}

/// Takes chats out of the aliases of records that had them before they were the person's.
fn forget_aliases(connection: &Connection, instance: i64, chats: &[ChatId]) -> Result<(), Fault> {
    let mut others: BTreeMap<i64, Record> = BTreeMap::new();
    for chat in chats {
        connection.execute("DELETE FROM alias WHERE instance = ?1 AND alias = ?2", params![instance, chat.as_str()])?;
        let sql = "SELECT id, body FROM contact WHERE instance = ?1 AND instr(body, ?2)";
        let mut found = connection.prepare(sql)?;
        let found = found.query_map(params![instance, chat.as_str()], |row| {
            Ok((row.get::<_, i64>(0)?, body::<Record>(1, row.get_ref(1)?.as_str()?)?))
        })?;
        for row in found {
            let (id, record) = row?;
            others.insert(id, record);
        }
    }
    for (id, mut other) in others {
        let count = other.aliases.len();
        other.aliases.retain(|alias| !chats.contains(alias));
        if other.aliases.len() < count {
            let sql = "UPDATE contact SET body = ?2, revision = revision + 1 WHERE id = ?1";
            connection.execute(sql, params![id, serde_json::to_string(&other)?])?;
        }
    }
    Ok(())
}

fn strike_reports(connection: &Connection, instance: i64, ids: &[Box<str>]) -> Result<(), Fault> {
    let mut update = connection.prepare("UPDATE report SET lines = ?2 WHERE id = ?1")?;
    for id in ids {
        let quoted = serde_json::to_string(id)?;
        let sql = "SELECT id, lines FROM report WHERE instance = ?1 AND instr(lines, ?2)";
        let mut found = connection.prepare(sql)?;
        let mut found = found.query(params![instance, quoted])?;
        while let Some(row) = found.next()? {
            let lines = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            if let Some(struck) = strike(lines, |named| *named == **id)? {
                update.execute(params![row.get::<_, i64>(0)?, struck])?;
            }
        }
    }
    Ok(())
}

fn mark(connection: &Connection, instance: i64, ids: &[Box<str>]) -> Result<(), Fault> {
    connection.execute("UPDATE instance SET salt = coalesce(salt, randomblob(32)) WHERE id = ?1", [instance])?;
    let salt = connection.query_row("SELECT salt FROM instance WHERE id = ?1", [instance], |row| row.get(0))?;
    let salt = Salt::from_bytes(salt);
    let marks: Vec<Mark> = ids.iter().map(|id| salt.mark(id)).collect();
    let Some(person) = marks.first() else { return Ok(()) };
    for mark in &marks {
        // Marks of one who was forgotten under another id before are this person's as well.
        let sql = "UPDATE forgotten SET person = ?3 WHERE instance = ?1 \
                   AND person = (SELECT person FROM forgotten WHERE instance = ?1 AND mark = ?2)";
        connection.execute(sql, params![instance, mark, person])?;
        let sql = "REPLACE INTO forgotten (instance, mark, person) VALUES (?1, ?2, ?3)";
        connection.execute(sql, params![instance, mark, person])?;
    }
    Ok(())
}

/// Makes sure that no byte of what was deleted is left in the file, or in the log beside it.
///
/// Overwriting what is deleted (`secure_delete`) is no proof: a page whose rows were moved is packed anew, and the gap in it is not
/// cleared. A file that is built anew holds what is live, and nothing else.
pub(super) fn erase(connection: &Connection, name: &str) -> Result<(), Fault> {
    let is_busy = match connection.execute_batch("VACUUM") {
        Ok(()) => connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?,
        Err(error) => match Fault::from(error) {
            fault if fault.is_busy() => true,
            fault => return Err(fault),
        },
    };
    if is_busy {
        let detail = format!(
            "the person is forgotten, but others use the ledger {name} for so long that what was deleted could not be erased \
             from the file; forget the person once more to erase it"
        );
        return Err(LedgerError::new(LedgerErrorKind::Busy, detail).into());
    }
    Ok(())
}

/// Deletes all marks of the person who has an id, and says whether there were any.
pub(super) fn allow(connection: &Connection, instance: i64, id: &str) -> Result<bool, Fault> {
    let marks = Marks::new(connection, Some(instance));
    let Some(mark) = marks.salt()?.map(|salt| salt.mark(id)) else { return Ok(false) };
    let sql = "DELETE FROM forgotten WHERE instance = ?1 \
               AND person = (SELECT person FROM forgotten WHERE instance = ?1 AND mark = ?2)";
    Ok(connection.execute(sql, params![instance, mark])? > 0)
}

pub(super) fn append_report(connection: &Connection, instance: i64, run: u64, lines: &str) -> Result<(), Fault> {
    let marks = Marks::new(connection, Some(instance));
    let (mut struck, mut failed) = (None, None);
    if marks.exist()? {
        struck = strike(lines, |id| {
            marks.has(id).unwrap_or_else(|fault| {
                failed = Some(fault);
                true
            })
        })?;
    }
    if let Some(fault) = failed {
        return Err(fault);
    }
    let sql = "INSERT INTO report (instance, run, lines) VALUES (?1, ?2, ?3)";
    connection.prepare_cached(sql)?.execute(params![
        instance,
        run.cast_signed(),
        struck.as_deref().unwrap_or(lines)
    ])?;
    Ok(())
}

pub(super) fn report(connection: &Connection, instance: i64, run: u64) -> Result<Vec<Box<str>>, Fault> {
    let sql = "SELECT lines FROM report WHERE instance = ?1 AND run = ?2 ORDER BY id";
    let mut lines = connection.prepare_cached(sql)?;
    let lines = lines.query_map(params![instance, run.cast_signed()], |row| row.get(0))?;
    Ok(lines.collect::<Result<_, _>>()?)
}

pub(super) fn keep_reports(connection: &Connection, instance: i64, runs: u64) -> Result<(), Fault> {
    let sql = "DELETE FROM report WHERE instance = ?1 \
               AND run NOT IN (SELECT DISTINCT run FROM report WHERE instance = ?1 ORDER BY run DESC LIMIT ?2)";
    connection.prepare_cached(sql)?.execute(params![instance, i64::try_from(runs).unwrap_or(i64::MAX)])?;
    Ok(())
}
