//! Opens the folder of a log and finds where its last write ended.
//!
//! Only the last segment is read: the others were synced before it was made, and its head says
//! where each partition and floor stood then.
//!
//! **Invariants**
//! - A torn end is cut off only if nothing in it was ever synced; else the log does not open and
//!   nothing is altered.
//! - What is readable after opening is on the disk: bytes not known to be synced are written again
//!   and synced first, since after a failed sync the system may hold clean pages of them that the
//!   disk does not have.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use entente_core::{Timestamp, random_array};

use super::ahead::AHEAD;
use super::config::{OpenError, Recovered, SegmentConfig};
use super::disk::{Disk, DiskFile, Held};
use super::files::{Files, Index, Place, Segment, UNBORN, Window, file_name, number_of};
use super::frame::{BadHead, FRAME_BYTES, Frame, Head, checked, head_bytes};

/// An opened folder.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) lock: Box<dyn Held>,
    pub(crate) files: Files,
    pub(crate) last: Last,
    pub(crate) floors: Vec<u64>,
    pub(crate) recovered: Recovered,
}

/// The segment that is written to.
#[derive(Debug)]
pub(crate) struct Last {
    pub(crate) segment: Arc<Segment>,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Where the next frame goes.
    pub(crate) at: u64,
    /// The offset that the next record of each partition gets.
    pub(crate) next: Vec<u64>,
    pub(crate) time: Timestamp,
}

const LOCK: &str = "lock";

pub(crate) fn open(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    config: &SegmentConfig,
) -> Result<Opened, OpenError> {
    config.check()?;
    disk.make_dir(dir)
        .map_err(OpenError::io("make the folder of the log"))?;
    let lock = disk
        .lock(&dir.join(LOCK))
        .map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked,
            _ => OpenError::io("lock the log")(error),
        })?;
    let mut numbers = numbers(disk, dir)?;
    let partitions = usize::try_from(config.partitions).unwrap_or(usize::MAX);
    if numbers.is_empty() {
        let head = first_head(partitions);
        create(disk, dir, &head).map_err(OpenError::io("make the first segment"))?;
        disk.sync_dir(dir)
            .map_err(OpenError::io("sync the folder of the log"))?;
        numbers.push(head.number);
    }
    let mut list = VecDeque::new();
    for number in numbers {
        let path = dir.join(file_name(number));
        let file = disk.open(&path).map_err(OpenError::io("open a segment"))?;
        let head = read_head(&*file, number, config.partitions)?;
        list.push_back((head, path, file));
    }
    let oldest = list.front().map(|(head, ..)| head.clone());
    let Some(((head, path, file), oldest)) = list.pop_back().zip(oldest) else {
        return Err(OpenError::Missing { segment: 1 });
    };
    // A segment that was removed took everything below the first offsets of the next one.
    let mut floors: Vec<u64> = head
        .partitions
        .iter()
        .zip(&oldest.partitions)
        .map(|((_, floor), (first, _))| *floor.max(first))
        .collect();
    let tail = scan(&*file, &head)?;
    let torn_bytes = settle(&*file, &tail).map_err(OpenError::io("repair the last segment"))?;
    for (partition, floor) in tail.floors {
        if let Some(known) = floors.get_mut(partition) {
            *known = floor.max(*known);
        }
    }
    let recovered = Recovered {
        segments: list.len() + 1,
        records: tail.index.iter().map(|places| places.len() as u64).sum(),
        torn_bytes,
    };
    let segment = Arc::new(Segment::new(head, path, Some(tail.index)));
    let mut list: VecDeque<_> = list
        .into_iter()
        .map(|(head, path, _)| Arc::new(Segment::new(head, path, None)))
        .collect();
    list.push_back(Arc::clone(&segment));
    Ok(Opened {
        lock,
        files: Files::new(Arc::clone(disk), dir, list, config.index_bytes.get()),
        last: Last {
            segment,
            file,
            at: tail.end,
            next: tail.next,
            time: tail.time,
        },
        floors,
        recovered,
    })
}

/// The numbers of the segments, with none missing between.
fn numbers(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Vec<u64>, OpenError> {
    let names = disk.list(dir).map_err(OpenError::io("list the log"))?;
    for unfinished in [UNBORN, AHEAD] {
        if names.iter().any(|name| name == unfinished) {
            disk.remove(&dir.join(unfinished))
                .map_err(OpenError::io("remove an unfinished segment"))?;
        }
    }
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    if let Some((before, _)) = numbers
        .iter()
        .zip(numbers.iter().skip(1))
        .find(|(a, b)| *a + 1 != **b)
    {
        return Err(OpenError::Missing {
            segment: before + 1,
        });
    }
    Ok(numbers)
}

/// Makes a segment under its name; it is durable when the folder is synced. After an error there is
/// none of that name.
pub(crate) fn create(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    head: &Head,
) -> io::Result<Arc<dyn DiskFile>> {
    let unborn = dir.join(UNBORN);
    let file = disk.create(&unborn)?;
    begin(disk, &*file, &unborn, head)?;
    Ok(file)
}

/// Makes a file a segment.
pub(crate) fn begin(
    disk: &Arc<dyn Disk>,
    file: &dyn DiskFile,
    path: &Path,
    head: &Head,
) -> io::Result<()> {
    file.write_at(&head.encode(), 0)?;
    file.sync_data()?;
    disk.rename(path, &path.with_file_name(file_name(head.number)))
}

/// A number that differs from segment to segment and that no sender can know.
pub(crate) fn draw_salt() -> u32 {
    u32::from_le_bytes(random_array())
}

fn first_head(partitions: usize) -> Head {
    Head {
        number: 1,
        at: Timestamp::default(),
        salt: draw_salt(),
        partitions: vec![(0, 0); partitions],
    }
}

fn read_head(file: &dyn DiskFile, segment: u64, wanted: u32) -> Result<Head, OpenError> {
    let partitions = usize::try_from(wanted).unwrap_or(usize::MAX);
    let mut bytes = vec![0; head_bytes(partitions)];
    let read = file
        .read_at(&mut bytes, 0)
        .map_err(OpenError::io("read a segment"))?;
    bytes.truncate(read);
    match Head::decode(&bytes, partitions) {
        Ok(head) if head.number == segment => Ok(head),
        Ok(_) | Err(BadHead::Damaged) => Err(OpenError::Damaged { segment, at: 0 }),
        Err(BadHead::Partitions(found)) => Err(OpenError::Partitions { found, wanted }),
        Err(BadHead::Version(version)) => Err(OpenError::Version { segment, version }),
    }
}

/// What the last segment holds.
struct Scanned {
    index: Index,
    next: Vec<u64>,
    floors: Vec<(usize, u64)>,
    time: Timestamp,
    /// The highest position that is known to be on the disk.
    synced: u64,
    /// The end of the last good frame.
    end: u64,
    /// The end of what is not zeros: a segment may have been written ahead.
    content: u64,
    /// The end of the file.
    size: u64,
}

fn scan(file: &dyn DiskFile, head: &Head) -> Result<Scanned, OpenError> {
    let size = file.size().map_err(OpenError::io("read a segment"))?;
    let mut window = Window::new(file);
    let start = head_bytes(head.partitions.len()) as u64;
    let mut found = Scanned {
        index: head.partitions.iter().map(|_| Vec::new()).collect(),
        next: head.partitions.iter().map(|(first, _)| *first).collect(),
        floors: Vec::new(),
        time: head.at,
        synced: start,
        end: start,
        content: content_end(file, size).map_err(OpenError::io("read a segment"))?,
        size,
    };
    let damaged = |at| OpenError::Damaged {
        segment: head.number,
        at,
    };
    let mut frame_at = |at| frame_at(&mut window, at, size, head);
    // No frame is all zeros: it has the time of its append.
    while found.end < found.content
        && let Some(frame) = frame_at(found.end)?
    {
        found.take(&frame).ok_or(damaged(found.end))?;
    }
    // Whatever follows is torn, unless a later frame says that this place had been synced.
    let mut at = found.end + 1;
    while at < found.content {
        if let Some(frame) = frame_at(at)? {
            if at - u64::from(frame.unsynced).min(at) > found.end {
                return Err(damaged(found.end));
            }
            at += frame.size();
        } else {
            at += 1;
        }
    }
    Ok(found)
}

/// The position after the last byte of a file that is not zero.
fn content_end(file: &dyn DiskFile, size: u64) -> io::Result<u64> {
    const BLOCK: usize = 64 * 1024;
    let zeros = vec![0; BLOCK];
    let mut block = vec![0; BLOCK];
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let read = file.read_at(&mut block, start)?;
        let wanted = usize::try_from(end - start).unwrap_or(BLOCK);
        let part = block.get(..read.min(wanted)).unwrap_or_default();
        if zeros.get(..part.len()) != Some(part) {
            let last = part.iter().rposition(|byte| *byte != 0);
            return Ok(start + last.map_or(0, |last| last as u64 + 1));
        }
        end = start;
    }
    Ok(0)
}

fn frame_at(
    window: &mut Window<'_>,
    at: u64,
    size: u64,
    head: &Head,
) -> Result<Option<Frame>, OpenError> {
    let io = || OpenError::io("read a segment");
    let frame = Frame::peek(window.get(at, FRAME_BYTES).map_err(io())?);
    // Before the checksum, so that a byte-wise search does not sum what cannot be a frame.
    let plausible = |frame: &Frame| {
        usize::try_from(frame.partition).is_ok_and(|p| p < head.partitions.len())
            && u64::from(frame.unsynced) <= at
            && at + frame.size() <= size
    };
    let Some(frame) = frame.filter(plausible) else {
        return Ok(None);
    };
    let size = usize::try_from(frame.size()).unwrap_or(usize::MAX);
    Ok(checked(head.salt, window.get(at, size).map_err(io())?))
}

impl Scanned {
    /// Takes the next frame; nothing if it does not follow from those before.
    fn take(&mut self, frame: &Frame) -> Option<()> {
        let partition = usize::try_from(frame.partition).unwrap_or(usize::MAX);
        if frame.is_floor {
            self.floors.push((partition, frame.offset));
        } else {
            let next = self.next.get_mut(partition)?;
            if *next != frame.offset {
                return None;
            }
            *next += 1;
            self.index.get_mut(partition)?.push(Place {
                at: u32::try_from(self.end).ok()?,
                payload: frame.payload,
            });
        }
        self.time = self.time.max(frame.at);
        self.synced = self
            .synced
            .max(self.end - u64::from(frame.unsynced).min(self.end));
        self.end += frame.size();
        Some(())
    }
}

/// Cuts off what is torn and makes the rest durable. Returns how much was cut.
fn settle(file: &dyn DiskFile, tail: &Scanned) -> io::Result<u64> {
    if tail.size > tail.end {
        file.set_size(tail.end)?;
    }
    let mut at = tail.synced;
    let mut window = Window::new(file);
    while at < tail.end {
        let left = usize::try_from(tail.end - at).unwrap_or(usize::MAX);
        let bytes = window.get(at, left.min(REWRITE_BYTES))?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_at(bytes, at)?;
        at += bytes.len() as u64;
    }
    file.sync_data()?;
    Ok(tail.content.saturating_sub(tail.end))
}

/// Bytes written again at once.
const REWRITE_BYTES: usize = 128 * 1024;
