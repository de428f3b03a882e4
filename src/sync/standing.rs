//! How the contacts of an instance stand, counted by what becomes of their rows.

use serde::Serialize;

use super::{ContactSync, SyncError};
use crate::{
    ledger::Query,
    record::{Record, Status},
};

/// How many records are read at once.
const CHUNK: usize = 512;

/// How the contacts that the ledger knows stand; see [`ContactSync::standing`].
///
/// Each contact is counted once among `in_sync`, `due`, `held`, `parked`, `unusable` and `without_row`. A [plan](super::Plan) of the rows
/// that were taken in last counts the same: `in_sync` is its `unchanged`, `due` are its `created`, `renamed` and `gated`, `held` and
/// `parked` are called the same. The rows of those that are `unusable` are among its `refused`, as are the rows that name nobody, which are
/// no contacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Standing {
    /// Contacts.
    pub contacts: u64,
    /// Those with one row that has a name, for which there is nothing to do.
    pub in_sync: u64,
    /// Those that wait for a call, now or later.
    pub due: u64,
    /// Those that wait for something that may come by itself, and those held by hand of whom the CRM wants another name.
    pub held: u64,
    /// Those with one row that has a name, which only a person or a new wish helps.
    pub parked: u64,
    /// Those whose row has no name that can be used, or who are claimed by several rows.
    pub unusable: u64,
    /// Those whom no row claims.
    pub without_row: u64,
    /// Those of all of these that are known to have a name in the address book.
    pub known: u64,
    /// Those of all of these that are [held by hand](ContactSync::hold).
    pub by_hand: u64,
}

impl Standing {
    fn count(&mut self, record: &Record) {
        self.contacts += 1;
        self.known += u64::from(record.is_known());
        self.by_hand += u64::from(record.held.is_some());
        *match (record.claims.is_empty(), record.wanted(), record.status) {
            (true, ..) => &mut self.without_row,
            (false, None, _) => &mut self.unusable,
            (false, Some(_), Status::InSync) => &mut self.in_sync,
            (false, Some(_), Status::Due { .. }) => &mut self.due,
            (false, Some(_), Status::Held { .. }) => &mut self.held,
            (false, Some(_), Status::Parked { .. }) => &mut self.parked,
        } += 1;
    }
}

impl ContactSync {
    /// Counts the contacts that the ledger knows by how they stand. This looks at all of them: it is for reports, not for a loop.
    ///
    /// # Errors
    ///
    /// Fails if the ledger does.
    pub async fn standing(&self) -> Result<Standing, SyncError> {
        let (mut standing, mut after) = (Standing::default(), None);
        loop {
            let query = Query::All { after: after.as_ref(), limit: CHUNK };
            let records = self.ledger.fetch(self.book.instance(), query).await?;
            let Some(last) = records.last() else { return Ok(standing) };
            after = Some(last.chat.clone());
            for record in &records {
                standing.count(record);
            }
        }
    }
}
