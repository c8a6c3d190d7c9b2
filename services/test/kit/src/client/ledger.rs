//! XEP-0198 bookkeeping of one client: what it sent and may have to send again, what it counted.
//!
//! Pure: no clock, no socket. Counts wrap at 2^32 (XEP-0198 4, "the value wraps").
//!
//! **Invariants**
//! - A stanza leaves the queue only when an `h` of the server covers it.
//! - The queue keeps the order of sending; what is sent again goes first and in that order.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;

/// A stanza that was sent and not yet acknowledged.
#[derive(Clone, Debug)]
pub struct Sent {
    /// As it goes over the wire.
    pub wire: Bytes,
    /// Set for a message: whose loss would be a loss.
    pub message: Option<Tracked>,
    /// When it was sent first.
    pub at: Instant,
    /// Whether it was ever given to a connection.
    pub written: bool,
}

/// What is known of a message in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// The recipient, as it was addressed.
    pub to: Box<str>,
    /// The stanza id.
    pub id: Box<str>,
}

/// The server's `h` covers what was never sent, or goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server acknowledged {h}, but only {most} stanzas were sent after {least}")]
pub struct BadCount {
    /// What it said.
    pub h: u32,
    /// The last count that it gave before.
    pub least: u32,
    /// How many were outstanding.
    pub most: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    unacked: VecDeque<Sent>,
    acked: u32,
    received: u32,
}

impl Ledger {
    /// Takes a stanza in that is about to be written.
    pub fn sent(&mut self, stanza: Sent) {
        self.unacked.push_back(stanza);
    }

    /// How many stanzas wait for an `h`.
    pub fn outstanding(&self) -> usize {
        self.unacked.len()
    }

    /// What waits, oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = &Sent> {
        self.unacked.iter()
    }

    /// Counts a stanza that came in.
    pub const fn count_received(&mut self) {
        self.received = self.received.wrapping_add(1);
    }

    /// Our own `h`.
    pub const fn h(&self) -> u32 {
        self.received
    }

    /// Takes the server's `h`; returns what it covers, oldest first.
    ///
    /// # Errors
    /// [`BadCount`] if it covers more than was sent, or less than before.
    pub fn acknowledge(&mut self, h: u32) -> Result<impl Iterator<Item = Sent>, BadCount> {
        let covered = usize::try_from(h.wrapping_sub(self.acked)).unwrap_or(usize::MAX);
        if covered > self.unacked.len() {
            return Err(BadCount {
                h,
                least: self.acked,
                most: self.unacked.len(),
            });
        }
        self.acked = h;
        Ok(self.unacked.drain(..covered))
    }

    /// Takes the `h` of `<failed/>`: what the server still knows of a session that is gone. After a
    /// crash that is a lower bound, so one below an earlier `h` tells nothing new.
    ///
    /// # Errors
    /// [`BadCount`] if it covers more than was sent.
    pub fn acknowledge_at_least(&mut self, h: u32) -> Result<impl Iterator<Item = Sent>, BadCount> {
        // Serial number arithmetic (RFC 1982): the upper half of the ring lies behind.
        let is_behind = h.wrapping_sub(self.acked) > u32::MAX / 2;
        self.acknowledge(if is_behind { self.acked } else { h })
    }

    /// The session is gone: both counts start again. Returns the messages that are to be sent again,
    /// oldest first; an old request or presence means nothing in a new session.
    pub fn restart(&mut self) -> Vec<Sent> {
        self.acked = 0;
        self.received = 0;
        let unacked = std::mem::take(&mut self.unacked);
        unacked
            .into_iter()
            .filter(|stanza| stanza.message.is_some())
            .collect()
    }

    /// Starts both counts somewhere else, for tests of the wrap.
    #[cfg(test)]
    fn start_at(count: u32) -> Self {
        Self {
            acked: count,
            received: count,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str) -> Sent {
        Sent {
            wire: Bytes::copy_from_slice(id.as_bytes()),
            message: Some(Tracked {
                to: "7-1".into(),
                id: id.into(),
            }),
            at: Instant::now(),
            written: true,
        }
    }

    fn request() -> Sent {
        Sent {
            message: None,
            ..message("iq")
        }
    }

    fn ids(stanzas: impl Iterator<Item = Sent>) -> Vec<Bytes> {
        stanzas.map(|stanza| stanza.wire).collect()
    }

    #[test]
    fn an_h_covers_a_prefix_and_may_be_repeated() {
        let mut ledger = Ledger::default();
        for id in ["a", "b", "c"] {
            ledger.sent(message(id));
        }
        assert_eq!(ids(ledger.acknowledge(2).unwrap()), ["a", "b"]);
        assert!(ids(ledger.acknowledge(2).unwrap()).is_empty());
        assert_eq!(ids(ledger.acknowledge(3).unwrap()), ["c"]);
        assert_eq!(ledger.outstanding(), 0);
    }

    #[test]
    fn an_h_that_lies_is_refused_and_changes_nothing() {
        let mut ledger = Ledger::default();
        ledger.sent(message("a"));
        ledger.sent(message("b"));
        assert!(ledger.acknowledge(3).is_err());
        assert_eq!(ids(ledger.acknowledge(1).unwrap()), ["a"]);
        assert!(ledger.acknowledge(0).is_err(), "h went back");
        assert_eq!(ledger.outstanding(), 1);
    }

    #[test]
    fn the_last_word_on_a_lost_session_is_a_lower_bound() {
        let mut ledger = Ledger::start_at(u32::MAX);
        for id in ["a", "b", "c"] {
            ledger.sent(message(id));
        }
        assert_eq!(ids(ledger.acknowledge(0).unwrap()), ["a"]);
        assert!(ids(ledger.acknowledge_at_least(u32::MAX).unwrap()).is_empty());
        assert_eq!(ids(ledger.acknowledge_at_least(1).unwrap()), ["b"]);
        assert!(ledger.acknowledge_at_least(3).is_err());
    }

    #[test]
    fn counts_go_through_the_wrap() {
        let mut ledger = Ledger::start_at(u32::MAX - 1);
        for id in ["a", "b", "c"] {
            ledger.sent(message(id));
            ledger.count_received();
        }
        assert_eq!(ledger.h(), 1);
        assert_eq!(ids(ledger.acknowledge(u32::MAX).unwrap()), ["a"]);
        assert_eq!(ids(ledger.acknowledge(1).unwrap()), ["b", "c"]);
    }

    #[test]
    fn a_new_session_keeps_messages_in_order_and_forgets_requests() {
        let mut ledger = Ledger::default();
        ledger.sent(message("a"));
        ledger.sent(request());
        ledger.sent(message("b"));
        ledger.count_received();
        assert_eq!(ids(ledger.restart().into_iter()), ["a", "b"]);
        assert_eq!((ledger.h(), ledger.outstanding()), (0, 0));
        ledger.sent(message("a"));
        assert_eq!(ids(ledger.acknowledge(1).unwrap()), ["a"]);
    }
}
