//! The protocol as the checker walks it.

use std::{sync::Arc, time::Duration};

use stateright::{Model, Property};
use wawp_contacts::record::Record;

use crate::{
    promises,
    protocol::{Action, Protocol, loaded},
    world::{Answer, NOW, Phase, Request, Worker, World},
};

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let record = "12025550142@c.us".parse().map(|chat| Arc::new(Record::new(chat)));
        let world = |record| World {
            record,
            leased_until: NOW,
            workers: [Worker::NEW, Worker::NEW],
            crm: None,
            wished: 0,
            requests: Vec::new(),
            shown: 0,
            newest: 0,
            went_back: false,
            wrote_fenced: false,
            lied: false,
            allowance: 0,
            crashes: self.bounds.crashes,
            late: self.bounds.late,
            losses: self.bounds.losses,
            refusals: self.bounds.refusals,
        };
        record.map(world).into_iter().collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        // Whoever waits for an answer gets one in time, unless it is one of those that may be lost.
        let is_lost =
            |request: &&Request| request.ends <= NOW.after(Duration::from_millis(1)) && request.worker.is_some();
        if world.requests.iter().filter(is_lost).count() <= usize::from(world.losses) {
            actions.push(Action::Tick);
        }
        if world.crm.is_some() {
            actions.push(Action::Wish);
        } else if usize::from(world.wished) < self.bounds.wishes.len() {
            actions.push(Action::LoadForWish);
        }
        for at in 0..world.workers.len() {
            self.actions_of(world, at, actions);
        }
        for (at, request) in world.requests.iter().enumerate() {
            let is_waited_for =
                request.worker.is_some_and(|worker| matches!(world.workers[worker].phase, Phase::Waiting(_)));
            if !request.is_done && (request.worker.is_some() || world.late > 0) {
                actions.push(Action::CarryOut(at));
            }
            if request.is_done && is_waited_for {
                actions.push(Action::Acknowledge(at));
            }
            if is_waited_for && world.losses > 0 {
                actions.push(Action::Lose(at));
            }
            if !request.is_done && is_waited_for && world.refusals > 0 {
                actions.push(Action::Refuse(at));
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        match action {
            Action::Tick => {
                next = next.ticked()?;
                next.end_requests();
            }
            Action::LoadForWish => next.crm = Some(loaded(&next.record)),
            Action::Wish => self.store_wish(&mut next),
            Action::Acquire(at) => self.acquire(&mut next, at),
            Action::Release(at) => next.release(at),
            Action::Load(at) => next.workers[at].phase = Phase::Loaded(loaded(&next.record)),
            Action::Mark(at) => self.mark(&mut next, at),
            Action::Call(at) => self.call(&mut next, at),
            Action::Withdraw(at) => self.withdraw(&mut next, at),
            Action::Settle(at) => self.settle(&mut next, at),
            Action::Crash(at, is_noticed) => next.crash(at, is_noticed),
            Action::CarryOut(at) => next.carry_out(at),
            Action::Acknowledge(at) => {
                let name = next.requests[at].name;
                next.answer(at, Answer::Done(name));
            }
            Action::Lose(at) => next.answer(at, Answer::Unknown),
            Action::Refuse(at) => next.answer(at, Answer::Refused),
        }
        if !self.keeps_stale_copies {
            next.forget_stale_copies();
        }
        Some(next.in_order())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::properties()
    }
}
