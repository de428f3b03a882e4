//! The sync under everything that can go wrong: see `testkit::sim`.
//!
//! `SIM_SEED=42` replays one seed and prints its story; `SIM_SEEDS=10000` runs so many, from `SIM_FIRST` on.
//! `SIM_FILE_SEEDS=100` runs so many over a ledger in a file.

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use wawp_contacts::{
    ledger::SqliteLedger,
    testkit::sim::{Happening, Simulation, Stats},
};

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

/// Runs seeds on as many threads as there are processors, and panics with the first violation and the seeds of all.
fn simulate_all(seeds: &std::ops::Range<u64>) -> Stats {
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let next = AtomicU64::new(seeds.start);
    let share = || {
        let (mut stats, mut violations) = (Stats::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return (stats, violations);
            }
            match Simulation::new(seed).run() {
                Ok(outcome) => stats.add(&outcome.stats),
                Err(violation) => violations.push((seed, violation)),
            }
        }
    };
    let (mut stats, mut violations) = (Stats::default(), Vec::new());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(share)).collect();
        for worker in workers {
            let (part, found) = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            stats.add(&part);
            violations.extend(found);
        }
    });
    violations.sort_by_key(|(seed, _)| *seed);
    if let [(_, first), ..] = &*violations {
        let all = violations.iter().map(|(seed, found)| format!("{seed}: {}: {}", found.promise, found.detail));
        panic!("{first}\nAll violations by seed:\n{}", all.collect::<Vec<_>>().join("\n"));
    }
    stats
}

#[test]
fn every_promise_holds_whatever_happens() {
    if let Some(seed) = number("SIM_SEED") {
        match Simulation::new(seed).run() {
            Ok(outcome) => println!("{}\n{}", outcome.story.join("\n"), outcome.stats),
            Err(violation) => {
                panic!("{}\n{} is broken: {}", violation.story.join("\n"), violation.promise, violation.detail)
            }
        }
        return;
    }
    let first = number("SIM_FIRST").unwrap_or(0);
    let stats = simulate_all(&(first..first + number("SIM_SEEDS").unwrap_or(300)));
    println!("{stats}");
    let missing: Vec<Happening> = stats.missing().collect();
    assert!(missing.is_empty(), "no seed met {missing:?}");
}

#[test]
fn a_seed_tells_the_same_story_each_time() {
    for seed in 0..20 {
        let (one, other) = (Simulation::new(seed).run(), Simulation::new(seed).run());
        assert_eq!(one, other, "seed {seed}");
    }
}

#[test]
fn every_promise_holds_over_a_ledger_in_a_file() {
    let first = number("SIM_FIRST").unwrap_or(0);
    let mut stats = Stats::default();
    for seed in first..first + number("SIM_FILE_SEEDS").unwrap_or(3) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("contacts.ledger");
        let simulation = Simulation::new(seed).ledger(|clock| SqliteLedger::open_with_clock(file, clock));
        stats.add(&simulation.run().unwrap_or_else(|violation| panic!("{violation}")).stats);
    }
    println!("{stats}");
}
