//! What the history checker said. Its report is its own; where it has findings, rules and notes
//! they are shown as such, and all else as the data it is.

use serde_json::Value;

use super::scale::with_unit;
use super::shell::{Cell, Mark, Page, Text};
use crate::basis::float;
use crate::{RunResult, Verdict};

/// Findings that are shown; the file has them all.
const MOST_FINDINGS: usize = 50;
/// Letters of data that are shown as they are.
const MOST_LETTERS: usize = 20_000;

pub(crate) fn verdict(page: &mut Page, run: &RunResult) {
    page.heading("history", "History checker");
    let Some(verdict) = &run.verdict else {
        page.paragraph("No history was kept, or it was not checked.");
        return;
    };
    summary(page, verdict);
    let reports = match &verdict.report {
        Value::Array(reports) => reports.as_slice(),
        report => std::slice::from_ref(report),
    };
    for report in reports {
        show(page, report);
    }
}

fn summary(page: &mut Page, verdict: &Verdict) {
    let (mark, words) = match verdict.violations {
        0 => (Mark::Good, "no promise was broken".to_owned()),
        1 => (Mark::Bad, "one promise was broken".to_owned()),
        many => (
            Mark::Bad,
            format!("{} promises were broken", with_unit(float(many), "")),
        ),
    };
    page.put(format_args!("<p>{}</p>", mark.markup(&words)));
}

fn show(page: &mut Page, report: &Value) {
    let Value::Object(fields) = report else {
        if !report.is_null() {
            data(page, report);
        }
        return;
    };
    for name in ["vacuous", "notes"] {
        let list = fields.get(name).and_then(Value::as_array);
        for said in list.into_iter().flatten().filter_map(Value::as_str) {
            let word = if name == "notes" {
                "note"
            } else {
                "proves nothing"
            };
            page.put(format_args!(
                "<p>{} {}</p>",
                Mark::Doubt.markup(word),
                Text(said)
            ));
        }
    }
    let findings = fields.get("findings").and_then(Value::as_array);
    for found in findings.into_iter().flatten().take(MOST_FINDINGS) {
        finding(page, found);
    }
    let shown = findings.map_or(0, Vec::len);
    if shown > MOST_FINDINGS {
        page.paragraph(&format!(
            "{} more are in result.json.",
            shown - MOST_FINDINGS
        ));
    }
    if let Some(Value::Object(rules)) = fields.get("rules") {
        table(page, "Cases of each rule", rules);
    }
    if let Some(Value::Object(counts)) = fields.get("counts") {
        let rows: Vec<Vec<Cell>> = counts
            .iter()
            .map(|(name, count)| vec![Cell::text(name), Cell::text(&plain(count))])
            .collect();
        page.table("What the history holds", &["event", "count#"], &rows);
    }
    let known = ["counts", "files", "findings", "notes", "rules", "vacuous"];
    let rest = || {
        fields
            .iter()
            .filter(|(name, _)| !known.contains(&name.as_str()))
    };
    let (simple, deep): (Vec<_>, Vec<_>) =
        rest().partition(|(_, value)| !value.is_object() && !value.is_array());
    if !simple.is_empty() {
        let row =
            |(name, value): (&String, &Value)| vec![Cell::text(name), Cell::text(&exact(value))];
        let rows: Vec<Vec<Cell>> = simple.into_iter().map(row).collect();
        page.table("The check", &["what", "value"], &rows);
    }
    if !deep.is_empty() {
        let deep = deep
            .into_iter()
            .map(|(name, value)| (name.clone(), value.clone()));
        data(page, &Value::Object(deep.collect()));
    }
}

/// One finding: its rule and what it says, then what it is drawn from.
fn finding(page: &mut Page, found: &Value) {
    let text = |name| found.get(name).and_then(Value::as_str);
    let (Some(rule), Some(what)) = (text("rule"), text("what")) else {
        data(page, found);
        return;
    };
    page.put(format_args!(
        "<h3>{} {}</h3>",
        Mark::Bad.markup(rule),
        Text(what)
    ));
    let mut lines = Vec::new();
    for event in found
        .get("events")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let field = |name| event.get(name).map(exact).unwrap_or_default();
        lines.push(format!(
            "{}:{}  {}",
            field("process"),
            field("line"),
            field("text")
        ));
    }
    if let Some(seed) = found.get("seed") {
        lines.push(format!("seed {}", exact(seed)));
    }
    page.put(format_args!("<pre>{}</pre>", Text(&lines.join("\n"))));
}

/// As it is: a number that names something has no thousands.
fn exact(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Objects of numbers by name as a table.
fn table(page: &mut Page, caption: &str, rows: &serde_json::Map<String, Value>) {
    let columns: Vec<String> = rows
        .values()
        .find_map(Value::as_object)
        .map(|first| first.keys().map(|name| format!("{name}#")).collect())
        .unwrap_or_default();
    let mut heads = vec!["rule"];
    heads.extend(columns.iter().map(String::as_str));
    let mut sorted: Vec<_> = rows.iter().collect();
    // R2 before R10.
    sorted.sort_by_key(|(name, _)| (name.len(), name.as_str()));
    let cells: Vec<Vec<Cell>> = sorted
        .into_iter()
        .map(|(name, row)| {
            let value = |column: &String| row.get(column.trim_end_matches('#')).map(plain);
            let values = columns
                .iter()
                .map(|column| Cell::text(&value(column).unwrap_or_default()));
            std::iter::once(Cell::text(name)).chain(values).collect()
        })
        .collect();
    page.table(caption, &heads, &cells);
}

fn plain(value: &Value) -> String {
    match value {
        Value::Number(number) => number
            .as_f64()
            .map_or_else(|| number.to_string(), |number| with_unit(number, "")),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn data(page: &mut Page, value: &Value) {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let cut: String = text.chars().take(MOST_LETTERS).collect();
    let more = if cut.len() < text.len() {
        "\n… (the rest is in result.json)"
    } else {
        ""
    };
    page.put(format_args!("<pre>{}{more}</pre>", Text(&cut)));
}
