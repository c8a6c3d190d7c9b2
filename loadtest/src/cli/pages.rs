//! What people read: the words at the end of a run, reports, comparisons.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use entente_report::{Rounds, RunResult, Side, html, junit, write_whole};

/// Compares rounds.
pub(super) fn compare(
    (a, b): (&[PathBuf], &[PathBuf]),
    in_turns: bool,
    page: Option<&Path>,
    json: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let read = |files: &[PathBuf]| {
        let results = files.iter().map(|file| RunResult::read(file));
        results.collect::<Result<Vec<_>, _>>()
    };
    let (of_a, of_b) = (read(a)?, read(b)?);
    let by = if in_turns {
        Rounds::InTurns
    } else {
        Rounds::Independent
    };
    let (name_a, name_b) = (called(a), called(b));
    let comparison = entente_report::compare(
        Side {
            name: &name_a,
            rounds: &of_a,
        },
        Side {
            name: &name_b,
            rounds: &of_b,
        },
        by,
    );
    write!(io::stdout(), "{}", comparison.text())?;
    if let Some(file) = page {
        write_whole(file, comparison.html().as_bytes())?;
    }
    if let Some(file) = json {
        write_whole(file, comparison.json()?.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A side by its first file.
fn called(files: &[PathBuf]) -> String {
    files
        .first()
        .map_or_else(String::new, |file| file.display().to_string())
}

/// Draws a report anew.
pub(super) fn report(
    result: &Path,
    out: Option<&Path>,
    junit_file: Option<&Path>,
) -> anyhow::Result<ExitCode> {
    let run = RunResult::read(result)?;
    let beside = result.with_file_name("report.html");
    let out = out.unwrap_or(&beside);
    write_whole(out, html(&run)?.as_bytes())?;
    if let Some(file) = junit_file {
        write_whole(file, junit(&run).as_bytes())?;
    }
    writeln!(io::stdout(), "report: {}", out.display())?;
    Ok(ExitCode::from(run.exit_code()))
}

/// The words at the end of a run.
pub(super) fn summary(result: &RunResult) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("\n");
    for figure in entente_report::FIGURES {
        if let Some(value) = result.figures.get(figure.name) {
            // Writing to a string cannot fail.
            let _ok = writeln!(
                text,
                "  {:<34}{:>16} {}",
                figure.name,
                short(*value),
                figure.unit
            );
        }
    }
    for phase in &result.phases {
        let kinds = [
            ("refused", &phase.counters.refused),
            ("login failed", &phase.counters.login_failures),
            ("error", &phase.counters.errors),
        ];
        for (name, counts) in kinds {
            for (kind, count) in counts {
                let _ok = writeln!(text, "  {} ({}): {kind}: {count}", name, phase.name);
            }
        }
    }
    for finding in &result.findings {
        let word = if finding.invalidates {
            "INVALID"
        } else {
            "note"
        };
        let _ok = writeln!(text, "{word}: {}", finding.detail);
    }
    for outcome in &result.thresholds {
        let word = if outcome.held { "held  " } else { "MISSED" };
        let value = outcome.value.map_or_else(|| "no data".to_owned(), short);
        let _ok = writeln!(text, "{word} {} ({value})", outcome.text);
    }
    text
}

fn short(value: f64) -> String {
    if value == value.trunc() || value.abs() >= 1_000.0 {
        return format!("{value:.0}");
    }
    format!("{value:.2}")
}
