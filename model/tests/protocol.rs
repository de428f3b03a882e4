//! The protocol holds its promises, and the checker finds every breakage.
#![expect(clippy::print_stdout, reason = "the number of states is part of the result")]

use std::{collections::HashMap, num::NonZeroUsize, thread::available_parallelism, time::Instant};

use stateright::{Checker, HasDiscoveries, Model};
use wawp_contacts_model::{Bounds, Mutation, Promise, Protocol, World};

/// Two workers, one contact, three wishes, two crashes, one late request, one lost answer, one refusal.
fn bounds(wishes: [u8; 3]) -> Bounds {
    Bounds { wishes: wishes.into(), crashes: 2, late: 1, losses: 1, refusals: 1 }
}

fn threads() -> usize {
    available_parallelism().map_or(1, NonZeroUsize::get)
}

fn holds(model: Protocol) {
    let began = Instant::now();
    let checker = model.checker().threads(threads()).spawn_bfs().join();
    println!(
        "{:?}: {} states by {} steps, {} deep, {:.1} s",
        checker.model().bounds,
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64()
    );
    checker.assert_properties();
}

#[test]
fn every_promise_holds() {
    holds(Protocol::new(bounds([1, 2, 3])));
}

#[test]
fn every_promise_holds_for_a_name_that_comes_back() {
    holds(Protocol::new(Bounds { crashes: 1, ..bounds([1, 2, 1]) }));
}

#[test]
fn what_is_left_out_of_stale_copies_makes_no_difference() {
    let bounds = Bounds { wishes: vec![1, 2], crashes: 1, late: 1, losses: 1, refusals: 0 };
    holds(Protocol { keeps_stale_copies: true, ..Protocol::new(bounds) });
}

/// Time and crashes may be as unkind as the bounds allow: from every state there is still a way to rest, where P1 is checked.
#[test]
fn no_state_is_a_trap() {
    let model = Protocol::new(Bounds { wishes: vec![1, 2], crashes: 1, late: 1, losses: 1, refusals: 1 });
    let mut states = model.init_states();
    let mut numbers: HashMap<World, usize> = states.iter().cloned().zip(0..).collect();
    let mut before: Vec<Vec<usize>> = vec![Vec::new()];
    let mut ways: Vec<usize> = Vec::new();
    let mut at = 0;
    while let Some(state) = states.get(at).cloned() {
        let steps = model.next_steps(&state);
        if steps.is_empty() {
            ways.push(at);
        }
        for (_, next) in steps {
            let number = *numbers.entry(next).or_insert_with_key(|next| {
                states.push(next.clone());
                before.push(Vec::new());
                states.len() - 1
            });
            before[number].push(at);
        }
        at += 1;
    }
    let mut can_rest = vec![false; states.len()];
    while let Some(at) = ways.pop() {
        if !std::mem::replace(&mut can_rest[at], true) {
            ways.extend(&before[at]);
        }
    }
    println!("{} states", states.len());
    assert_eq!(can_rest.iter().position(|can| !can).map(|at| &states[at]), None);
}

/// The checker finds a breakage by each of the promises that it breaks.
fn breaks<const N: usize>(mutation: Mutation, promises: [Promise; N], wishes: [u8; 3], crashes: u8) {
    let expected = promises.map(Promise::name);
    let enough = HasDiscoveries::AllOf(expected.into());
    let model = Protocol::broken(Bounds { crashes, ..bounds(wishes) }, mutation);
    let checker = model.checker().threads(threads()).finish_when(enough).spawn_bfs().join();
    let found = checker.discoveries();
    println!("{mutation:?}: {} states", checker.unique_state_count());
    for promise in expected {
        assert!(found.contains_key(promise), "{mutation:?} is not found by {promise}");
    }
}

macro_rules! breakages {
    ($($test:ident: $mutation:ident breaks [$($promise:ident),+] for $wishes:expr, $crashes:expr;)*) => {$(
        #[test]
        fn $test() {
            breaks(Mutation::$mutation, [$(Promise::$promise),+], $wishes, $crashes);
        }
    )*};
}

breakages! {
    a_mark_stored_after_the_call: MarkAfterCall breaks [WrittenDownFirst, OneNameAtATime, NeverBackwards] for [1, 2, 3], 0;
    another_name_at_once: NoWaitForOlderRequests breaks [OneNameAtATime, NeverBackwards] for [1, 2, 3], 0;
    a_call_after_the_end_of_its_mark: NoMarkCheckBeforeCall breaks [OneNameAtATime, NeverBackwards] for [1, 2, 3], 0;
    a_call_after_the_end_of_its_lease: NoLeaseCheckBeforeCall breaks [OnePusher] for [1, 2, 3], 0;
    a_mark_without_its_revision: NoRevisionOnMark breaks [NothingLost] for [1, 2, 3], 0;
    an_answer_without_its_revision: NoRevisionOnSettle breaks [NothingLost] for [1, 2, 3], 0;
    a_wish_without_its_revision: NoRevisionOnWish breaks [OneNameAtATime, NeverBackwards] for [1, 2, 3], 0;
    an_answer_without_its_fence: NoFenceOnSettle breaks [FencesHold, HonestLedger] for [1, 2, 3], 0;
    a_late_request_forgotten: LateForgotten breaks [OneNameAtATime, NeverBackwards] for [1, 2, 3], 0;
    a_doubt_cleared_by_a_timeout: DoubtClearedOnTimeout breaks [OneNameAtATime, NeverBackwards] for [1, 2, 3], 0;
    a_lease_given_out_twice: LeaseBeforeExpiry breaks [OnePusher] for [1, 2, 3], 0;
    an_owner_that_forgets_the_marks: TakeoverForgetsMarks breaks [OneNameAtATime, NeverBackwards] for [1, 2, 3], 1;
    an_owner_that_believes_the_marks: TakeoverBelievesMarks breaks [HonestLedger, NothingLost] for [1, 2, 3], 1;
    an_acknowledgement_of_the_wish: SettledWithTheWish breaks [HonestLedger, NothingLost] for [1, 2, 3], 0;
    an_answer_dropped_for_a_newer_revision: LostSettleDropped breaks [NoNeedlessCall] for [1, 1, 2], 0;
    a_wish_that_clears_the_mark: WishClearsMark breaks [OneNameAtATime, NeverBackwards] for [1, 2, 3], 0;
    an_unanswered_request_forgotten: UnansweredForgotten breaks [NothingLost] for [1, 2, 1], 0;
    a_call_with_a_name_that_is_not_marked: CallWithTheWish breaks [WrittenDownFirst, NeverBackwards] for [1, 2, 3], 0;
}
