//! The CRM lane, once more: staged writes that lost their record, or a claim, to somebody else.

use std::collections::{HashMap, HashSet};

use crate::{
    ChatId,
    crm::RowDigest,
    ledger::Write,
    record::{Claim, Edit, Event, Overwritten, Policy, Record, Seen, decide},
    time::Timestamp,
};

/// What was decided in records that have not taken effect yet, besides rows and reads.
#[derive(Default)]
pub(super) struct Staged {
    /// What happened to the whole instance, before anything else was decided.
    pub(super) events: Vec<Event>,
    /// What is undone, by contact.
    pub(super) undone: HashMap<ChatId, Event>,
}

/// Records as they are stored by now, and what lost writes make of them.
pub(super) struct Again<'r> {
    staged: &'r Staged,
    /// The contacts whose records do not know yet what happened to the whole instance.
    untold: HashSet<ChatId>,
    policy: &'r Policy,
    now: Timestamp,
    entries: Vec<Entry>,
    places: HashMap<ChatId, usize>,
    /// Who has the claim of each row.
    holders: HashMap<Box<str>, usize>,
}

struct Entry {
    record: Record,
    stored: Record,
    overwritten: Vec<Overwritten>,
    unclaimed: Vec<Box<str>>,
}

impl<'r> Again<'r> {
    pub(super) fn new(staged: &'r Staged, untold: HashSet<ChatId>, policy: &'r Policy, now: Timestamp) -> Self {
        let (entries, places, holders) = (Vec::new(), HashMap::new(), HashMap::new());
        Self { staged, untold, policy, now, entries, places, holders }
    }

    /// Adds stored records, unless they are known.
    pub(super) fn know(&mut self, stored: Vec<Record>) {
        for record in stored {
            if !self.places.contains_key(&record.chat) {
                self.add(record);
            }
        }
    }

    fn add(&mut self, stored: Record) -> usize {
        let place = self.entries.len();
        self.holders.extend(stored.claims.iter().map(|claim| (claim.crm_id.clone(), place)));
        let ids = || std::iter::once(&stored.chat).chain(&stored.aliases);
        self.places.extend(ids().map(|id| (id.clone(), place)));
        let mut record = stored.clone();
        if ids().any(|id| self.untold.contains(id)) {
            for event in &self.staged.events {
                record = decide(&record, event.clone(), self.policy, self.now).record;
            }
        }
        self.entries.push(Entry { stored, record, overwritten: Vec::new(), unclaimed: Vec::new() });
        place
    }

    /// Makes what a lost write made, on the records as they are now.
    pub(super) fn make(&mut self, lost: &Write) {
        let (policy, now, staged) = (self.policy, self.now, &lost.record);
        let known = self.places.get(&staged.chat).copied();
        let place = known.unwrap_or_else(|| self.add(Record::new(staged.chat.clone())));
        for crm_id in lost.unclaimed.iter().filter(|crm_id| staged.claim(crm_id).is_none()) {
            // What the row was changed to meanwhile stands, until whoever takes it is known to be newer.
            let is_same = |claim: &Claim| Some(claim.digest) == lost.base_of(crm_id);
            if self.entries[place].record.claim(crm_id).is_some_and(is_same) {
                self.unclaim(place, crm_id);
            }
        }
        let Entry { record, overwritten, .. } = &mut self.entries[place];
        for alias in &staged.aliases {
            record.add_alias(alias);
        }
        if let Some(Seen { name, at, .. }) = staged.seen.clone() {
            let decision = decide(record, Event::Seen { name, at: Some(at) }, policy, now);
            overwritten.extend(decision.overwritten().cloned());
            *record = decision.record;
        }
        if let Some(undo) = self.staged.undone.get(&staged.chat) {
            *record = decide(record, undo.clone(), policy, now).record;
        }
        let urgent = staged.status.due_at().is_some_and(|at| now.since(at) > Policy::HEAD_START / 2);
        for claim in &staged.claims {
            let base = lost.base_of(&claim.crm_id);
            if base != Some(claim.digest) {
                self.claim(place, claim.clone(), base, urgent);
            }
        }
    }

    /// Lets a row claim the person, unless the row was changed since by somebody who knows it as new as this.
    fn claim(&mut self, place: usize, claim: Claim, base: Option<RowDigest>, urgent: bool) {
        let holder = self.holders.get(&claim.crm_id).copied();
        // Somebody withdrew the claim meanwhile, who may know a newer row: the next export makes it again if it is still there.
        if holder.is_none() && base.is_some() {
            return;
        }
        if let Some(holder) = holder
            && let Some(held) = self.entries[holder].record.claim(&claim.crm_id)
        {
            let is_newer = claim.version.zip(held.version).is_some_and(|(ours, theirs)| ours > theirs);
            if held.digest == claim.digest || (Some(held.digest) != base && !is_newer) {
                return;
            }
            if holder != place {
                self.unclaim(holder, &claim.crm_id);
            }
        }
        self.holders.insert(claim.crm_id.clone(), place);
        let record = &mut self.entries[place].record;
        *record = decide(record, Event::Claimed { claim, urgent }, self.policy, self.now).record;
    }

    fn unclaim(&mut self, place: usize, crm_id: &str) {
        let Entry { record, unclaimed, .. } = &mut self.entries[place];
        *record = decide(record, Event::Unclaimed { crm_id: crm_id.into() }, self.policy, self.now).record;
        unclaimed.push(crm_id.into());
    }

    /// What is to be stored now, each with what the CRM should learn of once it is.
    pub(super) fn into_writes(self) -> impl Iterator<Item = (Write, Option<Edit>)> {
        self.entries.into_iter().filter(|entry| entry.record != entry.stored).map(|entry| {
            let Entry { record, stored, overwritten, unclaimed } = entry;
            let edit = record.edit().filter(|edit| stored.edit().as_ref() != Some(edit));
            (Write { overwritten, unclaimed, ..record.into() }, edit)
        })
    }
}

#[cfg(test)]
mod tests;
