//! From one segment to the next.

use std::sync::Arc;

use super::super::ahead::{AHEAD, Ahead};
use super::super::files::{Segment, UNBORN, file_name};
use super::super::frame::{Head, head_bytes};
use super::super::recover::{begin, create, draw_salt};
use super::{Stop, Writer, no_space};

impl Writer {
    /// Cuts off what was written ahead and not used, so that a complete segment ends with a frame.
    fn cut(&mut self) -> Result<(), Stop> {
        if !self.is_ahead {
            return Ok(());
        }
        let file = &self.last.file;
        let cut = file.set_size(self.last.at).and_then(|()| file.sync_data());
        self.is_ahead = false;
        cut.map_err(|_| Stop("a segment of the log could not be completed"))
    }

    /// Completes the last segment and begins the next one.
    pub(super) fn rotate(&mut self) -> Result<(), Stop> {
        // Only the last segment may have an unsynced end: recovery reads no other.
        self.sync()?;
        self.cut()?;
        let files = &self.shared.files;
        let head = Head {
            number: self.last.segment.head.number + 1,
            at: self.last.time,
            salt: draw_salt(),
            partitions: self
                .last
                .next
                .iter()
                .copied()
                .zip(self.floors.iter().copied())
                .collect(),
        };
        let ahead = self.ahead.as_ref().and_then(Ahead::take);
        let is_ahead = ahead.is_some();
        let made = match ahead {
            Some(file) => begin(&files.disk, &*file, &files.dir.join(AHEAD), &head).map(|()| file),
            None => create(&files.disk, &files.dir, &head),
        };
        let file = match made {
            Ok(file) => file,
            Err(error) if no_space(&error) => {
                // Found and removed at the next opening, if this does not succeed.
                files.disk.remove(&files.dir.join(UNBORN)).ok();
                self.become_full();
                return Ok(());
            }
            Err(_) => return Err(Stop("a segment of the log could not be made")),
        };
        if files.disk.sync_dir(&files.dir).is_err() {
            return Err(Stop("the folder of the log could not be synced"));
        }
        self.last.at = head_bytes(self.floors.len()) as u64;
        self.synced = self.last.at;
        let index = self.floors.iter().map(|_| Vec::new()).collect();
        let path = files.dir.join(file_name(head.number));
        self.last.segment = Arc::new(Segment::new(head, path, Some(index)));
        self.last.file = file;
        self.is_ahead = is_ahead;
        files.push(Arc::clone(&self.last.segment));
        // Not before the file has its new name: the next one is made under the old.
        if let Some(ahead) = &self.ahead {
            ahead.want();
        }
        // What cannot be removed now is tried again with the next floor.
        files.remove_below(&self.floors).ok();
        Ok(())
    }
}
