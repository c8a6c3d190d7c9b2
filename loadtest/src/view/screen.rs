//! The live view of a terminal: rates and latencies over the last minutes, and what goes wrong.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Paragraph};

use super::{Glimpse, View, called, millis};

/// Seconds that the charts show.
const SHOWN: usize = 120;
/// Words that are kept.
const WORDS: usize = 50;

/// Owns the terminal until it is dropped.
pub struct Screen {
    terminal: ratatui::DefaultTerminal,
    shown: Shown,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").finish_non_exhaustive()
    }
}

/// What is drawn.
#[derive(Debug, Default)]
struct Shown {
    title: String,
    seconds: VecDeque<Glimpse>,
    words: VecDeque<String>,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// If it cannot be taken.
    pub fn open(title: &str) -> io::Result<Self> {
        let terminal = ratatui::try_init()?;
        Ok(Self {
            terminal,
            shown: Shown {
                title: title.to_owned(),
                ..Shown::default()
            },
        })
    }

    fn draw(&mut self) -> io::Result<()> {
        let shown = &self.shown;
        self.terminal.draw(|frame| shown.draw(frame))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

impl View for Screen {
    fn say(&mut self, words: &str) -> io::Result<()> {
        self.shown.say(words);
        self.draw()
    }

    fn second(&mut self, glimpse: &Glimpse) -> io::Result<()> {
        self.shown.push(glimpse.clone());
        self.draw()
    }

    fn asked_to_end(&mut self) -> io::Result<bool> {
        // In raw mode, Ctrl-C comes as a key.
        while event::poll(Duration::ZERO)? {
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press => {
                    let control = key.modifiers.contains(KeyModifiers::CONTROL);
                    if key.code == KeyCode::Char('q') || (control && key.code == KeyCode::Char('c'))
                    {
                        return Ok(true);
                    }
                }
                Event::Resize(..) => self.draw()?,
                _ => {}
            }
        }
        Ok(false)
    }
}

impl Shown {
    fn say(&mut self, words: &str) {
        for line in words.lines() {
            self.words.push_back(line.to_owned());
        }
        while self.words.len() > WORDS {
            self.words.pop_front();
        }
    }

    fn push(&mut self, glimpse: Glimpse) {
        self.seconds.push_back(glimpse);
        if self.seconds.len() > SHOWN {
            self.seconds.pop_front();
        }
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let [top, numbers, charts, words] = Layout::vertical([
            Constraint::Length(3),
            Constraint::Length(5),
            Constraint::Min(8),
            Constraint::Length(6),
        ])
        .areas(frame.area());
        self.draw_progress(frame, top);
        self.draw_numbers(frame, numbers);
        let [rates, latencies] =
            Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)])
                .areas(charts);
        self.draw_rates(frame, rates);
        self.draw_latencies(frame, latencies);
        let room = usize::from(words.height.saturating_sub(2));
        let last = self
            .words
            .iter()
            .skip(self.words.len().saturating_sub(room));
        let text: Vec<Line<'_>> = last.map(|line| Line::from(line.as_str())).collect();
        let block = Block::bordered().title(" what happens (q ends the run) ");
        frame.render_widget(Paragraph::new(text).block(block), words);
    }

    fn draw_progress(&self, frame: &mut Frame<'_>, area: Rect) {
        let last = self.seconds.back();
        let stage = last.map_or("start", |last| called(last.stage));
        let elapsed = last.map_or(0, |last| last.elapsed);
        let gauge = Gauge::default()
            .block(Block::bordered().title(format!(" {} ", self.title)))
            .gauge_style(Style::new().fg(Color::Cyan))
            .ratio(
                last.and_then(|last| last.progress)
                    .unwrap_or(0.0)
                    .clamp(0.0, 1.0),
            )
            .label(format!("{stage}, {elapsed} s"));
        frame.render_widget(gauge, area);
    }

    fn draw_numbers(&self, frame: &mut Frame<'_>, area: Rect) {
        let Some(last) = self.seconds.back() else {
            frame.render_widget(Block::bordered(), area);
            return;
        };
        let (second, total) = (&last.second, &last.total);
        let show = |value: Option<f64>, digits: usize, unit: &str| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}{unit}"))
        };
        let errors = format!("errors {}", total.errors);
        let memory = last
            .server_memory
            .map(|bytes| Duration::from_micros(bytes).as_secs_f64());
        let lines = vec![
            Line::from(format!(
                "sessions {}   under way {}   logins {}/s   sent {}   accepted {}   delivered {}",
                second.sessions,
                second.under_way,
                second.logins,
                total.sent,
                total.acked,
                total.delivered
            )),
            Line::from(format!(
                "latency p50 {}  p90 {}  p99 {}  max {}",
                show(millis(second, 0.5), 1, " ms"),
                show(millis(second, 0.9), 1, " ms"),
                show(millis(second, 0.99), 1, " ms"),
                show(millis(second, 1.0), 1, " ms"),
            )),
            Line::from(vec![
                format!(
                    "server {} of a core, {}   generator {}   ",
                    show(last.server_cpu, 0, " %"),
                    show(memory, 1, " MB"),
                    show(last.own_cpu, 0, " %"),
                )
                .into(),
                if total.errors > 0 {
                    errors.red().bold()
                } else {
                    errors.green()
                },
            ]),
        ];
        frame.render_widget(Paragraph::new(lines).block(Block::bordered()), area);
    }

    fn draw_rates(&self, frame: &mut Frame<'_>, area: Rect) {
        let delivered = self.points(|glimpse| Some(count(glimpse.second.delivered)));
        let logins = self.points(|glimpse| Some(count(glimpse.second.logins)));
        chart(
            frame,
            area,
            " a second ",
            &[
                ("delivered", Color::Green, &delivered),
                ("logins", Color::Blue, &logins),
            ],
        );
    }

    fn draw_latencies(&self, frame: &mut Frame<'_>, area: Rect) {
        let median = self.points(|glimpse| millis(&glimpse.second, 0.5));
        let high = self.points(|glimpse| millis(&glimpse.second, 0.99));
        chart(
            frame,
            area,
            " latency, ms ",
            &[
                ("p50", Color::Green, &median),
                ("p99", Color::Yellow, &high),
            ],
        );
    }

    fn points(&self, value: impl Fn(&Glimpse) -> Option<f64>) -> Vec<(f64, f64)> {
        let point = |glimpse: &Glimpse| Some((count(glimpse.elapsed), value(glimpse)?));
        self.seconds.iter().filter_map(point).collect()
    }
}

type Points<'a> = (&'a str, Color, &'a [(f64, f64)]);

fn chart(frame: &mut Frame<'_>, area: Rect, title: &str, lines: &[Points<'_>]) {
    let all = || lines.iter().flat_map(|(_, _, points)| points.iter());
    let high = all().map(|(_, y)| *y).fold(1.0, f64::max);
    let from = all().map(|(x, _)| *x).fold(f64::MAX, f64::min);
    let until = all().map(|(x, _)| *x).fold(0.0, f64::max);
    let from = from.min(until - 1.0);
    let sets = lines.iter().map(|(name, color, points)| {
        Dataset::default()
            .name(*name)
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(*color))
            .data(points)
    });
    let chart = Chart::new(sets.collect())
        .block(Block::bordered().title(title.to_owned()))
        .x_axis(
            Axis::default()
                .bounds([from, until])
                .labels([format!("{from:.0} s"), format!("{until:.0} s")]),
        )
        .y_axis(
            Axis::default()
                .bounds([0.0, high * 1.1])
                .labels(["0".to_owned(), format!("{high:.0}")]),
        );
    frame.render_widget(chart, area);
}

fn count(value: u64) -> f64 {
    u32::try_from(value).map_or(f64::from(u32::MAX), f64::from)
}
