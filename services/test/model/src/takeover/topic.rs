//! The compacted state topic: what is in it, what a reader makes of it, what compaction leaves.
//!
//! **Invariants**
//! - A reader goes through the records in log order. A claim above the newest one seen becomes the
//!   newest; of two claims with one epoch the first wins.
//! - A record whose epoch is below the newest claim before it does not count.
//! - Compaction keeps the *last* record of a key, whether it counts or not.

use super::{Bug, Fold, MESSAGES, Mailbox, Message, Window};

/// What one key of the state topic holds.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub enum Value {
    /// Dedupe window and output counter.
    Window(Window),
    /// What is in the mailbox.
    Mailbox(Mailbox),
    /// The input offset from which a new owner replays.
    Covered(usize),
}

impl Value {
    /// Whether both are values of one key.
    pub fn same_key(&self, other: &Self) -> bool {
        self.slot() == other.slot()
    }

    fn slot(&self) -> usize {
        match self {
            Self::Window(_) => 0,
            Self::Mailbox(_) => 1,
            Self::Covered(_) => 2,
        }
    }
}

/// A record of the state topic, its epoch in the header.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub enum Entry {
    /// An owner's claim; the nonce is the process.
    Claim {
        /// The epoch claimed.
        epoch: usize,
        /// Who claims it.
        nonce: usize,
    },
    /// A value of a key.
    State {
        /// The epoch under which the writer believes to own the shard.
        epoch: usize,
        /// The value.
        value: Value,
    },
}

/// What a reader of the whole topic knows.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The newest claimed epoch.
    pub epoch: usize,
    /// Who claimed it first.
    pub holder: usize,
    /// The last value of each key that counts.
    pub values: [Option<Value>; 3],
    /// Keys whose last record does not count.
    pub overwritten: [bool; 3],
}

impl Loaded {
    /// Reads the topic from its first record to its last.
    pub fn read(topic: &[Entry], bug: Bug) -> Self {
        let mut loaded = Self::default();
        for entry in topic {
            match entry {
                Entry::Claim { epoch, nonce } if *epoch > loaded.epoch => {
                    loaded.epoch = *epoch;
                    loaded.holder = *nonce;
                }
                Entry::Claim { .. } => {}
                Entry::State { epoch, value } => {
                    let counts = *epoch >= loaded.epoch || bug == Bug::NoEpochCheck;
                    loaded.overwritten[value.slot()] = !counts;
                    if counts {
                        loaded.values[value.slot()] = Some(value.clone());
                    }
                }
            }
        }
        loaded
    }

    /// The values that a lower epoch overwrote and that have to be written again.
    pub fn repairs(&self) -> Vec<Value> {
        let keys = self.values.iter().zip(self.overwritten);
        keys.filter(|(_, overwritten)| *overwritten)
            .filter_map(|(value, _)| value.clone())
            .collect()
    }

    /// The fold as its last snapshot left it, and the offset from which to replay.
    pub fn restore(&self, bug: Bug) -> (Fold, usize) {
        let mut fold = Fold::default();
        let mut covered = 0;
        for value in self.values.iter().flatten() {
            match value {
                Value::Window(window) => fold.window = window.clone(),
                Value::Mailbox(mailbox) => fold.mailbox = mailbox.clone(),
                Value::Covered(offset) => covered = *offset,
            }
        }
        match bug {
            Bug::CountersReset => fold.window.receipts = 0,
            Bug::ReplayWithoutStamps => {
                fold.window.stamp = 0;
                fold.mailbox.stamp = 0;
            }
            _ => {}
        }
        (fold, covered)
    }
}

/// Removes every record that has a later one with its key.
pub(super) fn compact(topic: &mut Vec<Entry>, bug: Bug) {
    for position in (0..topic.len()).rev() {
        if topic[position + 1..]
            .iter()
            .any(|later| same_key(&topic[position], later, bug))
        {
            topic.remove(position);
        }
    }
}

fn same_key(a: &Entry, b: &Entry, bug: Bug) -> bool {
    match (a, b) {
        (Entry::State { value: a, .. }, Entry::State { value: b, .. }) => a.same_key(b),
        // The key of a claim is (epoch, nonce): a lost race stays in the log behind the winner.
        (Entry::Claim { epoch: a, nonce: x }, Entry::Claim { epoch: b, nonce: y }) => {
            a == b && (x == y || bug == Bug::ClaimsShareKey)
        }
        _ => false,
    }
}

/// The messages that a mailbox holds, as a set.
pub(super) fn held(mailbox: &Mailbox) -> [bool; MESSAGES] {
    let mut held = [false; MESSAGES];
    for (_, Message(message)) in &mailbox.entries {
        held[*message] = true;
    }
    held
}
