//! Where a run's numbers come from: processes, machines, the command and the scenario.

use super::scale::with_unit;
use super::shell::{Cell, Page, Text};
use crate::RunResult;
use crate::basis::float;

pub(crate) fn machines(page: &mut Page, run: &RunResult) {
    page.heading("processes", "Processes and machines");
    let rows: Vec<Vec<Cell>> = run
        .processes
        .iter()
        .filter_map(|process| {
            let (first, last) = (process.samples.first()?, process.samples.last()?);
            let spent =
                |from: u64, to: u64| format!("{:.2} s", float(to.saturating_sub(from)) / 1e6);
            let most = |of: fn(&crate::probe::ProcessSample) -> u64| {
                process.samples.iter().map(of).max().unwrap_or(0)
            };
            let clock = match process.clock {
                crate::probe::Clock::Schedstat => "schedstat",
                crate::probe::Clock::Ticks => "ticks",
            };
            let mut name = format!("{} ({})", process.name, process.pid);
            if let Some(ended) = process.ended_us {
                name.push_str(&format!(", ended at {:.1} s", float(ended) / 1e6));
            }
            Some(vec![
                Cell::text(&name),
                Cell::text(&spent(first.cpu_us, last.cpu_us)),
                Cell::text(&spent(first.user_us, last.user_us)),
                Cell::text(&spent(first.system_us, last.system_us)),
                Cell::text(&with_unit(float(most(|sample| sample.rss)), "bytes")),
                Cell::text(&most(|sample| u64::from(sample.threads)).to_string()),
                Cell::text(&most(|sample| sample.descriptors.unwrap_or(0)).to_string()),
                Cell::text(&with_unit(
                    float(last.waits.saturating_sub(first.waits)),
                    "",
                )),
                Cell::text(clock),
            ])
        })
        .collect();
    let heads = [
        "process",
        "CPU#",
        "user#",
        "kernel#",
        "most memory#",
        "threads#",
        "descriptors#",
        "waits#",
        "clock",
    ];
    page.table(
        "What was spent between the first and the last sample",
        &heads,
        &rows,
    );
    let rows: Vec<Vec<Cell>> = run
        .metrics
        .iter()
        .filter_map(|metric| {
            let (first, last) = (metric.readings.first()?, metric.readings.last()?);
            Some(vec![
                Cell::text(&metric.page),
                Cell::code(&metric.name),
                Cell::text(&with_unit(first.value, "")),
                Cell::text(&with_unit(last.value, "")),
            ])
        })
        .collect();
    if !rows.is_empty() {
        page.table(
            "What servers published",
            &["page", "metric", "first#", "last#"],
            &rows,
        );
    }
}

pub(crate) fn repeat(page: &mut Page, run: &RunResult) {
    page.heading("run", "How to run it again");
    for generator in &run.generators {
        let command: Vec<String> = generator.command.iter().map(|word| quoted(word)).collect();
        page.put(format_args!("<pre>{}</pre>", Text(&command.join(" "))));
    }
    let rows: Vec<Vec<Cell>> = run
        .generators
        .iter()
        .map(|generator| {
            let facts = [
                &generator.name,
                &generator.version,
                &generator.machine,
                &generator.kernel,
                &generator.cpu,
            ];
            let mut row: Vec<Cell> = facts.into_iter().map(|fact| Cell::text(fact)).collect();
            row.push(Cell::text(&generator.cores.to_string()));
            row
        })
        .collect();
    let heads = [
        "generator",
        "version",
        "machine",
        "kernel",
        "processor",
        "cores#",
    ];
    page.table(
        &format!(
            "Generators; the server was reached at {}",
            run.server.address
        ),
        &heads,
        &rows,
    );
    page.heading("scenario", "The scenario");
    page.put(format_args!("<pre>{}</pre>", Text(&run.scenario.text)));
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted() {
        assert_eq!(quoted("--rate=100"), "--rate=100");
        assert_eq!(quoted("p99_ms < 15"), "'p99_ms < 15'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
