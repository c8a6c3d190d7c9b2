//! A cursor that follows one partition.

use std::sync::Arc;

use entente_core::Offset;

use crate::{Log, LogError, Record};

/// Follows one partition from an offset on, batch by batch.
///
/// Keeps its place in memory only: whoever needs to resume stores the offset that it has covered.
/// Dropped, it tells the log that nobody follows.
#[derive(Clone, Debug)]
pub struct Tail {
    log: Arc<dyn Log>,
    partition: u32,
    next: Offset,
    max_bytes: usize,
}

/// Payload bytes asked for at once: many small records a call, little memory a partition.
const BATCH_BYTES: usize = 256 * 1024;

impl Tail {
    /// Starts at `next`, which may be the end.
    pub const fn new(log: Arc<dyn Log>, partition: u32, next: Offset) -> Self {
        Self {
            log,
            partition,
            next,
            max_bytes: BATCH_BYTES,
        }
    }

    /// Asks for about so many payload bytes at once.
    #[must_use]
    pub const fn with_max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// The partition that is followed.
    pub const fn partition(&self) -> u32 {
        self.partition
    }

    /// The offset from which the next batch is read.
    pub const fn next(&self) -> Offset {
        self.next
    }

    /// Goes to another offset.
    pub const fn seek(&mut self, next: Offset) {
        self.next = next;
    }

    /// Waits for records and returns them, never none. Dropping the future skips nothing.
    ///
    /// # Errors
    /// Those of [`Log::read`] and [`Log::readable`]; the place does not change.
    pub async fn next_batch(&mut self) -> Result<Vec<Record>, LogError> {
        loop {
            let batch = self
                .log
                .read(self.partition, self.next, self.max_bytes)
                .await?;
            if let Some(last) = batch.last() {
                self.next = last.offset.next();
                return Ok(batch);
            }
            self.log.readable(self.partition, self.next).await?;
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.log.unfollow(self.partition);
    }
}
