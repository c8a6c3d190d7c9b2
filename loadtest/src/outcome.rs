//! The result of a run, gathered while it goes on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use entente_core::Timestamp;
use entente_engine::control::Stage;
use entente_engine::engine::Engine;
use entente_engine::scenario::{Arrivals, Kind, Pattern, Scenario};
use entente_engine::tally::{Second, Tally};
use entente_history::check_files;
use entente_kit::partner::PushCounts;
use entente_probe::{Host, Seen};
use entente_report::{
    Counters, Finding, FindingKind, Generator, Histogram, Latencies, Machine, Outcome, Packed,
    Phase, PhaseKind, Point, RunResult, SCHEMA, Series, Server, Threshold, Verdict,
};

use crate::conduct::Order;
use crate::ground::Ground;

/// Arrivals later than this at p99 were not made when they were due.
const LATE_US: u64 = 20_000;

/// CPU time of others, in per cent of the machine, that a reader must know of.
const NOISY_PERCENT: f64 = 10.0;

/// A result that is not finished.
#[derive(Debug)]
pub struct Draft {
    result: RunResult,
    stages: Vec<(Stage, u64, u64)>,
    server_ended: bool,
    /// The file of the run's history, once it is closed.
    pub(crate) history: Option<PathBuf>,
}

impl Draft {
    pub(crate) fn new(order: &Order) -> Self {
        let host = Host::read();
        let scenario = &order.scenario;
        let generator = Generator {
            name: format!("load-{}", scenario.run.part),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: order.command.clone(),
            machine: host.name,
            kernel: host.kernel,
            cpu: host.cpu,
            cores: u32::try_from(scenario.run.cores.len()).unwrap_or(u32::MAX),
        };
        Self {
            result: RunResult {
                schema: SCHEMA,
                run: order.run.clone(),
                scenario: entente_report::Scenario {
                    name: order.name.clone(),
                    text: String::new(),
                },
                seed: scenario.run.seed,
                server: Server::default(),
                generators: vec![generator],
                started_ms: Timestamp::now().millis(),
                duration_us: 0,
                phases: Vec::new(),
                series: Series::default(),
                processes: Vec::new(),
                machines: Vec::new(),
                metrics: Vec::new(),
                faults: Vec::new(),
                findings: Vec::new(),
                verdict: None,
                figures: BTreeMap::new(),
                thresholds: Vec::new(),
            },
            stages: Vec::new(),
            server_ended: false,
            history: None,
        }
    }

    pub(crate) fn server(&mut self, scenario: &Scenario, ground: &Ground) {
        let address = scenario.target.address.map(|address| address.to_string());
        self.result.server = Server {
            name: match scenario.target.kind {
                Kind::Entente | Kind::Start => "entente".to_owned(),
                Kind::Xmpp => scenario.target.domain.clone(),
            },
            version: ground.version.clone(),
            address: address.unwrap_or_default(),
        };
    }

    /// The engine's clock starts.
    pub(crate) fn begin(&mut self) {
        self.result.started_ms = Timestamp::now().millis();
    }

    pub(crate) fn finding(&mut self, finding: Finding) {
        self.result.findings.push(finding);
    }

    pub(crate) fn note(&mut self, detail: String) {
        self.finding(Finding {
            kind: FindingKind::Note,
            detail,
            invalidates: false,
        });
    }

    /// The run could not go on, and says nothing.
    pub(crate) fn broke_off(&mut self, detail: String) {
        self.finding(Finding {
            kind: FindingKind::Partial,
            detail,
            invalidates: true,
        });
    }

    /// It ended before its time; what there is counts, unless the generator was the reason.
    pub(crate) fn early(&mut self, why: &str, invalidates: bool) {
        self.finding(Finding {
            kind: FindingKind::Partial,
            detail: format!("the run ended before its time: {why}"),
            invalidates,
        });
    }

    pub(crate) const fn server_ended(&mut self) {
        self.server_ended = true;
    }

    /// Notes when each stage was.
    pub(crate) fn stages(&mut self, engine: &Engine) {
        let control = engine.control();
        let now = control.now();
        self.result.duration_us = now;
        let starts: Vec<(Stage, u64)> = Stage::COUNTED
            .into_iter()
            .map(|stage| (stage, control.start(stage)))
            .filter(|(_, start)| *start <= now)
            .collect();
        let ends = starts.iter().skip(1).map(|(_, start)| *start).chain([now]);
        self.stages = starts
            .iter()
            .zip(ends)
            .map(|((stage, from), until)| (*stage, *from, until))
            .collect();
    }

    pub(crate) fn seconds(&mut self, seconds: &BTreeMap<u64, Second>) {
        let last = seconds.keys().filter(|second| **second != u64::MAX).max();
        let Some(&last) = last else {
            return;
        };
        let mut sessions = 0;
        for at in 0..=last {
            let mut point = seconds.get(&at).map(point).unwrap_or_default();
            if seconds.contains_key(&at) {
                sessions = point.sessions;
            }
            // A second in which no thread spoke: it was busy, its sessions were there.
            point.sessions = sessions;
            // Points that cannot be united are left out, and there are none.
            let _pushed = self.result.series.push(point);
        }
    }

    pub(crate) fn tallies(&mut self, tallies: &[Tally], scenario: &Scenario) {
        let (mut late, mut waits) = (Histogram::default(), Histogram::default());
        for tally in tallies {
            let _same = late
                .add(&tally.lateness.arrivals)
                .and(waits.add(&tally.backlog.waits));
        }
        for (number, &(stage, from_us, until_us)) in self.stages.iter().enumerate() {
            let (mut counters, mut latencies) = (Counters::default(), Latencies::default());
            let mut session_us = 0;
            for tally in tallies {
                let Some(part) = tally.stages.get(number) else {
                    continue;
                };
                counters.add(&part.counters);
                // All have the same digits.
                let _same = latencies.add(&part.latencies);
                session_us += part.session_us;
            }
            // A stage that was skipped took no time and counts nothing.
            if until_us > from_us || counters != Counters::default() {
                let points = &self.result.series.points;
                let at = usize::try_from(until_us / 1_000_000).unwrap_or(usize::MAX);
                let sessions = points.get(at.min(points.len()).saturating_sub(1));
                self.result.phases.push(Phase {
                    name: crate::view::called(stage).to_owned(),
                    kind: kind(stage, scenario),
                    from_us,
                    until_us,
                    session_us,
                    sessions: sessions.map_or(0, |point| point.sessions),
                    counters,
                    latencies,
                });
            }
        }
        for left in tallies.iter().flat_map(|tally| &tally.left) {
            self.note(left.clone());
        }
        if let Some(p99) = late.quantile_us(0.99).filter(|p99| *p99 > LATE_US) {
            self.finding(Finding {
                kind: FindingKind::GeneratorSaturated,
                detail: format!(
                    "one arrival in a hundred was made {:.1} ms or more after it was due",
                    millis(p99)
                ),
                invalidates: true,
            });
        } else if let (Some(p99), true) = (
            late.quantile_us(0.99),
            scenario.load.arrivals != Arrivals::Closed,
        ) {
            self.note(format!(
                "arrivals were made at most {:.2} ms late (p99)",
                millis(p99)
            ));
        }
        if let (Some(half), Some(most)) = (waits.quantile_us(0.5), waits.max_us()) {
            self.note(format!(
                "{} messages waited for users who were away; from a user's return to the delivery \
                 {:.1} ms (p50), {:.1} ms (the longest); they are not in the latencies",
                waits.count(),
                millis(half),
                millis(most)
            ));
        }
    }

    pub(crate) fn seen(&mut self, seen: Option<Seen>) {
        let Some(seen) = seen else {
            self.note("the sampler of processes stopped early: costs are missing".to_owned());
            return;
        };
        for trouble in seen.troubles {
            self.note(trouble);
        }
        self.result.processes = seen.processes;
        self.result.metrics = seen.metrics;
        self.result.machines = vec![Machine {
            name: seen.machine,
            cores: seen.cores,
            samples: seen.samples,
        }];
    }

    pub(crate) fn pushes(&mut self, counts: Option<PushCounts>) {
        let Some(counts) = counts.filter(|counts| *counts != PushCounts::default()) else {
            return;
        };
        let (verified, refused, failed) = (counts.verified, counts.refused, counts.failed);
        self.note(format!(
            "wake-ups at the built-in partner: {verified} verified, {refused} refused, {failed} failed on purpose"
        ));
    }

    /// Checks the history that this generator left; others of the run may still write theirs, and
    /// nobody writes to users of another.
    pub(crate) fn history(&mut self) {
        let Some(file) = self.history.take() else {
            return;
        };
        let verdict = match check_files(&[file], &entente_history::Options::default()) {
            Ok(verdict) => verdict,
            Err(error) => {
                self.finding(Finding {
                    kind: FindingKind::HistoryTruncated,
                    detail: format!("the history cannot be checked: {error}"),
                    invalidates: true,
                });
                return;
            }
        };
        if verdict.outcome == entente_history::Outcome::Vacuous {
            let why = verdict.vacuous.join("; ");
            self.note(format!("the history proves nothing: {why}"));
        }
        for note in &verdict.notes {
            self.note(format!("history: {note}"));
        }
        self.result.verdict = Some(Verdict {
            violations: verdict.rules.values().map(|tally| tally.broken).sum(),
            report: serde_json::to_value(&verdict).unwrap_or_default(),
        });
    }

    /// Judges it.
    pub(crate) fn finish(
        mut self,
        scenario: &Scenario,
        thresholds: &[Threshold],
    ) -> anyhow::Result<RunResult> {
        self.result.scenario.text = scenario.to_toml()?;
        self.result.judge(thresholds)?;
        let figure = |name: &str| self.result.figures.get(name).copied().unwrap_or(0.0);
        let (steal, foreign) = (figure("steal_percent"), figure("foreign_cpu_percent"));
        if steal + foreign > NOISY_PERCENT {
            self.result.findings.push(Finding {
                kind: FindingKind::NoisyMachine,
                detail: format!(
                    "in the load, {steal:.0} % of the machine's CPU time went to its hypervisor and \
                     {foreign:.0} % to processes that have no part in this: latencies and rates are \
                     not the server's alone"
                ),
                invalidates: false,
            });
        }
        if self.server_ended {
            self.result.thresholds.push(Outcome {
                text: "the server keeps running".to_owned(),
                value: None,
                held: false,
            });
        }
        Ok(self.result)
    }
}

fn kind(stage: Stage, scenario: &Scenario) -> PhaseKind {
    match stage {
        Stage::Connect => PhaseKind::Login,
        Stage::WarmUp => PhaseKind::WarmUp,
        Stage::Load if scenario.logins.is_some() => PhaseKind::Login,
        Stage::Load if scenario.load.pattern == Pattern::None && scenario.prekeys.is_none() => {
            PhaseKind::Idle
        }
        Stage::Load => PhaseKind::Load,
        Stage::Drain | Stage::Close => PhaseKind::Drain,
    }
}

fn point(second: &Second) -> Point {
    Point {
        sent: second.sent,
        acked: second.acked,
        delivered: second.delivered,
        logins: second.logins,
        errors: second.errors,
        sessions: second.sessions,
        delivery: Packed::new(&second.delivery),
        ack: Packed::new(&second.ack),
    }
}

fn millis(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64() * 1e3
}
