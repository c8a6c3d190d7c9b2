//! Rows that outlive their node: each commit also goes to a partition of a log, from which the next
//! owner reads them.
//!
//! In: commits of one owner. Out: rows, for whoever owns the shard next. The log is not compacted by
//! key, which would keep the last record of a key even if an owner wrote it that was fenced. Instead
//! each commit writes some of the rows that did not change again, in the order of their keys; when
//! such a pass has seen every key, what lies before its beginning may go.
//!
//! **Invariants**
//! - The order of the log decides: after a claim no change of a lower epoch counts.
//! - A commit counts as a whole or not at all, whatever became of its append.
//! - At the floor lies a change that counted when it was written, and every row is behind it.
//! - What was removed is below the floor when two passes have ended ([`PASS_COMMITS`] each at most),
//!   whoever owned meanwhile.
//!
//! What it does not do: read the input, or claim it. An owner claims both.

mod entry;
mod look;
mod pass;
mod replay;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use entente_core::{Epoch, Offset, SealKey, ShardId};
use entente_log::{Log, LogError, Tail};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use self::entry::{Entry, Part, parts};
pub use self::pass::PASS_COMMITS;
use self::pass::Pass;
use self::replay::Replay;
use crate::store::{Rows, StateStore, StoreError};

/// Bytes that a read of what others wrote asks for at once.
const READ_BYTES: usize = 1024 * 1024;

/// Why a journal was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another owner's claim came first.
    #[error("another owner claimed the journal first")]
    Fenced,
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The rows cannot be read or kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where the journal of a shard is, and what seals it.
#[derive(Clone, Debug)]
pub struct Journal {
    /// The log of all journals.
    pub log: Arc<dyn Log>,
    /// Which shard; its journal is the partition of that number.
    pub shard: ShardId,
    /// The deployment's key.
    pub key: SealKey,
    /// Whether rows are refused whose beginning is lost ([`StoreError::Torn`]), or taken for all there are.
    pub whole: bool,
}

impl Journal {
    /// Reads the rows, and takes the journal over: from then on nobody else's commits count.
    ///
    /// `nonce` is drawn for this call. `empty` makes stores without rows, a second one if the log
    /// loses its beginning while it is read. Waits for the log without an end of its own; dropping
    /// the future leaves at most a claim behind, which the next owner's is above.
    ///
    /// # Errors
    /// [`JournalError`]; after [`JournalError::Fenced`] it may be tried again.
    pub async fn take_over(
        self,
        nonce: [u8; 16],
        empty: impl Fn() -> Arc<dyn StateStore>,
    ) -> Result<JournalStore, JournalError> {
        let (replay, end) = loop {
            match self.attempt(nonce, empty()).await {
                // Whoever owns it raised the floor. Each time takes a pass of theirs.
                Err(JournalError::Log(LogError::Truncated { .. })) => {}
                attempt => break attempt?,
            }
        };
        let (epoch, strangers) = (replay.epoch(), replay.strangers());
        let (rows, pass) = replay.into_rows();
        Ok(JournalStore {
            journal: self,
            epoch,
            strangers,
            rows,
            handle: Handle::current(),
            writing: Mutex::new(Some(Writing {
                end,
                commit: 0,
                pass,
            })),
        })
    }

    /// Reads to the end, claims, and reads the claim back. What was read, and where the log ends.
    async fn attempt(
        &self,
        nonce: [u8; 16],
        empty: Arc<dyn StateStore>,
    ) -> Result<(Replay, Offset), JournalError> {
        let partition = self.shard.index();
        let mut replay = self.replay(empty);
        let mut tail = self.read_into(&mut replay).await?;
        let epoch = replay.epoch().next();
        let claim = Entry::Claim { epoch, nonce }.seal(self.shard, &self.key);
        match self.log.append(partition, vec![claim]).await {
            // Whether it arrived is read back.
            Ok(_) | Err(LogError::UnknownOutcome) => {}
            Err(error) => return Err(error.into()),
        }
        while replay.epoch() < epoch {
            for record in tail.next_batch().await? {
                replay.apply(&record)?;
            }
        }
        if replay.epoch() != epoch || replay.owner() != Some(nonce) {
            return Err(JournalError::Fenced);
        }
        Ok((replay, tail.next()))
    }

    fn replay(&self, empty: Arc<dyn StateStore>) -> Replay {
        Replay::new(self.shard, self.key.clone(), empty, self.whole)
    }

    /// Reads everything that there is by now.
    async fn read_into(&self, replay: &mut Replay) -> Result<Tail, JournalError> {
        let partition = self.shard.index();
        self.log.refresh(partition).await?;
        let mut tail = self.tail(self.log.floor(partition));
        while tail.next() < self.log.end(partition) {
            for record in tail.next_batch().await? {
                replay.apply(&record)?;
            }
        }
        Ok(tail)
    }

    fn tail(&self, from: Offset) -> Tail {
        Tail::new(Arc::clone(&self.log), self.shard.index(), from).with_max_bytes(READ_BYTES)
    }

    /// Whether somebody else's claim lies between two offsets.
    async fn claimed_since(
        &self,
        epoch: Epoch,
        from: Offset,
        through: Offset,
    ) -> Result<bool, LogError> {
        let mut tail = self.tail(from);
        while tail.next() <= through {
            for record in tail.next_batch().await? {
                let entry = Entry::open(self.shard, &record.payload, &self.key);
                if record.offset <= through
                    && matches!(entry, Ok(Entry::Claim { epoch: other, .. }) if other > epoch)
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

#[derive(Debug)]
struct Writing {
    /// The offset after the last record that is known.
    end: Offset,
    commit: u64,
    pass: Pass,
}

/// The rows of a shard that this process owns.
#[derive(Debug)]
pub struct JournalStore {
    journal: Journal,
    epoch: Epoch,
    strangers: u64,
    rows: Arc<dyn StateStore>,
    handle: Handle,
    /// None once a commit failed: the owner must take over again.
    writing: Mutex<Option<Writing>>,
}

impl JournalStore {
    /// The claim that this owner made.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Records that lay in the journal and were not of this deployment and shard.
    pub const fn strangers(&self) -> u64 {
        self.strangers
    }

    /// Appends a commit, and sees to it that it counts. The first offset of its records.
    async fn append(&self, writing: &mut Writing, parts: Vec<Part>) -> Result<Offset, StoreError> {
        let Journal {
            log, shard, key, ..
        } = &self.journal;
        let seal = |part| Entry::Change(part).seal(*shard, key);
        let records: Vec<Bytes> = parts.into_iter().map(seal).collect();
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
        let appended = log.append(shard.index(), records).await.map_err(failed)?;
        let (first, last) = (appended.first(), appended.last());
        if first < writing.end {
            let lost = "the journal lost records that it had acknowledged";
            return Err(StoreError::Failed(lost.into()));
        }
        let alone = last.value() - writing.end.value() < count;
        if !alone {
            let claimed = self.journal.claimed_since(self.epoch, writing.end, last);
            if claimed.await.map_err(failed)? {
                return Err(StoreError::Fenced);
            }
        }
        writing.end = last.next();
        Ok(first)
    }

    async fn write(
        &self,
        writing: &mut Writing,
        replay_from: Offset,
        rows: &Rows,
    ) -> Result<(), StoreError> {
        let Journal { log, shard, .. } = &self.journal;
        let mut all = writing.pass.slice(&*self.rows, rows)?;
        all.extend(rows.iter().map(|(key, row)| (key.clone(), row.clone())));
        writing.commit += 1;
        let number = (self.epoch, writing.commit);
        let parts = parts(number, replay_from, &all, writing.pass.clone());
        let first = self.append(writing, parts).await?;
        self.rows.commit(replay_from, rows)?;
        if let Some(floor) = writing.pass.wrote(first) {
            // One that fails is made up for by the next pass.
            let _either_way = log.raise_floor(shard.index(), floor).await;
        }
        Ok(())
    }
}

fn failed(error: LogError) -> StoreError {
    StoreError::Failed(format!("the journal: {error}"))
}

impl StateStore for JournalStore {
    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.rows.row(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], Bytes) -> bool,
    ) -> Result<(), StoreError> {
        self.rows.scan(prefix, after, visit)
    }

    /// On a thread that may block. After an error every further commit is [`StoreError::Fenced`]:
    /// what became of the failed one, only a take-over reads back.
    fn commit(&self, replay_from: Offset, rows: &Rows) -> Result<(), StoreError> {
        // Held while it waits, so that commits follow each other. Nothing else takes this lock.
        let mut kept = self.writing.lock();
        let mut writing = kept.take().ok_or(StoreError::Fenced)?;
        self.handle
            .block_on(self.write(&mut writing, replay_from, rows))?;
        *kept = Some(writing);
        Ok(())
    }

    fn replay_from(&self) -> Result<Offset, StoreError> {
        self.rows.replay_from()
    }
}
