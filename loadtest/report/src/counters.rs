//! What a run counts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counts of one part of a run. All are of events that happened in it, wherever they began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// Messages handed to a connection.
    pub sent: u64,
    /// Messages that the server took over (an `h` of XEP-0198 that covers them).
    pub acked: u64,
    /// Messages that the server answered with an error, by condition.
    pub refused: BTreeMap<String, u64>,
    /// Sends and requests whose outcome was not known at the end: neither acknowledged nor answered.
    pub unknown: u64,
    /// Messages that reached a receiver, first copies alone.
    pub delivered: u64,
    /// Further copies that a receiver would have shown to its user.
    pub duplicates: u64,
    /// Further copies on the wire that the protocol allows: not acknowledged, and sent again.
    pub wire_copies: u64,
    /// Messages that the server took over and nobody received.
    pub lost: u64,
    /// Messages that arrived before an earlier one of the same pair.
    pub out_of_order: u64,
    /// Messages that arrived with other bytes than were sent, or that nobody sent.
    pub corrupt: u64,
    /// Receipts that came back.
    pub receipts: u64,
    /// Messages of which the gateway itself said that their recipients' devices acknowledged them.
    #[serde(default)]
    pub delivered_receipts: u64,
    /// Logins that ended with a session.
    pub logins: u64,
    /// Logins that did not, by reason.
    pub login_failures: BTreeMap<String, u64>,
    /// Sessions resumed (XEP-0198).
    pub resumes: u64,
    /// Resources bound.
    pub binds: u64,
    /// Everything else that went wrong, by kind: `connection lost`, `stream error: conflict`.
    pub errors: BTreeMap<String, u64>,
}

impl Counters {
    /// Adds the counts of another generator or another part.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.sent, other.sent),
            (&mut self.acked, other.acked),
            (&mut self.unknown, other.unknown),
            (&mut self.delivered, other.delivered),
            (&mut self.duplicates, other.duplicates),
            (&mut self.wire_copies, other.wire_copies),
            (&mut self.lost, other.lost),
            (&mut self.out_of_order, other.out_of_order),
            (&mut self.corrupt, other.corrupt),
            (&mut self.receipts, other.receipts),
            (&mut self.delivered_receipts, other.delivered_receipts),
            (&mut self.logins, other.logins),
            (&mut self.resumes, other.resumes),
            (&mut self.binds, other.binds),
        ] {
            *sum = sum.saturating_add(more);
        }
        for (sum, more) in [
            (&mut self.refused, &other.refused),
            (&mut self.login_failures, &other.login_failures),
            (&mut self.errors, &other.errors),
        ] {
            for (kind, count) in more {
                let sum = sum.entry(kind.clone()).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
    }

    /// Messages refused, of all conditions.
    pub fn refusals(&self) -> u64 {
        total(&self.refused)
    }

    /// Logins that failed, and errors of every other kind. Refused messages are not in it.
    pub fn failures(&self) -> u64 {
        total(&self.login_failures).saturating_add(total(&self.errors))
    }
}

fn total(kinds: &BTreeMap<String, u64>) -> u64 {
    kinds
        .values()
        .fold(0, |sum, count| sum.saturating_add(*count))
}
