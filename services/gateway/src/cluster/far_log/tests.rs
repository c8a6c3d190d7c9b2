use std::sync::atomic::{AtomicBool, Ordering};

use entente_core::{Fault, ShardId};
use entente_log::MemoryLog;
use entente_node::Drain;
use entente_proto::Intake;
use entente_proto::intake::Ephemeral;
use parking_lot::Mutex;

use super::*;

/// A node that keeps one log, and fails as it is told.
#[derive(Debug)]
struct Far {
    log: MemoryLog,
    /// What the next calls are answered; with `true`, after the records are in the log.
    faults: Mutex<Vec<(bool, FaultKind)>>,
    dead: AtomicBool,
}

impl Far {
    fn new(faults: &[(bool, FaultKind)]) -> Arc<Self> {
        Arc::new(Self {
            log: MemoryLog::new(2),
            faults: Mutex::new(faults.iter().rev().copied().collect()),
            dead: AtomicBool::new(false),
        })
    }

    async fn kept(&self) -> Vec<u8> {
        let records = self.log.read(1, Offset::default(), 1 << 20).await.unwrap();
        records.iter().map(|record| record.payload[0]).collect()
    }
}

#[async_trait]
impl Intake for Far {
    async fn append(
        &self,
        topic: Topic,
        partition: u32,
        records: Vec<Bytes>,
    ) -> Result<Taken, Fault> {
        assert_eq!((topic, partition), (Topic::Input, 1));
        if self.dead.load(Ordering::Relaxed) {
            return Err(Fault::new(FaultKind::Deadline, "lost"));
        }
        let fault = self.faults.lock().pop();
        if let Some((false, kind)) = fault {
            return Err(Fault::new(kind, "not taken"));
        }
        let appended = self.log.append(partition, records).await.unwrap();
        match fault {
            Some((true, kind)) => Err(Fault::new(kind, "taken, and the answer is lost")),
            _ => Ok(Taken {
                first: appended.first(),
                last: appended.last(),
                at: appended.at(),
            }),
        }
    }

    async fn pass(&self, _: ShardId, _: Vec<Ephemeral>) -> Result<(), Fault> {
        Ok(())
    }
}

fn beside(far: &Arc<Far>) -> (FarLog, Arc<MemoryLog>) {
    let near = Arc::new(MemoryLog::new(2));
    let intake = IntakeClient::local(Arc::<Far>::clone(far));
    let tasks = Tasks::new(Drain::new());
    let log: Arc<dyn Log> = Arc::<MemoryLog>::clone(&near);
    let log = FarLog::beside(log, BTreeSet::from([0]), &intake, &tasks);
    (log, near)
}

fn batch(bytes: &[u8]) -> Vec<Bytes> {
    bytes.iter().map(|byte| Bytes::from(vec![*byte])).collect()
}

#[tokio::test(start_paused = true)]
async fn each_partition_goes_to_who_keeps_it() {
    let far = Far::new(&[]);
    let (log, near) = beside(&far);
    let at_home = log.append(0, batch(&[1])).await.unwrap();
    assert_eq!((at_home.partition(), near.end(0)), (0, Offset::new(1)));
    let (first, second) = (log.append(1, batch(&[2, 3])), log.append(1, batch(&[4])));
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!(first.last(), Offset::new(1));
    assert_eq!(second.first(), Offset::new(2));
    assert_eq!(far.kept().await, [2, 3, 4]);
    assert_eq!((near.end(1), log.end(1)), Default::default());
    let unread = log.read(1, Offset::default(), 1).await;
    assert_eq!(unread, Err(LogError::UnknownPartition));
    let nowhere = log.append(2, batch(&[5])).await;
    assert_eq!(nowhere, Err(LogError::UnknownPartition));
}

#[tokio::test(start_paused = true)]
async fn what_was_not_answered_is_sent_again_in_order() {
    let far = Far::new(&[
        (true, FaultKind::Deadline),
        (false, FaultKind::Overloaded),
        (false, FaultKind::Unavailable),
    ]);
    let (log, _) = beside(&far);
    let appends = [log.append(1, batch(&[1])), log.append(1, batch(&[2]))];
    for append in appends {
        append.await.unwrap();
    }
    // The first call took what was there, and its answer was lost: the readers know repetitions.
    let kept = far.kept().await;
    let mut once = kept.clone();
    once.dedup();
    assert!(kept == [1, 1, 2] || kept == [1, 2, 1, 2], "{kept:?}");
    assert!(once.starts_with(&[1, 2]), "{once:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stays_away_is_told_apart_from_one_that_refuses() {
    let far = Far::new(&[]);
    let (log, _) = beside(&far);
    far.dead.store(true, Ordering::Relaxed);
    let begun = Instant::now();
    let lost = log.append(1, batch(&[1])).await;
    assert_eq!(lost, Err(LogError::UnknownOutcome));
    assert!(begun.elapsed() <= PATIENCE, "{:?}", begun.elapsed());
    let busy = Far::new(&[(false, FaultKind::Overloaded); 64]);
    let (log, _) = beside(&busy);
    assert_eq!(log.append(1, batch(&[1])).await, Err(LogError::Busy));
    let never = Far::new(&[(false, FaultKind::PeerMisbehaved)]);
    let (log, _) = beside(&never);
    assert_eq!(log.append(1, batch(&[1])).await, Err(LogError::TooLarge));
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_and_large_batches_go_in_parts() {
    let far = Far::new(&[]);
    let (log, _) = beside(&far);
    far.dead.store(true, Ordering::Relaxed);
    let appends: Vec<_> = (0..=WAITING + 1)
        .map(|_| log.append(1, batch(&[1])))
        .collect();
    let mut outcomes = Vec::new();
    for append in appends {
        outcomes.push(append.await);
    }
    assert_eq!(outcomes.last(), Some(&Err(LogError::Busy)));
    far.dead.store(false, Ordering::Relaxed);
    let large: Vec<Bytes> = (0..5_u8)
        .map(|byte| vec![byte; 300 * 1024].into())
        .collect();
    let appended = log.append(1, large).await.unwrap();
    assert_eq!(appended.last().value() - appended.first().value(), 4);
}
