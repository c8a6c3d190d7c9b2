//! Follows whether the logs take appends: for readiness, and for who reads the process's own log.

use std::sync::Arc;
use std::time::Duration;

use entente_log::{Health, Log};
use entente_node::Condition;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::events::Events;

/// How often the logs are asked.
const EVERY: Duration = Duration::from_millis(200);

/// Says whether every log takes appends, until `ends`.
pub(crate) async fn follow(logs: [Arc<dyn Log>; 2], takes: Condition, ends: CancellationToken) {
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
            // The first answer that all is well is no news.
            if told.is_some() || reason.is_some() {
                Events::log_health(reason);
            }
            told = Some(reason);
        }
    }
}
