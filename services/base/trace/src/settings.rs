//! What an operator can say about traces.

use entente_core::Span as Time;
use serde::{Deserialize, Serialize};

/// The section `[telemetry]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The collector's OTLP port for gRPC, as `http://HOST:PORT`. Without it nothing is traced. It is
    /// spoken to in the clear: let it be on the node itself, or behind something that encrypts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// One message of so many is traced, drawn at random where it enters; 1 traces each.
    pub one_in: u32,
    /// Finished spans that wait for the collector. What finds it full is dropped and counted.
    pub queue: usize,
    /// Spans in one request to the collector.
    pub batch: usize,
    /// Time between requests, in which spans gather.
    pub every: Time,
    /// Time for a request, and for all that is left when the process ends.
    pub timeout: Time,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: None,
            one_in: 10_000,
            queue: 4_096,
            batch: 512,
            every: Time::secs(1),
            timeout: Time::secs(2),
        }
    }
}

/// Why traces cannot be had so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not `http://HOST:PORT`.
    #[error("telemetry.endpoint: {0:?} is not http://HOST:PORT")]
    Endpoint(String),
    /// A number that must not be 0.
    #[error("telemetry.{0} must not be 0")]
    Zero(&'static str),
}

impl Settings {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// [`SettingsError`] names the key.
    pub fn check(&self) -> Result<(), SettingsError> {
        let numbers = [
            ("one_in", self.one_in == 0),
            ("queue", self.queue == 0),
            ("batch", self.batch == 0),
        ];
        if let Some((name, _)) = numbers.into_iter().find(|(_, zero)| *zero) {
            return Err(SettingsError::Zero(name));
        }
        match &self.endpoint {
            Some(endpoint) if !endpoint.starts_with("http://") => {
                Err(SettingsError::Endpoint(endpoint.clone()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_settings_are_named() {
        assert_eq!(Settings::default().check(), Ok(()));
        let none = Settings {
            one_in: 0,
            ..Settings::default()
        };
        assert_eq!(none.check(), Err(SettingsError::Zero("one_in")));
        let endpoint = "https://collector.example:4317".to_owned();
        let encrypted = Settings {
            endpoint: Some(endpoint.clone()),
            ..Settings::default()
        };
        assert_eq!(encrypted.check(), Err(SettingsError::Endpoint(endpoint)));
    }
}
