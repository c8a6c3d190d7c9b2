//! When messages are due: an open loop that does not wait for anybody, or a window.

use std::rc::Rc;

use rand::Rng;

use crate::arrivals::Clock;
use crate::control::Stage;
use crate::device::Out;
use crate::scenario::{Arrivals, Pattern};

use super::Worker;

/// Without arrivals, how soon to look again.
const LOOK_AGAIN: f64 = 100_000.0;
/// Senders that are looked at for one who is there.
const TRIES: usize = 16;
/// Arrivals made at a stretch, before connections have their turn.
const STRETCH: u32 = 256;

/// Has users ask for bundles while the run wants load.
pub(super) async fn bundles(worker: Rc<Worker>) {
    let start = worker.common.control.reach(Stage::WarmUp).await;
    if let Some(prekeys) = &worker.common.scenario.prekeys {
        worker
            .open_loop(start, prekeys.rate * worker.share, &What::Bundles)
            .await;
    }
}

/// Makes messages, or logins, while the run wants load.
pub(super) async fn messages(worker: Rc<Worker>) {
    let start = worker.common.control.reach(Stage::WarmUp).await;
    let scenario = &worker.common.scenario;
    let load = &scenario.load;
    if let Some(logins) = &scenario.logins {
        if logins.rate > 0.0 {
            worker
                .open_loop(start, logins.rate * worker.share, &What::Logins)
                .await;
        }
    } else if load.pattern == Pattern::None {
    } else if load.arrivals == Arrivals::Closed {
        for &sender in &worker.senders {
            for _ in 0..load.window {
                worker.send(sender, start);
            }
        }
    } else {
        let (quiet, noisy) = worker.split();
        let total = worker.senders.len().max(1);
        let share = |part: &[usize]| float(part.len()) / float(total);
        let factor = scenario.noisy.as_ref().map_or(1.0, |noisy| noisy.factor);
        let (calm, loud) = (share(&quiet), share(&noisy) * factor);
        let rate = load.rate * worker.share * (calm + loud);
        let what = What::Messages {
            loud: if calm + loud > 0.0 {
                loud / (calm + loud)
            } else {
                0.0
            },
            quiet,
            noisy,
        };
        worker.open_loop(start, rate, &what).await;
    }
}

/// What is due in an open loop.
enum What {
    Bundles,
    Logins,
    Messages {
        /// The share of the noisy.
        loud: f64,
        quiet: Vec<usize>,
        noisy: Vec<usize>,
    },
}

impl Worker {
    async fn open_loop(&self, start: u64, rate: f64, what: &What) {
        let mut clock = match Clock::new() {
            Ok(clock) => clock,
            Err(error) => {
                self.common
                    .fatal
                    .lock()
                    .get_or_insert_with(|| format!("timer: {error}"));
                return;
            }
        };
        let poisson = self.common.scenario.load.arrivals != Arrivals::Constant;
        let (mut due, mut turn, mut stretch) = (float_us(start), 0, 0);
        while self.stage().sends() {
            let now = float_us(self.now());
            while due <= now && stretch < STRETCH {
                let now_rate = rate * self.factor(due);
                if now_rate > 0.0 {
                    let late = whole(now - due);
                    self.tally.borrow_mut().lateness.arrivals.record_us(late);
                    self.arrive(what, whole(due), &mut turn);
                    due += self.gap(1e6 / now_rate, poisson);
                } else {
                    due += LOOK_AGAIN;
                }
                stretch += 1;
            }
            if stretch >= STRETCH {
                stretch = 0;
                tokio::task::yield_now().await;
                continue;
            }
            stretch = 0;
            let wait = due - float_us(self.now());
            // No longer than a stage may take to end.
            clock.wait(whole(wait.clamp(0.0, LOOK_AGAIN))).await;
        }
    }

    fn gap(&self, mean: f64, poisson: bool) -> f64 {
        if !poisson {
            return mean;
        }
        // 1 - x is never 0.
        let x: f64 = self.random.borrow_mut().random();
        -(1.0 - x).ln() * mean
    }

    /// The curve's factor at a time.
    fn factor(&self, at: f64) -> f64 {
        let curve = &self.common.scenario.load.curve;
        if curve.is_empty() {
            return 1.0;
        }
        let start = self.common.control.start(Stage::Load);
        let time = crate::control::micros(self.common.scenario.run.time);
        let part = if start == u64::MAX {
            0.0
        } else {
            (at - float_us(start)) / float_us(time.max(1))
        };
        let index = whole(part.clamp(0.0, 1.0) * float(curve.len()));
        let index = usize::try_from(index).unwrap_or(0).min(curve.len() - 1);
        curve.get(index).copied().unwrap_or(1.0)
    }

    fn arrive(&self, what: &What, due: u64, turn: &mut usize) {
        *turn = turn.wrapping_add(1);
        match what {
            What::Bundles => {
                let others = self.devices.len() - 1;
                let mut drawn = (0..TRIES).map(|_| self.any(self.devices.len()));
                let Some(by) = drawn.find(|by| !self.is_away(*by)) else {
                    return;
                };
                let asked = self.device(by).map_or(0, |by| by.borrow().asks_made());
                // Everybody else in turn: gateways limit how often one user asks about another.
                let target = (by + 1 + asked % others.max(1)) % self.devices.len();
                if let (Some(device), Ok(target)) = (self.device(by), u32::try_from(target)) {
                    let mut device = device.borrow_mut();
                    device.ask(target, due);
                    device.wake();
                    drop(device);
                    self.moved(true);
                    let stage = self.stage();
                    self.tally
                        .borrow_mut()
                        .count(stage, crate::tally::Count::Sent);
                }
            }
            What::Logins => self.dues.add(due),
            What::Messages { loud, quiet, noisy } => {
                let group = if self.chance(*loud) { noisy } else { quiet };
                if let Some(sender) = self.writer(group, *turn) {
                    self.send(sender, due);
                }
            }
        }
    }

    /// Who writes the next message: somebody who is there. Who left says nothing; who was cut off does,
    /// and what that costs is to be seen.
    fn writer(&self, group: &[usize], turn: usize) -> Option<usize> {
        let constant = self.common.scenario.load.arrivals == Arrivals::Constant;
        (0..group.len().min(TRIES)).find_map(|next| {
            let at = if constant {
                turn.wrapping_add(next) % group.len()
            } else {
                self.any(group.len())
            };
            let sender = *group.get(at)?;
            (!self.is_away(sender)).then_some(sender)
        })
    }

    fn is_away(&self, index: usize) -> bool {
        self.device(index).is_none_or(|device| device.borrow().away)
    }

    fn any(&self, count: usize) -> usize {
        if count == 0 {
            0
        } else {
            self.random.borrow_mut().random_range(0..count)
        }
    }

    /// Gives a device its next message, due at a time.
    pub(super) fn send(&self, sender: usize, due: u64) {
        let Some(device) = self.device(sender) else {
            return;
        };
        let typing = self.chance(self.common.scenario.load.typing);
        let asks = self.chance(self.common.scenario.load.delivered_receipts);
        let mut device = device.borrow_mut();
        if typing && device.online {
            let peer = device.next_peer();
            device.queue.push_back(Out::Typing(peer));
        }
        if device.send(due).is_some() {
            if asks {
                device.ask_receipt();
            }
            device.wake();
            drop(device);
            self.moved(true);
        }
    }

    fn split(&self) -> (Vec<usize>, Vec<usize>) {
        let noisy = |index: &usize| self.is_noisy(*index);
        let (loud, quiet) = self.senders.iter().copied().partition(noisy);
        (quiet, loud)
    }

    /// Whether a device is one of the partner that sends more than its share.
    pub(super) fn is_noisy(&self, index: usize) -> bool {
        self.noisy.is_some_and(|noisy| {
            let device = self.device(index);
            device.is_some_and(|device| device.borrow().account.partner == noisy)
        })
    }
}

fn float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

/// Microseconds of a run: far below 2^53.
fn float_us(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64() * 1e6
}

fn whole(micros: f64) -> u64 {
    let span = std::time::Duration::try_from_secs_f64(micros / 1e6);
    span.map_or(0, crate::control::micros)
}
