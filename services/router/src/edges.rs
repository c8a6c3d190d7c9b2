//! The streams of connection nodes: what is sent on them, and when one is given up.
//!
//! In: items that the stages left for an edge. Out: batches on its stream. The owner never waits for
//! an edge: what does not fit stays with it, and a future tells when there is room again.
//!
//! **Invariants**
//! - Items of one edge keep their order.
//! - A session whose edge is not attached is detached.
//! - What waits for an edge is bounded by the credits of its sessions and by [`EDGE_PATIENCE`].

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use entente_proto::edge::{BATCH_ITEMS, EdgeId, StreamId, ToEdge};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout;

use crate::events::Events;
use crate::owner::Owner;

/// A connection node that does not drain its stream for so long is taken for dead.
const EDGE_PATIENCE: Duration = Duration::from_secs(5);

/// A connection node's stream.
#[derive(Debug)]
pub(crate) struct Edge {
    /// Tells this stream from an earlier one of the same node.
    number: u64,
    sender: mpsc::Sender<Vec<ToEdge>>,
    batch: Vec<ToEdge>,
    /// The stream is full; a [`Draining`] is under way.
    waits: bool,
}

/// Whether a stream that was full has room now.
#[derive(Debug)]
pub(crate) struct Drained {
    stream: StreamId,
    has_room: bool,
}

pub(crate) type Draining = Pin<Box<dyn Future<Output = Drained> + Send>>;

/// What a stream did with what it was given.
enum Sent {
    All,
    Full,
    Gone,
}

impl Edge {
    pub(crate) fn push(&mut self, item: ToEdge) {
        self.batch.push(item);
    }

    fn send(&mut self) -> Sent {
        while !self.batch.is_empty() {
            let rest = self.batch.split_off(self.batch.len().min(BATCH_ITEMS));
            let head = std::mem::replace(&mut self.batch, rest);
            match self.sender.try_send(head) {
                Ok(()) => {}
                Err(TrySendError::Closed(_)) => return Sent::Gone,
                Err(TrySendError::Full(mut head)) => {
                    head.append(&mut self.batch);
                    self.batch = head;
                    return Sent::Full;
                }
            }
        }
        Sent::All
    }

    fn draining(&self, edge: EdgeId) -> Draining {
        let (number, sender) = (self.number, self.sender.clone());
        Box::pin(async move {
            let room = timeout(EDGE_PATIENCE, sender.reserve_owned()).await;
            Drained {
                stream: StreamId { edge, number },
                has_room: matches!(room, Ok(Ok(_))),
            }
        })
    }
}

impl Owner {
    /// Takes a node's stream. One that it had before is gone, with what was on it.
    pub(crate) fn attach(&mut self, stream: StreamId, sender: mpsc::Sender<Vec<ToEdge>>) {
        self.lose_edge(stream.edge);
        let edge = Edge {
            number: stream.number,
            sender,
            batch: Vec::new(),
            waits: false,
        };
        self.edges.insert(stream.edge, edge);
    }

    /// Whether a stream is the one that its node has now.
    pub(crate) fn has_stream(&self, stream: StreamId) -> bool {
        let edge = self.edges.get(&stream.edge);
        edge.is_some_and(|edge| edge.number == stream.number)
    }

    pub(crate) fn tell(&mut self, edge: EdgeId, item: ToEdge) {
        if let Some(edge) = self.edges.get_mut(&edge) {
            edge.push(item);
        }
    }

    /// Sends what the turn left, as far as the streams have room.
    pub(crate) fn flush_edges(&mut self) {
        let mut lost = Vec::new();
        for (id, edge) in self.edges.iter_mut().filter(|(_, edge)| !edge.waits) {
            match edge.send() {
                Sent::All => {}
                Sent::Full => {
                    edge.waits = true;
                    self.draining.push(edge.draining(*id));
                }
                Sent::Gone => lost.push(*id),
            }
        }
        for edge in lost {
            self.lose_edge(edge);
        }
    }

    pub(crate) fn drained(&mut self, drained: &Drained) {
        let id = drained.stream.edge;
        let Some(edge) = self.edges.get_mut(&id) else {
            return;
        };
        if edge.number != drained.stream.number {
            return;
        }
        edge.waits = false;
        if !drained.has_room {
            Events::edge_lost(self.shard.id());
            self.lose_edge(id);
        }
    }

    /// The stream is gone: its sessions wait for a report or a resume, and what it asked for is void.
    pub(crate) fn lose_edge(&mut self, edge: EdgeId) {
        if self.edges.remove(&edge).is_none() {
            return;
        }
        let twins = self.twins.values().filter(|twin| twin.edge == edge);
        let sessions: Vec<_> = twins.map(|twin| twin.session).collect();
        for session in sessions {
            self.detach(session);
            // What the edge said before it knew may follow on its next stream, and would pass what was
            // lost with this one.
            self.sessions.remove(&session);
        }
        self.opening.retain(|_, opening| opening.edge != edge);
        self.resuming.retain(|_, asked| asked.edge != edge);
    }
}
