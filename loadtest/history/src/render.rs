//! A verdict for people, as lines of a terminal.

use std::fmt::Write;

use crate::read::Ending;
use crate::verdict::{Counts, Finding, Outcome, Rule, Verdict};

/// The verdict in words: what held, what did not and by which events, and what was seen at all.
pub fn render(verdict: &Verdict) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    write_all(&mut out, verdict).unwrap_or_default();
    out
}

fn write_all(out: &mut String, verdict: &Verdict) -> std::fmt::Result {
    let lines: u64 = verdict.files.iter().map(|file| file.lines).sum();
    let said = match verdict.outcome {
        Outcome::Broken => "BROKEN: some promise did not hold",
        Outcome::Held => "HELD: every promise that the run tests",
        Outcome::Vacuous => "VACUOUS: nothing broken, and nothing proven",
    };
    writeln!(out, "{said}")?;
    let files = verdict.files.len();
    writeln!(
        out,
        "run {}: {} files, {} lines",
        verdict.run,
        files,
        grouped(lines)
    )?;
    for file in &verdict.files {
        if file.ending != Ending::Closed {
            writeln!(out, "  {}: {:?}", file.process, file.ending)?;
        }
    }
    for reason in &verdict.vacuous {
        writeln!(out, "  proves nothing: {reason}")?;
    }
    for note in &verdict.notes {
        writeln!(out, "  note: {note}")?;
    }
    writeln!(out)?;
    counts(out, &verdict.counts)?;
    writeln!(
        out,
        "\n{:<5}{:>14}{:>14}{:>9}  promise",
        "rule", "judged", "not judged", "broken"
    )?;
    for (rule, tally) in &verdict.rules {
        let name = format!("{rule:?}");
        let (judged, unjudged) = (grouped(tally.judged), grouped(tally.unjudged));
        let broken = grouped(tally.broken);
        let promise = promise(*rule);
        writeln!(
            out,
            "{name:<5}{judged:>14}{unjudged:>14}{broken:>9}  {promise}"
        )?;
    }
    for finding in &verdict.findings {
        writeln!(out)?;
        tell(out, finding)?;
    }
    let total: u64 = verdict.rules.values().map(|tally| tally.broken).sum();
    let told = u64::try_from(verdict.findings.len()).unwrap_or(u64::MAX);
    if total > told {
        writeln!(
            out,
            "\n{} findings more are counted and not shown",
            grouped(total - told)
        )?;
    }
    Ok(())
}

fn counts(out: &mut String, counts: &Counts) -> std::fmt::Result {
    let rows: [&[(&str, u64)]; 4] = [
        &[
            ("sent", counts.invoke),
            ("ok", counts.ok),
            ("refused", counts.fail),
            ("unknown", counts.info),
            ("open", counts.open),
            ("sent again", counts.resent),
        ],
        &[
            ("delivered", counts.delivered),
            ("deliveries", counts.deliver),
            ("wire duplicates", counts.wire_duplicates),
            ("application duplicates", counts.app_duplicates),
            ("suppressed", counts.suppressed),
            ("receipts", counts.receipts),
            ("notices", counts.notices),
        ],
        &[
            ("devices", counts.devices),
            ("drained", counts.drained),
            ("binds", counts.binds),
            ("resumes", counts.resumes),
            ("at another node", counts.takeovers),
            ("prekeys", counts.prekeys),
            ("pushes", counts.pushes),
            ("wake-ups due", counts.wakes_due),
        ],
        &[
            ("faults", counts.faults),
            ("kills", counts.kills),
            ("kills with messages in flight", counts.kills_in_flight),
            ("in flight at faults", counts.in_flight_at_faults),
            ("sent under a fault", counts.sent_under_fault),
        ],
    ];
    for row in rows {
        let cells = row
            .iter()
            .map(|(name, count)| format!("{name} {}", grouped(*count)));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join(" · "))?;
    }
    Ok(())
}

fn tell(out: &mut String, finding: &Finding) -> std::fmt::Result {
    writeln!(out, "{:?}: {}", finding.rule, finding.what)?;
    let ids = finding.ids.join(", ");
    writeln!(out, "  ids {ids}; replay with seed {}", finding.seed)?;
    for event in &finding.events {
        writeln!(out, "  {}:{} {}", event.process, event.line, event.text)?;
    }
    Ok(())
}

const fn promise(rule: Rule) -> &'static str {
    match rule {
        Rule::R1 => "accepted is delivered, or told of",
        Rule::R2 => "delivered is what was sent",
        Rule::R3 => "handed over once",
        Rule::R4 => "in the order of sending",
        Rule::R5 => "no hole, none filled later",
        Rule::R6 => "h is true",
        Rule::R7 => "one connection counts",
        Rule::R8 => "the sender is who it says",
        Rule::R9 => "well again after the heal",
        Rule::R10 => "receipts are honest",
        Rule::R11 => "prekeys once, and never back",
        Rule::R12 => "who is waited for is woken",
    }
}

/// With commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_told_apart() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }
}
