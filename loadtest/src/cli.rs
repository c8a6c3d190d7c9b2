//! The command line of `entente-loadtest`.

mod campaign;
mod judged;
mod pages;
mod scenarios;
mod times;

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use entente_campaign::Links;
use entente_engine::scenario::{Scenario, ScenarioError, reference};
use entente_report::RunResult;
use tokio::net::TcpListener;

use crate::conduct::{self, Order};
use crate::view::{Plain, Screen, View};

pub use scenarios::SCENARIOS;

/// Exit status of a command that was given wrongly, as clap has it.
const USAGE: u8 = 2;

/// Loads an XMPP server and says what became of every message.
///
/// A run starts a gateway (or takes a server that runs), logs users in, makes load as a scenario
/// says, waits for what is under way, and judges the result by the scenario's thresholds.
///
/// Exit status: 0 all thresholds held; 99 one did not; 98 the run says nothing about the server
/// (the generator was too busy, clocks jumped, too few events, nobody could log in); 2 usage.
#[derive(Debug, Parser)]
#[command(name = "entente-loadtest", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  entente-loadtest run mixed                            a gateway of its own, a day in a minute
  entente-loadtest run pairs --window 10 --time 30s     the price of a message in a closed loop
  entente-loadtest run pairs --rate 5000                an open loop: 5,000 messages a second
  entente-loadtest run pairs --set target.kind=xmpp --set target.address=127.0.0.1:5222 \\
      --set target.domain=example.org --set target.transport=starttls \\
      --set target.accounts.user='user{n}' --set target.accounts.password='secret{n}'
  entente-loadtest scenario --list                      what there is to run
  entente-loadtest scenario --reference                 every key of a scenario file";

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a scenario: one of `scenario --list` by name, or a file.
    Run(Box<RunOptions>),
    /// Makes load while the gateway is killed, stopped, restarted and cut off, and checks every message.
    Campaign(campaign::Options),
    /// Says what scenarios there are, what one looks like, or what a file may hold.
    Scenario(ScenarioOptions),
    /// Checks the histories of a run: was anything lost, doubled, swapped, invented?
    Check {
        /// The folder given to `run --history`.
        folder: PathBuf,
        /// Writes the verdict as JSON to this file.
        #[arg(long)]
        json: Option<PathBuf>,
        /// Takes files that a killed generator left.
        #[arg(long)]
        allow_unfinished: bool,
    },
    /// Compares rounds of B with rounds of A, with intervals; exits with 0 whatever comes out.
    Compare {
        /// result.json of A, one for each round.
        #[arg(long, required = true, num_args = 1..)]
        a: Vec<PathBuf>,
        /// result.json of B, one for each round.
        #[arg(long, required = true, num_args = 1..)]
        b: Vec<PathBuf>,
        /// The rounds were run in turns, A B A B: compares each with its neighbour.
        #[arg(long)]
        in_turns: bool,
        /// Draws it into this file too.
        #[arg(long)]
        html: Option<PathBuf>,
        /// Writes it to this file too, as JSON.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Draws the report of a result anew.
    Report {
        /// result.json.
        result: PathBuf,
        /// Where the page goes; by default beside it.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Writes JUnit XML to this file too.
        #[arg(long)]
        junit: Option<PathBuf>,
    },
    /// Unites results of generators that ran at the same time.
    Merge {
        /// Their result.json files.
        #[arg(required = true)]
        results: Vec<PathBuf>,
        /// Where the united result goes.
        #[arg(long, default_value = "merged")]
        out: PathBuf,
    },
    /// Carries what the processes of a cluster send each other, and cuts the network when told to.
    ///
    /// Orders are lines over connections to the address of --control: `cut A B` (no bytes pass), `cut A B
    /// one-way` (none from A to B), `heal A B`, `heal`; `all` may stand for A or B. Each is answered with
    /// `done` or `error: WHY`. What is held back comes when the network is healed.
    Links {
        /// A line for each link: LISTEN FROM TO TARGET, where LISTEN and TARGET are addresses with ports.
        plan: PathBuf,
        /// Where orders come.
        #[arg(long, value_name = "ADDRESS")]
        control: SocketAddr,
    },
    /// Says what the faults of a campaign cost its clients: how long until sessions and messages went on.
    Times {
        /// The folder of its histories, `events` in that of the campaign.
        folder: PathBuf,
        /// Writes all spans as JSON to this file, in nanoseconds.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Writes completions for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
struct RunOptions {
    /// A name of `scenario --list`, or a file.
    scenario: String,
    /// Where result.json and report.html go; by default results/SCENARIO.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Records every event into this folder.
    #[arg(long)]
    history: Option<PathBuf>,
    /// Sets a key of the scenario, as `load.rate=1000`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Users (`sessions.users`).
    #[arg(long)]
    users: Option<usize>,
    /// Messages a second, at random times (`load.rate`, `load.arrivals = "poisson"`).
    #[arg(long)]
    rate: Option<f64>,
    /// Messages under way in a closed loop (`load.window`, `load.arrivals = "closed"`).
    #[arg(long, conflicts_with = "rate")]
    window: Option<u32>,
    /// The span that is measured (`run.time`), such as 30s.
    #[arg(long)]
    time: Option<String>,
    /// What random choices come from (`run.seed`).
    #[arg(long)]
    seed: Option<u64>,
    /// The program `entente` (`target.program`).
    #[arg(long, value_name = "PROGRAM")]
    server: Option<PathBuf>,
    /// One more threshold, such as `p99_ms < 20`; may be repeated.
    #[arg(long = "threshold", value_name = "THRESHOLD")]
    thresholds: Vec<String>,
    /// The run's id; generators of one run share it. By default it is drawn.
    #[arg(long)]
    run: Option<String>,
    /// A line a second, also on a terminal.
    #[arg(long)]
    plain: bool,
}

#[derive(Debug, Args)]
struct ScenarioOptions {
    /// Prints this one, by name or file, as it would be run.
    scenario: Option<String>,
    /// Sets a key, to see what comes of it.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "scenario")]
    set: Vec<String>,
    /// Lists the scenarios that are built in.
    #[arg(long)]
    list: bool,
    /// Prints the reference of all keys.
    #[arg(long)]
    reference: bool,
}

/// Does what the command line says.
///
/// # Errors
/// What has no exit status of its own: files that cannot be read or written, mostly.
pub fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Run(options) => run(&options),
        Command::Campaign(options) => campaign::run(&options),
        Command::Scenario(options) => scenario(&options),
        Command::Check {
            folder,
            json,
            allow_unfinished,
        } => judged::check(&folder, json.as_deref(), allow_unfinished),
        Command::Compare {
            a,
            b,
            in_turns,
            html,
            json,
        } => pages::compare((&a, &b), in_turns, html.as_deref(), json.as_deref()),
        Command::Report { result, out, junit } => {
            pages::report(&result, out.as_deref(), junit.as_deref())
        }
        Command::Links { plan, control } => links(&plan, control),
        Command::Merge { results, out } => merge(&results, &out),
        Command::Times { folder, json } => times::times(&folder, json.as_deref()),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "entente-loadtest",
                &mut io::stdout(),
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run(options: &RunOptions) -> anyhow::Result<ExitCode> {
    let scenario = match load(&options.scenario, &options.overrides()) {
        Ok(mut scenario) => {
            scenario.thresholds.extend_from_slice(&options.thresholds);
            scenario
        }
        Err(error) => return usage(&format!("{error:#}")),
    };
    if let Err(error) = conduct::thresholds(&scenario) {
        return usage(&format!("{error:#}"));
    }
    let name = named(&options.scenario);
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| Path::new("results").join(&name));
    // Before the run, so that what cannot be kept is not run.
    std::fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    if let Some(core) = scenario.run.cores.first()
        && !entente_engine::limits::pin(*core)
    {
        return usage(&format!(
            "run.cores: there is no core {core} for this process"
        ));
    }
    let order = Order {
        name,
        history: options.history.clone(),
        command: std::env::args().collect(),
        run: options.run.clone().unwrap_or_else(drawn),
        scenario,
    };
    let mut view: Box<dyn View> = if io::stdout().is_terminal() && !options.plain {
        Box::new(Screen::open(&format!("entente-loadtest {}", order.name))?)
    } else {
        Box::new(Plain::new(io::stdout()))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    let result = local.block_on(&runtime, Box::pin(conduct::run(order, view.as_mut())))?;
    drop(view);
    finish(&result, &out)
}

/// Writes a result and says how it came out.
fn finish(result: &RunResult, out: &Path) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let json = out.join("result.json");
    result.write(&json)?;
    let page = out.join("report.html");
    entente_report::write_whole(&page, entente_report::html(result)?.as_bytes())?;
    let mut to = io::stdout().lock();
    write!(to, "{}", pages::summary(result))?;
    writeln!(to, "result: {}\nreport: {}", json.display(), page.display())?;
    Ok(ExitCode::from(result.exit_code()))
}

fn scenario(options: &ScenarioOptions) -> anyhow::Result<ExitCode> {
    let mut to = io::stdout().lock();
    if options.reference {
        write!(to, "{}", reference())?;
    } else if let Some(name) = &options.scenario {
        match load(name, &options.set) {
            Ok(scenario) => write!(to, "{}", scenario.to_toml()?)?,
            Err(error) => return usage(&format!("{error:#}")),
        }
    } else {
        for (name, text) in SCENARIOS {
            let scenario = Scenario::parse(name, text, &[])?;
            writeln!(to, "{name:<16} {}", scenario.about)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs until it is ended.
fn links(plan: &Path, control: SocketAddr) -> anyhow::Result<ExitCode> {
    let plan = std::fs::read_to_string(plan).with_context(|| plan.display().to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let links = Links::open(&plan).await?;
        let control = TcpListener::bind(control).await?;
        links.obey(control).await
    })?;
    Ok(ExitCode::SUCCESS)
}

fn merge(files: &[PathBuf], out: &Path) -> anyhow::Result<ExitCode> {
    let results: Result<Vec<RunResult>, _> =
        files.iter().map(|file| RunResult::read(file)).collect();
    let mut united = entente_report::merge(results?)?;
    let texts: Vec<String> = united
        .thresholds
        .iter()
        .map(|outcome| outcome.text.clone())
        .collect();
    // What is no figure is the word of one generator, and stays with it.
    let thresholds: Vec<_> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    united.judge(&thresholds)?;
    finish(&united, out)
}

impl RunOptions {
    fn overrides(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut set = |key: &str, value: Option<String>| {
            all.extend(value.map(|value| format!("{key}={value}")));
        };
        set("sessions.users", self.users.map(|users| users.to_string()));
        set("load.rate", self.rate.map(|rate| format!("{rate:?}")));
        set("load.arrivals", self.rate.map(|_| "poisson".to_owned()));
        set("load.window", self.window.map(|window| window.to_string()));
        set("load.arrivals", self.window.map(|_| "closed".to_owned()));
        set("run.time", self.time.clone());
        set("run.seed", self.seed.map(|seed| seed.to_string()));
        set(
            "target.program",
            self.server.as_ref().map(|path| path.display().to_string()),
        );
        all.extend_from_slice(&self.set);
        all
    }
}

/// A built-in scenario by name, or a file.
fn load(name: &str, overrides: &[String]) -> Result<Scenario, ScenarioError> {
    match SCENARIOS.iter().find(|(known, _)| *known == name) {
        Some((known, text)) => {
            Scenario::parse(&format!("{known}.toml (built in)"), text, overrides)
        }
        None => match scenarios::UNSERVED.iter().find(|(known, _)| *known == name) {
            Some(&(known, why)) if !Path::new(name).is_file() => Err(ScenarioError::Unserved {
                name: known.to_owned(),
                why,
            }),
            _ => Scenario::read(Path::new(name), overrides),
        },
    }
}

fn named(scenario: &str) -> String {
    let stem = Path::new(scenario)
        .file_stem()
        .and_then(|stem| stem.to_str());
    stem.unwrap_or("scenario").to_owned()
}

fn drawn() -> String {
    let bytes: [u8; 8] = entente_core::random_array();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn usage(words: &str) -> anyhow::Result<ExitCode> {
    writeln!(io::stderr(), "entente-loadtest: {words}")?;
    Ok(ExitCode::from(USAGE))
}
