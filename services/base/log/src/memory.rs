//! A log in memory, with faults drawn from a seed.
//!
//! Without faults it is the log of a process whose data may die with it. With faults it is the log
//! that everything above must survive: reports lost after the records were stored, batches stored
//! twice, slow replication, holes, and crashes that take what was not replicated.
//!
//! **Invariants**
//! - A record is visible exactly when it is replicated; what was acknowledged was visible before.
//! - [`MemoryLog::crash`] takes records that nobody was told of, unless
//!   [`Faults::lose_acknowledged`] asks for the log that breaks the promise.
//! - The same seed and the same calls give the same faults.

use std::collections::VecDeque;
use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{ByteSize, Offset, Timestamp};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::{Append, Appended, Health, Log, LogError, Record};

/// What goes wrong in a [`MemoryLog`], and how often. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// From which every draw follows.
    pub seed: u64,
    /// Probability that a batch is refused before it is stored.
    pub refuse: f64,
    /// Probability that a batch is stored and reported as [`LogError::UnknownOutcome`].
    pub lose_report: f64,
    /// Probability that a batch is stored twice, one copy after the other.
    pub duplicate: f64,
    /// Probability that replication, and with it visibility and report, takes up to `max_delay`.
    pub delay: f64,
    /// Longest time that a delayed batch takes, by the tokio clock.
    pub max_delay: Duration,
    /// Probability that an offset is skipped before a batch.
    pub hole: f64,
    /// How many acknowledged records a crash takes from the end of each partition: a log with one
    /// replica that lost its disk. Zero for every log that keeps its promise.
    pub lose_acknowledged: usize,
}

/// A log in memory. Full when its payloads reach a limit, until floors are raised.
pub struct MemoryLog {
    faults: Faults,
    limit: usize,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    changed: Vec<Notify>,
    state: Mutex<State>,
}

/// Payload bytes held at most, if nothing else was said.
const LIMIT: ByteSize = ByteSize::kib(256 * 1024);

#[derive(Debug)]
struct State {
    rng: StdRng,
    partitions: Vec<Partition>,
    bytes: usize,
    last: Timestamp,
    down: Option<Down>,
}

#[derive(Clone, Copy, Debug)]
enum Down {
    Closed,
    Failed(&'static str),
}

#[derive(Debug)]
struct Partition {
    records: VecDeque<Stored>,
    /// The offset that the next record gets.
    next: u64,
    /// Where reading begins; also the end when no record is left.
    floor: u64,
    /// When the newest record is replicated: later ones are not earlier.
    settled: Instant,
}

#[derive(Debug)]
struct Stored {
    record: Record,
    due: Instant,
    /// Set by a crash before `due`.
    cut_off: Option<Arc<AtomicBool>>,
}

impl MemoryLog {
    /// A log without faults.
    pub fn new(partitions: u32) -> Self {
        Self::with_faults(partitions, Faults::default())
    }

    /// A log with faults.
    pub fn with_faults(partitions: u32, faults: Faults) -> Self {
        let now = Instant::now();
        let partition = || Partition {
            records: VecDeque::new(),
            next: 0,
            floor: 0,
            settled: now,
        };
        let state = State {
            rng: StdRng::seed_from_u64(faults.seed),
            partitions: (0..partitions).map(|_| partition()).collect(),
            bytes: 0,
            last: Timestamp::default(),
            down: None,
        };
        Self {
            faults,
            limit: LIMIT.get(),
            clock: Box::new(Timestamp::now),
            changed: (0..partitions).map(|_| Notify::new()).collect(),
            state: Mutex::new(state),
        }
    }

    /// Refuses when its payloads would have more bytes than this.
    #[must_use]
    pub fn limit(mut self, limit: ByteSize) -> Self {
        self.limit = limit.get();
        self
    }

    /// Takes append times from `clock`; a time that goes back counts as the last one.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Crashes and comes back at once: what was not replicated is kept in part, as the seed decides,
    /// and its appends end with [`LogError::UnknownOutcome`].
    pub fn crash(&self) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let State {
            rng,
            partitions,
            bytes,
            ..
        } = &mut *state;
        for partition in partitions {
            let replicated = partition.visible(now);
            let kept = match self.faults.lose_acknowledged {
                0 => rng.random_range(replicated..=partition.records.len()),
                lost => replicated.saturating_sub(lost),
            };
            for stored in partition.records.range(replicated..) {
                if let Some(cut_off) = &stored.cut_off {
                    cut_off.store(true, Ordering::Relaxed);
                }
            }
            *bytes -= partition
                .records
                .drain(kept..)
                .map(|s| s.size())
                .sum::<usize>();
            for stored in &mut partition.records {
                stored.due = stored.due.min(now);
            }
            partition.settled = now;
            // Like a new leader, it hands the lost offsets out again.
            partition.next = partition.end(now);
        }
        drop(state);
        self.wake_all();
    }

    /// Refuses every append from now on, as an unreachable cluster does.
    pub fn fail(&self, reason: &'static str) {
        self.state.lock().down = Some(Down::Failed(reason));
        self.wake_all();
    }

    /// Ends [`fail`](Self::fail).
    pub fn heal(&self) {
        self.state.lock().down = None;
    }

    /// Refuses appends for good; what is stored can still be read.
    pub fn close(&self) {
        self.state.lock().down = Some(Down::Closed);
        self.wake_all();
    }

    fn wake_all(&self) {
        self.changed.iter().for_each(Notify::notify_waiters);
    }

    fn submit(&self, partition: u32, batch: Vec<Bytes>) -> Result<Append, LogError> {
        let index = index(partition);
        let now = Instant::now();
        let mut state = self.state.lock();
        let bytes: usize = batch.iter().map(Bytes::len).sum();
        state.admit(index, &batch, bytes, self.limit)?;
        if state.draws(self.faults.refuse) {
            return Err(LogError::Unavailable);
        }
        let copies = 1 + usize::from(state.draws(self.faults.duplicate));
        let hole = u64::from(state.draws(self.faults.hole));
        let lost = state.draws(self.faults.lose_report);
        let mut due = now;
        if state.draws(self.faults.delay) {
            due += self.faults.max_delay.mul_f64(state.rng.random());
        }
        let at = state.last.max((self.clock)());
        state.last = at;
        let State {
            partitions,
            bytes: held,
            ..
        } = &mut *state;
        let Some(stored) = partitions.get_mut(index) else {
            return Err(LogError::UnknownPartition);
        };
        due = due.max(stored.settled);
        stored.settled = due;
        let cut_off = (due > now).then(|| Arc::new(AtomicBool::new(false)));
        stored.next += hole;
        let first = stored.next;
        for _ in 0..copies {
            *held += bytes;
            stored.extend(&batch, at, due, cut_off.as_ref());
        }
        let last = first + batch.len() as u64 - 1;
        let appended = Appended::new(partition, Offset::new(first), Offset::new(last), at);
        drop(state);
        if let Some(changed) = self.changed.get(index) {
            changed.notify_waiters();
        }
        let outcome = if lost {
            Err(LogError::UnknownOutcome)
        } else {
            Ok(appended)
        };
        Ok(match cut_off {
            None => Box::pin(ready(outcome)),
            Some(cut_off) => Box::pin(async move {
                tokio::time::sleep_until(due).await;
                if cut_off.load(Ordering::Relaxed) {
                    Err(LogError::UnknownOutcome)
                } else {
                    outcome
                }
            }),
        })
    }
}

impl State {
    fn admit(
        &self,
        index: usize,
        batch: &[Bytes],
        bytes: usize,
        limit: usize,
    ) -> Result<(), LogError> {
        match self.down {
            _ if index >= self.partitions.len() => Err(LogError::UnknownPartition),
            Some(Down::Closed) => Err(LogError::Closed),
            Some(Down::Failed(_)) => Err(LogError::Unavailable),
            None if batch.is_empty() => Err(LogError::EmptyBatch),
            None if bytes > limit => Err(LogError::TooLarge),
            None if self.bytes + bytes > limit => Err(LogError::Full),
            None => Ok(()),
        }
    }

    /// Draws nothing for a fault that is off, so that turning one on changes no other's draws
    /// before the first of it.
    fn draws(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability.min(1.0))
    }

    fn partition(&self, partition: u32) -> Result<&Partition, LogError> {
        self.partitions
            .get(index(partition))
            .ok_or(LogError::UnknownPartition)
    }
}

impl Partition {
    fn extend(
        &mut self,
        batch: &[Bytes],
        at: Timestamp,
        due: Instant,
        cut_off: Option<&Arc<AtomicBool>>,
    ) {
        for payload in batch {
            let record = Record {
                offset: Offset::new(self.next),
                appended: at,
                payload: payload.clone(),
            };
            self.next += 1;
            self.records.push_back(Stored {
                record,
                due,
                cut_off: cut_off.cloned(),
            });
        }
    }

    /// How many records are replicated: `due` never falls along a partition.
    fn visible(&self, now: Instant) -> usize {
        self.records.partition_point(|stored| stored.due <= now)
    }

    fn end(&self, now: Instant) -> u64 {
        let last = self.visible(now).checked_sub(1);
        let last = last.and_then(|last| self.records.get(last));
        last.map_or(self.floor, |stored| stored.record.offset.value() + 1)
    }
}

impl Stored {
    fn size(&self) -> usize {
        self.record.payload.len()
    }
}

/// A partition number that no address can hold is beyond every count.
fn index(partition: u32) -> usize {
    usize::try_from(partition).unwrap_or(usize::MAX)
}

#[async_trait]
impl Log for MemoryLog {
    fn partitions(&self) -> u32 {
        u32::try_from(self.changed.len()).unwrap_or(u32::MAX)
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
        let state = self.state.lock();
        let partition = state.partition(partition)?;
        let floor = Offset::new(partition.floor);
        if from < floor {
            return Err(LogError::Truncated { floor });
        }
        let start = partition
            .records
            .partition_point(|s| s.record.offset < from);
        let visible = partition.visible(Instant::now()).max(start);
        let mut left = max_bytes;
        let mut records = Vec::new();
        for stored in partition.records.range(start..visible) {
            if stored.size() > left && !records.is_empty() {
                break;
            }
            left = left.saturating_sub(stored.size());
            records.push(stored.record.clone());
        }
        Ok(records)
    }

    async fn readable(&self, partition: u32, from: Offset) -> Result<(), LogError> {
        let changed = self
            .changed
            .get(index(partition))
            .ok_or(LogError::UnknownPartition)?;
        loop {
            let mut change = std::pin::pin!(changed.notified());
            // Registered before the look, so that a change after the look is not missed.
            change.as_mut().enable();
            let due = {
                let now = Instant::now();
                let state = self.state.lock();
                let partition = state.partition(partition)?;
                if from.value() < partition.end(now) || from.value() < partition.floor {
                    return Ok(());
                }
                match state.down {
                    Some(Down::Closed) => return Err(LogError::Closed),
                    Some(Down::Failed(_)) => return Err(LogError::Unavailable),
                    None => partition.records.get(partition.visible(now)).map(|s| s.due),
                }
            };
            match due {
                None => change.await,
                Some(due) => tokio::select! {
                    () = change => {}
                    () = tokio::time::sleep_until(due) => {}
                },
            }
        }
    }

    fn end(&self, partition: u32) -> Offset {
        let state = self.state.lock();
        let end = state.partition(partition).map(|p| p.end(Instant::now()));
        Offset::new(end.unwrap_or_default())
    }

    fn floor(&self, partition: u32) -> Offset {
        let state = self.state.lock();
        let floor = state.partition(partition).map(|partition| partition.floor);
        Offset::new(floor.unwrap_or_default())
    }

    async fn raise_floor(&self, partition: u32, floor: Offset) -> Result<(), LogError> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let State {
            partitions, bytes, ..
        } = &mut *state;
        let partition = partitions
            .get_mut(index(partition))
            .ok_or(LogError::UnknownPartition)?;
        partition.floor = partition.floor.max(floor.value().min(partition.end(now)));
        let floor = Offset::new(partition.floor);
        let gone = partition
            .records
            .partition_point(|s| s.record.offset < floor);
        *bytes -= partition
            .records
            .drain(..gone)
            .map(|s| s.size())
            .sum::<usize>();
        Ok(())
    }

    fn health(&self) -> Health {
        match self.state.lock().down {
            None => Health::Ok,
            Some(Down::Closed) => Health::Failed {
                reason: "the log is closed",
            },
            Some(Down::Failed(reason)) => Health::Failed { reason },
        }
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog")
            .field("partitions", &self.changed.len())
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}
