//! What is left of a person who was forgotten: marks that tell their ids again, and nothing else.

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
};

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::{ChatId, record::Record};

/// What the ids of forgotten persons are hashed with: random, made once for an instance, and kept with the marks.
///
/// A mark says nothing of an id to whoever lacks the salt. With it, all phone numbers of a country are tried within minutes: there
/// are not that many. So the salt must be kept as secret as the ledger itself, and a copy of the ledger is a copy of the salt.
///
/// ```
/// use wawp_contacts::ledger::Salt;
///
/// let (one, other) = (Salt::from_bytes([1; 32]), Salt::from_bytes([2; 32]));
/// assert_eq!(one.mark("12025550142@c.us"), one.mark("12025550142@c.us"));
/// assert_ne!(one.mark("12025550142@c.us"), other.mark("12025550142@c.us"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Salt([u8; 32]);

/// A keyed hash of a chat id or a CRM id: the first 16 bytes of SHA-256 over the salt and the id.
pub type Mark = [u8; 16];

impl Salt {
    /// A salt that was stored.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A salt for as long as the process lives, from the keys with which the standard library guards its hash maps.
    pub(crate) fn of_process() -> Self {
        let mut hash = Sha256::new();
        let keys = RandomState::new();
        (0..4_u8).for_each(|nth| hash.update(keys.hash_one(nth).to_le_bytes()));
        Self(hash.finalize().into())
    }

    /// The mark of an id.
    #[must_use]
    pub fn mark(&self, id: &str) -> Mark {
        let hash = Sha256::new().chain_update(self.0).chain_update(id).finalize();
        std::array::from_fn(|at| hash[at])
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt")
    }
}

/// All chat ids of a person, the other variants of a number included; the chat of the record first.
#[must_use]
pub fn chats_of(record: &Record) -> Vec<ChatId> {
    let mut chats = Vec::new();
    for chat in std::iter::once(&record.chat).chain(&record.aliases) {
        for id in std::iter::once(chat.clone()).chain(chat.variant()) {
            if !chats.contains(&id) {
                chats.push(id);
            }
        }
    }
    chats
}

/// All ids of a person as text: the [chats](chats_of), then the rows of the CRM that claim the person. These are marked when the person
/// is forgotten.
#[must_use]
pub fn ids_of(record: &Record) -> Vec<Box<str>> {
    let claims = record.claims.iter().map(|claim| claim.crm_id.clone());
    chats_of(record).iter().map(|chat| chat.as_str().into()).chain(claims).collect()
}

/// Takes the lines of a report out that are about a person; `None` if there are none.
///
/// Lines are a JSON array of objects. A line is about whom its fields `chat` and `crm_id` name.
///
/// # Errors
///
/// Fails if the lines are no such array.
pub fn strike(lines: &str, mut is_about: impl FnMut(&str) -> bool) -> Result<Option<String>, serde_json::Error> {
    let mut kept: Vec<Map<String, Value>> = serde_json::from_str(lines)?;
    let count = kept.len();
    kept.retain(|line| !["chat", "crm_id"].iter().filter_map(|key| line.get(*key)?.as_str()).any(&mut is_about));
    if kept.len() == count { Ok(None) } else { serde_json::to_string(&kept).map(Some) }
}
