//! The router as others call it: opens streams, answers the directory, keeps owners running.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use entente_core::{Fault, Placement, SealKey, ShardId, random_array};
use entente_log::{Log, LogError};
use entente_node::{Condition, Metrics, MetricsError, Tasks};
use entente_proto::IntakeClient;
use entente_proto::edge::{EdgeId, EdgeSender, EdgeStream, Inbound, Router, STREAM_BATCHES};
use entente_proto::owners::ELSEWHERE;
use entente_shard::{ShardConfig, StateStore};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::deliver::NO_OWNER;
use crate::error::RouterError;
use crate::events::Events;
use crate::health;
use crate::intake::pass_on;
use crate::owner::{Call, Ground, Inlets};
use crate::takeover::take_over;

/// Calls that may wait for one owner.
const CALLS: usize = 1_024;
/// Batches of all edges that may wait for one owner.
const INBOX: usize = 4 * STREAM_BATCHES;
/// How long an owner that gave up waits before it claims again.
const PAUSE: Duration = Duration::from_millis(500);

/// What the router stands on.
#[derive(Debug)]
pub struct Deps {
    /// The input log: one partition a shard. What it reads is this node's; what it appends may go to
    /// other nodes.
    pub log: Arc<dyn Log>,
    /// The wake-up log.
    pub wake: Arc<dyn Log>,
    /// The rows of each shard that this router owns; it owns no others.
    pub stores: BTreeMap<ShardId, Arc<dyn StateStore>>,
    /// The owners of the other shards; none if all are owned here.
    pub far: Option<IntakeClient>,
    /// Where accounts are.
    pub placement: Placement,
    /// The key of all seals.
    pub seal: SealKey,
    /// Where tasks are started.
    pub tasks: Tasks,
    /// Where metrics are registered.
    pub metrics: Metrics,
    /// Told when every shard is owned.
    pub ready: Condition,
    /// Told whether the logs take appends.
    pub takes: Condition,
}

/// A router whose owners are starting.
#[derive(Debug)]
pub struct Built {
    /// Serves streams and the directory.
    pub service: Arc<Service>,
}

/// The router service.
#[derive(Debug)]
pub struct Service {
    placement: Placement,
    log: Arc<dyn Log>,
    owned: Arc<BTreeSet<ShardId>>,
    owners: Vec<(mpsc::Sender<Inbound>, mpsc::Sender<Call>)>,
}

/// Builds the router and starts an owner for each shard.
///
/// # Errors
/// When metrics of the same name are registered already.
pub fn build(config: Config, deps: Deps) -> Result<Built, MetricsError> {
    let events = Events::new(&deps.metrics)?;
    let shards = deps.placement.shards();
    let owned: Arc<BTreeSet<ShardId>> = Arc::new(deps.stores.keys().copied().collect());
    let (mut owners, mut inlets) = (Vec::new(), Vec::new());
    for _ in 0..shards {
        let (to_owner, batches) = mpsc::channel(INBOX);
        let (to_calls, calls) = mpsc::channel(CALLS);
        owners.push((to_owner, to_calls));
        inlets.push(Inlets { batches, calls });
    }
    let ground = Ground {
        config: Arc::new(config),
        log: deps.log,
        wake: deps.wake,
        placement: deps.placement.clone(),
        seal: deps.seal.clone(),
        events,
        tasks: deps.tasks.clone(),
        owned: Arc::clone(&owned),
        peers: Arc::new(owners.iter().map(|(_, calls)| calls.clone()).collect()),
    };
    let logs = [Arc::clone(&ground.log), Arc::clone(&ground.wake)];
    let follow = health::follow(logs, deps.takes, deps.tasks.cancelled());
    deps.tasks.spawn("log health", follow);
    let (taken, waiting) = mpsc::channel(owned.len().max(1));
    let tell = tell_ready(deps.ready, waiting, owned.len(), deps.tasks.cancelled());
    deps.tasks.spawn("router ready", tell);
    for (index, inlets) in (0..shards).zip(inlets) {
        let shard = ShardId::new(index);
        let Some(store) = deps.stores.get(&shard).cloned() else {
            if let Some(far) = deps.far.clone() {
                let pass = pass_on(shard, inlets, far, ground.events.clone());
                let cancelled = deps.tasks.cancelled();
                deps.tasks.spawn("stanzas for another node", async move {
                    cancelled.run_until_cancelled(pass).await;
                });
            }
            continue;
        };
        let config = ShardConfig {
            shard,
            placement: deps.placement.clone(),
            seal: deps.seal.clone(),
        };
        let own = own(ground.clone(), config, store, inlets, taken.clone());
        deps.tasks.spawn_vital("shard owner", own);
    }
    let service = Service {
        placement: deps.placement,
        log: Arc::clone(&ground.log),
        owned,
        owners,
    };
    Ok(Built {
        service: Arc::new(service),
    })
}

/// Says that the router is ready once so many shards were taken over.
async fn tell_ready(
    ready: Condition,
    mut taken: mpsc::Receiver<()>,
    shards: usize,
    cancelled: CancellationToken,
) {
    for _ in 0..shards {
        if taken.recv().await.is_none() {
            return;
        }
    }
    ready.set(true);
    // A condition that is dropped holds no more.
    cancelled.cancelled().await;
}

/// Owns a shard for as long as the process runs, claiming it anew whenever it was given up.
async fn own(
    ground: Ground,
    config: ShardConfig,
    store: Arc<dyn StateStore>,
    mut inlets: Inlets,
    owned: mpsc::Sender<()>,
) {
    let cancelled = ground.tasks.cancelled();
    let own = random_array();
    loop {
        let claimed = take_over(ground.clone(), config.clone(), Arc::clone(&store), own).await;
        let error = match claimed {
            Ok(mut owner) => {
                let _told_before = owned.try_send(());
                match owner.run(&mut inlets).await {
                    Ok(()) => return,
                    Err(error) => {
                        owner.abandon().await;
                        error
                    }
                }
            }
            Err(error) => error,
        };
        let error = match error {
            RouterError::Log(LogError::Unavailable) => ground.failure().unwrap_or(error),
            error => error,
        };
        Events::gave_up(config.shard, &error);
        if error.is_final() {
            return;
        }
        tokio::select! {
            () = cancelled.cancelled() => return,
            () = sleep(PAUSE) => {}
        }
        // What edges said to the owner that is gone is about sessions that are closed.
        while inlets.batches.try_recv().is_ok() {}
    }
}

impl Service {
    pub(crate) const fn placement(&self) -> &Placement {
        &self.placement
    }

    pub(crate) async fn call(&self, shard: ShardId, call: Call) -> Result<(), Fault> {
        let (_, calls) = self.owner(shard)?;
        calls.send(call).await.map_err(|_| NO_OWNER)
    }

    pub(crate) const fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    pub(crate) fn owns(&self, shard: ShardId) -> bool {
        self.owned.contains(&shard)
    }

    fn owner(&self, shard: ShardId) -> Result<&(mpsc::Sender<Inbound>, mpsc::Sender<Call>), Fault> {
        if !self.owns(shard) {
            return Err(ELSEWHERE);
        }
        let at = usize::try_from(shard.index()).map_err(|_| NO_OWNER)?;
        self.owners.get(at).ok_or(NO_OWNER)
    }
}

#[async_trait]
impl Router for Service {
    async fn attach(&self, edge: EdgeId, shard: ShardId) -> Result<EdgeStream, Fault> {
        let (to_edge, from_owner) = mpsc::channel(STREAM_BATCHES);
        let (ready, attached) = oneshot::channel();
        self.call(
            shard,
            Call::Attach {
                edge,
                to_edge,
                ready,
            },
        )
        .await?;
        attached.await.map_err(|_| NO_OWNER)?;
        let (to_owner, _) = self.owner(shard)?;
        Ok(EdgeStream {
            to_router: EdgeSender::new(edge, to_owner.clone()),
            to_edge: from_owner,
        })
    }
}
