//! What stops a run before its first call.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ChatId;

/// How much a run may do before a person has to say so.
///
/// ```
/// use wawp_contacts::sync::Guardrails;
///
/// let careful = Guardrails::default().max_renamed_share(0.05).free_renames(3);
/// let seen_and_wanted = Guardrails::off();
/// # let _ = (careful, seen_and_wanted);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[must_use = "guardrails hold nothing until they are given to a sync"]
pub struct Guardrails {
    max_renamed_share: f64,
    free_renames: u64,
    min_found_share: f64,
    max_missing_share: f64,
    max_unusable_share: f64,
    allow_blanked: bool,
    allow_other_account: bool,
    is_strict: bool,
}

/// So many rows may be missing, stale or unusable whatever their share.
const FREE_ROWS: u64 = 20;

impl Default for Guardrails {
    fn default() -> Self {
        Self {
            max_renamed_share: 0.3,
            free_renames: 20,
            min_found_share: 0.5,
            max_missing_share: 0.3,
            max_unusable_share: 0.5,
            allow_blanked: false,
            allow_other_account: false,
            is_strict: false,
        }
    }
}

impl Guardrails {
    /// No guardrails: a person has seen the plan and wants it.
    pub fn off() -> Self {
        Self {
            max_renamed_share: 1.0,
            free_renames: u64::MAX,
            min_found_share: 0.0,
            max_missing_share: 1.0,
            max_unusable_share: 1.0,
            allow_blanked: true,
            allow_other_account: true,
            is_strict: false,
        }
    }

    /// Sets the largest share of the known contacts that a run may rename, from 0 to 1; 0.3 by default.
    pub fn max_renamed_share(mut self, share: f64) -> Self {
        self.max_renamed_share = share;
        self
    }

    /// Sets how many renames are allowed whatever their share, so that a small book may change as a whole; 20 by default.
    pub fn free_renames(mut self, renames: u64) -> Self {
        self.free_renames = renames;
        self
    }

    /// Sets the smallest share, from 0 to 1, of the known contacts that the address book must still show when it is read as a
    /// whole; 0.5 by default.
    pub fn min_found_share(mut self, share: f64) -> Self {
        self.min_found_share = share;
        self
    }

    /// Sets the largest share, from 0 to 1, of the known rows that a snapshot may lack; 0.3 by default, and 20 rows always.
    pub fn max_missing_share(mut self, share: f64) -> Self {
        self.max_missing_share = share;
        self
    }

    /// Sets the largest share, from 0 to 1, of the rows that may be refused or older than what is known; 0.5 by default, and 20 rows
    /// always.
    pub fn max_unusable_share(mut self, share: f64) -> Self {
        self.max_unusable_share = share;
        self
    }

    /// Sets whether a run goes on although known contacts have lost their name in the CRM (they keep the one they have); no by
    /// default.
    pub fn allow_blanked(mut self, allow: bool) -> Self {
        self.allow_blanked = allow;
        self
    }

    /// Sets whether a run goes on although another account than before is behind the instance; no by default.
    pub fn allow_other_account(mut self, allow: bool) -> Self {
        self.allow_other_account = allow;
        self
    }

    /// The defaults, and nothing is passed over: neither a stage without a tag, nor a name that is shortened, nor a row that is gone.
    pub fn strict() -> Self {
        Self { is_strict: true, ..Self::default() }
    }

    pub(super) fn allows_other_account(&self) -> bool {
        self.allow_other_account
    }

    /// Judges the rows of the CRM, before anything is asked of the address book.
    pub(super) fn judge_rows(&self, rows: &RowImpact) -> Option<Guardrail> {
        let RowImpact { rows: all, refused, stale, claims, missing, blanked, untagged, shortened } = *rows;
        if missing > 0 && self.is_strict {
            return Some(Guardrail::MissingRows { missing, known: claims });
        }
        if untagged > 0 && self.is_strict {
            return Some(Guardrail::Untagged { rows: untagged });
        }
        if shortened > 0 && self.is_strict {
            return Some(Guardrail::Shortened { names: shortened });
        }
        if missing > FREE_ROWS && share(missing, claims) > self.max_missing_share {
            return Some(Guardrail::MissingRows { missing, known: claims });
        }
        if refused > FREE_ROWS && share(refused, all) > self.max_unusable_share {
            return Some(Guardrail::RefusedRows { refused, rows: all });
        }
        if stale > FREE_ROWS && share(stale, all) > self.max_unusable_share {
            return Some(Guardrail::StaleRows { stale, rows: all });
        }
        (blanked > 0 && !self.allow_blanked).then_some(Guardrail::Blanked { blanked })
    }

    /// Judges what is about to be called.
    pub(super) fn judge(&self, impact: &Impact) -> Option<Guardrail> {
        let Impact { renamed, known, found } = *impact;
        if let Some(found) = found.filter(|found| share(*found, known) < self.min_found_share) {
            return Some(Guardrail::RemoteEmpty { found, known });
        }
        let is_many = renamed > self.free_renames && share(renamed, known) > self.max_renamed_share;
        is_many.then_some(Guardrail::ManyRenames { renamed, known })
    }
}

/// What the rows of the CRM amount to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowImpact {
    pub(super) rows: u64,
    pub(super) refused: u64,
    /// Older than what is known.
    pub(super) stale: u64,
    /// Rows known before, and how many of them are missing in a snapshot.
    pub(super) claims: u64,
    pub(super) missing: u64,
    /// Known contacts whose name the CRM now leaves empty.
    pub(super) blanked: u64,
    /// Rows with a stage that no tag is set for, and names that are longer than the limit.
    pub(super) untagged: u64,
    pub(super) shortened: u64,
}

/// What a run is about to do.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Impact {
    /// Contacts to be renamed.
    pub(super) renamed: u64,
    /// Contacts known to have a name before, and how many of them the address book still shows, if it was read as a whole.
    pub(super) known: u64,
    pub(super) found: Option<u64>,
}

#[expect(clippy::cast_precision_loss, reason = "a share of contacts needs no 53 bits")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// Why a run was stopped before its first call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Guardrail {
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
    /// The address book suddenly shows few of the contacts that we named: it may still be loading.
    RemoteEmpty {
        /// Contacts that it shows.
        found: u64,
        /// Contacts known to have a name.
        known: u64,
    },
    /// A snapshot lacks a large share of the rows known so far: it may be some of the CRM only.
    MissingRows {
        /// Rows that it lacks.
        missing: u64,
        /// Rows known so far.
        known: u64,
    },
    /// A large share of the rows cannot be used: a column may be missing or not recognised.
    RefusedRows {
        /// Rows that were refused.
        refused: u64,
        /// Rows in all.
        rows: u64,
    },
    /// A large share of the rows is older than what is known: their versions may count in another unit than before.
    StaleRows {
        /// Rows that are older.
        stale: u64,
        /// Rows in all.
        rows: u64,
    },
    /// Rows have a stage that no tag is set for, and that is not allowed.
    Untagged {
        /// Rows.
        rows: u64,
    },
    /// Names are longer than the limit, and that is not allowed.
    Shortened {
        /// Names.
        names: u64,
    },
    /// Another account is behind the instance than the one whose names the ledger knows.
    OtherAccount {
        /// The account of the ledger.
        known: ChatId,
        /// The account that is there now.
        found: ChatId,
    },
}

impl Guardrail {
    /// The word in reports: `many_renames`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ManyRenames { .. } => "many_renames",
            Self::Blanked { .. } => "blanked",
            Self::RemoteEmpty { .. } => "remote_empty",
            Self::MissingRows { .. } => "missing_rows",
            Self::RefusedRows { .. } => "refused_rows",
            Self::StaleRows { .. } => "stale_rows",
            Self::Untagged { .. } => "untagged",
            Self::Shortened { .. } => "shortened",
            Self::OtherAccount { .. } => "other_account",
        }
    }
}

impl fmt::Display for Guardrail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ManyRenames { renamed, known } => write!(f, "{renamed} of {known} known contacts would be renamed"),
            Self::Blanked { blanked } => {
                write!(f, "{blanked} known contacts have lost their name in the CRM; does the export lack a column?")
            }
            Self::RemoteEmpty { found, known } => {
                write!(
                    f,
                    "the address book shows {found} of the {known} contacts that have a name; is it still loading?"
                )
            }
            Self::MissingRows { missing, known } => {
                write!(f, "{missing} of {known} known rows are missing; is the export only a part of the CRM?")
            }
            Self::RefusedRows { refused, rows } => {
                write!(f, "{refused} of {rows} rows cannot be used; is a column missing or named differently?")
            }
            Self::StaleRows { stale, rows } => {
                write!(f, "{stale} of {rows} rows are older than what is known; do their versions count as before?")
            }
            Self::Untagged { rows } => write!(f, "{rows} rows have a stage that no tag is set for"),
            Self::Shortened { names } => write!(f, "{names} names are longer than the limit"),
            Self::OtherAccount { known, found } => {
                write!(f, "the account behind the instance is {found}, the ledger knows the names of {known}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renames(renamed: u64, known: u64) -> Impact {
        Impact { renamed, known, found: None }
    }

    #[test]
    fn each_setting_holds_and_leaves_the_others_as_they_are() {
        let off = Guardrails::off();
        for (set, expected) in [
            (off.max_renamed_share(0.1), Guardrails { max_renamed_share: 0.1, ..off }),
            (off.free_renames(1), Guardrails { free_renames: 1, ..off }),
            (off.min_found_share(0.1), Guardrails { min_found_share: 0.1, ..off }),
            (off.max_missing_share(0.1), Guardrails { max_missing_share: 0.1, ..off }),
            (off.max_unusable_share(0.1), Guardrails { max_unusable_share: 0.1, ..off }),
            (off.allow_blanked(false), Guardrails { allow_blanked: false, ..off }),
            (off.allow_other_account(false), Guardrails { allow_other_account: false, ..off }),
        ] {
            assert_eq!(set, expected);
        }
    }

    #[test]
    fn p12_a_large_share_of_renames_stops_and_a_small_one_does_not() {
        let guardrails = Guardrails::default();
        assert_eq!(guardrails.judge(&renames(31, 100)), Some(Guardrail::ManyRenames { renamed: 31, known: 100 }));
        assert_eq!(guardrails.judge(&renames(30, 100)), None);
        assert_eq!(guardrails.judge(&renames(20, 20)), None, "a small book may change as a whole");
        assert_eq!(Guardrails::off().judge(&renames(100, 100)), None);
    }

    #[test]
    fn p12_one_blanked_name_stops() {
        let rows = RowImpact { rows: 1_000, blanked: 1, ..RowImpact::default() };
        assert_eq!(Guardrails::default().judge_rows(&rows), Some(Guardrail::Blanked { blanked: 1 }));
        assert_eq!(Guardrails::off().judge_rows(&rows), None);
    }

    #[test]
    fn p12_an_address_book_that_suddenly_looks_empty_stops() {
        let impact = Impact { renamed: 0, known: 100, found: Some(49) };
        let stop = Some(Guardrail::RemoteEmpty { found: 49, known: 100 });
        assert_eq!(Guardrails::default().judge(&impact), stop);
        assert_eq!(Guardrails::default().judge(&Impact { found: Some(50), ..impact }), None);
        assert_eq!(Guardrails::default().judge(&Impact { found: None, ..impact }), None, "nobody looked");
        assert_eq!(Guardrails::default().judge(&Impact { known: 0, found: Some(0), ..impact }), None, "a first run");
        assert_eq!(Guardrails::off().judge(&impact), None);
    }

    #[test]
    fn p12_rows_that_are_missing_refused_or_stale_in_number_stop() {
        let whole = RowImpact { rows: 100, claims: 100, ..RowImpact::default() };
        let cases = [
            (RowImpact { missing: 31, ..whole }, Some(Guardrail::MissingRows { missing: 31, known: 100 })),
            (RowImpact { missing: 30, ..whole }, None),
            (RowImpact { refused: 51, ..whole }, Some(Guardrail::RefusedRows { refused: 51, rows: 100 })),
            (RowImpact { refused: 50, ..whole }, None),
            (RowImpact { stale: 51, ..whole }, Some(Guardrail::StaleRows { stale: 51, rows: 100 })),
            (RowImpact { rows: 20, refused: 20, stale: 20, missing: 20, claims: 20, ..whole }, None),
            (RowImpact { missing: 1, untagged: 1, shortened: 1, ..whole }, None),
        ];
        for (rows, guardrail) in cases {
            assert_eq!(Guardrails::default().judge_rows(&rows), guardrail, "{rows:?}");
            assert_eq!(Guardrails::off().judge_rows(&rows), None);
        }
    }

    #[test]
    fn p12_whoever_is_strict_lets_nothing_be_passed_over() {
        let whole = RowImpact { rows: 100, claims: 100, ..RowImpact::default() };
        for (rows, guardrail) in [
            (RowImpact { missing: 1, ..whole }, Guardrail::MissingRows { missing: 1, known: 100 }),
            (RowImpact { untagged: 2, ..whole }, Guardrail::Untagged { rows: 2 }),
            (RowImpact { shortened: 3, ..whole }, Guardrail::Shortened { names: 3 }),
        ] {
            assert_eq!(Guardrails::strict().judge_rows(&rows), Some(guardrail));
            assert_eq!(Guardrails::off().judge_rows(&rows), None);
        }
        assert_eq!(Guardrails::strict().judge_rows(&whole), None);
    }
}
