//! The real job, killed without a word at random moments of its life, again and again.
//!
//! The moments come from a seed, which is printed; `SEED=7 KILLS=400 cargo test --test it job::kills` sets it and the number of kills.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    time::{Duration, Instant},
};

use fastrand::Rng;
use rusqlite::Connection;
use wawp_contacts::testkit::{Call, WawpServer};

use super::{Desk, Ended, chat, end};

/// How long each fourth contact is waited for; its name is saved at once.
const SLOW: Duration = Duration::from_millis(120);
/// How long a request of the job may take.
const TIMEOUT: Duration = Duration::from_secs(30);
const IN_FLIGHT: usize = 2;
const STAGES: [&str; 3] = ["Lead", "Customer", "Partner"];

/// One row of the CRM, and every name that it has wanted, newest last.
struct Row {
    name: String,
    stage: &'static str,
    wanted: Vec<String>,
}

/// A text that a person saved on the phone.
struct Edit {
    n: usize,
    text: String,
    at: Instant,
}

/// One life of the job.
struct Life {
    from: Instant,
    /// When it was killed; `None` if it came to its end.
    killed: Option<Instant>,
}

/// A CRM, a phone, and a job between them that is not left in peace.
struct Siege {
    desk: Desk,
    server: WawpServer,
    rng: Rng,
    rows: BTreeMap<usize, Row>,
    /// The names of contacts whose rows are gone: they stay.
    gone: BTreeMap<usize, String>,
    next: usize,
    edits: Vec<Edit>,
    lives: Vec<Life>,
    /// How long an undisturbed run takes from its start to its end, and how many requests it makes.
    span: Duration,
    requests: usize,
    parked: usize,
    /// What the job is started with beside that which it needs.
    flags: &'static str,
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

impl Siege {
    /// So many people, written by a run that nobody disturbed.
    async fn of(people: usize, salt: u64) -> Self {
        let seed = number("SEED", 0x5EED);
        println!("seed {seed}");
        let mut siege = Self {
            desk: Desk::new(),
            server: WawpServer::start().await,
            rng: Rng::with_seed(seed ^ salt),
            rows: BTreeMap::new(),
            gone: BTreeMap::new(),
            next: 0,
            edits: Vec::new(),
            lives: Vec::new(),
            span: Duration::ZERO,
            requests: 0,
            parked: 0,
            flags: "",
        };
        for _ in 0..people {
            siege.add();
        }
        siege.finish("run").await.with(0);
        // A run as those that are killed: a few names changed, and nobody disturbs it.
        for n in 0..5 {
            siege.rename(n);
        }
        let (before, from) = (siege.seen(), Instant::now());
        siege.finish("run").await.with(0);
        (siege.span, siege.requests) = (from.elapsed(), siege.seen() - before);
        siege
    }

    fn add(&mut self) {
        let n = self.next;
        self.next += 1;
        if n.is_multiple_of(4) {
            self.server.on_update(&chat(n)).delay(SLOW);
        }
        let row = Row { name: format!("P{n} v0"), stage: STAGES[n % STAGES.len()], wanted: Vec::new() };
        self.rows.insert(n, row);
        self.wish(n);
    }

    /// Notes what a row wants now.
    fn wish(&mut self, n: usize) {
        let row = self.rows.get_mut(&n).unwrap();
        row.wanted.push(format!("{} [{}]", row.name, row.stage));
    }

    fn rename(&mut self, n: usize) {
        let row = self.rows.get_mut(&n).unwrap();
        row.name = format!("P{n} v{}", row.wanted.len());
        self.wish(n);
    }

    /// Moves a person to the next stage; the name changes as well, so that no wish comes twice.
    fn promote(&mut self, n: usize) {
        let row = self.rows.get_mut(&n).unwrap();
        let at = STAGES.iter().position(|stage| *stage == row.stage).unwrap();
        if at + 1 == STAGES.len() {
            return self.rename(n);
        }
        row.stage = STAGES[at + 1];
        self.wish(n);
    }

    /// A person saves another name on the phone, at a moment at which no job is alive.
    fn edit(&mut self, n: usize) {
        let text = format!("Mum {}", self.edits.len());
        self.server.rename_on_phone(&chat(n), &text);
        self.edits.push(Edit { n, text, at: Instant::now() });
    }

    fn export(&self) {
        let mut csv = "id,first_name,phone,stage\n".to_owned();
        for (n, Row { name, stage, .. }) in &self.rows {
            writeln!(csv, "crm-{n},{name},+1202555{n:04},{stage}").unwrap();
        }
        self.desk.write("crm.csv", &csv);
    }

    /// The people about whom nothing is open, so that another name can be sent at once.
    fn settled(&self) -> Vec<usize> {
        let ledger = Connection::open(self.desk.path("sync_job.ledger")).unwrap();
        let check: String = ledger.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        let open = "SELECT json_extract(body, '$.chat') FROM contact
            WHERE json_extract(body, '$.pushed.in_doubt') IS NOT NULL OR json_extract(body, '$.pushed.late_until') IS NOT NULL";
        let mut open = ledger.prepare(open).unwrap();
        let open: BTreeSet<String> = open.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        self.rows.keys().copied().filter(|n| !open.contains(chat(*n).as_str())).collect()
    }

    /// How many requests the server has seen.
    fn seen(&self) -> usize {
        self.server.calls().len() + self.server.reads()
    }

    fn job(&self, command: &str) -> tokio::process::Command {
        let (flags, more) = match command {
            "refresh" => ("", ""),
            _ => ("--yes --tags Lead,Customer,Partner --crm crm.csv", self.flags),
        };
        let mut job = self.desk.job(command.split_whitespace().chain(flags.split_whitespace()));
        job.args(more.split_whitespace());
        job.args(["--rate", "0", "--in-flight", &IN_FLIGHT.to_string(), "--base-url", &self.server.url()]);
        job.args(["--instance", self.server.instance().as_str()]);
        job.env("WAWP_ACCESS_TOKEN", self.server.token());
        job
    }

    /// Lets a job come to its end.
    async fn finish(&mut self, command: &str) -> Ended {
        self.export();
        self.lives.push(Life { from: Instant::now(), killed: None });
        end(self.job(command)).await
    }

    /// Starts a job and kills it at a random moment; says whether it came too late.
    async fn kill(&mut self, command: &str) -> bool {
        self.export();
        let (before, from) = (self.seen(), Instant::now());
        let mut job = self.job(command).spawn().unwrap();
        if self.rng.u8(0..3) == 0 {
            tokio::time::sleep(self.span.mul_f64(self.rng.f64())).await;
        } else {
            let least = before + self.rng.usize(1..=self.requests);
            // A run that waits asks for nothing more.
            while self.seen() < least && from.elapsed() < self.span && job.try_wait().unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_micros(self.rng.u64(0..30_000))).await;
        }
        let is_over = job.try_wait().unwrap().is_some();
        let killed = Instant::now();
        job.start_kill().unwrap_or_else(|error| assert!(is_over, "{error}"));
        let status = job.wait().await.unwrap();
        // What the dead process has sent arrives before anything else happens.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let was_killed = status.code().is_none();
        self.lives.push(Life { from, killed: was_killed.then_some(killed) });
        was_killed
    }

    fn kills(&self) -> usize {
        self.lives.iter().filter(|life| life.killed.is_some()).count()
    }

    /// Tries contacts again that are parked because the job died three times while it wrote them.
    async fn retry_deadly(&mut self) {
        let mut job = self.desk.job(["parked", "--json", "--instance", self.server.instance().as_str()]);
        job.env("WAWP_ACCESS_TOKEN", self.server.token());
        let parked = end(job).await;
        let parked = parked.out.matches("\"deadly\"").count();
        if parked > 0 {
            self.parked += parked;
            end(self.desk.job(["retry", "--all", "--instance", self.server.instance().as_str()])).await.with(0);
        }
    }

    /// A refresh and a run that are left to come to their end; then every name is right, and nothing is left to do.
    async fn settle(&mut self) {
        let refreshed = self.finish("refresh").await;
        assert!(matches!(refreshed.code, Some(0 | 3)), "{refreshed}");
        self.retry_deadly().await;
        self.finish("run").await.with(0);
        for (n, row) in &self.rows {
            self.server.assert_contact(&chat(*n), row.wanted.last().unwrap());
        }
        for (n, name) in &self.gone {
            self.server.assert_contact(&chat(*n), name);
        }
        let calls = self.server.calls().len();
        let again = self.finish("run").await.with(0).says("; 0 calls");
        assert_eq!(self.server.calls().len(), calls, "{again}");
        self.check_calls();
        self.check_history().await;
    }

    /// The life of the job that made a call.
    fn life_of(&self, call: &Call) -> usize {
        self.lives.partition_point(|life| life.from <= call.at) - 1
    }

    /// Whether the job was killed before this call could be answered.
    fn is_unanswered(&self, n: usize, call: &Call) -> bool {
        let killed = self.lives[self.life_of(call)].killed;
        let margin = if n.is_multiple_of(4) { SLOW.saturating_sub(Duration::from_millis(40)) } else { Duration::ZERO };
        killed.is_some_and(|killed| killed < call.at + margin)
    }

    /// Checks the server's log for what may never happen, and says how many calls were made, and how many twice.
    fn check_calls(&self) -> (usize, usize) {
        let mut repeats = vec![0; self.lives.len()];
        for (n, row) in &self.rows {
            let calls = self.server.calls_for(&chat(*n));
            let place = |call: &Call| row.wanted.iter().position(|name| *name == call.name());
            for pair in calls.windows(2) {
                let (first, second) = (place(&pair[0]), place(&pair[1]));
                assert!(first.is_some() && first <= second, "P2: an older name was sent\n{} {}", pair[0], pair[1]);
                let is_edited =
                    self.edits.iter().any(|edit| edit.n == *n && (pair[0].at..pair[1].at).contains(&edit.at));
                if first == second && !is_edited {
                    repeats[self.life_of(&pair[0])] += 1;
                }
            }
            for (at, old) in calls.iter().enumerate().filter(|(_, call)| self.is_unanswered(*n, call)) {
                let newer = calls[at..].iter().find(|call| call.name() != old.name());
                let gap = newer.map(|newer| newer.at.duration_since(old.at));
                assert!(gap.is_none_or(|gap| gap >= TIMEOUT), "P9: another name was sent {gap:?} after {old}");
            }
        }
        // A contact is in flight until its answer is on the disk, and at most as many answers wait for that as calls are in flight.
        for (life, repeats) in self.lives.iter().zip(&repeats) {
            let at_most = if life.killed.is_some() { 2 * IN_FLIGHT } else { 0 };
            assert!(*repeats <= at_most, "one life cost {repeats} repeats");
        }
        let repeats = repeats.iter().sum();
        assert!(repeats <= self.kills() * IN_FLIGHT, "{repeats} repeats after {} kills", self.kills());
        (self.server.calls().len(), repeats)
    }

    /// Checks that each text of a person that is on the phone no more can be found.
    async fn check_history(&self) {
        let ledger = wawp_contacts::ledger::SqliteLedger::open(self.desk.path("sync_job.ledger")).await.unwrap();
        for Edit { n, text, .. } in &self.edits {
            let ledger: &dyn wawp_contacts::ledger::Ledger = &ledger;
            let texts = ledger.history(self.server.instance(), &chat(*n)).await.unwrap();
            assert!(texts.iter().any(|kept| *kept.text == **text), "{text:?} of {} is lost: {texts:?}", chat(*n));
        }
    }

    fn tell(&self) {
        let (calls, repeats) = self.check_calls();
        let unanswered = self
            .rows
            .keys()
            .flat_map(|n| self.server.calls_for(&chat(*n)).into_iter().filter(|call| self.is_unanswered(*n, call)));
        println!(
            "{} kills, {} lives, {} people, {} gone, {} edits, {calls} calls, {} of them never answered, {repeats} made twice, {} reads, {} parked as deadly",
            self.kills(),
            self.lives.len(),
            self.rows.len(),
            self.gone.len(),
            self.edits.len(),
            unanswered.count(),
            self.server.reads(),
            self.parked,
        );
    }
}

/// Kills the job so often while a CRM and people change names, in rounds that each end in peace.
async fn besiege(kills: u64, salt: u64) {
    const ROUNDS: u64 = 3;
    let mut siege = Siege::of(60, salt).await;
    for round in 1..=ROUNDS {
        let settled = siege.settled();
        for _ in 0..2 {
            let n = settled[siege.rng.usize(..settled.len())];
            if let Some(row) = siege.rows.remove(&n) {
                siege.gone.insert(n, row.wanted.last().unwrap().clone());
            }
        }
        let mut is_edited = BTreeSet::new();
        while (siege.kills() as u64) < kills * round / ROUNDS {
            // A name that is open would have to wait; another test waits.
            let mut settled = siege.settled();
            siege.rng.shuffle(&mut settled);
            for n in settled.iter().copied().take(2) {
                if siege.rng.bool() { siege.rename(n) } else { siege.promote(n) }
            }
            if settled.len() < 20 || siege.rng.u8(0..8) == 0 {
                siege.add();
            }
            let anybody = siege.rng.usize(..siege.next);
            if siege.rows.contains_key(&anybody) && is_edited.insert(anybody) {
                siege.edit(anybody);
            }
            let command = if siege.rng.u8(0..8) == 0 { "refresh" } else { "run" };
            siege.kill(command).await;
        }
        siege.settle().await;
    }
    siege.tell();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_often_the_job_is_killed_every_name_is_right_and_no_text_of_a_person_is_lost() {
    let kills = number("KILLS", 200) * 2 / 5;
    tokio::join!(besiege(kills, 1), besiege(kills, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_is_sent_after_a_kill_while_one_of_an_older_name_may_still_land() {
    let kills = number("KILLS", 200) / 5;
    let mut siege = Siege::of(60, 2).await;
    while (siege.kills() as u64) < kills {
        // Also of those that are open: the newest name waits, and is not forgotten.
        for _ in 0..3 {
            let n = siege.rng.usize(..15) * 4;
            siege.rename(n);
        }
        // What was in doubt is read, or sent again unseen.
        siege.flags = if siege.rng.bool() { "" } else { "--look-first never --verify never" };
        siege.kill("run").await;
    }
    siege.flags = "--look-first never --verify never";
    siege.settle().await;
    siege.tell();
}
