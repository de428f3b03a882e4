//! A ledger that only seems to be written: what a plan works on.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use crate::{
    ChatId, InstanceId,
    ledger::{Candidate, Counts, Held, Lease, Ledger, LedgerError, Overwritten, Row, RunRecord, Sifted, Timestamp},
};

/// Reads through to a ledger, and keeps what is saved to itself.
///
/// A plan takes the very path of a run up to the first call, on one of these: so a plan cannot say other than what a run does.
#[derive(Debug)]
pub(super) struct Overlay {
    base: Arc<dyn Ledger>,
    saved: Mutex<BTreeMap<ChatId, Row>>,
}

#[derive(Debug)]
struct Nothing;

impl Held for Nothing {}

impl Overlay {
    pub(super) fn new(base: Arc<dyn Ledger>) -> Self {
        Self { base, saved: Mutex::default() }
    }

    fn saved(&self) -> MutexGuard<'_, BTreeMap<ChatId, Row>> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts saved rows in the place of stored ones on a page that goes up to `end`, and keeps those that fit.
    fn merge(
        &self,
        stored: Vec<Row>,
        after: Option<&ChatId>,
        end: Option<&ChatId>,
        fits: impl Fn(&Row) -> bool,
    ) -> Vec<Row> {
        let in_page = |chat: &ChatId| after.is_none_or(|after| chat > after) && end.is_none_or(|end| chat <= end);
        let mut rows: BTreeMap<ChatId, Row> = stored.into_iter().map(|row| (row.chat.clone(), row)).collect();
        rows.extend(
            self.saved().iter().filter(|(chat, _)| in_page(chat)).map(|(chat, row)| (chat.clone(), row.clone())),
        );
        rows.into_values().filter(|row| fits(row)).collect()
    }
}

#[async_trait]
impl Ledger for Overlay {
    async fn lease(&self, instance: &InstanceId, _: Timestamp) -> Result<Lease, LedgerError> {
        Ok(Lease { instance: instance.clone(), fence: 0, guard: Arc::new(Nothing) })
    }

    async fn end(&self, _: &Lease, _: Timestamp, _: &str) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn close_until(&self, _: &Lease, _: Timestamp) -> Result<(), LedgerError> {
        Ok(())
    }

    async fn closed_until(&self, instance: &InstanceId) -> Result<Timestamp, LedgerError> {
        self.base.closed_until(instance).await
    }

    async fn sift(&self, instance: &InstanceId, candidates: Vec<Candidate>) -> Result<Sifted, LedgerError> {
        let (mine, others): (Vec<_>, Vec<_>) = {
            let saved = self.saved();
            candidates.into_iter().partition(|candidate| saved.contains_key(&candidate.chat))
        };
        let mut sifted = self.base.sift(instance, others).await?;
        let saved = self.saved();
        sifted.rest.extend(mine.into_iter().map(|candidate| {
            let row = saved.get(&candidate.chat).cloned();
            (candidate, row)
        }));
        Ok(sifted)
    }

    async fn load(&self, instance: &InstanceId, chats: &[ChatId]) -> Result<Vec<Option<Row>>, LedgerError> {
        let mut rows = self.base.load(instance, chats).await?;
        let saved = self.saved();
        for (row, chat) in rows.iter_mut().zip(chats) {
            if let Some(mine) = saved.get(chat) {
                *row = Some(mine.clone());
            }
        }
        Ok(rows)
    }

    async fn save(&self, _: &Lease, rows: Vec<Row>, _: Vec<Overwritten>) -> Result<(), LedgerError> {
        self.saved().extend(rows.into_iter().map(|row| (row.chat.clone(), row)));
        Ok(())
    }

    async fn due(
        &self,
        instance: &InstanceId,
        by: Timestamp,
        after: Option<&ChatId>,
        limit: usize,
    ) -> Result<Vec<Row>, LedgerError> {
        let mut after = after.cloned();
        loop {
            let stored = self.base.due(instance, by, after.as_ref(), limit).await?;
            let next = if stored.len() == limit { stored.last().map(|row| row.chat.clone()) } else { None };
            let rows =
                self.merge(stored, after.as_ref(), next.as_ref(), |row| row.due_at().is_some_and(|due| due <= by));
            if !rows.is_empty() || next.is_none() {
                return Ok(rows);
            }
            after = next;
        }
    }

    async fn next_due(&self, instance: &InstanceId) -> Result<Option<Timestamp>, LedgerError> {
        self.base.next_due(instance).await
    }

    async fn rows(&self, instance: &InstanceId, after: Option<&ChatId>, limit: usize) -> Result<Vec<Row>, LedgerError> {
        let stored = self.base.rows(instance, after, limit).await?;
        let end = if stored.len() == limit { stored.last().map(|row| row.chat.clone()) } else { None };
        Ok(self.merge(stored, after, end.as_ref(), |_| true))
    }

    async fn counts(&self, instance: &InstanceId) -> Result<Counts, LedgerError> {
        let mut counts = self.base.counts(instance).await?;
        let chats: Vec<ChatId> = self.saved().keys().cloned().collect();
        let stored = self.base.load(instance, &chats).await?;
        for (now, before) in self.saved().values().zip(stored) {
            let was = |is: fn(&Row) -> bool| u64::from(before.as_ref().is_some_and(is));
            let shift = |count: &mut u64, is: fn(&Row) -> bool| *count = *count + u64::from(is(now)) - was(is);
            shift(&mut counts.rows, |_| true);
            shift(&mut counts.known, Row::is_known);
            shift(&mut counts.due, |row| row.due_at().is_some());
            shift(&mut counts.parked, Row::is_parked);
        }
        Ok(counts)
    }

    async fn history(&self, instance: &InstanceId, chat: &ChatId) -> Result<Vec<Overwritten>, LedgerError> {
        self.base.history(instance, chat).await
    }

    async fn runs(&self, instance: &InstanceId, limit: usize) -> Result<Vec<RunRecord>, LedgerError> {
        self.base.runs(instance, limit).await
    }
}
