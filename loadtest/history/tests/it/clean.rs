use entente_history::{Options, Outcome, Verdict, check};

use super::sample;

pub(crate) fn judge(sample: &sample::Sample) -> Verdict {
    let dir = tempfile::tempdir().unwrap();
    sample::write(dir.path(), sample, false);
    check(dir.path(), &Options::default()).unwrap()
}

#[test]
fn clean_histories_are_silent() {
    let mut sum = entente_history::Counts::default();
    for seed in 0..20 {
        let verdict = judge(&sample::clean(seed, 1000));
        assert_eq!(
            verdict.outcome,
            Outcome::Held,
            "seed {seed}: {:#?} {:#?}",
            verdict.findings,
            verdict.vacuous
        );
        let counts = verdict.counts;
        println!("seed {seed}: {counts:?}");
        sum.resumes += counts.resumes;
        sum.takeovers += counts.takeovers;
        sum.wire_duplicates += counts.wire_duplicates;
        sum.suppressed += counts.suppressed;
        sum.kills_in_flight += counts.kills_in_flight;
        sum.info += counts.info;
        sum.fail += counts.fail;
        sum.notices += counts.notices;
        sum.receipts += counts.receipts;
        sum.prekeys += counts.prekeys;
        sum.wakes_due += counts.wakes_due;
        assert_eq!(counts.app_duplicates, 0);
    }
    // Silence over nothing would prove nothing.
    let least = [
        sum.resumes,
        sum.takeovers,
        sum.wire_duplicates,
        sum.suppressed,
        sum.kills_in_flight,
        sum.info,
        sum.fail,
        sum.notices,
        sum.receipts,
        sum.prekeys,
        sum.wakes_due,
    ];
    assert!(least.into_iter().all(|count| count >= 20), "{least:?}");
}
