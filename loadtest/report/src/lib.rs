//! What a run came to: its figures, their thresholds, their comparison, and the pages that show them.
//!
//! In: counts, histograms and samples of a run. Out: `result.json` with a published schema, figures
//! by name, verdicts on thresholds, and reports for people and for machines. It runs nothing.

mod basis;
mod compare;
mod counters;
mod figures;
mod file;
pub mod histogram;
mod interval;
mod judge;
mod junit;
mod merge;
mod page;
mod result;
mod series;
mod slope;
mod threshold;

pub use compare::{Comparison, Measure, Rounds, Row, Shown, Side, compare};
pub use counters::Counters;
pub use entente_probe as probe;
pub use figures::{Better, FIGURES, Figure, figure, reference};
pub use file::{FileError, write_whole};
pub use histogram::{Histogram, Latencies, Timing};
pub use judge::{FAILED, INVALID, PASSED};
pub use junit::junit;
pub use merge::{MergeError, merge};
pub use page::html;
pub use result::{
    Fault, Finding, FindingKind, Generator, Machine, Phase, PhaseKind, RunResult, SCHEMA, Scenario,
    Server, Verdict,
};
pub use series::{MOST_POINTS, Packed, Point, Series};
pub use slope::Slope;
pub use threshold::{Outcome, Threshold, ThresholdError};
