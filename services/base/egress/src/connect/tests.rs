use std::net::{Ipv6Addr, SocketAddrV6};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::origin::Origin;
use crate::{Client, Http, Request};

/// A resolver with one answer per call; the last stays.
struct Answering {
    answers: Mutex<Vec<Vec<SocketAddr>>>,
    calls: Arc<AtomicUsize>,
    names: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Resolve for Answering {
    async fn resolve(&self, name: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.names.lock().push(name.to_owned());
        let mut answers = self.answers.lock();
        Ok(match answers.len() {
            1 => answers[0].clone(),
            _ => answers.remove(0),
        })
    }
}

fn answering(answers: Vec<Vec<SocketAddr>>) -> Answering {
    Answering {
        answers: Mutex::new(answers),
        calls: Arc::default(),
        names: Arc::default(),
    }
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 443);
    texts.iter().map(address).collect()
}

async fn judged(settings: &Settings, answer: Vec<SocketAddr>) -> Result<usize, EgressError> {
    let resolver = Box::new(answering(vec![answer]));
    let connector = Connector::new(settings, resolver).unwrap();
    let target = Target::parse("https://partner.example/", &settings.policy()).unwrap();
    let addresses = connector.addresses(&target).await;
    addresses.map(|addresses| addresses.len())
}

/// T106, T107: one refused address among good ones refuses the host, wherever it stands.
#[tokio::test]
async fn one_refused_address_refuses_the_host() {
    let settings = Settings::default();
    let good = ["9.9.9.9", "2620:fe::9"];
    assert_eq!(judged(&settings, addresses(&good)).await, Ok(2));
    for refused in [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "0.0.0.0",
        "::",
        "::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b:1::a00:1",
        "2002:a00:1::",
        "2001:0:102:304::1",
        "fd00::1",
        "fe80::1",
    ] {
        for place in 0..=good.len() {
            let mut answer = good.to_vec();
            answer.insert(place, refused);
            let judged = judged(&settings, addresses(&answer)).await;
            assert_eq!(judged, Err(EgressError::AddressRefused), "{refused}");
        }
    }
    assert_eq!(
        judged(&settings, Vec::new()).await,
        Err(EgressError::NameUnknown)
    );
    let mapped = addresses(&["::ffff:9.9.9.9"]);
    assert_eq!(
        judged(&settings, mapped).await,
        Ok(1),
        "the inner address is judged"
    );
}

/// T106: a scope id names an interface of this machine.
#[tokio::test]
async fn scope_ids_are_refused() {
    let address: Ipv6Addr = "2620:fe::9".parse().unwrap();
    let scoped = |scope| vec![SocketAddr::from(SocketAddrV6::new(address, 443, 0, scope))];
    let settings = Settings::default();
    assert_eq!(judged(&settings, scoped(0)).await, Ok(1));
    let refused = judged(&settings, scoped(2)).await;
    assert_eq!(refused, Err(EgressError::AddressRefused));
}

/// T106: literals do not pass by the resolver, and are judged all the same.
#[tokio::test]
async fn literals_are_judged_by_the_connector() {
    let origin = Origin::saying("").await;
    let port = origin.address.port();
    let settings = Settings {
        ports: vec![port],
        ..Settings::default()
    };
    let client = Client::new(&settings).unwrap();
    for host in [
        "127.0.0.1",
        "[::1]",
        "[::ffff:7f00:1]",
        "10.0.0.1",
        "[64:ff9b::7f00:1]",
    ] {
        let text = format!("https://{host}:{port}/");
        let target = Target::parse(&text, &settings.policy()).unwrap();
        let sent = client.send(Request::get(target)).await;
        assert_eq!(sent, Err(EgressError::AddressRefused), "{host}");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn the_operator_refuses_and_permits_networks_but_never_metadata() {
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let settings = Settings {
        refuse: nets(&["9.9.9.0/24", "10.9.0.0/16"]),
        permit: nets(&["10.0.0.0/8", "169.254.0.0/16", "127.0.0.0/8", "::/0"]),
        ..Settings::default()
    };
    for (address, permitted) in [
        ("9.9.9.9", false),
        ("9.9.8.9", true),
        ("10.1.2.3", true),
        ("10.9.2.3", false),
        ("192.168.1.1", false),
        ("169.254.169.254", false),
        ("127.0.0.1", false),
        ("::ffff:127.0.0.1", false),
        ("::1", false),
        ("fe80::1", false),
        ("fd00::1", true),
    ] {
        let judged = judged(&settings, addresses(&[address])).await;
        assert_eq!(judged.is_ok(), permitted, "{address}");
    }
}

/// T107: the name is asked once per connection, so a second, evil answer is not used.
#[tokio::test]
async fn the_judged_address_is_the_connected_one() {
    let origin = Origin::closing_after("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let resolver = answering(vec![vec![origin.address], addresses(&["10.0.0.1"])]);
    let calls = Arc::clone(&resolver.calls);
    let settings = Settings::development();
    let client = Client::with_resolver(&settings, Box::new(resolver)).unwrap();
    let text = format!("http://partner.example:{}/", origin.address.port());
    let target = Target::parse(&text, &settings.policy()).unwrap();
    let first = client.send(Request::get(target.clone())).await;
    assert!(first.is_ok(), "{first:?}");
    assert_eq!((calls.load(Ordering::SeqCst), origin.connections()), (1, 1));
    let second = client.send(Request::get(target)).await;
    assert_eq!(second, Err(EgressError::AddressRefused));
}

#[tokio::test]
async fn names_are_asked_for_without_search_domains() {
    let resolver = answering(vec![addresses(&["10.0.0.1"])]);
    let names = Arc::clone(&resolver.names);
    let settings = Settings::default();
    let client = Client::with_resolver(&settings, Box::new(resolver)).unwrap();
    let target = Target::parse("https://partner.example/", &settings.policy()).unwrap();
    let sent = client.send(Request::get(target)).await;
    assert_eq!(sent, Err(EgressError::AddressRefused));
    assert_eq!(*names.lock(), ["partner.example."]);
}

#[tokio::test]
async fn targets_of_another_policy_are_refused() {
    let origin = Origin::saying("").await;
    let client = Client::new(&Settings::default()).unwrap();
    let sent = client.send(Request::get(origin.target("/"))).await;
    assert_eq!(sent, Err(EgressError::TargetRefused));
    assert_eq!(origin.connections(), 0);
}

/// A certificate authority of one, its file, and a server that answers with it.
struct Secured {
    origin: Origin,
    roots: PathBuf,
}

impl Drop for Secured {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.roots);
    }
}

async fn secured(name: &str, versions: &[&'static rustls::SupportedProtocolVersion]) -> Secured {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let origin = Origin::running(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            let _broken = stream.write_all(answer).await;
        }
    })
    .await;
    let unique = u64::from_ne_bytes(entente_core::random_array());
    let roots = std::env::temp_dir().join(format!("entente-egress-{unique}.pem"));
    std::fs::write(&roots, certificate.pem()).unwrap();
    Secured { origin, roots }
}

async fn fetch_secured(
    secured: &Secured,
    host: &str,
    settings: Settings,
) -> Result<bytes::Bytes, EgressError> {
    let resolver = Box::new(answering(vec![vec![secured.origin.address]]));
    let text = format!("https://{host}:{}/", secured.origin.address.port());
    let target = Target::parse(&text, &settings.policy()).unwrap();
    let client = Client::with_resolver(&settings, resolver).unwrap();
    let response = client.send(Request::get(target)).await?;
    Ok(response.body)
}

fn trusting(secured: &Secured) -> Settings {
    Settings {
        extra_roots: Some(secured.roots.clone()),
        ..Settings::development()
    }
}

#[tokio::test]
async fn certificates_must_be_trusted_and_for_the_name() {
    let both: &[_] = &[&rustls::version::TLS12, &rustls::version::TLS13];
    let server = secured("partner.example", both).await;
    let fetched = fetch_secured(&server, "partner.example", trusting(&server)).await;
    assert_eq!(fetched.unwrap(), "ok");
    let other = fetch_secured(&server, "other.example", trusting(&server)).await;
    assert_eq!(other, Err(EgressError::Tls));
    let unknown = fetch_secured(&server, "partner.example", Settings::development()).await;
    assert_eq!(unknown, Err(EgressError::Tls));
}

#[tokio::test]
async fn the_oldest_version_is_the_operators() {
    let server = secured("partner.example", &[&rustls::version::TLS12]).await;
    let old = fetch_secured(&server, "partner.example", trusting(&server)).await;
    assert_eq!(old.unwrap(), "ok");
    let strict = Settings {
        minimum_tls: MinimumTls::V1_3,
        ..trusting(&server)
    };
    let refused = fetch_secured(&server, "partner.example", strict).await;
    assert_eq!(refused, Err(EgressError::Tls));
}

#[test]
fn a_file_without_certificates_is_refused_at_start() {
    let missing = Settings {
        extra_roots: Some(PathBuf::from("/nonexistent/roots.pem")),
        ..Settings::default()
    };
    assert!(matches!(
        Client::new(&missing),
        Err(SettingsError::Roots(_))
    ));
    let empty = Settings {
        extra_roots: Some(PathBuf::from("/dev/null")),
        ..Settings::default()
    };
    assert!(matches!(Client::new(&empty), Err(SettingsError::NoRoots)));
}
