//! Prints the table of figures: `cargo run -p entente-report --example figures`.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    write!(io::stdout(), "{}", entente_report::reference())
}
