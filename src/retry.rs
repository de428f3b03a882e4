//! Retrying as a value: what to do after a failed attempt, decided without sleeping, sending or reading a clock.
//!
//! A [`RetryPolicy`] holds the numbers. [`RetryPolicy::start`] makes [`Attempts`], the memory of one call, and whoever drives the
//! call asks it after each failure: wait this long, or give up with this error. That leaves the loop in the caller's sight and
//! makes every rule a table that a test can walk.
//!
//! Four things bound the retrying: the number of attempts, a total deadline that is checked *before* a wait begins, the class of
//! the error, and a [`Budget`] that all clones of a client share. Without the budget, many workers with a few attempts each turn
//! an outage into a storm.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use crate::{Error, ErrorClass, ErrorKind};

/// How often, how long and how patiently a call is retried.
///
/// By default: 4 attempts, backoff from 500 ms doubling up to 15 s with full jitter, and 2 minutes in total.
///
/// ```
/// use std::time::Duration;
/// use wawp_contacts::RetryPolicy;
///
/// let policy = RetryPolicy::default().max_attempts(6).deadline(Duration::from_secs(300));
/// assert_eq!(policy.backoff(1, 1.0), Duration::from_millis(500));
/// assert_eq!(policy.backoff(4, 0.5), Duration::from_secs(2));
/// assert_eq!(policy.backoff(99, 1.0), Duration::from_secs(15));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a policy does nothing until it is given to a client"]
pub struct RetryPolicy {
    max_attempts: u32,
    base: Duration,
    ceiling: Duration,
    deadline: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 4,
            base: Duration::from_millis(500),
            ceiling: Duration::from_secs(15),
            deadline: Duration::from_secs(120),
        }
    }
}

impl RetryPolicy {
    /// Never retries: one attempt, and its error.
    pub fn never() -> Self {
        Self::default().max_attempts(1)
    }

    /// Sets how many requests one call may make, the first included; 0 is taken as 1.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// Sets the longest wait after the first failure (`base`), which doubles with each further one up to `ceiling`.
    pub fn backing_off(mut self, base: Duration, ceiling: Duration) -> Self {
        (self.base, self.ceiling) = (base, ceiling.max(base));
        self
    }

    /// Sets how long one call may go on with its retries, counted from the start of the first attempt.
    ///
    /// A wait that would end later, asked for by the server or not, is not begun. An attempt that has begun is not cut short:
    /// that is what the client's timeout is for.
    pub fn deadline(mut self, total: Duration) -> Self {
        self.deadline = total;
        self
    }

    /// The wait after failure number `attempt` (from 1), with full jitter: `jitter`, from 0 to 1, says how much of it to take.
    #[must_use]
    pub fn backoff(&self, attempt: u32, jitter: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let longest = self.base.saturating_mul(1 << doublings).min(self.ceiling);
        let share = longest.as_secs_f64() * jitter.clamp(0.0, 1.0);
        // Only what rounds to more than any duration fails.
        Duration::try_from_secs_f64(share).unwrap_or(longest).min(longest)
    }

    /// The longest backoff.
    pub(crate) fn longest(&self) -> Duration {
        self.ceiling
    }

    /// Whether another attempt may follow after so many.
    pub(crate) fn allows(&self, attempts: u32) -> bool {
        attempts < self.max_attempts
    }

    /// How long one call may go on with its retries.
    pub(crate) fn total(&self) -> Duration {
        self.deadline
    }

    /// Begins a call whose first attempt starts at the moment `now`; its retries are paid from `budget`.
    #[must_use]
    pub fn start<'a>(&'a self, budget: &'a Budget, now: Instant) -> Attempts<'a> {
        Attempts { policy: self, budget, started: now, made: 0, doubt: false }
    }
}

/// The memory of one call: how often it was tried, since when, and whether one of the attempts may have been carried out.
#[derive(Debug)]
pub struct Attempts<'a> {
    policy: &'a RetryPolicy,
    budget: &'a Budget,
    started: Instant,
    made: u32,
    doubt: bool,
}

impl Attempts<'_> {
    /// The number of the attempt that is under way or comes next, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.made + 1
    }

    /// How much longer the call may go on.
    #[must_use]
    pub fn left(&self, now: Instant) -> Duration {
        self.policy.deadline.saturating_sub(now.saturating_duration_since(self.started))
    }

    /// Notes that an attempt failed at `now`, and returns how long to wait before the next.
    ///
    /// `jitter` is a random number from 0 to 1. What the server asked for (`Retry-After`) is the least wait.
    ///
    /// # Errors
    ///
    /// Gives the error back when there is to be no further attempt: because it is of a kind that repeating does not mend, because
    /// attempts, time or budget are spent, or because the server asks for more time than is left.
    pub fn failed(&mut self, error: Error, now: Instant, jitter: f64) -> Result<Duration, Error> {
        // An attempt that was never sent, because the instance is asked to wait, does not count.
        self.made += error.attempts().min(1);
        self.doubt |= error.is_in_doubt();
        let wait = self.policy.backoff(self.made, jitter).max(error.retry_after().unwrap_or_default());
        let left = self.left(now);
        if is_worth_repeating(&error)
            && self.made < self.policy.max_attempts
            && !left.is_zero()
            && wait <= left
            && self.budget.withdraw()
        {
            Ok(wait)
        } else {
            Err(error.after(self.made).with_doubt(self.doubt))
        }
    }
}

/// A spent quota is only waited for if the server says how long; that a session wakes up is worth a few attempts.
fn is_worth_repeating(error: &Error) -> bool {
    match error.class() {
        ErrorClass::Transient => true,
        ErrorClass::Wait => error.kind() != ErrorKind::QuotaReached || error.retry_after().is_some(),
        ErrorClass::Contact | ErrorClass::Instance | ErrorClass::Configuration => false,
    }
}

/// The longest wait taken from a header; longer ones are as good as for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 86_400);

/// Reads the value of a `Retry-After` header in either form, seconds or a date; a date that has passed means now.
///
/// `now` is the server's clock, where it says so (`Date`). For implementations of [`AddressBook`](crate::AddressBook) that speak
/// HTTP, to pass on by [`Error::with_retry_after`].
///
/// ```
/// # use std::time::{Duration, SystemTime};
/// use wawp_contacts::retry::parse_retry_after;
///
/// assert_eq!(parse_retry_after("7", SystemTime::now()), Some(Duration::from_secs(7)));
/// assert_eq!(parse_retry_after("soon", SystemTime::now()), None);
/// ```
#[must_use]
pub fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only a number beyond all measure fails to parse.
        return Some(value.parse().map_or(LONGEST_WAIT, Duration::from_secs).min(LONGEST_WAIT));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    Some(until.duration_since(now).unwrap_or_default().min(LONGEST_WAIT))
}

/// What all calls of a client together may spend on retries.
///
/// It begins with 100 retries. Five successes earn one more, up to 100 again: in the long run retries add at most a fifth to the
/// load.
#[derive(Debug)]
pub struct Budget(AtomicU32);

impl Budget {
    const FULL: u32 = 500;
    const PRICE: u32 = 5;

    /// Pays for one retry; `false` if too little is left.
    fn withdraw(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(Self::PRICE)).is_ok()
    }

    /// Notes a success.
    pub fn deposit(&self) {
        // The common case, a full budget, stays a read: a write would make all workers share a cache line.
        if self.0.load(Relaxed) < Self::FULL {
            let _ = self.0.fetch_update(Relaxed, Relaxed, |left| (left < Self::FULL).then_some(left + 1));
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU32::new(Self::FULL))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy() -> RetryPolicy {
        RetryPolicy::default().backing_off(SECOND, 8 * SECOND).deadline(60 * SECOND)
    }

    fn waits(kind: ErrorKind) -> usize {
        let (policy, budget, now) = (policy(), Budget::default(), Instant::now());
        let mut attempts = policy.start(&budget, now);
        (0..10).take_while(|_| attempts.failed(Error::new(kind), now, 0.5).is_ok()).count()
    }

    #[test]
    fn transient_errors_and_waits_are_retried_and_nothing_else() {
        use ErrorKind::*;
        for kind in [Connect, Timeout, Interrupted, Server, Decode, Unclear, RateLimited, SessionNotReady] {
            assert_eq!(waits(kind), 3, "{kind:?}");
        }
        for kind in [QuotaReached, Unauthorized, Forbidden, UnknownInstance, Rejected, Route, Configuration] {
            assert_eq!(waits(kind), 0, "{kind:?}");
        }
    }

    #[test]
    fn the_error_says_how_many_attempts_were_made() {
        let (policy, budget, now) = (policy().max_attempts(3), Budget::default(), Instant::now());
        let mut attempts = policy.start(&budget, now);
        let last = loop {
            if let Err(error) = attempts.failed(Error::new(ErrorKind::Server), now, 0.0) {
                break error;
            }
        };
        assert_eq!(last.attempts(), 3);
    }

    #[test]
    fn never_gives_up_after_the_first_attempt() {
        let (policy, budget, now) = (RetryPolicy::never(), Budget::default(), Instant::now());
        let error = policy.start(&budget, now).failed(Error::new(ErrorKind::Server), now, 0.0).unwrap_err();
        assert_eq!(error.attempts(), 1);
    }

    #[test]
    fn retry_after_is_the_least_wait() {
        let (policy, budget, now) = (policy(), Budget::default(), Instant::now());
        let limited = || Error::new(ErrorKind::RateLimited).with_retry_after(7 * SECOND);
        assert_eq!(policy.start(&budget, now).failed(limited(), now, 1.0).unwrap(), 7 * SECOND);
        let short = Error::new(ErrorKind::RateLimited).with_retry_after(SECOND / 2);
        assert_eq!(policy.start(&budget, now).failed(short, now, 1.0).unwrap(), SECOND);
    }

    #[test]
    fn a_wait_beyond_the_deadline_is_not_begun_and_is_reported() {
        let (policy, budget, now) = (policy(), Budget::default(), Instant::now());
        let mut attempts = policy.start(&budget, now);
        let day = 86_400 * SECOND;
        let error = attempts.failed(Error::new(ErrorKind::RateLimited).with_retry_after(day), now, 0.0).unwrap_err();
        assert_eq!((error.retry_after(), error.attempts()), (Some(day), 1));

        let late = now + 59 * SECOND + SECOND / 2;
        assert!(policy.start(&budget, now).failed(Error::new(ErrorKind::Server), late, 1.0).is_err());
        assert!(policy.start(&budget, now).failed(Error::new(ErrorKind::Server), late, 0.5).is_ok());
    }

    #[test]
    fn a_doubt_outlives_the_attempt_that_raised_it() {
        let (policy, budget, now) = (policy(), Budget::default(), Instant::now());
        for last in [ErrorKind::Connect, ErrorKind::Rejected, ErrorKind::RateLimited] {
            let mut attempts = policy.start(&budget, now);
            attempts.failed(Error::new(ErrorKind::Timeout), now, 0.0).unwrap();
            let error = attempts.failed(Error::new(last), now + 61 * SECOND, 0.0).unwrap_err();
            assert!(error.is_in_doubt(), "{last:?}");
        }
    }

    #[test]
    fn an_outage_drains_the_budget_and_successes_refill_it() {
        let (policy, budget, now) = (policy(), Budget::default(), Instant::now());
        let retries = |calls: usize| {
            let fails = |_: &usize| policy.start(&budget, now).failed(Error::new(ErrorKind::Server), now, 0.0).is_ok();
            (0..calls).filter(fails).count()
        };
        assert_eq!(retries(1000), 100);
        (0..50).for_each(|_| budget.deposit());
        assert_eq!(retries(1000), 10);
        (0..10_000).for_each(|_| budget.deposit());
        assert_eq!(retries(1000), 100);
    }

    proptest! {
        #[test]
        fn a_call_never_outlasts_its_attempts_or_its_deadline(
            steps in prop::collection::vec((0u64..40_000, prop::option::of(0u64..90_000), 0.0f64..=1.0), 1..20),
            max in 1u32..8,
        ) {
            let (policy, budget, start) = (policy().max_attempts(max), Budget::default(), Instant::now());
            let mut attempts = policy.start(&budget, start);
            let mut now = start;
            for (took, asked, jitter) in steps {
                now += Duration::from_millis(took);
                let mut error = Error::new(ErrorKind::Server);
                if let Some(asked) = asked {
                    error = error.with_retry_after(Duration::from_millis(asked));
                }
                match attempts.failed(error, now, jitter) {
                    Ok(wait) => {
                        prop_assert!(wait >= Duration::from_millis(asked.unwrap_or(0)));
                        now += wait;
                        prop_assert!(now <= start + 60 * SECOND);
                        prop_assert!(attempts.number() <= max);
                    }
                    Err(error) => {
                        prop_assert!((1..=max).contains(&error.attempts()));
                        return Ok(());
                    }
                }
            }
        }

        #[test]
        fn backoff_stays_below_the_ceiling(attempt: u32, jitter in -1.0f64..2.0) {
            prop_assert!(policy().backoff(attempt, jitter) <= 8 * SECOND);
        }
    }

    #[test]
    fn any_duration_is_taken() {
        let policy = RetryPolicy::default().backing_off(Duration::MAX, Duration::ZERO).deadline(Duration::MAX);
        assert_eq!(policy.backoff(u32::MAX, 1.0), Duration::MAX);
        let (budget, now) = (Budget::default(), Instant::now());
        let asked = Error::new(ErrorKind::Server).with_retry_after(Duration::MAX);
        assert_eq!(policy.start(&budget, now).failed(asked, now, 1.0).unwrap(), Duration::MAX);
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_nothing_else() {
        let now = httpdate::parse_http_date("Sat, 21 Nov 2026 10:00:00 GMT").unwrap();
        let seconds = |value| parse_retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("Sat, 21 Nov 2026 10:01:30 GMT"), Some(90));
        assert_eq!(seconds("Saturday, 21-Nov-26 10:01:30 GMT"), Some(90));
        assert_eq!(seconds("Sat, 21 Nov 2026 09:00:00 GMT"), Some(0));
        assert_eq!(seconds("99999999999999999999999"), Some(LONGEST_WAIT.as_secs()));
        for nonsense in ["", "soon", "-1", "1.5"] {
            assert_eq!(seconds(nonsense), None, "{nonsense}");
        }
    }
}
