use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Bound,
    sync::Arc,
};

use async_trait::async_trait;

use super::{Instance, Instances, lock, store::Store};
use crate::{
    ChatId, InstanceId,
    ledger::{Diff, Incoming, LedgerError, Tally, Verdict, Write},
    record::{Record, Status},
};

/// What is compared, staged and not applied.
pub(super) struct MemoryDiff {
    instances: Arc<Instances>,
    instance: InstanceId,
    /// Claims that were there at the beginning, by arrival.
    begun: BTreeMap<u64, Box<str>>,
    /// Chats that were not in sync at the beginning.
    open: BTreeSet<ChatId>,
    /// Rows that were compared and had no claim then.
    fresh: BTreeSet<Box<str>>,
    /// Claims, by arrival, that a row was compared with, and whether their record was in sync at the beginning.
    met: BTreeMap<u64, bool>,
    listed: u64,
    staged: Staged,
}

#[derive(Default)]
struct Staged {
    order: u64,
    writes: BTreeMap<ChatId, (u64, Write)>,
    /// Who has a claim, where that is not who has it in the store.
    claims: BTreeMap<Box<str>, ChatId>,
    aliases: BTreeMap<ChatId, ChatId>,
    /// Claims, by arrival, that something was staged for.
    touched: BTreeSet<u64>,
}

/// The store as a session sees it.
struct View<'a> {
    store: &'a Store,
    staged: &'a Staged,
}

impl View<'_> {
    fn get(&self, chat: &ChatId) -> Option<Record> {
        match self.staged.writes.get(chat) {
            Some((_, write)) => Some(write.record.clone()),
            None => self.store.get(chat).cloned(),
        }
    }

    fn by_alias(&self, alias: &ChatId) -> Option<Record> {
        let chat = self.staged.aliases.get(alias).or_else(|| self.store.by_alias(alias))?;
        self.get(chat).filter(|record| record.answers_to(alias))
    }

    fn holder(&self, crm_id: &str) -> Option<Record> {
        let stored = || self.store.claims.get(crm_id).map(|claim| &claim.chat);
        let chat = self.staged.claims.get(crm_id).or_else(stored)?;
        self.get(chat).filter(|record| record.claim(crm_id).is_some())
    }
}

impl Staged {
    fn stage(&mut self, store: &Store, mut write: Write) {
        let chat = write.record.chat.clone();
        let mut place = self.order + 1;
        if let Some((first, before)) = self.writes.remove(&chat) {
            // What is staged again keeps its place in the order of arrival.
            place = first;
            self.forget(&before.record);
            write.replaces(before);
        }
        write.absorbed = None;
        self.touch(store, write.record.claims.iter().map(|claim| &claim.crm_id).chain(&write.unclaimed));
        for claim in &write.record.claims {
            let stored = store.claims.get(&claim.crm_id);
            if stored.is_none_or(|stored| stored.chat != chat || stored.digest != claim.digest) {
                self.claims.insert(claim.crm_id.clone(), chat.clone());
            }
        }
        for alias in write.record.aliases.iter().filter(|alias| store.by_alias(alias) != Some(&chat)) {
            self.aliases.insert(alias.clone(), chat.clone());
        }
        self.order = self.order.max(place);
        self.writes.insert(chat, (place, write));
    }

    fn touch(&mut self, store: &Store, crm_ids: impl Iterator<Item = impl AsRef<str>>) {
        let arrivals = crm_ids.filter_map(|crm_id| Some(store.claims.get(crm_id.as_ref())?.arrival));
        self.touched.extend(arrivals);
    }

    /// Forgets the claims and aliases of a record that is staged no longer, as it is.
    fn forget(&mut self, record: &Record) {
        for claim in &record.claims {
            if self.claims.get(&claim.crm_id) == Some(&record.chat) {
                self.claims.remove(&claim.crm_id);
            }
        }
        for alias in &record.aliases {
            if self.aliases.get(alias) == Some(&record.chat) {
                self.aliases.remove(alias);
            }
        }
    }
}

impl MemoryDiff {
    pub(super) fn begin(instances: &Arc<Instances>, instance: &InstanceId) -> Self {
        let mut session = Self {
            instances: Arc::clone(instances),
            instance: instance.clone(),
            begun: BTreeMap::new(),
            open: BTreeSet::new(),
            fresh: BTreeSet::new(),
            met: BTreeMap::new(),
            listed: 0,
            staged: Staged::default(),
        };
        if let Some(Instance { store, .. }) = lock(instances).get(instance) {
            session.begun = store.claims.iter().map(|(crm_id, claim)| (claim.arrival, crm_id.clone())).collect();
            let open = store.after(None).filter(|record| record.status != Status::InSync);
            session.open = open.map(|record| record.chat.clone()).collect();
        }
        session
    }

    /// Looks at the instance as it is now.
    fn with<T>(&mut self, look: impl FnOnce(&mut Self, &Store) -> T) -> T {
        let instances = Arc::clone(&self.instances);
        let mut instances = lock(&instances);
        let instance = instances.entry(self.instance.clone()).or_default();
        look(self, &instance.store)
    }

    fn verdict(&mut self, store: &Store, row: &Incoming) -> Verdict {
        let Incoming { contact, digest } = row;
        let mut is_repeat = self.fresh.contains(contact.id.as_str());
        if let Some(claim) = store.claims.get(contact.id.as_str()) {
            let is_met = self.met.contains_key(&claim.arrival);
            self.met.entry(claim.arrival).or_insert(!self.open.contains(&claim.chat));
            if claim.digest == *digest && !is_met && !self.staged.touched.contains(&claim.arrival) {
                return Verdict::Unchanged;
            }
            is_repeat |= is_met;
        } else {
            self.fresh.insert(contact.id.as_str().into());
        }
        let view = View { store, staged: &self.staged };
        let holder = view.holder(&contact.id);
        let is_holders = holder.as_ref().is_some_and(|holder| holder.answers_to(&contact.chat));
        let target = if is_holders { None } else { view.get(&contact.chat).or_else(|| view.by_alias(&contact.chat)) };
        let is_unknown = !is_holders && target.is_none();
        if (is_unknown && store.has_forgotten(contact.chat.as_str()))
            || (holder.is_none() && store.has_forgotten(&contact.id))
        {
            return Verdict::Forgotten;
        }
        Verdict::Changed { holder: holder.map(Box::new), target: target.map(Box::new), is_repeat }
    }
}

#[async_trait]
impl Diff for MemoryDiff {
    async fn compare(&mut self, rows: Arc<[Incoming]>) -> Result<Vec<Verdict>, LedgerError> {
        Ok(self.with(|session, store| rows.iter().map(|row| session.verdict(store, row)).collect()))
    }

    async fn stage(&mut self, writes: Vec<Write>) -> Result<(), LedgerError> {
        self.with(|session, store| writes.into_iter().for_each(|write| session.staged.stage(store, write)));
        Ok(())
    }

    async fn find(&mut self, chats: &[ChatId]) -> Result<Vec<Record>, LedgerError> {
        Ok(self.with(|session, store| {
            let view = View { store, staged: &session.staged };
            let named = |chat| [view.get(chat), view.by_alias(chat)];
            let found = chats.iter().flat_map(named).flatten().map(|record| (record.chat.clone(), record));
            found.collect::<BTreeMap<_, _>>().into_values().collect()
        }))
    }

    async fn absent(&mut self, limit: usize) -> Result<Vec<(Box<str>, Record)>, LedgerError> {
        Ok(self.with(|session, store| {
            let mut absent = Vec::new();
            let begun = &session.begun;
            for (arrival, crm_id) in begun.range(session.listed + 1..) {
                if absent.len() == limit {
                    break;
                }
                session.listed = *arrival;
                let is_stored = store.claims.get(crm_id).is_some_and(|claim| claim.arrival == *arrival);
                if is_stored && !session.met.contains_key(arrival) {
                    let holder = View { store, staged: &session.staged }.holder(crm_id);
                    absent.extend(holder.map(|record| (crm_id.clone(), record)));
                }
            }
            absent
        }))
    }

    async fn open(&mut self, after: Option<&ChatId>, limit: usize) -> Result<Vec<Record>, LedgerError> {
        Ok(self.with(|session, store| {
            let view = View { store, staged: &session.staged };
            let mut stored = store.after(after).map(|record| &record.chat).peekable();
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            let staged = session.staged.writes.range::<ChatId, _>((start, Bound::Unbounded));
            let mut staged = staged.map(|(chat, _)| chat).peekable();
            let mut open = Vec::new();
            while open.len() < limit
                && let Some(chat) = stored.peek().into_iter().chain(staged.peek()).min().copied()
            {
                stored.next_if_eq(&chat);
                staged.next_if_eq(&chat);
                open.extend(view.get(chat).filter(|record| record.status != Status::InSync));
            }
            open
        }))
    }

    async fn tally(&mut self) -> Result<Tally, LedgerError> {
        let Self { begun, met, staged, .. } = self;
        let left_alone = |arrival: &u64| begun.contains_key(arrival) && !staged.touched.contains(arrival);
        let unchanged = met.iter().filter(|(arrival, was_in_sync)| **was_in_sync && left_alone(arrival)).count();
        let is_unchanged = |record: &Record| record.status == Status::InSync && !record.claims.is_empty();
        let staged_in_sync = staged.writes.values().filter(|(_, write)| is_unchanged(&write.record)).count();
        Ok(Tally {
            claims: begun.len() as u64,
            met: met.keys().filter(|arrival| begun.contains_key(arrival)).count() as u64,
            unchanged: (unchanged + staged_in_sync) as u64,
            staged: staged.writes.len() as u64,
        })
    }

    async fn apply(self: Box<Self>) -> Result<Vec<Write>, LedgerError> {
        let (instances, instance) = (Arc::clone(&self.instances), self.instance.clone());
        let writes = self.into_writes().await?;
        let count = writes.len();
        let mut instances = lock(&instances);
        let lost = instances.entry(instance.clone()).or_default().commit(writes);
        let lost: Vec<Write> = lost.into_iter().map(|(_, write)| write).collect();
        tracing::debug!(%instance, applied = count - lost.len(), lost = lost.len(), "staged records applied");
        Ok(lost)
    }

    async fn apply_whole(self: Box<Self>) -> Result<Vec<Write>, LedgerError> {
        let (instances, instance) = (Arc::clone(&self.instances), self.instance.clone());
        let writes = self.into_writes().await?;
        let mut instances = lock(&instances);
        let entry = instances.entry(instance).or_default();
        let (store, told) = (entry.store.clone(), entry.history.len());
        let lost: Vec<Write> = entry.commit(writes).into_iter().map(|(_, write)| write).collect();
        if !lost.is_empty() {
            entry.store = store;
            entry.history.truncate(told);
        }
        Ok(lost)
    }

    async fn into_writes(self: Box<Self>) -> Result<Vec<Write>, LedgerError> {
        let mut writes: Vec<_> = self.staged.writes.into_values().collect();
        writes.sort_unstable_by_key(|(order, _)| *order);
        Ok(writes.into_iter().map(|(_, write)| write).collect())
    }
}

impl fmt::Debug for MemoryDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDiff").field("instance", &self.instance).finish_non_exhaustive()
    }
}
