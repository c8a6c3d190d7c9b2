//! The public keys of partners: fetched, kept, and refused when they are too old.
//!
//! In: the registry's records. Out: the one key for (record, key id, algorithm). One task per
//! partner fetches, on an interval and when somebody asks for a key that is not there; requests only
//! wait for it, so a client that goes away neither stops a fetch nor uses up a cool-down.
//!
//! **Invariants**
//! - Keys of one record are never looked at for another: the cache is keyed by the partner's number
//!   and dropped when its issuer or address changes (T51).
//! - At most one fetch per partner is under way, and one starts per cool-down (T53).
//! - A failed fetch leaves the keys as they are until [`JwksSettings::stale_limit`]; then nothing is
//!   answered (T54).
//! - Those who wait and the ids known to be missing are bounded per partner.

mod set;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use entente_core::{PartnerId, random_array};
use entente_egress::{EgressError, HeaderValue, Http, Request, StatusCode};
use http::header;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::config::JwksSettings;
use crate::events::{Events, KeysFetched};
use crate::partners::{Algorithm, Kid, Partner, Registry, State};

use set::SetError;
pub(crate) use set::{KeySet, PublicKey};

/// Longest key set, in bytes: 64 RSA keys of 4096 bits fit.
const MAX_SET_BYTES: usize = 64 * 1024;

/// Logins of one partner that may wait for a fetch; more are told to come back.
const MAX_WAITERS: usize = 256;

/// Key ids of one partner that are remembered as missing.
const MAX_MISSING: usize = 1024;

/// How long a key id that a fetch did not bring is refused without another fetch.
const MISSING_FOR: Duration = Duration::from_secs(30);

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    /// The keys are too old or were never there, or it cannot be told in time.
    #[error("keys of the partner are not available")]
    Unavailable,
    /// The partner does not publish it.
    #[error("the partner publishes no such key")]
    Unknown,
}

/// The keys of all partners.
pub struct Jwks {
    registry: Arc<Registry>,
    http: Arc<dyn Http>,
    settings: JwksSettings,
    events: Events,
    issuers: ArcSwap<Issuers>,
}

type Issuers = BTreeMap<PartnerId, Arc<Issuer>>;

/// The task of each partner, and what it fetches for.
type Fetching = BTreeMap<PartnerId, (Arc<Issuer>, AbortHandle)>;

/// The keys of one record.
struct Issuer {
    record: Arc<Partner>,
    held: ArcSwap<Held>,
    /// Asks the task for a fetch.
    wanted: Notify,
    fetches: watch::Sender<Fetches>,
    waiters: Semaphore,
    missing: Mutex<BTreeMap<Kid, Instant>>,
}

#[derive(Default)]
struct Held {
    keys: KeySet,
    fetched: Option<Instant>,
}

/// How many fetches were started and ended, and whether the last one brought keys.
#[derive(Clone, Copy, Default)]
struct Fetches {
    started: u64,
    ended: u64,
    good: bool,
}

impl Jwks {
    /// Keys of the registry's partners; nothing is fetched before [`Jwks::run`].
    pub(crate) fn new(
        registry: Arc<Registry>,
        http: Arc<dyn Http>,
        settings: JwksSettings,
        events: Events,
    ) -> Arc<Self> {
        let issuers = issuers(&Issuers::default(), &registry);
        Arc::new(Self {
            registry,
            http,
            settings,
            events,
            issuers: ArcSwap::from_pointee(issuers),
        })
    }

    /// Keeps the keys of all partners fresh; never ends. Dropping the future stops all fetches.
    pub async fn run(self: Arc<Self>) {
        let mut changes = self.registry.changes();
        let mut tasks = JoinSet::new();
        let mut fetching = Fetching::new();
        loop {
            changes.mark_unchanged();
            self.reconcile(&mut tasks, &mut fetching);
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                // Aborted tasks are reaped, so that the set holds one per partner.
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    /// Finds the key; waits for one fetch if it is not there.
    ///
    /// # Errors
    /// [`KeyError`]. Dropping the future stops nothing but the wait.
    pub(crate) async fn find(
        &self,
        partner: &Partner,
        kid: &Kid,
        algorithm: Algorithm,
    ) -> Result<Arc<PublicKey>, KeyError> {
        let issuers = self.issuers.load();
        let issuer = issuers
            .get(&partner.number)
            .filter(|issuer| is_same_source(&issuer.record, partner))
            .ok_or(KeyError::Unavailable)?;
        if let Some(found) = self.held(issuer, kid, algorithm) {
            return found;
        }
        let issuer = Arc::clone(issuer);
        drop(issuers);
        let _place = issuer
            .waiters
            .try_acquire()
            .map_err(|_| KeyError::Unavailable)?;
        let mut fetches = issuer.fetches.subscribe();
        // One that is under way may have been answered before the key was published.
        let enough = fetches.borrow_and_update().started + 1;
        issuer.wanted.notify_one();
        let patience = Instant::now() + self.settings.patience.get();
        loop {
            let changed = timeout_at(patience, fetches.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return Err(KeyError::Unavailable);
            }
            let now = *fetches.borrow_and_update();
            if let Some(key) = self.fresh(&issuer, kid, algorithm) {
                return Ok(key);
            }
            if now.ended >= enough {
                if now.good {
                    issuer.remember_missing(kid);
                    return Err(KeyError::Unknown);
                }
                return Err(KeyError::Unavailable);
            }
        }
    }

    /// What is known without waiting: the key, or that it is missing.
    fn held(
        &self,
        issuer: &Issuer,
        kid: &Kid,
        algorithm: Algorithm,
    ) -> Option<Result<Arc<PublicKey>, KeyError>> {
        if let Some(key) = self.fresh(issuer, kid, algorithm) {
            return Some(Ok(key));
        }
        let missing = issuer.missing.lock();
        let since = missing.get(kid)?;
        (since.elapsed() < MISSING_FOR).then_some(Err(KeyError::Unknown))
    }

    fn fresh(&self, issuer: &Issuer, kid: &Kid, algorithm: Algorithm) -> Option<Arc<PublicKey>> {
        let held = issuer.held.load();
        let age = held.fetched?.elapsed();
        if age > self.settings.stale_limit.get() {
            return None;
        }
        held.keys.find(kid, algorithm)
    }

    /// Starts and stops fetching so that each partner of the registry has one task.
    fn reconcile(self: &Arc<Self>, tasks: &mut JoinSet<()>, fetching: &mut Fetching) {
        let issuers = issuers(&self.issuers.load(), &self.registry);
        fetching.retain(|number, (issuer, task)| {
            let wanted = issuers.get(number);
            let same = wanted.is_some_and(|now| Arc::ptr_eq(now, issuer));
            if !same {
                task.abort();
            }
            // A task that ended by panic is started again.
            same && !task.is_finished()
        });
        for (number, issuer) in &issuers {
            fetching.entry(*number).or_insert_with(|| {
                let work = Arc::clone(self).keep_fresh(Arc::clone(issuer));
                (Arc::clone(issuer), tasks.spawn(work))
            });
        }
        self.issuers.store(Arc::new(issuers));
    }

    async fn keep_fresh(self: Arc<Self>, issuer: Arc<Issuer>) {
        if issuer.fetches.borrow().started > 0 {
            // Started again: an answer that makes it panic may cost one fetch per cool-down, too.
            sleep_until(Instant::now() + self.settings.cool_down.get()).await;
        }
        loop {
            let started = Instant::now();
            issuer.fetches.send_modify(|fetches| fetches.started += 1);
            let outcome = self.fetch(&issuer.record).await;
            let good = outcome.is_ok();
            KeysFetched {
                partner: issuer.record.number,
                outcome: outcome
                    .as_ref()
                    .map(KeySet::refused)
                    .map_err(|error| error.label()),
            }
            .emit(&self.events);
            if let Ok(keys) = outcome {
                let fetched = Some(Instant::now());
                issuer.held.store(Arc::new(Held { keys, fetched }));
            }
            issuer.fetches.send_modify(|fetches| {
                fetches.ended = fetches.started;
                fetches.good = good;
            });
            let cool_down = self.settings.cool_down.get();
            let pause = if good {
                jittered(self.settings.interval.get())
            } else {
                jittered(cool_down * 2)
            };
            sleep_until(started + cool_down).await;
            tokio::select! {
                () = sleep_until(started + pause) => {}
                () = issuer.wanted.notified() => {}
            }
        }
    }

    async fn fetch(&self, record: &Partner) -> Result<KeySet, FetchError> {
        let request = Request::get(record.jwks.clone())
            .header(header::ACCEPT, ACCEPTED)
            .deadline(self.settings.deadline.get())
            .max_body(MAX_SET_BYTES);
        let response = self.http.send(request).await?;
        if response.status != StatusCode::OK {
            return Err(FetchError::Status);
        }
        let typed = response.content_type.as_deref();
        if !matches!(typed, Some("application/json" | "application/jwk-set+json")) {
            return Err(FetchError::ContentType);
        }
        Ok(KeySet::parse(&response.body)?)
    }
}

impl std::fmt::Debug for Jwks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwks")
            .field("issuers", &self.issuers.load().len())
            .finish_non_exhaustive()
    }
}

impl Issuer {
    fn new(record: Arc<Partner>) -> Self {
        Self {
            record,
            held: ArcSwap::default(),
            wanted: Notify::new(),
            fetches: watch::Sender::default(),
            waiters: Semaphore::new(MAX_WAITERS),
            missing: Mutex::default(),
        }
    }

    fn remember_missing(&self, kid: &Kid) {
        let mut missing = self.missing.lock();
        if missing.len() >= MAX_MISSING {
            missing.retain(|_, since| since.elapsed() < MISSING_FOR);
        }
        // Full of fresh ones: this id waits for a fetch again next time, which is bounded too.
        if missing.len() < MAX_MISSING {
            missing.insert(kid.clone(), Instant::now());
        }
    }
}

/// Why a fetch brought no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum FetchError {
    #[error("the answer is not JSON by its type")]
    ContentType,
    #[error(transparent)]
    Egress(#[from] EgressError),
    #[error(transparent)]
    Set(#[from] SetError),
    #[error("the answer is not 200")]
    Status,
}

impl FetchError {
    const fn label(self) -> &'static str {
        match self {
            Self::ContentType => "content_type",
            Self::Egress(error) => error.label(),
            Self::Set(error) => error.label(),
            Self::Status => "status",
        }
    }
}

/// One entry for each partner whose keys are wanted; what was fetched from the same source is kept.
fn issuers(before: &Issuers, registry: &Registry) -> Issuers {
    let mut after = Issuers::new();
    for record in registry.all() {
        if !matches!(record.state, State::Active | State::Onboarding) {
            continue;
        }
        let number = record.number;
        let kept = before.get(&number);
        let issuer = match kept.filter(|kept| is_same_source(&kept.record, &record)) {
            Some(kept) => Arc::clone(kept),
            None => Arc::new(Issuer::new(record)),
        };
        after.insert(number, issuer);
    }
    after
}

/// Whether keys fetched for one record may serve the other.
fn is_same_source(one: &Partner, other: &Partner) -> bool {
    one.issuer == other.issuer && one.jwks == other.jwks
}

/// Up to a tenth later, so that partners and nodes do not fall into step.
fn jittered(span: Duration) -> Duration {
    let random = u32::from(u16::from_be_bytes(random_array()));
    span + span / 10 * random / u32::from(u16::MAX)
}

const ACCEPTED: HeaderValue = HeaderValue::from_static("application/json");

#[cfg(test)]
mod tests;
