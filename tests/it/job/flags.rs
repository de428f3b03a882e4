//! Each flag does what the help says.

use wawp_contacts::testkit::WawpServer;

use super::{Desk, assert_people, chat, people};

#[tokio::test]
async fn region_reads_national_phones_and_without_it_they_are_refused() {
    let desk = Desk::new();
    desk.write("crm.csv", "id,first_name,phone\n1,Yui,090-1234-5678\n");
    desk.run("plan --crm crm.csv").await.with(3).says("1 refused");
    desk.run("plan --crm crm.csv --region JP").await.with(2).says("+ 819012345678@c.us: \"Yui\"");
}

#[tokio::test]
async fn an_export_of_json_lines_is_known_by_its_ending() {
    let desk = Desk::new();
    for ending in ["jsonl", "ndjson", "json"] {
        let file = format!("crm.{ending}");
        desk.write(&file, r#"{"id": 1, "first_name": "Ada", "phone": "+1 202 555 0101"}"#);
        desk.run(&format!("plan --crm {file}")).await.with(2).says("+ 12025550101@c.us: \"Ada\"");
    }
}

#[tokio::test]
async fn tags_show_the_stages_that_are_listed_and_no_other() {
    let desk = Desk::new();
    desk.write(
        "crm.csv",
        "id,first_name,last_name,phone,stage\n\
         1,Ada,Vane,+12025550001,Lead\n2,Bo,,+12025550002,Evangelist\n3,Cy,,+12025550003,Other\n",
    );
    let server = WawpServer::start().await;
    desk.run_at(&server, "--tags Lead,Customer,Evangelist=VIP").await.with(0);
    for (n, name) in [(1, "Ada Vane [Lead]"), (2, "Bo [VIP]"), (3, "Cy")] {
        server.assert_contact(&chat(n), name);
    }
}

#[tokio::test]
async fn rate_sets_the_pace_and_0_lifts_it() {
    let desk = Desk::with_people(10, "Bob");
    for (flags, seconds) in [("", 0.2), ("--rate 4", 2.5), ("--rate 0.5", 20.0), ("--rate 0", 0.0)] {
        let ended = desk.run(&format!("plan --crm crm.csv --json {flags}")).await.with(2);
        assert_eq!(ended.summary()["seconds"], seconds, "{flags}");
    }
    let server = WawpServer::start().await;
    let ended = desk.run_at(&server, "plan --json --rate 1").await.with(2);
    assert_eq!(ended.summary()["seconds"], 10.0, "a real server is called once a second");
}

#[tokio::test]
async fn wait_0_leaves_the_rest_due_and_a_longer_one_finishes() {
    let (desk, server) = (Desk::with_people(4, "Bob"), WawpServer::start().await);
    server.rate_limit(2);
    let ended = desk.run_at(&server, "--wait 0 --json").await.with(3);
    let summary = ended.summary();
    assert_eq!((&summary["created"], &summary["gated"], &summary["calls"]), (&2.into(), &2.into(), &3.into()));
    assert!(ended.err.contains("too many calls"), "{ended}");
    desk.run_at(&server, "--wait 30").await.with(0).says("2 created, 0 renamed, 2 unchanged");
    assert_people(&server, 4, "Bob");
}

#[tokio::test]
async fn many_renames_stop_a_run_until_a_person_says_yes() {
    let (desk, server) = (Desk::with_people(25, "Bob"), WawpServer::start().await);
    desk.run_at(&server, "").await.with(0);
    desk.write("crm.csv", &people(25, "Robert"));
    desk.run_at(&server, "plan").await.with(2).says("a run would stop before its first call: 25 of 25");
    let stopped = desk.run_at(&server, "").await.with(1);
    assert!(stopped.err.starts_with("sync_job: stopped before the first call: 25 of 25 "), "{stopped}");
    assert!(stopped.err.contains("pass --yes to go on"), "{stopped}");
    assert_eq!((stopped.err.lines().count(), server.calls().len()), (1, 25), "{stopped}");
    desk.run_at(&server, "--yes").await.with(0).says("25 renamed");
    assert_people(&server, 25, "Robert");
}

#[tokio::test]
async fn a_ledger_in_memory_leaves_no_file_and_remembers_nothing() {
    let desk = Desk::with_people(2, "Bob");
    for _ in 0..2 {
        desk.run("--crm crm.csv --ledger memory").await.with(0).says("2 created");
    }
    assert_eq!(desk.files(), ["crm.csv"]);
}

#[tokio::test]
async fn the_instance_and_the_server_may_come_from_the_environment() {
    let (desk, server) = (Desk::with_people(1, "Bob"), WawpServer::start().await);
    let mut job = desk.job(["--crm", "crm.csv"]);
    job.env("WAWP_BASE_URL", server.url());
    job.env("WAWP_INSTANCE_ID", server.instance().as_str()).env("WAWP_ACCESS_TOKEN", server.token());
    super::end(job).await.with(0).says("1 created");
    assert_people(&server, 1, "Bob");
}
