//! lanes: between admission and the log, one for each session and shard.
//!
//! In: admitted stanzas of a session, in order. Out: parcels for the log, each of which is stored
//! whole, refused whole, or of unknown outcome.
//!
//! **Invariants**
//! - A stanza is handed to the log only when those before it of the same session and shard are
//!   durable. So the log never has a later one without the earlier, and what a device sends again,
//!   in order, arrives in order.
//! - A stanza that the log did not take, or of which nobody knows, is not answered. It is tried again,
//!   and after [`Config::log_patience`](crate::Config) its connection is closed and the device sends it
//!   again. An error would say that it is not delivered, and nobody can know that: a session of which
//!   nothing is left may have sent it before.
//! - What waits here counts as waiting for the log: it is bounded with the appends.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use entente_core::{AccountId, Envelope, Position, ShardId};
use entente_log::LogError;
use entente_proto::edge::{CloseReason, ToEdge};
use entente_shard::Record;
use entente_trace::{Open, Stage};
use tokio::time::Instant;

use crate::append::Ticket;
use crate::error::RouterError;
use crate::events::Step;
use crate::owner::Owner;

/// Bytes after which a parcel takes no more: some of them share a batch for the log.
const PARCEL_BYTES: usize = 256 * 1024;

/// A stanza on its way to the log.
#[derive(Debug)]
pub(crate) struct Kept {
    position: Position,
    to: AccountId,
    pub(crate) record: Bytes,
    /// The span of the append, if the stanza is traced.
    span: Option<Open>,
}

/// The lanes of a session, by partition.
pub(crate) type Lanes = BTreeMap<u32, Lane>;

/// What one session has for one partition.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    waiting: VecDeque<Kept>,
    /// A parcel is with the log.
    under_way: bool,
    /// Since when the log refuses.
    refused: Option<Instant>,
}

/// Which lane: account, serial of its twin, partition.
pub(crate) type LaneId = (AccountId, u64, u32);

impl Lane {
    /// Adds a stanza; true if nothing else will set the lane in motion.
    fn push(&mut self, kept: Kept) -> bool {
        let rests = self.waiting.is_empty() && !self.under_way && self.refused.is_none();
        self.waiting.push_back(kept);
        rests
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn take(&mut self) -> Vec<Kept> {
        let mut bytes = 0;
        let fits = |kept: &&Kept| {
            let is_first = bytes == 0;
            bytes += kept.record.len();
            is_first || bytes <= PARCEL_BYTES
        };
        let count = self.waiting.iter().take_while(fits).count();
        self.waiting.drain(..count).collect()
    }

    fn untake(&mut self, kept: Vec<Kept>) {
        for kept in kept.into_iter().rev() {
            self.waiting.push_front(kept);
        }
    }
}

fn bytes(kept: &[Kept]) -> usize {
    kept.iter().map(|kept| kept.record.len()).sum()
}

impl Owner {
    /// Puts a durable stanza of the account's session in the lane to the recipient's shard.
    pub(crate) fn keep(&mut self, account: AccountId, shard: ShardId, envelope: &Envelope) {
        let partition = shard.index();
        let own = Some(self.shard.id());
        let span = self.ground.tracer.child(envelope.trace, Stage::Append, own);
        let record = match &span {
            // Whoever applies it goes on from the append.
            Some(span) => {
                let trace = Some(span.context());
                let traced = Envelope {
                    trace,
                    ..envelope.clone()
                };
                Record::envelope(&traced, &self.ground.seal)
            }
            None => Record::envelope(envelope, &self.ground.seal),
        };
        let Some(twin) = self.twins.get_mut(&account) else {
            return;
        };
        twin.appending += 1;
        self.waiting_bytes += record.len();
        let kept = Kept {
            position: envelope.position,
            to: envelope.to,
            record,
            span,
        };
        if twin.lanes.entry(partition).or_default().push(kept) {
            self.moving.push((account, twin.serial, partition));
        }
    }

    /// Hands the log what may go.
    pub(crate) fn flush_lanes(&mut self) {
        for (account, serial, partition) in std::mem::take(&mut self.moving) {
            let twin = self.twins.get_mut(&account);
            let twin = twin.filter(|twin| twin.serial == serial);
            let lane = twin.and_then(|twin| twin.lanes.get_mut(&partition));
            let Some(lane) = lane.filter(|lane| !lane.under_way && !lane.waiting.is_empty()) else {
                continue;
            };
            let kept = lane.take();
            lane.under_way = true;
            self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes(&kept));
            let records = kept.iter().map(|kept| kept.record.clone()).collect();
            let lane = (account, serial, partition);
            let ticket = Ticket::Stanzas { lane, kept };
            let outgoing = self.outgoing.entry(partition).or_default();
            outgoing.push((records, ticket));
        }
    }

    /// What became of a parcel.
    pub(crate) fn stanzas_reported(
        &mut self,
        (account, serial, partition): LaneId,
        kept: Vec<Kept>,
        outcome: Result<(), LogError>,
    ) -> Result<(), RouterError> {
        let twin = self.twins.get_mut(&account);
        // Of an earlier connection: nobody waits, and what was behind it in its lane is gone.
        let Some(twin) = twin.filter(|twin| twin.serial == serial) else {
            return Ok(());
        };
        // None after the connection was closed: then nothing goes that did not go before.
        let lane = twin.lanes.get_mut(&partition);
        match (outcome, lane) {
            (Ok(()), lane) => {
                if let Some(lane) = lane {
                    (lane.under_way, lane.refused) = (false, None);
                    if lane.waiting.is_empty() {
                        twin.lanes.remove(&partition);
                    } else {
                        self.moving.push((account, serial, partition));
                    }
                }
                twin.appending = twin.appending.saturating_sub(kept.len());
                for kept in &kept {
                    twin.done(kept.position);
                }
                let count = u64::try_from(kept.len()).unwrap_or_default();
                self.ground.events.count(Step::Appended, count);
                for kept in kept {
                    if let Some(span) = kept.span {
                        span.done();
                    }
                    self.note_peer(account, kept.to)?;
                }
            }
            // Not in the log, or perhaps there already: then the next copy of it changes nothing.
            (Err(_), Some(lane)) => {
                self.waiting_bytes += bytes(&kept);
                self.lanes_wait = true;
                lane.untake(kept);
                lane.under_way = false;
                lane.refused.get_or_insert_with(Instant::now);
            }
            (Err(_), None) => {
                twin.appending = twin.appending.saturating_sub(kept.len());
            }
        }
        self.tell_handled(account);
        self.resume_when_quiet(account)
    }

    /// Tries again what the log refused, and closes the connections whose stanzas waited too long.
    pub(crate) fn retry_lanes(&mut self, now: Instant) -> Result<(), RouterError> {
        if !std::mem::take(&mut self.lanes_wait) {
            return Ok(());
        }
        let patience = self.ground.config.log_patience.get();
        let mut late = Vec::new();
        for (account, twin) in &self.twins {
            let refused = |lane: &Lane| lane.refused.filter(|_| !lane.under_way);
            let mut since = twin.lanes.values().filter_map(refused);
            if since.any(|since| now - since > patience) {
                late.push(*account);
                continue;
            }
            for (partition, _) in twin
                .lanes
                .iter()
                .filter(|(_, lane)| refused(lane).is_some())
            {
                self.moving.push((*account, twin.serial, *partition));
            }
        }
        for account in late {
            self.park(account)?;
        }
        Ok(())
    }

    /// Closes the connection of a session and lets go of what the log does not take. The twin waits
    /// for a resume, which tells the device from where on to send again.
    fn park(&mut self, account: AccountId) -> Result<(), RouterError> {
        self.let_go(account);
        let Some(twin) = self.twins.get(&account) else {
            return Ok(());
        };
        let (session, edge, attached) = (twin.session, twin.edge, twin.detached.is_none());
        if attached {
            let why = CloseReason::Full;
            self.tell(edge, ToEdge::Closed { session, why });
            self.ground.events.count(Step::Parked, 1);
            self.detach(session);
        }
        // What the edge sent before it heard comes too late: it would pass what was let go.
        self.sessions.remove(&session);
        self.resume_when_quiet(account)
    }

    fn let_go(&mut self, account: AccountId) {
        let Some(twin) = self.twins.get_mut(&account) else {
            return;
        };
        let lanes = std::mem::take(&mut twin.lanes);
        let waited: usize = lanes.values().map(|lane| lane.waiting.len()).sum();
        twin.appending = twin.appending.saturating_sub(waited);
        self.drop_lanes(&lanes);
    }

    /// Lets go of what waits in lanes: nobody was told that it is stored.
    pub(crate) fn drop_lanes(&mut self, lanes: &Lanes) {
        let waiting = lanes.values().flat_map(|lane| &lane.waiting);
        let bytes: usize = waiting.map(|kept| kept.record.len()).sum();
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
    }
}
