//! All integration tests, in one binary: one link, one helper, many rooms.

#![cfg(test)]

mod book;
mod crm;
mod floors;
mod job;
mod ledger;
mod openapi;
mod promises;
mod testkit;
