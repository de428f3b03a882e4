//! What becomes of requests: episodes of trouble, drawn from a seed.

use std::time::Duration;

use fastrand::Rng;

use super::log::Happening;
use crate::{Error, ErrorKind};

/// When the caller of a request gives up.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a request can take effect from the moment of sending.
pub(super) const DEADLINE: Duration = Duration::from_secs(35);

/// What is wrong with one contact, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// Each of its updates is refused (400).
    Refused,
    /// Each of its updates is forbidden (403).
    Forbidden,
    /// Each of its updates fails (500), without effect.
    Fails,
    /// Each read of it fails (500).
    Unreadable,
}

/// What becomes of one request.
#[derive(Debug)]
pub(super) struct Fate {
    /// When it takes effect after it was sent, if it does.
    pub(super) effect: Option<Duration>,
    /// When the caller has the answer.
    pub(super) answer: Duration,
    pub(super) result: Result<(), Error>,
    /// What to count it as, if it is no plain success.
    pub(super) happening: Option<Happening>,
}

/// What the instance is going through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sky {
    Calm,
    Lossy,
    Storm,
    Throttled,
    LoggedOut,
    Revoked,
    Muddled,
    Slow,
}

impl Sky {
    const ALL: [Self; 8] = [
        Self::Calm,
        Self::Lossy,
        Self::Storm,
        Self::Throttled,
        Self::LoggedOut,
        Self::Revoked,
        Self::Muddled,
        Self::Slow,
    ];

    /// How many of a hundred updates go wrong in which way; the others go well.
    fn odds(self) -> &'static [(u32, Mishap)] {
        use Mishap::{
            Connect, Garbled, Gateway, LateTimeout, LostAnswer, LostRequest, Reset, Server, ServerDid, TooMany,
            TooManyBare, Unavailable, Unclear,
        };
        match self {
            Self::Calm | Self::Slow => &[(1, LostAnswer), (1, LateTimeout)],
            Self::Lossy => {
                &[(10, LostRequest), (8, LostAnswer), (8, Reset), (14, LateTimeout), (10, Gateway), (6, Connect)]
            }
            Self::Storm => &[(40, Server), (15, ServerDid), (10, Gateway), (5, Unavailable), (10, Connect)],
            Self::Throttled => &[(25, TooMany), (15, TooManyBare), (15, Unavailable)],
            Self::LoggedOut => &[(100, Mishap::LoggedOut)],
            Self::Revoked => &[(100, Mishap::Revoked)],
            Self::Muddled => &[(25, Unclear), (15, Garbled)],
        }
    }
}

/// In which way a request goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mishap {
    Connect,
    LostRequest,
    LostAnswer,
    /// The connection dies after the name was set.
    Reset,
    /// The caller gives up, and the name is set afterwards.
    LateTimeout,
    /// A gateway gives up, and the name is set afterwards.
    Gateway,
    Server,
    ServerDid,
    TooMany,
    TooManyBare,
    Unavailable,
    LoggedOut,
    Revoked,
    Unclear,
    Garbled,
}

/// The episodes of one simulation.
#[derive(Debug)]
pub(super) struct Weather {
    rng: Rng,
    is_on: bool,
    /// Whether it now and then acknowledges a name and does not set it.
    is_forgetful: bool,
    sky: Sky,
    until: Duration,
    /// Until when the instance is throttled, as it told a caller.
    wait_until: Duration,
}

impl Weather {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            is_on: false,
            is_forgetful: false,
            sky: Sky::Calm,
            until: Duration::ZERO,
            wait_until: Duration::ZERO,
        }
    }

    /// Lets trouble come, or ends it for good.
    pub(super) fn set(&mut self, is_on: bool) {
        self.is_on = is_on;
        if !is_on {
            (self.sky, self.wait_until) = (Sky::Calm, Duration::ZERO);
        }
    }

    /// Lets names be acknowledged and not set, as long as trouble may come.
    pub(super) fn forget_names(&mut self) {
        self.is_forgetful = true;
    }

    fn sky(&mut self, now: Duration) -> Sky {
        if self.is_on && now >= self.until {
            self.sky = self.rng.choice(Sky::ALL).unwrap_or(Sky::Calm);
            self.until = now + self.between(2_000, 60_000);
        }
        self.sky
    }

    fn between(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.u64(from..to))
    }

    fn latency(&mut self) -> Duration {
        let longest = if self.sky == Sky::Slow { 25_000 } else { 400 };
        self.between(5, longest)
    }

    /// A moment up to the deadline, often the last possible one.
    fn late(&mut self, from: Duration) -> Duration {
        let from = u64::try_from(from.as_millis()).unwrap_or_default();
        let last = u64::try_from(DEADLINE.as_millis()).unwrap_or_default();
        if self.rng.bool() { Duration::from_millis(last - 1) } else { self.between(from, last) }
    }

    fn mishap(&mut self, now: Duration) -> Option<Mishap> {
        let sky = self.sky(now);
        if now < self.wait_until {
            return Some(Mishap::TooMany);
        }
        if !self.is_on {
            return None;
        }
        let mut drawn = self.rng.u32(0..100);
        for (share, mishap) in sky.odds() {
            if drawn < *share {
                return Some(*mishap);
            }
            drawn -= share;
        }
        None
    }

    /// What becomes of an update.
    pub(super) fn update(&mut self, now: Duration, trouble: Option<Trouble>) -> Fate {
        let mishap = self.mishap(now);
        let latency = self.latency();
        let instance_is_out = matches!(mishap, Some(Mishap::LoggedOut | Mishap::Revoked | Mishap::TooMany));
        let (effect, answer, result, happening) = match (trouble, mishap) {
            (Some(Trouble::Refused), _) if !instance_is_out => (
                None,
                latency,
                Err(Error::new(ErrorKind::Rejected).with_status(400).with_message("invalid chat")),
                Some(Happening::Refused),
            ),
            (Some(Trouble::Forbidden), _) if !instance_is_out => {
                (None, latency, Err(Error::new(ErrorKind::Forbidden).with_status(403)), Some(Happening::Forbidden))
            }
            (Some(Trouble::Fails), _) if !instance_is_out => {
                (None, latency, Err(Error::new(ErrorKind::Server).with_status(500)), Some(Happening::AlwaysFails))
            }
            (_, None) if self.is_on && self.is_forgetful && self.rng.u32(0..15) == 0 => {
                (None, latency, Ok(()), Some(Happening::Unkept))
            }
            (_, None) => (Some(latency / 2), latency, Ok(()), None),
            (_, Some(mishap)) => self.befall(now, mishap, latency),
        };
        Fate { effect, answer, result, happening }
    }

    fn befall(
        &mut self,
        now: Duration,
        mishap: Mishap,
        latency: Duration,
    ) -> (Option<Duration>, Duration, Result<(), Error>, Option<Happening>) {
        let soon = Some(latency / 2);
        let timeout = || Err(Error::new(ErrorKind::Timeout));
        let server = |status| Err(Error::new(ErrorKind::Server).with_status(status));
        match mishap {
            Mishap::Connect => (None, latency, Err(Error::new(ErrorKind::Connect)), Some(Happening::NoConnection)),
            Mishap::LostRequest => (None, TIMEOUT, timeout(), Some(Happening::LostRequest)),
            Mishap::LostAnswer => (soon, TIMEOUT, timeout(), Some(Happening::LostAnswer)),
            Mishap::Reset => (soon, latency, Err(Error::new(ErrorKind::Interrupted)), Some(Happening::LostAnswer)),
            Mishap::LateTimeout => (Some(self.late(TIMEOUT)), TIMEOUT, timeout(), None),
            Mishap::Gateway => (Some(self.late(latency)), latency, server(504), None),
            Mishap::Server => (None, latency, server(500), Some(Happening::ServerError)),
            Mishap::ServerDid => (soon, latency, server(500), Some(Happening::ServerErrorWithEffect)),
            Mishap::TooMany => {
                let error = Error::new(ErrorKind::RateLimited).with_status(429).with_retry_after(self.throttle(now));
                (None, latency, Err(error), Some(Happening::TooMany))
            }
            Mishap::TooManyBare => {
                let error = Error::new(ErrorKind::RateLimited).with_status(429);
                (None, latency, Err(error), Some(Happening::TooManyBare))
            }
            Mishap::Unavailable => {
                let error = Error::new(ErrorKind::Server).with_status(503).with_retry_after(self.throttle(now));
                (None, latency, Err(error), Some(Happening::Unavailable))
            }
            Mishap::LoggedOut => {
                let error = Error::new(ErrorKind::SessionNotReady).with_status(422);
                (None, latency, Err(error), Some(Happening::LoggedOut))
            }
            Mishap::Revoked => {
                let error = Error::new(ErrorKind::Unauthorized).with_status(401);
                (None, latency, Err(error), Some(Happening::TokenRefused))
            }
            Mishap::Unclear => (None, latency, Err(Error::new(ErrorKind::Unclear)), Some(Happening::Unclear)),
            Mishap::Garbled => (soon, latency, Err(Error::new(ErrorKind::Decode)), Some(Happening::Undecodable)),
        }
    }

    /// How long to wait from now on; nobody is served before.
    fn throttle(&mut self, now: Duration) -> Duration {
        if self.wait_until <= now {
            let longest = if self.rng.u32(0..10) == 0 { 900 } else { 60 };
            self.wait_until = now + Duration::from_secs(self.rng.u64(1..longest));
        }
        // Whole seconds, as in a header.
        Duration::from_secs(self.wait_until.saturating_sub(now).as_secs() + 1)
    }

    /// What becomes of a read: how long it takes, and the error that it ends with, if it does.
    pub(super) fn read(&mut self, now: Duration, trouble: Option<Trouble>) -> (Duration, Result<(), Error>) {
        let mishap = self.mishap(now);
        let latency = self.latency();
        if trouble == Some(Trouble::Unreadable) {
            return (latency, Err(Error::new(ErrorKind::Server).with_status(500).without_doubt()));
        }
        let Some(mishap) = mishap else { return (latency, Ok(())) };
        // Reads have no effect: what does not fail the whole instance fails less often.
        let is_lucky = self.rng.bool() && !matches!(mishap, Mishap::LoggedOut | Mishap::Revoked | Mishap::TooMany);
        let (_, answer, result, _) = self.befall(now, mishap, latency);
        if is_lucky { (latency, Ok(())) } else { (answer, result.map_err(Error::without_doubt)) }
    }
}
