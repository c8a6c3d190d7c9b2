use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;
use crate::Drain;

/// How long a test waits for a level.
const PATIENCE: Duration = Duration::from_secs(60);

/// A listener that fails as scripted, with a connection where the script has none, and then hands
/// out what a channel brings.
struct Scripted {
    script: VecDeque<Option<io::Error>>,
    streams: mpsc::Receiver<DuplexStream>,
    accepts: Arc<AtomicUsize>,
}

impl Listener for Scripted {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        self.accepts.fetch_add(1, Ordering::SeqCst);
        if let Some(Some(error)) = self.script.pop_front() {
            return Err(error);
        }
        match self.streams.recv().await {
            Some(stream) => Ok((stream, SocketAddr::from(([192, 0, 2, 1], 1)))),
            None => pending().await,
        }
    }
}

/// A loop under test: what to connect with, what it accepted, and its surroundings.
struct Rig {
    connect: mpsc::Sender<DuplexStream>,
    accepts: Arc<AtomicUsize>,
    served: mpsc::Receiver<(DuplexStream, OwnedSemaphorePermit)>,
    tasks: Tasks,
    around: AcceptLoop,
}

impl Rig {
    fn new(errors: impl IntoIterator<Item = io::Error>, permits: usize) -> Self {
        Self::scripted(errors.into_iter().map(Some), permits)
    }

    fn scripted(script: impl IntoIterator<Item = Option<io::Error>>, permits: usize) -> Self {
        let (connect, streams) = mpsc::channel(16);
        let (serve, served) = mpsc::channel(16);
        let accepts = Arc::new(AtomicUsize::new(0));
        let listener = Scripted {
            script: script.into_iter().collect(),
            streams,
            accepts: Arc::clone(&accepts),
        };
        let tasks = Tasks::new(Drain::new());
        let metrics = AcceptMetrics::new(&Metrics::new()).unwrap();
        let permits = Arc::new(Semaphore::new(permits));
        let around = AcceptLoop::new("door", permits, tasks.clone(), metrics);
        let handler = move |stream, _, permit| {
            let serve = serve.clone();
            async move { serve.send((stream, permit)).await.unwrap() }
        };
        let accepting = accept_loop(listener, around.clone(), tasks.cancelled(), handler);
        tasks.spawn("accept", accepting);
        Self {
            connect,
            accepts,
            served,
            tasks,
            around,
        }
    }

    async fn connect(&self) -> DuplexStream {
        let (near, far) = duplex(64);
        self.connect.send(far).await.unwrap();
        near
    }

    async fn served(&mut self) -> (DuplexStream, OwnedSemaphorePermit) {
        let served = timeout(PATIENCE, self.served.recv()).await;
        served.expect("a connection is served in time").unwrap()
    }

    fn count(&self, event: AcceptEvent) -> u64 {
        self.around.events.value((Door("door"), event))
    }
}

async fn is_closed(stream: &mut DuplexStream) -> bool {
    let mut byte = [0];
    let read = timeout(PATIENCE, stream.read(&mut byte)).await;
    matches!(read, Ok(Ok(0)))
}

fn errno(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

/// T135: whatever accept says, the next connection is served.
#[tokio::test(start_paused = true)]
async fn the_loop_survives_every_error() {
    // ENETDOWN, EPROTO, ENOBUFS, ENOMEM, EPERM, EINVAL, ECONNABORTED, EINTR.
    let errors = [100, 71, 105, 12, 1, 22, 103, 4].map(errno);
    let other = io::Error::other("something else");
    let mut rig = Rig::new(errors.into_iter().chain([other]), 1);
    let _client = rig.connect().await;
    drop(rig.served().await);
    assert_eq!(rig.count(AcceptEvent::Broken), 2);
    assert_eq!(rig.count(AcceptEvent::Failed), 7);
    assert_eq!(rig.count(AcceptEvent::Accepted), 1);
}

/// T135: a lasting error costs about one accept a second, not a core.
#[tokio::test(start_paused = true)]
async fn pauses_grow_to_a_second_and_no_further() {
    let start = Instant::now();
    let mut rig = Rig::new((0..20).map(|_| io::Error::other("down")), 1);
    let _client = rig.connect().await;
    drop(rig.served().await);
    // 5 ms doubled seven times stays below a second; the other twelve errors cost a second each.
    let took = start.elapsed();
    let expected = Duration::from_millis(5 * 255) + LONGEST_PAUSE * 12;
    assert!(
        took >= expected && took < expected + LONGEST_PAUSE,
        "{took:?}"
    );
}

/// T135: with no descriptors left, a waiting peer is told by a close.
#[tokio::test(start_paused = true)]
async fn a_lack_of_descriptors_sheds_and_recovers() {
    let mut rig = Rig::scripted([Some(errno(EMFILE)), None, Some(errno(ENFILE)), None], 1);
    for _ in 0..2 {
        let mut shed = rig.connect().await;
        assert!(is_closed(&mut shed).await, "closed, not served");
    }
    let _third = rig.connect().await;
    drop(rig.served().await);
    assert_eq!(rig.count(AcceptEvent::Failed), 2);
    assert_eq!(rig.count(AcceptEvent::Shed), 2);
}

#[tokio::test(start_paused = true)]
async fn connections_over_the_cap_are_closed_until_a_permit_returns() {
    let mut rig = Rig::new([], 1);
    let _first = rig.connect().await;
    let held = rig.served().await;
    let mut second = rig.connect().await;
    assert!(is_closed(&mut second).await);
    assert_eq!(rig.count(AcceptEvent::OverCap), 1);
    drop(held);
    let _third = rig.connect().await;
    drop(rig.served().await);
}

#[tokio::test(start_paused = true)]
async fn cancellation_ends_the_loop_and_leaves_connections() {
    let mut rig = Rig::new([], 1);
    let mut client = rig.connect().await;
    let (mut server, _permit) = rig.served().await;
    assert_eq!(rig.tasks.finish(PATIENCE).await, Ok(()));
    assert!(rig.connect.is_closed(), "the listener is gone");
    assert_eq!(rig.accepts.load(Ordering::SeqCst), 2);
    tokio::io::AsyncWriteExt::write_all(&mut server, b"x")
        .await
        .unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn cancellation_ends_a_pause() {
    let rig = Rig::new((0..1000).map(|_| io::Error::other("down")), 1);
    let start = Instant::now();
    sleep(LONGEST_PAUSE * 5).await;
    assert_eq!(rig.tasks.finish(PATIENCE).await, Ok(()));
    assert!(start.elapsed() < LONGEST_PAUSE * 6);
}

#[tokio::test]
async fn serves_a_real_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new(Drain::new());
    let metrics = AcceptMetrics::new(&Metrics::new()).unwrap();
    let around = AcceptLoop::new("door", Arc::new(Semaphore::new(1)), tasks.clone(), metrics);
    let handler = |stream: TcpStream, peer: SocketAddr, _permit| async move {
        assert!(peer.ip().is_loopback());
        let _broken = stream.try_write(b"hello");
    };
    tasks.spawn(
        "accept",
        accept_loop(listener, around, tasks.cancelled(), handler),
    );
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "hello");
    assert_eq!(tasks.finish(PATIENCE).await, Ok(()));
    assert!(
        TcpStream::connect(address).await.is_err(),
        "the port is closed"
    );
}
