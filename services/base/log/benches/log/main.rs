//! What a segment log costs on the disk at hand, in records of 600 bytes.
//!
//! Prints the disk's own cost of a write with a sync first: the log shares one sync among all who
//! wait, so its rate with many waiting is to be read against that of one.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for people: it prints figures and stops at an error"
)]

mod counted;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_core::{ByteSize, Offset};
use entente_log::{Fsync, Log, MemoryLog, SegmentConfig, SegmentLog, Tail};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::counted::Counted;

const RECORD_BYTES: usize = 600;
const PARTITIONS: u32 = 16;
/// Long enough that the disk's hiccups are in every figure.
const RUN: Duration = Duration::from_secs(2);

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("log-bench-{}", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Writes and syncs blocks of `size` bytes, one after the other.
fn disk_alone(folder: &Folder, size: usize) -> f64 {
    let file = File::create(folder.0.join("alone")).unwrap();
    let block = vec![0x5a; size];
    let start = Instant::now();
    let mut written = 0;
    while start.elapsed() < RUN {
        file.write_all_at(&block, written * size as u64).unwrap();
        file.sync_data().unwrap();
        written += 1;
    }
    let rate = rate(written, start.elapsed());
    std::fs::remove_file(folder.0.join("alone")).unwrap();
    rate
}

/// Appends with `waiting` tasks that wait for each batch of `batch` records before the next.
async fn appends(log: &Arc<dyn Log>, waiting: u32, batch: usize) -> f64 {
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for task in 0..waiting {
        let log = Arc::clone(log);
        tasks.spawn(async move {
            let payload = Bytes::from(vec![0x5a; RECORD_BYTES]);
            let mut appended = 0;
            while start.elapsed() < RUN {
                let records = vec![payload.clone(); batch];
                let done = log.append(task % PARTITIONS, records).await.unwrap();
                appended += done.last().value() - done.first().value() + 1;
            }
            appended
        });
    }
    let mut appended = 0;
    while let Some(done) = tasks.join_next().await {
        appended += done.unwrap();
    }
    rate(appended, start.elapsed())
}

/// Reads every partition from front to back.
async fn read_back(log: &Arc<dyn Log>) -> f64 {
    let start = Instant::now();
    let mut read = 0;
    for partition in 0..PARTITIONS {
        let mut tail = Tail::new(Arc::clone(log), partition, log.floor(partition));
        while tail.next() < log.end(partition) {
            read += tail.next_batch().await.unwrap().len() as u64;
        }
    }
    rate(read, start.elapsed())
}

fn open(folder: &Folder, fsync: Fsync, recent_bytes: ByteSize) -> (Arc<dyn Log>, Counted) {
    let config = SegmentConfig {
        fsync,
        recent_bytes,
        ..SegmentConfig::new(PARTITIONS)
    };
    let disk = Counted::default();
    let dir = folder.0.join("log");
    let (log, _) = SegmentLog::open_on(Arc::new(disk.clone()), &dir, &config).unwrap();
    (Arc::new(log), disk)
}

/// So many records a partition, for reading.
async fn fill(log: &Arc<dyn Log>, records: usize) {
    let payload = Bytes::from(vec![0x5a; RECORD_BYTES]);
    let mut written = 0;
    while written < records {
        for partition in 0..PARTITIONS {
            let _ = log
                .append(partition, vec![payload.clone(); 50])
                .await
                .unwrap();
        }
        written += 50;
    }
}

async fn figures() {
    let folder = Folder::new();
    let one = disk_alone(&folder, RECORD_BYTES);
    println!("disk: write + sync of {RECORD_BYTES} B      {one:>12.0} /s");
    let many = disk_alone(&folder, 64 * RECORD_BYTES);
    println!("disk: write + sync of 64 x {RECORD_BYTES} B {many:>12.0} /s");

    let modes = [
        ("always", Fsync::Always),
        ("interval 10ms", Fsync::Interval(Duration::from_millis(10))),
        ("never", Fsync::Never),
    ];
    for (name, fsync) in modes {
        for (waiting, batch) in [(1, 1), (64, 1), (64, 16)] {
            let (log, disk) = open(&folder, fsync, ByteSize::kib(64 * 1024));
            let rate = appends(&log, waiting, batch).await;
            let a_write = rate * RUN.as_secs_f64() / disk.writes() as f64;
            println!(
                "append, {name}, {waiting} waiting, batch {batch:<2} {rate:>10.0} records/s, {a_write:>6.1} a write, {:>6} syncs",
                disk.syncs()
            );
            drop(log);
            std::fs::remove_dir_all(folder.0.join("log")).unwrap();
        }
    }

    let (log, _) = open(&folder, Fsync::Never, ByteSize::kib(512 * 1024));
    fill(&log, 20_000).await;
    let rate = read_back(&log).await;
    println!("read back from memory      {rate:>12.0} records/s");
    drop(log);
    let (log, _) = open(&folder, Fsync::Never, ByteSize::kib(0));
    for pass in ["index scanned", "index known"] {
        let rate = read_back(&log).await;
        println!("read back from files, {pass} {rate:>12.0} records/s");
    }
    let start = Instant::now();
    drop(log);
    let (log, _) = open(&folder, Fsync::Never, ByteSize::kib(0));
    println!("close and open: {:?}", start.elapsed());
    assert!(log.end(0) > Offset::new(0));

    let memory: Arc<dyn Log> = Arc::new(MemoryLog::new(PARTITIONS).limit(ByteSize::kib(8 << 20)));
    let rate = appends(&memory, 64, 1).await;
    println!("append, memory, 64 waiting  {rate:>12.0} records/s");
}

fn main() {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
        .block_on(figures());
}
