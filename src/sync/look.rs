//! The observer lane of a run: what the address book shows is read before it is overwritten.
//!
//! A look costs calls of the same pace, so a run takes the cheaper way: each contact that is about to be called by itself, or the
//! whole book page by page. It covers some minutes of calls; after that the run looks again, so that a name that a person saved
//! meanwhile reaches the history.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use super::{
    LookFirst, SyncError,
    report::Progress,
    run::{Run, Store, stopped},
};
use crate::{
    ChatId, Error, ErrorClass, ErrorKind, Phone,
    book::{Contact, LidPage, Page, Pager, Permit},
    record::{Decision, Event, Hold, Record, Status, decide, merge},
    sync::gate::Passage,
    time::Timestamp,
};

/// How many entries a page of the address book holds.
pub(super) const PAGE: usize = 1_000;
/// For how long what was read is taken for what the address book shows.
pub(super) const FRESH: Duration = Duration::from_secs(600);
/// How many contacts are looked at one by one where nobody knows how large the address book is.
const FEW: u64 = 20;
/// How often a read of the whole book is tried again before the run goes on without.
const TRIES: u32 = 3;
/// How many entries under privacy ids that nobody knows are resolved in one look.
const MOST_LIDS: usize = 100_000;
/// How long a contact is held for want of a phone before it is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(86_400);

/// What a run has looked at so far.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// When the whole book was read last.
    book_at: Option<Timestamp>,
    /// How many entries it had then.
    pub(super) entries: Option<u64>,
    /// Contacts that were read one by one.
    singles: HashMap<ChatId, Timestamp>,
    /// How many contacts in a row could not be read.
    skipped: u32,
    /// Contacts that could not be read although they have to be.
    unread: HashSet<ChatId>,
    /// Whether the address book cannot be read.
    is_blind: bool,
}

impl Looked {
    /// When the whole book was read last.
    pub(super) fn book_at(&self) -> Option<Timestamp> {
        self.book_at
    }

    /// How many contacts are left alone in this run.
    pub(super) fn barred(&self) -> usize {
        self.unread.len()
    }

    /// Whether a contact could not be read although it has to be, so that it is left alone in this run.
    pub(super) fn is_barred(&self, chat: &ChatId) -> bool {
        self.unread.contains(chat)
    }
}

/// What became of a read.
enum Reading<T> {
    Got(T),
    /// This one cannot be read; others may.
    Skipped,
    /// Reading as such does not work.
    Impossible(ErrorKind),
    /// The gate is closed, or the run is told to stop.
    Ended,
}

/// What is read.
#[derive(Clone, Copy)]
enum Target<'a> {
    One(&'a ChatId),
    Page(usize),
    Phone(&'a ChatId),
    Lids(usize),
    Account,
}

enum Answer {
    One(Option<Contact>),
    Page(Page),
    Phone(Option<Phone>),
    Lids(LidPage),
    Account(Option<ChatId>),
}

impl Run<'_> {
    /// Asks which account is behind the instance; `None` if nobody can tell.
    pub(super) async fn look_at_account(&mut self) -> Result<Option<ChatId>, SyncError> {
        if self.sync.look_first == LookFirst::Never {
            return Ok(None);
        }
        match self.read(Target::Account).await? {
            Reading::Got(Answer::Account(account)) => Ok(account),
            _ => Ok(None),
        }
    }

    /// Whether what a contact shows has to be read before it is called.
    pub(super) fn needs_look(&self, record: &Record) -> bool {
        if self.sync.look_first == LookFirst::Never || self.looked.is_blind {
            return false;
        }
        let now = self.now();
        let is_fresh = |at: Timestamp| now.since(at) < FRESH;
        let by_itself = self.looked.singles.get(&record.chat).copied().is_some_and(is_fresh);
        // A read of the whole book says nothing of a contact that the ledger did not know yet.
        let with_others = self.looked.book_at.is_some_and(is_fresh) && (record.is_known() || record.seen.is_some());
        !by_itself && !with_others
    }

    /// Looks at contacts that are due: one by one, or the whole book if that takes fewer reads. `expected` says how many calls are
    /// ahead. Says how many of the known contacts the book shows, if it was read as a whole.
    pub(super) async fn look(&mut self, store: &mut Store<'_>, expected: u64) -> Result<Option<u64>, SyncError> {
        if self.sync.look_first == LookFirst::Never || self.looked.is_blind || expected == 0 {
            return Ok(None);
        }
        let interval = self.sync.book.pace().interval();
        let ahead = FRESH
            .as_nanos()
            .checked_div(interval.as_nanos())
            .map_or(u64::MAX, |calls| u64::try_from(calls).unwrap_or(u64::MAX).max(1));
        let window = expected.min(ahead);
        let pages = self.looked.entries.or(self.state.book_entries).map_or(FEW, |entries| entries / PAGE as u64 + 1);
        if window > pages {
            self.look_at_book(store).await
        } else {
            // During the push each contact is looked at right before its call.
            if matches!(store, Store::Staged(_)) {
                self.look_at_due(store, window).await?;
            }
            Ok(None)
        }
    }

    /// Looks at the contacts that are due first, one by one.
    async fn look_at_due(&mut self, store: &mut Store<'_>, window: u64) -> Result<(), SyncError> {
        let (mut after, mut left) = (None, window);
        while left > 0 {
            let records = store.due(self, after.as_ref()).await?;
            let Some(last) = records.last() else { return Ok(()) };
            after = Some(last.chat.clone());
            for record in records.iter().filter(|record| record.status.due_at().is_some()) {
                if left == 0 || !self.look_at(store, record).await? {
                    return Ok(());
                }
                left -= 1;
            }
        }
        Ok(())
    }

    /// Looks at one contact; `false` if there is to be no further look.
    pub(super) async fn look_at(&mut self, store: &mut Store<'_>, record: &Record) -> Result<bool, SyncError> {
        if record.chat.is_lid() || !self.needs_look(record) {
            return Ok(true);
        }
        match self.read(Target::One(&record.chat)).await? {
            Reading::Got(Answer::One(answer)) => {
                let now = self.now();
                self.looked.skipped = 0;
                self.looked.singles.insert(record.chat.clone(), now);
                self.take_answer(store, record, answer).await?;
                Ok(true)
            }
            Reading::Impossible(kind) => {
                self.go_blind(kind);
                Ok(false)
            }
            Reading::Got(_) | Reading::Skipped => {
                let now = self.now();
                self.looked.singles.insert(record.chat.clone(), now);
                if self.sync.look_first == LookFirst::Always {
                    self.looked.unread.insert(record.chat.clone());
                }
                Ok(true)
            }
            Reading::Ended => Ok(false),
        }
    }

    /// Takes the answer to the question for one contact, if it is about that contact.
    async fn take_answer(
        &mut self,
        store: &mut Store<'_>,
        record: &Record,
        answer: Option<Contact>,
    ) -> Result<(), SyncError> {
        let (name, alias) = match answer {
            None => (None, None),
            Some(contact) if record.answers_to(&contact.chat) => (contact.name, None),
            Some(contact) if contact.chat.is_variant_of(&record.chat) => (contact.name, None),
            Some(contact) if contact.chat.is_lid() => match self.read(Target::Phone(&contact.chat)).await? {
                Reading::Got(Answer::Phone(Some(phone))) if record.answers_to(&phone.clone().into()) => {
                    (contact.name, Some(contact.chat))
                }
                // It may be anybody's: no read at all.
                _ => return Ok(()),
            },
            Some(_) => return Ok(()),
        };
        let known = alias.into_iter().map(|alias| (alias, record.chat.clone())).collect();
        self.observe(store, vec![(record.chat.clone(), name)], &known).await.map(drop)
    }

    /// Reads the whole book. Says how many of the known contacts it shows, if it was read to the end.
    async fn look_at_book(&mut self, store: &mut Store<'_>) -> Result<Option<u64>, SyncError> {
        let began = self.now();
        let mut pager = Pager::new(PAGE);
        let (mut found, mut entries) = (0, 0);
        let mut unknown: BTreeMap<ChatId, Option<String>> = BTreeMap::new();
        while let Some(offset) = pager.next_offset() {
            let page = match self.read(Target::Page(offset)).await? {
                Reading::Got(Answer::Page(page)) => page,
                Reading::Impossible(kind) => {
                    self.go_blind(kind);
                    return Ok(None);
                }
                Reading::Ended | Reading::Skipped | Reading::Got(_) => return Ok(None),
            };
            if let Err(error) = pager.took(page.entries, page.mark) {
                if self.sync.look_first == LookFirst::Always {
                    self.gate.shut(&error);
                } else {
                    self.go_blind(error.kind());
                }
                return Ok(None);
            }
            entries += page.entries as u64;
            let (lids, persons): (Vec<_>, Vec<_>) =
                by_person(page.contacts).into_iter().partition(|(chat, _)| chat.is_lid());
            found += self.observe(store, persons, &BTreeMap::new()).await?;
            let strangers = self.observe_lids(store, lids).await?;
            found += strangers.0;
            unknown.extend(strangers.1.into_iter().take(MOST_LIDS.saturating_sub(unknown.len())));
            self.recorder.tell(&Progress::Read(entries));
        }
        found += self.look_up_lids(store, unknown).await?;
        self.looked.book_at = Some(began);
        self.looked.entries = Some(entries);
        self.note_unsaved(store).await?;
        Ok(Some(found))
    }

    /// Observes entries under privacy ids that are known, and gives the others back.
    async fn observe_lids(
        &mut self,
        store: &mut Store<'_>,
        lids: Vec<(ChatId, Option<String>)>,
    ) -> Result<(u64, Vec<(ChatId, Option<String>)>), SyncError> {
        if lids.is_empty() {
            return Ok((0, lids));
        }
        let chats: Vec<ChatId> = lids.iter().map(|(chat, _)| chat.clone()).collect();
        let records = store.find(self, &chats).await?;
        let is_known = |lid: &ChatId| records.iter().any(|record| record.chat != *lid && record.answers_to(lid));
        let (known, unknown): (Vec<_>, Vec<_>) = lids.into_iter().partition(|(lid, _)| is_known(lid));
        Ok((self.observe(store, known, &BTreeMap::new()).await?, unknown))
    }

    /// Learns the phones behind privacy ids that the book listed.
    async fn look_up_lids(
        &mut self,
        store: &mut Store<'_>,
        mut unknown: BTreeMap<ChatId, Option<String>>,
    ) -> Result<u64, SyncError> {
        let (mut pager, mut found) = (Pager::new(PAGE), 0);
        while !unknown.is_empty()
            && let Some(offset) = pager.next_offset()
        {
            let Reading::Got(Answer::Lids(page)) = self.read(Target::Lids(offset)).await? else { break };
            if pager.took(page.entries, page.mark).is_err() {
                break;
            }
            let mut seen = Vec::new();
            let mut aliases = BTreeMap::new();
            for mapping in page.mappings {
                let Some(phone) = mapping.phone else { continue };
                if let Some(name) = unknown.remove(&mapping.lid) {
                    let chat = ChatId::from(phone);
                    seen.push((chat.clone(), name));
                    aliases.insert(mapping.lid, chat);
                }
            }
            found += self.observe(store, seen, &aliases).await?;
        }
        Ok(found)
    }

    /// What the whole book does not hold is not saved: noted for contacts of which nothing else is known.
    async fn note_unsaved(&mut self, store: &mut Store<'_>) -> Result<(), SyncError> {
        let mut after = None;
        loop {
            let records = store.due(self, after.as_ref()).await?;
            let Some(last) = records.last() else { return Ok(()) };
            after = Some(last.chat.clone());
            let is_news = |record: &&Record| {
                record.status.due_at().is_some() && !record.is_known() && record.seen.is_none() && !record.chat.is_lid()
            };
            let chats: Vec<_> = records.iter().filter(is_news).map(|record| (record.chat.clone(), None)).collect();
            self.observe(store, chats, &BTreeMap::new()).await?;
        }
    }

    /// Writes down what was seen of contacts that the ledger knows, and the ids that they were seen under. Says how many known
    /// contacts have a name.
    async fn observe(
        &mut self,
        store: &mut Store<'_>,
        seen: Vec<(ChatId, Option<String>)>,
        aliases: &BTreeMap<ChatId, ChatId>,
    ) -> Result<u64, SyncError> {
        if seen.is_empty() {
            return Ok(0);
        }
        let chats: Vec<ChatId> = seen.iter().map(|(chat, _)| chat.clone()).collect();
        // Whom the book shows for the first time was not known before.
        let before = store.find(self, &chats).await?.into_iter().filter(Record::is_known);
        let known: HashSet<ChatId> = before.map(|record| record.chat).collect();
        let names: BTreeMap<ChatId, Option<String>> = seen.into_iter().collect();
        let (now, policy) = (self.now(), self.policy());
        let decide = |record: &Record| {
            let ids = std::iter::once(&record.chat).chain(&record.aliases);
            let name = ids.filter_map(|id| names.get(id)).max_by_key(|name| name.is_some())?;
            let mut next = record.clone();
            for (alias, _) in aliases.iter().filter(|(_, chat)| record.answers_to(chat)) {
                next = merge(&next, Record::new(alias.clone()), now).record;
            }
            let event = Event::Seen { name: name.as_deref().map(Into::into), at: None };
            let decision = decide(&next, event, &policy, now);
            Some(Decision { is_changed: decision.is_changed || next != *record, ..decision })
        };
        let observed = store.change(self, &chats, decide).await?;
        let found = observed.iter().filter(|record| known.contains(&record.chat) && record.shown().is_some());
        Ok(found.count() as u64)
    }

    /// Finds out the phone behind a privacy id, and goes on under it: what the CRM knows by privacy id only is never called by its
    /// digits. Says whether anything was found out.
    pub(super) async fn resolve(&mut self, record: &Record) -> Result<bool, SyncError> {
        let phone = match self.read(Target::Phone(&record.chat)).await? {
            Reading::Got(Answer::Phone(phone)) => phone,
            Reading::Skipped | Reading::Ended => return Ok(false),
            Reading::Got(_) | Reading::Impossible(_) => None,
        };
        let (now, policy) = (self.now(), self.policy());
        let Some(phone) = phone else {
            let decide = |record: &Record| Some(decide(record, Event::PhoneUnknown, &policy, now));
            Store::Ledger.change(self, std::slice::from_ref(&record.chat), decide).await?;
            return Ok(true);
        };
        self.join(record, phone.into()).await?;
        Ok(true)
    }

    /// Asks again for the phones of contacts that have been held for want of one for a day.
    pub(super) async fn resolve_held(&mut self) -> Result<(), SyncError> {
        let mut after = None;
        loop {
            let records = self.held_after(after.as_ref()).await?;
            let Some(last) = records.last() else { return Ok(()) };
            after = Some(last.chat.clone());
            for record in &records {
                if let Status::Held { reason: Hold::NoPhone, since } = record.status
                    && self.now().since(since) >= ASK_AGAIN
                    && !self.resolve(record).await?
                {
                    return Ok(());
                }
            }
        }
    }

    /// Reads once the gate lets it, again and again as long as the gate has patience.
    async fn read(&mut self, target: Target<'_>) -> Result<Reading<Answer>, SyncError> {
        let mut tries = 0;
        loop {
            match self.gate.passage(self.now()) {
                Passage::Closed => return Ok(Reading::Ended),
                Passage::Wait(until) => self.wait_until(until).await?,
                Passage::Free | Passage::Probe => {}
            }
            if self.is_stopped() {
                return Ok(Reading::Ended);
            }
            self.renew_in_time().await?;
            let fetched = tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return Ok(Reading::Ended),
                fetched = fetch(&*self.sync.book, target) => fetched,
            };
            let error = match fetched {
                Ok(answer) => {
                    self.gate.read_well(self.now());
                    return Ok(Reading::Got(answer));
                }
                Err(error) => error,
            };
            tries += 1;
            if let Some(reading) = self.read_failed(&error, target, tries).await? {
                return Ok(reading);
            }
        }
    }

    /// What to do about a read that failed; `None` to read again.
    async fn read_failed(
        &mut self,
        error: &Error,
        target: Target<'_>,
        tries: u32,
    ) -> Result<Option<Reading<Answer>>, SyncError> {
        let is_whole = matches!(target, Target::Page(_) | Target::Lids(_) | Target::Account);
        let impossible = || {
            if self.sync.look_first == LookFirst::Always { None } else { Some(Reading::Impossible(error.kind())) }
        };
        let about_instance = error.retry_after().is_some()
            || error.class() == ErrorClass::Wait
            || matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::UnknownInstance);
        if about_instance {
            let backoff = self.backoff(self.gate.streak() + 1);
            self.gate_failed(error, None, backoff).await?;
            return Ok(None);
        }
        // A server that fails or is not there is left alone for a while, as after a call; then the run goes on without a look.
        if error.kind() == ErrorKind::Connect || (error.is_transient() && is_whole && tries < TRIES) {
            let backoff = self.backoff(tries);
            self.gate_failed(error, None, backoff).await?;
            return Ok(None);
        }
        // Nothing depends on the account or on one privacy id but themselves.
        if matches!(target, Target::Account | Target::Phone(_)) {
            let kind = error.kind();
            return Ok(Some(if error.is_transient() { Reading::Skipped } else { Reading::Impossible(kind) }));
        }
        // One contact that cannot be read says nothing of the others; several in a row do.
        let is_general = is_whole;
        if !is_general {
            self.looked.skipped += 1;
        }
        if !is_general && self.looked.skipped < TRIES {
            return Ok(Some(Reading::Skipped));
        }
        if let Some(reading) = impossible() {
            return Ok(Some(reading));
        }
        self.gate.shut(error);
        Ok(Some(Reading::Ended))
    }

    fn go_blind(&mut self, kind: ErrorKind) {
        self.looked.is_blind = true;
        self.recorder.notes.unread = Some(kind);
        tracing::warn!(instance = %self.sync.book.instance(), kind = kind.code(), "the address book cannot be read");
    }
}

/// One entry for each person: engines list some twice, and one with a name tells more.
fn by_person(contacts: Vec<Contact>) -> BTreeMap<ChatId, Option<String>> {
    let mut persons = BTreeMap::new();
    for contact in contacts {
        let name = persons.entry(contact.chat).or_insert(None);
        if name.is_none() {
            *name = contact.name;
        }
    }
    persons
}

async fn fetch(book: &dyn crate::book::AddressBook, target: Target<'_>) -> Result<Answer, Error> {
    let permit: Permit = book.permit().await?;
    Ok(match target {
        Target::One(chat) => Answer::One(book.contact(permit, chat).await?),
        Target::Page(offset) => Answer::Page(book.page(permit, offset, PAGE).await?),
        Target::Phone(lid) => Answer::Phone(book.phone_of(permit, lid).await?),
        Target::Lids(offset) => Answer::Lids(book.lids(permit, offset, PAGE).await?),
        Target::Account => Answer::Account(book.session(permit).await?.and_then(|session| session.me)),
    })
}
