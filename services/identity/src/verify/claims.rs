//! Reads a token's claims with their types, and compares them with the record and the clock.
//!
//! **Invariants**
//! - A claim that is there has its one type; a claim of another type is an error, never absent (T48).
//! - Numbers are whole and below 2^53, without fraction or exponent.
//! - No member name stands twice, whether it is one of ours or not.
//! - `cnf` says `jkt` alone: a binding that cannot be checked is not ignored.

use std::collections::BTreeSet;
use std::fmt;

use entente_core::{Timestamp, VisibleId};
use entente_keys::decode_array;
use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{SKEW, TokenError};
use crate::partners::Partner;

/// Claims of a token that fit record and clock.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) visible: VisibleId,
    pub(super) id: Box<str>,
    pub(super) expires: Timestamp,
    pub(super) bound: Option<[u8; 32]>,
}

pub(super) fn check(
    payload: &[u8],
    partner: &Partner,
    now: Timestamp,
) -> Result<Checked, TokenError> {
    let claims: Claims = serde_json::from_slice(payload).map_err(|_| TokenError::Claims)?;
    if *claims.iss != *partner.issuer {
        return Err(TokenError::Issuer);
    }
    if *claims.aud != *partner.audience {
        return Err(TokenError::Audience);
    }
    let (issued, expires) = (claims.iat.time(), claims.exp.time());
    let latest = now.plus(SKEW);
    if issued > latest || claims.nbf.is_some_and(|from| from.time() > latest) {
        return Err(TokenError::NotYet);
    }
    if expires <= issued {
        return Err(TokenError::Claims);
    }
    if expires.since(issued) > partner.token_life {
        return Err(TokenError::Lifetime);
    }
    if expires <= now.minus(SKEW) {
        return Err(TokenError::Expired);
    }
    let id_fits = (1..=MAX_ID_BYTES).contains(&claims.jti.len());
    if !id_fits {
        return Err(TokenError::Claims);
    }
    let bound = claims
        .cnf
        .map(|cnf| decode_array(&cnf.jkt).map_err(|_| TokenError::Claims))
        .transpose()?;
    Ok(Checked {
        visible: VisibleId::new(&claims.sub).ok_or(TokenError::Claims)?,
        id: claims.jti,
        expires,
        bound,
    })
}

/// Longest `jti`, in bytes: a UUID has 36.
const MAX_ID_BYTES: usize = 128;

/// Members that a payload may have; ours are eight.
const MAX_MEMBERS: usize = 64;

struct Claims {
    iss: Box<str>,
    aud: Box<str>,
    sub: Box<str>,
    iat: Seconds,
    exp: Seconds,
    nbf: Option<Seconds>,
    jti: Box<str>,
    cnf: Option<Confirmation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    jkt: Box<str>,
}

/// A NumericDate (RFC 7519 section 2) that every reader of JSON reads alike (RFC 8259 section 6).
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "u64")]
struct Seconds(u64);

impl Seconds {
    const fn time(self) -> Timestamp {
        Timestamp::from_secs(self.0)
    }
}

impl TryFrom<u64> for Seconds {
    type Error = &'static str;

    fn try_from(secs: u64) -> Result<Self, Self::Error> {
        if secs < 1 << 53 {
            Ok(Self(secs))
        } else {
            Err("a time is below 2^53")
        }
    }
}

/// The derived reader would let a foreign member stand twice; this one remembers every name.
impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ClaimsVisitor)
    }
}

struct ClaimsVisitor;

impl<'de> Visitor<'de> for ClaimsVisitor {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
        let mut seen = BTreeSet::new();
        let (mut iss, mut aud, mut sub, mut jti) = (None, None, None, None);
        let (mut iat, mut exp, mut nbf, mut cnf) = (None, None, None, None);
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "iss" => iss = value(&mut map)?,
                "aud" => aud = value(&mut map)?,
                "sub" => sub = value(&mut map)?,
                "iat" => iat = value(&mut map)?,
                "exp" => exp = value(&mut map)?,
                "nbf" => nbf = value(&mut map)?,
                "jti" => jti = value(&mut map)?,
                "cnf" => cnf = value(&mut map)?,
                _ => drop(map.next_value::<serde_json::Value>()?),
            }
            if !seen.insert(name) || seen.len() > MAX_MEMBERS {
                return Err(A::Error::custom(
                    "a claim stands twice, or there are too many",
                ));
            }
        }
        let needed = A::Error::missing_field;
        Ok(Claims {
            iss: iss.ok_or_else(|| needed("iss"))?,
            aud: aud.ok_or_else(|| needed("aud"))?,
            sub: sub.ok_or_else(|| needed("sub"))?,
            iat: iat.ok_or_else(|| needed("iat"))?,
            exp: exp.ok_or_else(|| needed("exp"))?,
            nbf,
            jti: jti.ok_or_else(|| needed("jti"))?,
            cnf,
        })
    }
}

/// `null` is a value of another type here, not an absent claim.
fn value<'de, A: MapAccess<'de>, T: DeserializeOwned>(map: &mut A) -> Result<Option<T>, A::Error> {
    map.next_value::<T>().map(Some)
}
