//! A run as one HTML file: no network, no script, readable on a phone, in print, and aloud.
//!
//! In: a result that was judged. Out: the page. Its charts are SVG in the page itself; light or dark
//! is what the reader's system says.
//!
//! **Invariants**: nothing from the result becomes markup ([`shell::Text`]); the page's size is
//! bounded by what is drawn (points, findings, letters), not by the run's length.

mod chart;
mod checked;
mod lines;
mod origin;
mod scale;
mod sections;
mod shell;

pub(crate) use scale::{Scale, with_unit};
pub(crate) use shell::{Cell, Mark, Page, Text};

use crate::{RunResult, histogram};

/// Draws the report of a run that was judged.
///
/// # Errors
/// If a histogram of the series is damaged.
pub fn html(run: &RunResult) -> Result<String, histogram::Error> {
    let mut page = Page::new(&format!(
        "{} against {}",
        run.scenario.name, run.server.name
    ));
    sections::head(&mut page, run);
    sections::thresholds(&mut page, run);
    sections::findings(&mut page, run);
    page.heading("charts", "Charts");
    for chart in lines::charts(run)? {
        page.put(chart.figure());
    }
    sections::faults(&mut page, run);
    checked::verdict(&mut page, run);
    sections::figures(&mut page, run);
    sections::parts(&mut page, run);
    origin::machines(&mut page, run);
    origin::repeat(&mut page, run);
    Ok(page.finish())
}
