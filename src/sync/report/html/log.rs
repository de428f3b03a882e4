use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{SHOWN, group::Group};
use crate::{
    ErrorKind,
    sync::{Change, Outcome, Progress},
    time::Timestamp,
};

/// So many pauses are kept; a run that has more is told in counts.
const PAUSES: usize = 20;

/// Remembers what a run tells its observer, for its [`Page`](super::Page): a [`Report`](crate::sync::Report) counts what was done and
/// lists only what stays open.
///
/// Clones share one memory, so one can go into the observer. One is for one run. It keeps up to a thousand changes of each kind and
/// counts all.
///
/// ```
/// # #[cfg(feature = "testkit")]
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use wawp_contacts::{ContactSync, crm::{self, CrmContact}, ledger::MemoryLedger, naming::{Funnel, Naming}, sync::RunLog, testkit::WawpServer};
///
/// let server = WawpServer::start().await; // stands in for Wawp
/// let log = RunLog::default();
/// let noting = log.clone();
/// let naming = Naming::new("Lead".parse::<Funnel>()?);
/// let sync = ContactSync::new(server.client(), MemoryLedger::default(), naming)
///     .observer(move |progress| noting.note(progress));
///
/// let bob = CrmContact::new("crm-1", "+1 202 555 0142".parse()?).named("Bob", "<script>");
/// let report = sync.run(crm::snapshot([Ok(bob)])).await?;
/// let page = report.page().with_log(&log).to_string();
/// assert!(page.contains("<h1>1 new</h1>") && page.contains("Bob &lt;script&gt;"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct RunLog(Arc<Mutex<Kept>>);

/// What was told so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    /// How many changes of each group were done.
    pub(super) counts: [u64; Group::ALL.len()],
    pub(super) changes: Vec<Change>,
    /// Rows of the CRM and entries of the address book that were read.
    pub(super) taken: u64,
    pub(super) read: u64,
    pub(super) pauses: Vec<(Timestamp, ErrorKind)>,
}

impl RunLog {
    /// Remembers one thing; to be called from the [observer](crate::ContactSync::observer).
    pub fn note(&self, progress: &Progress<'_>) {
        let mut kept = self.lock();
        match progress {
            Progress::Taken(rows) => kept.taken = *rows,
            Progress::Read(entries) => kept.read = *entries,
            Progress::Changed(change) if change.outcome == Outcome::Done => {
                let count = &mut kept.counts[Group::of(change) as usize];
                *count += 1;
                if *count <= SHOWN as u64 {
                    kept.changes.push((*change).clone());
                }
            }
            Progress::Waiting { until, kind }
                if kept.pauses.len() < PAUSES && kept.pauses.last() != Some(&(*until, *kind)) =>
            {
                kept.pauses.push((*until, *kind));
            }
            _ => {}
        }
    }

    pub(super) fn kept(&self) -> Kept {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
