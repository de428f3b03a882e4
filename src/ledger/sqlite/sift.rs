//! The path that a million unchanged contacts take.
//!
//! The batch is sorted by chat id and merged with the rows, which are stored in that order: neighbours cost one step of a
//! cursor each, distant rows one search. Values are compared where SQLite holds them, so nothing is allocated for a row that
//! has not changed.

use rusqlite::{Connection, OptionalExtension as _, Rows, params, types::ValueRef};

use super::{
    fault::Fault,
    row::{contact_columns, read, state_word},
};
use crate::ledger::{Candidate, Sifted, State, Wanted};

/// How many rows without a candidate are stepped over before a search is tried: few, or a shuffled batch pays for all of them.
const STEPS: usize = 2;

const MERGE: &str = "SELECT chat, slot, state, version, rules, crm_id, first_name, last_name FROM contact \
                     WHERE instance = ?1 AND chat >= ?2 ORDER BY chat";

pub(super) const LOAD: &str = concat!("SELECT ", contact_columns!(), " FROM contact WHERE instance = ?1 AND chat = ?2");

#[derive(Clone, Copy)]
enum Verdict {
    New,
    Changed,
    Unchanged(u64),
}

/// Parts candidates that change nothing from the others, and loads the rows of the latter; no instance has no rows.
pub(super) fn sift(
    connection: &Connection,
    instance: Option<i64>,
    candidates: Vec<Candidate>,
) -> Result<Sifted, Fault> {
    // Without a transaction around them, each search would begin and end one of its own.
    let transaction = connection.unchecked_transaction()?;
    let verdicts = judge(&transaction, instance, &candidates)?;
    let mut load = transaction.prepare_cached(LOAD)?;
    let mut sifted = Sifted::default();
    for (candidate, verdict) in candidates.into_iter().zip(verdicts) {
        match verdict {
            Verdict::Unchanged(slot) => sifted.unchanged.push(slot),
            Verdict::New => sifted.rest.push((candidate, None)),
            Verdict::Changed => {
                let row = load.query_row(params![instance, candidate.chat.as_str()], read).optional()?;
                sifted.rest.push((candidate, row));
            }
        }
    }
    Ok(sifted)
}

fn judge(connection: &Connection, instance: Option<i64>, candidates: &[Candidate]) -> Result<Vec<Verdict>, Fault> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_unstable_by(|&one, &other| candidates[one].chat.cmp(&candidates[other].chat));
    let mut merge = Merge { candidates, order: &order, verdicts: vec![Verdict::New; candidates.len()] };
    let mut statement = connection.prepare_cached(MERGE)?;
    while let Some(&first) = merge.order.first() {
        merge.walk(statement.query(params![instance, candidates[first].chat.as_str()])?)?;
    }
    Ok(merge.verdicts)
}

struct Merge<'batch> {
    candidates: &'batch [Candidate],
    /// The places of the candidates that are still to be judged, by chat id.
    order: &'batch [usize],
    verdicts: Vec<Verdict>,
}

impl Merge<'_> {
    /// Judges candidates against rows, until either runs out or the next candidate is too far away.
    fn walk(&mut self, mut rows: Rows<'_>) -> rusqlite::Result<()> {
        let mut steps = 0;
        while let Some(row) = rows.next()? {
            let chat = row.get_ref(0)?.as_str()?;
            let before = self.order.len();
            while let [place, rest @ ..] = self.order
                && self.candidates[*place].chat.as_str() <= chat
            {
                if self.candidates[*place].chat.as_str() == chat {
                    self.verdicts[*place] = compare(row, &self.candidates[*place].wanted)?;
                }
                self.order = rest;
            }
            steps = if self.order.len() < before { 0 } else { steps + 1 };
            if self.order.is_empty() || steps == STEPS {
                return Ok(());
            }
        }
        self.order = &[];
        Ok(())
    }
}

/// [`Row::is_unchanged_by`](crate::ledger::Row::is_unchanged_by), without making a row.
fn compare(row: &rusqlite::Row<'_>, wanted: &Wanted) -> rusqlite::Result<Verdict> {
    let version = wanted.version.map_or(ValueRef::Null, |version| ValueRef::Integer(version.cast_signed()));
    let last = wanted.name.last().map_or(ValueRef::Null, ValueRef::from);
    let unchanged = row.get_ref(2)? == ValueRef::from(state_word(State::Settled))
        && row.get_ref(3)? == version
        && row.get_ref(4)? == ValueRef::Integer(wanted.rules.into())
        && row.get_ref(5)? == ValueRef::from(&*wanted.crm_id)
        && row.get_ref(6)? == ValueRef::from(wanted.name.first())
        && row.get_ref(7)? == last;
    Ok(if unchanged { Verdict::Unchanged(row.get_ref(1)?.as_i64()?.cast_unsigned()) } else { Verdict::Changed })
}
