//! Persons who are forgotten; on every ledger.

use std::{fs, sync::Arc, time::Duration};

use wawp_contacts::{
    ChatId, ErrorKind,
    book::Existence,
    crm::{CrmContact, RefusalReason},
    ledger::{Ledger, SqliteLedger},
    record::Status,
    sync::{LookFirst, Outcome, Report, SyncError},
};

use crate::{
    book::Fate,
    world::{World, all, chat, counts, lid, people, row, seconds, some},
};

/// A number of which WhatsApp knows two spellings.
const PHONE: &str = "5511987654321@c.us";
const VARIANT: &str = "551187654321@c.us";

fn zoe(name: &str) -> CrmContact {
    CrmContact::new("crm-of-zoe", PHONE.parse().unwrap()).named(name, "Quux")
}

/// The rows that were refused because their person was forgotten.
fn refused(report: &Report) -> Vec<&str> {
    let forgotten = report.refusals.iter().filter(|refusal| refusal.reason == RefusalReason::Forgotten);
    forgotten.map(|refusal| refusal.crm_id.as_deref().unwrap()).collect()
}

/// Which of the texts the files of the ledger hold.
fn found<'a>(world: &World, texts: &[&'a str]) -> Vec<&'a str> {
    let files = fs::read_dir(world.home()).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let bytes = files.collect::<Vec<_>>().concat();
    texts.iter().copied().filter(|text| bytes.windows(text.len()).any(|part| part == text.as_bytes())).collect()
}

#[tokio::test(start_paused = true)]
async fn no_byte_of_a_forgotten_person_is_left_in_the_files() {
    let world = World::on_disk().await;
    let chat: ChatId = PHONE.parse().unwrap();
    // Enough people around, before and after, that pages are split and rows moved.
    let export = |name: &str| [people(50, name), vec![zoe(name)], (200..250).map(|n| row(n, name)).collect()].concat();
    world.book.show_as(&chat, &lid(7));
    world.book.map(&lid(7), Some(&chat));
    world.book.edit(&chat, "Schatzi");
    for name in ["Zoeone", "Zoetwo", "Zoethree"] {
        world.run(export(name)).await;
    }
    world.book.edit(&chat, "Zuckerl");
    world.sync().refresh().await.unwrap();
    world.book.next_of(&chat, [Fate::Says(ErrorKind::Rejected, "Zoefour Quux is no contact")]);
    let parked = world.run(export("Zoefour")).await;
    assert_eq!(parked.summary.parked, 1, "{parked}");
    // Somebody else has the file open, and is in the middle of a comparison.
    let other = SqliteLedger::open(world.home().join("ledger")).await.unwrap();
    let mut session = other.diff(&world.instance).await.unwrap();
    session.tally().await.unwrap();
    assert_eq!(other.counts(&world.instance).await.unwrap().parked, 1);

    let theirs = ["Quux", "Schatzi", "Zuckerl", "is no contact", "5511987654321", "123456789000007", "crm-of-zoe"];
    assert_eq!(found(&world, &theirs), theirs);
    let forgotten = world.sync().forget(&VARIANT.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(forgotten.chats, [chat.clone(), lid(7)]);
    assert_eq!((&*forgotten.crm_ids[0], forgotten.shown.as_deref()), ("crm-of-zoe", Some("Zuckerl")));
    assert!(forgotten.overwritten >= 3, "{forgotten:?}");
    assert_eq!(found(&world, &theirs), [""; 0]);
    assert_eq!(found(&world, &["12025550049@c.us", "Zoefour", "crm-249"]).len(), 3, "the others stay");

    // Neither do they come back with what the other one still does, or with a run.
    session.apply().await.unwrap();
    let report = world.run(export("Zoefive")).await;
    assert_eq!(refused(&report), ["crm-of-zoe"]);
    world.sync().refresh().await.unwrap();
    drop(other);
    assert_eq!(found(&world, &theirs), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_forgotten_person_are_refused_and_all_others_flow() {
    for world in World::each().await {
        world.run(people(3, "Bob")).await;
        assert!(world.sync().forget(&chat(1)).await.unwrap().is_some());
        assert_eq!(world.sync().forget(&chat(1)).await.unwrap(), None);
        let plan = world.plan(people(3, "Bob")).await;
        assert_eq!(
            (plan.summary.refused, plan.summary.unchanged, plan.refusals[0].chat.as_ref()),
            (1, 2, Some(&chat(1)))
        );
        for name in ["Bob", "Bob", "Rob"] {
            let report = world.run(people(3, name)).await;
            assert_eq!((refused(&report), report.summary.refused), (vec!["crm-1"], 1), "{report}");
            assert!(report.to_string().contains("take the row out of the CRM"), "{report}");
        }
        // Neither under another row, nor by a single change, nor the row with another number.
        let others =
            [CrmContact::new("new", chat(1)).named("Bob", ""), CrmContact::new("crm-1", chat(9)).named("Bob", "")];
        let report = world.sync().run(some(others)).await.unwrap();
        assert_eq!((refused(&report), report.summary.calls), (vec!["new", "crm-1"], 0));
        // A row that named somebody else before does not leave them for a forgotten person.
        let report = world.run(vec![row(0, "Rob 0"), CrmContact::new("crm-2", chat(1)).named("Eve", "")]).await;
        assert_eq!((refused(&report), report.summary.left, report.summary.calls), (vec!["crm-2"], 0, 0), "{report}");
        for n in [1, 9] {
            assert_eq!(world.find(&chat(n)).await, None);
        }
        assert_eq!(world.book.name(&chat(1)).as_deref(), Some("Bob 1"), "what the phone shows is a person's to delete");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_seen_of_a_forgotten_person_makes_no_record() {
    for world in World::each().await {
        world.book.show_as(&chat(0), &lid(0));
        world.book.map(&lid(0), Some(&chat(0)));
        world.run(people(2, "Bob")).await;
        world.sync().refresh().await.unwrap();
        assert_eq!(world.record(0).await.aliases, [lid(0)]);
        world.sync().forget(&lid(0)).await.unwrap().unwrap();
        world.book.edit(&chat(0), "Mum");
        let found = world.sync().refresh().await.unwrap();
        assert_eq!((found.read, found.matching, world.find(&chat(0)).await), (2, 1, None));
        // The privacy id, which is said to be somebody else's now, stays out of the records as well.
        world.book.show_as(&chat(1), &lid(0));
        world.book.map(&lid(0), Some(&chat(1)));
        world.sync().refresh().await.unwrap();
        assert_eq!(world.record(1).await.aliases, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_privacy_id_that_turns_out_to_be_a_forgotten_persons_is_forgotten_too() {
    for world in World::each().await {
        world.run(people(2, "Bob")).await;
        world.sync().forget(&chat(0)).await.unwrap().unwrap();
        world.book.map(&lid(7), Some(&chat(0)));
        let rows = || vec![CrmContact::new("by-lid", lid(7)).named("Bob", ""), row(1, "Bob 1")];
        for _ in 0..2 {
            let report = world.run(rows()).await;
            assert_eq!((refused(&report), report.summary.calls), (vec!["by-lid"], 0), "{report}");
            assert_eq!((world.find(&lid(7)).await, world.find(&chat(0)).await), (None, None));
        }
        assert!(world.sync().allow("by-lid").await.unwrap());
        assert_eq!(world.run(rows()).await.summary.calls, 1, "all ids of a person are allowed together");
    }
}

#[tokio::test(start_paused = true)]
async fn a_privacy_id_that_was_forgotten_is_not_learnt_from_a_number_check() {
    for world in World::each().await {
        world.sync().forget(&lid(0)).await.unwrap();
        world.book.tell_existence([(chat(0), Existence::new(true).with_chat(lid(0)))]);
        let report = world.sync().check_numbers(true).run(all(people(1, "Bob"))).await.unwrap();
        assert_eq!((report.summary.created, world.record(0).await.aliases), (1, vec![]), "{report}");
        assert_eq!(world.find(&lid(0)).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_who_is_allowed_again_is_taken_in_like_a_new_one() {
    for world in World::each().await {
        world.run(people(2, "Bob")).await;
        for id in ["crm-1", "+1 (202) 555-0001", "12025550001@c.us"] {
            assert!(!world.sync().allow(id).await.unwrap());
            world.sync().forget(&chat(1)).await.unwrap().unwrap();
            assert_eq!(refused(&world.run(people(2, "Bob")).await), ["crm-1"]);
            assert!(world.sync().allow(id).await.unwrap());
            assert_eq!(counts(&world.run(people(2, "Bob")).await), [0, 0, 2, 0, 0, 0, 0]);
            assert_eq!(world.record(1).await.status, Status::InSync);
        }
        // One of whom nothing was ever known can be kept out as well.
        assert_eq!(world.sync().forget(&chat(2)).await.unwrap(), None);
        assert_eq!(refused(&world.run(people(3, "Bob")).await), ["crm-2"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_to_forget_says_what_is_known_and_changes_nothing() {
    for world in World::each().await {
        world.run(people(2, "Bob")).await;
        world.run(people(2, "Rob")).await;
        let planned = world.sync().plan_forget(&chat(1)).await.unwrap().unwrap();
        assert_eq!((planned.chats.as_slice(), planned.overwritten), (&[chat(1)][..], 1));
        assert_eq!((world.texts(1).await.len(), world.run(people(2, "Rob")).await.summary.unchanged), (1, 2));
        assert_eq!(world.sync().forget(&chat(1)).await.unwrap().unwrap(), planned);
        assert_eq!((world.texts(1).await.len(), world.texts(0).await.len()), (0, 1));
        assert_eq!(world.sync().plan_forget(&chat(1)).await.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_forgotten_while_a_request_may_still_take_effect() {
    for world in World::each().await {
        world.die_during_a_call().await;
        let Err(SyncError::InDoubt { wait }) = world.sync().forget(&chat(0)).await else { panic!("it is in doubt") };
        assert!(world.record(0).await.pushed.in_doubt.is_some(), "nothing was forgotten");
        assert_eq!(refused(&world.run(people(1, "Rob")).await), [""; 0]);
        world.die_during_a_call().await;
        tokio::time::sleep(wait + seconds(60)).await;
        assert!(world.sync().forget(&chat(0)).await.unwrap().is_some());
        assert_eq!(world.find(&chat(0)).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn the_repeat_of_an_unanswered_request_is_waited_out_as_well() {
    for world in World::each().await {
        world.die_during_a_call().await;
        world.book.restart();
        world.run(people(1, "Bob")).await;
        let record = world.record(0).await;
        assert_eq!((record.status, record.pushed.in_doubt), (Status::InSync, None));
        assert!(matches!(world.sync().forget(&chat(0)).await, Err(SyncError::InDoubt { .. })));
        tokio::time::sleep(seconds(120)).await;
        assert!(world.sync().forget(&chat(0)).await.unwrap().is_some());
    }
}

/// Forgets somebody through a ledger of its own, as another process does.
fn forgets(world: &World, chat: ChatId) -> impl Future<Output = ()> + Send + 'static {
    let sync = world.sync();
    async move { drop(sync.forget(&chat).await.unwrap()) }
}

#[tokio::test(start_paused = true)]
async fn a_pusher_that_has_loaded_a_record_does_not_call_for_it_once_it_is_forgotten() {
    for world in World::each().await {
        world.sync().intake(all(people(2, "Bob"))).await.unwrap();
        // The first commit of the run marks both.
        world.shaky.before_commit(forgets(&world, chat(0)));
        let report = world.sync().look_first(LookFirst::Never).in_flight(2).run(some([])).await.unwrap();
        assert_eq!(world.book.calls(), [(chat(1), "Bob 1".into())]);
        assert_eq!((counts(&report)[0], world.find(&chat(0)).await), (1, None), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_all_was_forgotten_brings_nobody_back() {
    for (fate, calls) in [(Fate::Fine, 2), (Fate::Fails(ErrorKind::Rejected), 2)] {
        for world in World::each().await {
            let (sync, clock, ledger) = (world.sync(), world.clock.clone(), world.base());
            let instance = world.instance.clone();
            // The machine slept during the call, so no request counts as on its way any more.
            world.book.meanwhile(async move {
                assert!(matches!(sync.forget(&chat(0)).await, Err(SyncError::InDoubt { .. })));
                clock.shift(40_000);
                sync.forget(&chat(0)).await.unwrap().unwrap();
                assert_eq!(ledger.counts(&instance).await.unwrap().records, 1);
            });
            world.book.next([fate]);
            let report = world.sync().look_first(LookFirst::Never).run(all(people(2, "Bob"))).await.unwrap();
            assert_eq!((world.find(&chat(0)).await, world.book.calls().len()), (None, calls), "{report}");
            assert!(report.open.iter().all(|change| change.chat != chat(0)), "{report}");
            assert_eq!((report.summary.created, report.summary.calls), (1, 2), "{report}");
            assert_eq!(refused(&world.run(people(2, "Bob")).await), ["crm-0"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn wishes_that_were_staged_before_are_refused_when_they_take_effect() {
    for world in World::each().await {
        world.run(people(1, "Bob")).await;
        let sync = world.sync();
        world.shaky.before_apply(async move {
            for n in 0..2 {
                sync.forget(&chat(n)).await.unwrap();
            }
        });
        let report = world.run(people(3, "Rob")).await;
        assert_eq!((refused(&report), counts(&report)[0]), (vec!["crm-0", "crm-1"], 1), "{report}");
        assert_eq!((world.find(&chat(0)).await, world.find(&chat(1)).await), (None, None));
        assert_eq!(world.book.calls().last(), Some(&(chat(2), "Rob 2".into())));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_stores_the_record_meanwhile_is_waited_for() {
    for world in World::each().await {
        world.run(people(1, "Bob")).await;
        let (stop, sync) = (tokio::sync::Notify::new(), world.sync());
        let stop = Arc::new(stop);
        let pushing = world.sync();
        let other = Arc::clone(&stop);
        // A run stores and pushes names one after the other while the person is being forgotten.
        let run = async move {
            for name in ["Rob", "Bobby", "Robert"] {
                let report = pushing.run(all(people(1, name))).await.unwrap();
                assert!(report.open.iter().all(|change| !matches!(change.outcome, Outcome::Parked { .. })));
            }
            other.notify_one();
        };
        let forget = async {
            loop {
                match sync.forget(&chat(0)).await {
                    Err(SyncError::InDoubt { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
                    done => break done.unwrap(),
                }
            }
        };
        let (forgotten, ()) = tokio::join!(forget, run);
        stop.notified().await;
        assert!(forgotten.is_some());
        assert_eq!(world.find(&chat(0)).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_is_told_again_until_later_ones_take_its_place() {
    for world in World::each().await {
        let report = world.run(people(3, "Bob")).await;
        let past = world.sync().report_of(1).await.unwrap().unwrap();
        assert_eq!((past.report.as_ref(), past.changes.len()), (Some(&report), 3));
        assert!(past.run.owner.starts_with("process "));
        assert!(past.page().unwrap().to_string().contains("Bob 2"));
        world.sync().keep_reports(2).run(all(people(3, "Rob"))).await.unwrap();
        assert_eq!(world.sync().report_of(1).await.unwrap().unwrap().changes.len(), 3);
        world.sync().keep_reports(2).run(all(people(3, "Rob"))).await.unwrap();
        let past = world.sync().report_of(1).await.unwrap().unwrap();
        assert_eq!((past.report, past.changes.len(), past.run.summary.is_some()), (None, 0, true));
        assert_eq!(world.sync().report_of(2).await.unwrap().unwrap().changes.len(), 3);
        assert_eq!(world.sync().report_of(4).await.unwrap(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_killed_leaves_all_but_the_last_lines_of_its_report() {
    for world in World::each().await {
        world.book.meanwhile(async {});
        let fates = std::iter::repeat_n(Fate::Fine, 300).chain([Fate::Hangs]);
        world.book.next(fates);
        let sync = world.sync();
        tokio::select! {
            _ = sync.run(all(people(400, "Bob"))) => unreachable!("a call hangs"),
            () = world.book.hung.notified() => {}
        }
        let past = world.sync().report_of(1).await.unwrap().unwrap();
        assert_eq!((past.changes.len() / 10, past.report, past.run.ended), (25, None, None));
        world.sync().forget(&chat(0)).await.unwrap().unwrap();
        let left = world.sync().report_of(1).await.unwrap().unwrap().changes;
        assert!(left.len() + 1 == past.changes.len() && left.iter().all(|change| change.chat != chat(0)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_report_that_is_written_after_somebody_was_forgotten_leaves_them_out() {
    for world in World::each().await {
        let sync = world.sync();
        let event = async move {
            sync.forget(&chat(0)).await.unwrap().unwrap();
        };
        // While the second is called, the line about the first is not written down yet.
        world.book.meanwhile(async {});
        world.book.meanwhile(event);
        world.run(people(2, "Bob")).await;
        let past = world.sync().report_of(1).await.unwrap().unwrap();
        assert_eq!(past.changes.iter().map(|change| &change.chat).collect::<Vec<_>>(), [&chat(1)]);
        let refused = world.run(people(2, "Bob")).await;
        assert_eq!(refused.refusals.len(), 1);
        assert_eq!(world.sync().report_of(2).await.unwrap().unwrap().report.unwrap().refusals, []);
    }
}

#[tokio::test(start_paused = true)]
async fn reads_of_the_book_take_the_place_of_no_report() {
    for world in World::each().await {
        world.run(people(3, "Bob")).await;
        let sync = world.sync().keep_reports(2);
        for _ in 0..5 {
            sync.refresh().await.unwrap();
        }
        assert_eq!(sync.report_of(1).await.unwrap().unwrap().changes.len(), 3);
        for name in ["Rob", "Bob"] {
            sync.run(all(people(3, name))).await.unwrap();
        }
        let kept = [1, 2, 7, 8].map(|run| (run, sync.report_of(run)));
        for (run, kept) in kept {
            let is_kept = kept.await.unwrap().unwrap().changes.len() == 3;
            assert_eq!(is_kept, run > 2, "run {run}");
        }
    }
}
