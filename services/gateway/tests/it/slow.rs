//! Peers that are slow on purpose, at the listener where users enlist.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsConnector;

use crate::stand::{DOMAIN, PATIENCE, Stand};

const HANDSHAKE: Duration = Duration::from_secs(1);
const HEAD: Duration = Duration::from_secs(2);
const CONNECTION: Duration = Duration::from_secs(5);
/// Late is late by less than this on a busy machine.
const SLACK: Duration = Duration::from_secs(4);
/// One byte in this time.
const TRICKLE: Duration = Duration::from_millis(100);

const LIMITS: &str = "[http]\nhandshake = \"1s\"\nhead = \"2s\"\nconnection = \"5s\"\n";

trait Peer: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Peer for S {}

/// Says something, then one byte now and then, until the other side closes. How long that took.
async fn trickle(mut peer: Box<dyn Peer>, said: &str, byte: u8) -> Duration {
    let start = Instant::now();
    peer.write_all(said.as_bytes()).await.unwrap();
    peer.flush().await.unwrap();
    let mut ticks = interval(TRICKLE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = [0; 1024];
    let ended = timeout(PATIENCE, async {
        loop {
            tokio::select! {
                read = peer.read(&mut heard) => if matches!(read, Ok(0) | Err(_)) { return },
                _ = ticks.tick() => {
                    if peer.write_all(&[byte]).await.is_err() || peer.flush().await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    ended.await.unwrap();
    start.elapsed()
}

/// Says nothing at all until the other side closes.
async fn silent(mut peer: Box<dyn Peer>) -> Duration {
    let start = Instant::now();
    let mut heard = Vec::new();
    // A reset is an end as good as any.
    let _end = timeout(PATIENCE, peer.read_to_end(&mut heard))
        .await
        .unwrap();
    assert!(heard.is_empty());
    start.elapsed()
}

async fn secured(stand: &Stand) -> Box<dyn Peer> {
    let tls = stand.trust.client_config(&["http/1.1"]).unwrap();
    let socket = TcpStream::connect(stand.http).await.unwrap();
    let name = DOMAIN.try_into().unwrap();
    Box::new(TlsConnector::from(tls).connect(name, socket).await.unwrap())
}

fn within(took: Duration, bound: Duration, phase: &str) {
    let early = bound.saturating_sub(Duration::from_millis(200));
    assert!(
        took >= early && took < bound + SLACK,
        "{phase} took {took:?}, not {bound:?}"
    );
}

/// T154: at the enlistment listener, who connects and says nothing, who is slow with the TLS
/// handshake, the head or the body, each is closed at its deadline, while users enlist beside them.
#[tokio::test(flavor = "multi_thread")]
async fn slow_enlistments_are_closed_at_their_deadlines() {
    let stand = Stand::start(|config| config.replace("[http]\n", LIMITS), None).await;
    let mut phases: JoinSet<(&str, Duration, Duration)> = JoinSet::new();
    for _ in 0..20 {
        let socket = Box::new(TcpStream::connect(stand.http).await.unwrap());
        phases.spawn(async move { ("nothing", silent(socket).await, HANDSHAKE) });
        let socket = Box::new(TcpStream::connect(stand.http).await.unwrap());
        let hello = "\u{16}\u{3}\u{1}\u{1}";
        phases.spawn(async move { ("handshake", trickle(socket, hello, 0).await, HANDSHAKE) });
        let peer = secured(&stand).await;
        phases.spawn(async move { ("first byte", silent(peer).await, HEAD) });
        let peer = secured(&stand).await;
        let head = "POST /3p/interop_reg?partner=1 HTTP/1.1\r\nhost: a\r\nx-slow: ";
        phases.spawn(async move { ("head", trickle(peer, head, b'x').await, HEAD) });
        let peer = secured(&stand).await;
        let body = "POST /3p/interop_reg?partner=1 HTTP/1.1\r\nhost: a\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: 6000\r\n\r\ntoken=";
        phases.spawn(async move { ("body", trickle(peer, body, b'a').await, CONNECTION) });
    }
    for number in 0..5 {
        stand
            .enlist(&format!("honest{number}@partner.example"))
            .await;
    }
    while let Some(ended) = phases.join_next().await {
        let (phase, took, bound) = ended.unwrap();
        within(took, bound, phase);
    }
    stand
        .until("entente_node_strangers{} ", |strangers| strangers == 0)
        .await;
    stand.enlist("after@partner.example").await;
}
