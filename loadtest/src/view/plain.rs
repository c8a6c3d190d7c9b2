//! A line a second, for logs and for CI.

use std::io::{self, Write};

use super::{Glimpse, View, called, millis};

/// Lines to a writer.
#[derive(Debug)]
pub struct Plain<W> {
    out: W,
}

impl<W: Write> Plain<W> {
    /// To a writer.
    pub const fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> View for Plain<W> {
    fn say(&mut self, words: &str) -> io::Result<()> {
        writeln!(self.out, "{words}")?;
        self.out.flush()
    }

    fn second(&mut self, glimpse: &Glimpse) -> io::Result<()> {
        writeln!(self.out, "{}", line(glimpse))?;
        self.out.flush()
    }

    fn asked_to_end(&mut self) -> io::Result<bool> {
        Ok(false)
    }
}

fn line(glimpse: &Glimpse) -> String {
    let second = &glimpse.second;
    let number = |value: Option<f64>, unit: &str| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}{unit}"))
    };
    let percent =
        |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}%"));
    format!(
        "{:>4}s {:<8} sent {:>7}/s  delivered {:>7}/s  p50 {:>8}  p99 {:>8}  logins {:>5}/s  \
         sessions {:>6}  under way {:>6}  errors {:>4}  server {:>4}  own {:>4}",
        glimpse.elapsed,
        called(glimpse.stage),
        second.sent,
        second.delivered,
        number(millis(second, 0.5), "ms"),
        number(millis(second, 0.99), "ms"),
        second.logins,
        second.sessions,
        second.under_way,
        glimpse.total.errors,
        percent(glimpse.server_cpu),
        percent(glimpse.own_cpu),
    )
}
