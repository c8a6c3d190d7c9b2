//! Bounds for those who did not log in: addresses of loopback stand for those of the world.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use entente_core::Span;
use entente_node::{CallerLimits, Metrics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::client::Client;
use super::secure::{Files, connect, trusting};
use super::stub::World;
use crate::accept::{Built, build};

const PATIENCE: Duration = Duration::from_secs(20);
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 9);
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 1, 1, 1);

struct Doors {
    world: World,
    files: Files,
    metrics: Metrics,
    built: Built,
}

impl Doors {
    async fn open(limits: CallerLimits, proxied: bool) -> Self {
        let (world, files) = (World::new(), Files::new());
        let mut config = files.config();
        config.proxy_protocol = proxied;
        let deps = world.deps_with(limits);
        let metrics = deps.metrics.clone();
        let built = build(config, deps).await.unwrap();
        Self {
            world,
            files,
            metrics,
            built,
        }
    }

    async fn socket(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        socket.connect(self.built.addresses[0]).await.unwrap()
    }

    async fn session(&self, socket: TcpStream, number: u64) -> Client {
        let config = trusting(&self.files.path("tls.crt"), None);
        let tls = connect(socket, config).await.unwrap();
        let mut client = Client::over(tls);
        client.login(number).await;
        client.bind().await;
        client
    }

    fn metric(&self, line: &str) -> bool {
        self.metrics.encode().unwrap().lines().any(|is| is == line)
    }

    async fn until(&self, line: &str) {
        let shown = async {
            while !self.metric(line) {
                tokio::task::yield_now().await;
            }
        };
        let shown = timeout(PATIENCE, shown).await;
        assert!(shown.is_ok(), "{line}\n{}", self.metrics.encode().unwrap());
    }

    async fn end(self) {
        assert_eq!(self.world.tasks.finish(PATIENCE).await, Ok(()));
    }
}

/// Bounds so wide that only the one under test strikes.
fn wide() -> CallerLimits {
    CallerLimits {
        strangers: 400,
        per_address: 300,
        burst: 1000,
        interval: Span::secs(3600),
        network_multiple: 2,
        exempt: Vec::new(),
    }
}

async fn is_closed(mut socket: TcpStream) -> bool {
    let mut byte = [0];
    let read = timeout(PATIENCE, socket.read(&mut byte)).await.unwrap();
    matches!(read, Ok(0) | Err(_))
}

fn refused(reason: &str) -> String {
    let labels = format!("listener=\"connection-tls\",reason=\"{reason}\"");
    format!("entente_node_callers_refused_total{{{labels}}}")
}

fn proxy_header(source: &str) -> Vec<u8> {
    let source: SocketAddr = source.parse().unwrap();
    let own = if source.is_ipv4() {
        "192.0.2.2:1"
    } else {
        "[2001:db8::1]:1"
    };
    let told = proxy_header::ProxiedAddress::stream(source, own.parse().unwrap());
    let mut header = [0; 256];
    let length = proxy_header::ProxyHeader::with_address(told)
        .encode_to_slice_v2(&mut header)
        .unwrap();
    header[..length].to_vec()
}

/// T155: an address that holds many silent connections is closed at its bound; others log in, and
/// those who did hold no place of it.
#[tokio::test]
async fn silent_connections_of_one_address_have_a_bound() {
    let doors = Doors::open(
        CallerLimits {
            per_address: 3,
            ..wide()
        },
        false,
    )
    .await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(doors.socket(ATTACKER).await);
    }
    doors.until("entente_node_strangers{} 3").await;
    for _ in 0..20 {
        assert!(is_closed(doors.socket(ATTACKER).await).await);
    }
    assert!(doors.metric(&format!("{} 20", refused("address_open"))));
    let mut sessions = Vec::new();
    for number in 0..8 {
        let socket = doors.socket(HONEST).await;
        sessions.push(doors.session(socket, number).await);
    }
    doors.until("entente_node_strangers{} 3").await;
    drop(held);
    doors.until("entente_node_strangers{} 0").await;
    let socket = doors.socket(ATTACKER).await;
    sessions.push(doors.session(socket, 9).await);
    drop(sessions);
    doors.end().await;
}

/// T80: handshakes of one address beyond its bucket cost no cryptography; another address and the
/// sessions that exist go on.
#[tokio::test]
async fn handshakes_of_one_address_have_a_rate() {
    let doors = Doors::open(CallerLimits { burst: 5, ..wide() }, false).await;
    let socket = doors.socket(ATTACKER).await;
    let mut session = doors.session(socket, 1).await;
    for _ in 0..4 {
        let mut half = doors.socket(ATTACKER).await;
        half.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
        drop(half);
    }
    doors.until("entente_node_strangers{} 0").await;
    for _ in 0..50 {
        assert!(is_closed(doors.socket(ATTACKER).await).await);
    }
    assert!(doors.metric(&format!("{} 50", refused("address_rate"))));
    let socket = doors.socket(HONEST).await;
    doors.session(socket, 2).await;
    session
        .send("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await;
    assert_eq!(session.named("iq").await.attribute("id"), Some("p"));
    doors.end().await;
}

/// T155: strangers of many addresses fill their own room only: sessions that exist keep theirs.
#[tokio::test]
async fn strangers_of_many_addresses_leave_room() {
    let doors = Doors::open(
        CallerLimits {
            strangers: 40,
            ..wide()
        },
        false,
    )
    .await;
    let socket = doors.socket(HONEST).await;
    let mut session = doors.session(socket, 1).await;
    let mut held = Vec::new();
    for last in 1..=40 {
        held.push(doors.socket(Ipv4Addr::new(127, 7, 0, last)).await);
    }
    doors.until("entente_node_strangers{} 40").await;
    assert!(is_closed(doors.socket(Ipv4Addr::new(127, 7, 1, 1)).await).await);
    assert!(doors.metric(&format!("{} 1", refused("strangers"))));
    session
        .send("<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
        .await;
    assert_eq!(session.named("iq").await.attribute("id"), Some("p"));
    drop(held);
    doors.until("entente_node_strangers{} 0").await;
    let socket = doors.socket(Ipv4Addr::new(127, 7, 1, 1)).await;
    doors.session(socket, 2).await;
    doors.end().await;
}

/// T155: behind a load balancer the address in the PROXY header counts, of IPv6 the first 64 bits.
#[tokio::test]
async fn the_address_in_the_proxy_header_counts() {
    let limits = CallerLimits {
        per_address: 2,
        ..wide()
    };
    let doors = Doors::open(limits, true).await;
    let come = async |source: &str| {
        let mut socket = doors.socket(HONEST).await;
        socket.write_all(&proxy_header(source)).await.unwrap();
        socket
    };
    let mut held = Vec::new();
    for source in [
        "192.0.2.1:1",
        "192.0.2.1:2",
        "[2001:db8::1]:1",
        "[2001:db8::2]:2",
    ] {
        held.push(come(source).await);
    }
    doors.until("entente_node_strangers{} 4").await;
    // The headers above were read: a session after them shows it.
    let socket = come("192.0.2.9:1").await;
    drop(doors.session(socket, 1).await);
    for source in ["192.0.2.1:3", "[2001:db8::ffff:3]:3"] {
        assert!(is_closed(come(source).await).await, "{source}");
    }
    doors.until(&format!("{} 2", refused("address_open"))).await;
    let socket = come("[2001:db8:0:1::1]:1").await;
    doors.session(socket, 2).await;
    doors.end().await;
}
