//! Accepted is not verified: names that are read back, sent again, and tried on one contact first.

use wawp_contacts::{
    ErrorKind, Pace,
    pace::Daily,
    record::{Park, Status},
    sync::{LookFirst, Retry, Verify},
};

use crate::{
    book::{Fate, Read},
    world::{World, all, chat, counts, people, seconds},
};

/// How often a contact was read.
fn reads_of(world: &World, n: usize) -> usize {
    world.book.reads().iter().filter(|read| **read == Read::Contact(chat(n))).count()
}

#[tokio::test(start_paused = true)]
async fn a_policy_says_which_contacts_are_read_back() {
    for world in World::each().await {
        for (verify, verified) in
            [(Verify::Never, 0), (Verify::InDoubt, 0), (Verify::Sample(0.0), 0), (Verify::Sample(1.0), 3)]
        {
            let name = format!("{verify:?}");
            let report = world.sync().verify(verify).run(all(people(3, &name))).await.unwrap();
            assert_eq!((report.summary.calls, report.summary.verified), (3, verified), "{verify:?}");
        }
        let before = world.clock.now();
        let report = world.sync().verify(Verify::Always).run(all(people(3, "Bob"))).await.unwrap();
        assert_eq!((counts(&report), report.summary.verified), ([0, 3, 0, 0, 0, 0, 3], 3));
        assert!(report.to_string().contains("3 verified"), "{report}");
        let sent = world.record(0).await.pushed.sent.unwrap();
        assert!(sent.verified_at.unwrap().since(sent.at) >= seconds(2) && sent.at >= before);
        let story = world.sync().explain(&chat(0)).await.unwrap().unwrap().to_string();
        assert!(story.contains("accepted (run 5)") && story.contains("verified: the address book shows it"), "{story}");
        let reads = world.book.reads().len();
        let again = world.sync().verify(Verify::Always).run(all(people(3, "Bob"))).await.unwrap();
        assert_eq!((again.summary.calls, world.book.reads().len()), (0, reads), "P3");
    }
}

#[tokio::test(start_paused = true)]
async fn p3_a_name_that_was_not_kept_is_sent_again_only_after_a_read_that_shows_it() {
    for world in World::each().await {
        world.book.edit(&chat(0), "Mum");
        world.book.next_of(&chat(0), [Fate::Unkept]);
        let report = world.sync().verify(Verify::Always).run(all(people(3, "Bob"))).await.unwrap();
        assert_eq!((counts(&report), report.summary.verified), ([2, 1, 0, 0, 0, 0, 4], 3), "{report}");
        assert!(world.shows(3, "Bob"));
        assert_eq!(world.texts(0).await, ["Mum"], "once");
        let at = world.book.called_at();
        assert!(at[3].since(at[0]) >= seconds(7), "2 s until the read, and 5 s after it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_never_kept_is_parked_in_words_and_tried_again_when_told_to() {
    for world in World::each().await {
        world.book.next_of(&chat(0), [Fate::Unkept; 3]);
        let sync = world.sync().verify(Verify::Always);
        let report = sync.run(all(people(2, "Bob"))).await.unwrap();
        assert_eq!((counts(&report), report.summary.verified), ([1, 0, 0, 0, 1, 0, 4], 1), "{report}");
        assert_eq!(world.record(0).await.status, Status::Parked { reason: Park::Unkept });
        assert!(report.to_string().contains("the address book does not show it"), "{report}");
        assert_eq!(sync.run(all(people(2, "Bob"))).await.unwrap().summary.calls, 0);
        assert_eq!(sync.retry(Retry::All).await.unwrap(), 1);
        assert_eq!(sync.run(all(people(2, "Bob"))).await.unwrap().summary.verified, 1);
        assert!(world.shows(2, "Bob"));
    }
}

#[tokio::test(start_paused = true)]
async fn repeats_can_be_set() {
    for (times, calls) in [(0, 1), (1, 2), (4, 5)] {
        let world = World::new();
        world.book.next([Fate::Unkept; 9]);
        let sync = world.sync().verify(Verify::Always).repeat(times, seconds(9));
        let report = sync.run(all(people(1, "Bob"))).await.unwrap();
        assert_eq!((report.summary.calls, report.summary.parked), (calls, 1));
        let at = world.book.called_at();
        assert!(at.windows(2).all(|two| two[1].since(two[0]) >= seconds(11)), "{at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_third_text_is_an_edit_and_a_read_that_fails_says_nothing() {
    for world in World::each().await {
        let book = world.book.clone();
        let sync = world.sync().verify(Verify::Always);
        world.book.meanwhile(async move {
            tokio::spawn(async move {
                tokio::time::sleep(seconds(1)).await;
                book.edit(&chat(0), "Mum");
            });
        });
        let report = sync.run(all(people(1, "Bob"))).await.unwrap();
        assert_eq!((counts(&report), world.texts(0).await), ([0, 1, 0, 0, 0, 0, 2], vec!["Mum".into()]), "{report}");
        world.book.refuse_reads(ErrorKind::Rejected);
        let report = sync.run(all(people(2, "Rob"))).await.unwrap();
        assert_eq!((report.summary.calls, report.summary.parked, report.summary.verified), (2, 0, 0), "{report}");
        assert!(report.notes.unread.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_in_doubt_is_read_before_it_is_repeated_and_after() {
    for world in World::each().await {
        world.book.next_of(&chat(0), [Fate::AppliedBut(ErrorKind::Timeout)]);
        world.book.next_of(&chat(1), [Fate::Fails(ErrorKind::Timeout)]);
        let report = world.sync().run(all(people(3, "Bob"))).await.unwrap();
        assert_eq!((counts(&report), report.summary.verified), ([3, 0, 0, 0, 0, 0, 4], 2), "{report}");
        assert_eq!([0, 1, 2].map(|n| reads_of(&world, n)), [2, 3, 1]);
        assert!(world.record(1).await.pushed.sent.unwrap().verified_at.is_some());
        assert_eq!(world.record(2).await.pushed.sent.unwrap().verified_at, None);
    }
    let world = World::new();
    world.book.next_of(&chat(0), [Fate::AppliedBut(ErrorKind::Timeout)]);
    let report = world.sync().verify(Verify::Never).run(all(people(1, "Bob"))).await.unwrap();
    assert_eq!((report.summary.calls, report.summary.verified, reads_of(&world, 0)), (2, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_first_name_of_a_large_run_is_read_back_before_the_rest_goes_and_slots_ramp_up() {
    for (calls, waits) in [(Some(8), true), (Some(9), false), (None, false)] {
        for world in World::each().await {
            world.book.take(seconds(1));
            let sync = world.sync().canary(calls).in_flight(4).look_first(LookFirst::Never);
            let report = sync.run(all(people(8, "Bob"))).await.unwrap();
            assert_eq!((counts(&report), report.gate), ([8, 0, 0, 0, 0, 0, 8], None));
            assert_eq!(report.summary.verified, u64::from(waits));
            let at = world.book.called_at();
            let after: Vec<u64> = at.iter().map(|at_n| at_n.since(at[0]).as_secs()).collect();
            let expected = if waits { [0, 3, 4, 4, 5, 5, 5, 5] } else { [0, 0, 0, 0, 1, 1, 1, 1] };
            assert_eq!(after, expected, "{calls:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_does_not_show_stops_the_run_and_leaves_all_due() {
    for world in World::each().await {
        world.book.next([Fate::Unkept; 3]);
        let sync = world.sync().canary(5);
        let report = sync.run(all(people(5, "Bob"))).await.unwrap();
        assert_eq!((counts(&report), report.gate), ([0, 0, 0, 0, 0, 5, 3], Some(ErrorKind::Unkept)), "{report}");
        assert!(report.to_string().contains("look on the phone"), "{report}");
        let called: Vec<_> = world.book.calls().into_iter().map(|(chat, _)| chat).collect();
        assert!(called.iter().all(|chat| *chat == called[0]), "nobody else is called: {called:?}");
        tokio::time::sleep(seconds(10)).await;
        let report = sync.run(all(people(5, "Bob"))).await.unwrap();
        assert_eq!((report.summary.created, report.gate), (5, None), "{report}");
        assert!(world.shows(5, "Bob"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_fails_or_cannot_be_read_holds_nobody_up() {
    for world in World::each().await {
        world.book.next([Fate::Fails(ErrorKind::Rejected), Fate::Unkept]);
        let report = world.sync().canary(5).run(all(people(5, "Bob"))).await.unwrap();
        assert_eq!(counts(&report), [4, 0, 0, 0, 1, 0, 6], "{report}");
        world.book.refuse_reads(ErrorKind::Rejected);
        let report = world.sync().canary(4).run(all(people(5, "Rob"))).await.unwrap();
        assert_eq!((report.summary.calls, report.gate), (5, None), "{report}");
        assert!(report.notes.unread.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_waits_longer_than_its_run_does_ends_the_run() {
    for world in World::each().await {
        world.book.keep(Pace::per_second(1));
        world.book.next([Fate::Unkept]);
        let sync = world.sync().canary(5).repeat(2, seconds(600));
        let run = tokio::time::timeout(seconds(3_600), sync.run(all(people(5, "Bob"))));
        let report = run.await.expect("the run ends").unwrap();
        assert_eq!((counts(&report), report.gate), ([0, 0, 0, 0, 0, 5, 1], None), "{report}");
        tokio::time::sleep(seconds(600)).await;
        assert_eq!(sync.run(all(people(5, "Bob"))).await.unwrap().summary.created, 5);
        assert!(world.shows(5, "Bob"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_for_which_the_daily_cap_leaves_no_call_ends_the_run() {
    for world in World::each().await {
        world.book.keep(Pace::per_second(1));
        world.book.next([Fate::Unkept]);
        let sync = world.sync().canary(5).daily(Daily::at_most(1));
        let report = sync.run(all(people(5, "Bob"))).await.unwrap();
        assert_eq!((counts(&report), report.resumes_at.is_some()), ([0, 0, 0, 0, 0, 5, 1], true), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_may_not_be_called_any_more_holds_nobody_up() {
    for world in World::each().await {
        world.book.next([Fate::Unkept]);
        let sync = world.sync().canary(5).repeat(2, seconds(1_200)).max_wait(seconds(3_600));
        let book = world.book.clone();
        tokio::spawn(async move {
            tokio::time::sleep(seconds(60)).await;
            let canary = book.calls()[0].0.clone();
            book.refuse_reads_of(&canary, ErrorKind::Rejected);
        });
        let report = sync.look_first(LookFirst::Always).run(all(people(5, "Bob"))).await.unwrap();
        assert_eq!(counts(&report), [4, 0, 0, 0, 0, 1, 5], "{report}");
    }
}
