//! What figures are worked out from: the parts of a run, united by what they are for.
//!
//! Costs and latencies come from the parts that are for them; what must never happen is counted in
//! all parts. CPU time at the edge of a part is interpolated between the samples around it.

use entente_probe::{Process, ProcessSample, Role};

use crate::{Counters, Latencies, Phase, PhaseKind, RunResult, Slope, histogram};

/// How far from a part's edges the nearest sample may lie, in microseconds.
const SLACK_US: u64 = 2_500_000;

/// Time of load and what follows from which a slope by the hour is told: five minutes.
const SHORTEST_SOAK_US: u64 = 300_000_000;

/// A run, added up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Basis {
    /// Counts of all parts.
    pub(crate) all: Counters,
    /// Counts of the load alone.
    pub(crate) load: Counters,
    /// Counts of the logins alone.
    pub(crate) login: Counters,
    /// Latencies of load and logins.
    pub(crate) latencies: Latencies,
    /// Time of the load.
    pub(crate) load_us: u64,
    /// Time of the logins.
    pub(crate) login_us: u64,
    /// What the server spent in the load.
    pub(crate) server_load: Option<Spent>,
    /// What the server spent on logins.
    pub(crate) server_login: Option<Spent>,
    /// What the server spent while nothing was sent.
    pub(crate) server_idle: Option<Spent>,
    /// What the generators spent in the load.
    pub(crate) generator_load: Option<Spent>,
    /// Time sessions spent idle, added up.
    pub(crate) idle_session_us: u64,
    /// What one session took, from the first sample to the end of the last idle part.
    pub(crate) bytes_per_session: Option<f64>,
    /// Most memory, descriptors and threads of the server.
    pub(crate) most: Most,
    /// Shares of the machines' cores in the load: taken by the hypervisor, used by others.
    pub(crate) noise: Option<(f64, f64)>,
    /// Share of its cores that the busiest generator used in the load.
    pub(crate) generator_share: Option<f64>,
    /// Slopes of the server's memory and descriptors by the hour.
    pub(crate) memory: Option<Slope>,
    pub(crate) descriptors: Option<Slope>,
    /// Promises that were broken.
    pub(crate) violations: Option<u64>,
    /// What the history checker had to judge R10 and R12 by.
    pub(crate) receipts_judged: Option<u64>,
    pub(crate) pushes_judged: Option<u64>,
    pub(crate) wakes_judged: Option<u64>,
}

/// What processes spent in a part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spent {
    pub(crate) cpu_us: f64,
    pub(crate) user_us: f64,
    pub(crate) system_us: f64,
    pub(crate) switches: f64,
}

/// The most that was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Most {
    pub(crate) rss: Option<u64>,
    pub(crate) descriptors: Option<u64>,
    pub(crate) threads: Option<u32>,
}

impl Basis {
    /// Adds up a run.
    pub(crate) fn of(run: &RunResult) -> Result<Self, histogram::Error> {
        let mut basis = Self {
            violations: run.verdict.as_ref().map(|verdict| verdict.violations),
            receipts_judged: counted(run, "receipts"),
            pushes_judged: counted(run, "pushes"),
            wakes_judged: counted(run, "wakes_due"),
            most: Most::of(run),
            ..Self::default()
        };
        for phase in &run.phases {
            basis.all.add(&phase.counters);
            let length = phase.until_us.saturating_sub(phase.from_us);
            match phase.kind {
                PhaseKind::Load => {
                    basis.load.add(&phase.counters);
                    basis.latencies.add(&phase.latencies)?;
                    basis.load_us = basis.load_us.saturating_add(length);
                }
                PhaseKind::Login => {
                    basis.login.add(&phase.counters);
                    basis.latencies.add(&phase.latencies)?;
                    basis.login_us = basis.login_us.saturating_add(length);
                }
                PhaseKind::Idle => {
                    basis.idle_session_us = basis.idle_session_us.saturating_add(phase.session_us);
                }
                PhaseKind::Drain | PhaseKind::WarmUp => {}
            }
        }
        basis.server_load = spent(run, Role::Server, PhaseKind::Load);
        basis.server_login = spent(run, Role::Server, PhaseKind::Login);
        basis.server_idle = spent(run, Role::Server, PhaseKind::Idle);
        basis.generator_load = spent(run, Role::Generator, PhaseKind::Load);
        basis.bytes_per_session = bytes_per_session(run);
        basis.noise = noise(run);
        basis.generator_share = generator_share(run);
        (basis.memory, basis.descriptors) = slopes(run);
        Ok(basis)
    }
}

/// A count of the checker's report, or of those of all generators; none if no report has it.
fn counted(run: &RunResult, name: &str) -> Option<u64> {
    let report = &run.verdict.as_ref()?.report;
    let reports = report
        .as_array()
        .map_or(std::slice::from_ref(report), Vec::as_slice);
    let count = |report: &serde_json::Value| report.get("counts")?.get(name)?.as_u64();
    reports.iter().filter_map(count).reduce(u64::saturating_add)
}

impl Most {
    fn of(run: &RunResult) -> Self {
        let moments = server_moments(run);
        Self {
            rss: moments.iter().map(|sum| sum.rss).max(),
            descriptors: moments.iter().filter_map(|sum| sum.descriptors).max(),
            threads: moments.iter().map(|sum| sum.threads).max(),
        }
    }
}

/// Memory, threads and descriptors of all server processes together, at the times at which the
/// first of them was sampled. Counters are left at zero.
pub(crate) fn server_moments(run: &RunResult) -> Vec<ProcessSample> {
    let servers: Vec<&Process> = of_role(run, Role::Server).collect();
    let mut times: Vec<u64> = servers
        .iter()
        .flat_map(|process| process.samples.iter().map(|sample| sample.at_us))
        .collect();
    times.sort_unstable();
    // Processes of one sampler are read a moment apart: one time for each half second.
    times.dedup_by_key(|at| *at / 500_000);
    let held = |at: u64| {
        let mut sum = ProcessSample {
            at_us: at,
            ..ProcessSample::default()
        };
        for process in &servers {
            let Some(last) = latest(process, at.saturating_add(500_000)) else {
                continue;
            };
            if process.ended_us.is_some_and(|ended| ended <= at) {
                continue;
            }
            sum.rss = sum.rss.saturating_add(last.rss);
            sum.threads = sum.threads.saturating_add(last.threads);
            sum.descriptors = match (sum.descriptors, last.descriptors) {
                (Some(one), Some(other)) => Some(one.saturating_add(other)),
                (one, other) => one.or(other),
            };
        }
        sum
    };
    times.into_iter().map(held).collect()
}

/// Processes of a role that were sampled at all.
pub(crate) fn of_role(run: &RunResult, role: Role) -> impl Iterator<Item = &Process> {
    run.processes
        .iter()
        .filter(move |process| process.role == role && !process.samples.is_empty())
}

fn latest(process: &Process, at: u64) -> Option<&ProcessSample> {
    let after = process.samples.partition_point(|sample| sample.at_us <= at);
    process.samples.get(after.checked_sub(1)?)
}

/// What all processes of a role spent in all parts of a kind; nothing if samples do not cover one.
fn spent(run: &RunResult, role: Role, kind: PhaseKind) -> Option<Spent> {
    let mut sum = Spent::default();
    let mut any = false;
    for phase in run.phases.iter().filter(|phase| phase.kind == kind) {
        if !covered(run, role, phase) {
            return None;
        }
        any = true;
        for process in of_role(run, role) {
            let Some((from, until)) =
                between(process, phase.from_us).zip(between(process, phase.until_us))
            else {
                continue;
            };
            sum.cpu_us += until.cpu_us - from.cpu_us;
            sum.user_us += until.user_us - from.user_us;
            sum.system_us += until.system_us - from.system_us;
            sum.switches += until.switches - from.switches;
        }
    }
    any.then_some(sum)
}

/// Whether the samples of each process, or of its successors of the same name, reach over a part.
fn covered(run: &RunResult, role: Role, phase: &Phase) -> bool {
    let mut any = false;
    for name in of_role(run, role).map(|process| &process.name) {
        any = true;
        let same = || of_role(run, role).filter(|process| process.name == *name);
        let first = same().filter_map(|process| process.samples.first());
        let begun = first.map(|sample| sample.at_us).min();
        let last = same().filter_map(|process| {
            process
                .ended_us
                .map(|_| u64::MAX)
                .or(process.samples.last().map(|sample| sample.at_us))
        });
        if begun.is_none_or(|at| at > phase.from_us.saturating_add(SLACK_US))
            || last.max().unwrap_or(0).saturating_add(SLACK_US) < phase.until_us
        {
            return false;
        }
    }
    any
}

/// Counters of a process at a time; those of the nearest sample outside of its samples.
fn between(process: &Process, at: u64) -> Option<Spent> {
    let after = process.samples.partition_point(|sample| sample.at_us < at);
    let next = process.samples.get(after);
    let last = after
        .checked_sub(1)
        .and_then(|before| process.samples.get(before));
    let (last, next) = match (last, next) {
        (Some(last), Some(next)) => (last, next),
        (one, other) => return one.or(other).map(Spent::total),
    };
    let share = float(at.saturating_sub(last.at_us))
        / float(next.at_us.saturating_sub(last.at_us)).max(1.0);
    let (from, to) = (Spent::total(last), Spent::total(next));
    let mix = |one: f64, other: f64| one + (other - one) * share;
    Some(Spent {
        cpu_us: mix(from.cpu_us, to.cpu_us),
        user_us: mix(from.user_us, to.user_us),
        system_us: mix(from.system_us, to.system_us),
        switches: mix(from.switches, to.switches),
    })
}

impl Spent {
    fn total(sample: &ProcessSample) -> Self {
        Self {
            cpu_us: float(sample.cpu_us),
            user_us: float(sample.user_us),
            system_us: float(sample.system_us),
            switches: float(sample.waits) + float(sample.preemptions),
        }
    }
}

/// PSS if the first and the last sample have it, RSS otherwise.
fn bytes_per_session(run: &RunResult) -> Option<f64> {
    let idle = run
        .phases
        .iter()
        .rfind(|phase| phase.kind == PhaseKind::Idle)?;
    let mut grown = 0.0;
    let mut any = false;
    for process in of_role(run, Role::Server) {
        if process.ended_us.is_some_and(|ended| ended < idle.until_us) {
            // It holds nothing any more.
            continue;
        }
        let first = process.samples.first()?;
        let last = latest(process, idle.until_us.saturating_add(SLACK_US / 5))?;
        let pss = process
            .samples
            .iter()
            .rfind(|sample| sample.pss.is_some() && sample.at_us <= last.at_us)
            .filter(|sample| sample.at_us >= idle.from_us)
            .and_then(|sample| sample.pss);
        grown += match (first.pss, pss) {
            (Some(from), Some(to)) => float(to) - float(from),
            _ => float(last.rss) - float(first.rss),
        };
        any = true;
    }
    (any && idle.sessions > 0).then(|| grown / float(idle.sessions))
}

/// From the load's start to the end: what comes before is warming up.
fn slopes(run: &RunResult) -> (Option<Slope>, Option<Slope>) {
    let Some(load) = run
        .phases
        .iter()
        .find(|phase| phase.kind == PhaseKind::Load)
    else {
        return (None, None);
    };
    if run.duration_us.saturating_sub(load.from_us) < SHORTEST_SOAK_US {
        return (None, None);
    }
    let hour = |at_us: u64| float(at_us) / 3.6e9;
    let (mut memory, mut descriptors) = (Vec::new(), Vec::new());
    for sum in server_moments(run) {
        if sum.at_us >= load.from_us {
            memory.push((hour(sum.at_us), float(sum.rss)));
            descriptors.extend(sum.descriptors.map(|open| (hour(sum.at_us), float(open))));
        }
    }
    (Slope::of(&memory), Slope::of(&descriptors))
}

fn noise(run: &RunResult) -> Option<(f64, f64)> {
    let (mut steal, mut foreign, mut time) = (0.0, 0.0, 0.0);
    for phase in run
        .phases
        .iter()
        .filter(|phase| phase.kind == PhaseKind::Load)
    {
        for machine in &run.machines {
            let within = |at: u64| {
                at.saturating_add(SLACK_US / 2) >= phase.from_us
                    && at <= phase.until_us.saturating_add(SLACK_US / 2)
            };
            let mut seen = machine.samples.iter().filter(|sample| within(sample.at_us));
            let Some((first, last)) = seen.next().zip(seen.next_back()) else {
                continue;
            };
            steal += float(last.steal_us.saturating_sub(first.steal_us));
            foreign += float(last.foreign_us.saturating_sub(first.foreign_us));
            time += float(last.at_us.saturating_sub(first.at_us)) * f64::from(machine.cores);
        }
    }
    (time > 0.0).then(|| (100.0 * steal / time, 100.0 * foreign / time))
}

fn generator_share(run: &RunResult) -> Option<f64> {
    let mut most: Option<f64> = None;
    for phase in run
        .phases
        .iter()
        .filter(|phase| phase.kind == PhaseKind::Load)
    {
        for process in of_role(run, Role::Generator) {
            let cores = run
                .generators
                .iter()
                .find(|generator| generator.machine == process.machine)
                .map_or(1, |generator| generator.cores.max(1));
            let (from, until) =
                between(process, phase.from_us).zip(between(process, phase.until_us))?;
            let time = float(phase.until_us.saturating_sub(phase.from_us)) * f64::from(cores);
            if time > 0.0 {
                let share = 100.0 * (until.cpu_us - from.cpu_us) / time;
                most = Some(most.map_or(share, |other| other.max(share)));
            }
        }
    }
    most
}

/// As a float; exact below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts and microseconds of a run stay below 2^53"
)]
pub(crate) const fn float(number: u64) -> f64 {
    number as f64
}
