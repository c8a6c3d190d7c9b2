//! What the parts of a log share: ends and floors, the room for what waits, health and counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use entente_core::Offset;
use entente_log::{Health, LogError};
use tokio::sync::Notify;

use crate::routing::{Misrouted, Routing};

/// What a record costs beside its payload: header, seal, and what librdkafka keeps of it.
const RECORD_COST: usize = 512;

/// Shared by the log, its producers, its reader and the callbacks of librdkafka.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) routing: Routing,
    partitions: Vec<Partition>,
    room: Room,
    unwell: AtomicU8,
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    replaced: AtomicU64,
    misrouted: [AtomicU64; Misrouted::ALL.len()],
}

/// What is known of a partition.
#[derive(Debug)]
pub(crate) struct Partition {
    end: AtomicU64,
    floor: AtomicU64,
    /// Something came, or an end or floor moved.
    pub(crate) changed: Notify,
}

#[derive(Debug)]
struct Room {
    limit: usize,
    used: AtomicUsize,
    left: Notify,
}

/// Why appends do not succeed. More than one may hold; the first in this order is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unwell {
    Closed,
    Lost,
    Refused,
    Down,
    Stalled,
}

/// What a log has seen since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that every replica in sync has.
    pub acknowledged: u64,
    /// Records of which nobody knows whether the cluster has them.
    pub unknown: u64,
    /// Producers that ended by a fatal error and were replaced.
    pub replaced: u64,
    /// Records that do not belong where they were found, by reason.
    pub misrouted: Vec<(Misrouted, u64)>,
}

impl Shared {
    pub(crate) fn new(routing: Routing, marks: &[(u64, u64)], queue_bytes: usize) -> Self {
        let partition = |(floor, end): &(u64, u64)| Partition {
            end: AtomicU64::new(*end),
            floor: AtomicU64::new(*floor),
            changed: Notify::new(),
        };
        Self {
            routing,
            partitions: marks.iter().map(partition).collect(),
            room: Room {
                limit: queue_bytes,
                used: AtomicUsize::new(0),
                left: Notify::new(),
            },
            unwell: AtomicU8::new(0),
            acknowledged: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
            misrouted: Default::default(),
        }
    }

    pub(crate) fn partition(&self, partition: u32) -> Result<&Partition, LogError> {
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        self.partitions.get(index).ok_or(LogError::UnknownPartition)
    }

    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.partitions.len()).unwrap_or(u32::MAX)
    }

    /// Wakes whoever waits for anything.
    pub(crate) fn wake_all(&self) {
        self.partitions
            .iter()
            .for_each(|partition| partition.changed.notify_waiters());
    }

    /// Takes room for a batch, or says that there is none.
    pub(crate) fn room(
        self: &Arc<Self>,
        sizes: impl Iterator<Item = usize>,
    ) -> Result<Permit, LogError> {
        let bytes = sizes
            .map(|size| size.saturating_add(RECORD_COST))
            .fold(0, usize::saturating_add);
        let room = &self.room;
        if bytes > room.limit {
            return Err(LogError::TooLarge);
        }
        let fits = |used: usize| used.checked_add(bytes).filter(|used| *used <= room.limit);
        room.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .map_err(|_| LogError::Busy)?;
        Ok(Permit {
            shared: Arc::clone(self),
            bytes,
        })
    }

    /// Waits until nothing waits for brokers.
    pub(crate) async fn emptied(&self) {
        loop {
            let mut left = std::pin::pin!(self.room.left.notified());
            // Registered before the look, so that a change after the look is not missed.
            left.as_mut().enable();
            if self.room.used.load(Ordering::Acquire) == 0 {
                return;
            }
            left.await;
        }
    }

    pub(crate) fn set(&self, unwell: Unwell) {
        self.unwell.fetch_or(unwell.bit(), Ordering::Relaxed);
    }

    pub(crate) fn clear(&self, unwell: Unwell) {
        self.unwell.fetch_and(!unwell.bit(), Ordering::Relaxed);
    }

    pub(crate) fn is(&self, unwell: Unwell) -> bool {
        self.unwell.load(Ordering::Relaxed) & unwell.bit() != 0
    }

    pub(crate) fn health(&self) -> Health {
        let all = [
            Unwell::Closed,
            Unwell::Lost,
            Unwell::Refused,
            Unwell::Down,
            Unwell::Stalled,
        ];
        match all.into_iter().find(|unwell| self.is(*unwell)) {
            Some(unwell) => Health::Failed {
                reason: unwell.reason(),
            },
            None => Health::Ok,
        }
    }

    pub(crate) fn acknowledged(&self, records: u64) {
        self.acknowledged.fetch_add(records, Ordering::Relaxed);
        for unwell in [Unwell::Down, Unwell::Refused, Unwell::Stalled] {
            self.clear(unwell);
        }
    }

    pub(crate) fn unknown(&self, records: u64) {
        self.unknown.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn replaced(&self) {
        self.replaced.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a record that is not handed out. A flood of them is told at each power of two.
    pub(crate) fn misrouted(&self, partition: u32, offset: u64, why: Misrouted) {
        let Some(count) = self.misrouted.get(position(why)) else {
            return;
        };
        let count = count.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            let topic = self.routing.topic();
            tracing::warn!(topic, partition, offset, count, %why, "a record of the log is not ours");
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let misrouted = Misrouted::ALL
            .into_iter()
            .zip(self.misrouted.iter().map(read));
        Counts {
            acknowledged: read(&self.acknowledged),
            unknown: read(&self.unknown),
            replaced: read(&self.replaced),
            misrouted: misrouted.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

fn position(why: Misrouted) -> usize {
    Misrouted::ALL
        .iter()
        .position(|each| *each == why)
        .unwrap_or(usize::MAX)
}

impl Partition {
    pub(crate) fn end(&self) -> Offset {
        Offset::new(self.end.load(Ordering::Acquire))
    }

    pub(crate) fn floor(&self) -> Offset {
        Offset::new(self.floor.load(Ordering::Acquire))
    }

    /// A record before `end` is there.
    pub(crate) fn reaches(&self, end: u64) {
        if self.end.fetch_max(end, Ordering::AcqRel) < end {
            self.changed.notify_waiters();
        }
    }

    /// Records below `floor` are gone.
    pub(crate) fn begins(&self, floor: u64) {
        if self.floor.fetch_max(floor, Ordering::AcqRel) < floor {
            self.end.fetch_max(floor, Ordering::AcqRel);
            self.changed.notify_waiters();
        }
    }
}

impl Unwell {
    const fn bit(self) -> u8 {
        1 << self as u8
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Closed => "the log is closed",
            Self::Lost => "the cluster has lost records that it had acknowledged",
            Self::Refused => "the brokers refuse what this program may not do",
            Self::Down => "no broker of the log can be reached",
            Self::Stalled => "the brokers did not acknowledge in time",
        }
    }
}

/// Room that a batch takes while it waits. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Permit {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let room = &self.shared.room;
        if room.used.fetch_sub(self.bytes, Ordering::AcqRel) == self.bytes {
            room.left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use entente_core::SealKey;

    use super::*;

    fn shared(queue_bytes: usize) -> Arc<Shared> {
        let routing = Routing::new(SealKey::new(&[1; 32]), "c", "t");
        Arc::new(Shared::new(routing, &[(2, 5)], queue_bytes))
    }

    #[test]
    fn what_does_not_fit_is_refused_and_room_comes_back() {
        let shared = shared(3 * (RECORD_COST + 10));
        let first = shared.room([10, 10].into_iter()).unwrap();
        assert_eq!(
            shared.room([10, 10].into_iter()).unwrap_err(),
            LogError::Busy
        );
        let second = shared.room([10].into_iter()).unwrap();
        assert_eq!(shared.room([0].into_iter()).unwrap_err(), LogError::Busy);
        drop((first, second));
        assert_eq!(
            shared.room([10; 4].into_iter()).unwrap_err(),
            LogError::TooLarge
        );
        assert_eq!(
            shared.room([usize::MAX].into_iter()).unwrap_err(),
            LogError::TooLarge
        );
        shared.room([10; 3].into_iter()).unwrap();
    }

    #[test]
    fn ends_and_floors_only_rise() {
        let shared = shared(0);
        let partition = shared.partition(0).unwrap();
        partition.reaches(4);
        partition.begins(1);
        assert_eq!(
            (partition.floor(), partition.end()),
            (Offset::new(2), Offset::new(5))
        );
        partition.begins(9);
        assert_eq!(
            (partition.floor(), partition.end()),
            (Offset::new(9), Offset::new(9))
        );
    }

    #[test]
    fn an_acknowledgement_ends_what_is_over_and_nothing_else() {
        let shared = shared(0);
        for unwell in [Unwell::Stalled, Unwell::Down, Unwell::Refused, Unwell::Lost] {
            shared.set(unwell);
            assert_eq!(
                shared.health(),
                Health::Failed {
                    reason: unwell.reason()
                }
            );
        }
        shared.acknowledged(1);
        assert_eq!(
            shared.health(),
            Health::Failed {
                reason: Unwell::Lost.reason()
            }
        );
        shared.clear(Unwell::Lost);
        assert_eq!(shared.health(), Health::Ok);
    }
}
