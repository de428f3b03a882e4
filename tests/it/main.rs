//! All integration tests, in one binary: one link, one helper, many rooms.

#![cfg(test)]

mod openapi;
mod testkit;
