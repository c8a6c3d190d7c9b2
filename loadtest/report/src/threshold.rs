//! Thresholds: what a figure must be for a run to pass.
//!
//! `figure operator number`, as in `p99_ms < 15`, `lost == 0`, `rate >= 1e4`. The figures are those
//! of [`FIGURES`]. A threshold whose figure has no data does not hold.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::FIGURES;
use crate::figures::{Figure, figure};

/// How a threshold came out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The threshold as it was written.
    pub text: String,
    /// What its figure was; missing if the run has no data for it.
    pub value: Option<f64>,
    /// Whether it holds. One without data does not.
    pub held: bool,
}

/// What a figure must be.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Threshold {
    text: String,
    figure: &'static Figure,
    is: Compare,
    limit: f64,
}

/// Why a threshold cannot be read: what, and at which character, counted from one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("threshold `{text}`, character {at}: {what}")]
pub struct ThresholdError {
    /// The threshold as it was written.
    pub text: String,
    /// The character at which it goes wrong, counted from one.
    pub at: usize,
    /// What is wrong.
    pub what: String,
}

type Compare = fn(&f64, &f64) -> bool;

/// How a figure is compared with its limit. Longer ones first, so that `<=` is not `<`.
const OPERATORS: [(&str, Compare); 6] = [
    ("<=", f64::le),
    (">=", f64::ge),
    ("==", f64::eq),
    ("!=", f64::ne),
    ("<", f64::lt),
    (">", f64::gt),
];

impl Threshold {
    /// The figure that it asks.
    pub const fn figure(&self) -> &'static Figure {
        self.figure
    }

    /// Judges a value of its figure.
    pub fn judge(&self, value: Option<f64>) -> Outcome {
        Outcome {
            text: self.text.clone(),
            value,
            held: value.is_some_and(|value| (self.is)(&value, &self.limit)),
        }
    }
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let wrong = |rest: &str, what: String| ThresholdError {
            text: text.to_owned(),
            at: text.chars().count() - rest.chars().count() + 1,
            what,
        };
        let start = text.trim_start();
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, rest) = start.split_at(start.find(|c| !word(c)).unwrap_or(start.len()));
        if name.is_empty() {
            return Err(wrong(
                start,
                "a figure is expected, as in `p99_ms < 15`".to_owned(),
            ));
        }
        let Some(figure) = figure(name) else {
            let near = nearest(name);
            return Err(wrong(
                start,
                format!("no figure `{name}`; did you mean `{near}`?"),
            ));
        };
        let rest = rest.trim_start();
        let found = OPERATORS
            .iter()
            .find_map(|(sign, is)| Some((rest.strip_prefix(sign)?, *is)));
        let Some((after, is)) = found else {
            let what = "one of < <= > >= == != is expected".to_owned();
            return Err(wrong(rest, what));
        };
        let number = after.trim_start();
        let digits = number.trim_end();
        // `f64` also reads `inf` and `nan`, which no figure is.
        let limit = digits.parse().ok().filter(|limit: &f64| limit.is_finite());
        let Some(limit) = limit else {
            let what = if digits.is_empty() {
                "a number is expected".to_owned()
            } else {
                format!("`{digits}` is not a number; units are in the figure's name")
            };
            return Err(wrong(number, what));
        };
        Ok(Self {
            text: text.trim().to_owned(),
            figure,
            is,
            limit,
        })
    }
}

impl TryFrom<String> for Threshold {
    type Error = ThresholdError;

    fn try_from(text: String) -> Result<Self, ThresholdError> {
        text.parse()
    }
}

impl From<Threshold> for String {
    fn from(threshold: Threshold) -> Self {
        threshold.text
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Threshold {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// The figure whose name takes the fewest changes to become this one.
fn nearest(name: &str) -> &'static str {
    // A name of any length costs no more than one of a sensible length.
    let name: Vec<char> = name.chars().take(64).collect();
    FIGURES
        .iter()
        .map(|figure| figure.name)
        .min_by_key(|known| changes(&name, known))
        .unwrap_or_default()
}

/// Levenshtein's distance.
fn changes(name: &[char], known: &str) -> usize {
    let mut row: Vec<usize> = (0..=name.len()).collect();
    for (above, letter) in known.chars().enumerate() {
        let mut next = vec![above + 1];
        for ((kept, both), ours) in row.iter().skip(1).zip(&row).zip(name) {
            let left = next.last().copied().unwrap_or_default();
            next.push(
                (kept + 1)
                    .min(left + 1)
                    .min(both + usize::from(*ours != letter)),
            );
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(text: &str, value: f64) -> bool {
        text.parse::<Threshold>().unwrap().judge(Some(value)).held
    }

    #[test]
    fn each_operator_compares_as_it_looks() {
        for (text, below, equal, above) in [
            ("p99_ms < 15", true, false, false),
            ("p99_ms <= 15", true, true, false),
            ("p99_ms > 15", false, false, true),
            (" p99_ms>=15.0 ", false, true, true),
            ("p99_ms == 1.5e1", false, true, false),
            ("p99_ms!=15", true, false, true),
        ] {
            assert_eq!(
                [held(text, 14.9), held(text, 15.0), held(text, 15.1)],
                [below, equal, above],
                "{text}"
            );
        }
    }

    #[test]
    fn a_figure_without_data_does_not_hold() {
        for text in ["lost == 0", "lost != 0", "lost >= -1"] {
            assert!(
                !text.parse::<Threshold>().unwrap().judge(None).held,
                "{text}"
            );
        }
    }

    #[test]
    fn an_error_says_where() {
        for (text, at, what) in [
            ("", 1, "a figure is expected"),
            ("  < 5", 3, "a figure is expected"),
            ("é < 5", 1, "a figure is expected"),
            (" p99ms < 5", 2, "did you mean `p99_ms`?"),
            ("ack_p9_ms < 5", 1, "did you mean `ack_p"),
            ("lost", 5, "one of <"),
            ("lost = 0", 6, "one of <"),
            ("lost =< 0", 6, "one of <"),
            ("lost ==", 8, "a number is expected"),
            ("lost == ", 9, "a number is expected"),
            ("p99_ms < 15 ms", 10, "`15 ms` is not a number"),
            ("p99_ms < inf", 10, "`inf` is not a number"),
            ("p99_ms < NaN", 10, "`NaN` is not a number"),
            ("p99_ms < < 5", 10, "`< 5` is not a number"),
        ] {
            let error = text.parse::<Threshold>().unwrap_err();
            assert_eq!(error.at, at, "{error}");
            assert!(error.what.contains(what), "{error}");
        }
        let long = "a".repeat(1_000_000);
        assert_eq!(long.parse::<Threshold>().unwrap_err().at, 1);
    }
}
