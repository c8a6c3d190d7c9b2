//! Whether the other end of a connection is who it should be.
//!
//! In: the chain that it showed. Out: yes, or a reason that a person can act on. The chain is
//! checked by webpki against the deployment's authority; this adds what the certificate must name.
//! DNS names and addresses in it say nothing: nodes move.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    SignatureScheme,
};
use webpki::EndEntityCert;

use crate::name::{NodeName, Role};

/// Why a peer's certificate is not taken, beyond what webpki says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It names no node.
    #[error("the certificate names no node: it has no entente:// URI")]
    NoName,
    /// It is of another deployment.
    #[error("the certificate is of the deployment {found}, and this one is {own}")]
    OtherDeployment {
        /// What it says.
        found: Box<str>,
        /// What it would have to say.
        own: Box<str>,
    },
    /// It cannot be read.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// It is of another node than the one that was called.
    #[error("the certificate names {found}, where {wanted} was to answer")]
    WrongNode {
        /// What it says.
        found: Box<str>,
        /// Who was called.
        wanted: Box<str>,
    },
}

impl From<Refused> for rustls::Error {
    fn from(refused: Refused) -> Self {
        CertificateError::Other(OtherError(Arc::new(refused))).into()
    }
}

/// The reason itself, where the TLS library wrapped it in words of its own.
pub(crate) fn precise(error: std::io::Error) -> std::io::Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    match tls {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(why)))) => {
            std::io::Error::new(error.kind(), why.to_string())
        }
        _ => error,
    }
}

/// The names of a certificate that was checked, all of the deployment.
///
/// # Errors
/// [`Refused`].
pub(crate) fn names(
    certificate: &CertificateDer<'_>,
    deployment: &str,
) -> Result<Vec<NodeName>, Refused> {
    let parsed = EndEntityCert::try_from(certificate).map_err(|_| Refused::Unreadable)?;
    let named: Vec<NodeName> = parsed
        .valid_uri_names()
        .filter_map(|uri| uri.parse().ok())
        .collect();
    if named.is_empty() {
        return Err(Refused::NoName);
    }
    match named.iter().find(|name| name.deployment() != deployment) {
        Some(other) => Err(Refused::OtherDeployment {
            found: other.deployment().into(),
            own: deployment.into(),
        }),
        None => Ok(named),
    }
}

/// Who must answer a call.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) deployment: Arc<str>,
    pub(crate) role: Role,
    /// None if any node of the role will do.
    pub(crate) node: Option<Box<str>>,
}

impl Wanted {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Refused> {
        let named = names(certificate, &self.deployment)?;
        let is_wanted = |name: &NodeName| {
            let node = self.node.as_deref();
            name.role() == self.role && node.is_none_or(|node| node == name.node())
        };
        if named.iter().any(is_wanted) {
            return Ok(());
        }
        let found: Vec<_> = named
            .iter()
            .map(|name| format!("{}/{}", name.role(), name.node()))
            .collect();
        let wanted = match &self.node {
            Some(node) => format!("{}/{node}", self.role),
            None => format!("a node of the role {}", self.role),
        };
        Err(Refused::WrongNode {
            found: found.join(" and ").into(),
            wanted: wanted.into(),
        })
    }
}

/// Checks who answers.
#[derive(Debug)]
pub(crate) struct Answerer {
    pub(crate) roots: Arc<RootCertStore>,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
    pub(crate) wanted: Wanted,
}

impl ServerCertVerifier for Answerer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let all = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, all)?;
        self.wanted.check(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // Neither side offers TLS 1.2.
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Checks who calls: any node of the deployment may connect, and is asked nothing else here.
#[derive(Debug)]
pub(crate) struct Caller {
    chain: Arc<dyn ClientCertVerifier>,
    deployment: Arc<str>,
}

impl Caller {
    pub(crate) fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
        deployment: Arc<str>,
    ) -> Result<Self, rustls::Error> {
        let chain = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
        let chain = chain.map_err(|error| rustls::Error::General(error.to_string()))?;
        Ok(Self { chain, deployment })
    }
}

impl ClientCertVerifier for Caller {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chain = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        names(end_entity, &self.deployment)?;
        Ok(chain)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
