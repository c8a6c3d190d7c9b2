//! The record of the wake-up log: something waits for a user who is not connected.
//!
//! Thin on purpose: no sender, no count, no content. The trace of a sampled message follows what every
//! version reads; who does not know it passes over it.

use bytes::Bytes;
use entente_core::{AccountId, Counter, SealKey, ShardId, TAG_BYTES, TraceContext};
use serde::{Deserialize, Serialize};

use crate::record::RecordError;

/// A wake-up that a shard emitted. At least once: a reader may see it again after a take-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WakeUp {
    /// The shard whose fold emitted it.
    pub source: ShardId,
    /// Its place among the shard's wake-ups: the same on every repetition.
    pub counter: Counter,
    /// Who is to be woken.
    pub account: AccountId,
    /// The trace of the message that waits, if it is sampled.
    #[serde(skip)]
    pub trace: Option<TraceContext>,
}

/// Names the log, so that a record of another log does not open as a wake-up.
const CONTEXT: &[u8] = b"wake";

impl WakeUp {
    /// Writes the record, sealed.
    pub fn record(&self, key: &SealKey) -> Bytes {
        let mut out = crate::cells::encode(self).to_vec();
        if let Some(trace) = self.trace {
            out.extend_from_slice(&trace.to_bytes());
        }
        let tag = key.tag(&[CONTEXT, &out].concat());
        out.extend_from_slice(&tag);
        out.into()
    }

    /// Checks and reads a record of the wake-up log.
    ///
    /// # Errors
    /// [`RecordError`] if it is not ours or cannot be read.
    pub fn open(payload: &[u8], key: &SealKey) -> Result<Self, RecordError> {
        let end = payload
            .len()
            .checked_sub(TAG_BYTES)
            .ok_or(RecordError::BadSeal)?;
        let (body, tag) = payload.split_at_checked(end).ok_or(RecordError::BadSeal)?;
        if !key.is_tag_of(tag, &[CONTEXT, body].concat()) {
            return Err(RecordError::BadSeal);
        }
        let (wake, rest) =
            postcard::take_from_bytes::<Self>(body).map_err(|_| RecordError::Malformed)?;
        let trace = TraceContext::from_bytes(rest);
        Ok(Self { trace, ..wake })
    }
}
