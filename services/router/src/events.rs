//! Every metric and log line of the router.

use entente_core::ShardId;
use entente_node::{
    Buckets, Counters, Gauges, Histograms, Label, LabelValue, Metrics, MetricsError,
};
use entente_shard::RecordError;

use crate::error::RouterError;

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

/// The router's metrics, registered once.
#[derive(Clone, Debug)]
pub struct Events {
    steps: Counters<(Step,)>,
    sessions: Gauges<(ShardId,)>,
    quarantined: Counters<(ShardId,)>,
    takeovers: Counters<(ShardId,)>,
    append: Histograms<()>,
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
            sessions: metrics
                .gauges("entente_router_sessions", "Sessions with a twin, by shard")?,
            quarantined: metrics.counters(
                "entente_router_quarantined_records",
                "Records set aside, by shard",
            )?,
            takeovers: metrics.counters(
                "entente_router_takeovers",
                "Times that a shard was claimed here",
            )?,
            append: metrics.histograms(
                "entente_router_append_seconds",
                "Time from handing a batch to the log until it is durable",
                Buckets::Latency,
            )?,
        })
    }

    pub(crate) fn count(&self, step: Step, count: u64) {
        self.steps.add((step,), count);
    }

    pub(crate) fn sessions(&self, shard: ShardId, count: usize) {
        self.sessions
            .set((shard,), i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn appended(&self, took: std::time::Duration) {
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

    pub(crate) fn gave_up(shard: ShardId, error: &RouterError) {
        tracing::error!(%shard, %error, "shard given up");
    }

    pub(crate) fn handed_over(shard: ShardId) {
        tracing::info!(%shard, "shard handed over");
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
