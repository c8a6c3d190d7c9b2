//! Builds the service: listeners, their loops, and what every connection shares; and the way of one
//! connection through the stages.
//!
//! **Invariants**
//! - A connection holds a permit from accept to its end; there are so many permits, no more.
//! - The handshake has one deadline, PROXY header and TLS together.
//! - What does not begin as TLS is closed without a byte (T38).
//! - Until it is logged in, a connection counts as a stranger of its address (T80, T155).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use entente_core::{Placement, Timestamp};
use entente_node::{
    AcceptLoop, AcceptMetrics, Callers, Drain, Metrics, Note, Stranger, Tasks, accept_loop,
};
use entente_proto::{EdgeId, IdentityClient, RouterClient};
use entente_stanza::Jid;
use entente_trace::Tracer;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError};
use crate::error::BuildError;
use crate::events::{Door, Handshake, HandshakeOutcome, Meters};
use crate::links::Links;
use crate::negotiate::{Host, negotiate};
use crate::pace::Pace;
use crate::rebind::Rebinds;
use crate::revoke::Revocations;
use crate::secure::{ALPN_HTTP, ALPN_XMPP, Certificates, SecureError};
use crate::session::Rules;
use crate::stream::Stream;
use crate::wire::{Direct, Wire};
use crate::{drain, drive, limits_of, websocket};

/// First byte of a TLS handshake record (RFC 8446 5.1).
const TLS_HANDSHAKE: u8 = 22;
/// Bytes of a PROXY header before its addresses.
const PROXY_HEAD: usize = 16;
/// Longest PROXY header that is read: addresses and the usual vendor fields.
const PROXY_MAX: usize = 1024;

/// What the service stands on.
#[derive(Clone, Debug)]
pub struct Deps {
    /// The owners of the shards.
    pub router: RouterClient,
    /// Who judges logins and keeps keys.
    pub identity: IdentityClient,
    /// Which shard an account is in.
    pub placement: Placement,
    /// Where tasks run.
    pub tasks: Tasks,
    /// How far the end of the process has come.
    pub drain: Drain,
    /// Where metrics go.
    pub metrics: Metrics,
    /// Where spans of sampled messages go.
    pub tracer: Tracer,
    /// Counts what becomes of accepted connections.
    pub accepted: AcceptMetrics,
    /// Bounds those who are not logged in.
    pub callers: Callers,
    /// What the probe says while the served certificate is over.
    pub expired: Note,
}

/// The running service.
#[derive(Debug)]
pub struct Built {
    /// Addresses of the direct TLS listeners, with their real ports.
    pub addresses: Vec<SocketAddr>,
    /// Addresses of the WebSocket listeners.
    pub websocket_addresses: Vec<SocketAddr>,
    certificates: Arc<Certificates>,
    links: Arc<Links>,
    drain: Drain,
    accepting: CancellationToken,
}

impl Built {
    /// What owners of shards call the connections of this process.
    pub fn edge(&self) -> EdgeId {
        self.links.edge()
    }

    /// A TLS acceptor for HTTP/1.1 with the certificate of this service, followed like it.
    ///
    /// # Errors
    /// [`SecureError`] if TLS cannot be set up.
    pub fn https_acceptor(&self) -> Result<TlsAcceptor, SecureError> {
        self.certificates.acceptor(ALPN_HTTP)
    }

    /// Stops accepting, tells clients to come back elsewhere, paced over the budget, and waits for
    /// them to go. Returns how many sessions were left.
    pub async fn drain(&self, budget: Duration) -> usize {
        self.accepting.cancel();
        drain::drain(&self.links, &self.drain, budget).await
    }
}

/// Checks the settings and the certificate, and starts nothing. Returns when the first certificate
/// of the chain ends.
///
/// # Errors
/// [`BuildError`] for a bad setting or certificate.
pub fn check(config: &Config) -> Result<Option<Timestamp>, BuildError> {
    config.check()?;
    Ok(Certificates::load(config.tls.clone())?.ends())
}

/// Binds the listeners and starts to accept.
///
/// # Errors
/// [`BuildError`] for a bad setting, certificate or address; nothing runs then.
pub async fn build(config: Config, deps: Deps) -> Result<Built, BuildError> {
    config.check()?;
    let meters = Meters::new(&deps.metrics)?;
    let certificates = Arc::new(Certificates::load(config.tls.clone())?);
    let direct = bind(&config.listen).await?;
    let websocket = bind(&config.websocket.listen).await?;
    let host = host(&config, &deps, meters.clone())?;
    let accepting = deps.tasks.cancelled().child_token();
    let permits = usize::try_from(config.limits.connections).unwrap_or(usize::MAX);
    let permits = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
    let built = Built {
        addresses: addresses(&direct, &config.listen)?,
        websocket_addresses: addresses(&websocket, &config.websocket.listen)?,
        certificates: Arc::clone(&certificates),
        links: Arc::clone(&host.links),
        drain: deps.drain.clone(),
        accepting: accepting.clone(),
    };
    follow(&deps, &host, &certificates);
    let doors = [
        (Door::Tls, ALPN_XMPP, "connection-tls", direct),
        (
            Door::WebSocket,
            ALPN_HTTP,
            "connection-websocket",
            websocket,
        ),
    ];
    for (door, alpn, name, listeners) in doors {
        for listener in listeners {
            let entrance = Arc::new(Entrance {
                host: Arc::clone(&host),
                acceptor: certificates.acceptor(alpn)?,
                callers: deps.callers.clone(),
                name,
                door,
                cancelled: deps.tasks.cancelled(),
            });
            let around = AcceptLoop::new(
                name,
                Arc::clone(&permits),
                deps.tasks.clone(),
                deps.accepted.clone(),
            );
            let handler = move |socket, peer: SocketAddr, permit| {
                let entrance = Arc::clone(&entrance);
                async move {
                    entrance.enter(socket, peer.ip()).await;
                    drop(permit);
                }
            };
            let accept = accept_loop(listener, around, accepting.clone(), handler);
            deps.tasks.spawn_vital("connection-accept", accept);
        }
    }
    Ok(built)
}

fn host(config: &Config, deps: &Deps, meters: Meters) -> Result<Arc<Host>, BuildError> {
    let domain = Jid::parse(&config.domain).map_err(|_| ConfigError::Domain)?;
    let edge = EdgeId(u64::from_be_bytes(entente_core::random_array()));
    let links = Links::new(
        edge,
        deps.router.clone(),
        deps.placement.clone(),
        deps.tasks.clone(),
        meters.clone(),
    );
    let limits = &config.limits;
    Ok(Arc::new(Host {
        rebinds: Rebinds::new(limits.bind_burst, limits.bind_interval.get()),
        rules: Arc::new(Rules {
            domain,
            config: config.clone(),
            tracer: deps.tracer.clone(),
            pace: Arc::new(Pace::new(&config.pacing, &deps.metrics)?),
        }),
        identity: deps.identity.clone(),
        links: Arc::new(links),
        revocations: Arc::default(),
        meters,
        drain: deps.drain.clone(),
    }))
}

/// Starts what runs beside the connections.
fn follow(deps: &Deps, host: &Arc<Host>, certificates: &Arc<Certificates>) {
    // Subscribed before the first login, so that none is missed.
    let revoked = deps.identity.revocations();
    let revocations: Arc<Revocations> = Arc::clone(&host.revocations);
    let follow = revocations.follow(
        revoked,
        deps.identity.clone(),
        Arc::clone(&host.links),
        host.meters.clone(),
    );
    let cancelled = deps.tasks.cancelled();
    deps.tasks.spawn("connection-revocations", async move {
        cancelled.run_until_cancelled(follow).await;
    });
    let follow = Arc::clone(certificates).follow(host.meters.clone(), deps.expired.clone());
    let cancelled = deps.tasks.cancelled();
    deps.tasks.spawn("connection-certificate", async move {
        cancelled.run_until_cancelled(follow).await;
    });
}

async fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, BuildError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let listener = TcpListener::bind(address).await;
        listeners.push(listener.map_err(|error| BuildError::Listen {
            address: *address,
            error,
        })?);
    }
    Ok(listeners)
}

fn addresses(
    listeners: &[TcpListener],
    wanted: &[SocketAddr],
) -> Result<Vec<SocketAddr>, BuildError> {
    let real = |(listener, wanted): (&TcpListener, &SocketAddr)| {
        listener.local_addr().map_err(|error| BuildError::Listen {
            address: *wanted,
            error,
        })
    };
    listeners.iter().zip(wanted).map(real).collect()
}

/// One listener's side of a connection.
struct Entrance {
    host: Arc<Host>,
    acceptor: TlsAcceptor,
    callers: Callers,
    name: &'static str,
    door: Door,
    cancelled: CancellationToken,
}

impl Entrance {
    async fn enter(&self, socket: TcpStream, peer: IpAddr) {
        let Ok(mut stranger) = self.callers.arrive(self.name) else {
            return;
        };
        let proxied = self.host.rules.config.proxy_protocol;
        if !proxied && stranger.comes_from(peer).is_err() {
            return;
        }
        let _open = self.host.meters.open(self.door);
        let served = Box::pin(self.stages(socket, stranger));
        // Cancelled only when the drain is over: what is left is cut.
        let _done = self.cancelled.run_until_cancelled(served).await;
    }

    async fn stages(&self, socket: TcpStream, mut stranger: Stranger) {
        // In a box: what the handshake takes is free again when the session begins.
        if let Some(wire) = Box::pin(self.wire(socket, &mut stranger)).await {
            serve(wire, &self.host, Some(stranger)).await;
        }
    }

    async fn wire(&self, socket: TcpStream, stranger: &mut Stranger) -> Option<Box<dyn Wire>> {
        let deadline = Instant::now() + self.host.rules.config.deadlines.handshake.get();
        let handshake = timeout_at(deadline, Box::pin(self.handshake(socket, stranger))).await;
        let outcome = match &handshake {
            Ok(Ok(_)) => HandshakeOutcome::Done,
            Ok(Err(outcome)) => *outcome,
            Err(_) => HandshakeOutcome::Late,
        };
        Handshake(outcome).emit(&self.host.meters);
        let Ok(Ok(tls)) = handshake else {
            return None;
        };
        match self.door {
            Door::Tls => Some(Box::new(Direct::new(tls))),
            Door::WebSocket => Box::pin(websocket::upgrade(tls, &self.host.rules)).await,
        }
    }

    async fn handshake(
        &self,
        mut socket: TcpStream,
        stranger: &mut Stranger,
    ) -> Result<TlsStream<TcpStream>, HandshakeOutcome> {
        let failed = |_| HandshakeOutcome::Failed;
        // Small stanzas must not wait for the acknowledgement of the one before.
        socket.set_nodelay(true).map_err(failed)?;
        if self.host.rules.config.proxy_protocol {
            let told = read_proxy_header(&mut socket).await?;
            let counted = told.map_or(Ok(()), |address| stranger.comes_from(address));
            counted.map_err(|_| HandshakeOutcome::Refused)?;
        }
        let mut first = [0; 1];
        let seen = socket.peek(&mut first).await.map_err(failed)?;
        if seen == 0 || first != [TLS_HANDSHAKE] {
            return Err(HandshakeOutcome::Failed);
        }
        self.acceptor.accept(socket).await.map_err(failed)
    }
}

/// Takes a connection through login and session to its end. With the login it is no stranger any
/// more.
pub(crate) async fn serve(wire: Box<dyn Wire>, host: &Host, stranger: Option<Stranger>) {
    let limits = limits_of(host.rules.config.limits.stanza_before_auth);
    let mut stream = Stream::new(wire, limits, &host.rules.config.deadlines);
    let negotiated = Box::pin(negotiate(&mut stream, host)).await;
    drop(stranger);
    if let Some(negotiated) = negotiated {
        Box::pin(drive::run(&mut stream, host, negotiated)).await;
    }
}

/// Reads the PROXY header, version 2 only, and the client's address in it; there is none in the
/// checks of a load balancer itself. It is not kept: nothing here may store where a client is.
async fn read_proxy_header(socket: &mut TcpStream) -> Result<Option<IpAddr>, HandshakeOutcome> {
    let none = |_| HandshakeOutcome::NoProxyHeader;
    let mut header = [0; PROXY_MAX];
    let head = header
        .get_mut(..PROXY_HEAD)
        .ok_or(HandshakeOutcome::NoProxyHeader)?;
    socket.read_exact(head).await.map_err(none)?;
    // The length of the rest stands in the last two bytes of the head.
    let length = head.last_chunk().copied().map_or(0, u16::from_be_bytes);
    let whole = PROXY_HEAD + usize::from(length);
    let rest = header
        .get_mut(PROXY_HEAD..whole)
        .ok_or(HandshakeOutcome::NoProxyHeader)?;
    socket
        .read_exact(rest)
        .await
        .map_err(|_| HandshakeOutcome::NoProxyHeader)?;
    let config = proxy_header::ParseConfig {
        allow_v1: false,
        include_tlvs: false,
        ..proxy_header::ParseConfig::default()
    };
    let whole = header.get(..whole).unwrap_or_default();
    proxy_header::ProxyHeader::parse(whole, config)
        .map(|(header, _)| header.proxied_address().map(|told| told.source.ip()))
        .map_err(|_| HandshakeOutcome::NoProxyHeader)
}
