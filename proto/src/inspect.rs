//! What a person on call asks: where something is, and why it waits.
//!
//! Answers hold internal ids, counters and ages, never what a stanza says or what a user is called by
//! others. They are for people: nothing is decided from them, so they are JSON and not a type.

use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{AccountId, Fault, FaultKind, Placement, ShardId};

/// There is nothing of the stanza in the dedupe window, so it did not come in the last 24 hours or 10,000
/// ids of its sender.
pub const NOT_SEEN: Fault = Fault::new(
    FaultKind::NotFound,
    "no such stanza is within the dedupe window",
);

/// The shard has no owner yet; whoever is asked will be it.
pub const TAKING_OVER: Fault = Fault::new(FaultKind::Unavailable, "the shard is being taken over");

/// What is asked for.
#[derive(Clone, PartialEq, Eq)]
pub enum Question {
    /// The device of an account, its session and its mailbox.
    Device(AccountId),
    /// The records that were set aside in a shard.
    Quarantine(ShardId),
    /// A shard.
    Shard(ShardId),
    /// A stanza on its way.
    Stanza {
        /// Who sent it.
        from: AccountId,
        /// With which device.
        from_device: u16,
        /// For whom it is.
        to: AccountId,
        /// The id that the device gave it.
        id: Bytes,
    },
}

impl Question {
    /// The shard whose owner knows the answer: for a stanza that of its recipient.
    pub fn shard(&self, placement: &Placement) -> ShardId {
        match self {
            Self::Device(account) | Self::Stanza { to: account, .. } => {
                placement.of_account(*account)
            }
            Self::Quarantine(shard) | Self::Shard(shard) => *shard,
        }
    }

    /// The word for log lines, which name nobody.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Device(_) => "device",
            Self::Quarantine(_) => "quarantine",
            Self::Shard(_) => "shard",
            Self::Stanza { .. } => "stanza",
        }
    }
}

/// Names nobody.
impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())
    }
}

/// Answers questions about what it owns.
#[async_trait]
pub trait Inspect: Send + Sync + std::fmt::Debug {
    /// The answer, as one JSON object.
    ///
    /// # Errors
    /// `Conflict` ([`ELSEWHERE`](crate::owners::ELSEWHERE)); `NotFound` for an account that is not
    /// enlisted, for a stanza ([`NOT_SEEN`]) and for a shard that does not exist; `Unavailable`.
    async fn inspect(&self, question: Question) -> Result<String, Fault>;
}

/// A handle on whoever answers, near or far.
#[derive(Clone, Debug)]
pub struct InspectClient(Arc<dyn Inspect>);

impl InspectClient {
    /// A handle on an owner in this process.
    pub fn local(owner: Arc<dyn Inspect>) -> Self {
        Self(owner)
    }
}

impl Deref for InspectClient {
    type Target = dyn Inspect;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}
