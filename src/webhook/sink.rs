//! Where the parsers put what they understood.

use std::{borrow::Cow, sync::Arc, time::SystemTime};

use super::{Account, AddressBookEvent, DedupeKey, Event, Ids, NameOrigin, Reason, ShownName, json::Node};
use crate::ChatId;

/// The events of one payload so far.
#[derive(Debug, Default)]
pub(super) struct Sink {
    events: Vec<Event>,
    account: Option<Account>,
}

/// One item of a payload, and what the events made of it have in common.
#[derive(Debug)]
pub(super) struct Item<'s> {
    sink: &'s mut Sink,
    event: &'s str,
    at: Option<SystemTime>,
    id: Option<Cow<'s, str>>,
    parts: u32,
}

impl Sink {
    /// Says whose events follow.
    pub(super) fn account(&mut self, kind: fn(Arc<str>) -> Account, id: Node<'_>) {
        self.account = id.text().map(|id| kind(id.as_ref().into()));
    }

    /// Begins an item; `event` is the provider's word for it.
    pub(super) fn item<'s>(&'s mut self, event: &'s str) -> Item<'s> {
        Item { sink: self, event, at: None, id: None, parts: 0 }
    }

    /// The events; a payload with nothing in it is malformed.
    pub(super) fn finish(mut self) -> Vec<Event> {
        if self.events.is_empty() {
            self.item("").ignore(Reason::Malformed);
        }
        self.events
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
        Self { id: id.text(), ..self }
    }

    pub(super) fn emit(&mut self, what: AddressBookEvent) {
        let key = self.id.as_deref().map(|id| DedupeKey::new(id, self.parts));
        self.parts += 1;
        self.sink.events.push(Event { account: self.sink.account.clone(), at: self.at, key, what });
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
        if self.id.is_none() {
            self.at = None;
            match self.sink.last_ignored() {
                Some((last, event, count)) if (last, event) == (reason, word) => return *count += 1,
                _ => {}
            }
        }
        self.emit(AddressBookEvent::Ignored { reason, event: word.into(), count: 1 });
    }

    /// Notes the event that the item means, or why it means none.
    pub(super) fn settle(&mut self, meaning: Result<AddressBookEvent, Reason>) {
        match meaning {
            Ok(what) => self.emit(what),
            Err(reason) => self.ignore(reason),
        }
    }
}

/// Reads a person's chat id; says why it is none.
pub(super) fn person(id: Node<'_>) -> Result<ChatId, Reason> {
    let id = id.text().ok_or(Reason::NoId)?;
    id.parse().map_err(|_| match id.rsplit_once('@') {
        None | Some((_, "c.us" | "s.whatsapp.net" | "lid" | "hosted" | "hosted.lid")) => Reason::NoId,
        Some(_) => Reason::NotAPerson,
    })
}

/// A name, if there is one.
pub(super) fn name(text: Node<'_>, origin: NameOrigin) -> Option<ShownName> {
    text.text().map(|text| ShownName { text: text.as_ref().into(), origin })
}
