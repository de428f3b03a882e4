use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use super::{Account, AddressBookEvent as What, Event, Ids, LabelId, LabelRef, ProviderId, ShownName};
use crate::{ChatId, book::SessionStatus};

/// What a batch of events says, whatever the order and however often each came.
///
/// Providers repeat deliveries for days and keep no order. So the state is a join: folding any permutation of a batch, with
/// any events doubled, gives the same state. How it decides between two reports on one thing:
///
/// - With times, the later one wins (Meta, ZapyAPI, Wawp and WAHA).
/// - At one and the same time, or without times (Whapi.Cloud), nothing in the events says which came last. Then **all**
///   reported values stay, as [`candidates`](Latest::candidates), and [`value`](Latest::value) is `None`: read the address
///   book to know. Picking one by some fixed rule would converge as well, but on a guess.
/// - A report with a time beats one without.
///
/// Ids that one event names together are one person, so reports under a privacy id and under its phone meet, also if the
/// link comes last. Reports of different accounts never meet.
///
/// ```
/// use wawp_contacts::webhook::{AddressBookEvent, Change, Event, NameOrigin, SeenState, ShownName};
/// use std::time::{Duration, SystemTime};
///
/// let chat: wawp_contacts::ChatId = "12025550142".parse()?;
/// let named = |text: &str, second| {
///     let name = ShownName::new(text, NameOrigin::AddressBook);
///     let what = AddressBookEvent::NameChanged { ids: chat.clone().into(), name, change: Change::NewOrEdited };
///     let mut event = Event::new(what);
///     event.at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
///     event
/// };
/// let state: SeenState = [named("Alex [Customer]", 2), named("Alex [Lead]", 1)].iter().collect();
///
/// let alex = state.person(None, &chat.clone().into()).ok_or("seen")?;
/// assert_eq!(alex.name.value(), Some(&Some(ShownName::new("Alex [Customer]", NameOrigin::AddressBook))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenState {
    accounts: BTreeMap<Option<Account>, SeenAccount>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct SeenAccount {
    /// Reports, each under one id of its person.
    reports: BTreeMap<PersonId, SeenPerson>,
    /// Which ids were named together, in both directions.
    same: BTreeMap<PersonId, BTreeSet<PersonId>>,
    labels: BTreeMap<LabelRef, Latest<Option<Box<str>>>>,
    health: Latest<SessionStatus>,
}

/// Any id of a person.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PersonId {
    /// A phone's chat id, or a privacy id.
    Chat(ChatId),
    /// An id of a provider.
    Provider(ProviderId),
}

impl From<ChatId> for PersonId {
    fn from(chat: ChatId) -> Self {
        Self::Chat(chat)
    }
}

impl From<ProviderId> for PersonId {
    fn from(id: ProviderId) -> Self {
        Self::Provider(id)
    }
}

/// What a batch of events says of one person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeenPerson {
    /// All ids, and of each whether it is in use (`true`) or was replaced or dropped; no value if nobody said so.
    pub ids: BTreeMap<PersonId, Latest<bool>>,
    /// The name in the address book; `None` once the contact was removed.
    pub name: Latest<Option<ShownName>>,
    /// What the person was called where they were seen: a hint, never a name to adopt.
    pub called: Latest<ShownName>,
    /// Which labels are on the chat (`true`) or were taken off it.
    pub labels: BTreeMap<LabelId, Latest<bool>>,
}

/// The latest of several reports on one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest<T> {
    at: Option<SystemTime>,
    values: BTreeSet<T>,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self { at: None, values: BTreeSet::new() }
    }
}

impl<T: Ord + Clone> Latest<T> {
    /// The value, if there is a report and no other contradicts it.
    #[must_use]
    pub fn value(&self) -> Option<&T> {
        self.values.first().filter(|_| self.values.len() == 1)
    }

    /// All values that may be the latest, ordered; more than one means that only a read can tell.
    pub fn candidates(&self) -> impl Iterator<Item = &T> {
        self.values.iter()
    }

    /// The provider's time of the latest report.
    #[must_use]
    pub fn at(&self) -> Option<SystemTime> {
        self.at
    }

    fn report(&mut self, at: Option<SystemTime>, value: T) {
        self.join(&Self { at, values: BTreeSet::from([value]) });
    }

    fn join(&mut self, other: &Self) {
        if other.values.is_empty() || (!self.values.is_empty() && other.at < self.at) {
            return;
        }
        if self.values.is_empty() || other.at > self.at {
            self.clone_from(other);
        } else {
            self.values.extend(other.values.iter().cloned());
        }
    }
}

impl SeenPerson {
    fn join(&mut self, other: &Self) {
        self.name.join(&other.name);
        self.called.join(&other.called);
        other.ids.iter().for_each(|(id, in_use)| self.ids.entry(id.clone()).or_default().join(in_use));
        other.labels.iter().for_each(|(id, is_on)| self.labels.entry(id.clone()).or_default().join(is_on));
    }
}

impl SeenState {
    /// Takes one event in.
    pub fn fold(&mut self, event: &Event) {
        if !matches!(event.what, What::Ignored { .. }) {
            self.accounts.entry(event.account.clone()).or_default().fold(event.at, &event.what);
        }
    }

    /// What is known of the person with this id; `None` if no event named it.
    #[must_use]
    pub fn person(&self, account: Option<&Account>, id: &PersonId) -> Option<SeenPerson> {
        let account = self.accounts.get(&account.cloned())?;
        account.same.contains_key(id).then(|| account.person(id))
    }

    /// Everybody in an account of whom anything is known.
    #[must_use]
    pub fn people(&self, account: Option<&Account>) -> Vec<SeenPerson> {
        let Some(account) = self.accounts.get(&account.cloned()) else { return Vec::new() };
        let mut met = BTreeSet::new();
        let mut people = Vec::new();
        for id in account.same.keys() {
            if !met.contains(id) {
                let person = account.person(id);
                met.extend(person.ids.keys().cloned());
                people.push(person);
            }
        }
        people
    }

    /// The accounts of which anything is known; `None` stands for payloads that name none.
    pub fn accounts(&self) -> impl Iterator<Item = Option<&Account>> {
        self.accounts.keys().map(Option::as_ref)
    }

    /// The names of an account's labels; `None` once a label is retired.
    #[must_use]
    pub fn labels(&self, account: Option<&Account>) -> BTreeMap<LabelRef, Latest<Option<Box<str>>>> {
        self.accounts.get(&account.cloned()).map(|account| account.labels.clone()).unwrap_or_default()
    }

    /// How an account is.
    #[must_use]
    pub fn health(&self, account: Option<&Account>) -> Latest<SessionStatus> {
        self.accounts.get(&account.cloned()).map(|account| account.health.clone()).unwrap_or_default()
    }
}

impl<'a> Extend<&'a Event> for SeenState {
    fn extend<I: IntoIterator<Item = &'a Event>>(&mut self, events: I) {
        events.into_iter().for_each(|event| self.fold(event));
    }
}

impl<'a> FromIterator<&'a Event> for SeenState {
    fn from_iter<I: IntoIterator<Item = &'a Event>>(events: I) -> Self {
        let mut state = Self::default();
        state.extend(events);
        state
    }
}

impl SeenAccount {
    fn fold(&mut self, at: Option<SystemTime>, what: &What) {
        match what {
            What::ContactSeen { ids, name } => self.report(&person_ids(ids), |person| {
                if let Some(name) = name {
                    person.called.report(at, name.clone());
                }
            }),
            What::NameChanged { ids, name, .. } => {
                self.report(&person_ids(ids), |person| person.name.report(at, Some(name.clone())));
            }
            What::ContactRemoved { ids } => self.report(&person_ids(ids), |person| person.name.report(at, None)),
            What::IdentityLinked { lid, phone } => self.report(&[lid.clone().into(), phone.clone().into()], |_| ()),
            What::IdentityReplaced { old, new } => self.replace(at, person_ids(old), person_ids(new)),
            What::ContactsMerged { kept, deleted } => {
                self.replace(at, vec![deleted.clone().into()], person_ids(kept));
            }
            What::LabelsChanged { chat, added, removed } => self.report(&[chat.clone().into()], |person| {
                let added = added.iter().map(|label| (label, true));
                for (label, is_on) in added.chain(removed.iter().map(|label| (label, false))) {
                    person.labels.entry(label.id.clone()).or_default().report(at, is_on);
                }
            }),
            What::LabelDefined { label } => {
                let names = self.labels.entry(LabelRef::Id(label.id.clone())).or_default();
                names.report(at, label.name.clone());
            }
            What::LabelRetired { label } => self.labels.entry(label.clone()).or_default().report(at, None),
            What::SessionHealth { health, .. } => self.health.report(at, health.clone()),
            What::Ignored { .. } => {}
        }
    }

    /// Notes that these ids are one person, and something of them.
    fn report(&mut self, ids: &[PersonId], note: impl FnOnce(&mut SeenPerson)) {
        let Some(first) = ids.first() else { return };
        for id in ids {
            let others = ids.iter().filter(|other| *other != id).cloned();
            self.same.entry(id.clone()).or_default().extend(others);
        }
        note(self.reports.entry(first.clone()).or_default());
    }

    fn replace(&mut self, at: Option<SystemTime>, old: Vec<PersonId>, new: Vec<PersonId>) {
        let old: Vec<_> = old.into_iter().filter(|id| !new.contains(id)).collect();
        self.report(&[&*old, &*new].concat(), |person| {
            let old = old.into_iter().map(|id| (id, false));
            for (id, in_use) in old.chain(new.into_iter().map(|id| (id, true))) {
                person.ids.entry(id).or_default().report(at, in_use);
            }
        });
    }

    /// Joins what was reported under any of a person's ids.
    fn person(&self, id: &PersonId) -> SeenPerson {
        let mut person = SeenPerson::default();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if person.ids.contains_key(id) {
                continue;
            }
            person.ids.entry(id.clone()).or_default();
            open.extend(self.same.get(id).into_iter().flatten());
        }
        let reports: Vec<_> = person.ids.keys().filter_map(|id| self.reports.get(id)).collect();
        for report in reports {
            person.join(report);
        }
        person
    }
}

fn person_ids(ids: &Ids) -> Vec<PersonId> {
    let chats = [&ids.phone, &ids.lid].into_iter().flatten().cloned().map(PersonId::Chat);
    chats.chain(ids.provider.clone().map(PersonId::Provider)).collect()
}
