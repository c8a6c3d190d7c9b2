//! Histories: checked after a run, or by themselves.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use entente_history::{Options, Outcome, Verdict, check as judge};

use entente_report::{FAILED, INVALID, write_whole};

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

fn words(verdict: &Verdict) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let counts = &verdict.counts;
    // Writing to a string cannot fail.
    let _ok = writeln!(
        text,
        "run {}: {:?}; accepted {}, delivered {}; delivered receipts {}, pushes {}, wake-ups due {}",
        verdict.run,
        verdict.outcome,
        counts.ok,
        counts.delivered,
        counts.receipts,
        counts.pushes,
        counts.wakes_due
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
