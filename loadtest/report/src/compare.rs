//! Two sets of rounds against each other: what changed, how much, and how sure that is.
//!
//! In: judged results of repeated rounds of A and of B. Out: for each figure that all have, the ratio
//! B / A with its 95 % interval, or the difference where a value is zero or below. Where the interval
//! holds 1 (or 0), no difference is shown, whatever the means say.
//!
//! **Invariants**: an invalid round takes no part and is counted; one round of a set shows nothing.

mod drawn;

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::RunResult;
use crate::figures::{Better, FIGURES};
use crate::interval::{Interval, difference, paired};
use crate::page::with_unit;

/// Whether rounds of A and B were run in turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounds {
    /// In turns, A B A B: the n-th of each are compared with each other.
    InTurns,
    /// At other times.
    Independent,
}

/// What a figure's rounds show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// B is better.
    Better,
    /// The interval says that they differ, and neither is better by itself.
    Differs,
    /// The interval holds "the same".
    NoDifference,
    /// Fewer than two valid rounds of either.
    TooFewRounds,
    /// B is worse.
    Worse,
}

/// How B is told from A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// B less A, where ratios have no meaning.
    Difference,
    /// B over A.
    Ratio,
}

/// One figure of both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub figure: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// The mean of A's rounds, geometric where ratios are shown.
    pub a: f64,
    /// The mean of B's rounds, likewise.
    pub b: f64,
    /// How they are compared.
    pub measure: Measure,
    /// The ratio or difference.
    pub estimate: f64,
    /// The interval's lower end.
    pub low: Option<f64>,
    /// The interval's upper end.
    pub high: Option<f64>,
    /// What it shows.
    pub shown: Shown,
}

/// A comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What A is called.
    pub a: String,
    /// What B is called.
    pub b: String,
    /// Valid rounds of A and of B.
    pub rounds: [usize; 2],
    /// Rounds of A and of B that were invalid and left out.
    pub invalid: [usize; 2],
    /// Whether pairs were compared.
    pub by: Rounds,
    /// Share of intervals that hold the truth.
    pub confidence: f64,
    /// What to know before the numbers are believed.
    pub notes: Vec<String>,
    /// The figures, in the order of the table of figures.
    pub rows: Vec<Row>,
}

/// A name and its rounds.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Its judged rounds, in the order in which they were run.
    pub rounds: &'a [RunResult],
}

/// Compares B with A.
pub fn compare(a: Side<'_>, b: Side<'_>, by: Rounds) -> Comparison {
    let mut notes = Vec::new();
    let (mut of_a, mut of_b) = (valid(a), valid(b));
    let mut by = by;
    if by == Rounds::InTurns {
        if a.rounds.len() == b.rounds.len() {
            // A round whose partner is invalid has nothing to be compared with.
            let both = a.rounds.iter().zip(b.rounds);
            (of_a, of_b) = both.filter(|(a, b)| a.valid() && b.valid()).unzip();
        } else {
            by = Rounds::Independent;
            notes.push("not the same number of rounds: compared as independent".to_owned());
        }
    }
    let invalid = [a, b].map(|side| side.rounds.iter().filter(|round| !round.valid()).count());
    if invalid != [0, 0] {
        notes.push(format!(
            "{} invalid rounds were left out",
            invalid.iter().sum::<usize>()
        ));
    }
    let texts = of_a
        .iter()
        .chain(&of_b)
        .map(|round| round.scenario.text.as_str());
    let mut texts: Vec<&str> = texts.collect();
    texts.dedup();
    if texts.len() > 1 {
        notes.push("the scenarios differ: what is compared is not the server alone".to_owned());
    }
    let row = |figure: &'static crate::Figure| {
        let values = |rounds: &[&RunResult]| {
            let values = rounds
                .iter()
                .map(|round| round.figures.get(figure.name).copied());
            values
                .collect::<Option<Vec<f64>>>()
                .filter(|values| !values.is_empty())
        };
        Some(judge(figure, &values(&of_a)?, &values(&of_b)?, by))
    };
    let rows: Vec<Row> = FIGURES.iter().filter_map(row).collect();
    if rows.iter().any(|row| row.low.is_some()) {
        notes.push(format!(
            "of {} figures about one in twenty shows a difference by chance",
            rows.len()
        ));
    }
    Comparison {
        a: a.name.to_owned(),
        b: b.name.to_owned(),
        rounds: [of_a.len(), of_b.len()],
        invalid,
        by,
        confidence: crate::interval::CONFIDENCE,
        notes,
        rows,
    }
}

fn valid(side: Side<'_>) -> Vec<&RunResult> {
    side.rounds.iter().filter(|round| round.valid()).collect()
}

fn judge(figure: &'static crate::Figure, a: &[f64], b: &[f64], by: Rounds) -> Row {
    let mean = |values: &[f64]| {
        let count = values.iter().fold(0.0, |count, _| count + 1.0);
        values.iter().sum::<f64>() / count
    };
    let ratios = a.iter().chain(b).all(|value| *value > 0.0);
    let logs = |values: &[f64]| values.iter().map(|value| value.ln()).collect::<Vec<f64>>();
    let between = |a: &[f64], b: &[f64]| match by {
        Rounds::InTurns => paired(a, b),
        Rounds::Independent => difference(a, b),
    };
    let (measure, same, mean_a, mean_b, interval) = if ratios {
        let (of_a, of_b) = (logs(a), logs(b));
        let interval = between(&of_a, &of_b).map(Interval::exp);
        (
            Measure::Ratio,
            1.0,
            mean(&of_a).exp(),
            mean(&of_b).exp(),
            interval,
        )
    } else {
        (Measure::Difference, 0.0, mean(a), mean(b), between(a, b))
    };
    let estimate = match measure {
        Measure::Ratio => mean_b / mean_a,
        Measure::Difference => mean_b - mean_a,
    };
    Row {
        figure: figure.name,
        unit: figure.unit,
        a: mean_a,
        b: mean_b,
        measure,
        estimate,
        low: interval.map(|interval| interval.low),
        high: interval.map(|interval| interval.high),
        shown: match interval {
            None => Shown::TooFewRounds,
            Some(interval) if interval.covers(same) => Shown::NoDifference,
            Some(interval) => match (figure.better, interval.estimate > same) {
                (Better::Neither, _) => Shown::Differs,
                (Better::Higher, true) | (Better::Lower, false) => Shown::Better,
                (Better::Higher, false) | (Better::Lower, true) => Shown::Worse,
            },
        },
    }
}

impl Row {
    /// The ratio or difference with its interval, for people.
    pub(crate) fn change(&self) -> String {
        let value = |value: f64| match self.measure {
            Measure::Ratio => format!("{value:.3}×"),
            Measure::Difference => {
                format!(
                    "{}{}",
                    if value > 0.0 { "+" } else { "" },
                    with_unit(value, self.unit)
                )
            }
        };
        match (self.low, self.high) {
            (Some(low), Some(high)) => {
                format!("{} [{}, {}]", value(self.estimate), value(low), value(high))
            }
            _ => value(self.estimate),
        }
    }
}

impl Shown {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Differs => "differs",
            Self::NoDifference => "no difference shown",
            Self::TooFewRounds => "too few rounds",
            Self::Worse => "worse",
        }
    }
}

impl Comparison {
    /// As a table of plain text.
    pub fn text(&self) -> String {
        let [rounds_a, rounds_b] = self.rounds;
        let mut text = format!(
            "A: {} ({rounds_a} rounds)\nB: {} ({rounds_b} rounds)\n\
             B against A, with 95 % intervals{}\n",
            self.a,
            self.b,
            match self.by {
                Rounds::InTurns => ", round by round",
                Rounds::Independent => "",
            }
        );
        for note in &self.notes {
            let _ok = writeln!(text, "note: {note}");
        }
        let mut widths: BTreeMap<usize, usize> = BTreeMap::new();
        let lines: Vec<[String; 5]> =
            std::iter::once(["figure", "A", "B", "B against A", ""].map(str::to_owned))
                .chain(self.rows.iter().map(|row| {
                    [
                        row.figure.to_owned(),
                        with_unit(row.a, row.unit),
                        with_unit(row.b, row.unit),
                        row.change(),
                        row.shown.words().to_owned(),
                    ]
                }))
                .collect();
        for (place, cell) in lines.iter().flat_map(|line| line.iter().enumerate()) {
            let width = widths.entry(place).or_default();
            *width = (*width).max(cell.chars().count());
        }
        for line in &lines {
            for (place, cell) in line.iter().enumerate() {
                let width = widths.get(&place).copied().unwrap_or(0);
                let _ok = match place {
                    1 | 2 => write!(text, "  {cell:>width$}"),
                    0 => write!(text, "{cell:<width$}"),
                    _ => write!(text, "  {cell:<width$}"),
                };
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }

    /// As JSON.
    ///
    /// # Errors
    /// Never for a comparison that [`compare`] made.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}
