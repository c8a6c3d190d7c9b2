//! Reads records from segment files. Everything here blocks.
//!
//! Records of one partition lie scattered among those of the others: neighbours are read together
//! when the bytes between them cost less than another call.

use std::io;

use bytes::{Bytes, BytesMut};
use entente_core::Offset;

use super::disk::DiskFile;
use super::files::{Place, Segment, unreadable};
use super::frame::{FRAME_BYTES, checked};
use super::shared::Shared;
use crate::{LogError, Record};

/// Bytes of others that are read along rather than skipped by another call.
const GAP_BYTES: u64 = 4 * 1024;
/// Bytes read by one call, and a record: a reader that holds one record holds as much at most.
const CALL_BYTES: u64 = 256 * 1024;
/// Payload bytes of one read at most, whatever the caller allows.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// Records of a partition from `from` on, which is durable and not below the floor.
pub(crate) fn read(
    shared: &Shared,
    index: usize,
    from: u64,
    max_bytes: usize,
) -> Result<Vec<Record>, LogError> {
    let floor = || LogError::Truncated {
        floor: Offset::new(shared.partitions.get(index).map_or(0, |p| p.floor())),
    };
    let (segment, _) = shared.files.find(index, from).ok_or_else(floor)?;
    let file = match shared.files.disk.open(&segment.path) {
        Ok(file) => file,
        // The floor was raised and the segment went while this read was on its way.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(floor()),
        Err(error) => return Err(unreadable(&error)),
    };
    let max_bytes = max_bytes.min(READ_BYTES);
    let places = shared
        .files
        .places(&segment, &*file, (index, from), max_bytes)?;
    let mut records = Vec::with_capacity(places.len());
    let mut rest = places.as_slice();
    while let Some((run, after)) = split_run(rest) {
        rest = after;
        read_run(&*file, &segment, index, run, &mut records)?;
    }
    let follows = (from..)
        .zip(&records)
        .all(|(offset, record)| record.offset.value() == offset);
    if records.is_empty() || !follows {
        return Err(LogError::Corrupt);
    }
    Ok(records)
}

fn end_of(place: &Place) -> u64 {
    u64::from(place.at) + FRAME_BYTES as u64 + u64::from(place.payload)
}

/// Takes from the front what one call should read.
fn split_run(places: &[Place]) -> Option<(&[Place], &[Place])> {
    let first = places.first()?;
    let near = places
        .iter()
        .zip(places.iter().skip(1))
        .take_while(|(before, place)| {
            u64::from(place.at) - end_of(before) <= GAP_BYTES
                && end_of(place) - u64::from(first.at) <= CALL_BYTES
        });
    places.split_at_checked(1 + near.count())
}

fn read_run(
    file: &dyn DiskFile,
    segment: &Segment,
    index: usize,
    run: &[Place],
    records: &mut Vec<Record>,
) -> Result<(), LogError> {
    let Some((first, last)) = run.first().zip(run.last()) else {
        return Ok(());
    };
    let base = u64::from(first.at);
    let size = usize::try_from(end_of(last) - base).map_err(|_| LogError::Corrupt)?;
    let mut bytes = BytesMut::zeroed(size);
    let read = file
        .read_at(&mut bytes, base)
        .map_err(|error| unreadable(&error))?;
    bytes.truncate(read);
    let bytes: Bytes = bytes.freeze();
    for place in run {
        let range = place.within(base).ok_or(LogError::Corrupt)?;
        let frame = bytes
            .get(range.start - FRAME_BYTES..range.end)
            .and_then(|bytes| checked(segment.head.salt, bytes))
            .filter(|frame| !frame.is_floor && usize::try_from(frame.partition) == Ok(index))
            .ok_or(LogError::Corrupt)?;
        records.push(Record {
            offset: Offset::new(frame.offset),
            appended: frame.at,
            payload: bytes.slice(range),
        });
    }
    Ok(())
}
