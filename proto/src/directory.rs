//! Accounts, keys and block lists, as the owners of the shards hold them.
//!
//! Every change is a record in the account's shard and is answered only after it was applied, so an
//! answer means durable. Calls are idempotent where they say so; an unknown outcome is a
//! `Deadline` or `Unavailable` fault and the call may be repeated.

use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use entente_core::{
    AccountFacts, AccountId, Bundle, Enlisted, Enlistment, Fault, PartnerId, PrekeyCount,
    PrekeyUpload, VisibleId,
};

/// The accounts of a deployment.
#[async_trait]
pub trait Directory: Send + Sync + std::fmt::Debug {
    /// What is known of an account; none if it is not enlisted.
    ///
    /// # Errors
    /// `Unavailable` while its shard has no owner.
    async fn account(&self, account: AccountId) -> Result<Option<AccountFacts>, Fault>;

    /// The accounts that an account blocks, in ascending order.
    ///
    /// # Errors
    /// `NotFound` if the account is not enlisted; `Unavailable`.
    async fn blocked(&self, account: AccountId) -> Result<Vec<AccountId>, Fault>;

    /// Adds to and takes from a block list. Idempotent. `clear` empties it first.
    ///
    /// # Errors
    /// `NotFound`; `Overloaded` beyond the limit of entries; `Unavailable`.
    async fn change_blocked(&self, account: AccountId, change: BlockChange) -> Result<(), Fault>;

    /// Enlists a visible id, or refreshes or replaces its keys. Idempotent.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn enlist(&self, enlistment: Enlistment) -> Result<Enlisted, Fault>;

    /// The account of a visible id.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn lookup(
        &self,
        partner: PartnerId,
        visible: &VisibleId,
    ) -> Result<Option<AccountId>, Fault>;

    /// How many one-time keys wait.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    async fn prekey_count(&self, account: AccountId) -> Result<PrekeyCount, Fault>;

    /// Takes a bundle. One-time keys in it were consumed durably before this returns and are never
    /// served again; dropping the future may waste them.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    async fn take_bundle(&self, target: AccountId) -> Result<Bundle, Fault>;

    /// Erases an account with everything of it. Idempotent.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn unenlist(&self, account: AccountId) -> Result<(), Fault>;

    /// Stores prekeys whose signatures were checked by the caller. Idempotent by key id.
    ///
    /// # Errors
    /// `NotFound`; `Overloaded` beyond the limit of keys; `Unavailable`.
    async fn upload(&self, account: AccountId, keys: PrekeyUpload) -> Result<PrekeyCount, Fault>;
}

/// A change of a block list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockChange {
    /// Empty the list first.
    pub clear: bool,
    /// Accounts to add.
    pub add: Vec<AccountId>,
    /// Accounts to take out.
    pub remove: Vec<AccountId>,
}

/// A handle on the directory, near or far.
#[derive(Clone, Debug)]
pub struct DirectoryClient(Arc<dyn Directory>);

impl DirectoryClient {
    /// A handle on a service in this process.
    pub fn local(service: Arc<dyn Directory>) -> Self {
        Self(service)
    }
}

impl Deref for DirectoryClient {
    type Target = dyn Directory;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}
