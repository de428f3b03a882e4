//! What happened in a simulation, in order, and how often.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use crate::testkit::lock;

macro_rules! happenings {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Something that a simulation counts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Happening {
            $($(#[$doc])* $name,)*
        }

        impl Happening {
            /// Every kind that there is, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

happenings! {
    /// A name was sent.
    Update,
    /// The address book was read: a contact, a page, the session or a privacy id.
    Read,
    /// A run began.
    Run,
    /// The CRM lane took rows in without a lease.
    Intake,
    /// A single change went before the others.
    Urgent,
    /// A worker ran while another one did.
    TwoWorkers,
    /// As many names were sent within a day as the engine may send.
    CapReached,
    /// A request never arrived.
    LostRequest,
    /// A name was set, but the answer never came.
    LostAnswer,
    /// A name was set after the caller had given up.
    LateEffect,
    /// A name was set after the process that had sent it was gone.
    EffectAfterCrash,
    /// No connection could be made.
    NoConnection,
    /// 429 with `Retry-After`.
    TooMany,
    /// 429 without `Retry-After`.
    TooManyBare,
    /// 503 with `Retry-After`.
    Unavailable,
    /// 5xx without effect.
    ServerError,
    /// 5xx although the name was set.
    ServerErrorWithEffect,
    /// 422: the session is not working.
    LoggedOut,
    /// 401: the token was refused.
    TokenRefused,
    /// A refusal in words that are not known.
    Unclear,
    /// An answer that cannot be understood, after the name was set.
    Undecodable,
    /// A name was acknowledged and not set.
    Unkept,
    /// A name was sent again that had been acknowledged and not set.
    UnkeptRepeated,
    /// A contact that is refused for good.
    Refused,
    /// A contact that is answered 403 for good.
    Forbidden,
    /// A contact that is answered 500 for good.
    AlwaysFails,
    /// A read that failed.
    FailedRead,
    /// An answer took longer than a second.
    SlowAnswer,
    /// A write that was lost because the stored record was newer.
    LostWrite,
    /// A write of another lane was let in between a load and a write.
    SlippedIn,
    /// The ledger failed and stored nothing.
    LedgerFailedBefore,
    /// The ledger stored and failed.
    LedgerFailedAfter,
    /// The ledger took its time.
    LedgerDelay,
    /// A process died between two polls.
    CrashAtPoll,
    /// A process died beside a write or a call.
    CrashAtStep,
    /// The clock was set back.
    ClockBack,
    /// The clock was set forward.
    ClockAhead,
    /// The CRM changed a name.
    Renamed,
    /// The CRM changed a stage.
    Restaged,
    /// The CRM took a name away.
    Blanked,
    /// The CRM changed the phone of a row.
    PhoneCorrected,
    /// The CRM deleted a row.
    RowGone,
    /// Two rows claimed one person.
    Competing,
    /// A row was in an export twice.
    RepeatedRow,
    /// An older version of a row was in the same export.
    StaleRow,
    /// A CRM id was in an export twice with two stages.
    RepeatedId,
    /// A row named a person by a privacy id.
    LidRow,
    /// The phone behind a privacy id became known.
    LidLearnt,
    /// The source of rows failed before its end.
    SourceFailed,
    /// A person saved a name on the phone.
    PhoneEdit,
    /// A name that a person had saved was overwritten.
    Overwritten,
    /// A person said to leave a contact as it is.
    Held,
    /// A person said to go on with a contact.
    Released,
    /// A person said to try again what was parked.
    Retried,
    /// A run was undone.
    Undone,
    /// Whoever undid a run died or failed.
    UndoBroken,
    /// An undo gave a name back.
    GivenBack,
    /// An undo left what a person had saved since.
    EditLeft,
    /// An account that already had names was taken over.
    Adopted,
    /// Whoever took an account over died or failed, and it was begun anew.
    AdoptionBroken,
    /// A name was there already that the CRM wants.
    AdoptedName,
    /// The whole address book was read, and no name written.
    Refreshed,
    /// A person was forgotten.
    Forgotten,
    /// A person could not be forgotten, because a request could still take effect.
    ForgottenLater,
    /// A row of a forgotten person was refused.
    RowRefused,
    /// A forgotten person may be taken in again.
    Allowed,
    /// The server was asked whether a number is on WhatsApp.
    NumberAsked,
    /// It said that the number is not.
    NotOnWhatsApp,
    /// A guardrail stopped a run.
    GuardrailTripped,
    /// A run that a guardrail had stopped went through with the confirmation.
    Confirmed,
}

/// How often what happened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats(BTreeMap<Happening, u64>);

impl Stats {
    /// How often something happened.
    #[must_use]
    pub fn of(&self, what: Happening) -> u64 {
        self.0.get(&what).copied().unwrap_or_default()
    }

    /// Adds what happened in another simulation.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(*what).or_default() += count;
        }
    }

    /// What never happened.
    pub fn missing(&self) -> impl Iterator<Item = Happening> {
        Happening::ALL.iter().copied().filter(|what| self.of(*what) == 0)
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Happening::ALL.iter().try_for_each(|what| writeln!(f, "{:>10} {what:?}", self.of(*what)))
    }
}

/// A promise that was broken, and the story that leads there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The seed of the simulation.
    pub seed: u64,
    /// The promise, such as `P9`.
    pub promise: &'static str,
    /// What broke it.
    pub detail: String,
    /// Everything that happened, in order.
    pub story: Vec<String>,
}

impl Violation {
    /// How many lines of the story are shown.
    const SHOWN: usize = 80;
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, promise, detail, story } = self;
        writeln!(f, "{promise} is broken: {detail}")?;
        let skipped = story.len().saturating_sub(Self::SHOWN);
        if skipped > 0 {
            writeln!(f, "    ({skipped} earlier events)")?;
        }
        story.iter().skip(skipped).try_for_each(|line| writeln!(f, "    {line}"))?;
        write!(f, "SIM_SEED={seed} cargo test --test it sim:: -- --nocapture")
    }
}

impl std::error::Error for Violation {}

/// The story of one simulation while it is told.
#[derive(Debug)]
pub(super) struct Log {
    epoch: Instant,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    story: Vec<String>,
    stats: Stats,
    breach: Option<(&'static str, String)>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { epoch: Instant::now(), told: Mutex::default() }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        lock(&self.told)
    }

    /// The time since the simulation began; no clock that is set changes it.
    pub(super) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// The moment on the runtime's clock.
    pub(super) fn instant(&self, at: Duration) -> Instant {
        self.epoch + at
    }

    pub(super) fn tell(&self, what: impl fmt::Display) {
        self.tell_of(self.now(), what);
    }

    /// Tells of something that happened at an earlier moment and comes to light now.
    pub(super) fn tell_of(&self, at: Duration, what: impl fmt::Display) {
        let line = format!("{:>10.3} {what}", at.as_secs_f64());
        self.told().story.push(line);
    }

    pub(super) fn count(&self, what: Happening) {
        *self.told().stats.0.entry(what).or_default() += 1;
    }

    /// How often something happened.
    pub(super) fn counted(&self, what: Happening) -> u64 {
        self.told().stats.0.get(&what).copied().unwrap_or_default()
    }

    /// Notes that a promise was broken; the first time counts.
    pub(super) fn breach(&self, promise: &'static str, detail: impl fmt::Display) {
        self.tell(format_args!("{promise} is broken: {detail}"));
        let mut told = self.told();
        if told.breach.is_none() {
            told.breach = Some((promise, detail.to_string()));
        }
    }

    /// What happened so far, and how often.
    pub(super) fn so_far(&self) -> (Vec<String>, Stats) {
        let told = self.told();
        (told.story.clone(), told.stats.clone())
    }

    /// The first promise that was broken, if one was.
    pub(super) fn violation(&self, seed: u64) -> Option<Violation> {
        let told = self.told();
        let (promise, detail) = told.breach.clone()?;
        Some(Violation { seed, promise, detail, story: told.story.clone() })
    }
}
