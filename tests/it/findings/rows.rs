//! Rows of the CRM: missing, moved, refused, competing and stale ones.

use wawp_contacts::{
    crm::{Feed, Refusal, RefusalReason, RowError},
    sync::{Guardrail, Guardrails, LeftReason},
};

use crate::world::{World, all, chat, claim, counts, people, row, some};

#[tokio::test(start_paused = true)]
async fn a_row_that_is_gone_is_listed_once_and_its_name_is_left_alone() {
    for world in World::each().await {
        world.run(people(50, "Bob")).await;
        let calls = world.book.calls().len();
        let report = world.guarded().run(all(people(45, "Bob"))).await.unwrap();
        assert_eq!((counts(&report), report.summary.left), ([0, 0, 45, 0, 0, 0, 0], 5), "{report}");
        let left = &report.notes.left[0];
        assert_eq!((left.reason, left.name.as_deref()), (LeftReason::Gone, Some("Bob 45")));
        let report = world.guarded().run(all(people(45, "Bob"))).await.unwrap();
        assert_eq!((counts(&report), report.summary.left), ([0, 0, 45, 0, 0, 0, 0], 0));
        let report = world.guarded().run(all(people(50, "Bob"))).await.unwrap();
        assert_eq!(counts(&report), [0, 0, 50, 0, 0, 0, 0], "they come back, and are called so already");
        assert_eq!(world.book.calls().len(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn p12_a_snapshot_that_lacks_many_rows_stops_the_run_and_withdraws_nothing() {
    for world in World::each().await {
        world.run(people(70, "Bob")).await;
        let report = world.guarded().run(all(people(45, "Bob"))).await.unwrap();
        assert_eq!(report.guardrail, Some(Guardrail::MissingRows { missing: 25, known: 70 }));
        assert_eq!((world.record(60).await.claims.len(), report.summary.left), (1, 0), "{report}");
        let report = world
            .guarded()
            .guardrails(Guardrails::default().max_missing_share(0.5))
            .run(all(people(45, "Bob")))
            .await
            .unwrap();
        assert_eq!((report.guardrail, report.summary.left), (None, 25));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_from_what_a_feed_of_changes_lacks() {
    for world in World::each().await {
        world.run(people(50, "Bob")).await;
        let report = world.guarded().run(some(vec![row(3, "Robert")])).await.unwrap();
        assert_eq!((counts(&report)[1], report.summary.left, report.guardrail.clone()), (1, 0, None), "{report}");
        let report = world.run(people(50, "Bob")).await;
        assert_eq!(counts(&report), [0, 1, 49, 0, 0, 0, 1], "the snapshot is newer than the change");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_row_claims_its_person_all_the_same() {
    for world in World::each().await {
        world.run(vec![claim("crm-a", 0, "Ann"), claim("crm-b", 0, "Bob")]).await;
        let report = world.run(vec![claim("crm-a", 0, "Ann"), claim("crm-b", 0, " ")]).await;
        assert_eq!((report.summary.calls, world.book.calls().len()), (0, 0), "{report}");
        assert_eq!(report.summary.refused, 2, "each row is counted once: {report}");
        let report = world.run(vec![claim("crm-a", 0, "Ann")]).await;
        assert_eq!((counts(&report), world.book.sent()), ([1, 0, 0, 0, 0, 0, 1], vec!["Ann".into()]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_the_source_refused_claims_its_person_if_it_names_them() {
    for world in World::each().await {
        world.run(vec![claim("crm-a", 0, "Ann"), claim("crm-b", 0, "Bob")]).await;
        let refusal =
            Refusal::new(RefusalReason::Malformed, "half a row").of_row(Some("crm-b")).claiming(Some(chat(0)));
        let rows = vec![Ok(claim("crm-a", 0, "Ann")), Err(RowError::Refused(refusal))];
        let report = world.sync().run(Feed::snapshot(futures_util::stream::iter(rows))).await.unwrap();
        assert_eq!((report.summary.calls, world.book.calls().len()), (0, 0), "{report}");
    }
}

#[tokio::test(start_paused = true)]
async fn versions_of_different_rows_are_never_compared() {
    for world in World::each().await {
        world.run(vec![claim("crm-a", 0, "Ann").at_version(5)]).await;
        let report = world.run(vec![claim("crm-b", 0, "Bob").at_version(1)]).await;
        assert_eq!((counts(&report), report.summary.stale), ([0, 1, 0, 0, 0, 0, 1], 0));
        let report =
            world.run(vec![claim("crm-b", 0, "Bob").at_version(1), claim("crm-a", 0, "Ann").at_version(3)]).await;
        assert_eq!((report.summary.refused, report.summary.calls), (2, 0), "two rows claim the person: {report}");
    }
}

#[tokio::test(start_paused = true)]
async fn p12_versions_that_begin_anew_stop_the_run() {
    for world in World::each().await {
        let at =
            |version, name| people(30, name).into_iter().map(move |row| row.at_version(version)).collect::<Vec<_>>();
        world.run(at(1_700_000_000_000, "Bob")).await;
        let report = world.guarded().run(all(at(1_700_000_001, "Robert"))).await.unwrap();
        assert_eq!(report.guardrail, Some(Guardrail::StaleRows { stale: 30, rows: 30 }));
        let report = world.run(at(1_700_000_001, "Robert")).await;
        assert_eq!((counts(&report), report.summary.stale), ([0, 0, 30, 0, 0, 0, 0], 30), "they are not taken for new");
    }
}

#[tokio::test(start_paused = true)]
async fn p12_rows_that_cannot_be_used_stop_the_run() {
    let world = World::new();
    let refused = || Err(RowError::Refused(Refusal::new(RefusalReason::NoPhone, "no phone")));
    let rows: Vec<_> = std::iter::repeat_with(refused).take(30).chain(people(10, "Bob").into_iter().map(Ok)).collect();
    let report = world.guarded().run(Feed::snapshot(futures_util::stream::iter(rows))).await.unwrap();
    assert_eq!(report.guardrail, Some(Guardrail::RefusedRows { refused: 30, rows: 40 }));
    assert_eq!((world.book.requests(), world.find(&chat(0)).await), (0, None));
}

#[tokio::test(start_paused = true)]
async fn p12_rows_without_a_name_that_can_be_used_stop_the_run() {
    let world = World::new();
    let rows = (0..30).map(|n| row(n, " ")).chain((30..40).map(|n| row(n, "Bob")));
    let report = world.guarded().run(all(rows)).await.unwrap();
    assert_eq!(report.guardrail, Some(Guardrail::RefusedRows { refused: 30, rows: 40 }));
}

#[tokio::test(start_paused = true)]
async fn p12_a_known_contact_whose_row_cannot_be_read_has_lost_its_name_as_well() {
    for world in World::each().await {
        world.run(people(2, "Bob")).await;
        let refusal =
            Refusal::new(RefusalReason::Malformed, "half a row").of_row(Some("crm-0")).claiming(Some(chat(0)));
        let rows = vec![Err(RowError::Refused(refusal)), Ok(row(1, "Bob 1"))];
        let report = world.guarded().run(Feed::snapshot(futures_util::stream::iter(rows))).await.unwrap();
        assert_eq!(report.guardrail, Some(Guardrail::Blanked { blanked: 1 }));
    }
}

#[tokio::test(start_paused = true)]
async fn two_rows_that_exchange_their_persons_exchange_their_names() {
    for world in World::each().await {
        world.run(vec![claim("crm-a", 0, "Ann"), claim("crm-b", 1, "Bob")]).await;
        let report = world.run(vec![claim("crm-a", 1, "Ann"), claim("crm-b", 0, "Bob")]).await;
        assert_eq!((counts(&report), report.summary.left), ([0, 2, 0, 0, 0, 0, 2], 0), "{report}");
        let report = world.run(vec![claim("crm-a", 1, "Ann"), claim("crm-b", 0, "Bob")]).await;
        assert_eq!(counts(&report), [0, 0, 2, 0, 0, 0, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_moves_away_and_back_within_one_export_has_moved_nowhere() {
    for world in World::each().await {
        world.run(vec![claim("crm-a", 0, "Ann")]).await;
        let export = vec![claim("crm-a", 0, "Ann"), claim("crm-a", 1, "Ann"), claim("crm-a", 0, "Ann")];
        let report = world.run(export).await;
        assert_eq!((counts(&report), report.summary.left), ([0, 0, 1, 0, 0, 0, 0], 0), "{report}");
        assert_eq!(world.book.name(&chat(1)), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_that_the_source_refused_is_not_gone() {
    for world in World::each().await {
        world.run(people(2, "Bob")).await;
        let refusal = Refusal::new(RefusalReason::BadPhone, "no phone").of_row(Some("crm-0"));
        let rows = vec![Err(RowError::Refused(refusal)), Ok(row(1, "Bob 1"))];
        let report = world.sync().run(Feed::snapshot(futures_util::stream::iter(rows))).await.unwrap();
        assert_eq!((report.summary.left, world.record(0).await.claims.len()), (0, 1), "{report}");
    }
}
