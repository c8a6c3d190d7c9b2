//! The router over ports in memory, as connection nodes and the identity service use it.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod directory;
mod far;
mod faulty_disk;
mod gateway;
mod hands;
mod hot;
mod odd_log;
mod oncall;
mod plug;
mod reattach;
mod refusals;
mod sessions;
mod simulation;
mod stories;
mod windows;
