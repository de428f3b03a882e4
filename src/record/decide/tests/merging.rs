//! Two records of one person become one.

use super::{laws::any_record, *};

fn of(chat: &str, claims: &[(&str, Option<u64>, &str)]) -> Record {
    claims.iter().fold(Record::new(chat.parse().unwrap()), |record, (crm_id, version, name)| {
        after(&record, claim(crm_id, *version, Some(wish(name))), T)
    })
}

fn merge(kept: &Record, absorbed: Record, now: Timestamp) -> Record {
    super::merge(kept, absorbed, &Policy::default(), now).record
}

#[test]
fn the_phone_of_a_privacy_id_takes_over_its_claim_and_its_place_in_the_queue() {
    let merged = merge(&new(), of(LID, &[("7", None, "Ann")]), at(50));
    assert_eq!(merged.aliases, [LID.parse().unwrap()]);
    assert_eq!(merged.wanted(), Some(&wish("Ann")));
    assert_eq!(merged.status, due(0));
    assert!(calls(&merged, at(50)));
    assert_eq!(merge(&wanting("Ann"), of(LID, &[]), at(50)).status, due(0), "its own place is kept as well");
}

#[test]
fn a_held_privacy_id_frees_its_claim_once_the_phone_is_known() {
    let held = after(&of(LID, &[("7", None, "Ann")]), Event::PhoneUnknown, at(1));
    assert_eq!(merge(&new(), held, at(9)).status, due(9));
}

#[test]
fn two_rows_for_one_person_compete() {
    let merged = merge(&wanting("Ann"), of(LID, &[("8", None, "Bob")]), T);
    assert_eq!((merged.claims.len(), merged.status), (2, Status::Parked { reason: Park::Competing }));
}

#[test]
fn the_newest_version_of_a_row_wins() {
    for (kept, absorbed, wanted) in [
        (Some(1), Some(2), "Bob"),
        (Some(2), Some(1), "Ann"),
        (None, Some(1), "Bob"),
        (Some(1), None, "Ann"),
        (Some(1), Some(1), "Ann"),
    ] {
        let merged = merge(&of(PHONE, &[("7", kept, "Ann")]), of(LID, &[("7", absorbed, "Bob")]), T);
        assert_eq!(merged.wanted(), Some(&wish(wanted)), "{kept:?} {absorbed:?}");
    }
}

#[test]
fn a_row_that_is_in_both_is_kept_as_it_was() {
    let renamed = after(&of(PHONE, &[("7", None, "Ann")]), Event::claimed("7", wish("Bob")), T);
    assert_eq!(merge(&renamed, of(LID, &[("7", None, "Bob")]), T).claims, renamed.claims);
    assert_eq!(renamed.claims[0].cause, Cause::Name);
}

#[test]
fn a_failure_says_nothing_of_a_wish_that_comes_by_merging_which_says_its_cause() {
    let failed = Event::Failed(failure(ErrorKind::Rejected, Blame::Contact));
    let parked = after(&begun(&of(PHONE, &[("7", Some(1), "Ann")]), T), Event::Cancel, T);
    let parked = after(&begun(&parked, T), failed, T);
    let merged = merge(&parked, of(LID, &[("7", Some(2), "Bob")]), at(5));
    assert_eq!((merged.failure(), merged.status), (None, due(0)));
    assert_eq!(merged.claims[0].cause, Cause::Name);
    let freed = after(&showing("Ann"), Event::Unclaimed { crm_id: "7".into() }, T);
    assert_eq!(merge(&freed, of(LID, &[("8", None, "Bob")]), T).claims[0].cause, Cause::Name);
}

#[test]
fn p8_what_was_seen_under_a_privacy_id_is_seen_of_the_person() {
    let lid = after(&of(LID, &[("7", None, "Ann")]), saw("Mum"), at(1));
    let merged = merge(&new(), lid.clone(), at(2));
    assert_eq!(merged.shown(), Some("Mum"));
    let done = decide(&begun(&merged, at(3)), Event::Acknowledged, &policy(), at(4));
    assert_eq!(done.overwritten().map(|text| &*text.text), Some("Mum"));
    let newer = after(&new(), saw("Mother"), at(2));
    assert_eq!(merge(&newer, lid.clone(), at(3)).shown(), Some("Mother"));
    let same = after(&new(), saw("Mother"), at(1));
    assert_eq!(merge(&same, lid.clone(), at(3)).shown(), Some("Mother"));
    let older = after(&new(), saw("Mother"), T);
    assert_eq!(merge(&older, lid, at(3)).shown(), Some("Mum"));
}

#[test]
fn p8_what_a_request_in_doubt_replaced_is_kept_if_its_name_was_seen_under_a_privacy_id() {
    let by_hand = after(&wanting("Ann"), saw("Mum"), at(1));
    let in_doubt = begun(&by_hand, at(2));
    let lid = after(&of(LID, &[]), saw("Ann"), at(3));
    let merged = super::merge(&in_doubt, lid, &Policy::default(), at(4));
    assert_eq!(merged.overwritten().map(|text| &*text.text), Some("Mum"));
    assert_eq!(merged.record.shown(), Some("Ann"));
}

#[test]
fn what_was_seen_of_another_phone_is_another_entry() {
    let variant = after(&of("5511987654321@c.us", &[("7", None, "Ann")]), saw("Ann"), at(1));
    assert_eq!(merge(&new(), variant, at(2)).status, due(2));
}

#[test]
fn a_person_answers_to_every_id_once() {
    let mut lid = of(LID, &[]);
    lid.aliases = vec!["5511987654321@c.us".parse().unwrap(), PHONE.parse().unwrap()];
    let merged = merge(&merge(&new(), lid.clone(), T), lid, T);
    assert_eq!(merged.aliases, [LID.parse().unwrap(), "5511987654321@c.us".parse().unwrap()]);
}

#[test]
fn of_records_that_were_joined_one_after_the_other_each_is_given_back_in_any_order() {
    const VARIANT: &str = "5511987654321@c.us";
    let [lid, variant]: [ChatId; 2] = [LID, VARIANT].map(|id| id.parse().unwrap());
    let merged = merge(&new(), merge(&of(VARIANT, &[("8", None, "Bob")]), of(LID, &[("7", None, "Ann")]), T), T);
    let taken = |from: &Record, id: &ChatId| unmerge(from, id, &policy(), T).unwrap();
    let claims = |record: &Record| record.claims.iter().map(|claim| claim.crm_id.to_string()).collect::<Vec<_>>();

    let (left, of_lid) = taken(&merged, &lid);
    let (_, of_variant) = taken(&left, &variant);
    assert_eq!((claims(&of_lid), claims(&of_variant)), (vec!["7".into()], vec!["8".into()]));
    assert_eq!(of_variant.aliases, [], "the privacy id is a contact by itself by now");

    let (left, of_variant) = taken(&merged, &variant);
    let (of_variant, of_lid) = taken(&of_variant, &lid);
    assert_eq!((claims(&of_lid), claims(&of_variant)), (vec!["7".into()], vec!["8".into()]));
    assert_eq!((left.aliases.len(), left.joined.len(), claims(&left)), (0, 0, vec![]));
}

#[test]
fn no_contact_is_taken_out_of_itself() {
    let twice = merge(&merge(&new(), of(LID, &[]), T), of(PHONE, &[("7", None, "Ann")]), T);
    assert_eq!(unmerge(&twice, &PHONE.parse().unwrap(), &policy(), T), None);
}

proptest! {
    #[test]
    fn merging_commutes_in_claims_and_loses_none(one in any_record(), other in any_record()) {
        let claims = |record: Record| {
            let parts = |claim: Claim| (claim.crm_id, claim.version, claim.digest, claim.wish);
            record.claims.into_iter().map(parts).collect::<Vec<_>>()
        };
        let there = claims(merge(&one, other.clone(), T));
        for claim in one.claims.iter().chain(&other.claims) {
            prop_assert!(there.iter().any(|kept| kept.0 == claim.crm_id && kept.1 >= claim.version));
        }
        prop_assert!(there.iter().map(|claim| &claim.0).is_sorted_by(|one, other| one < other));
        // The digest of a row says what it wants: two claims cannot differ in the wish alone.
        prop_assume!(one.claims.iter().all(|claim| other.claim(&claim.crm_id).is_none_or(|twin| {
            twin.digest != claim.digest || twin.version != claim.version || twin.wish == claim.wish
        })));
        prop_assert_eq!(there, claims(merge(&other, one, T)));
    }

    #[test]
    fn merging_is_total_and_touches_no_mark(one in any_record(), other in any_record(), now: u64) {
        let merged = merge(&one, other.clone(), Timestamp(now));
        // What was seen under the other id may verify what was sent, and changes nothing else about it.
        let sent = |record: &Record| record.pushed.sent.clone().map(|sent| Sent { verified_at: None, ..sent });
        prop_assert_eq!(sent(&merged), sent(&one));
        // What is seen once no request can take effect any more may answer for all of them.
        let answers = |doubt: &InDoubt| {
            other.chat.is_lid() && other.seen.as_ref().is_some_and(|seen| seen.at >= doubt.until)
        };
        let is_answered = merged.pushed.in_doubt.is_none() && one.pushed.in_doubt.as_ref().is_some_and(answers);
        prop_assert!(is_answered || merged.pushed.in_doubt == one.pushed.in_doubt);
        prop_assert!(merged.answers_to(&one.chat) && merged.answers_to(&other.chat));
        prop_assert!(!merged.aliases.contains(&merged.chat));
        prop_assert_eq!(merged.revision, one.revision);
    }

    /// Whatever two records are joined, taking the other one out again gives both back: who claims whom, and what was pushed and seen.
    #[test]
    fn unmerge_restores_what_was_joined(one in any_record(), other in any_record(), now: u64) {
        let other = Record { chat: "551161247467@c.us".parse().unwrap(), ..other };
        prop_assume!(one.chat != other.chat);
        prop_assume!(one.claims.iter().all(|claim| other.claim(&claim.crm_id).is_none()));
        let claims = |record: &Record| record.claims.iter().map(|claim| claim.crm_id.clone()).collect::<Vec<_>>();
        let (left, back) = unmerge(&merge(&one, other.clone(), Timestamp(now)), &other.chat, &policy(), Timestamp(now)).unwrap();
        prop_assert_eq!((claims(&left), claims(&back)), (claims(&one), claims(&other)));
        prop_assert_eq!((&left.chat, &left.aliases, &left.joined), (&one.chat, &one.aliases, &one.joined));
        prop_assert_eq!((&back.chat, &back.pushed.sent, &back.seen), (&other.chat, &other.pushed.sent, &other.seen));
        prop_assert_eq!((&left.pushed.sent, &left.seen), (&one.pushed.sent, &one.seen));
        prop_assert_eq!(back.revision, 0, "it is stored anew");
        prop_assert_eq!(unmerge(&left, &other.chat, &policy(), Timestamp(now)), None);
    }
}
