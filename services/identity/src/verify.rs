//! Whether a token proves that its bearer is a user of one partner.
//!
//! In: the partner's record, chosen by the connection or the enlistment door, and the token. Out: a
//! [`Proof`]. The library checks the signature and nothing else; everything that a token says about
//! how it wants to be checked is compared with the record or refused.
//!
//! **Invariants**
//! - The record decides the issuer, the keys and the algorithms; the token never picks them (T51).
//! - No key is looked up before form, algorithm and claims fit, so noise costs no fetch.
//! - A key is found by (record, key id, algorithm); nothing is tried in turn.
//! - An error says a fixed text and holds nothing of the token.

mod claims;
mod parse;
mod self_test;

use std::sync::Arc;
use std::time::Duration;

use entente_core::{PartnerId, Timestamp, VisibleId};

use crate::jwks::{Jwks, KeyError, PublicKey};
use crate::partners::{Algorithm, Kid, Partner};

pub(crate) use self_test::self_test;

/// Longest token, in bytes (protocol A.2).
pub(crate) const MAX_TOKEN_BYTES: usize = 4096;

/// How far a partner's clock may be off.
pub(crate) const SKEW: Duration = Duration::from_secs(30);

/// What a good token shows.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    /// The partner whose key signed it.
    pub partner: PartnerId,
    /// The user, as the partner calls it.
    pub visible: VisibleId,
    /// The key that signed it.
    pub kid: Kid,
    /// The token's own id; with the partner it is unique.
    pub id: TokenId,
    /// When it ends, without skew.
    pub expires: Timestamp,
    /// Thumbprint of the transport key to which it is bound, if it is (RFC 7800).
    pub bound: Option<[u8; 32]>,
}

/// A token's `jti`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TokenId(Box<str>);

impl TokenId {
    /// The text, to be hashed into a key.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for TokenId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenId")
    }
}

/// Why a token proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// `alg` is not one that the record allows.
    #[error("token algorithm is not allowed")]
    Algorithm,
    /// Another audience.
    #[error("token is for another audience")]
    Audience,
    /// Claims are missing, of another type, twice there or out of range.
    #[error("token claims are malformed")]
    Claims,
    /// Its end has passed.
    #[error("token has expired")]
    Expired,
    /// Not three parts of strict base64url, or too long.
    #[error("token is malformed")]
    Form,
    /// The header has another member than `alg`, `kid` and `typ`, or not all of them.
    #[error("token header is not allowed")]
    Header,
    /// Another issuer than the record's.
    #[error("token is of another issuer")]
    Issuer,
    /// The partner's keys cannot be had now.
    #[error("keys of the partner are not available")]
    KeysUnavailable,
    /// It lives longer than the record allows.
    #[error("token lives too long")]
    Lifetime,
    /// It was made in the future, or is not valid yet.
    #[error("token is not valid yet")]
    NotYet,
    /// The key was revoked.
    #[error("token key is revoked")]
    Revoked,
    /// The signature does not fit.
    #[error("token signature does not match")]
    Signature,
    /// Another kind of token.
    #[error("token is of another type")]
    Type,
    /// The partner publishes no such key.
    #[error("token key is not known")]
    UnknownKey,
}

impl TokenError {
    /// The label that metrics carry.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Algorithm => "algorithm",
            Self::Audience => "audience",
            Self::Claims => "claims",
            Self::Expired => "expired",
            Self::Form => "form",
            Self::Header => "header",
            Self::Issuer => "issuer",
            Self::KeysUnavailable => "keys_unavailable",
            Self::Lifetime => "lifetime",
            Self::NotYet => "not_yet",
            Self::Revoked => "revoked",
            Self::Signature => "signature",
            Self::Type => "type",
            Self::UnknownKey => "unknown_key",
        }
    }
}

impl From<KeyError> for TokenError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Unavailable => Self::KeysUnavailable,
            KeyError::Unknown => Self::UnknownKey,
        }
    }
}

/// Checks tokens.
#[derive(Clone, Debug)]
pub(crate) struct Verifier {
    keys: Arc<Jwks>,
}

impl Verifier {
    /// Checks against the keys that partners publish.
    pub(crate) const fn new(keys: Arc<Jwks>) -> Self {
        Self { keys }
    }

    /// Checks a token of the partner at a moment.
    ///
    /// # Errors
    /// [`TokenError`]. Dropping the future is harmless.
    pub(crate) async fn verify(
        &self,
        partner: &Partner,
        token: &str,
        now: Timestamp,
    ) -> Result<Proof, TokenError> {
        let token = parse::token(token)?;
        if *token.typ != *partner.token_type.text() {
            return Err(TokenError::Type);
        }
        if !partner.algorithms.contains(&token.algorithm) {
            return Err(TokenError::Algorithm);
        }
        if partner.revoked_keys.contains(&token.kid) {
            return Err(TokenError::Revoked);
        }
        let claims = claims::check(&token.payload, partner, now)?;
        let key = self.keys.find(partner, &token.kid, token.algorithm).await?;
        check_signature(&key, token.signed, token.signature)?;
        Ok(Proof {
            partner: partner.number,
            visible: claims.visible,
            kid: token.kid,
            id: TokenId(claims.id),
            expires: claims.expires,
            bound: claims.bound,
        })
    }
}

/// The one place where the library is asked.
pub(crate) fn check_signature(
    key: &PublicKey,
    signed: &str,
    signature: &str,
) -> Result<(), TokenError> {
    let algorithm = library_name(key.algorithm());
    match jsonwebtoken::crypto::verify(signature, signed.as_bytes(), key.decoding(), algorithm) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(TokenError::Signature),
    }
}

pub(crate) const fn library_name(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
    }
}

#[cfg(test)]
mod tests;
