//! Whether the path to the log is slow: a queue that never gets short stands, and what stands is
//! overload; one that gets short in between is a burst.
//!
//! In: how long stanzas waited for their outcome. Out: one bit. It is the control law of CoDel
//! (RFC 8289 4.2) without its dropping: what was accepted is never dropped here.
//!
//! **Invariants**
//! - One stanza that waited less than the target ends the alarm: a slow shard among good ones is
//!   none.
//! - Without news for two intervals nothing is slow: what nobody uses cannot be measured.

use std::time::Duration;

use tokio::time::Instant;

/// See the module.
#[derive(Debug)]
pub(super) struct Delay {
    target: Duration,
    interval: Duration,
    /// When it becomes slow if nothing short comes before.
    due: Option<Instant>,
    heard: Option<Instant>,
}

impl Delay {
    pub(super) const fn new(target: Duration, interval: Duration) -> Self {
        Self {
            target,
            interval,
            due: None,
            heard: None,
        }
    }

    /// A stanza waited so long, or waits so long by now.
    pub(super) fn hear(&mut self, waited: Duration, now: Instant) {
        if waited < self.target {
            self.due = None;
        } else if self.is_stale(now) {
            self.due = Some(now + self.interval);
        } else {
            self.due.get_or_insert(now + self.interval);
        }
        self.heard = Some(now);
    }

    pub(super) fn is_slow(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now) && !self.is_stale(now)
    }

    /// Whether nothing points to a queue.
    pub(super) const fn is_calm(&self) -> bool {
        self.due.is_none()
    }

    fn is_stale(&self, now: Instant) -> bool {
        self.heard
            .is_none_or(|heard| heard + self.interval * 2 <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(50);
    const INTERVAL: Duration = Duration::from_millis(500);

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_standing_queue_is_slow_after_an_interval_and_not_before() {
        let (mut delay, start) = (Delay::new(TARGET, INTERVAL), Instant::now());
        for millis in (0..500).step_by(100) {
            delay.hear(TARGET, at(start, millis));
            assert!(!delay.is_slow(at(start, millis)), "{millis}");
        }
        delay.hear(TARGET, at(start, 500));
        assert!(delay.is_slow(at(start, 500)));
    }

    #[test]
    fn one_short_wait_ends_it() {
        let (mut delay, start) = (Delay::new(TARGET, INTERVAL), Instant::now());
        delay.hear(TARGET * 3, start);
        delay.hear(TARGET * 3, at(start, 600));
        assert!(delay.is_slow(at(start, 600)));
        delay.hear(TARGET / 2, at(start, 601));
        assert!(!delay.is_slow(at(start, 601)));
        delay.hear(TARGET * 3, at(start, 700));
        assert!(!delay.is_slow(at(start, 1100)), "the interval begins anew");
    }

    #[test]
    fn silence_is_not_slow() {
        let (mut delay, start) = (Delay::new(TARGET, INTERVAL), Instant::now());
        delay.hear(TARGET, start);
        delay.hear(TARGET, at(start, 500));
        assert!(delay.is_slow(at(start, 1499)));
        assert!(!delay.is_slow(at(start, 1500)));
        delay.hear(TARGET, at(start, 9000));
        assert!(!delay.is_slow(at(start, 9000)), "old news do not count");
    }
}
