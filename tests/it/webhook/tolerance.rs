use std::mem::size_of;

use proptest::prelude::*;
use serde_json::{Value, json};
use wawp_contacts::webhook::{AddressBookEvent, Event, Provider, Reason, VerifyError};

use super::{PROVIDERS, payloads, provider_of, read};

fn reasons(events: &[Event]) -> Vec<Reason> {
    let reason = |event: &Event| match event.what {
        AddressBookEvent::Ignored { reason, .. } => Some(reason),
        _ => None,
    };
    events.iter().filter_map(reason).collect()
}

#[test]
fn a_body_that_is_no_json_is_the_only_error() {
    for provider in PROVIDERS {
        for wrong in ["", "{", "hello", "{}{}", "<html>", "\u{0}"] {
            assert!(read(provider, wrong.as_bytes()).is_none(), "{provider:?}: {wrong}");
        }
        assert!(read(provider, b"{\"a\": \"\xff\"}").is_none(), "not UTF-8");
        for strange in ["{}", "[]", "null", "5", "1e999", "\"\\ud800\"", "[[[]]]", "{\"event\": {}}", "{\"entry\": {}}"]
        {
            let events = read(provider, strange.as_bytes()).unwrap();
            assert_eq!(reasons(&events), [Reason::Malformed], "{provider:?}: {strange}");
        }
    }
}

#[test]
fn a_payload_of_another_provider_means_nothing() {
    for (name, body) in payloads() {
        for provider in PROVIDERS.into_iter().filter(|provider| *provider != provider_of(&name)) {
            let events = read(provider, body.as_bytes()).unwrap();
            assert_eq!(reasons(&events).len(), events.len(), "{name} read as {provider:?}");
        }
    }
}

/// Everywhere that a value can stand in this JSON.
fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            places(value, &format!("{here}/{}", key.replace('~', "~0").replace('/', "~1")), found);
        }),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, value)| places(value, &format!("{here}/{at}"), found));
        }
        _ => {}
    }
}

/// Values of every type and size; those that `Value` cannot hold stand in by name.
fn intruders() -> [(&'static str, Value); 9] {
    [
        ("null", Value::Null),
        ("true", json!(true)),
        ("number", json!(-1.5)),
        ("string", json!("\u{202e}x")),
        ("array", json!([[], {}, null])),
        ("object", json!({"id": {"id": 1}})),
        ("huge", json!("@HUGE@")),
        ("beyond", json!("@BEYOND@")),
        ("lone", json!("@LONE@")),
    ]
}

#[test]
fn any_value_anywhere_is_taken_without_an_error() {
    for (name, body) in payloads() {
        // What a `Value` cannot hold comes in by the intruders.
        let whole: Value = serde_json::from_str(&body.replace("1e999", "0").replace("\\ud83c\"", "\"")).unwrap();
        let mut found = Vec::new();
        places(&whole, "", &mut found);
        for place in found {
            for (intruder, value) in intruders() {
                let mut changed = whole.clone();
                *changed.pointer_mut(&place).unwrap() = value;
                let text = changed.to_string();
                let text = text
                    .replace("\"@HUGE@\"", "1e999")
                    .replace("\"@BEYOND@\"", "18446744073709552000")
                    .replace("@LONE@", "\\ud83c");
                let events = read(provider_of(&name), text.as_bytes());
                assert!(events.is_some_and(|events| !events.is_empty()), "{intruder} at {place} of {name}");
            }
        }
    }
}

/// Payloads of several items, with where the items stand.
fn batches() -> [(Provider, Value, &'static str); 7] {
    let named = |id: &str| json!({"id": id, "name": "A"});
    let synced =
        |phone: &str| json!({"type": "contact", "contact": {"full_name": "A", "phone_number": phone}, "action": "add"});
    let event =
        |id: &str| json!({"id": id, "event": "session.status", "session": "s", "payload": {"status": "WORKING"}});
    let sync_of = |items: Value| {
        let change = |items: &Value| json!({"field": "smb_app_state_sync", "value": {"state_sync": items}});
        json!({"object": "whatsapp_business_account", "entry": [
            {"id": "1", "changes": [change(&items), change(&items), change(&items)]},
            {"id": "2", "changes": [change(&items)]},
            {"id": "3", "changes": [change(&items)]},
        ]})
    };
    let phones = json!([synced("12025550141"), synced("12025550142"), synced("12025550143")]);
    let whapi = |key: &str, method: &str, items: Value| {
        let kind = key.split('_').next();
        json!({key: items, "event": {"type": kind, "event": method}, "channel_id": "C"})
    };
    [
        (Provider::Wawp, json!([event("1"), event("2"), event("3")]), ""),
        (Provider::Meta, sync_of(phones.clone()), "/entry/0/changes/0/value/state_sync"),
        (Provider::Meta, sync_of(phones.clone()), "/entry/0/changes"),
        (Provider::Meta, sync_of(phones), "/entry"),
        (
            Provider::Whapi,
            whapi("contacts", "post", json!([named("12025550141"), named("12025550142"), named("12025550143")])),
            "/contacts",
        ),
        (Provider::Whapi, whapi("labels", "post", json!([named("1"), named("2"), named("3")])), "/labels"),
        (Provider::Whapi, whapi("labels_removed", "delete", json!(["1", "2", "3"])), "/labels_removed"),
    ]
}

#[test]
fn a_bad_item_does_not_lose_its_neighbours() {
    let rubbish = ["null", "5", "1e999", "\"\\ud800\"", "[]", "{}", "{\"id\":1,\"id\":2}", "{\"\\ud800\":1}"];
    for (provider, whole, list) in batches() {
        for bad in rubbish {
            let without = remove(&whole, list);
            let expected = understood(&read(provider, without.to_string().as_bytes()).unwrap());
            let mut with = whole.clone();
            with.pointer_mut(list).unwrap()[1] = json!("@BAD@");
            let text = with.to_string().replace("\"@BAD@\"", bad);
            let events = understood(&read(provider, text.as_bytes()).unwrap());
            // A bare string or number is a label that was removed; nothing else here takes one for an item.
            if list != "/labels_removed" {
                assert_eq!(events, expected, "{provider:?} {list} {bad}");
            }
            assert!(expected.iter().all(|event| events.contains(event)), "{provider:?} {list} {bad}");
        }
    }
}

fn remove(whole: &Value, list: &str) -> Value {
    let mut whole = whole.clone();
    whole.pointer_mut(list).unwrap().as_array_mut().unwrap().remove(1);
    whole
}

fn understood(events: &[Event]) -> Vec<Event> {
    events.iter().filter(|event| !matches!(event.what, AddressBookEvent::Ignored { .. })).cloned().collect()
}

#[test]
fn depth_is_no_danger() {
    let depth = 250_000;
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = format!("{}1{}", "{\"entry\":".repeat(depth), "}".repeat(depth));
    for provider in PROVIDERS {
        assert_eq!(reasons(&read(provider, deep.as_bytes()).unwrap()), [Reason::Malformed]);
        assert_eq!(reasons(&read(provider, objects.as_bytes()).unwrap()), [Reason::Malformed]);
    }
    let unknown = format!(r#"{{"id":"12025550142","name":"A","unknown":{deep}}}"#);
    let body = format!(r#"{{"contacts":[{unknown}],"event":{{"type":"contacts","event":"post"}}}}"#);
    assert_eq!(understood(&read(Provider::Whapi, body.as_bytes()).unwrap()).len(), 1);
}

/// For each byte of a body, its events take so many bytes at the most.
const BYTES_PER_BYTE: usize = 96;

#[test]
fn memory_is_bounded_by_the_size_of_the_body() {
    let many = |item: &str| vec![item; 20_000].join(",");
    let meta = |item: &str| {
        let value = format!(r#"{{"state_sync":[{}]}}"#, many(item));
        let change = format!(r#"{{"field":"smb_app_state_sync","value":{value}}}"#);
        format!(r#"{{"object":"whatsapp_business_account","entry":[{{"changes":[{change}]}}]}}"#)
    };
    let whapi = |key: &str, method: &str, item: &str| {
        let kind = key.split('_').next().unwrap();
        format!(r#"{{"{key}":[{}],"event":{{"type":"{kind}","event":"{method}"}}}}"#, many(item))
    };
    for (provider, body) in [
        (Provider::Wawp, format!("[{}]", many("0"))),
        (Provider::Wawp, format!("[{}]", many("{}"))),
        (Provider::Wawp, format!("[{}]", many(r#"{"id":"1"}"#))),
        (Provider::Meta, meta("0")),
        (Provider::Meta, meta(r#"{"type":"contact"}"#)),
        (Provider::Meta, meta(r#"{"type":"contact","action":"remove","contact":{"phone_number":"1202555"}}"#)),
        (
            Provider::Meta,
            format!(r#"{{"object":"whatsapp_business_account","entry":[{}]}}"#, many(r#"{"changes":[{}]}"#)),
        ),
        (Provider::Whapi, whapi("contacts", "post", "0")),
        (Provider::Whapi, whapi("contacts", "post", r#"{"id":1202555}"#)),
        (Provider::Whapi, whapi("labels_removed", "delete", "1")),
        (Provider::Whapi, whapi("messages", "post", "{}")),
    ] {
        let events = read(provider, body.as_bytes()).unwrap();
        let (bytes, bound) = (events.len() * size_of::<Event>(), body.len() * BYTES_PER_BYTE);
        assert!(bytes <= bound, "{provider:?}: {bytes} bytes for {}", body.len());
    }
}

#[test]
fn rubbish_in_a_row_is_counted_in_one_event() {
    let body = br#"{"contacts":[0,0,{"id":"12025550142","name":"A"},0],"event":{"type":"contacts","event":"post"}}"#;
    let events = read(Provider::Whapi, body).unwrap();
    let counts: Vec<_> = events
        .iter()
        .map(|event| match event.what {
            AddressBookEvent::Ignored { count, reason: Reason::NoId, .. } => count,
            _ => 0,
        })
        .collect();
    assert_eq!(counts, [2, 0, 1]);
}

#[test]
fn a_long_word_of_a_provider_is_cut() {
    let body = json!({"event": "é".repeat(1000), "instanceId": "i"}).to_string();
    let events = read(Provider::Zapy, body.as_bytes()).unwrap();
    let AddressBookEvent::Ignored { reason: Reason::Unknown, event, .. } = &events[0].what else {
        panic!("{events:?}")
    };
    assert_eq!(**event, "é".repeat(64));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_parser_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for provider in PROVIDERS {
            let _events = read(provider, &body);
        }
    }

    #[test]
    fn no_header_makes_a_verifier_panic(value in prop::collection::vec(any::<u8>(), 0..200)) {
        let verifier = wawp_contacts::webhook::Verifier::meta(["secret"]).unwrap();
        let verdict = verifier.verify([("x-hub-signature-256", value)], b"{}").map(drop);
        prop_assert!(matches!(verdict, Err(VerifyError::MalformedSignature | VerifyError::Mismatch)));
    }
}
