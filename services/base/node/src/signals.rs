//! Signals of the operating system, as words.

use std::io;

use tokio::signal::unix::{self, SignalKind};

use crate::Drain;

/// What somebody outside wants of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP: read files again.
    Reload,
    /// SIGTERM or SIGINT: go away.
    Terminate,
}

/// The signals of this process, taken from the operating system's defaults.
#[derive(Debug)]
pub struct Signals {
    hangup: unix::Signal,
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    /// Takes SIGHUP, SIGINT and SIGTERM over; from now on none of them ends the process by itself.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: unix::signal(SignalKind::hangup())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal. Dropping the future loses none.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            // An operator who wants the process gone does not wait behind a reload.
            biased;
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Terminate,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }

    /// Turns signals into phases: the first to terminate begins the drain, the next ends it early.
    /// Calls `reload` on each SIGHUP before the drain. Returns when the process is to leave at once.
    ///
    /// A drain that began otherwise counts as the first: a signal during it shortens it.
    pub async fn run(mut self, drain: &Drain, mut reload: impl FnMut() + Send) {
        loop {
            let signal = tokio::select! {
                () = drain.leaving() => return,
                signal = self.next() => signal,
            };
            obey(signal, drain, &mut reload);
        }
    }
}

fn obey(signal: Signal, drain: &Drain, reload: &mut impl FnMut()) {
    match signal {
        Signal::Terminate => {
            if drain.begin() {
                tracing::info!("drain begins");
            } else if drain.leave() {
                tracing::warn!("leaving without handing over");
            }
        }
        Signal::Reload => {
            if drain.phase() == crate::Phase::Running {
                tracing::info!("reload");
                reload();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Phase;

    #[test]
    fn the_first_terminate_drains_and_the_second_leaves() {
        let (drain, mut reloads) = (Drain::new(), 0);
        let mut reload = || reloads += 1;
        obey(Signal::Reload, &drain, &mut reload);
        assert_eq!(drain.phase(), Phase::Running);
        obey(Signal::Terminate, &drain, &mut reload);
        assert_eq!(drain.phase(), Phase::Draining);
        obey(Signal::Reload, &drain, &mut reload);
        obey(Signal::Terminate, &drain, &mut reload);
        assert_eq!(drain.phase(), Phase::Leaving);
        assert_eq!(reloads, 1, "no reload during the drain");
    }
}
