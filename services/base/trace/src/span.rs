//! What is said of a stage of a sampled message.

use std::time::SystemTime;

use entente_core::{ShardId, TraceContext};

/// A stage that a message passes, of one role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Router of the sender: from admission until the message is durable.
    Append,
    /// Push: a wake-up that the message caused is read, and waits among its partner's.
    Consume,
    /// Router of the recipient: from the log to the stream of the connection.
    Deliver,
    /// Connection of the sender: read, checked, stamped, handed to the router.
    Receive,
    /// Push: one request to the partner.
    Request,
    /// Connection of the recipient: written for the client.
    Write,
}

impl Stage {
    /// The role whose stage it is.
    pub const fn role(self) -> &'static str {
        match self {
            Self::Append | Self::Deliver => "router",
            Self::Consume | Self::Request => "push",
            Self::Receive | Self::Write => "connection",
        }
    }

    /// The span's name: role and stage.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Append => "router append",
            Self::Consume => "push consume",
            Self::Deliver => "router deliver",
            Self::Receive => "connection receive",
            Self::Request => "push request",
            Self::Write => "connection write",
        }
    }

    /// What the stage does with a log, by OpenTelemetry's conventions for messaging: the type of the
    /// operation, and the name of the log. None if it touches none.
    pub const fn messaging(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Append => Some(("send", "input")),
            Self::Consume => Some(("process", "wake")),
            Self::Deliver => Some(("process", "input")),
            Self::Receive | Self::Request | Self::Write => None,
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
    /// Other spans that caused it, of this trace or another.
    pub links: Vec<TraceContext>,
    /// Which stage.
    pub stage: Stage,
    /// The shard whose owner it is, if an owner did it.
    pub shard: Option<ShardId>,
    /// The HTTP status that a peer answered with.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began.
    pub began: SystemTime,
    /// When it ended; not before it began, whatever the clock did.
    pub ended: SystemTime,
}
