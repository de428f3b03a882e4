//! What becomes of names that somebody else saves, and of what a person says.

use super::*;
use crate::record::{Drift, Held};

fn by(drift: Drift) -> Policy {
    Policy { drift, ..policy() }
}

fn after_by(drift: Drift, record: &Record, event: Event, now: Timestamp) -> Record {
    decide(record, event, &by(drift), now).record
}

/// `Ann` was sent, and the phone shows `Mum` since.
fn drifted(drift: Drift) -> Record {
    after_by(drift, &showing("Ann"), saw("Mum"), at(9))
}

#[test]
fn the_policy_says_what_becomes_of_a_name_that_somebody_else_saved() {
    assert_eq!(drifted(Drift::CrmWins).status, due(9));
    assert_eq!(drifted(Drift::Ask).status, Status::Parked { reason: Park::Drifted });
    assert_eq!(drifted(Drift::IfRaw).status, Status::InSync);
    for drift in [Drift::CrmWins, Drift::Ask, Drift::IfRaw] {
        let record = drifted(drift);
        assert_eq!(record.shown(), Some("Mum"));
        assert_eq!(record.drifted().map(|seen| seen.at), Some(at(9)));
        assert!(after_by(drift, &showing("Ann"), saw("Ann"), at(9)).drifted().is_none(), "an echo is no drift");
    }
}

/// The simulator found it: a request that was never answered took effect late, and was taken for a person's text.
#[test]
fn our_own_name_of_an_unanswered_request_is_nobody_else_s() {
    for drift in [Drift::Ask, Drift::IfRaw] {
        for sent in [new(), showing("Ann")] {
            let wanting = after_by(drift, &sent, Event::claimed("7", wish("Ann [Lead]")), at(1));
            let begun = after_by(drift, &wanting, Event::Begin { run: 1 }, at(2));
            let changed = after_by(drift, &begun, Event::claimed("7", wish("Ann [VIP]")), at(3));
            let late = after_by(drift, &changed, saw("Ann [Lead]"), at(900));
            assert_eq!((late.pushed.in_doubt.is_some(), late.drifted()), (false, None), "{drift:?}");
            assert!(late.status.due_at().is_some(), "{drift:?}: {:?}", late.status);
            let again = after_by(
                drift,
                &after_by(drift, &late, Event::Begin { run: 2 }, at(901)),
                saw("Ann [Lead]"),
                at(1_800),
            );
            assert!(again.status.due_at().is_some(), "it is ours still: {drift:?}: {:?}", again.status);
        }
    }
}

#[test]
fn a_new_wish_is_sent_over_a_drift_unless_only_raw_names_may_be_written() {
    let claimed = |drift| after_by(drift, &drifted(drift), Event::claimed("7", wish("Ann [Lead]")), at(20));
    assert_eq!(claimed(Drift::Ask).status, due(20));
    assert_eq!(claimed(Drift::CrmWins).status, due(9));
    assert_eq!(claimed(Drift::IfRaw).status, Status::InSync);
}

#[test]
fn only_raw_names_are_written_where_the_policy_says_so() {
    let wanting = |seen: Option<&str>| {
        let record = after_by(Drift::IfRaw, &new(), Event::claimed("7", wish("Ann")), T);
        let name = seen.map(Into::into);
        after_by(Drift::IfRaw, &record, Event::Seen { name, at: None }, at(1)).status
    };
    let number = format!("+{}", new().chat.phone().unwrap());
    for raw in [None, Some(""), Some(&*number)] {
        assert_eq!(wanting(raw), due(0), "{raw:?}");
    }
    assert_eq!(wanting(Some("Mum")), Status::InSync);
}

#[test]
fn a_release_overwrites_what_was_seen_until_then_and_nothing_that_is_seen_later() {
    for drift in [Drift::Ask, Drift::IfRaw] {
        let released = after_by(drift, &drifted(drift), Event::Release, at(20));
        assert_eq!(released.status, due(20), "{drift:?}");
        let later = after_by(drift, &released, saw("Dad"), at(30));
        assert_eq!(later.status, drifted(drift).status, "{drift:?}");
    }
}

#[test]
fn a_text_that_comes_back_after_it_was_overwritten_is_somebody_s_again() {
    let pushed = |record: &Record, now: Timestamp| {
        let begun = after_by(Drift::Ask, record, Event::Begin { run: 2 }, now);
        after_by(Drift::Ask, &begun, Event::Acknowledged, now)
    };
    let released = pushed(&after_by(Drift::Ask, &drifted(Drift::Ask), Event::Release, at(20)), at(21));
    assert_eq!(released.status, Status::InSync);
    let again = after_by(Drift::Ask, &released, saw("Mum"), at(30));
    assert_eq!(again.status, Status::Parked { reason: Park::Drifted }, "it was overruled once, not for ever");

    let begun = after_by(Drift::Ask, &wanting("Ann"), Event::Begin { run: 1 }, at(2));
    let late = after_by(Drift::Ask, &begun, saw("Ann"), at(900));
    let renamed = after_by(Drift::Ask, &late, Event::claimed("7", wish("Eve")), at(901));
    let ours = pushed(&renamed, at(902));
    let back = after_by(Drift::Ask, &ours, saw("Ann"), at(950));
    assert_eq!(back.status, Status::Parked { reason: Park::Drifted }, "whoever saves an old name of ours is a person");
}

#[test]
fn a_name_that_flips_more_often_than_a_day_allows_is_contested() {
    let mut record = showing("Ann");
    let mut now = T;
    for flip in 1..=5_u64 {
        now = now.after(Duration::from_secs(3_600));
        record = after(&record, saw("Mum"), now);
        if flip > 3 {
            assert_eq!(record.status, Status::Parked { reason: Park::Contested }, "flip {flip}");
            assert!(!calls(&record, now.after(Duration::from_secs(9))));
            break;
        }
        record = after(&record, Event::Begin { run: flip }, now);
        record = after(&record, Event::Acknowledged, now);
    }
    assert_eq!(record.pushed.flips.as_ref().map(|flips| (&*flips.name, flips.times)), Some(("Mum", 4)));
    let released = after(&record, Event::Release, now);
    assert_eq!((released.status.due_at().is_some(), &released.pushed.flips), (true, &None));
    let changed = after(&record, Event::claimed("7", wish("Ann [Lead]")), now);
    assert!(changed.status.due_at().is_some(), "a new wish is no flip");
}

#[test]
fn flips_a_day_apart_or_to_other_names_are_not_counted_together() {
    let flip = |record: &Record, name: &str, now: Timestamp| {
        let begun = after(&after(record, saw(name), now), Event::Begin { run: 1 }, now);
        after(&begun, Event::Acknowledged, now)
    };
    let times = |record: &Record| record.pushed.flips.as_ref().map_or(0, |flips| flips.times);
    let once = flip(&showing("Ann"), "Mum", at(10));
    assert_eq!(times(&flip(&once, "Mum", at(20))), 2);
    assert_eq!(times(&flip(&once, "Dad", at(20))), 1);
    assert_eq!(times(&flip(&once, "Mum", at(10).after(Duration::from_secs(86_400)))), 1);
}

#[test]
fn what_a_person_holds_is_left_alone_until_it_is_released() {
    let held = after(&wanting("Ann"), Event::Hold, at(5));
    assert_eq!(
        (held.held, held.status),
        (Some(Held { since: at(5) }), Status::Held { reason: Hold::ByHand, since: at(5) })
    );
    let changed = after(&held, Event::claimed("7", wish("Ann [Lead]")), at(6));
    assert_eq!(changed.status, held.status, "whatever the CRM says");
    assert!(!calls(&changed, at(9)));
    assert!(!decide(&held, Event::Hold, &policy(), at(9)).is_changed, "holding twice is once");
    let released = after(&changed, Event::Release, at(9));
    assert_eq!((released.held, released.status.due_at().is_some()), (None, true));
    assert_eq!(after(&showing("Ann"), Event::Hold, at(5)).status, Status::InSync, "nothing waits there");
}

#[test]
fn a_retry_forgets_why_the_wish_was_refused() {
    let failure = Failure {
        kind: ErrorKind::Rejected,
        message: None,
        is_in_doubt: false,
        retry_after: None,
        jitter: 0.0,
        blame: Blame::Contact,
    };
    let begun = after(&wanting("Ann"), Event::Begin { run: 1 }, at(1));
    let parked = after(&begun, Event::Failed(failure), at(2));
    assert_eq!(parked.status, Status::Parked { reason: Park::Refused });
    let again = after(&parked, Event::Retry, at(3));
    assert_eq!((again.status, again.pushed.failure), (due(3), None));
}

#[test]
fn what_is_adopted_counts_as_sent_and_verified_and_only_if_it_is_what_is_wanted() {
    let seen = after(&wanting("Ann"), saw("Ann"), at(4));
    let adopted = after(&seen, Event::Adopted, at(5));
    let sent = adopted.pushed.sent.as_ref().unwrap();
    assert_eq!((sent.wish.name.full(), sent.run, sent.verified_at), ("Ann", 0, Some(at(4))));
    assert_eq!(adopted.status, Status::InSync);
    assert!(!decide(&adopted, Event::Adopted, &policy(), at(6)).is_changed, "adopting twice is once");
    let other = after(&wanting("Ann"), saw("Mum"), at(4));
    assert_eq!(after(&other, Event::Adopted, at(5)), other);
}

#[test]
fn another_policy_decides_anew_what_waits_for_a_person() {
    let asked = drifted(Drift::Ask);
    assert_eq!(after_by(Drift::CrmWins, &asked, Event::PolicyChanged, at(20)).status, due(20));
    assert_eq!(after_by(Drift::IfRaw, &asked, Event::PolicyChanged, at(20)).status, Status::InSync);
}
