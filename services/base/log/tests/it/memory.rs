//! The faults of the log in memory.

use std::time::Duration;

use bytes::Bytes;
use entente_core::{ByteSize, Offset, Timestamp};
use entente_log::{Faults, Health, Log, LogError, MemoryLog};

fn record(n: u64) -> Vec<Bytes> {
    vec![Bytes::from(format!("{n}"))]
}

async fn stored(log: &MemoryLog) -> Vec<Bytes> {
    let records = log.read(0, log.floor(0), usize::MAX).await.unwrap();
    records.into_iter().map(|record| record.payload).collect()
}

/// T143: the record is there although its sender was not told.
#[tokio::test]
async fn a_lost_report_leaves_the_record() {
    let faults = Faults {
        lose_report: 1.0,
        ..Faults::default()
    };
    let log = MemoryLog::with_faults(1, faults);
    assert_eq!(
        log.append(0, record(1)).await,
        Err(LogError::UnknownOutcome)
    );
    assert_eq!(stored(&log).await, record(1));
    let honest = MemoryLog::new(1);
    assert!(honest.append(0, record(1)).await.is_ok());
}

#[tokio::test]
async fn a_refusal_leaves_nothing() {
    let faults = Faults {
        refuse: 1.0,
        ..Faults::default()
    };
    let log = MemoryLog::with_faults(1, faults);
    assert_eq!(log.append(0, record(1)).await, Err(LogError::Unavailable));
    assert!(stored(&log).await.is_empty());
}

#[tokio::test]
async fn duplicates_follow_one_another_and_holes_skip() {
    let faults = Faults {
        duplicate: 1.0,
        hole: 1.0,
        ..Faults::default()
    };
    let log = MemoryLog::with_faults(1, faults);
    let appended = log.append(0, record(1)).await.unwrap();
    assert_eq!(
        (appended.first(), appended.last()),
        (Offset::new(1), Offset::new(1))
    );
    assert_eq!(stored(&log).await, [record(1), record(1)].concat());
    assert_eq!(log.end(0), Offset::new(3));
    let next = log.append(0, record(2)).await.unwrap();
    assert_eq!(next.first(), Offset::new(4));
}

fn slow(seed: u64) -> Faults {
    Faults {
        seed,
        delay: 0.5,
        max_delay: Duration::from_secs(10),
        ..Faults::default()
    }
}

/// A crash takes a part of what was under way, from the end, and nothing that was acknowledged.
#[tokio::test(start_paused = true)]
async fn a_crash_takes_no_acknowledged_record() {
    let mut lost = 0;
    for seed in 0..50 {
        let log = MemoryLog::with_faults(1, slow(seed));
        for n in 0..5 {
            let _ = log.append(0, record(n)).await.unwrap();
        }
        let waiting: Vec<_> = (5..10).map(|n| log.append(0, record(n))).collect();
        let acknowledged = log.end(0).value();
        log.crash();
        let left = stored(&log).await;
        let wanted: Vec<_> = (0..left.len() as u64).flat_map(record).collect();
        assert_eq!(left, wanted);
        assert!(left.len() as u64 >= acknowledged);
        assert_eq!(log.end(0).value(), left.len() as u64);
        for (n, append) in (5..).zip(waiting) {
            let unknown = Err(LogError::UnknownOutcome);
            assert_eq!(
                append.await.map(|_| ()),
                if n < acknowledged { Ok(()) } else { unknown }
            );
        }
        lost += 10 - left.len();
        let next = log.append(0, record(99)).await.unwrap();
        assert_eq!(next.first().value(), left.len() as u64);
    }
    assert!(lost > 0, "no seed lost anything");
}

/// The log that breaks the promise, for checkers that have to notice it.
#[tokio::test]
async fn a_log_with_one_replica_loses_acknowledged_records() {
    let faults = Faults {
        lose_acknowledged: 2,
        ..Faults::default()
    };
    let log = MemoryLog::with_faults(1, faults);
    for n in 0..5 {
        let _ = log.append(0, record(n)).await.unwrap();
    }
    log.crash();
    assert_eq!(
        stored(&log).await,
        (0..3).flat_map(record).collect::<Vec<_>>()
    );
}

/// A delayed record is invisible until it is reported, and readers wake when it is.
#[tokio::test(start_paused = true)]
async fn a_delayed_record_becomes_readable_in_time() {
    let faults = Faults {
        delay: 1.0,
        ..slow(3)
    };
    let log = MemoryLog::with_faults(1, faults);
    let append = log.append(0, record(1));
    assert_eq!(log.end(0), Offset::new(0));
    drop(append);
    log.readable(0, Offset::new(0)).await.unwrap();
    assert_eq!(stored(&log).await, record(1));
}

#[tokio::test]
async fn one_seed_is_one_history() {
    let faults = |seed| Faults {
        lose_report: 0.3,
        duplicate: 0.3,
        refuse: 0.3,
        hole: 0.3,
        ..slow(seed)
    };
    let mut histories = Vec::new();
    for seed in [1, 1, 2] {
        let log = MemoryLog::with_faults(
            1,
            Faults {
                delay: 0.0,
                ..faults(seed)
            },
        );
        let mut outcomes = Vec::new();
        for n in 0..40 {
            let outcome = log.append(0, record(n)).await;
            outcomes.push(outcome.map(|appended| appended.first()));
        }
        histories.push((outcomes, stored(&log).await));
    }
    assert_eq!(histories[0], histories[1]);
    assert_ne!(histories[0], histories[2]);
}

/// T147: a full log refuses; raised floors make room.
#[tokio::test]
async fn memory_is_bounded() {
    let log = MemoryLog::new(1).limit(ByteSize::bytes(10));
    let bytes = |size| vec![Bytes::from(vec![0; size])];
    assert_eq!(log.append(0, bytes(11)).await, Err(LogError::TooLarge));
    let _ = log.append(0, bytes(6)).await.unwrap();
    assert_eq!(log.append(0, bytes(6)).await, Err(LogError::Full));
    log.raise_floor(0, log.end(0)).await.unwrap();
    let _ = log.append(0, bytes(6)).await.unwrap();
}

#[tokio::test]
async fn a_failed_log_says_so_until_it_is_healed() {
    let log = MemoryLog::new(1);
    let _ = log.append(0, record(1)).await.unwrap();
    log.fail("no broker");
    assert_eq!(
        log.health(),
        Health::Failed {
            reason: "no broker"
        }
    );
    assert_eq!(log.append(0, record(2)).await, Err(LogError::Unavailable));
    assert_eq!(
        log.readable(0, Offset::new(1)).await,
        Err(LogError::Unavailable)
    );
    log.readable(0, Offset::new(0)).await.unwrap();
    log.heal();
    assert_eq!(log.health(), Health::Ok);
    let _ = log.append(0, record(2)).await.unwrap();
    log.close();
    assert_eq!(log.append(0, record(3)).await, Err(LogError::Closed));
    assert_eq!(stored(&log).await, [record(1), record(2)].concat());
}

#[tokio::test]
async fn a_clock_that_goes_back_does_not_take_the_log_along() {
    let times = [5, 9, 3, 12];
    let next = std::sync::atomic::AtomicUsize::new(0);
    let log = MemoryLog::new(1).clock(move || {
        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Timestamp::from_millis(times[n])
    });
    let mut taken = Vec::new();
    for n in 0..4 {
        taken.push(log.append(0, record(n)).await.unwrap().at().millis());
    }
    assert_eq!(taken, [5, 9, 9, 12]);
}
