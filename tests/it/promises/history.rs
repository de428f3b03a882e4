//! P1 to P4 over generated histories: wishes change, runs fail and crash, and in the end everybody is called as wanted.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wawp_contacts::{ChatId, sync::Retry};

use super::*;

const PEOPLE: usize = 4;

/// What happens between two looks of the CRM.
#[derive(Debug, Clone)]
struct Step {
    /// Whose wish changes.
    wishes: Vec<usize>,
    fates: Vec<Fate>,
    in_flight: usize,
    /// How many seconds the run waits.
    patience: u64,
    /// Whether the process dies at the first call that hangs.
    crashes: bool,
}

fn fate() -> impl Strategy<Value = Fate> {
    let lost = prop_oneof![Just(ErrorKind::Timeout), Just(ErrorKind::Interrupted), Just(ErrorKind::Server)];
    prop_oneof![
        4 => Just(Fate::Fine),
        1 => Just(Fate::Fails(ErrorKind::Connect)),
        2 => lost.clone().prop_map(Fate::Fails),
        2 => lost.prop_map(Fate::AppliedBut),
        1 => Just(Fate::AppliedLate),
        1 => Just(Fate::Fails(ErrorKind::Unauthorized)),
        1 => Just(Fate::Asks(ErrorKind::RateLimited, 1)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let wishes = prop::collection::vec(0..PEOPLE, 0..PEOPLE);
    let fates = prop::collection::vec(fate(), 0..8);
    (wishes, fates, 1..4usize, 0..50u64, any::<bool>()).prop_map(|(wishes, fates, in_flight, patience, crashes)| Step {
        wishes,
        fates,
        in_flight,
        patience,
        crashes,
    })
}

async fn live(world: &World, wanted: &[usize; PEOPLE], step: &Step) {
    world.book.next(step.fates.iter().copied());
    if step.crashes {
        world.book.next([Fate::Hangs]);
    }
    let sync = world.sync().in_flight(step.in_flight).max_wait(seconds(step.patience));
    tokio::select! {
        biased;
        () = world.book.hung.notified() => {}
        report = sync.run(all(crm(wanted))) => drop(report.unwrap()),
    }
    world.book.heal();
}

/// Each wish of a contact carries its number, so that going backwards shows.
fn crm(wanted: &[usize; PEOPLE]) -> Vec<CrmContact> {
    wanted.iter().enumerate().map(|(n, wish)| row(n, &format!("{wish}")).at_version(*wish as u64)).collect()
}

fn never_backwards(log: &[(ChatId, String)]) {
    let mut newest: BTreeMap<&ChatId, usize> = BTreeMap::new();
    for (chat, name) in log {
        let wish = name.parse().unwrap();
        let last = newest.insert(chat, wish).unwrap_or(0);
        assert!(wish >= last, "P2: {chat} went from {last} back to {wish}: {log:?}");
    }
}

async fn play(steps: Vec<Step>) {
    let world = World::new();
    let mut wanted = [1; PEOPLE];
    let mut wishes = PEOPLE;
    for step in &steps {
        for n in &step.wishes {
            wanted[*n] += 1;
            wishes += 1;
        }
        live(&world, &wanted, step).await;
    }
    tokio::time::sleep(DEADLINE).await;
    // A contact over which the process died three times waits for a person.
    world.sync().retry(Retry::All).await.unwrap();
    let report = world.sync().run(all(crm(&wanted))).await.unwrap();
    for (n, wish) in wanted.iter().enumerate() {
        assert_eq!(world.book.name(&chat(n)), Some(wish.to_string()), "P1, P4: {report}");
    }
    never_backwards(&world.book.calls());
    never_backwards(&world.book.effects());
    let failures: usize = steps.iter().map(|step| step.fates.len() + step.in_flight).sum();
    let calls = world.book.calls().len();
    assert!(calls <= wishes + failures, "P3: {calls} calls for {wishes} wishes and {failures} failures");
    let again = world.sync().run(all(crm(&wanted))).await.unwrap();
    assert_eq!((again.summary.calls, world.book.calls().len()), (0, calls), "P3: a second run makes no call");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p1_p2_p3_p4_hold_over_every_history_of_wishes_faults_and_crashes(steps in prop::collection::vec(step(), 1..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(play(steps));
    }
}
