//! The loop that takes connections from a listener and outlives whatever the listener says.
//!
//! In: a listener, a cap and a handler. Out: one task per connection. Errors of a single connection
//! are counted; a lack of descriptors sheds the waiting connection with a descriptor kept in
//! reserve, and pauses. A peer over the cap is closed at once: it learns more from that than from
//! silence in the backlog.
//!
//! **Invariants**
//! - Only the cancellation ends the loop.
//! - At most as many handlers run as there are permits.

use std::fs::File;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{Counters, Label, LabelValue, Metrics, MetricsError, Tasks};

/// First pause after an error; doubled with each that follows at once.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// Longest pause: short against a load balancer's patience.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a shed waits for the connection that could not be accepted before.
const SHED_WAIT: Duration = Duration::from_millis(10);

/// Linux errno: too many open files in the system, in this process.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// Where connections come from.
pub trait Listener: Send + 'static {
    /// A connection.
    type Stream: Send + 'static;

    /// Waits for the next connection. Dropping the future loses none.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self).await
    }
}

/// What an accept loop works with, apart from its listener and handler.
#[derive(Clone, Debug)]
pub struct AcceptLoop {
    name: &'static str,
    permits: Arc<Semaphore>,
    tasks: Tasks,
    events: Counters<(Door, AcceptEvent)>,
}

impl AcceptLoop {
    /// Loops of one process share the metrics, so each has a name; handlers run under it.
    pub fn new(
        name: &'static str,
        permits: Arc<Semaphore>,
        tasks: Tasks,
        metrics: AcceptMetrics,
    ) -> Self {
        Self {
            name,
            permits,
            tasks,
            events: metrics.0,
        }
    }

    fn count(&self, event: AcceptEvent) {
        self.events.increment((Door(self.name), event));
    }
}

/// Counts what becomes of connections. Made once per process.
#[derive(Clone, Debug)]
pub struct AcceptMetrics(Counters<(Door, AcceptEvent)>);

impl AcceptMetrics {
    /// Registers `entente_node_accept`.
    ///
    /// # Errors
    /// When it is registered already.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        let help = "Connections by listener and what became of them";
        metrics.counters("entente_node_accept", help).map(Self)
    }
}

/// Which listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Door(pub(crate) &'static str);

impl Label for Door {
    const NAME: &'static str = "listener";

    fn value(&self) -> LabelValue {
        LabelValue::Word(self.0)
    }
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum AcceptEvent {
    Accepted,
    Broken,
    Failed,
    OverCap,
    Shed,
}

impl Label for AcceptEvent {
    const NAME: &'static str = "event";

    fn value(&self) -> LabelValue {
        LabelValue::Word(match self {
            Self::Accepted => "accepted",
            Self::Broken => "broken",
            Self::Failed => "failed",
            Self::OverCap => "over_cap",
            Self::Shed => "shed",
        })
    }
}

/// Accepts until cancelled and runs the handler of each connection as a task of its own.
///
/// The handler gets the permit of its connection and holds it for as long as the connection counts.
/// The listener is closed when this returns; connections go on.
pub async fn accept_loop<L, H, F>(
    mut listener: L,
    around: AcceptLoop,
    cancel: CancellationToken,
    mut handler: H,
) where
    L: Listener,
    H: FnMut(L::Stream, SocketAddr, OwnedSemaphorePermit) -> F + Send,
    F: Future<Output = ()> + Send + 'static,
{
    let mut reserve = Reserve::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            // Under a flood of connections the cancellation still gets its turn.
            biased;
            () = cancel.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => {
                around.count(AcceptEvent::Broken);
                tokio::task::yield_now().await;
                continue;
            }
            Err(error) => {
                around.count(AcceptEvent::Failed);
                if pause == FIRST_PAUSE {
                    tracing::warn!(listener = around.name, %error, "accept fails");
                }
                if is_lack_of_descriptors(&error) && reserve.shed(&mut listener).await {
                    around.count(AcceptEvent::Shed);
                }
                tokio::select! {
                    () = cancel.cancelled() => return,
                    () = sleep(pause) => {}
                }
                pause = LONGEST_PAUSE.min(pause * 2);
                continue;
            }
        };
        pause = FIRST_PAUSE;
        let Ok(permit) = Arc::clone(&around.permits).try_acquire_owned() else {
            around.count(AcceptEvent::OverCap);
            drop(stream);
            continue;
        };
        around.count(AcceptEvent::Accepted);
        around
            .tasks
            .spawn(around.name, handler(stream, peer, permit));
    }
}

/// accept(2): errors that were pending on the new connection and say nothing about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NetworkUnreachable
    )
}

fn is_lack_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
}

/// A descriptor kept back, so that a connection can be accepted and closed when there is no other:
/// left in the backlog, its peer would wait for nothing.
struct Reserve(Option<File>);

impl Reserve {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    async fn shed<L: Listener>(&mut self, listener: &mut L) -> bool {
        if self.0.take().is_none() {
            *self = Self::new();
            return false;
        }
        let accepted = timeout(SHED_WAIT, listener.accept()).await;
        let shed = matches!(accepted, Ok(Ok(_)));
        drop(accepted);
        *self = Self::new();
        shed
    }
}

#[cfg(test)]
mod tests;
