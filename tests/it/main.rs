//! All integration tests, in one binary: one link, one helper, many rooms.

#![cfg(test)]

mod testkit;

mod book;
mod promises;
mod webhook;
