//! Rows in memory, for tests and for a process that may forget.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use entente_core::Offset;
use parking_lot::Mutex;

use super::{Rows, StateStore, StoreError};

/// Rows that a scan copies at once: it holds no lock while it visits, and who stops early did not
/// pay for all.
const SCAN_ROWS: usize = 64;

/// A store that lasts as long as the value.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<(Offset, BTreeMap<Vec<u8>, Bytes>)>);

impl MemoryStore {
    fn with<T>(&self, f: impl FnOnce(&mut (Offset, BTreeMap<Vec<u8>, Bytes>)) -> T) -> T {
        f(&mut self.0.lock())
    }
}

impl StateStore for MemoryStore {
    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.with(|(_, rows)| rows.get(key).cloned()))
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], Bytes) -> bool,
    ) -> Result<(), StoreError> {
        let mut after = after.map(<[u8]>::to_vec);
        loop {
            let start = after.as_deref();
            let start = start.map_or(Bound::Included(prefix), Bound::Excluded);
            let rows: Vec<_> = self.with(|(_, rows)| {
                let range = rows.range::<[u8], _>((start, Bound::Unbounded));
                let range = range.take_while(|(key, _)| key.starts_with(prefix));
                let some = range.take(SCAN_ROWS);
                some.map(|(key, row)| (key.clone(), row.clone())).collect()
            });
            let is_last = rows.len() < SCAN_ROWS;
            for (key, row) in rows {
                if !visit(&key, row) {
                    return Ok(());
                }
                after = Some(key);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn commit(&self, replay_from: Offset, rows: &Rows) -> Result<(), StoreError> {
        self.with(|(offset, kept)| {
            *offset = replay_from;
            for (key, row) in rows {
                match row {
                    Some(row) => kept.insert(key.clone(), row.clone()),
                    None => kept.remove(key),
                };
            }
        });
        Ok(())
    }

    fn replay_from(&self) -> Result<Offset, StoreError> {
        Ok(self.with(|(offset, _)| *offset))
    }
}
