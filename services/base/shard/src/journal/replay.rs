//! From the records of a journal to rows: the order of the log decides which of them count.

use std::sync::Arc;

use entente_core::{Epoch, Offset, SealKey, ShardId};
use entente_log::Record;

use super::entry::{Entry, Part};
use super::pass::Pass;
use crate::record::RecordError;
use crate::store::{Rows, StateStore, StoreError};

/// A commit whose last part was not read yet.
#[derive(Debug)]
struct Gathering {
    commit: u64,
    first: Offset,
    parts: u32,
    rows: Rows,
}

/// Applies records to a store that was empty before the first.
#[derive(Debug)]
pub(super) struct Replay {
    shard: ShardId,
    key: SealKey,
    store: Arc<dyn StateStore>,
    epoch: Epoch,
    owner: Option<[u8; 16]>,
    gathering: Option<Gathering>,
    pass: Pass,
    has_rows: bool,
    /// Whether the first commit must be one behind which all rows are.
    needs_all: bool,
    strangers: u64,
}

impl Replay {
    pub(super) fn new(
        shard: ShardId,
        key: SealKey,
        store: Arc<dyn StateStore>,
        needs_all: bool,
    ) -> Self {
        Self {
            shard,
            key,
            store,
            epoch: Epoch::default(),
            owner: None,
            gathering: None,
            pass: Pass::default(),
            has_rows: false,
            needs_all,
            strangers: 0,
        }
    }

    /// The newest epoch that counts.
    pub(super) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Who claimed the newest epoch; none if the claim is below the floor.
    pub(super) const fn owner(&self) -> Option<[u8; 16]> {
        self.owner
    }

    /// Whether a commit counted.
    pub(super) const fn has_rows(&self) -> bool {
        self.has_rows
    }

    /// Records that were passed over because this deployment did not seal them for this shard.
    pub(super) const fn strangers(&self) -> u64 {
        self.strangers
    }

    /// The rows, and how far they are written again.
    pub(super) fn into_rows(self) -> (Arc<dyn StateStore>, Pass) {
        (self.store, self.pass)
    }

    /// Applies one record.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a record of ours that cannot be read, [`StoreError::Torn`] if the first
    /// commit is not one behind which all rows are: rows would be missing.
    pub(super) fn apply(&mut self, record: &Record) -> Result<(), StoreError> {
        match Entry::open(self.shard, &record.payload, &self.key) {
            Ok(Entry::Claim { epoch, nonce }) => self.claimed(epoch, nonce),
            Ok(Entry::Change(part)) => return self.change(record.offset, part),
            Err(RecordError::BadSeal) => self.strangers += 1,
            Err(_) => return Err(StoreError::Damaged),
        }
        Ok(())
    }

    /// The first claim of an epoch wins. What the owner before has not finished will not be.
    fn claimed(&mut self, epoch: Epoch, nonce: [u8; 16]) {
        if epoch > self.epoch {
            self.epoch = epoch;
            self.owner = Some(nonce);
            self.gathering = None;
        }
    }

    fn change(&mut self, offset: Offset, part: Part) -> Result<(), StoreError> {
        if self.epoch == Epoch::default() {
            // The claim is below the floor, which is a record of an owner that was not fenced then.
            self.epoch = part.epoch;
        }
        if part.epoch != self.epoch {
            return Ok(());
        }
        let gathering = match self.gathering.take() {
            _ if part.part == 0 => Some(Gathering {
                commit: part.commit,
                first: offset,
                parts: 0,
                rows: Rows::new(),
            }),
            Some(gathering) if gathering.commit == part.commit && gathering.parts == part.part => {
                Some(gathering)
            }
            _ => None,
        };
        let Some(mut gathering) = gathering else {
            return Ok(());
        };
        gathering.parts += 1;
        gathering.rows.extend(part.rows);
        match part.pass {
            Some(pass) if self.needs_all && !self.has_rows && !pass.is_first() => {
                return Err(StoreError::Torn);
            }
            Some(mut pass) => {
                self.has_rows = true;
                self.store.commit(part.replay_from, &gathering.rows)?;
                // The floor, if one was due, was its owner's to raise; the next is ours.
                pass.wrote(gathering.first);
                self.pass = pass;
            }
            None => self.gathering = Some(gathering),
        }
        Ok(())
    }
}
