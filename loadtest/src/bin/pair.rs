//! `pair`: what the gateway costs on a core of its own, under pairs of users, logins and idle
//! sessions.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use entente_kit::partner::Algorithm;
use entente_loadtest::node::{Node, NodeConfig};
use entente_loadtest::report::{Row, table};
use entente_loadtest::scenario::{idle, login, pairs};
use entente_loadtest::{machine, users};

/// Goals, in µs of the gateway's core, by window.
const MESSAGE_GOALS: [(u32, f64); 2] = [(1, 30.0), (10, 15.0)];
/// Goal for idle sessions, in KB of user memory.
const IDLE_GOAL: f64 = 18.0;
/// Goal for logins a second and core.
const LOGIN_GOAL: f64 = 1_500.0;

/// Starts the gateway on one core, loads it from another, and says what it cost.
#[derive(Debug, Parser)]
#[command(name = "pair", version)]
struct Options {
    /// What to run; all of it by default.
    #[arg(value_enum, default_values = ["pairs", "login", "idle"])]
    scenarios: Vec<Scenario>,
    /// The program `entente`; by default the one beside this.
    #[arg(long)]
    server: Option<PathBuf>,
    /// The folder in which the gateway's fresh folder is made; by default the system's.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// When the gateway syncs its log: always, an interval such as 5ms, or never.
    #[arg(long, default_value = "always")]
    fsync: String,
    /// Core of the gateway.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core of this program.
    #[arg(long, default_value_t = 1)]
    core: usize,
    /// How the partner signs tokens.
    #[arg(long, value_enum, default_value = "eddsa")]
    algorithm: Signature,
    /// Lines that are appended to the gateway's configuration.
    #[arg(long, default_value = "")]
    extra: String,
    /// Pairs of users.
    #[arg(long, default_value_t = 50)]
    pairs: usize,
    /// Messages under way in each pair; each value is a run.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10])]
    windows: Vec<u32>,
    /// Bytes of a message's body.
    #[arg(long, default_value_t = 512)]
    body: usize,
    /// Seconds before a run of pairs is measured.
    #[arg(long, default_value_t = 2)]
    warm_up: u64,
    /// Seconds that pairs and logins are measured.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Idle sessions.
    #[arg(long, default_value_t = 10_000)]
    sessions: usize,
    /// How far idle sessions go before they rest.
    #[arg(long, value_enum, default_value = "managed")]
    depth: Depth,
    /// Seconds that idle sessions rest before and while they are measured.
    #[arg(long, default_value_t = 10)]
    settle: u64,
    /// Logins at once.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Writes the figures to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Messages in a closed loop.
    Pairs,
    /// Full logins.
    Login,
    /// Sessions that do nothing.
    Idle,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Depth {
    /// TLS alone.
    Handshake,
    /// Bound.
    Bound,
    /// Bound, with XEP-0198 and presence.
    Managed,
}

impl From<Depth> for idle::Depth {
    fn from(depth: Depth) -> Self {
        match depth {
            Depth::Handshake => Self::Handshake,
            Depth::Bound => Self::Bound,
            Depth::Managed => Self::Managed,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Signature {
    Eddsa,
    Es256,
    Rs256,
}

impl From<Signature> for Algorithm {
    fn from(signature: Signature) -> Self {
        match signature {
            Signature::Eddsa => Self::EdDsa,
            Signature::Es256 => Self::Es256,
            Signature::Rs256 => Self::Rs256,
        }
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    machine::pin(options.core)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run(&options))
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let folder = options.folder.clone();
    let folder = folder.unwrap_or_else(std::env::temp_dir);
    let program = match &options.server {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("entente"),
    };
    let syncs = machine::syncs_per_second(&folder)?;
    say(&format!("disk: {syncs:.0} fdatasync/s"))?;
    let mut disk = Row::new("disk");
    disk.add("fdatasync", syncs, "/s");
    let config = NodeConfig {
        program,
        core: options.server_core,
        folder,
        fsync: options.fsync.clone(),
        log: None,
        extra: options.extra.clone(),
        algorithm: options.algorithm.into(),
        partners: 1,
        first: 7,
        others: String::new(),
        environment: Vec::new(),
        wrong_certificate: false,
    };
    let mut rows = vec![disk];
    for scenario in &options.scenarios {
        rows.extend(Box::pin(measure(options, &config, *scenario)).await?);
    }
    say("")?;
    say(&table(&rows))?;
    if let Some(path) = &options.json {
        let json = serde_json::to_vec_pretty(&rows)?;
        std::fs::write(path, json).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// One scenario on a gateway of its own.
async fn measure(
    options: &Options,
    config: &NodeConfig,
    scenario: Scenario,
) -> anyhow::Result<Vec<Row>> {
    let mut node = Node::start(config).await?;
    let count = match scenario {
        Scenario::Pairs => options.pairs * 2,
        Scenario::Login => options.connections,
        Scenario::Idle => options.sessions,
    };
    let users = users::enlist(node.enlistment()?, node.partners(), "load", count).await?;
    node.restart().await?;
    say(&format!("gateway: process {}, {count} users", node.pid()?))?;
    let time = Duration::from_secs(options.seconds);
    let mut rows = Vec::new();
    match scenario {
        Scenario::Pairs => {
            for &window in &options.windows {
                let goal = MESSAGE_GOALS.iter().find(|(of, _)| *of == window);
                let config = pairs::PairsConfig {
                    pairs: options.pairs,
                    window,
                    body: options.body,
                    warm_up: Duration::from_secs(options.warm_up),
                    time,
                    goal: goal.map(|(_, goal)| *goal),
                };
                rows.push(pairs::run(&node, &users, config).await?);
            }
        }
        Scenario::Login => {
            let config = login::LoginConfig {
                connections: options.connections,
                time,
                goal: LOGIN_GOAL,
            };
            rows.push(login::run(&node, &users, config).await?);
        }
        Scenario::Idle => {
            let config = idle::IdleConfig {
                depth: options.depth.into(),
                sessions: options.sessions,
                settle: Duration::from_secs(options.settle),
                goal: IDLE_GOAL,
            };
            rows.push(idle::run(&node, &users, config).await?);
        }
    }
    for row in &rows {
        say(&row.line())?;
    }
    say(&format!("gateway ended, {}", node.stop().await?))?;
    Ok(rows)
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}
