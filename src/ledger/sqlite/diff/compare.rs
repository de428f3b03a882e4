//! The path of a row that changes nothing, and how the others leave it.
//!
//! The next row of an export is usually the next row of the last one. So claims are read in the order of their arrival, from the
//! last one that was met on, and each row is compared with the next claim: one step and no allocation.

use std::collections::VecDeque;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params, types::ValueRef};

use super::{Progress, StoredClaim, view::View};
use crate::{
    crm::RowDigest,
    ledger::{Incoming, Verdict, sqlite::fault::Fault},
};

/// How many claims are looked at ahead for a row that is not the next.
const AHEAD: usize = 8;

/// After how many rows in a row that are not ahead the walk looks where they are.
const PATIENCE: usize = 16;

/// The claim of a row.
#[derive(Clone, Copy)]
pub(super) struct Found {
    arrival: u64,
    /// The contact; `None` if nobody will ask, because the row is the same and all contacts are in sync.
    contact: Option<i64>,
    /// The stored digest, if it is another than that of the row.
    other: Option<RowDigest>,
}

/// A claim that was read, but is not the one of the row that was looked for.
struct Passed {
    crm_id: Box<[u8]>,
    arrival: u64,
    contact: i64,
    digest: RowDigest,
}

impl Passed {
    fn found(&self, row: &Incoming) -> Found {
        let other = Some(self.digest).filter(|digest| *digest != row.digest);
        Found { arrival: self.arrival, contact: Some(self.contact), other }
    }
}

/// Reads a claim from `crm_id, arrival, digest, contact` if it is the one of a row; each column costs.
fn matching(claim: &Row<'_>, row: &Incoming, with_contact: bool) -> rusqlite::Result<Option<Found>> {
    if claim.get_ref(0)? != ValueRef::Text(row.contact.id.as_bytes()) {
        return Ok(None);
    }
    let arrival = claim.get::<_, i64>(1)?.cast_unsigned();
    let is_same = claim.get_ref(2)? == ValueRef::Blob(row.digest.as_bytes());
    let other = if is_same { None } else { Some(RowDigest::from_bytes(claim.get(2)?)) };
    let contact = if is_same && !with_contact { None } else { Some(claim.get(3)?) };
    Ok(Some(Found { arrival, contact, other }))
}

fn passed(claim: &Row<'_>) -> rusqlite::Result<Passed> {
    Ok(Passed {
        crm_id: claim.get_ref(0)?.as_bytes()?.into(),
        arrival: claim.get::<_, i64>(1)?.cast_unsigned(),
        contact: claim.get(3)?,
        digest: RowDigest::from_bytes(claim.get(2)?),
    })
}

impl Progress {
    pub(super) fn compare(&mut self, connection: &Connection, rows: &[Incoming]) -> Result<Vec<Verdict>, Fault> {
        self.note_fresh(connection)?;
        self.forget_given(connection)?;
        self.found.clear();
        self.found.resize(rows.len(), None);
        self.missed.clear();
        self.walk(connection, rows)?;
        self.look_up(connection, rows)?;
        if let Some(last) = self.found.iter().rev().flatten().next() {
            self.cursor = last.arrival;
        }
        self.judge(connection, rows)
    }

    /// Matches rows with claims in the order of both; what is not where it is expected is left for later.
    fn walk(&mut self, connection: &Connection, rows: &[Incoming]) -> Result<(), Fault> {
        let sql = "SELECT crm_id, arrival, digest, contact FROM claim INDEXED BY claim_arrival \
                   WHERE instance = ?1 AND arrival > ?2 ORDER BY arrival";
        let mut walk = connection.prepare_cached(sql)?;
        let mut ahead = VecDeque::with_capacity(AHEAD);
        let (mut from, mut at) = (self.cursor, 0);
        let (mut misses, mut patience) = (0, PATIENCE);
        let with_contact = !self.open.is_empty();
        'walk: loop {
            ahead.clear();
            let mut claims = walk.query(params![self.id, from.cast_signed()])?;
            let mut is_over = false;
            while let Some(row) = rows.get(at) {
                let place = at;
                at += 1;
                let mut found = None;
                if let Some(nth) = ahead.iter().position(|claim: &Passed| *claim.crm_id == *row.contact.id.as_bytes()) {
                    found = ahead.drain(..=nth).next_back().map(|claim| claim.found(row));
                }
                while found.is_none() && !is_over && ahead.len() < AHEAD {
                    let Some(claim) = claims.next()? else {
                        is_over = true;
                        break;
                    };
                    found = matching(claim, row, with_contact)?;
                    match found {
                        Some(_) => ahead.clear(),
                        None => ahead.push_back(passed(claim)?),
                    }
                }
                if found.is_some() {
                    self.found[place] = found;
                    misses = 0;
                    continue;
                }
                misses += 1;
                if misses < patience {
                    self.missed.push(place);
                    continue;
                }
                // Perhaps the rows go on in the same order somewhere else; if they have none, asking gets rarer.
                patience *= 2;
                self.found[place] = LookUp::new(connection, self.id)?.find(row)?;
                if let Some(found) = self.found[place] {
                    from = found.arrival;
                    misses = 0;
                    continue 'walk;
                }
            }
            return Ok(());
        }
    }

    /// Looks up what was not met on the way, in the order of CRM ids: neighbours share a page.
    fn look_up(&mut self, connection: &Connection, rows: &[Incoming]) -> Result<(), Fault> {
        let id = |place: usize| rows[place].contact.id.as_str();
        self.missed.sort_unstable_by(|one, other| id(*one).cmp(id(*other)));
        let mut look_up = LookUp::new(connection, self.id)?;
        for place in &self.missed {
            self.found[*place] = look_up.find(&rows[*place])?;
        }
        Ok(())
    }

    fn judge(&mut self, connection: &Connection, rows: &[Incoming]) -> Result<Vec<Verdict>, Fault> {
        let mut verdicts = Vec::with_capacity(rows.len());
        let mut view = None;
        for (place, row) in rows.iter().enumerate() {
            let found = self.found[place];
            let is_repeat = found.is_some_and(|claim| !self.meet(claim));
            let is_unchanged =
                |claim: Found| claim.other.is_none() && !is_repeat && !self.touched.contains(claim.arrival);
            if found.is_some_and(is_unchanged) {
                verdicts.push(Verdict::Unchanged);
                continue;
            }
            let view = match &mut view {
                Some(view) => view,
                none => none.insert(View::new(connection, self)?),
            };
            let contact = match found {
                Some(Found { contact: None, .. }) => LookUp::new(connection, self.id)?.find(row)?,
                found => found,
            };
            if let Some(Found { arrival, contact: Some(contact), other: Some(digest) }) = contact {
                self.given.insert(row.contact.id.as_str().into(), StoredClaim { arrival, contact, digest });
            }
            let contact = contact.and_then(|claim| claim.contact);
            verdicts.push(self.changed(view, row, contact, is_repeat)?);
        }
        Ok(verdicts)
    }

    /// Marks a claim as met, and says whether it is for the first time.
    fn meet(&mut self, claim: Found) -> bool {
        let is_first = self.met.insert(claim.arrival);
        if is_first && claim.contact.is_some_and(|contact| self.open.contains(contact.cast_unsigned())) {
            self.met_open.insert(claim.arrival);
        }
        is_first
    }

    fn changed(
        &mut self,
        view: &mut View<'_>,
        row: &Incoming,
        contact: Option<i64>,
        mut is_repeat: bool,
    ) -> Result<Verdict, Fault> {
        let crm_id = row.contact.id.as_str();
        let (staged, is_met) = view.staged_claim(crm_id)?.unwrap_or_default();
        is_repeat |= is_met;
        if contact.is_none() && !is_repeat {
            is_repeat = !self.fresh.insert(crm_id.into());
        }
        let holder = view.holder(crm_id, staged, contact)?;
        let is_holders = holder.as_ref().is_some_and(|holder| holder.answers_to(&row.contact.chat));
        let target = if is_holders { None } else { view.resolve(&row.contact.chat)? };
        let is_unknown = !is_holders && target.is_none();
        if (is_unknown && view.marks.has(row.contact.chat.as_str())?) || (holder.is_none() && view.marks.has(crm_id)?) {
            return Ok(Verdict::Forgotten);
        }
        Ok(Verdict::Changed { holder: holder.map(Box::new), target: target.map(Box::new), is_repeat })
    }

    /// Writes down which rows were compared that have neither a stored nor a staged claim.
    pub(super) fn note_fresh(&mut self, connection: &Connection) -> Result<(), Fault> {
        let sql = "INSERT INTO temp.staged_claim (crm_id, is_met) VALUES (?1, 1) ON CONFLICT DO UPDATE SET is_met = 1";
        let mut note = connection.prepare_cached(sql)?;
        for crm_id in self.fresh.drain() {
            note.execute([crm_id])?;
        }
        Ok(())
    }
}

/// Finds the claims of rows by CRM id.
struct LookUp<'c>(CachedStatement<'c>, Option<i64>);

impl<'c> LookUp<'c> {
    fn new(connection: &'c Connection, instance: Option<i64>) -> Result<Self, Fault> {
        let sql = "SELECT crm_id, arrival, digest, contact FROM claim WHERE instance = ?1 AND crm_id = ?2";
        Ok(Self(connection.prepare_cached(sql)?, instance))
    }

    fn find(&mut self, row: &Incoming) -> Result<Option<Found>, Fault> {
        let found = self.0.query_row(params![self.1, row.contact.id], |claim| matching(claim, row, true));
        Ok(found.optional()?.flatten())
    }
}
