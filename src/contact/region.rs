//! National phone formats, read with a region.
//!
//! The numbering plans are libphonenumber's metadata as the crate `phonenumber` carries it. Only its data is used: its
//! parser takes the trunk prefix off twice in some countries (Belarus, Kazakhstan) and checks no length, so the reading is
//! done here, by libphonenumber's published rules, with each region's patterns compiled once.

use std::{
    collections::HashMap,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::{LazyLock, OnceLock},
};

use unicode_normalization::UnicodeNormalization;

use self::plan::Plan;
use super::{
    ParsePhoneError, Phone,
    phone::{is_international, national_digits},
};

pub(super) use self::plan::grouped;

mod plan;

/// A country or territory with its own numbering plan.
///
/// Parsed from what CRMs write: a two or three letter ISO code (`JP`, `JPN`), or a name in English, German, Spanish, French
/// or, for many countries, the country's own language. Case, accents, spaces and punctuation do not matter.
///
/// ```
/// use wawp_contacts::Region;
///
/// let region: Region = "Côte d'Ivoire".parse()?;
/// assert_eq!(region, "ci".parse()?);
/// assert_eq!(region.name(), "Côte d’Ivoire".replace('’', "'"));
/// # Ok::<(), wawp_contacts::ParseRegionError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Region(&'static Entry);

/// One line of the table of names.
struct Entry {
    alpha2: &'static str,
    alpha3: &'static str,
    names: &'static str,
    plan: OnceLock<Option<Plan>>,
}

/// Every region: `JP JPN Japan|Japón|Japon|日本`, the English name first.
static TABLE: LazyLock<Box<[Entry]>> =
    LazyLock::new(|| include_str!("region/names.txt").lines().filter_map(entry).collect());

/// Regions by their folded codes and names.
static BY_NAME: LazyLock<HashMap<String, Region>> = LazyLock::new(|| {
    let texts = |entry: &'static Entry| [entry.alpha2, entry.alpha3].into_iter().chain(entry.names.split('|'));
    TABLE.iter().flat_map(|entry| texts(entry).map(|text| (fold(text), Region(entry)))).collect()
});

fn entry(line: &'static str) -> Option<Entry> {
    let mut parts = line.splitn(3, ' ');
    Some(Entry { alpha2: parts.next()?, alpha3: parts.next()?, names: parts.next()?, plan: OnceLock::new() })
}

/// Drops what does not matter in a name: case, accents, spaces, punctuation.
fn fold(text: &str) -> String {
    text.nfd().filter(|char| char.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

impl Region {
    /// The two letter code: `JP`.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.alpha2
    }

    /// The English name: `Japan`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.names.split('|').next().unwrap_or(self.0.alpha2)
    }

    fn plan(self) -> Option<&'static Plan> {
        self.0.plan.get_or_init(|| Plan::of(self.0.alpha2)).as_ref()
    }
}

impl FromStr for Region {
    type Err = ParseRegionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        BY_NAME.get(&fold(text)).copied().ok_or(ParseRegionError)
    }
}

impl PartialEq for Region {
    fn eq(&self, other: &Self) -> bool {
        self.code() == other.code()
    }
}

impl Eq for Region {}

impl Hash for Region {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.code().hash(state);
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({})", self.code())
    }
}

/// A text names no region that has phone numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown country; give its English name or its two letter code, such as DE")]
#[non_exhaustive]
pub struct ParseRegionError;

impl Phone {
    /// Reads a phone number as people of a region write it: `090-1234-5678` in Japan.
    ///
    /// A number that says itself that it is international (`+81 90..`, `0081 90..`, `tel:+81..`) is parsed as such, whatever
    /// the region. Otherwise trunk prefixes (`0`, `8`, `1`) and the region's own prefix for calls abroad (`011` in the United
    /// States) are understood. The digits are otherwise kept: Italy keeps its zero, a Brazilian number without the ninth digit
    /// stays so. The one change is Argentina's mobile `011 15-..`, which is `54 9 11 ..` by its numbering plan.
    ///
    /// Digits that begin with the country code but lack the `+` are taken as national or international, whichever fits the
    /// numbering plan; if both do, whichever is a mobile number.
    ///
    /// # Errors
    ///
    /// Fails if the text is no number, has an extension, lacks its area code, does not fit the region's numbering plan, or may
    /// as well be read in two ways.
    ///
    /// # Example
    ///
    /// ```
    /// use wawp_contacts::{Phone, Region};
    ///
    /// let japan: Region = "Japan".parse()?;
    /// assert_eq!(Phone::in_region("090-1234-5678", japan)?.as_str(), "819012345678");
    /// assert_eq!(Phone::in_region("+44 7700 900123", japan)?.as_str(), "447700900123");
    /// assert!(Phone::in_region("12345", japan).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn in_region(text: &str, region: Region) -> Result<Self, ParsePhoneError> {
        if is_international(text) {
            return text.parse();
        }
        let misfit = ParsePhoneError::NotInRegion(region.name());
        match (national_digits(text), region.plan()) {
            (Some(digits), Some(plan)) => plan.read(&digits, region.name()),
            // The ordinary parser knows best why a text is no number at all.
            _ => Err(text.parse::<Self>().err().unwrap_or(misfit)),
        }
    }
}

#[cfg(test)]
mod tests;
