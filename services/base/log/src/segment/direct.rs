//! A file that is written past the page cache, in whole blocks (`O_DIRECT`).
//!
//! A write through the cache is copied, marked, found again by the sync and written then; past it the
//! disk takes the bytes from our memory. The last block, which is seldom full, is kept and written
//! again with what comes after it, and zeros up to its end.
//!
//! **Invariants**
//! - Only for files of which nothing behind the last write is wanted: zeros, or the end of the file.
//! - A sector that was written is only ever written again with the same bytes in front, so a write
//!   that power cuts off harms nothing that was there, any more than through the cache.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use parking_lot::Mutex;

use super::disk::DiskFile;

/// Bytes of a block: positions, lengths and memory have to be multiples of the device's sector, which
/// is 512 or 4,096.
const BLOCK: usize = 4096;
/// Memory that is kept for writes: beyond it, what a large one took is given back.
const KEPT_BYTES: usize = 256 * 1024;

/// No position of a write.
const UNKNOWN: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Direct {
    /// Through the cache: to read, cut and sync.
    file: File,
    /// Past the cache: to write.
    past: File,
    last: Mutex<Last>,
}

/// The last block, as far as it is written.
#[derive(Debug, Default)]
struct Last {
    /// Where the next write is expected.
    end: u64,
    /// What stands in the last block, up to `end`.
    head: Vec<u8>,
    /// Where bytes are put in place for the disk.
    room: Vec<u8>,
}

impl Direct {
    /// Makes an empty file in place of any that is there.
    ///
    /// # Errors
    /// Also if the file system has nothing but its cache.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
        let past = OpenOptions::new()
            .write(true)
            .custom_flags(flags)
            .open(path)?;
        let direct = Self {
            file,
            past,
            last: Mutex::default(),
        };
        // Some file systems let it be opened and refuse the first write.
        direct.write_at(&[0], 0)?;
        Ok(direct)
    }
}

impl Last {
    /// Makes `head` what stands before `at` in its block.
    fn come_to(&mut self, file: &File, at: u64) -> io::Result<()> {
        if self.end == at {
            return Ok(());
        }
        self.end = UNKNOWN;
        let within = usize::try_from(at % BLOCK as u64).unwrap_or_default();
        self.head.resize(within, 0);
        file.read_exact_at(&mut self.head, at - within as u64)
    }

    /// Puts the last block, what comes after it and zeros where the disk may take them from.
    fn lay_out(&mut self, bytes: &[u8]) -> &[u8] {
        let blocks = (self.head.len() + bytes.len()).next_multiple_of(BLOCK);
        self.room.clear();
        self.room.reserve(BLOCK + blocks);
        let skip = self.room.as_ptr().align_offset(BLOCK);
        self.room.resize(skip, 0);
        self.room.extend_from_slice(&self.head);
        self.room.extend_from_slice(bytes);
        self.room.resize(skip + blocks, 0);
        self.room.get(skip..).unwrap_or_default()
    }

    /// Keeps the end of what was written.
    fn keep(&mut self, bytes: &[u8], at: u64) {
        let length = self.head.len() + bytes.len();
        let kept = length % BLOCK;
        match bytes.len().checked_sub(kept) {
            Some(from) => {
                self.head.clear();
                self.head
                    .extend_from_slice(bytes.get(from..).unwrap_or_default());
            }
            None => self.head.extend_from_slice(bytes),
        }
        self.end = at + bytes.len() as u64;
        if self.room.capacity() > KEPT_BYTES {
            self.room = Vec::new();
        }
    }
}

impl DiskFile for Direct {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut last = self.last.lock();
        last.come_to(&self.file, at)?;
        let start = at - last.head.len() as u64;
        // Until it is known better: after an error the last block is read again.
        last.end = UNKNOWN;
        self.past.write_all_at(last.lay_out(bytes), start)?;
        last.keep(bytes, at);
        Ok(())
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        DiskFile::read_at(&self.file, bytes, at)
    }

    fn size(&self) -> io::Result<u64> {
        DiskFile::size(&self.file)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Append(Vec<u8>),
        /// To so many thousandths of what there is.
        CutTo(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let bytes = |longest| prop::collection::vec(1..=255_u8, 1..longest);
        let step = prop_oneof![
            6 => bytes(700).prop_map(Step::Append),
            2 => bytes(12_000).prop_map(Step::Append),
            1 => (0..=1000_usize).prop_map(Step::CutTo),
        ];
        prop::collection::vec(step, 1..30)
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_file_past_the_cache_is_a_vector_with_zeros_behind(steps in steps()) {
            let folder = folder();
            // A file system in memory may have no way past its cache: then there is nothing to test.
            let Ok(file) = Direct::create(&folder.path().join("file")) else {
                return Ok(());
            };
            let mut wanted = Vec::new();
            for step in steps {
                match step {
                    Step::Append(bytes) => {
                        file.write_at(&bytes, wanted.len() as u64).unwrap();
                        wanted.extend(bytes);
                    }
                    Step::CutTo(part) => {
                        wanted.truncate(wanted.len() * part / 1000);
                        file.set_size(wanted.len() as u64).unwrap();
                    }
                }
                let mut found = vec![7; usize::try_from(file.size().unwrap()).unwrap()];
                prop_assert_eq!(file.read_at(&mut found, 0).unwrap(), found.len());
                let (content, behind) = found.split_at(wanted.len());
                prop_assert_eq!(content, &wanted);
                prop_assert!(behind.iter().all(|byte| *byte == 0));
            }
        }
    }
}
