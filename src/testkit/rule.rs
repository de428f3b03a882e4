use std::{fmt, time::Duration};

use super::{Answer, WawpServer};
use crate::ChatId;

/// Updates that are to be met with something other than success: of one chat, or of any.
///
/// Each verb puts a [`Rule`] in force at once. Without [`Rule::times`] it stays in force for as long as the server lives.
#[derive(Debug)]
#[must_use = "the server does nothing special until it is told what: `.status(500)`, `.drop_answer()`, ..."]
pub struct When<'a> {
    server: &'a WawpServer,
    chat: Option<ChatId>,
}

#[expect(clippy::must_use_candidate, reason = "a rule is in force without its handle")]
impl<'a> When<'a> {
    pub(super) fn new(server: &'a WawpServer, chat: Option<ChatId>) -> Self {
        Self { server, chat }
    }

    /// Answers with a status and a plain JSON body; the book stays as it is.
    ///
    /// For an answer of the shape that Wawp sends with that status see [`Answer`].
    pub fn status(self, status: u16) -> Rule<'a> {
        self.answer(Answer::of_status(status))
    }

    /// Gives this answer; the book stays as it is, even if the answer says otherwise.
    pub fn answer(self, answer: impl Into<Answer>) -> Rule<'a> {
        self.act(Action::Answer(answer.into()), false)
    }

    /// Saves the name and closes the connection instead of answering: the client cannot know that it worked.
    pub fn drop_answer(self) -> Rule<'a> {
        self.act(Action::Hangup, true)
    }

    /// Closes the connection without doing or answering anything: the client cannot know that it did not work.
    pub fn drop_request(self) -> Rule<'a> {
        self.act(Action::Hangup, false)
    }

    /// Saves the name at once and answers this much later.
    pub fn delay(self, delay: Duration) -> Rule<'a> {
        self.act(Action::Answer(Answer::ok().after(delay)), true)
    }

    fn act(self, action: Action, applied: bool) -> Rule<'a> {
        let policy = Policy { chat: self.chat, action, applied, nth: 1, limit: None, met: 0, used: 0 };
        Rule { server: self.server, index: self.server.account(|account| account.rules.add(policy)) }
    }
}

/// A rule in force; the handle narrows it and may be dropped.
///
/// Rules are asked in the order in which they were made; the first that fits decides.
#[derive(Debug)]
pub struct Rule<'a> {
    server: &'a WawpServer,
    index: usize,
}

#[expect(
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "a rule is in force without its handle"
)]
impl Rule<'_> {
    /// Bounds the rule to the next `n` updates that fit, and **expects** them: the server panics when it is dropped and fewer
    /// came, and shows what did.
    pub fn times(self, n: u64) -> Self {
        self.edit(|policy| policy.limit = Some(n))
    }

    /// Bounds the rule to the next update that fits, and expects it; the same as `times(1)`.
    pub fn once(self) -> Self {
        self.times(1)
    }

    /// Lets the rule meet each `n`th update that fits, counted from its making, and let the others through.
    ///
    /// # Panics
    ///
    /// Panics if `n` is zero.
    pub fn every(self, n: u64) -> Self {
        assert!(n > 0, "a rule cannot meet every 0th update; give 1 or more");
        self.edit(|policy| policy.nth = n)
    }

    /// Saves the name all the same, whatever is answered.
    pub fn applied(self) -> Self {
        self.edit(|policy| policy.applied = true)
    }

    fn edit(self, change: impl FnOnce(&mut Policy)) -> Self {
        self.server.account(|account| account.rules.edit(self.index, change));
        self
    }
}

/// What a rule does to an update.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Answer(Answer),
    Hangup,
}

/// A rule as the server keeps it.
#[derive(Debug)]
pub(super) struct Policy {
    chat: Option<ChatId>,
    action: Action,
    applied: bool,
    nth: u64,
    limit: Option<u64>,
    met: u64,
    used: u64,
}

impl Policy {
    fn takes(&mut self, chat: &ChatId) -> bool {
        let fits = self.chat.as_ref().is_none_or(|mine| mine == chat);
        if !fits || self.limit.is_some_and(|limit| self.used >= limit) {
            return false;
        }
        self.met += 1;
        let taken = self.met.is_multiple_of(self.nth);
        self.used += u64::from(taken);
        taken
    }

    fn missing(&self) -> u64 {
        self.limit.unwrap_or_default().saturating_sub(self.used)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.chat {
            Some(chat) => write!(f, "updates of {chat}")?,
            None => f.write_str("updates of any chat")?,
        }
        match &self.action {
            Action::Answer(answer) => write!(f, ", to be answered {}", answer.status()),
            Action::Hangup => f.write_str(", to be left without an answer"),
        }
    }
}

/// All rules of one instance, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Policy>);

impl Rules {
    fn add(&mut self, policy: Policy) -> usize {
        self.0.push(policy);
        self.0.len() - 1
    }

    fn edit(&mut self, index: usize, change: impl FnOnce(&mut Policy)) {
        if let Some(policy) = self.0.get_mut(index) {
            change(policy);
        }
    }

    /// What to do about an update of `chat`, and whether to save the name; `None` if no rule fits.
    pub(super) fn meet(&mut self, chat: &ChatId) -> Option<(Action, bool)> {
        let policy = self.0.iter_mut().find_map(|policy| policy.takes(chat).then_some(policy))?;
        Some((policy.action.clone(), policy.applied))
    }

    /// The expected updates that did not come, one line each; empty if all came.
    pub(super) fn unmet(&self) -> Vec<String> {
        let unmet = self.0.iter().filter(|policy| policy.missing() > 0);
        unmet.map(|policy| format!("  {} of {} {policy}", policy.missing(), policy.limit.unwrap_or_default())).collect()
    }
}
