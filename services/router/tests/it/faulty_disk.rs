//! The simulation over segment files, on a disk that fills up, tears writes, fails syncs and loses
//! power: the promises hold, what has failed is not used again, and each restart recovers.
//!
//! The clock is paused; while the writer of the log works it stands still. A failing seed is printed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use entente_core::{ByteSize, Offset};
use entente_log::segment::sim::SimDisk;
use entente_log::{Append, Health, Log, LogError, Record, SegmentConfig, SegmentLog};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::gateway::{Disks, Gateway, SHARDS};
use crate::plug::Power;
use crate::simulation::checker::Checker;
use crate::simulation::client::Client;
use crate::simulation::{STEP, USERS, config, enlist, on_paused_clock};

const STEPS: usize = 150;
const SEEDS: u64 = 120;
/// Steps in which everything must arrive once nobody sends any more.
const DRAIN: usize = 4_000;
const FULL: &str = "the disk of the log is full";

/// A segment log under the paused clock.
#[derive(Debug)]
struct Timely(Arc<SegmentLog>);

#[async_trait]
impl Log for Timely {
    fn partitions(&self) -> u32 {
        self.0.partitions()
    }

    fn append(&self, partition: u32, batch: Vec<Bytes>) -> Append {
        let append = self.0.append(partition, batch);
        // A paused clock does not jump while a blocking task runs.
        Box::pin(async move {
            let outcome = spawn_blocking(|| futures::executor::block_on(append));
            outcome.await.unwrap()
        })
    }

    async fn read(
        &self,
        partition: u32,
        from: Offset,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.0.read(partition, from, max_bytes).await
    }

    async fn readable(&self, partition: u32, from: Offset) -> Result<(), LogError> {
        self.0.readable(partition, from).await
    }

    fn end(&self, partition: u32) -> Offset {
        self.0.end(partition)
    }

    fn floor(&self, partition: u32) -> Offset {
        self.0.floor(partition)
    }

    async fn raise_floor(&self, partition: u32, floor: Offset) -> Result<(), LogError> {
        let log = Arc::clone(&self.0);
        let raise = move || futures::executor::block_on(log.raise_floor(partition, floor));
        spawn_blocking(raise).await.unwrap()
    }

    fn health(&self) -> Health {
        self.0.health()
    }
}

/// What a run came to, beside its history.
#[derive(Default)]
struct Tally {
    /// Processes that ended by themselves since their log had failed.
    deaths: usize,
    /// Those of them that a failed sync ended.
    syncs: usize,
    /// Times that the machine lost its power.
    outages: usize,
    /// Times that the disk was full.
    fills: usize,
    /// Bytes that recovery cut off.
    torn: u64,
}

struct World {
    rng: StdRng,
    faults: bool,
    disk: SimDisk,
    log: Arc<SegmentLog>,
    disks: Disks,
    power: Power,
    gateway: Option<Gateway>,
    clients: Vec<Client>,
    checker: Checker,
    tally: Tally,
}

fn open(disk: &SimDisk) -> (Arc<SegmentLog>, u64) {
    let config = SegmentConfig {
        segment_bytes: ByteSize::kib(24),
        probe: Duration::from_millis(1),
        // A plan for the next write or sync is meant for the log's own.
        write_ahead: false,
        ..SegmentConfig::new(SHARDS)
    };
    let disk = Arc::new(disk.clone());
    let (log, found) = SegmentLog::open_on(disk, Path::new("/log"), &config).unwrap();
    (Arc::new(log), found.torn_bytes)
}

impl World {
    async fn new(seed: u64, faults: bool) -> Self {
        let disk = SimDisk::default();
        let (log, _) = open(&disk);
        let disks = Disks::over(Arc::new(Timely(Arc::clone(&log))));
        let power = Power::default();
        let gateway = Gateway::start(&power.plug(&disks), config()).await;
        let users = enlist(&gateway).await;
        Self {
            rng: StdRng::seed_from_u64(seed),
            faults,
            disk,
            log,
            disks,
            power,
            gateway: Some(gateway),
            clients: (0..USERS).map(|me| Client::new(me, &users)).collect(),
            checker: Checker::default(),
            tally: Tally::default(),
        }
    }

    /// Ends the process, and with some luck the machine's power too; then both come back.
    async fn restart(&mut self) {
        self.checker.kills += 1;
        self.clients.iter_mut().for_each(Client::cut);
        let outage = self.faults && self.rng.random();
        if outage {
            // Before anything is closed: a close would sync.
            self.disk = self.disk.after_power_loss(self.rng.random());
            self.tally.outages += 1;
        }
        if let Some(gateway) = self.gateway.take() {
            gateway.kill(&self.power).await;
        }
        self.log.close().await;
        self.disk.plan(|plan| *plan = Default::default());
        let (log, torn) = open(&self.disk);
        self.tally.torn += torn;
        self.log = log;
        self.disks.log = Arc::new(Timely(Arc::clone(&self.log)));
        self.power = Power::default();
        let disks = self.power.plug(&self.disks);
        self.gateway = Some(Gateway::start(&disks, config()).await);
    }

    /// T184: a process whose log has failed ends by itself, without another sync.
    async fn die(&mut self) {
        self.tally.deaths += 1;
        let Some(gateway) = &self.gateway else { return };
        for _ in 0..50 {
            if gateway.tasks.failed() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        assert!(gateway.tasks.failed(), "it goes on without its log");
        let reason = "a sync of the log failed";
        if self.log.health() == (Health::Failed { reason }) {
            let again = self.disk.syncs_since_failure();
            assert_eq!(again, Some(0), "a second sync would lie");
            self.tally.syncs += 1;
        }
        for client in &mut self.clients {
            client.step(&mut self.rng, &mut self.checker).await;
        }
        self.restart().await;
    }

    fn has_failed(&self) -> bool {
        !matches!(
            self.log.health(),
            Health::Ok | Health::Failed { reason: FULL }
        )
    }

    async fn free(&self) {
        self.disk.plan(|plan| plan.space = None);
        let log = Arc::clone(&self.log);
        let recovered = move || {
            // The writer tries a full disk by the machine's clock.
            while log.health() == (Health::Failed { reason: FULL }) {
                std::thread::yield_now();
            }
        };
        spawn_blocking(recovered).await.unwrap();
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
            55..84 => client.acknowledge(&mut self.checker).await,
            84..88 => client.detach().await,
            88..92 => client.cut(),
            92..96 if self.faults => {
                if self.rng.random() {
                    let space = self.disk.bytes() + self.rng.random_range(0..2_000);
                    self.disk.plan(|plan| plan.space = Some(space));
                    self.tally.fills += 1;
                } else {
                    self.free().await;
                }
            }
            96 if self.faults => {
                let torn = self.rng.random_range(0..700);
                self.disk.plan(|plan| plan.tear_write = Some(torn));
            }
            97 if self.faults => self.disk.plan(|plan| plan.fail_sync = true),
            98.. => self.restart().await,
            _ => {}
        }
        self.rest(0.7).await;
    }

    async fn rest(&mut self, comes_back: f64) {
        if self.has_failed() {
            self.die().await;
        }
        let Some(gateway) = &self.gateway else { return };
        for client in &mut self.clients {
            client.step(&mut self.rng, &mut self.checker).await;
            if client.is_down() && self.rng.random_bool(comes_back) {
                client
                    .connect(gateway, &mut self.rng, &mut self.checker)
                    .await;
            }
        }
        if self.rng.random_bool(0.8) {
            sleep(STEP.mul_f64(self.rng.random())).await;
        }
    }

    async fn drain(&mut self) {
        self.disk.plan(|plan| *plan = Default::default());
        self.free().await;
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

async fn run(seed: u64, faults: bool) -> (Checker, Tally) {
    let mut world = World::new(seed, faults).await;
    for _ in 0..STEPS {
        world.step().await;
    }
    world.drain().await;
    if let Some(gateway) = world.gateway.take() {
        gateway.kill(&world.power).await;
    }
    (world.checker, world.tally)
}

/// T184, T147: full disks, torn writes, failed syncs and lost power under the router. Nothing that
/// was acknowledged is missing after any restart, nothing comes twice or out of order, and nothing
/// is refused: what the log does not take is neither acknowledged nor answered.
#[test]
fn every_fault_of_the_disk_keeps_the_promises() {
    let (mut all, mut parked) = (Tally::default(), 0);
    for seed in 0..SEEDS {
        let (checker, tally) = on_paused_clock(seed, run(seed, true));
        assert_eq!(checker.refusals(), 0, "seed {seed}");
        parked += checker.parked;
        all.deaths += tally.deaths;
        all.syncs += tally.syncs;
        all.outages += tally.outages;
        all.fills += tally.fills;
        all.torn += tally.torn;
    }
    let Tally {
        deaths,
        syncs,
        outages,
        fills,
        torn,
    } = all;
    // A campaign without faults in it would show nothing.
    assert!(
        deaths > 100 && syncs > 50 && outages > 100 && fills > 100 && torn > 1_000 && parked > 20,
        "{deaths} {syncs} {outages} {fills} {torn} {parked}"
    );
}

/// The same on a disk that does what it is told: nobody is refused, closed or ended.
#[test]
fn a_sound_disk_refuses_nobody() {
    for seed in 0..20 {
        let (checker, tally) = on_paused_clock(seed, run(seed, false));
        let odd = (checker.refusals(), checker.parked, tally.deaths, tally.torn);
        assert_eq!(odd, (0, 0, 0, 0), "seed {seed}");
    }
}
