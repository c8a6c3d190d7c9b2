//! Reads a JWK set (RFC 7517) and keeps the keys that may verify tokens.
//!
//! **Invariants**
//! - One key per key id: a set where one stands twice is refused whole, whatever the keys are.
//! - A key is usable if it is for signatures, has no private part, is of a size that holds, and is a
//!   point or modulus that the library takes. Others are left out; a symmetric key is never read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use entente_keys::{Ed25519Key, decode_array, decode_within};
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::partners::{Algorithm, Kid};
use crate::verify::library_name;

/// The usable keys of one partner.
#[derive(Default)]
pub(crate) struct KeySet {
    keys: BTreeMap<(Kid, Algorithm), Arc<PublicKey>>,
    refused: usize,
}

/// A key of one algorithm.
pub(crate) struct PublicKey {
    algorithm: Algorithm,
    decoding: DecodingKey,
}

/// Why a set is refused whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SetError {
    #[error("a key id stands twice")]
    Duplicate,
    #[error("not a JWK set")]
    Malformed,
    #[error("too many keys")]
    TooMany,
}

impl SetError {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate_kid",
            Self::Malformed => "malformed",
            Self::TooMany => "too_many_keys",
        }
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

/// Members that are not named here say nothing that is used (RFC 7517 section 4).
#[derive(Deserialize)]
struct Jwk {
    kty: Box<str>,
    kid: Option<Kid>,
    alg: Option<Box<str>>,
    #[serde(rename = "use")]
    usage: Option<Box<str>>,
    crv: Option<Box<str>>,
    n: Option<Box<str>>,
    e: Option<Box<str>>,
    x: Option<Box<str>>,
    y: Option<Box<str>>,
    d: Option<IgnoredAny>,
}

impl KeySet {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, SetError> {
        let set: Set = serde_json::from_slice(body).map_err(|_| SetError::Malformed)?;
        if set.keys.len() > MAX_KEYS {
            return Err(SetError::TooMany);
        }
        let mut seen = BTreeSet::new();
        let mut all = Self::default();
        for jwk in set.keys {
            let Some(kid) = jwk.kid.clone() else {
                all.refused += 1;
                continue;
            };
            if !seen.insert(kid.clone()) {
                return Err(SetError::Duplicate);
            }
            match usable(&jwk) {
                Some(key) => drop(all.keys.insert((kid, key.algorithm), Arc::new(key))),
                None => all.refused += 1,
            }
        }
        Ok(all)
    }

    pub(crate) fn find(&self, kid: &Kid, algorithm: Algorithm) -> Option<Arc<PublicKey>> {
        self.keys.get(&(kid.clone(), algorithm)).cloned()
    }

    /// How many keys were left out.
    pub(crate) const fn refused(&self) -> usize {
        self.refused
    }
}

impl PublicKey {
    pub(crate) const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) const fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    pub(crate) fn new(algorithm: Algorithm, decoding: DecodingKey) -> Option<Self> {
        // The library reads the key only when it verifies: let it, once, with a signature that
        // cannot match. An error is about the key.
        let name = library_name(algorithm);
        jsonwebtoken::crypto::verify("", b"", &decoding, name).ok()?;
        Some(Self {
            algorithm,
            decoding,
        })
    }
}

fn usable(jwk: &Jwk) -> Option<PublicKey> {
    if jwk.d.is_some() || jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return None;
    }
    let fits = |name: &str| jwk.alg.as_deref().is_none_or(|alg| alg == name);
    match (&*jwk.kty, jwk.crv.as_deref()) {
        ("RSA", None) if fits("RS256") => rsa(jwk.n.as_deref()?, jwk.e.as_deref()?),
        ("EC", Some("P-256")) if fits("ES256") => p256(jwk.x.as_deref()?, jwk.y.as_deref()?),
        // RFC 9864 names the curve instead of the family.
        ("OKP", Some("Ed25519")) if fits("EdDSA") || fits("Ed25519") => ed25519(jwk.x.as_deref()?),
        _ => None,
    }
}

fn rsa(n: &str, e: &str) -> Option<PublicKey> {
    let n = decode_within(n, MAX_MODULUS_BYTES).ok()?;
    let e = decode_within(e, 4).ok()?;
    // RFC 7518 6.3.1.1: no leading zero, so the first byte tells the size.
    let top = *n.first()?;
    let bits = n.len() * 8 - usize::try_from(top.leading_zeros()).ok()?;
    let odd = n.last()? & 1 == 1;
    let exponent = e
        .iter()
        .fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    let sound = e.first() != Some(&0) && exponent >= 65_537 && exponent & 1 == 1;
    if top == 0 || bits < MIN_MODULUS_BITS || !odd || !sound {
        return None;
    }
    let key = DecodingKey::from_rsa_raw_components(&n, &e);
    PublicKey::new(Algorithm::Rs256, key)
}

fn p256(x: &str, y: &str) -> Option<PublicKey> {
    // The library takes other lengths apart in other ways; the coordinates have 32 bytes each.
    decode_array::<32>(x).and(decode_array::<32>(y)).ok()?;
    let key = DecodingKey::from_ec_components(x, y).ok()?;
    PublicKey::new(Algorithm::Es256, key)
}

fn ed25519(x: &str) -> Option<PublicKey> {
    let key = Ed25519Key::new(decode_array(x).ok()?).ok()?;
    let key = DecodingKey::from_ed_components(&key.to_base64url()).ok()?;
    PublicKey::new(Algorithm::EdDsa, key)
}

/// Keys of one partner; a rotation has two or three.
const MAX_KEYS: usize = 64;
/// NIST SP 800-131A: shorter moduli are not acceptable.
const MIN_MODULUS_BITS: usize = 2048;
/// 4096 bits: longer ones only cost.
const MAX_MODULUS_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    // RFC 7515 appendix A.3.1.
    const EC: [&str; 2] = [
        "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    ];

    fn ed(kid: &str, rest: &str) -> String {
        format!(r#"{{"kid":"{kid}","kty":"OKP","crv":"Ed25519","x":"{ED}"{rest}}}"#)
    }

    fn parse(keys: &[String]) -> Result<KeySet, SetError> {
        KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
    }

    fn kid(text: &str) -> Kid {
        Kid::new(text).unwrap()
    }

    #[test]
    fn keeps_usable_keys_under_their_algorithm() {
        let [x, y] = EC;
        let ec =
            format!(r#"{{"kid":"b","kty":"EC","crv":"P-256","x":"{x}","y":"{y}","ext":true}}"#);
        let set = parse(&[ed("a", r#","use":"sig","alg":"EdDSA""#), ec]).unwrap();
        assert!(set.find(&kid("a"), Algorithm::EdDsa).is_some());
        assert!(set.find(&kid("b"), Algorithm::Es256).is_some());
        assert!(set.find(&kid("a"), Algorithm::Es256).is_none());
        assert!(set.find(&kid("c"), Algorithm::EdDsa).is_none());
        assert_eq!(set.refused(), 0);
    }

    /// T42, T50: keys that cannot verify a partner's token are left out.
    #[test]
    fn leaves_unusable_keys_out() {
        let [x, y] = EC;
        let low_order = format!("AQ{}", "A".repeat(41));
        let short_n = format!("{}_w", "_".repeat(168));
        let even_n = format!("{}-", "_".repeat(341));
        for refused in [
            r#"{"kid":"a","kty":"oct","k":"c2VjcmV0"}"#.to_owned(),
            ed("a", r#","use":"enc""#),
            ed("a", r#","alg":"HS256""#),
            ed("a", r#","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A""#),
            ed("a", "").replace(ED, &low_order),
            ed("a", "").replace(ED, ED.trim_start_matches('1')),
            ed("a", "").replace(ED, &format!("{ED}=")),
            ed("a", "").replace("Ed25519", "X25519"),
            format!(r#"{{"kid":"a","kty":"EC","crv":"P-256","x":"{y}","y":"{x}"}}"#),
            format!(r#"{{"kid":"a","kty":"EC","crv":"P-384","x":"{x}","y":"{y}"}}"#),
            format!(r#"{{"kid":"a","kty":"RSA","n":"{short_n}","e":"AQAB"}}"#),
            format!(r#"{{"kid":"a","kty":"RSA","n":"{even_n}","e":"AQAB"}}"#),
            ed("a", "").replace(r#""kid":"a","#, ""),
        ] {
            let set = parse(std::slice::from_ref(&refused)).unwrap();
            assert_eq!((set.keys.len(), set.refused()), (0, 1), "{refused}");
        }
    }

    #[test]
    fn rsa_keys_have_bounds() {
        let n = |chars: usize| format!("{}_", "_".repeat(chars - 1));
        let jwk = |n: &str, e: &str| {
            format!(r#"{{"kid":"a","kty":"RSA","alg":"RS256","n":"{n}","e":"{e}"}}"#)
        };
        // 342 characters are 256 bytes with four spare bits, which must be zero.
        let modulus = format!("{}w", "_".repeat(341));
        for (jwk, kept) in [
            (jwk(&modulus, "AQAB"), 1),
            (jwk(&modulus, "Aw"), 0),
            (jwk(&modulus, "AAEAAQ"), 0),
            (jwk(&format!("AAAA{modulus}"), "AQAB"), 0),
            (jwk(&n(700), "AQAB"), 0),
        ] {
            assert_eq!(
                parse(std::slice::from_ref(&jwk)).unwrap().keys.len(),
                kept,
                "{jwk}"
            );
        }
    }

    /// Exactly one key per key id, whatever kind the second is.
    #[test]
    fn a_key_id_stands_once() {
        let oct = r#"{"kid":"a","kty":"oct","k":"c2VjcmV0"}"#.to_owned();
        assert_eq!(parse(&[ed("a", ""), oct]).err(), Some(SetError::Duplicate));
        assert_eq!(
            parse(&[ed("a", ""), ed("a", "")]).err(),
            Some(SetError::Duplicate)
        );
        assert!(parse(&[ed("a", ""), ed("b", "")]).is_ok());
    }

    #[test]
    fn sets_are_bounded_and_well_formed() {
        let many: Vec<String> = (0..=MAX_KEYS).map(|n| ed(&n.to_string(), "")).collect();
        assert_eq!(parse(&many).err(), Some(SetError::TooMany));
        assert!(parse(&many[1..]).is_ok());
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"keys":{}}"#,
            r#"{"keys":[{"kid":5,"kty":"RSA"}]}"#,
            r#"{"keys":[],"keys":[]}"#,
            r#"{"keys":[{"kid":"a","kid":"b","kty":"RSA"}]}"#,
        ] {
            assert_eq!(
                KeySet::parse(bad.as_bytes()).err(),
                Some(SetError::Malformed),
                "{bad}"
            );
        }
    }
}
