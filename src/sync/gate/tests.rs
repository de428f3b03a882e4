use super::*;
use crate::{
    ContactName,
    record::{Event, Failure, Policy, Wish, decide},
};

const MAX_WAIT: Duration = Duration::from_secs(60);
const T: Timestamp = Timestamp(1_000_000_000);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn chat(n: usize) -> ChatId {
    format!("1202555{n:04}@c.us").parse().unwrap()
}

fn record(n: usize) -> Record {
    Record::new(chat(n))
}

fn open() -> Gate {
    Gate::new(MAX_WAIT, &InstanceState::default(), T)
}

/// A call for a contact fails.
fn fail(gate: &mut Gate, n: usize, kind: ErrorKind) -> Verdict {
    gate.failed(&Error::new(kind), Some(&record(n)), seconds(2), T)
}

fn asks(kind: ErrorKind, wait: u64) -> Error {
    Error::new(kind).with_retry_after(seconds(wait))
}

#[test]
fn a_refused_token_shuts_it_and_no_success_of_a_call_in_flight_opens_it() {
    for kind in [ErrorKind::Unauthorized, ErrorKind::Forbidden, ErrorKind::UnknownInstance, ErrorKind::Route] {
        let mut gate = open();
        fail(&mut gate, 0, kind);
        gate.well(T);
        assert_eq!((gate.passage(T), gate.reason()), (Passage::Closed, Some(kind)));
    }
}

#[test]
fn what_to_try_is_told_by_whoever_shuts_it() {
    let mut gate = open();
    gate.failed(&Error::new(ErrorKind::Configuration).with_hint("set a token"), None, seconds(1), T);
    assert_eq!((gate.passage(T), gate.hint()), (Passage::Closed, Some("set a token")));
}

#[test]
fn p5_none_passes_before_retry_after_and_then_one_probe() {
    for kind in [ErrorKind::RateLimited, ErrorKind::Server, ErrorKind::Rejected, ErrorKind::Unclear] {
        let mut gate = open();
        let verdict = gate.failed(&asks(kind, 7), Some(&record(0)), seconds(1), T);
        let blame = if kind == ErrorKind::RateLimited { Blame::Instance } else { Blame::Unclear };
        assert_eq!(verdict, Verdict::Settled(blame), "any error can ask to wait, and may be about this contact alone");
        let end = T.after(seconds(7));
        assert_eq!(gate.wait(), Some(Wait::new(kind, T, end)));
        assert_eq!(gate.passage(T.after(Duration::from_millis(6_999))), Passage::Wait(end));
        gate.well(T.after(seconds(6)));
        assert_eq!(gate.passage(T.after(seconds(6))), Passage::Wait(end), "a late success opens nothing");
        assert_eq!(gate.passage(end), Passage::Probe);
        gate.well(end);
        assert_eq!((gate.passage(end), gate.reason()), (Passage::Free, None));
    }
}

#[test]
fn p5_the_later_end_of_two_waits_wins() {
    for (one, other) in [(60, 1), (1, 60)] {
        let mut gate = open();
        for wait in [one, other] {
            gate.failed(&asks(ErrorKind::RateLimited, wait), Some(&record(0)), seconds(1), T);
        }
        assert_eq!(gate.passage(T), Passage::Wait(T.after(seconds(60))));
    }
}

#[test]
fn a_wait_longer_than_the_run_waits_ends_it() {
    let mut gate = open();
    gate.failed(&asks(ErrorKind::QuotaReached, 61), Some(&record(0)), seconds(1), T);
    assert_eq!(gate.passage(T), Passage::Closed);
}

#[test]
fn the_longest_wait_counts_from_the_first_closing_over_all_probes() {
    let mut gate = open();
    let mut now = T;
    while let Passage::Free | Passage::Probe = gate.passage(now) {
        gate.failed(&Error::new(ErrorKind::SessionNotReady), Some(&record(0)), seconds(1), now);
        now = now.after(PAUSE);
    }
    assert_eq!((gate.passage(now), now), (Passage::Closed, T.after(seconds(75))));
}

#[test]
fn failures_of_different_contacts_close_it_and_a_success_in_between_does_not() {
    let mut gate = open();
    for n in 1..STREAK {
        assert_eq!(fail(&mut gate, n, ErrorKind::Server), Verdict::Settled(Blame::Contact));
    }
    assert_eq!(gate.passage(T), Passage::Free);
    gate.well(T);
    fail(&mut gate, 0, ErrorKind::Server);
    assert_eq!(gate.passage(T), Passage::Free);
    for n in 1..STREAK - 1 {
        fail(&mut gate, n, ErrorKind::Timeout);
    }
    assert_eq!(fail(&mut gate, 9, ErrorKind::Timeout), Verdict::Settled(Blame::Unclear));
    assert_eq!((gate.passage(T), gate.streak()), (Passage::Wait(T.after(seconds(2))), 5));
}

#[test]
fn p6_one_contact_that_fails_again_and_again_closes_nothing() {
    let mut gate = open();
    for _ in 0..100 {
        assert_eq!(fail(&mut gate, 0, ErrorKind::Server), Verdict::Settled(Blame::Contact));
    }
    assert_eq!((gate.passage(T), gate.streak()), (Passage::Free, 1));
}

#[test]
fn a_read_of_the_whole_book_that_fails_is_no_contacts_fault() {
    let mut gate = open();
    let verdict = gate.failed(&Error::new(ErrorKind::Server), None, seconds(2), T);
    assert_eq!((verdict, gate.passage(T)), (Verdict::Settled(Blame::Unclear), Passage::Wait(T.after(seconds(2)))));
}

#[test]
fn p6_a_refusal_waits_for_a_success_and_many_without_one_shut_it() {
    let mut gate = open();
    for n in 1..STREAK {
        assert_eq!(fail(&mut gate, n, ErrorKind::Rejected), Verdict::Pending);
        assert_eq!(gate.passage(T), Passage::Free);
    }
    gate.well(T);
    for n in 0..STREAK {
        assert_eq!(gate.passage(T), Passage::Free);
        fail(&mut gate, n, ErrorKind::Rejected);
    }
    assert_eq!((gate.passage(T), gate.reason()), (Passage::Closed, Some(ErrorKind::Rejected)));
}

#[test]
fn a_403_after_a_success_suspects_the_contact_first_and_shuts_it_with_the_second() {
    let mut gate = open();
    gate.well(T);
    assert_eq!(fail(&mut gate, 0, ErrorKind::Forbidden), Verdict::Settled(Blame::Contact));
    assert_eq!(gate.passage(T), Passage::Wait(T.after(SUSPICION)), "an untroubled contact comes next");
    fail(&mut gate, 0, ErrorKind::Forbidden);
    assert_ne!(gate.passage(T), Passage::Closed, "the same contact proves nothing");
    fail(&mut gate, 1, ErrorKind::Forbidden);
    assert_eq!((gate.passage(T), gate.reason()), (Passage::Closed, Some(ErrorKind::Forbidden)));
}

#[test]
fn a_success_clears_the_suspicion_and_a_read_does_not() {
    let mut gate = open();
    gate.well(T);
    fail(&mut gate, 0, ErrorKind::Forbidden);
    let later = T.after(SUSPICION);
    gate.read_well(later);
    assert_eq!(gate.passage(later), Passage::Probe);
    gate.well(later);
    assert_eq!(gate.passage(later), Passage::Free);
    assert_eq!(
        gate.failed(&Error::new(ErrorKind::Forbidden), Some(&record(1)), seconds(1), later),
        Verdict::Settled(Blame::Contact)
    );
}

#[test]
fn a_read_that_works_opens_it_after_a_wait_and_not_after_failed_writes() {
    let mut gate = open();
    gate.failed(&asks(ErrorKind::RateLimited, 5), None, seconds(1), T);
    gate.read_well(T.after(seconds(4)));
    assert_eq!(gate.passage(T.after(seconds(4))), Passage::Wait(T.after(seconds(5))));
    gate.read_well(T.after(seconds(5)));
    assert_eq!(gate.passage(T.after(seconds(5))), Passage::Free);
    for n in 0..STREAK {
        fail(&mut gate, n, ErrorKind::Server);
    }
    gate.read_well(T.after(seconds(9)));
    assert_eq!(gate.passage(T.after(seconds(9))), Passage::Probe, "of writes a read tells nothing");
}

#[test]
fn a_wait_that_an_earlier_run_was_asked_for_still_holds() {
    let wait = Wait::new(ErrorKind::QuotaReached, T.before(seconds(100)), T.after(seconds(5)));
    let gate = Gate::new(MAX_WAIT, &InstanceState { wait: Some(wait), ..InstanceState::default() }, T);
    assert_eq!((gate.passage(T), gate.reason()), (Passage::Wait(T.after(seconds(5))), Some(ErrorKind::QuotaReached)));
    let over = Wait::new(ErrorKind::QuotaReached, T.before(seconds(100)), T);
    assert_eq!(
        Gate::new(MAX_WAIT, &InstanceState { wait: Some(over), ..InstanceState::default() }, T).passage(T),
        Passage::Free
    );
}

#[test]
fn a_wait_of_a_clock_that_was_ahead_lasts_for_its_length() {
    let ahead = T.after(seconds(300_000_000));
    let wait = Wait::new(ErrorKind::RateLimited, ahead, ahead.after(seconds(7)));
    assert_eq!(
        Gate::new(MAX_WAIT, &InstanceState { wait: Some(wait), ..InstanceState::default() }, T).passage(T),
        Passage::Wait(T.after(seconds(7)))
    );
}

#[test]
fn any_duration_is_taken() {
    let mut gate = Gate::new(Duration::MAX, &InstanceState::default(), T);
    let error = Error::new(ErrorKind::RateLimited).with_retry_after(Duration::MAX);
    gate.failed(&error, Some(&record(0)), Duration::MAX, T);
    assert_eq!(gate.passage(T), Passage::Wait(Timestamp::MAX));
    for n in 0..STREAK {
        gate.failed(&Error::new(ErrorKind::Server), Some(&record(n)), Duration::MAX, T);
    }
    assert_eq!(gate.passage(Timestamp::MAX), Passage::Probe);
}

#[test]
fn p6_a_contact_that_is_refused_again_after_others_worked_is_to_blame() {
    let refused = |at: Timestamp, kind| {
        let wish = Wish::plain(ContactName::new("Ann", "").unwrap());
        let (policy, event) = (Policy::default(), Event::claimed("crm-1", wish));
        let due = decide(&record(0), event, &policy, at).record;
        let begun = decide(&due, Event::Begin { run: 1 }, &policy, at).record;
        decide(&begun, Event::Failed(Failure::new(&Error::new(kind), Blame::Unclear, 0.0)), &policy, at).record
    };
    let worked = InstanceState { worked_at: Some(T), ..InstanceState::default() };
    for (refused_at, kind, is_to_blame) in [
        (T.before(seconds(1)), ErrorKind::Rejected, true),
        (T, ErrorKind::Rejected, false),
        (T.before(seconds(1)), ErrorKind::Server, false),
    ] {
        let mut gate = Gate::new(MAX_WAIT, &worked, T);
        let verdict = gate.failed(&Error::new(ErrorKind::Rejected), Some(&refused(refused_at, kind)), seconds(1), T);
        assert_eq!(verdict == Verdict::Settled(Blame::Contact), is_to_blame, "{kind:?} at {refused_at:?}");
    }
}
