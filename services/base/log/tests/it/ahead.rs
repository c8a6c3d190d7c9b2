//! Segments that are written ahead: what is on the disk, at the end, after a loss, without space.

use std::path::Path;
use std::time::Duration;

use entente_core::ByteSize;
use entente_log::segment::sim::SimDisk;
use entente_log::{Log, SegmentConfig};

use crate::faults::{config, open, payload, stored};
use crate::recovery::try_open;

const AHEAD: &str = "/log/ahead.tmp";

fn ahead() -> SegmentConfig {
    SegmentConfig {
        segment_bytes: ByteSize::kib(64),
        write_ahead: true,
        ..config()
    }
}

/// Waits until the next segment is filled.
async fn filled(disk: &SimDisk) {
    let bytes = ahead().segment_bytes.get();
    let is_there = || disk.names().contains(&AHEAD.into());
    while !(is_there() && disk.durable(Path::new(AHEAD)).len() == bytes) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_segment_is_as_long_as_it_may_be_and_ends_with_its_last_frame() {
    let disk = SimDisk::default();
    let log = open(&disk, &ahead());
    let _ = log.append(0, vec![payload(0)]).await.unwrap();
    filled(&disk).await;
    for n in 1..3 {
        let _ = log.append(0, vec![payload(n)]).await.unwrap();
    }
    let segments = disk.segments();
    let length = |at: usize| disk.content(&segments[at]).len();
    assert_eq!(segments.len(), 2, "the one that grows was left");
    assert_eq!(length(1), ahead().segment_bytes.get());
    filled(&disk).await;
    for n in 3..600 {
        let _ = log.append(0, vec![payload(n)]).await.unwrap();
    }
    let second = disk.content(&segments[1]);
    assert!(second.len() < ahead().segment_bytes.get());
    assert_ne!(second.last(), Some(&0), "it ends with a payload");
    assert_eq!(stored(&log, 0).await.len(), 600);
    drop(log);
    assert!(!disk.names().contains(&AHEAD.into()));
    let log = open(&disk, &ahead());
    assert_eq!(stored(&log, 0).await.len(), 600);
}

#[tokio::test]
async fn zeros_behind_the_last_frame_are_not_a_torn_write() {
    let disk = SimDisk::default();
    let log = open(&disk, &ahead());
    let _ = log.append(0, vec![payload(0)]).await.unwrap();
    filled(&disk).await;
    for n in 1..20 {
        let _ = log.append(0, vec![payload(n)]).await.unwrap();
    }
    let after = disk.after_power_loss(7);
    let (again, recovered) = try_open(&after, &ahead()).unwrap();
    assert_eq!(recovered.torn_bytes, 0);
    assert_eq!(stored(&again, 0).await.len(), 20);
}

/// T147: what is written ahead goes before anybody is refused for long.
#[tokio::test]
async fn a_full_disk_gets_back_what_was_written_ahead() {
    let disk = SimDisk::default();
    let log = open(&disk, &ahead());
    let _ = log.append(0, vec![payload(0)]).await.unwrap();
    filled(&disk).await;
    let space = disk.bytes() + 1_000;
    disk.plan(|plan| plan.space = Some(space));
    let mut taken = 1;
    // More than fits beside the file, less than fits in its place.
    while taken < 100 {
        match log.append(0, vec![payload(taken)]).await {
            Ok(_) => taken += 1,
            Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    assert_eq!(stored(&log, 0).await.len(), 100);
}
