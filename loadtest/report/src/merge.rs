//! One result out of those of several generators.
//!
//! Counts and histograms add exactly; processes and machines that two generators watched are kept
//! once. Times move to the earliest start by the hosts' wall clocks, to the length of a step: they
//! place points in charts and CPU samples in parts, and no latency is made from them.
//!
//! **Invariants**: the order of the results does not matter to any count or figure; results of
//! different runs are never united.

use std::collections::BTreeSet;

use entente_probe::{Metric, Process};

use crate::{
    Fault, Finding, FindingKind, Machine, Outcome, Phase, Point, RunResult, Series, Threshold,
    ThresholdError, Verdict, histogram,
};

/// Farthest apart that generators of one run may have started: a day.
const FARTHEST_MS: u64 = 86_400_000;

/// Keys of a scenario in which generators of one run differ: which one it is, where it runs, and who
/// its users are.
const OWN_KEYS: [(&str, &[&str]); 4] = [
    ("run", &["cores", "part"]),
    (
        "target",
        &["partner", "partner_number", "process", "metrics"],
    ),
    ("target.accounts", &["first", "password", "user"]),
    ("sessions", &["sources"]),
];

/// Why results cannot be united.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// They were not made by one run.
    #[error("{what} differs: `{one}` and `{other}`: not results of one run")]
    Different {
        /// What differs.
        what: &'static str,
        /// In the first result.
        one: String,
        /// In the other.
        other: String,
    },
    /// A generator's result was given twice.
    #[error("generator `{0}` was given twice")]
    Generator(String),
    /// A histogram is damaged.
    #[error(transparent)]
    Histogram(#[from] histogram::Error),
    /// There is nothing to unite.
    #[error("no results were given")]
    Nothing,
    /// A threshold in a result is not one.
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
}

/// Unites the results of one run's generators; judges the thresholds of the first anew.
///
/// # Errors
/// If they are not of one run, or one is there twice.
pub fn merge(results: impl IntoIterator<Item = RunResult>) -> Result<RunResult, MergeError> {
    let mut results: Vec<RunResult> = results.into_iter().collect();
    results.sort_by(|one, other| {
        let name = |result: &RunResult| result.generators.first().map(|each| each.name.clone());
        (one.started_ms, name(one)).cmp(&(other.started_ms, name(other)))
    });
    let mut results = results.into_iter();
    let mut sum = results.next().ok_or(MergeError::Nothing)?;
    let mut names = BTreeSet::new();
    take_names(&mut names, &sum)?;
    for mut other in results {
        same(&sum, &other)?;
        take_names(&mut names, &other)?;
        shift(&mut other, sum.started_ms);
        unite(&mut sum, other)?;
    }
    let thresholds = sum
        .thresholds
        .iter()
        .map(|outcome: &Outcome| outcome.text.parse());
    let thresholds = thresholds.collect::<Result<Vec<Threshold>, _>>()?;
    sum.judge(&thresholds)?;
    Ok(sum)
}

fn take_names(names: &mut BTreeSet<String>, result: &RunResult) -> Result<(), MergeError> {
    for generator in &result.generators {
        if !names.insert(generator.name.clone()) {
            return Err(MergeError::Generator(generator.name.clone()));
        }
    }
    Ok(())
}

fn same(one: &RunResult, other: &RunResult) -> Result<(), MergeError> {
    let texts = |result: &RunResult| {
        let outcomes = result.thresholds.iter();
        let texts: Vec<&str> = outcomes.map(|outcome| outcome.text.as_str()).collect();
        texts.join(", ")
    };
    let (line, line_of_other) = differ(&one.scenario.text, &other.scenario.text);
    for (what, one, other) in [
        ("run", one.run.clone(), other.run.clone()),
        (
            "scenario",
            one.scenario.name.clone(),
            other.scenario.name.clone(),
        ),
        ("seed", one.seed.to_string(), other.seed.to_string()),
        ("scenario's text", line, line_of_other),
        ("server", one.server.name.clone(), other.server.name.clone()),
        ("thresholds", texts(one), texts(other)),
    ] {
        if one != other {
            return Err(MergeError::Different { what, one, other });
        }
    }
    if one.started_ms.abs_diff(other.started_ms) > FARTHEST_MS {
        return Err(MergeError::Different {
            what: "day of the start",
            one: one.started_ms.to_string(),
            other: other.started_ms.to_string(),
        });
    }
    Ok(())
}

/// The first lines in which two scenarios differ, each behind its table; empty if none do.
fn differ(one: &str, other: &str) -> (String, String) {
    let (mut one, mut other) = (shared(one).into_iter(), shared(other).into_iter());
    loop {
        match (one.next(), other.next()) {
            (None, None) => return Default::default(),
            (one, other) if one == other => {}
            (one, other) => return (one.unwrap_or_default(), other.unwrap_or_default()),
        }
    }
}

/// The lines of a scenario, as the program writes it, without the generator's own keys.
fn shared(text: &str) -> Vec<String> {
    let mut table = "";
    let mut kept = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = name.trim_end_matches(']');
            continue;
        }
        let key = line.split(" = ").next().unwrap_or_default();
        let own = |(of, keys): &(&str, &[&str])| *of == table && keys.contains(&key);
        if !OWN_KEYS.iter().any(own) {
            kept.push(format!("[{table}] {line}"));
        }
    }
    kept
}

/// Moves all times of a result that began later, and puts empty steps before its own.
fn shift(result: &mut RunResult, started_ms: u64) {
    let by = result
        .started_ms
        .saturating_sub(started_ms)
        .saturating_mul(1_000);
    result.started_ms = started_ms;
    result.duration_us = result.duration_us.saturating_add(by);
    let mut later = |at: &mut u64| *at = at.saturating_add(by);
    for phase in &mut result.phases {
        later(&mut phase.from_us);
        later(&mut phase.until_us);
    }
    for process in &mut result.processes {
        process.ended_us.iter_mut().for_each(&mut later);
        process
            .samples
            .iter_mut()
            .for_each(|sample| later(&mut sample.at_us));
    }
    for machine in &mut result.machines {
        machine
            .samples
            .iter_mut()
            .for_each(|sample| later(&mut sample.at_us));
    }
    for metric in &mut result.metrics {
        metric
            .readings
            .iter_mut()
            .for_each(|reading| later(&mut reading.at_us));
    }
    for fault in &mut result.faults {
        later(&mut fault.from_us);
        fault.until_us.iter_mut().for_each(&mut later);
    }
    let step_us = result.series.step_ms.max(1_000).saturating_mul(1_000);
    let steps = by.saturating_add(step_us / 2) / step_us;
    let empty = (0..steps).map(|_| Point::default());
    result.series.points.splice(..0, empty);
}

fn unite(sum: &mut RunResult, other: RunResult) -> Result<(), MergeError> {
    sum.duration_us = sum.duration_us.max(other.duration_us);
    sum.generators.extend(other.generators);
    phases(sum, other.phases)?;
    sum.series.unite(other.series)?;
    other
        .processes
        .into_iter()
        .for_each(|process| add_process(&mut sum.processes, process));
    other
        .machines
        .into_iter()
        .for_each(|machine| add_machine(&mut sum.machines, machine));
    other
        .metrics
        .into_iter()
        .for_each(|metric| add_metric(&mut sum.metrics, metric));
    other
        .faults
        .into_iter()
        .for_each(|fault| add_fault(&mut sum.faults, fault));
    for finding in other.findings {
        if !sum.findings.contains(&finding) {
            sum.findings.push(finding);
        }
    }
    sum.verdict = both(sum.verdict.take(), other.verdict);
    Ok(())
}

fn phases(sum: &mut RunResult, others: Vec<Phase>) -> Result<(), MergeError> {
    if sum.phases.len() != others.len() {
        sum.findings.push(Finding {
            kind: FindingKind::Partial,
            detail: "a generator did not reach all parts of the run".to_owned(),
            invalidates: false,
        });
    }
    for (place, other) in others.into_iter().enumerate() {
        let Some(phase) = sum.phases.get_mut(place) else {
            sum.phases.push(other);
            continue;
        };
        if (&phase.name, phase.kind) != (&other.name, other.kind) {
            return Err(MergeError::Different {
                what: "part",
                one: phase.name.clone(),
                other: other.name,
            });
        }
        phase.from_us = phase.from_us.min(other.from_us);
        phase.until_us = phase.until_us.max(other.until_us);
        phase.session_us = phase.session_us.saturating_add(other.session_us);
        phase.sessions = phase.sessions.saturating_add(other.sessions);
        phase.counters.add(&other.counters);
        phase.latencies.add(&other.latencies)?;
    }
    Ok(())
}

impl Series {
    /// Adds another generator's series; the finer one takes the coarser one's steps.
    fn unite(&mut self, mut other: Self) -> Result<(), MergeError> {
        while self.step_ms < other.step_ms && !self.points.is_empty() {
            self.coarsen()?;
        }
        while other.step_ms < self.step_ms && !other.points.is_empty() {
            other.coarsen()?;
        }
        if self.points.is_empty() {
            *self = other;
            return Ok(());
        }
        // A step that is no second times a power of two is never met by doubling.
        if self.step_ms != other.step_ms && !other.points.is_empty() {
            return Err(MergeError::Different {
                what: "step",
                one: self.step_ms.to_string(),
                other: other.step_ms.to_string(),
            });
        }
        for (place, point) in other.points.iter().enumerate() {
            match self.points.get_mut(place) {
                Some(sum) => sum.add(point)?,
                None => self.points.push(point.clone()),
            }
        }
        while self.points.len() > crate::MOST_POINTS {
            self.coarsen()?;
        }
        Ok(())
    }
}

/// Of two that watched the same, the one with more samples stays.
fn add_process(sum: &mut Vec<Process>, process: Process) {
    let identity = |each: &Process| (each.machine.clone(), each.pid, each.started);
    let known = sum
        .iter_mut()
        .find(|known| identity(known) == identity(&process));
    match known {
        Some(known) if known.samples.len() < process.samples.len() => *known = process,
        Some(_) => {}
        None => sum.push(process),
    }
}

fn add_machine(sum: &mut Vec<Machine>, machine: Machine) {
    match sum.iter_mut().find(|known| known.name == machine.name) {
        Some(known) if known.samples.len() < machine.samples.len() => *known = machine,
        Some(_) => {}
        None => sum.push(machine),
    }
}

fn add_metric(sum: &mut Vec<Metric>, metric: Metric) {
    let known = sum
        .iter_mut()
        .find(|known| (&known.page, &known.name) == (&metric.page, &metric.name));
    match known {
        Some(known) if known.readings.len() < metric.readings.len() => *known = metric,
        Some(_) => {}
        None => sum.push(metric),
    }
}

fn add_fault(sum: &mut Vec<Fault>, fault: Fault) {
    if !sum.contains(&fault) {
        sum.push(fault);
    }
}

/// Both verdicts, one after the other. Only one over all histories can see across generators.
fn both(one: Option<Verdict>, other: Option<Verdict>) -> Option<Verdict> {
    let (one, other) = match (one, other) {
        (Some(one), Some(other)) => (one, other),
        (one, other) => return one.or(other),
    };
    let mut reports = match one.report {
        serde_json::Value::Array(reports) => reports,
        report => vec![report],
    };
    match other.report {
        serde_json::Value::Array(more) => reports.extend(more),
        report => reports.push(report),
    }
    Some(Verdict {
        violations: one.violations.saturating_add(other.violations),
        report: serde_json::Value::Array(reports),
    })
}
