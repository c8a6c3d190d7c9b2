//! A span of time that is drawn between two ends: `200ms..2s`, or `1s` for one that is not drawn.

use std::time::Duration;

use entente_engine::scenario::span;
use rand::Rng;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Between {
    least: Duration,
    most: Duration,
}

impl Between {
    /// Between two ends, both of which may come up.
    pub const fn millis(least: u64, most: u64) -> Self {
        Self {
            least: Duration::from_millis(least),
            most: Duration::from_millis(most),
        }
    }

    /// The longer end.
    pub const fn most(&self) -> Duration {
        self.most
    }

    /// Draws one, in whole microseconds.
    pub fn draw(&self, rng: &mut impl Rng) -> Duration {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(rng.random_range(micros(self.least)..=micros(self.most)))
    }

    fn parse(text: &str) -> Option<Self> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let (least, most) = (span::parse(least.trim())?, span::parse(most.trim())?);
        (least <= most).then_some(Self { least, most })
    }
}

impl<'de> Deserialize<'de> for Between {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "{text:?} is no span of time: write 500ms, or 200ms..2s for one that is drawn"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ends_or_one() {
        assert_eq!(
            Between::parse("200ms..2s"),
            Some(Between::millis(200, 2_000))
        );
        assert_eq!(Between::parse("0s .. 1s"), Some(Between::millis(0, 1_000)));
        assert_eq!(Between::parse("5ms"), Some(Between::millis(5, 5)));
        for bad in ["", "..", "2s..1s", "1s..", "1..2", "1s...2s"] {
            assert_eq!(Between::parse(bad), None, "{bad}");
        }
    }
}
