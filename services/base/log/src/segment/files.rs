//! The segment files of a log and where in them each record is.
//!
//! **Invariants**
//! - Numbers are consecutive; only the last segment grows; segments go from the front.
//! - The index of the last segment is always in memory and never names a record that is not
//!   durable. Those of complete segments share a bounded memory.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::disk::{Disk, DiskFile};
use super::frame::{FRAME_BYTES, Frame, Head, head_bytes};
use crate::LogError;

/// Where a frame begins in its segment, and how long its payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: u32,
    pub(crate) payload: u32,
}

/// For each partition the places of its records, from the first offset of the segment on.
pub(crate) type Index = Vec<Vec<Place>>;

/// One segment file.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) head: Head,
    pub(crate) path: PathBuf,
    index: Mutex<Option<Index>>,
}

/// All segment files of a log, oldest first.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    list: RwLock<VecDeque<Arc<Segment>>>,
    /// Complete segments whose index is in memory, with its size; the longest there is in front.
    indexed: Mutex<VecDeque<(Arc<Segment>, usize)>>,
    index_bytes: usize,
}

const SUFFIX: &str = ".log";
/// A segment that is being made; it gets its name when its head is durable.
pub(crate) const UNBORN: &str = "next.tmp";

pub(crate) fn file_name(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}

pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let number = digits.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

impl Segment {
    pub(crate) const fn new(head: Head, path: PathBuf, index: Option<Index>) -> Self {
        Self {
            head,
            path,
            index: Mutex::new(index),
        }
    }

    pub(crate) fn first(&self, partition: usize) -> u64 {
        self.head
            .partitions
            .get(partition)
            .map_or(0, |(first, _)| *first)
    }

    /// Adds records to the index of the last segment.
    pub(crate) fn extend(&self, places: impl Iterator<Item = (usize, Place)>) {
        if let Some(index) = self.index.lock().as_mut() {
            for (partition, place) in places {
                if let Some(partition) = index.get_mut(partition) {
                    partition.push(place);
                }
            }
        }
    }
}

impl Files {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        list: VecDeque<Arc<Segment>>,
        index_bytes: usize,
    ) -> Self {
        Self {
            disk,
            dir: dir.to_owned(),
            list: RwLock::new(list),
            indexed: Mutex::new(VecDeque::new()),
            index_bytes,
        }
    }

    /// Makes `segment` the last one. The index of the one before may go from now on.
    pub(crate) fn push(&self, segment: Arc<Segment>) {
        let complete = {
            let mut list = self.list.write();
            let complete = list.back().cloned();
            list.push_back(segment);
            complete
        };
        if let Some(complete) = complete {
            let size = complete.index.lock().as_ref().map_or(0, index_size);
            self.used(complete, size);
        }
    }

    /// Removes the segments whose records are all below the floors.
    pub(crate) fn remove_below(&self, floors: &[u64]) -> io::Result<()> {
        let mut removed = false;
        while let Some(segment) = self.removable(floors) {
            // The file first: if that fails, the list still says what is on the disk.
            self.disk.remove(&segment.path)?;
            removed = true;
            self.list.write().pop_front();
            self.indexed
                .lock()
                .retain(|(indexed, _)| !Arc::ptr_eq(indexed, &segment));
        }
        if removed {
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(())
    }

    fn removable(&self, floors: &[u64]) -> Option<Arc<Segment>> {
        let list = self.list.read();
        let after = list.get(1)?;
        let below = (0..).zip(floors).all(|(p, floor)| after.first(p) <= *floor);
        if below { list.front().cloned() } else { None }
    }

    /// The segment that has the record, and the first offset that it does not have any more.
    pub(crate) fn find(
        &self,
        partition: usize,
        offset: u64,
    ) -> Option<(Arc<Segment>, Option<u64>)> {
        let list = self.list.read();
        let at = list
            .partition_point(|segment| segment.first(partition) <= offset)
            .checked_sub(1)?;
        let end = list.get(at + 1).map(|next| next.first(partition));
        Some((list.get(at)?.clone(), end))
    }

    /// The places of records from `offset` on, together with about `max_bytes` of payload.
    pub(crate) fn places(
        &self,
        segment: &Arc<Segment>,
        file: &dyn DiskFile,
        (partition, offset): (usize, u64),
        max_bytes: usize,
    ) -> Result<Vec<Place>, LogError> {
        let mut index = segment.index.lock();
        let mut built = 0;
        let known = match index.take() {
            Some(known) => known,
            // Other readers of this segment wait for the scan rather than do it again.
            None => {
                let scanned = scan(segment, file)?;
                built = index_size(&scanned);
                scanned
            }
        };
        let known = index.insert(known);
        let skipped = usize::try_from(offset - segment.first(partition)).unwrap_or(usize::MAX);
        let places = known
            .get(partition)
            .and_then(|places| places.get(skipped..));
        let mut left = max_bytes;
        let mut chosen = Vec::new();
        for place in places.unwrap_or_default() {
            let bytes = usize::try_from(place.payload).unwrap_or(usize::MAX);
            if bytes > left && !chosen.is_empty() {
                break;
            }
            left = left.saturating_sub(bytes);
            chosen.push(*place);
        }
        drop(index);
        if built > 0 {
            self.used(Arc::clone(segment), built);
        }
        Ok(chosen)
    }

    /// Notes the index of a complete segment, and drops the oldest ones above the bound.
    fn used(&self, segment: Arc<Segment>, size: usize) {
        let mut gone = Vec::new();
        let mut indexed = self.indexed.lock();
        indexed.push_back((segment, size));
        let mut total: usize = indexed.iter().map(|(_, size)| size).sum();
        // The newest stays, or a log with tiny settings would scan at every read.
        while total > self.index_bytes && indexed.len() > 1 {
            if let Some((segment, size)) = indexed.pop_front() {
                total -= size;
                gone.push(segment);
            }
        }
        drop(indexed);
        for segment in gone {
            *segment.index.lock() = None;
        }
    }
}

fn index_size(index: &Index) -> usize {
    let places: usize = index.iter().map(Vec::capacity).sum();
    places * size_of::<Place>() + index.capacity() * size_of::<Vec<Place>>()
}

/// Finds the records of a complete segment. Checksums are checked when a record is read.
fn scan(segment: &Segment, file: &dyn DiskFile) -> Result<Index, LogError> {
    let mut index: Index = segment.head.partitions.iter().map(|_| Vec::new()).collect();
    let mut window = Window::new(file);
    let mut at = head_bytes(index.len()) as u64;
    while let Some(frame) = window
        .get(at, FRAME_BYTES)
        .map_err(|error| unreadable(&error))
        .map(Frame::peek)?
    {
        if !frame.is_floor {
            let place = Place {
                at: u32::try_from(at).map_err(|_| LogError::Corrupt)?,
                payload: frame.payload,
            };
            let partition = usize::try_from(frame.partition).unwrap_or(usize::MAX);
            let places = index.get_mut(partition).ok_or(LogError::Corrupt)?;
            if frame.offset != segment.first(partition) + places.len() as u64 {
                return Err(LogError::Corrupt);
            }
            places.push(place);
        }
        at += frame.size();
    }
    index.iter_mut().for_each(Vec::shrink_to_fit);
    Ok(index)
}

pub(crate) fn unreadable(error: &io::Error) -> LogError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => LogError::Corrupt,
        _ => LogError::Unavailable,
    }
}

/// Reads a file from front to back through a bounded buffer.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    file: &'a dyn DiskFile,
    buffer: Vec<u8>,
    start: u64,
}

/// Bytes read at once in a scan.
const WINDOW_BYTES: usize = 256 * 1024;

impl<'a> Window<'a> {
    pub(crate) const fn new(file: &'a dyn DiskFile) -> Self {
        Self {
            file,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// Up to `len` bytes at a position; fewer at the end of the file.
    pub(crate) fn get(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let inside = |this: &Self| {
            let skipped = usize::try_from(at.checked_sub(this.start)?).ok()?;
            (skipped.saturating_add(len) <= this.buffer.len()).then_some(skipped)
        };
        let skipped = match inside(self) {
            Some(skipped) => skipped,
            None => {
                self.buffer.resize(len.max(WINDOW_BYTES), 0);
                let read = self.file.read_at(&mut self.buffer, at)?;
                self.buffer.truncate(read);
                self.start = at;
                0
            }
        };
        let rest = self.buffer.get(skipped..).unwrap_or_default();
        Ok(rest.get(..len).unwrap_or(rest))
    }
}
