//! Where the rows of a node's shards come from when it takes one over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use entente_core::{SealKey, ShardId, random_array};
use entente_log::{Log, LogError};
use tokio::time::timeout;

use crate::journal::{Journal, JournalError};
use crate::store::{MemoryStore, StateStore, StoreError};

/// How long the rows of a shard may take to be read: longer than any that a node can hold takes. A
/// claim of theirs that vanished is written again.
const PATIENCE: Duration = Duration::from_secs(60);

/// The rows of shards.
#[derive(Clone, Debug)]
pub enum Stores {
    /// In journals, for whoever owns a shard next.
    Journals {
        /// The log of all journals, a partition a shard.
        log: Arc<dyn Log>,
        /// The deployment's key.
        key: SealKey,
        /// Whether a shard is refused of whose rows the beginning is lost.
        whole: bool,
    },
    /// On this node, which owns these shards as long as it lives.
    Kept(BTreeMap<ShardId, Arc<dyn StateStore>>),
}

impl Default for Stores {
    /// Of no shard.
    fn default() -> Self {
        Self::Kept(BTreeMap::new())
    }
}

impl Stores {
    /// Opens the rows of a shard for an owner. From a journal, nobody else's commits count from then
    /// on. Dropping the future leaves at most a claim behind.
    ///
    /// # Errors
    /// [`JournalError`], with [`LogError::UnknownOutcome`] if its log says nothing for a minute;
    /// [`StoreError::Failed`] for a shard that is not kept here.
    pub async fn open(&self, shard: ShardId) -> Result<Arc<dyn StateStore>, JournalError> {
        match self {
            Self::Journals { log, key, whole } => {
                let journal = Journal {
                    log: Arc::clone(log),
                    shard,
                    key: key.clone(),
                    whole: *whole,
                };
                let empty = || Arc::new(MemoryStore::default()) as Arc<dyn StateStore>;
                let rows = timeout(PATIENCE, journal.take_over(random_array(), empty)).await;
                let rows = rows.unwrap_or_else(|_| Err(LogError::UnknownOutcome.into()));
                Ok(Arc::new(rows?))
            }
            Self::Kept(stores) => {
                let missing = || StoreError::Failed("no rows of this shard are kept here".into());
                let store = stores.get(&shard).cloned().ok_or_else(missing)?;
                Ok(store)
            }
        }
    }
}
