use super::Trial;
use crate::{
    ChatId, ContactName, ErrorKind,
    crm::{CrmContact, RowDigest},
    ledger::{Incoming, Write},
    record::{
        Cause, Claim, Flips, Held, Hold, InDoubt, LastFailure, Overwritten, Park, Pushed, Record, Seen, Sent, Status,
        Wish,
    },
    time::Timestamp,
};

const WORDS: [&str; 14] = [
    "Ada",
    "Grace",
    "O'Brien; DROP TABLE contact",
    "ليلى",
    "李小龙",
    "👩‍👩‍👧‍👦",
    "[Lead]",
    "a\u{301}e",
    "\\ \" ' % _ ?1 $1 {}",
    "null",
    "0",
    "\u{feff}\u{202e}\u{2028}\u{fffd}\u{10ffff}\u{e000}",
    "\u{1d573}\u{338}\u{1f1e6}\u{200d}",
    "A rather long name that goes on for longer than most screens are wide, as some people's names do",
];

const TIMES: [u64; 9] = [
    0,
    1,
    1_000,
    1_700_000_000_000,
    1_700_000_000_001,
    253_402_300_800_000,
    i64::MAX.cast_unsigned(),
    i64::MAX.cast_unsigned() + 1,
    u64::MAX,
];

/// Makes arbitrary values out of small pools, so that equal ones meet often. The same seed makes the same ones.
pub(super) struct Dice(fastrand::Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    pub(super) fn one_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }

    pub(super) fn shuffle<T>(&mut self, values: &mut [T]) {
        self.0.shuffle(values);
    }

    /// One of some people, by phone or by privacy id.
    pub(super) fn chat(&mut self, people: usize) -> Trial<ChatId> {
        let number = self.below(people);
        let server = if self.one_in(4) { "lid" } else { "c.us" };
        Ok(format!("1555{number:07}@{server}").parse()?)
    }

    /// So many different chats, in no order.
    pub(super) fn chats(&mut self, count: usize) -> Trial<Vec<ChatId>> {
        let mut chats: Vec<ChatId> = Vec::new();
        while chats.len() < count {
            let chat = self.chat(4 * count)?;
            if !chats.contains(&chat) {
                chats.push(chat);
            }
        }
        Ok(chats)
    }

    /// Records of different people, each with claims of its own and no aliases.
    pub(super) fn records(&mut self, count: usize) -> Trial<Vec<Record>> {
        let chats = self.chats(count)?;
        let record = |(number, chat)| {
            let mut record = Record::new(chat);
            self.change(&mut record)?;
            let claims = 0..record.claims.len();
            record.claims = claims.map(|claim| self.claim(&format!("{number}-{claim}"))).collect::<Trial<_>>()?;
            record.aliases.clear();
            Ok(record)
        };
        chats.into_iter().enumerate().map(record).collect()
    }

    /// Changes a record as a sync might, and as it might not.
    pub(super) fn change(&mut self, record: &mut Record) -> Trial {
        if self.one_in(2) {
            record.claims = self.claims()?;
        }
        if self.one_in(4) {
            record.aliases = self.aliases()?;
        }
        record.pushed = self.pushed()?;
        record.seen = self.seen();
        record.status = self.status();
        record.held = self.one_in(3).then(|| Held { since: self.time() });
        Ok(())
    }

    /// Changes a record without taking a claim from another.
    pub(super) fn change_own(&mut self, record: &mut Record) -> Trial {
        self.change(record)?;
        let owner = format!(" of {}", record.chat);
        for claim in record.claims.iter_mut().filter(|claim| !claim.crm_id.ends_with(&owner)) {
            claim.crm_id = format!("{}{owner}", claim.crm_id).into();
        }
        record.claims.sort_by(|one, other| one.crm_id.cmp(&other.crm_id));
        record.claims.dedup_by(|one, other| one.crm_id == other.crm_id);
        Ok(())
    }

    pub(super) fn claims(&mut self) -> Trial<Vec<Claim>> {
        let count = [0, 1, 1, 1, 2, 3][self.below(6)];
        let mut claims = (0..count)
            .map(|_| {
                let crm_id = self.crm_id();
                self.claim(&crm_id)
            })
            .collect::<Trial<Vec<_>>>()?;
        claims.sort_by(|one, other| one.crm_id.cmp(&other.crm_id));
        claims.dedup_by(|one, other| one.crm_id == other.crm_id);
        Ok(claims)
    }

    pub(super) fn claim(&mut self, crm_id: &str) -> Trial<Claim> {
        const CAUSES: [Cause; 4] = [Cause::New, Cause::Name, Cause::Stage, Cause::Rules];
        const VERSIONS: [Option<u64>; 4] = [None, Some(0), Some(7), Some(u64::MAX)];
        let wish = if self.one_in(4) { None } else { Some(self.wish()?) };
        let mut claim = Claim::new(crm_id, VERSIONS[self.below(4)], self.digest(), wish);
        claim.cause = CAUSES[self.below(4)];
        Ok(claim)
    }

    pub(super) fn digest(&mut self) -> RowDigest {
        const BYTES: [u8; 3] = [0, 1, 255];
        RowDigest::from_bytes([BYTES[self.below(3)]; 16])
    }

    /// A row of the CRM, of a few.
    pub(super) fn crm_id(&mut self) -> Box<str> {
        match self.below(12) {
            0 => "".into(),
            1 => WORDS[self.below(WORDS.len())].into(),
            number => format!("crm-{number}").into(),
        }
    }

    pub(super) fn row(&mut self) -> Trial<Incoming> {
        let contact = CrmContact::new(self.crm_id(), self.chat(12)?);
        Ok(Incoming { contact, digest: self.digest() })
    }

    fn aliases(&mut self) -> Trial<Vec<ChatId>> {
        let count = self.below(3);
        let mut aliases = (0..count).map(|_| self.chat(12)).collect::<Trial<Vec<_>>>()?;
        aliases.sort();
        aliases.dedup();
        Ok(aliases)
    }

    /// Changes a record and what goes with it.
    pub(super) fn write(&mut self, mut record: Record) -> Trial<Write> {
        let before = record.clone();
        self.change(&mut record)?;
        let overwritten = if self.one_in(4) { vec![self.overwritten(&record.chat)?] } else { Vec::new() };
        let gone = before.claims.iter().filter(|claim| record.claim(&claim.crm_id).is_none());
        let mut unclaimed: Vec<_> = gone.map(|claim| claim.crm_id.clone()).collect();
        if self.one_in(6) {
            unclaimed.push(self.crm_id());
        }
        Ok(Write { overwritten, unclaimed, ..record.into() })
    }

    pub(super) fn overwritten(&mut self, chat: &ChatId) -> Trial<Overwritten> {
        Ok(Overwritten { chat: chat.clone(), text: self.text(), by: self.wish()?, run: self.number(), at: self.time() })
    }

    pub(super) fn times() -> [Timestamp; 9] {
        TIMES.map(Timestamp)
    }

    fn time(&mut self) -> Timestamp {
        Timestamp(TIMES[self.below(TIMES.len())])
    }

    fn number(&mut self) -> u64 {
        if self.one_in(5) { u64::MAX } else { 3 }
    }

    pub(super) fn status(&mut self) -> Status {
        match self.below(6) {
            0 | 1 => Status::InSync,
            2 => Status::Held { reason: Hold::NoPhone, since: self.time() },
            3 => Status::Parked { reason: if self.one_in(2) { Park::Refused } else { Park::Competing } },
            _ => Status::Due { at: self.time() },
        }
    }

    fn wish(&mut self) -> Trial<Wish> {
        let rules = if self.one_in(5) { u32::MAX } else { 1 };
        Ok(Wish { name: self.name()?, base: self.name()?, tag: self.one_in(2).then(|| self.text()), rules })
    }

    fn name(&mut self) -> Trial<ContactName> {
        let first = WORDS[self.below(WORDS.len())];
        let last = if self.one_in(2) { "" } else { WORDS[self.below(WORDS.len())] };
        Ok(ContactName::new(first, last)?)
    }

    fn pushed(&mut self) -> Trial<Pushed> {
        let sent = if self.one_in(2) { None } else { Some(self.sent()?) };
        let in_doubt = if self.one_in(3) { Some(self.in_doubt()?) } else { None };
        let late_until = self.one_in(4).then(|| self.time());
        let failure = if self.one_in(3) { Some(self.failure()?) } else { None };
        let flips = if self.one_in(4) { Some(self.flips()) } else { None };
        let before = if self.one_in(3) { vec![self.text()] } else { Vec::new() };
        Ok(Pushed { sent, in_doubt, late_until, failure, flips, before, calling: self.one_in(4).then_some(3) })
    }

    fn sent(&mut self) -> Trial<Sent> {
        let verified_at = self.one_in(2).then(|| self.time());
        Ok(Sent { wish: self.wish()?, run: self.number(), at: self.time(), verified_at })
    }

    fn flips(&mut self) -> Flips {
        Flips { name: self.text(), since: self.time(), times: 7 }
    }

    fn in_doubt(&mut self) -> Trial<InDoubt> {
        let earlier_until = self.one_in(2).then(|| self.time());
        Ok(InDoubt {
            wish: self.wish()?,
            run: self.number(),
            since: self.time(),
            until: self.time(),
            earlier_until,
            earlier_names: vec!["Earlier".into()],
        })
    }

    fn failure(&mut self) -> Trial<LastFailure> {
        Ok(LastFailure {
            wish: self.name()?.fingerprint(),
            unclear: 3,
            deaths: 1,
            attempts: if self.one_in(5) { u32::MAX } else { 3 },
            at: self.time(),
            retry_at: self.one_in(2).then(|| self.time()),
            kind: ErrorKind::ALL[self.below(ErrorKind::ALL.len())],
            message: self.one_in(2).then(|| self.text()),
        })
    }

    fn seen(&mut self) -> Option<Seen> {
        let name = match self.below(3) {
            0 => return None,
            1 => None,
            _ => Some(self.text()),
        };
        Some(Seen::new(name, self.time()))
    }

    /// Any text at all: names seen, ids and tags are other people's and may hold anything but a zero.
    fn text(&mut self) -> Box<str> {
        match self.below(8) {
            0 => "".into(),
            1 => "a\u{1}b\r\n\u{202e}c\u{7f} ".into(),
            2 => WORDS[self.below(WORDS.len())].repeat(60).into(),
            _ => WORDS[self.below(WORDS.len())].into(),
        }
    }
}
