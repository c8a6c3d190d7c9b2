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
        self.tag_of(&[data])
    }

    /// The seal of some parts, as of the bytes of all of them in a row.
    pub fn tag_of(&self, parts: &[&[u8]]) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        parts.iter().for_each(|part| context.update(part));
        let full = context.sign();
        let mut tag = [0; TAG_BYTES];
        tag.iter_mut()
            .zip(full.as_ref())
            .for_each(|(to, from)| *to = *from);
        tag
    }

    /// Whether `tag` is the seal of `data`; takes the same time for any wrong tag.
    pub fn is_tag_of(&self, tag: &[u8], data: &[u8]) -> bool {
        self.is_tag_of_parts(tag, &[data])
    }

    /// As [`is_tag_of`](Self::is_tag_of), of the bytes of all parts in a row.
    pub fn is_tag_of_parts(&self, tag: &[u8], parts: &[&[u8]]) -> bool {
        use subtle::ConstantTimeEq;
        tag.ct_eq(&self.tag_of(parts)).into()
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_sealed_as_what_they_make() {
        let key = SealKey::new(&[3; 32]);
        let tag = key.tag(b"abc");
        assert_eq!(key.tag_of(&[b"a", b"", b"bc"]), tag);
        assert!(key.is_tag_of_parts(&tag, &[b"ab", b"c"]));
        assert!(!key.is_tag_of_parts(&tag, &[b"ab"]));
    }
}
