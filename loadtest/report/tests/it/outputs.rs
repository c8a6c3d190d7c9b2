//! Comparisons and JUnit.

use entente_report::{Rounds, RunResult, Shown, Side, Verdict, compare, junit};

use crate::sample;

/// Rounds whose server costs are these, in milliseconds of CPU a second.
fn rounds(costs: &[u64]) -> Vec<RunResult> {
    let round = |cost: &u64| {
        let mut run = sample::result();
        for (second, sample) in (0..).zip(&mut run.processes[0].samples) {
            sample.cpu_us = second * cost * 1_000;
        }
        run.judge(&[]).unwrap();
        run
    };
    costs.iter().map(round).collect()
}

fn side<'a>(name: &'a str, rounds: &'a [RunResult]) -> Side<'a> {
    Side { name, rounds }
}

#[test]
fn a_difference_is_shown_only_beyond_the_noise() {
    let (a, b) = (rounds(&[100, 104, 98]), rounds(&[50, 53, 51]));
    let found = compare(side("old", &a), side("new", &b), Rounds::Independent);
    let row = |name: &str| found.rows.iter().find(|row| row.figure == name).unwrap();
    let cost = row("server_cpu_us_per_message");
    assert_eq!(cost.shown, Shown::Better);
    assert!((cost.estimate - 0.51).abs() < 0.01 && cost.low.unwrap() < 0.51);
    assert!(cost.high.unwrap() > 0.51 && cost.high.unwrap() < 0.6);
    assert_eq!(row("lost").shown, Shown::NoDifference);
    assert_eq!(
        row("server_cores").shown,
        Shown::Differs,
        "no side is better by itself"
    );
    let back = compare(side("new", &b), side("old", &a), Rounds::Independent);
    let worse = back
        .rows
        .iter()
        .find(|row| row.figure == "server_cpu_us_per_message");
    assert_eq!(worse.unwrap().shown, Shown::Worse);

    let noisy = rounds(&[60, 100, 170]);
    let found = compare(side("old", &a), side("noisy", &noisy), Rounds::Independent);
    let text = found.text();
    let line = text
        .lines()
        .find(|line| line.starts_with("server_cpu_us_per_message"))
        .unwrap();
    assert!(line.ends_with("no difference shown"), "{text}");
}

#[test]
fn rounds_in_turns_take_out_what_the_machine_did() {
    // Both get slower together; B is a tenth dearer each time.
    let (a, b) = (rounds(&[100, 150, 220]), rounds(&[110, 166, 241]));
    let shown = |by| {
        let found = compare(side("a", &a), side("b", &b), by);
        let row = found
            .rows
            .into_iter()
            .find(|row| row.figure == "server_cpu_us_per_message");
        row.unwrap().shown
    };
    assert_eq!(shown(Rounds::Independent), Shown::NoDifference);
    assert_eq!(shown(Rounds::InTurns), Shown::Worse);
}

#[test]
fn what_cannot_be_compared_is_said() {
    let (mut a, mut b) = (rounds(&[100, 101]), rounds(&[100, 101, 99]));
    a[1].findings[0].invalidates = true;
    b[2].scenario.text.push('#');
    let found = compare(side("a", &a), side("b", &b), Rounds::InTurns);
    assert_eq!((found.rounds, found.invalid), ([1, 3], [1, 0]));
    assert_eq!(found.by, Rounds::Independent);
    assert_eq!(found.notes.len(), 3, "{:?}", found.notes);
    assert!(
        found
            .rows
            .iter()
            .all(|row| row.shown == Shown::TooFewRounds)
    );
    let none = compare(side("a", &[]), side("b", &b), Rounds::Independent);
    assert!(none.rows.is_empty());
    assert!(none.text().contains("0 rounds") && none.html().contains("0 rounds"));
}

#[test]
fn a_comparison_is_text_json_and_a_page() {
    let (a, b) = (rounds(&[100, 104, 98]), rounds(&[50, 53, 51]));
    let found = compare(side("<old>", &a), side("\"new\"", &b), Rounds::InTurns);
    let json: serde_json::Value = serde_json::from_str(&found.json().unwrap()).unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), found.rows.len());
    assert_eq!(json["by"], "in_turns");
    let html = found.html();
    assert!(html.contains("&lt;old&gt;") && !html.contains("<old>"));
    assert_eq!(html.matches("<svg").count(), 2);
    assert!(!html.contains("NaN"));
}

#[test]
fn junit_has_a_case_for_each_question() {
    let mut run = sample::result();
    run.scenario.name = "a<b>&\"\u{1}\n".to_owned();
    run.judge(&[
        "p99_ms < 15".parse().unwrap(),
        "refused == 0".parse().unwrap(),
    ])
    .unwrap();
    let xml = junit(&run);
    assert!(
        xml.contains("tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"0\" time=\"12.000\""),
        "{xml}"
    );
    assert!(
        xml.contains("name=\"refused == 0\" time=\"12.000\"><failure message=\"measured 2\"/>")
    );
    assert!(xml.contains("name=\"p99_ms &lt; 15\" time=\"12.000\"></testcase>"));
    assert!(xml.contains("loadtest a&lt;b&gt;&amp;&quot;\u{fffd}&#10;"));

    run.findings[0].invalidates = true;
    run.verdict = Some(Verdict {
        violations: 3,
        report: serde_json::Value::Null,
    });
    let xml = junit(&run);
    assert!(
        xml.contains("tests=\"4\" failures=\"2\" errors=\"0\" skipped=\"2\""),
        "{xml}"
    );
    assert!(xml.contains("made by hand") && xml.contains("3 promises were broken"));
}
