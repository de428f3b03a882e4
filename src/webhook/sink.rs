//! Where the parsers put what they understood.

use std::{borrow::Cow, collections::HashMap, sync::Arc, time::SystemTime};

use super::{Account, AddressBookEvent, DedupeKey, Event, Ids, NameOrigin, Reason, ShownName, json::Node};
use crate::ChatId;

/// How many bytes of an id or a name are read. Nothing in a body may cost more than its share of it.
const LONGEST: usize = 1_024;

/// How many events a body of any size may have: Meta's have 1,000 at the most.
const MOST_EVENTS: usize = 1_000;
/// How many bytes of a larger body there are for each event.
const LEAST_SIZE: usize = 24;

/// The events of one payload so far.
#[derive(Debug)]
pub(super) struct Sink {
    events: Vec<Event>,
    /// How many events there may be.
    most: usize,
    account: Option<Account>,
    /// How many events each of the provider's ids has: a body may have several items of one id.
    parts: HashMap<Box<str>, u32>,
}

/// One item of a payload, and what the events made of it have in common.
#[derive(Debug)]
pub(super) struct Item<'s> {
    sink: &'s mut Sink,
    event: &'s str,
    at: Option<SystemTime>,
    id: Option<Cow<'s, str>>,
}

impl Sink {
    /// For the events of a body: so many as no provider sends, and no more than its size can pay for.
    pub(super) fn of(body: Node<'_>) -> Self {
        let most = MOST_EVENTS.max(body.size() / LEAST_SIZE);
        Self { events: Vec::new(), most, account: None, parts: HashMap::new() }
    }

    /// Says whose events follow.
    pub(super) fn account(&mut self, account: Option<Account>) {
        self.account = account;
    }

    /// Begins an item; `event` is the provider's word for it.
    pub(super) fn item<'s>(&'s mut self, event: &'s str) -> Item<'s> {
        Item { sink: self, event, at: None, id: None }
    }

    /// The events; a payload with nothing in it is malformed.
    pub(super) fn finish(mut self) -> Vec<Event> {
        if self.events.is_empty() {
            self.item("").ignore(Reason::Malformed);
        }
        self.events
    }

    fn push(&mut self, at: Option<SystemTime>, key: Option<DedupeKey>, what: AddressBookEvent) {
        let (events, account) = (&mut self.events, self.account.clone());
        // Doubling would cost a large body several times its own size.
        events.reserve_exact(if events.len() == events.capacity() { events.len() / 4 + 4 } else { 0 });
        events.push(Event { account, at, key, what });
    }

    fn last_ignored(&mut self) -> Option<(Reason, &str, &mut usize)> {
        match self.events.last_mut()? {
            Event { account, key: None, what: AddressBookEvent::Ignored { reason, event, count }, .. }
                if *account == self.account =>
            {
                Some((*reason, event, count))
            }
            _ => None,
        }
    }
}

impl<'s> Item<'s> {
    pub(super) fn at(self, at: Option<SystemTime>) -> Self {
        Self { at, ..self }
    }

    /// Takes the provider's id of the item.
    pub(super) fn id(self, id: Node<'s>) -> Self {
        Self { id: short(id), ..self }
    }

    pub(super) fn emit(&mut self, what: AddressBookEvent) {
        if self.sink.events.len() >= self.sink.most {
            return self.ignore(Reason::TooMany);
        }
        let key = self.id.as_deref().map(|id| {
            let parts = self.sink.parts.entry(id.into()).or_default();
            *parts += 1;
            DedupeKey::new(id, *parts - 1)
        });
        self.sink.push(self.at, key, what);
    }

    /// Says both ids of a person, if both are known.
    pub(super) fn emit_link(&mut self, ids: &Ids) {
        if let (Some(lid), Some(phone)) = (ids.lid.clone(), ids.phone.clone()) {
            self.emit(AddressBookEvent::IdentityLinked { lid, phone });
        }
    }

    /// Notes that the item means nothing; a run of such items is one event, so that rubbish takes no room.
    pub(super) fn ignore(&mut self, reason: Reason) {
        let word = self.event.char_indices().nth(64).map_or(self.event, |(end, _)| &self.event[..end]);
        let is_full = self.sink.events.len() >= self.sink.most;
        match self.sink.last_ignored() {
            Some((last, event, count)) if (last, event) == (reason, word) || is_full => *count += 1,
            _ => self.sink.push(None, None, AddressBookEvent::Ignored { reason, event: word.into(), count: 1 }),
        }
    }

    /// Notes the event that the item means, or why it means none.
    pub(super) fn settle(&mut self, meaning: Result<AddressBookEvent, Reason>) {
        match meaning {
            Ok(what) => self.emit(what),
            Err(reason) => self.ignore(reason),
        }
    }
}

/// An account by its id.
pub(super) fn account(kind: fn(Arc<str>) -> Account, id: Node<'_>) -> Option<Account> {
    short(id).map(|id| kind(id.as_ref().into()))
}

/// Reads a person's chat id; says why it is none.
pub(super) fn person(id: Node<'_>) -> Result<ChatId, Reason> {
    let id = short(id).filter(|id| !id.starts_with('-')).ok_or(Reason::NoId)?;
    id.parse().map_err(|_| match id.rsplit_once('@') {
        None | Some((_, "c.us" | "s.whatsapp.net" | "lid" | "hosted" | "hosted.lid")) => Reason::NoId,
        Some(_) => Reason::NotAPerson,
    })
}

/// Reads a person's chat id that says by its server what it is: digits alone may be those of a phone or of a privacy id.
pub(super) fn served(id: Node<'_>) -> Result<ChatId, Reason> {
    if short(id).is_some_and(|id| id.contains('@')) { person(id) } else { Err(Reason::NoId) }
}

/// An id as text; one that is longer than any provider's is none.
pub(super) fn short(id: Node<'_>) -> Option<Cow<'_, str>> {
    id.text().filter(|id| id.len() <= LONGEST)
}

/// A name, if there is one; of a longer one than any address book holds, the beginning.
pub(super) fn name(text: Node<'_>, origin: NameOrigin) -> Option<ShownName> {
    let text = text.text()?;
    let end = (0..=LONGEST.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    Some(ShownName { text: text[..end].into(), origin })
}
