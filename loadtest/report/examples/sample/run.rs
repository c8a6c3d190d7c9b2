//! A made-up run of 75 seconds: logins, warm-up, a load with a pause and a kill in it, a drain and an
//! idle part. Nothing in it was measured.

use std::collections::BTreeMap;
use std::error::Error;

use entente_report::probe::{Clock, MachineSample, Metric, Process, ProcessSample, Reading, Role};
use entente_report::{
    Counters, Fault, Finding, FindingKind, Generator, Histogram, Machine, Packed, Phase, PhaseKind,
    Point, RunResult, SCHEMA, Scenario, Series, Server, Threshold, Verdict,
};

const SCENARIO: &str = r#"# A SAMPLE: this run was made up to show what a report looks like.
# It models two providers whose users write to each other in bursts, with receipts.
name = "mixed"
sessions = 2000
rate = 4000            # messages a second, open loop, Poisson arrivals
sizes = { p50 = 320, p99 = 4096 }
receipts = 0.8
thresholds = ["p99_ms < 15", "lost == 0", "server_cpu_us_per_message < 30", "duplicated == 0"]
"#;

/// The parts: name, kind, start and end in seconds.
const PARTS: [(&str, PhaseKind, u64, u64); 5] = [
    ("log in", PhaseKind::Login, 0, 5),
    ("warm up", PhaseKind::WarmUp, 5, 10),
    ("load", PhaseKind::Load, 10, 60),
    ("drain", PhaseKind::Drain, 60, 63),
    ("idle", PhaseKind::Idle, 63, 75),
];
const SESSIONS: u64 = 2_000;

/// Seeded numbers (xorshift), so that each run of this example is the same.
struct Dice(u64);

impl Dice {
    /// From 0 to 1.
    fn roll(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        f64::from(u32::try_from(self.0 >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }

    /// A whole number around a middle, by so many hundredths.
    fn around(&mut self, middle: u64, hundredths: u64) -> u64 {
        let spread = middle * hundredths / 100;
        middle - spread + whole(self.roll() * 2.0 * f64::from(u32::try_from(spread).unwrap_or(0)))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "made-up numbers are small and positive"
)]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}

/// Makes the run up.
///
/// # Errors
/// If the example itself is wrong.
pub(crate) fn sample(seed: u64) -> Result<RunResult, Box<dyn Error>> {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut phases: Vec<Phase> = PARTS.into_iter().map(part).collect();
    let mut series = Series::default();
    for second in 0..75 {
        let point = second_of(second, &mut phases, &mut dice);
        series.push(point)?;
    }
    let mut result = RunResult {
        schema: SCHEMA,
        run: format!("sample-{seed}"),
        scenario: Scenario {
            name: "mixed".to_owned(),
            text: SCENARIO.to_owned(),
        },
        seed,
        server: Server {
            name: "entente (SAMPLE, made up)".to_owned(),
            version: Some("0.1.0".to_owned()),
            address: "127.0.0.1:5223".to_owned(),
        },
        generators: vec![generator()],
        started_ms: 1_780_000_000_000,
        duration_us: 75_000_000,
        phases,
        series,
        processes: processes(&mut dice),
        machines: vec![machine(&mut dice)],
        metrics: vec![metric()],
        faults: vec![
            fault("pause", "server", 24, 26),
            fault("kill", "server", 42, 44),
        ],
        findings: vec![Finding {
            kind: FindingKind::Note,
            detail: "This is a sample. Every number in it was made up.".to_owned(),
            invalidates: false,
        }],
        verdict: Some(verdict(seed)),
        figures: BTreeMap::new(),
        thresholds: Vec::new(),
    };
    let asked = [
        "p99_ms < 15",
        "lost == 0",
        "duplicated == 0",
        "server_cpu_us_per_message < 30",
        "bytes_per_session < 25000",
    ];
    let thresholds = asked.iter().map(|text| text.parse::<Threshold>());
    result.judge(&thresholds.collect::<Result<Vec<_>, _>>()?)?;
    Ok(result)
}

fn part((name, kind, from, until): (&str, PhaseKind, u64, u64)) -> Phase {
    let sessions = if kind == PhaseKind::Login {
        SESSIONS / 2
    } else {
        SESSIONS
    };
    Phase {
        name: name.to_owned(),
        kind,
        from_us: from * 1_000_000,
        until_us: until * 1_000_000,
        session_us: sessions * (until - from) * 1_000_000,
        sessions: SESSIONS,
        counters: Counters::default(),
        latencies: entente_report::Latencies::default(),
    }
}

/// What happens in one second, counted into its part and returned for the series.
fn second_of(second: u64, phases: &mut [Phase], dice: &mut Dice) -> Point {
    let inside = |phase: &&mut Phase| phase.until_us > second * 1_000_000;
    let Some(phase) = phases.iter_mut().find(inside) else {
        return Point::default();
    };
    let mut point = Point {
        sessions: if second < 5 {
            (second + 1) * 400
        } else {
            SESSIONS
        },
        ..Point::default()
    };
    let loaded = matches!(phase.kind, PhaseKind::Load | PhaseKind::WarmUp);
    let down = matches!(second, 42 | 43);
    if phase.kind == PhaseKind::Login {
        point.logins = 400;
        for _ in 0..400 {
            let took = dice.around(9_000, 60);
            phase.latencies.login.intended.record_us(took);
            phase.latencies.login.actual.record_us(took - 300);
        }
    }
    if loaded {
        point.sent = dice.around(4_000, 4);
        point.delivered = match second {
            24 | 25 | 42 | 43 => point.sent / 20,
            26 | 44 => point.sent * 2,
            _ => point.sent,
        };
        point.acked = point.delivered;
        point.errors = if down { dice.around(120, 30) } else { 0 };
        (point.delivery, point.ack) = latencies(second, &point, phase, dice);
    }
    if down {
        point.sessions = 0;
        *phase
            .counters
            .errors
            .entry("connection lost".to_owned())
            .or_default() += point.errors;
    }
    if second == 44 {
        phase.counters.resumes += 1_980;
        point.logins = 20;
    }
    let counters = &mut phase.counters;
    counters.sent += point.sent;
    counters.acked += point.acked;
    counters.delivered += point.delivered;
    counters.receipts += point.delivered * 4 / 5;
    counters.wire_copies += if second == 44 { 212 } else { 0 };
    counters.logins += point.logins;
    counters.binds += point.logins;
    point
}

fn latencies(second: u64, point: &Point, phase: &mut Phase, dice: &mut Dice) -> (Packed, Packed) {
    let (mut delivery, mut ack) = (Histogram::coarse(), Histogram::coarse());
    for _ in 0..point.delivered {
        let body = 900.0 + 900.0 * dice.roll();
        let tail = 1.0 / (1.0 - dice.roll() * 0.999_9).powf(0.35);
        let usual = whole(body * tail);
        let waited = match second {
            24 | 25 => 200_000,
            26 => whole(2_000_000.0 * dice.roll()),
            42 | 43 => 400_000,
            44 => whole(2_300_000.0 * dice.roll()),
            _ => 0,
        };
        delivery.record_us(usual + waited);
        ack.record_us((usual + waited) * 3 / 5);
        let timing = &mut phase.latencies;
        timing.delivery.intended.record_us(usual + waited);
        timing.delivery.actual.record_us(usual + waited / 40);
        timing.ack.intended.record_us((usual + waited) * 3 / 5);
        timing.receipt.intended.record_us((usual + waited) * 2);
    }
    (Packed::new(&delivery), Packed::new(&ack))
}

fn generator() -> Generator {
    let command = "entente-loadtest run mixed --rate 4000 --threshold";
    let mut command: Vec<String> = command.split(' ').map(str::to_owned).collect();
    command.push("p99_ms < 15".to_owned());
    Generator {
        name: "generator-0".to_owned(),
        version: "0.1.0".to_owned(),
        command,
        machine: "sample-host".to_owned(),
        kernel: "6.12.0".to_owned(),
        cpu: "Sample CPU at 2.6 GHz".to_owned(),
        cores: 2,
    }
}

fn fault(kind: &str, target: &str, from: u64, until: u64) -> Fault {
    Fault {
        kind: kind.to_owned(),
        target: target.to_owned(),
        from_us: from * 1_000_000,
        until_us: Some(until * 1_000_000),
    }
}

/// The server until it is killed, its successor, and the generator.
fn processes(dice: &mut Dice) -> Vec<Process> {
    let server = |pid, from: u64, until: u64, dice: &mut Dice| {
        let mut samples = Vec::new();
        let mut cpu_us = 0;
        for second in from..=until {
            cpu_us += match second {
                0..5 => dice.around(160_000, 10),
                24 | 25 => 2_000,
                5..60 => dice.around(98_000, 8),
                _ => dice.around(900, 30),
            };
            let opened = (second - from + 1).min(5) * SESSIONS / 5;
            samples.push(ProcessSample {
                at_us: (second * 1_000_000).max(1),
                cpu_us,
                user_us: cpu_us * 2 / 5,
                system_us: cpu_us * 3 / 5,
                rss: if second == 0 {
                    21_000_000
                } else {
                    21_000_000 + opened * 20_400 + second * 9_000
                },
                pss: (second % 5 == 0).then_some(if second == 0 {
                    19_500_000
                } else {
                    19_500_000 + opened * 20_200
                }),
                threads: 6,
                descriptors: Some(40 + opened),
                waits: second * 9_000,
                preemptions: second * 12,
            });
        }
        Process {
            name: "server".to_owned(),
            role: Role::Server,
            machine: "sample-host".to_owned(),
            pid,
            started: u64::from(pid) * 10,
            children: false,
            clock: Clock::Schedstat,
            ended_us: (until < 75).then_some(until * 1_000_000),
            samples,
        }
    };
    let first = server(4_101, 0, 42, dice);
    let second = server(4_377, 44, 75, dice);
    let mut generator = server(4_090, 0, 75, dice);
    generator.name = "generator".to_owned();
    generator.role = Role::Generator;
    for sample in &mut generator.samples {
        sample.cpu_us = sample.cpu_us * 3 / 5;
        sample.rss = sample.rss * 2 / 3;
        sample.pss = None;
    }
    vec![first, second, generator]
}

fn machine(dice: &mut Dice) -> Machine {
    let mut last = MachineSample::default();
    let mut samples = vec![last];
    for second in 1..=75 {
        last = MachineSample {
            at_us: second * 1_000_000,
            busy_us: last.busy_us + 200_000,
            steal_us: last.steal_us + dice.around(6_000, 90),
            foreign_us: last.foreign_us + dice.around(21_000, 80),
        };
        samples.push(last);
    }
    Machine {
        name: "sample-host".to_owned(),
        cores: 2,
        samples,
    }
}

fn metric() -> Metric {
    let reading = |second: u32| Reading {
        at_us: u64::from(second) * 1_000_000,
        value: f64::from(second) * 3_900.0,
    };
    Metric {
        page: "server".to_owned(),
        name: "entente_router_stanzas_total{way=\"in\"}".to_owned(),
        readings: (0..=75).map(reading).collect(),
    }
}

fn verdict(seed: u64) -> Verdict {
    let rule = |judged: u64, broken: u64| serde_json::json!({"judged": judged, "unjudged": 0, "broken": broken});
    let line = |number: u64, text: &str| serde_json::json!({"process": "generator-0", "line": number, "text": text});
    Verdict {
        violations: 1,
        report: serde_json::json!({
            "outcome": "broken",
            "rules": {"R1": rule(219_211, 0), "R3": rule(219_211, 0), "R4": rule(219_211, 1), "R10": rule(175_368, 0)},
            "findings": [{
                "rule": "R4",
                "what": "message 41 of pair 7 was delivered after message 42",
                "ids": ["7-41", "7-42"],
                "events": [
                    line(88_120, r#"{"invoke":{"id":"7-41","n":41}}"#),
                    line(88_164, r#"{"invoke":{"id":"7-42","n":42}}"#),
                    line(90_003, r#"{"deliver":{"id":"7-42","epoch":2}}"#),
                    line(90_011, r#"{"deliver":{"id":"7-41","epoch":2}}"#),
                ],
                "seed": seed,
            }],
            "notes": ["a sample finding, made up like everything here"],
            "vacuous": [],
            "counts": {"invoke": 219_911, "ok": 219_211, "info": 700, "kills": 1, "resumes": 1_980},
        }),
    }
}
