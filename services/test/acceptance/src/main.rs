//! `kills`: the kill campaign from the command line.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use entente_acceptance::kills::{Fault, Kills};
use entente_acceptance::rolling::Rolling;

/// What happens at the end of each round.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    /// Connections are cut.
    Cut,
    /// The disk of the log fills, tears, stalls or fails a sync. Needs `cc`; as root it mounts.
    Disk,
    /// SIGKILL and a start.
    Kill,
    /// SIGKILL and a start of one node after another, of a deployment with a process for each role.
    Node,
    /// SIGTERM and a start.
    Terminate,
}

/// Kills the gateway again and again under load, and counts what became of every message.
#[derive(Debug, Parser)]
struct Options {
    /// The gateway's program; by default `entente` beside this one.
    #[arg(long)]
    program: Option<PathBuf>,
    /// What happens at the end of each round.
    #[arg(long, value_enum, default_value = "kill")]
    fault: Way,
    /// Rounds, each with one fault.
    #[arg(long, default_value_t = 100)]
    rounds: u32,
    /// For nodes: their log on Kafka, `kafka://HOST:PORT/PREFIX`, with a prefix that nobody used before.
    #[arg(long)]
    log: Option<String>,
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
    let program = options.program.clone().unwrap_or(beside);
    let (fault, config) = match options.fault {
        Way::Node => return nodes(&options, program).await,
        Way::Cut => (Fault::Cut, ""),
        Way::Disk => (Fault::Disk, entente_acceptance::disk::CONFIG),
        Way::Kill => (Fault::Kill, ""),
        Way::Terminate => (Fault::Terminate, ""),
    };
    let kills = Kills {
        fault,
        program,
        rounds: options.rounds,
        users: options.users,
        seed: options.seed,
        config: config.to_owned(),
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
    if fault == Fault::Disk {
        writeln!(out, "{:?}", outcome.struck)?;
    }
    for example in &found.examples {
        writeln!(out, "{example}")?;
    }
    Ok(if found.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The campaign over nodes: each round kills the next one.
async fn nodes(options: &Options, program: PathBuf) -> anyhow::Result<ExitCode> {
    let victims = ["r2", "c1", "r1", "p1", "c2", "i1"].into_iter().cycle();
    let rolling = Rolling {
        program,
        log: options.log.clone(),
        orderly: false,
        victims: victims.take(usize::try_from(options.rounds)?).collect(),
        users: (options.users / 2).max(1),
        between: Duration::from_secs(1),
        seed: options.seed,
    };
    let rolled = Box::pin(rolling.run()).await?;
    let found = &rolled.findings;
    let mut out = io::stdout();
    writeln!(
        out,
        "seed {}: {} nodes killed, {} messages in flight at it",
        rolling.seed, options.rounds, rolled.in_flight
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
        "sessions resumed {} bound afresh {}; errors logged {}",
        rolled.resumed,
        rolled.rebound,
        rolled.errors.len()
    )?;
    for line in rolled.errors.iter().chain(&found.examples) {
        writeln!(out, "{line}")?;
    }
    Ok(if found.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
