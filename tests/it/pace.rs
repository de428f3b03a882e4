//! How fast an instance is called: what its answers teach, and how many calls it makes a day; on every ledger.

use tokio::time::Instant;
use wawp_contacts::{
    AddressBook as _, ContactSync, ErrorKind, Pace,
    pace::{Daily, Day},
    time::Timestamp,
};

use crate::{
    book::Fate,
    world::{World, all, chat, people, seconds, some},
};

const DAY: u64 = 86_400;

fn capped(world: &World, calls: u32) -> ContactSync {
    world.sync().daily(Daily::at_most(calls))
}

/// The most updates that the book took in within 24 hours.
fn most_in_a_day(world: &World) -> usize {
    let at = world.book.called_at();
    let within = |end: &Timestamp| at.iter().filter(|at| **at <= *end && end.since(**at) < seconds(DAY)).count();
    at.iter().map(within).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_finds_it_too_fast_is_called_half_as_often_until_it_has_worked_for_a_while() {
    for world in World::each().await {
        world.book.keep(Pace::per_second(1));
        world.run(people(2, "Bob")).await;
        world.book.next([Fate::Fails(ErrorKind::RateLimited)]);
        let report = world.run(people(150, "Rob")).await;
        assert_eq!((report.summary.gated, report.summary.calls), (0, 151), "{report}");
        let at = world.book.called_at();
        let gaps: Vec<u128> = at.windows(2).map(|pair| pair[1].since(pair[0]).as_millis()).collect();
        assert!(gaps[4..9].iter().all(|gap| (1_700..=2_100).contains(gap)), "{:?}", &gaps[..12]);
        assert!(gaps[120..].iter().all(|gap| *gap == 1_000), "{:?}", &gaps[120..]);
        assert!(gaps[1..].iter().all(|gap| *gap >= 1_000), "never above the cap");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_tells_the_time_at_the_pace_of_now() {
    let world = World::new();
    world.book.keep(Pace::per_second(1));
    world.book.next([Fate::Fails(ErrorKind::RateLimited)]);
    world.run(people(1, "Bob")).await;
    assert!(world.book.pace().interval() > seconds(1));
    let slow = world.plan(people(100, "Rob")).await.summary.seconds;
    world.book.restart();
    assert_eq!(world.book.pace(), Pace::per_second(1));
    let fast = world.plan(people(100, "Rob")).await.summary.seconds;
    assert!(slow > fast * 1.5, "{slow} s and {fast} s");
}

#[tokio::test(start_paused = true)]
async fn p9_a_pace_that_drops_to_its_floor_starves_nobody() {
    for world in World::each().await {
        world.book.keep(Pace::per_second(1));
        world.book.next([Fate::Fails(ErrorKind::RateLimited); 9]);
        let report = world.sync().max_wait(seconds(3_600)).run(all(people(5, "Bob"))).await.unwrap();
        assert_eq!((report.summary.created, report.summary.gated), (5, 0), "{report}");
        assert!(world.book.pace().interval() > seconds(10), "{:?}", world.book.pace());
    }
}

#[tokio::test(start_paused = true)]
async fn p5_a_retry_after_of_a_day_ends_the_run_and_holds_for_the_next_ones() {
    for world in World::each().await {
        world.book.next([Fate::Asks(ErrorKind::RateLimited, DAY)]);
        let (began, start) = (Instant::now(), world.clock.now());
        let report = world.run(people(3, "Bob")).await;
        assert!(began.elapsed() < seconds(1), "nobody sleeps for it");
        assert_eq!((report.gate, report.summary.gated), (Some(ErrorKind::RateLimited), 3));
        let end = report.resumes_at.unwrap();
        assert!(end >= start.after(seconds(DAY)) && end <= start.after(seconds(DAY + 1)), "{end}");
        assert!(report.to_string().contains(&format!("left alone until {end}: too many calls")), "{report}");
        tokio::time::sleep(seconds(DAY - 60)).await;
        let began = Instant::now();
        let report = world.sync().max_wait(seconds(1)).run(all(people(3, "Bob"))).await.unwrap();
        assert!(began.elapsed() <= seconds(1));
        assert_eq!((report.summary.calls, world.book.calls().len()), (0, 1));
        tokio::time::sleep(seconds(61)).await;
        assert_eq!(world.run(people(3, "Bob")).await.summary.created, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn p5_no_day_holds_more_calls_than_the_cap_over_all_runs_and_workers() {
    for world in World::each().await {
        for hour in 0..80 {
            let rows = people(30, if hour % 2 == 0 { "Bob" } else { "Rob" });
            let before = Instant::now();
            let report = capped(&world, 10).run(all(rows)).await.unwrap();
            assert!(before.elapsed() < seconds(60), "nobody sleeps until tomorrow");
            assert_eq!(report.gate, None);
            assert_eq!(report.resumes_at.is_some(), report.summary.gated > 0, "{report}");
            tokio::time::sleep(seconds(3_600)).await;
        }
        assert_eq!(most_in_a_day(&world), 10);
        assert_eq!(world.book.calls().len(), 40, "and no day goes to waste");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_cap_is_spent_ends_says_until_when_and_leaves_the_rest_due() {
    for world in World::each().await {
        let start = world.clock.now();
        let report = capped(&world, 4).run(all(people(6, "Bob"))).await.unwrap();
        assert_eq!((report.summary.calls, report.summary.created, report.summary.gated), (4, 4, 2));
        let next = report.resumes_at.unwrap();
        assert!(
            report.to_string().contains(&format!("the daily cap of calls is spent; the next can be made at {next}"))
        );
        assert!(next.since(start) >= seconds(DAY) && next.since(start) <= seconds(DAY + 3_600), "{next}");
        let due = world.sync().explain(&chat(5)).await.unwrap().unwrap();
        assert!(due.why.contains(&format!("the daily cap of calls is spent, and the next can be made at {next}")));
        let reads = world.book.reads().len();
        let again = capped(&world, 4).run(all(people(6, "Bob"))).await.unwrap();
        assert_eq!((again.summary.calls, again.resumes_at, world.book.reads().len()), (0, Some(next), reads));
        tokio::time::sleep(next.since(world.clock.now())).await;
        let last = capped(&world, 4).run(all(people(6, "Bob"))).await.unwrap();
        assert_eq!((last.summary.created, last.summary.gated, last.resumes_at), (2, 0, None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_for_the_cap_if_that_is_within_its_patience() {
    let world = World::new();
    let began = Instant::now();
    let report = capped(&world, 4).max_wait(seconds(2 * DAY)).run(all(people(6, "Bob"))).await.unwrap();
    assert_eq!((report.summary.created, report.resumes_at), (6, None));
    assert!(began.elapsed() >= seconds(DAY));
    assert_eq!(most_in_a_day(&world), 4);
}

#[tokio::test(start_paused = true)]
async fn a_new_number_warms_up_and_one_that_was_called_before_does_not() {
    for world in World::each().await {
        let daily = Daily::at_most(10).warm_up(2, 2.0);
        let mut calls = Vec::new();
        for name in ["A", "B", "C", "D"] {
            calls.push(world.sync().daily(daily).run(all(people(20, name))).await.unwrap().summary.calls);
            tokio::time::sleep(seconds(DAY + 3_600)).await;
        }
        assert_eq!(calls, [2, 4, 8, 10]);
    }
    for world in World::each().await {
        world.run(people(1, "Bob")).await;
        tokio::time::sleep(seconds(30 * DAY)).await;
        let daily = Daily::at_most(10).warm_up(2, 2.0);
        assert_eq!(world.sync().daily(daily).run(all(people(20, "Rob"))).await.unwrap().summary.calls, 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_forgets_no_call_and_counts_few_that_it_did_not_make() {
    for world in World::each().await {
        world.book.keep(Pace::per_second(100));
        world.book.next([Fate::Fine, Fate::Fine, Fate::Hangs]);
        let sync = capped(&world, 10);
        tokio::select! {
            _ = sync.run(all(people(9, "Bob"))) => unreachable!("the third call hangs"),
            () = world.book.hung.notified() => {}
        }
        let spent = world.state().await.budget.spent(world.clock.now());
        assert!((3..=4).contains(&spent), "{spent} are counted of 3 that were made");
        world.book.restart();
        tokio::time::sleep(seconds(120)).await;
        capped(&world, 10).run(all(people(20, "Bob"))).await.unwrap();
        assert!(world.book.calls().len() <= 10);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_were_counted_and_not_made_are_free_again() {
    for world in World::each().await {
        world.book.next([Fate::Fails(ErrorKind::Unauthorized)]);
        capped(&world, 40).in_flight(4).run(all(people(20, "Bob"))).await.unwrap();
        let made = world.book.calls().len() as u64;
        assert_eq!(world.state().await.budget.spent(world.clock.now()), made);
        capped(&world, 40).run(all(people(20, "Bob"))).await.unwrap();
        let spent = world.state().await.budget.spent(world.clock.now());
        assert_eq!(spent, world.book.calls().len() as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pace_of_one_call_in_two_hours_keeps_its_cap_too() {
    let world = World::new();
    world.book.keep(Pace::every(seconds(7_200)));
    let report = capped(&world, 3).max_wait(seconds(3 * DAY)).run(all(people(7, "Bob"))).await.unwrap();
    assert_eq!((report.summary.created, report.summary.calls), (7, 7));
    assert!(most_in_a_day(&world) <= 3);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_frees_no_call() {
    for world in World::each().await {
        capped(&world, 4).run(all(people(6, "Bob"))).await.unwrap();
        for hours in [1, 30, 300] {
            world.clock.shift(-hours * 3_600_000);
            let report = capped(&world, 4).run(all(people(6, "Bob"))).await.unwrap();
            assert_eq!((report.summary.calls, report.resumes_at.is_some()), (0, true));
        }
        tokio::time::sleep(seconds(DAY + 3_600)).await;
        assert_eq!(capped(&world, 4).run(all(people(6, "Bob"))).await.unwrap().summary.calls, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn reads_count_for_the_pace_and_not_for_the_cap() {
    let world = World::new();
    world.book.keep(Pace::per_second(1));
    let report = capped(&world, 50).run(all(people(40, "Bob"))).await.unwrap();
    assert_eq!((report.summary.created, report.resumes_at), (40, None));
    assert!(!world.book.reads().is_empty());
    assert_eq!(world.state().await.budget.spent(world.clock.now()), 40);
}

#[tokio::test(start_paused = true)]
async fn a_plan_tells_the_days_that_its_calls_take() {
    for world in World::each().await {
        world.book.keep(Pace::per_second(1));
        let plan = capped(&world, 250).plan(all(people(310, "Bob"))).await.unwrap();
        assert_eq!((plan.summary.calls, plan.schedule.calls(), plan.resumes_at), (310, 310, None));
        assert_eq!(plan.schedule.to_string(), "310 calls: 250 today, 60 tomorrow from 23:00 UTC");
        assert!(plan.to_string().contains("250 today"), "{plan}");
        let json = serde_json::to_value(&plan).unwrap();
        assert_eq!(json["schedule"]["days"][1]["calls"], 60);
        let back: wawp_contacts::sync::Plan = serde_json::from_value(json).unwrap();
        assert_eq!(back.schedule, plan.schedule);

        capped(&world, 250).run(all(people(310, "Bob"))).await.unwrap();
        let rest = capped(&world, 250).plan(some([])).await.unwrap();
        let [Day { from, calls, .. }] = rest.schedule.days[..] else { panic!("{:?}", rest.schedule) };
        assert_eq!((rest.summary.calls, calls, Some(from)), (60, 60, rest.resumes_at));
        assert!(rest.to_string().contains("60 calls: 60 tomorrow from 23:00 UTC"), "{rest}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_without_a_cap_has_one_day_and_says_nothing_of_it() {
    let world = World::new();
    let plan = world.plan(people(3, "Bob")).await;
    assert_eq!((plan.schedule.calls(), plan.schedule.days.len(), plan.resumes_at), (3, 1, None));
    assert!(!plan.to_string().contains("today"), "{plan}");
}
