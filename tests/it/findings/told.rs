//! What people and logs are told.

use std::{
    cell::RefCell,
    io,
    sync::{Arc, Mutex, Once},
};

use wawp_contacts::{ErrorKind, naming::Naming, sync::Progress};

use crate::{
    book::Fate,
    world::{World, all, chat, people, row},
};

#[tokio::test(start_paused = true)]
async fn stages_that_nobody_listed_are_counted_by_name_in_plan_and_report() {
    for world in World::each().await {
        let export =
            || vec![row(0, "Ann").in_stage("Leed"), row(1, "Bob").in_stage("Leed"), row(2, "Eve").in_stage("lead")];
        let plan = world.plan(export()).await;
        assert_eq!((plan.summary.untagged, plan.notes.untagged["Leed"]), (2, 2), "{plan}");
        for _ in 0..2 {
            let report = world.run(export()).await;
            assert_eq!((report.summary.untagged, report.notes.untagged["Leed"]), (2, 2), "{report}");
            assert!(report.to_string().contains("\"Leed\""), "{report}");
        }
        assert_eq!(world.book.name(&chat(2)), Some("Eve [Lead]".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_shortened_is_listed() {
    for world in World::each().await {
        let naming = || Naming::new("Lead".parse().unwrap()).limit(10);
        let export = || vec![row(0, "Ann"), row(1, "Bartholomew the Elder")];
        let plan = world.named(naming()).plan(all(export())).await.unwrap();
        let report = world.named(naming()).run(all(export())).await.unwrap();
        for (summary, notes) in [(plan.summary, &plan.notes), (report.summary, &report.notes)] {
            assert_eq!((summary.shortened, &*notes.shortened), (1, &["crm-1".into()][..]));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_of_rows_reads_plans_changes_waits_and_stops() {
    let world = World::new();
    world.book.next([Fate::Fine, Fate::Asks(ErrorKind::RateLimited, 5), Fate::Fine, Fate::Hangs]);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&heard);
    let sync = world.sync().observer(move |progress| {
        let said = match progress {
            Progress::Taken(rows) => format!("taken {rows}"),
            Progress::Read(entries) => format!("read {entries}"),
            Progress::Planned(summary) => format!("planned {}", summary.calls),
            Progress::Changed(change) => format!("changed {}", change.after),
            Progress::Waiting { kind, .. } => format!("waiting: {}", kind.code()),
            Progress::Stopping(calls) => format!("stopping {calls}"),
            _ => "something".into(),
        };
        notes.lock().unwrap().push(said);
    });
    let hung = Arc::clone(&world.book.hung);
    sync.run_until(all(people(30, "Bob")), async move { hung.notified().await }).await.unwrap();
    let heard = heard.lock().unwrap().clone();
    let first = ["taken 30", "read 0", "planned 30", "changed Bob 0"];
    assert_eq!(heard[..4], first, "{heard:?}");
    for word in ["waiting: rate_limited", "stopping 1"] {
        assert!(heard.iter().any(|heard| heard == word), "{word} in {heard:?}");
    }
}

thread_local! {
    /// What is logged by the test of this thread, once it listens.
    static HEARD: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

struct Ear;

impl io::Write for Ear {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        HEARD.with_borrow_mut(|heard| heard.iter_mut().for_each(|heard| heard.extend(text)));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps what this thread logs. One subscriber serves all threads: what each would install by itself is cached across them.
fn listen() {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false);
        tracing::subscriber::set_global_default(subscriber.with_writer(|| Ear).finish()).unwrap();
    });
    HEARD.set(Some(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn p11_the_log_tells_of_runs_gates_parks_and_guardrails_and_names_nobody() {
    listen();
    let world = World::new();
    world.book.edit(&chat(2), "Mum");
    world.book.next_of(&chat(1), [Fate::Says(ErrorKind::Rejected, "Bob is unknown")]);
    world.book.next([Fate::Fine, Fate::Asks(ErrorKind::RateLimited, 5)]);
    world.run(people(30, "Bob")).await;
    world.guarded().run(all(people(30, "Rob"))).await.unwrap();
    world.shaky.fail_after(0);
    world.sync().run(all(people(30, "Rob"))).await.unwrap_err();
    let text = String::from_utf8(HEARD.take().unwrap()).unwrap();
    let events = [
        "run begins",
        "run ends",
        "run fails",
        "the gate is closed",
        "a contact is parked",
        "a guardrail stops the run",
        "rate_limited",
        "rejected",
        "many_renames",
        "A1B2C3",
    ];
    for event in events {
        assert!(text.contains(event), "no {event:?} in:\n{text}");
    }
    for secret in ["Bob", "Rob", "Mum", "1202555"] {
        assert!(!text.contains(secret), "{secret} in:\n{text}");
    }
}
