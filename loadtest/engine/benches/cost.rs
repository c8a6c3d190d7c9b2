//! What the generator itself costs: messages over TLS to a server that does next to nothing, each on
//! a core of its own, and idle sessions. `cargo bench -p entente-engine --bench cost`.

#![expect(
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark that goes wrong may stop"
)]

#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../tests/it/stub.rs"]
mod stub;

use std::fs;
use std::time::Duration;

use entente_engine::account::{Account, Secret};
use entente_engine::control::Stage;
use entente_engine::engine::{Engine, Supplies};
use entente_engine::scenario::Scenario;

use tokio::time::Instant;

use stub::{DOMAIN, Habits, Stub};

const TIME: Duration = Duration::from_secs(5);
/// The generator's core; the server has the other.
const CORE: usize = 1;
/// Idle sessions: client and server are one process here, so two descriptors each.
const IDLE: usize = 9_000;

fn main() {
    println!(
        "{:<44}{:>12}{:>14}{:>16}",
        "50 pairs, 512 bytes, TLS 1.3, XEP-0198", "messages/s", "generator", "whole process"
    );
    for window in [1, 10, 100] {
        messages(
            &format!("window {window}"),
            100,
            &[format!("load.window={window}")],
        );
    }
    for rate in [20_000, 50_000, 100_000] {
        let settings = [
            "load.arrivals=poisson".to_owned(),
            format!("load.rate={rate}"),
        ];
        messages(&format!("poisson {rate}/s"), 100, &settings);
    }
    idle();
}

fn engine(stub: &Stub, users: usize, more: &[String]) -> Engine {
    let mut overrides = vec![
        "target.kind=xmpp".to_owned(),
        format!("target.domain={DOMAIN}"),
        format!("target.address=\"{}\"", stub.address),
        format!("run.cores=[{CORE}]"),
        format!("sessions.users={users}"),
    ];
    overrides.extend_from_slice(more);
    let scenario = Scenario::parse("bench", "", &overrides).unwrap();
    let account = |n| Account {
        localpart: format!("u{n}").into(),
        partner: 0,
        secret: Secret::Password("p".into()),
    };
    let supplies = Supplies {
        accounts: (0..users).map(account).collect(),
        seed: 7,
        ..Supplies::default()
    };
    let engine = Engine::start(&scenario, supplies).unwrap();
    while engine.settled().0 < users {
        std::thread::sleep(Duration::from_millis(10));
    }
    engine
}

fn messages(name: &str, users: usize, more: &[String]) {
    let stub = Stub::start(Habits {
        core: Some(0),
        ..Habits::default()
    });
    let engine = engine(&stub, users, more);
    engine.enter(Stage::WarmUp);
    std::thread::sleep(Duration::from_secs(1));
    let (thread, process) = (cpu("load-0"), cpu(""));
    let begun = Instant::now();
    engine.enter(Stage::Load);
    std::thread::sleep(TIME);
    let (thread, process) = (cpu("load-0") - thread, cpu("") - process);
    let took = begun.elapsed();
    engine.enter(Stage::Drain);
    let drained = Instant::now();
    while engine.under_way() > 0 && drained.elapsed() < TIME {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (tallies, errors) = engine.finish();
    assert!(errors.is_empty(), "{errors:?}");
    let load = &tallies[0].stages[2];
    let (lost, unknown) = (
        tallies[0].stages[3].counters.lost,
        tallies[0].stages[3].counters.unknown,
    );
    assert_eq!((lost, unknown), (0, 0));
    let count = load.counters.delivered as f64;
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / count;
    let late = tallies[0].lateness.arrivals.quantile_us(0.99).unwrap_or(0);
    println!(
        "{name:<44}{:>12.0}{:>11.2} µs{:>13.2} µs   generator {:.0} % of its core; arrivals late p99 {late} µs",
        count / took.as_secs_f64(),
        each(thread),
        each(process),
        100.0 * thread.as_secs_f64() / took.as_secs_f64(),
    );
}

fn idle() {
    let users = IDLE.min(usize::try_from(files() / 2).unwrap() - 300);
    let before = resident();
    let stub = Stub::start(Habits {
        core: Some(0),
        ..Habits::default()
    });
    entente_engine::limits::raise_files(u64::try_from(users * 2 + 300).unwrap()).unwrap();
    let settings = [
        "load.pattern=none".to_owned(),
        "sessions.keep_alive=10s".to_owned(),
    ];
    let begun = Instant::now();
    let engine = engine(&stub, users, &settings);
    let took = begun.elapsed().as_secs_f64();
    let cpu_before = cpu("load-0");
    std::thread::sleep(TIME);
    let cpu = cpu("load-0") - cpu_before;
    let sessions = users as f64;
    println!(
        "{users} idle sessions: {:.0} logins/s, {:.1} KB each (client and server together), \
         {:.2} µs of the generator's CPU a session and second (keep-alive 10 s)",
        sessions / took,
        (resident() - before) as f64 / sessions / 1e3,
        cpu.as_secs_f64() * 1e6 / sessions / TIME.as_secs_f64(),
    );
    engine.finish();
}

/// CPU time of threads of this process whose name starts so.
fn cpu(name: &str) -> Duration {
    let mut sum = 0;
    for task in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let path = task.path();
        let is = fs::read_to_string(path.join("comm")).unwrap_or_default();
        if is.starts_with(name) {
            let ran = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
            sum += ran
                .split(' ')
                .next()
                .unwrap_or("0")
                .parse::<u64>()
                .unwrap_or(0);
        }
    }
    Duration::from_nanos(sum)
}

fn resident() -> i64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<i64>().unwrap() * 4096
}

fn files() -> u64 {
    let text = fs::read_to_string("/proc/self/limits").unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    line.split_whitespace()
        .nth(4)
        .unwrap()
        .parse()
        .unwrap_or(1 << 20)
}
