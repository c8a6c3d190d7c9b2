//! A disk in memory that can lose power, run full, fail a write or a sync, and hold a sync back.
//!
//! What was not synced is lost on power failure in part, down to single bytes. A failed sync
//! forgets what it should have written, as Linux does: later syncs succeed without it.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a disk of tests: what it cannot do fails the test"
)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::{Disk, DiskFile, Held};

/// See the module. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    names: Names,
    durable_names: Names,
    locked: Arc<AtomicBool>,
    plan: Plan,
    syncs: u64,
    /// Syncs since the last one that failed.
    since_failure: Option<u64>,
    held: bool,
}

type Names = BTreeMap<PathBuf, Arc<Mutex<Content>>>;

/// What goes wrong next.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Bytes that all files together may have.
    pub space: Option<usize>,
    /// The next write stops after so many bytes.
    pub tear_write: Option<usize>,
    /// The next sync fails.
    pub fail_sync: bool,
    /// Syncs wait until this is taken back.
    pub hold_sync: bool,
}

#[derive(Clone, Debug, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Size(usize),
    Write(usize, Vec<u8>),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Size(size) => to.resize(*size, 0),
            Self::Write(at, bytes) => {
                to.resize(to.len().max(at + bytes.len()), 0);
                to[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
}

impl SimDisk {
    /// Changes what goes wrong from now on.
    pub fn plan(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.0.state.lock().plan);
        self.0.released.notify_all();
    }

    /// How often a file was synced, also in vain.
    pub fn syncs(&self) -> u64 {
        self.0.state.lock().syncs
    }

    /// Syncs after the last one that failed; none if no sync failed since the machine came up.
    pub fn syncs_since_failure(&self) -> Option<u64> {
        self.0.state.lock().since_failure
    }

    /// Whether a sync is being held back now.
    pub fn holds(&self) -> bool {
        self.0.state.lock().held
    }

    /// Bytes of all files together.
    pub fn bytes(&self) -> usize {
        self.0.state.lock().bytes()
    }

    /// The segment files, in the order of their names.
    pub fn segments(&self) -> Vec<PathBuf> {
        let state = self.0.state.lock();
        let is_segment = |path: &&PathBuf| path.extension().is_some_and(|end| end == "log");
        state.names.keys().filter(is_segment).cloned().collect()
    }

    /// Changes the bytes of a file, on the disk too.
    pub fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let file = Arc::clone(&self.0.state.lock().names[path]);
        let mut content = file.lock();
        change(&mut content.live);
        content.durable = content.live.clone();
    }

    /// The bytes of a file as a process sees them.
    pub fn content(&self, path: &Path) -> Vec<u8> {
        let file = Arc::clone(&self.0.state.lock().names[path]);
        let content = file.lock();
        content.live.clone()
    }

    /// The names of all files.
    pub fn names(&self) -> Vec<PathBuf> {
        self.0.state.lock().names.keys().cloned().collect()
    }

    /// What would be left of a file whatever happens; empty if there is none.
    pub fn durable(&self, path: &Path) -> Vec<u8> {
        let file = self.0.state.lock().names.get(path).cloned();
        file.map(|file| file.lock().durable.clone())
            .unwrap_or_default()
    }

    /// Removes a file behind the log's back.
    pub fn forget(&self, path: &Path) {
        self.0.state.lock().names.remove(path);
    }

    /// The disk as it is when the machine comes back: what was not synced is kept in part. Whoever
    /// still has the old one writes to nowhere.
    pub fn after_power_loss(&self, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let state = self.0.state.lock();
        let names = if rng.random() {
            &state.names
        } else {
            &state.durable_names
        };
        let after = names.iter().map(|(path, content)| {
            let bytes = content.lock().after_power_loss(&mut rng);
            let content = Content {
                live: bytes.clone(),
                durable: bytes,
                unsynced: Vec::new(),
            };
            (path.clone(), Arc::new(Mutex::new(content)))
        });
        let names: Names = after.collect();
        let after = State {
            durable_names: names.clone(),
            names,
            ..State::default()
        };
        Self(Arc::new(Inner {
            state: Mutex::new(after),
            released: Condvar::new(),
        }))
    }
}

impl State {
    fn bytes(&self) -> usize {
        self.names.values().map(|file| file.lock().live.len()).sum()
    }

    fn file(&self, path: &Path) -> io::Result<Arc<Mutex<Content>>> {
        self.names
            .get(path)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Content {
    fn after_power_loss(&self, rng: &mut StdRng) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for change in &self.unsynced {
            match (rng.random_range(0..5), change) {
                (0, _) => {}
                (1, Change::Write(at, written)) => {
                    let kept = rng.random_range(0..=written.len());
                    Change::Write(*at, written[..kept].to_vec()).apply(&mut bytes);
                }
                (2, Change::Write(at, written)) => {
                    // The length reached the disk, and some of the pages.
                    bytes.resize(bytes.len().max(at + written.len()), 0);
                    for (n, page) in written.chunks(48).enumerate() {
                        if rng.random() {
                            Change::Write(at + n * 48, page.to_vec()).apply(&mut bytes);
                        }
                    }
                }
                _ => change.apply(&mut bytes),
            }
        }
        bytes
    }
}

#[derive(Debug)]
struct SimFile(SimDisk, Arc<Mutex<Content>>);

#[derive(Debug)]
struct SimLock(Arc<AtomicBool>);

impl Held for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Disk for SimDisk {
    fn make_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Held>> {
        let locked = Arc::clone(&self.0.state.lock().locked);
        if locked.swap(true, Ordering::SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock(locked)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.state.lock();
        let inside = state
            .names
            .keys()
            .filter_map(|path| path.strip_prefix(dir).ok());
        Ok(inside
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let content = Arc::new(Mutex::new(Content::default()));
        self.0
            .state
            .lock()
            .names
            .insert(path.to_owned(), Arc::clone(&content));
        Ok(Arc::new(SimFile(self.clone(), content)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let content = self.0.state.lock().file(path)?;
        Ok(Arc::new(SimFile(self.clone(), content)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.state.lock();
        let content = state.file(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.file(path)?;
        state.names.remove(path);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.durable_names = state.names.clone();
        Ok(())
    }
}

impl DiskFile for SimFile {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let at = usize::try_from(at).unwrap();
        let mut state = self.0.0.state.lock();
        let used = state.bytes();
        let grows = (at + bytes.len()).saturating_sub(self.1.lock().live.len());
        let (fits, error) = match (state.plan.tear_write.take(), state.plan.space) {
            (Some(fits), _) => (fits, io::ErrorKind::Other),
            (None, Some(space)) if used + grows > space => (
                bytes.len() - (used + grows - space).min(bytes.len()),
                io::ErrorKind::StorageFull,
            ),
            _ => (usize::MAX, io::ErrorKind::Other),
        };
        let written = &bytes[..fits.min(bytes.len())];
        let change = Change::Write(at, written.to_vec());
        let mut content = self.1.lock();
        change.apply(&mut content.live);
        content.unsynced.push(change);
        if fits == usize::MAX {
            Ok(())
        } else {
            Err(error.into())
        }
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let content = self.1.lock();
        let rest = content
            .live
            .get(usize::try_from(at).unwrap()..)
            .unwrap_or_default();
        let read = rest.len().min(bytes.len());
        bytes[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.1.lock().live.len() as u64)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let change = Change::Size(usize::try_from(size).unwrap());
        let mut content = self.1.lock();
        change.apply(&mut content.live);
        content.unsynced.push(change);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.0.state.lock();
        state.syncs += 1;
        state.since_failure = state.since_failure.map(|syncs| syncs + 1);
        // Only what is there now, however long it takes.
        let changes: Vec<Change> = self.1.lock().unsynced.drain(..).collect();
        while state.plan.hold_sync {
            state.held = true;
            self.0.0.released.wait(&mut state);
        }
        state.held = false;
        if std::mem::take(&mut state.plan.fail_sync) {
            state.since_failure = Some(0);
            return Err(io::ErrorKind::Other.into());
        }
        let mut content = self.1.lock();
        for change in changes {
            change.apply(&mut content.durable);
        }
        Ok(())
    }
}
