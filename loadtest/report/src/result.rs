//! `result.json`: everything that a run left, in a form that is versioned and published.
//!
//! The schema for other programs is `loadtest/report/result.schema.json`; a test holds it to these
//! types. Times are microseconds since the run's start unless a name says otherwise.
//!
//! **Invariants**: what is here can be united with the result of another generator without loss
//! (counts add, histograms add, samples are told apart by machine and pid); figures and outcomes
//! follow from the rest and are worked out again whenever the rest changes.

use std::collections::BTreeMap;

use entente_probe::{MachineSample, Metric, Process};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Counters, Latencies, Outcome, Series};

/// The version of the schema that this crate reads and writes.
pub const SCHEMA: u32 = 1;

/// What a run left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunResult {
    /// The version of this schema: 1.
    pub schema: u32,
    /// The run's id. Generators of one run share it.
    pub run: String,
    /// What was run.
    pub scenario: Scenario,
    /// What all random choices came from.
    pub seed: u64,
    /// What was tested.
    pub server: Server,
    /// Who made the load, one for each generator.
    pub generators: Vec<Generator>,
    /// When the run began, in milliseconds since 1970 by the wall clock.
    pub started_ms: u64,
    /// How long it took in all, by the monotonic clock.
    pub duration_us: u64,
    /// The parts of the run, in order.
    pub phases: Vec<Phase>,
    /// What happened, second by second.
    pub series: Series,
    /// Processes that were watched.
    pub processes: Vec<Process>,
    /// Machines that were watched, for their noise.
    pub machines: Vec<Machine>,
    /// What servers published.
    pub metrics: Vec<Metric>,
    /// Faults that were injected.
    pub faults: Vec<Fault>,
    /// What is to be known before the numbers are believed.
    pub findings: Vec<Finding>,
    /// What the history checker said, if a history was kept.
    pub verdict: Option<Verdict>,
    /// Figures by name, as thresholds call them. A figure without data is missing.
    pub figures: BTreeMap<String, f64>,
    /// Thresholds and how they came out.
    pub thresholds: Vec<Outcome>,
}

/// What was run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// The file, whole, with what flags changed written into it.
    pub text: String,
}

/// What was tested.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// What a report calls it.
    pub name: String,
    /// Its version as it says itself, if known.
    pub version: Option<String>,
    /// Where it was reached.
    pub address: String,
}

/// One process that made load, and the machine it ran on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Generator {
    /// Its name, unlike that of every other generator of the run.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The command that started it, word by word, without secrets.
    pub command: Vec<String>,
    /// The machine's name, as in `machines` and `processes`.
    pub machine: String,
    /// The kernel's release.
    pub kernel: String,
    /// The processor's name.
    pub cpu: String,
    /// Cores that the generator may use.
    pub cores: u32,
}

/// What a part of a run is for. Costs and latencies are taken from the parts that are for them;
/// losses, copies and errors are counted in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PhaseKind {
    /// No new load; what is under way arrives.
    Drain,
    /// Sessions are held and nothing is sent.
    Idle,
    /// The load that is measured.
    Load,
    /// Sessions are made.
    Login,
    /// Load that is not measured, so that caches and connections are as later.
    WarmUp,
}

/// A part of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// What a report calls it.
    pub name: String,
    /// What it is for.
    pub kind: PhaseKind,
    /// When it began.
    pub from_us: u64,
    /// When it ended.
    pub until_us: u64,
    /// The time sessions spent in it, added up, in microseconds.
    pub session_us: u64,
    /// Sessions at its end.
    pub sessions: u64,
    /// What was counted.
    pub counters: Counters,
    /// How long things took that were to begin in this part, also where they ended later.
    pub latencies: Latencies,
}

/// A machine that was watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Its cores.
    pub cores: u32,
    /// What was seen, in order of time.
    pub samples: Vec<MachineSample>,
}

/// A fault that was injected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What was done: `kill`, `pause`, `disk full`.
    pub kind: String,
    /// To what.
    pub target: String,
    /// When it began.
    pub from_us: u64,
    /// When it was undone; missing if it was not before the end.
    pub until_us: Option<u64>,
}

/// What can be wrong with a run itself.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The wall clock or the monotonic clock jumped.
    ClockJump,
    /// The generator had no CPU time left, or sent later than it meant to.
    GeneratorSaturated,
    /// The history is not whole: a full disk, a bound that was reached.
    HistoryTruncated,
    /// The machine's hypervisor or other processes took CPU time.
    NoisyMachine,
    /// Something else that the reader must know.
    Note,
    /// The run ended before its time.
    Partial,
    /// Too few events for the figures that thresholds ask for. Found anew with each judgement.
    TooFewSamples,
    /// A watched process ended. Found anew with each judgement.
    WatchLost,
}

/// Something to know before the numbers are believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// What was seen, with its numbers.
    pub detail: String,
    /// Whether the run says nothing about the server because of it.
    pub invalidates: bool,
}

/// What the history checker said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Promises that were broken; also the figure `violations`.
    pub violations: u64,
    /// The checker's own report, as it writes it.
    pub report: serde_json::Value,
}
