//! How far the end of the process has come: one word that everybody may watch.
//!
//! **Invariants**
//! - Phases only go forward.

use std::sync::Arc;

use tokio::sync::watch;

/// How far the end of the process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Running,
    /// Not ready any more; work is handed over or finished.
    Draining,
    /// Out of patience: exit without handing over.
    Leaving,
}

/// The switch and the watch of the phase. Clones share it.
#[derive(Clone, Debug)]
pub struct Drain(Arc<watch::Sender<Phase>>);

impl Drain {
    /// A process that is running.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Running)))
    }

    /// Begins the drain; says whether this call did. Further calls change nothing.
    pub fn begin(&self) -> bool {
        self.advance(Phase::Draining)
    }

    /// Ends the drain early; says whether this call did.
    pub fn leave(&self) -> bool {
        self.advance(Phase::Leaving)
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the drain has begun.
    pub async fn begun(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits until it is time to exit without handing over.
    pub async fn leaving(&self) {
        self.reached(Phase::Leaving).await;
    }

    fn advance(&self, to: Phase) -> bool {
        self.0.send_if_modified(|phase| {
            let forward = *phase < to;
            if forward {
                *phase = to;
            }
            forward
        })
    }

    async fn reached(&self, wanted: Phase) {
        let mut phases = self.0.subscribe();
        // The sender lives as long as `self`, so the only outcome is that it is reached.
        let _reached = phases.wait_for(|phase| *phase >= wanted).await;
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_go_forward() {
        let drain = Drain::new();
        assert!(drain.begin());
        assert!(!drain.begin(), "a second request changes nothing");
        drain.begun().await;
        assert!(drain.leave());
        assert!(!drain.begin());
        drain.begun().await;
        drain.leaving().await;
        assert_eq!(drain.phase(), Phase::Leaving);
    }
}
