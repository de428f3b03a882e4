//! The promises that the sync keeps, each under its number.

use std::{sync::Arc, time::Duration};

use futures_util::stream;
use wawp_contacts::{
    ErrorKind, Pace, RetryPolicy,
    crm::{CrmContact, Feed, RowError},
    ledger::{Ledger, Wait},
    naming::{Funnel, Naming},
    sync::{Action, Guardrail, Guardrails, LookFirst, Outcome, SyncError},
};

use crate::{
    book::{DEADLINE, Fate},
    world::{World, all, chat, claim, counts, lid, people, row, seconds, stream_of},
};

mod corners;
mod history;

#[tokio::test(start_paused = true)]
async fn p1_a_failure_is_tried_again_until_the_wanted_name_is_shown() {
    for world in World::each().await {
        world.book.next([
            Fate::Fails(ErrorKind::Connect),
            Fate::Fails(ErrorKind::Server),
            Fate::AppliedBut(ErrorKind::Timeout),
            Fate::AppliedBut(ErrorKind::Interrupted),
            Fate::Asks(ErrorKind::RateLimited, 2),
        ]);
        let report = world.run(people(6, "Bob")).await;
        assert_eq!(counts(&report), [6, 0, 0, 0, 0, 0, 9], "{report}");
        assert_eq!(report.summary.verified, 3, "two that were not answered show their names and are not called again");
        assert!(world.shows(6, "Bob"));
    }
}

#[tokio::test(start_paused = true)]
async fn p3_a_second_run_makes_no_request_at_all() {
    for world in World::each().await {
        world.run(people(50, "Bob")).await;
        let requests = world.book.requests();
        let report = world.run(people(50, "Bob")).await;
        assert_eq!(counts(&report), [0, 0, 50, 0, 0, 0, 0]);
        let reversed: Vec<_> = people(50, "Bob").into_iter().rev().collect();
        let report = world.run(reversed).await;
        assert_eq!(counts(&report), [0, 0, 50, 0, 0, 0, 0], "the order of the rows is nothing");
        assert_eq!(world.book.requests(), requests);
    }
}

#[tokio::test(start_paused = true)]
async fn p3_a_name_that_the_address_book_shows_already_is_not_sent() {
    for world in World::each().await {
        world.book.edit(&chat(0), "Bob 0");
        let report = world.run(people(1, "Bob")).await;
        assert_eq!((counts(&report), world.book.calls()), ([0, 0, 1, 0, 0, 0, 0], vec![]));
    }
}

#[tokio::test(start_paused = true)]
async fn p4_a_contact_that_kept_failing_is_left_due_and_done_by_a_later_run() {
    for world in World::each().await {
        world.book.next_of(&chat(1), [Fate::Fails(ErrorKind::Server); 4]);
        let report = world.run(people(3, "Bob")).await;
        assert_eq!(counts(&report), [2, 0, 0, 0, 0, 1, 6], "{report}");
        let outcome = &report.open[0].outcome;
        assert!(matches!(outcome, Outcome::Due { kind: Some(ErrorKind::Server), .. }), "{outcome:?}");
        let later = world.run(people(3, "Bob")).await;
        assert_eq!(counts(&later), [1, 0, 2, 0, 0, 0, 1], "{later}");
    }
}

#[tokio::test(start_paused = true)]
async fn p6_a_contact_that_fails_for_good_is_parked_and_delays_no_other() {
    for world in World::each().await {
        world.book.next_of(&chat(0), [Fate::Fails(ErrorKind::Rejected)]);
        let report = world.run(people(3, "Bob")).await;
        assert_eq!(counts(&report), [2, 0, 0, 0, 1, 0, 3]);
        let again = world.run(people(3, "Bob")).await;
        assert_eq!(counts(&again), [0, 0, 2, 0, 1, 0, 0], "it stays parked, and is not sent again");
        let renamed = world.run(people(1, "Robert")).await;
        assert_eq!(counts(&renamed), [1, 0, 0, 0, 0, 0, 1], "a new wish un-parks it");
    }
}

#[tokio::test(start_paused = true)]
async fn p6_a_refused_token_stops_the_instance_within_its_calls_in_flight() {
    for (kind, in_flight) in [(ErrorKind::Unauthorized, 1), (ErrorKind::Forbidden, 4), (ErrorKind::UnknownInstance, 4)]
    {
        let world = World::new();
        world.book.next([Fate::Fine, Fate::Fails(kind), Fate::Fails(kind), Fate::Fails(kind), Fate::Fails(kind)]);
        let report = world.sync().in_flight(in_flight).run(all(people(40, "Bob"))).await.unwrap();
        let calls = report.summary.calls;
        assert!((2..=1 + in_flight as u64).contains(&calls), "{kind:?}: {calls} calls");
        assert_eq!((report.gate, report.summary.gated), (Some(kind), 39));
        world.book.heal();
        assert_eq!(world.run(people(40, "Bob")).await.summary.created, 39, "they stayed due");
    }
}

#[tokio::test(start_paused = true)]
async fn p6_a_403_after_a_success_asks_one_other_contact_before_it_stops_the_instance() {
    let world = World::new();
    world.book.next([Fate::Fine, Fate::Fails(ErrorKind::Forbidden), Fate::Fails(ErrorKind::Forbidden)]);
    let report = world.run(people(40, "Bob")).await;
    assert_eq!((counts(&report), report.gate), ([1, 0, 0, 0, 0, 39, 3], Some(ErrorKind::Forbidden)));
}

#[tokio::test(start_paused = true)]
async fn p5_an_instance_that_asks_to_wait_is_not_called_before_even_by_the_next_run() {
    for world in World::each().await {
        world.book.next([Fate::Asks(ErrorKind::QuotaReached, 600)]);
        let report = world.run(people(3, "Bob")).await;
        assert_eq!(counts(&report), [0, 0, 0, 0, 0, 3, 1], "it asks for longer than a run waits");
        assert_eq!(report.gate, Some(ErrorKind::QuotaReached));
        let requests = world.book.requests();
        let report = world.run(people(3, "Bob")).await;
        assert_eq!((counts(&report), report.gate), ([0, 0, 0, 0, 0, 3, 0], Some(ErrorKind::QuotaReached)));
        assert_eq!(world.book.requests(), requests);
        tokio::time::sleep(seconds(600)).await;
        assert_eq!(counts(&world.run(people(3, "Bob")).await), [3, 0, 0, 0, 0, 0, 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn p7_a_pushname_is_never_taken_for_a_name() {
    let world = World::new();
    world.book.set_pushname(&chat(0), "Bob 0");
    let report = world.run(people(1, "Bob")).await;
    assert_eq!((counts(&report), world.book.name(&chat(0))), ([1, 0, 0, 0, 0, 0, 1], Some("Bob 0".into())));
}

#[tokio::test(start_paused = true)]
async fn p8_a_name_edited_on_the_phone_is_in_the_history_once_it_is_overwritten() {
    for world in World::each().await {
        world.book.edit(&chat(0), "Bobby from the gym");
        let report = world.run(people(1, "Bob")).await;
        assert_eq!(counts(&report), [0, 1, 0, 0, 0, 0, 1]);
        world.book.edit(&chat(0), "Bob (call after 5)");
        world.run(people(1, "Robert")).await;
        assert_eq!(world.texts(0).await, ["Bob (call after 5)", "Bobby from the gym"]);
        let history = world.ledger.history(&world.instance, &chat(0)).await.unwrap();
        assert_eq!((history[0].run, history[0].by.name.full()), (2, "Robert 0"), "with the run that did it");
    }
}

#[tokio::test(start_paused = true)]
async fn p9_a_request_without_an_answer_is_repeated_with_the_newest_wish() {
    for world in World::each().await {
        world.die_during_a_call().await;
        let began = world.clock.now();
        let report = world.run(people(1, "Robert")).await;
        assert_eq!(counts(&report), [1, 0, 0, 0, 0, 0, 1]);
        assert_eq!(world.book.sent(), ["Bob 0", "Robert 0"]);
        assert!(world.clock.now().since(began) >= DEADLINE, "the older request can take effect until then");
    }
}

#[tokio::test(start_paused = true)]
async fn p9_the_same_name_is_repeated_at_once_after_an_unknown_outcome() {
    for world in World::each().await {
        world.die_during_a_call().await;
        let began = world.clock.now();
        let report = world.run(people(1, "Bob")).await;
        assert_eq!((counts(&report), world.book.sent()), ([1, 0, 0, 0, 0, 0, 1], vec!["Bob 0".into(); 2]));
        assert!(world.book.called_at()[1].since(began) < seconds(1), "nobody waits for a deadline");
        world.run(people(1, "Robert")).await;
        let waited = world.clock.now().since(began);
        assert!(waited >= DEADLINE, "after the repeat was acknowledged, the first may still land; waited {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn p2_a_newer_wish_waits_until_an_older_request_can_no_longer_take_effect() {
    for world in World::each().await {
        world.book.next([Fate::AppliedLate]);
        world.sync().max_wait(Duration::ZERO).run(all(people(1, "Bob"))).await.unwrap();
        let report = world.run(people(1, "Robert")).await;
        assert_eq!((report.summary.calls, report.summary.gated), (1, 0), "{report}");
        tokio::time::sleep(DEADLINE).await;
        assert_eq!(world.book.name(&chat(0)), Some("Robert 0".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn p10_an_instance_is_written_by_one_run_at_a_time() {
    for world in World::each().await {
        world.book.next([Fate::Hangs]);
        let (first, second) = (world.sync().owner("the first"), world.sync());
        let running = tokio::spawn(async move { first.run(all(people(1, "Bob"))).await });
        world.book.hung.notified().await;
        let report = second.run(all(people(1, "Bob"))).await.unwrap();
        assert_eq!((counts(&report), world.book.calls().len()), ([0, 0, 0, 0, 0, 1, 0], 1));
        let owner = report.notes.pushed_by.unwrap();
        assert!(owner.contains("the first"), "{owner}");
        running.abort();
        assert!(running.await.is_err());
        let report = second.run(all(people(1, "Bob"))).await.unwrap();
        assert_eq!(report.summary.created, 1, "a run that is dropped gives it back");
    }
}

#[tokio::test(start_paused = true)]
async fn p12_a_guardrail_stops_a_run_before_its_first_call_and_a_plan_foretells_it() {
    for world in World::each().await {
        world.run(people(50, "Bob")).await;
        let calls = world.book.calls().len();
        let guardrail = Some(Guardrail::ManyRenames { renamed: 50, known: 50 });
        let plan = world.guarded().plan(all(people(50, "Robert"))).await.unwrap();
        assert_eq!(plan.guardrail, guardrail);
        for _ in 0..2 {
            let report = world.guarded().run(all(people(50, "Robert"))).await.unwrap();
            assert_eq!((report.guardrail, world.book.calls().len()), (guardrail.clone(), calls));
        }
        assert_eq!(counts(&world.run(people(50, "Robert")).await), [0, 50, 0, 0, 0, 0, 50]);
    }
}

#[tokio::test(start_paused = true)]
async fn p12_an_export_that_lost_its_names_stops_the_run_and_blanks_nobody() {
    for world in World::each().await {
        world.run(people(3, "Bob")).await;
        let blank = || vec![row(0, " "), row(1, "Bob 1"), row(2, "Robert")];
        let report = world.guarded().run(all(blank())).await.unwrap();
        assert_eq!(report.guardrail, Some(Guardrail::Blanked { blanked: 1 }));
        let report = world.run(blank()).await;
        assert_eq!(counts(&report), [0, 1, 1, 1, 0, 0, 1], "once a person allows it, the others flow: {report}");
        assert_eq!(world.book.name(&chat(0)), Some("Bob 0".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn p12_an_address_book_that_suddenly_looks_empty_stops_the_run() {
    for world in World::each().await {
        world.run(people(50, "Bob")).await;
        world.book.wipe();
        let guardrails = Guardrails::default().max_renamed_share(1.0).free_renames(0);
        let report = world.sync().guardrails(guardrails).run(all(people(50, "Robert"))).await.unwrap();
        assert_eq!(report.guardrail, Some(Guardrail::RemoteEmpty { found: 0, known: 50 }));
    }
}

#[tokio::test(start_paused = true)]
async fn two_crm_rows_of_one_person_are_refused_by_name_and_the_others_flow() {
    for world in World::each().await {
        let twice = || vec![row(0, "Bob"), claim("crm-9", 0, "Bob"), row(1, "Ann")];
        for expected in [[1, 0, 0, 2, 0, 0, 1], [0, 0, 1, 2, 0, 0, 0]] {
            let report = world.run(twice()).await;
            assert_eq!(counts(&report), expected, "{report}");
            let text = report.to_string();
            assert!(text.contains("crm-0") && text.contains("crm-9") && text.contains("duplicate_identity"), "{text}");
        }
        let mended = world.run(vec![row(0, "Bob"), row(1, "Ann")]).await;
        assert_eq!(counts(&mended), [1, 0, 1, 0, 0, 0, 1], "one claim is left, so it is served");
    }
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_of_a_contact_that_is_settled_is_refused_too() {
    for world in World::each().await {
        world.run(people(2, "Bob")).await;
        let twice = vec![row(0, "Bob 0"), row(1, "Bob 1"), claim("crm-9", 0, "Rob")];
        let reversed: Vec<_> = twice.iter().rev().cloned().collect();
        for contacts in [twice, reversed] {
            let report = world.run(contacts).await;
            assert_eq!(counts(&report), [0, 0, 1, 2, 0, 0, 0], "{report}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_whose_crm_row_was_made_anew_follows_the_new_row() {
    for world in World::each().await {
        world.run(people(2, "Bob")).await;
        let report = world.run(vec![claim("crm-9", 0, "Rob"), row(1, "Bob 1")]).await;
        assert_eq!(counts(&report), [0, 1, 1, 0, 0, 0, 1]);
        assert_eq!(world.book.name(&chat(0)), Some("Rob".into()));
        assert_eq!((report.summary.left, report.notes.left), (0, vec![]), "a row still wants the person");
    }
}

#[tokio::test(start_paused = true)]
async fn stale_versions_are_dropped_and_counted_in_either_order() {
    for world in World::each().await {
        let (old, new) = (row(0, "Bob").at_version(1), row(0, "Robert").at_version(2));
        let report = world.run(vec![old.clone(), new.clone()]).await;
        let summary = (counts(&report), report.summary.stale);
        assert_eq!(summary, ([1, 0, 0, 0, 0, 0, 1], 1), "the newest of a burst is sent alone");
        assert_eq!(world.book.sent(), ["Robert"]);
        for contacts in [vec![old.clone(), new.clone()], vec![new.clone(), old.clone()], vec![new.clone(), new.clone()]]
        {
            let report = world.run(contacts.clone()).await;
            assert_eq!((counts(&report), report.summary.stale), ([0, 0, 1, 0, 0, 0, 0], 1), "{contacts:?}");
        }
        let report = world.run(vec![old]).await;
        let summary = (counts(&report), report.summary.stale);
        assert_eq!(summary, ([0, 0, 1, 0, 0, 0, 0], 1), "the contact is as it was");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_says_what_a_run_then_does_and_writes_nothing() {
    for world in World::each().await {
        world.book.edit(&chat(1), "Somebody");
        world.book.edit(&chat(2), "Bob 2");
        let contacts = || people(4, "Bob").into_iter().chain([row(5, "")]).collect::<Vec<_>>();
        let plan = world.plan(contacts()).await;
        let before = world.ledger.counts(&world.instance).await.unwrap();
        let runs = world.ledger.runs(&world.instance, 9).await.unwrap();
        assert_eq!((before.records, world.book.calls().len(), runs.len()), (0, 0, 0));
        let planned: Vec<_> =
            plan.changes.iter().map(|change| (change.action, change.before.as_deref(), &*change.after)).collect();
        let somebody = (Action::Rename, Some("Somebody"), "Bob 1");
        assert_eq!(planned, [(Action::Create, None, "Bob 0"), somebody, (Action::Create, None, "Bob 3")]);
        let s = plan.summary;
        let foretold = [s.created, s.renamed, s.unchanged, s.refused, s.parked, s.gated, s.calls];
        assert_eq!(foretold, [2, 1, 1, 1, 0, 0, 3], "the row that is refused is counted as nothing else");
        assert_eq!(counts(&world.run(contacts()).await), foretold);
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_says_how_long_its_calls_take_at_the_pace() {
    let world = World::new();
    world.book.keep(Pace::every(seconds(2)));
    let plan = world.plan(people(5, "Bob")).await;
    // Five calls, and six reads before them: each contact, and whose account it is.
    assert_eq!((plan.summary.calls, plan.summary.seconds), (5, 22.0), "{plan}");
}

#[tokio::test(start_paused = true)]
async fn a_plan_names_the_cause_of_each_rename() {
    let world = World::new();
    let staged = |name: &str, stage: &str| vec![row(0, name).in_stage(stage)];
    world.run(staged("Bob", "Lead")).await;
    assert_eq!(world.book.name(&chat(0)), Some("Bob [Lead]".into()));
    for (contacts, cause) in [(staged("Bob", "Customer"), "stage"), (staged("Robert", "Lead"), "name")] {
        let plan = world.plan(contacts).await;
        assert_eq!(plan.changes[0].cause.as_str(), cause);
    }
    let naming = Naming::new("Lead=Hot".parse::<Funnel>().unwrap());
    let plan = world.named(naming).plan(all(staged("Bob", "Lead"))).await.unwrap();
    assert_eq!((plan.changes[0].cause.as_str(), &*plan.changes[0].after), ("rules", "Bob [Hot]"));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_told_to_stop_records_what_is_in_flight_and_begins_nothing_new() {
    for world in World::each().await {
        world.book.next([Fate::Fine, Fate::Fine, Fate::Hangs]);
        let hung = Arc::clone(&world.book.hung);
        let stop = async move { hung.notified().await };
        let report = world.sync().run_until(all(people(10, "Bob")), stop).await.unwrap();
        assert!(report.stopped);
        assert_eq!(counts(&report), [2, 0, 0, 0, 0, 8, 3], "{report}");
        let report = world.run(people(10, "Bob")).await;
        assert_eq!(counts(&report), [8, 0, 2, 0, 0, 0, 8], "the one in doubt is repeated, once");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_are_in_flight_than_allowed() {
    for (in_flight, expected) in [(1, 1), (4, 4)] {
        let world = World::new();
        world.book.take(Duration::from_millis(10));
        world.sync().in_flight(in_flight).run(all(people(64, "Bob"))).await.unwrap();
        assert_eq!(world.book.most_in_flight(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_half_way_ends_the_run_before_its_first_call() {
    for world in World::each().await {
        let broken = stream::iter([Ok(row(0, "Bob")), Err(RowError::Source("the disk is gone".into()))]);
        let error = world.sync().run(Feed::snapshot(broken)).await.unwrap_err();
        assert!(matches!(error, SyncError::Source(_)), "{error}");
        assert_eq!((world.book.calls(), world.find(&chat(0)).await), (vec![], None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_says_who_waits_and_why_the_instance_may_not_be_called() {
    for world in World::each().await {
        world.book.next_of(&chat(0), [Fate::Fails(ErrorKind::Server)]);
        let slowly = RetryPolicy::default().backing_off(seconds(1_000_000), seconds(1_000_000));
        world.sync().backoff(slowly).run(all(people(1, "Bob"))).await.unwrap();
        let plan = world.plan(people(2, "Bob")).await;
        let s = plan.summary;
        let numbers = (s.created, s.gated, s.calls, plan.gate);
        assert_eq!(numbers, (1, 1, 1, None), "one is left alone for longer than a run waits");
        assert!(matches!(plan.changes[0].outcome, Outcome::Due { kind: Some(ErrorKind::Server), .. }), "{plan}");

        let now = world.clock.now();
        world.remember(Wait::new(ErrorKind::RateLimited, now, now.after(seconds(600)))).await;
        let plan = world.plan(people(2, "Bob")).await;
        let s = plan.summary;
        assert_eq!((s.created, s.gated, s.calls, plan.gate), (0, 2, 0, Some(ErrorKind::RateLimited)), "{plan}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_contact_that_failed_is_tried_again_before_all_others_are_done() {
    let world = World::new();
    world.book.next_of(&chat(0), [Fate::Fails(ErrorKind::Server)]);
    let backoff = RetryPolicy::default().backing_off(Duration::from_nanos(1), Duration::from_nanos(1));
    let report = world.sync().backoff(backoff).run(all(people(2_000, "Bob"))).await.unwrap();
    assert_eq!(counts(&report), [2_000, 0, 0, 0, 0, 0, 2_001]);
    let again = world.book.calls().iter().rposition(|(called, _)| *called == chat(0)).unwrap();
    assert!(again < 1_500, "it came again as call {again}");
}

#[tokio::test(start_paused = true)]
async fn an_address_book_that_gives_the_same_page_for_ever_is_not_looked_at() {
    let world = World::new();
    world.book.stick();
    (100..1_100).for_each(|n| world.book.edit(&chat(n), "Somebody"));
    let careful = world.sync().look_first(LookFirst::Always);
    let report = careful.run(all(people(30, "Bob"))).await.unwrap();
    assert_eq!((counts(&report), report.gate), ([0, 0, 0, 0, 0, 30, 0], Some(ErrorKind::Decode)), "{report}");
    let report = world.run(people(30, "Bob")).await;
    assert_eq!((counts(&report), report.notes.unread), ([30, 0, 0, 0, 0, 0, 30], Some(ErrorKind::Decode)), "{report}");
    assert!(world.book.reads().len() < 20, "{:?}", world.book.reads());
}
