//! Whether what the API accepted is what the address book shows.

use std::time::Duration;

use tokio::time::Instant;

use super::{look::Replaced, report::Change};
use crate::{
    ChatId,
    record::{Blame, Record},
};

/// How long after its acknowledgement a name is read back.
const SETTLED: Duration = Duration::from_secs(2);
/// What helps where the first name of a large run does not show.
pub(super) const NOT_KEPT: &str = "look on the phone whether it is online and what it shows, then run again";

/// Which contacts are read back once the API has acknowledged their names: *accepted* is not yet *verified*.
///
/// A contact is read some 2 s after its acknowledgement, at the pace of all calls. If it shows the name, that is
/// [noted](crate::record::Sent::verified_at). If it still shows what was there before, the name is sent again: see
/// [`ContactSync::repeat`](super::ContactSync::repeat). Any other text is somebody's edit, as ever, and a read that fails says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Verify {
    /// None.
    Never,
    /// Those in doubt, and of the others this share, from 0 to 1, drawn at random.
    Sample(f64),
    /// Those of which a request was not answered: they are read before it is repeated, unless
    /// [`LookFirst::Never`](super::LookFirst::Never) forbids that, and after the repeat was acknowledged.
    #[default]
    InDoubt,
    /// All.
    Always,
}

impl Verify {
    /// Whether a contact is read back whose request is acknowledged now.
    pub(super) fn picks(self, marked: &Record) -> bool {
        let is_repeat = marked.pushed.in_doubt.as_ref().is_some_and(|doubt| doubt.earlier_until.is_some());
        match self {
            Self::Never => false,
            Self::Sample(share) => is_repeat || fastrand::f64() < share,
            Self::InDoubt => is_repeat,
            Self::Always => true,
        }
    }
}

/// An acknowledged name that is to be read back.
pub(super) struct Check {
    /// What is reported once that is done.
    pub(super) change: Change,
    due: Instant,
}

impl Check {
    pub(super) fn new(change: Change) -> Self {
        Self { change, due: Instant::now() + SETTLED }
    }

    /// How long until it is to be read.
    pub(super) fn wait(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    pub(super) fn replaced(&self, blame: Blame) -> Replaced {
        Replaced { name: self.change.before.clone(), blame }
    }
}

/// The first call of a large run goes alone, and after it calls get their slots one by one.
pub(super) struct Trial {
    canary: Option<Canary>,
    /// How many calls may be in flight.
    slots: usize,
    most: usize,
    worked: usize,
}

/// Whose name is read back before anybody else is called.
enum Canary {
    /// The next one that is called.
    Next,
    Is(ChatId),
}

impl Trial {
    /// None.
    pub(super) fn new(in_flight: usize) -> Self {
        Self { canary: None, slots: in_flight, most: in_flight, worked: 0 }
    }

    pub(super) fn begin(&mut self) {
        (self.canary, self.slots) = (Some(Canary::Next), 1);
    }

    /// How many calls may be in flight now.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.canary.is_some()
    }

    /// The contact that has been chosen.
    pub(super) fn canary(&self) -> Option<&ChatId> {
        if let Some(Canary::Is(chat)) = &self.canary { Some(chat) } else { None }
    }

    /// A contact is called. Says whether it is the one that is tried from now on.
    pub(super) fn choose(&mut self, chat: &ChatId) -> bool {
        let is_next = matches!(self.canary, Some(Canary::Next));
        if is_next {
            self.canary = Some(Canary::Is(chat.clone()));
        }
        is_next
    }

    /// Another contact has to be tried.
    pub(super) fn choose_again(&mut self) {
        if self.canary.is_some() {
            self.canary = Some(Canary::Next);
        }
    }

    /// The rest may go.
    pub(super) fn end(&mut self) {
        self.canary = None;
    }

    /// A call worked: a full round of them doubles the slots.
    pub(super) fn well(&mut self) {
        self.worked += 1;
        if self.worked >= self.slots && self.canary.is_none() {
            (self.slots, self.worked) = (self.slots.saturating_mul(2).min(self.most), 0);
        }
    }
}
