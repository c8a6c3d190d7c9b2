//! The two ends of a stream between an edge and the owner of a shard.

use tokio::sync::mpsc;

use super::{EdgeId, ToEdge, ToRouter};

/// What arrives at the owner: on which stream, and what it says. An empty batch means that the stream
/// is gone.
pub type Inbound = (StreamId, Vec<ToRouter>);

/// One stream of an edge. Streams of one edge can follow each other on one way into an owner, which must
/// not take for the newest what was said on one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId {
    /// Whose.
    pub edge: EdgeId,
    /// Counts the streams that one process takes. Means nothing elsewhere.
    pub number: u64,
}

/// The edge's end of one stream to the owner of one shard.
#[derive(Debug)]
pub struct EdgeStream {
    /// Sends batches to the owner.
    pub to_router: EdgeSender,
    /// Receives batches from the owner. Must be drained at all times: credits bound what is in it.
    pub to_edge: mpsc::Receiver<Vec<ToEdge>>,
}

/// Sends batches from one edge to one owner.
#[derive(Clone, Debug)]
pub struct EdgeSender {
    stream: StreamId,
    inner: mpsc::Sender<Inbound>,
}

impl EdgeSender {
    /// Wraps the owner's inbox for one stream.
    pub const fn new(stream: StreamId, inner: mpsc::Sender<Inbound>) -> Self {
        Self { stream, inner }
    }

    /// Hands a batch over, waiting while the owner's inbox is full.
    ///
    /// # Errors
    /// [`StreamGone`] if the owner ended. Dropping the future hands nothing over.
    pub async fn send(&self, batch: Vec<ToRouter>) -> Result<(), StreamGone> {
        if batch.is_empty() {
            return Ok(());
        }
        self.inner
            .send((self.stream, batch))
            .await
            .map_err(|_| StreamGone)
    }

    /// The owner's inbox, for the side of the wire that must also tell that the edge is gone.
    #[cfg(feature = "wire")]
    pub(crate) fn into_inbox(self) -> (StreamId, mpsc::Sender<Inbound>) {
        (self.stream, self.inner)
    }
}

/// The other end of a stream is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream between connection and router ended")]
pub struct StreamGone;
