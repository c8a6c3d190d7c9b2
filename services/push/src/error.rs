//! Why the push service does not start, or stops.

use entente_log::LogError;
use entente_node::MetricsError;
use entente_shard::{JournalError, StoreError};

use crate::config::ConfigError;
use crate::sign::KeyError;

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A setting is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The signing key cannot be used.
    #[error("push.key: {0}")]
    Key(#[from] KeyError),
    /// A metric's name is taken.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// Why the service stops: what is pending stays in the log and in the rows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    /// Where the log begins and ends is not known.
    #[error("the wake-up log: {0}")]
    Log(#[from] LogError),
    /// The rows are not there.
    #[error("the rows of push: {0}")]
    Rows(#[from] JournalError),
    /// A part of the service panicked.
    #[error("a part of the push service panicked")]
    Panicked,
    /// Whether progress was stored is unknown.
    #[error(transparent)]
    Store(#[from] StoreError),
}
