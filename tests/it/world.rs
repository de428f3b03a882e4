//! A ledger, an address book and a clock, and what tests of a sync say again and again.

use std::{sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use tempfile::TempDir;
use wawp_contacts::{
    ChatId, ContactSync, InstanceId, RetryPolicy,
    crm::{CrmContact, Feed, RowError},
    ledger::{InstanceState, Ledger, MemoryLedger, Query, SqliteLedger, Wait},
    naming::Naming,
    record::Record,
    sync::{Guardrails, Plan, Report},
    testkit::sim::FaultyLedger,
    time::{Clock, Timestamp},
};

use crate::{
    book::{Book, Fate},
    shaky::Shaky,
};

/// When every test begins: some day in 2023.
pub(crate) const START: Timestamp = Timestamp(1_700_000_000_000);

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) fn chat(n: usize) -> ChatId {
    format!("1202555{n:04}@c.us").parse().unwrap()
}

pub(crate) fn lid(n: usize) -> ChatId {
    format!("1234567890{n:05}@lid").parse().unwrap()
}

pub(crate) fn row(n: usize, first: &str) -> CrmContact {
    claim(&format!("crm-{n}"), n, first)
}

/// A row of another id than its number.
pub(crate) fn claim(id: &str, n: usize, first: &str) -> CrmContact {
    CrmContact::new(id, chat(n)).named(first, "")
}

pub(crate) fn people(n: usize, name: &str) -> Vec<CrmContact> {
    (0..n).map(|n| row(n, &format!("{name} {n}"))).collect()
}

pub(crate) fn stream_of(
    rows: impl IntoIterator<Item = CrmContact>,
) -> impl Stream<Item = Result<CrmContact, RowError>> + Send + Unpin {
    stream::iter(rows.into_iter().map(Ok).collect::<Vec<_>>())
}

/// All of the CRM.
pub(crate) fn all(
    rows: impl IntoIterator<Item = CrmContact>,
) -> Feed<impl Stream<Item = Result<CrmContact, RowError>> + Send> {
    Feed::snapshot(stream_of(rows))
}

/// Some of the CRM.
pub(crate) fn some(
    rows: impl IntoIterator<Item = CrmContact>,
) -> Feed<impl Stream<Item = Result<CrmContact, RowError>> + Send> {
    Feed::changes(stream_of(rows))
}

/// Created, renamed, unchanged, refused, parked, waiting, calls.
pub(crate) fn counts(report: &Report) -> [u64; 7] {
    let s = report.summary;
    [s.created, s.renamed, s.unchanged, s.refused, s.parked, s.gated, s.calls]
}

pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) ledger: FaultyLedger,
    /// Who directs the ledger.
    pub(crate) shaky: Shaky,
    base: Arc<dyn Ledger>,
    pub(crate) book: Book,
    pub(crate) instance: InstanceId,
    /// Where the ledger's file is, if it has one.
    home: Option<TempDir>,
}

impl World {
    /// A world with a ledger in memory.
    pub(crate) fn new() -> Self {
        let clock = Clock::starting_at(START);
        let ledger = Arc::new(MemoryLedger::new(clock.clone()));
        Self::on(ledger, clock, None)
    }

    /// One world for each ledger, to hold a promise on all of them.
    pub(crate) async fn each() -> Vec<Self> {
        vec![Self::new(), Self::on_disk().await]
    }

    pub(crate) async fn on_disk() -> Self {
        let (clock, home) = (Clock::starting_at(START), tempfile::tempdir().unwrap());
        let ledger = SqliteLedger::open_with_clock(home.path().join("ledger"), clock.clone()).await.unwrap();
        Self::on(Arc::new(ledger), clock, Some(home))
    }

    fn on(ledger: Arc<dyn Ledger>, clock: Clock, home: Option<TempDir>) -> Self {
        let book = Book::new(Arc::clone(&ledger), clock.clone());
        let instance = "A1B2C3".parse().unwrap();
        let shaky = Shaky::new();
        let directed = FaultyLedger::new(Arc::clone(&ledger), Arc::new(shaky.clone()));
        Self { ledger: directed, shaky, base: ledger, book, clock, instance, home }
    }

    /// The folder of the ledger's file.
    pub(crate) fn home(&self) -> &std::path::Path {
        self.home.as_ref().expect("the ledger is in memory").path()
    }

    /// The ledger itself, which no trouble is made in: for what happens meanwhile.
    pub(crate) fn base(&self) -> Arc<dyn Ledger> {
        Arc::clone(&self.base)
    }

    pub(crate) fn sync(&self) -> ContactSync {
        self.named(Naming::new("Lead, Customer".parse().unwrap()))
    }

    /// A sync that tries a contact four times within seconds, waits two minutes at the most, and has no guardrails.
    pub(crate) fn named(&self, naming: Naming) -> ContactSync {
        let backoff = RetryPolicy::default().max_attempts(4).backing_off(seconds(1), seconds(4));
        ContactSync::new(self.book.clone(), self.ledger.clone(), naming)
            .clock(self.clock.clone())
            .backoff(backoff)
            .max_wait(seconds(120))
            .guardrails(Guardrails::off())
    }

    /// The same with the guardrails that everybody has.
    pub(crate) fn guarded(&self) -> ContactSync {
        self.sync().guardrails(Guardrails::default())
    }

    pub(crate) async fn run(&self, rows: Vec<CrmContact>) -> Report {
        self.sync().run(all(rows)).await.unwrap()
    }

    /// A run that dies while its only call, for the first of the people called Bob, is not answered.
    pub(crate) async fn die_during_a_call(&self) {
        self.book.next([Fate::Hangs]);
        let sync = self.sync();
        tokio::select! {
            _ = sync.run(all(people(1, "Bob"))) => unreachable!("the call hangs"),
            () = self.book.hung.notified() => {}
        }
    }

    pub(crate) async fn plan(&self, rows: Vec<CrmContact>) -> Plan {
        self.sync().plan(all(rows)).await.unwrap()
    }

    /// Somebody else stores a contact's record as it is.
    pub(crate) fn touch(&self, n: usize) -> impl Future<Output = ()> + Send + 'static {
        let (ledger, instance) = (self.base(), self.instance.clone());
        async move {
            let records = ledger.fetch(&instance, Query::Chats(&[chat(n)])).await.unwrap();
            assert!(ledger.commit(&instance, None, vec![records[0].clone().into()]).await.unwrap().is_empty());
        }
    }

    /// What the ledger knows of a person.
    pub(crate) async fn find(&self, chat: &ChatId) -> Option<Record> {
        let query = Query::Chats(std::slice::from_ref(chat));
        self.ledger.fetch(&self.instance, query).await.unwrap().into_iter().find(|record| record.answers_to(chat))
    }

    pub(crate) async fn record(&self, n: usize) -> Record {
        self.find(&chat(n)).await.unwrap()
    }

    /// The names that were overwritten, newest first.
    pub(crate) async fn texts(&self, n: usize) -> Vec<String> {
        let history = self.ledger.history(&self.instance, &chat(n)).await.unwrap();
        history.into_iter().map(|overwritten| overwritten.text.into()).collect()
    }

    pub(crate) async fn state(&self) -> InstanceState {
        self.ledger.state(&self.instance).await.unwrap()
    }

    /// Stores that the instance asked to be left alone.
    pub(crate) async fn remember(&self, wait: Wait) {
        let mut state = self.state().await;
        state.wait = Some(wait);
        assert!(self.ledger.save_state(&self.instance, state).await.unwrap());
    }

    /// Whether everybody has the name that `people` gives them.
    pub(crate) fn shows(&self, n: usize, name: &str) -> bool {
        (0..n).all(|n| self.book.name(&chat(n)) == Some(format!("{name} {n}")))
    }
}
