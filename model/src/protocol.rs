use std::{mem, sync::Arc, time::Duration};

use wawp_contacts::{
    ContactName, Error, ErrorKind, RetryPolicy,
    record::{Blame, Event, Failure, Policy, Record, Status, Wish, decide},
    time::Timestamp,
};

use crate::{
    mutation::Mutation,
    world::{Answer, Loaded, NOW, Phase, Request, Worker, World},
};

/// How long a request can take effect, in ticks.
const REQUEST: Duration = Duration::from_millis(1);
/// How long a mark lasts: a request, and a tick between the mark and the call.
const DEADLINE: Duration = Duration::from_millis(2);
/// How long a lease lasts.
const LEASE: Duration = Duration::from_millis(3);

/// How much may happen.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The names that the CRM wants, one after the other: numbers from 1 to 7.
    pub wishes: Vec<u8>,
    /// How many times a worker dies.
    pub crashes: u8,
    /// How many requests take effect after their worker gave up or died.
    pub late: u8,
    /// How many requests or answers are lost while their worker waits.
    pub losses: u8,
    /// How many requests are refused for a while.
    pub refusals: u8,
}

/// The push protocol, within bounds.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// How much may happen.
    pub bounds: Bounds,
    /// What is broken in it.
    pub mutation: Option<Mutation>,
    /// Whether copies of an older revision are kept as they were, although it makes no difference unless something is broken.
    pub keeps_stale_copies: bool,
    /// The numbers that `decide` is given.
    pub policy: Policy,
}

/// One step of somebody. Workers are numbered as they stand in the state before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Time passes.
    Tick,
    /// The CRM lane loads the record, to store the next wish.
    LoadForWish,
    /// The CRM lane stores the wish, or loads again.
    Wish,
    /// A worker takes the lease.
    Acquire(usize),
    /// A worker gives its lease back: it is too short for another call.
    Release(usize),
    /// A worker loads the record.
    Load(usize),
    /// A worker stores its mark.
    Mark(usize),
    /// A worker calls.
    Call(usize),
    /// A worker takes its mark back: there is no time left for the call.
    Withdraw(usize),
    /// A worker stores the answer.
    Settle(usize),
    /// A worker dies. Whether somebody notices at once, so that its lease is free.
    Crash(usize, bool),
    /// The server carries a request out.
    CarryOut(usize),
    /// The server's acknowledgement arrives.
    Acknowledge(usize),
    /// The worker gives up on a request, which may have been or may still be carried out.
    Lose(usize),
    /// The server refuses a request for a while.
    Refuse(usize),
}

/// Why something was not stored.
enum Unstored {
    Lost,
    Fenced,
}

/// What a write is checked for.
#[derive(Clone, Copy)]
struct Checks {
    fence: bool,
    revision: bool,
}

impl Protocol {
    /// The protocol as it should be.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let mut policy = Policy::default();
        policy.deadline = DEADLINE;
        policy.backoff = RetryPolicy::default().backing_off(Duration::from_millis(1), Duration::from_millis(1));
        Self { bounds, mutation: None, keeps_stale_copies: false, policy }
    }

    /// The protocol with a breakage.
    #[must_use]
    pub fn broken(bounds: Bounds, mutation: Mutation) -> Self {
        Self { mutation: Some(mutation), keeps_stale_copies: true, ..Self::new(bounds) }
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn decide(&self, record: &Record, event: Event) -> Record {
        decide(record, event, &self.policy, NOW).record
    }

    /// Whether a worker would load the record now.
    fn is_due(&self, record: &Record) -> bool {
        let is_due = |at: Timestamp| at <= NOW || self.is(Mutation::NoWaitForOlderRequests);
        record.status.due_at().is_some_and(is_due)
    }

    /// Whether the mark and the lease cover a request that is made now.
    fn is_covered(&self, worker: &Worker, mark: &Record) -> bool {
        let end = NOW.after(REQUEST);
        let marked_until = mark.pushed.in_doubt.as_ref().map(|doubt| doubt.until);
        (marked_until >= Some(end) || self.is(Mutation::NoMarkCheckBeforeCall))
            && (worker.leased_until >= end || self.is(Mutation::NoLeaseCheckBeforeCall))
    }

    pub(crate) fn store_wish(&self, world: &mut World) {
        let Some(Loaded { record, is_current }) = world.crm.take() else { return };
        if !is_current && !self.is(Mutation::NoRevisionOnWish) {
            world.crm = Some(loaded(&world.record));
            return;
        }
        let Some(name) = self.bounds.wishes.get(usize::from(world.wished)).copied() else { return };
        let Event::Claimed { mut claim, urgent } = Event::claimed("7", wish(name)) else { return };
        claim.version = Some(u64::from(world.wished) + 1);
        let mut next = self.decide(&record, Event::Claimed { claim, urgent });
        if self.is(Mutation::WishClearsMark) {
            forget_marks(&mut next);
        }
        let is_new = record.wanted().is_none_or(|before| number(before) != name);
        world.wished += 1;
        world.allowance += i8::from(is_new);
        world.overwrite(next, None);
    }

    pub(crate) fn acquire(&self, world: &mut World, at: usize) {
        for other in &mut world.workers {
            // The new owner repeats what the old one does not settle any more.
            let is_open = matches!(other.phase, Phase::Waiting(_) | Phase::Answered(..));
            world.allowance += i8::from(is_open && other.fence == Some(true));
            other.fence = other.fence.map(|_| false);
        }
        let leased_until = NOW.after(LEASE);
        world.leased_until = leased_until;
        world.workers[at] = Worker { phase: Phase::Leading, fence: Some(true), leased_until };
        if self.is(Mutation::TakeoverForgetsMarks) {
            let mut next = Record::clone(&world.record);
            forget_marks(&mut next);
            world.overwrite(next, None);
        }
        if self.is(Mutation::TakeoverBelievesMarks) {
            world.overwrite(self.decide(&world.record, Event::Acknowledged), None);
        }
    }

    pub(crate) fn mark(&self, world: &mut World, at: usize) {
        let Phase::Loaded(Loaded { record, is_current }) = mem::replace(&mut world.workers[at].phase, Phase::Leading)
        else {
            return;
        };
        let mut record = Record::clone(&record);
        if self.is(Mutation::NoWaitForOlderRequests) {
            forget_marks(&mut record);
        }
        let decision = decide(&record, Event::Begin { run: 1 }, &self.policy, NOW);
        if !decision.calls() {
            return;
        }
        if self.is(Mutation::MarkAfterCall) {
            let record = Arc::new(decision.record);
            world.requests.push(self.request(&record, at));
            world.allowance = (world.allowance - 1).max(-1);
            world.workers[at].phase = Phase::Marked(Loaded { record, is_current });
            return;
        }
        let checks = Checks { fence: true, revision: !self.is(Mutation::NoRevisionOnMark) };
        if let Some(stored) = world.store(at, is_current, decision.record, checks, None).ok_or_reset(world, at) {
            world.workers[at].phase = Phase::Marked(stored);
        }
    }

    pub(crate) fn call(&self, world: &mut World, at: usize) {
        let Phase::Marked(marked) = mem::replace(&mut world.workers[at].phase, Phase::Leading) else { return };
        if self.is(Mutation::MarkAfterCall) {
            let checks = Checks { fence: true, revision: true };
            let stored = world.store(at, marked.is_current, Record::clone(&marked.record), checks, None);
            if let Some(stored) = stored.ok_or_reset(world, at) {
                world.workers[at].phase = Phase::Waiting(stored);
            } else {
                world.abandon(at);
            }
            return;
        }
        let mut request = self.request(&marked.record, at);
        if let (true, Some(wanted)) = (self.is(Mutation::CallWithTheWish), world.record.wanted()) {
            (request.name, request.wish) = (number(wanted), world.wished);
        }
        world.requests.push(request);
        world.allowance = (world.allowance - 1).max(-1);
        world.workers[at].phase = Phase::Waiting(marked);
    }

    fn request(&self, marked: &Record, at: usize) -> Request {
        let name = marked.pushed.in_doubt.as_ref().map_or(0, |doubt| number(&doubt.wish));
        // The newest of the wishes for this name that the worker knows of.
        let wishes = self.bounds.wishes.iter().zip(1..);
        let known =
            wishes.filter(|(_, wish)| marked.sole_claim().is_some_and(|claim| claim.version >= Some(u64::from(*wish))));
        let wish = known.filter(|(other, _)| **other == name).map(|(_, wish)| wish).last().unwrap_or(0);
        Request { ends: NOW.after(REQUEST), name, wish, is_done: false, worker: Some(at) }
    }

    pub(crate) fn withdraw(&self, world: &mut World, at: usize) {
        let Phase::Marked(Loaded { record, is_current }) = mem::replace(&mut world.workers[at].phase, Phase::Leading)
        else {
            return;
        };
        let next = self.nothing_done(&record, Event::Cancel);
        match world.store(at, is_current, next, Checks { fence: true, revision: true }, None) {
            Err(Unstored::Lost) => world.workers[at].phase = Phase::Marked(loaded(&world.record)),
            stored => drop(stored.ok_or_reset(world, at)),
        }
    }

    pub(crate) fn settle(&self, world: &mut World, at: usize) {
        let Phase::Answered(Loaded { record, is_current }, answer) =
            mem::replace(&mut world.workers[at].phase, Phase::Leading)
        else {
            return;
        };
        let next = self.settled(&record, answer);
        let checks =
            Checks { fence: !self.is(Mutation::NoFenceOnSettle), revision: !self.is(Mutation::NoRevisionOnSettle) };
        let is_in_sync = next.status == Status::InSync;
        match world.store(at, is_current, next, checks, Some(answer)) {
            Err(Unstored::Lost) if !self.is(Mutation::LostSettleDropped) => {
                world.workers[at].phase = Phase::Answered(loaded(&world.record), answer);
            }
            Ok(_) => {
                world.allowance += i8::from(!matches!(answer, Answer::Done(_)));
                if is_in_sync {
                    world.allowance = world.allowance.min(0);
                }
            }
            stored => drop(stored.ok_or_reset(world, at)),
        }
    }

    fn settled(&self, record: &Record, answer: Answer) -> Record {
        let error = match answer {
            Answer::Done(_) => {
                let mut next = self.decide(record, Event::Acknowledged);
                if self.is(Mutation::LateForgotten) {
                    next.pushed.late_until = None;
                    due_now(&mut next);
                }
                if let (true, Some(sent), Some(wish)) =
                    (self.is(Mutation::SettledWithTheWish), &mut next.pushed.sent, record.wanted())
                {
                    sent.wish = wish.clone();
                    next.status = Status::InSync;
                }
                return next;
            }
            Answer::Refused => {
                return self.nothing_done(record, failed(&Error::new(ErrorKind::RateLimited), Blame::Contact));
            }
            Answer::Unknown => Error::new(ErrorKind::Timeout),
        };
        let error = if self.is(Mutation::DoubtClearedOnTimeout) { error.without_doubt() } else { error };
        self.decide(record, failed(&error, Blame::Instance))
    }

    /// Takes a mark back whose request is known to have done nothing.
    fn nothing_done(&self, record: &Record, event: Event) -> Record {
        let mut record = record.clone();
        if let (true, Some(doubt)) = (self.is(Mutation::UnansweredForgotten), &mut record.pushed.in_doubt) {
            doubt.earlier_until = doubt.earlier_until.filter(|until| *until > NOW);
        }
        self.decide(&record, event)
    }

    pub(crate) fn actions_of(&self, world: &World, at: usize, actions: &mut Vec<Action>) {
        let worker = &world.workers[at];
        let is_long_enough = worker.leased_until >= NOW.after(REQUEST);
        match &worker.phase {
            Phase::Idle => {
                let is_free = world.leased_until <= NOW || self.is(Mutation::LeaseBeforeExpiry);
                if is_free && self.is_due(&world.record) {
                    actions.push(Action::Acquire(at));
                }
            }
            Phase::Leading if !is_long_enough => actions.push(Action::Release(at)),
            Phase::Leading if self.is_due(&world.record) => actions.push(Action::Load(at)),
            Phase::Leading | Phase::Waiting(_) => {}
            Phase::Loaded(_) => actions.push(Action::Mark(at)),
            Phase::Marked(_) if self.is(Mutation::MarkAfterCall) => actions.push(Action::Call(at)),
            Phase::Marked(marked) if self.is_covered(worker, &marked.record) => actions.push(Action::Call(at)),
            Phase::Marked(_) => actions.push(Action::Withdraw(at)),
            Phase::Answered(..) => actions.push(Action::Settle(at)),
        }
        if worker.phase != Phase::Idle && world.crashes > 0 {
            actions.push(Action::Crash(at, false));
            if worker.fence == Some(true) && world.leased_until > NOW {
                actions.push(Action::Crash(at, true));
            }
        }
    }
}

/// What becomes of a worker whose write was not stored.
trait OrReset {
    fn ok_or_reset(self, world: &mut World, at: usize) -> Option<Loaded>;
}

impl OrReset for Result<Loaded, Unstored> {
    fn ok_or_reset(self, world: &mut World, at: usize) -> Option<Loaded> {
        match self {
            Ok(stored) => Some(stored),
            Err(Unstored::Lost) => None,
            Err(Unstored::Fenced) => {
                world.workers[at] = Worker::NEW;
                None
            }
        }
    }
}

impl World {
    /// Stores a record as the ledger does for a pusher.
    fn store(
        &mut self,
        at: usize,
        is_current: bool,
        next: Record,
        checks: Checks,
        answer: Option<Answer>,
    ) -> Result<Loaded, Unstored> {
        let is_newest = self.workers[at].fence == Some(true);
        if checks.fence && !is_newest {
            return Err(Unstored::Fenced);
        }
        if checks.revision && !is_current {
            return Err(Unstored::Lost);
        }
        self.wrote_fenced |= !is_newest;
        self.overwrite(next, answer);
        Ok(loaded(&self.record))
    }

    /// Every copy of the record is of an older revision from now on.
    fn overwrite(&mut self, next: Record, answer: Option<Answer>) {
        let sent = |record: &Record| record.pushed.sent.as_ref().map(|sent| number(&sent.wish));
        let is_honest = answer.is_some_and(|answer| Some(answer) == sent(&next).map(Answer::Done));
        self.lied |= sent(&self.record) != sent(&next) && !is_honest;
        self.record = Arc::new(next);
        for loaded in self.workers.iter_mut().filter_map(|worker| worker.phase.loaded_mut()).chain(&mut self.crm) {
            loaded.is_current = false;
        }
    }

    pub(crate) fn release(&mut self, at: usize) {
        if self.workers[at].fence == Some(true) {
            self.leased_until = NOW;
        }
        self.workers[at] = Worker::NEW;
    }

    pub(crate) fn crash(&mut self, at: usize, is_noticed: bool) {
        self.crashes -= 1;
        let worker = mem::replace(&mut self.workers[at], Worker::NEW);
        let is_owner = worker.fence == Some(true);
        let is_open = matches!(worker.phase, Phase::Waiting(_) | Phase::Answered(..));
        self.allowance += i8::from(is_owner && is_open);
        if is_noticed {
            self.leased_until = NOW;
        }
        self.abandon(at);
    }

    /// Nobody waits any more for the answers that a worker waited for.
    fn abandon(&mut self, at: usize) {
        self.requests.retain(|request| !(request.is_done && request.worker == Some(at)));
        for request in &mut self.requests {
            request.worker = request.worker.filter(|worker| *worker != at);
        }
    }

    /// Requests whose time is over cannot take effect any more, and whoever waits for one gives up.
    pub(crate) fn end_requests(&mut self) {
        while let Some(at) = self.requests.iter().position(|request| request.ends <= NOW) {
            if self.requests[at].worker.is_some() {
                self.answer(at, Answer::Unknown);
            }
            self.requests.retain(|request| request.ends > NOW || request.worker.is_some());
        }
    }

    pub(crate) fn carry_out(&mut self, at: usize) {
        let Request { name, wish, worker, .. } = self.requests[at];
        self.went_back |= wish < self.newest && name != self.shown;
        self.shown = name;
        self.newest = self.newest.max(wish);
        if worker.is_some() {
            self.requests[at].is_done = true;
        } else {
            self.late -= 1;
            self.requests.remove(at);
        }
    }

    pub(crate) fn answer(&mut self, at: usize, answer: Answer) {
        let request = &mut self.requests[at];
        let Some(worker) = request.worker.take() else { return };
        match answer {
            Answer::Done(_) => {}
            Answer::Refused => self.refusals -= 1,
            Answer::Unknown => self.losses -= 1,
        }
        // What was not carried out may still be, if nobody knows better.
        if request.is_done || answer != Answer::Unknown {
            self.requests.remove(at);
        }
        let phase = &mut self.workers[worker].phase;
        if let Phase::Waiting(waiting) = mem::replace(phase, Phase::Leading) {
            *phase = Phase::Answered(waiting, answer);
        }
    }
}

pub(crate) fn loaded(record: &Arc<Record>) -> Loaded {
    Loaded { record: Arc::clone(record), is_current: true }
}

fn failed(error: &Error, blame: Blame) -> Event {
    Event::Failed(Failure::new(error, blame, 1.0))
}

fn forget_marks(record: &mut Record) {
    record.pushed.in_doubt = None;
    record.pushed.late_until = None;
    due_now(record);
}

fn due_now(record: &mut Record) {
    if let Status::Due { at } = &mut record.status {
        *at = NOW;
    }
}

/// The wish with the name of a number.
fn wish(number: u8) -> Wish {
    let name = ContactName::new(&number.to_string(), "");
    Wish::plain(name.unwrap_or_else(|error| unreachable!("a digit is a name: {error}")))
}

/// The number of a wish's name.
pub(crate) fn number(wish: &Wish) -> u8 {
    wish.name.first().parse().unwrap_or(0)
}
