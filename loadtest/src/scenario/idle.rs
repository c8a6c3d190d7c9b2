//! Sessions that do nothing: what one costs in memory, and what keeping it costs in CPU time.
//!
//! The gateway was started anew after its users enlisted, so memory that enlistment freed does not
//! hide what sessions take.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Meter, float};
use crate::line::{Door, Line};
use crate::machine::memory;
use crate::node::Node;
use crate::report::Row;
use crate::users::User;

/// Logins under way at once.
const AT_ONCE: usize = 32;

/// How far each connection goes before it rests: the differences tell which stage keeps what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The TLS handshake. The gateway ends such connections after a minute.
    Handshake,
    /// A bound session.
    Bound,
    /// A bound session with XEP-0198 that has sent its presence.
    Managed,
}

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct IdleConfig {
    /// How far.
    pub depth: Depth,
    /// Sessions.
    pub sessions: usize,
    /// Time between the last login and the measurement.
    pub settle: Duration,
    /// User memory that is aimed at, in KB (1,000 bytes) a session.
    pub goal: f64,
}

/// Binds the sessions with XEP-0198 and looks at the gateway's memory before and after.
///
/// # Errors
/// If a connection is refused or lost.
pub async fn run(node: &Node, users: &[User], config: IdleConfig) -> anyhow::Result<Row> {
    let pid = node.pid()?;
    sleep(config.settle).await;
    let before = memory(pid)?;
    let door = node.door()?;
    let mut logins: JoinSet<anyhow::Result<Line>> = JoinSet::new();
    let mut lines = VecDeque::new();
    for (index, user) in users.iter().take(config.sessions).enumerate() {
        while logins.len() >= AT_ONCE {
            lines.push_back(logins.join_next().await.context("logins")???);
        }
        let token = node.mint(&user.visible)?;
        let depth = config.depth;
        logins.spawn(log_in(door.clone(), index, depth, user.clone(), token));
    }
    while let Some(line) = logins.join_next().await {
        lines.push_back(line??);
    }
    let sessions = u64::try_from(lines.len())?;
    let mut idle: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for mut line in lines {
        idle.spawn(async move { line.idle().await });
    }
    sleep(config.settle).await;
    let after = memory(pid)?;
    let meter = Meter::begin(pid)?;
    sleep(config.settle).await;
    let (spent, _) = meter.end()?;
    let alive = u64::try_from(idle.len())?;
    if let Some(ended) = idle.try_join_next() {
        ended??;
    }

    let mut row = Row::new(&format!("idle {sessions}, {:?}", config.depth));
    let each = |after: u64, before: u64| {
        float(after.saturating_sub(before)) / float(sessions.max(1)) / 1e3
    };
    row.goal(
        "RSS",
        each(after.rss, before.rss),
        "KB/session",
        Some(config.goal),
    );
    row.add("PSS", each(after.pss, before.pss), "KB/session");
    row.add(
        "anonymous",
        each(after.anonymous, before.anonymous),
        "KB/session",
    );
    row.add("RSS before", float(before.rss) / 1e6, "MB");
    row.add("RSS after", float(after.rss) / 1e6, "MB");
    let seconds = spent.wall.as_secs_f64() * float(sessions.max(1));
    row.add(
        "server",
        spent.cpu().as_secs_f64() * 1e6 / seconds,
        "µs/session/s",
    );
    row.add("lost", float(sessions - alive), "");
    Ok(row)
}

async fn log_in(
    door: Door,
    index: usize,
    depth: Depth,
    user: User,
    token: String,
) -> anyhow::Result<Line> {
    let mut line = door.connect(index).await?;
    if depth != Depth::Handshake {
        line.log_in(&user.localpart, &token).await?;
    }
    if depth == Depth::Managed {
        line.enable().await?;
        line.queue(b"<presence/>");
        line.flush().await?;
    }
    line.rest();
    Ok(line)
}
