use proptest::{prelude::*, sample::select};

use super::*;
use crate::{
    ChatId, ContactName, ErrorClass,
    record::{Cause, Flips, InDoubt, Seen, Sent, Source, Substitute},
};

mod drift;
mod laws;
mod merging;
mod unkept;

const NAMES: [&str; 3] = ["Ann", "Bob", "Cat"];
const PHONE: &str = "12025550142@c.us";
const LID: &str = "123456789012345@lid";
const T: Timestamp = Timestamp(1_000_000);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A deadline of 100 ms, a backoff of 10 ms that doubles up to 80 ms, and repeats 80 ms apart.
fn policy() -> Policy {
    Policy {
        deadline: ms(100),
        backoff: RetryPolicy::default().backing_off(ms(10), ms(80)),
        unclear_attempts: 3,
        repeat_every: ms(80),
        ..Policy::default()
    }
}

fn wish(name: &str) -> Wish {
    Wish::plain(ContactName::new(name, "").unwrap())
}

fn tagged(base: &str, tag: &str, rules: u32) -> Wish {
    let base = ContactName::new(base, "").unwrap();
    let name = ContactName::new(base.first(), &format!("[{tag}]")).unwrap();
    Wish { name, base, tag: Some(tag.into()), rules }
}

fn claim(crm_id: &str, version: Option<u64>, wish: Option<Wish>) -> Event {
    Event::Claimed { claim: Claim::new(crm_id, version, RowDigest::default(), wish), urgent: false }
}

fn saw(name: &str) -> Event {
    Event::Seen { name: Some(name.into()), at: None }
}

fn saw_at(name: &str, at: Timestamp) -> Event {
    Event::Seen { name: Some(name.into()), at: Some(at) }
}

fn failure(kind: ErrorKind, blame: Blame) -> Failure {
    Failure::new(&Error::new(kind), blame, 1.0)
}

fn new() -> Record {
    Record::new(PHONE.parse().unwrap())
}

fn after(record: &Record, event: Event, now: Timestamp) -> Record {
    decide(record, event, &policy(), now).record
}

/// A contact for which row 7 wants a name, at `T`.
fn wanting(name: &str) -> Record {
    after(&new(), Event::claimed("7", wish(name)), T)
}

/// The same, in doubt since `T`.
fn doubting(name: &str) -> Record {
    begun(&wanting(name), T)
}

/// The same, acknowledged at `T`.
fn showing(name: &str) -> Record {
    after(&doubting(name), Event::Acknowledged, T)
}

fn begun(record: &Record, now: Timestamp) -> Record {
    let decision = decide(record, Event::Begin { run: 1 }, &policy(), now);
    assert!(decision.calls(), "{record:?}");
    decision.record
}

fn calls(record: &Record, now: Timestamp) -> bool {
    decide(record, Event::Begin { run: 1 }, &policy(), now).calls()
}

fn at(later: u64) -> Timestamp {
    T.after(ms(later))
}

fn due(later: u64) -> Status {
    Status::Due { at: at(later) }
}

/// A contact whose wish changed from Ann to Bob while the answer for Ann was missing, failed at `T`.
fn torn() -> Record {
    let unknown = after(&doubting("Ann"), Event::Failed(failure(ErrorKind::Timeout, Blame::Contact)), T);
    after(&unknown, Event::claimed("7", wish("Bob")), T)
}

/// A contact with a request for Ann that can land until 100 ms after `T`, and a repeat begun at 30 ms and acknowledged at 40 ms.
fn repeated() -> Record {
    after(&begun(&doubting("Ann"), at(30)), Event::Acknowledged, at(40))
}

#[test]
fn a_claim_on_a_new_contact_is_due_at_once() {
    let record = wanting("Ann");
    assert_eq!(record.status, due(0));
    assert_eq!(record.claims[0].cause, Cause::New);
    assert_eq!(record.wanted(), Some(&wish("Ann")));
}

#[test]
fn a_claim_of_what_is_shown_is_in_sync() {
    for shown in [showing("Ann"), after(&new(), saw("Ann"), T)] {
        let record = after(&shown, Event::claimed("7", wish("Ann")), at(5));
        assert_eq!(record.status, Status::InSync);
    }
}

#[test]
fn a_new_wish_for_a_shown_contact_is_due_at_once() {
    let record = after(&showing("Ann"), Event::claimed("7", wish("Bob")), at(5));
    assert_eq!(record.status, due(5));
    assert_eq!(record.claims[0].cause, Cause::Name);
}

#[test]
fn the_newest_wish_keeps_the_place_of_the_first_in_the_queue() {
    let record = after(&wanting("Ann"), Event::claimed("7", wish("Bob")), at(50));
    assert_eq!(record.status, due(0));
}

#[test]
fn an_urgent_claim_has_a_head_start_and_keeps_it() {
    assert_eq!(Policy::HEAD_START.as_secs(), 2_592_000, "a month");
    let Event::Claimed { claim, .. } = Event::claimed("7", wish("Ann")) else { unreachable!() };
    let now = T.after(Policy::HEAD_START);
    let urgent = after(&new(), Event::Claimed { claim, urgent: true }, now);
    assert_eq!(urgent.status, due(0));
    assert_eq!(after(&urgent, Event::claimed("7", wish("Bob")), now).status, due(0));
    let begun = begun(&urgent, now);
    assert_eq!(after(&begun, Event::Cancel, now).status, due(0));
}

#[test]
fn the_cause_of_a_wish_says_what_changed() {
    let first = tagged("Ann", "Lead", 1);
    for (second, cause) in [
        (tagged("Ann", "Customer", 1), Cause::Stage),
        (tagged("Amy", "Customer", 1), Cause::Stage),
        (tagged("Amy", "Lead", 1), Cause::Name),
        (tagged("Amy", "Customer", 2), Cause::Name),
        (tagged("Ann", "LEAD", 2), Cause::Rules),
        (tagged("Ann", "Lead", 2), Cause::New), // the same name: nothing changes
    ] {
        let record = after(&new(), Event::claimed("7", first.clone()), T);
        assert_eq!(after(&record, Event::claimed("7", second.clone()), T).claims[0].cause, cause, "{second:?}");
        let sent = after(&begun(&record, T), Event::Acknowledged, T);
        let freed = after(&sent, Event::Unclaimed { crm_id: "7".into() }, T);
        assert_eq!(after(&freed, Event::claimed("8", second), T).claims[0].cause, cause, "against what was sent");
    }
}

#[test]
fn a_repeated_claim_keeps_its_cause() {
    let renamed = after(&showing("Ann"), Event::claimed("7", wish("Bob")), T);
    assert_eq!(after(&renamed, Event::claimed("7", wish("Bob")), at(9)), renamed);
}

#[test]
fn versions_are_compared_per_crm_id_only() {
    let record = after(&new(), claim("a", Some(5), Some(wish("Ann"))), T);
    for (event, is_stale, version) in [
        (claim("a", Some(4), Some(wish("Bob"))), true, Some(5)),
        (claim("a", Some(5), Some(wish("Bob"))), false, Some(5)),
        (claim("a", Some(6), Some(wish("Bob"))), false, Some(6)),
        (claim("a", None, Some(wish("Bob"))), false, Some(5)),
    ] {
        let decision = decide(&record, event.clone(), &policy(), T);
        assert_eq!(decision.effects == [Effect::Stale], is_stale, "{event:?}");
        assert_eq!(decision.is_changed, !is_stale);
        assert_eq!(decision.record.claim("a").unwrap().version, version);
    }
    let other = decide(&record, claim("b", Some(1), Some(wish("Bob"))), &policy(), T);
    assert_eq!(other.effects, []);
    assert_eq!(other.record.claims.len(), 2);
}

#[test]
fn a_row_without_a_version_is_never_stale_and_a_version_counts_from_then_on() {
    let record = after(&wanting("Ann"), claim("7", Some(3), Some(wish("Bob"))), T);
    assert_eq!(record.wanted(), Some(&wish("Bob")));
    assert_eq!(decide(&record, claim("7", Some(2), Some(wish("Cat"))), &policy(), T).effects, [Effect::Stale]);
}

#[test]
fn two_rows_park_a_contact_until_one_of_them_goes() {
    let competing = after(&wanting("Ann"), Event::claimed("8", wish("Bob")), T);
    assert_eq!(competing.status, Status::Parked { reason: Park::Competing });
    assert_eq!(competing.wanted(), None);
    assert!(!calls(&competing, at(999)));
    let freed = after(&competing, Event::Unclaimed { crm_id: "7".into() }, at(9));
    assert_eq!((freed.wanted(), freed.status), (Some(&wish("Bob")), due(9)));
}

#[test]
fn a_row_without_a_usable_name_still_claims() {
    let refused = after(&wanting("Ann"), claim("8", None, None), T);
    assert_eq!(refused.status, Status::Parked { reason: Park::Competing });
    let alone = after(&wanting("Ann"), claim("7", None, None), T);
    assert_eq!((alone.status, alone.claims.len()), (Status::InSync, 1));
}

#[test]
fn a_wish_that_nobody_holds_any_more_is_withdrawn() {
    let record = after(&wanting("Ann"), Event::Unclaimed { crm_id: "7".into() }, T);
    assert_eq!(record, new());
    let other = wanting("Ann");
    assert!(!decide(&other, Event::Unclaimed { crm_id: "8".into() }, &policy(), T).is_changed);
}

#[test]
fn a_mark_is_written_down_with_its_end() {
    let record = doubting("Ann");
    let doubt = record.pushed.in_doubt.clone().unwrap();
    assert_eq!((doubt.since, doubt.until, doubt.earlier_until, doubt.run), (T, at(100), None, 1));
    assert_eq!(doubt.wish, wish("Ann"));
    assert_eq!(record.pushed.sent, None);
    assert_eq!(record.status, due(0));
}

#[test]
fn nothing_is_begun_before_it_is_due() {
    let later = Record { status: due(10), ..wanting("Ann") };
    assert!(!calls(&later, at(9)));
    assert!(calls(&later, at(10)));
    for record in [new(), showing("Ann"), after(&wanting("Ann"), claim("8", None, None), T)] {
        let decision = decide(&record, Event::Begin { run: 1 }, &policy(), at(10_000));
        assert!(!decision.calls() && !decision.is_changed, "{record:?}");
    }
}

#[test]
fn an_acknowledgement_is_remembered_with_its_run_and_moment() {
    let record = after(&doubting("Ann"), Event::Acknowledged, at(7));
    let sent = record.pushed.sent.clone().unwrap();
    assert_eq!((sent.wish, sent.run, sent.at), (wish("Ann"), 1, at(7)));
    assert_eq!((record.status, &record.pushed.in_doubt, record.pushed.late_until), (Status::InSync, &None, None));
}

#[test]
fn an_acknowledgement_is_of_the_name_in_doubt_and_not_of_a_newer_wish() {
    let renamed = after(&doubting("Ann"), Event::claimed("7", wish("Bob")), at(3));
    let record = after(&renamed, Event::Acknowledged, at(7));
    assert_eq!(record.pushed.sent.as_ref().unwrap().wish, wish("Ann"));
    assert_eq!(record.status, due(7));
}

#[test]
fn an_answer_to_nothing_changes_nothing() {
    for record in [new(), wanting("Ann"), showing("Ann")] {
        let failed = Event::Failed(failure(ErrorKind::Rejected, Blame::Contact));
        for event in [Event::Acknowledged, failed, Event::Cancel] {
            assert!(!decide(&record, event.clone(), &policy(), at(5)).is_changed, "{event:?} {record:?}");
        }
    }
}

#[test]
fn the_same_name_is_repeated_at_once_and_another_waits_for_the_end_of_the_request() {
    let unknown = after(&doubting("Ann"), Event::Failed(failure(ErrorKind::Timeout, Blame::Instance)), at(30));
    assert!(calls(&unknown, at(30)));
    let renamed = after(&unknown, Event::claimed("7", wish("Bob")), at(30));
    assert_eq!(renamed.status, due(100));
    assert!(!calls(&renamed, at(99)));
    assert!(calls(&renamed, at(100)));
    let back = after(&renamed, Event::claimed("7", wish("Ann")), at(31));
    assert_eq!(back.status, due(31));
}

#[test]
fn an_older_request_is_remembered_after_its_repeat_was_acknowledged() {
    let record = repeated();
    assert_eq!((record.pushed.late_until, record.status), (Some(at(100)), Status::InSync));
    let renamed = after(&record, Event::claimed("7", wish("Bob")), at(50));
    assert_eq!(renamed.status, due(100));
    let back = after(&renamed, Event::claimed("7", wish("Ann")), at(60));
    assert_eq!(back.status, Status::InSync);
    let later = after(&record, Event::claimed("7", wish("Bob")), at(100));
    assert_eq!((later.status, later.pushed.late_until), (due(100), None));
}

#[test]
fn p9_a_late_request_may_still_reach_the_account_that_is_there_now() {
    let moved = after(&repeated(), Event::AccountChanged, at(50));
    assert_eq!(moved.status, due(50), "the same name may be sent at once");
    assert_eq!(after(&moved, Event::claimed("7", wish("Bob")), at(60)).status, due(100));
    let back = after(&moved, Event::ClockSetBack, Timestamp(0));
    let renamed = after(&back, Event::claimed("7", wish("Bob")), Timestamp(0));
    assert!(renamed.status.due_at().is_some_and(|at| at <= Timestamp(100)), "{renamed:?}");
}

#[test]
fn a_late_request_that_is_over_is_no_part_of_the_next_mark() {
    let drifted = after(&repeated(), saw("Mum"), at(50));
    for (now, earlier_until) in [(99, Some(at(100))), (100, None)] {
        assert_eq!(begun(&drifted, at(now)).pushed.in_doubt.unwrap().earlier_until, earlier_until);
    }
}

#[test]
fn a_read_that_shows_the_new_wish_early_does_not_end_the_wait() {
    let renamed = after(&repeated(), Event::claimed("7", wish("Bob")), at(50));
    let seen = after(&renamed, saw("Bob"), at(60));
    assert_eq!(seen.status, due(100), "an older request can still set it back");
}

#[test]
fn a_repeat_ends_no_earlier_than_what_it_repeats() {
    let long = Policy { deadline: ms(500), ..policy() };
    let first = decide(&wanting("Ann"), Event::Begin { run: 1 }, &long, T).record;
    let repeat = begun(&first, at(10));
    let doubt = repeat.pushed.in_doubt.clone().unwrap();
    assert_eq!((doubt.until, doubt.earlier_until), (at(500), Some(at(500))));
    let renamed = after(&repeat, Event::claimed("7", wish("Bob")), at(20));
    assert_eq!(renamed.status, due(500));
}

#[test]
fn a_cancelled_mark_leaves_what_was_before() {
    let record = wanting("Ann");
    assert_eq!(after(&begun(&record, T), Event::Cancel, at(1)), record);
    let twice = begun(&doubting("Ann"), at(30));
    let cancelled = after(&twice, Event::Cancel, at(31));
    let doubt = cancelled.pushed.in_doubt.clone().unwrap();
    assert_eq!((doubt.until, doubt.earlier_until), (at(100), None));
    assert_eq!(after(&cancelled, Event::claimed("7", wish("Bob")), at(32)).status, due(100));
}

#[test]
fn a_request_that_came_to_nothing_does_not_answer_for_an_older_one() {
    // Ann was acknowledged; what became of Bob is unknown, and will be for ever.
    let renamed = after(&showing("Ann"), Event::claimed("7", wish("Bob")), at(1));
    let unknown = after(&begun(&renamed, at(1)), Event::Failed(failure(ErrorKind::Timeout, Blame::Instance)), at(2));
    let sure = Failure { is_in_doubt: false, ..failure(ErrorKind::RateLimited, Blame::Instance) };
    for answer in [Event::Cancel, Event::Failed(sure)] {
        for name in ["Ann", "Bob"] {
            let wanting = after(&unknown, Event::claimed("7", wish(name)), at(200));
            let record = after(&begun(&wanting, at(200)), answer.clone(), at(201));
            let record = after(&record, Event::claimed("7", wish("Ann")), at(202));
            assert!(calls(&record, at(202)), "the address book may show Bob: {record:?}");
            let seen = after(&record, saw("Ann"), at(203));
            assert_eq!(seen.status, Status::InSync, "unless it was seen since");
        }
    }
}

#[test]
fn a_refusal_of_the_contact_parks_it_and_a_new_wish_frees_it() {
    let record = after(&doubting("Ann"), Event::Failed(refusal()), at(2));
    let last = record.pushed.failure.clone().unwrap();
    assert_eq!(record.status, Status::Parked { reason: Park::Refused });
    assert_eq!((last.attempts, last.at, last.retry_at, last.kind), (1, at(2), None, ErrorKind::Rejected));
    assert_eq!(last.message.as_deref(), Some("no such number"));
    assert_eq!(record.pushed.in_doubt, None);
    let renamed = after(&record, Event::claimed("7", wish("Bob")), at(3));
    assert_eq!((renamed.status, renamed.failure()), (due(3), None));
    // A row that comes twice in one export changes the wish and changes it back: the refusal is still the answer to it.
    assert_eq!(after(&renamed, Event::claimed("7", wish("Ann")), at(4)).status, record.status);
}

fn refusal() -> Failure {
    let error = Error::new(ErrorKind::Rejected).with_message("no such number");
    Failure::new(&error, Blame::Contact, 1.0)
}

#[test]
fn what_a_failure_does_follows_from_its_kind_and_whose_fault_it_is() {
    use Blame::{Contact, Unclear};
    for kind in ErrorKind::ALL.iter().copied() {
        for blame in [Contact, Unclear] {
            let mut record = wanting("Ann");
            let mut now = T;
            for attempt in 1..=10 {
                record = after(&begun(&record, now), Event::Failed(failure(kind, blame)), now);
                let Some(next) = record.status.due_at() else { break };
                let backoff = (10 << (attempt - 1)).min(80);
                assert_eq!(next.since(now), ms(backoff), "{kind:?} {blame:?} {attempt}");
                now = next;
            }
            let attempts = record.pushed.failure.as_ref().unwrap().attempts;
            let parked_after = match (kind.class(), kind) {
                _ if blame == Unclear => None,
                (ErrorClass::Contact, _) => Some(1),
                (ErrorClass::Transient, ErrorKind::Unclear | ErrorKind::Decode) => Some(3),
                (ErrorClass::Transient | ErrorClass::Wait, _) => None,
                _ => Some(3),
            };
            let is_parked = matches!(record.status, Status::Parked { reason: Park::Refused });
            assert_eq!(is_parked.then_some(attempts), parked_after, "{kind:?} {blame:?}");
        }
    }
}

#[test]
fn failures_of_another_kind_do_not_use_up_the_attempts_of_an_unclear_one() {
    let mut record = wanting("Ann");
    let mut now = T;
    let mut fail = |kind, times: usize| {
        for _ in 0..times {
            record = after(&begun(&record, now), Event::Failed(failure(kind, Blame::Contact)), now);
            now = record.status.due_at().unwrap_or(now);
        }
        record.status.as_str()
    };
    assert_eq!(fail(ErrorKind::Timeout, 9), "due", "an outage");
    assert_eq!(fail(ErrorKind::Decode, 2), "due", "then a page for people");
    assert_eq!(fail(ErrorKind::Timeout, 9), "due");
    assert_eq!(fail(ErrorKind::Unclear, 1), "parked", "the third that is not understood");
}

#[test]
fn a_fault_of_the_instance_leaves_the_contact_as_it_was() {
    let sure = Failure { is_in_doubt: false, ..failure(ErrorKind::Unauthorized, Blame::Instance) };
    assert_eq!(after(&doubting("Ann"), Event::Failed(sure), at(3)), wanting("Ann"));
    let unsure = after(&doubting("Ann"), Event::Failed(failure(ErrorKind::Server, Blame::Instance)), at(3));
    let mut ended = doubting("Ann");
    ended.pushed.calling = None;
    assert_eq!(unsure, ended);
    let tried = after(&doubting("Ann"), Event::Failed(failure(ErrorKind::Server, Blame::Contact)), at(3));
    let again = begun(&tried, at(50));
    let spared = after(&again, Event::Failed(failure(ErrorKind::Server, Blame::Instance)), at(60));
    assert_eq!(spared.pushed.failure, tried.pushed.failure);
}

#[test]
fn a_failure_for_a_name_that_is_wanted_no_more_is_forgotten() {
    let renamed = after(&doubting("Ann"), Event::claimed("7", wish("Bob")), at(1));
    let record = after(&renamed, Event::Failed(refusal()), at(2));
    assert_eq!((record.pushed.failure.clone(), record.status), (None, due(2)));
}

#[test]
fn a_success_forgets_the_failures() {
    let tried = after(&doubting("Ann"), Event::Failed(failure(ErrorKind::Server, Blame::Contact)), at(3));
    assert!(tried.pushed.failure.is_some());
    let done = after(&begun(&tried, at(50)), Event::Acknowledged, at(60));
    assert_eq!(done.pushed.failure, None);
}

#[test]
fn an_unknown_outcome_lasts_until_the_last_of_all_requests_is_over() {
    let twice = begun(&doubting("Ann"), at(30));
    let record = after(&twice, Event::Failed(failure(ErrorKind::Interrupted, Blame::Instance)), at(40));
    let doubt = record.pushed.in_doubt.clone().unwrap();
    assert_eq!((doubt.until, doubt.earlier_until), (at(130), None));
}

#[test]
fn the_server_is_given_at_least_the_time_that_it_asked_for() {
    let asked = |wait| {
        let failure = Failure { retry_after: Some(wait), ..failure(ErrorKind::RateLimited, Blame::Contact) };
        after(&doubting("Ann"), Event::Failed(failure), T).status
    };
    assert_eq!(asked(ms(5)), due(10));
    assert_eq!(asked(ms(500)), due(500));
    assert_eq!(asked(Duration::MAX), Status::Due { at: Timestamp::MAX });
}

#[test]
fn any_jitter_and_any_backoff_are_taken() {
    let endless = Policy { backoff: RetryPolicy::default().backing_off(Duration::MAX, Duration::MAX), ..policy() };
    for (jitter, later) in [(f64::NAN, 10), (f64::INFINITY, 10), (9.0, 10), (1.0, 10), (-9.0, 0), (0.5, 5)] {
        let failed = Event::Failed(Failure { jitter, ..failure(ErrorKind::Server, Blame::Contact) });
        assert_eq!(after(&doubting("Ann"), failed.clone(), T).status, due(later), "{jitter}");
        drop(decide(&doubting("Ann"), failed, &endless, T));
    }
}

#[test]
fn drift_is_due_at_once_and_its_text_is_kept_when_it_is_overwritten() {
    let drifted = after(&showing("Ann"), saw("Anna"), at(5));
    assert_eq!(drifted.status, due(5));
    let done = decide(&begun(&drifted, at(6)), Event::Acknowledged, &policy(), at(7));
    let overwritten = done.overwritten().unwrap();
    assert_eq!((&*overwritten.text, &overwritten.by, overwritten.run), ("Anna", &wish("Ann"), 1));
    assert_eq!((overwritten.at, overwritten.chat.as_str()), (at(7), PHONE));
    assert!(done.record.shows(&wish("Ann").name));
}

#[test]
fn our_own_name_overwrites_nothing_and_neither_does_a_missing_one() {
    for seen in [None, Some("Ann"), Some("")] {
        let event = Event::Seen { name: seen.map(Into::into), at: Some(T.before(ms(1))) };
        let seen = after(&doubting("Ann"), event, T);
        assert_eq!(decide(&seen, Event::Acknowledged, &policy(), at(1)).effects, []);
    }
}

#[test]
fn a_request_in_doubt_that_took_effect_keeps_the_text_that_it_replaced() {
    let seen = after(&wanting("Ann"), saw("Mum"), T);
    let unknown = begun(&seen, at(1));
    let decision = decide(&unknown, saw("Ann"), &policy(), at(50));
    assert_eq!(decision.overwritten().map(|text| &*text.text), Some("Mum"));
    assert_eq!(decision.record.status, Status::InSync);
    assert_eq!(decide(&decision.record, Event::Acknowledged, &policy(), at(60)).effects, [], "only once");
    for since in [Some("Mother"), None] {
        let event = Event::Seen { name: since.map(Into::into), at: None };
        let decision = decide(&unknown, event, &policy(), at(50));
        assert_eq!(decision.overwritten().map(|text| &*text.text), Some("Mum"), "it may have been replaced in between");
    }
}

#[test]
fn a_report_older_than_what_is_known_is_dropped() {
    let record = showing("Ann");
    for (moment, is_news) in [(T.before(ms(1)), false), (T, false), (at(1), true)] {
        assert_eq!(decide(&record, saw_at("Mum", moment), &policy(), at(9)).is_changed, is_news, "{moment:?}");
    }
    let seen = after(&new(), saw("Mum"), T);
    assert!(!decide(&seen, saw_at("Dad", T), &policy(), at(9)).is_changed);
}

#[test]
fn what_was_read_just_now_is_newest_even_if_the_clock_was_set_back() {
    let drifted = after(&showing("Ann"), saw("Mum"), Timestamp(5));
    assert_eq!(drifted.shown(), Some("Mum"));
    assert_eq!(drifted.seen.unwrap().at, at(1));
    let first = after(&new(), saw("Mum"), Timestamp(0));
    assert_eq!(first.seen.unwrap().at, Timestamp(0));
}

#[test]
fn a_read_that_is_newer_than_everything_stays_so_when_it_is_decided_again_before_the_clock_has_caught_up() {
    let drifted = after(&showing("Ann"), saw("Mum"), Timestamp(5));
    let read_at = drifted.seen.unwrap().at;
    let again = after(&showing("Ann"), saw_at("Mum", read_at), Timestamp(6));
    assert_eq!((again.shown(), again.seen.as_ref().unwrap().at), (Some("Mum"), read_at));
}

#[test]
fn the_name_that_is_known_already_is_no_news() {
    let verified = after(&showing("Ann"), saw("Ann"), at(9));
    assert_eq!(verified.pushed.sent.as_ref().unwrap().verified_at, Some(at(9)), "but that it is shown at last");
    assert_eq!(verified.seen, showing("Ann").seen);
    assert!(!decide(&verified, saw("Ann"), &policy(), at(10)).is_changed);
}

#[test]
fn that_nobody_is_saved_there_is_news_once() {
    let nobody = Event::Seen { name: None, at: None };
    let record = after(&new(), nobody.clone(), at(9));
    assert_eq!(record.seen.as_ref().map(|seen| (&seen.name, seen.at)), Some((&None, at(9))));
    assert!(!decide(&record, nobody, &policy(), at(10)).is_changed);
}

#[test]
fn a_report_from_the_future_is_taken_as_of_now() {
    let record = after(&new(), saw_at("Mum", Timestamp::MAX), T);
    assert_eq!(record.seen.as_ref().unwrap().at, T);
    assert_eq!(after(&record, saw_at("Dad", at(1)), at(1)).shown(), Some("Dad"), "nothing is frozen");
    let early = after(&torn(), saw_at("Bob", at(500)), at(50));
    assert_eq!(early.status, due(100), "the request for Ann can still land");
}

#[test]
fn what_is_seen_once_all_requests_are_over_answers_for_them() {
    for (event, now, is_over) in [
        (saw("Bob"), at(99), false),
        (saw("Bob"), at(100), true),
        (saw_at("Bob", at(99)), at(150), false),
        (saw_at("Bob", at(100)), at(150), true),
    ] {
        let record = after(&torn(), event.clone(), now);
        assert_eq!(record.pushed.in_doubt.is_none(), is_over, "{event:?}");
        assert_eq!(record.status == Status::InSync, is_over, "{event:?}");
    }
}

#[test]
fn a_name_in_doubt_that_was_seen_since_is_in_sync() {
    let record = doubting("Ann");
    assert_eq!(after(&record, saw_at("Ann", T), at(5)).status, due(0), "perhaps from before");
    assert_eq!(after(&record, saw_at("Ann", at(1)), at(5)).status, Status::InSync);
    assert_eq!(after(&record, saw_at("Bob", at(1)), at(5)).status, due(0));
}

#[test]
fn p7_a_privacy_id_is_never_called_and_held_without_a_phone() {
    let due = after(&Record::new(LID.parse().unwrap()), Event::claimed("7", wish("Ann")), T);
    assert!(!calls(&due, at(1)));
    let held = after(&due, Event::PhoneUnknown, at(2));
    assert_eq!(held.status, Status::Held { reason: Hold::NoPhone, since: at(2) });
    let renamed = after(&held, Event::claimed("7", wish("Bob")), at(3));
    assert_eq!(renamed.status, held.status, "a new name brings no phone");
    let again = after(&held, Event::PhoneUnknown, at(9));
    assert_eq!(again.status, Status::Held { reason: Hold::NoPhone, since: at(9) });
    let withdrawn = after(&held, Event::Unclaimed { crm_id: "7".into() }, at(10));
    assert_eq!(withdrawn.status, Status::InSync);
    assert_eq!(after(&withdrawn, Event::PhoneUnknown, at(11)).status, Status::InSync);
    let phone = wanting("Ann");
    assert!(!decide(&phone, Event::PhoneUnknown, &policy(), T).is_changed, "a phone is one");
}

#[test]
fn a_clock_that_was_years_ahead_leaves_nothing_waiting_for_years() {
    let future = Timestamp(u64::MAX / 2);
    let ahead = |event| {
        let record = begun(&after(&new(), Event::claimed("7", wish("Ann")), future), future);
        after(&begun(&record, future), event, future)
    };
    let unknown = ahead(Event::Failed(failure(ErrorKind::Server, Blame::Contact)));
    let back = after(&unknown, Event::ClockSetBack, T);
    let doubt = back.pushed.in_doubt.clone().unwrap();
    let last = back.pushed.failure.clone().unwrap();
    assert_eq!((doubt.since, doubt.until), (T, at(100)));
    assert_eq!((last.at, last.retry_at, back.status), (T, Some(at(10)), due(10)));

    let sent = after(&ahead(Event::Acknowledged), Event::ClockSetBack, T);
    assert_eq!((sent.pushed.late_until, sent.pushed.sent.as_ref().unwrap().at), (Some(at(100)), T));

    let seen = after(&after(&new(), saw("Mum"), future), Event::ClockSetBack, T);
    assert_eq!(after(&seen, saw_at("Dad", at(1)), at(1)).shown(), Some("Dad"));

    let lid = after(&Record::new(LID.parse().unwrap()), Event::claimed("7", wish("Ann")), future);
    let held = after(&after(&lid, Event::PhoneUnknown, future), Event::ClockSetBack, T);
    assert_eq!(held.status, Status::Held { reason: Hold::NoPhone, since: T });
}

#[test]
fn a_clock_set_back_keeps_the_order_of_sent_and_seen() {
    let future = at(1_000_000);
    let drifted = after(&showing("Ann"), saw("Mum"), future);
    assert_eq!(after(&drifted, Event::ClockSetBack, T).shown(), Some("Mum"));
    let both = Record {
        pushed: Pushed {
            sent: Some(Sent { wish: wish("Ann"), run: 1, at: future, verified_at: None }),
            ..Pushed::default()
        },
        ..drifted
    };
    let newer = Record { seen: Some(Seen::new(Some("Mum".into()), future.after(ms(1)))), ..both.clone() };
    for (record, shown) in [(both, "Ann"), (newer, "Mum")] {
        for now in [Timestamp(0), T, future] {
            let back = after(&record, Event::ClockSetBack, now);
            assert_eq!(back.shown(), Some(shown));
            assert!(back.pushed.sent.unwrap().at <= now);
            assert!(back.seen.unwrap().at <= now.after(ms(1)));
        }
    }
}

#[test]
fn a_clock_set_back_by_a_little_forgets_no_request() {
    let record = repeated();
    let back = after(&record, Event::ClockSetBack, at(39));
    assert_eq!(back.pushed.late_until, Some(at(100)));
    // What was reported with a clock that runs ahead makes `sent` look newer than its acknowledgement.
    let seen = Record { seen: Some(Seen::new(Some("Mum".into()), at(5_000))), ..doubting("Ann") };
    let sent = after(&begun(&seen, at(30)), Event::Acknowledged, at(40));
    let back = after(&sent, Event::ClockSetBack, at(39));
    assert_eq!(back.pushed.late_until, Some(at(100)));
}

#[test]
fn a_mark_from_the_future_is_brought_back_before_anything_is_built_on_it() {
    let future = Timestamp(u64::MAX / 2);
    let ahead = begun(&after(&new(), Event::claimed("7", wish("Ann")), future), future);
    let due = after(&ahead, Event::claimed("7", wish("Ann")), T);
    let done = after(&begun(&due, T), Event::Acknowledged, T);
    assert_eq!(done.pushed.late_until, Some(at(100)));
    let late = Record { pushed: Pushed { late_until: Some(at(160)), ..done.pushed.clone() }, ..done.clone() };
    let drifted = after(&late, saw("Mum"), at(1));
    let doubt = begun(&drifted, at(2)).pushed.in_doubt.unwrap();
    assert_eq!(doubt.earlier_until, Some(at(160)), "a longer deadline of another process");
}
