//! The newest records in memory, bounded in bytes over all partitions.

use std::collections::VecDeque;

use entente_core::Offset;

use super::group::Group;
use super::shared::Shared;
use crate::Record;

/// Which groups are in memory. The records themselves are in their partitions.
#[derive(Debug)]
pub(crate) struct Recent {
    groups: VecDeque<Kept>,
    bytes: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Kept {
    bytes: usize,
    /// Partition and how many records of it, in order.
    runs: Vec<(usize, usize)>,
}

impl Recent {
    pub(crate) const fn new(max_bytes: usize) -> Self {
        Self {
            groups: VecDeque::new(),
            bytes: 0,
            max_bytes,
        }
    }

    /// Shows a durable group to the readers, tells its senders, and forgets the oldest groups.
    /// Floors stay in the group.
    pub(crate) fn publish(&mut self, group: &mut Group, base: u64, shared: &Shared) {
        let bytes = group.bytes.split().freeze();
        let mut kept = Kept {
            bytes: bytes.len() + group.places.len() * size_of::<Record>(),
            runs: Vec::with_capacity(group.pending.len()),
        };
        let mut places = group.places.drain(..);
        for pending in &group.pending {
            let appended = &pending.appended;
            let index = usize::try_from(appended.partition()).unwrap_or(usize::MAX);
            let own = places.by_ref().take(pending.records);
            let Some(partition) = shared.partitions.get(index) else {
                continue;
            };
            let mut recent = partition.recent.lock();
            for (offset, (_, place)) in (appended.first().value()..).zip(own) {
                recent.push_back(Record {
                    offset: Offset::new(offset),
                    appended: appended.at(),
                    payload: place
                        .within(base)
                        .map(|range| bytes.slice(range))
                        .unwrap_or_default(),
                });
            }
            drop(recent);
            kept.runs.push((index, pending.records));
            partition.publish(appended.last().value() + 1);
        }
        drop(places);
        for pending in group.pending.drain(..) {
            // Whoever does not listen any more has its records all the same.
            pending.done.send(Ok(pending.appended)).ok();
        }
        self.bytes += kept.bytes;
        self.groups.push_back(kept);
        self.forget(shared);
    }

    fn forget(&mut self, shared: &Shared) {
        while self.bytes > self.max_bytes
            && let Some(group) = self.groups.pop_front()
        {
            self.bytes -= group.bytes;
            for (index, records) in group.runs {
                if let Some(partition) = shared.partitions.get(index) {
                    let mut recent = partition.recent.lock();
                    let records = records.min(recent.len());
                    recent.drain(..records);
                }
            }
        }
    }
}
