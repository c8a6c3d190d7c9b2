//! A log some of whose partitions are kept by other nodes.
//!
//! In: appends. Out: for partitions of this node the log that it keeps; for others, calls to the
//! nodes that keep them, one at a time for each partition, which take what gathered meanwhile.
//! Only what is kept here can be read here.
//!
//! What a call was told nothing about is sent again: the record may then be there twice, which
//! readers of both logs know (`entente_proto::intake`). So an outcome becomes unknown only when the
//! patience is over.
//!
//! **Invariants**
//! - Batches for one partition arrive in the order of the calls, whatever is repeated.
//! - What waits is bounded by [`WAITING`] batches a partition, and by who appends.
//! - No batch waits longer than [`PATIENCE`] and one call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{FaultKind, Offset};
use entente_log::{Append, Appended, Health, Log, LogError, Record};
use entente_node::Tasks;
use entente_proto::IntakeClient;
use entente_proto::intake::{Taken, Topic};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

/// Batches that may wait for one partition. An owner has one for each target and turn; what is
/// behind it waits with the owner.
const WAITING: usize = 256;
/// How long a batch may wait for a node that does not take it: longer than a restart, shorter than
/// it would take to fill an owner's memory of what it has appended (`router.append_bytes`).
const PATIENCE: Duration = Duration::from_secs(5);
/// First pause before a call is repeated; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Bytes of records in one call, below what one message may have (`entente_proto::wire`).
const CALL_BYTES: usize = 768 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct FarLog {
    near: Option<Arc<dyn Log>>,
    owned: BTreeSet<u32>,
    partitions: u32,
    far: BTreeMap<u32, mpsc::Sender<Batch>>,
}

/// One append under way.
#[derive(Debug)]
struct Batch {
    records: Vec<Bytes>,
    since: Instant,
    outcome: oneshot::Sender<Result<Taken, LogError>>,
}

impl FarLog {
    /// The input: `near` has the partitions in `owned`, other nodes the rest.
    pub(super) fn beside(
        near: Arc<dyn Log>,
        owned: BTreeSet<u32>,
        intake: &IntakeClient,
        tasks: &Tasks,
    ) -> Self {
        let partitions = near.partitions();
        let others = (0..partitions).filter(|partition| !owned.contains(partition));
        let far = others.map(|partition| (partition, send(Topic::Input, partition, intake, tasks)));
        Self {
            far: far.collect(),
            near: Some(near),
            owned,
            partitions,
        }
    }

    /// The wake-ups, of which this node keeps none.
    pub(super) fn wake(partitions: u32, intake: &IntakeClient, tasks: &Tasks) -> Self {
        let far = (0..partitions).map(|each| (each, send(Topic::Wake, each, intake, tasks)));
        Self {
            near: None,
            owned: BTreeSet::new(),
            partitions,
            far: far.collect(),
        }
    }

    fn kept(&self, partition: u32) -> Option<&Arc<dyn Log>> {
        let near = self.near.as_ref();
        near.filter(|_| self.owned.contains(&partition))
    }
}

#[async_trait]
impl Log for FarLog {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn append(&self, partition: u32, batch: Vec<Bytes>) -> Append {
        if let Some(near) = self.kept(partition) {
            return near.append(partition, batch);
        }
        let (outcome, told) = oneshot::channel();
        let queued = match self.far.get(&partition) {
            _ if batch.is_empty() => Err(LogError::EmptyBatch),
            None => Err(LogError::UnknownPartition),
            Some(queue) => {
                let batch = Batch {
                    records: batch,
                    since: Instant::now(),
                    outcome,
                };
                queue.try_send(batch).map_err(|error| match error {
                    mpsc::error::TrySendError::Full(_) => LogError::Busy,
                    mpsc::error::TrySendError::Closed(_) => LogError::Closed,
                })
            }
        };
        Box::pin(async move {
            queued?;
            let taken = told.await.map_err(|_| LogError::UnknownOutcome)??;
            let Taken { first, last, at } = taken;
            Ok(Appended::new(partition, first, last, at))
        })
    }

    async fn read(
        &self,
        partition: u32,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let near = self.kept(partition).ok_or(LogError::UnknownPartition)?;
        near.read(partition, from, max_bytes).await
    }

    async fn readable(&self, partition: u32, from: Offset) -> Result<(), LogError> {
        let near = self.kept(partition).ok_or(LogError::UnknownPartition)?;
        near.readable(partition, from).await
    }

    async fn refresh(&self, partition: u32) -> Result<(), LogError> {
        match self.kept(partition) {
            Some(near) => near.refresh(partition).await,
            None => Ok(()),
        }
    }

    fn unfollow(&self, partition: u32) {
        if let Some(near) = self.kept(partition) {
            near.unfollow(partition);
        }
    }

    async fn latest(&self, partition: u32) -> Result<Offset, LogError> {
        let near = self.kept(partition).ok_or(LogError::UnknownPartition)?;
        near.latest(partition).await
    }

    fn end(&self, partition: u32) -> Offset {
        let near = self.kept(partition);
        near.map(|near| near.end(partition)).unwrap_or_default()
    }

    fn floor(&self, partition: u32) -> Offset {
        let near = self.kept(partition);
        near.map(|near| near.floor(partition)).unwrap_or_default()
    }

    async fn raise_floor(&self, partition: u32, floor: Offset) -> Result<(), LogError> {
        let near = self.kept(partition).ok_or(LogError::UnknownPartition)?;
        near.raise_floor(partition, floor).await
    }

    /// That of what is kept here: the others' health is theirs to tell.
    fn health(&self) -> Health {
        self.near.as_ref().map_or(Health::Ok, |near| near.health())
    }
}

/// Starts the task that sends what is for one partition.
fn send(topic: Topic, partition: u32, intake: &IntakeClient, tasks: &Tasks) -> mpsc::Sender<Batch> {
    let (queue, waiting) = mpsc::channel(WAITING);
    let sender = Sender {
        topic,
        partition,
        intake: intake.clone(),
    };
    let cancelled = tasks.cancelled();
    tasks.spawn("far appends", async move {
        cancelled.run_until_cancelled(sender.run(waiting)).await;
    });
    queue
}

/// Sends the batches of one partition, in order.
struct Sender {
    topic: Topic,
    partition: u32,
    intake: IntakeClient,
}

impl Sender {
    async fn run(self, mut waiting: mpsc::Receiver<Batch>) {
        let mut next = None;
        loop {
            let first = match next.take() {
                Some(batch) => batch,
                None => match waiting.recv().await {
                    Some(batch) => batch,
                    None => return,
                },
            };
            let mut bytes = size(&first.records);
            let mut group = vec![first];
            while let Ok(batch) = waiting.try_recv() {
                bytes += size(&batch.records);
                if bytes > CALL_BYTES {
                    next = Some(batch);
                    break;
                }
                group.push(batch);
            }
            self.carry(group).await;
        }
    }

    /// Appends the batches of a group together, and tells each what became of it.
    async fn carry(&self, mut group: Vec<Batch>) {
        let counts: Vec<usize> = group.iter().map(|batch| batch.records.len()).collect();
        let since = group.first().map_or_else(Instant::now, |first| first.since);
        let records = group
            .iter_mut()
            .flat_map(|batch| std::mem::take(&mut batch.records));
        let outcome = self.append(records.collect(), since + PATIENCE).await;
        let mut first = outcome.map(|taken| taken.first);
        let mut rest = group.len();
        for (batch, count) in group.into_iter().zip(counts) {
            rest -= 1;
            let count = u64::try_from(count).unwrap_or_default();
            let part = outcome.and_then(|taken| {
                let first = first?;
                let last = Offset::new(first.value() + count.saturating_sub(1));
                Ok(Taken {
                    first,
                    // A batch that went in several calls may have others between its records.
                    last: if rest == 0 { taken.last } else { last },
                    at: taken.at,
                })
            });
            first = part.map(|part| part.last.next());
            // An appender that is gone has no use for it.
            let _gone = batch.outcome.send(part);
        }
    }

    async fn append(&self, records: Vec<Bytes>, until: Instant) -> Result<Taken, LogError> {
        let mut whole: Option<Taken> = None;
        let mut rest = records.as_slice();
        while !rest.is_empty() {
            let count = fitting(rest);
            let (head, tail) = rest.split_at(count);
            let taken = self.until_taken(head, until).await;
            let taken = match (taken, whole) {
                // Some of it is there.
                (Err(_), Some(_)) => return Err(LogError::UnknownOutcome),
                (taken, _) => taken?,
            };
            whole = Some(Taken {
                first: whole.map_or(taken.first, |whole| whole.first),
                ..taken
            });
            rest = tail;
        }
        whole.ok_or(LogError::EmptyBatch)
    }

    /// Calls until the records are taken, or the patience is over.
    async fn until_taken(&self, records: &[Bytes], until: Instant) -> Result<Taken, LogError> {
        let mut pause = FIRST_PAUSE;
        let mut perhaps = false;
        loop {
            let called = self
                .intake
                .append(self.topic, self.partition, records.to_vec());
            let error = match called.await {
                Ok(taken) => return Ok(taken),
                Err(fault) => match fault.kind() {
                    FaultKind::Overloaded => LogError::Busy,
                    FaultKind::PeerMisbehaved => return Err(LogError::TooLarge),
                    FaultKind::Conflict | FaultKind::Unavailable => LogError::Unavailable,
                    _ => {
                        perhaps = true;
                        LogError::UnknownOutcome
                    }
                },
            };
            if Instant::now() + pause >= until {
                return Err(if perhaps {
                    LogError::UnknownOutcome
                } else {
                    error
                });
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// How many of the records go in one call: at least one.
fn fitting(records: &[Bytes]) -> usize {
    let mut bytes = 0;
    let fits = |record: &&Bytes| {
        bytes += record.len();
        bytes <= CALL_BYTES
    };
    records.iter().take_while(fits).count().max(1)
}

fn size(records: &[Bytes]) -> usize {
    records.iter().map(Bytes::len).sum()
}

#[cfg(test)]
mod tests;
