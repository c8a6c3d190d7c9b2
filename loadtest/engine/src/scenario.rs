//! Scenario files: what load is made, typed and strict.
//!
//! In: TOML and overrides of single keys. Out: a [`Scenario`] that was checked as a whole.
//!
//! **Invariants**
//! - An unknown key, a wrong type or a value out of range is an error that names file, line and
//!   column, or the flag it came from; nothing is guessed.
//! - The reference is made from the types, so it cannot lag behind them.

mod check;
mod error;
mod load;
mod overrides;
mod reference;
pub mod span;
mod target;

use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use error::{ScenarioError, Wrong};
pub use load::{
    Arrivals, Load, Logins, Noisy, Offline, Pattern, Payload, Prekeys, Reconnect, Sessions, Size,
    Slow,
};
pub use reference::reference;
pub use target::{Credentials, Kind, Push, Sasl, Target, TlsOptions, Transport, Trusted};

/// One scenario.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// What it models, for people.
    pub about: String,
    /// What is loaded.
    pub target: Target,
    /// How long, from where, and with which seed.
    pub run: Run,
    /// Who is connected.
    pub sessions: Sessions,
    /// Who writes what to whom, and when.
    pub load: Load,
    /// Some users go away and come back: what was written to them waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline: Option<Offline>,
    /// Users log in and out, again and again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logins: Option<Logins>,
    /// Connections are cut, many at once, and clients come back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconnect: Option<Reconnect>,
    /// Users ask for the key bundles of others (`entente` only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prekeys: Option<Prekeys>,
    /// Some users read slowly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<Slow>,
    /// One partner sends more than its share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noisy: Option<Noisy>,
    /// What must hold, such as `p99_ms < 15` or `lost == 0`; a run that misses one exits with 99.
    pub thresholds: Vec<String>,
}

/// How long, from where, and with which seed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// Load before the span that is measured.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub warm_up: Duration,
    /// The span that is measured.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub time: Duration,
    /// How long what is under way at the end is waited for. The wait ends when nothing is.
    #[serde(with = "span")]
    #[schemars(with = "String")]
    pub drain: Duration,
    /// Where random numbers and payloads come from; 0 draws one, and the result names it.
    pub seed: u64,
    /// Cores of the generator, one thread each. Users of different threads do not write to each
    /// other.
    pub cores: Vec<usize>,
    /// Which of several generators this is, so that their users and ids differ.
    pub part: u16,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            warm_up: Duration::from_secs(2),
            time: Duration::from_secs(20),
            drain: Duration::from_secs(10),
            seed: 0,
            cores: vec![1],
            part: 0,
        }
    }
}

impl Scenario {
    /// Reads a scenario; `overrides` are `key.path=value` as from the command line.
    ///
    /// # Errors
    /// [`ScenarioError`], which names the place.
    pub fn read(file: &Path, overrides: &[String]) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(file).map_err(|source| ScenarioError::File {
            file: file.display().to_string(),
            source,
        })?;
        Self::parse(&file.display().to_string(), &text, overrides)
    }

    /// The same from text; `file` is for errors.
    ///
    /// # Errors
    /// [`ScenarioError`].
    pub fn parse(file: &str, text: &str, overrides: &[String]) -> Result<Self, ScenarioError> {
        let plain: Self =
            toml::from_str(text).map_err(|error| ScenarioError::toml(file, text, &error))?;
        let scenario = if overrides.is_empty() {
            plain
        } else {
            overrides::apply(text, overrides)?
        };
        let checked = scenario.check();
        checked.map_err(|wrong| ScenarioError::value(file, text, wrong))?;
        Ok(scenario)
    }

    /// As TOML, every key with its value.
    ///
    /// # Errors
    /// [`ScenarioError::Write`] if a number does not fit into TOML.
    pub fn to_toml(&self) -> Result<String, ScenarioError> {
        Ok(toml::to_string(self)?)
    }
}

#[cfg(test)]
mod tests;
