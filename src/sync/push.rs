//! The pusher: rows that are due become calls, and their answers become rows.
//!
//! Each contact goes through four hands. It is **marked** in doubt, which is made durable; it **flies**, once it has a slot and a
//! turn; it **lands** with an answer; and the answer is made durable, which is when it is **done**. One save is under way at a
//! time and takes everything that waits for one, so a slow disk makes larger batches, not longer queues.

use std::{
    collections::{HashSet, VecDeque},
    future::{Future, pending},
    mem,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

use super::{
    SyncError,
    decide::{Action, Before, Event, Failure, decide},
    gate::Passage,
    report::{Change, Outcome, Progress},
    run::{Run, stopped},
};
use crate::{
    ChatId, Class, Error,
    client::Turn,
    ledger::{LedgerError, Overwritten, Row, Timestamp},
};

/// How many due rows are loaded at once.
const PAGE: usize = 512;

/// A contact between its mark and its answer.
struct Flight {
    row: Row,
    /// What was in doubt before the mark.
    before: Before,
}

/// What one save writes down.
#[derive(Default)]
struct Batch {
    marked: Vec<Flight>,
    settled: Vec<Settled>,
}

/// A contact whose answer is known, or that did not fly.
struct Settled {
    row: Row,
    overwritten: Option<Overwritten>,
    change: Option<Change>,
}

type Saving = Pin<Box<dyn Future<Output = Result<Batch, LedgerError>> + Send>>;

/// The push loop of one run.
pub(super) struct Pusher<'p, 's> {
    run: &'p mut Run<'s>,
    page: VecDeque<Row>,
    /// Contacts between their mark and the save of their answer: never called twice at the same time.
    active: HashSet<ChatId>,
    batch: Batch,
    saving: Option<Saving>,
    ready: VecDeque<Flight>,
    flights: JoinSet<(Flight, Result<(), Error>)>,
    /// When the calls in flight are given up, once the run was told to stop.
    grace_ends: Option<Instant>,
}

impl<'p, 's> Pusher<'p, 's> {
    pub(super) fn new(run: &'p mut Run<'s>) -> Self {
        Self {
            run,
            page: VecDeque::new(),
            active: HashSet::new(),
            batch: Batch::default(),
            saving: None,
            ready: VecDeque::new(),
            flights: JoinSet::new(),
            grace_ends: None,
        }
    }

    /// Pushes until nothing is due, the gate stays closed, or the run is told to stop.
    pub(super) async fn push(mut self) -> Result<(), SyncError> {
        loop {
            self.mark().await?;
            self.withdraw_if_closed();
            self.start_saving();
            self.run.store_closing().await?;
            if self.is_idle() {
                if !self.rest().await? {
                    return Ok(());
                }
                continue;
            }
            let can_fly = self.can_fly();
            tokio::select! {
                Some(landed) = self.flights.join_next() => self.land(landed),
                saved = finished(&mut self.saving) => self.saved(saved?),
                turn = self.run.sync.book.turn(), if can_fly => self.fly(turn),
                () = stopped(&mut self.run.told), if self.grace_ends.is_none() => self.stop(),
                () = given_up(self.grace_ends), if !self.flights.is_empty() => self.flights.shutdown().await,
            }
            self.catch_up();
        }
    }

    /// Takes everything else that is ready by now, so that one save serves it all.
    fn catch_up(&mut self) {
        while let Some(landed) = self.flights.try_join_next() {
            self.land(landed);
        }
        while self.can_fly() {
            let Some(turn) = at_once(self.run.sync.book.turn()) else { return };
            self.fly(turn);
        }
    }

    /// Marks as many due rows as there is room for.
    async fn mark(&mut self) -> Result<(), SyncError> {
        let now = Timestamp::now();
        let room = match self.passage() {
            Passage::Free => self.run.sync.window(),
            Passage::Probe => 1,
            Passage::Wait(_) | Passage::Closed => 0,
        };
        let deadline = self.run.sync.deadline();
        while self.active.len() < room {
            if self.page.is_empty() && !self.load_page(now).await? {
                break;
            }
            let Some(row) = self.page.pop_front() else { break };
            let before = row.pushed.doubt.clone();
            let (row, action) = decide(row, Event::Begun(deadline), now);
            if action == Action::Call && self.active.insert(row.chat.clone()) {
                self.batch.marked.push(Flight { row, before });
            }
        }
        Ok(())
    }

    /// Loads rows that are due, and says whether there were any.
    ///
    /// What is done is due no more, so the first page always holds what is to be done next: also a contact whose time to be tried
    /// again has come.
    async fn load_page(&mut self, now: Timestamp) -> Result<bool, SyncError> {
        let limit = PAGE + self.active.len();
        let rows = self.run.ledger.due(&self.run.lease.instance, now, None, limit).await?;
        self.page.extend(rows.into_iter().filter(|row| !self.active.contains(&row.chat)));
        Ok(!self.page.is_empty())
    }

    fn passage(&self) -> Passage {
        if self.run.is_stopped() { Passage::Closed } else { self.run.gate.passage(Timestamp::now()) }
    }

    /// Takes the marks back of contacts that are not to fly.
    fn withdraw_if_closed(&mut self) {
        if matches!(self.passage(), Passage::Wait(_) | Passage::Closed) {
            let unsaved = mem::take(&mut self.batch.marked);
            for flight in &unsaved {
                self.active.remove(&flight.row.chat);
            }
            let withdrawn = self.ready.drain(..).map(|Flight { row, before }| {
                let (row, _) = decide(row, Event::Withdrawn(before), Timestamp::default());
                Settled { row, overwritten: None, change: None }
            });
            self.batch.settled.extend(withdrawn);
        }
    }

    fn start_saving(&mut self) {
        if self.saving.is_some() || (self.batch.marked.is_empty() && self.batch.settled.is_empty()) {
            return;
        }
        let batch = mem::take(&mut self.batch);
        let (ledger, lease) = (Arc::clone(&self.run.ledger), Arc::clone(&self.run.lease));
        self.saving = Some(Box::pin(async move {
            let marked = batch.marked.iter().map(|flight| &flight.row);
            let rows = marked.chain(batch.settled.iter().map(|settled| &settled.row)).cloned().collect();
            let history = batch.settled.iter().filter_map(|settled| settled.overwritten.clone()).collect();
            ledger.save(&lease, rows, history).await.map(|()| batch)
        }));
    }

    fn saved(&mut self, batch: Batch) {
        self.saving = None;
        for mut flight in batch.marked {
            flight.row.revision += 1;
            self.ready.push_back(flight);
        }
        for Settled { row, change, .. } in batch.settled {
            self.active.remove(&row.chat);
            if let Some(change) = change {
                self.run.recorder.change(change);
            }
        }
    }

    fn can_fly(&self) -> bool {
        let slots = match self.passage() {
            Passage::Free => self.run.sync.in_flight,
            Passage::Probe => 1,
            Passage::Wait(_) | Passage::Closed => 0,
        };
        !self.ready.is_empty() && self.flights.len() < slots
    }

    fn fly(&mut self, turn: Turn) {
        let Some(flight) = self.ready.pop_front() else { return };
        self.run.recorder.summary.calls += 1;
        let book = Arc::clone(&self.run.sync.book);
        self.flights.spawn(async move {
            let answer = book.update(turn, &flight.row.chat, &flight.row.wanted.name).await;
            (flight, answer)
        });
    }

    fn land(&mut self, landed: Result<(Flight, Result<(), Error>), tokio::task::JoinError>) {
        match landed {
            Ok((flight, answer)) => {
                let settled = self.settle(flight, answer);
                self.batch.settled.push(settled);
            }
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Given up on stop: it stays in doubt, as it is in the ledger.
            Err(_) => {}
        }
    }

    fn settle(&mut self, Flight { row, before }: Flight, answer: Result<(), Error>) -> Settled {
        let now = Timestamp::now();
        let done = Change::of(&row, Outcome::Done);
        match answer {
            Ok(()) => {
                self.run.gate.well(now);
                let (row, action) = decide(row, Event::Acknowledged, now);
                let overwritten = if let Action::Record(overwritten) = action { Some(overwritten) } else { None };
                Settled { row, overwritten, change: Some(done) }
            }
            Err(error) => {
                let backoff = self.backoff(&row, &error, now);
                let failure = Failure::new(&error, backoff);
                let (kind, message) = (failure.kind, failure.message.clone());
                let (row, _) = decide(row, Event::Failed(before, failure), now);
                let parked = Change { outcome: Outcome::Parked { kind, message }, ..done };
                let change = (error.class() == Class::Contact).then_some(parked);
                Settled { row, overwritten: None, change }
            }
        }
    }

    /// Tells the gate of a failure, and says how long to leave the contact alone.
    fn backoff(&mut self, row: &Row, error: &Error, now: Timestamp) -> Duration {
        let attempts = row.trouble().map_or(0, |trouble| trouble.attempts);
        let policy = &self.run.sync.backoff;
        let closing = policy.backoff(self.run.gate.streak() + 1, fastrand::f64());
        if let Some(until) = self.run.gate.failed(error, closing, now) {
            self.run.close_until = self.run.close_until.max(Some(until));
        }
        let wait = policy.backoff(attempts + 1, fastrand::f64());
        // Enough tries for this run: leave it due for a later one.
        if policy.allows(attempts + 1) { wait } else { wait.max(2 * self.run.sync.patience) }
    }

    fn is_idle(&self) -> bool {
        self.saving.is_none() && self.flights.is_empty() && self.ready.is_empty()
    }

    /// Waits while nothing is in flight, and says whether there is more to do.
    async fn rest(&mut self) -> Result<bool, SyncError> {
        match self.passage() {
            Passage::Closed => return Ok(false),
            Passage::Wait(until) => self.run.wait_until(until).await,
            Passage::Free | Passage::Probe => {
                let Some(due) = self.run.ledger.next_due(&self.run.lease.instance).await? else { return Ok(false) };
                let now = Timestamp::now();
                if due.since(now) > self.run.sync.patience {
                    return Ok(false);
                }
                self.run.wait_until(due).await;
            }
        }
        self.page.clear();
        Ok(!self.run.is_stopped())
    }

    fn stop(&mut self) {
        self.run.recorder.tell(&Progress::Stopping(self.flights.len()));
        self.grace_ends = Some(Instant::now() + self.run.sync.grace);
    }
}

/// The result of a save under way; never, if none is.
async fn finished(saving: &mut Option<Saving>) -> Result<Batch, LedgerError> {
    match saving {
        Some(saving) => saving.await,
        None => pending().await,
    }
}

async fn given_up(grace_ends: Option<Instant>) {
    match grace_ends {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

/// The output of a future that is ready now.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
