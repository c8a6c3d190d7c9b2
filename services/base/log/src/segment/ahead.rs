//! The next segment, written with zeros before it is needed.
//!
//! A sync of bytes that lie over zeros has to write those bytes alone. Where a file grows, the file
//! system also has to find blocks and to commit that it did, which costs more than the bytes: twice
//! the time and twice the work of a small group on ext4. So a thread beside the writer fills a file,
//! the writer takes it as its next segment, and cuts off what was not used when it leaves it.
//!
//! Nothing depends on it: without a file, for want of space or time, a segment grows as it is written.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::disk::{Disk, DiskFile};

/// The name of the file until it is a segment. One that is found at the opening is removed.
pub(crate) const AHEAD: &str = "ahead.tmp";
/// Zeros written at once: few, so that the writer's own bytes get between them.
const PIECE: usize = 256 * 1024;

/// The thread and what it has ready. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Ahead {
    slot: Arc<Slot>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Slot {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    bytes: u64,
    direct: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
enum State {
    Ended,
    /// None is wanted until the writer asks again: space is short.
    Idle,
    Ready(Arc<dyn DiskFile>),
    Wanted,
}

impl Ahead {
    /// Starts to fill files of so many bytes; `direct` if each write to them will be synced.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        bytes: u64,
        direct: bool,
    ) -> io::Result<Self> {
        let slot = Arc::new(Slot {
            disk,
            path,
            bytes,
            direct,
            state: Mutex::new(State::Wanted),
            changed: Condvar::new(),
        });
        let filled = Arc::clone(&slot);
        let thread = std::thread::Builder::new()
            .name("log-ahead".to_owned())
            .spawn(move || filled.run())?;
        Ok(Self {
            slot,
            thread: Some(thread),
        })
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(*self.slot.state.lock(), State::Ready(_))
    }

    /// Takes the file, if it is ready. The caller renames it, and then wants the next.
    pub(crate) fn take(&self) -> Option<Arc<dyn DiskFile>> {
        let mut state = self.slot.state.lock();
        let State::Ready(file) = &*state else {
            return None;
        };
        let file = Arc::clone(file);
        *state = State::Idle;
        Some(file)
    }

    /// Has the next file made, if none is.
    pub(crate) fn want(&self) {
        let mut state = self.slot.state.lock();
        if matches!(*state, State::Idle) {
            *state = State::Wanted;
            self.slot.changed.notify_one();
        }
    }

    /// Gives the space back: the disk is full.
    pub(crate) fn release(&self) {
        let mut state = self.slot.state.lock();
        match *state {
            State::Ready(_) => self.slot.remove(),
            State::Wanted => {}
            State::Ended | State::Idle => return,
        }
        *state = State::Idle;
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut *self.slot.state.lock(), State::Ended);
        self.slot.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_default();
        }
        if matches!(state, State::Ready(_) | State::Wanted) {
            self.slot.remove();
        }
    }
}

impl Slot {
    fn run(&self) {
        loop {
            let mut state = self.state.lock();
            self.changed.wait_while(&mut state, |state| {
                matches!(state, State::Idle | State::Ready(_))
            });
            if matches!(*state, State::Ended) {
                return;
            }
            drop(state);
            let file = self.fill();
            let mut state = self.state.lock();
            match (&*state, file) {
                (State::Ended, _) => return,
                (State::Wanted, Ok(file)) => *state = State::Ready(file),
                _ => {
                    self.remove();
                    *state = State::Idle;
                }
            }
        }
    }

    fn fill(&self) -> io::Result<Arc<dyn DiskFile>> {
        let file = if self.direct {
            self.disk.create_direct(&self.path)?
        } else {
            self.disk.create(&self.path)?
        };
        let zeros = vec![0; PIECE];
        let mut at = 0;
        while at < self.bytes {
            if !matches!(*self.state.lock(), State::Wanted) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let left = usize::try_from(self.bytes - at).unwrap_or(usize::MAX);
            let piece = zeros.get(..left.min(PIECE)).unwrap_or(&zeros);
            file.write_at(piece, at)?;
            at += piece.len() as u64;
        }
        file.sync_data()?;
        Ok(file)
    }

    /// The file is nobody's yet; if it cannot be removed now, the next opening does it.
    fn remove(&self) {
        self.disk.remove(&self.path).ok();
    }
}
