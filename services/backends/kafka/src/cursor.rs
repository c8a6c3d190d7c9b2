//! Reading: a place in each partition, what was fetched from there on, and how to move it.
//!
//! One consumer without a group fetches for all partitions that are read here; each has a queue of its
//! own, so that a slow reader holds up nobody. A reader who goes on where it stopped costs no request of
//! its own; one who goes elsewhere moves the place, which takes as long as the fetch under way.
//!
//! **Invariants**
//! - What is held is everything that may be handed out between `start` and `next`, in order.
//! - A place that was not confirmed by librdkafka is not used: nothing is fetched from it.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_core::Offset;
use entente_log::{LogError, Record};
use futures::{StreamExt, stream};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::assign::{Queue, go, split, unassign, watermarks};
use crate::client::{Context, stamp};
use crate::outcome::is_refusal;
use crate::producer::HEADER;
use crate::shared::{Partition, Shared, Unwell};

/// What a held record costs beside its payload.
const RECORD_COST: usize = 64;
/// Partitions whose ends are looked for at once when a log is opened. Each takes a thread while its place
/// is moved, and one fetch of a broker moves all that wait for it.
const FINDS: usize = 64;

/// The reader of a log.
pub(crate) struct Reader {
    shared: Arc<Shared>,
    consumer: Arc<BaseConsumer<Context>>,
    cursors: Vec<Mutex<Cursor>>,
}

/// A place in one partition.
struct Cursor {
    partition: u32,
    /// None if the partition is not assigned.
    queue: Option<Queue>,
    held: VecDeque<Record>,
    held_bytes: usize,
    start: u64,
    next: u64,
    /// Whether librdkafka fetches from `next`.
    placed: bool,
    /// The end was reached since the last record.
    at_end: bool,
    /// A move that was begun. Kept, so that one whose caller left is not passed by the next.
    moving: Option<JoinHandle<Result<Option<Queue>, LogError>>>,
}

/// Why nothing more comes from a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stuck {
    /// A record is not what its checksum says.
    Corrupt,
    /// There is nothing at the place: it is below the floor, or beyond the end.
    Nowhere,
}

impl Reader {
    /// Takes a consumer whose partitions are assigned.
    pub(crate) fn new(shared: Arc<Shared>, consumer: Arc<BaseConsumer<Context>>) -> Self {
        let cursors = (0..shared.count()).map(|partition| {
            let queue = split(&consumer, &shared, partition);
            Mutex::new(Cursor::new(partition, queue))
        });
        Self {
            cursors: cursors.collect(),
            consumer,
            shared,
        }
    }

    /// As [`entente_log::Log::read`].
    pub(crate) async fn read(
        &self,
        partition: u32,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let known = self.shared.partition(partition)?;
        let mut cursor = self.cursor(partition)?.lock().await;
        loop {
            let mut change = pin!(known.changed.notified());
            // Registered before the look, so that a change after the look is not missed.
            change.as_mut().enable();
            let floor = known.floor();
            if from < floor {
                return Err(LogError::Truncated { floor });
            }
            if from >= known.end() {
                return Ok(Vec::new());
            }
            self.place(&mut cursor, from.value()).await?;
            if let Err(stuck) = cursor.fill(&self.shared, known, max_bytes) {
                self.unstick(&mut cursor, known, stuck).await?;
                continue;
            }
            let records = cursor.give(from.value(), max_bytes);
            if !records.is_empty() {
                return Ok(records);
            }
            // It is there, and on its way.
            change.await;
        }
    }

    /// As [`entente_log::Log::readable`].
    pub(crate) async fn readable(&self, partition: u32, from: Offset) -> Result<(), LogError> {
        let known = self.shared.partition(partition)?;
        loop {
            let mut change = pin!(known.changed.notified());
            change.as_mut().enable();
            if from < known.end() || from < known.floor() {
                return Ok(());
            }
            if self.shared.is(Unwell::Closed) {
                return Err(LogError::Closed);
            }
            {
                // Not held while waiting: a reader elsewhere has its turn.
                let mut cursor = self.cursor(partition)?.lock().await;
                let place = if cursor.covers(from.value()) {
                    from
                } else {
                    known.end()
                };
                self.place(&mut cursor, place.value()).await?;
                cursor.drop_below(place.value());
                if let Err(stuck) = cursor.fill(&self.shared, known, 1) {
                    self.unstick(&mut cursor, known, stuck).await?;
                    continue;
                }
                if !cursor.held.is_empty() {
                    continue;
                }
            }
            change.await;
        }
    }

    /// Finds the ends of all partitions, which have these high watermarks.
    pub(crate) async fn find_ends(&self, highs: Vec<u64>) -> Result<(), LogError> {
        let finds = (0..).zip(highs);
        let finds = finds.map(|(partition, high)| self.find_end(partition, high));
        let mut finds = stream::iter(finds).buffer_unordered(FINDS);
        while let Some(found) = finds.next().await {
            found?;
        }
        Ok(())
    }

    /// Finds the end of a partition: behind the last record that is ours. Others behind it are counted,
    /// and nobody has to wait for something that they hide.
    pub(crate) async fn find_end(&self, partition: u32, high: u64) -> Result<(), LogError> {
        let known = self.shared.partition(partition)?;
        let mut cursor = self.cursor(partition)?.lock().await;
        let mut window = 1;
        let mut from = high;
        while from > known.floor().value() {
            from = high.saturating_sub(window).max(known.floor().value());
            window = window.saturating_mul(16);
            self.place(&mut cursor, from).await?;
            while !cursor.at_end && cursor.next < high {
                let mut change = pin!(known.changed.notified());
                change.as_mut().enable();
                if let Err(stuck) = cursor.fill(&self.shared, known, usize::MAX) {
                    // An owner elsewhere raised the floor: what was looked for may be below it now.
                    self.unstick(&mut cursor, known, stuck).await?;
                    from = high;
                    break;
                }
                if !cursor.at_end && cursor.next < high {
                    change.await;
                }
            }
            if known.end().value() > from {
                return Ok(());
            }
        }
        Ok(())
    }

    /// As [`entente_log::Log::refresh`].
    pub(crate) async fn refresh(&self, partition: u32) -> Result<(), LogError> {
        let known = self.shared.partition(partition)?;
        let (low, high) = watermarks(&self.consumer, &self.shared, partition).await?;
        known.begins(low);
        if high > known.end().value() {
            self.find_end(partition, high).await?;
        }
        Ok(())
    }

    /// As [`entente_log::Log::unfollow`].
    pub(crate) fn unfollow(&self, partition: u32) {
        let (Ok(known), Ok(cursor)) = (self.shared.partition(partition), self.cursor(partition))
        else {
            return;
        };
        {
            // Locked: somebody reads.
            let Ok(mut cursor) = cursor.try_lock() else {
                return;
            };
            if cursor.moving.is_some() || cursor.queue.is_none() {
                return;
            }
            cursor.forget();
            if let Err(error) = unassign(&self.consumer, &self.shared, partition) {
                tracing::debug!(partition, %error, "a partition of the log stays assigned");
            }
        }
        // Whoever waits all the same has it assigned again.
        known.changed.notify_waiters();
    }

    /// The same for all, before anybody reads.
    pub(crate) async fn unfollow_all(&self) -> Result<(), KafkaError> {
        for cursor in &self.cursors {
            cursor.lock().await.forget();
        }
        self.consumer.unassign()
    }

    /// Keeps everybody else from reading a partition.
    #[cfg(test)]
    pub(crate) async fn hold(&self, partition: u32) -> impl Sized + '_ {
        self.cursor(partition).unwrap().lock().await
    }

    /// How many partitions are fetched.
    #[cfg(test)]
    pub(crate) fn assigned(&self) -> usize {
        self.consumer.assignment().unwrap().count()
    }

    /// As [`entente_log::Log::latest`]. What lies behind the last record that is ours, and was looked at,
    /// does not count: no reader ever gets there.
    pub(crate) async fn latest(&self, partition: u32) -> Result<Offset, LogError> {
        let known = self.shared.partition(partition)?;
        let (_, high) = watermarks(&self.consumer, &self.shared, partition).await?;
        // A reader that has it waits for records: they are not seen yet.
        let cursor = self.cursor(partition)?.try_lock();
        let is_seen = |cursor: &Cursor| cursor.placed && cursor.next >= high;
        Ok(if cursor.is_ok_and(|cursor| is_seen(&cursor)) {
            known.end()
        } else {
            known.end().max(Offset::new(high))
        })
    }

    fn cursor(&self, partition: u32) -> Result<&Mutex<Cursor>, LogError> {
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        self.cursors.get(index).ok_or(LogError::UnknownPartition)
    }

    /// Makes the cursor cover `from`.
    async fn place(&self, cursor: &mut Cursor, from: u64) -> Result<(), LogError> {
        cursor.moved().await?;
        if cursor.covers(from) {
            return Ok(());
        }
        cursor.leave();
        (cursor.start, cursor.next) = (from, from);
        let (consumer, shared) = (Arc::clone(&self.consumer), Arc::clone(&self.shared));
        let (partition, assigned) = (cursor.partition, cursor.queue.is_some());
        cursor.moving = Some(spawn_blocking(move || {
            go(&consumer, &shared, (partition, assigned), from)
        }));
        cursor.moved().await
    }

    /// Asks the brokers where the partition begins and ends, and fails if that explains nothing.
    async fn unstick(
        &self,
        cursor: &mut Cursor,
        known: &Partition,
        stuck: Stuck,
    ) -> Result<(), LogError> {
        cursor.placed = false;
        if stuck == Stuck::Corrupt {
            return Err(LogError::Corrupt);
        }
        let (low, high) = watermarks(&self.consumer, &self.shared, cursor.partition).await?;
        known.begins(low);
        if high < known.end().value() {
            // What was acknowledged is not there: a leader took over that did not have it.
            self.shared.set(Unwell::Lost);
            return Err(LogError::Corrupt);
        }
        Ok(())
    }
}

impl Cursor {
    fn new(partition: u32, queue: Option<Queue>) -> Self {
        Self {
            partition,
            queue,
            held: VecDeque::new(),
            held_bytes: 0,
            start: 0,
            next: 0,
            placed: false,
            at_end: false,
            moving: None,
        }
    }

    fn covers(&self, from: u64) -> bool {
        self.placed && (self.start..=self.next).contains(&from)
    }

    /// Drops what is held.
    fn leave(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
        (self.placed, self.at_end) = (false, false);
    }

    /// The same, and lets go of what librdkafka has.
    fn forget(&mut self) {
        self.leave();
        self.queue = None;
    }

    /// Waits for a move that was begun, by whomever.
    async fn moved(&mut self) -> Result<(), LogError> {
        let Some(moving) = &mut self.moving else {
            return Ok(());
        };
        let moved = moving.await.unwrap_or(Err(LogError::Unavailable));
        self.moving = None;
        if let Some(queue) = moved? {
            self.queue = Some(queue);
        }
        self.placed = true;
        Ok(())
    }

    /// Takes what was fetched, until about `bytes` are held.
    fn fill(&mut self, shared: &Shared, known: &Partition, bytes: usize) -> Result<(), Stuck> {
        while self.held.is_empty() || self.held_bytes < bytes {
            let Some(queue) = &self.queue else {
                return Err(Stuck::Nowhere);
            };
            match queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    let Ok(offset) = u64::try_from(message.offset()) else {
                        continue;
                    };
                    if offset < self.next {
                        continue;
                    }
                    (self.next, self.at_end) = (offset.saturating_add(1), false);
                    if let Some(record) = open(shared, self.partition, offset, &message) {
                        known.reaches(self.next);
                        self.held_bytes += record.payload.len() + RECORD_COST;
                        self.held.push_back(record);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => self.at_end = true,
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                        return Err(Stuck::Nowhere);
                    }
                    Some(Code::BadMessage | Code::InvalidMessage) => return Err(Stuck::Corrupt),
                    Some(code) if is_refusal(code) => shared.set(Unwell::Refused),
                    // It fetches again by itself.
                    _ => tracing::debug!(%error, "a fetch from the log failed"),
                },
            }
        }
        Ok(())
    }

    fn drop_below(&mut self, from: u64) {
        while let Some(record) = self
            .held
            .pop_front_if(|record| record.offset.value() < from)
        {
            self.held_bytes -= record.payload.len() + RECORD_COST;
        }
        self.start = self.start.max(from);
    }

    /// Hands out records from `from` on: about `max_bytes` of payload, but one if there is any.
    fn give(&mut self, from: u64, max_bytes: usize) -> Vec<Record> {
        self.drop_below(from);
        let mut left = max_bytes;
        let mut records = Vec::new();
        while let Some(record) = self
            .held
            .pop_front_if(|record| records.is_empty() || record.payload.len() <= left)
        {
            self.held_bytes -= record.payload.len() + RECORD_COST;
            self.start = record.offset.value() + 1;
            left = left.saturating_sub(record.payload.len());
            records.push(record);
        }
        records
    }
}

/// Checks that a record is ours.
fn open(
    shared: &Shared,
    partition: u32,
    offset: u64,
    message: &BorrowedMessage<'_>,
) -> Option<Record> {
    let payload = message.payload().unwrap_or_default();
    let headers = message.headers();
    let header = headers.and_then(|headers| headers.iter().find(|header| header.key == HEADER));
    let header = header.and_then(|header| header.value);
    if let Err(why) = shared.routing.check(partition, header, payload) {
        shared.misrouted(partition, offset, why);
        return None;
    }
    Some(Record {
        offset: Offset::new(offset),
        appended: stamp(message.timestamp()),
        payload: Bytes::copy_from_slice(payload),
    })
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("cursors", &self.cursors.len())
            .finish_non_exhaustive()
    }
}
