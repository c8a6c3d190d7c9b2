//! The parts of a report that are words and tables.

use std::collections::BTreeMap;

use super::scale::{moment, with_unit};
use super::shell::{Cell, Mark, Page, Text};
use crate::basis::float;
use crate::{FAILED, FIGURES, FindingKind, INVALID, PhaseKind, RunResult, figure};

/// Figures that stand at the top, if the run has them.
const TILES: [(&str, &str); 12] = [
    ("rate", "messages delivered a second"),
    ("p50_ms", "median delivery"),
    ("p99_ms", "p99 of delivery"),
    ("p999_ms", "p99.9 of delivery"),
    ("server_cpu_us_per_message", "server CPU a message"),
    ("server_cpu_us_per_login", "server CPU a login"),
    (
        "idle_cpu_us_per_session_second",
        "server CPU an idle session second",
    ),
    ("bytes_per_session", "memory a session"),
    ("lost", "lost"),
    ("duplicated", "duplicated"),
    ("out_of_order", "out of order"),
    ("errors", "errors"),
];

/// Kinds of latencies: how their figures' names begin, and what they are called.
const KINDS: [(&str, &str); 5] = [
    ("", "delivery"),
    ("actual_", "delivery, from the actual time of sending"),
    ("ack_", "acknowledgement by the server"),
    ("receipt_", "receipt"),
    ("login_", "login"),
];

pub(crate) fn head(page: &mut Page, run: &RunResult) {
    let version = run.server.version.as_deref().unwrap_or_default();
    page.put(format_args!(
        "<h1>Load test “{}” of {} {}</h1>",
        Text(&run.scenario.name),
        Text(&run.server.name),
        Text(version)
    ));
    page.put(format_args!(
        "<p class=\"soft\">{}, {} long, seed {}, run {}</p>",
        date(run.started_ms),
        Text(&moment(float(run.duration_us) / 1e6)),
        run.seed,
        Text(&run.run)
    ));
    let broken = run
        .thresholds
        .iter()
        .filter(|outcome| !outcome.held)
        .count();
    let violations = run.verdict.as_ref().map_or(0, |verdict| verdict.violations);
    let (class, sign, word, says) = match run.exit_code() {
        INVALID => (
            "doubt",
            "!",
            "Invalid run",
            "The run says nothing about the server, because of what is listed below. Status 98."
                .to_owned(),
        ),
        FAILED => (
            "bad",
            "✗",
            "Failed",
            failure(broken, run.thresholds.len(), violations),
        ),
        _ if run.thresholds.is_empty() => (
            "good",
            "✓",
            "Passed",
            "The run is valid. No thresholds were asked for.".to_owned(),
        ),
        _ => (
            "good",
            "✓",
            "Passed",
            format!(
                "The run is valid, and all {} thresholds held.",
                run.thresholds.len()
            ),
        ),
    };
    page.put(format_args!(
        "<div class=\"verdict {class}\" role=\"status\"><strong><span aria-hidden=\"true\">{sign}</span> \
         {word}</strong><p>{}</p></div>",
        Text(&says)
    ));
    tiles(page, run);
}

fn failure(broken: usize, asked: usize, violations: u64) -> String {
    let mut said = Vec::new();
    if broken > 0 {
        said.push(format!("{broken} of {asked} thresholds did not hold"));
    }
    match violations {
        0 => {}
        1 => said.push("one promise was broken".to_owned()),
        many => said.push(format!(
            "{} promises were broken",
            with_unit(float(many), "")
        )),
    }
    format!("{}. Status 99.", said.join("; "))
}

fn tiles(page: &mut Page, run: &RunResult) {
    let mut list = String::from("<ul class=\"tiles\">");
    for (name, says) in TILES {
        if let (Some(value), Some(figure)) = (run.figures.get(name), figure(name)) {
            let value = with_unit(*value, figure.unit);
            list.push_str(&format!(
                "<li><b>{}</b><span>{says}</span></li>",
                Text(&value)
            ));
        }
    }
    list.push_str("</ul>");
    page.put(list);
}

pub(crate) fn thresholds(page: &mut Page, run: &RunResult) {
    if run.thresholds.is_empty() {
        return;
    }
    page.heading("thresholds", "Thresholds");
    let rows: Vec<Vec<Cell>> = run
        .thresholds
        .iter()
        .map(|outcome| {
            let name = outcome
                .text
                .split(|c: char| c != '_' && !c.is_alphanumeric())
                .next();
            let unit = name.and_then(figure).map_or("", |figure| figure.unit);
            let value = outcome
                .value
                .map_or("no data".to_owned(), |value| with_unit(value, unit));
            let mark = if outcome.held {
                Cell::mark(Mark::Good, "held")
            } else {
                Cell::mark(Mark::Bad, "failed")
            };
            vec![mark, Cell::code(&outcome.text), Cell::text(&value)]
        })
        .collect();
    page.table(
        "What was asked of the run, and how it came out",
        &["", "threshold", "measured#"],
        &rows,
    );
}

pub(crate) fn findings(page: &mut Page, run: &RunResult) {
    page.heading("findings", "What to know before believing the numbers");
    if run.findings.is_empty() {
        page.paragraph("Nothing was found that casts doubt on this run.");
        return;
    }
    let rows: Vec<Vec<Cell>> = run
        .findings
        .iter()
        .map(|finding| {
            let (mark, word) = if finding.invalidates {
                (Mark::Doubt, "invalid")
            } else {
                (Mark::Plain, "note")
            };
            let kind = match finding.kind {
                FindingKind::ClockJump => "a clock jumped",
                FindingKind::GeneratorSaturated => "generator saturated",
                FindingKind::HistoryTruncated => "history not whole",
                FindingKind::NoisyMachine => "noisy machine",
                FindingKind::Note => "note",
                FindingKind::Partial => "partial run",
                FindingKind::TooFewSamples => "too few samples",
                FindingKind::WatchLost => "process ended",
            };
            vec![
                Cell::mark(mark, word),
                Cell::text(kind),
                Cell::text(&finding.detail),
            ]
        })
        .collect();
    page.table(
        "Findings about the run itself",
        &["", "what", "detail"],
        &rows,
    );
}

pub(crate) fn faults(page: &mut Page, run: &RunResult) {
    if run.faults.is_empty() {
        return;
    }
    page.heading("faults", "Faults that were injected");
    let rows: Vec<Vec<Cell>> = run
        .faults
        .iter()
        .map(|fault| {
            let at = |us: u64| format!("{:.1} s", float(us) / 1e6);
            let until = fault.until_us.map_or("the end".to_owned(), at);
            vec![
                Cell::text(&fault.kind),
                Cell::text(&fault.target),
                Cell::text(&at(fault.from_us)),
                Cell::text(&until),
            ]
        })
        .collect();
    page.table(
        "Shaded in the charts",
        &["fault", "target", "from#", "until#"],
        &rows,
    );
}

pub(crate) fn figures(page: &mut Page, run: &RunResult) {
    page.heading("figures", "All figures");
    let mut shown = Vec::new();
    let rows: Vec<Vec<Cell>> = KINDS
        .iter()
        .filter_map(|(prefix, kind)| {
            let mut row = vec![Cell::text(kind), Cell::code(&format!("{prefix}p99_ms"))];
            for percentile in ["p50", "p90", "p99", "p999", "max"] {
                let name = format!("{prefix}{percentile}_ms");
                row.push(Cell::text(&with_unit(*run.figures.get(&name)?, "ms")));
                shown.push(name);
            }
            Some(row)
        })
        .collect();
    if !rows.is_empty() {
        let heads = [
            "of",
            "in thresholds",
            "p50#",
            "p90#",
            "p99#",
            "p99.9#",
            "max#",
        ];
        page.table(
            "Latencies; from the intended time of sending where nothing else is said",
            &heads,
            &rows,
        );
    }
    let rows: Vec<Vec<Cell>> = FIGURES
        .iter()
        .filter(|figure| !shown.iter().any(|name| name == figure.name))
        .filter_map(|figure| {
            let value = with_unit(*run.figures.get(figure.name)?, figure.unit);
            Some(vec![
                Cell::code(figure.name),
                Cell::text(&value),
                Cell::text(figure.says),
            ])
        })
        .collect();
    page.table(
        "By the names that thresholds use",
        &["figure", "value#", "what it says"],
        &rows,
    );
}

pub(crate) fn parts(page: &mut Page, run: &RunResult) {
    page.heading("parts", "Parts of the run");
    let rows: Vec<Vec<Cell>> = run
        .phases
        .iter()
        .map(|phase| {
            let kind = match phase.kind {
                PhaseKind::Drain => "drain",
                PhaseKind::Idle => "idle",
                PhaseKind::Load => "load, measured",
                PhaseKind::Login => "logins, measured",
                PhaseKind::WarmUp => "warm-up",
            };
            let (counted, number) = (&phase.counters, |n: u64| {
                Cell::text(&with_unit(float(n), ""))
            });
            vec![
                Cell::text(&phase.name),
                Cell::text(kind),
                Cell::text(&format!(
                    "{:.1} s",
                    float(phase.until_us.saturating_sub(phase.from_us)) / 1e6
                )),
                number(phase.sessions),
                number(counted.sent),
                number(counted.acked),
                number(counted.delivered),
                number(counted.logins),
                number(counted.refusals().saturating_add(counted.failures())),
            ]
        })
        .collect();
    let heads = [
        "part",
        "for",
        "length#",
        "sessions#",
        "sent#",
        "acked#",
        "delivered#",
        "logins#",
        "errors#",
    ];
    page.table("What happened in each", &heads, &rows);
    let mut all = crate::Counters::default();
    run.phases.iter().for_each(|phase| all.add(&phase.counters));
    let kinds: [(&str, &BTreeMap<String, u64>); 3] = [
        ("message refused", &all.refused),
        ("login failed", &all.login_failures),
        ("error", &all.errors),
    ];
    let rows: Vec<Vec<Cell>> = kinds
        .into_iter()
        .flat_map(|(kind, counts)| {
            counts.iter().map(move |(reason, count)| {
                vec![
                    Cell::text(kind),
                    Cell::text(reason),
                    Cell::text(&with_unit(float(*count), "")),
                ]
            })
        })
        .collect();
    if !rows.is_empty() {
        page.table(
            "What went wrong, by kind",
            &["kind", "reason", "count#"],
            &rows,
        );
    }
}

/// A date and time in UTC from milliseconds since 1970.
pub(crate) fn date(ms: u64) -> String {
    let (days, seconds) = (ms / 86_400_000, ms / 1_000 % 86_400);
    // Days from 0000-03-01, in eras of 400 years.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{of_month:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(date(1_700_000_000_000), "2023-11-14 22:13:20 UTC");
        assert!(!date(u64::MAX).is_empty());
    }
}
