//! What an edge reports of a session when it attaches again.

use bytes::Bytes;
use entente_core::{AccountId, Epoch, Fault, Position, Sequence};

use super::ResumeKey;

/// What an edge knows of a session whose stream ended: enough for an owner that knows nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whose session.
    pub account: AccountId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Where the client's counters are zero; none without XEP-0198.
    pub management: Option<Management>,
    /// Whether the client takes deliveries.
    pub started: bool,
    /// Bytes of deliveries that the edge can take now.
    pub credit: u32,
    /// Every inbound stanza up to here has its outcome, as the edge was told.
    pub handled: Position,
    /// The last outbound position that was written.
    pub sent: Position,
    /// Outbound stanzas up to here are with the device.
    pub acked: Position,
    /// The newest mailbox entry that was written; 0 if none was.
    pub delivered: Sequence,
    /// The newest mailbox entry that the device acknowledged; 0 if it acknowledged none.
    pub settled: Sequence,
    /// Deliveries that were written and not acknowledged, in order.
    pub unacked: Vec<Unacked>,
    /// Errors that were written and not acknowledged, in order.
    pub refusals: Vec<Refusal>,
}

/// Where a client's counters stand at zero, and how it may come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Management {
    /// The inbound position at which the client's own count of sent stanzas is zero.
    pub inbound: Position,
    /// The outbound position at which the client's `h` is zero.
    pub outbound: Position,
    /// The key for a later resume, if the client asked for one.
    pub resume: Option<ResumeKey>,
}

/// A delivery that the device has not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unacked {
    /// Its place in what is written.
    pub position: Position,
    /// The mailbox entry.
    pub sequence: Sequence,
    /// What it took from the window, in bytes: [`credit_cost`](super::credit_cost).
    pub cost: u32,
}

/// A refusal whose error the device has not acknowledged. `h` covers the stanza already, so if the
/// connection dies before the error arrived, the error must be written again: else a refused stanza
/// would count as accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error's place in what is written.
    pub position: Position,
    /// The refused stanza's place in what the device sent.
    pub inbound: Position,
    /// The stanza's id.
    pub id: Bytes,
    /// For whom it was.
    pub to: AccountId,
    /// What was said.
    pub fault: Fault,
}
