//! Plans that are kept: what a person has seen is carried out, or nothing; on every ledger.

use wawp_contacts::{
    ContactSync,
    record::Drift,
    sync::{Guardrail, Guardrails, MovedOn, SavedPlan, SyncError},
};

use crate::world::{World, all, chat, counts, people, row, some};

async fn kept(sync: &ContactSync, name: &str) -> SavedPlan {
    let saved = sync.plan_to_keep(all(people(5, name))).await.unwrap();
    // It may have waited in a file.
    serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap()
}

fn moved(result: Result<wawp_contacts::sync::Report, SyncError>) -> Vec<MovedOn> {
    match result {
        Err(SyncError::MovedOn(moved)) => moved,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_plan_is_carried_out_as_it_was_shown_and_only_once() {
    for world in World::each().await {
        let first = kept(&world.sync(), "Bob").await;
        assert!(world.book.calls().is_empty() && world.find(&chat(0)).await.is_none(), "a plan leaves nothing behind");
        let report = world.sync().run_saved(&first).await.unwrap();
        assert_eq!(counts(&report), [5, 0, 0, 0, 0, 0, 5], "{report}");

        let mut rows = people(5, "Rob");
        rows[4] = row(4, "Bob 4");
        let renames = world.sync().plan_to_keep(all(rows)).await.unwrap();
        assert_eq!((renames.plan.summary.renamed, renames.plan.summary.unchanged), (4, 1));
        let report = world.sync().run_saved(&renames).await.unwrap();
        assert_eq!(counts(&report), [0, 4, 1, 0, 0, 0, 4], "{report}");
        assert_eq!(world.book.name(&chat(0)).as_deref(), Some("Rob 0"));

        let done = moved(world.sync().run_saved(&renames).await);
        assert_eq!(done.len(), 4, "what is done has moved on");
        assert_eq!(world.book.calls().len(), 9);
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_made_before_a_change_is_refused_by_name_and_calls_nobody() {
    for world in World::each().await {
        world.run(people(5, "Bob")).await;
        let calls = world.book.calls().len();
        for change in 0..4 {
            let saved = kept(&world.sync(), &format!("Rob {change}")).await;
            let named = match change {
                0 => {
                    world.sync().intake(some([row(1, "Eve")])).await.unwrap();
                    "row crm-1 (12025550001@c.us)"
                }
                1 => {
                    world.sync().intake(some([row(9, "A new one")])).await.unwrap();
                    "row crm-9 (12025550009@c.us)"
                }
                2 => {
                    world.sync().hold(&chat(2)).await.unwrap();
                    "row crm-2 (12025550002@c.us)"
                }
                _ => {
                    world.book.edit(&chat(3), "Mum");
                    world.sync().refresh().await.unwrap();
                    "row crm-3 (12025550003@c.us)"
                }
            };
            let error = world.sync().run_saved(&saved).await.unwrap_err();
            assert!(error.to_string().contains(named), "change {change}: {error}");
            assert!(error.to_string().contains("make a new plan"), "{error}");
            assert_eq!(world.book.calls().len(), calls, "change {change}");
            assert!(world.record(0).await.wanted().unwrap().name.full() == "Bob 0", "nothing took effect");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_comes_between_the_check_and_the_effect_is_not_overruled() {
    for world in World::each().await {
        world.run(people(5, "Bob")).await;
        let saved = kept(&world.sync(), "Rob").await;
        let other = world.sync();
        world.shaky.before_apply(async move {
            other.intake(some([row(1, "Eve")])).await.unwrap();
        });
        let moved = moved(world.sync().run_saved(&saved).await);
        assert_eq!(moved.len(), 1, "{moved:?}");
        assert_eq!(world.book.calls().len(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn p12_a_plan_that_a_guardrail_stops_is_not_carried_out() {
    let world = World::new();
    world.run(people(40, "Bob")).await;
    let stopped = world.guarded().plan_to_keep(all(people(40, "Rob"))).await.unwrap();
    assert!(matches!(stopped.plan.guardrail, Some(Guardrail::ManyRenames { .. })));
    let error = world.sync().run_saved(&stopped).await.unwrap_err();
    assert!(matches!(error, SyncError::NotThisPlan(_)), "{error}");

    let agreed = world.guarded().guardrails(Guardrails::off()).plan_to_keep(all(people(40, "Rob"))).await.unwrap();
    let report = world.guarded().run_saved(&agreed).await.unwrap();
    assert_eq!(report.summary.renamed, 40, "whoever made the plan has agreed: {report}");
}

#[tokio::test(start_paused = true)]
async fn p7_a_plan_of_another_instance_is_refused() {
    let world = World::new();
    let mut saved = kept(&world.sync(), "Bob").await;
    saved.instance = "OTHER".parse().unwrap();
    let error = world.sync().run_saved(&saved).await.unwrap_err();
    assert!(error.to_string().contains("OTHER"), "{error}");
    assert!(world.book.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn p8_what_a_person_saved_since_the_plan_is_seen_before_it_is_overwritten() {
    for world in World::each().await {
        let ask = world.sync().drift(Drift::Ask);
        ask.run(all(people(5, "Bob"))).await.unwrap();
        let saved = kept(&world.sync(), "Rob").await;
        world.book.edit(&chat(0), "Mum");
        world.sync().run_saved(&saved).await.unwrap();
        assert_eq!(
            (world.book.name(&chat(0)).as_deref(), world.texts(0).await),
            (Some("Rob 0"), vec!["Mum".to_owned()])
        );
    }
}

#[tokio::test(start_paused = true)]
async fn refused_rows_are_told_by_the_run_as_by_the_plan() {
    let world = World::new();
    let rows =
        [row(0, "Ann"), row(1, ""), row(2, "Bob"), wawp_contacts::crm::CrmContact::new("twin", chat(2)).named("B", "")];
    let saved = world.sync().plan_to_keep(all(rows)).await.unwrap();
    let report = world.sync().run_saved(&saved).await.unwrap();
    assert_eq!((saved.plan.summary.refused, report.summary.refused), (3, 3), "{report}");
    assert_eq!(counts(&report), [1, 0, 0, 3, 0, 0, 1], "{report}");
}

#[tokio::test(start_paused = true)]
async fn the_policy_of_a_plan_holds_for_all_contacts_whatever_ran_since() {
    for world in World::each().await {
        let ask = || world.sync().drift(Drift::Ask);
        ask().run(all(people(3, "Bob"))).await.unwrap();
        world.book.edit(&chat(0), "Mum");
        ask().refresh().await.unwrap();
        let asked = world.record(0).await.status;
        let saved = ask().plan_to_keep(some([row(1, "Rob")])).await.unwrap();
        world.sync().drift(Drift::IfRaw).intake(some([])).await.unwrap();
        assert_ne!(world.record(0).await.status, asked, "the other policy leaves the name");
        let report = world.sync().run_saved(&saved).await.unwrap();
        assert_eq!((report.summary.calls, world.record(0).await.status), (1, asked), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_only_the_policy_of_a_plan_would_send_now_was_not_in_it() {
    for world in World::each().await {
        world.run(people(3, "Bob")).await;
        world.sync().refresh().await.unwrap();
        let saved = world.sync().plan_to_keep(some([row(1, "Rob")])).await.unwrap();
        world.book.edit(&chat(0), "Mum");
        world.sync().drift(Drift::Ask).refresh().await.unwrap();
        let moved = moved(world.sync().run_saved(&saved).await);
        assert_eq!(moved.iter().map(|moved| &moved.chat).collect::<Vec<_>>(), [&chat(0)]);
        assert_eq!((world.book.calls().len(), world.state().await.drift), (3, Drift::Ask), "nothing took effect");
    }
}
