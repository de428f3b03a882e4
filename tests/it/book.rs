//! An address book in memory that fails as it is told, and looks over the pusher's shoulder.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::Notify;
use wawp_contacts::{
    AddressBook, ChatId, ContactName, Error, ErrorKind, InstanceId,
    client::{Contact, Page, Turn},
    ledger::Ledger,
};

/// The longest time that a request of this book can take effect after it was begun.
pub(crate) const DEADLINE: Duration = Duration::from_millis(20);

/// What becomes of one update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Applied and acknowledged.
    Fine,
    /// Refused or lost before it was applied.
    Fails(ErrorKind),
    /// Applied, but the answer is an error.
    AppliedBut(ErrorKind),
    /// Applied once the caller has given up, and never answered.
    AppliedLate,
    /// Neither applied nor answered.
    Hangs,
    /// The client has a bug.
    Panics,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<ChatId, String>,
    pushnames: BTreeMap<ChatId, String>,
    fates: VecDeque<Fate>,
    fates_of: BTreeMap<ChatId, VecDeque<Fate>>,
    calls: Vec<(ChatId, String)>,
    effects: Vec<(ChatId, String)>,
    reads: usize,
    /// Whether every page is the first.
    sticks: bool,
    refuses_reads: bool,
    in_flight: usize,
    most_in_flight: usize,
}

/// The book; clones share one state.
#[derive(Debug, Clone)]
pub(crate) struct Book {
    instance: InstanceId,
    state: Arc<Mutex<State>>,
    /// Checked before each update: what is about to be sent must be in doubt there.
    ledger: Arc<dyn Ledger>,
    /// Told when an update hangs.
    pub(crate) hung: Arc<Notify>,
}

impl Book {
    pub(crate) fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self { instance: "A1B2C3".parse().unwrap(), state: Arc::default(), ledger, hung: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Says what becomes of the next updates, whoever they are for.
    pub(crate) fn next(&self, fates: impl IntoIterator<Item = Fate>) {
        self.state().fates.extend(fates);
    }

    /// Says what becomes of the next updates of one contact.
    pub(crate) fn next_of(&self, chat: &ChatId, fates: impl IntoIterator<Item = Fate>) {
        self.state().fates_of.entry(chat.clone()).or_default().extend(fates);
    }

    /// Forgets what was to become of updates.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.fates.clear();
        state.fates_of.clear();
    }

    /// A person saves a name on the phone.
    pub(crate) fn edit(&self, chat: &ChatId, name: &str) {
        self.state().names.insert(chat.clone(), name.into());
    }

    /// Gives the first page again and again.
    pub(crate) fn stick(&self) {
        self.state().sticks = true;
    }

    pub(crate) fn wipe(&self) {
        self.state().names.clear();
    }

    pub(crate) fn set_pushname(&self, chat: &ChatId, name: &str) {
        self.state().pushnames.insert(chat.clone(), name.into());
    }

    pub(crate) fn name(&self, chat: &ChatId) -> Option<String> {
        self.state().names.get(chat).cloned()
    }

    /// The updates that arrived, in order.
    pub(crate) fn calls(&self) -> Vec<(ChatId, String)> {
        self.state().calls.clone()
    }

    /// The updates that took effect, in order.
    pub(crate) fn effects(&self) -> Vec<(ChatId, String)> {
        self.state().effects.clone()
    }

    pub(crate) fn reads(&self) -> usize {
        self.state().reads
    }

    pub(crate) fn most_in_flight(&self) -> usize {
        self.state().most_in_flight
    }

    /// Refuses reads of single contacts from now on.
    pub(crate) fn refuse_reads(&self) {
        self.state().refuses_reads = true;
    }

    fn apply(&self, chat: &ChatId, name: &str) {
        let mut state = self.state();
        state.names.insert(chat.clone(), name.into());
        state.effects.push((chat.clone(), name.into()));
    }

    async fn is_in_doubt(&self, chat: &ChatId, name: &ContactName) -> bool {
        let rows = self.ledger.load(&self.instance, std::slice::from_ref(chat)).await.unwrap();
        rows[0].as_ref().is_some_and(|row| row.pushed.doubt.as_ref().is_some_and(|doubt| doubt.name == *name))
    }

    fn fate(&self, chat: &ChatId) -> Fate {
        let mut state = self.state();
        let own = state.fates_of.get_mut(chat).and_then(VecDeque::pop_front);
        own.or_else(|| state.fates.pop_front()).unwrap_or(Fate::Fine)
    }

    fn look(&self, chat: &ChatId) -> Contact {
        let state = self.state();
        let mut contact = Contact::new(chat.clone());
        contact.name = state.names.get(chat).cloned();
        contact.pushname = state.pushnames.get(chat).cloned();
        contact
    }

    async fn meet(&self, fate: Fate, chat: &ChatId, name: &str) -> Result<(), Error> {
        tokio::task::yield_now().await;
        match fate {
            Fate::Fine => self.apply(chat, name),
            Fate::Fails(ErrorKind::RateLimited) => {
                return Err(Error::new(ErrorKind::RateLimited).with_retry_after(Duration::from_millis(2)));
            }
            Fate::Fails(ErrorKind::QuotaReached) => {
                return Err(Error::new(ErrorKind::QuotaReached).with_retry_after(Duration::from_secs(60)));
            }
            Fate::Fails(kind) => return Err(Error::new(kind)),
            Fate::AppliedBut(kind) => {
                self.apply(chat, name);
                return Err(Error::new(kind));
            }
            Fate::AppliedLate => {
                let (book, chat, name) = (self.clone(), chat.clone(), name.to_owned());
                tokio::spawn(async move {
                    tokio::time::sleep(DEADLINE / 2).await;
                    book.apply(&chat, &name);
                });
                return Err(Error::new(ErrorKind::Timeout));
            }
            Fate::Hangs => {
                self.hung.notify_one();
                std::future::pending::<()>().await;
            }
            Fate::Panics => panic!("the client has a bug"),
        }
        Ok(())
    }
}

#[async_trait]
impl AddressBook for Book {
    fn instance(&self) -> &InstanceId {
        &self.instance
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }

    fn interval(&self) -> Duration {
        Duration::ZERO
    }

    async fn turn(&self) -> Turn {
        Turn::grant()
    }

    async fn update(&self, _: Turn, chat: &ChatId, name: &ContactName) -> Result<(), Error> {
        assert!(self.is_in_doubt(chat, name).await, "P9: {chat} is called without being in doubt");
        let fate = self.fate(chat);
        {
            let mut state = self.state();
            state.calls.push((chat.clone(), name.full()));
            state.in_flight += 1;
            state.most_in_flight = state.most_in_flight.max(state.in_flight);
        }
        let answer = self.meet(fate, chat, &name.full()).await;
        self.state().in_flight -= 1;
        answer
    }

    async fn contact(&self, _: Turn, chat: &ChatId) -> Result<Option<Contact>, Error> {
        self.state().reads += 1;
        if self.state().refuses_reads {
            return Err(Error::new(ErrorKind::Rejected));
        }
        Ok(Some(self.look(chat)))
    }

    async fn page(&self, _: Turn, offset: usize, limit: usize) -> Result<Page, Error> {
        let chats: Vec<ChatId> = {
            let mut state = self.state();
            state.reads += 1;
            let offset = if state.sticks { 0 } else { offset };
            state.names.keys().skip(offset).take(limit).cloned().collect()
        };
        let mut page = Page::default();
        page.entries = chats.len();
        page.contacts = chats.iter().map(|chat| self.look(chat)).collect();
        Ok(page)
    }
}
