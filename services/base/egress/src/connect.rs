//! Name to connection, with every address judged in between.
//!
//! In: a target that passed the policy. Out: a stream to an address of that target, secured when
//! the scheme says so. The judged address is the connected one: the name is resolved once, and what
//! the resolver would say a moment later does not matter.
//!
//! **Invariants**
//! - No socket is opened before all addresses of the answer passed.
//! - At most [`MAX_LOOKUPS`] lookups run, also those whose caller has gone.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::{EgressError, MinimumTls, Policy, Settings, SettingsError, Target};

/// Lookups at once. A resolver that hangs holds a thread each; they come out of tokio's pool of 512.
const MAX_LOOKUPS: usize = 32;

/// Addresses tried per request: more are judged, not used.
const MAX_ATTEMPTS: usize = 4;

/// A secured or plain byte stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Says which addresses a name has. Answers are not trusted.
#[async_trait]
pub(crate) trait Resolve: Send + Sync {
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// Opens connections to judged addresses.
pub(crate) struct Connector {
    policy: Policy,
    resolver: Box<dyn Resolve>,
    tls: TlsConnector,
    attempt: Duration,
}

impl Connector {
    pub(crate) fn new(
        settings: &Settings,
        resolver: Box<dyn Resolve>,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            policy: settings.policy(),
            resolver,
            tls: TlsConnector::from(Arc::new(tls(settings)?)),
            attempt: settings.connect.get(),
        })
    }

    /// Opens a stream to the target; `https` ones are verified for its host.
    pub(crate) async fn connect(&self, target: &Target) -> Result<Box<dyn Stream>, EgressError> {
        self.policy.admits(target)?;
        let addresses = self.addresses(target).await?;
        let stream = self.dial(&addresses).await?;
        if !target.is_https() {
            return Ok(Box::new(stream));
        }
        let name = match target.literal() {
            Some(address) => ServerName::from(address),
            None => ServerName::try_from(target.host().to_owned())
                .map_err(|_| EgressError::TargetRefused)?,
        };
        match self.tls.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(_) => Err(EgressError::Tls),
        }
    }

    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, EgressError> {
        let addresses = match target.literal() {
            Some(address) => vec![SocketAddr::new(address, target.port())],
            None => self
                .resolver
                .resolve(&self.absolute(target.host()), target.port())
                .await
                .map_err(|_| EgressError::NameUnknown)?,
        };
        if addresses.is_empty() {
            return Err(EgressError::NameUnknown);
        }
        if !addresses.iter().all(|address| self.admits(address)) {
            return Err(EgressError::AddressRefused);
        }
        Ok(addresses)
    }

    /// A last dot keeps the resolver from trying the search domains of the cluster.
    fn absolute(&self, host: &str) -> String {
        if self.policy.is_development() {
            host.to_owned()
        } else {
            format!("{host}.")
        }
    }

    fn admits(&self, address: &SocketAddr) -> bool {
        let scoped = matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0);
        !scoped && self.policy.admits_address(address.ip())
    }

    async fn dial(&self, addresses: &[SocketAddr]) -> Result<TcpStream, EgressError> {
        for address in addresses.iter().take(MAX_ATTEMPTS) {
            let address = SocketAddr::new(canonical(address.ip()), address.port());
            if let Ok(Ok(stream)) = timeout(self.attempt, TcpStream::connect(address)).await {
                // Requests are written whole; waiting for more to send only adds delay.
                let _ignored: io::Result<()> = stream.set_nodelay(true);
                return Ok(stream);
            }
        }
        Err(EgressError::Unreachable)
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// The operating system's resolver.
#[derive(Debug)]
pub(crate) struct SystemResolver(Arc<Semaphore>);

impl SystemResolver {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_LOOKUPS)))
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let permit = Arc::clone(&self.0).acquire_owned().await;
        let permit = permit.map_err(io::Error::other)?;
        let name = name.to_owned();
        // The lookup cannot be cancelled, so its permit goes with it and not with the caller.
        let lookup = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            (name.as_str(), port)
                .to_socket_addrs()
                .map(Iterator::collect)
        });
        lookup.await.map_err(io::Error::other)?
    }
}

/// What is judged is what is dialled: the inner address of a mapped one.
const fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn tls(settings: &Settings) -> Result<rustls::ClientConfig, SettingsError> {
    let versions: &[_] = match settings.minimum_tls {
        MinimumTls::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        MinimumTls::V1_3 => &[&rustls::version::TLS13],
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(SettingsError::Tls)?
        .with_root_certificates(roots(settings)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(settings: &Settings) -> Result<RootCertStore, SettingsError> {
    let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    let Some(path) = &settings.extra_roots else {
        return Ok(roots);
    };
    let pem = std::fs::read(path).map_err(SettingsError::Roots)?;
    let mut extra = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| SettingsError::NoRoots)?;
        roots.add(certificate).map_err(|_| SettingsError::NoRoots)?;
        extra += 1;
    }
    if extra == 0 {
        return Err(SettingsError::NoRoots);
    }
    Ok(roots)
}

#[cfg(test)]
mod tests;
