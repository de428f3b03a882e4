//! Every row that two names and three moments can make, met by every event.

use super::*;
use crate::{ChatId, ContactName, ledger::Pushed};

const NOW: Timestamp = Timestamp(1_000_000);
const SOON: Timestamp = Timestamp(1_000_500);
const PAST: Timestamp = Timestamp(999_500);
const LONG_AGO: Timestamp = Timestamp(500_000);
const DEADLINE: Duration = Duration::from_secs(30);

fn chat() -> ChatId {
    "12025550142@c.us".parse().unwrap()
}

fn name(first: &str) -> ContactName {
    ContactName::new(first, "").unwrap()
}

fn wish(first: &str, version: Option<u64>) -> Wanted {
    Wanted {
        crm_id: "a".into(),
        version,
        name: name(first),
        base: name(first),
        tag: None,
        rules: 1,
        cause: Cause::New,
        rivals: Box::default(),
    }
}

/// Every combination of the parts of a row.
fn rows() -> Vec<Row> {
    let mut wants = vec![wish("Ann", None), wish("Ann", Some(5)), wish("Bob", Some(5))];
    wants.push(Wanted { rivals: ["b".into()].into(), ..wish("Ann", Some(5)) });
    let sents = [None, Some("Ann"), Some("Bob")].map(|sent| sent.map(|first| Sent { name: name(first), at: LONG_AGO }));
    let doubt = |first, until| Some(Doubt { name: name(first), until });
    let doubts = [None, doubt("Ann", PAST), doubt("Ann", SOON), doubt("Bob", PAST), doubt("Bob", SOON)];
    let trouble = |first, retry_at| {
        let wish = name(first).fingerprint();
        Some(Trouble { wish, attempts: 3, retry_at, kind: ErrorKind::Server, message: None })
    };
    let troubles =
        [None, trouble("Ann", Some(PAST)), trouble("Ann", Some(SOON)), trouble("Ann", None), trouble("Bob", None)];
    let sight = |text: Option<&str>, at| Some(Seen { name: text.map(Into::into), at });
    let sights = [
        None,
        sight(None, PAST),
        sight(Some("Ann"), PAST),
        sight(Some("Annie"), PAST),
        sight(Some("Ann"), Timestamp(1)),
    ];
    let mut rows = Vec::new();
    for wanted in &wants {
        for sent in &sents {
            for doubt in &doubts {
                for trouble in &troubles {
                    for seen in &sights {
                        let pushed = Pushed { sent: sent.clone(), doubt: doubt.clone(), trouble: trouble.clone() };
                        let (wanted, seen) = (wanted.clone(), seen.clone());
                        rows.push(Row { chat: chat(), slot: 1, revision: 1, wanted, pushed, seen });
                    }
                }
            }
        }
    }
    rows
}

fn failed(before: Before, kind: ErrorKind) -> Event {
    Event::Failed(before, Failure { kind, message: None, backoff: Duration::from_millis(700) })
}

fn events() -> Vec<Event> {
    let before = || Some(Doubt { name: name("Cid"), until: PAST });
    let mut events = vec![
        Event::Wished(wish("Ann", Some(5))),
        Event::Wished(wish("Bob", Some(6))),
        Event::Wished(wish("Bob", Some(4))),
        Event::Wished(wish("Bob", None)),
        Event::Contested(["b".into()].into()),
        Event::Contested(Box::default()),
        Event::Observed(None),
        Event::Observed(Some("Ann".into())),
        Event::Observed(Some("Annie".into())),
        Event::Begun(DEADLINE),
        Event::Withdrawn(None),
        Event::Withdrawn(before()),
        Event::Acknowledged,
    ];
    events.extend(ErrorKind::ALL.iter().map(|kind| failed(None, *kind)));
    events.extend(ErrorKind::ALL.iter().map(|kind| failed(before(), *kind)));
    events
}

fn each(check: impl Fn(&Row, &Event, &Row, &Action)) {
    for row in rows() {
        for event in events() {
            let (next, action) = decide(row.clone(), event.clone(), NOW);
            check(&row, &event, &next, &action);
        }
    }
}

#[test]
fn p4_sent_advances_only_on_an_acknowledgement_and_to_what_was_in_doubt() {
    each(|row, event, next, _| match (event, &row.pushed.doubt) {
        (Event::Acknowledged, Some(doubt)) => {
            assert_eq!(next.pushed.sent, Some(Sent { name: doubt.name.clone(), at: NOW }));
            assert_eq!(next.pushed.doubt, None);
        }
        _ => assert_eq!(next.pushed.sent, row.pushed.sent, "{event:?}"),
    });
}

#[test]
fn each_writer_changes_its_own_part_only() {
    each(|row, event, next, _| {
        let (wanted, pushed, seen) = match event {
            Event::Wished(_) | Event::Contested(_) => (false, true, true),
            Event::Observed(_) => (true, true, false),
            _ => (true, false, true),
        };
        assert!(!wanted || next.wanted == row.wanted, "{event:?}");
        assert!(!pushed || next.pushed == row.pushed, "{event:?}");
        assert!(!seen || next.seen == row.seen, "{event:?}");
        assert_eq!((&next.chat, next.slot, next.revision), (&row.chat, row.slot, row.revision));
    });
}

#[test]
fn an_unchanged_row_is_never_stored_and_a_changed_one_always() {
    each(|row, event, next, action| {
        let is_kept = matches!(action, Action::Keep | Action::Stale);
        assert_eq!(is_kept, row == next, "{event:?} {action:?}\n{row:?}");
    });
}

#[test]
fn p9_a_call_is_in_doubt_before_it_is_made_and_carries_the_newest_wish() {
    each(|row, event, next, action| {
        if *action == Action::Call {
            assert!(matches!(event, Event::Begun(_)) && row.due_at().is_some_and(|due| due <= NOW));
            let doubt = Doubt { name: row.wanted.name.clone(), until: NOW.after(DEADLINE) };
            assert_eq!(next.pushed.doubt, Some(doubt));
        }
    });
}

#[test]
fn p9_a_doubt_ends_only_by_an_answer() {
    each(|row, event, next, _| {
        let Some(doubt) = &row.pushed.doubt else { return };
        let name = next.pushed.doubt.as_ref().map(|doubt| &doubt.name);
        match event {
            Event::Begun(_) | Event::Acknowledged | Event::Withdrawn(_) => {}
            Event::Failed(before, failure) if !Error::new(failure.kind).is_in_doubt() => {
                assert_eq!(next.pushed.doubt, *before, "what was in doubt before is in doubt still");
            }
            _ => assert_eq!(name, Some(&doubt.name), "{event:?}"),
        }
    });
}

#[test]
fn p1_whatever_is_neither_settled_nor_parked_is_due() {
    each(|_, event, next, _| {
        let is_blocked =
            !next.wanted.rivals.is_empty() || next.trouble().is_some_and(|trouble| trouble.retry_at.is_none());
        assert_eq!(next.due_at().is_some(), !next.is_settled() && !is_blocked, "{event:?}\n{next:?}");
    });
}

#[test]
fn p2_nothing_is_called_while_an_older_request_can_still_take_effect() {
    for row in rows() {
        let Some(doubt) = row.pushed.doubt.clone() else { continue };
        let (_, action) = decide(row, Event::Begun(DEADLINE), NOW);
        assert!(action != Action::Call || doubt.until <= NOW);
    }
}

#[test]
fn p2_an_older_version_of_a_crm_row_is_stale() {
    each(|row, event, next, action| {
        let Event::Wished(wish) = event else { return };
        let is_older = wish.version.is_some() && row.wanted.version > wish.version;
        assert_eq!(*action == Action::Stale, is_older);
        assert!(is_older || next.wanted.name == wish.name);
    });
}

#[test]
fn p8_what_a_push_overwrites_is_recorded() {
    each(|row, event, _, action| {
        let (Event::Acknowledged, Some(doubt)) = (event, &row.pushed.doubt) else { return };
        let lost = row.shown().filter(|shown| *shown != doubt.name.full());
        let recorded = match action {
            Action::Record(overwritten) => Some(overwritten.text.to_string()),
            _ => None,
        };
        assert_eq!(recorded, lost);
    });
}

#[test]
fn p6_the_trouble_of_an_instance_is_not_held_against_the_contact() {
    each(|row, event, next, _| {
        let Event::Failed(_, failure) = event else { return };
        if !matches!(failure.kind.class(), Class::Contact | Class::Transient) {
            assert_eq!(next.pushed.trouble, row.pushed.trouble);
        }
    });
}

#[test]
fn a_refused_contact_is_parked_until_its_wish_changes() {
    let mut row = Row::from(crate::ledger::Candidate { chat: chat(), wanted: wish("Ann", Some(1)) });
    (row, _) = decide(row, Event::Begun(DEADLINE), NOW);
    (row, _) = decide(row, failed(None, ErrorKind::Rejected), NOW);
    assert!(row.is_parked() && row.trouble().is_some_and(|trouble| trouble.attempts == 1));
    (row, _) = decide(row, Event::Wished(wish("Bob", Some(2))), NOW);
    assert_eq!(row.due_at(), Some(Timestamp::default()));
}

#[test]
fn a_failure_of_an_older_wish_does_not_delay_the_new_one() {
    let mut row = Row::from(crate::ledger::Candidate { chat: chat(), wanted: wish("Ann", Some(1)) });
    (row, _) = decide(row, Event::Begun(DEADLINE), NOW);
    (row, _) = decide(row, Event::Wished(wish("Bob", Some(2))), NOW);
    (row, _) = decide(row, failed(None, ErrorKind::Server), NOW);
    assert_eq!((row.trouble(), row.due_at()), (None, Some(NOW)));
}

#[test]
fn a_cause_names_the_rules_when_they_alone_changed() {
    let tagged = |first: &str, tag: &str, rules| {
        let (base, full) = (name(first), ContactName::new(first, tag).unwrap());
        Wanted {
            name: full,
            base,
            tag: Some(tag.trim_matches(['[', ']', '(', ')']).into()),
            rules,
            ..wish(first, None)
        }
    };
    let old = tagged("Ann", "[Lead]", 1);
    assert_eq!(cause(&old, &tagged("Ann", "[Customer]", 1)), Cause::Stage);
    assert_eq!(cause(&old, &tagged("Anna", "[Lead]", 1)), Cause::Name);
    assert_eq!(cause(&old, &tagged("Ann", "(Lead)", 2)), Cause::Rules);
    assert_eq!(cause(&old, &old), Cause::New, "as before");
}
