use std::time::Duration;

use super::*;
use crate::{
    ContactName,
    crm::CrmContact,
    record::{Status, Wish},
};

const T: Timestamp = Timestamp(10_000_000_000);

fn chat(n: usize) -> ChatId {
    format!("1202555{n:04}@c.us").parse().unwrap()
}

fn digest(name: &str) -> RowDigest {
    CrmContact::new("crm", chat(0)).named(name, "").digest(1)
}

fn claim(crm_id: &str, version: Option<u64>, name: &str) -> Claim {
    let wish = Wish::plain(ContactName::new(name, "").unwrap());
    Claim::new(crm_id, version, digest(name), Some(wish))
}

/// A person claimed by one row.
fn claimed(n: usize, crm_id: &str, version: Option<u64>, name: &str) -> Record {
    claims(&Record::new(chat(n)), claim(crm_id, version, name), false)
}

fn claims(record: &Record, claim: Claim, urgent: bool) -> Record {
    decide(record, Event::Claimed { claim, urgent }, &Policy::default(), T).record
}

/// The records that are to be stored once a lost write was made again.
fn made(lost: &Write, stored: Vec<Record>) -> Vec<Write> {
    made_times(1, lost, stored)
}

fn made_times(times: usize, lost: &Write, stored: Vec<Record>) -> Vec<Write> {
    let (staged, policy) = (Staged::default(), Policy::default());
    let mut again = Again::new(&staged, HashSet::new(), &policy, T);
    again.know(stored);
    (0..times).for_each(|_| again.make(lost));
    again.into_writes().map(|(write, _)| write).collect()
}

fn wanted(record: &Record) -> Option<&str> {
    record.wanted().map(|wish| wish.name.full())
}

/// A row of `Ann` is changed to `Bob` by the write that is lost.
fn renamed(version: Option<u64>) -> Write {
    let mut lost = Write::from(claimed(0, "crm", None, "Ann"));
    lost.record = claims(&lost.record, claim("crm", version, "Bob"), false);
    lost
}

#[test]
fn a_lost_wish_is_made_on_the_record_that_an_observer_stored() {
    let mut stored = claimed(0, "crm", None, "Ann");
    stored.seen = Some(Seen::new(Some("Mum".into()), T));
    stored.revision = 7;
    let [write] = &*made(&renamed(None), vec![stored.clone()]) else { panic!("nothing is made") };
    assert_eq!((wanted(&write.record), write.record.revision), (Some("Bob"), 7));
    assert_eq!(write.record.seen, stored.seen);
}

#[test]
fn a_lost_wish_that_somebody_stored_already_changes_nothing() {
    assert_eq!(made(&renamed(None), vec![claimed(0, "crm", None, "Bob")]), []);
    assert_eq!(made_times(2, &renamed(None), vec![claimed(0, "crm", None, "Ann")]).len(), 1);
}

#[test]
fn p2_a_lost_wish_gives_way_to_a_change_made_meanwhile_unless_it_is_newer() {
    for (ours, theirs, expected) in [
        (None, None, None),
        (Some(2), None, None),
        (None, Some(2), None),
        (Some(2), Some(3), None),
        (Some(2), Some(2), None),
        (Some(3), Some(2), Some("Bob")),
    ] {
        let made = made(&renamed(ours), vec![claimed(0, "crm", theirs, "Eve")]);
        let wanted = made.first().and_then(|write| wanted(&write.record));
        assert_eq!(wanted, expected, "{ours:?} after {theirs:?}");
    }
}

#[test]
fn p2_a_lost_wish_gives_way_to_a_row_that_was_withdrawn_meanwhile_and_may_have_been_newer() {
    let withdrawn =
        decide(&claimed(0, "crm", Some(9), "Eve"), Event::Unclaimed { crm_id: "crm".into() }, &Policy::default(), T);
    assert_eq!(made(&renamed(Some(3)), vec![withdrawn.record.clone()]), []);
    let new = Write::from(Record::new(chat(0)));
    let new = Write { record: claims(&new.record, claim("crm", Some(3), "Bob"), false), ..new };
    let made = made(&new, vec![withdrawn.record]);
    assert_eq!(made.first().and_then(|write| wanted(&write.record)), Some("Bob"), "a new row knows of no older one");
}

#[test]
fn a_claim_that_the_lost_write_left_as_it_was_is_not_made_again() {
    let mut lost = renamed(None);
    lost.record = claims(&lost.record, claim("crm-b", None, "Eve"), false);
    lost.based_on.push(("crm-b".into(), digest("Eve")));
    let [write] = &*made(&lost, vec![claimed(0, "crm", None, "Ann")]) else { panic!("nothing is made") };
    assert_eq!((write.record.claims.len(), wanted(&write.record)), (1, Some("Bob")), "crm-b was given up");
}

#[test]
fn a_row_that_a_lost_write_moved_is_taken_from_whoever_had_it() {
    let mut lost = Write::from(Record::new(chat(1)));
    lost.record = claims(&lost.record, claim("crm", None, "Bob"), false);
    lost.base_on(&claim("crm", None, "Ann"));
    let made = made(&lost, vec![claimed(0, "crm", None, "Ann")]);
    let [before, after] = &*made else { panic!("{made:?}") };
    assert_eq!((wanted(&before.record), &*before.unclaimed), (None, &["crm".into()][..]));
    assert_eq!((&after.record.chat, wanted(&after.record)), (&chat(1), Some("Bob")));
}

#[test]
fn a_row_that_a_lost_write_gave_up_is_given_up_and_said_to_be() {
    let mut lost = Write::from(claimed(0, "crm", None, "Ann"));
    lost.record.claims.clear();
    lost.unclaimed.push("crm".into());
    let [write] = &*made(&lost, vec![claimed(0, "crm", None, "Ann")]) else { panic!("nothing is made") };
    assert_eq!((write.record.claims.len(), &*write.unclaimed), (0, &["crm".into()][..]));
    assert_eq!(made(&lost, vec![claimed(0, "crm", None, "Eve")]), [], "it was changed meanwhile");
}

#[test]
fn a_single_change_that_is_lost_stays_ahead_of_the_bulk() {
    for urgent in [true, false] {
        let mut lost = Write::from(Record::new(chat(0)));
        lost.record = claims(&lost.record, claim("crm", None, "Bob"), urgent);
        let made = made(&lost, vec![]);
        let head_start = if urgent { Policy::HEAD_START } else { Duration::ZERO };
        assert_eq!(made[0].record.status, Status::Due { at: T.before(head_start) });
    }
}

#[test]
fn an_id_that_a_lost_look_learnt_is_learnt() {
    let lid: ChatId = "123456789012345@lid".parse().unwrap();
    let stored = claimed(0, "crm", None, "Ann");
    let mut lost = Write::from(stored.clone());
    lost.record.add_alias(&lid);
    let [write] = &*made(&lost, vec![stored]) else { panic!("nothing is made") };
    assert_eq!(write.record.aliases, [lid]);
}
