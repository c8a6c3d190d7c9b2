//! What the writer and the readers of a log share.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use super::files::Files;
use super::queue::Queue;
use crate::{LogError, Record};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) queue: Queue,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) files: Files,
    /// Reads from the disk at once: each holds a buffer and a blocking thread.
    pub(crate) disk_reads: Arc<Semaphore>,
}

/// Few, since they compete with the writer for the disk.
pub(crate) const DISK_READS: usize = 4;

#[derive(Debug)]
pub(crate) struct Partition {
    /// The offset after the last durable record. Written after all else that a reader needs.
    end: AtomicU64,
    floor: AtomicU64,
    /// The newest records without a gap; which of them stay is for the writer to say.
    pub(crate) recent: Mutex<VecDeque<Record>>,
    pub(crate) changed: Notify,
}

impl Partition {
    pub(crate) fn new(end: u64, floor: u64) -> Self {
        Self {
            end: AtomicU64::new(end),
            floor: AtomicU64::new(floor),
            recent: Mutex::new(VecDeque::new()),
            changed: Notify::new(),
        }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Shows what was published below `end` and wakes those who wait for it.
    pub(crate) fn publish(&self, end: u64) {
        self.end.store(end, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    pub(crate) fn raise_floor(&self, floor: u64) {
        self.floor.fetch_max(floor, Ordering::AcqRel);
    }

    /// Records from `from` on that are in memory; nothing if the first is not.
    pub(crate) fn recent_from(&self, from: u64, max_bytes: usize) -> Option<Vec<Record>> {
        let recent = self.recent.lock();
        let oldest = recent.front()?.offset.value();
        let skipped = usize::try_from(from.checked_sub(oldest)?).ok()?;
        let mut records = Vec::new();
        let mut left = max_bytes;
        // A record is put in before it is published, so the end bounds what may be seen. It is read
        // under the lock: the writer may have moved on since the caller looked.
        let end = self.end();
        for record in recent.iter().skip(skipped) {
            let size = record.payload.len();
            if record.offset.value() >= end || (size > left && !records.is_empty()) {
                break;
            }
            left = left.saturating_sub(size);
            records.push(record.clone());
        }
        (!records.is_empty()).then_some(records)
    }
}

impl Shared {
    pub(crate) fn partition(&self, partition: u32) -> Result<&Partition, LogError> {
        usize::try_from(partition)
            .ok()
            .and_then(|partition| self.partitions.get(partition))
            .ok_or(LogError::UnknownPartition)
    }

    /// Makes everybody who waits look at the status again.
    pub(crate) fn wake_all(&self) {
        for partition in &self.partitions {
            partition.changed.notify_waiters();
        }
    }
}
