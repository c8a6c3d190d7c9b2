//! Who owns which shard.
//!
//! Whoever calls the owner of a shard guesses who that is. A node that does not own the shard
//! answers [`ELSEWHERE`] and has done nothing; then all are asked what they own. Of two that own the
//! same shard the one with the higher epoch does: the other has not heard of it yet.

use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use entente_core::{Epoch, Fault, FaultKind, ShardId};

/// The node does not own the shard, and did nothing.
pub const ELSEWHERE: Fault = Fault::new(FaultKind::Conflict, "the shard has another owner");

/// Says which shards a node owns.
#[async_trait]
pub trait Owners: Send + Sync + std::fmt::Debug {
    /// The shards that this node owns, each with the epoch of its owner: 0 for one that it is taking
    /// over, which whoever owned it before serves meanwhile, if it lives.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn owned(&self) -> Result<Vec<(ShardId, Epoch)>, Fault>;
}

/// A handle on what a node owns, near or far.
#[derive(Clone, Debug)]
pub struct OwnersClient(Arc<dyn Owners>);

impl OwnersClient {
    /// A handle on an answer of this process.
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
