//! Results as files, and what is made of them.
#![expect(
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and says when it is skipped"
)]

mod figures;
mod merge;
mod outputs;
mod page;
mod sample;
mod schema;
mod shots;
