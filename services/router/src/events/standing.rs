//! The metrics that say how far an owner is and what waits in it. They are looked at every few seconds
//! and belong to a shard: whoever loses it takes them back.

use std::time::Duration;

use entente_core::ShardId;
use entente_node::{Gauges, Label, LabelValue, Metrics, MetricsError};

/// What an owner sees of itself at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Age of the oldest stanza that a connected device has not acknowledged.
    pub(crate) unsettled: Duration,
    /// Records between the end of the log and what was applied, and since when, if that is known.
    pub(crate) lag: Option<(u64, Duration)>,
    /// Stanzas of devices that wait for the log.
    pub(crate) lanes: usize,
    /// Stanzas of devices that are dealt with before one that came earlier, and sessions that have such.
    pub(crate) ahead: usize,
    pub(crate) ahead_holes: usize,
    /// Outputs of other shards that came before one that is missing, and shards that owe one.
    pub(crate) held: usize,
    pub(crate) held_holes: usize,
    /// Outputs that are not known to be where they belong.
    pub(crate) unsent: usize,
    /// Accounts that were connected before the take-over, and were not reported yet.
    pub(crate) unreported: usize,
    /// Records set aside that are kept.
    pub(crate) quarantined: usize,
}

/// Where something waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Inbound,
    Inbox,
    Lane,
    Outbox,
}

impl Label for Place {
    const NAME: &'static str = "place";

    fn value(&self) -> LabelValue {
        LabelValue::Word(match self {
            Self::Inbound => "inbound",
            Self::Inbox => "inbox",
            Self::Lane => "lane",
            Self::Outbox => "outbox",
        })
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    sessions: Gauges<(ShardId,)>,
    unsettled: Gauges<(ShardId,)>,
    lag_records: Gauges<(ShardId,)>,
    lag_seconds: Gauges<(ShardId,)>,
    waiting: Gauges<(ShardId, Place)>,
    holes: Gauges<(ShardId, Place)>,
    unreported: Gauges<(ShardId,)>,
    quarantine: Gauges<(ShardId,)>,
}

impl Standing {
    pub(super) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            sessions: metrics
                .gauges("entente_router_sessions", "Sessions with a twin, by shard")?,
            unsettled: metrics.gauges(
                "entente_router_unsettled_oldest_seconds",
                "Age of the oldest stanza that a connected device has not acknowledged",
            )?,
            lag_records: metrics.gauges(
                "entente_router_log_lag_records",
                "Records of the shard's log that its owner has not applied",
            )?,
            lag_seconds: metrics.gauges(
                "entente_router_log_lag_seconds",
                "How long the owner has known of an end of the log that it has not reached",
            )?,
            waiting: metrics.gauges(
                "entente_router_waiting",
                "Stanzas and outputs that wait in an owner, by where",
            )?,
            holes: metrics.gauges(
                "entente_router_holes",
                "Sessions and shards of which something is missing that others wait for",
            )?,
            unreported: metrics.gauges(
                "entente_router_twins_unreported",
                "Sessions from before the take-over that no connection node has reported yet",
            )?,
            quarantine: metrics.gauges(
                "entente_router_quarantine_records",
                "Records set aside that are kept to be looked at",
            )?,
        })
    }

    pub(super) fn sessions(&self, shard: ShardId, count: usize) {
        self.sessions.set((shard,), number(count));
    }

    pub(super) fn seen(&self, shard: ShardId, seen: &Seen) {
        self.unsettled.set((shard,), seconds(seen.unsettled));
        if let Some((records, since)) = seen.lag {
            let records = i64::try_from(records).unwrap_or(i64::MAX);
            self.lag_records.set((shard,), records);
            self.lag_seconds.set((shard,), seconds(since));
        }
        let waiting = [
            (Place::Inbound, seen.ahead),
            (Place::Inbox, seen.held),
            (Place::Lane, seen.lanes),
            (Place::Outbox, seen.unsent),
        ];
        for (place, count) in waiting {
            self.waiting.set((shard, place), number(count));
        }
        let holes = [
            (Place::Inbound, seen.ahead_holes),
            (Place::Inbox, seen.held_holes),
        ];
        for (place, count) in holes {
            self.holes.set((shard, place), number(count));
        }
        self.unreported.set((shard,), number(seen.unreported));
        self.quarantine.set((shard,), number(seen.quarantined));
    }

    /// Another owner shows it from now on.
    pub(super) fn left(&self, shard: ShardId) {
        for gauge in [
            &self.sessions,
            &self.unsettled,
            &self.lag_records,
            &self.lag_seconds,
            &self.unreported,
            &self.quarantine,
        ] {
            gauge.remove((shard,));
        }
        for place in [Place::Inbound, Place::Inbox, Place::Lane, Place::Outbox] {
            self.waiting.remove((shard, place));
            self.holes.remove((shard, place));
        }
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}
