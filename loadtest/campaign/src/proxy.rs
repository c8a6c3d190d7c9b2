//! A network, which can be slow, lossy, or gone for a while, also one way.
//!
//! TCP connections are carried byte by byte, each from the address from which it came. What comes while a
//! partition lasts is held back and comes after it, as TCP sends it again; nobody is told of it. A new
//! connection takes both ways: its handshake goes forth and back.
//!
//! **Invariants**
//! - Bytes keep their order and none is lost: a segment that a network loses is sent again by TCP, so what
//!   two ends see of a loss is a wait, for this segment and all behind it.
//! - Held in memory are at most [`CHUNKS`] of [`CHUNK_BYTES`] for each direction of a connection.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::FutureExt as _;
use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// What one read takes at most.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks on their way; whoever sends more waits, as for a full window.
const CHUNKS: usize = 64;
/// How long a lost segment takes to come again: Linux's least retransmission time-out.
const RETRANSMIT: Duration = Duration::from_millis(200);

/// What the network is like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Weather {
    /// How long bytes take, one way.
    pub(crate) delay: Duration,
    /// Share of the chunks that are lost once, 0 to 1.
    pub(crate) loss: f64,
    /// What does not come through.
    pub(crate) held: Held,
}

/// Which ways are closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// From who connected.
    pub(crate) forth: bool,
    /// To who connected.
    pub(crate) back: bool,
}

/// Where bytes go on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Back,
    Forth,
}

impl Held {
    /// Nothing comes through.
    pub(crate) const ALL: Self = Self {
        forth: true,
        back: true,
    };

    const fn holds(self, way: Way) -> bool {
        match way {
            Way::Back => self.back,
            Way::Forth => self.forth,
        }
    }
}

/// See the module. Dropping it breaks all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    /// Of one task, which holds those of the connections.
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// Listens on a free port of loopback for connections to `targets`, in the runtime of the caller.
    /// Each connection goes to another one, and on to the next if that refuses.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn start(targets: Vec<SocketAddr>) -> io::Result<Self> {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into(), targets).await
    }

    /// The same, on an address.
    ///
    /// # Errors
    /// If it cannot listen there.
    pub(crate) async fn listen(at: SocketAddr, targets: Vec<SocketAddr>) -> io::Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let address = listener.local_addr()?;
        let (weather, seen) = watch::channel(Weather::default());
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, targets, seen));
        Ok(Self {
            address,
            weather,
            _accepting: accepting,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The network is good.
    pub(crate) fn clear(&self) {
        self.set(Weather::default());
    }

    /// Changes what the network is like from now on; what is under way keeps its delay.
    pub(crate) fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

async fn accept(
    listener: TcpListener,
    mut targets: Vec<SocketAddr>,
    weather: watch::Receiver<Weather>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, from)) = accepted {
                let step = targets.len().min(1);
                targets.rotate_left(step);
                connections.spawn(connection(client, (from, targets.clone()), weather.clone()));
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connection(
    client: TcpStream,
    (from, targets): (SocketAddr, Vec<SocketAddr>),
    weather: watch::Receiver<Weather>,
) {
    if !through(&weather, &[Way::Forth, Way::Back]).await {
        return;
    }
    // Of who gave up meanwhile the other side never hears.
    let ready = client.ready(Interest::READABLE).now_or_never();
    if ready.is_some_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed())) {
        return;
    }
    // A process that is down refuses, and the client sees its connection end.
    let mut server = None;
    for target in targets {
        server = connect(from, target).await.ok();
        if server.is_some() {
            break;
        }
    }
    let Some(server) = server else { return };
    // Small stanzas both ways: waiting to fill segments would be a delay of our own.
    if client
        .set_nodelay(true)
        .and(server.set_nodelay(true))
        .is_err()
    {
        return;
    }
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    tokio::join!(
        carry(from_client, to_server, (Way::Forth, weather.clone())),
        carry(from_server, to_client, (Way::Back, weather)),
    );
}

/// From the client's own address: the process counts strangers by theirs.
async fn connect(from: SocketAddr, target: SocketAddr) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.bind(SocketAddr::new(from.ip(), 0))?;
    socket.connect(target).await
}

/// Waits until bytes come through; false if the proxy is over.
async fn through(weather: &watch::Receiver<Weather>, ways: &[Way]) -> bool {
    let mut weather = weather.clone();
    let open = |weather: &Weather| !ways.iter().any(|way| weather.held.holds(*way));
    weather.wait_for(open).await.is_ok()
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    (way, weather): (Way, watch::Receiver<Weather>),
) {
    let (queue, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS);
    let seen = weather.clone();
    let read = async move {
        let mut last = Instant::now();
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            if !matches!(from.read_buf(&mut chunk).await, Ok(count) if count > 0) {
                return;
            }
            // Never earlier than what came before it.
            last = last.max(Instant::now() + takes(*seen.borrow()));
            if queue.send((last, chunk)).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((at, chunk)) = under_way.recv().await {
            sleep_until(at).await;
            if !through(&weather, &[way]).await || to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // An end is on its way as bytes are. The other side may be gone already.
        if through(&weather, &[way]).await {
            let _gone = to.shutdown().await;
        }
    };
    tokio::join!(read, write);
}

/// How long a chunk takes now.
fn takes(weather: Weather) -> Duration {
    let lost = weather.loss > 0.0 && rand::rng().random_bool(weather.loss.min(1.0));
    weather.delay + if lost { RETRANSMIT } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it is sent, through a proxy.
    async fn echo() -> (Proxy, TcpStream, JoinSet<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = Proxy::start(vec![listener.local_addr().unwrap()])
            .await
            .unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let (mut from, mut to) = socket.split();
            tokio::io::copy(&mut from, &mut to).await.unwrap();
            to.shutdown().await.unwrap();
        });
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        (proxy, client, tasks)
    }

    #[tokio::test]
    async fn bytes_keep_their_order_in_any_weather_and_the_end_comes_last() {
        let (proxy, client, _tasks) = echo().await;
        let (mut from, mut to) = client.into_split();
        let sent: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let write = async {
            for (number, part) in sent.chunks(10_000).enumerate() {
                proxy.set(Weather {
                    delay: Duration::from_millis(if number % 3 == 0 { 5 } else { 0 }),
                    loss: if number % 10 == 0 { 1.0 } else { 0.0 },
                    held: Held::default(),
                });
                to.write_all(part).await.unwrap();
            }
            to.shutdown().await.unwrap();
        };
        let mut back = Vec::new();
        let (_, read) = tokio::join!(write, from.read_to_end(&mut back));
        read.unwrap();
        assert!(back == sent, "{} of {} bytes", back.len(), sent.len());
    }

    #[tokio::test]
    async fn a_partition_holds_everything_back_and_lets_it_through_after() {
        let (proxy, mut client, _tasks) = echo().await;
        let mut byte = [0];
        client.write_all(b"a").await.unwrap();
        client.read_exact(&mut byte).await.unwrap();
        let parted = Weather {
            held: Held::ALL,
            ..Weather::default()
        };
        proxy.set(parted);
        client.write_all(b"b").await.unwrap();
        // Carried by now if anything would carry it.
        let early = tokio::time::timeout(Duration::from_millis(100), client.read_exact(&mut byte));
        assert!(early.await.is_err());
        proxy.set(Weather::default());
        client.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"b");
    }

    /// Whether a byte comes back.
    async fn answered(client: &mut TcpStream) -> bool {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(100), client.read_exact(&mut byte));
        matches!(read.await, Ok(Ok(_)))
    }

    #[tokio::test]
    async fn a_way_that_is_closed_holds_its_bytes_and_lets_the_others_pass() {
        let (proxy, mut client, _tasks) = echo().await;
        client.write_all(b"a").await.unwrap();
        assert!(answered(&mut client).await);
        let held = |forth, back| Weather {
            held: Held { forth, back },
            ..Weather::default()
        };
        proxy.set(held(false, true));
        client.write_all(b"b").await.unwrap();
        assert!(!answered(&mut client).await, "its answer is held back");
        // What went forth before is back at once when only the way forth is closed.
        proxy.set(held(true, false));
        assert!(answered(&mut client).await);
        client.write_all(b"c").await.unwrap();
        assert!(!answered(&mut client).await, "it is held back itself");
        proxy.set(Weather::default());
        assert!(answered(&mut client).await);
    }

    #[tokio::test]
    async fn a_new_connection_takes_both_ways_and_one_that_was_given_up_is_never_made() {
        for held in [
            Held {
                forth: true,
                back: false,
            },
            Held {
                forth: false,
                back: true,
            },
        ] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let proxy = Proxy::start(vec![listener.local_addr().unwrap()])
                .await
                .unwrap();
            proxy.set(Weather {
                held,
                ..Weather::default()
            });
            let mut gone = TcpStream::connect(proxy.address()).await.unwrap();
            gone.write_all(b"gone").await.unwrap();
            let mut waits = TcpStream::connect(proxy.address()).await.unwrap();
            waits.write_all(b"here").await.unwrap();
            drop(gone);
            let early = tokio::time::timeout(Duration::from_millis(100), listener.accept());
            assert!(early.await.is_err());
            proxy.set(Weather::default());
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut said = [0; 4];
            socket.read_exact(&mut said).await.unwrap();
            assert_eq!(&said, b"here");
        }
    }

    #[test]
    fn a_loss_costs_a_retransmission() {
        let mut weather = Weather {
            delay: Duration::from_millis(30),
            loss: 1.0,
            held: Held::default(),
        };
        assert_eq!(takes(weather), Duration::from_millis(230));
        weather.loss = 0.0;
        assert_eq!(takes(weather), Duration::from_millis(30));
    }
}
