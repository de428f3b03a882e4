use super::Trial;
use crate::{
    ChatId, ContactName, ErrorKind,
    contact::Fingerprint,
    ledger::{Candidate, Cause, Doubt, Overwritten, Pushed, Row, Seen, Sent, Timestamp, Trouble, Wanted},
};

const WORDS: [&str; 12] = [
    "Ada",
    "Grace",
    "O'Brien; DROP TABLE contact",
    "ليلى",
    "李小龙",
    "👩‍👩‍👧‍👦",
    "[Lead]",
    "a\u{301}e",
    "\\ \" ' % _ ?1",
    "null",
    "0",
    "A rather long name that goes on for longer than most screens are wide, as some people's names do",
];

const TIMES: [u64; 7] =
    [0, 1, 1_000, 1_700_000_000_000, 1_700_000_000_001, 253_402_300_800_000, i64::MAX.cast_unsigned()];

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

    pub(super) fn chat(&mut self) -> Trial<ChatId> {
        let number = self.below(60);
        let server = if self.one_in(4) { "lid" } else { "c.us" };
        Ok(format!("1555{number:07}@{server}").parse()?)
    }

    /// Rows that are new, of as many different people as the pool yields.
    pub(super) fn rows(&mut self, tries: usize) -> Trial<Vec<Row>> {
        let mut rows = (0..tries).map(|_| self.row()).collect::<Trial<Vec<_>>>()?;
        rows.sort_by(|one, other| one.chat.cmp(&other.chat));
        rows.dedup_by(|one, other| one.chat == other.chat);
        self.0.shuffle(&mut rows);
        Ok(rows)
    }

    pub(super) fn row(&mut self) -> Trial<Row> {
        let (chat, wanted) = (self.chat()?, self.wanted()?);
        let mut row = Row::from(Candidate { chat, wanted });
        self.change(&mut row)?;
        Ok(row)
    }

    /// Changes a row as a sync might, and as it might not.
    pub(super) fn change(&mut self, row: &mut Row) -> Trial {
        if self.one_in(2) {
            row.wanted = self.wanted()?;
        }
        row.pushed = self.pushed(&row.wanted.name)?;
        row.seen = self.seen(&row.wanted.name);
        Ok(())
    }

    /// Wishes for stored rows and for people who are not there: some the same, some new, some twice.
    pub(super) fn candidates(&mut self, stored: &[Row]) -> Trial<Vec<Candidate>> {
        let candidate = |_| {
            let row = &stored[self.below(stored.len())];
            let chat = if self.one_in(4) { self.chat()? } else { row.chat.clone() };
            let wanted = if self.one_in(3) { self.wanted()? } else { row.wanted.clone() };
            Ok(Candidate { chat, wanted: Wanted { rivals: Box::default(), ..wanted } })
        };
        (0..2 * stored.len()).map(candidate).collect()
    }

    pub(super) fn overwritten(&mut self) -> Trial<Overwritten> {
        Ok(Overwritten { chat: self.chat()?, text: self.text(), by: self.name()?, at: self.time() })
    }

    pub(super) fn time(&mut self) -> Timestamp {
        Timestamp(TIMES[self.below(TIMES.len())])
    }

    pub(super) fn wanted(&mut self) -> Trial<Wanted> {
        const CAUSES: [Cause; 4] = [Cause::New, Cause::Name, Cause::Stage, Cause::Rules];
        const VERSIONS: [Option<u64>; 4] = [None, Some(0), Some(7), Some(u64::MAX)];
        let rivals = if self.one_in(5) { 1 + self.below(3) } else { 0 };
        Ok(Wanted {
            crm_id: self.text(),
            version: VERSIONS[self.below(4)],
            name: self.name()?,
            base: self.name()?,
            tag: self.one_in(2).then(|| self.text()),
            cause: CAUSES[self.below(4)],
            rules: if self.one_in(5) { u32::MAX } else { 1 },
            rivals: (0..rivals).map(|_| self.text()).collect(),
        })
    }

    fn pushed(&mut self, wish: &ContactName) -> Trial<Pushed> {
        let mut pushed = Pushed::default();
        if self.one_in(2) {
            pushed.sent = Some(Sent { name: self.name_like(wish)?, at: self.time() });
        }
        if self.one_in(3) {
            pushed.doubt = Some(Doubt { name: self.name_like(wish)?, until: self.time() });
        }
        if self.one_in(3) {
            pushed.trouble = Some(self.trouble(wish)?);
        }
        Ok(pushed)
    }

    fn trouble(&mut self, wish: &ContactName) -> Trial<Trouble> {
        let foreign = Fingerprint::from_bytes([0; 16]);
        Ok(Trouble {
            wish: if self.one_in(4) { foreign } else { self.name_like(wish)?.fingerprint() },
            attempts: if self.one_in(5) { u32::MAX } else { 3 },
            retry_at: self.one_in(2).then(|| self.time()),
            kind: ErrorKind::ALL[self.below(ErrorKind::ALL.len())],
            message: self.one_in(2).then(|| self.text()),
        })
    }

    fn seen(&mut self, wish: &ContactName) -> Option<Seen> {
        let name = match self.below(4) {
            0 => return None,
            1 => None,
            2 => Some(wish.full().into()),
            _ => Some(self.text()),
        };
        Some(Seen { name, at: self.time() })
    }

    fn name_like(&mut self, wish: &ContactName) -> Trial<ContactName> {
        if self.one_in(3) { self.name() } else { Ok(wish.clone()) }
    }

    fn name(&mut self) -> Trial<ContactName> {
        let first = WORDS[self.below(WORDS.len())];
        let last = if self.one_in(2) { "" } else { WORDS[self.below(WORDS.len())] };
        Ok(ContactName::new(first, last)?)
    }

    /// Any text at all: names seen, ids and tags are other people's and may hold anything.
    fn text(&mut self) -> Box<str> {
        match self.below(8) {
            0 => "".into(),
            1 => "a\0b\n\u{202e}c ".into(),
            2 => WORDS[self.below(WORDS.len())].repeat(200).into(),
            _ => WORDS[self.below(WORDS.len())].into(),
        }
    }
}
