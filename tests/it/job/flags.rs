//! Each flag does what the help says.

use wawp_contacts::testkit::WawpServer;

use super::{Desk, assert_people, chat, people};

#[tokio::test]
async fn region_reads_national_phones_and_without_it_they_are_refused() {
    let desk = Desk::new();
    desk.write("crm.csv", "id,first_name,phone\n1,Yui,090-1234-5678\n");
    let refused = desk.run("plan --crm crm.csv").await.with(3).says("1 row cannot be used");
    refused.says("write it with + and the country code, or pass --region");
    let refused = desk.run("plan --crm crm.csv --json").await.with(3);
    assert!(refused.out.contains("or pass --region\""), "{refused}");
    desk.run("plan --crm crm.csv --region JP").await.with(2).says("  +81 90-1234-5678  1  \"Yui\"");
}

#[tokio::test]
async fn an_export_of_json_lines_is_known_by_its_ending() {
    let desk = Desk::new();
    for ending in ["jsonl", "ndjson", "json"] {
        let file = format!("crm.{ending}");
        desk.write(&file, r#"{"id": 1, "first_name": "Ada", "phone": "+1 202 555 0101"}"#);
        desk.run(&format!("plan --crm {file}")).await.with(2).says("  +1 202-555-0101  1  \"Ada\"");
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
    // Ten calls, and eleven reads before them: each contact, and whose account it is.
    for (flags, seconds) in [("", 0.42), ("--rate 4", 5.25), ("--rate 0.5", 42.0), ("--rate 0", 0.0)] {
        let ended = desk.run(&format!("plan --crm crm.csv --json {flags}")).await.with(2);
        assert_eq!(ended.summary()["seconds"], seconds, "{flags}");
    }
    desk.run("plan --crm crm.csv --rate 1e-30 --look-first never").await.with(2).says("10 calls");
    let server = WawpServer::start().await;
    let ended = desk.run_at(&server, "plan --json --rate 1").await.with(2);
    assert_eq!(ended.summary()["seconds"], 21.0, "a real server is called once a second");
}

#[tokio::test]
async fn per_day_caps_the_calls_of_all_runs_and_warm_up_those_of_a_new_number() {
    let (desk, server) = (Desk::with_people(12, "Bob"), WawpServer::start().await);
    desk.run_at(&server, "plan --per-day 10").await.with(2).says("12 calls: 10 today, 2 tomorrow from ");
    let plan = desk.run_at(&server, "plan --per-day 10 --warm-up 4 --json").await.with(2);
    let days = &plan.summary()["schedule"]["days"];
    assert_eq!([0, 1, 2].map(|day| days[day]["calls"].as_u64()), [Some(4), Some(6), Some(2)], "{plan}");

    let report = desk.run_at(&server, "--per-day 10 --warm-up 4 --json").await.with(3);
    assert_eq!((&report.summary()["calls"], &report.summary()["gated"]), (&4.into(), &8.into()), "{report}");
    assert!(report.summary()["resumes_at"].is_u64());
    let next = "the calls of this day are made: run again from 20";
    desk.run_at(&server, "--per-day 10 --warm-up 4").await.with(3).says(next).says("0 calls");
    let ask = |command: &'static str| desk.run_at(&server, command);
    ask("status").await.with(0).says("a day     4 calls count, the cap is spent");
    ask("explain crm-11").await.with(0).says("the daily cap of calls is spent, and the next can be made at 20");
    ask("--per-day 3").await.with(3).says(next);
    ask("--per-day 10").await.with(3).says("6 added");
    ask("").await.with(3).says(next).says("0 calls");
    ask("--warm-up 3").await.with(1);
    ask("--per-day 0").await.with(0).says("2 added");
}

#[tokio::test]
async fn wait_0_leaves_the_rest_due_and_a_longer_one_finishes() {
    let (desk, server) = (Desk::with_people(4, "Bob"), WawpServer::start().await);
    server.rate_limit(2);
    let ended = desk.run_at(&server, "--wait 0 --json").await.with(3);
    let summary = ended.summary();
    assert_eq!((&summary["created"], &summary["gated"], &summary["calls"]), (&2.into(), &2.into(), &3.into()));
    assert!(ended.err.contains("too many calls"), "{ended}");
    desk.run_at(&server, "--wait 30").await.with(0).says("2 added, 0 renamed, 2 unchanged");
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
    desk.run_at(&server, "--report stopped.html").await.with(1);
    let page = std::fs::read_to_string(desk.path("stopped.html")).unwrap();
    assert!(page.contains("switch the guardrails off for one run (<code>--yes</code>)"), "{page}");
    assert_eq!((stopped.err.lines().count(), server.calls().len()), (1, 25), "{stopped}");
    desk.run_at(&server, "--yes").await.with(0).says("25 renamed");
    assert_people(&server, 25, "Robert");
}

#[tokio::test]
async fn a_ledger_in_memory_leaves_no_file_and_remembers_nothing() {
    let desk = Desk::with_people(2, "Bob");
    for _ in 0..2 {
        desk.run("--crm crm.csv --ledger memory").await.with(0).says("2 added");
    }
    assert_eq!(desk.files(), ["crm.csv"]);
}

#[tokio::test]
async fn the_instance_and_the_server_may_come_from_the_environment() {
    let (desk, server) = (Desk::with_people(1, "Bob"), WawpServer::start().await);
    let mut job = desk.job(["--crm", "crm.csv"]);
    job.env("WAWP_BASE_URL", server.url());
    job.env("WAWP_INSTANCE_ID", server.instance().as_str()).env("WAWP_ACCESS_TOKEN", server.token());
    super::end(job).await.with(0).says("1 added");
    assert_people(&server, 1, "Bob");
}

/// Nothing is called here: a job that only takes wishes in asks no server.
#[tokio::test]
async fn an_instance_and_a_token_mean_wawp_itself_and_the_first_line_says_so() {
    let desk = Desk::with_people(20, "Bob");
    let job = |flags: &[&str]| {
        let mut job = desk.job(["--crm", "crm.csv", "--intake-only"]);
        job.args(flags).env("WAWP_INSTANCE_ID", "shop").env("WAWP_ACCESS_TOKEN", "s3cret");
        super::end(job)
    };
    let ended = job(&[]).await.with(0);
    assert_eq!(ended.out.lines().next(), Some("the server is https://api.wawp.net, the instance shop"), "{ended}");
    let ended = ended.says("plan: 20 contacts will be added, 0 renamed, 0 stay as they are, 20 rows without a tag for their stage; no call here, a run pushes them");
    assert!(!ended.out.contains("20 calls"), "no call is planned\n{ended}");
    assert_eq!(job(&["--json"]).await.with(0).lines()[0]["server"], "https://api.wawp.net");
    let ended = job(&["--base-url", "http://127.0.0.1:1"]).await.with(0);
    assert_eq!(ended.out.lines().next(), Some("the server is http://127.0.0.1:1, the instance shop"), "{ended}");
}

#[tokio::test]
async fn what_was_only_taken_in_is_pushed_by_the_next_run() {
    let (desk, server) = (Desk::with_people(3, "Bob"), WawpServer::start().await);
    desk.run_at(&server, "--intake-only").await.with(0).says("3 waiting");
    assert_eq!((server.reads(), server.calls()), (0, vec![]));
    desk.run_at(&server, "").await.with(0).says("3 added");
    assert_people(&server, 3, "Bob");
}

#[tokio::test]
async fn one_call_is_no_plural_and_a_short_time_is_no_zero() {
    let desk = Desk::with_people(1, "Bob");
    let ended = desk.run("--crm crm.csv").await.with(0);
    ended.says("; 1 call, less than a second\n").says("run 1: 1 added, 0 renamed, 0 unchanged, ").says("; 1 call, ");
}

#[tokio::test]
async fn rows_that_are_missing_are_asked_about_in_whole_sentences() {
    let (desk, server) = (Desk::with_people(40, "Bob"), WawpServer::start().await);
    desk.run_at(&server, "").await.with(0);
    desk.write("crm.csv", &people(5, "Bob"));
    let stopped = desk.run_at(&server, "").await.with(1);
    let words = "is the export only a part of the CRM? If it is, pass --changes. \
                 Else look at it with `sync_job plan`, and pass --yes to go on";
    assert!(stopped.err.contains(words), "{stopped}");
}
