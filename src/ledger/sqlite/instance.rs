//! What is remembered of an instance, and of its runs.

use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};

use super::{
    fault::Fault,
    record::{body, count},
};
use crate::{
    InstanceId,
    ledger::{Counts, InstanceState, RunRecord},
    record::Overwritten,
    time::Timestamp,
};

/// The number of an instance, if anything was ever stored of it.
pub(super) fn find(connection: &Connection, name: &InstanceId) -> Result<Option<i64>, Fault> {
    let mut find = connection.prepare_cached("SELECT id FROM instance WHERE name = ?1")?;
    Ok(find.query_row([name.as_str()], |row| row.get(0)).optional()?)
}

/// The number of an instance, which is made if it has none.
pub(super) fn make(connection: &Connection, name: &InstanceId) -> Result<i64, Fault> {
    if let Some(id) = find(connection, name)? {
        return Ok(id);
    }
    connection.execute("INSERT INTO instance (name) VALUES (?1)", [name.as_str()])?;
    Ok(connection.last_insert_rowid())
}

pub(super) fn state(connection: &Connection, id: i64) -> Result<InstanceState, Fault> {
    let mut find = connection.prepare_cached("SELECT state, revision, released_at FROM instance WHERE id = ?1")?;
    let (state, revision, released_at) = find.query_row([id], |row| {
        let state: Option<InstanceState> = row.get_ref(0)?.as_str_or_null()?.map(|text| body(0, text)).transpose()?;
        Ok((state, row.get::<_, i64>(1)?, time(row, 2)?))
    })?;
    Ok(InstanceState { revision: revision.cast_unsigned(), released_at, ..state.unwrap_or_default() })
}

/// Stores a state over the revision that it has, and says whether that was still the newest.
pub(super) fn save_state(connection: &Connection, id: i64, state: InstanceState) -> Result<bool, Fault> {
    let revision = state.revision.cast_signed();
    let state = serde_json::to_string(&InstanceState { revision: state.revision + 1, released_at: None, ..state })?;
    let sql = "UPDATE instance SET state = ?3, revision = revision + 1 WHERE id = ?1 AND revision = ?2";
    Ok(connection.prepare_cached(sql)?.execute(params![id, revision, state])? > 0)
}

/// Counts all by the index of chats, and what is not as nearly all are by the index of those.
pub(super) fn counts(connection: &Connection, id: i64) -> Result<Counts, Fault> {
    let sql = "SELECT count(*) FROM contact WHERE instance = ?1";
    let records = connection.prepare_cached(sql)?.query_row([id], |row| row.get(0)).map(i64::cast_unsigned)?;
    let mut counts = Counts { records, known: records, ..Counts::default() };
    let sql = "SELECT state, known, count(*) FROM contact INDEXED BY contact_open \
               WHERE instance = ?1 AND (state <> 'in_sync' OR known = 0) GROUP BY state, known";
    let mut groups = connection.prepare_cached(sql)?;
    let mut groups = groups.query([id])?;
    while let Some(row) = groups.next()? {
        let (is_known, count) = (row.get::<_, bool>(1)?, row.get::<_, i64>(2)?.cast_unsigned());
        if !is_known {
            counts.known = counts.known.saturating_sub(count);
        }
        match row.get_ref(0)?.as_str()? {
            "due" => counts.due += count,
            "held" => counts.held += count,
            "parked" => counts.parked += count,
            _ => {}
        }
    }
    Ok(counts)
}

pub(super) fn begin_run(connection: &Connection, id: i64, owner: &str, began: Timestamp) -> Result<u64, Fault> {
    let sql = "INSERT INTO run (instance, run, owner, began) \
               SELECT ?1, 1 + coalesce(max(run), 0), ?3, ?2 FROM run WHERE instance = ?1 RETURNING run";
    let run: i64 = connection.query_row(sql, params![id, began.0.cast_signed(), owner], |row| row.get(0))?;
    Ok(run.cast_unsigned())
}

pub(super) fn end_run(
    connection: &Connection,
    id: i64,
    run: u64,
    ended: Timestamp,
    summary: &str,
) -> Result<(), Fault> {
    let sql = "UPDATE run SET ended = ?3, summary = ?4 WHERE instance = ?1 AND run = ?2";
    connection.execute(sql, params![id, run.cast_signed(), ended.0.cast_signed(), summary])?;
    Ok(())
}

pub(super) fn runs(connection: &Connection, id: i64, limit: usize) -> Result<Vec<RunRecord>, Fault> {
    let sql = "SELECT run, began, ended, summary, owner FROM run WHERE instance = ?1 ORDER BY run DESC LIMIT ?2";
    records(connection, sql, params![id, count(limit)])
}

pub(super) fn run(connection: &Connection, id: i64, run: u64) -> Result<Option<RunRecord>, Fault> {
    let sql = "SELECT run, began, ended, summary, owner FROM run WHERE instance = ?1 AND run = ?2";
    Ok(records(connection, sql, params![id, run.cast_signed()])?.pop())
}

pub(super) fn open_runs(connection: &Connection, id: i64, limit: usize) -> Result<Vec<RunRecord>, Fault> {
    let sql = "SELECT run, began, ended, summary, owner FROM run WHERE instance = ?1 AND ended IS NULL \
               ORDER BY run DESC LIMIT ?2";
    records(connection, sql, params![id, count(limit)])
}

fn records(connection: &Connection, sql: &str, values: &[&dyn ToSql]) -> Result<Vec<RunRecord>, Fault> {
    let mut runs = connection.prepare_cached(sql)?;
    let runs = runs.query_map(values, |row| {
        Ok(RunRecord {
            run: row.get::<_, i64>(0)?.cast_unsigned(),
            owner: row.get(4)?,
            began: time(row, 1)?.unwrap_or_default(),
            ended: time(row, 2)?,
            summary: row.get(3)?,
        })
    })?;
    Ok(runs.collect::<Result<_, _>>()?)
}

pub(super) fn history(connection: &Connection, id: i64, chat: &str) -> Result<Vec<Overwritten>, Fault> {
    let sql = "SELECT body FROM history WHERE instance = ?1 AND chat = ?2 ORDER BY id DESC";
    let mut history = connection.prepare_cached(sql)?;
    let history = history.query_map(params![id, chat], |row| body(0, row.get_ref(0)?.as_str()?))?;
    Ok(history.collect::<Result<_, _>>()?)
}

pub(super) fn before_run(
    connection: &Connection,
    id: i64,
    run: u64,
    after: &str,
    limit: usize,
) -> Result<Vec<Overwritten>, Fault> {
    let sql = "SELECT body FROM history WHERE id IN \
               (SELECT min(id) FROM history WHERE instance = ?1 AND run = ?2 AND chat > ?3 GROUP BY chat ORDER BY chat LIMIT ?4) \
               ORDER BY chat";
    let mut first = connection.prepare_cached(sql)?;
    let first = first
        .query_map(params![id, run.cast_signed(), after, count(limit)], |row| body(0, row.get_ref(0)?.as_str()?))?;
    Ok(first.collect::<Result<_, _>>()?)
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(|millis| Timestamp(millis.cast_unsigned())))
}
