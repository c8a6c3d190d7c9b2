//! What happened over time, in steps of one length.
//!
//! A step carries its latencies as a coarse histogram, not as percentiles, so that several
//! generators and longer steps can be united without inventing numbers.
//!
//! **Invariants**: at most [`MOST_POINTS`] points; when a run is longer, steps double and
//! neighbours are united, so that a run of a week costs no more than one of two hours.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Histogram, histogram::Error};

/// Points that a series holds at most.
pub const MOST_POINTS: usize = 7_200;

/// A run over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// The length of a step in milliseconds: 1,000 times a power of two.
    pub step_ms: u64,
    /// The steps; the first begins with the run.
    pub points: Vec<Point>,
}

/// What happened in one step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Messages handed to connections.
    pub sent: u64,
    /// Messages that the server took over.
    pub acked: u64,
    /// Messages that reached a receiver, first copies alone.
    pub delivered: u64,
    /// Logins that ended with a session.
    pub logins: u64,
    /// Refused messages, failed logins and all other errors.
    pub errors: u64,
    /// Sessions at the end of the step.
    pub sessions: u64,
    /// Latencies of the deliveries in it, from the intended time of sending; two digits.
    pub delivery: Packed,
    /// Latencies of the acknowledgements in it, from the intended time of sending; two digits.
    pub ack: Packed,
}

/// A histogram as it is written: little memory, and no look inside without [`Packed::open`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Packed(Option<String>);

impl Default for Series {
    fn default() -> Self {
        Self {
            step_ms: 1_000,
            points: Vec::new(),
        }
    }
}

impl Series {
    /// Appends the next step; makes steps longer when there are too many.
    ///
    /// # Errors
    /// If histograms of earlier points cannot be read.
    pub fn push(&mut self, point: Point) -> Result<(), Error> {
        if self.points.len() >= MOST_POINTS {
            self.coarsen()?;
        }
        self.points.push(point);
        Ok(())
    }

    /// Doubles the step and unites neighbours.
    ///
    /// # Errors
    /// If histograms of points cannot be read.
    pub fn coarsen(&mut self) -> Result<(), Error> {
        let mut united: Vec<Point> = Vec::with_capacity(self.points.len().div_ceil(2));
        for (number, point) in self.points.drain(..).enumerate() {
            match united.last_mut() {
                Some(last) if number % 2 == 1 => last.follow(&point)?,
                _ => united.push(point),
            }
        }
        self.points = united;
        self.step_ms = self.step_ms.max(1).saturating_mul(2);
        Ok(())
    }
}

impl Point {
    /// Unites with the step that follows.
    ///
    /// # Errors
    /// If a histogram cannot be read.
    pub fn follow(&mut self, next: &Self) -> Result<(), Error> {
        self.add(next)?;
        self.sessions = next.sessions;
        Ok(())
    }

    /// Unites with the same step of another generator.
    ///
    /// # Errors
    /// If a histogram cannot be read.
    pub fn add(&mut self, other: &Self) -> Result<(), Error> {
        for (sum, more) in [
            (&mut self.sent, other.sent),
            (&mut self.acked, other.acked),
            (&mut self.delivered, other.delivered),
            (&mut self.logins, other.logins),
            (&mut self.errors, other.errors),
            (&mut self.sessions, other.sessions),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.delivery.add(&other.delivery)?;
        self.ack.add(&other.ack)
    }
}

impl Packed {
    /// Packs a histogram; an empty one takes no room.
    pub fn new(histogram: &Histogram) -> Self {
        Self((histogram.count() > 0).then(|| histogram.encode()))
    }

    /// The histogram.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn open(&self) -> Result<Histogram, Error> {
        self.0
            .as_deref()
            .map_or_else(|| Ok(Histogram::coarse()), Histogram::decode)
    }

    fn add(&mut self, other: &Self) -> Result<(), Error> {
        if other.0.is_none() {
            return Ok(());
        }
        if self.0.is_none() {
            *self = other.clone();
            return Ok(());
        }
        let mut sum = self.open()?;
        sum.add(&other.open()?)?;
        *self = Self::new(&sum);
        Ok(())
    }
}
