//! The tasks of a process, by name, so that its end can wait for them.
//!
//! In: futures that a service wants to run beside its caller. Out: nothing but their end. This is
//! the only place that starts tasks on the runtime.
//!
//! **Invariants**
//! - A task is counted from before it runs until it has ended, also by panic or abort.
//! - A vital task that ends while the process runs begins the drain: no half-dead process serves.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Drain, Phase};

/// The tasks of a process. Clones share them.
#[derive(Clone, Debug)]
pub struct Tasks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tracker: TaskTracker,
    cancel: CancellationToken,
    drain: Drain,
    /// Named counts, for the report of who is late. Names are constants of the program.
    alive: Mutex<BTreeMap<&'static str, usize>>,
    failed: AtomicBool,
}

/// Tasks that had not ended when patience did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Straggler {
    /// The name they were spawned under.
    pub name: &'static str,
    /// How many.
    pub count: usize,
}

impl Tasks {
    /// No tasks yet. A vital one that ends too early begins this drain.
    pub fn new(drain: Drain) -> Self {
        Self(Arc::new(Inner {
            tracker: TaskTracker::new(),
            cancel: CancellationToken::new(),
            drain,
            alive: Mutex::default(),
            failed: AtomicBool::new(false),
        }))
    }

    /// Runs the future beside the caller. Dropping the handle does not end the task.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let alive = Alive::new(self, name, false);
        self.0.tracker.spawn(async move {
            let output = future.await;
            drop(alive);
            output
        })
    }

    /// Runs a future without which the process is of no use. Its end while the process runs, or
    /// its panic at any time, begins the drain and makes the process exit with an error.
    pub fn spawn_vital<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let alive = Alive::new(self, name, true);
        self.0.tracker.spawn(async move {
            let output = future.await;
            drop(alive);
            output
        })
    }

    /// Fires when tasks are to end. It is not the drain: that comes first, and needs the tasks.
    pub fn cancelled(&self) -> CancellationToken {
        self.0.cancel.clone()
    }

    /// Tells every task to end and waits for them.
    ///
    /// # Errors
    /// Who is still alive after `patience`. They go on; the caller exits.
    pub async fn finish(&self, patience: Duration) -> Result<(), Vec<Straggler>> {
        self.0.cancel.cancel();
        self.0.tracker.close();
        timeout(patience, self.0.tracker.wait())
            .await
            .map_err(|_| self.alive())
    }

    /// Who is alive, by name.
    pub fn alive(&self) -> Vec<Straggler> {
        let alive = self.0.alive.lock();
        alive
            .iter()
            .map(|(&name, &count)| Straggler { name, count })
            .collect()
    }

    /// Whether a vital task ended too early or any task panicked; the exit status says so.
    pub fn failed(&self) -> bool {
        self.0.failed.load(Ordering::Relaxed)
    }
}

/// Counts a task for as long as it lives.
struct Alive {
    tasks: Tasks,
    name: &'static str,
    vital: bool,
}

impl Alive {
    fn new(tasks: &Tasks, name: &'static str, vital: bool) -> Self {
        *tasks.0.alive.lock().entry(name).or_default() += 1;
        Self {
            tasks: tasks.clone(),
            name,
            vital,
        }
    }

    fn judge_end(&self) {
        let inner = &self.tasks.0;
        let early =
            self.vital && inner.drain.phase() == Phase::Running && !inner.cancel.is_cancelled();
        if std::thread::panicking() {
            tracing::error!(task = self.name, "task panicked");
        } else if early {
            tracing::error!(task = self.name, "vital task ended");
        } else {
            return;
        }
        inner.failed.store(true, Ordering::Relaxed);
        if self.vital {
            inner.drain.begin();
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.judge_end();
        let mut alive = self.tasks.0.alive.lock();
        if let Some(count) = alive.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                alive.remove(self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn tasks() -> (Tasks, Drain) {
        let drain = Drain::new();
        (Tasks::new(drain.clone()), drain)
    }

    #[tokio::test(start_paused = true)]
    async fn finish_waits_for_tasks_that_obey_and_names_those_that_do_not() {
        let (tasks, _) = tasks();
        let cancelled = tasks.cancelled();
        tasks.spawn("obedient", async move { cancelled.cancelled().await });
        let finished = tasks.finish(Duration::from_secs(1)).await;
        assert_eq!(finished, Ok(()));
        let stuck = tasks.spawn("stuck", pending::<()>());
        let late = Straggler {
            name: "stuck",
            count: 1,
        };
        let finished = tasks.finish(Duration::from_secs(1)).await;
        assert_eq!(finished, Err(vec![late]));
        stuck.abort();
        assert!(stuck.await.unwrap_err().is_cancelled());
        assert!(tasks.alive().is_empty(), "an aborted task is not counted");
        assert!(!tasks.failed());
    }

    #[tokio::test]
    async fn the_early_end_of_a_vital_task_begins_the_drain() {
        let (tasks, drain) = tasks();
        tasks.spawn("errand", async {}).await.unwrap();
        assert_eq!((drain.phase(), tasks.failed()), (Phase::Running, false));
        tasks.spawn_vital("heart", async {}).await.unwrap();
        assert_eq!((drain.phase(), tasks.failed()), (Phase::Draining, true));
    }

    #[tokio::test]
    async fn a_vital_task_may_end_during_the_drain() {
        let (tasks, drain) = tasks();
        drain.begin();
        tasks.spawn_vital("heart", async {}).await.unwrap();
        assert!(!tasks.failed());
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_and_ends_the_process_if_vital() {
        let (tasks, drain) = tasks();
        let errand = tasks.spawn("errand", async { panic!("on purpose") });
        assert!(errand.await.unwrap_err().is_panic());
        assert_eq!((drain.phase(), tasks.failed()), (Phase::Running, true));
        let heart = tasks.spawn_vital("heart", async { panic!("on purpose") });
        assert!(heart.await.unwrap_err().is_panic());
        assert_eq!(drain.phase(), Phase::Draining);
        assert!(tasks.alive().is_empty());
    }
}
