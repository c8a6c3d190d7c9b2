//! The one thread that writes: takes all that waits, writes it at once, syncs once, tells everybody.
//!
//! **Invariants**
//! - Nothing is acknowledged or shown before it is as durable as the settings promise.
//! - After a failed write or sync nothing is acknowledged any more: a sync is never tried again,
//!   since the system forgets which pages failed. The log has to be opened anew.
//! - A full disk is the exception: the file is cut back to its last good frame, so that the refused
//!   batches are gone for certain, and the log takes appends again when a probe finds space.

mod rotate;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_core::{ByteSize, Offset, Timestamp};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::ahead::Ahead;
use super::config::{Fsync, SegmentConfig};
use super::disk::Held;
use super::frame::{Frame, head_bytes};
use super::group::{Group, Pending, Raised};
use super::queue::{Gather, Request, Status};
use super::recent::Recent;
use super::recover::Last;
use super::shared::Shared;
use crate::{Appended, LogError};

#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    last: Last,
    /// Up to where the last segment is on the disk.
    synced: u64,
    synced_when: Instant,
    sync_took: Duration,
    floors: Vec<u64>,
    full: Option<Full>,
    group: Group,
    recent: Recent,
    fsync: Fsync,
    segment_bytes: u64,
    probe_every: Duration,
    ahead: Option<Ahead>,
    /// Whether the last segment was written ahead: then it is longer than what is in it.
    is_ahead: bool,
    /// Dropped last: until then no other process opens the folder.
    _lock: Box<dyn Held>,
}

/// The disk is full.
#[derive(Clone, Copy, Debug)]
struct Full {
    probed: Instant,
}

/// Bytes written and synced together at most, and a batch: more does not make a sync cheaper, and
/// the group stays in memory while a reader holds a record of it.
const GROUP_BYTES: ByteSize = ByteSize::kib(1024);
/// Syncs' times that are spent at most on gathering more appends for the next one, while many come;
/// the wait ends when nobody came for a quarter of it.
const GATHER_SYNCS: u32 = 8;
/// The longest time that is spent so: a slow disk is felt enough.
const GATHER_MOST: Duration = Duration::from_millis(1);
/// Bytes that have to fit before a full log takes appends again.
const PROBE_BYTES: usize = 256 * 1024;

/// The log has failed for good, and why.
#[derive(Clone, Copy, Debug)]
struct Stop(&'static str);

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        last: Last,
        floors: Vec<u64>,
        lock: Box<dyn Held>,
        config: &SegmentConfig,
    ) -> Self {
        Self {
            shared,
            synced: last.at,
            synced_when: Instant::now(),
            sync_took: Duration::ZERO,
            last,
            floors,
            full: None,
            group: Group::default(),
            recent: Recent::new(config.recent_bytes.get()),
            fsync: config.fsync,
            segment_bytes: config.segment_bytes.get() as u64,
            probe_every: config.probe,
            ahead: None,
            is_ahead: false,
            _lock: lock,
        }
    }

    /// Takes its segments from what is written ahead.
    pub(crate) fn write_ahead(&mut self, ahead: Ahead) {
        self.ahead = Some(ahead);
    }

    /// Writes until the log is closed or fails.
    pub(crate) fn run(mut self) {
        let mut requests = Vec::new();
        let mut gather = Gather::default();
        let end = loop {
            let queue = &self.shared.queue;
            let (bytes, status) = queue.take(&mut requests, gather, self.patience());
            gather.requests = requests.len();
            if requests.is_empty() && !matches!(status, Status::Open | Status::Full) {
                break self.sync();
            }
            self.group.expect(bytes.min(GROUP_BYTES.get()));
            if let Err(stop) = self.serve(&mut requests) {
                break Err(stop);
            }
            if self.fsync == Fsync::Always {
                gather.patience = (self.sync_took * GATHER_SYNCS).min(GATHER_MOST);
            }
        };
        self.shared.queue.set(match end {
            Ok(()) => Status::Closed,
            Err(Stop(reason)) => Status::Failed(reason),
        });
        for request in requests {
            request.refuse(LogError::Unavailable);
        }
    }

    fn serve(&mut self, requests: &mut Vec<Request>) -> Result<(), Stop> {
        // Drained from the front; what a failure leaves is refused by the caller.
        let mut left = std::mem::take(requests).into_iter();
        let served = left
            .by_ref()
            .try_for_each(|request| self.add(request))
            .and_then(|()| self.flush())
            .and_then(|()| self.sync_if_due())
            .and_then(|()| self.probe_if_due());
        requests.extend(left);
        served
    }

    /// How long there is nothing to do, if nobody asks.
    fn patience(&self) -> Option<Duration> {
        let (since, every) = match (self.full, self.fsync) {
            (Some(full), _) => (full.probed, self.probe_every),
            (None, Fsync::Interval(every)) if self.synced < self.last.at => {
                (self.synced_when, every)
            }
            _ => return None,
        };
        Some(every.saturating_sub(since.elapsed()))
    }

    fn add(&mut self, request: Request) -> Result<(), Stop> {
        let size = request.written_bytes();
        if let Err(stop) = self.make_room(size) {
            request.refuse(LogError::Unavailable);
            return Err(stop);
        }
        match request {
            Request::Append { done, .. } if self.full.is_some() => {
                done.send(Err(LogError::Full)).ok();
            }
            Request::Append {
                partition,
                batch,
                done,
            } => self.add_batch(partition, &batch, done),
            Request::Floor {
                partition,
                floor,
                done,
            } => self.add_floor(partition, floor, done),
        }
        Ok(())
    }

    fn make_room(&mut self, size: u64) -> Result<(), Stop> {
        let with_group = self.group.size() + size;
        let crowded =
            with_group > GROUP_BYTES.get() as u64 || self.last.at + with_group > self.segment_bytes;
        if crowded {
            self.flush()?;
        }
        let used = self.last.at > head_bytes(self.floors.len()) as u64;
        // A segment that grows is left as soon as one is there that need not.
        let better = !self.is_ahead && self.ahead.as_ref().is_some_and(Ahead::is_ready);
        let done = better || self.last.at + size > self.segment_bytes;
        if self.full.is_none() && used && done {
            self.flush()?;
            if self.full.is_none() {
                self.rotate()?;
            }
        }
        Ok(())
    }

    fn add_batch(
        &mut self,
        partition: u32,
        batch: &[Bytes],
        done: oneshot::Sender<Result<Appended, LogError>>,
    ) {
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        self.last.time = self.last.time.max(Timestamp::now());
        let Some(next) = self.last.next.get_mut(index) else {
            done.send(Err(LogError::UnknownPartition)).ok();
            return;
        };
        let first = *next;
        *next += batch.len() as u64;
        for (offset, payload) in (first..).zip(batch) {
            let frame = self.frame(partition, offset, payload.len());
            self.group
                .add(&frame, self.last.at, self.last.segment.head.salt, payload);
        }
        let appended = Appended::new(
            partition,
            Offset::new(first),
            Offset::new(first + batch.len() as u64 - 1),
            self.last.time,
        );
        self.group.pending.push(Pending {
            appended,
            records: batch.len(),
            done,
        });
    }

    fn add_floor(
        &mut self,
        partition: u32,
        floor: Offset,
        done: oneshot::Sender<Result<(), LogError>>,
    ) {
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        let end = self.last.next.get(index).copied().unwrap_or_default();
        let floor = floor.value().min(end);
        let frame = Frame {
            is_floor: true,
            ..self.frame(partition, floor, 0)
        };
        self.group
            .add(&frame, self.last.at, self.last.segment.head.salt, &[]);
        self.group.floors.push(Raised {
            index,
            floor,
            done: Some(done),
        });
    }

    fn frame(&self, partition: u32, offset: u64, payload: usize) -> Frame {
        let unsynced = self.last.at + self.group.size() - self.synced;
        Frame {
            partition,
            is_floor: false,
            // Fits: a segment and a group have less than 4 GiB together, and so does a payload.
            unsynced: u32::try_from(unsynced).unwrap_or(u32::MAX),
            offset,
            at: self.last.time,
            payload: u32::try_from(payload).unwrap_or(u32::MAX),
        }
    }

    /// Writes the group, makes it durable and tells everybody.
    fn flush(&mut self) -> Result<(), Stop> {
        if self.group.size() == 0 {
            return Ok(());
        }
        if self.full.is_some() {
            return self.refuse_group();
        }
        #[cfg(feature = "mutants")]
        self.group.acknowledge_early();
        match self.last.file.write_at(&self.group.bytes, self.last.at) {
            Ok(()) => {}
            Err(error) if no_space(&error) => return self.refuse_group(),
            Err(_) => return Err(self.lose_group("a write to the log failed")),
        }
        let base = self.last.at;
        self.last.at += self.group.size();
        if self.fsync == Fsync::Always
            && let Err(Stop(reason)) = self.sync()
        {
            return Err(self.lose_group(reason));
        }
        self.last.segment.extend(self.group.places.iter().copied());
        self.recent.publish(&mut self.group, base, &self.shared);
        self.raise_floors(None);
        Ok(())
    }

    /// Raises the floors of the group and removes what may go. With `refusal` they hold only until
    /// the log is opened anew, and their senders hear of it.
    fn raise_floors(&mut self, refusal: Option<LogError>) {
        if self.group.floors.is_empty() {
            return;
        }
        for Raised { index, floor, .. } in &self.group.floors {
            if let (Some(known), Some(partition)) = (
                self.floors.get_mut(*index),
                self.shared.partitions.get(*index),
            ) {
                *known = (*known).max(*floor);
                partition.raise_floor(*known);
                // Who waits below the floor has an answer now.
                partition.changed.notify_waiters();
            }
        }
        let removed = self.shared.files.remove_below(&self.floors);
        let outcome = match (refusal, removed) {
            (Some(refusal), _) => Err(refusal),
            (None, Err(_)) => Err(LogError::Unavailable),
            (None, Ok(())) => Ok(()),
        };
        for raised in self.group.floors.drain(..) {
            if let Some(done) = raised.done {
                done.send(outcome).ok();
            }
        }
    }

    /// Takes the group back: none of it is in the file after this.
    fn refuse_group(&mut self) -> Result<(), Stop> {
        if self.last.file.set_size(self.last.at).is_err() {
            return Err(self.lose_group("the log could not be cut back on a full disk"));
        }
        self.is_ahead = false;
        // Before the refusals, so that who is refused finds the log unwell.
        self.become_full();
        for pending in self.group.pending.drain(..).rev() {
            let index = usize::try_from(pending.appended.partition()).unwrap_or(usize::MAX);
            if let Some(next) = self.last.next.get_mut(index) {
                *next = pending.appended.first().value();
            }
            pending.done.send(Err(LogError::Full)).ok();
        }
        for Raised { index, floor, .. } in &mut self.group.floors {
            // It may lie among the records that were just taken back.
            *floor = (*floor).min(self.last.next.get(*index).copied().unwrap_or_default());
        }
        self.raise_floors(Some(LogError::Full));
        self.group.clear();
        Ok(())
    }

    fn lose_group(&mut self, reason: &'static str) -> Stop {
        self.shared.queue.set(Status::Failed(reason));
        for pending in self.group.pending.drain(..) {
            pending.done.send(Err(LogError::UnknownOutcome)).ok();
        }
        self.group.clear();
        Stop(reason)
    }

    fn become_full(&mut self) {
        if self.full.is_none() {
            self.full = Some(Full {
                probed: Instant::now(),
            });
            self.shared.queue.set(Status::Full);
            if let Some(ahead) = &self.ahead {
                ahead.release();
            }
        }
    }

    /// Tries whether a full disk has space again.
    fn probe_if_due(&mut self) -> Result<(), Stop> {
        let Some(full) = &mut self.full else {
            return Ok(());
        };
        if full.probed.elapsed() < self.probe_every {
            return Ok(());
        }
        full.probed = Instant::now();
        let probe = self.last.file.write_at(&[0; PROBE_BYTES], self.last.at);
        if self.last.file.set_size(self.last.at).is_err() {
            return Err(Stop("the log could not be cut back on a full disk"));
        }
        match probe {
            Ok(()) => {
                self.full = None;
                self.save_floors();
                self.flush()?;
                if self.full.is_none() {
                    self.shared.queue.set(Status::Open);
                }
                Ok(())
            }
            Err(error) if no_space(&error) => Ok(()),
            Err(_) => Err(Stop("a write to the log failed")),
        }
    }

    /// Writes all floors: those that were raised on the full disk are only in memory.
    fn save_floors(&mut self) {
        for (partition, (index, floor)) in (0..).zip(self.floors.iter().enumerate()) {
            let frame = Frame {
                is_floor: true,
                ..self.frame(partition, *floor, 0)
            };
            self.group
                .add(&frame, self.last.at, self.last.segment.head.salt, &[]);
            self.group.floors.push(Raised {
                index,
                floor: *floor,
                done: None,
            });
        }
    }

    fn sync_if_due(&mut self) -> Result<(), Stop> {
        match self.fsync {
            Fsync::Interval(every) if self.synced_when.elapsed() >= every => self.sync(),
            _ => Ok(()),
        }
    }

    fn sync(&mut self) -> Result<(), Stop> {
        if self.synced < self.last.at {
            let failed = |_| Stop("a sync of the log failed");
            let start = Instant::now();
            self.last.file.sync_data().map_err(failed)?;
            self.synced = self.last.at;
            self.sync_took = start.elapsed();
        }
        self.synced_when = Instant::now();
        Ok(())
    }
}

impl Drop for Writer {
    /// Also when the thread panicked: nobody may wait for it.
    fn drop(&mut self) {
        let queue = &self.shared.queue;
        queue.set(Status::Failed("the writer of the log has ended"));
        let mut left = Vec::new();
        queue.take(&mut left, Gather::default(), None);
        for request in left {
            request.refuse(LogError::Unavailable);
        }
        self.shared.wake_all();
    }
}

fn no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
