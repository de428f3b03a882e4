//! The sync: makes the address book follow the CRM.
//!
//! A [`ContactSync`] joins an [`AddressBook`], a [`Ledger`] and [`Naming`] rules. [`ContactSync::plan`] says what a run would do and
//! writes no name; [`ContactSync::run`] does it; a [`Report`] says what happened. There is one record per contact and no queue of
//! edits: the newest wish wins, and a second run makes no call.
//!
//! ```
//! # #[cfg(feature = "testkit")]
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! use wawp_contacts::{ContactSync, crm::{self, CrmContact}, ledger::MemoryLedger, naming::{Funnel, Naming}, testkit::WawpServer};
//!
//! let server = WawpServer::start().await; // stands in for Wawp
//! let naming = Naming::new("Lead, Customer".parse::<Funnel>()?);
//! let sync = ContactSync::new(server.client(), MemoryLedger::default(), naming);
//!
//! let bob = |stage: &str| Ok(CrmContact::new("crm-1", "+1 202 555 0142".parse().unwrap()).named("Bob", "").in_stage(stage));
//! sync.run(crm::snapshot([bob("Lead")])).await?;
//! server.assert_contact(&"12025550142@c.us".parse()?, "Bob [Lead]");
//!
//! let plan = sync.plan(crm::snapshot([bob("Customer")])).await?;
//! assert_eq!(plan.changes[0].to_string(), r#"~ 12025550142@c.us: "Bob [Lead]" -> "Bob [Customer]" (stage)"#);
//!
//! let report = sync.run(crm::snapshot([bob("Customer")])).await?;
//! assert_eq!((report.summary.renamed, report.summary.calls), (1, 1));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # How a contact travels
//!
//! 1. **Take in** (CRM lane). A row that is the same as last time changes nothing. Any other is rendered by the naming rules and claims
//!    its person; what it makes of the record is staged. A row that cannot be used is refused, and so are all rows that claim one
//!    person. Of a [snapshot](crate::crm::Feed::snapshot), rows that are missing claim nothing any more.
//! 2. **Look** (observer lane). What the address book shows for contacts that are due is read and becomes *seen*, so that a person's
//!    text reaches the history when it is overwritten.
//! 3. **Weigh.** The [`Guardrails`] judge what is about to happen. Up to here nothing was written but what is staged; a plan ends here
//!    and throws it away. A run's wishes take effect now, in one step.
//! 4. **Push** (pusher lane). The contact is marked in doubt, durably; then the call is made; then the answer is written down: *sent*,
//!    due again later, or parked. Whoever is due longest goes first; a single change overtakes the bulk.
//! 5. **Report.** Each contact is counted once, and those that stay open are listed.
//!
//! [`decide`](crate::record::decide) is the pure function behind each step.
//!
//! # Side by side
//!
//! Only the pusher needs the instance's lease. [`ContactSync::intake`] writes wishes from the same process or another one while a run
//! pushes, and that run pushes them too. A [`run`](ContactSync::run) that finds somebody else pushing takes its rows in and leaves
//! the calls to them; its [notes](Notes::pushed_by) say so. A [`plan`](ContactSync::plan) holds the lease while it reads, so that reads and
//! calls keep one pace; a run waits for it, up to [`max_wait`](ContactSync::max_wait).
//!
//! # What can go wrong
//!
//! - **A crash, or the future is dropped.** Calls in flight are in doubt in the ledger. The next run repeats each of them at once if it
//!   wants the same name, and else when the older request can no longer take effect.
//! - **Told to stop.** See [`ContactSync::run_until`].
//! - **A token that is refused, an instance that is gone (401, 403).** No new call is made; the contacts stay due.
//! - **Asked to wait (429, or any answer with `Retry-After`).** No call before then, also not by the next run or another worker. Then one
//!   call at a time, until one works.
//! - **An outage.** A contact that fails backs off alone; five contacts that fail in a row close the gate for all, and a contact that did
//!   not fail is tried first when it opens.
//! - **Everything is refused.** Five contacts refused in a row without a success close the gate: the set-up is wrong, and nobody is
//!   parked for it.
//! - **The address book cannot be read.** By default the run goes on without, and says so: see [`LookFirst`].
//! - **The ledger fails.** The run ends with its error. What was sent and not written down is in doubt.
//!
//! # What cannot be promised
//!
//! The API cannot fence: a request that outlives the [deadline](AddressBook::deadline) of its client may still take effect. Marks and
//! leases go by the clock: one that jumps forward by more than a few seconds while a request is on its way, or workers whose clocks
//! differ by more, can let an older name win until the next run. Which account is behind the instance is asked only when there is
//! something to call. And the API cannot compare and set: a name that a person saves after it was looked at is overwritten without
//! a trace in the history. That is ten minutes of calls at most, and the time of one call where contacts are looked at one by one.
//!
//! # What to choose
//!
//! Leave [`in_flight`](ContactSync::in_flight) at 1 unless answers are slower than the [`Pace`](crate::Pace) and your instance is
//! known to bear more. The pace is the client's; more in flight never exceeds it.

mod again;
mod forget;
mod gate;
mod guardrails;
mod intake;
mod look;
mod persons;
mod push;
mod refresh;
mod report;
mod run;
mod saved;
mod standing;
mod undo;
mod verify;

use std::{
    collections::{HashMap, HashSet},
    error::Error as StdError,
    fmt,
    future::Future,
    mem,
    pin::pin,
    process,
    sync::Arc,
    time::Duration,
};

use futures_util::Stream;
use tokio::sync::watch;

use self::{
    again::Again,
    guardrails::Impact,
    intake::Intake,
    push::Pusher,
    report::Recorder,
    run::{Run, Store},
};
pub use self::{
    forget::Forgotten,
    guardrails::{Guardrail, Guardrails},
    persons::{Happening, Retry, Story, Waiting},
    refresh::{Adoption, Refresh},
    report::{
        Action, Change, Drifted, Left, LeftReason, Notes, Observer, Outcome, Page, PastRun, Plan, Progress, Report,
        RunLog, Summary,
    },
    saved::{MovedOn, SavedPlan},
    standing::Standing,
    undo::Undo,
    verify::Verify,
};
use crate::{
    ChatId,
    book::AddressBook,
    crm::{CrmContact, Feed, RowError},
    ledger::{Diff, Lease, Ledger, LedgerError, Query, Write},
    naming::Naming,
    pace::Daily,
    record::{Drift, Edit, Event, Park, Policy, Record, Status},
    retry::RetryPolicy,
    time::Clock,
};

/// The shortest time for which a lease is taken.
const LEASE: Duration = Duration::from_secs(60);

/// Makes one instance's address book follow the CRM, remembering in a ledger what it did.
#[derive(Clone)]
pub struct ContactSync {
    book: Arc<dyn AddressBook>,
    ledger: Arc<dyn Ledger>,
    naming: Arc<Naming>,
    clock: Clock,
    owner: String,
    in_flight: usize,
    max_wait: Duration,
    grace: Duration,
    backoff: RetryPolicy,
    guardrails: Guardrails,
    look_first: LookFirst,
    drift: Drift,
    checks_numbers: bool,
    untags_gone: bool,
    keep_reports: u64,
    daily: Option<Daily>,
    verify: Verify,
    repeats: (u32, Duration),
    canary: Option<u64>,
    observer: Option<Observer>,
}

/// Whether what the address book shows is read before it is overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum LookFirst {
    /// Yes, and where it cannot be read the run goes on without and says so: overwritten text cannot be kept then, and that the book
    /// is the right one cannot be told.
    #[default]
    IfPossible,
    /// Yes, and where it cannot be read nothing is called.
    Always,
    /// No.
    Never,
}

impl ContactSync {
    /// Joins an address book, a ledger and naming rules; everything else has a default.
    #[must_use]
    pub fn new(book: impl AddressBook, ledger: impl Ledger, naming: Naming) -> Self {
        Self {
            book: Arc::new(book),
            ledger: Arc::new(ledger),
            naming: Arc::new(naming),
            clock: Clock::system(),
            owner: format!("process {}", process::id()),
            in_flight: 1,
            max_wait: Duration::from_secs(60),
            grace: Duration::from_secs(10),
            backoff: RetryPolicy::default()
                .max_attempts(6)
                .backing_off(Duration::from_secs(1), Duration::from_secs(300)),
            guardrails: Guardrails::default(),
            look_first: LookFirst::default(),
            drift: Drift::default(),
            checks_numbers: false,
            untags_gone: false,
            keep_reports: 100,
            daily: None,
            verify: Verify::default(),
            repeats: (2, Duration::from_secs(5)),
            canary: Some(100),
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
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// Sets how long a run that was told to stop waits for the calls in flight; 10 s by default. What has not answered by then
    /// stays in doubt and is repeated by the next run.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets how long a contact that failed is left alone, and after how many attempts in one run it is left for a later one; by
    /// default 1 s doubling up to 5 minutes, and 6 attempts. The policy's deadline does not count: see
    /// [`max_wait`](Self::max_wait).
    #[must_use]
    pub fn backoff(mut self, backoff: RetryPolicy) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets what stops a run before its first call.
    #[must_use]
    pub fn guardrails(mut self, guardrails: Guardrails) -> Self {
        self.guardrails = guardrails;
        self
    }

    /// Sets whether what the address book shows is read before it is overwritten; if possible, by default.
    #[must_use]
    pub fn look_first(mut self, look_first: LookFirst) -> Self {
        self.look_first = look_first;
        self
    }

    /// Sets what becomes of names that somebody else saves over those that were sent; the CRM wins, by default. Another policy than in
    /// the last run decides anew about all contacts.
    #[must_use]
    pub fn drift(mut self, drift: Drift) -> Self {
        self.drift = drift;
        self
    }

    /// Sets how many update calls are made in any 24 hours, at the most, by all workers of the instance together; there is no cap by
    /// default. What is left when it is spent stays due, and [`Report::resumes_at`] says from when on a run can go on.
    ///
    /// The calls are counted in the ledger before they are made. A process that dies has counted up to [`in_flight`](Self::in_flight)
    /// calls that it did not make, or twice as many and at least 16 where there is no pace; each of them is free again a day later.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")]
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use wawp_contacts::{ContactSync, crm::{self, CrmContact}, ledger::MemoryLedger, naming::{Funnel, Naming}, pace::Daily, testkit::WawpServer};
    ///
    /// let server = WawpServer::start().await; // stands in for Wawp
    /// let sync = ContactSync::new(server.client(), MemoryLedger::default(), Naming::new(Funnel::none())).daily(Daily::at_most(2));
    /// let rows = || (0..3).map(|n| Ok(CrmContact::new(format!("crm-{n}"), format!("+1 202 555 014{n}").parse().unwrap()).named("Bob", "")));
    ///
    /// let plan = sync.plan(crm::snapshot(rows())).await?;
    /// assert!(plan.schedule.to_string().starts_with("3 calls: 2 today, 1 tomorrow from "));
    ///
    /// let report = sync.run(crm::snapshot(rows())).await?;
    /// assert_eq!((report.summary.calls, report.summary.gated), (2, 1));
    /// assert!(report.resumes_at.is_some());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn daily(mut self, daily: impl Into<Option<Daily>>) -> Self {
        self.daily = daily.into();
        self
    }

    /// Sets whether each number that was never seen in the address book is asked for first, at most once a second, and left out, with
    /// the reason, if it is not on WhatsApp; no by default. Answers are kept in the ledger; a number that is not there is asked for
    /// again after a week.
    ///
    /// Numbers of Argentina, Brazil and Mexico, which are written in two ways, are asked for in any case unless nothing is to be
    /// [looked at](LookFirst::Never): the server says which of both to write to.
    #[must_use]
    pub fn check_numbers(mut self, check: bool) -> Self {
        self.checks_numbers = check;
        self
    }

    /// Sets whether contacts lose their tag whose rows are gone from a snapshot; no by default: they keep the name that they have.
    #[must_use]
    pub fn untag_gone(mut self, untag: bool) -> Self {
        self.untags_gone = untag;
        self
    }

    /// Sets which contacts are read back once the API has acknowledged their names; by default those of which a request was not
    /// answered.
    ///
    /// ```
    /// # #[cfg(feature = "testkit")]
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use wawp_contacts::{ContactSync, crm::{self, CrmContact}, ledger::MemoryLedger, naming::{Funnel, Naming}, sync::Verify, testkit::WawpServer};
    ///
    /// let server = WawpServer::start().await; // stands in for Wawp
    /// let sync = ContactSync::new(server.client(), MemoryLedger::default(), Naming::new(Funnel::none())).verify(Verify::Always);
    /// let bob = CrmContact::new("crm-1", "+1 202 555 0142".parse()?).named("Bob", "");
    ///
    /// let report = sync.run(crm::snapshot([Ok(bob)])).await?;
    /// assert_eq!((report.summary.created, report.summary.verified), (1, 1));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// Sets how often, and how long after a read that showed the need, a name is sent again that the API accepted and the address book
    /// does not show; by default twice, 5 s after each read. If that does not help, the contact is parked as [`Park::Unkept`].
    #[must_use]
    pub fn repeat(mut self, times: u32, every: Duration) -> Self {
        self.repeats = (times, every);
        self
    }

    /// Sets from how many planned calls on the first contact of a run is read back before the others are called; 100 by default, and
    /// `None` never.
    ///
    /// If it shows the name, the others follow, first one at a time, then two, four and so on up to [`in_flight`](Self::in_flight). If
    /// it does not, also after the [repeats](Self::repeat), nobody else is called: [`Report::gate`] is
    /// [`ErrorKind::Unkept`](crate::ErrorKind::Unkept), and all contacts stay due. If it cannot be read, the run goes on without.
    #[must_use]
    pub fn canary(mut self, calls: impl Into<Option<u64>>) -> Self {
        self.canary = calls.into();
        self
    }

    /// Sets the clock; the system's by default. Give the ledger the same.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets what other workers are told of who pushes for the instance; the process id by default.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = owner.into();
        self
    }

    /// Sets of how many of the last runs the ledger keeps the report; 100 by default. The counts of older ones stay, and reads of the
    /// address book, which have no report, do not count. See [`report_of`](Self::report_of).
    #[must_use]
    pub fn keep_reports(mut self, runs: u64) -> Self {
        self.keep_reports = runs;
        self
    }

    /// Sets who is told of what happens while it happens.
    #[must_use]
    pub fn observer(mut self, observer: impl Fn(&Progress<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Says what a run would do. Writes no name and no record; a wait that the instance asks for meanwhile is remembered.
    ///
    /// Takes the very path of a run up to the moment at which its wishes would take effect. It reads the address book if anything is
    /// due, as a run does; not while somebody else pushes for the instance.
    ///
    /// # Errors
    ///
    /// Fails if the ledger or the source of the rows does. That a guardrail would stop the run is no error: see
    /// [`Plan::guardrail`].
    pub async fn plan<S>(&self, feed: Feed<S>) -> Result<Plan, SyncError>
    where
        S: Stream<Item = Result<CrmContact, RowError>> + Send,
    {
        let (plan, ..) = self.make_plan(feed).await?;
        Ok(plan)
    }

    /// Makes a plan. Gives back as well what is staged, and the contacts that are due in it with the revisions of their records.
    async fn make_plan<S>(&self, feed: Feed<S>) -> Result<(Plan, Box<dyn Diff>, Vec<(ChatId, u64)>), SyncError>
    where
        S: Stream<Item = Result<CrmContact, RowError>> + Send,
    {
        let (_tell, stop) = watch::channel(false);
        let mut run = Run::begin(self, stop, Recorder::of_plan(), 0).await?;
        let mut diff = self.ledger.diff(self.book.instance()).await?;
        let guardrail = self.prepare(&mut run, &mut *diff, feed, true).await?;
        let (plan, due) = self.tell_plan(run, &mut *diff, guardrail).await?;
        Ok((plan, diff, due))
    }

    /// Tells what is staged.
    async fn tell_plan(
        &self,
        mut run: Run,
        diff: &mut dyn Diff,
        guardrail: Option<Guardrail>,
    ) -> Result<(Plan, Vec<(ChatId, u64)>), SyncError> {
        let prospects = run.prospects();
        let (mut due, mut after) = (Vec::new(), None);
        loop {
            let records = diff.open(after.as_ref(), 512).await?;
            let Some(last) = records.last() else { break };
            after = Some(last.chat.clone());
            let records: Vec<Record> = records.into_iter().filter(|record| run.concerns(&record.chat)).collect();
            let is_due = |record: &&Record| record.status.due_at().is_some();
            due.extend(records.iter().filter(is_due).map(|record| (record.chat.clone(), record.revision)));
            let changes = records.iter().filter_map(|record| Change::of(record, prospects.of(record)?));
            run.recorder.changes.extend(changes);
        }
        run.release().await?;
        let (gate, hint) = (run.gate.reason(), run.gate.hint().map(Into::into));
        let mut summary = run.recorder.summary;
        for change in &run.recorder.changes {
            summary.count(change);
        }
        summary.calls = summary.created + summary.renamed;
        summary.seconds = run.duration_of(&summary).as_secs_f64();
        let (resumes_at, schedule) = (run.resumes_at(), run.schedule(summary.calls));
        let Recorder { changes, refusals, notes, .. } = run.recorder;
        Ok((Plan { summary, gate, hint, resumes_at, schedule, guardrail, notes, changes, refusals }, due))
    }

    /// Makes the address book follow these rows.
    ///
    /// # Errors
    ///
    /// Fails if the ledger or the source of the rows does. An instance that may not be called is no error: the report says so, and its
    /// contacts stay due. Neither is a guardrail: see [`Report::guardrail`].
    pub async fn run<S>(&self, feed: Feed<S>) -> Result<Report, SyncError>
    where
        S: Stream<Item = Result<CrmContact, RowError>> + Send,
    {
        self.run_until(feed, std::future::pending()).await
    }

    /// Makes the address book follow these rows until it is told to stop, or all is done.
    ///
    /// When `stop` completes:
    ///
    /// - while the rows are taken in, none of them takes effect;
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
    pub async fn run_until<S>(&self, feed: Feed<S>, stop: impl Future<Output = ()> + Send) -> Result<Report, SyncError>
    where
        S: Stream<Item = Result<CrmContact, RowError>> + Send,
    {
        self.until(|stop| self.work(feed, true, stop), stop).await
    }

    /// Takes rows in and calls nothing: the CRM lane alone. It needs no lease, so it works while somebody else pushes, who then pushes
    /// these wishes too; else the next run does.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    pub async fn intake<S>(&self, feed: Feed<S>) -> Result<Report, SyncError>
    where
        S: Stream<Item = Result<CrmContact, RowError>> + Send,
    {
        self.until(|stop| self.work(feed, false, stop), std::future::pending()).await
    }

    async fn until<W: Future>(
        &self,
        work: impl FnOnce(watch::Receiver<bool>) -> W,
        stop: impl Future<Output = ()> + Send,
    ) -> W::Output {
        let (tell, told) = watch::channel(false);
        let mut work = pin!(work(told));
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = stop => tell.send_replace(true),
        };
        work.await
    }

    async fn work<S>(&self, feed: Feed<S>, pushes: bool, stop: watch::Receiver<bool>) -> Result<Report, SyncError>
    where
        S: Stream<Item = Result<CrmContact, RowError>> + Send,
    {
        self.record_run(stop, |run| self.perform(run, feed, pushes)).await
    }

    /// Does the work of a run, and writes down that it began and how it ended.
    async fn record_run<T, W>(&self, stop: watch::Receiver<bool>, work: impl FnOnce(Run) -> W) -> Result<T, SyncError>
    where
        T: Ending,
        W: Future<Output = Result<Done<T>, SyncError>>,
    {
        let (began, instance) = (tokio::time::Instant::now(), self.book.instance());
        let number = self.ledger.begin_run(instance, &self.owner, self.clock.now()).await?;
        tracing::info!(%instance, run = number, "run begins");
        let recorder = Recorder::of_run(self.observer.clone());
        let mut result = match Run::begin(self, stop, recorder, number).await {
            Ok(run) => Box::pin(work(run)).await,
            Err(error) => Err(error),
        };
        let brief = match &mut result {
            Ok(done) => {
                tracing::info!(%instance, run = number, "run ends");
                done.what.brief(began.elapsed())
            }
            Err(error) => {
                tracing::error!(%instance, run = number, error = error.brief(), "run fails");
                serde_json::json!({ "error": error.brief() }).to_string()
            }
        };
        let mut ended = self.ledger.end_run(instance, number, self.clock.now(), &brief).await;
        if ended.is_ok() {
            ended = self.ledger.keep_reports(instance, self.keep_reports).await;
        }
        let Done { what, lease } = result?;
        let given_back = self.give_back(lease).await;
        ended?;
        given_back.map(|()| what)
    }

    async fn give_back(&self, lease: Option<Lease>) -> Result<(), SyncError> {
        match lease {
            Some(lease) => Ok(self.ledger.release(lease).await?),
            None => Ok(()),
        }
    }

    async fn perform<S>(&self, mut run: Run, feed: Feed<S>, pushes: bool) -> Result<Done<Report>, SyncError>
    where
        S: Stream<Item = Result<CrmContact, RowError>> + Send,
    {
        run.correct_clock().await?;
        let mut diff = self.ledger.diff(self.book.instance()).await?;
        let guardrail = self.prepare(&mut run, &mut *diff, feed, pushes).await?;
        self.carry_out(run, diff, guardrail).await
    }

    /// Lets what is staged take effect, unless a guardrail or a stop forbids it, and pushes.
    async fn carry_out(
        &self,
        mut run: Run,
        diff: Box<dyn Diff>,
        mut guardrail: Option<Guardrail>,
    ) -> Result<Done<Report>, SyncError> {
        let mut applied = false;
        if let Some(guardrail) = &guardrail {
            let kind = guardrail.code();
            tracing::warn!(instance = %self.book.instance(), run = run.number, kind, "a guardrail stops the run");
        } else if !run.is_stopped() {
            let lost = if run.is_exact { diff.apply_whole().await? } else { diff.apply().await? };
            if run.is_exact && !lost.is_empty() {
                run.release().await?;
                return Err(SyncError::MovedOn(lost.iter().map(|write| MovedOn::new(&write.record)).collect()));
            }
            applied = true;
            self.apply_again(&mut run, lost).await?;
            run.tell_edits();
            self.keep_state(&mut run).await?;
            (run, guardrail) = self.push(run).await?;
            run.report_left().await?;
        }
        let lease = run.end_calls().await?;
        let hint: Option<String> = run.gate.hint().map(Into::into);
        run.keep_rest(hint.clone(), applied).await?;
        let (gate, stopped) = (run.gate.reason(), run.is_stopped());
        let resumes_at = run.resumes_at().filter(|_| run.recorder.summary.gated > 0);
        let Recorder { summary, changes, refusals, notes, .. } = run.recorder;
        let report = Report {
            run: run.number,
            summary,
            gate,
            hint,
            resumes_at,
            guardrail,
            stopped,
            applied,
            notes,
            open: changes,
            refusals,
        };
        Ok(Done { what: report, lease })
    }

    /// Pushes what is due, if it is this run that pushes for the instance.
    async fn push(&self, mut run: Run) -> Result<(Run, Option<Guardrail>), SyncError> {
        // Whoever pushed when the rows were taken in may have ended before they took effect.
        if run.recorder.notes.pushed_by.is_some() && run.has_more().await? {
            run.lease().await?;
            if run.lease.is_some() {
                if let Some(guardrail) = self.heed_account(&mut run, &mut Store::Ledger).await? {
                    return Ok((run, Some(guardrail)));
                }
                self.keep_state(&mut run).await?;
            }
        }
        while run.lease.is_some() {
            run = Pusher::push(run).await?;
            run.keep_worked().await?;
            // What was given up is not done with before the end of the run: see `Done`.
            if run.is_stopped() {
                break;
            }
            run.release().await?;
            // Others may have left something to this run between its last look and the release.
            if run.has_more().await? {
                run.lease().await?;
            }
        }
        Ok((run, None))
    }

    /// Takes the rows in, looks at what the address book shows for those that are due, and judges what the run is about to do.
    ///
    /// Nothing is asked of the address book if nothing is due.
    async fn prepare<S>(
        &self,
        run: &mut Run,
        diff: &mut dyn Diff,
        feed: Feed<S>,
        pushes: bool,
    ) -> Result<Option<Guardrail>, SyncError>
    where
        S: Stream<Item = Result<CrmContact, RowError>> + Send,
    {
        let is_snapshot = feed.is_snapshot();
        let (policy, now) = (run.policy(), run.now());
        run.heed_policy(&mut Store::Staged(&mut *diff)).await?;
        let mut stop = run.stop.clone();
        let mut intake = Intake {
            diff: &mut *diff,
            naming: &self.naming,
            policy: &policy,
            recorder: &mut run.recorder,
            now,
            are_changes: !is_snapshot,
            impact: guardrails::RowImpact::default(),
            dropped: HashSet::new(),
            stood: HashMap::new(),
            moved: Vec::new(),
            unread: HashSet::new(),
            nameless: 0,
            untags_gone: self.untags_gone,
        };
        if !intake.take(pin!(feed.into_rows()), &mut stop).await? {
            return Ok(None);
        }
        let Summary { untagged, shortened, .. } = intake.recorder.summary;
        (intake.impact.untagged, intake.impact.shortened) = (untagged, shortened);
        if let Some(guardrail) = self.guardrails.judge_rows(&intake.impact) {
            return Ok(Some(guardrail));
        }
        if is_snapshot {
            intake.withdraw_absent().await?;
        }
        intake.note_moved().await?;
        let nameless = intake.nameless;
        self.weigh(run, diff, pushes, nameless).await
    }

    /// Counts what the run is about to do, looks at what is due, and judges it.
    async fn weigh(
        &self,
        run: &mut Run,
        diff: &mut dyn Diff,
        pushes: bool,
        nameless: u64,
    ) -> Result<Option<Guardrail>, SyncError> {
        let was_closed = run.prospects().is_closed;
        let mut before = self.count(run, diff, true).await?;
        before.summary.unchanged = diff.tally().await?.unchanged.saturating_sub(nameless);
        run.recorder.summary.unchanged = before.summary.unchanged;
        if before.not_in_sync == 0 {
            return Ok(None);
        }
        let mut impact = Impact { known: self.ledger.counts(self.book.instance()).await?.known, ..Impact::default() };
        if pushes && (before.summary.calls > 0 || before.summary.held > 0) {
            run.lease().await?;
        }
        if run.lease.is_some() && before.summary.calls > 0 {
            let mut store = Store::Staged(&mut *diff);
            if let Some(guardrail) = self.heed_account(run, &mut store).await? {
                return Ok(Some(guardrail));
            }
            impact.found = run.look(&mut store, before.summary.calls).await?;
            if run.is_other_account {
                impact.known = impact.found.unwrap_or_default();
            }
        }
        let is_news = run.looked.has_news() || run.is_other_account || run.prospects().is_closed != was_closed;
        let mut after = if is_news { self.count(run, diff, false).await? } else { before };
        after.summary.seconds = run.duration_of(&after.summary).as_secs_f64();
        // A name that the address book shows already is not sent.
        after.summary.unchanged = (before.summary.unchanged + before.not_in_sync).saturating_sub(after.not_in_sync);
        run.recorder.summary.unchanged = after.summary.unchanged;
        run.planned = after.summary.calls;
        if self.canary.is_some_and(|calls| run.planned >= calls) {
            run.trial.begin();
        }
        run.recorder.tell(&Progress::Planned(&after.summary));
        impact.renamed = after.renamed;
        Ok(self.guardrails.judge(&impact))
    }

    /// Counts the contacts that are not in sync, as the comparison sees them; the first time, the rows are refused that claim one
    /// person.
    async fn count(&self, run: &mut Run, diff: &mut dyn Diff, is_first: bool) -> Result<Open, SyncError> {
        let prospects = run.prospects();
        let (mut counted, mut after) = (Open { summary: run.recorder.summary, not_in_sync: 0, renamed: 0 }, None);
        loop {
            let records = diff.open(after.as_ref(), 512).await?;
            let Some(last) = records.last() else { break };
            after = Some(last.chat.clone());
            for record in &records {
                if !run.concerns(&record.chat) {
                    continue;
                }
                if is_first {
                    if record.status == (Status::Parked { reason: Park::Competing }) {
                        run.recorder.refuse_competing(record);
                    }
                    run.looked.note_unsaved(record);
                }
                let Some(change) = prospects.of(record).and_then(|outcome| Change::of(record, outcome)) else {
                    continue;
                };
                counted.not_in_sync += 1;
                let is_due = record.status.due_at().is_some();
                counted.renamed += u64::from(is_due && change.action == Action::Rename);
                counted.summary.count(&change);
            }
        }
        counted.summary.refused = run.recorder.summary.refused;
        counted.summary.calls = counted.summary.created + counted.summary.renamed;
        counted.summary.seconds = run.duration_of(&counted.summary).as_secs_f64();
        Ok(counted)
    }

    /// Finds out, once in a run, whether another account is behind the instance than the one whose names the ledger knows. If that
    /// is allowed, nothing counts any more of what is known of the address book.
    async fn heed_account(&self, run: &mut Run, store: &mut Store<'_>) -> Result<Option<Guardrail>, SyncError> {
        if run.account.is_some() {
            return Ok(None);
        }
        run.account = run.look_at_account().await?;
        let (Some(known), Some(found)) = (run.state.account.clone(), run.account.clone()) else { return Ok(None) };
        run.is_other_account = known != found;
        if run.is_other_account {
            if !self.guardrails.allows_other_account() {
                return Ok(Some(Guardrail::OtherAccount { known, found }));
            }
            run.change_all(store, &Event::AccountChanged).await?;
        }
        Ok(None)
    }

    /// Remembers the policy, the account that is written to from now on, and how large its address book is.
    async fn keep_state(&self, run: &mut Run) -> Result<(), SyncError> {
        let (account, entries) = (run.account.clone(), run.looked.entries);
        run.save_state(|state| {
            (state.drift, state.rules) = (self.drift, self.naming.fingerprint());
            state.daily = self.daily;
            state.account = account.clone().or(state.account.take());
            state.book_entries = entries.or(state.book_entries);
        })
        .await
    }

    /// Makes what was staged once more of records that somebody else stored meanwhile.
    async fn apply_again(&self, run: &mut Run, mut lost: Vec<Write>) -> Result<(), SyncError> {
        let (instance, policy, staged) = (self.book.instance(), run.policy(), mem::take(&mut run.staged));
        let chats: Vec<_> = lost.iter().map(|write| write.record.chat.clone()).collect();
        let claims = lost.iter().flat_map(|write| write.record.claims.iter().map(|claim| claim.crm_id.clone()));
        let crm_ids: Vec<Box<str>> = claims.collect();
        let mut untold: HashSet<ChatId> = chats.iter().cloned().collect();
        run.edits.retain(|edit| !untold.contains(&edit.chat));
        // What was stored by an earlier round changes nothing in the next one.
        while !lost.is_empty() {
            tracing::debug!(%instance, lost = lost.len(), "records were stored by somebody else meanwhile; deciding again");
            self.leave_forgotten(run, &mut lost).await?;
            let mut again = Again::new(&staged, untold, &policy, self.clock.now());
            again.know(self.ledger.fetch(instance, Query::Chats(&chats)).await?);
            again.know(self.ledger.fetch(instance, Query::CrmIds(&crm_ids)).await?);
            for write in &lost {
                again.make(write);
            }
            let (writes, edits): (Vec<Write>, Vec<Option<Edit>>) = again.into_writes().unzip();
            let made: Vec<ChatId> = writes.iter().map(|write| write.record.chat.clone()).collect();
            let open = self.ledger.commit(instance, None, writes).await?;
            let stored = edits.into_iter().enumerate().filter(|(at, _)| !open.contains(at));
            run.edits.extend(stored.filter_map(|(_, edit)| edit));
            if open.is_empty() {
                break;
            }
            untold = open.into_iter().map(|at| made[at].clone()).collect();
        }
        Ok(())
    }

    /// What decisions are made with, where a request can take effect for so long.
    fn policy(&self, deadline: Duration) -> Policy {
        let (naming, backoff) = (Arc::clone(&self.naming), self.backoff.clone());
        let (repeats, repeat_every) = self.repeats;
        Policy { naming, deadline, backoff, drift: self.drift, repeats, repeat_every, ..Policy::default() }
    }

    /// Refuses claims of persons who were forgotten since the rows were compared, and leaves their ids out.
    async fn leave_forgotten(&self, run: &mut Run, lost: &mut Vec<Write>) -> Result<(), SyncError> {
        let ids_of = |write: &Write| {
            let claims = write.record.claims.iter().map(|claim| claim.crm_id.clone());
            let chats = std::iter::once(&write.record.chat).chain(&write.record.aliases);
            chats.map(|chat| chat.as_str().into()).chain(claims).collect::<Vec<Box<str>>>()
        };
        let ids: Vec<Box<str>> = lost.iter().flat_map(ids_of).collect();
        let texts: Vec<&str> = ids.iter().map(|id| &**id).collect();
        let mut are_forgotten = self.ledger.forgotten(self.book.instance(), &texts).await?.into_iter();
        lost.retain_mut(|write| {
            let is_forgotten = are_forgotten.next().unwrap_or_default();
            let Write { record, .. } = write;
            let chat = record.chat.clone();
            record.aliases.retain(|_| !are_forgotten.next().unwrap_or_default());
            record.claims.retain(|claim| {
                let is_refused = are_forgotten.next().unwrap_or_default() || is_forgotten;
                if is_refused {
                    run.recorder.refuse_forgotten(&claim.crm_id, &chat);
                }
                !is_refused
            });
            !is_forgotten
        });
        Ok(())
    }

    /// How many contacts may be between their mark and the save of their answer.
    ///
    /// With a pace, marking ahead would only make contacts wait in doubt for their turn. Without one, it lets one save serve several.
    fn window(&self) -> usize {
        if self.book.pace().interval().is_zero() { self.in_flight.saturating_mul(2).max(16) } else { self.in_flight }
    }
}

/// What a run came to.
struct Done<T> {
    what: T,
    /// The lease of a run that was told to stop or never began to push. It is given back once the end of the run is written down: a run
    /// without an end whose calls were given up would be taken for a dead one by whoever pushes next.
    lease: Option<Lease>,
}

/// The contacts that are not in sync before a run calls any.
#[derive(Clone, Copy)]
struct Open {
    /// The counts as a plan tells them.
    summary: Summary,
    not_in_sync: u64,
    /// Those due that have another name, called in this run or not.
    renamed: u64,
}

/// What a run ends with.
trait Ending {
    /// What the ledger remembers of it as JSON, now that it took so long.
    fn brief(&mut self, took: Duration) -> String;
}

impl Ending for Report {
    fn brief(&mut self, took: Duration) -> String {
        self.summary.seconds = took.as_secs_f64();
        let Self { gate, resumes_at, stopped, .. } = *self;
        let brief = Brief { summary: &self.summary, gate, resumes_at, guardrail: &self.guardrail, stopped };
        serde_json::to_string(&brief).unwrap_or_default()
    }
}

/// What a ledger remembers of a report.
#[derive(serde::Serialize)]
struct Brief<'r> {
    #[serde(flatten)]
    summary: &'r Summary,
    gate: Option<crate::ErrorKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumes_at: Option<crate::time::Timestamp>,
    guardrail: &'r Option<Guardrail>,
    stopped: bool,
}

impl fmt::Debug for ContactSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContactSync").field("book", &self.book).field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

impl SyncError {
    /// What a ledger keeps of it: nobody's name or number.
    fn brief(&self) -> String {
        match self {
            Self::MovedOn(moved) => match moved.len() {
                1 => "1 contact has moved on since the plan was made".into(),
                more => format!("{more} contacts have moved on since the plan was made"),
            },
            error => error.to_string(),
        }
    }
}

/// Why a plan or a run could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The ledger failed; nothing that it acknowledged is lost.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
    /// The source of the rows failed before its end; none of them took effect, and no call was made.
    #[error("the CRM's rows could not be read to the end; no call was made")]
    Source(#[source] Box<dyn StdError + Send + Sync>),
    /// Contacts are not as they were when a [saved plan](SavedPlan) was made; no call was made.
    #[error("the ledger has moved on since the plan was made: {}; make a new plan", saved::listed(.0))]
    MovedOn(Vec<MovedOn>),
    /// There was no such run to undo.
    #[error("there was no run {0}")]
    NoSuchRun(u64),
    /// A [saved plan](SavedPlan) that cannot be carried out here; no call was made.
    #[error("{0}; make a new plan")]
    NotThisPlan(String),
    /// A request for the person who was to be [forgotten](ContactSync::forget) may still take effect; nothing was forgotten.
    #[error("a request for this person may still take effect; nothing was forgotten, try again in {} s", wait.as_millis().div_ceil(1_000))]
    InDoubt {
        /// For how long it may.
        wait: Duration,
    },
}
