//! The port to where a shard's rows are kept, in memory or in fjall.
//!
//! Rows are a cache of the log: a store that is lost is rebuilt by replay, as long as the log still
//! has the records. Reads are short and synchronous; only `commit` may wait for the disk.

mod fjall;
mod memory;

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use entente_core::Offset;

pub use self::fjall::FjallStore;
pub use self::memory::MemoryStore;

/// Rows to write (some) or to remove (none).
pub type Rows = BTreeMap<Vec<u8>, Option<Bytes>>;

/// The rows of one shard.
pub trait StateStore: Send + Sync + fmt::Debug {
    /// One row.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Visits the rows under a prefix in ascending order of their keys, beginning after a key.
    /// Stops when the visitor answers false.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], Bytes) -> bool,
    ) -> Result<(), StoreError>;

    /// Writes rows and the offset from which replay begins, all or nothing, and waits until it is
    /// on disk. Blocking.
    ///
    /// # Errors
    /// [`StoreError`]; whether the rows were written is then unknown, and the owner gives up.
    fn commit(&self, replay_from: Offset, rows: &Rows) -> Result<(), StoreError>;

    /// From which offset on records are not in the rows yet.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    fn replay_from(&self) -> Result<Offset, StoreError>;
}

/// The store cannot do its work: the owner gives the shard up and a person must look.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A row that this program wrote cannot be read by it.
    #[error("a row of the shard store is damaged")]
    Damaged,
    /// Another owner took the rows over: nothing of this one counts any more.
    #[error("another owner has the rows of the shard")]
    Fenced,
    /// What there is of the rows begins in the middle: others were before it, and are gone.
    #[error("the rows of the shard are not all there: the beginning of their journal is lost")]
    Torn,
    /// The database below failed.
    #[error("the shard store failed: {0}")]
    Failed(String),
}
