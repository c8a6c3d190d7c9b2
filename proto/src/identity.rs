//! Who a client is, and the keys of its peers: what a connection node asks of the identity service.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use entente_core::{
    AccountFacts, AccountId, Bundle, Fault, PartnerId, PrekeyCount, PrekeyUpload, Secret, Timestamp,
};
use tokio::sync::broadcast;

use crate::directory::BlockChange;

/// How a client proves who it is at login.
#[derive(Debug)]
pub enum Credential {
    /// A FAST token (XEP-0484, mechanism `HT-SHA-256-NONE`): the initiator's hash over its secret.
    Fast {
        /// The token's public part, as the server made it: says which secret is meant.
        token: Box<str>,
        /// `HMAC-SHA-256(secret, "Initiator" || channel binding)`.
        proof: Box<[u8]>,
    },
    /// The partner's JWT (the password of SASL PLAIN, the bearer token of OAUTHBEARER).
    Token(Secret<String>),
}

/// A login that was granted.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// The account with its facts.
    pub facts: AccountFacts,
    /// The partner key under which the token was signed; empty for a FAST login.
    pub kid: Box<str>,
    /// For a FAST login: `HMAC-SHA-256(secret, "Responder" || channel binding)`, owed to the client.
    pub responder: Option<Box<[u8]>>,
}

/// A new FAST token for a device.
#[derive(Clone)]
pub struct FastToken {
    /// The text that the client presents and keys its HMAC with.
    pub token: Box<str>,
    /// When it ends.
    pub expires: Timestamp,
}

impl std::fmt::Debug for FastToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FastToken")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// Sessions that must end at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// All sessions whose login rests on this key of the partner.
    Key {
        /// The partner.
        partner: PartnerId,
        /// The key id.
        kid: Box<str>,
    },
    /// All sessions of the partner: suspended or removed.
    Partner(PartnerId),
    /// All sessions but those of these partners, of whom it is certain that nothing was revoked while
    /// revocations could not be heard.
    AllBut(Arc<BTreeSet<PartnerId>>),
}

/// What logins rest on, by active partner: a digest that stays the same as long as no session of the
/// partner had to end.
pub type Grounds = BTreeMap<PartnerId, Box<[u8]>>;

/// The identity service.
#[async_trait]
pub trait Identity: Send + Sync + std::fmt::Debug {
    /// The accounts that an account blocks.
    ///
    /// # Errors
    /// As `Directory::blocked`.
    async fn blocked(&self, account: AccountId) -> Result<Vec<AccountId>, Fault>;

    /// Takes the bundle of a peer on behalf of a requester, within the requester's budget.
    ///
    /// # Errors
    /// `NotFound` for unknown, blocked and suspended alike; `Overloaded` beyond the budget or while
    /// the budget cannot be read; `Unavailable`.
    async fn bundle(&self, requester: AccountId, target: AccountId) -> Result<Bundle, Fault>;

    /// Changes a block list.
    ///
    /// # Errors
    /// As `Directory::change_blocked`.
    async fn change_blocked(&self, account: AccountId, change: BlockChange) -> Result<(), Fault>;

    /// Makes a FAST token for a device that logged in.
    ///
    /// # Errors
    /// `NotFound` if the account is gone; `Unavailable`.
    async fn issue_fast(&self, account: AccountId) -> Result<FastToken, Fault>;

    /// Checks a login of an account.
    ///
    /// # Errors
    /// `Unauthenticated` with one text whatever is wrong with account or proof; `Forbidden` if the
    /// partner is not active; `Unavailable` if it cannot be told now.
    async fn login(&self, account: AccountId, credential: Credential) -> Result<LoggedIn, Fault>;

    /// How many one-time keys of an account wait.
    ///
    /// # Errors
    /// As `Directory::prekey_count`.
    async fn prekey_count(&self, account: AccountId) -> Result<PrekeyCount, Fault>;

    /// What logins rest on now. Who missed revocations may keep the sessions of partners whose ground is
    /// what it was before; a suspension that began and ended in between does not show.
    fn grounds(&self) -> Grounds;

    /// Sessions that must end, from now on. A receiver that lags must end all sessions that it
    /// cannot clear.
    fn revocations(&self) -> broadcast::Receiver<Revocation>;

    /// Erases the account.
    ///
    /// # Errors
    /// As `Directory::unenlist`.
    async fn unenlist(&self, account: AccountId) -> Result<(), Fault>;

    /// Checks signatures and stores prekeys.
    ///
    /// # Errors
    /// `PeerMisbehaved` if a key or signature is bad, and then nothing is stored; `Overloaded`
    /// beyond the limit of keys; `NotFound`; `Unavailable`.
    async fn upload(&self, account: AccountId, keys: PrekeyUpload) -> Result<PrekeyCount, Fault>;
}

/// A handle on the identity service, near or far.
#[derive(Clone, Debug)]
pub struct IdentityClient(Arc<dyn Identity>);

impl IdentityClient {
    /// A handle on a service in this process.
    pub fn local(service: Arc<dyn Identity>) -> Self {
        Self(service)
    }
}

impl Deref for IdentityClient {
    type Target = dyn Identity;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}
