use std::{collections::BTreeSet, fmt::Write, fs, time::SystemTime};

use wawp_contacts::{
    book::SessionStatus,
    webhook::{
        Account, AddressBookEvent as What, Change, Event, Ids, Label, LabelRef, NameOrigin, ProviderId, ShownName,
    },
};

use super::{fixtures, kind, payloads, provider_of, read};

const TABLE: &str = include_str!("../../../src/webhook/events.md");

/// The words in backquotes in one cell of the table.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn rows() -> Vec<Vec<&'static str>> {
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect();
    TABLE.lines().skip(2).map(cells).collect()
}

#[test]
fn the_table_in_the_documentation_is_what_the_parsers_do() {
    let payloads = payloads();
    for row in rows() {
        let [provider, event, meaning, samples] = row[..] else { panic!("four cells: {row:?}") };
        assert!(!quoted(samples).is_empty(), "{event} has no sample");
        for sample in quoted(samples) {
            let found: Vec<_> = payloads
                .iter()
                .filter(|(name, _)| format!("{:?}", provider_of(name)) == provider)
                .filter(|(name, _)| name.split('/').nth(1) == Some(sample))
                .collect();
            assert!(!found.is_empty(), "no sample {sample}");
            for (name, body) in found {
                let events = read(provider_of(name), body.as_bytes()).unwrap();
                let kinds: Vec<_> = events.iter().map(|event| kind(&event.what)).collect();
                assert_eq!(kinds, quoted(meaning), "{name}");
                assert_ambiguity(meaning, &events, name);
            }
        }
    }
}

/// Holds the words in brackets against the types.
fn assert_ambiguity(meaning: &str, events: &[Event], name: &str) {
    for (words, is_said) in [
        (
            "new or edited",
            (|what| matches!(what, What::NameChanged { change: Change::NewOrEdited, .. })) as fn(&What) -> bool,
        ),
        ("renamed", |what| matches!(what, What::NameChanged { change: Change::Renamed { .. }, .. })),
        ("snapshot", |what| matches!(what, What::NameChanged { change: Change::Snapshot, .. })),
        ("origin of the name unknown", |what| {
            let (What::ContactSeen { name: Some(name), .. } | What::NameChanged { name, .. }) = what else {
                return false;
            };
            name.origin == NameOrigin::Unknown
        }),
        ("by id or by name", |what| matches!(what, What::LabelRetired { label: LabelRef::IdOrName(_) })),
        ("disconnected", |what| matches!(what, What::SessionHealth { health: SessionStatus::Disconnected, .. })),
    ] {
        assert_eq!(meaning.contains(words), events.iter().any(|event| is_said(&event.what)), "{name}: {words}");
    }
}

#[test]
fn the_table_names_every_meaning() {
    let named: BTreeSet<_> = rows().iter().flat_map(|row| quoted(row[2])).collect();
    let all = [
        "ContactSeen",
        "NameChanged",
        "ContactRemoved",
        "IdentityLinked",
        "IdentityReplaced",
        "ContactsMerged",
        "LabelsChanged",
        "LabelDefined",
        "LabelRetired",
        "SessionHealth",
        "Ignored",
    ];
    assert_eq!(named, BTreeSet::from(all));
}

/// `WAWP_UPDATE_FIXTURES=1 cargo test` writes the list anew; look at the difference before you keep it.
#[test]
fn every_payload_becomes_what_the_list_says() {
    let mut list = String::new();
    for (name, body) in payloads() {
        writeln!(list, "{name}").unwrap();
        for event in read(provider_of(&name), body.as_bytes()).unwrap() {
            writeln!(list, "    {}", line(&event)).unwrap();
        }
    }
    let path = fixtures().join("meanings.txt");
    if std::env::var_os("WAWP_UPDATE_FIXTURES").is_some() {
        fs::write(&path, &list).unwrap();
    }
    assert_eq!(list, fs::read_to_string(&path).unwrap());
}

/// One event on one line, without what is not there.
fn line(event: &Event) -> String {
    let mut line = match &event.what {
        What::ContactSeen { ids, name } => {
            format!("ContactSeen {} {}", who(ids), name.as_ref().map_or("-".into(), shown))
        }
        What::NameChanged { ids, name, change } => {
            let change = match change {
                Change::Renamed { before } => format!("renamed from {before:?}"),
                other => format!("{other:?}"),
            };
            format!("NameChanged {} {} ({change})", who(ids), shown(name))
        }
        What::ContactRemoved { ids } => format!("ContactRemoved {}", who(ids)),
        What::IdentityLinked { lid, phone } => format!("IdentityLinked {lid} = {phone}"),
        What::IdentityReplaced { old, new } => format!("IdentityReplaced {} -> {}", who(old), who(new)),
        What::ContactsMerged { kept, deleted } => {
            format!("ContactsMerged {} <- {}", who(kept), provider_id(deleted))
        }
        What::LabelsChanged { chat, added, removed } => {
            format!("LabelsChanged {chat} added {} removed {}", labels(added), labels(removed))
        }
        What::LabelDefined { label } => format!("LabelDefined {}", labels(std::slice::from_ref(label))),
        What::LabelRetired { label: LabelRef::Id(id) } => format!("LabelRetired {id}"),
        What::LabelRetired { label } => format!("LabelRetired {label:?}"),
        What::SessionHealth { health, number } => {
            format!(
                "SessionHealth {health:?}{}",
                number.as_ref().map(|number| format!(" +{number}")).unwrap_or_default()
            )
        }
        What::Ignored { reason, event, count } => {
            format!("Ignored {} {event:?} x{count}", reason.code())
        }
        other => format!("{other:?}"),
    };
    if let Some(account) = &event.account {
        let kind = match account {
            Account::Session(_) => "session",
            Account::WhapiChannel(_) => "channel",
            Account::ZapyInstance(_) => "zapy",
            Account::MetaNumber(_) => "number",
            Account::MetaBusiness(_) => "business",
            _ => "other",
        };
        write!(line, " | {kind} {}", account.as_str()).unwrap();
    }
    if let Some(at) = event.at {
        write!(line, " | at {}", at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    }
    if let Some(key) = &event.key {
        write!(line, " | key {key}").unwrap();
    }
    line
}

fn who(ids: &Ids) -> String {
    let chats = [&ids.phone, &ids.lid].into_iter().flatten().map(ToString::to_string);
    chats.chain(ids.provider.as_ref().map(provider_id)).collect::<Vec<_>>().join("/")
}

fn provider_id(id: &ProviderId) -> String {
    match id {
        ProviderId::Zapy(id) => format!("zapy:{id}"),
        ProviderId::Meta(id) => format!("meta:{id}"),
        other => format!("{other:?}"),
    }
}

fn shown(name: &ShownName) -> String {
    format!("{:?} by {:?}", name.text, name.origin)
}

fn labels(labels: &[Label]) -> String {
    let one = |label: &Label| format!("{}:{:?}", label.id, label.name.as_deref().unwrap_or_default());
    format!("[{}]", labels.iter().map(one).collect::<Vec<_>>().join(", "))
}
