//! The doctor: what it finds out of every kind of server, and that it writes nothing it was not asked to.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json, to_value};
use wawp_contacts::{
    ChatId, Client, ClientBuilder, ContactName, Credentials, ErrorKind, Pace, RetryPolicy, Route,
    book::SessionStatus,
    client::doctor::{Diagnosis, Doctor, Finding, Grade},
    testkit::{Answer, Entry, WawpServer},
};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

use super::{TOKEN, answering, chat, client_at, raw};

fn patient() -> RetryPolicy {
    RetryPolicy::default().backing_off(Duration::from_millis(1), Duration::from_millis(4))
}

fn builder(server: &WawpServer) -> ClientBuilder {
    Client::builder(server.instance().clone(), server.token())
        .base_url(server.url())
        .pace(Pace::unlimited())
        .retry(patient())
        .timeout(Duration::from_millis(500))
}

async fn examine(server: &WawpServer) -> Diagnosis {
    Doctor::new(builder(server)).examine().await.unwrap()
}

async fn treat(server: &WawpServer) -> Diagnosis {
    Doctor::new(builder(server)).write_test(chat()).examine().await.unwrap()
}

async fn at(server: &MockServer) -> Diagnosis {
    Doctor::new(client_at(&server.uri())).examine().await.unwrap()
}

fn finding<'a>(diagnosis: &'a Diagnosis, about: &str) -> &'a Finding {
    diagnosis.findings.iter().find(|finding| finding.about == about).unwrap_or_else(|| panic!("{about}: {diagnosis}"))
}

/// That nothing which arrived could have written a name.
fn assert_harmless(server: &WawpServer) {
    for call in server.calls() {
        assert_eq!((call.chat.as_str(), &call.first, &call.last), ("", &None, &None), "{call}");
    }
}

#[tokio::test]
async fn every_route_and_every_style_is_found_and_sets_up_a_client_that_writes() {
    for route in Route::ALL {
        for style in Credentials::ALL {
            let server = WawpServer::start().await;
            server.take_only_route(route);
            server.take_only_credentials(style);
            let diagnosis = examine(&server).await;
            assert_harmless(&server);
            assert_eq!((diagnosis.route, diagnosis.reads, diagnosis.lids), (Some(route), Some(true), Some(true)));
            assert_eq!(diagnosis.credentials, Some(style), "{diagnosis}");
            let is_default = (route, style) == (Route::Update, Credentials::Body);
            assert_eq!(diagnosis.is_well(), is_default, "what has to be set is bad until then: {diagnosis}");
            let applied = Doctor::new(diagnosis.apply(builder(&server))).examine().await.unwrap();
            assert!(applied.is_well(), "{applied}");
            let client = diagnosis.apply(builder(&server)).build().unwrap();
            client.update_contact(&chat(), &ContactName::new("Ann", "Lee").unwrap()).await.unwrap();
            server.assert_contact(&chat(), "Ann Lee");
        }
    }
}

#[tokio::test]
async fn a_route_that_cannot_be_told_without_a_write_stays_unknown_until_a_write_test() {
    let server = WawpServer::start().await;
    server.take_only_route(Route::PutContact);
    server.add_header("Allow", "");
    server.seed([Entry::saved(&chat(), "Ann Lee")]);
    let diagnosis = examine(&server).await;
    assert_eq!((diagnosis.route, diagnosis.credentials), (None, Some(Credentials::Body)), "{diagnosis}");
    assert!(finding(&diagnosis, "route").means.contains("name a contact for the write test"), "{diagnosis}");
    assert_harmless(&server);
    let diagnosis = treat(&server).await;
    assert_eq!(diagnosis.route, Some(Route::PutContact), "{diagnosis}");
    assert!(finding(&diagnosis, "route").found.contains("write test showed"), "{diagnosis}");
    server.assert_contact(&chat(), "Ann Lee");
}

#[tokio::test]
async fn where_everything_works_what_was_set_is_kept() {
    let server = WawpServer::start().await;
    for (route, style) in [(Route::Update, Credentials::Bearer), (Route::PutContact, Credentials::Header)] {
        let diagnosis = Doctor::new(builder(&server).route(route).credentials(style)).examine().await.unwrap();
        assert_eq!((diagnosis.route, diagnosis.credentials), (Some(route), Some(style)), "{diagnosis}");
        assert!(finding(&diagnosis, "credentials").found.contains("so do"), "{diagnosis}");
    }
    let default_of_the_route = Doctor::new(builder(&server).route(Route::PutContact)).examine().await.unwrap();
    assert_eq!(default_of_the_route.credentials, Some(Credentials::Query));
    assert_harmless(&server);
}

#[tokio::test]
async fn a_style_that_was_set_and_is_refused_is_bad() {
    let server = WawpServer::start().await;
    server.take_only_credentials(Credentials::Header);
    let diagnosis = Doctor::new(builder(&server).credentials(Credentials::Query)).examine().await.unwrap();
    assert_eq!(diagnosis.credentials, Some(Credentials::Header));
    assert_eq!(finding(&diagnosis, "credentials").grade, Grade::Bad, "{diagnosis}");
    assert!(!diagnosis.is_well());
}

#[tokio::test]
async fn all_is_well_with_the_stand_in() {
    let server = WawpServer::start().await;
    let diagnosis = examine(&server).await;
    assert!(diagnosis.is_well(), "{diagnosis}");
    assert_eq!(
        (diagnosis.session.as_ref(), diagnosis.pushname.as_deref()),
        (Some(&SessionStatus::Working), Some("Example Shop"))
    );
    assert_eq!(diagnosis.account.as_ref().map(ChatId::as_str), Some("15550000000@c.us"));
    assert_eq!(diagnosis.limits.as_ref().unwrap()["send_message_per_minute"], "20");
    assert!(diagnosis.clock_ahead_seconds.unwrap().abs() <= 2 && diagnosis.answer_millis.is_some());
    assert_eq!((diagnosis.proxy, &diagnosis.write_test), (Some(false), &None));
    let found = to_value(&diagnosis).unwrap();
    let expected = json!({"route": "update", "credentials": "body", "reads": true, "lids": true, "session": "WORKING",
        "account": "15550000000@c.us"});
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&found[key], value, "{key}");
    }
    let page = diagnosis.to_string();
    assert!(page.contains(".route(Route::Update).credentials(Credentials::Body)"), "{page}");
    assert!(page.lines().all(|line| line.chars().count() <= 120 || line.starts_with("limits")), "{page}");
}

#[tokio::test]
async fn reads_that_are_off_and_a_session_that_is_out_are_told_apart() {
    let server = WawpServer::start().await;
    server.refuse_reads(Answer::not_implemented());
    let off = examine(&server).await;
    assert_eq!((off.reads, off.lids, off.credentials), (Some(false), Some(false), Some(Credentials::Body)), "{off}");
    assert!(off.is_well(), "names can be written all the same: {off}");
    server.allow_reads();
    server.log_out();
    let out = examine(&server).await;
    assert_eq!((out.reads, out.lids, out.session.clone()), (None, None, Some(SessionStatus::ScanQrCode)), "{out}");
    assert_eq!((out.route, out.account.as_ref()), (Some(Route::Update), None));
    assert!(finding(&out, "session").means.contains("scan the code") && !out.is_well(), "{out}");
    assert_harmless(&server);
}

#[tokio::test]
async fn a_token_that_is_refused_everywhere_leaves_all_of_it_unknown_and_says_what_to_do() {
    let server = WawpServer::start().await;
    server.revoke_token();
    let diagnosis = examine(&server).await;
    let found = to_value(&diagnosis).unwrap();
    for key in ["route", "credentials", "reads", "lids", "session", "account", "limits"] {
        assert_eq!(found[key], Value::Null, "{key}");
    }
    assert!(finding(&diagnosis, "credentials").means.contains("Copy the access token"), "{diagnosis}");
    server.restore_token();
    server.unlink();
    let diagnosis = examine(&server).await;
    assert!(finding(&diagnosis, "credentials").means.contains("instance"), "{diagnosis}");
    assert_eq!(diagnosis.session, None);
    let forbidden = at(&answering(ResponseTemplate::new(403)).await).await;
    assert!(finding(&forbidden, "credentials").means.contains("plan"), "{forbidden}");
    assert_eq!((forbidden.session, forbidden.route), (None, None));
}

#[tokio::test]
async fn an_account_that_may_read_but_not_write_is_told_so() {
    let server = answering(ResponseTemplate::new(200).set_body_string(r#"{"status":"WORKING","data":[]}"#)).await;
    let forbidden = Answer::subscription_required();
    let update = Mock::given(method("POST")).and(path("/v2/contacts/update")).respond_with(forbidden);
    update.with_priority(1).mount(&server).await;
    let diagnosis = at(&server).await;
    assert_eq!((diagnosis.reads, diagnosis.route, diagnosis.styles.len()), (Some(true), None, 4), "{diagnosis}");
    assert!(finding(&diagnosis, "route").found.contains("403") && !diagnosis.is_well(), "{diagnosis}");
}

#[tokio::test]
async fn a_page_of_a_proxy_is_no_api() {
    let page = "<!DOCTYPE html><html><head><title>Sign in</title></head></html>";
    let server = answering(ResponseTemplate::new(200).set_body_raw(page, "text/html")).await;
    let diagnosis = at(&server).await;
    assert_eq!((diagnosis.proxy, diagnosis.credentials, diagnosis.route), (Some(true), None, None), "{diagnosis}");
    assert_eq!(finding(&diagnosis, "proxy").grade, Grade::Bad);
}

#[tokio::test]
async fn a_proxy_that_passes_answers_on_is_noted() {
    for (name, value) in [("Via", "1.1 vegur"), ("CF-RAY", "7d0a"), ("Server", "cloudflare")] {
        let server = WawpServer::start().await;
        server.add_header(name, value);
        let diagnosis = examine(&server).await;
        assert_eq!(diagnosis.proxy, Some(true), "{diagnosis}");
        assert!(finding(&diagnosis, "proxy").found.contains(value) && diagnosis.is_well(), "{diagnosis}");
    }
}

#[tokio::test]
async fn a_clock_that_is_ten_minutes_ahead_or_behind_is_told() {
    let server = WawpServer::start().await;
    let ahead = SystemTime::now() + Duration::from_secs(600);
    server.add_header("Date", httpdate::fmt_http_date(ahead));
    let diagnosis = examine(&server).await;
    assert!((598..=602).contains(&diagnosis.clock_ahead_seconds.unwrap()), "{diagnosis}");
    assert!(finding(&diagnosis, "clock").means.contains("webhooks"), "{diagnosis}");
    let behind = SystemTime::now() - Duration::from_secs(600);
    server.add_header("Date", httpdate::fmt_http_date(behind));
    let diagnosis = examine(&server).await;
    assert!((-602..=-598).contains(&diagnosis.clock_ahead_seconds.unwrap()), "{diagnosis}");
    assert!(finding(&diagnosis, "clock").found.contains("behind"), "{diagnosis}");
}

#[tokio::test]
async fn a_server_that_asks_for_time_is_left_alone_at_once() {
    let limited =
        ResponseTemplate::new(429).insert_header("Retry-After", "90").insert_header("X-RateLimit-Limit", "60");
    let server = answering(limited).await;
    let began = Instant::now();
    let diagnosis = at(&server).await;
    assert_eq!(super::requests(&server).await, 1);
    assert!(began.elapsed() < Duration::from_secs(30));
    let limits = diagnosis.limits.as_ref().unwrap();
    assert_eq!((limits["x-ratelimit-limit"].as_str(), limits["retry-after"].as_str()), ("60", "90"));
    let finding = finding(&diagnosis, "limits");
    assert!(finding.grade == Grade::Bad && finding.means.contains("for 90 s"), "{diagnosis}");
    let server = answering(ResponseTemplate::new(429)).await;
    assert_eq!((at(&server).await.route, super::requests(&server).await <= 2), (None, true));
}

#[tokio::test]
async fn headers_of_rate_limits_are_told_beside_the_policies() {
    let server = WawpServer::start().await;
    server.add_header("RateLimit-Policy", "\"default\";q=60;w=60");
    let limits = examine(&server).await.limits.unwrap();
    assert_eq!(limits["ratelimit-policy"], "\"default\";q=60;w=60");
    assert_eq!(limits["check_req_per_minute"], "60");
}

#[tokio::test]
async fn where_nobody_answers_it_is_soon_given_up() {
    let diagnosis = Doctor::new(client_at(&raw::nobody().await)).examine().await.unwrap();
    assert!(finding(&diagnosis, "credentials").means.contains("No answer came"), "{diagnosis}");
    assert_eq!((diagnosis.proxy, diagnosis.answer_millis, diagnosis.clock_ahead_seconds), (None, None, None));
    let wrong = Doctor::new(client_at("ftp://example.com")).examine().await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Configuration);
}

#[tokio::test]
async fn a_server_without_the_api_is_a_wrong_address() {
    let diagnosis = at(&answering(ResponseTemplate::new(404)).await).await;
    assert!(finding(&diagnosis, "credentials").means.contains("base URL"), "{diagnosis}");
    assert_eq!((diagnosis.route, diagnosis.credentials), (None, None));
}

#[tokio::test]
async fn p5_every_request_waits_for_its_turn() {
    let server = WawpServer::start().await;
    server.seed([Entry::saved(&chat(), "Ann Lee")]);
    let pace = Pace::every(Duration::from_millis(40));
    let began = Instant::now();
    Doctor::new(builder(&server).pace(pace)).write_test(chat()).examine().await.unwrap();
    let made = u32::try_from(server.reads() + server.calls().len()).unwrap();
    assert!(made > 15 && began.elapsed() >= Duration::from_millis(40) * (made - 1), "{made} requests");
}

#[tokio::test]
async fn a_write_test_sets_reads_and_puts_back_the_one_name_on_either_route() {
    let other: ChatId = "15551234568@c.us".parse().unwrap();
    for route in Route::ALL {
        let server = WawpServer::start().await;
        server.take_only_route(route);
        server.seed([Entry::saved(&chat(), "Ann Lee [Lead]"), Entry::saved(&other, "Bob")]);
        let diagnosis = treat(&server).await;
        let test = diagnosis.write_test.as_ref().unwrap();
        assert_eq!(
            (test.sent, test.shown, test.restored, &test.was),
            (true, Some(true), Some(true), &None),
            "{diagnosis}"
        );
        assert_eq!((diagnosis.route, finding(&diagnosis, "write").grade), (Some(route), Grade::Good));
        server.assert_contact(&chat(), "Ann Lee [Lead]");
        let names: Vec<_> = server.calls().into_iter().filter(|call| call.first.is_some()).collect();
        assert!(names.iter().all(|call| call.chat == chat().as_str()), "{names:?}");
        let names: Vec<_> = names.iter().map(|call| (call.first.as_deref().unwrap(), call.last.as_deref())).collect();
        assert_eq!(names, [("Ann", Some("Lee [Lead] (doctor test)")), ("Ann", Some("Lee [Lead]"))]);
    }
}

#[tokio::test]
async fn a_name_that_could_not_be_put_back_is_not_touched() {
    let server = WawpServer::start().await;
    let cases = [
        (None, "does not know"),
        (Some(Entry::unsaved(&chat())), "is not saved"),
        (Some(Entry::saved(&chat(), " Ann")), "exactly"),
        (Some(Entry::saved(&chat(), "Ann (doctor test)")), "earlier test"),
    ];
    for (entry, why) in cases {
        server.seed(entry);
        let diagnosis = treat(&server).await;
        let test = diagnosis.write_test.as_ref().unwrap();
        assert_eq!((test.sent, test.shown, test.restored), (false, None, None), "{diagnosis}");
        assert!(finding(&diagnosis, "write").found.contains(why), "{why}: {diagnosis}");
    }
    server.seed([Entry::saved(&chat(), "Ann")]);
    server.answer_as(&chat(), &"15551234568@c.us".parse().unwrap());
    assert!(finding(&treat(&server).await, "write").found.contains("another contact"));
    server.refuse_reads(Answer::not_implemented());
    assert!(finding(&treat(&server).await, "write").found.contains("cannot be read"));
    server.revoke_token();
    assert!(finding(&treat(&server).await, "write").found.contains("no credentials work"));
    let lid = "123456789012345@lid".parse().unwrap();
    let diagnosis = Doctor::new(builder(&server)).write_test(lid).examine().await.unwrap();
    assert!(finding(&diagnosis, "write").found.contains("privacy id"));
    assert_harmless(&server);
}

#[tokio::test]
async fn an_acknowledged_name_that_is_not_read_back_is_bad_and_the_old_one_is_there() {
    let server = WawpServer::start().await;
    server.seed([Entry::saved(&chat(), "Ann Lee")]);
    server.on_update(&chat()).answer(Answer::ok());
    let diagnosis = treat(&server).await;
    let test = diagnosis.write_test.as_ref().unwrap();
    assert_eq!((test.shown, test.restored), (Some(false), Some(true)), "{diagnosis}");
    assert_eq!(finding(&diagnosis, "write").grade, Grade::Bad);
    server.assert_contact(&chat(), "Ann Lee");
}

#[tokio::test]
async fn a_name_that_cannot_be_put_back_is_told_loudly() {
    let server = WawpServer::start().await;
    server.seed([Entry::saved(&chat(), "Ann\u{202e} Lee")]);
    server.on_update(&chat()).answer(Answer::ok()).applied().once();
    server.on_update(&chat()).status(400);
    let diagnosis = treat(&server).await;
    let test = diagnosis.write_test.as_ref().unwrap();
    assert_eq!((test.shown, test.restored, test.was.as_deref()), (Some(true), Some(false), Some("Ann\u{202e} Lee")));
    let page = diagnosis.to_string();
    assert!(page.contains("NOT PUT BACK") && page.contains(r#"it was "Ann\u{202e} Lee""#), "{page}");
    assert!(!page.contains('\u{202e}') && !diagnosis.is_well(), "{page}");
}

#[tokio::test]
async fn a_name_is_put_back_through_failures_and_after_an_answer_that_was_lost() {
    let server = WawpServer::start().await;
    server.seed([Entry::saved(&chat(), "Ann Lee")]);
    server.on_update(&chat()).drop_answer().once();
    server.on_update(&chat()).status(503).times(3);
    let began = Instant::now();
    let diagnosis = treat(&server).await;
    let test = diagnosis.write_test.as_ref().unwrap();
    assert_eq!((test.shown, test.restored), (Some(true), Some(true)), "{diagnosis}");
    server.assert_contact(&chat(), "Ann Lee");
    // Only then no older request can take effect any more.
    assert!(began.elapsed() >= Duration::from_millis(500));
}

#[tokio::test]
async fn a_name_that_is_refused_changes_nothing() {
    let server = WawpServer::start().await;
    server.seed([Entry::saved(&chat(), "Ann Lee")]);
    server.on_update(&chat()).status(400);
    let diagnosis = treat(&server).await;
    let test = diagnosis.write_test.as_ref().unwrap();
    assert_eq!((test.sent, test.shown, test.restored), (true, None, None), "{diagnosis}");
    assert_eq!(server.calls_for(&chat()).len(), 1);
}

#[tokio::test]
async fn p11_no_token_is_in_a_diagnosis_whatever_a_server_repeats() {
    let echo = json!({"status": "WORKING", "me": {"id": "15550000000@c.us", "pushName": TOKEN}, "data": [],
        "limits": {TOKEN: 7}, "code": TOKEN, "message": TOKEN});
    for status in [200, 400, 401, 404, 429, 500] {
        let mut answer = ResponseTemplate::new(status).set_body_raw(echo.to_string(), "application/json");
        for name in ["Via", "Server", "RateLimit", "X-RateLimit-Limit", "Allow", "Retry-After"] {
            answer = answer.insert_header(name, TOKEN);
        }
        let doctor = Doctor::new(client_at(&answering(answer).await.uri())).write_test(chat());
        let shown = format!("{doctor:?}");
        let diagnosis = doctor.examine().await.unwrap();
        let all = format!("{shown} {diagnosis} {diagnosis:?} {}", serde_json::to_string(&diagnosis).unwrap());
        for secret in [TOKEN, "hunter2", "s3cret", "T0ken"] {
            assert!(!all.contains(secret), "{status}: {all}");
        }
    }
}
