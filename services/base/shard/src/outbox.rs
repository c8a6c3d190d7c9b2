//! What a shard has caused elsewhere and must not forget until it is durable there.
//!
//! **Invariants**
//! - Counters to one target are dense and given by the fold, so a replay gives the same ones.
//! - An item leaves only for a `Sent` command; what is not sent yet is sent again by the next owner.

use std::collections::VecDeque;

use entente_core::{AccountId, Content, Counter, ShardId, TraceContext};
use serde::{Deserialize, Serialize};

/// Where outputs go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// The input of another shard.
    Shard(ShardId),
    /// The wake-up log, from which push is fed.
    Wake,
}

/// About how many bytes gateway-made content has, for limits.
pub(crate) fn size_of(content: &Content) -> usize {
    const LENGTH: usize = 2;
    match content {
        Content::Delivered(delivered) => {
            let ids = delivered.ids.iter();
            ids.map(|id| id.len() + LENGTH).sum()
        }
        Content::Failed(failed) => failed.id.len(),
        Content::IdentityChanged { .. } => 0,
        Content::Stanza(payload) => payload.len(),
    }
}

/// One output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OutputItem {
    /// Content for a mailbox.
    Content {
        /// Whose.
        to: AccountId,
        /// What.
        content: Content,
    },
    /// Something waits for a user who is not connected.
    Wake {
        /// Who is to be woken.
        account: AccountId,
        /// The trace of the message that waits. It is not in the row: a later owner does without.
        #[serde(skip)]
        trace: Option<TraceContext>,
    },
}

impl OutputItem {
    /// About how many bytes a record spends on it.
    fn size(&self) -> usize {
        const FIXED: usize = 64;
        let ids = match self {
            Self::Content { content, .. } => size_of(content),
            Self::Wake { .. } => 0,
        };
        FIXED + ids
    }
}

/// Outputs to one target.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) next: Counter,
    pub(crate) items: VecDeque<Held>,
    /// Items up to here were handed to the owner's appender in this run.
    pub(crate) taken: Counter,
    /// Stored items that were sent: their rows go with the next checkpoint.
    pub(crate) gone: Vec<Counter>,
}

#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) counter: Counter,
    pub(crate) item: OutputItem,
    pub(crate) stored: bool,
}

impl Outbox {
    pub(crate) fn push(&mut self, item: OutputItem) {
        self.next = self.next.next();
        self.items.push_back(Held {
            counter: self.next,
            item,
            stored: false,
        });
    }

    pub(crate) fn sent(&mut self, through: Counter) {
        while self
            .items
            .front()
            .is_some_and(|held| held.counter <= through)
        {
            if let Some(held) = self.items.pop_front()
                && held.stored
            {
                self.gone.push(held.counter);
            }
        }
    }

    /// Items that were not handed out yet, in order; marks them as handed out. At least one if
    /// there is any, and none after those that reach `bytes`.
    pub(crate) fn take(&mut self, limit: usize, bytes: usize) -> Vec<(Counter, OutputItem)> {
        let taken = self.taken;
        let start = self.items.partition_point(|held| held.counter <= taken);
        let mut size = 0_usize;
        let items: Vec<_> = self
            .items
            .range(start..)
            .take(limit)
            .take_while(|held| {
                let fits = size < bytes;
                size = size.saturating_add(held.item.size());
                fits
            })
            .map(|held| (held.counter, held.item.clone()))
            .collect();
        if let Some((counter, _)) = items.last() {
            self.taken = *counter;
        }
        items
    }
}
