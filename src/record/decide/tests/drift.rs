//! What becomes of names that somebody else saves, and of what a person says.

use super::*;
use crate::{
    naming::Naming,
    record::{Drift, Held},
};

fn by(drift: Drift) -> Policy {
    let naming = Naming::new("Lead, VIP".parse().unwrap());
    Policy { drift, naming: Arc::new(naming), ..policy() }
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

/// Row 7 wants a base with a tag.
fn claims(base: &str, tag: &str) -> Event {
    Event::claimed("7", tagged(base, tag, by(Drift::PhoneWins).naming.fingerprint()))
}

fn acknowledged(drift: Drift, record: &Record, now: Timestamp) -> Record {
    let begun = after_by(drift, record, Event::Begin { run: 2 }, now);
    after_by(drift, &begun, Event::Acknowledged, now)
}

/// `Bob [Lead]` was sent; the phone shows another name since.
fn saved_over_bob(drift: Drift, name: &str) -> Record {
    let sent = acknowledged(drift, &after_by(drift, &new(), claims("Bob", "Lead"), T), at(1));
    after_by(drift, &sent, saw(name), at(9))
}

const FOLLOW: [Drift; 2] = [Drift::PhoneWins, Drift::ByField];

#[test]
fn the_base_comes_from_the_phone_and_the_tag_from_the_crm() {
    for drift in FOLLOW {
        for (saved, wanted) in [
            ("Bobby", "Bobby [Lead]"),
            ("Bobby [VIP]", "Bobby [Lead]"),
            ("Bobby [Lead]", "Bobby [Lead]"),
            ("Bob [Uncle]", "Bob [Uncle] [Lead]"),
            ("Bob", "Bob [Lead]"),
            ("Bob [VIP]", "Bob [Lead]"),
            ("[VIP]", "Bob [Lead]"),
            ("+12025550142", "Bob [Lead]"),
        ] {
            let record = saved_over_bob(drift, saved);
            assert_eq!(record.wanted().unwrap().name.full(), wanted, "{drift:?} {saved:?}");
            let is_shown = saved == wanted;
            assert_eq!(record.status == Status::InSync, is_shown, "{drift:?} {saved:?}: {:?}", record.status);
            let (edit, base) = (record.edit(), wanted.strip_suffix(" [Lead]").unwrap());
            assert_eq!(edit.map(|edit| (edit.saved, edit.is_taken_over)), (base != "Bob").then(|| (base.into(), true)));
        }
    }
}

#[test]
fn a_name_taken_over_wears_each_new_tag_until_the_crm_changes_its_base() {
    for drift in FOLLOW {
        let taken = acknowledged(drift, &saved_over_bob(drift, "Bobby"), at(10));
        assert_eq!((taken.status, taken.shown()), (Status::InSync, Some("Bobby [Lead]")));
        let tagged = after_by(drift, &taken, claims("Bob", "VIP"), at(20));
        assert_eq!(tagged.wanted().unwrap().name.full(), "Bobby [VIP]");
        assert_eq!(tagged.claims[0].cause, Cause::Stage);

        let learnt = after_by(drift, &taken, claims("Bobby", "Lead"), at(20));
        assert_eq!((learnt.status, learnt.edit(), &learnt.substitute), (Status::InSync, None, &None));
        let other = after_by(drift, &taken, claims("Robert", "Lead"), at(20));
        assert_eq!((other.status, other.wanted().unwrap().name.full()), (due(20), "Robert [Lead]"));
    }
}

#[test]
fn two_changes_of_one_base_are_a_conflict_by_field_and_the_phone_s_otherwise() {
    for (drift, is_conflict) in [(Drift::PhoneWins, false), (Drift::ByField, true)] {
        let crm_first = {
            let sent = acknowledged(drift, &after_by(drift, &new(), claims("Bob", "Lead"), T), at(1));
            after_by(drift, &after_by(drift, &sent, claims("Robert", "VIP"), at(2)), saw("Bobby"), at(9))
        };
        let phone_first = after_by(drift, &saved_over_bob(drift, "Bobby"), claims("Robert", "VIP"), at(11));
        for record in [crm_first, phone_first] {
            if !is_conflict {
                assert_eq!(record.wanted().unwrap().name.full(), "Bobby [VIP]");
                continue;
            }
            assert_eq!(record.status, Status::Parked { reason: Park::Drifted });
            let edit = record.edit().unwrap();
            assert_eq!((&*edit.saved, &*edit.wanted, edit.is_taken_over), ("Bobby", "Robert [VIP]", false));
            let decided = after_by(drift, &record, claims("Bert", "VIP"), at(30));
            assert_eq!((decided.status, decided.wanted().unwrap().name.full()), (due(30), "Bert [VIP]"));
            let agreed = after_by(drift, &record, claims("Bobby", "VIP"), at(30));
            assert_eq!((agreed.status, agreed.wanted().unwrap().name.full()), (due(30), "Bobby [VIP]"));
            let released = after_by(drift, &record, Event::Release, at(30));
            assert_eq!((released.status, released.wanted().unwrap().name.full()), (due(30), "Robert [VIP]"));
        }
    }
}

#[test]
fn a_name_that_was_there_before_ours_is_taken_over_as_well() {
    for drift in FOLLOW {
        let found = after_by(drift, &after_by(drift, &new(), saw("Mum"), T), claims("Bob", "Lead"), at(1));
        assert_eq!((found.status, found.wanted().unwrap().name.full()), (due(1), "Mum [Lead]"));
        assert_eq!(found.claims[0].cause, Cause::Phone);
    }
    let found =
        after_by(Drift::CrmWins, &after_by(Drift::CrmWins, &new(), saw("Mum"), T), claims("Bob", "Lead"), at(1));
    assert_eq!((found.wanted().unwrap().name.full(), found.edit()), ("Bob [Lead]", None));
}

#[test]
fn a_release_and_another_policy_give_the_crm_its_name_back() {
    for drift in FOLLOW {
        let taken = acknowledged(drift, &saved_over_bob(drift, "Bobby"), at(10));
        for (by, event) in [(drift, Event::Release), (Drift::CrmWins, Event::PolicyChanged)] {
            let back = after_by(by, &taken, event, at(20));
            assert_eq!((back.status, back.wanted().unwrap().name.full()), (due(20), "Bob [Lead]"), "{drift:?} {by:?}");
        }
    }
}

#[test]
fn the_crm_is_told_once_of_each_name_that_a_person_saved() {
    for (drift, is_taken_over) in [(Drift::PhoneWins, true), (Drift::ByField, true), (Drift::Ask, false)] {
        let sent = acknowledged(drift, &after_by(drift, &new(), claims("Bob", "Lead"), T), at(1));
        let decision = decide(&sent, saw("Bobby"), &by(drift), at(9));
        let edit = decision.edited().unwrap();
        assert_eq!((&*edit.crm_id, &*edit.saved, edit.is_taken_over), ("7", "Bobby", is_taken_over), "{drift:?}");
        let again = decide(&decision.record, saw("Bobby"), &by(drift), at(10));
        assert_eq!(again.edited(), None, "{drift:?}");
    }
    let silent = decide(&drifted(Drift::CrmWins), saw("Dad"), &by(Drift::CrmWins), at(10));
    assert_eq!(silent.edited(), None);
}

proptest! {
    /// Whatever is saved, in whatever order with changes of the CRM: what is wanted wears exactly the CRM's tag, and its base is the
    /// CRM's or one that somebody saved.
    #[test]
    fn no_policy_makes_a_name_of_its_own(
        drift in select(vec![Drift::CrmWins, Drift::PhoneWins, Drift::ByField, Drift::Ask, Drift::IfRaw]),
        story in prop::collection::vec((0..3_u8, select(NAMES.to_vec()), select(vec!["Lead", "VIP"])), 1..20),
    ) {
        let (mut record, mut now, mut saved) = (new(), T, Vec::new());
        for (step, base, tag) in story {
            now = now.after(ms(500));
            record = match step {
                0 => after_by(drift, &record, claims(base, tag), now),
                1 => {
                    saved.push(base);
                    after_by(drift, &record, saw(&format!("{base} [{tag}]")), now)
                }
                _ => acknowledged(drift, &record, now),
            };
            let Some(claim) = record.sole_claim().and_then(|claim| claim.wish.clone()) else { continue };
            let wanted = record.wanted().unwrap();
            prop_assert_eq!(&wanted.tag, &claim.tag);
            let base = wanted.base.full();
            let follows = FOLLOW.contains(&drift);
            prop_assert!(base == claim.base.full() || (follows && saved.contains(&base)), "{:?}", record);
            prop_assert_eq!(wanted.name.full(), format!("{base} [{}]", claim.tag.unwrap()));
        }
    }
}

#[test]
fn a_late_report_of_an_older_name_of_ours_is_no_drift_and_a_read_of_it_is() {
    let mut record = showing("Ann");
    for (n, name) in ["Bob", "Cat"].into_iter().enumerate() {
        let now = at(10 * (n as u64 + 1));
        record = acknowledged(Drift::Ask, &after_by(Drift::Ask, &record, Event::claimed("7", wish(name)), now), now);
    }
    let soon = at(20).after(Duration::from_secs(60));
    for late in ["Ann", "Bob"] {
        assert!(!decide(&record, saw_at(late, soon), &by(Drift::Ask), soon).is_changed, "{late}");
    }
    let read = after_by(Drift::Ask, &record, saw("Ann"), soon);
    assert_eq!(read.status, Status::Parked { reason: Park::Drifted }, "the address book shows it");
    let after_an_hour = soon.after(Duration::from_secs(3_600));
    let later = after_by(Drift::Ask, &record, saw_at("Ann", after_an_hour), after_an_hour);
    assert_eq!(later.status, Status::Parked { reason: Park::Drifted }, "nobody reports that late");
    let theirs = after_by(Drift::Ask, &record, saw_at("Mum", soon), soon);
    assert_eq!(theirs.status, Status::Parked { reason: Park::Drifted }, "it was never ours");
}

#[test]
fn a_few_names_that_were_sent_before_are_remembered_each_once() {
    let mut record = showing("Ann");
    for (n, name) in ["Bob", "Ann", "Cat", "Bob", "Dan", "Eve"].into_iter().enumerate() {
        let now = at(10 * (n as u64 + 1));
        record = acknowledged(Drift::CrmWins, &after(&record, Event::claimed("7", wish(name)), now), now);
    }
    assert_eq!(record.pushed.before, ["Dan".into(), "Bob".into(), "Cat".into()]);
}

/// A contact that a run called, and died over.
fn died_over(record: &Record, run: u64) -> Record {
    let begun = after(record, Event::Begin { run }, at(run * 100));
    after(&begun, Event::Died { run }, at(run * 100 + 1))
}

#[test]
fn a_contact_over_which_the_process_dies_three_times_is_parked() {
    let mut record = wanting("Ann");
    for run in 1..=3 {
        assert!(record.status.due_at().is_some(), "run {run}");
        record = died_over(&record, run);
    }
    assert_eq!(record.status, Status::Parked { reason: Park::Deadly });
    assert!(record.pushed.in_doubt.is_some(), "what was sent is as unknown as before");
    assert!(calls(&after(&record, Event::Retry, at(500)), at(500)), "a person said so");
    let renamed = after(&record, Event::claimed("7", wish("Bob")), at(500));
    assert!(renamed.status.due_at().is_some(), "a changed wish un-parks by itself");
}

#[test]
fn only_the_death_of_the_run_that_called_counts_and_only_once() {
    let begun = after(&wanting("Ann"), Event::Begin { run: 7 }, at(1));
    let deaths = |record: &Record| record.pushed.failure.as_ref().map_or(0, |failure| failure.deaths);
    let died = |record: &Record, run| after(record, Event::Died { run }, at(2));
    assert_eq!((deaths(&died(&begun, 7)), deaths(&died(&begun, 6))), (1, 0));
    assert_eq!(deaths(&died(&died(&begun, 7), 7)), 1);
    let ended = [Event::Acknowledged, Event::Cancel, Event::Failed(failure(ErrorKind::Timeout, Blame::Contact))];
    for end in ended {
        assert_eq!(deaths(&died(&after(&begun, end.clone(), at(2)), 7)), 0, "{end:?}");
    }
    let twice = died_over(&died_over(&wanting("Ann"), 1), 2);
    let failed = after(
        &after(&twice, Event::Begin { run: 3 }, at(300)),
        Event::Failed(failure(ErrorKind::Timeout, Blame::Contact)),
        at(301),
    );
    assert_eq!((deaths(&twice), deaths(&failed)), (2, 0), "an answer came, so they are in a row no more");
}

/// The simulator found it: the server accepted a name and did not keep it, and what was there before it was taken for a person's.
#[test]
fn the_name_from_before_one_that_nobody_has_seen_is_sent_over_again_under_every_policy() {
    for drift in [Drift::CrmWins, Drift::PhoneWins, Drift::ByField, Drift::Ask, Drift::IfRaw] {
        let first = acknowledged(drift, &after_by(drift, &new(), claims("Bob", "Lead"), T), at(1));
        let second = acknowledged(drift, &after_by(drift, &first, claims("Rob", "VIP"), at(2)), at(3));
        let unkept = after_by(drift, &second, saw("Bob [Lead]"), at(900));
        assert_eq!((unkept.status, unkept.drifted(), unkept.edit()), (due(900), None, None), "{drift:?}");
        assert_eq!(unkept.wanted().unwrap().name.full(), "Rob [VIP]", "{drift:?}");

        let verified = after_by(drift, &second, saw("Rob [VIP]"), at(500));
        let back = after_by(drift, &verified, saw("Bob [Lead]"), at(900));
        assert!(back.drifted().is_some(), "{drift:?}: somebody saved it again");
    }
}

#[test]
fn p1_our_own_name_of_an_older_request_without_an_answer_is_nobodys_edit() {
    for drift in [Drift::CrmWins, Drift::PhoneWins, Drift::ByField, Drift::Ask, Drift::IfRaw] {
        let policy = Policy { drift, ..policy() };
        let then = |record: &Record, event, seconds| {
            decide(record, event, &policy, T.after(Duration::from_secs(seconds))).record
        };
        let wants = |record: &Record, name, seconds| then(record, Event::claimed("7", wish(name)), seconds);
        let begins = |record: &Record, run, seconds| then(record, Event::Begin { run }, seconds);
        let ann = then(&begins(&wants(&new(), "Ann", 0), 1, 0), Event::Acknowledged, 0);
        for first in [ann, new()] {
            let timeout = Event::Failed(failure(ErrorKind::Timeout, Blame::Contact));
            let bob = then(&begins(&wants(&first, "Bob", 1), 2, 1), timeout, 2);
            let out = Event::Failed(failure(ErrorKind::SessionNotReady, Blame::Instance));
            let cat = then(&begins(&wants(&bob, "Cat", 3), 3, 10), out, 11);
            let record = then(&cat, saw("Bob"), 20);
            assert!(record.status.due_at().is_some(), "{drift:?}: {:?}", record.status);
            assert_eq!((record.wanted(), record.edit()), (Some(&wish("Cat")), None), "{drift:?}");
        }
    }
}
