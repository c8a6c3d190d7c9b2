//! The listener, and who is connected.
//!
//! In: a bound listener. Out: a session for each connection, and a map from the user to the queue
//! of their connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::session::Session;

/// Connections that wait to be accepted: a storm of logins must not meet a full queue.
const BACKLOG: u32 = 16_384;
/// How long TLS may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(30);
/// How long no connection is accepted after that failed, as when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How the relay behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The domain in its stream header and in addresses.
    pub domain: String,
    /// Whether what one turn of a connection has to write goes out as one TLS record.
    pub gather: bool,
    /// Whether `<r/>` follows each message to a user who turned XEP-0198 on.
    pub ask: bool,
    /// Messages that wait for one connection; whoever sends more waits.
    pub queue: usize,
}

/// A listener that is bound.
#[derive(Debug)]
pub struct Relay {
    listener: TcpListener,
    hub: Arc<Hub>,
}

impl Relay {
    /// Binds an address.
    ///
    /// # Errors
    /// If it is taken or not ours.
    pub fn bind(address: SocketAddr, options: Options) -> anyhow::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address).with_context(|| address.to_string())?;
        Ok(Self {
            listener: socket.listen(BACKLOG)?,
            hub: Arc::new(Hub::new(options)),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// Of the socket.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Serves connections. Dropping the future ends them all.
    pub async fn serve(self, tls: Arc<ServerConfig>) {
        let acceptor = TlsAcceptor::from(tls);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let (acceptor, hub) = (acceptor.clone(), Arc::clone(&self.hub));
                        connections.spawn(connection(stream, acceptor, hub));
                    }
                    Err(_) => sleep(ACCEPT_PAUSE).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// A connection from TLS to its end. How it ended is of no interest: the client knows.
async fn connection(stream: TcpStream, acceptor: TlsAcceptor, hub: Arc<Hub>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    // In a box of its own, or every idle session would keep the room of the handshake.
    let handshake = Box::pin(timeout(HANDSHAKE_TIME, acceptor.accept(stream)));
    if let Ok(Ok(tls)) = handshake.await {
        drop(Session::new(tls, hub).run().await);
    }
}

/// Who is connected.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) options: Options,
    queues: Mutex<HashMap<Box<[u8]>, mpsc::Sender<Bytes>>>,
    bound: AtomicU64,
}

impl Hub {
    fn new(options: Options) -> Self {
        Self {
            options,
            queues: Mutex::default(),
            bound: AtomicU64::new(0),
        }
    }

    /// Makes a connection the one that counts for a user.
    pub(crate) fn enter(&self, user: &[u8], queue: mpsc::Sender<Bytes>) {
        self.queues.lock().insert(user.into(), queue);
    }

    /// Forgets a connection, unless another took its place.
    pub(crate) fn leave(&self, user: &[u8], queue: &mpsc::Sender<Bytes>) {
        let mut queues = self.queues.lock();
        if queues
            .get(user)
            .is_some_and(|held| held.same_channel(queue))
        {
            queues.remove(user);
        }
    }

    /// The queue of the user in an address, whatever its resource.
    pub(crate) fn queue(&self, address: &[u8]) -> Option<mpsc::Sender<Bytes>> {
        let at = memchr::memchr(b'@', address)?;
        let (user, domain) = (address.get(..at)?, address.get(at + 1..)?);
        let domain = domain.split(|byte| *byte == b'/').next()?;
        if domain != self.options.domain.as_bytes() {
            return None;
        }
        self.queues.lock().get(user).cloned()
    }

    /// A number that no other session has.
    pub(crate) fn number(&self) -> u64 {
        self.bound.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub() -> Hub {
        Hub::new(Options {
            domain: "relay.localhost".to_owned(),
            gather: false,
            ask: false,
            queue: 1,
        })
    }

    #[test]
    fn a_user_is_found_by_any_address_of_theirs() {
        let (hub, (queue, _inbox)) = (hub(), mpsc::channel(1));
        hub.enter(b"u1", queue.clone());
        for address in ["u1@relay.localhost", "u1@relay.localhost/a@b/c"] {
            let found = hub.queue(address.as_bytes()).unwrap();
            assert!(found.same_channel(&queue), "{address}");
        }
        for address in [
            "",
            "@",
            "u1",
            "u2@relay.localhost",
            "u1@other.localhost",
            "u1@",
        ] {
            assert!(hub.queue(address.as_bytes()).is_none(), "{address}");
        }
    }

    #[test]
    fn the_last_connection_of_a_user_counts() {
        let (hub, (first, _a), (second, _b)) = (hub(), mpsc::channel(1), mpsc::channel(1));
        hub.enter(b"u1", first.clone());
        hub.enter(b"u1", second.clone());
        hub.leave(b"u1", &first);
        assert!(
            hub.queue(b"u1@relay.localhost")
                .unwrap()
                .same_channel(&second)
        );
        hub.leave(b"u1", &second);
        assert!(hub.queue(b"u1@relay.localhost").is_none());
    }
}
