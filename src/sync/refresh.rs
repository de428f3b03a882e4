//! Reads of the whole address book that write no name: what others saved since, and what was there on the first day.

use std::{future::pending, time::Duration};

use futures_util::{Stream, stream::unfold};
use serde::Serialize;

use super::{
    ContactSync, Done, Ending, Guardrail, Report, SyncError,
    run::{Run, Store},
};
use crate::{
    ErrorKind,
    crm::{CrmContact, Feed, RowError},
};

/// By what share of an interval reads are moved to and fro, so that those of many instances do not come at once.
const JITTER: f64 = 0.1;
/// The shortest interval between two reads: the address book is read page by page.
const SHORTEST: Duration = Duration::from_secs(60);

/// What a read of the whole address book found; see [`ContactSync::refresh`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Refresh {
    /// The number of the run.
    pub run: u64,
    /// How many entries the address book has.
    pub read: u64,
    /// Whether it was read to the end.
    pub complete: bool,
    /// Contacts that show another name than was sent.
    pub drifted: u64,
    /// Contacts that show the name that is wanted.
    pub matching: u64,
    /// Contacts that show another name than is wanted.
    pub different: u64,
    /// Why the instance may not be called, if it may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<ErrorKind>,
    /// What to try about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Why nothing was read, if a guardrail forbade it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guardrail: Option<Guardrail>,
    /// Who pushes for the instance; then nothing is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pushed_by: Option<String>,
}

/// What was found on the first day; see [`ContactSync::adopt`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Adoption {
    /// What became of the rows.
    pub intake: Report,
    /// What the address book showed; `None` if the rows did not take effect, see [`Report::guardrail`].
    pub found: Option<Refresh>,
}

impl ContactSync {
    /// Reads the whole address book, and notes what it shows. Writes no name.
    ///
    /// A name that somebody else saved over ours is *drift*; what becomes of it is up to the [policy](Self::drift). A contact that the
    /// address book does not list is left as it is: absence says nothing.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")]
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use wawp_contacts::{ContactSync, crm::{self, CrmContact}, ledger::MemoryLedger, naming::{Funnel, Naming}, record::Drift, testkit::WawpServer};
    ///
    /// let server = WawpServer::start().await; // stands in for Wawp
    /// let sync = ContactSync::new(server.client(), MemoryLedger::default(), Naming::new(Funnel::none())).drift(Drift::Ask);
    /// let bob = || Ok(CrmContact::new("crm-1", "+1 202 555 0142".parse().unwrap()).named("Bob", ""));
    /// sync.run(crm::snapshot([bob()])).await?;
    ///
    /// server.rename_on_phone(&"12025550142@c.us".parse()?, "Bobby");
    /// let found = sync.refresh().await?;
    /// assert_eq!((found.read, found.drifted), (1, 1));
    ///
    /// let report = sync.run(crm::snapshot([bob()])).await?;
    /// assert_eq!((report.summary.calls, report.summary.parked), (0, 1));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if the ledger does. An instance that may not be called is no error: see [`Refresh::gate`].
    pub async fn refresh(&self) -> Result<Refresh, SyncError> {
        self.read_book(false).await
    }

    /// [Refreshes](Self::refresh) at once and then again and again, this long after the last read ended, give or take a tenth; at least
    /// a minute. It ends when the stream is dropped; drop it between two reads if another process is to push at once.
    ///
    /// A read that fails, or that an instance does not allow, is told like any other, and the next one comes in its time. Who wants to
    /// be told of each name that was saved watches [`Progress::Edited`](super::Progress::Edited); who wants the contacts that are due
    /// then to be written calls [`run`](Self::run).
    pub fn refresh_every(&self, interval: Duration) -> impl Stream<Item = Result<Refresh, SyncError>> + Send + '_ {
        let interval = interval.max(SHORTEST);
        unfold(Duration::ZERO, move |wait| async move {
            tokio::time::sleep(wait).await;
            let found = self.refresh().await;
            let moved = 1.0 + JITTER * (2.0 * fastrand::f64() - 1.0);
            Some((found, Duration::try_from_secs_f64(interval.as_secs_f64() * moved).unwrap_or(interval)))
        })
    }

    /// Takes over an account that already has names: the rows are taken in, the whole address book is read, and what it shows counts
    /// as *sent* where it is the name that is wanted. Writes no name.
    ///
    /// A [plan](Self::plan) lists only true differences after that. Doing it again changes nothing, so one that was interrupted is
    /// simply begun anew.
    ///
    /// # Errors
    ///
    /// Fails if the ledger or the source of the rows does.
    pub async fn adopt<S>(&self, feed: Feed<S>) -> Result<Adoption, SyncError>
    where
        S: Stream<Item = Result<CrmContact, RowError>> + Send,
    {
        // It renames nobody: what an adoption that was interrupted has found different is for the next run to weigh.
        let guardrails = self.guardrails.max_renamed_share(1.0).free_renames(u64::MAX);
        let intake = self.clone().guardrails(guardrails).intake(feed).await?;
        let found = if intake.applied { Some(self.read_book(true).await?) } else { None };
        Ok(Adoption { intake, found })
    }

    async fn read_book(&self, adopts: bool) -> Result<Refresh, SyncError> {
        self.until(|stop| self.record_run(stop, |run| self.read_whole(run, adopts)), pending()).await
    }

    async fn read_whole(&self, mut run: Run, adopts: bool) -> Result<Done<Refresh>, SyncError> {
        run.correct_clock().await?;
        run.lease().await?;
        let mut found = Refresh { run: run.number, ..Refresh::default() };
        if run.lease.is_some() {
            found.guardrail = self.heed_account(&mut run, &mut Store::Ledger).await?;
            if found.guardrail.is_none() {
                run.heed_policy(&mut Store::Ledger).await?;
                run.looked.adopts = adopts;
                found.complete = run.look_at_book(&mut Store::Ledger).await?.is_some();
                self.keep_state(&mut run).await?;
            }
        }
        let counts = run.looked.counts;
        (found.drifted, found.matching, found.different) = (counts.drifted, counts.matching, counts.different);
        found.read = counts.read;
        (found.gate, found.hint) = (run.gate.reason(), run.gate.hint().map(Into::into));
        found.pushed_by = run.recorder.notes.pushed_by.take();
        Ok(Done { what: found, lease: run.end_calls().await? })
    }
}

impl Ending for Refresh {
    fn brief(&mut self, _: Duration) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
