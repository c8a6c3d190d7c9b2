//! Rows in fjall: one database for a node, one keyspace for a shard.

use std::path::Path;

use bytes::Bytes;
use entente_core::{Offset, ShardId};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Rows, StateStore, StoreError};

/// The row that holds the offset from which replay begins. No other key begins with a zero byte.
const REPLAY_FROM: &[u8] = b"\0replay-from";

/// One shard's rows.
pub struct FjallStore {
    database: Database,
    keyspace: Keyspace,
}

impl FjallStore {
    /// Opens or creates the database of a node.
    ///
    /// # Errors
    /// [`StoreError`] if the folder cannot be used or another process has it.
    pub fn database(folder: &Path) -> Result<Database, StoreError> {
        Database::builder(folder).open().map_err(failed)
    }

    /// Opens or creates the rows of a shard.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub fn open(database: &Database, shard: ShardId) -> Result<Self, StoreError> {
        Self::named(database, &format!("shard-{shard}"))
    }

    /// Opens or creates the rows of a service that keeps its own.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub fn named(database: &Database, name: &str) -> Result<Self, StoreError> {
        let keyspace = database
            .keyspace(name, KeyspaceCreateOptions::default)
            .map_err(failed)?;
        Ok(Self {
            database: database.clone(),
            keyspace,
        })
    }
}

impl std::fmt::Debug for FjallStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FjallStore")
    }
}

impl StateStore for FjallStore {
    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let row = self.keyspace.get(key).map_err(failed)?;
        Ok(row.map(|row| Bytes::copy_from_slice(&row)))
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], Bytes) -> bool,
    ) -> Result<(), StoreError> {
        use std::ops::Bound;
        let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let range = (start.map(<[u8]>::to_vec), Bound::<Vec<u8>>::Unbounded);
        for guard in self.keyspace.range(range) {
            let (key, row) = guard.into_inner().map_err(failed)?;
            if &*key == REPLAY_FROM {
                continue;
            }
            if !key.starts_with(prefix) || !visit(&key, Bytes::copy_from_slice(&row)) {
                break;
            }
        }
        Ok(())
    }

    fn commit(&self, replay_from: Offset, rows: &Rows) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for (key, row) in rows {
            match row {
                Some(row) => batch.insert(&self.keyspace, key.as_slice(), row.as_ref()),
                None => batch.remove(&self.keyspace, key.as_slice()),
            }
        }
        batch.insert(
            &self.keyspace,
            REPLAY_FROM,
            replay_from.value().to_be_bytes(),
        );
        batch.commit().map_err(failed)
    }

    fn replay_from(&self) -> Result<Offset, StoreError> {
        let Some(row) = self.row(REPLAY_FROM)? else {
            return Ok(Offset::default());
        };
        let bytes = row.as_ref().try_into().map_err(|_| StoreError::Damaged)?;
        Ok(Offset::new(u64::from_be_bytes(bytes)))
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that map_err takes"
)]
fn failed(error: fjall::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}
