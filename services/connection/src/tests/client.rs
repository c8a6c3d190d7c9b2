//! A client that says exactly what a test wants, over a pipe or an encrypted socket.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entente_stanza::{Element, Framing, Inbound, Limits, Received, StreamCondition, ns};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::time::timeout;

use super::stub::{DOMAIN, TOKEN, World};
use crate::accept::serve;
use crate::wire::Direct;

/// Longer than any deadline of the service that a test waits for.
const PATIENCE: Duration = Duration::from_secs(3600);

pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

pub(crate) struct Client {
    socket: Box<dyn Socket>,
    inbound: Inbound,
}

pub(crate) const OPEN: &str = "<?xml version='1.0'?><stream:stream to='chat.example' version='1.0' \
     xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

impl Client {
    /// Connects to a host over a pipe of so many bytes.
    pub(crate) fn piped(world: &World, bytes: usize) -> Self {
        let (near, far) = duplex(bytes);
        let host = Arc::clone(&world.host);
        world.tasks.spawn("test-connection", async move {
            serve(Box::new(Direct::new(far)), &host, None).await;
        });
        Self::over(near)
    }

    pub(crate) fn new(world: &World) -> Self {
        Self::piped(world, 64 * 1024)
    }

    pub(crate) fn over(socket: impl Socket + 'static) -> Self {
        Self {
            socket: Box::new(socket),
            inbound: Inbound::new(Framing::Stream, Limits::with_stanza_bytes(1 << 20)),
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).await.unwrap();
        self.socket.flush().await.unwrap();
    }

    /// The next thing said; none when the connection is closed.
    pub(crate) async fn next(&mut self) -> Option<Received> {
        timeout(PATIENCE, self.hear()).await.expect("an answer")
    }

    async fn hear(&mut self) -> Option<Received> {
        loop {
            if let Some(received) = self.inbound.next_event().expect("good XML") {
                return Some(received);
            }
            let mut chunk = [0; 4096];
            match self.socket.read(&mut chunk).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.inbound.push(&chunk[..read]),
            }
        }
    }

    pub(crate) async fn element(&mut self) -> Element {
        match self.next().await {
            Some(Received::Element(element)) => element,
            other => panic!("an element expected, not {other:?}"),
        }
    }

    /// Skips until an element of this name.
    pub(crate) async fn named(&mut self, name: &str) -> Element {
        loop {
            let element = self.element().await;
            if element.name() == name {
                return element;
            }
        }
    }

    /// Exchanges stream headers and reads the features.
    pub(crate) async fn open(&mut self) -> Element {
        self.send(OPEN).await;
        match self.next().await {
            Some(Received::Open(header)) => assert!(header.id.unwrap().len() >= 32),
            other => panic!("a header expected, not {other:?}"),
        }
        self.element().await
    }

    /// Logs in by RFC 6120 and opens the second stream.
    pub(crate) async fn login(&mut self, number: u64) -> Element {
        self.open().await;
        let plain = STANDARD.encode(format!("\0{number_id}\0{TOKEN}", number_id = id(number)));
        self.send(&format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>"
        ))
        .await;
        assert!(self.element().await.is("success", &ns::SASL));
        self.inbound.restart();
        self.open().await
    }

    /// Logs in and binds the resource `r`.
    pub(crate) async fn bound(world: &World, number: u64) -> Self {
        let mut client = Self::new(world);
        client.login(number).await;
        client.bind().await;
        client
    }

    pub(crate) async fn bind(&mut self) -> Element {
        self.send(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>r</resource></bind></iq>",
        )
        .await;
        self.element().await
    }

    /// Logs in, binds, turns XEP-0198 on and says presence. Gives the resume id too.
    pub(crate) async fn managed(world: &World, number: u64) -> (Self, String) {
        let mut client = Self::bound(world, number).await;
        client
            .send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
            .await;
        let enabled = client.element().await;
        assert!(enabled.is("enabled", &ns::SM), "{enabled:?}");
        let resume = enabled.attribute("id").unwrap().to_owned();
        client.send("<presence/>").await;
        assert_eq!(client.element().await.name(), "presence");
        let count = client.element().await;
        assert!(count.child("offline", &ns::ENTENTE).is_some(), "{count:?}");
        (client, resume)
    }

    /// The stream error with which the stream ends, and then the end itself.
    pub(crate) async fn error(&mut self) -> StreamCondition {
        let error = loop {
            match self.next().await {
                Some(Received::Element(element)) => {
                    if let Some(condition) = StreamCondition::from_element(&element) {
                        break condition;
                    }
                }
                Some(_) => {}
                None => panic!("closed without an error"),
            }
        };
        assert_eq!(self.next().await, Some(Received::Close));
        assert_eq!(self.next().await, None);
        error
    }
}

/// The localpart of an account of the tests' partner.
pub(crate) fn id(number: u64) -> String {
    format!("1-{number}")
}

/// The bare address.
pub(crate) fn jid(number: u64) -> String {
    format!("1-{number}@{DOMAIN}")
}
