//! Public keys of the users: one strict reading of each, and the signatures among them.
//!
//! In: bytes or base64url text from a form or a stanza. Out: typed keys that an honest client can
//! have made, and a yes or no about a signature. Private keys never come here, and nothing is
//! decrypted.
//!
//! **Invariants**
//! - A key has one spelling: what is accepted is canonical, so equal keys are equal bytes.
//! - A key of small order is refused (RFC 7748 section 6.1 names the all-zero shared secret).
//! - A signature is checked as Signal makes it: XEdDSA with the sign bit of the Edwards point in the
//!   signature's last bit, over the serialised key with its type byte.

mod curve;
mod encoding;
mod kyber;
mod signature;
#[cfg(any(test, feature = "test"))]
pub mod test;

pub use curve::{Curve25519Key, Ed25519Key, KEY_TYPE_CURVE25519};
pub use encoding::{decode_array, decode_within, encode, thumbprint};
pub use kyber::{KYBER1024_BYTES, Kyber1024Key};
pub use signature::Signature;

use entente_core::FaultKind;

/// Why bytes are not the key, signature or text that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The signature does not fit the key and what was signed.
    #[error("signature does not match")]
    BadSignature,
    /// Padding, a character outside the alphabet, or bits left over at the end.
    #[error("not strict base64url without padding")]
    BadText,
    /// The bytes are another spelling of the key than the canonical one.
    #[error("key is not in canonical form")]
    NotCanonical,
    /// The bytes are no point of the curve, or no vector of the lattice's ring.
    #[error("bytes are not a key of this type")]
    NotAKey,
    /// The point has small order: everyone can compute what is agreed with it.
    #[error("key has small order")]
    SmallOrder,
    /// Too few or too many bytes.
    #[error("wrong number of bytes")]
    WrongSize,
    /// The type byte in front names another kind of key.
    #[error("wrong key type")]
    WrongType,
}

impl KeyError {
    /// No honest client sends such a thing.
    pub const fn kind(self) -> FaultKind {
        FaultKind::PeerMisbehaved
    }
}
