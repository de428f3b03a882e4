use std::ops::Deref;

use tempfile::TempDir;
use wawp_contacts::{
    ledger::{MemoryLedger, SqliteLedger},
    ledger_contract,
};

ledger_contract!(memory, Box::new(MemoryLedger::default()));
ledger_contract!(sqlite_in_memory, Box::new(SqliteLedger::in_memory()?));
ledger_contract!(sqlite_in_a_file, InFile::open().await?);

/// A ledger in a folder that goes when it goes.
struct InFile {
    ledger: SqliteLedger,
    _folder: TempDir,
}

impl InFile {
    async fn open() -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let folder = tempfile::tempdir()?;
        let ledger = SqliteLedger::open(folder.path().join("contacts.ledger")).await?;
        Ok(Self { ledger, _folder: folder })
    }
}

impl Deref for InFile {
    type Target = SqliteLedger;

    fn deref(&self) -> &SqliteLedger {
        &self.ledger
    }
}
