//! The fold of the input log, cut into the two slices that the state topic keeps under own keys.
//!
//! **Invariants**
//! - Pure: the result depends on the slices and the record alone.
//! - Each slice is stamped with the offset up to which it is folded and skips what lies below, so
//!   slices of different ages are brought to one age by one replay.
//! - The window remembers *where* it saw an id first. So a mailbox that is older than the window
//!   can tell the first record of an id from its duplicate.
//! - A slice that counts outputs is never older than the slice whose changes it counts.

use super::{Bug, MESSAGES};

/// A message by its number; 0 and 1 are of one sender, 2 is of the other.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Message(pub usize);

/// A record of the input log.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Record {
    /// A message, by whatever router.
    Message(Message),
    /// The command "settle up to this sequence".
    Settle(usize),
}

/// Dedupe window and output counter.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub struct Window {
    /// Folded up to here.
    pub stamp: usize,
    /// Where each id was seen first.
    pub first: [Option<usize>; MESSAGES],
    /// The counter of the last receipt emitted.
    pub receipts: usize,
}

/// The mailbox of the one recipient.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub struct Mailbox {
    /// Folded up to here.
    pub stamp: usize,
    /// Sequence (the input offset of the first record) and message.
    pub entries: Vec<(usize, Message)>,
}

/// The folded state and what it wants written into another shard.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub struct Fold {
    /// Dedupe window and output counter.
    pub window: Window,
    /// The mailbox.
    pub mailbox: Mailbox,
    /// Receipts not yet written to the other shard: counter and message.
    pub outbox: Vec<(usize, Message)>,
}

impl Fold {
    /// Applies the record at `offset`.
    pub fn apply(&mut self, offset: usize, record: Record, bug: Bug) {
        let (to_window, to_mailbox) = match bug {
            Bug::ReplayWithoutStamps => (true, true),
            _ => (offset >= self.window.stamp, offset >= self.mailbox.stamp),
        };
        match record {
            Record::Message(Message(id)) => {
                if to_window && self.window.first[id].is_none() {
                    self.window.first[id] = Some(offset);
                }
                let first = self.window.first[id] == Some(offset);
                if to_mailbox && first && !self.mailbox.entries.contains(&(offset, Message(id))) {
                    self.mailbox.entries.push((offset, Message(id)));
                }
            }
            Record::Settle(up_to) if to_mailbox => {
                let (settled, left) = self
                    .mailbox
                    .entries
                    .iter()
                    .copied()
                    .partition(|(seq, _)| *seq <= up_to);
                self.mailbox.entries = left;
                if to_window {
                    self.emit(settled);
                }
            }
            Record::Settle(_) => {}
        }
        self.window.stamp = self.window.stamp.max(offset + 1);
        self.mailbox.stamp = self.mailbox.stamp.max(offset + 1);
    }

    fn emit(&mut self, settled: Vec<(usize, Message)>) {
        for (_, message) in settled {
            self.window.receipts += 1;
            self.outbox.push((self.window.receipts, message));
        }
    }

    /// Applies every record from `from` to the end of the log.
    pub fn replay(&mut self, input: &[Record], from: usize, bug: Bug) {
        for (offset, record) in input.iter().enumerate().skip(from) {
            self.apply(offset, *record, bug);
        }
    }
}
