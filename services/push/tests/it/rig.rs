//! A push service with everything around it, and a hand on each part.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use entente_core::{
    AccountFacts, AccountId, Bundle, Counter, Enlisted, Enlistment, Fault, FaultKind, PartnerId,
    PrekeyCount, PrekeyUpload, SealKey, ShardId, Span, Timestamp, TraceContext, VisibleId,
};
use entente_egress::{Base, Client, Http, Policy, Settings};
use entente_log::{Log, MemoryLog};
use entente_node::{Drain, Metrics, Tasks};
use entente_proto::DirectoryClient;
use entente_proto::directory::{BlockChange, Directory};
use entente_push::{Config, Deps, Endpoint, Endpoints, SigningKey, build};
use entente_shard::{Assignment, MemoryStore, StateStore, Stores, WakeUp};
use entente_trace::{Spans, Tracer};
use parking_lot::Mutex;

pub(crate) const ISSUER: &str = "https://gateway.test";
/// Of the wake-up log.
pub(crate) const PARTITIONS: usize = 2;
/// Longest that a test waits for a level.
const PATIENCE: Duration = Duration::from_secs(20);

/// What outlives a push service, as disks and partners do.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) log: Arc<MemoryLog>,
    /// By partition.
    pub(crate) stores: [Arc<MemoryStore>; PARTITIONS],
    pub(crate) partners: Arc<Partners>,
    pub(crate) config: Config,
    pub(crate) seal: SealKey,
}

/// One life of the service.
pub(crate) struct Life {
    pub(crate) tasks: Tasks,
    pub(crate) metrics: Metrics,
    /// Spans that have ended.
    pub(crate) spans: Spans,
}

impl World {
    pub(crate) fn new() -> Self {
        // Follows the tokio clock, also while that is paused.
        let (base, started) = (Timestamp::now(), tokio::time::Instant::now());
        let config = Config {
            issuer: ISSUER.to_owned(),
            deadline: Span::secs(1),
            first_retry: Span::secs(1),
            checkpoint: Span::new(Duration::from_millis(10)),
            ..Config::default()
        };
        Self {
            log: Arc::new(MemoryLog::new(2).clock(move || base.plus(started.elapsed()))),
            stores: Default::default(),
            partners: Arc::default(),
            config,
            seal: SealKey::new(&[7; 32]),
        }
    }

    /// Starts the service over real sockets.
    pub(crate) fn start(&self) -> Life {
        let client = Client::new(&Settings::development()).unwrap();
        self.start_over(Arc::new(client))
    }

    pub(crate) fn start_over(&self, http: Arc<dyn Http>) -> Life {
        let stores = self.stores.iter().map(|store| Arc::clone(store) as _);
        let stores: BTreeMap<_, _> = (0..).map(ShardId::new).zip(stores).collect();
        let assignment = Assignment::Fixed(stores.keys().copied().collect());
        self.start_with(http, assignment, Stores::Kept(stores))
    }

    /// One of several services, of which one works on a partition at a time, with rows in a journal.
    pub(crate) fn start_among(&self, assignment: Assignment, journal: &Arc<MemoryLog>) -> Life {
        let client = Client::new(&Settings::development()).unwrap();
        let stores = Stores::Journals {
            log: Arc::clone(journal) as Arc<dyn Log>,
            key: self.seal.clone(),
            whole: false,
        };
        self.start_with(Arc::new(client), assignment, stores)
    }

    fn start_with(&self, http: Arc<dyn Http>, assignment: Assignment, stores: Stores) -> Life {
        let metrics = Metrics::new();
        let (tracer, spans, _) =
            Tracer::new(&entente_trace::Settings::default(), &metrics).unwrap();
        let life = Life {
            tasks: Tasks::new(Drain::new()),
            metrics,
            spans,
        };
        let deps = Deps {
            log: Arc::clone(&self.log) as Arc<dyn Log>,
            assignment,
            stores,
            seal: self.seal.clone(),
            directory: DirectoryClient::local(Arc::new(Users)),
            endpoints: Arc::clone(&self.partners) as Arc<dyn Endpoints>,
            http,
            key: key(),
            tasks: life.tasks.clone(),
            metrics: life.metrics.clone(),
            tracer,
        };
        let built = build(self.config.clone(), deps).unwrap();
        assert_eq!(built.jwks, key().jwks());
        life
    }

    /// Appends the wake-up of an account, as the owner of shard 0 or 1 does.
    pub(crate) async fn wake(&self, account: AccountId, counter: u64) {
        self.wake_for(account, counter, None).await;
    }

    /// The same, for a message that may be sampled.
    pub(crate) async fn wake_for(
        &self,
        account: AccountId,
        counter: u64,
        trace: Option<TraceContext>,
    ) {
        let source = ShardId::new(u32::try_from(account.number() % 2).unwrap());
        let wake = WakeUp {
            source,
            counter: Counter::new(counter),
            account,
            trace,
        };
        let record = wake.record(&self.seal);
        let append = self.log.append(source.index(), vec![record]);
        append.await.unwrap();
    }

    /// Waits until a checkpoint has covered the whole log.
    pub(crate) async fn covered(&self) {
        let is_covered = || (0..2).all(|each| self.log.floor(each) == self.log.end(each));
        until("the floor reaches the end", is_covered).await;
    }

    /// Wake-ups in rows.
    pub(crate) fn rows(&self) -> usize {
        let mut rows = 0;
        let count = &mut |_: &[u8], _| {
            rows += 1;
            true
        };
        for store in &self.stores {
            store.scan(b"i", None, count).unwrap();
        }
        rows
    }
}

impl Life {
    /// Ends the service as the process does.
    pub(crate) async fn finish(self) {
        self.tasks.finish(PATIENCE).await.unwrap();
        assert!(!self.tasks.failed());
    }

    pub(crate) fn shows(&self, line: &str) -> bool {
        self.metrics.encode().unwrap().contains(line)
    }

    pub(crate) async fn until_shows(&self, line: &str) {
        until(line, || self.shows(line)).await;
    }
}

pub(crate) fn account(partner: u16, number: u64) -> AccountId {
    AccountId::new(PartnerId::new(partner).unwrap(), number)
}

/// The one key of all tests: drawing one takes a while.
pub(crate) fn key() -> SigningKey {
    static PEM: OnceLock<String> = OnceLock::new();
    let pem = PEM.get_or_init(|| SigningKey::generate().unwrap().1.expose().clone());
    SigningKey::parse(pem.as_bytes()).unwrap()
}

/// Waits for a level, looking every few milliseconds.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "not so: {what}");
        looks.tick().await;
    }
}

/// The partners' endpoints, to be changed at will.
#[derive(Debug, Default)]
pub(crate) struct Partners(Mutex<BTreeMap<PartnerId, Endpoint>>);

impl Partners {
    pub(crate) fn set(&self, partner: u16, base: &str, active: bool) {
        let base = Base::parse(base, &Policy::development()).unwrap();
        let partner = PartnerId::new(partner).unwrap();
        self.0.lock().insert(partner, Endpoint { base, active });
    }
}

impl Endpoints for Partners {
    fn endpoint(&self, partner: PartnerId) -> Option<Endpoint> {
        self.0.lock().get(&partner).cloned()
    }
}

/// A directory in which everybody below number 1,000,000 is enlisted.
#[derive(Debug)]
struct Users;

const NOT_HERE: Fault = Fault::new(FaultKind::NotFound, "push asks for accounts only");

#[async_trait]
impl Directory for Users {
    async fn account(&self, account: AccountId) -> Result<Option<AccountFacts>, Fault> {
        let facts = AccountFacts {
            account,
            visible: VisibleId::new(&format!("user\"{}@a.test", account.number())).unwrap(),
            identity: [0; 32],
            transport: [0; 32],
            generation: 1,
            enlisted: Timestamp::default(),
        };
        Ok((account.number() < 1_000_000).then_some(facts))
    }

    async fn blocked(&self, _: AccountId) -> Result<Vec<AccountId>, Fault> {
        Err(NOT_HERE)
    }

    async fn change_blocked(&self, _: AccountId, _: BlockChange) -> Result<(), Fault> {
        Err(NOT_HERE)
    }

    async fn enlist(&self, _: Enlistment) -> Result<Enlisted, Fault> {
        Err(NOT_HERE)
    }

    async fn lookup(&self, _: PartnerId, _: &VisibleId) -> Result<Option<AccountId>, Fault> {
        Err(NOT_HERE)
    }

    async fn prekey_count(&self, _: AccountId) -> Result<PrekeyCount, Fault> {
        Err(NOT_HERE)
    }

    async fn take_bundle(&self, _: AccountId) -> Result<Bundle, Fault> {
        Err(NOT_HERE)
    }

    async fn unenlist(&self, _: AccountId) -> Result<(), Fault> {
        Err(NOT_HERE)
    }

    async fn upload(&self, _: AccountId, _: PrekeyUpload) -> Result<PrekeyCount, Fault> {
        Err(NOT_HERE)
    }
}
