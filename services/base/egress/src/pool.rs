//! Connections that wait for their next request.
//!
//! An idle connection is not driven by any task: it is looked at once when it is taken out, which
//! shows whether the server has closed it or said something unasked. So nothing runs for a pool
//! that nobody uses, and dropping the pool closes everything.
//!
//! **Invariants**
//! - At most `max_idle` connections are kept, over all hosts; the oldest goes first.
//! - A connection goes to the same scheme, host and port for which it was opened.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Connections of kind `C` by origin.
#[derive(Debug)]
pub(crate) struct Pool<C> {
    max_idle: usize,
    idle: Duration,
    /// Oldest first. Short, so that a walk is cheaper than an index.
    connections: Mutex<VecDeque<(Origin, Instant, C)>>,
}

/// Whose connection it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) https: bool,
    pub(crate) authority: String,
}

impl<C> Pool<C> {
    pub(crate) const fn new(max_idle: usize, idle: Duration) -> Self {
        Self {
            max_idle,
            idle,
            connections: Mutex::new(VecDeque::new()),
        }
    }

    /// Takes out the connection to the origin that was used last.
    pub(crate) fn take(&self, origin: &Origin) -> Option<C> {
        let mut connections = self.connections.lock();
        self.expire(&mut connections);
        let place = connections.iter().rposition(|(of, ..)| of == origin)?;
        connections
            .remove(place)
            .map(|(_, _, connection)| connection)
    }

    /// Keeps a connection for later.
    pub(crate) fn keep(&self, origin: Origin, connection: C) {
        let mut connections = self.connections.lock();
        self.expire(&mut connections);
        connections.push_back((origin, Instant::now(), connection));
        while connections.len() > self.max_idle {
            connections.pop_front();
        }
    }

    fn expire(&self, connections: &mut VecDeque<(Origin, Instant, C)>) {
        while let Some((_, since, _)) = connections.front()
            && since.elapsed() >= self.idle
        {
            connections.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(authority: &str) -> Origin {
        Origin {
            https: true,
            authority: authority.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_to_its_bounds_and_its_origins() {
        let pool = Pool::new(2, Duration::from_secs(30));
        for (name, connection) in [("a", 1), ("b", 2), ("b", 3)] {
            pool.keep(origin(name), connection);
        }
        assert_eq!(pool.take(&origin("a")), None, "the oldest made room");
        assert_eq!(pool.take(&origin("b")), Some(3));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(pool.take(&origin("b")), None, "it was idle for too long");
    }
}
