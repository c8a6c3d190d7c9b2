//! What applying a record means for the world outside the fold.

use entente_core::{
    AccountId, Bundle, Enlisted, Epoch, Fault, Offset, PrekeyCount, Sequence, SessionId,
    TraceContext,
};

use crate::record::RecordError;

/// One consequence of a record. An owner that replays may drop all of them: what must not be lost
/// is in the state (mailboxes, outputs).
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// A command with a request was decided.
    Answer {
        /// The number that the command carried.
        request: u64,
        /// The decision.
        reply: Result<Reply, Fault>,
    },
    /// A mailbox has a new entry.
    Arrived {
        /// Whose mailbox.
        account: AccountId,
        /// The entry.
        sequence: Sequence,
        /// The trace to which it belongs; the entry itself does not keep it.
        trace: Option<TraceContext>,
    },
    /// A claim was accepted: who wrote it owns the shard.
    Claimed {
        /// The claim's epoch.
        epoch: Epoch,
        /// The claim's nonce.
        nonce: [u8; 16],
    },
    /// The account's session is not valid any more.
    Closed {
        /// The account.
        account: AccountId,
        /// The session; none if none was connected. One that waits to be resumed or opened is not
        /// known here: if the account was revoked, it is over too.
        session: Option<SessionId>,
        /// Why.
        why: Ended,
    },
    /// A session holds the newest epoch of its account.
    Opened {
        /// The account.
        account: AccountId,
        /// The session.
        session: SessionId,
        /// Its epoch.
        epoch: Epoch,
        /// Entries in the mailbox.
        waiting: u32,
        /// The newest entry, or the last one ever given.
        last: Sequence,
    },
    /// A record was set aside: a person must look.
    Quarantined {
        /// Its offset.
        offset: Offset,
        /// Why it was not applied.
        why: RecordError,
    },
    /// A session could not be opened: the account is not enlisted.
    Unknown {
        /// The session.
        session: SessionId,
    },
}

/// Why a session ended in the fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A newer session of the account.
    Replaced,
    /// The account was erased or has a new identity key.
    Revoked,
}

/// What a command with a request came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// It is done.
    Done,
    /// An enlistment.
    Enlisted(Enlisted),
    /// An upload.
    Count(PrekeyCount),
    /// A bundle.
    Bundle(Box<Bundle>),
}
