//! A certificate authority for development and tests: what a deployment without one of its own
//! starts with.
//!
//! Out: PEM text. It keeps nothing and checks nothing; whoever has its key can name any node.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use crate::name::NodeName;

/// Allowance for clocks of other machines that are behind.
const SKEW: Duration = Duration::from_secs(3600);

/// How long a certificate is good.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// From then on.
    pub from: OffsetDateTime,
    /// Until then.
    pub until: OffsetDateTime,
}

impl Life {
    /// From an hour ago, for clocks that are behind, until so long from now.
    pub fn until(span: Duration) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            from: now - SKEW,
            until: now + span,
        }
    }
}

/// A certificate chain and its key, in PEM.
#[derive(Clone)]
pub struct Issued {
    /// The chain, without the authority.
    pub certificate: String,
    /// The key. Secret.
    pub key: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issued")
    }
}

/// An authority with its key.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// Draws a new authority.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn new(life: Life) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        // A name of its own, so that a certificate of another authority is told from a damaged one.
        let mark = u32::from_ne_bytes(entente_core::random_array());
        params.distinguished_name = called(&format!("Entente mesh authority {mark:08x}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (life.from, life.until);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer })
    }

    /// What nodes trust, in PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The key with which further nodes are named, in PEM. Secret.
    pub fn key_pem(&self) -> String {
        let issuer: &Issuer<'static, KeyPair> = &self.issuer;
        issuer.key().serialize_pem()
    }

    /// Issues a certificate that names a node in all its roles, for both ends of a connection.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn issue(&self, names: &[NodeName], life: Life) -> Result<Issued, rcgen::Error> {
        let mut params = CertificateParams::default();
        let node = names.first().map_or("", NodeName::node);
        params.distinguished_name = called(node);
        params.subject_alt_names = names
            .iter()
            .map(|name| name.to_string().try_into().map(SanType::URI))
            .collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = (life.from, life.until);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}
