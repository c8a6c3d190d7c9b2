//! keep: a shard is taken over when it is assigned, served until another owner claims it, and passed
//! on to otherwise.
//!
//! **Invariants**
//! - Assignment only proposes. An owner whose shard went to somebody else serves until that one's claim
//!   is in the log: nobody waits for an owner who is still reading.
//! - A shard that is not assigned here is never claimed.

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use entente_core::{ShardId, random_array};
use entente_log::LogError;
use entente_proto::IntakeClient;
use entente_shard::{ShardConfig, Stores};
use tokio::sync::watch;
use tokio::time::sleep;

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

/// Which shards a router owns.
#[derive(Clone, Debug)]
pub enum Assignment {
    /// These, and nobody else does. A shard that another owner claims is not claimed back, which would
    /// only make the two take turns: the process ends.
    Fixed(BTreeSet<ShardId>),
    /// Those that were told last; none was told yet if there is none. Shards come and go.
    Told(watch::Receiver<Option<BTreeSet<ShardId>>>),
}

/// An assignment as it is followed.
#[derive(Clone, Debug)]
pub(crate) struct Assigned {
    told: watch::Receiver<Option<BTreeSet<ShardId>>>,
    is_fixed: bool,
}

impl Assigned {
    pub(crate) fn new(assignment: Assignment) -> Self {
        match assignment {
            Assignment::Fixed(shards) => Self {
                told: watch::channel(Some(shards)).1,
                is_fixed: true,
            },
            Assignment::Told(told) => Self {
                told,
                is_fixed: false,
            },
        }
    }

    fn has(&self, shard: ShardId) -> bool {
        let told = self.told.borrow();
        told.as_ref().is_some_and(|shards| shards.contains(&shard))
    }

    /// Waits until the shard is assigned here, or is not. Cancel safe.
    async fn until(&mut self, shard: ShardId, here: bool) {
        loop {
            self.told.mark_unchanged();
            if self.has(shard) == here {
                return;
            }
            self.change().await;
        }
    }

    /// Waits until something else is told. If whoever told is gone, it stays as it is. Cancel safe.
    async fn change(&mut self) {
        if self.told.changed().await.is_err() {
            pending::<()>().await;
        }
    }

    /// Waits until everything that is assigned here is served. Cancel safe.
    pub(crate) async fn until_served(&mut self, held: &Held) {
        loop {
            let told = self.told.borrow_and_update().clone();
            let served = async {
                match &told {
                    Some(shards) => held.until_serving(shards).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = served => return,
                () = self.change() => {}
            }
        }
    }
}

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
            let served = self.serve(&mut assigned, nonce).await;
            // What edges said to the owner that is gone is about sessions that are closed.
            while self.inlets.batches.try_recv().is_ok() {}
            let pause = match served {
                Ok(()) if cancelled.is_cancelled() => return,
                Ok(()) => continue,
                Err(RouterError::Fenced) if !assigned.has(shard) => {
                    Events::handed_over(shard);
                    continue;
                }
                Err(error) => {
                    Events::gave_up(shard, &error);
                    if error.is_final(assigned.is_fixed) {
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
            Ok(mut owner) => {
                self.ground.held.serving(self.config.shard, owner.epoch);
                match owner.run(&mut self.inlets).await {
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
    ready: entente_node::Condition,
    held: Arc<Held>,
    mut assigned: Assigned,
    cancelled: tokio_util::sync::CancellationToken,
) {
    let served = assigned.until_served(&held);
    if cancelled.run_until_cancelled(served).await.is_none() {
        return;
    }
    ready.set(true);
    // A condition that is dropped holds no more.
    cancelled.cancelled().await;
}
