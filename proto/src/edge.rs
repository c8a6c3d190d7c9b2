//! The stream between a connection node and the owner of a shard.
//!
//! Many sessions share one stream; each item names its session. Items of one session keep their
//! order in each direction; nothing is promised between sessions.
//!
//! **Positions.** XEP-0198 counts stanzas; here every stanza of a session has a 64-bit position, in
//! each direction, counted from 1 at bind. The edge numbers what it reads. The owner numbers what is
//! written: the edge writes nothing that XEP-0198 counts unless the owner has given it a position,
//! so the owner's twin of the session can answer for an edge that died. `Enabled` tells at which
//! positions the client's own counters were zero; the edge turns positions into `h` modulo 2^32.
//!
//! **Credit.** The owner sends at most as many bytes of deliveries as the edge has granted to the
//! session, so that a slow reader costs its own grant and blocks nobody else on the stream. Both
//! sides count with [`credit_cost`]. The owner may send while any credit is left, so that a stanza
//! larger than what is left gets through; the overdraft is paid by the next grant.
//!
//! **Invariants**
//! - [`ToEdge::Handled`] covers a position only after that stanza was appended durably, refused by a
//!   [`ToEdge::Refused`] *earlier in the stream*, or needs nothing.
//! - Only what no log ever takes is refused. What a log did not take closes the session.
//! - A session that lost its place gets [`ToEdge::Closed`] and nothing after it.
//! - An edge that loses the stream treats every session on it as detached: it re-attaches or closes.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{
    AccountId, Content, Envelope, Epoch, Fault, Position, SessionId, ShardId, Timestamp,
};
use tokio::sync::mpsc;

/// Batches that may wait in each direction of a local stream.
pub const STREAM_BATCHES: usize = 64;
/// Items that one batch may hold; a longer one is split by the sender.
pub const BATCH_ITEMS: usize = 256;

/// One run of one connection node; drawn at random at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeId(pub u64);

/// The secret by which a client names a session that it wants to resume (XEP-0198 `id`).
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeKey(pub [u8; 16]);

impl std::fmt::Debug for ResumeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResumeKey")
    }
}

/// What a connection node tells the owner of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToRouter {
    /// The client's `<a h=…/>`, or the answer to a barrier ping: everything up to here arrived.
    Acked {
        /// The session.
        session: SessionId,
        /// The highest position that the device acknowledged.
        through: Position,
    },
    /// A device logged in and wants to be the one that receives.
    Bind {
        /// A session id that the edge drew.
        session: SessionId,
        /// The account that logged in.
        account: AccountId,
    },
    /// The edge can take so many more bytes of deliveries for the session.
    Credit {
        /// The session.
        session: SessionId,
        /// Bytes of stanzas.
        bytes: u32,
    },
    /// The connection died; the session may be resumed for the resume time.
    Detach {
        /// The session.
        session: SessionId,
    },
    /// The client asked for XEP-0198; answered by `Enabled`.
    Enable {
        /// The session.
        session: SessionId,
        /// The last stanza read before `<enable/>`.
        inbound: Position,
        /// The key for a later resume; none if the client did not ask for resumption.
        resume: Option<ResumeKey>,
    },
    /// The session is over and cannot be resumed.
    End {
        /// The session.
        session: SessionId,
    },
    /// A stanza that needs nothing durable was dealt with: an iq answered, presence parsed.
    Handled {
        /// The session.
        session: SessionId,
        /// Its position.
        position: Position,
    },
    /// The edge has a stanza of its own to write and asks for its position; answered by `Slot`.
    Local {
        /// The session.
        session: SessionId,
    },
    /// A client wants to go on with a session whose connection died.
    Resume {
        /// A session id that the edge drew for the new connection.
        session: SessionId,
        /// The account that logged in on the new connection.
        account: AccountId,
        /// What `<resume previd=…/>` named.
        resume: ResumeKey,
        /// The `h` of `<resume/>`.
        h: u32,
    },
    /// The client is ready for its backlog (initial presence, first stanza or the deadline).
    Start {
        /// The session.
        session: SessionId,
    },
    /// A message or a typing notification for another account.
    Submit {
        /// The session.
        session: SessionId,
        /// The stamped envelope; `epoch` and `position` are those of the session.
        envelope: Box<Envelope>,
    },
}

/// What the owner of a shard tells a connection node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToEdge {
    /// The session holds the newest epoch of its account.
    Bound {
        /// The session.
        session: SessionId,
        /// Its epoch.
        epoch: Epoch,
        /// Entries that wait in the mailbox: the offline count.
        waiting: u32,
    },
    /// The session is over for the owner. Nothing follows.
    Closed {
        /// The session.
        session: SessionId,
        /// Why.
        why: CloseReason,
    },
    /// A stanza to write.
    Deliver {
        /// The session.
        session: SessionId,
        /// Its position in what is written.
        position: Position,
        /// What it is.
        content: Content,
        /// Set if it waited for the device: when it was admitted.
        delayed: Option<Timestamp>,
    },
    /// Answers `Enable`: write `<enabled/>` now.
    Enabled {
        /// The session.
        session: SessionId,
        /// The inbound position at which the client's own count of sent stanzas is zero.
        inbound: Position,
        /// The outbound position at which the client's `h` is zero.
        outbound: Position,
    },
    /// Every inbound stanza up to here is handled: `h` may say so.
    Handled {
        /// The session.
        session: SessionId,
        /// The contiguous prefix.
        through: Position,
    },
    /// A submitted stanza can never be accepted: write its error at this outbound position.
    Refused {
        /// The session.
        session: SessionId,
        /// The position of the error in what is written.
        position: Position,
        /// The stanza's id.
        id: Bytes,
        /// For whom it was.
        to: AccountId,
        /// What to say.
        fault: Fault,
    },
    /// Answers `Resume`: the session lives on under the new session id.
    Resumed {
        /// The new session.
        session: SessionId,
        /// Its epoch.
        epoch: Epoch,
        /// Inbound stanzas handled so far.
        handled: Position,
        /// Inbound position at which the client's count is zero.
        inbound: Position,
        /// Outbound position at which the client's `h` is zero.
        outbound: Position,
        /// Outbound stanzas that the client has; the next one written is the one after.
        acked: Position,
    },
    /// Answers `Local`: write the oldest stanza for which no position was given yet.
    Slot {
        /// The session.
        session: SessionId,
        /// Its position.
        position: Position,
    },
    /// Answers `Resume`: bind afresh; what was not acknowledged comes again.
    Unresumable {
        /// The session.
        session: SessionId,
        /// The client's count of its own stanzas that are surely handled, as `h` counts, if known.
        h: Option<u32>,
        /// Why.
        why: Unresumable,
    },
}

/// What a delivery takes from a session's credit, in bytes: its payload or ids, and a fixed part for
/// the rest of the item. Both sides count with this, so that grants and use never drift apart.
pub fn credit_cost(content: &Content) -> u32 {
    const FIXED: usize = 128;
    let bytes = match content {
        Content::Delivered(delivered) => delivered.ids.iter().map(Bytes::len).sum(),
        Content::Failed(failed) => failed.id.len(),
        Content::IdentityChanged { .. } => 0,
        Content::Stanza(payload) => payload.len(),
    };
    u32::try_from(bytes.saturating_add(FIXED)).unwrap_or(u32::MAX)
}

/// Why a session ended on the owner's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// A newer session of the same account took its place.
    Conflict,
    /// The log did not take what the session sent: send it again later. The session may be resumed.
    Full,
    /// The account was erased, or enlisted anew with another identity key.
    Revoked,
    /// The device acknowledged nothing for too long with a full window.
    Stalled,
    /// The owner gives the shard up or stops; bind or resume again.
    Unavailable,
}

/// Why a session cannot be resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresumable {
    /// `h` is higher than what was sent, or below what was acknowledged.
    BadCount,
    /// The owner has no such session: it ended, timed out, was replaced, or its counters died.
    Unknown,
}

impl ToRouter {
    /// The session that the item is about.
    pub const fn session(&self) -> SessionId {
        match self {
            Self::Acked { session, .. }
            | Self::Bind { session, .. }
            | Self::Credit { session, .. }
            | Self::Detach { session }
            | Self::Enable { session, .. }
            | Self::End { session }
            | Self::Handled { session, .. }
            | Self::Local { session }
            | Self::Resume { session, .. }
            | Self::Start { session }
            | Self::Submit { session, .. } => *session,
        }
    }
}

impl ToEdge {
    /// The session that the item is about.
    pub const fn session(&self) -> SessionId {
        match self {
            Self::Bound { session, .. }
            | Self::Closed { session, .. }
            | Self::Deliver { session, .. }
            | Self::Enabled { session, .. }
            | Self::Handled { session, .. }
            | Self::Refused { session, .. }
            | Self::Resumed { session, .. }
            | Self::Slot { session, .. }
            | Self::Unresumable { session, .. } => *session,
        }
    }
}

/// What arrives at the owner: which edge, and what it says. An empty batch means that the edge's
/// stream is gone.
pub type Inbound = (EdgeId, Vec<ToRouter>);

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
    edge: EdgeId,
    inner: mpsc::Sender<Inbound>,
}

impl EdgeSender {
    /// Wraps the owner's inbox for one edge.
    pub const fn new(edge: EdgeId, inner: mpsc::Sender<Inbound>) -> Self {
        Self { edge, inner }
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
            .send((self.edge, batch))
            .await
            .map_err(|_| StreamGone)
    }

    /// The owner's inbox, for the side of the wire that must also tell that the edge is gone.
    #[cfg(feature = "wire")]
    pub(crate) fn into_inbox(self) -> mpsc::Sender<Inbound> {
        self.inner
    }
}

/// The other end of a stream is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream between connection and router ended")]
pub struct StreamGone;

/// The router service: owns shards, and carries stanzas between sessions and the log.
#[async_trait]
pub trait Router: Send + Sync + std::fmt::Debug {
    /// Opens a stream from a connection node to the owner of a shard.
    ///
    /// # Errors
    /// `Unavailable` if this router does not own the shard now.
    async fn attach(&self, edge: EdgeId, shard: ShardId) -> Result<EdgeStream, Fault>;
}

/// A handle on a router, near or far.
#[derive(Clone, Debug)]
pub struct RouterClient(Arc<dyn Router>);

impl RouterClient {
    /// A handle on a service in this process.
    pub fn local(service: Arc<dyn Router>) -> Self {
        Self(service)
    }

    /// See [`Router::attach`].
    ///
    /// # Errors
    /// As [`Router::attach`].
    pub async fn attach(&self, edge: EdgeId, shard: ShardId) -> Result<EdgeStream, Fault> {
        self.0.attach(edge, shard).await
    }
}
