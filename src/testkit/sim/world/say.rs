//! What persons say and do about contacts, between runs and beside them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering::Relaxed,
};

use super::World;
use crate::{
    ChatId, crm,
    record::Park,
    sync::{Retry, SyncError},
    testkit::{
        lock,
        sim::{checks, crm::Wanted, log::Happening},
    },
};

/// How often it is tried to take an account over.
const TRIES: usize = 8;

impl World {
    /// One of the ids that persons have; the phone, most often.
    fn somebody(&self) -> Option<ChatId> {
        let ids = lock(&self.crm).ids_of_all();
        let (chat, lid) = lock(&self.rng).choice(ids)?;
        Some(if self.draw(6) == 0 { lid } else { chat })
    }

    /// A person says something about a contact.
    pub(super) async fn say(&self) {
        match self.draw(10) {
            0..3 => self.hold().await,
            3..5 => self.release_one().await,
            5 | 6 => self.retry().await,
            7 | 8 => self.forget().await,
            _ => self.allow().await,
        }
    }

    async fn hold(&self) {
        let Some(chat) = self.somebody() else { return };
        let process = self.process();
        match Box::pin(self.drive(&process, &format!("hold of {chat}"), process.sync.hold(&chat))).await {
            Some(Ok(Some(record))) => {
                self.server.log().count(Happening::Held);
                self.server.held(&record.chat);
            }
            Some(Ok(None)) => {}
            Some(Err(_)) | None => self.server.perhaps_held(&chat),
        }
    }

    async fn release_one(&self) {
        let held = self.server.all_held();
        let drawn = lock(&self.rng).choice(held);
        // Also one that nobody holds.
        let chat = if self.draw(4) > 0 { drawn } else { self.somebody() };
        if let Some(chat) = chat {
            self.release(&chat).await;
        }
    }

    async fn release(&self, chat: &ChatId) {
        let process = self.process();
        self.server.perhaps_released(chat);
        let released = process.sync.release(chat);
        if let Some(Ok(record)) = Box::pin(self.drive(&process, &format!("release of {chat}"), released)).await {
            self.server.log().count(Happening::Released);
            self.server.released(chat, record.as_ref());
        }
    }

    /// Lets everybody go on; says whether anybody was held.
    pub(super) async fn release_all(&self) -> bool {
        let held = self.server.all_held();
        for chat in &held {
            self.release(chat).await;
        }
        !held.is_empty()
    }

    async fn retry(&self) {
        let which = match (self.draw(5), self.somebody()) {
            (0, Some(chat)) => Retry::Contact(chat),
            (1, _) => Retry::Reason(Park::Drifted),
            (2, _) => Retry::Reason(Park::Contested),
            (3, _) => Retry::Reason(Park::Refused),
            _ => Retry::All,
        };
        let process = self.process();
        self.server.retried(matches!(which, Retry::Reason(Park::Drifted | Park::Contested)));
        self.server.log().count(Happening::Retried);
        let what = format!("retry of {which:?}");
        Box::pin(self.drive(&process, &what, process.sync.retry(which))).await;
    }

    async fn forget(&self) {
        let Some(chat) = self.somebody() else { return };
        let process = self.process();
        match Box::pin(self.drive(&process, &format!("forgetting of {chat}"), process.sync.forget(&chat))).await {
            Some(Ok(forgotten)) => {
                self.server.log().count(Happening::Forgotten);
                self.server.forgotten(&forgotten.map_or(vec![chat], |forgotten| forgotten.chats));
            }
            Some(Err(SyncError::InDoubt { .. })) => self.server.log().count(Happening::ForgottenLater),
            Some(Err(_)) | None => self.server.perhaps_forgotten(&chat),
        }
    }

    async fn allow(&self) {
        let forgotten = self.server.all_forgotten();
        let drawn = lock(&self.rng).choice(forgotten);
        let Some(chat) = drawn else { return };
        let process = self.process();
        self.server.log().count(Happening::Allowed);
        // The marks of persons may have been joined: what is left of them the ledger says.
        self.server.allowed();
        Box::pin(self.drive(&process, &format!("allowing of {chat}"), process.sync.allow(chat.as_str()))).await;
    }

    /// Some of the forgotten may be taken in again.
    pub(super) async fn allow_some(&self) {
        if self.draw(2) == 0 {
            self.allow().await;
        }
    }

    /// A run is undone, while nobody else takes rows in or while somebody may.
    pub(super) async fn undo(&self, is_alone: bool) {
        let runs = self.server.runs_that_called(self.draw(4) > 0);
        let Some(run) = lock(&self.rng).choice(runs) else { return };
        if self.draw(3) == 0 {
            let chats = self.server.called_by(run);
            let drawn = lock(&self.rng).choice(chats);
            if let Some(chat) = drawn {
                self.server.edit(&chat, &format!("by hand {}", self.draw(1_000_000)));
            }
        }
        let process = self.process();
        let (n, sent) = (process.book.process(), self.server.updates());
        let undoing = self.server.undo_begins(n, run).await;
        let done = Box::pin(self.drive(&process, &format!("undo of run {run}"), process.sync.undo(run))).await;
        let done = if let Some(Ok((undo, report))) = done {
            self.server.log().count(Happening::Undone);
            self.server.log().tell(format_args!("process {n}: {undo:?}: {}", report.summary));
            self.weigh(&process, sent, &report);
            report.applied.then_some(undo)
        } else {
            self.server.log().count(Happening::UndoBroken);
            None
        };
        self.server.undo_ends(undoing, done.as_ref(), is_alone);
    }

    /// Reads the whole address book.
    pub(super) async fn refresh(&self) {
        let process = self.process();
        let n = process.book.process();
        self.server.only_reads(n);
        let done = Box::pin(self.drive(&process, "refresh", process.sync.refresh())).await;
        if done.is_some_and(|done| done.is_ok_and(|found| found.complete)) {
            self.server.log().count(Happening::Refreshed);
            let records = checks::records(&self.server).await.unwrap_or_default();
            self.server.read_whole(n, &records, false);
        }
    }

    /// The account has names already: it is taken over, as often as that is interrupted.
    pub(super) async fn adopt(&self) {
        let wanted: BTreeMap<ChatId, Wanted> = lock(&self.crm).expected(&BTreeSet::new()).wanted;
        for (chat, wanted) in wanted {
            match (self.draw(3), wanted) {
                (0, Wanted::Name(name)) => self.server.edit(&chat, name.full()),
                (1, _) => self.server.edit(&chat, &format!("before {}", self.draw(1_000_000))),
                _ => {}
            }
        }
        for _ in 0..TRIES {
            let process = self.process();
            let n = process.book.process();
            self.server.only_reads(n);
            let delivery = lock(&self.crm).export(&self.server);
            let rows = self.rows(&delivery);
            let engine = process.sync.adopt(crm::snapshot(rows));
            let done = Box::pin(self.drive(&process, &format!("adoption of {delivery}"), engine)).await;
            if let Some(Ok(adoption)) = done {
                self.take_in(&process, &delivery, &adoption.intake);
                if let Some(guardrail) = &adoption.intake.guardrail {
                    let detail = format_args!("an adoption is stopped, which writes no name: {guardrail}");
                    self.server.log().breach("P12", detail);
                }
                if adoption.found.is_some_and(|found| found.complete) {
                    self.server.log().count(Happening::Adopted);
                    let records = checks::records(&self.server).await.unwrap_or_default();
                    return self.server.read_whole(n, &records, true);
                }
            }
            self.server.log().count(Happening::AdoptionBroken);
            if !self.is_faulty.load(Relaxed) {
                return;
            }
        }
    }
}
