use std::{collections::BTreeMap, fmt};

use serde_json::{Value, json};

use crate::{ChatId, Phone, book::Contact};

/// One entry of the stand-in's address book, to start a test with.
///
/// ```
/// use wawp_contacts::{ChatId, testkit::Entry};
///
/// let chat: ChatId = "15551234567@c.us".parse()?;
/// let on_the_phone = Entry::saved(&chat, "Bob from the gym").with_pushname("bobby");
/// # Ok::<(), wawp_contacts::contact::ParseChatIdError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an entry is in no address book until the server is seeded with it"]
pub struct Entry {
    id: Box<str>,
    name: Option<String>,
    pushname: Option<String>,
    business: bool,
    other_id: Option<Box<str>>,
}

impl Entry {
    /// A person who is saved under a name.
    pub fn saved(chat: &ChatId, name: impl fmt::Display) -> Self {
        Self { name: Some(name.to_string()), ..Self::unsaved(chat) }
    }

    /// A person who is in the book for a chat only, without a saved name.
    pub fn unsaved(chat: &ChatId) -> Self {
        Self { id: chat.as_str().into(), name: None, pushname: None, business: false, other_id: None }
    }

    /// A group, such as `120363000000000000@g.us`: listings hold them at times, and nobody may write them.
    pub fn group(id: &str, name: &str) -> Self {
        Self { id: id.into(), name: Some(name.to_owned()), pushname: None, business: false, other_id: None }
    }

    /// Adds the public name that the person chose.
    pub fn with_pushname(mut self, pushname: &str) -> Self {
        self.pushname = Some(pushname.to_owned());
        self
    }

    /// Marks the person as a business.
    pub fn as_business(mut self) -> Self {
        self.business = true;
        self
    }

    /// Lists the person a second time, under another spelling of the id: `15551234567@s.whatsapp.net`, or with a `:device`.
    pub fn listed_also_as(mut self, id: &str) -> Self {
        self.other_id = Some(id.into());
        self
    }

    fn item(&self) -> Value {
        self.item_as(&self.id)
    }

    fn items(&self) -> impl Iterator<Item = Value> {
        [Some(&self.id), self.other_id.as_ref()].into_iter().flatten().map(|id| self.item_as(id))
    }

    fn item_as(&self, id: &str) -> Value {
        let (user, server) = id.split_once('@').unwrap_or((id, ""));
        json!({
            "id": id,
            "number": (server == "c.us").then_some(user),
            "name": self.name,
            "pushname": self.pushname,
            "isMe": false,
            "isMyContact": self.name.is_some(),
            "isWAContact": server != "g.us",
            "isBusiness": self.business,
            "isGroup": server == "g.us",
            "isBlocked": false,
        })
    }
}

/// The address book of one instance, with what the server knows of phones and privacy ids.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: BTreeMap<Box<str>, Entry>,
    lids: BTreeMap<ChatId, Option<Phone>>,
    numbers: BTreeMap<Phone, Option<ChatId>>,
    answered_as: BTreeMap<Box<str>, ChatId>,
}

/// How a listing is cut and ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) limit: usize,
    pub(super) offset: usize,
    pub(super) by_name: bool,
    pub(super) descending: bool,
}

impl Book {
    pub(super) fn extend(&mut self, entries: Vec<Entry>) {
        self.entries.extend(entries.into_iter().map(|entry| (entry.id.clone(), entry)));
    }

    /// Saves a name, whole: a last name that is left out is gone.
    pub(super) fn rename(&mut self, chat: &ChatId, name: Option<String>) {
        let entry = self.entries.entry(chat.as_str().into()).or_insert_with(|| Entry::unsaved(chat));
        entry.name = name;
    }

    pub(super) fn remove(&mut self, chat: &ChatId) {
        self.entries.remove(chat.as_str());
    }

    pub(super) fn contact(&self, chat: &ChatId) -> Option<Contact> {
        let entry = self.entries.get(chat.as_str())?;
        let mut contact = Contact::new(chat.clone());
        (contact.name, contact.pushname) = (entry.name.clone(), entry.pushname.clone());
        Some(contact)
    }

    pub(super) fn item(&self, id: &str) -> Value {
        let Some(entry) = self.entries.get(id) else { return Value::Null };
        self.answered_as.get(id).map_or_else(|| entry.item(), |other| entry.item_as(other.as_str()))
    }

    pub(super) fn page(&self, window: Window) -> Value {
        let mut entries: Vec<&Entry> = self.entries.values().collect();
        if window.by_name {
            entries.sort_by_key(|entry| &entry.name);
        }
        if window.descending {
            entries.reverse();
        }
        entries.into_iter().flat_map(Entry::items).skip(window.offset).take(window.limit).collect()
    }

    pub(super) fn answer_as(&mut self, chat: &ChatId, id: &ChatId) {
        self.answered_as.insert(chat.as_str().into(), id.clone());
    }

    pub(super) fn map_lid(&mut self, lid: &ChatId, phone: Option<&Phone>) {
        self.lids.insert(lid.clone(), phone.cloned());
    }

    pub(super) fn lids(&self, window: Window) -> Value {
        let page = self.lids.iter().skip(window.offset).take(window.limit);
        page.map(|(lid, phone)| mapping(Some(lid), phone.as_ref())).collect()
    }

    pub(super) fn lid_count(&self) -> Value {
        json!({"count": self.lids.len()})
    }

    pub(super) fn lid(&self, lid: &ChatId) -> Value {
        mapping(Some(lid), self.lids.get(lid).and_then(Option::as_ref))
    }

    pub(super) fn lid_of(&self, phone: &Phone) -> Value {
        let lid = self.lids.iter().find(|(_, known)| known.as_ref() == Some(phone)).map(|(lid, _)| lid);
        mapping(lid, Some(phone))
    }

    pub(super) fn register(&mut self, phone: &Phone, chat: Option<&ChatId>) {
        self.numbers.insert(phone.clone(), chat.cloned());
    }

    pub(super) fn exists(&self, phone: &Phone) -> Value {
        match self.numbers.get(phone) {
            Some(None) => json!({"numberExists": false}),
            Some(Some(chat)) => json!({"numberExists": true, "chatId": chat.as_str()}),
            None => json!({"numberExists": true, "chatId": phone.chat().as_str()}),
        }
    }
}

fn mapping(lid: Option<&ChatId>, phone: Option<&Phone>) -> Value {
    json!({"lid": lid.map(ChatId::as_str), "pn": phone.map(|phone| phone.chat().as_str().to_owned())})
}

/// Joins the parts of a name as the engine does; `None` if nothing is left.
pub(super) fn full_name(first: Option<&str>, last: Option<&str>) -> Option<String> {
    let parts: Vec<&str> = first.into_iter().chain(last).filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}
