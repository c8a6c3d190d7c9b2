//! One connection after TLS: its negotiation, then turns of reading and writing.
//!
//! In: frames of the client, and messages from other sessions out of a bounded queue. Out: answers
//! and those messages, each written at once, or all of one turn together (`gather`).
//!
//! **Invariants**
//! - While a message waits for room in somebody's queue, our own queue is still emptied: two
//!   sessions that send to each other cannot wait for one another.
//! - An idle session holds no input and no output buffer.

use std::sync::Arc;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use entente_stanza::{Frame, Framer, Limits};
use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;

use crate::hub::Hub;
use crate::tag::{attribute, name, requote, with_attribute};

/// Room that is made before each read: the plain text of one TLS record.
const READ_BYTES: usize = 16 * 1024;
/// What is gathered is written when it is longer than this.
const GATHER_BYTES: usize = 64 * 1024;
/// Bytes of a user's name or of a resource (RFC 7622 3.1).
const PART_BYTES: usize = 1023;
const REQUEST: &[u8] = b"<r xmlns='urn:xmpp:sm:3'/>";
const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

/// How far the negotiation went (RFC 6120 9.1).
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Unknown,
    Authenticated,
    Bound,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    tls: TlsStream<TcpStream>,
    framer: Framer,
    hub: Arc<Hub>,
    queue: mpsc::Sender<Bytes>,
    inbox: mpsc::Receiver<Bytes>,
    out: BytesMut,
    stage: Stage,
    user: String,
    /// The address that was bound.
    address: String,
    /// Stanzas taken since `<enable/>` (XEP-0198 4), once it came.
    handled: Option<u32>,
}

impl Session {
    pub(crate) fn new(tls: TlsStream<TcpStream>, hub: Arc<Hub>) -> Self {
        let (queue, inbox) = mpsc::channel(hub.options.queue);
        Self {
            tls,
            framer: Framer::new(Limits::BEFORE_AUTH),
            hub,
            queue,
            inbox,
            out: BytesMut::new(),
            stage: Stage::Unknown,
            user: String::new(),
            address: String::new(),
            handled: None,
        }
    }

    /// Serves the connection until either side ends it.
    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let ended = self.turns().await;
        if self.stage == Stage::Bound {
            self.hub.leave(self.user.as_bytes(), &self.queue);
        }
        ended?;
        self.tls.shutdown().await?;
        Ok(())
    }

    async fn turns(&mut self) -> anyhow::Result<()> {
        // What came together with the end of the handshake is in TLS already, not in the socket.
        if self.read().await? {
            return self.finish().await;
        }
        self.flush().await?;
        loop {
            self.rest();
            tokio::select! {
                Some(message) = self.inbox.recv() => self.deliver(message).await?,
                ready = self.tls.get_ref().0.readable() => {
                    ready?;
                    if self.read().await? {
                        return self.finish().await;
                    }
                }
            }
            self.flush().await?;
        }
    }

    /// Reads until there is no more; says whether the client ended the stream.
    ///
    /// A record that was read together with the one before it is in TLS already, and the socket
    /// will never tell of it: so this must not stop before TLS has nothing.
    async fn read(&mut self) -> anyhow::Result<bool> {
        loop {
            let buffer = self.framer.buffer();
            buffer.reserve(READ_BYTES);
            let Some(read) = self.tls.read_buf(buffer).now_or_never() else {
                return Ok(false);
            };
            let read = read?;
            if read == 0 {
                return Ok(true);
            }
            while let Some(frame) = self.framer.next_frame()? {
                match frame {
                    Frame::Decl => {}
                    Frame::StreamClose => return Ok(true),
                    Frame::StreamOpen(_) => self.open().await?,
                    Frame::Stanza(element) => self.take(element).await?,
                }
            }
        }
    }

    /// Gives back what an idle session does not need.
    fn rest(&mut self) {
        self.framer.shrink();
        if self.out.is_empty() {
            self.out = BytesMut::new();
        }
    }

    async fn take(&mut self, element: Bytes) -> anyhow::Result<()> {
        match (name(&element), &self.stage) {
            (b"auth", Stage::Unknown) => self.authenticate(&element).await,
            (_, Stage::Unknown) => bail!("not authenticated"),
            (b"r", Stage::Bound) => {
                let h = self.handled.context("<r/> before <enable/>")?;
                let answer = format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>");
                self.send(answer.as_bytes()).await
            }
            (b"message", Stage::Bound) => {
                self.count();
                self.forward(element).await
            }
            (b"iq", _) => {
                self.count();
                self.answer(&element).await
            }
            (b"presence", Stage::Bound) => {
                self.count();
                Ok(())
            }
            (b"enable", Stage::Bound) => {
                self.handled = Some(0);
                self.send(b"<enabled xmlns='urn:xmpp:sm:3'/>").await
            }
            (b"a", Stage::Bound) => Ok(()),
            (other, stage) => bail!("{} while {stage:?}", String::from_utf8_lossy(other)),
        }
    }

    const fn count(&mut self) {
        if let Some(handled) = &mut self.handled {
            *handled = handled.wrapping_add(1);
        }
    }

    async fn open(&mut self) -> anyhow::Result<()> {
        let offers = match self.stage {
            Stage::Unknown => {
                format!("<mechanisms xmlns='{SASL}'><mechanism>PLAIN</mechanism></mechanisms>")
            }
            _ => "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/>"
                .to_owned(),
        };
        let header = format!(
            "<?xml version='1.0'?><stream:stream from='{}' id='{}' version='1.0' \
             xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>\
             <stream:features>{offers}</stream:features>",
            self.hub.options.domain,
            self.hub.number(),
        );
        self.send(header.as_bytes()).await
    }

    /// Lets anybody in whose name needs no escaping (RFC 4616).
    async fn authenticate(&mut self, element: &[u8]) -> anyhow::Result<()> {
        let plain = STANDARD.decode(text(element)).unwrap_or_default();
        let user = plain.split(|byte| *byte == 0).nth(1).unwrap_or_default();
        if attribute(element, b"mechanism") != Some(b"PLAIN") || !is_simple(user) {
            let refusal = format!("<failure xmlns='{SASL}'><not-authorized/></failure>");
            return self.send(refusal.as_bytes()).await;
        }
        self.user = String::from_utf8_lossy(user).into_owned();
        self.stage = Stage::Authenticated;
        self.framer.restart();
        self.framer.set_limits(Limits::AFTER_AUTH);
        self.send(format!("<success xmlns='{SASL}'/>").as_bytes())
            .await
    }

    /// Binds, or agrees to whatever was asked.
    async fn answer(&mut self, element: &[u8]) -> anyhow::Result<()> {
        if matches!(attribute(element, b"type"), Some(b"result" | b"error")) {
            return Ok(());
        }
        let id = requote(attribute(element, b"id").unwrap_or_default());
        if self.stage == Stage::Bound {
            let answer = format!("<iq type='result' id='{id}'/>");
            return self.send(answer.as_bytes()).await;
        }
        let asked = memchr::memmem::find(element, b"<resource>")
            .and_then(|at| element.get(at..))
            .map(text)
            .filter(|resource| is_simple(resource));
        let resource = match asked {
            Some(resource) => String::from_utf8_lossy(resource).into_owned(),
            None => self.hub.number().to_string(),
        };
        self.address = format!("{}@{}/{resource}", self.user, self.hub.options.domain);
        self.stage = Stage::Bound;
        self.hub.enter(self.user.as_bytes(), self.queue.clone());
        let answer = format!(
            "<iq type='result' id='{id}'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <jid>{}</jid></bind></iq>",
            self.address
        );
        self.send(answer.as_bytes()).await
    }

    /// Hands a message to the session of the user in its `to`.
    async fn forward(&mut self, element: Bytes) -> anyhow::Result<()> {
        let to = attribute(&element, b"to").unwrap_or_default();
        let Some(target) = self.hub.queue(to) else {
            return self.bounce(&element, to).await;
        };
        let message = match attribute(&element, b"from") {
            Some(_) => element,
            None => with_attribute(&element, "from", &self.address),
        };
        let mut message = match target.try_send(message) {
            Ok(()) => return Ok(()),
            Err(error) => error.into_inner(),
        };
        // The client must not wait for what was gathered while the recipient does not read.
        self.flush().await?;
        loop {
            tokio::select! {
                room = target.reserve() => match room {
                    Ok(permit) => {
                        permit.send(message);
                        return Ok(());
                    }
                    // The recipient left: a server would keep it, the relay has nowhere to.
                    Err(_) => return self.bounce(&message, b"").await,
                },
                Some(own) = self.inbox.recv() => self.deliver(own).await?,
            }
            self.flush().await?;
            message = match target.try_send(message) {
                Ok(()) => return Ok(()),
                Err(error) => error.into_inner(),
            };
        }
    }

    async fn bounce(&mut self, element: &[u8], to: &[u8]) -> anyhow::Result<()> {
        // RFC 6120 8.3.1: nothing answers an error.
        if attribute(element, b"type") == Some(b"error") {
            return Ok(());
        }
        let id = requote(attribute(element, b"id").unwrap_or_default());
        let error = format!(
            "<message type='error' id='{id}' from='{}' to='{}'><error type='cancel'>\
             <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
            requote(to),
            self.address
        );
        self.send(error.as_bytes()).await
    }

    /// Writes a message, and those that wait behind it.
    async fn deliver(&mut self, first: Bytes) -> anyhow::Result<()> {
        let ask = self.hub.options.ask && self.handled.is_some();
        let mut next = Some(first);
        while let Some(message) = next {
            self.send(&message).await?;
            if ask {
                self.send(REQUEST).await?;
            }
            next = self.inbox.try_recv().ok();
        }
        Ok(())
    }

    /// Writes, or queues for the end of the turn.
    async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if self.hub.options.gather {
            self.out.extend_from_slice(bytes);
            if self.out.len() > GATHER_BYTES {
                self.flush().await?;
            }
            return Ok(());
        }
        self.tls.write_all(bytes).await?;
        self.tls.flush().await?;
        Ok(())
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        if !self.out.is_empty() {
            self.tls.write_all(&self.out).await?;
            self.tls.flush().await?;
            self.out.clear();
        }
        Ok(())
    }

    async fn finish(&mut self) -> anyhow::Result<()> {
        if self.stage != Stage::Unknown {
            self.send(b"</stream:stream>").await?;
        }
        self.flush().await
    }
}

/// The text behind a start tag.
fn text(element: &[u8]) -> &[u8] {
    let mut parts = element.split(|byte| matches!(byte, b'<' | b'>'));
    parts.nth(2).unwrap_or_default().trim_ascii()
}

/// Whether a part of an address may stand anywhere as it is.
fn is_simple(part: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=PART_BYTES).contains(&part.len()) && part.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stands_behind_the_start_tag() {
        assert_eq!(
            text(b"<auth mechanism='PLAIN'>AHUAcA==</auth>"),
            b"AHUAcA=="
        );
        assert_eq!(text(b"<resource> x\n</resource></bind>"), b"x");
        assert_eq!(text(b"<auth/>"), b"");
        assert_eq!(text(b""), b"");
    }

    #[test]
    fn names_that_need_escaping_are_not_simple() {
        assert!(is_simple(b"u-1.a_B"));
        for name in ["", "a'b", "a@b", "a/b", "a&b", "\u{e9}"] {
            assert!(!is_simple(name.as_bytes()), "{name}");
        }
        assert!(!is_simple(&[b'a'; PART_BYTES + 1]));
    }
}
