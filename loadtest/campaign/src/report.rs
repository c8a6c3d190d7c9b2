//! What a campaign came to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use entente_history::{Outcome, Verdict, render};
use serde::Serialize;

/// A campaign that is over. As JSON it is the history's verdict with some keys more.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The verdict on the history.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// What came of it all: the verdict's outcome, and what `troubles` and `invalid` make of it.
    pub campaign: Outcome,
    /// Where every choice came from.
    pub seed: u64,
    /// Faults that were made, by kind.
    pub strikes: BTreeMap<&'static str, u32>,
    /// What the process did that it must not do, history or not: ended by itself, did not start.
    pub troubles: Vec<String>,
    /// Why the campaign says nothing about the process.
    pub invalid: Vec<String>,
}

/// What was seen beside the history.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) strikes: BTreeMap<&'static str, u32>,
    pub(crate) troubles: Vec<String>,
    pub(crate) invalid: Vec<String>,
}

impl Report {
    pub(crate) fn new(seed: u64, seen: Seen, verdict: Verdict) -> Self {
        let campaign = if verdict.outcome == Outcome::Broken || !seen.troubles.is_empty() {
            Outcome::Broken
        } else if verdict.outcome == Outcome::Vacuous || !seen.invalid.is_empty() {
            Outcome::Vacuous
        } else {
            Outcome::Held
        };
        Self {
            verdict,
            campaign,
            seed,
            strikes: seen.strikes,
            troubles: seen.troubles,
            invalid: seen.invalid,
        }
    }

    /// In words, for a terminal.
    pub fn words(&self) -> String {
        let mut text = render(&self.verdict);
        let strikes: Vec<String> = self
            .strikes
            .iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        // Writing to a string does not fail.
        let _ok = writeln!(text, "\nfaults: {}", strikes.join(" · "));
        for trouble in &self.troubles {
            let _ok = writeln!(text, "BROKEN: {trouble}");
        }
        for why in &self.invalid {
            let _ok = writeln!(text, "INVALID: {why}");
        }
        let _ok = writeln!(text, "seed {}", self.seed);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(outcome: Outcome) -> Verdict {
        Verdict {
            verdict: 1,
            run: "r".into(),
            outcome,
            rules: BTreeMap::new(),
            findings: Vec::new(),
            vacuous: Vec::new(),
            notes: Vec::new(),
            counts: entente_history::Counts::default(),
            files: Vec::new(),
            spilled_bytes: 0,
        }
    }

    #[test]
    fn a_process_in_trouble_is_broken_whatever_its_history_says() {
        let told = || vec!["told".to_owned()];
        let cases = [
            (Outcome::Held, Vec::new(), Vec::new(), Outcome::Held),
            (Outcome::Held, Vec::new(), told(), Outcome::Vacuous),
            (Outcome::Held, told(), told(), Outcome::Broken),
            (Outcome::Vacuous, told(), Vec::new(), Outcome::Broken),
            (Outcome::Broken, Vec::new(), told(), Outcome::Broken),
        ];
        for (outcome, troubles, invalid, wanted) in cases {
            let seen = Seen {
                troubles,
                invalid,
                ..Seen::default()
            };
            let report = Report::new(9, seen, verdict(outcome));
            assert_eq!(report.campaign, wanted);
            assert!(report.words().ends_with("seed 9\n"));
            let json = serde_json::to_value(&report).unwrap();
            assert_eq!(json.get("verdict"), Some(&1.into()));
        }
    }
}
