//! The same through the log, as an owner of each partition uses it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_core::{Offset, SealKey};
use entente_kafka::{KafkaLog, TopicRules};
use entente_log::Log;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::figures::Figures;
use crate::{Due, Plan, due_of, wait_for};

/// Bytes that an owner reads at once.
const READ_BYTES: usize = 256 * 1024;
/// Longest that the last records of a round are waited for.
const LAST: Duration = Duration::from_secs(30);

/// A log, and how far each partition was read.
pub(crate) struct ThroughLog {
    runtime: Runtime,
    log: Arc<KafkaLog>,
    places: Vec<Offset>,
}

impl ThroughLog {
    pub(crate) fn open(plan: &Plan) -> Self {
        let runtime = Runtime::new().unwrap();
        let rules = TopicRules::of_log(&plan.settings, "log", plan.partitions);
        let log = KafkaLog::open(&plan.settings, &rules, SealKey::new(&[7; 32]));
        let log = Arc::new(runtime.block_on(log).unwrap());
        let places = (0..plan.partitions).map(|each| log.end(each)).collect();
        Self {
            runtime,
            log,
            places,
        }
    }

    pub(crate) fn run(&mut self, plan: &Plan, dues: &[Due]) -> Figures {
        let begin = Instant::now();
        let mut readers = JoinSet::new();
        for (partition, place) in (0..).zip(&self.places) {
            let count = dues.iter().filter(|due| due.partition == partition).count();
            let reads = read(Arc::clone(&self.log), partition, *place, count, begin);
            readers.spawn_on(reads, self.runtime.handle());
        }
        let mut appends = JoinSet::new();
        for due in dues {
            wait_for(begin, *due);
            let record = Bytes::from(plan.record(*due));
            let append = self.log.append(due.partition, vec![record]);
            let after = due.after;
            let acked = async move {
                append.await.unwrap();
                begin.elapsed() - after
            };
            appends.spawn_on(acked, self.runtime.handle());
        }
        let both = async {
            let mut read = Vec::with_capacity(dues.len());
            while let Some(ended) = readers.join_next().await {
                let (partition, place, latencies) = ended.unwrap();
                self.places[partition as usize] = place;
                read.extend(latencies);
            }
            (appends.join_all().await, read)
        };
        let both = async { tokio::time::timeout(LAST, both).await };
        let (acked, read) = self.runtime.block_on(both).expect("not all came");
        Figures::new(acked, read)
    }
}

async fn read(
    log: Arc<KafkaLog>,
    partition: u32,
    mut place: Offset,
    count: usize,
    begin: Instant,
) -> (u32, Offset, Vec<Duration>) {
    let mut latencies = Vec::with_capacity(count);
    while latencies.len() < count {
        log.readable(partition, place).await.unwrap();
        for record in log.read(partition, place, READ_BYTES).await.unwrap() {
            latencies.push(begin.elapsed() - due_of(&record.payload));
            place = Offset::new(record.offset.value() + 1);
        }
    }
    (partition, place, latencies)
}
