//! The seams, over local handles and over the wire: the same suite for both.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod bench;
mod calls;
mod frames;
mod inspect;
mod items;
mod revocations;
mod services;
mod shards;
mod stream;
