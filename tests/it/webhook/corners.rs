//! What the vendors' own samples do not show.

use serde_json::{Value, json};
use wawp_contacts::{
    ChatId,
    book::SessionStatus,
    webhook::{AddressBookEvent, Event, Ids, LabelRef, NameOrigin, Provider, ProviderId, Reason, ShownName},
};

use super::read;

fn chat(text: &str) -> ChatId {
    text.parse().unwrap()
}

fn told(provider: Provider, body: &Value) -> Vec<AddressBookEvent> {
    let events = read(provider, body.to_string().as_bytes()).unwrap();
    events.into_iter().map(|event: Event| event.what).collect()
}

fn only(provider: Provider, body: &Value) -> AddressBookEvent {
    let mut events = told(provider, body);
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

#[track_caller]
fn assert_ignored(event: &AddressBookEvent, expected: Reason) {
    assert!(matches!(event, AddressBookEvent::Ignored { reason, .. } if *reason == expected), "{event:?}");
}

fn whapi(key: &str, kind: &str, method: &str, item: &Value) -> Value {
    json!({key: [item], "event": {"type": kind, "method": method}, "channel_id": "C"})
}

fn meta(field: &str, value: &Value) -> Value {
    json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": field, "value": value}]}]})
}

fn wawp(event: &str, payload: &Value) -> Value {
    json!({"id": "evt", "event": event, "session": "s", "payload": payload})
}

fn zapy(event: &str, data: &Value) -> Value {
    json!({"event": event, "instanceId": "i", "data": data})
}

#[test]
fn a_first_name_stands_in_for_a_full_name_that_is_missing() {
    for full in [json!(null), json!(" "), json!({})] {
        let contact = json!({"full_name": full, "first_name": " Alex ", "phone_number": "12025550142"});
        let item = json!({"type": "contact", "contact": contact, "action": "add"});
        let event = only(Provider::Meta, &meta("smb_app_state_sync", &json!({"state_sync": [item]})));
        let AddressBookEvent::NameChanged { name, .. } = event else { panic!("{event:?}") };
        assert_eq!(name, ShownName::new("Alex", NameOrigin::AddressBook));
    }
}

#[test]
fn a_pushname_of_meta_is_found_by_either_id() {
    let contacts = json!([
        {"profile": {"name": "alex"}, "wa_id": "12025550142"},
        {"profile": {"name": "pat"}, "wa_id": "12025550144", "user_id": "US.2"},
    ]);
    let messages = json!([
        {"from": 12_025_550_142_u64, "from_user_id": "US.1", "id": "a"},
        {"from_user_id": "US.2", "id": "b"},
    ]);
    let events = told(Provider::Meta, &meta("messages", &json!({"contacts": contacts, "messages": messages})));
    let names: Vec<_> = events
        .iter()
        .map(|event| match event {
            AddressBookEvent::ContactSeen { name: Some(name), .. } => &*name.text,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["alex", "pat"]);
}

#[test]
fn a_message_in_a_group_shows_no_lead() {
    let message = json!({"from": "12025550142", "id": "a", "group_id": "g"});
    assert_ignored(&only(Provider::Meta, &meta("messages", &json!({"messages": [message]}))), Reason::NotAPerson);
    let message = json!({"from": "12025550142", "from_name": "alex", "chat_id": "120363000000000001@g.us"});
    let event = only(Provider::Whapi, &whapi("messages", "messages", "post", &message));
    assert_ignored(&event, Reason::NotAPerson);
    for from in ["120363000000000001@g.us", "status@broadcast", "1@newsletter"] {
        assert_ignored(&only(Provider::Wawp, &wawp("message", &json!({"from": from}))), Reason::NotAPerson);
    }
}

#[test]
fn our_own_messages_say_nothing() {
    for mine in [json!(true), json!("true"), json!(1)] {
        let message = json!({"from": "12025550142", "from_name": "shop", "from_me": mine});
        assert_ignored(&only(Provider::Whapi, &whapi("messages", "messages", "post", &message)), Reason::OwnMessage);
        let message = json!({"from": "12025550142@c.us", "fromMe": mine});
        assert_ignored(&only(Provider::Wawp, &wawp("message", &message)), Reason::OwnMessage);
    }
}

#[test]
fn a_message_of_whapi_without_a_pushname_is_no_news() {
    let message = json!({"from": "12025550142", "chat_id": "12025550142@s.whatsapp.net", "from_me": false});
    assert_ignored(&only(Provider::Whapi, &whapi("messages", "messages", "post", &message)), Reason::Unrelated);
    let body = json!({"statuses": [], "event": {"type": "messages", "event": "put"}});
    assert_ignored(&only(Provider::Whapi, &body), Reason::Unrelated);
}

#[test]
fn labels_and_chats_of_groups_are_skipped() {
    let group = json!({"id": "120363000000000001@g.us", "type": "group", "labels": [{"id": "1"}]});
    assert_ignored(&only(Provider::Whapi, &whapi("chats", "chats", "post", &group)), Reason::NotAPerson);
    let update = json!({"before_update": {"id": group["id"]}, "after_update": group, "changes": ["labels"]});
    assert_ignored(&only(Provider::Whapi, &whapi("chats_updates", "chats", "patch", &update)), Reason::NotAPerson);
    // The type counts even if the id could be a phone's.
    let channel = json!({"id": "12025550142", "type": "newsletter"});
    assert_ignored(&only(Provider::Whapi, &whapi("chats", "chats", "put", &channel)), Reason::NotAPerson);
    let label = json!({"labelId": "1", "chatId": "120363000000000001@g.us"});
    assert_ignored(&only(Provider::Wawp, &wawp("label.chat.added", &label)), Reason::NotAPerson);
}

#[test]
fn labels_that_stayed_the_same_are_no_change() {
    let chat = json!({"id": "12025550142", "labels": [{"id": "1", "name": "A"}]});
    let renamed = json!({"id": "12025550142", "labels": [{"id": 1, "name": "B"}]});
    let update = json!({"before_update": chat, "after_update": renamed, "changes": ["labels"]});
    assert_ignored(&only(Provider::Whapi, &whapi("chats_updates", "chats", "patch", &update)), Reason::Unchanged);
    let other = json!({"before_update": chat, "after_update": {"id": "12025550142"}, "changes": ["mute"]});
    assert_ignored(&only(Provider::Whapi, &whapi("chats_updates", "chats", "patch", &other)), Reason::Unchanged);
}

#[test]
fn a_label_beside_the_update_and_in_it_is_one_label() {
    let after = json!({"id": "12025550142", "labels": [{"id": "1"}]});
    let update = json!({"before_update": {}, "after_update": after, "labels": ["1"], "changes": ["labels"]});
    let event = only(Provider::Whapi, &whapi("chats_updates", "chats", "patch", &update));
    assert!(matches!(&event, AddressBookEvent::LabelsChanged { added, .. } if added.len() == 1), "{event:?}");
}

#[test]
fn a_retired_label_of_whapi_as_an_object_is_known_by_its_id() {
    let event = only(Provider::Whapi, &whapi("labels_removed", "labels", "delete", &json!({"id": 12, "name": "A"})));
    assert_eq!(event, AddressBookEvent::LabelRetired { label: LabelRef::Id("12".into()) });
}

#[test]
fn a_rename_of_whapi_needs_a_name_and_the_word_for_it() {
    let update = |changes: &[&str], name: Option<&str>| {
        let (before, after) = (json!({"id": "12025550142", "name": "A"}), json!({"id": "12025550142", "name": name}));
        let update = json!({"before_update": before, "after_update": after, "changes": changes});
        only(Provider::Whapi, &whapi("contacts_updates", "contacts", "patch", &update))
    };
    assert_ignored(&update(&["profile_pic"], Some("B")), Reason::Unchanged);
    assert_ignored(&update(&["name"], None), Reason::NoName);
    assert!(matches!(update(&["name"], Some("B")), AddressBookEvent::NameChanged { .. }));
}

#[test]
fn a_new_contact_of_zapy_with_both_ids_is_linked() {
    let contact = json!({"id": "c", "jid": "12025550142@s.whatsapp.net", "lid": "100000000000001@lid", "name": null});
    let events = told(Provider::Zapy, &zapy("contact-created", &json!({"contact": contact})));
    let (lid, phone) = (chat("100000000000001@lid"), chat("12025550142"));
    let ids = Ids::from(lid.clone()).with_chat(phone.clone()).with_provider(ProviderId::Zapy("c".into()));
    let linked = AddressBookEvent::IdentityLinked { lid, phone };
    assert_eq!(events, [linked, AddressBookEvent::ContactSeen { ids, name: None }]);
}

#[test]
fn a_group_of_zapy_is_no_contact() {
    for event in ["contact-created", "contact-updated"] {
        let contact = json!({"id": "c", "jid": "120363000000000001@g.us", "name": "Team"});
        assert_ignored(&only(Provider::Zapy, &zapy(event, &json!({"contact": contact}))), Reason::NotAPerson);
        assert_ignored(&only(Provider::Zapy, &zapy(event, &json!({"contact": {"name": "A"}}))), Reason::NoId);
    }
}

#[test]
fn a_merge_needs_both_contacts() {
    for missing in ["keptContactId", "deletedContactId"] {
        let mut data = json!({"keptContactId": "k", "deletedContactId": "d", "lid": "1@lid", "pn": "12025550142"});
        data[missing] = Value::Null;
        assert_ignored(&only(Provider::Zapy, &zapy("contact-deduplicated", &data)), Reason::Malformed);
    }
}

#[test]
fn two_ids_of_one_kind_are_no_link() {
    let key = |alternative: &str| json!({"key": {"remoteJidAlt": alternative}, "pushName": "alex"});
    let message = json!({"from": "12025550142@c.us", "_data": key("12025550143@s.whatsapp.net")});
    let event = only(Provider::Wawp, &wawp("message", &message));
    let AddressBookEvent::ContactSeen { ids, .. } = event else { panic!("{event:?}") };
    assert_eq!(ids, Ids::from(chat("12025550142")));
    let message = json!({"from": "12025550142@c.us", "_data": {"Info": {"SenderAlt": "100000000000001:7@lid"}}});
    let events = told(Provider::Wawp, &wawp("message", &message));
    assert!(matches!(events[0], AddressBookEvent::IdentityLinked { .. }), "{events:?}");
}

#[test]
fn a_health_that_is_new_keeps_its_word() {
    let event = only(Provider::Wawp, &wawp("session.status", &json!({"status": "PASSKEY_REQUIRED"})));
    let AddressBookEvent::SessionHealth { health, .. } = event else { panic!("{event:?}") };
    assert_eq!(format!("{health:?}"), "PasskeyRequired");
    assert!(!health.is_working());
}

#[test]
fn a_number_that_was_removed_from_an_account_may_come_back() {
    for (event, health) in [("PARTNER_REMOVED", SessionStatus::Disconnected), ("PARTNER_ADDED", SessionStatus::Working)]
    {
        let update = json!({"event": event, "phone_number": "12025550100"});
        let told = only(Provider::Meta, &meta("account_update", &update));
        let number = Some("+1 202 555 0100".parse().unwrap());
        assert_eq!(told, AddressBookEvent::SessionHealth { health, number }, "{event}");
    }
    let event = only(Provider::Meta, &meta("account_update", &json!({"event": "ACCOUNT_VIOLATION"})));
    assert_ignored(&event, Reason::Unrelated);
}

/// The digits of a privacy id are no phone, wherever they stand.
#[test]
fn p7_a_privacy_id_without_its_server_is_no_phone() {
    let contact = json!({"id": "c", "jid": "12025550142@s.whatsapp.net", "lid": "100000000000001"});
    let events = told(Provider::Zapy, &zapy("contact-updated", &json!({"contact": contact})));
    let (lid, phone) = (chat("100000000000001@lid"), chat("12025550142"));
    assert_eq!(events[0], AddressBookEvent::IdentityLinked { lid, phone });
    let contact = json!({"id": "c", "jid": "100000000000001", "name": "Ann"});
    let event = only(Provider::Zapy, &zapy("contact-created", &json!({"contact": contact})));
    let AddressBookEvent::ContactSeen { ids, .. } = event else { panic!("{event:?}") };
    assert_eq!(ids.chat(), None, "nobody can tell");

    for chat_id in [json!("100000000000001@lid"), json!(null)] {
        let message = json!({"from": "100000000000001", "chat_id": chat_id, "from_name": "Ann"});
        match only(Provider::Whapi, &whapi("messages", "messages", "post", &message)) {
            AddressBookEvent::ContactSeen { ids, .. } => assert_eq!(ids, Ids::from(chat("100000000000001@lid"))),
            event => {
                assert_eq!(chat_id, Value::Null);
                assert_ignored(&event, Reason::NoId);
            }
        }
    }
    let negative = json!({"id": -12_025_550_142_i64, "name": "Ann"});
    assert_ignored(&only(Provider::Whapi, &whapi("contacts", "contacts", "post", &negative)), Reason::NoId);
}

/// Labels that are missing because a payload is cut short would move somebody in the funnel.
#[test]
fn labels_are_taken_off_by_a_whole_update_of_one_chat_only() {
    let (one, labels) = ("12025550142", json!([{"id": "1"}]));
    let update = |before: Value, after: Value| {
        let update = json!({"before_update": before, "after_update": after, "changes": ["labels"]});
        only(Provider::Whapi, &whapi("chats_updates", "chats", "patch", &update))
    };
    let before = || json!({"id": one, "labels": labels});
    let told = update(before(), json!({"id": one}));
    assert!(matches!(&told, AddressBookEvent::LabelsChanged { removed, .. } if removed.len() == 1), "{told:?}");
    for (before, after) in [
        (before(), Value::Null),
        (before(), json!({})),
        (before(), json!({"id": one, "labels": {"1": {}}})),
        (before(), json!({"id": "12025550143"})),
        (Value::Null, before()),
        (json!({"id": one, "labels": "1"}), json!({"id": one})),
    ] {
        assert_ignored(&update(before.clone(), after.clone()), Reason::Malformed);
    }
}

#[test]
fn a_phone_that_did_not_change_stays_in_use() {
    let system = json!({"type": "user_changed_user_id", "user_id": "US.2", "previous_user_id": "US.1"});
    let message = json!({"type": "system", "from": "12025550142", "id": "a", "system": system});
    let event = only(Provider::Meta, &meta("messages", &json!({"messages": [message]})));
    let AddressBookEvent::IdentityReplaced { old, new } = event else { panic!("{event:?}") };
    assert_eq!((old.phone, old.provider), (None, Some(ProviderId::Meta("US.1".into()))));
    assert_eq!(new.provider, Some(ProviderId::Meta("US.2".into())));
    let system = json!({"type": "user_changed_number", "wa_id": "12025550142"});
    let message = json!({"type": "system", "from": "12025550142", "id": "a", "system": system});
    assert_ignored(&only(Provider::Meta, &meta("messages", &json!({"messages": [message]}))), Reason::Unchanged);
}

#[test]
fn a_contact_that_was_merged_with_itself_is_no_news() {
    let data = json!({"keptContactId": "k", "deletedContactId": "k", "pn": "12025550142"});
    assert_ignored(&only(Provider::Zapy, &zapy("contact-deduplicated", &data)), Reason::Malformed);
}

#[test]
fn a_message_from_the_account_itself_and_a_story_show_no_lead() {
    let message = json!({"event": "message", "session": "s", "me": {"id": "12025550100@c.us"},
                         "payload": {"from": "12025550100@c.us", "_data": {"notifyName": "Shop"}}});
    assert_ignored(&only(Provider::Wawp, &message), Reason::OwnMessage);
    let story = json!({"from": "12025550142@s.whatsapp.net", "chat_id": "stories", "from_name": "alex"});
    assert_ignored(&only(Provider::Whapi, &whapi("messages", "messages", "post", &story)), Reason::NotAPerson);
}

#[test]
fn items_of_one_id_do_not_take_each_other_for_a_repeat() {
    let status =
        |status: &str| json!({"id": "evt", "event": "session.status", "session": "s", "payload": {"status": status}});
    let body = json!([status("WORKING"), status("FAILED")]).to_string();
    let events = read(Provider::Wawp, body.as_bytes()).unwrap();
    assert_ne!(events[0].key, events[1].key);
    assert_eq!(events, read(Provider::Wawp, body.as_bytes()).unwrap(), "and a repeat for one");
}

#[test]
fn ids_and_names_have_a_limit() {
    let long = "é".repeat(2_000);
    let contact = json!({"id": "12025550142", "name": long});
    let event = only(Provider::Whapi, &whapi("contacts", "contacts", "post", &contact));
    let AddressBookEvent::NameChanged { name, .. } = event else { panic!("{event:?}") };
    assert_eq!(*name.text, *"é".repeat(512));
    let contact = json!({"id": long, "jid": "12025550142@s.whatsapp.net", "name": "Ann"});
    let event = only(Provider::Zapy, &zapy("contact-created", &json!({"contact": contact})));
    let AddressBookEvent::ContactSeen { ids, .. } = event else { panic!("{event:?}") };
    assert_eq!(ids, Ids::from(chat("12025550142")), "a cut id would be another one's");
}

#[test]
fn unknown_events_are_told_apart_from_known_ones_without_meaning() {
    for (provider, body, reason) in [
        (Provider::Whapi, json!({"event": {"type": "wishes", "event": "post"}}), Reason::Unknown),
        (Provider::Whapi, json!({"event": {"type": "contacts", "event": "merge"}}), Reason::Unknown),
        (Provider::Whapi, json!({"event": {"type": "channel", "event": "patch"}}), Reason::Unrelated),
        (Provider::Zapy, zapy("contact-blessed", &json!({})), Reason::Unknown),
        (Provider::Meta, meta("wishes", &json!({})), Reason::Unknown),
        (Provider::Meta, meta("history", &json!({})), Reason::Unrelated),
        (Provider::Meta, json!({"object": "page", "entry": []}), Reason::Unknown),
        (Provider::Wawp, wawp("wish", &json!({})), Reason::Unknown),
        (Provider::Wawp, wawp("message.ack", &json!({})), Reason::Unrelated),
    ] {
        assert_ignored(&only(provider, &body), reason);
    }
}
