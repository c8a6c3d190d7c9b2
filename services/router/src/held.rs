//! Which shards are here: what owners say and everybody else asks.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use entente_core::{Epoch, ShardId};
use tokio::sync::watch;

/// Somebody else's.
const ABSENT: u64 = 0;
/// Being taken over: whoever calls waits.
const TAKING: u64 = u64::MAX;

/// See the module.
#[derive(Debug)]
pub(crate) struct Held {
    epochs: Vec<AtomicU64>,
    changes: watch::Sender<()>,
}

impl Held {
    pub(crate) fn new(shards: u32) -> Self {
        Self {
            epochs: (0..shards).map(|_| AtomicU64::new(ABSENT)).collect(),
            changes: watch::Sender::new(()),
        }
    }

    fn set(&self, shard: ShardId, to: u64) {
        if let Some(epoch) = self.epoch(shard) {
            epoch.store(to, Ordering::Release);
            self.changes.send_replace(());
        }
    }

    fn epoch(&self, shard: ShardId) -> Option<&AtomicU64> {
        let at = usize::try_from(shard.index()).ok()?;
        self.epochs.get(at)
    }

    pub(crate) fn taking(&self, shard: ShardId) {
        self.set(shard, TAKING);
    }

    pub(crate) fn serving(&self, shard: ShardId, epoch: Epoch) {
        self.set(shard, epoch.value());
    }

    pub(crate) fn released(&self, shard: ShardId) {
        self.set(shard, ABSENT);
    }

    /// Whether calls for a shard are for this router.
    pub(crate) fn has(&self, shard: ShardId) -> bool {
        let epoch = self.epoch(shard);
        epoch.is_some_and(|epoch| epoch.load(Ordering::Acquire) != ABSENT)
    }

    /// Every shard that is here, with the epoch of its owner; 0 for one that is being taken over.
    pub(crate) fn all(&self) -> Vec<(ShardId, Epoch)> {
        let epochs = (0..).map(ShardId::new).zip(&self.epochs);
        let here = epochs.filter_map(|(shard, epoch)| match epoch.load(Ordering::Acquire) {
            ABSENT => None,
            TAKING => Some((shard, Epoch::default())),
            epoch => Some((shard, Epoch::new(epoch))),
        });
        here.collect()
    }

    fn serves(&self, shards: &BTreeSet<ShardId>) -> bool {
        shards.iter().all(|shard| {
            let epoch = self.epoch(*shard);
            let epoch = epoch.map(|epoch| epoch.load(Ordering::Acquire));
            epoch.is_some_and(|epoch| epoch != ABSENT && epoch != TAKING)
        })
    }

    /// Waits until all of these are served here. Cancel safe.
    pub(crate) async fn until_serving(&self, shards: &BTreeSet<ShardId>) {
        self.until(|| self.serves(shards)).await;
    }

    /// Waits until no shard is here. Cancel safe.
    pub(crate) async fn until_empty(&self) {
        self.until(|| self.all().is_empty()).await;
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        let mut changes = self.changes.subscribe();
        while !holds() {
            // The sender is in `self`.
            let _always_ok = changes.changed().await;
        }
    }
}
