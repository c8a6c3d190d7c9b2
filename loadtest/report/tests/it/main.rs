//! Results as files, and what is made of them.
#![expect(
    clippy::indexing_slicing,
    reason = "tests panic where they fail, also in their helpers"
)]

mod figures;
mod merge;
mod sample;
mod schema;
