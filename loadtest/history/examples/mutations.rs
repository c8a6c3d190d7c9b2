//! Prints the table of seeded faults: which rules found each, in how many histories.
//!
//! `cargo run -p entente-history --example mutations [SEEDS]`

#[path = "../tests/it/main.rs"]
mod it;

#[expect(clippy::print_stdout, reason = "it is what this is for")]
fn main() -> Result<(), String> {
    let seeds = std::env::args()
        .nth(1)
        .map_or(Ok(20), |seeds| seeds.parse());
    let (table, wrong) = it::mutations::table(seeds.map_err(|error| format!("seeds: {error}"))?);
    println!("{table}");
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}
