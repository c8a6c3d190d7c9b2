//! The gateway's signing key: what proves to a partner that a wake-up is ours.
//!
//! In: a PKCS #8 file. Out: bearer tokens (RS256, RFC 7519), and the public half as a key set
//! (RFC 7517) that partners fetch.
//!
//! **Invariants**
//! - Signatures are made by ring, whose RSA takes the same time whatever the key; the library that
//!   draws new keys signs nothing (`ops/adr/0004-push-signing-key.md`).
//! - Neither key nor token has a `Debug` that shows it.

mod generate;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use entente_core::{Secret, Timestamp};
use http::{HeaderValue, header};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

/// Where partners fetch the key set.
pub const JWKS_PATH: &str = "/.well-known/jwks";

/// A token's life: what the framework states, `exp` = `iat` + 3600.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// Largest key file that is read, in bytes: a PEM of 4096 bits has 3.3 KB.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// An RSA key that signs wake-ups.
pub struct SigningKey {
    pair: RsaKeyPair,
    kid: String,
    n: String,
    e: String,
    others: Vec<Value>,
}

impl SigningKey {
    /// Draws a key of 2048 bits and returns it with its PKCS #8 PEM, which the caller keeps secret.
    /// Takes a part of a second: for the start of a deployment, not for a service.
    ///
    /// # Errors
    /// [`KeyError::Generate`] if no usable key was drawn.
    pub fn generate() -> Result<(Self, Secret<String>), KeyError> {
        let pem = generate::pem()?;
        let key = Self::parse(pem.expose().as_bytes())?;
        Ok((key, pem))
    }

    /// Draws a key and writes it to a new file that only the owner may read.
    ///
    /// # Errors
    /// [`KeyError::File`] if the file exists already or cannot be written.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let (key, pem) = Self::generate()?;
        generate::write(path, pem.expose().as_bytes())?;
        Ok(key)
    }

    /// Reads a key from a file, PKCS #8 in PEM or DER.
    ///
    /// # Errors
    /// [`KeyError::File`] if it cannot be read; [`KeyError::Unusable`] if it is no RSA key of 2048
    /// to 4096 bits.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let file = |error: std::io::Error| KeyError::File(error.kind());
        if std::fs::metadata(path).map_err(file)?.len() > MAX_FILE_BYTES {
            return Err(KeyError::Unusable);
        }
        let bytes = Secret::new(std::fs::read(path).map_err(file)?);
        Self::parse(bytes.expose())
    }

    /// Reads a key, PKCS #8 in PEM or DER.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] if it is no RSA key of 2048 to 4096 bits.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let is_pem = bytes.trim_ascii_start().starts_with(b"-----BEGIN");
        let pair = if is_pem {
            let key = PrivatePkcs8KeyDer::from_pem_slice(bytes).map_err(|_| KeyError::Unusable)?;
            RsaKeyPair::from_pkcs8(key.secret_pkcs8_der())
        } else {
            RsaKeyPair::from_pkcs8(bytes)
        };
        let pair = pair.map_err(|_| KeyError::Unusable)?;
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
        let (n, e) = (encode(&public.n), encode(&public.e));
        // RFC 7638 3.2: the required members, in this order and without white space.
        let members = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        let kid = encode(digest(&SHA256, members.as_bytes()).as_ref());
        Ok(Self {
            pair,
            kid,
            n,
            e,
            others: Vec::new(),
        })
    }

    /// Publishes another key beside this one: the next one before a change, the last one for an
    /// hour after it.
    #[must_use]
    pub fn beside(mut self, other: &Self) -> Self {
        self.others.push(other.jwk());
        self
    }

    /// The key set that partners fetch, as JSON.
    pub fn jwks(&self) -> String {
        let keys: Vec<Value> = std::iter::once(self.jwk())
            .chain(self.others.iter().cloned())
            .collect();
        json!({ "keys": keys }).to_string()
    }

    /// Serves the key set at [`JWKS_PATH`].
    pub fn jwks_router(&self) -> Router {
        let body = Bytes::from(self.jwks());
        let answer = move || {
            let body = body.clone();
            async move { ([(header::CONTENT_TYPE, "application/json")], body) }
        };
        Router::new().route(JWKS_PATH, get(answer))
    }

    /// The key's id: its thumbprint (RFC 7638).
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half.
    pub fn jwk(&self) -> Value {
        json!({
            "kty": "RSA",
            "alg": "RS256",
            "use": "sig",
            "kid": self.kid,
            "n": self.n,
            "e": self.e,
        })
    }

    fn sign(&self, claims: &Value) -> Result<String, SignError> {
        let header = json!({"alg": "RS256", "kid": self.kid, "typ": "JWT"});
        let (header, claims) = (header.to_string(), claims.to_string());
        let signed = format!(
            "{}.{}",
            encode(header.as_bytes()),
            encode(claims.as_bytes())
        );
        let mut signature = vec![0; self.pair.public().modulus_len()];
        let random = SystemRandom::new();
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &random,
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(|_| SignError)?;
        Ok(format!("{signed}.{}", encode(&signature)))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// What signs in the name of the gateway.
#[derive(Debug)]
pub(crate) struct Signer {
    key: SigningKey,
    issuer: String,
}

impl Signer {
    pub(crate) const fn new(key: SigningKey, issuer: String) -> Self {
        Self { key, issuer }
    }

    /// The value of an `Authorization` header for one attempt; its `Debug` shows nothing.
    ///
    /// `jti` is the wake-up's id and stays the same over its attempts, so that a partner can drop
    /// what it has seen; `iat` and `exp` are the attempt's.
    pub(crate) fn bearer(
        &self,
        audience: &str,
        id: &[u8; 16],
        now: Timestamp,
    ) -> Result<HeaderValue, SignError> {
        let claims = json!({
            "iss": self.issuer,
            "aud": audience,
            "iat": now.secs(),
            "exp": now.plus(TOKEN_LIFE).secs(),
            "jti": encode(id),
        });
        let token = Secret::new(format!("Bearer {}", self.key.sign(&claims)?));
        let mut value = HeaderValue::try_from(token.expose()).map_err(|_| SignError)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Why there is no signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the file of the signing key: {0}")]
    File(std::io::ErrorKind),
    /// No key was drawn that the signing library takes.
    #[error("no signing key could be drawn")]
    Generate,
    /// Not a PKCS #8 RSA key of 2048 to 4096 bits.
    #[error("the signing key is not a PKCS #8 RSA key of 2048 to 4096 bits")]
    Unusable,
}

/// The signing library refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a wake-up could not be signed")]
pub(crate) struct SignError;

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests;
