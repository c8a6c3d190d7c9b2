//! What is done to the process, its machine, its network and its clients, strike by strike.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use entente_engine::control::Cut;
use entente_engine::engine::Engine;
use entente_history::{Event, Fault, Heal, Recorder};
use entente_kit::process::{Process, ProcessError};
use futures::future::try_join_all;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::cluster::{Act, Role};
use crate::conduct::Tools;
use crate::parting::{Pair, Parting, Ways};
use crate::proxy::{Held, Weather};
use crate::report::Seen;
use crate::schedule::{Deed, Round, Strike, Track};

/// How long an orderly end may take: the drain's own budget and then some.
pub(crate) const ORDERLY: Duration = Duration::from_secs(30);
/// How long a process may go on whose syncs fail: it has nothing to sync while nobody sends.
const NOTICED: Duration = Duration::from_secs(10);
/// From an end on a machine that fails to the next start, as a supervisor waits.
const AGAIN: Duration = Duration::from_millis(100);
/// How often an end is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// See the module.
pub(crate) struct Field<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) tools: Tools<'a>,
    pub(crate) recorder: &'a Recorder,
    pub(crate) target: &'a str,
    /// Of whoever strikes it, or looks whether it is there. None if a cluster is struck.
    pub(crate) process: Option<Mutex<&'a mut Process>>,
    pub(crate) told: RefCell<Told<'a>>,
    /// How often something of the machine began or ceased to fail; odd while it fails.
    pub(crate) machine: Cell<u64>,
}

/// What is said and noted on the way.
pub(crate) struct Told<'a> {
    pub(crate) out: &'a mut dyn Write,
    pub(crate) seen: &'a mut Seen,
}

impl Field<'_> {
    /// Goes through all rounds; each ends healed.
    ///
    /// # Errors
    /// If the process cannot be brought back. Dropping the future leaves what [`Self::mend`] mends.
    pub(crate) async fn rounds(&self, rounds: &[Round]) -> anyhow::Result<()> {
        for (number, round) in (1..).zip(rounds) {
            let tracks = round.iter();
            let tracks = tracks.map(|strikes| self.sequence(strikes, (number, rounds.len())));
            try_join_all(tracks).await?;
            if let Some(process) = &self.process {
                let mut process = process.lock().await;
                self.revive(&mut process).await?;
            }
            self.recorder.record(&Event::Heal(Heal {}));
        }
        Ok(())
    }

    async fn sequence(
        &self,
        strikes: &[Strike],
        (number, of): (usize, usize),
    ) -> anyhow::Result<()> {
        for strike in strikes {
            sleep(strike.gap).await;
            let under_way = self.engine.under_way();
            let back = self.strike(strike).await?;
            let at = Duration::from_micros(self.engine.control().now()).as_secs_f64();
            let (kind, lasts) = (strike.deed.name(), millis(strike.lasts));
            let sign = if strike.behind { "-" } else { "" };
            let by =
                (!strike.by.is_zero()).then(|| format!(" by {sign}{:.0} ms", millis(strike.by)));
            let by = by.unwrap_or_default();
            let ready = back.map(|back| format!("; ready again after {:.0} ms", millis(back)));
            let ready = ready.unwrap_or_default();
            writeln!(
                self.told.borrow_mut().out,
                "{at:8.2} s  round {number}/{of}: {kind}{by} for {lasts:.0} ms, {under_way} messages under way{ready}"
            )?;
        }
        Ok(())
    }

    /// One fault from its begin to its end. Says how long a start took.
    async fn strike(&self, strike: &Strike) -> anyhow::Result<Option<Duration>> {
        let kind = strike.deed.name();
        let mut back = None;
        if let Deed::Member(act, role) = strike.deed {
            back = self.strike_member(strike, act, role).await?;
            return Ok(back);
        }
        if let Deed::Parted(pair, ways) = strike.deed {
            self.part(strike, (pair, ways)).await?;
            return Ok(None);
        }
        if strike.deed.track() == Track::Process {
            let process = self.process.as_ref().context("there is no process")?;
            let mut process = process.lock().await;
            self.revive(&mut process).await?;
            self.tell(kind, true);
            back = self.strike_process(strike, &mut process).await?;
        } else {
            let machine = u64::from(strike.deed.track() == Track::Machine);
            self.tell(kind, true);
            self.machine.set(self.machine.get() + machine);
            self.strike_around(strike).await?;
            self.machine.set(self.machine.get() + machine);
        }
        self.tell(kind, false);
        Ok(back)
    }

    async fn strike_process(
        &self,
        strike: &Strike,
        process: &mut Process,
    ) -> anyhow::Result<Option<Duration>> {
        match strike.deed {
            Deed::BrokenSync => {
                let preload = self.tools.preload()?;
                preload.break_sync()?;
                let begun = Instant::now();
                while process.ended()?.is_none() {
                    if begun.elapsed() > NOTICED {
                        self.trouble("goes on although its syncs fail")?;
                        process.kill().await?;
                    }
                    sleep(LOOK).await;
                }
                preload.mend_sync()?;
            }
            Deed::Kill => process.kill().await?,
            Deed::Restart => {
                let status = process.stop(ORDERLY).await?;
                if !status.success() {
                    self.trouble(&format!("did not end in order: {status}"))?;
                }
            }
            _ => {
                process.pause()?;
                sleep(strike.lasts).await;
                process.resume()?;
                return Ok(None);
            }
        }
        sleep(strike.lasts).await;
        self.start(process).await.map(Some)
    }

    /// Something of a cluster. Says how long a start took.
    async fn strike_member(
        &self,
        strike: &Strike,
        act: Act,
        role: Role,
    ) -> anyhow::Result<Option<Duration>> {
        let cluster = self.tools.cluster.context("there is no cluster")?;
        let name = cluster.member(role, strike.member)?;
        let kind = strike.deed.name();
        self.tell_of(kind, name, true);
        let (begin, end) = match act {
            Act::Flush => ("flush", None),
            Act::Kill => ("kill", Some("start")),
            Act::Pause => ("pause", Some("resume")),
            Act::Restart => ("stop", Some("start")),
        };
        let begun = Instant::now();
        cluster.tell(begin, role, name).await?;
        sleep(strike.lasts).await;
        let mut back = None;
        if let Some(end) = end {
            cluster.tell(end, role, name).await?;
            back = (end == "start").then(|| begun.elapsed());
        }
        self.tell_of(kind, name, false);
        Ok(back)
    }

    /// Two members of a cluster, or one and all that it reaches.
    async fn part(&self, strike: &Strike, whom: (Pair, Ways)) -> anyhow::Result<()> {
        let cluster = self.tools.cluster.context("there is no cluster")?;
        let parting = Parting::draw(whom, strike.member, cluster)?;
        let kind = strike.deed.name();
        self.tell_of(kind, &parting.target, true);
        cluster.order(&parting.begin).await?;
        sleep(strike.lasts).await;
        cluster.order(&parting.end).await?;
        self.tell_of(kind, &parting.target, false);
        Ok(())
    }

    async fn strike_around(&self, strike: &Strike) -> anyhow::Result<()> {
        let (within, lasts) = (strike.lasts, strike.lasts);
        match strike.deed {
            Deed::Cut(share) => {
                let lingers = Duration::ZERO;
                self.engine.cut(Cut {
                    share,
                    within,
                    lingers,
                });
                sleep(within).await;
            }
            Deed::Zombie { share, lingers } => {
                self.engine.cut(Cut {
                    share,
                    within,
                    lingers,
                });
                sleep(within + lingers).await;
            }
            Deed::Delay(loss) => {
                self.weather(Weather {
                    delay: strike.by,
                    loss,
                    held: Held::default(),
                })?;
                sleep(lasts).await;
                self.weather(Weather::default())?;
            }
            Deed::Partition => {
                self.weather(Weather {
                    held: Held::ALL,
                    ..Weather::default()
                })?;
                sleep(lasts).await;
                self.weather(Weather::default())?;
            }
            Deed::FullDisk => {
                let preload = self.tools.preload()?;
                preload.fill(true)?;
                sleep(lasts).await;
                preload.fill(false)?;
            }
            Deed::Skew => {
                let preload = self.tools.preload()?;
                preload.skew(strike.by, strike.behind)?;
                sleep(lasts).await;
                preload.skew(Duration::ZERO, false)?;
            }
            Deed::SlowSync => {
                let preload = self.tools.preload()?;
                preload.slow_sync(strike.by)?;
                sleep(lasts).await;
                preload.slow_sync(Duration::ZERO)?;
            }
            Deed::BrokenSync
            | Deed::Kill
            | Deed::Member(..)
            | Deed::Parted(..)
            | Deed::Restart
            | Deed::Stop => {}
        }
        Ok(())
    }

    fn weather(&self, weather: Weather) -> anyhow::Result<()> {
        let Some(proxy) = self.tools.proxy else {
            bail!("clients do not connect through the campaign");
        };
        proxy.set(weather);
        Ok(())
    }

    /// Starts what ended by itself, and says that it did.
    async fn revive(&self, process: &mut Process) -> anyhow::Result<()> {
        if let Some(status) = process.ended()? {
            self.trouble(&format!("ended by itself: {status}"))?;
            self.start(process).await?;
        }
        Ok(())
    }

    /// Brings everything back from strikes that were broken off, and heals.
    pub(crate) async fn mend(&self) -> anyhow::Result<()> {
        self.tools.clear()?;
        if let Some(cluster) = self.tools.cluster {
            cluster.mend().await?;
        }
        if let Some(process) = &self.process {
            let mut process = process.lock().await;
            if process.ended()?.is_some() {
                self.start(&mut process).await?;
            } else {
                // Whoever is not stopped does not mind.
                process.resume()?;
            }
        }
        self.recorder.record(&Event::Heal(Heal {}));
        Ok(())
    }

    /// Starts the process. While its machine fails it may end again, and is started again.
    async fn start(&self, process: &mut Process) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        loop {
            let before = self.machine.get();
            let started = process.restart().await;
            let failed = before % 2 == 1 || self.machine.get() != before;
            match started {
                Err(ProcessError::Ended(_)) if failed => sleep(AGAIN).await,
                started => {
                    started.with_context(|| format!("{} did not come back", self.target))?;
                    return Ok(begun.elapsed());
                }
            }
        }
    }

    fn trouble(&self, what: &str) -> anyhow::Result<()> {
        let trouble = format!("{} {what}", self.target);
        let mut told = self.told.borrow_mut();
        writeln!(told.out, "BROKEN: {trouble}")?;
        told.seen.troubles.push(trouble);
        Ok(())
    }

    fn tell(&self, kind: &'static str, start: bool) {
        self.tell_of(kind, self.target, start);
    }

    fn tell_of(&self, kind: &'static str, target: &str, start: bool) {
        if start {
            let mut told = self.told.borrow_mut();
            *told.seen.strikes.entry(kind).or_default() += 1;
        }
        self.recorder.record(&Event::Fault(Fault {
            kind: kind.to_owned(),
            target: target.to_owned(),
            start,
        }));
    }
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
