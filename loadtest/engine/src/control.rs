//! The run's clock and its phases, shared by all threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// A part of a run, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Sessions are made.
    Connect,
    /// Load that is not measured.
    WarmUp,
    /// Load that is measured.
    Load,
    /// No new load; what is under way arrives.
    Drain,
    /// Sessions end.
    Close,
}

impl Stage {
    /// All of them that count something.
    pub const COUNTED: [Self; 4] = [Self::Connect, Self::WarmUp, Self::Load, Self::Drain];

    const ALL: [Self; 5] = [
        Self::Connect,
        Self::WarmUp,
        Self::Load,
        Self::Drain,
        Self::Close,
    ];

    const fn number(self) -> usize {
        match self {
            Self::Connect => 0,
            Self::WarmUp => 1,
            Self::Load => 2,
            Self::Drain => 3,
            Self::Close => 4,
        }
    }

    /// Whether new load is made in it.
    pub const fn sends(self) -> bool {
        matches!(self, Self::WarmUp | Self::Load)
    }
}

/// Connections that are to break now, without a goodbye.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// Share of the sessions, 0 to 1.
    pub share: f64,
    /// Over how long they come back.
    pub within: Duration,
    /// How long an old connection stays open, and goes on writing once its device is back over
    /// another one; zero closes it at once.
    pub lingers: Duration,
}

/// The clock of a run and where it stands. Clones share it.
#[derive(Clone, Debug)]
pub struct Control {
    begun: Instant,
    /// When each stage began; [`NEVER`] before.
    starts: Arc<[AtomicU64; 5]>,
    stage: watch::Receiver<Stage>,
}

/// Moves the stages on. Dropping it ends the run.
#[derive(Debug)]
pub struct Conductor {
    control: Control,
    stage: watch::Sender<Stage>,
}

const NEVER: u64 = u64::MAX;

impl Conductor {
    /// Begins now, with [`Stage::Connect`].
    pub fn begin() -> Self {
        let (sender, receiver) = watch::channel(Stage::Connect);
        let starts = [0, NEVER, NEVER, NEVER, NEVER].map(AtomicU64::new);
        Self {
            control: Control {
                begun: Instant::now(),
                starts: Arc::new(starts),
                stage: receiver,
            },
            stage: sender,
        }
    }

    /// For those who follow.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Goes on to a stage and says when, in microseconds of the run. There is no way back.
    pub fn enter(&self, stage: Stage) -> u64 {
        let now = self.control.now();
        self.stage.send_if_modified(|current| {
            let later = stage > *current;
            if later {
                *current = stage;
                for start in self.control.starts.iter().take(stage.number() + 1) {
                    // A stage that was skipped took no time.
                    start.fetch_min(now, Ordering::Relaxed);
                }
            }
            later
        });
        now
    }
}

impl Control {
    /// Microseconds since the run began.
    pub fn now(&self) -> u64 {
        micros(self.begun.elapsed())
    }

    /// The moment of a time of the run.
    pub fn at(&self, micros: u64) -> Instant {
        self.begun + Duration::from_micros(micros)
    }

    /// The stage now.
    pub fn stage(&self) -> Stage {
        self.stage_of(NEVER - 1)
    }

    /// The stage at a time of the run, as far as it has come.
    pub fn stage_of(&self, micros: u64) -> Stage {
        let began = |stage: &&Stage| self.start(**stage) <= micros;
        Stage::ALL
            .iter()
            .rev()
            .find(began)
            .copied()
            .unwrap_or(Stage::Connect)
    }

    /// When a stage began; the far future before.
    pub fn start(&self, stage: Stage) -> u64 {
        let start = self.starts.get(stage.number());
        start.map_or(NEVER, |start| start.load(Ordering::Relaxed))
    }

    /// Waits until a stage or a later one, and says when it began. Cancel-safe.
    pub async fn reach(&self, stage: Stage) -> u64 {
        let mut stages = self.stage.clone();
        // Without a conductor the run is over.
        let reached = stages.wait_for(|current| *current >= stage).await;
        if reached.is_ok() {
            self.start(stage)
        } else {
            self.now()
        }
    }
}

/// Microseconds of a span.
pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_due_in_a_stage_belongs_to_it_whenever_it_arrives() {
        let conductor = Conductor::begin();
        let control = conductor.control();
        assert_eq!(control.stage(), Stage::Connect);
        for stage in [Stage::WarmUp, Stage::Load, Stage::Drain] {
            tokio::time::advance(Duration::from_secs(1)).await;
            conductor.enter(stage);
            assert_eq!(control.stage(), stage);
        }
        conductor.enter(Stage::WarmUp);
        assert_eq!(control.stage(), Stage::Drain, "there is no way back");
        let due = [0, 1_500_000, 2_500_000, 3_500_000].map(|at| control.stage_of(at));
        assert_eq!(due, Stage::COUNTED);
        assert_eq!(control.reach(Stage::Load).await, 2_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn the_run_ends_with_its_conductor_and_skipped_stages_took_no_time() {
        let conductor = Conductor::begin();
        let control = conductor.control();
        tokio::time::advance(Duration::from_secs(1)).await;
        conductor.enter(Stage::Drain);
        assert_eq!(control.start(Stage::Load), 1_000_000);
        assert_eq!(control.stage_of(999_999), Stage::Connect);
        drop(conductor);
        control.reach(Stage::Close).await;
    }
}
