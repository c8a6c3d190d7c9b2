//! Reads the wake-up log: sealed records become wake-ups, repeated ones are dropped.
//!
//! **Invariants**
//! - A counter that was seen is not taken again while it is remembered; what is forgotten is taken
//!   twice, never missed. So holes and disorder after a take-over of a shard lose nothing.
//! - A record that is not ours is counted and passed over: it never stops a partition.

use std::time::Duration;

use entente_core::{AccountId, Counter, SealKey, ShardId, Timestamp, TraceContext};
use entente_log::{LogError, Record, Tail};
use entente_shard::{RecordError, WakeUp};
use serde::{Deserialize, Serialize};

/// Ranges of counters remembered per source shard. In order there is one; each append of a shard
/// whose outcome was unknown may leave one more until it is repeated.
const MAX_RANGES: usize = 64;

/// How long a partition that cannot be read is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Names what a wake-up's id is made of.
const ID_CONTEXT: &[u8] = b"push id";

/// The id of a wake-up, the same for every repetition of its record.
pub(crate) type WakeId = [u8; 16];

/// Somebody is to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wake {
    pub(crate) account: AccountId,
    pub(crate) id: WakeId,
    pub(crate) at: Timestamp,
    pub(crate) source: ShardId,
    pub(crate) counter: Counter,
    pub(crate) trace: Option<TraceContext>,
}

/// Opens a record.
pub(crate) fn open(record: &Record, seal: &SealKey) -> Result<Wake, RecordError> {
    let wake = WakeUp::open(&record.payload, seal)?;
    let mut named = ID_CONTEXT.to_vec();
    named.extend_from_slice(&wake.source.index().to_be_bytes());
    named.extend_from_slice(&wake.counter.value().to_be_bytes());
    Ok(Wake {
        account: wake.account,
        // Keyed, so that a partner cannot read from it how many wake-ups others get.
        id: seal.tag(&named),
        at: record.appended,
        source: wake.source,
        counter: wake.counter,
        trace: wake.trace,
    })
}

/// Waits for a batch. A partition that cannot be read is tried again after a pause.
pub(crate) async fn read(mut tail: Tail, pause: bool) -> (Tail, Result<Vec<Record>, LogError>) {
    if pause {
        tokio::time::sleep(PAUSE).await;
    }
    let batch = tail.next_batch().await;
    (tail, batch)
}

/// Counters of one source that were taken: ranges in ascending order, both ends included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen(Vec<(u64, u64)>);

impl Seen {
    /// Takes a counter; says whether it is new.
    pub(crate) fn take(&mut self, counter: Counter) -> bool {
        let value = counter.value();
        let at = self.0.partition_point(|(_, last)| *last < value);
        if self.0.get(at).is_some_and(|(first, _)| *first <= value) {
            return false;
        }
        self.0.insert(at, (value, value));
        self.join(at);
        self.join(at.saturating_sub(1));
        if self.0.len() > MAX_RANGES {
            self.0.remove(0);
        }
        true
    }

    /// Joins a range with the next one if nothing lies between.
    fn join(&mut self, at: usize) {
        let next = self.0.get(at + 1).copied();
        if let (Some((_, last)), Some((first, end))) = (self.0.get_mut(at), next)
            && last.checked_add(1) == Some(first)
        {
            *last = end;
            self.0.remove(at + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(seen: &mut Seen, counters: &[u64]) -> Vec<bool> {
        let counters = counters.iter().map(|counter| Counter::new(*counter));
        counters.map(|counter| seen.take(counter)).collect()
    }

    #[test]
    fn repeated_counters_are_dropped_and_holes_are_filled_later() {
        let mut seen = Seen::default();
        assert_eq!(take(&mut seen, &[1, 2, 3]), [true; 3]);
        assert_eq!(take(&mut seen, &[6, 1, 3]), [true, false, false]);
        assert_eq!(seen.0, [(1, 3), (6, 6)]);
        assert_eq!(take(&mut seen, &[5, 4, 4, 6]), [true, true, false, false]);
        assert_eq!(seen.0, [(1, 6)]);
        assert_eq!(
            take(&mut seen, &[0, u64::MAX, u64::MAX]),
            [true, true, false]
        );
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_comes_twice() {
        let mut seen = Seen::default();
        let odd: Vec<u64> = (0..200).map(|n| 2 * n + 1).collect();
        assert!(take(&mut seen, &odd).iter().all(|new| *new));
        assert_eq!(seen.0.len(), MAX_RANGES);
        assert_eq!(take(&mut seen, &[1, 399]), [true, false]);
    }
}
