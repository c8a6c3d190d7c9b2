//! The bytes of a segment: a head that says whose it is, then frames.
//!
//! Frame: CRC-32C of all that follows, payload length, partition (or its floor, top bit set), bytes
//! since the last sync, offset, append time, payload. Little endian.
//!
//! **Invariants**
//! - The checksum starts from a number drawn for the segment, so that no payload can hold a valid
//!   frame: what looks like a frame after a damaged one was written as one.
//! - A frame says up to where its segment was synced when it was written. Damage below that mark
//!   was durable once; damage above it is a write that power failure tore.

use bytes::{Buf, BufMut, BytesMut};
use entente_core::Timestamp;

/// Bytes of a frame before its payload.
pub(crate) const FRAME_BYTES: usize = 32;
const CRC_BYTES: usize = 4;
/// In the partition field: not a record, but the floor of that partition.
const FLOOR_BIT: u32 = 1 << 31;

const MAGIC: &[u8; 8] = b"ENTLOG\r\n";
const VERSION: u32 = 1;
/// Magic, version, partitions, number, time, salt, and the checksum at the end.
const FIXED_HEAD_BYTES: usize = 8 + 4 + 4 + 8 + 8 + 4 + 4;

/// A frame without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) partition: u32,
    pub(crate) is_floor: bool,
    /// Bytes between the last synced position and the start of this frame.
    pub(crate) unsynced: u32,
    pub(crate) offset: u64,
    pub(crate) at: Timestamp,
    pub(crate) payload: u32,
}

impl Frame {
    /// Bytes of frame and payload together.
    pub(crate) const fn size(&self) -> u64 {
        FRAME_BYTES as u64 + self.payload as u64
    }

    /// Writes the frame with its payload, which is as long as the frame says.
    pub(crate) fn encode(&self, salt: u32, payload: &[u8], into: &mut BytesMut) {
        let mut head = [0; FRAME_BYTES - CRC_BYTES];
        let mut rest = head.as_mut_slice();
        rest.put_u32_le(self.payload);
        rest.put_u32_le(self.partition | if self.is_floor { FLOOR_BIT } else { 0 });
        rest.put_u32_le(self.unsynced);
        rest.put_u64_le(self.offset);
        rest.put_u64_le(self.at.millis());
        let crc = crc32c::crc32c_append(crc32c::crc32c_append(salt, &head), payload);
        into.reserve(FRAME_BYTES + payload.len());
        into.put_u32_le(crc);
        into.put_slice(&head);
        into.put_slice(payload);
    }

    /// Reads the fields, trusting nothing: the checksum is looked at by [`checked`].
    pub(crate) fn peek(bytes: &[u8]) -> Option<Self> {
        let mut head = bytes.get(CRC_BYTES..FRAME_BYTES)?;
        let payload = head.get_u32_le();
        let partition = head.get_u32_le();
        Some(Self {
            payload,
            partition: partition & !FLOOR_BIT,
            is_floor: partition & FLOOR_BIT != 0,
            unsynced: head.get_u32_le(),
            offset: head.get_u64_le(),
            at: Timestamp::from_millis(head.get_u64_le()),
        })
    }
}

/// The frame at the start of `bytes`, if all of it is there and has its checksum.
pub(crate) fn checked(salt: u32, bytes: &[u8]) -> Option<Frame> {
    let frame = Frame::peek(bytes)?;
    let size = usize::try_from(frame.size()).ok()?;
    let (mut crc, covered) = bytes.get(..size)?.split_at_checked(CRC_BYTES)?;
    (crc32c::crc32c_append(salt, covered) == crc.get_u32_le()).then_some(frame)
}

/// What a segment says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) number: u64,
    /// No record of the segment is older.
    pub(crate) at: Timestamp,
    pub(crate) salt: u32,
    /// For each partition the offset of its first record in this segment, and its floor.
    pub(crate) partitions: Vec<(u64, u64)>,
}

/// Why a head could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHead {
    Damaged,
    Partitions(u32),
    Version(u32),
}

/// Bytes of a head for so many partitions.
pub(crate) const fn head_bytes(partitions: usize) -> usize {
    FIXED_HEAD_BYTES + partitions * 16
}

impl Head {
    pub(crate) fn encode(&self) -> BytesMut {
        let mut bytes = BytesMut::with_capacity(head_bytes(self.partitions.len()));
        bytes.put_slice(MAGIC);
        bytes.put_u32_le(VERSION);
        bytes.put_u32_le(u32::try_from(self.partitions.len()).unwrap_or(u32::MAX));
        bytes.put_u64_le(self.number);
        bytes.put_u64_le(self.at.millis());
        bytes.put_u32_le(self.salt);
        for (first, floor) in &self.partitions {
            bytes.put_u64_le(*first);
            bytes.put_u64_le(*floor);
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.put_u32_le(crc);
        bytes
    }

    /// Reads the head of a log that is configured to have so many partitions.
    pub(crate) fn decode(bytes: &[u8], partitions: usize) -> Result<Self, BadHead> {
        let damaged = BadHead::Damaged;
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(damaged)?;
        let version = rest.try_get_u32_le().map_err(|_| damaged)?;
        if version != VERSION {
            return Err(BadHead::Version(version));
        }
        let found = rest.try_get_u32_le().map_err(|_| damaged)?;
        if usize::try_from(found) != Ok(partitions) {
            return Err(BadHead::Partitions(found));
        }
        let covered = bytes
            .get(..head_bytes(partitions) - CRC_BYTES)
            .ok_or(damaged)?;
        let mut crc = bytes.get(covered.len()..).ok_or(damaged)?;
        if crc.try_get_u32_le() != Ok(crc32c::crc32c(covered)) {
            return Err(damaged);
        }
        // The length was checked with the checksum.
        Ok(Self {
            number: rest.get_u64_le(),
            at: Timestamp::from_millis(rest.get_u64_le()),
            salt: rest.get_u32_le(),
            partitions: (0..partitions)
                .map(|_| (rest.get_u64_le(), rest.get_u64_le()))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame {
        partition: 3,
        is_floor: false,
        unsynced: 77,
        offset: u64::MAX,
        at: Timestamp::from_millis(1_700_000_000_000),
        payload: 5,
    };

    #[test]
    fn a_frame_is_read_back_and_any_changed_bit_is_noticed() {
        let mut bytes = BytesMut::new();
        FRAME.encode(9, b"hello", &mut bytes);
        assert_eq!(checked(9, &bytes), Some(FRAME));
        assert_eq!(checked(8, &bytes), None, "another segment's frame");
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(checked(9, &changed), None, "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert_eq!(checked(9, &bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(checked(0x1234_5678, &[0; 64]), None);
    }

    #[test]
    fn a_head_is_read_back_and_says_precisely_what_is_wrong() {
        let head = Head {
            number: 7,
            at: Timestamp::from_millis(5),
            salt: 11,
            partitions: vec![(1, 0), (9, 4)],
        };
        let bytes = head.encode();
        assert_eq!(bytes.len(), head_bytes(2));
        assert_eq!(Head::decode(&bytes, 2), Ok(head));
        assert_eq!(Head::decode(&bytes, 3), Err(BadHead::Partitions(2)));
        assert_eq!(Head::decode(&bytes[..20], 2), Err(BadHead::Damaged));
        let mut newer = bytes.clone();
        newer[8] = 2;
        assert_eq!(Head::decode(&newer, 2), Err(BadHead::Version(2)));
        let mut damaged = bytes;
        damaged[30] ^= 1;
        assert_eq!(Head::decode(&damaged, 2), Err(BadHead::Damaged));
    }
}
