//! Why a request got no answer that may be used.

use entente_core::FaultKind;

/// A typed reason without any identifier: neither host nor path is in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum EgressError {
    /// The name has an address that must not be reached from here.
    #[error("the host has an address that is refused")]
    AddressRefused,
    /// The caller set a header that belongs to the connection.
    #[error("a header of the request is reserved")]
    BadRequest,
    /// The answer is longer than the caller takes.
    #[error("the body is longer than allowed")]
    BodyTooLarge,
    /// Not all of the answer came in time.
    #[error("the deadline passed")]
    Deadline,
    /// The answer is compressed although that was not asked for.
    #[error("the body is encoded")]
    Encoded,
    /// The name has no address.
    #[error("the name does not resolve")]
    NameUnknown,
    /// What came is not HTTP/1.1, or it broke off.
    #[error("the answer is not a whole HTTP response")]
    Protocol,
    /// The answer points elsewhere.
    #[error("the answer is a redirect")]
    Redirected,
    /// The target breaks a rule of this client: scheme, port or grammar.
    #[error("the target is refused")]
    TargetRefused,
    /// No secure connection: the certificate is not for the name, or no version fits.
    #[error("TLS failed")]
    Tls,
    /// Nobody answers at the address.
    #[error("no connection")]
    Unreachable,
}

impl EgressError {
    /// Who is to blame, and whether to retry.
    pub const fn kind(self) -> FaultKind {
        match self {
            Self::AddressRefused | Self::TargetRefused => FaultKind::Forbidden,
            Self::BadRequest => FaultKind::Internal,
            Self::BodyTooLarge | Self::Encoded | Self::Protocol | Self::Redirected | Self::Tls => {
                FaultKind::PeerMisbehaved
            }
            Self::Deadline => FaultKind::Deadline,
            Self::NameUnknown | Self::Unreachable => FaultKind::Unavailable,
        }
    }

    /// The label that metrics carry.
    pub const fn label(self) -> &'static str {
        match self {
            Self::AddressRefused => "address_refused",
            Self::BadRequest => "bad_request",
            Self::BodyTooLarge => "body_too_large",
            Self::Deadline => "deadline",
            Self::Encoded => "encoded",
            Self::NameUnknown => "name_unknown",
            Self::Protocol => "protocol",
            Self::Redirected => "redirected",
            Self::TargetRefused => "target_refused",
            Self::Tls => "tls",
            Self::Unreachable => "unreachable",
        }
    }
}
