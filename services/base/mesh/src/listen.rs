//! The way in: sockets become streams whose other end is known.
//!
//! **Invariants**
//! - A handshake has a deadline and holds a permit, as the connection after it does.
//! - Who is at the other end is read from the certificate that the handshake checked.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use entente_node::{AcceptLoop, AcceptMetrics, Tasks, accept_loop};
use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::credentials::Credentials;
use crate::events::Events;
use crate::name::NodeName;
use crate::verify::{names, precise};

/// What the listener is called in metrics.
const NAME: &str = "mesh";
/// Connections at one time, with those whose handshake is under way: every other process of a large
/// deployment, several times over.
const CONNECTIONS: usize = 4_096;
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Connections that wait for the server to take them up.
const WAITING: usize = 64;

/// Who is at the other end of a connection, in all roles that its certificate names.
#[derive(Clone, Debug)]
pub struct Peer(Arc<[NodeName]>);

impl Peer {
    /// Its names.
    pub fn names(&self) -> &[NodeName] {
        &self.0
    }
}

/// A connection of the mesh, at either end.
#[derive(Debug)]
pub struct MeshStream {
    inner: TlsStream<TcpStream>,
    peer: Peer,
    _counted: Option<OwnedSemaphorePermit>,
}

impl MeshStream {
    pub(crate) fn new(
        inner: TlsStream<TcpStream>,
        deployment: &str,
        counted: Option<OwnedSemaphorePermit>,
    ) -> io::Result<Self> {
        let certificates = inner.get_ref().1.peer_certificates();
        let certificate = certificates.and_then(<[_]>::first);
        let certificate = certificate.ok_or_else(|| io::Error::other("no certificate"))?;
        let names = names(certificate, deployment).map_err(io::Error::other)?;
        Ok(Self {
            inner,
            peer: Peer(names.into()),
            _counted: counted,
        })
    }
}

impl Connected for MeshStream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for MeshStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for MeshStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Accepts on a listener until the tasks end; gives the streams whose handshake succeeded.
pub(crate) fn incoming(
    listener: TcpListener,
    credentials: Arc<Credentials>,
    events: Events,
    tasks: &Tasks,
    accepts: AcceptMetrics,
) -> impl Stream<Item = io::Result<MeshStream>> + Send + 'static {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let around = AcceptLoop::new(NAME, permits, tasks.clone(), accepts);
    let (ready, streams) = mpsc::channel(WAITING);
    let handler = move |socket: TcpStream, _, permit| {
        let (credentials, events, ready) =
            (Arc::clone(&credentials), events.clone(), ready.clone());
        async move {
            match timeout(HANDSHAKE, answer(socket, &credentials, permit)).await {
                Ok(Ok(stream)) => {
                    let _server_ended = ready.send(Ok(stream)).await;
                }
                Ok(Err(error)) => events.caller_refused(&precise(error)),
                Err(_) => events.caller_late(),
            }
        }
    };
    let accept = accept_loop(listener, around, tasks.cancelled(), handler);
    tasks.spawn_vital("mesh-accept", accept);
    ReceiverStream::new(streams)
}

async fn answer(
    socket: TcpStream,
    credentials: &Credentials,
    permit: OwnedSemaphorePermit,
) -> io::Result<MeshStream> {
    socket.set_nodelay(true)?;
    let acceptor = TlsAcceptor::from(credentials.server());
    let stream = acceptor.accept(socket).await?;
    let deployment = credentials.own().first().map_or("", NodeName::deployment);
    MeshStream::new(stream.into(), deployment, Some(permit))
}
