use std::{
    collections::BTreeMap,
    fmt,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{
    Candidate, Counts, Lease, Ledger, LedgerError, Overwritten, Row, RunRecord, Sifted, State, Timestamp,
    leases::{Leases, conflict, fenced},
};
use crate::{ChatId, InstanceId};

/// A ledger that forgets everything when it is dropped.
///
/// For tests and for jobs that may send every name again. It is also the reference: where two ledgers differ, this one is
/// right.
///
/// ```
/// use wawp_contacts::{InstanceId, ledger::{Ledger, MemoryLedger, Timestamp}};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let ledger = MemoryLedger::default();
/// let instance: InstanceId = "A1B2C3".parse()?;
/// let lease = ledger.lease(&instance, Timestamp::now()).await?;
/// assert_eq!(lease.fence, 1);
/// assert_eq!(ledger.counts(&instance).await?.rows, 0);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct MemoryLedger {
    instances: Mutex<BTreeMap<InstanceId, Instance>>,
    leases: Leases,
}

#[derive(Default)]
struct Instance {
    fence: u64,
    closed_until: Timestamp,
    last_slot: u64,
    rows: BTreeMap<ChatId, Row>,
    history: Vec<Overwritten>,
    runs: BTreeMap<u64, RunRecord>,
}

impl MemoryLedger {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Instance>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T: Default>(&self, instance: &InstanceId, look: impl FnOnce(&Instance) -> T) -> T {
        self.lock().get(instance).map(look).unwrap_or_default()
    }

    fn write<T>(
        &self,
        lease: &Lease,
        change: impl FnOnce(&mut Instance) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        match self.lock().get_mut(&lease.instance) {
            Some(held) if held.fence == lease.fence => change(held),
            _ => Err(fenced(&lease.instance)),
        }
    }
}

impl Instance {
    fn save(&mut self, rows: Vec<Row>, history: Vec<Overwritten>) -> Result<(), LedgerError> {
        let mut last_slot = self.last_slot;
        let mut changed = BTreeMap::new();
        for mut row in rows {
            let stored = changed.get(&row.chat).or_else(|| self.rows.get(&row.chat));
            if stored.map_or(0, |stored| stored.revision) != row.revision {
                return Err(conflict(&row.chat));
            }
            row.slot = stored.map_or_else(
                || {
                    last_slot += 1;
                    last_slot
                },
                |stored| stored.slot,
            );
            row.revision += 1;
            changed.insert(row.chat.clone(), row);
        }
        self.last_slot = last_slot;
        self.rows.append(&mut changed);
        self.history.extend(history);
        Ok(())
    }

    fn rows_after(&self, after: Option<&ChatId>) -> impl Iterator<Item = &Row> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.rows.range::<ChatId, _>((start, Bound::Unbounded)).map(|(_, row)| row)
    }

    fn counts(&self) -> Counts {
        let count = |keep: fn(&Row) -> bool| self.rows.values().filter(|row| keep(row)).count() as u64;
        Counts {
            rows: count(|_| true),
            known: count(Row::is_known),
            due: count(|row| row.state() == State::Due),
            parked: count(|row| row.state() == State::Parked),
            last_slot: self.last_slot,
        }
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn lease(&self, instance: &InstanceId, now: Timestamp) -> Result<Lease, LedgerError> {
        let guard = self.leases.take(instance)?;
        let mut instances = self.lock();
        let held = instances.entry(instance.clone()).or_default();
        held.fence += 1;
        let fence = held.fence;
        held.runs.insert(fence, RunRecord { fence, began: now, ended: None, summary: None });
        Ok(Lease { instance: instance.clone(), fence, guard })
    }

    async fn end(&self, lease: &Lease, now: Timestamp, summary: &str) -> Result<(), LedgerError> {
        self.write(lease, |held| {
            if let Some(run) = held.runs.get_mut(&lease.fence) {
                run.ended = Some(now);
                run.summary = Some(summary.into());
            }
            Ok(())
        })
    }

    async fn close_until(&self, lease: &Lease, until: Timestamp) -> Result<(), LedgerError> {
        self.write(lease, |held| {
            held.closed_until = until;
            Ok(())
        })
    }

    async fn closed_until(&self, instance: &InstanceId) -> Result<Timestamp, LedgerError> {
        Ok(self.read(instance, |held| held.closed_until))
    }

    async fn sift(&self, instance: &InstanceId, candidates: Vec<Candidate>) -> Result<Sifted, LedgerError> {
        let instances = self.lock();
        let held = instances.get(instance);
        let mut sifted = Sifted::default();
        for candidate in candidates {
            match held.and_then(|held| held.rows.get(&candidate.chat)) {
                Some(row) if row.is_unchanged_by(&candidate.wanted) => sifted.unchanged.push(row.slot),
                row => sifted.rest.push((candidate, row.cloned())),
            }
        }
        Ok(sifted)
    }

    async fn load(&self, instance: &InstanceId, chats: &[ChatId]) -> Result<Vec<Option<Row>>, LedgerError> {
        let instances = self.lock();
        let held = instances.get(instance);
        Ok(chats.iter().map(|chat| held?.rows.get(chat).cloned()).collect())
    }

    async fn save(&self, lease: &Lease, rows: Vec<Row>, history: Vec<Overwritten>) -> Result<(), LedgerError> {
        self.write(lease, |held| held.save(rows, history))
    }

    async fn due(
        &self,
        instance: &InstanceId,
        by: Timestamp,
        after: Option<&ChatId>,
        limit: usize,
    ) -> Result<Vec<Row>, LedgerError> {
        let is_due = |row: &&Row| row.due_at().is_some_and(|due| due <= by);
        Ok(self.read(instance, |held| held.rows_after(after).filter(is_due).take(limit).cloned().collect()))
    }

    async fn next_due(&self, instance: &InstanceId) -> Result<Option<Timestamp>, LedgerError> {
        Ok(self.read(instance, |held| held.rows.values().filter_map(Row::due_at).min()))
    }

    async fn rows(&self, instance: &InstanceId, after: Option<&ChatId>, limit: usize) -> Result<Vec<Row>, LedgerError> {
        Ok(self.read(instance, |held| held.rows_after(after).take(limit).cloned().collect()))
    }

    async fn counts(&self, instance: &InstanceId) -> Result<Counts, LedgerError> {
        Ok(self.read(instance, Instance::counts))
    }

    async fn history(&self, instance: &InstanceId, chat: &ChatId) -> Result<Vec<Overwritten>, LedgerError> {
        Ok(self.read(instance, |held| held.history.iter().rev().filter(|entry| entry.chat == *chat).cloned().collect()))
    }

    async fn runs(&self, instance: &InstanceId, limit: usize) -> Result<Vec<RunRecord>, LedgerError> {
        Ok(self.read(instance, |held| held.runs.values().rev().take(limit).cloned().collect()))
    }
}

impl fmt::Debug for MemoryLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLedger").finish_non_exhaustive()
    }
}
