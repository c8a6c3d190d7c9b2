//! Figures by name: what thresholds may ask and what comparisons compare.
//!
//! One table, [`FIGURES`]; the reference in the documentation is printed from it
//! ([`reference`]). A figure that a run has no data for is missing, never zero.

mod table;

use std::collections::BTreeMap;
use std::fmt::Write;

pub use table::FIGURES;

use crate::basis::Basis;
use crate::histogram::{self, Histogram};
use crate::{Latencies, RunResult};

/// Events that must lie beyond a percentile before it means anything.
const BEYOND: f64 = 10.0;

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The larger the better.
    Higher,
    /// The smaller the better.
    Lower,
    /// It describes the load or the machine.
    Neither,
}

/// One figure.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// Its name in thresholds and in `figures` of `result.json`.
    pub name: &'static str,
    /// Its unit; empty for a count.
    pub unit: &'static str,
    /// Which way it is better.
    pub better: Better,
    /// What it says.
    pub says: &'static str,
    source: Source,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    /// The latency that a share of a kind do not exceed, in milliseconds.
    Latency(f64, fn(&Latencies) -> &Histogram),
    /// Worked out.
    Value(fn(&Basis) -> Option<f64>),
}

impl Figure {
    /// Its value in a run, if the run has data for it.
    pub(crate) fn value(&self, basis: &Basis) -> Option<f64> {
        let value = match self.source {
            Source::Latency(share, of) => of(&basis.latencies)
                .quantile_us(share)
                .map(|us| crate::basis::float(us) / 1_000.0),
            Source::Value(of) => of(basis),
        };
        value.filter(|value| value.is_finite())
    }

    /// For a percentile of a run that has too few events for it: those it has, those it needs.
    pub(crate) fn too_few(&self, basis: &Basis) -> Option<(u64, u64)> {
        let Source::Latency(share, of) = self.source else {
            return None;
        };
        let has = of(&basis.latencies).count();
        // The longest of all needs no more than one.
        if share >= 1.0 {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "shares are constants: 20 to 10,000"
        )]
        let needs = (BEYOND / (1.0 - share)).round() as u64;
        (has < needs).then_some((has, needs))
    }
}

/// Looks a figure up.
pub fn figure(name: &str) -> Option<&'static Figure> {
    FIGURES.iter().find(|figure| figure.name == name)
}

impl RunResult {
    /// Works out all figures that the run has data for.
    ///
    /// # Errors
    /// If its histograms cannot be united.
    pub fn work_out(&self) -> Result<BTreeMap<String, f64>, histogram::Error> {
        let basis = Basis::of(self)?;
        let known = |figure: &Figure| Some((figure.name.to_owned(), figure.value(&basis)?));
        Ok(FIGURES.iter().filter_map(known).collect())
    }
}

/// The table as Markdown.
pub fn reference() -> String {
    let mut text = String::from("| figure | unit | better | what it says |\n|---|---|---|---|\n");
    for figure in FIGURES {
        let better = match figure.better {
            Better::Higher => "higher",
            Better::Lower => "lower",
            Better::Neither => "",
        };
        let _ok = writeln!(
            text,
            "| `{}` | {} | {better} | {} |",
            figure.name, figure.unit, figure.says
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_and_say_their_unit() {
        for (place, figure) in FIGURES.iter().enumerate() {
            let same = FIGURES.iter().position(|other| other.name == figure.name);
            assert_eq!(same, Some(place), "{} twice", figure.name);
            assert_eq!(figure.name.ends_with("_ms"), figure.unit == "ms");
            assert!(!figure.says.is_empty() && !figure.says.contains('|'));
        }
        assert_eq!(reference().lines().count(), FIGURES.len() + 2);
    }
}
