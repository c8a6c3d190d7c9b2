//! The suite of the port against both embedded logs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use entente_core::ByteSize;
use entente_log::conformance::Subject;
use entente_log::{Faults, Fsync, Log, MemoryLog, SegmentConfig, SegmentLog};

/// A fresh folder, removed at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "log-{}-{}",
            std::process::id(),
            MADE.fetch_add(1, Ordering::Relaxed)
        );
        Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

struct Memory(Faults);

#[async_trait]
impl Subject for Memory {
    async fn open(&self) -> Arc<dyn Log> {
        Arc::new(MemoryLog::with_faults(3, self.0.clone()))
    }
}

struct Segments {
    folder: Folder,
    config: SegmentConfig,
}

impl Segments {
    fn new(config: SegmentConfig) -> Self {
        Self {
            folder: Folder::new(),
            config,
        }
    }

    fn synced(fsync: Fsync) -> Self {
        Self::new(SegmentConfig {
            fsync,
            ..SegmentConfig::new(3)
        })
    }

    /// Segments, caches and indexes so small that every path is taken.
    fn tiny() -> Self {
        Self::new(SegmentConfig {
            segment_bytes: ByteSize::bytes(700),
            recent_bytes: ByteSize::bytes(0),
            index_bytes: ByteSize::bytes(0),
            ..SegmentConfig::new(3)
        })
    }
}

#[async_trait]
impl Subject for Segments {
    async fn open(&self) -> Arc<dyn Log> {
        Arc::new(SegmentLog::open(&self.folder.0, &self.config).unwrap().0)
    }

    async fn reopen(&self, log: Arc<dyn Log>) -> Option<Arc<dyn Log>> {
        assert_eq!(Arc::strong_count(&log), 1, "dropped, so closed");
        drop(log);
        Some(self.open().await)
    }
}

fn untidy() -> Faults {
    Faults {
        seed: 7,
        duplicate: 0.3,
        delay: 0.5,
        max_delay: Duration::from_millis(2),
        hole: 0.3,
        ..Faults::default()
    }
}

entente_log::conformance!(memory, Memory(Faults::default()));
entente_log::conformance!(memory_untidy, Memory(untidy()));
entente_log::conformance!(segments, Segments::synced(Fsync::Always));
entente_log::conformance!(
    segments_interval,
    Segments::synced(Fsync::Interval(Duration::from_millis(1)))
);
entente_log::conformance!(segments_never, Segments::synced(Fsync::Never));
entente_log::conformance!(segments_tiny, Segments::tiny());
