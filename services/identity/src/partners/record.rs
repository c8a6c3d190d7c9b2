//! One partner, as the registry's file describes it. Every value is checked where it is read.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use entente_core::PartnerId;
use entente_egress::{Base, Target};
use entente_table::Rate;
use serde::Deserialize;

/// A partner, or the host's own record.
#[derive(Clone, Debug)]
pub struct Partner {
    /// Its number, the first part of every internal id of its users.
    pub number: PartnerId,
    /// Its name, for people.
    pub name: String,
    /// What it is to the gateway.
    pub kind: Kind,
    /// What it may do now.
    pub state: State,
    /// The only `iss` that its tokens may carry.
    pub issuer: String,
    /// The only `aud` that its tokens may carry.
    pub audience: String,
    /// The only `typ` that its tokens may carry.
    pub token_type: TokenType,
    /// The longest life of its tokens, at most one hour.
    pub token_life: Duration,
    /// Algorithms under which its keys sign.
    pub algorithms: BTreeSet<Algorithm>,
    /// Where its public keys are.
    pub jwks: Target,
    /// The base of its push door; none for a partner that is not woken.
    pub push: Option<Base>,
    /// The base of its media; none for a partner that hosts none.
    pub media: Option<Base>,
    /// Host names under which its users enlist, in lower case.
    pub enlist_hosts: BTreeSet<Box<str>>,
    /// Key ids that are refused even while they are published.
    pub revoked_keys: BTreeSet<Kid>,
    /// What it may use up.
    pub quotas: Quotas,
}

/// What a record is to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The network that runs the gateway.
    Host,
    /// A third-party provider.
    Partner,
}

/// What a partner may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its users enlist and connect.
    Active,
    /// Its keys are fetched, nobody enlists or connects.
    Onboarding,
    /// It is no partner any more; the number is never given again.
    Removed,
    /// Stopped for a while.
    Suspended,
}

/// How a partner signs tokens. Symmetric algorithms do not exist here (T42).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519 (RFC 8037).
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSA PKCS#1 v1.5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
}

/// The `typ` of a partner's tokens (RFC 8725 section 3.11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TokenType {
    /// `entente+jwt`: no other kind of token is mistaken for it.
    #[default]
    #[serde(rename = "entente+jwt")]
    Entente,
    /// `JWT`, for a partner whose signer cannot be changed.
    #[serde(rename = "JWT")]
    Plain,
}

impl TokenType {
    /// The text in the token's header.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Entente => "entente+jwt",
            Self::Plain => "JWT",
        }
    }
}

/// What a partner may use up. Buckets are lossy hints; what they cannot tell is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quotas {
    /// Key bundles that its users may fetch in a minute.
    pub bundles_per_minute: u32,
    /// Enlistments in a minute.
    pub enlistments_per_minute: u32,
    /// Stanzas that its users may send in a second.
    pub messages_per_second: u32,
    /// Sessions at a time.
    pub sessions: u32,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            bundles_per_minute: 6000,
            enlistments_per_minute: 600,
            messages_per_second: 5000,
            sessions: 100_000,
        }
    }
}

impl Quotas {
    /// The bucket of key bundles.
    pub const fn bundles(self) -> Rate {
        Rate::new(self.bundles_per_minute, MINUTE)
    }

    /// The bucket of enlistments.
    pub const fn enlistments(self) -> Rate {
        Rate::new(self.enlistments_per_minute, MINUTE)
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// A key id: 1 to 128 visible ASCII characters. Used to look up in a map and for nothing else (T44).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "Box<str>")]
pub struct Kid(Box<str>);

impl Kid {
    /// Accepts 1 to 128 visible ASCII characters.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=MAX_KID_BYTES).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<Box<str>> for Kid {
    type Error = &'static str;

    fn try_from(text: Box<str>) -> Result<Self, Self::Error> {
        Self::new(&text).ok_or("a key id has 1 to 128 visible ASCII characters")
    }
}

impl fmt::Debug for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kid")
    }
}

const MAX_KID_BYTES: usize = 128;
