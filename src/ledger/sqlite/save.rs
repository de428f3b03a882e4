use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row as SqlRow, params};

use super::{
    fault::Fault,
    row::{self, REPLACE, millis},
};
use crate::{
    InstanceId,
    ledger::{Counts, Overwritten, Row, State, leases::conflict},
};

/// An instance as the file has it.
pub(super) struct Instance {
    pub(super) id: i64,
    pub(super) fence: u64,
    pub(super) counts: Counts,
}

impl Instance {
    pub(super) fn find(connection: &Connection, name: &InstanceId) -> Result<Option<Self>, Fault> {
        let sql = "SELECT id, fence, contacts, known, due, parked, last_slot FROM instance WHERE name = ?1";
        Ok(connection.prepare_cached(sql)?.query_row([name.as_str()], Self::read).optional()?)
    }

    fn read(row: &SqlRow<'_>) -> rusqlite::Result<Self> {
        let count = |column| row.get(column).map(i64::cast_unsigned);
        let counts =
            Counts { rows: count(2)?, known: count(3)?, due: count(4)?, parked: count(5)?, last_slot: count(6)? };
        Ok(Self { id: row.get(0)?, fence: count(1)?, counts })
    }

    fn write_counts(&self, connection: &Connection) -> Result<(), Fault> {
        let Counts { rows, known, due, parked, last_slot } = self.counts;
        let [rows, known, due, parked, last_slot] = [rows, known, due, parked, last_slot].map(u64::cast_signed);
        let sql = "UPDATE instance SET contacts = ?2, known = ?3, due = ?4, parked = ?5, last_slot = ?6 WHERE id = ?1";
        connection.prepare_cached(sql)?.execute(params![self.id, rows, known, due, parked, last_slot])?;
        Ok(())
    }
}

/// Stores rows and history, within a transaction of the caller.
pub(super) fn save(
    connection: &Connection,
    mut instance: Instance,
    rows: Vec<Row>,
    history: &[Overwritten],
) -> Result<(), Fault> {
    let before = instance.counts;
    store(connection, &mut instance, rows)?;
    if instance.counts != before {
        instance.write_counts(connection)?;
    }
    append(connection, instance.id, history)
}

fn store(connection: &Connection, instance: &mut Instance, rows: Vec<Row>) -> Result<(), Fault> {
    let mut find = connection.prepare_cached(Stored::FIND)?;
    let mut replace = connection.prepare_cached(REPLACE)?;
    let counts = &mut instance.counts;
    for mut row in rows {
        let stored = Stored::find(&mut find, instance.id, &row)?;
        if stored.as_ref().map_or(0, |stored| stored.revision) != row.revision {
            return Err(conflict(&row.chat).into());
        }
        let state = row.state();
        row.revision += 1;
        row.slot = stored.as_ref().map_or(counts.last_slot + 1, |stored| stored.slot);
        row::write(&mut replace, instance.id, &row, state)?;
        counts.rows += u64::from(stored.is_none());
        counts.last_slot = counts.last_slot.max(row.slot);
        let stored = stored.unwrap_or_default();
        shift(&mut counts.known, stored.known, row.is_known());
        shift(&mut counts.due, stored.due, state == State::Due);
        shift(&mut counts.parked, stored.parked, state == State::Parked);
    }
    Ok(())
}

fn shift(count: &mut u64, before: bool, after: bool) {
    *count = count.saturating_add_signed(i64::from(after) - i64::from(before));
}

/// What a save has to know of the row that it replaces.
#[derive(Default)]
struct Stored {
    slot: u64,
    revision: u64,
    known: bool,
    due: bool,
    parked: bool,
}

impl Stored {
    const FIND: &str = "SELECT slot, revision, sent_at IS NOT NULL OR seen_name IS NOT NULL, state = 'due', \
                        state = 'parked' FROM contact WHERE instance = ?1 AND chat = ?2";

    fn find(statement: &mut CachedStatement<'_>, instance: i64, row: &Row) -> Result<Option<Self>, Fault> {
        let stored = statement.query_row(params![instance, row.chat.as_str()], |row| {
            Ok(Self {
                slot: row.get::<_, i64>(0)?.cast_unsigned(),
                revision: row.get::<_, i64>(1)?.cast_unsigned(),
                known: row.get(2)?,
                due: row.get(3)?,
                parked: row.get(4)?,
            })
        });
        Ok(stored.optional()?)
    }
}

fn append(connection: &Connection, instance: i64, history: &[Overwritten]) -> Result<(), Fault> {
    if history.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO history (instance, chat, text, by_first, by_last, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut insert = connection.prepare_cached(sql)?;
    for Overwritten { chat, text, by, at } in history {
        insert.execute(params![instance, chat.as_str(), text, by.first(), by.last(), millis(*at)])?;
    }
    Ok(())
}
