//! Names that people save on the phone, and what a person says of single contacts; on every ledger.

use std::{
    collections::HashSet,
    pin::pin,
    sync::{Arc, Mutex},
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;
use wawp_contacts::{
    ContactSync, ErrorKind,
    crm::CrmContact,
    naming::{Funnel, Naming},
    record::{Cause, Drift, Edit, Hold, Park, Status},
    sync::{Guardrail, Guardrails, Progress, Retry},
};

use crate::{
    book::Fate,
    world::{World, all, chat, counts, people, row, seconds},
};

#[tokio::test(start_paused = true)]
async fn what_is_adopted_is_not_called_for_and_only_true_differences_are_planned() {
    for world in World::each().await {
        for n in 0..5 {
            world.book.edit(&chat(n), &format!("Bob {n}"));
        }
        world.book.edit(&chat(3), "Mum");
        world.book.edit(&chat(99), "A stranger to the CRM");
        for round in 0..2 {
            let adoption = world.sync().adopt(all(people(6, "Bob"))).await.unwrap();
            let found = adoption.found.unwrap();
            assert_eq!((found.read, found.matching, found.different, found.drifted), (6, 4, 1, 0), "round {round}");
            assert!(found.complete && world.book.calls().is_empty());
            assert_eq!(adoption.intake.summary.calls, 0);
        }
        let sent = world.record(0).await.pushed.sent.unwrap();
        assert_eq!((sent.wish.name.full(), sent.run), ("Bob 0", 0));
        let plan = world.plan(people(6, "Bob")).await;
        let planned: Vec<_> = plan.changes.iter().map(|change| (change.before.as_deref(), &*change.after)).collect();
        assert_eq!(planned, [(Some("Mum"), "Bob 3"), (None, "Bob 5")]);
        let report = world.run(people(6, "Bob")).await;
        assert_eq!(counts(&report), [1, 1, 4, 0, 0, 0, 2]);
        assert_eq!(world.texts(3).await, ["Mum"], "what was found is in the history");
    }
}

#[tokio::test(start_paused = true)]
async fn the_address_book_is_read_again_and_again_with_jitter_and_a_failure_does_not_end_it() {
    for world in World::each().await {
        world.run(people(2, "Bob")).await;
        let sync = world.sync();
        let mut reads = pin!(sync.refresh_every(seconds(3_600)));
        let mut waits = HashSet::new();
        for round in 0..6 {
            let (began, calls) = (Instant::now(), world.book.calls().len());
            if round == 3 {
                world.shaky.fail_after(0);
            }
            world.book.edit(&chat(0), &format!("Mum {round}"));
            let found = reads.next().await.unwrap();
            world.shaky.heal();
            match found {
                Ok(found) => assert!(round != 3 && found.drifted == 1, "{round}: {found:?}"),
                Err(error) => assert_eq!(round, 3, "{error}"),
            }
            assert_eq!(world.book.calls().len(), calls, "it writes no name");
            let waited = began.elapsed();
            let allowed = if round == 0 { seconds(0)..seconds(60) } else { seconds(3_200)..seconds(4_000) };
            assert!(allowed.contains(&waited), "{round}: {waited:?}");
            waits.insert(waited.as_millis());
        }
        assert!(waits.len() >= 5, "the same every time: {waits:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_adoption_that_finds_other_names_can_be_begun_anew() {
    for world in World::each().await {
        for n in 0..40 {
            world.book.edit(&chat(n), &format!("Mum {n}"));
        }
        for round in 0..2 {
            let adoption = world.guarded().adopt(all(people(40, "Bob"))).await.unwrap();
            assert_eq!(adoption.intake.guardrail, None, "round {round}");
            assert_eq!(adoption.found.unwrap().different, 40, "round {round}");
        }
        let report = world.guarded().run(all(people(40, "Bob"))).await.unwrap();
        assert!(matches!(report.guardrail, Some(Guardrail::ManyRenames { renamed: 40, known: 40 })), "{report}");
        assert!(world.book.calls().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_a_guardrail_stops_are_not_adopted() {
    let world = World::new();
    world.run(people(40, "Bob")).await;
    let strict = world.sync().guardrails(Guardrails::default());
    let adoption = strict.adopt(all(people(2, "Bob"))).await.unwrap();
    assert!(matches!(adoption.intake.guardrail, Some(Guardrail::MissingRows { .. })), "{}", adoption.intake);
    assert_eq!(adoption.found, None);
}

/// A name that is written again says so, and not why it was written the first time.
#[tokio::test(start_paused = true)]
async fn a_name_that_is_written_over_an_edit_is_told_as_that() {
    for world in World::each().await {
        world.run(people(2, "Ann")).await;
        world.run(people(2, "Bob")).await;
        world.book.edit(&chat(0), "Mum");
        world.sync().refresh().await.unwrap();
        let plan = world.plan(people(2, "Bob")).await;
        let planned: Vec<_> = plan.changes.iter().map(|change| (change.before.as_deref(), change.cause)).collect();
        assert_eq!(planned, [(Some("Mum"), Cause::Drift)]);
        let report = world.run(people(2, "Cat")).await;
        assert_eq!(report.summary.renamed, 2);
        assert_eq!(world.record(0).await.cause(), Some(Cause::Name), "the CRM changed it");
    }
}

/// Three contacts were sent; then somebody saves another name for the first of them.
async fn edited(world: &World, drift: Drift) {
    world.sync().drift(drift).run(all(people(3, "Bob"))).await.unwrap();
    world.book.edit(&chat(0), "Mum");
    let found = world.sync().drift(drift).refresh().await.unwrap();
    assert_eq!((found.read, found.drifted, found.complete), (3, 1, true), "{drift:?}");
}

#[tokio::test(start_paused = true)]
async fn the_policy_decides_about_a_name_that_was_saved_on_the_phone() {
    for (drift, status, calls) in [
        (Drift::CrmWins, None, 1),
        (Drift::Ask, Some(Status::Parked { reason: Park::Drifted }), 0),
        (Drift::IfRaw, Some(Status::InSync), 0),
    ] {
        for world in World::each().await {
            edited(&world, drift).await;
            if let Some(status) = status {
                assert_eq!(world.record(0).await.status, status);
            }
            let report = world.sync().drift(drift).run(all(people(3, "Bob"))).await.unwrap();
            assert_eq!(report.summary.calls, calls, "{drift:?}");
            let (shown, kept) = if calls == 1 { ("Bob 0", vec!["Mum"]) } else { ("Mum", vec![]) };
            assert_eq!(world.book.name(&chat(0)).as_deref(), Some(shown), "{drift:?}");
            assert_eq!(world.texts(0).await, kept, "{drift:?}");
            let again = world.sync().drift(drift).run(all(people(3, "Bob"))).await.unwrap();
            assert_eq!(again.summary.calls, 0, "{drift:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_policy_decides_anew_and_the_guardrails_weigh_it() {
    for world in World::each().await {
        edited(&world, Drift::IfRaw).await;
        let strict = Guardrails::default().max_renamed_share(0.0).free_renames(0);
        let stopped = world.sync().guardrails(strict).run(all(people(3, "Bob"))).await.unwrap();
        assert!(matches!(stopped.guardrail, Some(Guardrail::ManyRenames { .. })), "{stopped}");
        assert_eq!(world.record(0).await.status, Status::InSync, "nothing took effect");
        let report = world.run(people(3, "Bob")).await;
        assert_eq!((report.summary.calls, world.book.name(&chat(0)).as_deref()), (1, Some("Bob 0")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_under_another_policy_decides_anew_as_well() {
    for world in World::each().await {
        edited(&world, Drift::Ask).await;
        let found = world.sync().refresh().await.unwrap();
        assert_eq!(found.drifted, 1);
        assert!(world.record(0).await.status.due_at().is_some(), "the policy is that the CRM wins by now");
        assert_eq!(world.run(people(3, "Bob")).await.summary.calls, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_sends_the_name_of_the_crm_again() {
    for world in World::each().await {
        edited(&world, Drift::Ask).await;
        let sync = world.sync().drift(Drift::Ask);
        let waiting = sync.waiting().await.unwrap();
        assert_eq!(waiting.len(), 1);
        assert_eq!((waiting[0].shown.as_deref(), waiting[0].wanted.as_deref()), (Some("Mum"), Some("Bob 0")));
        assert_eq!(sync.retry(Retry::All).await.unwrap(), 0, "what a person saved is not overwritten by the way");
        assert!(sync.release(&chat(0)).await.unwrap().unwrap().status.due_at().is_some());
        let report = sync.run(all(people(3, "Bob"))).await.unwrap();
        assert_eq!((report.summary.calls, world.texts(0).await), (1, vec!["Mum".to_owned()]));
        assert_eq!(sync.waiting().await.unwrap(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_held_is_listed_whatever_else_it_waits_for() {
    for world in World::each().await {
        let sync = world.sync();
        world.run(people(700, "Bob")).await;
        for n in 0..600 {
            sync.hold(&chat(n)).await.unwrap();
        }
        world.run(people(2, "Rob").into_iter().chain(people(700, "Bob").into_iter().skip(2)).collect::<Vec<_>>()).await;
        let waiting = sync.waiting().await.unwrap();
        let listed: Vec<_> = waiting.iter().map(|contact| &contact.chat).collect();
        assert_eq!(listed, (0..600).map(chat).collect::<Vec<_>>().iter().collect::<Vec<_>>(), "each once");
        assert!(waiting.iter().all(|contact| contact.held_since.is_some()));
        assert_eq!(waiting.iter().filter(|contact| contact.status == Status::InSync).count(), 598);
        let standing = sync.standing().await.unwrap();
        assert_eq!((standing.by_hand, standing.held, standing.in_sync, standing.contacts), (600, 2, 698, 700));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_person_holds_is_called_for_by_no_run() {
    for world in World::each().await {
        let sync = world.sync();
        world.run(people(3, "Bob")).await;
        let held = sync.hold(&chat(1)).await.unwrap().unwrap();
        assert!(held.held.is_some());
        let report = world.run(people(3, "Rob")).await;
        assert_eq!((report.summary.calls, report.summary.held), (2, 1));
        assert_eq!(world.book.name(&chat(1)).as_deref(), Some("Bob 1"));
        assert!(matches!(world.record(1).await.status, Status::Held { reason: Hold::ByHand, .. }));
        assert!(report.to_string().contains("release it to go on"), "{report}");
        sync.release(&chat(1)).await.unwrap();
        assert_eq!(world.run(people(3, "Rob")).await.summary.calls, 1);
        assert!(world.shows(3, "Rob"));
        assert_eq!(sync.hold(&chat(77)).await.unwrap(), None, "nobody knows that one");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_calls_again_for_what_was_refused() {
    for world in World::each().await {
        let rejects = || [Fate::Fails(ErrorKind::Rejected)];
        world.book.next_of(&chat(0), rejects());
        world.book.next_of(&chat(1), rejects());
        let report = world.run(people(3, "Bob")).await;
        assert_eq!((report.summary.parked, report.summary.created), (2, 1), "{report}");
        assert_eq!(world.run(people(3, "Bob")).await.summary.calls, 0);
        let sync = world.sync();
        assert_eq!(sync.retry(Retry::Reason(Park::Drifted)).await.unwrap(), 0);
        assert_eq!(sync.retry(Retry::Contact(chat(0))).await.unwrap(), 1);
        assert_eq!(world.run(people(3, "Bob")).await.summary.calls, 1);
        assert_eq!(sync.retry(Retry::All).await.unwrap(), 1);
        assert_eq!(world.run(people(3, "Bob")).await.summary.calls, 1);
        assert!(world.shows(3, "Bob"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_contact_is_found_by_whatever_a_person_would_type() {
    for world in World::each().await {
        world.run(people(3, "Bob")).await;
        let sync = world.sync();
        for text in ["crm-1", "+1 (202) 555-0001", "12025550001@c.us", "1 202 555 0001", "bob 1", "OB 1"] {
            let found = sync.find(text, 9).await.unwrap();
            assert_eq!(found.iter().map(|record| &record.chat).collect::<Vec<_>>(), [&chat(1)], "{text}");
        }
        assert_eq!(sync.find("bob", 2).await.unwrap().len(), 2, "no more than were asked for");
        for nobody in ["", " ", "Zoe", "+1 202 555 0099"] {
            assert_eq!(sync.find(nobody, 9).await.unwrap(), [], "{nobody:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_contact_s_whole_story_is_told_in_order_with_why_it_is_as_it_is() {
    for world in World::each().await {
        edited(&world, Drift::CrmWins).await;
        let sync = world.sync();
        let due = sync.explain(&chat(0)).await.unwrap().unwrap();
        assert_eq!((due.status, &*due.why), ("due", "it is due: the next run writes it"));
        sync.run(all(people(3, "Bob"))).await.unwrap();
        sync.refresh().await.unwrap();
        let story = sync.explain(&chat(0)).await.unwrap().unwrap();
        assert_eq!((story.status, &*story.why), ("in_sync", "the address book shows the name that the CRM wants"));
        assert!(story.story.is_sorted_by_key(|happening| happening.at));
        let told: Vec<_> = story.story.iter().map(|happening| &*happening.what).collect();
        for part in ["row \"crm-0\" of the CRM wants \"Bob 0\"", "\"Mum\" was overwritten by \"Bob 0\"", "verified"] {
            assert!(told.iter().any(|what| what.contains(part)), "{part} in {told:?}");
        }
        assert_eq!(sync.explain(&chat(77)).await.unwrap(), None);
        let json = serde_json::to_value(&story).unwrap();
        assert_eq!((&json["chat"], &json["status"]), (&chat(0).as_str().into(), &"in_sync".into()));
        sync.hold(&chat(1)).await.unwrap();
        sync.run(all([row(0, "Bob 0"), row(1, "Robert"), row(2, "Bob 2")])).await.unwrap();
        let held = sync.explain(&chat(1)).await.unwrap().unwrap();
        assert!(held.why.contains("because a person said so"), "{held}");
        let text = held.to_string();
        assert!(text.starts_with("12025550001@c.us (held): ") && text.contains("2023-11-1"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_counts_as_a_run_and_writes_nothing() {
    for world in World::each().await {
        world.run(people(3, "Bob")).await;
        let calls = world.book.calls().len();
        let found = world.sync().refresh().await.unwrap();
        assert_eq!((found.read, found.drifted, found.matching, found.different), (3, 0, 3, 0));
        assert_eq!(world.book.calls().len(), calls);
        assert!(world.record(0).await.pushed.sent.unwrap().verified_at.is_some(), "accepted, and verified now");
        world.book.wipe();
        let found = world.sync().refresh().await.unwrap();
        assert_eq!((found.read, found.drifted), (0, 0), "absence is no deletion");
        assert_eq!(world.run(people(3, "Bob")).await.summary.calls, 0);
        world.book.refuse_reads(ErrorKind::Server);
        let found = world.sync().refresh().await.unwrap();
        assert!(!found.complete);
        world.book.heal();
    }
}

fn tagged(stage: &str) -> Vec<CrmContact> {
    people(3, "Bob").into_iter().map(|row| row.in_stage(stage)).collect()
}

/// Says of whom the observer is told, and what they are called.
fn told(sync: ContactSync) -> (ContactSync, Arc<Mutex<Vec<String>>>) {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let tell = Arc::clone(&told);
    let sync = sync.observer(move |progress| {
        if let Progress::Edited(Edit { crm_id, saved, is_taken_over, .. }) = progress {
            tell.lock().unwrap().push(format!("{crm_id} {saved} {is_taken_over}"));
        }
    });
    (sync, told)
}

#[tokio::test(start_paused = true)]
async fn a_name_from_the_phone_keeps_the_crm_s_tag_and_reaches_the_crm() {
    for drift in [Drift::PhoneWins, Drift::ByField] {
        for world in World::each().await {
            let (sync, told) = told(world.sync().drift(drift));
            sync.run(all(tagged("Lead"))).await.unwrap();
            world.book.edit(&chat(0), "Bobby");
            world.book.edit(&chat(1), "Bob 1 [Customer]");
            let report = sync.run(all(tagged("Lead"))).await.unwrap();
            assert_eq!(report.summary.calls, 0, "nobody has looked yet");
            sync.refresh().await.unwrap();
            assert_eq!(*told.lock().unwrap(), ["crm-0 Bobby true"], "{drift:?}");

            let report = sync.run(all(tagged("Lead"))).await.unwrap();
            assert_eq!(report.summary.calls, 2, "{drift:?}: {report}");
            assert_eq!(world.book.name(&chat(0)).as_deref(), Some("Bobby [Lead]"));
            assert_eq!(world.book.name(&chat(1)).as_deref(), Some("Bob 1 [Lead]"));
            assert_eq!(
                (world.texts(0).await, world.texts(1).await),
                (vec!["Bobby".into()], vec!["Bob 1 [Customer]".into()])
            );

            let edits: Vec<Edit> = sync.edits().try_collect().await.unwrap();
            let [edit] = &*edits else { panic!("{edits:?}") };
            assert_eq!((&edit.chat, &*edit.saved, &*edit.wanted), (&chat(0), "Bobby", "Bob 0 [Lead]"));

            sync.run(all(tagged("Customer"))).await.unwrap();
            assert_eq!(world.book.name(&chat(0)).as_deref(), Some("Bobby [Customer]"));
            let mut learnt = tagged("Customer");
            learnt[0] = row(0, "Bobby").in_stage("Customer");
            let report = sync.run(all(learnt)).await.unwrap();
            assert_eq!(report.summary.calls, 0, "the CRM has learnt the name: {report}");
            assert_eq!(sync.edits().try_collect::<Vec<_>>().await.unwrap(), []);
            assert_eq!(told.lock().unwrap().len(), 1, "once");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_is_seen_right_before_it_would_be_overwritten_is_told_as_well() {
    for (drift, shown) in [(Drift::PhoneWins, "Bobby [Customer]"), (Drift::ByField, "Bobby [Customer]")] {
        for world in World::each().await {
            let (sync, told) = told(world.sync().drift(drift));
            sync.run(all(tagged("Lead"))).await.unwrap();
            world.book.edit(&chat(0), "Bobby");
            let plan = sync.plan(all(tagged("Customer"))).await.unwrap();
            assert_eq!(plan.changes[0].after, shown, "the plan knows it");
            assert!(told.lock().unwrap().is_empty(), "a plan tells nobody");
            sync.run(all(tagged("Customer"))).await.unwrap();
            assert_eq!(world.book.name(&chat(0)).as_deref(), Some(shown), "{drift:?}");
            assert_eq!(*told.lock().unwrap(), ["crm-0 Bobby true"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_decision_is_told_and_listed_until_it_is_made() {
    for world in World::each().await {
        let (sync, told) = told(world.sync().drift(Drift::Ask));
        sync.run(all(people(3, "Bob"))).await.unwrap();
        world.book.edit(&chat(0), "Mum");
        sync.refresh().await.unwrap();
        assert_eq!(*told.lock().unwrap(), ["crm-0 Mum false"]);
        assert_eq!(sync.edits().try_collect::<Vec<_>>().await.unwrap().len(), 1);
        sync.release(&chat(0)).await.unwrap();
        assert_eq!(sync.edits().try_collect::<Vec<_>>().await.unwrap(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn p8_two_changes_of_one_name_wait_for_a_person_by_field() {
    for world in World::each().await {
        let sync = world.sync().drift(Drift::ByField);
        sync.run(all(people(1, "Bob"))).await.unwrap();
        world.book.edit(&chat(0), "Mum");
        let report = sync.run(all(people(1, "Robert"))).await.unwrap();
        assert_eq!((report.summary.calls, report.summary.parked), (0, 1), "{report}");
        assert_eq!(world.book.name(&chat(0)).as_deref(), Some("Mum"));
        let report = sync.run(all(people(1, "Rob"))).await.unwrap();
        assert_eq!(report.summary.calls, 1, "the CRM has decided: {report}");
        assert_eq!(
            (world.book.name(&chat(0)).as_deref(), world.texts(0).await),
            (Some("Rob 0"), vec!["Mum".to_owned()])
        );
    }
}

/// A read by somebody who does not know the tags must not let the CRM's name win over what a person saved.
#[tokio::test(start_paused = true)]
async fn p8_a_read_by_rules_that_do_not_know_the_tags_leaves_the_name_to_the_next_run() {
    for drift in [Drift::PhoneWins, Drift::ByField] {
        for world in World::each().await {
            let (sync, other) = (world.sync().drift(drift), world.named(Naming::new(Funnel::none())).drift(drift));
            sync.run(all(tagged("Lead"))).await.unwrap();
            world.book.edit(&chat(0), "Bobby [Lead]");
            world.book.edit(&chat(1), "Eve");
            other.refresh().await.unwrap();
            assert_eq!(world.record(0).await.status, Status::InSync, "nobody can tell yet what it is due for");
            sync.run(all(tagged("Lead"))).await.unwrap();
            assert_eq!(world.book.name(&chat(0)).as_deref(), Some("Bobby [Lead]"), "{drift:?}");
            assert_eq!(world.book.name(&chat(1)).as_deref(), Some("Eve [Lead]"), "{drift:?}");
            let edits: Vec<Edit> = sync.edits().try_collect().await.unwrap();
            assert_eq!(edits.iter().map(|edit| &*edit.saved).collect::<Vec<_>>(), ["Bobby", "Eve"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_taken_over_stays_under_another_policy_unless_the_crm_wins() {
    for (later, shown) in
        [(Drift::Ask, "Bobby [Lead]"), (Drift::IfRaw, "Bobby [Lead]"), (Drift::CrmWins, "Bob 0 [Lead]")]
    {
        for world in World::each().await {
            let sync = world.sync().drift(Drift::PhoneWins);
            sync.run(all(tagged("Lead"))).await.unwrap();
            world.book.edit(&chat(0), "Bobby");
            sync.refresh().await.unwrap();
            sync.run(all(tagged("Lead"))).await.unwrap();
            world.sync().drift(later).run(all(tagged("Lead"))).await.unwrap();
            assert_eq!(world.book.name(&chat(0)).as_deref(), Some(shown), "{later:?}");
        }
    }
}
