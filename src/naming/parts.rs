use std::{borrow::Cow, ops::Range};

use unicode_segmentation::UnicodeSegmentation;

use super::{Template, clean};

/// A clean first name and last name; only if both are blank is the first.
#[derive(Debug, Clone)]
pub(super) struct Parts<'a> {
    pub(super) first: Cow<'a, str>,
    pub(super) last: Cow<'a, str>,
}

impl<'a> Parts<'a> {
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

    /// The parts of a range of the full name.
    fn slice(&self, range: Range<usize>) -> Parts<'static> {
        let full = self.full();
        let seam = self.first.len().clamp(range.start, range.end);
        Parts::clean(&full[range.start..seam], &full[seam..range.end]).into_owned()
    }

    fn into_owned(self) -> Parts<'static> {
        Parts { first: self.first.into_owned().into(), last: self.last.into_owned().into() }
    }

    /// The longest start that has at most `room` grapheme clusters; `None` if that is all.
    pub(super) fn shorten(&self, room: usize) -> Option<Parts<'static>> {
        // A cluster has at least one byte.
        if self.first.len() + 1 + self.last.len() <= room {
            return None;
        }
        let (end, _) = self.full().grapheme_indices(true).nth(room)?;
        Some(self.slice(0..end))
    }
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

    /// Takes the tag off the full name; `None` if it is not there.
    pub(super) fn peel_full(&self, parts: &Parts<'_>) -> Option<Parts<'static>> {
        if !self.may_enclose(parts) {
            return None;
        }
        let base = self.base_of(&parts.full())?;
        Some(parts.slice(base))
    }

    /// Takes the tag off the first or the last name; `None` if it is not there.
    pub(super) fn peel_field(&self, parts: &Parts<'_>) -> Option<Parts<'static>> {
        if let Some(base) = self.base_of(&parts.first) {
            return Some(Parts::clean(&parts.first[base], &parts.last).into_owned());
        }
        let base = self.base_of(&parts.last)?;
        Some(Parts::clean(&parts.first, &parts.last[base]).into_owned())
    }

    fn base_of(&self, text: &str) -> Option<Range<usize>> {
        if text == &*self.bare {
            return Some(0..0);
        }
        let base = text.strip_prefix(&*self.before)?.strip_suffix(&*self.after)?;
        Some(self.before.len()..self.before.len() + base.len())
    }

    /// Spares nearly all names from being joined: the outermost bytes tell.
    fn may_enclose(&self, parts: &Parts<'_>) -> bool {
        let starts = self.before.is_empty() || self.before.as_bytes().first() == parts.first.as_bytes().first();
        let end = if parts.last.is_empty() { &parts.first } else { &parts.last };
        let ends = self.after.is_empty() || self.after.as_bytes().last() == end.as_bytes().last();
        starts && ends
    }

    /// Whether a name tagged with `other` may as well be one tagged with this.
    pub(super) fn is_part_of(&self, other: &Self) -> bool {
        self.tag != other.tag && other.before.starts_with(&*self.before) && other.after.ends_with(&*self.after)
    }
}
