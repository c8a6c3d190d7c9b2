//! The demonstration behind `entente demo`: a gateway process, two partners, a host, real Signal
//! messages, kills, and a count of what was lost.
//!
//! Everything runs on loopback. The gateway is a process of its own, started from the same
//! executable; the users are in this process and reach it over TLS only.
//!
//! **Invariants**
//! - Every line that claims something is a check; the first that fails ends the demonstration with
//!   [`DemoError::Check`].
//! - The gateway process ends with the demonstration, whatever its outcome.

mod book;
mod cast;
mod cluster;
mod error;
mod message;
mod report;
mod scene;
mod screen;
pub mod signal;
mod storm;
mod story;
mod user;

use std::io::Write;
use std::path::PathBuf;

use rand::SeedableRng;
use rand::rngs::StdRng;

pub use error::DemoError;
pub use report::Report;

use scene::Scene;
use screen::Screen;

/// What to show.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoOptions {
    /// The folder of a cluster that runs, instead of a gateway of the demonstration's own; `ops/cluster`
    /// starts one.
    #[arg(
        long,
        value_name = "FOLDER",
        requires = "control",
        conflicts_with = "dir"
    )]
    pub cluster: Option<PathBuf>,
    /// The program that kills and starts the nodes of the cluster.
    #[arg(long, value_name = "PROGRAM", requires = "cluster")]
    pub control: Option<PathBuf>,
    /// Where the gateway keeps its files, kept afterwards; without it, a folder that is removed.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// How often the gateway is killed while messages are under way.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=20))]
    pub kills: u32,
    /// How many messages the users exchange.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub messages: u32,
    /// The gateway's executable; without it, this program.
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// Decides who writes to whom and whose connection is cut when.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many users there are, over two partners and the host.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(4..=500))]
    pub users: u32,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self {
            cluster: None,
            control: None,
            dir: None,
            kills: 2,
            messages: 5000,
            program: None,
            seed: 1,
            users: 20,
        }
    }
}

/// Runs the demonstration and prints to standard output.
///
/// # Errors
/// [`DemoError`]; of the kind `Check` if the gateway did not do what it promises.
pub async fn run(options: DemoOptions) -> Result<Report, DemoError> {
    run_on(options, &mut std::io::stdout()).await
}

/// As [`run`], printing elsewhere.
///
/// # Errors
/// As [`run`].
pub async fn run_on(
    options: DemoOptions,
    out: &mut (dyn Write + Send),
) -> Result<Report, DemoError> {
    let mut screen = Screen::new(out);
    let gateway = match options.cluster {
        Some(_) => "a cluster",
        None => "one gateway process",
    };
    screen.line(&format!(
        "entente demo: two partners, a host, {gateway}; nothing leaves this machine"
    ))?;
    let mut rng = StdRng::seed_from_u64(options.seed);

    screen.begin(match options.cluster {
        Some(_) => "the cluster hears of the partners",
        None => "a gateway of its own is set up and started",
    })?;
    let mut scene = Box::pin(Scene::set(&options)).await?;
    screen.end(&scene.gateway())?;

    screen.begin("users enlist with Signal keys and log in over TLS 1.3")?;
    let users = Box::pin(cast::enlist(&scene, options.users)).await?;
    screen.end(&format!("{} users", users.len()))?;

    let told = Box::pin(story::tell(&scene, &users, &mut screen)).await?;

    let storm = storm::Plan {
        messages: options.messages,
        kills: options.kills,
    };
    let weathered = Box::pin(storm::weather(
        &mut scene,
        &users,
        storm,
        &mut rng,
        &mut screen,
    ))
    .await?;

    screen.begin(match options.cluster {
        Some(_) => "users leave",
        None => "users leave and the gateway stops in order",
    })?;
    let tallies = users.leave().await;
    let ended = scene.stop().await?;
    screen.end(&ended)?;

    let report = Report::new(told, weathered, &tallies, screen.elapsed());
    screen.line(&report.to_string())?;
    report.check()?;
    if options.cluster.is_none() {
        screen.line(&format!(
            "next: entente init --dir node --domain interop.localhost --development, \
             then entente run --config node/entente.toml{}",
            scene.leftovers()
        ))?;
    }
    Ok(report)
}
