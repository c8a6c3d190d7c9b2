//! Why the service cannot start.

use std::net::SocketAddr;

use entente_core::FaultKind;
use entente_node::MetricsError;

use crate::config::ConfigError;
use crate::secure::SecureError;

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A setting cannot work.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// The certificate is no good.
    #[error("TLS: {0}")]
    Secure(#[from] SecureError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// Two services of one process want the same metric.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

impl BuildError {
    /// Who is to blame: the operator, or the machine.
    pub const fn kind(&self) -> FaultKind {
        match self {
            Self::Config(_) | Self::Secure(_) => FaultKind::Forbidden,
            Self::Listen { .. } => FaultKind::Unavailable,
            Self::Metrics(_) => FaultKind::Internal,
        }
    }
}
