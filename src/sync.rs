//! The sync: makes the address book follow the CRM.
//!
//! A [`Sync`] joins an [`AddressBook`], a [`Ledger`] and [`Naming`] rules. [`Sync::plan`] says what a run would do and writes
//! nothing; [`Sync::run`] does it; a [`Report`] says what happened. There is one row per contact and no queue of edits: the newest
//! wish wins, and a second run makes no call.
//!
//! ```
//! # #[cfg(feature = "testkit")]
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! use std::sync::Arc;
//! use wawp_contacts::{Sync, crm::{self, CrmContact}, ledger::MemoryLedger, naming::{Funnel, Naming}, testkit::WawpServer};
//!
//! let server = WawpServer::start().await; // stands in for Wawp
//! let naming = Naming::new("Lead, Customer".parse::<Funnel>()?);
//! let sync = Sync::new(Arc::new(server.client()), Arc::new(MemoryLedger::default()), naming);
//!
//! let bob = |stage: &str| Ok(CrmContact::new("crm-1", "+1 202 555 0142".parse().unwrap()).named("Bob", "").in_stage(stage));
//! sync.run(crm::rows([bob("Lead")])).await?;
//! server.assert_contact(&"12025550142@c.us".parse()?, "Bob [Lead]");
//!
//! let plan = sync.plan(crm::rows([bob("Customer")])).await?;
//! assert_eq!(plan.changes[0].to_string(), r#"~ 12025550142@c.us: "Bob [Lead]" -> "Bob [Customer]" (stage)"#);
//!
//! let report = sync.run(crm::rows([bob("Customer")])).await?;
//! assert_eq!((report.summary.renamed, report.summary.calls), (1, 1));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # How a contact travels
//!
//! 1. A CRM row is rendered by the naming rules and becomes the *wanted* name in the ledger. A row that cannot be used is refused,
//!    and so are all rows that claim one person.
//! 2. What the address book shows for contacts that are due is read and becomes *seen*, so that a person's text reaches the
//!    history when it is overwritten.
//! 3. The [`Brakes`] weigh what is about to happen. Up to here nothing was called, and here a plan ends.
//! 4. The contact is marked in doubt, durably; then the call is made; then the answer is settled in the ledger: *sent*, due again
//!    later, or parked. [`decide`](decide::decide) is the pure function behind each step.
//! 5. The report counts each contact once and lists those that stay open.
//!
//! # What can go wrong
//!
//! - **A crash, or the future is dropped.** Calls in flight are in doubt in the ledger. The next run repeats each of them once, with
//!   the newest wish, when the older request can no longer take effect.
//! - **Told to stop.** See [`Sync::run_until`].
//! - **A token that is refused, an instance that is gone (401, 403).** No new call is made; the contacts stay due.
//! - **Asked to wait (429).** No call before then, also not by the next run. Then one call at a time, until one works.
//! - **An outage.** A contact that fails backs off alone; five failures in a row close the gate for all.
//! - **The ledger fails.** The run ends with its error. What was sent and not written down is in doubt.
//!
//! # What cannot be promised
//!
//! The API cannot fence: a request that outlives the [deadline](AddressBook::deadline) of its client may still take effect. And it
//! cannot compare and set: a name that a person saves between our read and our write is overwritten without a trace in the
//! history.
//!
//! # What to choose
//!
//! Leave [`in_flight`](Sync::in_flight) at 1 unless answers are slower than the [`Pace`](crate::Pace) and your instance is known to
//! bear more. The pace is the client's; more in flight never exceeds it. A [`patience`](Sync::patience) longer than the deadline
//! lets a run repeat its own timeouts; a shorter one leaves them to the next run.

mod brakes;
pub mod decide;
mod gate;
mod intake;
mod overlay;
mod push;
mod report;
mod run;

use std::{error::Error as StdError, fmt, future::Future, pin::pin, sync::Arc, time::Duration};

use futures_core::Stream;
use tokio::sync::watch;

pub use self::{
    brakes::{Brake, Brakes},
    report::{Change, Observer, Outcome, Plan, Progress, Report, Summary, Verb},
};
use self::{overlay::Overlay, push::Pusher, report::Recorder, run::Run};
use crate::{
    client::AddressBook,
    crm::{CrmContact, RowError},
    ledger::{Ledger, LedgerError},
    naming::Naming,
    retry::RetryPolicy,
};

/// Makes one instance's address book follow the CRM, remembering in a ledger what it did.
pub struct Sync {
    book: Arc<dyn AddressBook>,
    ledger: Arc<dyn Ledger>,
    naming: Naming,
    in_flight: usize,
    patience: Duration,
    grace: Duration,
    backoff: RetryPolicy,
    brakes: Brakes,
    observer: Option<Observer>,
}

impl Sync {
    /// Joins an address book, a ledger and naming rules; everything else has a default.
    #[must_use]
    pub fn new(book: Arc<dyn AddressBook>, ledger: Arc<dyn Ledger>, naming: Naming) -> Self {
        Self {
            book,
            ledger,
            naming,
            in_flight: 1,
            patience: Duration::from_secs(60),
            grace: Duration::from_secs(10),
            backoff: RetryPolicy::default()
                .max_attempts(6)
                .backing_off(Duration::from_secs(1), Duration::from_secs(300)),
            brakes: Brakes::default(),
            observer: None,
        }
    }

    /// Sets how many calls may be in flight at a time; 1 by default, because the engine behind Wawp wants the writes of one
    /// instance one after the other.
    #[must_use]
    pub fn in_flight(mut self, calls: usize) -> Self {
        self.in_flight = calls.max(1);
        self
    }

    /// Sets how long a run waits for an instance that may not be called, or for a contact that failed, before it ends and leaves
    /// the rest due; 60 s by default.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets how long a run that was told to stop waits for the calls in flight; 10 s by default. What has not answered by then
    /// stays in doubt and is repeated by the next run.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets how long a contact that failed is left alone, and after how many attempts in a row it is left for a later run; by
    /// default 1 s doubling up to 5 minutes, and 6 attempts. The policy's deadline does not count: see
    /// [`patience`](Self::patience).
    #[must_use]
    pub fn backoff(mut self, backoff: RetryPolicy) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets what stops a run before its first call.
    #[must_use]
    pub fn brakes(mut self, brakes: Brakes) -> Self {
        self.brakes = brakes;
        self
    }

    /// Sets who is told of what happens while it happens.
    #[must_use]
    pub fn observer(mut self, observer: impl Fn(&Progress<'_>) + Send + std::marker::Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Says what a run would do. Writes nothing, neither to the address book nor to the ledger.
    ///
    /// Takes the very path of a run up to its first call. It reads the address book if anything is due, as a run does.
    ///
    /// # Errors
    ///
    /// Fails if the ledger or the source of the rows does. That a run would be stopped by a brake is no error: see
    /// [`Plan::brake`].
    pub async fn plan<S>(&self, rows: S) -> Result<Plan, SyncError>
    where
        S: Stream<Item = Result<CrmContact, RowError>> + Send,
    {
        let overlay = Arc::new(Overlay::new(Arc::clone(&self.ledger)));
        let (_tell, told) = watch::channel(false);
        let mut run = Run::begin(self, overlay, told, Recorder::of_plan()).await?;
        let mut load = run.prepare(pin!(rows)).await?;
        let summary = run.weigh(&mut load).await?;
        let prospects = run.prospects();
        run.each_due(|recorder, row| recorder.changes.push(Change::of(&row, prospects.of(&row)))).await?;
        let (gate, hint) = (run.gate.reason(), run.gate.hint());
        let Recorder { mut changes, refusals, .. } = run.recorder;
        changes.sort_by(|one, other| one.chat.cmp(&other.chat));
        Ok(Plan { summary, gate, hint, changes, refusals, brake: self.brakes.weigh(&load) })
    }

    /// Makes the address book follow these rows.
    ///
    /// # Errors
    ///
    /// Fails if the ledger or the source of the rows does, or if a brake stops it before its first call. An instance that may not
    /// be called is no error: the report says so, and its contacts stay due.
    pub async fn run<S>(&self, rows: S) -> Result<Report, SyncError>
    where
        S: Stream<Item = Result<CrmContact, RowError>> + Send,
    {
        self.run_until(rows, std::future::pending()).await
    }

    /// Makes the address book follow these rows until it is told to stop, or all is done.
    ///
    /// When `stop` completes:
    ///
    /// - no new call is made;
    /// - calls in flight may answer within the [grace](Self::grace), and their answers are written down;
    /// - calls that did not are in doubt in the ledger, and the next run repeats them with the newest wish;
    /// - the report comes as usual.
    ///
    /// Dropping the future instead is safe too: every call in flight is in doubt in the ledger.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    pub async fn run_until<S>(&self, rows: S, stop: impl Future<Output = ()> + Send) -> Result<Report, SyncError>
    where
        S: Stream<Item = Result<CrmContact, RowError>> + Send,
    {
        let (tell, told) = watch::channel(false);
        let mut work = pin!(self.work(rows, told));
        tokio::select! {
            report = &mut work => return report,
            () = stop => tell.send_replace(true),
        };
        work.await
    }

    async fn work<S>(&self, rows: S, told: watch::Receiver<bool>) -> Result<Report, SyncError>
    where
        S: Stream<Item = Result<CrmContact, RowError>> + Send,
    {
        let began = tokio::time::Instant::now();
        let recorder = Recorder::of_run(self.observer.clone());
        let mut run = Run::begin(self, Arc::clone(&self.ledger), told, recorder).await?;
        let mut load = run.prepare(pin!(rows)).await?;
        run.weigh(&mut load).await?;
        if let Some(brake) = self.brakes.weigh(&load).filter(|_| !run.is_stopped()) {
            return Err(SyncError::Braked(brake));
        }
        Pusher::new(&mut run).push().await?;
        run.end(began.elapsed()).await
    }

    /// How many contacts may be between their mark and the save of their answer.
    ///
    /// With a pace, marking ahead would only make contacts wait in doubt for their turn.
    fn window(&self) -> usize {
        if self.book.interval().is_zero() { 2 * self.in_flight } else { self.in_flight }
    }

    /// How long after its mark a call can take effect: it waits for its turn, then it is made.
    fn deadline(&self) -> Duration {
        let turns = u32::try_from(self.in_flight).unwrap_or(u32::MAX).saturating_add(1);
        self.book.deadline() + self.book.interval().saturating_mul(turns)
    }

    fn duration_of(&self, calls: u64) -> Duration {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        self.book.interval().saturating_mul(calls)
    }
}

impl fmt::Debug for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sync").field("book", &self.book).field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

/// Why a plan or a run could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The ledger failed; nothing that it acknowledged is lost.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
    /// The source of the rows failed before its end; no call was made.
    #[error("the CRM's rows could not be read to the end; no call was made")]
    Source(#[source] Box<dyn StdError + Send + std::marker::Sync>),
    /// A brake stopped the run before its first call.
    #[error("stopped before the first call: {0}")]
    Braked(Brake),
}
