//! What is said of a stage of a sampled message.

use std::time::SystemTime;

use entente_core::ShardId;

/// A stage that a message passes, of one role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Router of the sender: from admission until the message is durable.
    Append,
    /// Router of the recipient: from the log to the stream of the connection.
    Deliver,
    /// Connection of the sender: read, checked, stamped, handed to the router.
    Receive,
    /// Connection of the recipient: written for the client.
    Write,
}

impl Stage {
    /// The role whose stage it is.
    pub const fn role(self) -> &'static str {
        match self {
            Self::Append | Self::Deliver => "router",
            Self::Receive | Self::Write => "connection",
        }
    }

    /// The span's name: role and stage.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Append => "router append",
            Self::Deliver => "router deliver",
            Self::Receive => "connection receive",
            Self::Write => "connection write",
        }
    }
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Done,
    /// Given up, or of an outcome that nobody knows.
    Unfinished,
}

impl Outcome {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Unfinished => "unfinished",
        }
    }
}

/// A finished span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Shared by all spans of the message.
    pub trace_id: [u8; 16],
    /// Its own id.
    pub span_id: [u8; 8],
    /// The span that caused it; none for the first.
    pub parent: Option<[u8; 8]>,
    /// Which stage.
    pub stage: Stage,
    /// The shard whose owner it is, if an owner did it.
    pub shard: Option<ShardId>,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began.
    pub began: SystemTime,
    /// When it ended; not before it began, whatever the clock did.
    pub ended: SystemTime,
}
