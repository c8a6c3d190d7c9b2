//! The doors as they are built: TLS, its certificate, PROXY headers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use entente_core::Timestamp;
use entente_node::Tasks;
use entente_proto::identity::Revocation;
use entente_stanza::StreamCondition;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::Client;
use super::stub::{DOMAIN, EXPIRED, World, config};
use crate::accept::{Built, build};
use crate::config::Config;

const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with a certificate, removed at the end.
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) fn new() -> Self {
        let name = format!("entente-connection-{:x}", rand_u64());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        let files = Self(folder);
        files.renew();
        files
    }

    fn renew(&self) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([DOMAIN.to_owned()]).unwrap();
        self.write(&cert, &signing_key);
    }

    /// A certificate that ends so many seconds from now.
    fn renew_for(&self, secs: i64) {
        let mut params = rcgen::CertificateParams::new(vec![DOMAIN.to_owned()]).unwrap();
        let now =
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(Timestamp::now().millis());
        let left = Duration::from_secs(secs.unsigned_abs());
        params.not_after = if secs < 0 { now - left } else { now + left };
        let key = rcgen::KeyPair::generate().unwrap();
        self.write(&params.self_signed(&key).unwrap(), &key);
    }

    fn write(&self, certificate: &rcgen::Certificate, key: &rcgen::KeyPair) {
        std::fs::write(self.path("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(self.path("tls.key"), key.serialize_pem()).unwrap();
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn config(&self) -> Config {
        let mut config = config();
        config.listen = vec![([127, 0, 0, 1], 0).into()];
        config.tls.certificate = self.path("tls.crt");
        config.tls.key = self.path("tls.key");
        config
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn rand_u64() -> u64 {
    u64::from_be_bytes(entente_core::random_array())
}

/// A client's side of TLS that trusts a certificate file.
pub(super) fn trusting(certificate: &Path, alpn: Option<&[u8]>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(certificate).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12, &rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.map(<[u8]>::to_vec).into_iter().collect();
    config
}

pub(super) async fn connect(
    socket: TcpStream,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(DOMAIN).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, socket)
        .await
}

async fn socket(built: &Built) -> TcpStream {
    TcpStream::connect(built.addresses[0]).await.unwrap()
}

async fn closed(mut socket: TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    // A reset is an end as good as any.
    let _end = timeout(PATIENCE, socket.read_to_end(&mut heard))
        .await
        .unwrap();
    heard
}

async fn end(world: &World) {
    let tasks: &Tasks = &world.tasks;
    assert_eq!(tasks.finish(PATIENCE).await, Ok(()));
    assert!(!tasks.failed());
}

#[tokio::test]
async fn clients_with_and_without_alpn_and_server_name_log_in() {
    let (world, files) = (World::new(), Files::new());
    let built = build(files.config(), world.deps()).await.unwrap();
    for (alpn, sni) in [(Some(&b"xmpp-client"[..]), true), (None, false)] {
        let mut config = trusting(&files.path("tls.crt"), alpn);
        config.enable_sni = sni;
        let tls = connect(socket(&built).await, config).await.unwrap();
        assert_eq!(
            tls.get_ref().1.protocol_version(),
            Some(rustls::ProtocolVersion::TLSv1_3)
        );
        let mut client = Client::over(tls);
        client.login(7).await;
        assert_eq!(client.bind().await.attribute("type"), Some("result"));
    }
    end(&world).await;
}

/// T75: a client that speaks TLS 1.2 only gets nowhere.
#[tokio::test]
async fn tls_1_2_is_refused() {
    let (world, files) = (World::new(), Files::new());
    let built = build(files.config(), world.deps()).await.unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(files.path("tls.crt")).unwrap())
        .unwrap();
    let old = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS12])
        .with_root_certificates(roots)
        .with_no_client_auth();
    assert!(connect(socket(&built).await, old).await.is_err());
    let new = trusting(&files.path("tls.crt"), None);
    assert!(connect(socket(&built).await, new).await.is_ok());
    end(&world).await;
}

/// T34, T74: a ticket resumes on its own listener without early data, and not on another one.
#[tokio::test]
async fn tickets_stay_on_their_listener_and_carry_no_early_data() {
    let (world, files) = (World::new(), Files::new());
    let mut config = files.config();
    config.listen.push(([127, 0, 0, 1], 0).into());
    let built = build(config, world.deps()).await.unwrap();
    let mut client = trusting(&files.path("tls.crt"), None);
    client.enable_early_data = true;
    client.resumption = Resumption::in_memory_sessions(8);
    let mut kinds = Vec::new();
    for address in [0, 0, 1] {
        let socket = TcpStream::connect(built.addresses[address]).await.unwrap();
        let tls = connect(socket, client.clone()).await.unwrap();
        assert!(!tls.get_ref().1.is_early_data_accepted());
        kinds.push(tls.get_ref().1.handshake_kind().unwrap());
        // Reading takes the ticket in.
        let mut client = Client::over(tls);
        client.open().await;
    }
    assert_eq!(
        kinds,
        [
            HandshakeKind::Full,
            HandshakeKind::Resumed,
            HandshakeKind::Full
        ]
    );
    end(&world).await;
}

/// T38: plain text on the TLS port is closed without a byte.
#[tokio::test]
async fn plain_text_is_closed_without_a_banner() {
    let (world, files) = (World::new(), Files::new());
    let built = build(files.config(), world.deps()).await.unwrap();
    for text in [super::client::OPEN, "GET / HTTP/1.1\r\n\r\n", "\0"] {
        let mut socket = socket(&built).await;
        socket.write_all(text.as_bytes()).await.unwrap();
        assert!(closed(socket).await.is_empty(), "{text}");
    }
    end(&world).await;
}

/// T72: a handshake that never ends is cut at its deadline, and others are served meanwhile.
#[tokio::test]
async fn an_endless_handshake_is_cut_at_its_deadline() {
    let (world, files) = (World::new(), Files::new());
    let mut config = files.config();
    config.deadlines.handshake = entente_core::Span::new(Duration::from_millis(300));
    let built = build(config, world.deps()).await.unwrap();
    let mut slow = socket(&built).await;
    // A record header that promises a ClientHello, and its first byte.
    slow.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let silent = socket(&built).await;
    let honest = connect(socket(&built).await, trusting(&files.path("tls.crt"), None)).await;
    assert!(honest.is_ok());
    assert!(closed(slow).await.is_empty());
    assert!(closed(silent).await.is_empty());
    end(&world).await;
}

/// T77: a new certificate is taken without a restart; a broken one is not, and sessions stay.
#[tokio::test]
async fn certificates_are_followed_and_the_last_good_one_is_kept() {
    let (world, files) = (World::new(), Files::new());
    let mut config = files.config();
    config.tls.poll = entente_core::Span::secs(1);
    let deps = world.deps();
    let metrics = deps.metrics.clone();
    let built = build(config, deps).await.unwrap();
    let old = trusting(&files.path("tls.crt"), None);
    let tls = connect(socket(&built).await, old.clone()).await.unwrap();
    let mut session = Client::over(tls);
    session.login(7).await;
    session.bind().await;

    std::fs::write(files.path("tls.crt"), "not a certificate").unwrap();
    let refused = async {
        let kept = "entente_connection_certificates_total{outcome=\"kept\"} 1";
        while !metrics.encode().unwrap().contains(kept) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    assert!(connect(socket(&built).await, old.clone()).await.is_ok());

    files.renew();
    let new = trusting(&files.path("tls.crt"), None);
    let renewed = async {
        while connect(socket(&built).await, new.clone()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, renewed).await.unwrap();
    assert!(connect(socket(&built).await, old).await.is_err());
    session
        .send("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await;
    assert_eq!(session.named("iq").await.attribute("id"), Some("p"));
    end(&world).await;
}

/// T77: how long the chain is good is a metric, and the probe notes its end without failing.
#[tokio::test]
async fn the_end_of_the_certificate_is_shown() {
    let (world, files) = (World::new(), Files::new());
    files.renew_for(20 * 24 * 3600);
    let mut config = files.config();
    config.tls.poll = entente_core::Span::secs(1);
    let ends = crate::check(&config).unwrap().unwrap();
    let left = ends.since(Timestamp::now()).as_secs();
    assert!((1_727_900..=1_728_000).contains(&left), "{left}");
    let deps = world.deps();
    let metrics = deps.metrics.clone();
    let _built = build(config, deps).await.unwrap();
    let shown = || {
        let text = metrics.encode().unwrap();
        let name = "entente_connection_certificate_left_seconds{} ";
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|left| left.parse::<i64>().unwrap())
    };
    let until = async |good: &dyn Fn(i64) -> bool| {
        while !shown().is_some_and(good) {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, until(&|left| left > 1_727_900))
        .await
        .unwrap();
    assert!(world.readiness.notes().is_empty());
    files.renew_for(-3600);
    timeout(PATIENCE, until(&|left| left < -3590))
        .await
        .unwrap();
    assert_eq!(world.readiness.notes(), [EXPIRED]);
    assert!(world.readiness.is_ready());
    files.renew_for(90 * 24 * 3600);
    timeout(PATIENCE, until(&|left| left > 1_728_000))
        .await
        .unwrap();
    assert!(world.readiness.notes().is_empty());
    end(&world).await;
}

#[tokio::test]
async fn a_proxy_header_is_taken_off_and_required() {
    let (world, files) = (World::new(), Files::new());
    let mut config = files.config();
    config.proxy_protocol = true;
    let built = build(config, world.deps()).await.unwrap();
    let client = || trusting(&files.path("tls.crt"), None);
    let source = proxy_header::ProxiedAddress::stream(
        "192.0.2.1:1234".parse().unwrap(),
        "192.0.2.2:5223".parse().unwrap(),
    );
    let mut header = [0; 256];
    let length = proxy_header::ProxyHeader::with_address(source)
        .encode_to_slice_v2(&mut header)
        .unwrap();
    let mut good = socket(&built).await;
    good.write_all(&header[..length]).await.unwrap();
    assert!(connect(good, client()).await.is_ok());
    assert!(connect(socket(&built).await, client()).await.is_err());
    let mut old = socket(&built).await;
    old.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
        .await
        .unwrap();
    assert!(closed(old).await.is_empty());
    end(&world).await;
}

#[tokio::test]
async fn a_revocation_of_the_identity_service_ends_sessions_at_once() {
    let (world, files) = (World::new(), Files::new());
    let built = build(files.config(), world.deps()).await.unwrap();
    let tls = connect(socket(&built).await, trusting(&files.path("tls.crt"), None)).await;
    let mut client = Client::over(tls.unwrap());
    client.login(7).await;
    client.bind().await;
    let partner = super::stub::account(7).partner();
    world.identity.revoke(Revocation::Partner(partner));
    assert_eq!(client.error().await, StreamCondition::NotAuthorized);
    end(&world).await;
}

#[tokio::test]
async fn a_drained_service_accepts_nobody() {
    let (world, files) = (World::new(), Files::new());
    let built = build(files.config(), world.deps()).await.unwrap();
    let tls = connect(socket(&built).await, trusting(&files.path("tls.crt"), None)).await;
    let mut client = Client::over(tls.unwrap());
    client.login(7).await;
    client.bind().await;
    world.drain.begin();
    assert_eq!(built.drain(Duration::from_secs(5)).await, 0);
    assert_eq!(client.error().await, StreamCondition::SystemShutdown);
    assert!(TcpStream::connect(built.addresses[0]).await.is_err());
    end(&world).await;
}
