//! Stories of the whole gateway. They start the program `entente` that lies beside the tests'
//! folder: build it first (`cargo build -p entente-gateway`).

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod kills;
mod roles;

use std::path::PathBuf;

/// The gateway's program, built in the same profile.
pub(crate) fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(std::path::Path::parent);
    profile.expect("a target folder").join("entente")
}
