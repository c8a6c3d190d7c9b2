//! The end of a run: figures, outcomes, and the status that the program exits with.

use std::collections::BTreeMap;

use entente_probe::Process;

use crate::basis::Basis;
use crate::figures::FIGURES;
use crate::{Finding, FindingKind, RunResult, Threshold, histogram};

/// Exit status of a run that was valid and held all its thresholds.
pub const PASSED: u8 = 0;
/// Exit status of a run that was invalid: it says nothing about the server.
pub const INVALID: u8 = 98;
/// Exit status of a valid run in which a threshold or a promise did not hold.
pub const FAILED: u8 = 99;

impl RunResult {
    /// Works out figures, judges thresholds, and adds findings for what the samples show: too few
    /// events for a percentile that is asked for, and watched processes that ended.
    ///
    /// May be called again after anything changed; earlier findings of these two kinds go.
    ///
    /// # Errors
    /// If histograms cannot be united.
    pub fn judge(&mut self, thresholds: &[Threshold]) -> Result<(), histogram::Error> {
        let basis = Basis::of(self)?;
        self.figures = FIGURES
            .iter()
            .filter_map(|figure| Some((figure.name.to_owned(), figure.value(&basis)?)))
            .collect();
        self.thresholds = thresholds
            .iter()
            .map(|threshold| threshold.judge(self.figures.get(threshold.figure().name).copied()))
            .collect();
        self.findings.retain(|finding| {
            !matches!(
                finding.kind,
                FindingKind::TooFewSamples | FindingKind::WatchLost
            )
        });
        let few = thresholds.iter().filter_map(|threshold| {
            let (has, needs) = threshold.figure().too_few(&basis)?;
            Some(Finding {
                kind: FindingKind::TooFewSamples,
                detail: format!("`{threshold}` needs {needs} events, the run has {has}"),
                invalidates: true,
            })
        });
        self.findings.extend(few);
        let ended = endings(&self.processes);
        self.findings.extend(ended);
        Ok(())
    }

    /// Whether the run says anything about the server.
    pub fn valid(&self) -> bool {
        !self.findings.iter().any(|finding| finding.invalidates)
    }

    /// The status to exit with: [`INVALID`] before [`FAILED`] before [`PASSED`].
    pub fn exit_code(&self) -> u8 {
        let broken = self
            .verdict
            .as_ref()
            .is_some_and(|verdict| verdict.violations > 0);
        if !self.valid() {
            INVALID
        } else if broken || self.thresholds.iter().any(|outcome| !outcome.held) {
            FAILED
        } else {
            PASSED
        }
    }
}

/// That a process ended is no reason to doubt the run: its losses are the server's. One that was
/// killed over and over is told once.
fn endings(processes: &[Process]) -> Vec<Finding> {
    let mut by_name: BTreeMap<&str, Vec<(u64, u32)>> = BTreeMap::new();
    for process in processes {
        if let Some(ended) = process.ended_us {
            by_name
                .entry(&process.name)
                .or_default()
                .push((ended, process.pid));
        }
    }
    let seconds = |us: u64| format!("{}.{} s", us / 1_000_000, us / 100_000 % 10);
    let mut findings = Vec::new();
    for (name, mut ends) in by_name {
        ends.sort_unstable();
        let (Some((first, pid)), Some((last, _))) = (ends.first(), ends.last()) else {
            continue;
        };
        let detail = if ends.len() == 1 {
            format!(
                "{name} (pid {pid}) ended {} after the start; its samples end there",
                seconds(*first)
            )
        } else {
            format!(
                "{name} ended {} times, from {} to {} after the start; samples go on with its \
                 successors",
                ends.len(),
                seconds(*first),
                seconds(*last)
            )
        };
        findings.push(Finding {
            kind: FindingKind::WatchLost,
            detail,
            invalidates: false,
        });
    }
    findings
}
