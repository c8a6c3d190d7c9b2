//! The shapes of samples, as `result.json` carries them.
//!
//! Times are microseconds since the run began, as the sampler's monotonic clock counts them.
//! Counters are totals since the process or the machine started, so that any two samples give the
//! cost of what lay between them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a process was in the run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It made the load. Its cost is not the server's.
    Generator,
    /// Part of what was tested, but not counted as the server: a database, a broker.
    Other,
    /// What was tested.
    Server,
}

/// Where CPU time was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// The scheduler's nanoseconds of each thread, never less than the ticks.
    Schedstat,
    /// Ticks of the kernel's clock, 10 ms as a rule.
    Ticks,
}

/// One process that was watched, with its children if they were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// What a report calls it.
    pub name: String,
    /// What it was in the run.
    pub role: Role,
    /// The machine it ran on, so that results of several generators do not count it twice.
    pub machine: String,
    /// Its process id.
    pub pid: u32,
    /// Ticks after the machine's boot at which it started; with the pid, its identity.
    pub started: u64,
    /// Whether its children are in the samples.
    pub children: bool,
    /// Where `cpu_us` comes from.
    pub clock: Clock,
    /// When it was found to have ended, if it did.
    pub ended_us: Option<u64>,
    /// What was seen, in order of time.
    pub samples: Vec<ProcessSample>,
}

/// A process at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessSample {
    /// When.
    pub at_us: u64,
    /// CPU time in both modes, by the process's `clock`, in microseconds.
    pub cpu_us: u64,
    /// CPU time in user mode, by ticks, in microseconds.
    pub user_us: u64,
    /// CPU time in the kernel, by ticks, in microseconds.
    pub system_us: u64,
    /// Resident memory in bytes.
    pub rss: u64,
    /// Resident memory in bytes with shared pages in part. Read seldom, because it costs time.
    pub pss: Option<u64>,
    /// Threads.
    pub threads: u32,
    /// Open file descriptors.
    pub descriptors: Option<u64>,
    /// Times a thread gave up its core to wait.
    pub waits: u64,
    /// Times a thread was put off its core.
    pub preemptions: u64,
}

/// A machine at a moment. All are totals over its cores, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineSample {
    /// When.
    pub at_us: u64,
    /// CPU time that was used, without what the hypervisor took.
    pub busy_us: u64,
    /// CPU time that the hypervisor gave to others.
    pub steal_us: u64,
    /// CPU time of processes that nobody watches: busy time less that of the watched.
    pub foreign_us: u64,
}

/// One line of a Prometheus page over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// What the report calls the page it stands on.
    pub page: String,
    /// Its name with its labels, as the page writes them.
    pub name: String,
    /// What was read, in order of time.
    pub readings: Vec<Reading>,
}

/// A value on a page at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// When.
    pub at_us: u64,
    /// What it said; never infinite, never NaN.
    pub value: f64,
}
