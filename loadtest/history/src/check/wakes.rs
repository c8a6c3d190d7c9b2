//! R12: who has messages waiting is woken.

use foldhash::{HashMap, HashMapExt};

use super::record::{Delivery, Record, Spot};
use super::scan::Scan;
use crate::id::Device;
use crate::verdict::Rule;

/// Calls of a partition, by their id.
pub(super) struct Calls {
    seen: HashMap<u64, Call>,
}

struct Call {
    to: Device,
    endpoint: u64,
    spot: Spot,
    least: u32,
    other: Option<Spot>,
}

impl Calls {
    pub(super) fn new() -> Self {
        Self {
            seen: HashMap::new(),
        }
    }

    pub(super) fn add(&mut self, spot: Spot, record: &Record) {
        let Record::Push {
            wake,
            to,
            endpoint,
            attempt,
        } = *record
        else {
            return;
        };
        let call = self.seen.entry(wake).or_insert(Call {
            to,
            endpoint,
            spot,
            least: attempt,
            other: None,
        });
        call.least = call.least.min(attempt);
        if (call.to, call.endpoint) != (to, endpoint) {
            call.other.get_or_insert(spot);
        }
    }

    /// Every attempt of a call has its id. While endpoints are made to fail, a first attempt may
    /// never have arrived.
    pub(super) fn judge(self, scan: &mut Scan<'_>) {
        let failing = failing(scan);
        let mut calls: Vec<_> = self.seen.into_values().collect();
        calls.sort_unstable_by_key(|call| call.spot);
        for call in calls {
            let what = if call.other.is_some() {
                "calls for two devices or endpoints have one id".to_owned()
            } else if call.least > 1 && !failing {
                let who = scan.roster.name(call.to);
                format!("a call for {who} begins with attempt {}", call.least)
            } else {
                continue;
            };
            let spots = [Some(call.spot), call.other];
            scan.findings
                .broken(Rule::R12, || (what, spots.into_iter().flatten().collect()));
        }
    }
}

fn failing(scan: &Scan<'_>) -> bool {
    scan.files
        .iter()
        .any(|facts| facts.faults.iter().any(|fault| fault.push))
}

/// A message waited for a device that was away: it should have been called, if it was away when the
/// message was sent, and for long enough after the acceptance. All times are of one process.
pub(super) fn due(scan: &mut Scan<'_>, spot: Spot, it: &Delivery, (sent, accepted): (u64, u64)) {
    let failing = failing(scan);
    let grace = u64::try_from(scan.options.wake_within.as_nanos()).unwrap_or(u64::MAX);
    let Some(known) = scan.roster.of_mut(it.to) else {
        return;
    };
    let Some((at, absence)) = known.absence(it.epoch) else {
        return;
    };
    let waited = absence.until.saturating_sub(accepted);
    if absence.counted || sent < absence.since || waited < grace {
        return;
    }
    let late = failing && known.absences.iter().skip(at).any(|absence| absence.called);
    let called = absence.called || late || known.called_elsewhere || (failing && known.called);
    let began = known.began(absence.epoch).unwrap_or_default();
    if let Some(absence) = known.absences.get_mut(at) {
        absence.counted = true;
    }
    scan.counts.wakes_due += 1;
    scan.findings.judged(Rule::R12, 1);
    if !called {
        let file = spot.file;
        scan.findings.broken(Rule::R12, || {
            let who = scan.roster.name(it.to);
            let what = format!(
                "{who} was away with a message waiting for {} s, and was not called",
                waited / 1_000_000_000
            );
            (what, vec![Spot { file, line: began }, spot])
        });
    }
}
