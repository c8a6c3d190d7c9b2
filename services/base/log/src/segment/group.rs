//! Batches that are written and synced together.

use bytes::BytesMut;
use tokio::sync::oneshot;

use super::files::Place;
use super::frame::{FRAME_BYTES, Frame};
use crate::{Appended, LogError};

/// Encoded frames and who waits for them.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) bytes: BytesMut,
    /// Partition and place in the segment of each record, in order.
    pub(crate) places: Vec<(usize, Place)>,
    pub(crate) pending: Vec<Pending>,
    pub(crate) floors: Vec<Raised>,
}

/// A batch in a group.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) appended: Appended,
    pub(crate) records: usize,
    pub(crate) done: oneshot::Sender<Result<Appended, LogError>>,
}

/// A floor in a group.
#[derive(Debug)]
pub(crate) struct Raised {
    pub(crate) index: usize,
    pub(crate) floor: u64,
    /// None if the writer saves it of its own accord.
    pub(crate) done: Option<oneshot::Sender<Result<(), LogError>>>,
}

impl Group {
    /// Makes room for so many payload bytes at once rather than by doubling.
    pub(crate) fn expect(&mut self, bytes: usize) {
        // A quarter more covers the frames of records of 128 bytes and longer.
        self.bytes.reserve(bytes + bytes / 4);
    }

    pub(crate) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Encodes a frame; the group will be written at `base` of its segment.
    pub(crate) fn add(&mut self, frame: &Frame, base: u64, salt: u32, payload: &[u8]) {
        if !frame.is_floor {
            let place = Place {
                // Fits: a segment has less than 4 GiB, by the settings' check.
                at: u32::try_from(base + self.size()).unwrap_or(u32::MAX),
                payload: frame.payload,
            };
            let partition = usize::try_from(frame.partition).unwrap_or(usize::MAX);
            self.places.push((partition, place));
        }
        frame.encode(salt, payload, &mut self.bytes);
    }

    /// Tells everybody of what is not written, and leaves time to die before it is.
    #[cfg(feature = "mutants")]
    pub(crate) fn acknowledge_early(&mut self) {
        const UNWRITTEN: std::time::Duration = std::time::Duration::from_millis(50);
        if !entente_core::mutant::is(entente_core::mutant::Mutant::AckBeforeDurable) {
            return;
        }
        for pending in &mut self.pending {
            let done = std::mem::replace(&mut pending.done, oneshot::channel().0);
            done.send(Ok(pending.appended)).ok();
        }
        std::thread::sleep(UNWRITTEN);
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
        self.pending.clear();
        self.floors.clear();
    }
}

impl Place {
    /// The payload's place in the bytes of a group, or of a file's part, that begins at `base`.
    pub(crate) fn within(&self, base: u64) -> Option<std::ops::Range<usize>> {
        let start = usize::try_from(u64::from(self.at).checked_sub(base)?).ok()? + FRAME_BYTES;
        Some(start..start + usize::try_from(self.payload).ok()?)
    }
}
