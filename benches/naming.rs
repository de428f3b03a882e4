//! What one row of the CRM costs before any ledger sees it: from CSV to a checked row, and from the row to a rendered name.
//!
//! `cargo bench --bench naming`. Nanoseconds per row for names in ASCII and in twelve scripts: the best of many short rounds, so that a busy
//! machine disturbs few of them.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "sync/names.rs"]
mod names;

use std::{fmt::Write as _, hint::black_box, time::Instant};

use wawp_contacts::{
    crm::{CrmContact, Csv},
    naming::{Funnel, Naming},
};

use crate::names::SCRIPTS;

type AnyError = Box<dyn std::error::Error>;

const ROWS: usize = 2_000;
const ROUNDS: usize = 300;

const ASCII: [(&str, &str); 6] = [
    ("Robert", "Miller"),
    ("Ada", "Lovelace"),
    ("Mary Ann", "O'Neill"),
    ("Grace", "Hopper"),
    ("Jean-Luc", "Smith Jr."),
    ("Edith", ""),
];

const STAGES: [&str; 4] = ["Lead", "Customer", "Subscriber", ""];

fn main() -> Result<(), AnyError> {
    let naming = Naming::new("Lead, Customer, Evangelist=VIP".parse::<Funnel>()?);
    println!("{:<16} {:>8} {:>8} {:>8}", "ns per row", "read", "render", "digest");
    for (what, names) in [("ascii", &ASCII[..]), ("twelve scripts", &SCRIPTS[..])] {
        let text = export(names)?;
        let rows = Csv::new(text.as_bytes())?.collect::<Result<Vec<CrmContact>, _>>()?;
        assert_eq!(rows.len(), ROWS);
        let read = best(|| {
            for row in Csv::new(text.as_bytes())? {
                black_box(row?);
            }
            Ok(())
        })?;
        let render = best(|| {
            for row in &rows {
                black_box(naming.render(&row.first, &row.last, row.stage.as_deref())?);
            }
            Ok(())
        })?;
        let digest = best(|| {
            for row in &rows {
                black_box(row.digest(black_box(7)));
            }
            Ok(())
        })?;
        println!("{what:<16} {read:>8.0} {render:>8.0} {digest:>8.0}");
    }
    Ok(())
}

fn best(mut round: impl FnMut() -> Result<(), AnyError>) -> Result<f64, AnyError> {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        round()?;
        best = best.min(began.elapsed().as_secs_f64());
    }
    #[expect(clippy::cast_precision_loss, reason = "far fewer rows than 2^53")]
    Ok(best * 1e9 / ROWS as f64)
}

fn export(names: &[(&str, &str)]) -> Result<String, AnyError> {
    let mut text = String::from("id,first_name,last_name,phone,stage,updated_at\n");
    for n in 0..ROWS {
        let (first, last) = names[n % names.len()];
        let stage = STAGES[n % STAGES.len()];
        writeln!(text, "crm-{n},{first},{last},+1202{n:07},{stage},2026-01-02T03:04:05Z")?;
    }
    Ok(text)
}
