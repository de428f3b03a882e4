//! What a contact is called: the CRM's name, cleaned, with the tag of its stage.
//!
//! A tag is data, not text surgery: [`Naming::render`] makes `Bob [Lead]` of a name and a stage, and [`Naming::parse`] recognises exactly
//! what `render` makes, for the configured tags. Brackets that people typed themselves (`Bob [Uncle]`) are part of the name.
//!
//! # Laws
//!
//! - Rendering a rendered name with the same stage changes nothing: nobody becomes `Bob [Lead] [Lead]`.
//! - Rendering it with another stage replaces the tag; with none, it gives the base back. (What a limit cut off stays lost.)
//! - `parse` gives back the base and the tag that `render` reports.
//! - What comes out is NFC, without control characters, bidirectional controls and needless zero-width characters.
//!
//! - No name is longer than its sense: of each field at most 1 KiB (and room for our own tag) is read, cut at a character boundary before
//!   anything else is done, and a base has at most 1 KiB. So a hostile field costs no more than a long one.
//!
//! A name of which nothing is left, be it blank, invisible or only a tag, is refused: an address book must not show an empty name.
//!
//! ```
//! use wawp_contacts::naming::{Funnel, Naming};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let naming = Naming::new("Lead, Customer, Evangelist=VIP".parse()?);
//!
//! let lead = naming.render(" Bob", "Smith", Some("lead"))?;
//! assert_eq!((lead.name.first(), lead.name.last()), ("Bob", Some("Smith [Lead]")));
//!
//! let again = naming.render(lead.name.first(), lead.name.last().unwrap_or_default(), Some("Evangelist"))?;
//! assert_eq!(again.name.full(), "Bob Smith [VIP]");
//!
//! let parsed = naming.parse("Bob [Uncle] [VIP]");
//! assert_eq!((parsed.base.as_str(), parsed.tag.as_deref()), ("Bob [Uncle]", Some("VIP")));
//! # Ok(())
//! # }
//! ```

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    contact::{ContactName, NameError},
    error::cut,
};

mod clean;
mod funnel;
mod parts;
mod template;
#[cfg(test)]
mod tests;

use self::parts::{Affix, Cut, Parts};
pub use self::{
    clean::clean,
    funnel::{Funnel, FunnelError},
    template::{Template, TemplateError},
};

/// The rules by which contacts are named: a funnel, a template, a placement and a limit.
///
/// Cheap to use, not to make: make one and keep it.
#[derive(Debug, Clone)]
pub struct Naming {
    funnel: Funnel,
    template: Template,
    placement: Placement,
    limit: usize,
    /// One for each tag of the funnel.
    affixes: Vec<Affix>,
    /// The most that is read of one field, in bytes: a base as long as one can be, and the longest of our tags around it.
    field: usize,
    fingerprint: u32,
}

/// Where the text of the template goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Placement {
    /// What follows the base ends the last name, or becomes the last name if there is none; what precedes it begins the first name.
    #[default]
    LastName,
    /// The whole name goes into the first name, and there is no last name: for address books that show only the first.
    FirstName,
}

/// A name made by [`Naming::render`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rendered {
    /// The name to show, tag and all.
    pub name: ContactName,
    /// The name without the tag: clean, and within the limit.
    pub base: ContactName,
    /// The tag, without the template around it.
    pub tag: Option<Box<str>>,
    /// Whether the limit, or the cap on a field, cut something off: worth a line in a report.
    pub shortened: bool,
}

/// What [`Naming::parse`] found in a full name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Parsed {
    /// The name without our tags, cleaned; empty if there was nothing else.
    pub base: String,
    /// The outermost of our tags, without the template around it.
    pub tag: Option<Box<str>>,
}

/// Two tags of the funnel look alike in a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the template cannot tell the tag {one:?} from {other:?}; choose another template or rename a tag")]
#[non_exhaustive]
pub struct AmbiguousTags {
    /// A tag.
    pub one: Box<str>,
    /// A tag that a name with the first tag may seem to have.
    pub other: Box<str>,
}

impl Naming {
    /// Grows whenever the same rules make other names of the same rows.
    const CODE: u32 = 2;

    /// The limit unless told otherwise, in grapheme clusters of the full name.
    ///
    /// No limit is published. A peer's service caps saved names at 255 bytes, which 60 characters of four bytes just keep; and a list of
    /// chats shows no more than half of it.
    pub const DEFAULT_LIMIT: usize = 60;

    /// Names contacts by a funnel, as `{base} [{tag}]`, with the tag at the end of the last name.
    #[must_use]
    pub fn new(funnel: Funnel) -> Self {
        let (template, placement, limit) = (Template::default(), Placement::default(), Self::DEFAULT_LIMIT);
        Self { funnel, template, placement, limit, affixes: Vec::new(), field: 0, fingerprint: 0 }.settled()
    }

    /// Sets the template.
    ///
    /// # Errors
    ///
    /// Fails if two tags look alike in it: in `{base} - {tag}`, `Ann - Hot - Lead` may have the tag `Lead` or `Hot - Lead`.
    pub fn template(mut self, template: Template) -> Result<Self, AmbiguousTags> {
        self.template = template;
        let naming = self.settled();
        match naming.alike() {
            Some((one, other)) => Err(AmbiguousTags { one: one.tag.clone(), other: other.tag.clone() }),
            None => Ok(naming),
        }
    }

    /// Sets where the tag goes.
    #[must_use]
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self.settled()
    }

    /// Sets the limit of the full name, in grapheme clusters (what a reader takes for one character).
    ///
    /// The limit shortens the base and keeps the tag. It is soft: at least one cluster of the base stays, however long the tag.
    #[must_use]
    pub fn limit(mut self, clusters: usize) -> Self {
        self.limit = clusters;
        self.settled()
    }

    /// Makes the name of a contact from the CRM's first name, last name and stage.
    ///
    /// Both names may be blank, dirty, or tagged already; a stage without a tag, or none, leaves the base alone. A tag counts as ours at
    /// the end of the full name (or at its start, if the template puts it there), and likewise in each of the two fields.
    ///
    /// # Errors
    ///
    /// [`NameError::Blank`] if nothing is left of the base, for instance because it was only a tag.
    pub fn render(&self, first: &str, last: &str, stage: Option<&str>) -> Result<Rendered, NameError> {
        let stage = stage.map(clean).filter(|stage| !stage.is_empty());
        let listed = stage.and_then(|stage| self.funnel.find(&stage));
        self.dress(first, last, listed.and_then(|stage| stage.tag.as_deref()))
    }

    /// Makes the name of a contact from a name that a person saved, and a tag of the funnel: the tag takes the place of one that the
    /// name has. A tag that is not in the funnel is left out.
    ///
    /// # Errors
    ///
    /// [`NameError::Blank`] if nothing is left of the base.
    pub fn retag(&self, full: &str, tag: Option<&str>) -> Result<Rendered, NameError> {
        self.dress(full, "", tag)
    }

    fn dress(&self, first: &str, last: &str, tag: Option<&str>) -> Result<Rendered, NameError> {
        let affix = tag.and_then(|tag| self.affixes.iter().find(|affix| &*affix.tag == tag));
        let (head, tail) = (cut(first, self.field), cut(last, self.field));
        let (base, is_cut) = self.base(Parts::clean(head, tail), affix.map_or(0, |affix| affix.width));
        if base.first.is_empty() {
            return Err(NameError::Blank);
        }
        Ok(Rendered {
            name: self.lay_out(&base, affix)?,
            base: ContactName::from_clean(&base.first, &base.last)?,
            tag: affix.map(|affix| affix.tag.clone()),
            shortened: is_cut || head.len() < first.trim_end().len() || tail.len() < last.trim_end().len(),
        })
    }

    /// Whether a stage is listed in the funnel, with a tag or without one. One that is not is most likely a slip of the pen on either
    /// side; a blank one is none at all, so there is nothing to list.
    #[must_use]
    pub fn knows_stage(&self, stage: &str) -> bool {
        let stage = clean(stage);
        stage.is_empty() || self.funnel.find(&stage).is_some()
    }

    /// Parts a full name, as an address book shows it, into its base and our tag.
    ///
    /// Only the tags of the funnel are recognised, spelled and placed as [`render`](Self::render) does.
    #[must_use]
    pub fn parse(&self, full: &str) -> Parsed {
        let mut parts = Parts::clean(cut(full, self.field), "");
        let mut outermost = None;
        while let Some((affix, cut)) = self.find(&parts) {
            outermost.get_or_insert(affix);
            parts = parts.cut(cut);
        }
        Parsed { base: parts.first.into_owned(), tag: outermost.map(|affix| affix.tag.clone()) }
    }

    /// A stable mark of these rules: it almost always differs if they would name anybody differently.
    ///
    /// Neither the order of the stages nor the release of the compiler matters.
    #[must_use]
    pub fn fingerprint(&self) -> u32 {
        self.fingerprint
    }

    fn settled(mut self) -> Self {
        let mut tags: Vec<&str> = self.funnel.stages().filter_map(|(_, tag)| tag).collect();
        tags.sort_unstable();
        tags.dedup();
        self.affixes = tags.into_iter().map(|tag| Affix::new(&self.template, tag)).collect();
        self.field = Parts::LONGEST + self.affixes.iter().map(Affix::len).max().unwrap_or_default();
        self.fingerprint = self.compute_fingerprint();
        self
    }

    fn compute_fingerprint(&self) -> u32 {
        let mut stages: Vec<(String, &str)> =
            self.funnel.stages().filter_map(|(name, tag)| Some((funnel::upper(name).collect(), tag?))).collect();
        stages.sort_unstable();
        let placement = match self.placement {
            Placement::LastName => "last",
            Placement::FirstName => "first",
        };
        let rules = format!("{} {placement} {}\0{}", Self::CODE, self.limit, self.template);
        let mut hash = Sha256::new();
        hash.update(rules);
        for (name, tag) in stages {
            hash.update(["\0", &name, "\0", tag].concat());
        }
        let digest = hash.finalize();
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
    }

    fn alike(&self) -> Option<(&Affix, &Affix)> {
        let mut pairs = self.affixes.iter().flat_map(|one| self.affixes.iter().map(move |other| (one, other)));
        pairs.find(|(one, other)| one.is_part_of(other))
    }

    /// Finds the outermost tag, and what is left without it. What `render` made is a full name, so the fields come second: in `<Lead>= Smith=` of the template
    /// `<{tag}>{base}=`, the first name is `=` and not only a tag.
    fn find(&self, parts: &Parts<'_>) -> Option<(&Affix, Cut)> {
        let full = self.affixes.iter().find_map(|affix| Some((affix, affix.find_full(parts)?)));
        full.or_else(|| self.affixes.iter().find_map(|affix| Some((affix, affix.find_field(parts)?))))
    }

    /// The name without our tags, short enough to leave room for one of `width` clusters; and whether it had to be cut for that.
    fn base<'a>(&self, mut parts: Parts<'a>, width: usize) -> (Parts<'a>, bool) {
        let room = self.limit.saturating_sub(width).max(1);
        let mut is_cut = false;
        loop {
            while let Some((_, cut)) = self.find(&parts) {
                parts = parts.cut(cut);
            }
            // What is cut may end in a tag that stood in the middle before.
            match parts.shorten(room) {
                Some(cut) => (parts, is_cut) = (parts.cut(cut), true),
                None => return (parts, is_cut),
            }
        }
    }

    fn lay_out(&self, base: &Parts<'_>, affix: Option<&Affix>) -> Result<ContactName, NameError> {
        let (before, after) = affix.map_or(("", ""), |affix| (&*affix.before, &*affix.after));
        if self.placement == Placement::FirstName {
            return ContactName::from_clean(&[before, &base.full(), after].concat(), "");
        }
        let (glued, last) = match after.strip_prefix(' ') {
            _ if !base.last.is_empty() => ("", Cow::Owned([&*base.last, after].concat())),
            Some(last) => ("", Cow::Borrowed(last)),
            None => (after, Cow::Borrowed("")),
        };
        ContactName::from_clean(&[before, &*base.first, glued].concat(), &last)
    }
}
