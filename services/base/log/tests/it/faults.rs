//! A segment log on a disk that fails while it runs.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_core::{ByteSize, Offset};
use entente_log::segment::sim::SimDisk;
use entente_log::{Fsync, Health, Log, LogError, SegmentConfig, SegmentLog};

use crate::conformance::Folder;

/// Without a file that is written ahead: a plan for the next write means the writer's.
pub(crate) fn plain(partitions: u32) -> SegmentConfig {
    SegmentConfig {
        write_ahead: false,
        ..SegmentConfig::new(partitions)
    }
}

pub(crate) fn config() -> SegmentConfig {
    SegmentConfig {
        segment_bytes: ByteSize::kib(4),
        probe: Duration::from_millis(1),
        ..plain(2)
    }
}

pub(crate) fn open(disk: &SimDisk, config: &SegmentConfig) -> SegmentLog {
    let disk = Arc::new(disk.clone());
    SegmentLog::open_on(disk, Path::new("/log"), config)
        .unwrap()
        .0
}

pub(crate) fn payload(n: u64) -> Bytes {
    Bytes::from(format!("{n:0>200}"))
}

pub(crate) async fn stored(log: &SegmentLog, partition: u32) -> Vec<Bytes> {
    let mut next = log.floor(partition);
    let mut all = Vec::new();
    loop {
        let batch = log.read(partition, next, 1000).await.unwrap();
        let Some(last) = batch.last() else {
            return all;
        };
        next = last.offset.next();
        all.extend(batch.into_iter().map(|record| record.payload));
    }
}

async fn until(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap();
}

const DISK_FULL: Health = Health::Failed {
    reason: "the disk of the log is full",
};

/// T184, T147: a full disk refuses, loses nothing, shows nothing of what it refused, and takes
/// appends again when there is space.
#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let disk = SimDisk::default();
    let log = open(&disk, &config());
    let _ = log.append(0, vec![payload(0)]).await.unwrap();
    let used = disk.bytes();
    disk.plan(|plan| plan.space = Some(used + 500));
    let large = (1..4).map(payload).collect();
    assert_eq!(log.append(0, large).await, Err(LogError::Full));
    assert_eq!(log.health(), DISK_FULL);
    assert_eq!(log.append(1, vec![payload(9)]).await, Err(LogError::Full));
    assert_eq!(disk.bytes(), used, "nothing half-written stays");
    assert_eq!(stored(&log, 0).await, [payload(0)]);

    disk.plan(|plan| plan.space = None);
    until(|| log.health() == Health::Ok).await;
    let appended = log.append(0, vec![payload(5)]).await.unwrap();
    assert_eq!(
        appended.first(),
        Offset::new(1),
        "refused records have no offsets"
    );
    drop(log);
    let disk = disk.after_power_loss(1);
    let log = open(&disk, &config());
    assert_eq!(stored(&log, 0).await, [payload(0), payload(5)]);
}

/// T147: on a full disk floors still rise, and the space of what they free is used.
#[tokio::test]
async fn floors_free_a_full_disk() {
    let disk = SimDisk::default();
    let log = open(&disk, &config());
    disk.plan(|plan| plan.space = Some(300 * 1024));
    let mut accepted = 0;
    while log.append(0, (0..10).map(payload).collect()).await.is_ok() {
        accepted += 10;
    }
    assert_eq!(log.health(), DISK_FULL);
    let floor = Offset::new(accepted - 1);
    let raised = log.raise_floor(0, floor).await;
    assert_eq!(raised, Err(LogError::Full), "not yet durable");
    assert_eq!(log.floor(0), floor);
    until(|| log.health() == Health::Ok).await;
    assert_eq!(stored(&log, 0).await, [payload(9)]);
    let _ = log.append(0, vec![payload(10)]).await.unwrap();
    drop(log);
    let disk = disk.after_power_loss(2);
    let log = open(&disk, &config());
    assert_eq!(log.floor(0), floor, "saved when there was space");
    assert_eq!(stored(&log, 0).await, [payload(9), payload(10)]);
}

/// T184: after a failed sync nothing is acknowledged, and no sync is tried again.
#[tokio::test]
async fn a_failed_sync_is_final() {
    let disk = SimDisk::default();
    let log = open(&disk, &config());
    let _ = log.append(0, vec![payload(0)]).await.unwrap();
    disk.plan(|plan| plan.fail_sync = true);
    let unknown = log.append(0, vec![payload(1)]).await;
    assert_eq!(unknown, Err(LogError::UnknownOutcome));
    let syncs = disk.syncs();
    until(|| log.health() != Health::Ok).await;
    let reason = "a sync of the log failed";
    assert_eq!(log.health(), Health::Failed { reason });
    assert_eq!(
        log.append(1, vec![payload(2)]).await,
        Err(LogError::Unavailable)
    );
    let beyond = log.readable(0, Offset::new(1)).await;
    assert_eq!(beyond, Err(LogError::Unavailable), "who waits is told");
    assert_eq!(stored(&log, 0).await, [payload(0)]);
    log.close().await;
    assert_eq!(disk.syncs(), syncs, "a second sync would lie");
}

/// T184: what a reopened log shows after a failed sync survives the next loss of power, although
/// the system holds its pages for clean.
#[tokio::test]
async fn what_a_failed_sync_left_is_written_again() {
    let disk = SimDisk::default();
    let log = open(&disk, &config());
    let _ = log.append(0, vec![payload(0)]).await.unwrap();
    disk.plan(|plan| plan.fail_sync = true);
    let unknown = log.append(0, vec![payload(1)]).await;
    assert_eq!(unknown, Err(LogError::UnknownOutcome));
    drop(log);
    let log = open(&disk, &config());
    let shown = stored(&log, 0).await;
    assert_eq!(shown, [payload(0), payload(1)]);
    let _ = log.append(0, vec![payload(2)]).await.unwrap();
    drop(log);
    let disk = disk.after_power_loss(3);
    let log = open(&disk, &config());
    assert_eq!(stored(&log, 0).await, [payload(0), payload(1), payload(2)]);
}

/// T184: a torn write is never shown, wherever it was torn.
#[tokio::test]
async fn a_torn_write_is_cut_off() {
    for torn in [0, 1, 31, 32, 33, 231, 232, 300, 463] {
        let disk = SimDisk::default();
        let log = open(&disk, &config());
        let _ = log.append(0, vec![payload(0)]).await.unwrap();
        disk.plan(|plan| plan.tear_write = Some(torn));
        let unknown = log.append(0, vec![payload(1), payload(2)]).await;
        assert_eq!(unknown, Err(LogError::UnknownOutcome));
        assert_eq!(
            log.append(0, vec![payload(3)]).await,
            Err(LogError::Unavailable)
        );
        drop(log);
        let (log, recovered) =
            SegmentLog::open_on(Arc::new(disk.clone()), Path::new("/log"), &config()).unwrap();
        let whole = torn / 232;
        // Zeros at the end, as in the head of a frame, look like what is written ahead.
        let rest = (torn - whole * 232) as u64;
        let told = recovered.torn_bytes;
        let zeros_end_it = matches!(torn, 31 | 32) && told == 30;
        assert!(told == rest || zeros_end_it, "torn at {torn}: {told}");
        let _ = log.append(0, vec![payload(4)]).await.unwrap();
        let mut wanted = vec![payload(0)];
        wanted.extend((1..).take(whole).map(payload));
        wanted.push(payload(4));
        assert_eq!(stored(&log, 0).await, wanted, "torn at {torn}");
    }
}

#[tokio::test]
async fn nothing_is_shown_or_acknowledged_before_it_is_synced() {
    let disk = SimDisk::default();
    let log = open(&disk, &config());
    disk.plan(|plan| plan.hold_sync = true);
    let append = log.append(0, vec![payload(0)]);
    until(|| disk.holds()).await;
    assert_eq!(log.end(0), Offset::new(0));
    assert!(log.read(0, Offset::new(0), 1000).await.unwrap().is_empty());
    disk.plan(|plan| plan.hold_sync = false);
    let _ = append.await.unwrap();
    assert_eq!(log.end(0), Offset::new(1));
}

#[tokio::test]
async fn appends_that_wait_share_one_sync() {
    let disk = SimDisk::default();
    let log = open(&disk, &plain(2));
    disk.plan(|plan| plan.hold_sync = true);
    let first = log.append(0, vec![payload(0)]);
    until(|| disk.holds()).await;
    let others: Vec<_> = (1..64).map(|n| log.append(0, vec![payload(n)])).collect();
    let before = disk.syncs();
    disk.plan(|plan| plan.hold_sync = false);
    let _ = first.await.unwrap();
    for append in others {
        let _ = append.await.unwrap();
    }
    assert_eq!(disk.syncs(), before + 1);
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let disk = SimDisk::default();
    let config = SegmentConfig {
        queue_appends: 4,
        ..plain(2)
    };
    let log = open(&disk, &config);
    disk.plan(|plan| plan.hold_sync = true);
    let first = log.append(0, vec![payload(0)]);
    until(|| disk.holds()).await;
    let mut waiting: Vec<_> = (1..5).map(|n| log.append(0, vec![payload(n)])).collect();
    assert_eq!(log.append(0, vec![payload(9)]).await, Err(LogError::Busy));
    disk.plan(|plan| plan.hold_sync = false);
    waiting.insert(0, first);
    for append in waiting {
        let _ = append.await.unwrap();
    }
    let _ = log.append(0, vec![payload(5)]).await.unwrap();
    assert_eq!(
        stored(&log, 0).await,
        (0..6).map(payload).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn too_large_is_said_before_anything_is_written() {
    let disk = SimDisk::default();
    let config = SegmentConfig {
        max_record_bytes: ByteSize::bytes(200),
        queue_bytes: ByteSize::bytes(500),
        ..plain(1)
    };
    let log = open(&disk, &config);
    let long = Bytes::from(vec![0; 201]);
    assert_eq!(log.append(0, vec![long]).await, Err(LogError::TooLarge));
    let many = (0..3).map(payload).collect();
    assert_eq!(log.append(0, many).await, Err(LogError::TooLarge));
    let _ = log.append(0, vec![payload(0), payload(1)]).await.unwrap();
    assert_eq!(stored(&log, 0).await, [payload(0), payload(1)]);
}

#[tokio::test]
async fn closing_writes_what_waits_and_refuses_the_rest() {
    let disk = SimDisk::default();
    let config = SegmentConfig {
        fsync: Fsync::Never,
        ..config()
    };
    let log = open(&disk, &config);
    let appends: Vec<_> = (0..5).map(|n| log.append(0, vec![payload(n)])).collect();
    log.close().await;
    for append in appends {
        let _ = append.await.unwrap();
    }
    assert_eq!(log.append(0, vec![payload(5)]).await, Err(LogError::Closed));
    assert_eq!(log.readable(0, Offset::new(5)).await, Err(LogError::Closed));
    assert_eq!(stored(&log, 0).await.len(), 5, "still readable");
    let disk = disk.after_power_loss(4);
    let log = open(&disk, &config);
    assert_eq!(stored(&log, 0).await.len(), 5, "a close syncs");
}

/// T184 on the disk of the machine: beyond a limit on file sizes the kernel refuses, so the log does.
#[test]
fn a_limit_of_the_kernel_is_a_full_disk() {
    // The shell sets the limit, in blocks of 512 or 1024 bytes, for this one test of this program.
    let done = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 200; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "faults::under_a_limit"])
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && output.contains("1 passed"),
        "{output}"
    );
}

#[tokio::test]
#[ignore = "needs a limit on file sizes, which the test above sets"]
async fn under_a_limit() {
    let folder = Folder::new();
    let config = plain(1);
    let log = SegmentLog::open(&folder.0, &config).unwrap().0;
    let mut accepted = 0;
    let refusal = loop {
        assert!(accepted < 10_000, "there is no limit");
        match log.append(0, vec![payload(accepted)]).await {
            Ok(_) => accepted += 1,
            Err(refusal) => break refusal,
        }
    };
    assert_eq!((refusal, log.health()), (LogError::Full, DISK_FULL));
    drop(log);
    let log = SegmentLog::open(&folder.0, &config).unwrap().0;
    let wanted: Vec<_> = (0..accepted).map(payload).collect();
    assert_eq!(stored(&log, 0).await, wanted);
}
