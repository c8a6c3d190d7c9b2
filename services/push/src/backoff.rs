//! When to send again: the waits of one wake-up, and the gate of one partner.
//!
//! In: what became of requests. Out: an instant before which nothing is sent. The gate is what keeps
//! a partner that is down from being asked once for every user that waits.
//!
//! **Invariants**
//! - Every wait is drawn evenly between nothing and its bound, so that what failed together does
//!   not come back together.
//! - A partner is not asked before the time that it named (RFC 9110 10.2.3).
//! - Repeated requests that fail are at most a tenth of the first ones, and a few on top.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

/// How much each bound of a wait is larger than the last.
const FACTOR: u32 = 4;
/// Failures in a row after which the gate closes: users whose wake-ups fail alone do not close it.
const CLOSING: u32 = 5;
/// Bound of the gate's first wait, and of all later ones. A partner that came back is found within
/// five minutes.
const SHORTEST_CLOSED: Duration = Duration::from_secs(2);
const LONGEST_CLOSED: Duration = Duration::from_secs(300);
/// The longest time that a partner's `Retry-After` may name.
pub(crate) const LONGEST_NAMED: Duration = Duration::from_secs(6 * 3600);
/// How many requests a partner gets at once after a start or a failure, before the first succeeds.
const FIRST_WIDTH: usize = 1;
/// Repetitions that are allowed without any first request.
const BUDGET: f64 = 10.0;
/// What a first request adds to the budget.
const SHARE: f64 = 0.1;
/// What a second adds to it: a partner with nothing but old wake-ups is still asked.
const PER_SECOND: f64 = 0.1;

/// The bounds of the waits of a wake-up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

impl Waits {
    /// Draws the wait after the given number of failures.
    pub(crate) fn draw(self, failures: u32, rng: &mut impl Rng) -> Duration {
        draw(self.first, self.longest, failures.saturating_sub(1), rng)
    }
}

fn draw(first: Duration, longest: Duration, step: u32, rng: &mut impl Rng) -> Duration {
    let bound = first
        .saturating_mul(FACTOR.saturating_pow(step))
        .min(longest);
    bound.mul_f64(rng.random())
}

/// What a request says about the partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// It failed in a way that may concern this user alone.
    Failed,
    /// Nothing was asked of the partner.
    Silent,
    /// The partner cannot take more now; perhaps it named a time.
    Slow(Option<Duration>),
    /// The partner does its work.
    Well,
}

/// What a signal changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Closed,
    None,
    Recovered,
}

/// How much may be asked of one partner now.
#[derive(Debug)]
pub(crate) struct Gate {
    most: usize,
    width: usize,
    in_flight: usize,
    failures: u32,
    closings: u32,
    opens: Instant,
    budget: f64,
    counted: Instant,
}

/// Why nothing may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shut {
    /// Until then.
    Until(Instant),
    /// Until a request ends.
    Full,
}

impl Gate {
    pub(crate) fn new(most: usize, now: Instant) -> Self {
        Self {
            most,
            width: FIRST_WIDTH.min(most),
            in_flight: 0,
            failures: 0,
            closings: 0,
            opens: now,
            budget: BUDGET,
            counted: now,
        }
    }

    /// Whether a request may be sent.
    pub(crate) fn admits(&mut self, is_retry: bool, now: Instant) -> Result<(), Shut> {
        if self.in_flight >= self.width {
            return Err(Shut::Full);
        }
        if now < self.opens {
            return Err(Shut::Until(self.opens));
        }
        if is_retry {
            let passed = now.duration_since(self.counted).as_secs_f64();
            self.counted = now;
            self.budget = (self.budget + passed * PER_SECOND).min(BUDGET);
            if self.budget < 1.0 {
                let missing = Duration::from_secs_f64((1.0 - self.budget) / PER_SECOND);
                // A millisecond more, so that rounding does not wake the caller too early.
                return Err(Shut::Until(now + missing + Duration::from_millis(1)));
            }
        }
        Ok(())
    }

    /// Counts a request that is sent.
    pub(crate) fn begin(&mut self, is_retry: bool) {
        self.in_flight += 1;
        let change = if is_retry { -1.0 } else { SHARE };
        self.budget = (self.budget + change).min(BUDGET);
    }

    /// Counts a request that ended.
    pub(crate) fn end(
        &mut self,
        signal: Signal,
        is_retry: bool,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Change {
        self.in_flight = self.in_flight.saturating_sub(1);
        // What succeeds, or was not sent, is no storm.
        if is_retry && matches!(signal, Signal::Silent | Signal::Well) {
            self.budget = (self.budget + 1.0).min(BUDGET);
        }
        match signal {
            Signal::Failed => {
                self.failures += 1;
                if self.failures < CLOSING {
                    return Change::None;
                }
                self.close(None, now, rng)
            }
            Signal::Silent => Change::None,
            Signal::Slow(named) => {
                self.failures += 1;
                self.close(named, now, rng)
            }
            // One that was sent before the gate closed does not open it.
            Signal::Well if now < self.opens => Change::None,
            Signal::Well => {
                let recovered = self.closings > 0;
                (self.failures, self.closings) = (0, 0);
                self.width = (self.width * 2).min(self.most);
                if recovered {
                    Change::Recovered
                } else {
                    Change::None
                }
            }
        }
    }

    /// Sends nothing for a time, without blame.
    pub(crate) fn pause(&mut self, until: Instant) {
        self.opens = self.opens.max(until);
    }

    fn close(&mut self, named: Option<Duration>, now: Instant, rng: &mut impl Rng) -> Change {
        let was_open = now >= self.opens;
        self.width = FIRST_WIDTH.min(self.most);
        if was_open {
            // Requests that were sent together count as one failure.
            let wait = draw(SHORTEST_CLOSED, LONGEST_CLOSED, self.closings, rng);
            self.closings = self.closings.saturating_add(1);
            self.opens = now + wait;
        }
        if let Some(named) = named {
            self.opens = self.opens.max(now + named.min(LONGEST_NAMED));
        }
        if was_open && self.closings == 1 {
            Change::Closed
        } else {
            Change::None
        }
    }
}

#[cfg(test)]
mod tests;
