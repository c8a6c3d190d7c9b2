//! What a device counted over all its connections.

use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use crate::client::Counts;

/// Two digits are enough for a percentile that people read.
const DIGITS: u8 = 2;
/// Longest latency that is told apart, in microseconds: ten minutes.
const LONGEST_MICROS: u64 = 600_000_000;

/// The numbers of one device at one time.
#[derive(Clone, Debug)]
pub struct DeviceTally {
    /// What the client counted.
    pub counts: Counts,
    /// Attempts to connect that failed.
    pub failures: u64,
    /// Sessions that a newer one of the same account replaced.
    pub conflicts: u64,
    /// Stanzas that no `h` covers yet.
    pub unacked: usize,
    /// What ended the last connection or attempt.
    pub last_error: Option<String>,
    /// From first sending to the acknowledgement, in microseconds.
    pub accepted_micros: Histogram<u64>,
}

#[derive(Debug)]
pub(super) struct Tally(Mutex<DeviceTally>);

impl Default for Tally {
    fn default() -> Self {
        Self(Mutex::new(DeviceTally {
            counts: Counts::default(),
            failures: 0,
            conflicts: 0,
            unacked: 0,
            last_error: None,
            accepted_micros: histogram(),
        }))
    }
}

impl Tally {
    pub(super) fn read(&self) -> DeviceTally {
        self.0.lock().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut DeviceTally)) {
        change(&mut self.0.lock());
    }
}

/// An empty histogram of latencies.
#[expect(
    clippy::expect_used,
    reason = "both bounds are constants that are valid"
)]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS).expect("the bounds are valid")
}

/// Records a latency, at most the longest that is told apart.
pub fn record(histogram: &mut Histogram<u64>, took: Duration) {
    histogram.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
}
