//! What an operator decides about wake-ups.

use std::path::PathBuf;
use std::time::Duration;

use entente_core::Span;
use serde::{Deserialize, Serialize};

use crate::sign::{KeyError, SigningKey};

/// The `[push]` section of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The file of the key that signs, PKCS #8 in PEM or DER.
    pub key: PathBuf,
    /// Files of keys that are published beside it while keys change.
    pub publish: Vec<PathBuf>,
    /// The `iss` of the tokens: the URL under which partners know the gateway.
    pub issuer: String,
    /// Time for one request.
    pub deadline: Span,
    /// Requests to one partner that are under way at once, from all nodes. The partitions of the
    /// wake-ups divide it among them, and each may have one.
    pub concurrency: usize,
    /// Requests to all partners that are under way at once, from all nodes; divided in the same way. Less
    /// than the egress takes, so that no request waits there while its deadline runs.
    pub max_in_flight: usize,
    /// Users of one partner whose wake-ups are held in memory, about 200 bytes each, on all nodes;
    /// divided in the same way. More wait in the store.
    pub max_held: usize,
    /// Least time between a wake-up and another of the same user that came while it was sent.
    pub window: Span,
    /// The first wait after a failure is drawn between 0 and this; each later bound is four times
    /// the one before.
    pub first_retry: Span,
    /// The longest bound of a wait.
    pub longest_retry: Span,
    /// A wake-up that is older is given up.
    pub max_age: Span,
    /// A wake-up that was sent so often is given up.
    pub max_attempts: u32,
    /// How often progress goes to the store. A restart sends again what was sent since.
    pub checkpoint: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            key: PathBuf::from("push-key.pem"),
            publish: Vec::new(),
            issuer: "https://gateway.localhost".to_owned(),
            deadline: Span::secs(5),
            concurrency: 8,
            max_in_flight: 192,
            max_held: 10_000,
            window: Span::secs(2),
            first_retry: Span::secs(5),
            longest_retry: Span::secs(6 * 3600),
            max_age: Span::secs(3 * 24 * 3600),
            // With the waits above three days hold about 31: the age decides, unless a partner
            // asks for very short waits.
            max_attempts: 100,
            checkpoint: Span::secs(1),
        }
    }
}

impl Config {
    /// Names the first setting that cannot work.
    ///
    /// # Errors
    /// When a setting is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.issuer.is_empty() || self.issuer.len() > MAX_ISSUER_BYTES {
            return bad("issuer must have 1 to 512 bytes");
        }
        if !(1..=256).contains(&self.concurrency) {
            return bad("concurrency must be 1 to 256");
        }
        if !(1..=4096).contains(&self.max_in_flight) {
            return bad("max_in_flight must be 1 to 4096");
        }
        if !(LEAST_HELD..=1_000_000).contains(&self.max_held) {
            return bad("max_held must be 16 to 1000000");
        }
        if !(SECOND..=MINUTE).contains(&self.deadline.get()) {
            return bad("deadline must be 1s to 1m");
        }
        if self.window.get() > MINUTE {
            return bad("window must be at most 1m");
        }
        if self.first_retry.get() < SECOND || self.longest_retry < self.first_retry {
            return bad("first_retry must be at least 1s and longest_retry not less");
        }
        if self.max_age.get() > WEEK || self.max_age < self.longest_retry {
            return bad("max_age must be at most 7d and not less than longest_retry");
        }
        if self.max_attempts == 0 {
            return bad("max_attempts must be at least 1");
        }
        if self.checkpoint.get().is_zero() || self.checkpoint.get() > MINUTE {
            return bad("checkpoint must be 1ms to 1m");
        }
        Ok(())
    }

    /// What one of so many partitions of the wake-ups may use.
    pub(crate) fn of_partition(self, partitions: u32) -> Self {
        let partitions = usize::try_from(partitions).unwrap_or(1).max(1);
        let part = |all: usize, least| (all / partitions).max(least);
        Self {
            concurrency: part(self.concurrency, 1),
            max_in_flight: part(self.max_in_flight, 1),
            max_held: part(self.max_held, LEAST_HELD),
            ..self
        }
    }

    /// Reads the signing key with those that are published beside it.
    ///
    /// # Errors
    /// [`KeyError`] of the first file that cannot be used.
    pub fn signing_key(&self) -> Result<SigningKey, KeyError> {
        let key = SigningKey::load(&self.key)?;
        self.publish.iter().try_fold(key, |key, path| {
            let other = SigningKey::load(path)?;
            Ok(key.beside(&other))
        })
    }
}

/// A setting is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("push.{0}")]
pub struct ConfigError(&'static str);

const fn bad(text: &'static str) -> Result<(), ConfigError> {
    Err(ConfigError(text))
}

const MAX_ISSUER_BYTES: usize = 512;
const LEAST_HELD: usize = 16;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_work_and_errors_name_the_setting() {
        assert_eq!(Config::default().check(), Ok(()));
        for (text, named) in [
            ("concurrency = 0", "push.concurrency"),
            ("deadline = \"10ms\"", "push.deadline"),
            ("max_age = \"1h\"", "push.max_age"),
            ("issuer = \"\"", "push.issuer"),
        ] {
            let config: Config = toml::from_str(text).unwrap();
            let error = config.check().unwrap_err().to_string();
            assert!(error.starts_with(named), "{error}");
        }
        assert!(toml::from_str::<Config>("keys = \"p.pem\"").is_err());
    }
}
