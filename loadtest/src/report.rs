//! Figures by scenario: a line as each ends, a table of all, and JSON.

use std::fmt::Write;

use serde::Serialize;

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: String,
    /// What it should be at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<f64>,
}

/// What one scenario gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Which scenario.
    pub scenario: String,
    /// Its figures.
    pub figures: Vec<Figure>,
}

impl Row {
    /// Without figures yet.
    pub fn new(scenario: &str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            figures: Vec::new(),
        }
    }

    /// Adds a figure.
    pub fn add(&mut self, name: &str, value: f64, unit: &str) {
        self.goal(name, value, unit, None);
    }

    /// Adds a figure that should be at most the goal.
    pub fn goal(&mut self, name: &str, value: f64, unit: &str, goal: Option<f64>) {
        self.figures.push(Figure {
            name: name.to_owned(),
            value,
            unit: unit.to_owned(),
            goal,
        });
    }

    /// As one line.
    pub fn line(&self) -> String {
        let figures: Vec<String> = self.figures.iter().map(Figure::text).collect();
        format!("{}: {}", self.scenario, figures.join(", "))
    }
}

impl Figure {
    fn text(&self) -> String {
        let verdict = match self.goal {
            Some(goal) if self.value <= goal => format!(" (goal {}: met)", short(goal)),
            Some(goal) => format!(" (goal {}: MISSED)", short(goal)),
            None => String::new(),
        };
        let (name, unit) = (&self.name, &self.unit);
        let space = if unit.is_empty() || unit.starts_with('/') {
            ""
        } else {
            " "
        };
        format!("{name} {}{space}{unit}{verdict}", short(self.value))
    }
}

/// All scenarios, a figure a line.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        // Writing to a string cannot fail.
        let _ok = writeln!(text, "{}", row.scenario);
        for figure in &row.figures {
            let goal = figure.goal.map(|goal| format!("  goal {}", short(goal)));
            let _ok = writeln!(
                text,
                "  {:<24}{:>12} {}{}",
                figure.name,
                short(figure.value),
                figure.unit,
                goal.unwrap_or_default()
            );
        }
    }
    text
}

fn short(value: f64) -> String {
    if value == value.trunc() || value.abs() >= 1000.0 {
        return format!("{value:.0}");
    }
    format!("{value:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_judged_in_the_line() {
        let mut row = Row::new("pairs");
        row.goal("server", 31.04, "µs/message", Some(30.0));
        row.goal("server", 12.0, "µs/message", Some(15.0));
        row.add("lost", 0.0, "");
        row.add("switches", 0.5, "/message");
        assert_eq!(
            row.line(),
            "pairs: server 31.04 µs/message (goal 30: MISSED), \
             server 12 µs/message (goal 15: met), lost 0, switches 0.50/message"
        );
        assert_eq!(table(&[row]).lines().count(), 5);
    }
}
