//! Latencies of a round.

use std::fmt;
use std::time::Duration;

/// Of every record: from when it was due until it was acknowledged, and until it was read.
#[derive(Debug, Default)]
pub struct Figures {
    acked: Vec<Duration>,
    read: Vec<Duration>,
}

impl Figures {
    pub const HEAD: &str =
        "        records  acked p50    p99    max   read p50    p99    max   (ms)";

    pub fn new(mut acked: Vec<Duration>, mut read: Vec<Duration>) -> Self {
        acked.sort_unstable();
        read.sort_unstable();
        Self { acked, read }
    }
}

fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let at = (share * (sorted.len().saturating_sub(1)) as f64).round() as usize;
    sorted.get(at).map_or(f64::NAN, Duration::as_secs_f64) * 1000.0
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a50, a99, a100] = [0.5, 0.99, 1.0].map(|share| quantile(&self.acked, share));
        let [r50, r99, r100] = [0.5, 0.99, 1.0].map(|share| quantile(&self.read, share));
        write!(
            f,
            "{:>9}  {a50:>9.2} {a99:>6.1} {a100:>6.1}  {r50:>9.2} {r99:>6.1} {r100:>6.1}",
            self.acked.len()
        )
    }
}

/// Of each pair of rounds, one as a multiple of the other: p50 and p99 of what was read.
pub fn ratios(these: &[Figures], of: &[Figures]) -> String {
    let pairs = these.iter().zip(of);
    let told = pairs.map(|(this, of)| {
        let [p50, p99] =
            [0.5, 0.99].map(|share| quantile(&this.read, share) / quantile(&of.read, share));
        format!("p50 {p50:.2} p99 {p99:.2}")
    });
    told.collect::<Vec<_>>().join(", ")
}
