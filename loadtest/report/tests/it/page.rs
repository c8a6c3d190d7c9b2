//! The report of runs that are odd, hostile or nearly empty.

use entente_report::{Finding, FindingKind, RunResult, Series, Verdict, html};

use crate::sample;

fn page(run: &RunResult) -> String {
    let html = html(run).unwrap();
    assert!(
        !html.contains("NaN") && !html.contains("inf\""),
        "no broken numbers"
    );
    html
}

#[test]
fn a_whole_run_has_every_part() {
    let mut run = sample::result();
    run.judge(&[
        "p99_ms < 15".parse().unwrap(),
        "refused == 0".parse().unwrap(),
    ])
    .unwrap();
    let html = page(&run);
    for wanted in [
        "Status 99",
        "1 of 2 thresholds did not hold",
        "kill server",
        "no promise was broken",
        "resource-constraint",
        "made by hand",
        "entente_<wbr>sessions",
        "entente-loadtest run",
        "127.0.0.1:5223",
    ] {
        assert!(html.contains(wanted), "{wanted}");
    }
    assert_eq!(
        html.matches("<figure>").count(),
        6,
        "no chart of errors without any"
    );
    assert_eq!(html.matches("<h1>").count(), 1);
    assert_eq!(
        html.matches("<table").count(),
        html.matches("<caption>").count()
    );
    assert!(!html.contains("<script") && !html.contains("http://") && !html.contains("https://"));
}

#[test]
fn a_run_without_anything_is_a_page_too() {
    let mut run = sample::result();
    run.phases.clear();
    run.processes.clear();
    run.machines.clear();
    run.metrics.clear();
    run.faults.clear();
    run.findings.clear();
    run.series = Series::default();
    run.verdict = None;
    run.duration_us = 0;
    run.judge(&[]).unwrap();
    let html = page(&run);
    assert!(html.contains("No history was kept"));
    assert!(html.contains("Nothing was found that casts doubt"));
}

#[test]
fn nothing_in_a_result_becomes_markup() {
    let evil = "\"><script>alert(1)</script>'";
    let mut run = sample::result();
    for text in [
        &mut run.run,
        &mut run.scenario.name,
        &mut run.scenario.text,
        &mut run.server.name,
        &mut run.server.address,
        &mut run.phases[0].name,
        &mut run.processes[0].name,
    ] {
        evil.clone_into(text);
    }
    run.generators[0].name = evil.to_owned();
    run.generators[0].command[1] = evil.to_owned();
    run.metrics[0].name = evil.to_owned();
    run.metrics[0].page = evil.to_owned();
    run.faults[0].kind = evil.to_owned();
    run.faults[0].target = evil.to_owned();
    run.server.version = Some(evil.to_owned());
    run.phases[0].counters.errors.insert(evil.to_owned(), 1);
    run.findings.push(Finding {
        kind: FindingKind::Note,
        detail: evil.to_owned(),
        invalidates: true,
    });
    run.verdict = Some(Verdict {
        violations: 1,
        report: serde_json::json!({
            evil: evil,
            "deep": {evil: [evil]},
            "notes": [evil],
            "counts": {evil: evil},
            "rules": {evil: {evil: evil}},
            "findings": [{"rule": evil, "what": evil, "events": [{"text": evil}]}, evil],
        }),
    });
    run.judge(&[]).unwrap();
    run.thresholds.push(entente_report::Outcome {
        text: evil.to_owned(),
        value: None,
        held: false,
    });
    let html = page(&run);
    assert!(!html.contains("<script"));
    assert!(!html.contains(evil));
    assert!(html.contains("Status 98"));
}

#[test]
fn samples_out_of_order_and_enormous_numbers_are_drawn_somehow() {
    let mut run = sample::result();
    run.processes[0].samples.reverse();
    run.processes[1].samples[3].cpu_us = u64::MAX;
    run.processes[1].samples[4].rss = u64::MAX;
    run.machines[0].samples[2].steal_us = u64::MAX;
    run.phases[1].counters.delivered = u64::MAX;
    run.phases[1].until_us = u64::MAX;
    run.phases[0]
        .counters
        .refused
        .insert("a".to_owned(), u64::MAX);
    run.phases[0]
        .counters
        .refused
        .insert("b".to_owned(), u64::MAX);
    run.series.points[3].delivered = u64::MAX;
    run.faults[0].until_us = Some(0);
    run.duration_us = u64::MAX;
    run.judge(&[]).unwrap();
    page(&run);
}

#[test]
fn a_long_run_makes_no_longer_page() {
    let mut run = sample::result();
    let points = run.series.points.clone();
    for _ in 0..500 {
        run.series.points.extend(points.iter().cloned());
    }
    run.duration_us = 6_000_000_000;
    // Killed and started again every five seconds.
    let (fault, server) = (run.faults[0].clone(), run.processes[0].clone());
    for kill in 1..1_200 {
        run.faults.push(fault.clone());
        let mut next = server.clone();
        (next.started, next.ended_us) = (kill, Some(kill * 5_000_000));
        run.processes.push(next);
    }
    run.judge(&[]).unwrap();
    assert_eq!(run.findings.len(), 2, "told once");
    assert!(
        run.findings[1]
            .detail
            .contains("server ended 1199 times, from 5.0 s to 5995.0 s")
    );
    let html = page(&run);
    assert!(html.len() < 1_000_000, "{}", html.len());
    assert!(html.contains("1000 more are in result.json."));
}
