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
//! - The living edge is the authority for what was read and written: an owner that answers for a session
//!   anew takes it from the edge's [`Report`].
//!
//! **When the stream ends**, sessions live on at the edge. It attaches again, to whoever owns the shard by
//! then, and for each session sends one [`ToRouter::Reattach`], followed by everything that the end of the
//! stream may have swallowed, in order, before anything new: each stanza without an outcome, and each
//! request for a place that was not answered. Nothing of a session counts on the new stream before its
//! `Reattach`. The owner accepts if the log has no newer epoch of the account than the session's; else
//! it says [`ToEdge::Closed`]. What it said on the stream that ended and did not arrive is void: positions
//! above those of the report are given out again. Stanzas that the log has already are told by their ids,
//! or by epoch and position, which a session keeps.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{
    AccountId, Content, Envelope, Epoch, Fault, Position, Sequence, SessionId, ShardId, Timestamp,
    TraceContext,
};

mod report;
mod stream;

pub use report::{Management, Refusal, Report, Unacked};
pub use stream::{EdgeSender, EdgeStream, Inbound, StreamGone, StreamId};

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
    /// The session's stream ended and its connection did not; answered by `Reattached` or `Closed`.
    Reattach {
        /// The session.
        session: SessionId,
        /// Where it stands.
        report: Box<Report>,
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
        /// The stamped envelope; `epoch` and `position` are those of the session. Shared: the edge keeps
        /// it until it has its outcome.
        envelope: Arc<Envelope>,
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
        /// Which mailbox entry it is; none if it is in no mailbox and never comes again.
        sequence: Option<Sequence>,
        /// What it is.
        content: Content,
        /// Set if it waited for the device: when it was admitted.
        delayed: Option<Timestamp>,
        /// The trace to which the hand-over belongs.
        trace: Option<TraceContext>,
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
    /// Answers `Reattach`: the session goes on.
    Reattached {
        /// The session.
        session: SessionId,
    },
    /// A submitted stanza can never be accepted: write its error at the position that the refusal names.
    Refused {
        /// The session.
        session: SessionId,
        /// Of which stanza, and why.
        refusal: Refusal,
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
    /// For a reason that this program does not know; bind or resume again.
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
            | Self::Reattach { session, .. }
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
            | Self::Reattached { session }
            | Self::Refused { session, .. }
            | Self::Resumed { session, .. }
            | Self::Slot { session, .. }
            | Self::Unresumable { session, .. } => *session,
        }
    }
}

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
