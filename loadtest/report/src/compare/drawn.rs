//! A comparison as a page: each ratio with its interval on one axis.

use std::fmt::Write;

use super::{Comparison, Measure, Rounds, Row, Shown};
use crate::figures::{Better, figure};
use crate::page::{Cell, Mark, Page, Scale, Text, with_unit};

/// The room above and below all rows.
const TOP: f64 = 8.0;
const BOTTOM: f64 = 28.0;
/// Ticks by how much they are wanted; one too near to another is left out.
const TICKS: [f64; 15] = [
    1.0, 2.0, 0.5, 5.0, 0.2, 10.0, 0.1, 1.25, 0.8, 1.1, 0.9, 1.05, 0.95, 1.02, 0.98,
];
/// How near ticks may be.
const APART: f64 = 46.0;

/// One drawing of the ratios.
#[derive(Clone, Copy)]
struct Room {
    class: &'static str,
    width: f64,
    /// Where the axis begins.
    left: f64,
    /// Height of a row.
    row: f64,
    /// Where a row's name is, from its middle.
    label: (f64, f64),
}

/// Names beside their rows.
const WIDE: Room = Room {
    class: "wide",
    width: 760.0,
    left: 250.0,
    row: 26.0,
    label: (4.0, 4.0),
};
/// Names above their rows: beside them there is no room on a phone.
const NARROW: Room = Room {
    class: "narrow",
    width: 340.0,
    left: 8.0,
    row: 40.0,
    label: (4.0, -12.0),
};

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
            // What describes the load or the machine is in the table alone.
            .filter(|row| figure(row.figure).is_some_and(|of| of.better != Better::Neither))
            .collect();
        if !ratios.is_empty() {
            page.heading("ratios", "B over A");
            page.paragraph("Left of the line B has less, right of it more. Grey intervals hold 1.");
            page.put(forest(&ratios, WIDE));
            page.put(forest(&ratios, NARROW));
        }
        page.heading("figures", "All figures");
        let rows: Vec<Vec<Cell>> = self.rows.iter().map(cells).collect();
        let heads = ["figure", "A#", "B#", "B against A#", ""];
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
        Cell::code(row.figure),
        Cell::text(&with_unit(row.a, row.unit)),
        Cell::text(&with_unit(row.b, row.unit)),
        Cell::text(&row.change()),
        Cell::mark(mark, row.shown.words()),
    ]
}

/// Dots with their intervals, one figure a row, around a line at 1.
fn forest(rows: &[&Row], room: Room) -> String {
    let ends = || rows.iter().flat_map(|row| [row.low, row.high]).flatten();
    // An interval of three rounds can reach very far: the axis does not follow it over tenfold.
    let low = ends().fold(0.95, f64::min).max(0.1);
    let high = ends().fold(1.05, f64::max).min(10.0);
    let scale = Scale::Log { low, high };
    let height = rows
        .iter()
        .fold(TOP + BOTTOM, |height, _| height + room.row);
    let x = |value: f64| room.left + 10.0 + scale.place(value) * (room.width - room.left - 30.0);
    let floor = height - BOTTOM;
    let mut svg = format!(
        "<svg class=\"chart {}\" viewBox=\"0 0 {} {height}\" role=\"img\" \
         aria-label=\"Ratios of B over A with their intervals, as in the table\">",
        room.class, room.width
    );
    let mut taken: Vec<f64> = Vec::new();
    for tick in TICKS
        .into_iter()
        .filter(|tick| low <= *tick && *tick <= high)
    {
        let at = x(tick);
        if taken.iter().any(|other| (other - at).abs() < APART) {
            continue;
        }
        taken.push(at);
        let line = if tick == 1.0 { "one" } else { "grid" };
        let _ok = write!(
            svg,
            "<line class=\"{line}\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"0\" y2=\"{floor}\"/>\
             <text class=\"x\" x=\"{at:.1}\" y=\"{}\">{tick}×</text>",
            floor + 18.0
        );
    }
    let mut y = TOP + room.row - 13.0;
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
             <text class=\"label\" x=\"{3}\" y=\"{4:.1}\">{0}</text>\
             <line class=\"range\" x1=\"{5:.1}\" x2=\"{6:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <circle class=\"dot\" cx=\"{7:.1}\" cy=\"{y:.1}\" r=\"5\"/></g>",
            Text(row.figure),
            Text(&row.change()),
            row.shown.words(),
            room.label.0,
            y + room.label.1,
            x(from),
            x(until),
            x(row.estimate)
        );
        y += room.row;
    }
    svg.push_str("</svg>");
    svg
}
