//! TLS on the client's side: TLS 1.3 only, the certificate of the domain, tickets for resumption.
//!
//! In: a socket. Out: an encrypted one whose peer finished the handshake in time.
//!
//! **Invariants**
//! - No early data: what it carries could be replayed (T34).
//! - Ticket keys live in memory, one set a listener, so no ticket crosses listeners (T74).
//! - Plain text on the port ends the connection without a banner (T38).
//! - A certificate that cannot be read or used never replaces a good one (T77).
//! - The end of the chain in use is a metric, and near it a line a day (T77).

mod expiry;

use std::fs::Metadata;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use entente_core::Timestamp;
use entente_node::Note;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use self::expiry::{Alarm, Watch};
use crate::config::TlsConfig;
use crate::events::{self, Meters};

/// ALPN of direct TLS (XEP-0368).
pub(crate) const ALPN_XMPP: &[u8] = b"xmpp-client";
/// ALPN of the WebSocket listener: RFC 6455 is an upgrade of HTTP/1.1.
pub(crate) const ALPN_HTTP: &[u8] = b"http/1.1";

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum SecureError {
    /// A file cannot be read as PEM.
    #[error("certificate or key cannot be read")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The files are not a certificate chain with its key.
    #[error("certificate and key cannot be used")]
    Tls(#[from] rustls::Error),
}

/// The certificate in use, and the files that it comes from.
#[derive(Debug)]
pub(crate) struct Certificates {
    files: TlsConfig,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<Served>,
    /// What the files were before they were first read: a change since then is one.
    first: Version,
}

/// A chain with its key.
#[derive(Debug)]
struct Served {
    key: Arc<CertifiedKey>,
    /// When the first certificate of the chain ends.
    ends: Option<Timestamp>,
}

/// What tells that a file changed.
type Version = [Option<(SystemTime, u64)>; 2];

impl Certificates {
    /// Reads the files.
    pub(crate) fn load(files: TlsConfig) -> Result<Self, SecureError> {
        let provider = Arc::new(ring::default_provider());
        let first = [&files.certificate, &files.key].map(|path| stamp(std::fs::metadata(path)));
        let current = read(&files, &provider)?;
        Ok(Self {
            first,
            files,
            provider,
            current: ArcSwap::from_pointee(current),
        })
    }

    /// An acceptor for one listener, with ticket keys of its own.
    pub(crate) fn acceptor(self: &Arc<Self>, alpn: &[u8]) -> Result<TlsAcceptor, SecureError> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Self>::clone(self));
        config.alpn_protocols = vec![alpn.to_vec()];
        config.ticketer = ring::Ticketer::new()?;
        // One ticket is what a client uses; each costs a record in the first flight.
        config.send_tls13_tickets = 1;
        config.max_early_data_size = 0;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// When the first certificate of the chain in use ends.
    pub(crate) fn ends(&self) -> Option<Timestamp> {
        self.current.load().ends
    }

    /// Takes new files into use as they appear. Sessions that exist are not touched. `expired` holds
    /// while the chain in use is over: the node goes on, since its sessions do.
    pub(crate) async fn follow(self: Arc<Self>, meters: Meters, expired: Note) {
        let mut seen = self.first;
        let mut watch = Watch::new(self.files.expiry_warning.get());
        let mut tick = tokio::time::interval(self.files.poll.get().max(Duration::from_secs(1)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let version = self.version().await;
            if version != seen {
                seen = version;
                self.reload(&meters);
                watch.renew();
            }
            if let Some(ends) = self.ends() {
                tell(ends, &mut watch, &meters, &expired);
            }
        }
    }

    /// Reads the files again and keeps the last good pair if they are no good.
    fn reload(&self, meters: &Meters) {
        match read(&self.files, &self.provider) {
            Ok(fresh) => {
                self.current.store(Arc::new(fresh));
                events::CertificateLoaded.emit(meters);
            }
            Err(error) => events::CertificateKept { error: &error }.emit(meters),
        }
    }

    async fn version(&self) -> Version {
        [
            stamp(tokio::fs::metadata(&self.files.certificate).await),
            stamp(tokio::fs::metadata(&self.files.key).await),
        ]
    }
}

impl ResolvesServerCert for Certificates {
    // Clients without a server name, and with another one, get the same: RFC 6120 has the name in
    // the stream header, and the client checks the certificate.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().key))
    }
}

/// Shows how long a chain is good, and says so when it is due.
fn tell(ends: Timestamp, watch: &mut Watch, meters: &Meters, expired: &Note) {
    let now = Timestamp::now();
    meters.certificate_left(ends, now);
    expired.set(ends <= now);
    match watch.due(ends, now) {
        Some(Alarm::Soon(left)) => events::CertificateEnds { left }.emit(),
        Some(Alarm::Expired) => events::CertificateExpired.emit(),
        None => {}
    }
}

fn read(files: &TlsConfig, provider: &CryptoProvider) -> Result<Served, SecureError> {
    let chain =
        CertificateDer::pem_file_iter(&files.certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&files.key)?;
    let ends = expiry::first_end(chain.iter().map(|certificate| certificate.as_ref()));
    let key = Arc::new(CertifiedKey::from_der(chain, key, provider)?);
    Ok(Served { key, ends })
}

fn stamp(metadata: std::io::Result<Metadata>) -> Option<(SystemTime, u64)> {
    let metadata = metadata.ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
