//! Every log line and metric of the push service. A partner's number is the finest grain.

use std::time::Duration;

use entente_core::PartnerId;
use entente_log::LogError;
use entente_node::{
    Buckets, Counters, Gauges, Histograms, Label, LabelValue, Metrics, MetricsError,
};

use crate::backoff::Change;
use crate::retire::{Answer, Reason};

/// A word of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Outcome(&'static str);

impl Label for Outcome {
    const NAME: &'static str = "outcome";

    fn value(&self) -> LabelValue {
        LabelValue::Word(self.0)
    }
}

/// The metrics of the service; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    attempts: Counters<(PartnerId, Outcome)>,
    closed: Gauges<(PartnerId,)>,
    delay: Histograms<()>,
    floors: Counters<()>,
    held: Gauges<(PartnerId,)>,
    records: Counters<(Outcome,)>,
    retired: Counters<(PartnerId, Outcome)>,
    took: Histograms<()>,
}

/// From a second, which a healthy partner needs, to the three days after which we give up.
const DELAYS: &[f64] = &[
    0.1, 0.5, 1.0, 5.0, 30.0, 300.0, 1800.0, 7200.0, 21600.0, 86400.0, 259_200.0,
];

impl Events {
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            attempts: metrics.counters("entente_push_attempts", "Requests to partners")?,
            closed: metrics.gauges(
                "entente_push_closed",
                "Partitions of wake-ups from which a partner gets no requests",
            )?,
            delay: metrics.histograms(
                "entente_push_delay_seconds",
                "From the log to a partner's 2xx",
                Buckets::Bounds(DELAYS),
            )?,
            floors: metrics.counters(
                "entente_push_floors_not_raised",
                "Times that the wake-up log did not let go of what is over",
            )?,
            held: metrics.gauges("entente_push_held", "Wake-ups in memory")?,
            records: metrics.counters("entente_push_records", "Records of the wake-up log")?,
            retired: metrics.counters("entente_push_retired", "Wake-ups that are over")?,
            took: metrics.histograms(
                "entente_push_request_seconds",
                "Time of a request",
                Buckets::Latency,
            )?,
        })
    }
}

/// An attempt ended.
pub(crate) struct Attempted {
    pub(crate) partner: PartnerId,
    pub(crate) answer: Answer,
    pub(crate) took: Duration,
}

impl Attempted {
    pub(crate) fn emit(self, events: &Events) {
        let outcome = self.answer.label();
        events.attempts.increment((self.partner, Outcome(outcome)));
        events.took.observe_span((), self.took);
        if self.answer == Answer::Unsigned {
            tracing::error!("a wake-up could not be signed or addressed");
        }
        tracing::debug!(
            partner = self.partner.number(),
            outcome,
            "wake-up attempted"
        );
    }
}

/// What one partition adds to the levels of a partner. Dropped, it takes that back: the partition is
/// another process's then.
#[derive(Debug)]
pub(crate) struct Shown {
    events: Events,
    partner: PartnerId,
    held: i64,
    is_closed: bool,
}

impl Shown {
    pub(crate) const fn new(events: Events, partner: PartnerId) -> Self {
        Self {
            events,
            partner,
            held: 0,
            is_closed: false,
        }
    }

    /// The number of the partner's wake-ups in memory.
    pub(crate) fn held(&mut self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.events.held.add((self.partner,), count - self.held);
        self.held = count;
    }

    /// The partner's gate closed or opened again, after an attempt with this outcome.
    pub(crate) fn gate(&mut self, change: Change, outcome: &'static str) {
        let partner = self.partner.number();
        match change {
            Change::Closed => {
                self.closed(true);
                tracing::warn!(partner, outcome, "partner does not take wake-ups");
            }
            Change::None => {}
            Change::Recovered => {
                self.closed(false);
                tracing::info!(partner, "partner takes wake-ups again");
            }
        }
    }

    fn closed(&mut self, now: bool) {
        let change = i64::from(now) - i64::from(self.is_closed);
        self.events.closed.add((self.partner,), change);
        self.is_closed = now;
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.held(0);
        self.closed(false);
    }
}

/// A partition could not be read.
pub(crate) struct ReadFailed {
    pub(crate) partition: u32,
    pub(crate) error: LogError,
}

impl ReadFailed {
    pub(crate) fn emit(self) {
        let (partition, error) = (self.partition, self.error);
        if matches!(error, LogError::Truncated { .. }) {
            // Only this service raises the floor: its rows were lost or are those of another log.
            tracing::error!(partition, %error, "wake-ups are gone from the log");
        } else {
            tracing::warn!(partition, %error, "wake-up log not read");
        }
    }
}

/// A record was read.
pub(crate) struct RecordRead {
    pub(crate) partition: u32,
    pub(crate) outcome: &'static str,
}

impl RecordRead {
    /// The outcome of a record that does not open.
    pub(crate) const BROKEN: &'static str = "broken";

    pub(crate) fn emit(self, events: &Events) {
        events.records.increment((Outcome(self.outcome),));
        if self.outcome == Self::BROKEN {
            let partition = self.partition;
            tracing::error!(partition, "a record of the wake-up log is not ours");
        }
    }
}

/// A wake-up is over.
pub(crate) struct Retired {
    pub(crate) partner: PartnerId,
    pub(crate) reason: Reason,
    pub(crate) age: Duration,
}

impl Retired {
    pub(crate) fn emit(self, events: &Events) {
        let reason = self.reason.label();
        events.retired.increment((self.partner, Outcome(reason)));
        match self.reason {
            Reason::Delivered => events.delay.observe_span((), self.age),
            Reason::GivenUp => {
                tracing::warn!(partner = self.partner.number(), "wake-up given up");
            }
            Reason::Gone | Reason::NoEndpoint | Reason::NotEnlisted => {}
        }
    }
}

/// The floor of a partition could not be raised; the next checkpoint tries again.
pub(crate) struct FloorStayed {
    pub(crate) partition: u32,
    pub(crate) error: LogError,
}

impl FloorStayed {
    pub(crate) fn emit(self, events: &Events) {
        let (partition, error) = (self.partition, self.error);
        events.floors.increment(());
        tracing::warn!(partition, %error, "floor of the wake-up log not raised");
    }
}

/// The service stopped over its store.
pub(crate) struct Stopped<'a> {
    pub(crate) error: &'a crate::error::PushError,
}

impl Stopped<'_> {
    pub(crate) fn emit(self) {
        tracing::error!(error = %self.error, "push stopped");
    }
}
