//! Histories: checked after a run, or by themselves.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use entente_history::{Options, Outcome, Verdict, check as judge};

use entente_report::{FAILED, Finding, FindingKind, INVALID, RunResult, write_whole};

/// Checks a folder and says what was found.
pub(super) fn check(
    folder: &Path,
    json: Option<&Path>,
    allow_unfinished: bool,
) -> anyhow::Result<ExitCode> {
    let options = Options {
        allow_unfinished,
        ..Options::default()
    };
    let verdict = judge(folder, &options).with_context(|| folder.display().to_string())?;
    write!(io::stdout(), "{}", words(&verdict))?;
    if let Some(file) = json {
        write_whole(file, &serde_json::to_vec_pretty(&verdict)?)?;
    }
    Ok(match verdict.outcome {
        Outcome::Broken => ExitCode::from(FAILED),
        Outcome::Held => ExitCode::SUCCESS,
        Outcome::Vacuous => ExitCode::from(INVALID),
    })
}

/// Checks the history of a run that just ended, into its result.
pub(super) fn add(result: &mut RunResult, folder: &Path) {
    match judge(folder, &Options::default()) {
        Ok(verdict) => {
            let violations = broken(&verdict);
            result
                .figures
                .insert("violations".to_owned(), count(violations));
            if verdict.outcome == Outcome::Vacuous {
                result.findings.push(Finding {
                    kind: FindingKind::Note,
                    detail: format!("the history proves nothing: {}", verdict.vacuous.join("; ")),
                    invalidates: false,
                });
            }
            result.verdict = Some(entente_report::Verdict {
                violations,
                report: serde_json::to_value(&verdict).unwrap_or_default(),
            });
        }
        Err(error) => result.findings.push(Finding {
            kind: FindingKind::HistoryTruncated,
            detail: format!("the history cannot be checked: {error}"),
            invalidates: true,
        }),
    }
}

fn broken(verdict: &Verdict) -> u64 {
    verdict.rules.values().map(|tally| tally.broken).sum()
}

fn words(verdict: &Verdict) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let counts = &verdict.counts;
    // Writing to a string cannot fail.
    let _ok = writeln!(
        text,
        "run {}: {:?}; accepted {}, delivered {}",
        verdict.run, verdict.outcome, counts.ok, counts.delivered
    );
    for (rule, tally) in &verdict.rules {
        let _ok = writeln!(
            text,
            "  {rule:?}: {} judged, {} not judged, {} broken",
            tally.judged, tally.unjudged, tally.broken
        );
    }
    for finding in &verdict.findings {
        let _ok = writeln!(
            text,
            "{:?}: {} (ids {}; seed {})",
            finding.rule,
            finding.what,
            finding.ids.join(", "),
            finding.seed
        );
        for event in &finding.events {
            let _ok = writeln!(text, "    {}:{} {}", event.process, event.line, event.text);
        }
    }
    for why in verdict.vacuous.iter().chain(&verdict.notes) {
        let _ok = writeln!(text, "note: {why}");
    }
    text
}

fn count(value: u64) -> f64 {
    u32::try_from(value).map_or(f64::from(u32::MAX), f64::from)
}
