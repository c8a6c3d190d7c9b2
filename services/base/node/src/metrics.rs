//! The metrics of a process: made once at start, counted by handles, written out when asked.
//!
//! In: names and labels from services. Out: the OpenMetrics text of all of them.
//!
//! **Invariants**
//! - A handle never blocks on the exposition and never fails.
//! - Names are in snake case and start with `entente_`; counters are written without `_total`,
//!   which the format adds. A wrong or double name is found when the process starts.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::labels::Encoded;
use crate::{Labels, process};

/// The registry of a process. Clones share it.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    names: BTreeSet<&'static str>,
}

impl Metrics {
    /// A registry that holds what `/proc` says about the process.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::ProcessCollector::new()));
        let names = BTreeSet::new();
        Self(Arc::new(Mutex::new(Inner { registry, names })))
    }

    /// Makes counters, one per set of labels, written as `<name>_total`.
    ///
    /// # Errors
    /// When the name is taken or not in the house's form.
    pub fn counters<L: Labels>(
        &self,
        name: &'static str,
        help: &'static str,
    ) -> Result<Counters<L>, MetricsError> {
        let family = Family::default();
        self.register(name, help, family.clone())?;
        Ok(Counters(family))
    }

    /// Makes gauges, one per set of labels.
    ///
    /// # Errors
    /// When the name is taken or not in the house's form.
    pub fn gauges<L: Labels>(
        &self,
        name: &'static str,
        help: &'static str,
    ) -> Result<Gauges<L>, MetricsError> {
        let family = Family::default();
        self.register(name, help, family.clone())?;
        Ok(Gauges(family))
    }

    /// Makes histograms, one per set of labels.
    ///
    /// # Errors
    /// When the name is taken or not in the house's form.
    pub fn histograms<L: Labels>(
        &self,
        name: &'static str,
        help: &'static str,
        buckets: Buckets,
    ) -> Result<Histograms<L>, MetricsError> {
        let family = Family::new_with_constructor(buckets);
        self.register(name, help, family.clone())?;
        Ok(Histograms(family))
    }

    /// Writes all metrics as OpenMetrics 1.0 text.
    ///
    /// # Errors
    /// When a collector fails.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.0.lock().registry)?;
        Ok(out)
    }

    fn register(
        &self,
        name: &'static str,
        help: &'static str,
        metric: impl Metric,
    ) -> Result<(), MetricsError> {
        let snake = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if !name.starts_with("entente_") || name.ends_with("_total") || !name.bytes().all(snake) {
            return Err(MetricsError::BadName { name });
        }
        let mut inner = self.0.lock();
        if !inner.names.insert(name) {
            return Err(MetricsError::Taken { name });
        }
        // The format ends each help text with a full stop by itself.
        inner.registry.register(name, help, metric);
        Ok(())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a metric cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricsError {
    /// Not `entente_` and snake case without `_total`.
    #[error("{name} is not the name of a metric")]
    BadName {
        /// The name.
        name: &'static str,
    },
    /// There is one of that name.
    #[error("the metric {name} exists already")]
    Taken {
        /// The name.
        name: &'static str,
    },
}

/// Numbers that only grow.
#[derive(Clone, Debug)]
pub struct Counters<L: Labels>(Family<Encoded<L>, Counter>);

impl<L: Labels> Counters<L> {
    /// Adds.
    pub fn add(&self, labels: L, count: u64) {
        self.0.get_or_create(&Encoded(labels)).inc_by(count);
    }

    /// Adds one.
    pub fn increment(&self, labels: L) {
        self.add(labels, 1);
    }

    /// The number so far.
    pub fn value(&self, labels: L) -> u64 {
        self.0.get_or_create(&Encoded(labels)).get()
    }
}

/// Numbers that go up and down.
#[derive(Clone, Debug)]
pub struct Gauges<L: Labels>(Family<Encoded<L>, Gauge>);

impl<L: Labels> Gauges<L> {
    /// Sets.
    pub fn set(&self, labels: L, value: i64) {
        self.0.get_or_create(&Encoded(labels)).set(value);
    }

    /// Adds; negative numbers subtract.
    pub fn add(&self, labels: L, change: i64) {
        self.0.get_or_create(&Encoded(labels)).inc_by(change);
    }

    /// The number now.
    pub fn value(&self, labels: L) -> i64 {
        self.0.get_or_create(&Encoded(labels)).get()
    }

    /// Forgets the series, such as that of a shard which moved away.
    pub fn remove(&self, labels: L) -> bool {
        self.0.remove(&Encoded(labels))
    }
}

/// Distributions.
#[derive(Clone, Debug)]
pub struct Histograms<L: Labels>(Family<Encoded<L>, Histogram, Buckets>);

impl<L: Labels> Histograms<L> {
    /// Counts a plain number.
    pub fn observe(&self, labels: L, value: f64) {
        self.0.get_or_create(&Encoded(labels)).observe(value);
    }

    /// Counts a span, in seconds.
    pub fn observe_span(&self, labels: L, span: Duration) {
        self.observe(labels, span.as_secs_f64());
    }
}

/// Upper bounds of a histogram's buckets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Buckets {
    /// 1, 4, 16 .. 16384: batches and queues.
    Counts,
    /// 0.1 ms to 10 s: what a caller waits for.
    Latency,
    /// 64 bytes to 1 MiB.
    Sizes,
    /// Others, ascending.
    Bounds(&'static [f64]),
}

impl Buckets {
    const fn bounds(self) -> &'static [f64] {
        match self {
            Self::Counts => &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0],
            Self::Latency => &[
                0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                0.5, 1.0, 2.5, 5.0, 10.0,
            ],
            Self::Sizes => &[
                64.0,
                256.0,
                1024.0,
                4096.0,
                16384.0,
                65536.0,
                262_144.0,
                1_048_576.0,
            ],
            Self::Bounds(bounds) => bounds,
        }
    }
}

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.bounds().iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use entente_core::{FaultKind, PartnerId, ShardId};

    use super::*;

    #[test]
    fn writes_each_kind_with_its_labels() {
        let metrics = Metrics::new();
        let refused = metrics
            .counters::<(FaultKind, PartnerId)>("entente_door_refused", "Refusals")
            .unwrap();
        let depth = metrics
            .gauges::<(ShardId,)>("entente_door_depth", "Waiting")
            .unwrap();
        let took = metrics
            .histograms::<()>("entente_door_took_seconds", "Time", Buckets::Latency)
            .unwrap();
        refused.add((FaultKind::Deadline, PartnerId::new(7).unwrap()), 2);
        depth.set((ShardId::new(3),), 5);
        depth.add((ShardId::new(3),), -1);
        took.observe_span((), Duration::from_millis(3));
        let text = metrics.encode().unwrap();
        for line in [
            "entente_door_refused_total{kind=\"deadline\",partner=\"7\"} 2\n",
            "entente_door_depth{shard=\"3\"} 4\n",
            "entente_door_took_seconds_bucket{le=\"0.0025\"} 0\n",
            "entente_door_took_seconds_bucket{le=\"0.005\"} 1\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn names_are_the_houses_and_unique() {
        let metrics = Metrics::new();
        for name in ["door", "entente_Door", "entente_door_total", "entente-door"] {
            let refused = metrics.counters::<()>(name, "No");
            assert_eq!(refused.err(), Some(MetricsError::BadName { name }));
        }
        let name = "entente_door_opened";
        assert!(metrics.counters::<()>(name, "Yes").is_ok());
        let second = metrics.gauges::<()>(name, "No").err();
        assert_eq!(second, Some(MetricsError::Taken { name }));
    }
}
