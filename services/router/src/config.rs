//! Settings of the router.

use entente_core::{ByteSize, Span};
use serde::{Deserialize, Serialize};

/// Settings; every one has a default that suits one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a session may be resumed after its connection died.
    pub resume_time: Span,
    /// How long after a take-over a connected account counts as connected although no edge has reported
    /// it: as long as an edge takes to find the new owner. Then who is away is woken. A process that has
    /// every role does not wait: its connections died with it.
    pub report_time: Span,
    /// Deliveries of one session that may be unacknowledged, in stanzas.
    pub window_stanzas: usize,
    /// Deliveries of one session that may be unacknowledged, in bytes.
    pub window_bytes: ByteSize,
    /// A session whose window stays full for so long is closed; its mailbox is kept.
    pub stall_time: Span,
    /// Stanzas that may wait for the log, in bytes and per shard; then edges are not read.
    pub append_bytes: ByteSize,
    /// How long stanzas wait for a log that is full or busy; then their connection is closed.
    pub log_patience: Span,
    /// How often state goes to the store; the first time right after a start. A restart replays at
    /// most what came since.
    pub checkpoint: Span,
    /// Records kept below what the store covers, so that a reader that lags finds them.
    pub replay_margin: u64,
    /// How often mailboxes are looked over for what is overdue.
    pub sweep: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            resume_time: Span::secs(300),
            report_time: Span::secs(15),
            window_stanzas: 500,
            window_bytes: ByteSize::kib(4 * 1024),
            stall_time: Span::secs(60),
            append_bytes: ByteSize::kib(16 * 1024),
            log_patience: Span::secs(5),
            checkpoint: Span::secs(2),
            replay_margin: 0,
            sweep: Span::secs(3600),
        }
    }
}

impl Config {
    /// Says what is wrong with the settings, naming the key.
    ///
    /// # Errors
    /// The first setting that cannot work.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.window_stanzas == 0 {
            return Err("router.window_stanzas must be at least 1");
        }
        if self.window_bytes.get() < 1024 {
            return Err("router.window_bytes must be at least 1KiB");
        }
        if self.append_bytes.get() < 1024 * 1024 {
            return Err("router.append_bytes must be at least 1MiB");
        }
        if self.checkpoint.get().is_zero() || self.sweep.get().is_zero() {
            return Err("router.checkpoint and router.sweep must be longer than 0");
        }
        Ok(())
    }
}
