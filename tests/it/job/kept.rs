//! Plans in files: what a person has seen is done, or nothing.

use wawp_contacts::testkit::WawpServer;

use super::{Desk, assert_people, chat, people};

#[tokio::test]
async fn a_kept_plan_needs_nothing_but_its_file_and_is_done_once() {
    let (desk, server) = (Desk::with_people(3, "Bob"), WawpServer::start().await);
    desk.run_at(&server, "plan --out plan.json --rate 0").await.with(2).says("kept: `run plan.json`");
    assert_eq!(desk.files(), ["crm.csv", "plan.json"], "no ledger, and no half of a file");
    let mut job = desk.job(["run", "plan.json", "--json"]);
    job.env("WAWP_ACCESS_TOKEN", server.token());
    let done = super::end(job).await.with(0);
    assert_eq!(done.summary()["created"], 3, "{done}");
    assert_people(&server, 3, "Bob");

    server.forget_calls();
    let mut job = desk.job(["run", "plan.json"]);
    job.env("WAWP_ACCESS_TOKEN", server.token());
    let again = super::end(job).await.with(1);
    for words in ["moved on", "row crm-0", "make a new plan"] {
        again.complains(words);
    }
    assert_eq!(server.calls().len(), 0, "{again}");
}

#[tokio::test]
async fn a_kept_plan_is_refused_by_name_where_the_ledger_moved_on() {
    let (desk, server) = (Desk::with_people(3, "Bob"), WawpServer::start().await);
    desk.run_at(&server, "").await.with(0);
    desk.write("crm.csv", &people(3, "Rob"));
    desk.run_at(&server, "plan --out plan.json").await.with(2);
    desk.run_at(&server, "hold crm-1").await.with(0);
    server.forget_calls();
    let refused = desk.run_at(&server, "run plan.json").await.with(1);
    refused.complains("row crm-1 (12025550001@c.us)");
    assert_eq!(server.calls().len(), 0, "{refused}");
    assert_people(&server, 3, "Bob");
}

#[tokio::test]
async fn a_flag_goes_before_what_the_plan_was_made_with() {
    let (desk, server) = (Desk::with_people(1, "Bob"), WawpServer::start().await);
    desk.run_at(&server, "plan --out plan.json").await.with(2);
    let mut job = desk.job(["run", "plan.json", "--base-url", "http://127.0.0.1:9"]);
    job.env("WAWP_ACCESS_TOKEN", server.token());
    super::end(job).await.with(1).complains("127.0.0.1:9");
    let text = std::fs::read_to_string(desk.path("plan.json")).unwrap();
    assert!(!text.contains(server.token()), "the token is in no file");
}

#[tokio::test]
async fn a_plan_that_a_guardrail_stops_is_not_kept() {
    let (desk, server) = (Desk::with_people(30, "Bob"), WawpServer::start().await);
    desk.run_at(&server, "--rate 0").await.with(0);
    desk.write("crm.csv", &people(30, "Rob"));
    let stopped = desk.run_at(&server, "plan --out plan.json --rate 0").await.with(1);
    stopped.complains("not kept");
    stopped.complains("--yes");
    assert!(!desk.path("plan.json").exists());
    desk.run_at(&server, "plan --out plan.json --rate 0 --yes").await.with(2);
    desk.run_at(&server, "run plan.json").await.with(0);
    server.assert_contact(&chat(0), "Rob 0");
}

#[tokio::test]
async fn a_file_that_is_no_plan_is_told_apart() {
    let desk = Desk::with_people(1, "Bob");
    desk.run("run crm.csv").await.with(1).complains("is no plan that `plan --out` has kept");
    desk.run("run missing.json").await.with(1).complains("the plan missing.json: No such file");
    desk.run("plan --out no/such/folder.json").await.with(1).complains("no/such/folder.json");
}
