//! All integration tests, in one binary: one link, one helper, many rooms.

#![cfg(test)]

mod book;
mod client;
mod corpora;
mod crm;
mod floors;
mod job;
mod ledger;
mod openapi;
mod promises;
mod secrets;
mod testkit;
mod webhook;
