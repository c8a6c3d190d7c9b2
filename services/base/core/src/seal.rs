//! The key under which edges seal envelopes and everyone else checks them.

use ring::hmac;

/// Bytes of a seal: HMAC-SHA-256 cut to 128 bits (RFC 2104 section 5 allows half the output).
pub const TAG_BYTES: usize = 16;

/// A key shared by the edges and the shard owners of one deployment, not by the broker.
#[derive(Clone)]
pub struct SealKey(hmac::Key);

impl SealKey {
    /// Makes the key from 32 secret bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// The seal of some bytes.
    pub fn tag(&self, data: &[u8]) -> [u8; TAG_BYTES] {
        let full = hmac::sign(&self.0, data);
        let mut tag = [0; TAG_BYTES];
        tag.iter_mut()
            .zip(full.as_ref())
            .for_each(|(to, from)| *to = *from);
        tag
    }

    /// Whether `tag` is the seal of `data`; takes the same time for any wrong tag.
    pub fn is_tag_of(&self, tag: &[u8], data: &[u8]) -> bool {
        use subtle::ConstantTimeEq;
        tag.ct_eq(&self.tag(data)).into()
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey")
    }
}
