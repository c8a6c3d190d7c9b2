//! Builds the service, and lets it work on each partition of the wake-ups whenever it is this process's turn.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use entente_core::{SealKey, ShardId};
use entente_egress::Http;
use entente_log::Log;
use entente_node::{Metrics, Tasks};
use entente_proto::DirectoryClient;
use entente_shard::{Assigned, Assignment, Stores};
use entente_trace::Tracer;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::desk::{Desk, Ground};
use crate::dispatch::{Dispatcher, Endpoints};
use crate::error::{BuildError, PushError};
use crate::events::{Events, Stopped};
use crate::sign::{Signer, SigningKey};

/// How long a process waits after a turn that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What the service stands on.
pub struct Deps {
    /// The wake-up log.
    pub log: Arc<dyn Log>,
    /// Which partitions of the log this process wakes for, as if they were shards. Of several processes
    /// one works on a partition, and the others stand by.
    pub assignment: Assignment,
    /// Rows of this service alone: of partition `n` as those of shard `n`.
    pub stores: Stores,
    /// The key of all seals.
    pub seal: SealKey,
    /// Who an account is.
    pub directory: DirectoryClient,
    /// Where partners are woken.
    pub endpoints: Arc<dyn Endpoints>,
    /// The way to partners.
    pub http: Arc<dyn Http>,
    /// What signs; [`Config::signing_key`] reads it.
    pub key: SigningKey,
    /// Where the task is started.
    pub tasks: Tasks,
    /// Where metrics are registered.
    pub metrics: Metrics,
    /// What becomes of wake-ups for sampled messages.
    pub tracer: Tracer,
}

impl std::fmt::Debug for Deps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Deps")
    }
}

/// A service that has started.
#[derive(Debug)]
pub struct Built {
    /// The key set that partners fetch, as JSON, for [`JWKS_PATH`](crate::JWKS_PATH).
    pub jwks: String,
}

/// Starts the service, with a task for each partition. It ends, after storing where it is, when the tasks
/// are cancelled; if its rows cannot be used, the process ends with it.
///
/// # Errors
/// [`BuildError`] says what to change.
pub fn build(config: Config, deps: Deps) -> Result<Built, BuildError> {
    config.check()?;
    let jwks = deps.key.jwks();
    let dispatcher = Dispatcher {
        directory: deps.directory,
        endpoints: deps.endpoints,
        http: deps.http,
        signer: Arc::new(Signer::new(deps.key, config.issuer.clone())),
        deadline: config.deadline.get(),
        tracer: deps.tracer,
    };
    let partitions = deps.log.partitions();
    let turns = Turns {
        partition: 0,
        events: Events::new(&deps.metrics)?,
        config: config.of_partition(partitions),
        log: deps.log,
        stores: deps.stores,
        assigned: Assigned::new(deps.assignment),
        seal: deps.seal,
        dispatcher,
        cancelled: deps.tasks.cancelled(),
    };
    for partition in 0..partitions {
        let turns = Turns {
            partition,
            ..turns.clone()
        };
        deps.tasks.spawn_vital("push", turns.run());
    }
    Ok(Built { jwks })
}

/// What one turn after another has.
#[derive(Clone)]
struct Turns {
    partition: u32,
    config: Config,
    log: Arc<dyn Log>,
    stores: Stores,
    assigned: Assigned,
    seal: SealKey,
    dispatcher: Dispatcher,
    events: Events,
    cancelled: CancellationToken,
}

impl Turns {
    /// By whose assignment it is this process's turn, and as whose the rows are kept.
    const fn shard(&self) -> ShardId {
        ShardId::new(self.partition)
    }

    /// Wakes whenever it is this process's turn, until the tasks are cancelled. Ends before only if
    /// nothing but another process can go on.
    async fn run(self) {
        let mut assigned = self.assigned.clone();
        loop {
            tokio::select! {
                () = self.cancelled.cancelled() => return,
                () = assigned.until(self.shard(), true) => {}
            }
            let Err(error) = self.turn(&mut assigned).await else {
                continue;
            };
            Stopped { error: &error }.emit();
            if assigned.is_fixed() {
                return;
            }
            tokio::select! {
                () = self.cancelled.cancelled() => return,
                () = sleep(PAUSE) => {}
            }
        }
    }

    /// Reads the rows and wakes until the turn is over, and then stores where it is.
    async fn turn(&self, assigned: &mut Assigned) -> Result<(), PushError> {
        let opened = tokio::select! {
            () = self.cancelled.cancelled() => return Ok(()),
            () = assigned.until(self.shard(), false) => return Ok(()),
            opened = self.open() => opened?,
        };
        let over = CancellationToken::new();
        let ends = over.clone().drop_guard();
        let watch = async {
            tokio::select! {
                () = self.cancelled.cancelled() => {}
                () = assigned.until(self.shard(), false) => {}
            }
            drop(ends);
            pending::<()>().await;
        };
        tokio::select! {
            ended = opened.run(over) => ended,
            () = watch => Ok(()),
        }
    }

    async fn open(&self) -> Result<Desk, PushError> {
        // First, so that whoever had them moves no cursor any more: none lies beyond an end found after.
        let store = self.stores.open(self.shard()).await?;
        self.log.refresh(self.partition).await?;
        let ground = Ground {
            partition: self.partition,
            config: self.config.clone(),
            log: Arc::clone(&self.log),
            store,
            seal: self.seal.clone(),
            dispatcher: self.dispatcher.clone(),
            events: self.events.clone(),
        };
        let opened = spawn_blocking(move || Desk::open(ground)).await;
        Ok(opened.map_err(|_| PushError::Panicked)??)
    }
}
