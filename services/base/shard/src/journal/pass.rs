//! Rows that did not change are written again, a few with each commit, so that old records may go.
//!
//! How far a pass is goes with each commit, so it does not matter to it who owns the shard.

use entente_core::Offset;
use serde::{Deserialize, Serialize};

use super::entry::weight;
use crate::store::{Rows, StateStore, StoreError};

/// Commits in which a pass over all rows ends, whatever they write: an hour, with one each 2 s. What
/// is erased is below the floor after twice that.
pub const PASS_COMMITS: u64 = 1_800;
/// Commits between two floors at least, so that a shard of few rows does not raise one with each.
const FLOOR_COMMITS: u64 = 30;

/// Where the pass is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Pass {
    /// The last key that was written again; none before the first of the pass.
    cursor: Option<Vec<u8>>,
    /// The first record of the pass; none in what is written with it.
    began: Option<Offset>,
    commits: u64,
    /// Bytes of the rows that this pass has seen.
    seen: usize,
    /// Bytes of those that changed meanwhile.
    changed: usize,
    /// Bytes of all rows when the pass began, at least.
    total: usize,
    /// Whether every key was seen.
    ended: bool,
}

impl Pass {
    /// Rows to write again beside those of a commit: as many bytes as the commit has, so that the end
    /// does not move away, and a share of all that there was.
    pub(super) fn slice(
        &mut self,
        store: &dyn StateStore,
        rows: &Rows,
    ) -> Result<Rows, StoreError> {
        let changed: usize = rows
            .iter()
            .map(|(key, row)| weight(key, row.as_ref()))
            .sum();
        let commits = usize::try_from(PASS_COMMITS).unwrap_or(usize::MAX);
        self.changed += changed;
        let share = (self.total + self.changed).div_ceil(commits).max(1);
        let budget = changed + share;
        let (mut again, mut bytes, mut cursor) = (Rows::new(), 0, None);
        self.ended = true;
        let ended = &mut self.ended;
        store.scan(&[], self.cursor.as_deref(), &mut |key, row| {
            if bytes >= budget {
                *ended = false;
                return false;
            }
            bytes += weight(key, Some(&row));
            cursor = Some(key.to_vec());
            if !rows.contains_key(key) {
                again.insert(key.to_vec(), Some(row));
            }
            true
        })?;
        self.cursor = cursor.or(self.cursor.take());
        self.seen += bytes;
        Ok(again)
    }

    /// Whether what is written with it begins a pass, as what lies at a floor does.
    pub(super) const fn is_first(&self) -> bool {
        self.began.is_none()
    }

    /// Notes where the slice was written; a floor if one is due, with which the next pass begins.
    pub(super) fn wrote(&mut self, first: Offset) -> Option<Offset> {
        let began = *self.began.get_or_insert(first);
        self.commits += 1;
        if !self.ended || self.commits < FLOOR_COMMITS {
            return None;
        }
        let total = self.seen + self.changed;
        *self = Self {
            total,
            ..Self::default()
        };
        Some(began)
    }
}
