//! The shape of the file.
//!
//! The first step makes a new file; each later one turns version n into version n + 1. A step that was released is never edited: a
//! change is a new step.

/// `wawp` in ASCII; tells a ledger from any other SQLite file.
pub(super) const APPLICATION_ID: i64 = 0x7761_7770;

/// The version that the first of [`STEPS`] makes. Those before it were never published.
pub(super) const FIRST_VERSION: i64 = 3;

/// What brings an empty file to [`FIRST_VERSION`], and what brings each version to the next.
///
/// Moments are milliseconds since 1970, UTC, as the bits of a signed number; [`at`](super::record::order) alone is shifted so that
/// the database orders it. `contact_open` holds what is not in the state of nearly all records, for counts and lists, and `contact_by_hand` those few that a
/// person said to leave as they are, most of which are in that state: it goes by the text of the body, which costs a write nearly
/// nothing, and holds the few too many in which a joined record was held. A claim is
/// found by CRM id in the table, and in the order of arrival in its index; either has all columns, so that a comparison reads one
/// of them only. A mark is one of a forgotten person's, who is named by one of the marks; there are some only once there is a salt.
pub(super) const STEPS: &[&str] = &["
CREATE TABLE instance (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    owner TEXT,
    fence INTEGER NOT NULL DEFAULT 0,
    expires INTEGER NOT NULL DEFAULT 0,
    lock INTEGER NOT NULL DEFAULT 0,
    revision INTEGER NOT NULL DEFAULT 0,
    state TEXT,
    released_at INTEGER,
    last_claim INTEGER NOT NULL DEFAULT 0,
    salt BLOB
) STRICT;

CREATE TABLE contact (
    id INTEGER PRIMARY KEY,
    instance INTEGER NOT NULL,
    chat TEXT NOT NULL,
    revision INTEGER NOT NULL,
    state TEXT NOT NULL,
    at INTEGER,
    known INTEGER NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (instance, chat)
) STRICT;

CREATE INDEX contact_due ON contact (instance, at) WHERE at IS NOT NULL;

CREATE INDEX contact_open ON contact (instance, chat, state, known) WHERE state <> 'in_sync' OR known = 0;

CREATE TABLE alias (
    instance INTEGER NOT NULL,
    alias TEXT NOT NULL,
    contact INTEGER NOT NULL,
    PRIMARY KEY (instance, alias)
) STRICT, WITHOUT ROWID;

CREATE TABLE claim (
    instance INTEGER NOT NULL,
    crm_id TEXT NOT NULL,
    arrival INTEGER NOT NULL,
    digest BLOB NOT NULL,
    contact INTEGER NOT NULL,
    PRIMARY KEY (instance, crm_id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX claim_arrival ON claim (instance, arrival, digest, contact);

CREATE TABLE run (
    instance INTEGER NOT NULL,
    run INTEGER NOT NULL,
    owner TEXT NOT NULL,
    began INTEGER NOT NULL,
    ended INTEGER,
    summary TEXT,
    PRIMARY KEY (instance, run)
) STRICT, WITHOUT ROWID;

CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    instance INTEGER NOT NULL,
    chat TEXT NOT NULL,
    run INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;

CREATE INDEX history_chat ON history (instance, chat);

CREATE INDEX history_run ON history (instance, run, chat);

CREATE TABLE report (
    id INTEGER PRIMARY KEY,
    instance INTEGER NOT NULL,
    run INTEGER NOT NULL,
    lines TEXT NOT NULL
) STRICT;

CREATE INDEX report_run ON report (instance, run);

CREATE TABLE forgotten (
    instance INTEGER NOT NULL,
    mark BLOB NOT NULL,
    person BLOB NOT NULL,
    PRIMARY KEY (instance, mark)
) STRICT, WITHOUT ROWID;

CREATE INDEX contact_by_hand ON contact (instance, chat) WHERE instr(body, '\"held\":{') > 0;
"];

/// What a diff stages; in a file that the system deletes when the connection is closed. A staged row has what its row in `contact` will
/// have, at the revision that the record was loaded at, and in `rest` what else its write has, if anything.
pub(super) const SESSION: &str = "
PRAGMA cache_size = -1024;
PRAGMA temp_store = FILE;
PRAGMA temp.journal_mode = OFF;
PRAGMA temp.cache_size = -1024;

CREATE TEMP TABLE staged (
    id INTEGER PRIMARY KEY,
    chat TEXT NOT NULL UNIQUE,
    revision INTEGER NOT NULL,
    state TEXT NOT NULL,
    at INTEGER,
    known INTEGER NOT NULL,
    body TEXT NOT NULL,
    rest TEXT
) STRICT;

CREATE TEMP TABLE staged_claim (crm_id TEXT PRIMARY KEY, chat TEXT, is_met INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TEMP TABLE staged_alias (alias TEXT PRIMARY KEY, chat TEXT NOT NULL) STRICT, WITHOUT ROWID;
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Status;

    #[test]
    fn the_index_of_what_is_open_leaves_out_the_state_of_records_in_sync() {
        assert!(STEPS[0].contains(&format!("state <> '{}' OR", Status::InSync.as_str())));
    }
}
