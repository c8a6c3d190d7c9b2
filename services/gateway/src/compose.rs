//! Who stands on what: the one list of a node's parts, in the order in which they are built.
//!
//! Config -> start -> run -> drain is the whole life of the process.

mod parts;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use entente_connection as connection;
use entente_egress::Client;
use entente_identity as identity;
use entente_mesh::Role;
use entente_node::{Drain, MetricsError, Readiness, Signals, Tasks};
use entente_push as push;
use entente_router as router;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::parts::{Ground, Parts};
use crate::backends::{self, BackendError, Logs, Owning};
use crate::cluster::{Answering, JoinError, Place};
use crate::config::{Config, DrainConfig};
use crate::deployment::DeploymentError;
use crate::keyfiles::{self, KeyFileError};
use crate::secrets::{Secrets, SecretsError};

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A backend does not open.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The XMPP door does not open.
    #[error("connection: {0}")]
    Connection(#[from] connection::BuildError),
    /// The placement is not that of the deployment.
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
    /// Secrets of before there were nodes.
    #[error("secrets: without placement_key, nodes would look for accounts in different shards")]
    NoPlacement,
    /// A role that the others need is neither here nor in the mesh.
    #[error("the roles of this process need [mesh], for the others are not in it")]
    Roles,
    /// This process cannot be one of the nodes.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// Connections to partners cannot be made.
    #[error("egress: {0}")]
    Egress(#[from] entente_egress::SettingsError),
    /// The identity service does not start.
    #[error("identity: {0}")]
    Identity(#[from] identity::BuildError),
    /// The key that signs wake-ups is not usable.
    #[error("push.key: {0}")]
    Key(#[from] push::KeyError),
    /// A file of keys is not private.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// A listener cannot be bound, or a signal not be taken.
    #[error("{what}: {source}")]
    Listen {
        /// Which.
        what: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// A metric is registered twice.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The push service does not start.
    #[error("push: {0}")]
    Push(#[from] push::BuildError),
    /// Traces cannot be had so.
    #[error(transparent)]
    Traces(#[from] entente_trace::SettingsError),
    /// The secrets are not usable.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
}

/// A node ended with work undone.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// A part that the node cannot be without ended or panicked.
    #[error("a part of the node ended too early: see the log")]
    Broken,
    /// Tasks did not end in time.
    #[error("not everything ended in time: {0}")]
    Late(String),
}

/// Time to store what is folded after a second signal. The log has it all in any case.
const FAST_FLUSH: Duration = Duration::from_secs(1);

/// A running node.
#[derive(Debug)]
pub struct Node {
    connection: Option<connection::Built>,
    registry: Option<Arc<identity::Registry>>,
    /// A push service that others stand by for, or that stands by for others.
    waking: Option<Owning>,
    /// A router that shares the shards with others.
    sharing: Option<(Owning, Arc<router::Service>)>,
    logs: Logs,
    readiness: Readiness,
    drain: Drain,
    tasks: Tasks,
    signals: Signals,
    config: DrainConfig,
}

impl Node {
    /// Builds the parts and opens the doors: all of them, or those of a place among the nodes of the
    /// configuration. Ready when every shard that is to be owned here is.
    ///
    /// # Errors
    /// [`StartError`] names the part; nothing is left running but tasks that end with the process.
    pub async fn start(config: Config, place: Option<Place>) -> Result<Self, StartError> {
        let signals = Signals::listen().map_err(listen("signals"))?;
        for told in keyfiles::check(&config, place.as_ref())? {
            tracing::warn!(file = %told.file.display(), "the group of a key file may read it");
        }
        let secrets = Secrets::read(&config.secrets)?;
        let ground = Ground::new(&config, &secrets, place)?;
        let mut parts = Parts {
            cluster: ground.cluster(&config)?,
            ..Parts::default()
        };
        let keeps = ground.keeps(parts.cluster.as_ref());
        let logs = backends::logs(&config.storage, &keeps, &ground.seal).await?;
        logs.publish(&ground.metrics, &ground.tasks)?;
        let stores = backends::stores(&config.storage, &keeps, &logs, &ground.seal)?;
        if ground.has(Role::Router) {
            ground.router(&config, &mut parts, &logs, stores.shards)?;
        }
        let http = Arc::new(Client::new(&config.egress)?);
        if ground.has(Role::Identity) {
            let people = ground.people(&config, secrets.fast, parts.directory()?, &http)?;
            parts.registry = Some(Arc::clone(&people.registry));
            parts.people = Some(people);
        }
        if ground.has(Role::Push) {
            let log = logs.wake.clone().ok_or(StartError::Roles)?;
            ground.push(&config, &mut parts, (log, stores.push), http)?;
        }
        ground.doors(&config, &mut parts).await?;
        if let Some(cluster) = &parts.cluster {
            let answering = Answering {
                router: parts.router.clone(),
                identity: parts.people.as_ref().map(|people| people.client.clone()),
                wake: logs.wake.clone(),
            };
            let accepts = ground.accepts.clone();
            cluster.open(answering, &ground.readiness, accepts).await?;
        }
        ground.admin(&config.admin, &parts).await?;
        Ok(Self {
            connection: parts.connection,
            registry: parts.registry,
            waking: parts.waking,
            sharing: parts.owning.zip(parts.router),
            logs,
            readiness: ground.readiness,
            drain: ground.drain,
            tasks: ground.tasks,
            signals,
            config: config.drain,
        })
    }

    /// Serves until the drain begins, closes what is open in an orderly way, and stores everything.
    ///
    /// # Errors
    /// [`EndError`] if something was left undone. What was acknowledged is in the log all the same.
    pub async fn run_until_drained(self) -> Result<(), EndError> {
        let Self {
            connection,
            registry,
            waking,
            sharing,
            logs,
            readiness,
            drain,
            tasks,
            signals,
            config,
        } = self;
        let watched = drain.clone();
        let reload = move || {
            if let Some(registry) = &registry {
                let _told_in_the_log = identity::reload(registry);
            }
        };
        // Not one of the tasks: signals are listened to until the very end.
        let mut listening = JoinSet::new();
        listening.spawn(async move { signals.run(&watched, reload).await });
        let told = readiness.clone();
        tasks.spawn("ready", async move {
            told.hold().await;
            tracing::info!("ready");
        });
        drain.begun().await;
        let routing = sharing.iter().map(|(owning, _)| owning);
        routing.chain(&waking).for_each(Owning::leave);
        let orderly = async {
            sleep(config.settle.get()).await;
            let left = end_sessions(connection.as_ref(), config.budget.get()).await;
            if let Some((_, router)) = &sharing {
                // Served from here until others have them. Alone, nobody comes.
                let handed = timeout(config.budget.get(), router.released()).await;
                let left = router.owned().len();
                tracing::info!(in_time = handed.is_ok(), left, "shards handed over");
            }
            left
        };
        let left = tokio::select! {
            left = orderly => left,
            () = drain.leaving() => end_sessions(connection.as_ref(), Duration::ZERO).await,
        };
        let flush = config.flush.get();
        let ended = tokio::select! {
            ended = tasks.finish(flush) => ended,
            () = drain.leaving() => tasks.finish(FAST_FLUSH.min(flush)).await,
        };
        logs.close().await;
        tracing::info!(sessions_left = left, "drained");
        if let Err(late) = ended {
            let late: Vec<_> = late.iter().map(|task| task.name).collect();
            return Err(EndError::Late(late.join(", ")));
        }
        if tasks.failed() {
            Err(EndError::Broken)
        } else {
            Ok(())
        }
    }
}

/// Tells clients to go, and returns how many sessions were left.
async fn end_sessions(connection: Option<&connection::Built>, budget: Duration) -> usize {
    match connection {
        Some(connection) => connection.drain(budget).await,
        None => 0,
    }
}

fn listen(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::Listen { what, source }
}
