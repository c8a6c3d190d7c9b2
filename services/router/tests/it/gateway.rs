//! One router over a log and stores that outlive it, and a connection node that speaks to it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entente_core::{
    AccountId, Class, Content, EnlistChange, Enlisted, Enlistment, Envelope, Epoch, Fault,
    PartnerId, Placement, Position, SealKey, SessionId, ShardId, SignedPrekey, Timestamp,
    VisibleId,
};
use entente_log::{Log, MemoryLog};
use entente_node::{Drain, Metrics, Readiness, Tasks};
use entente_proto::edge::{EdgeId, EdgeStream, ResumeKey, Router, ToEdge, ToRouter};
use entente_proto::{Directory, IntakeClient};
use entente_router::{Config, Deps, Service, Takes, build};
use entente_shard::{Assignment, MemoryStore, StateStore, Stores};
use tokio::time::timeout;

use crate::plug::Power;

pub(crate) const SHARDS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(20);

/// What survives a process: the log and the rows.
#[derive(Clone)]
pub(crate) struct Disks {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) wake: Arc<dyn Log>,
    pub(crate) stores: BTreeMap<ShardId, Arc<dyn StateStore>>,
}

impl Disks {
    pub(crate) fn new() -> Self {
        Self::over(Arc::new(MemoryLog::new(SHARDS)))
    }

    /// Fresh rows over a log.
    pub(crate) fn over(log: Arc<dyn Log>) -> Self {
        let stores = (0..SHARDS).map(|shard| {
            let store: Arc<dyn StateStore> = Arc::new(MemoryStore::default());
            (ShardId::new(shard), store)
        });
        Self {
            log,
            wake: Arc::new(MemoryLog::new(1)),
            stores: stores.collect(),
        }
    }
}

/// A running router.
pub(crate) struct Gateway {
    pub(crate) service: Arc<Service>,
    pub(crate) placement: Placement,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
}

impl Gateway {
    pub(crate) async fn start(disks: &Disks, config: Config) -> Self {
        Self::start_beside(disks, config, None).await
    }

    /// A router whose other shards are owned elsewhere.
    pub(crate) async fn start_beside(
        disks: &Disks,
        config: Config,
        far: Option<IntakeClient>,
    ) -> Self {
        let assignment = Assignment::Fixed(disks.stores.keys().copied().collect());
        let stores = Stores::Kept(disks.stores.clone());
        Self::start_with(disks, config, (assignment, stores, far)).await
    }

    /// A router that owns what it is told, with rows from wherever they are.
    pub(crate) async fn start_with(
        disks: &Disks,
        config: Config,
        owning: (Assignment, Stores, Option<IntakeClient>),
    ) -> Self {
        let readiness = Readiness::new(Drain::new());
        let takes = Takes::Condition(readiness.condition("log"));
        Self::start_told(disks, config, owning, (readiness, takes)).await
    }

    /// A router whose readiness depends on the log as it is told.
    pub(crate) async fn start_told(
        disks: &Disks,
        config: Config,
        (assignment, stores, far): (Assignment, Stores, Option<IntakeClient>),
        (readiness, takes): (Readiness, Takes),
    ) -> Self {
        let drain = Drain::new();
        let metrics = Metrics::new();
        let tasks = Tasks::new(drain);
        let placement = Placement::new(SHARDS, &[3; 16]);
        let deps = Deps {
            log: Arc::clone(&disks.log),
            wake: Arc::clone(&disks.wake),
            assignment,
            stores,
            far,
            placement: placement.clone(),
            seal: SealKey::new(&[4; 32]),
            tasks: tasks.clone(),
            metrics: metrics.clone(),
            tracer: entente_trace::Tracer::off(),
            ready: readiness.condition("router"),
            takes,
        };
        let service = build(config, deps).unwrap().service;
        timeout(PATIENCE, readiness.hold())
            .await
            .expect("every shard is owned");
        Self {
            service,
            placement,
            tasks,
            metrics,
            readiness,
        }
    }

    /// The value of a series, if it is shown.
    pub(crate) fn metric(&self, series: &str) -> Option<u64> {
        let text = self.metrics.encode().unwrap();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(|value| value.parse().unwrap())
    }

    /// Ends the router in order: state is stored.
    pub(crate) async fn stop(self) {
        self.tasks.finish(PATIENCE).await.expect("every task ends");
    }

    pub(crate) async fn enlist(&self, name: &str, identity: u8) -> Enlisted {
        self.try_enlist(name, identity).await.unwrap()
    }

    pub(crate) async fn try_enlist(&self, name: &str, identity: u8) -> Result<Enlisted, Fault> {
        let enlistment = Enlistment {
            partner: PartnerId::new(7).unwrap(),
            visible: VisibleId::new(name).unwrap(),
            transport: [identity; 32],
            registration: 1,
            identity: [identity; 32],
            signed: SignedPrekey {
                id: 1,
                key: [1; 32],
                signature: Bytes::from_static(&[0; 64]),
            },
        };
        self.service.enlist(enlistment).await
    }

    pub(crate) async fn user(&self, name: &str) -> AccountId {
        let enlisted = self.enlist(name, 1).await;
        assert_ne!(enlisted.change, EnlistChange::Replaced);
        enlisted.account
    }

    /// Ends the process as a SIGKILL does: nothing of it reaches the disks any more.
    pub(crate) async fn kill(self, power: &Power) {
        power.cut();
        drop(self.service);
        // A paused clock may jump over the patience while a thread of the log still works. Whoever is
        // stuck is late every time.
        for _ in 0..3 {
            if self.tasks.finish(PATIENCE).await.is_ok() {
                return;
            }
            let moment = || (0..1_000).for_each(|_| std::thread::yield_now());
            tokio::task::spawn_blocking(moment).await.unwrap();
        }
        panic!("{:?} did not end", self.tasks.alive());
    }

    pub(crate) async fn connect(&self, account: AccountId) -> Device {
        self.connect_as(account, account).await
    }

    /// A connection to the owner of one account's shard, for another account's device.
    pub(crate) async fn connect_as(&self, home: AccountId, account: AccountId) -> Device {
        self.attached(home, account).await.unwrap()
    }

    /// A connection, if the shard has an owner before long.
    pub(crate) async fn try_connect(&self, account: AccountId) -> Option<Device> {
        let attached = timeout(Duration::from_secs(1), self.attached(account, account));
        attached.await.ok()?.ok()
    }

    async fn attached(&self, home: AccountId, account: AccountId) -> Result<Device, Fault> {
        let edge = EdgeId(u64::from_ne_bytes(entente_core::random_array()));
        self.attached_as(edge, home, account).await
    }

    /// Another stream of a connection node that had one.
    pub(crate) async fn try_attach(&self, edge: EdgeId, account: AccountId) -> Option<Device> {
        let attached = self.attached_as(edge, account, account);
        timeout(Duration::from_secs(1), attached).await.ok()?.ok()
    }

    async fn attached_as(
        &self,
        edge: EdgeId,
        home: AccountId,
        account: AccountId,
    ) -> Result<Device, Fault> {
        let shard = self.placement.of_account(home);
        let stream = self.service.attach(edge, shard).await?;
        let session = SessionId::new(u64::from_ne_bytes(entente_core::random_array()));
        Ok(Device {
            edge,
            account,
            session,
            epoch: Epoch::default(),
            position: Position::default(),
            stream,
            items: VecDeque::new(),
        })
    }

    /// A device that is bound, has stream management, and takes its backlog.
    pub(crate) async fn online(&self, account: AccountId) -> Device {
        let mut device = self.connect(account).await;
        let waiting = device.bind().await;
        device.manage().await;
        device.start().await;
        let _ = waiting;
        device
    }
}

/// A device with its connection node.
pub(crate) struct Device {
    pub(crate) edge: EdgeId,
    pub(crate) account: AccountId,
    pub(crate) session: SessionId,
    pub(crate) epoch: Epoch,
    pub(crate) position: Position,
    stream: EdgeStream,
    items: VecDeque<ToEdge>,
}

pub(crate) const KEY: [u8; 16] = [5; 16];

impl Device {
    /// Whether the owner gave the stream up.
    pub(crate) async fn is_cut_off(&mut self) -> bool {
        let cut = async { while self.stream.to_edge.recv().await.is_some() {} };
        timeout(PATIENCE, cut).await.is_ok()
    }

    /// Every item that comes within a moment of the paused clock.
    pub(crate) async fn drain(&mut self) -> Vec<ToEdge> {
        let mut all: Vec<_> = self.items.drain(..).collect();
        let moment = Duration::from_secs(2);
        while let Ok(Some(batch)) = timeout(moment, self.stream.to_edge.recv()).await {
            all.extend(batch);
        }
        all
    }

    pub(crate) fn typing(&mut self, to: AccountId, text: &str) -> ToRouter {
        let mut item = self.message(to, "");
        if let ToRouter::Submit { envelope, .. } = &mut item {
            let envelope = Arc::make_mut(envelope);
            envelope.class = Class::Ephemeral;
            envelope.payload = Bytes::copy_from_slice(text.as_bytes());
        }
        item
    }

    /// What is there already, and whether the stream is open.
    pub(crate) fn ready(&mut self) -> (Vec<ToEdge>, bool) {
        use tokio::sync::mpsc::error::TryRecvError;
        let mut all: Vec<_> = self.items.drain(..).collect();
        loop {
            match self.stream.to_edge.try_recv() {
                Ok(batch) => all.extend(batch),
                Err(TryRecvError::Empty) => return (all, true),
                Err(TryRecvError::Disconnected) => return (all, false),
            }
        }
    }

    pub(crate) async fn try_tell(&self, items: Vec<ToRouter>) -> bool {
        self.stream.to_router.send(items).await.is_ok()
    }

    pub(crate) async fn tell(&self, items: Vec<ToRouter>) {
        self.stream.to_router.send(items).await.unwrap();
    }

    /// The next item for this device, whatever it is.
    pub(crate) async fn next(&mut self) -> ToEdge {
        while self.items.is_empty() {
            let batch = timeout(PATIENCE, self.stream.to_edge.recv()).await;
            self.items
                .extend(batch.expect("an item in time").expect("the stream is open"));
        }
        self.items.pop_front().unwrap()
    }

    /// Whether nothing comes for a moment of the paused clock.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        self.items.is_empty()
            && timeout(Duration::from_secs(2), self.stream.to_edge.recv())
                .await
                .is_err()
    }

    pub(crate) async fn bind(&mut self) -> u32 {
        let (session, account) = (self.session, self.account);
        self.tell(vec![ToRouter::Bind { session, account }]).await;
        let ToEdge::Bound { epoch, waiting, .. } = self.next().await else {
            panic!("not bound")
        };
        self.epoch = epoch;
        waiting
    }

    pub(crate) async fn manage(&mut self) {
        let (session, inbound) = (self.session, self.position);
        let resume = Some(ResumeKey(KEY));
        self.tell(vec![ToRouter::Enable {
            session,
            inbound,
            resume,
        }])
        .await;
        let ToEdge::Enabled { .. } = self.next().await else {
            panic!("not enabled")
        };
    }

    pub(crate) async fn start(&self) {
        let session = self.session;
        let credit = ToRouter::Credit {
            session,
            bytes: 1 << 20,
        };
        self.tell(vec![credit, ToRouter::Start { session }]).await;
    }

    pub(crate) fn message(&mut self, to: AccountId, id: &str) -> ToRouter {
        self.position = self.position.next();
        let now = Timestamp::now();
        let envelope = Envelope {
            from: self.account,
            from_device: 1,
            to,
            epoch: self.epoch,
            position: self.position,
            class: Class::Durable,
            id: Bytes::copy_from_slice(id.as_bytes()),
            wants_receipt: true,
            trace: None,
            admitted: now,
            expires: now.plus(Duration::from_secs(3600)),
            payload: Bytes::from(format!("<message id='{id}'/>")),
        };
        ToRouter::Submit {
            session: self.session,
            envelope: Arc::new(envelope),
        }
    }

    /// A message that no log takes.
    pub(crate) fn long_message(&mut self, to: AccountId, id: &str) -> ToRouter {
        static LONG: [u8; 513 * 1024] = [b' '; 513 * 1024];
        let mut item = self.message(to, id);
        if let ToRouter::Submit { envelope, .. } = &mut item {
            Arc::make_mut(envelope).payload = Bytes::from_static(&LONG);
        }
        item
    }

    pub(crate) async fn send(&mut self, to: AccountId, ids: &[&str]) {
        let items = ids.iter().map(|id| self.message(to, id)).collect();
        self.tell(items).await;
    }

    /// Waits until everything sent so far is handled.
    pub(crate) async fn handled(&mut self) {
        loop {
            match self.next().await {
                ToEdge::Handled { through, .. } if through >= self.position => return,
                ToEdge::Handled { .. } => {}
                other => panic!("{other:?} instead of handled"),
            }
        }
    }

    /// The next stanza of a user, and where it stands.
    pub(crate) async fn stanza(&mut self) -> (String, Position) {
        match self.next().await {
            ToEdge::Deliver {
                content: Content::Stanza(payload),
                position,
                ..
            } => (String::from_utf8(payload.to_vec()).unwrap(), position),
            other => panic!("{other:?} instead of a stanza"),
        }
    }

    pub(crate) async fn expect(&mut self, ids: &[&str]) -> Position {
        let mut last = Position::default();
        for id in ids {
            let (stanza, position) = self.stanza().await;
            assert_eq!(stanza, format!("<message id='{id}'/>"));
            last = position;
        }
        last
    }

    pub(crate) async fn acknowledge(&self, through: Position) {
        self.tell(vec![ToRouter::Acked {
            session: self.session,
            through,
        }])
        .await;
    }

    /// The ids of the next delivered receipt.
    pub(crate) async fn receipt(&mut self) -> Vec<Bytes> {
        match self.next().await {
            ToEdge::Deliver {
                content: Content::Delivered(delivered),
                ..
            } => delivered.ids,
            other => panic!("{other:?} instead of a receipt"),
        }
    }

    pub(crate) async fn resume(&mut self, h: u32) -> ToEdge {
        let (session, account, resume) = (self.session, self.account, ResumeKey(KEY));
        self.tell(vec![ToRouter::Resume {
            session,
            account,
            resume,
            h,
        }])
        .await;
        let answer = self.next().await;
        if let ToEdge::Resumed { epoch, handled, .. } = &answer {
            (self.epoch, self.position) = (*epoch, *handled);
        }
        answer
    }
}
