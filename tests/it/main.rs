//! All integration tests, in one binary: one link, one helper, many rooms.

mod webhook;
