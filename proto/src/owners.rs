//! Who owns which shard.
//!
//! Whoever calls the owner of a shard guesses who that is. A node that does not own the shard
//! answers [`ELSEWHERE`] and has done nothing; it can then be asked whom it takes for the owner.

use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use entente_core::{Fault, FaultKind, ShardId};

/// The node does not own the shard, and did nothing.
pub const ELSEWHERE: Fault = Fault::new(FaultKind::Conflict, "the shard has another owner");

/// Says who owns a shard.
#[async_trait]
pub trait Owners: Send + Sync + std::fmt::Debug {
    /// The name of the router node that owns a shard, as far as is known; none if nobody does.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn owner(&self, shard: ShardId) -> Result<Option<Box<str>>, Fault>;
}

/// A handle on what a node knows of owners, near or far.
#[derive(Clone, Debug)]
pub struct OwnersClient(Arc<dyn Owners>);

impl OwnersClient {
    /// A handle on a map in this process.
    pub fn local(owners: Arc<dyn Owners>) -> Self {
        Self(owners)
    }
}

impl Deref for OwnersClient {
    type Target = dyn Owners;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}
