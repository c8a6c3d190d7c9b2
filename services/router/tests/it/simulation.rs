//! Many users, random faults, one history: the promises hold for every seed.
//!
//! Time is paused, so a run of minutes takes milliseconds. A failing seed is printed.

pub(crate) mod checker;
pub(crate) mod client;

use std::sync::Arc;
use std::time::Duration;

use entente_core::{AccountId, Span};
use entente_log::{Faults, Log, LogError, MemoryLog};
use entente_router::Config;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use self::checker::Checker;
use self::client::Client;
use crate::gateway::{Disks, Gateway, SHARDS};
use crate::odd_log::OddLog;
use crate::plug::Power;

pub(crate) const USERS: usize = 4;
const STEPS: usize = 150;
const SEEDS: u64 = 200;
/// Steps in which everything must arrive once nobody sends any more.
const DRAIN: usize = 4_000;
/// How long the log takes to say that it does not know.
const SLOW_ANSWER: Duration = Duration::from_millis(150);
pub(crate) const STEP: Duration = Duration::from_millis(40);

struct World {
    rng: StdRng,
    log: Arc<OddLog>,
    disks: Disks,
    power: Power,
    gateway: Option<Gateway>,
    clients: Vec<Client>,
    checker: Checker,
    refuses: bool,
}

pub(crate) fn config() -> Config {
    Config {
        resume_time: Span::secs(20),
        report_time: Span::new(Duration::from_millis(400)),
        window_stanzas: 6,
        log_patience: Span::new(Duration::from_millis(300)),
        checkpoint: Span::new(Duration::from_millis(700)),
        ..Config::default()
    }
}

/// Enlists everybody, however often the log refuses.
pub(crate) async fn enlist(gateway: &Gateway) -> Arc<Vec<AccountId>> {
    let mut users = Vec::new();
    for user in 0..USERS {
        let account = loop {
            if let Ok(enlisted) = gateway.try_enlist(&format!("user{user}"), 1).await {
                break enlisted.account;
            }
            sleep(Duration::from_secs(1)).await;
        };
        users.push(account);
    }
    Arc::new(users)
}

impl World {
    async fn new(seed: u64) -> Self {
        let refuses = seed % 2 == 1;
        let faults = Faults {
            seed,
            lose_report: 0.01,
            duplicate: 0.05,
            delay: 0.3,
            max_delay: Duration::from_millis(200),
            hole: 0.05,
            refuse: if refuses { 0.01 } else { 0.0 },
            ..Faults::default()
        };
        let log = OddLog::new(MemoryLog::with_faults(SHARDS, faults));
        let disks = Disks::over(Arc::clone(&log) as Arc<dyn Log>);
        let power = Power::default();
        let gateway = Gateway::start(&power.plug(&disks), config()).await;
        let users = enlist(&gateway).await;
        Self {
            rng: StdRng::seed_from_u64(seed),
            log,
            disks,
            power,
            gateway: Some(gateway),
            clients: (0..USERS).map(|me| Client::new(me, &users)).collect(),
            checker: Checker::default(),
            refuses,
        }
    }

    async fn kill(&mut self) {
        self.checker.kills += 1;
        self.log.set(|mood| mood.refuse = None);
        for client in &mut self.clients {
            if self.rng.random_bool(0.5) {
                client.cut();
            }
        }
        if let Some(gateway) = self.gateway.take() {
            gateway.kill(&self.power).await;
        }
        self.power = Power::default();
        let disks = self.power.plug(&self.disks);
        self.gateway = Some(Gateway::start(&disks, config()).await);
    }

    async fn step(&mut self) {
        let me = self.rng.random_range(0..USERS);
        let client = &mut self.clients[me];
        match self.rng.random_range(0..100) {
            0..55 => {
                let to = (me + self.rng.random_range(1..USERS)) % USERS;
                for _ in 0..self.rng.random_range(1..4) {
                    let long = self.rng.random_bool(0.02);
                    client.send(to, long, &mut self.checker).await;
                }
            }
            55..85 => client.acknowledge(&mut self.checker).await,
            85..90 => client.detach().await,
            90..92 => client.cut(),
            92..94 => client.lose(),
            94..96 if self.refuses => {
                let full = self.rng.random_bool(0.5).then_some(LogError::Full);
                self.log.set(|mood| mood.refuse = full);
            }
            96..98 => self.kill().await,
            98 => self.log.set(|mood| {
                mood.swallow = 1;
                mood.slow_answer = SLOW_ANSWER;
            }),
            _ => {}
        }
        self.rest(0.7).await;
    }

    /// A moment passes: who is away may come back, who is there takes what came.
    async fn rest(&mut self, comes_back: f64) {
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
        self.log.set(|mood| mood.refuse = None);
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

async fn run(seed: u64) -> Checker {
    let mut world = World::new(seed).await;
    for _ in 0..STEPS {
        world.step().await;
    }
    world.drain().await;
    if let Some(gateway) = world.gateway.take() {
        gateway.kill(&world.power).await;
    }
    world.checker
}

/// Runs one seed on a paused clock of its own, and names it if it fails.
pub(crate) fn on_paused_clock<T>(seed: u64, run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let run = std::panic::AssertUnwindSafe(|| runtime.block_on(run));
    let Ok(outcome) = std::panic::catch_unwind(run) else {
        panic!("the promises broke with seed {seed}")
    };
    outcome
}

/// R1, R2, R3, R4, R6, R10 over kills, lost reports, repeated batches, holes, full logs and cut streams.
#[test]
fn every_seed_keeps_the_promises() {
    let (mut kills, mut resumes, mut repeats) = (0, 0, 0);
    let (mut parked, mut refusals, mut reattached) = (0, 0, 0);
    for seed in 0..SEEDS {
        let checker = on_paused_clock(seed, run(seed));
        kills += checker.kills;
        resumes += checker.resumes;
        repeats += checker.repeats;
        reattached += checker.reattached;
        parked += checker.parked;
        refusals += checker.refusals();
        if seed % 2 == 0 {
            assert_eq!(checker.parked, 0, "seed {seed}: the log was never full");
        }
    }
    // A campaign without faults in it would show nothing.
    assert!(
        kills > 100
            && resumes > 300
            && repeats > 50
            && parked > 50
            && refusals > 200
            && reattached > 300,
        "{kills} {resumes} {repeats} {parked} {refusals} {reattached}"
    );
}
