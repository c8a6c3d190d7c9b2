//! Why an owner gave its shard up.

use entente_core::FaultKind;
use entente_log::LogError;
use entente_shard::{JournalError, StoreError};

/// A fault of an owner. Its streams end, and the shard is claimed anew, here or elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// The log failed under the owner.
    #[error("the log failed: {0}")]
    Log(#[from] LogError),
    /// The log has failed, by a failed sync or write, and acknowledges nothing until it is opened
    /// anew: what is on the disk is for a recovery to say.
    #[error("{0}: the log has to be opened anew")]
    LogFailed(&'static str),
    /// The shard's rows are not all there, or do not reach back to what the log still has.
    #[error("the store covers less than the log has dropped: restore the store from a copy")]
    LostRows,
    /// Another owner has claimed the shard.
    #[error("another owner has claimed the shard")]
    Fenced,
    /// Another claim came first, perhaps one that an owner wrote before it died.
    #[error("another claim of the shard came first")]
    Outrun,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whether a command is in the log is unknown.
    #[error("whether a command is in the log is unknown")]
    UnknownOutcome,
}

impl From<JournalError> for RouterError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Fenced => Self::Outrun,
            JournalError::Log(error) => Self::Log(error),
            JournalError::Store(StoreError::Torn) => Self::LostRows,
            JournalError::Store(error) => Self::Store(error),
        }
    }
}

impl RouterError {
    /// Whether nothing but another process can go on. `is_fixed` tells whether the shard is always
    /// assigned here.
    pub(crate) const fn is_final(&self, is_fixed: bool) -> bool {
        match self {
            Self::Fenced => is_fixed,
            Self::LogFailed(_) | Self::LostRows => true,
            Self::Log(_) | Self::Outrun | Self::Store(_) | Self::UnknownOutcome => false,
        }
    }

    /// Whether a person must look. Owners that follow each other are how shards move, and what fails with
    /// the log ends with it: the log says itself that it takes nothing.
    pub(crate) const fn needs_a_person(&self, is_fixed: bool) -> bool {
        match self {
            Self::Store(_) => true,
            other => other.is_final(is_fixed),
        }
    }

    /// Who is to blame, and whether to retry.
    pub const fn kind(&self) -> FaultKind {
        match self {
            Self::Fenced | Self::Outrun => FaultKind::Conflict,
            Self::Log(_) | Self::LogFailed(_) | Self::UnknownOutcome => FaultKind::Unavailable,
            Self::LostRows | Self::Store(_) => FaultKind::Internal,
        }
    }
}
