//! What reading a webhook's body takes of memory, at its peak: an account's secret must not be enough to fill it.
//!
//! A test of its own, because it counts what the whole process allocates.

#![cfg(test)]

use peak_alloc::PeakAlloc;
use wawp_contacts::webhook::{Provider, Verifier};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// For each byte of a body, so many bytes at the peak.
const MOST: usize = 24;
const SIZE: usize = 256 * 1024;

/// As many items as fit.
fn many(item: &str) -> String {
    vec![item; SIZE / (item.len() + 1)].join(",")
}

fn meta(value: &str) -> String {
    let change = format!(r#"{{"field":"messages","value":{value}}}"#);
    format!(r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{change}]}}]}}"#)
}

fn whapi(key: &str, method: &str, items: &str) -> String {
    let kind = key.split('_').next().unwrap();
    format!(r#"{{"{key}":[{items}],"event":{{"type":"{kind}","event":"{method}"}},"channel_id":"C"}}"#)
}

#[test]
fn a_body_costs_no_more_than_so_many_times_its_size() {
    let half = SIZE / 2;
    let long = "n".repeat(half);
    let name = format!(r#"[{{"profile":{{"name":"{long}"}},"wa_id":"12025550142"}}]"#);
    let messages = |item: &str| vec![item; half / (item.len() + 1)].join(",");
    let said = format!(r#"{{"contacts":{name},"messages":[{}]}}"#, messages(r#"{"from":"12025550142","id":"a"}"#));
    let changes = |id: &str| {
        let changes = messages(r#"{"field":"x","value":{}}"#);
        format!(r#"{{"object":"whatsapp_business_account","entry":[{{"id":"{id}","changes":[{changes}]}}]}}"#)
    };
    let synced = many(r#"{"type":"contact","action":"remove","contact":{"phone_number":"1202555"}}"#);
    let bodies = [
        (Provider::Meta, "one long name and many messages", meta(&said)),
        (Provider::Meta, "one long account and many changes", changes(&long)),
        (Provider::Meta, "one escaped account and many changes", changes(&r"\u006e".repeat(half / 6))),
        (Provider::Meta, "messages", meta(&format!(r#"{{"messages":[{}]}}"#, many(r#"{"from":"1202555"}"#)))),
        (Provider::Meta, "messages with an id", meta(&format!(r#"{{"messages":[{}]}}"#, many(r#"{"id":"1"}"#)))),
        (
            Provider::Meta,
            "removals",
            meta(&format!(r#"{{"state_sync":[{synced}]}}"#)).replace("messages", "smb_app_state_sync"),
        ),
        (Provider::Whapi, "contacts", whapi("contacts", "post", &many(r#"{"id":1202555}"#))),
        (Provider::Whapi, "labels", whapi("labels_removed", "delete", &many("1"))),
        (Provider::Whapi, "rubbish", whapi("contacts", "post", &many("0"))),
        (Provider::Wawp, "rubbish", format!("[{}]", many("0"))),
        (Provider::Wawp, "events with an id", format!("[{}]", many(r#"{"id":"1"}"#))),
        (Provider::Zapy, "one long event", format!(r#"{{"event":"{long}","data":{{}}}}"#)),
    ];
    let mut told = Vec::new();
    for (provider, what, body) in bodies {
        let verifier = Verifier::static_header(provider, "x-secret", ["a long random text"]).unwrap();
        let request = verifier.verify([("x-secret", "a long random text")], body.as_bytes()).unwrap();
        let before = ALLOCATOR.current_usage();
        ALLOCATOR.reset_peak_usage();
        let events = request.parse().unwrap();
        let times = (ALLOCATOR.peak_usage() - before).div_ceil(body.len());
        told.push((times, events.len(), provider, what));
        assert!(!events.is_empty());
    }
    assert!(told.iter().all(|(times, ..)| *times <= MOST), "times, events: {told:#?}");
}
