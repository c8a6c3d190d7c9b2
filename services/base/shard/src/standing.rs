//! What stands still in a shard, for whoever is on call. Answers only: nothing here changes the fold.

use entente_core::{AccountId, Timestamp};

use crate::shard::Shard;

/// What waits in a shard for something else, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Outputs of other shards that came before one that is missing.
    pub held: usize,
    /// Other shards of which an output is missing.
    pub holes: usize,
    /// Outputs of this shard that are not known to be where they belong.
    pub unsent: usize,
}

impl Shard {
    /// Counts what waits.
    pub fn standing(&self) -> Standing {
        let inboxes = self.inboxes.values();
        let held = inboxes.map(|inbox| inbox.held.len());
        Standing {
            held: held.clone().sum(),
            holes: held.filter(|held| *held > 0).count(),
            unsent: self.outboxes.values().map(|each| each.items.len()).sum(),
        }
    }

    /// How many stanzas were passed over since the last call, because their ids were seen before.
    pub fn take_repeated(&mut self) -> u64 {
        std::mem::take(&mut self.repeated)
    }

    /// How many records that were set aside are kept.
    pub fn quarantined(&self) -> usize {
        self.set_aside.len()
    }

    /// When the oldest entry in an account's mailbox was admitted, as far as the account is in memory.
    /// Connected ones are.
    pub fn oldest(&self, account: AccountId) -> Option<Timestamp> {
        let found = self.accounts.get(&account)?;
        found.mailbox.front().map(|entry| entry.meta.admitted)
    }
}
