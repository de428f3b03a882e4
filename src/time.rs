//! Moments, and the one clock that tells them.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::iso8601;

/// A moment: milliseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The last moment that there is.
    pub const MAX: Self = Self(u64::MAX);

    /// The moment this much later, at most [`MAX`](Self::MAX).
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(millis(wait)))
    }

    /// The moment this much earlier, at least 1970.
    #[must_use]
    pub fn before(self, head_start: Duration) -> Self {
        Self(self.0.saturating_sub(millis(head_start)))
    }

    /// How much later this is than `earlier`, zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// As `2026-01-02 03:04:05 UTC`.
///
/// ```
/// use wawp_contacts::time::Timestamp;
///
/// assert_eq!(Timestamp(1_767_323_045_678).to_string(), "2026-01-02 03:04:05 UTC");
/// ```
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000;
        let (year, month, day) = iso8601::date(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Tells the time to a sync and to its ledger.
///
/// The default is the system's clock. A test takes a [`virtual`](Self::starting_at) one, which follows the runtime's clock: where
/// that is paused, hours pass in no time. Clones tell the same time.
///
/// ```
/// use std::time::Duration;
/// use wawp_contacts::time::{Clock, Timestamp};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
/// let clock = Clock::starting_at(Timestamp(1_000));
/// tokio::time::sleep(Duration::from_secs(3_600)).await;
/// assert_eq!(clock.now(), Timestamp(3_601_000));
/// clock.shift(-600_000); // somebody set the clock back
/// assert_eq!(clock.now(), Timestamp(3_001_000));
/// # });
/// # Ok::<_, std::io::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<Virtual>>);

#[derive(Debug)]
struct Virtual {
    start: Timestamp,
    epoch: Instant,
    shift: AtomicI64,
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that shows `start` now and goes on with the runtime's clock, which a test can pause.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self(Some(Arc::new(Virtual { start, epoch: Instant::now(), shift: AtomicI64::new(0) })))
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let Some(clock) = self.0.as_deref() else {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            return Timestamp(millis(since));
        };
        let now = clock.start.after(clock.epoch.elapsed());
        Timestamp(now.0.saturating_add_signed(clock.shift.load(Relaxed)))
    }

    /// Sets a virtual clock forward by so many milliseconds, or back; the system's clock is left alone.
    pub fn shift(&self, millis: i64) {
        if let Some(clock) = self.0.as_deref() {
            clock.shift.fetch_add(millis, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_saturate_instead_of_overflowing() {
        assert_eq!(Timestamp(5).after(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp(5).before(Duration::MAX), Timestamp(0));
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
    }

    #[test]
    fn the_system_clock_tells_this_century() {
        assert!(Clock::system().now() > Timestamp(1_600_000_000_000));
    }
}
