//! The shape of the file, one step per version. A step that was released is never edited: a change is a new step.

/// `wawp` in ASCII; tells a ledger from any other SQLite file.
pub(super) const APPLICATION_ID: i64 = 0x7761_7770;

/// What turns version n into version n + 1, for n from 0 on.
///
/// Moments are milliseconds since 1970, UTC. The counts of `instance` are kept by every save, so that reading them costs
/// nothing. The columns that a sift compares come first.
pub(super) const MIGRATIONS: &[&str] = &["
CREATE TABLE instance (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    fence INTEGER NOT NULL DEFAULT 1,
    closed_until INTEGER NOT NULL DEFAULT 0,
    contacts INTEGER NOT NULL DEFAULT 0,
    known INTEGER NOT NULL DEFAULT 0,
    due INTEGER NOT NULL DEFAULT 0,
    parked INTEGER NOT NULL DEFAULT 0,
    last_slot INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE run (
    instance INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    began INTEGER NOT NULL,
    ended INTEGER,
    summary TEXT,
    PRIMARY KEY (instance, fence)
) STRICT, WITHOUT ROWID;

CREATE TABLE contact (
    instance INTEGER NOT NULL,
    chat TEXT NOT NULL,
    slot INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('settled', 'due', 'parked')),
    version INTEGER,
    rules INTEGER NOT NULL,
    crm_id TEXT NOT NULL,
    first_name TEXT NOT NULL,
    last_name TEXT,
    base_first TEXT NOT NULL,
    base_last TEXT,
    tag TEXT,
    cause TEXT NOT NULL,
    rivals TEXT,
    sent_first TEXT,
    sent_last TEXT,
    sent_at INTEGER,
    doubt_first TEXT,
    doubt_last TEXT,
    doubt_until INTEGER,
    trouble_wish BLOB,
    trouble_kind TEXT,
    trouble_message TEXT,
    attempts INTEGER,
    retry_at INTEGER,
    seen_name TEXT,
    seen_at INTEGER,
    revision INTEGER NOT NULL,
    due_at INTEGER,
    PRIMARY KEY (instance, chat)
) STRICT, WITHOUT ROWID;

CREATE INDEX contact_due ON contact (instance, chat, due_at) WHERE due_at IS NOT NULL;

CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    instance INTEGER NOT NULL,
    chat TEXT NOT NULL,
    text TEXT NOT NULL,
    by_first TEXT NOT NULL,
    by_last TEXT,
    at INTEGER NOT NULL
) STRICT;

CREATE INDEX history_chat ON history (instance, chat);
"];
