//! One region's numbering plan, ready to read numbers with.

use std::borrow::Cow;

use phonenumber::{
    Metadata,
    metadata::{DATABASE, Descriptor, Format},
};
use regex::Regex;

use super::{
    super::{ParsePhoneError, Phone},
    Region,
};

/// How the numbers of one region are built.
pub(super) struct Plan {
    calling_code: String,
    abroad: Option<Regex>,
    trunk: Option<Trunk>,
    lengths: Lengths,
    any: Regex,
    mobile: Option<Regex>,
}

/// The prefix of a call inside the country, and what takes its place if not nothing.
struct Trunk {
    pattern: Regex,
    replacement: Option<String>,
}

/// Which lengths a number may have, one bit each: with its area code, and without.
#[derive(Default)]
struct Lengths {
    full: u32,
    local: u32,
}

/// How well digits fit a plan; the better one is greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Number,
    Mobile,
}

impl Plan {
    /// Compiles the plan of a region, or gives `None` if the metadata does not know it.
    pub(super) fn of(alpha2: &str) -> Option<Self> {
        let metadata = DATABASE.by_id(alpha2)?;
        Some(Self {
            calling_code: metadata.country_code().to_string(),
            abroad: metadata.international_prefix().and_then(|pattern| starting(pattern.as_str())),
            trunk: Trunk::of(metadata),
            lengths: Lengths::of(metadata),
            any: whole(metadata.descriptors().general().national_number().as_str())?,
            mobile: metadata.descriptors().mobile().and_then(|mobile| whole(mobile.national_number().as_str())),
        })
    }

    /// Reads the digits of a number as written inside the region.
    pub(super) fn read(&self, digits: &str, name: &'static str) -> Result<Phone, ParsePhoneError> {
        if let Some(international) = self.after_prefix_for_abroad(digits) {
            return format!("+{international}").parse();
        }
        let national = self.without_trunk(digits);
        let coded = digits.strip_prefix(self.calling_code.as_str()).map(|rest| self.without_trunk(rest));
        let coded = coded.filter(|coded| *coded != national);
        let fits = (self.fit(&national), coded.as_deref().and_then(|coded| self.fit(coded)));
        let chosen = match (fits, coded) {
            ((None, None), _) if self.lengths.is_local(&national) => return Err(ParsePhoneError::NoAreaCode(name)),
            ((None, None), _) => return Err(ParsePhoneError::NotInRegion(name)),
            ((plain, other), Some(coded)) if other > plain => coded,
            ((plain, other), _) if plain > other => national,
            _ => return Err(ParsePhoneError::Ambiguous(name)),
        };
        format!("+{}{chosen}", self.calling_code).parse()
    }

    /// What follows the region's own prefix for calls abroad, if that is a number of some region.
    fn after_prefix_for_abroad<'a>(&self, digits: &'a str) -> Option<&'a str> {
        let rest = &digits[self.abroad.as_ref()?.find(digits)?.end()..];
        let mut parts = (1..=3).filter_map(|length| rest.split_at_checked(length));
        parts.any(|(code, national)| is_number_of(code, national)).then_some(rest)
    }

    /// Takes the trunk prefix off, unless that would turn a number into none.
    fn without_trunk<'a>(&self, digits: &'a str) -> Cow<'a, str> {
        let Some(stripped) = self.trunk.as_ref().and_then(|trunk| trunk.strip(digits)) else { return digits.into() };
        let lost = self.any.is_match(digits) && !self.any.is_match(&stripped);
        if lost { digits.into() } else { stripped }
    }

    fn fit(&self, national: &str) -> Option<Fit> {
        if !self.lengths.is_full(national) || !self.any.is_match(national) {
            return None;
        }
        let mobile = self.mobile.as_ref().is_some_and(|mobile| mobile.is_match(national));
        Some(if mobile { Fit::Mobile } else { Fit::Number })
    }
}

impl Trunk {
    fn of(metadata: &Metadata) -> Option<Self> {
        let pattern = match metadata.national_prefix_for_parsing() {
            Some(pattern) => pattern.as_str(),
            None => metadata.national_prefix()?,
        };
        let pattern = starting(pattern)?;
        Some(Self { pattern, replacement: metadata.national_prefix_transform_rule().map(str::to_owned) })
    }

    fn strip<'a>(&self, digits: &'a str) -> Option<Cow<'a, str>> {
        let found = self.pattern.captures(digits)?;
        let rest = &digits[found.get(0)?.end()..];
        let moved = found.len() > 1 && found.get(found.len() - 1).is_some();
        let Some(replacement) = self.replacement.as_ref().filter(|_| moved) else { return Some(rest.into()) };
        let mut number = String::with_capacity(digits.len() + replacement.len());
        found.expand(replacement, &mut number);
        number.push_str(rest);
        Some(number.into())
    }
}

impl Lengths {
    /// Joins the lengths of all kinds of numbers: the metadata has them by kind only.
    fn of(metadata: &Metadata) -> Self {
        let kinds = metadata.descriptors();
        let kinds = [
            kinds.fixed_line(),
            kinds.mobile(),
            kinds.toll_free(),
            kinds.premium_rate(),
            kinds.shared_cost(),
            kinds.personal_number(),
            kinds.voip(),
            kinds.pager(),
            kinds.uan(),
            kinds.voicemail(),
        ];
        kinds.into_iter().flatten().fold(Self::default(), Self::joined)
    }

    fn joined(self, kind: &Descriptor) -> Self {
        let bits = |lengths: &[u16]| {
            lengths.iter().fold(0, |bits, length| bits | 1_u32.checked_shl((*length).into()).unwrap_or(0))
        };
        Self { full: self.full | bits(kind.possible_length()), local: self.local | bits(kind.possible_local_length()) }
    }

    fn has(bits: u32, number: &str) -> bool {
        u32::try_from(number.len()).is_ok_and(|length| bits.checked_shr(length).unwrap_or(0) & 1 == 1)
    }

    fn is_full(&self, number: &str) -> bool {
        Self::has(self.full, number)
    }

    fn is_local(&self, number: &str) -> bool {
        Self::has(self.local, number) && !self.is_full(number)
    }
}

/// The digits of an international number, in the groups in which its country writes it for those who call from abroad.
pub(in super::super) fn grouped(digits: &str) -> Option<String> {
    let mut parts = (1..=3).filter_map(|length| digits.split_at_checked(length));
    let (code, national, regions) =
        parts.find_map(|(code, national)| Some((code, national, DATABASE.by_code(&code.parse::<u16>().ok()?)?)))?;
    let formats = regions.into_iter().flat_map(|region| match region.international_formats() {
        [] => region.formats(),
        abroad => abroad,
    });
    let fits = |format: &&Format| {
        let mut leading = format.leading_digits().iter().rev().take(1);
        leading.all(|leading| leading.find(national).is_some_and(|found| found.start() == 0))
            && format.pattern().find(national).is_some_and(|found| found.range() == (0..national.len()))
    };
    let format = formats.into_iter().find(fits)?;
    Some(format!("+{code} {}", format.pattern().replace(national, format.format())))
}

/// Whether a number fits the plan of any region with this calling code.
fn is_number_of(code: &str, national: &str) -> bool {
    let regions = code.parse().ok().and_then(|code: u16| DATABASE.by_code(&code)).unwrap_or_default();
    let mut plans = regions.into_iter().filter_map(|metadata| metadata.id().parse::<Region>().ok()?.plan());
    !code.starts_with('0') && plans.any(|plan| plan.fit(national).is_some())
}

fn starting(pattern: &str) -> Option<Regex> {
    compile(&format!("^(?:{pattern})"))
}

fn whole(pattern: &str) -> Option<Regex> {
    compile(&format!("^(?:{pattern})$"))
}

/// The metadata's patterns are laid out over several lines.
fn compile(pattern: &str) -> Option<Regex> {
    regex::RegexBuilder::new(pattern).ignore_whitespace(true).unicode(false).build().ok()
}
