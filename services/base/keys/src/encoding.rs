//! Base64url as the enlistment form and JWTs carry it, and fingerprints of keys.
//!
//! **Invariants**
//! - One text per value: no padding, no line breaks, and unused trailing bits must be zero
//!   (RFC 4648 section 3.5), so a text that was changed is a value that was changed.
//! - The length is known before anything is decoded.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;

use crate::KeyError;

/// Decodes exactly `N` bytes.
///
/// # Errors
/// [`KeyError::WrongSize`] or [`KeyError::BadText`].
pub fn decode_array<const N: usize>(text: &str) -> Result<[u8; N], KeyError> {
    if text.len() != encoded_len(N) {
        return Err(KeyError::WrongSize);
    }
    let mut bytes = [0; N];
    match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
        Ok(written) if written == N => Ok(bytes),
        _ => Err(KeyError::BadText),
    }
}

/// Decodes at most `most` bytes; a longer text is refused before any of it is decoded.
///
/// # Errors
/// [`KeyError::WrongSize`] or [`KeyError::BadText`].
pub fn decode_within(text: &str, most: usize) -> Result<Vec<u8>, KeyError> {
    if text.len() > encoded_len(most) {
        return Err(KeyError::WrongSize);
    }
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::BadText)
}

/// Encodes without padding.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Names a key of RFC 8037 by SHA-256 over its JWK in canonical form (RFC 7638 section 3).
///
/// `curve` is the JWK's `crv`: `X25519` or `Ed25519`.
pub fn thumbprint(curve: &str, key: &[u8; 32]) -> [u8; 32] {
    let jwk = format!(r#"{{"crv":"{curve}","kty":"OKP","x":"{}"}}"#, encode(key));
    let mut print = [0; 32];
    let full = digest::digest(&digest::SHA256, jwk.as_bytes());
    print
        .iter_mut()
        .zip(full.as_ref())
        .for_each(|(to, from)| *to = *from);
    print
}

const fn encoded_len(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// T64: padding, other alphabets, white space and loose trailing bits are refused.
    #[test]
    fn refuses_loose_spellings() {
        assert_eq!(decode_array::<3>("BAUG"), Ok([4, 5, 6]));
        assert_eq!(decode_array::<4>("_-8AAQ"), Ok([0xff, 0xef, 0, 1]));
        for (text, error) in [
            ("_-8AAQ==", KeyError::WrongSize),
            ("_-8AA", KeyError::WrongSize),
            ("", KeyError::WrongSize),
            ("/+8AAQ", KeyError::BadText),
            ("_-8A Q", KeyError::BadText),
            ("_-8AAR", KeyError::BadText),
            ("_-8AA=", KeyError::BadText),
        ] {
            assert_eq!(decode_array::<4>(text), Err(error), "{text}");
        }
        assert_eq!(decode_within("BAUG", 3), Ok(vec![4, 5, 6]));
        assert_eq!(decode_within("BAUGBw", 3), Err(KeyError::WrongSize));
        assert_eq!(decode_within("BAUG=", 9), Err(KeyError::BadText));
    }

    /// RFC 8037 appendix A.3.
    #[test]
    fn thumbprint_is_that_of_rfc_8037() {
        let key = decode_array("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let print = thumbprint("Ed25519", &key);
        assert_eq!(
            encode(&print),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }

    proptest! {
        /// T64: whatever is accepted is the only spelling of what it decodes to.
        #[test]
        fn accepted_text_is_the_only_spelling(text in "[A-Za-z0-9_=+/-]{0,24}") {
            if let Ok(bytes) = decode_within(&text, 18) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }

        #[test]
        fn what_was_encoded_decodes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(decode_within(&encode(&bytes), 64), Ok(bytes));
        }
    }
}
