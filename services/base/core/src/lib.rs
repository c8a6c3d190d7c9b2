//! The words that every part of Entente shares: identifiers, time, faults, secrets, the envelope.
//!
//! Nothing in here does I/O. Identifiers are newtypes without `Deref` and are parsed once, at the
//! edge; an account is always (partner, number), so no interface can take a bare number.

mod account;
mod content;
mod envelope;
mod fault;
mod ids;
mod map;
#[cfg(feature = "mutants")]
pub mod mutant;
mod placement;
mod seal;
mod secret;
mod time;
mod units;

pub use account::{
    AccountFacts, Bundle, EnlistChange, Enlisted, Enlistment, KyberPrekey, MAX_VISIBLE_ID_BYTES,
    OneTimePrekey, PrekeyCount, PrekeyUpload, SignedPrekey, VisibleId,
};
pub use content::{Content, Delivered, FailReason, Failed};
pub use envelope::{Class, Envelope, EnvelopeError, MAX_STANZA_ID_BYTES, TraceContext};
pub use fault::{Fault, FaultKind};
pub use ids::{
    AccountId, Counter, Epoch, IdError, Offset, PartnerId, Position, Sequence, SessionId, ShardId,
};
pub use map::{IdMap, IdSet};
pub use placement::Placement;
pub use seal::{SealKey, TAG_BYTES};
pub use secret::{Secret, random_array};
pub use time::Timestamp;
pub use units::{ByteSize, Span, UnitError};
