//! What an operator can set about the pace of logins.

use entente_core::Span;
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;

/// How many logins a node takes on, and what it takes for a sign of overload.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PacingConfig {
    /// Logins a second while the path to the log is short; a sixteenth of it at the least.
    pub logins: u32,
    /// Logins at once after a pause, above that rate.
    pub burst: u32,
    /// Logins that are judged, bound or resumed at one time.
    pub at_once: u32,
    /// How long a login may be held before it is refused and told when to come back.
    pub hold: Span,
    /// The longest time that a client is told to stay away, jitter not counted.
    pub longest: Span,
    /// A stanza that waits for its outcome for less than this meets no standing queue.
    pub target: Span,
    /// When no stanza waited for less than the target in this time, the path is slow.
    pub interval: Span,
}

impl Default for PacingConfig {
    fn default() -> Self {
        Self {
            // A little more than a core can do (`loadtest/README.md`): a node with fewer to spare is
            // kept from it by the queue and by the next but one.
            logins: 4_000,
            burst: 2_000,
            // So many stand before a stanza for some tens of milliseconds of a core.
            at_once: 128,
            hold: Span::secs(2),
            longest: Span::secs(120),
            // Many syncs of a disk, or three brokers that are busy; nobody who writes feels less.
            target: Span::new(std::time::Duration::from_millis(250)),
            interval: Span::new(std::time::Duration::from_millis(500)),
        }
    }
}

impl PacingConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let zeros = [
            ("pacing.logins", self.logins == 0),
            ("pacing.burst", self.burst == 0),
            ("pacing.at_once", self.at_once == 0),
            ("pacing.longest", self.longest.get().is_zero()),
            ("pacing.target", self.target.get().is_zero()),
            ("pacing.interval", self.interval.get().is_zero()),
        ];
        let zero = zeros.into_iter().find(|(_, zero)| *zero);
        zero.map_or(Ok(()), |(name, _)| Err(ConfigError::Zero(name)))
    }
}
