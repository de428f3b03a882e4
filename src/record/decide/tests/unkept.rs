//! Names that the API accepted and the address book does not show.

use super::*;

/// `Ann` was sent over `Mum`; a read at 20 ms still shows `Mum`.
fn unkept() -> Record {
    let sent = after(&begun(&after(&wanting("Ann"), saw("Mum"), T), T), Event::Acknowledged, at(10));
    still_shows(&sent, Blame::Contact, at(20))
}

fn still_shows(record: &Record, blame: Blame, now: Timestamp) -> Record {
    after(record, Event::Unkept { name: Some("Mum".into()), blame }, now)
}

/// Sends the name again when it is due, and has it acknowledged.
fn repeated_at(record: &Record, now: Timestamp) -> Decision {
    decide(&begun(record, now), Event::Acknowledged, &policy(), now)
}

#[test]
fn what_is_not_kept_is_nobody_s_edit_and_is_sent_again_after_a_while() {
    let record = unkept();
    assert_eq!((record.shown(), record.drifted(), record.pushed.flips.clone()), (Some("Mum"), None, None));
    assert_eq!(record.status, due(100));
    assert!(!calls(&record, at(99)) && calls(&record, at(100)));
    assert_eq!(record.failure().map(|failure| (failure.kind, failure.attempts)), Some((ErrorKind::Unkept, 1)));
    for drift in [Drift::Ask, Drift::IfRaw, Drift::PhoneWins] {
        let again = decide(&record, Event::PolicyChanged, &Policy { drift, ..policy() }, at(21)).record;
        assert_eq!((again.status, again.wanted()), (due(100), Some(&wish("Ann"))), "{drift:?}");
    }
}

#[test]
fn the_last_repeat_in_vain_parks_who_is_to_blame_and_lets_others_wait() {
    for (blame, is_parked) in [(Blame::Contact, true), (Blame::Unclear, false)] {
        let once = repeated_at(&unkept(), at(6_000)).record;
        assert_eq!(once.status, Status::InSync, "accepted");
        let twice = repeated_at(&still_shows(&once, blame, at(8_000)), at(13_000)).record;
        let last = still_shows(&twice, blame, at(15_000));
        let expected = if is_parked { Status::Parked { reason: Park::Unkept } } else { due(15_080) };
        assert_eq!(last.status, expected, "{blame:?}");
        assert!(calls(&after(&last, Event::Retry, at(16_000)), at(16_000)), "{blame:?}");
        let wished = after(&last, Event::claimed("7", wish("Bob")), at(17_000));
        assert!(calls(&wished, at(17_000)), "a new wish begins anew");
    }
}

#[test]
fn a_repeat_overwrites_nothing_that_is_not_in_the_history_of_its_run() {
    assert_eq!(repeated_at(&unkept(), at(6_000)).overwritten(), None);
    let other = decide(&unkept(), Event::Begin { run: 2 }, &policy(), at(6_000)).record;
    let text = decide(&other, Event::Acknowledged, &policy(), at(6_000));
    assert_eq!(text.overwritten().map(|text| (&*text.text, text.run)), Some(("Mum", 2)), "it can be undone");
    let edited = after(&unkept(), saw("Mama"), at(30));
    assert_eq!(edited.drifted().and_then(|seen| seen.name.as_deref()), Some("Mama"), "a third text is an edit");
    assert_eq!(repeated_at(&edited, at(6_000)).overwritten().map(|text| &*text.text), Some("Mama"));
}

#[test]
fn a_name_that_shows_after_all_is_verified_and_its_failure_forgotten() {
    for record in [unkept(), repeated_at(&unkept(), at(6_000)).record] {
        let shown = after(&record, saw("Ann"), at(7_000));
        assert_eq!(shown.status, Status::InSync);
        assert_eq!(shown.pushed.sent.as_ref().and_then(|sent| sent.verified_at), Some(at(7_000)));
        assert_eq!((shown.pushed.failure.as_ref(), shown.drifted()), (None, None));
        assert_eq!(still_shows(&shown, Blame::Contact, at(7_001)), shown, "it was shown: what comes after is an edit");
    }
}

#[test]
fn nothing_is_unkept_while_a_request_is_under_way_or_where_none_was_acknowledged() {
    for record in [new(), wanting("Ann"), doubting("Ann"), begun(&unkept(), at(6_000))] {
        assert_eq!(still_shows(&record, Blame::Contact, at(6_001)), record);
    }
    let own = Event::Unkept { name: Some("Ann".into()), blame: Blame::Contact };
    assert_eq!(after(&showing("Ann"), own, at(5)), showing("Ann"), "it shows what was sent");
}
