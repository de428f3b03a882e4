//! A ledger and an address book whose steps are directed.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;

use super::director::{Director, Failed, Side, Step, begin, follow};
use crate::{
    ChatId, ContactName, Error, InstanceId, Pace, Phone,
    book::{AddressBook, Contact, Existence, LidPage, Page, Permit, Session},
    ledger::{
        Counts, Diff, Incoming, InstanceState, Lease, Ledger, LedgerError, LedgerErrorKind, Query, RunRecord, Tally,
        Verdict, Write,
    },
    record::{Overwritten, Record},
    time::Timestamp,
};

/// A ledger that does as a [`Director`] says before and after each of its steps.
#[derive(Debug, Clone)]
pub struct FaultyLedger {
    inner: Arc<dyn Ledger>,
    director: Arc<dyn Director>,
}

impl FaultyLedger {
    /// Directs a ledger.
    #[must_use]
    pub fn new(inner: Arc<dyn Ledger>, director: Arc<dyn Director>) -> Self {
        Self { inner, director }
    }

    async fn take<T>(
        &self,
        step: Step,
        taken: impl Future<Output = Result<T, LedgerError>> + Send,
    ) -> Result<T, LedgerError> {
        take(&*self.director, step, taken).await
    }
}

/// Takes a step of a ledger, as it is directed.
async fn take<T>(
    director: &dyn Director,
    step: Step,
    taken: impl Future<Output = Result<T, LedgerError>> + Send,
) -> Result<T, LedgerError> {
    begin(director, step, &[]).await.map_err(fails(step))?;
    let result = steady(taken).await?;
    follow(director, step, Side::After).await.map_err(fails(step))?;
    Ok(result)
}

fn fails(step: Step) -> impl Fn(Failed) -> LedgerError {
    move |_| LedgerError::new(LedgerErrorKind::Unavailable, format!("the simulation lets the ledger fail: {step:?}"))
}

/// Keeps a paused clock from running ahead while another thread works for a ledger.
pub(super) async fn steady<T>(work: impl Future<Output = T>) -> T {
    /// A ledger that waits for the runtime's clock must not wait for ever.
    const LONGEST: Duration = Duration::from_secs(2);
    let (mut work, began) = (pin!(work), Instant::now());
    poll_fn(|context| {
        let polled = work.as_mut().poll(context);
        if polled.is_pending() && began.elapsed() < LONGEST {
            // The other thread may need this one's core.
            thread::sleep(Duration::from_micros(50));
            context.waker().wake_by_ref();
        }
        polled
    })
    .await
}

/// Stores the records of chats once more as they are, so that whoever has loaded them before loses.
async fn slip_in(ledger: &dyn Ledger, instance: &InstanceId, chats: &[ChatId]) -> Result<(), LedgerError> {
    let mut records = steady(ledger.fetch(instance, Query::Chats(chats))).await?;
    for chat in chats {
        if !records.iter().any(|record| record.answers_to(chat)) {
            records.push(Record::new(chat.clone()));
        }
    }
    steady(ledger.commit(instance, None, records.into_iter().map(Write::from).collect())).await.map(drop)
}

fn chats(writes: &[Write]) -> Vec<ChatId> {
    writes.iter().map(|write| write.record.chat.clone()).collect()
}

#[async_trait]
impl Ledger for FaultyLedger {
    async fn acquire(&self, instance: &InstanceId, owner: &str, ttl: Duration) -> Result<Lease, LedgerError> {
        self.take(Step::Acquire, self.inner.acquire(instance, owner, ttl)).await
    }

    async fn renew(&self, lease: &Lease, ttl: Duration) -> Result<(), LedgerError> {
        self.take(Step::Renew, self.inner.renew(lease, ttl)).await
    }

    async fn release(&self, lease: Lease) -> Result<(), LedgerError> {
        self.take(Step::Release, self.inner.release(lease)).await
    }

    async fn fetch(&self, instance: &InstanceId, query: Query<'_>) -> Result<Vec<Record>, LedgerError> {
        self.take(Step::Look, self.inner.fetch(instance, query)).await
    }

    async fn commit(
        &self,
        instance: &InstanceId,
        lease: Option<&Lease>,
        writes: Vec<Write>,
    ) -> Result<Vec<usize>, LedgerError> {
        if begin(&*self.director, Step::Commit, &writes).await.map_err(fails(Step::Commit))? {
            // One of them at the most, so that the rest of the batch shows that it is left alone.
            let first = chats(&writes[..writes.len().min(1)]);
            slip_in(&*self.inner, instance, &first).await?;
        }
        let lost = steady(self.inner.commit(instance, lease, writes)).await?;
        self.director.lost(lost.len());
        follow(&*self.director, Step::Commit, Side::After).await.map_err(fails(Step::Commit))?;
        Ok(lost)
    }

    async fn diff(&self, instance: &InstanceId) -> Result<Box<dyn Diff>, LedgerError> {
        let inner = self.take(Step::Look, self.inner.diff(instance)).await?;
        let (ledger, director) = (Arc::clone(&self.inner), Arc::clone(&self.director));
        Ok(Box::new(FaultyDiff { inner, ledger, director, instance: instance.clone(), staged: None }))
    }

    async fn state(&self, instance: &InstanceId) -> Result<InstanceState, LedgerError> {
        self.take(Step::Look, self.inner.state(instance)).await
    }

    async fn save_state(&self, instance: &InstanceId, state: InstanceState) -> Result<bool, LedgerError> {
        if begin(&*self.director, Step::SaveState, &[]).await.map_err(fails(Step::SaveState))? {
            let stored = steady(self.inner.state(instance)).await?;
            steady(self.inner.save_state(instance, stored)).await?;
        }
        let is_newest = steady(self.inner.save_state(instance, state)).await?;
        follow(&*self.director, Step::SaveState, Side::After).await.map_err(fails(Step::SaveState))?;
        Ok(is_newest)
    }

    async fn counts(&self, instance: &InstanceId) -> Result<Counts, LedgerError> {
        self.take(Step::Look, self.inner.counts(instance)).await
    }

    async fn begin_run(&self, instance: &InstanceId, owner: &str, began: Timestamp) -> Result<u64, LedgerError> {
        self.take(Step::BeginRun, self.inner.begin_run(instance, owner, began)).await
    }

    async fn end_run(
        &self,
        instance: &InstanceId,
        run: u64,
        ended: Timestamp,
        summary: &str,
    ) -> Result<(), LedgerError> {
        self.take(Step::EndRun, self.inner.end_run(instance, run, ended, summary)).await
    }

    async fn runs(&self, instance: &InstanceId, limit: usize) -> Result<Vec<RunRecord>, LedgerError> {
        self.take(Step::Look, self.inner.runs(instance, limit)).await
    }

    async fn run(&self, instance: &InstanceId, run: u64) -> Result<Option<RunRecord>, LedgerError> {
        self.take(Step::Look, self.inner.run(instance, run)).await
    }

    async fn open_runs(&self, instance: &InstanceId, limit: usize) -> Result<Vec<RunRecord>, LedgerError> {
        self.take(Step::Look, self.inner.open_runs(instance, limit)).await
    }

    async fn history(&self, instance: &InstanceId, chat: &ChatId) -> Result<Vec<Overwritten>, LedgerError> {
        self.take(Step::Look, self.inner.history(instance, chat)).await
    }

    async fn before_run(
        &self,
        instance: &InstanceId,
        run: u64,
        after: Option<&ChatId>,
        limit: usize,
    ) -> Result<Vec<Overwritten>, LedgerError> {
        self.take(Step::Look, self.inner.before_run(instance, run, after, limit)).await
    }

    async fn append_report(&self, instance: &InstanceId, run: u64, lines: &str) -> Result<(), LedgerError> {
        self.take(Step::Report, self.inner.append_report(instance, run, lines)).await
    }

    async fn report(&self, instance: &InstanceId, run: u64) -> Result<Vec<Box<str>>, LedgerError> {
        self.take(Step::Look, self.inner.report(instance, run)).await
    }

    async fn keep_reports(&self, instance: &InstanceId, runs: u64) -> Result<(), LedgerError> {
        self.take(Step::Report, self.inner.keep_reports(instance, runs)).await
    }

    async fn forget(&self, instance: &InstanceId, record: &Record) -> Result<bool, LedgerError> {
        self.take(Step::Forget, self.inner.forget(instance, record)).await
    }

    async fn forgotten(&self, instance: &InstanceId, ids: &[&str]) -> Result<Vec<bool>, LedgerError> {
        self.take(Step::Look, self.inner.forgotten(instance, ids)).await
    }

    async fn allow(&self, instance: &InstanceId, id: &str) -> Result<bool, LedgerError> {
        self.take(Step::Forget, self.inner.allow(instance, id)).await
    }
}

struct FaultyDiff {
    inner: Box<dyn Diff>,
    ledger: Arc<dyn Ledger>,
    director: Arc<dyn Director>,
    instance: InstanceId,
    /// One chat that was staged: whose record another lane can store before it is applied.
    staged: Option<ChatId>,
}

impl fmt::Debug for FaultyDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultyDiff").field(&self.inner).finish()
    }
}

impl FaultyDiff {
    async fn apply_by(self: Box<Self>, is_whole: bool) -> Result<Vec<Write>, LedgerError> {
        let Self { inner, ledger, director, instance, staged } = *self;
        if begin(&*director, Step::Apply, &[]).await.map_err(fails(Step::Apply))?
            && let Some(chat) = staged
        {
            slip_in(&*ledger, &instance, &[chat]).await?;
        }
        let lost = if is_whole { steady(inner.apply_whole()).await? } else { steady(inner.apply()).await? };
        director.lost(lost.len());
        follow(&*director, Step::Apply, Side::After).await.map_err(fails(Step::Apply))?;
        Ok(lost)
    }
}

#[async_trait]
impl Diff for FaultyDiff {
    async fn compare(&mut self, rows: Arc<[Incoming]>) -> Result<Vec<Verdict>, LedgerError> {
        take(&*self.director, Step::Look, self.inner.compare(rows)).await
    }

    async fn stage(&mut self, writes: Vec<Write>) -> Result<(), LedgerError> {
        self.staged = writes.first().map(|write| write.record.chat.clone()).or(self.staged.take());
        take(&*self.director, Step::Stage, self.inner.stage(writes)).await
    }

    async fn find(&mut self, chats: &[ChatId]) -> Result<Vec<Record>, LedgerError> {
        take(&*self.director, Step::Look, self.inner.find(chats)).await
    }

    async fn absent(&mut self, limit: usize) -> Result<Vec<(Box<str>, Record)>, LedgerError> {
        take(&*self.director, Step::Look, self.inner.absent(limit)).await
    }

    async fn open(&mut self, after: Option<&ChatId>, limit: usize) -> Result<Vec<Record>, LedgerError> {
        take(&*self.director, Step::Look, self.inner.open(after, limit)).await
    }

    async fn tally(&mut self) -> Result<Tally, LedgerError> {
        take(&*self.director, Step::Look, self.inner.tally()).await
    }

    async fn into_writes(self: Box<Self>) -> Result<Vec<Write>, LedgerError> {
        let Self { inner, director, .. } = *self;
        take(&*director, Step::Look, inner.into_writes()).await
    }

    async fn apply(self: Box<Self>) -> Result<Vec<Write>, LedgerError> {
        self.apply_by(false).await
    }

    async fn apply_whole(self: Box<Self>) -> Result<Vec<Write>, LedgerError> {
        self.apply_by(true).await
    }
}

/// An address book whose callers can be stopped before and after each call, as a [`Director`] says.
///
/// It never fails by itself: that is the server's part.
#[derive(Debug, Clone)]
pub struct FaultyBook<B> {
    inner: B,
    director: Arc<dyn Director>,
}

impl<B: AddressBook> FaultyBook<B> {
    /// Directs the calls of an address book.
    #[must_use]
    pub fn new(inner: B, director: Arc<dyn Director>) -> Self {
        Self { inner, director }
    }

    async fn call<T>(&self, step: Step, called: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
        let _: Result<bool, Failed> = begin(&*self.director, step, &[]).await;
        let answer = called.await;
        let _: Result<bool, Failed> = follow(&*self.director, step, Side::After).await;
        answer
    }
}

#[async_trait]
impl<B: AddressBook> AddressBook for FaultyBook<B> {
    fn instance(&self) -> &InstanceId {
        self.inner.instance()
    }

    fn deadline(&self) -> Duration {
        self.inner.deadline()
    }

    fn pace(&self) -> Pace {
        self.inner.pace()
    }

    async fn permit(&self) -> Result<Permit, Error> {
        self.inner.permit().await
    }

    async fn update(&self, permit: Permit, chat: &ChatId, name: &ContactName) -> Result<(), Error> {
        self.call(Step::Update, self.inner.update(permit, chat, name)).await
    }

    async fn contact(&self, permit: Permit, chat: &ChatId) -> Result<Option<Contact>, Error> {
        self.call(Step::Read, self.inner.contact(permit, chat)).await
    }

    async fn page(&self, permit: Permit, offset: usize, limit: usize) -> Result<Page, Error> {
        self.call(Step::Read, self.inner.page(permit, offset, limit)).await
    }

    async fn session(&self, permit: Permit) -> Result<Option<Session>, Error> {
        self.call(Step::Read, self.inner.session(permit)).await
    }

    async fn phone_of(&self, permit: Permit, lid: &ChatId) -> Result<Option<Phone>, Error> {
        self.call(Step::Read, self.inner.phone_of(permit, lid)).await
    }

    async fn exists(&self, permit: Permit, phone: &Phone) -> Result<Option<Existence>, Error> {
        self.call(Step::Read, self.inner.exists(permit, phone)).await
    }

    async fn lids(&self, permit: Permit, offset: usize, limit: usize) -> Result<LidPage, Error> {
        self.call(Step::Read, self.inner.lids(permit, offset, limit)).await
    }
}
