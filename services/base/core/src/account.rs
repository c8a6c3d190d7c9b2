//! What an enlisted account is made of: its visible id, its public keys, its prekeys.
//!
//! Sizes are those of the framework's enlistment form and of libsignal. Everything in here is
//! public key material; signatures are checked by the identity service before it gets here.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{AccountId, PartnerId, Timestamp};

/// Longest visible id in bytes: an e-mail address (RFC 5321 4.5.3.1) fits.
pub const MAX_VISIBLE_ID_BYTES: usize = 320;

/// The identifier that a partner's own users see. Belongs to the partner; never logged.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VisibleId(String);

impl VisibleId {
    /// Accepts 1 to [`MAX_VISIBLE_ID_BYTES`] bytes without control characters.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=MAX_VISIBLE_ID_BYTES).contains(&text.len());
        (fits && !text.chars().any(char::is_control)).then(|| Self(text.to_owned()))
    }

    /// The text, for the partner alone.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for VisibleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VisibleId")
    }
}

/// A signed Curve25519 prekey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPrekey {
    /// 24 bits, chosen by the client.
    pub id: u32,
    /// The public key, 32 bytes without the type byte.
    pub key: [u8; 32],
    /// XEdDSA signature by the identity key over the type byte and the key, 64 bytes.
    pub signature: Bytes,
}

/// A one-time Curve25519 prekey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTimePrekey {
    /// 24 bits, chosen by the client.
    pub id: u32,
    /// The public key, 32 bytes without the type byte.
    pub key: [u8; 32],
}

/// A Kyber-1024 prekey, one-time or last-resort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KyberPrekey {
    /// 24 bits, chosen by the client.
    pub id: u32,
    /// The serialised public key with its type byte, 1,569 bytes.
    pub key: Bytes,
    /// XEdDSA signature by the identity key over all of `key`, 64 bytes.
    pub signature: Bytes,
}

/// What an enlistment sets: all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enlistment {
    /// The partner whose token was verified.
    pub partner: PartnerId,
    /// The token's subject.
    pub visible: VisibleId,
    /// The client's static transport key.
    pub transport: [u8; 32],
    /// Signal registration id.
    pub registration: u32,
    /// Signal identity public key, 32 bytes without the type byte.
    pub identity: [u8; 32],
    /// The first signed prekey.
    pub signed: SignedPrekey,
}

/// How an enlistment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enlisted {
    /// The internal id; the same for the same visible id until it is erased.
    pub account: AccountId,
    /// What became of it.
    pub change: EnlistChange,
}

/// What an enlistment changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnlistChange {
    /// The visible id was not enlisted before.
    Created,
    /// A new identity key replaced the old one: prekeys gone, session closed, peers told.
    Replaced,
    /// The same identity key: transport key and signed prekey were refreshed.
    Same,
}

/// What services may know of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountFacts {
    /// The internal id.
    pub account: AccountId,
    /// The partner's name for it.
    pub visible: VisibleId,
    /// Signal identity public key.
    pub identity: [u8; 32],
    /// The static transport key that was enlisted.
    pub transport: [u8; 32],
    /// Raised by each new identity key: what was issued for a lower one is void.
    pub generation: u64,
    /// When it was enlisted, by the log's time.
    pub enlisted: Timestamp,
}

/// An upload of prekeys; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrekeyUpload {
    /// Replaces the signed prekey.
    pub signed: Option<SignedPrekey>,
    /// Added to the one-time keys; an id that is there already is left as it is.
    pub one_time: Vec<OneTimePrekey>,
    /// Replaces the last-resort Kyber key.
    pub last_resort: Option<KyberPrekey>,
    /// Added to the one-time Kyber keys.
    pub kyber: Vec<KyberPrekey>,
}

/// How many one-time keys wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrekeyCount {
    /// Curve25519 keys.
    pub one_time: u32,
    /// Kyber keys.
    pub kyber: u32,
}

/// What a peer needs to open a PQXDH session. One-time keys in it are served to nobody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// Whose keys they are.
    pub account: AccountId,
    /// Signal registration id.
    pub registration: u32,
    /// Identity key.
    pub identity: [u8; 32],
    /// Signed prekey.
    pub signed: SignedPrekey,
    /// A one-time key, if any was left.
    pub one_time: Option<OneTimePrekey>,
    /// A one-time Kyber key, or else the last-resort one.
    pub kyber: Option<KyberPrekey>,
    /// Whether `kyber` is the last-resort key.
    pub last_resort: bool,
}
