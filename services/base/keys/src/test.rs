//! A client's identity key, for the tests of crates that check what clients sign.

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use ring::digest;

use crate::{Curve25519Key, KeyError, Signature};

/// A key pair whose signatures are those of Signal's clients. Not for production: the nonce is
/// derived from key and message, and nothing is wiped.
#[derive(Clone)]
pub struct SigningKey(Scalar);

impl SigningKey {
    /// The key pair of a seed.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(Scalar::from_bytes_mod_order(clamp_integer(seed)))
    }

    /// The public key.
    ///
    /// # Errors
    /// Never for a clamped seed.
    pub fn public(&self) -> Result<Curve25519Key, KeyError> {
        Curve25519Key::new(EdwardsPoint::mul_base(&self.0).to_montgomery().to_bytes())
    }

    /// Signs with the sign bit in the last bit, as Signal's code does.
    pub fn sign(&self, message: &[u8]) -> Signature {
        let public = EdwardsPoint::mul_base(&self.0).compress();
        let nonce = hash(&[b"entente test", self.0.as_bytes(), message]);
        let r = EdwardsPoint::mul_base(&nonce).compress();
        let h = hash(&[r.as_bytes(), public.as_bytes(), message]);
        let s = nonce + h * self.0;
        let mut bytes = [0; 64];
        let (first, second) = bytes.split_at_mut(32);
        first.copy_from_slice(r.as_bytes());
        second.copy_from_slice(s.as_bytes());
        let [.., sign] = public.to_bytes();
        let [.., last] = &mut bytes;
        *last |= sign & 0x80;
        Signature::new(bytes)
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

fn hash(parts: &[&[u8]]) -> Scalar {
    let mut context = digest::Context::new(&digest::SHA512);
    for part in parts {
        context.update(part);
    }
    let mut wide = [0; 64];
    wide.iter_mut()
        .zip(context.finish().as_ref())
        .for_each(|(to, from)| *to = *from);
    Scalar::from_bytes_mod_order_wide(&wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_what_verifies() {
        for seed in 0..16 {
            let key = SigningKey::new([seed; 32]);
            let public = key.public().unwrap();
            let signature = key.sign(b"message");
            assert_eq!(public.verify(b"message", &signature), Ok(()));
            assert!(public.verify(b"massage", &signature).is_err());
        }
    }
}
