//! A comparison as a page: each ratio with its interval on one axis.

use std::fmt::Write;

use super::{Comparison, Measure, Rounds, Row, Shown};
use crate::page::{Cell, Mark, Page, Scale, Text, with_unit};

/// Height of a row, and the room above and below all of them.
const ROW: f64 = 26.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 28.0;

impl Comparison {
    /// As one HTML file like a run's report.
    pub fn html(&self) -> String {
        let mut page = Page::new(&format!("{} against {}", self.b, self.a));
        page.put(format_args!(
            "<h1>{} against {}</h1>",
            Text(&self.b),
            Text(&self.a)
        ));
        let [a, b] = self.rounds;
        page.paragraph(&format!(
            "B is {} ({b} rounds), A is {} ({a} rounds){}. Intervals hold the truth with 95 % \
             confidence; one that holds 1 (or a difference of 0) shows no difference.",
            self.b,
            self.a,
            match self.by {
                Rounds::InTurns => ", compared round by round",
                Rounds::Independent => "",
            }
        ));
        for note in &self.notes {
            page.put(format_args!(
                "<p>{} {}</p>",
                Mark::Doubt.markup("note"),
                Text(note)
            ));
        }
        let ratios: Vec<&Row> = self
            .rows
            .iter()
            .filter(|row| row.measure == Measure::Ratio && row.low.is_some())
            .collect();
        if !ratios.is_empty() {
            page.heading("ratios", "B over A");
            for (class, width, left) in [("wide", 760.0, 230.0), ("narrow", 340.0, 160.0)] {
                page.put(forest(&ratios, class, width, left));
            }
        }
        page.heading("figures", "All figures");
        let rows: Vec<Vec<Cell>> = self.rows.iter().map(cells).collect();
        let heads = ["", "figure", "A#", "B#", "B against A#"];
        page.table(
            "Means of the rounds; geometric where a ratio is shown",
            &heads,
            &rows,
        );
        page.finish()
    }
}

fn cells(row: &Row) -> Vec<Cell> {
    let mark = match row.shown {
        Shown::Better => Mark::Good,
        Shown::Worse => Mark::Bad,
        Shown::Differs | Shown::TooFewRounds => Mark::Doubt,
        Shown::NoDifference => Mark::Plain,
    };
    vec![
        Cell::mark(mark, row.shown.words()),
        Cell::code(row.figure),
        Cell::text(&with_unit(row.a, row.unit)),
        Cell::text(&with_unit(row.b, row.unit)),
        Cell::text(&row.change()),
    ]
}

/// Dots with their intervals, one figure a row, around a line at 1.
fn forest(rows: &[&Row], class: &str, width: f64, left: f64) -> String {
    let ends = || rows.iter().flat_map(|row| [row.low, row.high]).flatten();
    // An interval of three rounds can reach very far: the axis does not follow it over tenfold.
    let low = ends().fold(0.9, f64::min).max(0.1);
    let high = ends().fold(1.1, f64::max).min(10.0);
    let scale = Scale::Log { low, high };
    let height = rows.iter().fold(TOP + BOTTOM, |height, _| height + ROW);
    let x = |value: f64| left + scale.place(value) * (width - left - 14.0);
    let floor = height - BOTTOM;
    let mut svg = format!(
        "<svg class=\"chart {class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"Ratios of B over A with their intervals, as in the table\">"
    );
    for tick in [0.1, 0.2, 0.5, 0.8, 1.0, 1.25, 2.0, 5.0, 10.0] {
        // Near the middle there is room for its neighbours only on a short axis.
        let crowded = high / low > 4.0 && (tick == 0.8 || tick == 1.25);
        if tick < low * 0.999 || tick > high * 1.001 || crowded {
            continue;
        }
        let line = if tick == 1.0 { "one" } else { "grid" };
        let _ok = write!(
            svg,
            "<line class=\"{line}\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"0\" y2=\"{floor}\"/>\
             <text class=\"x\" x=\"{0:.1}\" y=\"{1}\">{tick}×</text>",
            x(tick),
            floor + 18.0
        );
    }
    let mut y = TOP + ROW / 2.0;
    for row in rows {
        let sure = if row.shown == Shown::NoDifference {
            "none"
        } else {
            "sure"
        };
        let (from, until) = (row.low.unwrap_or(1.0), row.high.unwrap_or(1.0));
        let _ok = write!(
            svg,
            "<g class=\"{sure}\"><title>{0}: {1}, {2}</title>\
             <text class=\"y\" x=\"{3}\" y=\"{4:.1}\">{0}</text>\
             <line class=\"range\" x1=\"{5:.1}\" x2=\"{6:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <circle class=\"dot\" cx=\"{7:.1}\" cy=\"{y:.1}\" r=\"5\"/></g>",
            Text(row.figure),
            Text(&row.change()),
            row.shown.words(),
            left - 10.0,
            y + 4.0,
            x(from),
            x(until),
            x(row.estimate)
        );
        y += ROW;
    }
    svg.push_str("</svg>");
    svg
}
