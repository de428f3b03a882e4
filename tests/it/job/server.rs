//! A server that refuses, and what a job may show of it.

use std::{fs, time::Duration};

use wawp_contacts::testkit::{Answer, WawpServer};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::{Desk, assert_people, chat, ended, until_calls};

#[tokio::test]
async fn a_refused_token_leaves_contacts_due_and_the_next_run_completes() {
    let (desk, server) = (Desk::with_people(10, "Bob"), WawpServer::start().await);
    server.revoke_token();
    let refused = desk.run_at(&server, "").await.with(1);
    let refused = refused.says("the instance is left alone: the access token was refused").says("10 waiting");
    assert!(refused.err.contains("set WAWP_ACCESS_TOKEN"), "the remedy is named\n{refused}");
    assert!(refused.err.contains(&server.url()), "the server is named\n{refused}");
    assert_eq!(server.calls(), [], "the first read says it all");
    server.restore_token();
    desk.run_at(&server, "").await.with(0).says("10 added");
    assert_people(&server, 10, "Bob");
}

#[tokio::test]
async fn a_token_revoked_half_way_stops_the_run_within_the_calls_in_flight() {
    let (desk, server) = (Desk::with_people(20, "Bob"), WawpServer::start().await);
    server.on_any_update().delay(Duration::from_millis(500)).times(4);
    let job = desk.job_at(&server, "--in-flight 4 --json").spawn().unwrap();
    until_calls(&server, 4).await;
    server.revoke_token();
    let ended = ended(job).await.with(1);
    let summary = ended.summary();
    assert_eq!((&summary["created"], &summary["gated"]), (&4.into(), &16.into()), "{ended}");
    assert_eq!(
        (&summary["gate"], &summary["stopped"], &summary["run"]),
        (&"unauthorized".into(), &false.into(), &1.into())
    );
    assert!(summary["hint"].as_str().is_some_and(|hint| hint.contains("WAWP_ACCESS_TOKEN")), "{ended}");
    let refused = server.calls().iter().filter(|call| call.status == Some(401)).count();
    assert!((1..=4).contains(&refused), "{refused} calls were refused\n{ended}");
    assert!(ended.err.contains("the access token was refused"), "{ended}");
    server.restore_token();
    desk.run_at(&server, "").await.with(0).says("16 added, 0 renamed, 4 unchanged");
    assert_people(&server, 20, "Bob");
}

#[tokio::test]
async fn a_server_that_fails_is_asked_once_by_a_job_without_patience() {
    let (desk, server) = (Desk::with_people(3, "Bob"), MockServer::start().await);
    Mock::given(any()).respond_with(ResponseTemplate::new(500)).expect(1).mount(&server).await;
    let mut job = desk.job(["--crm", "crm.csv", "--wait", "0", "--rate", "0", "--instance", "shop"]);
    job.env("WAWP_BASE_URL", server.uri()).env("WAWP_ACCESS_TOKEN", "s3cret");
    super::end(job).await.with(3).says("the server failed").says("3 waiting").says("; 0 calls");
}

#[tokio::test]
async fn a_refused_contact_is_parked_and_holds_up_no_other() {
    let (desk, server) = (Desk::with_people(3, "Bob"), WawpServer::start().await);
    server.on_update(&chat(1)).answer(Answer::invalid_param("not a contact of mine")).once();
    desk.run_at(&server, "").await.with(3).says("2 added").says("1 needs you").says("not a contact of mine");
    let second = desk.run_at(&server, "").await.with(3).says("1 needs you").says("; 0 calls");
    assert!(!second.out.contains("1 of "), "there was nothing to count\n{second}");
}

/// A token that no other text contains.
const TOKEN: &str = "token-of-stand-in";

#[tokio::test]
async fn the_token_is_neither_shown_nor_stored() {
    for flags in ["", "--json", "plan", "plan --json"] {
        let (desk, server) = (Desk::with_people(6, "Bob"), WawpServer::start().await);
        assert_eq!(server.token(), TOKEN);
        let echo = format!("who is {TOKEN}? Authorization: Bearer {TOKEN}");
        server.on_update(&chat(1)).answer(Answer::invalid_param(&echo));
        server.on_update(&chat(2)).answer(Answer::engine_error(&echo));
        server.on_update(&chat(3)).answer(Answer::raw(200, "text/html", format!("<p>{echo}</p>")));
        server.on_update(&chat(4)).drop_answer();
        let mut shown = desk.run_at(&server, &format!("{flags} --wait 0")).await.to_string();
        server.revoke_token();
        shown += &desk.run_at(&server, &format!("{flags} --wait 0")).await.to_string();
        server.restore_token();
        server.unlink();
        shown += &desk.run_at(&server, &format!("{flags} --wait 0 --tags Lead")).await.to_string();
        assert!(shown.contains("\"created\"") || shown.contains(" added, "), "{shown}");
        assert!(!shown.contains(TOKEN), "{flags}: shown\n{shown}");
        for file in desk.files() {
            let bytes = fs::read(desk.path(&file)).unwrap();
            assert!(!bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()), "{flags}: stored in {file}");
        }
    }
}

#[tokio::test]
async fn a_token_in_the_base_url_is_refused_without_showing_it() {
    let desk = Desk::with_people(1, "Bob");
    for url in ["https://s3cret-1@api.wawp.net", "https://api.wawp.net?access_token=s3cret-1"] {
        let mut job = desk.job(["--base-url", url, "--instance", "shop", "--crm", "crm.csv"]);
        job.env("WAWP_ACCESS_TOKEN", "s3cret-2");
        let ended = super::end(job).await.with(1);
        assert!(!ended.to_string().contains("s3cret"), "{ended}");
    }
}

#[tokio::test]
async fn a_second_job_takes_its_rows_in_and_leaves_the_calls_to_the_first() {
    let (desk, server) = (Desk::with_people(2, "Bob"), WawpServer::start().await);
    server.on_any_update().delay(Duration::from_secs(8)).once();
    let first = desk.job_at(&server, "").spawn().unwrap();
    until_calls(&server, 1).await;
    desk.write("more.csv", "id,first_name,phone\ncrm-9,Zoe,+12025550009\n");
    for flags in ["run --changes --crm more.csv", "run --intake-only --changes --crm more.csv"] {
        let second = desk.run_at(&server, flags).await.with(0);
        assert!(second.out.contains("; 0 calls"), "{second}");
    }
    desk.run_at(&server, "plan").await.says("holds this instance");
    let told = desk.run_at(&server, "plan --json").await;
    let notes: Vec<_> = told.lines().into_iter().filter(|line| line["note"] == "pushed_by").collect();
    assert!(notes.len() == 1 && notes[0]["owner"].as_str().unwrap().starts_with("process "), "{told}");
    ended(first).await.with(0).says("3 added");
    let names: Vec<String> = server.calls().iter().map(wawp_contacts::testkit::Call::name).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(names[1], "Zoe", "a single change goes before the bulk");
}
