use std::sync::Arc;

use bytes::BytesMut;
use entente_stanza::{Framing, Inbound, Limits, Received, StreamHeader, ns};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;
use crate::client::{Credential, Mechanism, Transport};
use crate::trust::{DevAuthority, Trust};

const DOMAIN: &str = "localhost";

/// A server over real TLS that takes the lines a test gives it.
struct Server {
    listener: TcpListener,
    tls: TlsAcceptor,
}

struct Peer {
    io: TlsStream<TcpStream>,
    inbound: Inbound,
}

impl Server {
    async fn start() -> (Self, DeviceConfig) {
        let authority = DevAuthority::new().unwrap();
        let tls = authority.server_config(&[DOMAIN], &["xmpp-client"]);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let trust = Trust::Roots(Arc::from(authority.pem()));
        let transport = Transport::DirectTls;
        let mut config = DeviceConfig::new(ClientConfig {
            addresses: vec![listener.local_addr().unwrap()],
            domain: DOMAIN.to_owned(),
            tls: trust.client_config(transport.alpn()).unwrap(),
            localpart: "7-1".to_owned(),
            credential: Credential::Token(Arc::from("token")),
            mechanism: Mechanism::Plain,
            transport,
            stream_management: true,
            presence: true,
            login_within: Duration::from_secs(5),
        });
        config.first_pause = Duration::from_millis(1);
        let tls = TlsAcceptor::from(tls.unwrap());
        (Self { listener, tls }, config)
    }

    /// Accepts a connection and takes it to the point where it resumes or binds.
    async fn accept(&self) -> Peer {
        let (socket, _) = self.listener.accept().await.unwrap();
        let io = self.tls.accept(socket).await.unwrap();
        let inbound = Inbound::new(Framing::Stream, Limits::AFTER_AUTH);
        let mut peer = Peer { io, inbound };
        peer.open("<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            .await;
        peer.element().await;
        peer.say("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            .await;
        peer.inbound.restart();
        peer.open("").await;
        peer
    }
}

impl Peer {
    async fn next(&mut self) -> Received {
        loop {
            if let Some(received) = self.inbound.next_event().unwrap() {
                return received;
            }
            let count = self.io.read_buf(self.inbound.buffer()).await.unwrap();
            assert_ne!(count, 0, "the device hung up");
        }
    }

    async fn element(&mut self) -> Element {
        match self.next().await {
            Received::Element(element) => element,
            other => panic!("{other:?}"),
        }
    }

    async fn named(&mut self, name: &str) -> Element {
        loop {
            let element = self.element().await;
            if element.name() == name {
                return element;
            }
        }
    }

    async fn say(&mut self, text: &str) {
        self.io.write_all(text.as_bytes()).await.unwrap();
    }

    async fn open(&mut self, features: &str) {
        assert!(matches!(self.next().await, Received::Open(_)));
        let header = StreamHeader {
            version: Some(StreamHeader::VERSION),
            ns: ns::CLIENT,
            ..StreamHeader::default()
        };
        let mut bytes = BytesMut::new();
        header.write_into(Framing::Stream, &mut bytes);
        self.io.write_all(&bytes).await.unwrap();
        self.say(&format!("<stream:features>{features}</stream:features>"))
            .await;
    }

    async fn bind(&mut self) {
        self.named("iq").await;
        self.say(
            "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <jid>7-1@localhost/r</jid></bind></iq>",
        )
        .await;
        self.named("enable").await;
        self.say("<enabled xmlns='urn:xmpp:sm:3' resume='true' id='s1'/>")
            .await;
        self.named("presence").await;
    }
}

#[tokio::test]
async fn a_device_comes_back_by_itself_and_sends_again_what_was_lost() {
    let (server, config) = Server::start().await;
    let mut device = Device::start(config);
    let sender = device.sender();
    let mut peer = server.accept().await;
    peer.bind().await;
    sender.wait_for(Phase::Online).await.unwrap();

    let first = sender.send("7-2@localhost", Vec::new()).await.unwrap();
    let second = sender.send("7-2@localhost", Vec::new()).await.unwrap();
    assert!(first.ends_with("-1") && second.ends_with("-2"));
    assert_eq!(peer.named("message").await.attribute("id"), Some(&*first));
    drop(peer);

    let mut peer = server.accept().await;
    assert_eq!(peer.element().await.attribute("previd"), Some("s1"));
    // Presence and the first message were handled.
    peer.say("<resumed xmlns='urn:xmpp:sm:3' previd='s1' h='2'/>")
        .await;
    assert_eq!(peer.named("message").await.attribute("id"), Some(&*second));
    peer.say("<a xmlns='urn:xmpp:sm:3' h='3'/>").await;
    for expected in [&first, &second] {
        match device.next().await.unwrap() {
            Event::Accepted { id, .. } => assert_eq!(&id, expected),
            other => panic!("{other:?}"),
        }
    }
    let (tally, _) = tokio::join!(device.stop(), async {
        assert_eq!(peer.named("a").await.attribute("h"), Some("0"));
        assert_eq!(peer.next().await, Received::Close);
    });
    assert_eq!((tally.counts.sent, tally.counts.acked), (2, 2));
    assert_eq!((tally.counts.resumed, tally.counts.rebound), (1, 0));
    assert_eq!((tally.unacked, tally.accepted_micros.len()), (0, 2));
}

#[tokio::test]
async fn a_device_that_is_away_keeps_what_it_is_given() {
    let (server, config) = Server::start().await;
    let device = Device::start(config);
    let sender = device.sender();
    let mut peer = server.accept().await;
    peer.bind().await;
    sender.go_offline();
    peer.named("a").await;
    assert_eq!(peer.next().await, Received::Close);
    sender.wait_for(Phase::Offline).await.unwrap();
    let id = sender.send("7-2@localhost", Vec::new()).await.unwrap();

    sender.come_online();
    let mut peer = server.accept().await;
    peer.bind().await;
    assert_eq!(peer.named("message").await.attribute("id"), Some(&*id));
    drop(device);
}

#[tokio::test]
async fn a_device_keeps_trying_while_nobody_answers() {
    let (server, config) = Server::start().await;
    drop(server);
    let device = Device::start(config);
    let sender = device.sender();
    while sender.tally().failures < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(sender.phase(), Phase::Connecting);
    let tally = device.stop().await;
    assert_eq!(tally.counts.resumed, 0);
    assert!(tally.last_error.is_some());
}

#[tokio::test]
async fn a_request_gets_its_answer_or_is_told_that_none_will_come() {
    let (server, config) = Server::start().await;
    let device = Device::start(config);
    let sender = device.sender();
    let mut peer = server.accept().await;
    peer.bind().await;
    let ping = || Element::new("ping", ns::PING);
    let (answer, ()) = tokio::join!(sender.iq("get", None, ping()), async {
        let iq = peer.named("iq").await;
        let id = iq.attribute("id").unwrap();
        peer.say(&format!("<iq type='result' id='{id}'/>")).await;
    });
    assert_eq!(answer.unwrap().attribute("type"), Some("result"));

    let (answer, ()) = tokio::join!(sender.iq("get", None, ping()), async {
        peer.named("iq").await;
        drop(peer);
        let mut peer = server.accept().await;
        peer.named("resume").await;
        peer.say("<failed xmlns='urn:xmpp:sm:3'/>").await;
        peer.bind().await;
    });
    assert_eq!(answer, Err(DeviceGone));
    drop(device);
}
