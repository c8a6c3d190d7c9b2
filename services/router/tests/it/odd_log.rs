//! A log that does on command what a real one does at the worst moment.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::Offset;
use entente_log::{Append, Health, Log, LogError, MemoryLog, Record};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What it does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mood {
    /// Appends are answered so, and nothing is stored.
    pub(crate) refuse: Option<LogError>,
    /// So many appends from now on are answered "unknown", and nothing is stored.
    pub(crate) swallow: usize,
    /// That answer takes so long.
    pub(crate) slow_answer: Duration,
    /// Appends get no answer before [`OddLog::release`].
    pub(crate) hold: bool,
    /// The others do what they should.
    pub(crate) only: Option<u32>,
    /// Each read takes so long.
    pub(crate) slow_read: Duration,
    /// It says that it takes nothing, and why.
    pub(crate) unwell: Option<&'static str>,
}

/// A log in memory with moods.
#[derive(Debug)]
pub(crate) struct OddLog {
    inner: MemoryLog,
    mood: Mutex<Mood>,
    held: Mutex<Vec<oneshot::Sender<LogError>>>,
}

impl OddLog {
    pub(crate) fn new(inner: MemoryLog) -> Arc<Self> {
        Arc::new(Self {
            inner,
            mood: Mutex::default(),
            held: Mutex::default(),
        })
    }

    /// Appends that wait for an answer.
    pub(crate) fn held(&self) -> usize {
        self.held.lock().len()
    }

    /// Answers what was held, of which nothing is stored, and holds no more.
    pub(crate) fn release(&self, error: LogError) {
        self.set(|mood| mood.hold = false);
        for held in self.held.lock().drain(..) {
            held.send(error).unwrap();
        }
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Mood)) {
        change(&mut self.mood.lock());
    }
}

#[async_trait]
impl Log for OddLog {
    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    fn append(&self, partition: u32, batch: Vec<Bytes>) -> Append {
        let mut mood = self.mood.lock();
        if mood.only.is_some_and(|only| only != partition) {
            return self.inner.append(partition, batch);
        }
        if let Some(error) = mood.refuse {
            return Box::pin(std::future::ready(Err(error)));
        }
        if mood.hold {
            let (sender, answer) = oneshot::channel();
            self.held.lock().push(sender);
            return Box::pin(async move { Err(answer.await.unwrap()) });
        }
        if mood.swallow > 0 {
            mood.swallow -= 1;
            let slow = mood.slow_answer;
            return Box::pin(async move {
                if !slow.is_zero() {
                    tokio::time::sleep(slow).await;
                }
                Err(LogError::UnknownOutcome)
            });
        }
        self.inner.append(partition, batch)
    }

    async fn read(
        &self,
        partition: u32,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let (slow, only) = {
            let mood = self.mood.lock();
            (mood.slow_read, mood.only)
        };
        if only.is_none_or(|only| only == partition) && !slow.is_zero() {
            tokio::time::sleep(slow).await;
        }
        self.inner.read(partition, from, max_bytes).await
    }

    async fn readable(&self, partition: u32, from: Offset) -> Result<(), LogError> {
        self.inner.readable(partition, from).await
    }

    fn end(&self, partition: u32) -> Offset {
        self.inner.end(partition)
    }

    fn floor(&self, partition: u32) -> Offset {
        self.inner.floor(partition)
    }

    async fn raise_floor(&self, partition: u32, floor: Offset) -> Result<(), LogError> {
        let refuse = self.mood.lock().refuse;
        if let Some(error) = refuse {
            return Err(error);
        }
        self.inner.raise_floor(partition, floor).await
    }

    fn health(&self) -> Health {
        if let Some(reason) = self.mood.lock().unwell {
            return Health::Failed { reason };
        }
        self.inner.health()
    }
}
