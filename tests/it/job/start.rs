//! The first minutes: no set-up, the sample export, the stand-in server.

use std::fs;

use wawp_contacts::testkit::WawpServer;

use super::{Desk, chat, end, people};

#[tokio::test]
async fn a_first_run_needs_no_set_up_and_a_second_makes_no_call() {
    let desk = Desk::new();
    let first = desk.run("--rate 0").await.with(3);
    let first = first
        .says("using the stand-in server inside this job")
        .says("45 contacts will be added")
        .says("45 contacts added");
    let first =
        first.says("  +1 202-555-0103    7007  \"Bob [Lead]\"\n").says("run 1: 45 added, 0 renamed, 0 unchanged");
    assert!(!first.out.contains("which no tag is set for"), "each stage of the sample has a tag\n{first}");
    assert_eq!(first.err, "", "{first}");
    desk.run("").await.with(3).says("45 unchanged, 15 rows cannot be used, 2 older rows left out;").says("; 0 calls");
    assert!(desk.files().contains(&"sync_job.ledger".to_owned()), "{:?}", desk.files());
}

#[tokio::test]
async fn a_plan_says_2_before_a_run_and_0_after_and_writes_nothing() {
    let desk = Desk::with_people(3, "Bob");
    for _ in 0..2 {
        desk.run("plan --crm crm.csv").await.with(2).says("  +1 202-555-0000  crm-0  \"Bob 0\"\n").says("3 calls");
    }
    desk.run("run --crm crm.csv --rate 0").await.with(0).says("3 added");
    desk.run("plan --crm crm.csv").await.with(0).says("0 calls");
}

#[tokio::test]
async fn a_clean_export_ends_with_0_again_and_again() {
    let desk = Desk::with_people(3, "Bob");
    desk.run("--crm crm.csv --rate 0").await.with(0).says("3 added");
    desk.run("--crm crm.csv --rate 0").await.with(0).says("3 unchanged").says("; 0 calls");
    desk.write("crm.csv", &people(3, "Robert"));
    desk.run("--crm crm.csv --rate 0").await.with(0).says("3 renamed").says("; 3 calls");
}

#[tokio::test]
async fn help_fits_a_terminal_and_names_every_flag() {
    let desk = Desk::new();
    let help = desk.run("--help").await.with(0);
    for line in help.out.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
    let flags = ["crm", "ledger", "base-url", "instance", "region", "tags", "rate", "in-flight", "wait", "json", "yes"];
    for flag in flags {
        assert!(help.out.contains(&format!("  --{flag}")), "--{flag} is not in the help\n{help}");
    }
    for same in ["-h", "--crm no-such-file --help"] {
        assert_eq!(desk.run(same).await.with(0).out, help.out, "{same}");
    }
    assert_eq!(desk.files(), [""; 0]);
}

#[tokio::test]
async fn a_reader_that_goes_away_stops_no_run_half_way() {
    let desk = Desk::with_people(5, "Bob");
    for flags in ["--json", ""] {
        let ledger = format!("{flags}.ledger");
        let args = format!("--crm crm.csv --rate 0 --ledger {ledger} {flags}");
        let mut job = desk.job(args.split_whitespace()).spawn().unwrap();
        drop(job.stdout.take());
        let ended = super::ended(job).await.with(0);
        assert_eq!(ended.err.matches("panicked").count(), 0, "{ended}");
        let plan = format!("plan --crm crm.csv --ledger {ledger}");
        end(desk.job(plan.split_whitespace())).await.with(0).says("5 stay as they are");
    }
}

/// The lines of the README's section about the job, as the words of a command line.
fn lines_of_the_readme() -> Vec<Vec<String>> {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let section = readme.split("\n## ").find(|section| section.starts_with("The job\n")).unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("cargo run --example sync_job -- "));
    let words = |(n, part): (usize, &str)| -> Vec<String> {
        if n % 2 == 1 { vec![part.to_owned()] } else { part.split_whitespace().map(Into::into).collect() }
    };
    lines.map(|line| line.split('"').enumerate().flat_map(words).collect()).collect()
}

#[tokio::test]
async fn each_job_line_of_the_readme_does_what_is_said_of_it() {
    let (desk, server) = (Desk::with_people(2, "Bob"), WawpServer::start().await);
    fs::rename(desk.path("crm.csv"), desk.path("contacts.csv")).unwrap();
    desk.write("one.csv", "id,first_name,phone,stage\ncrm-0,Zoe,(202) 555-0000,Customer\n");
    let lines = lines_of_the_readme();
    assert_eq!(lines.len(), 3, "{lines:?}");
    let run = |line: usize| {
        let mut job = desk.job(&lines[line]);
        job.env("WAWP_BASE_URL", server.url());
        job.env("WAWP_INSTANCE_ID", server.instance().as_str()).env("WAWP_ACCESS_TOKEN", server.token());
        end(job)
    };
    run(0).await.with(2).says("  +1 202-555-0000  crm-0  \"Bob 0 [Lead]\"\n");
    run(1).await.with(0).says("2 added");
    let calls = server.calls().len();
    run(2).await.with(0).says("0 contacts will be added, 1 renamed");
    assert_eq!(server.calls().len(), calls, "the third takes in only");
    desk.write(
        "contacts.csv",
        "id,first_name,phone,stage\ncrm-0,Zoe,(202) 555-0000,Customer\ncrm-1,Bob 1,+12025550001,Lead\n",
    );
    run(1).await.with(0).says("1 renamed");
    server.assert_contact(&chat(0), "Zoe [Customer]");
}
