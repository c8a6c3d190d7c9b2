//! The owner's twin of a session: the counters that must survive the edge.
//!
//! **Invariants**
//! - `handled` covers a contiguous prefix of what the device sent, and never goes back.
//! - Every position up to `sent` was given out once; those of deliveries map to mailbox sequences.
//! - `acked` never passes `sent`.

use std::collections::{BTreeSet, VecDeque};

use entente_core::{AccountId, Epoch, Position, Sequence, SessionId, ShardId};
use entente_proto::edge::{EdgeId, Management, Refusal, Report, Unacked};
use entente_trace::Open;
use tokio::time::Instant;

use crate::lane::{Lane, Lanes};

/// Traced entries of a mailbox that wait for window or credit, a session. More are not traced.
const TRACES: usize = 64;

/// One session.
#[derive(Debug)]
pub(crate) struct Twin {
    pub(crate) session: SessionId,
    pub(crate) epoch: Epoch,
    /// Tells connections of one account apart for appends that are still under way.
    pub(crate) serial: u64,
    /// The first serial: by it a resume knows again what it resumes.
    pub(crate) life: u64,
    pub(crate) edge: EdgeId,
    /// None while a connection carries the session; else since when not.
    pub(crate) detached: Option<Instant>,
    pub(crate) managed: Option<Management>,
    pub(crate) started: bool,

    /// The last inbound position that the edge told of.
    pub(crate) received: Position,
    pub(crate) handled: Position,
    done: BTreeSet<Position>,
    /// `handled` as the edge knows it.
    pub(crate) told: Position,
    /// Stanzas without an outcome: those that wait in a lane, and those that the log has.
    pub(crate) appending: usize,
    /// For whom the last stanza was, and where that account is: mostly the next one's answer too.
    pub(crate) peer: Option<(AccountId, ShardId)>,
    pub(crate) lanes: Lanes,

    pub(crate) sent: Position,
    pub(crate) acked: Position,
    pub(crate) unacked: VecDeque<Unacked>,
    pub(crate) unacked_bytes: usize,
    refusals: VecDeque<Refusal>,
    /// Spans of mailbox entries that are to be sent; mostly none.
    traces: Vec<(Sequence, Open)>,
    /// The last mailbox entry that was sent on this connection.
    pub(crate) cursor: Sequence,
    /// The newest entry when the session began: what is not newer was waiting.
    pub(crate) backlog: Sequence,
    pub(crate) credit: i64,
    pub(crate) stalled: Option<Instant>,
    /// When this connection took it.
    pub(crate) since: Instant,
}

impl Twin {
    /// Keeps the span of an entry until it is sent. Beyond the bound it ends unfinished.
    pub(crate) fn trace(&mut self, sequence: Sequence, span: Open) {
        if sequence > self.cursor && self.traces.len() < TRACES {
            self.traces.push((sequence, span));
        }
    }

    /// The span of an entry that is sent now.
    pub(crate) fn traced(&mut self, sequence: Sequence) -> Option<Open> {
        let at = self.traces.iter().position(|(of, _)| *of == sequence)?;
        Some(self.traces.swap_remove(at).1)
    }

    pub(crate) fn new(
        session: SessionId,
        epoch: Epoch,
        serial: u64,
        edge: EdgeId,
        backlog: Sequence,
    ) -> Self {
        Self {
            session,
            epoch,
            serial,
            life: serial,
            edge,
            detached: None,
            managed: None,
            started: false,
            received: Position::default(),
            handled: Position::default(),
            done: BTreeSet::new(),
            told: Position::default(),
            appending: 0,
            peer: None,
            lanes: Lanes::new(),
            sent: Position::default(),
            acked: Position::default(),
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            refusals: VecDeque::new(),
            traces: Vec::new(),
            cursor: Sequence::default(),
            backlog,
            credit: 0,
            stalled: None,
            since: Instant::now(),
        }
    }

    /// The twin of a session that an edge reports. What the edge was not told of is expected again.
    pub(crate) fn reported(
        session: SessionId,
        edge: EdgeId,
        serial: u64,
        (report, backlog): (Report, Sequence),
    ) -> Self {
        let unacked_bytes = report.unacked.iter().map(|open| cost(open.cost)).sum();
        Self {
            managed: report.management,
            started: report.started,
            received: report.handled,
            handled: report.handled,
            told: report.handled,
            sent: report.sent,
            acked: report.acked,
            unacked: report.unacked.into(),
            unacked_bytes,
            refusals: report.refusals.into(),
            cursor: report.delivered,
            credit: i64::from(report.credit),
            ..Self::new(session, report.epoch, serial, edge, backlog)
        }
    }

    /// Gives out the next outbound position.
    pub(crate) fn place(&mut self) -> Position {
        self.sent = self.sent.next();
        self.sent
    }

    /// Notes that an inbound stanza is dealt with.
    pub(crate) fn done(&mut self, position: Position) {
        if position == self.handled.next() {
            self.handled = position;
            while self.done.remove(&self.handled.next()) {
                self.handled = self.handled.next();
            }
        } else if position > self.handled {
            self.done.insert(position);
        }
    }

    /// Stanzas that are dealt with although one before them is not.
    pub(crate) fn ahead(&self) -> usize {
        self.done.len()
    }

    /// Stanzas that the log was not given yet.
    pub(crate) fn in_lanes(&self) -> usize {
        self.lanes.values().map(Lane::waiting).sum()
    }

    /// Notes what the device has; returns the newest mailbox entry among it.
    pub(crate) fn acknowledge(&mut self, through: Position) -> Option<Sequence> {
        let acked = through.min(self.sent);
        if acked > self.acked {
            self.acked = acked;
            self.stalled = None;
        }
        let mut newest = None;
        while let Some(front) = self.unacked.front()
            && front.position <= self.acked
        {
            newest = Some(front.sequence);
            self.unacked_bytes = self.unacked_bytes.saturating_sub(cost(front.cost));
            self.unacked.pop_front();
        }
        while self
            .refusals
            .front()
            .is_some_and(|refusal| refusal.position <= self.acked)
        {
            self.refusals.pop_front();
        }
        newest
    }

    /// Gives a refusal its place and keeps it until the device has the error.
    pub(crate) fn refuse(&mut self, mut refusal: Refusal) -> Refusal {
        refusal.position = self.place();
        self.done(refusal.inbound);
        self.refusals.push_back(refusal.clone());
        refusal
    }

    /// Whether more errors are owed than a window holds: the device does not acknowledge.
    pub(crate) fn owes(&self, window: usize) -> bool {
        self.refusals.len() > window
    }

    /// After a rebind: the errors that the device may not have, each at a new place.
    pub(crate) fn refuse_again(&mut self) -> Vec<Refusal> {
        let refusals = std::mem::take(&mut self.refusals);
        refusals
            .into_iter()
            .map(|refusal| self.refuse(refusal))
            .collect()
    }

    pub(crate) fn delivered(&mut self, sequence: Sequence, cost_bytes: u32) -> Position {
        let position = self.place();
        self.cursor = sequence;
        self.credit -= i64::from(cost_bytes);
        self.unacked_bytes += cost(cost_bytes);
        self.unacked.push_back(Unacked {
            position,
            sequence,
            cost: cost_bytes,
        });
        position
    }

    /// Where an entry of the mailbox was sent that is not acknowledged.
    pub(crate) fn sent_at(&self, sequence: Sequence) -> Option<Position> {
        let sent = self.unacked.iter();
        let mut sent = sent.filter(|open| open.sequence == sequence);
        sent.next().map(|open| open.position)
    }

    /// The position that a client's `h` means, if it lies between what was acknowledged and what was
    /// sent. XEP-0198 section 4: `h` wraps at 2^32.
    pub(crate) fn position_of(&self, h: u32) -> Option<Position> {
        let base = self.managed.as_ref()?.outbound;
        let acked = wire(self.acked, base);
        let ahead = u64::from(h.wrapping_sub(acked));
        let position = Position::new(self.acked.value() + ahead);
        (position <= self.sent).then_some(position)
    }

    /// What may be told of a session that cannot go on: handled, and no error of it is owed.
    pub(crate) fn h(&self) -> u32 {
        let owed = self.refusals.iter().map(|refusal| refusal.inbound).min();
        let before = owed.map(|inbound| Position::new(inbound.value() - 1));
        let handled = before.map_or(self.handled, |before| before.min(self.handled));
        self.managed
            .as_ref()
            .map_or(0, |managed| wire(handled, managed.inbound))
    }

    /// Continues on another connection: what was not acknowledged will be sent again, what was not
    /// handled is expected again.
    pub(crate) fn rebind(
        &mut self,
        session: SessionId,
        edge: EdgeId,
        (epoch, serial): (Epoch, u64),
    ) {
        self.session = session;
        self.serial = serial;
        self.appending = 0;
        self.edge = edge;
        self.epoch = epoch;
        self.detached = None;
        self.since = Instant::now();
        self.started = true;
        self.done.clear();
        // What `h` does not cover is sent again, at places of its own, and refused again.
        let handled = self.handled;
        self.refusals.retain(|refusal| refusal.inbound <= handled);
        self.received = self.handled;
        self.told = self.handled;
        self.sent = self.acked;
        if let Some(front) = self.unacked.front() {
            self.cursor = Sequence::new(front.sequence.value() - 1);
        }
        self.unacked.clear();
        self.unacked_bytes = 0;
        self.credit = 0;
        self.stalled = None;
    }
}

fn cost(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// A position as XEP-0198 counts it: from the base on, modulo 2^32.
fn wire(position: Position, base: Position) -> u32 {
    let low = position.value().wrapping_sub(base.value()) & u64::from(u32::MAX);
    u32::try_from(low).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use entente_core::Fault;

    use super::*;

    fn twin() -> Twin {
        let mut twin = Twin::new(
            SessionId::new(1),
            Epoch::new(1),
            1,
            EdgeId(1),
            Sequence::default(),
        );
        twin.managed = Some(Management {
            inbound: Position::new(3),
            outbound: Position::new(2),
            resume: None,
        });
        twin
    }

    #[test]
    fn h_covers_only_a_contiguous_prefix() {
        let mut twin = twin();
        twin.handled = Position::new(3);
        for position in [6, 5, 8] {
            twin.done(Position::new(position));
        }
        assert_eq!(twin.h(), 0);
        twin.done(Position::new(4));
        assert_eq!(twin.h(), 3, "4, 5 and 6 are handled, 7 is not");
        twin.done(Position::new(5));
        assert_eq!(twin.h(), 3, "told twice changes nothing");
        twin.done(Position::new(7));
        assert_eq!(twin.h(), 5);
    }

    #[test]
    fn acknowledgements_map_to_mailbox_entries() {
        let mut twin = twin();
        let iq = twin.place();
        let first = twin.delivered(Sequence::new(7), 100);
        let second = twin.delivered(Sequence::new(9), 50);
        assert_eq!((iq.value(), first.value(), second.value()), (1, 2, 3));
        assert_eq!(twin.acknowledge(iq), None);
        assert_eq!(twin.acknowledge(first), Some(Sequence::new(7)));
        assert_eq!(twin.unacked_bytes, 50);
        assert_eq!(
            twin.acknowledge(Position::new(99)),
            Some(Sequence::new(9)),
            "held to sent"
        );
        assert_eq!(twin.acked, second);
    }

    /// A resumed device sends again what `h` does not cover: the errors of those places are void.
    #[test]
    fn errors_above_h_go_with_the_connection() {
        let mut twin = twin();
        twin.handled = Position::new(3);
        let refusal = |inbound| Refusal {
            position: Position::default(),
            inbound: Position::new(inbound),
            id: Bytes::new(),
            to: AccountId::new(entente_core::PartnerId::new(1).unwrap(), 1),
            fault: Fault::new(entente_core::FaultKind::PeerMisbehaved, "too large"),
        };
        twin.refuse(refusal(4));
        twin.refuse(refusal(6));
        twin.rebind(SessionId::new(2), EdgeId(1), (Epoch::new(2), 2));
        let told = twin.refuse_again();
        assert_eq!(told.len(), 1, "of 4; 5 and 6 come again");
        twin.done(Position::new(5));
        assert_eq!(twin.handled, Position::new(5));
    }

    /// The counter of a client wraps at 2^32; ours does not.
    #[test]
    fn h_wraps() {
        let mut twin = twin();
        let turn = u64::from(u32::MAX) + 1;
        twin.acked = Position::new(2 + turn - 3);
        twin.sent = Position::new(2 + turn + 3);
        assert_eq!(
            twin.position_of(u32::MAX),
            Some(Position::new(2 + turn - 1))
        );
        assert_eq!(twin.position_of(2), Some(Position::new(2 + turn + 2)));
        assert_eq!(twin.position_of(4), None, "more than was sent");
        assert_eq!(
            twin.position_of(u32::MAX - 5),
            None,
            "less than was acknowledged"
        );
    }
}
