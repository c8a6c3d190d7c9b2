//! Takes a compact JWS apart, before any key is thought of.
//!
//! **Invariants**
//! - Exactly three parts of strict base64url, so one token has one spelling.
//! - The header has `alg`, `kid` and `typ`, each once, as strings, and nothing else: neither `jwk`,
//!   `jku`, `x5u` nor `x5c` (a key of the attacker's), neither `crit` nor `b64` (another format).

use entente_keys::decode_within;
use serde::Deserialize;

use super::{MAX_TOKEN_BYTES, TokenError};
use crate::partners::{Algorithm, Kid};

/// The parts of a token; nothing in it is proven.
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Kid,
    pub(super) typ: Box<str>,
    pub(super) payload: Vec<u8>,
    pub(super) signed: &'a str,
    pub(super) signature: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: Box<str>,
    kid: Kid,
    typ: Box<str>,
}

pub(super) fn token(text: &str) -> Result<Token<'_>, TokenError> {
    if text.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::Form);
    }
    let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Form)?;
    let (header, payload) = signed.split_once('.').ok_or(TokenError::Form)?;
    // A fourth part leaves a dot here, which is outside of the alphabet.
    let decode = |part: &str| match decode_within(part, MAX_TOKEN_BYTES) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(TokenError::Form),
    };
    let header = decode(header)?;
    let payload = decode(payload)?;
    decode(signature)?;
    let header: Header = serde_json::from_slice(&header).map_err(|_| TokenError::Header)?;
    Ok(Token {
        algorithm: algorithm(&header.alg).ok_or(TokenError::Algorithm)?,
        kid: header.kid,
        typ: header.typ,
        payload,
        signed,
        signature,
    })
}

/// Names are case-sensitive (RFC 7515 4.1.1); `none` and every HMAC are no names here.
fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "ES256" => Some(Algorithm::Es256),
        "EdDSA" => Some(Algorithm::EdDsa),
        "RS256" => Some(Algorithm::Rs256),
        _ => None,
    }
}
