//! Instances that may not be written: why, what helps, and one notice of each; on every ledger.

use std::sync::{Arc, Mutex};

use wawp_contacts::{
    ContactSync, ErrorKind,
    book::SessionStatus,
    ledger::Ledger as _,
    record::Status,
    sync::{LookFirst, Progress, Verify},
};

use crate::{
    book::{Fate, Read},
    world::{World, all, chat, people, seconds},
};

/// What an observer was told of the gate.
#[derive(Clone, Default)]
struct Notices(Arc<Mutex<Vec<String>>>);

impl Notices {
    fn of(&self, sync: ContactSync) -> ContactSync {
        let told = Arc::clone(&self.0);
        sync.observer(move |progress| {
            let notice = match progress {
                Progress::GateClosed { kind, hint, .. } => format!("closed: {kind}; {}", hint.unwrap_or("-")),
                Progress::GateOpened { kind, .. } => format!("opened: {kind}"),
                _ => return,
            };
            told.lock().unwrap().push(notice);
        })
    }

    fn told(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_can_help_is_told_what_to_do() {
    for (kind, status, step) in [
        (ErrorKind::SessionNotReady, SessionStatus::ScanQrCode, Some("scan the QR code")),
        (ErrorKind::SessionNotReady, SessionStatus::Stopped, Some("start the session")),
        (ErrorKind::SessionNotReady, SessionStatus::Starting, Some("wait a minute")),
        (ErrorKind::SessionNotReady, SessionStatus::PasskeyRequired, Some("passkey")),
        (ErrorKind::UnknownInstance, SessionStatus::Failed, Some("restart the session")),
        (ErrorKind::UnknownInstance, SessionStatus::Disconnected, Some("link the phone again")),
        (ErrorKind::Unauthorized, SessionStatus::Working, Some("set a new access token")),
        (ErrorKind::SessionNotReady, SessionStatus::Working, None),
    ] {
        let (world, notices) = (World::new(), Notices::default());
        world.book.be(status.clone());
        world.book.next([Fate::Fails(kind); 20]);
        let report = notices.of(world.sync().look_first(LookFirst::Never)).run(all(people(2, "Bob"))).await.unwrap();
        assert_eq!((report.gate, report.summary.gated, report.summary.parked), (Some(kind), 2, 0), "{status}");
        assert_eq!(report.hint.as_deref().map(|hint| step.is_some_and(|step| hint.contains(step))), step.map(|_| true));
        let asked = world.book.reads().iter().filter(|read| **read == Read::Session).count();
        assert_eq!(asked, 1, "{status} is asked for once");
        assert_eq!(notices.told().len(), 1, "{:?}", notices.told());
    }
    let world = World::new();
    world.book.next([Fate::Codes(ErrorKind::Forbidden, "subscription_required")]);
    let report = world.run(people(2, "Bob")).await;
    assert!(report.to_string().contains("the account may not do this; pay for the plan"), "{report}");
}

#[tokio::test(start_paused = true)]
async fn one_notice_when_it_closes_and_one_when_it_opens_over_all_runs() {
    for world in World::each().await {
        let notices = Notices::default();
        let sync = || notices.of(world.sync().max_wait(seconds(0)));
        world.book.be(SessionStatus::ScanQrCode);
        for _ in 0..3 {
            world.book.next([Fate::Fails(ErrorKind::SessionNotReady)]);
            let report = sync().run(all(people(3, "Bob"))).await.unwrap();
            assert_eq!((report.gate, report.summary.gated), (Some(ErrorKind::SessionNotReady), 3));
            tokio::time::sleep(seconds(60)).await;
        }
        let closed = "closed: the instance's session is not working; scan the QR code of the instance with the phone, \
                      under linked devices";
        assert_eq!(notices.told(), [closed]);
        let state = world.ledger.state(&world.instance).await.unwrap();
        assert_eq!(state.closed.map(|closed| closed.kind), Some(ErrorKind::SessionNotReady));
        world.book.be(SessionStatus::Working);
        for name in ["Bob", "Rob"] {
            assert_eq!(sync().run(all(people(3, name))).await.unwrap().summary.calls, 3);
        }
        assert_eq!(notices.told(), [closed, "opened: the instance's session is not working"]);
        assert_eq!(world.ledger.state(&world.instance).await.unwrap().closed, None);
    }
}

/// Whoever may not even ask what the session is doing has no call left to try.
#[tokio::test(start_paused = true)]
async fn p6_a_token_that_is_refused_when_the_session_is_asked_for_ends_the_calls() {
    for world in World::each().await {
        let notices = Notices::default();
        world.book.refuse_reads(ErrorKind::Unauthorized);
        world.book.next([Fate::Fails(ErrorKind::SessionNotReady)]);
        let sync = notices.of(world.sync().in_flight(1).look_first(LookFirst::Never).verify(Verify::Never));
        let report = sync.run(all(people(3, "Bob"))).await.unwrap();
        assert_eq!((report.gate, report.summary.gated), (Some(ErrorKind::Unauthorized), 3), "{report}");
        assert_eq!((world.book.calls().len(), notices.told().len()), (1, 1), "{:?}", notices.told());
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_takes_no_notice_away() {
    let (world, notices) = (World::new(), Notices::default());
    world.book.refuse_reads(ErrorKind::Unauthorized);
    let plan = world.plan(people(3, "Bob")).await;
    assert_eq!(plan.gate, Some(ErrorKind::Unauthorized));
    assert_eq!(world.state().await.closed, None);
    notices.of(world.sync()).run(all(people(3, "Bob"))).await.unwrap();
    assert_eq!(notices.told().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_half_open_gate_probes_one_contact_and_none_is_parked_for_it() {
    for world in World::each().await {
        world.book.take(seconds(1));
        world.book.next([Fate::Fails(ErrorKind::SessionNotReady); 6]);
        let report = world.sync().in_flight(4).run(all(people(8, "Bob"))).await.unwrap();
        assert_eq!((report.summary.created, report.summary.parked), (8, 0), "{report}");
        let at = world.book.called_at();
        let probes = at.windows(2).filter(|pair| pair[1].since(pair[0]) >= seconds(15)).count();
        assert!(probes >= 2, "one at a time: {at:?}");
        for n in 0..8 {
            assert_eq!(world.record(n).await.status, Status::InSync);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn three_conflicts_in_a_row_are_a_second_writer_and_two_are_nothing() {
    for (times, is_closed) in [(2, false), (3, true)] {
        let (world, notices) = (World::new(), Notices::default());
        world.book.next([Fate::Says(ErrorKind::Server, "AppStateSync failed: 409 conflict")].repeat(times));
        let report = notices.of(world.sync()).run(all(people(3, "Bob"))).await.unwrap();
        assert_eq!((report.summary.created, report.summary.parked), (3, 0));
        let told = notices.told();
        let is_told = told.first().is_some_and(|told| told.contains("another program writes the same address book"));
        assert_eq!((told.len(), is_told), if is_closed { (2, true) } else { (0, false) }, "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_a_look_closes_is_told_with_what_helps() {
    for world in World::each().await {
        let notices = Notices::default();
        world.book.be(SessionStatus::ScanQrCode);
        world.book.refuse_reads(ErrorKind::Forbidden);
        for _ in 0..2 {
            let sync = notices.of(world.sync().look_first(LookFirst::Always));
            let report = sync.run(all(people(30, "Bob"))).await.unwrap();
            assert_eq!((report.gate, report.summary.calls), (Some(ErrorKind::Forbidden), 0));
            assert!(report.hint.is_some_and(|hint| hint.contains("scan the QR code")));
        }
        assert_eq!(notices.told().len(), 1, "{:?}", notices.told());
        assert_eq!(world.state().await.closed.map(|closed| closed.kind), Some(ErrorKind::Forbidden));
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_pages_without_end_close_is_told() {
    for world in World::each().await {
        let notices = Notices::default();
        (100..1_200).for_each(|n| world.book.edit(&chat(n), "Somebody"));
        world.book.stick();
        let sync = notices.of(world.sync().look_first(LookFirst::Always));
        let report = sync.run(all(people(30, "Bob"))).await.unwrap();
        assert_eq!((report.gate.is_some(), report.summary.calls, notices.told().len()), (true, 0, 1), "{report}");
        assert_eq!(world.state().await.closed.map(|closed| closed.kind), report.gate);
    }
}
