//! One process of several: what stands between its own services and those of other nodes.
//!
//! In: the place that this process has among the nodes of the configuration. Out: the same client
//! handles as on one machine, behind which calls find the node that owns a shard.
//!
//! Nothing of this is in the way of a process that has every role.

mod far_log;
mod nodes;
mod owners;
mod settings;
mod shards;
mod wake;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use entente_core::{Placement, SealKey, ShardId};
use entente_log::Log;
use entente_mesh::{
    Access, CredentialFiles, Credentials, CredentialsError, Dns, Events, Mesh, NameError, Node,
    NodeName, Role, Served, Target,
};
use entente_node::{AcceptMetrics, Metrics, MetricsError, Readiness, Tasks};
use entente_proto::wire::{self, service};
use entente_proto::{
    DirectoryClient, IdentityClient, InspectClient, IntakeClient, OwnersClient, RouterClient,
};
use entente_router as router;
use tonic::transport::Endpoint;

pub use owners::{OwnerMap, OwnersError};
pub use settings::{MeshConfig, NodeConfig, Place, PlaceError};
pub use shards::{Shards, ShardsError};

use far_log::FarLog;
use nodes::{Handles, Nodes, Owned};
pub(crate) use wake::WakeIntake;

use crate::backends;
use crate::config::Config;

/// The authority of all requests: who is called is decided by the connection.
const AUTHORITY: &str = "http://mesh.invalid";

/// Who may call a router.
const CALLS_ROUTER: &[Role] = &[Role::Connection];
const CALLS_DIRECTORY: &[Role] = &[Role::Identity, Role::Push];
const CALLS_INTAKE: &[Role] = &[Role::Router];
/// For the person at its admin port. Not those that face strangers: it tells of every account.
const CALLS_INSPECT: &[Role] = &[Role::Router];
const CALLS_OWNERS: &[Role] = &Role::ALL;
/// Who may call the identity service.
const CALLS_IDENTITY: &[Role] = &[Role::Connection];

/// Why a process does not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The certificates are not usable.
    #[error("mesh: {0}")]
    Credentials(#[from] CredentialsError),
    /// The address for other nodes cannot be bound.
    #[error("mesh.listen: {0}")]
    Listen(io::Error),
    /// A metric is registered twice.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A name is not one that a certificate can have.
    #[error("mesh.nodes: {0}")]
    Name(#[from] NameError),
    /// The shards are not each owned once.
    #[error("mesh.nodes: {0}")]
    Owners(#[from] OwnersError),
}

/// What the cluster side of a process stands on.
#[derive(Debug)]
pub(crate) struct Deps<'a> {
    pub(crate) config: &'a Config,
    pub(crate) mesh: &'a MeshConfig,
    pub(crate) place: &'a Place,
    pub(crate) placement: Placement,
    pub(crate) seal: SealKey,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: &'a Metrics,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Cluster {
    mesh: Mesh,
    place: Place,
    owners: Arc<OwnerMap>,
    are_shared: bool,
    nodes: Arc<Nodes>,
    endpoint: Endpoint,
    seal: SealKey,
    tasks: Tasks,
}

/// Says which node has a shard. Clones share what was learned.
#[derive(Clone, Debug)]
pub(crate) struct Whereabouts(Arc<Nodes>);

impl Whereabouts {
    /// The node that has a shard, as the routers say now.
    pub(crate) async fn owner_of(&self, shard: ShardId) -> Option<Box<str>> {
        self.0.owner_of(shard).await
    }

    /// The node that had a shard when somebody asked last.
    pub(crate) fn guess(&self, shard: ShardId) -> Option<Box<str>> {
        self.0.guess(shard)
    }
}

/// What this process answers other nodes with.
#[derive(Debug, Default)]
pub(crate) struct Answering {
    pub(crate) router: Option<Arc<router::Service>>,
    pub(crate) identity: Option<IdentityClient>,
    pub(crate) wake: Option<Arc<dyn Log>>,
}

/// The mesh of a place, as it is before anything else runs.
///
/// # Errors
/// [`JoinError`] for bad certificates and names.
pub(crate) fn mesh(
    config: &Config,
    settings: &MeshConfig,
    place: &Place,
    metrics: &Metrics,
) -> Result<Mesh, JoinError> {
    let name = |role: &Role| NodeName::new(&config.domain, *role, &place.node);
    let own = place.roles.iter().map(name).collect::<Result<_, _>>()?;
    let files = CredentialFiles {
        authority: settings.authority.clone(),
        certificate: settings.certificate.clone(),
        key: settings.key.clone(),
        poll: settings.poll.get(),
    };
    let credentials = Arc::new(Credentials::load(files, own)?);
    let members = settings.nodes.iter().map(|node| Node {
        role: node.role,
        name: node.name.as_deref().map(Into::into),
        address: node.address.clone(),
    });
    let members = Arc::new(Dns::new(members.collect()));
    Ok(Mesh::new(credentials, members, Events::new(metrics)?))
}

/// How channels are set up.
pub(crate) fn endpoint() -> Endpoint {
    wire::endpoint(Endpoint::from_static(AUTHORITY))
}

impl Cluster {
    /// Reads the certificates and prepares the ways to the other nodes. Nothing is served yet.
    ///
    /// # Errors
    /// [`JoinError`].
    pub(crate) fn join(deps: Deps<'_>) -> Result<Self, JoinError> {
        let settings = deps.mesh;
        let storage = &deps.config.storage;
        let are_shared = backends::are_shared(storage);
        let owners = Arc::new(OwnerMap::new(settings, storage.shards, are_shared)?);
        let mesh = mesh(deps.config, settings, deps.place, deps.metrics)?;
        mesh.follow(&deps.tasks);
        let endpoint = endpoint();
        let far = owners.nodes().map(|node| {
            let target = Target {
                role: Role::Router,
                node: Some(node.into()),
            };
            let channel = mesh.channel(target, &endpoint);
            let (seal, tasks) = (deps.seal.clone(), deps.tasks.clone());
            let handles = Handles {
                router: RouterClient::remote(channel.clone(), seal, tasks),
                directory: DirectoryClient::remote(channel.clone()),
                inspect: InspectClient::remote(channel.clone()),
                intake: IntakeClient::remote(channel.clone()),
                owners: OwnersClient::remote(channel),
            };
            (Box::from(node), handles)
        });
        let far = far.collect();
        let nodes = Arc::new(Nodes::new(Arc::clone(&owners), deps.placement, far));
        Ok(Self {
            mesh,
            place: deps.place.clone(),
            owners,
            are_shared,
            nodes,
            endpoint,
            seal: deps.seal,
            tasks: deps.tasks,
        })
    }

    /// The name of this node, if what is to be owned is shared out among those who can own it.
    pub(crate) fn shares(&self) -> Option<&str> {
        self.are_shared.then_some(&*self.place.node)
    }

    /// The shards that the list gives to this process.
    pub(crate) fn owned(&self) -> BTreeSet<ShardId> {
        if self.place.roles.contains(&Role::Router) {
            self.owners.owned_by(&self.place.node)
        } else {
            BTreeSet::new()
        }
    }

    /// The input log as owners here see it: their own partitions, and the way to all others. One that
    /// all nodes have is its own way.
    pub(crate) fn input(&self, near: Arc<dyn Log>) -> Arc<dyn Log> {
        if self.are_shared {
            return near;
        }
        let intake = self.intake();
        let owned = self.owned().iter().map(|shard| shard.index()).collect();
        Arc::new(FarLog::beside(near, owned, &intake, &self.tasks))
    }

    /// The wake-up log of a process that does not keep it.
    pub(crate) fn wake(&self, partitions: u32) -> Arc<dyn Log> {
        let target = Target {
            role: Role::Push,
            node: None,
        };
        let channel = self.mesh.channel(target, &self.endpoint);
        Arc::new(FarLog::wake(
            partitions,
            &IntakeClient::remote(channel),
            &self.tasks,
        ))
    }

    /// The owners of shards of other nodes.
    pub(crate) fn intake(&self) -> IntakeClient {
        IntakeClient::local(Arc::<Nodes>::clone(&self.nodes))
    }

    /// The owners of all shards, as a person on call asks them.
    pub(crate) fn inspect(&self) -> InspectClient {
        InspectClient::local(Arc::<Nodes>::clone(&self.nodes))
    }

    /// Who owns what.
    pub(crate) fn whereabouts(&self) -> Whereabouts {
        Whereabouts(Arc::clone(&self.nodes))
    }

    /// The routers, as connections call them.
    pub(crate) fn router(&self) -> RouterClient {
        RouterClient::local(Arc::<Nodes>::clone(&self.nodes))
    }

    /// The directory over all routers.
    pub(crate) fn directory(&self) -> DirectoryClient {
        DirectoryClient::local(Arc::<Nodes>::clone(&self.nodes))
    }

    /// The identity service of whichever node has it.
    pub(crate) fn identity(&self) -> IdentityClient {
        let target = Target {
            role: Role::Identity,
            node: None,
        };
        let channel = self.mesh.channel(target, &self.endpoint);
        IdentityClient::remote(channel, &self.tasks)
    }

    /// Answers other nodes with what this process has, and watches those that it needs.
    ///
    /// # Errors
    /// [`JoinError::Listen`].
    pub(crate) async fn open(
        &self,
        answering: Answering,
        readiness: &Readiness,
        accepts: AcceptMetrics,
    ) -> Result<(), JoinError> {
        let owned = Owned(answering.router.clone());
        let owners = OwnersClient::local(Arc::new(owned));
        let mut served = wire::Served::new(self.tasks.clone()).owners(owners);
        let mut access = Access::new().allow(service::OWNERS, CALLS_OWNERS);
        if let Some(router) = answering.router {
            let local = Handles::local(&router);
            served = served
                .router(local.router.clone(), self.seal.clone())
                .directory(local.directory.clone())
                .inspect(local.inspect.clone());
            access = access
                .allow(service::ROUTER, CALLS_ROUTER)
                .allow(service::INSPECT, CALLS_INSPECT)
                .allow(service::DIRECTORY, CALLS_DIRECTORY);
            self.nodes.at_home(&self.place.node, local);
        }
        if let Some(identity) = answering.identity {
            served = served.identity(identity);
            access = access.allow(service::IDENTITY, CALLS_IDENTITY);
        }
        if let Some(intake) = WakeIntake::of(answering.wake, self.nodes.home()) {
            served = served.intake(intake);
            access = access.allow(service::INTAKE, CALLS_INTAKE);
        }
        let listener = Mesh::bind(self.place.listen).await;
        let listener = listener.map_err(JoinError::Listen)?;
        let served = Served {
            routes: served.routes(),
            access,
            server: wire::server(),
            readiness: readiness.clone(),
            accepts,
        };
        self.mesh.serve(listener, served, &self.tasks);
        self.watch(readiness);
        Ok(())
    }

    /// A process that would have nobody to ask is not ready. Routers are: they own their shards
    /// whoever else is away.
    fn watch(&self, readiness: &Readiness) {
        let roles = &self.place.roles;
        let mut needed = BTreeSet::new();
        for role in roles {
            needed.extend(match role {
                Role::Connection => &[Role::Identity, Role::Router][..],
                Role::Identity | Role::Push => &[Role::Router],
                Role::Router => &[Role::Push, Role::Router],
            });
        }
        needed.retain(|role| *role == Role::Router || !roles.contains(role));
        let owns = roles.contains(&Role::Router);
        let reached = (!owns).then(|| readiness.condition("peers"));
        let lost = readiness.note("a node that is needed does not answer");
        let needed = needed.into_iter().collect();
        let endpoint = self.endpoint.clone();
        self.mesh
            .watch(needed, endpoint, (reached, lost), &self.tasks);
    }
}
