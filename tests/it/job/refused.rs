//! The rows that could not be used, as a file for those who keep the CRM.

use std::fs;

use wawp_contacts::testkit::WawpServer;

use super::{Desk, people};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/crm_export.csv");

impl Desk {
    /// The rows of such a file, its header first.
    #[track_caller]
    fn sheet(&self, file: &str, delimiter: u8) -> Vec<Vec<String>> {
        let bytes = fs::read(self.path(file)).unwrap();
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").expect("a mark that says UTF-8");
        let mut reader = csv::ReaderBuilder::new().has_headers(false).delimiter(delimiter).from_reader(text);
        let rows = reader.records().map(|row| row.unwrap().iter().map(Into::into).collect());
        rows.collect()
    }
}

/// Joins the fields, so that a failure shows whole rows.
fn joined(rows: &[Vec<String>]) -> Vec<String> {
    rows.iter().map(|row| row.join("|")).collect()
}

#[tokio::test]
async fn the_refused_rows_of_the_sample_come_back_as_they_were_with_a_reason_and_a_fix() {
    let sample = fs::read_to_string(SAMPLE).unwrap();
    let header: Vec<&str> = sample.lines().next().unwrap().split(',').collect();
    for (command, code) in [("plan", 2), ("run --rate 0", 3), ("adopt", 3), ("run --rate 0 --json", 3)] {
        let desk = Desk::new();
        desk.run(&format!("{command} --refused refused.csv")).await.with(code);
        let rows = desk.sheet("refused.csv", b',');
        assert_eq!(rows[0], [header.as_slice(), &["reason", "fix"]].concat(), "{command}");
        assert_eq!(rows.len(), 16, "{command}: {:#?}", joined(&rows));
        for row in &rows[1..] {
            let [reason, fix] = &row[header.len()..] else { panic!("{row:?}") };
            assert!(!reason.is_empty() && !fix.is_empty() && reason != fix, "{row:?}");
            let id = row[0].split(',').next().unwrap();
            assert!(sample.contains(&format!("\n{id},")), "{id:?} is no row of the sample");
        }
        let norway = rows.iter().find(|row| row[0] == "7142").unwrap();
        assert_eq!((norway[5].as_str(), norway[6].as_str()), ("12345", "Norway"));
        assert_eq!(norway[11], "the mobile cannot be used: not a phone number of Norway");
        assert_eq!(norway[12], "check the digits, or write it with + and the country code");
    }
}

#[tokio::test]
async fn without_a_refused_row_the_file_is_a_header_and_takes_the_place_of_an_older_one() {
    let desk = Desk::with_people(2, "Bob");
    desk.write("refused.csv", "what was refused yesterday");
    desk.run("--crm crm.csv --rate 0 --refused refused.csv").await.with(0);
    assert_eq!(joined(&desk.sheet("refused.csv", b',')), ["id|first_name|phone|stage|reason|fix"]);
    assert_eq!(desk.files().iter().filter(|file| !file.starts_with("sync_job")).count(), 2, "{:?}", desk.files());
}

#[tokio::test]
async fn no_text_is_a_formula_for_a_spreadsheet() {
    let desk = Desk::new();
    let texts = ["=1+1", "+1 202", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"];
    let mut csv = csv::Writer::from_path(desk.path("crm.csv")).unwrap();
    csv.write_record(["id", "first_name", "phone", "=2+2"]).unwrap();
    for text in texts {
        csv.write_record([text, text, "none", text]).unwrap();
    }
    csv.flush().unwrap();
    desk.run("plan --crm crm.csv --refused refused.csv").await.with(3);
    let rows = desk.sheet("refused.csv", b',');
    assert_eq!(rows.len(), texts.len() + 1, "{rows:?}");
    for field in rows.concat() {
        let first = field.trim_start().chars().next().unwrap_or_default();
        assert!(!"=+-@＝＋－＠".contains(first) && !field.starts_with(['\t', '\r']), "{field:?}");
    }
    assert_eq!((rows[0][3].as_str(), rows[1][0].as_str(), rows[2][1].as_str()), ("'=2+2", "'=1+1", "'+1 202"));
    let bytes = fs::read(desk.path("refused.csv")).unwrap();
    assert!(bytes.windows(3).all(|text| text != b",=1" && text != b"\n=1"), "each field is in quotes");
}

#[tokio::test]
async fn a_file_that_is_filled_in_and_handed_back_says_what_the_export_said() {
    let (desk, server) = (Desk::new(), WawpServer::start().await);
    desk.write("crm.csv", "id,name,phone\n=1,+Ann,none\n@2,-Bo,\n'=3,'+Cy,+12025550003 ext\n4,,+12025550004\n");
    desk.run_at(&server, "plan --refused refused.csv").await.with(3);
    let written = fs::read_to_string(desk.path("refused.csv")).unwrap();
    let filled_in = [("none", "'+12025550001"), ("\"'-Bo\",\"\"", "\"'-Bo\",\"'+1 202-555-0002\""), (" ext", "")];
    let filled_in = filled_in.into_iter().fold(written, |text, (old, new)| {
        assert!(text.contains(old), "{old} in {text}");
        text.replacen(old, new, 1)
    });
    desk.write("back.csv", &filled_in.replace("\"4\",\"\"", "\"4\",\"=Di\""));
    desk.run_at(&server, "--crm back.csv").await.with(0).says("4 added");
    for (n, name) in [(1, "+Ann"), (2, "-Bo"), (3, "+Cy"), (4, "=Di")] {
        server.assert_contact(&super::chat(n), name);
    }
    for id in ["=1", "@2", "=3"] {
        let mut job = desk.job(["explain", id]);
        job.args(["--instance", server.instance().as_str()]);
        super::end(job).await.with(0);
    }
}

#[tokio::test]
async fn a_file_with_semicolons_comes_back_with_semicolons() {
    let desk = Desk::new();
    desk.write("crm.csv", "id;name;phone\n1;\"Ada; Vane\";none\n2;Bo;+12025550002\n");
    desk.run("plan --crm crm.csv --refused refused.csv").await.with(2);
    let rows = desk.sheet("refused.csv", b';');
    assert_eq!(joined(&rows[..1]), ["id|name|phone|reason|fix"]);
    assert_eq!((rows.len(), &rows[1][..3]), (2, &["1".into(), "Ada; Vane".into(), "none".into()][..]));
}

#[tokio::test]
async fn of_json_lines_what_is_known_of_a_row_comes_back() {
    let desk = Desk::new();
    desk.write(
        "crm.jsonl",
        "{\"id\": 1, \"name\": \"Ada\", \"phone\": \"none\"}\n{\"id\": 2, \"name\": \" \", \"phone\": \"+12025550002\"}\n\
         {\"id\": 3, \"name\": \"Cy\", \"phone\": \"+12025550003\"}\n",
    );
    desk.run("plan --crm crm.jsonl --refused refused.csv").await.with(2);
    let rows = joined(&desk.sheet("refused.csv", b','));
    assert_eq!(rows.len(), 3, "{rows:#?}");
    assert_eq!(rows[0], "line|crm_id|phone|reason|fix");
    assert!(rows.iter().any(|row| row.starts_with("1|1||the phone cannot be used: ")), "{rows:#?}");
    assert!(rows.iter().any(|row| row.starts_with("|2|'+1 202-555-0002|the name is empty")), "{rows:#?}");
}

#[tokio::test]
async fn of_rows_with_one_id_the_one_that_counts_comes_back() {
    let desk = Desk::new();
    desk.write(
        "crm.csv",
        "id,name,phone,version\n1,Ada,+12025550001,1\n1,,+12025550001,3\n1,Ann,+12025550001,2\n2,Bo,+12025550002,1\n",
    );
    desk.run("plan --crm crm.csv --refused refused.csv").await;
    let rows = joined(&desk.sheet("refused.csv", b','));
    assert_eq!(rows.len(), 2, "{rows:#?}");
    assert!(rows[1].starts_with("1||'+12025550001|3|"), "{rows:#?}");
}

#[tokio::test]
async fn a_row_of_another_export_that_is_refused_is_named_in_the_reason() {
    let desk = Desk::new();
    desk.write("crm.csv", "id,name,phone\n1,Ada,+12025550001\n");
    desk.run("--crm crm.csv --rate 0").await.with(0);
    desk.write("crm.csv", "id,name,phone\n2,Bo,+12025550001\n");
    desk.run("--changes --crm crm.csv --rate 0 --refused refused.csv").await.with(3);
    let rows = joined(&desk.sheet("refused.csv", b','));
    assert_eq!(rows.len(), 3, "{rows:#?}");
    let own = "2|Bo|'+12025550001|the phone +1 202-555-0001 is also claimed by row 1|merge them in the CRM";
    assert_eq!(rows[1], own);
    assert!(
        rows[2].starts_with("|||1: +1 202-555-0001: the phone +1 202-555-0001 is also claimed by row 2"),
        "{rows:#?}"
    );
}

#[tokio::test]
async fn a_file_that_comes_back_as_an_export_gets_no_second_reason() {
    let desk = Desk::new();
    desk.write("crm.csv", "id,name,phone\n1,Ada,none\n2,Bo,+12025550002\n");
    desk.run("plan --crm crm.csv --refused refused.csv").await.with(2);
    desk.run("plan --crm refused.csv --refused again.csv").await.with(3);
    assert_eq!(fs::read(desk.path("again.csv")).unwrap(), fs::read(desk.path("refused.csv")).unwrap());
}

#[tokio::test]
async fn rows_that_stop_a_run_are_written_for_that_very_reason() {
    let (desk, server) = (Desk::new(), WawpServer::start().await);
    desk.write("crm.csv", &people(60, "Bob").replace("+1202", "none"));
    let ended = desk.run_at(&server, "--refused refused.csv").await.with(1);
    ended.complains("stopped before the first call: 60 of 60 rows cannot be used");
    assert_eq!(desk.sheet("refused.csv", b',').len(), 61);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_refused_before_anything_is_done() {
    let desk = Desk::with_people(2, "Bob");
    let export = fs::read(desk.path("crm.csv")).unwrap();
    fs::create_dir(desk.path("folder")).unwrap();
    for (flags, words) in [
        ("--refused crm.csv", "--refused: crm.csv is the export or the ledger; name another file"),
        ("--refused ./crm.csv", "is the export or the ledger"),
        ("--report crm.csv", "--report: crm.csv is the export or the ledger"),
        ("--refused folder", "--refused: folder is a folder"),
        ("--refused no/such/refused.csv", "or its folder does not exist"),
        ("--refused same --report same", "--refused and --report name the same file"),
    ] {
        desk.run(&format!("--crm crm.csv {flags}")).await.was_refused(words);
    }
    assert_eq!(
        (fs::read(desk.path("crm.csv")).unwrap(), desk.files()),
        (export, vec!["crm.csv".into(), "folder".into()])
    );
}
