//! A run from its begin to its end: ground, sessions, warm-up, load, drain, result.
//!
//! **Invariants**
//! - Every run ends, and leaves a result: what broke it off is a finding in there.
//! - Samples of the server are taken at the edges of each stage, so costs need no guess between.

mod watchman;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use entente_engine::account::Account;
use entente_engine::control::Stage;
use entente_engine::engine::{Engine, Supplies, probe};
use entente_engine::scenario::{Pattern, Payload, Scenario};
use entente_history::{Header, Writer, WriterOptions};
use entente_probe::{Config, Probe, Sampler};
use entente_report::{Finding, FindingKind, RunResult, Threshold};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use crate::ground::Ground;
use crate::outcome::Draft;
use crate::signal::Signal;
use crate::view::View;

use watchman::Watchman;

/// How often stages, keys and the server are looked after.
const LOOK: Duration = Duration::from_millis(50);
/// Time for all to connect, beside what their number needs.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);
/// Logins a second that a slow server makes, at least.
const SLOW_LOGINS: u32 = 50;
/// The shortest drain: what a second more would have shown.
const SHORTEST_DRAIN: Duration = Duration::from_millis(200);

/// What to run.
#[derive(Debug)]
pub struct Order {
    /// The scenario.
    pub scenario: Scenario,
    /// What reports call it.
    pub name: String,
    /// Where histories go.
    pub history: Option<PathBuf>,
    /// The command, for the result.
    pub command: Vec<String>,
    /// The run's id, which all its generators share.
    pub run: String,
}

/// Runs it. The result is judged.
///
/// # Errors
/// If the result cannot be made, or the terminal fails. What else goes wrong is in the result.
pub async fn run(mut order: Order, view: &mut dyn View) -> anyhow::Result<RunResult> {
    let thresholds = thresholds(&order.scenario)?;
    if order.scenario.run.seed == 0 {
        order.scenario.run.seed = drawn_seed();
    }
    let mut draft = Draft::new(&order);
    let mut shown = Ok(());
    let mut say = |words: &str| {
        if shown.is_ok() {
            shown = view.say(words);
        }
    };
    let laid = tokio::select! {
        laid = Ground::lay(&mut order.scenario, Vec::new(), &mut say) => laid,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted before load began")),
    };
    shown?;
    match laid {
        Ok(mut ground) => {
            draft.server(&order.scenario, &ground);
            let went = Box::pin(go(&order, &mut ground, &mut draft, view)).await;
            if let Err(error) = went {
                draft.broke_off(format!("{error:#}"));
            }
            draft.pushes(ground.pushes());
            if let Some(node) = ground.node.take() {
                match node.stop().await {
                    Ok(last) => view.say(&format!("the gateway ended, {last}"))?,
                    Err(error) => draft.note(format!("the gateway did not end in order: {error}")),
                }
            }
        }
        Err(error) => draft.broke_off(format!("{error:#}")),
    }
    draft.history();
    draft.finish(&order.scenario, &thresholds)
}

/// A seed, which is not 0: 53 bits, which every reader of JSON keeps.
pub fn drawn_seed() -> u64 {
    (u64::from_be_bytes(entente_core::random_array()) >> 11) | 1
}

/// Reads the thresholds of a scenario.
///
/// # Errors
/// At the first that is none.
pub fn thresholds(scenario: &Scenario) -> anyhow::Result<Vec<Threshold>> {
    let read = |text: &String| text.parse::<Threshold>().map_err(anyhow::Error::from);
    scenario.thresholds.iter().map(read).collect()
}

async fn go(
    order: &Order,
    ground: &mut Ground,
    draft: &mut Draft,
    view: &mut dyn View,
) -> anyhow::Result<()> {
    let scenario = &order.scenario;
    let accounts: Vec<Account> = std::mem::take(&mut ground.accounts);
    if let Some(first) = accounts.first() {
        probe(scenario, first).await?;
    }
    let history = history(order)?;
    let recorder = history.as_ref().map(Writer::recorder);
    let (watch, pages) = ground.watch(&scenario.target)?;
    view.say(&format!("{} users connect", accounts.len()))?;
    if scenario.load.payload == Payload::Signal {
        view.say("opening Signal sessions")?;
    }
    let supplies = Supplies {
        accounts,
        seed: scenario.run.seed,
        history: recorder.clone(),
        sealing: Some(Arc::new(Signal)),
    };
    let engine = Engine::start(scenario, supplies)?;
    draft.begin();
    let (sampler, probe) = Sampler::new(Config {
        origin: engine.control().at(0),
        period: Duration::from_secs(1),
        pss_every: 10,
        watch,
        pages,
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(sampler.run());
    // The first look, before sessions take memory.
    let _looked = probe.mark().await;
    let mut watchman = Watchman::new(&engine, recorder, probe.clone())?;
    let ended = Box::pin(stages(
        scenario,
        &engine,
        &mut watchman,
        ground,
        &probe,
        view,
    ))
    .await;
    draft.stages(&engine);
    watchman.findings(scenario, &engine, draft);
    // What is over is over: sessions end while the last sample is taken.
    let finished = tokio::task::spawn_blocking(move || engine.finish()).await;
    let seen = probe.stop().await.ok();
    let (tallies, errors) = finished.context("ending the generator")?;
    draft.seconds(&watchman.seconds);
    draft.tallies(&tallies, scenario);
    draft.seen(seen);
    for error in errors {
        draft.broke_off(error);
    }
    if let Some(history) = history {
        draft.history = Some(history.path().to_owned());
        if let Err(error) = history.close() {
            draft.finding(Finding {
                kind: FindingKind::HistoryTruncated,
                detail: error.to_string(),
                invalidates: true,
            });
        }
    }
    ended
}

fn history(order: &Order) -> anyhow::Result<Option<Writer>> {
    let Some(folder) = &order.history else {
        return Ok(None);
    };
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let part = format!("load-{}", order.scenario.run.part);
    let header = Header::new(part, order.run.clone(), order.scenario.run.seed);
    let writer = Writer::create(folder, &header, WriterOptions::default());
    Ok(Some(writer.context("the history cannot be begun")?))
}

/// Goes through the stages; an early end is no error but a finding.
async fn stages(
    scenario: &Scenario,
    engine: &Engine,
    watchman: &mut Watchman,
    ground: &mut Ground,
    probe: &Probe,
    view: &mut dyn View,
) -> anyhow::Result<()> {
    let users = u32::try_from(scenario.sessions.users).unwrap_or(u32::MAX);
    let patience = CONNECT_WITHIN + Duration::from_secs(1) * (users / SLOW_LOGINS);
    let connected = watchman
        .until(view, ground, engine, patience, |engine| {
            let (settled, _, all) = engine.settled();
            settled >= all
        })
        .await?;
    let (settled, given_up, all) = engine.settled();
    if given_up == all {
        let why = engine
            .fatal()
            .unwrap_or_else(|| "no session could be made".to_owned());
        anyhow::bail!("nobody could log in: {why}");
    }
    if !connected && watchman.goes_on() {
        anyhow::bail!(
            "{settled} of {all} users were connected after {} s",
            patience.as_secs()
        );
    }
    for (stage, time) in [
        (Stage::WarmUp, scenario.run.warm_up),
        (Stage::Load, scenario.run.time),
    ] {
        if watchman.goes_on() && !time.is_zero() {
            watchman.enter(engine, stage);
            let _marked = probe.mark().await;
            watchman
                .until(view, ground, engine, time, |_| false)
                .await?;
            watchman.leave(stage);
            let _marked = probe.mark().await;
        }
    }
    engine.enter(Stage::Drain);
    if scenario.load.pattern != Pattern::None || scenario.prekeys.is_some() {
        let begun = Instant::now();
        watchman
            .until(view, ground, engine, scenario.run.drain, move |engine| {
                begun.elapsed() >= SHORTEST_DRAIN && engine.under_way() == 0
            })
            .await?;
    }
    let _marked = probe.mark().await;
    Ok(())
}

/// Ticks for those who wait.
pub(crate) fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}
