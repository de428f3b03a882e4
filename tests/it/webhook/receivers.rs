//! The sample requests of the testkit, as a user's receiver meets them.

use wawp_contacts::{
    ChatId,
    testkit::signing::{self, Signer},
    webhook::{
        Account, AddressBookEvent, Algorithm, Change, Event, HmacScheme, Ids, Label, NameOrigin, Provider, ShownName,
        Verifier,
    },
};

fn chat() -> ChatId {
    "12025550142".parse().unwrap()
}

fn lid() -> ChatId {
    "100000000000001@lid".parse().unwrap()
}

/// Checks that a receiver takes a signed body and none that was touched, and gives what the body says.
fn received(signer: &Signer, verifier: &Verifier, body: String) -> Vec<Event> {
    let request = signer.sign(body);
    let mut touched = request.body().to_vec();
    touched.pop();
    if verifier.provider() != Provider::Whapi {
        assert!(verifier.verify(request.headers(), touched).is_err());
    }
    verifier.verify(request.headers(), request.body()).unwrap().parse().unwrap()
}

#[test]
fn a_name_from_whapi_arrives() {
    let verifier = Verifier::whapi_header("X-Secret", ["secret"]).unwrap();
    let body = signing::whapi_contact("EXAMPL-AB12C", &chat(), "Alex Example");
    let events = received(&Signer::whapi_header("X-Secret", "secret"), &verifier, body);
    let name = ShownName::new("Alex Example", NameOrigin::AddressBook);
    let mut event = Event::new(AddressBookEvent::NameChanged { ids: chat().into(), name, change: Change::NewOrEdited });
    event.account = Some(Account::WhapiChannel("EXAMPL-AB12C".into()));
    assert_eq!(events, [event]);
}

#[test]
fn a_contact_from_zapy_arrives_with_its_link() {
    let body = signing::zapy_contact("i", "c1", &[&lid(), &chat()], Some("alex"), "2026-01-01T00:00:00Z");
    let events = received(&Signer::zapy("secret"), &Verifier::zapy(["secret"]).unwrap(), body);
    assert_eq!(events[0].what, AddressBookEvent::IdentityLinked { lid: lid(), phone: chat() });
    assert!(matches!(&events[1].what, AddressBookEvent::NameChanged { change: Change::Snapshot, .. }));
    assert_eq!(events[0].key, None);
    assert!(events.iter().all(|event| event.at.is_some()));
}

#[test]
fn names_and_removals_from_meta_arrive_in_order() {
    let body = signing::meta_state_sync(
        "7",
        &[(&chat(), Some("Alex Example"), 1_767_225_600), (&chat(), None, 1_767_225_601)],
    );
    let events = received(&Signer::meta("secret"), &Verifier::meta(["secret"]).unwrap(), body);
    assert!(matches!(&events[0].what, AddressBookEvent::NameChanged { name, .. } if &*name.text == "Alex Example"));
    assert_eq!(events[1].what, AddressBookEvent::ContactRemoved { ids: Ids::from(chat()) });
    assert!(events[0].at < events[1].at);
}

#[test]
fn messages_labels_and_health_from_wawp_arrive_in_either_signature() {
    let label = Label::new("6".into(), Some("Customer"));
    let bodies = [
        signing::wawp_message("default", "evt_1", &chat(), "alex", 1),
        signing::wawp_label_added("default", "evt_2", &chat(), &label, 2),
        signing::wawp_status("default", "evt_3", "WORKING", 3),
    ];
    let waha = (Signer::waha("secret"), Verifier::waha(["secret"]).unwrap());
    let wawp = (Signer::wawp("X-Sign", "secret"), Verifier::wawp("X-Sign", ["secret"]).unwrap());
    for (signer, verifier) in [waha, wawp] {
        let events: Vec<_> = bodies.iter().flat_map(|body| received(&signer, &verifier, body.clone())).collect();
        assert_eq!(events.len(), 3);
        assert!(
            matches!(&events[0].what, AddressBookEvent::ContactSeen { name: Some(name), .. } if &*name.text == "alex")
        );
        assert!(matches!(&events[1].what, AddressBookEvent::LabelsChanged { added, .. } if *added == [label.clone()]));
        assert!(matches!(&events[2].what, AddressBookEvent::SessionHealth { health, .. } if health.is_working()));
        let keys: Vec<_> = events.iter().map(|event| event.key.as_ref().unwrap().to_string()).collect();
        assert_eq!(keys, ["evt_1#0", "evt_2#0", "evt_3#0"]);
        let instance = events[0].account.as_ref().and_then(Account::instance).unwrap();
        assert_eq!(instance.as_str(), "default");
    }
}

#[test]
fn a_relay_may_sign_in_its_own_way() {
    let scheme = HmacScheme::new(Algorithm::Sha512, "X-Relay").with_prefix("hmac:");
    let verifier = Verifier::hmac(Provider::Zapy, scheme.clone(), ["secret"]).unwrap();
    let body = signing::zapy_contact("i", "c1", &[&chat()], None, "2026-01-01T00:00:00Z");
    assert_eq!(received(&Signer::hmac(scheme, "secret"), &verifier, body).len(), 1);
}
