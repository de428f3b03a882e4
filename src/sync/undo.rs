//! Taking a run back: a run like any other, whose wishes are the names from before.

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    time::Duration,
};

use serde::Serialize;
use tokio::sync::watch;

use super::{
    ContactSync, Done, Ending, Guardrail, Plan, Report, SyncError,
    report::Recorder,
    run::{Only, Run, Store},
};
use crate::{
    ChatId, ContactName,
    ledger::Diff,
    naming::clean,
    record::{Cause, Event, Record, decide},
};

/// How many contacts are restored at once.
const CHUNK: usize = 512;

/// What taking a run back comes to; see [`ContactSync::undo`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Undo {
    /// Contacts whose name from before the run is wanted again.
    pub restored: u64,
    /// Contacts that show another name than the run sent, because somebody saved it since: that name stays, also in later runs.
    pub edited_since: Vec<ChatId>,
    /// Contacts that are not what the run made of them for other reasons: the CRM wants another name since, a later run sent
    /// one, no row claims them any more, or an answer is missing. They are left alone.
    pub superseded: Vec<ChatId>,
}

impl ContactSync {
    /// Says what [`undo`](Self::undo) would do. Writes no name and no record.
    ///
    /// # Errors
    ///
    /// Fails if the ledger does.
    pub async fn plan_undo(&self, run: u64) -> Result<(Undo, Plan), SyncError> {
        self.check_known(run).await?;
        let (_tell, stop) = watch::channel(false);
        let mut plan = Run::begin(self, stop, Recorder::of_plan(), 0).await?;
        let mut diff = self.ledger.diff(self.book.instance()).await?;
        let (undo, guardrail) = Box::pin(self.prepare_undo(&mut plan, &mut *diff, run)).await?;
        let (plan, _) = self.tell_plan(plan, &mut *diff, guardrail).await?;
        Ok((undo, plan))
    }

    /// Gives contacts the names back that they had before a run.
    ///
    /// It is a run like any other: weighed by the guardrails, paced, reported, and undone like any other. What the address book shows is
    /// read first; contacts that somebody edited since are left alone and listed. A contact that the run created keeps its name:
    /// nobody knows one from before.
    ///
    /// A name that was given back stands in place of the CRM's wish, so the next run does not send that again; another wish, or a
    /// [`release`](Self::release), does.
    ///
    /// # Errors
    ///
    /// Fails if the ledger does, and with [`SyncError::NoSuchRun`] if there was no such run; nothing is written down then.
    pub async fn undo(&self, run: u64) -> Result<(Undo, Report), SyncError> {
        self.undo_until(run, std::future::pending()).await
    }

    /// The same until it is told to stop, as by [`run_until`](Self::run_until). The same undo goes on from there; so does the next run,
    /// for which the names that were not given back yet are due.
    ///
    /// # Errors
    ///
    /// As for [`undo`](Self::undo).
    pub async fn undo_until(
        &self,
        run: u64,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(Undo, Report), SyncError> {
        // The number that this run is given is not that of a run to undo.
        self.check_known(run).await?;
        self.until(|stop| self.record_run(stop, |by| self.take_back(by, run)), stop).await
    }

    async fn check_known(&self, run: u64) -> Result<(), SyncError> {
        let known = self.ledger.run(self.book.instance(), run).await?;
        known.map(drop).ok_or(SyncError::NoSuchRun(run))
    }

    async fn take_back(&self, mut run: Run, undone: u64) -> Result<Done<(Undo, Report)>, SyncError> {
        run.recorder.told.undone = Some(undone);
        run.correct_clock().await?;
        let mut diff = self.ledger.diff(self.book.instance()).await?;
        let (undo, guardrail) = self.prepare_undo(&mut run, &mut *diff, undone).await?;
        let Done { what: report, lease } = self.carry_out(run, diff, guardrail).await?;
        Ok(Done { what: (undo, report), lease })
    }

    /// Reads what the address book shows, stages the names from before, and judges what is about to happen.
    async fn prepare_undo(
        &self,
        run: &mut Run,
        diff: &mut dyn Diff,
        undone: u64,
    ) -> Result<(Undo, Option<Guardrail>), SyncError> {
        run.only = Some(Only::default());
        run.heed_policy(&mut Store::Staged(&mut *diff)).await?;
        run.lease().await?;
        if run.lease.is_some() {
            if let Some(guardrail) = self.heed_account(run, &mut Store::Staged(&mut *diff)).await? {
                return Ok((Undo::default(), Some(guardrail)));
            }
            run.look_at_book(&mut Store::Staged(&mut *diff)).await?;
        }
        let undo = self.stage_undo(run, diff, undone).await?;
        Ok((undo, self.weigh(run, diff, true, 0).await?))
    }

    async fn stage_undo(&self, run: &mut Run, diff: &mut dyn Diff, undone: u64) -> Result<Undo, SyncError> {
        let (now, policy) = (run.now(), run.policy());
        let (mut undo, mut after, mut only) = (Undo::default(), None, BTreeSet::new());
        loop {
            let before = self.ledger.before_run(self.book.instance(), undone, after.as_ref(), CHUNK).await?;
            let Some(last) = before.last() else { break };
            after = Some(last.chat.clone());
            let chats: Vec<ChatId> = before.iter().map(|entry| entry.chat.clone()).collect();
            let mut store = Store::Staged(&mut *diff);
            let mut events = HashMap::new();
            let decide = |record: &Record| {
                let text = &before.iter().find(|entry| record.answers_to(&entry.chat))?.text;
                let Ok(name) = ContactName::new(&clean(text), "") else {
                    undo.superseded.push(record.chat.clone());
                    return None;
                };
                let event = Event::Undo { run: undone, name: name.clone() };
                let decision = decide(record, event.clone(), &policy, now);
                if decision.is_changed {
                    events.insert(record.chat.clone(), event);
                }
                if decision.is_changed && record.drifted().is_some() {
                    undo.edited_since.push(record.chat.clone());
                } else if decision.is_changed || is_under_way(record, &name) {
                    only.insert(record.chat.clone());
                    undo.restored += 1;
                } else {
                    undo.superseded.push(record.chat.clone());
                }
                Some(decision)
            };
            store.change(run, &chats, decide).await?;
            run.staged.undone.extend(events);
        }
        run.only = Some(Only::new(only));
        Ok(undo)
    }
}

impl Ending for (Undo, Report) {
    fn brief(&mut self, took: Duration) -> String {
        self.1.brief(took)
    }
}

/// Whether an undo that came to no end wants a contact to be called so.
fn is_under_way(record: &Record, name: &ContactName) -> bool {
    let is_undone = record.sole_claim().is_some_and(|claim| claim.cause == Cause::Undo);
    let is_wanted = record.wanted().is_some_and(|wish| wish.name.is_full(name.full()));
    is_undone && is_wanted && record.status.due_at().is_some()
}
