//! ZapyAPI: `event`, `instanceId` and `data`.

use serde::Deserialize;

use super::{
    Account, AddressBookEvent as What, Change, Event, Ids, NameOrigin, ProviderId, Reason,
    json::Node,
    sink::{Item, Sink, account, name, person, served, short},
    time,
};
use crate::ChatId;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Payload<'a> {
    #[serde(borrow)]
    event: Node<'a>,
    #[serde(rename = "instanceId")]
    instance: Node<'a>,
    data: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow)]
    timestamp: Node<'a>,
    contact: Node<'a>,
    kept_contact_id: Node<'a>,
    deleted_contact_id: Node<'a>,
    lid: Node<'a>,
    pn: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Contact<'a> {
    #[serde(borrow)]
    id: Node<'a>,
    jid: Node<'a>,
    lid: Node<'a>,
    name: Node<'a>,
}

pub(super) fn parse(body: Node<'_>) -> Vec<Event> {
    let payload: Payload<'_> = body.read();
    let data: Data<'_> = payload.data.read();
    let event = payload.event.text().unwrap_or_default();
    let mut sink = Sink::of(body);
    sink.account(account(Account::ZapyInstance, payload.instance));
    let mut item = sink.item(&event).at(data.timestamp.text().and_then(|text| time::iso8601(&text)));
    match &*event {
        "contact-created" => created(&data.contact.read(), &mut item),
        "contact-updated" => updated(&data.contact.read(), &mut item),
        "contact-deduplicated" => deduplicated(&data, &mut item),
        "" => item.ignore(Reason::Malformed),
        _ => item.ignore(Reason::Unknown),
    }
    sink.finish()
}

fn created(contact: &Contact<'_>, item: &mut Item<'_>) {
    match ids(contact.id, served(contact.jid), contact.lid) {
        Ok(ids) => {
            item.emit_link(&ids);
            item.emit(What::ContactSeen { ids, name: name(contact.name, NameOrigin::Unknown) });
        }
        Err(reason) => item.ignore(reason),
    }
}

fn updated(contact: &Contact<'_>, item: &mut Item<'_>) {
    match ids(contact.id, served(contact.jid), contact.lid) {
        Ok(ids) => {
            item.emit_link(&ids);
            let name = name(contact.name, NameOrigin::Unknown).ok_or(Reason::NoName);
            item.settle(name.map(|name| What::NameChanged { ids, name, change: Change::Snapshot }));
        }
        Err(reason) => item.ignore(reason),
    }
}

/// The published texts disagree on which of the two survives, so only what the payload says counts.
fn deduplicated(data: &Data<'_>, item: &mut Item<'_>) {
    let kept = ids(data.kept_contact_id, person(data.pn), data.lid);
    let deleted = short(data.deleted_contact_id).ok_or(Reason::Malformed);
    item.settle(kept.and_then(|kept| {
        let deleted = ProviderId::Zapy(deleted?.as_ref().into());
        if kept.provider.as_ref().is_none_or(|kept| *kept == deleted) {
            return Err(Reason::Malformed);
        }
        Ok(What::ContactsMerged { kept, deleted })
    }));
}

/// The ids of a contact: at least one, and none of a group.
fn ids(id: Node<'_>, chat: Result<ChatId, Reason>, lid: Node<'_>) -> Result<Ids, Reason> {
    let provider = short(id).map(|id| ProviderId::Zapy(id.as_ref().into()));
    let mut ids = Ids { provider, ..Ids::default() };
    for chat in [chat, privacy_id(lid)] {
        match chat {
            Ok(chat) => ids = ids.with_chat(chat),
            Err(Reason::NotAPerson) => return Err(Reason::NotAPerson),
            Err(_) => {}
        }
    }
    if ids.is_empty() { Err(Reason::NoId) } else { Ok(ids) }
}

/// The field holds privacy ids, whether they say so or not.
fn privacy_id(lid: Node<'_>) -> Result<ChatId, Reason> {
    match short(lid) {
        Some(digits) if !digits.contains('@') => format!("{digits}@lid").parse().map_err(|_| Reason::NoId),
        _ => served(lid),
    }
}
