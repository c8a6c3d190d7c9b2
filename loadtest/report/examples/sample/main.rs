//! Writes a report of a made-up run, to look at: `cargo run -p entente-report --example sample --
//! OUT.html`. With `--json` after it, `result.json` goes beside it.

use std::error::Error;
use std::path::PathBuf;

mod run;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let out = PathBuf::from(words.next().ok_or("where to? sample OUT.html [--json]")?);
    let result = run::sample(7)?;
    entente_report::write_whole(&out, entente_report::html(&result)?.as_bytes())?;
    if words.next().is_some_and(|word| word == "--json") {
        result.write(&out.with_extension("json"))?;
    }
    Ok(())
}
