//! The seams over gRPC: clients that look like the service itself, and servers over local handles.
//!
//! In: a channel, or a local handle. Out: [`RouterClient::remote`], [`DirectoryClient::remote`] and
//! [`IdentityClient::remote`] on one side, [`Served`] on the other. The messages are described in
//! `proto/proto/entente/v1`; what may change in them, in `proto/README.md`.
//!
//! Neither side authenticates the other here: both ends are given connections that are mutually
//! authenticated already, and whoever composes the server decides which peer may call what.
//!
//! **Invariants**
//! - A fault keeps its kind. Its text crosses only if this program knows the text.
//! - Envelopes cross sealed: the edge's side seals, the owner's side opens and checks.
//! - No message beyond [`MESSAGE_BYTES`] is written or read, and none is compressed.
//! - A stream that dies is told to both ends: the owner gets the empty batch, the edge gets the end
//!   of `to_edge`. Every wait has a bound.
//! - No `Debug` output in here holds a token, a proof or a resume key.

mod directory;
mod fault;
mod identity;
mod inspect;
mod items;
mod keys;
mod pump;
mod report;
mod revocations;
mod router;
mod seats;
mod shards;
mod words;

use std::time::Duration;

use entente_core::{Fault, SealKey};
use entente_node::Tasks;
use tonic::service::{Routes, RoutesBuilder};
use tonic::transport::{Channel, Endpoint, Server};

use crate::wire::fault::fault_of;
use crate::{
    DirectoryClient, IdentityClient, InspectClient, IntakeClient, OwnersClient, RouterClient,
};

#[expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    unnameable_types,
    unreachable_pub,
    unused_qualifications,
    reason = "generated from the .proto files"
)]
mod generated {
    tonic::include_proto!("entente.v1");
}

/// Full names of the gRPC services, for whoever decides which peer may call what.
pub mod service {
    /// Accounts, keys and block lists.
    pub const DIRECTORY: &str = "entente.v1.Directory";
    /// Logins, bundles, revocations.
    pub const IDENTITY: &str = "entente.v1.Identity";
    /// Questions of a person on call.
    pub const INSPECT: &str = "entente.v1.Inspect";
    /// Records and stanzas of other nodes.
    pub const INTAKE: &str = "entente.v1.Intake";
    /// Who owns which shard.
    pub const OWNERS: &str = "entente.v1.Owners";
    /// The stream between a connection node and an owner.
    pub const ROUTER: &str = "entente.v1.Router";
}

/// Longest message in bytes, written or read. A stanza is at most a quarter of it, a page of keys or
/// of a block list fits.
pub const MESSAGE_BYTES: usize = 1024 * 1024;
/// How long a unary call, or the opening of a stream, may take. Shorter than a client's patience
/// with a login (30 s), so that it still hears why.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// After how long without a frame a connection is probed, on both sides.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// How long the answer to a probe may take before the connection counts as dead.
const KEEPALIVE_PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that one stream may have in flight: a few full batches.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Bytes that one connection may have in flight.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Streams and calls that one connection may carry: an edge has one stream a shard.
const STREAMS_PER_CONNECTION: u32 = 4096;

/// Sets keepalive, windows and the time to connect on the client's side of a connection.
pub fn endpoint(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CALL_DEADLINE)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_PATIENCE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .tcp_nodelay(true)
}

/// A server with keepalive, windows and limits set, for the routes of [`Served`].
///
/// Set `TCP_NODELAY` on connections that are given to `serve_with_incoming`: the server does so only
/// on those that it accepts itself, and grants are small.
pub fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_PATIENCE))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .tcp_nodelay(true)
}

/// Builds the gRPC services over local handles.
#[derive(Debug)]
pub struct Served {
    tasks: Tasks,
    routes: RoutesBuilder,
}

impl Served {
    /// Nothing is served yet. Streams run as tasks, and end when the tasks are cancelled.
    pub fn new(tasks: Tasks) -> Self {
        Self {
            tasks,
            routes: RoutesBuilder::default(),
        }
    }

    /// Adds a router; envelopes that were not sealed with the key end their stream.
    #[must_use]
    pub fn router(mut self, router: RouterClient, seal: SealKey) -> Self {
        let service = router::Serving::new(router, seal, self.tasks.clone());
        self.routes.add_service(
            generated::router_server::RouterServer::new(service)
                .max_decoding_message_size(MESSAGE_BYTES)
                .max_encoding_message_size(MESSAGE_BYTES),
        );
        self
    }

    /// Adds a directory.
    #[must_use]
    pub fn directory(mut self, directory: DirectoryClient) -> Self {
        let service = directory::Serving::new(directory);
        self.routes.add_service(
            generated::directory_server::DirectoryServer::new(service)
                .max_decoding_message_size(MESSAGE_BYTES)
                .max_encoding_message_size(MESSAGE_BYTES),
        );
        self
    }

    /// Adds an identity service.
    #[must_use]
    pub fn identity(mut self, identity: IdentityClient) -> Self {
        let service = identity::Serving::new(identity, self.tasks.cancelled());
        self.routes.add_service(
            generated::identity_server::IdentityServer::new(service)
                .max_decoding_message_size(MESSAGE_BYTES)
                .max_encoding_message_size(MESSAGE_BYTES),
        );
        self
    }

    /// Adds whoever answers a person on call.
    #[must_use]
    pub fn inspect(mut self, inspect: InspectClient) -> Self {
        let service = inspect::Serving(inspect);
        self.routes
            .add_service(generated::inspect_server::InspectServer::new(service));
        self
    }

    /// Adds an intake.
    #[must_use]
    pub fn intake(mut self, intake: IntakeClient) -> Self {
        let service = shards::ServingIntake(intake);
        self.routes.add_service(
            generated::intake_server::IntakeServer::new(service)
                .max_decoding_message_size(MESSAGE_BYTES)
                .max_encoding_message_size(MESSAGE_BYTES),
        );
        self
    }

    /// Adds what this node knows of owners.
    #[must_use]
    pub fn owners(mut self, owners: OwnersClient) -> Self {
        let service = shards::ServingOwners(owners);
        self.routes
            .add_service(generated::owners_server::OwnersServer::new(service));
        self
    }

    /// What [`server`] takes with `add_routes`.
    pub fn routes(self) -> Routes {
        self.routes.routes()
    }
}

impl RouterClient {
    /// A handle on a router behind a channel. Each stream is a task; it ends when the tasks are
    /// cancelled. Envelopes are sealed with the key before they leave.
    pub fn remote(channel: Channel, seal: SealKey, tasks: Tasks) -> Self {
        Self::local(std::sync::Arc::new(router::Remote::new(
            channel, seal, tasks,
        )))
    }
}

impl DirectoryClient {
    /// A handle on a directory behind a channel.
    pub fn remote(channel: Channel) -> Self {
        Self::local(std::sync::Arc::new(directory::Remote::new(channel)))
    }
}

impl IdentityClient {
    /// A handle on an identity service behind a channel. Listens for revocations from now on, until
    /// the tasks are cancelled or the handle is gone; no login is granted while nobody listens.
    pub fn remote(channel: Channel, tasks: &Tasks) -> Self {
        Self::local(std::sync::Arc::new(identity::Remote::new(channel, tasks)))
    }
}

impl InspectClient {
    /// A handle on whoever answers a person on call behind a channel.
    pub fn remote(channel: Channel) -> Self {
        Self::local(std::sync::Arc::new(inspect::Remote::new(channel)))
    }
}

impl IntakeClient {
    /// A handle on an intake behind a channel.
    pub fn remote(channel: Channel) -> Self {
        Self::local(std::sync::Arc::new(shards::RemoteIntake::new(channel)))
    }
}

impl OwnersClient {
    /// A handle on what the node behind a channel knows of owners.
    pub fn remote(channel: Channel) -> Self {
        Self::local(std::sync::Arc::new(shards::RemoteOwners::new(channel)))
    }
}

/// A message that says nothing that its type can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// Makes a unary call with the deadline, which the server is told too.
async fn call<Q: prost::Message, A>(
    message: Q,
    send: impl AsyncFnOnce(tonic::Request<Q>) -> Result<tonic::Response<A>, tonic::Status>,
) -> Result<A, Fault> {
    // Found out on the way, it would look like a connection that broke.
    if message.encoded_len() > MESSAGE_BYTES {
        return Err(fault::TOO_LARGE);
    }
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_DEADLINE);
    match tokio::time::timeout(CALL_DEADLINE, send(request)).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(fault_of(&status)),
        Err(_) => Err(fault::LATE),
    }
}
