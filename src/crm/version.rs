//! Row versions: a counter, or a date in an ISO 8601 shape.

use crate::iso8601;

/// Reads a version: digits are a counter and taken as they are, an ISO date becomes milliseconds since 1970 UTC.
///
/// A date without an offset is taken as UTC. Anything else, such as the ambiguous `01/02/2026`, is no version.
pub(super) fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let is_counter = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_counter { text.parse().ok() } else { iso8601::millis(text)?.try_into().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_taken_as_they_are() {
        assert_eq!(parse("42"), Some(42));
        assert_eq!(parse(" 1767225600000 "), Some(1_767_225_600_000));
        assert_eq!(parse("99999999999999999999999"), None);
    }

    #[test]
    fn a_date_is_milliseconds_since_1970() {
        assert_eq!(parse(" 2026-01-01T00:00:00.000Z "), Some(1_767_225_600_000));
        assert_eq!(parse("1970-01-01"), Some(0));
    }

    #[test]
    fn anything_else_is_no_version() {
        for text in ["", "01/02/2026", "1969-12-31", "1970-01-01T00:00:00+01:00", "-5", "soon"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
