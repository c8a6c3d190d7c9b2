//! `entente-loadtest`: see `--help`.

use std::io::Write;
use std::process::ExitCode;

/// As clap has it for what was asked wrongly; what cannot be done is no verdict either.
const TROUBLE: u8 = 2;

fn main() -> ExitCode {
    entente_loadtest::cli::main().unwrap_or_else(|error| {
        // Nothing is left to do if standard error is closed.
        let _closed = writeln!(std::io::stderr(), "entente-loadtest: {error:#}");
        ExitCode::from(TROUBLE)
    })
}
