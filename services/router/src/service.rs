//! The router as others call it: opens streams, answers the directory, keeps owners running.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use entente_core::{Epoch, Fault, Placement, SealKey, ShardId};
use entente_log::Log;
use entente_node::{Condition, Metrics, MetricsError, Tasks};
use entente_proto::IntakeClient;
use entente_proto::edge::{
    EdgeId, EdgeSender, EdgeStream, Inbound, Router, STREAM_BATCHES, StreamId,
};
use entente_proto::owners::ELSEWHERE;
use entente_shard::{Assigned, Assignment, ShardConfig, Stores};
use entente_trace::Tracer;
use tokio::sync::{mpsc, oneshot};

use crate::config::Config;
use crate::deliver::NO_OWNER;
use crate::events::Events;
use crate::health::{self, Takes};
use crate::held::Held;
use crate::keep::{Keeper, tell_ready};
use crate::owner::{Call, Ground, Inlets};

/// Calls that may wait for one owner.
const CALLS: usize = 1_024;
/// Batches of all edges that may wait for one owner.
const INBOX: usize = 4 * STREAM_BATCHES;

/// What the router stands on.
#[derive(Debug)]
pub struct Deps {
    /// The input log: one partition a shard. What it reads is this node's; what it appends may go to
    /// other nodes.
    pub log: Arc<dyn Log>,
    /// The wake-up log.
    pub wake: Arc<dyn Log>,
    /// Which shards this router owns.
    pub assignment: Assignment,
    /// Their rows.
    pub stores: Stores,
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
    /// Where spans of sampled messages go.
    pub tracer: Tracer,
    /// Told when every shard that is assigned here is served, for the first time.
    pub ready: Condition,
    /// Told whether the logs take appends.
    pub takes: Takes,
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
    held: Arc<Held>,
    owners: Vec<(mpsc::Sender<Inbound>, mpsc::Sender<Call>)>,
    /// Streams that were opened so far.
    streams: AtomicU64,
}

/// Builds the router and starts a keeper for each shard.
///
/// # Errors
/// When metrics of the same name are registered already.
pub fn build(config: Config, deps: Deps) -> Result<Built, MetricsError> {
    let events = Events::new(&deps.metrics)?;
    let shards = deps.placement.shards();
    let held = Arc::new(Held::new(shards));
    let assigned = Assigned::new(deps.assignment);
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
        tracer: deps.tracer,
        tasks: deps.tasks.clone(),
        held: Arc::clone(&held),
        peers: Arc::new(owners.iter().map(|(_, calls)| calls.clone()).collect()),
    };
    let logs = [Arc::clone(&ground.log), Arc::clone(&ground.wake)];
    let told = (deps.takes, ground.events.clone());
    let follow = health::follow(logs, told, deps.tasks.cancelled());
    deps.tasks.spawn("log health", follow);
    let (told, ends) = (assigned.clone(), deps.tasks.cancelled());
    let tell = tell_ready(deps.ready, Arc::clone(&held), told, ends);
    deps.tasks.spawn("router ready", tell);
    for (shard, inlets) in (0..shards).map(ShardId::new).zip(inlets) {
        let keeper = Keeper {
            ground: ground.clone(),
            config: ShardConfig {
                shard,
                placement: deps.placement.clone(),
                seal: deps.seal.clone(),
            },
            stores: deps.stores.clone(),
            inlets,
            assigned: assigned.clone(),
            far: deps.far.clone(),
        };
        deps.tasks.spawn_vital("shard owner", keeper.run());
    }
    let service = Service {
        placement: deps.placement,
        log: Arc::clone(&ground.log),
        held,
        owners,
        streams: AtomicU64::default(),
    };
    Ok(Built {
        service: Arc::new(service),
    })
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
        self.held.has(shard)
    }

    /// The shards that are here, each with the epoch of its owner; 0 for one that is being taken over.
    pub fn owned(&self) -> Vec<(ShardId, Epoch)> {
        self.held.all()
    }

    /// Waits until no shard is here any more. Cancel safe.
    pub async fn released(&self) {
        self.held.until_empty().await;
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
        let number = self.streams.fetch_add(1, Ordering::Relaxed);
        let stream = StreamId { edge, number };
        self.call(
            shard,
            Call::Attach {
                stream,
                to_edge,
                ready,
            },
        )
        .await?;
        attached.await.map_err(|_| NO_OWNER)?;
        let (to_owner, _) = self.owner(shard)?;
        Ok(EdgeStream {
            to_router: EdgeSender::new(stream, to_owner.clone()),
            to_edge: from_owner,
        })
    }
}
