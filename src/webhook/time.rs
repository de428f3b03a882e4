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

/// ISO 8601 as computers write it: `2026-01-01T00:00:00.000Z`, with any number of decimals, or an offset such as `+02:00`.
///
/// Moments before 1970 are none.
pub(super) fn iso8601(text: &str) -> Option<SystemTime> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-').map(digits);
    let days = days_since_1970(date.next()??, date.next()??, date.next()??)?;
    let zone = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = (&time[..zone], &time[zone..]);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let seconds = days * 86_400 + seconds_of_day(clock)? - offset(zone)?;
    moment(Duration::new(u64::try_from(seconds).ok()?, nanos(fraction)?))
}

fn moment(since: Duration) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(since)
}

fn digits(text: &str) -> Option<i64> {
    let short = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if short { text.parse().ok() } else { None }
}

fn seconds_of_day(clock: &str) -> Option<i64> {
    let mut parts = clock.splitn(3, ':').map(digits);
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    // 60 is a leap second.
    (hours < 24 && minutes < 60 && seconds <= 60).then_some(hours * 3600 + minutes * 60 + seconds)
}

fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    Some(sign * (digits(hours)? * 3600 + digits(minutes)? * 60))
}

fn nanos(fraction: &str) -> Option<u32> {
    let nine = fraction.get(..9).unwrap_or(fraction);
    if nine.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let missing = u32::try_from(9 - nine.len()).ok()?;
    Some(nine.parse::<u32>().ok()? * 10_u32.pow(missing))
}

/// Days of the proleptic Gregorian calendar, counted from March so that the leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap_days = year / 4 - year / 100 + year / 400;
    Some(year * 365 + leap_days + day_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(millis: u64) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
    }

    #[test]
    fn iso_8601_is_read_with_decimals_and_offsets() {
        assert_eq!(iso8601("1970-01-01T00:00:00Z"), unix(0));
        assert_eq!(iso8601("2026-01-01T00:00:00.000Z"), unix(1_767_225_600_000));
        assert_eq!(iso8601("2026-01-01T02:00:00.5+02:00"), unix(1_767_225_600_500));
        assert_eq!(iso8601("2025-12-31T21:30:00.123000000999-02:30"), unix(1_767_225_600_123));
        assert_eq!(iso8601("2024-02-29t12:00:00z"), unix(1_709_208_000_000));
        assert_eq!(iso8601("2000-03-01 00:00:00Z"), unix(951_868_800_000));
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for wrong in [
            "",
            "T",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-13-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.0é0000000Z",
            "2026-01-01T00:00:00+",
            "2026-01-01T00:00:00+é1:00",
            "+2026-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "99999-01-01T00:00:00Z",
        ] {
            assert_eq!(iso8601(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn unix_time_comes_in_seconds_and_milliseconds() {
        assert_eq!(seconds("1767225600"), unix(1_767_225_600_000));
        assert_eq!(millis("1767225600001"), unix(1_767_225_600_001));
        assert_eq!(seconds("18446744073709551615"), None, "beyond the clock");
        assert_eq!(seconds("18446744073709552000"), None);
        assert_eq!(seconds("-1"), None);
    }
}
