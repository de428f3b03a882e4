//! The providers' spellings of a moment.

use std::time::{Duration, SystemTime};

/// Seconds since 1970, as text.
pub(super) fn seconds(text: &str) -> Option<SystemTime> {
    moment(Duration::from_secs(text.parse().ok()?))
}

/// Milliseconds since 1970, as text.
pub(super) fn millis(text: &str) -> Option<SystemTime> {
    moment(Duration::from_millis(text.parse().ok()?))
}

/// ISO 8601, such as `2026-01-01T00:00:00.000Z`; moments before 1970 are none.
pub(super) fn iso8601(text: &str) -> Option<SystemTime> {
    moment(Duration::from_millis(crate::iso8601::millis(text)?.try_into().ok()?))
}

fn moment(since: Duration) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(moment: Option<SystemTime>) -> Option<u128> {
        Some(moment?.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis())
    }

    #[test]
    fn a_moment_comes_in_seconds_milliseconds_and_iso_8601() {
        assert_eq!(read(seconds("1767225600")), Some(1_767_225_600_000));
        assert_eq!(read(millis("1767225600001")), Some(1_767_225_600_001));
        assert_eq!(read(iso8601("2026-01-01T02:00:00.5+02:00")), Some(1_767_225_600_500));
    }

    #[test]
    fn what_is_no_moment_is_none() {
        assert_eq!(seconds("18446744073709551615"), None, "beyond the clock");
        assert_eq!(seconds("18446744073709552000"), None);
        assert_eq!(seconds("-1"), None);
        assert_eq!(iso8601("1969-12-31T23:59:59Z"), None);
        assert_eq!(iso8601("T"), None);
    }
}
