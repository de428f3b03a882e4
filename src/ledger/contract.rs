//! The suite that every ledger must pass.
