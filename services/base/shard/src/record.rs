//! What is in the input log: envelopes, commands of the owner, outputs of other shards.
//!
//! Layout: kind byte, body, and for all but envelopes (which bring their own) a seal over shard,
//! kind and body. A record in the partition of another shard does not open.
//!
//! Commands and outputs are postcard; variants are only ever appended to the enums, and a change of
//! meaning takes a new kind byte.

use bytes::{BufMut, Bytes, BytesMut};
use entente_core::{
    AccountId, Content, Counter, Enlistment, Envelope, EnvelopeError, Epoch, PrekeyUpload, SealKey,
    Sequence, SessionId, ShardId, TAG_BYTES,
};
use serde::{Deserialize, Serialize};

use crate::outbox::Target;

const KIND_ENVELOPE: u8 = 1;
const KIND_COMMANDS: u8 = 2;
const KIND_OUTPUTS: u8 = 3;
/// Of a journal, which is another log than the input.
pub(crate) const KIND_JOURNAL: u8 = 4;

/// One record of a shard's input.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Commands of an owner.
    Commands(Fenced),
    /// A stanza of a user.
    Envelope(Envelope),
    /// What another shard caused here.
    Outputs(Vec<Output>),
}

/// Commands with the epoch of the owner that wrote them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fenced {
    /// The writer's claim.
    pub epoch: Epoch,
    /// What is to be done, in order.
    pub commands: Vec<Command>,
}

/// Content for an account of this shard that another shard caused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The shard whose fold emitted it.
    pub source: ShardId,
    /// Its place among all that the source emitted to this shard.
    pub counter: Counter,
    /// For whom it is.
    pub to: AccountId,
    /// What it is.
    pub content: Content,
}

/// What an owner asks its own fold to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Takes the shard over, if the epoch is higher than any before. The first claim's nonce also
    /// keys the dedupe fingerprints.
    Claim {
        /// Drawn by the claimer, so that it knows its own claim when it reads it back.
        nonce: [u8; 16],
    },
    /// A device logged in or resumed: it becomes the one that receives.
    Open {
        /// The account.
        account: AccountId,
        /// The session id that the edge drew.
        session: SessionId,
    },
    /// The device is not connected any more.
    Leave {
        /// The account.
        account: AccountId,
        /// The session's epoch; a lower one than the newest changes nothing.
        epoch: Epoch,
    },
    /// The session may be resumed by whoever knows the key.
    Resumable {
        /// The account.
        account: AccountId,
        /// The session's epoch.
        epoch: Epoch,
        /// SHA-256 of the key, cut to 16 bytes.
        digest: [u8; 16],
    },
    /// The device acknowledged.
    Settle {
        /// The account.
        account: AccountId,
        /// The session's epoch.
        epoch: Epoch,
        /// Everything up to here arrived.
        through: Sequence,
        /// How many stanzas of the device were handled by then, as `h` counts.
        handled: u32,
    },
    /// A user enlists.
    Enlist {
        /// By which the caller knows the answer.
        request: u64,
        /// The number of the account if it is new; its shard is that of the visible id.
        number: u64,
        /// Who and with which keys.
        enlistment: Box<Enlistment>,
    },
    /// An account is erased on request.
    Unenlist {
        /// By which the caller knows the answer.
        request: u64,
        /// The account.
        account: AccountId,
    },
    /// Prekeys are stored.
    Upload {
        /// By which the caller knows the answer.
        request: u64,
        /// The account.
        account: AccountId,
        /// The keys.
        keys: Box<PrekeyUpload>,
    },
    /// A bundle is taken; its one-time keys are consumed.
    Take {
        /// By which the caller knows the answer.
        request: u64,
        /// Whose bundle.
        target: AccountId,
    },
    /// A block list changes.
    Block {
        /// By which the caller knows the answer.
        request: u64,
        /// Whose list.
        account: AccountId,
        /// Whether it is emptied first.
        clear: bool,
        /// Added then.
        add: Vec<AccountId>,
        /// Taken out then.
        remove: Vec<AccountId>,
    },
    /// The account sent something to these peers.
    Contacted {
        /// The account.
        account: AccountId,
        /// The peers.
        peers: Vec<AccountId>,
    },
    /// Entries whose time is over may be failed.
    Expire {
        /// The account.
        account: AccountId,
    },
    /// The account may have been silent for so long that it is erased.
    Silent {
        /// The account.
        account: AccountId,
    },
    /// Outputs are durable at their target and need not be kept.
    Sent {
        /// Where they went.
        target: Target,
        /// Everything up to here.
        through: Counter,
    },
    /// A device that counts as gone is connected still: its connection outlived the stream that
    /// carried it.
    Rejoin {
        /// The account.
        account: AccountId,
        /// The session id.
        session: SessionId,
        /// The session's epoch; a lower one than the newest changes nothing.
        epoch: Epoch,
    },
}

/// Why a record is not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The seal does not match: not written by this deployment, or for another shard.
    #[error("record seal does not match")]
    BadSeal,
    /// The seal is ours and the body cannot be read.
    #[error("record cannot be read")]
    Malformed,
    /// For an account of another shard.
    #[error("record belongs to another shard")]
    Misrouted,
    /// A kind or version that this program does not know.
    #[error("record kind is not known")]
    UnknownKind,
}

impl From<EnvelopeError> for RecordError {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::BadSeal => Self::BadSeal,
            EnvelopeError::Malformed => Self::Malformed,
            EnvelopeError::UnknownVersion => Self::UnknownKind,
        }
    }
}

impl Record {
    /// Writes an envelope as a record of its recipient's shard.
    pub fn envelope(envelope: &Envelope, key: &SealKey) -> Bytes {
        let mut out = BytesMut::with_capacity(1 + envelope.sealed_len());
        out.put_u8(KIND_ENVELOPE);
        envelope.seal_into(key, &mut out);
        out.freeze()
    }

    /// Writes commands of the owner of a shard.
    pub fn commands(shard: ShardId, commands: &Fenced, key: &SealKey) -> Bytes {
        sealed(shard, KIND_COMMANDS, commands, key)
    }

    /// Writes outputs for another shard.
    pub fn outputs(target: ShardId, outputs: &[Output], key: &SealKey) -> Bytes {
        sealed(target, KIND_OUTPUTS, &outputs, key)
    }

    /// Checks and reads a record of a shard.
    ///
    /// # Errors
    /// [`RecordError`]; nothing of a record with a wrong seal is looked at.
    pub fn open(shard: ShardId, payload: &Bytes, key: &SealKey) -> Result<Self, RecordError> {
        let kind = *payload.first().ok_or(RecordError::Malformed)?;
        if kind == KIND_ENVELOPE {
            return Ok(Self::Envelope(Envelope::open(&payload.slice(1..), key)?));
        }
        let (kind, body) = opened(shard, payload, key)?;
        let malformed = |_| RecordError::Malformed;
        match kind {
            KIND_COMMANDS => Ok(Self::Commands(
                postcard::from_bytes(body).map_err(malformed)?,
            )),
            KIND_OUTPUTS => Ok(Self::Outputs(
                postcard::from_bytes(body).map_err(malformed)?,
            )),
            _ => Err(RecordError::UnknownKind),
        }
    }
}

/// Checks the seal of a record that [`sealed`] made for a shard; its kind and its body.
///
/// # Errors
/// [`RecordError`].
pub(crate) fn opened<'a>(
    shard: ShardId,
    payload: &'a [u8],
    key: &SealKey,
) -> Result<(u8, &'a [u8]), RecordError> {
    let end = payload
        .len()
        .checked_sub(TAG_BYTES)
        .ok_or(RecordError::BadSeal)?;
    let (body, tag) = payload.split_at_checked(end).ok_or(RecordError::BadSeal)?;
    if !key.is_tag_of(tag, &context(shard, body)) {
        return Err(RecordError::BadSeal);
    }
    let (kind, body) = body.split_first().ok_or(RecordError::Malformed)?;
    Ok((*kind, body))
}

pub(crate) fn sealed<T: Serialize + ?Sized>(
    shard: ShardId,
    kind: u8,
    body: &T,
    key: &SealKey,
) -> Bytes {
    #[expect(
        clippy::expect_used,
        reason = "a Vec grows, and our types have no failing serializer"
    )]
    let mut out = postcard::to_extend(body, vec![kind]).expect("plain data serialises");
    let tag = key.tag(&context(shard, &out));
    out.extend_from_slice(&tag);
    out.into()
}

fn context(shard: ShardId, body: &[u8]) -> Vec<u8> {
    let mut context = Vec::with_capacity(4 + body.len());
    context.extend_from_slice(&shard.index().to_be_bytes());
    context.extend_from_slice(body);
    context
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T142: a record opens only under the deployment's key, unchanged, and in its own shard.
    #[test]
    fn opens_only_where_it_belongs() {
        let (key, shard) = (SealKey::new(&[1; 32]), ShardId::new(3));
        let commands = Fenced {
            epoch: Epoch::new(2),
            commands: vec![Command::Claim { nonce: [7; 16] }],
        };
        let record = Record::commands(shard, &commands, &key);
        assert_eq!(
            Record::open(shard, &record, &key),
            Ok(Record::Commands(commands))
        );
        assert_eq!(
            Record::open(ShardId::new(4), &record, &key),
            Err(RecordError::BadSeal)
        );
        assert_eq!(
            Record::open(shard, &record, &SealKey::new(&[2; 32])),
            Err(RecordError::BadSeal)
        );
        for at in 0..record.len() {
            let mut changed = record.to_vec();
            changed[at] ^= 0x40;
            assert!(
                Record::open(shard, &changed.into(), &key).is_err(),
                "byte {at}"
            );
        }
    }
}
