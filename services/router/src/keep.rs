//! keep: a shard is taken over when it is assigned, served until another owner claims it, and passed
//! on to otherwise.
//!
//! **Invariants**
//! - Assignment only proposes. An owner whose shard went to somebody else serves until that one's claim
//!   is in the log: nobody waits for an owner who is still reading.
//! - A shard that is not assigned here is never claimed.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use entente_core::random_array;
use entente_log::LogError;
use entente_node::Condition;
use entente_proto::IntakeClient;
use entente_shard::{Assigned, ShardConfig, Stores};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::error::RouterError;
use crate::events::Events;
use crate::held::Held;
use crate::intake::pass_on;
use crate::owner::{Ground, Inlets};
use crate::takeover::take_over;

/// How long an owner that gave up waits before it claims again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one waits whose shard another owner claimed although it is assigned here: one of the two
/// will hear that it is wrong, by the next heartbeats of its group.
const FENCED_PAUSE: Duration = Duration::from_secs(2);

/// One shard, as this process keeps it.
pub(crate) struct Keeper {
    pub(crate) ground: Ground,
    pub(crate) config: ShardConfig,
    pub(crate) stores: Stores,
    pub(crate) inlets: Inlets,
    pub(crate) assigned: Assigned,
    pub(crate) far: Option<IntakeClient>,
}

impl Keeper {
    /// Until the process ends. Returns before only if nothing but another process can go on.
    pub(crate) async fn run(mut self) {
        let cancelled = self.ground.tasks.cancelled();
        let shard = self.config.shard;
        let mut assigned = self.assigned.clone();
        // The same for each attempt, so that a claim that arrives late is known as its own.
        let nonce = random_array();
        loop {
            if !assigned.has(shard) {
                self.ground.held.released(shard);
            }
            let away = pass_on(shard, &mut self.inlets, &self.far, &self.ground.events);
            tokio::select! {
                () = cancelled.cancelled() => return,
                () = assigned.until(shard, true) => {}
                () = away => return,
            }
            self.ground.held.taking(shard);
            let served = Box::pin(self.serve(&mut assigned, nonce)).await;
            self.ground.events.left(shard);
            // It was said on streams that ended with the owner: what matters of it edges say again.
            while self.inlets.batches.try_recv().is_ok() {}
            let pause = match served {
                Ok(()) if cancelled.is_cancelled() => return,
                Ok(()) => continue,
                Err(RouterError::Fenced) if !assigned.has(shard) => {
                    Events::handed_over(shard);
                    continue;
                }
                Err(error) => {
                    let is_fixed = assigned.is_fixed();
                    Events::gave_up(shard, &error, error.needs_a_person(is_fixed));
                    if error.is_final(is_fixed) {
                        return;
                    }
                    if matches!(error, RouterError::Fenced) {
                        // Somebody has it, and is the one to ask.
                        self.ground.held.released(shard);
                        FENCED_PAUSE
                    } else {
                        // Not for long: whoever calls meanwhile waits.
                        self.ground.held.taking(shard);
                        PAUSE
                    }
                }
            };
            tokio::select! {
                () = cancelled.cancelled() => return,
                () = assigned.until(shard, false) => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Takes the shard over and serves it. `Ok` if the process ends, or if the shard was assigned to
    /// somebody else before it was served.
    async fn serve(&mut self, assigned: &mut Assigned, nonce: [u8; 16]) -> Result<(), RouterError> {
        let cancelled = self.ground.tasks.cancelled();
        let (ground, config) = (self.ground.clone(), self.config.clone());
        let claimed = take_over(ground, config, &self.stores, nonce);
        let claimed = tokio::select! {
            () = cancelled.cancelled() => return Ok(()),
            () = assigned.until(self.config.shard, false) => return Ok(()),
            claimed = claimed => claimed,
        };
        let error = match claimed {
            Ok((mut owner, tail)) => {
                self.ground.held.serving(self.config.shard, owner.epoch);
                match owner.run(&mut self.inlets, tail).await {
                    Ok(()) => return Ok(()),
                    Err(error) => {
                        owner.abandon().await;
                        error
                    }
                }
            }
            Err(error) => error,
        };
        Err(match error {
            RouterError::Log(LogError::Unavailable) => self.ground.failure().unwrap_or(error),
            error => error,
        })
    }
}

/// Says that the router is ready once everything that is assigned to it is served.
pub(crate) async fn tell_ready(
    ready: Condition,
    held: Arc<Held>,
    assigned: Assigned,
    cancelled: CancellationToken,
) {
    let served = until_served(assigned, &held);
    if cancelled.run_until_cancelled(served).await.is_none() {
        return;
    }
    ready.set(true);
    // A condition that is dropped holds no more.
    cancelled.cancelled().await;
}

async fn until_served(mut assigned: Assigned, held: &Held) {
    loop {
        let told = assigned.told();
        let served = async {
            match &told {
                Some(shards) => held.until_serving(shards).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = served => return,
            () = assigned.changed() => {}
        }
    }
}
