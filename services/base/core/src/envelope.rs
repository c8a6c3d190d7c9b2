//! A stanza that the edge has admitted: stamped with where it comes from, and sealed.
//!
//! In: facts of the negotiated session and the canonical bytes of the stanza. Out: one record for
//! the log. The layout is fixed and versioned, so that a reader can check the seal before it trusts
//! any length but its own.
//!
//! **Invariants**
//! - Partner, account and device of origin are stamped by the edge, never read from the stanza.
//! - The seal covers every byte before it; a record that was moved to another recipient, changed or
//!   invented does not open.
//! - The payload is opaque here: it was serialised once, when the stanza was admitted.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{AccountId, Epoch, PartnerId, Position, SealKey, TAG_BYTES, Timestamp};

/// Longest stanza id that is admitted, in bytes. Clients use 10 to 40; a dedupe window hashes it.
pub const MAX_STANZA_ID_BYTES: usize = 256;

const VERSION: u8 = 1;
const FLAG_RECEIPT: u8 = 1;
const FLAG_TRACE: u8 = 2;
/// Version, class, flags, origin (2 + 8 + 2), recipient (2 + 8), epoch, position, two times.
const HEAD_BYTES: usize = 3 + 12 + 10 + 8 + 8 + 8 + 8;
const TRACE_BYTES: usize = 25;

/// What is owed to a stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A message or receipt: stored until the device acknowledged it.
    Durable,
    /// Typing and presence: delivered now or never.
    Ephemeral,
}

/// A W3C trace context that the gateway made (never the client's): trace id, span id, flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// 16 bytes shared by all spans of the trace.
    pub trace_id: [u8; 16],
    /// 8 bytes of the span that caused this envelope.
    pub span_id: [u8; 8],
    /// Bit 0 says sampled.
    pub flags: u8,
}

impl TraceContext {
    /// Trace id, span id, flags, as they travel.
    pub fn to_bytes(self) -> [u8; TRACE_BYTES] {
        let mut out = [0; TRACE_BYTES];
        let (ids, flags) = out.split_at_mut(TRACE_BYTES - 1);
        let (trace_id, span_id) = ids.split_at_mut(self.trace_id.len());
        trace_id.copy_from_slice(&self.trace_id);
        span_id.copy_from_slice(&self.span_id);
        flags.copy_from_slice(&[self.flags]);
        out
    }

    /// Reads what [`TraceContext::to_bytes`] wrote; none if it has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (trace_id, rest) = bytes.split_first_chunk()?;
        let (span_id, flags) = rest.split_first_chunk()?;
        let [flags] = *flags else { return None };
        Some(Self {
            trace_id: *trace_id,
            span_id: *span_id,
            flags,
        })
    }
}

/// An admitted stanza with its stamps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The account that the session proved to be; its partner is the partner of origin.
    pub from: AccountId,
    /// The device of the account that sent it. The framework profile knows one: 1.
    pub from_device: u16,
    /// The account for which it is.
    pub to: AccountId,
    /// The epoch of the sender's session.
    pub epoch: Epoch,
    /// The count of the stanza in the sender's session.
    pub position: Position,
    /// What is owed to it.
    pub class: Class,
    /// The sender's stanza id; empty if it had none.
    pub id: Bytes,
    /// Whether the sender asked for the gateway's delivered receipt.
    pub wants_receipt: bool,
    /// The trace to which the hand-over belongs.
    pub trace: Option<TraceContext>,
    /// When the edge admitted it.
    pub admitted: Timestamp,
    /// After this it is not delivered any more; the sender gets a failure notice if it is durable.
    pub expires: Timestamp,
    /// The canonical stanza.
    pub payload: Bytes,
}

/// Why a record is not an envelope of this deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The seal is not ours, or a byte changed.
    #[error("envelope seal does not match")]
    BadSeal,
    /// The layout cannot be read although the seal is ours.
    #[error("envelope layout is broken")]
    Malformed,
    /// Written by a version that this one does not know.
    #[error("envelope version is not known")]
    UnknownVersion,
}

impl Envelope {
    /// Serialises and seals the envelope.
    pub fn seal(&self, key: &SealKey) -> Bytes {
        let mut out = BytesMut::with_capacity(self.sealed_len());
        self.seal_into(key, &mut out);
        out.freeze()
    }

    /// Length of what [`Envelope::seal`] returns, in bytes.
    pub fn sealed_len(&self) -> usize {
        let trace = if self.trace.is_some() { TRACE_BYTES } else { 0 };
        HEAD_BYTES + trace + 2 + self.id.len() + 4 + self.payload.len() + TAG_BYTES
    }

    /// Appends the sealed envelope to a buffer that may hold a record header already.
    ///
    /// An id beyond 65,535 or a payload beyond 2^32 - 1 bytes is cut; limits far below are held
    /// where stanzas are read.
    pub fn seal_into(&self, key: &SealKey, out: &mut BytesMut) {
        let start = out.len();
        out.put_u8(VERSION);
        out.put_u8(match self.class {
            Class::Durable => 1,
            Class::Ephemeral => 2,
        });
        let receipt = if self.wants_receipt { FLAG_RECEIPT } else { 0 };
        out.put_u8(receipt | if self.trace.is_some() { FLAG_TRACE } else { 0 });
        put_account(out, self.from);
        out.put_u16(self.from_device);
        put_account(out, self.to);
        out.put_u64(self.epoch.value());
        out.put_u64(self.position.value());
        out.put_u64(self.admitted.millis());
        out.put_u64(self.expires.millis());
        if let Some(trace) = &self.trace {
            out.put_slice(&trace.to_bytes());
        }
        let id_len = u16::try_from(self.id.len()).unwrap_or(u16::MAX);
        out.put_u16(id_len);
        out.put((&self.id[..]).take(usize::from(id_len)));
        let payload_len = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        out.put_u32(payload_len);
        out.put((&self.payload[..]).take(usize::try_from(payload_len).unwrap_or(usize::MAX)));
        let tag = key.tag(out.get(start..).unwrap_or_default());
        out.put_slice(&tag);
    }

    /// Checks the seal and reads the envelope; id and payload share the record's memory.
    ///
    /// # Errors
    /// [`EnvelopeError`]; a broken seal is told before anything inside is looked at.
    pub fn open(record: &Bytes, key: &SealKey) -> Result<Self, EnvelopeError> {
        let body_len = record
            .len()
            .checked_sub(TAG_BYTES)
            .ok_or(EnvelopeError::BadSeal)?;
        let (body, tag) = record
            .split_at_checked(body_len)
            .ok_or(EnvelopeError::BadSeal)?;
        if !key.is_tag_of(tag, body) {
            return Err(EnvelopeError::BadSeal);
        }
        Self::read(record.slice(..body_len))
    }

    fn read(mut body: Bytes) -> Result<Self, EnvelopeError> {
        if body.len() < HEAD_BYTES {
            return Err(EnvelopeError::Malformed);
        }
        if body.get_u8() != VERSION {
            return Err(EnvelopeError::UnknownVersion);
        }
        let class = match body.get_u8() {
            1 => Class::Durable,
            2 => Class::Ephemeral,
            _ => return Err(EnvelopeError::Malformed),
        };
        let flags = body.get_u8();
        let from = take_account(&mut body)?;
        let from_device = body.get_u16();
        let to = take_account(&mut body)?;
        let epoch = Epoch::new(body.get_u64());
        let position = Position::new(body.get_u64());
        let admitted = Timestamp::from_millis(body.get_u64());
        let expires = Timestamp::from_millis(body.get_u64());
        let trace = if flags & FLAG_TRACE != 0 {
            Some(take_trace(&mut body)?)
        } else {
            None
        };
        let id_len = body.try_get_u16().map_err(|_| EnvelopeError::Malformed)?;
        let id = take(&mut body, usize::from(id_len))?;
        let payload_len = body.try_get_u32().map_err(|_| EnvelopeError::Malformed)?;
        let payload = take(
            &mut body,
            usize::try_from(payload_len).unwrap_or(usize::MAX),
        )?;
        if !body.is_empty() {
            return Err(EnvelopeError::Malformed);
        }
        let wants_receipt = flags & FLAG_RECEIPT != 0;
        Ok(Self {
            from,
            from_device,
            to,
            epoch,
            position,
            class,
            id,
            wants_receipt,
            trace,
            admitted,
            expires,
            payload,
        })
    }
}

fn put_account(out: &mut BytesMut, account: AccountId) {
    out.put_u16(account.partner().number());
    out.put_u64(account.number());
}

fn take_account(body: &mut Bytes) -> Result<AccountId, EnvelopeError> {
    let partner = body.try_get_u16().map_err(|_| EnvelopeError::Malformed)?;
    let number = body.try_get_u64().map_err(|_| EnvelopeError::Malformed)?;
    let partner = PartnerId::new(partner).ok_or(EnvelopeError::Malformed)?;
    Ok(AccountId::new(partner, number))
}

fn take_trace(body: &mut Bytes) -> Result<TraceContext, EnvelopeError> {
    let trace = take(body, TRACE_BYTES)?;
    TraceContext::from_bytes(&trace).ok_or(EnvelopeError::Malformed)
}

fn take(body: &mut Bytes, len: usize) -> Result<Bytes, EnvelopeError> {
    if body.len() < len {
        Err(EnvelopeError::Malformed)
    } else {
        Ok(body.split_to(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Envelope {
        let partner = PartnerId::new(7).unwrap();
        Envelope {
            from: AccountId::new(partner, 42),
            from_device: 1,
            to: AccountId::new(PartnerId::new(9).unwrap(), 43),
            epoch: Epoch::new(3),
            position: Position::new(12),
            class: Class::Durable,
            id: Bytes::from_static(b"abc"),
            wants_receipt: true,
            trace: Some(TraceContext {
                trace_id: [1; 16],
                span_id: [2; 8],
                flags: 1,
            }),
            admitted: Timestamp::from_millis(5),
            expires: Timestamp::from_millis(6),
            payload: Bytes::from_static(b"<message/>"),
        }
    }

    #[test]
    fn opens_what_was_sealed() {
        let key = SealKey::new(&[9; 32]);
        for trace in [sample().trace, None] {
            let envelope = Envelope { trace, ..sample() };
            let sealed = envelope.seal(&key);
            assert_eq!(sealed.len(), envelope.sealed_len());
            assert_eq!(Envelope::open(&sealed, &key), Ok(envelope));
        }
    }

    /// T142: every changed, missing or added byte, and every other key, is refused.
    #[test]
    fn refuses_any_change() {
        let key = SealKey::new(&[9; 32]);
        let sealed = sample().seal(&key);
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert_eq!(
                Envelope::open(&changed.into(), &key),
                Err(EnvelopeError::BadSeal)
            );
            assert_eq!(
                Envelope::open(&sealed.slice(..at), &key),
                Err(EnvelopeError::BadSeal)
            );
        }
        assert_eq!(
            Envelope::open(&sealed, &SealKey::new(&[8; 32])),
            Err(EnvelopeError::BadSeal)
        );
    }

    /// T152: a record of a later version is told apart from a broken one.
    #[test]
    fn later_versions_are_named() {
        let key = SealKey::new(&[9; 32]);
        let mut body = sample().seal(&key).to_vec();
        body.truncate(body.len() - TAG_BYTES);
        body[0] = VERSION + 1;
        let tag = key.tag(&body);
        body.extend_from_slice(&tag);
        assert_eq!(
            Envelope::open(&body.into(), &key),
            Err(EnvelopeError::UnknownVersion)
        );
    }
}
