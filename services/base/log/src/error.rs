//! Why a log did not do what it was asked.

use entente_core::{FaultKind, Offset};

/// A refusal or failure of a log. Carries nothing of a payload and no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Too much waits to be written; nothing was appended.
    #[error("too many appends wait for the log")]
    Busy,
    /// The log was closed; nothing was appended.
    #[error("the log is closed")]
    Closed,
    /// A stored record does not have its checksum.
    #[error("a stored record is damaged")]
    Corrupt,
    /// An append of no record at all.
    #[error("the batch is empty")]
    EmptyBatch,
    /// There is no space; nothing was appended.
    #[error("the log is full")]
    Full,
    /// A record or a batch is larger than the log takes; nothing was appended.
    #[error("a record is too large for the log")]
    TooLarge,
    /// The records asked for are gone.
    #[error("records below offset {floor} are gone")]
    Truncated {
        /// The lowest offset that may still be read.
        floor: Offset,
    },
    /// The log has failed or cannot be reached; nothing was appended.
    #[error("the log is not available")]
    Unavailable,
    /// The batch may or may not have been appended: not to be acknowledged, and not to be called lost.
    #[error("whether the batch was appended is unknown")]
    UnknownOutcome,
    /// The log has fewer partitions than that.
    #[error("no such partition")]
    UnknownPartition,
}

impl LogError {
    /// Who is to blame, and whether to retry.
    pub const fn kind(self) -> FaultKind {
        match self {
            Self::Busy | Self::Full => FaultKind::Overloaded,
            Self::Closed | Self::Unavailable => FaultKind::Unavailable,
            Self::Corrupt | Self::EmptyBatch | Self::UnknownPartition => FaultKind::Internal,
            Self::TooLarge => FaultKind::PeerMisbehaved,
            Self::Truncated { .. } => FaultKind::NotFound,
            Self::UnknownOutcome => FaultKind::Deadline,
        }
    }
}
