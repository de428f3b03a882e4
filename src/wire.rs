//! What goes over the wire: bodies of requests, and what to make of the answers.
//!
//! Private, because the API's spelling is not ours to promise. Nothing here does I/O. Requests are assembled from parts escaped
//! beforehand. Answers are read as [`Json`](crate::json::Json), a tree that borrows from the body, because the API's answers have too
//! many shapes for one struct each: every key may be missing, null, wrapped, or of another type.

pub(crate) mod answer;
pub(crate) mod read;
pub(crate) mod request;
