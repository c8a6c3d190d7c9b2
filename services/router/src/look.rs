//! look: what an owner sees of itself every few seconds, for whoever is on call.
//!
//! **Invariants**
//! - Nothing is decided from it.
//! - How far the owner lags is measured against an end of the log that was asked for: what a reader has
//!   heard of says nothing while the reader stands still.

use std::time::Duration;

use entente_core::{Offset, Timestamp};
use entente_log::LogError;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::events::Seen;
use crate::owner::Owner;

/// How often an owner looks: much shorter than anybody is called for, and rare enough to cost nothing.
const EVERY: Duration = Duration::from_secs(5);

/// How far the log is ahead of an owner.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    asking: Option<(Instant, JoinHandle<Result<Offset, LogError>>)>,
    /// The end that was seen last, and when it was asked for.
    latest: Option<(Offset, Instant)>,
    /// The first end that is not reached, and when it was asked for.
    behind: Option<(Offset, Instant)>,
    looked: Option<Instant>,
}

impl Lag {
    /// Takes the end that the log had at a time.
    fn saw(&mut self, end: Offset, at: Instant, next: Offset) {
        self.latest = Some((end, at));
        if next < end {
            self.behind.get_or_insert((end, at));
        }
    }

    /// The end that was seen last.
    pub(crate) fn latest(&self) -> Option<Offset> {
        self.latest.map(|(end, _)| end)
    }

    /// How many records are not applied, and for how long that is known.
    pub(crate) fn of(&mut self, next: Offset, now: Instant) -> Option<(u64, Duration)> {
        if self.behind.is_some_and(|(end, _)| next >= end) {
            self.behind = self.latest.filter(|(end, _)| next < *end);
        }
        let since = self.behind.map_or(now, |(_, at)| at);
        let (latest, _) = self.latest?;
        let records = latest.value().saturating_sub(next.value());
        Some((records, now - since))
    }
}

impl Owner {
    /// Looks, if it is time.
    pub(crate) async fn look(&mut self, now: Instant) {
        if self.lag.looked.is_some_and(|at| now - at < EVERY) {
            return;
        }
        self.lag.looked = Some(now);
        self.ask_end(now).await;
        let (seen, repeated) = (self.seen(now), self.shard.take_repeated());
        self.ground.events.seen(self.shard.id(), &seen, repeated);
    }

    /// Takes the answer to the last question, and asks anew. A log that does not answer is asked once.
    async fn ask_end(&mut self, now: Instant) {
        if let Some((at, asking)) = &mut self.lag.asking {
            if !asking.is_finished() {
                return;
            }
            let (at, answer) = (*at, asking.await);
            self.lag.asking = None;
            if let Ok(Ok(end)) = answer {
                self.lag.saw(end, at, self.shard.next());
            }
        }
        let (log, partition) = (self.ground.log.clone(), self.shard.id().index());
        let ask = async move { log.latest(partition).await };
        self.lag.asking = Some((now, self.ground.tasks.spawn("log end", ask)));
    }

    /// What it is like now.
    pub(crate) fn seen(&mut self, now: Instant) -> Seen {
        let clock = Timestamp::now();
        let (mut oldest, mut lanes, mut ahead, mut holes) = (None, 0, 0, 0);
        for (account, twin) in &self.twins {
            lanes += twin.in_lanes();
            ahead += twin.ahead();
            holes += usize::from(twin.ahead() > 0);
            if twin.detached.is_none() && twin.started {
                let waits = self.shard.oldest(*account);
                oldest = oldest.into_iter().chain(waits).min();
            }
        }
        let standing = self.shard.standing();
        Seen {
            unsettled: oldest.map_or(Duration::ZERO, |admitted| clock.since(admitted)),
            lag: self.lag.of(self.shard.next(), now),
            lanes,
            ahead,
            ahead_holes: holes,
            held: standing.held,
            held_holes: standing.holes,
            unsent: standing.unsent,
            unreported: self.unreported.len(),
            quarantined: self.shard.quarantined(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_lasts_from_the_first_end_that_is_not_reached() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let mut lag = Lag::default();
        assert_eq!(lag.of(Offset::new(3), start), None, "nobody has asked");
        lag.saw(Offset::new(3), start, Offset::new(3));
        assert_eq!(lag.of(Offset::new(3), after(9)), Some((0, Duration::ZERO)));
        lag.saw(Offset::new(7), after(10), Offset::new(3));
        lag.saw(Offset::new(20), after(15), Offset::new(5));
        let secs = Duration::from_secs;
        assert_eq!(lag.of(Offset::new(5), after(16)), Some((15, secs(6))));
        // The end of then is reached, and the next one was seen at 15.
        assert_eq!(lag.of(Offset::new(7), after(17)), Some((13, secs(2))));
        assert_eq!(lag.of(Offset::new(8), after(24)), Some((12, secs(9))));
        assert_eq!(lag.of(Offset::new(20), after(30)), Some((0, secs(0))));
    }
}
