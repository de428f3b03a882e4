//! ZapyAPI: `event`, `instanceId` and `data`.

use serde::Deserialize;

use super::{
    Account, AddressBookEvent as What, Change, Event, Ids, NameOrigin, ProviderId, Reason,
    json::Node,
    sink::{Item, Sink, name, person},
    time,
};

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
    let mut sink = Sink::default();
    sink.account(Account::ZapyInstance, payload.instance);
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
    match ids(contact.id, [contact.jid, contact.lid]) {
        Ok(ids) => {
            item.emit_link(&ids);
            item.emit(What::ContactSeen { ids, name: name(contact.name, NameOrigin::Unknown) });
        }
        Err(reason) => item.ignore(reason),
    }
}

fn updated(contact: &Contact<'_>, item: &mut Item<'_>) {
    match ids(contact.id, [contact.jid, contact.lid]) {
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
    let kept = ids(data.kept_contact_id, [data.pn, data.lid]);
    let deleted = data.deleted_contact_id.text().ok_or(Reason::Malformed);
    item.settle(kept.and_then(|kept| {
        if kept.provider.is_none() {
            return Err(Reason::Malformed);
        }
        Ok(What::ContactsMerged { kept, deleted: ProviderId::Zapy(deleted?.as_ref().into()) })
    }));
}

/// The ids of a contact: at least one, and none of a group.
fn ids(id: Node<'_>, chats: [Node<'_>; 2]) -> Result<Ids, Reason> {
    let mut ids = Ids { provider: id.text().map(|id| ProviderId::Zapy(id.as_ref().into())), ..Ids::default() };
    for chat in chats {
        match person(chat) {
            Ok(chat) => ids = ids.with_chat(chat),
            Err(Reason::NotAPerson) => return Err(Reason::NotAPerson),
            Err(_) => {}
        }
    }
    if ids.is_empty() { Err(Reason::NoId) } else { Ok(ids) }
}
