//! Histories on paper: clean ones pass, each seeded fault is found by its rule, and broken files are
//! told of.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[cfg(test)]
mod clean;
mod faults;
#[cfg(test)]
mod judging;
#[cfg(test)]
mod model;
pub(crate) mod mutations;
mod sample;
