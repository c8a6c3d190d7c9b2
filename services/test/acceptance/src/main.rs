//! `kills`: the kill campaign from the command line.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use entente_acceptance::kills::{Fault, Kills};

/// Kills the gateway again and again under load, and counts what became of every message.
#[derive(Debug, Parser)]
struct Options {
    /// The gateway's program; by default `entente` beside this one.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Rounds, each with one SIGKILL.
    #[arg(long, default_value_t = 100)]
    rounds: u32,
    /// Users who write to each other.
    #[arg(long, default_value_t = 10)]
    users: usize,
    /// From which the campaign's choices come.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let beside = std::env::current_exe()?.with_file_name("entente");
    let kills = Kills {
        fault: Fault::Kill,
        program: options.program.unwrap_or(beside),
        rounds: options.rounds,
        users: options.users,
        seed: options.seed,
        config: String::new(),
    };
    let mut out = io::stdout();
    let outcome = Box::pin(kills.run(&mut out)).await?;
    let found = &outcome.findings;
    writeln!(
        out,
        "seed {}: {} rounds, {} kills with messages in flight ({} messages)",
        kills.seed, kills.rounds, outcome.kills_in_flight, outcome.in_flight
    )?;
    writeln!(
        out,
        "sent {} acknowledged {} refused {} delivered {} receipts {}",
        found.sent, found.accepted, found.refused, found.delivered, found.receipts
    )?;
    writeln!(
        out,
        "lost {} duplicated {} out of order {} invented {} dishonest receipts {}",
        found.lost, found.duplicated, found.out_of_order, found.invented, found.dishonest
    )?;
    writeln!(
        out,
        "sessions resumed {} bound afresh {}; copies on the wire {}; errors logged {}",
        outcome.resumed, outcome.rebound, outcome.copies, outcome.errors
    )?;
    for example in &found.examples {
        writeln!(out, "{example}")?;
    }
    Ok(if found.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
