//! A run as JUnit XML, for what CI systems show.
//!
//! One test case for the run's validity, one for each threshold, and one for the history. In an
//! invalid run the thresholds are skipped: they say nothing about the server.

use std::fmt::{self, Display, Write};

use crate::RunResult;
use crate::basis::float;

/// Text made safe for XML 1.0, which has no way at all to write most control characters.
struct Xml<'a>(&'a str);

impl Display for Xml<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\n' => f.write_str("&#10;")?,
                '\t' => f.write_str("&#9;")?,
                '\u{fffe}' | '\u{ffff}' => f.write_char('\u{fffd}')?,
                _ if letter.is_control() => f.write_char('\u{fffd}')?,
                _ => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// How a case ended.
enum End {
    Failed(String),
    Passed,
    Skipped(&'static str),
}

/// Writes the outcome of a run that was judged.
pub fn junit(run: &RunResult) -> String {
    let cases = cases(run);
    let count = |is: fn(&End) -> bool| cases.iter().filter(|(_, end)| is(end)).count();
    let seconds = float(run.duration_us) / 1e6;
    let name = format!("loadtest {} {}", run.scenario.name, run.server.name);
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n\
         <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{seconds:.3}\">\n\
         <properties><property name=\"seed\" value=\"{}\"/><property name=\"run\" value=\"{}\"/></properties>\n",
        Xml(&name),
        cases.len(),
        count(|end| matches!(end, End::Failed(_))),
        count(|end| matches!(end, End::Skipped(_))),
        run.seed,
        Xml(&run.run)
    );
    for (case, end) in &cases {
        let inner = match end {
            End::Passed => String::new(),
            End::Failed(why) => format!("<failure message=\"{}\"/>", Xml(why)),
            End::Skipped(why) => format!("<skipped message=\"{}\"/>", Xml(why)),
        };
        let _ok = writeln!(
            xml,
            "<testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.3}\">{inner}</testcase>",
            Xml(&name),
            Xml(case)
        );
    }
    xml.push_str("</testsuite>\n</testsuites>\n");
    xml
}

fn cases(run: &RunResult) -> Vec<(String, End)> {
    let doubts: Vec<&str> = run
        .findings
        .iter()
        .filter(|finding| finding.invalidates)
        .map(|finding| finding.detail.as_str())
        .collect();
    let valid = if doubts.is_empty() {
        End::Passed
    } else {
        End::Failed(doubts.join("; "))
    };
    let mut cases = vec![("the run is valid".to_owned(), valid)];
    for outcome in &run.thresholds {
        let measured = outcome
            .value
            .map_or("no data".to_owned(), |value| format!("measured {value}"));
        let end = match outcome.held {
            _ if !run.valid() => End::Skipped("the run is invalid"),
            true => End::Passed,
            false => End::Failed(measured),
        };
        cases.push((outcome.text.clone(), end));
    }
    if let Some(verdict) = &run.verdict {
        let end = match verdict.violations {
            0 => End::Passed,
            broken => End::Failed(format!("{broken} promises were broken")),
        };
        cases.push(("no promise was broken".to_owned(), end));
    }
    cases
}
