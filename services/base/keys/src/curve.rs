//! Public keys on Curve25519, in Montgomery form (X25519, Signal) and Edwards form (JWKS).
//!
//! **Invariants**
//! - A [`Curve25519Key`] is canonical, on the curve (not its twist) and not of small order: what an
//!   honest client gets from a base point multiplication always is.
//! - Keys are public, so comparison and checks need not take constant time.

use std::fmt;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::montgomery::MontgomeryPoint;

use crate::{KeyError, Signature, decode_array, encode, thumbprint};

/// The type byte in front of a serialised Curve25519 key, as Signal writes it.
pub const KEY_TYPE_CURVE25519: u8 = 5;

/// A key for X25519: a transport key, an identity key or a prekey.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Curve25519Key([u8; 32]);

impl Curve25519Key {
    /// Checks the 32 bytes of a key without its type byte.
    ///
    /// # Errors
    /// [`KeyError`] for everything that no honest client can have made.
    pub fn new(bytes: [u8; 32]) -> Result<Self, KeyError> {
        if !is_canonical(&bytes) {
            return Err(KeyError::NotCanonical);
        }
        let point = MontgomeryPoint(bytes)
            .to_edwards(0)
            .ok_or(KeyError::NotAKey)?;
        if point.is_small_order() {
            return Err(KeyError::SmallOrder);
        }
        Ok(Self(bytes))
    }

    /// Checks the 33 bytes of a serialised key: the type byte 5, then the key.
    ///
    /// # Errors
    /// [`KeyError`], as [`Curve25519Key::new`] and for another type.
    pub fn from_serialized(bytes: &[u8]) -> Result<Self, KeyError> {
        let (kind, key) = bytes.split_first().ok_or(KeyError::WrongSize)?;
        let key = key.try_into().map_err(|_| KeyError::WrongSize)?;
        if *kind != KEY_TYPE_CURVE25519 {
            return Err(KeyError::WrongType);
        }
        Self::new(key)
    }

    /// Reads base64url text of the 32 bytes.
    ///
    /// # Errors
    /// [`KeyError`], as [`Curve25519Key::new`] and for loose text.
    pub fn from_base64url(text: &str) -> Result<Self, KeyError> {
        Self::new(decode_array(text)?)
    }

    /// The 32 bytes without type byte.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The type byte and the key: what is signed, and what Signal's own code reads.
    pub fn serialized(&self) -> [u8; 33] {
        let mut bytes = [KEY_TYPE_CURVE25519; 33];
        bytes
            .iter_mut()
            .skip(1)
            .zip(&self.0)
            .for_each(|(to, from)| *to = *from);
        bytes
    }

    /// Names the key as a token's `cnf.jkt` does (RFC 7638 over an X25519 JWK).
    pub fn thumbprint(&self) -> [u8; 32] {
        thumbprint("X25519", &self.0)
    }

    /// Checks a signature that the owner of this key made over `message`.
    ///
    /// # Errors
    /// [`KeyError::BadSignature`].
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), KeyError> {
        signature.check(&self.0, message)
    }
}

impl fmt::Debug for Curve25519Key {
    /// A key names its user, so debug output does not show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Curve25519Key")
    }
}

/// A partner's key for EdDSA tokens (RFC 8037).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ed25519Key([u8; 32]);

impl Ed25519Key {
    /// Checks that the bytes are one canonical point outside the small subgroup.
    ///
    /// With a key of small order a signature fits every message, and libraries differ on it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn new(bytes: [u8; 32]) -> Result<Self, KeyError> {
        let point = canonical_point(&bytes)?;
        if point.is_small_order() {
            return Err(KeyError::SmallOrder);
        }
        Ok(Self(bytes))
    }

    /// The text of a JWK's `x`.
    pub fn to_base64url(self) -> String {
        encode(&self.0)
    }
}

impl fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ed25519Key")
    }
}

/// Reads an Edwards point that has no other spelling.
pub(crate) fn canonical_point(bytes: &[u8; 32]) -> Result<EdwardsPoint, KeyError> {
    let text = CompressedEdwardsY(*bytes);
    let point = text.decompress().ok_or(KeyError::NotAKey)?;
    if point.compress() == text {
        Ok(point)
    } else {
        Err(KeyError::NotCanonical)
    }
}

/// Below p = 2^255 - 19, little endian, so that the top bit is clear too.
fn is_canonical(bytes: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = bytes;
    match high {
        0x80.. => false,
        0x7f => *low < 0xed || middle.iter().any(|byte| *byte != 0xff),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base_point() -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[0] = 9;
        bytes
    }

    /// The u coordinates of small order: 0, 1, p - 1 and the two of order eight, with the other
    /// spellings p and p + 1.
    fn small_order() -> Vec<[u8; 32]> {
        let mut low = [0xff; 32];
        low[31] = 0x7f;
        let near_p = |first: u8| {
            let mut bytes = low;
            bytes[0] = first;
            bytes
        };
        let mut one = [0; 32];
        one[0] = 1;
        let eight = [
            "4Ot6fDtBuK4WVuP68Z_EatoJjeucMrH9hmIFFl9JuAA",
            "X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc",
        ];
        let mut all = vec![[0; 32], one, near_p(0xec), near_p(0xed), near_p(0xee)];
        all.extend(eight.iter().map(|text| decode_array(text).unwrap()));
        all
    }

    /// T64, T86: the seven small-order points are refused; the base point is not.
    #[test]
    fn refuses_small_order() {
        assert!(Curve25519Key::new(base_point()).is_ok());
        for bytes in small_order() {
            let refused = Curve25519Key::new(bytes).unwrap_err();
            assert!(
                matches!(
                    refused,
                    KeyError::SmallOrder | KeyError::NotAKey | KeyError::NotCanonical
                ),
                "{bytes:?}: {refused}"
            );
        }
        assert_eq!(
            Curve25519Key::new(small_order()[5]),
            Err(KeyError::SmallOrder)
        );
        assert_eq!(
            Curve25519Key::new(small_order()[6]),
            Err(KeyError::SmallOrder)
        );
    }

    /// T64: a second spelling of a good key is refused.
    #[test]
    fn refuses_other_spellings() {
        let mut top_bit = base_point();
        top_bit[31] |= 0x80;
        assert_eq!(Curve25519Key::new(top_bit), Err(KeyError::NotCanonical));
        // p + 9 is the base point again.
        let mut above = [0xff; 32];
        above[0] = 0xed + 9;
        above[31] = 0x7f;
        assert_eq!(Curve25519Key::new(above), Err(KeyError::NotCanonical));
    }

    /// T64: u = 2 lies on the twist, where no base point multiplication leads.
    #[test]
    fn refuses_the_twist() {
        let mut twist = [0; 32];
        twist[0] = 2;
        assert_eq!(Curve25519Key::new(twist), Err(KeyError::NotAKey));
    }

    /// T64: the serialised form needs its type and its size.
    #[test]
    fn serialised_form_is_strict() {
        let key = Curve25519Key::new(base_point()).unwrap();
        let mut bytes = key.serialized();
        assert_eq!(Curve25519Key::from_serialized(&bytes), Ok(key));
        let short = Curve25519Key::from_serialized(&bytes[..32]);
        assert_eq!(short, Err(KeyError::WrongSize));
        assert_eq!(
            Curve25519Key::from_serialized(&[]),
            Err(KeyError::WrongSize)
        );
        bytes[0] = 8;
        assert_eq!(
            Curve25519Key::from_serialized(&bytes),
            Err(KeyError::WrongType)
        );
    }

    /// T50: low-order and non-canonical Ed25519 keys are refused; RFC 8037's example is not.
    #[test]
    fn edwards_keys_are_strict() {
        let good: [u8; 32] = decode_array("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let key = Ed25519Key::new(good).unwrap();
        assert_eq!(
            key.to_base64url(),
            "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
        );
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(Ed25519Key::new(identity), Err(KeyError::SmallOrder));
        // y = p + 1 is the identity again.
        let mut again = [0xff; 32];
        again[0] = 0xee;
        again[31] = 0x7f;
        assert!(Ed25519Key::new(again).is_err());
        assert_eq!(Ed25519Key::new([0; 32]), Err(KeyError::SmallOrder));
        let mut off_curve = [0; 32];
        off_curve[0] = 2;
        assert_eq!(Ed25519Key::new(off_curve), Err(KeyError::NotAKey));
    }

    #[test]
    fn debug_shows_no_key() {
        let key = Curve25519Key::new(base_point()).unwrap();
        assert_eq!(format!("{key:?}"), "Curve25519Key");
    }
}
