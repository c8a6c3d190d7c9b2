//! The wake-ups of one partner: one for each user, in two queues behind one gate.
//!
//! In: wake-ups from the log, and what became of attempts. Out: whom to wake next.
//!
//! **Invariants**
//! - A user has one pending wake-up at most. One that comes while it waits joins it; one that comes
//!   while it is sent makes another, since the first may have been acted on already.
//! - Nothing of one partner is in another's lane, so a slow one holds up nobody else.
//! - First attempts and repetitions take turns: neither starves the other.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use entente_core::{AccountId, Timestamp, TraceContext};
use rand::Rng;
use tokio::time::Instant;

use crate::backoff::{Gate, Shut};
use crate::consume::{Wake, WakeId};

/// When a partner has come back, what waits longer than this for its repetition is drawn evenly
/// into it: users are woken soon, and not at once.
const CATCH_UP: Duration = Duration::from_secs(300);

/// Sampled messages of which one pending wake-up knows: the first is the parent of its requests,
/// the others are links. More leave a trace that ends where the wake-up joined.
const MAX_CAUSES: usize = 4;

/// The sampled messages that a wake-up is for, in memory only: a restart forgets them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Causes([Option<TraceContext>; MAX_CAUSES]);

impl Causes {
    fn add(&mut self, trace: Option<TraceContext>) {
        if let (Some(trace), Some(place)) = (trace, self.0.iter_mut().find(|each| each.is_none())) {
            *place = Some(trace);
        }
    }

    /// The first, and the others.
    pub(crate) fn split(self) -> (Option<TraceContext>, impl Iterator<Item = TraceContext>) {
        let mut all = self.0.into_iter().flatten();
        (all.next(), all)
    }
}

/// A pending wake-up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intent {
    pub(crate) id: WakeId,
    /// When the newest wake-up in it reached the log.
    pub(crate) since: Timestamp,
    pub(crate) attempts: u32,
    pub(crate) due: Instant,
    flight: Flight,
    causes: Causes,
    /// Whether a row of it may be in the store.
    pub(crate) stored: bool,
}

#[derive(Clone, Copy, Debug)]
enum Flight {
    Again(Wake, Causes),
    No,
    Yes,
}

impl Flight {
    fn again(wake: Wake, mut causes: Causes) -> Self {
        causes.add(wake.trace);
        Self::Again(wake, causes)
    }
}

impl Intent {
    pub(crate) const fn new(id: WakeId, since: Timestamp, due: Instant) -> Self {
        Self {
            id,
            since,
            attempts: 0,
            due,
            flight: Flight::No,
            causes: Causes([None; MAX_CAUSES]),
            stored: false,
        }
    }

    const fn is_retry(&self) -> bool {
        self.attempts > 0
    }
}

/// An attempt to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) account: AccountId,
    pub(crate) id: WakeId,
    pub(crate) is_retry: bool,
    pub(crate) causes: Causes,
}

/// What became of an offered wake-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    Held,
    Joined,
    /// There is no room; it must wait in the store.
    Spilled,
}

/// The wake-ups of one partner that are in memory.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) gate: Gate,
    /// Whether more of the partner's wake-ups are in the store.
    pub(crate) spilled: bool,
    /// Its place in the desk's agenda.
    pub(crate) scheduled: Option<Instant>,
    intents: HashMap<AccountId, Intent>,
    firsts: BTreeSet<(Instant, AccountId)>,
    retries: BTreeSet<(Instant, AccountId)>,
    retry_is_next: bool,
}

impl Lane {
    pub(crate) fn new(gate: Gate) -> Self {
        Self {
            gate,
            spilled: false,
            scheduled: None,
            intents: HashMap::new(),
            firsts: BTreeSet::new(),
            retries: BTreeSet::new(),
            retry_is_next: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.intents.len()
    }

    pub(crate) fn intent(&self, account: AccountId) -> Option<&Intent> {
        self.intents.get(&account)
    }

    /// Marks that a row of the wake-up goes to the store.
    pub(crate) fn mark_stored(&mut self, account: AccountId) {
        if let Some(intent) = self.intents.get_mut(&account) {
            intent.stored = true;
        }
    }

    /// Takes a wake-up from the log.
    pub(crate) fn offer(&mut self, wake: Wake, now: Instant, most: usize) -> Offer {
        if let Some(intent) = self.intents.get_mut(&wake.account) {
            intent.since = intent.since.max(wake.at);
            match intent.flight {
                // It gets the whole age and count of a new one.
                Flight::No => {
                    intent.attempts = intent.attempts.min(1);
                    intent.causes.add(wake.trace);
                }
                Flight::Yes => intent.flight = Flight::again(wake, Causes::default()),
                Flight::Again(_, causes) => intent.flight = Flight::again(wake, causes),
            }
            return Offer::Joined;
        }
        if self.spilled || self.intents.len() >= most {
            self.spilled = true;
            return Offer::Spilled;
        }
        let mut intent = Intent::new(wake.id, wake.at, now);
        intent.causes.add(wake.trace);
        self.hold(wake.account, intent);
        Offer::Held
    }

    /// Puts a wake-up in its queue.
    pub(crate) fn hold(&mut self, account: AccountId, intent: Intent) {
        let key = (intent.due, account);
        self.queue(intent.is_retry()).insert(key);
        self.intents.insert(account, intent);
    }

    /// The next wake-up that is due and that the check calls over.
    pub(crate) fn expired(
        &self,
        now: Instant,
        is_over: impl Fn(&Intent) -> bool,
    ) -> Option<AccountId> {
        let heads = [self.firsts.first(), self.retries.first()];
        let mut due = heads.into_iter().flatten().filter(|(due, _)| *due <= now);
        let over = |account| self.intents.get(account).is_some_and(&is_over);
        due.find(|(_, account)| over(account))
            .map(|(_, account)| *account)
    }

    /// Begins the next attempt, if one is due and the gate admits it.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<Attempt> {
        for is_retry in [self.retry_is_next, !self.retry_is_next] {
            let head = self.queue(is_retry).first().copied();
            let Some(key) = head.filter(|(due, _)| *due <= now) else {
                continue;
            };
            if self.gate.admits(is_retry, now).is_err() {
                continue;
            }
            self.queue(is_retry).remove(&key);
            self.retry_is_next = !is_retry;
            let intent = self.intents.get_mut(&key.1)?;
            intent.flight = Flight::Yes;
            self.gate.begin(is_retry);
            return Some(Attempt {
                account: key.1,
                id: intent.id,
                is_retry,
                causes: intent.causes,
            });
        }
        None
    }

    /// When [`begin`](Self::begin) may have something; none while only the end of an attempt helps.
    pub(crate) fn next_at(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for is_retry in [false, true] {
            let Some(due) = self.queue(is_retry).first().map(|(due, _)| *due) else {
                continue;
            };
            let at = match self.gate.admits(is_retry, now) {
                Ok(()) => due,
                Err(Shut::Until(opens)) => due.max(opens),
                Err(Shut::Full) => continue,
            };
            next = Some(next.map_or(at, |next| next.min(at)));
        }
        next
    }

    /// Puts an attempted wake-up back.
    pub(crate) fn retry(&mut self, account: AccountId, due: Instant, counts: bool) {
        if let Some(mut intent) = self.intents.remove(&account) {
            intent.attempts = intent.attempts.saturating_add(u32::from(counts));
            intent.due = due;
            if let Flight::Again(_, causes) = intent.flight {
                causes.0.iter().for_each(|each| intent.causes.add(*each));
            }
            intent.flight = Flight::No;
            self.hold(account, intent);
        }
    }

    /// Ends a wake-up. What came while it was sent begins as one of its own at `again`.
    pub(crate) fn retire(&mut self, account: AccountId, again: Instant) -> Option<Intent> {
        let intent = self.intents.remove(&account)?;
        self.queue(intent.is_retry()).remove(&(intent.due, account));
        if let Flight::Again(wake, causes) = intent.flight {
            let mut next = Intent::new(wake.id, wake.at, again);
            next.causes = causes;
            next.stored = intent.stored;
            self.hold(account, next);
        }
        Some(intent)
    }

    /// Brings far repetitions near: the partner has come back.
    pub(crate) fn catch_up(&mut self, now: Instant, rng: &mut impl Rng) {
        for (due, account) in std::mem::take(&mut self.retries) {
            let sooner = if due > now + CATCH_UP {
                now + CATCH_UP.mul_f64(rng.random())
            } else {
                due
            };
            if let Some(intent) = self.intents.get_mut(&account) {
                intent.due = sooner;
                self.retries.insert((sooner, account));
            }
        }
    }

    const fn queue(&mut self, is_retry: bool) -> &mut BTreeSet<(Instant, AccountId)> {
        if is_retry {
            &mut self.retries
        } else {
            &mut self.firsts
        }
    }
}

#[cfg(test)]
mod tests;
