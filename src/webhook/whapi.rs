//! Whapi.Cloud: an array under a key of its own, an `event` of type and method, and `channel_id`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Account, AddressBookEvent as What, Change, Event, Ids, Label, LabelId, LabelRef, NameOrigin, Reason,
    json::Node,
    sink::{Sink, account, name, person, served},
    time,
};
use crate::ChatId;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Payload<'a> {
    #[serde(borrow)]
    event: Node<'a>,
    channel_id: Node<'a>,
    contacts: Node<'a>,
    contacts_updates: Node<'a>,
    chats: Node<'a>,
    chats_updates: Node<'a>,
    labels: Node<'a>,
    labels_removed: Node<'a>,
    messages: Node<'a>,
}

/// The samples call the second part `event`, the description of the interface `method`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    subject: Node<'a>,
    event: Node<'a>,
    method: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Contact<'a> {
    #[serde(borrow)]
    id: Node<'a>,
    name: Node<'a>,
    pushname: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Update<'a> {
    #[serde(borrow, rename = "before_update")]
    before: Node<'a>,
    #[serde(rename = "after_update")]
    after: Node<'a>,
    labels: Node<'a>,
    changes: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Chat<'a> {
    #[serde(borrow)]
    id: Node<'a>,
    #[serde(rename = "type")]
    kind: Node<'a>,
    name: Node<'a>,
    labels: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LabelOf<'a> {
    #[serde(borrow)]
    id: Node<'a>,
    name: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    id: Node<'a>,
    from_me: Node<'a>,
    chat_id: Node<'a>,
    timestamp: Node<'a>,
    from: Node<'a>,
    from_name: Node<'a>,
}

pub(super) fn parse(body: Node<'_>) -> Vec<Event> {
    let payload: Payload<'_> = body.read();
    let kind: Kind<'_> = payload.event.read();
    let method = kind.event.text().or_else(|| kind.method.text()).unwrap_or_default();
    let subject = kind.subject.text().unwrap_or_default();
    let event = format!("{subject}.{method}");
    let mut sink = Sink::of(body);
    sink.account(account(Account::WhapiChannel, payload.channel_id));
    let mut each = |items: Node<'_>, meaning: fn(Node<'_>) -> Result<What, Reason>| {
        items.items().into_iter().for_each(|item| sink.item(&event).settle(meaning(item)));
    };
    match (&*subject, &*method) {
        ("contacts", "post" | "put") => each(payload.contacts, contact),
        ("contacts", "patch") => each(payload.contacts_updates, contact_update),
        ("chats", "post" | "put") => each(payload.chats, chat),
        ("chats", "patch") => each(payload.chats_updates, chat_update),
        ("labels", "post" | "put") => each(payload.labels, label_defined),
        ("labels", "delete") => each(payload.labels_removed, label_retired),
        ("messages", _) => read_messages(&event, payload.messages, &mut sink),
        ("", _) | (_, "") => sink.item("").ignore(Reason::Malformed),
        ("chats" | "statuses" | "groups" | "users" | "channel" | "presences" | "calls", _) => {
            sink.item(&event).ignore(Reason::Unrelated);
        }
        _ => sink.item(&event).ignore(Reason::Unknown),
    }
    sink.finish()
}

/// New or renamed: the provider reports both alike.
fn contact(item: Node<'_>) -> Result<What, Reason> {
    let contact: Contact<'_> = item.read();
    let ids = Ids::from(person(contact.id)?);
    Ok(match name(contact.name, NameOrigin::AddressBook) {
        Some(name) => What::NameChanged { ids, name, change: Change::NewOrEdited },
        None => What::ContactSeen { ids, name: name(contact.pushname, NameOrigin::Pushname) },
    })
}

fn contact_update(item: Node<'_>) -> Result<What, Reason> {
    let update: Update<'_> = item.read();
    let (before, after): (Contact<'_>, Contact<'_>) = (update.before.read(), update.after.read());
    let ids = Ids::from(person(after.id).or_else(|_| person(before.id))?);
    if !has_changed(&update, "name") {
        return Err(Reason::Unchanged);
    }
    let before = before.name.text().map(|name| name.as_ref().into());
    let name = name(after.name, NameOrigin::AddressBook).ok_or(Reason::NoName)?;
    Ok(What::NameChanged { ids, name, change: Change::Renamed { before } })
}

fn has_changed(update: &Update<'_>, field: &str) -> bool {
    update.changes.items().into_iter().any(|change| change.text().as_deref() == Some(field))
}

fn chat(item: Node<'_>) -> Result<What, Reason> {
    let chat: Chat<'_> = item.read();
    let ids = Ids::from(chat_person(&chat)?);
    Ok(What::ContactSeen { ids, name: name(chat.name, NameOrigin::Unknown) })
}

fn chat_person(chat: &Chat<'_>) -> Result<ChatId, Reason> {
    match chat.kind.text().as_deref() {
        None | Some("contact") => person(chat.id),
        Some(_) => Err(Reason::NotAPerson),
    }
}

fn chat_update(item: Node<'_>) -> Result<What, Reason> {
    let update: Update<'_> = item.read();
    let (before, after): (Chat<'_>, Chat<'_>) = (update.before.read(), update.after.read());
    let chat = chat_person(&after).or_else(|reason| match reason {
        Reason::NotAPerson => Err(reason),
        _ => chat_person(&before),
    })?;
    if !has_changed(&update, "labels") {
        return Err(Reason::Unchanged);
    }
    // What is not there in full would pass for labels that were taken off.
    let is_list = |labels: Node<'_>| labels.is_absent() || labels.is_array();
    let is_one_chat = before.id.is_absent() || chat_person(&before).as_ref() == Ok(&chat);
    if !update.before.is_object()
        || chat_person(&after).is_err()
        || !is_one_chat
        || ![before.labels, after.labels, update.labels].into_iter().all(is_list)
    {
        return Err(Reason::Malformed);
    }
    // The labels are missing when the last one was taken off; the vendor's sample has them one level up.
    let after = labels([after.labels, update.labels]);
    let before = labels([before.labels, Node::default()]);
    let (added, removed) = (without(&after, &before), without(&before, &after));
    if added.is_empty() && removed.is_empty() {
        return Err(Reason::Unchanged);
    }
    Ok(What::LabelsChanged { chat, added, removed })
}

fn labels(lists: [Node<'_>; 2]) -> BTreeMap<LabelId, Label> {
    let labels = lists.into_iter().flat_map(Node::items).filter_map(label);
    labels.map(|label| (label.id.clone(), label)).collect()
}

fn without(labels: &BTreeMap<LabelId, Label>, others: &BTreeMap<LabelId, Label>) -> Vec<Label> {
    labels.values().filter(|label| !others.contains_key(&label.id)).cloned().collect()
}

/// A label as an object, or as its bare id.
fn label(item: Node<'_>) -> Option<Label> {
    let label: LabelOf<'_> = item.read();
    let id = label.id.text().or_else(|| item.text())?;
    Some(Label::new(id.as_ref().into(), label.name.text().as_deref()))
}

fn label_defined(item: Node<'_>) -> Result<What, Reason> {
    let label: LabelOf<'_> = item.read();
    let id = label.id.text().ok_or(Reason::NoId)?;
    let name = label.name.text().ok_or(Reason::NoName)?;
    Ok(What::LabelDefined { label: Label::new(id.as_ref().into(), Some(&name)) })
}

/// Samples give names here, the description of the interface says ids.
fn label_retired(item: Node<'_>) -> Result<What, Reason> {
    let label = match (item.read::<LabelOf<'_>>().id.text(), item.text()) {
        (Some(id), _) => LabelRef::Id(id.as_ref().into()),
        (None, Some(text)) => LabelRef::IdOrName(text.as_ref().into()),
        (None, None) => return Err(Reason::NoId),
    };
    Ok(What::LabelRetired { label })
}

fn read_messages(event: &str, messages: Node<'_>, sink: &mut Sink) {
    let messages = messages.items();
    if messages.is_empty() {
        sink.item(event).ignore(Reason::Unrelated);
    }
    for message in messages {
        let message: Message<'_> = message.read();
        let at = message.timestamp.text().and_then(|text| time::seconds(&text));
        sink.item(event).at(at).id(message.id).settle(sender(&message));
    }
}

/// A message matters for the pushname in it alone.
fn sender(message: &Message<'_>) -> Result<What, Reason> {
    if message.from_me.is_true() {
        return Err(Reason::OwnMessage);
    }
    // In a group the sender is a person, but no lead.
    if person(message.chat_id) == Err(Reason::NotAPerson) || message.chat_id.text().as_deref() == Some("stories") {
        return Err(Reason::NotAPerson);
    }
    // The digits in `from` may be those of a privacy id; the chat says what they are.
    let ids = Ids::from(served(message.chat_id).or_else(|_| served(message.from))?);
    let name = name(message.from_name, NameOrigin::Pushname).ok_or(Reason::Unrelated)?;
    Ok(What::ContactSeen { ids, name: Some(name) })
}
