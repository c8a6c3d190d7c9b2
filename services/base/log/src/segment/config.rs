//! Settings of a segment log, and why one does not open.

use std::io;
use std::time::Duration;

use entente_core::{ByteSize, FaultKind};

/// When written records are synced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before every acknowledgement; appends that wait together share one sync.
    Always,
    /// This long after a write at the latest. A power failure takes what was acknowledged since the
    /// last sync; the death of the process takes nothing.
    Interval(Duration),
    /// When a segment is complete and at the close. Otherwise as `Interval`.
    Never,
}

/// Settings of a segment log.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentConfig {
    /// How many partitions there are. Fixed when the log is made.
    pub partitions: u32,
    /// A new segment file begins when this one would grow beyond. Space is freed by whole files.
    pub segment_bytes: ByteSize,
    /// When written records are synced.
    pub fsync: Fsync,
    /// Whether the next segment is filled with zeros beforehand, which makes syncs cheaper and takes
    /// the space of one segment more.
    pub write_ahead: bool,
    /// Longest record taken.
    pub max_record_bytes: ByteSize,
    /// Memory for the newest records, from which readers who keep up are served.
    pub recent_bytes: ByteSize,
    /// Memory for the indexes of complete segments; an index that went is rebuilt by a scan.
    pub index_bytes: ByteSize,
    /// Payload bytes that may wait for the writer; also the largest batch. As much again can be
    /// in the hands of the writer.
    pub queue_bytes: ByteSize,
    /// Appends that may wait for the writer.
    pub queue_appends: usize,
    /// How often a full disk is tried again.
    pub probe: Duration,
}

/// Positions in a segment have 32 bits, and a batch may reach over the end of a segment.
const MAX_SEGMENT_BYTES: ByteSize = ByteSize::kib(1024 * 1024);

impl SegmentConfig {
    /// The defaults for so many partitions.
    pub const fn new(partitions: u32) -> Self {
        Self {
            partitions,
            segment_bytes: ByteSize::kib(32 * 1024),
            fsync: Fsync::Always,
            write_ahead: true,
            max_record_bytes: ByteSize::kib(1024),
            recent_bytes: ByteSize::kib(8 * 1024),
            index_bytes: ByteSize::kib(32 * 1024),
            queue_bytes: ByteSize::kib(16 * 1024),
            queue_appends: 16 * 1024,
            probe: Duration::from_secs(1),
        }
    }

    /// Checks what no type says.
    ///
    /// # Errors
    /// [`OpenError::Setting`] names the first that is wrong.
    pub fn check(&self) -> Result<(), OpenError> {
        let wrong = if self.partitions == 0 || self.partitions > MAX_PARTITIONS {
            "partitions must be 1 to 65536"
        } else if self.segment_bytes > MAX_SEGMENT_BYTES {
            "segment_bytes must be 1GiB at most"
        } else if self.queue_bytes > MAX_SEGMENT_BYTES {
            "queue_bytes must be 1GiB at most"
        } else if self.max_record_bytes > self.queue_bytes {
            "max_record_bytes must be queue_bytes at most"
        } else if self.queue_appends == 0 {
            "queue_appends must be 1 at least"
        } else {
            return Ok(());
        };
        Err(OpenError::Setting(wrong))
    }
}

/// The head of each segment has 16 bytes for a partition: 1 MiB at this many.
const MAX_PARTITIONS: u32 = 65_536;

/// What was found when a log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Segment files.
    pub segments: usize,
    /// Records in the last segment; the others were not read.
    pub records: u64,
    /// Bytes at the end that a torn write had left, and that were cut off, but for zeros at their
    /// end, which are also what is written ahead. No record that was
    /// acknowledged under [`Fsync::Always`] is among them.
    pub torn_bytes: u64,
}

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Durable bytes have changed. Restore the folder from a copy; nothing was altered.
    #[error("segment {segment} is damaged at byte {at}, before records that were synced")]
    Damaged {
        /// The number in the name of the file.
        segment: u64,
        /// Where the first unreadable frame begins.
        at: u64,
    },
    /// The operating system refused.
    #[error("cannot {doing}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What came back.
        source: io::Error,
    },
    /// Another process has the log open.
    #[error("the log is open in another process")]
    Locked,
    /// A file between the first and the last is not there.
    #[error("segment {segment} is missing")]
    Missing {
        /// The number in the name of the file.
        segment: u64,
    },
    /// The log was made with another number of partitions.
    #[error("the log has {found} partitions, the configuration says {wanted}")]
    Partitions {
        /// What the log says.
        found: u32,
        /// What the configuration says.
        wanted: u32,
    },
    /// A setting is out of its range.
    #[error("{0}")]
    Setting(&'static str),
    /// A newer program wrote the log.
    #[error("segment {segment} has format version {version}, which this program does not know")]
    Version {
        /// The number in the name of the file.
        segment: u64,
        /// What the segment says.
        version: u32,
    },
}

impl OpenError {
    /// Who is to blame, and whether to retry.
    pub const fn kind(&self) -> FaultKind {
        match self {
            Self::Io { .. } | Self::Locked => FaultKind::Unavailable,
            Self::Damaged { .. }
            | Self::Missing { .. }
            | Self::Partitions { .. }
            | Self::Setting(_)
            | Self::Version { .. } => FaultKind::Internal,
        }
    }

    /// Maps an error of the disk: `.map_err(OpenError::io("open a segment"))`.
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}
