//! The figures of the client and the sync: speed as ratios within one run, CPU per item, and peak memory.
//!
//! `cargo bench --bench sync` runs all; `cargo bench --bench sync -- push` (or `pace`, `unchanged`, `first`) runs one. Every measurement is a
//! process of its own, and so is the server, so that CPU and memory are the client's alone. To profile one, `--child prepare FOLDER ROWS
//! NAMES` writes a folder with a ledger and an export in each order; copy one to `crm.csv` for `--child unchanged FOLDER ORDER`.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "sync/ledger.rs"]
mod ledger;
#[path = "sync/measure.rs"]
mod measure;
#[path = "sync/names.rs"]
mod names;
#[path = "sync/pace.rs"]
mod pace;
#[path = "sync/push.rs"]
mod push;
#[path = "sync/server.rs"]
mod server;

use std::env;

pub(crate) type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), AnyError> {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--serve", options @ ..] => server::serve(options),
        ["--child", "push", options @ ..] => push::child(options),
        ["--child", "unchanged", options @ ..] => ledger::unchanged(options),
        ["--child", "floor", options @ ..] => ledger::floor(options),
        ["--child", "first", options @ ..] => ledger::first(options),
        ["--child", "prepare", options @ ..] => ledger::prepared(options),
        ["--child", "pace", options @ ..] => pace::child(options),
        ["push"] => push::all(),
        ["unchanged"] => ledger::all_unchanged(),
        ["first"] => ledger::all_first(),
        ["pace"] => pace::all(),
        [] => push::all()
            .and_then(|()| ledger::all_unchanged())
            .and_then(|()| ledger::all_first())
            .and_then(|()| pace::all()),
        other => Err(format!("unknown bench {other:?}; there are push, unchanged, first and pace").into()),
    }
}
