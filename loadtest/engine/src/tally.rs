//! What one thread counted: by stage, and by second for those who watch.

use std::time::Duration;

use entente_report::{Counters, Histogram, Latencies};

use crate::control::Stage;

/// What one stage brought.
#[derive(Clone, Debug, Default)]
pub struct StageTally {
    /// Counts of what happened in it.
    pub counters: Counters,
    /// Latencies of what was to begin in it.
    pub latencies: Latencies,
    /// Time that sessions spent in it, added up, in microseconds.
    pub session_us: u64,
}

/// What one second brought.
#[derive(Clone, Debug)]
pub struct Second {
    /// Which, counted from the begin of the run.
    pub second: u64,
    /// Messages handed to connections.
    pub sent: u64,
    /// Messages that the server took over.
    pub acked: u64,
    /// Messages that reached a receiver.
    pub delivered: u64,
    /// Logins that ended with a session.
    pub logins: u64,
    /// Errors of all kinds, refusals too.
    pub errors: u64,
    /// Sessions at its end.
    pub sessions: u64,
    /// Messages under way at its end.
    pub under_way: u64,
    /// Latencies of deliveries in it.
    pub delivery: Histogram,
    /// Latencies of acknowledgements in it.
    pub ack: Histogram,
}

/// How late the generator itself was.
#[derive(Clone, Debug, Default)]
pub struct Lateness {
    /// By how much arrivals were later than they were due.
    pub arrivals: Histogram,
}

/// Messages to users who were away.
#[derive(Clone, Debug, Default)]
pub struct Backlog {
    /// From the recipient's return to the delivery.
    pub waits: Histogram,
}

/// What one thread counted.
#[derive(Debug)]
pub struct Tally {
    /// By [`Stage::COUNTED`].
    pub stages: [StageTally; 4],
    /// How late the generator was.
    pub lateness: Lateness,
    /// What waited for users who were away.
    pub backlog: Backlog,
    /// Some of the messages that were not over at the end, in words: what is known of each.
    pub left: Vec<String>,
    pub(crate) second: Second,
    /// Sessions now.
    pub(crate) sessions: u64,
    pub(crate) under_way: u64,
    counted_until: u64,
}

/// An event that both the stage and the second count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    Acked,
    Delivered,
    Login,
    Sent,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            stages: Default::default(),
            lateness: Lateness::default(),
            backlog: Backlog::default(),
            left: Vec::new(),
            second: Second::new(0),
            sessions: 0,
            under_way: 0,
            counted_until: 0,
        }
    }

    /// The counters of a stage.
    pub(crate) fn at(&mut self, stage: Stage) -> &mut StageTally {
        let [connect, warm_up, load, drain] = &mut self.stages;
        match stage {
            Stage::Connect => connect,
            Stage::WarmUp => warm_up,
            Stage::Load => load,
            Stage::Drain | Stage::Close => drain,
        }
    }

    pub(crate) fn count(&mut self, stage: Stage, what: Count) {
        let counters = &mut self.at(stage).counters;
        *match what {
            Count::Acked => &mut counters.acked,
            Count::Delivered => &mut counters.delivered,
            Count::Login => &mut counters.logins,
            Count::Sent => &mut counters.sent,
        } += 1;
        *match what {
            Count::Acked => &mut self.second.acked,
            Count::Delivered => &mut self.second.delivered,
            Count::Login => &mut self.second.logins,
            Count::Sent => &mut self.second.sent,
        } += 1;
    }

    pub(crate) fn error(&mut self, stage: Stage, kind: String) {
        *self.at(stage).counters.errors.entry(kind).or_default() += 1;
        self.second.errors += 1;
    }

    pub(crate) fn login_failure(&mut self, stage: Stage, reason: String) {
        let failures = &mut self.at(stage).counters.login_failures;
        *failures.entry(reason).or_default() += 1;
        self.second.errors += 1;
    }

    pub(crate) fn refused(&mut self, stage: Stage, condition: String) {
        let refused = &mut self.at(stage).counters.refused;
        *refused.entry(condition).or_default() += 1;
        self.second.errors += 1;
    }

    /// Adds the time that sessions spent since the last call to the stage.
    pub(crate) fn spend(&mut self, stage: Stage, now: u64) {
        let span = now.saturating_sub(self.counted_until);
        self.counted_until = now;
        let sessions = self.sessions;
        self.at(stage).session_us += span.saturating_mul(sessions);
    }

    /// Ends the second and begins another.
    pub(crate) fn turn(&mut self, next: u64) -> Second {
        let mut second = std::mem::replace(&mut self.second, Second::new(next));
        second.sessions = self.sessions;
        second.under_way = self.under_way;
        second
    }
}

impl Second {
    fn new(second: u64) -> Self {
        Self {
            second,
            sent: 0,
            acked: 0,
            delivered: 0,
            logins: 0,
            errors: 0,
            sessions: 0,
            under_way: 0,
            delivery: Histogram::coarse(),
            ack: Histogram::coarse(),
        }
    }

    /// Adds the same second of another thread.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.sent, other.sent),
            (&mut self.acked, other.acked),
            (&mut self.delivered, other.delivered),
            (&mut self.logins, other.logins),
            (&mut self.errors, other.errors),
            (&mut self.sessions, other.sessions),
            (&mut self.under_way, other.under_way),
        ] {
            *sum += more;
        }
        // Both have two digits.
        let _same = self
            .delivery
            .add(&other.delivery)
            .and(self.ack.add(&other.ack));
    }
}

/// A span in microseconds as a duration.
pub(crate) const fn span(micros: u64) -> Duration {
    Duration::from_micros(micros)
}
