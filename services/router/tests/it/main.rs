//! The router over ports in memory, as connection nodes and the identity service use it.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod gateway;
mod stories;
