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
//!
//! # It learns
//!
//! The pace that a limiter is given is a cap. A server that answers "too many calls" ([`ErrorKind::RateLimited`], with `Retry-After` or
//! without) halves the rate, and the next turn comes an interval of the new pace later. Calls that were under way by then had no
//! chance to be slower, so their answers halve nothing again. Each call that works adds a 128th of the cap: after 64 of them a
//! halving is made good. No other error teaches anything: a spent quota and a server in trouble are not about speed.
//!
//! The rate never drops below a 64th of the cap, nor below one call a minute unless the cap is slower: a server that wants less than
//! that says so with a pause, and from there a limiter is back at its cap within minutes. Bursts shrink with the rate. A pace
//! without limit becomes one of 25 calls a second with the first such answer, as if its cap were 50, and has no limit again once that
//! is made good. What was learnt is forgotten with the limiter.

pub(crate) mod daily;

use std::{
    sync::{Mutex as Lock, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, sleep},
};

pub use self::daily::{Budget, Daily, Day, Schedule};
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

    /// No pace at all, until a server says that it is too fast: see [the module](self). The pauses that it asks for are kept.
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

    /// The pace at a share of the rate, in [`Learnt::FULL`]ths; bursts shrink with it.
    fn slowed_to(self, share: u32) -> Self {
        if share >= Learnt::FULL {
            return self;
        }
        let burst = u64::from(self.burst) * u64::from(share) / u64::from(Learnt::FULL);
        let interval = self.taught_interval().saturating_mul(Learnt::FULL) / share;
        Self { interval, burst: u32::try_from(burst).unwrap_or(u32::MAX).max(1), ..self }
    }

    /// The interval that a first halving starts from.
    fn taught_interval(&self) -> Duration {
        if self.interval.is_zero() { Self::GRAIN } else { self.interval }
    }

    /// The smallest share of the rate that may be left of it.
    fn least_share(&self) -> u32 {
        let of_a_minute = f64::from(Learnt::FULL) * self.taught_interval().as_secs_f64() / 60.0;
        (2..Learnt::FULL).find(|share| f64::from(*share) >= of_a_minute).unwrap_or(Learnt::FULL)
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
        let mut bucket = Self { interval: Duration::ZERO, tolerance: Duration::ZERO, empty_at: None };
        bucket.keep(pace);
        bucket
    }

    /// Keeps another pace from now on.
    fn keep(&mut self, pace: &Pace) {
        self.interval = pace.interval;
        self.tolerance = pace.interval.saturating_mul(pace.burst - 1);
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

/// What the answers of a server taught about its speed; pure, its times are counted from any fixed moment.
#[derive(Debug, Clone, Copy)]
struct Learnt {
    /// The share of the rate, in `FULL`ths.
    share: u32,
    least: u32,
    /// When it was halved last.
    slowed_at: Option<Duration>,
}

impl Learnt {
    const FULL: u32 = 128;

    fn new(pace: &Pace) -> Self {
        Self { share: Self::FULL, least: pace.least_share(), slowed_at: None }
    }

    /// Whether a call was begun after the last halving, so that its answer is about the present pace.
    fn is_news(&self, begun: Duration) -> bool {
        self.slowed_at.is_none_or(|at| begun > at)
    }

    fn worked(&mut self, begun: Duration) {
        if self.is_news(begun) {
            self.share = Self::FULL.min(self.share + 1);
        }
    }

    /// A call was too fast. Says whether that is news.
    fn too_fast(&mut self, begun: Duration, now: Duration) -> bool {
        let is_news = self.is_news(begun);
        if is_news {
            self.share = self.least.max(self.share / 2);
            self.slowed_at = Some(now);
        }
        is_news
    }
}

/// A call under way, for [`Limiter::heed`].
#[derive(Debug, Clone, Copy)]
#[must_use = "the limiter learns nothing of a call whose answer it is not told"]
pub struct Begun(Duration);

/// Hands out turns at a [`Pace`], keeps the pauses that a server asks for, and slows down where it says that it is too fast.
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
/// let call = limiter.begin();
/// // ... the call is made, and the server is asked for too much:
/// limiter.heed::<()>(call, &Err(Error::new(ErrorKind::RateLimited)));
/// assert_eq!(limiter.pace().interval(), Duration::from_millis(40), "half as fast");
///
/// limiter.turn(Duration::ZERO).await?;
/// let answer = Err::<(), _>(Error::new(ErrorKind::QuotaReached).with_retry_after(Duration::from_secs(60)));
/// limiter.heed(limiter.begin(), &answer);
/// assert_eq!((limiter.pace().interval(), limiter.cap()), (Duration::from_millis(40), Pace::per_second(50)));
///
/// let error = limiter.turn(Duration::ZERO).await.unwrap_err();
/// assert_eq!((error.kind(), error.attempts()), (ErrorKind::QuotaReached, 0));
/// assert!(error.retry_after() > Some(Duration::from_secs(59)));
/// # Ok::<(), Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Limiter {
    cap: Pace,
    epoch: Instant,
    learnt: Lock<Learnt>,
    /// The pause that ends last, if the server ever asked for one.
    pause: Lock<Option<Pause>>,
    /// Told of each new pause and each halving: whoever sleeps in line has to look again.
    news: Notify,
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
    /// Makes a limiter that has handed out nothing yet: the first turn comes at once. It is never faster than `cap`.
    #[must_use]
    pub fn new(cap: Pace) -> Self {
        let (line, learnt) = (Mutex::new(Gcra::new(&cap)), Lock::new(Learnt::new(&cap)));
        Self { cap, epoch: Instant::now(), learnt, pause: Lock::default(), news: Notify::new(), line }
    }

    /// The pace that it keeps now.
    pub fn pace(&self) -> Pace {
        self.cap.slowed_to(self.learnt().share)
    }

    /// The pace that it was given, and never exceeds.
    pub fn cap(&self) -> Pace {
        self.cap
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.news.notify_waiters();
    }

    /// Notes that a call is made now, right after its [turn](Self::turn).
    pub fn begin(&self) -> Begun {
        Begun(self.epoch.elapsed())
    }

    /// Learns from the answer to a call: keeps the [pause](Self::pause) that an error asks for, whatever its kind, and adapts the
    /// [pace](Self::pace) as [the module](self) says.
    pub fn heed<T>(&self, call: Begun, answer: &Result<T, Error>) {
        let Err(error) = answer else { return self.learnt().worked(call.0) };
        if error.kind() == ErrorKind::RateLimited && self.learnt().too_fast(call.0, self.epoch.elapsed()) {
            tracing::debug!(interval = ?self.pace().interval, "too fast; the pace is halved");
            self.news.notify_waiters();
        }
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
        if self.pace().interval.is_zero() {
            self.pause_over(patience).await?;
            // It may have been slowed down meanwhile.
            if self.pace().interval.is_zero() {
                return Ok(());
            }
        }
        let put_off = self.pace().put_off();
        let mut bucket = self.line.lock().await;
        loop {
            let news = self.news.notified();
            let pause = self.pause_within(patience)?;
            let learnt = *self.learnt();
            let pace = self.cap.slowed_to(learnt.share);
            bucket.keep(&pace);
            let rested = learnt.slowed_at.map(|at| at.saturating_add(pace.interval));
            for until in pause.into_iter().chain(rested) {
                bucket.pause(until);
            }
            let now = self.epoch.elapsed();
            let ready = bucket.earliest().map_or(now, |at| at.saturating_add(put_off)).max(pause.unwrap_or_default());
            if ready <= now {
                bucket.take(now);
                return Ok(());
            }
            tokio::select! { () = sleep(ready.saturating_sub(now)) => {}, () = news => {} }
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
            let busy = Error::new(ErrorKind::Server).with_retry_after(9 * SECOND);
            limiter.heed::<()>(limiter.begin(), &Err(busy));
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

    /// A call that is made and answered at once, by a server that may find it too fast.
    fn answer(limiter: &Limiter, is_fine: bool) {
        let error = || Err(Error::new(RateLimited));
        limiter.heed(limiter.begin(), &if is_fine { Ok(()) } else { error() });
    }

    /// The rate as a share of the cap's.
    fn share(limiter: &Limiter) -> f64 {
        limiter.cap().interval.as_secs_f64() / limiter.pace().interval.as_secs_f64()
    }

    proptest! {
        #[test]
        fn p5_no_window_holds_more_than_the_cap_or_than_what_was_learnt(
            steps in prop::collection::vec((0u64..3_000, 0u8..10), 1..120),
            rate in 0.5f64..100.0,
            burst in 1u32..10,
        ) {
            let cap = Pace::every(Duration::from_secs_f64(rate.recip())).burst(burst);
            let (mut bucket, mut learnt) = (Gcra::new(&cap), Learnt::new(&cap));
            let (mut now, mut made, mut since_halving) = (Duration::ZERO, Vec::new(), Vec::new());
            for (gap, luck) in steps {
                now += Duration::from_millis(gap);
                let pace = cap.slowed_to(learnt.share);
                bucket.keep(&pace);
                if let Some(at) = learnt.slowed_at {
                    bucket.pause(at + pace.interval);
                }
                now = now.max(bucket.earliest().unwrap_or_default());
                bucket.take(now);
                made.push(now);
                since_halving.push(now);
                prop_assert!(pace.interval >= cap.interval && pace.burst <= cap.burst);
                prop_assert_eq!(crowded_window(&since_halving, &pace), None, "learnt: {:?}", pace);
                match luck {
                    0 => {
                        now += Duration::from_millis(1);
                        prop_assert!(learnt.too_fast(now, now));
                        since_halving.clear();
                    }
                    _ => learnt.worked(now),
                }
            }
            prop_assert_eq!(crowded_window(&made, &cap), None);
        }

        #[test]
        fn a_rate_is_halved_and_made_good_and_never_leaves_its_bounds(
            interval in 1u64..200_000,
            answers in prop::collection::vec(any::<bool>(), 0..400),
        ) {
            let cap = Pace::every(Duration::from_millis(interval));
            let mut learnt = Learnt::new(&cap);
            for (at, is_fine) in answers.into_iter().enumerate() {
                let (before, at) = (learnt.share, Duration::from_secs(at as u64));
                if is_fine {
                    learnt.worked(at);
                    prop_assert!(learnt.share == before + 1 || (before, learnt.share) == (128, 128));
                } else {
                    learnt.too_fast(at, at);
                    prop_assert!(learnt.share == before / 2 || learnt.share == learnt.least);
                }
                let slowest = (64 * cap.interval).min(Duration::from_secs(60)).max(cap.interval);
                let now = cap.slowed_to(learnt.share).interval;
                prop_assert!(cap.interval <= now && now <= slowest, "{now:?}");
            }
            (500..630).for_each(|at| learnt.worked(Duration::from_secs(at)));
            prop_assert_eq!(cap.slowed_to(learnt.share), cap);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_429_halves_the_rate_and_the_next_turn_comes_a_new_interval_later() {
        let limiter = Limiter::new(Pace::per_second(2).burst(4));
        calls(&limiter, 1).await;
        advance(10 * SECOND).await;
        answer(&limiter, false);
        assert_eq!((limiter.pace().interval(), limiter.pace().burst_size()), (SECOND, 2));
        assert_eq!(calls(&limiter, 3).await, [11, 12, 13].map(Duration::from_secs));
        assert_eq!(limiter.cap(), Pace::per_second(2).burst(4));
    }

    #[tokio::test(start_paused = true)]
    async fn one_crowd_of_calls_halves_the_rate_once_and_its_successes_add_nothing() {
        let limiter = Limiter::new(Pace::per_second(10).burst(8));
        let crowd: Vec<_> = (0..8).map(|_| limiter.begin()).collect();
        advance(SECOND).await;
        for call in &crowd[..6] {
            limiter.heed::<()>(*call, &Err(Error::new(RateLimited)));
            advance(SECOND).await;
        }
        crowd[6..].iter().for_each(|call| limiter.heed(*call, &Ok(())));
        assert_eq!(limiter.pace().interval(), SECOND / 5);
        answer(&limiter, false);
        assert_eq!(limiter.pace().interval(), SECOND * 4 / 10, "a call that was begun since is news");
    }

    #[tokio::test(start_paused = true)]
    async fn sixty_four_calls_that_work_make_a_halving_good() {
        for pace in [Pace::per_second(1), Pace::unlimited()] {
            let limiter = Limiter::new(pace);
            answer(&limiter, false);
            assert_ne!(limiter.pace(), pace);
            for _ in 0..64 {
                assert_ne!(limiter.pace(), pace);
                limiter.turn(FOREVER).await.unwrap();
                answer(&limiter, true);
            }
            assert_eq!(limiter.pace(), pace);
            answer(&limiter, true);
            assert_eq!(limiter.pace(), pace, "never more than the cap");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_too_many_calls_slow_it_down() {
        let limiter = Limiter::new(Pace::per_second(1));
        for kind in ErrorKind::ALL.iter().filter(|kind| **kind != RateLimited) {
            limiter.heed::<()>(limiter.begin(), &Err(Error::new(*kind).with_retry_after(SECOND)));
        }
        assert_eq!(limiter.pace(), limiter.cap());
        limiter.heed::<()>(limiter.begin(), &Err(Error::new(RateLimited).with_retry_after(9 * SECOND)));
        assert!((share(&limiter) - 0.5).abs() < 1e-6);
        assert_eq!(calls(&limiter, 2).await, [9 * SECOND, 11 * SECOND], "the pause is kept as well");
    }

    #[tokio::test(start_paused = true)]
    async fn no_number_of_refusals_makes_it_slower_than_a_call_a_minute_or_a_64th() {
        for (cap, slowest) in [
            (Pace::per_second(1), 128 * SECOND / 3),
            (Pace::per_second(8), 8 * SECOND),
            (Pace::unlimited(), Duration::from_millis(20 * 64)),
            (Pace::every(90 * SECOND), 90 * SECOND),
        ] {
            let limiter = Limiter::new(cap);
            for _ in 0..20 {
                limiter.turn(FOREVER).await.unwrap();
                advance(SECOND).await;
                answer(&limiter, false);
            }
            assert_eq!(limiter.pace().interval(), slowest, "{cap:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_halving_reaches_those_who_already_wait() {
        let limiter = limiter(Pace::per_second(1));
        limiter.turn(FOREVER).await.unwrap();
        let slowing = async {
            sleep(SECOND / 2).await;
            answer(&limiter, false);
        };
        let (at, ()) = tokio::join!(calls(&limiter, 2), slowing);
        assert_eq!(at, [2_500, 4_500].map(Duration::from_millis));
        let limiter = Limiter::new(Pace::unlimited());
        limiter.pause(SECOND, RateLimited);
        let (first, second, ()) =
            tokio::join!(calls(&limiter, 1), calls(&limiter, 1), async { answer(&limiter, false) });
        assert_eq!(first[0].min(second[0]), SECOND);
        assert_eq!(first[0].max(second[0]), Duration::from_millis(1_040), "not both at once");
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
