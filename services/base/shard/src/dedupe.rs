//! Which stanza ids were seen: the reason that a re-sent stanza is handed over once.
//!
//! A window for each sender device, of [`DEDUPE_IDS`] ids or [`DEDUPE_TIME`], whichever ends first.
//! Ids are kept as keyed 8-byte fingerprints, each with the fold's time at which it came; new ones
//! are stored in blocks, in the order in which they came, and whole blocks go when their time is over.
//!
//! **Invariants**
//! - An id is in its sender's window if and only if it is among the sender's newest ids and its time
//!   is not over. Neither depends on when blocks were stored: the answer is a function of the log.
//! - Two ids of one sender collide with probability 2^-64 each.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::time::Duration;

use entente_core::{AccountId, IdMap, IdSet, Timestamp};
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

/// Ids kept for one sender device and recipient shard.
pub const DEDUPE_IDS: usize = 10_000;
/// How long an id is kept.
pub const DEDUPE_TIME: Duration = Duration::from_hours(24);
/// Ids in one stored row: some thousands, so that a row is worth its overhead.
pub(crate) const BLOCK_IDS: usize = 4_096;

/// A sender device.
pub(crate) type Sender = (AccountId, u16);

/// Ids in the order in which they came, up to a time.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Block {
    pub(crate) newest: Timestamp,
    pub(crate) ids: Vec<(Sender, u64, Timestamp)>,
}

#[derive(Debug, Default)]
struct Window {
    order: VecDeque<(u64, Timestamp)>,
    seen: IdSet<u64>,
}

/// The windows of one shard.
#[derive(Debug, Default)]
pub(crate) struct Dedupe {
    key: [u8; 16],
    windows: IdMap<Sender, Window>,
    blocks: VecDeque<(u64, Block)>,
    open: Vec<(Sender, u64, Timestamp)>,
    next_block: u64,
    retired: Vec<u64>,
}

impl Dedupe {
    pub(crate) fn set_key(&mut self, key: [u8; 16]) {
        self.key = key;
    }

    pub(crate) fn fingerprint(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        for part in parts {
            hasher.write_u64(u64::try_from(part.len()).unwrap_or(u64::MAX));
            hasher.write(part);
        }
        hasher.finish()
    }

    /// Notes an id; `at` never goes back. False if it was there already.
    pub(crate) fn insert(&mut self, sender: Sender, fingerprint: u64, at: Timestamp) -> bool {
        let window = self.windows.entry(sender).or_default();
        window.expire(at.minus(DEDUPE_TIME));
        if !window.insert(fingerprint, at) {
            return false;
        }
        self.open.push((sender, fingerprint, at));
        true
    }

    /// When an id came, if it is in its sender's window.
    pub(crate) fn seen(&self, sender: Sender, fingerprint: u64) -> Option<Timestamp> {
        let order = &self.windows.get(&sender)?.order;
        let found = order.iter().find(|(seen, _)| *seen == fingerprint);
        found.map(|(_, at)| *at)
    }

    /// Forgets every id, as if windows were in memory only.
    #[cfg(feature = "mutants")]
    pub(crate) fn forget(&mut self) {
        if entente_core::mutant::is(entente_core::mutant::Mutant::DedupeInMemory) {
            self.windows.clear();
        }
    }

    /// Closes the blocks that a checkpoint stores.
    pub(crate) fn close_blocks(&mut self) -> Vec<(u64, &Block)> {
        let first = self.next_block;
        let open = std::mem::take(&mut self.open);
        for ids in open.chunks(BLOCK_IDS) {
            let block = Block {
                newest: ids.last().map(|(_, _, at)| *at).unwrap_or_default(),
                ids: ids.to_vec(),
            };
            self.blocks.push_back((self.next_block, block));
            self.next_block += 1;
        }
        self.blocks
            .iter()
            .filter(|(number, _)| *number >= first)
            .map(|(n, b)| (*n, b))
            .collect()
    }

    /// Takes a stored block in, oldest first.
    pub(crate) fn load(&mut self, number: u64, block: Block) {
        for (sender, fingerprint, at) in &block.ids {
            let window = self.windows.entry(*sender).or_default();
            // As when it came: what was over by then does not count as a repetition.
            window.expire(at.minus(DEDUPE_TIME));
            window.insert(*fingerprint, *at);
        }
        self.next_block = number + 1;
        self.blocks.push_back((number, block));
    }

    /// Frees what is over. Changes no answer: memory and rows are all that it is about.
    pub(crate) fn retire(&mut self, now: Timestamp) {
        let oldest = now.minus(DEDUPE_TIME);
        while self
            .blocks
            .front()
            .is_some_and(|(_, block)| block.newest < oldest)
        {
            let Some((number, block)) = self.blocks.pop_front() else {
                return;
            };
            for (sender, _, _) in block.ids {
                if let Some(window) = self.windows.get_mut(&sender) {
                    window.expire(oldest);
                    if window.order.is_empty() {
                        self.windows.remove(&sender);
                    }
                }
            }
            self.retired.push(number);
        }
    }

    /// Blocks whose rows may go.
    pub(crate) fn take_retired(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.retired)
    }
}

impl Window {
    fn insert(&mut self, fingerprint: u64, at: Timestamp) -> bool {
        if !self.seen.insert(fingerprint) {
            return false;
        }
        self.order.push_back((fingerprint, at));
        if self.order.len() > DEDUPE_IDS
            && let Some((oldest, _)) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }

    /// Forgets ids that came before a time.
    fn expire(&mut self, oldest: Timestamp) {
        while let Some((fingerprint, at)) = self.order.front()
            && *at < oldest
        {
            self.seen.remove(fingerprint);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use entente_core::PartnerId;

    fn sender(number: u64) -> Sender {
        (AccountId::new(PartnerId::new(1).unwrap(), number), 1)
    }

    #[test]
    fn an_id_is_seen_once_within_the_window() {
        let mut dedupe = Dedupe::default();
        let now = Timestamp::from_secs(1);
        assert!(dedupe.insert(sender(1), 5, now));
        assert!(!dedupe.insert(sender(1), 5, now));
        assert!(
            dedupe.insert(sender(2), 5, now),
            "another sender's id is another id"
        );
        for id in 0..u64::try_from(DEDUPE_IDS).unwrap() {
            assert!(dedupe.insert(sender(1), 1000 + id, now));
        }
        assert!(
            dedupe.insert(sender(1), 5, now),
            "ids beyond the window are new again"
        );
    }

    #[test]
    fn blocks_restore_the_windows_and_retire() {
        let mut dedupe = Dedupe::default();
        let now = Timestamp::from_secs(1);
        for id in 0..5000 {
            dedupe.insert(sender(id % 7), id, now);
        }
        let blocks: Vec<_> = dedupe
            .close_blocks()
            .into_iter()
            .map(|(number, block)| (number, postcard::to_stdvec(block).unwrap()))
            .collect();
        assert_eq!(blocks.len(), 2);
        let mut copy = Dedupe::default();
        for (number, block) in &blocks {
            copy.load(*number, postcard::from_bytes(block).unwrap());
        }
        assert!((0..5000).all(|id| !copy.insert(sender(id % 7), id, now)));
        copy.retire(now.plus(DEDUPE_TIME));
        assert!(
            copy.take_retired().is_empty(),
            "the last millisecond still counts"
        );
        copy.retire(now.plus(DEDUPE_TIME + Duration::from_millis(1)));
        assert_eq!(copy.take_retired(), [0, 1]);
        assert!(copy.windows.is_empty());
        assert!(copy.insert(sender(0), 0, now));
    }
}
