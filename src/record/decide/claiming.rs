//! The CRM's lane: which rows claim the person, and what they want.

use std::time::Duration;

use super::{Drift, Effect, Policy, persons::follow_phone, queue, restatus};
use crate::{
    record::{Cause, Claim, Park, Record, Status, Substitute, Wish},
    time::Timestamp,
};

pub(super) fn insert(claims: &mut Vec<Claim>, claim: Claim) {
    let at = claims.partition_point(|other| other.crm_id < claim.crm_id);
    claims.insert(at, claim);
}

pub(super) fn claimed(
    record: &mut Record,
    mut claim: Claim,
    urgent: bool,
    policy: &Policy,
    now: Timestamp,
) -> Option<Effect> {
    let before = record.wanted().cloned();
    if let Some(at) = record.claims.iter().position(|held| held.crm_id == claim.crm_id) {
        let held = &record.claims[at];
        if claim.version.is_some() && claim.version < held.version {
            return Some(Effect::Stale);
        }
        claim.version = claim.version.or(held.version);
        claim.cause = held.cause;
        record.claims[at] = claim;
    } else {
        insert(&mut record.claims, claim);
    }
    let head_start = if urgent { Policy::HEAD_START } else { Duration::ZERO };
    wish_changed(record, before.as_ref(), queue(record, now).min(now.before(head_start)), policy, now);
    None
}

pub(super) fn unclaimed(record: &mut Record, crm_id: &str, policy: &Policy, now: Timestamp) {
    let before = record.wanted().cloned();
    record.claims.retain(|claim| &*claim.crm_id != crm_id);
    wish_changed(record, before.as_ref(), queue(record, now), policy, now);
}

/// Brings cause and status up to a wish that may have changed.
pub(super) fn wish_changed(
    record: &mut Record,
    before: Option<&Wish>,
    place: Timestamp,
    policy: &Policy,
    now: Timestamp,
) {
    let wish = record.sole_claim().and_then(|claim| claim.wish.as_ref());
    let is_over = |substitute: &Substitute| wish.is_some_and(|wish| !substitute.stands_for(wish));
    let is_new_base = before.zip(wish).is_some_and(|(before, wish)| before.base != wish.base);
    if record.substitute.as_ref().is_some_and(is_over) {
        record.substitute = None;
    }
    // Whoever changes the name in the CRM while the contact waits for a decision has decided.
    let is_conflict = policy.drift == Drift::ByField && record.status == Status::Parked { reason: Park::Drifted };
    if let Some(seen) = record.seen.as_mut().filter(|_| is_conflict && is_new_base) {
        seen.is_overruled = true;
    }
    follow_phone(record, policy);
    let wanted = record.wanted();
    let old = before.or(record.pushed.sent.as_ref().map(|sent| &sent.wish));
    let cause = wanted.zip(old).and_then(|(new, old)| cause(old, new));
    if before.map(|wish| &wish.name) != wanted.map(|wish| &wish.name)
        && let ([claim], Some(cause)) = (&mut *record.claims, cause)
    {
        claim.cause = cause;
    }
    restatus(record, place, policy, now);
}

/// Why the new wish differs from the old one, if it does; that a stage changed is said before that a name did.
fn cause(old: &Wish, new: &Wish) -> Option<Cause> {
    if old.name == new.name {
        None
    } else if old.tag != new.tag && old.rules == new.rules {
        Some(Cause::Stage)
    } else if old.base != new.base {
        Some(Cause::Name)
    } else {
        Some(Cause::Rules)
    }
}
