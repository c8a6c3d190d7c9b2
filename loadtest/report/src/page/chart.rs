//! Charts as SVG: lines over time or over percentiles, with bands for faults.
//!
//! Each chart is drawn twice, wide and narrow, and the style shows the one that fits, so that its
//! letters stay readable on a phone. Lines differ in dash as well as in colour, and carry their name
//! at their end. Values are in `<title>` elements, which browsers show on hover.

use std::fmt::Write;

use super::scale::{Scale, count};
use super::shell::Text;

/// A chart.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What the chart shows, for those who read it and for those who hear it.
    pub(crate) says: String,
    /// What the vertical axis counts.
    pub(crate) unit: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) lines: Vec<Line>,
    pub(crate) bands: Vec<Band>,
    /// Where parts begin, with their names.
    pub(crate) parts: Vec<(f64, String)>,
    pub(crate) tips: Vec<Tip>,
}

/// An axis and its ticks.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) scale: Scale,
    pub(crate) ticks: Vec<(f64, String)>,
    /// Fewer ticks, for the narrow drawing.
    pub(crate) few: Vec<(f64, String)>,
}

/// A line; `None` is a gap.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, Option<f64>)>,
}

/// A stretch of the horizontal axis in which a fault held.
#[derive(Clone, Debug)]
pub(crate) struct Band {
    pub(crate) from: f64,
    pub(crate) until: f64,
    pub(crate) label: String,
}

/// What a stretch of the horizontal axis says when pointed at.
#[derive(Clone, Debug)]
pub(crate) struct Tip {
    pub(crate) from: f64,
    pub(crate) until: f64,
    pub(crate) text: String,
}

/// The room of one drawing.
#[derive(Clone, Copy, Debug)]
struct Room {
    class: &'static str,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    letter: f64,
}

const WIDE: Room = Room {
    class: "wide",
    width: 760.0,
    height: 270.0,
    left: 58.0,
    right: 88.0,
    top: 40.0,
    bottom: 30.0,
    letter: 6.6,
};
const NARROW: Room = Room {
    class: "narrow",
    width: 340.0,
    height: 250.0,
    left: 46.0,
    right: 80.0,
    top: 40.0,
    bottom: 28.0,
    letter: 6.2,
};
/// Colours that there are; lines beyond them share the last.
const COLOURS: usize = 5;
/// Height of a name at a line's end.
const NAME: f64 = 14.0;

impl Chart {
    /// The chart as a figure with its caption.
    pub(crate) fn figure(&self) -> String {
        format!(
            "<figure><figcaption><strong>{}</strong> <span>{}</span></figcaption>\n{}\n{}\n</figure>",
            Text(&self.title),
            Text(&self.says),
            self.draw(WIDE),
            self.draw(NARROW)
        )
    }

    fn draw(&self, room: Room) -> String {
        let mut svg = format!(
            "<svg class=\"chart {}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}: {}\">",
            room.class,
            room.width,
            room.height,
            Text(&self.title),
            Text(&self.says)
        );
        self.draw_bands(&mut svg, room);
        self.draw_parts(&mut svg, room);
        self.draw_axes(&mut svg, room);
        for (place, line) in self.lines.iter().enumerate() {
            let path = self.path(line, room);
            let _ok = write!(
                svg,
                "<path class=\"line c{}\" d=\"{path}\"/>",
                colour(place)
            );
        }
        self.draw_names(&mut svg, room);
        for tip in &self.tips {
            let (from, until) = (self.x(tip.from, room), self.x(tip.until, room));
            let _ok = write!(
                svg,
                "<rect class=\"tip\" x=\"{from:.1}\" y=\"{}\" width=\"{:.1}\" height=\"{}\">\
                 <title>{}</title></rect>",
                room.top,
                (until - from).max(0.5),
                room.inner_height(),
                Text(&tip.text)
            );
        }
        svg.push_str("</svg>");
        svg
    }

    fn draw_axes(&self, svg: &mut String, room: Room) {
        let (bottom, end) = (room.height - room.bottom, room.width - room.right);
        for (value, label) in &self.y.ticks {
            let y = self.y(*value, room);
            let _ok = write!(
                svg,
                "<line class=\"grid\" x1=\"{0}\" x2=\"{end}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"y\" x=\"{1}\" y=\"{2:.1}\">{3}</text>",
                room.left,
                room.left - 6.0,
                y + 4.0,
                Text(label)
            );
        }
        let ticks = if room.class == NARROW.class {
            &self.x.few
        } else {
            &self.x.ticks
        };
        for (value, label) in ticks {
            let x = self.x(*value, room);
            let _ok = write!(
                svg,
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{}\"/>\
                 <text class=\"x\" x=\"{x:.1}\" y=\"{}\">{}</text>",
                bottom + 4.0,
                bottom + 18.0,
                Text(label)
            );
        }
        let _ok = write!(
            svg,
            "<line class=\"axis\" x1=\"{0}\" x2=\"{end}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
             <text class=\"unit\" x=\"2\" y=\"{1}\">{2}</text>",
            room.left,
            room.top - 10.0,
            Text(&self.unit)
        );
    }

    fn draw_bands(&self, svg: &mut String, room: Room) {
        // After the caption of the vertical axis, which is in the same row.
        let mut free = width(&self.unit, room) + 10.0;
        for band in &self.bands {
            let from = self.x(band.from, room);
            let wide = (self.x(band.until, room) - from).max(2.0);
            let label = cut(&band.label, 24);
            let _ok = write!(
                svg,
                "<rect class=\"band\" x=\"{from:.1}\" y=\"{}\" width=\"{wide:.1}\" height=\"{}\">\
                 <title>{}</title></rect>",
                room.top,
                room.inner_height(),
                Text(&band.label)
            );
            // A label that would lie over the one before is left to the table of faults.
            let long = width(&label, room);
            let at = from.min(room.width - long - 2.0).max(room.left);
            if at >= free {
                free = at + long;
                let _ok = write!(
                    svg,
                    "<text class=\"fault\" x=\"{at:.1}\" y=\"{}\">{}</text>",
                    room.top - 10.0,
                    Text(&label)
                );
            }
        }
    }

    /// Where parts begin; a part too short for its name is left to the table of parts.
    fn draw_parts(&self, svg: &mut String, room: Room) {
        let ends = self
            .parts
            .iter()
            .skip(1)
            .map(|(from, _)| self.x(*from, room));
        for ((from, name), end) in self.parts.iter().zip(ends.chain([room.width])) {
            let x = self.x(*from, room);
            let label = cut(name, 16);
            let named = x + width(&label, room) <= end;
            let _ok = write!(
                svg,
                "<line class=\"part\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{}\"/>",
                if named { 3.0 } else { room.top },
                room.height - room.bottom
            );
            if named {
                let _ok = write!(
                    svg,
                    "<text class=\"name\" x=\"{:.1}\" y=\"12\">{}</text>",
                    x + 4.0,
                    Text(&label)
                );
            }
        }
    }

    /// Names at the lines' ends, pushed apart where lines meet.
    fn draw_names(&self, svg: &mut String, room: Room) {
        let last = |line: &Line| line.points.iter().rev().find_map(|(_, value)| *value);
        let mut names: Vec<(f64, usize, &Line)> = self
            .lines
            .iter()
            .enumerate()
            .filter_map(|(place, line)| Some((self.y(last(line)?, room), place, line)))
            .collect();
        names.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        let floor = room.height - room.bottom + 4.0;
        let mut above = room.top - NAME;
        let left = names.len();
        for (number, (y, place, line)) in names.into_iter().enumerate() {
            let lowest = floor - NAME * count(left - number - 1);
            let y = y.max(above + NAME).min(lowest);
            above = y;
            let x = room.width - room.right + 6.0;
            let _ok = write!(
                svg,
                "<line class=\"line c{0}\" x1=\"{x}\" x2=\"{1}\" y1=\"{2:.1}\" y2=\"{2:.1}\"/>\
                 <text class=\"c{0}\" x=\"{3}\" y=\"{4:.1}\">{5}</text>",
                colour(place),
                x + 12.0,
                y,
                x + 16.0,
                y + 4.0,
                Text(&cut(&line.name, 10))
            );
        }
    }

    fn path(&self, line: &Line, room: Room) -> String {
        let mut path = String::new();
        let mut drawn: Option<(f64, f64)> = None;
        let mut alone = true;
        for (x, value) in &line.points {
            let Some(value) = value else {
                dot(&mut path, drawn.filter(|_| alone));
                drawn = None;
                continue;
            };
            let (x, y) = (self.x(*x, room), self.y(*value, room));
            let step = if drawn.is_some() { 'L' } else { 'M' };
            alone = drawn.is_none();
            drawn = Some((x, y));
            let _ok = write!(path, "{step}{x:.1} {y:.1}");
        }
        dot(&mut path, drawn.filter(|_| alone));
        path
    }

    fn x(&self, value: f64, room: Room) -> f64 {
        room.left + self.x.scale.place(value) * (room.width - room.left - room.right)
    }

    fn y(&self, value: f64, room: Room) -> f64 {
        room.height - room.bottom - self.y.scale.place(value) * room.inner_height()
    }
}

impl Room {
    fn inner_height(self) -> f64 {
        self.height - self.top - self.bottom
    }
}

/// A point between two gaps would not be seen.
fn dot(path: &mut String, at: Option<(f64, f64)>) {
    if at.is_some() {
        path.push_str("h1");
    }
}

/// About how much room a text takes, with a gap after it.
fn width(text: &str, room: Room) -> f64 {
    count(text.chars().count()) * room.letter + 6.0
}

fn colour(place: usize) -> usize {
    place.min(COLOURS - 1)
}

/// Text of at most so many letters.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}
