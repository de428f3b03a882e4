//! The providers' spellings of a moment.

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

/// Before WhatsApp, and after anything that a provider can tell of: such a moment is in the wrong unit, or made up.
const PLAUSIBLE: Range<Duration> = Duration::from_secs(1_230_768_000)..Duration::from_secs(4_102_444_800);

/// Seconds since 1970, as text, with or without a fraction.
pub(super) fn seconds(text: &str) -> Option<SystemTime> {
    moment(text.parse().map_or_else(|_| fraction(text, 1_000.0), |seconds| Some(Duration::from_secs(seconds)))?)
}

/// Milliseconds since 1970, as text, with or without a fraction.
pub(super) fn millis(text: &str) -> Option<SystemTime> {
    moment(text.parse().map_or_else(|_| fraction(text, 1.0), |millis| Some(Duration::from_millis(millis)))?)
}

/// ISO 8601, such as `2026-01-01T00:00:00.000Z`; moments before 1970 are none.
pub(super) fn iso8601(text: &str) -> Option<SystemTime> {
    moment(Duration::from_millis(crate::iso8601::millis(text)?.try_into().ok()?))
}

/// A number that is written with a fraction or an exponent, to the millisecond.
fn fraction(text: &str, millis: f64) -> Option<Duration> {
    let millis = (text.parse::<f64>().ok()? * millis).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in the range")]
    (0.0..1e15).contains(&millis).then(|| Duration::from_millis(millis as u64))
}

fn moment(since: Duration) -> Option<SystemTime> {
    PLAUSIBLE.contains(&since).then(|| SystemTime::UNIX_EPOCH + since)
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
        assert_eq!(read(seconds("1767225600.5")), Some(1_767_225_600_500));
        assert_eq!(read(seconds("1.7672256e9")), Some(1_767_225_600_000));
        assert_eq!(read(millis("1767225600001.0")), Some(1_767_225_600_001));
        assert_eq!(read(iso8601("2026-01-01T02:00:00.5+02:00")), Some(1_767_225_600_500));
    }

    #[test]
    fn what_is_no_moment_is_none() {
        assert_eq!(seconds("18446744073709551615"), None, "beyond the clock");
        assert_eq!(seconds("18446744073709552000"), None);
        assert_eq!(seconds("-1"), None);
        assert_eq!(iso8601("1969-12-31T23:59:59Z"), None);
        assert_eq!(iso8601("T"), None);
        assert_eq!([seconds("NaN"), seconds("inf"), seconds("-1.5"), seconds("1e300"), millis("1e300")], [None; 5]);
    }

    #[test]
    fn a_moment_in_the_wrong_unit_is_none() {
        assert_eq!(seconds("1767225600000"), None, "milliseconds");
        assert_eq!(millis("1767225600"), None, "seconds");
        assert_eq!([seconds("0"), millis("0"), iso8601("2100-01-01T00:00:00Z")], [None; 3]);
        assert_eq!(read(iso8601("2099-12-31T23:59:59Z")), Some(4_102_444_799_000));
    }
}
