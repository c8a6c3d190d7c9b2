//! The pace of logins: how many a node takes on, so that those who are logged in feel nothing of those
//! who come. See `ops/overload.md` and `ops/adr/0013-admission-by-queue-delay.md`.
//!
//! In: accounts that want to log in, and how long stanzas wait for their outcome. Out: a [`Pass`], after
//! a wait if need be, or a [`Retry`], which says when to come back.
//!
//! **Invariants**
//! - Nothing of a login is looked up or verified before it has its pass.
//! - What a session sends is never refused here: it waits, and only what is now or never is dropped.

mod delay;
mod desk;
mod meters;
mod settings;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entente_core::AccountId;
use entente_node::{Metrics, MetricsError};
use entente_stanza::{Element, ns};
use parking_lot::Mutex;
use tokio::time::Instant;

pub(crate) use self::desk::Errand;
use self::desk::{Answer, Desk};
use self::meters::{Meters, Outcome};
pub use self::settings::PacingConfig;

/// The least span over which those who are told to come back are spread.
const LEAST_JITTER: Duration = Duration::from_secs(1);
/// The part of the time until a client's turn over which it is spread beyond it.
const JITTER: u32 = 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pace {
    desk: Mutex<Desk>,
    /// Nothing points to a queue: what waits less than the target is no news.
    calm: AtomicBool,
    target: Duration,
    hold: Duration,
    meters: Meters,
}

/// A login, bind or resume that is under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Pass(Arc<Pace>);

/// When to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retry(Duration);

impl Pace {
    pub(crate) fn new(config: &PacingConfig, metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            desk: Mutex::new(Desk::new(config, Instant::now())),
            calm: AtomicBool::new(true),
            target: config.target.get(),
            hold: config.hold.get(),
            meters: Meters::new(metrics)?,
        })
    }

    /// Waits for the account's turn, as long as a login may be held. Dropped, it leaves a number that
    /// nobody comes for.
    ///
    /// # Errors
    /// [`Retry`] if its turn comes later than that.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        account: AccountId,
        errand: Errand,
    ) -> Result<Pass, Retry> {
        let until = Instant::now() + self.hold;
        let mut outcome = Outcome::Admitted;
        loop {
            let now = Instant::now();
            match self.ask(account, errand, now) {
                Answer::Go => {
                    self.meters.count(outcome, errand);
                    return Ok(Pass(Arc::clone(self)));
                }
                Answer::Wait(time) if now + time <= until => {
                    outcome = Outcome::Held;
                    tokio::time::sleep(time).await;
                }
                Answer::Wait(time) | Answer::Later(time) => {
                    self.meters.count(Outcome::Refused, errand);
                    let spread = (time / JITTER).max(LEAST_JITTER);
                    return Err(Retry(time + spread.mul_f64(rand::random::<f64>())));
                }
            }
        }
    }

    fn ask(&self, account: AccountId, errand: Errand, now: Instant) -> Answer {
        let mut desk = self.desk.lock();
        let answer = desk.arrive(account, errand, now);
        self.meters.show(&desk, now);
        answer
    }

    /// A login that has its pass goes on to take its place at an owner.
    pub(crate) fn begin(self: &Arc<Self>) -> Pass {
        self.desk.lock().begin(Instant::now());
        Pass(Arc::clone(self))
    }

    /// A stanza waited so long for its outcome, or waits so long by now.
    pub(crate) fn hear(&self, waited: Duration) {
        // Relaxed: a sample that is missed or taken twice at the border changes nothing.
        if waited < self.target && self.calm.load(Ordering::Relaxed) {
            return;
        }
        let points_to_queue = self.desk.lock().hear(waited, Instant::now());
        self.calm.store(!points_to_queue, Ordering::Relaxed);
    }

    /// Whether what is now or never is better never.
    pub(crate) fn is_slow(&self) -> bool {
        !self.calm.load(Ordering::Relaxed) && self.desk.lock().is_slow(Instant::now())
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.desk.lock().done(Instant::now());
    }
}

impl Retry {
    /// What the client is told, in whole seconds.
    pub(crate) fn element(self) -> Element {
        let seconds = self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0);
        Element::new("retry", ns::ENTENTE).with_attribute("after", seconds.to_string())
    }
}

#[cfg(test)]
mod tests;
