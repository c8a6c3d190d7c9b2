//! What waits in a mailbox: a stanza of another user, or a fact that the gateway states itself.
//!
//! Gateway-made content is typed, not text: each front door writes it in its own form.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{AccountId, Timestamp};

/// One entry of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// The peer's device acknowledged these stanzas of ours.
    Delivered(Delivered),
    /// A stanza of ours will not be delivered.
    Failed(Failed),
    /// A peer enlisted anew with another identity key; sessions with it must be rebuilt.
    IdentityChanged {
        /// The peer.
        of: AccountId,
    },
    /// A stanza of another user, as it was serialised when it was admitted.
    Stanza(Bytes),
}

/// A delivered receipt; one may cover many stanzas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// Whose device acknowledged.
    pub by: AccountId,
    /// The sender's stanza ids, in the order of delivery.
    pub ids: Vec<Bytes>,
    /// When the acknowledgement reached the log.
    pub at: Timestamp,
}

/// A failure notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// For whom the stanza was.
    pub to: AccountId,
    /// The sender's stanza id.
    pub id: Bytes,
    /// Why it will not arrive.
    pub why: FailReason,
}

/// Why an accepted stanza will not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailReason {
    /// It waited for its whole life.
    Expired,
    /// The mailbox is full.
    MailboxFull,
    /// No such account, or one that does not take stanzas from the sender: the same on purpose.
    Undeliverable,
}
