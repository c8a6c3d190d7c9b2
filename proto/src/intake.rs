//! What nodes hand to the node that keeps a log: records to append, and stanzas to pass on now.
//!
//! Every record was sealed by who made it, and is checked by who reads it. Appending the same
//! records twice is harmless: the fold of a shard and the reader of wake-ups know repetitions.

use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{AccountId, Fault, Offset, ShardId, Timestamp};

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The input of the shards: one partition a shard.
    Input,
    /// The wake-ups.
    Wake,
}

/// Records are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Offset of the first.
    pub first: Offset,
    /// Offset of the last.
    pub last: Offset,
    /// When the log took them.
    pub at: Timestamp,
}

/// A stanza that is delivered now or never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ephemeral {
    /// Who sent it.
    pub from: AccountId,
    /// For whom it is.
    pub to: AccountId,
    /// The stanza as it is delivered.
    pub payload: Bytes,
}

/// Takes what others have for a log of this node.
#[async_trait]
pub trait Intake: Send + Sync + std::fmt::Debug {
    /// Appends records to a partition, in order, and answers when they are durable.
    ///
    /// # Errors
    /// `Deadline` if whether they were appended is unknown. After every other fault nothing was:
    /// `Conflict` ([`ELSEWHERE`](crate::owners::ELSEWHERE)), `Overloaded` if the log takes nothing
    /// now, `PeerMisbehaved` if it never takes these, `Unavailable`. Dropping the future leaves the
    /// outcome unknown.
    async fn append(
        &self,
        topic: Topic,
        partition: u32,
        records: Vec<Bytes>,
    ) -> Result<Taken, Fault>;

    /// Delivers stanzas to sessions of a shard that can take them at once; drops the others.
    ///
    /// # Errors
    /// `Conflict` ([`ELSEWHERE`](crate::owners::ELSEWHERE)); `Unavailable`. What was not delivered
    /// is dropped.
    async fn pass(&self, shard: ShardId, stanzas: Vec<Ephemeral>) -> Result<(), Fault>;
}

/// A handle on an intake, near or far.
#[derive(Clone, Debug)]
pub struct IntakeClient(Arc<dyn Intake>);

impl IntakeClient {
    /// A handle on an intake in this process.
    pub fn local(intake: Arc<dyn Intake>) -> Self {
        Self(intake)
    }
}

impl Deref for IntakeClient {
    type Target = dyn Intake;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}
