//! Texts that a spreadsheet would take for a formula, and the mark that keeps it from doing so.

use std::borrow::Cow;

/// What says to a spreadsheet that a cell is a text; it shows the text without it.
const MARK: char = '\'';

/// A text as it is written into a cell, so that no spreadsheet takes it for a formula: `=1+1` becomes `'=1+1`.
///
/// [`Csv`](super::Csv) takes the mark off again, so a file that is written so, filled in by somebody and read as an export says what the first
/// export said.
///
/// ```
/// use wawp_contacts::crm::defused;
///
/// assert_eq!(defused("=SUM(A1)"), "'=SUM(A1)");
/// assert_eq!(defused("+44 7700 900123"), "'+44 7700 900123");
/// assert_eq!(defused("Ada"), "Ada");
/// ```
#[must_use]
pub fn defused(text: &str) -> Cow<'_, str> {
    if has_formula(text) { format!("{MARK}{text}").into() } else { text.into() }
}

/// A text without the mark of [`defused`], if it has it.
pub(super) fn restored(text: &str) -> &str {
    text.strip_prefix(MARK).filter(|_| has_formula(text)).unwrap_or(text)
}

/// Whether a formula stands behind the marks, of which there may be none. A mark more changes nothing in that, so one can be put
/// before any text and taken off again.
fn has_formula(text: &str) -> bool {
    let text = text.trim_start_matches(MARK);
    let begins_one = |char: char| matches!(char, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠');
    text.starts_with(['\t', '\r', '\n']) || text.trim_start().starts_with(begins_one)
}
