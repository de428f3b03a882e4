//! Writers side by side: the CRM, observers, other workers.

use std::sync::{Arc, Mutex};

use wawp_contacts::{
    ErrorKind, Pace,
    ledger::{Ledger, LedgerErrorKind, Query, Wait},
    record::{Drift, Event, Policy, Record, decide},
    sync::{Guardrail, Guardrails, LookFirst, Progress, SyncError, Verify},
};

use crate::{
    book::Fate,
    world::{World, all, chat, counts, people, row, seconds, some},
};

#[tokio::test(start_paused = true)]
async fn p12_an_export_that_a_guardrail_stopped_leaves_nothing_behind() {
    for world in World::each().await {
        world.run(people(50, "Bob")).await;
        let (before, calls) = (world.record(7).await, world.book.calls().len());
        let report = world.guarded().run(all(people(50, "Bad"))).await.unwrap();
        assert!(matches!(report.guardrail, Some(Guardrail::ManyRenames { .. })), "{report}");
        assert_eq!(world.record(7).await, before);
        let report = world.guarded().run(all(people(51, "Bob"))).await.unwrap();
        assert_eq!((counts(&report), report.guardrail.clone()), ([1, 0, 50, 0, 0, 0, 1], None), "{report}");
        assert_eq!(world.book.sent()[calls..], ["Bob 50"], "no name of the refused export");
    }
}

#[tokio::test(start_paused = true)]
async fn p12_a_run_that_a_guardrail_stopped_is_recorded_and_an_old_wait_keeps_its_kind() {
    for world in World::each().await {
        world.run(people(50, "Bob")).await;
        let now = world.clock.now();
        let wait = Wait::new(ErrorKind::QuotaReached, now, now.after(seconds(3_600)));
        world.remember(wait).await;
        let report = world.guarded().run(all(people(50, "Bad"))).await.unwrap();
        assert!(matches!(report.guardrail, Some(Guardrail::ManyRenames { renamed: 50, known: 50 })), "{report}");
        assert_eq!((report.gate, world.state().await.wait), (Some(ErrorKind::QuotaReached), Some(wait)));
        let runs = world.ledger.runs(&world.instance, 1).await.unwrap();
        let summary = runs[0].summary.clone().unwrap();
        assert!(summary.contains("many_renames") && summary.contains("quota_reached"), "{summary}");
        assert!(report.to_string().contains("50 of 50 known contacts would be renamed"), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_fails_is_recorded() {
    for world in World::each().await {
        world.shaky.fail_after(0);
        world.sync().run(all(people(1, "Bob"))).await.unwrap_err();
        let runs = world.ledger.runs(&world.instance, 1).await.unwrap();
        assert!(runs[0].ended.is_some() && runs[0].summary.as_deref().unwrap().contains("error"), "{runs:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_end_cannot_be_written_down_fails_with_its_first_error() {
    for world in World::each().await {
        world.shaky.fail_ends();
        let error = world.sync().run(all(people(1, "Bob"))).await.unwrap_err();
        assert!(matches!(&error, SyncError::Ledger(error) if error.to_string().ends_with("EndRun")), "{error:?}");
        assert!(world.shows(1, "Bob"));
        world.shaky.fail_after(0);
        let error = world.sync().run(all(people(2, "Bob"))).await.unwrap_err();
        assert!(matches!(&error, SyncError::Ledger(error) if error.to_string().ends_with("Apply")), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_urgent_change_is_pushed_by_the_run_that_is_under_way_before_the_bulk() {
    for world in World::each().await {
        world.book.keep(Pace::every(seconds(1)));
        let (running, change) = (world.sync(), world.sync());
        let run = tokio::spawn(async move { running.run(all(people(50, "Bob"))).await });
        tokio::time::sleep(seconds(10)).await;
        let report = change.intake(some(vec![row(40, "Urgent")])).await.unwrap();
        assert_eq!((report.summary.calls, report.summary.gated > 0), (0, true), "{report}");
        let called = world.book.calls().len();
        let report = run.await.unwrap().unwrap();
        assert_eq!(report.summary.created, 50, "{report}");
        let sent = world.book.sent();
        let place = sent.iter().position(|name| name == "Urgent").unwrap();
        assert!(place <= called + 2, "it was call {place}, asked for after {called}");
        assert!(!sent.contains(&"Bob 40".into()), "the older wish was never sent: {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_intake_beside_a_run_never_fails_whenever_it_comes() {
    for world in World::each().await {
        world.book.take(seconds(1));
        let running = world.sync().in_flight(3);
        let run = tokio::spawn(async move { running.run(all(people(20, "Bob"))).await });
        for n in 0..20 {
            tokio::time::sleep(std::time::Duration::from_millis(317)).await;
            let report = world.sync().intake(some(vec![row(n, &format!("Rob {n}"))])).await.unwrap();
            assert_eq!(report.summary.calls, 0);
        }
        let report = run.await.unwrap().unwrap();
        assert_eq!((report.summary.gated, report.summary.parked), (0, 0), "{report}");
        world.sync().run(some(vec![])).await.unwrap();
        assert!(world.shows(20, "Rob"));
        assert!(world.book.calls().len() <= 40);
    }
}

#[tokio::test(start_paused = true)]
async fn an_intake_calls_nothing_also_while_nobody_pushes() {
    for world in World::each().await {
        let report = world.sync().intake(some(people(3, "Bob"))).await.unwrap();
        assert_eq!((counts(&report), world.book.requests()), ([0, 0, 0, 0, 0, 3, 0], 0), "{report}");
        assert_eq!(world.sync().run(some(vec![])).await.unwrap().summary.created, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_has_nothing_to_call_waits_for_no_turn() {
    for world in World::each().await {
        world.book.keep(Pace::every(seconds(10)));
        world.book.next([Fate::Fails(ErrorKind::Rejected)]);
        assert_eq!(world.run(people(1, "Bob")).await.summary.parked, 1);
        let began = world.clock.now();
        assert_eq!(world.run(people(1, "Bob")).await.summary.parked, 1);
        assert_eq!(world.clock.now(), began);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_sync_of_the_same_ledger_takes_its_rows_in_and_says_who_pushes() {
    for world in World::each().await {
        world.book.keep(Pace::every(seconds(1)));
        let first = world.sync().owner("host-1");
        let run = tokio::spawn(async move { first.run(all(people(20, "Bob"))).await });
        tokio::time::sleep(seconds(5)).await;
        let second = world.sync().owner("host-2").run(all(people(25, "Bob"))).await.unwrap();
        assert!(second.notes.pushed_by.as_ref().is_some_and(|owner| owner.contains("host-1")), "{second}");
        assert_eq!((second.summary.calls, second.gate), (0, None));
        assert_eq!(run.await.unwrap().unwrap().summary.created, 25, "it pushes the wishes of the other too");
    }
}

#[tokio::test(start_paused = true)]
async fn p4_an_answer_whose_record_an_observer_wrote_meanwhile_is_decided_again() {
    // The answer to the first call is saved alone, that to the second behind the mark of a third.
    for (n, call) in [(2, 0), (24, 1)] {
        for world in World::each().await {
            world.shaky.take(seconds(1));
            (0..call).for_each(|_| world.book.meanwhile(std::future::ready(())));
            let (ledger, clock, instance) = (world.base(), world.clock.clone(), world.instance.clone());
            world.book.meanwhile(async move {
                let records = ledger.fetch(&instance, Query::Chats(&[chat(call)])).await.unwrap();
                let event = Event::Seen { name: Some("Mum".into()), at: None };
                let decision = decide(&records[0], event, &Policy::default(), clock.now());
                assert!(ledger.commit(&instance, None, vec![decision.record.into()]).await.unwrap().is_empty());
            });
            let report = world.run(people(n, "Bob")).await;
            assert_eq!((report.summary.calls, report.summary.gated), (n as u64, 0), "{report}");
            let record = world.record(call).await;
            assert_eq!(
                (record.pushed.sent.unwrap().wish.name.full(), record.pushed.in_doubt),
                (&*format!("Bob {call}"), None)
            );
            assert_eq!(world.texts(call).await, ["Mum"], "what the observer saw was overwritten");
            assert_eq!(counts(&world.run(people(n, "Bob")).await), [0, 0, n as u64, 0, 0, 0, 0]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p2_a_wish_that_comes_while_an_older_one_is_being_sent_is_sent_after_it() {
    for world in World::each().await {
        let change = world.sync();
        world.book.meanwhile(async move {
            change.intake(some(vec![row(0, "Robert")])).await.unwrap();
        });
        let report = world.run(people(2, "Bob")).await;
        let to_zero: Vec<_> = world.book.calls().into_iter().filter(|(called, _)| *called == chat(0)).collect();
        assert_eq!(to_zero, [(chat(0), "Bob 0".into()), (chat(0), "Robert".into())], "{report}");
        assert_eq!((report.summary.calls, report.summary.gated), (3, 0), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn p2_a_failed_call_for_a_wish_that_was_replaced_meanwhile_blames_nobody() {
    for world in World::each().await {
        let change = world.sync();
        world.book.meanwhile(async move {
            change.intake(some(vec![row(0, "Robert")])).await.unwrap();
        });
        world.book.next_of(&chat(0), [Fate::Fails(ErrorKind::Rejected)]);
        let report = world.run(people(2, "Bob")).await;
        assert_eq!((report.summary.parked, world.book.name(&chat(0))), (0, Some("Robert".into())), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn p2_a_mark_that_is_lost_to_a_new_wish_sends_only_the_new_one() {
    for world in World::each().await {
        world.book.refuse_reads(ErrorKind::Route);
        let change = world.sync();
        world.shaky.before_commit(async move {
            change.intake(some(vec![row(0, "Robert")])).await.unwrap();
        });
        let report = world.run(people(2, "Bob")).await;
        assert_eq!(report.summary.calls, 2, "{report}");
        let mut sent = world.book.sent();
        sent.sort_unstable();
        assert_eq!(sent, ["Bob 1", "Robert"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_is_replaced_while_its_mark_waits_for_a_turn_is_not_sent() {
    for world in World::each().await {
        world.book.refuse_reads(ErrorKind::Route);
        world.book.keep(Pace::every(seconds(2)));
        let change = world.sync();
        world.book.meanwhile(async move {
            // The first call is answered at once; the second contact is marked and waits for its turn.
            tokio::spawn(async move {
                tokio::time::sleep(seconds(1)).await;
                change.intake(some(vec![row(1, "Robert")])).await.unwrap();
            });
        });
        let report = world.run(people(2, "Bob")).await;
        assert_eq!(world.book.sent(), ["Bob 0", "Robert"], "{report}");
        assert_eq!(report.summary.calls, 2, "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn p2_a_staged_wish_that_is_lost_to_a_newer_version_is_decided_again() {
    for world in World::each().await {
        world.run(vec![row(0, "Bo").at_version(1)]).await;
        let change = world.sync();
        world.shaky.before_apply(async move {
            change.intake(some(vec![row(0, "Robert").at_version(3)])).await.unwrap();
        });
        world.run(vec![row(0, "Bob").at_version(2), row(1, "Ann")]).await;
        assert_eq!((world.book.name(&chat(0)), world.book.name(&chat(1))), (Some("Robert".into()), Some("Ann".into())));
        assert!(!world.book.sent().contains(&"Bob".into()), "{:?}", world.book.sent());
    }
}

/// Lets an observer see a name of the first contact right before what is staged takes effect.
fn observe_before_apply(world: &World, name: &'static str) {
    let (ledger, clock, instance) = (world.base(), world.clock.clone(), world.instance.clone());
    world.shaky.before_apply(async move {
        let records = ledger.fetch(&instance, Query::Chats(&[chat(0)])).await.unwrap();
        let event = Event::Seen { name: Some(name.into()), at: None };
        let decision = decide(&records[0], event, &Policy::default(), clock.now());
        assert!(ledger.commit(&instance, None, vec![decision.record.into()]).await.unwrap().is_empty());
    });
}

#[tokio::test(start_paused = true)]
async fn p1_a_single_change_that_is_lost_to_an_observer_is_made_again() {
    for world in World::each().await {
        world.run(people(2, "Bob")).await;
        observe_before_apply(&world, "Mum");
        world.sync().run(some(vec![row(0, "Robert")])).await.unwrap();
        assert_eq!((world.book.name(&chat(0)), world.texts(0).await), (Some("Robert".into()), vec!["Mum".into()]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_staged_withdrawal_that_is_lost_to_an_observer_is_made_again() {
    for world in World::each().await {
        world.run(people(2, "Bob")).await;
        observe_before_apply(&world, "Mum");
        world.run(vec![row(1, "Bob 1"), row(2, "Bob 2")]).await;
        assert_eq!((world.record(0).await.claims.len(), world.book.name(&chat(0))), (0, Some("Bob 0".into())));
    }
}

#[tokio::test(start_paused = true)]
async fn p1_what_another_policy_makes_of_a_contact_is_not_lost_to_another_writer() {
    for world in World::each().await {
        let asking = world.sync().drift(Drift::Ask);
        asking.run(all(people(2, "Bob"))).await.unwrap();
        world.book.edit(&chat(0), "Mum");
        asking.refresh().await.unwrap();
        assert_eq!(world.record(0).await.status.as_str(), "parked");
        world.shaky.before_apply(world.touch(0));
        world.run(people(2, "Bob")).await;
        assert_eq!((world.book.name(&chat(0)), world.texts(0).await), (Some("Bob 0".into()), vec!["Mum".into()]));
    }
}

#[tokio::test(start_paused = true)]
async fn p1_that_there_is_another_account_is_not_lost_to_another_writer() {
    for world in World::each().await {
        world.book.log_in(&chat(100));
        world.run(people(2, "Bob")).await;
        world.book.log_in(&chat(200));
        world.book.wipe();
        world.shaky.before_apply(world.touch(0));
        let allowed = world.sync().guardrails(Guardrails::default().allow_other_account(true));
        let report = allowed.run(all([row(0, "Bob 0"), row(1, "Bob 1"), row(2, "Ann")])).await.unwrap();
        assert_eq!(world.book.name(&chat(0)), Some("Bob 0".into()), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn p8_what_another_account_shows_is_kept_where_its_record_is_lost_to_another_writer() {
    for world in World::each().await {
        world.book.log_in(&chat(100));
        world.run(people(2, "Bob")).await;
        world.book.log_in(&chat(200));
        world.book.wipe();
        world.book.edit(&chat(0), "Mum");
        // Who decides again may lose again.
        world.shaky.before_apply(world.touch(0));
        world.shaky.before_commit(world.touch(0));
        let allowed = world.sync().guardrails(Guardrails::default().allow_other_account(true));
        allowed.run(all([row(0, "Bob 0"), row(1, "Bob 1"), row(2, "Ann")])).await.unwrap();
        assert_eq!((world.book.name(&chat(0)), world.texts(0).await), (Some("Bob 0".into()), vec!["Mum".into()]));
        assert_eq!(world.record(0).await.pushed.flips, None, "nobody saved it over a name of this account");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_a_person_saved_is_told_once_and_as_it_took_effect_where_its_record_is_lost_to_another_writer() {
    for world in World::each().await {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let follows = world.sync().drift(Drift::PhoneWins);
        follows.run(all(people(40, "Bob"))).await.unwrap();
        world.book.edit(&chat(0), "Bobby");
        let other = follows.clone();
        world.shaky.before_apply(async move {
            other.intake(some([row(0, "Robert")])).await.unwrap();
        });
        let telling = follows.observer(move |progress| {
            if let Progress::Edited(edit) = progress {
                tell.lock().unwrap().push((edit.saved.to_string(), edit.wanted.to_string()));
            }
        });
        let mut rows = people(40, "Rob");
        rows[0] = row(0, "Bob 0");
        telling.run(all(rows)).await.unwrap();
        assert_eq!(*told.lock().unwrap(), [("Bobby".into(), "Robert".into())]);
    }
}

#[tokio::test(start_paused = true)]
async fn p8_a_look_that_is_lost_to_another_writer_keeps_the_text_that_it_found_replaced() {
    for world in World::each().await {
        world.book.edit(&chat(0), "Mum");
        world.book.next_of(&chat(0), [Fate::AppliedBut(ErrorKind::Timeout); 4]);
        world.sync().verify(Verify::Never).run(all(people(1, "Bob"))).await.unwrap();
        assert_eq!((world.book.name(&chat(0)), world.texts(0).await.len()), (Some("Bob 0".into()), 0), "in doubt");
        world.clock.shift(-60_000);
        world.shaky.before_apply(world.touch(0));
        world.run(people(1, "Bob")).await;
        assert_eq!(world.texts(0).await, ["Mum"]);
    }
}

#[tokio::test(start_paused = true)]
async fn p8_a_staged_look_keeps_the_text_that_it_found_replaced_when_its_record_is_staged_again() {
    for world in World::each().await {
        world.book.edit(&chat(0), "Mum");
        world.book.next_of(&chat(0), [Fate::AppliedBut(ErrorKind::Timeout); 4]);
        world.run(people(1, "Bob")).await;
        let book = world.book.clone();
        let mut rows = people(60, "Bob");
        rows[0] = row(0, "Robert");
        // The whole book is read, and each contact that is to be called by itself after that.
        world.book.list_twice(&chat(0));
        let report = world.sync().run(all(rows)).await.unwrap();
        assert_eq!(
            (book.name(&chat(0)), world.texts(0).await),
            (Some("Robert".into()), vec!["Bob 0".into(), "Mum".into()]),
            "{report}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p10_a_long_run_renews_its_lease() {
    for world in World::each().await {
        world.book.keep(Pace::every(seconds(10)));
        let report = world.sync().look_first(LookFirst::Never).run(all(people(60, "Bob"))).await.unwrap();
        assert_eq!(report.summary.created, 60);
        let renewals = world.shaky.renewals();
        assert!(renewals >= 3, "{renewals}");
        let withdrawn = |record: &Record| record.pushed.in_doubt.is_none() && record.pushed.sent.is_none();
        assert!(!world.shaky.commits().iter().flatten().any(withdrawn), "so early that no mark is taken back for it");
    }
}

#[tokio::test(start_paused = true)]
async fn p10_a_run_that_waits_for_its_instance_holds_its_lease() {
    for world in World::each().await {
        world.book.next([Fate::Asks(ErrorKind::RateLimited, 600)]);
        let (first, second) = (world.sync().max_wait(seconds(700)), world.sync());
        let run = tokio::spawn(async move { first.run(all(people(3, "Bob"))).await });
        tokio::time::sleep(seconds(590)).await;
        let report = second.run(all(people(3, "Bob"))).await.unwrap();
        assert!(report.notes.pushed_by.is_some(), "{report}");
        assert_eq!(run.await.unwrap().unwrap().summary.created, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn p10_a_run_whose_lease_somebody_else_has_taken_ends_and_writes_nothing() {
    for world in World::each().await {
        let taken = Arc::new(Mutex::new(None));
        let (keep, ledger, clock, instance) =
            (Arc::clone(&taken), world.base(), world.clock.clone(), world.instance.clone());
        world.book.meanwhile(async move {
            clock.shift(3_600_000);
            let lease = ledger.acquire(&instance, "somebody else", seconds(60)).await;
            *keep.lock().unwrap() = Some(lease.unwrap());
        });
        let error = world.sync().run(all(people(5, "Bob"))).await.unwrap_err();
        assert!(matches!(&error, SyncError::Ledger(error) if error.kind() == LedgerErrorKind::Fenced), "{error:?}");
        let record = world.record(0).await;
        assert!(record.pushed.sent.is_none() && record.pushed.in_doubt.is_some(), "{record:?}");
        assert!(world.book.calls().len() <= 2, "{:?}", world.book.calls());
    }
}
