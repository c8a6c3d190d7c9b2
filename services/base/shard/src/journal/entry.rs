//! What is in a journal: claims of owners, and commits in parts.

use bytes::Bytes;
use entente_core::{Epoch, Offset, SealKey, ShardId};
use serde::{Deserialize, Serialize};

use super::pass::Pass;
use crate::record::{KIND_JOURNAL, RecordError, opened, sealed};
use crate::store::Rows;

/// Keys and rows of one part, in bytes: with its frame below what a record of a log in a cluster may
/// have (1 MiB). A row that is longer is a part of its own.
pub(super) const PART_BYTES: usize = 512 * 1024;

/// One record of a journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Entry {
    /// An owner takes the journal over, if the epoch is higher than any before.
    Claim { epoch: Epoch, nonce: [u8; 16] },
    /// A part of a commit.
    Change(Part),
}

/// Rows of one commit. It counts when all of its parts are there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    /// The writer's claim.
    pub(super) epoch: Epoch,
    /// The number of the commit in its epoch.
    pub(super) commit: u64,
    /// Its place among the parts of the commit, from 0.
    pub(super) part: u32,
    /// How far the rows are written again with this commit, of which this is the last part; none in
    /// any other part.
    pub(super) pass: Option<Pass>,
    /// What the commit covers of the input.
    pub(super) replay_from: Offset,
    /// Rows to write (some) or to remove (none).
    pub(super) rows: Vec<(Vec<u8>, Option<Bytes>)>,
}

impl Entry {
    pub(super) fn seal(&self, shard: ShardId, key: &SealKey) -> Bytes {
        sealed(shard, KIND_JOURNAL, self, key)
    }

    /// Reads a record of the journal of a shard.
    ///
    /// # Errors
    /// [`RecordError`]; nothing of a record with a wrong seal is looked at.
    pub(super) fn open(
        shard: ShardId,
        payload: &Bytes,
        key: &SealKey,
    ) -> Result<Self, RecordError> {
        match opened(shard, payload, key)? {
            (KIND_JOURNAL, body) => postcard::from_bytes(body).map_err(|_| RecordError::Malformed),
            _ => Err(RecordError::UnknownKind),
        }
    }
}

/// What a row weighs in a part.
pub(super) fn weight(key: &[u8], row: Option<&Bytes>) -> usize {
    key.len() + row.map_or(0, Bytes::len)
}

/// Divides a commit into parts, at least one.
pub(super) fn parts(
    (epoch, commit): (Epoch, u64),
    replay_from: Offset,
    rows: &Rows,
    pass: Pass,
) -> Vec<Part> {
    let part = |part| Part {
        epoch,
        commit,
        part,
        pass: None,
        replay_from,
        rows: Vec::new(),
    };
    let (mut done, mut open, mut bytes) = (Vec::new(), part(0), 0);
    for (key, row) in rows {
        let more = weight(key, row.as_ref());
        if bytes + more > PART_BYTES && !open.rows.is_empty() {
            let next = part(open.part + 1);
            done.push(std::mem::replace(&mut open, next));
            bytes = 0;
        }
        bytes += more;
        open.rows.push((key.clone(), row.clone()));
    }
    open.pass = Some(pass);
    done.push(open);
    done
}
