//! Progress in rows: how far the partition was read, what was seen, and what is pending.
//!
//! In: what changed since the last checkpoint. Out: one commit, and then a higher floor of the log.
//! A wake-up that is delivered between two checkpoints never touches the store.
//!
//! **Invariants**
//! - Cursor, counters and wake-ups go in one commit, so a restart sees one moment of all three.
//! - The floor rises to a cursor only after the commit that covers it.
//! - One commit at a time; what changes meanwhile goes with the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_core::{AccountId, Offset, PartnerId, ShardId, Timestamp};
use entente_shard::{Rows, StoreError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::coalesce::Intent;
use crate::consume::{Seen, WakeId};
use crate::desk::{Clock, Desk, Done};

/// Rows: the cursor by partition, wake-ups by account, seen counters by source.
const CURSOR: u8 = b'c';
const INTENT: u8 = b'i';
const SEEN: u8 = b's';

/// What the next checkpoint has to store.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    pub(crate) accounts: BTreeSet<AccountId>,
    /// Whether the cursor moved.
    pub(crate) moved: bool,
    pub(crate) sources: BTreeSet<ShardId>,
    /// Wake-ups for which there is no room in memory.
    pub(crate) spilled: BTreeMap<AccountId, Row>,
    /// Records read since the last checkpoint.
    pub(crate) records: usize,
    /// When the next checkpoint is due.
    pub(crate) since: Option<Instant>,
    /// The cursor in the commit that is under way.
    storing: Option<Offset>,
}

impl Dirty {
    pub(crate) const fn is_storing(&self) -> bool {
        self.storing.is_some()
    }

    fn is_empty(&self) -> bool {
        self.accounts.is_empty()
            && !self.moved
            && self.sources.is_empty()
            && self.spilled.is_empty()
    }
}

/// A wake-up as it is stored. Times are the wall's: monotonic ones end with the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    id: WakeId,
    since: Timestamp,
    attempts: u32,
    due: Timestamp,
}

impl Row {
    pub(crate) fn of(intent: &Intent, clock: &Clock) -> Self {
        Self {
            id: intent.id,
            since: intent.since,
            attempts: intent.attempts,
            due: clock.wall(intent.due),
        }
    }

    /// Back to a wake-up. A wait longer than any that is drawn comes from a clock that was wrong.
    fn intent(self, clock: &Clock, longest: Duration) -> Intent {
        let wait = self.due.since(clock.now()).min(longest);
        let mut intent = Intent::new(self.id, self.since, Instant::now() + wait);
        intent.attempts = self.attempts;
        intent.stored = true;
        intent
    }
}

impl Desk {
    /// Starts to store what changed, unless a commit is under way.
    pub(crate) fn checkpoint(&mut self) {
        if self.dirty.is_storing() {
            return;
        }
        self.dirty.since = None;
        let dirty = std::mem::take(&mut self.dirty);
        if dirty.is_empty() {
            self.dirty.storing = None;
            // Nothing to write, but a lane may wait to be filled from the store.
            self.refill_or_stop();
            return;
        }
        let mut rows = Rows::new();
        if dirty.moved {
            let key = number_key(CURSOR, self.ground.partition);
            rows.insert(key, Some(encode(&self.cursor)));
        }
        for source in dirty.sources {
            let seen = self.seen.get(&source).map(encode);
            rows.insert(number_key(SEEN, source.index()), seen);
        }
        for account in dirty.accounts {
            let lane = self.lanes.get_mut(&account.partner());
            let row = lane.and_then(|lane| {
                let row = Row::of(lane.intent(account)?, &self.clock);
                lane.mark_stored(account);
                Some(encode(&row))
            });
            rows.insert(intent_key(account), row);
        }
        for (account, row) in dirty.spilled {
            rows.insert(intent_key(account), Some(encode(&row)));
        }
        self.dirty.storing = Some(self.cursor);
        let store = Arc::clone(&self.ground.store);
        // The cursor is a row, with the others; the store's own offset stays 0.
        self.work
            .spawn_blocking(move || Done::Stored(store.commit(Offset::default(), &rows)));
    }

    /// After a commit: the log may forget what it covers, and lanes with room are filled.
    pub(crate) fn covered(&mut self) -> Result<(), StoreError> {
        let (log, partition) = (Arc::clone(&self.ground.log), self.ground.partition);
        if let Some(cursor) = self.dirty.storing.take()
            && cursor > log.floor(partition)
        {
            self.work
                .spawn(async move { Done::Floored(log.raise_floor(partition, cursor).await) });
        }
        self.refill()
    }

    /// Reads all rows, at the start.
    pub(crate) fn load(&mut self) -> Result<(), StoreError> {
        let mut damaged = false;
        let store = Arc::clone(&self.ground.store);
        let mut cursors = BTreeMap::new();
        store.scan(&[CURSOR], None, &mut |key, row| {
            let entry = number_of(key).zip(decode::<Offset>(&row));
            damaged |= entry.is_none();
            cursors.extend(entry);
            true
        })?;
        let mut seen = BTreeMap::new();
        store.scan(&[SEEN], None, &mut |key, row| {
            let entry = number_of(key).zip(decode::<Seen>(&row));
            damaged |= entry.is_none();
            seen.extend(entry.map(|(source, seen)| (ShardId::new(source), seen)));
            true
        })?;
        let (log, partition) = (&self.ground.log, self.ground.partition);
        self.cursor = cursors.remove(&partition).unwrap_or_default();
        if self.cursor > log.end(partition) {
            // The log is not the one that was read: its counters may begin anew.
            self.cursor = log.floor(partition);
            seen.clear();
        }
        self.seen = seen;
        let mut partners = BTreeSet::new();
        store.scan(&[INTENT], None, &mut |key, _| {
            let account = account_of(key);
            damaged |= account.is_none();
            partners.extend(account.map(AccountId::partner));
            true
        })?;
        if damaged {
            return Err(StoreError::Damaged);
        }
        for partner in partners {
            self.lane(partner).spilled = true;
        }
        self.refill()
    }

    fn refill_or_stop(&mut self) {
        // A store that cannot be read reports it at the next commit as well.
        if self.refill().is_err() {
            self.touch();
        }
    }

    /// Fills lanes that have room from what was spilled. Not while a commit is under way: the rows
    /// would be older than memory.
    fn refill(&mut self) -> Result<(), StoreError> {
        let most = self.ground.config.max_held;
        let has_room = |lane: &crate::coalesce::Lane| lane.spilled && lane.len() <= most / 2;
        let lanes = self.lanes.iter().filter(|(_, lane)| has_room(lane));
        let partners: Vec<_> = lanes.map(|(partner, _)| *partner).collect();
        for partner in partners {
            self.refill_lane(partner, most)?;
            self.schedule(partner);
        }
        Ok(())
    }

    fn refill_lane(&mut self, partner: PartnerId, most: usize) -> Result<(), StoreError> {
        let (clock, longest) = (self.clock, self.ground.config.longest_retry.get());
        let Some(lane) = self.lanes.get_mut(&partner) else {
            return Ok(());
        };
        let (mut damaged, mut all) = (false, true);
        let mut prefix = vec![INTENT];
        prefix.extend_from_slice(&partner.number().to_be_bytes());
        let dirty = &self.dirty;
        self.ground.store.scan(&prefix, None, &mut |key, row| {
            let (Some(account), Some(row)) = (account_of(key), decode::<Row>(&row)) else {
                damaged = true;
                return false;
            };
            // Rows of these are older than what memory knows.
            let is_stale = lane.intent(account).is_some()
                || dirty.accounts.contains(&account)
                || dirty.spilled.contains_key(&account);
            if is_stale {
                return true;
            }
            if lane.len() >= most {
                all = false;
                return false;
            }
            lane.hold(account, row.intent(&clock, longest));
            true
        })?;
        let waits = dirty.spilled.keys().any(|each| each.partner() == partner);
        lane.spilled = !all || waits;
        if damaged {
            return Err(StoreError::Damaged);
        }
        Ok(())
    }
}

fn number_key(kind: u8, number: u32) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn number_of(key: &[u8]) -> Option<u32> {
    let number = key.get(1..)?.try_into().ok()?;
    Some(u32::from_be_bytes(number))
}

fn intent_key(account: AccountId) -> Vec<u8> {
    let mut key = vec![INTENT];
    key.extend_from_slice(&account.partner().number().to_be_bytes());
    key.extend_from_slice(&account.number().to_be_bytes());
    key
}

fn account_of(key: &[u8]) -> Option<AccountId> {
    let (partner, number) = key.get(1..)?.split_first_chunk::<2>()?;
    let partner = PartnerId::new(u16::from_be_bytes(*partner))?;
    let number = u64::from_be_bytes(number.try_into().ok()?);
    Some(AccountId::new(partner, number))
}

fn encode<T: Serialize>(value: &T) -> Bytes {
    #[expect(
        clippy::expect_used,
        reason = "plain numbers and arrays always fit in memory"
    )]
    let bytes = postcard::to_allocvec(value).expect("a row is plain data");
    bytes.into()
}

fn decode<T: DeserializeOwned>(row: &[u8]) -> Option<T> {
    postcard::from_bytes(row).ok()
}
