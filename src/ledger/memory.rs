use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    Call, Counts, Diff, InstanceState, Lease, Ledger, LedgerError, LedgerErrorKind, Query, RunRecord, Write, chats_of,
    ids_of,
    memory::{diff::MemoryDiff, store::Store},
    strike,
};
use crate::{
    ChatId, InstanceId,
    record::{Overwritten, Record},
    time::{Clock, Timestamp},
};

mod diff;
mod store;

/// A ledger that forgets everything when it is dropped.
///
/// For tests and for jobs that may send every name again. It is also the reference: where two ledgers differ, this one is
/// right. Dropping a [`Lease`] gives it back at once.
///
/// ```
/// use std::time::Duration;
/// use wawp_contacts::{InstanceId, ledger::{Ledger, MemoryLedger}, record::Record};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let ledger = MemoryLedger::default();
/// let instance: InstanceId = "A1B2C3".parse()?;
/// let lease = ledger.acquire(&instance, "host-7, process 4711", Duration::from_secs(60)).await?;
///
/// let bob = Record::new("12025550142@c.us".parse()?);
/// let lost = ledger.commit(&instance, Some(&lease), vec![bob.clone().into()]).await?;
/// assert!(lost.is_empty());
/// let lost = ledger.commit(&instance, None, vec![bob.into()]).await?;
/// assert_eq!(lost, [0], "somebody stored the record since it was loaded");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct MemoryLedger {
    clock: Clock,
    instances: Arc<Instances>,
}

type Instances = Mutex<BTreeMap<InstanceId, Instance>>;

#[derive(Default)]
struct Instance {
    state: InstanceState,
    fence: u64,
    held: Option<Held>,
    store: Store,
    history: Vec<Overwritten>,
    runs: Vec<RunRecord>,
    /// Lines of reports, each with its run.
    reports: Vec<(u64, Box<str>)>,
}

/// A lease that was given out and not released.
struct Held {
    owner: Box<str>,
    expires: Timestamp,
    guard: Weak<()>,
}

fn lock(instances: &Instances) -> MutexGuard<'_, BTreeMap<InstanceId, Instance>> {
    instances.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryLedger {
    /// Makes an empty ledger that goes by this clock.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    fn read<T: Default>(&self, instance: &InstanceId, look: impl FnOnce(&Instance) -> T) -> T {
        lock(&self.instances).get(instance).map(look).unwrap_or_default()
    }

    fn write<T>(&self, instance: &InstanceId, change: impl FnOnce(&mut Instance) -> T) -> T {
        change(lock(&self.instances).entry(instance.clone()).or_default())
    }
}

impl Instance {
    /// The lease that was given out last, unless it was released or its holder is known to be gone.
    fn held(&mut self, fence: u64) -> Option<&mut Held> {
        if self.fence == fence { self.held.as_mut() } else { None }
    }

    /// Stores what has not lost; returns the places of those that have.
    fn commit(&mut self, writes: Vec<Write>) -> Vec<(usize, Write)> {
        let mut call = Call::of(&writes);
        let before = call.gives().then(|| self.store.clone());
        let is_stored = loop {
            let is_stored: Vec<bool> = writes
                .iter()
                .map(|write| !call.has_lost(&write.record.chat) && self.store.write(write, &call))
                .collect();
            let lost = writes.iter().zip(&is_stored).filter(|(_, is_stored)| !**is_stored);
            match &before {
                Some(before) if call.lose(lost.map(|(write, _)| write)) => self.store = before.clone(),
                _ => break is_stored,
            }
        };
        let mut lost = Vec::new();
        for ((place, write), is_stored) in writes.into_iter().enumerate().zip(is_stored) {
            if is_stored {
                self.history.extend(write.overwritten);
            } else {
                lost.push((place, write));
            }
        }
        lost
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn acquire(&self, instance: &InstanceId, owner: &str, ttl: Duration) -> Result<Lease, LedgerError> {
        let now = self.clock.now();
        self.write(instance, |known| {
            let held = known.held.as_ref().filter(|held| held.expires > now && held.guard.strong_count() > 0);
            if let Some(Held { owner, expires, .. }) = held {
                tracing::debug!(%instance, %owner, "the lease is held");
                return Err(LedgerError::busy(instance, owner, expires.since(now)));
            }
            let is_takeover = known.held.is_some();
            let guard = Arc::new(());
            known.fence += 1;
            known.held = Some(Held { owner: owner.into(), expires: now.after(ttl), guard: Arc::downgrade(&guard) });
            tracing::debug!(%instance, fence = known.fence, "lease taken");
            Ok(Lease::new(instance.clone(), known.fence).taken_over(is_takeover).guarded_by(guard))
        })
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), LedgerError> {
        let expires = self.clock.now().after(ttl);
        self.write(&lease.instance, |known| {
            let held = known.held(lease.fence).ok_or_else(|| LedgerError::fenced(&lease.instance))?;
            held.expires = expires;
            Ok(())
        })
    }

    async fn release(&self, lease: Lease) -> Result<(), LedgerError> {
        let now = self.clock.now();
        self.write(&lease.instance, |known| {
            if known.held(lease.fence).is_some() {
                known.held = None;
                known.state.released_at = Some(now);
                tracing::debug!(instance = %lease.instance, fence = lease.fence, "lease released");
            }
        });
        Ok(())
    }

    async fn fetch(&self, instance: &InstanceId, query: Query<'_>) -> Result<Vec<Record>, LedgerError> {
        Ok(self.read(instance, |known| known.store.fetch(query)))
    }

    async fn commit(
        &self,
        instance: &InstanceId,
        lease: Option<&Lease>,
        writes: Vec<Write>,
    ) -> Result<Vec<usize>, LedgerError> {
        self.write(instance, |known| {
            if let Some(lease) = lease
                && (lease.instance != *instance || known.held(lease.fence).is_none())
            {
                return Err(LedgerError::fenced(instance));
            }
            let count = writes.len();
            let lost: Vec<usize> = known.commit(writes).into_iter().map(|(place, _)| place).collect();
            tracing::debug!(%instance, stored = count - lost.len(), lost = lost.len(), "records stored");
            Ok(lost)
        })
    }

    async fn diff(&self, instance: &InstanceId) -> Result<Box<dyn Diff>, LedgerError> {
        Ok(Box::new(MemoryDiff::begin(&self.instances, instance)))
    }

    async fn state(&self, instance: &InstanceId) -> Result<InstanceState, LedgerError> {
        Ok(self.read(instance, |known| known.state.clone()))
    }

    async fn save_state(&self, instance: &InstanceId, state: InstanceState) -> Result<bool, LedgerError> {
        Ok(self.write(instance, |known| {
            let is_newest = known.state.revision == state.revision;
            if is_newest {
                let released_at = known.state.released_at;
                known.state = InstanceState { revision: state.revision + 1, released_at, ..state };
            }
            is_newest
        }))
    }

    async fn counts(&self, instance: &InstanceId) -> Result<Counts, LedgerError> {
        Ok(self.read(instance, |known| known.store.counts()))
    }

    async fn begin_run(&self, instance: &InstanceId, owner: &str, began: Timestamp) -> Result<u64, LedgerError> {
        Ok(self.write(instance, |known| {
            let run = known.runs.last().map_or(1, |last| last.run + 1);
            known.runs.push(RunRecord::begun(run, owner, began));
            run
        }))
    }

    async fn end_run(
        &self,
        instance: &InstanceId,
        run: u64,
        ended: Timestamp,
        summary: &str,
    ) -> Result<(), LedgerError> {
        self.write(instance, |known| {
            if let Some(known) = known.runs.iter_mut().find(|known| known.run == run) {
                known.ended = Some(ended);
                known.summary = Some(summary.into());
            }
        });
        Ok(())
    }

    async fn runs(&self, instance: &InstanceId, limit: usize) -> Result<Vec<RunRecord>, LedgerError> {
        Ok(self.read(instance, |known| known.runs.iter().rev().take(limit).cloned().collect()))
    }

    async fn run(&self, instance: &InstanceId, run: u64) -> Result<Option<RunRecord>, LedgerError> {
        Ok(self.read(instance, |known| known.runs.iter().find(|known| known.run == run).cloned()))
    }

    async fn open_runs(&self, instance: &InstanceId, limit: usize) -> Result<Vec<RunRecord>, LedgerError> {
        let is_open = |run: &&RunRecord| run.ended.is_none();
        Ok(self.read(instance, |known| known.runs.iter().rev().filter(is_open).take(limit).cloned().collect()))
    }

    async fn history(&self, instance: &InstanceId, chat: &ChatId) -> Result<Vec<Overwritten>, LedgerError> {
        let of_chat = |entry: &&Overwritten| entry.chat == *chat;
        Ok(self.read(instance, |known| known.history.iter().rev().filter(of_chat).cloned().collect()))
    }

    async fn before_run(
        &self,
        instance: &InstanceId,
        run: u64,
        after: Option<&ChatId>,
        limit: usize,
    ) -> Result<Vec<Overwritten>, LedgerError> {
        Ok(self.read(instance, |known| {
            let mut first: BTreeMap<&ChatId, &Overwritten> = BTreeMap::new();
            for entry in known.history.iter().filter(|entry| entry.run == run && Some(&entry.chat) > after) {
                first.entry(&entry.chat).or_insert(entry);
            }
            first.into_values().take(limit).cloned().collect()
        }))
    }

    async fn append_report(&self, instance: &InstanceId, run: u64, lines: &str) -> Result<(), LedgerError> {
        self.write(instance, |known| {
            let struck = strike(lines, |id| known.store.has_forgotten(id)).map_err(no_lines)?;
            known.reports.push((run, struck.map_or_else(|| lines.into(), Into::into)));
            Ok(())
        })
    }

    async fn report(&self, instance: &InstanceId, run: u64) -> Result<Vec<Box<str>>, LedgerError> {
        let of_run = |(of, lines): &(u64, Box<str>)| (*of == run).then(|| lines.clone());
        Ok(self.read(instance, |known| known.reports.iter().filter_map(of_run).collect()))
    }

    async fn keep_reports(&self, instance: &InstanceId, runs: u64) -> Result<(), LedgerError> {
        self.write(instance, |known| {
            let told: BTreeSet<u64> = known.reports.iter().map(|(run, _)| *run).collect();
            let kept: BTreeSet<u64> =
                told.into_iter().rev().take(usize::try_from(runs).unwrap_or(usize::MAX)).collect();
            known.reports.retain(|(run, _)| kept.contains(run));
        });
        Ok(())
    }

    async fn forget(&self, instance: &InstanceId, record: &Record) -> Result<bool, LedgerError> {
        self.write(instance, |known| {
            if !known.store.forget(record) {
                return Ok(false);
            }
            let (chats, ids) = (chats_of(record), ids_of(record));
            known.history.retain(|entry| !chats.contains(&entry.chat));
            for (_, lines) in &mut known.reports {
                if let Some(struck) = strike(lines, |id| ids.iter().any(|known| **known == *id)).map_err(no_lines)? {
                    *lines = struck.into();
                }
            }
            tracing::debug!(%instance, "a person is forgotten");
            Ok(true)
        })
    }

    async fn forgotten(&self, instance: &InstanceId, ids: &[&str]) -> Result<Vec<bool>, LedgerError> {
        let answer =
            self.read(instance, |known| ids.iter().map(|id| known.store.has_forgotten(id)).collect::<Vec<_>>());
        Ok(if answer.is_empty() { vec![false; ids.len()] } else { answer })
    }

    async fn allow(&self, instance: &InstanceId, id: &str) -> Result<bool, LedgerError> {
        Ok(self.write(instance, |known| known.store.allow(id)))
    }
}

fn no_lines(error: serde_json::Error) -> LedgerError {
    let detail = "the lines of a report are a JSON array of objects; these are not";
    LedgerError::new(LedgerErrorKind::Damaged, detail).because(error)
}

impl fmt::Debug for MemoryLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLedger").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_lease_ends_when_its_guard_is_dropped_or_its_time_is_over() {
        let ledger = MemoryLedger::new(Clock::starting_at(Timestamp(1_000)));
        let instance: InstanceId = "one".parse().unwrap();
        let first = ledger.acquire(&instance, "host-7, process 1", TTL).await.unwrap();
        tokio::time::sleep(Duration::from_millis(59_999)).await;
        let refused = ledger.acquire(&instance, "host-7, process 2", TTL).await.unwrap_err();
        assert_eq!(refused.kind(), LedgerErrorKind::Busy);
        tokio::time::sleep(Duration::from_millis(1)).await;
        let second = ledger.acquire(&instance, "host-7, process 2", TTL).await.unwrap();
        drop(first);
        assert!(ledger.acquire(&instance, "three", TTL).await.is_err(), "the guard of an older lease frees nothing");
        drop(second);
        assert_eq!(ledger.acquire(&instance, "three", TTL).await.unwrap().fence, 3);
    }
}
