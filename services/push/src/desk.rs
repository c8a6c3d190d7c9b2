//! The desk: one task that reads one partition, keeps its lanes and starts its attempts.
//!
//! In: records of the wake-up log and the ends of attempts. Out: attempts, and checkpoints. Requests,
//! reads and commits run beside it and report back, so it never waits for a partner, the log or the
//! disk.
//!
//! **Invariants**
//! - A wake-up is in the log above the floor, or in a row, until it retires: the floor follows what
//!   a checkpoint has covered. Killed at any moment, it is sent again, not lost.
//! - Attempts under way are bounded for each partner and over all.
//! - Reading stops while too much waits for a checkpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use entente_core::{AccountId, Offset, PartnerId, SealKey, ShardId, Timestamp};
use entente_log::{Log, LogError, Record, Tail};
use entente_shard::{StateStore, StoreError};
use entente_trace::{Open, Stage};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::backoff::{Change, Gate, LONGEST_NAMED, Waits};
use crate::checkpoint::{Dirty, Row};
use crate::coalesce::{Attempt, Intent, Lane, Offer};
use crate::config::Config;
use crate::consume::{self, Seen};
use crate::dispatch::Dispatcher;
use crate::error::PushError;
use crate::events::{Attempted, Events, FloorStayed, ReadFailed, RecordRead, Retired, Shown};
use crate::retire::{Answer, Reason, Verdict, judge};

/// Records read since the last checkpoint, after which reading waits for the next. Bounds what is
/// read again after a kill, and spilled wake-ups in memory.
const MAX_UNCOVERED: usize = 8192;

/// How long a partner that is not active is left alone.
const INACTIVE: Duration = Duration::from_secs(60);

/// Time for attempts under way when the process ends. What they do not reach is sent again.
const LAST_ATTEMPTS: Duration = Duration::from_secs(2);

/// What the desk stands on.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) partition: u32,
    pub(crate) config: Config,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) seal: SealKey,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) events: Events,
}

/// What ended beside the desk.
pub(crate) enum Done {
    Floored(Result<(), LogError>),
    Read(Tail, Result<Vec<Record>, LogError>),
    Sent(Attempt, Answer, Duration),
    Stored(Result<(), StoreError>),
}

/// The state of the service.
pub(crate) struct Desk {
    pub(crate) ground: Ground,
    pub(crate) lanes: BTreeMap<PartnerId, Lane>,
    /// When which lane may have something to begin.
    agenda: BTreeSet<(Instant, PartnerId)>,
    pub(crate) seen: BTreeMap<ShardId, Seen>,
    /// The next record to be read.
    pub(crate) cursor: Offset,
    pub(crate) dirty: Dirty,
    /// What reads, while it waits for a checkpoint.
    parked: Option<Tail>,
    shown: BTreeMap<PartnerId, Shown>,
    pub(crate) work: JoinSet<Done>,
    in_flight: usize,
    pub(crate) clock: Clock,
    rng: StdRng,
}

impl Desk {
    /// Reads the rows. Blocking.
    pub(crate) fn open(ground: Ground) -> Result<Self, StoreError> {
        let mut desk = Self {
            ground,
            lanes: BTreeMap::new(),
            agenda: BTreeSet::new(),
            seen: BTreeMap::new(),
            cursor: Offset::default(),
            dirty: Dirty::default(),
            parked: None,
            shown: BTreeMap::new(),
            work: JoinSet::new(),
            in_flight: 0,
            clock: Clock::new(),
            rng: StdRng::from_os_rng(),
        };
        desk.load()?;
        Ok(desk)
    }

    /// Works until the cancellation fires, and stores where it is.
    pub(crate) async fn run(mut self, cancelled: CancellationToken) -> Result<(), PushError> {
        let (log, partition) = (Arc::clone(&self.ground.log), self.ground.partition);
        let tail = Tail::new(log, partition, self.cursor);
        self.work.spawn(read(tail, false));
        let partners: Vec<_> = self.lanes.keys().copied().collect();
        partners.into_iter().for_each(|each| self.schedule(each));
        loop {
            self.begin_due();
            if self.dirty.since.is_some_and(|at| at <= Instant::now()) {
                self.checkpoint();
            }
            let timer = self.timer();
            tokio::select! {
                // The end first: a busy log must not keep the process alive.
                biased;
                () = cancelled.cancelled() => return self.finish().await,
                Some(done) = self.work.join_next() => {
                    self.apply(done.map_err(|_| PushError::Panicked)?)?;
                }
                () = sleep_until(timer) => {}
            }
        }
    }

    fn apply(&mut self, done: Done) -> Result<(), PushError> {
        match done {
            Done::Floored(Ok(())) => {}
            Done::Floored(Err(error)) => {
                let partition = self.ground.partition;
                FloorStayed { partition, error }.emit(&self.ground.events);
            }
            Done::Read(tail, outcome) => self.consume(tail, outcome),
            Done::Sent(attempt, answer, took) => self.settle(attempt, answer, took),
            Done::Stored(outcome) => {
                outcome?;
                self.covered()?;
                if let Some(tail) = self.parked.take() {
                    self.work.spawn(read(tail, false));
                }
            }
        }
        Ok(())
    }

    fn consume(&mut self, mut tail: Tail, outcome: Result<Vec<Record>, LogError>) {
        let partition = self.ground.partition;
        match outcome {
            Err(error) => {
                ReadFailed { partition, error }.emit();
                if let LogError::Truncated { floor } = error {
                    tail.seek(floor);
                }
                self.work.spawn(read(tail, true));
            }
            Ok(records) => {
                for record in &records {
                    self.take(record);
                }
                if self.dirty.records < MAX_UNCOVERED {
                    self.work.spawn(read(tail, false));
                } else {
                    self.parked = Some(tail);
                    self.checkpoint();
                }
            }
        }
    }

    fn take(&mut self, record: &Record) {
        self.cursor = record.offset.next();
        self.dirty.moved = true;
        self.dirty.records += 1;
        self.touch();
        let outcome = self.offer(record);
        let partition = self.ground.partition;
        RecordRead { partition, outcome }.emit(&self.ground.events);
    }

    fn offer(&mut self, record: &Record) -> &'static str {
        let Ok(mut wake) = consume::open(record, &self.ground.seal) else {
            return RecordRead::BROKEN;
        };
        if !self.seen.entry(wake.source).or_default().take(wake.counter) {
            return "repeated";
        }
        self.dirty.sources.insert(wake.source);
        let tracer = &self.ground.dispatcher.tracer;
        let span = tracer.child(wake.trace, Stage::Consume, Some(wake.source));
        // What is sent for it goes on from here.
        wake.trace = span.as_ref().map(Open::context);
        let (account, partner) = (wake.account, wake.account.partner());
        let (now, most) = (Instant::now(), self.ground.config.max_held);
        let outcome = match self.lane(partner).offer(wake, now, most) {
            Offer::Held => "new",
            Offer::Joined => "joined",
            Offer::Spilled => {
                let intent = Intent::new(wake.id, wake.at, now);
                self.dirty
                    .spilled
                    .insert(account, Row::of(&intent, &self.clock));
                return "spilled";
            }
        };
        self.dirty.accounts.insert(account);
        self.schedule(partner);
        if let Some(span) = span {
            span.done();
        }
        outcome
    }

    fn begin_due(&mut self) {
        let now = Instant::now();
        while self.in_flight < self.ground.config.max_in_flight {
            let due = self.agenda.first().filter(|(at, _)| *at <= now);
            let Some(&(_, partner)) = due else {
                return;
            };
            self.give_up(partner, now);
            if let Some(attempt) = self.lane(partner).begin(now) {
                self.in_flight += 1;
                let dispatcher = self.ground.dispatcher.clone();
                self.work.spawn(async move {
                    let (answer, took) = dispatcher.attempt(attempt).await;
                    Done::Sent(attempt, answer, took)
                });
            }
            self.schedule(partner);
        }
    }

    /// Retires what is due and too old, or was tried too often.
    fn give_up(&mut self, partner: PartnerId, now: Instant) {
        let (max_age, max_attempts) = (
            self.ground.config.max_age.get(),
            self.ground.config.max_attempts,
        );
        let wall = self.clock.now();
        let is_over = |intent: &Intent| {
            intent.attempts >= max_attempts || wall.since(intent.since) >= max_age
        };
        while let Some(account) = self.lane(partner).expired(now, is_over) {
            self.retire(account, Reason::GivenUp);
        }
    }

    fn settle(&mut self, attempt: Attempt, answer: Answer, took: Duration) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let (account, partner) = (attempt.account, attempt.account.partner());
        Attempted {
            partner,
            answer,
            took,
        }
        .emit(&self.ground.events);
        let (verdict, signal) = judge(answer);
        let now = Instant::now();
        let waits = Waits {
            first: self.ground.config.first_retry.get(),
            longest: self.ground.config.longest_retry.get(),
        };
        let Some(lane) = self.lanes.get_mut(&partner) else {
            return;
        };
        let rng = &mut self.rng;
        let change = lane.gate.end(signal, attempt.is_retry, now, rng);
        match verdict {
            Verdict::Later => lane.retry(account, now + waits.draw(1, rng), false),
            Verdict::Pause => {
                let until = now + INACTIVE.mul_f64(1.0 + rng.random::<f64>());
                lane.gate.pause(until);
                lane.retry(account, now, false);
            }
            Verdict::Retire(reason) => self.retire(account, reason),
            Verdict::Retry(named) => {
                let failures = lane.intent(account).map_or(0, |intent| intent.attempts);
                let wait = waits.draw(failures.saturating_add(1), rng);
                let wait = wait.max(named.unwrap_or_default().min(LONGEST_NAMED));
                lane.retry(account, now + wait, true);
                self.dirty.accounts.insert(account);
                self.touch();
            }
        }
        let outcome = answer.label();
        self.shown(partner).gate(change, outcome);
        if change == Change::Recovered
            && let Some(lane) = self.lanes.get_mut(&partner)
        {
            lane.catch_up(now, &mut self.rng);
        }
        self.schedule(partner);
    }

    fn retire(&mut self, account: AccountId, reason: Reason) {
        let again = Instant::now() + self.ground.config.window.get();
        let partner = account.partner();
        let Some(intent) = self.lane(partner).retire(account, again) else {
            return;
        };
        let is_back = self.lane(partner).intent(account).is_some();
        if intent.stored || is_back {
            self.dirty.accounts.insert(account);
        } else {
            // Neither in the store nor in memory: nothing is left to write.
            self.dirty.accounts.remove(&account);
        }
        self.touch();
        let age = self.clock.now().since(intent.since);
        Retired {
            partner,
            reason,
            age,
        }
        .emit(&self.ground.events);
    }

    /// The end: attempts under way get a moment, then everything is stored.
    async fn finish(mut self) -> Result<(), PushError> {
        let patience = Instant::now() + LAST_ATTEMPTS;
        while self.in_flight > 0 {
            let Ok(Some(done)) = timeout_at(patience, self.work.join_next()).await else {
                break;
            };
            self.apply(done.map_err(|_| PushError::Panicked)?)?;
        }
        loop {
            self.checkpoint();
            if !self.dirty.is_storing() {
                return Ok(());
            }
            while self.dirty.is_storing() {
                let Some(done) = self.work.join_next().await else {
                    return Ok(());
                };
                // A batch that comes now stays in the log.
                if let Done::Stored(_) | Done::Sent(..) =
                    &done.as_ref().map_err(|_| PushError::Panicked)?
                {
                    self.apply(done.map_err(|_| PushError::Panicked)?)?;
                }
            }
        }
    }

    pub(crate) fn lane(&mut self, partner: PartnerId) -> &mut Lane {
        let most = self.ground.config.concurrency;
        self.lanes
            .entry(partner)
            .or_insert_with(|| Lane::new(Gate::new(most, Instant::now())))
    }

    pub(crate) fn schedule(&mut self, partner: PartnerId) {
        let Some(lane) = self.lanes.get_mut(&partner) else {
            return;
        };
        let next = lane.next_at(Instant::now());
        let last = std::mem::replace(&mut lane.scheduled, next);
        let count = lane.len();
        if let Some(last) = last {
            self.agenda.remove(&(last, partner));
        }
        if let Some(next) = next {
            self.agenda.insert((next, partner));
        }
        self.shown(partner).held(count);
    }

    fn shown(&mut self, partner: PartnerId) -> &mut Shown {
        let events = &self.ground.events;
        self.shown
            .entry(partner)
            .or_insert_with(|| Shown::new(events.clone(), partner))
    }

    /// Makes sure that a checkpoint comes.
    pub(crate) fn touch(&mut self) {
        let at = Instant::now() + self.ground.config.checkpoint.get();
        self.dirty.since.get_or_insert(at);
    }

    fn timer(&self) -> Instant {
        // Nothing but the end of work helps while all places are taken or a commit is under way.
        let begin = self.agenda.first().map(|(at, _)| *at);
        let begin = begin.filter(|_| self.in_flight < self.ground.config.max_in_flight);
        let store = self.dirty.since.filter(|_| !self.dirty.is_storing());
        let next = [begin, store].into_iter().flatten().min();
        next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }
}

async fn read(tail: Tail, pause: bool) -> Done {
    let (tail, outcome) = consume::read(tail, pause).await;
    Done::Read(tail, outcome)
}

/// Wall-clock time that goes as evenly as the monotonic clock: a step of the machine's clock
/// neither ages nor delays what waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    base: Timestamp,
    started: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            base: Timestamp::now(),
            started: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.base.plus(self.started.elapsed())
    }

    pub(crate) fn wall(&self, at: Instant) -> Timestamp {
        self.base.plus(at.saturating_duration_since(self.started))
    }
}
