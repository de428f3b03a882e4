//! All integration tests, in one binary: one link, one helper, many rooms.

#![cfg(test)]

mod book;
mod client;
mod corpora;
mod crash_points;
mod crm;
mod drift;
mod findings;
mod floors;
mod forget;
mod gates;
mod hunt;
mod identity;
mod job;
mod ledger;
mod openapi;
mod pace;
mod promises;
mod report;
mod report_page;
mod saved;
mod secrets;
mod shaky;
mod sim;
mod testkit;
mod undo;
mod verify;
mod webhook;
mod world;
