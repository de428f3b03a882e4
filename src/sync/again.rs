//! The CRM lane, once more: staged writes that lost their record, or a claim, to somebody else.

use std::{collections::HashMap, mem};

use crate::{
    ChatId,
    ledger::Write,
    record::{Claim, Event, Overwritten, Policy, Record, Seen, Source, Substitute, decide, merge},
    time::Timestamp,
};

/// Records as they are stored by now, and what lost writes make of them.
pub(super) struct Again {
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

impl Again {
    pub(super) fn new(stored: Vec<Record>) -> Self {
        let mut again = Self { entries: Vec::new(), places: HashMap::new(), holders: HashMap::new() };
        again.know(stored);
        again
    }

    /// Adds stored records, unless they are known.
    pub(super) fn know(&mut self, stored: Vec<Record>) {
        for record in stored {
            if !self.places.contains_key(&record.chat) {
                self.add(record);
            }
        }
    }

    fn add(&mut self, record: Record) -> usize {
        let place = self.entries.len();
        self.holders.extend(record.claims.iter().map(|claim| (claim.crm_id.clone(), place)));
        let ids = std::iter::once(&record.chat).chain(&record.aliases);
        self.places.extend(ids.map(|id| (id.clone(), place)));
        self.entries.push(Entry { stored: record.clone(), record, overwritten: Vec::new(), unclaimed: Vec::new() });
        place
    }

    /// Makes what a lost write made, on the records as they are now.
    pub(super) fn make(&mut self, lost: &Write, policy: &Policy, now: Timestamp) {
        let staged = &lost.record;
        let known = self.places.get(&staged.chat).copied();
        let place = known.unwrap_or_else(|| self.add(Record::new(staged.chat.clone())));
        for crm_id in lost.unclaimed.iter().filter(|crm_id| staged.claim(crm_id).is_none()) {
            // What the row was changed to meanwhile stands, until whoever takes it is known to be newer.
            let is_same = |claim: &Claim| Some(claim.digest) == lost.base_of(crm_id);
            if self.entries[place].record.claim(crm_id).is_some_and(is_same) {
                self.unclaim(place, crm_id, policy, now);
            }
        }
        let Entry { record, overwritten, .. } = &mut self.entries[place];
        for alias in &staged.aliases {
            if !record.answers_to(alias) {
                *record = merge(record, Record::new(alias.clone()), policy, now).record;
            }
        }
        if let Some(Seen { name, at, .. }) = staged.seen.clone() {
            let decision = decide(record, Event::Seen { name, at: Some(at) }, policy, now);
            overwritten.extend(decision.overwritten().cloned());
            *record = decision.record;
        }
        if let Some(Substitute { wish, source: Source::Undo { run }, .. }) = &staged.substitute {
            let name = wish.name.clone();
            *record = decide(record, Event::Undo { run: *run, name }, policy, now).record;
        }
        let urgent = staged.status.due_at().is_some_and(|at| now.since(at) > Policy::HEAD_START / 2);
        for claim in &staged.claims {
            let base = lost.base_of(&claim.crm_id);
            if base != Some(claim.digest) {
                self.claim(place, claim.clone(), base, urgent, policy, now);
            }
        }
    }

    /// Lets a row claim the person, unless the row was changed since by somebody who knows it as new as this.
    fn claim(
        &mut self,
        place: usize,
        claim: Claim,
        base: Option<crate::crm::RowDigest>,
        urgent: bool,
        policy: &Policy,
        now: Timestamp,
    ) {
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
                self.unclaim(holder, &claim.crm_id, policy, now);
            }
        }
        self.holders.insert(claim.crm_id.clone(), place);
        let record = &mut self.entries[place].record;
        *record = decide(record, Event::Claimed { claim, urgent }, policy, now).record;
    }

    fn unclaim(&mut self, place: usize, crm_id: &str, policy: &Policy, now: Timestamp) {
        let Entry { record, unclaimed, .. } = &mut self.entries[place];
        *record = decide(record, Event::Unclaimed { crm_id: crm_id.into() }, policy, now).record;
        unclaimed.push(crm_id.into());
    }

    /// What is to be stored now.
    pub(super) fn into_writes(mut self) -> Vec<Write> {
        let changed = mem::take(&mut self.entries).into_iter().filter(|entry| entry.record != entry.stored);
        let write = |Entry { record, overwritten, unclaimed, .. }| Write { overwritten, unclaimed, ..record.into() };
        changed.map(write).collect()
    }
}

#[cfg(test)]
mod tests;
