//! Between a process and its disks: what a killed process still does changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::Offset;
use entente_log::{Append, Health, Log, LogError, Record};
use entente_shard::{Rows, StateStore, StoreError};

use crate::gateway::Disks;

/// The power of one process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Power(Arc<AtomicBool>);

impl Power {
    pub(crate) fn cut(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_cut(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// A log as a process sees it that hangs on this power.
    pub(crate) fn log(&self, log: &Arc<dyn Log>) -> Arc<dyn Log> {
        Arc::new(PluggedLog(self.clone(), Arc::clone(log)))
    }

    /// The disks as a process sees them that hangs on this power.
    pub(crate) fn plug(&self, disks: &Disks) -> Disks {
        let stores = disks.stores.iter().map(|(shard, store)| {
            let store: Arc<dyn StateStore> =
                Arc::new(PluggedStore(self.clone(), Arc::clone(store)));
            (*shard, store)
        });
        Disks {
            log: self.log(&disks.log),
            wake: self.log(&disks.wake),
            stores: stores.collect::<BTreeMap<_, _>>(),
        }
    }
}

#[derive(Debug)]
struct PluggedLog(Power, Arc<dyn Log>);

#[async_trait]
impl Log for PluggedLog {
    fn partitions(&self) -> u32 {
        self.1.partitions()
    }

    fn append(&self, partition: u32, batch: Vec<Bytes>) -> Append {
        if self.0.is_cut() {
            return Box::pin(std::future::ready(Err(LogError::Closed)));
        }
        self.1.append(partition, batch)
    }

    async fn read(
        &self,
        partition: u32,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        if self.0.is_cut() {
            return Err(LogError::Closed);
        }
        self.1.read(partition, from, max_bytes).await
    }

    async fn readable(&self, partition: u32, from: Offset) -> Result<(), LogError> {
        self.1.readable(partition, from).await
    }

    fn end(&self, partition: u32) -> Offset {
        self.1.end(partition)
    }

    fn floor(&self, partition: u32) -> Offset {
        self.1.floor(partition)
    }

    async fn raise_floor(&self, partition: u32, floor: Offset) -> Result<(), LogError> {
        if self.0.is_cut() {
            return Err(LogError::Closed);
        }
        self.1.raise_floor(partition, floor).await
    }

    fn health(&self) -> Health {
        self.1.health()
    }
}

#[derive(Debug)]
struct PluggedStore(Power, Arc<dyn StateStore>);

impl PluggedStore {
    fn check(&self) -> Result<(), StoreError> {
        if self.0.is_cut() {
            return Err(StoreError::Failed("no power".into()));
        }
        Ok(())
    }
}

impl StateStore for PluggedStore {
    fn row(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.check()?;
        self.1.row(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], Bytes) -> bool,
    ) -> Result<(), StoreError> {
        self.check()?;
        self.1.scan(prefix, after, visit)
    }

    fn commit(&self, replay_from: Offset, rows: &Rows) -> Result<(), StoreError> {
        self.check()?;
        self.1.commit(replay_from, rows)
    }

    fn replay_from(&self) -> Result<Offset, StoreError> {
        self.check()?;
        self.1.replay_from()
    }
}
