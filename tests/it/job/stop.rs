//! Ctrl-C, once and twice; and an end without a word.

use std::time::Duration;

use rusqlite::Connection;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};
use wawp_contacts::testkit::{Answer, WawpServer};

use super::{Desk, assert_people, chat, ended, until, until_calls};

/// A call that is not answered while a test watches.
const HANGS: Duration = Duration::from_secs(20);

/// What a run says that was told to stop before its rows took effect.
const NOTHING_TOOK_EFFECT: &str = "stopped before any row took effect; run again to go on";

async fn signal(job: &Child, signal: &str) {
    let id = job.id().expect("the job is still there").to_string();
    let status = tokio::process::Command::new("kill").args([signal, &id]).status().await.unwrap();
    assert!(status.success(), "kill {signal} {id}");
}

impl Desk {
    /// How many contacts are in doubt in the ledger, after a look at whether it is sound.
    fn in_doubt(&self) -> usize {
        let ledger = Connection::open(self.path("sync_job.ledger")).unwrap();
        let check: String = ledger.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        let doubted = "SELECT count(*) FROM contact WHERE json_extract(body, '$.pushed.in_doubt') IS NOT NULL";
        let count: i64 = ledger.query_row(doubted, [], |row| row.get(0)).unwrap();
        count.try_into().unwrap()
    }
}

/// Checks that each call was made once, but for so many at most that were made twice.
#[track_caller]
fn assert_repeats(server: &WawpServer, n: usize, at_most: usize) {
    let counts: Vec<_> = (0..n).map(|n| server.calls_for(&chat(n)).len()).collect();
    assert!(counts.iter().all(|count| (1..=2).contains(count)), "calls by contact: {counts:?}");
    let repeats = counts.iter().filter(|count| **count == 2).count();
    assert!(repeats <= at_most, "{repeats} contacts were called twice, {at_most} were in flight: {counts:?}");
}

#[tokio::test]
async fn ctrl_c_makes_no_new_call_and_keeps_the_answers_in_flight() {
    for in_flight in [1, 3] {
        let (desk, server) = (Desk::with_people(12, "Bob"), WawpServer::start().await);
        server.on_any_update().delay(Duration::from_secs(1)).times(in_flight as u64);
        let job = desk.job_at(&server, &format!("--in-flight {in_flight}")).spawn().unwrap();
        until_calls(&server, in_flight).await;
        signal(&job, "-INT").await;
        let ended = ended(job).await.with(3).says("stopping: no new call");
        let ended = ended.says(&format!("{in_flight} added, ")).says(&format!("{} waiting", 12 - in_flight));
        let ended = ended.says(&format!("stopped; run again to go on with the {} contacts left\n", 12 - in_flight));
        assert!(!ended.out.contains("12 of 12"), "what waits is not done\n{ended}");
        assert_eq!((server.calls().len(), ended.err.as_str()), (in_flight, ""), "{ended}");

        desk.run_at(&server, "").await.with(0).says(&format!("{} added", 12 - in_flight));
        assert_people(&server, 12, "Bob");
        assert_repeats(&server, 12, 0);
    }
}

#[tokio::test]
async fn ctrl_c_ends_a_wait_for_an_instance_that_may_not_be_called() {
    let (desk, server) = (Desk::with_people(3, "Bob"), WawpServer::start().await);
    server.log_out();
    let mut job = desk.job_at(&server, "--wait 86400").spawn().unwrap();
    let mut lines = BufReader::new(job.stdout.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().expect("a word about waiting").starts_with("waiting") {}
    let asked = server.reads();
    signal(&job, "-INT").await;
    let mut rest = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        rest.push(line);
    }
    assert!(rest.iter().any(|line| line == NOTHING_TOOK_EFFECT), "{rest:#?}");
    ended(job).await.with(3);
    assert_eq!((server.reads(), server.calls()), (asked, vec![]));
    server.log_in();
    desk.run_at(&server, "").await.with(0).says("3 added");
}

#[tokio::test]
async fn ctrl_c_ends_a_wait_half_way_and_says_how_many_wait() {
    let (desk, server) = (Desk::with_people(3, "Bob"), WawpServer::start().await);
    server.on_update(&chat(1)).answer(Answer::too_many_requests(Duration::from_secs(40))).once();
    let mut job = desk.job_at(&server, "").spawn().unwrap();
    let mut lines = BufReader::new(job.stdout.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().expect("a word about waiting").starts_with("waiting") {}
    signal(&job, "-TERM").await;
    while lines.next_line().await.unwrap().expect("a word about stopping")
        != "stopped; run again to go on with the 2 contacts left"
    {}
    ended(job).await.with(3);
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test]
async fn ctrl_c_twice_leaves_at_once_and_loses_nothing() {
    let (desk, server) = (Desk::with_people(6, "Bob"), WawpServer::start().await);
    server.on_any_update().delay(HANGS).times(2);
    let mut job = desk.job_at(&server, "--in-flight 2").spawn().unwrap();
    let mut lines = BufReader::new(job.stdout.take().unwrap()).lines();
    until_calls(&server, 2).await;
    signal(&job, "-INT").await;
    while !lines.next_line().await.unwrap().expect("a word about stopping").starts_with("stopping") {}
    signal(&job, "-INT").await;
    let left = ended(job).await.with(130);
    assert!(left.err.contains("left at once"), "{left}");

    // Others may be marked ahead of their turn; they were not called.
    assert!(desk.in_doubt() >= 2);
    desk.run_at(&server, "").await.with(0);
    assert_people(&server, 6, "Bob");
    assert_repeats(&server, 6, 2);
}

#[tokio::test]
async fn a_job_that_is_killed_costs_at_most_one_repeat_per_call_in_flight() {
    for in_flight in [1, 8] {
        let (desk, server) = (Desk::with_people(40, "Bob"), WawpServer::start().await);
        // Ten are answered; then a whole flight of calls takes effect and is never answered.
        let hanging: Vec<_> = (10..10 + in_flight).map(chat).collect();
        for chat in &hanging {
            server.on_update(chat).delay(HANGS).once();
        }
        let mut job = desk.job_at(&server, &format!("--in-flight {in_flight}")).spawn().unwrap();
        until(|| hanging.iter().all(|chat| server.calls_for(chat).len() == 1)).await;
        job.kill().await.unwrap();

        // The same name may be repeated at once: whatever becomes of the older request, it sets the same.
        assert!(desk.in_doubt() >= in_flight);
        desk.run_at(&server, "").await.with(0);
        assert_people(&server, 40, "Bob");
        assert_repeats(&server, 40, in_flight);
        desk.run_at(&server, "").await.with(0).says("40 unchanged").says("; 0 calls");
    }
}

#[tokio::test]
async fn ctrl_c_stops_an_undo_which_goes_on_when_it_is_told_again() {
    let (desk, server) = (Desk::with_people(6, "Bob"), WawpServer::start().await);
    desk.run_at(&server, "").await.with(0);
    desk.write("crm.csv", &super::people(6, "Rob"));
    desk.run_at(&server, "").await.with(0);
    for (flags, signals) in [("", 1), ("--json", 1), ("", 2)] {
        server.forget_calls();
        server.on_any_update().delay(if signals == 1 { Duration::from_secs(1) } else { HANGS }).times(1);
        let mut job = desk.job_at(&server, &format!("undo 2 --yes {flags}")).spawn().unwrap();
        until_calls(&server, 1).await;
        signal(&job, "-INT").await;
        if signals == 2 {
            let mut lines = BufReader::new(job.stdout.take().unwrap()).lines();
            while !lines.next_line().await.unwrap().expect("a word about stopping").starts_with("stopping") {}
            signal(&job, "-INT").await;
            let left = ended(job).await.with(130);
            assert!(left.err.contains("left at once"), "{left}");
            continue;
        }
        let ended = ended(job).await.with(3);
        let words = if flags.is_empty() { &ended.out } else { &ended.err };
        assert!(words.contains("stopped; run again to go on with the "), "{ended}");
        assert!(flags.is_empty() || ended.summary()["stopped"] == true, "{ended}");
        assert_eq!(server.calls().len(), 1, "{ended}");
    }
    desk.run_at(&server, "undo 2 --yes").await.with(0);
    assert_people(&server, 6, "Bob");
}

impl Desk {
    /// A pipe in place of the export, which stalls after this text, and its other end.
    async fn stalling_export(&self, text: &'static str) -> std::fs::File {
        let pipe = self.path("crm.csv");
        let writer = tokio::task::spawn_blocking(move || {
            let mut pipe = std::fs::OpenOptions::new().write(true).open(pipe).unwrap();
            std::io::Write::write_all(&mut pipe, text.as_bytes()).unwrap();
            pipe
        });
        tokio::time::timeout(super::HUNG, writer).await.expect("the job opens its export").unwrap()
    }
}

#[tokio::test]
async fn one_signal_ends_a_job_whose_export_stalls_and_none_of_its_rows_takes_effect() {
    let header = "id,first_name,phone\n1,Bob,+12025550000\n2,Ada";
    for (flags, text, name, words) in [
        ("", header, "-TERM", NOTHING_TOOK_EFFECT),
        ("--json", header, "-INT", NOTHING_TOOK_EFFECT),
        ("", "id,first", "-TERM", "stopped before the first row could be read"),
        ("--intake-only", header, "-INT", "stopped; none of the rows took effect"),
    ] {
        let (desk, server) = (Desk::new(), WawpServer::start().await);
        assert!(std::process::Command::new("mkfifo").arg(desk.path("crm.csv")).status().unwrap().success());
        let job = desk.job_at(&server, flags).spawn().unwrap();
        let pipe = desk.stalling_export(text).await;
        // The job has to come to the stall, and not only to its start.
        tokio::time::sleep(Duration::from_secs(1)).await;
        signal(&job, name).await;
        let ended = ended(job).await;
        drop(pipe);
        let is_told = if flags.is_empty() && text == header { &ended.out } else { &ended.err };
        assert!(is_told.contains(words), "{flags:?}: {words}\n{ended}");
        let has_report = flags != "--intake-only" && text == header;
        assert_eq!((ended.code, server.calls()), (Some(if has_report { 3 } else { 1 }), vec![]), "{ended}");
        assert!(flags != "--json" || ended.summary()["stopped"] == true, "{ended}");

        std::fs::remove_file(desk.path("crm.csv")).unwrap();
        desk.write("crm.csv", "id,first_name,phone\n3,Cy,+12025550003\n");
        desk.run_at(&server, "--changes").await.with(0).says("1 added, 0 renamed, 0 unchanged");
    }
}

#[tokio::test]
async fn a_plan_whose_export_stalls_is_ended_by_the_first_signal() {
    let (desk, server) = (Desk::new(), WawpServer::start().await);
    assert!(std::process::Command::new("mkfifo").arg(desk.path("crm.csv")).status().unwrap().success());
    let job = desk.job_at(&server, "plan").spawn().unwrap();
    let pipe = desk.stalling_export("id,first_name,phone\n1,Bob,+12025550000\n").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    signal(&job, "-INT").await;
    let ended = ended(job).await;
    drop(pipe);
    assert_eq!((ended.code, desk.files()), (None, vec!["crm.csv".to_owned()]), "{ended}");
}
