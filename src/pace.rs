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
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

/// How often an instance may be called.
///
/// By default once a second, without bursts, each turn put off by up to a twentieth of a second at random.
///
/// ```
/// use std::time::Duration;
/// use wawp_contacts::Pace;
///
/// assert_eq!(Pace::default().interval(), Duration::from_secs(1));
/// assert_eq!(Pace::per_second(20.0).burst(5).interval(), Duration::from_millis(50));
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
        Self::per_second(1.0).jitter(0.05)
    }
}

impl Pace {
    /// Two calls closer than this cannot be told apart by timers, which have a grain of a millisecond and wake late.
    const GRAIN: Duration = Duration::from_millis(20);
    /// The slowest pace: one call a day.
    const SLOWEST: Duration = Duration::from_secs(86_400);

    /// A pace of `calls` a second; fractions make it slower than one a second.
    ///
    /// The burst is 1 up to 50 a second and as many calls as fit into 20 ms above, so that late timers cost no speed. A pace
    /// that is not a number, zero or negative is taken as the slowest, one call a day.
    pub fn per_second(calls: f64) -> Self {
        let interval = if calls > 0.0 {
            Duration::try_from_secs_f64(calls.recip()).unwrap_or(Self::SLOWEST).min(Self::SLOWEST)
        } else {
            Self::SLOWEST
        };
        let burst = u32::try_from(Self::GRAIN.as_nanos() / interval.as_nanos().max(1)).unwrap_or(u32::MAX);
        Self { interval, burst: burst.max(1), jitter: 0.0 }
    }

    /// No pace at all: only the pauses that the server asks for are kept.
    pub fn unlimited() -> Self {
        Self { interval: Duration::ZERO, burst: 1, jitter: 0.0 }
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
        self.empty_at = Some(self.empty_at.unwrap_or_default().max(now) + self.interval);
    }

    /// Allows one call at `until` and then one per interval: no burst is saved up over a pause.
    fn pause(&mut self, until: Duration) {
        let at = until.saturating_add(self.tolerance);
        self.empty_at = Some(self.empty_at.map_or(at, |old| old.max(at)));
    }
}

/// Hands out turns at a [`Pace`].
#[derive(Debug)]
pub(crate) struct Limiter {
    pace: Pace,
    epoch: Instant,
    /// Until when the server asked for a pause, in nanoseconds since `epoch`; 0 if it never did.
    paused_until: AtomicU64,
    /// Held by the first in line until its turn; tokio's lock is fair, which makes it the line.
    line: Mutex<Gcra>,
}

impl Limiter {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, epoch: Instant::now(), paused_until: AtomicU64::new(0), line: Mutex::new(Gcra::new(&pace)) }
    }

    pub(crate) fn interval(&self) -> Duration {
        self.pace.interval
    }

    /// Lets nobody go for `wait` from now on; a shorter pause than the present one changes nothing.
    pub(crate) fn pause(&self, wait: Duration) {
        let until = self.epoch.elapsed().saturating_add(wait).as_nanos();
        self.paused_until.fetch_max(u64::try_from(until).unwrap_or(u64::MAX), Relaxed);
    }

    /// Waits for a turn, and takes it.
    ///
    /// # Errors
    ///
    /// Fails at once with the time that is left if the server asked for a pause that lasts longer than `patience`.
    pub(crate) async fn turn(&self, patience: Duration) -> Result<(), Duration> {
        if self.pace.interval.is_zero() {
            return self.pause_over(patience).await;
        }
        // Whoever waits out a long pause in vain should not have to wait for the line as well.
        self.check_pause(patience)?;
        let put_off = self.pace.interval.mul_f64(self.pace.jitter * fastrand::f64());
        let mut bucket = self.line.lock().await;
        loop {
            let pause = self.check_pause(patience)?;
            if let Some(until) = pause {
                bucket.pause(until);
            }
            let now = self.epoch.elapsed();
            let ready = bucket.earliest().map_or(now, |at| at + put_off).max(pause.unwrap_or_default());
            if ready <= now {
                bucket.take(now);
                return Ok(());
            }
            // Another call may be told to pause while this one sleeps, so look again.
            sleep_until(self.epoch + ready).await;
        }
    }

    async fn pause_over(&self, patience: Duration) -> Result<(), Duration> {
        while let Some(until) = self.check_pause(patience)? {
            if until <= self.epoch.elapsed() {
                break;
            }
            sleep_until(self.epoch + until).await;
        }
        Ok(())
    }

    /// Until when the last pause lasts or lasted, or how much of it is left if that is more than `patience`.
    fn check_pause(&self, patience: Duration) -> Result<Option<Duration>, Duration> {
        let until = match self.paused_until.load(Relaxed) {
            0 => return Ok(None),
            nanos => Duration::from_nanos(nanos),
        };
        let left = until.saturating_sub(self.epoch.elapsed());
        if left > patience { Err(left) } else { Ok(Some(until)) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use tokio::time::{advance, timeout};

    use super::*;

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
            let pace = Pace::per_second(rate).burst(burst);
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
        let at = calls(&Limiter::new(Pace::per_second(2.0)), 4).await;
        assert_eq!(at, [0, 500, 1000, 1500].map(Duration::from_millis));
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_is_earned_back_by_resting() {
        let limiter = Limiter::new(Pace::per_second(1.0).burst(3));
        assert_eq!(calls(&limiter, 4).await, [0, 0, 0, 1].map(Duration::from_secs));
        advance(10 * SECOND).await;
        assert_eq!(calls(&limiter, 4).await, [11, 11, 11, 12].map(Duration::from_secs));
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_only_ever_puts_off() {
        let pace = Pace::per_second(10.0).jitter(1.0);
        let at = calls(&Limiter::new(pace), 200).await;
        assert_eq!(crowded_window(&at, &pace), None);
        assert!(at[199] > 199 * pace.interval(), "some turns came later than the interval asks");
        assert!(at[199] <= 2 * 200 * pace.interval());
    }

    #[tokio::test(start_paused = true)]
    async fn all_workers_together_keep_the_pace_and_are_served_in_order() {
        let (limiter, (sender, mut served)) = (limiter(Pace::per_second(5.0)), tokio::sync::mpsc::unbounded_channel());
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
        let limiter = limiter(Pace::per_second(1.0));
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
        for pace in [Pace::per_second(1.0).burst(5), Pace::per_second(1.0)] {
            let limiter = limiter(pace);
            limiter.turn(FOREVER).await.unwrap();
            let pausing = async {
                tokio::time::sleep(SECOND / 2).await;
                limiter.pause(30 * SECOND);
                limiter.pause(SECOND);
            };
            let waiting = async {
                tokio::time::sleep(SECOND * 6 / 10).await;
                calls(&limiter, 3).await
            };
            let ((), at) = tokio::join!(pausing, waiting);
            assert_eq!(at, [30_500, 31_500, 32_500].map(Duration::from_millis));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_reaches_those_who_already_sleep_in_line() {
        let limiter = limiter(Pace::per_second(1.0));
        limiter.turn(FOREVER).await.unwrap();
        let pausing = async {
            tokio::time::sleep(SECOND / 2).await;
            limiter.pause(9 * SECOND);
        };
        let (at, ()) = tokio::join!(calls(&limiter, 2), pausing);
        assert_eq!(at, [9_500, 10_500].map(Duration::from_millis));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_beyond_the_patience_fails_at_once() {
        for pace in [Pace::per_second(1.0), Pace::unlimited()] {
            let limiter = Limiter::new(pace);
            limiter.pause(60 * SECOND);
            assert_eq!(limiter.turn(59 * SECOND).await, Err(60 * SECOND));
            assert_eq!(limiter.epoch.elapsed(), Duration::ZERO);
            assert_eq!(limiter.turn(60 * SECOND).await, Ok(()));
            assert_eq!(limiter.epoch.elapsed(), 60 * SECOND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unlimited_pace_waits_for_nothing_but_a_pause() {
        let limiter = Limiter::new(Pace::unlimited());
        assert_eq!(calls(&limiter, 1_000).await.last(), Some(&Duration::ZERO));
        limiter.pause(SECOND);
        assert_eq!(calls(&limiter, 2).await, [SECOND, SECOND]);
    }

    #[test]
    fn odd_numbers_make_a_slow_pace_never_a_fast_one() {
        for calls in [0.0, -1.0, f64::NAN, f64::MIN_POSITIVE, f64::NEG_INFINITY] {
            assert_eq!(Pace::per_second(calls).interval(), Duration::from_secs(86_400), "{calls}");
        }
        assert_eq!(Pace::per_second(0.1).interval(), 10 * SECOND);
        assert_eq!(Pace::per_second(200.0).burst, 4);
        assert_eq!(Pace::per_second(1.0).burst(0).burst, 1);
    }
}
