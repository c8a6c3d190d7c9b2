//! R9, latency: after the heal it is back to twice what it was before the first fault.
//!
//! Only messages whose sender and recipient are told of in one file have a latency at all: the clocks
//! of two processes are not compared.

use std::collections::BTreeMap;

use super::record::Spot;
use super::scan::Scan;
use crate::verdict::Rule;

/// Latencies by file and slice of time.
#[derive(Default)]
pub(super) struct Recovery {
    slices: BTreeMap<(u16, u64), Histogram>,
}

/// Eight buckets an octave: fine enough to compare by twos.
struct Histogram {
    counts: Box<[u32; BUCKETS]>,
    total: u64,
}

const SLICE: u64 = 10_000_000_000;
const BUCKETS: usize = 64 * 8;
/// Fewer samples give no 99th percentile worth comparing.
const LEAST: u64 = 200;
/// Below this, noise of the machine is not a fault of the gateway.
const FLOOR: u64 = 10_000_000;

impl Recovery {
    pub(super) fn add(&mut self, file: u16, sent: u64, took: u64) {
        let slice = self
            .slices
            .entry((file, sent / SLICE))
            .or_insert_with(Histogram::new);
        slice.add(took);
    }

    pub(super) fn judge(&self, scan: &mut Scan<'_>) {
        let within = u64::try_from(scan.options.recover_within.as_nanos()).unwrap_or(u64::MAX);
        let mut late = Vec::new();
        for (number, facts) in (0_u16..).zip(&scan.files) {
            let (Some(fault), Some((healed, line))) = (facts.first_fault, facts.healed) else {
                continue;
            };
            let of = |from: u64, to: u64| {
                self.slices
                    .range((number, from)..(number, to))
                    .map(|(_, slice)| slice)
            };
            let mut before = Histogram::new();
            of(0, fault / SLICE).for_each(|slice| before.merge(slice));
            let mut after = of(
                healed.div_ceil(SLICE),
                healed.saturating_add(within) / SLICE,
            )
            .filter(|slice| slice.total >= LEAST)
            .peekable();
            let long_enough = facts.last >= healed.saturating_add(within);
            if before.total < LEAST || after.peek().is_none() {
                scan.findings.unjudged(Rule::R9);
                continue;
            }
            let limit = before.p99().max(FLOOR).saturating_mul(2);
            let best = after.map(Histogram::p99).min().unwrap_or_default();
            if best <= limit {
                scan.findings.judged(Rule::R9, 1);
            } else if long_enough {
                scan.findings.judged(Rule::R9, 1);
                late.push((Spot { file: number, line }, before.p99(), best));
            } else {
                scan.findings.unjudged(Rule::R9);
            }
        }
        for (spot, before, best) in late {
            scan.findings.broken(Rule::R9, || {
                let (before, best) = (before / 1_000_000, best / 1_000_000);
                let what = format!(
                    "the 99th percentile of latency was {before} ms before the first fault, and not below \
                     {best} ms in time after the heal"
                );
                (what, vec![spot])
            });
        }
    }
}

impl Histogram {
    fn new() -> Self {
        Self {
            counts: Box::new([0; BUCKETS]),
            total: 0,
        }
    }

    fn add(&mut self, value: u64) {
        // Three bits below the highest one.
        let high = value.max(8).ilog2();
        let low = (value.max(8) >> (high - 3)) & 7;
        let at = u64::from(high) * 8 + low;
        if let Some(count) = usize::try_from(at)
            .ok()
            .and_then(|at| self.counts.get_mut(at))
        {
            *count = count.saturating_add(1);
            self.total += 1;
        }
    }

    fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count = count.saturating_add(*more);
        }
        self.total += other.total;
    }

    /// The upper end of the bucket that holds it.
    fn p99(&self) -> u64 {
        let wanted = self.total - self.total / 100;
        let mut seen = 0;
        for (at, count) in (0_u64..).zip(self.counts.iter()) {
            seen += u64::from(*count);
            if seen >= wanted && *count > 0 {
                return (9 + at % 8)
                    .checked_shl(u32::try_from(at / 8).unwrap_or_default().saturating_sub(3))
                    .unwrap_or(u64::MAX);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_within_an_eighth_above() {
        for value in [9_u64, 100, 1_000_000, 123_456_789_012] {
            let mut histogram = Histogram::new();
            for _ in 0..990 {
                histogram.add(value);
            }
            for _ in 0..10 {
                histogram.add(value * 1000);
            }
            let p99 = histogram.p99();
            assert!(
                p99 > value && p99 <= value + value / 8 + 1,
                "{value}: {p99}"
            );
        }
    }
}
