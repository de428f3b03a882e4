//! The observer lane of a run: what the address book shows is read before it is overwritten.
//!
//! A look costs calls of the same pace, so a run takes the cheaper way: each contact that is about to be called by itself, or the
//! whole book page by page. It covers some minutes of calls; after that the run looks again, so that a name that a person saved
//! meanwhile reaches the history.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    LookFirst, SyncError,
    report::{Progress, Summary},
    run::{Run, Store, stopped},
};
use crate::{
    ChatId, Error, ErrorClass, ErrorKind, Phone,
    book::{Contact, Existence, LidPage, Page, Pager, Permit, Session},
    record::{Blame, Decision, Event, Hold, Record, Status, decide, merge},
    sync::gate::Passage,
    time::Timestamp,
};

/// How many entries a page of the address book holds.
pub(super) const PAGE: usize = 1_000;
/// For how long what was read is taken for what the address book shows.
pub(super) const FRESH: Duration = Duration::from_secs(600);
/// How many contacts are looked at one by one where nobody knows how large the address book is: an answer for one person is surer
/// than a list.
const FEW: u64 = 20;
/// How often a read of the whole book is tried again before the run goes on without.
const TRIES: u32 = 3;
/// How many entries under privacy ids that nobody knows are resolved in one look.
const MOST_LIDS: usize = 100_000;
/// How long a contact is held for want of a phone before it is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(86_400);
/// How long a contact is held whose number is not on WhatsApp before that is asked again.
const CHECK_AGAIN: Duration = Duration::from_secs(7 * 86_400);
/// The server lets numbers be asked for once a second, whatever the pace.
const BETWEEN_CHECKS: Duration = Duration::from_secs(1);

/// What a run has looked at so far.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
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
    /// Contacts that were due and not in the whole book when it was read: marks in place of ids, of which there may be very many.
    unsaved: HashSet<u64>,
    marks: RandomState,
    has_news: bool,
    /// Whether the provider cannot tell who is on WhatsApp.
    cannot_check: bool,
    /// Contacts whose number could not be asked for in this run.
    unchecked: HashSet<ChatId>,
    /// When a number was last asked for.
    checked_at: Option<Instant>,
    /// How many reads were made.
    reads: u64,
    /// Whether what is read counts as sent, where it is what is wanted.
    pub(super) adopts: bool,
    /// What the last read of the whole book showed.
    pub(super) counts: Counts,
    /// Why the last read failed that did.
    failed: Option<ErrorKind>,
    /// When the last read was begun that got an answer.
    read_at: Timestamp,
    /// Contacts whose last request was not answered, to be read before it is repeated.
    doubted: HashSet<ChatId>,
}

/// What a read of the whole book showed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Its entries.
    pub(super) read: u64,
    /// Contacts with another name than was sent.
    pub(super) drifted: u64,
    /// Contacts with the name that is wanted.
    pub(super) matching: u64,
    /// Contacts with another name than is wanted.
    pub(super) different: u64,
}

impl Counts {
    fn count(&mut self, record: &Record) {
        self.drifted += u64::from(record.drifted().is_some());
        if let Some(wish) = record.wanted() {
            let is_matching = record.shows(&wish.name);
            self.matching += u64::from(is_matching);
            self.different += u64::from(!is_matching);
        }
    }
}

impl Looked {
    /// When the whole book was read last.
    pub(super) fn book_at(&self) -> Option<Timestamp> {
        self.book_at
    }

    /// Notes a contact that is due before the whole book is read: if it is still without a name then, the book does not hold it.
    pub(super) fn note_unsaved(&mut self, record: &Record) {
        if record.status.due_at().is_some() && !record.is_known() && record.seen.is_none() {
            let mark = self.marks.hash_one(&record.chat);
            self.unsaved.insert(mark);
        }
    }

    fn is_unsaved(&self, chat: &ChatId) -> bool {
        self.unsaved.contains(&self.marks.hash_one(chat))
    }

    /// Notes that a request was not answered: what was read before it says nothing of its effect.
    pub(super) fn doubt(&mut self, chat: &ChatId) {
        self.doubted.insert(chat.clone());
    }

    /// Whether the address book cannot be read.
    pub(super) fn is_blind(&self) -> bool {
        self.is_blind
    }

    /// Whether anything that was read was news.
    pub(super) fn has_news(&self) -> bool {
        self.has_news
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
    Exists(&'a Phone),
}

enum Answer {
    One(Option<Contact>),
    Page(Page),
    Phone(Option<Phone>),
    Lids(LidPage),
    Account(Option<Session>),
    Exists(Option<Existence>),
}

impl Run {
    /// Asks which account is behind the instance; `None` if nobody can tell.
    pub(super) async fn look_at_account(&mut self) -> Result<Option<ChatId>, SyncError> {
        if self.sync.look_first == LookFirst::Never {
            return Ok(None);
        }
        match self.read(Target::Account).await? {
            Reading::Got(Answer::Account(session)) => Ok(session.and_then(|session| {
                self.session = Some(session.status);
                session.me
            })),
            _ => Ok(None),
        }
    }

    /// Whether what a contact shows has to be read before it is called.
    pub(super) fn needs_look(&self, record: &Record) -> bool {
        if self.sync.look_first == LookFirst::Never || self.looked.is_blind {
            return false;
        }
        if self.looked.doubted.contains(&record.chat) {
            return true;
        }
        let now = self.now();
        let is_fresh = |at: Timestamp| now.since(at) < FRESH;
        let by_itself = self.looked.singles.get(&record.chat).copied().is_some_and(is_fresh);
        // A read of the whole book says nothing of a contact that the ledger did not know yet.
        let with_others = self.looked.book_at.is_some_and(is_fresh)
            && (record.is_known() || record.seen.is_some() || self.looked.is_unsaved(&record.chat));
        !by_itself && !with_others
    }

    /// Looks at contacts that are due: one by one, or the whole book if that takes fewer reads. `expected` says how many calls are
    /// ahead. Says how many of the known contacts the book shows, if it was read as a whole.
    pub(super) async fn look(&mut self, store: &mut Store<'_>, expected: u64) -> Result<Option<u64>, SyncError> {
        let is_fresh = self.looked.book_at.is_some_and(|at| self.now().since(at) < FRESH);
        if self.sync.look_first == LookFirst::Never || self.looked.is_blind || expected == 0 || is_fresh {
            return Ok(None);
        }
        let window = expected.min(self.calls_ahead());
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

    /// How many calls the pace allows while what was read is fresh.
    fn calls_ahead(&self) -> u64 {
        let calls = FRESH.as_nanos().checked_div(self.sync.book.pace().interval().as_nanos());
        calls.map_or(u64::MAX, |calls| u64::try_from(calls).unwrap_or(u64::MAX).max(1))
    }

    /// How long the calls take at the pace, with the reads between them.
    pub(super) fn duration_of(&self, summary: &Summary) -> Duration {
        let calls = summary.calls;
        let reads = self.looked.reads.saturating_mul(calls.div_ceil(self.calls_ahead()));
        let interval = self.sync.book.pace().interval();
        let turns = |calls: u64| u32::try_from(calls).unwrap_or(u32::MAX);
        let checks = if self.sync.checks_numbers { summary.created } else { 0 };
        let checking = interval.max(BETWEEN_CHECKS).saturating_mul(turns(checks));
        interval.saturating_mul(turns(calls.saturating_add(reads))).saturating_add(checking)
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
        let is_read = match self.read(Target::One(&record.chat)).await? {
            Reading::Got(Answer::One(answer)) => {
                self.looked.skipped = 0;
                self.take_answer(store, record, answer).await?
            }
            Reading::Impossible(kind) => {
                self.go_blind(kind);
                return Ok(false);
            }
            Reading::Got(_) | Reading::Skipped => false,
            Reading::Ended => return Ok(false),
        };
        let now = self.now();
        self.looked.doubted.remove(&record.chat);
        self.looked.singles.insert(record.chat.clone(), now);
        if !is_read {
            self.go_on_without(&record.chat);
        }
        Ok(true)
    }

    /// Reads a contact whose name was acknowledged in place of another one. Gives its record as it is then; `None` if it could not be
    /// read.
    pub(super) async fn look_again(
        &mut self,
        record: &Record,
        replaced: Replaced,
    ) -> Result<Option<Record>, SyncError> {
        let sighting = match self.read(Target::One(&record.chat)).await? {
            Reading::Got(Answer::One(answer)) => self.sighting(record, answer).await?,
            Reading::Impossible(kind) => {
                self.go_blind(kind);
                None
            }
            Reading::Got(_) | Reading::Skipped => None,
            Reading::Ended => return Ok(None),
        };
        let Some(sighting) = sighting else {
            if let Some(kind) = self.looked.failed {
                self.recorder.notes.unread.get_or_insert(kind);
            }
            return Ok(None);
        };
        let sighting = Sighting { replaced: Some(replaced), ..sighting };
        let seen = self.observe(&mut Store::Ledger, sighting).await?;
        Ok(seen.into_iter().map(|(record, _)| record).find(|seen| seen.chat == record.chat))
    }

    /// Takes the answer to the question for one contact, and says whether it was about that contact.
    async fn take_answer(
        &mut self,
        store: &mut Store<'_>,
        record: &Record,
        answer: Option<Contact>,
    ) -> Result<bool, SyncError> {
        let Some(sighting) = self.sighting(record, answer).await? else { return Ok(false) };
        self.observe(store, sighting).await?;
        Ok(true)
    }

    /// What the answer to the question for one contact shows, if it is about that contact.
    async fn sighting(&mut self, record: &Record, answer: Option<Contact>) -> Result<Option<Sighting>, SyncError> {
        let mut sighting = Sighting::at(self.looked.read_at);
        let is_same = |chat: &ChatId| record.answers_to(chat) || chat.is_variant_of(&record.chat);
        let name = match answer {
            None => None,
            Some(contact) if is_same(&contact.chat) => contact.name,
            Some(contact) if contact.chat.is_lid() => match self.read(Target::Phone(&contact.chat)).await? {
                Reading::Got(Answer::Phone(Some(phone))) if is_same(&phone.clone().into()) => {
                    sighting.aliases.insert(contact.chat, record.chat.clone());
                    contact.name
                }
                // It may be anybody's: no read at all.
                _ => return Ok(None),
            },
            Some(_) => return Ok(None),
        };
        sighting.names.insert(record.chat.clone(), name);
        Ok(Some(sighting))
    }

    /// Reads the whole book. Says how many of the contacts that were known before it shows, if it was read to the end.
    pub(super) async fn look_at_book(&mut self, store: &mut Store<'_>) -> Result<Option<u64>, SyncError> {
        let began = self.now();
        // What a comparison holds is noted where it is counted.
        if matches!(store, Store::Ledger) {
            self.note_unsaved(store).await?;
        }
        let mut pager = Pager::new(PAGE);
        let mut entries = 0;
        let mut listed = Listed::default();
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
            self.take_page(store, page.contacts, &mut listed).await?;
            self.recorder.tell(&Progress::Read(entries));
        }
        self.look_up_lids(store, &mut listed).await?;
        self.note_nameless(store, &mut listed).await?;
        self.looked.book_at = Some(began);
        self.looked.entries = Some(entries);
        self.looked.counts.read = entries;
        Ok(Some(listed.known))
    }

    /// Takes the entries of one page: those under privacy ids that nobody knows are kept until their phones are known.
    async fn take_page(
        &mut self,
        store: &mut Store<'_>,
        contacts: Vec<Contact>,
        listed: &mut Listed,
    ) -> Result<(), SyncError> {
        let mut sighting = Sighting::at(self.looked.read_at);
        for contact in contacts {
            sighting.show(contact.chat, contact.name);
        }
        let lids: Vec<ChatId> = sighting.names.keys().filter(|chat| chat.is_lid()).cloned().collect();
        if !lids.is_empty() {
            let records = store.find(self, &lids).await?;
            for lid in lids {
                if !records.iter().any(|record| record.chat != lid && record.answers_to(&lid))
                    && let Some(name) = sighting.names.remove(&lid)
                    && listed.lids.len() < MOST_LIDS
                {
                    listed.lids.insert(lid, name);
                }
            }
        }
        self.observe_listed(store, sighting, listed).await
    }

    /// Learns the phones behind privacy ids that the book listed.
    async fn look_up_lids(&mut self, store: &mut Store<'_>, listed: &mut Listed) -> Result<(), SyncError> {
        let mut pager = Pager::new(PAGE);
        while !listed.lids.is_empty()
            && let Some(offset) = pager.next_offset()
        {
            let Reading::Got(Answer::Lids(page)) = self.read(Target::Lids(offset)).await? else { break };
            if pager.took(page.entries, page.mark).is_err() {
                break;
            }
            let mut sighting = Sighting::at(listed.since.unwrap_or(self.looked.read_at));
            for mapping in page.mappings {
                let Some(phone) = mapping.phone else { continue };
                if let Some(name) = listed.lids.remove(&mapping.lid) {
                    let chat = ChatId::from(phone);
                    sighting.show(chat.clone(), name);
                    sighting.aliases.insert(mapping.lid, chat);
                }
            }
            self.observe_listed(store, sighting, listed).await?;
        }
        Ok(())
    }

    /// Observes the entries that have a name, and remembers the persons whose entry has none: engines list some twice, and one with a
    /// name tells more.
    async fn observe_listed(
        &mut self,
        store: &mut Store<'_>,
        mut sighting: Sighting,
        listed: &mut Listed,
    ) -> Result<(), SyncError> {
        listed.since = Some(listed.since.map_or(sighting.at, |since| since.min(sighting.at)));
        let nameless: Vec<ChatId> =
            sighting.names.iter().filter(|(_, name)| name.is_none()).map(|(chat, _)| chat.clone()).collect();
        sighting.names.retain(|_, name| name.is_some());
        for (record, was_known) in self.observe(store, sighting).await? {
            if listed.named.insert(record.chat.clone()) {
                listed.known += u64::from(was_known);
                self.looked.counts.count(&record);
            }
        }
        for record in store.find(self, &with_variants(&nameless)).await? {
            listed.nameless.insert(record.chat);
        }
        Ok(())
    }

    /// Notes that persons are not saved who are listed without a name, and nowhere with one.
    async fn note_nameless(&mut self, store: &mut Store<'_>, listed: &mut Listed) -> Result<(), SyncError> {
        let Some(at) = listed.since else { return Ok(()) };
        let nameless: Vec<_> = listed.nameless.difference(&listed.named).cloned().collect();
        for chats in nameless.chunks(PAGE) {
            let names = chats.iter().map(|chat| (chat.clone(), None)).collect();
            self.observe(store, Sighting { names, ..Sighting::at(at) }).await?;
        }
        Ok(())
    }

    /// Notes whom the whole book will show: what it does not hold of them is not saved.
    async fn note_unsaved(&mut self, store: &mut Store<'_>) -> Result<(), SyncError> {
        self.looked.unsaved.clear();
        let mut after = None;
        loop {
            let records = store.due(self, after.as_ref()).await?;
            let Some(last) = records.last() else { return Ok(()) };
            after = Some(last.chat.clone());
            for record in &records {
                self.looked.note_unsaved(record);
            }
        }
    }

    /// Writes down what was seen of contacts that the ledger knows, and the ids that they were seen under. Gives their records back, and
    /// whether each was known to have a name before.
    async fn observe(&mut self, store: &mut Store<'_>, sighting: Sighting) -> Result<Vec<(Record, bool)>, SyncError> {
        let Sighting { names, mut aliases, at: now, replaced } = sighting;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        self.leave_forgotten(&mut aliases).await?;
        let (policy, adopts) = (self.policy(), self.looked.adopts);
        let (mut known, mut has_news) = (HashSet::new(), false);
        let decide = |record: &Record| {
            if record.is_known() {
                known.insert(record.chat.clone());
            }
            let ids = std::iter::once(&record.chat).chain(&record.aliases);
            let own = ids.filter_map(|id| names.get(id)).max_by_key(|name| name.is_some());
            // An engine may list the other variant of a number.
            let name = own.or_else(|| names.get(&record.chat.variant()?))?;
            let mut next = record.clone();
            for (alias, _) in aliases.iter().filter(|(_, chat)| record.answers_to(chat)) {
                next = merge(&next, Record::new(alias.clone()), &policy, now).record;
            }
            let text = name.as_deref().map(Into::into);
            let event = match &replaced {
                Some(replaced) if replaced.is_still_shown(name.as_deref()) => {
                    Event::Unkept { name: text, blame: replaced.blame }
                }
                _ => Event::Seen { name: text, at: None },
            };
            let mut decision = decide(&next, event, &policy, now);
            if adopts {
                decision.record = decide(&decision.record, Event::Adopted, &policy, now).record;
                decision.is_changed = decision.record != next;
            }
            let is_changed = decision.is_changed || next != *record;
            has_news |= is_changed;
            Some(Decision { is_changed, ..decision })
        };
        let chats: Vec<ChatId> = names.keys().cloned().collect();
        let records = store.change(self, &with_variants(&chats), decide).await?;
        self.looked.has_news |= has_news;
        Ok(records
            .into_iter()
            .map(|record| (known.contains(&record.chat), record))
            .map(|(known, record)| (record, known))
            .collect())
    }

    /// Passes over privacy ids of persons who were forgotten.
    async fn leave_forgotten(&self, aliases: &mut BTreeMap<ChatId, ChatId>) -> Result<(), SyncError> {
        if !aliases.is_empty() {
            let ids: Vec<&str> = aliases.keys().map(ChatId::as_str).collect();
            let mut are_forgotten = self.sync.ledger.forgotten(self.sync.book.instance(), &ids).await?.into_iter();
            aliases.retain(|_, _| !are_forgotten.next().unwrap_or_default());
        }
        Ok(())
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

    /// Whether it is to be asked first if the number is on WhatsApp, and how it is written there.
    pub(super) fn needs_check(&self, record: &Record) -> bool {
        let is_new = !record.is_known() && record.checked.is_none() && !record.chat.is_lid();
        let is_wanted =
            self.sync.checks_numbers || (self.sync.look_first != LookFirst::Never && record.chat.variant().is_some());
        is_new && is_wanted && !self.looked.cannot_check && !self.looked.unchecked.contains(&record.chat)
    }

    /// Asks whether a number is on WhatsApp, and goes on under the id that the server confirms: a number that is written in two ways is
    /// written to in that one.
    pub(super) async fn check(&mut self, record: &Record) -> Result<(), SyncError> {
        let Some(phone) = record.chat.phone() else { return Ok(()) };
        if let Some(at) = self.looked.checked_at {
            let next = tokio::time::sleep_until(at + BETWEEN_CHECKS);
            tokio::select! { biased; () = stopped(&mut self.stop) => return Ok(()), () = next => {} }
        }
        let reading = self.read(Target::Exists(&phone)).await?;
        self.looked.checked_at = Some(Instant::now());
        let existence = match reading {
            Reading::Got(Answer::Exists(Some(existence))) => existence,
            Reading::Got(_) | Reading::Impossible(_) => {
                self.looked.cannot_check = true;
                return Ok(());
            }
            Reading::Skipped => {
                self.looked.unchecked.insert(record.chat.clone());
                return Ok(());
            }
            Reading::Ended => return Ok(()),
        };
        let by_phone = existence.phone.as_ref().map(Phone::chat);
        let confirmed = existence.chat.clone().filter(|chat| !chat.is_lid()).or(by_phone);
        let other = confirmed.filter(|chat| *chat != record.chat && chat.is_variant_of(&record.chat));
        if let Some(other) = other.filter(|_| existence.exists) {
            self.join(record, other).await?;
        }
        let (now, policy, chat) = (self.now(), self.policy(), record.chat.clone());
        let mut lid = existence.chat.filter(ChatId::is_lid);
        if let Some(id) = &lid
            && self.sync.ledger.forgotten(self.sync.book.instance(), &[id.as_str()]).await? == [true]
        {
            lid = None;
        }
        let decide = |record: &Record| {
            let mut decision = decide(record, Event::Checked { exists: existence.exists }, &policy, now);
            if let Some(lid) = lid.as_ref().filter(|lid| !record.answers_to(lid)) {
                decision.record = merge(&decision.record, Record::new(lid.clone()), &policy, now).record;
            }
            Some(decision)
        };
        Store::Ledger.change(self, &[chat], decide).await?;
        Ok(())
    }

    /// Asks again for the phones of contacts that have been held for want of one for a day, and for numbers that were not on WhatsApp a
    /// week ago.
    pub(super) async fn resolve_held(&mut self) -> Result<(), SyncError> {
        let mut after = None;
        loop {
            let records = self.held_after(after.as_ref()).await?;
            let Some(last) = records.last() else { return Ok(()) };
            after = Some(last.chat.clone());
            for record in &records {
                if let Status::Held { reason: Hold::NotOnWhatsApp, since } = record.status
                    && self.now().since(since) >= CHECK_AGAIN
                {
                    let (now, policy) = (self.now(), self.policy());
                    let decide = |record: &Record| Some(decide(record, Event::Retry, &policy, now));
                    Store::Ledger.change(self, std::slice::from_ref(&record.chat), decide).await?;
                }
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
            let began = self.now();
            self.looked.reads += 1;
            let fetched = tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return Ok(Reading::Ended),
                fetched = fetch(&*self.sync.book, target) => fetched,
            };
            let error = match fetched {
                Ok(answer) => {
                    self.looked.read_at = began;
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
        // What fails in passing is asked once more before a text may be lost for it.
        if error.is_transient() && tries < TRIES {
            let until = self.now().after(self.backoff(tries));
            self.wait_until(until).await?;
            return Ok(None);
        }
        self.looked.failed = Some(error.kind());
        // Nothing depends on the account or on one privacy id but themselves.
        if matches!(target, Target::Account | Target::Phone(_) | Target::Exists(_)) {
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

    /// A contact could not be looked at: it is left alone, or its text cannot be kept.
    fn go_on_without(&mut self, chat: &ChatId) {
        if self.sync.look_first == LookFirst::Always {
            self.looked.unread.insert(chat.clone());
        } else {
            let kind = self.looked.failed.unwrap_or(ErrorKind::Decode);
            self.recorder.notes.unread.get_or_insert(kind);
        }
    }

    fn go_blind(&mut self, kind: ErrorKind) {
        self.looked.is_blind = true;
        self.recorder.notes.unread = Some(kind);
        tracing::warn!(instance = %self.sync.book.instance(), kind = kind.code(), "the address book cannot be read");
    }
}

/// Names that a read showed.
struct Sighting {
    /// By the id that they were shown under.
    names: BTreeMap<ChatId, Option<String>>,
    /// Privacy ids, and whose they are.
    aliases: BTreeMap<ChatId, ChatId>,
    /// When the read began: what it showed may be over by the time of its answer.
    at: Timestamp,
    /// What an acknowledged name was to replace, if the read is to verify that.
    replaced: Option<Replaced>,
}

/// What a contact showed before a name was acknowledged.
pub(super) struct Replaced {
    pub(super) name: Option<String>,
    /// Whose fault it is if that is still shown.
    pub(super) blame: Blame,
}

impl Replaced {
    /// A name that is gone is not an edit either.
    fn is_still_shown(&self, name: Option<&str>) -> bool {
        name.is_none() || name == self.name.as_deref()
    }
}

impl Sighting {
    fn at(at: Timestamp) -> Self {
        Self { names: BTreeMap::new(), aliases: BTreeMap::new(), at, replaced: None }
    }

    fn show(&mut self, chat: ChatId, name: Option<String>) {
        let known = self.names.entry(chat).or_default();
        if known.is_none() {
            *known = name;
        }
    }
}

/// Whom a read of the whole book has listed so far.
#[derive(Default)]
struct Listed {
    /// When the first of its pages was asked for.
    since: Option<Timestamp>,
    /// Names under privacy ids that nobody knows yet.
    lids: BTreeMap<ChatId, Option<String>>,
    /// Contacts listed with a name.
    named: HashSet<ChatId>,
    /// How many of them were known to have one before.
    known: u64,
    /// Contacts listed without a name.
    nameless: HashSet<ChatId>,
}

fn with_variants(chats: &[ChatId]) -> Vec<ChatId> {
    chats.iter().cloned().chain(chats.iter().filter_map(ChatId::variant)).collect()
}

async fn fetch(book: &dyn crate::book::AddressBook, target: Target<'_>) -> Result<Answer, Error> {
    let permit: Permit = book.permit().await?;
    Ok(match target {
        Target::One(chat) => Answer::One(book.contact(permit, chat).await?),
        Target::Page(offset) => Answer::Page(book.page(permit, offset, PAGE).await?),
        Target::Phone(lid) => Answer::Phone(book.phone_of(permit, lid).await?),
        Target::Lids(offset) => Answer::Lids(book.lids(permit, offset, PAGE).await?),
        Target::Exists(phone) => Answer::Exists(book.exists(permit, phone).await?),
        Target::Account => Answer::Account(book.session(permit).await?),
    })
}
