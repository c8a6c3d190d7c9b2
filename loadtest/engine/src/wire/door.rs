//! Where connections go, and how they begin.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use entente_core::random_array;
use entente_kit::trust::{Trust, TrustError};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls_pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::scenario::{Target, Transport, Trusted};

use super::error::LineError;
use super::io::Io;
use super::websocket::WebSocket;
use super::{Line, READ_BYTES, Room};

/// TLS sessions that are kept for resumption.
const KEPT_SESSIONS: usize = 1_024;
/// Longest answer to a WebSocket's handshake.
const MAX_ANSWER: usize = 16 * 1024;

/// A door that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The authority's file cannot be read.
    #[error("target.tls.authority: {0}")]
    Authority(std::io::Error),
    /// Where to connect is not known.
    #[error("target.address is missing")]
    Address,
    /// The domain is no DNS name.
    #[error("target.domain: {0:?} is no DNS name")]
    Domain(String),
    /// The authority is none.
    #[error("target.tls: {0}")]
    Trust(#[from] TrustError),
}

/// Where connections go. Cheap to clone; one a thread, because its lines share memory.
#[derive(Clone)]
pub struct Door {
    address: SocketAddr,
    domain: Arc<str>,
    path: Arc<str>,
    transport: Transport,
    name: ServerName<'static>,
    tls: TlsConnector,
    sources: u8,
    room: Room,
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// The TLS side of a target; all threads share it, and with it resumed sessions.
///
/// # Errors
/// If the authority cannot be read.
pub fn tls(target: &Target) -> Result<Arc<ClientConfig>, DoorError> {
    let trust = match (target.tls.trust, &target.tls.authority) {
        (Trusted::File, Some(file)) => {
            let pem = std::fs::read_to_string(file).map_err(DoorError::Authority)?;
            Trust::Roots(pem.into())
        }
        _ => Trust::Anyone,
    };
    // RFC 7301; a WebSocket's is HTTP.
    let protocol = match target.transport {
        Transport::Websocket => "http/1.1",
        Transport::Plain | Transport::Starttls | Transport::Tls => "xmpp-client",
    };
    let mut tls = Arc::unwrap_or_clone(trust.client_config(&[protocol])?);
    tls.resumption = if target.tls.resume {
        Resumption::in_memory_sessions(KEPT_SESSIONS)
    } else {
        Resumption::disabled()
    };
    Ok(Arc::new(tls))
}

impl Door {
    /// The door of a target.
    ///
    /// # Errors
    /// If address or domain are no good.
    pub fn new(target: &Target, tls: Arc<ClientConfig>, sources: u8) -> Result<Self, DoorError> {
        let domain = target.domain.clone();
        let name = ServerName::try_from(domain.clone()).map_err(|_| DoorError::Domain(domain))?;
        Ok(Self {
            address: target.address.ok_or(DoorError::Address)?,
            domain: target.domain.as_str().into(),
            path: target.path.as_str().into(),
            transport: target.transport,
            name,
            tls: TlsConnector::from(tls),
            sources,
            room: Rc::new(RefCell::new(vec![0; READ_BYTES].into())),
        })
    }

    /// The domain behind it.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects, with TLS or the WebSocket's handshake if there is one. The number spreads
    /// connections over source addresses.
    ///
    /// # Errors
    /// Of the socket, of TLS, or what the server refuses. Dropping the future closes the socket.
    pub async fn connect(&self, number: usize) -> Result<Line, LineError> {
        let socket = self.dial(number).await.map_err(LineError::Connect)?;
        let line = |io| Line::new(io, Rc::clone(&self.room));
        match self.transport {
            Transport::Plain => Ok(line(Io::Plain(socket))),
            Transport::Tls => Ok(line(self.secure(socket).await?)),
            Transport::Starttls => {
                let mut line = line(Io::Plain(socket));
                self.start_tls(&mut line).await?;
                Ok(line)
            }
            Transport::Websocket => {
                let mut line = line(self.secure(socket).await?);
                self.upgrade(&mut line).await?;
                Ok(line)
            }
        }
    }

    async fn dial(&self, number: usize) -> std::io::Result<TcpStream> {
        if !self.address.is_ipv4() {
            let socket = TcpSocket::new_v6()?;
            socket.set_nodelay(true)?;
            return socket.connect(self.address).await;
        }
        let socket = TcpSocket::new_v4()?;
        if self.address.ip().is_loopback() {
            let sources = usize::from(self.sources);
            let last = u8::try_from(number % sources + 1).unwrap_or(1);
            socket.bind(SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), 0).into())?;
        }
        // Stanzas are small and somebody waits for each.
        socket.set_nodelay(true)?;
        socket.connect(self.address).await
    }

    async fn secure(&self, socket: TcpStream) -> Result<Io, LineError> {
        let tls = self.tls.connect(self.name.clone(), socket).await;
        Ok(Io::Tls(Box::new(tls.map_err(LineError::Tls)?)))
    }

    /// RFC 6120 5.4.
    async fn start_tls(&self, line: &mut Line) -> Result<(), LineError> {
        self.open(line).await?;
        line.queue(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        if !line.element().await?.starts_with(b"<proceed") {
            return Err(LineError::Unmet("STARTTLS"));
        }
        match std::mem::replace(&mut line.io, Io::Gone) {
            Io::Plain(socket) => {
                // What came before TLS was said in the clear by anybody (RFC 6120 5.4.3.3).
                *line = Line::new(self.secure(socket).await?, Rc::clone(&self.room));
                Ok(())
            }
            Io::Gone | Io::Tls(_) => Err(LineError::Unmet("STARTTLS")),
        }
    }

    /// RFC 7395 3.1.
    async fn upgrade(&self, line: &mut Line) -> Result<(), LineError> {
        let key = STANDARD.encode(random_array::<16>());
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n",
            self.path, self.domain
        );
        line.queue(request.as_bytes());
        line.flush().await?;
        let mut answer = BytesMut::new();
        let end = loop {
            if let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n") {
                break end;
            }
            let read = std::future::poll_fn(|cx| {
                let mut room = line.room.borrow_mut();
                let read = line.io.poll_read(&mut room, cx);
                read.map_ok(|count| room.get(..count).unwrap_or_default().to_vec())
            });
            let read = read.await.map_err(LineError::Io)?;
            if read.is_empty() {
                return Err(LineError::Closed);
            }
            answer.extend_from_slice(&read);
            if answer.len() > MAX_ANSWER {
                return Err(LineError::WebSocket("a long answer to the handshake"));
            }
        };
        let rest = answer.split_off(end + 4);
        check(&answer, &key)?;
        line.websocket = Some(WebSocket::new(rest));
        Ok(())
    }

    /// Opens a stream and waits for its features, which it returns.
    ///
    /// # Errors
    /// Of the line, or if something else came.
    pub async fn open(&self, line: &mut Line) -> Result<bytes::Bytes, LineError> {
        let domain = &self.domain;
        let header = if line.is_websocket() {
            format!(
                "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='{domain}' version='1.0'/>"
            )
        } else {
            format!(
                "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' \
                 xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
            )
        };
        line.queue(header.as_bytes());
        let features = line.element().await?;
        if features.starts_with(b"<stream:features") || features.starts_with(b"<features") {
            return Ok(features);
        }
        Err(LineError::Unmet("stream features"))
    }
}

/// RFC 6455 4.1.
fn check(answer: &[u8], key: &str) -> Result<(), LineError> {
    let text = std::str::from_utf8(answer).unwrap_or_default();
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    if status != Some("101") {
        let status = status.unwrap_or("no status");
        return Err(LineError::Refused {
            step: "the WebSocket handshake",
            condition: status.chars().take(16).collect(),
        });
    }
    let accept = digest(
        &SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
    );
    let wanted = STANDARD.encode(accept.as_ref());
    let given = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-accept"));
    if given.map(|(_, value)| value.trim()) != Some(&wanted) {
        return Err(LineError::WebSocket("the answer is to another handshake"));
    }
    Ok(())
}
