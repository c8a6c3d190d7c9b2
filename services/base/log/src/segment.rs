//! A log in segment files on one machine.
//!
//! All partitions share one sequence of files, so that one write and one sync serve everybody who
//! waits. One thread writes (`writer`); readers who keep up are served from memory (`recent`),
//! the others from the files (`read`).
//!
//! **Invariants**
//! - Under [`Fsync::Always`] an acknowledged record survives the loss of power.
//! - A log that failed to write or to sync acknowledges nothing until it is opened anew.
//! - One process at a time: the folder is locked.

mod ahead;
mod config;
mod direct;
pub mod disk;
mod files;
mod frame;
mod group;
mod queue;
mod read;
mod recent;
mod recover;
mod shared;
#[cfg(feature = "sim")]
pub mod sim;
mod writer;

use std::fmt;
use std::future::ready;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::Offset;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use self::ahead::{AHEAD, Ahead};
pub use self::config::{Fsync, OpenError, Recovered, SegmentConfig};
use self::disk::{Disk, Files};
use self::queue::{Queue, Request, Status};
use self::shared::{DISK_READS, Partition, Shared};
use self::writer::Writer;
use crate::{Append, Health, Log, LogError, Record};

/// A log in segment files. Dropping it closes it.
pub struct SegmentLog {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
    max_record_bytes: usize,
    max_batch_bytes: usize,
}

impl SegmentLog {
    /// Opens the log in a folder, or makes one. Blocks while it reads the last segment.
    ///
    /// # Errors
    /// When the folder is not a log of these settings, is damaged, or cannot be used.
    pub fn open(
        dir: impl AsRef<Path>,
        config: &SegmentConfig,
    ) -> Result<(Self, Recovered), OpenError> {
        Self::open_on(Arc::new(Files), dir.as_ref(), config)
    }

    /// Opens the log on a given disk.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: &SegmentConfig,
    ) -> Result<(Self, Recovered), OpenError> {
        let opened = recover::open(&disk, dir, config)?;
        let partitions = opened.last.next.iter().zip(&opened.floors);
        let shared = Arc::new(Shared {
            queue: Queue::new(config.queue_bytes.get(), config.queue_appends),
            partitions: partitions
                .map(|(end, floor)| Partition::new(*end, *floor))
                .collect(),
            files: opened.files,
            disk_reads: Arc::new(Semaphore::new(DISK_READS)),
        });
        let mut writer = Writer::new(
            Arc::clone(&shared),
            opened.last,
            opened.floors,
            opened.lock,
            config,
        );
        if config.write_ahead {
            let bytes = config.segment_bytes.get() as u64;
            let ahead = Ahead::start(disk, dir.join(AHEAD), bytes, config.fsync == Fsync::Always)
                .map_err(OpenError::io("start what writes ahead of the log"))?;
            writer.write_ahead(ahead);
        }
        let thread = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(|| writer.run())
            .map_err(OpenError::io("start the writer of the log"))?;
        let log = Self {
            shared,
            writer: Arc::new(Mutex::new(Some(thread))),
            max_record_bytes: config.max_record_bytes.get(),
            max_batch_bytes: config.queue_bytes.get(),
        };
        Ok((log, opened.recovered))
    }

    /// Writes and syncs what was appended, ends the writer and unlocks the folder. What is stored
    /// can still be read.
    pub async fn close(&self) {
        let (shared, writer) = (Arc::clone(&self.shared), Arc::clone(&self.writer));
        let closed = tokio::task::spawn_blocking(move || close(&shared, &writer)).await;
        // It neither panics nor is it cancelled; the drop closes again in any case.
        closed.unwrap_or_default();
    }

    fn submit(&self, partition: u32, batch: Vec<Bytes>) -> Result<Append, LogError> {
        self.shared.partition(partition)?;
        let bytes: usize = batch.iter().map(Bytes::len).sum();
        if batch.is_empty() {
            return Err(LogError::EmptyBatch);
        }
        let too_large = |payload: &Bytes| payload.len() > self.max_record_bytes;
        if bytes > self.max_batch_bytes || batch.iter().any(too_large) {
            return Err(LogError::TooLarge);
        }
        let (done, outcome) = oneshot::channel();
        let request = Request::Append {
            partition,
            batch,
            done,
        };
        self.shared.queue.push(request, bytes)?;
        Ok(Box::pin(async move {
            // The writer answers unless it panicked, and then nobody knows how far it came.
            outcome.await.unwrap_or(Err(LogError::UnknownOutcome))
        }))
    }
}

fn close(shared: &Shared, writer: &Mutex<Option<JoinHandle<()>>>) {
    shared.queue.set(Status::Closing);
    // Held while joining: a second close returns when the first has finished.
    if let Some(thread) = writer.lock().take() {
        // A panic of the writer has told everybody already.
        thread.join().unwrap_or_default();
    }
}

#[async_trait]
impl Log for SegmentLog {
    fn partitions(&self) -> u32 {
        u32::try_from(self.shared.partitions.len()).unwrap_or(u32::MAX)
    }

    fn append(&self, partition: u32, batch: Vec<Bytes>) -> Append {
        self.submit(partition, batch)
            .unwrap_or_else(|error| Box::pin(ready(Err(error))))
    }

    async fn read(
        &self,
        partition: u32,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let known = self.shared.partition(partition)?;
        let floor = Offset::new(known.floor());
        if from < floor {
            return Err(LogError::Truncated { floor });
        }
        if from.value() >= known.end() {
            return Ok(Vec::new());
        }
        if let Some(records) = known.recent_from(from.value(), max_bytes) {
            return Ok(records);
        }
        let permit = Arc::clone(&self.shared.disk_reads)
            .acquire_owned()
            .await
            .map_err(|_| LogError::Closed)?;
        let shared = Arc::clone(&self.shared);
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        tokio::task::spawn_blocking(move || {
            let records = read::read(&shared, index, from.value(), max_bytes);
            drop(permit);
            records
        })
        .await
        .unwrap_or(Err(LogError::Unavailable))
    }

    async fn readable(&self, partition: u32, from: Offset) -> Result<(), LogError> {
        let known = self.shared.partition(partition)?;
        loop {
            let mut change = std::pin::pin!(known.changed.notified());
            // Registered before the look, so that a change after the look is not missed.
            change.as_mut().enable();
            if from.value() < known.end() || from.value() < known.floor() {
                return Ok(());
            }
            match self.shared.queue.status() {
                Status::Closed => return Err(LogError::Closed),
                Status::Failed(_) => return Err(LogError::Unavailable),
                Status::Closing | Status::Full | Status::Open => change.await,
            }
        }
    }

    fn end(&self, partition: u32) -> Offset {
        Offset::new(self.shared.partition(partition).map_or(0, Partition::end))
    }

    fn floor(&self, partition: u32) -> Offset {
        Offset::new(self.shared.partition(partition).map_or(0, Partition::floor))
    }

    async fn raise_floor(&self, partition: u32, floor: Offset) -> Result<(), LogError> {
        if floor.value() <= self.shared.partition(partition)?.floor() {
            return Ok(());
        }
        let (done, outcome) = oneshot::channel();
        let request = Request::Floor {
            partition,
            floor,
            done,
        };
        self.shared.queue.push(request, 0)?;
        outcome.await.unwrap_or(Err(LogError::UnknownOutcome))
    }

    fn health(&self) -> Health {
        let reason = match self.shared.queue.status() {
            Status::Open => return Health::Ok,
            Status::Closed | Status::Closing => "the log is closed",
            Status::Failed(reason) => reason,
            Status::Full => "the disk of the log is full",
        };
        Health::Failed { reason }
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        close(&self.shared, &self.writer);
    }
}

impl fmt::Debug for SegmentLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentLog")
            .field("partitions", &self.shared.partitions.len())
            .field("status", &self.shared.queue.status())
            .finish_non_exhaustive()
    }
}
