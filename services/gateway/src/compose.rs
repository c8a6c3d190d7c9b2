//! Who stands on what: the one list of a node's parts, in the order in which they are built.
//!
//! Config -> start -> run -> drain is the whole life of the process.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use entente_connection as connection;
use entente_core::{Placement, SealKey};
use entente_egress::Client;
use entente_identity as identity;
use entente_node::{AcceptMetrics, Admin, Drain, Metrics, MetricsError, Readiness, Signals, Tasks};
use entente_proto::{DirectoryClient, RouterClient};
use entente_router as router;
use entente_table::MemoryTable;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::backends::{self, BackendError, Logs};
use crate::config::{Config, DrainConfig};
use crate::deployment::{self, DeploymentError};
use crate::door::Door;
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
    /// Connections to partners cannot be made.
    #[error("egress: {0}")]
    Egress(#[from] entente_egress::SettingsError),
    /// The identity service does not start.
    #[error("identity: {0}")]
    Identity(#[from] identity::BuildError),
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

/// A running node.
#[derive(Debug)]
pub struct Node {
    connection: connection::Built,
    registry: Arc<identity::Registry>,
    logs: Logs,
    readiness: Readiness,
    drain: Drain,
    tasks: Tasks,
    signals: Signals,
    config: DrainConfig,
}

/// What every part of a node shares.
struct Ground {
    tasks: Tasks,
    drain: Drain,
    readiness: Readiness,
    metrics: Metrics,
    accepts: AcceptMetrics,
    placement: Placement,
    seal: SealKey,
}

impl Node {
    /// Reads everything that a configuration names, and starts nothing.
    ///
    /// # Errors
    /// The first thing that would keep the node from starting.
    pub fn check(config: &Config) -> Result<(), StartError> {
        identity::check(&config.identity, config.egress.policy())?;
        connection::check(&config.connection)?;
        Client::new(&config.egress)?;
        Ok(())
    }

    /// Builds the parts and opens the doors. Ready when every shard is owned.
    ///
    /// # Errors
    /// [`StartError`] names the part; nothing is left running but tasks that end with the process.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let signals = Signals::listen().map_err(listen("signals"))?;
        let secrets = Secrets::read(&config.secrets)?;
        let ground = Ground::new(&config, secrets.seal)?;
        let logs = backends::logs(&config.storage)?;
        let stores = backends::stores(&config.storage)?;
        let shards = router::Deps {
            log: Arc::clone(&logs.input),
            wake: Arc::clone(&logs.wake),
            stores: stores.shards,
            placement: ground.placement.clone(),
            seal: ground.seal.clone(),
            tasks: ground.tasks.clone(),
            metrics: ground.metrics.clone(),
            ready: ground.readiness.condition("shards"),
        };
        let router = router::build(config.router, shards)?.service;
        let directory = DirectoryClient::local(Arc::<router::Service>::clone(&router));
        let http = Arc::new(Client::new(&config.egress)?);
        let people = identity::Deps {
            directory: directory.clone(),
            http: Arc::<Client>::clone(&http),
            policy: config.egress.policy(),
            table: Arc::new(MemoryTable::default()),
            metrics: ground.metrics.clone(),
            fast_secret: secrets.fast,
            clock: identity::Clock::system(),
        };
        let people = identity::build(&config.identity, people)?;
        let keys = Arc::clone(&people.jwks);
        ground
            .tasks
            .spawn_vital("partner keys", keys_until(keys, ground.tasks.cancelled()));
        let jwks = Bytes::from_static(b"{\"keys\":[]}");
        let chats = connection::Deps {
            router: RouterClient::local(router),
            identity: people.client,
            placement: ground.placement,
            tasks: ground.tasks.clone(),
            drain: ground.drain.clone(),
            metrics: ground.metrics.clone(),
            accepted: ground.accepts.clone(),
        };
        let connection = connection::build(config.connection, chats).await?;
        let door = Door {
            enlist: people.enlist,
            jwks,
            tls: connection
                .https_acceptor()
                .map_err(connection::BuildError::from)?,
        };
        let opened = door
            .open(&config.http, &ground.tasks, ground.accepts.clone())
            .await;
        opened.map_err(listen("http.listen"))?;
        let admin = Admin {
            readiness: ground.readiness.clone(),
            metrics: ground.metrics,
            drain: ground.drain.clone(),
        };
        let (tasks, ends) = (ground.tasks.clone(), ground.tasks.cancelled());
        let (_, serve) = admin
            .bind(&config.admin, tasks, ground.accepts, ends)
            .await
            .map_err(listen("admin.bind"))?;
        ground.tasks.spawn_vital("admin", serve);
        Ok(Self {
            connection,
            registry: people.registry,
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
            logs,
            readiness,
            drain,
            tasks,
            signals,
            config,
        } = self;
        let watched = drain.clone();
        let reload = move || {
            let _told_in_the_log = identity::reload(&registry);
        };
        tasks.spawn(
            "signals",
            async move { signals.run(&watched, reload).await },
        );
        let told = readiness.clone();
        tasks.spawn("ready", async move {
            told.hold().await;
            tracing::info!("ready");
        });
        drain.begun().await;
        tracing::info!("drain begins");
        let orderly = async {
            sleep(config.settle.get()).await;
            connection.drain(config.budget.get()).await
        };
        let left = tokio::select! {
            left = orderly => left,
            () = drain.leaving() => connection.drain(std::time::Duration::ZERO).await,
        };
        let ended = tasks.finish(config.flush.get()).await;
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

impl Ground {
    fn new(config: &Config, seal: SealKey) -> Result<Self, StartError> {
        let drain = Drain::new();
        let metrics = Metrics::new();
        Ok(Self {
            tasks: Tasks::new(drain.clone()),
            readiness: Readiness::new(drain.clone()),
            accepts: AcceptMetrics::new(&metrics)?,
            drain,
            metrics,
            placement: deployment::placement(&config.storage)?,
            seal,
        })
    }
}

/// Follows the partners' keys until the tasks end.
async fn keys_until(keys: Arc<identity::Jwks>, ends: CancellationToken) {
    tokio::select! {
        () = keys.run() => {}
        () = ends.cancelled() => {}
    }
}

fn listen(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::Listen { what, source }
}
