//! One XMPP connection with as little between the load and the socket as possible.
//!
//! In: bytes that are stanzas already. Out: whole elements, told apart by their first bytes. The
//! framer is the gateway's own, because it is quick; nothing here parses a tree.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use entente_stanza::{Frame, Framer, Limits};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Room that is made before each read: one TLS record.
const READ_BYTES: usize = 16 * 1024;
/// Connections from one source address: well under the ports that one has, also while they linger
/// in TIME_WAIT.
const PORTS_PER_SOURCE: usize = 5_000;
/// Source addresses, 127.0.0.1 to .64.
const SOURCES: usize = 64;

/// A request for an acknowledgement (XEP-0198).
pub const REQUEST: &[u8] = b"<r xmlns='urn:xmpp:sm:3'/>";

/// Where connections go.
#[derive(Clone)]
pub struct Door {
    address: SocketAddr,
    domain: Arc<str>,
    name: ServerName<'static>,
    tls: TlsConnector,
}

impl Door {
    /// The listener at an address that holds a certificate for the domain.
    ///
    /// # Errors
    /// If the domain is no DNS name.
    pub fn new(address: SocketAddr, domain: &str, tls: Arc<ClientConfig>) -> anyhow::Result<Self> {
        Ok(Self {
            address,
            domain: domain.into(),
            name: ServerName::try_from(domain.to_owned())?,
            tls: TlsConnector::from(tls),
        })
    }

    /// Connects; the number spreads connections over source addresses.
    ///
    /// # Errors
    /// Of the socket or of TLS.
    pub async fn connect(&self, number: usize) -> anyhow::Result<Line> {
        let socket = TcpSocket::new_v4()?;
        let source = u8::try_from((number / PORTS_PER_SOURCE) % SOURCES + 1)?;
        let source = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, source), 0);
        socket.bind(source.into())?;
        socket.set_nodelay(true)?;
        let stream = socket.connect(self.address).await.context("connect")?;
        let tls = self.tls.connect(self.name.clone(), stream).await;
        Ok(Line {
            tls: tls.context("TLS")?,
            framer: Framer::new(Limits::AFTER_AUTH),
            out: BytesMut::new(),
            handled: 0,
            domain: Arc::clone(&self.domain),
        })
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

/// What an element is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `<a/>` with its `h`.
    Acknowledged(u32),
    /// `<r/>`.
    Requested,
    /// A message.
    Message,
    /// Another stanza.
    Stanza,
    /// Anything else.
    Other,
}

/// One connection.
#[derive(Debug)]
pub struct Line {
    tls: TlsStream<TcpStream>,
    framer: Framer,
    out: BytesMut,
    handled: u32,
    domain: Arc<str>,
}

impl Line {
    /// Logs in with SASL PLAIN and binds.
    ///
    /// # Errors
    /// If the gateway refuses or goes away.
    pub async fn log_in(&mut self, localpart: &str, token: &str) -> anyhow::Result<()> {
        self.open().await?;
        let plain = STANDARD.encode(format!("\0{localpart}\0{token}"));
        self.queue(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>");
        self.queue(plain.as_bytes());
        self.queue(b"</auth>");
        self.expect(b"<success").await?;
        self.framer.restart();
        self.open().await?;
        self.queue(b"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>");
        let answer = self.expect(b"<iq").await?;
        if find(&answer, b"type='result'").is_none() {
            bail!("bind: {}", String::from_utf8_lossy(&answer));
        }
        Ok(())
    }

    /// Turns XEP-0198 on; both counters begin at zero.
    ///
    /// # Errors
    /// If the gateway refuses or goes away.
    pub async fn enable(&mut self) -> anyhow::Result<()> {
        self.queue(b"<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
        self.expect(b"<enabled").await?;
        self.handled = 0;
        Ok(())
    }

    /// Ends the stream and the connection.
    ///
    /// # Errors
    /// Of the socket.
    pub async fn close(mut self) -> anyhow::Result<()> {
        self.queue(b"</stream:stream>");
        self.flush().await?;
        self.tls.shutdown().await?;
        // The gateway closes its side when it is done.
        while self.fill().await.is_ok() {
            while let Ok(Some(_)) = self.next_element() {}
        }
        Ok(())
    }

    async fn open(&mut self) -> anyhow::Result<()> {
        let header = format!(
            "<stream:stream to='{}' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
            self.domain
        );
        self.queue(header.as_bytes());
        self.expect(b"<stream:features").await?;
        Ok(())
    }

    async fn expect(&mut self, start: &[u8]) -> anyhow::Result<Bytes> {
        self.flush().await?;
        loop {
            while let Some(element) = self.next_element()? {
                if element.starts_with(start) {
                    return Ok(element);
                }
                if !matches!(kind(&element), Kind::Message | Kind::Stanza) {
                    bail!("unexpected: {}", String::from_utf8_lossy(&element));
                }
            }
            self.fill().await?;
        }
    }

    /// Queues bytes to write.
    pub fn queue(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Queues an answer to a request.
    pub fn acknowledge(&mut self) {
        let answer = format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", self.handled);
        self.queue(answer.as_bytes());
    }

    /// Counts a stanza that was received, as XEP-0198 does.
    pub const fn handle(&mut self) {
        self.handled = self.handled.wrapping_add(1);
    }

    /// Writes what is queued, as one record if it fits.
    ///
    /// # Errors
    /// Of the socket.
    pub async fn flush(&mut self) -> anyhow::Result<()> {
        if !self.out.is_empty() {
            self.tls.write_all(&self.out).await?;
            self.tls.flush().await?;
            self.out.clear();
        }
        Ok(())
    }

    /// Waits for more bytes. Cancel-safe.
    ///
    /// # Errors
    /// Of the socket, and at its end.
    pub async fn fill(&mut self) -> anyhow::Result<()> {
        let buffer = self.framer.buffer();
        buffer.reserve(READ_BYTES);
        if self.tls.read_buf(buffer).await? == 0 {
            bail!("the gateway closed the connection");
        }
        Ok(())
    }

    /// The next element that is there.
    ///
    /// # Errors
    /// If the bytes are no stream, or the gateway ended it.
    pub fn next_element(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            match self.framer.next_frame() {
                Ok(Some(Frame::Stanza(element))) => {
                    if element.starts_with(b"<stream:error") {
                        bail!("{}", String::from_utf8_lossy(&element));
                    }
                    return Ok(Some(element));
                }
                Ok(Some(Frame::Decl | Frame::StreamOpen(_))) => {}
                Ok(Some(Frame::StreamClose)) => bail!("the gateway closed the stream"),
                Ok(None) => return Ok(None),
                Err(fault) => bail!("not a stream: {fault:?}"),
            }
        }
    }

    /// Gives back memory before a long wait.
    pub fn rest(&mut self) {
        self.framer.shrink();
        self.out = BytesMut::new();
    }

    /// Answers requests until the connection ends.
    ///
    /// # Errors
    /// At the end of the connection.
    pub async fn idle(&mut self) -> anyhow::Result<()> {
        loop {
            while let Some(element) = self.next_element()? {
                match kind(&element) {
                    Kind::Requested => self.acknowledge(),
                    Kind::Message | Kind::Stanza => self.handle(),
                    Kind::Acknowledged(_) | Kind::Other => {}
                }
            }
            self.flush().await?;
            self.rest();
            self.fill().await?;
        }
    }
}

/// Tells what an element is.
pub fn kind(element: &[u8]) -> Kind {
    let space = |at: usize| matches!(element.get(at), Some(b' ' | b'/' | b'>'));
    if element.starts_with(b"<message") && space(8) {
        return Kind::Message;
    }
    if element.starts_with(b"<r") && space(2) {
        return Kind::Requested;
    }
    if element.starts_with(b"<a") && space(2) {
        return value(element, b" h='")
            .and_then(number)
            .map_or(Kind::Other, Kind::Acknowledged);
    }
    if element.starts_with(b"<iq") || element.starts_with(b"<presence") {
        return Kind::Stanza;
    }
    Kind::Other
}

/// The value of an attribute, given as ` name='`, from the start tag.
pub fn value<'a>(element: &'a [u8], attribute: &[u8]) -> Option<&'a [u8]> {
    let tag = element.split(|byte| *byte == b'>').next()?;
    let from = find(tag, attribute)? + attribute.len();
    tag.get(from..)?.split(|byte| *byte == b'\'').next()
}

/// Reads a decimal number.
pub fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_told_apart_by_their_first_bytes() {
        for (element, wanted) in [
            ("<a xmlns='urn:xmpp:sm:3' h='17'/>", Kind::Acknowledged(17)),
            ("<a xmlns='urn:xmpp:sm:3'/>", Kind::Other),
            ("<r xmlns='urn:xmpp:sm:3'/>", Kind::Requested),
            ("<message id='1'><body>x</body></message>", Kind::Message),
            ("<presence/>", Kind::Stanza),
            ("<iq type='result'/>", Kind::Stanza),
            ("<enabled/>", Kind::Other),
        ] {
            assert_eq!(kind(element.as_bytes()), wanted, "{element}");
        }
    }

    #[test]
    fn attributes_are_read_from_the_start_tag_alone() {
        let element = b"<message from='a' id='41'><body id='2'> h='5'</body></message>";
        assert_eq!(value(element, b" id='").and_then(number), Some(41));
        assert_eq!(value(element, b" h='"), None);
    }
}
