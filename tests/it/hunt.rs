//! What a hunt for broken promises found; on every ledger.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use futures_util::TryStreamExt as _;
use wawp_contacts::{
    record::{Drift, Park, Status},
    sync::SyncError,
    testkit::WawpServer,
};

use crate::world::{World, all, chat, people, row, some};

fn tagged(name: &str, stage: &str) -> Vec<wawp_contacts::crm::CrmContact> {
    people(1, name).into_iter().map(|row| row.in_stage(stage)).collect()
}

/// Which of the texts the files of the ledger hold.
fn found<'a>(world: &World, texts: &[&'a str]) -> Vec<&'a str> {
    let files = fs::read_dir(world.home()).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let bytes = files.collect::<Vec<_>>().concat();
    texts.iter().copied().filter(|text| bytes.windows(text.len()).any(|part| part == text.as_bytes())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_run_that_failed_over_a_person_says_nothing_of_them_once_they_are_forgotten() {
    let world = World::on_disk().await;
    world.run(people(2, "Bob")).await;
    let saved = world.sync().plan_to_keep(all(people(2, "Rob"))).await.unwrap();
    world.sync().hold(&chat(1)).await.unwrap();
    assert!(matches!(world.sync().run_saved(&saved).await, Err(SyncError::MovedOn(_))));
    world.sync().forget(&chat(1)).await.unwrap().unwrap();
    assert_eq!(found(&world, &["12025550001", "crm-1"]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_plan_from_before_somebody_was_forgotten_brings_nothing_of_them_back() {
    let world = World::on_disk().await;
    world.run(people(2, "Bob")).await;
    let saved = world.sync().plan_to_keep(all(people(2, "Rob"))).await.unwrap();
    world.sync().forget(&chat(1)).await.unwrap().unwrap();
    assert!(matches!(world.sync().run_saved(&saved).await, Err(SyncError::MovedOn(_))));
    assert_eq!(found(&world, &["12025550001", "crm-1"]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_kept_plan_takes_effect_where_one_contact_moves_on_in_the_last_moment() {
    for world in World::each().await {
        world.run(people(3, "Bob")).await;
        let saved = world.sync().plan_to_keep(all(people(3, "Rob"))).await.unwrap();
        let other = world.sync();
        world.shaky.before_apply(async move {
            other.intake(some([row(1, "Eve")])).await.unwrap();
        });
        assert!(matches!(world.sync().run_saved(&saved).await, Err(SyncError::MovedOn(_))));
        // The next run brings no row of the plan.
        world.sync().run(some([])).await.unwrap();
        assert_eq!(world.book.sent()[3..], ["Eve"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_edit_on_the_phone_is_no_conflict_where_the_crm_changed_nothing() {
    for world in World::each().await {
        let sync = world.sync().drift(Drift::ByField);
        sync.run(all(tagged("Bob", "Lead"))).await.unwrap();
        for name in ["Bobby", "Bobbie"] {
            world.book.edit(&chat(0), name);
            sync.refresh().await.unwrap();
            sync.run(all(tagged("Bob", "Lead"))).await.unwrap();
            assert_eq!(world.record(0).await.status, Status::InSync, "{name}");
            assert_eq!(world.book.name(&chat(0)), Some(format!("{name} [Lead]")));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_the_crm_changes_after_it_learnt_that_of_the_phone_replaces_it() {
    for drift in [Drift::PhoneWins, Drift::ByField] {
        for world in World::each().await {
            let sync = world.sync().drift(drift);
            sync.run(all(people(1, "Bob"))).await.unwrap();
            world.book.edit(&chat(0), "Bobby");
            sync.refresh().await.unwrap();
            assert_eq!(sync.run(all(people(1, "Bob"))).await.unwrap().summary.calls, 0, "it stays as it is");
            // The CRM learns it, and says so for a while.
            for _ in 0..2 {
                let report = sync.run(all([row(0, "Bobby")])).await.unwrap();
                assert_eq!((report.summary.calls, world.record(0).await.status), (0, Status::InSync));
            }
            assert_eq!(sync.edits().try_collect::<Vec<_>>().await.unwrap(), []);
            // Days later somebody changes the name in the CRM.
            world.clock.shift(3 * 86_400_000);
            sync.run(all([row(0, "Robert")])).await.unwrap();
            assert_eq!(world.book.name(&chat(0)).as_deref(), Some("Robert"), "{drift:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_the_crm_changes_after_that_of_the_phone_was_taken_over_replaces_it_also_without_a_tag() {
    for stage in ["", "Lead"] {
        for world in World::each().await {
            let sync = world.sync().drift(Drift::PhoneWins);
            sync.run(all(tagged("Bob", stage))).await.unwrap();
            world.book.edit(&chat(0), "Bobby");
            sync.refresh().await.unwrap();
            sync.run(all(tagged("Bob", stage))).await.unwrap();
            assert_eq!(world.record(0).await.status, Status::InSync);
            world.clock.shift(86_400_000);
            sync.run(all(tagged("Robert", stage))).await.unwrap();
            let shown = world.book.name(&chat(0)).unwrap();
            assert!(shown.starts_with("Robert 0"), "stage {stage:?}: {shown}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_undo_by_another_policy_leaves_no_contact_decided_by_the_old_one() {
    for world in World::each().await {
        let ask = world.sync().drift(Drift::Ask);
        ask.run(all(people(3, "Bob"))).await.unwrap();
        let run = ask.run(all([row(0, "Bob 0"), row(1, "Rob"), row(2, "Bob 2")])).await.unwrap().run;
        world.book.edit(&chat(0), "Mum");
        ask.refresh().await.unwrap();
        assert_eq!(world.record(0).await.status, Status::Parked { reason: Park::Drifted });
        // From now on the CRM wins.
        world.sync().undo(run).await.unwrap();
        world.run(vec![row(0, "Bob 0"), row(1, "Rob"), row(2, "Bob 2")]).await;
        assert_eq!(world.record(0).await.status, Status::InSync);
        assert_eq!(world.book.name(&chat(0)).as_deref(), Some("Bob 0"));
    }
}

#[tokio::test(start_paused = true)]
async fn p8_a_text_that_cannot_be_given_back_as_it_was_is_given_back_clean_or_listed() {
    for text in ["Mum\tHome", "Mum\nHome", "\u{1b}[31mMum"] {
        for world in World::each().await {
            world.book.edit(&chat(0), text);
            let run = world.run(people(1, "Bob")).await.run;
            assert_eq!(world.texts(0).await, [text]);
            let (undo, _) = world.sync().undo(run).await.unwrap();
            let listed = undo.restored + (undo.edited_since.len() + undo.superseded.len()) as u64;
            assert_eq!(listed, 1, "{text:?}: {undo:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_contact_that_is_stored_by_somebody_else_during_an_undo_is_restored_as_it_is_told() {
    for world in World::each().await {
        world.run(people(3, "Bob")).await;
        let run = world.run(people(3, "Rob")).await.run;
        let (other, mut same) = (world.sync(), row(1, "Rob 1"));
        same.version = Some(7);
        // Somebody else takes in another field of the row: the name that it wants is the same.
        world.shaky.before_apply(async move {
            other.intake(some([same])).await.unwrap();
        });
        let (undo, report) = world.sync().undo(run).await.unwrap();
        let names: Vec<_> = (0..3).map(|n| world.book.name(&chat(n)).unwrap()).collect();
        let shown = names.iter().filter(|name| name.starts_with("Bob")).count() as u64;
        assert_eq!((undo.restored, report.summary.renamed), (shown, shown), "{names:?} {undo:?}");
    }
}

/// The job in a folder, with the stand-in server inside it; `cargo build --example sync_job` makes it.
fn job(folder: &Path, args: &str) -> Output {
    command(folder, args).output().unwrap()
}

fn command(folder: &Path, args: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let examples = test.ancestors().nth(2).unwrap().join("examples");
    let mut job = Command::new(examples.join(format!("sync_job{}", std::env::consts::EXE_SUFFIX)));
    for name in ["WAWP_ACCESS_TOKEN", "WAWP_INSTANCE_ID", "WAWP_BASE_URL", "RUST_LOG"] {
        job.env_remove(name);
    }
    job.args(args.split_whitespace()).current_dir(folder);
    job
}

const EXPORT: &str = "id,first_name,phone\ncrm-0,Bob 0,+12025550000\ncrm-1,Bob 1,+12025550001\ncrm-2,,+12025550002\n";

/// A folder with an export of two people with a name and one without.
fn desk() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("crm.csv"), EXPORT).unwrap();
    folder
}

#[test]
fn a_plan_takes_the_place_of_no_file_that_the_job_reads_or_writes() {
    let desk = desk();
    job(desk.path(), "run --crm crm.csv --ledger ledger");
    let ledger = fs::read(desk.path().join("ledger")).unwrap();
    for (out, more) in
        [("crm.csv", ""), ("./ledger", ""), ("page.html", "--report page.html"), ("r.csv", "--refused r.csv")]
    {
        let ended = job(desk.path(), &format!("plan --crm crm.csv --ledger ledger --out {out} {more}"));
        assert_eq!(fs::read_to_string(desk.path().join("crm.csv")).unwrap(), EXPORT, "{out}");
        assert!(fs::read(desk.path().join("ledger")).unwrap() == ledger, "{out}: the ledger is gone");
        assert_eq!(ended.status.code(), Some(1), "{out} {more}");
    }
}

#[test]
fn p5_a_kept_plan_is_carried_out_under_the_daily_cap_that_it_was_shown_with() {
    let desk = desk();
    let plan = job(desk.path(), "plan --crm crm.csv --ledger ledger --per-day 1 --out plan.json");
    assert!(String::from_utf8_lossy(&plan.stdout).contains("1 today"));
    let done = job(desk.path(), "run plan.json --json");
    let text = String::from_utf8(done.stdout).unwrap();
    let summary: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["calls"], &summary["gated"]), (&1.into(), &1.into()), "{text}");
}

#[test]
fn a_kept_plan_calls_nobody_where_only_wishes_are_to_be_taken_in() {
    let desk = desk();
    job(desk.path(), "plan --crm crm.csv --ledger ledger --out plan.json");
    let done = job(desk.path(), "run plan.json --intake-only --json");
    let text = String::from_utf8(done.stdout).unwrap();
    // It may as well be refused.
    let summary = text.lines().last().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    assert!(summary.is_none_or(|summary| summary["calls"] == 0), "{text}");
}

#[test]
fn rows_that_a_kept_plan_refused_are_handed_back_without_the_columns_of_another_export() {
    let desk = desk();
    job(desk.path(), "plan --crm crm.csv --ledger ledger --out plan.json");
    job(desk.path(), "run plan.json --refused refused.csv");
    let refused = fs::read_to_string(desk.path().join("refused.csv")).unwrap();
    assert!(refused.contains("crm-2") && !refused.contains("Lifecycle Stage"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_kept_plan_knows_the_tags_that_it_was_made_with() {
    let (desk, server) = (desk(), WawpServer::start().await);
    let at = |args: &str| {
        let mut job = command(desk.path(), args);
        job.args(["--base-url", &server.url(), "--instance", server.instance().as_str(), "--rate", "0"]);
        job.env("WAWP_ACCESS_TOKEN", server.token()).output().unwrap()
    };
    let export = |stage: &str| format!("id,first_name,phone,stage\ncrm-0,Bob 0,+12025550000,{stage}\n");
    let made = "--crm crm.csv --ledger ledger --tags Gold,Silver --policy phone-wins";
    fs::write(desk.path().join("crm.csv"), export("Gold")).unwrap();
    at(&format!("run {made}"));
    server.assert_contact(&chat(0), "Bob 0 [Gold]");
    fs::write(desk.path().join("crm.csv"), export("Silver")).unwrap();
    at(&format!("plan {made} --out plan.json"));
    server.rename_on_phone(&chat(0), "Bobby [Gold]");
    at("run plan.json");
    server.assert_contact(&chat(0), "Bobby [Silver]");
}
