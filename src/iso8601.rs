//! Dates and times in an ISO 8601 shape, as exports and webhooks write them.

use std::ops::RangeInclusive;

const MILLIS: i64 = 1000;

/// Milliseconds since 1970 of a date, or of a date and a time, in an ISO 8601 shape, for the years
/// 1970 to 9999.
///
/// Without an offset it is taken as UTC. What is finer than a millisecond is dropped.
pub(crate) fn millis(text: &str) -> Option<i64> {
    let mut rest = Rest(text.as_bytes());
    let year = rest.number(4, 1970..=9999)?;
    rest.literal(b"-")?;
    let month = rest.number(2, 1..=12)?;
    rest.literal(b"-")?;
    let day = rest.number(2, 1..=days_of(year, month))?;
    let midnight = days_since_1970(year, month, day) * 24 * 60 * 60 * MILLIS;
    if rest.0.is_empty() {
        return Some(midnight);
    }
    rest.literal(b"T").or_else(|| rest.literal(b"t")).or_else(|| rest.literal(b" "))?;
    let time = rest.time()?;
    let offset = rest.offset()?;
    rest.0.is_empty().then_some(midnight + time - offset)
}

/// What is left to read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn literal(&mut self, bytes: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(bytes)?;
        Some(())
    }

    fn number(&mut self, digits: usize, range: RangeInclusive<i64>) -> Option<i64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        let number = number
            .iter()
            .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))?;
        self.0 = rest;
        range.contains(&number).then_some(number)
    }

    /// `hh:mm`, `hh:mm:ss` or `hh:mm:ss.fraction`, in milliseconds.
    fn time(&mut self) -> Option<i64> {
        let hours = self.number(2, 0..=23)?;
        self.literal(b":")?;
        let minutes = self.number(2, 0..=59)?;
        let mut seconds = 0;
        let mut millis = 0;
        if self.literal(b":").is_some() {
            seconds = self.number(2, 0..=60)?;
            if self.literal(b".").is_some() {
                millis = self.fraction()?;
            }
        }
        Some(((hours * 60 + minutes) * 60 + seconds) * MILLIS + millis)
    }

    fn fraction(&mut self) -> Option<i64> {
        let length = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at_checked(length).filter(|_| length > 0)?;
        self.0 = rest;
        let millis = digits.iter().chain(b"00").take(3);
        Some(millis.fold(0, |millis, digit| millis * 10 + i64::from(digit - b'0')))
    }

    /// Nothing, `Z`, `+hh`, `+hhmm` or `+hh:mm`, in milliseconds; a space may stand before it.
    fn offset(&mut self) -> Option<i64> {
        if self.0.is_empty() {
            return Some(0);
        }
        self.literal(b" ");
        if self.literal(b"Z").or_else(|| self.literal(b"z")).is_some() {
            return Some(0);
        }
        let sign = if self.literal(b"-").is_some() { -1 } else { self.literal(b"+").map(|()| 1)? };
        let hours = self.number(2, 0..=23)?;
        self.literal(b":");
        let minutes = if self.0.is_empty() { 0 } else { self.number(2, 0..=59)? };
        Some(sign * (hours * 60 + minutes) * 60 * MILLIS)
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400 - 477;
    let in_months: i64 = (1..month).map(|month| days_of(year, month)).sum();
    (year - 1970) * 365 + leap_days + in_months + day - 1
}

/// The year, month and day of a day since 1970.
pub(crate) fn date(mut days: u64) -> (u64, u64, u64) {
    let length = |year: i64| if is_leap(year) { 366 } else { 365 };
    // All cycles of 400 years are equally long.
    let mut year = 1970 + 400 * i64::try_from(days / 146_097).unwrap_or_default();
    days %= 146_097;
    while days >= length(year) {
        days -= length(year);
        year += 1;
    }
    let mut month = 1;
    while days >= days_of(year, month).unsigned_abs() {
        days -= days_of(year, month).unsigned_abs();
        month += 1;
    }
    (year.unsigned_abs(), month.unsigned_abs(), days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_one_moment_is_the_same() {
        let start_of_2026 = 1_767_225_600_000;
        for text in [
            "2026-01-01",
            "2026-01-01 00:00",
            "2026-01-01T00:00:00",
            "2026-01-01t00:00:00z",
            "2026-01-01T00:00:00.000Z",
            "2026-01-01T00:00:00.000+0000",
            "2026-01-01 00:00:00 +00:00",
            "2026-01-01T02:00:00+02:00",
            "2025-12-31T21:30-02:30",
            "2026-01-01T01:00+01",
        ] {
            assert_eq!(millis(text), Some(start_of_2026), "{text}");
        }
        assert_eq!(millis("2026-01-01T00:00:00.5Z"), Some(start_of_2026 + 500));
        assert_eq!(millis("2026-01-01T00:00:00.123456000999Z"), Some(start_of_2026 + 123));
        assert_eq!(millis("1970-01-01"), Some(0));
        assert_eq!(millis("2000-03-01"), Some(951_868_800_000));
        assert_eq!(millis("2100-03-01"), Some(4_107_542_400_000));
    }

    #[test]
    fn a_moment_reads_back_as_it_is_written() {
        for text in ["1970-01-01", "1999-12-31", "2000-02-29", "2026-11-21", "2100-02-28", "2100-03-01", "2400-02-29"] {
            let day = millis(text).unwrap().unsigned_abs() / 86_400_000;
            let (year, month, day) = date(day);
            assert_eq!(format!("{year:04}-{month:02}-{day:02}"), text);
        }
    }

    #[test]
    fn what_is_ambiguous_or_impossible_is_none() {
        for text in [
            "",
            "T",
            "01/02/2026",
            "1.2.2026",
            "2026-13-01",
            "2026-01-00",
            "2026-02-30",
            "2025-02-29",
            "2026-01-01T24:00",
            "2026-01-01T00:00 PM",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.0é0000000Z",
            "2026-01-01T00:00:00+é1:00",
            "2026-01-01T00:00:00+",
            "+2026-01-01",
            "99999-01-01",
            "1969-12-31",
            "2026-1-1",
            "2026-01-0١",
            "yesterday",
        ] {
            assert_eq!(millis(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_day_follows_the_one_before(year in 1970..3000_i64, month in 1..=12_i64) {
            let last = days_since_1970(year, month, days_of(year, month));
            let next = if month == 12 { days_since_1970(year + 1, 1, 1) } else { days_since_1970(year, month + 1, 1) };
            proptest::prop_assert_eq!(next, last + 1);
        }

        #[test]
        fn no_text_panics(text in "\\PC*|[-0-9:T.Z+ ]{0,30}") {
            millis(&text);
        }
    }
}
