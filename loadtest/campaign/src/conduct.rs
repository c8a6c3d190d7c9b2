//! A campaign from its begin to its end: sessions, calm, rounds, recovery, drain, stop, check.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use entente_engine::account::Account;
use entente_engine::control::Stage;
use entente_engine::engine::{Engine, Supplies, probe};
use entente_engine::scenario::Scenario;
use entente_engine::seal::Sealing;
use entente_history::{Header, Options, Recorder, Writer, WriterOptions, check};
use entente_kit::process::Process;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::Cluster;
use crate::field::{Field, ORDERLY, Told};
use crate::file::Campaign;
use crate::preload::Preload;
use crate::proxy::Proxy;
use crate::report::{Report, Seen};
use crate::schedule::schedule;

/// How often what is waited for is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Time for all to connect, beside what their number needs.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);
/// Logins a second that a slow server makes, at least.
const SLOW_LOGINS: u32 = 50;
/// The shortest drain: what a second more would have shown.
const SHORTEST_DRAIN: Duration = Duration::from_millis(200);

/// What to run.
#[derive(Debug)]
pub struct Order<'a> {
    /// The campaign.
    pub campaign: &'a Campaign,
    /// The load, with its target's address.
    pub scenario: &'a Scenario,
    /// Who makes it; each exists.
    pub accounts: Vec<Account>,
    /// What encrypts bodies, if the load wants that.
    pub sealing: Option<Arc<dyn Sealing>>,
    /// Where every choice comes from.
    pub seed: u64,
    /// The run's id.
    pub run: String,
    /// What the process is called in the history.
    pub target: &'a str,
    /// Where the history goes; an empty folder.
    pub histories: &'a Path,
    /// What some kinds of faults are made with.
    pub tools: Tools<'a>,
}

/// What stands between the process and its surroundings. Needed as the campaign's faults say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tools<'a> {
    /// With which the process was started.
    pub preload: Option<&'a Preload>,
    /// Through which clients connect.
    pub proxy: Option<&'a Proxy>,
    /// The members of a cluster.
    pub cluster: Option<&'a Cluster>,
}

impl<'a> Tools<'a> {
    pub(crate) fn preload(self) -> anyhow::Result<&'a Preload> {
        self.preload
            .context("the process was not started with what makes faults of its machine")
    }

    /// Nothing stands in the way any more.
    pub(crate) fn clear(self) -> anyhow::Result<()> {
        if let Some(preload) = self.preload {
            preload.clear()?;
        }
        if let Some(proxy) = self.proxy {
            proxy.clear();
        }
        Ok(())
    }
}

/// Runs it: the process is up before, and has been stopped afterwards; a cluster goes on. One line a fault
/// goes to `out`. SIGINT and SIGTERM end the rounds; what was done until then is drained and checked.
///
/// # Errors
/// If load cannot be made at all, or the history cannot be written or read.
pub async fn run(
    mut order: Order<'_>,
    mut process: Option<&mut Process>,
    out: &mut dyn Write,
) -> anyhow::Result<Report> {
    let accounts = std::mem::take(&mut order.accounts);
    if let Some(first) = accounts.first() {
        probe(order.scenario, first).await?;
    }
    let header = Header::new("load-0", order.run.clone(), order.seed);
    let writer = Writer::create(order.histories, &header, WriterOptions::default())?;
    let recorder = writer.recorder();
    let supplies = Supplies {
        accounts,
        seed: order.seed,
        history: Some(recorder.clone()),
        sealing: order.sealing.take(),
    };
    let engine = Engine::start(order.scenario, supplies)?;
    let mut seen = Seen::default();
    connect(&engine).await?;
    Box::pin(stages(
        &order,
        &engine,
        process.as_deref_mut(),
        (&recorder, out),
        &mut seen,
    ))
    .await?;
    let (_tallies, errors) = tokio::task::spawn_blocking(move || engine.finish())
        .await
        .context("ending the generator")?;
    seen.invalid.extend(errors);
    if let Some(process) = process {
        let target = order.target;
        let trouble = match process.stop(ORDERLY).await {
            Ok(status) if status.success() => None,
            Ok(status) => Some(format!("{target} did not end in order: {status}")),
            Err(error) => Some(format!("{target} cannot be stopped: {error}")),
        };
        seen.troubles.extend(trouble);
    }
    if let Some(cluster) = order.tools.cluster {
        match cluster.mend().await {
            Ok(down) => {
                let ended = down.iter().map(|who| format!("{who} ended by itself"));
                seen.troubles.extend(ended);
            }
            Err(error) => seen.troubles.push(format!("{error:#}")),
        }
    }
    if let Err(error) = writer.close() {
        seen.invalid.push(error.to_string());
    }
    let options = Options {
        minimums: order.campaign.minimums,
        wake_within: order.campaign.wake_within,
        ..Options::default()
    };
    let verdict = check(order.histories, &options).context("checking the history")?;
    Ok(Report::new(order.seed, seen, verdict))
}

/// Waits until all are connected.
async fn connect(engine: &Engine) -> anyhow::Result<()> {
    let (.., all) = engine.settled();
    let users = u32::try_from(all).unwrap_or(u32::MAX);
    let patience = CONNECT_WITHIN + Duration::from_secs(1) * (users / SLOW_LOGINS);
    let settled = async {
        while engine.settled().0 < all {
            sleep(LOOK).await;
        }
    };
    let in_time = timeout(patience, settled).await.is_ok();
    let (settled, given_up, _) = engine.settled();
    if !in_time {
        let seconds = patience.as_secs();
        bail!("{settled} of {all} users were connected after {seconds} s");
    }
    if given_up > 0 {
        let why = engine.fatal().unwrap_or_default();
        bail!("{given_up} of {all} users could not log in: {why}");
    }
    Ok(())
}

async fn stages(
    order: &Order<'_>,
    engine: &Engine,
    process: Option<&mut Process>,
    (recorder, out): (&Recorder, &mut dyn Write),
    seen: &mut Seen,
) -> anyhow::Result<()> {
    let campaign = order.campaign;
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let rounds = schedule(campaign, order.seed);
    let strikes: usize = rounds.iter().flatten().map(Vec::len).sum();
    let (seed, of) = (order.seed, rounds.len());
    writeln!(out, "seed {seed}: {strikes} faults in {of} rounds")?;
    engine.enter(Stage::Load);
    let field = Field {
        engine,
        tools: order.tools,
        recorder,
        target: order.target,
        process: process.map(Mutex::new),
        told: RefCell::new(Told { out, seen }),
        machine: Cell::new(0),
    };
    let ended = tokio::select! {
        ended = async {
            sleep(campaign.calm).await;
            field.rounds(&rounds).await?;
            sleep(campaign.recovery).await;
            anyhow::Ok(())
        } => ended.map(|()| true),
        _ = interrupt.recv() => Ok(false),
        _ = terminate.recv() => Ok(false),
    };
    let mended = match ended {
        Ok(true) => Ok(()),
        Ok(false) => {
            let why = "somebody asked for the end".to_owned();
            field.told.borrow_mut().seen.invalid.push(why);
            field.mend().await
        }
        Err(error) => order.tools.clear().and(Err(error)),
    };
    let Told { out, seen } = field.told.into_inner();
    if let Err(error) = mended {
        seen.troubles.push(format!("{error:#}"));
    }
    writeln!(out, "healed; {} messages under way", engine.under_way())?;
    engine.enter(Stage::Drain);
    let begun = Instant::now();
    while begun.elapsed() < SHORTEST_DRAIN
        || (engine.under_way() > 0 && begun.elapsed() < campaign.drain)
    {
        sleep(LOOK).await;
    }
    let left = engine.under_way();
    let took = begun.elapsed().as_secs_f64();
    writeln!(out, "drained in {took:.1} s; {left} messages are left")?;
    Ok(())
}
