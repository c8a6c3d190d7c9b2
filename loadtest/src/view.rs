//! What a person sees while a run goes on.

mod plain;
mod screen;

use std::io;

use entente_engine::control::Stage;
use entente_engine::tally::Second;

pub use plain::Plain;
pub use screen::Screen;

/// A run at a moment.
#[derive(Clone, Debug)]
pub struct Glimpse {
    /// What goes on.
    pub stage: Stage,
    /// Seconds since the run began.
    pub elapsed: u64,
    /// The part of the present stage that is over, 0 to 1, if it has a length.
    pub progress: Option<f64>,
    /// The last second, of all threads.
    pub second: Second,
    /// Everything so far.
    pub total: Total,
    /// CPU time of the server in the last second, in per cent of a core.
    pub server_cpu: Option<f64>,
    /// Resident memory of the server, in bytes.
    pub server_memory: Option<u64>,
    /// CPU time of this process in the last second, in per cent of a core.
    pub own_cpu: Option<f64>,
}

/// Sums since the begin.
#[derive(Clone, Copy, Debug, Default)]
pub struct Total {
    /// Messages handed to connections.
    pub sent: u64,
    /// Messages that the server took over.
    pub acked: u64,
    /// Messages that reached a receiver.
    pub delivered: u64,
    /// Logins.
    pub logins: u64,
    /// Errors of all kinds.
    pub errors: u64,
}

/// Shows a run.
pub trait View {
    /// Words about what begins or happens.
    ///
    /// # Errors
    /// Of the terminal.
    fn say(&mut self, words: &str) -> io::Result<()>;

    /// A second is over.
    ///
    /// # Errors
    /// Of the terminal.
    fn second(&mut self, glimpse: &Glimpse) -> io::Result<()>;

    /// Whether a key asked for the end.
    ///
    /// # Errors
    /// Of the terminal.
    fn asked_to_end(&mut self) -> io::Result<bool>;
}

/// What a stage is called.
pub(crate) const fn called(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "connect",
        Stage::WarmUp => "warm-up",
        Stage::Load => "load",
        Stage::Drain => "drain",
        Stage::Close => "close",
    }
}

/// Milliseconds of a share of a second's deliveries.
pub(crate) fn millis(second: &Second, share: f64) -> Option<f64> {
    let delivery = second.delivery.quantile_us(share);
    let micros = delivery.or_else(|| second.ack.quantile_us(share))?;
    Some(std::time::Duration::from_micros(micros).as_secs_f64() * 1e3)
}
