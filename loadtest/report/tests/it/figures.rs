//! Figures of a run that can be worked out by hand, and what the exit status makes of them.

use entente_report::{FAILED, FindingKind, INVALID, PASSED, Phase, PhaseKind, Verdict};

use crate::sample;

fn near(value: Option<&f64>, wanted: f64) {
    let value = value.copied().unwrap_or(f64::NAN);
    assert!(
        (value - wanted).abs() <= wanted.abs() * 1e-3,
        "{value}, not {wanted}"
    );
}

#[test]
fn figures_are_those_that_a_person_works_out() {
    let mut run = sample::result();
    run.judge(&[]).unwrap();
    let figure = |name: &str| run.figures.get(name);
    near(figure("rate"), 100.0);
    near(figure("p99_ms"), 1.0);
    near(figure("actual_p99_ms"), 0.9);
    near(figure("ack_max_ms"), 0.5);
    near(figure("lost"), 0.0);
    near(figure("refused"), 2.0);
    // 10 ms of CPU a second over 10 s, for 1,000 messages.
    near(figure("server_cpu_us_per_message"), 100.0);
    near(figure("generator_cpu_us_per_message"), 40.0);
    near(figure("server_cores"), 0.01);
    // Over the two seconds of logins, for ten of them.
    near(figure("server_cpu_us_per_login"), 2_000.0);
    near(figure("steal_percent"), 0.05);
    near(figure("foreign_cpu_percent"), 0.3);
    near(figure("generator_cpu_percent"), 0.2);
    near(figure("server_max_bytes"), 10_200_000.0);
    assert_eq!(figure("idle_cpu_us_per_session_second"), None);
    assert_eq!(figure("login_p99_ms"), None);
}

#[test]
fn an_idle_part_tells_what_a_session_costs() {
    let mut run = sample::result();
    run.phases[1].kind = PhaseKind::Idle;
    run.judge(&[]).unwrap();
    // 100 ms of CPU over 100 s of sessions; 200,000 bytes of PSS more, for ten sessions.
    near(run.figures.get("idle_cpu_us_per_session_second"), 1_000.0);
    near(run.figures.get("bytes_per_session"), 20_000.0);
    assert_eq!(run.figures.get("rate"), None);
}

#[test]
fn samples_that_do_not_cover_the_load_give_no_cost() {
    let mut run = sample::result();
    for process in &mut run.processes {
        process.samples.truncate(8);
    }
    run.judge(&[]).unwrap();
    assert_eq!(run.figures.get("server_cpu_us_per_message"), None);
    // One that ended has spent what it had spent.
    run.processes[0].ended_us = Some(7_500_000);
    run.judge(&[]).unwrap();
    near(run.figures.get("server_cpu_us_per_message"), 50.0);
    assert_eq!(run.findings.last().unwrap().kind, FindingKind::WatchLost);
    assert!(run.valid());
}

#[test]
fn the_successor_of_a_killed_server_counts_with_it() {
    let mut run = sample::result();
    let mut next = run.processes[0].clone();
    run.processes[0].samples.truncate(8);
    run.processes[0].ended_us = Some(7_500_000);
    next.samples.drain(..8);
    (next.pid, next.started) = (99, 2);
    for sample in &mut next.samples {
        sample.cpu_us -= 1_080_000;
    }
    run.processes.push(next);
    run.judge(&[]).unwrap();
    // What either of them spent while it was seen: 50 and 40 ms.
    near(run.figures.get("server_cpu_us_per_message"), 90.0);
}

#[test]
fn the_exit_status_puts_doubt_before_failure() {
    let mut run = sample::result();
    let judge = |run: &mut entente_report::RunResult, texts: &[&str]| {
        let thresholds: Vec<_> = texts.iter().map(|text| text.parse().unwrap()).collect();
        run.judge(&thresholds).unwrap();
        run.exit_code()
    };
    assert_eq!(judge(&mut run, &["p99_ms < 15", "lost == 0"]), PASSED);
    assert_eq!(judge(&mut run, &["p99_ms < 15", "refused == 0"]), FAILED);
    assert_eq!(
        judge(&mut run, &["login_max_ms < 15"]),
        FAILED,
        "no logins were timed"
    );
    assert_eq!(
        judge(&mut run, &["p999_ms < 0.1"]),
        INVALID,
        "1,000 of 10,000 samples"
    );
    assert_eq!(
        run.findings.last().unwrap().kind,
        FindingKind::TooFewSamples
    );
    assert_eq!(
        judge(&mut run, &["p99_ms < 15"]),
        PASSED,
        "an old finding went"
    );
    run.verdict = Some(Verdict {
        violations: 1,
        report: serde_json::Value::Null,
    });
    assert_eq!(run.exit_code(), FAILED);
    assert_eq!(judge(&mut run, &["violations == 0"]), FAILED);
    run.findings[0].invalidates = true;
    assert_eq!(run.exit_code(), INVALID);
}

#[test]
fn losses_count_in_every_part() {
    let mut run = sample::result();
    let drain = Phase {
        name: "drain".to_owned(),
        kind: PhaseKind::Drain,
        from_us: 12_000_000,
        until_us: 13_000_000,
        ..run.phases[0].clone()
    };
    run.phases.push(drain);
    run.phases[0].counters.lost = 1;
    run.phases[2].counters.lost = 2;
    run.judge(&[]).unwrap();
    near(run.figures.get("lost"), 3.0);
    near(run.figures.get("rate"), 100.0);
}

#[test]
fn a_soak_tells_what_grows_and_a_short_run_does_not() {
    let mut run = sample::result();
    run.judge(&[]).unwrap();
    assert_eq!(run.figures.get("memory_bytes_per_hour"), None);
    // Ten minutes in which the server gains 1,000 bytes a second and no descriptor.
    run.phases[1].until_us = 602_000_000;
    run.duration_us = 602_000_000;
    let first = run.processes[0].samples[0];
    run.processes[0].samples = (0..=602)
        .map(|second: u64| {
            let mut sample = first;
            sample.at_us = second * 1_000_000;
            // A saw on top of the slope, as of an allocator that gives back.
            sample.rss = 10_000_000 + second * 1_000 + second % 10 * 3_000;
            sample
        })
        .collect();
    run.judge(&["memory_growth_bytes_per_hour < 3e6".parse().unwrap()])
        .unwrap();
    near(run.figures.get("descriptors_per_hour"), 0.0);
    let slope = run.figures["memory_bytes_per_hour"];
    assert!((3.4e6..3.8e6).contains(&slope), "{slope}");
    let sure = run.figures["memory_growth_bytes_per_hour"];
    assert!((3e6..slope).contains(&sure), "{sure}");
    assert_eq!(run.exit_code(), FAILED);
}
