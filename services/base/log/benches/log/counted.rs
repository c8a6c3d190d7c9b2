//! The disk of the machine, counting writes and syncs.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use entente_log::segment::disk::{Disk, DiskFile, Files, Held};

#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    writes: Arc<AtomicU64>,
    syncs: Arc<AtomicU64>,
}

impl Counted {
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    fn wrap(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(CountedFile(self.clone(), file))
    }
}

#[derive(Debug)]
struct CountedFile(Counted, Arc<dyn DiskFile>);

impl Disk for Counted {
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        Files.make_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Held>> {
        Files.lock(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        Files.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Files.create(path).map(|file| self.wrap(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Files.open(path).map(|file| self.wrap(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Files.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Files.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Files.sync_dir(dir)
    }
}

impl DiskFile for CountedFile {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.writes.fetch_add(1, Ordering::Relaxed);
        self.1.write_at(bytes, at)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        self.1.read_at(bytes, at)
    }

    fn size(&self) -> io::Result<u64> {
        self.1.size()
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.1.set_size(size)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.syncs.fetch_add(1, Ordering::Relaxed);
        self.1.sync_data()
    }
}
