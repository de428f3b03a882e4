//! A model of one instance's server, and the address book that is its client.

mod said;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::sleep_until;

use self::said::Said;
use super::{
    faulty::steady,
    log::{Happening, Log, Violation},
    weather::{DEADLINE, Trouble, Weather},
};
use crate::{
    ChatId, ContactName, Error, ErrorClass, ErrorKind, InstanceId, Pace, Phone,
    book::{AddressBook, Contact, Existence, LidMapping, LidPage, Page, Permit, Session, SessionStatus},
    crm::CrmContact,
    ledger::{InstanceState, Ledger, Query},
    naming::Naming,
    pace::{Daily, Limiter},
    record::{Record, Sent},
    testkit::lock,
    time::{Clock, Timestamp},
};

/// What a process may still do after it was told something, because it was already on its way: the longest that a ledger delays a
/// write, twice.
const SLACK: Duration = Duration::from_millis(150);

/// In which there are no more updates than the daily cap.
const DAY: Duration = Duration::from_secs(86_400);

/// For how long a look at the address book may be believed before a name is overwritten.
const FRESH: Duration = Duration::from_secs(600);

/// A model of one instance's server: an address book in memory that loses, delays and refuses requests, and watches over the
/// promises.
///
/// Without sockets: a [paused](tokio::time::pause) clock runs through hours of waiting in no time. A request takes effect when its
/// fate says so, whether or not anybody still waits for the answer. Clones share one state.
///
/// Each request is held to what the promises say of it at that moment; the first that is broken is kept
/// ([`violation`](Self::violation)).
#[derive(Debug, Clone)]
pub struct Server(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    instance: InstanceId,
    seed: u64,
    pace: Pace,
    clock: Clock,
    ledger: Arc<dyn Ledger>,
    log: Arc<Log>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    weather: Weather,
    persons: BTreeMap<ChatId, Person>,
    entries: BTreeMap<ChatId, Entry>,
    requests: Vec<Request>,
    /// Requests that will take effect, by when.
    pending: BTreeSet<(Duration, usize)>,
    /// What the CRM ever wanted somebody to be called: the row and how new its wish was.
    wishes: BTreeMap<(ChatId, String), BTreeMap<String, u64>>,
    /// The tags that rows ever wanted persons to wear, and how new they were.
    tags: BTreeMap<ChatId, Vec<Worn>>,
    /// What people saved, where the engine is set to follow the phone; and the rules that tell a tag from a base.
    saved: BTreeMap<ChatId, Vec<String>>,
    naming: Option<Naming>,
    /// All that people ever saved.
    edits: BTreeMap<ChatId, Vec<String>>,
    /// Phones that a row names by the privacy id.
    by_lid: BTreeSet<ChatId>,
    said: Said,
    /// The newest wish of each row that the engine said it has taken in, and since when.
    taken_in: BTreeMap<String, (u64, Duration)>,
    /// The newest wish of each row that was sent to a chat.
    newest: BTreeMap<(ChatId, String), u64>,
    overwritings: Vec<Overwriting>,
    /// When each process began.
    processes: Vec<Process>,
    waits: Vec<Wait>,
    /// When the bucket of the pace is empty, over all processes.
    empty_at: Duration,
    reads: usize,
    last_failed_read: Option<Duration>,
    /// Whether the engine is set to look before it overwrites.
    expects_looks: bool,
    /// How many names may be sent in 24 hours.
    daily: Option<Daily>,
    /// How far the clock of the processes was set forward.
    ahead: Duration,
    /// How long a call that was marked may wait for its turn, behind others that were.
    turns: Duration,
}

/// A tag that a row wants a person to wear, and how new its wish is.
#[derive(Debug)]
struct Worn {
    tag: Option<Box<str>>,
    row: String,
    version: u64,
}

#[derive(Debug, Default)]
struct Person {
    lid: Option<ChatId>,
    listing: Listing,
    trouble: Option<Trouble>,
}

/// How the address book names a person in its listings and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Listing {
    #[default]
    Phone,
    Lid,
    Twice,
}

#[derive(Debug)]
struct Entry {
    name: String,
    /// Whether a person saved it, and not us.
    is_human: bool,
    set: Duration,
    /// The processes that have read it, and when they had the answer.
    read_by: Vec<(usize, Duration)>,
    /// The processes that have read it under a privacy id.
    read_under_lid: Vec<usize>,
    /// Whether the ledger knows it for certain.
    is_kept: bool,
}

#[derive(Debug)]
struct Request {
    process: usize,
    /// The run that it was made by, as the ledger says.
    run: Option<u64>,
    chat: ChatId,
    name: String,
    /// Whether the ledger knew another name of the contact.
    renames: bool,
    /// Whether it is acknowledged and never takes effect.
    is_unkept: bool,
    sent: Duration,
    /// The same by a clock that is set forward and never back.
    sent_by_clock: Duration,
    answered: Option<Answered>,
    /// When the process died that waited for the answer.
    left: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Answered {
    at: Duration,
    is_ok: bool,
    is_in_doubt: bool,
    is_refusal: bool,
}

#[derive(Debug, Default)]
struct Process {
    began: Duration,
    /// When it was told that the token is refused, in this run.
    refused_at: Option<Duration>,
}

#[derive(Debug)]
struct Wait {
    process: usize,
    told: Duration,
    until: Duration,
    /// The same by the clock of the processes.
    ends: Timestamp,
}

/// A text of a person that one of our names replaced.
#[derive(Debug)]
struct Overwriting {
    chat: ChatId,
    text: String,
    set: Duration,
    read_by: Vec<(usize, Duration)>,
    is_kept: bool,
    request: usize,
}

impl Entry {
    fn new(name: &str, is_human: bool, set: Duration) -> Self {
        Self { name: name.into(), is_human, set, read_by: Vec::new(), read_under_lid: Vec::new(), is_kept: false }
    }

    fn read(&mut self, process: usize, now: Duration, is_under_lid: bool) {
        if is_under_lid {
            self.read_under_lid.push(process);
        } else {
            self.read_by.push((process, now));
        }
    }
}

impl Request {
    /// From when on the caller can know that it takes no effect any more.
    fn ends(&self) -> Duration {
        match self.answered {
            Some(answered) if !answered.is_in_doubt => answered.at,
            _ => self.sent + DEADLINE,
        }
    }

    /// Whether its caller still waits for the answer.
    fn is_waited_for(&self) -> bool {
        self.answered.is_none() && self.left.is_none()
    }
}

impl Server {
    /// A server without contacts, in fine weather, for one ledger; the clock is the one that engine and ledger go by.
    #[must_use]
    pub fn new(instance: InstanceId, pace: Pace, ledger: Arc<dyn Ledger>, clock: Clock, seed: u64) -> Self {
        let state = State {
            weather: Weather::new(seed),
            persons: BTreeMap::new(),
            entries: BTreeMap::new(),
            requests: Vec::new(),
            pending: BTreeSet::new(),
            wishes: BTreeMap::new(),
            tags: BTreeMap::new(),
            saved: BTreeMap::new(),
            naming: None,
            edits: BTreeMap::new(),
            by_lid: BTreeSet::new(),
            said: Said::default(),
            taken_in: BTreeMap::new(),
            newest: BTreeMap::new(),
            overwritings: Vec::new(),
            processes: Vec::new(),
            waits: Vec::new(),
            empty_at: Duration::ZERO,
            reads: 0,
            last_failed_read: None,
            expects_looks: true,
            daily: None,
            ahead: Duration::ZERO,
            turns: SLACK + pace.interval() * 5,
        };
        let log = Arc::new(Log::new());
        Self(Arc::new(Shared { instance, seed, pace, clock, ledger, log, state: Mutex::new(state) }))
    }

    /// The address book as a new process has it, with a pace of its own.
    #[must_use]
    pub fn client(&self) -> ServerBook {
        let now = self.now();
        let mut state = self.state();
        state.processes.push(Process { began: now, refused_at: None });
        let process = state.processes.len() - 1;
        drop(state);
        ServerBook { server: self.clone(), process, limiter: Arc::new(Limiter::new(self.0.pace)) }
    }

    /// Lets trouble come and go, or ends it: what is under way goes on.
    pub fn set_trouble(&self, is_on: bool) {
        self.state().weather.set(is_on);
        self.log().tell(if is_on { "trouble may come" } else { "the trouble is over" });
    }

    /// Lets one contact fail for good.
    pub fn trouble(&self, chat: &ChatId, trouble: Trouble) {
        self.state().persons.entry(chat.clone()).or_default().trouble = Some(trouble);
        self.log().tell(format_args!("{chat} is {trouble:?} from now on"));
    }

    /// Adds a person who has a privacy id beside the phone.
    pub(super) fn person(&self, chat: &ChatId, lid: Option<ChatId>, listing: Listing) {
        let mut state = self.state();
        let person = state.persons.entry(chat.clone()).or_default();
        (person.lid, person.listing) = (lid, listing);
    }

    /// A person saves a name on the phone.
    pub fn edit(&self, chat: &ChatId, name: &str) {
        self.advance();
        self.log().count(Happening::PhoneEdit);
        self.log().tell(format_args!("phone: {chat} is saved as {name:?}"));
        let entry = Entry::new(name, true, self.now());
        let mut state = self.state();
        state.entries.insert(chat.clone(), entry);
        if state.naming.is_some() {
            state.saved.entry(chat.clone()).or_default().push(name.into());
            state.doubt_undo(chat);
        }
        state.edits.entry(chat.clone()).or_default().push(name.into());
    }

    /// Says that the engine is set to follow the phone, by these rules.
    pub(super) fn expect_phone_names(&self, naming: &Naming) {
        self.state().naming = Some(naming.clone());
    }

    /// Whether a contact shows a text that somebody saved, with the tag of the name that the CRM wants.
    pub(super) fn is_from_phone(&self, chat: &ChatId, wanted: &str) -> bool {
        let state = self.state();
        let (Some(entry), Some(naming)) = (state.entries.get(chat), &state.naming) else { return false };
        let is_tagged = naming.parse(&entry.name).tag == naming.parse(wanted).tag;
        is_tagged && state.rows_behind(chat, &entry.name).is_some()
    }

    /// What the address book shows for a contact now.
    #[must_use]
    pub fn name(&self, chat: &ChatId) -> Option<String> {
        self.advance();
        self.state().entries.get(chat).map(|entry| entry.name.clone())
    }

    /// How often a process died, or was told to stop for good.
    pub(super) fn crashes(&self) -> u64 {
        self.log().counted(Happening::CrashAtStep) + self.log().counted(Happening::CrashAtPoll)
    }

    /// Whether what it shows was saved by a person.
    pub(super) fn is_human(&self, chat: &ChatId) -> bool {
        self.state().entries.get(chat).is_some_and(|entry| entry.is_human)
    }

    /// How many names were sent so far to contacts that do not fail for good.
    pub(super) fn healthy_updates(&self) -> usize {
        let state = self.state();
        let is_healthy =
            |request: &&Request| state.persons.get(&request.chat).is_none_or(|person| person.trouble.is_none());
        state.requests.iter().filter(is_healthy).count()
    }

    /// Says whether the engine is set to look before it overwrites.
    pub(super) fn expect_looks(&self, expects: bool) {
        self.state().expects_looks = expects;
    }

    /// Says how many names the engine is set to send in 24 hours.
    pub(super) fn expect_daily(&self, daily: Option<Daily>) {
        self.state().daily = daily;
    }

    /// Says that the clock of the processes is set forward: nobody can tell that from time that passes.
    pub(super) fn set_ahead(&self, by: Duration) {
        self.state().ahead += by;
    }

    /// How many names were sent so far.
    #[must_use]
    pub fn updates(&self) -> usize {
        self.state().requests.len()
    }

    /// How many reads were made so far.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.state().reads
    }

    /// Says that the CRM wants a person to be called so; what nobody ever wanted must not be sent.
    ///
    /// `chat` is the person's phone, whatever id the row has. The version tells how new the wish is.
    pub fn wanted(&self, chat: &ChatId, row: &CrmContact, version: u64, naming: &Naming) {
        if let Ok(rendered) = naming.render(&row.first, &row.last, row.stage.as_deref()) {
            let mut state = self.state();
            if row.chat.is_lid() {
                state.by_lid.insert(chat.clone());
            }
            let worn = Worn { tag: rendered.tag, row: row.id.clone(), version };
            state.tags.entry(chat.clone()).or_default().push(worn);
            state
                .wishes
                .entry((chat.clone(), rendered.name.full().to_owned()))
                .or_default()
                .insert(row.id.clone(), version);
        }
    }

    /// Says that the engine has taken in a row at a version, so that no older wish of it is sent from now on.
    pub(super) fn taken_in(&self, row: &str, version: u64) {
        let now = self.now();
        let mut state = self.state();
        let newest = state.taken_in.entry(row.into()).or_insert((version, now));
        if newest.0 < version {
            *newest = (version, now);
        }
    }

    /// The first promise that was broken, if one was.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        self.log().violation(self.0.seed)
    }

    pub(super) fn log(&self) -> &Log {
        &self.0.log
    }

    pub(super) fn ledger(&self) -> &dyn Ledger {
        &*self.0.ledger
    }

    pub(super) fn instance(&self) -> &InstanceId {
        &self.0.instance
    }

    pub(super) fn lid_of(&self, chat: &ChatId) -> Option<ChatId> {
        self.state().persons.get(chat)?.lid.clone()
    }

    /// The privacy id that a person is listed under, if it is one.
    fn listed_lid(&self, chat: &ChatId) -> Option<ChatId> {
        let state = self.state();
        let person = state.persons.get(chat).filter(|person| person.listing == Listing::Lid)?;
        person.lid.clone()
    }

    pub(super) fn trouble_of(&self, chat: &ChatId) -> Option<Trouble> {
        self.state().persons.get(chat)?.trouble
    }

    /// How many of a contact's requests were refused or could not be understood: enough of them park it.
    pub(super) fn refusals(&self, chat: &ChatId) -> usize {
        let state = self.state();
        let refused = |request: &&Request| request.answered.is_some_and(|answered| answered.is_refusal);
        state.requests.iter().filter(|request| request.chat == *chat).filter(refused).count()
    }

    /// Lets names be acknowledged and not set now and then.
    pub(super) fn forget_names(&self) {
        self.state().weather.forget_names();
    }

    /// How many of the last requests for a contact were acknowledged and never took effect.
    pub(super) fn unkept(&self, chat: &ChatId) -> usize {
        let state = self.state();
        let of_chat = state.requests.iter().rev().filter(|request| request.chat == *chat);
        of_chat.take_while(|request| request.is_unkept).count()
    }

    /// Whether a name counts as sent that was.
    pub(super) fn is_honest(&self, chat: &ChatId, sent: &Sent) -> bool {
        self.state().is_honest(chat, sent)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    pub(super) fn now(&self) -> Duration {
        self.0.log.now()
    }

    /// Lets everything take effect whose time has come.
    pub(super) fn advance(&self) {
        let now = self.now();
        self.state().advance(now, self.log());
    }

    /// Whether a request can still take effect, or a wait is still going on.
    pub(super) fn is_quiet(&self) -> bool {
        let now = self.now();
        let state = self.state();
        let is_over = |request: &Request| request.ends() <= now || request.sent + DEADLINE <= now;
        state.requests.iter().all(is_over) && state.waits.iter().all(|wait| wait.until <= now)
    }

    /// Names that people had saved, were overwritten although they could be read, and are not in the history.
    pub(super) async fn check_history(&self) {
        let overwritings: Vec<_> = {
            let state = self.state();
            let has_history = |text: &&Overwriting| state.has_history(&text.chat);
            state.overwritings.iter().filter(has_history).filter_map(|text| text.must_be_kept(&state)).collect()
        };
        for (chat, text, why) in overwritings {
            let Ok(history) = steady(self.ledger().history(self.instance(), &chat)).await else { continue };
            if !history.iter().any(|kept| *kept.text == *text) && !self.is_in_doubt(&chat, &text).await {
                self.log().breach("P8", format_args!("{text:?} of {chat} is not in the history; {why}"));
            }
        }
    }

    /// Whether the ledger still knows a text as what the address book showed before a request whose answer is missing. Nobody looks at a
    /// contact of which nothing is wanted any more, so that may last; the text can be restored, and the record says which run is in
    /// doubt.
    async fn is_in_doubt(&self, chat: &ChatId, text: &str) -> bool {
        let chats = std::slice::from_ref(chat);
        let found = steady(self.ledger().fetch(self.instance(), Query::Chats(chats))).await.unwrap_or_default();
        found.iter().any(|record| record.pushed.in_doubt.is_some() && record.shown() == Some(text))
    }

    /// Holds a call to the pace and to the waits that were asked for.
    fn called(&self, process: usize, gate: &InstanceState) {
        let now = self.now();
        let mut state = self.state();
        let interval = self.0.pace.interval();
        let early = state.empty_at.saturating_sub(now + SLACK);
        state.empty_at = state.empty_at.max(now) + interval;
        let stored = gate.wait.map(|wait| wait.until).filter(|until| *until > self.0.clock.now());
        let told = state.waits.iter().find(|wait| {
            let knows = wait.process == process || stored.is_some_and(|until| until >= wait.ends);
            now < wait.until && wait.told + SLACK < now && knows
        });
        let told = told.map(|wait| (wait.told, wait.until));
        drop(state);
        if !early.is_zero() {
            self.log().breach("P5", format_args!("a call comes {early:?} before the pace allows it"));
        }
        if let Some((told, until)) = told {
            let left = until.saturating_sub(now);
            self.log().breach("P5", format_args!("told at {told:?} to wait, called {left:?} before that is over"));
        }
    }

    /// Holds a call to what the process was told of its token.
    fn called_after_refusal(&self, process: usize) {
        let now = self.now();
        let refused_at = self.state().processes[process].refused_at.filter(|at| *at + SLACK < now);
        if let Some(at) = refused_at {
            self.log().breach("P6", format_args!("told at {at:?} that the token is refused, and called again"));
        }
    }

    /// Takes an update in, and says when and with what it is answered.
    fn begin(
        &self,
        process: usize,
        chat: &ChatId,
        name: &str,
        record: Option<&Record>,
    ) -> (usize, Duration, Result<(), Error>) {
        self.advance();
        let now = self.now();
        let mut state = self.state();
        state.check_update(now, process, chat, name, record, self.log());
        state.check_daily(now, self.log());
        let trouble = state.persons.get(chat).and_then(|person| person.trouble);
        let fate = state.weather.update(now, trouble);
        let id = state.requests.len();
        let sent_by_clock = now + state.ahead;
        let last = state.requests.iter().rev().find(|request| request.chat == *chat);
        if last.is_some_and(|last| last.is_unkept && last.name == name) {
            self.log().count(Happening::UnkeptRepeated);
        }
        state.requests.push(Request {
            process,
            run: record.and_then(|record| Some(record.pushed.in_doubt.as_ref()?.run)),
            chat: chat.clone(),
            name: name.into(),
            renames: record.and_then(Record::shown).is_some_and(|shown| shown != name),
            is_unkept: fate.happening == Some(Happening::Unkept),
            sent: now,
            sent_by_clock,
            answered: None,
            left: None,
        });
        if let Some(effect) = fate.effect {
            state.pending.insert((now + effect, id));
        }
        drop(state);
        self.log().count(Happening::Update);
        if let Some(happening) = fate.happening {
            self.log().count(happening);
        }
        if fate.answer > Duration::from_secs(1) {
            self.log().count(Happening::SlowAnswer);
        }
        self.log().tell(format_args!("process {process}: request {id}: {chat} is to be called {name:?}"));
        (id, now + fate.answer, fate.result)
    }

    fn answered(&self, id: usize, result: &Result<(), Error>) {
        self.advance();
        let now = self.now();
        let mut state = self.state();
        let process = state.requests[id].process;
        let error = result.as_ref().err();
        state.requests[id].answered = Some(Answered {
            at: now,
            is_ok: error.is_none(),
            is_in_doubt: error.is_some_and(Error::is_in_doubt),
            is_refusal: error.is_some_and(|error| {
                error.class() == ErrorClass::Contact
                    || matches!(error.kind(), ErrorKind::Unclear | ErrorKind::Decode | ErrorKind::Forbidden)
            }),
        });
        let is_own_fault = state.persons.get(&state.requests[id].chat).is_some_and(|person| person.trouble.is_some());
        state.told(process, now, self.0.clock.now(), error);
        if is_own_fault && error.is_some_and(|error| error.kind() == ErrorKind::Forbidden) {
            state.processes[process].refused_at = None;
        }
        drop(state);
        match error {
            None => self.log().tell(format_args!("process {process}: request {id} is acknowledged")),
            Some(error) => self.log().tell(format_args!("process {process}: request {id} fails: {error}")),
        }
    }

    /// The caller of a request is gone before the answer came.
    fn left(&self, id: usize) {
        let now = self.now();
        let mut state = self.state();
        let request = &mut state.requests[id];
        if !request.is_waited_for() {
            return;
        }
        request.left = Some(now);
        let process = request.process;
        drop(state);
        self.log().tell(format_args!("process {process}: nobody waits for request {id} any more"));
    }

    /// Takes a read in, and says when it is answered, and with which error if it is.
    fn begin_read(&self, process: usize, what: &str, trouble: Option<Trouble>) -> (Duration, Result<(), Error>) {
        self.advance();
        let now = self.now();
        let mut state = self.state();
        state.reads += 1;
        let (latency, result) = state.weather.read(now, trouble);
        drop(state);
        self.log().count(Happening::Read);
        if let Err(error) = &result {
            self.log().count(Happening::FailedRead);
            self.log().tell(format_args!("process {process}: reads {what}, which fails: {error}"));
        } else {
            self.log().tell(format_args!("process {process}: reads {what}"));
        }
        (now + latency, result)
    }

    fn read(&self, process: usize, error: Option<&Error>) {
        self.advance();
        let now = self.now();
        let mut state = self.state();
        state.told(process, now, self.0.clock.now(), error);
        if error.is_some() {
            state.last_failed_read = Some(now);
        }
    }

    /// The person behind any of its ids.
    fn phone_chat(&self, chat: &ChatId) -> Option<ChatId> {
        if !chat.is_lid() {
            return Some(chat.clone());
        }
        let state = self.state();
        let mut persons = state.persons.iter();
        persons.find(|(_, person)| person.lid.as_ref() == Some(chat)).map(|(phone, _)| phone.clone())
    }

    fn list(&self, process: usize, offset: usize, limit: usize) -> Page {
        let now = self.now();
        let mut state = self.state();
        let state = &mut *state;
        let mut contacts = Vec::new();
        for (chat, entry) in &mut state.entries {
            let listed = state.persons.get(chat).map_or(Listing::Phone, |person| person.listing);
            let lid = state.persons.get(chat).and_then(|person| person.lid.clone());
            // A list says nothing of a phone that is known by its privacy id only so far.
            let is_under_lid = listed == Listing::Lid && lid.is_some();
            if is_under_lid || !state.by_lid.contains(chat) {
                entry.read(process, now, is_under_lid);
            }
            let under = |chat: &ChatId| Contact { chat: chat.clone(), name: Some(entry.name.clone()), pushname: None };
            match (listed, lid) {
                (Listing::Phone, _) | (_, None) => contacts.push(under(chat)),
                (Listing::Lid, Some(lid)) => contacts.push(under(&lid)),
                (Listing::Twice, Some(lid)) => contacts.extend([under(chat), under(&lid), under(chat)]),
            }
        }
        let contacts: Vec<_> = contacts.into_iter().skip(offset).take(limit).collect();
        let ids: Vec<_> = contacts.iter().map(|contact| contact.chat.clone()).collect();
        Page::new(contacts, ids.iter().map(ChatId::as_str))
    }

    fn one(&self, process: usize, asked: &ChatId) -> Contact {
        let now = self.now();
        let phone = self.phone_chat(asked);
        let mut state = self.state();
        let state = &mut *state;
        let person = phone.as_ref().and_then(|phone| state.persons.get(phone));
        let lid = person.filter(|person| person.listing == Listing::Lid).and_then(|person| person.lid.clone());
        let entry = phone.as_ref().and_then(|phone| state.entries.get_mut(phone));
        let name = entry.map(|entry| {
            entry.read(process, now, lid.is_some());
            entry.name.clone()
        });
        // What people call themselves is always there, and never taken for a name.
        Contact { chat: lid.unwrap_or_else(|| asked.clone()), name, pushname: Some("~me~".into()) }
    }

    /// What a process has read and did not keep, because its run ended before it could, is as good as not read.
    fn forget_reads(&self, process: usize) {
        for entry in self.state().entries.values_mut() {
            entry.read_by.retain(|(by, _)| *by != process);
            entry.read_under_lid.retain(|by| *by != process);
        }
    }

    /// Whose name was read under a privacy id is known once the phone behind it is.
    fn learnt(&self, process: usize, phone: Option<&ChatId>) {
        let now = self.now();
        let mut state = self.state();
        for (chat, entry) in &mut state.entries {
            if phone.is_none_or(|phone| phone == chat) && entry.read_under_lid.contains(&process) {
                entry.read_by.push((process, now));
            }
        }
    }

    fn mappings(&self, offset: usize, limit: usize) -> LidPage {
        let state = self.state();
        let known = state.persons.iter().filter_map(|(phone, person)| Some((person.lid.clone()?, phone.phone())));
        let mappings: Vec<_> = known.skip(offset).take(limit).map(|(lid, phone)| LidMapping { lid, phone }).collect();
        let ids: Vec<_> = mappings.iter().map(|mapping| mapping.lid.clone()).collect();
        LidPage::new(mappings, ids.iter().map(ChatId::as_str))
    }
}

impl State {
    fn advance(&mut self, now: Duration, log: &Log) {
        while let Some((at, id)) = self.pending.first().copied().filter(|(at, _)| *at <= now) {
            self.pending.remove(&(at, id));
            let request = &self.requests[id];
            let has_given_up = request.answered.is_some_and(|answered| answered.at < at);
            if has_given_up || request.left.is_some_and(|left| left < at) {
                let is_dead = request.left.is_some();
                log.count(if is_dead { Happening::EffectAfterCrash } else { Happening::LateEffect });
                log.tell_of(at, format_args!("request {id} takes effect late: {:?}", request.name));
            }
            let entry = Entry::new(&request.name, false, at);
            let old = self.entries.insert(request.chat.clone(), entry);
            if let Some(old) = old.filter(|old| old.is_human && old.name != request.name) {
                log.count(Happening::Overwritten);
                self.overwritings.push(Overwriting {
                    chat: request.chat.clone(),
                    text: old.name,
                    set: old.set,
                    read_by: old.read_by,
                    is_kept: old.is_kept,
                    request: id,
                });
            }
        }
    }

    fn told(&mut self, process: usize, now: Duration, clock: Timestamp, error: Option<&Error>) {
        let Some(error) = error else { return };
        if let Some(wait) = error.retry_after() {
            self.waits.push(Wait { process, told: now, until: now + wait, ends: clock.after(wait) });
        }
        if error.class() == ErrorClass::Instance {
            self.processes[process].refused_at = Some(now);
        }
    }

    /// Whether the API acknowledged this name of this contact to somebody who was there to hear it, or it was there already.
    fn is_honest(&self, chat: &ChatId, sent: &Sent) -> bool {
        let name = sent.wish.name.full();
        if sent.run == 0 {
            return self.edits.get(chat).is_some_and(|edits| edits.iter().any(|edit| edit == name));
        }
        let is_it = |request: &Request| {
            request.chat == *chat && request.name == name && request.answered.is_some_and(|answered| answered.is_ok)
        };
        self.requests.iter().any(is_it)
    }

    /// Holds an update to everything that is promised of it when it is sent.
    fn check_update(
        &mut self,
        now: Duration,
        process: usize,
        chat: &ChatId,
        name: &str,
        record: Option<&Record>,
        log: &Log,
    ) {
        if chat.is_lid() {
            log.breach("P7", format_args!("{chat} is a privacy id, and is written to"));
        }
        self.check_order(now.saturating_sub(self.turns), chat, name, log);
        self.check_doubts(now, process, chat, name, log);
        self.check_record(chat, name, record, log);
        self.check_said(now, process, (chat, name), record, log);
    }

    /// P5: no 24 hours hold more updates than the daily cap, this one included.
    fn check_daily(&self, now: Duration, log: &Log) {
        let Some(daily) = self.daily else { return };
        let now = now + self.ahead;
        // Of a call that was on its way for a moment the processes count the beginning.
        let since = (now + SLACK).saturating_sub(DAY);
        let within = self.requests.iter().filter(|request| now < DAY || request.sent_by_clock > since).count() + 1;
        let limit = daily.limit(now.as_secs() / DAY.as_secs()) as usize;
        if within == limit {
            log.count(Happening::CapReached);
        }
        if within > limit {
            log.breach("P5", format_args!("{within} updates within a day, of which there may be {limit}"));
        }
    }

    /// P2 and P7: somebody wanted it, and nobody is known to want something newer.
    fn check_order(&mut self, marked: Duration, chat: &ChatId, name: &str, log: &Log) {
        let Some(rows) = self.rows_of(chat, name) else {
            return log.breach("P7", format_args!("nobody ever wanted {chat} to be called {name:?}"));
        };
        let last = self.requests.iter().rev().find(|request| request.chat == *chat);
        let is_repeat = last.is_some_and(|last| last.name == name);
        let mut is_in_order = false;
        for (row, version) in rows {
            let is_taken_over = self.taken_in.get(&row).is_some_and(|(newer, at)| *newer > version && *at < marked);
            let newest = self.newest.entry((chat.clone(), row)).or_insert(version);
            is_in_order |= version >= *newest && (is_repeat || !is_taken_over);
            *newest = version.max(*newest);
        }
        if !is_in_order {
            log.breach("P2", format_args!("{chat} is called {name:?} although a newer wish was sent or taken in"));
        }
    }

    /// The rows that ever wanted this name for the person, and how new they were.
    fn rows_of(&self, chat: &ChatId, name: &str) -> Option<BTreeMap<String, u64>> {
        self.wishes.get(&(chat.clone(), name.into())).cloned().or_else(|| self.rows_behind(chat, name))
    }

    /// The rows whose tag makes this name of a text that somebody saved for the person.
    fn rows_behind(&self, chat: &ChatId, name: &str) -> Option<BTreeMap<String, u64>> {
        let (naming, texts) = (self.naming.as_ref()?, self.saved.get(chat)?);
        let is_made_by = |tag: Option<&str>| {
            texts.iter().any(|text| naming.retag(text, tag).is_ok_and(|rendered| rendered.name.is_full(name)))
        };
        let tags = self.tags.get(chat)?.iter().filter(|worn| is_made_by(worn.tag.as_deref()));
        let rows: BTreeMap<_, _> = tags.map(|worn| (worn.row.clone(), worn.version)).collect();
        (!rows.is_empty()).then_some(rows)
    }

    /// P9 and P10: no other name can still arrive, and nobody else is calling.
    fn check_doubts(&self, now: Duration, process: usize, chat: &ChatId, name: &str, log: &Log) {
        for (id, older) in self.requests.iter().enumerate() {
            if older.chat == *chat && older.name != name && now < older.ends() {
                let left = older.ends().saturating_sub(now);
                let promise = if older.process == process { "P9" } else { "P10" };
                let was = &older.name;
                log.breach(promise, format_args!("{name:?} is sent while request {id} for {was:?} has {left:?} left"));
            }
            if older.process != process && older.is_waited_for() {
                log.breach("P10", format_args!("process {process} calls while request {id} of another is under way"));
            }
        }
    }

    /// P9, P4 and P3: it is written down as in doubt, what is written down as sent was acknowledged, and it is not shown already.
    fn check_record(&self, chat: &ChatId, name: &str, record: Option<&Record>, log: &Log) {
        let pushed = record.map(|record| &record.pushed);
        let doubt = pushed.and_then(|pushed| pushed.in_doubt.as_ref());
        if doubt.is_none_or(|doubt| doubt.wish.name.full() != name) {
            log.breach("P9", format_args!("{chat} is called {name:?}, which is not written down as in doubt"));
        }
        let Some(sent) = pushed.and_then(|pushed| pushed.sent.as_ref()) else { return };
        let sent_name = sent.wish.name.full();
        if !self.is_honest(chat, sent) {
            log.breach("P4", format_args!("{sent_name:?} of {chat} counts as sent and was never acknowledged"));
        }
        let last = self.requests.iter().rev().find(|request| request.chat == *chat);
        let is_settled =
            last.is_some_and(|last| last.name == name && last.answered.is_some_and(|answered| answered.is_ok));
        let is_shown = record.and_then(Record::shown).is_some_and(|shown| shown == name);
        if is_settled && sent_name == name && is_shown {
            log.breach("P3", format_args!("{chat} is called {name:?} again, which was acknowledged and stored"));
        }
    }
}

impl Overwriting {
    /// Whether whoever overwrote it has read it, or should have.
    fn must_be_kept(&self, state: &State) -> Option<(ChatId, String, String)> {
        let request = &state.requests[self.request];
        let read = self.read_by.iter().find(|(by, at)| *by == request.process && *at <= request.sent);
        let has_looked_wrong = !state.expects_looks || state.last_failed_read.is_some_and(|at| at >= self.set);
        let is_old = self.set + FRESH < request.sent && self.set < state.processes[request.process].began;
        let id = self.request;
        let why = match read {
            Some((_, at)) => format!("it was read at {at:?} and overwritten by request {id}"),
            None if self.is_kept => format!("the ledger knew it when it was overwritten by request {id}"),
            None if is_old && !has_looked_wrong => {
                format!("it was saved at {:?} and overwritten by request {id} without a look", self.set)
            }
            None => return None,
        };
        Some((self.chat.clone(), self.text.clone(), why))
    }
}

/// One process' client of a [`Server`].
#[derive(Debug, Clone)]
pub struct ServerBook {
    server: Server,
    process: usize,
    limiter: Arc<Limiter>,
}

impl ServerBook {
    /// Says that a new run begins in the same process, so that a refused token may be tried again.
    pub fn new_run(&self) {
        self.server.state().processes[self.process].refused_at = None;
    }

    /// Says that what was read so far is not kept.
    pub(super) fn forget_reads(&self) {
        self.server.forget_reads(self.process);
    }

    /// The number of the process.
    pub(super) fn process(&self) -> usize {
        self.process
    }

    async fn gate(&self) -> InstanceState {
        steady(self.server.ledger().state(self.server.instance())).await.unwrap_or_default()
    }

    async fn wait_for(&self, at: Duration) {
        sleep_until(self.server.log().instant(at)).await;
    }

    async fn look(&self, what: &str, trouble: Option<Trouble>) -> Result<(), Error> {
        self.server.called_after_refusal(self.process);
        self.ask(what, trouble).await
    }

    /// Reads what may be read also of an instance that refuses the token: what its session is doing.
    async fn ask(&self, what: &str, trouble: Option<Trouble>) -> Result<(), Error> {
        let begun = self.limiter.begin();
        self.server.called(self.process, &self.gate().await);
        let (at, result) = self.server.begin_read(self.process, what, trouble);
        self.wait_for(at).await;
        self.server.read(self.process, result.as_ref().err());
        self.limiter.heed(begun, &result);
        result
    }
}

/// Notes when the caller of a request is dropped before the answer came.
struct Waiting<'a> {
    server: &'a Server,
    id: usize,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.server.left(self.id);
    }
}

#[async_trait]
impl AddressBook for ServerBook {
    fn instance(&self) -> &InstanceId {
        self.server.instance()
    }

    fn deadline(&self) -> Duration {
        DEADLINE
    }

    fn pace(&self) -> Pace {
        self.limiter.pace()
    }

    async fn permit(&self) -> Result<Permit, Error> {
        self.limiter.turn(Duration::ZERO).await.map(|()| Permit::grant())
    }

    async fn update(&self, _: Permit, chat: &ChatId, name: &ContactName) -> Result<(), Error> {
        let begun = self.limiter.begin();
        let (ledger, instance) = (self.server.ledger(), self.server.instance());
        let gate = self.gate().await;
        let stored = steady(ledger.fetch(instance, Query::Chats(std::slice::from_ref(chat)))).await;
        let record = stored.unwrap_or_default().into_iter().find(|record| record.chat == *chat);
        self.server.called(self.process, &gate);
        self.server.called_after_refusal(self.process);
        let (id, at, result) = self.server.begin(self.process, chat, name.full(), record.as_ref());
        let waiting = Waiting { server: &self.server, id };
        self.wait_for(at).await;
        self.server.answered(id, &result);
        drop(waiting);
        self.limiter.heed(begun, &result);
        result
    }

    async fn contact(&self, _: Permit, chat: &ChatId) -> Result<Option<Contact>, Error> {
        let trouble = self.server.trouble_of(chat);
        self.look(chat.as_str(), trouble).await?;
        Ok(Some(self.server.one(self.process, chat)))
    }

    async fn page(&self, _: Permit, offset: usize, limit: usize) -> Result<Page, Error> {
        self.look("a page", None).await?;
        Ok(self.server.list(self.process, offset, limit))
    }

    async fn session(&self, _: Permit) -> Result<Option<Session>, Error> {
        self.ask("the session", None).await?;
        let session = Session::new(SessionStatus::Working);
        Ok(Some(match "19995550100@c.us".parse() {
            Ok(me) => session.with_me(me),
            Err(_) => session,
        }))
    }

    async fn phone_of(&self, _: Permit, lid: &ChatId) -> Result<Option<Phone>, Error> {
        self.look("a privacy id", None).await?;
        let chat = self.server.phone_chat(lid);
        if let Some(chat) = &chat {
            self.server.learnt(self.process, Some(chat));
        }
        Ok(chat.and_then(|chat| chat.phone()))
    }

    async fn exists(&self, _: Permit, phone: &Phone) -> Result<Option<Existence>, Error> {
        self.look("a number", None).await?;
        let chat = ChatId::from(phone.clone());
        let existence = Existence::new(self.server.asked(self.process, &chat)).with_phone(phone.clone());
        // Who is listed under a privacy id is answered for under it.
        let listed = self.server.listed_lid(&chat);
        Ok(Some(existence.with_chat(listed.unwrap_or(chat))))
    }

    async fn lids(&self, _: Permit, offset: usize, limit: usize) -> Result<LidPage, Error> {
        self.look("privacy ids", None).await?;
        self.server.learnt(self.process, None);
        Ok(self.server.mappings(offset, limit))
    }
}
