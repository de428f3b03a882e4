//! Meta: `object`, `entry[].changes[]`, and in each change a `field` and a `value`.

use std::{borrow::Cow, collections::HashMap};

use serde::Deserialize;

use super::{
    Account, AddressBookEvent as What, Change, Event, Ids, NameOrigin, ProviderId, Reason, ShownName,
    json::Node,
    sink::{Sink, account, name, person, short},
    time,
};
use crate::book::SessionStatus;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Payload<'a> {
    #[serde(borrow)]
    object: Node<'a>,
    entry: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry<'a> {
    #[serde(borrow)]
    id: Node<'a>,
    time: Node<'a>,
    changes: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ChangeOf<'a> {
    #[serde(borrow)]
    field: Node<'a>,
    value: Node<'a>,
}

/// The values of all fields in one; each field has its own few of them.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Value<'a> {
    #[serde(borrow)]
    metadata: Node<'a>,
    state_sync: Node<'a>,
    contacts: Node<'a>,
    messages: Node<'a>,
    event: Node<'a>,
    phone_number: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata<'a> {
    #[serde(borrow)]
    phone_number_id: Node<'a>,
    timestamp: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SyncItem<'a> {
    #[serde(borrow, rename = "type")]
    kind: Node<'a>,
    contact: Node<'a>,
    action: Node<'a>,
    metadata: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SyncContact<'a> {
    #[serde(borrow)]
    full_name: Node<'a>,
    first_name: Node<'a>,
    phone_number: Node<'a>,
    user_id: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    id: Node<'a>,
    timestamp: Node<'a>,
    #[serde(rename = "type")]
    kind: Node<'a>,
    from: Node<'a>,
    from_user_id: Node<'a>,
    group_id: Node<'a>,
    system: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct System<'a> {
    #[serde(borrow, rename = "type")]
    kind: Node<'a>,
    wa_id: Node<'a>,
    user_id: Node<'a>,
    previous_user_id: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Profiled<'a> {
    #[serde(borrow)]
    wa_id: Node<'a>,
    user_id: Node<'a>,
    profile: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Profile<'a> {
    #[serde(borrow)]
    name: Node<'a>,
}

pub(super) fn parse(body: Node<'_>) -> Vec<Event> {
    let payload: Payload<'_> = body.read();
    let mut sink = Sink::of(body);
    match payload.object.text().as_deref() {
        Some("whatsapp_business_account") => {
            payload.entry.items().into_iter().for_each(|entry| read_entry(&entry.read(), &mut sink));
        }
        Some(object) => sink.item(object).ignore(Reason::Unknown),
        None => {}
    }
    sink.finish()
}

fn read_entry(entry: &Entry<'_>, sink: &mut Sink) {
    let business = account(Account::MetaBusiness, entry.id);
    let at = entry.time.text().and_then(|text| time::seconds(&text));
    for change in entry.changes.items() {
        let change: ChangeOf<'_> = change.read();
        let value: Value<'_> = change.value.read();
        let metadata: Metadata<'_> = value.metadata.read();
        sink.account(account(Account::MetaNumber, metadata.phone_number_id).or_else(|| business.clone()));
        match change.field.text().as_deref() {
            Some("smb_app_state_sync") => read_state_sync(&value, sink),
            Some("messages") => read_messages(&value, sink),
            Some("account_update") => sink.item("account_update").at(at).settle(account_update(&value)),
            Some(field @ ("history" | "smb_message_echoes")) => sink.item(field).ignore(Reason::Unrelated),
            Some(field) => sink.item(field).ignore(Reason::Unknown),
            None => sink.item("").ignore(Reason::Malformed),
        }
    }
}

fn read_state_sync(value: &Value<'_>, sink: &mut Sink) {
    for item in value.state_sync.items() {
        let item: SyncItem<'_> = item.read();
        let at = item.metadata.read::<Metadata<'_>>().timestamp.text().and_then(|text| time::seconds(&text));
        sink.item("smb_app_state_sync").at(at).settle(state_sync(&item));
    }
}

fn state_sync(item: &SyncItem<'_>) -> Result<What, Reason> {
    match item.kind.text().as_deref() {
        Some("contact") => {}
        Some(_) => return Err(Reason::Unknown),
        None => return Err(Reason::Malformed),
    }
    let contact: SyncContact<'_> = item.contact.read();
    let ids = ids(contact.phone_number, contact.user_id)?;
    match item.action.text().as_deref() {
        Some("add") => {
            let full = name(contact.full_name, NameOrigin::AddressBook);
            Ok(match full.or_else(|| name(contact.first_name, NameOrigin::AddressBook)) {
                Some(name) => What::NameChanged { ids, name, change: Change::NewOrEdited },
                None => What::ContactSeen { ids, name: None },
            })
        }
        Some("remove") => Ok(What::ContactRemoved { ids }),
        Some(_) => Err(Reason::Unknown),
        None => Err(Reason::Malformed),
    }
}

fn read_messages(value: &Value<'_>, sink: &mut Sink) {
    let messages = value.messages.items();
    if messages.is_empty() {
        sink.item("messages").ignore(Reason::Unrelated);
    }
    let names = profile_names(value.contacts);
    for message in messages {
        let message: Message<'_> = message.read();
        let at = message.timestamp.text().and_then(|text| time::seconds(&text));
        let mut item = sink.item("messages").at(at).id(message.id);
        match message.kind.text().as_deref() {
            Some("system") => item.settle(system_message(&message)),
            _ => item.settle(sender(&message, &names)),
        }
    }
}

/// The pushnames of a payload, by phone and by Meta's own id.
fn profile_names(contacts: Node<'_>) -> HashMap<Cow<'_, str>, ShownName> {
    let mut names = HashMap::new();
    for contact in contacts.items() {
        let contact: Profiled<'_> = contact.read();
        let Some(name) = name(contact.profile.read::<Profile<'_>>().name, NameOrigin::Pushname) else { continue };
        let ids = [contact.wa_id, contact.user_id].into_iter().filter_map(short);
        names.extend(ids.map(|id| (id, name.clone())));
    }
    names
}

fn sender(message: &Message<'_>, names: &HashMap<Cow<'_, str>, ShownName>) -> Result<What, Reason> {
    if message.group_id.text().is_some() {
        return Err(Reason::NotAPerson);
    }
    let ids = ids(message.from, message.from_user_id)?;
    let keys = [message.from, message.from_user_id].into_iter().filter_map(short);
    let name = keys.into_iter().find_map(|key| names.get(&key).cloned());
    Ok(What::ContactSeen { ids, name })
}

fn system_message(message: &Message<'_>) -> Result<What, Reason> {
    let system: System<'_> = message.system.read();
    match system.kind.text().as_deref() {
        Some("user_changed_number" | "user_changed_user_id") => {
            let new = ids(system.wa_id, system.user_id)?;
            let mut old = ids(message.from, system.previous_user_id)?;
            // The sender's phone is an old one only if there is another.
            old.phone = old.phone.filter(|phone| new.phone.as_ref().is_some_and(|new| new != phone));
            old.provider = old.provider.filter(|id| new.provider.as_ref() != Some(id));
            if old.is_empty() { Err(Reason::Unchanged) } else { Ok(What::IdentityReplaced { old, new }) }
        }
        Some(_) => Err(Reason::Unknown),
        None => Err(Reason::Malformed),
    }
}

fn account_update(value: &Value<'_>) -> Result<What, Reason> {
    let health = match value.event.text().as_deref() {
        Some("PARTNER_REMOVED") => SessionStatus::Disconnected,
        Some("PARTNER_ADDED") => SessionStatus::Working,
        _ => return Err(Reason::Unrelated),
    };
    Ok(What::SessionHealth { health, number: value.phone_number.text().and_then(|number| number.parse().ok()) })
}

/// The ids of a person: at least one of the two.
fn ids(phone: Node<'_>, user_id: Node<'_>) -> Result<Ids, Reason> {
    let chat = person(phone);
    let provider = short(user_id).map(|id| ProviderId::Meta(id.as_ref().into()));
    match (chat, provider) {
        (Err(reason), None) => Err(reason),
        (chat, provider) => {
            let ids = chat.map(Ids::from).unwrap_or_default();
            Ok(Ids { provider, ..ids })
        }
    }
}
