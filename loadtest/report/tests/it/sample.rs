//! A small result with every part in it.

use std::collections::BTreeMap;

use entente_report::probe::{Clock, MachineSample, Metric, Process, ProcessSample, Reading, Role};
use entente_report::{
    Counters, Fault, Finding, FindingKind, Generator, Histogram, Latencies, Machine, Packed, Phase,
    PhaseKind, Point, RunResult, SCHEMA, Scenario, Series, Server, Verdict,
};

/// Ten seconds of one generator: 1,000 messages delivered, 1 ms each.
pub(crate) fn result() -> RunResult {
    RunResult {
        schema: SCHEMA,
        run: "run-1".to_owned(),
        scenario: Scenario {
            name: "pairs".to_owned(),
            text: "name = \"pairs\"\n".to_owned(),
        },
        seed: 7,
        server: Server {
            name: "entente".to_owned(),
            version: Some("0.1.0".to_owned()),
            address: "127.0.0.1:5223".to_owned(),
        },
        generators: vec![Generator {
            name: "g0".to_owned(),
            version: "0.1.0".to_owned(),
            command: vec!["entente-loadtest".to_owned(), "run".to_owned()],
            machine: "m0".to_owned(),
            kernel: "6.1".to_owned(),
            cpu: "Xeon".to_owned(),
            cores: 2,
        }],
        started_ms: 1_700_000_000_000,
        duration_us: 12_000_000,
        phases: vec![login(), load()],
        series: series(),
        processes: vec![
            process("server", Role::Server, 10_000),
            process("generator", Role::Generator, 4_000),
        ],
        machines: vec![Machine {
            name: "m0".to_owned(),
            cores: 2,
            samples: (0..=12).map(machine).collect(),
        }],
        metrics: vec![Metric {
            page: "server".to_owned(),
            name: "entente_sessions".to_owned(),
            readings: vec![Reading {
                at_us: 1_000_000,
                value: 10.0,
            }],
        }],
        faults: vec![Fault {
            kind: "kill".to_owned(),
            target: "server".to_owned(),
            from_us: 5_000_000,
            until_us: Some(6_000_000),
        }],
        findings: vec![Finding {
            kind: FindingKind::Note,
            detail: "made by hand".to_owned(),
            invalidates: false,
        }],
        verdict: Some(Verdict {
            violations: 0,
            report: serde_json::json!({"rules": 12}),
        }),
        figures: BTreeMap::new(),
        thresholds: Vec::new(),
    }
}

fn login() -> Phase {
    Phase {
        name: "log in".to_owned(),
        kind: PhaseKind::Login,
        from_us: 0,
        until_us: 2_000_000,
        session_us: 10_000_000,
        sessions: 10,
        counters: Counters {
            logins: 10,
            binds: 10,
            ..Counters::default()
        },
        latencies: Latencies::default(),
    }
}

fn load() -> Phase {
    let mut latencies = Latencies::default();
    for _ in 0..1_000 {
        latencies.delivery.intended.record_us(1_000);
        latencies.delivery.actual.record_us(900);
        latencies.ack.intended.record_us(500);
    }
    Phase {
        name: "load".to_owned(),
        kind: PhaseKind::Load,
        from_us: 2_000_000,
        until_us: 12_000_000,
        session_us: 100_000_000,
        sessions: 10,
        counters: Counters {
            sent: 1_000,
            acked: 1_000,
            delivered: 1_000,
            refused: BTreeMap::from([("resource-constraint".to_owned(), 2)]),
            ..Counters::default()
        },
        latencies,
    }
}

fn series() -> Series {
    let mut delivery = Histogram::coarse();
    for _ in 0..100 {
        delivery.record_us(1_000);
    }
    let mut series = Series::default();
    for second in 0..12 {
        let loaded = second >= 2;
        let point = Point {
            sent: if loaded { 100 } else { 0 },
            acked: if loaded { 100 } else { 0 },
            delivered: if loaded { 100 } else { 0 },
            logins: if loaded { 0 } else { 5 },
            sessions: if second == 0 { 5 } else { 10 },
            delivery: if loaded {
                Packed::new(&delivery)
            } else {
                Packed::default()
            },
            ..Point::default()
        };
        series.points.push(point);
    }
    series
}

fn process(name: &str, role: Role, cpu_a_second: u64) -> Process {
    let sample = |second: u64| ProcessSample {
        at_us: second * 1_000_000,
        cpu_us: 1_000_000 + second * cpu_a_second,
        user_us: 600_000 + second * cpu_a_second / 2,
        system_us: 400_000 + second * cpu_a_second / 2,
        rss: 10_000_000 + second.min(2) * 100_000,
        pss: second
            .is_multiple_of(4)
            .then_some(9_000_000 + second.min(2) * 100_000),
        threads: 4,
        descriptors: Some(20),
        waits: second * 100,
        preemptions: second,
    };
    Process {
        name: name.to_owned(),
        role,
        machine: "m0".to_owned(),
        pid: if role == Role::Server { 11 } else { 12 },
        started: 1,
        children: false,
        clock: Clock::Schedstat,
        ended_us: None,
        samples: (0..=12).map(sample).collect(),
    }
}

fn machine(second: u64) -> MachineSample {
    MachineSample {
        at_us: second * 1_000_000,
        busy_us: second * 20_000,
        steal_us: second * 1_000,
        foreign_us: second * 6_000,
    }
}
