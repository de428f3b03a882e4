//! Taking a run back: a run like any other, whose wishes are the names from before.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use tokio::sync::watch;

use super::{
    ContactSync, Done, Guardrail, Plan, Report, SyncError,
    report::Recorder,
    run::{Run, Store},
};
use crate::{
    ChatId, ContactName,
    ledger::Diff,
    naming::clean,
    record::{Event, Record, decide},
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
        // The number that this run is given is not that of a run to undo.
        self.check_known(run).await?;
        let (began, instance) = (tokio::time::Instant::now(), self.book.instance());
        let number = self.ledger.begin_run(instance, &self.owner, self.clock.now()).await?;
        tracing::info!(%instance, run = number, undone = run, "undo begins");
        let result = Box::pin(self.take_back(number, run)).await.map(|(undo, mut done)| {
            done.report.summary.seconds = began.elapsed().as_secs_f64();
            let brief = super::Brief::of(&done.report).to_text();
            ((undo, done), brief)
        });
        let (undo, Done { report, lease }) = self.end_run(number, result).await?;
        self.give_back(lease).await?;
        Ok((undo, report))
    }

    async fn check_known(&self, run: u64) -> Result<(), SyncError> {
        let runs = self.ledger.runs(self.book.instance(), usize::MAX).await?;
        if runs.iter().any(|known| known.run == run) { Ok(()) } else { Err(SyncError::NoSuchRun(run)) }
    }

    async fn take_back(&self, number: u64, undone: u64) -> Result<(Undo, Done), SyncError> {
        let (_tell, stop) = watch::channel(false);
        let mut run = Run::begin(self, stop, Recorder::of_run(self.observer.clone()), number).await?;
        run.recorder.told.undone = Some(undone);
        run.correct_clock().await?;
        let mut diff = self.ledger.diff(self.book.instance()).await?;
        let (undo, guardrail) = self.prepare_undo(&mut run, &mut *diff, undone).await?;
        Ok((undo, self.carry_out(run, diff, guardrail).await?))
    }

    /// Reads what the address book shows, stages the names from before, and judges what is about to happen.
    async fn prepare_undo(
        &self,
        run: &mut Run,
        diff: &mut dyn Diff,
        undone: u64,
    ) -> Result<(Undo, Option<Guardrail>), SyncError> {
        run.heed_policy(&mut Store::Staged(&mut *diff)).await?;
        run.lease().await?;
        if run.lease.is_some() {
            if let Some(guardrail) = self.check_account(run).await? {
                return Ok((Undo::default(), Some(guardrail)));
            }
            run.look_at_book(&mut Store::Staged(&mut *diff)).await?;
        }
        run.only = Some(BTreeSet::new());
        let undo = self.stage_undo(run, diff, undone).await?;
        Ok((undo, self.weigh(run, diff, true, 0).await?))
    }

    async fn stage_undo(&self, run: &mut Run, diff: &mut dyn Diff, undone: u64) -> Result<Undo, SyncError> {
        let (now, policy) = (run.now(), run.policy());
        let (mut undo, mut after) = (Undo::default(), None);
        loop {
            let before = self.ledger.before_run(self.book.instance(), undone, after.as_ref(), CHUNK).await?;
            let Some(last) = before.last() else { return Ok(undo) };
            after = Some(last.chat.clone());
            let chats: Vec<ChatId> = before.iter().map(|entry| entry.chat.clone()).collect();
            let mut store = Store::Staged(&mut *diff);
            let (mut only, mut events) = (BTreeSet::new(), HashMap::new());
            let decide = |record: &Record| {
                let text = &before.iter().find(|entry| record.answers_to(&entry.chat))?.text;
                let Ok(name) = ContactName::new(&clean(text), "") else {
                    undo.superseded.push(record.chat.clone());
                    return None;
                };
                let event = Event::Undo { run: undone, name };
                let decision = decide(record, event.clone(), &policy, now);
                if decision.is_changed {
                    events.insert(record.chat.clone(), event);
                }
                if decision.is_changed && record.drifted().is_some() {
                    undo.edited_since.push(record.chat.clone());
                } else if decision.is_changed {
                    only.insert(record.chat.clone());
                    undo.restored += 1;
                } else {
                    undo.superseded.push(record.chat.clone());
                }
                Some(decision)
            };
            store.change(run, &chats, decide).await?;
            run.only.get_or_insert_default().append(&mut only);
            run.staged.undone.extend(events);
        }
    }
}
