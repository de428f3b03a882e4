//! An address book in memory that fails as it is told, and looks over the pusher's shoulder.
//!
//! It never waits for real: its time is the runtime's, which tests pause.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    future::Future,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use wawp_contacts::{
    AddressBook, ChatId, ContactName, Error, ErrorKind, InstanceId, Pace, Phone,
    book::{Contact, Existence, LidMapping, LidPage, Page, Permit, Session, SessionStatus},
    ledger::{Ledger, Query},
    pace::Limiter,
    time::{Clock, Timestamp},
};

/// The longest time that a request of this book can take effect after it was begun.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What becomes of one update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Applied and acknowledged.
    Fine,
    /// Refused or lost before it was applied.
    Fails(ErrorKind),
    /// The same, and the server asks to be left alone for so many seconds.
    Asks(ErrorKind, u64),
    /// The same, with the server's words.
    Says(ErrorKind, &'static str),
    /// The same, with the server's code.
    Codes(ErrorKind, &'static str),
    /// Applied, but the answer is an error.
    AppliedBut(ErrorKind),
    /// Applied once the caller has given up, and never answered.
    AppliedLate,
    /// Acknowledged, and not applied.
    Unkept,
    /// Neither applied nor answered.
    Hangs,
    /// The client has a bug.
    Panics,
}

/// A request that changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Read {
    Contact(ChatId),
    Page(usize),
    Phone(ChatId),
    Lids(usize),
    Session,
    Exists(ChatId),
}

#[derive(Default)]
struct State {
    names: BTreeMap<ChatId, String>,
    pushnames: BTreeMap<ChatId, String>,
    /// What is answered when it is asked whether a number is on WhatsApp; nothing where this is `None`.
    existence: Option<BTreeMap<ChatId, Existence>>,
    /// The id under which a person is listed and answered for, where it is another one.
    shown_as: BTreeMap<ChatId, ChatId>,
    /// Persons whom the book lists a second time, under another id and without a name.
    twice: Vec<ChatId>,
    phones: BTreeMap<ChatId, Option<Phone>>,
    account: Option<ChatId>,
    session: Option<SessionStatus>,
    fates: VecDeque<Fate>,
    fates_of: BTreeMap<ChatId, VecDeque<Fate>>,
    /// What happens while the next updates are under way, before they take effect.
    meanwhile: VecDeque<BoxFuture<'static, ()>>,
    /// What the next reads of contacts and pages fail with.
    read_fates: VecDeque<Error>,
    unreadable: Option<ErrorKind>,
    /// What questions for phones fail with.
    no_phones: Option<ErrorKind>,
    /// Whether reads of contacts and pages are never answered.
    reads_hang: bool,
    unreadable_chats: BTreeMap<ChatId, ErrorKind>,
    latency: Duration,
    read_latency: Duration,
    limiter: Option<Arc<Limiter>>,
    pause: Option<(ErrorKind, Instant)>,
    calls: Vec<(ChatId, String)>,
    called_at: Vec<Timestamp>,
    effects: Vec<(ChatId, String)>,
    reads: Vec<Read>,
    /// Whether every page is the first.
    sticks: bool,
    /// Whether every page is the whole book.
    is_over_full: bool,
    in_flight: BTreeSet<ChatId>,
    most_in_flight: usize,
}

/// The book; clones share one state.
#[derive(Clone)]
pub(crate) struct Book {
    instance: InstanceId,
    state: Arc<Mutex<State>>,
    /// Checked before each update: what is about to be sent must be in doubt there.
    ledger: Arc<dyn Ledger>,
    clock: Clock,
    /// Told when an update hangs.
    pub(crate) hung: Arc<Notify>,
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// An update that has arrived and not been answered.
struct Flight<'b> {
    book: &'b Book,
    chat: &'b ChatId,
}

impl<'b> Flight<'b> {
    fn begin(book: &'b Book, chat: &'b ChatId, name: &ContactName) -> Self {
        let now = book.clock.now();
        let mut state = book.state();
        assert!(state.in_flight.insert(chat.clone()), "{chat} is called twice at the same time");
        state.most_in_flight = state.most_in_flight.max(state.in_flight.len());
        state.calls.push((chat.clone(), name.full().to_owned()));
        state.called_at.push(now);
        Self { book, chat }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.book.state().in_flight.remove(self.chat);
    }
}

impl Book {
    pub(crate) fn new(ledger: Arc<dyn Ledger>, clock: Clock) -> Self {
        let instance = "A1B2C3".parse().unwrap();
        Self { instance, state: Arc::default(), ledger, clock, hung: Arc::default() }
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

    /// Says what happens while the next update is under way, before it takes effect.
    pub(crate) fn meanwhile(&self, event: impl Future<Output = ()> + Send + 'static) {
        self.state().meanwhile.push_back(Box::pin(event));
    }

    /// Forgets what was to become of updates and reads.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.fates.clear();
        state.fates_of.clear();
        state.read_fates.clear();
        state.unreadable = None;
        state.unreadable_chats.clear();
    }

    /// Sets how long each update takes.
    pub(crate) fn take(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// Sets how long the answer to each read of a contact is on its way.
    pub(crate) fn take_reads(&self, latency: Duration) {
        self.state().read_latency = latency;
    }

    /// Hands out permits at a pace.
    pub(crate) fn keep(&self, pace: Pace) {
        self.state().limiter = Some(Arc::new(Limiter::new(pace)));
    }

    /// Hands out no permit for a while, because the server asked for a pause.
    pub(crate) fn pause(&self, kind: ErrorKind, wait: Duration) {
        self.state().pause = Some((kind, Instant::now() + wait));
    }

    /// A person saves a name on the phone.
    pub(crate) fn edit(&self, chat: &ChatId, name: &str) {
        self.state().names.insert(chat.clone(), name.into());
    }

    pub(crate) fn wipe(&self) {
        self.state().names.clear();
    }

    pub(crate) fn set_pushname(&self, chat: &ChatId, name: &str) {
        self.state().pushnames.insert(chat.clone(), name.into());
    }

    /// Lists a person, and answers for them, under another id.
    pub(crate) fn show_as(&self, chat: &ChatId, id: &ChatId) {
        self.state().shown_as.insert(chat.clone(), id.clone());
    }

    /// Lists a person a second time, without a name.
    pub(crate) fn list_twice(&self, chat: &ChatId) {
        self.state().twice.push(chat.clone());
    }

    /// Knows the phone behind a privacy id, or only that there is such an id.
    pub(crate) fn map(&self, lid: &ChatId, phone: Option<&ChatId>) {
        self.state().phones.insert(lid.clone(), phone.and_then(ChatId::phone));
    }

    /// Logs another account in.
    /// Lets it be asked whether numbers are on WhatsApp; all are, but for these answers.
    pub(crate) fn tell_existence<const N: usize>(&self, answers: [(ChatId, Existence); N]) {
        self.state().existence = Some(answers.into());
    }

    pub(crate) fn log_in(&self, account: &ChatId) {
        self.state().account = Some(account.clone());
    }

    /// Sets what the session is doing.
    pub(crate) fn be(&self, session: SessionStatus) {
        self.state().session = Some(session);
    }

    /// Gives the first page again and again.
    pub(crate) fn stick(&self) {
        self.state().sticks = true;
    }

    /// Gives the whole book as one page, whatever was asked for.
    pub(crate) fn over_fill(&self) {
        self.state().is_over_full = true;
    }

    /// Refuses reads of contacts and pages from now on.
    pub(crate) fn refuse_reads(&self, kind: ErrorKind) {
        self.state().unreadable = Some(kind);
    }

    /// Refuses reads of one contact from now on.
    pub(crate) fn refuse_reads_of(&self, chat: &ChatId, kind: ErrorKind) {
        self.state().unreadable_chats.insert(chat.clone(), kind);
    }

    /// Lets the next reads of contacts and pages fail.
    pub(crate) fn fail_reads(&self, errors: impl IntoIterator<Item = Error>) {
        self.state().read_fates.extend(errors.into_iter().map(Error::without_doubt));
    }

    /// Refuses questions for the phones behind privacy ids from now on.
    pub(crate) fn fail_phones(&self, kind: ErrorKind) {
        self.state().no_phones = Some(kind);
    }

    /// Never answers reads of contacts and pages from now on.
    pub(crate) fn hang_reads(&self) {
        self.state().reads_hang = true;
    }

    /// Forgets when the last permit was given, as a client does that starts anew.
    pub(crate) fn restart(&self) {
        let cap = self.state().limiter.as_ref().map(|limiter| limiter.cap());
        self.keep(cap.unwrap_or_else(Pace::unlimited));
    }

    pub(crate) fn name(&self, chat: &ChatId) -> Option<String> {
        self.state().names.get(chat).cloned()
    }

    /// The updates that arrived, in order.
    pub(crate) fn calls(&self) -> Vec<(ChatId, String)> {
        self.state().calls.clone()
    }

    /// The names that were sent, in order.
    pub(crate) fn sent(&self) -> Vec<String> {
        self.state().calls.iter().map(|(_, name)| name.clone()).collect()
    }

    /// When the updates arrived.
    pub(crate) fn called_at(&self) -> Vec<Timestamp> {
        self.state().called_at.clone()
    }

    /// The updates that took effect, in order.
    pub(crate) fn effects(&self) -> Vec<(ChatId, String)> {
        self.state().effects.clone()
    }

    pub(crate) fn reads(&self) -> Vec<Read> {
        self.state().reads.clone()
    }

    /// How many requests arrived, whatever for.
    pub(crate) fn requests(&self) -> usize {
        let state = self.state();
        state.calls.len() + state.reads.len()
    }

    pub(crate) fn most_in_flight(&self) -> usize {
        self.state().most_in_flight
    }

    fn apply(&self, chat: &ChatId, name: &str) {
        let mut state = self.state();
        state.names.insert(chat.clone(), name.into());
        state.effects.push((chat.clone(), name.into()));
    }

    async fn is_in_doubt(&self, chat: &ChatId, name: &ContactName) -> bool {
        let query = Query::Chats(std::slice::from_ref(chat));
        let records = self.ledger.fetch(&self.instance, query).await.unwrap();
        let doubt =
            records.iter().find(|record| record.chat == *chat).and_then(|record| record.pushed.in_doubt.as_ref());
        doubt.is_some_and(|doubt| doubt.wish.name == *name && doubt.until >= self.clock.now().after(DEADLINE))
    }

    fn fate(&self, chat: &ChatId) -> Fate {
        let mut state = self.state();
        let own = state.fates_of.get_mut(chat).and_then(VecDeque::pop_front);
        own.or_else(|| state.fates.pop_front()).unwrap_or(Fate::Fine)
    }

    /// Notes a read, and fails if it is to fail.
    fn read(&self, read: Read) -> Result<(), Error> {
        let mut state = self.state();
        let is_of_book = matches!(read, Read::Contact(_) | Read::Page(_));
        let of_chat = if let Read::Contact(chat) = &read { state.unreadable_chats.get(chat).copied() } else { None };
        state.reads.push(read);
        if !is_of_book {
            let is_phone = matches!(state.reads.last(), Some(Read::Phone(_)));
            // A token that is refused is refused for everything.
            let refused = state.unreadable.filter(|kind| *kind == ErrorKind::Unauthorized);
            return refused
                .or(state.no_phones.filter(|_| is_phone))
                .map_or(Ok(()), |kind| Err(Error::new(kind).without_doubt()));
        }
        if let Some(error) = state.read_fates.pop_front() {
            return Err(error);
        }
        state.unreadable.or(of_chat).map_or(Ok(()), |kind| Err(Error::new(kind).without_doubt()))
    }

    /// Waits for ever if reads are not answered.
    async fn answer(&self) {
        let hangs = self.state().reads_hang;
        if hangs {
            std::future::pending::<()>().await;
        }
    }

    async fn meet(&self, fate: Fate, chat: &ChatId, name: &str) -> Result<(), Error> {
        let (latency, event) = {
            let mut state = self.state();
            (state.latency, state.meanwhile.pop_front())
        };
        if let Some(event) = event {
            event.await;
        }
        if latency.is_zero() {
            tokio::task::yield_now().await;
        } else {
            sleep(latency).await;
        }
        match fate {
            Fate::Fine => self.apply(chat, name),
            Fate::Unkept => {}
            Fate::Fails(kind) => return Err(Error::new(kind)),
            Fate::Asks(kind, seconds) => {
                return Err(Error::new(kind).with_retry_after(Duration::from_secs(seconds)));
            }
            Fate::Says(kind, words) => return Err(Error::new(kind).with_message(words)),
            Fate::Codes(kind, code) => return Err(Error::new(kind).with_code(code)),
            Fate::AppliedBut(kind) => {
                self.apply(chat, name);
                return Err(Error::new(kind));
            }
            Fate::AppliedLate => {
                let (book, chat, name) = (self.clone(), chat.clone(), name.to_owned());
                tokio::spawn(async move {
                    sleep(DEADLINE.saturating_sub(Duration::from_millis(1))).await;
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

impl State {
    fn look(&self, chat: &ChatId) -> Contact {
        let id = self.shown_as.get(chat).unwrap_or(chat);
        let mut contact = Contact::new(id.clone());
        contact.name = self.names.get(chat).cloned();
        contact.pushname = self.pushnames.get(chat).cloned();
        contact
    }

    /// Everything that is listed, in the order of ids.
    fn listing(&self) -> Vec<Contact> {
        let again = self.twice.iter().map(|chat| Contact::new(chat.clone()));
        let mut all: Vec<Contact> = self.names.keys().map(|chat| self.look(chat)).chain(again).collect();
        all.sort_by(|one, other| one.chat.cmp(&other.chat));
        all
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

    fn pace(&self) -> Pace {
        self.state().limiter.as_ref().map_or_else(Pace::unlimited, |limiter| limiter.pace())
    }

    async fn permit(&self) -> Result<Permit, Error> {
        let now = Instant::now();
        let pause = self.state().pause.filter(|(_, until)| *until > now);
        if let Some((kind, until)) = pause {
            return Err(Error::new(kind).with_retry_after(until - now).after(0));
        }
        let limiter = self.state().limiter.clone();
        if let Some(limiter) = limiter {
            limiter.turn(Duration::ZERO).await?;
        }
        Ok(Permit::grant())
    }

    async fn update(&self, _: Permit, chat: &ChatId, name: &ContactName) -> Result<(), Error> {
        assert!(!chat.is_lid(), "P7: the digits of {chat} are no phone");
        assert!(self.is_in_doubt(chat, name).await, "P9: {chat} is called without being in doubt for long enough");
        let fate = self.fate(chat);
        let flight = Flight::begin(self, chat, name);
        let limiter = self.state().limiter.clone();
        let begun = limiter.as_ref().map(|limiter| limiter.begin());
        let answer = self.meet(fate, chat, name.full()).await;
        drop(flight);
        if let Some((limiter, begun)) = limiter.zip(begun) {
            limiter.heed(begun, &answer);
        }
        answer
    }

    async fn contact(&self, _: Permit, chat: &ChatId) -> Result<Option<Contact>, Error> {
        self.read(Read::Contact(chat.clone()))?;
        self.answer().await;
        let (contact, latency) = {
            let state = self.state();
            (state.look(chat), state.read_latency)
        };
        if !latency.is_zero() {
            sleep(latency).await;
        }
        Ok(Some(contact))
    }

    async fn page(&self, _: Permit, offset: usize, limit: usize) -> Result<Page, Error> {
        self.read(Read::Page(offset))?;
        self.answer().await;
        let state = self.state();
        let (offset, limit) = match &*state {
            State { is_over_full: true, .. } => (0, usize::MAX),
            State { sticks: true, .. } => (0, limit),
            _ => (offset, limit),
        };
        let contacts: Vec<Contact> = state.listing().into_iter().skip(offset).take(limit).collect();
        let ids: Vec<String> = contacts.iter().map(|contact| contact.chat.to_string()).collect();
        Ok(Page::new(contacts, ids))
    }

    async fn session(&self, _: Permit) -> Result<Option<Session>, Error> {
        self.read(Read::Session)?;
        let (account, session) = {
            let state = self.state();
            (state.account.clone(), state.session.clone())
        };
        if account.is_none() && session.is_none() {
            return Ok(None);
        }
        let session = Session::new(session.unwrap_or(SessionStatus::Working));
        Ok(Some(account.into_iter().fold(session, Session::with_me)))
    }

    async fn phone_of(&self, _: Permit, lid: &ChatId) -> Result<Option<Phone>, Error> {
        self.read(Read::Phone(lid.clone()))?;
        Ok(self.state().phones.get(lid).cloned().flatten())
    }

    async fn exists(&self, _: Permit, phone: &Phone) -> Result<Option<Existence>, Error> {
        let chat = phone.chat();
        let answer = {
            let known = &self.state().existence;
            known.as_ref().map(|known| known.get(&chat).cloned().unwrap_or(Existence::new(true)))
        };
        self.read(Read::Exists(chat))?;
        Ok(answer)
    }

    async fn lids(&self, _: Permit, offset: usize, limit: usize) -> Result<LidPage, Error> {
        self.read(Read::Lids(offset))?;
        let state = self.state();
        let mappings: Vec<LidMapping> = state
            .phones
            .iter()
            .skip(offset)
            .take(limit)
            .map(|(lid, phone)| LidMapping::new(lid.clone(), phone.clone()))
            .collect();
        let ids: Vec<String> = mappings.iter().map(|mapping| mapping.lid.to_string()).collect();
        Ok(LidPage::new(mappings, ids))
    }
}
