use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use wawp_contacts::{
    record::{Record, Status},
    time::Timestamp,
};

/// The present moment, in every state; what has passed is here as well.
pub const NOW: Timestamp = Timestamp(1_000);

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// The record as the ledger has it.
    pub record: Arc<Record>,
    /// Until when the lease is held, by whoever it was given to last.
    pub leased_until: Timestamp,
    /// The workers.
    pub workers: [Worker; 2],
    /// What the CRM lane has loaded and not stored yet.
    pub crm: Option<Loaded>,
    /// How many wishes are stored.
    pub wished: u8,
    /// The requests that can still take effect, or whose answer is on its way.
    pub requests: Vec<Request>,
    /// The number of the name that the server shows; 0 before the first.
    pub shown: u8,
    /// The newest wish that the server carried out.
    pub newest: u8,
    /// Whether the server went from a newer wish back to an older one.
    pub went_back: bool,
    /// Whether something was stored under an old fence.
    pub wrote_fenced: bool,
    /// Whether a name was written down as sent that was not in the acknowledgement at hand.
    pub lied: bool,
    /// How many more calls are justified: by wishes, failures and unknown outcomes since the contact was last in sync.
    pub allowance: i8,
    /// Crashes that can still happen.
    pub crashes: u8,
    /// Requests without a worker that can still take effect.
    pub late: u8,
    /// Answers that can still be lost.
    pub losses: u8,
    /// Refusals for a while that can still be answered.
    pub refusals: u8,
}

/// A worker, as far as it knows itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Worker {
    /// What it is doing.
    pub phase: Phase,
    /// Whether its fence is the newest; `None` without a lease.
    pub fence: Option<bool>,
    /// Until when it was given the lease.
    pub leased_until: Timestamp,
}

impl Worker {
    /// A worker that has just been started.
    pub const NEW: Self = Self { phase: Phase::Idle, fence: None, leased_until: NOW };
}

/// What a worker is doing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Nothing.
    Idle,
    /// It has the lease.
    Leading,
    /// It has loaded a record that is due.
    Loaded(Loaded),
    /// It has stored a mark.
    Marked(Loaded),
    /// It has called.
    Waiting(Loaded),
    /// It has the answer.
    Answered(Loaded, Answer),
}

impl Phase {
    pub(crate) fn loaded_mut(&mut self) -> Option<&mut Loaded> {
        match self {
            Self::Idle | Self::Leading => None,
            Self::Loaded(loaded) | Self::Marked(loaded) | Self::Waiting(loaded) | Self::Answered(loaded, _) => {
                Some(loaded)
            }
        }
    }
}

/// A record in a worker's memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Loaded {
    /// The record.
    pub record: Arc<Record>,
    /// Whether the ledger has it at the same revision.
    pub is_current: bool,
}

/// What a worker knows of its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The name with this number was set.
    Done(u8),
    /// It was refused for a while, and not carried out.
    Refused,
    /// No answer came.
    Unknown,
}

/// A request on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Request {
    /// From when on it cannot take effect any more.
    pub ends: Timestamp,
    /// The number of the name in it.
    pub name: u8,
    /// The wish that it is for.
    pub wish: u8,
    /// Whether it was carried out, so that only its answer is missing.
    pub is_done: bool,
    /// The worker that waits for its answer.
    pub worker: Option<usize>,
}

impl World {
    /// What follows when the clock ticks, or `None` if nothing waits for the clock.
    pub(crate) fn ticked(&self) -> Option<Self> {
        let mut next = self.clone();
        let mut has_passed = tick(&mut next.leased_until);
        has_passed |= tick_record(&mut next.record);
        for loaded in next.workers.iter_mut().filter_map(|worker| worker.phase.loaded_mut()).chain(&mut next.crm) {
            has_passed |= tick_record(&mut loaded.record);
        }
        for worker in &mut next.workers {
            has_passed |= tick(&mut worker.leased_until);
        }
        for request in &mut next.requests {
            has_passed |= tick(&mut request.ends);
        }
        has_passed.then_some(next)
    }

    /// Forgets what is in copies of an older revision, where it makes no difference: a write from one is lost, whatever is in it. Only
    /// a mark is still used, for as long as its lease lasts.
    pub(crate) fn forget_stale_copies(&mut self) {
        for Worker { phase, fence, .. } in &mut self.workers {
            let is_mark = matches!(phase, Phase::Marked(_)) && *fence == Some(true);
            if let Some(loaded) = phase.loaded_mut().filter(|loaded| !loaded.is_current && !is_mark) {
                loaded.record = Arc::clone(&self.record);
            }
        }
        if let Some(loaded) = &mut self.crm {
            loaded.record = Arc::clone(&self.record);
        }
    }

    /// The same world with its workers in a fixed order.
    pub(crate) fn in_order(mut self) -> Self {
        let [one, other] = [0, 1].map(|at| {
            let requests: Vec<_> = self.requests.iter().filter(|request| request.worker == Some(at)).collect();
            let requests: Vec<_> =
                requests.into_iter().map(|request| (request.ends, request.name, request.is_done)).collect();
            BuildHasherDefault::<DefaultHasher>::default().hash_one((&self.workers[at], requests))
        });
        if one > other {
            self.workers.swap(0, 1);
            for request in &mut self.requests {
                request.worker = request.worker.map(|worker| 1 - worker);
            }
        }
        self.requests.sort_unstable();
        self
    }
}

fn tick(moment: &mut Timestamp) -> bool {
    let is_ahead = *moment > NOW;
    if is_ahead {
        moment.0 -= 1;
    }
    is_ahead
}

fn tick_record(record: &mut Arc<Record>) -> bool {
    let mut next = Record::clone(record);
    let pushed = &mut next.pushed;
    let mut moments: Vec<&mut Timestamp> = Vec::new();
    if let Status::Due { at } = &mut next.status {
        moments.push(at);
    }
    moments.extend(pushed.sent.as_mut().map(|sent| &mut sent.at));
    moments.extend(&mut pushed.late_until);
    if let Some(doubt) = &mut pushed.in_doubt {
        moments.extend([&mut doubt.since, &mut doubt.until]);
        moments.extend(&mut doubt.earlier_until);
    }
    if let Some(failure) = &mut pushed.failure {
        moments.push(&mut failure.at);
        moments.extend(&mut failure.retry_at);
    }
    let has_passed = moments.into_iter().fold(false, |has_passed, moment| tick(moment) | has_passed);
    if has_passed {
        *record = Arc::new(next);
    }
    has_passed
}
