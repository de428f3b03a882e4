//! A run that dies at each boundary around its writes and calls once, and is begun again.

use std::{future::Future, sync::Arc, time::Duration};

use wawp_contacts::{
    ChatId, ContactSync, InstanceId, Pace,
    crm::{self, CrmContact, RowError},
    ledger::{Ledger, MemoryLedger, SqliteLedger},
    naming::{Funnel, Naming},
    sync::{Guardrails, Report},
    testkit::sim::{FaultyBook, FaultyLedger, Server, StopAt},
    time::{Clock, Timestamp},
};

const CONTACTS: u64 = 20;

fn naming() -> Naming {
    Naming::new("Lead, Customer".parse::<Funnel>().unwrap())
}

fn instance() -> InstanceId {
    "A1B2C3".parse().unwrap()
}

fn chat(n: u64) -> ChatId {
    format!("12025550{n:03}@c.us").parse().unwrap()
}

fn row(n: u64, stage: &str) -> CrmContact {
    CrmContact::new(format!("crm-{n}"), chat(n)).named(format!("Bob {n}"), "").in_stage(stage)
}

fn rows(stage: &str) -> Vec<Result<CrmContact, RowError>> {
    (0..CONTACTS).map(|n| Ok(row(n, stage))).collect()
}

/// What is tried: how many calls may be in flight, and whether the contacts are there already under another stage.
#[derive(Debug, Clone, Copy)]
struct Case {
    in_flight: usize,
    renames: bool,
}

/// One ledger with its server, and processes that come and go.
struct World {
    server: Server,
    ledger: Arc<dyn Ledger>,
    clock: Clock,
    case: Case,
}

impl World {
    fn new(case: Case, ledger: Arc<dyn Ledger>, clock: Clock) -> Self {
        let server = Server::new(instance(), Pace::per_second(1), Arc::clone(&ledger), clock.clone(), 7);
        for (version, stage) in ["Lead", "Customer"].into_iter().enumerate() {
            for n in 0..CONTACTS {
                server.wanted(&chat(n), &row(n, stage), version as u64, &naming());
            }
        }
        Self { server, ledger, clock, case }
    }

    /// A process that dies where `stop` says.
    fn process(&self, stop: &Arc<StopAt>) -> ContactSync {
        let ledger = FaultyLedger::new(Arc::clone(&self.ledger), Arc::clone(stop) as _);
        let book = FaultyBook::new(self.server.client(), Arc::clone(stop) as _);
        ContactSync::new(book, ledger, naming())
            .clock(self.clock.clone())
            .in_flight(self.case.in_flight)
            .guardrails(Guardrails::off())
    }

    async fn run(&self, stage: &str) -> Report {
        self.process(&Arc::new(StopAt::never())).run(crm::snapshot(rows(stage))).await.unwrap()
    }

    /// Runs, dies where `stop` says, and runs again until nothing is left to do; says what is wrong then.
    async fn die_and_go_on(&self, stop: Arc<StopAt>) -> Result<(), String> {
        if self.case.renames {
            self.run("Lead").await;
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let before = self.server.updates();
        let process = self.process(&stop);
        drop(stop.drive(process.run(crm::snapshot(rows("Customer")))).await);
        drop(process);
        tokio::time::sleep(Duration::from_millis(1)).await;

        self.run("Customer").await;
        let calls = self.server.updates() - before;
        let report = self.run("Customer").await;
        if let Some(violation) = self.server.violation() {
            return Err(violation.to_string());
        }
        for n in 0..CONTACTS {
            let (shown, wanted) = (self.server.name(&chat(n)), format!("Bob {n} [Customer]"));
            if shown.as_ref() != Some(&wanted) {
                return Err(format!("P1: {} shows {shown:?}", chat(n)));
            }
        }
        let most = usize::try_from(CONTACTS).unwrap() + self.case.in_flight;
        if calls > most {
            return Err(format!("P3: {calls} calls, at most {most} are needed"));
        }
        if report.summary.calls > 0 || self.server.updates() - before > calls {
            return Err(format!("P3: one more run makes {} calls", report.summary.calls));
        }
        Ok(())
    }
}

/// Dies at one boundary, or at none; says how many there were, and what went wrong.
fn die_at<F>(case: Case, at: Option<usize>, open: impl FnOnce(Clock) -> F) -> (usize, Result<(), String>)
where
    F: Future<Output = Arc<dyn Ledger>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let clock = Clock::starting_at(Timestamp(1_700_000_000_000));
        let world = World::new(case, open(clock.clone()).await, clock);
        let stop = Arc::new(at.map_or_else(StopAt::never, StopAt::new));
        let result = world.die_and_go_on(Arc::clone(&stop)).await;
        (stop.passed(), result)
    })
}

/// Dies at every so many boundaries, so that a slow ledger is tried as well.
fn die_at_each<F>(what: &str, every: usize, open: impl Fn(Clock) -> F)
where
    F: Future<Output = Arc<dyn Ledger>>,
{
    let mut violations = Vec::new();
    for (in_flight, renames) in [(1, false), (4, false), (1, true), (4, true)] {
        let case = Case { in_flight, renames };
        let (points, clean) = die_at(case, None, &open);
        assert_eq!(clean, Ok(()), "{case:?} without a crash");
        assert!(points >= 4 * 20, "only {points} boundaries in {case:?}; is the count blind?");
        let found = (0..points).step_by(every).filter_map(|at| Some((at, die_at(case, Some(at), &open).1.err()?)));
        let before = violations.len();
        violations.extend(found.map(|(at, violation)| format!("{case:?}, boundary {at}: {violation}")));
        println!("{what}, {case:?}: {points} boundaries, {} violations", violations.len() - before);
    }
    assert!(violations.is_empty(), "{} violations, the first: {}", violations.len(), violations[0]);
}

#[test]
fn a_crash_at_any_boundary_loses_nothing_in_memory() {
    die_at_each("memory", 1, |clock| async { Arc::new(MemoryLedger::new(clock)) as Arc<dyn Ledger> });
}

/// `CRASH_EVERY=1` dies at all boundaries.
#[test]
fn a_crash_at_any_boundary_loses_nothing_in_a_file() {
    let every = std::env::var("CRASH_EVERY").map_or(53, |every| every.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let files = std::sync::atomic::AtomicUsize::new(0);
    die_at_each("a file", every, |clock| {
        let number = files.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let file = folder.path().join(format!("{number}.ledger"));
        async { Arc::new(SqliteLedger::open_with_clock(file, clock).await.unwrap()) as Arc<dyn Ledger> }
    });
}
