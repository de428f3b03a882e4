//! One function for each fuzz target: any bytes in, a panic if something that always holds does not.

use std::time::{Duration, Instant, SystemTime};

use serde_json::value::RawValue;
use wawp_contacts::{
    ChatId, Error, ErrorKind, RetryPolicy,
    crm::{Csv, RowError},
    naming::Naming,
    retry::{Budget, parse_retry_after},
    webhook::{
        AddressBookEvent, Event, Ids, NameOrigin, Provider, SeenState, ShownName, Verifier, meta_challenge,
        zapy_challenge,
    },
};

type Target = fn(&[u8]);

/// All targets by name; each has a folder of its name in `fuzz/corpus`.
pub(crate) const TARGETS: [(&str, Target); 9] = [
    ("whapi", whapi),
    ("zapy", zapy),
    ("meta", meta),
    ("wawp", wawp),
    ("signature", signature),
    ("chat_id", chat_id),
    ("tags", tags),
    ("csv", csv),
    ("retry_after", retry_after),
];

/// Bodies as Whapi.Cloud sends them.
pub(crate) fn whapi(data: &[u8]) {
    parse(Provider::Whapi, data);
}

/// Bodies as ZapyAPI sends them.
pub(crate) fn zapy(data: &[u8]) {
    parse(Provider::Zapy, data);
}

/// Bodies as Meta sends them.
pub(crate) fn meta(data: &[u8]) {
    parse(Provider::Meta, data);
}

/// Bodies as Wawp and WAHA send them.
pub(crate) fn wawp(data: &[u8]) {
    parse(Provider::Wawp, data);
}

fn parse(provider: Provider, body: &[u8]) {
    let verifier = Verifier::static_header(provider, "x-secret", ["secret"]).unwrap();
    let Ok(events) = verifier.verify([("x-secret", "secret")], body).unwrap().parse() else {
        assert!(serde_json::from_slice::<&RawValue>(body).is_err(), "only what is no JSON is an error");
        return;
    };
    assert!(!events.is_empty());
    assert!(events.len() * size_of::<Event>() <= 96 * body.len().max(2), "memory in proportion to the body");
    events.iter().for_each(assert_typed);
    let state: SeenState = events.iter().collect();
    let retold: SeenState = events.iter().rev().chain(&events).collect();
    assert_eq!(state, retold, "order and repeats do not matter");
}

fn assert_typed(event: &Event) {
    assert!(event.at.is_none_or(|at| at >= SystemTime::UNIX_EPOCH));
    match &event.what {
        AddressBookEvent::ContactSeen { ids, name } => {
            assert_ids(ids);
            name.iter().for_each(assert_name);
        }
        AddressBookEvent::NameChanged { ids, name, .. } => {
            assert_ids(ids);
            assert_name(name);
            assert_ne!(name.origin, NameOrigin::Pushname, "a pushname is no contact's name");
        }
        AddressBookEvent::ContactRemoved { ids } | AddressBookEvent::ContactsMerged { kept: ids, .. } => {
            assert_ids(ids);
        }
        AddressBookEvent::IdentityReplaced { old, new } => [old, new].into_iter().for_each(assert_ids),
        AddressBookEvent::IdentityLinked { lid, phone } => {
            assert_ids(&Ids::from(lid.clone()).with_chat(phone.clone()));
        }
        AddressBookEvent::LabelsChanged { chat, added, removed } => {
            assert_chat(chat);
            assert!(!added.is_empty() || !removed.is_empty());
            assert!(!added.iter().any(|label| removed.contains(label)));
        }
        AddressBookEvent::LabelDefined { label } => assert!(label.name.is_some()),
        AddressBookEvent::Ignored { event, count, .. } => assert!(event.chars().count() <= 64 && *count > 0),
        _ => {}
    }
}

fn assert_ids(ids: &Ids) {
    assert!(!ids.is_empty());
    assert!(ids.lid.as_ref().is_none_or(ChatId::is_lid));
    assert!(ids.phone.as_ref().is_none_or(|phone| !phone.is_lid()));
    [&ids.lid, &ids.phone].into_iter().flatten().for_each(assert_chat);
}

fn assert_chat(chat: &ChatId) {
    assert_eq!(chat.as_str().parse().as_ref(), Ok(chat));
}

fn assert_name(name: &ShownName) {
    assert!(!name.text.trim().is_empty());
}

/// Headers and queries of strangers: the first byte chooses, a line is the header or the query, the rest is the body.
pub(crate) fn signature(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (value, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let key = "c2VjcmV0LXNlY3JldC1zZWNyZXQ=";
    let (verifier, header) = match choice % 6 {
        0 => (Verifier::meta([key, "another"]), "X-Hub-Signature-256"),
        1 => (Verifier::zapy([key]), "X-Webhook-Signature"),
        2 => (Verifier::waha([key]), "X-Webhook-Hmac"),
        3 => (Verifier::whapi_header("Authorization", [key]), "authorization"),
        4 => (Verifier::standard_webhooks(Provider::Wawp, [key]), "webhook-signature"),
        _ => return query(&String::from_utf8_lossy(value)),
    };
    let others: [(&str, &[u8]); 2] = [("webhook-id", value), ("webhook-timestamp", body)];
    let verdict = verifier.unwrap().verify(others.into_iter().chain([(header, value)]), body);
    let is_guessed = choice % 6 == 3 && value == key.as_bytes();
    assert_eq!(verdict.is_ok(), is_guessed, "nobody signs without the secret");
}

fn query(query: &str) {
    let token = "the-token-of-ours".into();
    for answer in [meta_challenge(query, &token), zapy_challenge(query)].into_iter().flatten() {
        assert!((1..=256).contains(&answer.len()) && answer.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    if meta_challenge(query, &token).is_ok() {
        assert!(query.contains("token"), "only our token opens");
    }
}

/// Ids and phones in any spelling.
pub(crate) fn chat_id(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(chat) = text.parse::<ChatId>() {
        assert_chat(&chat);
        assert_eq!(chat.is_lid(), chat.phone().is_none());
        let digits = chat.as_str().split('@').next().unwrap_or_default();
        assert!((1..=20).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()));
        if let Some(phone) = chat.phone() {
            assert!((7..=15).contains(&phone.as_str().len()));
            assert_eq!(phone.chat(), chat);
        }
    }
}

/// Names as an address book shows them, with tags of ours and of others.
pub(crate) fn tags(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let naming = Naming::new("Lead, Customer, Evangelist=VIP, Churned=".parse().unwrap());
    let parsed = naming.parse(&text);
    assert_eq!(naming.parse(&parsed.base).tag, None, "a base has no tag of ours");
    let Ok(rendered) = naming.render(&text, "", Some("Lead")) else { return };
    let again = naming.parse(rendered.name.full());
    assert_eq!(again.tag.as_deref(), Some("Lead"), "what we render we know again");
    assert_eq!(again.base, rendered.base.full());
    let twice = naming.render(rendered.name.full(), "", Some("Lead")).unwrap();
    assert_eq!(twice.name.full(), rendered.name.full(), "applying a tag twice is once");
}

/// A CRM export.
pub(crate) fn csv(data: &[u8]) {
    let Ok(rows) = Csv::new(data) else { return };
    let lines = data.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
    let mut last_line = 1;
    for (at, row) in rows.enumerate() {
        assert!(at < lines, "a line is one row at the most");
        match row {
            Ok(contact) => {
                assert!(!contact.id.trim().is_empty());
                assert_chat(&contact.chat);
            }
            Err(RowError::Refused(refusal)) => {
                let line = refusal.line.expect("a file has lines");
                assert!(line > last_line && line <= lines as u64, "line {line} after {last_line} of {lines}");
                last_line = line;
                assert!(!refusal.detail.is_empty());
            }
            Err(other) => panic!("bytes in memory are always there: {other:?}"),
        }
    }
}

/// The header by which a server asks to wait.
pub(crate) fn retry_after(data: &[u8]) {
    let value = String::from_utf8_lossy(data);
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    let Some(wait) = parse_retry_after(&value, now) else { return };
    assert!(parse_retry_after(&value, now + Duration::from_secs(60)).is_some_and(|later| later <= wait));
    let (policy, budget, started) = (RetryPolicy::default(), Budget::default(), Instant::now());
    let error = Error::new(ErrorKind::RateLimited).with_retry_after(wait);
    match policy.start(&budget, started).failed(error, started, 0.5) {
        Ok(chosen) => assert!(chosen >= wait, "never before the server allows it"),
        Err(error) => assert_eq!(error.retry_after(), Some(wait), "who gives up says how long to wait"),
    }
}
