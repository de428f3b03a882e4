//! What the ledger keeps of a run's report, and how it is told again.

use std::{borrow::Cow, collections::BTreeMap, mem, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Change, Left, Notes, Page, Progress, Report, RunLog, Summary};
use crate::{
    ErrorKind, Pace,
    crm::Refusal,
    ledger::{LedgerError, LedgerErrorKind, RunRecord},
    sync::{ContactSync, Guardrail, SyncError, run::Run},
    time::Timestamp,
};

/// How many lines are written down at once.
const PIECE: usize = 256;
/// So many pauses are kept.
const PAUSES: usize = 20;

/// One line of a report in the ledger; whom it is about is in its fields `chat` and `crm_id`.
#[derive(Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
enum Line<'a> {
    Done(Cow<'a, Change>),
    Open(Cow<'a, Change>),
    Refused(Cow<'a, Refusal>),
    Left(Cow<'a, Left>),
    Repeated { crm_id: Cow<'a, str> },
    Shortened { crm_id: Cow<'a, str> },
    Rest(Rest),
}

/// What a report has beside its summary and its lines.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Rest {
    applied: bool,
    hint: Option<String>,
    untagged: BTreeMap<Box<str>, u64>,
    unread: Option<ErrorKind>,
    pushed_by: Option<String>,
    #[serde(flatten)]
    told: Told,
    /// Milliseconds between two calls.
    interval: u64,
}

/// What an observer was told beside the changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::sync) struct Told {
    taken: u64,
    read: u64,
    pauses: Vec<(Timestamp, ErrorKind)>,
    /// The run that is undone.
    pub(in crate::sync) undone: Option<u64>,
}

/// Lines on their way into the ledger, as the inside of a JSON array.
#[derive(Default)]
pub(super) struct Lines {
    text: String,
    count: usize,
}

impl Lines {
    pub(super) fn done(&mut self, change: &Change) {
        self.push(&Line::Done(Cow::Borrowed(change)));
    }

    fn push(&mut self, line: &Line<'_>) {
        let Ok(line) = serde_json::to_string(line) else { return };
        self.text.push(if self.count == 0 { '[' } else { ',' });
        self.text.push_str(&line);
        self.count += 1;
    }

    fn take(&mut self) -> String {
        self.count = 0;
        mem::take(&mut self.text) + "]"
    }
}

impl Told {
    pub(super) fn note(&mut self, progress: &Progress<'_>) {
        match progress {
            Progress::Taken(rows) => self.taken = *rows,
            Progress::Read(entries) => self.read = *entries,
            Progress::Waiting { until, kind }
                if self.pauses.len() < PAUSES && self.pauses.last() != Some(&(*until, *kind)) =>
            {
                self.pauses.push((*until, *kind));
            }
            _ => {}
        }
    }
}

impl Run {
    /// Writes lines of the report down once there are many, so that a run that is killed lacks the last of them only.
    pub(in crate::sync) async fn keep_lines(&mut self) -> Result<(), SyncError> {
        if self.recorder.lines.count < PIECE { Ok(()) } else { self.write_lines().await }
    }

    /// Writes down the lines that are not yet.
    pub(in crate::sync) async fn write_lines(&mut self) -> Result<(), SyncError> {
        if self.recorder.lines.count > 0 {
            let lines = self.recorder.lines.take();
            self.sync.ledger.append_report(self.sync.book.instance(), self.number, &lines).await?;
        }
        Ok(())
    }

    /// Writes down what the report says beside what was done.
    pub(in crate::sync) async fn keep_rest(&mut self, hint: Option<String>, applied: bool) -> Result<(), SyncError> {
        let Notes { repeated, untagged, shortened, left, unread, pushed_by } = self.recorder.notes.clone();
        let interval = u64::try_from(self.sync.book.pace().interval().as_millis()).unwrap_or(u64::MAX);
        let told = self.recorder.told.clone();
        let rest = Line::Rest(Rest { applied, hint, untagged, unread, pushed_by, told, interval });
        let id = |crm_id: Box<str>| Cow::Owned(crm_id.into());
        let open = self.recorder.changes.clone().into_iter().map(|change| Line::Open(Cow::Owned(change)));
        let refused = self.recorder.refusals.clone().into_iter().map(|refusal| Line::Refused(Cow::Owned(refusal)));
        let left = left.into_iter().map(|left| Line::Left(Cow::Owned(left)));
        let repeated = repeated.into_iter().map(|crm_id| Line::Repeated { crm_id: id(crm_id) });
        let shortened = shortened.into_iter().map(|crm_id| Line::Shortened { crm_id: id(crm_id) });
        for line in open.chain(refused).chain(left).chain(repeated).chain(shortened).chain([rest]) {
            self.recorder.lines.push(&line);
            self.keep_lines().await?;
        }
        self.write_lines().await
    }
}

/// What the ledger says of a run that is over, or that was killed; see [`ContactSync::report_of`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PastRun {
    /// When it ran, and who ran it.
    pub run: RunRecord,
    /// Its report; `None` of a run that did not end well, of a read, and of one whose report is kept no more.
    pub report: Option<Report>,
    /// The names that it wrote, in that order; those of a run that was killed may lack some hundreds.
    pub changes: Vec<Change>,
    interval: Duration,
    log: Told,
}

impl PastRun {
    /// The page that shows the run, as right after it; `None` without a report.
    #[must_use]
    pub fn page(&self) -> Option<Page<'_>> {
        let log = RunLog::default();
        self.changes.iter().for_each(|change| log.note(&Progress::Changed(change)));
        log.note(&Progress::Taken(self.log.taken));
        log.note(&Progress::Read(self.log.read));
        self.log.pauses.iter().for_each(|(until, kind)| log.note(&Progress::Waiting { until: *until, kind: *kind }));
        let pace = if self.interval.is_zero() { Pace::unlimited() } else { Pace::every(self.interval) };
        let shown = self.report.as_ref()?.page().at(self.run.began).paced(pace).with_log(&log);
        Some(match self.log.undone {
            Some(run) => shown.undoing(run),
            None => shown,
        })
    }
}

/// What the ledger's summary of a run has.
#[derive(Deserialize)]
struct Brief {
    #[serde(flatten)]
    summary: Summary,
    gate: Option<ErrorKind>,
    #[serde(default)]
    resumes_at: Option<Timestamp>,
    guardrail: Option<Guardrail>,
    stopped: bool,
}

impl ContactSync {
    /// Tells the report of a run again, with what it did, as long as it is [kept](Self::keep_reports); `None` if there was no such run.
    /// Of persons who were [forgotten](Self::forget) since it says nothing.
    ///
    /// # Errors
    ///
    /// Fails if the ledger does.
    pub async fn report_of(&self, run: u64) -> Result<Option<PastRun>, SyncError> {
        let instance = self.book.instance();
        let Some(record) = self.ledger.run(instance, run).await? else { return Ok(None) };
        let (mut changes, mut open, mut refusals, mut notes) = (Vec::new(), Vec::new(), Vec::new(), Notes::default());
        let mut rest = None;
        for piece in self.ledger.report(instance, run).await? {
            let lines: Vec<Line<'static>> = serde_json::from_str(&piece).map_err(|error| {
                let detail = format!("the report of run {run} in the ledger is damaged");
                LedgerError::new(LedgerErrorKind::Damaged, detail).because(error)
            })?;
            for line in lines {
                match line {
                    Line::Done(change) => changes.push(change.into_owned()),
                    Line::Open(change) => open.push(change.into_owned()),
                    Line::Refused(refusal) => refusals.push(refusal.into_owned()),
                    Line::Left(left) => notes.left.push(left.into_owned()),
                    Line::Repeated { crm_id } => notes.repeated.push(crm_id.into()),
                    Line::Shortened { crm_id } => notes.shortened.push(crm_id.into()),
                    Line::Rest(known) => rest = Some(known),
                }
            }
        }
        let brief = record.summary.as_deref().and_then(|summary| serde_json::from_str::<Brief>(summary).ok());
        let (interval, log) =
            rest.as_ref().map(|rest| (Duration::from_millis(rest.interval), rest.told.clone())).unwrap_or_default();
        let report = brief.zip(rest).map(|(brief, rest)| {
            let Brief { summary, gate, resumes_at, guardrail, stopped } = brief;
            let Rest { applied, hint, untagged, unread, pushed_by, .. } = rest;
            let notes = Notes { untagged, unread, pushed_by, ..notes };
            Report { run, summary, gate, hint, resumes_at, guardrail, stopped, applied, notes, open, refusals }
        });
        Ok(Some(PastRun { run: record, report, changes, interval, log }))
    }
}
