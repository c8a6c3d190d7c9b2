//! Which shards a process is to own, as somebody else decides it.

use std::collections::BTreeSet;
use std::future::pending;

use entente_core::ShardId;
use tokio::sync::watch;

/// Which shards a process is to own. What it owns in truth its claims decide.
#[derive(Clone, Debug)]
pub enum Assignment {
    /// These, and nobody else does. A shard that another owner claims is not claimed back, which would
    /// only make the two take turns: the process ends.
    Fixed(BTreeSet<ShardId>),
    /// Those that were told last; none was told yet if there is none. Shards come and go.
    Told(watch::Receiver<Option<BTreeSet<ShardId>>>),
}

/// An assignment as it is followed.
#[derive(Clone, Debug)]
pub struct Assigned {
    told: watch::Receiver<Option<BTreeSet<ShardId>>>,
    is_fixed: bool,
}

impl Assigned {
    /// Begins to follow an assignment.
    pub fn new(assignment: Assignment) -> Self {
        match assignment {
            Assignment::Fixed(shards) => Self {
                told: watch::channel(Some(shards)).1,
                is_fixed: true,
            },
            Assignment::Told(told) => Self {
                told,
                is_fixed: false,
            },
        }
    }

    /// Whether it never changes, and nobody else owns the same.
    pub const fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// What was told last.
    pub fn told(&self) -> Option<BTreeSet<ShardId>> {
        self.told.borrow().clone()
    }

    /// Whether a shard is assigned to this process.
    pub fn has(&self, shard: ShardId) -> bool {
        let told = self.told.borrow();
        told.as_ref().is_some_and(|shards| shards.contains(&shard))
    }

    /// Waits until a shard is assigned to this process, or is not. Cancel safe.
    pub async fn until(&mut self, shard: ShardId, here: bool) {
        loop {
            self.told.mark_unchanged();
            if self.has(shard) == here {
                return;
            }
            self.changed().await;
        }
    }

    /// Waits until something else was told than at the last call, or at the last
    /// [`until`](Self::until). If whoever told is gone, it stays as it is. Cancel safe.
    pub async fn changed(&mut self) {
        if self.told.changed().await.is_err() {
            pending::<()>().await;
        }
    }
}
