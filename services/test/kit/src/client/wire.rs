//! One connection: elements in and out, over a byte stream or a WebSocket.
//!
//! **Invariants**
//! - [`Wire::turn`] is cancel-safe: what was read stays in the buffer, what was not written too.
//! - Reading and writing go on at once, so two full sockets cannot wait for each other.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use entente_stanza::{
    Element, Framing, Inbound, Jid, Limits, Received, StreamHeader, closing, ns, splice,
};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};

use super::config::{ClientConfig, Transport};
use super::error::ClientError;

/// Room that is made before each read: one TLS record.
const READ_BYTES: usize = 16 * 1024;

/// What a stream runs over.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

type Socket = WebSocketStream<Box<dyn Io>>;

enum Kind {
    Stream {
        read: ReadHalf<Box<dyn Io>>,
        write: WriteHalf<Box<dyn Io>>,
        out: BytesMut,
    },
    WebSocket {
        read: SplitStream<Socket>,
        write: SplitSink<Socket, Message>,
        out: VecDeque<Bytes>,
    },
}

/// See the module.
pub(crate) struct Wire {
    kind: Kind,
    inbound: Inbound,
    unflushed: bool,
}

/// What one turn brought.
pub(crate) enum Turn {
    Received(Received),
    Wrote,
}

impl Wire {
    /// Connects as the configuration says.
    pub(crate) async fn connect(config: &ClientConfig) -> Result<Self, ClientError> {
        let socket = TcpStream::connect(&config.addresses[..]).await?;
        // Stanzas are small and somebody waits for each.
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(config.domain.clone()).map_err(|_| ClientError::Domain)?;
        let secured = TlsConnector::from(Arc::clone(&config.tls))
            .connect(name, socket)
            .await?;
        let io: Box<dyn Io> = Box::new(secured);
        match &config.transport {
            Transport::DirectTls => Ok(Self::over_stream(io)),
            Transport::WebSocket { path } => Self::over_websocket(io, &config.domain, path).await,
        }
    }

    /// A stream over any transport.
    pub(crate) fn over_stream(io: Box<dyn Io>) -> Self {
        let (read, write) = tokio::io::split(io);
        let kind = Kind::Stream {
            read,
            write,
            out: BytesMut::new(),
        };
        Self::new(kind, Framing::Stream)
    }

    /// Shakes hands for a WebSocket (RFC 7395 3.1).
    async fn over_websocket(
        io: Box<dyn Io>,
        domain: &str,
        path: &str,
    ) -> Result<Self, ClientError> {
        let mut request = format!("wss://{domain}{path}").into_client_request()?;
        let protocol = HeaderValue::from_static("xmpp");
        let headers = request.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        let (socket, _) = tokio_tungstenite::client_async(request, io).await?;
        let (write, read) = socket.split();
        let kind = Kind::WebSocket {
            read,
            write,
            out: VecDeque::new(),
        };
        Ok(Self::new(kind, Framing::WebSocket))
    }

    fn new(kind: Kind, framing: Framing) -> Self {
        Self {
            kind,
            inbound: Inbound::new(framing, Limits::AFTER_AUTH),
            unflushed: false,
        }
    }

    const fn framing(&self) -> Framing {
        match self.kind {
            Kind::Stream { .. } => Framing::Stream,
            Kind::WebSocket { .. } => Framing::WebSocket,
        }
    }

    /// Opens the stream, or opens it anew after SASL.
    pub(crate) fn open(&mut self, domain: &str, again: bool) -> Result<(), ClientError> {
        if again {
            self.inbound.restart();
        }
        let header = StreamHeader {
            to: Some(Jid::parse(domain).map_err(|_| ClientError::Domain)?),
            version: Some(StreamHeader::VERSION),
            ns: ns::CLIENT,
            ..StreamHeader::default()
        };
        let mut bytes = BytesMut::new();
        header.write_into(self.framing(), &mut bytes);
        self.append(&bytes.freeze());
        Ok(())
    }

    /// Ends the stream from this side.
    pub(crate) fn close(&mut self) {
        self.append(&Bytes::from_static(closing(self.framing())));
    }

    /// Queues an element.
    pub(crate) fn queue(&mut self, element: &Element) {
        self.queue_bytes(&element.to_bytes());
    }

    /// Queues the canonical bytes of an element.
    pub(crate) fn queue_bytes(&mut self, element: &Bytes) {
        match self.kind {
            Kind::Stream { .. } => self.append(element),
            Kind::WebSocket { .. } => {
                let spliced = splice::framed(element);
                let mut message = BytesMut::with_capacity(spliced.len());
                spliced.write_into(&mut message);
                self.append(&message.freeze());
            }
        }
    }

    fn append(&mut self, bytes: &Bytes) {
        self.unflushed = true;
        match &mut self.kind {
            Kind::Stream { out, .. } => out.extend_from_slice(bytes),
            Kind::WebSocket { out, .. } => out.push_back(bytes.clone()),
        }
    }

    /// Whether anything waits to be written.
    pub(crate) const fn is_unflushed(&self) -> bool {
        self.unflushed
    }

    /// Waits until something was read or written. With `read` off, it only writes.
    ///
    /// Cancel-safe.
    pub(crate) async fn turn(&mut self, read: bool) -> Result<Turn, ClientError> {
        match &mut self.kind {
            Kind::Stream {
                read: reader,
                write,
                out,
            } => loop {
                if read && let Some(received) = self.inbound.next_event()? {
                    return Ok(Turn::Received(received));
                }
                let buffer = self.inbound.buffer();
                buffer.reserve(READ_BYTES);
                tokio::select! {
                    count = reader.read_buf(buffer), if read => {
                        if count? == 0 {
                            return Err(ClientError::Closed);
                        }
                    }
                    wrote = write_some(write, out), if self.unflushed => {
                        self.unflushed = !wrote?;
                        return Ok(Turn::Wrote);
                    }
                }
            },
            Kind::WebSocket {
                read: reader,
                write,
                out,
            } => loop {
                tokio::select! {
                    message = reader.next(), if read => match message {
                        Some(Ok(Message::Text(text))) => {
                            let received = self.inbound.message(Bytes::from(text))?;
                            return Ok(Turn::Received(received));
                        }
                        Some(Ok(Message::Binary(_))) => return Err(ClientError::Closed),
                        Some(Ok(Message::Close(_))) | None => return Err(ClientError::Closed),
                        // Pings are answered by the library.
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Err(error.into()),
                    },
                    wrote = feed_some(write, out), if self.unflushed => {
                        self.unflushed = !wrote?;
                        return Ok(Turn::Wrote);
                    }
                }
            },
        }
    }
}

/// Writes a part of `out`, or flushes when it is empty; true when all is out. Cancel-safe.
async fn write_some(
    write: &mut WriteHalf<Box<dyn Io>>,
    out: &mut BytesMut,
) -> Result<bool, std::io::Error> {
    if out.is_empty() {
        write.flush().await?;
        return Ok(true);
    }
    let count = write.write(out).await?;
    out.advance(count);
    Ok(false)
}

/// Hands one message to the socket, or flushes when none is left; true when all is out. Cancel-safe:
/// `feed` takes the message in the same poll in which it ends.
async fn feed_some(
    write: &mut SplitSink<Socket, Message>,
    out: &mut VecDeque<Bytes>,
) -> Result<bool, WebSocketError> {
    let Some(next) = out.front() else {
        write.flush().await?;
        return Ok(true);
    };
    let text = String::from_utf8_lossy(next).into_owned();
    write.feed(Message::text(text)).await?;
    out.pop_front();
    Ok(false)
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}
