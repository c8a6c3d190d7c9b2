//! A client that writes what a test wants, in pieces, from the address that it wants.

use std::net::{Ipv4Addr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entente_core::AccountId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::stand::{DOMAIN, PATIENCE, Stand};

pub(crate) struct Raw {
    socket: TlsStream<TcpStream>,
    heard: String,
}

impl Raw {
    /// Connects and opens a stream.
    pub(crate) async fn connect(stand: &Stand, from: Ipv4Addr) -> Self {
        let mut raw = Self::opened_to(stand, from, DOMAIN).await;
        raw.until("</stream:features>").await;
        raw
    }

    /// Connects and opens a stream to a domain, whatever is said to it.
    pub(crate) async fn opened_to(stand: &Stand, from: Ipv4Addr, domain: &str) -> Self {
        let tls = stand.trust.client_config(&["xmpp-client"]).unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        let socket = socket.connect(stand.xmpp).await.unwrap();
        let name = DOMAIN.try_into().unwrap();
        let connected = TlsConnector::from(tls).connect(name, socket).await;
        let mut raw = Self {
            socket: connected.unwrap(),
            heard: String::new(),
        };
        raw.open(domain).await;
        raw
    }

    async fn open(&mut self, domain: &str) {
        self.say(&format!(
            "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' \
             xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        ))
        .await;
    }

    /// Shows a token.
    pub(crate) async fn try_login(&mut self, user: &str, token: &str) {
        let plain = STANDARD.encode(format!("\0{user}\0{token}"));
        self.say(&format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>"
        ))
        .await;
    }

    pub(crate) async fn login(&mut self, account: AccountId, token: &str) {
        self.try_login(&account.to_string(), token).await;
        self.until("<success").await;
        self.open(DOMAIN).await;
        self.until("</stream:features>").await;
    }

    pub(crate) async fn bind(&mut self, resource: &str) {
        self.say(&format!(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <resource>{resource}</resource></bind></iq>"
        ))
        .await;
        self.until("</iq>").await;
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).await.unwrap();
        self.socket.flush().await.unwrap();
    }

    /// Reads until something was said; gives all that was said since the last time.
    pub(crate) async fn until(&mut self, wanted: &str) -> String {
        let hear = async {
            let mut chunk = [0; 4096];
            while !self.heard.contains(wanted) {
                let read = self.socket.read(&mut chunk).await.unwrap();
                assert!(read > 0, "closed before {wanted}: {}", self.heard);
                self.heard += std::str::from_utf8(&chunk[..read]).unwrap();
            }
        };
        timeout(PATIENCE, hear).await.unwrap();
        std::mem::take(&mut self.heard)
    }

    /// Reads to the end.
    pub(crate) async fn ended(mut self) {
        let mut rest = Vec::new();
        // A reset is an end as good as any.
        let _end = timeout(PATIENCE, self.socket.read_to_end(&mut rest))
            .await
            .unwrap();
    }
}
