//! A model of a CRM that people work in: what its rows say, how they change, and how badly it exports them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use fastrand::Rng;

use super::{
    log::Happening,
    server::{Listing, Server},
};
use crate::{ChatId, ContactName, crm::CrmContact, naming::Naming};

const STAGES: [&str; 3] = ["Lead", "Customer", "VIP"];

/// The rows, and the persons behind them.
#[derive(Debug)]
pub(super) struct Crm {
    rng: Rng,
    naming: Naming,
    /// Whether rows say how new they are.
    is_versioned: bool,
    /// Whether some numbers are not on WhatsApp.
    has_absent: bool,
    rows: BTreeMap<String, Row>,
    persons: Vec<Person>,
    /// The newest version of any row; also makes each name one of its kind.
    version: u64,
}

#[derive(Debug)]
struct Person {
    chat: ChatId,
    lid: ChatId,
    is_mapped: bool,
}

#[derive(Debug, Clone)]
struct Row {
    person: usize,
    is_by_lid: bool,
    first: String,
    stage: &'static str,
    /// A line with another stage that comes before the row in each export, as for a row with two deals.
    deal: Option<&'static str>,
    version: u64,
    /// The row as it was before it last changed.
    before: Option<CrmContact>,
    /// All persons whom the row ever named.
    named: BTreeSet<usize>,
}

/// What an export or a change delivers: lines, and the newest version of each row in them.
#[derive(Debug, Clone, Default)]
pub(super) struct Delivery {
    pub(super) lines: Vec<CrmContact>,
    pub(super) versions: Vec<(String, u64)>,
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows:", self.lines.len())?;
        self.lines.iter().try_for_each(|row| {
            let (user, stage) = (row.chat.as_str().split('@').next(), row.stage.as_deref());
            write!(f, " {} {} {:?} [{}]", row.id, user.unwrap_or_default(), row.first, stage.unwrap_or_default())
        })
    }
}

/// What the CRM says in the end.
pub(super) struct Expected {
    pub(super) wanted: BTreeMap<ChatId, Wanted>,
    pub(super) wanted_apart: BTreeMap<ChatId, Wanted>,
    /// Privacy ids whose phone nobody knows, with a row for each.
    pub(super) unknown: BTreeSet<ChatId>,
    /// Persons of whom nobody can tell, because a row is refused that names them or named them before.
    pub(super) unsure: BTreeSet<ChatId>,
}

/// What a person should be called once everything has settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// This.
    Name(ContactName),
    /// Nothing: nobody claims the person, or the one who does has no name.
    Nothing,
    /// Nothing, because several claim the person.
    Competing,
}

impl Crm {
    pub(super) fn new(seed: u64, naming: Naming, is_versioned: bool, has_absent: bool) -> Self {
        let (rng, rows, persons) = (Rng::with_seed(seed), BTreeMap::new(), Vec::new());
        Self { rng, naming, is_versioned, has_absent, rows, persons, version: 0 }
    }

    /// Adds a person nobody has a row for yet.
    fn meet(&mut self, server: &Server) -> usize {
        let n = self.persons.len();
        // Digits that no person can have anyway are easily told in a story.
        let chat: Result<ChatId, _> = format!("120255501{n:02}@c.us").parse();
        let lid: Result<ChatId, _> = format!("99000000000000{n:02}@lid").parse();
        if let (Ok(chat), Ok(lid)) = (chat, lid) {
            let is_mapped = self.rng.u32(0..4) > 0;
            let listing = match self.rng.u32(0..6) {
                0 => Listing::Lid,
                1 => Listing::Twice,
                _ => Listing::Phone,
            };
            server.person(&chat, is_mapped.then(|| lid.clone()), listing);
            if self.has_absent && self.rng.u32(0..4) == 0 {
                server.absent(&chat);
            }
            self.persons.push(Person { chat, lid, is_mapped });
        }
        n.min(self.persons.len() - 1)
    }

    /// Adds a row for somebody new.
    pub(super) fn add(&mut self, server: &Server) {
        let person = self.meet(server);
        let is_by_lid = self.rng.u32(0..8) == 0;
        if is_by_lid {
            server.log().count(Happening::LidRow);
        }
        let deal = (self.rng.u32(0..8) == 0).then(|| self.stage());
        let id = format!("crm-{}", self.rows.len() + 1);
        let row = Row {
            person,
            is_by_lid,
            first: String::new(),
            stage: "",
            deal,
            version: 0,
            before: None,
            named: BTreeSet::new(),
        };
        self.rows.insert(id.clone(), row);
        self.change(&id, server, |row, version, stage| {
            row.first = format!("P{} v{version}", row.person);
            row.stage = stage;
        });
    }

    fn stage(&mut self) -> &'static str {
        self.rng.choice(STAGES).unwrap_or_default()
    }

    /// Changes a row, gives it a newer version, and tells the server what is wanted from now on.
    fn change(&mut self, id: &str, server: &Server, change: impl FnOnce(&mut Row, u64, &'static str)) {
        self.version += 1;
        let (version, stage) = (self.version, self.stage());
        let before = self.line(id);
        if let Some(row) = self.rows.get_mut(id) {
            change(row, version, stage);
            row.version = version;
            row.before = before;
            row.named.insert(row.person);
        }
        self.tell_wish(id, server);
    }

    fn tell_wish(&self, id: &str, server: &Server) {
        let (Some(row), Some(line)) = (self.rows.get(id), self.line(id)) else { return };
        let chat = &self.persons[row.person].chat;
        server.wanted(chat, &line, row.version, &self.naming);
        server
            .log()
            .tell(format_args!("crm: {id} v{}: {} is {:?} in {:?}", row.version, line.chat, line.first, row.stage));
    }

    /// A row as it is exported.
    fn line(&self, id: &str) -> Option<CrmContact> {
        let row = self.rows.get(id)?;
        let person = &self.persons[row.person];
        let chat = if row.is_by_lid { &person.lid } else { &person.chat };
        let line = CrmContact::new(id, chat.clone()).named(&*row.first, "").in_stage(row.stage);
        Some(if self.is_versioned { line.at_version(row.version) } else { line })
    }

    /// The ids of all rows that there are.
    fn ids(&self) -> Vec<String> {
        self.rows.keys().cloned().collect()
    }

    /// Somebody changes something.
    pub(super) fn edit(&mut self, server: &Server) {
        let ids = self.ids();
        let Some(id) = self.rng.choice(&ids).cloned() else { return self.add(server) };
        match self.rng.u32(0..20) {
            0..7 => {
                server.log().count(Happening::Renamed);
                self.change(&id, server, |row, version, _| row.first = format!("P{} v{version}", row.person));
            }
            7..12 => {
                server.log().count(Happening::Restaged);
                // The name must not come back: a wish that does is an older one to the watcher.
                self.change(&id, server, |row, version, stage| {
                    row.first = format!("P{} v{version}", row.person);
                    row.stage = stage;
                });
            }
            12 => {
                server.log().count(Happening::Blanked);
                self.change(&id, server, |row, _, _| row.first = " ".into());
            }
            13..15 => self.correct_phone(&id, server),
            15 => self.compete(&id, server),
            16 if ids.len() > 3 => {
                server.log().count(Happening::RowGone);
                server.log().tell(format_args!("crm: {id} is deleted"));
                self.rows.remove(&id);
            }
            17 => self.learn(server),
            _ => self.add(server),
        }
    }

    fn correct_phone(&mut self, id: &str, server: &Server) {
        server.log().count(Happening::PhoneCorrected);
        let person = self.meet(server);
        self.change(id, server, |row, version, _| {
            row.person = person;
            row.first = format!("P{person} v{version}");
        });
    }

    /// A row names a person whom another row names already.
    fn compete(&mut self, id: &str, server: &Server) {
        let person = self.rng.usize(0..self.persons.len());
        if self.rows.values().any(|row| row.person == person) {
            server.log().count(Happening::Competing);
        }
        self.change(id, server, |row, version, _| {
            row.person = person;
            row.first = format!("P{person} v{version}");
        });
    }

    /// The phone behind a privacy id becomes known.
    fn learn(&mut self, server: &Server) {
        let Some(person) = self.persons.iter_mut().find(|person| !person.is_mapped) else { return };
        person.is_mapped = true;
        server.log().count(Happening::LidLearnt);
        server.log().tell(format_args!("server: {} is the phone behind {}", person.chat, person.lid));
        server.person(&person.chat, Some(person.lid.clone()), Listing::Phone);
    }

    /// All rows in a fresh order, with the faults that exports have.
    pub(super) fn export(&mut self, server: &Server) -> Delivery {
        let mut ids = self.ids();
        self.rng.shuffle(&mut ids);
        self.deliver(&ids, server)
    }

    /// Some rows.
    pub(super) fn some(&mut self, server: &Server) -> Delivery {
        let mut ids = self.ids();
        self.rng.shuffle(&mut ids);
        ids.truncate(self.rng.usize(1..4));
        self.deliver(&ids, server)
    }

    fn deliver(&mut self, ids: &[String], server: &Server) -> Delivery {
        let mut delivery = Delivery::default();
        for id in ids {
            let (Some(line), Some(row)) = (self.line(id), self.rows.get(id)) else { continue };
            delivery.versions.push((id.clone(), row.version));
            if let Some(deal) = row.deal {
                server.log().count(Happening::RepeatedId);
                delivery.lines.push(line.clone().in_stage(deal));
            }
            let before = row.before.clone();
            delivery.lines.push(line.clone());
            if self.rng.u32(0..10) == 0 {
                server.log().count(Happening::RepeatedRow);
                delivery.lines.push(line);
            }
            if let Some(before) = before.filter(|_| self.is_versioned && self.rng.u32(0..10) == 0) {
                server.log().count(Happening::StaleRow);
                let at = self.rng.usize(0..=delivery.lines.len());
                delivery.lines.insert(at, before);
            }
        }
        delivery
    }

    /// The persons that a row names.
    pub(super) fn chats(&self) -> Vec<ChatId> {
        self.persons.iter().map(|person| person.chat.clone()).collect()
    }

    /// The ids of each person: the phone and the privacy id.
    pub(super) fn ids_of_all(&self) -> Vec<(ChatId, ChatId)> {
        self.persons.iter().map(|person| (person.chat.clone(), person.lid.clone())).collect()
    }

    /// The ids of rows and persons, any of which may be kept out of the ledger.
    pub(super) fn ids_to_refuse(&self) -> Vec<String> {
        let persons = self.persons.iter().flat_map(|person| [&person.chat, &person.lid]).map(ToString::to_string);
        self.ids().into_iter().chain(persons).collect()
    }

    /// Whether a row is there and has no name that can be used.
    pub(super) fn is_blank(&self, id: &str) -> bool {
        self.rows.get(id).is_some_and(|row| row.first.trim().is_empty())
    }

    /// What must hold once everything has settled, where these ids are kept out of the ledger.
    pub(super) fn expected(&self, refused: &BTreeSet<String>) -> Expected {
        let is_refused = |id: &str, row: &Row| {
            let person = &self.persons[row.person];
            let chat = if row.is_by_lid { &person.lid } else { &person.chat };
            let is_known = !row.is_by_lid || person.is_mapped;
            let is_of_forgotten = is_known && refused.contains(person.chat.as_str());
            refused.contains(id) || refused.contains(chat.as_str()) || is_of_forgotten
        };
        let (out, rows): (BTreeMap<_, _>, BTreeMap<_, _>) = self.rows.iter().partition(|(id, row)| is_refused(id, row));
        let rows: Vec<&Row> = rows.into_values().collect();
        let unsure = out.values().flat_map(|row| &row.named).map(|person| self.persons[*person].chat.clone()).collect();
        let (wanted, wanted_apart) = (self.wanted(&rows), self.wanted_apart(&rows));
        Expected { wanted, wanted_apart, unknown: self.unknown(&rows), unsure }
    }

    /// What each person should be called.
    fn wanted(&self, rows: &[&Row]) -> BTreeMap<ChatId, Wanted> {
        let wanted = |(n, person): (usize, &Person)| (person.chat.clone(), self.want(&self.claims(rows, n)));
        self.persons.iter().enumerate().map(wanted).collect()
    }

    /// What persons should be called whose privacy id is an entry by itself: its rows want nothing, or compete, so nobody has a reason
    /// to ask for the phone behind it.
    fn wanted_apart(&self, rows: &[&Row]) -> BTreeMap<ChatId, Wanted> {
        let mut wanted = BTreeMap::new();
        for (n, person) in self.persons.iter().enumerate() {
            let (by_lid, by_phone): (Vec<_>, Vec<_>) = self.claims(rows, n).into_iter().partition(|row| row.is_by_lid);
            if !by_lid.is_empty() && !matches!(self.want(&by_lid), Wanted::Name(_)) {
                wanted.insert(person.chat.clone(), self.want(&by_phone));
            }
        }
        wanted
    }

    /// The rows that claim a person.
    fn claims<'r>(&self, rows: &[&'r Row], person: usize) -> Vec<&'r Row> {
        rows.iter().copied().filter(|row| row.person == person && !self.is_unknown(row)).collect()
    }

    fn want(&self, rows: &[&Row]) -> Wanted {
        match rows {
            [row] => {
                let rendered = self.naming.render(&row.first, "", Some(row.stage));
                rendered.map_or(Wanted::Nothing, |it| Wanted::Name(it.name))
            }
            [] => Wanted::Nothing,
            _ => Wanted::Competing,
        }
    }

    fn unknown(&self, rows: &[&Row]) -> BTreeSet<ChatId> {
        let rows = rows.iter().filter(|row| self.is_unknown(row));
        rows.map(|row| self.persons[row.person].lid.clone()).collect()
    }

    fn is_unknown(&self, row: &Row) -> bool {
        row.is_by_lid && !self.persons[row.person].is_mapped
    }
}
