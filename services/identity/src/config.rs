//! What an operator decides about the identity service.

use std::path::PathBuf;
use std::time::Duration;

use entente_core::Span;
use serde::{Deserialize, Serialize};

/// The `[identity]` section of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The file of partners.
    pub partners: PathBuf,
    /// Enlistments that are worked on at once; more are told to come back.
    pub enlistments: usize,
    /// How partners' keys are fetched.
    pub jwks: JwksSettings,
    /// How tokens for quick logins are made.
    pub fast: FastSettings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            partners: PathBuf::from("partners.toml"),
            enlistments: 256,
            jwks: JwksSettings::default(),
            fast: FastSettings::default(),
        }
    }
}

impl Config {
    /// Names the first setting that cannot work.
    ///
    /// # Errors
    /// When a setting is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        within("enlistments", self.enlistments, 1, 65_536)?;
        let jwks = &self.jwks;
        span("jwks.interval", jwks.interval, MINUTE, 15 * MINUTE)?;
        span("jwks.cool_down", jwks.cool_down, 10 * SECOND, 30 * SECOND)?;
        span("jwks.deadline", jwks.deadline, SECOND, 10 * SECOND)?;
        span("jwks.patience", jwks.patience, SECOND, MINUTE)?;
        span("jwks.stale_limit", jwks.stale_limit, 15 * MINUTE, 48 * HOUR)?;
        span("fast.life", self.fast.life, 24 * HOUR, 14 * 24 * HOUR)
    }
}

/// How partners' keys are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JwksSettings {
    /// Time between two fetches; a removed key is refused after it.
    pub interval: Span,
    /// Least time between the starts of two fetches of one partner.
    pub cool_down: Span,
    /// Time for one fetch.
    pub deadline: Span,
    /// How long a login waits for a key that is not there yet.
    pub patience: Span,
    /// Age at which keys that could not be fetched again are refused.
    pub stale_limit: Span,
}

impl Default for JwksSettings {
    fn default() -> Self {
        Self {
            interval: Span::secs(5 * 60),
            cool_down: Span::secs(10),
            deadline: Span::secs(5),
            // A fetch that just began its cool-down, and then one whole fetch.
            patience: Span::secs(15),
            stale_limit: Span::secs(6 * 3600),
        }
    }
}

/// How tokens for quick logins are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FastSettings {
    /// How long one is good, in whole days.
    pub life: Span,
    /// Raised to make every token of the deployment void.
    pub epoch: u32,
}

impl Default for FastSettings {
    fn default() -> Self {
        Self {
            life: Span::secs(14 * 24 * 3600),
            epoch: 0,
        }
    }
}

/// A setting is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("identity.{field} must be {least} to {most}")]
pub struct ConfigError {
    field: &'static str,
    least: String,
    most: String,
}

fn span(
    field: &'static str,
    value: Span,
    least: Duration,
    most: Duration,
) -> Result<(), ConfigError> {
    within(field, value, Span::new(least), Span::new(most))
}

fn within<T: PartialOrd + std::fmt::Display>(
    field: &'static str,
    value: T,
    least: T,
    most: T,
) -> Result<(), ConfigError> {
    if value >= least && value <= most {
        return Ok(());
    }
    Err(ConfigError {
        field,
        least: least.to_string(),
        most: most.to_string(),
    })
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_and_errors_name_the_setting() {
        assert_eq!(Config::default().check(), Ok(()));
        let text = "partners = \"p.toml\"\n[jwks]\ncool_down = \"5s\"";
        let config: Config = toml::from_str(text).unwrap();
        let error = config.check().unwrap_err().to_string();
        assert_eq!(error, "identity.jwks.cool_down must be 10s to 30s");
        assert!(toml::from_str::<Config>("partner = \"p.toml\"").is_err());
    }
}
