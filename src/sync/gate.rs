//! Whether the instance may be called now, and whose fault a failure is; a value that neither waits nor reads a clock.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    ChatId, Error, ErrorClass, ErrorKind,
    book::SessionStatus,
    ledger::{InstanceState, Wait},
    record::{Blame, Record},
    time::Timestamp,
};

/// After how many failures of different contacts, without a success in between, the server is taken to be out of reach.
const STREAK: usize = 5;
/// How long to leave an instance alone that is not ready and does not say for how long.
const PAUSE: Duration = Duration::from_secs(15);
/// After how many conflicts in a row somebody else is taken to write the same address book.
const CONFLICTS: u32 = 3;
/// What helps against that.
const ONE_WRITER: &str = "another program writes the same address book; let one of them write at a time";
/// How long to leave an instance alone that refused one contact as if the whole instance were refused.
const SUSPICION: Duration = Duration::from_secs(1);

/// The health of one instance, as its answers show it.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    max_wait: Duration,
    /// Until when the instance is left alone; `since` is when that first began without a success in between.
    wait: Option<Wait>,
    /// Why no call will work in this run.
    shut: Option<ErrorKind>,
    /// Contacts that failed since the last success, for reasons that pass.
    failing: BTreeSet<Option<ChatId>>,
    /// Contacts that were refused since the last success.
    refused: BTreeSet<Option<ChatId>>,
    /// How many calls in a row ended because somebody else wrote at the same time.
    conflicts: u32,
    /// The contact that was refused as if the whole instance were, although others worked.
    suspect: Option<ChatId>,
    /// Until when others wait before one of them is tried, for such a contact's sake.
    doubtful_until: Timestamp,
    /// Whether a call has worked in this run.
    is_proven: bool,
    /// When a call worked last, in this run or an earlier one.
    worked_at: Option<Timestamp>,
    hint: Option<String>,
}

/// What a gate lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// As many calls at a time as there are slots.
    Free,
    /// One call at a time, to see whether the instance is well again.
    Probe,
    /// No call before this moment.
    Wait(Timestamp),
    /// No call in this run.
    Closed,
}

/// What is made of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The record takes it now.
    Settled(Blame),
    /// Only the next success, or the end of the run, tells whether the contact is to blame.
    Pending,
}

impl Gate {
    /// A gate that is closed by a wait remembered from an earlier run, or open if that has passed.
    pub(super) fn new(max_wait: Duration, state: &InstanceState, now: Timestamp) -> Self {
        let wait = state.wait.map(|wait| Wait { since: now, ..brought_back(wait, now) });
        Self {
            max_wait,
            wait: wait.filter(|wait| wait.until > now),
            shut: None,
            failing: BTreeSet::new(),
            refused: BTreeSet::new(),
            conflicts: 0,
            suspect: None,
            doubtful_until: Timestamp::default(),
            is_proven: false,
            worked_at: state.worked_at.map(|at| at.min(now)),
            hint: None,
        }
    }

    /// Another process was asked to wait; a later end that is known already stands.
    pub(super) fn learn(&mut self, wait: Option<Wait>, now: Timestamp) {
        if let Some(wait) = wait.map(|wait| brought_back(wait, now)).filter(|wait| wait.until > now) {
            self.close(wait.kind, wait.until, now);
        }
    }

    /// The clock was set back.
    pub(super) fn bring_back(&mut self, now: Timestamp) {
        self.wait = self.wait.map(|wait| brought_back(wait, now));
        self.doubtful_until = self.doubtful_until.min(now.after(SUSPICION));
    }

    pub(super) fn passage(&self, now: Timestamp) -> Passage {
        match self.wait {
            _ if self.shut.is_some() => Passage::Closed,
            None if self.doubtful_until > now => Passage::Wait(self.doubtful_until),
            None if self.suspect.is_some() => Passage::Probe,
            None => Passage::Free,
            Some(wait) if wait.until.since(wait.since) > self.max_wait => Passage::Closed,
            Some(wait) if wait.until > now => Passage::Wait(wait.until),
            Some(_) => Passage::Probe,
        }
    }

    /// Why the gate is not open.
    pub(super) fn reason(&self) -> Option<ErrorKind> {
        self.shut.or(self.wait.map(|wait| wait.kind))
    }

    /// The wait that is to be remembered, if the gate is closed by one.
    pub(super) fn wait(&self) -> Option<Wait> {
        self.wait
    }

    /// When a call worked last.
    pub(super) fn worked_at(&self) -> Option<Timestamp> {
        self.worked_at
    }

    /// What to try about a gate that is closed.
    pub(super) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Somebody knows what helps.
    pub(super) fn advise(&mut self, hint: &str) {
        self.hint = Some(hint.into());
    }

    /// It is open again, and nothing needs help any more.
    pub(super) fn forget_advice(&mut self) {
        self.hint = None;
    }

    /// Whether contacts that were refused are to blame themselves, although no call has worked since: a few are where others worked
    /// before, and so is the only one of all that are `due`. Several of whom none worked are not, because then the set-up may be wrong.
    pub(super) fn blames_refused(&self, due: usize) -> bool {
        self.shut.is_none() && (self.is_proven || (self.refused.len() == 1 && due <= 1))
    }

    /// How many different contacts failed in a row.
    pub(super) fn streak(&self) -> u32 {
        u32::try_from(self.failing.len()).unwrap_or(u32::MAX)
    }

    /// A call worked: the instance is well.
    ///
    /// A call that was in flight when the gate closed opens nothing: the wait that the instance asked for still holds.
    pub(super) fn well(&mut self, now: Timestamp) {
        self.failing.clear();
        self.refused.clear();
        self.conflicts = 0;
        self.suspect = None;
        self.is_proven = true;
        self.worked_at = Some(now);
        self.wait = self.wait.filter(|wait| wait.until > now);
    }

    /// A read worked: an instance that asked to wait is well again. Of writes it tells nothing.
    pub(super) fn read_well(&mut self, now: Timestamp) {
        if self.failing.is_empty() {
            self.wait = self.wait.filter(|wait| wait.until > now);
        }
    }

    /// A call for a contact failed, or, without one, a read of the whole book.
    pub(super) fn failed(
        &mut self,
        error: &Error,
        record: Option<&Record>,
        backoff: Duration,
        now: Timestamp,
    ) -> Verdict {
        let chat = record.map(|record| &record.chat);
        self.conflicts = if is_conflict(error) { self.conflicts + 1 } else { 0 };
        if let Some(wait) = error.retry_after() {
            self.close(error.kind(), now.after(wait), now);
            // It may be this contact alone that is answered so: the next one is tried first.
            let is_contact = matches!(error.class(), ErrorClass::Contact | ErrorClass::Transient);
            return Verdict::Settled(if is_contact { Blame::Unclear } else { Blame::Instance });
        }
        match error.class() {
            ErrorClass::Wait => {
                self.close(error.kind(), now.after(PAUSE), now);
                Verdict::Settled(Blame::Instance)
            }
            ErrorClass::Instance | ErrorClass::Configuration => self.forbidden(error, chat, now),
            ErrorClass::Contact if record.is_some_and(|record| self.has_worked_since_refusal(record)) => {
                Verdict::Settled(Blame::Contact)
            }
            ErrorClass::Contact => {
                self.failing.clear();
                self.refused.insert(chat.cloned());
                if self.refused.len() >= STREAK {
                    self.shut(error);
                }
                Verdict::Pending
            }
            ErrorClass::Transient => {
                self.failing.insert(chat.cloned());
                let is_conflict = self.conflicts >= CONFLICTS;
                let is_outage = self.failing.len() >= STREAK || chat.is_none() || is_conflict;
                if is_conflict {
                    self.advise(ONE_WRITER);
                }
                if is_outage {
                    self.close(error.kind(), now.after(backoff), now);
                }
                Verdict::Settled(if is_outage { Blame::Unclear } else { Blame::Contact })
            }
        }
    }

    /// Whether the same wish of a contact was refused before, and another call has worked since: then the contact is to blame.
    fn has_worked_since_refusal(&self, record: &Record) -> bool {
        let refused = record.failure().filter(|failure| failure.kind.class() == ErrorClass::Contact);
        refused.zip(self.worked_at).is_some_and(|(refused, worked)| refused.at < worked)
    }

    /// The instance is refused; or, if others worked and the server gives no word for it, perhaps only this contact.
    fn forbidden(&mut self, error: &Error, chat: Option<&ChatId>, now: Timestamp) -> Verdict {
        let may_be_contact = error.code().is_none() && matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::Route);
        if let Some(chat) = chat.filter(|_| may_be_contact && self.is_proven)
            && self.suspect.as_ref().is_none_or(|suspect| suspect == chat)
        {
            self.suspect = Some(chat.clone());
            self.doubtful_until = now.after(SUSPICION);
            return Verdict::Settled(Blame::Contact);
        }
        self.shut(error);
        // The next run begins with another contact, should it be this one after all.
        Verdict::Settled(if may_be_contact { Blame::Unclear } else { Blame::Instance })
    }

    /// No call before a moment; a later end that is known already stands.
    fn close(&mut self, kind: ErrorKind, until: Timestamp, now: Timestamp) {
        self.wait = Some(match self.wait {
            Some(wait) if wait.until >= until => wait,
            Some(wait) => Wait::new(kind, wait.since, until),
            None => Wait::new(kind, now, until),
        });
    }

    /// No call will work in this run.
    pub(super) fn shut(&mut self, error: &Error) {
        self.shut = Some(error.kind());
        self.hint = error.hint().map(Into::into);
    }
}

/// Whether a call failed because somebody else wrote the address book at the same time: the engine says so within a 500.
fn is_conflict(error: &Error) -> bool {
    let says_so = |text: &str| text.contains("409") || text.to_ascii_lowercase().contains("conflict");
    error.kind() == ErrorKind::Server && (error.message().is_some_and(says_so) || error.code().is_some_and(says_so))
}

/// What helps an instance that answers so, whose session is in this state, if that is known.
pub(super) fn human_step(error: &Error, session: Option<&SessionStatus>) -> Option<&'static str> {
    let step = session.and_then(SessionStatus::step);
    match error.kind() {
        ErrorKind::Forbidden if error.code() == Some("subscription_required") => {
            Some("pay for the plan of the account, or renew it: it does not include this")
        }
        ErrorKind::Unauthorized if session.is_some_and(SessionStatus::is_working) => {
            Some("set a new access token: the session itself works")
        }
        ErrorKind::Unauthorized | ErrorKind::Forbidden | ErrorKind::UnknownInstance | ErrorKind::SessionNotReady => {
            step
        }
        _ => None,
    }
}

/// A wait that began in the future was stored by a clock that was ahead: it lasts for its length from now on.
pub(super) fn brought_back(wait: Wait, now: Timestamp) -> Wait {
    let until = if wait.since > now { now.after(wait.until.since(wait.since)) } else { wait.until };
    Wait::new(wait.kind, wait.since.min(now), until)
}

#[cfg(test)]
mod tests;
