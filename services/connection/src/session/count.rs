//! The counters of XEP-0198: 64-bit positions inside, `h` modulo 2^32 on the wire.
//!
//! **Invariants**
//! - `h` that we tell never goes back and never covers what the owner has not handled.
//! - `h` that a client tells is taken only between what it acknowledged and what was written.

use entente_core::Position;

/// The client acknowledged more than was sent to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("acknowledged more stanzas than were sent")]
pub(crate) struct HandledCountTooHigh;

/// Both counters of one stream on which XEP-0198 is on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counters {
    /// Inbound position at which the client's own count of sent stanzas is zero.
    inbound_zero: u64,
    /// Outbound position at which the client's `h` is zero.
    outbound_zero: u64,
    /// What `h` is where a position is zero: 0 by the standard.
    first: u32,
    /// The highest outbound position that the client acknowledged.
    acked: u64,
}

impl Counters {
    pub(crate) const fn new(inbound: Position, outbound: Position, first: u32) -> Self {
        Self {
            inbound_zero: inbound.value(),
            outbound_zero: outbound.value(),
            first,
            acked: outbound.value(),
        }
    }

    /// The inbound and the outbound position at which the client's counts are zero.
    pub(crate) const fn zeros(&self) -> (Position, Position) {
        let (inbound, outbound) = (self.inbound_zero, self.outbound_zero);
        (Position::new(inbound), Position::new(outbound))
    }

    /// With stanzas that the client acknowledged on an earlier connection.
    pub(crate) const fn acked_through(mut self, acked: Position) -> Self {
        self.acked = acked.value();
        self
    }

    /// The `h` that tells a client that we handled everything up to a position.
    pub(crate) const fn h(&self, handled: Position) -> u32 {
        let count = handled.value().saturating_sub(self.inbound_zero);
        low_half(count).wrapping_add(self.first)
    }

    /// The position that a client's `h` stands for, given the last position written.
    pub(crate) const fn acknowledge(
        &mut self,
        h: u32,
        written: Position,
    ) -> Result<Position, HandledCountTooHigh> {
        let known = low_half(self.acked - self.outbound_zero);
        // Serial number arithmetic: the distance is taken modulo 2^32, so a wrap is a small step.
        let step = h.wrapping_sub(self.first).wrapping_sub(known);
        let acked = self.acked.saturating_add(step as u64);
        if acked > written.value() {
            return Err(HandledCountTooHigh);
        }
        self.acked = acked;
        Ok(Position::new(acked))
    }

    /// Whether something that was written waits for an acknowledgement.
    pub(crate) const fn waits(&self, written: Position) -> bool {
        written.value() > self.acked
    }
}

/// A count modulo 2^32 (XEP-0198 section 4).
const fn low_half(count: u64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "XEP-0198 section 4: counters wrap at 2^32"
    )]
    let low = count as u32;
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(position: u64) -> Position {
        Position::new(position)
    }

    #[test]
    fn counts_from_where_it_was_enabled() {
        let mut counters = Counters::new(at(3), at(10), 0);
        assert_eq!(counters.h(at(3)), 0);
        assert_eq!(counters.h(at(5)), 2);
        assert_eq!(counters.acknowledge(2, at(14)), Ok(at(12)));
        assert!(counters.waits(at(14)));
        assert_eq!(counters.acknowledge(4, at(14)), Ok(at(14)));
        assert!(!counters.waits(at(14)));
        assert_eq!(counters.acknowledge(5, at(14)), Err(HandledCountTooHigh));
    }

    #[test]
    fn an_h_below_the_last_one_is_no_acknowledgement() {
        let mut counters = Counters::new(at(0), at(0), 0);
        assert_eq!(counters.acknowledge(4, at(6)), Ok(at(4)));
        assert_eq!(counters.acknowledge(3, at(6)), Err(HandledCountTooHigh));
        assert_eq!(counters.acknowledge(4, at(6)), Ok(at(4)));
    }

    #[test]
    fn wraps_at_two_to_the_thirty_second() {
        let first = u32::MAX - 4;
        let mut counters = Counters::new(at(0), at(0), first);
        assert_eq!(counters.h(at(4)), u32::MAX);
        assert_eq!(counters.h(at(5)), 0);
        assert_eq!(counters.acknowledge(u32::MAX, at(8)), Ok(at(4)));
        assert_eq!(counters.acknowledge(2, at(8)), Ok(at(7)));
        assert_eq!(counters.acknowledge(4, at(8)), Err(HandledCountTooHigh));
        let mut long = Counters::new(at(0), at(0), 0).acked_through(at((1 << 32) - 1));
        assert_eq!(
            long.acknowledge(1, at((1 << 32) + 3)),
            Ok(at((1 << 32) + 1))
        );
    }
}
