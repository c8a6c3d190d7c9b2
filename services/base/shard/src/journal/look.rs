//! The rows of a journal as they are by now, for who does not mean to own them.

use std::sync::Arc;

use entente_core::Offset;
use entente_log::LogError;

use super::entry::Entry;
use super::{Journal, JournalError};
use crate::store::{StateStore, StoreError};

/// What a journal has.
#[derive(Debug)]
pub(crate) struct Looked {
    /// The rows, if a commit is there and everything can be read.
    pub(crate) rows: Result<Option<Arc<dyn StateStore>>, StoreError>,
    /// Where the journal ended.
    pub(crate) end: Offset,
}

impl Journal {
    /// Reads the rows, and writes nothing.
    ///
    /// # Errors
    /// [`JournalError`], of the log alone: what is wrong with the rows is in the answer.
    pub(crate) async fn look(
        &self,
        empty: impl Fn() -> Arc<dyn StateStore>,
    ) -> Result<Looked, JournalError> {
        loop {
            let mut replay = self.replay(empty());
            let rows = match self.read_into(&mut replay).await {
                // Whoever owns it raised the floor meanwhile.
                Err(JournalError::Log(LogError::Truncated { .. })) => continue,
                Err(JournalError::Store(error)) => Err(error),
                Err(error) => return Err(error),
                Ok(_) if replay.has_rows() => Ok(Some(replay.into_rows().0)),
                Ok(_) => Ok(None),
            };
            let end = self.log.end(self.shard.index());
            return Ok(Looked { rows, end });
        }
    }

    /// Whether somebody has written rows behind an offset.
    ///
    /// # Errors
    /// [`JournalError`] of the log.
    pub(crate) async fn is_written_since(&self, from: Offset) -> Result<bool, JournalError> {
        let partition = self.shard.index();
        self.log.refresh(partition).await?;
        let mut tail = self.tail(from.max(self.log.floor(partition)));
        while tail.next() < self.log.end(partition) {
            for record in tail.next_batch().await? {
                let entry = Entry::open(self.shard, &record.payload, &self.key);
                if matches!(entry, Ok(Entry::Change(_))) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
