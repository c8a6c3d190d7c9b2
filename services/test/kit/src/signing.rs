//! Key pairs that sign as Signal's do (XEdDSA), for users who exchange no real Signal messages.
//!
//! Whoever needs real sessions takes libsignal; this is enough to enlist, and links nothing heavy.

use bytes::Bytes;
use curve25519_dalek::constants::ED25519_BASEPOINT_TABLE;
use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use entente_core::{SignedPrekey, random_array};
use ring::digest::{Context, SHA512};

use crate::enlist::EnlistForm;

/// What stands before the key type's byte in what a signed prekey's signature covers.
const CURVE_TYPE: u8 = 5;

/// A Curve25519 key pair.
#[derive(Clone)]
pub struct SigningPair {
    secret: Scalar,
    public: [u8; 32],
}

impl std::fmt::Debug for SigningPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningPair")
    }
}

impl SigningPair {
    /// Draws a pair.
    pub fn generate() -> Self {
        let clamped = clamp_integer(random_array());
        let secret = Scalar::from_bytes_mod_order(clamped);
        let public = MontgomeryPoint::mul_base_clamped(clamped).to_bytes();
        Self { secret, public }
    }

    /// The public key without its type byte.
    pub const fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Signs (XEdDSA, section 2.4 of Signal's specification).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let point = (ED25519_BASEPOINT_TABLE * &self.secret)
            .compress()
            .to_bytes();
        let [.., last] = point;
        // The Edwards key that belongs to the pair has sign 0: the secret is negated if need be.
        let secret = if last & 0x80 == 0 {
            self.secret
        } else {
            -self.secret
        };
        let public = (ED25519_BASEPOINT_TABLE * &secret).compress().to_bytes();
        let mut prefix = [0xff; 32];
        prefix[0] = 0xfe;
        let nonce: [u8; 64] = random_array();
        let r = scalar(&[&prefix, secret.as_bytes(), message, &nonce]);
        let commitment = (ED25519_BASEPOINT_TABLE * &r).compress().to_bytes();
        let h = scalar(&[&commitment, &public, message]);
        let mut signature = [0; 64];
        let (first, second) = signature.split_at_mut(32);
        first.copy_from_slice(&commitment);
        second.copy_from_slice((r + h * secret).as_bytes());
        signature
    }

    /// A form to enlist with: this pair as the identity, fresh keys for the rest.
    pub fn enlist_form(&self) -> EnlistForm {
        let prekey = Self::generate().public();
        let mut covered = vec![CURVE_TYPE];
        covered.extend_from_slice(&prekey);
        EnlistForm {
            transport: Self::generate().public(),
            registration: 1,
            identity: self.public,
            signed: SignedPrekey {
                id: 1,
                key: prekey,
                signature: Bytes::copy_from_slice(&self.sign(&covered)),
            },
        }
    }
}

fn scalar(parts: &[&[u8]]) -> Scalar {
    let mut hash = Context::new(&SHA512);
    parts.iter().for_each(|part| hash.update(part));
    let mut wide = [0; 64];
    wide.copy_from_slice(hash.finish().as_ref());
    Scalar::from_bytes_mod_order_wide(&wide)
}
