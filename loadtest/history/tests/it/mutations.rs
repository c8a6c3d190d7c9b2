use std::fmt::Write as _;

use entente_history::{Options, Verdict, check};

use super::{faults, sample};

fn judge(sample: &sample::Sample) -> Verdict {
    let dir = tempfile::tempdir().unwrap();
    sample::write(dir.path(), sample, false);
    match check(dir.path(), &Options::default()) {
        Ok(verdict) => verdict,
        Err(error) => panic!("seed {}: {error}", sample.seed),
    }
}

/// The table of all kinds of fault, and the cases in which another rule than the right ones, or not
/// all of them, spoke.
pub(crate) fn table(seeds: u64) -> (String, Vec<String>) {
    let samples: Vec<_> = (0..seeds).map(|seed| sample::clean(seed, 1500)).collect();
    let mut out = String::from("| fault | rules | seeds | found |\n|---|---|---|---|\n");
    let mut wrong = Vec::new();
    let mut row = |name: &str, rules: &str, tried: u64, found: u64| {
        writeln!(out, "| {name} | {rules} | {tried} | {found} |").unwrap();
    };
    let silent = samples
        .iter()
        .filter(|sample| judge(sample).findings.is_empty());
    row(
        "none",
        "none",
        seeds,
        u64::try_from(silent.count()).unwrap(),
    );
    for kind in faults::kinds() {
        let (mut tried, mut found) = (0, 0);
        for sample in &samples {
            let Some(faulty) = kind.apply(sample) else {
                continue;
            };
            tried += 1;
            let verdict = judge(&faulty);
            let broken = verdict.rules.iter().filter(|(_, tally)| tally.broken > 0);
            let broken: Vec<_> = broken.map(|(rule, _)| *rule).collect();
            if broken == kind.rules {
                found += 1;
            } else {
                let (name, seed) = (kind.name, sample.seed);
                let findings = &verdict.findings;
                wrong.push(format!("{name}, seed {seed}: {broken:?} {findings:#?}"));
            }
        }
        if tried < seeds {
            wrong.push(format!(
                "{}: only {tried} of {seeds} histories have a place for it",
                kind.name
            ));
        }
        let rules: Vec<_> = kind.rules.iter().map(|rule| format!("{rule:?}")).collect();
        row(kind.name, &rules.join(" "), tried, found);
    }
    (out, wrong)
}

#[test]
fn each_fault_is_found_by_its_rule_and_no_other() {
    let (table, wrong) = table(20);
    println!("{table}");
    assert!(wrong.is_empty(), "{table}\n{}", wrong.join("\n"));
}
