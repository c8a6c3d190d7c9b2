//! The parts of a node, each from its own section of the configuration and what stands before it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_connection as connection;
use entente_core::{Placement, SealKey, Secret, ShardId, Span};
use entente_egress::Client;
use entente_identity as identity;
use entente_log::Log;
use entente_mesh::Role;
use entente_node::{
    AcceptMetrics, Admin, AdminSettings, Callers, Drain, Metrics, Readiness, Tasks,
};
use entente_proto::{DirectoryClient, IdentityClient, InspectClient, RouterClient};
use entente_push as push;
use entente_router as router;
use entente_shard::{Assignment, Stores};
use entente_trace::Tracer;
use entente_trace::otlp::Exporter;
use tokio_util::sync::CancellationToken;

use super::{StartError, listen};
use crate::backends::{self, Keeps, Logs, Owning, Team};
use crate::cluster::{self, Cluster, Place};
use crate::config::{Config, Storage};
use crate::deployment;
use crate::door::Door;
use crate::endpoints::RegistryEndpoints;
use crate::inspect::Inspector;
use crate::secrets::Secrets;

/// What every part of a node shares.
pub(super) struct Ground {
    pub(super) tasks: Tasks,
    pub(super) drain: Drain,
    pub(super) readiness: Readiness,
    pub(super) metrics: Metrics,
    tracer: Tracer,
    pub(super) accepts: AcceptMetrics,
    pub(super) callers: Callers,
    pub(super) placement: Placement,
    pub(super) seal: SealKey,
    /// None in a process that has every role.
    place: Option<Place>,
}

/// The parts of a node, as far as they are built.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) cluster: Option<Cluster>,
    pub(super) router: Option<Arc<router::Service>>,
    pub(super) owning: Option<Owning>,
    pub(super) waking: Option<Owning>,
    pub(super) people: Option<identity::Built>,
    pub(super) registry: Option<Arc<identity::Registry>>,
    pub(super) connection: Option<connection::Built>,
}

impl Parts {
    pub(super) fn directory(&self) -> Result<DirectoryClient, StartError> {
        match (&self.cluster, &self.router) {
            (Some(cluster), _) => Ok(cluster.directory()),
            (None, Some(router)) => {
                let router = Arc::<router::Service>::clone(router);
                Ok(DirectoryClient::local(router))
            }
            (None, None) => Err(StartError::Roles),
        }
    }

    pub(super) fn routers(&self) -> Result<RouterClient, StartError> {
        match (&self.cluster, &self.router) {
            (Some(cluster), _) => Ok(cluster.router()),
            (None, Some(router)) => Ok(RouterClient::local(Arc::<router::Service>::clone(router))),
            (None, None) => Err(StartError::Roles),
        }
    }

    pub(super) fn identity(&self) -> Result<IdentityClient, StartError> {
        match (&self.people, &self.cluster) {
            (Some(people), _) => Ok(people.client.clone()),
            (None, Some(cluster)) => Ok(cluster.identity()),
            (None, None) => Err(StartError::Roles),
        }
    }
}

impl Ground {
    pub(super) fn new(
        config: &Config,
        secrets: &Secrets,
        place: Option<Place>,
    ) -> Result<Self, StartError> {
        let drain = Drain::new();
        let metrics = Metrics::new();
        let connections = config.connection.limits.connections;
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        let (key, seal) = (secrets.placement, &secrets.seal);
        let placement = match &place {
            Some(_) if key.is_none() => return Err(StartError::NoPlacement),
            Some(place) if !place.roles.contains(&Role::Router) => {
                deployment::told(&config.storage, seal, &key.unwrap_or_default())
            }
            _ => deployment::placement(&config.storage, seal, key)?,
        };
        let tasks = Tasks::new(drain.clone());
        let tracer = tracer(config, place.as_ref(), &metrics, &tasks)?;
        Ok(Self {
            tasks,
            tracer,
            readiness: Readiness::new(drain.clone()),
            accepts: AcceptMetrics::new(&metrics)?,
            callers: Callers::new(config.callers.clone(), connections, &metrics)?,
            drain,
            metrics,
            placement,
            seal: secrets.seal.clone(),
            place,
        })
    }

    pub(super) fn has(&self, role: Role) -> bool {
        let place = self.place.as_ref();
        place.is_none_or(|place| place.roles.contains(&role))
    }

    pub(super) fn cluster(&self, config: &Config) -> Result<Option<Cluster>, StartError> {
        let (Some(place), Some(mesh)) = (&self.place, &config.mesh) else {
            return Ok(None);
        };
        let joined = Cluster::join(cluster::Deps {
            config,
            mesh,
            place,
            placement: self.placement.clone(),
            seal: self.seal.clone(),
            tasks: self.tasks.clone(),
            metrics: &self.metrics,
        })?;
        Ok(Some(joined))
    }

    pub(super) fn keeps(&self, cluster: Option<&Cluster>) -> Keeps {
        match cluster {
            None => Keeps::all(self.placement.shards()),
            Some(cluster) => {
                let shards = match cluster.shares() {
                    Some(_) if self.has(Role::Router) => Keeps::all(self.placement.shards()).shards,
                    _ => cluster.owned(),
                };
                let wake = self.has(Role::Push);
                Keeps { shards, wake }
            }
        }
    }

    pub(super) fn router(
        &self,
        config: &Config,
        parts: &mut Parts,
        logs: &Logs,
        stores: Stores,
    ) -> Result<(), StartError> {
        let near = logs.input.clone().ok_or(StartError::Roles)?;
        let cluster = parts.cluster.as_ref();
        let log = match cluster {
            Some(cluster) => cluster.input(near),
            None => near,
        };
        let wake = match (&logs.wake, cluster) {
            (Some(wake), _) => Arc::clone(wake),
            (None, Some(cluster)) => cluster.wake(config.storage.wake_partitions),
            (None, None) => return Err(StartError::Roles),
        };
        let sharing = cluster.and_then(Cluster::shares);
        let owning =
            sharing.map(|node| Owning::join(&config.storage, Team::Routers, node, &self.tasks));
        let owning = owning.transpose()?;
        let assignment = match (&owning, cluster) {
            (Some(owning), _) => Assignment::Told(owning.assigned.clone()),
            (None, Some(cluster)) => Assignment::Fixed(cluster.owned()),
            (None, None) => Assignment::Fixed(Keeps::all(self.placement.shards()).shards),
        };
        let deps = router::Deps {
            log,
            wake,
            assignment,
            stores,
            far: cluster.map(Cluster::intake),
            placement: self.placement.clone(),
            seal: self.seal.clone(),
            tasks: self.tasks.clone(),
            metrics: self.metrics.clone(),
            tracer: self.tracer.clone(),
            ready: self.readiness.condition("shards"),
            takes: self.takes(&config.storage),
        };
        let mut settings = config.router.clone();
        if cluster.is_none() {
            // Connections are in this process: after a start there is none that could report.
            settings.report_time = Span::new(Duration::ZERO);
        }
        parts.router = Some(router::build(settings, deps)?.service);
        parts.owning = owning;
        Ok(())
    }

    /// Whether a log that takes nothing is this node's fault or that of all.
    fn takes(&self, storage: &Storage) -> router::Takes {
        if backends::is_remote(storage) {
            router::Takes::Note(self.readiness.note("the log takes no appends"))
        } else {
            router::Takes::Condition(self.readiness.condition("log"))
        }
    }

    /// Starts push. Without identity in the same process it reads the partners by itself.
    pub(super) fn push(
        &self,
        config: &Config,
        parts: &mut Parts,
        (log, stores): (Arc<dyn Log>, Stores),
        http: Arc<Client>,
    ) -> Result<(), StartError> {
        let registry = match &parts.registry {
            Some(registry) => Arc::clone(registry),
            None => {
                let file = &config.identity.partners;
                let opened = identity::Registry::open(file, config.egress.policy());
                Arc::new(opened.map_err(identity::BuildError::from)?)
            }
        };
        let sharing = parts.cluster.as_ref().and_then(Cluster::shares);
        let owning =
            sharing.map(|node| Owning::join(&config.storage, Team::Push, node, &self.tasks));
        let owning = owning.transpose()?;
        let assignment = match &owning {
            Some(owning) => Assignment::Told(owning.assigned.clone()),
            None => {
                let all = 0..config.storage.wake_partitions;
                Assignment::Fixed(all.map(ShardId::new).collect())
            }
        };
        parts.waking = owning;
        let wakes = push::Deps {
            log,
            assignment,
            stores,
            seal: self.seal.clone(),
            directory: parts.directory()?,
            endpoints: Arc::new(RegistryEndpoints(Arc::clone(&registry))),
            http,
            key: config.push.signing_key()?,
            tasks: self.tasks.clone(),
            metrics: self.metrics.clone(),
            tracer: self.tracer.clone(),
        };
        push::build(config.push.clone(), wakes)?;
        parts.registry = Some(registry);
        Ok(())
    }

    /// Opens the doors for clients: XMPP, and HTTPS where identity is.
    pub(super) async fn doors(&self, config: &Config, parts: &mut Parts) -> Result<(), StartError> {
        if self.has(Role::Connection) {
            let chats = connection::Deps {
                router: parts.routers()?,
                identity: parts.identity()?,
                placement: self.placement.clone(),
                tasks: self.tasks.clone(),
                drain: self.drain.clone(),
                metrics: self.metrics.clone(),
                tracer: self.tracer.clone(),
                accepted: self.accepts.clone(),
                callers: self.callers.clone(),
                expired: self.readiness.note("certificate expired"),
            };
            parts.connection = Some(connection::build(config.connection.clone(), chats).await?);
        }
        let Some(people) = &parts.people else {
            return Ok(());
        };
        let tls = match &parts.connection {
            Some(connection) => connection.https_acceptor(),
            None => {
                let expired = self.readiness.note("certificate expired");
                let files = config.connection.tls.clone();
                connection::DomainCertificate::follow(files, &self.tasks, &self.metrics, expired)?
                    .https_acceptor()
            }
        };
        let door = Door {
            enlist: Arc::clone(&people.enlist),
            jwks: Bytes::from(config.push.signing_key()?.jwks()),
            tls: tls.map_err(connection::BuildError::from)?,
            callers: self.callers.clone(),
        };
        let opened = door.open(&config.http, &self.tasks, self.accepts.clone());
        opened.await.map_err(listen("http.listen"))?;
        Ok(())
    }

    pub(super) fn people(
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
            table: backends::table(&config.storage)?,
            metrics: self.metrics.clone(),
            fast_secret,
            clock: identity::Clock::system(),
        };
        let people = identity::build(&config.identity, deps)?;
        let keys = keys_until(Arc::clone(&people.jwks), self.tasks.cancelled());
        self.tasks.spawn_vital("partner keys", keys);
        Ok(people)
    }

    /// Who answers a person on call at this node.
    fn inspector(&self, parts: &Parts) -> Inspector {
        let (cluster, router) = (parts.cluster.as_ref(), parts.router.clone());
        let owners = match (router, cluster) {
            (Some(_), Some(cluster)) => Some(cluster.inspect()),
            (Some(router), None) => Some(InspectClient::local(router)),
            (None, _) => None,
        };
        let place = self.place.as_ref();
        let roles = Role::ALL.into_iter().filter(|role| self.has(*role));
        Inspector {
            owners,
            whereabouts: cluster.map(Cluster::whereabouts),
            placement: self.placement.clone(),
            node: place.map_or_else(|| "entente".to_owned(), |place| place.node.to_string()),
            roles: roles.map(|role| role.to_string()).collect(),
            edge: parts.connection.as_ref().map(connection::Built::edge),
        }
    }

    pub(super) async fn admin(
        &self,
        settings: &AdminSettings,
        parts: &Parts,
    ) -> Result<(), StartError> {
        let admin = Admin {
            readiness: self.readiness.clone(),
            metrics: self.metrics.clone(),
            drain: self.drain.clone(),
            pages: Some(Arc::new(self.inspector(parts))),
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

/// The tracer of the node, and a task that sends what it finishes, if there is a collector.
fn tracer(
    config: &Config,
    place: Option<&Place>,
    metrics: &Metrics,
    tasks: &Tasks,
) -> Result<Tracer, StartError> {
    let settings = &config.telemetry;
    settings.check()?;
    if settings.endpoint.is_none() {
        return Ok(Tracer::off());
    }
    let (tracer, spans, dropped) = Tracer::new(settings, metrics)?;
    let node = place.map_or_else(|| "entente".to_owned(), |place| place.node.to_string());
    let exporter = Exporter::new(settings, node, spans, dropped)?;
    tasks.spawn("traces", exporter.run(tasks.cancelled()));
    Ok(tracer)
}

/// Follows the partners' keys until the tasks end.
async fn keys_until(keys: Arc<identity::Jwks>, ends: CancellationToken) {
    tokio::select! {
        () = keys.run() => {}
        () = ends.cancelled() => {}
    }
}
