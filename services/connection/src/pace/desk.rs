//! Who logs in next: numbers as at a counter, called at a rate that the queue to the log sets.
//!
//! In: callers by account, what they want, how long stanzas wait, and the time. Out: go, wait, or come
//! back later with the number that is kept. Pure: time is told, nothing is drawn.
//!
//! **Invariants**
//! - In any time `t` at most `burst + logins * t` numbers are called, and at most `at_once` of those who
//!   were called are under way.
//! - Each partner has a line for each errand. Numbers are called from all lines that wait, by weight; so
//!   the flood of one partner makes its own line long, and those who resume go before fresh logins.
//! - Within a line it goes by number. A number is kept for [`KEPT`] after its time: a client that comes
//!   when it was told to is let in at once, so that it comes twice and not again and again.
//! - While the path to the log is slow, the rate halves each interval down to a sixteenth, and a fresh login
//!   gets a number whatever is left of the burst; afterwards the rate grows back by a sixteenth each interval.
//!   It never stops: a log that is always slow is slow for those who come as well.
//! - Numbers that are kept are bounded by [`NUMBERS`], lines by [`LINES`].

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use entente_core::{AccountId, PartnerId};
use tokio::time::Instant;

use super::delay::Delay;
use super::settings::PacingConfig;

/// Numbers that are kept at one time: more than a node has sessions to lose by default.
const NUMBERS: usize = 100_000;
/// How long a number is good after its time: the jitter of what a client is told, and its way.
pub(super) const KEPT: Duration = Duration::from_secs(45);
/// Steps between the lowest and the highest rate.
const STEPS: f64 = 16.0;
/// How soon to look again when everything is under way.
const BUSY: Duration = Duration::from_millis(50);
/// Lines at one time: partners that log in at one node in the same seconds, times three. Who would
/// begin another one gets no number: each look goes over all of them.
const LINES: usize = 1_024;
/// A part of a number that is nothing but rounding.
const DUST: f64 = 1e-6;

/// What a client wants, as far as it said before it was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Errand {
    /// SASL2 with a session to resume.
    Resume,
    /// RFC 6120: it says after the login what it wants.
    Unsaid,
    /// SASL2 without a session to resume.
    Fresh,
}

/// What a caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its turn. It counts as under way until [`Desk::done`].
    Go,
    /// Its turn comes in this time, as far as can be seen.
    Wait(Duration),
    /// The same, and it is of no use to wait here.
    Later(Duration),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Desk {
    most: f64,
    burst: f64,
    at_once: usize,
    longest: Duration,
    interval: Duration,
    delay: Delay,
    /// Numbers called a second, now.
    rate: f64,
    judged: Instant,
    /// Until when it was shared out.
    shared: Instant,
    /// Numbers that may be called beyond the rate.
    spare: f64,
    under_way: usize,
    /// Those in which somebody waits to be called.
    lines: BTreeMap<(PartnerId, Errand), Line>,
    /// The highest number of all lines: a new line begins there, so that old numbers are called.
    highest: f64,
    kept: HashMap<AccountId, Kept>,
}

/// How the desk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Figures {
    /// Numbers that are kept.
    pub(super) kept: usize,
    /// Numbers called a second.
    pub(super) rate: u32,
    /// Those who were called and are not done.
    pub(super) under_way: usize,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    called: f64,
    issued: f64,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    errand: Errand,
    number: f64,
    until: Instant,
}

impl Line {
    fn has_called(self, number: f64) -> bool {
        number <= self.called + DUST
    }
}

impl Errand {
    /// Share of a line of this kind among those that wait.
    const fn weight(self) -> f64 {
        match self {
            Self::Resume => 4.0,
            Self::Unsaid => 2.0,
            Self::Fresh => 1.0,
        }
    }
}

impl Desk {
    pub(super) fn new(config: &PacingConfig, now: Instant) -> Self {
        let most = f64::from(config.logins);
        Self {
            most,
            burst: f64::from(config.burst),
            at_once: usize::try_from(config.at_once).unwrap_or(usize::MAX),
            longest: config.longest.get(),
            interval: config.interval.get(),
            delay: Delay::new(config.target.get(), config.interval.get()),
            rate: most,
            judged: now,
            shared: now,
            spare: f64::from(config.burst),
            under_way: 0,
            lines: BTreeMap::new(),
            highest: 0.0,
            kept: HashMap::new(),
        }
    }

    /// A stanza waited so long, or waits so long by now. Tells whether anything points to a queue.
    pub(super) fn hear(&mut self, waited: Duration, now: Instant) -> bool {
        self.delay.hear(waited, now);
        !self.delay.is_calm()
    }

    pub(super) fn is_slow(&self, now: Instant) -> bool {
        self.delay.is_slow(now)
    }

    /// Somebody wants to log in.
    pub(super) fn arrive(&mut self, account: AccountId, errand: Errand, now: Instant) -> Answer {
        self.share(now);
        let line = (account.partner(), errand);
        let waits = errand == Errand::Fresh && self.is_slow(now);
        let is_full = self.under_way >= self.at_once;
        let kept = self.kept.get(&account);
        let kept = kept.filter(|kept| kept.errand == errand && kept.until > now);
        let number = kept.map(|kept| kept.number);
        let called = match number {
            Some(number) => self
                .lines
                .get(&line)
                .is_none_or(|line| line.has_called(number)),
            None => !waits && !self.lines.contains_key(&line) && self.spare >= 1.0,
        };
        if called && !is_full {
            match number {
                Some(_) => drop(self.kept.remove(&account)),
                None => self.spare -= 1.0,
            }
            self.under_way += 1;
            return Answer::Go;
        }
        let Some(number) = number.or_else(|| self.issue(account, errand, now)) else {
            return Answer::Later(self.longest);
        };
        let time = self
            .time_until(line, number)
            .clamp(BUSY, self.longest.max(BUSY));
        if let Some(kept) = self.kept.get_mut(&account) {
            kept.until = now + time + KEPT;
        }
        Answer::Wait(time)
    }

    /// Somebody who was called, or went past the desk, is under way no more.
    pub(super) fn done(&mut self, now: Instant) {
        self.share(now);
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Somebody who was called before goes on to the next thing.
    pub(super) fn begin(&mut self, now: Instant) {
        self.share(now);
        self.under_way += 1;
    }

    pub(super) fn figures(&self) -> Figures {
        // A share of a setting of 32 bits.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "see above"
        )]
        let rate = self.rate.round() as u32;
        Figures {
            kept: self.kept.len(),
            rate,
            under_way: self.under_way,
        }
    }

    fn issue(&mut self, account: AccountId, errand: Errand, now: Instant) -> Option<f64> {
        if self.kept.len() >= NUMBERS {
            self.kept.retain(|_, kept| kept.until > now);
        }
        let key = (account.partner(), errand);
        let is_full = self.lines.len() >= LINES && !self.lines.contains_key(&key);
        if is_full || self.kept.len() >= NUMBERS {
            return None;
        }
        let begin = Line {
            called: self.highest,
            issued: self.highest,
        };
        let number = self.lines.get(&key).unwrap_or(&begin).issued + 1.0;
        let line = self.lines.entry(key).or_insert(begin);
        line.issued = number;
        if self.time_until(key, number) > self.longest {
            if let Some(line) = self.lines.get_mut(&key) {
                line.issued -= 1.0;
            }
            return None;
        }
        self.highest = self.highest.max(number);
        let until = now + KEPT;
        self.kept.insert(
            account,
            Kept {
                errand,
                number,
                until,
            },
        );
        Some(number)
    }

    /// When a number will be called, if everything goes on as now.
    fn time_until(&self, key: (PartnerId, Errand), number: f64) -> Duration {
        let Some(line) = self.lines.get(&key) else {
            return Duration::ZERO;
        };
        let before = (number - line.called).max(0.0);
        let all: f64 = self.lines.keys().map(|(_, errand)| errand.weight()).sum();
        let rate = self.rate * key.1.weight() / all.max(key.1.weight());
        Duration::try_from_secs_f64(before / rate).unwrap_or(Duration::MAX)
    }

    /// Calls the numbers that are due.
    fn share(&mut self, now: Instant) {
        self.judge(now);
        let passed = now.saturating_duration_since(self.shared).as_secs_f64();
        self.shared = now;
        // Time in which nobody could have gone on is not made up for.
        if self.under_way >= self.at_once {
            return;
        }
        let mut left = self.rate * passed;
        while left > DUST {
            let all: f64 = self.lines.keys().map(|(_, errand)| errand.weight()).sum();
            if all <= 0.0 {
                break;
            }
            let part = left / all;
            left = 0.0;
            for ((_, errand), line) in &mut self.lines {
                let before = line.called;
                line.called = (before + part * errand.weight()).min(line.issued);
                left += part * errand.weight() - (line.called - before);
            }
            self.lines.retain(|_, line| !line.has_called(line.issued));
        }
        self.spare = (self.spare + left).min(self.burst);
    }

    /// Moves the rate by a step for each interval that passed.
    fn judge(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.judged);
        let steps = passed.as_secs_f64() / self.interval.as_secs_f64();
        if steps < 1.0 {
            return;
        }
        self.judged = now;
        let step = self.most / STEPS;
        self.rate = if self.is_slow(now) {
            (self.rate / 2.0).max(step)
        } else {
            (self.rate + step * steps.floor()).min(self.most)
        };
    }
}

#[cfg(test)]
mod tests;
