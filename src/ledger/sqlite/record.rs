//! Records as rows: what is written with one, and how it is read.

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params, types::Type};
use serde::{Deserialize, de::DeserializeOwned};

use super::{fault::Fault, forget::Marks};
use crate::{
    ChatId,
    crm::RowDigest,
    ledger::{Call, Query, Write},
    record::{Overwritten, Record},
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

/// A number of rows as SQLite takes it.
pub(super) fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A [`Query`] that can be sent to another thread.
pub(super) enum Wanted {
    Chats(Vec<ChatId>),
    CrmIds(Vec<Box<str>>),
    Due { by: Timestamp, limit: usize },
    DueAfter { after: Timestamp, limit: usize },
    State { state: Box<str>, after: String, limit: usize },
    ByHand { after: String, limit: usize },
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
            Query::ByHand { after, limit } => Self::ByHand { after: start(after), limit },
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
        Wanted::ByHand { after, limit } => rows(
            "SELECT body, revision FROM contact INDEXED BY contact_by_hand WHERE instance = ?1 AND chat > ?2 \
             AND instr(body, '\"held\":{') > 0 AND json_extract(body, '$.held') IS NOT NULL ORDER BY chat LIMIT ?3",
            params![instance, after, count(limit)],
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

impl Links {
    fn of(body: &str) -> Result<Self, Fault> {
        Ok(serde_json::from_str(body)?)
    }

    fn claims(&self, crm_id: &str) -> bool {
        self.claims.iter().any(|claim| *claim.crm_id == *crm_id)
    }
}

/// The key in a record's text behind all that is listed. Quotes within texts are escaped, so it stands nowhere else.
const BEHIND_LINKS: &str = ",\"pushed\":";

/// Whether two texts of one record say the same of its claims and aliases, as nearly all writes do.
fn have_same_links(one: &str, other: &str) -> bool {
    one.find(BEHIND_LINKS).is_some_and(|end| other.as_bytes().starts_with(&one.as_bytes()[..end + BEHIND_LINKS.len()]))
}

/// Whether a claim is new or different, so that it is listed as the record's.
fn is_listed(before: &Links, claim: &Link) -> bool {
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

/// The row that a record becomes.
pub(super) struct Next<'w> {
    pub(super) chat: &'w str,
    /// The revision that it was loaded at.
    pub(super) revision: u64,
    pub(super) state: &'w str,
    pub(super) at: Option<i64>,
    pub(super) is_known: bool,
    pub(super) body: &'w str,
}

impl<'w> Next<'w> {
    pub(super) fn of(record: &'w Record, body: &'w str) -> Self {
        Self {
            chat: record.chat.as_str(),
            revision: record.revision,
            state: record.status.as_str(),
            at: record.status.due_at().map(order),
            is_known: record.is_known(),
            body,
        }
    }
}

/// What a write has to know of the row that it replaces.
struct Stored {
    id: i64,
    revision: u64,
    state: Box<str>,
    at: Option<i64>,
    is_known: bool,
    /// `None` if they are those of the record to store.
    links: Option<Links>,
}

impl Stored {
    fn read(row: &Row<'_>, next: Option<&str>) -> rusqlite::Result<Self> {
        let text = row.get_ref(5)?.as_str()?;
        let has_same_links = next.is_some_and(|next| have_same_links(next, text));
        Ok(Self {
            id: row.get(0)?,
            revision: row.get::<_, i64>(1)?.cast_unsigned(),
            state: row.get(2)?,
            at: row.get(3)?,
            is_known: row.get(4)?,
            links: if has_same_links { None } else { Some(body(5, text)?) },
        })
    }
}

/// Stores the writes of one call, within a transaction; returns the places of those that were lost.
///
/// A write may count on a claim that another of the call gives up. If that other is then lost, all are stored again without it.
pub(super) fn write_all(connection: &Connection, instance: i64, writes: &[Write]) -> Result<Vec<usize>, Fault> {
    let mut call = Call::of(writes);
    loop {
        if call.gives() {
            connection.execute_batch("SAVEPOINT giving")?;
        }
        let (mut store, mut lost) = (Writer::new(connection, instance)?, Vec::new());
        for (place, write) in writes.iter().enumerate() {
            if call.has_lost(&write.record.chat) || !store.write(write, &call)? {
                lost.push(place);
            }
        }
        if call.lose(lost.iter().map(|place| &writes[*place])) {
            connection.execute_batch("ROLLBACK TO giving")?;
            continue;
        }
        store.finish()?;
        if call.gives() {
            connection.execute_batch("RELEASE giving")?;
        }
        return Ok(lost);
    }
}

/// Stores writes of one instance, within a transaction.
pub(super) struct Writer<'c> {
    connection: &'c Connection,
    instance: i64,
    marks: Marks<'c>,
    /// The number of the last claim; `None` until one is needed.
    last_claim: Option<i64>,
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
            marks: Marks::new(connection, Some(instance)),
            last_claim: None,
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
        let body = serde_json::to_string(record)?;
        let is_stored = self.put(&Next::of(record, &body), unclaimed, write.absorbs(), call)?;
        if is_stored {
            self.note(overwritten)?;
        }
        Ok(is_stored)
    }

    /// Stores a row as [`write`](Self::write) does.
    pub(super) fn put(
        &mut self,
        next: &Next<'_>,
        unclaimed: &[Box<str>],
        absorbs: Option<&(ChatId, u64)>,
        call: &impl GivesUp,
    ) -> Result<bool, Fault> {
        let mut stored = self.find(next.chat, unclaimed.is_empty().then_some(next.body))?;
        let absorbed = absorbs.map(|(chat, revision)| Ok::<_, Fault>((self.find(chat.as_str(), None)?, *revision)));
        let absorbed = absorbed.transpose()?;
        let is_newest = |stored: Option<&Stored>, revision| stored.map_or(0, |stored| stored.revision) == revision;
        if !is_newest(stored.as_ref(), next.revision)
            || absorbed.as_ref().is_some_and(|(stored, revision)| !is_newest(stored.as_ref(), *revision))
        {
            return Ok(false);
        }
        let before = match &mut stored {
            Some(stored) => stored.links.take(),
            None => Some(Links::default()),
        };
        let links = before.map(|before| Ok::<_, Fault>((before, Links::of(next.body)?))).transpose()?;
        if let Some((before, after)) = &links
            && (self.is_of_forgotten(next.chat, stored.is_none(), before, after)?
                || self.lacks_claim(next.chat, before, after, call)?)
        {
            return Ok(false);
        }
        let id = self.store(next, stored.as_ref())?;
        if let Some((before, after)) = &links {
            self.link(id, before, after)?;
            self.unlink(id, before, unclaimed, after)?;
        }
        if let Some((Some(absorbed), _)) = absorbed {
            self.remove(absorbed)?;
        }
        Ok(true)
    }

    /// Deletes a record over a revision, and says whether that was still the newest.
    pub(super) fn delete(&mut self, chat: &ChatId, revision: u64) -> Result<bool, Fault> {
        let stored = self.find(chat.as_str(), None)?;
        let is_newest = stored.as_ref().map_or(0, |stored| stored.revision) == revision;
        if let Some(stored) = stored.filter(|_| is_newest) {
            self.remove(stored)?;
        }
        Ok(is_newest)
    }

    fn remove(&self, Stored { id, links, .. }: Stored) -> Result<(), Fault> {
        self.unlink(id, &links.unwrap_or_default(), &[], &Links::default())?;
        self.connection.prepare_cached("DELETE FROM contact WHERE id = ?1")?.execute([id])?;
        Ok(())
    }

    /// Keeps names that were overwritten.
    pub(super) fn note(&self, overwritten: &[Overwritten]) -> Result<(), Fault> {
        for overwritten in overwritten {
            let sql = "INSERT INTO history (instance, chat, run, body) VALUES (?1, ?2, ?3, ?4)";
            let body = serde_json::to_string(overwritten)?;
            let (chat, run) = (overwritten.chat.as_str(), overwritten.run.cast_signed());
            self.connection.prepare_cached(sql)?.execute(params![self.instance, chat, run, body])?;
        }
        Ok(())
    }

    /// Notes how many claims were ever made, so that no number is used again.
    pub(super) fn finish(self) -> Result<(), Fault> {
        if let Some(last) = self.last_claim {
            let sql = "UPDATE instance SET last_claim = ?2 WHERE id = ?1";
            self.connection.prepare_cached(sql)?.execute([self.instance, last])?;
        }
        Ok(())
    }

    fn find(&mut self, chat: &str, next: Option<&str>) -> Result<Option<Stored>, Fault> {
        Ok(self.find.query_row(params![self.instance, chat], |row| Stored::read(row, next)).optional()?)
    }

    /// Whether the write makes a record of a forgotten person, or adds a claim of one.
    fn is_of_forgotten(&self, chat: &str, is_new: bool, before: &Links, after: &Links) -> Result<bool, Fault> {
        if !self.marks.exist()? {
            return Ok(false);
        }
        let chats = std::iter::once(chat).chain(after.aliases.iter().map(ChatId::as_str)).filter(|_| is_new);
        let claims = after.claims.iter().map(|claim| &*claim.crm_id).filter(|crm_id| !before.claims(crm_id));
        for id in chats.chain(claims) {
            if self.marks.has(id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a claim that the write adds or changes is another record's, which does not give it up.
    fn lacks_claim(&self, chat: &str, before: &Links, after: &Links, call: &impl GivesUp) -> Result<bool, Fault> {
        for claim in after.claims.iter().filter(|claim| is_listed(before, claim)) {
            let sql = "SELECT chat, revision FROM claim JOIN contact ON contact.id = claim.contact \
                       WHERE claim.instance = ?1 AND crm_id = ?2";
            let mut holder = self.connection.prepare_cached(sql)?;
            let holder: Option<(String, i64)> = holder
                .query_row(params![self.instance, claim.crm_id], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            if let Some((holder, revision)) = holder.filter(|(holder, _)| holder != chat)
                && !call.gives_up(&holder, revision.cast_unsigned(), &claim.crm_id)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Stores the record; returns its number.
    fn store(&mut self, next: &Next<'_>, stored: Option<&Stored>) -> Result<i64, Fault> {
        let Next { chat, state, at, is_known, body, .. } = *next;
        let revision = (next.revision + 1).cast_signed();
        match stored {
            None => {
                self.insert.execute(params![self.instance, chat, revision, state, at, is_known, body])?;
                Ok(self.connection.last_insert_rowid())
            }
            Some(old) => {
                if (&*old.state, old.at, old.is_known) == (state, at, is_known) {
                    self.update_body.execute(params![old.id, revision, body])?;
                } else {
                    self.update.execute(params![old.id, revision, state, at, is_known, body])?;
                }
                Ok(old.id)
            }
        }
    }

    /// Lists the claims and aliases that are new or different; those that are not may be another record's by now.
    fn link(&mut self, id: i64, before: &Links, after: &Links) -> Result<(), Fault> {
        for claim in &after.claims {
            if is_listed(before, claim) {
                self.claim(id, &claim.crm_id, claim.digest)?;
            }
        }
        for alias in after.aliases.iter().filter(|alias| !before.aliases.contains(alias)) {
            let sql = "REPLACE INTO alias (instance, alias, contact) VALUES (?1, ?2, ?3)";
            self.connection.prepare_cached(sql)?.execute(params![self.instance, alias.as_str(), id])?;
        }
        Ok(())
    }

    /// Lists a claim. An upsert that returns the arrival would do it in one statement, for which SQLite copies each page before it
    /// changes it.
    fn claim(&mut self, contact: i64, crm_id: &str, digest: RowDigest) -> Result<(), Fault> {
        let sql = "UPDATE claim SET digest = ?3, contact = ?4 WHERE instance = ?1 AND crm_id = ?2";
        let known = params![self.instance, crm_id, digest.as_bytes(), contact];
        if self.connection.prepare_cached(sql)?.execute(known)? > 0 {
            return Ok(());
        }
        let last = if let Some(last) = self.last_claim {
            last
        } else {
            let sql = "SELECT last_claim FROM instance WHERE id = ?1";
            self.connection.prepare_cached(sql)?.query_row([self.instance], |row| row.get(0))?
        };
        let sql = "INSERT INTO claim (instance, crm_id, arrival, digest, contact) VALUES (?1, ?2, ?3, ?4, ?5)";
        let new = params![self.instance, crm_id, last + 1, digest.as_bytes(), contact];
        self.connection.prepare_cached(sql)?.execute(new)?;
        self.last_claim = Some(last + 1);
        Ok(())
    }

    /// Forgets claims and aliases that a record no longer has, unless another one has them by now.
    fn unlink(&self, id: i64, before: &Links, unclaimed: &[Box<str>], after: &Links) -> Result<(), Fault> {
        let crm_ids = before.claims.iter().map(|claim| &claim.crm_id).chain(unclaimed);
        for crm_id in crm_ids.filter(|crm_id| !after.claims(crm_id)) {
            let sql = "DELETE FROM claim WHERE instance = ?1 AND crm_id = ?2 AND contact = ?3";
            self.connection.prepare_cached(sql)?.execute(params![self.instance, crm_id, id])?;
        }
        for alias in before.aliases.iter().filter(|alias| !after.aliases.contains(alias)) {
            let sql = "DELETE FROM alias WHERE instance = ?1 AND alias = ?2 AND contact = ?3";
            self.connection.prepare_cached(sql)?.execute(params![self.instance, alias.as_str(), id])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Claim, Seen, Status};

    #[test]
    fn moments_are_ordered_as_numbers_up_to_the_last_one() {
        let times = [0, 1, 1_700_000_000_000, u64::MAX / 2, u64::MAX / 2 + 1, u64::MAX - 1, u64::MAX];
        assert!(times.map(|time| order(Timestamp(time))).is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn only_claims_and_aliases_tell_the_links_of_two_texts_apart() {
        let text = |record: &Record| serde_json::to_string(record).unwrap();
        let chat: ChatId = "12025550142@c.us".parse().unwrap();
        let claim = |crm_id| Claim::new(crm_id, Some(1), RowDigest::default(), None);
        let base = Record { claims: vec![claim("7,\"pushed\":{}")], ..Record::new(chat.clone()) };
        let due = Record { status: Status::Due { at: Timestamp(5) }, revision: 9, ..base.clone() };
        let seen = Record { seen: Some(Seen::new(None, Timestamp(5))), ..base.clone() };
        for other in [&base, &due, &seen] {
            assert!(have_same_links(&text(other), &text(&base)) && have_same_links(&text(&base), &text(other)));
        }
        let alias = Record { aliases: vec!["1@lid".parse().unwrap()], ..base.clone() };
        let two = Record { claims: vec![claim("7,\"pushed\":{}"), claim("8")], ..base.clone() };
        for other in [&alias, &two, &Record::new(chat), &Record { claims: vec![claim("7")], ..base.clone() }] {
            assert!(!have_same_links(&text(other), &text(&base)) && !have_same_links(&text(&base), &text(other)));
        }
    }
}
