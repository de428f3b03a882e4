//! Processes that die at any moment.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use wawp_contacts::{
    pace::Daily,
    record::{Park, Status},
    sync::Retry,
};

use crate::{
    book::Fate,
    world::{World, all, chat, people, some},
};

const STEP: Duration = Duration::from_millis(7);

/// Runs until the process dies, this long after it began; says whether it did.
async fn crash(world: &World, name: &str, after: Duration, in_flight: usize) -> bool {
    let sync = world.sync().in_flight(in_flight);
    let is_dead = tokio::time::timeout(after, sync.run(all(people(4, name)))).await.is_err();
    // The tasks of a process end with it.
    tokio::task::yield_now().await;
    is_dead
}

#[tokio::test(start_paused = true)]
async fn p1_p3_a_process_that_dies_at_any_moment_loses_nobody_and_repeats_only_what_was_under_way() {
    for in_flight in [1, 2] {
        let mut crashes = 0;
        for after in (0..).map(|n| STEP * n) {
            let world = World::new();
            world.book.take(Duration::from_millis(10));
            world.shaky.take(Duration::from_millis(10));
            world.book.edit(&chat(1), "Mum");
            if !crash(&world, "Bob", after, in_flight).await {
                break;
            }
            crashes += 1;
            world.run(people(4, "Bob")).await;
            assert!(world.shows(4, "Bob"), "died after {after:?}");
            let calls = world.book.calls().len();
            assert!(calls <= 4 + 2 * in_flight, "{calls} calls, died after {after:?}");
            assert_eq!(world.texts(1).await, ["Mum"], "P8, died after {after:?}");
            assert_eq!(world.run(people(4, "Bob")).await.summary.calls, 0);
        }
        assert!(crashes > 5, "died {crashes} times");
    }
}

#[tokio::test(start_paused = true)]
async fn p2_a_process_that_dies_at_any_moment_never_sends_an_older_wish_after_a_newer_one() {
    for after in (0..20).map(|n| STEP * n) {
        let world = World::new();
        world.book.take(Duration::from_millis(10));
        world.shaky.take(Duration::from_millis(10));
        world.book.next([Fate::AppliedLate; 8]);
        crash(&world, "1", after, 2).await;
        crash(&world, "2", after * 2, 2).await;
        world.book.heal();
        world.run(people(4, "3")).await;
        tokio::time::sleep(crate::book::DEADLINE).await;
        assert!(world.shows(4, "3"), "died after {after:?}: {:?}", world.book.effects());
        let mut newest = BTreeMap::new();
        for (chat, name) in world.book.effects() {
            let last = newest.insert(chat, name.clone());
            assert!(last.is_none_or(|last| last <= name), "died after {after:?}: {:?}", world.book.effects());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_while_it_stores_its_wishes_leaves_all_of_them_or_none() {
    for world in World::each().await {
        world.shaky.before_apply(std::future::pending());
        assert!(crash(&world, "Bob", Duration::from_secs(1), 1).await);
        assert_eq!((world.find(&chat(0)).await, world.book.calls()), (None, vec![]));
        world.run(people(4, "Bob")).await;
        assert!(world.shows(4, "Bob"));
    }
}

#[tokio::test(start_paused = true)]
async fn p10_a_run_that_is_dropped_while_it_saves_gives_its_lease_back_at_once() {
    let world = World::new();
    world.shaky.take(Duration::from_millis(10));
    let sync = world.sync();
    let run = tokio::time::timeout(Duration::from_millis(5), sync.run(all(people(4, "Bob")))).await;
    assert!(run.is_err(), "it is saving");
    let report = world.run(people(4, "Bob")).await;
    assert_eq!((report.summary.created, report.notes.pushed_by), (4, None), "nobody else pushes these wishes");
}

#[tokio::test(start_paused = true)]
async fn a_contact_over_which_the_process_dies_three_times_is_parked_and_the_others_flow() {
    for world in World::each().await {
        for _ in 0..3 {
            world.die_during_a_call().await;
        }
        let report = world.run(people(3, "Bob")).await;
        assert_eq!((report.summary.created, report.summary.parked), (2, 1), "{report}");
        assert_eq!(world.record(0).await.status, Status::Parked { reason: Park::Deadly });
        assert_eq!(world.run(people(3, "Bob")).await.summary.calls, 0);
        assert_eq!(world.sync().retry(Retry::All).await.unwrap(), 1);
        assert_eq!(world.run(people(3, "Bob")).await.summary.calls, 1);
        assert!(world.shows(3, "Bob"));
    }
}

/// The ledger fails once while names are pushed, and the run with it.
#[tokio::test(start_paused = true)]
async fn a_run_whose_ledger_fails_tells_what_it_did_and_frees_the_calls_that_it_did_not_make() {
    for world in World::each().await {
        for _ in 0..20 {
            world.book.meanwhile(async {});
        }
        let shaky = world.shaky.clone();
        world.book.meanwhile(async move { shaky.fail_commits(1) });
        let sync = world.sync().daily(Daily::at_most(100));
        sync.run(all(people(60, "Bob"))).await.unwrap_err();
        let calls = world.book.calls().len();
        assert!((20..60).contains(&calls), "{calls} calls");
        let told = sync.report_of(1).await.unwrap().unwrap().changes.len();
        let written = usize::try_from(world.sync().standing().await.unwrap().in_sync).unwrap();
        assert!(told > 0 && told == written, "{told} of {written} names are told");
        let spent = world.state().await.budget.spent(world.clock.now());
        assert!(
            (calls as u64..=calls as u64 + 1).contains(&spent),
            "{spent} are counted of {calls}: one may not have left"
        );
    }
}

/// Reads of the whole book are runs too, and many.
#[tokio::test(start_paused = true)]
async fn p6_a_contact_over_which_runs_die_is_noticed_however_often_the_book_is_read_between_them() {
    for world in World::each().await {
        for _ in 0..3 {
            world.die_during_a_call().await;
            tokio::time::sleep(Duration::from_secs(120)).await;
            for _ in 0..110 {
                world.sync().refresh().await.unwrap();
            }
        }
        world.run(people(1, "Bob")).await;
        assert_eq!(world.record(0).await.status, Status::Parked { reason: Park::Deadly });
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_told_to_stop_is_taken_for_no_dead_one_by_whoever_pushes_next() {
    for world in World::each().await {
        world.book.next([Fate::Hangs]);
        let (hung, other) = (Arc::clone(&world.book.hung), world.sync());
        world.shaky.before_end(async move {
            other.run(some([])).await.unwrap();
        });
        let stopping = world.sync().grace(Duration::ZERO);
        stopping.run_until(all(people(1, "Bob")), async move { hung.notified().await }).await.unwrap();
        world.run(people(1, "Bob")).await;
        assert!(world.shows(1, "Bob"));
        let commits = world.shaky.commits();
        let mut failures = commits.iter().flatten().filter_map(|record| record.pushed.failure.as_ref());
        assert!(failures.all(|failure| failure.deaths == 0), "{commits:?}");
    }
}
