//! Every metric and log line of the router.

mod standing;

use std::time::Duration;

use entente_core::{FaultKind, ShardId};
use entente_log::LogError;
use entente_node::{
    Buckets, Counters, Gauges, Histograms, Label, LabelValue, Metrics, MetricsError,
};
use entente_shard::RecordError;

use crate::error::RouterError;

pub(crate) use standing::Seen;
use standing::Standing;

/// What became of a stanza or a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Appended,
    Delivered,
    Dropped,
    Parked,
    Reattached,
    Refused,
    Resumed,
    Settled,
    Unresumable,
}

impl Label for Step {
    const NAME: &'static str = "step";

    fn value(&self) -> LabelValue {
        LabelValue::Word(match self {
            Self::Appended => "appended",
            Self::Delivered => "delivered",
            Self::Dropped => "dropped",
            Self::Parked => "parked",
            Self::Reattached => "reattached",
            Self::Refused => "refused",
            Self::Resumed => "resumed",
            Self::Settled => "settled",
            Self::Unresumable => "unresumable",
        })
    }
}

/// A part of a take-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// From its assignment until the rows are there.
    Load,
    /// Until everything in the log is applied.
    Replay,
    /// Until the own claim is read back.
    Claim,
}

impl Label for Phase {
    const NAME: &'static str = "phase";

    fn value(&self) -> LabelValue {
        LabelValue::Word(match self {
            Self::Claim => "claim",
            Self::Load => "load",
            Self::Replay => "replay",
        })
    }
}

/// From a hand-over, which nobody notices, to the minute after which rows that do not come are given up.
const TAKEOVER: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// The router's metrics, registered once.
#[derive(Clone, Debug)]
pub struct Events {
    steps: Counters<(Step,)>,
    quarantined: Counters<(ShardId,)>,
    takeovers: Counters<(ShardId,)>,
    takeover: Histograms<(Phase,)>,
    append: Histograms<()>,
    repeated: Counters<()>,
    twins_lost: Counters<()>,
    floors: Counters<()>,
    takes: Gauges<()>,
    standing: Standing,
}

impl Events {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When a name is taken: the router was built twice on one registry.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            steps: metrics.counters(
                "entente_router_stanzas",
                "Stanzas and sessions by the step that they reached",
            )?,
            quarantined: metrics.counters(
                "entente_router_quarantined_records",
                "Records set aside, by shard",
            )?,
            takeovers: metrics.counters(
                "entente_router_takeovers",
                "Times that a shard was claimed here",
            )?,
            takeover: metrics.histograms(
                "entente_router_takeover_seconds",
                "Time that a take-over took, by phase",
                Buckets::Bounds(TAKEOVER),
            )?,
            append: metrics.histograms(
                "entente_router_append_seconds",
                "Time from handing a batch to the log until it is durable",
                Buckets::Latency,
            )?,
            repeated: metrics.counters(
                "entente_router_dedupe_hits",
                "Stanzas passed over because their ids were seen before",
            )?,
            twins_lost: metrics.counters(
                "entente_router_twins_lost",
                "Sessions from before a take-over that no connection node reported in time",
            )?,
            floors: metrics.counters(
                "entente_router_floors_not_raised",
                "Times that the log did not let go of what the rows cover",
            )?,
            takes: metrics.gauges(
                "entente_router_log_available",
                "1 while the logs take appends, as far as is known",
            )?,
            standing: Standing::new(metrics)?,
        })
    }

    pub(crate) fn count(&self, step: Step, count: u64) {
        self.steps.add((step,), count);
    }

    pub(crate) fn sessions(&self, shard: ShardId, count: usize) {
        self.standing.sessions(shard, count);
    }

    pub(crate) fn seen(&self, shard: ShardId, seen: &Seen, repeated: u64) {
        self.standing.seen(shard, seen);
        if repeated > 0 {
            self.repeated.add((), repeated);
        }
    }

    /// The shard is not served here any more.
    pub(crate) fn left(&self, shard: ShardId) {
        self.standing.left(shard);
    }

    pub(crate) fn twin_lost(&self) {
        self.twins_lost.increment(());
    }

    pub(crate) fn took_over(&self, phases: &[(Phase, Duration)]) {
        for (phase, took) in phases {
            self.takeover.observe_span((*phase,), *took);
        }
    }

    /// The next checkpoint tries again. The log only grows meanwhile.
    pub(crate) fn floor_stayed(&self, shard: ShardId, error: LogError) {
        self.floors.increment(());
        tracing::debug!(%shard, %error, "floor of the log not raised");
    }

    pub(crate) fn appended(&self, took: Duration) {
        self.append.observe_span((), took);
    }

    pub(crate) fn quarantined(&self, shard: ShardId, offset: u64, why: RecordError) {
        self.quarantined.increment((shard,));
        tracing::error!(%shard, offset, %why, "record set aside");
    }

    pub(crate) fn owned(&self, shard: ShardId, epoch: u64, replayed: u64) {
        self.takeovers.increment((shard,));
        tracing::info!(%shard, epoch, replayed, "shard claimed");
    }

    /// The shard is claimed anew, here or elsewhere, unless nobody can before somebody has looked.
    pub(crate) fn gave_up(shard: ShardId, error: &RouterError, needs_a_person: bool) {
        if needs_a_person {
            tracing::error!(%shard, %error, "shard given up");
        } else {
            tracing::warn!(%shard, %error, "shard given up");
        }
    }

    pub(crate) fn handed_over(shard: ShardId) {
        tracing::info!(%shard, "shard handed over");
    }

    /// A person on call asked. Of whom is in no log line.
    pub(crate) fn inspected(kind: &'static str, shard: ShardId, fault: Option<FaultKind>) {
        let outcome = fault.map_or("answered", FaultKind::label);
        tracing::info!(kind, %shard, outcome, "inspected");
    }

    pub(crate) fn log_takes(&self, takes: bool) {
        self.takes.set((), i64::from(takes));
    }

    pub(crate) fn log_health(reason: Option<&'static str>) {
        match reason {
            Some(reason) => tracing::error!(reason, "the log takes nothing"),
            None => tracing::info!("the log takes appends again"),
        }
    }

    pub(crate) fn edge_lost(shard: ShardId) {
        tracing::warn!(%shard, "a connection node does not drain its stream");
    }
}

#[cfg(test)]
mod tests;
