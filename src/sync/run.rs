//! The phases that a plan and a run share: take in, look, weigh.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_core::Stream;
use tokio::sync::watch;

use super::{
    Sync, SyncError,
    brakes::Load,
    decide::{Action, Event, decide},
    gate::{Gate, Passage},
    intake::Intake,
    report::{Change, Outcome, Progress, Recorder, Report, Summary, Verb},
};
use crate::{
    ChatId, Class, Error, ErrorKind,
    client::{AddressBook, Page, Turn},
    crm::{CrmContact, RowError},
    ledger::{Counts, Lease, Ledger, Row, Timestamp},
};

/// How many entries a page of the address book holds.
const PAGE: usize = 1_000;
/// How many due rows are looked at together.
const CHUNK: usize = 512;

/// One run, or one plan, of a sync.
pub(super) struct Run<'s> {
    pub(super) sync: &'s Sync,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) lease: Arc<Lease>,
    pub(super) told: watch::Receiver<bool>,
    pub(super) gate: Gate,
    pub(super) recorder: Recorder,
    /// Until when the instance asked not to be called, if that is not in the ledger yet.
    pub(super) close_until: Option<Timestamp>,
}

/// What is asked of the address book.
enum Look<'a> {
    One(&'a ChatId),
    Page(usize),
}

impl<'s> Run<'s> {
    pub(super) async fn begin(
        sync: &'s Sync,
        ledger: Arc<dyn Ledger>,
        told: watch::Receiver<bool>,
        recorder: Recorder,
    ) -> Result<Self, SyncError> {
        let now = Timestamp::now();
        let lease = Arc::new(ledger.lease(sync.book.instance(), now).await?);
        let gate = Gate::new(sync.patience, ledger.closed_until(&lease.instance).await?, now);
        Ok(Self { sync, ledger, lease, told, gate, recorder, close_until: None })
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.told.borrow()
    }

    /// Takes the CRM's rows in, looks at what the address book shows for those that are due, and says what the run is about to do.
    ///
    /// Nothing is written to the address book, and nothing is asked of it if nothing is due.
    pub(super) async fn prepare<S>(&mut self, rows: Pin<&mut S>) -> Result<Load, SyncError>
    where
        S: Stream<Item = Result<CrmContact, RowError>>,
    {
        let before = self.counts().await?;
        let told = self.told.clone();
        let (ledger, naming) = (Arc::clone(&self.ledger), &self.sync.naming);
        let intake = Intake::new(ledger, &self.lease, naming, &mut self.recorder, before.last_slot);
        let blanked = intake.take(rows, told).await?;
        let counts = self.counts().await?;
        let mut load = Load { blanked, ..Load::default() };
        if counts.due > 0 {
            load.found = self.look(&counts).await?;
            load.sent = counts.known;
            load.known = self.counts().await?.known;
        }
        Ok(load)
    }

    async fn counts(&self) -> Result<Counts, SyncError> {
        Ok(self.ledger.counts(&self.lease.instance).await?)
    }

    /// Reads what the address book shows, so that whatever is overwritten is known: each due contact by itself if that takes fewer
    /// reads than the whole book. Says how many of the contacts that we know it still shows, if it was read as a whole.
    async fn look(&mut self, counts: &Counts) -> Result<Option<u64>, SyncError> {
        let pages = counts.rows / PAGE as u64 + 1;
        if counts.due > pages { self.look_at_all().await } else { self.look_at_due().await.map(|()| None) }
    }

    async fn look_at_due(&mut self) -> Result<(), SyncError> {
        let mut after = None;
        loop {
            let rows = self.due_after(after.as_ref()).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.chat.clone());
            for row in rows {
                let Some(page) = self.read(&Look::One(&row.chat)).await? else { return Ok(()) };
                if page.entries == 0 {
                    continue;
                }
                let name =
                    page.contacts.into_iter().find(|contact| contact.chat == row.chat).and_then(|contact| contact.name);
                self.observe(vec![(row, name)]).await?;
            }
        }
    }

    async fn look_at_all(&mut self) -> Result<Option<u64>, SyncError> {
        let (mut offset, mut found, mut last) = (0, 0, Vec::new());
        loop {
            let Some(page) = self.read(&Look::Page(offset)).await? else { return Ok(None) };
            let chats: Vec<ChatId> = page.contacts.iter().map(|contact| contact.chat.clone()).collect();
            if page.entries >= PAGE && chats == last {
                let hint = "the address book gives the same page again and again";
                self.gate.shut(&Error::new(ErrorKind::Decode).with_hint(hint));
                return Ok(None);
            }
            let rows = self.ledger.load(&self.lease.instance, &chats).await?;
            let names = page.contacts.into_iter().map(|contact| contact.name);
            let pairs: Vec<_> = rows.into_iter().zip(names).filter_map(|(row, name)| Some((row?, name))).collect();
            found += pairs.iter().filter(|(row, name)| row.is_known() && name.is_some()).count() as u64;
            self.observe(pairs).await?;
            (offset, last) = (offset + page.entries, chats);
            self.recorder.tell(&Progress::Read(offset as u64));
            if page.entries < PAGE {
                return Ok(Some(found));
            }
        }
    }

    /// Writes down what was seen, where it is news.
    async fn observe(&mut self, seen: Vec<(Row, Option<String>)>) -> Result<(), SyncError> {
        let now = Timestamp::now();
        let (mut news, mut history) = (Vec::new(), Vec::new());
        for (row, name) in seen {
            let was_settled = row.is_settled();
            let (row, action) = decide(row, Event::Observed(name.map(Into::into)), now);
            let unchanged = &mut self.recorder.summary.unchanged;
            *unchanged = (*unchanged + u64::from(row.is_settled())).saturating_sub(u64::from(was_settled));
            match action {
                Action::Store => news.push(row),
                Action::Record(overwritten) => {
                    news.push(row);
                    history.push(overwritten);
                }
                Action::Keep | Action::Stale | Action::Call => {}
            }
        }
        if !news.is_empty() {
            self.ledger.save(&self.lease, news, history).await?;
        }
        Ok(())
    }

    /// Reads once the gate lets it, again and again as long as the gate has patience; `None` if it has none left, or on stop.
    async fn read(&mut self, look: &Look<'_>) -> Result<Option<Page>, SyncError> {
        loop {
            match self.gate.passage(Timestamp::now()) {
                Passage::Closed => return Ok(None),
                Passage::Wait(until) => self.wait_until(until).await,
                Passage::Free | Passage::Probe => {}
            }
            let turn = tokio::select! {
                biased;
                () = stopped(&mut self.told) => return Ok(None),
                turn = self.sync.book.turn() => turn,
            };
            match fetch(&*self.sync.book, turn, look).await {
                Ok(page) => {
                    self.gate.well(Timestamp::now());
                    return Ok(Some(page));
                }
                Err(error) if error.class() == Class::Contact && matches!(look, Look::One(_)) => {
                    // Nothing was read: what is known of the contact stands.
                    return Ok(Some(Page::default()));
                }
                Err(error) => self.read_failed(&error).await?,
            }
        }
    }

    async fn read_failed(&mut self, error: &Error) -> Result<(), SyncError> {
        let now = Timestamp::now();
        let backoff = self.sync.backoff.backoff(self.gate.streak() + 1, fastrand::f64());
        let is_patience_over = error.is_transient() && backoff > self.sync.patience;
        // A refused page of the whole book is nobody's fault.
        if error.class() == Class::Contact || is_patience_over {
            self.gate.shut(error);
        } else if let Some(until) = self.gate.failed(error, backoff, now) {
            self.close_until = Some(until);
            self.store_closing().await?;
        }
        if error.is_transient() && !is_patience_over {
            self.wait_until(now.after(backoff)).await;
        }
        Ok(())
    }

    /// Makes durable until when the instance asked not to be called, so that the next run heeds it too.
    pub(super) async fn store_closing(&mut self) -> Result<(), SyncError> {
        if let Some(until) = self.close_until.take() {
            self.ledger.close_until(&self.lease, until).await?;
        }
        Ok(())
    }

    /// Waits until a moment, or until it is told to stop.
    pub(super) async fn wait_until(&mut self, until: Timestamp) {
        if let Some(kind) = self.gate.reason() {
            self.recorder.tell(&Progress::Waiting(until, kind));
        }
        let wait = until.since(Timestamp::now());
        tokio::select! { () = tokio::time::sleep(wait) => {}, () = stopped(&mut self.told) => {} }
    }

    async fn due_after(&self, after: Option<&ChatId>) -> Result<Vec<Row>, SyncError> {
        Ok(self.ledger.due(&self.lease.instance, Timestamp(u64::MAX), after, CHUNK).await?)
    }

    /// Goes over all rows that are due, now or later.
    pub(super) async fn each_due(&mut self, mut then: impl FnMut(&mut Recorder, Row)) -> Result<(), SyncError> {
        let mut after = None;
        loop {
            let rows = self.due_after(after.as_ref()).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.chat.clone());
            for row in rows {
                then(&mut self.recorder, row);
            }
        }
    }

    /// What a run can make of its due rows, as things stand.
    pub(super) fn prospects(&self) -> Prospects {
        let now = Timestamp::now();
        let is_closed = self.gate.passage(now) == Passage::Closed;
        Prospects { is_closed, patient_until: now.after(self.sync.patience) }
    }

    /// Counts what the run is about to do.
    pub(super) async fn weigh(&mut self, load: &mut Load) -> Result<Summary, SyncError> {
        let (mut summary, prospects) = (self.recorder.summary, self.prospects());
        self.each_due(|_, row| {
            let change = Change::of(&row, prospects.of(&row));
            let is_news = change.before.as_deref() != Some(&*change.after);
            load.renamed += u64::from(change.action == Verb::Rename && is_news);
            *summary.counter(&change) += 1;
        })
        .await?;
        summary.calls = summary.created + summary.renamed;
        summary.seconds = self.sync.duration_of(summary.calls).as_secs_f64();
        self.recorder.tell(&Progress::Planned(&summary));
        Ok(summary)
    }

    /// Reports what is left due, and ends the run in the ledger.
    pub(super) async fn end(mut self, took: Duration) -> Result<Report, SyncError> {
        self.store_closing().await?;
        self.each_due(|recorder, row| recorder.change(Change::of(&row, Outcome::due(&row)))).await?;
        let stopped = self.is_stopped();
        let Recorder { mut summary, changes, refusals, .. } = self.recorder;
        summary.seconds = took.as_secs_f64();
        let (gate, hint) = (self.gate.reason(), self.gate.hint());
        let report = Report { run: self.lease.fence, summary, gate, hint, stopped, open: changes, refusals };
        let json = serde_json::to_string(&report.summary).unwrap_or_default();
        self.ledger.end(&self.lease, Timestamp::now(), &json).await?;
        Ok(report)
    }
}

/// Which due rows a run would call for, and which it would leave due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prospects {
    is_closed: bool,
    patient_until: Timestamp,
}

impl Prospects {
    pub(super) fn of(self, row: &Row) -> Outcome {
        let is_late = row.due_at().is_some_and(|at| at > self.patient_until);
        if self.is_closed || is_late { Outcome::due(row) } else { Outcome::Planned }
    }
}

async fn fetch(book: &dyn AddressBook, turn: Turn, look: &Look<'_>) -> Result<Page, Error> {
    match look {
        Look::One(chat) => Ok(Page { entries: 1, contacts: book.contact(turn, chat).await?.into_iter().collect() }),
        Look::Page(offset) => book.page(turn, *offset, PAGE).await,
    }
}

/// Completes when the run is told to stop.
pub(super) async fn stopped(told: &mut watch::Receiver<bool>) {
    // Whoever could tell is gone with the run itself.
    let _ = told.wait_for(|told| *told).await.map(drop);
}
