//! Corners where a promise once broke, or easily could.

use std::{
    future::{Future, pending, poll_fn, ready},
    pin::pin,
};

use futures_util::StreamExt as _;
use wawp_contacts::ledger::LedgerErrorKind;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_stale_row_and_a_rival_of_its_contact_are_counted_without_a_panic() {
    for world in World::each().await {
        world.run(vec![row(0, "Bob").at_version(2)]).await;
        let stale = row(0, "Bo").at_version(1);
        for contacts in [vec![stale.clone(), claim("crm-9", 0, "Rob")], vec![claim("crm-9", 0, "Rob"), stale]] {
            let report = world.run(contacts).await;
            assert_eq!((counts(&report), report.summary.stale), ([0, 0, 0, 2, 0, 0, 0], 1), "{report}");
            world.run(vec![row(0, "Bob").at_version(2)]).await;
        }
        assert_eq!(world.book.calls().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeat_in_a_later_batch_is_counted_once() {
    let world = World::new();
    world.run(vec![row(0, "Bob").at_version(2)]).await;
    let filler = (1..=4_096).map(|n| row(n, "Ann"));
    let contacts: Vec<_> =
        [row(0, "Bo").at_version(1)].into_iter().chain(filler).chain([row(0, "Bob").at_version(2)]).collect();
    let report = world.run(contacts).await;
    assert_eq!(counts(&report), [4_096, 0, 1, 0, 0, 0, 4_096], "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_refused_in_every_order_over_the_border_of_a_batch() {
    let world = World::new();
    world.run(vec![row(0, "Bob")]).await;
    let mine = vec![row(0, "Bob"), claim("crm-again", 0, "Rob")];
    for ends in [mine.clone(), mine.into_iter().rev().collect()] {
        let [first, last] = <[CrmContact; 2]>::try_from(ends).unwrap();
        let filler = (1..=4_096).map(|n| row(n, "Ann"));
        let contacts: Vec<_> = [first].into_iter().chain(filler).chain([last]).collect();
        let report = world.run(contacts).await;
        let s = report.summary;
        assert_eq!((s.created + s.unchanged, s.renamed, s.refused), (4_096, 0, 2), "{report}");
        assert_eq!(world.book.name(&chat(0)), Some("Bob".into()));
    }
    assert_eq!(world.run(vec![row(0, "Bob")]).await.summary.unchanged, 1);
}

#[tokio::test(start_paused = true)]
async fn a_parked_contact_that_gets_a_new_wish_later_in_the_same_export_is_counted_once() {
    for world in World::each().await {
        world.book.next([Fate::Fails(ErrorKind::Rejected)]);
        assert_eq!(world.run(vec![row(0, "Bob")]).await.summary.parked, 1);
        let report = world.run(vec![row(0, "Bob"), row(0, "Robert")]).await;
        assert_eq!(counts(&report), [1, 0, 0, 0, 0, 0, 1], "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn p2_the_one_claim_that_is_left_is_served_at_its_newest_version() {
    for world in World::each().await {
        world.run(vec![row(0, "Bob").at_version(1), claim("crm-9", 0, "Rob")]).await;
        let report = world.run(vec![row(0, "Robert").at_version(3), row(0, "Bobby").at_version(2)]).await;
        assert_eq!(counts(&report), [1, 0, 0, 0, 0, 0, 1], "{report}");
        assert_eq!(world.book.name(&chat(0)), Some("Robert".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_told_to_stop_does_not_wait_for_a_source_that_stalls() {
    let world = World::new();
    let stalled = Feed::snapshot(stream_of(people(1, "Bob")).chain(stream::pending()));
    let report = tokio::time::timeout(seconds(5), world.sync().run_until(stalled, ready(()))).await;
    let report = report.expect("the run hangs").unwrap();
    assert!(report.stopped);
    assert_eq!((world.book.calls(), world.find(&chat(0)).await), (vec![], None));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_told_to_stop_half_way_through_the_rows_frees_no_claim() {
    for world in World::each().await {
        let twice = || vec![row(0, "Bob"), claim("crm-9", 0, "Rob")];
        world.run(twice()).await;
        let half = Feed::snapshot(stream_of(twice().into_iter().take(1)).chain(stream::pending()));
        let report = world.sync().run_until(half, tokio::task::yield_now()).await.unwrap();
        assert!(report.stopped);
        assert_eq!(world.record(0).await.claims.len(), 2, "the other row had no chance to come");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_told_to_stop_reports_even_if_a_guardrail_would_have_stopped_it() {
    let world = World::new();
    world.run(people(1, "Bob")).await;
    let blank = Feed::snapshot(stream_of(vec![row(0, "")]).chain(stream::pending()));
    let report = world.guarded().run_until(blank, tokio::task::yield_now()).await.unwrap();
    assert!(report.stopped);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_told_to_stop_does_not_wait_for_a_closed_instance() {
    let world = World::new();
    let now = world.clock.now();
    world.remember(Wait::new(ErrorKind::RateLimited, now, now.after(seconds(50)))).await;
    let stop = tokio::time::sleep(Duration::from_millis(5));
    let report = tokio::time::timeout(seconds(5), world.sync().run_until(all(people(3, "Bob")), stop)).await;
    let report = report.expect("the run hangs").unwrap();
    assert!(report.stopped);
    assert_eq!(counts(&report), [0; 7], "it had not got beyond its look, so none of its wishes took effect");
    assert_eq!((world.book.requests(), world.find(&chat(0)).await), (0, None));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_told_to_stop_while_the_instance_asks_to_wait_leaves_the_rest_due() {
    let world = World::new();
    world.book.next([Fate::Fine, Fate::Asks(ErrorKind::RateLimited, 100)]);
    let stop = tokio::time::sleep(seconds(5));
    let report = tokio::time::timeout(seconds(6), world.sync().run_until(all(people(3, "Bob")), stop)).await;
    let report = report.expect("the run hangs").unwrap();
    assert_eq!((counts(&report), report.stopped), ([1, 0, 0, 0, 0, 2, 2], true));
}

#[tokio::test(start_paused = true)]
async fn giving_calls_up_while_the_ledger_is_slow_does_not_spin() {
    let world = World::new();
    world.book.next([Fate::Fine, Fate::Hangs]);
    world.shaky.take(Duration::from_millis(50));
    let sync = world.sync().grace(Duration::ZERO).in_flight(2);
    let hung = Arc::clone(&world.book.hung);
    let stop = async move { hung.notified().await };
    let mut run = pin!(sync.run_until(all(people(2, "Bob")), stop));
    let mut polls = 0;
    let report = poll_fn(|cx| {
        polls += 1;
        run.as_mut().poll(cx)
    });
    assert_eq!(counts(&report.await.unwrap()), [1, 0, 0, 0, 0, 1, 2]);
    assert!(polls < 40, "polled {polls} times");
}

#[tokio::test(start_paused = true)]
async fn p1_a_ledger_that_fails_at_any_save_ends_the_run_with_its_error_and_loses_nobody() {
    for world in World::each().await {
        let mut saves = 0;
        loop {
            let name = format!("Bob {saves}");
            let before = world.book.calls().len();
            world.shaky.fail_after(saves);
            let Err(error) = world.sync().run(all(people(8, &name))).await else { break };
            assert!(
                matches!(&error, SyncError::Ledger(error) if error.kind() == LedgerErrorKind::Unavailable),
                "{error}"
            );
            world.shaky.heal();
            world.run(people(8, &name)).await;
            let calls = world.book.calls().len() - before;
            assert!((8..=10).contains(&calls), "P3: only what was in flight or being saved is repeated: {calls} calls");
            assert!(world.shows(8, &name));
            saves += 1;
        }
        assert!(saves > 8, "only {saves} saves");
    }
}

#[tokio::test(start_paused = true)]
async fn p8_what_a_call_overwrote_that_never_answered_is_in_the_history() {
    for world in World::each().await {
        world.book.edit(&chat(0), "Bobby from the gym");
        world.book.next([Fate::AppliedBut(ErrorKind::Timeout)]);
        world.sync().max_wait(Duration::ZERO).run(all(people(1, "Bob"))).await.unwrap();
        let report = world.run(people(1, "Bob")).await;
        assert_eq!((world.texts(0).await, report.summary.calls), (vec!["Bobby from the gym".into()], 0));
    }
}

#[tokio::test(start_paused = true)]
async fn p8_a_read_that_is_refused_does_not_pass_for_an_empty_name() {
    for world in World::each().await {
        world.book.edit(&chat(0), "Bobby from the gym");
        world.book.next([Fate::Fails(ErrorKind::Unauthorized)]);
        world.run(people(1, "Bob")).await;
        world.book.refuse_reads(ErrorKind::Rejected);
        let report = world.run(people(1, "Bob")).await;
        assert_eq!(counts(&report), [0, 1, 0, 0, 0, 0, 1], "{report}");
        assert_eq!(world.texts(0).await, ["Bobby from the gym"]);
    }
}

#[tokio::test(start_paused = true)]
async fn p5_many_calls_in_flight_that_are_all_told_to_wait_lose_nobody() {
    let world = World::new();
    world.book.next([Fate::Asks(ErrorKind::RateLimited, 2); 20]);
    let report = world.sync().in_flight(8).run(all(people(40, "Bob"))).await.unwrap();
    assert_eq!(counts(&report), [40, 0, 0, 0, 0, 0, 60], "{report}");
}

#[tokio::test(start_paused = true)]
async fn more_calls_in_flight_than_contacts_and_a_privacy_id_are_no_trouble() {
    for world in World::each().await {
        let anonymous = CrmContact::new("crm-lid", lid(7)).named("Lid", "");
        world.book.map(&lid(7), Some(&chat(7)));
        let contacts = || people(3, "Bob").into_iter().chain([anonymous.clone()]).collect::<Vec<_>>();
        let report = world.sync().in_flight(64).run(all(contacts())).await.unwrap();
        assert_eq!(counts(&report), [4, 0, 0, 0, 0, 0, 4]);
        assert_eq!(world.book.name(&chat(7)), Some("Lid".into()));
        assert_eq!(counts(&world.run(contacts()).await), [0, 0, 4, 0, 0, 0, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn p12_a_first_run_onto_a_book_full_of_human_names_asks_a_person() {
    for world in World::each().await {
        for n in 0..50 {
            world.book.edit(&chat(n), "Somebody");
        }
        let report = world.guarded().run(all(people(50, "Bob"))).await.unwrap();
        assert!(matches!(report.guardrail, Some(Guardrail::ManyRenames { renamed: 50, .. })), "{report}");
        assert_eq!(world.book.calls(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_lists_its_changes_by_chat_id_parked_ones_too() {
    for world in World::each().await {
        world.book.next_of(&chat(1), [Fate::Fails(ErrorKind::Rejected)]);
        world.run(people(2, "Bob")).await;
        let plan = world.plan(vec![row(2, "Ann"), row(1, "Bob 1"), row(0, "Robert")]).await;
        let chats: Vec<_> = plan.changes.iter().map(|change| change.chat.clone()).collect();
        assert_eq!(chats, [chat(0), chat(1), chat(2)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_pages_over_more_rows_than_a_page_holds() {
    let world = World::new();
    world.run(people(1_100, "Bob")).await;
    let mixed: Vec<_> = (0..2_200).map(|n| row(n, if n % 3 == 0 { "Ann" } else { "Eve" })).collect();
    let plan = world.plan(mixed.clone()).await.summary;
    let report = world.sync().in_flight(8).run(all(mixed)).await.unwrap();
    assert_eq!([plan.created, plan.renamed, plan.calls], [1_100, 1_100, 2_200]);
    assert_eq!(counts(&report), [1_100, 1_100, 0, 0, 0, 0, 2_200]);
}

#[tokio::test(start_paused = true)]
async fn an_address_book_that_panics_takes_the_run_down_and_the_next_run_completes_it() {
    let world = World::new();
    world.book.next([Fate::Fine, Fate::Panics]);
    let (sync, contacts) = (world.sync(), people(3, "Bob"));
    let run = tokio::spawn(async move { sync.run(all(contacts)).await.map(drop) });
    assert!(run.await.unwrap_err().is_panic());
    world.run(people(3, "Bob")).await;
    assert!(world.shows(3, "Bob"));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_stalls_is_waited_for() {
    let world = World::new();
    let sync = world.sync();
    let stalled = Feed::snapshot(stream_of(people(1, "Bob")).chain(stream::once(pending())));
    let run = tokio::time::timeout(seconds(3_600), sync.run(stalled)).await;
    assert!(run.is_err() && world.book.calls().is_empty());
}
