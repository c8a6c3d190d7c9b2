//! Campaigns: a file, a gateway, faults, a verdict.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use entente_campaign::{Campaign, Cluster, Order, Preload, Proxy, Report, Tools};
use entente_engine::scenario::{Kind, Scenario};
use entente_history::Outcome;
use entente_kit::cluster::Layout;
use entente_report::{FAILED, INVALID, write_whole};

use crate::cluster::enlist_at;
use crate::ground::Ground;
use crate::signal::Signal;

/// What the gateway is called in histories.
const GATEWAY: &str = "gateway";

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The campaign's file.
    file: PathBuf,
    /// Where verdict.json and the histories go; by default results/NAME-RUN.
    #[arg(long)]
    out: Option<PathBuf>,
    /// What every choice comes from (`seed`).
    #[arg(long)]
    seed: Option<u64>,
    /// Rounds of faults (`rounds`).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: Option<u32>,
    /// Sets a key of the scenario, as `load.rate=1000`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The program `entente` (`target.program`).
    #[arg(long, value_name = "PROGRAM", conflicts_with = "cluster")]
    server: Option<PathBuf>,
    /// The folder of a cluster that runs, instead of a gateway of the campaign's own; `ops/cluster` starts
    /// one.
    #[arg(long, value_name = "FOLDER", requires = "control")]
    cluster: Option<PathBuf>,
    /// The program that kills and starts the members of the cluster.
    #[arg(long, value_name = "PROGRAM", requires = "cluster")]
    control: Option<PathBuf>,
}

/// Runs a campaign and says how it came out.
pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let (campaign, scenario) = match read(options) {
        Ok(read) => read,
        Err(error) => return super::usage(&format!("{error:#}")),
    };
    let whole = options.cluster.clone().zip(options.control.clone());
    if let Some(wrong) = misplaced(&campaign, whole.is_some()) {
        return super::usage(wrong);
    }
    let run = super::drawn();
    let name = super::named(&options.file.display().to_string());
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| Path::new("results").join(format!("{name}-{run}")));
    let histories = out.join("events");
    fs::create_dir_all(&histories).with_context(|| histories.display().to_string())?;
    if fs::read_dir(&histories)?.next().is_some() {
        let place = histories.display();
        return super::usage(&format!(
            "--out: {place} holds the histories of another campaign"
        ));
    }
    if let Some(core) = scenario.run.cores.first()
        && !entente_engine::limits::pin(*core)
    {
        return super::usage(&format!(
            "run.cores: there is no core {core} for this process"
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    let conducted = async {
        match whole {
            Some(cluster) => Box::pin(over_cluster(campaign, scenario, run, &out, cluster)).await,
            None => Box::pin(conduct(&campaign, scenario, run, &out)).await,
        }
    };
    match local.block_on(&runtime, Box::pin(conducted)) {
        Ok(report) => finish(&report, &out),
        Err(error) => {
            writeln!(io::stdout(), "INVALID: {error:#}")?;
            Ok(ExitCode::from(INVALID))
        }
    }
}

fn read(options: &Options) -> anyhow::Result<(Campaign, Scenario)> {
    let mut campaign = Campaign::read(&options.file)?;
    campaign.seed = options.seed.unwrap_or(campaign.seed);
    campaign.rounds = options.rounds.unwrap_or(campaign.rounds);
    if campaign.seed == 0 {
        campaign.seed = super::conduct::drawn_seed();
    }
    let mut set = campaign.load.set.clone();
    set.extend_from_slice(&options.set);
    let program = options.server.as_ref();
    set.extend(program.map(|path| format!("target.program={}", path.display())));
    let mut scenario = super::load(&campaign.load.scenario, &set)
        .with_context(|| format!("load of {}", options.file.display()))?;
    scenario.run.seed = campaign.seed;
    if scenario.target.kind != Kind::Start {
        bail!("target.kind: a campaign starts its own gateway: leave it at \"start\"");
    }
    if !scenario.sessions.manage {
        bail!("sessions.manage: without XEP-0198 nothing is known to be accepted");
    }
    if scenario.logins.is_some() {
        bail!("logins: users who only log in and out prove nothing about messages");
    }
    Ok((campaign, scenario))
}

/// Why the faults of a campaign have nothing to happen to.
fn misplaced(campaign: &Campaign, is_cluster: bool) -> Option<&'static str> {
    let faults = &campaign.faults;
    if is_cluster && faults.needs_process() {
        return Some("faults: a cluster is struck through faults.members, not through one process");
    }
    if !is_cluster && faults.needs_cluster() {
        return Some("faults.members: takes --cluster and --control");
    }
    None
}

/// A campaign over a cluster that runs, and goes on running.
async fn over_cluster(
    mut campaign: Campaign,
    mut scenario: Scenario,
    run: String,
    out: &Path,
    (folder, control): (PathBuf, PathBuf),
) -> anyhow::Result<Report> {
    let mut to = io::stdout();
    let cluster = Cluster::find(control).await?;
    let layout = Layout::read(&folder)?;
    if !cluster.is_linked() && campaign.faults.keep_whole() {
        writeln!(
            to,
            "NO PARTITIONS between members: they reach each other directly, not over links that can be cut"
        )?;
    }
    let enlisted = enlist_at(&layout, &mut scenario, &folder, &cluster);
    let (_hosts, accounts) = enlisted.await?;
    // What stands before connection nodes: a client that loses one comes back at another.
    let proxy = Proxy::start(layout.xmpp()).await?;
    scenario.target.address = Some(proxy.address());
    let order = Order {
        campaign: &campaign,
        scenario: &scenario,
        accounts,
        sealing: Some(Arc::new(Signal)),
        seed: campaign.seed,
        run,
        target: "cluster",
        histories: &out.join("events"),
        tools: Tools {
            proxy: Some(&proxy),
            cluster: Some(&cluster),
            ..Tools::default()
        },
    };
    let before = logged(&folder)?;
    let ran = Box::pin(entente_campaign::run(order, None, &mut to)).await;
    let after = logged(&folder)?;
    let (errors, claims) = (after.errors - before.errors, after.claims - before.claims);
    writeln!(
        to,
        "the nodes logged {errors} errors, and took shards over {claims} times"
    )?;
    ran
}

/// What nodes wrote into their logs.
struct Logged {
    errors: usize,
    claims: usize,
}

fn logged(folder: &Path) -> anyhow::Result<Logged> {
    let mut logged = Logged {
        errors: 0,
        claims: 0,
    };
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let text = fs::read(&path)?;
            let text = String::from_utf8_lossy(&text);
            logged.errors += text.matches(" ERROR ").count();
            logged.claims += text.matches(" shard claimed ").count();
        }
    }
    Ok(logged)
}

async fn conduct(
    campaign: &Campaign,
    mut scenario: Scenario,
    run: String,
    out: &Path,
) -> anyhow::Result<Report> {
    let mut to = io::stdout();
    let mut said = Ok(());
    let mut say = |words: &str| {
        if said.is_ok() {
            said = writeln!(io::stdout(), "{words}");
        }
    };
    let folder = tempfile::tempdir()?;
    let faults = &campaign.faults;
    let preload = faults
        .needs_preload()
        .then(|| Preload::build(folder.path()));
    let preload = preload.transpose()?;
    let environment = preload.as_ref().map(Preload::environment);
    let environment = environment.unwrap_or_default();
    let mut ground = tokio::select! {
        laid = Ground::lay(&mut scenario, environment, &mut say) => laid?,
        _ = tokio::signal::ctrl_c() => bail!("interrupted before load began"),
    };
    said?;
    let accounts = std::mem::take(&mut ground.accounts);
    let mut node = ground.node.take().context("no gateway was started")?;
    let mut proxy = None;
    if let (true, Some(address)) = (faults.needs_proxy(), &mut scenario.target.address) {
        let between = Proxy::start(vec![*address]).await?;
        *address = between.address();
        proxy = Some(between);
    }
    let order = Order {
        campaign,
        scenario: &scenario,
        accounts,
        sealing: Some(Arc::new(Signal)),
        seed: campaign.seed,
        run,
        target: GATEWAY,
        histories: &out.join("events"),
        tools: Tools {
            preload: preload.as_ref(),
            proxy: proxy.as_ref(),
            cluster: None,
        },
    };
    let ran = Box::pin(entente_campaign::run(order, Some(node.process()), &mut to)).await;
    let log = out.join("entente.log");
    fs::copy(node.log(), &log).context("keeping the gateway's log")?;
    let errors = fs::read_to_string(&log)?.matches(" ERROR ").count();
    if errors > 0 {
        let log = log.display();
        writeln!(to, "the gateway logged {errors} errors: {log}")?;
    }
    if !matches!(&ran, Ok(report) if report.campaign != Outcome::Broken) {
        let kept = node.keep();
        writeln!(to, "the gateway's folder is kept: {}", kept.display())?;
    }
    ran
}

fn finish(report: &Report, out: &Path) -> anyhow::Result<ExitCode> {
    let file = out.join("verdict.json");
    write_whole(&file, &serde_json::to_vec_pretty(report)?)?;
    let mut to = io::stdout().lock();
    write!(to, "\n{}", report.words())?;
    writeln!(to, "verdict: {}", file.display())?;
    Ok(match report.campaign {
        Outcome::Held => ExitCode::SUCCESS,
        Outcome::Broken => ExitCode::from(FAILED),
        Outcome::Vacuous => ExitCode::from(INVALID),
    })
}
