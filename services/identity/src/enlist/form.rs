//! Reads the enlistment form (protocol A.2) into keys that were checked.
//!
//! **Invariants**
//! - Each of the eight fields stands exactly once and nothing else does.
//! - Values are base64url or a token, so nothing needs escaping, and `%` or `+` is an error: two
//!   readers of the form cannot differ about it (T69).
//! - A [`Form`] holds sound keys and a signed prekey that its identity key signed.

use bytes::Bytes;
use entente_core::{Enlistment, SignedPrekey};
use entente_keys::{Curve25519Key, KEY_TYPE_CURVE25519, KeyError, Signature, decode_array};

use super::Reason;
use crate::verify::{MAX_TOKEN_BYTES, Proof};

/// A form whose keys and signature are good. Its token is not looked at here.
#[derive(Debug)]
pub(super) struct Form {
    transport: Curve25519Key,
    registration: u32,
    identity: Curve25519Key,
    signed: SignedPrekey,
    token: Token,
}

/// Not shown by `Debug`.
struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

const FIELDS: [&str; 8] = [
    "authkey",
    "e_keytype",
    "e_regid",
    "e_ident",
    "e_skey_id",
    "e_skey_val",
    "e_skey_sig",
    "token",
];

impl Form {
    /// Reads and checks a body.
    ///
    /// # Errors
    /// The first [`Reason`] that is found.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Reason> {
        let body = std::str::from_utf8(body).map_err(|_| Reason::BadRequest)?;
        let [
            transport,
            kind,
            registration,
            identity,
            id,
            key,
            signature,
            token,
        ] = fields(body)?;
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES {
            return Err(Reason::BadRequest);
        }
        let [kind] = decode_array(kind).map_err(reason)?;
        if kind != KEY_TYPE_CURVE25519 {
            return Err(Reason::BadKey);
        }
        let identity = Curve25519Key::from_base64url(identity).map_err(reason)?;
        let key = Curve25519Key::from_base64url(key).map_err(reason)?;
        let signature = Signature::from_base64url(signature).map_err(reason)?;
        let [high, middle, low] = decode_array(id).map_err(reason)?;
        let form = Self {
            transport: Curve25519Key::from_base64url(transport).map_err(reason)?,
            registration: u32::from_be_bytes(decode_array(registration).map_err(reason)?),
            identity,
            signed: SignedPrekey {
                id: u32::from_be_bytes([0, high, middle, low]),
                key: *key.bytes(),
                signature: Bytes::copy_from_slice(signature.bytes()),
            },
            token: Token(token.to_owned()),
        };
        identity
            .verify(&key.serialized(), &signature)
            .map_err(reason)?;
        Ok(form)
    }

    /// The token, unverified.
    pub(super) fn token(&self) -> &str {
        &self.token.0
    }

    /// The transport key that the client will show at its handshakes.
    pub(super) const fn transport(&self) -> &Curve25519Key {
        &self.transport
    }

    /// What is to be stored for the user that the proof names.
    pub(super) fn into_enlistment(self, proof: &Proof) -> Enlistment {
        Enlistment {
            partner: proof.partner,
            visible: proof.visible.clone(),
            transport: *self.transport.bytes(),
            registration: self.registration,
            identity: *self.identity.bytes(),
            signed: self.signed,
        }
    }
}

fn reason(error: KeyError) -> Reason {
    match error {
        KeyError::BadSignature => Reason::BadSignature,
        KeyError::BadText | KeyError::WrongSize => Reason::BadRequest,
        KeyError::NotAKey | KeyError::NotCanonical | KeyError::SmallOrder | KeyError::WrongType => {
            Reason::BadKey
        }
    }
}

/// The values in the order of [`FIELDS`].
fn fields(body: &str) -> Result<[&str; 8], Reason> {
    let mut values: [Option<&str>; 8] = [None; 8];
    for pair in body.split('&') {
        let (name, value) = pair.split_once('=').ok_or(Reason::BadRequest)?;
        let slot = FIELDS
            .iter()
            .zip(&mut values)
            .find_map(|(field, slot)| (*field == name).then_some(slot))
            .ok_or(Reason::BadRequest)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if slot.replace(value).is_some() || !value.bytes().all(plain) {
            return Err(Reason::BadRequest);
        }
    }
    let mut all = [""; 8];
    for (to, value) in all.iter_mut().zip(values) {
        *to = value.ok_or(Reason::BadRequest)?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
