//! Full logins: TCP, TLS handshake without resumption, SASL PLAIN with a fresh token, bind, and the
//! end of the stream. Each connection of the load does one after another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::bail;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Meter, costs, float};
use crate::line::Door;
use crate::node::Node;
use crate::report::Row;
use crate::users::User;

/// Tokens that are made before the span that is measured, for each user.
const TOKENS: usize = 1_000;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct LoginConfig {
    /// Logins at once.
    pub connections: usize,
    /// Time that is measured.
    pub time: Duration,
    /// Logins a second and core that are aimed at.
    pub goal: f64,
}

#[derive(Debug, Default)]
struct Shared {
    done: AtomicU64,
    number: AtomicUsize,
    stop: AtomicBool,
}

/// Runs logins, one user a connection.
///
/// # Errors
/// If one is refused.
pub async fn run(node: &Node, users: &[User], config: LoginConfig) -> anyhow::Result<Row> {
    if users.len() < config.connections {
        bail!("not enough users");
    }
    let door = node.door()?;
    let shared = Arc::new(Shared::default());
    let mut ready = Vec::new();
    for user in users.iter().take(config.connections) {
        let mint = |_| node.mint(&user.visible);
        let tokens = (0..TOKENS).map(mint).collect::<Result<Vec<_>, _>>()?;
        ready.push((user.clone(), tokens));
    }
    let meter = Meter::begin(node.pid()?)?;
    let mut tasks = JoinSet::new();
    for (user, tokens) in ready {
        tasks.spawn(repeat(door.clone(), Arc::clone(&shared), user, tokens));
    }
    sleep(config.time).await;
    shared.stop.store(true, Ordering::Relaxed);
    let mut latencies = Histogram::<u32>::new_with_bounds(1, 60_000_000, 3)?;
    while let Some(seen) = tasks.join_next().await {
        latencies.add(seen??)?;
    }
    let spent = meter.end()?;
    let done = shared.done.load(Ordering::Relaxed);
    let mut row = Row::new(&format!("login {} at once", config.connections));
    costs(&mut row, "login", done, Some(1e6 / config.goal), &spent);
    let cpu = spent.0.cpu().as_secs_f64();
    row.add("logins/s/core", float(done) / cpu, "/s");
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        row.add(
            name,
            float(latencies.value_at_quantile(quantile)) / 1e3,
            "ms",
        );
    }
    Ok(row)
}

async fn repeat(
    door: Door,
    shared: Arc<Shared>,
    user: User,
    tokens: Vec<String>,
) -> anyhow::Result<Histogram<u32>> {
    let mut latencies = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    for token in tokens.iter().cycle() {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let begun = Instant::now();
        let number = shared.number.fetch_add(1, Ordering::Relaxed);
        let mut line = door.connect(number).await?;
        line.log_in(&user.localpart, token).await?;
        latencies.saturating_record(u64::try_from(begun.elapsed().as_micros())?);
        line.close().await?;
        shared.done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(latencies)
}
