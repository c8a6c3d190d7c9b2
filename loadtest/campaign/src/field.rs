//! What is done to the process and to the connections, strike by strike.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use entente_engine::control::Cut;
use entente_engine::engine::Engine;
use entente_history::{Event, Fault, Heal, Recorder};
use entente_kit::process::Process;
use tokio::time::{Instant, sleep};

use crate::report::Seen;
use crate::schedule::{Deed, Strike};

/// How long an orderly end may take: the drain's own budget and then some.
pub(crate) const ORDERLY: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct Field<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) process: &'a mut Process,
    pub(crate) recorder: &'a Recorder,
    pub(crate) out: &'a mut dyn Write,
    pub(crate) target: &'a str,
    pub(crate) seen: &'a mut Seen,
}

impl Field<'_> {
    /// Goes through all rounds; each ends healed.
    ///
    /// # Errors
    /// If the process cannot be brought back. Dropping the future leaves what [`Self::mend`] mends.
    pub(crate) async fn rounds(&mut self, rounds: &[Vec<Strike>]) -> anyhow::Result<()> {
        for (number, strikes) in (1..).zip(rounds) {
            for strike in strikes {
                sleep(strike.gap).await;
                let under_way = self.engine.under_way();
                let back = self.strike(strike).await?;
                let at = Duration::from_micros(self.engine.control().now()).as_secs_f64();
                let (kind, of) = (strike.deed.name(), rounds.len());
                let lasts = strike.lasts.as_secs_f64() * 1e3;
                write!(
                    self.out,
                    "{at:8.2} s  round {number}/{of}: {kind} for {lasts:.0} ms, {under_way} messages under way"
                )?;
                match back {
                    Some(back) => {
                        let back = back.as_secs_f64() * 1e3;
                        writeln!(self.out, "; ready again after {back:.0} ms")?;
                    }
                    None => writeln!(self.out)?,
                }
            }
            self.recorder.record(&Event::Heal(Heal {}));
        }
        Ok(())
    }

    /// One fault from its begin to its end. Says how long a start took.
    async fn strike(&mut self, strike: &Strike) -> anyhow::Result<Option<Duration>> {
        self.revive().await?;
        let kind = strike.deed.name();
        *self.seen.strikes.entry(kind).or_default() += 1;
        self.tell(kind, true);
        let mut back = None;
        match strike.deed {
            Deed::Cut(share) => {
                let within = strike.lasts;
                let lingers = Duration::ZERO;
                self.engine.cut(Cut {
                    share,
                    within,
                    lingers,
                });
                sleep(within).await;
            }
            Deed::Zombie { share, lingers } => {
                let within = strike.lasts;
                self.engine.cut(Cut {
                    share,
                    within,
                    lingers,
                });
                sleep(within + lingers).await;
            }
            Deed::Kill => {
                self.process.kill().await?;
                sleep(strike.lasts).await;
                back = Some(self.start().await?);
            }
            Deed::Restart => {
                let status = self.process.stop(ORDERLY).await?;
                if !status.success() {
                    self.trouble(format!("did not end in order: {status}"))?;
                }
                sleep(strike.lasts).await;
                back = Some(self.start().await?);
            }
            Deed::Stop => {
                self.process.pause()?;
                sleep(strike.lasts).await;
                self.process.resume()?;
            }
        }
        self.tell(kind, false);
        Ok(back)
    }

    /// Starts what ended by itself, and says that it did.
    async fn revive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.process.ended()? {
            self.trouble(format!("ended by itself: {status}"))?;
            self.start().await?;
        }
        Ok(())
    }

    /// Brings the process back from a strike that was broken off, and heals.
    pub(crate) async fn mend(&mut self) -> anyhow::Result<()> {
        if self.process.ended()?.is_some() {
            self.start().await?;
        } else {
            // Whoever is not stopped does not mind.
            self.process.resume()?;
        }
        self.recorder.record(&Event::Heal(Heal {}));
        Ok(())
    }

    async fn start(&mut self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        let started = self.process.restart().await;
        started.with_context(|| format!("{} did not come back", self.target))?;
        Ok(begun.elapsed())
    }

    fn trouble(&mut self, what: String) -> anyhow::Result<()> {
        let trouble = format!("{} {what}", self.target);
        writeln!(self.out, "BROKEN: {trouble}")?;
        self.seen.troubles.push(trouble);
        Ok(())
    }

    fn tell(&self, kind: &str, start: bool) {
        self.recorder.record(&Event::Fault(Fault {
            kind: kind.to_owned(),
            target: self.target.to_owned(),
            start,
        }));
    }
}
