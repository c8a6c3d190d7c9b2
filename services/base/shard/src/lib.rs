//! One shard: the state that a single owner folds from one partition of the input log.
//!
//! In: records of the partition, in order. Out: [`Effect`]s, and rows for a [`StateStore`]. The fold
//! is a pure function of the log's prefix: it reads no clock, no configuration and no table, so any
//! owner that reads the same records holds the same state and emits the same outputs.
//!
//! **Invariants**
//! - A record is applied once: the store commits rows together with the offset that they cover.
//! - Only the fold removes a mailbox entry, and only for a settle, an expiry or an erasure.
//! - Commands of an owner carry its epoch; those below the newest claim change nothing.
//! - Outputs to other shards carry a dense counter; a repeated one is ignored.
//!
//! What it does not do: append, deliver, keep time. The router's owner of the shard does.

mod account;
mod anew;
mod assignment;
mod cells;
mod checkpoint;
mod dedupe;
mod effect;
mod fold;
mod journal;
mod outbox;
mod record;
mod shard;
mod standing;
mod store;
mod stores;
mod wake;

pub use account::{MAX_BLOCKED, MAX_MAILBOX_BYTES, MAX_MAILBOX_ENTRIES, MAX_PEERS, MAX_PREKEYS};
pub use anew::{Anew, AnewError, Remains};
pub use assignment::{Assigned, Assignment};
pub use checkpoint::Checkpoint;
pub use dedupe::{DEDUPE_IDS, DEDUPE_TIME};
pub use effect::{Effect, Ended, Reply};
pub use journal::{Journal, JournalError, JournalStore, PASS_COMMITS};
pub use outbox::{OutputItem, Target};
pub use record::{Command, Fenced, Output, Record, RecordError};
pub use shard::{SILENCE, Shard, ShardConfig, Waiting};
pub use standing::{Mailbox, SetAside, Standing, Trail};
pub use store::{FjallStore, MemoryStore, Rows, StateStore, StoreError};
pub use stores::Stores;
pub use wake::WakeUp;
