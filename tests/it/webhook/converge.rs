use std::time::{Duration, SystemTime};

use proptest::{prelude::*, sample::subsequence};
use wawp_contacts::{
    ChatId,
    book::SessionStatus,
    testkit::signing,
    webhook::{
        Account, AddressBookEvent as What, Change, Event, Ids, Label, LabelRef, Latest, NameOrigin, PersonId, Provider,
        ProviderId, SeenState, ShownName,
    },
};

use super::read;

const PHONES: [&str; 3] = ["12025550141@c.us", "12025550142@c.us", "447700900123@c.us"];
const LIDS: [&str; 3] = ["100000000000001@lid", "100000000000002@lid", "100000000000003@lid"];

fn moment(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn phone() -> impl Strategy<Value = ChatId> {
    (0..3_usize).prop_map(|at| PHONES[at].parse().unwrap())
}

fn lid() -> impl Strategy<Value = ChatId> {
    (0..3_usize).prop_map(|at| LIDS[at].parse().unwrap())
}

fn provider_id() -> impl Strategy<Value = ProviderId> {
    prop_oneof![Just("a"), Just("b")].prop_map(|id| ProviderId::Zapy(id.into()))
}

fn ids() -> impl Strategy<Value = Ids> {
    (prop::option::of(phone()), prop::option::of(lid()), prop::option::of(provider_id())).prop_map(
        |(phone, lid, provider)| {
            let chats = phone.into_iter().chain(lid);
            let ids = chats.fold(Ids::default(), Ids::with_chat);
            provider.into_iter().fold(ids, Ids::with_provider)
        },
    )
}

fn name() -> impl Strategy<Value = ShownName> {
    let origin = prop_oneof![Just(NameOrigin::AddressBook), Just(NameOrigin::Unknown)];
    ("[AB]", origin).prop_map(|(text, origin)| ShownName::new(&text, origin))
}

fn label() -> impl Strategy<Value = Label> {
    ("[12]", "[LC]").prop_map(|(id, name)| Label::new(id.as_str().into(), Some(&name)))
}

fn what() -> impl Strategy<Value = What> {
    let labels = || prop::collection::vec(label(), 0..2);
    prop_oneof![
        (ids(), prop::option::of(name())).prop_map(|(ids, name)| What::ContactSeen { ids, name }),
        (ids(), name()).prop_map(|(ids, name)| What::NameChanged { ids, name, change: Change::NewOrEdited }),
        ids().prop_map(|ids| What::ContactRemoved { ids }),
        (lid(), phone()).prop_map(|(lid, phone)| What::IdentityLinked { lid, phone }),
        (ids(), ids()).prop_map(|(old, new)| What::IdentityReplaced { old, new }),
        (ids(), provider_id()).prop_map(|(kept, deleted)| What::ContactsMerged { kept, deleted }),
        (phone(), labels(), labels()).prop_map(|(chat, added, removed)| What::LabelsChanged { chat, added, removed }),
        label().prop_map(|label| What::LabelDefined { label }),
        "[12]".prop_map(|id| What::LabelRetired { label: LabelRef::Id(id.as_str().into()) }),
        prop_oneof![Just(SessionStatus::Working), Just(SessionStatus::Failed)]
            .prop_map(|health| What::SessionHealth { health, number: None }),
    ]
}

/// Few times, accounts and ids, so that events meet.
fn event() -> impl Strategy<Value = Event> {
    let account = prop_oneof![Just(None), Just(Some(Account::Session("s".into())))];
    (what(), prop::option::of(0..4_u64), account).prop_map(|(what, second, account)| {
        let mut event = Event::new(what);
        event.at = second.map(moment);
        event.account = account;
        event
    })
}

/// A history, and the same in another order with some events doubled.
fn retold() -> impl Strategy<Value = (Vec<Event>, Vec<Event>)> {
    prop::collection::vec(event(), 0..24)
        .prop_flat_map(|events| {
            let doubled = subsequence(events.clone(), 0..=events.len());
            (Just(events), doubled)
        })
        .prop_flat_map(|(events, doubled)| {
            let all = [events.clone(), doubled].concat();
            (Just(events), Just(all).prop_shuffle())
        })
}

fn folded(events: &[Event]) -> SeenState {
    events.iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_and_repeats_do_not_matter((events, retold) in retold()) {
        let (state, other) = (folded(&events), folded(&retold));
        prop_assert_eq!(&state, &other);
        for account in state.accounts() {
            prop_assert_eq!(state.people(account), other.people(account));
            prop_assert_eq!(state.health(account), other.health(account));
        }
    }

    #[test]
    fn it_does_not_matter_how_a_history_is_cut_into_batches((events, _) in retold(), at in any::<prop::sample::Index>()) {
        let at = at.index(events.len() + 1);
        let mut state = folded(&events[..at]);
        state.extend(&events[at..]);
        prop_assert_eq!(state, folded(&events));
    }

    #[test]
    fn every_id_of_a_person_leads_to_the_same((events, _) in retold()) {
        let state = folded(&events);
        for account in state.accounts() {
            for person in state.people(account) {
                for id in person.ids.keys() {
                    prop_assert_eq!(state.person(account, id), Some(person.clone()));
                }
            }
        }
    }

    #[test]
    fn of_meta_the_last_word_by_time_holds(history in prop::collection::vec((0..3_usize, prop::option::of("[A-C]")), 1..12)
        .prop_flat_map(|history| {
            let timed: Vec<_> = history.into_iter().zip(1_767_225_600_u64..).collect();
            (Just(timed.clone()), Just(timed).prop_shuffle())
        }))
    {
        let (told, shuffled) = history;
        let chats: Vec<ChatId> = PHONES.iter().map(|chat| chat.parse().unwrap()).collect();
        let items: Vec<_> =
            shuffled.iter().map(|((who, name), at)| (&chats[*who], name.as_deref(), *at)).collect();
        let body = signing::meta_state_sync("7", &items);
        let state = folded(&read(Provider::Meta, body.as_bytes()).unwrap());
        let account = Account::MetaNumber("7".into());
        for (who, chat) in chats.iter().enumerate() {
            let last = told.iter().rev().find(|((told, _), _)| *told == who);
            let name = last.map(|((_, name), _)| name.as_ref().map(|name| ShownName::new(name, NameOrigin::AddressBook)));
            let person = state.person(Some(&account), &PersonId::from(chat.clone()));
            prop_assert_eq!(person.as_ref().and_then(|person| person.name.value()), name.as_ref());
            prop_assert_eq!(person.and_then(|person| person.name.at()), last.map(|(_, at)| moment(*at)));
        }
    }
}

fn whapi_names(names: &[&str]) -> Latest<Option<ShownName>> {
    let chat: ChatId = PHONES[0].parse().unwrap();
    let bodies = names.iter().map(|name| signing::whapi_contact("C", &chat, name));
    let events: Vec<_> = bodies.flat_map(|body| read(Provider::Whapi, body.as_bytes()).unwrap()).collect();
    folded(&events).person(Some(&Account::WhapiChannel("C".into())), &chat.into()).unwrap().name
}

#[test]
fn names_without_a_time_stay_candidates_unless_they_agree() {
    let texts = |name: &Latest<Option<ShownName>>| -> Vec<String> {
        name.candidates().flatten().map(|name| name.text.to_string()).collect()
    };
    let agreed = whapi_names(&["A", "A"]);
    assert_eq!(agreed.value(), Some(&Some(ShownName::new("A", NameOrigin::AddressBook))));
    let back_and_forth = whapi_names(&["A", "B", "A"]);
    assert_eq!(back_and_forth.value(), None, "only a read can tell");
    assert_eq!(texts(&back_and_forth), ["A", "B"]);
}

#[test]
fn a_link_brings_reports_of_both_ids_together_even_if_it_comes_last() {
    let (lid, phone): (ChatId, ChatId) = (LIDS[0].parse().unwrap(), PHONES[0].parse().unwrap());
    let named = |chat: &ChatId, text: &str, second| {
        let name = ShownName::new(text, NameOrigin::AddressBook);
        let mut event = Event::new(What::NameChanged { ids: chat.clone().into(), name, change: Change::NewOrEdited });
        event.at = Some(moment(second));
        event
    };
    let mut state = folded(&[named(&lid, "new", 2), named(&phone, "old", 1)]);
    assert_eq!(state.people(None).len(), 2);
    state.fold(&Event::new(What::IdentityLinked { lid, phone: phone.clone() }));
    assert_eq!(state.people(None).len(), 1);
    let person = state.person(None, &phone.into()).unwrap();
    assert_eq!(person.name.value().unwrap().as_ref().unwrap().text.as_ref(), "new");
}

#[test]
fn a_replaced_id_stays_an_alias_that_is_out_of_use() {
    let (old, new): (ChatId, ChatId) = (PHONES[0].parse().unwrap(), PHONES[1].parse().unwrap());
    let replaced = What::IdentityReplaced { old: old.clone().into(), new: new.clone().into() };
    let state = folded(&[Event::new(replaced)]);
    let person = state.person(None, &old.clone().into()).unwrap();
    assert_eq!(person.ids[&old.into()].value(), Some(&false));
    assert_eq!(person.ids[&new.into()].value(), Some(&true));
}

#[test]
fn what_was_ignored_leaves_no_trace() {
    let events = read(Provider::Zapy, b"{}").unwrap();
    assert_eq!(folded(&events), SeenState::default());
}

#[test]
fn nobody_is_known_who_was_not_named() {
    let state = folded(&[Event::new(What::ContactRemoved { ids: Ids::default() })]);
    assert_eq!(state.people(None), []);
    assert_eq!(state.person(None, &PHONES[0].parse::<ChatId>().unwrap().into()), None);
}
