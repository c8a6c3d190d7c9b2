//! The task that samples at a period until it is told to stop.
//!
//! `/proc` is read on the runtime's threads for blocking work, so that a look at a large process
//! delays no client of the load. Pages are fetched beside that, each once at a time.
//!
//! **Invariants**: memory is bounded whatever the run's length; what goes wrong is kept as a
//! sentence and never ends the sampling; each call of [`Probe::mark`] leaves a sample of every
//! process taken after the call began.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::kept::Kept;
use crate::text::Totals;
use crate::watched::{Proc, Watch, Watched};
use crate::{Host, MachineSample, Metric, Page, PageError, Process, ProcessSample, Reading, Role};

/// Processes that are watched in one run, those that ended included.
const MOST_PROCESSES: usize = 4_096;
/// Sentences about what went wrong that are kept.
const MOST_TROUBLES: usize = 100;
/// Requests that wait while a look is under way.
const QUEUE: usize = 64;

/// How to sample.
#[derive(Clone, Debug)]
pub struct Config {
    /// The moment from which times count.
    pub origin: Instant,
    /// Time between looks at processes, the machine and pages.
    pub period: Duration,
    /// Looks between two readings of PSS, which walks all memory maps; 0 for none but at marks.
    pub pss_every: u32,
    /// What to watch from the start.
    pub watch: Vec<Watch>,
    /// Pages to read.
    pub pages: Vec<Page>,
}

/// The latest look, for a live view.
#[derive(Clone, Debug, Default)]
pub struct Glance {
    /// Name and last sample of each process that runs.
    pub processes: Vec<(String, Role, ProcessSample)>,
    /// The machine.
    pub machine: MachineSample,
}

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The machine's name.
    pub machine: String,
    /// Its cores.
    pub cores: u32,
    /// Processes, in the order in which they were named.
    pub processes: Vec<Process>,
    /// The machine over time.
    pub samples: Vec<MachineSample>,
    /// What pages said.
    pub metrics: Vec<Metric>,
    /// What went wrong, each once.
    pub troubles: Vec<String>,
}

/// The sampler has stopped, or stopped without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sampler has stopped")]
pub struct Stopped;

/// Speaks to a sampler.
#[derive(Clone, Debug)]
pub struct Probe {
    orders: mpsc::Sender<Order>,
    glance: watch::Receiver<Glance>,
}

/// The task; spawn [`Sampler::run`].
#[derive(Debug)]
pub struct Sampler {
    config: Config,
    orders: mpsc::Receiver<Order>,
    glance: watch::Sender<Glance>,
    look: Look,
}

#[derive(Debug)]
enum Order {
    Mark(oneshot::Sender<()>),
    Stop(oneshot::Sender<Seen>),
    Watch(Watch, oneshot::Sender<bool>),
}

/// Series of a page with their values.
type Values = Vec<(String, f64)>;
/// The place of a page among all, and what it said, and when.
type Fetched = (usize, Result<(u64, Values), PageError>);

/// What the sampler waits for.
enum Event {
    Fetched(Result<Fetched, JoinError>),
    Order(Order),
    Tick,
}

/// What a look needs and leaves; moves to a blocking thread and back.
#[derive(Debug)]
struct Look {
    proc: Proc,
    host: Host,
    watched: Vec<(Watched, Kept<ProcessSample>)>,
    machine: Kept<MachineSample>,
    first: Option<Totals>,
    last: MachineSample,
    /// CPU time of watched processes before the first look, which is nobody's in the run.
    before_us: u64,
    metrics: Vec<(String, String, Kept<Reading>)>,
    troubles: Vec<String>,
    looks: u32,
}

impl Sampler {
    /// A sampler and what speaks to it. Processes that are not there are among the troubles.
    pub fn new(config: Config) -> (Self, Probe) {
        Self::over(config, Proc::system())
    }

    fn over(config: Config, proc: Proc) -> (Self, Probe) {
        let (order, orders) = mpsc::channel(QUEUE);
        let (show, glance) = watch::channel(Glance::default());
        let mut look = Look::new(proc, Host::read());
        for watch in &config.watch {
            look.watch(watch.clone());
        }
        let sampler = Self {
            config,
            orders,
            glance: show,
            look,
        };
        let probe = Probe {
            orders: order,
            glance,
        };
        (sampler, probe)
    }

    /// Samples until [`Probe::stop`], or until every [`Probe`] is gone.
    pub async fn run(mut self) {
        let mut ticks = interval(self.config.period.max(Duration::from_millis(1)));
        // A late look is a late look; two at once would say nothing more.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut fetches: JoinSet<Fetched> = JoinSet::new();
        let mut fetching = vec![false; self.config.pages.len()];
        loop {
            let event = tokio::select! {
                // Orders first: a mark is waited for at the edge of a part.
                biased;
                order = self.orders.recv() => match order {
                    Some(order) => Event::Order(order),
                    None => return,
                },
                Some(fetched) = fetches.join_next() => Event::Fetched(fetched),
                _ = ticks.tick() => Event::Tick,
            };
            match event {
                Event::Fetched(Ok((place, fetched))) => {
                    fetching
                        .get_mut(place)
                        .into_iter()
                        .for_each(|on| *on = false);
                    self.fetched(place, fetched);
                }
                // Only a fetch that panicked or a runtime that goes down ends so.
                Event::Fetched(Err(error)) => self.look.trouble(format!("a page: {error}")),
                Event::Tick => {
                    if !self.look(false).await {
                        return;
                    }
                    self.fetch(&mut fetches, &mut fetching);
                }
                Event::Order(Order::Mark(done)) => {
                    if !self.look(true).await {
                        return;
                    }
                    // Who asked may have gone.
                    let _gone = done.send(());
                }
                Event::Order(Order::Watch(watch, done)) => {
                    let _gone = done.send(self.look.watch(watch));
                }
                Event::Order(Order::Stop(answer)) => {
                    if self.look(true).await {
                        let _gone = answer.send(self.look.finish());
                    }
                    return;
                }
            }
        }
    }

    /// Looks on a blocking thread; false if the runtime is going down.
    async fn look(&mut self, edge: bool) -> bool {
        let empty = Look::new(self.look.proc.clone(), self.look.host.clone());
        let mut look = std::mem::replace(&mut self.look, empty);
        let (origin, pss_every) = (self.config.origin, self.config.pss_every);
        let looked = tokio::task::spawn_blocking(move || {
            look.once(origin, pss_every, edge);
            look
        });
        let Ok(look) = looked.await else {
            return false;
        };
        self.look = look;
        self.glance.send_replace(self.look.glance());
        true
    }

    /// Begins to fetch each page whose last fetch is done: a slow one delays no look and no mark.
    fn fetch(&self, fetches: &mut JoinSet<Fetched>, fetching: &mut [bool]) {
        let origin = self.config.origin;
        for ((place, page), on) in self.config.pages.iter().enumerate().zip(fetching) {
            if !std::mem::replace(on, true) {
                let page = page.clone();
                fetches.spawn(async move {
                    let values = page.fetch().await;
                    (place, values.map(|values| (since(origin), values)))
                });
            }
        }
    }

    fn fetched(&mut self, place: usize, fetched: Result<(u64, Values), PageError>) {
        let Some(page) = self.config.pages.get(place) else {
            return;
        };
        match fetched {
            Ok((at_us, values)) => self.look.read(page, &values, at_us),
            Err(error) => {
                let said = format!("page {} of {}: {error}", page.path, page.name);
                self.look.trouble(said);
            }
        }
    }
}

impl Probe {
    /// Takes a sample now, PSS with it, and waits for it. For the edges of a run's parts, so that
    /// costs need no interpolation.
    ///
    /// # Errors
    /// If the sampler has stopped.
    pub async fn mark(&self) -> Result<(), Stopped> {
        let (done, marked) = oneshot::channel();
        self.order(Order::Mark(done)).await?;
        marked.await.map_err(|_| Stopped)
    }

    /// Watches one more process from now on: the successor of one that was killed.
    /// Whether it is there.
    ///
    /// # Errors
    /// If the sampler has stopped.
    pub async fn watch(&self, watch: Watch) -> Result<bool, Stopped> {
        let (done, watched) = oneshot::channel();
        self.order(Order::Watch(watch, done)).await?;
        watched.await.map_err(|_| Stopped)
    }

    /// Takes a last sample and ends the sampler.
    ///
    /// # Errors
    /// If the sampler has stopped already.
    pub async fn stop(self) -> Result<Seen, Stopped> {
        let (answer, seen) = oneshot::channel();
        self.order(Order::Stop(answer)).await?;
        seen.await.map_err(|_| Stopped)
    }

    /// The latest look.
    pub fn glance(&self) -> Glance {
        self.glance.borrow().clone()
    }

    async fn order(&self, order: Order) -> Result<(), Stopped> {
        self.orders.send(order).await.map_err(|_| Stopped)
    }
}

impl Look {
    fn new(proc: Proc, host: Host) -> Self {
        Self {
            proc,
            host,
            watched: Vec::new(),
            machine: Kept::default(),
            first: None,
            last: MachineSample::default(),
            before_us: 0,
            metrics: Vec::new(),
            troubles: Vec::new(),
            looks: 0,
        }
    }

    fn watch(&mut self, watch: Watch) -> bool {
        if self.watched.len() >= MOST_PROCESSES {
            self.trouble(format!("more than {MOST_PROCESSES} processes to watch"));
            return false;
        }
        let (name, pid) = (watch.name.clone(), watch.pid);
        match Watched::new(&self.proc, watch) {
            Ok(watched) => {
                self.watched.push((watched, Kept::default()));
                true
            }
            Err(error) => {
                self.trouble(format!("{name} (pid {pid}) cannot be watched: {error}"));
                false
            }
        }
    }

    fn once(&mut self, origin: Instant, pss_every: u32, edge: bool) {
        let pss = edge || (pss_every > 0 && self.looks.is_multiple_of(pss_every));
        self.looks = self.looks.wrapping_add(u32::from(!edge));
        let first = self.first.is_none();
        let mut watched_us = 0_u64;
        for (watched, kept) in &mut self.watched {
            let fresh = watched.last().at_us == 0;
            if let Some(sample) = watched.look(&self.proc, since(origin).max(1), pss) {
                // What ran before it was watched is not of the run, except for what starts in it.
                if fresh && first {
                    self.before_us = self.before_us.saturating_add(sample.cpu_us);
                }
                kept.offer(sample, edge || watched.ended_us.is_some());
            }
            watched_us = watched_us.saturating_add(watched.last().cpu_us);
        }
        self.machine(origin, watched_us.saturating_sub(self.before_us), edge);
    }

    fn machine(&mut self, origin: Instant, watched_us: u64, edge: bool) {
        let totals = self.proc.read("stat").map_err(|error| error.to_string());
        let totals = totals.and_then(|text| Totals::parse(&text).map_err(|e| e.to_string()));
        let totals = match totals {
            Ok(totals) => totals,
            Err(said) => {
                self.trouble(format!("the machine's CPU time: {said}"));
                return;
            }
        };
        let first = *self.first.get_or_insert(totals);
        let us = |now: u64, then: u64| now.saturating_sub(then).saturating_mul(self.proc.tick_us);
        let busy_us = us(totals.busy, first.busy);
        // Totals tick by sampling and may lag behind; they are never shown to fall.
        let sample = MachineSample {
            at_us: since(origin),
            busy_us: busy_us.max(self.last.busy_us),
            steal_us: us(totals.steal, first.steal).max(self.last.steal_us),
            foreign_us: busy_us.saturating_sub(watched_us).max(self.last.foreign_us),
        };
        self.last = sample;
        self.machine.offer(sample, edge);
    }

    fn read(&mut self, page: &Page, values: &[(String, f64)], at_us: u64) {
        for (name, value) in values {
            let reading = Reading {
                at_us,
                value: *value,
            };
            let known = self
                .metrics
                .iter_mut()
                .find(|(known, series, _)| (known, series) == (&page.name, name));
            if let Some((_, _, kept)) = known {
                kept.offer(reading, false);
            } else if self.metrics.len() < MOST_PROCESSES {
                let mut kept = Kept::default();
                kept.offer(reading, false);
                self.metrics.push((page.name.clone(), name.clone(), kept));
            }
        }
    }

    fn trouble(&mut self, said: String) {
        if self.troubles.len() < MOST_TROUBLES && !self.troubles.contains(&said) {
            self.troubles.push(said);
        }
    }

    fn glance(&self) -> Glance {
        let runs = self.watched.iter().map(|(watched, _)| watched);
        Glance {
            processes: runs
                .filter(|watched| watched.ended_us.is_none())
                .map(|watched| (watched.name().to_owned(), watched.role(), *watched.last()))
                .collect(),
            machine: self.last,
        }
    }

    fn finish(self) -> Seen {
        let name = self.host.name;
        let metric = |(page, name, kept): (String, String, Kept<Reading>)| Metric {
            page,
            name,
            readings: kept.into_items(),
        };
        Seen {
            cores: self.first.map_or(1, |totals| totals.cores),
            processes: self
                .watched
                .into_iter()
                .map(|(watched, kept)| watched.into_process(&name, kept.into_items()))
                .collect(),
            machine: name,
            samples: self.machine.into_items(),
            metrics: self.metrics.into_iter().map(metric).collect(),
            troubles: self.troubles,
        }
    }
}

fn since(origin: Instant) -> u64 {
    u64::try_from(origin.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
