//! Wawp and WAHA: one event or an array of them, each with `event`, `session` and `payload`.

use serde::Deserialize;

use super::{
    Account, AddressBookEvent as What, Event, Ids, Label, LabelRef, NameOrigin, Reason, ShownName,
    json::Node,
    sink::{Item, Sink, account, name, person},
    time,
};
use crate::{ChatId, book::SessionStatus};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Node<'a>,
    timestamp: Node<'a>,
    event: Node<'a>,
    session: Node<'a>,
    me: Node<'a>,
    payload: Node<'a>,
}

/// The account itself.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Me<'a> {
    #[serde(borrow)]
    id: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Message<'a> {
    #[serde(borrow)]
    from: Node<'a>,
    from_me: Node<'a>,
    #[serde(rename = "_data")]
    data: Node<'a>,
}

/// What the engines underneath say of a message, each in its own way.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct EngineData<'a> {
    #[serde(borrow)]
    notify_name: Node<'a>,
    push_name: Node<'a>,
    key: Node<'a>,
    #[serde(rename = "Info")]
    info: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MessageKey<'a> {
    #[serde(borrow, rename = "remoteJidAlt")]
    alternative: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Info<'a> {
    #[serde(borrow, rename = "PushName")]
    push_name: Node<'a>,
    #[serde(rename = "SenderAlt")]
    alternative: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LabelOf<'a> {
    #[serde(borrow)]
    id: Node<'a>,
    name: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ChatLabel<'a> {
    #[serde(borrow)]
    label_id: Node<'a>,
    chat_id: Node<'a>,
    label: Node<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Session<'a> {
    #[serde(borrow)]
    status: Node<'a>,
}

pub(super) fn parse(body: Node<'_>) -> Vec<Event> {
    let mut sink = Sink::of(body);
    if body.is_object() {
        read_event(&body.read(), &mut sink);
    }
    body.items().into_iter().for_each(|event| read_event(&event.read(), &mut sink));
    sink.finish()
}

fn read_event(envelope: &Envelope<'_>, sink: &mut Sink) {
    let event = envelope.event.text().unwrap_or_default();
    let payload = envelope.payload;
    sink.account(account(Account::Session, envelope.session));
    let at = envelope.timestamp.text().and_then(|text| time::millis(&text));
    let mut item = sink.item(&event).at(at).id(envelope.id);
    match &*event {
        "message" | "message.any" => {
            let me = person(envelope.me.read::<Me<'_>>().id).ok();
            read_message(&payload.read(), me.as_ref(), &mut item);
        }
        "label.upsert" => item.settle(label_defined(&payload.read())),
        "label.deleted" => item.settle(label_retired(&payload.read())),
        "label.chat.added" => item.settle(chat_label(&payload.read(), true)),
        "label.chat.deleted" => item.settle(chat_label(&payload.read(), false)),
        "session.status" => item.settle(session_status(&payload.read())),
        "" => item.ignore(Reason::Malformed),
        other => item.ignore(if is_unrelated(other) { Reason::Unrelated } else { Reason::Unknown }),
    }
}

fn is_unrelated(event: &str) -> bool {
    const FAMILIES: [&str; 8] = ["message.", "presence.", "group.", "chat.", "poll.", "call.", "event.", "engine."];
    FAMILIES.iter().any(|family| event.starts_with(family))
}

fn read_message(message: &Message<'_>, me: Option<&ChatId>, item: &mut Item<'_>) {
    let sender = person(message.from);
    if message.from_me.is_true() || sender.as_ref().is_ok_and(|sender| Some(sender) == me) {
        return item.ignore(Reason::OwnMessage);
    }
    let data: EngineData<'_> = message.data.read();
    match sender {
        Ok(sender) => {
            let ids = other_id(&data, Ids::from(sender));
            item.emit_link(&ids);
            item.emit(What::ContactSeen { ids, name: pushname(&data) });
        }
        Err(reason) => item.ignore(reason),
    }
}

/// Adds the sender's other id, where the engine knows both. The first one stands: it is where the message came from.
fn other_id(data: &EngineData<'_>, ids: Ids) -> Ids {
    let alternatives = [data.key.read::<MessageKey<'_>>().alternative, data.info.read::<Info<'_>>().alternative];
    let other = alternatives.into_iter().find_map(|id| person(id).ok());
    match other {
        Some(chat) if ids.chat().is_some_and(|known| known.is_lid() != chat.is_lid()) => ids.with_chat(chat),
        _ => ids,
    }
}

fn pushname(data: &EngineData<'_>) -> Option<ShownName> {
    let spellings = [data.notify_name, data.push_name, data.info.read::<Info<'_>>().push_name];
    spellings.into_iter().find_map(|text| name(text, NameOrigin::Pushname))
}

fn label_defined(label: &LabelOf<'_>) -> Result<What, Reason> {
    let id = label.id.text().ok_or(Reason::NoId)?;
    let name = label.name.text().ok_or(Reason::NoName)?;
    Ok(What::LabelDefined { label: Label::new(id.as_ref().into(), Some(&name)) })
}

/// The name of a label that is gone comes as an empty string.
fn label_retired(label: &LabelOf<'_>) -> Result<What, Reason> {
    let id = label.id.text().ok_or(Reason::NoId)?;
    Ok(What::LabelRetired { label: LabelRef::Id(id.as_ref().into()) })
}

fn chat_label(on: &ChatLabel<'_>, is_added: bool) -> Result<What, Reason> {
    let chat = person(on.chat_id)?;
    let label: LabelOf<'_> = on.label.read();
    let id = on.label_id.text().or_else(|| label.id.text()).ok_or(Reason::Malformed)?;
    let label = Label::new(id.as_ref().into(), label.name.text().as_deref());
    let (added, removed) = if is_added { (vec![label], Vec::new()) } else { (Vec::new(), vec![label]) };
    Ok(What::LabelsChanged { chat, added, removed })
}

fn session_status(session: &Session<'_>) -> Result<What, Reason> {
    let status = session.status.text().ok_or(Reason::Malformed)?;
    Ok(What::SessionHealth { health: SessionStatus::from(&*status), number: None })
}
