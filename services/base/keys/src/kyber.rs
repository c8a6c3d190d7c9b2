//! Kyber1024 public keys, the post-quantum half of a bundle (PQXDH).
//!
//! **Invariants**
//! - The serialised form is the type byte 8 and 1568 bytes; nothing shorter or longer is a key.
//! - Every coefficient is below the modulus, the check that FIPS 203 section 7.2 asks of whoever
//!   encapsulates: a key that a recipient's client would choke on is refused when it is uploaded.

use std::fmt;

use bytes::Bytes;

use crate::{Curve25519Key, KeyError, Signature};

/// Size of a serialised key: type byte, four polynomials of 256 12-bit numbers, a 32-byte seed.
pub const KYBER1024_BYTES: usize = 1 + POLYNOMIALS + 32;

const POLYNOMIALS: usize = 4 * 384;
const KEY_TYPE: u8 = 8;
const MODULUS: u16 = 3329;

/// A serialised Kyber1024 public key.
#[derive(Clone, PartialEq, Eq)]
pub struct Kyber1024Key(Bytes);

impl Kyber1024Key {
    /// Checks the 1569 bytes of a serialised key.
    ///
    /// # Errors
    /// [`KeyError`] for another size or type, or a number that is not below the modulus.
    pub fn from_serialized(bytes: Bytes) -> Result<Self, KeyError> {
        if bytes.len() != KYBER1024_BYTES {
            return Err(KeyError::WrongSize);
        }
        let (kind, key) = bytes.split_first().ok_or(KeyError::WrongSize)?;
        if *kind != KEY_TYPE {
            return Err(KeyError::WrongType);
        }
        let reduced = key.get(..POLYNOMIALS).is_some_and(is_reduced);
        if !reduced {
            return Err(KeyError::NotAKey);
        }
        Ok(Self(bytes))
    }

    /// The type byte and the key: what is signed and handed out.
    pub const fn serialized(&self) -> &Bytes {
        &self.0
    }

    /// Checks that the owner of `identity` signed this key.
    ///
    /// # Errors
    /// [`KeyError::BadSignature`].
    pub fn verify(&self, identity: &Curve25519Key, signature: &Signature) -> Result<(), KeyError> {
        identity.verify(&self.0, signature)
    }
}

impl fmt::Debug for Kyber1024Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kyber1024Key")
    }
}

/// Two 12-bit numbers stand in three bytes, low bits first.
fn is_reduced(polynomials: &[u8]) -> bool {
    polynomials.chunks_exact(3).all(|three| match three {
        [low, middle, high] => {
            let first = u16::from(*low) | (u16::from(*middle & 0x0f) << 8);
            let second = u16::from(*middle >> 4) | (u16::from(*high) << 4);
            first < MODULUS && second < MODULUS
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zero() -> Vec<u8> {
        let mut bytes = vec![0; KYBER1024_BYTES];
        bytes[0] = KEY_TYPE;
        bytes
    }

    /// T64: sizes, type and numbers out of range are refused.
    #[test]
    fn refuses_what_no_client_makes() {
        assert!(Kyber1024Key::from_serialized(zero().into()).is_ok());
        for len in [0, 1, 33, 1185, KYBER1024_BYTES - 1, KYBER1024_BYTES + 1] {
            let mut bytes = zero();
            bytes.resize(len, 0);
            let refused = Kyber1024Key::from_serialized(bytes.into());
            assert_eq!(refused, Err(KeyError::WrongSize), "{len}");
        }
        let mut bytes = zero();
        bytes[0] = 7;
        let refused = Kyber1024Key::from_serialized(bytes.into());
        assert_eq!(refused, Err(KeyError::WrongType));
    }

    #[test]
    fn numbers_stay_below_the_modulus() {
        // 3328 = 0xd00 fits, 3329 = 0xd01 does not; once in each half of the three bytes.
        for (three, fits) in [
            ([0x00, 0x0d, 0x00], true),
            ([0x01, 0x0d, 0x00], false),
            ([0x00, 0x00, 0xd0], true),
            ([0x00, 0x10, 0xd0], false),
        ] {
            let mut bytes = zero();
            bytes[1 + POLYNOMIALS - 3..1 + POLYNOMIALS].copy_from_slice(&three);
            let read = Kyber1024Key::from_serialized(bytes.into());
            assert_eq!(read.is_ok(), fits, "{three:?}");
        }
        let mut seed = zero();
        seed[1 + POLYNOMIALS..].fill(0xff);
        assert!(Kyber1024Key::from_serialized(seed.into()).is_ok());
    }
}
