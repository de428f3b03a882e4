//! What stops a run before its first call.

use std::fmt;

use serde::Serialize;

/// How much a run may do before a person has to say so.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use = "brakes hold nothing until they are given to a sync"]
pub struct Brakes {
    max_renamed_share: f64,
    free_renames: u64,
    min_found_share: f64,
    allow_blanked: bool,
}

impl Default for Brakes {
    fn default() -> Self {
        Self { max_renamed_share: 0.3, free_renames: 20, min_found_share: 0.5, allow_blanked: false }
    }
}

impl Brakes {
    /// No brakes: a person has seen the plan and wants it.
    pub fn released() -> Self {
        Self { max_renamed_share: 1.0, free_renames: u64::MAX, min_found_share: 0.0, allow_blanked: true }
    }

    /// Sets the largest share of the known contacts that a run may rename, from 0 to 1, and how many renames are always allowed,
    /// however few contacts are known; 0.3 and 20 by default.
    pub fn renames(mut self, max_share: f64, always: u64) -> Self {
        (self.max_renamed_share, self.free_renames) = (max_share, always);
        self
    }

    /// Sets the smallest share, from 0 to 1, of the known contacts that the address book must still show when it is read as a
    /// whole; 0.5 by default.
    pub fn min_found_share(mut self, share: f64) -> Self {
        self.min_found_share = share;
        self
    }

    /// Sets whether a run goes on although known contacts have lost their name in the CRM (they keep the one they have); no by
    /// default.
    pub fn allow_blanked(mut self, allow: bool) -> Self {
        self.allow_blanked = allow;
        self
    }

    /// Weighs a run that has called nothing yet.
    pub(super) fn weigh(&self, load: &Load) -> Option<Brake> {
        let Load { renamed, known, blanked, sent, found } = *load;
        if blanked > 0 && !self.allow_blanked {
            return Some(Brake::Blanked { blanked });
        }
        if let Some(found) = found.filter(|found| share(*found, sent) < self.min_found_share) {
            return Some(Brake::RemoteEmpty { found, sent });
        }
        let is_many = renamed > self.free_renames && share(renamed, known) > self.max_renamed_share;
        is_many.then_some(Brake::ManyRenames { renamed, known })
    }
}

/// What a run is about to do.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    /// Contacts to be renamed, of so many known ones.
    pub(super) renamed: u64,
    pub(super) known: u64,
    /// Known contacts whose name the CRM now leaves empty.
    pub(super) blanked: u64,
    /// Contacts that we named, and how many of them the address book still shows, if it was read as a whole.
    pub(super) sent: u64,
    pub(super) found: Option<u64>,
}

#[expect(clippy::cast_precision_loss, reason = "a share of contacts needs no 53 bits")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// Why a run was stopped before its first call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "brake", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Brake {
    /// It would rename a large share of the known contacts.
    ManyRenames {
        /// Contacts that would be renamed.
        renamed: u64,
        /// Contacts known to have a name.
        known: u64,
    },
    /// Known contacts have lost their name in the CRM: the export may lack a column.
    Blanked {
        /// How many.
        blanked: u64,
    },
    /// The address book suddenly shows few of the contacts that we named: it may be another account's, or still loading.
    RemoteEmpty {
        /// Contacts that it shows.
        found: u64,
        /// Contacts that we named.
        sent: u64,
    },
}

impl fmt::Display for Brake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ManyRenames { renamed, known } => write!(f, "{renamed} of {known} known contacts would be renamed"),
            Self::Blanked { blanked } => {
                write!(f, "{blanked} known contacts have lost their name in the CRM; does the export lack a column?")
            }
            Self::RemoteEmpty { found, sent } => {
                write!(
                    f,
                    "the address book shows {found} of the {sent} contacts that were named; is it the right account?"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renames(renamed: u64, known: u64) -> Load {
        Load { renamed, known, ..Load::default() }
    }

    #[test]
    fn p12_a_large_share_of_renames_brakes_and_a_small_one_does_not() {
        let brakes = Brakes::default();
        assert_eq!(brakes.weigh(&renames(31, 100)), Some(Brake::ManyRenames { renamed: 31, known: 100 }));
        assert_eq!(brakes.weigh(&renames(30, 100)), None);
        assert_eq!(brakes.weigh(&renames(20, 20)), None, "a small book may change as a whole");
        assert_eq!(Brakes::released().weigh(&renames(100, 100)), None);
    }

    #[test]
    fn p12_one_blanked_name_brakes() {
        let load = Load { blanked: 1, known: 1_000, ..Load::default() };
        assert_eq!(Brakes::default().weigh(&load), Some(Brake::Blanked { blanked: 1 }));
        assert_eq!(Brakes::released().weigh(&load), None);
    }

    #[test]
    fn p12_an_address_book_that_suddenly_looks_empty_brakes() {
        let load = Load { sent: 100, found: Some(49), ..Load::default() };
        assert_eq!(Brakes::default().weigh(&load), Some(Brake::RemoteEmpty { found: 49, sent: 100 }));
        assert_eq!(Brakes::default().weigh(&Load { found: Some(50), ..load }), None);
        assert_eq!(Brakes::default().weigh(&Load { found: None, ..load }), None, "nobody looked");
        assert_eq!(
            Brakes::default().weigh(&Load { sent: 0, found: Some(0), ..load }),
            None,
            "a first run finds nothing"
        );
        assert_eq!(Brakes::released().weigh(&load), None);
    }
}
