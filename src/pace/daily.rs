//! How many calls a day: a cap over any 24 hours, a warm-up for new numbers, and when so many calls are made under them.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{iso8601, time::Timestamp};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
/// A call is forgotten when the whole of its hour is a day ago.
const FORGOTTEN_AFTER: u64 = 25;
/// For how many days a [`Schedule`] looks ahead.
const HORIZON: u64 = 366;

/// How many update calls an instance makes in any 24 hours, at the most. Reads are not counted.
///
/// ```
/// use wawp_contacts::pace::Daily;
///
/// let daily = Daily::at_most(250).warm_up(20, 1.5);
/// assert_eq!([0, 1, 2, 6, 7].map(|day| daily.limit(day)), [20, 30, 45, 227, 250]);
/// assert_eq!(Daily::at_most(250).limit(0), 250);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "a cap does nothing until it is given to a sync"]
pub struct Daily {
    at_most: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    warm_up: Option<WarmUp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct WarmUp {
    start: u32,
    /// By how many hundredths of itself the limit is multiplied each day.
    growth: u32,
}

impl Daily {
    /// At most so many calls in any 24 hours; 0 is taken as 1.
    pub fn at_most(calls: u32) -> Self {
        Self { at_most: calls.max(1), warm_up: None }
    }

    /// Begins a new number with fewer calls: `start` on the day of its first call, and each day after that `growth` times as many, until
    /// the cap is reached.
    ///
    /// Days count from the first call that the ledger knows of, 24 hours each. A start of 0 is taken as 1, a growth below 1 as 1; it is
    /// kept in hundredths.
    pub fn warm_up(mut self, start: u32, growth: f64) -> Self {
        let hundredths = (growth * 100.0).round().clamp(100.0, f64::from(u32::MAX));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 100 and u32::MAX")]
        let growth = if hundredths.is_nan() { 100 } else { hundredths as u32 };
        self.warm_up = Some(WarmUp { start: start.max(1), growth });
        self
    }

    /// How many calls there may be in the 24 hours before a moment so many days after the first call.
    #[must_use]
    pub fn limit(&self, day: u64) -> u32 {
        let Some(WarmUp { start, growth }) = self.warm_up else { return self.at_most };
        let day = i32::try_from(day).unwrap_or(i32::MAX);
        let warm = f64::from(start) * (f64::from(growth) / 100.0).powi(day);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 1 and the cap")]
        let warm = warm.min(f64::from(self.at_most)) as u32;
        warm.max(1)
    }
}

/// The calls of an instance in the last day, counted by the hour, as a ledger keeps them.
///
/// A call counts until the whole of its hour is a day ago. So no 24 hours hold more than [`Daily`] allows, and the calls of one day are
/// free again up to an hour later than they could be. A clock that is set back forgets nothing: what was counted ahead of it counts
/// from now. Of a clock that jumps ahead nobody can tell.
///
/// ```
/// use std::time::Duration;
/// use wawp_contacts::{pace::{Budget, Daily}, time::Timestamp};
///
/// let (daily, now) = (Daily::at_most(250), Timestamp(1_700_000_000_000));
/// let mut budget = Budget::default();
/// assert_eq!(budget.take(&daily, 300, now), 250);
/// assert_eq!((budget.spent(now), budget.left(&daily, now)), (250, 0));
/// assert_eq!(budget.resumes_at(&daily, now).to_string(), "2023-11-15 23:00:00 UTC");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Budget {
    /// When the first call was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<Timestamp>,
    /// How many calls were counted in which hour since 1970.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    hours: BTreeMap<u64, u32>,
}

impl Budget {
    /// One that has counted nothing, of a number that has been called since a moment.
    #[must_use]
    pub fn since(first: Option<Timestamp>) -> Self {
        Self { first, hours: BTreeMap::new() }
    }

    /// How many calls count at a moment.
    #[must_use]
    pub fn spent(&self, now: Timestamp) -> u64 {
        let hours = self.hours.iter().filter(|(hour, _)| *hour + FORGOTTEN_AFTER > hour_of(now));
        hours.map(|(_, calls)| u64::from(*calls)).sum()
    }

    /// How many calls may be made at a moment.
    #[must_use]
    pub fn left(&self, daily: &Daily, now: Timestamp) -> u32 {
        let day = self.first.map_or(0, |first| now.0.saturating_sub(first.0) / DAY);
        let left = u64::from(daily.limit(day)).saturating_sub(self.spent(now));
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// Counts calls that are about to be made within this hour: so many as are wanted, or as may be. Says how many.
    pub fn take(&mut self, daily: &Daily, wanted: u32, now: Timestamp) -> u32 {
        self.bring_back(now);
        let taken = self.left(daily, now).min(wanted);
        if taken > 0 {
            self.first.get_or_insert(now);
            self.hours.retain(|hour, _| *hour + FORGOTTEN_AFTER > hour_of(now));
            *self.hours.entry(hour_of(now)).or_default() += taken;
        }
        taken
    }

    /// Takes back what was counted in the hour of a moment and not made.
    pub fn give_back(&mut self, calls: u32, counted_at: Timestamp) {
        let hour = hour_of(counted_at);
        if let Some(counted) = self.hours.get_mut(&hour) {
            *counted = counted.saturating_sub(calls);
            if *counted == 0 {
                self.hours.remove(&hour);
            }
        }
    }

    /// From when on another call may be made; `now` if it may be made now.
    #[must_use]
    pub fn resumes_at(&self, daily: &Daily, now: Timestamp) -> Timestamp {
        let mut budget = self.clone();
        budget.bring_back(now);
        let mut at = now;
        while budget.left(daily, at) == 0 {
            let leave = budget.hours.keys().map(|hour| (hour + FORGOTTEN_AFTER) * HOUR).find(|leave| *leave > at.0);
            let grows = budget.first.map(|first| first.0 + ((at.0 - first.0) / DAY + 1) * DAY);
            let Some(next) = leave.into_iter().chain(grows).min() else { break };
            at = Timestamp(next);
        }
        at
    }

    /// What was counted ahead of a clock that was set back was counted by now, at the latest. Until this is stored, such calls count for
    /// as long as the clock is behind them.
    pub fn bring_back(&mut self, now: Timestamp) {
        self.first = self.first.map(|first| first.min(now));
        let ahead = self.hours.split_off(&(hour_of(now) + 1));
        let calls = ahead.values().fold(0, |calls: u32, ahead| calls.saturating_add(*ahead));
        if calls > 0 {
            let counted = self.hours.entry(hour_of(now)).or_default();
            *counted = counted.saturating_add(calls);
        }
    }
}

/// Whether two moments are of the same hour, so that what was counted at one is counted for the other.
pub(crate) fn is_same_hour(one: Timestamp, other: Timestamp) -> bool {
    hour_of(one) == hour_of(other)
}

fn hour_of(moment: Timestamp) -> u64 {
    moment.0 / HOUR
}

/// When so many calls are made, day by day.
///
/// Days and times are UTC: the job may run in another zone than whoever reads of it.
///
/// ```
/// use std::time::Duration;
/// use wawp_contacts::{pace::{Budget, Daily, Schedule}, time::Timestamp};
///
/// let (daily, now) = (Daily::at_most(250), Timestamp(1_700_000_000_000));
/// let schedule = Schedule::of(310, Some(&daily), &Budget::default(), Duration::from_secs(1), now);
/// assert_eq!(schedule.to_string(), "310 calls: 250 today, 60 tomorrow from 23:00 UTC");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Schedule {
    /// When it was made, in milliseconds since 1970.
    pub at: Timestamp,
    /// The days with calls, in order; none beyond a year.
    pub days: Vec<Day>,
    /// How many calls are left after a year.
    #[serde(default)]
    pub later: u64,
}

/// The calls of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Day {
    /// When they begin, in milliseconds since 1970.
    pub from: Timestamp,
    /// How many there are.
    pub calls: u64,
}

impl Schedule {
    /// When so many calls are made from `now` on, `interval` apart, if there is a cap under that.
    #[must_use]
    pub fn of(calls: u64, daily: Option<&Daily>, spent: &Budget, interval: Duration, now: Timestamp) -> Self {
        let (mut schedule, mut budget, mut at) =
            (Self { at: now, later: calls, ..Self::default() }, spent.clone(), now);
        let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        while schedule.later > 0 && at.0 < now.0.saturating_add(HORIZON * DAY) {
            let at_pace = (HOUR - at.0 % HOUR).checked_div(interval).map_or(u64::MAX, |calls| calls.max(1));
            let wanted = schedule.later.min(at_pace);
            let made = daily
                .map_or(wanted, |daily| u64::from(budget.take(daily, u32::try_from(wanted).unwrap_or(u32::MAX), at)));
            schedule.add(at, made);
            let next_hour = Timestamp((hour_of(at) + 1) * HOUR);
            let next_call = at.after(Duration::from_millis(interval.saturating_mul(made)));
            at = match daily {
                _ if made == wanted => next_call.max(next_hour),
                Some(daily) => budget.resumes_at(daily, at).max(next_call),
                None => next_hour,
            };
        }
        schedule
    }

    fn add(&mut self, from: Timestamp, calls: u64) {
        self.later -= calls;
        match self.days.last_mut() {
            _ if calls == 0 => {}
            Some(day) if day.from.0 / DAY == from.0 / DAY => day.calls += calls,
            _ => self.days.push(Day { from, calls }),
        }
    }

    /// How many calls there are.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.days.iter().map(|day| day.calls).sum::<u64>() + self.later
    }

    fn write_day(&self, day: &Day, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", day.calls)?;
        match day.from.0 / DAY - self.at.0 / DAY {
            0 => f.write_str("today")?,
            1 => f.write_str("tomorrow")?,
            _ => write_date(day.from, f)?,
        }
        if day.from > self.at {
            let minutes = day.from.0.div_ceil(60_000);
            write!(f, " from {:02}:{:02} UTC", minutes / 60 % 24, minutes % 60)?;
        }
        Ok(())
    }
}

fn write_date(moment: Timestamp, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (year, month, day) = iso8601::date(moment.0 / DAY);
    write!(f, "{year:04}-{month:02}-{day:02}")
}

/// As `310 calls: 250 today, 60 tomorrow from 09:00 UTC`; of more than three days the first two and the last.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = self.calls();
        write!(f, "{calls} {}", if calls == 1 { "call" } else { "calls" })?;
        let shown = if self.days.len() > 3 { 2 } else { self.days.len() };
        for (at, day) in self.days[..shown].iter().enumerate() {
            f.write_str(if at == 0 { ": " } else { ", " })?;
            self.write_day(day, f)?;
        }
        match self.days[shown..].last() {
            _ if self.later > 0 => write!(f, ", and so on; {} after more than a year", self.later),
            Some(last) => {
                f.write_str(", and so on; the last on ")?;
                write_date(last.from, f)
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: Timestamp = Timestamp(1_700_049_600_000);

    fn hours(n: u64) -> Duration {
        Duration::from_millis(n * HOUR)
    }

    /// The most calls in 24 hours that end with one of them.
    fn most_in_a_day(calls: &[(u64, u32)]) -> u64 {
        let within = |end: u64| calls.iter().filter(move |(at, _)| *at <= end && *at + DAY > end);
        calls.iter().map(|(end, _)| within(*end).map(|(_, calls)| u64::from(*calls)).sum()).max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn p5_no_24_hours_hold_more_than_the_cap_also_where_the_clock_is_set_back(
            steps in prop::collection::vec((0..4 * HOUR, 0u32..40, prop::option::weighted(0.15, 0..40 * HOUR)), 1..150),
            cap in 1u32..60,
        ) {
            let (daily, mut budget) = (Daily::at_most(cap), Budget::default());
            let (mut now, mut behind, mut made) = (NOON.0, 0, Vec::new());
            for (rest, wanted, set_back) in steps {
                now += rest;
                behind += set_back.unwrap_or_default();
                let shown = Timestamp(now - behind);
                let free = budget.resumes_at(&daily, shown);
                let taken = budget.take(&daily, wanted, shown);
                prop_assert!(wanted == 0 || (taken == 0) == (free > shown));
                made.push((now, taken));
                prop_assert!(most_in_a_day(&made) <= u64::from(cap));
            }
        }

        #[test]
        fn p5_a_new_number_makes_no_more_calls_than_its_day_allows(
            steps in prop::collection::vec((0..9 * HOUR, 0u32..40), 1..100),
            start in 1u32..20,
            growth in 1.0f64..3.0,
        ) {
            let (daily, mut budget) = (Daily::at_most(50).warm_up(start, growth), Budget::default());
            let (mut now, mut made) = (NOON, Vec::new());
            for (rest, wanted) in steps {
                now = now.after(Duration::from_millis(rest));
                let taken = budget.take(&daily, wanted, now);
                made.push((now.0, taken));
                let first = made.iter().find(|(_, calls)| *calls > 0).map_or(now.0, |(at, _)| *at);
                let within = made.iter().filter(|(at, _)| at + DAY > now.0).map(|(_, calls)| calls).sum::<u32>();
                prop_assert!(taken == 0 || within <= daily.limit((now.0 - first) / DAY));
            }
        }

        #[test]
        fn what_is_given_back_can_be_taken_again_and_no_more(taken in 1u32..50, back in 0u32..80) {
            let (daily, mut budget) = (Daily::at_most(50), Budget::default());
            budget.take(&daily, taken, NOON);
            budget.give_back(back, NOON);
            prop_assert_eq!(budget.left(&daily, NOON), 50 - taken.saturating_sub(back));
            budget.give_back(back, NOON.after(hours(3)));
            prop_assert_eq!(budget.left(&daily, NOON), 50 - taken.saturating_sub(back));
        }

        #[test]
        fn a_schedule_has_every_call_once_and_keeps_the_cap(
            calls in 0u64..3_000,
            cap in prop::option::of(1u32..400),
            seconds in 0u64..5_000,
            before in 0u32..400,
        ) {
            let daily = cap.map(Daily::at_most);
            let mut budget = Budget::default();
            budget.take(&Daily::at_most(cap.unwrap_or(1)), before, NOON.before(hours(5)));
            let schedule = Schedule::of(calls, daily.as_ref(), &budget, Duration::from_secs(seconds), NOON);
            prop_assert_eq!(schedule.calls(), calls);
            prop_assert!(schedule.days.is_sorted_by_key(|day| day.from));
            if let Some(cap) = cap {
                // A calendar day is one of the windows of 24 hours.
                prop_assert!(schedule.days.iter().all(|day| day.calls <= u64::from(cap)));
            }
        }
    }

    #[test]
    fn a_call_counts_until_the_whole_of_its_hour_is_a_day_ago() {
        let (daily, mut budget) = (Daily::at_most(3), Budget::default());
        let late = Timestamp(NOON.0 + HOUR - 1);
        assert_eq!((budget.take(&daily, 2, NOON), budget.take(&daily, 9, late)), (2, 1));
        let free = NOON.after(hours(25));
        assert_eq!((budget.resumes_at(&daily, late), budget.left(&daily, free)), (free, 3));
        assert_eq!((budget.left(&daily, Timestamp(free.0 - 1)), budget.spent(Timestamp(free.0 - 1))), (0, 3));
        assert_eq!(budget.take(&daily, 1, free), 1);
        assert_eq!(budget.hours.len(), 1, "what is over is forgotten");
    }

    #[test]
    fn what_a_clock_counted_that_was_years_ahead_is_free_a_day_after_it_was_set_back() {
        let (daily, mut budget) = (Daily::at_most(3).warm_up(3, 1.0), Budget::default());
        budget.take(&daily, 3, NOON.after(hours(99_999)));
        assert_eq!((budget.take(&daily, 1, NOON), budget.resumes_at(&daily, NOON)), (0, NOON.after(hours(25))));
        let stored: Budget = serde_json::from_str(&serde_json::to_string(&budget).unwrap()).unwrap();
        assert_eq!(stored, budget);
    }

    #[test]
    fn a_number_that_warms_up_goes_on_when_its_next_day_begins() {
        let (daily, mut budget) = (Daily::at_most(100).warm_up(10, 2.0), Budget::default());
        let half_past = NOON.after(Duration::from_secs(1_800));
        assert_eq!(budget.take(&daily, 99, half_past), 10);
        assert_eq!(budget.resumes_at(&daily, half_past), half_past.after(hours(24)));
        assert_eq!(budget.left(&daily, half_past.after(hours(24))), 10, "20, of which 10 still count");
        assert_eq!(Budget::since(Some(NOON)).left(&daily, NOON.after(hours(24 * 9))), 100);
    }

    #[test]
    fn odd_limits_are_made_usable() {
        assert_eq!(Daily::at_most(0).limit(5), 1);
        assert_eq!(Daily::at_most(9).warm_up(0, 0.2).limit(1_000_000_000_000), 1);
        assert_eq!(Daily::at_most(9).warm_up(2, f64::NAN).limit(3), 2);
        assert_eq!(Daily::at_most(9).warm_up(2, f64::INFINITY).limit(1), 9);
        assert_eq!(Daily::at_most(9).warm_up(20, 1.5).limit(0), 9);
    }

    #[test]
    fn a_schedule_says_how_many_calls_on_which_day() {
        let second = Duration::from_secs(1);
        let told = |calls, cap: Option<u32>, interval| {
            let daily = cap.map(Daily::at_most);
            Schedule::of(calls, daily.as_ref(), &Budget::default(), interval, NOON).to_string()
        };
        assert_eq!(told(0, Some(250), second), "0 calls");
        assert_eq!(told(1, None, second), "1 call: 1 today");
        assert_eq!(told(310, Some(250), second), "310 calls: 250 today, 60 tomorrow from 13:00 UTC");
        assert_eq!(told(50_000, None, second), "50000 calls: 43200 today, 6800 tomorrow from 00:00 UTC");
        assert_eq!(told(7, None, Duration::from_secs(4 * 3_600)), "7 calls: 3 today, 4 tomorrow from 00:00 UTC");
        assert_eq!(
            told(6, Some(2), second),
            "6 calls: 2 today, 2 tomorrow from 13:00 UTC, 2 2023-11-17 from 14:00 UTC"
        );
        assert_eq!(
            told(600, Some(100), Duration::ZERO),
            "600 calls: 100 today, 100 tomorrow from 13:00 UTC, and so on; the last on 2023-11-20"
        );
        assert!(told(1_000, Some(1), second).contains(" after more than a year"));
        let mut spent = Budget::default();
        spent.take(&Daily::at_most(5), 5, NOON.before(hours(20)));
        let later = Schedule::of(3, Some(&Daily::at_most(5)), &spent, second, NOON).to_string();
        assert_eq!(later, "3 calls: 3 today from 17:00 UTC");
    }
}
