//! Latencies of a round.

use std::fmt;
use std::time::Duration;

/// Of every record: from when it was due until it was acknowledged, and until it was read.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    acked: Vec<Duration>,
    read: Vec<Duration>,
}

impl Figures {
    pub(crate) const HEAD: &str =
        "        records  acked p50    p99    max   read p50    p99    max   (ms)";

    pub(crate) fn new(mut acked: Vec<Duration>, mut read: Vec<Duration>) -> Self {
        acked.sort_unstable();
        read.sort_unstable();
        Self { acked, read }
    }
}

fn quantile(sorted: &[Duration], percent: usize) -> f64 {
    let at = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(at).map_or(f64::NAN, Duration::as_secs_f64) * 1000.0
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a50, a99, a100] = [50, 99, 100].map(|percent| quantile(&self.acked, percent));
        let [r50, r99, r100] = [50, 99, 100].map(|percent| quantile(&self.read, percent));
        write!(
            f,
            "{:>9}  {a50:>9.2} {a99:>6.1} {a100:>6.1}  {r50:>9.2} {r99:>6.1} {r100:>6.1}",
            self.acked.len()
        )
    }
}

/// Of each pair of rounds, one as a multiple of the other: p50 and p99 of what was read.
pub(crate) fn ratios(these: &[Figures], of: &[Figures]) -> String {
    let pairs = these.iter().zip(of);
    let told = pairs.map(|(this, of)| {
        let [p50, p99] =
            [50, 99].map(|percent| quantile(&this.read, percent) / quantile(&of.read, percent));
        format!("p50 {p50:.2} p99 {p99:.2}")
    });
    told.collect::<Vec<_>>().join(", ")
}
