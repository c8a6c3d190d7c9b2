//! Follows whether the logs take appends: for readiness, and for who reads the process's own log.
//!
//! A log on this node's disk that takes nothing is a fault of this node, and whatever can go elsewhere
//! should. One that all nodes share is away for all of them: if each of them said that it is not ready,
//! the whole fleet would be taken out, also what works without the log, and would have to come back at
//! once. So then it is told beside the answer, by a note, and by a metric.

use std::sync::Arc;
use std::time::Duration;

use entente_log::{Health, Log};
use entente_node::{Condition, Note};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::events::Events;

/// How often the logs are asked.
const EVERY: Duration = Duration::from_millis(200);

/// Who is told whether the logs take appends.
#[derive(Debug)]
pub enum Takes {
    /// Readiness depends on it: the log is this node's own.
    Condition(Condition),
    /// It is told beside the answer: the log is that of all nodes. Shown while nothing is taken.
    Note(Note),
}

impl Takes {
    fn set(&self, takes: bool) {
        match self {
            Self::Condition(condition) => condition.set(takes),
            Self::Note(note) => note.set(!takes),
        }
    }
}

/// Says whether every log takes appends, until `ends`.
pub(crate) async fn follow(
    logs: [Arc<dyn Log>; 2],
    (takes, events): (Takes, Events),
    ends: CancellationToken,
) {
    let mut told = None;
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = ends.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let unwell = logs.iter().map(|log| log.health());
        let reason = unwell.into_iter().find_map(|health| match health {
            Health::Ok => None,
            Health::Failed { reason } => Some(reason),
        });
        if told != Some(reason) {
            takes.set(reason.is_none());
            events.log_takes(reason.is_none());
            // The first answer that all is well is no news.
            if told.is_some() || reason.is_some() {
                Events::log_health(reason);
            }
            told = Some(reason);
        }
    }
}
