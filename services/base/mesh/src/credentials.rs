//! What this node shows and whom it trusts, read from files and read again when they change.
//!
//! **Invariants**
//! - Files that cannot be read or used never replace good ones.
//! - A handshake uses one consistent set, the newest at its start.

use std::fs::Metadata;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::time::{MissedTickBehavior, interval};

use crate::events::Events;
use crate::name::NodeName;
use crate::verify::{Answerer, Caller, Refused, Wanted, names};

/// HTTP/2 is all that is spoken (RFC 9113 3.2).
const ALPN: &[u8] = b"h2";

/// Where certificates lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialFiles {
    /// The authorities whose certificates are taken, in PEM.
    pub authority: PathBuf,
    /// The chain that this node shows, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// How often they are looked at.
    pub poll: Duration,
}

/// Why certificates are not taken.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read as PEM.
    #[error("{file}: {error}")]
    File {
        /// Which.
        file: String,
        /// Why.
        error: rustls::pki_types::pem::Error,
    },
    /// There is no authority in the file.
    #[error("{0}: no certificate of an authority in it")]
    NoAuthority(String),
    /// The chain does not name this node.
    #[error("{file}: {refused}")]
    Name {
        /// The file of the chain.
        file: String,
        /// What is wrong with it.
        refused: Refused,
    },
    /// The chain lacks a name that this process needs.
    #[error("{file}: it does not name {wanted}")]
    NotNamed {
        /// The file of the chain.
        file: String,
        /// What it would have to name.
        wanted: String,
    },
    /// Certificate and key cannot be used.
    #[error("{file}: {error}")]
    Tls {
        /// The file of the chain.
        file: String,
        /// Why.
        error: rustls::Error,
    },
}

/// The certificates in use.
#[derive(Debug)]
pub struct Credentials {
    files: CredentialFiles,
    own: Vec<NodeName>,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<Loaded>,
    first: Version,
}

/// One consistent reading of the files.
#[derive(Debug)]
struct Loaded {
    roots: Arc<RootCertStore>,
    key: Arc<CertifiedKey>,
    /// For the side that answers: it depends on nothing but the files.
    server: Arc<ServerConfig>,
}

/// What tells that files changed.
type Version = [Option<(SystemTime, u64)>; 3];

impl Credentials {
    /// Reads the files, whose chain must name all of `own`.
    ///
    /// # Errors
    /// [`CredentialsError`] names the file.
    pub fn load(files: CredentialFiles, own: Vec<NodeName>) -> Result<Self, CredentialsError> {
        let provider = Arc::new(ring::default_provider());
        let paths = [&files.authority, &files.certificate, &files.key];
        let first = paths.map(|path| stamp(std::fs::metadata(path)));
        let current = read(&files, &own, &provider)?;
        Ok(Self {
            files,
            own,
            provider,
            current: ArcSwap::from_pointee(current),
            first,
        })
    }

    /// What this node is called.
    pub fn own(&self) -> &[NodeName] {
        &self.own
    }

    /// Takes new files into use as they appear. Connections that exist are not touched.
    pub async fn follow(self: Arc<Self>, events: Events) {
        let mut seen = self.first;
        let mut tick = interval(self.files.poll.max(Duration::from_millis(100)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let version = self.version().await;
            if version == seen {
                continue;
            }
            seen = version;
            match read(&self.files, &self.own, &self.provider) {
                Ok(fresh) => {
                    self.current.store(Arc::new(fresh));
                    events.credentials_loaded();
                }
                Err(error) => events.credentials_kept(&error),
            }
        }
    }

    async fn version(&self) -> Version {
        [
            stamp(tokio::fs::metadata(&self.files.authority).await),
            stamp(tokio::fs::metadata(&self.files.certificate).await),
            stamp(tokio::fs::metadata(&self.files.key).await),
        ]
    }

    /// How a handshake is answered now.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().server)
    }

    /// How a handshake with somebody is begun now.
    pub(crate) fn client(&self, wanted: Wanted) -> Result<ClientConfig, rustls::Error> {
        let loaded = self.current.load();
        let answerer = Answerer {
            roots: Arc::clone(&loaded.roots),
            algorithms: self.provider.signature_verification_algorithms,
            wanted,
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(answerer))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&loaded.key))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Each connection proves anew who is at its ends.
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_sni = false;
        Ok(config)
    }
}

fn read(
    files: &CredentialFiles,
    own: &[NodeName],
    provider: &Arc<CryptoProvider>,
) -> Result<Loaded, CredentialsError> {
    let shown = |path: &PathBuf| path.display().to_string();
    let file = shown(&files.certificate);
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(pem(&files.authority)?);
    if roots.is_empty() {
        return Err(CredentialsError::NoAuthority(shown(&files.authority)));
    }
    let roots = Arc::new(roots);
    let chain = pem(&files.certificate)?;
    check_names(&file, &chain, own)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| CredentialsError::File {
        file: shown(&files.key),
        error,
    })?;
    let tls = |error| CredentialsError::Tls {
        file: file.clone(),
        error,
    };
    let key = Arc::new(CertifiedKey::from_der(chain, key, provider).map_err(tls)?);
    let deployment = own.first().map_or("", NodeName::deployment).into();
    let caller = Caller::new(Arc::clone(&roots), Arc::clone(provider), deployment).map_err(tls)?;
    let mut server = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls)?
        .with_client_cert_verifier(Arc::new(caller))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&key))));
    server.alpn_protocols = vec![ALPN.to_vec()];
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(Loaded {
        roots,
        key,
        server: Arc::new(server),
    })
}

fn pem(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    all.map_err(|error| CredentialsError::File {
        file: path.display().to_string(),
        error,
    })
}

fn check_names(
    file: &str,
    chain: &[CertificateDer<'_>],
    own: &[NodeName],
) -> Result<(), CredentialsError> {
    let deployment = own.first().map_or("", NodeName::deployment);
    let named = match chain.first() {
        Some(certificate) => names(certificate, deployment),
        None => Err(Refused::Unreadable),
    };
    let named = named.map_err(|refused| CredentialsError::Name {
        file: file.to_owned(),
        refused,
    })?;
    match own.iter().find(|name| !named.contains(name)) {
        Some(missing) => Err(CredentialsError::NotNamed {
            file: file.to_owned(),
            wanted: missing.to_string(),
        }),
        None => Ok(()),
    }
}

fn stamp(metadata: std::io::Result<Metadata>) -> Option<(SystemTime, u64)> {
    let metadata = metadata.ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
