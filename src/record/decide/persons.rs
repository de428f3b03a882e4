//! What persons said, and what they saved on the phone.

use super::{Drift, Policy, queue, restatus};
use crate::{
    ContactName,
    record::{Cause, Park, Record, Sent, Source, Status, Substitute, Wish},
    time::Timestamp,
};

/// Goes on with a contact that a person had a say in: what stood in its way is forgotten.
pub(super) fn release(record: &mut Record, policy: &Policy, now: Timestamp) {
    record.held = None;
    drop_substitute(record);
    (record.pushed.flips, record.checked) = (None, None);
    if let Some(seen) = &mut record.seen {
        seen.is_overruled = true;
    }
    restatus(record, queue(record, now), policy, now);
}

/// Wants the CRM's name again, which is then neither a name from the phone nor one from before a run.
pub(super) fn drop_substitute(record: &mut Record) {
    if record.substitute.take().is_some()
        && let [claim] = &mut *record.claims
    {
        claim.cause = Cause::Name;
    }
}

/// Wants the name from before a run, until the CRM wants another one than now. A name that somebody saved since stays.
pub(super) fn undo(record: &mut Record, run: u64, name: ContactName, policy: &Policy, now: Timestamp) {
    let sent = record.pushed.sent.as_ref().filter(|sent| sent.run == run).map(|sent| &sent.wish.name);
    // A wish that came since is newer than what is to be undone.
    if sent.is_none() || sent != record.wanted().map(|wish| &wish.name) || record.pushed.in_doubt.is_some() {
        return;
    }
    let edited = record.drifted().and_then(|seen| seen.name.as_deref());
    let Ok(name) = edited.map_or(Ok(name), |edited| ContactName::new(edited, "")) else { return };
    let [claim] = &mut *record.claims else { return };
    let Some(wish) = &claim.wish else { return };
    // What is undone may itself be the undoing of another run.
    let is_wish = wish.name.is_full(name.full());
    let over = wish.name.fingerprint();
    claim.cause = Cause::Undo;
    let source = Source::Undo { run };
    record.substitute = (!is_wish).then(|| Substitute { wish: Wish::plain(name), over, source });
    restatus(record, queue(record, now), policy, now);
}

/// Takes the name that the address book shows for sent, if it is the one that is wanted.
pub(super) fn adopted(record: &mut Record, policy: &Policy, now: Timestamp) {
    let Some((wish, seen)) = record.wanted().cloned().zip(record.seen.as_ref()) else { return };
    let is_free = record.pushed.sent.is_none() && record.pushed.in_doubt.is_none();
    if is_free && seen.name.as_deref().is_some_and(|name| wish.name.is_full(name)) {
        record.pushed.sent = Some(Sent { wish, run: 0, at: seen.at, verified_at: Some(seen.at) });
        restatus(record, queue(record, now), policy, now);
    }
}

/// Takes over the name that a person saved on the phone, where the policy says so, and keeps the CRM's tag on it.
pub(super) fn follow_phone(record: &mut Record, policy: &Policy) {
    let follows = matches!(policy.drift, Drift::PhoneWins | Drift::ByField);
    let is_from_phone = |substitute: &Substitute| substitute.source == Source::Phone;
    if !follows && !record.substitute.as_ref().is_some_and(is_from_phone) {
        return;
    }
    if policy.drift == Drift::CrmWins {
        drop_substitute(record);
        return;
    }
    let Some(wish) = record.sole_claim().and_then(|claim| claim.wish.clone()) else { return };
    if let Some(worn) = record.substitute.take_if(|substitute| is_from_phone(substitute))
        && worn.stands_for(&wish)
    {
        let fits = (worn.wish.tag == wish.tag && worn.wish.rules == wish.rules) || !knows(policy, &wish);
        record.substitute = if fits { Some(worn) } else { dressed(worn.wish.base.full(), &wish, policy) };
    }
    if !follows || !knows(policy, &wish) {
        return;
    }
    if let Some(base) = saved_base(record, policy)
        && !(policy.drift == Drift::ByField && is_changed_in_crm(record))
        && let Some(substitute) = dressed(&base, &wish, policy)
        && let [claim] = &mut *record.claims
    {
        claim.cause = Cause::Phone;
        record.substitute = Some(substitute);
    }
    // Whoever saved what is wanted anyway has no say in what is wanted later.
    let is_agreed = record
        .drifted()
        .and_then(|seen| seen.name.as_deref())
        .is_some_and(|name| record.wanted().is_some_and(|wanted| wanted.name.is_full(name)));
    if let Some(seen) = record.seen.as_mut().filter(|_| is_agreed) {
        seen.is_overruled = true;
    }
}

/// Whether the policy's rules made the wish: others may tell its tag from no base.
pub(super) fn knows(policy: &Policy, wish: &Wish) -> bool {
    wish.tag.is_none() || wish.rules == policy.naming.fingerprint()
}

/// A base from the phone with the tag of the CRM's wish.
fn dressed(base: &str, wish: &Wish, policy: &Policy) -> Option<Substitute> {
    let rendered = policy.naming.retag(base, wish.tag.as_deref()).ok()?;
    let over = wish.base.fingerprint();
    // Whoever renders by other rules knows other tags.
    let is_known = rendered.tag == wish.tag;
    is_known.then(|| Substitute { wish: Wish::rendered(rendered, wish.rules), over, source: Source::Phone })
}

/// The base of the name that a person saved over ours, or before there was one of ours, if it is another one than is wanted.
fn saved_base(record: &Record, policy: &Policy) -> Option<String> {
    let seen = record.seen.as_ref().filter(|seen| !seen.is_ours && !seen.is_overruled)?;
    let is_theirs = record.pushed.sent.is_none() || record.drifted().is_some();
    let name = seen.name.as_deref().filter(|name| is_theirs && !record.chat.is_raw(name))?;
    let wanted = record.wanted()?;
    let base = policy.naming.parse(name).base;
    let is_other = !base.is_empty() && !wanted.name.is_full(name) && !wanted.base.is_full(&base);
    is_other.then_some(base)
}

/// Whether the CRM wants another name than the one that was sent last, tags aside.
fn is_changed_in_crm(record: &Record) -> bool {
    let wish = record.sole_claim().and_then(|claim| claim.wish.as_ref());
    // What stands in place of the CRM's wish stands there because that has not changed.
    let stands = record
        .substitute
        .as_ref()
        .zip(wish)
        .is_some_and(|(substitute, wish)| substitute.source == Source::Phone && substitute.stands_for(wish));
    !stands
        && record.pushed.sent.as_ref().zip(wish).is_some_and(|(sent, wish)| sent.wish.base.full() != wish.base.full())
}

/// What a name that somebody else saved makes of the contact, if that is not to be overwritten.
pub(super) fn left_to_a_person(record: &Record, wish: &Wish, policy: &Policy) -> Option<Status> {
    let seen =
        record.seen.as_ref().filter(|seen| !seen.is_overruled && !seen.is_ours && record.pushed.in_doubt.is_none())?;
    let name = seen.name.as_deref()?;
    let is_drift = record.drifted().is_some();
    // A wish that was not sent so far is a new one: it overrules what was saved over an older one.
    let is_old = record.pushed.sent.as_ref().is_some_and(|sent| sent.wish.name == wish.name);
    match policy.drift {
        Drift::IfRaw if is_drift || record.pushed.sent.is_none() => {
            (!record.chat.is_raw(name)).then_some(Status::InSync)
        }
        // Only rules that know the tag can tell what was saved; the next run has them.
        Drift::PhoneWins | Drift::ByField if is_drift && record.substitute.is_none() && !knows(policy, wish) => {
            Some(Status::InSync)
        }
        Drift::ByField if is_drift && is_changed_in_crm(record) && saved_base(record, policy).is_some() => {
            Some(Status::Parked { reason: Park::Drifted })
        }
        _ if !is_drift || !is_old => None,
        _ if record.pushed.flips.as_ref().is_some_and(|flips| flips.times > policy.most_flips) => {
            Some(Status::Parked { reason: Park::Contested })
        }
        Drift::Ask => Some(Status::Parked { reason: Park::Drifted }),
        Drift::CrmWins | Drift::PhoneWins | Drift::ByField | Drift::IfRaw => None,
    }
}
