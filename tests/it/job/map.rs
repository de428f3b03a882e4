//! Columns that are named on the command line.

use wawp_contacts::testkit::WawpServer;

use super::{Desk, chat, end};

const FIELDS: &str = "id, chat, whatsapp, mobile, phone, first, last, name, country, stage, version";

#[tokio::test]
async fn the_columns_of_a_csv_and_the_keys_of_json_lines_are_those_that_are_named() {
    let json = r#"{"Nr": 7, "Vorname": "Ada", "Name, lang": "Vane", "Mobil": "+12025550001", "Phase": "Lead", "phone": "+12025550002"}"#;
    let csv = "Nr,Vorname,\"Name, lang\",Mobil,Phase,phone\n7,Ada,Vane,+12025550001,Lead,+12025550002\n";
    for (file, content) in [("crm.csv", csv), ("crm.jsonl", json)] {
        let (desk, server) = (Desk::new(), WawpServer::start().await);
        desk.write(file, content);
        let mut job = desk.job_at(&server, &format!("--crm {file} --tags Lead"));
        job.args(["--map", "id=Nr, first=Vorname, last=Name, lang, phone=Mobil, stage=Phase"]);
        end(job).await.with(0).says("1 added");
        server.assert_contact(&chat(1), "Ada Vane [Lead]");
    }
}

#[tokio::test]
async fn a_field_that_does_not_exist_is_told_which_do() {
    let desk = Desk::with_people(1, "Bob");
    for (map, words) in [
        ("fist=Vorname", format!("there is no field \"fist\" among {FIELDS}; did you mean first?")),
        ("colour=Farbe", format!("there is no field \"colour\" among {FIELDS}")),
        ("first", "\"first\" names no column; write field=column, such as first=Vorname".into()),
        ("first=A,first=B", "first is given two columns; name one".into()),
    ] {
        let job = desk.job(["--crm", "crm.csv", "--map", map]);
        end(job).await.was_refused(&format!("--map: {map:?}: {words}").replace('\\', ""));
    }
    assert_eq!(desk.files(), ["crm.csv"]);
}

#[tokio::test]
async fn a_header_that_lacks_a_column_is_told_the_flag_that_names_it() {
    let desk = Desk::new();
    for (header, flag) in [
        (
            "id,name,Mobil",
            "(phone, mobile, whatsapp, chat_id) was recognised among \"id\", \"name\", \"Mobil\"; \
                           give the column one of these names, or pass --map mobile=Mobil",
        ),
        ("id,name,Handy", ", or pass --map phone=COLUMN"),
        ("id,Fist Name,phone", ", or pass --map 'first=Fist Name'"),
    ] {
        desk.write("crm.csv", &format!("{header}\n7,Ada,+12025550001\n"));
        let ended = desk.run("plan --crm crm.csv").await.with(1);
        assert!(ended.err.trim_end().ends_with(flag), "{flag}\n{ended}");
    }
    desk.run("plan --crm crm.csv --map first=FistName").await.with(2).says("\"Ada\"");
}

#[tokio::test]
async fn a_column_that_is_not_in_the_file_is_told_which_are() {
    let (desk, server) = (Desk::with_people(1, "Bob"), WawpServer::start().await);
    let words =
        "there is no column \"stgae\" among \"id\", \"first_name\", \"phone\", \"stage\"; did you mean \"stage\"?";
    desk.run_at(&server, "--map stage=stgae").await.was_refused(words);
    desk.write(
        "crm.jsonl",
        "{\"id\": 1, \"first_name\": \"Ada\", \"phone\": \"+12025550001\"}\n\
         {\"id\": 2, \"first_name\": \"Bo\", \"phone\": \"+12025550002\", \"stage\": \"Lead\"}\n",
    );
    for command in ["run", "plan"] {
        let ended = desk.run_at(&server, &format!("{command} --crm crm.jsonl --map stage=stgae")).await.with(1);
        ended.complains(words);
    }
    assert_eq!(server.calls(), [], "none of the rows took effect");
    desk.run_at(&server, "--crm crm.jsonl --tags Lead --map stage=Stage").await.with(0).says("2 added");
    server.assert_contact(&chat(2), "Bo [Lead]");
}
