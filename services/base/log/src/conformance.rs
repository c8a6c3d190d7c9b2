//! What every implementation of [`Log`] has to do, as one suite.
//!
//! `entente_log::conformance!(name, subject)` makes a module of tests. The suite grants what the port
//! grants: offsets may have holes, and a batch may be stored twice.
#![expect(
    clippy::unwrap_used,
    reason = "a suite of tests: a failed unwrap is a failed test"
)]

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{Offset, Timestamp};
use tokio::task::JoinSet;

use crate::{Health, Log, LogError, Record, Tail};

/// An implementation under test.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Opens an empty log with at least three partitions.
    async fn open(&self) -> Arc<dyn Log>;

    /// Closes the log and opens what is stored, if the log outlives its process.
    async fn reopen(&self, log: Arc<dyn Log>) -> Option<Arc<dyn Log>> {
        drop(log);
        None
    }
}

/// Runs the suite against `$subject`, an expression for a [`Subject`](crate::conformance::Subject).
///
/// With `unless $why`, an `Option` of a text, each test says that text and ends if there is one: for
/// what needs something that is not there on every machine.
#[macro_export]
macro_rules! conformance {
    ($name:ident, $subject:expr) => {
        $crate::conformance!($name, $subject, unless None::<&str>);
    };
    ($name:ident, $subject:expr, unless $why:expr) => {
        $crate::conformance!(@cases $name, $subject, $why, [
            a_batch_is_stored_in_order,
            a_dropped_append_is_stored_in_its_turn,
            an_acknowledged_record_is_readable,
            an_empty_batch_is_refused,
            append_times_never_go_back,
            appends_are_in_the_order_of_calls,
            floors_only_rise,
            many_appenders_keep_their_own_order,
            large_records_pass,
            partitions_are_apart,
            readable_waits_for_the_record,
            reads_are_bounded_but_never_stuck,
            stored_records_outlive_the_process,
            tails_follow,
            unknown_partitions_are_refused,
        ]);
    };
    (@cases $name:ident, $subject:expr, $why:expr, [$($case:ident),* $(,)?]) => {
        mod $name {
            #[expect(unused_imports, reason = "the subject may need nothing of its surroundings")]
            use super::*;

            $(
                #[tokio::test]
                async fn $case() {
                    if let Some(why) = $why {
                        println!("skipped: {why}");
                        return;
                    }
                    $crate::conformance::$case(&$subject).await;
                }
            )*
        }
    };
}

/// Longest that anything in the suite may take.
const DEADLINE: Duration = Duration::from_secs(60);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.unwrap()
}

fn text(words: &[&str]) -> Vec<Bytes> {
    words
        .iter()
        .map(|word| Bytes::copy_from_slice(word.as_bytes()))
        .collect()
}

/// All there is from `from` on, with rising offsets.
async fn read_all(log: &dyn Log, partition: u32, from: Offset) -> Vec<Record> {
    let mut next = from;
    let mut all = Vec::new();
    loop {
        let batch = soon(log.read(partition, next, 1000)).await.unwrap();
        let Some(last) = batch.last() else {
            return all;
        };
        for record in &batch {
            assert!(record.offset >= next, "offsets rise");
            next = record.offset.next();
        }
        assert_eq!(next, last.offset.next());
        all.extend(batch);
    }
}

/// The payloads in order, the first of each: a batch may be stored twice.
fn distinct(records: Vec<Record>) -> Vec<Bytes> {
    let mut seen = HashSet::new();
    let payloads = records.into_iter().map(|record| record.payload);
    payloads
        .filter(|payload| seen.insert(payload.clone()))
        .collect()
}

async fn stored(log: &dyn Log, partition: u32) -> Vec<Bytes> {
    distinct(read_all(log, partition, log.floor(partition)).await)
}

/// The records of a batch follow one another.
pub async fn a_batch_is_stored_in_order(subject: &dyn Subject) {
    let log = subject.open().await;
    let appended = soon(log.append(1, text(&["a", "b", "c"]))).await.unwrap();
    assert_eq!(appended.partition(), 1);
    assert!(appended.last().value() >= appended.first().value() + 2);
    let again = soon(log.append(1, text(&["d"]))).await.unwrap();
    assert!(again.first() > appended.last());
    assert_eq!(again.first(), again.last());
    assert_eq!(stored(&*log, 1).await, text(&["a", "b", "c", "d"]));
    let from = read_all(&*log, 1, appended.last()).await;
    assert_eq!(
        from.first().unwrap().payload,
        "c",
        "an offset names its record"
    );
}

/// Dropping the future takes nothing back and changes no order.
pub async fn a_dropped_append_is_stored_in_its_turn(subject: &dyn Subject) {
    let log = subject.open().await;
    drop(log.append(0, text(&["dropped"])));
    soon(log.append(0, text(&["kept"]))).await.unwrap();
    assert_eq!(stored(&*log, 0).await, text(&["dropped", "kept"]));
}

/// What was acknowledged is below the end and can be read at once.
pub async fn an_acknowledged_record_is_readable(subject: &dyn Subject) {
    let log = subject.open().await;
    assert_eq!(log.health(), Health::Ok);
    for n in 0..50 {
        let payload = Bytes::from(format!("{n}"));
        let appended = soon(log.append(2, vec![payload.clone()])).await.unwrap();
        assert!(log.end(2) > appended.last());
        assert!(soon(log.latest(2)).await.unwrap() > appended.last());
        soon(log.readable(2, appended.first())).await.unwrap();
        let read = soon(log.read(2, appended.first(), 1)).await.unwrap();
        assert_eq!(read.first().unwrap().payload, payload);
        assert_eq!(read.first().unwrap().offset, appended.first());
    }
}

/// There is nothing to acknowledge in an empty batch.
pub async fn an_empty_batch_is_refused(subject: &dyn Subject) {
    let log = subject.open().await;
    assert_eq!(
        soon(log.append(0, Vec::new())).await,
        Err(LogError::EmptyBatch)
    );
    soon(log.append(0, text(&["one"]))).await.unwrap();
}

/// Fold time rests on it.
pub async fn append_times_never_go_back(subject: &dyn Subject) {
    let log = subject.open().await;
    let mut last = Timestamp::default();
    for _ in 0..20 {
        let appended = soon(log.append(0, text(&["x"]))).await.unwrap();
        assert!(appended.at() >= last);
        last = appended.at();
    }
    let records = read_all(&*log, 0, Offset::new(0)).await;
    assert!(records.is_sorted_by_key(|record| record.appended));
    assert_eq!(records.last().unwrap().appended, last);
}

/// Submission is by the call, not by the first poll.
pub async fn appends_are_in_the_order_of_calls(subject: &dyn Subject) {
    let log = subject.open().await;
    let first = log.append(0, text(&["first"]));
    let second = log.append(0, text(&["second"]));
    let second = soon(second).await.unwrap();
    let first = soon(first).await.unwrap();
    assert!(first.last() < second.first());
    assert_eq!(stored(&*log, 0).await, text(&["first", "second"]));
}

/// Below the floor is an error, not silence; a floor never falls and never passes the end.
pub async fn floors_only_rise(subject: &dyn Subject) {
    let log = subject.open().await;
    let mut offsets = Vec::new();
    for n in 0..10 {
        let appended = soon(log.append(0, text(&[&format!("{n}")]))).await.unwrap();
        offsets.push(appended.first());
    }
    let (third, sixth) = (*offsets.get(3).unwrap(), *offsets.get(6).unwrap());
    soon(log.raise_floor(0, sixth)).await.unwrap();
    assert_eq!(log.floor(0), sixth);
    soon(log.raise_floor(0, third)).await.unwrap();
    assert_eq!(log.floor(0), sixth, "a floor does not fall");
    let gone = soon(log.read(0, third, 1000)).await;
    assert_eq!(gone, Err(LogError::Truncated { floor: sixth }));
    soon(log.readable(0, third)).await.unwrap();
    assert_eq!(stored(&*log, 0).await, text(&["6", "7", "8", "9"]));

    soon(log.raise_floor(0, Offset::new(u64::MAX)))
        .await
        .unwrap();
    assert_eq!(log.floor(0), log.end(0), "a floor does not pass the end");
    assert!(stored(&*log, 0).await.is_empty());
    let appended = soon(log.append(0, text(&["after"]))).await.unwrap();
    assert!(appended.first() >= log.floor(0));
    assert_eq!(stored(&*log, 0).await, text(&["after"]));
}

/// Appenders of one partition may interleave, but each keeps its own order.
pub async fn many_appenders_keep_their_own_order(subject: &dyn Subject) {
    const APPENDERS: u32 = 8;
    const BATCHES: u32 = 40;
    let log = subject.open().await;
    let mut tasks = JoinSet::new();
    for appender in 0..APPENDERS {
        let log = Arc::clone(&log);
        tasks.spawn(async move {
            let batch = |n: u32| (0..3).map(move |k| Bytes::from(format!("{appender} {n} {k}")));
            let waiting: Vec<_> = (0..BATCHES)
                .map(|n| log.append(appender % 2, batch(n).collect()))
                .collect();
            for append in waiting {
                soon(append).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    for partition in 0..2 {
        let all = stored(&*log, partition).await;
        for appender in (0..APPENDERS).filter(|appender| appender % 2 == partition) {
            let prefix = format!("{appender} ");
            let own: Vec<_> = all
                .iter()
                .filter(|p| p.starts_with(prefix.as_bytes()))
                .cloned()
                .collect();
            let wanted: Vec<_> = (0..BATCHES)
                .flat_map(|n| (0..3).map(move |k| Bytes::from(format!("{appender} {n} {k}"))))
                .collect();
            assert_eq!(own, wanted);
        }
    }
}

/// A quarter of a mebibyte is not special, nor is an empty payload.
pub async fn large_records_pass(subject: &dyn Subject) {
    let log = subject.open().await;
    let large = Bytes::from(vec![0x5a; 256 * 1024]);
    let batch = vec![Bytes::new(), large.clone(), Bytes::from_static(b"small")];
    soon(log.append(0, batch.clone())).await.unwrap();
    assert_eq!(stored(&*log, 0).await, batch);
}

/// What is appended to one partition is in no other.
pub async fn partitions_are_apart(subject: &dyn Subject) {
    let log = subject.open().await;
    assert!(log.partitions() >= 3);
    for n in 0..9u32 {
        let payload = format!("{n}");
        soon(log.append(n % 3, text(&[&payload]))).await.unwrap();
    }
    assert_eq!(stored(&*log, 0).await, text(&["0", "3", "6"]));
    assert_eq!(stored(&*log, 1).await, text(&["1", "4", "7"]));
    assert_eq!(stored(&*log, 2).await, text(&["2", "5", "8"]));
    soon(log.raise_floor(1, log.end(1))).await.unwrap();
    assert_eq!(stored(&*log, 2).await, text(&["2", "5", "8"]));
}

/// A level: pending while there is nothing, and at once when there is.
pub async fn readable_waits_for_the_record(subject: &dyn Subject) {
    let log = subject.open().await;
    let from = log.end(0);
    let waiter = Arc::clone(&log);
    let mut waiters = JoinSet::new();
    waiters.spawn(async move { waiter.readable(0, from).await });
    tokio::task::yield_now().await;
    soon(log.append(1, text(&["elsewhere"]))).await.unwrap();
    assert!(waiters.try_join_next().is_none(), "nothing to read yet");
    let appended = soon(log.append(0, text(&["here"]))).await.unwrap();
    assert_eq!(soon(waiters.join_next()).await.unwrap().unwrap(), Ok(()));
    soon(log.readable(0, from)).await.unwrap();
    let beyond = soon(log.read(0, log.end(0), 1000)).await.unwrap();
    assert!(beyond.is_empty() && log.end(0) > appended.last());
}

/// Reads stop at the bound, but a record larger than it still comes.
pub async fn reads_are_bounded_but_never_stuck(subject: &dyn Subject) {
    let log = subject.open().await;
    let payload = |n: usize| Bytes::from(format!("{n:0>100}"));
    soon(log.append(0, (0..20).map(payload).collect()))
        .await
        .unwrap();
    let some = soon(log.read(0, Offset::new(0), 550)).await.unwrap();
    assert!((1..=5).contains(&some.len()), "{} records", some.len());
    let one = soon(log.read(0, Offset::new(0), 1)).await.unwrap();
    assert_eq!(one.len(), 1);
    assert_eq!(
        stored(&*log, 0).await,
        (0..20).map(payload).collect::<Vec<_>>()
    );
}

/// Records, ends and floors are there again, and appending goes on behind them.
pub async fn stored_records_outlive_the_process(subject: &dyn Subject) {
    let log = subject.open().await;
    for n in 0..30u32 {
        let payload = format!("{n}");
        soon(log.append(n % 2, text(&[&payload]))).await.unwrap();
    }
    let floor = read_all(&*log, 0, Offset::new(0))
        .await
        .get(10)
        .unwrap()
        .offset;
    soon(log.raise_floor(0, floor)).await.unwrap();
    let before = (log.floor(0), log.end(0), log.floor(1), log.end(1));
    let records = (
        read_all(&*log, 0, floor).await,
        read_all(&*log, 1, log.floor(1)).await,
    );
    let Some(log) = subject.reopen(log).await else {
        return;
    };
    assert_eq!(before, (log.floor(0), log.end(0), log.floor(1), log.end(1)));
    let again = (
        read_all(&*log, 0, floor).await,
        read_all(&*log, 1, log.floor(1)).await,
    );
    assert_eq!(records, again);
    let appended = soon(log.append(0, text(&["later"]))).await.unwrap();
    assert!(appended.first() >= before.1);
    assert!(appended.at() >= records.0.last().unwrap().appended);
}

/// A cursor gives everything once, in order, across waits.
pub async fn tails_follow(subject: &dyn Subject) {
    const RECORDS: usize = 200;
    let log = subject.open().await;
    let mut tail = Tail::new(Arc::clone(&log), 1, log.end(1)).with_max_bytes(64);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for n in 0..RECORDS {
            soon(log.append(1, vec![Bytes::from(format!("{n}"))]))
                .await
                .unwrap();
        }
    });
    let mut all = Vec::new();
    let wanted: Vec<_> = (0..RECORDS).map(|n| Bytes::from(format!("{n}"))).collect();
    while distinct(all.clone()).len() < RECORDS {
        let batch = soon(tail.next_batch()).await.unwrap();
        assert_eq!(tail.next(), batch.last().unwrap().offset.next());
        all.extend(batch);
    }
    assert!(all.is_sorted_by(|a, b| a.offset < b.offset));
    assert_eq!(distinct(all), wanted);
}

/// Every call names its partition; a wrong one is said so.
pub async fn unknown_partitions_are_refused(subject: &dyn Subject) {
    let log = subject.open().await;
    let wrong = log.partitions();
    let unknown = LogError::UnknownPartition;
    assert_eq!(soon(log.append(wrong, text(&["x"]))).await, Err(unknown));
    assert_eq!(soon(log.read(wrong, Offset::new(0), 1)).await, Err(unknown));
    assert_eq!(
        soon(log.readable(wrong, Offset::new(0))).await,
        Err(unknown)
    );
    assert_eq!(
        soon(log.raise_floor(wrong, Offset::new(1))).await,
        Err(unknown)
    );
    assert_eq!((log.end(wrong), log.floor(wrong)), Default::default());
    soon(log.append(wrong - 1, text(&["x"]))).await.unwrap();
}
