//! How long a record takes to the brokers and back, as seen through the log and without it.
//!
//! `bare` is librdkafka alone with the same settings: a producer, and a consumer of all partitions. `log`
//! is the same load through [`KafkaLog`]. Both are open loops with the same arrivals, in turns, on topics of
//! their own; latencies count from when a record was due.
//!
//! `cargo bench -p entente-kafka --features client --bench latency -- brokers=127.0.0.1:19092 [NAME=VALUE]..`;
//! names and defaults are those of `Plan`, the others those of a log's URL, such as `linger=0ms`.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for people: it prints figures and stops at an error"
)]

mod bare;
mod figures;
mod log;

use std::time::Duration;

use entente_kafka::Settings;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use crate::figures::Figures;

/// What is measured.
#[derive(Clone, Debug)]
struct Plan {
    settings: Settings,
    /// Records a second, at random times.
    rate: f64,
    /// Of a round.
    seconds: f64,
    /// Of load before the first round that counts: brokers begin slowly.
    warm: f64,
    rounds: u32,
    bytes: usize,
    partitions: u32,
}

/// A record: when it is due after the begin, and where it goes.
#[derive(Clone, Copy, Debug)]
struct Due {
    after: Duration,
    partition: u32,
}

impl Plan {
    fn from_arguments() -> Self {
        let mut brokers = None;
        let prefix = format!("latency-{:08x}", rand::random::<u32>());
        let mut plan = Self {
            settings: Settings::new(Vec::new(), String::new()),
            rate: 2000.0,
            seconds: 10.0,
            warm: 10.0,
            rounds: 3,
            bytes: 600,
            partitions: 48,
        };
        let mut query = "development=on&replicas=1&min_insync=1".to_owned();
        for argument in std::env::args().skip(1).filter(|each| each != "--bench") {
            let (name, value) = argument.split_once('=').expect("NAME=VALUE");
            match name {
                "brokers" => brokers = Some(value.to_owned()),
                "rate" => plan.rate = value.parse().unwrap(),
                "seconds" => plan.seconds = value.parse().unwrap(),
                "warm" => plan.warm = value.parse().unwrap(),
                "rounds" => plan.rounds = value.parse().unwrap(),
                "bytes" => plan.bytes = value.parse().unwrap(),
                "partitions" => plan.partitions = value.parse().unwrap(),
                _ => query = format!("{query}&{argument}"),
            }
        }
        let brokers = brokers.expect("brokers=HOST:PORT,.. as `ops/kafka env` has them");
        let url = format!("kafka://{brokers}/{prefix}?{query}");
        plan.settings = Settings::from_url(&url).unwrap();
        plan
    }

    /// The arrivals of a round: the same for the same seed.
    fn arrivals(&self, seed: u64, seconds: f64) -> Vec<Due> {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut after, mut dues) = (0.0_f64, Vec::new());
        loop {
            after -= (1.0 - random.random::<f64>()).ln() / self.rate;
            if after >= seconds {
                return dues;
            }
            dues.push(Due {
                after: Duration::from_secs_f64(after),
                partition: random.random_range(0..self.partitions),
            });
        }
    }

    /// A record that says when it was due, in nanoseconds after the begin.
    fn record(&self, due: Due) -> Vec<u8> {
        let mut record = vec![0x5a; self.bytes.max(8)];
        let nanos = u64::try_from(due.after.as_nanos()).unwrap();
        record[..8].copy_from_slice(&nanos.to_be_bytes());
        record
    }
}

fn due_of(record: &[u8]) -> Duration {
    Duration::from_nanos(u64::from_be_bytes(record[..8].try_into().unwrap()))
}

/// Waits until a record is due, on a thread of its own: timers of a runtime are too coarse.
fn wait_for(begin: Instant, due: Due) {
    std::thread::sleep((begin + due.after).saturating_duration_since(Instant::now()));
}

fn main() {
    let plan = Plan::from_arguments();
    let mut bare = bare::Bare::open(&plan);
    let mut log = log::ThroughLog::open(&plan);
    println!(
        "{} records/s of {} bytes over {} partitions, linger {:?}",
        plan.rate,
        plan.bytes,
        plan.partitions,
        plan.settings.linger.get()
    );
    let warm = plan.arrivals(0, plan.warm / 2.0);
    drop((bare.run(&plan, &warm), log.run(&plan, &warm)));
    let (mut of_bare, mut of_log) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds {
        let dues = plan.arrivals(u64::from(round) + 1, plan.seconds);
        // Whoever comes second finds the other's pages in the cache: they change places.
        if round % 2 == 0 {
            of_bare.push(bare.run(&plan, &dues));
            of_log.push(log.run(&plan, &dues));
        } else {
            of_log.push(log.run(&plan, &dues));
            of_bare.push(bare.run(&plan, &dues));
        }
    }
    println!("{}", Figures::HEAD);
    for (name, rounds) in [("bare", &of_bare), ("log", &of_log)] {
        for figures in rounds {
            println!("{name:<5} {figures}");
        }
    }
    println!(
        "log / bare, by round: {}",
        figures::ratios(&of_log, &of_bare)
    );
}
