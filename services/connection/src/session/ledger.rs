//! What an owner would have to know of a session if it knew nothing of it: kept while it matters, and
//! told again after the stream to the owner ended.
//!
//! **Invariants**
//! - Every inbound stanza is in here from when the owner was told of it until it has its outcome.
//! - Every delivery and every error is in here from when it was written until the client has it.
//! - What waits for outcomes is bounded: beyond [`OPEN_STANZAS`] or [`OPEN_BYTES`] no more is read.
//! - A session that owes nothing and is owed nothing keeps no more than [`IDLE_ENTRIES`] of room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use entente_core::{Envelope, Position, Sequence, SessionId};
use entente_proto::edge::{Refusal, Report, ToRouter, Unacked};
use tokio::time::Instant;

/// Stanzas without an outcome: as many as one session sends while a log syncs, many times over.
const OPEN_STANZAS: usize = 1024;
/// Bytes of them, beyond which no more is read: four of the longest that a default setting lets in.
const OPEN_BYTES: usize = 1024 * 1024;
/// Room that is kept when nothing is in it, in entries: what a conversation needs.
const IDLE_ENTRIES: usize = 8;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// In the order in which the owner was told.
    open: VecDeque<Open>,
    open_bytes: usize,
    unacked: VecDeque<Unacked>,
    refusals: Vec<Refusal>,
    acked: Position,
    delivered: Sequence,
    settled: Sequence,
    /// One stanza that waits for its outcome, and since when.
    probe: Option<(Position, Instant)>,
}

/// A stanza without an outcome, as far as the owner said.
#[derive(Debug)]
enum Open {
    /// It needs nothing of the owner but to be counted.
    Done(Position),
    Submitted(Arc<Envelope>),
}

impl Open {
    fn position(&self) -> Position {
        match self {
            Self::Done(position) => *position,
            Self::Submitted(envelope) => envelope.position,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Done(_) => 0,
            Self::Submitted(envelope) => envelope.payload.len(),
        }
    }
}

impl Ledger {
    /// Of a session whose client has everything up to a position.
    pub(super) fn acked_through(acked: Position) -> Self {
        Self {
            acked,
            ..Self::default()
        }
    }

    /// Whether so much waits for outcomes that no more may be taken.
    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= OPEN_STANZAS || self.open_bytes >= OPEN_BYTES
    }

    pub(super) fn done(&mut self, position: Position) {
        self.open.push_back(Open::Done(position));
    }

    pub(super) fn submitted(&mut self, envelope: Arc<Envelope>) {
        self.open_bytes += envelope.payload.len();
        // One at a time: a look at the clock for each way to the log and back, not for each stanza.
        if self.probe.is_none() {
            self.probe = Some((envelope.position, Instant::now()));
        }
        self.open.push_back(Open::Submitted(envelope));
    }

    /// How long the stanza that is watched waits by now.
    pub(super) fn waited(&self) -> Option<Duration> {
        self.probe.map(|(_, since)| since.elapsed())
    }

    /// The owner handled everything up to a position. Gives how long the stanza that was watched waited,
    /// if that has its outcome.
    pub(super) fn handled(&mut self, through: Position) -> Option<Duration> {
        let waited = self.waited();
        let over = self.probe.take_if(|(position, _)| *position <= through);
        // An answer that came late stands behind stanzas that came later: it goes with those.
        while let Some(front) = self.open.front()
            && front.position() <= through
        {
            self.open_bytes -= front.bytes();
            self.open.pop_front();
        }
        give_back(&mut self.open);
        waited.filter(|_| over.is_some())
    }

    /// The owner refused a stanza, and its error was written.
    pub(super) fn refused(&mut self, refusal: Refusal) {
        let stanza = |open: &&mut Open| open.position() == refusal.inbound;
        if let Some(open) = self.open.iter_mut().find(stanza) {
            self.open_bytes -= open.bytes();
            *open = Open::Done(refusal.inbound);
        }
        self.refusals.push(refusal);
    }

    /// A mailbox entry was written.
    pub(super) fn delivered(&mut self, position: Position, sequence: Sequence, cost: u32) {
        self.delivered = sequence;
        self.unacked.push_back(Unacked {
            position,
            sequence,
            cost,
        });
    }

    /// The client has everything up to a position.
    pub(super) fn acknowledged(&mut self, through: Position) {
        self.acked = self.acked.max(through);
        while let Some(front) = self.unacked.front()
            && front.position <= through
        {
            self.settled = front.sequence;
            self.unacked.pop_front();
        }
        give_back(&mut self.unacked);
        if !self.refusals.is_empty() {
            self.refusals.retain(|refusal| refusal.position > through);
        }
    }

    /// Adds to a report what is in here.
    pub(super) fn report(&self, report: &mut Report) {
        report.acked = self.acked;
        report.delivered = self.delivered;
        report.settled = self.settled;
        report.unacked = self.unacked.iter().copied().collect();
        report.refusals.clone_from(&self.refusals);
    }

    /// Tells again of every stanza without an outcome, in order.
    pub(super) fn tell_again(
        &self,
        session: SessionId,
        handled: Position,
        router: &mut Vec<ToRouter>,
    ) {
        let open = self.open.iter().filter(|open| open.position() > handled);
        router.extend(open.map(|open| match open {
            Open::Done(position) => ToRouter::Handled {
                session,
                position: *position,
            },
            Open::Submitted(envelope) => ToRouter::Submit {
                session,
                envelope: Arc::clone(envelope),
            },
        }));
    }
}

fn give_back<T>(empty: &mut VecDeque<T>) {
    if empty.is_empty() && empty.capacity() > IDLE_ENTRIES {
        *empty = VecDeque::new();
    }
}
