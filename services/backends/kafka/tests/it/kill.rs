//! One of three brokers is killed while appends are under way.
//!
//! Runs only against three brokers of `ops/kafka`, and alone: others' topics have a copy there too.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use entente_core::{Offset, Span};
use entente_kafka::{KafkaLog, Settings};
use entente_log::{Log, LogError};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

use crate::broker::{brokers, open, rules, settings, soon};
use crate::or_skip;

pub(crate) const PARTITIONS: u32 = 3;
/// Between two appends to a partition: about 1000 a second in all.
const PACE: Duration = Duration::from_millis(3);
/// Appends before the kill, and after the broker is back.
const QUIET: Duration = Duration::from_secs(2);
/// With one broker gone: longer than the cluster takes to see it.
const GONE: Duration = Duration::from_secs(8);
/// Longest that a look at the cluster may take.
const LOOK: Duration = Duration::from_secs(15);

pub(crate) fn missing() -> Option<&'static str> {
    let three = brokers().is_some_and(|brokers| brokers.split(',').count() == 3);
    (!three).then_some("needs three brokers: run `ops/kafka test`")
}

pub(crate) async fn ops_kafka(arguments: [&'static str; 2]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../ops/kafka");
    let run = move || Command::new(script).args(arguments).status().unwrap();
    assert!(soon(spawn_blocking(run)).await.unwrap().success());
}

/// What became of each append to a partition, in the order of the calls.
pub(crate) type Outcomes = Vec<Result<Offset, LogError>>;

pub(crate) async fn load(log: Arc<KafkaLog>, partition: u32, ends: Arc<AtomicBool>) -> Outcomes {
    let mut waiting = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        let batch = vec![Bytes::from(format!("{partition} {}", waiting.len()))];
        waiting.push(log.append(partition, batch));
        sleep(PACE).await;
    }
    let mut outcomes = Vec::new();
    for append in waiting {
        outcomes.push(soon(append).await.map(|appended| appended.first()));
    }
    outcomes
}

/// T143: a broker that is killed in the middle of appends takes none that was acknowledged, and changes
/// no order.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_takes_nothing_that_was_acknowledged() {
    or_skip!(missing());
    let settings = Settings {
        delivery: Span::secs(60),
        ..settings()
    };
    let log = Arc::new(open(&settings).await);
    let ends = Arc::new(AtomicBool::new(false));
    let mut loads = JoinSet::new();
    for partition in 0..PARTITIONS {
        let load = load(Arc::clone(&log), partition, Arc::clone(&ends));
        loads.spawn(async move { (partition, load.await) });
    }
    sleep(QUIET).await;
    ops_kafka(["kill", "2"]).await;
    sleep(GONE).await;
    ops_kafka(["start", "2"]).await;
    sleep(QUIET).await;
    ends.store(true, Ordering::Relaxed);
    let mut appends = 0;
    let mut unknown = 0;
    while let Some(load) = loads.join_next().await {
        let (partition, outcomes) = load.unwrap();
        appends += outcomes.len();
        unknown += outcomes.iter().filter(|outcome| outcome.is_err()).count();
        let twice = check(&log, partition, &outcomes).await;
        assert!(twice.is_empty(), "{partition}: twice there: {twice:?}");
    }
    let counts = log.counts();
    println!("{appends} appends, {unknown} of unknown outcome, {counts:?}");
    assert!(appends > 1_000, "{appends}");
}

/// A broker that comes back leads nothing at first. Who asked it to let records go before, asks its
/// successor then, and the floor of no partition stays.
#[tokio::test(flavor = "multi_thread")]
async fn floors_rise_after_a_killed_broker_is_back() {
    or_skip!(missing());
    let settings = settings();
    let log = open(&settings).await;
    for partition in 0..PARTITIONS {
        let batch = vec![Bytes::from_static(b"gone"), Bytes::from_static(b"kept")];
        soon(log.append(partition, batch)).await.unwrap();
        let floor = log.raise_floor(partition, Offset::new(1));
        soon(floor).await.unwrap();
    }
    ops_kafka(["kill", "2"]).await;
    for partition in 0..PARTITIONS {
        // Acknowledged once somebody else leads.
        let batch = vec![Bytes::from_static(b"kept too")];
        soon(log.append(partition, batch)).await.unwrap();
    }
    ops_kafka(["start", "2"]).await;
    soon(in_sync(&settings)).await;
    for partition in 0..PARTITIONS {
        let floor = log.raise_floor(partition, Offset::new(2));
        soon(floor).await.unwrap();
        assert_eq!(log.floor(partition), Offset::new(2));
    }
}

/// Waits until each partition has all of its copies in sync: a floor waits for each copy.
async fn in_sync(settings: &Settings) {
    let (bootstrap, topic) = (settings.bootstrap(), rules(settings).name);
    let wait = move || {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap);
        let client: BaseConsumer = config.create().unwrap();
        loop {
            let told = client.fetch_metadata(Some(&topic), LOOK).unwrap();
            let topic = told.topics().first().unwrap();
            let mut partitions = topic.partitions().iter();
            if partitions.all(|each| each.isr().len() == each.replicas().len()) {
                return;
            }
            std::thread::sleep(PACE);
        }
    };
    spawn_blocking(wait).await.unwrap();
}

/// Every acknowledged record is at its offset, and none before an earlier one. Returns the numbers of
/// appends whose record is more than once there.
pub(crate) async fn check(log: &KafkaLog, partition: u32, outcomes: &Outcomes) -> Vec<usize> {
    let mut stored = Vec::new();
    let mut next = Offset::new(0);
    while next < log.end(partition) {
        for record in soon(log.read(partition, next, 1 << 20)).await.unwrap() {
            next = record.offset.next();
            stored.push((record.offset, record.payload));
        }
    }
    let mut last = None;
    for (n, outcome) in outcomes.iter().enumerate() {
        let Ok(offset) = outcome else { continue };
        assert!(
            last < Some(*offset),
            "the order of partition {partition} at {n}"
        );
        last = Some(*offset);
        let found = stored.binary_search_by_key(offset, |(offset, _)| *offset);
        let (_, payload) = &stored[found.unwrap()];
        assert_eq!(*payload, format!("{partition} {n}"));
    }
    let mut seen = vec![0; outcomes.len()];
    let mut last = None;
    for (_, payload) in &stored {
        let text = std::str::from_utf8(payload).unwrap();
        let (_, n) = text.split_once(' ').unwrap();
        let n: usize = n.parse().unwrap();
        seen[n] += 1;
        // Who takes each record at its first sight has the order of the appends.
        if seen[n] == 1 && outcomes[n].is_ok() {
            assert!(last < Some(n), "partition {partition}: {n} after {last:?}");
            last = Some(n);
        }
    }
    (0..outcomes.len()).filter(|n| seen[*n] > 1).collect()
}
