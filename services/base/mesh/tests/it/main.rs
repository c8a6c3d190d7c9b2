//! Nodes of a mesh over real TLS on loopback: who is let in, who is not, and what they are told.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod bench;
mod certificates;
mod members;
