//! All integration tests, in one binary: one link, one helper, many rooms.

#![cfg(test)]

mod testkit;

mod book;
mod corpora;
mod promises;
mod webhook;
