use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};

use super::*;

fn read(bearer: &HeaderValue, keys: &str, audience: &str) -> Option<Value> {
    let token = bearer.to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let keys: JwkSet = serde_json::from_str(keys).unwrap();
    let kid = decode_header(token).unwrap().kid.unwrap();
    let key = DecodingKey::from_jwk(keys.find(&kid)?).unwrap();
    let mut rules = Validation::new(Algorithm::RS256);
    rules.set_audience(&[audience]);
    rules.set_issuer(&["https://gateway.test"]);
    let read = decode::<Value>(token, &key, &rules);
    read.ok().map(|token| token.claims)
}

/// T62: what is drawn by one library is signed by another, and a third verifies it.
#[test]
fn a_drawn_key_signs_what_another_library_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("push.pem");
    let key = SigningKey::create(&path).unwrap();
    let again = SigningKey::load(&path).unwrap();
    assert_eq!(key.kid(), again.kid());
    let keys = key.jwks();
    let signer = Signer::new(again, "https://gateway.test".to_owned());
    let now = Timestamp::now();
    let bearer = signer.bearer("https://a.test", &[7; 16], now).unwrap();
    let claims = read(&bearer, &keys, "https://a.test").unwrap();
    assert_eq!(claims["iat"], now.secs());
    assert_eq!(claims["exp"], now.secs() + 3600);
    assert_eq!(claims["jti"], "BwcHBwcHBwcHBwcHBwcHBw");
    assert_eq!(claims.as_object().unwrap().len(), 5);
    assert_eq!(read(&bearer, &keys, "https://b.test"), None);
}

#[test]
fn a_key_file_is_private_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("push.pem");
    let key = SigningKey::create(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = SigningKey::create(&path);
    let exists = KeyError::File(std::io::ErrorKind::AlreadyExists);
    assert_eq!(second.err(), Some(exists));
    assert_eq!(SigningKey::load(&path).unwrap().kid(), key.kid());
}

#[test]
fn both_encodings_are_the_same_key_and_others_are_refused() {
    let (key, pem) = SigningKey::generate().unwrap();
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.expose().as_bytes()).unwrap();
    let same = SigningKey::parse(der.secret_pkcs8_der()).unwrap();
    assert_eq!(key.kid(), same.kid());
    let random = SystemRandom::new();
    let other = ring::signature::Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    for bad in [&b""[..], b"-----BEGIN PRIVATE KEY-----", other.as_ref()] {
        assert_eq!(SigningKey::parse(bad).err(), Some(KeyError::Unusable));
    }
}

/// T132: while keys change, tokens of the old and of the new one verify by the same key set.
#[test]
fn a_key_set_with_both_keys_covers_the_change() {
    let (old, _) = SigningKey::generate().unwrap();
    let (new, _) = SigningKey::generate().unwrap();
    let only_new = new.jwks();
    let both = new.beside(&old).jwks();
    let signer = Signer::new(old, "https://gateway.test".to_owned());
    let now = Timestamp::now();
    let bearer = signer.bearer("https://a.test", &[1; 16], now).unwrap();
    assert!(read(&bearer, &both, "https://a.test").is_some());
    assert!(read(&bearer, &only_new, "https://a.test").is_none());
}

/// T130: nothing of a key or a token is in debug output.
#[test]
fn debug_output_shows_neither_key_nor_token() {
    let (key, pem) = SigningKey::generate().unwrap();
    let n = key.n.clone();
    let signer = Signer::new(key, "https://gateway.test".to_owned());
    let now = Timestamp::now();
    let bearer = signer.bearer("https://a.test", &[1; 16], now).unwrap();
    let shown = format!("{signer:?} {bearer:?} {pem:?}");
    let token = bearer.to_str().unwrap();
    let signature = token.rsplit('.').next().unwrap();
    for secret in [n.as_str(), signature, "BEGIN"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
