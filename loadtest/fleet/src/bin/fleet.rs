//! Prints what becomes of a fleet as its nodes grow.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Parser;
use entente_fleet::{Costs, Figures, Fleet, Load, Pace, table};

/// Simulates ownership and storms of reconnects in large fleets, and says what is full first.
///
/// A router is killed, a connection node is killed, and what a fleet costs by its size alone. The same
/// seed gives the same table.
#[derive(Debug, Parser)]
#[command(name = "fleet", version)]
struct Options {
    /// Nodes of each fleet.
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000")]
    nodes: Vec<usize>,
    /// Sessions of each connection node.
    #[arg(long, default_value_t = 20_000)]
    sessions: usize,
    /// Logins a second that a connection node lets in where they are paced.
    #[arg(long, default_value_t = 500.0)]
    pace: f64,
    /// Where chance begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The measured constants.
    #[arg(long, default_value = "ops/capacity/costs.json")]
    costs: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !(options.pace.is_finite() && options.pace >= 0.1) {
        bail!("--pace {}: 0.1 or more logins a second", options.pace);
    }
    if !(1..=50_000).contains(&options.sessions) {
        bail!(
            "--sessions {}: 1 to 50,000 a connection node",
            options.sessions
        );
    }
    let costs = Costs::read(&options.costs)?;
    let load = Load {
        seed: options.seed,
        pace: Pace::Logins(options.pace),
    };
    let figures = options.nodes.iter().map(|nodes| {
        let fleet = Fleet::of(*nodes, options.sessions).context("--nodes")?;
        Ok(Figures::of(fleet, &costs, load))
    });
    let figures = figures.collect::<anyhow::Result<Vec<_>>>()?;
    write!(io::stdout().lock(), "{}", table(&figures, &costs, load))?;
    Ok(())
}
