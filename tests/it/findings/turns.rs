//! Whose turn it is: marks, slots, and what has to be so right before a call.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use wawp_contacts::{ErrorKind, Pace, RetryPolicy, sync::LookFirst};

use crate::{
    book::Fate,
    world::{World, all, chat, counts, people, row, seconds, some},
};

#[tokio::test(start_paused = true)]
async fn p9_few_contacts_are_in_doubt_ahead_of_their_turn_and_none_at_a_pace() {
    for (pace, in_flight, expected) in [(1, 1, 1), (1, 3, 3), (0, 1, 16), (0, 9, 18)] {
        for world in World::each().await {
            world.book.keep(Pace::every(seconds(pace)));
            world.book.take(seconds(20));
            let sync = world.sync().look_first(LookFirst::Never).in_flight(in_flight);
            let run = tokio::time::timeout(seconds(10), sync.run(all(people(20, "Bob")))).await;
            assert!(run.is_err(), "it is dropped half way");
            let mut doubtful = 0;
            for n in 0..20 {
                doubtful += usize::from(world.record(n).await.pushed.in_doubt.is_some());
            }
            assert_eq!(doubtful, expected, "{in_flight} in flight, one call in {pace} s");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p6_a_contact_that_was_refused_takes_no_turn_of_others_at_a_pace() {
    for world in World::each().await {
        world.book.keep(Pace::every(seconds(1)));
        for n in 0..2 {
            world.book.next_of(&chat(n), [Fate::Says(ErrorKind::Rejected, "no such number")]);
        }
        let report = world.run(people(4, "Bob")).await;
        assert_eq!(counts(&report), [2, 0, 0, 0, 2, 0, 4], "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_contact_that_is_due_later_is_waited_for_however_many_were_given_up() {
    for world in World::each().await {
        world.die_during_a_call().await;
        for n in 1..5 {
            world.book.next_of(&chat(n), [Fate::Fails(ErrorKind::Server); 100]);
        }
        let rows =
            people(5, "Bob").into_iter().map(|row| if row.chat == chat(0) { row.named("Robert", "") } else { row });
        let report = world.sync().run(all(rows)).await.unwrap();
        assert_eq!(counts(&report), [1, 0, 0, 0, 0, 4, 17], "the one in doubt for an older wish had to wait: {report}");
        assert_eq!(world.book.name(&chat(0)), Some("Robert".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_contact_that_becomes_due_behind_many_that_were_given_up_is_called_at_a_pace() {
    for world in World::each().await {
        world.book.keep(Pace::every(seconds(1)));
        for n in 0..4 {
            world.book.next_of(&chat(n), [Fate::Fails(ErrorKind::Server); 100]);
        }
        let change = world.sync();
        tokio::spawn(async move {
            tokio::time::sleep(seconds(50)).await;
            change.intake(some(vec![row(9, "Ann")])).await.unwrap();
        });
        world.book.next_of(&chat(4), [Fate::Asks(ErrorKind::RateLimited, 100)]);
        let report = world.run(people(5, "Bob")).await;
        assert_eq!((report.summary.created, world.book.name(&chat(9))), (2, Some("Ann".into())), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_for_the_answers_to_calls_in_flight() {
    for world in World::each().await {
        let (book, change) = (world.book.clone(), world.sync());
        world.book.meanwhile(tokio::time::sleep(seconds(5)));
        world.book.meanwhile(async move {
            change.intake(some(vec![row(9, "Ann")])).await.unwrap();
            book.hang_reads();
        });
        let sync = world.sync().in_flight(2);
        let run = tokio::time::timeout(seconds(20), sync.run(all(people(2, "Bob")))).await;
        assert!(run.is_err(), "the read of the new contact hangs");
        assert!(world.record(0).await.pushed.sent.is_some(), "its answer came while the read would have hung");
    }
}

#[tokio::test(start_paused = true)]
async fn p10_a_call_that_might_outlast_the_lease_waits_for_its_renewal() {
    for world in World::each().await {
        // A worker at a slow pace gave its request a long time, in which the same name may be repeated.
        world.book.keep(Pace::every(seconds(60)));
        world.book.next([Fate::Hangs]);
        let sync = world.sync().look_first(LookFirst::Never);
        tokio::select! {
            _ = sync.run(all(people(1, "Bob"))) => unreachable!("the call hangs"),
            () = world.book.hung.notified() => {}
        }
        world.book.keep(Pace::unlimited());
        world.shaky.take(seconds(1));
        let (clock, shaky) = (world.clock.clone(), world.shaky.clone());
        world.shaky.before_commit(async move { clock.shift(80_000) });
        let renewals = Arc::new(AtomicUsize::new(0));
        let before_call = Arc::clone(&renewals);
        world.book.meanwhile(async move { before_call.store(shaky.renewals(), Ordering::Relaxed) });
        let report = sync.run(all(people(1, "Bob"))).await.unwrap();
        assert_eq!(report.summary.created, 1, "{report}");
        assert_eq!(renewals.load(Ordering::Relaxed), 1, "the lease was renewed before the call");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_out_of_reach_is_left_alone_between_attempts() {
    for world in World::each().await {
        world.book.next([Fate::Fails(ErrorKind::Server); 100]);
        let backoff = RetryPolicy::default().backing_off(seconds(10), seconds(10));
        let report = world.sync().backoff(backoff).max_wait(seconds(20)).run(all(people(60, "Bob"))).await.unwrap();
        // Five until it is known, and then one after each wait of up to 10 s, for 20 s.
        assert!((6..30).contains(&report.summary.calls), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn contacts_that_have_to_be_read_and_cannot_hold_nobody_up_at_a_pace() {
    for world in World::each().await {
        world.book.keep(Pace::every(seconds(1)));
        for n in [0, 2, 4] {
            world.book.refuse_reads_of(&chat(n), ErrorKind::Rejected);
        }
        let report = world.sync().look_first(LookFirst::Always).run(all(people(6, "Bob"))).await.unwrap();
        assert_eq!((counts(&report), report.gate), ([3, 0, 0, 0, 0, 3, 3], None), "{report}");
    }
}
