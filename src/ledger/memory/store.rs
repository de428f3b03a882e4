use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use crate::{
    ChatId,
    crm::RowDigest,
    ledger::{Call, Counts, Mark, Query, Salt, Write, chats_of, ids_of},
    record::{Claim, Record, Status},
    time::Timestamp,
};

/// Whether a claim is new or different, so that it is listed as the record's.
fn is_listed(old: Option<&Record>, claim: &Claim) -> bool {
    let before = old.and_then(|old| old.claim(&claim.crm_id));
    before.is_none_or(|before| before.digest != claim.digest)
}

/// Records, and what they are found by.
#[derive(Clone, Default)]
pub(super) struct Store {
    arrivals: u64,
    records: BTreeMap<ChatId, Stored>,
    due: BTreeSet<(Timestamp, u64, ChatId)>,
    aliases: BTreeMap<ChatId, ChatId>,
    pub(super) claims: BTreeMap<Box<str>, StoredClaim>,
    salt: Option<Salt>,
    /// The marks of forgotten persons, and the one that all of a person's share.
    forgotten: BTreeMap<Mark, Mark>,
}

#[derive(Clone)]
struct Stored {
    arrival: u64,
    record: Record,
}

#[derive(Clone)]
pub(super) struct StoredClaim {
    pub(super) arrival: u64,
    pub(super) digest: RowDigest,
    pub(super) chat: ChatId,
}

impl Store {
    pub(super) fn get(&self, chat: &ChatId) -> Option<&Record> {
        self.records.get(chat).map(|stored| &stored.record)
    }

    pub(super) fn by_alias(&self, alias: &ChatId) -> Option<&ChatId> {
        self.aliases.get(alias)
    }

    pub(super) fn after(&self, after: Option<&ChatId>) -> impl Iterator<Item = &Record> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.records.range::<ChatId, _>((start, Bound::Unbounded)).map(|(_, stored)| &stored.record)
    }

    pub(super) fn fetch(&self, query: Query<'_>) -> Vec<Record> {
        match query {
            Query::Chats(chats) => {
                let named = |chat: &ChatId| [Some(chat.clone()), self.by_alias(chat).cloned()];
                let found: BTreeSet<ChatId> = chats.iter().flat_map(named).flatten().collect();
                found.iter().filter_map(|chat| self.get(chat)).cloned().collect()
            }
            Query::CrmIds(crm_ids) => {
                let found: BTreeSet<&ChatId> =
                    crm_ids.iter().filter_map(|crm_id| Some(&self.claims.get(crm_id)?.chat)).collect();
                found.into_iter().filter_map(|chat| self.get(chat)).cloned().collect()
            }
            Query::Due { by, limit } => {
                let due = self.due.iter().take_while(|(at, ..)| *at <= by).take(limit);
                due.filter_map(|(.., chat)| self.get(chat)).cloned().collect()
            }
            Query::DueAfter { after, limit } => {
                let due = self.due.iter().skip_while(|(at, ..)| *at <= after).take(limit);
                due.filter_map(|(.., chat)| self.get(chat)).cloned().collect()
            }
            Query::State { state, after, limit } => {
                let in_state = |record: &&Record| record.status.as_str() == state;
                self.after(after).filter(in_state).take(limit).cloned().collect()
            }
            Query::ByHand { after, limit } => {
                self.after(after).filter(|record| record.held.is_some()).take(limit).cloned().collect()
            }
            Query::All { after, limit } => self.after(after).take(limit).cloned().collect(),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for Stored { record, .. } in self.records.values() {
            counts.records += 1;
            counts.known += u64::from(record.is_known());
            match record.status {
                Status::InSync => {}
                Status::Due { .. } => counts.due += 1,
                Status::Held { .. } => counts.held += 1,
                Status::Parked { .. } => counts.parked += 1,
            }
        }
        counts
    }

    /// Stores a write over the revisions that it was loaded at, and says whether they were still the newest.
    pub(super) fn write(&mut self, write: &Write, call: &Call<'_>) -> bool {
        let Write { record, unclaimed, .. } = write;
        let absorbed = write.absorbs();
        let is_newest = |chat: &ChatId, revision| self.get(chat).map_or(0, |record| record.revision) == revision;
        if !is_newest(&record.chat, record.revision)
            || absorbed.is_some_and(|(chat, revision)| !is_newest(chat, *revision))
        {
            return false;
        }
        if self.is_of_forgotten(record) || self.lacks_claim(write, call) {
            return false;
        }
        let next = Record { revision: record.revision + 1, ..record.clone() };
        let (arrival, old) = match self.records.remove(&record.chat) {
            Some(Stored { arrival, record }) => (arrival, record),
            None => (self.arrival(), Record::new(record.chat.clone())),
        };
        self.unlist(arrival, &old);
        if let Some(at) = next.status.due_at() {
            self.due.insert((at, arrival, next.chat.clone()));
        }
        self.link(&old, &next);
        self.unlink(&next.chat, old.claims.iter().map(|claim| &claim.crm_id).chain(unclaimed), &old.aliases, &next);
        self.records.insert(next.chat.clone(), Stored { arrival, record: next });
        // Only now, so that claims which moved kept the order of their arrival.
        if let Some((chat, _)) = absorbed {
            self.remove(chat);
        }
        true
    }

    /// Whether an id was one of a forgotten person.
    pub(super) fn has_forgotten(&self, id: &str) -> bool {
        self.salt.as_ref().is_some_and(|salt| self.forgotten.contains_key(&salt.mark(id)))
    }

    /// Whether a record is a new one of a forgotten person, or adds a claim of one.
    fn is_of_forgotten(&self, record: &Record) -> bool {
        let old = self.get(&record.chat);
        let chats = std::iter::once(&record.chat).chain(&record.aliases).filter(|_| old.is_none());
        let is_new = |claim: &&Claim| old.is_none_or(|old| old.claim(&claim.crm_id).is_none());
        let claims = record.claims.iter().filter(is_new).map(|claim| &*claim.crm_id);
        self.salt.is_some() && chats.map(ChatId::as_str).chain(claims).any(|id| self.has_forgotten(id))
    }

    /// Forgets a person over the revision that the record has, and says whether it was still the newest.
    pub(super) fn forget(&mut self, record: &Record) -> bool {
        if self.get(&record.chat).map_or(0, |record| record.revision) != record.revision {
            return false;
        }
        let salt = self.salt.get_or_insert_with(Salt::of_process).clone();
        self.remove(&record.chat);
        let chats = chats_of(record);
        for Stored { record: other, .. } in self.records.values_mut() {
            let count = other.aliases.len();
            other.aliases.retain(|alias| !chats.contains(alias));
            other.revision += u64::from(other.aliases.len() != count);
        }
        self.aliases.retain(|alias, _| !chats.contains(alias));
        let marks: Vec<Mark> = ids_of(record).iter().map(|id| salt.mark(id)).collect();
        let before: BTreeSet<Mark> = marks.iter().filter_map(|mark| self.forgotten.get(mark)).copied().collect();
        self.forgotten.values_mut().filter(|person| before.contains(*person)).for_each(|person| *person = marks[0]);
        self.forgotten.extend(marks.iter().map(|mark| (*mark, marks[0])));
        true
    }

    /// Deletes all marks of the person who has an id, and says whether there were any.
    pub(super) fn allow(&mut self, id: &str) -> bool {
        let mark = self.salt.as_ref().map(|salt| salt.mark(id));
        let Some(person) = mark.and_then(|mark| self.forgotten.get(&mark).copied()) else { return false };
        self.forgotten.retain(|_, other| *other != person);
        true
    }

    /// Whether a write adds or changes a claim that is another record's, which does not give it up.
    fn lacks_claim(&self, write: &Write, call: &Call<'_>) -> bool {
        let Write { record, .. } = write;
        let old = self.get(&record.chat);
        let listed = |claim: &&Claim| is_listed(old, claim);
        record.claims.iter().filter(listed).any(|claim| {
            let holder = self.claims.get(&claim.crm_id).map(|known| &known.chat).filter(|chat| **chat != record.chat);
            let holder = holder.and_then(|chat| self.get(chat));
            holder.is_some_and(|holder| !call.gives_up(holder.chat.as_str(), holder.revision, &claim.crm_id))
        })
    }

    fn arrival(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    fn unlist(&mut self, arrival: u64, old: &Record) {
        if let Some(at) = old.status.due_at() {
            self.due.remove(&(at, arrival, old.chat.clone()));
        }
    }

    /// Lists the claims and aliases that are new or different; those that are not may be another record's by now.
    fn link(&mut self, old: &Record, next: &Record) {
        for claim in &next.claims {
            if !is_listed(Some(old), claim) {
                continue;
            }
            let arrival = self.claims.get(&claim.crm_id).map(|known| known.arrival);
            let arrival = arrival.unwrap_or_else(|| self.arrival());
            let stored = StoredClaim { arrival, digest: claim.digest, chat: next.chat.clone() };
            self.claims.insert(claim.crm_id.clone(), stored);
        }
        for alias in next.aliases.iter().filter(|alias| !old.aliases.contains(alias)) {
            self.aliases.insert(alias.clone(), next.chat.clone());
        }
    }

    /// Forgets claims and aliases that a record no longer has, unless another one has them by now.
    fn unlink(
        &mut self,
        chat: &ChatId,
        claims: impl IntoIterator<Item = impl AsRef<str>>,
        aliases: &[ChatId],
        next: &Record,
    ) {
        for crm_id in claims {
            let crm_id = crm_id.as_ref();
            if next.claim(crm_id).is_none() && self.claims.get(crm_id).is_some_and(|known| known.chat == *chat) {
                self.claims.remove(crm_id);
            }
        }
        for alias in aliases.iter().filter(|alias| !next.aliases.contains(alias)) {
            if self.aliases.get(alias) == Some(chat) {
                self.aliases.remove(alias);
            }
        }
    }

    fn remove(&mut self, chat: &ChatId) {
        if let Some(Stored { arrival, record }) = self.records.remove(chat) {
            self.unlist(arrival, &record);
            let claims = record.claims.iter().map(|claim| &claim.crm_id);
            self.unlink(chat, claims, &record.aliases, &Record::new(chat.clone()));
        }
    }
}
