//! Shards that change hands: several routers over one input and one log of journals, told at random
//! what to own, killed and started, while users go on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use entente_core::{AccountId, SealKey, ShardId};
use entente_log::{Faults, Log, MemoryLog};
use entente_proto::edge::ToEdge;
use entente_router::Config;
use entente_shard::{Assignment, Stores};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::gateway::{Disks, Gateway, SHARDS};
use crate::odd_log::OddLog;
use crate::plug::Power;
use crate::simulation::checker::Checker;
use crate::simulation::client::Client;
use crate::simulation::{STEP, USERS, config, enlist, on_paused_clock};

const ROUTERS: usize = 3;
const STEPS: usize = 150;
const SEEDS: u64 = 60;
const DRAIN: usize = 4_000;

type Told = watch::Sender<Option<BTreeSet<ShardId>>>;

/// What routers share.
#[derive(Clone)]
struct Shared {
    disks: Disks,
    journals: Arc<dyn Log>,
}

/// One of the routers.
struct Node {
    gateway: Gateway,
    power: Power,
    told: Told,
}

fn everything() -> BTreeSet<ShardId> {
    (0..SHARDS).map(ShardId::new).collect()
}

impl Shared {
    fn new(input: Arc<dyn Log>, journals: MemoryLog) -> Self {
        Self {
            disks: Disks::over(input),
            journals: Arc::new(journals),
        }
    }

    /// A router that is told to own something, and does.
    async fn start(&self, config: Config, owned: BTreeSet<ShardId>) -> Node {
        let power = Power::default();
        let disks = power.plug(&self.disks);
        let (told, assigned) = watch::channel(Some(owned));
        let stores = Stores::Journals {
            log: power.log(&self.journals),
            key: SealKey::new(&[4; 32]),
            whole: true,
        };
        let deps = (Assignment::Told(assigned), stores, None);
        Node {
            gateway: Gateway::start_with(&disks, config, deps).await,
            power,
            told,
        }
    }
}

impl Node {
    fn tell(&self, owned: BTreeSet<ShardId>) {
        self.told.send_replace(Some(owned));
    }

    fn epoch_of(&self, shard: ShardId) -> Option<u64> {
        let owned = self.gateway.service.owned();
        let found = owned.into_iter().find(|(each, _)| *each == shard);
        found.map(|(_, epoch)| epoch.value())
    }
}

/// The owner serves until the next one's claim, and not longer; nothing that it took is lost.
#[tokio::test(start_paused = true)]
async fn a_shard_is_handed_over_while_it_is_served() {
    let shared = Shared::new(Arc::new(MemoryLog::new(SHARDS)), MemoryLog::new(SHARDS));
    let first = shared.start(Config::default(), everything()).await;
    let (anne, bert) = (
        first.gateway.user("anne").await,
        first.gateway.user("bert").await,
    );
    let mut sender = first.gateway.online(anne).await;
    sender.send(bert, &["1", "2"]).await;
    sender.handled().await;
    // Assigned to nobody: whoever has it goes on.
    first.tell(BTreeSet::new());
    sleep(Duration::from_secs(60)).await;
    sender.send(bert, &["3"]).await;
    sender.handled().await;
    let second = shared.start(Config::default(), everything()).await;
    assert!(sender.is_cut_off().await);
    let released = first.gateway.service.released();
    timeout(Duration::from_secs(1), released).await.unwrap();
    let mut receiver = second.gateway.online(bert).await;
    receiver.expect(&["1", "2", "3"]).await;
    // And back, by a third process that knows nothing.
    second.gateway.stop().await;
    first.tell(everything());
    let mut receiver = loop {
        if let Some(device) = first.gateway.try_connect(bert).await {
            break device;
        }
        sleep(STEP).await;
    };
    assert_eq!(receiver.bind().await, 3);
    first.gateway.stop().await;
}

/// Two who believe that a shard is theirs take turns, slowly; once one of them is told otherwise,
/// the other serves it in peace.
#[tokio::test(start_paused = true)]
async fn two_that_are_told_the_same_take_turns_until_they_are_told_better() {
    let shared = Shared::new(Arc::new(MemoryLog::new(SHARDS)), MemoryLog::new(SHARDS));
    let first = shared.start(Config::default(), everything()).await;
    let second = shared.start(Config::default(), everything()).await;
    let shard = ShardId::new(0);
    sleep(Duration::from_secs(10)).await;
    second.tell(BTreeSet::new());
    let turns = |node: &Node| node.epoch_of(shard).filter(|epoch| *epoch > 0);
    timeout(Duration::from_secs(10), async {
        while turns(&first).is_none() || second.epoch_of(shard).is_some() {
            sleep(STEP).await;
        }
    })
    .await
    .unwrap();
    let epoch = turns(&first).unwrap();
    // A turn takes two seconds: five in ten, and some for the beginning and the end.
    assert!((3..12).contains(&epoch), "{epoch}");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(turns(&first), Some(epoch));
    first.gateway.stop().await;
    second.gateway.stop().await;
}

/// An owner whose rows were taken by somebody who then dies serves on, and gives up in the end: what
/// is not stored would grow. It is told to own the shard, so it takes it again.
#[tokio::test(start_paused = true)]
async fn rows_that_were_taken_by_nobody_are_taken_back() {
    let shared = Shared::new(Arc::new(MemoryLog::new(SHARDS)), MemoryLog::new(SHARDS));
    let node = shared.start(Config::default(), everything()).await;
    let user = node.gateway.user("anne").await;
    let home = node.gateway.placement.of_account(user);
    let before = node.epoch_of(home).unwrap();
    let thief = Stores::Journals {
        log: Arc::clone(&shared.journals),
        key: SealKey::new(&[4; 32]),
        whole: true,
    };
    drop(thief.open(home).await.unwrap());
    let mut device = node.gateway.online(user).await;
    sleep(Duration::from_secs(20)).await;
    device.send(user, &["1"]).await;
    let served = device.next().await;
    assert!(!matches!(served, ToEdge::Closed { .. }), "{served:?}");
    sleep(Duration::from_secs(40)).await;
    let after = node.epoch_of(home).unwrap();
    assert_eq!(after, before + 1);
    let mut device = node.gateway.connect(user).await;
    assert_eq!(device.bind().await, 1);
    node.gateway.stop().await;
}

struct World {
    rng: StdRng,
    shared: Shared,
    nodes: Vec<Option<Node>>,
    users: Arc<Vec<AccountId>>,
    clients: Vec<Client>,
    checker: Checker,
    moves: usize,
}

impl World {
    async fn new(seed: u64) -> Self {
        let faults = Faults {
            seed,
            lose_report: 0.01,
            duplicate: 0.05,
            delay: 0.3,
            max_delay: Duration::from_millis(200),
            hole: 0.05,
            ..Faults::default()
        };
        // Not slow: an owner commits on a thread of its own, for which a paused clock stands still.
        let of_rows = Faults {
            seed: seed.wrapping_add(1),
            lose_report: 0.02,
            duplicate: 0.05,
            hole: 0.05,
            ..Faults::default()
        };
        let input = OddLog::new(MemoryLog::with_faults(SHARDS, faults));
        let journals = MemoryLog::with_faults(SHARDS, of_rows);
        let shared = Shared::new(input as Arc<dyn Log>, journals);
        let first = shared.start(config(), everything()).await;
        let users = enlist(&first.gateway).await;
        let mut nodes = vec![Some(first)];
        for _ in 1..ROUTERS {
            nodes.push(Some(shared.start(config(), BTreeSet::new()).await));
        }
        Self {
            rng: StdRng::seed_from_u64(seed),
            shared,
            nodes,
            clients: (0..USERS).map(|me| Client::new(me, &users)).collect(),
            users,
            checker: Checker::default(),
            moves: 0,
        }
    }

    /// Somebody assigns the shards to whoever lives, as a group does: not at the same moment for all.
    async fn assign(&mut self) {
        self.moves += 1;
        let mut parts = vec![BTreeSet::new(); ROUTERS];
        let alive: Vec<_> = (0..ROUTERS)
            .filter(|at| self.nodes[*at].is_some())
            .collect();
        for shard in everything() {
            let at = alive[self.rng.random_range(0..alive.len())];
            parts[at].insert(shard);
        }
        for at in alive {
            if self.rng.random_bool(0.3) {
                sleep(STEP.mul_f64(self.rng.random::<f64>() * 20.0)).await;
            }
            if let Some(node) = &self.nodes[at] {
                node.tell(parts[at].clone());
            }
        }
    }

    async fn kill(&mut self) {
        self.checker.kills += 1;
        let at = self.rng.random_range(0..ROUTERS);
        if let Some(node) = self.nodes[at].take() {
            node.gateway.kill(&node.power).await;
        }
        if self.nodes.iter().all(Option::is_none) || self.rng.random_bool(0.7) {
            let node = self.shared.start(config(), BTreeSet::new()).await;
            self.nodes[at] = Some(node);
        }
        self.assign().await;
    }

    async fn step(&mut self) {
        let me = self.rng.random_range(0..USERS);
        let client = &mut self.clients[me];
        match self.rng.random_range(0..100) {
            0..55 => {
                let to = (me + self.rng.random_range(1..USERS)) % USERS;
                for _ in 0..self.rng.random_range(1..4) {
                    client.send(to, false, &mut self.checker).await;
                }
            }
            55..85 => client.acknowledge(&mut self.checker).await,
            85..89 => client.detach().await,
            89..91 => client.cut(),
            91 => client.lose(),
            92..95 => self.kill().await,
            _ => self.assign().await,
        }
        self.rest(0.7).await;
    }

    async fn rest(&mut self, comes_back: f64) {
        for (client, account) in self.clients.iter_mut().zip(&*self.users) {
            client.step(&mut self.rng, &mut self.checker).await;
            if !client.is_down() || !self.rng.random_bool(comes_back) {
                continue;
            }
            // Sometimes to one that was the owner, sometimes to one that will be.
            let nodes = self.nodes.iter().flatten();
            let owns = |node: &&Node| {
                let home = node.gateway.placement.of_account(*account);
                node.epoch_of(home).is_some()
            };
            let owners: Vec<_> = nodes.filter(owns).collect();
            if owners.is_empty() {
                continue;
            }
            let owner = owners[self.rng.random_range(0..owners.len())];
            let (rng, checker) = (&mut self.rng, &mut self.checker);
            client.connect(&owner.gateway, rng, checker).await;
        }
        if self.rng.random_bool(0.8) {
            sleep(STEP.mul_f64(self.rng.random())).await;
        }
    }

    async fn drain(&mut self) {
        self.assign().await;
        for _ in 0..DRAIN {
            let quiet = self.clients.iter().all(Client::owes_nothing);
            if quiet && self.checker.missing().is_empty() {
                break;
            }
            for client in &mut self.clients {
                client.acknowledge(&mut self.checker).await;
            }
            self.rest(0.9).await;
        }
        self.checker.finish();
    }
}

async fn run(seed: u64) -> (Checker, usize) {
    let mut world = World::new(seed).await;
    for _ in 0..STEPS {
        world.step().await;
    }
    world.drain().await;
    for node in world.nodes.into_iter().flatten() {
        node.gateway.kill(&node.power).await;
    }
    (world.checker, world.moves)
}

/// R1, R2, R3, R4, R6, R10 over shards that move, owners that are killed, two that both believe that
/// they own, lost reports, repeated batches and holes.
#[test]
fn promises_hold_whoever_owns() {
    let (mut kills, mut moves, mut resumes, mut repeats) = (0, 0, 0, 0);
    let mut reattached = 0;
    for seed in 0..SEEDS {
        let (checker, moved) = on_paused_clock(seed, run(seed));
        kills += checker.kills;
        moves += moved;
        resumes += checker.resumes;
        repeats += checker.repeats;
        reattached += checker.reattached;
    }
    assert!(
        kills > 100 && moves > 300 && resumes > 20 && repeats > 20 && reattached > 300,
        "{kills} {moves} {resumes} {repeats} {reattached}"
    );
}
