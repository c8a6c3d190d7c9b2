//! The way out: from a role or a node to a stream whose other end is known.
//!
//! In: whom to reach. Out: a connection to the first of the nodes in question that answers as it
//! should. Each attempt begins with another one, so that callers spread over the nodes of a role.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rand::Rng;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower::Service;

use crate::credentials::Credentials;
use crate::events::Events;
use crate::listen::MeshStream;
use crate::membership::{Address, Membership, Node};
use crate::mesh::Target;
use crate::name::NodeName;
use crate::verify::{Wanted, precise};

/// How long a connection to one address may take, handshake included.
const DIAL: Duration = Duration::from_secs(5);

/// Why nobody was reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// It took too long.
    #[error("{0} does not answer in time")]
    Late(Address),
    /// Nobody is known to be there.
    #[error("no node is known for {0}")]
    Nobody(Target),
    /// The last one that was tried refused, or was refused.
    #[error("{address}: {error}")]
    Refused {
        /// Where.
        address: Address,
        /// What was wrong: the certificate, the connection.
        error: std::io::Error,
    },
}

/// Connects to a target, as tonic asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    pub(crate) target: Target,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) membership: Arc<dyn Membership>,
    pub(crate) events: Events,
}

impl Dialer {
    async fn dial(self) -> Result<MeshStream, DialError> {
        let mut nodes = self.membership.nodes(self.target.role).await;
        if let Some(wanted) = &self.target.node {
            nodes.retain(|node| node.name.as_ref() == Some(wanted));
        }
        if !nodes.is_empty() {
            let first = rand::rng().random_range(0..nodes.len());
            nodes.rotate_left(first);
        }
        let mut last = DialError::Nobody(self.target.clone());
        for node in nodes {
            match self.reach(&node).await {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    self.events.dial_failed(self.target.role, &error);
                    last = error;
                }
            }
        }
        Err(last)
    }

    async fn reach(&self, node: &Node) -> Result<MeshStream, DialError> {
        let address = node.address.clone();
        match timeout(DIAL, self.connect(node)).await {
            Ok(connected) => connected.map_err(|error| DialError::Refused {
                address,
                error: precise(error),
            }),
            Err(_) => Err(DialError::Late(address)),
        }
    }

    async fn connect(&self, node: &Node) -> std::io::Result<MeshStream> {
        let addresses = node.address.resolve().await?;
        let socket = TcpStream::connect(addresses.as_slice()).await?;
        socket.set_nodelay(true)?;
        let deployment = self.credentials.own().first();
        let deployment = deployment.map_or("", NodeName::deployment);
        let wanted = Wanted {
            deployment: deployment.into(),
            role: node.role,
            node: node.name.clone(),
        };
        let config = self.credentials.client(wanted);
        let connector = TlsConnector::from(Arc::new(config.map_err(std::io::Error::other)?));
        // Said to nobody (no SNI) and compared with nothing: the certificate's URI is what counts.
        let name = ServerName::try_from("mesh.invalid").map_err(std::io::Error::other)?;
        let stream = connector.connect(name, socket).await?;
        MeshStream::new(stream.into(), deployment, None)
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<MeshStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { dialer.dial().await.map(TokioIo::new) })
    }
}
