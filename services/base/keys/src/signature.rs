//! Signatures as Signal's clients make them over their prekeys.
//!
//! XEdDSA (Signal, section 2.5) signs with a Montgomery key pair. Signal's code differs from the text in
//! one thing: the sign of the Edwards point is not forced to 0 but carried in the top bit of the
//! signature, which is otherwise always clear. The crate `xeddsa` follows the text alone and would
//! refuse half of all honest signatures.
//!
//! **Invariants**
//! - `s` is below the group order and `R` is canonical, so nobody can make a second signature from one.
//! - Neither the key nor `R` has small order.

use std::fmt;

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::scalar::Scalar;
use ring::digest;

use crate::curve::canonical_point;
use crate::{KeyError, decode_array};

/// The 64 bytes of an XEdDSA signature, not yet checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Takes the bytes; they mean nothing until [`crate::Curve25519Key::verify`] accepts them.
    pub const fn new(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Takes 64 bytes of a slice.
    ///
    /// # Errors
    /// [`KeyError::WrongSize`].
    pub fn from_slice(bytes: &[u8]) -> Result<Self, KeyError> {
        bytes.try_into().map(Self).map_err(|_| KeyError::WrongSize)
    }

    /// Reads base64url text.
    ///
    /// # Errors
    /// [`KeyError::WrongSize`] or [`KeyError::BadText`].
    pub fn from_base64url(text: &str) -> Result<Self, KeyError> {
        decode_array(text).map(Self)
    }

    /// The 64 bytes.
    pub const fn bytes(&self) -> &[u8; 64] {
        &self.0
    }

    pub(crate) fn check(&self, key: &[u8; 32], message: &[u8]) -> Result<(), KeyError> {
        self.holds(key, message)
            .filter(|holds| *holds)
            .map(|_| ())
            .ok_or(KeyError::BadSignature)
    }

    /// `None` where a part cannot even be read.
    fn holds(&self, key: &[u8; 32], message: &[u8]) -> Option<bool> {
        let (r_bytes, s_bytes) = self.0.split_first_chunk::<32>()?;
        let mut s_bytes: [u8; 32] = s_bytes.try_into().ok()?;
        let [.., last] = &mut s_bytes;
        let sign = *last >> 7;
        *last &= 0x7f;
        let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s_bytes))?;
        let r = canonical_point(r_bytes).ok()?;
        let a = MontgomeryPoint(*key).to_edwards(sign)?;
        if a.is_small_order() || r.is_small_order() {
            return None;
        }
        let mut hash = digest::Context::new(&digest::SHA512);
        hash.update(r_bytes);
        hash.update(a.compress().as_bytes());
        hash.update(message);
        let hash: [u8; 64] = hash.finish().as_ref().try_into().ok()?;
        let h = Scalar::from_bytes_mod_order_wide(&hash);
        // RFC 8032 section 5.1.7 without the cofactor, as Signal's own code checks it.
        Some(EdwardsPoint::vartime_double_scalar_mul_basepoint(&h, &-a, &s) == r)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{Curve25519Key, Kyber1024Key, decode_within};

    struct Case {
        identity: Curve25519Key,
        signed: Vec<u8>,
        signature: [u8; 64],
    }

    fn vectors(name: &str) -> Vec<Case> {
        let all: Value = serde_json::from_str(include_str!("../vectors/libsignal.json")).unwrap();
        let cases = all[name].as_array().unwrap();
        assert!(!cases.is_empty());
        let text = |case: &Value, field: &str| case[field].as_str().unwrap().to_owned();
        cases
            .iter()
            .map(|case| Case {
                identity: Curve25519Key::from_serialized(
                    &decode_within(&text(case, "identity"), 33).unwrap(),
                )
                .unwrap(),
                signed: decode_within(&text(case, "signed"), 2000).unwrap(),
                signature: decode_array(&text(case, "signature")).unwrap(),
            })
            .collect()
    }

    fn verdict(case: &Case, signature: [u8; 64]) -> Result<(), KeyError> {
        case.identity
            .verify(&case.signed, &Signature::new(signature))
    }

    /// T65: what libsignal signed is accepted, with either sign bit.
    #[test]
    fn accepts_signatures_of_libsignal() {
        let cases = vectors("signed_prekeys");
        for sign in [0, 1] {
            assert!(cases.iter().any(|case| case.signature[63] >> 7 == sign));
        }
        for case in &cases {
            assert!(Curve25519Key::from_serialized(&case.signed).is_ok());
            assert_eq!(verdict(case, case.signature), Ok(()));
        }
        for case in vectors("kyber_prekeys") {
            let key = Kyber1024Key::from_serialized(case.signed.clone().into()).unwrap();
            let signature = Signature::new(case.signature);
            assert_eq!(key.verify(&case.identity, &signature), Ok(()));
        }
    }

    /// T65: each flipped bit of signature and message is seen, and another key's signature is.
    #[test]
    fn refuses_every_flipped_bit() {
        let cases = vectors("signed_prekeys");
        let case = &cases[0];
        for bit in 0..512 {
            let mut signature = case.signature;
            signature[bit / 8] ^= 1 << (bit % 8);
            let refused = verdict(case, signature);
            assert_eq!(refused, Err(KeyError::BadSignature), "bit {bit}");
        }
        for bit in 0..264 {
            let mut message = case.signed.clone();
            message[bit / 8] ^= 1 << (bit % 8);
            let signature = Signature::new(case.signature);
            assert!(case.identity.verify(&message, &signature).is_err());
        }
        assert!(verdict(case, cases[1].signature).is_err());
    }

    /// T65: `s` plus the group order is the same number and another signature: refused.
    #[test]
    fn refuses_a_second_spelling_of_s() {
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9,
            0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        for case in vectors("signed_prekeys") {
            let mut signature = case.signature;
            let sign = signature[63] & 0x80;
            signature[63] &= 0x7f;
            let mut carry = 0;
            for (byte, add) in signature[32..].iter_mut().zip(ORDER) {
                let sum = u16::from(*byte) + u16::from(add) + carry;
                *byte = sum.to_le_bytes()[0];
                carry = sum >> 8;
            }
            signature[63] |= sign;
            assert_eq!(verdict(&case, signature), Err(KeyError::BadSignature));
        }
    }

    /// T50: with R and s of zero, a key of small order would accept every message.
    #[test]
    fn refuses_small_order_in_signatures() {
        let mut forged = [0; 64];
        forged[0] = 1;
        let case = &vectors("signed_prekeys")[0];
        assert_eq!(verdict(case, forged), Err(KeyError::BadSignature));
        let zero_key = Signature::new(forged).check(&[0; 32], b"anything");
        assert_eq!(zero_key, Err(KeyError::BadSignature));
        assert_eq!(verdict(case, [0; 64]), Err(KeyError::BadSignature));
    }
}
