//! The table at the end, and what it must say.

use std::fmt;
use std::time::Duration;

use entente_kit::device::{DeviceTally, histogram};
use hdrhistogram::Histogram;

use crate::error::{DemoError, check};
use crate::storm::Weathered;
use crate::story::Told;

/// What the demonstration counted.
#[derive(Clone, Debug)]
pub struct Report {
    /// Messages of the storm that users sent.
    pub sent: u64,
    /// Messages, receipts and texts that the gateway acknowledged, over the whole demonstration.
    pub acknowledged: u64,
    /// Messages, receipts and texts that were handed to the devices to send.
    pub handed_over: u64,
    /// Messages of the storm that their recipients decrypted.
    pub delivered: u64,
    /// Sent and never seen.
    pub lost: u64,
    /// Seen twice by a user.
    pub duplicates: u64,
    /// Copies on the wire that devices dropped.
    pub wire_duplicates: u64,
    /// Seen after a later one of the same sender.
    pub out_of_order: u64,
    /// Could not be decrypted.
    pub undecryptable: u64,
    /// Refused by the gateway.
    pub refused: u64,
    /// Sent again by devices.
    pub resent: u64,
    /// Logins that went on with the session.
    pub resumed: u64,
    /// Logins that bound afresh.
    pub rebound: u64,
    /// Connections cut on purpose.
    pub cuts: u64,
    /// Kills of the gateway.
    pub kills: u32,
    /// Longest time from a kill to readiness.
    pub longest_outage: Duration,
    /// Verified wake-ups in the story.
    pub wakes: u64,
    /// Texts of the story.
    pub texts: u64,
    /// How long the storm took.
    pub storm: Duration,
    /// How long everything took.
    pub total: Duration,
    /// From sending to decryption, in microseconds; kills included.
    pub end_to_end: Histogram<u64>,
    /// From sending to the acknowledgement, in microseconds; kills included.
    pub accepted: Histogram<u64>,
}

impl Report {
    pub(crate) fn new(
        told: Told,
        storm: Weathered,
        tallies: &[DeviceTally],
        total: Duration,
    ) -> Self {
        let sum = |count: fn(&DeviceTally) -> u64| tallies.iter().map(count).sum();
        let mut accepted = histogram();
        for tally in tallies {
            // Cannot fail: all have the same bounds.
            let _same_bounds = accepted.add(&tally.accepted_micros);
        }
        let totals = storm.totals;
        Self {
            sent: totals.sent,
            acknowledged: sum(|tally| tally.counts.acked),
            handed_over: sum(|tally| tally.counts.sent),
            delivered: totals.delivered,
            lost: totals.lost(),
            duplicates: totals.duplicates,
            wire_duplicates: sum(|tally| tally.counts.copies),
            out_of_order: totals.out_of_order,
            undecryptable: totals.undecryptable,
            refused: storm.refused,
            resent: sum(|tally| tally.counts.resent),
            resumed: sum(|tally| tally.counts.resumed),
            rebound: sum(|tally| tally.counts.rebound),
            cuts: storm.cuts,
            kills: storm.kills,
            longest_outage: storm.longest_outage,
            wakes: told.wakes,
            texts: told.texts,
            storm: storm.took,
            total,
            end_to_end: totals.micros,
            accepted,
        }
    }

    /// Fails on the first number that breaks a promise.
    pub(crate) fn check(&self) -> Result<(), DemoError> {
        let zero = |what, count: u64| check(count == 0, what, &count.to_string());
        zero("no message is lost", self.lost)?;
        zero("no message comes twice to a user", self.duplicates)?;
        zero("messages of one sender stay in order", self.out_of_order)?;
        zero("every message can be decrypted", self.undecryptable)?;
        zero("no message is refused", self.refused)?;
        zero(
            "everything that was handed over is acknowledged",
            self.handed_over.saturating_sub(self.acknowledged),
        )
    }
}

fn millis(histogram: &Histogram<u64>, percentile: f64) -> String {
    let micros = histogram.value_at_quantile(percentile / 100.0);
    let duration = Duration::from_micros(micros);
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row =
            |name: &str, value: &dyn fmt::Display| writeln!(f, "  {name:<28} {value:>14}");
        row("messages sent", &self.sent)?;
        row("delivered and decrypted", &self.delivered)?;
        row("lost", &self.lost)?;
        row("duplicated at the user", &self.duplicates)?;
        row("out of order", &self.out_of_order)?;
        row("refused", &self.refused)?;
        row("handed over, all stanzas", &self.handed_over)?;
        row("acknowledged, all stanzas", &self.acknowledged)?;
        row("copies dropped by devices", &self.wire_duplicates)?;
        row("sent again by devices", &self.resent)?;
        row("kills of the gateway", &self.kills)?;
        row(
            "longest outage",
            &format!("{:.2} s", self.longest_outage.as_secs_f64()),
        )?;
        row("connections cut", &self.cuts)?;
        row("sessions resumed", &self.resumed)?;
        row("sessions bound afresh", &self.rebound)?;
        row("acknowledged after, p50", &millis(&self.accepted, 50.0))?;
        row("acknowledged after, p99", &millis(&self.accepted, 99.0))?;
        row("decrypted after, p50", &millis(&self.end_to_end, 50.0))?;
        row("decrypted after, p99", &millis(&self.end_to_end, 99.0))?;
        row("storm", &format!("{:.1} s", self.storm.as_secs_f64()))?;
        row("all of it", &format!("{:.1} s", self.total.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::Book;

    fn report() -> Report {
        let storm = Weathered {
            totals: Book::default().totals(),
            took: Duration::from_secs(3),
            cuts: 1,
            kills: 2,
            longest_outage: Duration::from_millis(250),
            refused: 0,
        };
        Report::new(
            Told {
                texts: 11,
                wakes: 1,
            },
            storm,
            &[],
            Duration::from_secs(5),
        )
    }

    #[test]
    fn each_broken_promise_fails_the_report() {
        assert!(report().check().is_ok());
        let broken: [fn(&mut Report); 6] = [
            |report| report.lost = 1,
            |report| report.duplicates = 1,
            |report| report.out_of_order = 1,
            |report| report.undecryptable = 1,
            |report| report.refused = 1,
            |report| report.handed_over = 1,
        ];
        for breaking in broken {
            let mut report = report();
            breaking(&mut report);
            assert!(matches!(report.check(), Err(DemoError::Check { .. })));
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_number() {
        let table = report().to_string();
        assert_eq!(table.lines().count(), 21);
        assert!(
            table.contains("longest outage                       0.25 s"),
            "{table}"
        );
    }
}
