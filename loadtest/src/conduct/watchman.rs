//! Looks after a run while it goes on: seconds for the view, the server, the clocks, the disk of the
//! history, and whoever wants it to end.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use entente_core::Timestamp;
use entente_engine::control::Stage;
use entente_engine::engine::Engine;
use entente_engine::scenario::{Arrivals, Scenario};
use entente_engine::tally::Second;
use entente_history::Recorder;
use entente_probe::{Probe, Role};
use entente_report::{Finding, FindingKind};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::ground::Ground;
use crate::outcome::Draft;
use crate::view::{Glimpse, Total, View};

/// Clocks that part by more in a second have jumped.
const JUMP: u64 = 500;
/// Share of a core at which a generator's thread has no room left.
const SATURATED: f64 = 0.9;

/// See the module.
#[derive(Debug)]
pub(crate) struct Watchman {
    /// What each second brought, of all threads.
    pub(crate) seconds: BTreeMap<u64, Second>,
    recorder: Option<Recorder>,
    probe: Probe,
    interrupt: Signal,
    terminate: Signal,
    threads: usize,
    total: Total,
    shown: u64,
    clocks: (Instant, Timestamp),
    jumps: Vec<String>,
    /// Looks at which the server's process was stopped.
    stopped: u32,
    early: Option<Early>,
    history_failed: bool,
    spent: BTreeMap<&'static str, (u64, u64)>,
    busy: Option<f64>,
    busy_from: Option<(Duration, Instant)>,
}

/// Why it ended before its time.
#[derive(Clone, Debug)]
enum Early {
    Asked,
    Server(String),
    Generator,
}

impl Watchman {
    pub(crate) fn new(
        engine: &Engine,
        recorder: Option<Recorder>,
        probe: Probe,
    ) -> io::Result<Self> {
        Ok(Self {
            seconds: BTreeMap::new(),
            recorder,
            probe,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            threads: engine.threads(),
            total: Total::default(),
            shown: 0,
            clocks: (Instant::now(), Timestamp::now()),
            jumps: Vec::new(),
            stopped: 0,
            early: None,
            history_failed: false,
            spent: BTreeMap::new(),
            busy: None,
            busy_from: None,
        })
    }

    /// Whether nobody has ended the run.
    pub(crate) const fn goes_on(&self) -> bool {
        self.early.is_none()
    }

    /// Waits until something holds (true) or a time is over or the run ends early (false).
    pub(crate) async fn until(
        &mut self,
        view: &mut dyn View,
        ground: &mut Ground,
        engine: &Engine,
        time: Duration,
        holds: impl Fn(&Engine) -> bool,
    ) -> anyhow::Result<bool> {
        let (begun, mut ticks) = (Instant::now(), super::ticks());
        while begun.elapsed() < time && self.goes_on() {
            if holds(engine) {
                return Ok(true);
            }
            tokio::select! {
                _ = ticks.tick() => {}
                _ = self.interrupt.recv() => self.early = Some(Early::Asked),
                _ = self.terminate.recv() => self.early = Some(Early::Asked),
            }
            if view.asked_to_end()? {
                self.early = Some(Early::Asked);
            }
            if let Some(node) = &mut ground.node
                && let Some(status) = node.ended()?
            {
                self.early = Some(Early::Server(status));
            }
            if engine.is_over() {
                self.early = Some(Early::Generator);
            }
            let pid = ground.node.as_ref().and_then(|node| node.pid().ok());
            self.stopped += u32::from(pid.is_some_and(is_stopped));
            let progress = begun.elapsed().as_secs_f64() / time.as_secs_f64();
            self.collect(engine);
            self.show(view, engine, progress)?;
        }
        Ok(holds(engine))
    }

    fn collect(&mut self, engine: &Engine) {
        for second in engine.seconds() {
            for (sum, more) in [
                (&mut self.total.sent, second.sent),
                (&mut self.total.acked, second.acked),
                (&mut self.total.delivered, second.delivered),
                (&mut self.total.logins, second.logins),
                (&mut self.total.errors, second.errors),
            ] {
                *sum += more;
            }
            match self.seconds.get_mut(&second.second) {
                Some(sum) => sum.add(&second),
                None => {
                    self.seconds.insert(second.second, second);
                }
            }
        }
    }

    fn show(&mut self, view: &mut dyn View, engine: &Engine, progress: f64) -> anyhow::Result<()> {
        let elapsed = engine.control().now() / 1_000_000;
        // A moment later, when all threads have told theirs.
        if elapsed <= self.shown || engine.control().now() % 1_000_000 < 100_000 {
            return Ok(());
        }
        self.shown = elapsed;
        self.look_at_clocks(elapsed);
        if let Some(recorder) = &self.recorder
            && !self.history_failed
            && let Some(error) = recorder.failure()
        {
            self.history_failed = true;
            view.say(&format!("HISTORY: {error}"))?;
        }
        // The one that is over.
        let Some(second) = self.seconds.get(&(elapsed - 1)).cloned() else {
            return Ok(());
        };
        let glance = self.probe.glance();
        let (mut server, mut memory, mut own) = (None, None, None);
        for (_, role, sample) in &glance.processes {
            let (key, cpu) = match role {
                Role::Server => ("server", &mut server),
                Role::Generator => ("generator", &mut own),
                Role::Other => continue,
            };
            if *role == Role::Server {
                memory = Some(sample.rss);
            }
            let before = self.spent.insert(key, (sample.at_us, sample.cpu_us));
            if let Some((at, spent)) = before
                && sample.at_us > at
            {
                let span = |micros| Duration::from_micros(micros).as_secs_f64();
                let cores = span(sample.cpu_us.saturating_sub(spent)) / span(sample.at_us - at);
                *cpu = Some(cores * 100.0);
            }
        }
        view.second(&Glimpse {
            stage: engine.control().stage(),
            elapsed,
            progress: Some(progress),
            second,
            total: self.total,
            server_cpu: server,
            server_memory: memory,
            own_cpu: own,
        })?;
        Ok(())
    }

    fn look_at_clocks(&mut self, elapsed: u64) {
        let now = (Instant::now(), Timestamp::now());
        let steady = u64::try_from((now.0 - self.clocks.0).as_millis()).unwrap_or(u64::MAX);
        let wall = now.1.millis().saturating_sub(self.clocks.1.millis());
        if steady.abs_diff(wall) > JUMP {
            self.jumps.push(format!(
                "at {elapsed} s the wall clock went {wall} ms while the other went {steady} ms"
            ));
        }
        self.clocks = now;
    }

    /// Enters a stage, and looks at the threads of the generator.
    pub(crate) fn enter(&mut self, engine: &Engine, stage: Stage) {
        engine.enter(stage);
        self.busy_from = Some((busiest(), Instant::now()));
    }

    /// A stage is over.
    pub(crate) fn leave(&mut self, stage: Stage) {
        if let (Stage::Load, Some((before, at))) = (stage, self.busy_from) {
            let spent = busiest().saturating_sub(before);
            let share = spent.as_secs_f64() / at.elapsed().as_secs_f64().max(1e-3);
            self.busy = Some(share);
        }
    }

    /// What is to be known before the numbers are believed.
    pub(crate) fn findings(&mut self, scenario: &Scenario, engine: &Engine, draft: &mut Draft) {
        self.collect(engine);
        for detail in self.jumps.drain(..) {
            draft.finding(Finding {
                kind: FindingKind::ClockJump,
                detail,
                invalidates: true,
            });
        }
        if self.stopped > 0 {
            let seconds = (super::LOOK * self.stopped).as_secs_f64();
            draft.finding(Finding {
                kind: FindingKind::NoisyMachine,
                detail: format!(
                    "the server's process was stopped for {seconds:.1} s by somebody else (SIGSTOP, or a \
                     debugger): what it did not do meanwhile says nothing about it"
                ),
                invalidates: true,
            });
        }
        let open = scenario.load.arrivals != Arrivals::Closed;
        if let Some(share) = self.busy.filter(|share| *share > SATURATED) {
            draft.finding(Finding {
                kind: FindingKind::GeneratorSaturated,
                detail: format!(
                    "a thread of the generator ({} in all) used {:.0} % of its core in the load: {}",
                    self.threads,
                    share * 100.0,
                    if open { "arrivals were its own affair" } else { "the rate may be its, not the server's" }
                ),
                invalidates: true,
            });
        }
        let left = engine.under_way();
        if left > 0 {
            draft.note(format!(
                "{left} messages were under way when the drain ended, some of them:"
            ));
        }
        let (_, given_up, all) = engine.settled();
        if given_up > 0 && given_up < all {
            let why = engine.fatal().unwrap_or_default();
            draft.note(format!(
                "{given_up} of {all} users could not be connected: {why}"
            ));
        }
        match self.early.take() {
            None => {}
            Some(Early::Asked) => draft.early("somebody asked for the end", false),
            Some(Early::Server(status)) => {
                draft.early(&format!("the server ended by itself ({status})"), false);
                draft.server_ended();
            }
            Some(Early::Generator) => draft.early("the generator's threads ended", true),
        }
    }
}

/// Whether a process is stopped, by a signal or by a debugger.
fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // proc(5): the state stands behind the name in parentheses, which may hold any letters.
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|rest| rest.starts_with(['T', 't']))
}

/// CPU time of the busiest of the generator's threads so far.
fn busiest() -> Duration {
    let tasks = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let times = tasks.filter_map(|task| {
        let path = task.path();
        let name = fs::read_to_string(path.join("comm")).ok()?;
        if !name.starts_with("load-") {
            return None;
        }
        let ran = fs::read_to_string(path.join("schedstat")).ok()?;
        ran.split(' ')
            .next()?
            .parse()
            .ok()
            .map(Duration::from_nanos)
    });
    times.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_that_somebody_stopped_is_seen_and_one_that_waits_is_not() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let tell = |signal: &str| {
            let told = Command::new("kill")
                .args([signal, &pid.to_string()])
                .status();
            assert!(told.unwrap().success());
        };
        assert!(!is_stopped(pid));
        for (signal, stopped) in [("-STOP", true), ("-CONT", false)] {
            tell(signal);
            // The kernel needs a moment.
            let begun = Instant::now();
            while is_stopped(pid) != stopped && begun.elapsed() < Duration::from_secs(10) {
                std::thread::yield_now();
            }
            assert_eq!(is_stopped(pid), stopped, "{signal}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_stopped(pid), "there is no such process any more");
    }
}
