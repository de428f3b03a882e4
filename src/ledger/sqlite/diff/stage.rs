use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};

use super::{
    Progress, StoredClaim, is_settled, version,
    view::{Rest, View},
};
use crate::{
    ChatId,
    crm::RowDigest,
    ledger::{
        Write,
        sqlite::{fault::Fault, record::Next},
    },
    record::{Claim, Record},
};

/// The statements that stage.
struct Stage<'c> {
    connection: &'c Connection,
    view: View<'c>,
    instance: Option<i64>,
    insert: CachedStatement<'c>,
    claim: CachedStatement<'c>,
    stored_claim: CachedStatement<'c>,
}

impl Progress {
    pub(super) fn stage(&mut self, connection: &Connection, writes: Vec<Write>) -> Result<(), Fault> {
        let count = writes.len();
        // What the last comparison found of claims may be true no longer.
        if self.version != version(connection)? {
            self.forget_given(connection)?;
            self.note_fresh(connection)?;
        }
        let mut stage = Stage {
            connection,
            view: View::new(connection, self)?,
            instance: self.id,
            // What is staged again keeps its place in the order of arrival.
            insert: connection.prepare_cached(
                "INSERT INTO temp.staged (chat, revision, state, at, known, body, rest) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
                 ON CONFLICT (chat) DO UPDATE SET revision = excluded.revision, state = excluded.state, at = excluded.at, \
                 known = excluded.known, body = excluded.body, rest = excluded.rest",
            )?,
            claim: connection.prepare_cached(
                "INSERT INTO temp.staged_claim (crm_id, chat, is_met) VALUES (?1, ?2, ?3) \
                 ON CONFLICT DO UPDATE SET chat = excluded.chat, is_met = max(is_met, excluded.is_met)",
            )?,
            stored_claim: connection
                .prepare_cached("SELECT arrival, contact, digest FROM claim WHERE instance = ?1 AND crm_id = ?2")?,
        };
        for write in writes {
            self.stage_one(&mut stage, write)?;
            // The next write of the call may be about the same records.
            stage.view.look_again(self);
        }
        tracing::debug!(count, "records staged");
        Ok(())
    }

    fn stage_one(&mut self, stage: &mut Stage<'_>, mut write: Write) -> Result<(), Fault> {
        let chat = write.record.chat.clone();
        if let Some(before) = stage.view.staged(chat.as_str())? {
            self.forget(stage, &before.record)?;
            write.replaces(before);
        }
        for crm_id in &write.unclaimed {
            self.touch(stage, crm_id)?;
        }
        for claim in &write.record.claims {
            self.claim(stage, &write.record, claim)?;
        }
        for alias in &write.record.aliases {
            let stored = stage.view.stored_alias(alias)?;
            if stored.is_none() || stored != stage.contact(&chat)? {
                let sql = "REPLACE INTO temp.staged_alias (alias, chat) VALUES (?1, ?2)";
                stage.connection.prepare_cached(sql)?.execute([alias.as_str(), chat.as_str()])?;
                self.has_aliases = true;
            }
        }
        let Write { record, overwritten, unclaimed, based_on, .. } = write;
        let body = serde_json::to_string(&record)?;
        let rest = Rest { overwritten, unclaimed, based_on }.to_text()?;
        let Next { chat, revision, state, at, is_known, body } = Next::of(&record, &body);
        stage.insert.execute(params![chat, revision.cast_signed(), state, at, is_known, body, rest])?;
        self.staged += 1;
        self.staged_in_sync += u64::from(is_settled(&record));
        Ok(())
    }

    /// Forgets the claims and aliases of a record that is staged no longer, as it is.
    fn forget(&mut self, stage: &Stage<'_>, record: &Record) -> Result<(), Fault> {
        let (connection, chat) = (stage.connection, record.chat.as_str());
        for claim in &record.claims {
            let sql = "UPDATE temp.staged_claim SET chat = NULL WHERE crm_id = ?1 AND chat = ?2";
            connection.prepare_cached(sql)?.execute([&*claim.crm_id, chat])?;
        }
        for alias in &record.aliases {
            let sql = "DELETE FROM temp.staged_alias WHERE alias = ?1 AND chat = ?2";
            connection.prepare_cached(sql)?.execute([alias.as_str(), chat])?;
        }
        self.staged -= 1;
        self.staged_in_sync -= u64::from(is_settled(record));
        Ok(())
    }

    /// Notes that a claim is not as it is stored, and returns who has it and for what.
    fn touch(&mut self, stage: &mut Stage<'_>, crm_id: &str) -> Result<Option<StoredClaim>, Fault> {
        if self.fresh.contains(crm_id) {
            return Ok(None);
        }
        let stored = match self.given.get(crm_id) {
            Some(given) => Some(*given),
            None => stage.stored_claim.query_row(params![stage.instance, crm_id], stored_claim).optional()?,
        };
        if let Some(claim) = &stored {
            self.touched.insert(claim.arrival);
        }
        Ok(stored)
    }

    fn claim(&mut self, stage: &mut Stage<'_>, record: &Record, claim: &Claim) -> Result<(), Fault> {
        if let Some(stored) = self.touch(stage, &claim.crm_id)?
            && stored.digest == claim.digest
            && stage.contact(&record.chat)? == Some(stored.contact)
        {
            return Ok(());
        }
        let is_met = self.fresh.remove(&claim.crm_id);
        stage.claim.execute(params![claim.crm_id, record.chat.as_str(), is_met])?;
        Ok(())
    }
}

fn stored_claim(row: &Row<'_>) -> rusqlite::Result<StoredClaim> {
    let arrival = row.get::<_, i64>(0)?.cast_unsigned();
    Ok(StoredClaim { arrival, contact: row.get(1)?, digest: RowDigest::from_bytes(row.get(2)?) })
}

impl Stage<'_> {
    /// The number of a stored contact.
    fn contact(&self, chat: &ChatId) -> Result<Option<i64>, Fault> {
        let sql = "SELECT id FROM contact WHERE instance = ?1 AND chat = ?2";
        let mut find = self.connection.prepare_cached(sql)?;
        Ok(find.query_row(params![self.instance, chat.as_str()], |row| row.get(0)).optional()?)
    }
}
