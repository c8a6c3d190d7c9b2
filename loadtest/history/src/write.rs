//! Writes the events of one process to its file, from as many tasks as like.
//!
//! [`Recorder::record`] puts an event into a shared buffer, in the order of the calls; a thread of
//! the writer's own compresses and writes, block by block. When the disk is slower than the
//! events, recording waits.
//!
//! **Invariants**: lines are in the order in which `record` was called, and their times never fall.
//! After the first failed write nothing more is written but the line that says so: a file is whole,
//! or ends before a hole. What was lost is counted, told by [`Recorder::failure`] at once and
//! by [`Writer::close`] at the end.

mod file;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::time::Instant;

use crate::event::Event;
use crate::line::{EVENT, Header, Line};
use file::{Blocks, Disk, Sink};

/// How a file is written.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// Compress with zstd (`.jsonl.zst`); on by default.
    pub compress: bool,
    /// Events wait at most this long for the disk; a second by default.
    pub flush_after: Duration,
    /// A block is written when it has so many bytes; 256 KiB by default.
    pub block_bytes: usize,
    /// Blocks that may wait for the disk before recording does; 32 by default.
    pub waiting_blocks: usize,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            compress: true,
            flush_after: Duration::from_secs(1),
            block_bytes: 256 * 1024,
            waiting_blocks: 32,
        }
    }
}

/// Why a history is not whole.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A write failed in the middle of the run.
    #[error("{lost} events are missing from {}: {reason}", path.display())]
    Lost {
        /// The file.
        path: PathBuf,
        /// Events that are not in it.
        lost: u64,
        /// What the system said.
        reason: String,
    },
    /// The process's name cannot be part of a file's name.
    #[error("a process is named with letters, digits, `-` and `_`, not {0:?}")]
    Name(String),
    /// The file could not be begun, or not be written at once.
    #[error("cannot write {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Writes a closed file at once, from events that have their times already: those of a simulation
/// with a clock of its own. The times must not fall.
///
/// # Errors
///
/// See [`WriteError`].
pub fn write_whole(
    dir: &Path,
    header: &Header,
    lines: &[Line],
    compress: bool,
) -> Result<PathBuf, WriteError> {
    let path = place(dir, header, compress)?;
    let write = || {
        let mut blocks = Blocks::begin(Disk::create(&path)?, header, compress)?;
        for block in lines.chunks(BLOCK_LINES) {
            let mut text = String::new();
            for line in block {
                text.push_str(&line.text()?);
                text.push('\n');
            }
            blocks.write(
                text.as_bytes(),
                u64::try_from(block.len()).unwrap_or(u64::MAX),
            )?;
        }
        blocks.end()
    };
    match write() {
        Ok(()) => Ok(path),
        Err(source) => Err(WriteError::Open { path, source }),
    }
}

/// Lines of a block of a file that is written at once.
const BLOCK_LINES: usize = 2000;

fn place(dir: &Path, header: &Header, compress: bool) -> Result<PathBuf, WriteError> {
    let process = &header.process;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if process.is_empty() || !process.chars().all(plain) {
        return Err(WriteError::Name(process.clone()));
    }
    let ending = if compress { "jsonl.zst" } else { "jsonl" };
    Ok(dir.join(format!("events-{process}.{ending}")))
}

/// The file of one process. Closing it tells whether it is whole.
#[derive(Debug)]
#[must_use = "close it, and look at what it says"]
pub struct Writer {
    recorder: Recorder,
    thread: Option<JoinHandle<()>>,
}

/// Records events; clones share the file.
#[derive(Clone, Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    begun: Instant,
    options: WriterOptions,
    failed: AtomicBool,
    state: Mutex<State>,
    /// The thread waits here for a full block, the hour, or the end.
    work: Condvar,
    /// Recorders wait here for the disk.
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    block: Block,
    full: Vec<Block>,
    spare: Vec<Vec<u8>>,
    at: u64,
    lost: u64,
    reason: Option<String>,
    closed: bool,
}

/// Lines on their way to the disk.
#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    lines: u64,
}

impl Writer {
    /// Begins `events-<process>.jsonl[.zst]` in a directory, which must exist. An older file of
    /// that name is not overwritten.
    ///
    /// # Errors
    ///
    /// A bad name; a file that cannot be made or that takes no header.
    pub fn create(dir: &Path, header: &Header, options: WriterOptions) -> Result<Self, WriteError> {
        let path = place(dir, header, options.compress)?;
        let opened = Disk::create(&path);
        Self::begin(path.clone(), header, options, opened)
            .map_err(|source| WriteError::Open { path, source })
    }

    fn begin<S: Sink>(
        path: PathBuf,
        header: &Header,
        options: WriterOptions,
        sink: io::Result<S>,
    ) -> io::Result<Self> {
        let blocks = Blocks::begin(sink?, header, options.compress)?;
        let shared = Arc::new(Shared {
            path,
            begun: Instant::now(),
            options,
            failed: AtomicBool::new(false),
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            room: Condvar::new(),
        });
        let recorder = Recorder {
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new()
            .name("history".into())
            .spawn(move || shared.write_all(blocks))?;
        Ok(Self {
            recorder,
            thread: Some(thread),
        })
    }

    /// A handle to record with.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.recorder.shared.path
    }

    /// Writes what waits and the last line. What is recorded afterwards is not kept.
    ///
    /// # Errors
    ///
    /// If any event of the run is missing from the file.
    pub fn close(mut self) -> Result<PathBuf, WriteError> {
        self.finish();
        match self.recorder.failure() {
            Some(error) => Err(error),
            None => Ok(self.recorder.shared.path.clone()),
        }
    }

    fn finish(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.recorder.shared.state.lock().closed = true;
            self.recorder.shared.work.notify_one();
            self.recorder.shared.room.notify_all();
            if thread.join().is_err() {
                self.recorder.shared.fail("the writing thread died");
            }
        }
    }
}

/// A writer that was not closed still writes what it has.
impl Drop for Writer {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Recorder {
    /// Appends an event, stamped now. Waits only while the disk is many blocks behind.
    pub fn record(&self, event: &Event) {
        thread_local! {
            static SCRATCH: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            match serde_json::to_writer(&mut *scratch, event) {
                Ok(()) => self.shared.append(scratch.get(1..).unwrap_or_default()),
                Err(error) => self.shared.fail(&error.to_string()),
            }
        });
    }

    /// Nanoseconds since the header, as lines have them.
    pub fn now(&self) -> u64 {
        self.shared.now()
    }

    /// Whether the file lost events, and how many by now. Cheap while it did not.
    pub fn failure(&self) -> Option<WriteError> {
        if !self.shared.failed.load(Ordering::Acquire) {
            return None;
        }
        let state = self.shared.state.lock();
        Some(WriteError::Lost {
            path: self.shared.path.clone(),
            lost: state.lost,
            reason: state.reason.clone().unwrap_or_default(),
        })
    }
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Takes the text of an event without its opening brace.
    fn append(&self, event: &[u8]) {
        let now = self.now();
        let mut state = self.state.lock();
        while state.full.len() >= self.options.waiting_blocks && state.reason.is_none() {
            self.room.wait(&mut state);
        }
        if state.reason.is_some() || state.closed {
            state.lost += 1;
            return;
        }
        // Read outside of the lock, so that another thread may have stamped later already.
        state.at = state.at.max(now);
        let at = state.at;
        let bytes = &mut state.block.bytes;
        bytes.extend_from_slice(EVENT);
        decimal(bytes, at);
        bytes.push(b',');
        bytes.extend_from_slice(event);
        bytes.push(b'\n');
        state.block.lines += 1;
        if state.block.bytes.len() >= self.options.block_bytes {
            state.turn();
            self.work.notify_one();
        }
    }

    fn fail(&self, reason: &str) {
        let mut state = self.state.lock();
        state.fail(reason, 1);
        self.failed.store(true, Ordering::Release);
    }

    fn write_all<S: Sink>(&self, mut blocks: Blocks<S>) {
        loop {
            let (taken, closed) = self.wait();
            let mut taken = taken.into_iter();
            for block in taken.by_ref() {
                if let Err(error) = blocks.write(&block.bytes, block.lines) {
                    let left: u64 = taken.as_slice().iter().map(|block| block.lines).sum();
                    self.give_up(&error.to_string(), block.lines + left);
                    break;
                }
                self.state
                    .lock()
                    .spare(block.bytes, self.options.waiting_blocks);
            }
            if closed {
                break;
            }
        }
        let (lost, reason) = {
            let state = self.state.lock();
            (state.lost, state.reason.clone())
        };
        let ended = match reason {
            Some(reason) => blocks.truncated(lost, reason),
            None => blocks.end(),
        };
        if let Err(error) = ended {
            self.give_up(&error.to_string(), 0);
        }
    }

    /// Waits for something to write: full blocks, what lay too long, or the rest at the end.
    fn wait(&self) -> (Vec<Block>, bool) {
        let mut state = self.state.lock();
        if state.full.is_empty() && !state.closed {
            self.work.wait_for(&mut state, self.options.flush_after);
        }
        if state.full.is_empty() || state.closed {
            state.turn();
        }
        let taken = std::mem::take(&mut state.full);
        let closed = state.closed;
        MutexGuard::unlock_fair(state);
        self.room.notify_all();
        (taken, closed)
    }

    fn give_up(&self, reason: &str, lost: u64) {
        self.state.lock().fail(reason, lost);
        self.failed.store(true, Ordering::Release);
        self.room.notify_all();
    }
}

impl State {
    /// The block under way is full enough.
    fn turn(&mut self) {
        if self.block.lines > 0 {
            let bytes = self.spare.pop().unwrap_or_default();
            let block = std::mem::replace(&mut self.block, Block { bytes, lines: 0 });
            self.full.push(block);
        }
    }

    fn spare(&mut self, mut bytes: Vec<u8>, most: usize) {
        if self.spare.len() < most {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// The first reason stays; nothing that waits will be written.
    fn fail(&mut self, reason: &str, lost: u64) {
        let waiting: u64 = self.full.drain(..).map(|block| block.lines).sum();
        self.lost += lost + waiting + std::mem::take(&mut self.block).lines;
        self.reason.get_or_insert_with(|| reason.to_owned());
    }
}

fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        // Below ten, so it fits.
        *digit = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}

#[cfg(test)]
mod tests;
