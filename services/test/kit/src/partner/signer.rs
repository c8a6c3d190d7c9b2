//! A partner's signing key: it makes tokens and is published as a JWK.
//!
//! The RS256 key is a committed sample, because making one takes a second; the others are drawn.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entente_core::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair, RsaPublicKeyComponents,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

/// See the first line of the file.
const SAMPLE_RS256: &[u8] = include_bytes!("../../keys/sample-rs256.pem");

/// The signature algorithms that a partner may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSA PKCS #1 v1.5 with SHA-256, 2048 bits.
    Rs256,
}

impl Algorithm {
    /// The `alg` value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// A key could not be made, or a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sample key cannot sign")]
pub struct SignerError;

enum Key {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A signing key with its id.
pub struct Signer {
    kid: String,
    key: Key,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("kid", &self.kid).finish()
    }
}

impl Signer {
    /// Draws a key, or takes the sample for RS256.
    ///
    /// # Errors
    /// [`SignerError`] if ring refuses.
    pub fn new(algorithm: Algorithm, kid: &str) -> Result<Self, SignerError> {
        let random = SystemRandom::new();
        let key = match algorithm {
            Algorithm::EdDsa => {
                let document = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| SignerError)?;
                Key::Ed(Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| SignerError)?)
            }
            Algorithm::Es256 => {
                let profile = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let document =
                    EcdsaKeyPair::generate_pkcs8(profile, &random).map_err(|_| SignerError)?;
                Key::Ec(
                    EcdsaKeyPair::from_pkcs8(profile, document.as_ref(), &random)
                        .map_err(|_| SignerError)?,
                )
            }
            Algorithm::Rs256 => {
                let document =
                    PrivatePkcs8KeyDer::from_pem_slice(SAMPLE_RS256).map_err(|_| SignerError)?;
                let bytes = document.secret_pkcs8_der();
                Key::Rsa(RsaKeyPair::from_pkcs8(bytes).map_err(|_| SignerError)?)
            }
        };
        Ok(Self {
            kid: kid.to_owned(),
            key,
        })
    }

    /// The key id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        match self.key {
            Key::Ec(_) => Algorithm::Es256,
            Key::Ed(_) => Algorithm::EdDsa,
            Key::Rsa(_) => Algorithm::Rs256,
        }
    }

    /// The public key as a JWK (RFC 7517; RFC 8037 for Ed25519).
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            Key::Ec(pair) => {
                // Uncompressed point: a type byte, then both coordinates.
                let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at_checked(32).unwrap_or_default();
                json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)})
            }
            Key::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())})
            }
            Key::Rsa(pair) => {
                let parts = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "n": encode(&parts.n), "e": encode(&parts.e)})
            }
        };
        if let Some(map) = jwk.as_object_mut() {
            map.insert("kid".to_owned(), json!(self.kid));
            map.insert("alg".to_owned(), json!(self.algorithm().name()));
            map.insert("use".to_owned(), json!("sig"));
        }
        jwk
    }

    /// Signs any header and claims as a compact JWS (RFC 7515 7.1); tests make bad ones with it.
    ///
    /// # Errors
    /// [`SignerError`] if ring refuses.
    pub fn sign(&self, header: &Value, claims: &Value) -> Result<String, SignerError> {
        let signed = format!(
            "{}.{}",
            encode(header.to_string().as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::Ec(pair) => {
                let signature = pair.sign(&random, signed.as_bytes());
                signature.map_err(|_| SignerError)?.as_ref().to_vec()
            }
            Key::Ed(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &random,
                    signed.as_bytes(),
                    &mut signature,
                )
                .map_err(|_| SignerError)?;
                signature
            }
        };
        Ok(format!("{signed}.{}", encode(&signature)))
    }
}

/// What a partner states about one of its users.
#[derive(Clone, Debug)]
pub struct Claims {
    /// The partner.
    pub issuer: String,
    /// The gateway.
    pub audience: String,
    /// The visible id.
    pub subject: String,
    /// When it was made.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// An id that no other token has.
    pub id: String,
}

impl Claims {
    /// As JSON, the way RFC 7519 names them.
    pub fn to_json(&self) -> Value {
        json!({
            "iss": self.issuer,
            "aud": self.audience,
            "sub": self.subject,
            "iat": self.issued.secs(),
            "exp": self.expires.secs(),
            "jti": self.id,
        })
    }
}

/// base64url without padding.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{DecodingKey, Validation, decode};

    use super::*;

    #[test]
    fn another_library_verifies_each_algorithm_by_the_published_key() {
        for (algorithm, theirs) in [
            (Algorithm::EdDsa, jsonwebtoken::Algorithm::EdDSA),
            (Algorithm::Es256, jsonwebtoken::Algorithm::ES256),
            (Algorithm::Rs256, jsonwebtoken::Algorithm::RS256),
        ] {
            let signer = Signer::new(algorithm, "k1").unwrap();
            let jwk: Jwk = serde_json::from_value(signer.jwk()).unwrap();
            let key = DecodingKey::from_jwk(&jwk).unwrap();
            let claims = Claims {
                issuer: "https://a.test".to_owned(),
                audience: "https://gateway.test".to_owned(),
                subject: "ada".to_owned(),
                issued: Timestamp::now(),
                expires: Timestamp::now().plus(std::time::Duration::from_secs(60)),
                id: "1".to_owned(),
            };
            let header = json!({"alg": algorithm.name(), "kid": "k1"});
            let token = signer.sign(&header, &claims.to_json()).unwrap();
            let mut rules = Validation::new(theirs);
            rules.set_audience(&["https://gateway.test"]);
            let read = decode::<Value>(&token, &key, &rules).unwrap();
            assert_eq!(read.claims["sub"], "ada");

            let (head, _) = token.rsplit_once('.').unwrap();
            let unsigned = format!("{head}.{}", encode(&[7; 64]));
            assert!(decode::<Value>(&unsigned, &key, &rules).is_err());
        }
    }
}
