//! The promises that the sync keeps, each under its number.

use std::{sync::Arc, time::Duration};

use futures_util::stream;
use wawp_contacts::{
    ChatId, ErrorKind, RetryPolicy, Sync,
    crm::{CrmContact, RowError},
    ledger::{Ledger, LedgerErrorKind, MemoryLedger, Timestamp},
    naming::{Funnel, Naming},
    sync::{Brake, Brakes, Outcome, Report, SyncError, Verb},
};

use crate::book::{Book, DEADLINE, Fate};

mod corners;
mod history;
mod shaky;

fn chat(n: usize) -> ChatId {
    format!("1202555{n:04}").parse().unwrap()
}

fn row(n: usize, first: &str) -> CrmContact {
    CrmContact::new(format!("crm-{n}"), chat(n)).named(first, "")
}

fn rows(
    rows: impl IntoIterator<Item = CrmContact>,
) -> impl futures_core::Stream<Item = Result<CrmContact, RowError>> + Send {
    stream::iter(rows.into_iter().map(Ok).collect::<Vec<_>>())
}

fn people(n: usize, name: &str) -> Vec<CrmContact> {
    (0..n).map(|n| row(n, &format!("{name} {n}"))).collect()
}

fn quick() -> RetryPolicy {
    RetryPolicy::default().max_attempts(4).backing_off(Duration::from_millis(1), Duration::from_millis(4))
}

struct World {
    ledger: Arc<MemoryLedger>,
    book: Book,
}

impl World {
    fn new() -> Self {
        let ledger = Arc::new(MemoryLedger::default());
        Self { book: Book::new(Arc::clone(&ledger) as Arc<dyn Ledger>), ledger }
    }

    fn sync(&self) -> Sync {
        let funnel: Funnel = "Lead, Customer".parse().unwrap();
        self.named(Naming::new(funnel))
    }

    fn named(&self, naming: Naming) -> Sync {
        Sync::new(Arc::new(self.book.clone()), Arc::clone(&self.ledger) as Arc<dyn Ledger>, naming)
            .backoff(quick())
            .patience(Duration::from_millis(200))
            .grace(Duration::from_millis(50))
            .brakes(Brakes::released())
    }

    async fn run(&self, contacts: Vec<CrmContact>) -> Report {
        self.sync().run(rows(contacts)).await.unwrap()
    }
}

/// Created, renamed, unchanged, refused, parked, waiting, calls.
fn counts(report: &Report) -> [u64; 7] {
    let s = report.summary;
    [s.created, s.renamed, s.unchanged, s.refused, s.parked, s.gated, s.calls]
}

#[tokio::test]
async fn p1_a_failure_is_tried_again_until_the_wanted_name_is_shown() {
    let world = World::new();
    world.book.next([
        Fate::Fails(ErrorKind::Connect),
        Fate::Fails(ErrorKind::Server),
        Fate::AppliedBut(ErrorKind::Timeout),
        Fate::AppliedBut(ErrorKind::Interrupted),
        Fate::Fails(ErrorKind::RateLimited),
    ]);
    let report = world.run(people(6, "Bob")).await;
    assert_eq!(counts(&report), [6, 0, 0, 0, 0, 0, 11], "{report}");
    for n in 0..6 {
        assert_eq!(world.book.name(&chat(n)), Some(format!("Bob {n}")));
    }
}

#[tokio::test]
async fn p3_a_second_run_makes_no_request_at_all() {
    let world = World::new();
    world.run(people(50, "Bob")).await;
    let (calls, reads) = (world.book.calls().len(), world.book.reads());
    let report = world.run(people(50, "Bob")).await;
    assert_eq!(counts(&report), [0, 0, 50, 0, 0, 0, 0]);
    assert_eq!((world.book.calls().len(), world.book.reads()), (calls, reads));
}

#[tokio::test]
async fn p3_a_name_that_the_address_book_shows_already_is_not_sent() {
    let world = World::new();
    world.book.edit(&chat(0), "Bob 0");
    let report = world.run(people(1, "Bob")).await;
    assert_eq!((counts(&report), world.book.calls()), ([0, 0, 1, 0, 0, 0, 0], vec![]));
}

#[tokio::test]
async fn p4_a_contact_that_kept_failing_is_left_due_and_done_by_a_later_run() {
    let world = World::new();
    world.book.next_of(&chat(1), [Fate::Fails(ErrorKind::Server); 4]);
    let report = world.run(people(3, "Bob")).await;
    assert_eq!(counts(&report), [2, 0, 0, 0, 0, 1, 6], "{report}");
    assert!(matches!(report.open[0].outcome, Outcome::Due { kind: Some(ErrorKind::Server), .. }), "{:?}", report.open);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let later = world.sync().patience(Duration::from_secs(5)).run(rows(people(3, "Bob"))).await.unwrap();
    assert_eq!(counts(&later), [1, 0, 2, 0, 0, 0, 1], "{later}");
}

#[tokio::test]
async fn p6_a_contact_that_fails_for_good_is_parked_and_delays_no_other() {
    let world = World::new();
    world.book.next_of(&chat(0), [Fate::Fails(ErrorKind::Rejected)]);
    let report = world.run(people(3, "Bob")).await;
    assert_eq!(counts(&report), [2, 0, 0, 0, 1, 0, 3]);
    let again = world.run(people(3, "Bob")).await;
    assert_eq!(counts(&again), [0, 0, 2, 0, 1, 0, 0], "it stays parked, and is not sent again");
    let renamed = world.run(people(1, "Robert")).await;
    assert_eq!(counts(&renamed), [1, 0, 0, 0, 0, 0, 1], "a new wish un-parks it");
}

#[tokio::test]
async fn p6_a_refused_token_stops_the_instance_within_its_calls_in_flight() {
    for (kind, in_flight) in [(ErrorKind::Unauthorized, 1), (ErrorKind::Forbidden, 4), (ErrorKind::UnknownInstance, 4)]
    {
        let world = World::new();
        world.book.next([Fate::Fine, Fate::Fails(kind), Fate::Fails(kind), Fate::Fails(kind), Fate::Fails(kind)]);
        let report = world.sync().in_flight(in_flight).run(rows(people(40, "Bob"))).await.unwrap();
        let calls = report.summary.calls;
        assert!((2..=1 + in_flight as u64).contains(&calls), "{kind:?}: {calls} calls");
        assert_eq!((report.gate, report.summary.gated), (Some(kind), 39));
        world.book.heal();
        assert_eq!(world.run(people(40, "Bob")).await.summary.created, 39, "they stayed due");
    }
}

#[tokio::test]
async fn p5_an_instance_that_asks_to_wait_is_not_called_before_even_by_the_next_run() {
    let world = World::new();
    world.book.next([Fate::Fails(ErrorKind::QuotaReached)]);
    let report = world.run(people(3, "Bob")).await;
    assert_eq!(counts(&report), [0, 0, 0, 0, 0, 3, 1], "it asks for longer than the patience");
    assert_eq!(report.gate, Some(ErrorKind::QuotaReached));
    let requests = (world.book.calls().len(), world.book.reads());
    let report = world.run(people(3, "Bob")).await;
    assert_eq!((counts(&report), report.gate), ([0, 0, 0, 0, 0, 3, 0], Some(ErrorKind::RateLimited)));
    assert_eq!((world.book.calls().len(), world.book.reads()), requests);
}

#[tokio::test]
async fn p7_a_pushname_is_never_taken_for_a_name() {
    let world = World::new();
    world.book.set_pushname(&chat(0), "Bob 0");
    let report = world.run(people(1, "Bob")).await;
    assert_eq!((counts(&report), world.book.name(&chat(0))), ([1, 0, 0, 0, 0, 0, 1], Some("Bob 0".into())));
}

#[tokio::test]
async fn p8_a_name_edited_on_the_phone_is_in_the_history_once_it_is_overwritten() {
    let world = World::new();
    world.book.edit(&chat(0), "Bobby from the gym");
    let report = world.run(people(1, "Bob")).await;
    assert_eq!(counts(&report), [0, 1, 0, 0, 0, 0, 1]);
    world.book.edit(&chat(0), "Bob (call after 5)");
    world.run(people(1, "Robert")).await;
    let history = world.ledger.history(&"A1B2C3".parse().unwrap(), &chat(0)).await.unwrap();
    let texts: Vec<&str> = history.iter().map(|overwritten| &*overwritten.text).collect();
    assert_eq!(texts, ["Bob (call after 5)", "Bobby from the gym"]);
}

#[tokio::test]
async fn p9_a_request_without_an_answer_is_repeated_with_the_newest_wish() {
    let world = World::new();
    world.book.next([Fate::Hangs]);
    let sync = world.sync();
    tokio::select! {
        _ = sync.run(rows(people(1, "Bob"))) => unreachable!("the call hangs"),
        () = world.book.hung.notified() => {}
    }
    let report = world.run(people(1, "Robert")).await;
    assert_eq!(counts(&report), [1, 0, 0, 0, 0, 0, 1]);
    let calls: Vec<String> = world.book.calls().into_iter().map(|(_, name)| name).collect();
    assert_eq!(calls, ["Bob 0", "Robert 0"]);
}

#[tokio::test]
async fn p2_a_newer_wish_waits_until_an_older_request_can_no_longer_take_effect() {
    let world = World::new();
    world.book.next([Fate::AppliedLate]);
    world.sync().patience(Duration::ZERO).run(rows(people(1, "Bob"))).await.unwrap();
    let report = world.run(people(1, "Robert")).await;
    assert_eq!((report.summary.calls, report.summary.gated), (1, 0), "{report}");
    tokio::time::sleep(DEADLINE).await;
    assert_eq!(world.book.name(&chat(0)), Some("Robert 0".into()));
}

#[tokio::test]
async fn p10_an_instance_is_written_by_one_run_at_a_time() {
    let world = World::new();
    world.book.next([Fate::Hangs]);
    let (first, second) = (world.sync(), world.sync());
    let running = tokio::spawn(async move { first.run(rows(people(1, "Bob"))).await });
    world.book.hung.notified().await;
    let error = second.run(rows(people(1, "Bob"))).await.unwrap_err();
    assert!(matches!(&error, SyncError::Ledger(error) if error.kind() == LedgerErrorKind::InUse), "{error}");
    running.abort();
    assert!(running.await.is_err());
    assert_eq!(
        second.run(rows(people(1, "Bob"))).await.unwrap().summary.created,
        1,
        "a run that is dropped gives it back"
    );
}

#[tokio::test]
async fn p12_a_brake_stops_a_run_before_its_first_call_and_a_plan_foretells_it() {
    let world = World::new();
    world.run(people(50, "Bob")).await;
    let calls = world.book.calls().len();
    let braked = world.sync().brakes(Brakes::default());
    let brake = Brake::ManyRenames { renamed: 50, known: 50 };
    assert_eq!(braked.plan(rows(people(50, "Robert"))).await.unwrap().brake, Some(brake));
    for _ in 0..2 {
        let error = braked.run(rows(people(50, "Robert"))).await.unwrap_err();
        assert!(matches!(error, SyncError::Braked(held) if held == brake), "{error}");
        assert_eq!(world.book.calls().len(), calls, "also when the wishes are in the ledger already");
    }
    assert_eq!(counts(&world.run(people(50, "Robert")).await), [0, 50, 0, 0, 0, 0, 50]);
}

#[tokio::test]
async fn p12_an_export_that_lost_its_names_stops_the_run_and_blanks_nobody() {
    let world = World::new();
    world.run(people(3, "Bob")).await;
    let blank = || vec![row(0, " "), row(1, "Bob 1"), row(2, "Robert")];
    let error = world.sync().brakes(Brakes::default()).run(rows(blank())).await.unwrap_err();
    assert!(matches!(error, SyncError::Braked(Brake::Blanked { blanked: 1 })), "{error}");
    let report = world.run(blank()).await;
    assert_eq!(counts(&report), [0, 1, 1, 1, 0, 0, 1], "once a person allows it, the others flow");
    assert_eq!(world.book.name(&chat(0)), Some("Bob 0".into()));
}

#[tokio::test]
async fn p12_an_address_book_that_suddenly_looks_empty_stops_the_run() {
    let world = World::new();
    world.run(people(50, "Bob")).await;
    world.book.wipe();
    let brakes = Brakes::default().renames(1.0, 0);
    let error = world.sync().brakes(brakes).run(rows(people(50, "Robert"))).await.unwrap_err();
    assert!(matches!(error, SyncError::Braked(Brake::RemoteEmpty { found: 0, sent: 50 })), "{error}");
}

#[tokio::test]
async fn two_crm_rows_of_one_person_are_refused_by_name_and_the_others_flow() {
    let world = World::new();
    let twice = || vec![row(0, "Bob"), CrmContact::new("crm-9", chat(0)).named("Bob", ""), row(1, "Ann")];
    for expected in [[1, 0, 0, 2, 0, 0, 1], [0, 0, 1, 2, 0, 0, 0]] {
        let report = world.run(twice()).await;
        assert_eq!(counts(&report), expected, "{report}");
        let text = report.to_string();
        assert!(text.contains("crm-0") && text.contains("crm-9") && text.contains("duplicate_identity"), "{text}");
    }
    let mended = world.run(vec![row(0, "Bob"), row(1, "Ann")]).await;
    assert_eq!(counts(&mended), [1, 0, 1, 0, 0, 0, 1], "one claim is left, so it is served");
}

#[tokio::test]
async fn a_duplicate_of_a_contact_that_is_settled_is_refused_too() {
    let world = World::new();
    world.run(people(2, "Bob")).await;
    let twice = vec![row(0, "Bob 0"), row(1, "Bob 1"), CrmContact::new("crm-9", chat(0)).named("Rob", "")];
    let reversed: Vec<_> = twice.iter().rev().cloned().collect();
    for contacts in [twice, reversed] {
        let report = world.run(contacts).await;
        assert_eq!(counts(&report), [0, 0, 1, 2, 0, 0, 0], "{report}");
    }
}

#[tokio::test]
async fn a_person_whose_crm_row_was_made_anew_follows_the_new_row() {
    let world = World::new();
    world.run(people(2, "Bob")).await;
    let anew = vec![CrmContact::new("crm-9", chat(0)).named("Rob", ""), row(1, "Bob 1")];
    assert_eq!(counts(&world.run(anew).await), [0, 1, 1, 0, 0, 0, 1]);
    assert_eq!(world.book.name(&chat(0)), Some("Rob".into()));
}

#[tokio::test]
async fn stale_versions_are_dropped_and_counted_in_either_order() {
    let world = World::new();
    let (old, new) = (row(0, "Bob").at_version(1), row(0, "Robert").at_version(2));
    let report = world.run(vec![old.clone(), new.clone()]).await;
    assert_eq!(
        (counts(&report), report.summary.stale),
        ([1, 0, 0, 0, 0, 0, 1], 0),
        "the newest of a burst is sent alone"
    );
    for contacts in [vec![old.clone(), new.clone()], vec![new.clone(), old.clone()], vec![new.clone(), new.clone()]] {
        let report = world.run(contacts).await;
        assert_eq!((counts(&report), report.summary.stale), ([0, 0, 1, 0, 0, 0, 0], 1));
    }
    let report = world.run(vec![old]).await;
    assert_eq!((counts(&report), report.summary.stale), ([0, 0, 1, 0, 0, 0, 0], 1), "the contact is as it was");
}

#[tokio::test]
async fn a_plan_says_what_a_run_then_does_and_writes_nothing() {
    let world = World::new();
    world.book.edit(&chat(1), "Somebody");
    world.book.edit(&chat(2), "Bob 2");
    let contacts = || people(4, "Bob").into_iter().chain([row(5, "")]).collect::<Vec<_>>();
    let plan = world.sync().plan(rows(contacts())).await.unwrap();
    let before = world.ledger.counts(&"A1B2C3".parse().unwrap()).await.unwrap();
    assert_eq!((before.rows, world.book.calls().len()), (0, 0));
    let planned: Vec<_> =
        plan.changes.iter().map(|change| (change.action, change.before.as_deref(), &*change.after)).collect();
    let somebody = (Verb::Rename, Some("Somebody"), "Bob 1");
    assert_eq!(planned, [(Verb::Create, None, "Bob 0"), somebody, (Verb::Create, None, "Bob 3")]);
    let report = world.run(contacts()).await;
    let [created, renamed, unchanged, refused, .., calls] = counts(&report);
    let s = plan.summary;
    assert_eq!([s.created, s.renamed, s.unchanged, s.refused, s.calls], [created, renamed, unchanged, refused, calls]);
}

#[tokio::test]
async fn a_plan_names_the_cause_of_each_rename() {
    let world = World::new();
    let staged = |name: &str, stage: &str| vec![row(0, name).in_stage(stage)];
    world.run(staged("Bob", "Lead")).await;
    assert_eq!(world.book.name(&chat(0)), Some("Bob [Lead]".into()));
    let causes = [(staged("Bob", "Customer"), "stage"), (staged("Robert", "Lead"), "name")];
    for (contacts, cause) in causes {
        let plan = world.sync().plan(rows(contacts)).await.unwrap();
        assert_eq!(plan.changes[0].cause.as_str(), cause);
    }
    let naming = Naming::new("Lead=Hot".parse::<Funnel>().unwrap());
    let plan = world.named(naming).plan(rows(staged("Bob", "Lead"))).await.unwrap();
    assert_eq!((plan.changes[0].cause.as_str(), &*plan.changes[0].after), ("rules", "Bob [Hot]"));
}

#[tokio::test]
async fn a_run_that_is_told_to_stop_records_what_is_in_flight_and_begins_nothing_new() {
    let world = World::new();
    world.book.next([Fate::Fine, Fate::Fine, Fate::Hangs]);
    let hung = Arc::clone(&world.book.hung);
    let report = world.sync().run_until(rows(people(10, "Bob")), async move { hung.notified().await }).await.unwrap();
    assert!(report.stopped);
    assert_eq!(counts(&report), [2, 0, 0, 0, 0, 8, 3], "{report}");
    let report = world.run(people(10, "Bob")).await;
    assert_eq!(counts(&report), [8, 0, 2, 0, 0, 0, 8], "the one in doubt is repeated, once");
}

#[tokio::test]
async fn no_more_calls_are_in_flight_than_allowed() {
    for (in_flight, expected) in [(1, 1), (4, 4)] {
        let world = World::new();
        world.sync().in_flight(in_flight).run(rows(people(64, "Bob"))).await.unwrap();
        assert_eq!(world.book.most_in_flight(), expected);
    }
}

#[tokio::test]
async fn a_source_that_fails_half_way_ends_the_run_before_its_first_call() {
    let world = World::new();
    let broken = stream::iter([Ok(row(0, "Bob")), Err(RowError::Source("the disk is gone".into()))]);
    let error = world.sync().run(broken).await.unwrap_err();
    assert!(matches!(error, SyncError::Source(_)), "{error}");
    assert_eq!(world.book.calls(), []);
}

#[tokio::test]
async fn a_plan_says_who_waits_and_why_the_instance_may_not_be_called() {
    let world = World::new();
    world.book.next_of(&chat(0), [Fate::Fails(ErrorKind::Server); 4]);
    world.run(people(1, "Bob")).await;
    let plan = world.sync().plan(rows(people(2, "Bob"))).await.unwrap();
    let s = plan.summary;
    assert_eq!(
        (s.created, s.gated, s.calls, plan.gate),
        (1, 1, 1, None),
        "one is left alone for longer than the patience"
    );
    assert!(matches!(plan.changes[0].outcome, Outcome::Due { kind: Some(ErrorKind::Server), .. }), "{plan}");

    let lease = world.ledger.lease(&"A1B2C3".parse().unwrap(), Timestamp::now()).await.unwrap();
    world.ledger.close_until(&lease, Timestamp::now().after(Duration::from_secs(60))).await.unwrap();
    drop(lease);
    let plan = world.sync().plan(rows(people(2, "Bob"))).await.unwrap();
    let s = plan.summary;
    assert_eq!((s.created, s.gated, s.calls, plan.gate), (0, 2, 0, Some(ErrorKind::RateLimited)), "{plan}");
}

#[tokio::test]
async fn a_contact_that_failed_is_tried_again_before_all_others_are_done() {
    let world = World::new();
    world.book.next_of(&chat(0), [Fate::Fails(ErrorKind::Server)]);
    let backoff = RetryPolicy::default().backing_off(Duration::from_nanos(1), Duration::from_nanos(1));
    let report = world.sync().backoff(backoff).run(rows(people(2_000, "Bob"))).await.unwrap();
    assert_eq!(counts(&report), [2_000, 0, 0, 0, 0, 0, 2_001]);
    let again = world.book.calls().iter().rposition(|(called, _)| *called == chat(0)).unwrap();
    assert!(again < 1_500, "it came again as call {again}");
}

#[tokio::test]
async fn an_address_book_that_gives_the_same_page_for_ever_is_left_alone() {
    let world = World::new();
    world.book.stick();
    (0..1_000).for_each(|n| world.book.edit(&chat(n), "Somebody"));
    let report = world.run(people(3, "Bob")).await;
    assert_eq!((counts(&report), report.gate), ([0, 0, 0, 0, 0, 3, 0], Some(ErrorKind::Decode)), "{report}");
}
