//! Signs tokens as a partner does, and as a hostile one would like to.

use entente_keys::encode as b64;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use serde_json::{Value, json};

use crate::Algorithm;

/// One signing key of a partner.
#[derive(Debug)]
pub struct Issuer {
    kid: String,
    key: Key,
}

#[derive(Debug)]
enum Key {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// A 2048-bit key made for these tests with `openssl genpkey`; it guards nothing.
const RSA: &[u8] = include_bytes!("rsa.der");

impl Issuer {
    /// A fresh key; the RSA key is always the same one.
    ///
    /// # Panics
    /// When the operating system has no randomness.
    #[expect(clippy::unwrap_used, reason = "keys that were just made can be read")]
    pub fn new(algorithm: Algorithm, kid: &str) -> Self {
        let random = SystemRandom::new();
        let key = match algorithm {
            Algorithm::EdDsa => {
                let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                Key::Ed(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
            }
            Algorithm::Es256 => {
                let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
                Key::Ec(EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap())
            }
            Algorithm::Rs256 => Key::Rsa(Box::new(RsaKeyPair::from_der(RSA).unwrap())),
        };
        Self {
            kid: kid.to_owned(),
            key,
        }
    }

    /// The key as a JWK.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            Key::Ec(key) => {
                let (x, y) = key.public_key().as_ref().split_at(33);
                let x = x.split_first().map_or(x, |(_, x)| x);
                json!({"kty": "EC", "alg": "ES256", "crv": "P-256", "x": b64(x), "y": b64(y)})
            }
            Key::Ed(key) => {
                let x = b64(key.public_key().as_ref());
                json!({"kty": "OKP", "alg": "EdDSA", "crv": "Ed25519", "x": x})
            }
            Key::Rsa(key) => {
                let public: PublicKeyComponents<Vec<u8>> = key.public().into();
                json!({"kty": "RSA", "alg": "RS256", "n": b64(&public.n), "e": b64(&public.e)})
            }
        };
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".to_owned(), json!(self.kid));
            members.insert("use".to_owned(), json!("sig"));
        }
        jwk
    }

    /// A JWK set of some keys.
    pub fn set(keys: &[&Self]) -> String {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        json!({ "keys": keys }).to_string()
    }

    /// The name of the key's algorithm.
    pub const fn alg(&self) -> &'static str {
        match self.key {
            Key::Ec(_) => "ES256",
            Key::Ed(_) => "EdDSA",
            Key::Rsa(_) => "RS256",
        }
    }

    /// A token with an honest header.
    pub fn token(&self, claims: &Claims) -> String {
        self.token_of(&claims.0.to_string())
    }

    /// A token with an honest header over any payload.
    pub fn token_of(&self, payload: &str) -> String {
        let header = json!({"alg": self.alg(), "kid": self.kid, "typ": "entente+jwt"});
        self.sign(&header.to_string(), payload)
    }

    /// A token over any header and payload.
    #[expect(clippy::unwrap_used, reason = "a sound key signs")]
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", b64(header.as_bytes()), b64(payload.as_bytes()));
        let random = SystemRandom::new();
        let message = signed.as_bytes();
        let signature = match &self.key {
            Key::Ec(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Key::Ed(key) => key.sign(message).as_ref().to_vec(),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
        };
        format!("{signed}.{}", b64(&signature))
    }
}

/// The payload of a token; starts out good.
#[derive(Clone, Debug)]
pub struct Claims(Value);

impl Claims {
    /// Good claims, issued at a second and good for ten minutes.
    pub fn new(issuer: &str, audience: &str, subject: &str, issued: u64) -> Self {
        Self(json!({
            "iss": issuer,
            "aud": audience,
            "sub": subject,
            "iat": issued,
            "exp": issued + 600,
            "jti": format!("{issued}-{}", b64(&entente_core::random_array::<12>())),
        }))
    }

    /// With one claim replaced or added.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Some(members) = self.0.as_object_mut() {
            members.insert(name.to_owned(), value.into());
        }
        self
    }

    /// With one claim taken out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        if let Some(members) = self.0.as_object_mut() {
            members.remove(name);
        }
        self
    }

    /// The JSON.
    pub fn text(&self) -> String {
        self.0.to_string()
    }
}
