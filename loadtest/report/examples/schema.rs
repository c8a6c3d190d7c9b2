//! Prints the schema of `result.json`: `cargo run -p entente-report --example schema`.

use std::io::{self, Write};

use entente_report::RunResult;

fn main() -> io::Result<()> {
    let schema = serde_json::to_string_pretty(&RunResult::json_schema())?;
    writeln!(io::stdout(), "{schema}")
}
