//! What a program reads: JSON Lines on standard output, and nothing else there.

use serde_json::Value;

use wawp_contacts::testkit::{Answer, WawpServer};

use super::{Desk, Ended};

const SUMMARY: [&str; 21] = [
    "type",
    "created",
    "renamed",
    "unchanged",
    "refused",
    "parked",
    "held",
    "by_hand",
    "gated",
    "stale",
    "left",
    "shortened",
    "untagged",
    "verified",
    "calls",
    "seconds",
    "run",
    "stopped",
    "gate",
    "hint",
    "guardrail",
];

impl Ended {
    /// The lines between the format and the summary, by their type, after a look at those two.
    #[track_caller]
    fn body(&self, command: &str) -> (Vec<Value>, Vec<Value>, Value) {
        let mut lines = self.lines();
        let format = lines.remove(0);
        assert_eq!((&format["type"], &format["version"]), (&"format".into(), &1.into()), "{self}");
        assert_eq!((&format["command"], &format["server"]), (&command.into(), &"stand-in".into()), "{self}");
        let summary = lines.pop().unwrap();
        assert_eq!(summary["type"], "summary", "{self}");
        let mut keys: Vec<_> = summary.as_object().unwrap().keys().map(String::as_str).collect();
        let mut documented = SUMMARY;
        keys.sort_unstable();
        documented.sort_unstable();
        assert_eq!(keys, documented);
        let (changes, others): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line["type"] == "change");
        let refusals: Vec<_> = others.into_iter().filter(|line| line["type"] != "note").collect();
        assert!(refusals.iter().all(|line| line["type"] == "refusal"), "{self}");
        (changes, refusals, summary)
    }
}

#[tokio::test]
async fn the_sample_export_gives_one_line_per_change_and_per_refusal() {
    let desk = Desk::new();
    for (args, code, outcome) in [("plan --json", 2, "planned"), ("run --json --rate 0", 3, "done")] {
        let ended = desk.run(args).await.with(code);
        let (changes, refusals, summary) = ended.body(args.split(' ').next().unwrap());
        assert_eq!((changes.len(), refusals.len()), (45, 15), "{ended}");
        let counts = ["created", "refused", "calls", "stale"].map(|key| summary[key].as_u64());
        assert_eq!(counts, [Some(45), Some(15), Some(45), Some(2)], "{ended}");
        assert!(changes.iter().all(|change| change["outcome"] == outcome), "{ended}");
        for refusal in refusals {
            assert!(refusal["reason"].is_string() && refusal["detail"].is_string(), "{refusal}");
        }
    }
}

#[tokio::test]
async fn a_change_names_person_row_names_and_cause() {
    let desk = Desk::with_people(1, "Bob");
    let (changes, _, _) = desk.run("--crm crm.csv --json").await.with(0).body("run");
    let keys = ["chat_id", "crm_id", "action", "before", "after", "cause", "outcome"];
    let created = ["12025550000@c.us", "crm-0", "create", "", "Bob 0", "new", "done"];
    assert_eq!(keys.map(|key| changes[0][key].as_str().unwrap_or_default()), created);

    let again = desk.run("plan --crm crm.csv --json --tags Lead").await.with(2);
    let (changes, _, _) = again.body("plan");
    let renamed = ["12025550000@c.us", "crm-0", "rename", "Bob 0", "Bob 0 [Lead]", "rules", "planned"];
    assert_eq!(keys.map(|key| changes[0][key].as_str().unwrap_or_default()), renamed);
}

#[tokio::test]
async fn a_second_run_is_a_format_and_a_summary() {
    let desk = Desk::with_people(3, "Bob");
    desk.run("--crm crm.csv --json").await.with(0);
    for args in ["run --crm crm.csv --json", "plan --crm crm.csv --json"] {
        let ended = desk.run(args).await.with(0);
        let (changes, refusals, summary) = ended.body(&args[..args.find(' ').unwrap()]);
        assert_eq!((changes.len(), refusals.len(), &summary["unchanged"]), (0, 0, &3.into()), "{ended}");
    }
}

impl Ended {
    /// The notes, each without its type, as they are written.
    #[track_caller]
    fn notes(&self) -> Vec<String> {
        let notes = self.lines().into_iter().filter(|line| line["type"] == "note");
        notes
            .map(|mut note| {
                note.as_object_mut().unwrap().remove("type");
                note.to_string()
            })
            .collect()
    }
}

#[tokio::test]
async fn a_note_of_the_text_is_a_line_before_the_summary() {
    let (desk, long) = (Desk::new(), "long ".repeat(40));
    desk.write(
        "crm.csv",
        &format!(
            "id,first_name,phone,stage\n1,Ada,+12025550001,Other\n1,Ada,+12025550001,Other\n\
             2,{long},+12025550002,\n3,Cy,+12025550003,\n"
        ),
    );
    for command in ["plan", "run"] {
        let ended = desk.run(&format!("{command} --crm crm.csv --json")).await;
        let notes = [
            r#"{"crm_id":"1","note":"repeated"}"#,
            r#"{"note":"untagged","rows":2,"stage":"Other"}"#,
            r#"{"crm_id":"2","note":"shortened"}"#,
        ];
        assert_eq!(ended.notes(), notes, "{ended}");
        assert_eq!(ended.summary()["type"], "summary", "{ended}");
    }
    desk.write("crm.csv", "id,first_name,phone\n1,Ada,+12025550001\n2,Bo,+12025550002\n");
    let left = r#"{"chat_id":"12025550003@c.us","crm_id":"3","name":"Cy","note":"left","reason":"gone"}"#;
    let ended = desk.run("--crm crm.csv --json").await.with(0);
    assert_eq!(ended.notes(), [left], "{ended}");
}

#[tokio::test]
async fn a_book_that_cannot_be_read_is_a_note() {
    let (desk, server) = (Desk::with_people(40, "Bob"), WawpServer::start().await);
    server.refuse_reads(Answer::invalid_param("no"));
    let ended = desk.run_at(&server, "--json --tags Lead").await.with(0);
    assert_eq!(ended.notes(), [r#"{"kind":"rejected","note":"unread"}"#], "{ended}");
}

/// P11: what a CRM, a phone or a server says can do nothing to a terminal.
#[tokio::test]
async fn a_line_holds_no_control_and_no_bidi_character_and_loses_none() {
    let (desk, id) = (Desk::new(), "c\u{9b}31m\u{1}\u{7f}\u{85}\u{200e}\u{202e}\u{2066}\u{2028}\u{61c}\u{e0001}r");
    desk.write("crm.csv", &format!("id,first_name,phone\n{id},Bob,none\n"));
    for command in ["plan", "run"] {
        let ended = desk.run(&format!("{command} --crm crm.csv --json")).await.with(3);
        let shown = format!("{}{}", ended.out, ended.err);
        let is_bad = |char: &char| {
            (char.is_control() && *char != '\n')
                || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        let bad: Vec<char> = shown.chars().filter(is_bad).collect();
        assert!(bad.is_empty(), "{bad:?} in {shown:?}");
        assert_eq!(ended.body(command).1[0]["crm_id"], id, "{ended}");
    }
}
