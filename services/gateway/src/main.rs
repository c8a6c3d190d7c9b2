//! `entente`: one program, many roles.

mod cli;
#[cfg(feature = "mutants")]
mod mutant;

use std::process::ExitCode;

use clap::Parser;

/// Many small, long-lived allocations of many threads: mimalloc keeps them apart and gives back. Without
/// huge pages: each would be filled with zeros whole when the first part of it is used.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse())
}
