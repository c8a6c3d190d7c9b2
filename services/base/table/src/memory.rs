//! The table of one process: a bounded map and an index of ends of life.
//!
//! Expired entries make room first. When all are alive, a new key is refused as unavailable: to
//! push a live one out would let a replay guard forget what it has seen.
//!
//! **Invariants**
//! - Map and index hold the same entries, at most `max_entries` of them.
//! - The hash is keyed per table, so a peer that chooses keys cannot choose collisions.

use std::collections::{BTreeMap, HashMap};
use std::hash::RandomState;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{Key, Rate, Table, TableError, Taken, check_value};

/// Entries of a table unless told otherwise: at worst 1.4 KiB each with key, value and index, so
/// less than 1.5 GiB if every one were as long as allowed; about 250 MB with usual hints.
pub const DEFAULT_MAX_ENTRIES: usize = 1_000_000;

/// Longest life of an entry; `Instant` cannot hold arbitrary futures. Ten years.
const MAX_TTL: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Expired entries dropped per write, so that the map shrinks while no write pays for all of them.
const SWEEP: usize = 4;

/// A [`Table`] in memory.
#[derive(Debug)]
pub struct MemoryTable {
    max_entries: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<Key, Entry, RandomState>,
    by_end: BTreeMap<(Instant, u64), Key>,
    /// Makes index keys unique when ends coincide.
    ticket: u64,
}

#[derive(Debug)]
struct Entry {
    value: Bytes,
    end: Instant,
    ticket: u64,
}

impl MemoryTable {
    /// An empty table for at most so many live entries.
    pub fn new(max_entries: usize) -> Self {
        Self {
            max_entries,
            entries: Mutex::default(),
        }
    }

    /// How many entries it holds, expired ones that were not swept yet included.
    pub fn len(&self) -> usize {
        self.entries.lock().by_key.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything at once, as the wipe of a shared table would.
    pub fn wipe(&self) {
        *self.entries.lock() = Entries::default();
    }
}

impl Default for MemoryTable {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_ENTRIES)
    }
}

#[async_trait]
impl Table for MemoryTable {
    async fn insert_if_absent(
        &self,
        key: &Key,
        value: Bytes,
        ttl: Duration,
    ) -> Result<bool, TableError> {
        check_value(&value)?;
        let now = Instant::now();
        let mut entries = self.entries.lock();
        if entries.live(key, now).is_some() {
            return Ok(false);
        }
        entries.store(key, value, end(now, ttl), now, self.max_entries)?;
        Ok(true)
    }

    async fn get(&self, key: &Key) -> Result<Option<Bytes>, TableError> {
        let entries = self.entries.lock();
        Ok(entries
            .live(key, Instant::now())
            .map(|entry| entry.value.clone()))
    }

    async fn put(&self, key: &Key, value: Bytes, ttl: Duration) -> Result<(), TableError> {
        check_value(&value)?;
        let now = Instant::now();
        self.entries
            .lock()
            .store(key, value, end(now, ttl), now, self.max_entries)
    }

    async fn remove(&self, key: &Key) -> Result<bool, TableError> {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        let lived = entries.live(key, now).is_some();
        entries.forget(key);
        Ok(lived)
    }

    async fn take(&self, key: &Key, rate: Rate) -> Result<Taken, TableError> {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        // The end of a bucket's life is the moment when it is full again.
        let spent = entries
            .live(key, now)
            .map_or(Duration::ZERO, |entry| entry.end.duration_since(now));
        match rate.spend(spent) {
            Ok(spent) => {
                let full = end(now, spent);
                entries.store(key, Bytes::new(), full, now, self.max_entries)?;
                Ok(Taken::Allowed)
            }
            Err(retry_after) => Ok(Taken::Denied { retry_after }),
        }
    }
}

impl Entries {
    fn live(&self, key: &Key, now: Instant) -> Option<&Entry> {
        self.by_key.get(key).filter(|entry| entry.end > now)
    }

    fn store(
        &mut self,
        key: &Key,
        value: Bytes,
        end: Instant,
        now: Instant,
        max_entries: usize,
    ) -> Result<(), TableError> {
        self.forget(key);
        for _ in 0..SWEEP {
            if !self.sweep_one(now) {
                break;
            }
        }
        if self.by_key.len() >= max_entries {
            return Err(TableError::Unavailable);
        }
        let ticket = self.ticket;
        self.ticket += 1;
        self.by_end.insert((end, ticket), key.clone());
        self.by_key
            .insert(key.clone(), Entry { value, end, ticket });
        Ok(())
    }

    fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.by_key.remove(key) {
            self.by_end.remove(&(entry.end, entry.ticket));
        }
    }

    fn sweep_one(&mut self, now: Instant) -> bool {
        let Some(first) = self.by_end.first_entry() else {
            return false;
        };
        if first.key().0 > now {
            return false;
        }
        let key = first.remove();
        self.by_key.remove(&key);
        true
    }
}

fn end(now: Instant, ttl: Duration) -> Instant {
    now + ttl.min(MAX_TTL)
}

#[cfg(test)]
mod tests;
