//! From dirty state to rows: what outlives a few seconds is written, with the offset that it covers.
//!
//! A message that was delivered and acknowledged since the last checkpoint leaves no row but its
//! fingerprint in a block.

use std::sync::Arc;

use bytes::Bytes;
use entente_core::Offset;

use crate::cells::{encode, key};
use crate::shard::Shard;
use crate::store::{Rows, StateStore, StoreError};

/// Rows to commit. While one is under way the shard goes on; the next must wait for
/// [`Shard::checkpointed`].
#[derive(Debug)]
pub struct Checkpoint {
    store: Arc<dyn StateStore>,
    replay_from: Offset,
    rows: Arc<Rows>,
}

impl Checkpoint {
    /// Writes it, all or nothing. Blocking.
    ///
    /// # Errors
    /// [`StoreError`]: the owner must give the shard up.
    pub fn commit(&self) -> Result<(), StoreError> {
        #[cfg(feature = "mutants")]
        self.cover_early()?;
        self.store.commit(self.replay_from, &self.rows)
    }

    /// Writes the offset without the rows, and leaves time to die before they follow.
    #[cfg(feature = "mutants")]
    fn cover_early(&self) -> Result<(), StoreError> {
        const WITHOUT_ROWS: std::time::Duration = std::time::Duration::from_millis(700);
        if entente_core::mutant::is(entente_core::mutant::Mutant::OffsetBeforeEffect) {
            self.store.commit(self.replay_from, &Rows::new())?;
            std::thread::sleep(WITHOUT_ROWS);
        }
        Ok(())
    }

    /// The offset from which a replay over these rows begins.
    pub const fn replay_from(&self) -> Offset {
        self.replay_from
    }
}

impl Shard {
    /// Collects what changed since the last checkpoint.
    pub fn checkpoint(&mut self) -> Checkpoint {
        self.checkpoints += 1;
        self.dedupe.retire(self.row.time);
        self.write_accounts();
        for (number, block) in self.dedupe.close_blocks() {
            self.cells.write(key::block(number), block);
        }
        for number in self.dedupe.take_retired() {
            self.cells.remove(key::block(number));
        }
        for (source, inbox) in self.inboxes.iter_mut().filter(|(_, inbox)| inbox.dirty) {
            self.cells.write(key::inbox(*source), &(*source, &*inbox));
            inbox.dirty = false;
        }
        for (target, outbox) in &mut self.outboxes {
            self.row.outboxes.insert(*target, outbox.next);
            for counter in outbox.gone.drain(..) {
                self.cells.remove(key::output(*target, counter));
            }
            for held in outbox.items.iter_mut().filter(|held| !held.stored) {
                let row = (*target, held.counter, &held.item);
                self.cells.write(key::output(*target, held.counter), &row);
                held.stored = true;
            }
        }
        if self.row_dirty {
            let row = self.row.clone();
            self.cells.write(key::SHARD.to_vec(), &row);
            self.row_dirty = false;
        }
        let rows = self.cells.begin();
        Checkpoint {
            store: Arc::clone(self.cells.store()),
            replay_from: self.next,
            rows,
        }
    }

    fn write_accounts(&mut self) {
        for (id, account) in self
            .accounts
            .iter_mut()
            .filter(|(_, account)| account.dirty)
        {
            for sequence in account.gone.drain(..) {
                self.cells.remove(key::entry(*id, sequence));
            }
            for entry in account.mailbox.iter_mut().filter(|entry| !entry.stored) {
                if let Some(content) = &entry.content {
                    let row = encode(&(&entry.meta, content));
                    self.cells.write_row(key::entry(*id, entry.sequence), row);
                    entry.stored = true;
                }
            }
            self.cells.write(key::account(*id), &account.row);
            match account.row.session {
                Some(session) => self.cells.write(key::live(*id), &session),
                None => self.cells.remove(key::live(*id)),
            }
            account.dirty = false;
        }
    }

    /// The last checkpoint is on disk: forgets what needs no memory any more.
    pub fn checkpointed(&mut self) {
        self.cells.stored();
        let now = self.checkpoints;
        self.accounts.retain(|_, account| {
            account.row.session.is_some() || account.dirty || account.touched + 1 >= now
        });
        // A content shares the memory of everything that was appended with it: what outlived a
        // checkpoint is read from the store again if it is sent again.
        for account in self.accounts.values_mut() {
            for entry in account.mailbox.iter_mut().filter(|entry| entry.stored) {
                if entry.content.take().is_some() {
                    entry.meta.id = Bytes::copy_from_slice(&entry.meta.id);
                }
            }
        }
    }
}
