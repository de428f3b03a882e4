//! Pacing: how often an instance may be called.
//!
//! A [`Pace`] is the wish: so many calls a second, so many of them in a burst, and a little jitter. The limiter that keeps it is
//! shared by all clones of a client, so more workers do not mean more calls. It is the generic cell rate algorithm (GCRA), a
//! leaky bucket in one number: the moment at which the bucket would be empty. In every window of length `w` at most
//! `rate * w + burst` calls are begun.
//!
//! Callers stand in line and are served in the order in which they came. Whoever gives up while waiting leaves the line and takes
//! no turn with it: a turn is taken when a call leaves, never before. When the server asks for a pause, the whole line stands
//! still until it is over, and no burst has been saved up meanwhile.

use std::{
    sync::{Mutex as Lock, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, sleep},
};

use crate::{Error, ErrorKind};

/// How often an instance may be called.
///
/// By default once a second, without bursts, each turn put off by up to a twentieth of a second at random.
///
/// ```
/// use std::time::Duration;
/// use wawp_contacts::Pace;
///
/// assert_eq!(Pace::default().interval(), Duration::from_secs(1));
/// assert_eq!(Pace::per_second(20).burst(5).interval(), Duration::from_millis(50));
/// assert_eq!(Pace::every(Duration::from_secs(90)).burst_size(), 1);
/// assert_eq!(Pace::unlimited().interval(), Duration::ZERO);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use = "a pace does nothing until it is given to a client"]
pub struct Pace {
    interval: Duration,
    burst: u32,
    jitter: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self::per_second(1).jitter(0.05)
    }
}

impl Pace {
    /// Two calls closer than this cannot be told apart by timers, which have a grain of a millisecond and wake late.
    const GRAIN: Duration = Duration::from_millis(20);

    /// A pace of `calls` a second, at least one; for a slower one see [`every`](Self::every).
    ///
    /// 0 is taken as 1.
    pub fn per_second(calls: u32) -> Self {
        Self::every(Duration::from_secs(1) / calls.max(1))
    }

    /// A pace of one call per `interval`; zero is [`unlimited`](Self::unlimited).
    ///
    /// The burst is 1 for 20 ms and longer, and as many calls as fit into 20 ms for less, so that late timers cost no speed.
    pub fn every(interval: Duration) -> Self {
        let fitting = Self::GRAIN.as_nanos().checked_div(interval.as_nanos()).unwrap_or(1);
        Self { interval, burst: u32::try_from(fitting).unwrap_or(u32::MAX).max(1), jitter: 0.0 }
    }

    /// No pace at all: only the pauses that the server asks for are kept.
    pub fn unlimited() -> Self {
        Self::every(Duration::ZERO)
    }

    /// Sets how many calls may be made at once after a rest; 0 is taken as 1.
    pub fn burst(mut self, calls: u32) -> Self {
        self.burst = calls.max(1);
        self
    }

    /// Sets the share of the interval, from 0 to 1, by which each turn is put off at random.
    ///
    /// It only ever makes calls later. Without bursts the pace drops by half the share on average.
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = if share > 0.0 { share.min(1.0) } else { 0.0 };
        self
    }

    /// The average time between two calls; zero for none.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// How many calls may be made at once after a rest, at least 1.
    #[must_use]
    pub fn burst_size(&self) -> u32 {
        self.burst
    }

    /// How much later than it could a turn comes, by chance.
    fn put_off(&self) -> Duration {
        let share = self.interval.as_secs_f64() * self.jitter * fastrand::f64();
        Duration::try_from_secs_f64(share).unwrap_or(Duration::MAX)
    }
}

/// The bucket: pure, its times are counted from any fixed moment.
#[derive(Debug)]
struct Gcra {
    interval: Duration,
    tolerance: Duration,
    /// When the bucket will be empty ("theoretical arrival time"); `None` until the first call.
    empty_at: Option<Duration>,
}

impl Gcra {
    fn new(pace: &Pace) -> Self {
        Self { interval: pace.interval, tolerance: pace.interval.saturating_mul(pace.burst - 1), empty_at: None }
    }

    /// The first moment at which a call conforms; `None` means any.
    fn earliest(&self) -> Option<Duration> {
        self.empty_at.map(|at| at.saturating_sub(self.tolerance))
    }

    fn take(&mut self, now: Duration) {
        self.empty_at = Some(self.empty_at.unwrap_or_default().max(now).saturating_add(self.interval));
    }

    /// Allows one call at `until` and then one per interval: no burst is saved up over a pause.
    fn pause(&mut self, until: Duration) {
        let at = until.saturating_add(self.tolerance);
        self.empty_at = Some(self.empty_at.map_or(at, |old| old.max(at)));
    }
}

/// Hands out turns at a [`Pace`], and keeps the pauses that a server asks for.
///
/// One limiter stands for one instance: share it among all who call it. For implementations of
/// [`AddressBook`](crate::AddressBook):
///
/// ```
/// use std::time::Duration;
/// use wawp_contacts::{Error, ErrorKind, Pace, pace::Limiter};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let limiter = Limiter::new(Pace::per_second(50));
/// limiter.turn(Duration::ZERO).await?;
/// // ... the call is made, and the server asks for a pause:
/// limiter.heed(&Error::new(ErrorKind::QuotaReached).with_retry_after(Duration::from_secs(60)));
///
/// let error = limiter.turn(Duration::ZERO).await.unwrap_err();
/// assert_eq!((error.kind(), error.attempts()), (ErrorKind::QuotaReached, 0));
/// assert!(error.retry_after() > Some(Duration::from_secs(59)));
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Limiter {
    pace: Pace,
    epoch: Instant,
    /// The pause that ends last, if the server ever asked for one.
    pause: Lock<Option<Pause>>,
    /// Told of each new pause: whoever sleeps in line has to look again.
    paused: Notify,
    /// Held by the first in line until its turn; tokio's lock is fair, which makes it the line.
    line: Mutex<Gcra>,
}

/// A pause that the server asked for.
#[derive(Debug, Clone, Copy)]
struct Pause {
    /// Its end, counted from the limiter's epoch.
    until: Duration,
    /// What the server asked for it with.
    kind: ErrorKind,
}

impl Limiter {
    /// Makes a limiter that has handed out nothing yet: the first turn comes at once.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        let line = Mutex::new(Gcra::new(&pace));
        Self { pace, epoch: Instant::now(), pause: Lock::default(), paused: Notify::new(), line }
    }

    /// The pace that it keeps.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Lets nobody go for `wait` from now on, because of an error of this kind; a shorter pause than the present one changes
    /// nothing.
    pub fn pause(&self, wait: Duration, kind: ErrorKind) {
        let until = self.epoch.elapsed().saturating_add(wait);
        {
            let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
            if pause.is_some_and(|pause| pause.until >= until) {
                return;
            }
            *pause = Some(Pause { until, kind });
        }
        self.paused.notify_waiters();
    }

    /// Keeps the [pause](Self::pause) that an error asks for, whatever its kind; one that asks for none changes nothing.
    pub fn heed(&self, error: &Error) {
        if let Some(wait) = error.retry_after() {
            self.pause(wait, error.kind());
        }
    }

    /// Waits for a turn, and takes it. Dropping the future gives up the place in the line and takes nothing.
    ///
    /// # Errors
    ///
    /// If a server asked for a pause of which more than `patience` is left, fails at once, also while it stands in line: with the
    /// kind of error that asked for the pause, with what is left of it as [`Error::retry_after`], and with 0 attempts.
    pub async fn turn(&self, patience: Duration) -> Result<(), Error> {
        // Whoever waits out a long pause in vain should not have to wait for the line as well.
        self.pause_within(patience)?;
        if self.pace.interval.is_zero() {
            return self.pause_over(patience).await;
        }
        let put_off = self.pace.put_off();
        let mut bucket = self.line.lock().await;
        loop {
            let new_pause = self.paused.notified();
            let pause = self.pause_within(patience)?;
            if let Some(until) = pause {
                bucket.pause(until);
            }
            let now = self.epoch.elapsed();
            let ready = bucket.earliest().map_or(now, |at| at.saturating_add(put_off)).max(pause.unwrap_or_default());
            if ready <= now {
                bucket.take(now);
                return Ok(());
            }
            tokio::select! { () = sleep(ready.saturating_sub(now)) => {}, () = new_pause => {} }
        }
    }

    async fn pause_over(&self, patience: Duration) -> Result<(), Error> {
        while let Some(until) = self.pause_within(patience)? {
            let left = until.saturating_sub(self.epoch.elapsed());
            if left.is_zero() {
                break;
            }
            sleep(left).await;
        }
        Ok(())
    }

    /// Until when the last pause lasts or lasted; an error if more of it is left than `patience`.
    fn pause_within(&self, patience: Duration) -> Result<Option<Duration>, Error> {
        let Some(pause) = *self.pause.lock().unwrap_or_else(PoisonError::into_inner) else { return Ok(None) };
        let left = pause.until.saturating_sub(self.epoch.elapsed());
        if left <= patience {
            return Ok(Some(pause.until));
        }
        let hint = "the server asked for a pause that is not over, so nothing was sent";
        Err(Error::new(pause.kind).without_doubt().with_retry_after(left).after(0).with_hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use tokio::time::{advance, timeout};

    use super::*;
    use ErrorKind::{QuotaReached, RateLimited};

    const SECOND: Duration = Duration::from_secs(1);
    const FOREVER: Duration = Duration::MAX;

    /// More than `rate * w + burst` calls in a window that starts and ends with a call.
    fn crowded_window(calls: &[Duration], pace: &Pace) -> Option<(Duration, Duration)> {
        let fits = |window: Duration, count: usize| {
            f64::from(u32::try_from(count).unwrap())
                <= window.as_secs_f64() / pace.interval.as_secs_f64() + f64::from(pace.burst) + 1e-6
        };
        let pairs = (0..calls.len()).flat_map(|from| (from..calls.len()).map(move |to| (from, to)));
        let crowded = |&(from, to): &(usize, usize)| !fits(calls[to].saturating_sub(calls[from]), to - from + 1);
        pairs.into_iter().find(crowded).map(|(from, to)| (calls[from], calls[to]))
    }

    fn limiter(pace: Pace) -> Arc<Limiter> {
        Arc::new(Limiter::new(pace))
    }

    async fn calls(limiter: &Limiter, count: usize) -> Vec<Duration> {
        let mut at = Vec::new();
        for _ in 0..count {
            limiter.turn(FOREVER).await.unwrap();
            at.push(limiter.epoch.elapsed());
        }
        at
    }

    proptest! {
        #[test]
        fn p5_no_window_holds_more_than_rate_times_length_plus_burst(
            gaps in prop::collection::vec(0u64..3_000, 1..80),
            rate in 0.5f64..100.0,
            burst in 1u32..10,
            pauses in prop::collection::vec(prop::option::weighted(0.1, 0u64..5_000), 80),
        ) {
            let pace = Pace::every(Duration::from_secs_f64(rate.recip())).burst(burst);
            let mut bucket = Gcra::new(&pace);
            let (mut now, mut made) = (Duration::ZERO, Vec::new());
            for (gap, pause) in gaps.into_iter().zip(pauses) {
                now += Duration::from_millis(gap);
                if let Some(pause) = pause {
                    let until = now + Duration::from_millis(pause);
                    bucket.pause(until);
                    prop_assert!(bucket.earliest() >= Some(until));
                }
                now = now.max(bucket.earliest().unwrap_or_default());
                bucket.take(now);
                made.push(now);
            }
            prop_assert_eq!(crowded_window(&made, &pace), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_an_interval_apart_and_the_first_goes_at_once() {
        let at = calls(&Limiter::new(Pace::per_second(2)), 4).await;
        assert_eq!(at, [0, 500, 1000, 1500].map(Duration::from_millis));
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_is_earned_back_by_resting() {
        let limiter = Limiter::new(Pace::per_second(1).burst(3));
        assert_eq!(calls(&limiter, 4).await, [0, 0, 0, 1].map(Duration::from_secs));
        advance(10 * SECOND).await;
        assert_eq!(calls(&limiter, 4).await, [11, 11, 11, 12].map(Duration::from_secs));
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_only_ever_puts_off() {
        let pace = Pace::per_second(10).jitter(1.0);
        let at = calls(&Limiter::new(pace), 200).await;
        assert_eq!(crowded_window(&at, &pace), None);
        assert!(at[199] > 199 * pace.interval(), "some turns came later than the interval asks");
        assert!(at[199] <= 2 * 200 * pace.interval());
    }

    #[tokio::test(start_paused = true)]
    async fn all_workers_together_keep_the_pace_and_are_served_in_order() {
        let (limiter, (sender, mut served)) = (limiter(Pace::per_second(5)), tokio::sync::mpsc::unbounded_channel());
        for worker in 0..20 {
            let (limiter, sender) = (Arc::clone(&limiter), sender.clone());
            tokio::spawn(async move {
                limiter.turn(FOREVER).await.unwrap();
                sender.send((worker, limiter.epoch.elapsed())).unwrap();
            });
            tokio::task::yield_now().await;
        }
        drop(sender);
        for worker in 0..20 {
            assert_eq!(served.recv().await, Some((worker, worker * Duration::from_millis(200))));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_gives_up_takes_no_turn_with_it() {
        let limiter = limiter(Pace::per_second(1));
        limiter.turn(FOREVER).await.unwrap();
        let first_in_line = timeout(SECOND / 2, limiter.turn(FOREVER));
        let second_in_line = timeout(SECOND / 2, limiter.turn(FOREVER));
        let third_in_line = calls(&limiter, 1);
        let (first, second, third) = tokio::join!(first_in_line, second_in_line, third_in_line);
        assert!(first.is_err() && second.is_err());
        assert_eq!(third, [SECOND]);
    }

    #[tokio::test(start_paused = true)]
    async fn p5_a_pause_holds_everyone_back_and_saves_up_no_burst() {
        for pace in [Pace::per_second(1).burst(5), Pace::per_second(1)] {
            let limiter = limiter(pace);
            limiter.turn(FOREVER).await.unwrap();
            let pausing = async {
                sleep(SECOND / 2).await;
                limiter.pause(30 * SECOND, RateLimited);
                limiter.pause(SECOND, RateLimited);
            };
            let waiting = async {
                sleep(SECOND * 6 / 10).await;
                calls(&limiter, 3).await
            };
            let ((), at) = tokio::join!(pausing, waiting);
            assert_eq!(at, [30_500, 31_500, 32_500].map(Duration::from_millis));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_reaches_those_who_already_sleep_in_line() {
        let limiter = limiter(Pace::per_second(1));
        limiter.turn(FOREVER).await.unwrap();
        let pausing = async {
            sleep(SECOND / 2).await;
            limiter.pause(9 * SECOND, RateLimited);
        };
        let (at, ()) = tokio::join!(calls(&limiter, 2), pausing);
        assert_eq!(at, [9_500, 10_500].map(Duration::from_millis));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_beyond_the_patience_fails_at_once() {
        for pace in [Pace::per_second(1), Pace::unlimited()] {
            let limiter = Limiter::new(pace);
            limiter.pause(60 * SECOND, QuotaReached);
            let error = limiter.turn(59 * SECOND).await.unwrap_err();
            assert_eq!((error.kind(), error.retry_after(), error.attempts()), (QuotaReached, Some(60 * SECOND), 0));
            assert!(!error.is_in_doubt());
            assert_eq!(limiter.epoch.elapsed(), Duration::ZERO);
            limiter.turn(60 * SECOND).await.unwrap();
            assert_eq!(limiter.epoch.elapsed(), 60 * SECOND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unlimited_pace_waits_for_nothing_but_a_pause() {
        let limiter = Limiter::new(Pace::unlimited());
        assert_eq!(calls(&limiter, 1_000).await.last(), Some(&Duration::ZERO));
        limiter.pause(SECOND, RateLimited);
        assert_eq!(calls(&limiter, 2).await, [SECOND, SECOND]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_beyond_the_patience_sends_home_those_who_already_sleep_in_line() {
        let limiter = limiter(Pace::every(3_600 * SECOND));
        limiter.turn(FOREVER).await.unwrap();
        let pausing = async {
            sleep(SECOND).await;
            limiter.heed(&Error::new(ErrorKind::Server).with_retry_after(9 * SECOND));
        };
        let (first, second, ()) = tokio::join!(limiter.turn(Duration::ZERO), limiter.turn(Duration::ZERO), pausing);
        for error in [first.unwrap_err(), second.unwrap_err()] {
            assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Server, Some(9 * SECOND)));
            assert!(!error.is_in_doubt(), "nothing was sent");
        }
        assert_eq!(limiter.epoch.elapsed(), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn any_duration_is_taken() {
        for pace in [Pace::every(Duration::MAX).jitter(1.0).burst(u32::MAX), Pace::unlimited(), Pace::default()] {
            let limiter = Limiter::new(pace);
            limiter.turn(FOREVER).await.unwrap();
            limiter.pause(Duration::MAX, RateLimited);
            assert!(limiter.turn(Duration::ZERO).await.is_err());
            assert!(timeout(SECOND, limiter.turn(FOREVER)).await.is_err());
        }
        let limiter = Limiter::new(Pace::every(Duration::MAX).jitter(1.0));
        limiter.turn(FOREVER).await.unwrap();
        assert!(timeout(SECOND, limiter.turn(FOREVER)).await.is_err());
    }

    #[test]
    fn a_pace_says_its_interval_and_its_burst() {
        let said = |pace: Pace| (pace.interval(), pace.burst_size());
        assert_eq!(said(Pace::per_second(0)), (SECOND, 1));
        assert_eq!(said(Pace::per_second(200)), (Duration::from_millis(5), 4));
        assert_eq!(said(Pace::every(10 * SECOND)), (10 * SECOND, 1));
        assert_eq!(said(Pace::per_second(1).burst(0)), (SECOND, 1));
        assert_eq!(said(Pace::per_second(1).burst(7)), (SECOND, 7));
    }
}
