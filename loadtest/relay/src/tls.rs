//! The relay's certificate: from files, or of an authority that lives as long as the process.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// TLS 1.3 with the chain and key of two PEM files.
///
/// # Errors
/// If they cannot be read or do not fit.
pub fn load(chain: &Path, key: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect)
        .with_context(|| chain.display().to_string())?;
    let private = PrivateKeyDer::from_pem_file(key).with_context(|| key.display().to_string())?;
    config(certificates, private)
}

/// A development authority and what it issued.
#[derive(Debug)]
pub struct Authority {
    /// Its certificate as PEM, for clients that are to trust it.
    pub pem: String,
    /// TLS 1.3 with a certificate that it issued.
    pub config: Arc<ServerConfig>,
}

impl Authority {
    /// Draws keys and issues a certificate for a DNS name.
    ///
    /// # Errors
    /// If the name is none.
    pub fn new(domain: &str) -> anyhow::Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let name = "development authority of the relay";
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(vec![domain.to_owned()])?.signed_by(&key, &issuer)?;
        let private = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
        let config = config(vec![leaf.der().clone()], private)?;
        Ok(Self { pem, config })
    }
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> anyhow::Result<Arc<ServerConfig>> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    // XEP-0368 5: the name of XMPP over direct TLS.
    config.alpn_protocols = vec![b"xmpp-client".to_vec()];
    Ok(Arc::new(config))
}
