//! What a program reads: JSON Lines on standard output, and nothing else there.

use serde_json::Value;

use super::{Desk, Ended};

const SUMMARY: [&str; 19] = [
    "type",
    "created",
    "renamed",
    "unchanged",
    "refused",
    "parked",
    "held",
    "gated",
    "stale",
    "left",
    "shortened",
    "untagged",
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
        let (changes, refusals): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line["type"] == "change");
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
