//! One simulation from its first row to its last check.

mod say;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use fastrand::Rng;
use tokio::time::{sleep, timeout};

use super::{
    chaos::{Chaos, Crash},
    checks,
    crm::{Crm, Delivery},
    faulty::{FaultyBook, FaultyLedger, steady},
    log::Happening,
    server::{Server, ServerBook},
    weather::Trouble,
};
use crate::{
    ChatId, ContactSync, InstanceId, Pace,
    crm::{self, CrmContact, Refusal, RefusalReason, RowError},
    ledger::Ledger,
    naming::{Funnel, Naming},
    pace::Daily,
    record::{Drift, Record, Status},
    retry::RetryPolicy,
    sync::{Guardrails, LookFirst, Report, SyncError, Verify},
    testkit::lock,
    time::{Clock, Timestamp},
};

/// Longer than any run takes that ends at all.
const LONGEST_RUN: Duration = Duration::from_secs(3 * 86_400);

/// How many seconds pass between the runs after which everything has settled.
const SETTLING: [u64; 11] = [60, 600, 600, 3_600, 3_600, 3_600, 90_000, 600, 3_600, 90_000, 600];

/// How the engine is set, and how bad things are.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
struct Settings {
    in_flight: usize,
    pace: Pace,
    max_wait: Duration,
    look_first: LookFirst,
    drift: Drift,
    daily: Option<Daily>,
    verify: Verify,
    canary: Option<u64>,
    backoff: RetryPolicy,
    is_versioned: bool,
    ledger_failures: u32,
    rounds: u32,
    persons: u32,
    /// Whether the account has names already, and is taken over.
    adopts: bool,
    /// Whether numbers are asked for before they are called.
    checks_numbers: bool,
    guards: Option<Guards>,
    /// Whether what is held is so until everything else has settled.
    holds_on: bool,
}

/// What stops a run until a person says that it may go on.
#[derive(Debug, Clone, Copy)]
struct Guards {
    share: f64,
    free: u64,
    allows_blanked: bool,
}

impl Guards {
    fn guardrails(self) -> Guardrails {
        let guardrails = Guardrails::default().max_renamed_share(self.share).free_renames(self.free);
        guardrails.allow_blanked(self.allows_blanked)
    }
}

impl Settings {
    fn drawn(rng: &mut Rng, seed: u64) -> Self {
        let pick = |rng: &mut Rng, from: &[u64]| rng.choice(from.iter().copied()).unwrap_or_default();
        let pace = match rng.u32(0..4) {
            0 => Pace::per_second(5),
            1 => Pace::per_second(20),
            _ => Pace::per_second(1),
        };
        let quick = RetryPolicy::default().backing_off(Duration::from_millis(100), Duration::from_secs(5));
        let slow = RetryPolicy::default().max_attempts(6).backing_off(Duration::from_secs(1), Duration::from_secs(300));
        Self {
            in_flight: usize::try_from(pick(rng, &[1, 1, 2, 4])).unwrap_or(1),
            pace,
            max_wait: Duration::from_secs(pick(rng, &[0, 5, 60, 3_600])),
            look_first: match rng.u32(0..10) {
                0 => LookFirst::Never,
                1 => LookFirst::Always,
                _ => LookFirst::IfPossible,
            },
            drift: match seed % 7 {
                1 => Drift::Ask,
                2 => Drift::PhoneWins,
                3 => Drift::IfRaw,
                5 => Drift::ByField,
                _ => Drift::CrmWins,
            },
            daily: (seed % 6 == 4).then(|| {
                let drawn = u32::try_from(seed / 6 % 24).unwrap_or_default();
                let daily = Daily::at_most(4 + drawn % 8);
                if drawn < 8 { daily.warm_up(2, 1.5) } else { daily }
            }),
            verify: match seed % 5 {
                0 => Verify::Never,
                1 => Verify::Sample(0.5),
                2 | 3 => Verify::Always,
                _ => Verify::InDoubt,
            },
            canary: (seed % 4 == 3).then_some(3),
            backoff: if rng.bool() { quick } else { slow },
            is_versioned: rng.u32(0..4) > 0,
            ledger_failures: u32::try_from(pick(rng, &[0, 1, 5])).unwrap_or_default(),
            rounds: rng.u32(3..9),
            persons: rng.u32(2..11),
            adopts: rng.u32(0..4) == 0,
            checks_numbers: rng.u32(0..4) == 0,
            guards: (rng.u32(0..3) == 0).then(|| Guards {
                share: rng.choice([0.0, 0.1, 0.3, 0.6]).unwrap_or_default(),
                free: rng.u64(0..4),
                allows_blanked: rng.bool(),
            }),
            holds_on: rng.bool(),
        }
    }
}

/// A process that runs an engine.
struct Process {
    book: ServerBook,
    chaos: Arc<Chaos>,
    sync: ContactSync,
}

/// Everything in one simulation.
pub(super) struct World {
    seed: u64,
    settings: Settings,
    clock: Clock,
    ledger: Arc<dyn Ledger>,
    server: Server,
    naming: Naming,
    crm: Mutex<Crm>,
    rng: Mutex<Rng>,
    is_faulty: Arc<AtomicBool>,
    workers: Mutex<Vec<Arc<Process>>>,
}

/// When simulated time begins.
pub(super) const START: Timestamp = Timestamp(1_700_000_000_000);

impl World {
    pub(super) fn new(seed: u64, instance: InstanceId, naming: Naming, clock: Clock, ledger: Arc<dyn Ledger>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let settings = Settings::drawn(&mut rng, seed);
        let (server_seed, crm_seed) = (rng.u64(..), rng.u64(..));
        let server = Server::new(instance, settings.pace, Arc::clone(&ledger), clock.clone(), server_seed);
        server.expect_looks(settings.look_first != LookFirst::Never);
        if matches!(settings.drift, Drift::PhoneWins | Drift::ByField) {
            server.expect_phone_names(&naming);
        }
        server.expect_daily(settings.daily);
        if settings.verify == Verify::Always {
            server.forget_names();
        }
        server.log().tell(format_args!("{settings:?}"));
        let crm = Crm::new(crm_seed, naming.clone(), settings.is_versioned, settings.checks_numbers);
        Self {
            seed,
            settings,
            clock,
            ledger,
            server,
            naming,
            crm: Mutex::new(crm),
            rng: Mutex::new(rng),
            is_faulty: Arc::default(),
            workers: Mutex::default(),
        }
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// The funnel and template of every simulation.
    pub(super) fn naming() -> Naming {
        Naming::new("Lead, Customer, VIP".parse::<Funnel>().unwrap_or_default())
    }

    fn draw(&self, below: u32) -> u32 {
        lock(&self.rng).u32(0..below)
    }

    fn between(&self, from: Duration, to: Duration) -> Duration {
        from + to.saturating_sub(from).mul_f64(lock(&self.rng).f64())
    }

    fn process(&self) -> Arc<Process> {
        let settings = &self.settings;
        let seed = lock(&self.rng).u64(..);
        let book = self.server.client();
        let chaos = Chaos::new(self.server.clone(), seed, settings.ledger_failures, Arc::clone(&self.is_faulty));
        let chaos = Arc::new(chaos);
        let directed: Arc<Chaos> = Arc::clone(&chaos);
        let ledger = FaultyLedger::new(Arc::clone(&self.ledger), Arc::clone(&directed) as _);
        let sync = ContactSync::new(FaultyBook::new(book.clone(), directed), ledger, self.naming.clone())
            .clock(self.clock.clone())
            .owner(format!("process {}", book.process()))
            .in_flight(settings.in_flight)
            .max_wait(settings.max_wait)
            .look_first(settings.look_first)
            .drift(settings.drift)
            .daily(settings.daily)
            .verify(settings.verify)
            .canary(settings.canary)
            .backoff(settings.backoff.clone())
            .check_numbers(settings.checks_numbers)
            .guardrails(settings.guards.map_or_else(Guardrails::off, Guards::guardrails));
        Arc::new(Process { book, chaos, sync })
    }

    /// The process of a worker, or now and then a new one in its place.
    fn worker(&self, n: usize) -> Arc<Process> {
        let restarts = self.draw(4) == 0;
        let mut workers = lock(&self.workers);
        while workers.len() <= n {
            workers.push(self.process());
        }
        if restarts {
            workers[n] = self.process();
        }
        Arc::clone(&workers[n])
    }

    fn crash(&self) -> Crash {
        if !self.is_faulty.load(Relaxed) {
            return Crash::Never;
        }
        match self.draw(5) {
            0 => Crash::AtPoll(self.draw(60) as usize),
            1 => Crash::AtStep(self.draw(60)),
            _ => Crash::Never,
        }
    }

    fn rows(&self, delivery: &Delivery) -> Vec<Result<CrmContact, RowError>> {
        let mut rows: Vec<_> = delivery.lines.iter().cloned().map(Ok).collect();
        if self.is_faulty.load(Relaxed) && self.draw(15) == 0 {
            self.server.log().count(Happening::SourceFailed);
            let at = self.draw(u32::try_from(rows.len() + 1).unwrap_or(1)) as usize;
            rows.insert(at, Err(RowError::Source("the simulation lets the source fail".into())));
        }
        rows
    }

    /// Drives one engine to its end, or to the death of its process; `None` if it died.
    async fn drive<T>(
        &self,
        process: &Process,
        what: &str,
        engine: impl Future<Output = Result<T, SyncError>>,
    ) -> Option<Result<T, SyncError>> {
        process.book.new_run();
        let n = process.book.process();
        self.server.log().tell(format_args!("process {n}: {what}"));
        let ended = timeout(LONGEST_RUN, process.chaos.drive(self.crash(), engine)).await;
        // What the engine had in hand is dropped by the runtime, and not before.
        sleep(Duration::from_millis(1)).await;
        match &ended {
            Err(_) => self.server.log().breach("P1", format_args!("process {n}: {what} does not end")),
            Ok(None) => {
                let mut workers = lock(&self.workers);
                for worker in workers.iter_mut().filter(|worker| worker.book.process() == n) {
                    *worker = self.process();
                }
            }
            Ok(Some(Err(error))) => {
                process.book.forget_reads();
                self.server.log().tell(format_args!("process {n}: {what} fails: {error}"));
            }
            Ok(Some(Ok(_))) => self.server.log().tell(format_args!("process {n}: {what} ends")),
        }
        self.server.heard(n, matches!(ended, Ok(Some(Ok(_)))));
        ended.ok().flatten()
    }

    /// Drives an engine that takes rows in, or says what becomes of them; gives its report back if it has one.
    async fn follow(
        &self,
        process: &Process,
        what: &str,
        delivery: &Delivery,
        engine: impl Future<Output = Result<Report, SyncError>>,
    ) -> Option<Report> {
        let sent = self.server.updates();
        let report = self.drive(process, &format!("{what} of {delivery}"), engine).await?.ok()?;
        self.take_in(process, delivery, &report);
        self.weigh(process, sent, &report);
        Some(report)
    }

    /// Notes what an engine has taken in.
    fn take_in(&self, process: &Process, delivery: &Delivery, report: &Report) {
        let n = process.book.process();
        self.server.log().tell(format_args!("process {n}: {}", report.summary));
        if !report.applied {
            return process.book.forget_reads();
        }
        let is_forgotten = |refusal: &&Refusal| refusal.reason == RefusalReason::Forgotten;
        let refused: BTreeSet<&str> =
            report.refusals.iter().filter(is_forgotten).filter_map(|refusal| refusal.crm_id.as_deref()).collect();
        for _ in &refused {
            self.server.log().count(Happening::RowRefused);
        }
        let taken = delivery.versions.iter().filter(|(row, _)| !refused.contains(&**row));
        taken.for_each(|(row, version)| self.server.taken_in(row, *version));
    }

    /// P12: a run that a guardrail stops has called nobody, and leaves nothing behind.
    fn weigh(&self, process: &Process, sent: usize, report: &Report) {
        let Some(guardrail) = &report.guardrail else { return };
        let n = process.book.process();
        self.server.log().count(Happening::GuardrailTripped);
        self.server.log().tell(format_args!("process {n}: stopped: {guardrail}"));
        let calls = self.server.sent_since(sent, n);
        if calls > 0 || report.applied || self.settings.guards.is_none() {
            self.server
                .log()
                .breach("P12", format_args!("a guardrail stops a run that made {calls} calls: {guardrail}"));
        }
    }

    async fn run(&self, worker: usize) {
        let process = self.worker(worker);
        let delivery = lock(&self.crm).export(&self.server);
        self.server.log().count(Happening::Run);
        let rows = self.rows(&delivery);
        let is_calm = !self.is_faulty.load(Relaxed);
        let before = if is_calm { checks::records(&self.server).await.unwrap_or_default() } else { BTreeMap::new() };
        let sent = self.server.updates();
        let engine = process.sync.run(crm::snapshot(rows));
        let Some(report) = Box::pin(self.follow(&process, "run", &delivery, engine)).await else { return };
        if report.guardrail.is_none() {
            if is_calm {
                self.should_have_stopped(&process, sent, &before);
            }
        } else if is_calm || self.draw(2) == 0 {
            self.confirm(&process).await;
        }
    }

    /// P12: what a guardrail should have stopped.
    fn should_have_stopped(&self, process: &Process, sent: usize, before: &BTreeMap<ChatId, Record>) {
        let Some(guards) = self.settings.guards else { return };
        let known = before.values().filter(|record| record.is_known()).count();
        // Of whom a row speaks by a privacy id that was not resolved, nobody knows that it is a rename.
        let is_open =
            |chat: &ChatId| before.get(chat).is_some_and(|record| record.is_known() && !record.claims.is_empty());
        let renamed =
            self.server.renamed_since(sent, process.book.process()).iter().filter(|chat| is_open(chat)).count();
        // Small numbers are exact.
        let most = u32::try_from(known).map_or(f64::MAX, |known| f64::from(known) * guards.share);
        if renamed as u64 > guards.free && u32::try_from(renamed).is_ok_and(|renamed| f64::from(renamed) > most) {
            let detail = format_args!("{renamed} of {known} contacts are renamed, and no guardrail stops it");
            self.server.log().breach("P12", detail);
        }
        let crm = lock(&self.crm);
        let mut claims = before.values().flat_map(|record| &record.claims).filter(|claim| claim.wish.is_some());
        if let Some(blank) = claims.find(|claim| !guards.allows_blanked && crm.is_blank(&claim.crm_id)) {
            self.server.log().breach("P12", format_args!("{} loses its name, and no guardrail stops it", blank.crm_id));
        }
    }

    /// A person has seen what a guardrail stopped, and wants it.
    async fn confirm(&self, process: &Process) {
        let delivery = lock(&self.crm).export(&self.server);
        let rows = self.rows(&delivery);
        let sync = process.sync.clone().guardrails(Guardrails::off());
        let engine = sync.run(crm::snapshot(rows));
        let Some(report) = Box::pin(self.follow(process, "confirmed run", &delivery, engine)).await else { return };
        if let Some(guardrail) = report.guardrail {
            self.server.log().breach("P12", format_args!("a run is stopped that was confirmed: {guardrail}"));
        }
        self.server.log().count(Happening::Confirmed);
    }

    /// A run of some rows, each of which goes before the others.
    async fn urgent(&self, worker: usize) {
        let process = self.worker(worker);
        let delivery = lock(&self.crm).some(&self.server);
        self.server.log().count(Happening::Urgent);
        let rows = self.rows(&delivery);
        Box::pin(self.follow(&process, "urgent run", &delivery, process.sync.run(crm::changes(rows)))).await;
    }

    async fn intake(&self) {
        let process = self.process();
        let is_snapshot = self.draw(3) == 0;
        let delivery = {
            let mut crm = lock(&self.crm);
            if is_snapshot { crm.export(&self.server) } else { crm.some(&self.server) }
        };
        self.server.log().count(Happening::Intake);
        let rows = self.rows(&delivery);
        if is_snapshot {
            Box::pin(self.follow(&process, "intake", &delivery, process.sync.intake(crm::snapshot(rows)))).await;
        } else {
            Box::pin(self.follow(&process, "intake", &delivery, process.sync.intake(crm::changes(rows)))).await;
        }
    }

    /// What happens beside a run: changes come in, clocks are set, people save names.
    async fn beside(&self) {
        for _ in 0..self.draw(4) {
            sleep(self.between(Duration::from_millis(10), Duration::from_secs(40))).await;
            match self.draw(6) {
                0 => self.set_back(),
                1 => self.save_by_hand(),
                2 => self.say().await,
                // Rows without versions are as new as they come in: what is under way must not be older.
                _ if self.settings.is_versioned => {
                    lock(&self.crm).edit(&self.server);
                    self.intake().await;
                }
                _ => {}
            }
        }
    }

    fn set_back(&self) {
        let millis = [50, 2_000, 90_000, 7_200_000][self.draw(4) as usize];
        self.server.log().count(Happening::ClockBack);
        self.server.log().tell(format_args!("the clock is set back by {millis} ms"));
        self.clock.shift(-millis);
    }

    /// Sets the clock forward, once everything that was asked for has come to its end: nobody can tell otherwise.
    async fn set_ahead(&self) {
        while !self.server.is_quiet() {
            sleep(Duration::from_secs(60)).await;
        }
        sleep(Duration::from_secs(2)).await;
        let millis: i64 = [2_000, 90_000, 86_400_000][self.draw(3) as usize];
        self.server.log().count(Happening::ClockAhead);
        self.server.log().tell(format_args!("the clock is set forward by {millis} ms"));
        self.server.set_ahead(Duration::from_millis(millis.unsigned_abs()));
        self.clock.shift(millis);
    }

    fn save_by_hand(&self) {
        let chats = lock(&self.crm).chats();
        let drawn = lock(&self.rng).choice(chats);
        let number = self.draw(1_000_000);
        if let Some(chat) = drawn {
            self.server.edit(&chat, &format!("by hand {number}"));
        }
    }

    /// A plan writes nothing, whatever its rows say.
    async fn plan(&self) {
        let process = self.process();
        let delivery = lock(&self.crm).export(&self.server);
        let rows = delivery.lines.iter().map(|row| Ok(row.clone().named("PLANNED", "")));
        let plan = process.sync.plan(crm::snapshot(rows.collect::<Vec<_>>()));
        self.server.log().tell(format_args!("process {}: plan", process.book.process()));
        if Box::pin(timeout(LONGEST_RUN, process.chaos.drive(self.crash(), plan))).await.is_err() {
            self.server.log().breach("P1", "a plan does not end");
        }
        sleep(Duration::from_millis(1)).await;
    }

    async fn round(&self) {
        for _ in 0..self.draw(5) {
            lock(&self.crm).edit(&self.server);
        }
        if self.draw(3) == 0 {
            self.save_by_hand();
        }
        if self.draw(3) == 0 {
            self.say().await;
        }
        match self.draw(18) {
            0..4 => self.run(0).await,
            4..7 => {
                tokio::join!(self.run(0), self.beside());
            }
            7..9 => {
                self.server.log().count(Happening::TwoWorkers);
                let later = async {
                    sleep(self.between(Duration::ZERO, Duration::from_secs(20))).await;
                    self.run(1).await;
                };
                tokio::join!(self.run(0), later);
            }
            9 => self.urgent(0).await,
            10 => self.intake().await,
            11 => self.plan().await,
            12 => self.refresh().await,
            13 => {
                tokio::join!(self.undo(false), self.beside());
            }
            _ => self.undo(true).await,
        }
        match self.draw(8) {
            0 => self.set_back(),
            1 => self.set_ahead().await,
            2 | 3 => sleep(self.between(Duration::from_secs(1), Duration::from_secs(3_600))).await,
            _ => sleep(self.between(Duration::ZERO, Duration::from_secs(5))).await,
        }
    }

    /// Lives through everything, and checks what is left.
    pub(super) async fn live(&self) {
        for _ in 0..self.settings.persons {
            lock(&self.crm).add(&self.server);
        }
        self.make_trouble();
        self.is_faulty.store(true, Relaxed);
        self.server.set_trouble(true);
        if self.settings.adopts {
            self.adopt().await;
        }
        for _ in 0..self.settings.rounds {
            self.round().await;
            if self.server.violation().is_some() {
                return;
            }
        }
        self.is_faulty.store(false, Relaxed);
        self.server.set_trouble(false);
        self.server.calm_down();
        self.allow_some().await;
        if !self.settings.holds_on {
            self.release_all().await;
        }
        self.settle(&SETTLING).await;
        self.check().await;
        if self.settings.holds_on && self.release_all().await {
            self.settle(&SETTLING[..4]).await;
            self.check().await;
        }
        if self.server.violation().is_none() {
            self.once_more().await;
        }
    }

    /// Holds what is left to what the CRM says.
    async fn check(&self) {
        if self.server.violation().is_some() {
            return;
        }
        let ids = lock(&self.crm).ids_to_refuse();
        let texts: Vec<&str> = ids.iter().map(|id| &**id).collect();
        let marks = steady(self.ledger.forgotten(self.server.instance(), &texts)).await.unwrap_or_default();
        let refused: BTreeSet<String> =
            ids.iter().zip(marks).filter(|(_, is_refused)| *is_refused).map(|(id, _)| id.clone()).collect();
        let expected = lock(&self.crm).expected(&refused);
        self.server.log().tell(format_args!("kept out: {refused:?}"));
        checks::settled(&self.server, &expected).await;
    }

    /// One contact may fail for good.
    fn make_trouble(&self) {
        let trouble = match self.draw(8) {
            0 => Trouble::Refused,
            1 => Trouble::Forbidden,
            2 => Trouble::Fails,
            3 if self.settings.look_first != LookFirst::Always => Trouble::Unreadable,
            _ => return,
        };
        let chats = lock(&self.crm).chats();
        if let Some(chat) = chats.first() {
            self.server.trouble(chat, trouble);
        }
    }

    /// Runs until nothing is left to do: some times after minutes, and once after a day, when what was held is asked for again.
    async fn settle(&self, waits: &[u64]) {
        // A cap makes days of it.
        let days = if self.settings.daily.is_some() { 12 } else { 0 };
        for wait in waits.iter().copied().chain(std::iter::repeat_n(90_000, days)) {
            sleep(Duration::from_secs(wait)).await;
            self.run(0).await;
            if self.server.violation().is_some() {
                return;
            }
        }
    }

    /// One more run makes no call, whatever the order of its rows.
    async fn once_more(&self) {
        let Ok(records) = checks::records(&self.server).await else { return };
        let is_due = |status: Status| status.due_at().is_some();
        let is_all_done = !records.values().any(|record| is_due(record.status));
        let before = (self.server.healthy_updates(), self.server.reads());
        self.run(0).await;
        let after = (self.server.healthy_updates(), self.server.reads());
        if after.0 != before.0 {
            self.server.log().breach("P3", format_args!("one more run makes {} calls", after.0 - before.0));
        }
        if is_all_done && after.1 != before.1 {
            self.server.log().breach("P3", format_args!("one more run makes {} reads", after.1 - before.1));
        }
    }

    /// The seed of the simulation.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Lets go of the processes, and with them of the ledger.
    pub(super) fn end(&self) {
        drop(mem::take(&mut *lock(&self.workers)));
    }
}
