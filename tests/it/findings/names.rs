//! A wrong name, a lost text, or a run that never works again.

use std::sync::{Arc, Mutex};

use wawp_contacts::{
    ErrorKind, Pace,
    record::Park,
    sync::{Guardrail, Guardrails, LeftReason, LookFirst, Outcome},
};

use crate::{
    book::{Book, Fate, Read},
    world::{World, all, chat, counts, lid, people, row, seconds},
};

#[tokio::test(start_paused = true)]
async fn of_rows_with_one_id_the_last_counts_and_a_second_run_makes_no_call() {
    for world in World::each().await {
        for version in [None, Some(7)] {
            let deal = |n: usize, stage: &str| {
                let row = row(n, "Bob").in_stage(stage);
                row.at_version(version)
            };
            let export = |n| vec![deal(n, "Lead"), row(8, "Ann"), deal(n, "Customer")];
            let n = usize::from(version.is_some());
            for calls in [true, false, false] {
                let before = world.book.calls().len();
                let report = world.run(export(n)).await;
                assert_eq!(
                    (world.book.calls().len() > before, &*report.notes.repeated),
                    (calls, &[format!("crm-{n}").into()][..])
                );
                assert_eq!(world.book.name(&chat(n)), Some("Bob [Customer]".into()));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_parked_contact_whose_row_comes_twice_stays_parked() {
    for world in World::each().await {
        let export = || vec![row(0, "Bob").in_stage("Lead"), row(0, "Bob").in_stage("Customer")];
        world.book.next([Fate::Fails(ErrorKind::Rejected)]);
        assert_eq!(counts(&world.run(export()).await), [0, 0, 0, 0, 1, 0, 1]);
        assert_eq!(counts(&world.run(export()).await), [0, 0, 0, 0, 1, 0, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_whom_the_book_lists_twice_is_one_person() {
    for world in World::each().await {
        world.book.edit(&chat(0), "Somebody");
        world.book.list_twice(&chat(0));
        for _ in 0..2 {
            let report = world.run(people(30, "Bob")).await;
            assert_eq!(report.summary.created + report.summary.renamed + report.summary.unchanged, 30);
        }
        assert_eq!(world.texts(0).await, ["Somebody"]);
    }
}

#[tokio::test(start_paused = true)]
async fn p6_contacts_that_always_fail_hold_nobody_else_up() {
    for world in World::each().await {
        for n in 0..7 {
            world.book.next_of(&chat(n), [Fate::Fails(ErrorKind::Server); 100]);
        }
        let report = world.run(people(30, "Bob")).await;
        let s = report.summary;
        assert_eq!((s.created, s.gated, s.parked), (23, 7, 0), "{report}");
        world.book.heal();
        assert_eq!(world.run(people(30, "Bob")).await.summary.created, 7);
    }
}

#[tokio::test(start_paused = true)]
async fn p6_a_few_contacts_that_fail_delay_no_other() {
    for world in World::each().await {
        for n in 0..4 {
            world.book.next_of(&chat(n), [Fate::Fails(ErrorKind::Server); 100]);
        }
        let began = world.clock.now();
        let report = world.run(people(30, "Bob")).await;
        assert_eq!(report.summary.created, 26, "{report}");
        let calls = world.book.calls().into_iter().zip(world.book.called_at());
        let others = calls.filter(|((called, _), _)| (4..30).any(|n| *called == chat(n)));
        assert!(others.map(|(_, at)| at).all(|at| at.since(began) < seconds(1)), "{:?}", world.book.called_at());
    }
}

#[tokio::test(start_paused = true)]
async fn p6_a_contact_that_cannot_be_read_holds_nobody_up() {
    for kind in [ErrorKind::Server, ErrorKind::Forbidden, ErrorKind::Decode, ErrorKind::Rejected, ErrorKind::Route] {
        let world = World::new();
        world.book.refuse_reads_of(&chat(4), kind);
        world.book.edit(&chat(1), "Somebody");
        let report = world.run(people(5, "Bob")).await;
        assert_eq!(counts(&report), [4, 1, 0, 0, 0, 0, 5], "{kind:?}: {report}");
        assert_eq!((world.texts(1).await, report.notes.unread), (vec!["Somebody".into()], Some(kind)), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn p6_a_403_for_one_contact_among_others_that_work_is_about_that_contact() {
    for kind in [ErrorKind::Forbidden, ErrorKind::Route] {
        for world in World::each().await {
            world.book.next_of(&chat(1), [Fate::Fails(kind); 100]);
            let report = world.run(people(6, "Bob")).await;
            assert_eq!((report.summary.created, report.summary.gated, report.gate), (5, 1, None), "{report}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p6_a_403_for_the_first_contact_of_a_run_costs_the_others_one_run() {
    for world in World::each().await {
        world.book.next_of(&chat(0), [Fate::Fails(ErrorKind::Forbidden); 100]);
        let report = world.run(people(6, "Bob")).await;
        assert_eq!((counts(&report), report.gate), ([0, 0, 0, 0, 0, 6, 1], Some(ErrorKind::Forbidden)), "{report}");
        let report = world.run(people(6, "Bob")).await;
        assert_eq!((report.summary.created, report.summary.gated), (5, 1), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn p6_a_403_with_a_word_of_the_server_is_about_the_instance_even_among_successes() {
    let world = World::new();
    world.book.next([Fate::Fine, Fate::Codes(ErrorKind::Forbidden, "plan_expired")]);
    let report = world.run(people(6, "Bob")).await;
    assert_eq!((counts(&report), report.gate), ([1, 0, 0, 0, 0, 5, 2], Some(ErrorKind::Forbidden)), "{report}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_everything_closes_the_gate_and_parks_nobody() {
    for world in World::each().await {
        world.book.next([Fate::Says(ErrorKind::Rejected, "missing access_token"); 100]);
        let report = world.run(people(40, "Bob")).await;
        assert_eq!((counts(&report), report.gate), ([0, 0, 0, 0, 0, 40, 5], Some(ErrorKind::Rejected)), "{report}");
        world.book.heal();
        assert_eq!(counts(&world.run(people(40, "Bob")).await), [40, 0, 0, 0, 0, 0, 40], "after the mend all flow");
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_refusals_without_a_success_park_nobody() {
    for world in World::each().await {
        world.book.next([Fate::Says(ErrorKind::Rejected, "missing access_token"); 100]);
        for _ in 0..3 {
            let report = world.run(people(2, "Bob")).await;
            assert_eq!(counts(&report), [0, 0, 0, 0, 0, 2, 8], "nobody can tell whose fault it is: {report}");
        }
        world.book.heal();
        assert_eq!(counts(&world.run(people(2, "Bob")).await), [2, 0, 0, 0, 0, 0, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn one_contact_alone_that_is_refused_is_parked() {
    for world in World::each().await {
        world.book.next([Fate::Says(ErrorKind::Rejected, "no such number")]);
        let report = world.run(people(1, "Bob")).await;
        assert_eq!(counts(&report), [0, 0, 0, 0, 1, 0, 1], "{report}");
        let parked = Outcome::Parked {
            reason: Park::Refused,
            kind: Some(ErrorKind::Rejected),
            message: Some("no such number".into()),
        };
        assert_eq!(report.open[0].outcome, parked);
    }
}

#[tokio::test(start_paused = true)]
async fn p3_refusals_at_the_end_of_a_run_that_worked_are_about_their_contacts() {
    for world in World::each().await {
        for n in 2..4 {
            world.book.next_of(&chat(n), [Fate::Says(ErrorKind::Rejected, "no such number"); 100]);
        }
        let report = world.run(people(4, "Bob")).await;
        assert_eq!(counts(&report), [2, 0, 0, 0, 2, 0, 4], "{report}");
        assert_eq!(counts(&world.run(people(4, "Bob")).await), [0, 0, 2, 0, 2, 0, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_in_unknown_words_parks_nobody() {
    for world in World::each().await {
        world.book.next([Fate::Fails(ErrorKind::Unclear); 60]);
        let report = world.sync().max_wait(seconds(20)).run(all(people(40, "Bob"))).await.unwrap();
        assert_eq!(report.summary.parked, 0, "{report}");
        world.book.heal();
        world.run(people(40, "Bob")).await;
        assert!(world.shows(40, "Bob"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_unknown_words_is_parked_with_them_after_six_attempts() {
    for world in World::each().await {
        world.book.next_of(&chat(0), [Fate::Says(ErrorKind::Unclear, "engine_busy, try again"); 100]);
        assert_eq!(counts(&world.run(people(3, "Bob")).await), [2, 0, 0, 0, 0, 1, 6], "four attempts in one run");
        let report = world.run(people(3, "Bob")).await;
        assert_eq!(counts(&report), [0, 0, 2, 0, 1, 0, 2], "{report}");
        let parked = Outcome::Parked {
            reason: Park::Refused,
            kind: Some(ErrorKind::Unclear),
            message: Some("engine_busy, try again".into()),
        };
        assert_eq!(report.open[0].outcome, parked);
        assert_eq!(counts(&world.run(people(3, "Bob")).await), [0, 0, 2, 0, 1, 0, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn many_failures_that_pass_do_not_count_as_unclear() {
    let world = World::new();
    for _ in 0..2 {
        world.book.next_of(&chat(0), [Fate::Fails(ErrorKind::Server); 4]);
        world.run(people(1, "Bob")).await;
    }
    world.book.next_of(&chat(0), [Fate::Fails(ErrorKind::Unclear)]);
    assert_eq!(counts(&world.run(people(1, "Bob")).await), [1, 0, 0, 0, 0, 0, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_the_crm_corrects_takes_a_wish_along_that_was_never_sent() {
    for world in World::each().await {
        world.book.edit(&chat(0), "Mum");
        world.book.next([Fate::Fails(ErrorKind::Connect); 4]);
        world.run(vec![row(0, "Bob")]).await;
        let mut corrected = row(0, "Bob");
        corrected.chat = chat(5);
        let report = world.run(vec![corrected]).await;
        assert_eq!(counts(&report), [1, 0, 0, 0, 0, 0, 1], "{report}");
        assert_eq!((world.book.name(&chat(0)), world.book.name(&chat(5))), (Some("Mum".into()), Some("Bob".into())));
        assert!(world.record(0).await.claims.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_deleted_takes_a_wish_along_that_was_never_sent() {
    for world in World::each().await {
        world.book.next([Fate::Fails(ErrorKind::Connect); 8]);
        world.run(people(2, "Bob")).await;
        let report = world.run(vec![row(1, "Bob 1")]).await;
        assert_eq!((counts(&report), report.summary.left), ([1, 0, 0, 0, 0, 0, 1], 0));
        assert_eq!(world.book.name(&chat(0)), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_the_crm_corrects_leaves_the_name_that_was_sent_and_lists_it() {
    for world in World::each().await {
        world.run(people(2, "Bob")).await;
        let mut corrected = row(0, "Bob 0");
        corrected.chat = chat(5);
        let report = world.run(vec![corrected, row(1, "Bob 1")]).await;
        assert_eq!(counts(&report), [1, 0, 1, 0, 0, 0, 1], "{report}");
        let [left] = &*report.notes.left else { panic!("{report}") };
        assert_eq!((&left.chat, &*left.crm_id, left.reason), (&chat(0), "crm-0", LeftReason::Moved));
        assert_eq!((left.name.as_deref(), report.summary.left), (Some("Bob 0"), 1));
        assert_eq!(world.book.name(&chat(0)), Some("Bob 0".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn p8_a_name_saved_during_a_long_run_is_in_the_history() {
    let world = World::new();
    world.book.keep(Pace::every(seconds(1)));
    world.run(people(5, "Somebody")).await;
    let (book, reads) = (world.book.clone(), world.book.reads().len());
    tokio::spawn(async move {
        tokio::time::sleep(seconds(300)).await;
        book.edit(&chat(699), "Saved meanwhile");
    });
    let report = world.run(people(700, "Bob")).await;
    assert_eq!((report.summary.created, report.summary.renamed), (694, 6), "{report}");
    assert_eq!(world.texts(699).await, ["Saved meanwhile"]);
    let reads = world.book.reads()[reads..].len();
    assert!(reads < 10, "{reads} reads");
}

#[tokio::test(start_paused = true)]
async fn drift_that_a_look_finds_is_overwritten_and_kept() {
    for world in World::each().await {
        world.run(people(40, "Bob")).await;
        world.book.edit(&chat(3), "Bobby from the gym");
        let report =
            world.run((0..40).map(|n| row(n, &format!("{} {n}", if n < 30 { "Bob" } else { "Rob" }))).collect()).await;
        assert_eq!((report.summary.unchanged, report.summary.calls), (29, 11), "{report}");
        assert_eq!(world.texts(3).await, ["Bobby from the gym"]);
    }
}

#[tokio::test(start_paused = true)]
async fn p12_a_book_that_shows_everybody_under_other_names_or_new_privacy_ids_is_not_empty() {
    let rename = |book: &Book, n| book.edit(&chat(n), "Bobby from the gym");
    let hide = |book: &Book, n| {
        book.show_as(&chat(n), &lid(n));
        book.map(&lid(n), Some(&chat(n)));
    };
    for change in [rename, hide] {
        for world in World::each().await {
            world.run(people(50, "Bob")).await;
            (0..50).for_each(|n| change(&world.book, n));
            let guardrails = Guardrails::default().max_renamed_share(1.0);
            let report = world.sync().guardrails(guardrails).run(all(people(50, "Rob"))).await.unwrap();
            assert_eq!((report.guardrail, report.summary.renamed), (None, 50));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p12_persons_whom_we_never_named_make_no_empty_book_look_full() {
    for world in World::each().await {
        world.run(people(50, "Bob")).await;
        world.book.wipe();
        for n in 50..100 {
            world.book.edit(&chat(n), "Somebody");
        }
        let guardrails = Guardrails::default().max_renamed_share(1.0);
        let report = world.sync().guardrails(guardrails).run(all(people(100, "Rob"))).await.unwrap();
        assert_eq!(report.guardrail, Some(Guardrail::RemoteEmpty { found: 0, known: 50 }));
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_we_sent_and_the_book_does_not_list_counts_as_the_name_until_somebody_saw_otherwise() {
    for world in World::each().await {
        world.sync().look_first(LookFirst::Never).run(all(people(40, "Bob"))).await.unwrap();
        world.book.wipe();
        assert_eq!(counts(&world.run(people(40, "Rob")).await), [0, 40, 0, 0, 0, 0, 40]);
        assert_eq!(world.texts(39).await, ["Bob 39"]);
    }
}

#[tokio::test(start_paused = true)]
async fn p12_many_new_contacts_beside_a_few_known_ones_are_no_renames() {
    for world in World::each().await {
        world.run(people(30, "Bob")).await;
        let report = world.guarded().run(all(people(90, "Bob"))).await.unwrap();
        assert_eq!((counts(&report), report.guardrail), ([60, 0, 30, 0, 0, 0, 60], None));
    }
}

#[tokio::test(start_paused = true)]
async fn p12_another_account_behind_the_instance_stops_the_run() {
    for world in World::each().await {
        world.book.log_in(&chat(900));
        world.run(people(3, "Bob")).await;
        assert_eq!(world.state().await.account, Some(chat(900)), "it is remembered");
        let report = world.guarded().run(all(people(3, "Bobby"))).await.unwrap();
        assert_eq!((report.guardrail, report.summary.renamed), (None, 3), "the same account is no other");
        world.book.log_in(&chat(901));
        let calls = world.book.calls().len();
        let report = world.guarded().run(all(people(3, "Robert"))).await.unwrap();
        let other = Some(Guardrail::OtherAccount { known: chat(900), found: chat(901) });
        assert_eq!((report.guardrail, world.book.calls().len()), (other, calls));
        assert_eq!(world.state().await.account, Some(chat(900)), "nobody allowed it");
        let guardrails = Guardrails::default().allow_other_account(true);
        let report = world.sync().guardrails(guardrails).run(all(people(3, "Robert"))).await.unwrap();
        assert_eq!((report.guardrail, report.summary.renamed), (None, 3));
        assert_eq!(world.state().await.account, Some(chat(901)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_contacts_of_a_large_book_are_read_one_by_one_once_its_size_is_known() {
    let world = World::new();
    for n in 100..10_000 {
        world.book.edit(&chat(n), "Somebody");
        world.book.edit(&format!("4420{n:08}@c.us").parse().unwrap(), "Somebody");
        world.book.edit(&format!("4930{n:08}@c.us").parse().unwrap(), "Somebody");
    }
    world.book.over_fill();
    world.run(people(40, "Bob")).await;
    assert_eq!(world.book.reads(), [Read::Session, Read::Page(0)], "an over-full page is everything");
    assert_eq!(world.state().await.book_entries, Some(29_700));
    let reads = world.book.reads().len();
    let report =
        world.run((0..40).map(|n| row(n, &format!("{} {n}", if n < 3 { "Rob" } else { "Bob" }))).collect()).await;
    assert_eq!(counts(&report), [0, 3, 37, 0, 0, 0, 3]);
    let read = [Read::Session, Read::Contact(chat(0)), Read::Contact(chat(1)), Read::Contact(chat(2))];
    assert_eq!(world.book.reads()[reads..], read);
}

#[tokio::test(start_paused = true)]
async fn no_more_contacts_are_read_at_once_than_can_be_called_while_that_is_fresh() {
    let world = World::new();
    world.book.keep(Pace::every(seconds(60)));
    let (book, read) = (world.book.clone(), Arc::new(Mutex::new(Vec::new())));
    let before_call = Arc::clone(&read);
    world.book.meanwhile(async move { *before_call.lock().unwrap() = book.reads() });
    world.run(people(15, "Bob")).await;
    let first: Vec<_> = (0..10).map(|n| Read::Contact(chat(n))).collect();
    assert_eq!(read.lock().unwrap()[1..], first, "after the question for the account");
}

#[tokio::test(start_paused = true)]
async fn contacts_are_called_in_the_order_of_the_export() {
    for world in World::each().await {
        let order = [7, 3, 9, 1, 8, 2, 6, 0, 5, 4];
        world.run(order.iter().map(|n| row(*n, "Bob")).collect()).await;
        let called: Vec<_> = world.book.calls().into_iter().map(|(chat, _)| chat).collect();
        assert_eq!(called, order.map(chat));
    }
}

#[tokio::test(start_paused = true)]
async fn a_book_that_is_never_to_be_read_is_not() {
    let world = World::new();
    world.book.log_in(&chat(900));
    world.book.edit(&chat(0), "Somebody");
    let report = world.sync().look_first(LookFirst::Never).run(all(people(40, "Bob"))).await.unwrap();
    assert_eq!((counts(&report), world.book.reads()), ([40, 0, 0, 0, 0, 0, 40], vec![]));
}
