//! Waits, clocks and stops.

use std::{iter, time::Duration};

use futures_util::stream;
use wawp_contacts::{
    AddressBook, ContactName, Error, ErrorKind, Pace, RetryPolicy,
    crm::{self, Feed, Refusal, RefusalReason, RowError},
    ledger::{Ledger, Wait, Write},
    record::{Blame, Event, Failure, Policy, Record, Status, Wish, decide},
    sync::LookFirst,
};

use crate::{
    book::{DEADLINE, Fate},
    world::{START, World, all, chat, counts, people, row, seconds, some},
};

const TEN_YEARS: i64 = 10 * 365 * 86_400_000;

#[tokio::test(start_paused = true)]
async fn p5_a_503_with_retry_after_is_a_wait_of_the_gate() {
    for world in World::each().await {
        world.book.next([Fate::Asks(ErrorKind::Server, 4)]);
        let report = world.run(people(3, "Bob")).await;
        assert_eq!(counts(&report), [3, 0, 0, 0, 0, 0, 4], "{report}");
        let at = world.book.called_at();
        assert!(at[1].since(at[0]) >= seconds(4) && at[1].since(at[0]) < seconds(6), "{at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn p5_a_503_with_a_long_retry_after_ends_the_run_and_is_kept_by_the_next() {
    for world in World::each().await {
        world.book.next([Fate::Asks(ErrorKind::Server, 3_600)]);
        let report = world.run(people(3, "Bob")).await;
        assert_eq!((counts(&report), report.gate), ([0, 0, 0, 0, 0, 3, 1], Some(ErrorKind::Server)), "{report}");
        let requests = world.book.requests();
        let report = world.run(people(3, "Bob")).await;
        assert_eq!((counts(&report), world.book.requests()), ([0, 0, 0, 0, 0, 3, 0], requests));
        tokio::time::sleep(seconds(3_600)).await;
        assert_eq!(counts(&world.run(people(3, "Bob")).await), [3, 0, 0, 0, 0, 0, 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn p5_a_pause_that_the_client_knows_of_is_a_wait_of_the_gate() {
    for look_first in [LookFirst::Never, LookFirst::IfPossible] {
        let world = World::new();
        world.book.pause(ErrorKind::RateLimited, seconds(600));
        let report = world.sync().look_first(look_first).run(all(people(3, "Bob"))).await.unwrap();
        assert_eq!((counts(&report), report.gate), ([0, 0, 0, 0, 0, 3, 0], Some(ErrorKind::RateLimited)), "{report}");
        let wait = world.state().await.wait.unwrap();
        assert_eq!((wait.until.since(START), world.book.requests()), (seconds(600), 0));
        assert_eq!(world.record(0).await.pushed.in_doubt, None, "nothing was sent");
    }
}

#[tokio::test(start_paused = true)]
async fn p5_of_two_waits_the_later_end_wins() {
    for waits in [[60, 1], [1, 60]] {
        for world in World::each().await {
            world.book.next(waits.map(|wait| Fate::Asks(ErrorKind::RateLimited, wait)));
            let report = world.sync().in_flight(2).run(all(people(4, "Bob"))).await.unwrap();
            assert_eq!(counts(&report), [4, 0, 0, 0, 0, 0, 6], "{report}");
            let at = world.book.called_at();
            assert!(at[1].since(at[0]) < seconds(1) && at[2].since(at[0]) >= seconds(60), "{at:?}");
            let wait = world.state().await.wait.unwrap();
            assert!(wait.until.since(at[0]) >= seconds(60), "{wait:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p5_a_wait_that_somebody_else_wrote_down_meanwhile_outlasts_a_shorter_one() {
    for world in World::each().await {
        let began = world.clock.now();
        let (ledger, instance, clock) = (world.base(), world.instance.clone(), world.clock.clone());
        world.book.meanwhile(async move {
            let mut state = ledger.state(&instance).await.unwrap();
            state.wait = Some(Wait::new(ErrorKind::QuotaReached, clock.now(), clock.now().after(seconds(600))));
            assert!(ledger.save_state(&instance, state).await.unwrap());
            tokio::time::sleep(seconds(1)).await;
        });
        world.book.next([Fate::Asks(ErrorKind::RateLimited, 5)]);
        world.run(people(1, "Bob")).await;
        let wait = world.state().await.wait.unwrap();
        assert_eq!((wait.kind, wait.until.since(began)), (ErrorKind::QuotaReached, seconds(600)));
    }
}

#[tokio::test(start_paused = true)]
async fn p5_a_plan_that_is_told_to_wait_writes_down_nothing_but_that() {
    for world in World::each().await {
        world.book.fail_reads([Error::new(ErrorKind::RateLimited).with_retry_after(seconds(600))]);
        let plan = world.plan(people(3, "Bob")).await;
        assert_eq!((plan.gate, plan.summary.gated), (Some(ErrorKind::RateLimited), 3), "{plan}");
        assert_eq!(world.ledger.counts(&world.instance).await.unwrap().records, 0);
        let requests = world.book.requests();
        assert_eq!(counts(&world.run(people(3, "Bob")).await), [0, 0, 0, 0, 0, 3, 0]);
        assert_eq!(world.book.requests(), requests);
    }
}

#[tokio::test(start_paused = true)]
async fn a_doubt_of_a_clock_that_was_years_ahead_lasts_no_longer_than_a_request() {
    for world in World::each().await {
        world.clock.shift(TEN_YEARS);
        world.book.next([Fate::Hangs]);
        let sync = world.sync();
        tokio::select! {
            _ = sync.run(all(people(1, "Bob"))) => unreachable!("the call hangs"),
            () = world.book.hung.notified() => {}
        }
        world.clock.shift(-TEN_YEARS);
        let began = world.clock.now();
        assert_eq!(counts(&world.run(people(1, "Robert")).await), [1, 0, 0, 0, 0, 0, 1]);
        let waited = world.clock.now().since(began);
        assert!((DEADLINE..DEADLINE * 2).contains(&waited), "waited {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_or_a_backoff_of_a_clock_that_was_years_ahead_lasts_for_its_length() {
    for world in World::each().await {
        world.clock.shift(TEN_YEARS);
        world.book.next([Fate::Fails(ErrorKind::Server); 4]);
        world.run(people(1, "Bob")).await;
        let now = world.clock.now();
        world.remember(Wait::new(ErrorKind::RateLimited, now, now.after(seconds(5)))).await;
        world.clock.shift(-TEN_YEARS);
        let began = world.clock.now();
        assert_eq!(counts(&world.run(people(1, "Bob")).await), [1, 0, 0, 0, 0, 0, 1]);
        let waited = world.clock.now().since(began);
        assert!((seconds(5)..seconds(15)).contains(&waited), "waited {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_during_a_run_loses_nobody() {
    for world in World::each().await {
        let clock = world.clock.clone();
        world.book.edit(&chat(1), "Somebody");
        world.book.meanwhile(async move { clock.shift(-TEN_YEARS) });
        world.book.next([Fate::Fails(ErrorKind::Server), Fate::AppliedBut(ErrorKind::Timeout)]);
        world.run(people(5, "Bob")).await;
        let report = world.run(people(5, "Bob")).await;
        assert_eq!(report.summary.gated, 0, "{report}");
        assert!(world.shows(5, "Bob") && world.book.calls().len() <= 7);
        assert_eq!(world.texts(1).await, ["Somebody"]);
        let requests = world.book.requests();
        let report = world.run(people(5, "Bob")).await;
        assert_eq!((counts(&report), world.book.requests()), ([0, 0, 5, 0, 0, 0, 0], requests));
    }
}

#[tokio::test(start_paused = true)]
async fn p5_a_wait_lasts_for_its_length_if_the_clock_is_set_back_before_it_begins_or_while_it_lasts() {
    for when in [1, 3] {
        for world in World::each().await {
            let clock = world.clock.clone();
            world.book.next([Fate::Asks(ErrorKind::RateLimited, 10)]);
            world.book.meanwhile(std::future::ready(()));
            world.book.meanwhile(tokio::time::sleep(seconds(2)));
            tokio::spawn(async move {
                tokio::time::sleep(seconds(when)).await;
                clock.shift(-3_600_000);
            });
            let began = tokio::time::Instant::now();
            let report = world.sync().in_flight(2).run(all(people(4, "Bob"))).await.unwrap();
            assert_eq!(report.summary.created, 4, "{report}");
            let waited = began.elapsed();
            assert!((seconds(10)..seconds(30)).contains(&waited), "set back after {when} s: waited {waited:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p5_a_worker_that_starts_again_and_again_keeps_the_pace() {
    for world in World::each().await {
        world.book.keep(Pace::every(seconds(10)).burst(1));
        for n in 0..5 {
            world.book.next([Fate::Hangs]);
            let sync = world.sync().look_first(LookFirst::Never);
            tokio::select! {
                _ = sync.run(all([row(0, &format!("Bob {n}"))])) => unreachable!("the call hangs"),
                () = world.book.hung.notified() => world.book.restart(),
            }
        }
        let at = world.book.called_at();
        assert!(at.windows(2).all(|pair| pair[1].since(pair[0]) >= seconds(10)), "{at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn any_duration_is_taken() {
    for world in World::each().await {
        world.book.next([Fate::Fails(ErrorKind::Server), Fate::Asks(ErrorKind::RateLimited, u64::MAX)]);
        let longest = RetryPolicy::default().max_attempts(u32::MAX).backing_off(Duration::MAX, Duration::MAX);
        let sync = world.sync().max_wait(Duration::MAX).grace(Duration::MAX).backoff(longest).in_flight(usize::MAX);
        let stop = tokio::time::sleep(seconds(3_600));
        let report = sync.run_until(all(people(2, "Bob")), stop).await.unwrap();
        assert_eq!((counts(&report), report.stopped), ([0, 0, 0, 0, 0, 2, 2], true), "{report}");
        let sync = world.sync().max_wait(Duration::MAX).grace(Duration::MAX);
        let plan = tokio::time::timeout(seconds(3_600), sync.plan(all(people(2, "Bob")))).await;
        assert!(plan.is_err(), "it waits for as long as it was told to, and does not panic");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_is_waited_for_within_an_endless_grace() {
    let world = World::new();
    world.book.take(seconds(25));
    let sync = world.sync().grace(Duration::MAX);
    let report = sync.run_until(all(people(3, "Bob")), tokio::time::sleep(seconds(5))).await.unwrap();
    assert_eq!((counts(&report), report.stopped), ([1, 0, 0, 0, 0, 2, 1], true), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_told_to_stop_does_not_wait_for_a_read() {
    for n in [3, 30] {
        let world = World::new();
        world.book.hang_reads();
        let sync = world.sync();
        let run = sync.run_until(all(people(n, "Bob")), tokio::time::sleep(seconds(1)));
        let report = tokio::time::timeout(seconds(2), run).await.expect("the run hangs").unwrap();
        assert_eq!((counts(&report), report.stopped, world.find(&chat(0)).await), ([0; 7], true, None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_told_to_stop_does_not_wait_for_the_end_of_rows_that_are_all_refused() {
    let world = World::new();
    let refused = || Err(RowError::Refused(Refusal::new(RefusalReason::NoPhone, "no phone")));
    let endless = crm::snapshot(iter::repeat_with(refused));
    let report = world.sync().run_until(endless, tokio::task::yield_now()).await.unwrap();
    assert!(report.stopped && report.summary.refused > 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_told_to_stop_does_not_wait_for_the_end_of_rows_that_are_always_ready() {
    let refused = || Err(RowError::Refused(Refusal::new(RefusalReason::NoPhone, "no phone")));
    for are_refused in [true, false] {
        let world = World::new();
        let endless = (0..).map(|n| if are_refused { refused() } else { Ok(row(n % 10_000, "Bob")) });
        let endless = Feed::snapshot(stream::iter(endless));
        let report = world.sync().run_until(endless, tokio::task::yield_now()).await.unwrap();
        assert!(report.stopped, "{report}");
        assert_eq!((world.book.requests(), world.find(&chat(0)).await), (0, None));
    }
}

#[tokio::test(start_paused = true)]
async fn p3_a_run_for_which_everything_is_due_too_late_reads_nothing() {
    for world in World::each().await {
        world.book.next([Fate::Fails(ErrorKind::Server); 4]);
        let slowly = RetryPolicy::default().backing_off(seconds(1_000_000), seconds(1_000_000));
        world.sync().backoff(slowly).run(all(people(2, "Bob"))).await.unwrap();
        let requests = world.book.requests();
        let report = world.run(people(2, "Bob")).await;
        assert_eq!((counts(&report), world.book.requests()), ([0, 0, 0, 0, 0, 2, 0], requests));
    }
}

#[tokio::test(start_paused = true)]
async fn a_contact_that_kept_failing_sleeps_for_its_backoff_however_long_the_run_may_wait() {
    for world in World::each().await {
        world.book.next_of(&chat(0), [Fate::Fails(ErrorKind::Server); 100]);
        let backoff = RetryPolicy::default().max_attempts(6).backing_off(seconds(1), seconds(300));
        let report = world.sync().backoff(backoff).max_wait(seconds(86_400)).run(all(people(2, "Bob"))).await.unwrap();
        assert_eq!(counts(&report), [1, 0, 0, 0, 0, 1, 7]);
        let (now, status) = (world.clock.now(), world.record(0).await.status);
        assert!(matches!(status, Status::Due { at } if at <= now.after(seconds(300))), "{status:?}");
        assert!(now.since(START) < seconds(3_600), "the run waits for nobody that it has given up");
    }
}

#[tokio::test(start_paused = true)]
async fn p9_a_call_that_waited_too_long_for_its_turn_is_taken_back_and_marked_again() {
    for world in World::each().await {
        world.book.keep(Pace::every(seconds(10)));
        for _ in 0..30 {
            let book = world.book.clone();
            tokio::spawn(async move { book.permit().await.map(drop) });
        }
        tokio::task::yield_now().await;
        let report = world.sync().look_first(LookFirst::Never).run(all(people(2, "Bob"))).await.unwrap();
        assert_eq!(counts(&report), [2, 0, 0, 0, 0, 0, 2], "{report}");
        assert!(world.book.called_at()[0].since(START) >= seconds(300));
        let withdrawn = |record: &Record| record.pushed.in_doubt.is_none() && record.pushed.sent.is_none();
        assert!(world.shaky.commits().iter().flatten().any(withdrawn), "the mark was not taken back");
    }
}

#[tokio::test(start_paused = true)]
async fn p9_an_unknown_outcome_lasts_for_the_whole_deadline_whoever_answered() {
    for kind in [ErrorKind::Server, ErrorKind::Timeout, ErrorKind::Interrupted, ErrorKind::Decode, ErrorKind::Unclear] {
        let world = World::new();
        world.book.next([Fate::Fails(kind)]);
        world.sync().max_wait(Duration::ZERO).run(all(vec![row(0, "Bob")])).await.unwrap();
        let doubt = world.record(0).await.pushed.in_doubt.unwrap();
        assert!(doubt.until >= world.book.called_at()[0].after(DEADLINE), "{kind:?}: {doubt:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_moment_from_a_clock_that_ran_ahead_is_brought_back_also_behind_many_that_are_rightly_far_off() {
    for world in World::each().await {
        let now = world.clock.now();
        let claimed = |n: usize, at| {
            let wish = Wish::plain(ContactName::new("Bob", "").unwrap());
            let event = Event::claimed(&format!("crm-{n}"), wish);
            decide(&Record::new(chat(n)), event, &Policy::default(), at).record
        };
        let asked = Error::new(ErrorKind::Server).with_retry_after(seconds(86_400));
        let waits = |n| {
            let begun = decide(&claimed(n, now), Event::Begin { run: 1 }, &Policy::default(), now).record;
            let failed = Event::Failed(Failure::new(&asked, Blame::Contact, 0.5));
            decide(&begun, failed, &Policy::default(), now).record
        };
        let ahead = (1_300..2_000).map(|n| claimed(n, now.after(seconds(86_400))));
        let writes = (0..1_300).map(waits).chain(ahead).map(Write::from).collect();
        assert!(world.ledger.commit(&world.instance, None, writes).await.unwrap().is_empty());
        let report = world.sync().look_first(LookFirst::Never).run(some([])).await.unwrap();
        assert_eq!(report.summary.calls, 700, "{report}");
    }
}
