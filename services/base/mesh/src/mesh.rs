//! This node's place in the mesh: what it dials with, and what it answers on.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use entente_node::{AcceptMetrics, Readiness, Tasks};
use rand::Rng;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::access::{Access, Guarded};
use crate::credentials::Credentials;
use crate::dial::Dialer;
use crate::events::Events;
use crate::listen::incoming;
use crate::membership::Membership;
use crate::name::Role;

/// How old a connection becomes before its caller is told to make another one: certificates that
/// were changed are in use everywhere after this. Calls under way go on.
const CONNECTION_AGE: Duration = Duration::from_secs(3600);
/// By how much of it the age is longer at most, so that not all connections of a deployment that
/// was started at once are made anew at once.
const AGE_JITTER: f64 = 0.2;
/// How long callers have for closing their connections when this node ends.
const GOODBYE: Duration = Duration::from_secs(3);
/// How often the health that others see is brought up to date.
const HEALTH_EVERY: Duration = Duration::from_millis(500);

/// Whom to reach.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// What it does.
    pub role: Role,
    /// Which one; none if any will do.
    pub node: Option<Box<str>>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some(node) => write!(f, "{}/{node}", self.role),
            None => write!(f, "the role {}", self.role),
        }
    }
}

/// See the module. Clones share everything.
#[derive(Clone, Debug)]
pub struct Mesh {
    credentials: Arc<Credentials>,
    membership: Arc<dyn Membership>,
    events: Events,
}

/// What a node answers with.
#[derive(Debug)]
pub struct Served {
    /// Its services.
    pub routes: Routes,
    /// Who may call them.
    pub access: Access,
    /// The server with its windows and keepalive.
    pub server: Server,
    /// From which the health that others see is taken.
    pub readiness: Readiness,
    /// Counts what becomes of accepted connections.
    pub accepts: AcceptMetrics,
}

impl Mesh {
    /// A node with these certificates among these members.
    pub fn new(
        credentials: Arc<Credentials>,
        membership: Arc<dyn Membership>,
        events: Events,
    ) -> Self {
        Self {
            credentials,
            membership,
            events,
        }
    }

    /// The members.
    pub fn membership(&self) -> &Arc<dyn Membership> {
        &self.membership
    }

    /// The metrics of the mesh.
    pub const fn events(&self) -> &Events {
        &self.events
    }

    /// Whether a node is this one.
    pub(crate) fn is_own(&self, role: Role, node: &str) -> bool {
        let own = self.credentials.own().iter();
        own.into_iter()
            .any(|name| name.role() == role && name.node() == node)
    }

    /// Follows the certificate files until the tasks end.
    pub fn follow(&self, tasks: &Tasks) {
        for name in self.credentials.own() {
            self.events.has_role(name.role());
        }
        let follow = Arc::clone(&self.credentials).follow(self.events.clone());
        let cancelled = tasks.cancelled();
        tasks.spawn("mesh-certificates", async move {
            cancelled.run_until_cancelled(follow).await;
        });
    }

    /// A channel to a target, set up as `endpoint` says but for its address. It connects when it is
    /// first used, and anew whenever its connection is gone; a call meanwhile fails at once if
    /// nobody can be reached.
    pub fn channel(&self, target: Target, endpoint: &Endpoint) -> Channel {
        let dialer = Dialer {
            target,
            credentials: Arc::clone(&self.credentials),
            membership: Arc::clone(&self.membership),
            events: self.events.clone(),
        };
        endpoint.connect_with_connector_lazy(dialer)
    }

    /// Answers on a listener until the tasks end.
    pub fn serve(&self, listener: TcpListener, served: Served, tasks: &Tasks) {
        let Served {
            routes,
            access,
            server,
            readiness,
            accepts,
        } = served;
        let (reporter, health) = tonic_health::server::health_reporter();
        let routes = routes.add_service(health);
        let streams = incoming(
            listener,
            Arc::clone(&self.credentials),
            self.events.clone(),
            tasks,
            accepts,
        );
        let guarded = Guarded {
            access: Arc::new(access),
            events: self.events.clone(),
        };
        let jitter = rand::rng().random_range(0.0..AGE_JITTER);
        let mut server = server
            .max_connection_age(CONNECTION_AGE.mul_f64(1.0 + jitter))
            .layer(guarded);
        let cancelled = tasks.cancelled();
        let serve = server
            .add_routes(routes)
            .serve_with_incoming_shutdown(streams, cancelled.clone().cancelled_owned());
        let ending = cancelled.clone();
        let patience = async move {
            ending.cancelled().await;
            sleep(GOODBYE).await;
        };
        tasks.spawn_vital("mesh-server", async move {
            tokio::select! {
                served = serve => if let Err(error) = served {
                    tracing::error!(%error, "the mesh server ended");
                },
                () = patience => {}
            }
        });
        tasks.spawn("mesh-health", async move {
            cancelled
                .run_until_cancelled(report(readiness, reporter))
                .await;
        });
    }

    /// Binds where others are to reach this node.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: std::net::SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind(address).await
    }
}

/// Shows readiness as the health of the whole server (the service with the empty name).
async fn report(readiness: Readiness, reporter: HealthReporter) {
    let mut ticks = interval(HEALTH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let status = if readiness.is_ready() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        reporter.set_service_status("", status).await;
    }
}
