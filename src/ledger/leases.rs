use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::{Held, LedgerError, LedgerErrorKind};
use crate::{ChatId, InstanceId};

/// Which instances are leased within this process.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<BTreeMap<InstanceId, Weak<Guard>>>);

#[derive(Debug)]
struct Guard;

impl Held for Guard {}

impl Leases {
    /// Gives the instance out, unless an earlier guard of it is still held.
    pub(super) fn take(&self, instance: &InstanceId) -> Result<Arc<dyn Held>, LedgerError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(instance).is_some_and(|guard| guard.strong_count() > 0) {
            let detail = format!("another run of this process is writing instance {instance}; wait for it to end");
            return Err(LedgerError::new(LedgerErrorKind::InUse, detail));
        }
        let guard = Arc::new(Guard);
        held.insert(instance.clone(), Arc::downgrade(&guard));
        Ok(guard)
    }
}

/// The error of a write under a lease that is no longer the newest.
pub(super) fn fenced(instance: &InstanceId) -> LedgerError {
    let detail = format!("a newer run has taken over instance {instance}; this one may no longer write");
    LedgerError::new(LedgerErrorKind::Fenced, detail)
}

/// The error of a row that is not as it was loaded.
pub(super) fn conflict(chat: &ChatId) -> LedgerError {
    let detail = format!("the row of {chat} was stored by somebody else since it was loaded; load it and try again");
    LedgerError::new(LedgerErrorKind::Conflict, detail)
}
