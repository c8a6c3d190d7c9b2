//! The state of one shard in memory, over its rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_core::{
    AccountFacts, AccountId, Content, Counter, Epoch, IdMap, Offset, PartnerId, Placement,
    PrekeyCount, SealKey, Sequence, ShardId, Timestamp, VisibleId,
};
use serde::{Deserialize, Serialize};

use crate::account::{Account, Entry, Meta, Row};
use crate::cells::{Cells, decode, key};
use crate::dedupe::Dedupe;
use crate::effect::Effect;
use crate::outbox::{Held, Outbox, OutputItem, Target};
use crate::record::Output;
use crate::store::{StateStore, StoreError};

/// After so much silence an account is erased (the framework's 30 days).
pub const SILENCE: Duration = Duration::from_hours(30 * 24);

/// What a shard must know that is the same on every node.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Which shard.
    pub shard: ShardId,
    /// Where everything else is.
    pub placement: Placement,
    /// The key of all seals.
    pub seal: SealKey,
}

/// What the shard's own row keeps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ShardRow {
    pub(crate) time: Timestamp,
    pub(crate) epoch: Epoch,
    pub(crate) dedupe_key: Option<[u8; 16]>,
    pub(crate) outboxes: BTreeMap<Target, Counter>,
}

/// Outputs of one other shard to this one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Inbox {
    pub(crate) last: Counter,
    pub(crate) held: BTreeMap<Counter, Output>,
    #[serde(skip)]
    pub(crate) dirty: bool,
}

/// A mailbox entry, for the one who delivers it.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Its place in the mailbox.
    pub sequence: Sequence,
    /// When the edge admitted it.
    pub admitted: Timestamp,
    /// What it is.
    pub content: Content,
}

/// One shard.
#[derive(Debug)]
pub struct Shard {
    pub(crate) config: ShardConfig,
    pub(crate) cells: Cells,
    pub(crate) row: ShardRow,
    pub(crate) row_dirty: bool,
    pub(crate) next: Offset,
    pub(crate) accounts: IdMap<AccountId, Account>,
    pub(crate) dedupe: Dedupe,
    pub(crate) inboxes: BTreeMap<ShardId, Inbox>,
    pub(crate) outboxes: BTreeMap<Target, Outbox>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) checkpoints: u64,
    /// Slots of the quarantine that are taken.
    pub(crate) set_aside: BTreeSet<u64>,
    /// Stanzas that were seen before, since somebody asked. No state: a replay counts them again.
    pub(crate) repeated: u64,
}

impl Shard {
    /// Loads what a store has of a shard: windows, counters, outputs that are not sent. Accounts
    /// follow when they are touched.
    ///
    /// # Errors
    /// [`StoreError`] if rows cannot be read.
    pub fn load(config: ShardConfig, store: Arc<dyn StateStore>) -> Result<Self, StoreError> {
        let next = store.replay_from()?;
        let cells = Cells::new(store);
        let row: ShardRow = cells.read(key::SHARD)?.unwrap_or_default();
        let mut dedupe = Dedupe::default();
        dedupe.set_key(row.dedupe_key.unwrap_or_default());
        for (block, bytes) in cells.rows(key::BLOCKS)? {
            let number = key::number_of(&block).ok_or(StoreError::Damaged)?;
            dedupe.load(number, decode(&bytes)?);
        }
        let aside = cells.rows(key::QUARANTINE)?;
        let set_aside = aside.iter().filter_map(|(slot, _)| key::number_of(slot));
        let set_aside = set_aside.collect();
        let mut inboxes = BTreeMap::new();
        for (_, bytes) in cells.rows(key::INBOXES)? {
            let (source, inbox): (ShardId, Inbox) = decode(&bytes)?;
            inboxes.insert(source, inbox);
        }
        let outboxes = row.outboxes.iter();
        let mut outboxes: BTreeMap<_, _> = outboxes
            .map(|(target, next)| {
                (
                    *target,
                    Outbox {
                        next: *next,
                        ..Outbox::default()
                    },
                )
            })
            .collect();
        for (_, bytes) in cells.rows(key::OUTPUTS)? {
            let (target, counter, item): (Target, Counter, OutputItem) = decode(&bytes)?;
            let outbox: &mut Outbox = outboxes.entry(target).or_default();
            outbox.items.push_back(Held {
                counter,
                item,
                stored: true,
            });
        }
        Ok(Self {
            config,
            cells,
            row,
            row_dirty: false,
            next,
            accounts: IdMap::default(),
            dedupe,
            inboxes,
            outboxes,
            effects: Vec::new(),
            checkpoints: 0,
            set_aside,
            repeated: 0,
        })
    }

    /// Which shard this is.
    pub const fn id(&self) -> ShardId {
        self.config.shard
    }

    /// The offset of the next record to apply.
    pub const fn next(&self) -> Offset {
        self.next
    }

    /// The newest accepted claim.
    pub const fn epoch(&self) -> Epoch {
        self.row.epoch
    }

    /// The fold's time: the newest append time of any record applied.
    pub const fn time(&self) -> Timestamp {
        self.row.time
    }

    /// Takes the effects of what was applied since the last call, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Takes outputs to a target that were not taken in this run yet, in the order of their
    /// counters: so many, and no more once they have so many bytes.
    pub fn take_outputs(
        &mut self,
        target: Target,
        limit: usize,
        bytes: usize,
    ) -> Vec<(Counter, OutputItem)> {
        self.outboxes
            .get_mut(&target)
            .map(|outbox| outbox.take(limit, bytes))
            .unwrap_or_default()
    }

    /// Takes outputs again that were taken before and may not have arrived: all that are not sent.
    pub fn untake_outputs(&mut self, target: Target) {
        if let Some(outbox) = self.outboxes.get_mut(&target) {
            outbox.taken = Counter::default();
        }
    }

    /// Targets with outputs that were not taken yet.
    pub fn pending_targets(&self) -> Vec<Target> {
        let pending = |outbox: &Outbox| {
            outbox
                .items
                .back()
                .is_some_and(|h| h.counter > outbox.taken)
        };
        let targets = self.outboxes.iter().filter(|(_, outbox)| pending(outbox));
        targets.map(|(target, _)| *target).collect()
    }

    /// What is known of an account.
    ///
    /// # Errors
    /// [`StoreError`] if rows cannot be read.
    pub fn facts(&mut self, account: AccountId) -> Result<Option<AccountFacts>, StoreError> {
        Ok(self.account(account)?.map(|found| found.facts(account)))
    }

    /// The account of a visible id.
    ///
    /// # Errors
    /// [`StoreError`] if rows cannot be read.
    pub fn lookup(
        &self,
        partner: PartnerId,
        visible: &VisibleId,
    ) -> Result<Option<AccountId>, StoreError> {
        self.cells.read(&key::visible(partner, visible.as_str()))
    }

    /// Whom an account blocks; none if it is not enlisted.
    ///
    /// # Errors
    /// [`StoreError`] if rows cannot be read.
    pub fn blocked(&mut self, account: AccountId) -> Result<Option<Vec<AccountId>>, StoreError> {
        Ok(self
            .account(account)?
            .map(|found| found.row.blocked.iter().copied().collect()))
    }

    /// Whether an account blocks another one.
    ///
    /// # Errors
    /// [`StoreError`] if rows cannot be read.
    pub fn blocks(&mut self, account: AccountId, other: AccountId) -> Result<bool, StoreError> {
        let found = self.account(account)?;
        Ok(found.is_some_and(|found| found.row.blocked.contains(&other)))
    }

    /// How many one-time keys wait; none if the account is not enlisted.
    ///
    /// # Errors
    /// [`StoreError`] if rows cannot be read.
    pub fn prekey_count(&mut self, account: AccountId) -> Result<Option<PrekeyCount>, StoreError> {
        Ok(self
            .account(account)?
            .map(|found| crate::fold::count(&found.row)))
    }

    /// Whether an account already counts a peer among those of today, so that no record need say so.
    ///
    /// # Errors
    /// [`StoreError`] if rows cannot be read.
    pub fn has_met(&mut self, account: AccountId, peer: AccountId) -> Result<bool, StoreError> {
        let today = u32::try_from(self.row.time.secs() / 86_400).unwrap_or(u32::MAX);
        let found = self.account(account)?;
        Ok(found.is_none_or(|found| found.row.peers.get(&peer) == Some(&today)))
    }

    /// The `h` that is surely handled of a dead session, for whoever knows its key.
    ///
    /// # Errors
    /// [`StoreError`] if rows cannot be read.
    pub fn handled_by_dead(
        &mut self,
        account: AccountId,
        digest: [u8; 16],
    ) -> Result<Option<u32>, StoreError> {
        let resume = self.account(account)?.and_then(|found| found.row.resume);
        Ok(resume
            .filter(|resume| resume.digest == digest)
            .map(|resume| resume.handled))
    }

    /// The newest session epoch of an account and its newest mailbox entry; none if it is not
    /// enlisted.
    ///
    /// # Errors
    /// [`StoreError`] if rows cannot be read.
    pub fn newest(&mut self, account: AccountId) -> Result<Option<(Epoch, Sequence)>, StoreError> {
        let found = self.account(account)?;
        Ok(found.map(|found| (found.row.epoch, found.row.last)))
    }

    /// The next mailbox entry after a sequence, with its content.
    ///
    /// # Errors
    /// [`StoreError`] if rows cannot be read.
    pub fn waiting_after(
        &mut self,
        account: AccountId,
        after: Sequence,
    ) -> Result<Option<Waiting>, StoreError> {
        let Some(found) = self.account(account)? else {
            return Ok(None);
        };
        let at = found
            .mailbox
            .partition_point(|entry| entry.sequence <= after);
        let Some(entry) = found.mailbox.get(at) else {
            return Ok(None);
        };
        let (sequence, admitted) = (entry.sequence, entry.meta.admitted);
        let content = match &entry.content {
            Some(content) => content.clone(),
            None => {
                let row: Option<(Meta, Content)> =
                    self.cells.read(&key::entry(account, sequence))?;
                row.ok_or(StoreError::Damaged)?.1
            }
        };
        Ok(Some(Waiting {
            sequence,
            admitted,
            content,
        }))
    }

    /// Accounts that the fold believes to be connected, with the epoch of their session.
    ///
    /// # Errors
    /// [`StoreError`] if rows cannot be read.
    pub fn connected(&mut self) -> Result<Vec<(AccountId, Epoch)>, StoreError> {
        let stored = self.cells.rows(key::LIVE)?;
        let mut all: Vec<_> = stored
            .iter()
            .filter_map(|(key, _)| key::account_of(key))
            .collect();
        all.extend(self.accounts.keys().copied());
        all.sort_unstable();
        all.dedup();
        let mut live = Vec::new();
        for account in all {
            if let Some(found) = self.account(account)?
                && found.row.session.is_some()
            {
                live.push((account, found.row.epoch));
            }
        }
        Ok(live)
    }

    /// Accounts after a place that have an entry whose time is over, or were silent for too long:
    /// at most `limit` rows are looked at. Returns (expired, silent, where to go on).
    ///
    /// # Errors
    /// [`StoreError`] if rows cannot be read.
    #[expect(
        clippy::type_complexity,
        reason = "two lists and a place, used by one caller"
    )]
    pub fn overdue(
        &self,
        after: Option<AccountId>,
        now: Timestamp,
        limit: usize,
    ) -> Result<(Vec<AccountId>, Vec<AccountId>, Option<AccountId>), StoreError> {
        let (mut expired, mut silent, mut last, mut seen) = (Vec::new(), Vec::new(), None, 0);
        let mut damaged = false;
        let after = after.map(key::account);
        self.cells
            .store()
            .scan(key::ACCOUNTS, after.as_deref(), &mut |key, bytes: Bytes| {
                let (Some(account), Ok(row)) = (key::account_of(key), decode::<Row>(&bytes)) else {
                    damaged = true;
                    return false;
                };
                if row.expires.is_some_and(|at| at <= now) {
                    expired.push(account);
                }
                if row.session.is_none() && row.seen.plus(SILENCE) <= now {
                    silent.push(account);
                }
                seen += 1;
                last = Some(account);
                seen < limit
            })?;
        if damaged {
            return Err(StoreError::Damaged);
        }
        Ok((expired, silent, last.filter(|_| seen >= limit)))
    }

    pub(crate) fn account(&mut self, id: AccountId) -> Result<Option<&mut Account>, StoreError> {
        use std::collections::hash_map::Entry as Slot;
        match self.accounts.entry(id) {
            Slot::Occupied(slot) => {
                let found = slot.into_mut();
                found.touched = self.checkpoints;
                Ok(Some(found))
            }
            Slot::Vacant(slot) => {
                let Some(row) = self.cells.read::<Row>(&key::account(id))? else {
                    return Ok(None);
                };
                let mut account = Account::new(row);
                account.dirty = false;
                account.touched = self.checkpoints;
                for (key, bytes) in self.cells.rows(&key::mailbox(id))? {
                    let sequence = key::number_of(&key).ok_or(StoreError::Damaged)?;
                    let (meta, _): (Meta, Content) = decode(&bytes)?;
                    account.bytes += usize::try_from(meta.size).unwrap_or_default();
                    let sequence = Sequence::new(sequence);
                    account.mailbox.push_back(Entry {
                        sequence,
                        meta,
                        content: None,
                        stored: true,
                    });
                }
                Ok(Some(slot.insert(account)))
            }
        }
    }
}
