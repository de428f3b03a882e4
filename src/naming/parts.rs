use std::{borrow::Cow, ops::Range};

use unicode_segmentation::UnicodeSegmentation;

use super::{
    Template,
    clean::{clean, clean_start},
};
use crate::error::cut;

/// A clean first name and last name; only if both are blank is the first.
#[derive(Debug, Clone)]
pub(super) struct Parts<'a> {
    pub(super) first: Cow<'a, str>,
    pub(super) last: Cow<'a, str>,
}

impl<'a> Parts<'a> {
    /// The most that is kept of a full name, in bytes.
    pub(super) const LONGEST: usize = 1024;

    pub(super) fn clean(first: &'a str, last: &'a str) -> Self {
        Self::new(clean(first), clean(last))
    }

    fn new(first: Cow<'a, str>, last: Cow<'a, str>) -> Self {
        if first.is_empty() { Self { first: last, last: first } } else { Self { first, last } }
    }

    pub(super) fn full(&self) -> Cow<'_, str> {
        if self.last.is_empty() {
            Cow::Borrowed(&self.first)
        } else {
            Cow::Owned([&*self.first, " ", &*self.last].concat())
        }
    }

    /// The length of the full name.
    fn len(&self) -> usize {
        self.first.len() + if self.last.is_empty() { 0 } else { 1 + self.last.len() }
    }

    /// Whether the full name starts so; it is not joined to find out, and neither is it for the end.
    fn starts_with(&self, start: &str) -> bool {
        if start.len() <= self.first.len() {
            return self.first.starts_with(start);
        }
        let rest = start.strip_prefix(&*self.first).and_then(|rest| rest.strip_prefix(' '));
        rest.is_some_and(|rest| self.last.starts_with(rest))
    }

    fn ends_with(&self, end: &str) -> bool {
        if self.last.is_empty() {
            return self.first.ends_with(end);
        }
        if end.len() <= self.last.len() {
            return self.last.ends_with(end);
        }
        let rest = end.strip_suffix(&*self.last).and_then(|rest| rest.strip_suffix(' '));
        rest.is_some_and(|rest| self.first.ends_with(rest))
    }

    /// What is left of the name.
    pub(super) fn cut(self, what: Cut) -> Self {
        match what {
            Cut::Full(range) => self.slice(&range),
            Cut::First(range) => Self::new(piece(self.first, range), self.last),
            Cut::Last(range) => Self::new(self.first, piece(self.last, range)),
        }
    }

    /// The parts of a range of the full name.
    fn slice(self, range: &Range<usize>) -> Self {
        let (seam, end) = (self.first.len(), self.last.len());
        let behind = |at: usize| at.saturating_sub(seam + 1).min(end);
        let first = piece(self.first, range.start.min(seam)..range.end.min(seam));
        Self::new(first, piece(self.last, behind(range.start)..behind(range.end)))
    }

    /// The longest start that has at most `room` grapheme clusters and [`LONGEST`](Self::LONGEST) bytes; `None` if that is all.
    pub(super) fn shorten(&self, room: usize) -> Option<Cut> {
        // A cluster has at least one character, and a character at least one byte.
        let is_short =
            |room: usize| self.len() <= room || self.first.chars().count() + 1 + self.last.chars().count() <= room;
        if self.len() <= Self::LONGEST && is_short(room) {
            return None;
        }
        let full = self.full();
        let starts = full.grapheme_indices(true).map(|(at, _)| at).chain([full.len()]);
        let end = starts.take_while(|at| *at <= Self::LONGEST).take(room.saturating_add(1)).last().unwrap_or_default();
        // A first cluster that is too long is no character that anybody reads.
        let end = if end == 0 { cut(&full, Self::LONGEST).len() } else { end };
        (end < full.len()).then_some(Cut::Full(0..end))
    }
}

/// A piece of a clean text, clean again.
fn piece(text: Cow<'_, str>, range: Range<usize>) -> Cow<'_, str> {
    let at_start = range.start == 0;
    match text {
        Cow::Borrowed(text) if at_start => clean_start(&text[range]).into(),
        Cow::Borrowed(text) => clean(&text[range]),
        Cow::Owned(mut text) if at_start => {
            text.truncate(clean_start(&text[range]).len());
            text.into()
        }
        Cow::Owned(text) => clean(&text[range]).into_owned().into(),
    }
}

/// What to keep: a range of the full name, of the first name or of the last name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cut {
    Full(Range<usize>),
    First(Range<usize>),
    Last(Range<usize>),
}

/// A tag as the template writes it: what stands in front of the base, and what behind.
#[derive(Debug, Clone)]
pub(super) struct Affix {
    pub(super) tag: Box<str>,
    pub(super) before: Box<str>,
    pub(super) after: Box<str>,
    /// The tag around no base at all.
    bare: Box<str>,
    /// In grapheme clusters.
    pub(super) width: usize,
}

impl Affix {
    pub(super) fn new(template: &Template, tag: &str) -> Self {
        let (before, after) = template.around(tag);
        let both = [&*before, &*after].concat();
        Self {
            tag: tag.into(),
            before: before.into(),
            after: after.into(),
            bare: clean(&both).into(),
            width: both.graphemes(true).count(),
        }
    }

    /// In bytes.
    pub(super) fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// Finds the tag around the full name.
    pub(super) fn find_full(&self, parts: &Parts<'_>) -> Option<Cut> {
        let length = parts.len();
        if length == self.bare.len() && parts.starts_with(&self.bare) {
            return Some(Cut::Full(0..0));
        }
        let is_there = length >= self.len() && parts.ends_with(&self.after) && parts.starts_with(&self.before);
        is_there.then(|| Cut::Full(self.before.len()..length - self.after.len()))
    }

    /// Finds the tag around the first or the last name.
    pub(super) fn find_field(&self, parts: &Parts<'_>) -> Option<Cut> {
        self.base_of(&parts.first).map(Cut::First).or_else(|| self.base_of(&parts.last).map(Cut::Last))
    }

    fn base_of(&self, text: &str) -> Option<Range<usize>> {
        if text == &*self.bare {
            return Some(0..0);
        }
        let base = text.strip_suffix(&*self.after)?.strip_prefix(&*self.before)?;
        Some(self.before.len()..self.before.len() + base.len())
    }

    /// Whether a name tagged with `other` may as well be one tagged with this.
    pub(super) fn is_part_of(&self, other: &Self) -> bool {
        self.tag != other.tag && other.before.starts_with(&*self.before) && other.after.ends_with(&*self.after)
    }
}
