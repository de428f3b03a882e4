//! Webhooks: what each payload becomes, who may send one, and what a batch of them adds up to.

mod converge;
mod corners;
mod meanings;
mod receivers;
mod signatures;
mod tolerance;

use std::{fs, path::PathBuf};

use wawp_contacts::{
    testkit::signing::Signer,
    webhook::{AddressBookEvent, Event, Provider, Verifier},
};

pub(crate) const PROVIDERS: [Provider; 4] = [Provider::Whapi, Provider::Zapy, Provider::Meta, Provider::Wawp];

fn fixtures() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "fixtures"].iter().collect()
}

/// All payloads as `folder/name` and text, ordered.
fn payloads() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["meta", "waha", "wawp", "whapi", "zapy"] {
        for file in fs::read_dir(fixtures().join(folder)).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            found.push((format!("{folder}/{name}"), fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn provider_of(payload: &str) -> Provider {
    match payload.split('/').next() {
        Some("whapi") => Provider::Whapi,
        Some("zapy") => Provider::Zapy,
        Some("meta") => Provider::Meta,
        _ => Provider::Wawp,
    }
}

/// What a provider's body says, through the front door: signed, verified, parsed.
pub(crate) fn read(provider: Provider, body: &[u8]) -> Option<Vec<Event>> {
    let (signer, verifier) = match provider {
        Provider::Whapi => (Signer::whapi_header("X-Secret", "secret"), Verifier::whapi_header("X-Secret", ["secret"])),
        Provider::Zapy => (Signer::zapy("secret"), Verifier::zapy(["secret"])),
        Provider::Meta => (Signer::meta("secret"), Verifier::meta(["secret"])),
        _ => (Signer::waha("secret"), Verifier::waha(["secret"])),
    };
    let request = signer.sign(body);
    verifier.unwrap().verify(request.headers(), request.body()).unwrap().parse().ok()
}

fn kind(event: &AddressBookEvent) -> &'static str {
    match event {
        AddressBookEvent::ContactSeen { .. } => "ContactSeen",
        AddressBookEvent::NameChanged { .. } => "NameChanged",
        AddressBookEvent::ContactRemoved { .. } => "ContactRemoved",
        AddressBookEvent::IdentityLinked { .. } => "IdentityLinked",
        AddressBookEvent::IdentityReplaced { .. } => "IdentityReplaced",
        AddressBookEvent::ContactsMerged { .. } => "ContactsMerged",
        AddressBookEvent::LabelsChanged { .. } => "LabelsChanged",
        AddressBookEvent::LabelDefined { .. } => "LabelDefined",
        AddressBookEvent::LabelRetired { .. } => "LabelRetired",
        AddressBookEvent::SessionHealth { .. } => "SessionHealth",
        AddressBookEvent::Ignored { .. } => "Ignored",
        _ => unreachable!("a variant without a name here"),
    }
}
