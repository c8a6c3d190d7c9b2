//! A small client, and a relay that ends with its test.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entente_relay::{Authority, Options, Relay};
use entente_stanza::{Frame, Framer, Limits};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    address: SocketAddr,
    domain: String,
    tls: TlsConnector,
    _task: JoinSet<()>,
}

impl Server {
    pub(crate) fn start(options: Options) -> Self {
        let authority = Authority::new(&options.domain).unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap())
            .unwrap();
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let domain = options.domain.clone();
        let relay = Relay::bind((Ipv4Addr::LOCALHOST, 0).into(), options).unwrap();
        let address = relay.address().unwrap();
        let mut task = JoinSet::new();
        task.spawn(relay.serve(authority.config));
        Self {
            address,
            domain,
            tls: Arc::new(tls).into(),
            _task: task,
        }
    }

    pub(crate) async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from(self.domain.clone()).unwrap();
        Client {
            tls: self.tls.connect(name, stream).await.unwrap(),
            framer: Framer::new(Limits::AFTER_AUTH),
            domain: self.domain.clone(),
            address: String::new(),
        }
    }

    /// A client that is bound, with XEP-0198 on.
    pub(crate) async fn log_in(&self, user: &str) -> Client {
        let mut client = self.connect().await;
        client.open().await;
        let plain = STANDARD.encode(format!("\0{user}\0any"));
        let sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
        client
            .send(&format!(
                "<auth xmlns='{sasl}' mechanism='PLAIN'>{plain}</auth>"
            ))
            .await;
        client.expect(&format!("<success xmlns='{sasl}'/>")).await;
        client.framer.restart();
        client.open().await;
        client
            .send("<iq type='set' id='b'><bind><resource>here</resource></bind></iq>")
            .await;
        client.address = format!("{user}@{}/here", client.domain);
        assert!(
            client
                .next()
                .await
                .contains(&format!("<jid>{}</jid>", client.address))
        );
        client.send("<enable xmlns='urn:xmpp:sm:3'/>").await;
        client.expect("<enabled xmlns='urn:xmpp:sm:3'/>").await;
        client
    }
}

pub(crate) struct Client {
    tls: TlsStream<TcpStream>,
    framer: Framer,
    domain: String,
    pub(crate) address: String,
}

impl Client {
    pub(crate) async fn open(&mut self) {
        let header = format!(
            "<stream:stream to='{}' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>",
            self.domain
        );
        self.send(&header).await;
        assert!(self.next().await.starts_with("<stream:features>"));
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.send_together(&[text]).await;
    }

    /// Sends each text as a TLS record of its own, but all in one write.
    pub(crate) async fn send_together(&mut self, texts: &[&str]) {
        for text in texts {
            self.tls
                .get_mut()
                .1
                .writer()
                .write_all(text.as_bytes())
                .unwrap();
        }
        self.tls.flush().await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> String {
        next(&mut self.tls, &mut self.framer)
            .await
            .expect("the relay closed the connection")
    }

    pub(crate) async fn expect(&mut self, wanted: &str) {
        assert_eq!(self.next().await, wanted);
    }

    /// Whether the server ends the connection, with no element before that.
    pub(crate) async fn ended(&mut self) -> bool {
        next(&mut self.tls, &mut self.framer).await.is_none()
    }

    pub(crate) fn split(self) -> (Reader, Writer) {
        let (read, write) = split(self.tls);
        (Reader(read, self.framer), Writer(write))
    }
}

pub(crate) struct Writer(WriteHalf<TlsStream<TcpStream>>);

impl Writer {
    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        self.0.flush().await.unwrap();
    }
}

pub(crate) struct Reader(ReadHalf<TlsStream<TcpStream>>, Framer);

impl Reader {
    pub(crate) async fn next(&mut self) -> String {
        next(&mut self.0, &mut self.1)
            .await
            .expect("the relay closed the connection")
    }
}

/// The next element, `None` at the end of the connection.
async fn next(from: &mut (impl AsyncRead + Unpin), framer: &mut Framer) -> Option<String> {
    loop {
        match framer.next_frame().unwrap() {
            Some(Frame::Stanza(element)) => {
                return Some(String::from_utf8(element.to_vec()).unwrap());
            }
            Some(Frame::Decl | Frame::StreamOpen(_)) => {}
            Some(Frame::StreamClose) => return None,
            None => {
                let read = timeout(PATIENCE, from.read_buf(framer.buffer()));
                if read.await.expect("nothing comes").unwrap_or(0) == 0 {
                    return None;
                }
            }
        }
    }
}
