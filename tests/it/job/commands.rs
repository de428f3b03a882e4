//! The commands beside run and plan: the first day, single contacts, and what ran.

use serde_json::{Value, json};
use wawp_contacts::testkit::{Answer, Entry, WawpServer};

use super::{Desk, Ended, assert_people, chat, end, people};

const COMMANDS: [&str; 16] = [
    "run",
    "plan",
    "adopt",
    "refresh",
    "undo",
    "doctor",
    "explain",
    "hold",
    "release",
    "forget",
    "parked",
    "edits",
    "retry",
    "runs",
    "status",
    "completions",
];

impl Desk {
    /// Runs a command that calls nobody: no export, no server and no token, but the instance of the runs.
    async fn ask(&self, server: &WawpServer, args: &[&str]) -> Ended {
        let mut job = self.job(args);
        job.args(["--instance", server.instance().as_str()]);
        end(job).await
    }

    /// The one object that a command answers with.
    async fn ask_json(&self, server: &WawpServer, args: &[&str], code: i32) -> Value {
        let ended = self.ask(server, &[args, &["--json"]].concat()).await.with(code);
        let lines = ended.lines();
        assert_eq!(lines.len(), 1, "{ended}");
        lines[0].clone()
    }
}

/// Three people who were written, after the first run.
async fn three() -> (Desk, WawpServer) {
    let (desk, server) = (Desk::with_people(3, "Bob"), WawpServer::start().await);
    desk.run_at(&server, "").await.with(0);
    server.forget_calls();
    (desk, server)
}

/// The fields of a summary beside its type.
fn fields<const N: usize>(line: &Value, keys: [&str; N]) -> [u64; N] {
    keys.map(|key| line[key].as_u64().unwrap_or_else(|| panic!("{key} in {line}")))
}

#[tokio::test]
async fn each_command_has_a_help_that_fits_80_columns_and_shows_what_it_heeds() {
    let desk = Desk::new();
    let all = desk.run("--help").await.with(0);
    for command in COMMANDS {
        assert!(all.out.contains(&format!("\n  {command} ")), "{command} is not in the help\n{all}");
        let help = desk.run(&format!("{command} --help")).await.with(0);
        assert!(help.out.contains(&format!("Usage: sync_job {command}")), "{help}");
        for line in all.out.lines().chain(help.out.lines()) {
            assert!(line.chars().count() <= 80, "{command}: {line}");
        }
        let reads_crm = ["run", "plan", "adopt"].contains(&command);
        assert_eq!(help.out.contains("--crm <FILE>"), reads_crm, "{help}");
        assert_eq!(help.out.contains("--ledger <FILE>"), !["doctor", "completions"].contains(&command), "{help}");
        assert_eq!(help.out.contains("--json"), command != "completions", "{help}");
        assert_eq!(help.out.contains("--refused <FILE>") && help.out.contains("--map <LIST>"), reads_crm, "{help}");
    }
    assert_eq!(desk.files(), [""; 0]);
}

#[tokio::test]
async fn a_typo_is_told_what_was_meant() {
    let desk = Desk::new();
    for (args, words) in [
        (&["pln"][..], "a similar subcommand exists: 'plan'"),
        (&["explian", "Bob"], "a similar subcommand exists: 'explain'"),
        (&["plan", "--crmm", "x"], "a similar argument exists: '--crm'"),
        (&["--policy", "aks"], "--policy: \"aks\" is none of crm-wins, phone-wins, by-field, ask, if-raw"),
        (
            &["retry", "--reason", "refusd"],
            "is none of refused, competing, drifted, contested, deadly, unkept; did you mean refused?",
        ),
        (&["retry", "--reason"], "--reason"),
        (&["completions", "bsh"], "is none of bash, elvish, fish, powershell, zsh; did you mean bash?"),
        (&["completions"], "not provided: <SHELL>"),
        (&["retry"], "not provided: <CONTACT|--reason <REASON>|--all>"),
        (&["retry", "Bob", "--all"], "cannot be used with"),
        (&["explain"], "not provided: <CONTACT>"),
        (&["undo"], "not provided: <RUN>"),
        (&["undo", "the last one"], "RUN"),
        (&["doctor", "--write-test", "120363025246125486@g.us"], "--write-test"),
        (&["--route", "post"], "a route is `update` or `put-contact`"),
        (&["--credentials", "cookie"], "`body`, `query`, `bearer` or `header`"),
        (&["hold"], "not provided: <CONTACT>"),
        (&["release"], "not provided: <CONTACT>"),
        (&["parked", "Bob"], "unexpected argument 'Bob'"),
        (&["adopt", "--ledger", "memory"], "adopt: a ledger in memory would lose what is found"),
    ] {
        end(desk.job(args)).await.was_refused(words);
    }
    assert_eq!(desk.files(), [""; 0]);
}

#[tokio::test]
async fn without_a_ledger_there_is_nobody_to_ask_about_and_none_is_made() {
    let desk = Desk::new();
    for command in [
        "explain Bob",
        "hold Bob",
        "release Bob",
        "forget Bob",
        "parked",
        "edits",
        "retry --all",
        "runs",
        "runs 1",
        "status",
        "refresh",
        "undo 1",
        "undo 1 --yes",
    ] {
        desk.run(command).await.was_refused("there is no ledger sync_job.ledger; name that of the runs with --ledger");
        desk.run(&format!("{command} --ledger memory")).await.was_refused("a ledger in memory knows nobody");
        let mut job = desk.job(command.split(' '));
        job.env("WAWP_ACCESS_TOKEN", "s3cret");
        end(job).await.was_refused("name the instance with --instance");
    }
    assert_eq!(desk.files(), [""; 0]);
}

#[tokio::test]
async fn where_nothing_ran_yet_each_command_says_so_and_what_to_do_first() {
    let (desk, server) = three().await;
    let before = desk.files();
    let words = "nothing ran yet for instance other in sync_job.ledger; `run` or `adopt` first, or name the instance or the ledger";
    for (command, code) in
        [("parked", 0), ("edits", 0), ("runs", 0), ("status", 0), ("refresh", 1), ("undo 1", 1), ("undo 2 --yes", 1)]
    {
        let mut job = desk.job(command.split(' '));
        job.args(["--instance", "other", "--base-url", &server.url()]).env("WAWP_ACCESS_TOKEN", "s3cret");
        let ended = end(job).await.with(code);
        let told = if code == 0 { &ended.out } else { &ended.err };
        assert!(told.contains(words) && told.lines().count() == 1, "{command}\n{ended}");
    }
    for (command, words) in [("explain Bob", "nobody is known as"), ("runs 1", "there was no run 1; see `runs`")] {
        let mut job = desk.job(command.split(' '));
        job.args(["--instance", "other"]);
        end(job).await.was_refused(words);
    }
    for (command, lines) in [("parked", 0), ("edits", 0), ("runs", 0), ("status", 1)] {
        let mut job = desk.job([command, "--json", "--instance", "other"]);
        job.env("WAWP_ACCESS_TOKEN", "s3cret");
        assert_eq!(end(job).await.with(0).lines().len(), lines, "{command}");
    }
    assert_eq!((desk.files(), server.reads()), (before, 0));
    desk.run_at(&server, "undo 2 --yes").await.with(1).complains("there was no run 2");
    assert_eq!(desk.ask(&server, &["runs", "--json"]).await.with(0).lines().len(), 1, "nor is it one by now");
}

#[tokio::test]
async fn what_is_there_on_the_first_day_is_adopted_and_only_the_difference_is_written() {
    let (desk, server) = (Desk::with_people(3, "Bob"), WawpServer::start().await);
    server.seed([Entry::saved(&chat(0), "Bob 0"), Entry::saved(&chat(1), "Robert")]);
    let ended = desk.run_at(&server, "adopt --json").await.with(0);
    let last = ended.summary();
    assert_eq!(fields(&last, ["adopted", "different", "calls"]), [1, 1, 0], "{ended}");
    assert_eq!((last["type"].as_str(), last["run"].is_u64()), (Some("summary"), true), "{ended}");
    assert_eq!(ended.lines()[0]["command"], "adopt", "{ended}");
    assert!(!ended.out.contains("\"change\""), "what is due before the read is no news\n{ended}");
    assert_eq!(server.calls(), []);
    let again = desk.run_at(&server, "adopt").await.with(0);
    again.says("2 entries read, 1 adopted, 1 different; 0 calls");
    let plan = desk.run_at(&server, "plan").await.with(2);
    let plan = plan.says("1 name will be replaced: the address book had another one");
    plan.says("+1 202-555-0001 crm-1 \"Robert\" -> \"Bob 1\"").says("1 stays as it is").says("2 calls");
    desk.run_at(&server, "run").await.with(0).says("1 added, 1 renamed, 1 unchanged");
    assert_people(&server, 3, "Bob");
    desk.run_at(&server, "plan").await.with(0).says("0 calls");
}

#[tokio::test]
async fn rows_that_cannot_be_used_are_told_and_need_a_person_on_the_first_day_too() {
    let (desk, server) = (Desk::new(), WawpServer::start().await);
    desk.write("crm.csv", "id,first_name,phone\n1,Ada,+12025550001\n2,Bo\u{202e},none\n");
    server.seed([Entry::saved(&chat(1), "Ada")]);
    let ended = desk
        .run_at(&server, "adopt")
        .await
        .with(3)
        .says("1 adopted, 0 different, 1 row cannot be used")
        .says("a phone that cannot be right");
    assert!(!ended.out.contains('\u{202e}'), "{ended}");
}

#[tokio::test]
async fn rows_that_a_guardrail_stops_are_not_adopted_and_the_summary_is_that_of_a_run() {
    let (desk, server) = (Desk::with_people(40, "Bob"), WawpServer::start().await);
    desk.run_at(&server, "").await.with(0);
    desk.write("crm.csv", &people(5, "Bob"));
    let stopped = desk.run_at(&server, "adopt --json").await.with(1);
    assert_eq!(stopped.summary()["guardrail"], "missing_rows", "{stopped}");
    stopped.complains("stopped before the first call");
}

#[tokio::test]
async fn a_refresh_counts_what_others_saved_and_the_policy_says_what_becomes_of_it() {
    for (policy, code, name) in [("crm-wins", 0, "Bob 0"), ("ask", 3, "Mum"), ("if-raw", 0, "Mum")] {
        let (desk, server) = (Desk::with_people(3, "Bob"), WawpServer::start().await);
        let policy = format!("--policy {policy}");
        desk.run_at(&server, &policy).await.with(0);
        server.rename_on_phone(&chat(0), "Mum");
        // No policy is named: that of the run stays.
        let found = desk.run_at(&server, "refresh --json").await.with(code);
        assert_eq!(fields(&found.summary(), ["read", "drifted", "run"]), [3, 1, 2], "{policy}\n{found}");
        let expected = u64::from(code == 3);
        let status = desk.ask_json(&server, &["status"], 0).await;
        assert_eq!(
            (&status["parked"], status["policy"].as_str()),
            (&expected.into(), policy.strip_prefix("--policy "))
        );
        desk.run_at(&server, &policy).await.with(code);
        server.assert_contact(&chat(0), name);
    }
}

#[tokio::test]
async fn a_refresh_names_whom_others_renamed_the_first_few_or_all() {
    let (desk, server) = (Desk::with_people(12, "Bob"), WawpServer::start().await);
    desk.run_at(&server, "").await.with(0);
    for n in 1..11 {
        server.rename_on_phone(&chat(n), format!("M\u{202e}um {n}"));
    }
    let few = desk.run_at(&server, "refresh").await.with(0);
    let few = few.says("10 names were saved over ours\n  +1 202-555-0001  crm-1   \"Bob 1\"   ->  \"M\\u{202e}um 1\"");
    let few = few.says("and 2 more; --all shows them").says("the next run sends ours again");
    assert!(
        few.out.lines().last().unwrap().contains("12 entries read, 10 drifted; 2 as wanted, 10 different"),
        "{few}"
    );
    let all = desk.run_at(&server, "refresh --all --policy ask").await.with(3).says("you decide which names stay");
    assert_eq!(all.out.lines().filter(|line| line.starts_with("  +1")).count(), 10, "{all}");
    let told = desk.run_at(&server, "refresh --json").await.with(3);
    let (last, lines) = (told.summary(), told.lines());
    let drifted: Vec<_> = lines.iter().filter(|line| line["type"] == "drifted").collect();
    assert_eq!((fields(&last, ["read", "drifted"]), drifted.len(), lines.len()), ([12, 10], 10, 12), "{told}");
    let first = ["chat", "crm_ids", "sent", "seen"].map(|key| drifted[0][key].clone());
    assert_eq!(json!(first), json!(["12025550001@c.us", ["crm-1"], "Bob 1", "M\u{202e}um 1"]));
    desk.write("crm.csv", &people(12, "Rob"));
    let reads = server.reads();
    let run = desk.run_at(&server, "--json --yes").await;
    assert!(server.reads() > reads, "it looks at all of the address book as well");
    assert!(!run.out.contains("\"type\":\"drifted\""), "only a refresh is asked for that\n{run}");
}

#[tokio::test]
async fn a_refresh_needs_no_export_and_tells_of_an_instance_that_may_not_be_called() {
    let (desk, server) = three().await;
    let job = |args: &[&str]| {
        let mut job = desk.job(args);
        job.args(["--rate", "0", "--wait", "0", "--base-url", &server.url(), "--instance", server.instance().as_str()]);
        job.env("WAWP_ACCESS_TOKEN", server.token());
        end(job)
    };
    job(&["refresh"]).await.with(0).says("3 entries read, 0 drifted; 3 as wanted, 0 different; 0 calls");
    server.revoke_token();
    for command in [&["refresh", "--json"][..], &["adopt", "--json", "--crm", "crm.csv"]] {
        let refused = job(command).await.with(1);
        let last = refused.summary();
        assert_eq!(last["gate"], "unauthorized", "{refused}");
        assert!(last["hint"].as_str().is_some_and(|hint| hint.contains("WAWP_ACCESS_TOKEN")), "{refused}");
        refused.complains("the access token was refused");
    }
}

#[tokio::test]
async fn a_contact_is_found_by_whatever_a_person_has_of_it() {
    let (desk, server) = three().await;
    for words in [
        &["+1 202 555 0001"][..],
        &["12025550001"],
        &["+1", "(202)", "555-0001"],
        &["12025550001@c.us"],
        &["crm-1"],
        &["bOB 1"],
        &["ob", "1"],
        &["(202) 555-0001", "--region", "US"],
        &["2025550001", "--region", "US"],
    ] {
        let told = desk.ask(&server, &[&["explain"], words].concat()).await.with(0);
        let first = "+1 202-555-0001: nothing to do\n  the address book shows the name that the CRM wants\n";
        assert!(told.out.starts_with(first), "{words:?}\n{told}");
        told.says("row \"crm-1\" of the CRM wants \"Bob 1\"").says("\"Bob 1\" accepted (run 1)");
    }
    for words in ["Zoe", "+12025559999", "crm-9", "(202) 555-0001"] {
        for command in ["explain", "hold", "release", "retry"] {
            desk.ask(&server, &[command, words]).await.was_refused(&format!("nobody is known as \"{words}\""));
        }
    }
    assert_eq!(server.calls(), []);
}

#[tokio::test]
async fn a_story_for_a_script_is_one_object() {
    let (desk, server) = three().await;
    let story = desk.ask_json(&server, &["explain", "crm-2"], 0).await;
    assert_eq!((&story["chat"], &story["status"]), (&"12025550002@c.us".into(), &"in_sync".into()), "{story}");
    assert_eq!(story["why"], "the address book shows the name that the CRM wants");
    let happened = story["story"].as_array().unwrap();
    assert!(happened.iter().any(|one| one["what"] == "\"Bob 2\" accepted (run 1)" && one["at"].is_u64()), "{story}");
}

#[tokio::test]
async fn a_name_of_several_lists_them_and_does_nothing() {
    let (desk, server) = (Desk::with_people(12, "Bob"), WawpServer::start().await);
    desk.run_at(&server, "").await.with(0);
    for command in ["explain", "hold", "release", "retry"] {
        let ended = desk.ask(&server, &[command, "bob 1"]).await.with(1);
        let listed: Vec<_> = ended.out.lines().collect();
        let rows = [
            "+1 202-555-0001  crm-1   \"Bob 1\"",
            "+1 202-555-0010  crm-10  \"Bob 10\"",
            "+1 202-555-0011  crm-11  \"Bob 11\"",
        ];
        assert_eq!(listed, rows, "{ended}");
        ended.complains("3 contacts match \"bob 1\"; be more exact");
    }
    let ended = desk.ask(&server, &["explain", "bob", "--json"]).await.with(1);
    assert_eq!((ended.out.as_str(), ended.err.lines().count()), ("", 11), "{ended}");
    ended.complains("more than 10 contacts match");
    let status = desk.ask_json(&server, &["status"], 0).await;
    assert_eq!(fields(&status, ["records", "in_sync", "held"]), [12, 12, 0]);
}

#[tokio::test]
async fn a_contact_that_is_held_is_left_out_until_it_is_released() {
    let (desk, server) = three().await;
    desk.ask(&server, &["hold", "crm-1"]).await.with(0).says("+1 202-555-0001 \"Bob 1\": held: no name is written");
    desk.ask(&server, &["hold", "Bob 1"]).await.with(0).says("was held already");
    desk.write("crm.csv", &people(3, "Robert"));
    // Whoever is held is no news night after night.
    desk.run_at(&server, "").await.with(0).says("2 renamed").says("1 on hold");
    server.assert_contact(&chat(1), "Bob 1");
    assert_eq!(server.calls_for(&chat(1)), []);

    let listed = desk.ask(&server, &["parked"]).await.with(3);
    let lines = "1 contact is left as it is: a person said so; `release` goes on with it\n  \
                 +1 202-555-0001  crm-1  \"Bob 1\"  ->  \"Robert 1\"  held since 20";
    assert!(listed.out.starts_with(lines) && listed.out.lines().count() == 2, "{listed}");
    let story = desk.ask_json(&server, &["explain", "crm-1"], 0).await;
    assert_eq!(story["status"], "held");

    let released = desk.ask_json(&server, &["release", "+12025550001"], 0).await;
    let done = ["command", "chat", "changed", "status"].map(|key| released[key].clone());
    assert_eq!(json!(done), json!(["release", "12025550001@c.us", true, "due"]), "{released}");
    assert_eq!(desk.ask_json(&server, &["release", "crm-1"], 0).await["changed"], false);
    desk.run_at(&server, "").await.with(0).says("1 renamed, 2 unchanged");
    assert_people(&server, 3, "Robert");
}

#[tokio::test]
async fn a_contact_that_is_held_is_listed_and_counted_also_while_it_is_in_sync() {
    let (desk, server) = three().await;
    desk.ask(&server, &["status"]).await.with(0).says("3 have a name\n");
    for id in ["crm-1", "crm-2"] {
        desk.ask(&server, &["hold", id]).await.with(0);
    }
    desk.write("crm.csv", &people(2, "Bob"));
    desk.run_at(&server, "").await.with(0);
    let listed = desk.ask(&server, &["parked"]).await.with(0);
    let rows: Vec<_> = listed.out.lines().collect();
    assert_eq!(rows[0], "2 contacts are left as they are: a person said so; `release` goes on with it", "{listed}");
    assert!(rows.len() == 3 && rows[1..].iter().all(|row| row.contains("held since 20")), "{listed}");
    assert!(rows[1].starts_with("  +1 202-555-0001  crm-1  \"Bob 1\"  ") && !rows[1].contains("->"), "{listed}");
    let told = desk.ask(&server, &["parked", "--json"]).await.with(0);
    let told: Vec<_> = told.lines().iter().map(|line| (line["state"].clone(), line["held_since"].is_u64())).collect();
    assert_eq!(told, [(json!("in_sync"), true), (json!("in_sync"), true)]);
    desk.ask(&server, &["status"]).await.with(0).says("3 have a name; 2 are held by you, see `parked`");
    let status = desk.ask_json(&server, &["status"], 0).await;
    assert_eq!(fields(&status, ["in_sync", "without_row", "held", "by_hand"]), [2, 1, 0, 2], "{status}");

    desk.write("crm.csv", &people(2, "Robert"));
    desk.run_at(&server, "--changes").await.with(0).says("1 on hold");
    let listed = desk.ask(&server, &["parked"]).await.with(3);
    assert_eq!((listed.out.lines().count(), listed.out.matches("->").count()), (3, 1), "each once\n{listed}");
    for id in ["crm-1", "+12025550002"] {
        desk.ask(&server, &["release", id]).await.with(0);
    }
    desk.ask(&server, &["parked"]).await.with(0).says("nobody waits for a person, and nobody is held");
    assert_eq!(desk.ask_json(&server, &["status"], 0).await["by_hand"], 0);
}

/// An export as people keep them: a blank line, a line of separators, rows without an id, a phone or a name, and two for one person.
const MESSY: &str = "id,first_name,phone,stage,version\n1,Ada,+12025550001,Lead,1\n2,Bo,+12025550002,,1\n\n,,,,\n\
    3,,+12025550003,Lead,1\n4,Di,,Lead,1\n5,Ed,none,Lead,1\n6,Flo,+12025550006,Lead,1\n7,Fay,+12025550006,Lead,1\n\
    8,Gus,+12025550008,Lead,1\n8,Gil,+12025550008,Lead,0\n9,Hal,+12025550009,Other,1\n,Jon,+12025550012,Lead,1\n\
    10,Li,123456789012345@lid,Lead,1\n11,Mo,+12025550013,Lead,1\n";

/// Rows of [`MESSY`]: all but the header and the blank line.
const ROWS: u64 = 14;

#[tokio::test]
async fn a_plan_its_page_and_the_status_count_the_same() {
    let (desk, server) = (Desk::new(), WawpServer::start().await);
    desk.write("crm.csv", &format!("{MESSY}12,Gone,+12025550014,Lead,1\n"));
    server.on_update(&chat(13)).answer(Answer::invalid_param("no such number")).once();
    desk.run_at(&server, "--tags Lead").await.with(3);
    desk.ask(&server, &["hold", "crm-none"]).await.with(1);
    desk.ask(&server, &["hold", "8"]).await.with(0);
    // Two that are due, one of them held, one whose row is gone, one who was refused.
    desk.write(
        "crm.csv",
        &MESSY
            .replace("Ada", "Ann")
            .replace("Gus", "Guy")
            .replace("8,Guy,+12025550008,Lead,1", "8,Guy,+12025550008,Lead,2"),
    );
    desk.run_at(&server, "--tags Lead --intake-only").await.with(3);

    let plan = desk.run_at(&server, "plan --tags Lead --json --report plan.html").await.with(2).summary();
    let keys = ["created", "renamed", "unchanged", "parked", "held", "gated", "refused", "stale"];
    let [created, renamed, unchanged, parked, held, gated, refused, stale] = fields(&plan, keys);
    assert_eq!([unchanged, renamed, held, parked, refused, stale], [2, 1, 2, 1, 7, 1], "{plan}");
    assert_eq!(created + renamed + unchanged + parked + held + gated + refused + stale, ROWS, "each row once: {plan}");

    let status = desk.ask_json(&server, &["status"], 0).await;
    let keys = ["in_sync", "due", "held", "parked", "unusable", "without_row", "records"];
    let [in_sync, due, on_hold, needs, unusable, without_row, records] = fields(&status, keys);
    assert_eq!([in_sync, due, on_hold, needs], [unchanged, created + renamed + gated, held, parked], "{status}");
    assert_eq!(([unusable, without_row], records), ([2, 1], in_sync + due + on_hold + needs + 2 + 1), "{status}");
    let told = desk.ask(&server, &["status"]).await.with(0);
    told.says("9: 2 in sync, 1 waiting for the next run, 2 on hold, 1 that needs you, 2 whose rows cannot be used, 1 without a row;");

    let page = std::fs::read_to_string(desk.path("plan.html")).unwrap();
    for words in [
        format!("<p>{unchanged} contacts are right already; "),
        format!("<b>{refused}</b> rows cannot be used"),
        format!("<b>{}</b> contacts need you", parked + held),
        format!("<b>{}</b> to change", created + renamed),
    ] {
        assert!(page.contains(&words), "{words}\n{page}");
    }
}

#[tokio::test]
async fn what_was_refused_is_listed_and_tried_again_when_a_person_says_so() {
    let (desk, server) = (Desk::with_people(3, "Bob"), WawpServer::start().await);
    desk.run_at(&server, "").await.with(0);
    desk.ask(&server, &["parked"]).await.with(0).says("nobody waits for a person");
    assert_eq!(desk.ask(&server, &["parked", "--json"]).await.with(0).out, "");
    let retries = [&["retry", "crm-1"][..], &["retry", "--reason", "refused"], &["retry", "--all"]];
    for (n, retry) in retries.into_iter().enumerate() {
        let name = format!("Robert{n}");
        desk.write("crm.csv", &people(3, &name));
        server.on_update(&chat(1)).answer(Answer::invalid_param("not\u{202e} now")).once();
        desk.run_at(&server, "").await.with(3).says("1 needs you");
        let listed = desk.ask(&server, &["parked"]).await.with(3);
        assert!(!listed.out.contains('\u{202e}'), "{listed}");
        let listed =
            listed.says("1 contact needs you: the server refused the name; change it in the CRM, or try again\n");
        let listed = listed.says(&format!("-> \"{name} 1\"\n")).says("  of +1 202-555-0001 the server said: not");
        assert_eq!(listed.out.lines().count(), 3, "{listed}");
        let waiting = desk.ask_json(&server, &["parked"], 3).await;
        let told = ["chat", "crm_ids", "wanted", "state", "reason"].map(|key| waiting[key].clone());
        assert_eq!(json!(told), json!(["12025550001@c.us", ["crm-1"], format!("{name} 1"), "parked", "refused"]));

        let calls = server.calls().len();
        desk.run_at(&server, "").await.with(3).says("; 0 calls");
        desk.ask(&server, &["retry", "--reason", "drifted"]).await.with(0).says("tries 0 contacts again");
        desk.ask(&server, retry).await.with(0).says(" again");
        assert_eq!(server.calls().len(), calls, "only a run calls");
        desk.run_at(&server, "").await.with(0).says("1 renamed").says("; 1 call,");
        assert_people(&server, 3, &name);
    }
    desk.ask(&server, &["retry", "crm-1"]).await.with(0).says("is not parked");
    assert_eq!(desk.ask_json(&server, &["retry", "--all"], 0).await, json!({"command": "retry", "changed": 0}));
}

#[tokio::test]
async fn a_name_of_the_crm_that_is_sent_after_a_release_is_no_name_from_the_phone_and_none_put_back() {
    let (desk, server) = three().await;
    server.rename_on_phone(&chat(0), "Mum");
    desk.run_at(&server, "refresh --policy phone-wins").await.with(0);
    desk.ask(&server, &["release", "crm-0"]).await.with(0).says("the next run writes the CRM's name");
    let names = ["+1 202-555-0000 crm-0 \"Mum\" -> \"Bob 0\"", "+1 202-555-0001 crm-1 \"Bob 1\" -> \"Rob 1\""];
    let why = "1 name written again: somebody saved another one on the phone";
    desk.run_at(&server, "run").await.with(0).says(why).says(names[0]);

    desk.write("crm.csv", &people(3, "Bob").replace("Bob 1", "Rob 1"));
    let run = desk.run_at(&server, "run --json").await.with(0).summary()["run"].to_string();
    desk.run_at(&server, &format!("undo {run} --yes")).await.with(0).says("1 name put back");
    desk.ask(&server, &["release", "crm-1"]).await.with(0).says("the next run writes the CRM's name");
    desk.run_at(&server, "run").await.with(0).says("1 name changed").says(names[1]);
}

#[tokio::test]
async fn a_changed_name_waits_for_a_release() {
    let (desk, server) = (Desk::with_people(2, "Bob"), WawpServer::start().await);
    desk.run_at(&server, "--policy ask").await.with(0);
    server.rename_on_phone(&chat(0), "M\u{202e}um");
    desk.run_at(&server, "refresh --policy ask").await.with(3).says("1 drifted");
    let listed = desk
        .ask(&server, &["parked"])
        .await
        .with(3)
        .says("somebody saved another name")
        .says("\"M\\u{202e}um\" -> \"Bob 0\"");
    assert!(!listed.out.contains('\u{202e}'), "{listed}");
    desk.ask(&server, &["retry", "crm-0"]).await.with(0).says("not tried again: somebody saved another name");
    desk.ask(&server, &["release", "crm-0"]).await.with(0).says("released: the next run writes the CRM's name");
    desk.run_at(&server, "--policy ask").await.with(0).says("1 renamed");
    server.assert_contact(&chat(0), "Bob 0");
}

#[tokio::test]
async fn a_name_from_the_phone_stays_and_is_listed_for_the_crm() {
    let (desk, server) = three().await;
    server.rename_on_phone(&chat(1), "Mum");
    let found = desk.run_at(&server, "refresh --policy phone-wins --json").await.with(0);
    let edit = found.lines().into_iter().find(|line| line["type"] == "edit").unwrap_or_else(|| panic!("{found}"));
    assert_eq!(
        (&edit["crm_id"], &edit["saved"], &edit["is_taken_over"]),
        (&json!("crm-1"), &json!("Mum"), &json!(true))
    );
    let run = desk.run_at(&server, "--policy phone-wins --json").await.with(0);
    assert_eq!(run.summary()["calls"], 0, "{run}");
    server.assert_contact(&chat(1), "Mum");

    let listed = desk.ask_json(&server, &["edits"], 0).await;
    assert_eq!((&listed["saved"], &listed["wanted"]), (&json!("Mum"), &json!("Bob 1")));
    desk.ask(&server, &["edits"]).await.with(0).says("\"Mum\"  on the phone, and stays; the CRM has  \"Bob 1\"");
    desk.ask(&server, &["release", "crm-1"]).await.with(0);
    desk.ask(&server, &["edits"]).await.with(0).says("the CRM knows every name");
    desk.run_at(&server, "--policy phone-wins").await.with(0);
    server.assert_contact(&chat(1), "Bob 1");
}

#[tokio::test]
async fn a_person_is_forgotten_once_somebody_says_yes_and_stays_out_until_allowed() {
    let (desk, server) = three().await;
    desk.write("crm.csv", &people(3, "Rob"));
    desk.run_at(&server, "").await.with(0);
    let shown = desk.ask(&server, &["forget", "crm-1"]).await.with(1);
    let shown = shown.says("+1 202-555-0001 \"Rob 1\": would be forgotten, with row crm-1 of the CRM and 1 name");
    shown.complains("nothing was forgotten yet; pass --yes");
    assert_eq!(desk.ask_json(&server, &["forget", "crm-1"], 1).await["forgotten"], false);
    desk.ask(&server, &["explain", "crm-1"]).await.with(0);

    let done = desk.ask_json(&server, &["forget", "(202) 555-0001", "--region", "US", "--yes"], 0).await;
    let told = ["command", "forgotten", "chats", "crm_ids", "shown", "overwritten"].map(|key| done[key].clone());
    assert_eq!(json!(told), json!(["forget", true, ["12025550001@c.us"], ["crm-1"], "Rob 1", 1]));
    desk.ask(&server, &["explain", "crm-1"]).await.with(1).complains("nobody is known as");
    desk.ask(&server, &["forget", "crm-1", "--yes"]).await.with(1).complains("nobody is known as");
    desk.ask(&server, &["forget", "+12025550001", "--yes"]).await.with(0).says("nothing was known; kept out");

    server.forget_calls();
    let refused = desk.run_at(&server, "").await.with(3).says("2 unchanged, 1 row cannot be used");
    refused.says("1 row claims a person who was forgotten: take the row out of the CRM, or");
    let planned = desk.run_at(&server, "plan --json").await.with(3).lines();
    assert!(planned.iter().any(|line| line["reason"] == "forgotten" && line["crm_id"] == "crm-1"), "{planned:?}");

    assert_eq!(desk.ask_json(&server, &["forget", "Bob", "--allow"], 0).await["allowed"], false);
    desk.ask(&server, &["forget", "crm-1", "--allow"]).await.with(0).says("allowed again");
    desk.ask(&server, &["forget", "+12025550001", "--allow"]).await.with(0).says("was not forgotten");
    assert_eq!(server.calls(), []);
    desk.run_at(&server, "").await.with(0).says("3 unchanged");
    desk.ask(&server, &["explain", "crm-1"]).await.with(0);
}

#[tokio::test]
async fn runs_are_listed_newest_first_with_their_counts() {
    let (desk, server) = three().await;
    desk.run_at(&server, "refresh").await.with(0);
    desk.write("crm.csv", &people(3, "Robert"));
    desk.run_at(&server, "--yes").await.with(0);
    let listed = desk.ask(&server, &["runs"]).await.with(0);
    let lines: Vec<_> = listed.out.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(lines.len(), 3, "{listed}");
    for (line, (number, counts)) in lines.iter().zip([
        ("3", "0 added, 3 renamed, 0 unchanged"),
        ("2", "3 entries read, 0 drifted, 0 different"),
        ("1", "3 added, 0 renamed, 0 unchanged"),
    ]) {
        assert!(line.starts_with(&format!("{number}  20")) && line.contains(" UTC  "), "{listed}");
        assert!(line.contains(counts), "{counts}\n{listed}");
    }
    let ended = desk.ask(&server, &["runs", "--json"]).await.with(0);
    let runs = ended.lines();
    assert_eq!(runs.iter().map(|run| run["run"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!((&runs[0]["summary"]["renamed"], &runs[2]["summary"]["created"]), (&3.into(), &3.into()), "{ended}");
    assert!(runs.iter().all(|run| run["ended"].as_u64() >= run["began"].as_u64() && run["began"].is_u64()), "{ended}");
}

#[tokio::test]
async fn the_report_of_a_run_is_shown_again_as_text_as_json_and_as_a_page() {
    let (desk, server) = three().await;
    desk.write("crm.csv", &format!("{}bad,Bo,none,Lead\n", people(3, "Rob")));
    server.on_update(&chat(1)).answer(Answer::invalid_param("not now")).once();
    let then = desk.run_at(&server, "--json --report then.html").await.with(3);
    let told = desk.ask(&server, &["runs", "2"]).await.with(0).says("+1 202-555-0000  crm-0  \"Bob 0\"  ->  \"Rob 0\"");
    let told = told
        .says("1 contact needs you")
        .says("1 row has a phone that cannot be right")
        .says("2 renamed")
        .says("run 2, 20")
        .says(", by process ");
    assert!(!told.out.contains("Bob 0\" (new)"), "{told}");
    let again = desk.ask(&server, &["runs", "2", "--json", "--report", "again.html"]).await.with(0);
    let sorted = |ended: &Ended| {
        let mut lines: Vec<_> = ended.lines().into_iter().filter(|line| line["type"] != "format").collect();
        lines.sort_by_key(ToString::to_string);
        lines
    };
    assert_eq!(sorted(&again), sorted(&then), "{again}");
    let page = |file| std::fs::read_to_string(desk.path(file)).unwrap();
    let without_time = |page: String| {
        page.split("UTC").map(|part| part[..part.len().saturating_sub(30)].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(without_time(page("again.html")), without_time(page("then.html")));

    desk.ask(&server, &["forget", "crm-0", "--yes"]).await.with(0);
    let told = desk.ask(&server, &["runs", "2"]).await.with(0).says("Rob 2");
    assert!(!told.out.contains("Rob 0") && !told.out.contains("12025550000"), "{told}");
    desk.ask(&server, &["runs", "9"]).await.with(1).complains("there was no run 9");
    desk.ask(&server, &["runs"]).await.with(0).says("process ");
}

#[tokio::test]
async fn the_status_counts_the_contacts_and_tells_of_a_wait_and_of_the_last_run() {
    let (desk, server) = three().await;
    let told = desk.ask(&server, &["status"]).await.with(0);
    let told =
        told.says("contacts  3: 3 in sync, 0 waiting for the next run, 0 on hold, 0 that need you, 0 whose rows cannot be used, 0 without a row; 3 have a name\n");
    let told = told.says("calls     does not ask to wait\n").says("policy    crm-wins\n");
    assert!(told.out.contains("last run  1, 20") && told.out.contains("3 added"), "{told}");

    desk.write("crm.csv", &people(5, "Bob"));
    server.on_any_update().answer(Answer::too_many_requests(std::time::Duration::from_secs(900))).once();
    desk.run_at(&server, "--wait 0").await.with(3);
    desk.ask(&server, &["hold", "crm-4"]).await.with(0);
    let status = desk.ask_json(&server, &["status"], 0).await;
    let counts = fields(&status, ["records", "known", "in_sync", "due", "held", "parked"]);
    assert_eq!(counts, [5, 3, 3, 1, 1, 0], "{status}");
    assert_eq!((&status["wait"]["kind"], &status["last_run"]["run"]), (&"rate_limited".into(), &2.into()), "{status}");
    assert_eq!(status["last_run"]["summary"]["gated"], 2, "{status}");
    desk.ask(&server, &["status"]).await.with(0).says("asks to wait until 20").says("too many calls");
}

/// With neither a server nor an account, the records are those of the stand-in's runs, in the default ledger or in the one named.
#[tokio::test]
async fn the_stand_ins_records_are_found_without_any_setting() {
    for ledger in ["", " --ledger other.ledger"] {
        let desk = Desk::with_people(2, "Bob");
        desk.run(&format!("adopt --crm crm.csv{ledger}"))
            .await
            .with(0)
            .says("0 entries read, 0 adopted, 0 different; 0 calls");
        desk.run(&format!("--crm crm.csv{ledger}")).await.with(0).says("2 added");
        desk.run(&format!("explain Bob 1{ledger}")).await.with(0).says("+1 202-555-0001: nothing to do");
        desk.run(&format!("hold crm-1{ledger}")).await.with(0).says("held");
        desk.write("crm.csv", &people(2, "Robert"));
        let run = format!("--crm crm.csv{ledger} run --json");
        assert_eq!(fields(&desk.run(&run).await.with(0).summary(), ["renamed", "held", "by_hand"]), [1, 1, 1]);
        desk.run(&format!("refresh{ledger}")).await.with(0).says("2 entries read, 0 drifted");
        desk.run(&format!("status{ledger}")).await.with(0).says("instance  stand-in").says("1 on hold");
        desk.run(&format!("runs{ledger}")).await.with(0).says("1 renamed").says("2 added");
    }
}

#[tokio::test]
async fn an_undo_is_shown_first_and_done_once_a_person_says_yes() {
    let (desk, server) = three().await;
    desk.write("crm.csv", &people(3, "Rob"));
    desk.run_at(&server, "").await.with(0);
    server.forget_calls();
    let shown = desk.run_at(&server, "undo 2").await.with(1);
    assert!(shown.out.contains("3 names will be given back") && shown.err.contains("--yes"), "{shown}");
    assert_eq!(server.calls().len(), 0);
    let page = desk.path("undo.html");
    let done = desk.run_at(&server, "undo 2 --yes --json --report undo.html").await.with(0);
    let summary = done.lines().pop().unwrap();
    assert_eq!(fields(&summary, ["undone", "restored", "edited_since", "calls", "run"]), [2, 3, 0, 3, 3]);
    assert_people(&server, 3, "Bob");
    assert!(std::fs::read_to_string(page).unwrap().to_lowercase().starts_with("<!doctype html>"));
    server.forget_calls();
    desk.run_at(&server, "").await.with(0);
    assert_eq!(server.calls().len(), 0, "the same wish is not pushed again");
    desk.run_at(&server, "undo 77 --yes --json").await.with(1).complains("there was no run 77");
}

#[tokio::test]
async fn a_report_shows_a_plan_and_a_run_as_a_page() {
    let (desk, server) = (Desk::with_people(2, "<script>Bob"), WawpServer::start().await);
    desk.run_at(&server, "plan --report plan.html").await.with(2);
    desk.run_at(&server, "--report run.html").await.with(0);
    for file in ["plan.html", "run.html"] {
        let page = std::fs::read_to_string(desk.path(file)).unwrap();
        assert!(page.contains("&lt;script&gt;Bob") && !page.contains("<script"), "{file}");
    }
    let ended = desk.run_at(&server, "--report no/such/folder.html").await.with(1);
    assert!(ended.err.contains("no/such/folder.html"), "{ended}");
}

#[tokio::test]
async fn a_doctor_says_which_flags_fit_and_a_run_takes_them() {
    let (desk, server) = (Desk::with_people(2, "Bob"), WawpServer::start().await);
    server.take_only_credentials(wawp_contacts::Credentials::Bearer);
    let diagnosis = desk.run_at(&server, "doctor --json").await.with(1).lines().pop().unwrap();
    assert_eq!((&diagnosis["route"], &diagnosis["credentials"]), (&json!("update"), &json!("bearer")));
    assert_eq!((&diagnosis["reads"], &diagnosis["session"]), (&json!(true), &json!("WORKING")));
    let flags: Vec<&str> = diagnosis["flags"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap()).collect();
    desk.run_at(&server, "").await.with(1);
    desk.run_at(&server, &flags.join(" ")).await.with(0);
    assert_people(&server, 2, "Bob");
    let well = desk.run_at(&server, &format!("doctor {} --write-test {}", flags.join(" "), chat(0))).await.with(0);
    assert!(well.out.contains("put back as it was") && well.out.contains("--credentials bearer"), "{well}");
    assert_people(&server, 2, "Bob");
    server.take_only_route(wawp_contacts::Route::PutContact);
    server.add_header("Allow", "");
    desk.run_at(&server, "doctor").await.says("name a contact with --write-test to prove it.");
}

#[tokio::test]
async fn each_shell_has_a_script_that_completes_commands_and_flags() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = desk.run(&format!("completions {shell}")).await.with(0);
        for word in ["sync_job", "explain", "refused", "look-first"] {
            assert!(script.out.contains(word), "{shell}: {word}");
        }
        assert_eq!(script.err, "", "{shell}");
    }
    assert_eq!(desk.files(), [""; 0]);
}
