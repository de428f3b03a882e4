use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::Progress;
use crate::{
    ChatId,
    crm::RowDigest,
    ledger::{
        Write,
        sqlite::{fault::Fault, forget::Marks, record::read},
    },
    record::{Overwritten, Record},
};

/// What a staged write has beside its record.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Rest {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) overwritten: Vec<Overwritten>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unclaimed: Vec<Box<str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) based_on: Vec<(Box<str>, RowDigest)>,
}

impl Rest {
    pub(super) fn read(row: &Row<'_>, column: usize) -> Result<Self, Fault> {
        let text = row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from)?;
        text.map_or_else(|| Ok(Self::default()), |text| Ok(serde_json::from_str(text)?))
    }

    pub(super) fn to_text(&self) -> Result<Option<String>, Fault> {
        if *self == Self::default() { Ok(None) } else { Ok(Some(serde_json::to_string(self)?)) }
    }
}

/// Takes a staged write from a row that begins with `body, revision, rest`.
pub(super) fn parse(row: &Row<'_>) -> Result<Write, Fault> {
    let Rest { overwritten, unclaimed, based_on } = Rest::read(row, 2)?;
    Ok(Write { record: read(row)?, overwritten, unclaimed, absorbed: None, based_on })
}

/// The records as a session sees them: the staged ones in place of the stored.
pub(super) struct View<'c> {
    instance: Option<i64>,
    pub(super) marks: Marks<'c>,
    has_staged: bool,
    /// Whether any record has any, stored or staged.
    has_aliases: bool,
    staged: CachedStatement<'c>,
    by_id: CachedStatement<'c>,
    by_chat: CachedStatement<'c>,
    alias: CachedStatement<'c>,
    staged_alias: CachedStatement<'c>,
    staged_claim: CachedStatement<'c>,
}

impl<'c> View<'c> {
    pub(super) fn new(connection: &'c Connection, progress: &Progress) -> Result<Self, Fault> {
        let sql = "SELECT EXISTS (SELECT 1 FROM alias WHERE instance = ?1)";
        Ok(Self {
            instance: progress.id,
            marks: Marks::new(connection, progress.id),
            has_staged: progress.staged > 0,
            has_aliases: progress.has_aliases
                || connection.prepare_cached(sql)?.query_row([progress.id], |row| row.get(0))?,
            staged: connection.prepare_cached("SELECT body, revision, rest FROM temp.staged WHERE chat = ?1")?,
            by_id: connection.prepare_cached("SELECT body, revision, chat FROM contact WHERE id = ?1")?,
            by_chat: connection
                .prepare_cached("SELECT body, revision FROM contact WHERE instance = ?1 AND chat = ?2")?,
            alias: connection.prepare_cached("SELECT contact FROM alias WHERE instance = ?1 AND alias = ?2")?,
            staged_alias: connection.prepare_cached("SELECT chat FROM temp.staged_alias WHERE alias = ?1")?,
            staged_claim: connection.prepare_cached("SELECT chat, is_met FROM temp.staged_claim WHERE crm_id = ?1")?,
        })
    }

    /// Takes note of what was staged meanwhile.
    pub(super) fn look_again(&mut self, progress: &Progress) {
        self.has_staged = progress.staged > 0;
        self.has_aliases |= progress.has_aliases;
    }

    /// The write that is staged for a chat.
    pub(super) fn staged(&mut self, chat: &str) -> Result<Option<Write>, Fault> {
        if !self.has_staged {
            return Ok(None);
        }
        let mut rows = self.staged.query([chat])?;
        rows.next()?.map(parse).transpose()
    }

    /// Whether the stored record of a chat is not to be seen.
    pub(super) fn is_hidden(&mut self, chat: &ChatId) -> Result<bool, Fault> {
        Ok(self.has_staged && self.staged.exists([chat.as_str()])?)
    }

    /// The record that has this chat, or else this alias.
    pub(super) fn resolve(&mut self, chat: &ChatId) -> Result<Option<Record>, Fault> {
        match self.by_chat(chat)? {
            None => self.by_alias(chat),
            found => Ok(found),
        }
    }

    pub(super) fn by_chat(&mut self, chat: &ChatId) -> Result<Option<Record>, Fault> {
        if let Some(write) = self.staged(chat.as_str())? {
            return Ok(Some(write.record));
        }
        self.stored(chat)
    }

    /// The record of a chat as it is stored.
    pub(super) fn stored(&mut self, chat: &ChatId) -> Result<Option<Record>, Fault> {
        Ok(self.by_chat.query_row(params![self.instance, chat.as_str()], read).optional()?)
    }

    pub(super) fn by_alias(&mut self, alias: &ChatId) -> Result<Option<Record>, Fault> {
        let mut staged: Option<String> = None;
        if self.has_aliases && self.has_staged {
            staged = self.staged_alias.query_row([alias.as_str()], |row| row.get(0)).optional()?;
        }
        let record = match staged {
            Some(chat) => self.staged(&chat)?.map(|write| write.record),
            None => self.stored_alias(alias)?.map(|contact| self.by_id(contact)).transpose()?.flatten(),
        };
        Ok(record.filter(|record| record.answers_to(alias)))
    }

    /// The contact that has an alias in the store.
    pub(super) fn stored_alias(&mut self, alias: &ChatId) -> Result<Option<i64>, Fault> {
        if !self.has_aliases {
            return Ok(None);
        }
        Ok(self.alias.query_row(params![self.instance, alias.as_str()], |row| row.get(0)).optional()?)
    }

    /// The record that has a claim: whose it is by what is staged, or else in the store.
    pub(super) fn holder(
        &mut self,
        crm_id: &str,
        staged: Option<String>,
        stored: Option<i64>,
    ) -> Result<Option<Record>, Fault> {
        let record = match (staged, stored) {
            (Some(chat), _) => self.staged(&chat)?.map(|write| write.record),
            (None, Some(contact)) => self.by_id(contact)?,
            (None, None) => None,
        };
        Ok(record.filter(|record| record.claim(crm_id).is_some()))
    }

    /// Who has a claim by what is staged, and whether a row without a stored claim was compared with it.
    pub(super) fn staged_claim(&mut self, crm_id: &str) -> Result<Option<(Option<String>, bool)>, Fault> {
        Ok(self.staged_claim.query_row([crm_id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    }

    fn by_id(&mut self, contact: i64) -> Result<Option<Record>, Fault> {
        let mut rows = self.by_id.query([contact])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        if !self.has_staged {
            return Ok(Some(read(row)?));
        }
        let chat: String = row.get(2)?;
        let stored = read(row)?;
        drop(rows);
        Ok(Some(self.staged(&chat)?.map_or(stored, |write| write.record)))
    }
}
