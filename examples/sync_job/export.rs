//! The CRM export, read on a thread of its own: where it stalls (a pipe, a network disk), the job still hears that it is to stop.

use std::{fs::File, path::Path, pin::Pin, task::Poll, thread};

use futures_util::{Stream, stream::poll_fn};
use tokio::sync::mpsc;
use wawp_contacts::crm::{CrmContact, Csv, JsonLines, Mapping, RowError};

use crate::{AnyError, args::Args, explain, safe::plain, signals::Stop, view::View, words::of_the_job};

type Row = Result<CrmContact, RowError>;
pub(crate) type Rows = Pin<Box<dyn Stream<Item = Row> + Send>>;

/// So many rows are read ahead.
const AHEAD: usize = 1_024;

/// Reads up to the first row, so that an export that cannot be used is refused before anything is made; the other rows are a stream.
pub(crate) async fn open(args: &Args, stop: &Stop, view: &View) -> Result<Rows, AnyError> {
    let (path, mapping) = (args.crm().to_owned(), args.mapping());
    let (sender, mut receiver) = mpsc::channel(AHEAD);
    // Not a thread of the runtime, which would wait for it before the process ends.
    thread::spawn(move || {
        let rows = match rows(&path, &mapping) {
            Ok(rows) => rows,
            Err(words) => return drop(sender.blocking_send(Err(words))),
        };
        // The end is said: rows that merely cease are not all of them.
        for row in rows.map(Some).chain([None]) {
            if sender.blocking_send(Ok(row.map(reworded))).is_err() {
                return;
            }
        }
    });
    let first = tokio::select! {
        biased;
        first = receiver.recv() => first.unwrap_or_else(broken_off)?,
        () = stop.told() => return Err("stopped before the first row could be read; nothing was done".into()),
    };
    if let Some(Err(RowError::Source(error))) = &first {
        return Err(format!("{}: {}", args.crm().display(), explain(&**error)).into());
    }
    if first.is_none() && !args.changes {
        view.say_wrapped(&plain(&format!("{} holds no row; export it again if it should", args.crm().display())));
    }
    // An intake cannot be told to stop; a source that fails ends it, and none of its rows takes effect.
    let mut told = args.intake_only.then(|| Box::pin(stop.told()));
    let (mut first, mut has_ended) = (Some(first), false);
    Ok(Box::pin(poll_fn(move |context| {
        if has_ended {
            return Poll::Ready(None);
        }
        let row = if told.as_mut().is_some_and(|told| told.as_mut().poll(context).is_ready()) {
            Err("stopped; none of the rows took effect; run again to go on".into())
        } else if let Some(first) = first.take() {
            Ok(first)
        } else {
            match receiver.poll_recv(context) {
                Poll::Ready(row) => row.unwrap_or_else(broken_off),
                Poll::Pending => return Poll::Pending,
            }
        };
        let row = row.unwrap_or_else(|words| Some(Err(RowError::Source(words.into()))));
        has_ended = matches!(row, None | Some(Err(RowError::Source(_))));
        Poll::Ready(row)
    })))
}

fn rows(path: &Path, mapping: &Mapping) -> Result<Box<dyn Iterator<Item = Row>>, String> {
    let file = File::open(path).map_err(|error| format!("cannot open the CRM export {}: {error}", path.display()))?;
    if is_json(path) {
        return Ok(Box::new(Lines(JsonLines::with_mapping(file, mapping))));
    }
    match Csv::with_mapping(file, mapping) {
        Ok(rows) => Ok(Box::new(rows)),
        Err(error) => {
            let flag = error.mapping().map(|mapping| format!(", or pass --map {}", quoted(&mapping)));
            Err(format!("{}: {}{}", path.display(), explain(&error), flag.unwrap_or_default()))
        }
    }
}

/// A value as it is typed into a shell.
fn quoted(value: &str) -> String {
    let is_plain = |char: char| char.is_alphanumeric() || "=,_-.".contains(char);
    if value.chars().all(is_plain) { value.to_owned() } else { format!("'{}'", value.replace('\'', "'\\''")) }
}

/// JSON Lines that fail at their end if a column that was named was in none of them.
struct Lines(JsonLines<File>);

impl Iterator for Lines {
    type Item = Row;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().or_else(|| Some(Err(RowError::Source(self.0.unknown_column()?.into()))))
    }
}

/// Whether the name of an export is that of JSON Lines.
pub(crate) fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ["json", "jsonl", "ndjson"].iter().any(|json| ending == *json))
}

fn broken_off() -> Result<Option<Row>, String> {
    Err("the thread that read the CRM export is gone".into())
}

/// A refusal that says how to fix the row by a flag, where the library knows of none.
fn reworded(mut row: Row) -> Row {
    if let Err(RowError::Refused(refusal)) = &mut row {
        refusal.detail = of_the_job(&refusal.detail);
    }
    row
}
