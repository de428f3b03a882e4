//! Faults that were found once, each held by a test.

mod answers;
mod crashes;
mod identity;
mod lanes;
mod looks;
mod names;
mod pushers;
mod rows;
mod told;
mod turns;
mod waits;
