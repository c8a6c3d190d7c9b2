//! What stands still in a shard, for whoever is on call. Answers only: nothing here changes the fold.

use entente_core::{AccountId, Epoch, Offset, Sequence, Timestamp};

use crate::account::Meta;
use crate::cells::{decode, key};
use crate::record::{Record, RecordError};
use crate::shard::Shard;
use crate::store::StoreError;

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

/// What waits for an account, without what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// Entries that are not settled.
    pub entries: usize,
    /// Their bytes.
    pub bytes: usize,
    /// When the oldest of them was admitted.
    pub oldest: Option<Timestamp>,
    /// The newest one, or the last that was ever given.
    pub last: Sequence,
    /// The newest session epoch.
    pub epoch: Epoch,
    /// Whether the fold believes the device to be connected.
    pub is_connected: bool,
    /// Whether a wake-up was emitted and no session has begun since.
    pub is_woken: bool,
    /// When a session last began or ended.
    pub seen: Timestamp,
}

/// What is known of a stanza that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trail {
    /// When it was applied, if it is in the dedupe window of its sender.
    pub came: Option<Timestamp>,
    /// Its place in the mailbox of its recipient, and when it was admitted, while it waits there.
    pub waits: Option<(Sequence, Timestamp)>,
}

/// A record that was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Its place in the shard's log.
    pub offset: Offset,
    /// How long it is.
    pub bytes: usize,
    /// Why this version does not apply it.
    pub why: RecordError,
}

impl Shard {
    /// What waits for an account; none if it is not enlisted.
    ///
    /// # Errors
    /// [`StoreError`] if rows cannot be read.
    pub fn mailbox(&mut self, account: AccountId) -> Result<Option<Mailbox>, StoreError> {
        Ok(self.account(account)?.map(|found| Mailbox {
            entries: found.mailbox.len(),
            bytes: found.bytes,
            oldest: found.mailbox.front().map(|entry| entry.meta.admitted),
            last: found.row.last,
            epoch: found.row.epoch,
            is_connected: found.row.session.is_some(),
            is_woken: found.row.waking,
            seen: found.row.seen,
        }))
    }

    /// What is known of a stanza of a device for an account of this shard; none if the account is not
    /// enlisted.
    ///
    /// # Errors
    /// [`StoreError`] if rows cannot be read.
    pub fn trail(
        &mut self,
        (from, device): (AccountId, u16),
        to: AccountId,
        id: &[u8],
    ) -> Result<Option<Trail>, StoreError> {
        let fingerprint = self.fingerprint(to, &[id]);
        let came = self.dedupe.seen((from, device), fingerprint);
        Ok(self.account(to)?.map(|found| {
            let is_it = |meta: &Meta| meta.from == Some(from) && meta.id == id;
            let mut entries = found.mailbox.iter();
            let entry = entries.find(|entry| is_it(&entry.meta));
            Trail {
                came,
                waits: entry.map(|entry| (entry.sequence, entry.meta.admitted)),
            }
        }))
    }

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

    /// The records set aside that are kept, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`] if rows cannot be read.
    pub fn set_aside(&self) -> Result<Vec<SetAside>, StoreError> {
        let mut all = Vec::new();
        for (_, row) in self.cells.rows(key::QUARANTINE)? {
            let (offset, payload): (Offset, Vec<u8>) = decode(&row)?;
            let bytes = payload.len();
            let opened = Record::open(self.id(), &payload.into(), &self.config.seal);
            let why = opened.err().unwrap_or(RecordError::Misrouted);
            all.push(SetAside { offset, bytes, why });
        }
        all.sort_unstable_by_key(|aside| aside.offset);
        Ok(all)
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
