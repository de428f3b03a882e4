//! One record of two of the same person, and two of one.

use std::mem;

use super::{
    Decision, Policy,
    claiming::{insert, wish_changed},
    queue, restatus,
    seeing::seen,
};
use crate::{
    ChatId,
    record::{Held, Record, Seen, Status},
    time::Timestamp,
};

/// Makes one record of two of the same person: a mapping was learnt that joins them. The person is written to under the chat of
/// `kept`.
///
/// Claims are joined; of two claims of one row the newer version wins. What was seen under a privacy id was seen of the person. What is
/// known of another phone's entry in the address book is dropped: it is another entry, which nobody writes to any more. Two phones
/// are joined only while no request for the absorbed one is [in doubt](crate::record::Pushed::in_doubt): `kept` does not remember it.
pub fn merge(kept: &Record, absorbed: Record, policy: &Policy, now: Timestamp) -> Decision {
    let mut next = kept.clone();
    let before = kept.wanted().cloned();
    next.joined.push(Box::new(Record { joined: Vec::new(), ..absorbed.clone() }));
    next.joined.extend(absorbed.joined.iter().cloned());
    let place = queue(kept, now).min(queue(&absorbed, now));
    let effect = match absorbed.seen {
        Some(Seen { name, at, .. }) if absorbed.chat.is_lid() => seen(&mut next, name, Some(at), policy, now),
        _ => None,
    };
    for alias in std::iter::once(absorbed.chat).chain(absorbed.aliases) {
        next.add_alias(&alias);
    }
    for claim in absorbed.claims {
        match next.claims.iter_mut().find(|held| held.crm_id == claim.crm_id) {
            None => insert(&mut next.claims, claim),
            // Without versions nobody knows which is newer. Either will do: the next export corrects it by its digest.
            Some(held) if (claim.version, claim.digest) > (held.version, held.digest) => *held = claim,
            Some(_) => {}
        }
    }
    next.held = next.held.or(absorbed.held);
    next.checked = next.checked.or(absorbed.checked);
    next.substitute = next.substitute.or(absorbed.substitute);
    wish_changed(&mut next, before.as_ref(), place, policy, now);
    Decision::new(kept, next, effect)
}

/// Takes a record out again that was joined: gives back what is left, and the record of the other id as it was, with the claims that it
/// brought as they are now. Of an alias that was learnt without a record, the other one is new. `None` if it is no alias, and no record
/// of that id was joined.
///
/// A privacy id that was taken out is held, so that it is not joined again by itself.
#[must_use]
pub fn unmerge(kept: &Record, id: &ChatId, policy: &Policy, now: Timestamp) -> Option<(Record, Record)> {
    if kept.chat == *id {
        return None;
    }
    let mut left = kept.clone();
    // Of records that were joined with one another before, each has its own; the first holds them all.
    let mut back = match left.joined.iter().rposition(|joined| joined.answers_to(id)) {
        Some(at) => *left.joined.remove(at),
        None if left.aliases.contains(id) => Record::new(id.clone()),
        None => return None,
    };
    // An id that was taken out since is a contact by itself.
    back.aliases.retain(|alias| left.aliases.contains(alias));
    left.aliases.retain(|alias| !back.answers_to(alias));
    (back.joined, left.joined) = left.joined.into_iter().partition(|joined| back.answers_to(&joined.chat));
    let brought: Vec<Box<str>> = back.claims.iter().map(|claim| claim.crm_id.clone()).collect();
    let (theirs, ours) = mem::take(&mut left.claims).into_iter().partition(|claim| brought.contains(&claim.crm_id));
    (left.claims, back.claims) = (ours, theirs);
    if back.held == left.held && back.held.is_some() {
        left.held = None;
    }
    if back.chat.is_lid() {
        back.held = back.held.or(Some(Held { since: now }));
        back.status = Status::InSync;
    }
    back.revision = 0;
    for record in [&mut left, &mut back] {
        if record.substitute.is_some()
            && record.wanted() != record.substitute.as_ref().map(|substitute| &substitute.wish)
        {
            record.substitute = None;
        }
        restatus(record, now, policy, now);
    }
    Some((left, back))
}
