//! The recipient shard's fold, as far as senders can see it.
//!
//! **Invariants**
//! - The first record of an id is accepted; every later one is a duplicate.

use crate::Bug;

/// The fold of the whole log.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    /// The mailbox, in order.
    pub accepted: Vec<usize>,
    /// A duplicate was dropped.
    pub suppressed: bool,
}

impl Fold {
    /// Folds the log.
    pub fn of(log: &[usize], bug: Bug) -> Self {
        let mut fold = Self::default();
        for id in log {
            if fold.accepted.contains(id) && bug != Bug::NoDedupe {
                fold.suppressed = true;
            } else {
                fold.accepted.push(*id);
            }
        }
        fold
    }
}
