//! What persons said about single contacts, and what must hold of them since.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Request, Server, State};
use crate::{
    ChatId,
    ledger::Query,
    record::{Overwritten, Record, Status},
    sync::Undo,
    testkit::sim::{
        faulty::steady,
        log::{Happening, Log},
    },
};

/// What persons said, as far as anybody can know.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// By the chat of the record.
    held: BTreeMap<ChatId, Known>,
    /// Since when.
    forgotten: BTreeMap<ChatId, Duration>,
    /// Whose history may be gone.
    was_forgotten: BTreeSet<ChatId>,
    undone: BTreeMap<ChatId, Undone>,
    /// Processes that undo, what they may give back, and in whose place.
    undoers: BTreeMap<usize, BTreeSet<(ChatId, String, String)>>,
    /// Processes that may write no name.
    readers: BTreeSet<usize>,
    /// What the account showed when it was taken over, where that was what is wanted, and since when.
    adopted: BTreeMap<ChatId, (String, Duration)>,
    /// Numbers that are not on WhatsApp.
    absent: BTreeSet<ChatId>,
    /// To which processes the server said so, and when.
    told_absent: Vec<(usize, ChatId, Duration)>,
    /// Numbers that the ledger knows not to be on WhatsApp.
    known_absent: BTreeMap<ChatId, Duration>,
    /// When each process asked for a number last.
    asked_at: BTreeMap<usize, Duration>,
    /// Whether faults are over, so that whoever asks has an answer.
    is_calm: bool,
}

/// Whether something that was said is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Since(Duration),
    /// Whoever stored it died or failed.
    Unsure,
}

/// A name that was given back, or may have been.
#[derive(Debug, Clone)]
struct Undone {
    /// What the CRM wanted.
    over: String,
    /// What the contact shows in its place, or may.
    names: BTreeSet<String>,
    /// Since when it is certain.
    since: Option<Duration>,
}

/// What undoing a run comes to.
#[derive(Debug)]
pub(in crate::testkit::sim) struct Undoing {
    process: usize,
    began: Duration,
    contacts: Vec<GivenBack>,
}

#[derive(Debug)]
struct GivenBack {
    chat: ChatId,
    /// What the run sent.
    sent: String,
    /// What the CRM wanted, as far as the ledger knew.
    over: String,
    names: BTreeSet<String>,
    /// The name that it must be, where nothing else can come of it.
    must: Option<String>,
    is_edited: bool,
}

/// After how long a number that is not on WhatsApp may be asked for again, and called if there is no answer: a little less than a week,
/// by a clock that may have been set.
const ASKED_AGAIN: Duration = Duration::from_secs(6 * 86_400);

impl State {
    /// Holds an update to what persons said.
    pub(super) fn check_said(
        &self,
        now: Duration,
        process: usize,
        (chat, name): (&ChatId, &str),
        record: Option<&Record>,
        log: &Log,
    ) {
        let said = &self.said;
        let marked = now.saturating_sub(self.turns);
        if let Some(Known::Since(at)) = said.held.get(chat).filter(|at| matches!(at, Known::Since(at) if *at < marked))
        {
            log.breach("hold", format_args!("{chat} is held since {at:?}, and is called {name:?}"));
        }
        if let Some(at) = said.forgotten.get(chat) {
            log.breach("forget", format_args!("{chat} is forgotten since {at:?}, and is called {name:?}"));
        }
        if said.readers.contains(&process) {
            log.breach("P3", format_args!("process {process} only reads, and calls {chat} {name:?}"));
        }
        self.check_undone(marked, process, (chat, name), log);
        let entry = self.entries.get(chat);
        if let Some((adopted, set)) = said.adopted.get(chat)
            && adopted == name
            && entry.is_some_and(|entry| entry.set == *set)
        {
            log.breach("P3", format_args!("{chat} showed {name:?} when it was taken over, and is called so"));
        }
        let is_known = entry.is_some() || self.requests.iter().any(|request| request.chat == *chat);
        let is_checked =
            record.is_some_and(|record| record.checked.is_some_and(|checked| !checked.exists) && !record.is_known());
        let is_told = said.known_absent.get(chat).is_some_and(|at| *at < marked && now < *at + ASKED_AGAIN);
        if is_checked || (!is_known && (is_told || (said.is_calm && said.absent.contains(chat)))) {
            log.breach("P7", format_args!("{chat} is not on WhatsApp, and is called {name:?}"));
        }
    }

    fn check_undone(&self, marked: Duration, process: usize, (chat, name): (&ChatId, &str), log: &Log) {
        let undone = self.said.undone.get(chat).filter(|undone| undone.over == name && !undone.names.contains(name));
        if undone.and_then(|undone| undone.since).is_some_and(|since| since < marked) {
            log.breach("undo", format_args!("{name:?} of {chat} was undone, and is sent again"));
        }
        let Some(backs) = self.said.undoers.get(&process) else { return };
        // What the CRM wants since of a contact that is given a name back goes out in its place.
        let is_newer = |back: &(ChatId, String, String)| back.0 == *chat && back.2 != name;
        if backs.iter().any(|(of, back, _)| of == chat && back == name) {
            log.count(Happening::GivenBack);
        } else if !backs.iter().any(is_newer) {
            log.breach("undo", format_args!("an undo calls {chat} {name:?}, which it does not give back"));
        }
    }

    /// Whether a text that was overwritten is to be in the history at all.
    pub(super) fn has_history(&self, chat: &ChatId) -> bool {
        !self.said.was_forgotten.contains(chat)
    }

    /// Nobody can tell any more what an undo of a contact comes to.
    pub(super) fn doubt_undo(&mut self, chat: &ChatId) {
        if let Some(undone) = self.said.undone.get_mut(chat) {
            undone.since = None;
        }
    }

    /// Nobody knows any more that what a contact shows is ours: it counts as saved by a person.
    fn own_nothing(&mut self, chat: &ChatId) {
        let Some(entry) = self.entries.get_mut(chat) else { return };
        entry.is_human = true;
        let name = entry.name.clone();
        if self.naming.is_some() {
            self.saved.entry(chat.clone()).or_default().push(name.clone());
        }
        self.edits.entry(chat.clone()).or_default().push(name);
    }

    fn ids_of(&self, chat: &ChatId) -> Vec<ChatId> {
        let is_it = |(phone, lid): &(&ChatId, Option<&ChatId>)| *phone == chat || *lid == Some(chat);
        let persons = self.persons.iter().map(|(phone, person)| (phone, person.lid.as_ref()));
        let ids = persons.filter(is_it).flat_map(|(phone, lid)| [Some(phone), lid]).flatten();
        ids.chain([chat]).cloned().collect()
    }

    /// What a run that is undone may give back to a contact, and must.
    fn given_back(
        &self,
        run: u64,
        now: Duration,
        chat: &ChatId,
        before: Option<&str>,
        record: Option<&Record>,
    ) -> Option<GivenBack> {
        let requests: Vec<&Request> = self.requests.iter().filter(|request| request.chat == *chat).collect();
        let last_of_run = requests.iter().rev().find(|request| request.run == Some(run))?;
        let sent = last_of_run.name.clone();
        let wish = record.and_then(|record| record.sole_claim()?.wish.as_ref());
        let over = wish.map_or_else(|| sent.clone(), |wish| wish.name.full().to_owned());
        let edits = self.edits.get(chat).map_or(&[][..], Vec::as_slice);
        let names = edits.iter().cloned().chain(before.map(Into::into)).collect();
        let mut back = GivenBack { chat: chat.clone(), sent, over, names, must: None, is_edited: false };
        let is_newest = requests.last().is_some_and(|last| last.run == Some(run) && last.name == back.sent);
        let is_over = requests.iter().all(|request| request.ends() <= now);
        let is_acknowledged = last_of_run.answered.is_some_and(|answered| answered.is_ok) && !last_of_run.is_unkept;
        let is_as_sent = record.is_some_and(|record| {
            let sent = record.pushed.sent.as_ref().filter(|sent| sent.run == run).map(|sent| &sent.wish.name);
            sent.is_some_and(|sent| sent.is_full(&back.sent))
                && sent == record.wanted().map(|wish| &wish.name)
                && record.pushed.in_doubt.is_none()
        });
        let follows_phone = self.naming.is_some() && !edits.is_empty();
        let before = before.filter(|before| *before != back.sent)?;
        let Some(entry) = self.entries.get(chat) else { return Some(back) };
        if is_newest && is_over && is_acknowledged && is_as_sent && !follows_phone {
            back.is_edited = entry.is_human && entry.name != back.sent;
            back.must = if back.is_edited {
                Some(entry.name.clone())
            } else {
                (entry.name == back.sent).then(|| before.into())
            };
        }
        Some(back)
    }
}

impl Server {
    /// Says that the faults are over.
    pub(in crate::testkit::sim) fn calm_down(&self) {
        self.state().said.is_calm = true;
    }

    /// Says that a record is held.
    pub(in crate::testkit::sim) fn held(&self, chat: &ChatId) {
        let now = self.now();
        self.state().said.held.insert(chat.clone(), Known::Since(now));
    }

    /// Says that a record may be held, or not any more.
    pub(in crate::testkit::sim) fn perhaps_held(&self, chat: &ChatId) {
        let mut state = self.state();
        for id in state.ids_of(chat) {
            state.said.held.insert(id, Known::Unsure);
        }
    }

    /// Says that somebody goes on with a record.
    pub(in crate::testkit::sim) fn released(&self, chat: &ChatId, record: Option<&Record>) {
        let mut state = self.state();
        let aliases = record.map_or(&[][..], |record| &record.aliases);
        for id in aliases.iter().chain(record.map(|record| &record.chat)).chain([chat]) {
            state.said.held.remove(id);
            state.said.undone.remove(id);
            state.said.known_absent.remove(id);
        }
    }

    /// Says that somebody may go on with a record.
    pub(in crate::testkit::sim) fn perhaps_released(&self, chat: &ChatId) {
        let mut state = self.state();
        for id in state.ids_of(chat) {
            if let Some(known) = state.said.held.get_mut(&id) {
                *known = Known::Unsure;
            }
            state.doubt_undo(&id);
            state.said.known_absent.remove(&id);
        }
    }

    /// Says that numbers may be asked for again, and that drifted contacts may have been released.
    pub(in crate::testkit::sim) fn retried(&self, releases: bool) {
        let mut state = self.state();
        state.said.known_absent.clear();
        if releases {
            state.said.undone.values_mut().for_each(|undone| undone.since = None);
        }
    }

    /// The ids that may be held.
    pub(in crate::testkit::sim) fn all_held(&self) -> Vec<ChatId> {
        self.state().said.held.keys().cloned().collect()
    }

    /// Whether a person may be held under any of the ids.
    pub(in crate::testkit::sim) fn is_held(&self, chat: &ChatId) -> bool {
        let state = self.state();
        state.ids_of(chat).iter().any(|id| state.said.held.contains_key(id))
    }

    /// Says that persons are forgotten for certain.
    pub(in crate::testkit::sim) fn forgotten(&self, chats: &[ChatId]) {
        let now = self.now();
        for chat in chats {
            self.perhaps_forgotten(chat);
            let mut state = self.state();
            state.said.held.remove(chat);
            state.said.undone.remove(chat);
            state.said.forgotten.insert(chat.clone(), now);
        }
    }

    /// Says that a person may be forgotten.
    pub(in crate::testkit::sim) fn perhaps_forgotten(&self, chat: &ChatId) {
        let mut state = self.state();
        for id in state.ids_of(chat) {
            if let Some(known) = state.said.held.get_mut(&id) {
                *known = Known::Unsure;
            }
            state.doubt_undo(&id);
            state.said.known_absent.remove(&id);
            state.said.adopted.remove(&id);
            state.own_nothing(&id);
            state.said.was_forgotten.insert(id);
        }
    }

    /// Says that persons may be taken in again.
    pub(in crate::testkit::sim) fn allowed(&self) {
        self.state().said.forgotten.clear();
    }

    /// Who is forgotten for certain.
    pub(in crate::testkit::sim) fn all_forgotten(&self) -> Vec<ChatId> {
        self.state().said.forgotten.keys().cloned().collect()
    }

    /// Says that a process may write no name.
    pub(in crate::testkit::sim) fn only_reads(&self, process: usize) {
        self.state().said.readers.insert(process);
    }

    /// Holds a whole read of the address book, that is kept, to what was there; `adopted` says that it took the account over.
    pub(in crate::testkit::sim) fn read_whole(
        &self,
        process: usize,
        records: &BTreeMap<ChatId, Record>,
        adopted: bool,
    ) {
        let mut state = self.state();
        let state = &mut *state;
        for (chat, entry) in &mut state.entries {
            let Some(record) = records.get(chat).filter(|_| entry.read_by.iter().any(|(by, _)| *by == process)) else {
                continue;
            };
            if !entry.is_human || record.pushed.in_doubt.is_some() {
                continue;
            }
            if record.shown() != Some(&*entry.name) {
                let (name, shown) = (&entry.name, record.shown());
                self.log().breach("P8", format_args!("{chat} was read as {name:?}, and counts as {shown:?}"));
            }
            entry.is_kept = true;
            let is_wanted = record.wanted().is_some_and(|wish| wish.name.is_full(&entry.name));
            if adopted && is_wanted {
                self.log().count(Happening::AdoptedName);
                state.said.adopted.insert(chat.clone(), (entry.name.clone(), entry.set));
                if record.status != Status::InSync || record.pushed.sent.is_none() {
                    let status = record.status;
                    self.log()
                        .breach("P3", format_args!("{chat} shows what is wanted when it is taken over: {status:?}"));
                }
            }
        }
    }

    /// Says that a number is not on WhatsApp.
    pub(in crate::testkit::sim) fn absent(&self, chat: &ChatId) {
        self.state().said.absent.insert(chat.clone());
    }

    pub(in crate::testkit::sim) fn is_absent(&self, chat: &ChatId) -> bool {
        self.state().said.absent.contains(chat)
    }

    /// A process asks whether a number is on WhatsApp; says whether it is.
    pub(super) fn asked(&self, process: usize, chat: &ChatId) -> bool {
        let now = self.now();
        self.log().count(Happening::NumberAsked);
        let mut state = self.state();
        let is_absent = state.said.absent.contains(chat);
        if is_absent {
            self.log().count(Happening::NotOnWhatsApp);
            state.said.told_absent.push((process, chat.clone(), now));
        }
        let last = state.said.asked_at.insert(process, now);
        drop(state);
        if last.is_some_and(|last| now < last + Duration::from_millis(995)) {
            self.log().breach("P5", format_args!("process {process} asks for numbers more than once a second"));
        }
        !is_absent
    }

    /// Says that what a process was told so far of numbers is stored, or may be lost.
    pub(in crate::testkit::sim) fn heard(&self, process: usize, is_stored: bool) {
        let mut state = self.state();
        let said = &mut state.said;
        let (heard, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut said.told_absent).into_iter().partition(|(by, ..)| *by == process);
        said.told_absent = others;
        if is_stored {
            said.known_absent.extend(heard.into_iter().map(|(_, chat, at)| (chat, at)));
        }
    }

    /// The runs that called somebody; of those that named a contact anew, and were the last to do so, if there are any and those are
    /// meant.
    pub(in crate::testkit::sim) fn runs_that_called(&self, are_last: bool) -> BTreeSet<u64> {
        let state = self.state();
        let last: BTreeMap<&ChatId, &Request> = state.requests.iter().map(|request| (&request.chat, request)).collect();
        let renamed = last.values().filter(|request| are_last && request.renames);
        let runs: BTreeSet<u64> = renamed.filter_map(|request| request.run).collect();
        if runs.is_empty() { state.requests.iter().filter_map(|request| request.run).collect() } else { runs }
    }

    /// Whom a run called.
    pub(in crate::testkit::sim) fn called_by(&self, run: u64) -> BTreeSet<ChatId> {
        let state = self.state();
        let called = state.requests.iter().filter(|request| request.run == Some(run));
        called.map(|request| request.chat.clone()).collect()
    }

    /// A process is about to undo a run: what it may give back is what the ledger says was there before, if it was.
    pub(in crate::testkit::sim) async fn undo_begins(&self, process: usize, run: u64) -> Undoing {
        self.advance();
        let began = self.now();
        let history = self.before_run(run).await;
        let mut contacts = Vec::new();
        for chat in self.called_by(run) {
            let query = Query::Chats(std::slice::from_ref(&chat));
            let found = steady(self.ledger().fetch(self.instance(), query)).await.unwrap_or_default();
            let record = found.iter().find(|record| record.chat == chat);
            let before = history.iter().find(|before| before.chat == chat).map(|before| &*before.text);
            self.check_before(&chat, before);
            let back = self.state().given_back(run, began, &chat, before, record);
            contacts.extend(back);
        }
        let mut state = self.state();
        let of = |back: &GivenBack| {
            let (chat, over) = (back.chat.clone(), back.over.clone());
            back.names.iter().map(move |name| (chat.clone(), name.clone(), over.clone())).collect::<Vec<_>>()
        };
        let names: BTreeSet<_> = contacts.iter().flat_map(of).collect();
        for back in &contacts {
            state.doubt_undo(&back.chat);
            let rows = state.rows_of(&back.chat, &back.sent).unwrap_or_default();
            for name in &back.names {
                let known = state.wishes.entry((back.chat.clone(), name.clone())).or_default();
                for (row, version) in &rows {
                    let newest = known.entry(row.clone()).or_default();
                    *newest = (*newest).max(*version);
                }
            }
        }
        state.said.undoers.insert(process, names);
        Undoing { process, began, contacts }
    }

    async fn before_run(&self, run: u64) -> Vec<Overwritten> {
        steady(self.ledger().before_run(self.instance(), run, None, 1_000)).await.unwrap_or_default()
    }

    /// What is in the history was shown at some time.
    fn check_before(&self, chat: &ChatId, before: Option<&str>) {
        let Some(before) = before else { return };
        let state = self.state();
        let was_edit = state.edits.get(chat).is_some_and(|edits| edits.iter().any(|edit| edit == before));
        let was_ours = state.requests.iter().any(|request| request.chat == *chat && request.name == before);
        drop(state);
        if !was_edit && !was_ours {
            self.log().breach("P8", format_args!("{before:?} is in the history of {chat}, which never showed it"));
        }
    }

    /// An undo came to its end: it took effect, or `None` if nobody can tell. Whoever was not alone may have brought newer wishes.
    pub(in crate::testkit::sim) fn undo_ends(&self, undoing: Undoing, done: Option<&Undo>, is_alone: bool) {
        let now = self.now();
        let mut state = self.state();
        for back in undoing.contacts {
            let GivenBack { chat, over, mut names, must, is_edited, .. } = back;
            let entry = state.entries.get(&chat);
            // What was not read again, or was saved meanwhile, may be taken for anything.
            let is_read = |(by, at): &(usize, Duration)| *by == undoing.process && *at >= undoing.began;
            let is_human = entry.is_some_and(|entry| entry.is_human);
            let is_as_before = !entry.is_some_and(|entry| entry.is_human && entry.set > undoing.began);
            let is_seen = !is_edited || entry.is_some_and(|entry| entry.read_by.iter().any(is_read));
            let must = must.filter(|_| done.is_some() && is_as_before && is_seen && is_edited == is_human);
            if let Some(undo) = done.filter(|_| must.is_some() && is_edited) {
                self.log().count(Happening::EditLeft);
                if is_alone && !undo.edited_since.contains(&chat) {
                    self.log().breach("undo", format_args!("{chat} was edited since, and is not listed as such"));
                }
            }
            let since = must.is_some().then_some(now);
            names = must.map_or(names, |must| BTreeSet::from([must]));
            // Where nobody can tell, what an earlier undo gave back may still stand.
            if let Some(before) = state.said.undone.remove(&chat).filter(|_| since.is_none()) {
                names.extend(before.names);
            }
            state.said.undone.insert(chat, Undone { over, names, since });
        }
    }

    /// What a contact may show in place of the name that the CRM wants, and whether it must.
    pub(in crate::testkit::sim) fn undone(&self, chat: &ChatId, wanted: &str) -> (BTreeSet<String>, bool) {
        let state = self.state();
        let undone = state.said.undone.get(chat).filter(|undone| undone.over == wanted);
        undone.map_or_else(Default::default, |undone| (undone.names.clone(), undone.since.is_some()))
    }

    /// Which contacts a process renamed since so many requests were made, as far as the ledger knew their names.
    pub(in crate::testkit::sim) fn renamed_since(&self, requests: usize, process: usize) -> BTreeSet<ChatId> {
        let state = self.state();
        let renamed = state.requests[requests..].iter().filter(|request| request.process == process && request.renames);
        renamed.map(|request| request.chat.clone()).collect()
    }

    /// How many names a process sent since so many requests were made.
    pub(in crate::testkit::sim) fn sent_since(&self, requests: usize, process: usize) -> usize {
        self.state().requests[requests..].iter().filter(|request| request.process == process).count()
    }
}
