//! Thresholds: what a figure must be for a run to pass.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a threshold came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The threshold as it was written.
    pub text: String,
    /// What its figure was; missing if the run has no data for it.
    pub value: Option<f64>,
    /// Whether it holds. One without data does not.
    pub held: bool,
}
