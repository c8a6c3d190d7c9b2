//! The port: what every log promises, whoever implements it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{Offset, Timestamp};

use crate::LogError;

/// One stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the partition.
    pub offset: Offset,
    /// When the log took it. Not before the time of any record before it, unless the log's owner
    /// moved to a machine with another clock: a fold takes the maximum.
    pub appended: Timestamp,
    /// What was appended. May share memory with its neighbours: copy what is kept for long.
    pub payload: Bytes,
}

/// Proof that a batch is durable. Made by implementations of [`Log`] and by nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    partition: u32,
    first: Offset,
    last: Offset,
    at: Timestamp,
}

impl Appended {
    /// For implementations of [`Log`] only: states that all records of a batch are durable.
    pub const fn new(partition: u32, first: Offset, last: Offset, at: Timestamp) -> Self {
        Self {
            partition,
            first,
            last,
            at,
        }
    }

    /// The partition that has the batch.
    pub const fn partition(&self) -> u32 {
        self.partition
    }

    /// The offset of the first record of the batch.
    pub const fn first(&self) -> Offset {
        self.first
    }

    /// The offset of the last record of the batch.
    pub const fn last(&self) -> Offset {
        self.last
    }

    /// When the log took the batch.
    pub const fn at(&self) -> Timestamp {
        self.at
    }
}

/// An append under way. Dropping it does not take the batch back.
pub type Append = Pin<Box<dyn Future<Output = Result<Appended, LogError>> + Send>>;

/// Whether a log can take appends, for readiness and alarms.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can, as far as is known.
    Ok,
    /// It cannot.
    Failed {
        /// What a person should look at. A constant, so it carries no identifier.
        reason: &'static str,
    },
}

/// A number of partitions, each a sequence of durable records.
///
/// Partition numbers are those of `ShardId::index` for the input topic. Methods that cannot fail
/// answer offset 0 for a partition that does not exist.
#[async_trait]
pub trait Log: Send + Sync + fmt::Debug {
    /// How many partitions there are; they are numbered from 0.
    fn partitions(&self) -> u32;

    /// Appends a batch: its records in order, one offset each, nothing of the same caller between.
    ///
    /// The batch is submitted by the call, not by the first poll: batches of one caller are stored
    /// in the order of the calls. The future resolves when all of it is durable; dropping it does
    /// not cancel. [`LogError::UnknownOutcome`] means that the batch may appear later, in part too;
    /// after every other error nothing was appended.
    ///
    /// A log may store a run of batches twice, in order, the copies behind the originals, although each
    /// is acknowledged once: a replica kept what it did not acknowledge. What reads a log must take
    /// that for one.
    #[must_use = "a batch whose outcome is not awaited must not be acknowledged"]
    fn append(&self, partition: u32, batch: Vec<Bytes>) -> Append;

    /// Reads durable records at or after `from`, in order: about `max_bytes` of payload at most, but
    /// at least one record if there is any. Empty if there is none yet.
    ///
    /// # Errors
    /// [`LogError::Truncated`] if `from` is below the floor.
    async fn read(
        &self,
        partition: u32,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError>;

    /// Waits until [`read`](Self::read) has an answer for `from` other than "none yet". A level, not
    /// an edge: resolves at once if a durable record at or after `from` is already there.
    ///
    /// # Errors
    /// When the log has failed or was closed and the record is not there.
    async fn readable(&self, partition: u32, from: Offset) -> Result<(), LogError>;

    /// Learns where a partition begins and ends, for a log that others append to as well: what was
    /// durable before the call is below [`end`](Self::end) after it. A log that is this process's
    /// alone knows.
    ///
    /// # Errors
    /// When that cannot be found out.
    async fn refresh(&self, _partition: u32) -> Result<(), LogError> {
        Ok(())
    }

    /// Nobody here follows the partition for now: what was fetched ahead of its reader may go, and nothing
    /// more need come. A hint; whoever reads it next needs to say nothing.
    fn unfollow(&self, _partition: u32) {}

    /// Where a partition ends by now, for whoever wants to know how far a reader lags. Changes nothing
    /// that readers see. A log that is this process's alone knows.
    ///
    /// # Errors
    /// When that cannot be found out.
    async fn latest(&self, partition: u32) -> Result<Offset, LogError> {
        Ok(self.end(partition))
    }

    /// The offset after the last durable record. If others append as well: of those known here.
    fn end(&self, partition: u32) -> Offset;

    /// The lowest offset that may be read.
    fn floor(&self, partition: u32) -> Offset;

    /// Declares that records below `floor` may go. Never moves back: a lower floor changes nothing,
    /// one beyond the end counts as the end.
    async fn raise_floor(&self, partition: u32, floor: Offset) -> Result<(), LogError>;

    /// Whether appends can succeed now.
    fn health(&self) -> Health;
}
