//! What faults cost clients, as distributions: a table, and the spans themselves as JSON.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use entente_history::{OfFault, Times, percentile, times as measure};
use entente_report::write_whole;

/// Nanoseconds of a second.
const SECOND: f64 = 1e9;

/// The spans of a fault, and what they are called.
type Spans = (&'static str, fn(&OfFault) -> &[u64]);

const BACK: Spans = ("a session flows again", |of| &of.back);
const STALLED: Spans = ("a recipient's stall", |of| &of.stalled);
const LONGEST: Spans = ("the longest stall of a fault", |of| &of.longest);

/// What spans of a fault should be at most, in seconds.
struct Goal {
    kind: &'static str,
    what: &'static str,
    p50: Option<f64>,
    p95: f64,
}

const GOALS: [Goal; 4] = [
    Goal {
        kind: "kill-connection",
        what: BACK.0,
        p50: Some(2.0),
        p95: 8.0,
    },
    Goal {
        kind: "kill-router",
        what: STALLED.0,
        p50: Some(4.0),
        p95: 8.0,
    },
    Goal {
        kind: "kill-broker",
        what: LONGEST.0,
        p50: Some(5.0),
        p95: 10.0,
    },
    Goal {
        kind: "restart-router",
        what: STALLED.0,
        p50: None,
        p95: 0.5,
    },
];

/// Reads the histories of a folder and says what faults cost.
pub(super) fn times(folder: &Path, json: Option<&Path>) -> anyhow::Result<ExitCode> {
    let times = measure(folder).with_context(|| folder.display().to_string())?;
    if let Some(file) = json {
        write_whole(file, &serde_json::to_vec_pretty(&times)?)?;
    }
    write!(io::stdout(), "{}", words(&times))?;
    Ok(ExitCode::SUCCESS)
}

fn words(times: &Times) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ok = writeln!(
        text,
        "{:<16} {:>6}  {:<30} {:>6} {:>8} {:>8} {:>8}  p50 / p95 wanted",
        "fault", "faults", "seconds", "spans", "p50", "p95", "max"
    );
    for (kind, of) in &times.faults {
        for (what, spans) in [BACK, STALLED, LONGEST] {
            let goal = GOALS
                .iter()
                .find(|goal| goal.kind == kind && goal.what == what);
            row(&mut text, of, (kind, what), spans(of), goal);
        }
        for (what, count) in [
            ("left out: too near to others", of.overlapped),
            ("sessions not back in time", of.gone),
            ("recipients still waiting", of.waiting),
        ] {
            if count > 0 {
                let _ok = writeln!(text, "{kind:<16} {:>6}  {what:<30} {count:>6}", of.counted);
            }
        }
    }
    let (sessions, anew) = (times.sessions, times.anew);
    // In thousandths, rounded up: nobody is rounded away.
    let share = (anew * 1_000).div_ceil(sessions.max(1));
    let _ok = writeln!(
        text,
        "sessions: {sessions}, resumed {} times; {anew} ({}.{} %) had to begin anew",
        times.resumed,
        share / 10,
        share % 10
    );
    text
}

fn row(
    text: &mut String,
    of: &OfFault,
    (kind, what): (&str, &str),
    spans: &[u64],
    goal: Option<&Goal>,
) {
    let at = |percent| percentile(spans, percent).map(seconds);
    let (Some(p50), Some(p95), Some(most)) = (at(50), at(95), at(100)) else {
        return;
    };
    let judged = goal.map(|goal| {
        let met = goal.p50.is_none_or(|wanted| p50 <= wanted) && p95 <= goal.p95;
        let wanted = goal
            .p50
            .map_or_else(|| "-".to_owned(), |wanted| wanted.to_string());
        let word = if met { "met" } else { "MISSED" };
        format!("{wanted} / {} {word}", goal.p95)
    });
    // Writing to a string cannot fail.
    let _ok = writeln!(
        text,
        "{kind:<16} {:>6}  {what:<30} {:>6} {p50:>8.2} {p95:>8.2} {most:>8.2}  {}",
        of.counted,
        spans.len(),
        judged.unwrap_or_default()
    );
}

/// Nanoseconds as seconds: a day is exact to the microsecond.
#[expect(clippy::cast_precision_loss, reason = "spans are shorter than a day")]
fn seconds(span: u64) -> f64 {
    span as f64 / SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged_by_their_percentiles() {
        let of = |spans: &[u64]| OfFault {
            counted: 3,
            back: spans
                .iter()
                .map(|seconds| seconds * 1_000_000_000)
                .collect(),
            ..OfFault::default()
        };
        let told = |spans: &[u64]| {
            let faults = [("kill-connection".to_owned(), of(spans))].into();
            words(&Times {
                faults,
                sessions: 50,
                anew: 1,
                ..Times::default()
            })
        };
        assert!(told(&[1, 2, 8]).contains("2 / 8 met"));
        assert!(told(&[1, 3, 8]).contains("2 / 8 MISSED"));
        assert!(told(&[1, 1, 9]).contains("2 / 8 MISSED"));
        assert!(!told(&[]).contains("met"));
        assert!(
            told(&[1]).contains("1 (2.0 %) had to begin anew"),
            "{}",
            told(&[1])
        );
    }
}
