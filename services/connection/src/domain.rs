//! The certificate of the domain, for a process that shows it without an XMPP door.

use std::sync::Arc;

use entente_node::{Metrics, Note, Tasks};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsConfig;
use crate::error::BuildError;
use crate::events::Meters;
use crate::secure::{ALPN_HTTP, Certificates, SecureError};

/// The certificate of the domain, followed as the XMPP door follows its own.
#[derive(Debug)]
pub struct DomainCertificate(Arc<Certificates>);

impl DomainCertificate {
    /// Reads the files and follows them until the tasks end; `expired` is shown while the chain in
    /// use is over.
    ///
    /// # Errors
    /// [`BuildError`] for a bad certificate or a metric that is there already.
    pub fn follow(
        files: TlsConfig,
        tasks: &Tasks,
        metrics: &Metrics,
        expired: Note,
    ) -> Result<Self, BuildError> {
        let meters = Meters::new(metrics)?;
        let certificates = Arc::new(Certificates::load(files)?);
        let follow = Arc::clone(&certificates).follow(meters, expired);
        let cancelled = tasks.cancelled();
        tasks.spawn("domain-certificate", async move {
            cancelled.run_until_cancelled(follow).await;
        });
        Ok(Self(certificates))
    }

    /// A TLS acceptor for HTTP/1.1.
    ///
    /// # Errors
    /// [`SecureError`] if TLS cannot be set up.
    pub fn https_acceptor(&self) -> Result<TlsAcceptor, SecureError> {
        self.0.acceptor(ALPN_HTTP)
    }
}
