//! What opening a segment log repairs, and what it refuses.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_core::{ByteSize, Offset};
use entente_log::segment::sim::SimDisk;
use entente_log::{Fsync, Log, LogError, OpenError, Recovered, SegmentConfig, SegmentLog};

use crate::conformance::Folder;
use crate::faults::{config, open, payload, plain, stored};

pub(crate) fn try_open(
    disk: &SimDisk,
    config: &SegmentConfig,
) -> Result<(SegmentLog, Recovered), OpenError> {
    SegmentLog::open_on(Arc::new(disk.clone()), Path::new("/log"), config)
}

/// Twenty records, each synced by itself, in one segment.
async fn twenty() -> (SimDisk, SegmentConfig, PathBuf) {
    let disk = SimDisk::default();
    let config = plain(2);
    let log = open(&disk, &config);
    for n in 0..20 {
        let _ = log.append(0, vec![payload(n)]).await.unwrap();
    }
    drop(log);
    let segment = disk.segments().remove(0);
    (disk, config, segment)
}

/// T184: damage before synced records is refused, named, and not made worse; undone, it opens.
#[tokio::test]
async fn damage_in_the_middle_is_refused() {
    let (disk, config, segment) = twenty().await;
    let at = disk.content(&segment).len() - 5 * 232 + 100;
    disk.edit(&segment, |bytes| bytes[at] ^= 1);
    let before = disk.content(&segment);
    let refused = try_open(&disk, &config).unwrap_err();
    let frame = (at - 100) as u64;
    assert!(
        matches!(refused, OpenError::Damaged { segment: 1, at } if at == frame),
        "{refused}"
    );
    assert_eq!(disk.content(&segment), before);
    disk.edit(&segment, |bytes| bytes[at] ^= 1);
    assert_eq!(stored(&open(&disk, &config), 0).await.len(), 20);
}

/// T184: the last write may be torn anywhere, with later pages on the disk and earlier ones not.
#[tokio::test]
async fn holes_in_the_last_write_are_cut_off() {
    let (disk, config, segment) = twenty().await;
    let log = open(&disk, &config);
    let _ = log
        .append(0, (20..30).map(payload).collect())
        .await
        .unwrap();
    drop(log);
    let end = disk.content(&segment).len();
    // The third of the ten records is gone, the seven after it are whole.
    disk.edit(&segment, |bytes| {
        bytes[end - 8 * 232..end - 7 * 232].fill(0)
    });
    let (log, recovered) = try_open(&disk, &config).unwrap();
    assert_eq!((recovered.records, recovered.torn_bytes), (22, 8 * 232));
    assert_eq!(
        stored(&log, 0).await,
        (0..22).map(payload).collect::<Vec<_>>()
    );
    let appended = log.append(0, vec![payload(22)]).await.unwrap();
    assert_eq!(appended.first(), Offset::new(22));
}

#[tokio::test]
async fn a_damaged_record_of_an_old_segment_is_an_error_not_a_gap() {
    let disk = SimDisk::default();
    let log = open(&disk, &config());
    for n in 0..60 {
        let _ = log.append(0, vec![payload(n)]).await.unwrap();
    }
    drop(log);
    let oldest = disk.segments().remove(0);
    let end = disk.content(&oldest).len();
    disk.edit(&oldest, |bytes| bytes[end - 1] ^= 1);
    let log = open(&disk, &config());
    assert!(disk.segments().len() > 2);
    assert_eq!(
        log.read(0, Offset::new(0), 1).await.unwrap()[0].payload,
        payload(0)
    );
    let damaged = log.read(0, Offset::new(0), usize::MAX).await;
    assert_eq!(damaged, Err(LogError::Corrupt));
    let _ = log.append(0, vec![payload(60)]).await.unwrap();
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let (disk, config, _) = twenty().await;
    for partitions in [1, 3] {
        let other = SegmentConfig {
            partitions,
            ..config.clone()
        };
        let refused = try_open(&disk, &other).unwrap_err();
        let wanted = format!("the log has 2 partitions, the configuration says {partitions}");
        assert_eq!(refused.to_string(), wanted);
    }
    assert_eq!(stored(&open(&disk, &config), 0).await.len(), 20);
}

#[tokio::test]
async fn a_missing_or_foreign_segment_is_refused() {
    let disk = SimDisk::default();
    let log = open(&disk, &config());
    for n in 0..60 {
        let _ = log.append(0, vec![payload(n)]).await.unwrap();
    }
    drop(log);
    let second = disk.segments().remove(1);
    let last = disk.segments().pop().unwrap();
    disk.edit(&last, |bytes| bytes[8] = 2);
    let newer = try_open(&disk, &config()).unwrap_err();
    assert!(
        matches!(newer, OpenError::Version { version: 2, .. }),
        "{newer}"
    );
    disk.edit(&last, |bytes| bytes[8] = 1);
    disk.edit(&last, |bytes| bytes[40] ^= 1);
    let damaged = try_open(&disk, &config()).unwrap_err();
    assert!(
        matches!(damaged, OpenError::Damaged { at: 0, .. }),
        "{damaged}"
    );
    disk.edit(&last, |bytes| bytes[40] ^= 1);
    assert_eq!(stored(&open(&disk, &config()), 0).await.len(), 60);
    disk.forget(&second);
    let missing = try_open(&disk, &config()).unwrap_err();
    assert!(
        matches!(missing, OpenError::Missing { segment: 2 }),
        "{missing}"
    );
}

#[tokio::test]
async fn one_process_at_a_time() {
    let folder = Folder::new();
    let config = plain(1);
    let (log, _) = SegmentLog::open(&folder.0, &config).unwrap();
    let refused = SegmentLog::open(&folder.0, &config).unwrap_err();
    assert!(matches!(refused, OpenError::Locked), "{refused}");
    log.close().await;
    SegmentLog::open(&folder.0, &config).unwrap();
}

#[tokio::test]
async fn segments_go_when_every_partition_is_past_them() {
    let disk = SimDisk::default();
    let log = open(&disk, &config());
    for n in 0..100 {
        let partition = u32::from(n % 2 == 1);
        let _ = log.append(partition, vec![payload(n)]).await.unwrap();
    }
    let all = disk.segments().len();
    log.raise_floor(0, Offset::new(40)).await.unwrap();
    assert_eq!(
        disk.segments().len(),
        all,
        "the other partition has records in each"
    );
    log.raise_floor(1, Offset::new(40)).await.unwrap();
    assert!(disk.segments().len() < all / 2);
    let gone = log.read(1, Offset::new(39), 1).await;
    let floor = Offset::new(40);
    assert_eq!(gone, Err(LogError::Truncated { floor }));
    drop(log);
    let disk = disk.after_power_loss(1);
    let log = open(&disk, &config());
    assert_eq!((log.floor(0), log.floor(1)), (floor, floor));
    assert_eq!(stored(&log, 1).await.len(), 10);
}

/// The promise of the slack settings: what power failure leaves is a beginning of what was written.
#[tokio::test]
async fn slack_syncs_lose_only_the_end() {
    for seed in 0..20 {
        let disk = SimDisk::default();
        let config = SegmentConfig {
            segment_bytes: ByteSize::kib(4),
            fsync: Fsync::Interval(Duration::from_secs(3600)),
            ..plain(1)
        };
        let log = open(&disk, &config);
        for n in 0..50 {
            let _ = log.append(0, vec![payload(n)]).await.unwrap();
        }
        let disk = disk.after_power_loss(seed);
        drop(log);
        let log = open(&disk, &config);
        let left = stored(&log, 0).await;
        let wanted: Vec<Bytes> = (0..50).take(left.len()).map(payload).collect();
        assert_eq!(left, wanted, "seed {seed}");
        let sealed = 2 * 17;
        assert!(
            left.len() >= sealed,
            "complete segments were synced, seed {seed}"
        );
    }
}

#[tokio::test]
async fn settings_out_of_range_are_refused() {
    let disk = SimDisk::default();
    for partitions in [0, 65_537] {
        let refused = try_open(&disk, &plain(partitions)).unwrap_err();
        assert_eq!(refused.to_string(), "partitions must be 1 to 65536");
    }
    let mut config = plain(1);
    config.max_record_bytes = ByteSize::kib(17 * 1024);
    let refused = try_open(&disk, &config).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "max_record_bytes must be queue_bytes at most"
    );
    try_open(&disk, &plain(1)).unwrap();
}
