//! Brokers whose disks are full, one and then two of three: `ENTENTE_KAFKA_DISK=96m ops/kafka up 3`.

use std::fs::{File, remove_file};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entente_core::Span;
use entente_kafka::{KafkaLog, Settings};
use entente_log::Log;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

use crate::broker::{open, settings, soon, told};
use crate::kill::{Outcomes, PARTITIONS, check, load, ops_kafka};
use crate::or_skip;

/// Appends go on for that long in each state of the disks.
const EACH: Duration = Duration::from_secs(5);
/// Longest that a batch is tried: less than the disks are full.
const DELIVERY: Span = Span::secs(4);
/// Nobody wants more of a small disk: a test on a large one fails before it harms.
const LARGEST: usize = 256 * 1024 * 1024;

fn missing() -> Option<&'static str> {
    let small = told("ENTENTE_KAFKA_DISKS").is_some();
    (!small).then_some("needs three brokers on small disks: run `ops/kafka test` as root")
}

fn filler(node: u8) -> PathBuf {
    let run = PathBuf::from(told("ENTENTE_KAFKA_DISKS").unwrap());
    run.join(format!("node{node}/data/filler"))
}

async fn fill(node: u8) {
    let fill = move || {
        let mut file = File::create(filler(node)).unwrap();
        for size in [1 << 20, 1 << 10, 1] {
            let zeros = vec![0; size];
            let mut left = LARGEST / size;
            while left > 0 {
                match file.write_all(&zeros) {
                    Ok(()) => left -= 1,
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
            }
            assert!(left > 0, "the disk of node {node} is not small");
        }
    };
    soon(spawn_blocking(fill)).await.unwrap();
}

/// Appends for a while, and says how many were acknowledged in it.
async fn acknowledged_in(log: &KafkaLog, span: Duration) -> u64 {
    let before = log.counts().acknowledged;
    sleep(span).await;
    log.counts().acknowledged - before
}

/// T147: a full disk takes its broker away and nothing that was acknowledged; a second one leaves too few
/// copies, so that nothing is acknowledged until there is room again.
#[tokio::test(flavor = "multi_thread")]
async fn full_disks_take_nothing_that_was_acknowledged() {
    or_skip!(missing());
    let settings = Settings {
        delivery: DELIVERY,
        ..settings()
    };
    let log = Arc::new(open(&settings).await);
    let ends = Arc::new(AtomicBool::new(false));
    let mut loads = JoinSet::new();
    for partition in 0..PARTITIONS {
        let load = load(Arc::clone(&log), partition, Arc::clone(&ends));
        loads.spawn(async move { (partition, load.await) });
    }
    let well = acknowledged_in(&log, EACH).await;
    fill(2).await;
    // The cluster takes its session to see it, and has two copies of each record from then on.
    let one_full = acknowledged_in(&log, 2 * EACH).await;
    fill(1).await;
    sleep(EACH).await;
    let two_full = acknowledged_in(&log, EACH).await;
    let health = log.health();
    for node in [1, 2] {
        remove_file(filler(node)).unwrap();
    }
    tokio::join!(ops_kafka(["start", "1"]), ops_kafka(["start", "2"]));
    soon(async { while acknowledged_in(&log, Duration::from_millis(500)).await == 0 {} }).await;
    ends.store(true, Ordering::Relaxed);
    let mut outcomes: Vec<(u32, Outcomes)> = Vec::new();
    while let Some(load) = loads.join_next().await {
        outcomes.push(load.unwrap());
    }
    let unknown = outcomes.iter().flat_map(|(_, all)| all);
    let unknown = unknown.filter(|outcome| outcome.is_err()).count();
    println!(
        "acknowledged: {well} well, {one_full} with one disk full, {two_full} with two; {unknown} of unknown outcome; {health:?}"
    );
    assert!(well > 1_000 && one_full > 100, "{well} {one_full}");
    assert_eq!(two_full, 0);
    assert!(unknown > 0);
    for (partition, outcomes) in &outcomes {
        let twice = check(&log, *partition, outcomes).await;
        // See the crate: what was under way is sent again in a new sequence.
        let of_acknowledged = twice.iter().filter(|n| outcomes[**n].is_ok()).count();
        println!(
            "partition {partition}: {} records more than once, {of_acknowledged} of them acknowledged",
            twice.len()
        );
    }
}
