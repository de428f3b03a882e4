//! Records as rows: what is written with one, and how it is read.

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params, types::Type};
use serde::{Deserialize, de::DeserializeOwned};

use super::{fault::Fault, instance::count};
use crate::{
    ChatId,
    crm::RowDigest,
    ledger::{Call, Query, Write},
    record::{Claim, Record},
    time::Timestamp,
};

/// Takes what is stored as JSON.
pub(super) fn body<T: DeserializeOwned>(column: usize, text: &str) -> rusqlite::Result<T> {
    let unreadable = |error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error));
    serde_json::from_str(text).map_err(unreadable)
}

/// Takes a record from a row of `body, revision`.
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Record> {
    let record: Record = body(0, row.get_ref(0)?.as_str()?)?;
    Ok(Record { revision: row.get::<_, i64>(1)?.cast_unsigned(), ..record })
}

/// Turns a moment into a number that the database orders as moments are ordered, up to the last one.
pub(super) fn order(time: Timestamp) -> i64 {
    (time.0 ^ (1 << 63)).cast_signed()
}

/// A [`Query`] that can be sent to another thread.
pub(super) enum Wanted {
    Chats(Vec<ChatId>),
    CrmIds(Vec<Box<str>>),
    Due { by: Timestamp, limit: usize },
    DueAfter { after: Timestamp, limit: usize },
    State { state: Box<str>, after: String, limit: usize },
    All { after: String, limit: usize },
}

impl From<Query<'_>> for Wanted {
    fn from(query: Query<'_>) -> Self {
        match query {
            Query::Chats(chats) => Self::Chats(chats.to_vec()),
            Query::CrmIds(crm_ids) => Self::CrmIds(crm_ids.to_vec()),
            Query::Due { by, limit } => Self::Due { by, limit },
            Query::DueAfter { after, limit } => Self::DueAfter { after, limit },
            Query::State { state, after, limit } => Self::State { state: state.into(), after: start(after), limit },
            Query::All { after, limit } => Self::All { after: start(after), limit },
        }
    }
}

/// The chat to start after; no chat id is empty.
pub(super) fn start(after: Option<&ChatId>) -> String {
    after.map(ToString::to_string).unwrap_or_default()
}

pub(super) fn fetch(connection: &Connection, instance: i64, wanted: Wanted) -> Result<Vec<Record>, Fault> {
    let rows = |sql, params: &[&dyn rusqlite::ToSql]| -> Result<Vec<Record>, Fault> {
        Ok(connection.prepare_cached(sql)?.query_map(params, read)?.collect::<Result<_, _>>()?)
    };
    match wanted {
        Wanted::Chats(chats) => by_chats(connection, instance, &chats),
        Wanted::CrmIds(crm_ids) => by_crm_ids(connection, instance, &crm_ids),
        Wanted::Due { by, limit } => rows(
            "SELECT body, revision FROM contact INDEXED BY contact_due WHERE instance = ?1 AND at <= ?2 \
             ORDER BY at, id LIMIT ?3",
            params![instance, order(by), count(limit)],
        ),
        Wanted::DueAfter { after, limit } => rows(
            "SELECT body, revision FROM contact INDEXED BY contact_due WHERE instance = ?1 AND at > ?2 \
             ORDER BY at, id LIMIT ?3",
            params![instance, order(after), count(limit)],
        ),
        // The index of what is open holds few of many, so it is worth the second statement.
        Wanted::State { state, after, limit } if &*state != "in_sync" => rows(
            "SELECT body, revision FROM contact INDEXED BY contact_open WHERE instance = ?1 AND chat > ?2 AND state = ?3 \
             AND state <> 'in_sync' ORDER BY chat LIMIT ?4",
            params![instance, after, state, count(limit)],
        ),
        Wanted::State { state, after, limit } => rows(
            "SELECT body, revision FROM contact WHERE instance = ?1 AND chat > ?2 AND state = ?3 ORDER BY chat LIMIT ?4",
            params![instance, after, state, count(limit)],
        ),
        Wanted::All { after, limit } => rows(
            "SELECT body, revision FROM contact WHERE instance = ?1 AND chat > ?2 ORDER BY chat LIMIT ?3",
            params![instance, after, count(limit)],
        ),
    }
}

fn by_chats(connection: &Connection, instance: i64, chats: &[ChatId]) -> Result<Vec<Record>, Fault> {
    let mut named = connection.prepare_cached(
        "SELECT id FROM contact WHERE instance = ?1 AND chat = ?2 \
         UNION ALL SELECT contact FROM alias WHERE instance = ?1 AND alias = ?2",
    )?;
    let mut ids: Vec<i64> = Vec::with_capacity(chats.len());
    for chat in chats {
        for id in named.query_map(params![instance, chat.as_str()], |row| row.get(0))? {
            ids.push(id?);
        }
    }
    by_ids(connection, ids)
}

fn by_crm_ids(connection: &Connection, instance: i64, crm_ids: &[Box<str>]) -> Result<Vec<Record>, Fault> {
    let mut claim = connection.prepare_cached("SELECT contact FROM claim WHERE instance = ?1 AND crm_id = ?2")?;
    let mut ids: Vec<i64> = Vec::with_capacity(crm_ids.len());
    for crm_id in crm_ids {
        ids.extend(claim.query_row(params![instance, crm_id], |row| row.get::<_, i64>(0)).optional()?);
    }
    by_ids(connection, ids)
}

fn by_ids(connection: &Connection, mut ids: Vec<i64>) -> Result<Vec<Record>, Fault> {
    ids.sort_unstable();
    ids.dedup();
    let mut record = connection.prepare_cached("SELECT body, revision FROM contact WHERE id = ?1")?;
    ids.iter().map(|id| Ok(record.query_row([id], read)?)).collect()
}

/// What `claim` and `alias` have of a record.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Links {
    aliases: Vec<ChatId>,
    claims: Vec<Link>,
}

#[derive(Debug, Deserialize)]
struct Link {
    crm_id: Box<str>,
    digest: RowDigest,
}

/// Whether a claim is new or different, so that it is listed as the record's.
fn is_listed(before: &Links, claim: &Claim) -> bool {
    let known = before.claims.iter().find(|known| known.crm_id == claim.crm_id);
    known.is_none_or(|known| known.digest != claim.digest)
}

/// What the writes of one call give up, so that others of them can take it.
pub(super) trait GivesUp {
    /// Whether the record of a chat, which is stored at a revision, leaves a claim to others.
    fn gives_up(&self, chat: &str, revision: u64, crm_id: &str) -> Result<bool, Fault>;
}

impl GivesUp for Call<'_> {
    fn gives_up(&self, chat: &str, revision: u64, crm_id: &str) -> Result<bool, Fault> {
        Ok(Call::gives_up(self, chat, revision, crm_id))
    }
}

/// What a write has to know of the row that it replaces.
struct Stored {
    id: i64,
    revision: u64,
    state: Box<str>,
    at: Option<i64>,
    is_known: bool,
    links: Links,
}

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            revision: row.get::<_, i64>(1)?.cast_unsigned(),
            state: row.get(2)?,
            at: row.get(3)?,
            is_known: row.get(4)?,
            links: body(5, row.get_ref(5)?.as_str()?)?,
        })
    }
}

/// Stores writes of one instance, within a transaction.
pub(super) struct Writer<'c> {
    connection: &'c Connection,
    instance: i64,
    /// The number of the last claim; `None` until one is needed.
    last_claim: Option<i64>,
    text: Vec<u8>,
    find: CachedStatement<'c>,
    insert: CachedStatement<'c>,
    update: CachedStatement<'c>,
    update_body: CachedStatement<'c>,
}

impl<'c> Writer<'c> {
    pub(super) fn new(connection: &'c Connection, instance: i64) -> Result<Self, Fault> {
        Ok(Self {
            connection,
            instance,
            last_claim: None,
            text: Vec::new(),
            find: connection.prepare_cached(
                "SELECT id, revision, state, at, known, body FROM contact WHERE instance = ?1 AND chat = ?2",
            )?,
            insert: connection.prepare_cached(
                "INSERT INTO contact (instance, chat, revision, state, at, known, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?,
            update: connection.prepare_cached(
                "UPDATE contact SET revision = ?2, state = ?3, at = ?4, known = ?5, body = ?6 WHERE id = ?1",
            )?,
            // Leaves the indexes alone.
            update_body: connection
                .prepare_cached("UPDATE contact SET revision = ?2, body = ?3 WHERE id = ?1")?,
        })
    }

    /// Stores a write over the revisions that it was loaded at, and says whether they were still the newest.
    pub(super) fn write(&mut self, write: &Write, call: &impl GivesUp) -> Result<bool, Fault> {
        let Write { record, overwritten, unclaimed, .. } = write;
        let stored = self.find(&record.chat)?;
        let absorbed = write.absorbs().map(|(chat, revision)| Ok::<_, Fault>((self.find(chat)?, *revision)));
        let absorbed = absorbed.transpose()?;
        let is_newest = |stored: Option<&Stored>, revision| stored.map_or(0, |stored| stored.revision) == revision;
        if !is_newest(stored.as_ref(), record.revision)
            || absorbed.as_ref().is_some_and(|(stored, revision)| !is_newest(stored.as_ref(), *revision))
        {
            return Ok(false);
        }
        if self.lacks_claim(stored.as_ref(), record, call)? {
            return Ok(false);
        }
        let (id, before) = self.store(record, stored)?;
        self.link(id, &before, record)?;
        self.unlink(id, &before, unclaimed, Some(record))?;
        if let Some((Some(Stored { id, links, .. }), _)) = absorbed {
            self.unlink(id, &links, &[], None)?;
            self.connection.prepare_cached("DELETE FROM contact WHERE id = ?1")?.execute([id])?;
        }
        for overwritten in overwritten {
            let sql = "INSERT INTO history (instance, chat, body) VALUES (?1, ?2, ?3)";
            let body = serde_json::to_string(overwritten)?;
            self.connection.prepare_cached(sql)?.execute(params![self.instance, overwritten.chat.as_str(), body])?;
        }
        Ok(true)
    }

    /// Notes how many claims were ever made, so that no number is used again.
    pub(super) fn finish(self) -> Result<(), Fault> {
        if let Some(last) = self.last_claim {
            let sql = "UPDATE instance SET last_claim = ?2 WHERE id = ?1";
            self.connection.prepare_cached(sql)?.execute([self.instance, last])?;
        }
        Ok(())
    }

    fn find(&mut self, chat: &ChatId) -> Result<Option<Stored>, Fault> {
        Ok(self.find.query_row(params![self.instance, chat.as_str()], Stored::read).optional()?)
    }

    /// Whether a claim that the write adds or changes is another record's, which does not give it up.
    fn lacks_claim(&self, stored: Option<&Stored>, record: &Record, call: &impl GivesUp) -> Result<bool, Fault> {
        let nothing = Links::default();
        let before = stored.map_or(&nothing, |stored| &stored.links);
        for claim in record.claims.iter().filter(|claim| is_listed(before, claim)) {
            let sql = "SELECT chat, revision FROM claim JOIN contact ON contact.id = claim.contact \
                       WHERE claim.instance = ?1 AND crm_id = ?2";
            let mut holder = self.connection.prepare_cached(sql)?;
            let holder: Option<(String, i64)> = holder
                .query_row(params![self.instance, claim.crm_id], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            if let Some((chat, revision)) = holder.filter(|(chat, _)| chat != record.chat.as_str())
                && !call.gives_up(&chat, revision.cast_unsigned(), &claim.crm_id)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Stores the record; returns its number, and what was listed of it so far.
    fn store(&mut self, record: &Record, stored: Option<Stored>) -> Result<(i64, Links), Fault> {
        let revision = record.revision + 1;
        self.text.clear();
        serde_json::to_writer(&mut self.text, record)?;
        let body = rusqlite::types::ValueRef::Text(&self.text);
        let body = rusqlite::types::ToSqlOutput::Borrowed(body);
        let (state, at, is_known) = (record.status.as_str(), record.status.due_at().map(order), record.is_known());
        let revision = revision.cast_signed();
        match stored {
            None => {
                let chat = record.chat.as_str();
                self.insert.execute(params![self.instance, chat, revision, state, at, is_known, body])?;
                Ok((self.connection.last_insert_rowid(), Links::default()))
            }
            Some(Stored { id, links, state: old_state, at: old_at, is_known: was_known, .. }) => {
                if (&*old_state, old_at, was_known) == (state, at, is_known) {
                    self.update_body.execute(params![id, revision, body])?;
                } else {
                    self.update.execute(params![id, revision, state, at, is_known, body])?;
                }
                Ok((id, links))
            }
        }
    }

    /// Lists the claims and aliases that are new or different; those that are not may be another record's by now.
    fn link(&mut self, id: i64, before: &Links, record: &Record) -> Result<(), Fault> {
        for claim in &record.claims {
            if is_listed(before, claim) {
                self.claim(id, &claim.crm_id, claim.digest)?;
            }
        }
        for alias in record.aliases.iter().filter(|alias| !before.aliases.contains(alias)) {
            let sql = "REPLACE INTO alias (instance, alias, contact) VALUES (?1, ?2, ?3)";
            self.connection.prepare_cached(sql)?.execute(params![self.instance, alias.as_str(), id])?;
        }
        Ok(())
    }

    fn claim(&mut self, contact: i64, crm_id: &str, digest: RowDigest) -> Result<(), Fault> {
        let sql = "INSERT INTO claim (instance, crm_id, arrival, digest, contact) VALUES (?1, ?2, ?3, ?4, ?5) \
                   ON CONFLICT DO UPDATE SET digest = excluded.digest, contact = excluded.contact RETURNING arrival";
        let last = if let Some(last) = self.last_claim {
            last
        } else {
            let sql = "SELECT last_claim FROM instance WHERE id = ?1";
            self.connection.prepare_cached(sql)?.query_row([self.instance], |row| row.get(0))?
        };
        let mut insert = self.connection.prepare_cached(sql)?;
        let params = params![self.instance, crm_id, last + 1, digest.as_bytes(), contact];
        let arrival: i64 = insert.query_row(params, |row| row.get(0))?;
        self.last_claim = Some(last.max(arrival));
        Ok(())
    }

    /// Forgets claims and aliases that a record no longer has, unless another one has them by now.
    fn unlink(&self, id: i64, before: &Links, unclaimed: &[Box<str>], record: Option<&Record>) -> Result<(), Fault> {
        let crm_ids = before.claims.iter().map(|claim| &claim.crm_id).chain(unclaimed);
        for crm_id in crm_ids.filter(|crm_id| record.is_none_or(|record| record.claim(crm_id).is_none())) {
            let sql = "DELETE FROM claim WHERE instance = ?1 AND crm_id = ?2 AND contact = ?3";
            self.connection.prepare_cached(sql)?.execute(params![self.instance, crm_id, id])?;
        }
        let aliases = before.aliases.iter();
        for alias in aliases.filter(|alias| record.is_none_or(|record| !record.aliases.contains(alias))) {
            let sql = "DELETE FROM alias WHERE instance = ?1 AND alias = ?2 AND contact = ?3";
            self.connection.prepare_cached(sql)?.execute(params![self.instance, alias.as_str(), id])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_ordered_as_numbers_up_to_the_last_one() {
        let times = [0, 1, 1_700_000_000_000, u64::MAX / 2, u64::MAX / 2 + 1, u64::MAX - 1, u64::MAX];
        assert!(times.map(|time| order(Timestamp(time))).is_sorted_by(|one, next| one < next));
    }
}
