//! The first minutes: no set-up, the sample export, the stand-in server.

use super::{Desk, end, people};

#[tokio::test]
async fn a_first_run_needs_no_set_up_and_a_second_makes_no_call() {
    let desk = Desk::new();
    let first = desk.run("--rate 0").await.with(3);
    let first = first.says("using the stand-in server inside this job").says("45 to create").says("45 created");
    assert_eq!(first.err, "", "{first}");
    desk.run("").await.with(3).says("45 unchanged, 15 refused, 0 parked, 0 waiting").says("; 0 calls");
    assert!(desk.files().contains(&"sync_job.ledger".to_owned()), "{:?}", desk.files());
}

#[tokio::test]
async fn a_plan_says_2_before_a_run_and_0_after_and_writes_nothing() {
    let desk = Desk::with_people(3, "Bob");
    for _ in 0..2 {
        desk.run("plan --crm crm.csv").await.with(2).says("+ 12025550000@c.us: \"Bob 0\"").says("3 calls");
    }
    desk.run("run --crm crm.csv --rate 0").await.with(0).says("3 created");
    desk.run("plan --crm crm.csv").await.with(0).says("0 calls");
}

#[tokio::test]
async fn a_clean_export_ends_with_0_again_and_again() {
    let desk = Desk::with_people(3, "Bob");
    desk.run("--crm crm.csv --rate 0").await.with(0).says("3 created");
    desk.run("--crm crm.csv --rate 0").await.with(0).says("3 unchanged").says("; 0 calls");
    desk.write("crm.csv", &people(3, "Robert"));
    desk.run("--crm crm.csv --rate 0").await.with(0).says("3 renamed").says("; 3 calls");
}

#[tokio::test]
async fn help_fits_a_terminal_and_names_every_flag() {
    let desk = Desk::new();
    let help = desk.run("--help").await.with(0);
    for line in help.out.lines() {
        assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
    }
    let flags = ["crm", "ledger", "base-url", "instance", "region", "tags", "rate", "in-flight", "wait", "json", "yes"];
    for flag in flags {
        assert!(help.out.contains(&format!("  --{flag}")), "--{flag} is not in the help\n{help}");
    }
    for same in ["-h", "plan --help", "--crm no-such-file --help"] {
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
        end(desk.job(plan.split_whitespace())).await.with(0).says("5 unchanged");
    }
}
