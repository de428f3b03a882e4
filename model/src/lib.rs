//! Checks the push protocol of `wawp-contacts` over every interleaving that its bounds allow.
//!
//! The states are the crate's own [`Record`](wawp_contacts::record::Record)s and every step calls its own
//! [`decide`](wawp_contacts::record::decide): nothing of the policy is written down twice. What the model adds is the world around
//! it: a ledger with compare-and-set and leases, workers that stop at any point, and a server that answers, or not, or late.
//!
//! # The steps of a push
//!
//! A worker takes these steps, in this order. Between any two of them time passes, a wish arrives, another worker acts, or the worker
//! dies.
//!
//! 1. **Acquire** the instance's lease, only when the last one has expired, was released, or its holder is known to be dead. The ledger
//!    gives out a fence number one higher than ever before.
//! 2. **Load** a record that is due, while the lease still covers a whole request.
//! 3. **Mark**: `decide` with `Begin`, and store what it says over the revision that was loaded and under the fence. If another writer was
//!    faster, load again; if the fence is old, forget everything and go to step 1. Only a mark that is stored may be called for.
//! 4. **Check**, right before the call and without waiting in between: now plus the longest time that a request can take effect is at
//!    most [`until`](wawp_contacts::record::InDoubt::until) of *the mark that this worker stored*, and at most the end of its lease. If
//!    not, take the mark back (`Cancel`, stored as in step 3) and go to step 2.
//! 5. **Call** with the name in the mark, not with the newest wish.
//! 6. **Settle**: `decide` with `Acknowledged` or `Failed`, and store as in step 3. If another writer was faster, load the record again
//!    and decide the *same answer* again; it is never dropped. If the fence is old, the answer is dropped: the new owner has the
//!    mark. An answer of unknown outcome is `Failed` with its doubt, never without.
//! 7. **Release** the lease when it no longer covers a request, and acquire another if there is more to do.
//!
//! The CRM lane loads, decides with `Claimed`, and stores over the revision that it loaded; it has no lease. A new owner of the lease does
//! nothing special: what the old one left is in the marks, and `decide` waits for it.
//!
//! # What is assumed
//!
//! - A request takes effect within its deadline, counted from step 4, or never. The time between the check and the first byte on the
//!   wire belongs to it.
//! - Clocks do not run ahead of each other by more than the margin between a request's deadline and [`Policy::deadline`].
//!   A clock that is set back is covered by the tests of `decide`.
//! - The ledger is linearizable and durable: a write that returned is not forgotten.
//!
//! [`Policy::deadline`]: wawp_contacts::record::Policy::deadline
//!
//! # How it is kept small
//!
//! Time is relative: *now* is always the same moment, a [tick](Action::Tick) brings every other moment closer by one, and what has
//! passed stays where it is. So a world at rest is one state, whenever it came to rest, and no bound on time is needed. Revisions and
//! fences are kept as what is asked of them: whether a copy is current, and whether a fence is the newest. Workers are interchangeable.
//!
//! With two workers, one contact, three wishes, two crashes, a late request, a lost answer and a refusal there are 1,686,221 states and
//! 7,624,598 steps between them. All tests together take about 80 s of processor time; they use every processor that there is.
//!
//! That a step is needed is shown by leaving it out: each [`Mutation`] is found by the checker, and its test says by which promises.
//!
//! # What is not in it
//!
//! Observers (what a phone reports), several contacts, pace and gates. They do not write marks; the simulator of the crate covers them.

mod checker;
mod mutation;
mod promises;
mod protocol;
mod world;

pub use mutation::Mutation;
pub use promises::Promise;
pub use protocol::{Action, Bounds, Protocol};
pub use world::{Answer, Loaded, NOW, Phase, Request, Worker, World};
