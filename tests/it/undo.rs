//! Runs that are taken back; on every ledger.

use wawp_contacts::{
    record::{Cause, Status},
    sync::{Guardrail, Guardrails, SyncError},
};

use crate::world::{World, all, chat, people, row, some};

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
        world.book.next([crate::book::Fate::Hangs]);
        let sync = world.sync();
        tokio::select! {
            _ = sync.undo(run) => unreachable!("the call hangs"),
            () = world.book.hung.notified() => {}
        }
        world.book.restart();
        tokio::time::sleep(crate::world::seconds(120)).await;
        world.run(people(3, "Rob")).await;
        assert!(world.shows(3, "Bob"), "{:?}", world.book.calls());
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_nobody_knows_cannot_be_undone() {
    for world in World::each().await {
        renamed(&world).await;
        let calls = world.book.calls().len();
        assert!(matches!(world.sync().undo(77).await, Err(SyncError::NoSuchRun(77))));
        assert!(matches!(world.sync().plan_undo(77).await, Err(SyncError::NoSuchRun(77))));
        assert_eq!(world.book.calls().len(), calls);
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
