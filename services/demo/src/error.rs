//! Why a demonstration ended early.

use std::io;

use entente_kit::client::ClientError;
use entente_kit::cluster::ClusterError;
use entente_kit::device::DeviceGone;
use entente_kit::enlist::EnlistError;
use entente_kit::http::HttpError;
use entente_kit::partner::{PartnerError, SignerError};
use entente_kit::process::ProcessError;
use entente_kit::trust::TrustError;

use crate::signal::SignalError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The gateway did not do what it promises.
    #[error("check failed: {check}: {found}")]
    Check {
        /// What was expected.
        check: &'static str,
        /// What was found.
        found: String,
    },
    /// A client could not go on.
    #[error("client: {0}")]
    Client(#[from] ClientError),
    /// A cluster does not do what it is told.
    #[error("the cluster: {0}")]
    Cluster(#[from] ClusterError),
    /// A device ended.
    #[error(transparent)]
    Device(#[from] DeviceGone),
    /// A user was not enlisted.
    #[error(transparent)]
    Enlist(#[from] EnlistError),
    /// A file, a folder or the screen.
    #[error("{what}: {source}")]
    File {
        /// Which.
        what: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// A request got no answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// `entente init` failed.
    #[error("entente init failed: {0}")]
    Init(String),
    /// A partner could not start.
    #[error(transparent)]
    Partner(#[from] PartnerError),
    /// The gateway process.
    #[error("the gateway: {0}; its log: {1}")]
    Process(ProcessError, String),
    /// Signal arithmetic.
    #[error(transparent)]
    Signal(#[from] SignalError),
    /// A token could not be made.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// Certificates.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl DemoError {
    /// For `map_err` of what the operating system does.
    pub(crate) fn file(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { what, source }
    }
}

/// The error of a check, if it does not hold.
pub(crate) fn check(holds: bool, check: &'static str, found: &str) -> Result<(), DemoError> {
    if holds {
        return Ok(());
    }
    Err(DemoError::Check {
        check,
        found: found.to_owned(),
    })
}
