//! What is wrong with the command line, the files or the settings: one clear line, code 1, nothing done.

use std::fs;

use rusqlite::Connection;
use wawp_contacts::testkit::{Answer, WawpServer};

use super::{Desk, Ended, end};

impl Ended {
    /// Checks that the job failed with one line that a person understands.
    #[track_caller]
    pub(super) fn was_refused(self, words: &str) {
        let ended = self.with(1);
        assert_eq!((ended.err.lines().count(), ended.out.as_str()), (1, ""), "{ended}");
        ended.complains(words);
    }

    /// Checks that the last line on standard error tells of an error without its innards.
    #[track_caller]
    pub(super) fn complains(&self, words: &str) {
        let line = self.err.lines().last().unwrap_or_default();
        assert!(line.starts_with("sync_job: ") && line.contains(words), "stderr lacks {words:?}\n{self}");
        for innards in ["panicked", "backtrace", "Error(", "Error {", "Some(", "Os {", "\\\""] {
            assert!(!line.contains(innards), "{innards:?} is for programmers\n{self}");
        }
    }
}

#[tokio::test]
async fn a_command_line_that_cannot_be_understood_is_refused_in_one_line() {
    let desk = Desk::new();
    let wrong = [
        (&["--crmm", "x"][..], "--crmm"),
        (&["-x"], "-x"),
        (&["push"], "push"),
        (&["plan", "run"], "run"),
        (&["--crm"], "--crm"),
        (&["--json=yes"], "--json"),
        (&["--rate", "fast"], "--rate: \"fast\""),
        (&["--rate", "-1"], "--rate: \"-1\""),
        (&["--rate", "NaN"], "--rate: \"NaN\""),
        (&["--rate", "inf"], "--rate: \"inf\""),
        (&["--in-flight", "0"], "--in-flight: \"0\""),
        (&["--in-flight", "1.5"], "--in-flight: \"1.5\""),
        (&["--wait", "-5"], "--wait: \"-5\""),
        (&["--wait", "1m"], "--wait: \"1m\""),
        (
            &["--region", "Narnia"],
            "--region: \"Narnia\": unknown country; give its English name or its two letter code",
        ),
        (&["--tags", "Lead,Lead=VIP"], "--tags: "),
        (&["--instance", ""], "--instance: "),
        (&["undo", "-1"], "\"-1\": give the number of a run; `runs` lists them"),
        (&["undo", "0", "--yes"], "\"0\": give the number of a run"),
        (&["runs", "last"], "\"last\": give the number of a run"),
        (&["run", "no.plan"], "the plan no.plan: No such file or directory (os error 2)"),
        (
            &["--intake-only", "--ledger", "memory"],
            "--intake-only: a ledger in memory would lose the wishes; name a file",
        ),
    ];
    for (args, words) in wrong {
        end(desk.job(args)).await.was_refused(words);
    }
    assert_eq!(desk.files(), [""; 0]);
}

#[tokio::test]
async fn a_wrong_instance_in_the_environment_is_named_by_its_variable() {
    let mut job = Desk::new().job(["plan"]);
    job.env("WAWP_INSTANCE_ID", "a b").current_dir(std::env::temp_dir());
    end(job).await.was_refused("WAWP_INSTANCE_ID: ");
}

#[tokio::test]
async fn an_export_that_cannot_be_read_is_refused_before_anything_is_made() {
    let desk = Desk::new();
    desk.write("empty.csv", "");
    desk.write("colours.csv", "colour,size\nred,3\n");
    desk.write("book.xlsx", "PK\u{3}\u{4}\u{14}\0\u{6}\0");
    let row = r#"{"id": 1, "first_name": "Ada", "phone": "+1 202 555 0101"}"#;
    desk.write("array.json", &format!("[{row}]"));
    desk.write("pretty.jsonl", &format!("\n[\n{row},\n{row}\n]\n"));
    fs::create_dir(desk.path("folder")).unwrap();
    fs::create_dir(desk.path("folder.jsonl")).unwrap();
    for command in ["run", "plan"] {
        for (file, words) in [
            ("missing.csv", "cannot open the CRM export missing.csv: "),
            ("empty.csv", "empty.csv: the file is empty"),
            ("colours.csv", "colours.csv: no column for "),
            ("folder", "folder: the source cannot be read: Is a directory"),
            ("folder.jsonl", "folder.jsonl: the source cannot be read: Is a directory"),
            ("book.xlsx", "book.xlsx: a spreadsheet; export it as CSV"),
            ("array.json", "array.json: a JSON array; write one object per line"),
            ("pretty.jsonl", "pretty.jsonl: a JSON array; write one object per line"),
        ] {
            desk.run(&format!("{command} --crm {file}")).await.was_refused(words);
        }
    }
    let files = ["array.json", "book.xlsx", "colours.csv", "empty.csv", "folder", "folder.jsonl", "pretty.jsonl"];
    assert_eq!(desk.files(), files, "no ledger was made");
}

#[tokio::test]
async fn a_cell_that_is_not_utf_8_costs_its_row_and_no_other() {
    let (desk, server) = (Desk::new(), WawpServer::start().await);
    fs::write(desk.path("crm.csv"), b"id,name,phone\n1,Ada,+12025550001\n2,Ren\xe9,+12025550002\n3,Cy,+12025550003\n")
        .unwrap();
    let run = desk.run_at(&server, "--refused refused.csv").await.with(3).says("2 added").says("1 row cannot be used");
    run.says("line 3  2  the row is not UTF-8 in the column \"name\"; save the file as UTF-8");
    for (n, name) in [(1, "Ada"), (3, "Cy")] {
        server.assert_contact(&super::chat(n), name);
    }
    let refused = fs::read_to_string(desk.path("refused.csv")).unwrap();
    assert!(refused.contains("\"2\",\"Ren\u{fffd}\",\"'+12025550002\","), "{refused}");
}

#[tokio::test]
async fn a_file_in_utf_16_is_told_how_to_save_it_with_and_without_its_mark() {
    let desk = Desk::new();
    let text = "id,name,phone\r\n1,Ada,+12025550001\r\n";
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for bytes in [[&b"\xff\xfe"[..], &little].concat(), [&b"\xfe\xff"[..], &big].concat(), little, big] {
        fs::write(desk.path("crm.csv"), bytes).unwrap();
        let words = "crm.csv: the file is UTF-16; save it as UTF-8 (in Excel: CSV UTF-8)";
        desk.run("plan --crm crm.csv").await.was_refused(words);
    }
}

#[tokio::test]
async fn a_file_that_is_no_usable_ledger_is_refused_and_left_as_it_is() {
    let desk = Desk::with_people(1, "Bob");
    desk.write("notes.txt", "not a ledger, but dear to somebody\n");
    fs::create_dir(desk.path("folder")).unwrap();
    desk.run("--crm crm.csv --rate 0 --ledger newer.ledger").await.with(0);
    Connection::open(desk.path("newer.ledger")).unwrap().pragma_update(None, "user_version", 999).unwrap();
    let before = fs::read(desk.path("newer.ledger")).unwrap();
    for command in ["run", "plan"] {
        for (ledger, words) in [
            ("notes.txt", "is not a ledger"),
            ("folder", "is a folder; name a file for the ledger"),
            ("newer.ledger", "has version 999"),
        ] {
            desk.run(&format!("{command} --crm crm.csv --ledger {ledger}")).await.was_refused(words);
        }
    }
    desk.run("--crm crm.csv --ledger no/such/folder.ledger").await.was_refused("does not exist");
    assert_eq!(fs::read(desk.path("notes.txt")).unwrap(), b"not a ledger, but dear to somebody\n");
    assert_eq!(fs::read(desk.path("newer.ledger")).unwrap(), before);
}

#[tokio::test]
async fn a_header_without_what_every_row_needs_is_told_the_names_to_use() {
    let desk = Desk::new();
    desk.write("crm.csv", "Kundennr,Vorname,Handy\n7,Ada,+447700900123\n");
    let ended = desk.run("--crm crm.csv").await.with(1);
    for word in
        ["\"Kundennr\"", "an id (id, Record ID", "a phone or chat id (phone, mobile", "a name (first_name, last_name"]
    {
        assert!(ended.err.contains(word), "{word}\n{ended}");
    }
    assert!(!ended.err.contains("mapping"), "the job takes none\n{ended}");
}

#[tokio::test]
async fn an_export_in_place_of_a_kept_plan_is_told_its_flag() {
    let desk = Desk::with_people(1, "Bob");
    fs::create_dir(desk.path("folder")).unwrap();
    desk.write("other.json", "{}");
    for (file, words) in [
        ("crm.csv", "crm.csv is no plan that `plan --out` has kept; make a new one, or name an export with --crm"),
        ("folder", "the plan folder cannot be read: Is a directory"),
        ("other.json", "other.json is no plan of this version (missing field"),
    ] {
        desk.run(&format!("run {file}")).await.was_refused(words);
    }
}

#[tokio::test]
async fn an_export_without_a_row_is_told_so_unless_it_is_one_of_changes() {
    let desk = Desk::new();
    desk.write("crm.csv", "id,name,phone\n");
    desk.write("crm.jsonl", "\n");
    for file in ["crm.csv", "crm.jsonl"] {
        desk.run(&format!("plan --crm {file}"))
            .await
            .with(0)
            .says(&format!("{file} holds no row; export it again if it should\n"));
        let changes = desk.run(&format!("plan --changes --crm {file}")).await.with(0);
        assert!(!changes.out.contains("holds no row"), "{changes}");
        assert_eq!(desk.run(&format!("plan --json --crm {file}")).await.with(0).lines().len(), 2);
    }
}

#[tokio::test]
async fn an_empty_file_is_no_ledger_until_a_run_makes_one_of_it() {
    let desk = Desk::with_people(1, "Bob");
    desk.write("empty", "");
    for command in ["status", "parked", "runs", "refresh", "undo 1", "explain Bob"] {
        desk.run(&format!("{command} --ledger empty"))
            .await
            .with(1)
            .complains("there is no ledger empty; name that of the runs");
    }
    desk.run("plan --crm crm.csv --ledger empty").await.with(2);
    assert_eq!((fs::metadata(desk.path("empty")).unwrap().len(), desk.files().len()), (0, 2));
    desk.run("--crm crm.csv --rate 0 --ledger empty").await.with(0);
    desk.run("status --ledger empty").await.with(0).says("1 in sync");
}

/// A file that is renamed to its place takes the place of a device too, where root runs the job; a pipe stands for it.
#[cfg(unix)]
#[tokio::test]
async fn nothing_but_a_file_is_replaced_by_what_is_written() {
    use std::os::unix::fs::FileTypeExt as _;
    let desk = Desk::with_people(1, "Bob");
    assert!(std::process::Command::new("mkfifo").arg(desk.path("pipe")).status().unwrap().success());
    for flags in ["run --report pipe", "run --refused pipe", "plan --out pipe", "runs 1 --report pipe"] {
        desk.run(&format!("{flags} --crm crm.csv")).await.was_refused("pipe is not a regular file; name another one");
    }
    assert!(fs::metadata(desk.path("pipe")).unwrap().file_type().is_fifo());
    assert_eq!(desk.files(), ["crm.csv", "pipe"]);
}

/// A device such as `/dev/null` would be made private for all by a job that root runs; a pipe stands for it.
#[cfg(unix)]
#[tokio::test]
async fn a_ledger_that_is_no_regular_file_is_refused_with_its_permissions_untouched() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let desk = Desk::with_people(1, "Bob");
    assert!(std::process::Command::new("mkfifo").arg(desk.path("pipe")).status().unwrap().success());
    fs::set_permissions(desk.path("pipe"), fs::Permissions::from_mode(0o666)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(desk.path("socket")).unwrap();
    symlink("pipe", desk.path("link")).unwrap();
    for ledger in ["pipe", "link", "socket"] {
        for command in ["run", "plan"] {
            let ended = desk.run(&format!("{command} --crm crm.csv --ledger {ledger}")).await;
            ended.was_refused(&format!("{ledger} is not a regular file; name a file for the ledger"));
        }
    }
    assert_eq!(fs::metadata(desk.path("pipe")).unwrap().permissions().mode() & 0o777, 0o666);
    assert_eq!(desk.files(), ["crm.csv", "link", "pipe", "socket"]);
}

#[tokio::test]
async fn an_instance_or_a_token_alone_never_leads_to_the_stand_in() {
    let desk = Desk::with_people(1, "Bob");
    let mut job = desk.job(["--crm", "crm.csv"]);
    job.env("WAWP_ACCESS_TOKEN", "s3cret");
    end(job).await.was_refused("--instance or WAWP_INSTANCE_ID");
    desk.run("--crm crm.csv --instance shop").await.was_refused("set WAWP_ACCESS_TOKEN");
    assert_eq!(desk.files(), ["crm.csv"]);
}

#[tokio::test]
async fn the_sample_is_never_written_to_a_real_address_book() {
    let (desk, server) = (Desk::new(), WawpServer::start().await);
    for command in ["run", "plan"] {
        let mut job = desk.job([command]);
        job.env("WAWP_BASE_URL", server.url());
        job.env("WAWP_INSTANCE_ID", server.instance().as_str()).env("WAWP_ACCESS_TOKEN", server.token());
        end(job).await.was_refused("name your CRM export with --crm; the sample is for the stand-in server only");
    }
    assert_eq!((server.reads(), desk.files()), (0, vec![]));
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_before_a_ledger_is_made() {
    let desk = Desk::with_people(1, "Bob");
    let with = |url: &str, instance: &str, token: &str| {
        let mut job = desk.job(["--crm", "crm.csv"]);
        job.env("WAWP_BASE_URL", url).env("WAWP_INSTANCE_ID", instance).env("WAWP_ACCESS_TOKEN", token);
        end(job)
    };
    with("https://api.wawp.net", "shop", "").await.was_refused("WAWP_ACCESS_TOKEN");
    with("https://api.wawp.net", "", "s3cret").await.was_refused("--instance or WAWP_INSTANCE_ID");
    with("api.wawp.net", "shop", "s3cret").await.was_refused("base URL");
    with("ftp://api.wawp.net", "shop", "s3cret").await.was_refused("neither https nor http");
    with("http://api.wawp.net", "shop", "s3cret")
        .await
        .was_refused("plain http would show the token to others; use https");
    let ended = with("http://api.wawp.net", "shop", "s3cret").await;
    assert!(!ended.err.contains("allow_plain_http"), "the job has no such flag\n{ended}");
    assert_eq!(desk.files(), ["crm.csv"]);
}

#[tokio::test]
async fn a_server_without_the_route_is_an_error_that_names_the_other_route() {
    let (desk, server) = (Desk::with_people(3, "Bob"), WawpServer::start().await);
    server.on_any_update().answer(Answer::unknown_route());
    for flags in ["", "--json"] {
        let ended = desk.run_at(&server, flags).await.with(1);
        ended.complains("the server does not know the route; try the other one, PUT /v2/contacts/{chatId}");
        assert_eq!(server.calls().len(), 1, "no second contact finds the route\n{ended}");
        server.forget_calls();
    }
}

#[tokio::test]
async fn a_server_that_does_not_listen_is_named_and_leaves_all_for_a_later_run() {
    let desk = Desk::with_people(3, "Bob");
    let server = WawpServer::start().await;
    let mut job = desk.job_at(&server, "--wait 0 --json");
    drop(server);
    // The port of a server that is gone may be taken by another one of these tests; port 1 is never.
    job.args(["--base-url", "http://127.0.0.1:1"]);
    let ended = end(job).await.with(1);
    assert_eq!((&ended.summary()["gated"], &ended.summary()["calls"]), (&3.into(), &0.into()), "{ended}");
    assert!(ended.err.contains("no connection to the server"), "{ended}");
    assert!(ended.err.contains("http://127.0.0.1:1"), "{ended}");
}
