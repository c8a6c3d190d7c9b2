//! Results of several generators become one, or a precise refusal.

use entente_report::{MergeError, RunResult, merge};

use crate::sample;

fn second() -> RunResult {
    let mut result = sample::result();
    result.generators[0].name = "g1".to_owned();
    result.started_ms += 1_000;
    for _ in 0..1_000 {
        result.phases[1]
            .latencies
            .delivery
            .intended
            .record_us(20_000);
    }
    // The same server seen by both, and a generator of its own.
    result.processes[1].pid = 13;
    result
}

#[test]
fn counts_and_histograms_add_and_processes_do_not() {
    let mut one = sample::result();
    one.judge(&["p90_ms < 15".parse().unwrap()]).unwrap();
    let mut other = second();
    other.judge(&["p90_ms < 15".parse().unwrap()]).unwrap();
    let sum = merge([one.clone(), other.clone()]).unwrap();
    assert_eq!(sum.generators.len(), 2);
    assert_eq!(sum.phases[1].counters.delivered, 2_000);
    assert_eq!(sum.phases[1].latencies.delivery.intended.count(), 3_000);
    assert_eq!(sum.processes.len(), 3, "server, two generators");
    assert_eq!(sum.machines.len(), 1);
    assert_eq!((sum.duration_us, sum.series.points.len()), (13_000_000, 13));
    assert_eq!(
        sum.series.points[2].delivered, 100,
        "the second one still logs in"
    );
    assert_eq!(sum.series.points[5].delivered, 200);
    assert_eq!(sum.series.points[5].delivery.open().unwrap().count(), 200);
    assert!(
        one.thresholds[0].held && !sum.thresholds[0].held,
        "judged anew"
    );
    assert_eq!(merge([other, one]).unwrap(), sum, "in any order");
}

#[test]
fn one_result_stays_as_it_is() {
    let mut one = sample::result();
    one.judge(&[]).unwrap();
    assert_eq!(merge([one.clone()]).unwrap(), one);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let error = |change: fn(&mut RunResult)| {
        let mut other = second();
        change(&mut other);
        merge([sample::result(), other]).unwrap_err().to_string()
    };
    for (wanted, change) in [
        (
            "run differs: `run-1` and `run-2`",
            (|r| r.run = "run-2".to_owned()) as fn(&mut RunResult),
        ),
        ("scenario's text differs", |r| r.scenario.text.push('#')),
        ("seed differs: `7` and `8`", |r| r.seed = 8),
        ("server differs", |r| r.server.name = "other".to_owned()),
        ("thresholds differs", |r| {
            r.judge(&["lost == 0".parse().unwrap()]).unwrap()
        }),
        ("step differs: `1000` and `1500`", |r| {
            r.series.step_ms = 750
        }),
        ("`g0` was given twice", |r| {
            r.generators[0].name = "g0".to_owned()
        }),
        ("part differs: `load` and `more`", |r| {
            r.phases[1].name = "more".to_owned()
        }),
        ("day of the start differs", |r| r.started_ms += 90_000_000),
    ] {
        let said = error(change);
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert_eq!(merge([]), Err(MergeError::Nothing));
}

/// Two generators are parts of one run, on cores of their own, with users of their own.
#[test]
fn a_generators_own_keys_may_differ_and_no_others() {
    let with = |text: &str| {
        let mut result = sample::result();
        result.scenario.text = text.to_owned();
        result
    };
    let text = "[run]\npart = 0\ntime = \"5s\"\n\n[target]\npartner_number = 7\n";
    let one = with(text);
    let mut other = with(&text.replace("part = 0", "part = 1").replace('7', "8"));
    other.generators[0].name = "g1".to_owned();
    assert!(merge([one.clone(), other.clone()]).is_ok());
    other.scenario.text = text.replace("5s", "6s");
    assert_eq!(
        merge([one, other]).unwrap_err().to_string(),
        "scenario's text differs: `[run] time = \"5s\"` and `[run] time = \"6s\"`: not results of one run"
    );
}

#[test]
fn a_finer_series_takes_the_coarser_steps() {
    let one = sample::result();
    let mut other = second();
    other.started_ms = one.started_ms;
    other.series.coarsen().unwrap();
    let sum = merge([one, other]).unwrap();
    assert_eq!((sum.series.step_ms, sum.series.points.len()), (2_000, 6));
    assert_eq!(sum.series.points[3].delivered, 400);
    assert_eq!(sum.series.points[3].sessions, 20);
}

#[test]
fn a_generator_that_stopped_early_is_said() {
    let mut other = second();
    other.phases.truncate(1);
    let sum = merge([sample::result(), other]).unwrap();
    assert_eq!(sum.phases.len(), 2);
    assert!(
        sum.findings
            .iter()
            .any(|f| f.detail.contains("did not reach"))
    );
}
