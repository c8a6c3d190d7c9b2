//! Who stands on what: the one list of a node's parts, in the order in which they are built.
//!
//! Config -> start -> run -> drain is the whole life of the process.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_connection as connection;
use entente_core::{Placement, SealKey, Secret};
use entente_egress::Client;
use entente_identity as identity;
use entente_node::{
    AcceptMetrics, Admin, AdminSettings, Callers, Drain, Metrics, MetricsError, Readiness, Signals,
    Tasks,
};
use entente_proto::{DirectoryClient, RouterClient};
use entente_push as push;
use entente_router as router;
use entente_table::MemoryTable;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::backends::{self, BackendError, Logs};
use crate::config::{Config, DrainConfig};
use crate::deployment::{self, DeploymentError};
use crate::door::Door;
use crate::endpoints::RegistryEndpoints;
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
    callers: Callers,
    placement: Placement,
    seal: SealKey,
}

impl Node {
    /// Builds the parts and opens the doors. Ready when every shard is owned.
    ///
    /// # Errors
    /// [`StartError`] names the part; nothing is left running but tasks that end with the process.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let signals = Signals::listen().map_err(listen("signals"))?;
        for told in keyfiles::check(&config)? {
            tracing::warn!(file = %told.file.display(), "the group of a key file may read it");
        }
        let secrets = Secrets::read(&config.secrets)?;
        let ground = Ground::new(&config, secrets.seal)?;
        let logs = backends::logs(&config.storage, &ground.seal).await?;
        logs.publish(&ground.metrics, &ground.tasks)?;
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
            takes: ground.readiness.condition("log"),
        };
        let router = router::build(config.router.clone(), shards)?.service;
        let directory = DirectoryClient::local(Arc::<router::Service>::clone(&router));
        let http = Arc::new(Client::new(&config.egress)?);
        let people = ground.people(&config, secrets.fast, directory.clone(), &http)?;
        let wakes = push::Deps {
            log: Arc::clone(&logs.wake),
            store: stores.push,
            seal: ground.seal.clone(),
            directory,
            endpoints: Arc::new(RegistryEndpoints(Arc::clone(&people.registry))),
            http,
            key: config.push.signing_key()?,
            tasks: ground.tasks.clone(),
            metrics: ground.metrics.clone(),
        };
        let jwks = Bytes::from(push::build(config.push.clone(), wakes)?.jwks);
        let chats = connection::Deps {
            router: RouterClient::local(router),
            identity: people.client,
            placement: ground.placement.clone(),
            tasks: ground.tasks.clone(),
            drain: ground.drain.clone(),
            metrics: ground.metrics.clone(),
            accepted: ground.accepts.clone(),
            callers: ground.callers.clone(),
            expired: ground.readiness.note("certificate expired"),
        };
        let connection = connection::build(config.connection.clone(), chats).await?;
        let door = Door {
            enlist: people.enlist,
            jwks,
            tls: connection
                .https_acceptor()
                .map_err(connection::BuildError::from)?,
            callers: ground.callers.clone(),
        };
        let opened = door.open(&config.http, &ground.tasks, ground.accepts.clone());
        opened.await.map_err(listen("http.listen"))?;
        ground.admin(&config.admin).await?;
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
        // Not one of the tasks: signals are listened to until the very end.
        let mut listening = JoinSet::new();
        listening.spawn(async move { signals.run(&watched, reload).await });
        let told = readiness.clone();
        tasks.spawn("ready", async move {
            told.hold().await;
            tracing::info!("ready");
        });
        drain.begun().await;
        let orderly = async {
            sleep(config.settle.get()).await;
            connection.drain(config.budget.get()).await
        };
        let left = tokio::select! {
            left = orderly => left,
            () = drain.leaving() => connection.drain(Duration::ZERO).await,
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

impl Ground {
    fn new(config: &Config, seal: SealKey) -> Result<Self, StartError> {
        let drain = Drain::new();
        let metrics = Metrics::new();
        let connections = config.connection.limits.connections;
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        Ok(Self {
            tasks: Tasks::new(drain.clone()),
            readiness: Readiness::new(drain.clone()),
            accepts: AcceptMetrics::new(&metrics)?,
            callers: Callers::new(config.callers.clone(), connections, &metrics)?,
            drain,
            metrics,
            placement: deployment::placement(&config.storage, &seal)?,
            seal,
        })
    }
}

impl Ground {
    fn people(
        &self,
        config: &Config,
        fast_secret: Secret<[u8; 32]>,
        directory: DirectoryClient,
        http: &Arc<Client>,
    ) -> Result<identity::Built, StartError> {
        let deps = identity::Deps {
            directory,
            http: Arc::<Client>::clone(http),
            policy: config.egress.policy(),
            table: Arc::new(MemoryTable::default()),
            metrics: self.metrics.clone(),
            fast_secret,
            clock: identity::Clock::system(),
        };
        let people = identity::build(&config.identity, deps)?;
        let keys = keys_until(Arc::clone(&people.jwks), self.tasks.cancelled());
        self.tasks.spawn_vital("partner keys", keys);
        Ok(people)
    }

    async fn admin(&self, settings: &AdminSettings) -> Result<(), StartError> {
        let admin = Admin {
            readiness: self.readiness.clone(),
            metrics: self.metrics.clone(),
            drain: self.drain.clone(),
        };
        let (tasks, ends) = (self.tasks.clone(), self.tasks.cancelled());
        let bound = admin
            .bind(settings, tasks, self.accepts.clone(), ends)
            .await;
        let (_, serve) = bound.map_err(listen("admin.bind"))?;
        self.tasks.spawn_vital("admin", serve);
        Ok(())
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
