//! The command line.

mod inspect;
mod repair;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use entente_gateway::backends;
use entente_gateway::cluster::Place;
use entente_gateway::compose::Node;
use entente_gateway::config::Config;
use entente_gateway::init::{Init, MeshNode};
use entente_gateway::preflight::{preflight, survey};
use entente_gateway::secrets::Secrets;
use entente_mesh::Role;

#[cfg(not(feature = "mutants"))]
const VERSION: &str = env!("CARGO_PKG_VERSION");
#[cfg(feature = "mutants")]
use crate::mutant::VERSION;

/// A gateway through which messaging networks exchange end-to-end encrypted messages.
///
/// A first start, on one machine:
///
///   entente init --dir node --domain interop.localhost --development
///   entente run --config node/entente.toml
///
/// To see it work with partners, users and kills: entente demo
#[derive(Debug, Parser)]
#[command(name = "entente", version = VERSION, verbatim_doc_comment)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks a configuration with everything that it names and with the deployment in its folder:
    /// asks Kafka, Redis and the other nodes too. Starts and makes nothing; may run beside a gateway.
    Check {
        /// The configuration file.
        #[arg(long, short, default_value = "entente.toml")]
        config: PathBuf,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Writes the completions of a shell to standard output.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Shows the gateway at work: partners, users, real Signal messages, two kills, and a count.
    #[cfg(feature = "demo")]
    Demo(entente_demo::DemoOptions),
    /// Writes what a first start needs: configuration, secrets, development certificate, keys.
    Init(InitArgs),
    /// Asks the node on this machine where something is and why it waits. Ends with 3 if there is no such
    /// thing, and with 1 if that cannot be said now.
    Inspect(inspect::InspectArgs),
    /// Mends what no node mends by itself, with a loss that somebody has to accept.
    Repair(repair::RepairArgs),
    /// Runs every role, or some of them, in this process until SIGTERM; a second SIGTERM is fast.
    /// SIGHUP reads the partners again; a changed certificate is taken without it.
    Run {
        /// The configuration file.
        #[arg(long, short, default_value = "entente.toml")]
        config: PathBuf,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Says which version this is.
    Version,
}

#[derive(Args, Debug)]
struct PlaceArgs {
    /// What this process does, of the nodes in `[mesh]`: connection, identity, push, router. Without
    /// it, everything, in this process alone.
    #[arg(long, value_delimiter = ',')]
    role: Vec<Role>,
    /// Which of the nodes with these roles it is; needed if there are several.
    #[arg(long, requires = "role")]
    node: Option<String>,
}

impl PlaceArgs {
    fn take(&self, config: &mut Config) -> anyhow::Result<Option<Place>> {
        Ok(config.take_place(&self.role, self.node.as_deref())?)
    }
}

#[derive(Args, Debug)]
struct InitArgs {
    /// The folder to write; made if it is not there. Nothing in it is overwritten.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The deployment's own DNS domain.
    #[arg(long)]
    domain: String,
    /// Address of the direct TLS listener.
    #[arg(long, default_value = "127.0.0.1:5223")]
    xmpp: SocketAddr,
    /// Address of the WebSocket listener.
    #[arg(long, default_value = "127.0.0.1:5443")]
    websocket: SocketAddr,
    /// Address of the HTTPS door: enlistment and public keys.
    #[arg(long, default_value = "127.0.0.1:8443")]
    http: SocketAddr,
    /// Address of the admin port: probes, metrics, drain.
    #[arg(long, default_value = "127.0.0.1:9600")]
    admin: SocketAddr,
    /// Lets partners be on this machine and without TLS. Never in a deployment.
    #[arg(long)]
    development: bool,
    /// A node of a deployment with a process for each role, as often as there are nodes:
    /// `role=router,name=r1,address=127.0.0.1:9701`, and if it listens elsewhere than the rest,
    /// `admin=`, `xmpp=`, `websocket=`, `http=`. Shards are dealt out to the routers; over Kafka
    /// they share them among themselves.
    #[arg(long = "mesh-node", value_name = "NODE")]
    mesh: Vec<MeshNode>,
    /// The log on Kafka, `kafka://HOST:PORT,…/PREFIX`, instead of one on this machine's disk.
    #[arg(long, value_name = "URL")]
    log: Option<String>,
    /// The table that nodes share, `redis://HOST:PORT/PREFIX`.
    #[arg(long, value_name = "URL")]
    table: Option<String>,
}

pub(crate) fn run(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
        Command::Check { config, place } => check(&config, &place),
        Command::Completions { shell } => {
            // Into memory first: the generator panics when its reader goes away.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "entente", &mut script);
            io::stdout().write_all(&script).map_err(Into::into)
        }
        #[cfg(feature = "demo")]
        Command::Demo(options) => demo(options),
        Command::Init(args) => init(args),
        Command::Inspect(args) => match look(args) {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Command::Repair(args) => mend(args),
        Command::Run { config, place } => serve(&config, &place),
        Command::Version => version(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _nobody_reads = writeln!(io::stderr(), "entente: {}", said(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, each only if what stands before it does not say it already.
fn said(error: &anyhow::Error) -> String {
    error
        .chain()
        .fold(String::new(), |said, cause| match cause.to_string() {
            cause if said.contains(&cause) => said,
            cause if said.is_empty() => cause,
            cause => format!("{said}: {cause}"),
        })
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

fn version() -> anyhow::Result<()> {
    say(&format!("entente {VERSION}"))?;
    #[cfg(feature = "mutants")]
    say(&crate::mutant::told())?;
    Ok(())
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .enable_all()
        .build()
        .context("the runtime does not start")
}

fn check(path: &Path, place: &PlaceArgs) -> anyhow::Result<()> {
    let mut config = Config::read(path)?;
    let place = place.take(&mut config)?;
    let warn = |warning: &str| writeln!(io::stderr(), "entente: warning: {warning}");
    for warning in preflight(&config, place.as_ref())? {
        warn(&warning)?;
    }
    let keeps = |place: &Place| {
        let keepers = [Role::Router, Role::Push];
        keepers.iter().any(|role| place.roles.contains(role))
    };
    let secrets = Secrets::read(&config.secrets)?;
    let seal = place.as_ref().is_none_or(keeps).then_some(&secrets.seal);
    let servers = runtime()?.block_on(backends::survey(&config.storage, seal));
    for warning in &servers.warnings {
        warn(warning)?;
    }
    if let Some(place) = &place {
        for line in runtime()?.block_on(survey(&config, place))? {
            say(&line)?;
        }
    }
    anyhow::ensure!(servers.faults.is_empty(), "{}", servers.faults.join("\n"));
    say(&format!(
        "{}: the configuration, its secrets, keys and partners are good",
        path.display()
    ))
}

fn look(args: inspect::InspectArgs) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(inspect::inspect(args))
}

fn mend(args: repair::RepairArgs) -> anyhow::Result<()> {
    runtime()?.block_on(repair::repair(args))
}

fn init(args: InitArgs) -> anyhow::Result<()> {
    let init = Init {
        folder: args.dir,
        domain: args.domain,
        xmpp: args.xmpp,
        websocket: args.websocket,
        http: args.http,
        admin: args.admin,
        development: args.development,
        mesh: args.mesh,
        log: args.log,
        table: args.table,
    };
    for path in init.write()? {
        say(&format!("wrote {}", path.display()))?;
    }
    let config = init.folder.join("entente.toml");
    let each = if init.mesh.is_empty() {
        ""
    } else {
        " --role ROLE --node NAME, for each node"
    };
    say(&format!(
        "next: entente run --config {}{each}",
        config.display()
    ))
}

fn serve(path: &Path, place: &PlaceArgs) -> anyhow::Result<()> {
    let mut config = Config::read(path)?;
    let place = place.take(&mut config)?;
    entente_node::init_logging(&config.log)?;
    #[cfg(feature = "mutants")]
    crate::mutant::break_by_environment()?;
    descriptors(&config);
    runtime()?.block_on(async {
        let node = Box::pin(Node::start(config, place)).await?;
        node.run_until_drained().await?;
        Ok(())
    })
}

/// Makes room for as many sockets as the configuration allows, and says so if there is none.
fn descriptors(config: &Config) {
    /// Files of log and store, probes, and connections to partners.
    const OTHERS: u64 = 1_024;
    let clients = u64::from(config.connection.limits.connections);
    match entente_node::raise_descriptors() {
        Ok(limit) if limit < clients.saturating_add(OTHERS) => {
            tracing::warn!(
                limit,
                clients,
                "fewer descriptors than connections are allowed"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit on descriptors cannot be raised"),
    }
}

#[cfg(feature = "demo")]
fn demo(options: entente_demo::DemoOptions) -> anyhow::Result<()> {
    runtime()?.block_on(entente_demo::run(options))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cause_is_said_twice() {
        let missing = Config::read(Path::new("nowhere/entente.toml")).unwrap_err();
        let plain = missing.to_string();
        assert_eq!(said(&missing.into()), plain);
        let deeper = anyhow::anyhow!("below").context("above");
        assert_eq!(said(&deeper), "above: below");
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
