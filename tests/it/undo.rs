//! Runs that are taken back; on every ledger.

use wawp_contacts::{
    ErrorKind, Pace,
    ledger::Ledger as _,
    record::{Cause, Status},
    sync::{Guardrail, Guardrails, SyncError},
};

use crate::{
    book::Fate,
    world::{World, all, chat, people, row, seconds, some},
};

/// Three contacts were called Bob, and a second run called them Rob; gives the number of that run.
async fn renamed(world: &World) -> u64 {
    world.run(people(3, "Bob")).await;
    world.run(people(3, "Rob")).await.run
}

#[tokio::test(start_paused = true)]
async fn an_undo_gives_the_names_back_and_the_next_run_leaves_them() {
    for world in World::each().await {
        let run = renamed(&world).await;
        let (planned, plan) = world.sync().plan_undo(run).await.unwrap();
        assert_eq!((planned.restored, plan.summary.renamed, plan.changes[0].cause), (3, 3, Cause::Undo));
        assert!(world.shows(3, "Rob"), "a plan writes nothing");
        let (undo, report) = world.sync().undo(run).await.unwrap();
        assert_eq!((undo, report.summary.calls), (planned, 3));
        assert!(world.shows(3, "Bob"));
        assert_eq!(world.run(people(3, "Rob")).await.summary.calls, 0, "the same wish is not pushed again");
        let story = world.sync().explain(&chat(0)).await.unwrap().unwrap();
        assert!(story.why.contains(&format!("run {run} was undone")), "{story}");
        let changed = world.run([people(2, "Rob"), vec![row(2, "Robert")]].concat()).await;
        assert_eq!((changed.summary.calls, world.book.name(&chat(2)).as_deref()), (1, Some("Robert")));
        assert_eq!(world.run([people(2, "Rob"), vec![row(2, "Robert")]].concat()).await.summary.calls, 0);
        world.sync().release(&chat(0)).await.unwrap();
        let released = world.run([people(2, "Rob"), vec![row(2, "Robert")]].concat()).await;
        assert_eq!((released.summary.calls, world.book.name(&chat(0)).as_deref()), (1, Some("Rob 0")));
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_of_an_undo_is_the_run_again() {
    for world in World::each().await {
        let run = renamed(&world).await;
        let (_, undone) = world.sync().undo(run).await.unwrap();
        let (again, report) = world.sync().undo(undone.run).await.unwrap();
        assert_eq!((again.restored, report.summary.calls), (3, 3));
        assert!(world.shows(3, "Rob"));
        assert_eq!(world.record(0).await.substitute, None);
        assert_eq!(world.run(people(3, "Rob")).await.summary.calls, 0);
        let (nothing, report) = world.sync().undo(run).await.unwrap();
        assert_eq!((nothing.restored, nothing.superseded.len(), report.summary.calls), (0, 3, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_of_an_undo_that_is_lost_to_another_writer_is_made_again() {
    for world in World::each().await {
        let run = renamed(&world).await;
        let (_, undone) = world.sync().undo(run).await.unwrap();
        world.shaky.before_apply(world.touch(1));
        let (again, report) = world.sync().undo(undone.run).await.unwrap();
        assert_eq!((again.restored, report.summary.calls), (3, 3));
        assert!(world.shows(3, "Rob"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_person_edited_since_is_listed_and_not_overwritten() {
    for world in World::each().await {
        let run = renamed(&world).await;
        world.book.edit(&chat(1), "Mum");
        let (planned, _) = world.sync().plan_undo(run).await.unwrap();
        assert_eq!((planned.restored, &*planned.edited_since), (2, &[chat(1)][..]));
        let (undo, report) = world.sync().undo(run).await.unwrap();
        assert_eq!((undo.restored, &*undo.edited_since, report.summary.calls), (2, &[chat(1)][..], 2));
        assert_eq!(world.run(people(3, "Rob")).await.summary.calls, 0);
        assert_eq!(world.book.name(&chat(1)).as_deref(), Some("Mum"));
        assert_eq!(world.run(people(3, "Robert")).await.summary.calls, 3, "another wish stands over it");
    }
}

#[tokio::test(start_paused = true)]
async fn human_text_that_a_run_overwrote_is_given_back() {
    for world in World::each().await {
        world.book.edit(&chat(0), "My brother \u{1f468}\u{200d}\u{1f469}");
        let run = world.run(people(2, "Bob")).await.run;
        assert_eq!(world.book.name(&chat(0)).as_deref(), Some("Bob 0"));
        let (undo, report) = world.sync().undo(run).await.unwrap();
        assert_eq!((undo.restored, report.summary.calls), (1, 1), "the one that was created keeps its name");
        assert_eq!(world.book.name(&chat(0)).as_deref(), Some("My brother \u{1f468}\u{200d}\u{1f469}"));
        assert_eq!(world.book.name(&chat(1)).as_deref(), Some("Bob 1"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_wish_and_a_later_run_stand() {
    for world in World::each().await {
        let run = renamed(&world).await;
        world.run([people(2, "Rob"), vec![row(2, "Robert")]].concat()).await;
        world.sync().intake(all([row(0, "Rob 0"), row(1, "Bobby"), row(2, "Robert")])).await.unwrap();
        let (undo, _) = world.sync().undo(run).await.unwrap();
        assert_eq!((undo.restored, undo.superseded), (1, vec![chat(1), chat(2)]));
        let names: Vec<_> = (0..3).map(|n| world.book.name(&chat(n)).unwrap()).collect();
        assert_eq!(names, ["Bob 0", "Rob 1", "Robert"], "an undo sends nothing but what it gives back");
        world.run(vec![row(0, "Rob 0"), row(1, "Bobby"), row(2, "Robert")]).await;
        assert_eq!(world.book.name(&chat(1)).as_deref(), Some("Bobby"), "and the next run goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_is_stopped_by_a_guardrail_like_any_other_run() {
    for world in World::each().await {
        let run = renamed(&world).await;
        let strict = world.sync().guardrails(Guardrails::default().max_renamed_share(0.0).free_renames(0));
        let (undo, report) = strict.undo(run).await.unwrap();
        assert!(matches!(report.guardrail, Some(Guardrail::ManyRenames { .. })) && undo.restored == 3, "{report}");
        assert!(world.shows(3, "Rob"));
        assert_eq!((world.record(0).await.substitute, world.record(0).await.status), (None, Status::InSync));
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_dies_is_gone_on_with_by_the_next_run() {
    for world in World::each().await {
        let run = renamed(&world).await;
        world.book.next([Fate::Hangs]);
        let sync = world.sync();
        tokio::select! {
            _ = sync.undo(run) => unreachable!("the call hangs"),
            () = world.book.hung.notified() => {}
        }
        world.book.restart();
        tokio::time::sleep(seconds(120)).await;
        world.run(people(3, "Rob")).await;
        assert!(world.shows(3, "Bob"), "{:?}", world.book.calls());
    }
}

/// How many runs the ledger knows.
async fn runs(world: &World) -> usize {
    world.ledger.runs(&world.instance, usize::MAX).await.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn a_run_that_nobody_knows_cannot_be_undone() {
    for world in World::each().await {
        renamed(&world).await;
        let (calls, count) = (world.book.calls().len(), runs(&world).await);
        // The next run's number is nobody's yet, not even that of the undo.
        for run in [77, 0, count as u64 + 1] {
            assert!(matches!(world.sync().undo(run).await, Err(SyncError::NoSuchRun(known)) if known == run));
            assert!(matches!(world.sync().plan_undo(run).await, Err(SyncError::NoSuchRun(known)) if known == run));
        }
        assert_eq!((world.book.calls().len(), runs(&world).await), (calls, count));
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_other_reasons_is_not_sent_by_an_undo() {
    for world in World::each().await {
        let run = renamed(&world).await;
        world.sync().intake(some((10..20).map(|n| row(n, "New")))).await.unwrap();
        let (planned, plan) = world.sync().plan_undo(run).await.unwrap();
        assert_eq!((planned.restored, plan.summary.calls, plan.changes.len()), (3, 3, 3), "{plan}");
        let (undo, report) = world.sync().undo(run).await.unwrap();
        assert_eq!((undo.restored, report.summary.calls, report.summary.gated), (3, 3, 0), "{report}");
        assert_eq!(world.book.name(&chat(10)), None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_has_nothing_to_give_back_calls_nobody() {
    for world in World::each().await {
        let run = world.run(people(3, "Bob")).await.run;
        world.sync().intake(some((10..20).map(|n| row(n, "New")))).await.unwrap();
        let (undo, report) = world.sync().undo(run).await.unwrap();
        assert_eq!((undo.restored, report.summary.calls), (0, 0), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_asks_the_ledger_about_as_often_as_the_run_did() {
    const MANY: usize = 1_200;
    let world = World::new();
    world.book.keep(Pace::per_second(1));
    world.run(people(MANY, "Bob")).await;
    let before = world.shaky.looks();
    let run = world.run(people(MANY, "Rob")).await.run;
    let by_run = world.shaky.looks() - before;
    let (undo, report) = world.sync().undo(run).await.unwrap();
    assert_eq!((undo.restored, report.summary.calls), (MANY as u64, MANY as u64));
    let by_undo = world.shaky.looks() - before - by_run;
    assert!(by_undo < by_run + MANY / 10, "{by_undo} times for the undo, {by_run} for the run");
}

#[tokio::test(start_paused = true)]
async fn an_undo_waits_for_a_contact_that_fails_and_leaves_none_behind() {
    for world in World::each().await {
        world.run(people(600, "Bob")).await;
        let run = world.run(people(600, "Rob")).await.run;
        for n in [0, 300, 599] {
            world.book.next_of(&chat(n), [Fate::Fails(ErrorKind::Server); 2]);
        }
        let (_, report) = world.sync().undo(run).await.unwrap();
        assert_eq!((report.summary.renamed, report.summary.gated), (600, 0), "{report}");
        assert!(world.shows(600, "Bob"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_is_told_to_stop_is_gone_on_with_by_the_same_undo() {
    for world in World::each().await {
        world.run(people(4, "Bob")).await;
        let run = world.run(people(4, "Rob")).await.run;
        let (book, calls) = (world.book.clone(), world.book.calls().len());
        world.book.take(seconds(1));
        let stop = async move {
            while book.calls().len() < calls + 2 {
                tokio::time::sleep(seconds(1) / 10).await;
            }
        };
        let (undo, report) = world.sync().undo_until(run, stop).await.unwrap();
        assert_eq!((undo.restored, report.stopped, report.applied), (4, true, true));
        assert_eq!((report.summary.calls, report.summary.gated), (2, 2), "{report}");
        let (_, plan) = world.sync().plan_undo(run).await.unwrap();
        assert_eq!(plan.summary.calls, 2);
        let (undo, report) = world.sync().undo(run).await.unwrap();
        assert_eq!((undo.restored, undo.superseded.len(), report.summary.calls), (2, 2, 2), "{report}");
        assert!(world.shows(4, "Bob"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_that_is_told_to_stop_before_it_takes_effect_changes_nothing() {
    for world in World::each().await {
        let run = renamed(&world).await;
        world.book.hang_reads();
        let (_, report) = world.sync().undo_until(run, tokio::time::sleep(seconds(1))).await.unwrap();
        assert_eq!((report.stopped, report.applied, report.summary.calls), (true, false, 0), "{report}");
        assert_eq!(world.record(0).await.substitute, None);
    }
}

#[tokio::test(start_paused = true)]
async fn p1_an_undo_behind_another_account_gives_nothing_back_and_hides_no_name_from_the_next_run() {
    for world in World::each().await {
        world.book.log_in(&chat(900));
        let run = renamed(&world).await;
        world.book.log_in(&chat(901));
        world.book.wipe();
        let (undo, report) = world.sync().undo(run).await.unwrap();
        assert_eq!((undo.restored, undo.superseded.len(), report.summary.calls), (0, 3, 0), "{report}");
        assert_eq!(world.run(people(3, "Rob")).await.summary.created, 3);
        assert!(world.shows(3, "Rob"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_stands_where_an_export_names_a_row_twice() {
    for world in World::each().await {
        let run = renamed(&world).await;
        world.sync().undo(run).await.unwrap();
        let twice = || [vec![row(0, "Rob 0").in_stage("Lead"), row(1, "Other 1")], people(3, "Rob")].concat();
        for _ in 0..2 {
            assert_eq!(
                world.run(twice()).await.summary.calls,
                0,
                "the last row of an id counts, and wants what was undone"
            );
            assert!(world.shows(3, "Bob"));
        }
        let moved = [vec![row(0, "Rob 0")], people(3, "Robert")].concat();
        assert_eq!(world.run(moved).await.summary.calls, 3, "another wish stands over it");
    }
}
