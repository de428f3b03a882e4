//! A ledger that fails, or is slow, when it is told to.

use std::sync::Mutex;

use async_trait::async_trait;
use wawp_contacts::{
    InstanceId,
    ledger::{Candidate, Counts, Lease, LedgerError, Overwritten, Row, RunRecord, Sifted},
};

use super::*;

#[derive(Debug)]
pub(super) struct Shaky {
    base: Arc<dyn Ledger>,
    /// How many saves still work.
    saves: Mutex<usize>,
    delay: Duration,
}

impl Shaky {
    pub(super) fn new(base: Arc<dyn Ledger>) -> Self {
        Self { base, saves: Mutex::new(usize::MAX), delay: Duration::ZERO }
    }

    pub(super) fn failing_after(self, saves: usize) -> Self {
        Self { saves: Mutex::new(saves), ..self }
    }

    pub(super) fn slow(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    fn spend(&self) -> Result<(), LedgerError> {
        let mut saves = self.saves.lock().unwrap();
        *saves = saves.checked_sub(1).ok_or_else(|| LedgerError::new(LedgerErrorKind::Full, "the disk is full"))?;
        Ok(())
    }
}

#[async_trait]
impl Ledger for Shaky {
    async fn lease(&self, instance: &InstanceId, now: Timestamp) -> Result<Lease, LedgerError> {
        self.base.lease(instance, now).await
    }

    async fn end(&self, lease: &Lease, now: Timestamp, summary: &str) -> Result<(), LedgerError> {
        self.base.end(lease, now, summary).await
    }

    async fn close_until(&self, lease: &Lease, until: Timestamp) -> Result<(), LedgerError> {
        self.base.close_until(lease, until).await
    }

    async fn closed_until(&self, instance: &InstanceId) -> Result<Timestamp, LedgerError> {
        self.base.closed_until(instance).await
    }

    async fn sift(&self, instance: &InstanceId, candidates: Vec<Candidate>) -> Result<Sifted, LedgerError> {
        self.base.sift(instance, candidates).await
    }

    async fn load(&self, instance: &InstanceId, chats: &[ChatId]) -> Result<Vec<Option<Row>>, LedgerError> {
        self.base.load(instance, chats).await
    }

    async fn save(&self, lease: &Lease, rows: Vec<Row>, history: Vec<Overwritten>) -> Result<(), LedgerError> {
        self.spend()?;
        tokio::time::sleep(self.delay).await;
        self.base.save(lease, rows, history).await
    }

    async fn due(
        &self,
        instance: &InstanceId,
        by: Timestamp,
        after: Option<&ChatId>,
        limit: usize,
    ) -> Result<Vec<Row>, LedgerError> {
        self.base.due(instance, by, after, limit).await
    }

    async fn next_due(&self, instance: &InstanceId) -> Result<Option<Timestamp>, LedgerError> {
        self.base.next_due(instance).await
    }

    async fn rows(&self, instance: &InstanceId, after: Option<&ChatId>, limit: usize) -> Result<Vec<Row>, LedgerError> {
        self.base.rows(instance, after, limit).await
    }

    async fn counts(&self, instance: &InstanceId) -> Result<Counts, LedgerError> {
        self.base.counts(instance).await
    }

    async fn history(&self, instance: &InstanceId, chat: &ChatId) -> Result<Vec<Overwritten>, LedgerError> {
        self.base.history(instance, chat).await
    }

    async fn runs(&self, instance: &InstanceId, limit: usize) -> Result<Vec<RunRecord>, LedgerError> {
        self.base.runs(instance, limit).await
    }
}
